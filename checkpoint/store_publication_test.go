package checkpoint_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// TestPublicationChanged: whatever happens to the publication, the next mark says so and is not written, until an operator
// accepts it.
func TestPublicationChanged(t *testing.T) {
	eachVersion(t, func(t *testing.T, b *bench) {
		s := b.store(t)
		m := b.start(t, s)
		pid, _ := b.stream(t)
		b.pg.Exec(t, "CREATE TABLE other (x int PRIMARY KEY)")
		major := b.pg.Conn(t).PgConn().ParameterStatus("server_version")[:2]
		at := m.LSN
		for _, c := range []struct {
			name, sql, says string
			from            string // the first version that has it
		}{
			{"publish", "ALTER PUBLICATION cdc_relay SET (publish = 'insert, update')", "publish = 'insert, update'", ""},
			{"and back", "ALTER PUBLICATION cdc_relay SET (publish = 'insert')", "publish = 'insert'", ""},
			{"away and back", "ALTER PUBLICATION cdc_relay SET (publish = ''); ALTER PUBLICATION cdc_relay SET (publish = 'insert')", "altered and altered back", ""},
			{"second table", "ALTER PUBLICATION cdc_relay ADD TABLE other", "public.other", ""},
			{"table taken out and put back", "ALTER PUBLICATION cdc_relay DROP TABLE outbox; ALTER PUBLICATION cdc_relay ADD TABLE outbox", "altered back", ""},
			{"without root", "ALTER PUBLICATION cdc_relay SET (publish_via_partition_root = false)", "publish_via_partition_root = f", ""},
			{"dropped and made again", "DROP PUBLICATION cdc_relay; CREATE PUBLICATION cdc_relay FOR TABLE outbox, other WITH (publish = 'insert', publish_via_partition_root = true)", "is publication cdc_relay (oid", ""},
			{"table dropped and made again", "DROP TABLE other; CREATE TABLE other (x int PRIMARY KEY); ALTER PUBLICATION cdc_relay ADD TABLE other", "public.other", ""},
			{"filter", "ALTER PUBLICATION cdc_relay SET TABLE outbox WHERE (hashtext(coalesce(partition_key, aggregate_id)) > 0)", "hashtext", "15"},
			{"columns", "ALTER PUBLICATION cdc_relay SET TABLE outbox (event_id, created_at)", `columns ["event_id", "created_at"]`, "15"},
		} {
			if major < c.from {
				continue
			}
			b.pg.Exec(t, c.sql)
			m.LSN = at + 8
			err := s.Write(ctx(t), pid, update(m, 0))
			wantErr(t, c.name, err, checkpoint.ErrPublicationChanged)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %q is not in %q", c.name, c.says, err)
			}
			m.LSN = at
			wantErr(t, c.name+", equal position", s.Write(ctx(t), pid, update(m, 0)), checkpoint.ErrPublicationChanged)
			if got, err := s.Read(ctx(t)); err != nil || got.LSN != at {
				t.Fatalf("%s: mark at %s, want %s, %v", c.name, got.LSN, at, err)
			}
			before, after, err := s.AcceptPublication(ctx(t), "tester")
			must(t, err)
			if before == "" || after == "" {
				t.Errorf("%s: before %q, after %q", c.name, before, after)
			}
			at += 8
			m.LSN = at
			must(t, s.Write(ctx(t), pid, update(m, 0)))
		}
		var audited int
		must(t, b.pg.Conn(t).QueryRow(ctx(t), "SELECT count(*) FROM cdc_relay.audit WHERE verb = 'publication accept' AND who = 'tester' AND slot = $1", b.slot).Scan(&audited))
		if audited < 8 {
			t.Errorf("%d of the accepted changes were audited", audited)
		}

		b.pg.Exec(t, "DROP PUBLICATION cdc_relay")
		wantErr(t, "dropped", s.Write(ctx(t), pid, update(m, 8)), checkpoint.ErrPublicationChanged)
		_, _, err := s.AcceptPublication(ctx(t), "tester")
		wantErr(t, "accept nothing", err, checkpoint.ErrPublicationUnusable)
	})
}

// TestPublicationUntouched: what others do to the outbox and beside it is no change.
func TestPublicationUntouched(t *testing.T) {
	eachVersion(t, func(t *testing.T, b *bench) {
		s := b.store(t)
		m := b.start(t, s)
		pid, _ := b.stream(t)
		role, _ := b.pg.CreateRole(t)
		for _, sql := range []string{
			"CREATE TABLE outbox_p1999 PARTITION OF outbox FOR VALUES FROM ('1999-01-01') TO ('1999-01-02')",
			"ALTER TABLE outbox DETACH PARTITION outbox_p1999", "ALTER TABLE outbox ADD COLUMN extra text",
			"GRANT INSERT ON outbox TO " + role, "CREATE PUBLICATION theirs FOR TABLE outbox", "VACUUM FULL pg_publication", "VACUUM FREEZE pg_publication_rel",
		} {
			b.pg.Exec(t, sql)
			if err := s.Write(ctx(t), pid, update(m, 8)); err != nil {
				t.Fatalf("after %s: %v", sql, err)
			}
			m.LSN += 8
		}
	})
}

func TestFingerprintRefuses(t *testing.T) {
	eachVersion(t, func(t *testing.T, b *bench) {
		conn := b.conn(t)
		fingerprint, words, err := checkpoint.Fingerprint(ctx(t), conn, b.pub)
		must(t, err)
		if fingerprint == "" || !strings.Contains(words, "public.outbox (oid ") || !strings.Contains(words, "publish = 'insert', publish_via_partition_root = t") {
			t.Errorf("%q, %q", fingerprint, words)
		}
		b.pg.Exec(t, "CREATE PUBLICATION everything FOR ALL TABLES; CREATE PUBLICATION nothing")
		cases := map[string]string{"everything": "FOR ALL TABLES", "nothing": "has no table", "missing": "does not exist"}
		if conn.PgConn().ParameterStatus("server_version") >= "15" {
			b.pg.Exec(t, "CREATE PUBLICATION whole FOR TABLES IN SCHEMA public")
			cases["whole"] = "FOR TABLES IN SCHEMA"
		}
		for name, says := range cases {
			_, _, err := checkpoint.Fingerprint(ctx(t), conn, name)
			wantErr(t, name, err, checkpoint.ErrPublicationUnusable)
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %q is not in %q", name, says, err)
			}
			m := b.intent("n")
			m.Publication = name
			wantErr(t, name, b.store(t).Intent(ctx(t), m), checkpoint.ErrPublicationUnusable)
		}
	})
}

func TestAdopt(t *testing.T) {
	eachVersion(t, func(t *testing.T, b *bench) {
		s := b.store(t)
		a := checkpoint.Adoption{Publication: b.pub, SystemID: "7000000000000000001", Timeline: 1, By: "tester"}
		_, err := s.Adopt(ctx(t), a)
		wantErr(t, "without a slot", err, checkpoint.ErrNoSlot)

		// A transaction that is open when the slot stands where it stands has an xid at or above the horizon.
		lsn := b.createSlot(t)
		tx, err := b.pg.Conn(t).Begin(ctx(t))
		must(t, err)
		var xid uint64
		must(t, tx.QueryRow(ctx(t), "SELECT pg_current_xact_id()::text::bigint").Scan(&xid))
		made, err := s.Adopt(ctx(t), a)
		must(t, err)
		must(t, tx.Rollback(ctx(t)))
		if made.LSN != lsn || made.Incarnation == "" || made.Creating || made.HorizonXID == 0 || made.HorizonXID > xid || xid-made.HorizonXID > 1<<30 {
			t.Fatalf("slot at %s, xid %d: %+v", lsn, xid, made)
		}
		again, err := s.Adopt(ctx(t), a)
		must(t, err)
		if again.Incarnation != made.Incarnation {
			t.Errorf("incarnation %s became %s unasked", made.Incarnation, again.Incarnation)
		}
		a.NewIncarnation = true
		again, err = s.Adopt(ctx(t), a)
		must(t, err)
		if again.Incarnation == made.Incarnation {
			t.Error("no new incarnation")
		}
		a.LSN = lsn - 1
		_, err = s.Adopt(ctx(t), a)
		wantErr(t, "before the slot", err, checkpoint.ErrBackwards)
		a.LSN = lsn + 1<<40
		_, err = s.Adopt(ctx(t), a)
		wantErr(t, "beyond the WAL", err, checkpoint.ErrBackwards)
		a.LSN = 0
		pid, _ := b.stream(t)
		wantErr(t, "write of the old incarnation", s.Write(ctx(t), pid, update(made, 8)), checkpoint.ErrIncarnation)
		_, err = s.Adopt(ctx(t), a)
		wantErr(t, "while streamed", err, checkpoint.ErrSlotActive)
		wantErr(t, "forget while it exists", s.Forget(ctx(t), "tester"), checkpoint.ErrSlotActive)
		b.pg.DropSlot(t, b.slot)
		must(t, s.Forget(ctx(t), "tester"))
		wantErr(t, "forget twice", s.Forget(ctx(t), "tester"), checkpoint.ErrNoMark)
		var verbs string
		must(t, b.pg.Conn(t).QueryRow(ctx(t), "SELECT string_agg(verb, ',' ORDER BY id) FROM cdc_relay.audit WHERE who = 'tester' AND slot = $1", b.slot).Scan(&verbs))
		if want := "slot adopt,slot adopt,slot adopt,slot drop"; verbs != want {
			t.Errorf("audited %s, want %s", verbs, want)
		}
	})
}

func TestSampleAndPause(t *testing.T) {
	eachVersion(t, func(t *testing.T, b *bench) {
		s, db := b.store(t), b.pg.Conn(t)
		got, err := s.Sample(ctx(t))
		must(t, err)
		if got.SlotExists || got.Marked || got.Paused || got.OutboxSeq != 0 || got.InRecovery || got.WALEnd == 0 {
			t.Fatalf("empty: %+v", got)
		}
		wantErr(t, "pause without a mark", s.SetPaused(ctx(t), true, "tester"), checkpoint.ErrNoMark)

		m := b.start(t, s)
		pid, _ := b.stream(t)
		listen := b.conn(t)
		_, err = listen.Exec(ctx(t), "LISTEN cdc_relay")
		must(t, err)
		must(t, s.SetPaused(ctx(t), true, "tester"))
		n, err := listen.WaitForNotification(ctx(t))
		must(t, err)
		if n.Payload != b.slot {
			t.Errorf("notified of %q, want %q", n.Payload, b.slot)
		}
		tx, err := db.Begin(ctx(t))
		must(t, err)
		var xid uint64
		must(t, tx.QueryRow(ctx(t), "SELECT pg_current_xact_id()::text::bigint").Scan(&xid))
		_, err = tx.Exec(ctx(t), "INSERT INTO outbox (aggregate_type, aggregate_id, event_type) SELECT 'a', '1', 'e' FROM generate_series(1, 3)")
		must(t, err)
		got, err = s.Sample(ctx(t))
		must(t, err)
		must(t, tx.Commit(ctx(t)))
		if !got.SlotExists || !got.Marked || !got.Paused || got.OutboxSeq != 3 || got.ActivePID != int32(pid) || got.WALStatus != "reserved" ||
			got.Confirmed < m.LSN || got.Restart == 0 || got.HorizonXID > xid || got.HorizonXID == 0 || got.HorizonLSN < m.LSN || got.WALEnd > got.HorizonLSN+1<<30 {
			t.Fatalf("with xid %d open: %+v", xid, got)
		}
		if got, err := s.Read(ctx(t)); err != nil || !got.Paused {
			t.Errorf("Read: %+v, %v", got, err)
		}
		must(t, s.SetPaused(ctx(t), false, "tester"))
		must(t, s.SetPaused(ctx(t), false, "tester"))
		if got, err := s.Sample(ctx(t)); err != nil || got.Paused {
			t.Errorf("after resume: %+v, %v", got, err)
		}
	})
}

// TestUnknownAnswer: the codes that the schema may send later are no success.
func TestUnknownAnswer(t *testing.T) {
	t.Parallel()
	b := newBench(t, testenv.Postgres(t))
	s := b.store(t)
	b.pg.Exec(t, "CREATE OR REPLACE FUNCTION cdc_relay.pause_v1(p_slot text, p_paused boolean, p_by text, OUT code text, OUT detail text) LANGUAGE sql AS $$ SELECT 'later', 'x' $$")
	err := s.SetPaused(ctx(t), true, "tester")
	if err == nil || errors.Is(err, checkpoint.ErrNoMark) || !strings.Contains(err.Error(), "later") {
		t.Fatalf("got %v", err)
	}
}
