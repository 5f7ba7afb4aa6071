package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// far is a destination that the test writes the answers of, and an observer that notes what it is told.
type far struct {
	mu      sync.Mutex
	answer  func(ctx context.Context, records []OptimisticRecord) (int, error)
	got     []OptimisticRecord
	told    map[string]int
	latency time.Duration
}

func (f *far) Publish(ctx context.Context, records []OptimisticRecord) (int, error) {
	f.mu.Lock()
	f.got = append(f.got, records...)
	f.mu.Unlock()
	if f.answer == nil {
		return len(records), nil
	}
	return f.answer(ctx, records)
}

func (f *far) note(what string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told == nil {
		f.told = map[string]int{}
	}
	f.told[what] += n
}

func (f *far) Attempted(n int)                                    { f.note("attempted", n) }
func (f *far) Succeeded(n int, took time.Duration)                { f.note("succeeded", n); f.latency = took }
func (f *far) Failed(n int, reason string)                        { f.note("failed "+reason, n) }
func (f *far) Skipped(n int, reason string)                       { f.note("skipped "+reason, n) }
func (f *far) says() string                                       { return said(f.told) }
func (f *far) Clear(context.Context, []Written) ([]string, error) { return nil, errors.New("away") }

func said(told map[string]int) string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(told)) {
		fmt.Fprintf(&b, "%s %d; ", what, told[what])
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func sendable(typ string) Written {
	return Written{
		ID: "01890a5d-ac96-774b-bcce-b302099a8057", AggregateType: "orders", AggregateID: "o-1", Type: typ, Key: "o-1",
		Value: []byte(`{"a": 1}`), Headers: []byte(`{"b": "c"}`),
	}
}

type codes []string

func (c codes) Clear(context.Context, []Written) ([]string, error) { return c, nil }

// Whatever happens, the caller hears nothing, and the observer one thing for each event.
func TestSendFallsBackWithoutAWord(t *testing.T) {
	t.Parallel()
	fails := func(err error) func(context.Context, []OptimisticRecord) (int, error) {
		return func(context.Context, []OptimisticRecord) (int, error) { return 0, err }
	}
	hangs := func(ctx context.Context, _ []OptimisticRecord) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
	for name, c := range map[string]struct {
		change func(*Optimistic, *far)
		event  func(*Written)
		want   string
	}{
		"needs order by default": {func(o *Optimistic, _ *far) { o.Free = nil }, nil, "skipped order 1"},
		"of a free type":         {nil, nil, "attempted 1; succeeded 1"},
		"of another type":        {nil, func(w *Written) { w.Type = "Other" }, "skipped order 1"},
		"switched off":           {func(o *Optimistic, _ *far) { o.Enabled = func() bool { return false } }, nil, "skipped disabled 1"},
		"broker away":            {func(_ *Optimistic, f *far) { f.answer = fails(errors.New("refused")) }, nil, "attempted 1; failed sink 1"},
		"too large":              {func(_ *Optimistic, f *far) { f.answer = fails(fmt.Errorf("x: %w", ErrOptimisticRejected)) }, nil, "attempted 1; failed rejected 1"},
		"time-out":               {func(_ *Optimistic, f *far) { f.answer = hangs }, nil, "attempted 1; failed timeout 1"},
		"not Returning":          {nil, func(w *Written) { w.Headers = nil }, "attempted 1; failed invalid 1"},
		"topic not allowed":      {func(o *Optimistic, _ *far) { o.TopicsAllowed = []string{"payments"} }, nil, "attempted 1; failed invalid 1"},
		"topic no name":          {nil, func(w *Written) { w.Topic = "a b" }, "attempted 1; failed invalid 1"},
		"order cannot be asked":  {func(o *Optimistic, f *far) { o.Free, o.Order = nil, f }, nil, "attempted 1; failed order_check 1"},
		"order says clear":       {func(o *Optimistic, _ *far) { o.Free, o.Order = nil, codes{"clear"} }, nil, "attempted 1; succeeded 1"},
		"order says wait":        {func(o *Optimistic, _ *far) { o.Free, o.Order = nil, codes{"outstanding"} }, nil, "skipped outstanding 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &far{}
				o := NewOptimistic(f)
				o.Free, o.Observer = FreeTypes("Made"), f
				if c.change != nil {
					c.change(&o, f)
				}
				s, err := o.Sender()
				if err != nil {
					t.Fatal(err)
				}
				w := sendable("Made")
				if c.event != nil {
					c.event(&w)
				}
				start := time.Now()
				s.Send(t.Context(), w)
				if got := f.says(); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if took := time.Since(start); took > o.Timeout {
					t.Errorf("the caller waited %s, for a timeout of %s", took, o.Timeout)
				}
			})
		})
	}
}

// A part of a call may be stored, a part of it free, a part refused by the order check: each event is told once.
func TestSendTellsEachEventOnce(t *testing.T) {
	t.Parallel()
	f := &far{answer: func(context.Context, []OptimisticRecord) (int, error) {
		return 1, errors.New("the second broker is away")
	}}
	o := NewOptimistic(f)
	o.Free, o.Order, o.Observer = FreeTypes("Free"), codes{"busy", "clear"}, f
	s, err := o.Sender()
	if err != nil {
		t.Fatal(err)
	}
	s.Send(t.Context(), sendable("A"), sendable("Free"), sendable("B"))
	if got, want := f.says(), "attempted 2; failed sink 1; skipped busy 1; succeeded 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	f.answer = func(ctx context.Context, _ []OptimisticRecord) (int, error) { return 0, ctx.Err() }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.SendFree(ctx, sendable("A"))
	if f.told["failed "+FailedCancelled] != 1 {
		t.Errorf("a caller that went away: %s", f.says())
	}
}

// The breaker spares callers the time-outs of a broker that is away, and the flag works while the program runs.
func TestSendStopsTryingAndBeginsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var away, on atomic.Bool
		away.Store(true)
		on.Store(true)
		f := &far{answer: func(ctx context.Context, r []OptimisticRecord) (int, error) {
			if away.Load() {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return len(r), nil
		}}
		o := NewOptimistic(f)
		o.Observer, o.Enabled = f, on.Load
		s, err := o.Sender()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for range 100 {
			s.SendFree(t.Context(), sendable("A"))
		}
		if took, want := time.Since(start), 5*o.Timeout; took != want {
			t.Errorf("100 calls took %s, want that of five", took)
		}
		if got, want := f.says(), "attempted 100; failed breaker_open 95; failed timeout 5"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		away.Store(false)
		<-time.After(o.BreakerCoolDown)
		s.SendFree(t.Context(), sendable("A"))
		s.SendFree(t.Context(), sendable("A"))
		if f.told["succeeded"] != 2 {
			t.Errorf("after the cool-down: %s", f.says())
		}
		on.Store(false)
		s.SendFree(t.Context(), sendable("A"))
		if f.told["skipped disabled"] != 1 {
			t.Errorf("switched off: %s", f.says())
		}
	})
}

func TestOptimisticNamesAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := Optimistic{TopicRule: "{nothing}"}.Sender()
	for _, want := range []string{"{nothing}", "no sink", "timeout", "breaker"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
