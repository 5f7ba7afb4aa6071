package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/relay"
)

// Kind is what a step does.
type Kind uint8

// Steps.
const (
	Commit      Kind = iota // a transaction of N rows of M bytes
	WAL                     // N bytes of WAL that are none of ours
	Crash                   // kill -9 of one relay; a new one starts after For
	Cut                     // all walsenders lose their connection
	CutAfter                // the same, N bytes further on
	Terminate               // pg_terminate_backend of the owner's walsender
	LedgerCut               // all ordinary connections are lost
	ServerCrash             // Postgres dies, back after For: the slot forgets what it confirmed since the last checkpoint
	Restart                 // a clean restart of Postgres
	Checkpoint              // the slot's position becomes durable
	Freeze                  // the walsender stands still for For
	Slow                    // the walsender sends little by little for For
	SinkDown                // the destination fails for For
	LedgerFault             // the next N calls of the ledger fail, one way or another
	LedgerSlow              // every call of the ledger takes For for N calls
	Pause                   // an operator pauses, and resumes after For
	Requeue                 // an operator requeues everything
	RequeueRow              // an operator requeues the dead letter N, counted from the last
	Drop                    // an operator gives everything up that is parked now
	Drain                   // SIGTERM of one relay; a new one starts after For
	kinds
)

func (k Kind) String() string {
	return [kinds]string{
		"commit", "wal", "crash", "cut", "cut-after", "terminate", "ledger-cut", "server-crash", "restart", "checkpoint", "freeze",
		"slow", "sink-down", "ledger-fault", "ledger-slow", "pause", "requeue", "requeue-row", "drop", "drain",
	}[k]
}

// Step is one thing that happens, After the one before.
type Step struct {
	Kind  Kind
	After time.Duration
	N, M  int
	For   time.Duration
}

func (s Step) String() string {
	return fmt.Sprintf("+%-7s %s n=%d m=%d for=%s", s.After, s.Kind, s.N, s.M, s.For)
}

// Schedule is all that one seed decides.
type Schedule struct {
	Seed      uint64
	Policy    relay.Policy
	Events    int // max_in_flight
	Bytes     int
	Parked    int // max_parked
	Lanes     int
	Batch     int
	Keys      int
	Topics    int
	Relays    int
	FailPct   int // writes of the destination that fail, in percent
	RejectPct int // of ten thousand events: refused for good
	SlowPct   int // writes that take long
	OnPct     int // relays that run with messages: on; while the last one does, half of the events have no row
	Steps     []Step
}

func (s *Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: on_reject %s, window %d events %d bytes, max_parked %d, %d lanes, batches of %d, %d topics x %d keys, %d relays, messages on in %d%%, fail %d%%, slow %d%%, reject %d/10000\n",
		s.Seed, s.Policy, s.Events, s.Bytes, s.Parked, s.Lanes, s.Batch, s.Topics, s.Keys, s.Relays, s.OnPct, s.FailPct, s.SlowPct, s.RejectPct)
	for i, step := range s.Steps {
		fmt.Fprintf(&b, "%3d %s\n", i, step)
	}
	return b.String()
}

// NewSchedule draws the schedule of a seed.
func NewSchedule(seed uint64) *Schedule {
	r := rand.New(rand.NewPCG(seed, 0x5eed))
	pick := func(of ...int) int { return of[r.IntN(len(of))] }
	s := &Schedule{
		Seed: seed, Events: pick(1, 3, 10, 50, 50, 200, 1000), Bytes: pick(500, 5000, 100_000, 1<<20), Parked: pick(5, 1000, 1000, 1000),
		Lanes: pick(1, 2, 4, 8), Batch: pick(1, 3, 10, 100), Keys: pick(1, 2, 5, 20), Topics: pick(1, 2), Relays: pick(1, 1, 2, 3),
		FailPct: pick(0, 0, 5, 20, 40), SlowPct: pick(0, 5, 30), RejectPct: pick(0, 0, 50, 300, 1000),
	}
	s.OnPct = []int{0, 0, 50, 50, 100}[s.draw(5, 50)]
	s.Policy = []relay.Policy{relay.Park, relay.Park, relay.Park, relay.DeadLetter, relay.Halt}[r.IntN(5)]
	// Each seed has its own bad luck: a few kinds of trouble, often, rather than a little of each.
	trouble := []Kind{Crash, Crash, Cut, Cut, CutAfter, Terminate, LedgerCut, ServerCrash, Restart, Freeze, Slow, SinkDown, LedgerFault, LedgerFault, LedgerSlow, Pause, Requeue, RequeueRow, Drop, Drain}
	r.Shuffle(len(trouble), func(i, j int) { trouble[i], trouble[j] = trouble[j], trouble[i] })
	trouble = trouble[:2+r.IntN(5)]
	budget := 1200 // rows: a seed takes some milliseconds
	for range 20 + r.IntN(40) {
		step := Step{After: s.gap(r), For: time.Duration(r.IntN(4000)) * time.Millisecond, N: r.IntN(6)}
		switch n := r.IntN(100); {
		case n < 60:
			step.Kind, step.For = Commit, 0
			step.N = pick(1, 1, 1, 2, 3, 10, 50, 400)
			step.M = pick(5, 20, 100, 1000, 10_000)
			if step.N = min(step.N, budget/10+1); step.N > 20 && step.M > 100 {
				step.M = 100
			}
			budget -= step.N
		case n < 65:
			step.Kind, step.N = WAL, pick(100, 10_000, 40<<20)
		case n < 70:
			step.Kind = Checkpoint
		case n < 76 && s.RejectPct > 0:
			step.Kind = []Kind{Requeue, RequeueRow, Requeue, Drop}[r.IntN(4)]
		default:
			step.Kind = trouble[r.IntN(len(trouble))]
		}
		if step.Kind == CutAfter {
			step.N = 1 + r.IntN(20_000)
		}
		s.Steps = append(s.Steps, step)
	}
	return s
}

// gap is the time before a step: often none, so that things happen at once, sometimes long enough for marks and time-outs.
func (s *Schedule) gap(r *rand.Rand) time.Duration {
	switch n := r.IntN(10); {
	case n < 3:
		return 0
	case n < 6:
		return time.Duration(r.IntN(20)) * time.Millisecond
	case n < 9:
		return time.Duration(r.IntN(1500)) * time.Millisecond
	}
	return time.Duration(r.IntN(12_000)) * time.Millisecond
}

// draw is a number below n that hangs on the seed and on what it is asked about, and on nothing else.
func (s *Schedule) draw(n int, about ...uint64) int {
	h := s.Seed*0x9e3779b97f4a7c15 + 1
	for _, a := range about {
		h ^= a + 0x9e3779b97f4a7c15 + h<<6 + h>>2
		h *= 0xbf58476d1ce4e5b9
		h ^= h >> 29
	}
	return int(h>>11) % n
}
