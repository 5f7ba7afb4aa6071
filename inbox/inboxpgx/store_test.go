package inboxpgx_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
	"github.com/cdc-relay/cdc-relay/inbox/inboxtest"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// open returns a fresh database with the inbox and a table of effects.
func open(t *testing.T, version ...string) (*pgxpool.Pool, *inboxpgx.Store, *testenv.PG) {
	t.Helper()
	pg := testenv.Postgres(t, version...)
	pool := poolOf(t, pg.URL())
	if err := inboxpgx.Migrate(t.Context(), pool, inboxpgx.MigrateOptions{}); err != nil {
		t.Fatal(err)
	}
	pg.Exec(t, "CREATE TABLE effect (n bigint GENERATED ALWAYS AS IDENTITY, key text NOT NULL)")
	return pool, inboxpgx.New(pool), pg
}

func poolOf(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	c.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func apply(ctx context.Context, tx pgx.Tx, key string) error {
	_, err := tx.Exec(ctx, "INSERT INTO effect (key) VALUES ($1)", key)
	return err
}

func effects(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), "SELECT key FROM effect ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestStore(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "15", "16", "17", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pool, store, _ := open(t, version)
			inboxtest.RunStore(t, inboxtest.Fixture[pgx.Tx]{
				Store: store, Apply: apply,
				Effects: func(t *testing.T) []string { return effects(t, pool) },
			})
		})
	}
}

func eventually(t *testing.T, timeout time.Duration, what string, check func() bool) {
	t.Helper()
	testenv.Eventually(t, timeout, func() error {
		if !check() {
			return errors.New(what)
		}
		return nil
	})
}
