package checkpoint_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// flushed reads how far the WAL is on disk.
func flushed(t testing.TB, conn *pgx.Conn) (at pglogrepl.LSN) {
	t.Helper()
	var text string
	must(t, conn.QueryRow(ctx(t), "SELECT pg_current_wal_flush_lsn()::text").Scan(&text))
	at, err := pglogrepl.ParseLSN(text)
	must(t, err)
	return at
}

// page is the end of the WAL record that last touched the mark's page, which lies before its commit.
func page(t testing.TB, conn *pgx.Conn) (at pglogrepl.LSN) {
	t.Helper()
	var text string
	must(t, conn.QueryRow(ctx(t), "SELECT lsn::text FROM page_header(get_raw_page('cdc_relay.checkpoint', 0))").Scan(&text))
	at, err := pglogrepl.ParseLSN(text)
	must(t, err)
	return at
}

// TestI1_MarkIsFlushedWhenWriteReturns though the role has synchronous_commit off. The control shows that the look is sharp: a plain
// update of such a role is not on disk when it returns.
func TestI1_MarkIsFlushedWhenWriteReturns(t *testing.T) {
	eachVersion(t, func(t *testing.T, b *bench) {
		db := b.pg.Conn(t)
		b.pg.Exec(t, "CREATE EXTENSION pageinspect")
		for _, setting := range []string{"off", "local"} {
			b.pg.Exec(t, "ALTER DATABASE "+b.pg.Name()+" SET synchronous_commit = "+setting)
			s := b.store(t)
			m, err := s.Read(ctx(t))
			must(t, err)
			if m == nil {
				m = b.start(t, s)
			}
			pid, end := b.stream(t)
			for range 50 {
				must(t, s.Write(ctx(t), pid, update(m, 8)))
				m.LSN += 8
				if on, need := flushed(t, db), page(t, db); on < need {
					t.Fatalf("%s: the WAL is flushed to %s and the mark's record ends at %s", setting, on, need)
				}
			}
			end()
		}
		b.pg.Exec(t, "ALTER DATABASE "+b.pg.Name()+" SET synchronous_commit = off")
		plain := b.pg.Conn(t)
		for range 200 {
			_, err := plain.Exec(ctx(t), "UPDATE cdc_relay.checkpoint SET nonce = nonce || 'x'")
			must(t, err)
			if need := page(t, db); flushed(t, db) < need {
				return
			}
		}
		t.Error("the control was always flushed: this test proves nothing")
	})
}

// TestI1_MarkSurvivesKill9: after kill -9 of the postmaster the row is the last one that Write acknowledged, or the one under way.
func TestI1_MarkSurvivesKill9(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server of its own")
	}
	t.Parallel()
	for _, version := range []string{"15", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			srv := testenv.StartPostgres(t, version, map[string]string{"synchronous_commit": "off"})
			b := newBench(t, srv.Database(t))
			s := b.store(t)
			m := b.start(t, s)
			pid, _ := b.stream(t)
			type result struct{ acked, tried pglogrepl.LSN }
			done, warm := make(chan result, 1), make(chan struct{})
			go func() {
				r := result{m.LSN, m.LSN}
				for i := range 1 << 20 {
					if i == 100 {
						close(warm)
					}
					r.tried = r.acked + 8
					if err := s.Write(t.Context(), pid, update(m, r.tried-m.LSN)); err != nil {
						break
					}
					r.acked = r.tried
				}
				done <- r
			}()
			select {
			case <-warm:
			case <-time.After(60 * time.Second):
				t.Fatal("100 marks took a minute")
			}
			srv.Kill9()
			r := <-done
			srv.Start()
			got, err := b.store(t).Read(ctx(t))
			must(t, err)
			if got.LSN != r.acked && got.LSN != r.tried {
				t.Fatalf("mark at %s after the crash; acknowledged %s, tried %s", got.LSN, r.acked, r.tried)
			}
		})
	}
}

// TestMarkIsCheap measures what a mark costs on a server of its own: WAL, HOT, and the table's size after many.
func TestMarkIsCheap(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server of its own")
	}
	t.Parallel()
	for _, version := range []string{"14", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			srv := testenv.StartPostgres(t, version, map[string]string{"autovacuum": "off", "checkpoint_timeout": "1h"})
			b := newBench(t, srv.Database(t))
			s, db := b.store(t), b.pg.Conn(t)
			m := b.start(t, s)
			pid, _ := b.stream(t)
			next := func() {
				m.LSN += 8
				u := update(m, 0)
				u.HorizonXID, u.HorizonLSN = u.HorizonXID+uint64(m.LSN), m.LSN
				must(t, s.Write(ctx(t), pid, u))
			}
			for range 100 { // past the full page image and into pruning
				next()
			}
			const n = 300
			before := flushed(t, db)
			began := time.Now()
			for range n {
				next()
			}
			took := time.Since(began)
			bytes := uint64(flushed(t, db)-before) / n
			began = time.Now()
			for range n {
				_, err := s.Sample(ctx(t))
				must(t, err)
			}
			sample := time.Since(began) / n
			var size, updates, hot int64
			testenv.Eventually(t, 20*time.Second, func() error {
				_, err := s.Sample(ctx(t)) // 14 reports what a backend counted only when it has run something again
				must(t, err)
				must(t, db.QueryRow(ctx(t), `SELECT pg_relation_size('cdc_relay.checkpoint'), n_tup_upd, n_tup_hot_upd FROM pg_stat_all_tables WHERE relid = 'cdc_relay.checkpoint'::regclass`).Scan(&size, &updates, &hot))
				if updates < n { // statistics arrive late
					return fmt.Errorf("statistics say %d updates", updates)
				}
				return nil
			})
			t.Logf("Postgres %s: a mark is %d bytes of WAL and takes %s (fsync on); a sample takes %s; %d of %d updates HOT, table %d bytes", version, bytes, took/n, sample, hot, updates, size)
			if bytes > 320 || hot*100 < updates*95 || size > 128<<10 {
				t.Errorf("a mark got dear")
			}
		})
	}
}
