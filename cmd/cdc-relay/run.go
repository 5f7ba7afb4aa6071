package main

import (
	"context"
	"errors"
	"os"

	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/wiring"
)

// run publishes until ctx ends, then drains.
func run(ctx context.Context, cfg *config.Config) error {
	err := wiring.Run(ctx, cfg, build().Version, os.Stdout, os.Stderr)
	var stop *relay.StopError
	if errors.As(err, &stop) {
		return cli.Exit(cli.Code(stop.Code), err)
	}
	return cli.Exit(cli.Failed, err)
}
