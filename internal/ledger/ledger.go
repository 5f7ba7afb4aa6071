// Package ledger is the relay's ordinary connection to the database: the slot's row, the mark and the dead letters, as
// internal/relay asks for them. It joins checkpoint.Store and deadletter.Store on one connection, and adds nothing to them.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/replication"
)

// keepResolved is how long a dead letter whose fate is settled stays for an operator to look at.
const keepResolved = 7 * 24 * time.Hour

// countLimit bounds the count of older rows at a first start.
const countLimit = 1_000_000

// Ledger is one connection. It is used by one goroutine at a time, and it owns the connection.
type Ledger struct {
	*checkpoint.Store
	letters *deadletter.Store

	conn   *pgx.Conn
	slot   string
	tables []string // schema.table
}

// New takes over conn. tables are the outbox tables, schema.table as the catalog spells them.
func New(conn *pgx.Conn, slot string, tables []string) *Ledger {
	return &Ledger{
		Store: checkpoint.NewStore(conn, slot), letters: deadletter.NewStore(conn, slot),
		conn: conn, slot: slot, tables: tables,
	}
}

// Slot returns the slot's row, nil when there is none. Only a slot that pgoutput writes for this database is ours.
func (l *Ledger) Slot(ctx context.Context) (*checkpoint.Slot, error) {
	var (
		s                             checkpoint.Slot
		confirmed, restart            *pglogrepl.LSN
		plugin, database, status, why string
		here                          bool
	)
	// wal_status says lost on every version; 16 and later tell more, in columns that earlier ones lack.
	err := l.conn.QueryRow(ctx, `
		SELECT s.confirmed_flush_lsn, s.restart_lsn, coalesce(s.active_pid, 0), coalesce(s.plugin, ''), coalesce(s.database, ''),
		       coalesce(s.database = current_database(), false), coalesce(s.wal_status, ''),
		       coalesce(to_jsonb(s)->>'invalidation_reason', '')
		  FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1`, l.slot).
		Scan(&confirmed, &restart, &s.ActivePID, &plugin, &database, &here, &status, &why)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look at slot %q: %w", l.slot, err)
	case plugin != "pgoutput" || !here:
		return nil, &checkpoint.UnusableError{
			Slot: l.slot, What: fmt.Sprintf("is of plugin %q in database %q", plugin, database),
			Cure: "slot names are unique in the whole cluster: choose another replication.slot",
		}
	}
	if confirmed != nil {
		s.Confirmed = *confirmed
	}
	if status == "lost" || why != "" {
		s.Lost = "wal_status is " + status
		if why != "" {
			s.Lost = "invalidated: " + why
		}
	}
	return &s, nil
}

// OlderRows counts the rows that the outbox tables hold, a million at most.
func (l *Ledger) OlderRows(ctx context.Context) (n int64, err error) {
	for _, table := range l.tables {
		var here int64
		quoted := pgx.Identifier(strings.SplitN(table, ".", 2)).Sanitize()
		err := l.conn.QueryRow(ctx, fmt.Sprintf(`SELECT count(*) FROM (SELECT FROM %s LIMIT %d) AS r`, quoted, countLimit)).Scan(&here)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "42501" { // insufficient_privilege
			err = fmt.Errorf("%w (%s)", checkpoint.ErrNotGranted, pg.Message)
		}
		if err != nil {
			return 0, fmt.Errorf("count rows of %s: %w", table, err)
		}
		n += here
	}
	return n, nil
}

// Inspect looks at the publication. ErrPublicationMissing and ErrPublicationWrong are package replication's,
// ErrPublicationChanged is package checkpoint's.
func (l *Ledger) Inspect(ctx context.Context, publication string, mark *checkpoint.Mark) (notes []string, err error) {
	pub, err := replication.LookPublication(ctx, l.conn, publication)
	if err != nil {
		return nil, err
	}
	if mark != nil && !mark.Creating {
		var fingerprint, difference string
		err := l.conn.QueryRow(ctx, `SELECT coalesce(cdc_relay.fingerprint_v1($2), ''), coalesce(cdc_relay.difference_v1($1, $2), '')`, l.slot, publication).
			Scan(&fingerprint, &difference)
		if err != nil {
			return nil, fmt.Errorf("compare publication %q with the mark of slot %q: %w", publication, l.slot, err)
		}
		if fingerprint != mark.Fingerprint {
			return nil, fmt.Errorf("compare publication %q with the mark of slot %q at %s: %w: %s", publication, l.slot, mark.LSN, checkpoint.ErrPublicationChanged, difference)
		}
	}
	var wrong []error
	for _, p := range pub.Check(l.tables) {
		text := p.What
		if p.Cure != "" {
			text += "; " + p.Cure
		}
		if p.Fatal {
			wrong = append(wrong, fmt.Errorf("%w: %s", replication.ErrPublicationWrong, text))
			continue
		}
		notes = append(notes, text)
	}
	return notes, errors.Join(wrong...)
}

// Keys, Verdicts, Park, Pending, Done and Counts are deadletter.Store's.

func (l *Ledger) Keys(ctx context.Context) ([]deadletter.Key, error) { return l.letters.Keys(ctx) }

func (l *Ledger) Verdicts(ctx context.Context, incarnation string, mark pglogrepl.LSN) ([]deadletter.Verdict, error) {
	return l.letters.Verdicts(ctx, incarnation, mark)
}

func (l *Ledger) Park(ctx context.Context, pid uint32, letters []deadletter.Letter) ([]deadletter.Filed, error) {
	return l.letters.Park(ctx, pid, letters)
}

func (l *Ledger) Pending(ctx context.Context, limit int, underWay ...int64) ([]deadletter.Letter, error) {
	return l.letters.Pending(ctx, limit, underWay...)
}

func (l *Ledger) Done(ctx context.Context, pid uint32, results []deadletter.Result) ([]deadletter.Key, error) {
	return l.letters.Done(ctx, pid, results)
}

func (l *Ledger) Counts(ctx context.Context) (deadletter.Counts, error) { return l.letters.Counts(ctx) }

// Requeue marks all that is parked under a key, on the relay's own behalf.
func (l *Ledger) Requeue(ctx context.Context, key deadletter.Key) error {
	_, err := l.letters.Requeue(ctx, deadletter.Selection{Key: &key}, deadletter.Audit{Who: "cdc-relay", Why: "came while its key was being released"})
	return err
}

// Prune deletes resolved dead letters that the mark has passed, a week after they were settled.
func (l *Ledger) Prune(ctx context.Context, pid uint32, mark pglogrepl.LSN) error {
	_, err := l.letters.Prune(ctx, pid, mark, keepResolved)
	return err
}

// Close ends the connection.
func (l *Ledger) Close(ctx context.Context) error { return l.conn.Close(ctx) }
