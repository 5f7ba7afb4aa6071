package outbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// InvalidError is one mistake in one event. The caller's transaction is untouched: the database has not seen the events.
type InvalidError struct {
	Index int    // of the event among the arguments, from 0
	ID    string // as it was given, "" when it was not
	Field string // "id", "type", "payload", `header "x"`, ...
	Err   error
}

// Error names event, field and mistake.
func (e *InvalidError) Error() string {
	if e.ID == "" {
		return fmt.Sprintf("event %d: %s: %v", e.Index, e.Field, e.Err)
	}
	return fmt.Sprintf("event %d (id %s): %s: %v", e.Index, e.ID, e.Field, e.Err)
}

// Unwrap returns the cause: encoding/json's error where a payload could not be encoded.
func (e *InvalidError) Unwrap() error { return e.Err }

var errEmpty = errors.New("empty, and it is required")

// wrongText says why Postgres would not take a text, "" when it would.
func wrongText(s string) string {
	switch {
	case !utf8.ValidString(s):
		return "not UTF-8"
	case strings.IndexByte(s, 0) >= 0:
		return "holds a NUL, which Postgres does not store in a text"
	}
	return ""
}

// wrongName says why a header may not have that name. Package record has the relay's side of it.
func wrongName(name string) string {
	switch name {
	case "":
		return "a header needs a name"
	case "event_id", "event_type", "aggregate_type", "aggregate_id":
		return "the relay writes that one itself, from the event's fields"
	}
	for _, prefix := range [...]string{"cdc-", "ce_", "__debezium."} {
		if strings.HasPrefix(name, prefix) {
			return "names that begin with " + prefix + " are the relay's own"
		}
	}
	return wrongText(name)
}

// wrongPayload says why a column of that type would not take the bytes. raw: nobody has checked that they are JSON.
func wrongPayload(b []byte, t PayloadType, raw bool) string {
	switch t {
	case Bytea:
		return ""
	case Text:
		switch {
		case !utf8.Valid(b):
			return "not UTF-8"
		case bytes.IndexByte(b, 0) >= 0:
			return "holds a NUL, which Postgres does not store in a text"
		}
		return ""
	}
	if raw && !json.Valid(b) {
		return "no JSON, and the table's payload is " + string(t)
	}
	return wrongJSON(b, t == JSONB)
}

// wrongJSON says why Postgres would not take what encoding/json takes. jsonb stores what escapes stand for, so it refuses
// those that stand for nothing that a text can hold; json keeps them as they are.
func wrongJSON(b []byte, jsonb bool) string {
	if !utf8.Valid(b) {
		return "not UTF-8"
	}
	if !jsonb {
		return ""
	}
	for {
		at := bytes.IndexByte(b, '\\')
		if at < 0 {
			return ""
		}
		if b[at+1] != 'u' {
			b = b[at+2:]
			continue
		}
		r := unit(b[at+2:])
		b = b[at+6:]
		switch {
		case r == 0:
			return `holds \u0000, which Postgres does not store in jsonb`
		case r >= 0xdc00 && r <= 0xdfff:
			return `holds half a surrogate pair (\ud800 to \udfff), which Postgres does not store in jsonb`
		case r >= 0xd800 && r <= 0xdbff:
			if len(b) < 6 || b[0] != '\\' || b[1] != 'u' || unit(b[2:])&^0x3ff != 0xdc00 {
				return `holds half a surrogate pair (\ud800 to \udfff), which Postgres does not store in jsonb`
			}
			b = b[6:]
		}
	}
}

// unit reads four hexadecimal digits, which valid JSON has behind \u.
func unit(b []byte) uint64 {
	r, _ := strconv.ParseUint(string(b[:4]), 16, 16)
	return r
}
