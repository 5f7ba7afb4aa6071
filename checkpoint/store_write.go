package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pglogrepl"
)

// Write raises the mark. When it returns nil the mark is durable, whatever synchronous_commit the role has, and u.LSN may be
// confirmed to the slot. walsenderPID is the backend of the caller's replication connection.
//
// The position is (LSN, OpenCommit, OpenIndex), compared in that order, and all columns are written together. An equal position
// writes nothing, but is fenced and compares the publication as any other. A zero HorizonLSN leaves the horizon as it is.
//
// ErrFenced, ErrPublicationChanged (says the difference), ErrIncarnation, ErrNoMark, ErrBackwards, ErrHorizon; then nothing was
// written. After any other error it is not known whether it was: write again, or read.
func (s *Store) Write(ctx context.Context, walsenderPID uint32, u Update) error {
	err := s.call(ctx, `
		SELECT code, coalesce(detail, '') FROM cdc_relay.mark_v1($1, $2, $3, $4, $5,
		       $6::text::pg_lsn, $7::text::pg_lsn, $8, $9, $10::text::xid8, $11::text::pg_lsn)`,
		s.slot, int32(walsenderPID), u.SystemID, u.Timeline, u.Incarnation,
		u.LSN.String(), u.OpenCommit.String(), int64(u.OpenIndex), u.OpenHash, strconv.FormatUint(u.HorizonXID, 10), u.HorizonLSN.String())
	if err != nil {
		return fmt.Errorf("write the mark of slot %q at %s: %w", s.slot, u.LSN, err)
	}
	return nil
}

// Sample is what the owner of a slot looks at once a second.
type Sample struct {
	InRecovery bool          // the server is a standby: no mark can be written here
	WALEnd     pglogrepl.LSN // pg_current_wal_lsn; on a standby the replayed one

	// A horizon pair: whatever commits after HorizonLSN has an xid at or above HorizonXID. A mark at L carries the newest pair
	// whose LSN is at or below L.
	HorizonXID uint64
	HorizonLSN pglogrepl.LSN

	Marked    bool  // the slot has a row
	Paused    bool  // by `cdc-relay pause`
	Requested int64 // dead letters that a verb marked for requeue or drop
	OutboxSeq int64 // the last number that the outbox's sequence gave, 0: none; it runs ahead of what is committed

	SlotExists  bool
	Confirmed   pglogrepl.LSN // confirmed_flush_lsn, 0: not known
	Restart     pglogrepl.LSN // restart_lsn, 0: lost or not known
	ActivePID   int32         // the walsender that holds the slot, 0: none
	WALStatus   string        // reserved, extended, unreserved or lost
	SafeWALSize *int64        // bytes that may be written before the slot is in danger, nil: no limit is set (or it is lost)
}

// Sample reads it in one round trip.
func (s *Store) Sample(ctx context.Context) (Sample, error) {
	var out Sample
	var walEnd, horizonLSN, confirmed, restart, horizonXID string
	err := s.query(ctx, `
		SELECT in_recovery, wal_end::text, horizon_xid::text, horizon_lsn::text, marked, paused, requested, outbox_seq, slot_exists,
		       coalesce(confirmed_flush_lsn, '0/0')::text, coalesce(restart_lsn, '0/0')::text, coalesce(active_pid, 0),
		       coalesce(wal_status, ''), safe_wal_size
		  FROM cdc_relay.sample_v1($1)`, []any{s.slot},
		&out.InRecovery, &walEnd, &horizonXID, &horizonLSN, &out.Marked, &out.Paused, &out.Requested, &out.OutboxSeq, &out.SlotExists,
		&confirmed, &restart, &out.ActivePID, &out.WALStatus, &out.SafeWALSize)
	if err == nil {
		err = errors.Join(parseLSN(&out.WALEnd, walEnd), parseLSN(&out.HorizonLSN, horizonLSN), parseXID(&out.HorizonXID, horizonXID),
			parseLSN(&out.Confirmed, confirmed), parseLSN(&out.Restart, restart))
	}
	if err != nil {
		return Sample{}, fmt.Errorf("sample slot %q: %w", s.slot, err)
	}
	return out, nil
}

// MessageSpans returns the slot's spans, oldest first; those that can still concern a transaction that commits after
// the mark. A schema that is too old for messages has none.
func (s *Store) MessageSpans(ctx context.Context, m *Mark) ([]MessageSpan, error) {
	var since, until, xid []string
	err := s.query(ctx, `
		SELECT coalesce(array_agg(since::text ORDER BY since), '{}'), coalesce(array_agg(coalesce(until, '0/0')::text ORDER BY since), '{}'),
		       coalesce(array_agg(coalesce(until_xid, '0')::text ORDER BY since), '{}')
		  FROM cdc_relay.message_spans_v1($1)`, []any{s.slot}, &since, &until, &xid)
	if errors.Is(err, ErrNoSchema) {
		return nil, nil
	}
	var spans []MessageSpan
	for i := range since {
		var span MessageSpan
		err = errors.Join(err, parseLSN(&span.Since, since[i]), parseLSN(&span.Until, until[i]), parseXID(&span.UntilXID, xid[i]))
		if span.Until == 0 || span.Until > m.LSN || span.UntilXID > m.HorizonXID {
			spans = append(spans, span)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the message spans of slot %q: %w", s.slot, err)
	}
	return spans, nil
}

// SwitchMessages opens a span, or closes the open one; a second time it changes nothing. walsenderPID is the backend of the
// caller's replication connection, which must not have decoded anything yet. ErrFenced, ErrIncarnation.
func (s *Store) SwitchMessages(ctx context.Context, walsenderPID uint32, incarnation string, on bool) error {
	for {
		err := s.call(ctx, "SELECT code, coalesce(detail, '') FROM cdc_relay.messages_v1($1, $2, $3, $4)", s.slot, int32(walsenderPID), incarnation, on)
		if err != nil && !errors.Is(err, errAgain) {
			return fmt.Errorf("switch messages of slot %q: %w", s.slot, err)
		}
		if err == nil {
			return nil
		}
	}
}

// MessageRights looks at the rights that messages stand on. ErrNoSchema: there is no emit_message.
func (s *Store) MessageRights(ctx context.Context) (r MessageRights, err error) {
	err = s.query(ctx, "SELECT open, coalesce(owner, ''), owner_may, coalesce(needed, '') FROM cdc_relay.message_rights_v1()", nil,
		&r.Public, &r.Owner, &r.OwnerMay, &r.Needed)
	if err != nil {
		return r, fmt.Errorf("read the rights on pg_logical_emit_message: %w", err)
	}
	return r, nil
}
