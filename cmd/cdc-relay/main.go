package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/cdc-relay/cdc-relay/internal/cli"
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	go endOnSignals(cancel)
	p := &cli.Program{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Environ(), Version: build()}
	os.Exit(int(execute(ctx, p, os.Args[1:])))
}

// errSignal is the cause of the context that the first signal ends: drain and stop.
type errSignal struct{ os.Signal }

func (e errSignal) Error() string { return "received " + e.String() }

// endOnSignals ends the context at the first SIGINT or SIGTERM, the process at the second.
func endOnSignals(cancel context.CancelCauseFunc) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	cancel(errSignal{<-signals})
	if <-signals == syscall.SIGINT {
		os.Exit(int(cli.Interrupted))
	}
	os.Exit(int(cli.Terminated))
}

// execute runs one invocation and returns its exit code.
func execute(ctx context.Context, p *cli.Program, args []string) cli.Code {
	root := newRoot(p)
	root.SetArgs(args)
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		p.Report(cmd, err)
	}
	return cli.CodeOf(err)
}
