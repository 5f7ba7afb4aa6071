package lanes_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/lanes"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// The conformance suite runs over lanes in sink/sinktest, beside Faulty.

func open(t *testing.T, config lanes.Config) (*lanes.Sink, *sinktest.Receiver) {
	t.Helper()
	r := sinktest.NewReceiver(t)
	r.Patience = 24 * time.Hour // virtual
	s, err := lanes.New(t.Context(), config, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); r.Seal() })
	return s, r
}

// slow returns a config whose writes take d, and a function that lists the batches written so far by their sizes.
func slow(d time.Duration) (lanes.Config, func() []int) {
	var mu sync.Mutex
	var sizes []int
	config := lanes.NewConfig(func(ctx context.Context, _ int, events []*decoder.Event) (int, error) {
		mu.Lock()
		sizes = append(sizes, len(events))
		mu.Unlock()
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return len(events), nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	})
	return config, func() []int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(sizes)
	}
}

func TestBatchesGatherOnlyWhileAWriteIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		config, sizes := slow(10 * time.Millisecond)
		config.Lanes, config.MaxBatchEvents = 1, 50
		s, r := open(t, config)
		events := sinktest.Events(122, sinktest.Shape{})
		begun := time.Now()
		s.Publish(events[:1]) // idle: goes at once, alone
		synctest.Wait()
		for i := 1; i < 121; i++ { // these gather behind it
			s.Publish(events[i : i+1])
		}
		r.WaitAcked(121)
		if got, want := time.Since(begun), 40*time.Millisecond; got != want {
			t.Errorf("took %v, want %v: nothing lingers", got, want)
		}
		s.Publish(events[121:])
		r.WaitAcked(122)
		if got, want := sizes(), []int{1, 50, 50, 20, 1}; !slices.Equal(got, want) {
			t.Errorf("batches of %v, want %v", got, want)
		}
	})
}

func TestFirstBatchIsAllThatPublishWasGiven(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		config, sizes := slow(0)
		config.Lanes = 1
		s, r := open(t, config)
		s.Publish(sinktest.Events(100, sinktest.Shape{}))
		r.WaitAcked(100)
		if got, want := sizes(), []int{100}; !slices.Equal(got, want) {
			t.Errorf("batches of %v, want %v", got, want)
		}
	})
}

func TestBatchBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		config, sizes := slow(0)
		events := sinktest.Events(9, sinktest.Shape{Bytes: 1000})
		events[4].Value = make([]byte, 50_000) // larger than a batch may be: goes alone
		config.Lanes, config.MaxBatchBytes = 1, 2*events[0].Bytes()+100
		s, r := open(t, config)
		s.Publish(events)
		r.WaitAcked(9)
		if got, want := sizes(), []int{2, 2, 1, 2, 2}; !slices.Equal(got, want) {
			t.Errorf("batches of %v, want %v", got, want)
		}
	})
}

// A batch that failed is written again as it was, whatever came in meanwhile.
func TestI9_RetryDoesNotMixBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		config := lanes.NewConfig(func(_ context.Context, _ int, events []*decoder.Event) (int, error) {
			seen = append(seen, fmt.Sprintf("%d-%d", events[0].Token, events[len(events)-1].Token))
			switch len(seen) {
			case 1:
				return 0, errors.New("reset")
			case 2:
				return 2, &lanes.Failure{Reason: "half", Err: errors.New("half")}
			}
			return len(events), nil
		})
		config.Lanes = 1
		s, r := open(t, config)
		events := sinktest.Events(9, sinktest.Shape{})
		s.Publish(events[:5])
		r.Wait("a failure", func(tally sinktest.Tally) bool { return tally.Failures > 0 })
		s.Publish(events[5:])
		r.WaitAcked(9)
		if got, want := seen, []string{"1-5", "1-5", "3-5", "6-9"}; !slices.Equal(got, want) {
			t.Errorf("wrote %v, want %v", got, want)
		}
		if got, want := r.Reasons(), map[string]int{"": 2, "failed": 1, "half": 1}; !maps.Equal(got, want) {
			t.Errorf("attempts %v, want %v", got, want)
		}
	})
}

// Any faults, any order of answers: each key stays in order, nothing is lost, nothing is acknowledged that is not stored.
func TestI2_RandomFaults(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			f := sinktest.NewFaulty()
			f.Config.Lanes, f.Config.MaxBatchEvents = 1+random.IntN(5), 1+random.IntN(20)
			faults := rand.New(rand.NewPCG(seed, 2)) // the script's own: it runs beside the publishing below
			f.Script(func(w sinktest.Write) sinktest.Fault {
				fault := sinktest.Fault{
					Delay:    time.Duration(faults.IntN(20)) * time.Millisecond,
					AckDelay: time.Duration(faults.IntN(20)) * time.Millisecond,
				}
				if faults.IntN(3) == 0 {
					fault.Err, fault.Stored = errors.New("reset"), faults.IntN(len(w.Events)+1)
					fault.Told = faults.IntN(fault.Stored + 1)
				}
				return fault
			})
			r := sinktest.NewReceiver(t)
			r.Patience = time.Hour
			s, err := f.Open(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			events := sinktest.Events(150, sinktest.Shape{Topics: []string{"a", "b"}, Keys: 5})
			for left := events; len(left) > 0; {
				n := min(len(left), 1+random.IntN(40))
				s.Publish(left[:n])
				left = left[n:]
				<-time.After(time.Duration(random.IntN(10)) * time.Millisecond)
			}
			r.WaitAcked(len(events))
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			number := map[string]uint64{}
			for i := range events {
				number[string(events[i].ID)] = events[i].Token
			}
			seen, last := map[string]bool{}, map[string]uint64{}
			for _, rec := range f.Stored() {
				if seen[rec.ID()] {
					continue
				}
				seen[rec.ID()] = true
				lane, token := rec.Topic+string(rec.Key), number[rec.ID()]
				if token < last[lane] {
					t.Errorf("seed %d: event %d arrived behind event %d", seed, token, last[lane])
				}
				last[lane] = token
			}
			if len(seen) != len(events) {
				t.Errorf("seed %d: %d events arrived, want %d", seed, len(seen), len(events))
			}
		})
	}
}

func TestOneLaneFailsTheOthersGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		config := lanes.NewConfig(func(_ context.Context, lane int, events []*decoder.Event) (int, error) {
			if string(events[0].Key) == "key-1" {
				return 0, &lanes.Failure{Reason: "refused", Err: errors.New("slow down"), Notice: sink.Notice{What: "w", Cure: "c"}}
			}
			return len(events), nil
		})
		config.Lanes = 64 // the seven keys below lie in lanes of their own
		s, r := open(t, config)
		events := sinktest.Events(70, sinktest.Shape{Keys: 7})
		stuck := 0
		for i := range events {
			if string(events[i].Key) == "key-1" {
				stuck++
			}
		}
		s.Publish(events)
		r.WaitAcked(len(events) - stuck)
		<-time.After(time.Minute)
		s.Publish(sinktest.Events(70, sinktest.Shape{Keys: 7, First: 70})) // the others still go on
		synctest.Wait()
		status := s.Status()
		if !status.Writable {
			t.Errorf("not writable (%s), want writable: the destination answers the other lanes", status.Reason)
		}
		if len(status.Stalled) != 1 {
			t.Fatalf("stalled %+v, want one lane", status.Stalled)
		}
		if got := status.Stalled[0]; got.Err != "slow down" || time.Since(got.Since) < time.Minute || got.Events < stuck+1 {
			t.Errorf("stalled %+v, want more than %d events, a minute, and the answer", got, stuck)
		}
		if got := r.Tally(); got.Failures < 12 || got.Failures > 40 || got.Notices != 1 {
			t.Errorf("%+v, want a failure each 2.5 to 5 s and one notice", got)
		}
	})
}

func TestNoticeIsToldOnceAndAgainAfterItWasGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := true
		var mu sync.Mutex
		set := func(d bool) { mu.Lock(); down = d; mu.Unlock() }
		config := lanes.NewConfig(func(_ context.Context, _ int, events []*decoder.Event) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return 0, &lanes.Failure{Reason: "down", Err: errors.New("down"), Notice: sink.Notice{What: "it is down", Cure: "lift it"}}
			}
			return len(events), nil
		})
		s, r := open(t, config)
		for outage := range 2 {
			set(true)
			s.Publish(sinktest.Events(100, sinktest.Shape{Keys: 30, First: 100 * outage}))
			<-time.After(time.Minute)
			if status := s.Status(); status.Writable || !strings.HasSuffix(status.Reason, ": down") {
				t.Errorf("status %+v, want not writable", status)
			}
			set(false)
			r.WaitAcked(100 * (outage + 1))
			if got, want := r.Tally().Notices, outage+1; got != want {
				t.Errorf("%d notices, want %d", got, want)
			}
			if status := s.Status(); !status.Writable || len(status.Stalled) > 0 || status.InFlight != 0 {
				t.Errorf("status %+v after the outage", status)
			}
		}
	})
}

func TestStatusNamesSixteenLanesWorstFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		config, _ := slow(time.Hour)
		config.Lanes = 40
		s, _ := open(t, config)
		for i := range 40 {
			s.Publish(sinktest.Events(30, sinktest.Shape{Keys: 500, First: 30 * i}))
			<-time.After(time.Second)
		}
		<-time.After(time.Second)
		status := s.Status()
		if len(status.Stalled) != 16 || status.InFlight < 20 {
			t.Fatalf("%d stalled lanes and %d writes, want 16 of many", len(status.Stalled), status.InFlight)
		}
		for i, lane := range status.Stalled {
			if lane.Err != "no answer yet" || lane.Events == 0 {
				t.Errorf("lane %d is %+v", i, lane)
			}
		}
		if !slices.IsSortedFunc(status.Stalled, func(a, b sink.Lane) int { return a.Since.Compare(b.Since) }) {
			t.Errorf("stalled lanes out of order: %+v", status.Stalled)
		}
	})
}

// A verdict of Halt keeps the lane, and only it, until Close; the status tells why.
func TestHaltKeepsOnlyItsLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := sinktest.NewFaulty()
		f.RejectIf(func(ev *decoder.Event) *sink.Rejection {
			if ev.Token == 20 {
				return &sink.Rejection{Reason: "too_large", Err: errors.New("1 MiB is the limit")}
			}
			return nil
		})
		f.Config.Lanes = 64
		r := sinktest.NewReceiver(t)
		r.VerdictIs(func(*decoder.Event, sink.Rejection) sink.Verdict { return sink.Halt })
		s, err := f.Open(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		events := sinktest.Events(200, sinktest.Shape{Keys: 7})
		halted, behind := sinktest.LaneKey(&events[19]), 0
		for i := 19; i < len(events); i++ {
			if sinktest.LaneKey(&events[i]) == halted {
				behind++
			}
		}
		s.Publish(events[:100])
		synctest.Wait()
		s.Publish(events[100:])
		r.WaitAcked(len(events) - behind)
		<-time.After(2 * time.Second)
		status := s.Status()
		if len(status.Stalled) != 1 || status.Stalled[0].Events != behind || !strings.Contains(status.Stalled[0].Err, "1 MiB") {
			t.Errorf("stalled %+v, want one lane with %d events and the reason", status.Stalled, behind)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A bubble that ends while a goroutine of it still waits is a failure: nothing closes this sink, so its workers must have
// ended by themselves.
func TestIdleSinkHasNoGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		config, _ := slow(time.Millisecond)
		r := sinktest.NewReceiver(t)
		s, err := lanes.New(t.Context(), config, r)
		if err != nil {
			t.Fatal(err)
		}
		s.Publish(sinktest.Events(100, sinktest.Shape{Keys: 50}))
		r.WaitAcked(100)
	})
}

func TestValidateNamesAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := lanes.New(t.Context(), lanes.Config{MaxBackoff: -1}, sinktest.NewReceiver(t))
	if err == nil {
		t.Fatal("an empty config was accepted")
	}
	for _, want := range []string{"write", "name", "lanes", "max batch events", "max batch bytes", "min backoff", "max backoff"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q in it", err, want)
		}
	}
}
