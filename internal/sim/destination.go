package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/lanes"
)

// Answer is what happens to one write. The zero value: all is stored at once, and said so.
type Answer struct {
	Delay    time.Duration // passes before anything is stored
	AckDelay time.Duration // passes between storing and the answer
	Fail     bool          // the write fails after Stored of its events
	Stored   int           // with Fail: how many are stored all the same, at most all
	Told     int           // with Fail: how many of those the sink learns of
}

// Destination is what consumers see. It outlives the sinks that are opened to it, and tells its Checker of every record at
// the moment it is stored. It is made for the simulation: sinktest.Faulty has more faults and keeps the records.
type Destination struct {
	Config lanes.Config // of the sinks that Open opens; change it before

	checker *Checker

	mu     sync.Mutex
	down   bool
	tries  map[string]int // writes that began with an event
	answer func(first *decoder.Event, try int) Answer
	reject func(*decoder.Event) bool
	lost   int // events stored of which the sink was not told
}

// NewDestination returns one that does all it is asked to.
func NewDestination(c *Checker) *Destination {
	return &Destination{Config: lanes.NewConfig(nil), checker: c, tries: map[string]int{}}
}

// Open opens a sink to it.
func (d *Destination) Open(ctx context.Context, to sink.Receiver) (sink.Sink, error) {
	config := d.Config
	opened := d.checker.now()
	config.Write = func(ctx context.Context, _ int, events []*decoder.Event) (int, error) {
		return d.write(ctx, events, opened)
	}
	return lanes.New(ctx, config, to)
}

// Down makes every write fail.
func (d *Destination) Down(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = on
}

// Answers sets what happens to writes, and which events are refused for good. Neither may call the destination.
func (d *Destination) Answers(answer func(first *decoder.Event, try int) Answer, reject func(*decoder.Event) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer, d.reject = answer, reject
}

// Untold is how many events were stored without the sink's knowing: each may come again.
func (d *Destination) Untold() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost
}

var errDown = errors.New("sim: the destination is down")

// write is a lane's; opened is when its sink was.
func (d *Destination) write(ctx context.Context, events []*decoder.Event, opened int) (int, error) {
	d.mu.Lock()
	var a Answer
	if d.answer != nil {
		try := d.tries[string(events[0].ID)]
		d.tries[string(events[0].ID)]++
		a = d.answer(events[0], try)
	}
	d.mu.Unlock()
	if err := pause(ctx, a.Delay); err != nil {
		return 0, err
	}
	all := len(events)
	if a.Fail {
		all = min(all, a.Stored)
	}
	stored, refused, down := d.accept(events[:all], opened)
	if err := pause(ctx, a.AckDelay); err != nil {
		return 0, err
	}
	switch {
	case down:
		return 0, &lanes.Failure{Reason: "down", Err: errDown}
	case a.Fail && !refused:
		told := min(a.Told, stored)
		d.mu.Lock()
		d.lost += stored - told
		d.mu.Unlock()
		return told, &lanes.Failure{Reason: "down", Err: errDown}
	case refused:
		return stored, &lanes.Rejected{Rejection: sink.Rejection{Reason: "refused", Err: errors.New("sim: refused")}}
	}
	return stored, nil
}

// accept stores events up to the first that is refused.
func (d *Destination) accept(events []*decoder.Event, opened int) (stored int, refused, down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return 0, false, true
	}
	for _, ev := range events {
		if d.reject != nil && d.reject(ev) {
			d.checker.refused(ev)
			return stored, true, false
		}
		d.checker.stored(ev, opened)
		stored++
	}
	return stored, false, false
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
