package migrations

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// TestRights walks through what the three roles may and may not do. The owner is no superuser.
func TestRights(t *testing.T) {
	eachVersion(t, func(t *testing.T, pg *testenv.PG) {
		ownerName, ownerURL := pg.CreateRole(t)
		relayName, relayURL := pg.CreateRole(t, "REPLICATION")
		appName, appURL := pg.CreateRole(t)
		pg.Exec(t, fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s; GRANT CREATE ON SCHEMA public TO %s; CREATE TABLE secret (x int)", pg.Name(), ownerName, ownerName))
		owner := connectAs(t, ownerURL)
		o := NewOptions()
		o.RelayRole = relayName
		mustUp(t, owner, o)
		if _, err := owner.Exec(ctx(t), "CREATE TABLE orders (x int); GRANT INSERT ON public.outbox TO "+appName); err != nil {
			t.Fatal(err)
		}

		app := connectAs(t, appURL)
		const insert = `INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('order', '7', 'placed', '{"a": 1}')`
		const emit = `SELECT cdc_relay.emit('order', '7', 'placed', '{"a": 1}')`
		relay := connectAs(t, relayURL)
		slot := pg.SlotName(t)
		for _, c := range []struct {
			who  string
			conn *pgx.Conn
			sql  string
			want string // SQLSTATE
		}{
			{"application", app, insert, ""},
			{"application", app, "SELECT cdc_relay.uuid_v7()", ""},
			{"application", app, emit, ""},
			{"application", app, "SELECT * FROM outbox", "42501"},
			{"application", app, "UPDATE outbox SET topic = 'x'", "42501"},
			{"application", app, "DELETE FROM outbox", "42501"},
			{"application", app, "SELECT setval('cdc_relay.outbox_seq', 1)", "42501"},
			{"application", app, "SELECT * FROM cdc_relay.checkpoint", "42501"},
			{"application", app, "SELECT * FROM cdc_relay.protocol_v1()", "42501"},
			{"application", app, "SELECT cdc_relay.pause_v1('x', true, 'me')", "42501"},
			{"application", app, "SELECT cdc_relay.mark_v1('x', 1, '1', 1, 'a', '0/1', '0/0', 0, '', '1', '0/0')", "42501"},
			{"application", app, "CREATE TABLE cdc_relay.mine (x int)", "42501"},
			{"relay", relay, "SELECT * FROM outbox", ""},
			{"relay", relay, "SELECT last_value FROM cdc_relay.outbox_seq", ""},
			{"relay", relay, "SELECT * FROM cdc_relay.protocol_v1()", ""},
			{"relay", relay, "SELECT * FROM cdc_relay.sample_v1('x')", ""},
			{"relay", relay, "SELECT pg_create_logical_replication_slot('" + slot + "', 'pgoutput')", ""},
			{"relay", relay, "SELECT pg_drop_replication_slot('" + slot + "')", ""},
			{"relay", relay, insert, "42501"},
			{"relay", relay, emit, "42501"},
			{"application", app, strings.Replace(emit, "emit", "emit_message", 1), "42501"},
			{"application", app, "SELECT * FROM cdc_relay.message_rights_v1()", "42501"},
			{"application", app, "SELECT * FROM cdc_relay.message_span", "42501"},
			{"relay", relay, strings.Replace(emit, "emit", "emit_message", 1), "42501"},
			{"relay", relay, "SELECT * FROM cdc_relay.message_rights_v1()", ""},
			{"relay", relay, "DELETE FROM cdc_relay.message_span", "42501"},
			{"relay", relay, "UPDATE outbox SET topic = 'x'", "42501"},
			{"relay", relay, "DELETE FROM outbox", "42501"},
			{"relay", relay, "TRUNCATE outbox", "42501"},
			{"relay", relay, "SELECT * FROM secret", "42501"},
			{"relay", relay, "SELECT * FROM orders", "42501"},
			{"relay", relay, "SELECT * FROM cdc_relay.checkpoint", "42501"},
			{"relay", relay, "INSERT INTO cdc_relay.checkpoint SELECT * FROM cdc_relay.checkpoint", "42501"},
			{"relay", relay, "UPDATE cdc_relay.checkpoint SET paused = true", "42501"},
			{"relay", relay, "DELETE FROM cdc_relay.audit", "42501"},
			{"relay", relay, "UPDATE cdc_relay.protocol SET version = 9", "42501"},
			{"relay", relay, "SELECT setval('cdc_relay.outbox_seq', 1)", "42501"},
			{"relay", relay, "ALTER PUBLICATION cdc_relay SET (publish = 'insert, update')", "42501"},
			{"relay", relay, "CREATE TABLE cdc_relay.mine (x int)", "42501"},
			{"relay", relay, "DROP TABLE outbox", "42501"},
		} {
			if _, err := c.conn.Exec(ctx(t), c.sql); code(err) != c.want {
				t.Errorf("%s: %s: got %v, want SQLSTATE %q", c.who, c.sql, err, c.want)
			}
		}

		// Whatever a later file adds: nothing in our schema is open to PUBLIC but what applications' defaults need.
		rows, err := owner.Query(ctx(t), `
			SELECT p.oid::regprocedure::text FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
			 WHERE p.pronamespace = 'cdc_relay'::regnamespace AND a.grantee = 0 AND p.proname NOT IN ('uuid_v7', 'emit')
			UNION ALL
			SELECT c.oid::regclass || ' ' || a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
			 WHERE c.relnamespace = 'cdc_relay'::regnamespace AND a.grantee = 0 AND NOT (c.relname = 'outbox_seq' AND a.privilege_type = 'USAGE')`)
		if err != nil {
			t.Fatal(err)
		}
		open, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(open) > 0 {
			t.Errorf("open to PUBLIC: %v, %v", open, err)
		}
		// A definer's function without a fixed path runs the caller's objects with the owner's rights.
		rows, err = owner.Query(ctx(t), `SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'cdc_relay'::regnamespace
			AND p.prosecdef AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)`)
		if err != nil {
			t.Fatal(err)
		}
		if loose, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(loose) > 0 {
			t.Errorf("security definer without search_path = pg_catalog, pg_temp: %v, %v", loose, err)
		}
	})
}

// TestGrantsFollowTheRole: another relay role is granted its rights by the next Up, though no file is new.
func TestGrantsFollowTheRole(t *testing.T) {
	t.Parallel()
	pg, o := testenv.Postgres(t), NewOptions()
	mustUp(t, pg.Conn(t), o)
	name, url := pg.CreateRole(t, "REPLICATION")
	o.RelayRole = name
	if applied := mustUp(t, pg.Conn(t), o); len(applied) > 0 {
		t.Fatalf("applied %v", applied)
	}
	if _, err := connectAs(t, url).Exec(ctx(t), "SELECT * FROM cdc_relay.protocol_v1()"); err != nil {
		t.Fatal(err)
	}
}

// TestRoleIsMade with the attributes that the relay needs and a name that needs quotes.
func TestRoleIsMade(t *testing.T) {
	t.Parallel()
	pg, o := testenv.Postgres(t), NewOptions()
	o.RelayRole, o.CreateRole = "o'relay \"x\"@"+pg.Name(), true
	quoted := pgx.Identifier{o.RelayRole}.Sanitize()
	t.Cleanup(func() { pg.Exec(t, "DROP OWNED BY "+quoted+"; DROP ROLE "+quoted) })
	conn := pg.Conn(t)
	mustUp(t, conn, o)
	var login, replication, super bool
	err := conn.QueryRow(ctx(t), "SELECT rolcanlogin, rolreplication, rolsuper FROM pg_roles WHERE rolname = $1", o.RelayRole).Scan(&login, &replication, &super)
	if err != nil || !login || !replication || super {
		t.Fatalf("login %v, replication %v, superuser %v, %v", login, replication, super, err)
	}
}

func TestPayloadBound(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"jsonb", "json", "text", "bytea"} {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			pg, o := testenv.Postgres(t), NewOptions()
			o.PayloadType = typ
			conn := pg.Conn(t)
			mustUp(t, conn, o)
			payload := func(n int) any {
				switch typ {
				case "bytea":
					return []byte(strings.Repeat("a", n))
				case "text":
					return strings.Repeat("a", n)
				}
				return `"` + strings.Repeat("a", n-2) + `"`
			}
			const insert = "INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('a', '1', 'e', $1)"
			if _, err := conn.Exec(ctx(t), insert, payload(768<<10)); err != nil {
				t.Errorf("768 KiB: %v", err)
			}
			if _, err := conn.Exec(ctx(t), insert, payload(768<<10+1)); code(err) != "23514" {
				t.Errorf("768 KiB and 1 byte: %v, want a check violation", err)
			}
			if _, err := conn.Exec(ctx(t), insert, nil); err != nil {
				t.Errorf("null: %v", err)
			}
		})
	}
}

// TestOutbox looks at what a row gets without being asked.
func TestOutbox(t *testing.T) {
	eachVersion(t, func(t *testing.T, pg *testenv.PG) {
		conn := pg.Conn(t)
		mustUp(t, conn, NewOptions())
		if _, err := conn.Exec(ctx(t), `INSERT INTO outbox (aggregate_type, aggregate_id, event_type) SELECT 'a', i::text, 'e' FROM generate_series(1, 5000) i`); err != nil {
			t.Fatal(err)
		}
		var rows, badVersion, badVariant, inversions, distinct, farFromNow, inDefault, nullHeaders int
		err := conn.QueryRow(ctx(t), `
			SELECT count(*), count(*) FILTER (WHERE substr(event_id::text, 15, 1) <> '7'), count(*) FILTER (WHERE substr(event_id::text, 20, 1) NOT IN ('8', '9', 'a', 'b')),
			       count(*) FILTER (WHERE left(event_id::text, 18) < previous), count(DISTINCT event_id),
			       count(*) FILTER (WHERE abs(('x' || left(replace(event_id::text, '-', ''), 12))::bit(48)::bigint - extract(epoch FROM now()) * 1000) > 60000),
			       (SELECT count(*) FROM outbox_default), count(*) FILTER (WHERE headers <> '{}')
			  FROM (SELECT *, lag(left(event_id::text, 18)) OVER (ORDER BY seq) AS previous FROM outbox) o`).
			Scan(&rows, &badVersion, &badVariant, &inversions, &distinct, &farFromNow, &inDefault, &nullHeaders)
		if err != nil {
			t.Fatal(err)
		}
		if rows != 5000 || distinct != 5000 || badVersion+badVariant+inversions+farFromNow+inDefault+nullHeaders > 0 {
			t.Errorf("of %d rows %d ids differ; %d wrong version, %d wrong variant, %d out of order, %d far from now, %d in the default partition, %d with headers",
				rows, distinct, badVersion, badVariant, inversions, farFromNow, inDefault, nullHeaders)
		}

		// Days are cut in UTC, whatever zone the session that migrates or inserts is in.
		if _, err := conn.Exec(ctx(t), `SET TimeZone = 'Pacific/Kiritimati';
			INSERT INTO outbox (aggregate_type, aggregate_id, event_type, created_at)
			SELECT 'utc', '1', 'e', date_trunc('day', now(), 'UTC') + d * interval '1 day' + e * (interval '1 day' - interval '1 microsecond') FROM generate_series(0, 7) d, generate_series(0, 1) e`); err != nil {
			t.Fatal(err)
		}
		var wrong int
		err = conn.QueryRow(ctx(t), `SELECT count(*) FROM outbox o WHERE aggregate_type = 'utc' AND o.tableoid::regclass::text <> 'outbox_p' || to_char(created_at AT TIME ZONE 'UTC', 'YYYYMMDD')`).Scan(&wrong)
		if err != nil || wrong != 0 {
			t.Errorf("%d rows are in another day's partition, %v", wrong, err)
		}
		var options string
		if err := conn.QueryRow(ctx(t), `SELECT concat_ws(' ', pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, puballtables,
			(SELECT string_agg(prrelid::regclass::text, ',') FROM pg_publication_rel WHERE prpubid = p.oid)) FROM pg_publication p WHERE pubname = 'cdc_relay'`).Scan(&options); err != nil || options != "t f f f t f outbox" {
			t.Errorf("publication: %q, %v", options, err)
		}
		var fn string
		if err := conn.QueryRow(ctx(t), `SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'outbox'::regclass AND adnum = 1`).Scan(&fn); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "uuidv7()", false: "cdc_relay.uuid_v7()"}[conn.PgConn().ParameterStatus("server_version") >= "18"]; fn != want {
			t.Errorf("default of event_id: %s, want %s", fn, want)
		}
	})
}
