package sink

import (
	"context"
	"math/rand/v2"
	"time"
)

// Bounds of the wait between two attempts of one write.
const (
	DefaultMinBackoff = 50 * time.Millisecond
	DefaultMaxBackoff = 5 * time.Second
)

// Backoff is the wait between attempts. It doubles from Min to Max; each wait is drawn between half of that and all of it,
// so that lanes which failed together do not come back together. The zero value uses the defaults. Not safe for use by
// several goroutines.
type Backoff struct {
	Min time.Duration // the first wait; 0: DefaultMinBackoff
	Max time.Duration // no wait is longer; 0: DefaultMaxBackoff

	base time.Duration
}

// Next returns how long to wait before the next attempt.
func (b *Backoff) Next() time.Duration {
	lowest, highest := b.Min, b.Max
	if lowest <= 0 {
		lowest = DefaultMinBackoff
	}
	if highest <= 0 {
		highest = DefaultMaxBackoff
	}
	b.base = min(max(2*b.base, lowest), highest)
	if half := b.base / 2; half > 0 {
		return b.base - rand.N(half+1)
	}
	return b.base
}

// Reset begins again at Min; call it when an attempt got somewhere.
func (b *Backoff) Reset() { b.base = 0 }

// Wait waits as long as Next says and returns nil, or returns the cause of ctx's end.
func (b *Backoff) Wait(ctx context.Context) error {
	timer := time.NewTimer(b.Next())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
