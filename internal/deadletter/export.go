package deadletter

import (
	"context"
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"
)

// exportRows is how many letters Export holds at once: whole ones, up to some 1 MB each.
const exportRows = 20

// Line is one dead letter as Export writes it. Bytes that are not UTF-8 stand as base64 in the field of that name; null
// stands as null in the plain one. Fields are only ever added.
type Line struct {
	ID            int64        `json:"id"`
	Incarnation   string       `json:"incarnation"`
	Position      string       `json:"position"` // LSN/index, as `skip --position` takes it
	State         State        `json:"state"`
	Alone         bool         `json:"alone"`
	Topic         string       `json:"topic"`
	Key           *string      `json:"key"`
	KeyBase64     []byte       `json:"key_base64,omitempty"`
	Value         *string      `json:"value"`
	ValueBase64   []byte       `json:"value_base64,omitempty"`
	ValueBytes    int          `json:"value_bytes"`
	Headers       []LineHeader `json:"headers"`
	Partition     *int32       `json:"partition"`
	CommitTime    *time.Time   `json:"commit_time"`
	EventID       string       `json:"event_id"`
	EventType     string       `json:"event_type"`
	AggregateType string       `json:"aggregate_type"`
	AggregateID   string       `json:"aggregate_id"`
	Table         string       `json:"table"`
	Reason        string       `json:"reason"`
	Error         string       `json:"error"`
	Tries         int          `json:"tries"`
	ParkedAt      time.Time    `json:"parked_at"`
	StateBy       string       `json:"state_by"`
	StateAt       time.Time    `json:"state_at"`
	StateWhy      string       `json:"state_why"`
	ResolvedAt    *time.Time   `json:"resolved_at"`
}

// LineHeader is one record header.
type LineHeader struct {
	Name        string  `json:"name"`
	Value       *string `json:"value"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

// Line is the letter for people and scripts.
func (l *Letter) Line() Line {
	line := Line{
		ID: l.ID, Incarnation: l.Incarnation, Position: l.Position.String(), State: l.State, Alone: l.Alone, Topic: l.Topic,
		ValueBytes: l.ValueBytes, Headers: []LineHeader{}, EventID: l.EventID, EventType: l.EventType,
		AggregateType: l.AggregateType, AggregateID: l.AggregateID, Table: l.Table, Reason: l.Reason, Error: l.Error,
		Tries: l.Tries, ParkedAt: l.ParkedAt.UTC(), StateBy: l.StateBy, StateAt: l.StateAt.UTC(), StateWhy: l.StateWhy,
	}
	line.Key, line.KeyBase64 = readable(l.Key)
	line.Value, line.ValueBase64 = readable(l.Value)
	for name, value := range l.Headers.All() {
		h := LineHeader{Name: string(name)}
		h.Value, h.ValueBase64 = readable(value)
		line.Headers = append(line.Headers, h)
	}
	if l.Partition >= 0 {
		line.Partition = &l.Partition
	}
	if l.CommitTime != 0 {
		at := time.UnixMicro(l.CommitTime).UTC()
		line.CommitTime = &at
	}
	if !l.ResolvedAt.IsZero() {
		at := l.ResolvedAt.UTC()
		line.ResolvedAt = &at
	}
	return line
}

// readable tells text from other bytes; null is neither.
func readable(b []byte) (plain *string, other []byte) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		s := string(b)
		return &s, nil
	}
	return nil, b
}

// Export writes whole dead letters to w, a JSON object a line, and returns how many. It holds a few at once.
func (s *Store) Export(ctx context.Context, f Filter, w io.Writer) (n int, err error) {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for {
		letters, err := s.list(ctx, f, exportRows, true)
		if err != nil {
			return n, err
		}
		for i := range letters {
			if err := out.Encode(letters[i].Line()); err != nil {
				return n, err
			}
			n++
			f.After = letters[i].ID
		}
		if len(letters) < exportRows {
			return n, nil
		}
	}
}
