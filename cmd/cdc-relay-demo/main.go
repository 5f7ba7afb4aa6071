// Command cdc-relay-demo shows the whole path at work and judges it; see package demo. It is a program of its own so that
// the relay does not carry a database and a broker.
//
//	cdc-relay-demo                                   until Ctrl-C, which drains
//	cdc-relay-demo --for 15s --chaos -o json         one JSON object on stdout
//	cdc-relay-demo --database postgres://... --brokers kafka:9092
//
// Exit code 0: every committed row was delivered in order and nothing else; 1: it was not, or something did not run;
// 2: usage.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/cdc-relay/cdc-relay/internal/demo"
	"github.com/cdc-relay/cdc-relay/internal/demo/ledger"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, term.IsTerminal(int(os.Stderr.Fd()))))
}

func run(ctx context.Context, args []string, out, words io.Writer, terminal bool) int {
	o := demo.NewOptions()
	o.Screen, o.Terminal = words, terminal
	flags := flag.NewFlagSet("cdc-relay-demo", flag.ContinueOnError)
	flags.SetOutput(words)
	flags.DurationVar(&o.For, "for", o.For, "how long the application writes (0: until Ctrl-C)")
	flags.IntVar(&o.Rate, "rate", o.Rate, "events committed a second")
	flags.IntVar(&o.Rows, "rows", o.Rows, "rows of a batch")
	flags.IntVar(&o.Keys, "keys", o.Keys, "different partition keys")
	flags.StringVar(&o.Database, "database", "", "URL of a real Postgres, of a role that may make databases (default: embedded)")
	flags.StringVar(&o.Postgres, "postgres", o.Postgres, "major version of the embedded Postgres")
	flags.BoolVar(&o.Chaos, "chaos", false, "while it runs: kill -9, a terminated walsender, broker errors, lost acknowledgements")
	flags.StringVar(&o.Relay, "relay", "", "program of the relay (default: built from ./cmd/cdc-relay)")
	flags.Func("brokers", "comma-separated brokers of a real Kafka (default: embedded)", func(s string) error {
		o.Brokers = strings.Split(s, ",")
		return nil
	})
	format := flags.String("o", "text", "how the result is printed: text, json")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 || (*format != "text" && *format != "json") {
		fmt.Fprintln(words, "cdc-relay-demo: takes no arguments, and -o text or json; see --help")
		return 2
	}
	if err := o.Validate(); err != nil {
		fmt.Fprintln(words, "cdc-relay-demo:", err)
		return 2
	}
	sum, err := demo.Run(ctx, o)
	if err != nil {
		fmt.Fprintln(words, "cdc-relay-demo:", err)
	}
	if err := show(out, *format, sum); err != nil {
		fmt.Fprintln(words, "cdc-relay-demo:", err)
		return 1
	}
	if err != nil || !sum.OK() {
		return 1
	}
	return 0
}

// show prints the result.
func show(out io.Writer, format string, s ledger.Summary) error {
	if format == "json" {
		if err := json.NewEncoder(out).Encode(s); err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
		return nil
	}
	verdict := "every committed row was delivered, in order, and nothing else"
	if !s.OK() {
		verdict = "NOT what is promised"
	}
	_, err := fmt.Fprintf(out, `
committed     %d
rolled back   %d
delivered     %d
missing       %d
phantom       %d
out of order  %d
duplicates    %d
latency       p50 %.2f ms, p99 %.2f ms, max %.1f ms

%s
`, s.Committed, s.RolledBack, s.Delivered, s.Missing, s.Phantom, s.OutOfOrder, s.Duplicates,
		s.Latency.P50, s.Latency.P99, s.Latency.Max, verdict)
	if err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}
