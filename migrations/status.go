package migrations

import (
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
)

// State is what Status found.
type State struct {
	Version int    // the last file that ran, 0: none; above the last of Files when a newer binary was here
	Files   []File // those of this binary, in order
}

// File is one migration.
type File struct {
	Number  int
	Name    string // as Up returns it: "001_outbox"
	Applied bool
}

// Pending tells whether Up would run a file.
func (s State) Pending() bool { return s.Version < len(s.Files) }

// Status looks without changing anything. The role needs to read cdc_relay.schema_version: the owner's does.
func Status(ctx context.Context, conn *pgx.Conn, o Options) (State, error) {
	all, err := render(o)
	if err != nil {
		return State{}, err
	}
	var s State
	err = conn.QueryRow(ctx, "SELECT version FROM "+versionTable).Scan(&s.Version)
	if err != nil && !missing(err) {
		return State{}, fmt.Errorf("read %s: %w", versionTable, err)
	}
	for _, f := range all {
		s.Files = append(s.Files, File{Number: f.number, Name: f.name, Applied: f.number <= s.Version})
	}
	return s, nil
}

// Print writes what Up would run on an empty database as plain SQL, for psql or another tool. It needs no connection, may be
// run again on a database that has some of it, and leaves cdc_relay.schema_version as Up does.
func Print(w io.Writer, o Options) error {
	all, err := render(o)
	if err != nil {
		return err
	}
	const head = "-- The schema of cdc-relay. Run it as the owner, with psql -v ON_ERROR_STOP=1 or a tool that stops at the first error.\n"
	if _, err := io.WriteString(w, head+versionTableSQL); err != nil {
		return err
	}
	for _, f := range all {
		_, err := fmt.Fprintf(w, "\n-- %s\nBEGIN;\n%s\nUPDATE %s SET version = %d WHERE version < %d;\nCOMMIT;\n", f.name, f.sql, versionTable, f.number, f.number)
		if err != nil {
			return err
		}
	}
	return nil
}
