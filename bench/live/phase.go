package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/bench/lab"
	"github.com/cdc-relay/cdc-relay/bench/report"
	"github.com/cdc-relay/cdc-relay/bench/traffic"
)

// quantiles of one round.
type quantiles struct{ p50, p99, most time.Duration }

// between compares rows from number first on.
func between(from *traffic.Commits, to *traffic.Arrivals, first int) quantiles {
	var s report.Samples
	for n := first; n < len(to.At); n++ {
		s = append(s, max(0, to.At[n]-from.Returned[n]))
	}
	var q quantiles
	q.p50, q.p99, q.most = s.Percentiles()
	return q
}

// arrived waits until a reader has seen all rows.
func arrived(ctx context.Context, what string, a *traffic.Arrivals, alive func() error) error {
	err := lab.Poll(ctx, 20*time.Millisecond, time.Minute, what, func() (bool, error) { return a.Count() >= int64(len(a.At)), alive() })
	if err != nil {
		return fmt.Errorf("%w: %d of %d rows came", err, a.Count(), len(a.At))
	}
	return nil
}

func always() error { return nil }

// throughRelay measures one round of the relay.
func throughRelay(ctx context.Context, l *lab.Lab, b *lab.Brokers, w traffic.Load, warm int) (q quantiles, late time.Duration, err error) {
	topic, err := b.Topic(ctx)
	if err != nil {
		return q, 0, err
	}
	defer b.Drop(ctx, topic)
	slot, err := l.NewSlot(ctx)
	if err != nil {
		return q, 0, err
	}
	defer func() { err = errors.Join(err, l.DropSlot(context.WithoutCancel(ctx), slot)) }()
	if err := l.Adopt(ctx, slot); err != nil {
		return q, 0, err
	}
	r, err := l.Start(ctx, slot, topic, b)
	if err != nil {
		return q, 0, err
	}
	defer r.Kill()
	if err := r.Ready(ctx, "streaming"); err != nil {
		return q, 0, err
	}
	commits := w.Prepare()
	seen, err := traffic.Consume(ctx, b, topic, len(commits.Returned), commits.Base)
	if err != nil {
		return q, 0, err
	}
	err = w.Run(ctx, l, commits)
	if err == nil {
		err = arrived(ctx, "rows at the consumer", seen, r.Alive)
	}
	seen.Close()
	if err == nil {
		err = r.Stop()
	}
	return between(commits, seen, warm), commits.Late, err
}

// limits measures one round of what stands on both sides of the relay.
func limits(ctx context.Context, l *lab.Lab, b *lab.Brokers, w traffic.Load, warm int) (walsender, broker quantiles, err error) {
	topic, err := b.Topic(ctx)
	if err != nil {
		return walsender, broker, err
	}
	defer b.Drop(ctx, topic)
	slot, err := l.NewSlot(ctx)
	if err != nil {
		return walsender, broker, err
	}
	defer func() { err = errors.Join(err, l.DropSlot(context.WithoutCancel(ctx), slot)) }()
	commits, sent := w.Prepare(), w.Prepare()
	read, err := traffic.ReadWAL(ctx, l, slot, len(commits.Returned), commits.Base)
	if err != nil {
		return walsender, broker, err
	}
	seen, err := traffic.Consume(ctx, b, topic, len(sent.Returned), sent.Base)
	if err != nil {
		read.Close()
		return walsender, broker, err
	}
	var both errgroup.Group
	both.Go(func() error { return w.Run(ctx, l, commits) })
	both.Go(func() error { return traffic.Produce(ctx, b, topic, w, sent) })
	err = both.Wait()
	if err == nil {
		err = errors.Join(arrived(ctx, "rows from the walsender", read, always), arrived(ctx, "records of the bare client", seen, always))
	}
	read.Close()
	seen.Close()
	return between(commits, read, warm), between(sent, seen, warm), err
}
