package e2e_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// memoryLimit is what a relay may ever have resident, whatever happens to the broker (I8).
const memoryLimit = 64 << 20

// flat fails when the relay took more memory than it may.
func (p *process) flat() {
	p.t.Helper()
	peak := p.peak()
	p.t.Logf("the relay took %.1f MiB at most", float64(peak)/(1<<20))
	if peak > memoryLimit {
		p.t.Errorf("I8: the relay took %d MiB, want at most %d", peak>>20, memoryLimit>>20)
	}
}

// One broker and one relay through the broker's bad days: down at the start, frozen, killed while events flow, down for long
// under load. Readiness says so each time; nothing is lost, nothing comes twice, and memory stays flat.
func TestI1_BrokerDownFrozenAndKilled(t *testing.T) {
	t.Parallel()
	s, _ := behind(t, setup(t))
	topic := s.k.Topic(t, 8)
	got := s.watch(topic)
	s.k.Kill(1)

	p := s.start()
	s.into(topic, 0, 500, 20)
	p.readies(503, "sink")
	p.is(func(st relay.Status) error {
		if st.Sink.Writable || st.Sink.Reason == "" {
			return errors.New("the status does not say that the broker is down")
		}
		return nil
	})
	s.k.Start(1)
	got.holds(500)
	p.readies(200)

	s.k.Stop(1)
	s.into(topic, 500, 500, 20)
	p.readies(503, "moving")
	p.says("stalled: nothing has been acknowledged for 10 s")
	s.k.Cont(1)
	got.holds(1000)
	p.readies(200)
	p.says("events are acknowledged again")

	s.into(topic, 1000, 2000, 20)
	s.k.Kill(1)
	n := 3000
	for range 40 { // some 40 MB: more than the window holds
		s.intoWide(topic, n, 1000, 20, 1000)
		n += 1000
	}
	p.readies(503, "sink")
	p.is(func(st relay.Status) error {
		if st.InFlight < 15_000 {
			return fmt.Errorf("%d events are in flight: the window is not full", st.InFlight)
		}
		return nil
	})
	// Nothing is read for longer than wal_sender_timeout: TCP holds the server back, and the session lives.
	for full := time.Now(); time.Since(full) < 13*time.Second; <-time.After(200 * time.Millisecond) {
		if st, err := p.status(); err != nil || st.Sessions != 1 || st.State != "streaming" {
			t.Fatalf("a session ended because the window was full: %d sessions, %s %s, %v", st.Sessions, st.State, st.Reason, err)
		}
	}
	p.flat()
	s.k.Start(1)
	got.holds(n)
	p.flat()
	p.drain()
	s.hasNothingParked()
	s.compare(got.end(topic), 0)
}

// A broker appends and its answer is lost, again and again, also for the first batch of a producer: the relay sends the same
// bytes again, and the log holds each event once, in order.
func TestI9_AcknowledgementLostAfterAppend(t *testing.T) {
	t.Parallel()
	s, link := behind(t, setup(t))
	topic := s.k.Topic(t, 6)
	got := s.watch(topic)
	p := s.start()
	n := 0
	for round := range 5 {
		if round > 0 { // the relay is connected
			link.PauseReplies()
		}
		s.into(topic, n, 200, 30)
		n += 200
		if round > 0 {
			got.holds(n - 199) // the broker has some of them; the relay does not know, and the rest waits
			p.is(func(st relay.Status) error {
				if st.InFlight == 0 {
					return fmt.Errorf("round %d: nothing is in flight: the answers were not lost", round)
				}
				return nil
			})
			link.CloseAll()
			link.Resume()
		}
		p.is(func(st relay.Status) error {
			if st.InFlight > 0 || len(got.all()) < n {
				return fmt.Errorf("%d events are in flight", st.InFlight)
			}
			return nil
		})
	}
	p.drain()
	if again := s.compare(got.end(topic), 0); again == 0 && len(got.all()) != n {
		t.Errorf("%d records, want %d", len(got.all()), n)
	}
}

// The connection to Postgres flaps while the broker is dead: each new session goes on where the last one stopped, so nothing
// is held twice, and nothing is published twice when the broker is back.
func TestI8_FlappingDatabaseWithDeadBroker(t *testing.T) {
	t.Parallel()
	st := setup(t)
	database := st.through()
	s, broker := behind(t, st)
	topic := s.k.Topic(t, 8)
	got := s.watch(topic)
	p := s.start()
	s.into(topic, 0, 100, 10)
	got.holds(100)
	broker.Cut()
	n := 100
	for flap := range 12 {
		for range 4 {
			s.intoWide(topic, n, 500, 10, 1000)
			n += 500
		}
		database.CloseAll()
		p.saysAgain(`"message":"streaming"`, flap+2)
	}
	broker.Resume()
	got.holds(n)
	p.is(func(st relay.Status) error {
		if st.InFlight > 0 {
			return fmt.Errorf("%d events are in flight", st.InFlight)
		}
		return nil
	})
	p.flat()
	p.drain()
	s.compare(got.end(topic), 0)
}

// Three brokers: a leader is killed, partitions move, then too few replicas are in sync (NOT_ENOUGH_REPLICAS) until one
// comes back. Nothing is lost, nothing comes twice, the order of each key holds.
func TestI2_LeaderMovesAndTooFewReplicas(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.StartKafka(t, 3))
	topic := s.k.Topic(t, 6)
	got := s.watch(topic)
	p := s.start()
	n := 0
	more := func(times int) {
		for range times {
			s.into(topic, n, 100, 25)
			n += 100
		}
	}
	more(5)
	got.holds(n)

	s.k.Kill(2) // its partitions move
	more(5)
	got.holds(n)
	s.k.Start(2)

	s.k.Tool("org.apache.kafka.tools.LeaderElectionCommand", "--bootstrap-server", s.k.Brokers()[0], "--election-type", "preferred", "--all-topic-partitions")
	more(5)
	got.holds(n)

	s.k.Stop(3) // frozen, it drops out of the replicas in sync
	s.k.Kill(2)
	more(5)
	p.is(func(st relay.Status) error {
		if st.InFlight == 0 {
			return errors.New("all is acknowledged with one broker of three")
		}
		return nil
	})
	p.readies(503)
	s.k.Cont(3)
	s.k.Start(2)
	more(5)
	got.holds(n)
	testenv.Eventually(t, patience, func() error {
		if code, text, err := p.ready(); err != nil || code != 200 {
			return fmt.Errorf("%d %s %w", code, text, err)
		}
		return nil
	})
	p.drain()
	s.hasNothingParked()
	s.compare(got.end(topic), 0)
}
