package replication_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/replication"
)

func TestReal_StartStopResume(t *testing.T) {
	everyVersion(t, func(t *testing.T, b *bed) {
		point := b.createSlot(t)
		for range 3 {
			b.insert(t, 2)
		}
		s := b.stream(t, point)
		ends, rows := commits(t, s, 3)
		if rows != 6 {
			t.Errorf("%d rows, want 6", rows)
		}
		s.Confirm(ends[1])
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.slot(t).ConfirmedFlush; got != ends[1] {
			t.Errorf("after Stop the slot is at %s, want %s", got, ends[1])
		}
		s = b.stream(t, point) // behind the slot: the server takes its own
		again, _ := commits(t, s, 1)
		if again[0] != ends[2] {
			t.Errorf("the first after the restart ends at %s, want %s", again[0], ends[2])
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.insert(t, 1)
		s = b.stream(t, ends[2]) // ahead of the slot: ours counts
		if more, rows := commits(t, s, 1); rows != 1 || more[0] <= ends[2] {
			t.Errorf("from our own position: %d rows up to %v, want the one after %s", rows, more, ends[2])
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A Stop in the middle of a transaction that the server is busy sending: the last status counts all the same.
func TestReal_StopInsideALargeTransaction(t *testing.T) {
	versions(t, func(t *testing.T, b *bed) {
		point := b.createSlot(t)
		b.insert(t, 1)
		b.insert(t, 200_000)
		s := b.stream(t, point)
		ends, _ := commits(t, s, 1)
		for range 100 {
			if _, err := s.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		s.Confirm(ends[0])
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("Stop took %s", time.Since(begin).Round(time.Millisecond))
		if got := b.slot(t).ConfirmedFlush; got != ends[0] {
			t.Errorf("the slot is at %s, want %s", got, ends[0])
		}
	}, "14", "18")
}

func TestReal_TakenSlot(t *testing.T) {
	everyVersion(t, func(t *testing.T, b *bed) {
		point := b.createSlot(t)
		owner := b.connect(t)
		if _, err := owner.Start(t.Context(), point); err != nil {
			t.Fatal(err)
		}
		waiting := b.connect(t)
		_, err := waiting.Start(t.Context(), point)
		d := replication.Class(err)
		if d.Action != replication.Standby || d.Owner != owner.PID() {
			t.Fatalf("got %v: %+v, want stand by, owner %d", err, d, owner.PID())
		}
		if got := b.slot(t).ActivePID; got != owner.PID() {
			t.Errorf("active_pid %d, want %d", got, owner.PID())
		}
		if err := replication.DropSlot(t.Context(), b.db, b.name); replication.Class(err).Action != replication.Standby {
			t.Errorf("drop of a taken slot: %v", err)
		}
		if ended, err := replication.TerminateOwner(t.Context(), b.db, b.name, owner.PID()+1); ended || err != nil {
			t.Errorf("terminated the wrong owner: %v, %v", ended, err)
		}
		own, err := pgx.Connect(t.Context(), b.pg.URLFor(b.name, "geheim")) // the owner's own role may end it
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = own.Close(t.Context()) }()
		begin := time.Now()
		if ended, err := replication.TerminateOwner(t.Context(), own, b.name, owner.PID()); !ended || err != nil {
			t.Fatalf("terminate: %v, %v", ended, err)
		}
		testenv.Eventually(t, 5*time.Second, func() error {
			_, err := waiting.Start(t.Context(), point)
			return err
		})
		t.Logf("free %s after pg_terminate_backend", time.Since(begin).Round(time.Millisecond))
	})
}

func TestReal_OwnerDies(t *testing.T) {
	versions(t, func(t *testing.T, b *bed) {
		point := b.createSlot(t)
		owner := b.connect(t)
		if _, err := owner.Start(t.Context(), point); err != nil {
			t.Fatal(err)
		}
		waiting := b.connect(t)
		begin := time.Now()
		owner.Close(t.Context()) // the socket, without a goodbye, as when the process dies
		testenv.Eventually(t, 5*time.Second, func() error {
			_, err := waiting.Start(t.Context(), point)
			return err
		})
		t.Logf("free %s after the owner's socket closed", time.Since(begin).Round(time.Millisecond))
	}, "14", "18")
}

func TestReal_OwnerHangs(t *testing.T) {
	versions(t, func(t *testing.T, b *bed) {
		point := b.createSlot(t)
		cfg := b.config()
		cfg.WALSenderTimeout = 3 * time.Second
		owner, err := replication.Connect(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer owner.Close(t.Context())
		s, err := owner.Start(t.Context(), point)
		if err != nil {
			t.Fatal(err)
		}
		// It answers for longer than the timeout while it does not read, then hangs: nobody calls it any more.
		for begin := time.Now(); time.Since(begin) < 4*time.Second; {
			if err := s.Wait(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		waiting := b.connect(t)
		testenv.Eventually(t, 10*time.Second, func() error {
			_, err := waiting.Start(t.Context(), point)
			return err
		})
		t.Logf("free %s after the owner's last status (wal_sender_timeout 3 s)", time.Since(begin).Round(time.Millisecond))
		for err == nil {
			_, err = s.Next(t.Context())
		}
		if replication.Class(err).Action != replication.Retry {
			t.Errorf("the owner that woke got %v: %+v, want a retry", err, replication.Class(err))
		}
	}, "14", "18")
}

func TestReal_SlotMissing(t *testing.T) {
	everyVersion(t, func(t *testing.T, b *bed) {
		conn := b.connect(t)
		_, err := conn.Start(t.Context(), conn.System().WALEnd)
		if d := replication.Class(err); d.Action != replication.SlotUnusable || d.Cure == "" {
			t.Errorf("got %v: %+v, want slot unusable", err, d)
		}
		if _, err := replication.LookSlot(t.Context(), b.db, b.name); !errors.Is(err, replication.ErrSlotMissing) {
			t.Errorf("LookSlot: %v", err)
		}
		if _, err := conn.Start(t.Context(), conn.System().WALEnd+1<<40); !errors.Is(err, replication.ErrBeyondWAL) {
			t.Errorf("beyond the WAL: %v", err)
		}
	})
}

func TestReal_Credentials(t *testing.T) {
	everyVersion(t, func(t *testing.T, b *bed) {
		want := func(what string, cfg replication.Config, codes ...string) {
			t.Helper()
			_, err := replication.Connect(t.Context(), cfg)
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != codes[0] {
				t.Errorf("%s: got %v, want SQLSTATE %s", what, err, codes)
			}
			if d := replication.Class(err); d.Action != replication.Stop || d.Cure == "" {
				t.Errorf("%s: %+v, want stop with a cure", what, d)
			}
		}
		want("wrong password", b.config(func(c *pgconn.Config) { c.Password = "falsch" }), "28P01")
		want("no such database", b.config(func(c *pgconn.Config) { c.Database = "nowhere" }), "3D000")
		b.pg.Exec(t, "ALTER ROLE "+b.name+" NOREPLICATION")
		_, err := replication.Connect(t.Context(), b.config())
		if d := replication.Class(err); d.Action != replication.Stop || d.Cure == "" {
			t.Errorf("no REPLICATION: %v: %+v, want stop with a cure", err, d)
		}
		b.pg.Exec(t, "ALTER ROLE "+b.name+" REPLICATION NOLOGIN")
		want("no LOGIN", b.config(), "28000")
		b.pg.Exec(t, "ALTER ROLE "+b.name+" LOGIN; REVOKE CONNECT ON DATABASE "+b.name+" FROM PUBLIC")
		want("no CONNECT", b.config(), "42501")
	})
}

func TestReal_PublicationMissing(t *testing.T) {
	everyVersion(t, func(t *testing.T, b *bed) {
		point := b.createSlot(t)
		b.pg.Exec(t, "DROP PUBLICATION "+b.name)
		b.insert(t, 1)
		s := b.stream(t, point)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var err error
		for err == nil {
			_, err = s.Next(ctx)
		}
		if d := replication.Class(err); d.Action != replication.SlotUnusable || d.Cure == "" {
			t.Errorf("got %v: %+v, want slot unusable (18 only warns, and skips the row)", err, d)
		}
	})
}

func TestReal_Failover(t *testing.T) {
	everyVersion(t, func(t *testing.T, b *bed) {
		conn := b.connect(t)
		_, err := conn.CreateSlot(t.Context(), b.name, true)
		if conn.System().Version < 170000 {
			if !errors.Is(err, replication.ErrNoFailover) {
				t.Errorf("got %v, want %v", err, replication.ErrNoFailover)
			}
			return
		}
		if err != nil || !b.slot(t).Failover {
			t.Errorf("slot %+v, %v: want a failover slot", b.slot(t), err)
		}
		if _, err := conn.CreateSlot(t.Context(), b.name, true); replication.Class(err).Action != replication.Stop {
			t.Errorf("the second: %v", err)
		}
	})
}

func TestReal_ConnectionCut(t *testing.T) {
	t.Parallel()
	b := newBed(t, "15")
	point := b.createSlot(t)
	proxy := testenv.Proxy(t, b.pg.Address())
	cfg := b.config()
	cfg.Conn = func(context.Context) (*pgconn.Config, error) { return pgconn.ParseConfig(b.pg.Via(proxy.Addr())) }
	conn, err := replication.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.Start(t.Context(), point)
	if err != nil {
		t.Fatal(err)
	}
	proxy.CloseAll()
	for err == nil {
		_, err = s.Next(t.Context())
	}
	if d := replication.Class(err); d.Action != replication.Retry {
		t.Errorf("cut in between: %v: %+v, want a retry", err, d)
	}
}
