package sinktest

import (
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
)

// DefaultPatience is how long a wait of this package lasts before the test fails.
const DefaultPatience = 30 * time.Second

// Receiver records what a sink reports and fails the test when a report breaks the port's contract: an event settled
// twice or without having been asked about, asks or acks of a key out of order, a call after Seal. It tells events apart
// by Token, which must rise in the order of Publish. Create it with NewReceiver; safe for use by several goroutines.
type Receiver struct {
	Patience time.Duration // of each wait; set it before use; NewReceiver sets DefaultPatience

	t        testing.TB
	mu       sync.Mutex
	changed  chan struct{} // closed, and made anew, at each report
	sealed   bool
	divertIf func(*decoder.Event) bool
	verdict  func(*decoder.Event, sink.Rejection) sink.Verdict

	fates     map[uint64]*fate
	lastAsked map[string]uint64 // by topic and key: the newest event asked about
	lastAcked map[string]uint64
	acked     []*decoder.Event
	diverted  []*decoder.Event
	rejected  []Rejected
	settled   int
	reasons   map[string]int
	notices   []sink.Notice
}

// Rejected is one call of Reject.
type Rejected struct {
	Event *decoder.Event
	Why   sink.Rejection
}

type fate struct {
	asked   int
	settled string // how it ended; "": it has not
}

// Tally counts reports.
type Tally struct {
	Acked, Diverted, Rejected int // events
	Settled                   int // events acknowledged, diverted, or rejected and taken
	Attempts, Failures        int // writes; those that failed
	Notices                   int
}

// NewReceiver returns a receiver that diverts nothing and takes every rejected event.
func NewReceiver(t testing.TB) *Receiver {
	return &Receiver{
		Patience: DefaultPatience, t: t, changed: make(chan struct{}),
		divertIf:  func(*decoder.Event) bool { return false },
		verdict:   func(*decoder.Event, sink.Rejection) sink.Verdict { return sink.Taken },
		fates:     map[uint64]*fate{},
		lastAsked: map[string]uint64{}, lastAcked: map[string]uint64{}, reasons: map[string]int{},
	}
}

// DivertIf sets the answer to Divert. f is called with the receiver locked: it must not call the receiver.
func (r *Receiver) DivertIf(f func(*decoder.Event) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.divertIf = f
}

// VerdictIs sets the answer to Reject. f is called with the receiver locked: it must not call the receiver.
func (r *Receiver) VerdictIs(f func(*decoder.Event, sink.Rejection) sink.Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdict = f
}

// Divert implements sink.Receiver.
func (r *Receiver) Divert(ev *decoder.Event) bool {
	defer r.report()()
	f, lane := r.fate(ev), LaneKey(ev)
	if f.settled != "" {
		r.t.Errorf("I2: asked about event %d, which has been %s", ev.Token, f.settled)
	}
	if f.asked++; f.asked == 1 {
		if ev.Token < r.lastAsked[lane] {
			r.t.Errorf("I2: first asked about event %d after event %d of the same topic and key", ev.Token, r.lastAsked[lane])
		}
		r.lastAsked[lane] = ev.Token
	} else if len(r.rejected) == 0 {
		r.t.Errorf("asked %d times about event %d, and nothing has been rejected", f.asked, ev.Token)
	}
	if !r.divertIf(ev) {
		return false
	}
	f.settled = "diverted"
	r.settled++
	r.diverted = append(r.diverted, ev)
	return true
}

// Ack implements sink.Receiver.
func (r *Receiver) Ack(events []*decoder.Event) {
	defer r.report()()
	if len(events) == 0 {
		r.t.Error("acknowledged no events")
	}
	for _, ev := range events {
		f, lane := r.fate(ev), LaneKey(ev)
		if f.settled != "" {
			r.t.Errorf("event %d acknowledged after it was %s", ev.Token, f.settled)
		}
		if f.asked == 0 {
			r.t.Errorf("event %d acknowledged, and Divert was never asked about it", ev.Token)
		}
		if ev.Token < r.lastAcked[lane] {
			r.t.Errorf("I2: event %d acknowledged after event %d of the same topic and key", ev.Token, r.lastAcked[lane])
		}
		r.lastAcked[lane], f.settled = ev.Token, "acknowledged"
		r.acked = append(r.acked, ev)
		r.settled++
	}
}

// Reject implements sink.Receiver.
func (r *Receiver) Reject(ev *decoder.Event, why sink.Rejection) sink.Verdict {
	defer r.report()()
	f := r.fate(ev)
	if f.settled != "" {
		r.t.Errorf("event %d rejected after it was %s", ev.Token, f.settled)
	}
	if f.asked == 0 {
		r.t.Errorf("event %d rejected, and Divert was never asked about it", ev.Token)
	}
	if why.Reason == "" || why.Err == nil {
		r.t.Errorf("event %d rejected with reason %q and error %v, want both", ev.Token, why.Reason, why.Err)
	}
	r.rejected = append(r.rejected, Rejected{ev, why})
	verdict := r.verdict(ev, why)
	if verdict == sink.Halt {
		f.settled = "halted on"
	} else {
		f.settled = "rejected"
		r.settled++
	}
	return verdict
}

// Attempted implements sink.Receiver.
func (r *Receiver) Attempted(events int, reason string) {
	defer r.report()()
	if events <= 0 {
		r.t.Errorf("attempted a write of %d events", events)
	}
	r.reasons[reason]++
}

// Notice implements sink.Receiver.
func (r *Receiver) Notice(n sink.Notice) {
	defer r.report()()
	if n.What == "" || n.Cure == "" {
		r.t.Errorf("notice %+v, want what holds events back and its cure", n)
	}
	r.notices = append(r.notices, n)
}

// Seal makes any further report a failure of the test: call it once Close has returned.
func (r *Receiver) Seal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sealed = true
}

// Wait returns once cond holds, and fails the test when Patience passes first. cond must not call the receiver.
func (r *Receiver) Wait(what string, cond func(Tally) bool) {
	r.t.Helper()
	deadline := time.NewTimer(r.Patience)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		tally, changed := r.tally(), r.changed
		r.mu.Unlock()
		if cond(tally) {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			r.t.Fatalf("waited %v for %s; reported so far: %+v", r.Patience, what, tally)
		}
	}
}

// WaitSettled waits until n events are acknowledged, diverted, or rejected and taken.
func (r *Receiver) WaitSettled(n int) {
	r.t.Helper()
	r.Wait("events to be settled", func(t Tally) bool { return t.Settled >= n })
}

// WaitAcked waits until n events are acknowledged.
func (r *Receiver) WaitAcked(n int) {
	r.t.Helper()
	r.Wait("acks", func(t Tally) bool { return t.Acked >= n })
}

// Tally counts what was reported so far.
func (r *Receiver) Tally() Tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tally()
}

// Acked returns the acknowledged events, oldest ack first.
func (r *Receiver) Acked() []*decoder.Event { return snapshot(r, &r.acked) }

// Diverted returns the diverted events, in the order of the asks.
func (r *Receiver) Diverted() []*decoder.Event { return snapshot(r, &r.diverted) }

// Rejected returns the rejections in order.
func (r *Receiver) Rejected() []Rejected { return snapshot(r, &r.rejected) }

// Notices returns the notices in order.
func (r *Receiver) Notices() []sink.Notice { return snapshot(r, &r.notices) }

// Reasons counts attempts by their reason; "" are those that succeeded.
func (r *Receiver) Reasons() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.reasons)
}

// LaneKey tells whether two events must stay in order: it is the same for the same topic and key.
func LaneKey(ev *decoder.Event) string {
	if ev.Key == nil {
		return ev.Topic + "/null"
	}
	return ev.Topic + "=" + string(ev.Key)
}

func snapshot[T any](r *Receiver, list *[]T) []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(*list)
}

// report locks the receiver for one report; what it returns unlocks it and wakes the waits.
func (r *Receiver) report() func() {
	r.mu.Lock()
	if r.sealed {
		r.t.Error("a report came after Close had returned")
	}
	return func() {
		close(r.changed)
		r.changed = make(chan struct{})
		r.mu.Unlock()
	}
}

func (r *Receiver) fate(ev *decoder.Event) *fate {
	f := r.fates[ev.Token]
	if f == nil {
		f = &fate{}
		r.fates[ev.Token] = f
	}
	return f
}

func (r *Receiver) tally() Tally {
	t := Tally{Acked: len(r.acked), Diverted: len(r.diverted), Rejected: len(r.rejected), Settled: r.settled, Notices: len(r.notices)}
	for reason, n := range r.reasons {
		t.Attempts += n
		if reason != "" {
			t.Failures += n
		}
	}
	return t
}
