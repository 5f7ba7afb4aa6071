package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/examples/saga/services"
	"github.com/cdc-relay/cdc-relay/inbox"
)

// specEnv makes this program a service: its value is a spec.
const specEnv = "SAGA_SERVICE"

// spec is what a service is started with.
type spec struct {
	Service string
	Crash   bool
	Options services.Options
}

// runService is the service's whole program.
func runService(ctx context.Context, text string) int {
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		slog.Error("read the service's options", "err", err)
		return 2
	}
	if s.Crash {
		s.Options.Around, s.Options.Metrics = dieBefore, dieAfter{}
	}
	if err := services.Run(ctx, s.Service, s.Options); err != nil {
		slog.Error("the service ended", "service", s.Service, "err", err)
		return 1
	}
	return 0
}

// dieBefore kills the process at the end of a handler, before the commit, once for each type of event.
func dieBefore(h inbox.Handler[pgx.Tx]) inbox.Handler[pgx.Tx] {
	return func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
		err := h(ctx, tx, m)
		if err == nil {
			die("before", m.Type)
		}
		return err
	}
}

// dieAfter kills it when the commit has been answered, and nothing else is written yet.
type dieAfter struct{ inbox.NoMetrics }

// Processed is called after the commit.
func (dieAfter) Processed(_, eventType string, _ time.Duration) { die("after", eventType) }

// die kills the process unless an earlier one has died at that point; a file in the service's folder remembers.
func die(when, eventType string) {
	f, err := os.OpenFile("died-"+when+"-"+eventType, os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return
	}
	_ = f.Close()
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
