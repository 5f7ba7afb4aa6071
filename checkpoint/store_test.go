package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/migrations"
)

// bench is a migrated database with a relay role.
type bench struct {
	pg   *testenv.PG
	url  string // the relay role's
	slot string
	pub  string
}

func eachVersion(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Parallel()
	for _, v := range []string{"14", "15", "16", "17", "18"} {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			test(t, newBench(t, testenv.Postgres(t, v)))
		})
	}
}

func newBench(t testing.TB, pg *testenv.PG) *bench {
	t.Helper()
	role, url := pg.CreateRole(t, "REPLICATION")
	o := migrations.NewOptions()
	o.RelayRole = role
	if _, err := migrations.Up(ctx(t), pg.Conn(t), o); err != nil {
		t.Fatal(err)
	}
	return &bench{pg: pg, url: url, slot: pg.SlotName(t), pub: o.Publication}
}

func ctx(t testing.TB) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return c
}

func (b *bench) conn(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(ctx(t), b.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (b *bench) store(t testing.TB) *checkpoint.Store {
	t.Helper()
	return checkpoint.NewStore(b.conn(t), b.slot)
}

// stream starts a walsender on the slot and returns its pid and a way to end it.
func (b *bench) stream(t testing.TB) (pid uint32, end func()) {
	t.Helper()
	conn, err := pgconn.Connect(ctx(t), b.url+"&replication=database")
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error { // the slot may be held for a moment more
		return pglogrepl.StartReplication(ctx(t), conn, b.slot, 0, pglogrepl.StartReplicationOptions{
			PluginArgs: []string{"proto_version '1'", "publication_names '" + b.pub + "'"},
		})
	})
	var once sync.Once
	end = func() { once.Do(func() { _ = conn.Close(context.Background()) }) }
	t.Cleanup(end)
	return conn.PID(), end
}

// start does a first start and returns the mark.
func (b *bench) start(t testing.TB, s *checkpoint.Store) *checkpoint.Mark {
	t.Helper()
	must(t, s.Intent(ctx(t), b.intent("n1")))
	lsn := b.createSlot(t)
	must(t, s.Complete(ctx(t), "n1", lsn))
	m, err := s.Read(ctx(t))
	must(t, err)
	return m
}

func (b *bench) intent(nonce string) checkpoint.Mark {
	return checkpoint.Mark{Publication: b.pub, Nonce: nonce, SystemID: "7000000000000000001", Timeline: 1, Incarnation: "abcd1234"}
}

func (b *bench) createSlot(t testing.TB) (lsn pglogrepl.LSN) {
	t.Helper()
	var text string
	must(t, b.pg.Conn(t).QueryRow(ctx(t), "SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')", b.slot).Scan(&text))
	lsn, err := pglogrepl.ParseLSN(text)
	must(t, err)
	return lsn
}

func update(m *checkpoint.Mark, ahead pglogrepl.LSN) checkpoint.Update {
	return checkpoint.Update{
		SystemID: m.SystemID, Timeline: m.Timeline, Incarnation: m.Incarnation, LSN: m.LSN + ahead,
		HorizonXID: m.HorizonXID, HorizonLSN: m.HorizonLSN,
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func TestStoreWithoutSchema(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	s := checkpoint.NewStore(pg.Conn(t), "x")
	_, err := s.Protocol(ctx(t))
	wantErr(t, "no schema", err, checkpoint.ErrNoSchema)
	if !strings.Contains(err.Error(), "cdc-relay migrate up") {
		t.Errorf("no cure in %q", err)
	}
	_, err = migrations.Up(ctx(t), pg.Conn(t), migrations.NewOptions())
	must(t, err)
	_, url := pg.CreateRole(t)
	conn, err := pgx.Connect(ctx(t), url)
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = checkpoint.NewStore(conn, "x").Protocol(ctx(t))
	wantErr(t, "no rights", err, checkpoint.ErrNotGranted)
}

func TestProtocol(t *testing.T) {
	t.Parallel()
	b := newBench(t, testenv.Postgres(t))
	s := b.store(t)
	p, err := s.Protocol(ctx(t))
	must(t, err)
	must(t, p.Check())
	if p.Version != migrations.Protocol || p.CompatibleFrom != migrations.CompatibleFrom {
		t.Fatalf("got %+v", p)
	}
	b.pg.Exec(t, "UPDATE cdc_relay.protocol SET version = 7, compatible_from = 6")
	p, err = s.Protocol(ctx(t))
	must(t, err)
	wantErr(t, "newer schema", p.Check(), checkpoint.ErrProtocol)
	wantErr(t, "older schema", checkpoint.Protocol{}.Check(), checkpoint.ErrProtocol)
}

func TestFirstStart(t *testing.T) {
	eachVersion(t, func(t *testing.T, b *bench) {
		s := b.store(t)
		m, err := s.Read(ctx(t))
		if m != nil || err != nil {
			t.Fatalf("without a row: %+v, %v", m, err)
		}
		// A transaction that is open before the intent and commits after it bounds the horizon.
		open := b.pg.Conn(t)
		tx, err := open.Begin(ctx(t))
		must(t, err)
		var xid uint64
		must(t, tx.QueryRow(ctx(t), "SELECT pg_current_xact_id()::text::bigint").Scan(&xid))
		must(t, s.Intent(ctx(t), b.intent("n1")))
		must(t, tx.Commit(ctx(t)))
		m, err = s.Read(ctx(t))
		must(t, err)
		if !m.Creating || m.LSN != 0 || m.HorizonXID > xid || m.HorizonXID == 0 || m.HorizonLSN == 0 || m.Publication != b.pub || m.Nonce != "n1" || m.Fingerprint == "" {
			t.Fatalf("the intent with xid %d open: %+v", xid, m)
		}
		wantErr(t, "write before completion", s.Write(ctx(t), 1, update(m, 8)), checkpoint.ErrNoMark)
		must(t, s.Intent(ctx(t), b.intent("n2"))) // a crashed start is done again
		lsn := b.createSlot(t)
		wantErr(t, "the older nonce", s.Complete(ctx(t), "n1", lsn), checkpoint.ErrNonce)
		must(t, s.Complete(ctx(t), "n2", lsn))
		wantErr(t, "twice", s.Complete(ctx(t), "n2", lsn), checkpoint.ErrMarkExists)
		wantErr(t, "an intent over a mark", s.Intent(ctx(t), b.intent("n3")), checkpoint.ErrMarkExists)
		m, err = s.Read(ctx(t))
		must(t, err)
		if m.Creating || m.LSN != lsn || m.HorizonLSN > lsn {
			t.Fatalf("the mark at %s: %+v", lsn, m)
		}
	})
}

// TestFirstStartOfThree: one of three writes the mark, the others are told to stand by at whichever step they come.
func TestFirstStartOfThree(t *testing.T) {
	eachVersion(t, func(t *testing.T, b *bench) {
		var wg sync.WaitGroup
		var won, stoodBy [3]bool
		var errs [3]error
		for i := range won {
			s, slot := b.store(t), b.pg.Conn(t)
			wg.Go(func() {
				errs[i] = func() error {
					if ok, err := s.Lock(ctx(t)); err != nil || !ok {
						stoodBy[i] = !ok
						return err
					}
					defer func() { errs[i] = errors.Join(errs[i], s.Unlock(ctx(t))) }()
					if m, err := s.Read(ctx(t)); err != nil || m != nil && !m.Creating {
						stoodBy[i] = m != nil
						return err
					}
					nonce := fmt.Sprint("n", i)
					if err := s.Intent(ctx(t), b.intent(nonce)); err != nil {
						return err
					}
					var text string
					if err := slot.QueryRow(ctx(t), "SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')", b.slot).Scan(&text); err != nil {
						return err
					}
					lsn, _ := pglogrepl.ParseLSN(text)
					won[i] = true
					return s.Complete(ctx(t), nonce, lsn)
				}()
			})
		}
		wg.Wait()
		must(t, errors.Join(errs[:]...))
		n := 0
		for i := range won {
			if won[i] {
				n++
			}
			if won[i] == stoodBy[i] {
				t.Errorf("replica %d: won %v, stood by %v", i, won[i], stoodBy[i])
			}
		}
		if n != 1 {
			t.Errorf("%d replicas made the mark", n)
		}
	})
}

// TestClaimFencesTheIntent: who does not hold the claim cannot write while another does, lock or no lock of his own.
func TestClaimFencesTheIntent(t *testing.T) {
	t.Parallel()
	b := newBench(t, testenv.Postgres(t))
	first, second := b.store(t), b.store(t)
	if ok, err := first.Lock(ctx(t)); !ok || err != nil {
		t.Fatalf("lock: %v, %v", ok, err)
	}
	if ok, err := second.Lock(ctx(t)); ok || err != nil {
		t.Fatalf("second lock: %v, %v", ok, err)
	}
	wantErr(t, "intent beside a claim", second.Intent(ctx(t), b.intent("n2")), checkpoint.ErrClaimed)
	must(t, first.Intent(ctx(t), b.intent("n1")))
	wantErr(t, "completion beside a claim", second.Complete(ctx(t), "n1", 8), checkpoint.ErrClaimed)
	must(t, first.Unlock(ctx(t)))
	if err := first.Unlock(ctx(t)); err == nil {
		t.Error("a lock that is not held was given back")
	}
	if ok, err := second.Lock(ctx(t)); !ok || err != nil {
		t.Fatalf("second lock: %v, %v", ok, err)
	}
}

func TestWrite(t *testing.T) {
	eachVersion(t, func(t *testing.T, b *bench) {
		s := b.store(t)
		m := b.start(t, s)
		pid, _ := b.stream(t)
		write := func(change func(*checkpoint.Update)) error {
			u := update(m, 0x100)
			change(&u)
			return s.Write(ctx(t), pid, u)
		}
		must(t, write(func(*checkpoint.Update) {}))
		must(t, write(func(*checkpoint.Update) {})) // equal: no write, no error
		open := func(commit pglogrepl.LSN, index uint32, hash string) func(*checkpoint.Update) {
			return func(u *checkpoint.Update) { u.OpenCommit, u.OpenIndex, u.OpenHash = commit, index, hash }
		}
		must(t, write(open(m.LSN+0x900, 5, "h")))
		must(t, write(open(m.LSN+0x900, 6, "h")))
		got, err := s.Read(ctx(t))
		must(t, err)
		if got.LSN != m.LSN+0x100 || got.OpenCommit != m.LSN+0x900 || got.OpenIndex != 6 || got.OpenHash != "h" || got.HorizonXID != m.HorizonXID {
			t.Fatalf("read back %+v", got)
		}
		wantErr(t, "a lower index", write(open(m.LSN+0x900, 5, "h")), checkpoint.ErrBackwards)
		wantErr(t, "a lower commit", write(open(m.LSN+0x800, 9, "h")), checkpoint.ErrBackwards)
		wantErr(t, "a lower LSN", write(func(u *checkpoint.Update) { u.LSN-- }), checkpoint.ErrBackwards)
		must(t, write(open(m.LSN+0x900, 1, "other"))) // another index: the old open part does not count
		must(t, write(func(u *checkpoint.Update) {
			u.LSN = m.LSN + 0x1000
			u.HorizonXID, u.HorizonLSN = m.HorizonXID+1, m.LSN+0x1000
		}))
		wantErr(t, "a late horizon", write(func(u *checkpoint.Update) { u.LSN = m.LSN + 0x1001; u.HorizonLSN = m.LSN + 0x1002 }), checkpoint.ErrHorizon)
		must(t, write(func(u *checkpoint.Update) { u.LSN = m.LSN + 0x1100; u.HorizonLSN, u.HorizonXID = 0, 0 }))
		got, err = s.Read(ctx(t))
		must(t, err)
		if got.LSN != m.LSN+0x1100 || got.OpenCommit != 0 || got.OpenIndex != 0 || got.HorizonXID != m.HorizonXID+1 || got.HorizonLSN != m.LSN+0x1000 {
			t.Fatalf("read back %+v", got)
		}
		m.LSN += 0x2000
		wantErr(t, "another incarnation", write(func(u *checkpoint.Update) { u.Incarnation = "x" }), checkpoint.ErrIncarnation)
		wantErr(t, "another server", write(func(u *checkpoint.Update) { u.SystemID = "1" }), checkpoint.ErrIncarnation)
		must(t, write(func(u *checkpoint.Update) { u.Timeline = 2 }))
		wantErr(t, "an older timeline", write(func(u *checkpoint.Update) { u.LSN += 8 }), checkpoint.ErrIncarnation)
		wantErr(t, "another slot's walsender", s.Write(ctx(t), pid+1, update(m, 0x3000)), checkpoint.ErrFenced)
		wantErr(t, "no row", checkpoint.NewStore(b.conn(t), "none").Write(ctx(t), pid, update(m, 8)), checkpoint.ErrNoMark)
	})
}

// TestFencedOwner: the owner is frozen, another walsender takes the slot, the owner wakes and writes.
func TestFencedOwner(t *testing.T) {
	eachVersion(t, func(t *testing.T, b *bench) {
		old, next := b.store(t), b.store(t)
		m := b.start(t, old)
		oldPID, _ := b.stream(t)
		must(t, old.Write(ctx(t), oldPID, update(m, 8)))
		// The new owner ends the old walsender, which needs no right beyond being of the same role.
		if _, err := b.conn(t).Exec(ctx(t), "SELECT pg_terminate_backend($1)", int32(oldPID)); err != nil {
			t.Fatal(err)
		}
		nextPID, end := b.stream(t)
		wantErr(t, "the old owner", old.Write(ctx(t), oldPID, update(m, 16)), checkpoint.ErrFenced)
		must(t, next.Write(ctx(t), nextPID, update(m, 16)))
		wantErr(t, "the old owner, same position", old.Write(ctx(t), oldPID, update(m, 16)), checkpoint.ErrFenced)
		end()
		testenv.Eventually(t, 10*time.Second, func() error {
			if err := next.Write(ctx(t), nextPID, update(m, 16)); !errors.Is(err, checkpoint.ErrFenced) {
				return fmt.Errorf("without a walsender: %w", err)
			}
			return nil
		})
		got, err := next.Read(ctx(t))
		must(t, err)
		if got.LSN != m.LSN+16 {
			t.Fatalf("mark at %s, want %s", got.LSN, m.LSN+16)
		}
	})
}
