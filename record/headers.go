package record

import (
	"encoding/binary"
	"iter"
)

// Headers is an ordered list of headers in the encoding of Kafka's record format v2: for each header a zigzag varint
// length and the key, then a zigzag varint length (-1: null) and the value. A Kafka sink copies Bytes as they are; every
// other reader walks All. It is immutable once built.
type Headers struct {
	Count int
	Bytes []byte
}

// All yields each header in order; a null value is nil, an empty one is not. Both slices point into h.Bytes.
func (h Headers) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		rest := h.Bytes
		for range h.Count {
			key, after := takeBytes(rest)
			value, next := takeBytes(after)
			rest = next
			if !yield(key, value) {
				return
			}
		}
	}
}

// Get returns the value of the first header called name.
func (h Headers) Get(name string) (value []byte, ok bool) {
	for k, v := range h.All() {
		if string(k) == name {
			return v, true
		}
	}
	return nil, false
}

// AppendHeader appends one header to buf in the encoding of Headers; a nil value is null.
func AppendHeader(buf []byte, name string, value []byte) []byte {
	buf = binary.AppendVarint(buf, int64(len(name)))
	buf = append(buf, name...)
	if value == nil {
		return binary.AppendVarint(buf, -1)
	}
	buf = binary.AppendVarint(buf, int64(len(value)))
	return append(buf, value...)
}

func takeBytes(b []byte) (value, rest []byte) {
	n, used := binary.Varint(b)
	b = b[used:]
	if n < 0 {
		return nil, b
	}
	return b[:n:n], b[n:]
}
