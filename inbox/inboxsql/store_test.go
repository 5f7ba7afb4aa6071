package inboxsql_test

import (
	"context"
	"database/sql"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // driver pgx
	_ "github.com/lib/pq"              // driver postgres

	"github.com/cdc-relay/cdc-relay/inbox/inboxsql"
	"github.com/cdc-relay/cdc-relay/inbox/inboxtest"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

func openDB(t *testing.T, driver, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(10)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// open returns a fresh database with the inbox and a table of effects.
func open(t *testing.T, driver string) (*sql.DB, *inboxsql.Store, *testenv.PG) {
	t.Helper()
	pg := testenv.Postgres(t)
	db := openDB(t, driver, pg.URL())
	if err := inboxsql.Migrate(t.Context(), db, inboxsql.MigrateOptions{}); err != nil {
		t.Fatal(err)
	}
	pg.Exec(t, "CREATE TABLE effect (n bigint GENERATED ALWAYS AS IDENTITY, key text NOT NULL)")
	return db, inboxsql.New(db), pg
}

func apply(ctx context.Context, tx *sql.Tx, key string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO effect (key) VALUES ($1)", key)
	return err
}

func effects(t *testing.T, db *sql.DB) (keys []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT key FROM effect ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestStore(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"postgres", "pgx"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			db, store, _ := open(t, driver)
			inboxtest.RunStore(t, inboxtest.Fixture[*sql.Tx]{
				Store: store, Apply: apply,
				Effects: func(t *testing.T) []string { return effects(t, db) },
			})
		})
	}
}
