package deadletter

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/decoder"
)

// Filed is what Park found or made of one letter.
type Filed struct {
	ID int64
	// State is Parked or Dead for a new row; Requeue when its key drains, so that the owner has something to publish; and
	// whatever it was for a row that stood there. A Resolved one did not park its key again.
	State State
}

// Park files letters and parks their keys, in one transaction that is durable when it returns. Letters that stand already
// are left as they are, so that an attempt whose answer was lost can be made again. The answers are in the order of
// letters. ErrFenced: another owns the slot now.
//
// All letters of a call have one Incarnation. A caller bounds what it hands over: the whole call is one message.
func (s *Store) Park(ctx context.Context, walsenderPID uint32, letters []Letter) ([]Filed, error) {
	if len(letters) == 0 {
		return nil, nil
	}
	n := len(letters)
	var (
		commits, topics, ids, types           = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		aggTypes, aggIDs, tables              = make([]string, n), make([]string, n), make([]string, n)
		reasons, errs                         = make([]string, n), make([]string, n)
		keys, values, headers                 = make([][]byte, n), make([][]byte, n), make([][]byte, n)
		indexes, seqs, xids                   = make([]int64, n), make([]int64, n), make([]int64, n)
		alone, headerCounts, times, partition = make([]bool, n), make([]int32, n), make([]*time.Time, n), make([]*int32, n)
	)
	for i := range letters {
		l := &letters[i]
		if l.Incarnation != letters[0].Incarnation {
			return nil, fmt.Errorf("park %s: incarnation %q beside %q in one call", l.Position, l.Incarnation, letters[0].Incarnation)
		}
		commits[i], indexes[i] = l.Commit.String(), int64(l.Index)
		alone[i], topics[i], keys[i], values[i] = l.Alone, text(l.Topic), l.Key, l.Value
		headers[i], headerCounts[i] = l.Headers.Bytes, int32(l.Headers.Count)
		if headers[i] == nil {
			headers[i] = []byte{}
		}
		at := time.UnixMicro(l.CommitTime)
		times[i] = &at
		if l.Partition >= 0 {
			partition[i] = &l.Partition
		}
		ids[i], types[i], aggTypes[i], aggIDs[i] = text(l.EventID), text(l.EventType), text(l.AggregateType), text(l.AggregateID)
		tables[i], seqs[i], xids[i] = text(l.Table), l.Seq, int64(l.XID)
		reasons[i], errs[i] = text(l.Reason), text(l.Error)
	}
	rows, err := s.conn.Query(ctx, `SELECT id, state FROM cdc_relay.park_v1($1, $2, $3, $4::text[]::pg_lsn[], $5, $6, $7, $8, $9,
		$10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) ORDER BY ord`,
		s.slot, int64(walsenderPID), letters[0].Incarnation, commits, indexes, alone, topics, keys, values, headers, headerCounts,
		times, partition, ids, types, aggTypes, aggIDs, tables, seqs, xids, reasons, errs)
	if err != nil {
		return nil, s.wrap("park", err)
	}
	filed, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Filed])
	return filed, s.wrap("park", err)
}

// Keys returns the parked keys, read page by page. There are at most as many as unresolved rows, so limits.max_parked
// bounds them.
func (s *Store) Keys(ctx context.Context) ([]Key, error) {
	var keys []Key
	after := []byte{}
	for {
		rows, err := s.conn.Query(ctx, "SELECT lane, topic, key FROM cdc_relay.parked_keys_v1($1, $2, $3)", s.slot, after, pageRows)
		if err != nil {
			return nil, s.wrap("read parked keys", err)
		}
		page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k Key, err error) {
			err = row.Scan(&after, &k.Topic, &k.Key)
			return k, err
		})
		if err != nil {
			return nil, s.wrap("read parked keys", err)
		}
		keys = append(keys, page...)
		if len(page) < pageRows {
			return keys, nil
		}
	}
}

// Verdict is what became of the event at a position.
type Verdict struct {
	decoder.Position
	ID    int64
	State State
}

// Verdicts returns the rows of an incarnation that the mark has not passed, in order of position: an event at one of them
// that is read again is not published, whatever the state (it is held here, or done). A transaction whose commit record
// begins right at the mark is sent again, so that position is among them.
func (s *Store) Verdicts(ctx context.Context, incarnation string, mark pglogrepl.LSN) ([]Verdict, error) {
	var verdicts []Verdict
	from, index := mark, int64(0)
	for {
		rows, err := s.conn.Query(ctx, `SELECT commit_lsn, idx, id, state
			FROM cdc_relay.dead_letter_verdicts_v1($1, $2, $3, $4, $5)`, s.slot, incarnation, from.String(), index, pageRows)
		if err != nil {
			return nil, s.wrap("read verdicts", err)
		}
		page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (v Verdict, err error) {
			err = row.Scan(&from, &index, &v.ID, &v.State)
			v.Position = decoder.Position{Commit: from, Index: uint32(index)}
			return v, err
		})
		if err != nil {
			return nil, s.wrap("read verdicts", err)
		}
		verdicts = append(verdicts, page...)
		if len(page) < pageRows {
			return slices.Clip(verdicts), nil
		}
		index++
	}
}

// Prune deletes resolved rows that were resolved longer than keep ago and lie before mark (and before the mark that stands
// in the database), or belong to an incarnation that is over; some thousand a call. Unresolved rows are never touched (I10).
func (s *Store) Prune(ctx context.Context, walsenderPID uint32, mark pglogrepl.LSN, keep time.Duration) (deleted int64, err error) {
	err = s.conn.QueryRow(ctx, "SELECT cdc_relay.dead_letter_prune_v1($1, $2, $3, $4, 5000)",
		s.slot, int64(walsenderPID), mark.String(), keep).Scan(&deleted)
	return deleted, s.wrap("prune dead letters", err)
}
