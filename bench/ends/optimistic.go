package ends

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/bench/lab"
	"github.com/cdc-relay/cdc-relay/bench/report"
	"github.com/cdc-relay/cdc-relay/bench/traffic"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxkafka"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
)

// OptimisticOptions say how much load.
type OptimisticOptions struct {
	Rate        int           // transactions of one event a second
	Connections int           // of the application
	For         time.Duration // of a round
	Warm        time.Duration // before it, not counted
	Rounds      int           // the median of their quantiles is reported
}

// way is how events leave the application.
type way struct {
	name            string
	send, ordered   bool
	rounds          [3][]time.Duration // p50, p99, most of commit -> consumer
	write, sending  report.Samples     // the whole transaction; the call of Send
	stored, skipped atomic.Int64
	failed          atomic.Int64
}

func (w *way) Attempted(int)                    {}
func (w *way) Succeeded(n int, _ time.Duration) { w.stored.Add(int64(n)) }
func (w *way) Failed(n int, _ string)           { w.failed.Add(int64(n)) }
func (w *way) Skipped(n int, _ string)          { w.skipped.Add(int64(n)) }

// Optimistic measures the relay alone and optimistic sending beside it, in turns. All write by outboxpgx, and read what was
// written back. Each event has a key of its own, so that the order check has nothing in its way; in the ordered rounds the
// outbox has the check's index and trigger.
func Optimistic(ctx context.Context, l *lab.Lab, o OptimisticOptions, to *report.Report) error {
	ways := []*way{
		{name: "the relay alone"},
		{name: "optimistic, free of order", send: true},
		{name: "optimistic, with the order check", send: true, ordered: true},
		{name: "the relay alone, with the check's index and trigger", ordered: true},
	}
	for range o.Rounds {
		for _, w := range ways {
			if err := w.round(ctx, l, o); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	for _, w := range ways {
		p50, p99, most := report.MedianOf(w.rounds[0]), report.MedianOf(w.rounds[1]), report.MedianOf(w.rounds[2])
		write, _, _ := w.write.Percentiles()
		f := report.Figure{
			Stage: "optimistic", What: w.name,
			Measured: fmt.Sprintf("p50 %.2f, p99 %.2f, max %.1f ms; write and commit %.2f ms", report.Milliseconds(p50), report.Milliseconds(p99), report.Milliseconds(most), report.Milliseconds(write)),
			Values:   map[string]float64{"p50_ms": report.Milliseconds(p50), "p99_ms": report.Milliseconds(p99), "max_ms": report.Milliseconds(most), "write_p50_ms": report.Milliseconds(write)},
		}
		if w.send {
			call, slow, _ := w.sending.Percentiles()
			f.Measured += fmt.Sprintf("; Send holds the caller for %.2f (p99 %.2f) ms; %d stored, %d left to the relay, %d failed",
				report.Milliseconds(call), report.Milliseconds(slow), w.stored.Load(), w.skipped.Load(), w.failed.Load())
			f.Values["send_p50_ms"], f.Values["send_p99_ms"] = report.Milliseconds(call), report.Milliseconds(slow)
			f.Values["stored"], f.Values["skipped"], f.Values["failed"] = float64(w.stored.Load()), float64(w.skipped.Load()), float64(w.failed.Load())
		}
		to.Add(f)
		l.Say("%s: %s", w.name, f.Measured)
	}
	return nil
}

func (w *way) round(ctx context.Context, l *lab.Lab, o OptimisticOptions) (err error) {
	if err := l.Empty(ctx); err != nil {
		return err
	}
	if w.ordered {
		if err := l.Exec(ctx, "SELECT cdc_relay.install_order_check()"); err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err, l.Exec(context.WithoutCancel(ctx), "SELECT cdc_relay.remove_order_check()"))
		}()
	}
	topic, err := l.Brokers.Topic(ctx)
	if err != nil {
		return err
	}
	defer l.Brokers.Drop(context.WithoutCancel(ctx), topic)
	// One mark only: the order check goes by the oldest of all slots.
	if err := l.Exec(ctx, "DELETE FROM cdc_relay.checkpoint"); err != nil {
		return err
	}
	slot, err := l.NewSlot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.DropSlot(context.WithoutCancel(ctx), slot)) }()
	if err := l.Adopt(ctx, slot); err != nil {
		return err
	}
	r, err := l.Start(ctx, slot, topic, l.Brokers)
	if err != nil {
		return err
	}
	defer r.Kill()
	if err := r.Ready(ctx, "streaming"); err != nil {
		return err
	}
	warm, rows := int(float64(o.Rate)*o.Warm.Seconds()), int(float64(o.Rate)*(o.Warm+o.For).Seconds())
	base, returned := time.Now(), make([]time.Duration, rows)
	seen, err := traffic.Consume(ctx, l.Brokers, topic, rows, base)
	if err != nil {
		return err
	}
	if err = w.run(ctx, l, o, topic, base, returned, warm); err == nil {
		err = lab.Poll(ctx, 20*time.Millisecond, time.Minute, "rows at the consumer", func() (bool, error) { return seen.Count() >= int64(rows), r.Alive() })
	}
	seen.Close()
	if err == nil {
		err = r.Stop()
	}
	var took report.Samples
	for n := warm; n < rows; n++ {
		took = append(took, max(0, seen.At[n]-returned[n]))
	}
	p50, p99, most := took.Percentiles()
	for i, d := range []time.Duration{p50, p99, most} {
		w.rounds[i] = append(w.rounds[i], d)
	}
	return err
}

// run is the application: transactions on a schedule, whether or not those before are done.
func (w *way) run(ctx context.Context, l *lab.Lab, o OptimisticOptions, topic string, base time.Time, returned []time.Duration, warm int) error {
	pool, err := pgxpool.New(ctx, l.URL()+"&pool_max_conns="+strconv.Itoa(2*o.Connections))
	if err != nil {
		return fmt.Errorf("connect the application: %w", err)
	}
	defer pool.Close()
	options := outbox.NewOptions()
	options.Returning = true
	writer, err := outboxpgx.NewWriter(options)
	if err != nil {
		return err
	}
	sink, err := outboxkafka.Open(outboxkafka.NewConfig(l.Brokers.Bootstrap()))
	if err != nil {
		return err
	}
	defer func() { _ = sink.Close() }()
	config := outbox.NewOptimistic(sink)
	config.TopicRule, config.Observer = topic, w
	if w.ordered {
		config.Order = outboxpgx.NewOrderCheck(pool)
	}
	sender, err := config.Sender()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	start, gap := time.Now(), time.Duration(float64(time.Second)/float64(o.Rate))
	for first := range o.Connections {
		group.Go(func() error {
			for n := first; n < len(returned); n += o.Connections {
				if err := lab.Wait(ctx, time.Until(start.Add(time.Duration(n)*gap))); err != nil {
					return err
				}
				from := time.Now()
				var written []outbox.Written
				err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
					written, err = writer.Write(ctx, tx, outbox.Event{
						AggregateType: "order", AggregateID: "order-" + strconv.Itoa(n), Type: "OrderPlaced", Payload: []byte(lab.Payload(int64(n))),
					})
					return err
				})
				if err != nil {
					return err
				}
				committed := time.Now()
				returned[n] = committed.Sub(base)
				switch {
				case w.send && w.ordered:
					sender.Send(ctx, written...)
				case w.send:
					sender.SendFree(ctx, written...)
				}
				if n >= warm {
					mu.Lock()
					w.write, w.sending = append(w.write, committed.Sub(from)), append(w.sending, time.Since(committed))
					mu.Unlock()
				}
			}
			return nil
		})
	}
	return group.Wait()
}
