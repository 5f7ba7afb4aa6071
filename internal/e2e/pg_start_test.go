package e2e_test

import (
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// The relay's role has what the migration grants and nothing else; see bare.
func TestStart_WithTheGrantedRightsAlone(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "15", "16", "17", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := setup(t, version)
			p := s.start()
			s.insert(0, 100, 3)
			s.holds(100)
			p.drain()
			p = s.start()
			s.insert(100, 10, 3)
			s.holds(110)
			p.drain()
			s.compare(s.lines(""), 0)
			if version >= "17" && !query[bool](s, "SELECT failover FROM pg_replication_slots WHERE slot_name = $1", s.slot) {
				t.Error("the slot is no failover slot, and from 17 on it should be")
			}
		})
	}
}

func TestStart_FailoverSlotWhenToldOtherwise(t *testing.T) {
	t.Parallel()
	s := setup(t, "17")
	s.start("CDC_RELAY_REPLICATION_FAILOVER=off").drain()
	if query[bool](s, "SELECT failover FROM pg_replication_slots WHERE slot_name = $1", s.slot) {
		t.Error("the slot is a failover slot, although replication.failover is off")
	}
	old := setup(t, "15")
	old.run("CDC_RELAY_REPLICATION_FAILOVER=on").exits(4, old.slot, "failover slots need Postgres 17")
}

func TestStart_WrongPassword(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.run("CDC_RELAY_DATABASE_URL="+s.pg.URLFor(s.role, "wrong")).exits(4, "password authentication failed", s.role, "database.password_file")
}

func TestStart_NoSuchDatabaseOrRole(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.run("CDC_RELAY_DATABASE_URL="+strings.Replace(s.pg.URLFor(s.role, "secret"), s.pg.Name(), "nowhere", 1)).
		exits(4, `"nowhere" does not exist`, "database.url")
}

func TestStart_RoleWithoutReplication(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := setup(t, version)
			s.pg.Exec(t, "ALTER ROLE "+s.role+" NOREPLICATION")
			s.run().exits(4, s.role, "REPLICATION", "ALTER ROLE", "rds_replication")
			s.pg.Exec(t, "ALTER ROLE "+s.role+" REPLICATION")
			s.start().drain()
		})
	}
}

// Each right of the migration, taken away by itself: the relay says which.
func TestStart_MissingGrantIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ revoke, want string }{
		"schema":      {"REVOKE USAGE ON SCHEMA cdc_relay FROM PUBLIC", "schema cdc_relay"},
		"protocol":    {"REVOKE EXECUTE ON FUNCTION cdc_relay.protocol_v1() FROM role", "function protocol_v1"},
		"read":        {"REVOKE EXECUTE ON FUNCTION cdc_relay.checkpoint_read_v1(text) FROM role", "function checkpoint_read_v1"},
		"sample":      {"REVOKE EXECUTE ON FUNCTION cdc_relay.sample_v1(text) FROM role", "function sample_v1"},
		"outbox":      {"REVOKE SELECT ON outbox FROM role", "outbox"},
		"dead letter": {"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA cdc_relay FROM role", "permission denied for function"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			s.pg.Exec(t, strings.ReplaceAll(c.revoke, "FROM role", "FROM "+s.role))
			s.run().exits(4, c.want, "cdc-relay migrate up", "migrate.relay_role")
			s.migrate() // the cure
			p := s.start()
			s.insert(0, 3, 1)
			s.holds(3)
			p.drain()
		})
	}
}

func TestStart_SchemaMissing(t *testing.T) {
	t.Parallel()
	s := bare(t, testenv.Postgres(t))
	s.run().exits(4, "schema is missing", "`cdc-relay migrate up`")
	s.verb(0, nil, "migrate", "up")
	p := s.start()
	s.insert(0, 3, 1)
	s.holds(3)
	p.drain()
}

func TestStart_WALLevelReplica(t *testing.T) {
	t.Parallel()
	srv := testenv.StartPostgres(t, "", map[string]string{"wal_level": "replica"})
	s := setupIn(t, srv.Database(t))
	s.run().exits(4, "wal_level", "ALTER SYSTEM SET wal_level = logical", "restart")
	srv.Params["wal_level"] = "logical"
	srv.Restart()
	p := s.start() // the interrupted first start is completed
	s.insert(0, 3, 1)
	s.holds(3)
	p.drain()
}

// Rows that are older than the slot: named and counted, not published, and still in the table.
func TestStart_RowsOlderThanTheSlot(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.insert(0, 17, 3)
	p := s.start()
	p.says(`"older_rows":17`, "committed before are not published", "public.outbox")
	s.insert(17, 3, 3)
	got := s.holds(3)
	p.drain()
	if len(got) != 3 || number(t, got[0]) != 17 {
		t.Errorf("got %d events from %d on, want those after the slot", len(got), number(t, got[0]))
	}
}

// A prepared transaction that nobody ends keeps a slot from being made: the relay says so and leaves no slot half made.
func TestStart_OpenPreparedTransaction(t *testing.T) {
	t.Parallel()
	heavy(t) // it waits for 30 s
	srv := testenv.StartPostgres(t, "", nil)
	s := setupIn(t, srv.Database(t))
	s.pg.Exec(t, `BEGIN; INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('orders', 'k', 'Made', '{"n": 0}'); PREPARE TRANSACTION 'forgotten'`)
	s.run().exits(4, s.slot, "waits for transactions that are still open", "pg_prepared_xacts")
	if n := query[int](s, "SELECT count(*) FROM pg_replication_slots"); n != 0 {
		t.Errorf("%d slots were left behind", n)
	}
	s.pg.Exec(t, `COMMIT PREPARED 'forgotten'`)
	p := s.start()
	s.insert(1, 3, 1)
	s.holds(3)
	p.drain()
}
