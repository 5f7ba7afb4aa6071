package sinktest_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

func rejection() *sink.Rejection {
	return &sink.Rejection{Reason: "invalid_record", Err: errors.New("poison")}
}

func destination(f *sinktest.Faulty) sinktest.Destination {
	return sinktest.Destination{
		Open: func(t *testing.T, r sink.Receiver) sink.Sink {
			s, err := f.Open(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Stored: func(*testing.T) []sinktest.Record { return f.Stored() },
		Outage: func(*testing.T) func() { return f.Down() },
		LoseAnswer: func(*testing.T) {
			lost := false
			f.Script(func(w sinktest.Write) sinktest.Fault {
				if lost {
					return sinktest.Fault{}
				}
				lost = true
				return sinktest.Fault{Err: errors.New("connection reset"), Stored: len(w.Events)}
			})
		},
		Poison: func(ev *decoder.Event) { ev.Value = []byte("poison") },
	}
}

// The suite proves the lanes and Faulty at once: Faulty is a lanes sink over memory.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, lanes := range []int{1, 4} {
		t.Run(map[int]string{1: "OneLane", 4: "FourLanes"}[lanes], func(t *testing.T) {
			t.Parallel()
			sinktest.Run(t, sinktest.Harness{Destination: func(*testing.T) sinktest.Destination {
				f := sinktest.NewFaulty()
				f.Config.Lanes, f.Config.MaxBatchEvents, f.Config.MaxBackoff = lanes, 50, 100*time.Millisecond
				f.RejectIf(func(ev *decoder.Event) *sink.Rejection {
					if bytes.Equal(ev.Value, []byte("poison")) {
						return rejection()
					}
					return nil
				})
				return destination(f)
			}})
		})
	}
}

func open(t *testing.T, f *sinktest.Faulty) (sink.Sink, *sinktest.Receiver) {
	t.Helper()
	r := sinktest.NewReceiver(t)
	s, err := f.Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); r.Seal() })
	return s, r
}

func TestFaultyAcksLanesOutOfOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := sinktest.NewFaulty()
		slow := ""
		f.Script(func(w sinktest.Write) sinktest.Fault {
			if slow == "" {
				slow = sinktest.LaneKey(w.Events[0])
			}
			if slow == sinktest.LaneKey(w.Events[0]) {
				return sinktest.Fault{AckDelay: time.Hour}
			}
			return sinktest.Fault{Delay: time.Minute}
		})
		s, r := open(t, f)
		r.Patience = 2 * time.Hour
		begun := time.Now()
		events := sinktest.Events(100, sinktest.Shape{})
		s.Publish(events)
		r.WaitAcked(1)
		if got := time.Since(begun); got != time.Minute {
			t.Errorf("first ack after %v, want a minute: the slow lane holds back only itself", got)
		}
		r.WaitAcked(len(events))
		if got := time.Since(begun); got != time.Hour {
			t.Errorf("last ack after %v, want an hour", got)
		}
		if acked := r.Acked(); slices.IsSortedFunc(acked, func(a, b *decoder.Event) int { return int(a.Token) - int(b.Token) }) {
			t.Error("acks came in the order of Publish, want them out of order")
		}
	})
}

func TestFaultyStallsOneKeyUntilItResumes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := sinktest.NewFaulty()
		f.Stall(func(ev *decoder.Event) bool { return string(ev.Key) == "key-1" })
		s, r := open(t, f)
		events := sinktest.Events(200, sinktest.Shape{Keys: 8})
		s.Publish(events)
		synctest.Wait()
		for _, ev := range r.Acked() {
			if string(ev.Key) == "key-1" {
				t.Fatalf("event %d of the stalled key was acknowledged", ev.Token)
			}
		}
		if got := r.Tally().Acked; got == 0 {
			t.Error("no other key went on")
		}
		f.Stall(nil)
		r.WaitAcked(len(events))
	})
}

func TestFaultyFailsNTimesThenStoresOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := sinktest.NewFaulty()
		f.FailNext(3)
		s, r := open(t, f)
		s.Publish(sinktest.Events(1, sinktest.Shape{}))
		r.WaitAcked(1)
		if got, want := f.Writes(), 4; got != want {
			t.Errorf("%d writes, want %d", got, want)
		}
		if got, want := len(f.Stored()), 1; got != want {
			t.Errorf("%d records, want %d", got, want)
		}
		if got := r.Reasons(); got["down"] != 3 || got[""] != 1 {
			t.Errorf("attempts %v, want 3 down and one good", got)
		}
	})
}

// What was stored when its sink died is still there for the next: the simulation's crash between write and ack.
func TestI1_FaultyKeepsWhatWasStoredBeforeTheAck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := sinktest.NewFaulty()
		f.Script(func(sinktest.Write) sinktest.Fault { return sinktest.Fault{AckDelay: time.Minute} })
		s, r := open(t, f)
		events := sinktest.Events(10, sinktest.Shape{Keys: 1})
		s.Publish(events)
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := r.Tally().Acked; got != 0 {
			t.Errorf("%d acks, want none", got)
		}
		f.Script(nil)
		next, r := open(t, f)
		next.Publish(events)
		r.WaitAcked(10)
		if got, want := len(f.Stored()), 20; got != want {
			t.Errorf("%d records, want %d: each once before the crash and once after", got, want)
		}
	})
}
