package sink_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cdc-relay/cdc-relay/sink"
)

func TestBackoffDoublesWithinItsBounds(t *testing.T) {
	t.Parallel()
	b := sink.Backoff{Min: 10 * time.Millisecond, Max: 100 * time.Millisecond}
	for range 2 {
		for _, want := range []time.Duration{10, 20, 40, 80, 100, 100, 100} {
			want *= time.Millisecond
			if got := b.Next(); got < want/2 || got > want {
				t.Errorf("wait %v, want %v to %v", got, want/2, want)
			}
		}
		b.Reset()
	}
}

func TestBackoffZeroValueUsesTheDefaults(t *testing.T) {
	t.Parallel()
	var b sink.Backoff
	if got := b.Next(); got < sink.DefaultMinBackoff/2 || got > sink.DefaultMinBackoff {
		t.Errorf("first wait %v, want about %v", got, sink.DefaultMinBackoff)
	}
	for range 50 {
		if got := b.Next(); got > sink.DefaultMaxBackoff {
			t.Fatalf("wait %v, want %v at most", got, sink.DefaultMaxBackoff)
		}
	}
}

func TestBackoffWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := sink.Backoff{Min: time.Second, Max: time.Second}
		begun := time.Now()
		if err := b.Wait(t.Context()); err != nil || time.Since(begun) < time.Second/2 {
			t.Errorf("wait ended after %v: %v", time.Since(begun), err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stop")
		cancel(stop)
		if err := b.Wait(ctx); !errors.Is(err, stop) {
			t.Errorf("got %v, want the cause %v", err, stop)
		}
	})
}
