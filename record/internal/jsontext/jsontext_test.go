package jsontext

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// members reads an object with the scanner: names and values in order, strings as they are, anything else as its text.
func members(text []byte) (out [][2]string, ok bool) {
	s := Scanner{Data: text}
	if !s.Begin() {
		return nil, false
	}
	for m, more := s.Next(); more; m, more = s.Next() {
		name, value := string(m.Name), string(m.Value)
		if m.NameEscaped {
			name = string(AppendUnescaped(nil, m.Name))
		}
		if m.ValueEscaped {
			value = string(AppendUnescaped(nil, m.Value))
		}
		out = append(out, [2]string{name, value})
	}
	return out, !s.Bad
}

// judge reads it with encoding/json.
func judge(text []byte) (out [][2]string, ok bool) {
	if !json.Valid(text) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, false
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, false
		}
		value := string(raw)
		if raw[0] == '"' {
			if err := json.Unmarshal(raw, &value); err != nil {
				return nil, false
			}
		}
		out = append(out, [2]string{name.(string), value})
	}
	return out, true
}

func check(t *testing.T, text []byte) {
	t.Helper()
	got, gotOK := members(text)
	want, wantOK := judge(text)
	if gotOK != wantOK || gotOK && !reflect.DeepEqual(got, want) {
		t.Errorf("%q: got %q, %v, want %q, %v", text, got, gotOK, want, wantOK)
	}
	if got, want := Valid(text), json.Valid(text); got != want {
		t.Errorf("%q: valid: got %v, want %v", text, got, want)
	}
}

func seeds() []string {
	return []string{
		`{}`, ` { } `, `{"a": "x"}`, `{"a": "x", "b": 1, "c": null, "d": [1, {"e": "]"}], "f": 1.50e-3}`, `{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}`,
		`{"\u0061": "\ud800", "b": "\udc00\ud800\u0041", "c": "\ud83d\u0041"}`, `{"a": 1, "a": 2}`, `{"": ""}`,
		``, ` `, `{`, `}`, `[]`, `null`, `"x"`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":1e}`, `{"a":+1}`,
		`{"a":"` + "\n" + `"}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":"\u12`, `{"a":tru}`, `{"a":1}x`, `{"a":[1,]}`, `{"a":{"b":}}`, `{"a":{b:1}}`, `{a:1}`, `{"a":-0.0E+1}`,
		`{"a":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) + `}`, `{"a":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + `}`,
	}
}

func TestAgainstEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, s := range seeds() {
		check(t, []byte(s))
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) {
			members(text) // handed on as it is; it must not panic
			return
		}
		check(t, text)
	})
}

func FuzzQuoted(f *testing.F) {
	f.Add("a\"b\\\x00\x1f\n\u2028é")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		var got string
		if err := json.Unmarshal(AppendQuoted(nil, []byte(text)), &got); err != nil || got != text {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	})
}

// TestQuotedAsJackson: Jackson escapes neither / nor < nor DEL, and writes capital hex digits.
func TestQuotedAsJackson(t *testing.T) {
	t.Parallel()
	if got, want := string(AppendQuoted(nil, []byte("</a>\x7f\x1f\x0b\u2028\"\\\b\f\n\r\t"))), `"</a>`+"\x7f"+`\u001F\u000B`+"\u2028"+`\"\\\b\f\n\r\t"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
