package outboxpgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/lib/pq"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
	"github.com/cdc-relay/cdc-relay/outbox/outboxsql"
)

// bed is a database with an outbox, and a hand that plays the relay's part: a slot and its mark.
type bed struct {
	t    *testing.T
	pg   *testenv.PG
	conn *pgx.Conn
	slot string
}

func newBed(t *testing.T, pg *testenv.PG) *bed {
	t.Helper()
	if _, err := migrations.Up(ctx(t), pg.Conn(t), migrations.NewOptions()); err != nil {
		t.Fatal(err)
	}
	return &bed{t: t, pg: pg, conn: pg.Conn(t), slot: pg.SlotName(t)}
}

func (b *bed) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.conn.Exec(ctx(b.t), sql, args...); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

// begin makes the slot and its mark.
func (b *bed) begin() {
	b.t.Helper()
	b.exec("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", b.slot)
	b.exec(`INSERT INTO cdc_relay.checkpoint (slot, publication, state, timeline, horizon_xid, horizon_lsn, lsn, nonce, system_id, incarnation, fingerprint)
		SELECT $1, 'cdc_relay', 'ready', 1, pg_snapshot_xmin(pg_current_snapshot()), pg_current_wal_insert_lsn(), pg_current_wal_insert_lsn(), '', system_identifier::text, 'a', ''
		FROM pg_control_system()`, b.slot)
}

// mark says that all that has committed was acknowledged: as the relay's, from a sample and then a later position.
func (b *bed) mark() {
	b.t.Helper()
	b.exec(`UPDATE cdc_relay.checkpoint SET horizon_xid = pg_snapshot_xmin(pg_current_snapshot()), lsn = pg_current_wal_insert_lsn()`)
}

// write commits events of one transaction, each of a key.
func (b *bed) write(keys ...string) []outbox.Written {
	b.t.Helper()
	tx, err := b.conn.Begin(ctx(b.t))
	if err != nil {
		b.t.Fatal(err)
	}
	written := b.in(tx, keys...)
	if err := tx.Commit(ctx(b.t)); err != nil {
		b.t.Fatal(err)
	}
	return written
}

func (b *bed) in(tx pgx.Tx, keys ...string) []outbox.Written {
	b.t.Helper()
	var events []outbox.Event
	for _, k := range keys {
		events = append(events, outbox.Event{AggregateType: "orders", AggregateID: k, Type: "Made", Payload: 1})
	}
	written, err := outboxpgx.Write(ctx(b.t), tx, events...)
	if err != nil {
		b.t.Fatal(err)
	}
	return written
}

func (b *bed) says(q outboxpgx.Querier, written []outbox.Written, want ...string) {
	b.t.Helper()
	codes, err := outboxpgx.NewOrderCheck(q).Clear(ctx(b.t), written)
	if err != nil {
		b.t.Fatal(err)
	}
	if got := strings.Join(codes, " "); got != strings.Join(want, " ") {
		b.t.Fatalf("got %s, want %s", got, strings.Join(want, " "))
	}
}

// I2: every reason for which an event may not be sent, and the one case in which it may.
func TestI2_OrderCheckAnswers(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			// A server of one's own: xids are the whole server's, and another database's open transaction would hold the horizon.
			b := newBed(t, testenv.StartPostgres(t, version, nil).Database(t))
			ask := b.pg.Conn(t)

			first := b.write("k1")
			b.says(ask, first, "not_installed")
			b.exec("SELECT cdc_relay.install_order_check()")
			b.exec("SELECT cdc_relay.install_order_check()") // twice is fine
			b.says(ask, first, "no_mark")
			b.begin()
			b.says(ask, first, "gone") // older than the slot

			w := b.write("k1")
			b.says(ask, w, "clear")
			later := b.write("k1")
			b.says(ask, later, "outstanding")
			b.says(ask, w, "outstanding") // the later one may have been sent
			b.mark()
			b.says(ask, later, "gone")
			b.says(ask, b.write("k1"), "clear")

			b.says(ask, b.write("k2", "k2", `k"\'3`), "outstanding", "outstanding", "clear")

			other := b.pg.Conn(t)
			tx, err := other.Begin(ctx(t))
			if err != nil {
				t.Fatal(err)
			}
			unseen := b.in(tx, "k4")
			b.says(other, unseen, "transaction")
			b.says(ask, unseen, "busy")
			b.says(ask, b.write("k4", "k5"), "busy", "clear")
			if err := tx.Rollback(ctx(t)); err != nil {
				t.Fatal(err)
			}
			b.says(ask, unseen, "outstanding") // by the other one of k4
			b.mark()
			b.says(ask, unseen, "gone") // it was rolled back
			b.says(ask, b.write("k4"), "clear")

			if tx, err = other.BeginTx(ctx(t), pgx.TxOptions{IsoLevel: pgx.RepeatableRead}); err != nil {
				t.Fatal(err)
			}
			b.says(other, b.write("k6"), "transaction")
			if err := tx.Rollback(ctx(t)); err != nil {
				t.Fatal(err)
			}

			w = b.write("k7")
			b.exec("UPDATE cdc_relay.checkpoint SET paused = true")
			b.says(ask, w, "paused")
			b.exec("UPDATE cdc_relay.checkpoint SET paused = false")
			b.exec("INSERT INTO cdc_relay.parked_key (slot, lane, topic, key) VALUES ($1, '\\x01', 'orders', 'k7')", b.slot)
			b.says(ask, w, "parked")
			b.exec("DELETE FROM cdc_relay.parked_key")
			b.says(ask, w, "clear")
			b.exec("INSERT INTO cdc_relay.message_span (slot, since) VALUES ($1, '0/1')", b.slot)
			b.says(ask, w, "messages") // an event without a row could be under way
			b.exec("UPDATE cdc_relay.message_span SET until = '0/2', until_xid = pg_snapshot_xmax(pg_current_snapshot())")
			b.says(ask, w, "messages")
			b.exec("UPDATE cdc_relay.message_span SET until_xid = '3'")
			b.says(ask, w, "clear")
			b.exec("UPDATE cdc_relay.checkpoint SET system_id = '1'")
			b.says(ask, w, "no_mark")
			b.exec("UPDATE cdc_relay.checkpoint SET system_id = (SELECT system_identifier::text FROM pg_control_system())")
			b.exec("INSERT INTO outbox (aggregate_type, aggregate_id, event_type) SELECT 'orders', 'k8', 'Made' FROM generate_series(1, 256)")
			b.mark()
			b.says(ask, b.write("k8"), "many")

			// By database/sql, with a key that a quoting mistake would change.
			db, err := sql.Open("postgres", b.pg.URL()+sep(b.pg.URL())+"sslmode=disable")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			codes, err := outboxsql.NewOrderCheck(db).Clear(ctx(t), b.write(`{"x",\'}`, "k9"))
			if err != nil || strings.Join(codes, " ") != "clear clear" {
				t.Fatalf("by lib/pq: %v, %v", codes, err)
			}
			b.exec("SELECT cdc_relay.remove_order_check()")
			b.says(ask, w, "not_installed")
		})
	}
}

func sep(url string) string {
	if strings.Contains(url, "?") {
		return "&"
	}
	return "?"
}

// I2: the proof rests on rows that stay as they were inserted, and an application gets no further right than to ask.
func TestI2_OrderCheckGuardsItsRows(t *testing.T) {
	t.Parallel()
	b := newBed(t, testenv.Postgres(t))
	b.exec("SELECT cdc_relay.install_order_check()")
	b.begin()
	role, url := b.pg.CreateRole(t)
	b.exec("GRANT INSERT, SELECT, UPDATE, DELETE ON outbox TO " + role)
	w := b.write("k1")
	app, err := pgx.Connect(ctx(t), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = app.Close(context.Background()) }()
	for _, sql := range []string{"DELETE FROM outbox", "UPDATE outbox SET aggregate_id = 'x'", "SET session_replication_role = origin; DELETE FROM outbox"} {
		if _, err := app.Exec(ctx(t), sql); err == nil {
			t.Fatalf("%s went through", sql)
		}
	}
	if _, err := outboxpgx.NewOrderCheck(app).Clear(ctx(t), w); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Fatalf("without a grant: %v", err)
	}
	b.exec("GRANT EXECUTE ON FUNCTION cdc_relay.order_clear_v1(text[], text[]) TO " + role)
	b.says(app, w, "clear")

	// The care of partitions goes on: rows come home from the default partition, and their days have index and trigger.
	b.exec("INSERT INTO outbox (aggregate_type, aggregate_id, event_type, created_at) VALUES ('orders', 'far', 'Made', now() + interval '90 days')")
	var moved int
	if err := b.conn.QueryRow(ctx(t), "SELECT moved FROM cdc_relay.partition_make_v1($1, NULL, 'public.outbox', ((now() + interval '90 days') AT TIME ZONE 'UTC')::date)", b.slot).Scan(&moved); err != nil || moved != 1 {
		t.Fatalf("moved %d rows, want 1: %v", moved, err)
	}
	var indexed, triggered, leaves int
	err = b.conn.QueryRow(ctx(t), `SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM pg_index x WHERE x.indrelid = i.inhrelid AND NOT x.indisunique)),
		count(*) FILTER (WHERE EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = i.inhrelid AND g.tgname = 'cdc_relay_order' AND g.tgenabled = 'A'))
		FROM pg_inherits i WHERE i.inhparent = 'outbox'::regclass`).Scan(&leaves, &indexed, &triggered)
	if err != nil || leaves == 0 || indexed != leaves || triggered != leaves {
		t.Fatalf("of %d partitions %d have the index and %d the trigger: %v", leaves, indexed, triggered, err)
	}
}

// I2: a transaction that waits for a synchronous standby has committed in the WAL, and the relay is sent it, while nobody sees
// its row. Another one of its key that did not wait must not go first.
func TestI2_OrderCheckKnowsACommitThatNobodySees(t *testing.T) {
	t.Parallel()
	srv := testenv.StartPostgres(t, "", map[string]string{"synchronous_commit": "local"})
	b := newBed(t, srv.Database(t))
	b.exec("SELECT cdc_relay.install_order_check()")
	b.begin()
	standby := func(name string) {
		b.pg.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = '"+name+"'")
		b.pg.Exec(t, "SELECT pg_reload_conf()")
	}
	standby("nobody")
	t.Cleanup(func() { standby("") })
	ask, waits := b.pg.Conn(t), b.pg.Conn(t)
	testenv.Eventually(t, 10*time.Second, func() error {
		var name string
		if err := waits.QueryRow(ctx(t), "SHOW synchronous_standby_names").Scan(&name); err != nil || name == "" {
			return fmt.Errorf("the setting is not in force: %w", err)
		}
		return nil
	})
	if _, err := waits.Exec(ctx(t), "SET synchronous_commit = on"); err != nil {
		t.Fatal(err)
	}
	tx, err := waits.Begin(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	a := b.in(tx, "k1")
	done := make(chan error, 1)
	go func() { done <- tx.Commit(context.Background()) }()
	inserts := func() (n int) {
		t.Helper()
		err := b.conn.QueryRow(ctx(t), `SELECT count(*) FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', 'cdc_relay')
			WHERE get_byte(data, 0) = ascii('I')`, b.slot).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	testenv.Eventually(t, 20*time.Second, func() error {
		if inserts() != 1 {
			return errors.New("the slot does not hold the first event yet")
		}
		return nil
	})
	second := b.write("k1")
	var visible int
	if err := ask.QueryRow(ctx(t), "SELECT count(*) FROM outbox").Scan(&visible); err != nil || visible != 1 || inserts() != 2 {
		t.Fatalf("%d rows are visible, want the second alone, and the slot holds %d: %v", visible, inserts(), err)
	}
	b.says(ask, second, "busy")
	standby("")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.says(ask, second, "outstanding")
	b.mark()
	b.says(ask, append(a, second...), "gone", "gone")
	b.says(ask, b.write("k1"), "clear")
}

// BenchmarkOrderCheck is a round trip to the check, with as many rows of the key in the table.
func BenchmarkOrderCheck(b *testing.B) {
	for _, rows := range []int{0, 10, 250} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			pg := migrated(b)
			conn := pg.Conn(b)
			for _, sql := range []string{
				"SELECT cdc_relay.install_order_check()",
				"SELECT pg_create_logical_replication_slot('" + pg.SlotName(b) + "', 'pgoutput')",
				`INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload) SELECT 'orders', 'o' || i, 'Made', '{}' FROM generate_series(1, 20000) AS i`,
				fmt.Sprintf(`INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload) SELECT 'orders', 'k', 'Made', '{}' FROM generate_series(1, %d) AS i`, rows),
				"ANALYZE outbox",
				`INSERT INTO cdc_relay.checkpoint (slot, publication, state, timeline, horizon_xid, horizon_lsn, lsn, nonce, system_id, incarnation, fingerprint)
					SELECT s.slot_name, 'cdc_relay', 'ready', 1, pg_snapshot_xmin(pg_current_snapshot()), pg_current_wal_insert_lsn(), pg_current_wal_insert_lsn(), '', system_identifier::text, 'a', ''
					FROM pg_control_system(), pg_replication_slots s WHERE s.database = current_database()`,
			} {
				if _, err := conn.Exec(b.Context(), sql); err != nil {
					b.Fatal(err)
				}
			}
			tx, err := conn.Begin(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			w, err := outboxpgx.Write(b.Context(), tx, outbox.Event{AggregateType: "orders", AggregateID: "k", Type: "Made"})
			if err != nil || tx.Commit(b.Context()) != nil {
				b.Fatal(err)
			}
			check := outboxpgx.NewOrderCheck(conn)
			for b.Loop() {
				if codes, err := check.Clear(b.Context(), w); err != nil || codes[0] != outbox.OrderClear {
					b.Fatal(codes, err)
				}
			}
		})
	}
}

// BenchmarkInsertUnderOrderCheck is what index and trigger cost the writers: rows of one statement, a key each.
func BenchmarkInsertUnderOrderCheck(b *testing.B) {
	for _, installed := range []bool{false, true} {
		b.Run(fmt.Sprint("installed=", installed), func(b *testing.B) {
			conn := migrated(b).Conn(b)
			if installed {
				if _, err := conn.Exec(b.Context(), "SELECT cdc_relay.install_order_check()"); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if _, err := conn.Exec(b.Context(), `INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload)
					SELECT 'orders', gen_random_uuid()::text, 'Made', '{"a": 1}' FROM generate_series(1, 1000)`); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "us/row")
		})
	}
}
