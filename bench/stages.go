package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/bench/drain"
	"github.com/cdc-relay/cdc-relay/bench/ends"
	"github.com/cdc-relay/cdc-relay/bench/lab"
	"github.com/cdc-relay/cdc-relay/bench/live"
	"github.com/cdc-relay/cdc-relay/bench/memory"
	"github.com/cdc-relay/cdc-relay/bench/report"
)

// measure runs the stages that were asked for. A stage that fails ends the run; what was measured before is reported.
func measure(ctx context.Context, o options, words io.Writer) (r *report.Report, err error) {
	r = &report.Report{At: time.Now().UTC().Truncate(time.Second), Smoke: o.smoke, CPUs: runtime.NumCPU(), Load: loadAverage()}
	l, err := lab.Open(ctx, o.postgres, o.relay, words)
	defer func() { err = errors.Join(err, l.Close()) }()
	if err != nil {
		return r, err
	}
	if err := l.Query(ctx, "SHOW server_version", &r.Postgres); err != nil {
		return r, err
	}
	r.Kafka = l.Brokers.Version()
	if r.RowBytes, err = l.RowBytes(ctx); err != nil {
		return r, err
	}
	for _, s := range []struct {
		name string
		run  func() error
	}{
		{"profile", func() error { return profile(ctx, l, o) }},
		{"drain", func() error { return drain.Stage(ctx, l, o.drain, r) }},
		{"memory", func() error { return memory.Stage(ctx, l, o.memory, r) }},
		{"live", func() error { return live.Stage(ctx, l, o.live, r) }},
		{"start", func() error { return live.Start(ctx, l, o.live, r) }},
		{"inbox", func() error { return ends.Inbox(ctx, l.URL(), o.inbox, r) }},
		{"runner", func() error { return ends.Runner(ctx, l, o.runner, r) }},
		{"write", func() error { return ends.Write(ctx, l, o.write, r) }},
		{"optimistic", func() error { return ends.Optimistic(ctx, l, o.optimistic, r) }},
		{"tableless", func() error { return ends.Tableless(ctx, l, o.without, r) }},
	} {
		if !o.wants(s.name) {
			continue
		}
		if err := s.run(); err != nil {
			return r, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return r, nil
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(b))[:min(3, len(strings.Fields(string(b))))], " ")
}

// profile drains a backlog with a relay that writes its CPU profile.
func profile(ctx context.Context, l *lab.Lab, o options) error {
	file, err := filepath.Abs(o.profile)
	if err != nil {
		return fmt.Errorf("name the profile: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find ourselves: %w", err)
	}
	for _, s := range []struct {
		name              string
		rows, transaction int
	}{{"", o.drain.Rows, min(1000, o.drain.Rows)}, {".single", o.drain.SingleRows, 1}} {
		base, err := drain.Backlog(ctx, l, s.rows, s.transaction)
		if err != nil {
			return err
		}
		run, err := drain.Relay(ctx, l, base, s.rows, self, "profiled-relay", file+s.name)
		if err := errors.Join(err, l.DropSlot(ctx, base)); err != nil {
			return err
		}
		l.Say("profile of %d rows in transactions of %d, %.0f rows/s, %.2f us a row: go tool pprof -top %s", s.rows, s.transaction, run.Rate(),
			float64(run.Cost())/float64(time.Microsecond), file+s.name)
	}
	return nil
}
