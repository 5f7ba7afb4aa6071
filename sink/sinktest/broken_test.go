package sinktest_test

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// A suite that passes everything proves nothing: each of these sinks breaks one promise, and the suite must say so. They
// run in a process of their own, because a subtest that fails cannot be taken back.
func breaches() map[string]struct {
	catches string // the subtest that must fail
	wrap    func(*relay)
} {
	type breach = struct {
		catches string
		wrap    func(*relay)
	}
	return map[string]breach{
		"loses an event": {"I2_OrderByKeyUnderLoad", func(r *relay) {
			r.publish = func(s sink.Sink, events []decoder.Event) {
				if n := len(events); events[n-1].Token > 200 {
					events = events[:n-1]
				}
				s.Publish(events)
			}
		}},
		"turns two events round": {"I2_OrderByKeyUnderLoad", func(r *relay) {
			r.publish = func(s sink.Sink, events []decoder.Event) {
				for i := len(events) - 1; i >= 0; i-- {
					s.Publish(events[i : i+1])
				}
			}
		}},
		"turns null into empty": {"I9_OddEventsByteForByte", func(r *relay) {
			r.publish = func(s sink.Sink, events []decoder.Event) {
				copied := slices.Clone(events)
				for i := range copied {
					if copied[i].Key == nil {
						copied[i].Key = []byte{} // null is not empty
					}
				}
				s.Publish(copied)
			}
		}},
		"acknowledges twice": {"I2_OrderByKeyUnderLoad", func(r *relay) {
			r.ack = func(to sink.Receiver, events []*decoder.Event) { to.Ack(events); to.Ack(events) }
		}},
		"acknowledges what it does not hold": {"I1_CloseUnderLoadThenReopen", func(r *relay) {
			r.early = true
		}},
		"does not divert": {"I2_DivertedNeverArrive", func(r *relay) {
			r.divert = func(to sink.Receiver, ev *decoder.Event) bool { to.Divert(ev); return false }
		}},
		"asks only once": {"I2_RejectParksTheKey", func(r *relay) {
			asked := map[uint64]bool{} // one lane: no lock
			r.divert = func(to sink.Receiver, ev *decoder.Event) bool {
				if asked[ev.Token] {
					return false
				}
				asked[ev.Token] = true
				return to.Divert(ev)
			}
		}},
		"goes on after Halt": {"I2_RejectHaltKeepsTheLane", func(r *relay) {
			r.reject = func(to sink.Receiver, ev *decoder.Event, why sink.Rejection) sink.Verdict {
				to.Reject(ev, why)
				return sink.Taken
			}
		}},
		"blocks in Publish": {"OutagePublishDoesNotBlock", func(r *relay) {
			acked := make(chan struct{}, 10_000)
			r.ack = func(to sink.Receiver, events []*decoder.Event) {
				to.Ack(events)
				for range events {
					acked <- struct{}{}
				}
			}
			r.publish = func(s sink.Sink, events []decoder.Event) {
				s.Publish(events)
				for range events {
					<-acked
				}
			}
		}},
		"hangs in Close": {"OutageCloseDoesNotBlock", func(r *relay) {
			r.close = func(s sink.Sink) error {
				for !s.Status().Writable {
					<-time.After(time.Millisecond)
				}
				return s.Close()
			}
		}},
		"closes later": {"I1_CloseUnderLoadThenReopen", func(r *relay) {
			r.close = func(sink.Sink) error { return nil }
		}},
		"leaves a goroutine": {"CloseUnused", func(r *relay) {
			go func() { select {} }()
		}},
		"says that all is well": {"OutageStatusNamesWhatStalls", func(r *relay) {
			r.status = sink.Status{Writable: true}
		}},
	}
}

// relay stands between the suite and a sound sink, on both sides.
type relay struct {
	sink.Sink
	to      sink.Receiver
	early   bool
	publish func(sink.Sink, []decoder.Event)
	close   func(sink.Sink) error
	divert  func(sink.Receiver, *decoder.Event) bool
	ack     func(sink.Receiver, []*decoder.Event)
	reject  func(sink.Receiver, *decoder.Event, sink.Rejection) sink.Verdict
	status  sink.Status
}

func (r *relay) Publish(events []decoder.Event) {
	if r.early {
		for i := range events {
			r.to.Divert(&events[i])
			r.to.Ack([]*decoder.Event{&events[i]})
		}
	}
	if r.publish != nil {
		r.publish(r.Sink, events)
		return
	}
	r.Sink.Publish(events)
}

func (r *relay) Close() error {
	if r.close != nil {
		return r.close(r.Sink)
	}
	return r.Sink.Close()
}

func (r *relay) Status() sink.Status {
	if r.status.Writable {
		return r.status
	}
	return r.Sink.Status()
}

// above is the relay as the sound sink sees it.
type above struct{ *relay }

func (a above) Divert(ev *decoder.Event) bool {
	switch {
	case a.early:
		return false
	case a.divert != nil:
		return a.divert(a.to, ev)
	}
	return a.to.Divert(ev)
}

func (a above) Ack(events []*decoder.Event) {
	switch {
	case a.early:
	case a.ack != nil:
		a.ack(a.to, events)
	default:
		a.to.Ack(events)
	}
}

func (a above) Reject(ev *decoder.Event, why sink.Rejection) sink.Verdict {
	if a.reject != nil {
		return a.reject(a.to, ev, why)
	}
	return a.to.Reject(ev, why)
}

func (a above) Attempted(events int, reason string) { a.to.Attempted(events, reason) }
func (a above) Notice(n sink.Notice)                { a.to.Notice(n) }

const breachVariable = "CDC_RELAY_TEST_BREACH"

func TestBroken(t *testing.T) {
	breach, ok := breaches()[os.Getenv(breachVariable)]
	if !ok {
		t.Skip("SKIP: runs only as a child of TestSuiteCatches")
	}
	sinktest.Run(t, sinktest.Harness{Patience: 2 * time.Second, Events: 800, Destination: func(*testing.T) sinktest.Destination {
		f := sinktest.NewFaulty()
		f.Config.Lanes, f.Config.MaxBatchEvents, f.Config.MaxBackoff = 1, 50, 50*time.Millisecond
		f.RejectIf(func(ev *decoder.Event) *sink.Rejection {
			if bytes.Equal(ev.Value, []byte("poison")) {
				return rejection()
			}
			return nil
		})
		d := destination(f)
		d.Open = func(t *testing.T, to sink.Receiver) sink.Sink {
			r := &relay{to: to}
			breach.wrap(r)
			s, err := f.Open(t.Context(), above{r})
			if err != nil {
				t.Fatal(err)
			}
			r.Sink = s
			return r
		}
		return d
	}})
}

func TestSuiteCatches(t *testing.T) {
	t.Parallel()
	for name, breach := range breaches() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBroken$/^"+breach.catches+"$", "-test.v")
			child.Env = append(os.Environ(), breachVariable+"="+name)
			out, err := child.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestBroken/"+breach.catches) {
				t.Errorf("a sink that %s passes %s (%v):\n%s", name, breach.catches, err, out)
			}
		})
	}
}
