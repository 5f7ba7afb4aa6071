package checkpoint

import (
	"fmt"

	"github.com/jackc/pglogrepl"
)

// Ticket is a place in the tracker: a transaction, or a piece of a large one. Tickets count up from 0.
type Ticket uint64

// Piece is what a ticket stands for: consecutive events of one transaction, in WAL order.
type Piece struct {
	Commit pglogrepl.LSN // commit LSN of the transaction
	Last   uint32        // index of the last insert that the piece covers, whether it became an event or not
	Events int           // events that will be acked, one or more
	Bytes  int           // what they weigh
	Memory *Memory       // what they lie in; nil: it is not counted
	Time   int64         // commit time, microseconds since the Unix epoch: for the lag
}

// Progress is what has been acknowledged without a gap.
type Progress struct {
	Confirmed  pglogrepl.LSN // end LSN of the longest acked prefix (I1)
	OpenCommit pglogrepl.LSN // the transaction behind it that is acked in part, 0: none
	OpenIndex  uint32        // up to and including this insert
	Events     uint64        // events in that prefix since the tracker was made
}

// Tracker turns acks, which come in any order, into the LSN that may be confirmed. It is not safe for concurrent use.
//
// Tickets wait in a ring, oldest first. A ticket whose transaction has not ended has no end LSN yet; when the end comes,
// the newest ticket takes it. Only the front of the ring moves Progress.
type Tracker struct {
	ring  []ticket // power of two
	head  Ticket   // the oldest ticket not yet popped
	next  Ticket   // the one filed next
	done  Progress
	open  pglogrepl.LSN // commit LSN of the transaction whose end has not been filed, 0: between transactions
	filed uint64        // events filed since the tracker was made
	acked uint64        // events acked since then, in the prefix or not
	bytes int           // of memory that still holds an unacked event
}

type ticket struct {
	Piece
	end  pglogrepl.LSN // 0: the transaction goes on
	left int
}

// Memory is what the events of several tickets lie in. All of it counts until the last of them is acked: one stalled lane
// pins what its events share with others.
type Memory struct {
	left, bytes int
	closed      bool
	free        func()
}

// NewMemory returns memory without events; free, when not nil, is called once Close was and every event is acked.
func NewMemory(free func()) *Memory { return &Memory{free: free} }

// Close says that no more events will be filed that lie in m.
func (m *Memory) Close() {
	m.closed = true
	m.settle()
}

func (m *Memory) settle() {
	if m.closed && m.left == 0 && m.free != nil {
		m.free()
		m.free = nil
	}
}

// NewTracker starts at the LSN from which the slot is read; 0 is refused, because an LSN that rises from 0 would be
// confirmed below what the slot already holds (I5).
func NewTracker(start pglogrepl.LSN) *Tracker {
	if start == 0 {
		panic("checkpoint: a tracker starts at the slot's position, never at 0 (I5)")
	}
	return &Tracker{done: Progress{Confirmed: start}, ring: make([]ticket, 64)}
}

// Resume notes that of the transaction at commit all inserts up to index are already acked, by an earlier life whose mark
// says so. It is called right after NewTracker.
func (t *Tracker) Resume(commit pglogrepl.LSN, index uint32) {
	t.done.OpenCommit, t.done.OpenIndex = commit, index
}

// File takes a place for a piece of the transaction that the slot is sending. Its end follows by End.
func (t *Tracker) File(p Piece) Ticket {
	if p.Events < 1 {
		panic("checkpoint: a ticket without events: transactions without any file only their end")
	}
	if t.open != 0 && t.open != p.Commit {
		panic(fmt.Sprintf("checkpoint: a piece of the transaction at %s before the end of the one at %s", p.Commit, t.open))
	}
	t.open = p.Commit
	if int(t.next-t.head) == len(t.ring) {
		t.grow()
	}
	at := t.next
	*t.at(at) = ticket{Piece: p, left: p.Events}
	t.next++
	t.filed += uint64(p.Events)
	if m := p.Memory; m != nil {
		m.left += p.Events
		m.bytes += p.Bytes
		t.bytes += p.Bytes
	}
	return at
}

// End files the end LSN of the transaction whose pieces were filed last, or of one without events. end must not fall.
func (t *Tracker) End(end pglogrepl.LSN) {
	t.open = 0
	t.raise(end)
}

// Keepalive files a position between two transactions: everything before it that concerns us has been filed. Inside a
// transaction it is ignored, because the transaction's own end is still to come (I3).
func (t *Tracker) Keepalive(end pglogrepl.LSN) {
	if t.open == 0 {
		t.raise(end)
	}
}

// raise gives an end to the newest ticket that still waits; a position with nothing unacked before it is confirmed at once.
func (t *Tracker) raise(end pglogrepl.LSN) {
	if t.head != t.next {
		newest := t.at(t.next - 1)
		newest.end = max(newest.end, end)
		return
	}
	t.confirm(end)
}

// confirm moves the confirmed LSN up. The open part is forgotten once its transaction lies before it: a keepalive can come
// between a restart and the transaction that the mark says is acked in part.
func (t *Tracker) confirm(end pglogrepl.LSN) {
	t.done.Confirmed = max(t.done.Confirmed, end)
	if t.done.Confirmed > t.done.OpenCommit {
		t.done.OpenCommit, t.done.OpenIndex = 0, 0
	}
}

// Ack counts down n events of a ticket.
func (t *Tracker) Ack(at Ticket, n int) {
	if at < t.head || at >= t.next || n < 1 || n > t.at(at).left {
		panic(fmt.Sprintf("checkpoint: ack of %d events of ticket %d, which does not wait for so many (tickets %d to %d wait)", n, at, t.head, t.next))
	}
	k := t.at(at)
	k.left -= n
	t.acked += uint64(n)
	if m := k.Memory; m != nil {
		if m.left -= n; m.left == 0 {
			t.bytes -= m.bytes
			m.bytes = 0
			m.settle()
		}
	}
	for t.head != t.next {
		front := t.at(t.head)
		if front.left > 0 {
			return
		}
		t.done.Events += uint64(front.Events)
		if front.end != 0 {
			t.confirm(front.end)
		} else {
			t.done.OpenCommit, t.done.OpenIndex = front.Commit, front.Last
		}
		*front = ticket{} // its memory may go
		t.head++
	}
}

// Progress is what has been acknowledged without a gap. It never goes back (I5).
func (t *Tracker) Progress() Progress { return t.done }

// Confirmed is the LSN that may be confirmed: the end LSN of the longest acked prefix.
func (t *Tracker) Confirmed() pglogrepl.LSN { return t.done.Confirmed }

// Unacked counts the events that wait for an ack.
func (t *Tracker) Unacked() int { return int(t.filed - t.acked) }

// Filed counts the events filed since the tracker was made; Filed - Progress().Events is what a kill now would repeat at most.
func (t *Tracker) Filed() uint64 { return t.filed }

// Bytes is the weight of all memory that holds an unacked event.
func (t *Tracker) Bytes() int { return t.bytes }

// Oldest returns the piece at the front, the one that everything waits for.
func (t *Tracker) Oldest() (Piece, bool) {
	if t.head == t.next {
		return Piece{}, false
	}
	return t.at(t.head).Piece, true
}

func (t *Tracker) at(n Ticket) *ticket { return &t.ring[uint64(n)&uint64(len(t.ring)-1)] }

func (t *Tracker) grow() {
	bigger := make([]ticket, 2*len(t.ring))
	for n := t.head; n < t.next; n++ {
		bigger[uint64(n)&uint64(len(bigger)-1)] = *t.at(n)
	}
	t.ring = bigger
}
