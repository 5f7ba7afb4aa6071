package traffic

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/bench/lab"
)

// Load is an application that commits on a schedule (open loop): a transaction is due at its time whether or not the ones
// before it are done, so a stall shows in what follows instead of thinning the load out.
type Load struct {
	Rate        int // transactions a second
	Rows        int // of one transaction
	Connections int
	For         time.Duration
}

// Commits are the rows of a load: row n was committed, as the application knows, at Returned[n] after Base. Zero: not.
type Commits struct {
	Base     time.Time
	Returned []time.Duration
	Late     time.Duration // how far behind its time the latest transaction was sent
	count    atomic.Int64
}

// Count is how many rows are committed so far.
func (c *Commits) Count() int64 { return c.count.Load() }

// Prepare makes room for a load's rows.
func (w Load) Prepare() *Commits {
	return &Commits{Base: time.Now(), Returned: make([]time.Duration, w.transactions()*w.Rows)}
}

func (w Load) transactions() int { return int(float64(w.Rate) * w.For.Seconds()) }

// Run commits all rows into what Prepare made. When ctx ends it stops, without an error.
func (w Load) Run(ctx context.Context, l *lab.Lab, into *Commits) error {
	conns := make([]*pgx.Conn, w.Connections)
	for i := range conns {
		conn, err := pgx.Connect(ctx, l.URL())
		if err != nil {
			return fmt.Errorf("connect the application: %w", err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		if err := w.warm(ctx, conn); err != nil {
			return err
		}
		conns[i] = conn
	}
	start := time.Now()
	gap := time.Duration(float64(time.Second) / float64(w.Rate))
	var group sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for i, conn := range conns {
		group.Go(func() {
			late, err := w.work(ctx, conn, i, start, gap, into)
			mu.Lock()
			defer mu.Unlock()
			into.Late = max(into.Late, late)
			if failed == nil {
				failed = err
			}
		})
	}
	group.Wait()
	return failed
}

// warm runs what work runs, rolled back: the statement is planned and the caches are filled.
func (w Load) warm(ctx context.Context, conn *pgx.Conn) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("warm the application up: %w", err)
	}
	for range 6 { // from the sixth on Postgres may use a generic plan
		sql, args := lab.Insert(0, w.Rows)
		if _, err := tx.Exec(ctx, sql, args...); err != nil {
			return fmt.Errorf("warm the application up: %w", err)
		}
	}
	return tx.Rollback(ctx)
}

// work commits each len(conns)-th transaction, beginning with number first.
func (w Load) work(ctx context.Context, conn *pgx.Conn, first int, start time.Time, gap time.Duration, into *Commits) (late time.Duration, err error) {
	for i := first; i < w.transactions(); i += w.Connections {
		due := start.Add(time.Duration(i) * gap)
		if err := lab.Wait(ctx, time.Until(due)); err != nil {
			return late, nil //nolint:nilerr // told to stop
		}
		late = max(late, time.Since(due))
		n := i * w.Rows
		sql, args := lab.Insert(n, w.Rows)
		if _, err := conn.Exec(ctx, sql, args...); err != nil {
			if ctx.Err() != nil {
				return late, nil //nolint:nilerr // told to stop
			}
			return late, fmt.Errorf("commit row %d: %w", n, err)
		}
		now := time.Since(into.Base)
		for r := range w.Rows {
			into.Returned[n+r] = now
		}
		into.count.Add(int64(w.Rows))
	}
	return late, nil
}
