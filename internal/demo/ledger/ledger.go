package ledger

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Ledger counts. All methods may be used by several goroutines.
type Ledger struct {
	mu      sync.Mutex
	now     func() time.Time
	keys    map[string]*account
	sum     Summary
	latency histogram
}

// New returns an empty ledger.
func New() *Ledger { return &Ledger{now: time.Now, keys: map[string]*account{}} }

// account is one key's book. Numbers up to whole were all delivered; ahead holds those that came above a gap.
type account struct {
	committed uint64
	whole     uint64
	highest   uint64
	ahead     map[uint64]struct{}
	commits   map[uint64]time.Time // committed and not delivered yet
	arrivals  map[uint64]time.Time // delivered before the commit returned
}

// Summary is the demo's result; its JSON is a contract. Zero of Missing, Phantom and OutOfOrder is what is promised;
// duplicates are allowed (an event may be seen twice).
type Summary struct {
	Committed  uint64  `json:"committed"`    // rows whose commit returned
	RolledBack uint64  `json:"rolled_back"`  // rows that were inserted and rolled back
	Delivered  uint64  `json:"delivered"`    // different events that the consumer got
	Missing    uint64  `json:"missing"`      // committed, not delivered
	Phantom    uint64  `json:"phantom"`      // delivered, and not so committed: rolled back, or as an update left it
	Duplicates uint64  `json:"duplicates"`   // deliveries of an event that was delivered before
	OutOfOrder uint64  `json:"out_of_order"` // first seen after a later event of its key
	Latency    Latency `json:"latency_ms"`
}

// Latency is in milliseconds, from commit returned to delivered.
type Latency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// OK says whether what is promised was kept.
func (s Summary) OK() bool { return s.Missing == 0 && s.Phantom == 0 && s.OutOfOrder == 0 }

func (l *Ledger) account(key string) *account {
	a := l.keys[key]
	if a == nil {
		a = &account{ahead: map[uint64]struct{}{}, commits: map[uint64]time.Time{}, arrivals: map[uint64]time.Time{}}
		l.keys[key] = a
	}
	return a
}

// Committed says that the commit of key's n-th event has returned just now. Numbers of a key come without a gap.
func (l *Ledger) Committed(key string, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(key)
	a.committed = n
	l.sum.Committed++
	if _, early := a.arrivals[n]; early {
		delete(a.arrivals, n)
		l.latency.add(0)
		return
	}
	a.commits[n] = l.now()
}

// RolledBack says that so many rows were inserted and rolled back.
func (l *Ledger) RolledBack(rows int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.RolledBack += uint64(rows)
}

// Delivered says that the consumer has key's n-th event just now.
func (l *Ledger) Delivered(key string, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(key)
	if _, seen := a.ahead[n]; seen || n <= a.whole {
		l.sum.Duplicates++
		return
	}
	l.sum.Delivered++
	if n < a.highest {
		l.sum.OutOfOrder++
	}
	a.highest = max(a.highest, n)
	a.ahead[n] = struct{}{}
	for {
		if _, next := a.ahead[a.whole+1]; !next {
			break
		}
		a.whole++
		delete(a.ahead, a.whole)
	}
	if at, ok := a.commits[n]; ok {
		delete(a.commits, n)
		l.latency.add(l.now().Sub(at))
		return
	}
	a.arrivals[n] = l.now()
}

// Phantom says that the consumer got something that was never committed in that form.
func (l *Ledger) Phantom() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.Phantom++
}

// Waiting returns how many committed events have not been delivered yet.
func (l *Ledger) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := 0
	for _, a := range l.keys {
		waiting += len(a.commits)
	}
	return waiting
}

// Gaps names up to most keys with events that were committed and not delivered, and how many each lacks: where to look.
func (l *Ledger) Gaps(most int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var gaps []string
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		a := l.keys[key]
		if len(a.commits) == 0 {
			continue
		}
		if len(gaps) == most {
			return append(gaps, "...")
		}
		lacking := slices.Sorted(maps.Keys(a.commits))
		gaps = append(gaps, fmt.Sprintf("%s lacks %d of %d, from number %d to %d", key, len(lacking), a.committed, lacking[0], lacking[len(lacking)-1]))
	}
	return gaps
}

// Summary returns the books as of now. Missing counts what is on its way too; it is final when the relay has drained.
func (l *Ledger) Summary() Summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sum
	for _, a := range l.keys {
		s.Missing += uint64(len(a.commits))
	}
	s.Latency = Latency{P50: l.latency.quantile(0.5), P99: l.latency.quantile(0.99), Max: l.latency.max()}
	return s
}

// Final is Summary for the end: what was delivered and never committed is a phantom.
func (l *Ledger) Final() Summary {
	s := l.Summary()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.keys {
		s.Phantom += uint64(len(a.arrivals))
	}
	return s
}
