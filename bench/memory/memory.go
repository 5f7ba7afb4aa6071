package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/bench/drain"
	"github.com/cdc-relay/cdc-relay/bench/lab"
	"github.com/cdc-relay/cdc-relay/bench/report"
	"github.com/cdc-relay/cdc-relay/bench/traffic"
)

// maxRSS is what the relay may take.
const maxRSS = 64 << 20

// Options say how large and how long.
type Options struct {
	HugeRows int           // of one transaction
	Outage   time.Duration // for which the broker is frozen
	Rate     int           // single-row transactions a second meanwhile
}

// Stage measures both.
func Stage(ctx context.Context, l *lab.Lab, o Options, to *report.Report) error {
	if err := huge(ctx, l, o, to); err != nil {
		return fmt.Errorf("one transaction of %d rows: %w", o.HugeRows, err)
	}
	if err := outage(ctx, l, o, to); err != nil {
		return fmt.Errorf("outage of the broker: %w", err)
	}
	return nil
}

func huge(ctx context.Context, l *lab.Lab, o Options, to *report.Report) error {
	base, err := drain.Backlog(ctx, l, o.HugeRows, o.HugeRows)
	if err != nil {
		return err
	}
	run, err := drain.Relay(ctx, l, base, o.HugeRows)
	if err := errors.Join(err, l.DropSlot(ctx, base), l.Empty(ctx)); err != nil {
		return err
	}
	if run.Records != int64(run.Rows) {
		to.Note("one transaction of %d rows: %d records in the log", run.Rows, run.Records)
	}
	add(to, fmt.Sprintf("through one transaction of %d rows", o.HugeRows), run.PeakRSS,
		fmt.Sprintf("at %.0f rows/s", run.Rate()), map[string]float64{"rows_per_second": run.Rate()})
	return nil
}

// outage freezes the broker while rows are committed, and waits until all of them have come.
func outage(ctx context.Context, l *lab.Lab, o Options, to *report.Report) (err error) {
	topic, err := l.Brokers.Topic(ctx)
	if err != nil {
		return err
	}
	defer l.Brokers.Drop(ctx, topic)
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
	const before = 3 * time.Second
	w := traffic.Load{Rate: o.Rate, Rows: 1, Connections: 8, For: before + o.Outage}
	commits := w.Prepare()
	var load errgroup.Group
	load.Go(func() error { return w.Run(ctx, l, commits) })
	if err := lab.Wait(ctx, before); err != nil {
		return err
	}
	calm := lab.PeakRSS(r.PID())
	l.Say("freezing the broker for %s at %d rows a second", o.Outage, o.Rate)
	if err := l.Brokers.Freeze(ctx); err != nil {
		return err
	}
	waited := lab.Wait(ctx, o.Outage)
	during := lab.PeakRSS(r.PID())
	if err := errors.Join(l.Brokers.Thaw(context.WithoutCancel(ctx)), waited, load.Wait()); err != nil {
		return err
	}
	thawed := time.Now()
	err = lab.Poll(ctx, 100*time.Millisecond, 2*time.Minute, "all rows after the outage", func() (bool, error) {
		n, err := l.Brokers.Count(ctx, topic)
		return err == nil && n >= commits.Count(), r.Alive()
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, r.LastWords())
	}
	caughtUp := time.Since(thawed)
	n, err := l.Brokers.Count(ctx, topic)
	if err != nil {
		return err
	}
	if n != commits.Count() {
		to.Note("outage: %d records in the log for %d rows", n, commits.Count())
	}
	add(to, fmt.Sprintf("broker frozen for %s at %d rows/s", o.Outage, o.Rate), lab.PeakRSS(r.PID()),
		fmt.Sprintf("(%.1f before, %.1f in it; caught up in %.1f s)", mib(calm), mib(during), caughtUp.Seconds()),
		map[string]float64{"caught_up_seconds": caughtUp.Seconds(), "before_bytes": float64(calm), "during_bytes": float64(during)})
	return r.Stop()
}

func add(to *report.Report, what string, peak int64, more string, values map[string]float64) {
	values["peak_rss_bytes"] = float64(peak)
	to.Add(report.Figure{
		Stage: "memory", What: what, Reach: "<= 64 MiB", Measured: fmt.Sprintf("%.1f MiB %s", mib(peak), more),
		Reached: report.Verdict(peak <= maxRSS), Values: values,
	})
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
