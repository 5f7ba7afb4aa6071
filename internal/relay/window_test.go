package relay_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/sim"
	"github.com/cdc-relay/cdc-relay/internal/walsender"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

func window(events int) func(*relay.Config) {
	return func(cfg *relay.Config) { cfg.MaxInFlightEvents = events }
}

func TestI6_I8_FullWindowHoldsPostgresBackAndStatusGoesOn(t *testing.T) {
	inBed(t, func(b *bed) {
		check := sim.NewChecker(relay.Park)
		p := sim.Start(b.config(window(50)), b.db, sim.Count(check, 50, b.to.Open))
		defer func() { p.Crash(); <-p.Done }()
		b.state(p, "streaming")
		b.to.Stall(everything)
		for range 30 {
			b.commitN(20, "k")
		}
		b.pass(3 * time.Second)
		before := len(b.srv.Statuses())
		b.pass(20 * time.Second)
		statuses := b.srv.Statuses()[before:]
		if n := len(statuses); n < 19 || n > 25 {
			t.Errorf("I6: %d statuses in 20 s of a full window, want one a second", n)
		}
		for i := 1; i < len(statuses); i++ {
			if gap := statuses[i].At.Sub(statuses[i-1].At); gap > 1100*time.Millisecond {
				t.Errorf("I6: %s between two statuses", gap)
			}
		}
		if st := p.Relay.Status(); st.InFlight != 50 {
			t.Errorf("I8: %d events in flight, want 50", st.InFlight)
		}
		b.to.Stall(nil)
		b.holds(600)
		for _, f := range check.Failures() {
			t.Error(f)
		}
		if !slices.IsSorted(b.stored()) {
			t.Error("I2: out of order")
		}
	})
}

func TestI8_WindowInBytes(t *testing.T) {
	inBed(t, func(b *bed) {
		const limit, block = 100_000, 64 << 10 // what is handed on at once is a block of the decoder at most
		p := b.start(func(cfg *relay.Config) { cfg.MaxInFlightBytes = limit })
		b.to.Stall(everything)
		for i := range 100 {
			b.srv.Commit(walsender.OutboxRow(b.rel, i+1, "k", fmt.Sprintf(`{"n":%d,"x":%q}`, i+1, strings.Repeat("x", 10_000))))
		}
		b.pass(5 * time.Second)
		if got := p.Relay.Status().InFlightB; got < limit || got > limit+block {
			t.Errorf("%d bytes in flight, want %d and at most a block more", got, limit)
		}
		b.to.Stall(nil)
		b.holds(100)
	})
}

func TestI8_EventLargerThanTheWindowPasses(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start(func(cfg *relay.Config) { cfg.MaxInFlightBytes, cfg.MaxInFlightEvents = 10, 1 })
		b.commit("a", "b", "c")
		b.holds(3)
	})
}

func TestI8_KillInALargeTransactionRepeatsAWindowAtMost(t *testing.T) {
	inBed(t, func(b *bed) {
		const n, size = 2000, 100
		p := b.start(window(size))
		b.to.Script(func(sinktest.Write) sinktest.Fault { return sinktest.Fault{AckDelay: 20 * time.Millisecond} })
		b.commitN(n, "k")
		b.until(time.Minute, func() error {
			if len(b.to.Stored()) < n/2 {
				return fmt.Errorf("half is not there yet")
			}
			return nil
		})
		p.Crash()
		before := len(b.to.Stored())
		b.start(window(size))
		b.until(time.Minute, func() error {
			if got := b.stored(); got[len(got)-1] != n {
				return fmt.Errorf("the last event is %d", got[len(got)-1])
			}
			return nil
		})
		got := b.stored()
		repeats := before + 1 - got[before]
		if repeats < 0 || repeats > size {
			t.Errorf("the kill after %d events repeats from %d on: %d repeats, want %d at most", before, got[before], repeats, size)
		}
		if len(got) != n+repeats {
			t.Errorf("%d records, want %d and %d repeats", len(got), n, repeats)
		}
	})
}

func TestI8_RequeuesAreBoundedToo(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start(window(50))
		b.refuse(1)
		for range 40 {
			b.commitN(20, "k")
		}
		b.until(time.Minute, func() error {
			if got := len(b.db.Letters()); got != 800 {
				return fmt.Errorf("%d dead letters, want 800", got)
			}
			return nil
		})
		b.refuse(0)
		b.db.RequeueAll()
		b.holds(800)
		if !slices.IsSorted(b.stored()) {
			t.Error("I2: requeued out of order")
		}
		b.drain(p)
		if n := b.db.ParkedKeys(); n != 0 {
			t.Errorf("%d keys are still parked", n)
		}
	})
}

func TestI3_KeepalivesConfirmIdleWALOnlyBetweenTransactions(t *testing.T) {
	inBed(t, func(b *bed) {
		b.db.MarkWAL = 0
		b.start()
		first := b.commit("a")
		b.confirmed(first.End)
		marks := b.db.Writes()
		b.srv.AdvanceWAL(1 << 20)
		b.pass(10 * time.Second)
		if got := b.db.Writes(); got != marks {
			t.Errorf("%d marks were written for 1 MiB of idle WAL: the mark's own WAL would keep everybody awake", got-marks)
		}
		end := b.srv.AdvanceWAL(40 << 20)
		b.confirmed(end) // far enough

		b.to.Stall(everything)
		held := b.commit("a")
		b.srv.AdvanceWAL(80 << 20)
		b.pass(10 * time.Second)
		if slot, _ := b.srv.Slot(sim.Slot); slot.Confirmed != end {
			t.Errorf("I1: confirmed %s while the event of %s is not delivered, want %s", slot.Confirmed, held.Commit, end)
		}
		b.to.Stall(nil)
		b.confirmed(held.End)
	})
}

func TestI3_KeepaliveInsideATransactionConfirmsNothing(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start()
		b.srv.AdvanceWAL(40 << 20)
		before := b.commit("a")
		b.confirmed(before.End)
		b.srv.Trickle(200, 100*time.Millisecond) // the transaction takes seconds to arrive
		tx := b.commitN(50, "k")
		// As a walsender may say while it decodes: a position in the transaction that is still on its way.
		inside := append([]byte{'d', 0, 0, 0, 22}, walsender.PrimaryKeepalive(tx.Commit+8, time.Now(), false)...)
		b.until(time.Minute, func() error {
			if len(b.to.Stored()) < 10 {
				return errors.New("the transaction has not come far")
			}
			return nil
		})
		b.srv.Keepalive(sim.Slot, true)
		b.srv.Raw(sim.Slot, inside)
		for range 20 {
			b.pass(100 * time.Millisecond)
			if m := b.db.Mark(); m.LSN >= tx.Commit && m.LSN < tx.End {
				t.Fatalf("I3: marked %s, inside the transaction that ends at %s", m.LSN, tx.End)
			}
		}
		b.srv.Trickle(0, 0)
		b.confirmed(tx.End)
	})
}
