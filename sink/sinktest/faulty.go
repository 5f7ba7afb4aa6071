package sinktest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/lanes"
)

// ErrDown is what a Faulty answers when it has been told to fail.
var ErrDown = errors.New("the destination in memory is down")

// Faulty is a destination in memory with faults by script. What it holds outlives the sinks that are opened to it, so that
// a test can let a relay die and start another. It has no goroutine and no timer of its own: made in a synctest bubble,
// it and its sinks live in virtual time. Create it with NewFaulty; safe for use by several goroutines.
type Faulty struct {
	Config lanes.Config // of the sinks that Open opens; change it before. Write is set by Open

	mu       sync.Mutex
	stored   []Record
	writes   int
	down     bool
	failures int // writes that fail before any other fault is looked for
	script   func(Write) Fault
	reject   func(*decoder.Event) *sink.Rejection
	stalls   func(*decoder.Event) bool
	resumed  chan struct{} // closed when stalls changes
}

// Write is one write that a Faulty is asked for.
type Write struct {
	Lane   int
	Number int // among all writes asked of this Faulty, from 1
	Events []*decoder.Event
}

// Fault is what happens to one write. The zero value: all is stored at once, and said so.
type Fault struct {
	Delay    time.Duration // passes before anything is stored
	AckDelay time.Duration // passes between storing and the answer; a sink closed meanwhile has stored, and does not know
	Err      error         // the answer; nil: success, and Stored and Told do not count
	Stored   int           // how many events, from the front, are stored all the same
	Told     int           // how many of those the sink learns of; fewer than Stored: the answer was lost
}

// NewFaulty returns an empty destination that does all it is asked to.
func NewFaulty() *Faulty {
	return &Faulty{Config: lanes.NewConfig(nil), resumed: make(chan struct{})}
}

// Open opens a sink to it. Several may be open at once, as after a takeover.
func (f *Faulty) Open(ctx context.Context, r sink.Receiver) (sink.Sink, error) {
	config := f.Config
	config.Write = f.write
	return lanes.New(ctx, config, r)
}

// Stored returns what it holds, in order of arrival.
func (f *Faulty) Stored() []Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.stored)
}

// Writes returns how many writes were asked for.
func (f *Faulty) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// Down makes every write fail until end is called.
func (f *Faulty) Down() (end func()) {
	f.set(func() { f.down = true })
	return func() { f.set(func() { f.down = false }) }
}

// FailNext makes the next n writes fail.
func (f *Faulty) FailNext(n int) { f.set(func() { f.failures = n }) }

// Script sets what happens to each write that neither Down nor FailNext has taken; nil: nothing. It is called by one
// goroutine at a time and must not call f.
func (f *Faulty) Script(script func(Write) Fault) { f.set(func() { f.script = script }) }

// RejectIf refuses for good the events for which it returns a rejection; nil: none. Like Script it must not call f.
func (f *Faulty) RejectIf(reject func(*decoder.Event) *sink.Rejection) {
	f.set(func() { f.reject = reject })
}

// Stall leaves writes that begin with a matching event unanswered, until Stall is called again; nil: answers all. Like
// Script it must not call f.
func (f *Faulty) Stall(match func(*decoder.Event) bool) {
	f.set(func() {
		f.stalls = match
		close(f.resumed)
		f.resumed = make(chan struct{})
	})
}

func (f *Faulty) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// write implements lanes.WriteFunc.
func (f *Faulty) write(ctx context.Context, lane int, events []*decoder.Event) (int, error) {
	fault := f.next(lane, events)
	if err := errors.Join(pause(ctx, fault.Delay), f.answering(ctx, events[0])); err != nil {
		return 0, err
	}
	if fault.Err != nil {
		f.store(events[:fault.Stored])
		if err := pause(ctx, fault.AckDelay); err != nil {
			return 0, err
		}
		return fault.Told, fault.Err
	}
	stored, why := f.accept(events)
	if err := pause(ctx, fault.AckDelay); err != nil {
		return 0, err
	}
	if why != nil {
		return stored, &lanes.Rejected{Rejection: *why}
	}
	return stored, nil
}

func (f *Faulty) next(lane int, events []*decoder.Event) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	switch {
	case f.down:
		return Fault{Err: &lanes.Failure{Reason: "down", Err: ErrDown}}
	case f.failures > 0:
		f.failures--
		return Fault{Err: &lanes.Failure{Reason: "down", Err: ErrDown}}
	case f.script != nil:
		return f.script(Write{Lane: lane, Number: f.writes, Events: events})
	}
	return Fault{}
}

// answering waits while writes that begin with ev are stalled.
func (f *Faulty) answering(ctx context.Context, ev *decoder.Event) error {
	for {
		f.mu.Lock()
		stalled, resumed := f.stalls != nil && f.stalls(ev), f.resumed
		f.mu.Unlock()
		if !stalled {
			return nil
		}
		select {
		case <-resumed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// accept stores events up to the first that is refused.
func (f *Faulty) accept(events []*decoder.Event) (stored int, why *sink.Rejection) {
	f.mu.Lock()
	reject := f.reject
	for stored < len(events) && why == nil {
		if reject != nil {
			why = reject(events[stored])
		}
		if why == nil {
			stored++
		}
	}
	f.mu.Unlock()
	f.store(events[:stored])
	return stored, why
}

func (f *Faulty) store(events []*decoder.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ev := range events {
		f.stored = append(f.stored, RecordOf(ev))
	}
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
