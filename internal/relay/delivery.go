package relay

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/metrics"
	"github.com/cdc-relay/cdc-relay/sink"
)

// requeued marks the token of an event that the keeper publishes again from the dead-letter table; the rest of the token is
// the letter's id. All other tokens are tickets of the tracker.
const requeued = 1 << 63

// delivery joins the slot's side to the sink's: it files tickets, keeps the window, publishes, and counts acks down. It
// outlives sessions: while nobody else has had the slot, a new one reads again what is not confirmed and hands on only
// what is behind the last position handed on.
type delivery struct {
	metrics  *metrics.Relay
	policy   Policy
	parking  *parking
	requeues *requeues
	halt     func(error) // the relay has to stop because of an event
	notice   func(sink.Notice)

	room    atomic.Pointer[func()] // wakes the session: something was acked or marked, look at the window again
	waiting atomic.Bool            // whether it waits for that
	due     chan struct{}          // half a window is acked and not marked

	pool decoder.Pool // blocks whose events are all acked

	publishing sync.Mutex // one publisher at a time: session and keeper
	sink       sink.Sink

	mu        sync.Mutex
	tracker   *checkpoint.Tracker
	handed    decoder.Position // the last insert handed on
	ended     bool             // its transaction's end is filed
	marked    uint64           // Progress().Events of the last mark
	maxEvents int
	maxBytes  int
	seq       int64                     // the highest outbox.seq handed on, or seen when the slot had nothing more to send
	idle      bool                      // the slot has nothing more to send
	verdicts  map[decoder.Position]bool // events that need no sink: their rows in the dead-letter table say so
	published map[string]prometheus.Counter
}

// begin starts a tenure: nothing is under way, and the slot is read from lsn on.
func (d *delivery) begin(s sink.Sink, lsn pglogrepl.LSN, open decoder.Position, verdicts map[decoder.Position]bool) {
	d.publishing.Lock()
	d.sink = s
	d.publishing.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tracker = checkpoint.NewTracker(lsn)
	d.handed, d.ended, d.marked, d.seq, d.verdicts = open, false, 0, 0, verdicts
	if open.Commit != 0 {
		d.tracker.Resume(open.Commit, open.Index)
	}
}

// skipThrough is the position up to which a new session passes over inserts.
func (d *delivery) skipThrough() decoder.Position {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return decoder.Position{Commit: d.handed.Commit, Index: math.MaxUint32}
	}
	return d.handed
}

// follow begins the memory of a block of the decoder, and says that the one before gets no more events: it goes back to the
// pool as soon as all of its events are acked.
func (d *delivery) follow(before *checkpoint.Memory, b *decoder.Block) *checkpoint.Memory {
	d.mu.Lock()
	defer d.mu.Unlock()
	if before != nil {
		before.Close()
	}
	return checkpoint.NewMemory(func() { d.pool.Put(b) })
}

// progress is what may be marked.
func (d *delivery) progress() checkpoint.Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tracker.Progress()
}

// noteMark makes room in the window: what the mark holds is not repeated after a kill.
func (d *delivery) noteMark(p checkpoint.Progress) {
	d.mu.Lock()
	d.marked = p.Events
	d.mu.Unlock()
	d.wake()
}

// judge replaces the verdicts of a tenure that goes on.
func (d *delivery) judge(verdicts map[decoder.Position]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.verdicts = verdicts
}

// markedEvents is what the last mark counted.
func (d *delivery) markedEvents() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.marked
}

// wake lets a session that waits look at the window again.
func (d *delivery) wake() {
	if !d.waiting.Load() {
		return
	}
	if f := d.room.Load(); f != nil {
		(*f)()
	}
}

// capacity is how many more events may be handed on (I8). Acked but unmarked ones count, so that a kill repeats at most a
// window. An empty window always takes one event, whatever it weighs.
func (d *delivery) capacity() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	held := int(d.tracker.Filed() - d.marked)
	if held == 0 {
		return max(1, d.maxEvents)
	}
	if d.tracker.Bytes() >= d.maxBytes {
		return 0
	}
	return max(0, d.maxEvents-held)
}

// unacked counts what is under way.
func (d *delivery) unacked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tracker.Unacked()
}

// oldest is the piece that everything waits for.
func (d *delivery) oldest() (checkpoint.Piece, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tracker.Oldest()
}

// view is the delivery's part of a status.
type view struct {
	confirmed      pglogrepl.LSN
	unacked, bytes int
	pending        int64
	lag            time.Duration
}

// view estimates how many committed events are not yet acknowledged: those under way, and those that the outbox's sequence
// has numbered beyond the last one handed on. The sequence runs ahead (rolled-back rows, open transactions, 32 numbers
// after a crash), so whenever the slot has nothing more to send the estimate is 0, and it counts from there on.
func (d *delivery) view(outboxSeq int64) view {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := view{confirmed: d.tracker.Confirmed(), unacked: d.tracker.Unacked(), bytes: d.tracker.Bytes()}
	v.pending = int64(v.unacked)
	if d.idle && v.unacked == 0 {
		d.seq = max(d.seq, outboxSeq)
	}
	if d.seq > 0 {
		v.pending += max(0, outboxSeq-d.seq)
	}
	if p, ok := d.tracker.Oldest(); ok {
		v.lag = max(0, time.Since(time.UnixMicro(p.Time)))
	}
	return v
}

// setIdle notes whether the slot has nothing more to send.
func (d *delivery) setIdle(idle bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.idle = idle
}

// hand files the events and publishes them. They are consecutive, of one transaction or of several whose ends lie in cuts.
func (d *delivery) hand(events []decoder.Event, cuts []cut, memory *checkpoint.Memory) {
	d.mu.Lock()
	done := 0
	for _, c := range cuts {
		d.file(events[done:c.upTo], memory)
		done = c.upTo
		d.end(c.commit, c.end)
	}
	d.file(events[done:], memory)
	d.idle = false
	if n := len(events); n > 0 {
		d.seq = max(d.seq, events[n-1].Seq)
	}
	d.mu.Unlock()

	for len(events) > 0 {
		n := 0
		for n < len(events) && events[n].Refused == "" && !d.verdicts[events[n].Position] {
			n++
		}
		if n > 0 {
			d.publish(events[:n])
		}
		if n < len(events) { // what no sink may be given takes the sink's way out
			ev := &events[n]
			if d.verdicts[ev.Position] {
				d.ackNow(ev)
			} else if d.Reject(ev, sink.Rejection{Reason: "refused", Err: errors.New(ev.Refused)}) == sink.Halt {
				return
			}
			n++
		}
		events = events[n:]
	}
}

func (d *delivery) publish(events []decoder.Event) {
	d.publishing.Lock()
	defer d.publishing.Unlock()
	d.sink.Publish(events)
}

// file takes a ticket for the events, all of one transaction, and gives them its token.
func (d *delivery) file(events []decoder.Event, memory *checkpoint.Memory) {
	if len(events) == 0 {
		return
	}
	bytes := 0
	for i := range events {
		bytes += events[i].Bytes()
	}
	last := &events[len(events)-1]
	ticket := d.tracker.File(checkpoint.Piece{
		Commit: last.Commit, Last: last.Index, Events: len(events), Bytes: bytes, Memory: memory, Time: last.CommitTime,
	})
	for i := range events {
		events[i].Token = uint64(ticket)
	}
	d.handed, d.ended = last.Position, false
}

// end files the end of a transaction, unless an earlier session did.
func (d *delivery) end(commit, end pglogrepl.LSN) {
	if commit < d.handed.Commit || commit == d.handed.Commit && d.ended {
		return
	}
	d.tracker.End(end)
	if commit > d.handed.Commit {
		d.handed = decoder.Position{Commit: commit}
	}
	d.ended = true
}

// keepalive files a position between transactions.
func (d *delivery) keepalive(lsn pglogrepl.LSN) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tracker.Keepalive(lsn)
}

// ackNow acknowledges events that need no sink: their verdict stands in the dead-letter table.
func (d *delivery) ackNow(ev *decoder.Event) {
	d.mu.Lock()
	d.tracker.Ack(checkpoint.Ticket(ev.Token), 1)
	d.mu.Unlock()
	d.afterAck()
}

// Divert is the Receiver's: events of a parked key do not reach the sink.
func (d *delivery) Divert(ev *decoder.Event) bool {
	if ev.Token&requeued != 0 {
		return d.requeues.divert(ev)
	}
	if !d.parking.holds(ev) {
		return false
	}
	d.park(parkedEvent{event: ev, reason: "behind_parked", err: "an earlier event of this key is parked"})
	return true
}

// Ack is the Receiver's: it counts the tickets of the events down, a run of one ticket at a time. Once a ticket is counted
// down its events may be gone: their memory goes back to the pool.
func (d *delivery) Ack(events []*decoder.Event) {
	micros := time.Now().UnixMicro()
	d.mu.Lock()
	for i := 0; i < len(events); {
		token, committed := events[i].Token, events[i].CommitTime
		n := 1
		for i+n < len(events) && events[i+n].Token == token {
			n++
		}
		d.count(events[i : i+n])
		if token&requeued != 0 {
			d.requeues.settle(int64(token&^requeued), nil)
		} else {
			seconds := float64(max(0, micros-committed)) / 1e6
			for range n {
				d.metrics.PublishSeconds.Observe(seconds)
			}
			d.tracker.Ack(checkpoint.Ticket(token), n)
		}
		i += n
	}
	d.mu.Unlock()
	d.afterAck()
}

// count adds to the topics' counters.
func (d *delivery) count(events []*decoder.Event) {
	for i := 0; i < len(events); {
		topic := events[i].Topic
		n := 1
		for i+n < len(events) && events[i+n].Topic == topic {
			n++
		}
		c := d.published[topic]
		if c == nil {
			c = d.metrics.Published.WithLabelValues(topic)
			d.published[topic] = c
		}
		c.Add(float64(n))
		i += n
	}
}

func (d *delivery) afterAck() {
	d.mu.Lock()
	due := int(d.tracker.Progress().Events-d.marked) >= max(1, d.maxEvents/2)
	d.mu.Unlock()
	if due {
		signal(d.due)
	}
	d.wake()
}

// Reject is the Receiver's: an event that will never be accepted goes where the policy says.
func (d *delivery) Reject(ev *decoder.Event, why sink.Rejection) sink.Verdict {
	d.metrics.Rejected.WithLabelValues(ev.Topic, why.Reason).Inc()
	if ev.Token&requeued != 0 {
		d.requeues.settle(int64(ev.Token&^requeued), &why)
		return sink.Taken
	}
	if d.policy == Halt {
		d.halt(&StopError{Code: ExitEvent, Err: fmt.Errorf("event %s at %s (topic %q, key %q) was rejected: %w; `cdc-relay skip --position %s` passes over it, and on_reject: park would set such events aside",
			ev.ID, ev.Position, ev.Topic, ev.Key, why.Err, ev.Position)})
		return sink.Halt
	}
	return d.park(parkedEvent{event: ev, reason: why.Reason, err: why.Err.Error(), alone: d.policy == DeadLetter})
}

func (d *delivery) park(e parkedEvent) sink.Verdict {
	if d.parking.put(e) {
		return sink.Taken
	}
	d.halt(&StopError{Code: ExitEvent, Err: fmt.Errorf("the dead-letter table holds limits.max_parked (%d) unresolved events, and the event %s at %s would be one more: %s; look at `cdc-relay dlq list`, requeue or drop them, or raise the limit",
		d.parking.max, e.event.ID, e.event.Position, e.err)})
	return sink.Halt
}

// Attempted is the Receiver's.
func (d *delivery) Attempted(events int, reason string) {
	d.metrics.Attempts.Inc()
	d.metrics.BatchEvents.Observe(float64(events))
	if reason != "" {
		d.metrics.AttemptsFailed.WithLabelValues(reason).Inc()
	}
}

// Notice is the Receiver's.
func (d *delivery) Notice(n sink.Notice) { d.notice(n) }

// cut is the end of a transaction among the events of a block.
type cut struct {
	upTo   int // events before the end
	commit pglogrepl.LSN
	end    pglogrepl.LSN
}
