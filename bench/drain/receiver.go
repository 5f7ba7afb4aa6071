package drain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/bench/lab"
)

// Receiver is what reads a slot and throws it away.
type Receiver struct {
	Name    string
	program string // pg_recvlogical, or ourselves
}

// FindReceiver looks for pg_recvlogical in the path and where Debian's packages put it, the newest first.
func FindReceiver() (Receiver, error) {
	if found, err := exec.LookPath("pg_recvlogical"); err == nil {
		return Receiver{"pg_recvlogical", found}, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_recvlogical")
	if len(found) > 0 {
		return Receiver{"pg_recvlogical", slices.Max(found)}, nil
	}
	self, err := os.Executable()
	if err != nil {
		return Receiver{}, fmt.Errorf("find ourselves: %w", err)
	}
	return Receiver{"stand-in in Go (no pg_recvlogical here)", self}, nil
}

func (r Receiver) command(ctx context.Context, l *lab.Lab, slot string, end pglogrepl.LSN) *exec.Cmd {
	if r.Name != "pg_recvlogical" {
		return exec.CommandContext(ctx, r.program, "receive", l.URL(), slot, end.String())
	}
	return exec.CommandContext(ctx, r.program, "-d", l.URL(), "--slot", slot, "--start", "--no-loop", "--endpos", end.String(),
		"-o", "proto_version=1", "-o", "publication_names="+lab.Publication, "-f", "-")
}

// Drain receives a copy of the slot up to end.
func (r Receiver) Drain(ctx context.Context, l *lab.Lab, base string, rows int, end pglogrepl.LSN) (run Run, err error) {
	slot, err := l.CopySlot(ctx, base)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, l.DropSlot(context.WithoutCancel(ctx), slot)) }()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	cmd := r.command(ctx, l, slot, end) // no Stdout: /dev/null
	start := time.Now()
	if out, err := combined(cmd); err != nil {
		return run, fmt.Errorf("run %s: %w\n%s", r.Name, err, out)
	}
	return Run{Rows: rows, Took: time.Since(start), CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}
