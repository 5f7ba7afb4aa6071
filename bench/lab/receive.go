package lab

import (
	"context"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
)

// Receive connects to the walsender of a slot and starts it where the slot stands, as pg_recvlogical does.
func Receive(ctx context.Context, url, slot string) (*pgconn.PgConn, error) {
	conn, err := pgconn.Connect(ctx, url+"&replication=database")
	if err != nil {
		return nil, fmt.Errorf("connect for replication: %w", err)
	}
	err = pglogrepl.StartReplication(ctx, conn, slot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names '" + Publication + "'"},
	})
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("start replication of slot %s: %w", slot, err)
	}
	return conn, nil
}
