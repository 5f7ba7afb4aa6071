package outbox

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync/atomic"
	"time"
)

// NewID returns a UUIDv7 (RFC 9562), canonical and in lower case: 48 bits of milliseconds, 12 bits of the fraction below, 62
// random bits. Ids of one process rise, whatever its goroutines and its clock do; when more than four are asked for in a
// microsecond, or while the clock stands before an id that was given out, they run ahead of it. Safe for concurrent use.
func NewID() string { return newID(time.Now) }

// newest is the time of the newest id, in 1/4096 ms: the first 60 bits of an id but for the version. It is the one variable
// of the package: ids of a process rise only if all of them know of each other.
var newest atomic.Uint64

func newID(now func() time.Time) string {
	t := now()
	ms := uint64(t.UnixMilli())
	at := ms<<12 | uint64(t.Nanosecond()%1e6)*4096/1e6
	for {
		last := newest.Load()
		at = max(at, last+1)
		if newest.CompareAndSwap(last, at) {
			break
		}
	}
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], at>>12<<16|7<<12|at&0xfff)
	_, _ = rand.Read(id[8:]) // it never fails: it ends the program instead
	id[8] = id[8]&0x3f | 0x80
	return canonical(id)
}

// canonical prints a UUID.
func canonical(id [16]byte) string {
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// parseID returns a UUID's canonical form in lower case, as Postgres prints it.
func parseID(s string) (string, bool) {
	if len(s) != 36 {
		return "", false
	}
	lower := true
	for i := range len(s) {
		c := s[i]
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return "", false
			}
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
		case c >= 'A' && c <= 'F':
			lower = false
		default:
			return "", false
		}
	}
	if lower {
		return s, true
	}
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'F' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b), true
}
