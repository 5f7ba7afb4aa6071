package relay_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/sim"
)

func TestOwner_StandbyTakesOverWithinTwoSeconds(t *testing.T) {
	inBed(t, func(b *bed) {
		owner := b.start()
		standby := b.run()
		b.state(standby, "standby")
		b.confirmed(b.commit("k").End)
		b.pass(30 * time.Second)
		b.state(standby, "standby")
		owner.Crash()
		took := b.until(time.Minute, func() error {
			if got := standby.Relay.Status().State; got != "streaming" {
				return fmt.Errorf("standby is %q", got)
			}
			return nil
		})
		if took > 2*time.Second {
			t.Errorf("took over after %s, want 2 s at most", took)
		}
		b.commit("k")
		b.holds(2)
	})
}

func TestOwner_DrainHandsOverWithoutARepeat(t *testing.T) {
	inBed(t, func(b *bed) {
		owner := b.start()
		standby := b.run()
		b.state(standby, "standby")
		b.commit("a", "b", "c")
		b.holds(3)
		b.drain(owner)
		b.commit("a")
		b.holds(4)
		b.drain(standby)
	})
}

func TestFirstStart_OfThreeAtOnce(t *testing.T) {
	for _, slow := range []string{"", "Intent", "Complete", "Read", "Lock"} {
		t.Run(slow, func(t *testing.T) {
			inBed(t, func(b *bed) {
				b.db.Faults(func(call string) (f sim.Fault) {
					if call == slow {
						f.Delay = 300 * time.Millisecond
					}
					return f
				})
				relays := []*sim.Process{b.run(), b.run(), b.run()}
				b.until(time.Minute, func() error {
					states := map[string]int{}
					for _, p := range relays {
						select {
						case <-p.Done:
							b.t.Fatalf("a relay returned %v", p.Err)
						default:
						}
						states[p.Relay.Status().State]++
					}
					if states["streaming"] != 1 || states["standby"] != 2 {
						return fmt.Errorf("%v, want one that streams and two that stand by", states)
					}
					return nil
				})
				b.commit("k")
				b.holds(1)
			})
		})
	}
}

func TestFirstStart_SurvivesAKillAtEachStep(t *testing.T) {
	for _, at := range []string{"Lock", "Intent", "Complete", "OlderRows", "Unlock"} {
		for _, effect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %t", at, effect), func(t *testing.T) {
				inBed(t, func(b *bed) {
					died := make(chan struct{})
					var once bool
					b.db.Faults(func(call string) (f sim.Fault) {
						if call != at || once {
							return f
						}
						once = true
						close(died)
						return sim.Fault{Lost: effect, Cut: !effect}
					})
					p := b.run()
					<-died
					p.Crash()
					b.start()
					b.commit("k")
					b.holds(1)
					if m := b.db.Mark(); m.Creating {
						t.Errorf("the mark is still an intent: %+v", m)
					}
				})
			})
		}
	}
}

func TestFirstStart_KillBetweenIntentAndSlot(t *testing.T) {
	inBed(t, func(b *bed) {
		b.srv.HoldSlots(true) // an open prepared transaction
		p := b.run()
		b.until(time.Minute, func() error {
			if b.db.Mark() == nil {
				return errors.New("no intent")
			}
			return nil
		})
		other := b.run()
		b.state(other, "standby")
		p.Crash()
		b.srv.HoldSlots(false)
		b.state(other, "streaming")
		b.commit("k")
		b.holds(1)
	})
}

func TestFirstStart_SlotThatNeverComesStopsWith4(t *testing.T) {
	inBed(t, func(b *bed) {
		b.srv.HoldSlots(true)
		b.stops(b.run(), relay.ExitPrecondition)
	})
}

func TestStart_SlotAheadOfTheMarkIs6(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start()
		b.confirmed(b.commit("k").End)
		b.drain(p)
		b.srv.Advance(sim.Slot, b.commit("k").End)
		b.stops(b.run(), relay.ExitSlot)
	})
}

func TestStart_SlotMissingIs6(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start()
		b.srv.DropSlot(sim.Slot)
		b.stops(p, relay.ExitSlot)
	})
}

func TestStart_SlotWithoutAMarkIs6(t *testing.T) {
	inBed(t, func(b *bed) {
		b.srv.CreateSlot(sim.Slot)
		b.stops(b.run(), relay.ExitSlot)
	})
}

func TestStart_NewerSchemaStandsBy(t *testing.T) {
	inBed(t, func(b *bed) {
		b.db.SetProtocol(checkpoint.Protocol{Version: 9, CompatibleFrom: 9})
		p := b.run()
		b.state(p, "standby")
		if b.db.Mark() != nil {
			t.Error("it wrote to a schema that it does not know")
		}
		b.db.SetProtocol(checkpoint.Protocol{Version: 1, CompatibleFrom: 1})
		b.state(p, "streaming")
	})
}
