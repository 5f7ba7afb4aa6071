package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// load is an application that commits a transaction of a few rows each few milliseconds, and tries again when the server is
// away. A transaction whose commit got no answer may have happened: only the table knows.
type load struct {
	s    *stand
	stop context.CancelFunc
	done sync.WaitGroup
}

func (s *stand) load() *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{s: s, stop: cancel}
	for w := range 2 {
		l.done.Go(func() { l.write(ctx, w) })
	}
	s.t.Cleanup(l.end)
	return l
}

// write inserts rows whose keys are its own, so that their numbers rise in commit order.
func (l *load) write(ctx context.Context, worker int) {
	var conn *pgx.Conn
	for n := 0; ctx.Err() == nil; {
		err := func() (err error) {
			// Not ended by ctx: a statement that is given up may still commit, after the rows have been counted.
			bounded, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer done()
			if conn == nil {
				if conn, err = pgx.Connect(bounded, l.s.pg.URL()); err != nil {
					return err
				}
			}
			_, err = conn.Exec(bounded, `INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload)
				SELECT 'orders', 'w' || $3::int || '-' || (i % 5), 'Made', jsonb_build_object('n', i) FROM generate_series($1::int, $1::int + $2::int - 1) AS i`, n, 1+n%7, worker)
			return err
		}()
		n += 1 + n%7
		if err != nil && conn != nil {
			_ = conn.Close(context.Background())
			conn = nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond): // the load's pace
		}
	}
	if conn != nil {
		_ = conn.Close(context.Background())
	}
}

// end stops it.
func (l *load) end() { l.stop(); l.done.Wait() }

// finish ends the load and waits until everything that the table holds has arrived.
func (l *load) finish() int {
	l.s.t.Helper()
	l.end()
	n := query[int](l.s, "SELECT count(*) FROM outbox")
	l.s.holds(n)
	return n
}

// grows waits until the destination holds n more events than now.
func (s *stand) grows(n int) {
	s.t.Helper()
	s.holds(len(firstSight(s.lines(""))) + n)
}

// window is small, so that a bound on repeats says something.
const window = 500

var smallWindow = fmt.Sprintf("CDC_RELAY_LIMITS_MAX_IN_FLIGHT_EVENTS=%d", window)

// The postmaster is killed under load, fsync on: the slot has forgotten, the mark has not.
func TestCrash_Kill9OfThePostmaster(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"15", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			srv := testenv.StartPostgres(t, version, map[string]string{"checkpoint_timeout": "1h"})
			s := setupIn(t, srv.Database(t))
			p := s.start(smallWindow)
			l := s.load()
			const crashes = 2
			for range crashes {
				s.grows(1000)
				srv.Kill9()
				srv.Start()
				if !query[bool](s, "SELECT c.lsn > s.confirmed_flush_lsn FROM cdc_relay.checkpoint c, pg_replication_slots s") {
					t.Log("the slot had forgotten nothing this time")
				}
				s.grows(100)
			}
			n := l.finish()
			p.drain()
			again := s.compare(s.lines(""), crashes*window)
			t.Logf("%d events, %d crashes, %d came again", n, crashes, again)
		})
	}
}

// A relay that starts only after the crash has the mark alone to go by.
func TestCrash_PostmasterAndRelayTogether(t *testing.T) {
	t.Parallel()
	srv := testenv.StartPostgres(t, "", map[string]string{"checkpoint_timeout": "1h"})
	s := setupIn(t, srv.Database(t))
	p := s.start(smallWindow)
	l := s.load()
	s.grows(3000)
	srv.Kill9()
	p.kill()
	srv.Start()
	p = s.start(smallWindow)
	n := l.finish()
	p.drain()
	again := s.compare(s.lines(""), window)
	t.Logf("%d events, %d came again", n, again)
}

func TestCrash_PostgresRestarted(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"fast", "immediate"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			srv := testenv.StartPostgres(t, "", nil)
			s := setupIn(t, srv.Database(t))
			p := s.start(smallWindow)
			l := s.load()
			s.grows(500)
			if mode == "fast" {
				srv.Stop()
			} else {
				srv.SignalPostmaster(syscall.SIGQUIT)
				if !srv.Main.Await(20 * time.Second) {
					t.Fatal("the postmaster does not end")
				}
			}
			p.says("session ended")
			srv.Start()
			s.grows(500)
			l.finish()
			p.drain()
			s.compare(s.lines(""), window)
		})
	}
}

// pg_terminate_backend of the walsender under load: what was handed to the sink is not handed to it again.
func TestCrash_WalsenderTerminated(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start(smallWindow)
	l := s.load()
	for range 5 {
		s.grows(200)
		s.pg.Exec(t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1", s.slot)
	}
	l.finish()
	p.drain()
	s.compare(s.lines(""), 0)
}

// The same for every connection that the relay has.
func TestCrash_AllConnectionsTerminated(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start(smallWindow)
	l := s.load()
	for i := range 3 {
		s.grows(200)
		s.pg.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", s.role)
		p.saysAgain("session ended", i+1)
	}
	l.finish()
	p.drain()
	s.compare(s.lines(""), 0)
}

// kill -9 of the relay, twenty times at random moments under load.
func TestCrash_Kill9OfTheRelay(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start().drain() // what is older than the slot is not published
	l := s.load()
	const kills = 20
	for range kills {
		p := s.run(smallWindow)
		select {
		case <-time.After(time.Duration(rand.IntN(700)) * time.Millisecond): // a random moment of its life
		case <-p.done:
			t.Fatalf("the relay ended by itself:\n%s", p.said())
		}
		p.kill()
	}
	p := s.start(smallWindow)
	n := l.finish()
	p.drain()
	again := s.compare(s.lines(""), kills*window)
	t.Logf("%d events, %d kills, %d came again", n, kills, again)
	if n == 0 {
		t.Error("the load has committed nothing")
	}
}

// The owner is frozen for longer than wal_sender_timeout; another takes over. When the first one wakes it finds itself
// fenced: it publishes nothing, writes no mark, and stands by.
func TestCrash_OwnerFrozen(t *testing.T) {
	t.Parallel()
	s := setup(t)
	aFile, bFile := s.dir+"/a.jsonl", s.dir+"/b.jsonl"
	a := s.start("CDC_RELAY_SINK_FILE_PATH="+aFile, "CDC_RELAY_REPLICATION_STATUS_INTERVAL=200ms")
	s.file = aFile
	s.insert(0, 100, 7)
	s.holds(100)
	s.quiet()
	a.signal(syscall.SIGSTOP)
	began := time.Now()
	b := s.run("CDC_RELAY_SINK_FILE_PATH=" + bFile)
	s.insert(100, 100, 7) // some of it waits in the frozen one's socket
	b.says(`"streaming"`)
	t.Logf("SIGSTOP of the owner -> the next one streams: %s", time.Since(began).Round(10*time.Millisecond))
	s.file = bFile
	s.holds(100)
	a.signal(syscall.SIGCONT)
	a.is(func(st relay.Status) error {
		if st.State != "standby" {
			return fmt.Errorf("state is %s", st.State)
		}
		return nil
	})
	s.insert(200, 100, 7)
	s.holds(200)
	if got := s.lines(aFile); len(got) != 100 {
		t.Errorf("the frozen one wrote %d events after it woke", len(got)-100)
	}
	s.compare(append(s.lines(aFile), s.lines(bFile)...), 0)
	a.drain()
	b.drain()
}

func TestStop_SIGTERMDrains(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start().drain() // what is older than the slot is not published
	l := s.load()
	for range 5 {
		p := s.start()
		s.grows(300)
		p.drain()
	}
	p := s.start()
	l.finish()
	p.drain()
	s.compare(s.lines(""), 0) // a drained relay repeats nothing
}

// A destination that takes nothing: the drain waits, then gives up with 7; a second signal does not wait.
func TestStop_SecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := setup(t)
	waiting := func(events int) func(relay.Status) error {
		return func(st relay.Status) error {
			if got := st.InFlight; got != events {
				return fmt.Errorf("%d events are in flight, want %d", got, events)
			}
			return nil
		}
	}
	for i, c := range []struct {
		second syscall.Signal
		code   int
	}{{syscall.SIGTERM, 143}, {syscall.SIGINT, 130}} {
		p := s.start("CDC_RELAY_SINK_KAFKA_BROKERS=127.0.0.1:1")
		s.insert(0, 10, 1)
		p.is(waiting(10 * (i + 1)))
		p.signal(syscall.SIGTERM)
		p.says("draining")
		began := time.Now()
		p.signal(c.second)
		p.exits(c.code)
		if took := time.Since(began); took > 5*time.Second { // the drain would wait for 20 s
			t.Errorf("it took %s", took)
		}
	}
	p := s.start("CDC_RELAY_SINK_KAFKA_BROKERS=127.0.0.1:1", "CDC_RELAY_DRAIN_TIMEOUT=1s")
	p.is(waiting(20))
	p.signal(syscall.SIGTERM)
	p.exits(7, "20 events", s.slot, "were not acknowledged within 1s", "publishes them again")
}

func TestStop_PauseAndResume(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start()
	s.insert(0, 10, 3)
	s.holds(10)
	s.verb(0, []string{"paused slot " + s.slot}, "pause")
	paused := func(want bool) func(relay.Status) error {
		return func(st relay.Status) error {
			if st.Paused != want {
				return fmt.Errorf("paused is %v", st.Paused)
			}
			return nil
		}
	}
	p.is(paused(true))
	p.says("paused or resumed by an operator")
	s.insert(10, 10, 3)
	p.drain()
	p = s.start() // still paused after a restart
	p.is(paused(true))
	if got := len(s.lines("")); got != 10 {
		t.Errorf("%d events were published while paused", got-10)
	}
	s.verb(0, []string{"resumed slot " + s.slot}, "resume")
	s.holds(20)
	p.is(paused(false))
	p.drain()
	s.compare(s.lines(""), 0)
	if strings.Contains(p.said(), `"level":"error"`) {
		t.Errorf("it complained:\n%s", p.said())
	}
}
