package main

import (
	"context"
	"errors"
	"os/user"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
)

// withDatabase runs f on a connection as the relay's role.
func withDatabase(ctx context.Context, p *cli.Program, verb string, f func(*config.Config, *pgx.Conn) error) error {
	c, err := p.LoadDatabase()
	if err != nil {
		return err
	}
	conn, err := p.Connect(ctx, c.Database, verb)
	if err != nil {
		return err
	}
	return explain(errors.Join(f(c, conn), conn.Close(context.WithoutCancel(ctx))))
}

// who names the operator in the audit: the account, as the environment or the system knows it.
func who(p *cli.Program) string {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if s := p.Getenv(name); s != "" {
			return s
		}
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}
