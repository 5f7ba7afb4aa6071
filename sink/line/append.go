package line

import (
	"encoding/base64"
	"math/bits"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cdc-relay/cdc-relay/decoder"
)

// Append appends ev to dst as one line, with the newline, and returns the result. It keeps nothing of ev.
func Append(dst []byte, ev *decoder.Event) []byte {
	dst = append(dst, `{"topic":`...)
	dst = appendString(dst, strings.ToValidUTF8(ev.Topic, "\ufffd")) // only a database without an encoding has others
	dst = appendField(dst, "key", ev.Key)
	dst = appendField(dst, "value", ev.Value)
	dst = append(dst, `,"headers":[`...)
	first := true
	for name, value := range ev.Headers.All() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendHeader(dst, name, value)
	}
	dst = append(dst, `],"partition":`...)
	if ev.Partition < 0 {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendInt(dst, int64(ev.Partition), 10)
	}
	dst = append(dst, `,"timestamp":"`...)
	dst = time.UnixMicro(ev.CommitTime).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	dst = append(dst, `","position":"`...)
	dst = appendHex(dst, uint32(ev.Commit>>32))
	dst = appendHex(append(dst, '/'), uint32(ev.Commit))
	dst = strconv.AppendUint(append(dst, '/'), uint64(ev.Index), 10)
	return append(dst, '"', '}', '\n')
}

func appendField(dst []byte, name string, value []byte) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	switch {
	case value == nil:
		return append(dst, `":null`...)
	case utf8.Valid(value):
		return appendString(append(dst, '"', ':'), value)
	}
	return appendBase64(append(dst, `_base64":`...), value)
}

func appendHeader(dst, name, value []byte) []byte {
	plainName, plainValue := utf8.Valid(name), utf8.Valid(value)
	dst = appendOrNull(append(dst, '['), name, plainName)
	dst = appendOrNull(append(dst, ','), value, plainValue && value != nil)
	if plainName && plainValue {
		return append(dst, ']')
	}
	if dst = append(dst, ','); plainName {
		dst = append(dst, "null"...)
	} else {
		dst = appendBase64(dst, name)
	}
	if dst = append(dst, ','); plainValue {
		dst = append(dst, "null"...)
	} else {
		dst = appendBase64(dst, value)
	}
	return append(dst, ']')
}

func appendOrNull(dst, s []byte, plain bool) []byte {
	if plain {
		return appendString(dst, s)
	}
	return append(dst, "null"...)
}

func appendBase64(dst, b []byte) []byte {
	dst = base64.StdEncoding.AppendEncode(append(dst, '"'), b)
	return append(dst, '"')
}

const lowerHex, upperHex = "0123456789abcdef", "0123456789ABCDEF"

// appendHex appends half of an LSN as Postgres shows it: upper case, without leading zeros.
func appendHex(dst []byte, n uint32) []byte {
	for shift := max(0, (bits.Len32(n)-1)/4*4); shift >= 0; shift -= 4 {
		dst = append(dst, upperHex[n>>shift&15])
	}
	return dst
}

// appendString appends s, which is UTF-8, as a JSON string (RFC 8259, section 7): only what must be escaped is.
func appendString[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
