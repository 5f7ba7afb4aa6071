package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// Querier runs statements: in a transaction, or each in its own.
type Querier interface {
	// Exec runs a statement and returns the number of rows that it touched. Without arguments the text may hold several.
	Exec(ctx context.Context, sql string, args ...any) (int64, error)
	// Query runs a statement and calls row for each row, with a function that scans it. Columns are text, bigint, boolean, bytea
	// and timestamptz; nulls go to pointers of pointers.
	Query(ctx context.Context, sql string, args []any, row func(scan func(into ...any) error) error) error
}

// Driver is what a store needs of a driver.
type Driver[T any] interface {
	// In returns the caller's transaction as a Querier.
	In(tx T) Querier
	// Auto returns a Querier whose statements commit themselves.
	Auto() Querier
	// Tx is that of inbox.Claims.
	Tx(ctx context.Context, f func(ctx context.Context, tx T) error) error
}

// Store has the methods of inbox.Store but Tx and Wait, which are the driver's.
type Store[T any] struct{ d Driver[T] }

// New returns a Store over a driver.
func New[T any](d Driver[T]) *Store[T] { return &Store[T]{d: d} }

// Fail says what an error of one of the store's own statements means. It is never the message's fault, but for 25P02: then a
// statement of the handler had failed before, and it did not say so.
func Fail(doing string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", doing, err)
	switch state := SQLState(err); state {
	case "25P02":
		return fmt.Errorf("the handler returned no error, but one of its statements had failed: %w", err)
	case "3F000", "42P01", "42883", "42703", "P0002":
		err = fmt.Errorf("%w (run `cdc-relay inbox migrate`, or Migrate of the store's package): %w", inbox.ErrNoSchema, err)
		return &inbox.DatabaseError{Err: err}
	default:
		return &inbox.DatabaseError{Err: err, Conflict: conflict(state)}
	}
}

// SQLState is the code that the server gave an error, or "".
func SQLState(err error) string {
	var s interface{ SQLState() string }
	if errors.As(err, &s) {
		return s.SQLState()
	}
	return ""
}

func conflict(state string) bool { return state == "40001" || state == "40P01" }

// HandlerError says what an error that came out of a transaction's function means: the database's, when the server gave up, or
// lost tells that the connection is gone; else the error as it is.
func HandlerError(err error, lost bool) error {
	var db *inbox.DatabaseError
	if err == nil || errors.As(err, &db) {
		return err
	}
	switch state := SQLState(err); {
	case conflict(state):
		return &inbox.DatabaseError{Err: err, Conflict: true}
	case lost, serverGone(state):
		return &inbox.DatabaseError{Err: err}
	}
	return err
}

// CommitError says what an error of COMMIT means. A constraint that is checked at the end is the handler's failure; after anything
// that is not the server's word it is not known whether the transaction took effect.
func CommitError(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("commit: %w", err)
	switch state := SQLState(err); {
	case conflict(state):
		return &inbox.DatabaseError{Err: err, Conflict: true}
	case state == "" || serverGone(state):
		return &inbox.DatabaseError{Err: err, Commit: true}
	}
	return err
}

// serverGone: connection exceptions, shutdown, no resources, a server that became a standby, its internal errors.
func serverGone(state string) bool {
	if len(state) != 5 {
		return false
	}
	return slices.Contains([]string{"08", "53", "58", "XX"}, state[:2]) || strings.HasPrefix(state, "57P") || state == "25006"
}

// texts writes an array of texts as Postgres reads it; each element through f, "" with false is NULL.
func texts[E any](all []E, f func(E) (string, bool)) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		s, ok := f(e)
		if !ok {
			b.WriteString("NULL")
			continue
		}
		b.WriteByte('"')
		for _, r := range []byte(s) {
			if r == '"' || r == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(r)
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

func uuids(ids []inbox.UID) string {
	var b strings.Builder
	b.Grow(2 + 37*len(ids))
	b.WriteByte('{')
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(id.String())
	}
	b.WriteByte('}')
	return b.String()
}
