package migrations

import (
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// TestMessageRights: the statements that the relay names close pg_logical_emit_message to everybody but the owner of
// emit_message, who is no superuser; and an application needs emit_message alone.
func TestMessageRights(t *testing.T) {
	eachVersion(t, func(t *testing.T, pg *testenv.PG) {
		ownerName, ownerURL := pg.CreateRole(t)
		appName, appURL := pg.CreateRole(t)
		pg.Exec(t, "GRANT CREATE ON DATABASE "+pg.Name()+" TO "+ownerName+"; GRANT CREATE ON SCHEMA public TO "+ownerName)
		owner := connectAs(t, ownerURL)
		mustUp(t, owner, NewOptions())
		rights := func() (open, ownerMay bool, needed string) {
			var name string
			if err := owner.QueryRow(ctx(t), "SELECT open, owner, owner_may, needed FROM cdc_relay.message_rights_v1()").Scan(&open, &name, &ownerMay, &needed); err != nil || name != ownerName {
				t.Fatalf("owner %s: %v", name, err)
			}
			return open, ownerMay, needed
		}
		open, may, needed := rights()
		if signature := "pg_logical_emit_message(boolean, text, bytea, boolean)"; !open || !may || strings.Contains(needed, signature) != (owner.PgConn().ParameterStatus("server_version") >= "17") {
			t.Errorf("at first: open %v, owner may %v, needed %s", open, may, needed)
		}
		revoke, grant, _ := strings.Cut(needed, ";")
		pg.Exec(t, revoke)
		if open, may, _ = rights(); open || may {
			t.Errorf("after the revoke: open %v, owner may %v", open, may)
		}
		pg.Exec(t, grant)
		if open, may, _ = rights(); open || !may {
			t.Errorf("after the grant: open %v, owner may %v", open, may)
		}

		// Half of it is not enough.
		half, _, _ := strings.Cut(strings.Replace(revoke, "REVOKE", "GRANT", 1), ", pg_catalog.")
		pg.Exec(t, half+" TO PUBLIC")
		if open, _, _ = rights(); !open {
			t.Error("one of the two signatures is open, and that is not seen")
		}
		pg.Exec(t, revoke)

		if _, err := owner.Exec(ctx(t), "GRANT EXECUTE ON FUNCTION cdc_relay.emit_message, cdc_relay.emit_messages TO "+appName); err != nil {
			t.Fatal(err)
		}
		app := connectAs(t, appURL)
		for sql, want := range map[string]string{
			"SELECT pg_logical_emit_message(true, 'cdc_relay', 'x')":                          "42501",
			"SELECT pg_logical_emit_message(true, 'cdc_relay', '\\x01'::bytea)":               "42501",
			"SELECT cdc_relay.message_bytes(NULL, '', '', '', '', NULL, NULL, NULL)":          "42501",
			"SELECT cdc_relay.emit_message('a', '1', 't', NULL)":                              "55000",
			"SELECT cdc_relay.emit_messages(ARRAY['a'], ARRAY['1'], ARRAY['t'], ARRAY['{}'])": "55000",
		} {
			if _, err := app.Exec(ctx(t), sql); code(err) != want {
				t.Errorf("%s: %v, want SQLSTATE %s", sql, err, want)
			}
		}
		pg.Exec(t, `INSERT INTO cdc_relay.checkpoint (slot, publication, state, timeline, horizon_xid, horizon_lsn, nonce, system_id, incarnation, fingerprint)
				VALUES ('s', '', 'ready', 1, '3', '0/0', '', '', '', '');
			INSERT INTO cdc_relay.message_span (slot, since) VALUES ('s', '0/0')`)
		// Tables of the caller's own do not stand in for ours.
		if _, err := app.Exec(ctx(t), `CREATE TEMP TABLE message_span (x int); CREATE TEMP TABLE checkpoint (x int);
			SELECT cdc_relay.emit_message('a', '1', 't', '{}'), cdc_relay.emit_messages(ARRAY['a'], ARRAY['1'], ARRAY['t'], ARRAY['{}'])`); err != nil {
			t.Error(err)
		}
		var n int
		if err := app.QueryRow(ctx(t), "SELECT cdc_relay.emit_messages(ARRAY['a', 'b'], ARRAY['1', '2'], ARRAY['t', 't'], ARRAY[NULL, '{}'])").Scan(&n); err != nil || n != 2 {
			t.Errorf("emit_messages answers %d, %v", n, err)
		}
		if _, err := app.Exec(ctx(t), "SELECT cdc_relay.emit_messages(ARRAY['a'], ARRAY['1', '2'], ARRAY['t', 't'], ARRAY[NULL, '{}'])"); code(err) != "22023" {
			t.Errorf("arrays of different lengths: %v", err)
		}
	})
}

// TestSpansGoWithTheMark: what is left of a slot that was dropped must not let emit_message believe in a relay.
func TestSpansGoWithTheMark(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	conn := pg.Conn(t)
	mustUp(t, conn, NewOptions())
	pg.Exec(t, `INSERT INTO cdc_relay.checkpoint (slot, publication, state, timeline, horizon_xid, horizon_lsn, nonce, system_id, incarnation, fingerprint)
			VALUES ('s', '', 'ready', 1, '3', '0/0', '', '', '', '');
		INSERT INTO cdc_relay.message_span (slot, since) VALUES ('s', '0/1'), ('s', 'FFFFFFFF/FFFFFFF0');
		UPDATE cdc_relay.message_span SET until = '0/2', until_xid = '5' WHERE since = '0/1'`)
	var spans string
	const read = "SELECT coalesce(string_agg(since || ' ' || coalesce(until::text, 'open'), ', '), '') FROM cdc_relay.message_spans_v1('s')"
	if err := conn.QueryRow(ctx(t), read).Scan(&spans); err != nil || spans != "0/1 0/2" {
		t.Errorf("spans %q, %v: want none that begins beyond the end of the WAL", spans, err)
	}
	if _, err := conn.Exec(ctx(t), "SELECT cdc_relay.forget_v1('s', 'test')"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(ctx(t), "SELECT count(*)::text FROM cdc_relay.message_span").Scan(&spans); err != nil || spans != "0" {
		t.Errorf("%s spans after the mark has gone, %v", spans, err)
	}
}
