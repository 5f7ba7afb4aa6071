package relay_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/rs/zerolog"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/metrics"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/sim"
	"github.com/cdc-relay/cdc-relay/internal/walsender"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// bed is a world in memory, in virtual time: walsender, ledger, and a destination that keeps what it is given.
type bed struct {
	t   *testing.T
	srv *walsender.Server
	db  *sim.Database
	to  *sinktest.Faulty
	rel *walsender.Relation
	n   int // rows committed so far
}

// inBed runs f in a bubble of its own.
func inBed(t *testing.T, f func(*bed)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{t: t, srv: walsender.New(walsender.Config{}), to: sinktest.NewFaulty(), rel: walsender.Outbox()}
		defer b.srv.Close()
		b.db = sim.NewDatabase(b.srv, sim.Slot)
		f(b)
	})
}

func (b *bed) config(change ...func(*relay.Config)) relay.Config {
	cfg := relay.NewConfig()
	cfg.Slot, cfg.Publication, cfg.Decoder = sim.Slot, sim.Publication, sim.DecoderConfig()
	cfg.Metrics, cfg.Log = metrics.New("test"), zerolog.New(zerolog.NewTestWriter(b.t))
	for _, f := range change {
		f(&cfg)
	}
	return cfg
}

// run starts a relay that is killed at the end of the test.
func (b *bed) run(change ...func(*relay.Config)) *sim.Process {
	p := sim.Start(b.config(change...), b.db, b.to.Open)
	b.t.Cleanup(func() { p.Crash(); <-p.Done })
	return p
}

// start runs a relay and waits until it streams.
func (b *bed) start(change ...func(*relay.Config)) *sim.Process {
	b.t.Helper()
	p := b.run(change...)
	b.state(p, "streaming")
	return p
}

func (b *bed) state(p *sim.Process, want string) {
	b.t.Helper()
	b.until(time.Minute, func() error {
		if st := p.Relay.Status(); st.State != want {
			return fmt.Errorf("the relay is %q (%s), want %q", st.State, st.Reason, want)
		}
		return nil
	})
}

// until looks every 10 ms of virtual time whether cond holds, and returns how long that took.
func (b *bed) until(limit time.Duration, cond func() error) time.Duration {
	b.t.Helper()
	began := time.Now()
	for {
		err := cond()
		switch {
		case err == nil:
			return time.Since(began)
		case time.Since(began) > limit:
			b.t.Fatalf("after %s: %v", limit, err)
		}
		b.pass(10 * time.Millisecond)
	}
}

// pass lets virtual time pass.
func (b *bed) pass(d time.Duration) { <-time.After(d) }

// commit commits one row for each key, with payloads {"n": 1}, {"n": 2}, ...
func (b *bed) commit(keys ...string) walsender.Txn {
	rows := make([]walsender.Row, len(keys))
	for i, key := range keys {
		b.n++
		rows[i] = walsender.OutboxRow(b.rel, b.n, key, fmt.Sprintf(`{"n":%d}`, b.n))
	}
	return b.srv.Commit(rows...)
}

// commitN commits n rows of one key in one transaction.
func (b *bed) commitN(n int, key string) walsender.Txn {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = key
	}
	return b.commit(keys...)
}

// stored lists the payloads' numbers that the destination holds, in order.
func (b *bed) stored() (out []int) {
	for _, r := range b.to.Stored() {
		var n int
		if _, err := fmt.Sscanf(string(r.Value), `{"n":%d}`, &n); err != nil {
			b.t.Errorf("value %q: %v", r.Value, err)
		}
		out = append(out, n)
	}
	return out
}

// holds waits until the destination holds n records.
func (b *bed) holds(n int) {
	b.t.Helper()
	b.until(time.Minute, func() error {
		if got := len(b.to.Stored()); got != n {
			return fmt.Errorf("the destination holds %d records, want %d", got, n)
		}
		return nil
	})
}

// confirmed waits until the slot has confirmed lsn.
func (b *bed) confirmed(lsn pglogrepl.LSN) {
	b.t.Helper()
	b.until(time.Minute, func() error {
		if slot, _ := b.srv.Slot(sim.Slot); slot.Confirmed < lsn {
			return fmt.Errorf("the slot has confirmed %s, want %s", slot.Confirmed, lsn)
		}
		return nil
	})
}

// wait returns what Run returned.
func (b *bed) wait(p *sim.Process) error {
	b.t.Helper()
	select {
	case <-p.Done:
		return p.Err
	case <-time.After(10 * time.Minute):
		b.t.Fatal("Run does not return")
		return nil
	}
}

// stops waits until Run has stopped for good with a code, and an error that says all of these.
func (b *bed) stops(p *sim.Process, code int, says ...string) {
	b.t.Helper()
	err := b.wait(p)
	var stop *relay.StopError
	if !errors.As(err, &stop) || stop.Code != code {
		b.t.Fatalf("Run returned %v, want a stop with exit code %d", err, code)
	}
	for _, want := range says {
		if !strings.Contains(err.Error(), want) {
			b.t.Errorf("error %q does not say %q", err, want)
		}
	}
}

// drain is SIGTERM.
func (b *bed) drain(p *sim.Process) {
	b.t.Helper()
	p.Stop()
	if err := b.wait(p); err != nil {
		b.t.Fatalf("drain: %v", err)
	}
}

// refuse makes the destination refuse the event with this number for good; 0: none.
func (b *bed) refuse(n int) {
	b.to.RejectIf(func(ev *decoder.Event) *sink.Rejection {
		if n != 0 && string(ev.Value) == fmt.Sprintf(`{"n":%d}`, n) {
			return &sink.Rejection{Reason: "too_large", Err: errors.New("the destination says no")}
		}
		return nil
	})
}

// letters lists the dead letters: number of the event and state.
func (b *bed) letters() (out []string) {
	for _, l := range b.db.Letters() {
		out = append(out, fmt.Sprintf("%s %s", l.Value, l.State))
	}
	return out
}

func everything(*decoder.Event) bool { return true }
