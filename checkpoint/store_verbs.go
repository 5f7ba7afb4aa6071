package checkpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// The verbs are an operator's: they are not fenced by a walsender, are written to cdc_relay.audit with the name given and the
// role, and notify channel cdc_relay with the slot's name.

// Adoption is what `slot adopt` knows.
type Adoption struct {
	Publication    string
	SystemID       string        // of the server, decimal
	Timeline       int32         // of the server
	LSN            pglogrepl.LSN // where the mark shall stand, at or after the slot's position; 0: there
	NewIncarnation bool          // always so when there is no mark yet or it is of another server
	By             string        // who asks
}

// Adopt makes the mark of a slot that exists, in place of the one it may have, and returns it: what lies before it counts as
// dealt with. ErrNoSlot, ErrSlotActive (a walsender streams it), ErrClaimed, ErrPublicationUnusable, ErrBackwards (the slot
// cannot send what lies before its position).
func (s *Store) Adopt(ctx context.Context, a Adoption) (*Mark, error) {
	err := s.call(ctx, "SELECT code, coalesce(detail, '') FROM cdc_relay.adopt_v1($1, $2, $3, $4, $5::text::pg_lsn, $6, $7)",
		s.slot, a.Publication, a.SystemID, a.Timeline, a.LSN.String(), a.NewIncarnation, a.By)
	if err != nil {
		return nil, fmt.Errorf("adopt slot %q: %w", s.slot, unusable(err))
	}
	return s.Read(ctx)
}

// AcceptPublication stores the publication as it is now as the one that the mark belongs to, and returns both in words.
// Rows may have been skipped between the change and now. ErrNoMark, ErrPublicationUnusable (before and after are set).
func (s *Store) AcceptPublication(ctx context.Context, by string) (before, after string, err error) {
	var code, detail string
	err = s.query(ctx, `SELECT code, coalesce(detail, ''), coalesce(before, ''), coalesce(after, '') FROM cdc_relay.accept_publication_v1($1, $2)`,
		[]any{s.slot, by}, &code, &detail, &before, &after)
	if err == nil {
		err = unusable(codeErr(code, detail))
	}
	if err != nil {
		err = fmt.Errorf("accept the publication of slot %q: %w", s.slot, err)
	}
	return before, after, err
}

// SetPaused pauses or resumes the slot's owner, who sees it in his next Sample or by the notification. ErrNoMark.
func (s *Store) SetPaused(ctx context.Context, paused bool, by string) error {
	if err := s.call(ctx, "SELECT code, coalesce(detail, '') FROM cdc_relay.pause_v1($1, $2, $3)", s.slot, paused, by); err != nil {
		return fmt.Errorf("pause or resume slot %q: %w", s.slot, err)
	}
	return nil
}

// Forget deletes the mark of a slot that was dropped on purpose, so that the next start is a first one. ErrSlotActive (it still
// exists), ErrNoMark.
func (s *Store) Forget(ctx context.Context, by string) error {
	if err := s.call(ctx, "SELECT code, coalesce(detail, '') FROM cdc_relay.forget_v1($1, $2)", s.slot, by); err != nil {
		return fmt.Errorf("forget the mark of slot %q: %w", s.slot, err)
	}
	return nil
}

// Fingerprint returns the fingerprint of a publication and the publication in words. It changes with every ALTER, also with
// one that is taken back, and when the publication or a table of it is dropped and made again.
// ErrPublicationUnusable: there is none, or it is FOR ALL TABLES, IN SCHEMA or empty; the error says the cure.
func Fingerprint(ctx context.Context, conn *pgx.Conn, publication string) (fingerprint, description string, err error) {
	var problem string
	err = explain(conn.QueryRow(ctx, "SELECT coalesce(fingerprint, ''), described, coalesce(problem, '') FROM cdc_relay.publication_v1($1)", publication).
		Scan(&fingerprint, &description, &problem))
	if err == nil && problem != "" {
		return "", description, fmt.Errorf("%w: %s", ErrPublicationUnusable, problem)
	}
	if err != nil {
		return "", "", fmt.Errorf("read publication %q: %w", publication, err)
	}
	return fingerprint, description, nil
}

// unusable says of a publication that a verb refuses that it cannot be used, not that it has changed.
func unusable(err error) error {
	var e *codeError
	if errors.As(err, &e) && errors.Is(e.sentinel, ErrPublicationChanged) {
		return &codeError{ErrPublicationUnusable, e.detail}
	}
	return err
}
