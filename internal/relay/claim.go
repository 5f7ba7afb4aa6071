package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/replication"
)

// slotTimeout bounds the making of a slot, which waits for every open transaction.
const slotTimeout = 30 * time.Second

// claim looks at slot and mark, makes them at the first start, and starts the stream. It returns errStandby while somebody
// else holds the slot, and a *StopError when an operator has to decide.
func (s *session) claim(ctx context.Context) error {
	protocol, err := s.ledger.Protocol(ctx)
	if err != nil {
		return err
	}
	if err := protocol.Check(); err != nil {
		return fmt.Errorf("%w: %w", errStandby, err)
	}
	cfg := s.relay.cfg
	for {
		slot, err := s.ledger.Slot(ctx) // the slot first: a healthy owner moves the mark, then the slot
		if err != nil {
			return err
		}
		mark, err := s.ledger.Read(ctx)
		if err != nil {
			return err
		}
		if slot == nil && mark != nil && !mark.Creating { // missing, or made between the two looks by another's first start
			if slot, err = s.ledger.Slot(ctx); err != nil {
				return err
			}
			if slot != nil {
				continue // look again in the right order
			}
		}
		now, err := s.ledger.Sample(ctx) // the end of the WAL last: what the mark says was there before
		if err != nil {
			return err
		}
		sys := s.conn.System()
		action, from, err := checkpoint.Decide(cfg.Slot, checkpoint.Server{SystemID: sys.ID, Timeline: sys.Timeline, WALEnd: now.WALEnd}, slot, mark)
		switch {
		case err != nil:
			return &StopError{Code: ExitSlot, Err: err}
		case action == checkpoint.StandBy:
			return fmt.Errorf("%w: slot %q is held by walsender %d", errStandby, cfg.Slot, slot.ActivePID)
		}
		if t := &s.relay.tenure; mark != nil && t.sink != nil && t.source == source(mark, sys.Timeline) && mark.LSN < t.last.LSN {
			return &StopError{Code: ExitSlot, Err: &checkpoint.UnusableError{
				Slot: cfg.Slot, What: fmt.Sprintf("has its mark at %s, and this relay wrote it at %s: the server was restored from a backup, and positions come again", mark.LSN, t.last.LSN),
				Cure: fmt.Sprintf("if the restore was meant, `cdc-relay slot adopt %s --new-incarnation` goes on from where the slot stands", cfg.Slot),
			}}
		}
		if err := s.inspect(ctx, mark); err != nil {
			return err
		}
		if action != checkpoint.Stream {
			if err := s.firstStart(ctx, sys); err != nil {
				return err
			}
			continue // look again, as any other start does
		}
		// From the mark, also when more has been acked since: the first status says where we start, and nothing is confirmed
		// that the mark does not hold. What was handed on before is read again and passed over.
		if s.spans, err = s.ledger.MessageSpans(ctx, mark); err != nil {
			return err
		}
		s.straight.on = cfg.Messages || len(s.spans) > 0
		s.conn.Messages(s.straight.on)
		if s.stream, err = s.conn.Start(ctx, from); err != nil {
			return err
		}
		// Between our look and the start another owner may have streamed and gone: then the mark has moved, and we begin anew.
		again, err := s.ledger.Read(ctx)
		if err != nil {
			return err
		}
		if again == nil || *again != *mark {
			return errors.New("the mark moved while the slot was being claimed")
		}
		s.mark = *mark
		return nil
	}
}

// inspect looks at the publication before anything is read with it: the mark would find a change too, but only after the
// events behind it were published, and again at each start.
func (s *session) inspect(ctx context.Context, mark *checkpoint.Mark) error {
	notes, err := s.ledger.Inspect(ctx, s.relay.cfg.Publication, mark)
	read := mark != nil && !mark.Creating
	switch {
	case errors.Is(err, checkpoint.ErrPublicationChanged):
		return s.relay.publicationChanged(err)
	case errors.Is(err, replication.ErrPublicationMissing) && read:
		return &StopError{Code: ExitSlot, Err: fmt.Errorf("%w: it was there when the mark was written, so rows may have been skipped since; make it with `cdc-relay publication create`, which says how to go on", err)}
	case errors.Is(err, replication.ErrPublicationWrong):
		return &StopError{Code: ExitPrecondition, Err: err}
	case err != nil:
		return err
	}
	if s.relay.cfg.Messages {
		note, err := s.messageRights(ctx)
		if err != nil {
			return err
		}
		notes = append(notes, note...)
	}
	if !read || !s.resumes(mark) {
		for _, note := range notes {
			s.relay.log.Warn().Msg(note)
		}
	}
	return nil
}

// publicationChanged is the stop when the publication is not the one that the mark belongs to.
func (r *Relay) publicationChanged(err error) error {
	return &StopError{Code: ExitSlot, Err: fmt.Errorf("%w; rows of slot %q may have been skipped while publication %q was different: look for them in the outbox, then `cdc-relay publication accept` goes on", err, r.cfg.Slot, r.cfg.Publication)}
}

// firstStart makes slot and mark, or finishes what a start that died began. Several replicas may be here at once: the lock,
// whose key is the slot's name, lets one through. The intent stands before the slot, so a crash between the two is no riddle.
func (s *session) firstStart(ctx context.Context, sys replication.System) error {
	cfg := s.relay.cfg
	got, err := s.ledger.Lock(ctx)
	if err != nil {
		return err
	}
	if !got {
		return fmt.Errorf("%w: another replica is making slot %q", errStandby, cfg.Slot)
	}
	defer func() { _ = s.ledger.Unlock(context.WithoutCancel(ctx)) }()

	slot, err := s.ledger.Slot(ctx)
	if err != nil {
		return err
	}
	mark, err := s.ledger.Read(ctx)
	switch {
	case err != nil:
		return err
	case mark != nil && !mark.Creating:
		return nil // somebody else finished it before we had the lock
	case mark != nil && slot != nil: // the slot stands, nobody has streamed from it
		s.relay.log.Info().Stringer(keyLSN, slot.Confirmed).Msg("completing a first start that was interrupted")
		return s.complete(ctx, mark.Nonce, slot.Confirmed)
	case slot != nil:
		return nil // Decide says what to do about a slot without a mark
	}

	nonce := rand.Text()
	err = s.ledger.Intent(ctx, checkpoint.Mark{
		Slot: cfg.Slot, Publication: cfg.Publication, Nonce: nonce,
		SystemID: sys.ID, Timeline: sys.Timeline, Incarnation: rand.Text()[:8],
	})
	switch {
	case errors.Is(err, checkpoint.ErrClaimed):
		return fmt.Errorf("%w: %w", errStandby, err)
	case errors.Is(err, checkpoint.ErrPublicationUnusable):
		return &StopError{Code: ExitPrecondition, Err: err}
	case err != nil:
		return err
	}
	bounded, done := context.WithTimeoutCause(ctx, slotTimeout, fmt.Errorf("no consistent point within %s: a transaction is open (pg_stat_activity), or prepared (pg_prepared_xacts)", slotTimeout))
	defer done()
	point, err := s.conn.CreateSlot(bounded, cfg.Slot, cfg.Failover != nil && cfg.Failover(sys.Version))
	if err != nil {
		return err
	}
	return s.complete(ctx, nonce, point)
}

// complete makes the intent the mark. The rows that nobody will publish are counted before: a start that cannot read the
// outbox has not happened, and the next one counts them.
func (s *session) complete(ctx context.Context, nonce string, point pglogrepl.LSN) error {
	older, err := s.ledger.OlderRows(ctx)
	if err != nil {
		return err
	}
	if err := s.ledger.Complete(ctx, nonce, point); err != nil {
		return err
	}
	line := s.relay.log.Info().Stringer(keyLSN, point)
	if older > 0 {
		var tables []string
		for _, t := range s.relay.cfg.Decoder.Tables {
			tables = append(tables, t.Name)
		}
		line = s.relay.log.Warn().Stringer(keyLSN, point).Int64("older_rows", older).Strs("tables", tables)
	}
	line.Msg("first start: slot and mark made; rows of the outbox that were committed before are not published")
	return nil
}

// resumes tells whether the mark stands as this process left it: then nobody else has had the slot, and what the sink holds
// is still ours to deliver.
func (s *session) resumes(mark *checkpoint.Mark) bool {
	t := &s.relay.tenure
	return t.sink != nil && t.source == source(mark, s.conn.System().Timeline) && (leftAs(mark, t.last) || leftAs(mark, t.trying))
}

func leftAs(m *checkpoint.Mark, u checkpoint.Update) bool {
	return m.SystemID == u.SystemID && m.Incarnation == u.Incarnation && m.LSN == u.LSN && m.OpenCommit == u.OpenCommit && m.OpenIndex == u.OpenIndex
}
