package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Errors that a caller can do something about.
var (
	// ErrFenced: the walsender does not hold the slot. The caller is not the owner any more: it stops publishing.
	ErrFenced = errors.New("not the owner of the slot")
	// ErrNotFound: no dead letter has that id, or the slot has no mark.
	ErrNotFound = errors.New("not found")
	// ErrPassed: the position lies before the mark, so there is nothing to skip.
	ErrPassed = errors.New("the mark has passed the position")
	// ErrConflict: the position is a dead letter already; it holds nothing back. Requeue or drop it by its id.
	ErrConflict = errors.New("the position is a dead letter")
)

// pageRows bounds what is read in one piece.
const pageRows = 1000

// Store is the dead letters of one slot, over a connection that it does not own. Like the connection it is for one
// goroutine at a time.
type Store struct {
	conn *pgx.Conn
	slot string
}

// NewStore returns the dead letters of slot. The connection's transactions must be READ COMMITTED and synchronous, as
// they are by default: an ack rests on Park.
func NewStore(conn *pgx.Conn, slot string) *Store { return &Store{conn: conn, slot: slot} }

// Key is what parks: events of one topic and key. A nil Key is the null key, which is not the empty one.
type Key struct {
	Topic string
	Key   []byte
}

// Counts is how much is unresolved now.
type Counts struct {
	Unresolved int64 // rows in parked, dead, requeue or drop: what limits.max_parked bounds
	Marked     int64 // those of them that wait for the owner
	Keys       int64 // parked keys
}

// Counts reads partial indexes: nothing to speak of while nothing is parked, some milliseconds for 10,000 rows.
func (s *Store) Counts(ctx context.Context) (Counts, error) {
	var c Counts
	err := s.conn.QueryRow(ctx, "SELECT unresolved, marked, keys FROM cdc_relay.dead_letter_counts_v1($1)", s.slot).
		Scan(&c.Unresolved, &c.Marked, &c.Keys)
	return c, s.wrap("count dead letters", err)
}

// wrap says what was done for which slot, and turns the functions' SQLSTATEs into errors of this package.
func (s *Store) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "CDR01":
			return fmt.Errorf("%s of slot %q: %w: %s", what, s.slot, ErrFenced, pg.Message)
		case "CDR02":
			return fmt.Errorf("%s of slot %q: %w: %s", what, s.slot, ErrNotFound, pg.Message)
		case "CDR03":
			return fmt.Errorf("%s of slot %q: %w: %s", what, s.slot, ErrPassed, pg.Message)
		case "CDR04":
			return fmt.Errorf("%s of slot %q: %w: %s", what, s.slot, ErrConflict, pg.Message)
		}
	}
	return fmt.Errorf("%s of slot %q: %w", what, s.slot, err)
}

const letterColumns = `id, incarnation, commit_lsn, idx, alone, topic, key, value, coalesce(value_bytes, 0),
	headers, header_count, commit_time, coalesce(partition, -1), event_id, event_type, aggregate_type, aggregate_id,
	source_table, seq, xid, reason, error, tries, parked_at, state, state_by, state_at, state_why, resolved_at`

func scanLetter(row pgx.CollectableRow) (Letter, error) {
	var (
		l                   Letter
		index, xid          int64
		committed, resolved *time.Time
	)
	err := row.Scan(&l.ID, &l.Incarnation, &l.Commit, &index, &l.Alone, &l.Topic, &l.Key, &l.Value, &l.ValueBytes,
		&l.Headers.Bytes, &l.Headers.Count, &committed, &l.Partition, &l.EventID, &l.EventType, &l.AggregateType, &l.AggregateID,
		&l.Table, &l.Seq, &xid, &l.Reason, &l.Error, &l.Tries, &l.ParkedAt, &l.State, &l.StateBy, &l.StateAt, &l.StateWhy, &resolved)
	if err != nil {
		return l, err
	}
	l.Index, l.XID = uint32(index), uint32(xid)
	if committed != nil {
		l.CommitTime = committed.UnixMicro()
	}
	if resolved != nil {
		l.ResolvedAt = *resolved
	}
	return l, nil
}
