package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	if spec := os.Getenv(specEnv); spec != "" {
		os.Exit(runService(ctx, spec))
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, term.IsTerminal(int(os.Stderr.Fd()))))
}

// options say what to run.
type options struct {
	duration time.Duration // how long customers order; 0: until the context ends
	rate     int           // orders a second
	patience time.Duration // of the order service, for a step
	relay    string        // program; "": built from ./cmd/cdc-relay
	kill     bool          // kill -9 of services and relays at random
	crash    bool          // each service kills itself in each step, before the commit and after it
	fail     failures
	screen   io.Writer
	terminal bool // screen is one: a table that is redrawn, not lines
}

func newOptions() options {
	return options{rate: 50, patience: 5 * time.Second, screen: io.Discard}
}

// failures are shares of what goes wrong without anybody being killed.
type failures struct{ payment, shipping, silence float64 }

// set reads payment=20%,shipping=10%,timeout=5%.
func (f *failures) set(text string) error {
	for _, one := range strings.Split(text, ",") {
		what, share, ok := strings.Cut(one, "=")
		n, err := strconv.ParseFloat(strings.TrimSuffix(share, "%"), 64)
		if !ok || err != nil || n < 0 || n > 100 {
			return fmt.Errorf("%q: want a name and a share, like payment=20%%", one)
		}
		switch what {
		case "payment":
			f.payment = n / 100
		case "shipping":
			f.shipping = n / 100
		case "timeout":
			f.silence = n / 100
		default:
			return fmt.Errorf("%q: there are payment (charges refused), shipping (dispatches refused) and timeout (answers not given)", what)
		}
	}
	return nil
}

func run(ctx context.Context, args []string, out, words io.Writer, terminal bool) int {
	o := newOptions()
	o.screen, o.terminal = words, terminal
	flags := flag.NewFlagSet("saga", flag.ContinueOnError)
	flags.SetOutput(words)
	flags.DurationVar(&o.duration, "for", 0, "how long customers order (0: until Ctrl-C)")
	flags.IntVar(&o.rate, "rate", o.rate, "orders a second")
	flags.DurationVar(&o.patience, "patience", o.patience, "how long a step may take until it is taken back")
	flags.Func("fail", "what goes wrong: payment=20%,shipping=10%,timeout=5%", o.fail.set)
	flags.BoolVar(&o.kill, "kill", false, "kill -9 of services and relays at random")
	flags.BoolVar(&o.crash, "crash", false, "each service kills itself in each of its steps, before the commit and after it")
	flags.StringVar(&o.relay, "relay", "", "program of the relay (default: built from ./cmd/cdc-relay)")
	format := flags.String("o", "text", "how the result is printed: text, json")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 || *format != "text" && *format != "json" || o.duration < 0 || o.rate < 1 || o.rate > 10_000 || o.patience < 100*time.Millisecond {
		fmt.Fprintln(words, "saga: takes no arguments, -o text or json, --rate 1 to 10000, --patience from 100ms; see --help")
		return 2
	}
	v, err := play(ctx, o)
	if err != nil {
		fmt.Fprintln(words, "saga:", err)
	}
	if err := v.print(out, *format); err != nil {
		fmt.Fprintln(words, "saga:", err)
		return 1
	}
	if err != nil || !v.ok() {
		return 1
	}
	return 0
}

// print prints the verdict.
func (v verdict) print(out io.Writer, format string) error {
	if format == "json" {
		return json.NewEncoder(out).Encode(v)
	}
	words := "every saga ended, and each effect is there once"
	if !v.ok() {
		words = "NOT what is promised"
	}
	_, err := fmt.Fprintf(out, "\nstarted         %d\ncompleted       %d\ncompensated     %d (%d of them after a time-out)\nstuck           %d\n"+
		"double effects  %d\nlost effects    %d\nout of order    %d\nmoney off       %d\nkilled          %d times\n\n%s\n", v.Started, v.Completed, v.Compensated, v.TimedOut,
		v.Stuck, v.DoubleEffects, v.LostEffects, v.OutOfOrder, v.MoneyOff, v.Kills, words)
	return err
}
