package e2e_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// The wire auditor, under load, while the relay is killed, its walsender ended, its connections cut and the broker frozen and
// killed: no status ever confirms what the broker's log (or the dead-letter table) does not hold at that moment; statuses
// carry transactions' ends only, never fall, and never stop for long.
func TestI1_I3_I5_I6_WireAuditor(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.write(2)
	steps := []func(){
		r.crash, r.terminate,
		func() { r.k.Stop(1); r.holdOn(1500 * time.Millisecond); r.k.Cont(1) },
		r.crash, r.auditor.Cut,
		func() { r.k.Kill(1); r.crash(); r.k.Start(1) },
		r.terminate, r.crash,
	}
	for _, step := range steps {
		r.flows(150)
		step()
	}
	r.flows(150)
	r.finish()
}

// The judge is worth its name: a relay that does not wait for the broker (acks=0) confirms what is not in the log, and is
// caught.
func TestJudgeCatchesWhoConfirmsTooEarly(t *testing.T) {
	heavy(t)
	t.Parallel()
	r := newRig(t, 1, "CDC_RELAY_SINK_KAFKA_ACKS=0", "CDC_RELAY_SINK_KAFKA_UNSAFE_ACKS=true")
	r.write(1)
	r.flows(50)
	r.broker.Pause()
	testenv.Eventually(t, patience, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.lost) == 0 {
			return errors.New("nobody was caught")
		}
		return nil
	})
	r.broker.Resume()
	close(r.stop)
	r.writers.Wait()
	t.Logf("caught: %s", r.lost[0])
}

// flows waits until so many more events have arrived.
func (r *rig) flows(n int) {
	r.t.Helper()
	r.got.holds(r.got.different() + n)
}

// holdOn lets time pass in a state that only time makes.
func (r *rig) holdOn(d time.Duration) {
	<-time.After(d)
}
