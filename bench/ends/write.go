package ends

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/lib/pq" // the other driver

	"github.com/cdc-relay/cdc-relay/bench/lab"
	"github.com/cdc-relay/cdc-relay/bench/report"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
	"github.com/cdc-relay/cdc-relay/outbox/outboxsql"
)

// maxRatio is what Write may take, in a bare INSERT's time.
const maxRatio = 1.1

// WriteOptions say how often.
type WriteOptions struct{ Calls int } // of each contestant, for each number of events

// connection is what all contestants of a driver share, so that none has warmer caches than another.
type connection struct{ begin, commit, close func() error }

// contestant is one way to write rows, inside a transaction that is open; its beginning and commit are not in the time.
type contestant struct {
	name  string
	over  *connection
	write func(events []outbox.Event) error
	took  report.Samples
}

func (c *contestant) median() time.Duration { return report.MedianOf(c.took) }

// Write measures calls of 1 and of 100 events. Payloads are bytes that are JSON already, so that the bare INSERT has nothing to
// do but to send them. It is measured twice: with the id by the column's default, as people write it, and with an id that the
// program makes, as Write does; the faster one is what Write is held to.
func Write(ctx context.Context, l *lab.Lab, o WriteOptions, to *report.Report) error {
	for _, n := range []int{1, 100} {
		if err := l.Empty(ctx); err != nil {
			return err
		}
		if err := writes(ctx, l, n, o.Calls, to); err != nil {
			return fmt.Errorf("write %d events: %w", n, err)
		}
	}
	return l.Empty(ctx)
}

func writes(ctx context.Context, l *lab.Lab, n, calls int, to *report.Report) (err error) {
	what := strconv.Itoa(n) + " events"
	if n == 1 {
		what = "1 event"
	}
	pgxs, err := overPGX(ctx, l.URL(), n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pgxs[0].over.close()) }()
	sqls, err := overSQL(ctx, l.URL(), n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sqls[0].over.close()) }()
	all := append(slices.Clone(pgxs), sqls...)
	if err := compete(all, n, calls); err != nil {
		return err
	}
	for i := range all {
		l.Say("write %s: %-28s %7.1f us", what, all[i].name, micros(all[i].median()))
	}
	for _, group := range [][]contestant{all[:len(pgxs)], all[len(pgxs):]} {
		for i, c := range group[2:] { // behind the two that are bare
			judge(to, c.name+", "+what, c.median(), group[0].median(), group[1].median(), i == 0)
		}
	}
	return nil
}

func judge(to *report.Report, what string, ours, byDefault, ownID time.Duration, held bool) {
	ratio := float64(ours) / float64(min(byDefault, ownID))
	f := report.Figure{
		Stage: "write", What: what, Measured: fmt.Sprintf("%.2f x (%.0f and %.0f us)", ratio, micros(ours), micros(min(byDefault, ownID))),
		Values: map[string]float64{"ratio": ratio, "us": micros(ours), "bare_own_id_us": micros(ownID), "bare_id_by_default_us": micros(byDefault)},
	}
	if held {
		f.Reach, f.Reached = fmt.Sprintf("<= %.1f x bare INSERT", maxRatio), report.Verdict(ratio <= maxRatio)
	}
	to.Add(f)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// compete lets each write in turn, in another order each time, or one would always find the caches as the same other left them.
func compete(of []contestant, n, calls int) error {
	events := make([]outbox.Event, n)
	const warm = 20 // statements are prepared, plans are cached
	for call := range warm + calls {
		for i := range events {
			row := call*n + i
			events[i] = outbox.Event{AggregateType: "order", AggregateID: lab.Key(row), Type: "OrderPlaced", Payload: []byte(lab.Payload(int64(row)))}
		}
		for _, turn := range rand.Perm(len(of)) {
			c := &of[turn]
			if err := c.over.begin(); err != nil {
				return fmt.Errorf("%s: begin: %w", c.name, err)
			}
			from := time.Now()
			if err := c.write(events); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if call >= warm {
				c.took = append(c.took, time.Since(from))
			}
			if err := c.over.commit(); err != nil {
				return fmt.Errorf("%s: commit: %w", c.name, err)
			}
		}
	}
	return nil
}

// overPGX connects; the first two contestants are bare. Commits do not wait for the disk.
func overPGX(ctx context.Context, url string, n int) ([]contestant, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	var tx pgx.Tx
	over := &connection{
		begin:  func() (err error) { tx, err = conn.Begin(ctx); return err },
		commit: func() error { return tx.Commit(ctx) },
		close:  func() error { return conn.Close(context.WithoutCancel(ctx)) },
	}
	o := outbox.NewOptions()
	o.Returning = true
	returning, err := outboxpgx.NewWriter(o)
	if err == nil {
		_, err = conn.Exec(ctx, "SET synchronous_commit = off")
	}
	if err != nil {
		return nil, errors.Join(err, over.close())
	}
	exec := func(text string, args []any) error { _, err := tx.Exec(ctx, text, args...); return err }
	byDefault, ownID := bare(n, false), bare(n, true)
	all := []contestant{
		{name: "bare, pgx", over: over, write: func(events []outbox.Event) error { return exec(byDefault, args(events, false)) }},
		{name: "bare, pgx, own ids", over: over, write: func(events []outbox.Event) error { return exec(ownID, args(events, true)) }},
		{name: "outboxpgx", over: over, write: func(events []outbox.Event) error { _, err := outboxpgx.Write(ctx, tx, events...); return err }},
		{name: "outboxpgx with Returning", over: over, write: func(events []outbox.Event) error { _, err := returning.Write(ctx, tx, events...); return err }},
	}
	if n == 1 { // it takes one event a call
		all = append(all, contestant{name: "cdc_relay.emit", over: over, write: func(events []outbox.Event) error {
			return exec("SELECT cdc_relay.emit($1, $2, $3, $4)", args(events, false))
		}})
	}
	return all, nil
}

// overSQL is the same over database/sql with lib/pq.
func overSQL(ctx context.Context, url string, n int) ([]contestant, error) {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "SET synchronous_commit = off"); err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), db.Close())
	}
	var tx *sql.Tx
	over := &connection{
		begin:  func() (err error) { tx, err = db.BeginTx(ctx, nil); return err },
		commit: func() error { return tx.Commit() },
		close:  db.Close,
	}
	exec := func(text string, args []any) error { _, err := tx.ExecContext(ctx, text, args...); return err }
	byDefault, ownID := bare(n, false), bare(n, true)
	return []contestant{
		{name: "bare, lib/pq", over: over, write: func(events []outbox.Event) error { return exec(byDefault, args(events, false)) }},
		{name: "bare, lib/pq, own ids", over: over, write: func(events []outbox.Event) error { return exec(ownID, args(events, true)) }},
		{name: "outboxsql with lib/pq", over: over, write: func(events []outbox.Event) error { _, err := outboxsql.Write(ctx, tx, events...); return err }},
	}, nil
}

// bare is the INSERT that people write: the rows as VALUES, prepared once.
func bare(n int, id bool) string {
	columns := []string{"aggregate_type", "aggregate_id", "event_type", "payload"}
	if id {
		columns = append(columns, "event_id")
	}
	rows := make([]string, n)
	for i := range rows {
		places := make([]string, len(columns))
		for j := range places {
			places[j] = "$" + strconv.Itoa(i*len(columns)+j+1)
		}
		rows[i] = "(" + strings.Join(places, ", ") + ")"
	}
	return "INSERT INTO public.outbox (" + strings.Join(columns, ", ") + ") VALUES " + strings.Join(rows, ", ")
}

func args(events []outbox.Event, id bool) []any {
	out := make([]any, 0, 5*len(events))
	for i := range events {
		e := &events[i]
		out = append(out, e.AggregateType, e.AggregateID, e.Type, e.Payload)
		if id {
			out = append(out, outbox.NewID())
		}
	}
	return out
}
