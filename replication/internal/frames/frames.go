// Package frames cuts what a Postgres server sends into the messages of its protocol, in place: nothing is copied, and a
// message lies in the buffer that it was read into (manual, "Message Formats").
package frames

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
)

// ErrProtocol: what arrived cannot be a message of the protocol.
var ErrProtocol = errors.New("protocol violation")

const (
	bufferBytes = 256 << 10 // one read brings at most this much
	keepBytes   = 1 << 20   // a buffer that grew for a larger message than this is given back
	moveBytes   = 32 << 10  // less room than this behind the last byte: move what is left to the front
	maxMessage  = 1 << 30   // Postgres sends nothing larger (manual: MaxAllocSize)
	headerBytes = 5         // type and length
)

// Reader reads a connection message by message. One goroutine uses it.
type Reader struct {
	conn net.Conn
	buf  []byte
	r, w int // buf[r:w] has been read and not handed out
	need int // bytes from r on that make the next message whole, as far as is known
}

// New returns a reader of conn. Deadlines are the caller's.
func New(conn net.Conn) Reader { return Reader{conn: conn} }

// Next returns the next message when it is here as a whole. body is valid until Fill. The error is ErrProtocol.
func (f *Reader) Next() (typ byte, body []byte, ok bool, err error) {
	b := f.buf[f.r:f.w]
	if len(b) < headerBytes {
		f.need = headerBytes
		return 0, nil, false, nil
	}
	n := int(binary.BigEndian.Uint32(b[1:]))
	if n < 4 || n > maxMessage {
		return 0, nil, false, fmt.Errorf("%w: message %q of %d bytes", ErrProtocol, b[0], n)
	}
	if len(b) < n+1 {
		f.need = n + 1
		return 0, nil, false, nil
	}
	f.r += n + 1
	return b[0], b[headerBytes : n+1 : n+1], true, nil
}

// Whole tells whether Next would return a message.
func (f *Reader) Whole() bool {
	b := f.buf[f.r:f.w]
	return len(b) >= headerBytes && len(b) > int(binary.BigEndian.Uint32(b[1:]))
}

// Fill reads once from the connection, as much as there is. An error that came with bytes is left for the next call.
func (f *Reader) Fill() error {
	f.makeRoom()
	n, err := f.conn.Read(f.buf[f.w:])
	f.w += n
	if n > 0 {
		return nil
	}
	return err
}

func (f *Reader) makeRoom() {
	if f.r == f.w {
		f.r, f.w = 0, 0
		if len(f.buf) > keepBytes {
			f.buf = nil
		}
	}
	switch {
	case f.need > len(f.buf):
		bigger := make([]byte, max(bufferBytes, f.need))
		f.w = copy(bigger, f.buf[f.r:f.w])
		f.r, f.buf = 0, bigger
	case f.need > len(f.buf)-f.r, f.r > 0 && len(f.buf)-f.w < moveBytes:
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
}
