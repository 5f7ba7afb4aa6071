package checkpoint

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// What a Store's methods return, inside an error that says which slot and why. Ask with errors.Is.
var (
	// ErrNoSchema: schema cdc_relay, or one of its functions, is not there. Run `cdc-relay migrate up`.
	ErrNoSchema = errors.New("the schema is missing or too old: run `cdc-relay migrate up`")
	// ErrNotGranted: the role may not use the schema. Run `cdc-relay migrate up` with migrate.relay_role.
	ErrNotGranted = errors.New("the role lacks its rights: run `cdc-relay migrate up` with migrate.relay_role set to it")
	// ErrProtocol: binary and schema do not fit. Stand by.
	ErrProtocol = errors.New("protocol does not fit")
	// ErrFenced: the slot is not streamed by the writer's walsender. The writer is no longer the owner: end the session.
	ErrFenced = errors.New("fenced")
	// ErrPublicationChanged: the publication is not the one that the mark was written for. Stop; `publication accept`.
	ErrPublicationChanged = errors.New("publication changed")
	// ErrPublicationUnusable: there is no publication, or it is FOR ALL TABLES or IN SCHEMA. Stop.
	ErrPublicationUnusable = errors.New("publication cannot be used")
	// ErrIncarnation: the mark belongs to another history (repaired, adopted, another server). Read it again and start over.
	ErrIncarnation = errors.New("mark of another incarnation")
	// ErrNoMark: the slot has no mark, or one that was never completed. Stop.
	ErrNoMark = errors.New("no mark")
	// ErrBackwards: the position lies before the mark's. Read it again and start over.
	ErrBackwards = errors.New("mark would go back")
	// ErrHorizon: the horizon was sampled after the position. A mistake of the caller's.
	ErrHorizon = errors.New("horizon lies after the mark")
	// ErrMarkExists: a first start met a finished mark. Look again.
	ErrMarkExists = errors.New("mark exists")
	// ErrClaimed: another session holds the claim. Stand by.
	ErrClaimed = errors.New("first start is claimed")
	// ErrNonce: another first start has overtaken this one. Stand by.
	ErrNonce = errors.New("first start was overtaken")
	// ErrNoSlot: there is no such logical slot in this database.
	ErrNoSlot = errors.New("no slot")
	// ErrSlotActive: the slot exists or is streamed and must not for this.
	ErrSlotActive = errors.New("slot is in use")
)

// errAgain: the first of two steps is done, call once more.
var errAgain = errors.New("again")

// codeError is a refusal by one of the database's functions.
type codeError struct {
	sentinel error
	detail   string
}

func (e *codeError) Error() string { return e.sentinel.Error() + ": " + e.detail }
func (e *codeError) Unwrap() error { return e.sentinel }

// codeErr translates a function's answer.
func codeErr(code, detail string) error {
	var sentinel error
	switch code {
	case "ok", "equal":
		return nil
	case "again":
		return errAgain
	case "fenced":
		sentinel = ErrFenced
	case "publication":
		sentinel = ErrPublicationChanged
	case "incarnation":
		sentinel = ErrIncarnation
	case "no_mark":
		sentinel = ErrNoMark
	case "backwards":
		sentinel = ErrBackwards
	case "horizon":
		sentinel = ErrHorizon
	case "exists":
		sentinel = ErrMarkExists
	case "claimed":
		sentinel = ErrClaimed
	case "nonce":
		sentinel = ErrNonce
	case "no_slot":
		sentinel = ErrNoSlot
	case "active":
		sentinel = ErrSlotActive
	default:
		return fmt.Errorf("unknown answer %q (%s): the schema is newer than this binary", code, detail)
	}
	return &codeError{sentinel, detail}
}

// explain turns what the server says about a missing schema or right into what to do. SQLSTATEs: Postgres manual, appendix A.
func explain(err error) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case "3F000", "42883", "42P01": // no such schema, function, table
		return fmt.Errorf("%w (%s)", ErrNoSchema, e.Message)
	case "42501": // insufficient privilege
		return fmt.Errorf("%w (%s)", ErrNotGranted, e.Message)
	}
	return err
}
