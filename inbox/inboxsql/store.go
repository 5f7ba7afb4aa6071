package inboxsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/internal/pgstore"
)

// Store is an inbox.Store over database/sql. It may be used by several goroutines.
type Store struct {
	*pgstore.Store[*sql.Tx]
	handle handle
}

var _ inbox.Store[*sql.Tx] = (*Store)(nil)

// New returns a store. It connects to nothing; the schema is made by Migrate, once.
func New(db *sql.DB) *Store {
	h := handle{db}
	return &Store{Store: pgstore.New[*sql.Tx](h), handle: h}
}

// MigrateOptions are those of Migrate; the zero value is usable.
type MigrateOptions struct {
	KeepDays    int    // days for which claims are kept: longer than anything is delivered again. 0: as it is, 8 at first
	PremakeDays int    // days made ahead. 0: as it is, 3 at first
	Role        string // role that is granted what a consumer needs; "": none
}

// Migrate makes schema cdc_inbox, or brings it up to date, as its owner. Again, or two at once: no harm. It makes the days, too.
func Migrate(ctx context.Context, db *sql.DB, o MigrateOptions) error {
	h := handle{db}
	err := h.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return pgstore.Migrate(ctx, h.In(tx), pgstore.Options(o)) })
	if err != nil {
		return err
	}
	_, err = New(db).Maintain(ctx)
	return err
}

// Schema is the SQL that Migrate runs, for those who run their own tool. It may run again.
func Schema() string { return pgstore.Schema }

// Claim claims m in the caller's transaction, which must be READ COMMITTED: true when it is fresh. See inbox.Claim.
func Claim(ctx context.Context, tx *sql.Tx, consumer string, m *inbox.Message) (bool, error) {
	return inbox.Claim(ctx, New(nil), tx, consumer, m)
}

// Tx is that of inbox.Claims.
func (s *Store) Tx(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	return s.handle.Tx(ctx, f)
}

// Wait is that of inbox.Waiter: it waits for the whole time.
func (s *Store) Wait(ctx context.Context, _ string, atMost time.Duration) error {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

type handle struct{ db *sql.DB }

func (h handle) In(tx *sql.Tx) pgstore.Querier { return querier{tx} }
func (h handle) Auto() pgstore.Querier         { return querier{h.db} }

func (h handle) Tx(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	tx, err := h.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return pgstore.Fail("begin a transaction", err)
	}
	defer func() { _ = tx.Rollback() }() // after a panic, or Goexit, of f; else it does nothing
	if err := f(ctx, tx); err != nil {
		undone := tx.Rollback()
		lost := ctx.Err() != nil || errors.Is(err, driver.ErrBadConn) || undone != nil && !errors.Is(undone, sql.ErrTxDone)
		return pgstore.HandlerError(err, lost)
	}
	err = tx.Commit()
	if err != nil && failedBefore(err) {
		return errors.Join(errors.New("the handler returned no error, but one of its statements had failed"), err)
	}
	return pgstore.CommitError(err)
}

// failedBefore tells whether COMMIT found a transaction that had failed. Each driver has its own words for that: lib/pq's
// ErrInFailedTransaction, pgx's ErrTxCommitRollback. Neither is imported here.
func failedBefore(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "in a failed transaction") || strings.Contains(text, "commit unexpectedly resulted in rollback")
}

// querier is database/sql as pgstore wants it.
type querier struct {
	db interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
}

func (q querier) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := q.db.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (q querier) Query(ctx context.Context, query string, args []any, row func(scan func(into ...any) error) error) error {
	rows, err := q.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
