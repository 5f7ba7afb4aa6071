package line

import (
	"encoding/json"
	"fmt"
	"time"
)

// Header is one header of a line; a nil value is null.
type Header struct {
	Name  string
	Value []byte
}

// Line is what a line says.
type Line struct {
	Topic     string
	Key       []byte // nil: null
	Value     []byte // nil: null
	Headers   []Header
	Partition int32 // -1: the key decides
	Timestamp time.Time
	Position  string // LSN/index
}

// Parse reads one line back, with or without its newline. Unknown fields are passed over.
func Parse(line []byte) (Line, error) {
	var raw struct {
		Topic       string    `json:"topic"`
		Key         *string   `json:"key"`
		KeyBase64   []byte    `json:"key_base64"`
		Value       *string   `json:"value"`
		ValueBase64 []byte    `json:"value_base64"`
		Headers     []header  `json:"headers"`
		Partition   *int32    `json:"partition"`
		Timestamp   time.Time `json:"timestamp"`
		Position    string    `json:"position"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return Line{}, fmt.Errorf("read line %.60q: %w", line, err)
	}
	l := Line{
		Topic: raw.Topic, Key: either(raw.Key, raw.KeyBase64), Value: either(raw.Value, raw.ValueBase64),
		Partition: -1, Timestamp: raw.Timestamp, Position: raw.Position,
	}
	if raw.Partition != nil {
		l.Partition = *raw.Partition
	}
	for _, h := range raw.Headers {
		l.Headers = append(l.Headers, Header(h))
	}
	return l, nil
}

// header reads the array form.
type header Header

func (h *header) UnmarshalJSON(b []byte) error {
	var raw []json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("read header %.60q: %w", b, err)
	}
	if len(raw) != 2 && len(raw) != 4 {
		return fmt.Errorf("header %.60q has %d parts, want 2 or 4", b, len(raw))
	}
	var plain [2]*string
	var encoded [2][]byte
	for i, part := range raw {
		into := any(&plain[i%2])
		if i >= 2 {
			into = &encoded[i%2]
		}
		if err := json.Unmarshal(part, into); err != nil {
			return fmt.Errorf("read part %d of header %.60q: %w", i, b, err)
		}
	}
	h.Name, h.Value = string(either(plain[0], encoded[0])), either(plain[1], encoded[1])
	return nil
}

func either(plain *string, encoded []byte) []byte {
	if plain != nil {
		return []byte(*plain)
	}
	return encoded
}
