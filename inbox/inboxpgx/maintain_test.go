package inboxpgx_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
)

// Migrating again, or many at once, does no harm, on each version, and keeps what stands there.
func TestMigrate(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "15", "16", "17", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pool, store, pg := open(t, version)
			want(t, store, message(idOf(0, 1)), inbox.Processed)
			pg.Exec(t, "DROP SCHEMA cdc_inbox CASCADE")
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if err := inboxpgx.Migrate(t.Context(), pool, inboxpgx.MigrateOptions{KeepDays: 5}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			want(t, store, message(idOf(0, 1)), inbox.Processed)
			if err := inboxpgx.Migrate(t.Context(), pool, inboxpgx.MigrateOptions{}); err != nil {
				t.Error(err)
			}
			want(t, store, message(idOf(0, 1)), inbox.Duplicate)
			if days, err := store.Retention(t.Context()); err != nil || days != 5 {
				t.Errorf("retention %d, %v; want 5", days, err)
			}
			st, err := store.Status(t.Context())
			if err != nil || st.DaysAhead != 3 || len(st.Days) != 5+1+3 || st.StrayClaims != 0 {
				t.Errorf("status %+v, %v", st, err)
			}
		})
	}
}

// A missing day costs nothing but a move; a day past the retention goes, and its ids are looked for elsewhere from then on.
func TestMaintain(t *testing.T) {
	t.Parallel()
	_, store, pg := open(t)
	pg.Exec(t, `DO $$ DECLARE p text; BEGIN
		FOR p IN SELECT relname FROM pg_class WHERE relname ~ '^claimed_\d{8}$' AND relkind = 'r' LOOP EXECUTE 'DROP TABLE cdc_inbox.' || p; END LOOP; END $$`)
	want(t, store, message(idOf(0, 1)), inbox.Processed)
	want(t, store, message(idOf(-2, 1)), inbox.Processed)
	done, err := store.Maintain(t.Context())
	if err != nil || len(done.Made) != 12 || done.Moved != 2 || len(done.Dropped) != 0 || len(done.Waiting) != 0 {
		t.Fatalf("maintain: %+v, %v", done, err)
	}
	for _, id := range []string{idOf(0, 1), idOf(-2, 1)} {
		want(t, store, message(id), inbox.Duplicate)
	}

	// A retention of one day: the day before yesterday is kept for one more, all before it go.
	pg.Exec(t, "UPDATE cdc_inbox.setting SET keep_days = 1")
	if done, err = store.Maintain(t.Context()); err != nil || len(done.Dropped) != 6 {
		t.Fatalf("maintain: %+v, %v", done, err)
	}
	want(t, store, message(idOf(-2, 1)), inbox.Duplicate)
	want(t, store, message(idOf(0, 1)), inbox.Duplicate)
	pg.Exec(t, "UPDATE cdc_inbox.setting SET keep_days = 8") // what was dropped does not come back: such ids are claimed under today
	want(t, store, message(idOf(-7, 1)), inbox.Processed)
	if d := dayOf(t, pg, idOf(-7, 1)); d != 0 {
		t.Errorf("claimed under day %d, which was dropped", d)
	}
}

// Maintenance gives way to a long transaction, and to another maintainer.
func TestMaintainGivesWay(t *testing.T) {
	t.Parallel()
	pool, store, pg := open(t)
	pg.Exec(t, "UPDATE cdc_inbox.setting SET keep_days = 1")
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inboxpgx.Claim(t.Context(), tx, "c", message(idOf(0, 1))); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	done, err := store.Maintain(t.Context())
	if err != nil || len(done.Waiting) != 1 || !strings.Contains(done.Waiting[0], "in use") || len(done.Dropped) != 0 {
		t.Errorf("beside a transaction: %+v, %v", done, err)
	}
	if waited := time.Since(began); waited > 5*time.Second {
		t.Errorf("it waited for %s", waited)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tx, err = pool.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock(hashtextextended('cdc_inbox maintain', 0))"); err != nil {
		t.Fatal(err)
	}
	if done, err = store.Maintain(t.Context()); err != nil || !done.Busy {
		t.Errorf("beside a maintainer: %+v, %v", done, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if done, err = store.Maintain(t.Context()); err != nil || len(done.Dropped) != 6 {
		t.Errorf("alone: %+v, %v", done, err)
	}
}

// A claim costs at most 110 bytes with its index, and a day of many is dropped at once.
func TestRowSize(t *testing.T) {
	t.Parallel()
	_, store, pg := open(t)
	const rows = 100_000
	pg.Exec(t, "SELECT cdc_inbox.consumer_v1('c')")
	conn := pg.Conn(t)
	for _, of := range []struct{ what, id, day string }{
		{"v7", "(lpad(to_hex((extract(epoch FROM (now() AT TIME ZONE 'UTC')::date - 5) * 1000)::bigint + n), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 5, 15))::uuid", "5"},
		{"v4", "gen_random_uuid()", "4"},
	} {
		pg.Exec(t, "INSERT INTO cdc_inbox.claimed (id, day, consumer) SELECT "+of.id+", (now() AT TIME ZONE 'UTC')::date - "+of.day+", 1 FROM generate_series(1, 100000) n")
		var bytes int64
		if err := conn.QueryRow(t.Context(), "SELECT pg_total_relation_size('cdc_inbox.claimed_' || to_char((now() AT TIME ZONE 'UTC')::date - "+of.day+", 'YYYYMMDD'))").Scan(&bytes); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.1f bytes a claim", of.what, float64(bytes)/rows)
		if bytes > 110*rows {
			t.Errorf("%s: %.1f bytes a claim, want 110 at most", of.what, float64(bytes)/rows)
		}
	}
	pg.Exec(t, "UPDATE cdc_inbox.setting SET keep_days = 1")
	if done, err := store.Maintain(t.Context()); err != nil || len(done.Dropped) != 6 {
		t.Errorf("%+v, %v", done, err)
	}
}

// The duration stands with the claim when it is asked for.
func TestRecordDuration(t *testing.T) {
	t.Parallel()
	_, store, pg := open(t)
	p, err := inbox.NewProcessor(store, "c", done, inbox.Options{RecordDuration: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ProcessBatch(t.Context(), []*inbox.Message{message(idOf(0, 1)), message(idOf(0, 2))}); err != nil {
		t.Fatal(err)
	}
	want(t, store, message(idOf(0, 3)), inbox.Processed)
	var with, without int
	if err := pg.Conn(t).QueryRow(t.Context(), "SELECT count(took_us), count(*) - count(took_us) FROM cdc_inbox.claimed").Scan(&with, &without); err != nil || with != 2 || without != 1 {
		t.Errorf("%d claims with a duration, %d without, %v; want 2 and 1", with, without, err)
	}
}
