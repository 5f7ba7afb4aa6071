package deadletter_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/record"
)

// fixture is a migrated database with a slot, a walsender that holds it and a mark at 0/1000. Stores speak as the relay's
// role, which has no right to the tables.
type fixture struct {
	pg   *testenv.PG
	slot string
	pid  uint32
	url  string
}

func setup(t *testing.T) *fixture {
	t.Helper()
	ctx := t.Context()
	pg := testenv.Postgres(t)
	role, url := pg.CreateRole(t, "REPLICATION")
	migrate(t, pg.Conn(t), role)
	slot := pg.SlotName(t)
	repl := pg.ReplicationConn(t)
	if _, err := pglogrepl.CreateReplicationSlot(ctx, repl, slot, "pgoutput", pglogrepl.CreateReplicationSlotOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pglogrepl.StartReplication(ctx, repl, slot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names 'cdc_relay'"},
	}); err != nil {
		t.Fatal(err)
	}
	pg.Exec(t, `INSERT INTO cdc_relay.checkpoint (slot, publication, state, nonce, system_id, incarnation, fingerprint,
		timeline, lsn, horizon_xid, horizon_lsn) VALUES ($1, 'cdc_relay', 'ready', '', '1', 'inc', '', 1, '0/1000', '3', '0/0')`, slot)
	return &fixture{pg: pg, slot: slot, pid: repl.PID(), url: url}
}

func migrate(t testing.TB, conn *pgx.Conn, role string) {
	t.Helper()
	o := migrations.NewOptions()
	o.RelayRole = role
	if _, err := migrations.Up(t.Context(), conn, o); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) conn(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), f.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (f *fixture) store(t *testing.T) *deadletter.Store {
	t.Helper()
	return deadletter.NewStore(f.conn(t), f.slot)
}

func pos(commit, index int) decoder.Position {
	return decoder.Position{Commit: pglogrepl.LSN(commit), Index: uint32(index)}
}

func event(key string, at decoder.Position) *decoder.Event {
	return &decoder.Event{
		Position: at, CommitTime: time.Date(2026, 2, 3, 4, 5, 6, 789123000, time.UTC).UnixMicro(), Topic: "orders",
		Key: []byte(key), Value: []byte(fmt.Sprintf(`{"at":"%s"}`, at)), Partition: -1,
		Headers: record.Headers{Count: 1, Bytes: record.AppendHeader(nil, "event_id", []byte("e"+at.String()))},
		ID:      []byte("e" + at.String()), Type: []byte("made"), AggregateType: []byte("order"), AggregateID: []byte(key),
		Table: "public.outbox", Seq: 7, XID: 4_000_000_000,
	}
}

func letter(key string, at decoder.Position) deadletter.Letter {
	l := deadletter.FromEvent(event(key, at), "too_large", "record of 2 MB")
	l.Incarnation = "inc"
	return l
}

func (f *fixture) park(t *testing.T, s *deadletter.Store, letters ...deadletter.Letter) []deadletter.Filed {
	t.Helper()
	filed, err := s.Park(t.Context(), f.pid, letters)
	if err != nil {
		t.Fatal(err)
	}
	return filed
}

func wantFiled(t *testing.T, got []deadletter.Filed, want ...deadletter.State) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("filed %v, want states %v", got, want)
	}
	for i := range want {
		if got[i].State != want[i] {
			t.Errorf("letter %d: got state %s, want %s", i, got[i].State, want[i])
		}
	}
}

func pending(t *testing.T, s *deadletter.Store, underWay ...int64) []deadletter.Letter {
	t.Helper()
	letters, err := s.Pending(t.Context(), 100, underWay...)
	if err != nil {
		t.Fatal(err)
	}
	return letters
}

// wantPending compares position and state.
func wantPending(t *testing.T, s *deadletter.Store, want ...string) []deadletter.Letter {
	t.Helper()
	letters := pending(t, s)
	var got []string
	for _, l := range letters {
		got = append(got, string(l.State)+" "+l.Position.String())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("pending: got %v, want %v", got, want)
	}
	return letters
}

func (f *fixture) done(t *testing.T, s *deadletter.Store, o deadletter.Outcome, letters ...deadletter.Letter) []deadletter.Key {
	t.Helper()
	var results []deadletter.Result
	for _, l := range letters {
		results = append(results, deadletter.Result{ID: l.ID, Outcome: o, Reason: "again", Error: "refused again"})
	}
	keys, err := s.Done(t.Context(), f.pid, results)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func wantCounts(t *testing.T, s *deadletter.Store, want deadletter.Counts) {
	t.Helper()
	got, err := s.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("counts: got %+v, want %+v", got, want)
	}
}

var by = deadletter.Audit{Who: "ann", Why: "fixed"}
