package deadletter

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// PendingBytes bounds the keys, values and headers of one Pending: 4 MiB, or a single row that is larger.
const PendingBytes = 4 << 20

// Pending returns marked rows, Requeue to publish and Drop to forget, in order of position: at most limit, at most
// PendingBytes. Those of underWay, which the caller has not reported yet, are left out; of one key they always come before
// what Pending returns.
//
// The owner publishes what it gets through the lane of its key, in this order, and reports by Done.
func (s *Store) Pending(ctx context.Context, limit int, underWay ...int64) ([]Letter, error) {
	if underWay == nil {
		underWay = []int64{}
	}
	rows, err := s.conn.Query(ctx, "SELECT "+letterColumns+" FROM cdc_relay.dead_letter_pending_v1($1, $2, $3, $4)",
		s.slot, limit, PendingBytes, underWay)
	if err != nil {
		return nil, s.wrap("read marked dead letters", err)
	}
	letters, err := pgx.CollectRows(rows, scanLetter)
	return letters, s.wrap("read marked dead letters", err)
}

// Outcome is what the owner did with a marked row.
type Outcome string

// The outcomes.
const (
	Published Outcome = "requeued" // the destination holds it
	Forgotten Outcome = "dropped"  // ignored when the row is not marked Drop any more
	// Refused: the destination rejected it again. It is parked once more, with the rows of its key behind it, and waits
	// for the operator. The caller does not publish those rows.
	Refused Outcome = "rejected"
)

// Result is the outcome of one row.
type Result struct {
	ID      int64
	Outcome Outcome
	Reason  string // with Refused
	Error   string // with Refused
}

// Done files results, and returns the keys that have no row left: they are not parked any more. Released is decided under
// the lock that Park takes, so a key that a call to Park has reached is not among them; events of a released key that the
// caller has taken over and not yet parked are still to be parked, and park the key anew. ErrFenced: another owns the slot.
func (s *Store) Done(ctx context.Context, walsenderPID uint32, results []Result) (released []Key, err error) {
	if len(results) == 0 {
		return nil, nil
	}
	ids, outcomes := make([]int64, len(results)), make([]string, len(results))
	reasons, errs := make([]string, len(results)), make([]string, len(results))
	for i, r := range results {
		ids[i], outcomes[i], reasons[i], errs[i] = r.ID, string(r.Outcome), text(r.Reason), text(r.Error)
	}
	rows, err := s.conn.Query(ctx, "SELECT topic, key FROM cdc_relay.dead_letter_done_v1($1, $2, $3, $4, $5, $6)",
		s.slot, int64(walsenderPID), ids, outcomes, reasons, errs)
	if err != nil {
		return nil, s.wrap("file results", err)
	}
	released, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Key])
	return released, s.wrap("file results", err)
}
