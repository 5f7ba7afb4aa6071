package auditor

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
)

// script plays a session by hand.
type script struct {
	t    *testing.T
	book *book
	s    *session
	now  time.Time
	told []Position
}

func newScript(t *testing.T) *script {
	sc := &script{t: t, now: time.Unix(1000, 0)}
	sc.book = &book{late: 2 * time.Second, ends: map[pglogrepl.LSN]bool{}}
	sc.book.confirmed = func(c Confirmation) { sc.told = append(sc.told, c.Events...) }
	sc.connect("0/100")
	return sc
}

func (sc *script) connect(at string) {
	sc.s = &session{book: sc.book}
	query := "START_REPLICATION SLOT cdc_relay LOGICAL " + at + " (proto_version '1')\x00"
	sc.s.fromClient('Q', []byte(query), sc.now)
}

func u64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

func (sc *script) server(msg byte, data []byte) {
	body := append([]byte{msg}, data...)
	sc.s.fromServer('d', body)
}

// transaction sends Begin, inserts and Commit.
func (sc *script) transaction(commit, end uint64, inserts int) {
	sc.begin(commit, inserts)
	sc.server('w', append(make([]byte, 24), u64(u64([]byte{'C', 0}, commit), end)...))
}

func (sc *script) begin(commit uint64, inserts int) {
	sc.server('w', append(make([]byte, 24), u64([]byte{'B'}, commit)...))
	for range inserts {
		sc.server('w', append(make([]byte, 24), 'I', 0))
	}
}

func (sc *script) keepalive(end uint64) { sc.server('k', append(u64(nil, end), make([]byte, 9)...)) }

func (sc *script) status(lsns ...uint64) {
	body := []byte{'r'}
	for _, l := range lsns {
		body = u64(body, l)
	}
	sc.s.fromClient('d', append(body, make([]byte, 9)...), sc.now)
}

// breaks expects exactly the violations that hold the words, in order.
func (sc *script) breaks(words ...string) {
	sc.t.Helper()
	got := sc.book.report.Violations
	if len(got) != len(words) {
		sc.t.Fatalf("got violations %q, want %d", got, len(words))
	}
	for i, w := range words {
		if !strings.Contains(got[i], w) {
			sc.t.Errorf("got violation %q, want %q in it", got[i], w)
		}
	}
}

func TestHonestRelayPasses(t *testing.T) {
	sc := newScript(t)
	sc.status(0x100, 0x100, 0x100)
	sc.transaction(0x200, 0x210, 2)
	sc.transaction(0x300, 0x310, 1)
	sc.status(0x210, 0x210, 0x210)
	sc.keepalive(0x400)
	sc.status(0x400, 0x400, 0x400)
	sc.connect("0/400")
	sc.transaction(0x500, 0x510, 1)
	sc.status(0x400, 0x400, 0x400)
	sc.status(0x510, 0x510, 0x510)
	sc.breaks()
	if want := []Position{{0x200, 0}, {0x200, 1}, {0x300, 0}, {0x500, 0}}; !slices.Equal(sc.told, want) {
		t.Errorf("confirmed %v, want %v", sc.told, want)
	}
}

func TestI3_OnlyBoundaries(t *testing.T) {
	sc := newScript(t)
	sc.transaction(0x200, 0x210, 1)
	sc.status(0x200, 0x200, 0x200) // the commit LSN is not the end LSN
	sc.begin(0x300, 1)
	sc.keepalive(0x320)
	sc.status(0x320, 0x320, 0x320) // inside a transaction
	sc.breaks("I3", "I3")
}

func TestI5_NoGoingBack(t *testing.T) {
	sc := newScript(t)
	sc.transaction(0x200, 0x210, 1)
	sc.status(0x210, 0x210, 0x210)
	sc.status(0x100, 0x100, 0x100)
	sc.connect("0/100")
	sc.connect("0/0")
	sc.breaks("I5: status", "I5: session 2", "I5: session 3 starts at 0/0")
}

func TestThreePositionsAreTheSame(t *testing.T) {
	sc := newScript(t)
	sc.transaction(0x200, 0x210, 1)
	sc.status(0x210, 0x100, 0x100)
	sc.breaks("want the same")
	if len(sc.told) != 1 { // what a driver fills in counts as confirmed
		t.Errorf("confirmed %v", sc.told)
	}
}

func TestI6_StatusInterval(t *testing.T) {
	sc := newScript(t)
	sc.now = sc.now.Add(time.Second)
	sc.status(0x100, 0x100, 0x100)
	sc.now = sc.now.Add(3 * time.Second)
	sc.status(0x100, 0x100, 0x100)
	sc.breaks("I6: 3s")
}

// A direction is cut into the same messages however its bytes come.
func TestFramesInPieces(t *testing.T) {
	var stream []byte
	message := func(typ string, body string) {
		stream = append(stream, typ...)
		stream = binary.BigEndian.AppendUint32(stream, uint32(4+len(body)))
		stream = append(stream, body...)
	}
	message("", "startup")
	message("Q", "query")
	message("d", strings.Repeat("x", 300))
	message("X", "")
	for _, step := range []int{1, 3, 7, len(stream)} {
		fr := frames{first: true}
		var got []string
		for b := range slices.Chunk(stream, step) {
			fr.feed(b, func(typ byte, body []byte) { got = append(got, string(append([]byte{typ}, body...))) })
		}
		if want := []string{"\x00startup", "Qquery", "d" + strings.Repeat("x", 300), "X"}; !slices.Equal(got, want) {
			t.Errorf("in steps of %d: got %q", step, got)
		}
	}
}
