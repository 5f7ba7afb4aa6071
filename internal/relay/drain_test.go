package relay_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/sim"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

func TestDrain_WaitsForTheLanesThenMarksAndSaysSo(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start()
		b.to.Script(func(sinktest.Write) sinktest.Fault { return sinktest.Fault{Delay: 3 * time.Second} })
		tx := b.commitN(5, "k")
		b.pass(100 * time.Millisecond)
		b.drain(p)
		if got := len(b.to.Stored()); got != 5 {
			t.Errorf("%d events were delivered, want 5", got)
		}
		slot, _ := b.srv.Slot(sim.Slot)
		if mark := b.db.Mark(); mark.LSN != tx.End || slot.Confirmed != tx.End || slot.ActivePID != 0 {
			t.Errorf("mark %s, slot %+v, want both at %s and nobody there", mark.LSN, slot, tx.End)
		}
		b.to.Script(nil)
		b.start()
		b.pass(5 * time.Second)
		if got := len(b.to.Stored()); got != 5 {
			t.Errorf("%d events after the next start, want no repeat", got)
		}
	})
}

func TestDrain_TimeoutStopsWith7AndConfirmsNothing(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start(func(cfg *relay.Config) { cfg.DrainTimeout = 7 * time.Second })
		b.to.Stall(everything)
		before, _ := b.srv.Slot(sim.Slot)
		b.commit("k")
		b.pass(time.Second)
		began := time.Now()
		p.Stop()
		b.stops(p, relay.ExitDrain)
		if took := time.Since(began); took < 7*time.Second || took > 12*time.Second { // and the goodbyes
			t.Errorf("gave up after %s, want 7 s", took)
		}
		if slot, _ := b.srv.Slot(sim.Slot); slot.Confirmed != before.Confirmed {
			t.Errorf("I1: confirmed %s, want %s", slot.Confirmed, before.Confirmed)
		}
	})
}

func TestI6_StatusGoesOnWhileDraining(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start(func(cfg *relay.Config) { cfg.DrainTimeout = time.Minute })
		b.to.Stall(everything)
		b.commit("k")
		b.pass(time.Second)
		p.Stop()
		before := len(b.srv.Statuses())
		b.pass(20 * time.Second)
		if got := len(b.srv.Statuses()) - before; got < 19 {
			t.Errorf("%d statuses in 20 s of draining, want one a second", got)
		}
		b.to.Stall(nil)
		if err := b.wait(p); err != nil {
			t.Error(err)
		}
	})
}

// SIGTERM before there is anything to drain: while it connects and claims, or stands by.
func TestStop_BeforeItStreams(t *testing.T) {
	inBed(t, func(b *bed) {
		b.drain(b.start()) // slot and mark are there
		b.srv.HoldSlots(true)
		claiming := b.run()
		b.pass(time.Second)
		claiming.Stop()
		if err := b.wait(claiming); err != nil {
			t.Errorf("while it claimed the slot: %v", err)
		}
		b.srv.HoldSlots(false)
		b.start()
		standby := b.run()
		b.state(standby, "standby")
		standby.Stop()
		if err := b.wait(standby); err != nil {
			t.Errorf("while it stood by: %v", err)
		}
	})
}

func TestI1_MarkFailsNothingIsConfirmed(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start()
		first := b.commit("k")
		b.confirmed(first.End)
		b.db.Faults(func(call string) (f sim.Fault) {
			if call == "Write" {
				f.Err = errors.New("could not extend file: no space left on device")
			}
			return f
		})
		last := b.commit("k")
		b.holds(2)
		b.pass(time.Minute)
		if slot, _ := b.srv.Slot(sim.Slot); slot.Confirmed != first.End {
			t.Errorf("confirmed %s without a mark, want %s", slot.Confirmed, first.End)
		}
		if got := len(b.to.Stored()); got != 2 {
			t.Errorf("%d records after a minute of retries, want 2: nothing is repeated", got)
		}
		b.db.Faults(nil)
		b.confirmed(last.End)
	})
}

func TestI1_LostAnswerOfAMarkIsNoTakeover(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start()
		lose := true
		b.db.Faults(func(call string) (f sim.Fault) {
			f.Lost = call == "Write" && lose
			lose = lose && call != "Write"
			return f
		})
		b.commit("a", "a")
		b.holds(2)
		b.pass(3 * time.Second)
		last := b.commit("a")
		b.holds(3)
		b.confirmed(last.End)
		if got, want := b.stored(), []int{1, 2, 3}; !slices.Equal(got, want) {
			t.Errorf("stored %v, want %v: the mark that was found is our own", got, want)
		}
	})
}

func TestReconnect_RepeatsNothing(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start(window(300))
		b.to.Script(func(sinktest.Write) sinktest.Fault { return sinktest.Fault{Delay: 30 * time.Millisecond} })
		var last pglogrepl.LSN
		for range 10 {
			last = b.commitN(200, "k").End
			b.srv.CutAfter(10_000) // in the middle of it
			b.pass(700 * time.Millisecond)
			b.srv.Cut()
		}
		b.confirmed(last)
		got := b.stored()
		if len(got) != 2000 || !slices.IsSorted(got) {
			t.Errorf("%d records (sorted: %t), want 2000 in order", len(got), slices.IsSorted(got))
		}
	})
}

func TestReconnect_NeitherRepeatsNorGrowsBehindADeadDestination(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start(window(100))
		b.to.Stall(everything)
		b.commitN(500, "k")
		for range 50 {
			b.pass(500 * time.Millisecond)
			b.srv.Cut()
		}
		b.until(time.Minute, func() error {
			if st := p.Relay.Status(); st.State != "streaming" || st.InFlight != 100 {
				return fmt.Errorf("%s with %d events in flight, want 100", st.State, st.InFlight)
			}
			return nil
		})
		b.to.Stall(nil)
		b.holds(500)
		b.pass(3 * time.Second)
		if got := len(b.to.Stored()); got != 500 {
			t.Errorf("%d records, want 500", got)
		}
	})
}

func TestTenure_LostWhenAnotherHasMovedTheMark(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start()
		b.to.Stall(everything)
		b.commit("a")
		second := b.commit("a")
		third := b.commit("a")
		b.pass(2 * time.Second)
		b.srv.Down(true)
		b.srv.Cut()
		b.db.Change(func(m *checkpoint.Mark) *checkpoint.Mark { // another owner delivered two of them and went
			m.LSN = second.End
			return m
		})
		b.srv.Down(false)
		b.until(time.Minute, func() error {
			if st := p.Relay.Status(); st.State != "streaming" || st.InFlight != 1 {
				return fmt.Errorf("%s with %d events in flight, want 1", st.State, st.InFlight)
			}
			return nil
		})
		b.to.Stall(nil)
		b.confirmed(third.End)
		if got, want := b.stored(), []int{3}; !slices.Equal(got, want) {
			t.Errorf("stored %v, want %v: it starts from the mark", got, want)
		}
	})
}

func TestServerCrash_ForgetsWhatTheMarkKnows(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start()
		for range 5 {
			b.confirmed(b.commit("k").End)
		}
		b.srv.Crash() // no checkpoint since the slot was made
		b.db.Cut()
		last := b.commit("k")
		b.confirmed(last.End)
		b.pass(3 * time.Second)
		if got, want := b.stored(), []int{1, 2, 3, 4, 5, 6}; !slices.Equal(got, want) {
			t.Errorf("stored %v, want %v", got, want)
		}
	})
}

func TestPause_StopsReadingAndResumes(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start()
		b.commit("k")
		b.holds(1)
		b.db.Pause(true)
		b.until(5*time.Second, func() error {
			if !p.Relay.Status().Paused {
				return errors.New("not paused")
			}
			return nil
		})
		b.commit("k")
		b.pass(20 * time.Second)
		if got := len(b.to.Stored()); got != 1 {
			t.Errorf("%d records while paused, want 1", got)
		}
		b.db.Pause(false)
		b.holds(2)
	})
}

func TestStop_PublicationChangedIs6(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start()
		first := b.commit("k")
		b.confirmed(first.End)
		b.db.ChangePublication("publication 2")
		b.commit("k")
		b.stops(p, relay.ExitSlot)
		if slot, _ := b.srv.Slot(sim.Slot); slot.Confirmed != first.End {
			t.Errorf("confirmed %s, want %s: rows may have been skipped since", slot.Confirmed, first.End)
		}
	})
}

func TestStop_WaitLooksAgainEveryTenSeconds(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start(func(cfg *relay.Config) { cfg.WaitOnStop, cfg.OnReject = true, relay.Halt })
		b.refuse(2)
		b.commit("k", "k", "k")
		b.state(p, "stopped")
		if st := p.Relay.Status(); st.ExitCode != relay.ExitEvent || st.Reason == "" {
			t.Errorf("status %+v, want exit code 8 and a reason", st)
		}
		b.pass(5 * time.Second)
		b.refuse(0)
		b.pass(4 * time.Second)
		if got := p.Relay.Status().State; got != "stopped" {
			t.Errorf("state %q within 10 s, want stopped", got)
		}
		if took := b.until(time.Minute, func() error {
			if got := len(b.stored()); got < 3 {
				return fmt.Errorf("%d records", got)
			}
			return nil
		}); took > 5*time.Second {
			t.Errorf("looked again after %s more", took)
		}
		b.state(p, "streaming")
		b.drain(p)
	})
}
