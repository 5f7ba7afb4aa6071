package drain

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cdc-relay/cdc-relay/bench/lab"
)

// StandIn is pg_recvlogical > /dev/null in Go: it reads a slot up to end and keeps nothing.
func StandIn(ctx context.Context, url, slot string, end pglogrepl.LSN) error {
	conn, err := lab.Receive(ctx, url, slot)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for due := time.Now(); ; {
		if now := time.Now(); now.After(due) {
			if err := pglogrepl.SendStandbyStatusUpdate(ctx, conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: 1}); err != nil {
				return fmt.Errorf("send a status: %w", err)
			}
			due = now.Add(5 * time.Second)
		}
		at, err := position(ctx, conn)
		if err != nil {
			return err
		}
		if at >= end {
			return nil
		}
	}
}

// position receives one message and says how far it takes us.
func position(ctx context.Context, conn *pgconn.PgConn) (pglogrepl.LSN, error) {
	message, err := conn.ReceiveMessage(ctx)
	if err != nil {
		return 0, fmt.Errorf("receive: %w", err)
	}
	switch m := message.(type) {
	case *pgproto3.ErrorResponse:
		return 0, fmt.Errorf("receive: %w", pgconn.ErrorResponseToPgError(m))
	case *pgproto3.CopyData:
		if m.Data[0] == pglogrepl.PrimaryKeepaliveMessageByteID {
			k, err := pglogrepl.ParsePrimaryKeepaliveMessage(m.Data[1:])
			if err != nil {
				return 0, fmt.Errorf("read a keepalive: %w", err)
			}
			return k.ServerWALEnd, nil
		}
	}
	return 0, nil
}

// combined runs cmd with its standard output thrown away and returns what it said on standard error.
func combined(cmd *exec.Cmd) (string, error) {
	var words bytes.Buffer
	cmd.Stderr = &words
	err := cmd.Run()
	return words.String(), err
}
