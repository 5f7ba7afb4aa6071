package e2e_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// While everybody may write messages the relay does not read them: this is what a role without any right could do.
func TestTableless_ForgeryThatTheRevokePrevents(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "16", "17", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := setup(t, version)
			text := s.run(messagesOn).exits(4, "PUBLIC may execute pg_logical_emit_message", "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_logical_emit_message(boolean, text, bytea",
				"pg_catalog.pg_logical_emit_message(boolean, text, text", "cdc_relay.emit_message", "messages: off")
			if query[bool](s, "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)", s.slot) {
				t.Error("a slot was made before the refusal")
			}
			_, needed, _ := strings.Cut(text, "run `")
			needed, _, _ = strings.Cut(needed, "`")
			s.pg.Exec(t, needed) // as it is printed

			_, url := s.pg.CreateRole(t)
			role, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = role.Close(t.Context()) }()
			forge := func() error {
				_, err := role.Exec(t.Context(), `SELECT pg_logical_emit_message(true, 'cdc_relay', '\x0108'::bytea || uuid_send(gen_random_uuid()) || 'orders'::bytea || '\x00' || 'o-1' || '\x00' || 'Paid' || '\x00' || '{"n": 0}')`)
				return err
			}
			p := s.start(messagesOn)
			if err := forge(); err == nil || !strings.Contains(err.Error(), "permission denied") {
				t.Errorf("after the revoke: %v", err)
			}
			s.pg.Exec(t, strings.Split(strings.NewReplacer("REVOKE", "GRANT", " FROM ", " TO ").Replace(needed), ";")[0])
			if err := forge(); err != nil {
				t.Fatal(err)
			}
			if l := s.holds(1)[0]; l.Topic != "orders" || header(l, "event_type") != "Paid" {
				t.Errorf("got %+v", l)
			}
			p.drain()
			s.run(messagesOn).exits(4, "REVOKE")
			s.start().drain() // without messages nobody is kept from anything
		})
	}
}

// A message of ours that is not transactional stops the relay, with its LSN and the way past it.
func TestI7_MessageThatIsNotTransactional(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := tableless(t, version)
			p := s.start()
			s.emit(0, 5, 1)
			s.holds(5)
			s.pg.Exec(t, "SELECT pg_logical_emit_message(false, 'somebody', 'x')")
			lsn := query[string](s, "SELECT pg_current_wal_insert_lsn()::text")
			s.pg.Exec(t, "BEGIN; SELECT pg_logical_emit_message(false, 'cdc_relay', 'x'); ROLLBACK") // it stays
			s.emit(5, 5, 1)
			text := p.exits(8, "not transactional", "cdc-relay skip --position")
			s.run().exits(8, "not transactional", "cdc-relay skip --position")
			if !query[bool](s, "SELECT $1::pg_lsn <= $2::pg_lsn", lsn, positionIn(t, text)) {
				t.Errorf("the message was written after %s, and the error says:%s", lsn, text)
			}
			if n := len(s.lines("")); n != 5 {
				t.Errorf("%d events, want those before the message", n)
			}
			s.skip(text)
			p = s.start()
			s.holds(10)
			p.says("skipped, as an operator asked")
			s.quiet()
			p.drain()
			s.start().drain()
			s.compareAll(s.lines(""), 0)
		})
	}
}

// positionIn is the LSN of the position that an error names.
func positionIn(t testing.TB, text string) string {
	t.Helper()
	_, at, found := strings.Cut(text, "skip --position ")
	if !found {
		t.Fatalf("no position in %s", text)
	}
	at = strings.Fields(strings.ReplaceAll(at, "`", " "))[0]
	return at[:strings.LastIndexByte(at, '/')]
}

// One that nobody can read stops the relay too; and its position is one that skip takes.
func TestI7_MessageThatNobodyCanRead(t *testing.T) {
	t.Parallel()
	s := tableless(t)
	p := s.start()
	s.emit(0, 2, 1)
	s.pg.Exec(t, `BEGIN; INSERT INTO emitted SELECT cdc_relay.emit_message('orders', 'k0', 'Made', '{"n": 2}'); SELECT pg_logical_emit_message(true, 'cdc_relay', '\x09'::bytea);
		INSERT INTO emitted SELECT cdc_relay.emit_message('orders', 'k0', 'Made', '{"n": 3}'); COMMIT`)
	text := p.exits(8, "logical message", "version 9", "cdc-relay skip --position")
	s.skip(text)
	p = s.start()
	s.holds(4)
	s.quiet()
	p.drain()
	if at := s.lines("")[3].Position; !strings.HasSuffix(at, "/2") {
		t.Errorf("the event behind the message stands at %s", at)
	}
	s.compareAll(s.lines(""), 1)
}
