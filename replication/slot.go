package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB is an ordinary connection, or a transaction on one: *pgx.Conn, pgx.Tx, *pgxpool.Pool.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Slot is a row of pg_replication_slots. What a version of Postgres does not have is left at its zero value.
type Slot struct {
	Name           string
	Plugin         string // "" for a physical slot
	Database       string
	Temporary      bool
	TwoPhase       bool
	ActivePID      uint32 // 0: nobody has it
	ConfirmedFlush pglogrepl.LSN
	Restart        pglogrepl.LSN // WAL from here on is kept; 0: the slot is lost
	WALStatus      string        // reserved, extended, unreserved, lost
	RetainedBytes  int64         // WAL that is kept for it
	SafeWALSize    *int64        // bytes that can still be written until it is lost; nil: no limit, or lost
	Failover       bool          // 17 and later
	Synced         bool          // 17 and later: on a standby, copied from the primary
	Conflicting    bool          // 16 and later: invalidated by recovery on a standby
	Invalidation   string        // 17 and later: why it was invalidated, "" when it was not
	InactiveSince  *time.Time    // 17 and later
}

// Lost tells whether the slot can never be read again.
func (s *Slot) Lost() bool { return s.WALStatus == "lost" || s.Conflicting || s.Invalidation != "" }

// Columns of newer versions are looked up in the row's JSON, so that one statement serves 14 to 18. On a standby the end of
// the WAL is that of replay.
const selectSlots = `
SELECT s.slot_name::text, coalesce(s.plugin::text, ''), coalesce(s.database::text, ''), s.temporary, s.two_phase, coalesce(s.active_pid, 0),
       coalesce(s.confirmed_flush_lsn, '0/0')::text, coalesce(s.restart_lsn, '0/0')::text, coalesce(s.wal_status, ''),
       coalesce(pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                                           ELSE pg_catalog.pg_current_wal_lsn() END, s.restart_lsn), 0)::bigint,
       s.safe_wal_size,
       coalesce((j ->> 'failover')::boolean, false), coalesce((j ->> 'synced')::boolean, false),
       coalesce((j ->> 'conflicting')::boolean, false), coalesce(j ->> 'invalidation_reason', ''), (j ->> 'inactive_since')::timestamptz
  FROM pg_catalog.pg_replication_slots s, pg_catalog.to_jsonb(s) j`

// ListSlots returns all slots of the cluster, of every kind and database, by name.
func ListSlots(ctx context.Context, db DB) ([]Slot, error) {
	slots, err := querySlots(ctx, db, " ORDER BY s.slot_name")
	if err != nil {
		return nil, fmt.Errorf("list slots: %w", err)
	}
	return slots, nil
}

// LookSlot returns one slot; ErrSlotMissing when there is none of that name.
func LookSlot(ctx context.Context, db DB, name string) (*Slot, error) {
	slots, err := querySlots(ctx, db, " WHERE s.slot_name = $1", name)
	if err == nil && len(slots) == 0 {
		err = ErrSlotMissing
	}
	if err != nil {
		return nil, fmt.Errorf("look at slot %q: %w", name, err)
	}
	return &slots[0], nil
}

func querySlots(ctx context.Context, db DB, where string, args ...any) ([]Slot, error) {
	rows, err := db.Query(ctx, selectSlots+where, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Slot, err error) {
		var confirmed, restart string
		err = row.Scan(&s.Name, &s.Plugin, &s.Database, &s.Temporary, &s.TwoPhase, &s.ActivePID, &confirmed, &restart, &s.WALStatus,
			&s.RetainedBytes, &s.SafeWALSize, &s.Failover, &s.Synced, &s.Conflicting, &s.Invalidation, &s.InactiveSince)
		if err != nil {
			return s, err
		}
		var err1, err2 error
		s.ConfirmedFlush, err1 = pglogrepl.ParseLSN(confirmed)
		s.Restart, err2 = pglogrepl.ParseLSN(restart)
		return s, errors.Join(err1, err2)
	})
}

// DropSlot drops a slot that nobody has. A taken one is refused by the server: 55006, Class says Standby and names the
// owner. The caller has asked a person (I10).
func DropSlot(ctx context.Context, db DB, name string) error {
	if _, err := db.Exec(ctx, "SELECT pg_catalog.pg_drop_replication_slot($1)", name); err != nil {
		return fmt.Errorf("drop slot %q: %w", name, err)
	}
	return nil
}

// AdvanceSlot moves a slot that nobody has to lsn, at most to the end of the WAL, and returns where it is then. Events
// before that will not be sent: the caller has asked a person (I10). The server refuses to move it back (55000).
func AdvanceSlot(ctx context.Context, db DB, name string, lsn pglogrepl.LSN) (pglogrepl.LSN, error) {
	var end string
	err := db.QueryRow(ctx, "SELECT end_lsn::text FROM pg_catalog.pg_replication_slot_advance($1, $2::pg_lsn)", name, lsn.String()).Scan(&end)
	if err != nil {
		return 0, fmt.Errorf("advance slot %q to %s: %w", name, lsn, err)
	}
	return pglogrepl.ParseLSN(end)
}

// TerminateOwner ends the walsender that holds the slot, if it is still the one with this process id: never a newcomer.
// It needs no more than being the same role. ended is false when the slot had changed hands; the slot is free some 0.05 to
// 0.2 s after it was true.
func TerminateOwner(ctx context.Context, db DB, name string, pid uint32) (ended bool, err error) {
	err = db.QueryRow(ctx, `SELECT coalesce(pg_catalog.bool_or(pg_catalog.pg_terminate_backend(s.active_pid)), false)
		FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1 AND s.active_pid = $2`, name, int64(pid)).Scan(&ended)
	if err != nil {
		return false, fmt.Errorf("terminate walsender %d of slot %q: %w", pid, name, err)
	}
	return ended, nil
}
