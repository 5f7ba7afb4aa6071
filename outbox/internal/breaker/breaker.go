package breaker

import (
	"sync"
	"time"
)

// Breaker is closed when it is made. Failures and CoolDown must not change once it is used; safe for concurrent use.
type Breaker struct {
	Failures int           // in a row, that open it; at least 1
	CoolDown time.Duration // from the failure that opened it to the first probe

	mu      sync.Mutex
	failed  int
	opened  time.Time
	open    bool
	probing bool
}

// Allow says whether a call may be made, and whether it is the probe. One that was allowed must end in Done.
func (b *Breaker) Allow() (probe, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return false, true
	}
	if b.probing || time.Since(b.opened) < b.CoolDown {
		return false, false
	}
	b.probing = true
	return true, true
}

// Outcome of a call.
type Outcome uint8

// Unknown says nothing about the other side: the caller went away, or the fault was his own.
const (
	Success Outcome = iota
	Failure
	Unknown
)

// Done ends a call that Allow let through; probe is what it said. A call from before the breaker opened neither closes it nor
// opens it anew.
func (b *Breaker) Done(probe bool, o Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case probe:
		b.probing = false
		switch o {
		case Success:
			b.open, b.failed = false, 0
		case Failure:
			b.opened = time.Now()
		case Unknown: // the next call is the probe
		}
	case b.open:
	case o == Success:
		b.failed = 0
	case o == Failure:
		if b.failed++; b.failed >= b.Failures {
			b.open, b.opened = true, time.Now()
		}
	}
}
