package lab

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// NewSlot makes a slot that stands at the end of the WAL.
func (l *Lab) NewSlot(ctx context.Context) (string, error) {
	name := "bench_" + host.Random()
	if err := l.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name); err != nil {
		return "", fmt.Errorf("make slot %s: %w", name, err)
	}
	return name, nil
}

// CopySlot makes a slot that stands where another one does, so that each run reads the same WAL.
func (l *Lab) CopySlot(ctx context.Context, from string) (string, error) {
	name := "bench_" + host.Random()
	if err := l.Exec(ctx, "SELECT pg_copy_logical_replication_slot($1, $2)", from, name); err != nil {
		return "", fmt.Errorf("copy slot %s: %w", from, err)
	}
	return name, nil
}

// Adopt gives a slot the mark that the relay asks for.
func (l *Lab) Adopt(ctx context.Context, slot string) error {
	var answer string
	err := l.Query(ctx, "SELECT concat_ws(': ', code, detail) FROM cdc_relay.adopt_v1($1, $2, $3, 1, '0/0', false, 'bench')", &answer, slot, Publication, l.sysID)
	if err == nil && answer != "ok" {
		err = fmt.Errorf("it answered %q", answer)
	}
	if err != nil {
		return fmt.Errorf("adopt slot %s: %w", slot, err)
	}
	return nil
}

// DropSlot drops a slot and its mark; a walsender that has just lost its client takes a moment to let go.
func (l *Lab) DropSlot(ctx context.Context, slot string) error {
	err := Poll(ctx, 20*time.Millisecond, 10*time.Second, "drop slot "+slot, func() (bool, error) {
		return l.Exec(ctx, "SELECT pg_drop_replication_slot($1)", slot) == nil, nil
	})
	if err != nil {
		return err
	}
	return l.Exec(ctx, "DELETE FROM cdc_relay.checkpoint WHERE slot = $1", slot)
}

// Walsender returns the pid of the process that streams a slot, 0 when nobody does.
func (l *Lab) Walsender(ctx context.Context, slot string) (pid int, err error) {
	err = l.Query(ctx, "SELECT coalesce((SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1), 0)", &pid, slot)
	return pid, err
}

// WALEnd returns the end of the WAL, after writing something more, so that a receiver that is to stop there gets beyond it.
func (l *Lab) WALEnd(ctx context.Context) (pglogrepl.LSN, error) {
	var text string
	if err := l.Query(ctx, "SELECT pg_current_wal_insert_lsn()::text", &text); err != nil {
		return 0, err
	}
	if err := l.Flush(ctx); err != nil {
		return 0, err
	}
	lsn, err := pglogrepl.ParseLSN(text)
	if err != nil {
		return 0, fmt.Errorf("read the end of the WAL: %w", err)
	}
	return lsn, nil
}

// Flush commits something that no slot of ours sends, and waits for the disk: what was committed before without waiting is
// there then, and a walsender sends only what is.
func (l *Lab) Flush(ctx context.Context) error {
	return l.Exec(ctx, "SELECT pg_logical_emit_message(true, 'bench', '')")
}
