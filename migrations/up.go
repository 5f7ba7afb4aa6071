package migrations

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/tern/v2/migrate"
)

// The number of the protocol that these files leave behind, and the oldest binary's that may still run on it. A binary runs
// where Protocol is at or above the least that it needs and CompatibleFrom at or below its own number; else it stands by.
const (
	Protocol       = 1
	CompatibleFrom = 1
)

// versionTable holds the number of the last file that was run.
const versionTable = "cdc_relay.schema_version"

// versionTableSQL makes it before tern would: with a primary key, because a publication of all tables (another tool's) makes
// updates of a table without replica identity fail.
const versionTableSQL = `CREATE SCHEMA IF NOT EXISTS cdc_relay;
CREATE TABLE IF NOT EXISTS cdc_relay.schema_version (version int4 PRIMARY KEY);
INSERT INTO cdc_relay.schema_version (version) SELECT 0 WHERE NOT EXISTS (SELECT FROM cdc_relay.schema_version);
`

// grantsFile is run at the end of every Up: the role may be another one than last time, and later files bring functions.
const grantsFile = "006_grants"

// Up brings the schema up to date and returns the names of the files that it ran; none when there was nothing to do. On an
// error they are those that had been committed before it. A schema newer than this binary is left as it is.
//
// conn must be the owner's, idle, direct or session-pooled; Up runs RESET ALL on it. It waits for another Up without limit:
// bound ctx. The rights it needs: CREATE on the database and on the outbox's schema, and, with CreateRole, what CREATE ROLE
// ... REPLICATION asks for.
func Up(ctx context.Context, conn *pgx.Conn, o Options) (applied []string, err error) {
	all, err := render(o)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, conn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	if err := checkVersion(ctx, conn); err != nil {
		return nil, err
	}
	if err := checkSettings(ctx, conn, o); err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, versionTableSQL); err != nil {
		return nil, fmt.Errorf("create schema cdc_relay (the role needs CREATE on the database): %w", err)
	}
	m, err := migrate.NewMigrator(ctx, conn, versionTable)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", versionTable, err)
	}
	version, err := m.GetCurrentVersion(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", versionTable, err)
	}
	if int(version) > len(all) {
		return nil, nil // a newer binary was here; files only expand, so there is nothing for us to do
	}
	for _, f := range all {
		m.AppendMigration(f.name, f.sql, "")
	}
	m.OnStart = func(_ int32, name, _, _ string) { applied = append(applied, name) }
	if err := m.Migrate(ctx); err != nil {
		if n := len(applied); n > 0 {
			return applied[:n-1], fmt.Errorf("migrate %s: %w", applied[n-1], explain(err))
		}
		return nil, fmt.Errorf("migrate: %w", explain(err))
	}
	for _, f := range all {
		if f.name != grantsFile || len(applied) > 0 && applied[len(applied)-1] == grantsFile {
			continue
		}
		if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, f.sql); return err }); err != nil {
			return applied, fmt.Errorf("migrate %s: %w", f.name, explain(err))
		}
	}
	return applied, nil
}

// lock serialises Up. tern holds a lock of its own while it migrates, but not around CREATE SCHEMA IF NOT EXISTS, which two
// sessions at once can make fail on the catalog's unique index.
func lock(ctx context.Context, conn *pgx.Conn) (unlock func() error, err error) {
	// A role's statement_timeout or lock_timeout would end the wait for the other one; RESET ALL brings them back.
	const take = "SET statement_timeout = 0; SET lock_timeout = 0; SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended('cdc_relay/migrate', 0))"
	const give = "SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended('cdc_relay/migrate', 0))"
	if _, err := conn.Exec(ctx, take); err != nil {
		return nil, fmt.Errorf("lock the schema: %w", err)
	}
	return func() error {
		if conn.IsClosed() {
			return nil // the lock went with the connection
		}
		if _, err := conn.Exec(context.WithoutCancel(ctx), give+"; RESET ALL"); err != nil {
			return fmt.Errorf("unlock the schema: %w", err)
		}
		return nil
	}, nil
}

// checkVersion refuses servers that nobody has tried this on.
func checkVersion(ctx context.Context, conn *pgx.Conn) error {
	var num int
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.current_setting('server_version_num')::int").Scan(&num); err != nil {
		return fmt.Errorf("read the server's version: %w", err)
	}
	if num < 140000 {
		return fmt.Errorf("server is Postgres %d: want 14 or later", num/10000)
	}
	return nil
}

// checkSettings refuses to run with names other than those that the schema was made with: the files that ran once would not
// run again for the new ones.
func checkSettings(ctx context.Context, conn *pgx.Conn, o Options) error {
	rows, err := conn.Query(ctx, "SELECT name, value FROM cdc_relay.settings")
	if err == nil {
		var settings map[string]string
		settings, err = collect(rows)
		for name, want := range map[string]string{"outbox_table": o.OutboxTable, "payload_type": o.PayloadType, "publication": o.Publication} {
			if got, ok := settings[name]; err == nil && ok && got != want {
				return fmt.Errorf("this database was migrated with %s %q, not %q: configure that, or move the data by hand", name, got, want)
			}
		}
	}
	if missing(err) {
		return nil
	}
	return err
}

func collect(rows pgx.Rows) (map[string]string, error) {
	out := map[string]string{}
	var name, value string
	_, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error { out[name] = value; return nil })
	return out, err
}

// missing tells that a schema or a table is not there yet.
func missing(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "3F000" || e.Code == "42P01")
}

// explain adds the server's hint and detail, which pgconn leaves out of the text.
func explain(err error) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case e.Hint != "":
		return fmt.Errorf("%w: %s", err, e.Hint)
	case e.Detail != "":
		return fmt.Errorf("%w: %s", err, e.Detail)
	}
	return err
}
