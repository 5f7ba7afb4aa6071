package ends

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/bench/lab"
	"github.com/cdc-relay/cdc-relay/bench/report"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
)

// TablelessOptions say how much.
type TablelessOptions struct {
	For    time.Duration // how long transactions of a size are written
	Rounds int           // drains of each backlog; medians are reported
	Rows   int           // of a backlog, in transactions of 1,000
}

// writer is how events are written: with a row each, or without.
type writer struct {
	name  string
	write func(ctx context.Context, tx pgx.Tx, events ...outbox.Event) ([]outbox.Written, error)
	run   []string // how the relay is started to read them
}

func ways(program string) [2]writer {
	return [2]writer{
		{"table", outboxpgx.Write, []string{program, "run", "--config"}},
		{"tableless", outboxpgx.Emit, []string{program, "run", "--set", "messages=on", "--config"}},
	}
}

// Tableless measures events without a table beside those with one: what a writer gets committed, durably, what that leaves in the
// WAL, and how fast the relay drains it.
func Tableless(ctx context.Context, l *lab.Lab, o TablelessOptions, to *report.Report) (err error) {
	if err := l.Empty(ctx); err != nil {
		return err
	}
	var needed string // as the relay asks for it
	if err := l.Query(ctx, "SELECT needed FROM cdc_relay.message_rights_v1()", &needed); err != nil {
		return err
	}
	if err := l.Exec(ctx, needed); err != nil {
		return err
	}
	base, err := l.NewSlot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.DropSlot(context.WithoutCancel(ctx), base)) }()
	if err := published(ctx, l, base); err != nil { // emit_message writes for those who will read
		return err
	}
	for _, n := range []int{1, 100, 1000} {
		if err := writers(ctx, l, o, n, to); err != nil {
			return fmt.Errorf("write %d events: %w", n, err)
		}
	}
	if err := drains(ctx, l, o, to); err != nil {
		return err
	}
	return l.Empty(ctx)
}

// published makes the slot's mark, and messages events from the slot's beginning on.
func published(ctx context.Context, l *lab.Lab, slot string) error {
	if err := l.Adopt(ctx, slot); err != nil {
		return err
	}
	return l.Exec(ctx, "INSERT INTO cdc_relay.message_span (slot, since) VALUES ($1, '0/0')", slot)
}

// writers lets one connection commit transactions of n events, the two ways in turns: what else runs on the machine meets both.
func writers(ctx context.Context, l *lab.Lab, o TablelessOptions, n int, to *report.Report) (err error) {
	conn, err := pgx.Connect(ctx, l.URL())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	at := 0
	write := func(w writer) (took time.Duration, err error) {
		batch := events(&at, n)
		from := time.Now()
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { _, err := w.write(ctx, tx, batch...); return err })
		return time.Since(from), err
	}
	both := ways("")
	var wal [2]float64
	for i, w := range both { // and plans and caches are warm
		before, err := l.WALEnd(ctx)
		if err != nil {
			return err
		}
		const transactions = 20
		for range transactions {
			if _, err := write(w); err != nil {
				return err
			}
		}
		after, err := l.WALEnd(ctx)
		if err != nil {
			return err
		}
		wal[i] = float64(after-before) / float64(transactions*n)
	}
	var took [2]report.Samples
	for from := time.Now(); time.Since(from) < o.For; {
		for i, w := range both {
			t, err := write(w)
			if err != nil {
				return err
			}
			took[i] = append(took[i], t)
		}
	}
	rate := func(s report.Samples) float64 { return float64(n) / report.MedianOf(s).Seconds() }
	l.Say("tableless, %d transactions of %d each writer: %.0f events/s with a table, %.0f without", len(took[0]), n, rate(took[0]), rate(took[1]))
	compared(to, fmt.Sprintf("written and committed, transactions of %d", n), "%.0f and %.0f events/s", [2]float64{rate(took[0]), rate(took[1])})
	compared(to, fmt.Sprintf("WAL an event, transactions of %d", n), "%.0f and %.0f B", wal)
	return nil
}

// events makes the next n.
func events(at *int, n int) []outbox.Event {
	batch := make([]outbox.Event, n)
	for i := range batch {
		batch[i] = outbox.Event{AggregateType: "order", AggregateID: lab.Key(*at), Type: "OrderPlaced", Payload: []byte(lab.Payload(int64(*at)))}
		*at++
	}
	return batch
}

// compared reports what is without a table, by what is with one.
func compared(to *report.Report, what, format string, of [2]float64) {
	to.Add(report.Figure{
		Stage: "tableless", What: what, Measured: fmt.Sprintf("%.2f x ("+format+")", of[1]/of[0], of[1], of[0]),
		Values: map[string]float64{"ratio": of[1] / of[0], "tableless": of[1], "table": of[0]},
	})
}

// drains lets the relay drain the same backlog, once with rows and once without.
func drains(ctx context.Context, l *lab.Lab, o TablelessOptions, to *report.Report) error {
	var rates, costs, decoding [2][]float64
	var left [2]float64
	for i, w := range ways(l.Program) {
		if err := l.Empty(ctx); err != nil {
			return err
		}
		empty, err := size(ctx, l)
		if err != nil {
			return err
		}
		base, err := fillBy(ctx, l, w, o.Rows)
		if err != nil {
			return fmt.Errorf("fill a backlog: %w", err)
		}
		full, err := size(ctx, l)
		for round := range o.Rounds {
			if err != nil {
				break
			}
			var took, cpu, walsender time.Duration
			if took, cpu, walsender, err = drained(ctx, l, w, base, o.Rows); err == nil {
				n := time.Duration(o.Rows)
				rates[i] = append(rates[i], float64(o.Rows)/took.Seconds())
				costs[i], decoding[i] = append(costs[i], micros(cpu)/float64(n)), append(decoding[i], micros(walsender)/float64(n))
				l.Say("tableless, drain, round %d: %s %.0f events/s, %.2f us of the relay and %.2f of the walsender each", round+1, w.name, float64(o.Rows)/took.Seconds(), micros(cpu)/float64(n), micros(walsender)/float64(n))
			}
		}
		if err := errors.Join(err, l.DropSlot(context.WithoutCancel(ctx), base)); err != nil {
			return fmt.Errorf("drain %s: %w", w.name, err)
		}
		left[i] = float64(full-empty) / float64(o.Rows)
	}
	compared(to, "drain, 1,000-event transactions", "%.0f and %.0f events/s", [2]float64{report.MedianOf(rates[0]), report.MedianOf(rates[1])})
	compared(to, "CPU of the relay an event", "%.2f and %.2f us", [2]float64{report.MedianOf(costs[0]), report.MedianOf(costs[1])})
	compared(to, "CPU of the walsender an event", "%.2f and %.2f us", [2]float64{report.MedianOf(decoding[0]), report.MedianOf(decoding[1])})
	compared(to, "what stays in the database, an event", "%.0f and %.0f B", left)
	return nil
}

// size is the outbox's, with all of its partitions and indexes.
func size(ctx context.Context, l *lab.Lab) (bytes int64, err error) {
	err = l.Query(ctx, "SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint FROM pg_partition_tree('public.outbox')", &bytes)
	return bytes, err
}

// fillBy lets a writer write events, in transactions of 1,000, behind a new slot.
func fillBy(ctx context.Context, l *lab.Lab, w writer, rows int) (base string, err error) {
	if base, err = l.NewSlot(ctx); err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, l.URL())
	if err != nil {
		return base, fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if _, err := conn.Exec(ctx, "SET synchronous_commit = off"); err != nil {
		return base, fmt.Errorf("fill: %w", err)
	}
	for at := 0; at < rows; {
		batch := events(&at, min(1000, rows-at))
		if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { _, err := w.write(ctx, tx, batch...); return err }); err != nil {
			return base, err
		}
	}
	if err := l.Flush(ctx); err != nil {
		return base, err
	}
	return base, l.Exec(ctx, "CHECKPOINT")
}

// drained runs the relay over a copy of the slot until all events are in the log.
func drained(ctx context.Context, l *lab.Lab, w writer, base string, rows int) (took, cpu, walsender time.Duration, err error) {
	topic, err := l.Brokers.Topic(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	defer l.Brokers.Drop(ctx, topic)
	slot, err := l.CopySlot(ctx, base)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, l.DropSlot(context.WithoutCancel(ctx), slot)) }()
	if err := published(ctx, l, slot); err != nil {
		return 0, 0, 0, err
	}
	start := time.Now()
	r, err := l.Start(ctx, slot, topic, l.Brokers, w.run...)
	if err != nil {
		return 0, 0, 0, err
	}
	pid := 0
	err = lab.Poll(ctx, 10*time.Millisecond, 20*time.Minute, "drain by the relay", func() (bool, error) {
		if err := r.Alive(); err != nil {
			return false, err
		}
		n, err := l.Brokers.Count(ctx, topic)
		if n > 0 && pid == 0 {
			pid, _ = l.Walsender(ctx, slot)
		}
		return n >= int64(rows), err
	})
	took, cpu, walsender = time.Since(start), lab.CPU(r.PID()), lab.CPU(pid)
	if err != nil {
		r.Kill()
		return took, cpu, walsender, fmt.Errorf("%w\n%s", err, r.LastWords())
	}
	return took, cpu, walsender, r.Stop()
}
