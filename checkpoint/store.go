package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// Store is the client of one slot's mark, over one connection. It may not be used by two goroutines at once, and the
// connection may not be in a transaction: each call is one of its own, so each read sees what was committed before it.
//
// The role needs EXECUTE on the functions of schema cdc_relay, which `cdc-relay migrate up` grants it. The first call takes
// statement_timeout and lock_timeout off the connection: a mark that waits for a slow disk or a slow standby has to wait.
type Store struct {
	conn     *pgx.Conn
	slot     string
	prepared bool
}

// NewStore returns the client of slot's mark. It does not touch conn yet and never closes it.
func NewStore(conn *pgx.Conn, slot string) *Store { return &Store{conn: conn, slot: slot} }

// The numbers of the protocol between binary and database that this binary speaks (DESIGN 7a, versions).
const (
	ProtocolVersion = 1 // what it was written for
	ProtocolMinimum = 1 // the oldest schema that it runs on
)

// Protocol is what the database says about its schema.
type Protocol struct {
	Version        int // of the schema
	CompatibleFrom int // the oldest binary that may run on it
}

// Check returns an error matching ErrProtocol when this binary may not run on the schema. It then stands by, without
// claiming anything: a rolling update is under way, or one side is to be updated.
func (p Protocol) Check() error {
	switch {
	case p.Version < ProtocolMinimum:
		return fmt.Errorf("%w: the schema has protocol %d and this binary needs %d: run `cdc-relay migrate up`", ErrProtocol, p.Version, ProtocolMinimum)
	case p.CompatibleFrom > ProtocolVersion:
		return fmt.Errorf("%w: the schema serves binaries from protocol %d on and this one speaks %d: update it", ErrProtocol, p.CompatibleFrom, ProtocolVersion)
	}
	return nil
}

// Protocol reads the number of the schema's protocol. Without a schema it returns ErrNoSchema.
func (s *Store) Protocol(ctx context.Context) (Protocol, error) {
	var p Protocol
	err := s.query(ctx, "SELECT version, compatible_from FROM cdc_relay.protocol_v1()", nil, &p.Version, &p.CompatibleFrom)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNoSchema
	}
	if err != nil {
		return Protocol{}, fmt.Errorf("read the schema's protocol: %w", err)
	}
	return p, nil
}

// Read returns the slot's mark, nil when it has none. The mark is the caller's.
func (s *Store) Read(ctx context.Context) (*Mark, error) {
	m := Mark{Slot: s.slot}
	var lsn, openCommit, horizonLSN, horizonXID string
	err := s.query(ctx, `
		SELECT publication, state = 'creating', nonce, system_id, timeline, incarnation, lsn::text, open_commit::text, open_index,
		       open_hash, fingerprint, horizon_xid::text, horizon_lsn::text, paused
		  FROM cdc_relay.checkpoint_read_v1($1)`, []any{s.slot},
		&m.Publication, &m.Creating, &m.Nonce, &m.SystemID, &m.Timeline, &m.Incarnation, &lsn, &openCommit, &m.OpenIndex,
		&m.OpenHash, &m.Fingerprint, &horizonXID, &horizonLSN, &m.Paused)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		err = errors.Join(parseLSN(&m.LSN, lsn), parseLSN(&m.OpenCommit, openCommit), parseLSN(&m.HorizonLSN, horizonLSN), parseXID(&m.HorizonXID, horizonXID))
	}
	if err != nil {
		return nil, fmt.Errorf("read the mark of slot %q: %w", s.slot, err)
	}
	return &m, nil
}

// Lock tries to claim the slot's first start, before the slot exists: a session advisory lock whose key is made of the slot's
// name. False: another session holds it. It goes with the connection at the latest.
func (s *Store) Lock(ctx context.Context) (bool, error) {
	var ok bool
	if err := s.query(ctx, "SELECT pg_catalog.pg_try_advisory_lock(cdc_relay.claim_key_v1($1))", []any{s.slot}, &ok); err != nil {
		return false, fmt.Errorf("claim the first start of slot %q: %w", s.slot, err)
	}
	return ok, nil
}

// Unlock gives the claim back.
func (s *Store) Unlock(ctx context.Context) error {
	var held bool
	if err := s.query(ctx, "SELECT pg_catalog.pg_advisory_unlock(cdc_relay.claim_key_v1($1))", []any{s.slot}, &held); err != nil {
		return fmt.Errorf("give back the claim on slot %q: %w", s.slot, err)
	}
	if !held {
		return fmt.Errorf("give back the claim on slot %q: this session does not hold it", s.slot)
	}
	return nil
}

// Intent writes the row of a first start, before the slot is made: publication, nonce, system identifier, timeline and
// incarnation are m's, fingerprint and horizon the database's. An intent that somebody left behind is replaced.
// ErrClaimed: another session holds the claim. ErrMarkExists: the slot has a finished mark. ErrPublicationUnusable.
func (s *Store) Intent(ctx context.Context, m Mark) error {
	if m.Nonce == "" || m.SystemID == "" || m.Incarnation == "" {
		return fmt.Errorf("intend slot %q: nonce, system identifier and incarnation must not be empty", s.slot)
	}
	err := s.call(ctx, "SELECT code, coalesce(detail, '') FROM cdc_relay.intent_v1($1, $2, $3, $4, $5, $6)",
		s.slot, m.Publication, m.Nonce, m.SystemID, m.Timeline, m.Incarnation)
	if err != nil {
		return fmt.Errorf("intend slot %q: %w", s.slot, unusable(err))
	}
	return nil
}

// Complete makes the intent with that nonce the mark: the slot stands, and lsn is where it starts.
// ErrClaimed, ErrNoMark, ErrMarkExists, ErrNonce (another start wrote its intent since), ErrPublicationChanged.
func (s *Store) Complete(ctx context.Context, nonce string, lsn pglogrepl.LSN) error {
	err := s.call(ctx, "SELECT code, coalesce(detail, '') FROM cdc_relay.complete_v1($1, $2, $3::text::pg_lsn)", s.slot, nonce, lsn.String())
	if err != nil {
		return fmt.Errorf("complete the mark of slot %q at %s: %w", s.slot, lsn, err)
	}
	return nil
}

// query runs one statement of one row.
func (s *Store) query(ctx context.Context, sql string, args []any, into ...any) error {
	if !s.prepared {
		if _, err := s.conn.Exec(ctx, "SET statement_timeout = 0; SET lock_timeout = 0"); err != nil {
			return err
		}
		s.prepared = true
	}
	return explain(s.conn.QueryRow(ctx, sql, args...).Scan(into...))
}

// call runs a function that answers with a code.
func (s *Store) call(ctx context.Context, sql string, args ...any) error {
	var code, detail string
	if err := s.query(ctx, sql, args, &code, &detail); err != nil {
		return err
	}
	return codeErr(code, detail)
}

func parseLSN(into *pglogrepl.LSN, text string) (err error) {
	*into, err = pglogrepl.ParseLSN(text)
	return err
}

func parseXID(into *uint64, text string) (err error) {
	*into, err = strconv.ParseUint(text, 10, 64)
	return err
}
