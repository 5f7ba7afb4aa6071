package jsontext

import (
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds nesting in a header's value; encoding/json has the same bound.
const maxDepth = 10000

// Member is one name and value of an object. A string's value is what stands between its quotes, anything else is its text;
// both point into the scanned text.
type Member struct {
	Name, Value               []byte
	NameEscaped, ValueEscaped bool
	ValueString               bool
}

// Scanner walks the members of one JSON object (RFC 8259) without allocating. Use: Begin, then Next until it says no, then
// look at Bad.
type Scanner struct {
	Data  []byte
	at    int
	first bool
	Bad   bool // the text is no object
}

// Begin enters the object; false: the text is none.
func (s *Scanner) Begin() bool {
	s.space()
	s.first = true
	return s.take('{')
}

// Next returns the next member. At the object's end, and at the first mistake, it returns false.
func (s *Scanner) Next() (m Member, more bool) {
	s.space()
	if s.take('}') {
		s.space()
		s.Bad = s.at != len(s.Data) || s.Bad
		return m, false
	}
	if !s.first {
		if !s.take(',') {
			return m, s.fail()
		}
		s.space()
	}
	s.first = false
	var ok bool
	if m.Name, m.NameEscaped, ok = s.str(); !ok {
		return m, s.fail()
	}
	s.space()
	if !s.take(':') {
		return m, s.fail()
	}
	s.space()
	if s.at < len(s.Data) && s.Data[s.at] == '"' {
		m.ValueString = true
		if m.Value, m.ValueEscaped, ok = s.str(); !ok {
			return m, s.fail()
		}
		s.space()
		return m, s.delimited()
	}
	from := s.at
	if !s.skip(1) {
		return m, s.fail()
	}
	m.Value = s.Data[from:s.at]
	s.space()
	return m, s.delimited()
}

// delimited looks whether what follows a member may follow it, so that no member of a broken object looks whole.
func (s *Scanner) delimited() bool {
	if s.at < len(s.Data) && (s.Data[s.at] == ',' || s.Data[s.at] == '}') {
		return true
	}
	return s.fail()
}

func (s *Scanner) fail() bool {
	s.Bad = true
	return false
}

func (s *Scanner) space() {
	for s.at < len(s.Data) {
		switch s.Data[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

func (s *Scanner) take(c byte) bool {
	if s.at < len(s.Data) && s.Data[s.at] == c {
		s.at++
		return true
	}
	return false
}

// str reads a string and returns what stands between its quotes.
func (s *Scanner) str() (raw []byte, escaped, ok bool) {
	if !s.take('"') {
		return nil, false, false
	}
	from := s.at
	for s.at < len(s.Data) {
		switch c := s.Data[s.at]; {
		case c == '"':
			raw = s.Data[from:s.at]
			s.at++
			return raw, escaped, true
		case c < 0x20:
			return nil, false, false
		case c == '\\':
			escaped = true
			if !s.escape() {
				return nil, false, false
			}
		default:
			s.at++
		}
	}
	return nil, false, false
}

func (s *Scanner) escape() bool {
	if s.at+1 >= len(s.Data) {
		return false
	}
	c := s.Data[s.at+1]
	s.at += 2
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		if s.at+4 > len(s.Data) || hex4(s.Data[s.at:]) < 0 {
			return false
		}
		s.at += 4
		return true
	}
	return false
}

// skip passes over one value of any kind.
func (s *Scanner) skip(depth int) bool {
	if s.at >= len(s.Data) || depth > maxDepth {
		return false
	}
	switch c := s.Data[s.at]; c {
	case '"':
		_, _, ok := s.str()
		return ok
	case '{':
		return s.skipAll(depth, '}')
	case '[':
		return s.skipAll(depth, ']')
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

// skipAll passes over an object or an array.
func (s *Scanner) skipAll(depth int, end byte) bool {
	s.at++
	s.space()
	if s.take(end) {
		return true
	}
	for {
		if end == '}' {
			if _, _, ok := s.str(); !ok {
				return false
			}
			s.space()
			if !s.take(':') {
				return false
			}
			s.space()
		}
		if !s.skip(depth + 1) {
			return false
		}
		s.space()
		if s.take(end) {
			return true
		}
		if !s.take(',') {
			return false
		}
		s.space()
	}
}

func (s *Scanner) literal(word string) bool {
	if len(s.Data)-s.at < len(word) || string(s.Data[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

func (s *Scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

func (s *Scanner) digits() bool {
	from := s.at
	for s.at < len(s.Data) && s.Data[s.at] >= '0' && s.Data[s.at] <= '9' {
		s.at++
	}
	return s.at > from
}

// AppendUnescaped appends what the inside of a JSON string stands for; raw has passed a scanner. A lone half of a surrogate
// pair becomes U+FFFD.
func AppendUnescaped(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			i++
			continue
		}
		c := raw[i+1]
		i += 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(raw[i:])
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+6 <= len(raw) && raw[i] == '\\' && raw[i+1] == 'u' {
					low = hex4(raw[i+2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// hex4 is the value of four hex digits, -1 when they are none.
func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// Valid says whether text is one JSON value with nothing but white space around it.
func Valid(text []byte) bool {
	s := Scanner{Data: text}
	s.space()
	if !s.skip(0) {
		return false
	}
	s.space()
	return s.at == len(text)
}
