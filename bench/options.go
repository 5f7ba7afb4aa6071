package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cdc-relay/cdc-relay/bench/drain"
	"github.com/cdc-relay/cdc-relay/bench/ends"
	"github.com/cdc-relay/cdc-relay/bench/live"
	"github.com/cdc-relay/cdc-relay/bench/memory"
	"github.com/cdc-relay/cdc-relay/internal/testenv/postgres"
)

// options are what a run was asked for.
type options struct {
	stages     []string
	json       bool
	smoke      bool
	postgres   string
	relay      string
	drain      drain.Options
	memory     memory.Options
	live       live.Options
	inbox      ends.InboxOptions
	runner     ends.RunnerOptions
	write      ends.WriteOptions
	optimistic ends.OptimisticOptions
	without    ends.TablelessOptions
	profile    string
}

func stages() []string {
	return []string{"drain", "memory", "live", "start", "write", "optimistic", "tableless", "inbox", "runner"}
}

func defaults() options {
	return options{
		postgres:   postgres.DefaultVersion,
		drain:      drain.Options{Rows: 500_000, SingleRows: 200_000, LargeRows: 1_000_000, Rounds: 5},
		memory:     memory.Options{HugeRows: 2_000_000, Outage: time.Minute, Rate: 1000},
		live:       live.Options{For: 10 * time.Second, Warm: 2 * time.Second, Rounds: 3, Connections: 16, Delay: 20 * time.Millisecond, Restarts: 10, Takeovers: 5},
		inbox:      ends.InboxOptions{Claims: 20_000, Batches: 200, DayRows: 1_000_000},
		runner:     ends.RunnerOptions{Events: 500_000},
		write:      ends.WriteOptions{Calls: 1000},
		optimistic: ends.OptimisticOptions{Rate: 500, Connections: 16, For: 6 * time.Second, Warm: 2 * time.Second, Rounds: 3},
		without:    ends.TablelessOptions{For: 10 * time.Second, Rounds: 5, Rows: 300_000},
		profile:    "relay.pprof",
	}
}

// small makes every stage as short as it can be.
func (o *options) small() {
	o.drain = drain.Options{Rows: 20_000, SingleRows: 5_000, LargeRows: 20_000, Rounds: 1}
	o.memory = memory.Options{HugeRows: 50_000, Outage: 2 * time.Second, Rate: 500}
	o.inbox = ends.InboxOptions{Claims: 500, Batches: 5, DayRows: 10_000}
	o.runner.Events = 5_000
	o.optimistic.For, o.optimistic.Warm, o.optimistic.Rounds = time.Second, 200*time.Millisecond, 1
	o.live.For, o.live.Warm, o.live.Rounds, o.live.Restarts, o.live.Takeovers = time.Second, 200*time.Millisecond, 1, 2, 1
	o.write.Calls = 20
	o.without = ends.TablelessOptions{For: 200 * time.Millisecond, Rounds: 1, Rows: 5_000}
}

func parse(args []string, words io.Writer) (options, error) {
	o := defaults()
	o.smoke = slices.Contains(args, "-smoke") || slices.Contains(args, "--smoke")
	if o.smoke { // first, so that flags change what it sets
		o.small()
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(words)
	flags.Usage = func() {
		fmt.Fprintln(words, "usage: go run ./bench [flags] all|drain|memory|live|start|write|optimistic|tableless|inbox|runner|profile ...")
		flags.PrintDefaults()
	}
	format := flags.String("o", "text", "how the result is printed: text, json")
	flags.BoolVar(&o.smoke, "smoke", o.smoke, "every stage as short as it can be: that it runs, not the figures")
	flags.StringVar(&o.postgres, "postgres", o.postgres, "major version of Postgres, 14 to 18")
	flags.StringVar(&o.relay, "relay", "", "program of the relay (default: built from ./cmd/cdc-relay)")
	flags.IntVar(&o.drain.Rows, "rows", o.drain.Rows, "drain: rows in 1,000-row transactions")
	flags.IntVar(&o.drain.SingleRows, "single-rows", o.drain.SingleRows, "drain: rows in 1-row transactions")
	flags.IntVar(&o.drain.LargeRows, "large-rows", o.drain.LargeRows, "drain: rows of the one large transaction")
	flags.IntVar(&o.drain.Rounds, "rounds", o.drain.Rounds, "drain: rounds of each; medians are reported")
	flags.IntVar(&o.memory.HugeRows, "huge", o.memory.HugeRows, "memory: rows of one transaction (10,000,000 take some 15 GB of disk)")
	flags.DurationVar(&o.memory.Outage, "outage", o.memory.Outage, "memory: how long the broker is frozen under load")
	flags.DurationVar(&o.live.For, "for", o.live.For, "live: how long each round measures")
	flags.IntVar(&o.live.Rounds, "live-rounds", o.live.Rounds, "live: rounds of each load; medians of their percentiles are reported")
	flags.IntVar(&o.live.Connections, "connections", o.live.Connections, "live: of the application")
	flags.DurationVar(&o.live.Delay, "delay", o.live.Delay, "live: between relay and broker")
	flags.IntVar(&o.live.Restarts, "restarts", o.live.Restarts, "start: restarts of the relay")
	flags.IntVar(&o.live.Takeovers, "takeovers", o.live.Takeovers, "start: kills of the owner")
	flags.IntVar(&o.runner.Events, "runner-events", o.runner.Events, "runner: events in the topic")
	flags.IntVar(&o.write.Calls, "calls", o.write.Calls, "write: calls of each contestant; medians are compared")
	flags.IntVar(&o.without.Rows, "backlog", o.without.Rows, "tableless: events of a backlog")
	flags.DurationVar(&o.without.For, "writing", o.without.For, "tableless: how long transactions of a size are written")
	flags.IntVar(&o.without.Rounds, "drains", o.without.Rounds, "tableless: drains of each backlog; medians are compared")
	flags.StringVar(&o.profile, "profile", o.profile, "profile: file to write")
	for rest := args; ; {
		if err := flags.Parse(rest); err != nil {
			return o, err
		}
		if flags.NArg() == 0 {
			break
		}
		o.stages = append(o.stages, flags.Arg(0)) // flags may follow
		rest = flags.Args()[1:]
	}
	o.json = *format == "json"
	if *format != "json" && *format != "text" {
		return o, fmt.Errorf("-o %s: text or json", *format)
	}
	return o, o.check()
}

func (o *options) check() error {
	if len(o.stages) == 0 {
		return fmt.Errorf("name what to measure: all, or some of %v, or profile", stages())
	}
	for _, s := range o.stages {
		if s != "all" && s != "profile" && !slices.Contains(stages(), s) {
			return fmt.Errorf("no stage %q: all, or some of %v, or profile", s, stages())
		}
	}
	if !slices.Contains(postgres.Versions(), o.postgres) {
		return fmt.Errorf("-postgres %s: one of %v", o.postgres, postgres.Versions())
	}
	if min(o.drain.Rows, o.drain.SingleRows, o.drain.LargeRows, o.drain.Rounds, o.memory.HugeRows, o.live.Rounds, o.live.Connections, o.live.Restarts, o.live.Takeovers, o.runner.Events, o.write.Calls, o.without.Rows, o.without.Rounds) < 1 ||
		min(o.live.For, o.memory.Outage) < 500*time.Millisecond {
		return errors.New("counts are at least 1, times at least 500ms")
	}
	return nil
}

// wants tells whether a stage was asked for.
func (o *options) wants(stage string) bool {
	return slices.Contains(o.stages, stage) || stage != "profile" && slices.Contains(o.stages, "all")
}
