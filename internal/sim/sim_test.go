package sim_test

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/cdc-relay/cdc-relay/internal/sim"
)

// shortRun is how many seeds a plain go test plays.
const shortRun = 100

// replays is how often a single seed is played: its schedule is the same each time, the races of goroutines are not.
const replays = 100

// play plays one seed in virtual time; with log, what the relays logged follows a failure.
func play(t *testing.T, seed uint64, log bool) (failed bool) {
	t.Helper()
	return !t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			logger := zerolog.Nop()
			var lines bytes.Buffer
			if log {
				logger = zerolog.New(zerolog.SyncWriter(&lines))
			}
			if err := sim.Play(sim.NewSchedule(seed), logger); err != nil {
				t.Errorf("seed %d; play it again by: make sim SEED=%d\n%v\n%s", seed, seed, err, lines.String())
			}
		})
	})
}

func number(name string, otherwise uint64) uint64 {
	n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// TestSim plays seeds and checks I1, I2, I3, I5, I8 and I9 at each step: some as part of go test, CDC_RELAY_SIM_SEEDS of them
// from CDC_RELAY_SIM_SEED (default 1) on by `make sim`. A single one is played many times over, and the
// relays' log is shown when it fails.
func TestSim(t *testing.T) {
	t.Parallel()
	from, n := number("CDC_RELAY_SIM_SEED", 1), number("CDC_RELAY_SIM_SEEDS", shortRun)
	if n == 1 {
		for range replays {
			if play(t, from, true) {
				return
			}
		}
		return
	}
	began := time.Now()
	var next, failed atomic.Uint64
	next.Store(from)
	t.Run("seeds", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				for failed.Load() == 0 {
					seed := next.Add(1) - 1
					if seed >= from+n {
						return
					}
					if play(t, seed, false) {
						failed.Add(1)
					}
				}
			})
		}
	})
	played := min(n, next.Load()-from)
	t.Logf("%d seeds, %.0f a second", played, float64(played)/time.Since(began).Seconds())
}
