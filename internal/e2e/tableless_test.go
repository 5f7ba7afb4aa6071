package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/sink/line"
)

const messagesOn = "CDC_RELAY_MESSAGES=on"

// tableless is a stand whose relay reads messages, as the roles of the database may write them by emit_message alone.
func tableless(t testing.TB, version ...string) *stand {
	t.Helper()
	s := setup(t, version...)
	s.closeMessages()
	s.env = append(s.env, messagesOn)
	return s
}

// closeMessages runs the statements that the relay names.
func (s *stand) closeMessages() {
	s.t.Helper()
	s.pg.Exec(s.t, query[string](s, "SELECT needed FROM cdc_relay.message_rights_v1()"))
}

// emit commits n events in one transaction, like insert, and files their ids in table emitted.
func (s *stand) emit(from, n, keys int) {
	s.t.Helper()
	s.pg.Exec(s.t, "CREATE TABLE IF NOT EXISTS emitted (id uuid)")
	s.pg.Exec(s.t, `INSERT INTO emitted SELECT cdc_relay.emit_message('orders', 'k' || (i % $3::int), 'Made', jsonb_build_object('n', i))
		FROM generate_series($1::int, $1::int + $2::int - 1) AS i`, from, n, keys)
}

// compareAll is compare with the events that have no row.
func (s *stand) compareAll(lines []line.Line, repeats int) int {
	s.t.Helper()
	ids := query[[]string](s, "SELECT coalesce(array_agg(id::text), '{}') FROM (SELECT id FROM emitted UNION ALL SELECT event_id FROM outbox) AS x")
	return compare(s.t, ids, lines, repeats)
}

// An event without a table is the event that a row with the same columns is, in every format.
func TestTableless_SameEventAsARow(t *testing.T) {
	t.Parallel()
	for i, version := range []string{"14", "15", "16", "17", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := tableless(t, version)
			format := []string{"plain", "cloudevents", "cloudevents-structured", "debezium", "plain"}[i]
			p := s.start("CDC_RELAY_OUTBOX_0_FORMAT=" + format)
			app, url := s.pg.CreateRole(t)
			const emit = "SELECT cdc_relay.emit_message('orders', 'o-1', 'Made', '{}')"
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(t.Context()) }()
			if _, err := conn.Exec(t.Context(), emit); err == nil || !strings.Contains(err.Error(), "permission denied") {
				t.Fatalf("a role that nobody has granted anything: %v", err)
			}
			s.pg.Exec(t, "GRANT EXECUTE ON FUNCTION cdc_relay.emit_message TO "+app+"; GRANT INSERT ON outbox TO "+app)
			arrived := 0
			for _, args := range []string{
				`'orders', 'o-1', 'Made', '{"n":  1}'`,
				`'orders', 'o-1', 'Gone', NULL`,
				`'ä', 'ö', 'ü', payload => '"ö"', topic => 'elsewhere', partition_key => 'k', headers => '{"tenant": "acme", "n": 1.50, "content-type": "application/x"}'`,
				`'orders', 'o-1', 'Made', 'null', '{}', '', ''`,
			} {
				if _, err := conn.Exec(t.Context(), "BEGIN; SELECT cdc_relay.emit("+args+"), cdc_relay.emit_message("+args+"), 1 / 0"); err == nil {
					t.Fatal("the transaction went through")
				}
				if _, err := conn.Exec(t.Context(), "ROLLBACK; BEGIN; SELECT cdc_relay.emit("+args+"); SELECT cdc_relay.emit_message("+args+"); COMMIT"); err != nil {
					t.Fatalf("%s: %v", args, err)
				}
				var got []line.Line
				testenv.Eventually(t, 60*time.Second, func() error {
					if got = s.lines("")[arrived:]; len(got) < 2 {
						return fmt.Errorf("%d events have arrived", len(got))
					}
					return nil
				})
				arrived += 2
				if a, b := essence(got[0]), essence(got[1]); len(got) != 2 || a != b || !strings.HasSuffix(got[1].Position, "/1") {
					t.Errorf("%s as a row and as a message at %s:\n%s\n%s", args, got[1].Position, a, b)
				}
			}
			s.quiet()
			p.drain()
			s.hasNothing("SELECT count(*) FROM cdc_relay.dead_letter WHERE slot = '" + s.slot + "'")
		})
	}
}

// essence is a line without what tells two events of a transaction apart: id and index.
func essence(l line.Line) string {
	id := header(l, "event_id") + header(l, "ce_id") + header(l, "id")
	if id == "" {
		_, rest, _ := bytes.Cut(l.Value, []byte(`"id":"`))
		id = string(rest[:36])
	}
	for i, h := range l.Headers {
		if h.Name == "cdc-index" {
			l.Headers = slices.Delete(slices.Clone(l.Headers), i, i+1)
			break
		}
	}
	l.Position = ""
	text := fmt.Sprintf("%s %q %q %d %s", l.Topic, l.Key, l.Value, l.Partition, l.Timestamp)
	for _, h := range l.Headers {
		text += fmt.Sprintf(" %s=%q", h.Name, h.Value)
	}
	return strings.ReplaceAll(text, id, "ID") + fmt.Sprint(l.Value == nil)
}

func (s *stand) hasNothing(count string) {
	s.t.Helper()
	if n := query[int](s, count); n != 0 {
		s.t.Errorf("%s: got %d, want 0", count, n)
	}
}

// Rows and messages of a transaction come in the order in which they were written, also where the server sends them in
// another one: a message of a savepoint, and the row right behind it.
func TestI2_RowsAndMessagesInTheirOrder(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "15", "16", "17", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := tableless(t, version)
			raw := s.pg.SlotName(t)
			p := s.start()
			s.pg.Exec(t, "SELECT pg_create_logical_replication_slot('"+raw+"', 'pgoutput')")
			s.pg.Exec(t, `CREATE FUNCTION put(n int, tableless boolean) RETURNS void LANGUAGE plpgsql AS $$
				BEGIN
					IF tableless THEN
						PERFORM cdc_relay.emit_message('orders', 'k', 'Made', jsonb_build_object('n', n));
					ELSE
						INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('orders', 'k', 'Made', jsonb_build_object('n', n));
					END IF;
				END $$`)
			const each = 12
			transactions := 40
			for i := range transactions {
				s.pg.Exec(t, fmt.Sprintf(`DO $$ DECLARE n int := %d; BEGIN
					FOR i IN 1 .. 4 LOOP
						BEGIN -- a subtransaction
							PERFORM put(n, true);
						EXCEPTION WHEN division_by_zero THEN RAISE;
						END;
						PERFORM put(n + 1, false);
						BEGIN
							PERFORM put(-1, true), put(-1, false), 1 / 0;
						EXCEPTION WHEN division_by_zero THEN NULL; -- rolled back
						END;
						PERFORM put(n + 2, i %% 2 = 0);
						n := n + 3;
					END LOOP;
				END $$`, i*each))
			}
			lines := s.holds(transactions * each)
			s.quiet()
			p.drain()
			for i, l := range lines {
				if n := number(t, l); n != i || !strings.HasSuffix(l.Position, fmt.Sprintf("/%d", i%each)) {
					t.Fatalf("event %d carries %d and stands at %s", i, n, l.Position)
				}
			}
			sent := query[string](s, fmt.Sprintf(`SELECT string_agg(chr(get_byte(data, 0)), '') FROM pg_logical_slot_peek_binary_changes('%s', NULL, NULL,
				'proto_version', '1', 'publication_names', 'cdc_relay', 'messages', 'true') WHERE get_byte(data, 0) IN (ascii('I'), ascii('M'))`, raw))
			if straight := strings.Repeat("MIIMIM", len(sent)/6); sent == straight {
				t.Error("the server sent everything in order, so this proves nothing")
			}
		})
	}
}

// I9: messages are turned off and on again around a large transaction that a kill cuts in two. Whatever the configuration
// says when it is read again, its events are the same bytes at the same positions, and the mark inside of it holds.
func TestI9_MessagesTurnedOffInALargeTransaction(t *testing.T) {
	t.Parallel()
	srv := testenv.StartPostgres(t, "", map[string]string{"fsync": "off", "full_page_writes": "off", "max_wal_size": "4GB"})
	s := setupIn(t, srv.Database(t))
	s.closeMessages()
	const events = 60_000
	p := s.start(messagesOn, "CDC_RELAY_LIMITS_MAX_IN_FLIGHT_EVENTS=5000")
	s.pg.Exec(t, "CREATE TABLE emitted (id uuid)")
	s.pg.Exec(t, fmt.Sprintf(`DO $$ DECLARE ids uuid[]; BEGIN
		FOR i IN 0 .. %d LOOP
			IF i %% 3 = 0 THEN
				INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('orders', 'k' || (i %% 100), 'Made', jsonb_build_object('n', i));
			ELSE
				ids := ids || cdc_relay.emit_message('orders', 'k' || (i %% 100), 'Made', jsonb_build_object('n', i));
			END IF;
			IF i %% 1000 = 999 THEN
				INSERT INTO emitted SELECT unnest(ids);
				ids := '{}';
			END IF;
		END LOOP;
	END $$`, events-1))
	testenv.Eventually(t, 3*time.Minute, func() error {
		if st, err := os.Stat(s.file); err != nil || st.Size() < events*120 {
			return fmt.Errorf("not a third of it has arrived")
		}
		return nil
	})
	p.kill()
	before := len(s.lines(""))
	p = s.start("CDC_RELAY_LIMITS_MAX_IN_FLIGHT_EVENTS=5000") // off
	s.holds(events)
	s.quiet()
	most := p.peak()
	p.drain()
	again := s.compareAll(s.lines(""), 5000)
	t.Logf("%d of %d events before the kill, %d again after it; peak RSS %d MiB", before, events, again, most>>20)
	for _, l := range s.lines("") { // each at the place that it has in the transaction
		if n := number(t, l); !strings.HasSuffix(l.Position, fmt.Sprintf("/%d", n)) {
			t.Fatalf("event %d stands at %s", n, l.Position)
		}
	}
	if most > 72<<20 {
		t.Errorf("peak RSS is %d MiB, want 64 and some slack", most>>20)
	}

	// Off means that emit_message refuses, and that nobody's message is an event.
	conn := s.pg.Conn(t)
	_, err := conn.Exec(t.Context(), "SELECT cdc_relay.emit_message('orders', 'k', 'Made', '{}')")
	if err == nil || !strings.Contains(err.Error(), "no relay publishes messages") {
		t.Errorf("emit_message while messages are off: %v", err)
	}
	s.pg.Exec(t, `SELECT pg_logical_emit_message(true, 'cdc_relay', '\x01'::bytea), pg_logical_emit_message(false, 'cdc_relay', '\x01'::bytea)`)
	p = s.start(messagesOn)
	s.emit(events, 10, 5)
	s.holds(events + 10)
	s.quiet()
	p.drain()
	s.compareAll(s.lines(""), 5000)
}

func TestTableless_Payloads(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"json", "text", "bytea"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := bare(t, testenv.Postgres(t))
			s.migrate(func(o *migrations.Options) { o.PayloadType = kind })
			s.closeMessages()
			p := s.start(messagesOn)
			n := 0
			for literal, want := range map[string][]byte{
				"NULL":                             nil,
				`'{"b":1,  "a":1, "b":2}'`:         []byte(`{"b":1,  "a":1, "b":2}`),
				"repeat('1', 768 * 1024)::" + kind: bytes.Repeat([]byte("1"), 768<<10),
			} {
				if kind == "bytea" {
					literal = strings.ReplaceAll(literal, "::bytea", "::text::bytea")
				}
				s.pg.Exec(t, "SELECT cdc_relay.emit_message('orders', 'k', 'Made', "+literal+")")
				n++
				if l := s.holds(n)[n-1]; !bytes.Equal(l.Value, want) || (l.Value == nil) != (want == nil) {
					t.Errorf("%.40s: got %.60q", literal, l.Value)
				}
			}
			empty := map[string]string{"text": "''", "bytea": "''"}[kind]
			if empty != "" {
				s.pg.Exec(t, "SELECT cdc_relay.emit_message('orders', 'k', 'Made', "+empty+")")
				n++
				if l := s.holds(n)[n-1]; l.Value == nil || len(l.Value) > 0 {
					t.Errorf("an empty payload: got %q", l.Value)
				}
			}
			p.drain()
		})
	}
}

// A transaction that wrote a message before they were turned off, and commits after: the message is published, by this relay
// and by the next.
func TestI1_MessagesTurnedOffUnderAnOpenTransaction(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := tableless(t, version)
			p := s.start()
			s.pg.Exec(t, "CREATE TABLE emitted (id uuid)")
			const emit = `INSERT INTO emitted SELECT cdc_relay.emit_message('orders', 'k0', 'Made', '{"n": 0}')`
			var open [2]*pgx.Conn
			for i := range open {
				open[i] = s.pg.Conn(t)
				if _, err := open[i].Exec(t.Context(), "BEGIN; "+emit); err != nil {
					t.Fatal(err)
				}
			}
			p.drain()
			p = s.start("CDC_RELAY_MESSAGES=off")
			if _, err := s.pg.Conn(t).Exec(t.Context(), emit); err == nil {
				t.Error("a message was written that nobody would publish")
			}
			s.insert(1, 1, 1)
			s.holds(1)
			if _, err := open[0].Exec(t.Context(), "COMMIT"); err != nil {
				t.Fatal(err)
			}
			s.holds(2)
			s.quiet()
			p.kill()
			p = s.start("CDC_RELAY_MESSAGES=off")
			if _, err := open[1].Exec(t.Context(), "COMMIT"); err != nil {
				t.Fatal(err)
			}
			s.holds(3)
			s.quiet()
			p.drain()
		})
	}
}
