package auditor

import "encoding/binary"

// frames cuts one direction of a connection into messages: a type byte and a length that counts itself (manual, 55.2). The
// client's first message has no type.
type frames struct {
	first bool // the next message has no type
	buf   []byte
}

// feed takes bytes as they come and calls f for each message that is whole; body is valid during the call.
func (fr *frames) feed(b []byte, f func(typ byte, body []byte)) {
	fr.buf = append(fr.buf, b...)
	rest := fr.buf
	for {
		head := 1
		if fr.first {
			head = 0
		}
		if len(rest) < head+4 {
			break
		}
		size := int(binary.BigEndian.Uint32(rest[head:]))
		if size < 4 || len(rest) < head+size {
			break
		}
		typ := byte(0)
		if head == 1 {
			typ = rest[0]
		}
		f(typ, rest[head+4:head+size])
		rest = rest[head+size:]
		fr.first = false
	}
	fr.buf = append(fr.buf[:0], rest...)
}
