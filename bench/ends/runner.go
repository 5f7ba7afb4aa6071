package ends

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/bench/lab"
	"github.com/cdc-relay/cdc-relay/bench/report"
	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxkafka"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
)

// RunnerOptions say how large.
type RunnerOptions struct {
	Events int // in the topic when the consumer starts
}

// What the runner shall reach.
const (
	runnerReach = 30_000      // events a second
	runnerRSS   = 128 << 20   // bytes
	consumeVerb = "consume"   // the hidden program
	runnerTable = "effects"   // of the handlers
	settling    = time.Minute // for a consumer to end
)

// Runner measures package inboxkafka end to end: from a topic of eight partitions into rows of a table, in a process of its own.
func Runner(ctx context.Context, l *lab.Lab, o RunnerOptions, to *report.Report) error {
	topic, err := backlog(ctx, l, o.Events)
	if err != nil {
		return err
	}
	defer l.Brokers.Drop(context.WithoutCancel(ctx), topic)
	for _, way := range []struct {
		name, what, reach string
	}{
		{"batch", "runner, 8 partitions, a BatchHandler of one INSERT", fmt.Sprintf(">= %d events/s", runnerReach)},
		{"mark", "the same with the high-water mark", ""},
		{"one", "runner, 8 partitions, a Handler of one INSERT an event", ""},
	} {
		rate, rss, err := consumeAll(ctx, l, topic, way.name, o.Events)
		if err != nil {
			return fmt.Errorf("%s: %w", way.what, err)
		}
		f := report.Figure{
			Stage: "runner", What: way.what, Reach: way.reach, Measured: fmt.Sprintf("%.0f events/s, %d MiB at most", rate, rss>>20),
			Values: map[string]float64{"events_per_second": rate, "peak_rss_bytes": float64(rss)},
		}
		if way.reach != "" {
			f.Reached = report.Verdict(rate >= runnerReach && rss <= runnerRSS)
		}
		to.Add(f)
		l.Say("runner, %s: %.0f events/s, %d MiB", way.name, rate, rss>>20)
	}
	return nil
}

// backlog fills a topic with events as the relay writes them.
func backlog(ctx context.Context, l *lab.Lab, events int) (topic string, err error) {
	if topic, err = l.Brokers.Topic(ctx); err != nil {
		return "", err
	}
	client, err := l.Brokers.Client(false, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.MaxBufferedRecords(50_000))
	if err != nil {
		return "", err
	}
	defer client.Close()
	for n := range events {
		id, err := uuid.NewV7()
		if err != nil {
			return "", fmt.Errorf("make an id: %w", err)
		}
		client.Produce(ctx, &kgo.Record{
			Topic: topic, Key: []byte(lab.Key(n)), Value: []byte(lab.Payload(int64(n))), Headers: []kgo.RecordHeader{
				{Key: "event_id", Value: []byte(id.String())},
				{Key: "event_type", Value: []byte("OrderCreated")},
				{Key: "aggregate_type", Value: []byte("order")},
				{Key: "aggregate_id", Value: []byte(lab.Key(n))},
				{Key: "cdc-source", Value: []byte("7300000000000000000:1:a:cdc_relay")},
				{Key: "cdc-lsn", Value: fmt.Appendf(nil, "%016X", n+1)},
				{Key: "cdc-index", Value: []byte("0")},
			},
		}, nil)
	}
	if err := client.Flush(ctx); err != nil {
		return "", fmt.Errorf("fill the topic: %w", err)
	}
	n, err := l.Brokers.Count(ctx, topic)
	if err == nil && n != int64(events) {
		err = fmt.Errorf("the topic holds %d events of %d", n, events)
	}
	return topic, err
}

// consumeAll runs the consumer until it has taken all.
func consumeAll(ctx context.Context, l *lab.Lab, topic, way string, events int) (rate float64, rss int64, err error) {
	pool, err := pgxpool.New(ctx, l.URL())
	if err != nil {
		return 0, 0, fmt.Errorf("connect to Postgres: %w", err)
	}
	defer pool.Close()
	if err := inboxpgx.Migrate(ctx, pool, inboxpgx.MigrateOptions{}); err != nil {
		return 0, 0, err
	}
	if err := l.Exec(ctx, "DROP TABLE IF EXISTS "+runnerTable+"; CREATE TABLE "+runnerTable+" (event_id uuid, key text, body jsonb); CHECKPOINT"); err != nil {
		return 0, 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, 0, fmt.Errorf("find ourselves: %w", err)
	}
	consumer := "bench-" + way + "-" + topic
	cmd := exec.CommandContext(ctx, self, consumeVerb, l.URL(), l.Brokers.Bootstrap(), topic, consumer, way)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = settling
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, 0, fmt.Errorf("start the consumer: %w", err)
	}
	store := inboxpgx.New(pool)
	var first, last int64
	var from time.Time
	err = lab.Poll(ctx, 10*time.Millisecond, 3*time.Minute, "the consumer's end", func() (bool, error) {
		places, err := store.Look(ctx, consumer, topic)
		if err != nil {
			return false, err
		}
		last = 0
		for _, p := range places {
			last += p.Watermark
		}
		if first == 0 && last > 0 {
			first, from = last, time.Now()
		}
		return last >= int64(events), nil
	})
	took := time.Since(from)
	rss = lab.PeakRSS(cmd.Process.Pid)
	_ = cmd.Process.Signal(os.Interrupt)
	err = errors.Join(err, cmd.Wait())
	return float64(last-first) / took.Seconds(), rss, err
}

// Consume is the consumer's process: URL, brokers, topic, consumer, way.
func Consume(ctx context.Context, args []string) error {
	if len(args) != 5 {
		return errors.New("consume takes URL, brokers, topic, consumer and way")
	}
	pc, err := pgxpool.ParseConfig(args[0])
	if err != nil {
		return fmt.Errorf("read the database's URL: %w", err)
	}
	pc.MaxConns = 20
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	defer pool.Close()
	c := inboxkafka.NewConfig[pgx.Tx]()
	c.Brokers, c.Topics, c.Consumer, c.Store = strings.Split(args[1], ","), []string{args[2]}, args[3], inboxpgx.New(pool)
	c.WatermarkInterval, c.Log = 50*time.Millisecond, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if args[4] == "mark" {
		c.Inbox.Mode, c.Inbox.Mark.AcceptFirst = inbox.ByMark, true
	}
	if args[4] == "one" {
		c.Handler = func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
			_, err := tx.Exec(ctx, "INSERT INTO "+runnerTable+" VALUES ($1::text::uuid, $2, $3::text::jsonb)", m.ID, string(m.Key), string(m.Value))
			return err
		}
	} else {
		c.BatchHandler = insert
	}
	return inboxkafka.Run(ctx, c)
}

func insert(ctx context.Context, tx pgx.Tx, ms []*inbox.Message) error {
	ids, keys, bodies := make([]string, len(ms)), make([]string, len(ms)), make([]string, len(ms))
	for i, m := range ms {
		ids[i], keys[i], bodies[i] = m.ID, string(m.Key), string(m.Value)
	}
	_, err := tx.Exec(ctx, "INSERT INTO "+runnerTable+" SELECT i::uuid, k, b::jsonb FROM unnest($1::text[], $2::text[], $3::text[]) AS u(i, k, b)", ids, keys, bodies)
	return err
}
