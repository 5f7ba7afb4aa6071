// Command testenv starts, shows and ends the shared servers that tests use.
//
//	go run ./internal/testenv/cmd/testenv up [14 15 16 17 18] [kafka]   fetch and start; default: 15 and Kafka
//	go run ./internal/testenv/cmd/testenv fetch [...]                   fetch alone
//	go run ./internal/testenv/cmd/testenv status                        what runs, and where
//	go run ./internal/testenv/cmd/testenv cache                         where downloads and servers live
//	go run ./internal/testenv/cmd/testenv down                          end all, private ones of dead tests too
//
// Words about progress go to standard error. Downloads are kept by `down`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
	"github.com/cdc-relay/cdc-relay/internal/testenv/kafka"
	"github.com/cdc-relay/cdc-relay/internal/testenv/postgres"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, out, words io.Writer) int {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	var err error
	switch {
	case verb == "up" || verb == "fetch":
		err = up(ctx, args, verb == "up", out, words)
	case verb == "status" && len(args) == 0:
		err = status(ctx, out)
	case verb == "cache" && len(args) == 0:
		err = cache(out)
	case verb == "down" && len(args) == 0:
		err = down(out)
	default:
		fmt.Fprintln(words, "usage: testenv up|fetch [14|15|16|17|18]... [kafka]  |  status  |  cache  |  down")
		return 2
	}
	if err != nil {
		fmt.Fprintln(words, "testenv:", err)
		return 1
	}
	return 0
}

// up starts each part, and goes on after one that cannot be had: tests of the others still run.
func up(ctx context.Context, parts []string, start bool, out, words io.Writer) error {
	if len(parts) == 0 {
		parts = []string{postgres.DefaultVersion, "kafka"}
	}
	var failed error
	for _, part := range parts {
		address, err := one(ctx, part, start, words)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", part, err))
			continue
		}
		fmt.Fprintln(out, address)
	}
	return failed
}

func one(ctx context.Context, part string, start bool, words io.Writer) (string, error) {
	switch {
	case part == "kafka" && start:
		c, err := kafka.Shared(ctx, words)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("Kafka %s up at %s", c.Version, strings.Join(c.Brokers(), ",")), nil
	case part == "kafka":
		return "Kafka fetched", kafka.Fetch(ctx, words)
	case !slices.Contains(postgres.Versions(), part):
		return "", fmt.Errorf("no such part; there are kafka and Postgres %s", strings.Join(postgres.Versions(), ", "))
	case start:
		s, err := postgres.Shared(ctx, part, words)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("Postgres %s up at %s", part, s.URL("postgres")), nil
	default:
		_, err := postgres.Install(part, words)
		return "Postgres " + part + " fetched", err
	}
}

func status(ctx context.Context, out io.Writer) error {
	for _, s := range postgres.Known() {
		fmt.Fprintf(out, "Postgres %s\t%s\t%s\t%s\n", s.Version, state(s.Ping(ctx)), s.URL("postgres"), s.Dir)
	}
	for _, c := range kafka.Known() {
		fmt.Fprintf(out, "Kafka %s\t%s\t%s\t%s\n", c.Version, state(c.Ping(ctx)), strings.Join(c.Brokers(), ","), c.Dir)
	}
	return nil
}

func cache(out io.Writer) error {
	dir, err := host.Dir()
	if err == nil {
		fmt.Fprintln(out, dir)
	}
	return err
}

func state(err error) string {
	if err != nil {
		return "down"
	}
	return "up"
}

// down ends the shared servers and those private ones whose test is dead; a test that runs keeps its own.
func down(out io.Writer) error {
	var failed error
	for _, s := range postgres.Known() {
		if s.Owner.PID == 0 || !s.Owner.Alive() {
			failed = errors.Join(failed, s.Remove())
			fmt.Fprintf(out, "Postgres %s ended (%s)\n", s.Version, s.Dir)
		}
	}
	for _, c := range kafka.Known() {
		if c.Owner.PID == 0 || !c.Owner.Alive() {
			failed = errors.Join(failed, c.Remove())
			fmt.Fprintf(out, "Kafka %s ended (%s)\n", c.Version, c.Dir)
		}
	}
	return failed
}
