package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

func (s *stand) dropSlot() {
	s.t.Helper()
	s.pg.DropSlot(s.t, s.slot)
}

func (s *stand) makeSlot() {
	s.t.Helper()
	s.pg.Exec(s.t, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", s.slot)
}

func TestSlot_MissingAtStart(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start()
	s.insert(0, 10, 3)
	s.holds(10)
	p.drain()
	s.dropSlot()
	s.insert(10, 10, 3)
	mark := query[string](s, "SELECT lsn::text FROM cdc_relay.checkpoint WHERE slot = $1", s.slot)
	s.run().exits(6, s.slot, "is missing", mark, "cdc-relay slot create", "slot adopt")
	s.verb(0, []string{"its mark stands at " + mark}, "slot", "create")
	s.run().exits(6, s.slot, "ahead of its mark at "+mark, "cdc-relay slot adopt")
	s.verb(2, []string{"giving up what was committed between", "--yes " + s.slot}, "slot", "adopt", "--new-incarnation")
	s.verb(0, []string{"adopted"}, "slot", "adopt", "--new-incarnation", "--yes", s.slot)
	p = s.start()
	s.insert(20, 5, 3)
	got := s.holds(15)
	p.drain()
	if a, b := header(got[0], "cdc-source"), header(got[14], "cdc-source"); a == b {
		t.Errorf("cdc-source is still %s, although positions begin anew", a)
	}
}

func TestSlot_DroppedWhileRunning(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start()
	s.insert(0, 10, 3)
	s.holds(10)
	s.quiet()
	s.pg.Exec(t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1", s.slot)
	s.dropSlot()
	// It is told by the look at the slot, or by START_REPLICATION when the slot goes between the two.
	p.exits(6, s.slot, "was dropped", "cdc-relay slot create", "slot adopt")
}

func TestSlot_WithoutAMark(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.makeSlot()
	s.insert(0, 5, 1)
	s.run().exits(6, s.slot, "has no mark", "cdc-relay slot adopt "+s.slot)
	s.verb(0, []string{"adopted"}, "slot", "adopt")
	p := s.start()
	s.holds(5) // nothing between the slot and now was lost
	p.drain()
	s.compare(s.lines(""), 0)
}

func TestSlot_OfAnotherPluginOrDatabase(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.pg.Exec(t, "SELECT pg_create_logical_replication_slot($1, 'test_decoding')", s.slot)
	s.run().exits(6, s.slot, "test_decoding", "replication.slot")
	other := setup(t)
	other.run("CDC_RELAY_REPLICATION_SLOT="+s.slot).exits(6, s.slot, s.pg.Name(), "replication.slot")
}

func TestSlot_RecreatedBehindOurBack(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start()
	s.insert(0, 10, 3)
	s.holds(10)
	p.drain()
	s.insert(10, 10, 3) // these are lost with the slot
	s.dropSlot()
	s.makeSlot()
	s.insert(20, 10, 3)
	s.run().exits(6, s.slot, "ahead of its mark", "made it anew", "cdc-relay slot adopt "+s.slot, "may be unpublished")
	s.verb(0, nil, "slot", "adopt", "--new-incarnation", "--yes", s.slot)
	p = s.start()
	got := s.holds(20)
	p.drain()
	if n := number(t, got[10]); n != 20 {
		t.Errorf("after adopting, the first event is %d, want 20", n)
	}
}

func TestSlot_AdvancedByHand(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start()
	s.insert(0, 10, 3)
	s.holds(10)
	p.drain()
	s.insert(10, 10, 3)
	s.pg.Exec(t, "SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())", s.slot)
	s.insert(20, 10, 3)
	s.run().exits(6, s.slot, "ahead of its mark", "somebody advanced it", "cdc-relay slot adopt "+s.slot)
	s.verb(0, nil, "slot", "adopt", "--yes", s.slot)
	p = s.start()
	s.holds(20)
	p.drain()
	// the verb that does both is no riddle
	s.insert(30, 5, 3)
	s.verb(0, []string{"moved slot"}, "slot", "advance", "--to", "now", "--yes", s.slot)
	s.insert(35, 5, 3)
	p = s.start()
	got := s.holds(25)
	p.drain()
	if n := number(t, got[20]); n != 35 {
		t.Errorf("after slot advance, the first event is %d, want 35", n)
	}
}

func TestSlot_LostByKeepSize(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "17"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			srv := testenv.StartPostgres(t, version, map[string]string{"max_slot_wal_keep_size": "32MB", "max_wal_size": "64MB", "min_wal_size": "32MB", "fsync": "off"})
			s := setupIn(t, srv.Database(t))
			p := s.start()
			s.insert(0, 10, 3)
			s.holds(10)
			p.drain()
			s.pg.Exec(t, "CREATE TABLE busy (x text)")
			testenv.Eventually(t, 60*time.Second, func() error {
				s.pg.Exec(t, "INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
				s.pg.Exec(t, "SELECT pg_switch_wal()")
				s.pg.Exec(t, "CHECKPOINT")
				if got := query[string](s, "SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1", s.slot); got != "lost" {
					return fmt.Errorf("wal_status is %s", got)
				}
				return nil
			})
			s.run().exits(6, s.slot, "is lost", "the mark stands at", "cdc-relay slot drop "+s.slot)
			s.verb(0, nil, "slot", "drop", "--yes", s.slot)
			s.verb(0, nil, "slot", "create")
			p = s.start()
			s.insert(10, 5, 3)
			s.holds(15)
			p.drain()
		})
	}
}

// Somebody else holds the slot (pg_recvlogical, say): stand by, ready, and take over when it is free.
func TestSlot_TakenByAnotherProgram(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start().drain()
	s.insert(0, 10, 3)
	holder := holdSlot(t, s)
	p := s.run()
	p.is(func(st relay.Status) error {
		if st.State != "standby" || !strings.Contains(st.Reason, "held by walsender") {
			return fmt.Errorf("state %s: %s", st.State, st.Reason)
		}
		return nil
	})
	holder()
	s.holds(10)
	p.drain()
	s.compare(s.lines(""), 0)
}

// holdSlot streams the slot and confirms nothing, until it is told to let go.
func holdSlot(t *testing.T, s *stand) (release func()) {
	t.Helper()
	conn := s.pg.ReplicationConn(t)
	conn.Frontend().SendQuery(&pgproto3.Query{String: "START_REPLICATION SLOT " + s.slot + " LOGICAL 0/0 (proto_version '1', publication_names 'cdc_relay')"})
	if err := conn.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		if !query[bool](s, "SELECT active FROM pg_replication_slots WHERE slot_name = $1", s.slot) {
			return fmt.Errorf("the slot is not taken yet")
		}
		return nil
	})
	return func() { _ = conn.Conn().Close() }
}

// Two relays: one streams, one is a hot standby that is ready. kill -9 of the owner: events flow again within 2 s.
func TestSlot_TakeoverAfterKill9(t *testing.T) {
	t.Parallel()
	s := setup(t)
	a := s.start(smallWindow)
	b := s.run(smallWindow)
	b.is(func(st relay.Status) error {
		if st.State != "standby" {
			return fmt.Errorf("state is %s", st.State)
		}
		return nil
	})
	s.insert(0, 100, 7)
	s.holds(100)
	var took []time.Duration
	for i := 1; i <= 3; i++ {
		began := time.Now()
		a.kill()
		s.insert(100*i, 100, 7)
		s.holds(100 * (i + 1))
		took = append(took, time.Since(began))
		if i < 3 {
			a, b = b, s.run(smallWindow)
			b.is(func(st relay.Status) error {
				if st.State != "standby" {
					return fmt.Errorf("state is %s", st.State)
				}
				return nil
			})
		}
	}
	t.Logf("kill -9 of the owner -> the next owner's events in the destination: %v", took)
	for _, d := range took {
		if d > 2*time.Second {
			t.Errorf("takeover took %s, want 2 s at most", d)
		}
	}
	b.drain()
	s.compare(s.lines(""), 3*window)
}

// Three first starts at once make one slot and one mark.
func TestSlot_ThreeFirstStartsAtOnce(t *testing.T) {
	t.Parallel()
	s := setup(t)
	relays := []*process{s.run(), s.run(), s.run()}
	var owner *process
	testenv.Eventually(t, 30*time.Second, func() error {
		for _, p := range relays {
			if p.over() {
				t.Fatalf("one of them ended:\n%s", p.said())
			}
			if strings.Contains(p.said(), `"streaming"`) {
				owner = p
				return nil
			}
		}
		return fmt.Errorf("nobody streams")
	})
	s.insert(0, 100, 7)
	s.holds(100)
	owner.drain()
	s.insert(100, 100, 7)
	s.holds(200)
	for _, p := range relays {
		if p != owner {
			p.drain()
		}
	}
	s.compare(s.lines(""), 0)
}

// A first start that was killed between the intent, the slot and the mark is no riddle to the next one.
func TestSlot_FirstStartKilledAnywhere(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i := range 8 {
		p := s.run()
		select {
		case <-time.After(time.Duration(20+15*i) * time.Millisecond): // not to wait for something: to die at another point
		case <-p.done:
		}
		p.kill()
	}
	p := s.start()
	s.insert(0, 10, 3)
	s.holds(10)
	p.drain()
	s.compare(s.lines(""), 10)
	if n := query[int](s, "SELECT count(*) FROM cdc_relay.checkpoint"); n != 1 {
		t.Errorf("%d marks", n)
	}
}

// The data directory of an hour ago in the place of today's: LSNs come again, and the mark's is beyond the end of the WAL.
func TestSlot_DatabaseRestoredFromABackup(t *testing.T) {
	t.Parallel()
	srv := testenv.StartPostgres(t, "", map[string]string{"fsync": "off"})
	s := setupIn(t, srv.Database(t))
	p := s.start()
	s.insert(0, 10, 3)
	s.holds(10)
	s.quiet()
	srv.Stop()
	backup := filepath.Join(srv.Dir, "backup")
	copyDir(t, srv.DataDir(), backup)
	srv.Start()
	s.insert(10, 5000, 3)
	s.holds(5010)
	s.quiet()
	newest := query[string](s, "SELECT lsn::text FROM cdc_relay.checkpoint WHERE slot = $1", s.slot)

	// The server comes back as it was, under a relay that goes on.
	srv.Kill9()
	moveDir(t, backup, srv.DataDir())
	srv.Start()
	p.exits(6, s.slot, "restored from a backup", newest, "cdc-relay slot adopt "+s.slot, "--new-incarnation")
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v\n%s", from, err, out)
	}
}

func moveDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// The mark survived, the WAL did not (the table came out of a newer dump, or pg_resetwal was used).
func TestSlot_MarkBeyondTheWAL(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start().drain()
	s.pg.Exec(t, "UPDATE cdc_relay.checkpoint SET lsn = '7F/0' WHERE slot = '"+s.slot+"'")
	s.run().exits(6, s.slot, "its mark at 7F/0", "beyond the server's WAL end", "restored from a backup", "cdc-relay slot adopt "+s.slot+" --new-incarnation")
	s.pg.Exec(t, "UPDATE cdc_relay.checkpoint SET timeline = 9 WHERE slot = '"+s.slot+"'")
	s.run().exits(6, s.slot, "mark of timeline 9", "slot adopt")
	s.pg.Exec(t, "UPDATE cdc_relay.checkpoint SET system_id = '42' WHERE slot = '"+s.slot+"'")
	s.run().exits(6, s.slot, "system identifier 42", "database.url", "slot adopt")
	s.verb(0, nil, "slot", "adopt", "--new-incarnation")
	p := s.start()
	s.insert(0, 3, 1)
	s.holds(3)
	p.drain()
}
