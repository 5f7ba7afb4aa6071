package inbox

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Names of the headers that Decode reads. Header names are compared byte by byte, as Kafka keeps them.
const (
	headerSource     = "cdc-source"
	headerSourcePrev = "cdc-source-prev"
	headerLSN        = "cdc-lsn"
	headerIndex      = "cdc-index"
	headerReplay     = "cdc-replay"
	headerOptimistic = "cdc-optimistic"
)

// structuredType begins the content type of a CloudEvent in structured mode.
const structuredType = "application/cloudevents+json"

// Header is one header of a record. A nil value is null.
type Header struct {
	Key   string
	Value []byte
}

// Message is one delivery of an event. Its owner fills the first part and calls Decode, or leaves that to Process. Process keeps
// no reference to it after it has returned, and changes nothing but what Decode sets.
type Message struct {
	Topic     string
	Partition int32
	Offset    int64 // -1: the transport has none
	Key       []byte
	Value     []byte // nil: a tombstone
	Headers   []Header
	Time      time.Time // of the record; zero: unknown

	// Below says that the position of the partition has passed this message: it was finished once. When it is older than the
	// retention, and its claim may be gone, it is Expired instead of processed again. Set by a runner that knows; else false.
	Below bool
	// Attempt is the number of this try when tries are counted (Store.AddAttempts), from 1. When it is set, Process clears the
	// count in the transaction that finishes the message. 0: nothing was counted.
	Attempt int

	// What Decode read.
	ID         string // as carried; "": none
	Type       string
	Source     string // attribute source of a CloudEvent, else ""
	Position   Position
	Prev       Switch // of cdc-source-prev
	Replay     string // value of cdc-replay; "": not a copy on purpose
	Optimistic bool   // sent by the application right after its commit; the relay's copy follows

	data    []byte
	hasData bool
	decoded bool
	err     error
}

// Position is where an event stands in its source: comparable within one Source only. The zero value is none.
type Position struct {
	Source string // cdc-source: system identifier, timeline, incarnation, slot
	LSN    uint64 // commit LSN
	Index  uint32 // in the transaction
}

// IsZero tells whether there is no position.
func (p Position) IsZero() bool { return p.Source == "" }

// After tells whether p stands behind q; sources are not compared.
func (p Position) After(q Position) bool {
	return p.LSN > q.LSN || p.LSN == q.LSN && p.Index > q.Index
}

// String is "source lsn/index" for people; the LSN as Postgres writes it.
func (p Position) String() string {
	return fmt.Sprintf("%s %X/%X.%d", p.Source, p.LSN>>32, uint32(p.LSN), p.Index)
}

// Switch is a change of timeline: the source before it, and the LSN from which on the two differ.
type Switch struct {
	Source string // "": none
	LSN    uint64
}

// Header returns the value of the first header of that name.
func (m *Message) Header(name string) ([]byte, bool) {
	for i := range m.Headers {
		if m.Headers[i].Key == name {
			return m.Headers[i].Value, true
		}
	}
	return nil, false
}

// Data is the event's payload: the value, or the member data of a structured CloudEvent. nil is a null payload.
func (m *Message) Data() []byte {
	if m.hasData {
		return m.data
	}
	return m.Value
}

// Decode reads id, type, position and marks out of the headers, or out of the envelope of a structured CloudEvent. The id is
// that of event_id, else ce_id, else id; the type that of event_type, else ce_type, eventType, type. It returns what cannot be
// read (a position that is no number, an envelope that is no JSON); such a message has no id, and Process puts it aside as a dead
// letter. Decode works once: later calls return the same.
func (m *Message) Decode() error {
	if m.decoded {
		return m.err
	}
	m.decoded = true
	var h fields
	for i := range m.Headers {
		h.take(&m.Headers[i])
	}
	m.ID, m.Type, m.Source = first(h.eventID, h.ceID, h.id), first(h.eventType, h.ceType, h.dbzType, h.typ), h.ceSource
	m.Replay, m.Optimistic = h.replay, h.optimistic == "1"
	m.err = m.position(&h)
	if m.err == nil && strings.HasPrefix(h.contentType, structuredType) && m.Value != nil && h.ceID == "" {
		m.err = m.envelope()
	}
	if m.err != nil {
		m.ID, m.Position, m.Prev = "", Position{}, Switch{}
	}
	return m.err
}

// Undecodable says that the transport could not decode the message: Value is what it found. Process puts such a message aside as a
// dead letter. Call it instead of Decode; nil is no error and does nothing.
func (m *Message) Undecodable(err error) {
	if err == nil {
		return
	}
	m.decoded, m.err = true, err
}

// fields are the headers of interest, the first of each name.
type fields struct {
	eventID, ceID, id                string
	eventType, ceType, dbzType, typ  string
	ceSource, contentType            string
	source, prev, lsn, index, replay string
	optimistic                       string
}

func (f *fields) take(h *Header) {
	var at *string
	switch h.Key {
	case "event_id":
		at = &f.eventID
	case "ce_id":
		at = &f.ceID
	case "id":
		at = &f.id
	case "event_type":
		at = &f.eventType
	case "ce_type":
		at = &f.ceType
	case "eventType":
		at = &f.dbzType
	case "type":
		at = &f.typ
	case "ce_source":
		at = &f.ceSource
	case "content-type":
		at = &f.contentType
	case headerSource:
		at = &f.source
	case headerSourcePrev:
		at = &f.prev
	case headerLSN:
		at = &f.lsn
	case headerIndex:
		at = &f.index
	case headerReplay:
		at = &f.replay
	case headerOptimistic:
		at = &f.optimistic
	default:
		return
	}
	if *at == "" {
		*at = string(h.Value)
	}
}

func first(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}

func (m *Message) position(h *fields) error {
	if h.source == "" || h.lsn == "" {
		return nil
	}
	lsn, err := strconv.ParseUint(h.lsn, 16, 64)
	if err != nil || len(h.lsn) != 16 {
		return fmt.Errorf("read header %s: %q is not 16 hex digits", headerLSN, h.lsn)
	}
	index, err := strconv.ParseUint(h.index, 10, 32)
	if err != nil {
		return fmt.Errorf("read header %s: %q is no number", headerIndex, h.index)
	}
	m.Position = Position{Source: h.source, LSN: lsn, Index: uint32(index)}
	if h.prev != "" {
		m.Prev, err = parseSwitch(h.prev)
	}
	return err
}

// parseSwitch reads "<source>@<LSN>", the LSN as Postgres writes it: 0/16B3748.
func parseSwitch(s string) (Switch, error) {
	bad := fmt.Errorf("read header %s: %q is not <source>@<lsn>", headerSourcePrev, s)
	at := strings.LastIndexByte(s, '@')
	if at < 1 {
		return Switch{}, bad
	}
	high, low, ok := strings.Cut(s[at+1:], "/")
	h, err := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !ok || err != nil || err2 != nil {
		return Switch{}, bad
	}
	return Switch{Source: s[:at], LSN: h<<32 | l}, nil
}

// envelope reads a structured CloudEvent (the JSON event format).
func (m *Message) envelope() error {
	var e struct {
		ID       string          `json:"id"`
		Source   string          `json:"source"`
		Type     string          `json:"type"`
		Data     json.RawMessage `json:"data"`
		DataBase *string         `json:"data_base64"`
		DataType string          `json:"datacontenttype"`
	}
	if err := json.Unmarshal(m.Value, &e); err != nil {
		return fmt.Errorf("read the CloudEvent's envelope: %w", err)
	}
	if e.ID == "" {
		return errors.New("read the CloudEvent's envelope: it has no id")
	}
	m.ID, m.Type, m.Source, m.hasData = e.ID, e.Type, e.Source, true
	switch {
	case e.DataBase != nil:
		data, err := base64.StdEncoding.DecodeString(*e.DataBase)
		if err != nil {
			return fmt.Errorf("read data_base64 of the CloudEvent: %w", err)
		}
		m.data = data
	case string(e.Data) == "null" || e.Data == nil:
	case e.Data[0] == '"' && e.DataType != "" && !isJSON(e.DataType): // text in a JSON string
		var text string
		if err := json.Unmarshal(e.Data, &text); err != nil {
			return fmt.Errorf("read data of the CloudEvent: %w", err)
		}
		m.data = []byte(text)
	default:
		m.data = e.Data
	}
	return nil
}

func isJSON(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.TrimSpace(strings.ToLower(t))
	return strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json")
}
