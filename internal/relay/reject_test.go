package relay_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/sim"
	"github.com/cdc-relay/cdc-relay/internal/walsender"
)

func policy(p relay.Policy) func(*relay.Config) {
	return func(cfg *relay.Config) { cfg.OnReject = p }
}

// parked waits until there are n dead letters.
func (b *bed) parked(n int) {
	b.t.Helper()
	b.until(time.Minute, func() error {
		if got := b.letters(); len(got) != n {
			return fmt.Errorf("dead letters %v, want %d", got, n)
		}
		return nil
	})
}

func TestReject_ParkHoldsTheKeyAndOthersFlow(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start()
		b.refuse(2)
		b.commit("a", "a", "b", "a", "b")
		last := b.commit("a", "b")
		b.parked(3)
		b.holds(4)
		b.confirmed(last.End) // what is parked counts as acknowledged
		if got, want := b.stored(), []int{1, 3, 5, 7}; !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("stored %v, want %v", got, want)
		}
		p.Crash() // the rows hold the key for the next owner too
		b.start()
		b.commit("a", "b")
		b.parked(4)
		b.holds(5)

		b.refuse(0)
		b.db.RequeueAll()
		b.holds(9)
		var of []int
		for i, n := range b.stored() {
			if string(b.to.Stored()[i].Key) == "a" {
				of = append(of, n)
			}
		}
		if want := []int{1, 2, 4, 6, 8}; !slices.Equal(of, want) {
			t.Errorf("I2: key a came as %v, want %v", of, want)
		}
		b.until(time.Minute, func() error {
			if n := b.db.ParkedKeys(); n != 0 {
				return fmt.Errorf("%d parked keys", n)
			}
			return nil
		})
		b.commit("a")
		b.holds(10)
		b.parked(4)
	})
}

func TestReject_RequeueThatIsRefusedAgainKeepsTheOrder(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start()
		b.refuse(1)
		b.commit("a", "a", "a")
		b.parked(3)
		b.db.RequeueAll()
		b.pass(5 * time.Second)
		want := []string{`{"n":1} parked`, `{"n":2} parked`, `{"n":3} parked`}
		if got := b.letters(); !slices.Equal(got, want) || len(b.stored()) != 0 {
			t.Errorf("letters %v and stored %v, want %v and nothing", got, b.stored(), want)
		}
		b.refuse(0)
		b.db.RequeueAll()
		b.holds(3)
		if got := b.stored(); !slices.Equal(got, []int{1, 2, 3}) {
			t.Errorf("I2: stored %v", got)
		}
	})
}

func TestReject_DropReleasesTheKey(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start()
		b.refuse(1)
		b.commit("a", "a")
		b.parked(2)
		b.db.DropAll()
		b.until(time.Minute, func() error {
			if n := b.db.ParkedKeys(); n != 0 {
				return fmt.Errorf("%d parked keys", n)
			}
			return nil
		})
		b.commit("a")
		b.holds(1)
		if got := b.stored(); !slices.Equal(got, []int{3}) {
			t.Errorf("stored %v, want 3 alone", got)
		}
	})
}

func TestReject_RequeueUnderTraffic(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start()
		b.refuse(1)
		b.commit("a")
		b.parked(1)
		b.refuse(0)
		b.db.RequeueAll()
		for range 200 {
			b.commit("a")
			b.pass(10 * time.Millisecond)
		}
		b.holds(201)
		if got := b.stored(); !slices.IsSorted(got) {
			t.Errorf("I2: stored %v", got)
		}
		b.pass(3 * time.Second)
		if n := b.db.ParkedKeys(); n != 0 {
			t.Errorf("%d keys are parked at the end", n)
		}
	})
}

func TestReject_DeadLetterTakesTheEventAlone(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start(policy(relay.DeadLetter))
		b.refuse(2)
		last := b.commit("a", "a", "a")
		b.confirmed(last.End)
		if got := b.stored(); !slices.Equal(got, []int{1, 3}) {
			t.Errorf("stored %v, want 1 and 3", got)
		}
		if got := b.letters(); !slices.Equal(got, []string{`{"n":2} dead`}) || b.db.ParkedKeys() != 0 {
			t.Errorf("letters %v and %d keys, want 2 dead, and no key parked", got, b.db.ParkedKeys())
		}
	})
}

func TestReject_HaltStopsWith8AndNamesThePosition(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start(policy(relay.Halt))
		b.refuse(2)
		tx := b.commit("a", "a", "a")
		b.stops(p, relay.ExitEvent, fmt.Sprintf("skip --position %s/1", tx.Commit))
		if slot, _ := b.srv.Slot(sim.Slot); slot.Confirmed >= tx.End {
			t.Errorf("I1: confirmed %s, with an event that nobody has", slot.Confirmed)
		}
		b.db.Skip(deadletter.Letter{Position: decoder.Position{Commit: tx.Commit, Index: 1}})
		b.start(policy(relay.Halt))
		b.confirmed(tx.End)
		if got := b.stored(); !slices.Contains(got, 3) || slices.Contains(got, 2) {
			t.Errorf("stored %v, want 3 and never 2", got)
		}
	})
}

func TestReject_MaxParkedStopsWith8(t *testing.T) {
	inBed(t, func(b *bed) {
		limit := func(cfg *relay.Config) { cfg.MaxParked = 5 }
		p := b.start(limit)
		b.refuse(1)
		tx := b.commitN(20, "a")
		b.stops(p, relay.ExitEvent)
		b.until(time.Second, func() error {
			if n := len(b.letters()); n > 5 {
				return fmt.Errorf("%d dead letters, want 5 at most", n)
			}
			return nil
		})
		if slot, _ := b.srv.Slot(sim.Slot); slot.Confirmed >= tx.End {
			t.Errorf("I1: confirmed %s", slot.Confirmed)
		}
		b.refuse(0)
		b.db.RequeueAll()
		b.start(func(cfg *relay.Config) { cfg.MaxParked = 1000 })
		b.holds(20)
		if got := b.stored(); !slices.IsSorted(got) {
			t.Errorf("I2: stored %v", got)
		}
	})
}

func TestReject_TheRowStandsBeforeAnythingIsConfirmed(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start()
		before := b.commit("a")
		b.confirmed(before.End)
		b.db.Faults(func(call string) (f sim.Fault) {
			if call == "Park" {
				f.Err = fmt.Errorf("no space left on device")
			}
			return f
		})
		b.refuse(2)
		last := b.commit("a", "b")
		b.pass(time.Minute)
		if slot, _ := b.srv.Slot(sim.Slot); slot.Confirmed >= last.End {
			t.Errorf("I1: confirmed %s before the dead letter stood", slot.Confirmed)
		}
		b.db.Faults(nil)
		b.confirmed(last.End)
		b.parked(1)
		if got := b.stored(); !slices.Equal(got, []int{1, 3}) {
			t.Errorf("stored %v, want 1 and 3", got)
		}
	})
}

func TestReject_TenureLearnsKeysThatAnotherOwnerParked(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start()
		b.confirmed(b.commit("a").End)
		b.srv.Down(true)
		b.srv.Cut()
		b.pass(time.Second)
		rows := b.commit("a", "a")
		b.db.ParkAs(deadletter.Letter{ // the other owner parked the first of them, and died before its mark
			Position: decoder.Position{Commit: rows.Commit}, Topic: "order", Key: []byte("a"), Value: []byte(`{"n":2}`), Reason: "too_large",
		})
		b.srv.Down(false)
		b.parked(2)
		b.confirmed(rows.End)
		if got := b.stored(); !slices.Equal(got, []int{1}) {
			t.Errorf("I2: stored %v, want 1: 3 waits behind 2", got)
		}
	})
}

func TestI7_UndecodableRowStopsWith8AndSkipPassesIt(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start()
		b.commit("a")
		bad := walsender.OutboxRow(b.rel, 100, "a", "{}")
		bad.Values[9] = "not a number" // seq
		tx := b.srv.Commit(walsender.OutboxRow(b.rel, 2, "a", `{"n":2}`), bad, walsender.OutboxRow(b.rel, 3, "a", `{"n":3}`))
		b.stops(p, relay.ExitEvent, "public.outbox", "seq", fmt.Sprintf("skip --position %s/1", tx.Commit))
		if got := b.stored(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("stored %v, want what came before: 1 and 2", got)
		}
		b.stops(b.run(), relay.ExitEvent) // again, and again
		b.db.Skip(deadletter.Letter{Position: decoder.Position{Commit: tx.Commit, Index: 1}})
		b.start()
		b.confirmed(tx.End)
		if got := b.stored(); !slices.Equal(got, []int{1, 2, 3}) {
			t.Errorf("stored %v, want 1, 2 and 3, each once", got)
		}
	})
}

func TestOwner_FencedOwnerStandsByAndChangesNothing(t *testing.T) {
	inBed(t, func(b *bed) {
		owner := b.start()
		b.confirmed(b.commit("a").End)
		b.db.Faults(func(call string) (f sim.Fault) {
			if call == "Write" {
				f.Err = fmt.Errorf("%w: walsender 1 does not own the slot", checkpoint.ErrFenced)
			}
			return f
		})
		mark := *b.db.Mark()
		b.commit("a")
		b.pass(5 * time.Second)
		if got := *b.db.Mark(); got != mark {
			t.Errorf("mark %+v, want %+v", got, mark)
		}
		b.db.Faults(nil)
		b.commit("a")
		b.state(owner, "streaming")
		b.holds(3)
	})
}
