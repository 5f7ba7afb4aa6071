package inboxpgx

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/internal/pgstore"
)

// DB is what the store needs: a *pgxpool.Pool, or a *pgx.Conn in a program with one goroutine.
type DB interface {
	BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Store is an inbox.Store over pgx. It may be used by several goroutines when its DB may.
type Store struct {
	*pgstore.Store[pgx.Tx]
	driver driver
}

var _ inbox.Store[pgx.Tx] = (*Store)(nil)

// New returns a store. It connects to nothing; the schema is made by Migrate, once.
func New(db DB) *Store {
	d := driver{db}
	return &Store{Store: pgstore.New[pgx.Tx](d), driver: d}
}

// MigrateOptions are those of Migrate; the zero value is usable.
type MigrateOptions struct {
	KeepDays    int    // days for which claims are kept: longer than anything is delivered again. 0: as it is, 8 at first
	PremakeDays int    // days made ahead. 0: as it is, 3 at first
	Role        string // role that is granted what a consumer needs; "": none
}

// Migrate makes schema cdc_inbox, or brings it up to date, as its owner. Again, or two at once: no harm. It makes the days, too.
func Migrate(ctx context.Context, db DB, o MigrateOptions) error {
	d := driver{db}
	err := d.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return pgstore.Migrate(ctx, d.In(tx), pgstore.Options(o))
	})
	if err != nil {
		return err
	}
	_, err = New(db).Maintain(ctx)
	return err
}

// Schema is the SQL that Migrate runs, for those who run their own tool. It may run again.
func Schema() string { return pgstore.Schema }

// Claim claims m in the caller's transaction, which must be READ COMMITTED: true when it is fresh. See inbox.Claim.
func Claim(ctx context.Context, tx pgx.Tx, consumer string, m *inbox.Message) (bool, error) {
	return inbox.Claim(ctx, New(nil), tx, consumer, m)
}

// Tx is that of inbox.Claims.
func (s *Store) Tx(ctx context.Context, f func(ctx context.Context, tx pgx.Tx) error) error {
	return s.driver.Tx(ctx, f)
}

// Wait is that of inbox.Waiter: it listens on a connection of its own meanwhile.
func (s *Store) Wait(ctx context.Context, consumer string, atMost time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, atMost, errWaited)
	defer cancel()
	err := s.driver.wait(ctx, consumer)
	if errors.Is(context.Cause(ctx), errWaited) {
		return nil
	}
	return err
}

var errWaited = errors.New("waited long enough")

type driver struct{ db DB }

func (d driver) In(tx pgx.Tx) pgstore.Querier { return querier{tx} }
func (d driver) Auto() pgstore.Querier        { return querier{d.db} }

func (d driver) Tx(ctx context.Context, f func(ctx context.Context, tx pgx.Tx) error) error {
	tx, err := d.db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return pgstore.Fail("begin a transaction", err)
	}
	conn := tx.Conn()
	// pgx looks at ctx while it waits for the server. A handler that hangs elsewhere holds its locks until the socket is closed.
	stop := context.AfterFunc(ctx, func() { _ = conn.PgConn().Conn().Close() })
	returned := false
	defer func() { // a panic, or Goexit, of f
		if !returned {
			stop()
			rollback(ctx, tx)
		}
	}()
	err = f(ctx, tx)
	returned = true
	alive := stop()
	if err != nil {
		lost := !alive || conn.IsClosed()
		if !rollback(ctx, tx) {
			lost = true
		}
		return pgstore.HandlerError(err, lost)
	}
	err = tx.Commit(ctx)
	if errors.Is(err, pgx.ErrTxCommitRollback) {
		return errors.Join(errors.New("the handler returned no error, but one of its statements had failed"), err)
	}
	return pgstore.CommitError(err)
}

// rollbackTimeout bounds a ROLLBACK; after it the connection is closed, which does the same.
const rollbackTimeout = 5 * time.Second

// rollback tells whether the connection was still there. It also works after the caller's context has ended.
func rollback(ctx context.Context, tx pgx.Tx) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	err := tx.Rollback(ctx)
	return err == nil || errors.Is(err, pgx.ErrTxClosed)
}

// wait listens until there is a notice for the consumer. LISTEN works outside of transactions, and a pool hands a connection out
// with one: so that is ended at once, and what Rollback finds at the end is an idle connection, which it gives back.
func (d driver) wait(ctx context.Context, consumer string) error {
	tx, err := d.db.BeginTx(ctx, pgx.TxOptions{})
	if err != nil {
		return pgstore.Fail("begin a transaction", err)
	}
	defer rollback(ctx, tx)
	conn := tx.Conn()
	if _, err := conn.Exec(ctx, "COMMIT; LISTEN "+pgstore.Channel); err != nil {
		return pgstore.Fail("listen for verdicts", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_, _ = conn.Exec(ctx, "UNLISTEN *") // when it fails the connection is gone, and the subscription with it
	}()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil || n.Payload == consumer {
			return pgstore.Fail("listen for verdicts", err)
		}
	}
}

// querier is pgx as pgstore wants it.
type querier struct {
	db interface {
		Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
		Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	}
}

func (q querier) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	tag, err := q.db.Exec(ctx, sql, args...)
	return tag.RowsAffected(), err
}

func (q querier) Query(ctx context.Context, sql string, args []any, row func(scan func(into ...any) error) error) error {
	rows, err := q.db.Query(ctx, sql, args...)
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

// Status is what Store.Status returns: the schema's settings, its days, and what is kept for each consumer.
type Status = pgstore.Status
