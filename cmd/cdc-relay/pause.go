package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
)

func newPause(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "pause",
		Short: "Stop publishing, and stay connected",
		Long: "The owner reads and publishes nothing more until `resume`, also after a restart. The slot keeps WAL meanwhile: watch\n" +
			"the disk.",
		Example: "  cdc-relay pause\n  cdc-relay pause --set replication.slot=other",
		Args:    cobra.NoArgs,
		RunE:    cli.Verb(setPaused(p, "pause", true)),
	}
}

func newResume(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "resume",
		Short:   "Publish again after a pause",
		Example: "  cdc-relay resume\n  cdc-relay resume --set replication.slot=other",
		Args:    cobra.NoArgs,
		RunE:    cli.Verb(setPaused(p, "resume", false)),
	}
}

func setPaused(p *cli.Program, verb string, paused bool) func(context.Context, []string) error {
	return func(ctx context.Context, _ []string) error {
		return withDatabase(ctx, p, verb, func(c *config.Config, conn *pgx.Conn) error {
			if err := checkpoint.NewStore(conn, c.Replication.Slot).SetPaused(ctx, paused, who(p)); err != nil {
				return err
			}
			if p.JSON() {
				return p.WriteJSON(map[string]any{"slot": c.Replication.Slot, "paused": paused})
			}
			p.Say("%sd slot %s", verb, c.Replication.Slot)
			return nil
		})
	}
}
