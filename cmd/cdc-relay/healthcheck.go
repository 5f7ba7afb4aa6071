package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
)

func newHealthcheck(p *cli.Program) *cobra.Command {
	var address string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:     "healthcheck",
		Short:   "Ask the relay on this machine whether it is ready; exit 5 when not",
		Long:    "Asks /readyz on admin.listen: for the HEALTHCHECK of a container image that has no curl.",
		Example: "  cdc-relay healthcheck\n  cdc-relay healthcheck --timeout 1s --address http://127.0.0.1:9630",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			status, body, err := adminGet(ctx, p, address, "/readyz?verbose")
			if err != nil {
				return err
			}
			ready := status == http.StatusOK
			if p.JSON() {
				if err := p.WriteJSON(map[string]any{"ready": ready, "status": status}); err != nil {
					return err
				}
			}
			if !ready {
				return cli.Exit(cli.Unhealthy, fmt.Errorf("not ready (HTTP %d): %s", status, strings.TrimSpace(string(body))))
			}
			p.Say("ready")
			return nil
		}),
	}
	cmd.Flags().StringVar(&address, "address", "", "`url` of the admin listener (default from admin.listen)")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait, a `duration`")
	return cmd
}
