package drain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cdc-relay/cdc-relay/bench/lab"
)

// Run is one drain.
type Run struct {
	Rows      int
	Took      time.Duration // from the start of the process
	First     time.Duration // until the first record was in the log; the relay's only
	CPU       time.Duration // of the process
	PeakRSS   int64         // bytes; the relay's only
	Walsender time.Duration // CPU of the process that decodes
	Broker    time.Duration // CPU of the broker meanwhile
	Reads     int64         // system calls of the relay
	Writes    int64
	Records   int64 // in the log at the end: more than Rows are repeats
}

// Rate is rows a second.
func (r Run) Rate() float64 { return float64(r.Rows) / r.Took.Seconds() }

// Cost is the process's CPU for one row.
func (r Run) Cost() time.Duration { return r.CPU / time.Duration(r.Rows) }

// Relay drains a copy of the slot with the relay. Command: see lab.Start.
func Relay(ctx context.Context, l *lab.Lab, base string, rows int, command ...string) (run Run, err error) {
	topic, err := l.Brokers.Topic(ctx)
	if err != nil {
		return run, err
	}
	defer l.Brokers.Drop(ctx, topic)
	slot, err := l.CopySlot(ctx, base)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, l.DropSlot(context.WithoutCancel(ctx), slot)) }()
	if err := l.Adopt(ctx, slot); err != nil {
		return run, err
	}

	brokerBefore := lab.CPU(l.Brokers.PID())
	start := time.Now()
	r, err := l.Start(ctx, slot, topic, l.Brokers, command...)
	if err != nil {
		return run, err
	}
	run.Rows = rows
	var walsender int
	err = lab.Poll(ctx, 10*time.Millisecond, 20*time.Minute, "drain by the relay", func() (bool, error) {
		if err := r.Alive(); err != nil {
			return false, err
		}
		n, err := l.Brokers.Count(ctx, topic)
		if n > 0 && run.First == 0 {
			run.First = time.Since(start)
			walsender, _ = l.Walsender(ctx, slot)
		}
		return n >= int64(rows), err
	})
	run.Took = time.Since(start)
	run.CPU, run.PeakRSS = lab.CPU(r.PID()), lab.PeakRSS(r.PID())
	run.Reads, run.Writes = lab.Calls(r.PID())
	run.Walsender, run.Broker = lab.CPU(walsender), lab.CPU(l.Brokers.PID())-brokerBefore
	if err != nil {
		r.Kill()
		return run, fmt.Errorf("%w\n%s", err, r.LastWords())
	}
	if err := r.Stop(); err != nil {
		return run, err
	}
	run.Records, err = l.Brokers.Count(ctx, topic)
	return run, err
}
