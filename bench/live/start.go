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

// Goals of a beginning.
const (
	maxRestart  = 300 * time.Millisecond
	maxTakeover = 2 * time.Second
)

// Start measures restarts and takeovers.
func Start(ctx context.Context, l *lab.Lab, o Options, to *report.Report) error {
	for _, m := range []struct {
		what  string
		goal  time.Duration
		times int
		run   func(context.Context, *lab.Lab, int) (report.Samples, error)
	}{
		{"restart to first event at the consumer", maxRestart, o.Restarts, restarts},
		{"takeover after kill -9 of the owner, to first event", maxTakeover, o.Takeovers, takeovers},
	} {
		s, err := m.run(ctx, l, m.times)
		if err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
		p50, _, most := s.Percentiles()
		to.Add(report.Figure{
			Stage: "start", What: m.what, Reach: fmt.Sprintf("<= %d ms", m.goal.Milliseconds()),
			Measured: fmt.Sprintf("median %d, max %d ms of %d", p50.Milliseconds(), most.Milliseconds(), len(s)), Reached: report.Verdict(p50 <= m.goal),
			Values: map[string]float64{"median_ms": report.Milliseconds(p50), "max_ms": report.Milliseconds(most), "times": float64(len(s))},
		})
	}
	return nil
}

// bench is a slot and a topic, and what a consumer sees of it.
type bench struct {
	slot, topic string
	commits     *traffic.Commits
	seen        *traffic.Arrivals
}

func open(ctx context.Context, l *lab.Lab, w traffic.Load) (b bench, err error) {
	if b.topic, err = l.Brokers.Topic(ctx); err != nil {
		return b, err
	}
	if b.slot, err = l.NewSlot(ctx); err != nil {
		return b, err
	}
	if err := l.Adopt(ctx, b.slot); err != nil {
		return b, err
	}
	b.commits = w.Prepare()
	b.seen, err = traffic.Consume(ctx, l.Brokers, b.topic, len(b.commits.Returned), b.commits.Base)
	return b, err
}

func (b bench) close(ctx context.Context, l *lab.Lab) error {
	ctx = context.WithoutCancel(ctx)
	if b.seen != nil {
		b.seen.Close()
	}
	l.Brokers.Drop(ctx, b.topic)
	if b.slot == "" {
		return nil
	}
	return l.DropSlot(ctx, b.slot)
}

// restarts commits a row while no relay runs, starts one, and waits for the row.
func restarts(ctx context.Context, l *lab.Lab, times int) (s report.Samples, err error) {
	b, err := open(ctx, l, traffic.Load{Rate: times, Rows: 1, For: time.Second})
	defer func() { err = errors.Join(err, b.close(ctx, l)) }()
	if err != nil {
		return nil, err
	}
	began := make([]time.Duration, times)
	for n := range times {
		if err := l.Commit(ctx, n); err != nil {
			return nil, err
		}
		began[n] = time.Since(b.commits.Base)
		r, err := l.Start(ctx, b.slot, b.topic, l.Brokers)
		if err != nil {
			return nil, err
		}
		err = lab.Poll(ctx, 5*time.Millisecond, 30*time.Second, "first event after a restart", func() (bool, error) { return b.seen.Count() > int64(n), r.Alive() })
		if err == nil {
			err = r.Stop()
		}
		if err != nil {
			r.Kill()
			return nil, err
		}
	}
	b.seen.Close()
	for n, from := range began {
		s = append(s, b.seen.At[n]-from)
	}
	l.Say("restart to first event: %v", s)
	return s, nil
}

// takeovers kills the owner while rows are committed and a standby watches; the dead one comes back as standby.
func takeovers(ctx context.Context, l *lab.Lab, times int) (s report.Samples, err error) {
	w := traffic.Load{Rate: 100, Rows: 1, Connections: 2, For: time.Duration(times*6+10) * time.Second} // more than it takes
	b, err := open(ctx, l, w)
	defer func() { err = errors.Join(err, b.close(ctx, l)) }()
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var load errgroup.Group
	load.Go(func() error { return w.Run(running, l, b.commits) })

	var kills []time.Duration
	owner, err := l.Start(ctx, b.slot, b.topic, l.Brokers)
	if err != nil {
		return nil, err
	}
	defer func() { owner.Kill() }()
	for range times {
		if err := owner.Ready(ctx, "streaming"); err != nil {
			return nil, err
		}
		standby, err := l.Start(ctx, b.slot, b.topic, l.Brokers)
		if err != nil {
			return nil, err
		}
		if err := standby.Ready(ctx, "standby"); err != nil {
			standby.Kill()
			return nil, err
		}
		if err := lab.Wait(ctx, time.Second); err != nil { // some of its polls, so that the kill hits any moment between two
			return nil, err
		}
		before := owner
		owner = standby
		kills = append(kills, time.Since(b.commits.Base))
		before.Kill()
		committed := b.commits.Count()
		err = lab.Poll(ctx, 10*time.Millisecond, 30*time.Second, "events after a takeover", func() (bool, error) { return b.seen.Count() >= committed+10, owner.Alive() })
		if err != nil {
			return nil, err
		}
	}
	stop()
	if err := load.Wait(); err != nil {
		return nil, err
	}
	b.seen.Close()
	for _, kill := range kills {
		s = append(s, b.firstAfter(kill)-kill)
	}
	l.Say("takeover: %v, %d repeats", s, b.seen.Repeats)
	return s, owner.Stop()
}

// firstAfter is when the consumer first saw an event that was committed after a moment.
func (b bench) firstAfter(moment time.Duration) time.Duration {
	first := time.Duration(0)
	for n, returned := range b.commits.Returned {
		if at := b.seen.At[n]; returned > moment && at > 0 && (first == 0 || at < first) {
			first = at
		}
	}
	return first
}
