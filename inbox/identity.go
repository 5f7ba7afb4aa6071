package inbox

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// UID is the id under which a message is claimed.
type UID [16]byte

// String is the canonical form, lower case.
func (u UID) String() string {
	var b [36]byte
	hex.Encode(b[:8], u[:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:], u[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// Time is the moment in a UUIDv7, to the millisecond; false for any other.
func (u UID) Time() (time.Time, bool) {
	if u[6]>>4 != 7 || u[8]>>6 != 2 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(u[:8]) >> 16)).UTC(), true
}

// ParseUID reads the canonical form in either case; false for anything else.
func ParseUID(s string) (UID, bool) {
	var u UID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, false
	}
	at := 0
	for _, part := range [...]string{s[:8], s[9:13], s[14:18], s[19:23], s[24:]} {
		n, err := hex.Decode(u[at:], []byte(part))
		if err != nil {
			return UID{}, false
		}
		at += n
	}
	return u, true
}

// The namespaces of the ids that are made here. They are part of what stands in databases: never change them.
const (
	spaceForeign  = "cdc-inbox/id"       // source and id
	spacePosition = "cdc-inbox/position" // position in the source
	spacePlace    = "cdc-inbox/place"    // topic, partition, offset, time
	spaceKey      = "cdc-inbox/key"      // topic and key
)

// derive is a UUIDv5 of its parts; each part's length stands before it, so that none runs into the next.
func derive(space string, parts ...string) UID {
	h := sha1.New()
	_, _ = h.Write([]byte(space))
	for _, p := range parts {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		_, _ = h.Write([]byte(p))
	}
	var u UID
	copy(u[:], h.Sum(nil))
	u[6], u[8] = u[6]&0x0f|0x50, u[8]&0x3f|0x80
	return u
}

// IDPolicy says what happens to a message that carries no id. None is ever made up: a random one would make each copy new.
type IDPolicy int

// The policies.
const (
	// Reject puts the message aside as a dead letter. The default.
	Reject IDPolicy = iota
	// UsePosition claims it by its position in the source where it carries one (catches what the relay publishes again), else by
	// topic, partition, offset and time of the record (catches what the broker delivers again, not a second publication). A
	// message with neither is rejected.
	UsePosition
	// HaltOnNoID stops: Process returns ErrNoID, as a HaltError.
	HaltOnNoID
)

// Identify returns the id under which m is claimed: its own when that is a UUID, else a UUIDv5 of source and id, where the
// source is that of the CloudEvent or the topic. A message without an id gives ErrNoID, unless the policy is UsePosition and it
// has a position.
func Identify(m *Message, policy IDPolicy) (UID, error) {
	if err := m.Decode(); err != nil {
		return UID{}, err
	}
	if m.ID != "" {
		if u, ok := ParseUID(m.ID); ok {
			return u, nil
		}
		return derive(spaceForeign, first(m.Source, m.Topic), m.ID), nil
	}
	if policy == UsePosition {
		if p := m.Position; !p.IsZero() {
			return derive(spacePosition, p.Source, strconv.FormatUint(p.LSN, 16), strconv.FormatUint(uint64(p.Index), 10)), nil
		}
		if m.Offset >= 0 {
			return placeUID(m), nil
		}
	}
	return UID{}, fmt.Errorf("%w: %s has none of the headers event_id, ce_id, id", ErrNoID, m.where())
}

// placeUID names a message that has no id of its own: by where the transport has it. The time keeps a topic that was made anew
// from looking like the old one.
func placeUID(m *Message) UID {
	return derive(spacePlace, m.Topic, strconv.Itoa(int(m.Partition)), strconv.FormatInt(m.Offset, 10),
		strconv.FormatInt(m.Time.UnixMilli(), 10), string(m.Value))
}

// KeyUID names (topic, key) in the table of parked keys. False for a message without a key: it has no order to keep.
func KeyUID(topic string, key []byte) (UID, bool) {
	if key == nil {
		return UID{}, false
	}
	return derive(spaceKey, topic, string(key)), true
}

// where says which message, for errors.
func (m *Message) where() string {
	if m.Offset < 0 {
		return "the message of topic " + strconv.Quote(m.Topic)
	}
	return fmt.Sprintf("message %s/%d@%d", m.Topic, m.Partition, m.Offset)
}

// clean makes text fit for a text column: valid UTF-8, no NUL, at most n bytes.
func clean(s string, n int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}
