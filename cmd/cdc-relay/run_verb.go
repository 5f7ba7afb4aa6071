package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
)

func newRun(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Publish events until SIGTERM",
		Long: "Owns the slot, or stands by while another replica owns it. The first start makes the slot. SIGTERM drains within\n" +
			"drain_timeout; a second signal stops at once.",
		Example: "  cdc-relay run\n  cdc-relay run --set sink.kafka=false --set sink.stdout=true",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			cfg, err := p.Load()
			if err != nil {
				return err
			}
			return run(ctx, cfg)
		}),
	}
}
