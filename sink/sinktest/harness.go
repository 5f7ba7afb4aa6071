package sinktest

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
)

// Harness is how the suite reaches the destinations of one kind of sink.
type Harness struct {
	// Destination returns an empty destination for one subtest; subtests run in parallel.
	Destination func(t *testing.T) Destination

	// Patience is how long a wait lasts before the subtest fails. 0: DefaultPatience.
	Patience time.Duration

	// Events is how many events the subtest under load publishes. 0: 5000.
	Events int
}

// Destination is one place that a sink delivers to.
type Destination struct {
	// Topics that it accepts events for. nil: it takes any, and "orders" and "payments" are used.
	Topics []string

	// Open opens a sink to it that reports to r. Some subtests close that and open another one.
	Open func(t *testing.T, r sink.Receiver) sink.Sink

	// Stored reads back what it holds now: in order of arrival within each topic and key. A sink may be open meanwhile.
	Stored func(t *testing.T) []Record

	// Outage makes writes fail, in a way that passes, until end is called. nil: it cannot be made to fail.
	Outage func(t *testing.T) (end func())

	// LoseAnswer makes the next write be stored while the sink learns that it failed, or nothing at all. nil: cannot.
	LoseAnswer func(t *testing.T)

	// Poison turns an event into one that the destination refuses for good; key and topic may not change. nil: it refuses
	// nothing.
	Poison func(ev *decoder.Event)

	// Once says that a sink which repeats a write leaves no second copy.
	Once bool
}

// Run proves the promises of package sink for one kind of sink, in subtests.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.Patience <= 0 {
		h.Patience = DefaultPatience
	}
	if h.Events <= 0 {
		h.Events = 5000
	}
	for _, sub := range []struct {
		name string
		run  func(*stand)
	}{
		{"I2_OrderByKeyUnderLoad", orderUnderLoad},
		{"I9_OddEventsByteForByte", oddEvents},
		{"I2_StatusDuringLoad", statusDuringLoad},
		{"I2_DivertedNeverArrive", divert},
		{"I2_DivertFromSomePointOn", divertLater},
		{"I9_OutageRetriesTheSameBytes", outage},
		{"OutagePublishDoesNotBlock", outagePublish},
		{"OutageCloseDoesNotBlock", outageClose},
		{"OutageStatusNamesWhatStalls", outageStatus},
		{"I9_AnswerLost", answerLost},
		{"I2_RejectTakenGoesOn", rejectTaken},
		{"I2_RejectParksTheKey", rejectParks},
		{"RejectSeveralOfABatch", rejectSeveral},
		{"I2_RejectHaltKeepsTheLane", rejectHalt},
		{"I1_CloseUnderLoadThenReopen", closeUnderLoad},
		{"CloseUnused", closeUnused},
	} {
		t.Run(sub.name, func(t *testing.T) {
			t.Parallel()
			d := h.Destination(t)
			if len(d.Topics) == 0 {
				d.Topics = []string{"orders", "payments"}
			}
			sub.run(&stand{T: t, h: h, d: d})
		})
	}
}

// stand is one subtest's place: a destination, and the sink that is open to it.
type stand struct {
	*testing.T
	h     Harness
	d     Destination
	r     *Receiver
	s     sink.Sink
	label string
}

// open opens a sink; every goroutine that comes of it carries a label of its own.
func (s *stand) open() {
	s.Helper()
	s.r = NewReceiver(s.T)
	s.r.Patience = s.h.Patience
	s.label = fmt.Sprintf("%s %p", s.Name(), s.r)
	s.labelled(func() { s.s = s.d.Open(s.T, s.r) })
	r, opened := s.r, s.s
	s.Cleanup(func() { // a subtest that failed half way leaves nothing behind
		if opened.Close() == nil {
			r.Seal()
		}
	})
}

func (s *stand) labelled(f func()) {
	pprof.Do(context.Background(), pprof.Labels("sinktest", s.label), func(context.Context) { f() })
}

// publish hands events over in slices of uneven length.
func (s *stand) publish(events []decoder.Event) {
	s.labelled(func() {
		for n := 1; len(events) > 0; n = n*7%257 + 1 {
			n = min(n, len(events))
			s.s.Publish(events[:n])
			events = events[n:]
		}
	})
}

// close closes the sink, twice, and fails when a report or a goroutine outlives it.
func (s *stand) close() {
	s.Helper()
	done := make(chan error, 2)
	go func() { done <- s.s.Close(); s.r.Seal(); done <- s.s.Close() }()
	for _, which := range []string{"first", "second"} {
		select {
		case err := <-done:
			if err != nil {
				s.Errorf("%s close: %v", which, err)
			}
		case <-time.After(s.h.Patience):
			s.Fatalf("%s close has not returned after %v", which, s.h.Patience)
		}
	}
	s.poll("the sink's goroutines to end", func() bool {
		stacks := s.goroutines()
		return stacks == "" || s.Failed()
	}, s.goroutines)
}

// goroutines returns the stacks of the goroutines that came of the open sink.
func (s *stand) goroutines() string {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		s.Fatalf("read the goroutine profile: %v", err)
	}
	var ours []string
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, fmt.Sprintf("%q:%q", "sinktest", s.label)) {
			ours = append(ours, stack)
		}
	}
	return strings.Join(ours, "\n\n")
}

// poll looks until cond holds, and fails with what detail says when patience ends first.
func (s *stand) poll(what string, cond func() bool, detail func() string) {
	s.Helper()
	deadline := time.NewTimer(s.h.Patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			s.Fatalf("waited %v for %s: %s", s.h.Patience, what, detail())
		}
	}
}
