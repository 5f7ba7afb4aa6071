package lanes

import (
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
)

// keepQueue is how many places an empty queue keeps; a longer one, left by an outage, is given back.
const keepQueue = 4096

// lane is one ordered queue, and how it fares. The mutex guards all but number and batch.
type lane struct {
	number int
	batch  []*decoder.Event // the worker's own: reused for each batch

	mu     sync.Mutex
	queue  []*decoder.Event // queue[head:] waits
	head   int
	active bool // a worker runs, or is about to
	closed bool // takes nothing more

	taken   int       // events that the worker holds: taken from the queue and not settled
	tried   time.Time // when the oldest of them was first tried; zero: not yet
	writing bool
	err     string      // the last answer, when it was a failure or a rejection that the lane halted on
	failed  uint64      // turn of the first failure since the last progress; 0: it does not fail
	since   time.Time   // when that was
	notice  sink.Notice // what it has told the operator
}

// push appends events; it reports whether a worker must be started.
func (l *lane) push(ev *decoder.Event) (start bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if l.head > 0 && len(l.queue) == cap(l.queue) && l.head >= len(l.queue)/2 {
		n := copy(l.queue, l.queue[l.head:]) // make room at the front rather than grow
		clear(l.queue[n:])
		l.queue, l.head = l.queue[:n], 0
	}
	l.queue = append(l.queue, ev)
	start = !l.active
	l.active = true
	return start
}

// take moves the next batch from the queue into l.batch. Empty: the worker must end, another may already be on its way.
func (l *lane) take(maxEvents, maxBytes int) []*decoder.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.batch) // what is settled is let go
	l.batch = l.batch[:0]
	for weight := 0; l.head < len(l.queue) && len(l.batch) < maxEvents; l.head++ {
		ev := l.queue[l.head]
		if weight += ev.Bytes(); weight > maxBytes && len(l.batch) > 0 {
			break
		}
		l.batch = append(l.batch, ev)
		l.queue[l.head] = nil // the block behind it may go once the event is settled
	}
	if l.head == len(l.queue) {
		l.queue, l.head = l.queue[:0], 0
		if cap(l.queue) > keepQueue {
			l.queue = nil
		}
	}
	l.taken, l.tried = len(l.batch), time.Time{}
	l.active = l.taken > 0
	return l.batch
}

// begin notes that a write of n events starts.
func (l *lane) begin(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken, l.writing = n, true; l.tried.IsZero() {
		l.tried = time.Now()
	}
}

// advance notes that a write has ended, with n events left that are new at the front: the lane moves.
func (l *lane) advance(n int) (told sink.Notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	told = l.notice
	l.taken, l.writing, l.tried = n, false, time.Time{}
	l.err, l.failed, l.notice = "", 0, sink.Notice{}
	return told
}

// fail notes that a write has ended with f; turn places it among the answers of all lanes.
func (l *lane) fail(f *Failure, turn uint64) (told sink.Notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing, l.err = false, f.Err.Error()
	if l.failed == 0 {
		l.failed, l.since = turn, time.Now()
	}
	told, l.notice = l.notice, f.Notice
	return told
}

// halt notes that the lane stays where it is.
func (l *lane) halt(n int, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken, l.writing, l.err = n, false, why.Error()
	if l.tried.IsZero() {
		l.tried = time.Now()
	}
}

// close makes the lane take nothing more.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}
