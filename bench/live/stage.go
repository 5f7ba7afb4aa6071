package live

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cdc-relay/cdc-relay/bench/lab"
	"github.com/cdc-relay/cdc-relay/bench/report"
	"github.com/cdc-relay/cdc-relay/bench/traffic"
)

// Options say how long and how often.
type Options struct {
	For         time.Duration // of a round
	Warm        time.Duration // before it, not counted
	Rounds      int
	Connections int           // of the application
	Delay       time.Duration // between relay and broker
	Restarts    int
	Takeovers   int
}

// shape is one load and what to reach.
type shape struct {
	name      string
	rate      int
	rows      int
	p50, p99  time.Duration
	orByLimit bool // or 1.5 times what walsender and broker take together, where that is more
}

func shapes() []shape {
	return []shape{
		{"1,000 single-row transactions/s", 1000, 1, time.Millisecond, 5 * time.Millisecond, false},
		{"2,500 single-row transactions/s", 2500, 1, 1500 * time.Microsecond, 10 * time.Millisecond, true},
		{"500 transactions of 10 rows/s", 500, 10, 1500 * time.Microsecond, 10 * time.Millisecond, true},
	}
}

func (o Options) load(s shape) (w traffic.Load, warm int) {
	w = traffic.Load{Rate: s.rate, Rows: s.rows, Connections: o.Connections, For: o.Warm + o.For}
	return w, int(float64(s.rate)*o.Warm.Seconds()) * s.rows
}

// Stage measures all loads with the broker near by, then the first one with it far away.
func Stage(ctx context.Context, l *lab.Lab, o Options, to *report.Report) error {
	for _, s := range shapes() {
		m, err := measure(ctx, l, l.Brokers, o, s, to)
		if err != nil {
			return fmt.Errorf("live at %s: %w", s.name, err)
		}
		m.judge(to, s)
	}
	if err := Far(ctx, l, o, o.Delay/2, fmt.Sprintf("%s more of a round trip to the broker", o.Delay), to); err != nil {
		return err
	}
	return Far(ctx, l, o, o.Delay, fmt.Sprintf("%s more to the broker, and as much back", o.Delay), to)
}

// Far measures the first load with a delay to and from the broker, through a proxy. The consumer is near the broker, so an
// event cannot take less than the way there.
func Far(ctx context.Context, l *lab.Lab, o Options, each time.Duration, name string, to *report.Report) error {
	proxy, err := traffic.NewProxy(ctx, each)
	if err != nil {
		return err
	}
	defer proxy.Close()
	b, err := lab.OpenBrokers(ctx, proxy.Addr(), io.Discard)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	proxy.Serve(ctx, b.Address())
	near := shapes()[0]
	s := shape{"1,000/s, " + name, near.rate, near.rows, 0, o.Delay + near.p99, false}
	m, err := measure(ctx, l, b, o, s, to)
	if err != nil {
		return fmt.Errorf("live, %s: %w", s.name, err)
	}
	m.judge(to, s)
	return nil
}

// medians over rounds; most is the largest of all.
type medians struct{ relay, walsender, broker quantiles }

func measure(ctx context.Context, l *lab.Lab, b *lab.Brokers, o Options, s shape, to *report.Report) (m medians, err error) {
	if err := l.Empty(ctx); err != nil {
		return m, err
	}
	w, warm := o.load(s)
	var relay, walsender, broker []quantiles
	_, log := l.Disturbances(0)
	late := time.Duration(0)
	for round := range o.Rounds {
		server, bare, err := limits(ctx, l, b, w, warm)
		if err != nil {
			return m, fmt.Errorf("without the relay: %w", err)
		}
		ours, behind, err := throughRelay(ctx, l, b, w, warm)
		if err != nil {
			return m, err
		}
		late = max(late, behind)
		relay, walsender, broker = append(relay, ours), append(walsender, server), append(broker, bare)
		l.Say("live %s, round %d: relay %s; walsender alone %s; broker alone %s", s.name, round+1, ours, server, bare)
	}
	if checkpoints, _ := l.Disturbances(log); checkpoints > 0 {
		to.Note("live %s: Postgres began %d checkpoints meanwhile", s.name, checkpoints)
	}
	if late > 100*time.Millisecond {
		to.Note("live %s: a commit of the application was sent %s behind its time: Postgres or the machine stalled", s.name, late.Round(time.Millisecond))
	}
	return medians{middle(relay), middle(walsender), middle(broker)}, nil
}

func middle(rounds []quantiles) quantiles {
	var p50, p99 []time.Duration
	var q quantiles
	for _, r := range rounds {
		p50, p99, q.most = append(p50, r.p50), append(p99, r.p99), max(q.most, r.most)
	}
	q.p50, q.p99 = report.MedianOf(p50), report.MedianOf(p99)
	return q
}

func (q quantiles) String() string {
	return fmt.Sprintf("p50 %.2f, p99 %.2f, max %.1f ms", report.Milliseconds(q.p50), report.Milliseconds(q.p99), report.Milliseconds(q.most))
}

func (q quantiles) values(prefix string, into map[string]float64) {
	into[prefix+"_p50_ms"], into[prefix+"_p99_ms"], into[prefix+"_max_ms"] = report.Milliseconds(q.p50), report.Milliseconds(q.p99), report.Milliseconds(q.most)
}

func (m medians) judge(to *report.Report, s shape) {
	p50, p99, reach := s.p50, s.p99, ""
	if s.orByLimit {
		p50 = max(p50, (m.walsender.p50+m.broker.p50)*3/2)
		p99 = max(p99, (m.walsender.p99+m.broker.p99)*3/2)
	}
	reached := m.relay.p99 <= p99
	if p50 > 0 {
		reached = reached && m.relay.p50 <= p50
		reach = fmt.Sprintf("p50 <= %.2f, ", report.Milliseconds(p50))
	}
	reach += fmt.Sprintf("p99 <= %.2f ms", report.Milliseconds(p99))
	if p50 > s.p50 || p99 > s.p99 {
		reach += " (where more than " + fmt.Sprintf("%.1f and %.0f: 1.5 x walsender + broker)", report.Milliseconds(s.p50), report.Milliseconds(s.p99))
	}
	values := map[string]float64{}
	m.relay.values("relay", values)
	m.walsender.values("walsender", values)
	m.broker.values("broker", values)
	to.Add(report.Figure{Stage: "live", What: s.name, Reach: reach, Measured: m.relay.String(), Reached: report.Verdict(reached), Values: values})
	to.Add(report.Figure{Stage: "live", What: "  walsender alone, same load", Measured: m.walsender.String()})
	to.Add(report.Figure{Stage: "live", What: "  bare broker, same load", Measured: m.broker.String()})
}
