package frames_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/cdc-relay/cdc-relay/replication/internal/frames"
)

// wire is a connection that brings bytes in pieces of a size.
type wire struct {
	net.Conn
	rest  []byte
	piece int
}

func (w *wire) Read(p []byte) (int, error) {
	if len(w.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, w.rest[:min(w.piece, len(w.rest))])
	w.rest = w.rest[n:]
	return n, nil
}

func message(typ byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{typ}, uint32(len(body)+4)), body...)
}

// FuzzNext: whatever the pieces, messages come out whole and in order, and bytes that are no message give ErrProtocol at most.
func FuzzNext(f *testing.F) {
	f.Add(message('d', []byte("row")), uint16(1))
	f.Add(append(message('d', bytes.Repeat([]byte("x"), 300<<10)), message('k', nil)...), uint16(7000))
	f.Add([]byte{'d', 0, 0, 0, 1}, uint16(3))
	f.Add([]byte{'d', 255, 255, 255, 255, 1}, uint16(9))
	f.Fuzz(func(t *testing.T, sent []byte, piece uint16) {
		r := frames.New(&wire{rest: bytes.Clone(sent), piece: int(piece) + 1})
		var got []byte
		for {
			typ, body, ok, err := r.Next()
			if err != nil {
				if !errors.Is(err, frames.ErrProtocol) {
					t.Fatalf("got %v, want ErrProtocol", err)
				}
				break
			}
			if ok {
				got = append(got, message(typ, body)...)
				continue
			}
			if r.Whole() {
				t.Fatal("Whole says that a message is here, and Next does not bring it")
			}
			if err := r.Fill(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.HasPrefix(sent, got) {
			t.Fatalf("messages came out changed: %d bytes of %d", len(got), len(sent))
		}
		if rest := sent[len(got):]; len(rest) >= 5 {
			if n := binary.BigEndian.Uint32(rest[1:]); n >= 4 && uint64(n) < uint64(len(rest)) {
				t.Fatalf("a whole message of %d bytes was left behind", n+1)
			}
		}
	})
}
