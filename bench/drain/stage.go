package drain

import (
	"context"
	"fmt"
	"time"

	"github.com/cdc-relay/cdc-relay/bench/lab"
	"github.com/cdc-relay/cdc-relay/bench/report"
)

// Shape is one kind of backlog.
type Shape struct {
	Name        string
	Rows        int
	Transaction int     // rows of one
	MaxCost     float64 // CPU of the relay for a row, in those of the receiver
}

// Options say how much is drained.
type Options struct {
	Rows       int // of 1,000-row transactions
	SingleRows int // of 1-row transactions
	LargeRows  int // of one transaction
	Rounds     int
}

func (o Options) shapes() []Shape {
	return []Shape{
		{"1,000-row transactions", o.Rows, min(1000, o.Rows), 1.2},
		{"1-row transactions", o.SingleRows, 1, 2},
		{fmt.Sprintf("one transaction of %d rows", o.LargeRows), o.LargeRows, o.LargeRows, 1.2},
	}
}

// Stage measures all shapes.
func Stage(ctx context.Context, l *lab.Lab, o Options, to *report.Report) error {
	receiver, err := FindReceiver()
	if err != nil {
		return err
	}
	peak := int64(0)
	for i, s := range o.shapes() {
		ours, theirs, err := rounds(ctx, l, receiver, s, o.Rounds, i == 0, to)
		if err != nil {
			return fmt.Errorf("drain %s: %w", s.Name, err)
		}
		for _, r := range ours {
			peak = max(peak, r.PeakRSS)
		}
		judge(to, s, receiver.Name, ours, theirs)
	}
	to.Add(report.Figure{
		Stage: "memory", What: "at drain", Reach: "<= 64 MiB", Measured: fmt.Sprintf("%.1f MiB", mib(peak)),
		Reached: report.Verdict(peak <= 64<<20), Values: map[string]float64{"peak_rss_bytes": float64(peak)},
	})
	return nil
}

// Backlog fills a slot with rows; the caller drops it.
func Backlog(ctx context.Context, l *lab.Lab, rows, transaction int) (base string, err error) {
	if err := l.Empty(ctx); err != nil {
		return "", err
	}
	if base, err = l.NewSlot(ctx); err != nil {
		return "", err
	}
	if err := l.Fill(ctx, rows, transaction); err != nil {
		return "", err
	}
	// What the server would otherwise write out during the first runs.
	return base, l.Exec(ctx, "CHECKPOINT")
}

func rounds(ctx context.Context, l *lab.Lab, receiver Receiver, s Shape, n int, warm bool, to *report.Report) (ours, theirs []Run, err error) {
	base, err := Backlog(ctx, l, s.Rows, s.Transaction)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = l.DropSlot(context.WithoutCancel(ctx), base) }()
	end, err := l.WALEnd(ctx)
	if err != nil {
		return nil, nil, err
	}
	if warm { // the broker's Java compiles what is hot during the first some 100,000 records
		if _, err := Relay(ctx, l, base, s.Rows); err != nil {
			return nil, nil, err
		}
	}
	_, log := l.Disturbances(0)
	for round := range n {
		for turn := range 2 {
			if (turn+round)%2 == 0 {
				run, err := receiver.Drain(ctx, l, base, s.Rows, end)
				if err != nil {
					return nil, nil, err
				}
				theirs = append(theirs, run)
				l.Say("drain %s, round %d: %s %.0f rows/s, %.2f us a row", s.Name, round+1, receiver.Name, run.Rate(), micros(run.Cost()))
				continue
			}
			run, err := Relay(ctx, l, base, s.Rows)
			if err != nil {
				return nil, nil, err
			}
			ours = append(ours, run)
			l.Say("drain %s, round %d: relay %.0f rows/s, %.2f us a row (walsender %.2f, broker %.2f), %.2f reads and %.4f writes, first after %d ms, %.1f MiB", s.Name, round+1,
				run.Rate(), micros(run.Cost()), micros(run.Walsender/time.Duration(run.Rows)), micros(run.Broker/time.Duration(run.Rows)),
				float64(run.Reads)/float64(run.Rows), float64(run.Writes)/float64(run.Rows), run.First.Milliseconds(), mib(run.PeakRSS))
			if run.Records != int64(run.Rows) {
				to.Note("drain %s: %d records in the log for %d rows", s.Name, run.Records, run.Rows)
			}
		}
	}
	if checkpoints, _ := l.Disturbances(log); checkpoints > 0 {
		to.Note("drain %s: Postgres began %d checkpoints meanwhile", s.Name, checkpoints)
	}
	return ours, theirs, nil
}

func judge(to *report.Report, s Shape, name string, ours, theirs []Run) {
	rate, limit := median(ours, Run.Rate), median(theirs, Run.Rate)
	cost := median(ours, func(r Run) float64 { return micros(r.Cost()) })
	least := median(theirs, func(r Run) float64 { return micros(r.Cost()) })
	to.Add(report.Figure{
		Stage: "drain", What: s.Name, Reach: ">= 1.0 x " + name,
		Measured: fmt.Sprintf("%.2f x (%.0f and %.0f rows/s)", rate/limit, rate, limit), Reached: report.Verdict(rate >= limit),
		Values: map[string]float64{
			"ratio": rate / limit, "relay_rows_per_second": rate, "receiver_rows_per_second": limit, "rows": float64(s.Rows),
			"first_record_ms":        median(ours, func(r Run) float64 { return report.Milliseconds(r.First) }),
			"walsender_us_per_row":   median(ours, func(r Run) float64 { return micros(r.Walsender) / float64(r.Rows) }),
			"broker_us_per_row":      median(ours, func(r Run) float64 { return micros(r.Broker) / float64(r.Rows) }),
			"relay_reads_per_row":    median(ours, func(r Run) float64 { return float64(r.Reads) / float64(r.Rows) }),
			"relay_writes_per_row":   median(ours, func(r Run) float64 { return float64(r.Writes) / float64(r.Rows) }),
			"relay_slowest_per_sec":  slowest(ours),
			"receiver_slowest_per_s": slowest(theirs),
		},
	})
	to.Add(report.Figure{
		Stage: "drain", What: "CPU of the relay a row, " + s.Name, Reach: fmt.Sprintf("<= %.1f x %s", s.MaxCost, name),
		Measured: fmt.Sprintf("%.2f x (%.2f and %.2f us)", cost/least, cost, least), Reached: report.Verdict(cost <= s.MaxCost*least),
		Values: map[string]float64{"ratio": cost / least, "relay_us_per_row": cost, "receiver_us_per_row": least},
	})
}

func median(runs []Run, of func(Run) float64) float64 {
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = of(r)
	}
	return report.MedianOf(values)
}

func slowest(runs []Run) float64 {
	least := 0.0
	for i, r := range runs {
		if i == 0 || r.Rate() < least {
			least = r.Rate()
		}
	}
	return least
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
