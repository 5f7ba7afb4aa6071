package checkpoint

import (
	"math/rand/v2"
	"testing"

	"github.com/jackc/pglogrepl"
	"pgregory.net/rapid"
)

// model is the tracker as one would write it without a thought for speed: every event and every end is kept.
type model struct {
	start pglogrepl.LSN
	log   []modelItem
}

// tally is what the test knows of one Memory.
type tally struct {
	left, bytes   int
	closed, freed bool
}

type modelItem struct {
	end    pglogrepl.LSN // an end or a keepalive, when not 0
	commit pglogrepl.LSN
	last   uint32
	left   int
}

func (m *model) progress() (p Progress) {
	p.Confirmed = m.start
	for _, it := range m.log {
		if it.end != 0 {
			p.Confirmed = max(p.Confirmed, it.end)
			p.OpenCommit, p.OpenIndex = 0, 0
			continue
		}
		if it.left > 0 {
			return p
		}
		p.OpenCommit, p.OpenIndex = it.commit, it.last
	}
	return p
}

func TestI1I3I5_AnyAckOrderAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const start = 1000
		tr, m := NewTracker(start), &model{start: start}
		var wal pglogrepl.LSN = start
		var commit pglogrepl.LSN
		var last uint32
		var memory *Memory
		weights := map[*Memory]*tally{}
		begin := func() {
			w := new(tally)
			memory = NewMemory(func() { w.freed = true })
			weights[memory] = w
		}
		begin()
		items := map[Ticket]int{}
		var waiting []Ticket
		before := tr.Progress()

		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1: // a piece
				if commit == 0 {
					wal += pglogrepl.LSN(rapid.IntRange(1, 50).Draw(t, "wal"))
					commit, last = wal, 0
				}
				n := rapid.IntRange(1, 4).Draw(t, "events")
				last += uint32(n)
				if rapid.Bool().Draw(t, "memory") {
					weights[memory].closed = true
					memory.Close()
					begin()
				}
				k := tr.File(Piece{Commit: commit, Last: last, Events: n, Bytes: 10 * n, Memory: memory})
				items[k] = len(m.log)
				m.log = append(m.log, modelItem{commit: commit, last: last, left: n})
				waiting = append(waiting, k)
				weights[memory].left += n
				weights[memory].bytes += 10 * n
			case 2: // an end, of a transaction with pieces or without
				wal = max(wal, commit) + pglogrepl.LSN(rapid.IntRange(1, 50).Draw(t, "wal"))
				tr.End(wal)
				commit = 0
				m.log = append(m.log, modelItem{end: wal})
			case 3: // a keepalive, counted only between transactions
				lsn := wal + pglogrepl.LSN(rapid.IntRange(0, 50).Draw(t, "wal"))
				tr.Keepalive(lsn)
				if commit == 0 {
					m.log = append(m.log, modelItem{end: lsn})
					wal = lsn
				}
			default: // an ack of some events of any ticket
				if len(waiting) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "ticket")
				k := waiting[i]
				it := &m.log[items[k]]
				n := rapid.IntRange(1, it.left).Draw(t, "acks")
				b := tr.at(k).Memory
				tr.Ack(k, n)
				it.left -= n
				if it.left == 0 {
					waiting = append(waiting[:i], waiting[i+1:]...)
				}
				w := weights[b]
				if w.left -= n; w.left == 0 {
					w.bytes = 0
				}
			}
			got, want := tr.Progress(), m.progress()
			want.Events = got.Events
			if got != want {
				t.Fatalf("progress: got %+v, want %+v", got, want)
			}
			if got.Confirmed < before.Confirmed || got.Events < before.Events {
				t.Fatalf("I5: progress fell from %+v to %+v", before, got)
			}
			before = got
			unacked, bytes := 0, 0
			for _, it := range m.log {
				unacked += it.left
			}
			for _, w := range weights {
				bytes += w.bytes
				if want := w.closed && w.left == 0; w.freed != want {
					t.Fatalf("memory with %d events unacked: freed is %t, want %t", w.left, w.freed, want)
				}
			}
			if tr.Unacked() != unacked || tr.Bytes() != bytes {
				t.Fatalf("holds %d events, %d bytes; want %d, %d", tr.Unacked(), tr.Bytes(), unacked, bytes)
			}
		}
	})
}

func TestI3_KeepaliveInsideATransactionIsIgnored(t *testing.T) {
	t.Parallel()
	tr := NewTracker(100)
	k := tr.File(Piece{Commit: 200, Last: 0, Events: 1})
	tr.Ack(k, 1)
	tr.Keepalive(500)
	if got, want := tr.Confirmed(), pglogrepl.LSN(100); got != want {
		t.Fatalf("confirmed %s inside a transaction, want %s", got, want)
	}
	if got := tr.Progress(); got.OpenCommit != 200 || got.OpenIndex != 0 {
		t.Fatalf("open part %+v, want 200/0", got)
	}
	tr.End(220)
	if got, want := tr.Confirmed(), pglogrepl.LSN(220); got != want {
		t.Fatalf("confirmed %s after the end, want %s", got, want)
	}
}

// After a restart the mark says that half of the transaction at 300 is acked; keepalives before it must not forget that.
func TestResume_KeepaliveBeforeTheOpenTransaction(t *testing.T) {
	t.Parallel()
	tr := NewTracker(100)
	tr.Resume(300, 41)
	tr.Keepalive(250)
	if got := tr.Progress(); got.Confirmed != 250 || got.OpenCommit != 300 || got.OpenIndex != 41 {
		t.Fatalf("got %+v, want 250 with 300/41 open", got)
	}
	tr.End(320)
	if got := tr.Progress(); got.Confirmed != 320 || got.OpenCommit != 0 {
		t.Fatalf("got %+v, want 320 with nothing open", got)
	}
}

func TestTracker_RefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"start at 0":      func() { NewTracker(0) },
		"ack of nothing":  func() { NewTracker(1).Ack(0, 1) },
		"ack of too many": func() { tr := NewTracker(1); tr.Ack(tr.File(Piece{Commit: 5, Events: 2}), 3) },
		"empty piece":     func() { NewTracker(1).File(Piece{Commit: 5}) },
		"two open at once": func() {
			tr := NewTracker(1)
			tr.File(Piece{Commit: 5, Events: 1})
			tr.File(Piece{Commit: 6, Events: 1})
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func BenchmarkTracker(b *testing.B) {
	tr := NewTracker(1)
	r := rand.New(rand.NewPCG(1, 1))
	var window []Ticket
	memory := NewMemory(nil)
	b.ReportAllocs()
	for i := range b.N {
		window = append(window, tr.File(Piece{Commit: pglogrepl.LSN(2*i + 2), Events: 1, Bytes: 400, Memory: memory}))
		tr.End(pglogrepl.LSN(2*i + 3))
		if len(window) == 10000 {
			r.Shuffle(len(window), func(i, j int) { window[i], window[j] = window[j], window[i] })
			for _, k := range window {
				tr.Ack(k, 1)
			}
			window = window[:0]
		}
	}
}
