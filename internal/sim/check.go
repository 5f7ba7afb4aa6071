package sim

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/walsender"
)

// Checker knows what was committed, and is told what the slot, the mark, the dead letters and the destination are told, at
// the moment they are. It holds no lock of theirs and calls none of them: it may be told under any lock.
type Checker struct {
	policy relay.Policy

	mu       sync.Mutex
	began    time.Time
	clock    int // counts what it was told: tells before from after
	events   map[string]*event
	lanes    map[string][]*event // by topic and key, in commit order
	txns     []*txn              // in commit order
	done     int                 // txns before it are confirmed
	marked   pglogrepl.LSN
	reports  []report                 // each time that what is confirmed or marked rose
	statuses map[uint32]pglogrepl.LSN // the last of each walsender
	copies   int                      // records beyond the first of each event, replays apart
	held     map[any]int              // events that each sink holds
	maxHeld  int                      // the most that any one held
	failures []string
	trace    []string
}

type event struct {
	id     string
	lane   string
	at     int // in its lane
	value  string
	topic  string
	key    string
	index  uint32
	commit time.Time

	first   *decoder.Event // the first copy, its bytes cloned
	safe    int            // clock when it was first delivered or written to the dead letters, 0: not yet
	stored  bool
	refused bool // by the destination, for good
	letter  deadletter.State
	filed   int // clock when it became a dead letter
}

type txn struct {
	first, commit, end pglogrepl.LSN
	events             []*event
}

type report struct {
	what  string
	lsn   pglogrepl.LSN
	clock int
}

// NewChecker returns a checker of a world in which nothing has happened yet.
func NewChecker(policy relay.Policy) *Checker {
	return &Checker{
		policy: policy, began: time.Now(), events: map[string]*event{}, lanes: map[string][]*event{},
		statuses: map[uint32]pglogrepl.LSN{}, held: map[any]int{},
	}
}

// Failures returns what was broken, the first first.
func (c *Checker) Failures() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.failures...)
}

// Trace returns what happened, in order, the last some hundred lines.
func (c *Checker) Trace() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.trace...)
}

// Note adds a line to the trace.
func (c *Checker) Note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(format, args...)
}

func (c *Checker) note(format string, args ...any) {
	const most = 400
	if len(c.trace) >= 2*most {
		c.trace = append(c.trace[:0], c.trace[most:]...)
	}
	c.trace = append(c.trace, fmt.Sprintf("%9.3fs ", time.Since(c.began).Seconds())+fmt.Sprintf(format, args...))
}

// Fail notes a failure.
func (c *Checker) Fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(format, args...)
}

func (c *Checker) fail(format string, args ...any) {
	if len(c.failures) < 10 {
		c.failures = append(c.failures, fmt.Sprintf(format, args...))
	}
	c.note("FAILED "+format, args...)
}

// Row is a row of the outbox that is about to be committed, or an event without one.
type Row struct {
	Seq               int
	Topic, Key, Value string
	Tableless, Sub    bool // as walsender.Row's
}

// Commit commits rows and files them; one goroutine alone may call it.
func (c *Checker) Commit(srv *walsender.Server, rel *walsender.Relation, rows ...Row) walsender.Txn {
	t := &txn{}
	encoded := make([]walsender.Row, len(rows))
	c.mu.Lock()
	for i, r := range rows {
		row := walsender.OutboxRow(rel, r.Seq, r.Key, r.Value)
		row.Values[4], row.Tableless, row.Sub = r.Topic, r.Tableless, r.Sub
		encoded[i] = row
		name := r.Topic + "/" + r.Key
		e := &event{
			id: row.Values[0].(string), lane: name, at: len(c.lanes[name]), value: r.Value, topic: r.Topic, key: r.Key,
			index: uint32(i), commit: time.Now(),
		}
		c.lanes[name] = append(c.lanes[name], e)
		c.events[e.id] = e
		t.events = append(t.events, e)
	}
	c.mu.Unlock()
	out := srv.Commit(encoded...)
	t.commit, t.end, t.first = out.Commit, out.End, out.First()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note("commit %s: %d rows, end %s", t.commit, len(rows), t.end)
	c.txns = append(c.txns, t)
	for _, r := range c.reports { // what was told of it before its LSNs were known here
		c.judge(r, t)
	}
	return out
}

// judge says whether a report may stand, as far as one transaction is concerned (I1, I3).
func (c *Checker) judge(r report, t *txn) {
	if t.first < r.lsn && r.lsn < t.end {
		c.fail("I3: %s %s lies inside the transaction at %s, from %s to %s", r.what, r.lsn, t.commit, t.first, t.end)
	}
	if t.end > r.lsn {
		return
	}
	for _, e := range t.events {
		if e.safe == 0 || e.safe > r.clock {
			c.fail("I1: %s %s, and event %s at %s/%d is neither delivered nor a dead letter", r.what, r.lsn, e.id, t.commit, e.index)
			return
		}
	}
}

func (c *Checker) told(what string, lsn pglogrepl.LSN) {
	c.clock++
	r := report{what, lsn, c.clock}
	c.reports = append(c.reports, r)
	for _, t := range c.txns[c.done:] {
		c.judge(r, t)
		if t.end > lsn {
			break
		}
	}
	if what != "marked" {
		return
	}
	for c.done < len(c.txns) && c.txns[c.done].end <= lsn {
		c.done++
	}
}

// OnStatus is walsender.Config's.
func (c *Checker) OnStatus(s walsender.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.statuses[s.PID]
	switch {
	case s.Flush == 0 || s.Write != s.Flush || s.Apply != s.Flush:
		c.fail("I5: status of walsender %d says %s, %s, %s", s.PID, s.Write, s.Flush, s.Apply)
	case s.Flush < last:
		c.fail("I5: status of walsender %d says %s after %s", s.PID, s.Flush, last)
	case s.Flush > c.marked:
		c.fail("I1: status of walsender %d says %s, and the mark stands at %s", s.PID, s.Flush, c.marked)
	}
	if s.Flush != last {
		c.note("status of walsender %d: %s", s.PID, s.Flush)
		c.told("confirmed", s.Flush)
	}
	c.statuses[s.PID] = s.Flush
}

// OnMark is Database's.
func (c *Checker) OnMark(u checkpoint.Update) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u.LSN < c.marked {
		c.fail("I5: mark at %s after %s", u.LSN, c.marked)
	}
	c.note("mark: %s, open %s/%d", u.LSN, u.OpenCommit, u.OpenIndex)
	c.marked = u.LSN
	c.told("marked", u.LSN)
	for _, t := range c.txns[c.done:] {
		if t.commit != u.OpenCommit {
			continue
		}
		for _, e := range t.events {
			if e.index <= u.OpenIndex && e.safe == 0 {
				c.fail("I1: mark is open up to %s/%d, and event %d is neither delivered nor a dead letter", u.OpenCommit, u.OpenIndex, e.index)
			}
		}
	}
}

// OnLetter is Database's.
func (c *Checker) OnLetter(l deadletter.Letter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	e := c.events[l.EventID]
	if e == nil {
		c.fail("dead letter %d is of an event %q that nobody committed", l.ID, l.EventID)
		return
	}
	c.note("dead letter %d: %s, event %s of %s", l.ID, l.State, e.id, e.lane)
	e.letter = l.State
	if e.filed == 0 {
		e.filed = c.clock
	}
	if e.safe == 0 {
		e.safe = c.clock
	}
	if string(l.Value) != e.value || l.Topic != e.topic || string(l.Key) != e.key {
		c.fail("I9: dead letter %d is not event %s as committed", l.ID, e.id)
	}
}

// now is the clock.
func (c *Checker) now() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock
}

// stored is Destination's: ev lies there from now on. opened is when the sink was opened that brought it.
func (c *Checker) stored(ev *decoder.Event, opened int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	e := c.events[string(ev.ID)]
	if e == nil {
		c.fail("phantom: event %q was never committed", ev.ID)
		return
	}
	if string(ev.Value) != e.value || ev.Topic != e.topic || string(ev.Key) != e.key {
		c.fail("I9: event %s arrived with topic %q, key %q and %d bytes of value; committed with %q, %q and %d", e.id, ev.Topic, ev.Key, len(ev.Value), e.topic, e.key, len(e.value))
	}
	replay := replayed(ev)
	if !replay && e.filed != 0 && e.filed <= opened {
		c.fail("event %s arrived from a sink that was opened when it was a dead letter already, now %s: its verdict was not heeded", e.id, e.letter)
	}
	if !e.stored {
		c.order(e)
	} else if !replay {
		c.copies++
	}
	if !replay && e.first != nil && (!bytes.Equal(e.first.Headers.Bytes, ev.Headers.Bytes) || e.first.CommitTime != ev.CommitTime || e.first.Partition != ev.Partition) {
		c.fail("I9: a copy of event %s differs: headers %q and time %d, first %q and %d", e.id, ev.Headers.Bytes, ev.CommitTime, e.first.Headers.Bytes, e.first.CommitTime)
	}
	if !replay && e.first == nil {
		e.first = &decoder.Event{CommitTime: ev.CommitTime, Partition: ev.Partition}
		e.first.Headers.Bytes = bytes.Clone(ev.Headers.Bytes)
	}
	e.stored = true
	if e.safe == 0 {
		e.safe = c.clock
	}
}

func replayed(ev *decoder.Event) bool {
	for name := range ev.Headers.All() {
		if string(name) == deadletter.ReplayHeader {
			return true
		}
	}
	return false
}

// refused is Destination's: it will never take ev.
func (c *Checker) refused(ev *decoder.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.events[string(ev.ID)]; e != nil {
		e.refused = true
		c.note("refused: event %s of %s", e.id, e.lane)
	}
}

// order is I2: at first sight of an event all earlier ones of its key have been delivered, or given up by an operator; or,
// where a rejected event goes alone, been refused.
func (c *Checker) order(e *event) {
	for _, o := range c.lanes[e.lane][:e.at] {
		alone := c.policy == relay.DeadLetter && (o.refused || o.letter != "")
		if !o.stored && !alone && o.letter != deadletter.Dropped && o.letter != deadletter.Skipped {
			c.fail("I2: event %s (%d of %s) arrived before %s (%d), whose dead letter is %q", e.id, e.at, e.lane, o.id, o.at, o.letter)
			return
		}
	}
}

// hold counts what a sink holds; n is negative when events are settled.
func (c *Checker) hold(sink any, n, window int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[sink] += n
	c.maxHeld = max(c.maxHeld, c.held[sink])
	if c.held[sink] > window {
		c.fail("I8: a sink holds %d events, and the window is %d", c.held[sink], window)
	}
}

// Copies counts records beyond the first of each event, replays apart.
func (c *Checker) Copies() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.copies
}

// Sinks counts the sinks that held anything: one for each tenure.
func (c *Checker) Sinks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held)
}

// Missing names events that are neither delivered nor given up by an operator.
func (c *Checker) Missing() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.txns {
		for _, e := range t.events {
			if !e.stored && e.letter != deadletter.Dropped && e.letter != deadletter.Skipped {
				ids = append(ids, e.id)
			}
		}
	}
	return ids
}

// End is the end LSN of the last transaction, 0 when there is none.
func (c *Checker) End() pglogrepl.LSN {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.txns) == 0 {
		return 0
	}
	return c.txns[len(c.txns)-1].end
}
