package e2e_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Chaos: for a while one fault after the other, chosen by a seed, while applications write. Then table and topic are compared:
// nothing is missing, nothing came that was not committed, the order of each key holds at first sight, and copies are
// byte-identical; and the wire auditor has seen no status that ran ahead of the log.
//
// CDC_RELAY_CHAOS=10m (make chaos) makes it long, CDC_RELAY_CHAOS_SEED repeats a schedule.
func TestChaos(t *testing.T) {
	t.Parallel()
	long, err := time.ParseDuration(cmp.Or(os.Getenv("CDC_RELAY_CHAOS"), "20s"))
	if err != nil {
		t.Fatalf("CDC_RELAY_CHAOS: %v", err)
	}
	seed := rand.Uint64() >> 1
	if given := os.Getenv("CDC_RELAY_CHAOS_SEED"); given != "" {
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("CDC_RELAY_CHAOS_SEED: %v", err)
		}
	}
	t.Logf("seed %d for %s: CDC_RELAY_CHAOS_SEED=%d repeats the schedule", seed, long, seed)
	r := newRig(t, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	r.write(2)
	r.flows(100)

	pause := func(from, to time.Duration) { r.holdOn(from + time.Duration(rng.Int64N(int64(to-from)))) }
	faults := []struct {
		name string
		do   func()
	}{
		{"kill -9 of the relay", r.crash},
		{"walsender ended", r.terminate},
		{"connections to Postgres cut", r.auditor.Cut},
		{"connections to the broker cut", r.broker.CloseAll},
		{"broker frozen", func() { r.k.Stop(1); pause(100*time.Millisecond, 3*time.Second); r.k.Cont(1) }},
		{"broker frozen, relay killed", func() {
			r.k.Stop(1)
			pause(50*time.Millisecond, time.Second)
			r.crash()
			pause(50*time.Millisecond, time.Second)
			r.k.Cont(1)
		}},
		{"acknowledgements lost", func() {
			r.broker.PauseReplies()
			pause(50*time.Millisecond, time.Second)
			r.broker.CloseAll()
			r.broker.Resume()
		}},
		{"acknowledgements lost, relay killed", func() {
			r.broker.PauseReplies()
			pause(50*time.Millisecond, time.Second)
			r.crash()
			r.broker.CloseAll()
			r.broker.Resume()
		}},
		{"broker killed", func() { r.k.Kill(1); pause(50*time.Millisecond, time.Second); r.k.Start(1) }},
		{"broker out of reach, walsender ended", func() {
			r.broker.Cut()
			pause(100*time.Millisecond, time.Second)
			r.terminate()
			pause(100*time.Millisecond, time.Second)
			r.broker.Resume()
		}},
	}
	done := make([]int, len(faults))
	slow := time.Now()
	for begun := time.Now(); time.Since(begun) < long; {
		i := rng.IntN(len(faults))
		if faults[i].name == "broker killed" { // it takes a JVM's start: not all the time
			if time.Since(slow) < 15*time.Second {
				continue
			}
			slow = time.Now()
		}
		faults[i].do()
		done[i]++
		if rng.IntN(3) > 0 {
			r.flows(1 + rng.IntN(200))
		}
	}
	var text []string
	for i, f := range faults {
		if done[i] > 0 {
			text = append(text, fmt.Sprintf("%d x %s", done[i], f.name))
		}
	}
	t.Logf("done: %s", strings.Join(text, ", "))
	r.finish()
}
