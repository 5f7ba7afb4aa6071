package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/bench/drain"
	"github.com/cdc-relay/cdc-relay/bench/ends"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, out, words io.Writer) int {
	if len(args) > 0 && hidden(args[0]) != nil { // programs that we start from ourselves
		if err := hidden(args[0])(ctx, args[1:]); err != nil {
			fmt.Fprintln(words, "bench:", err)
			return 1
		}
		return 0
	}
	o, err := parse(args, words)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(words, "bench:", err)
		return 2
	}
	r, err := measure(ctx, o, words)
	if o.json {
		err = errors.Join(err, r.JSON(out))
	} else {
		err = errors.Join(err, r.Table(out))
	}
	if err != nil {
		fmt.Fprintln(words, "bench:", err)
		return 1
	}
	return 0
}

// hidden returns what runs in a process of its own.
func hidden(name string) func(context.Context, []string) error {
	switch name {
	case "receive":
		return receive
	case "consume":
		return ends.Consume
	case "profiled-relay":
		return profiledRelay
	}
	return nil
}

func receive(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("receive takes URL, slot and LSN")
	}
	end, err := pglogrepl.ParseLSN(args[2])
	if err != nil {
		return fmt.Errorf("read the LSN: %w", err)
	}
	return drain.StandIn(ctx, args[0], args[1], end)
}
