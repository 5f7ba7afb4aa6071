package main

import (
	"errors"
	"fmt"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/replication"
)

// explain gives the errors of the packages the exit codes that they mean.
func explain(err error) error {
	var unusable *checkpoint.UnusableError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unusable):
		return cli.Exit(cli.SlotUnusable, err)
	case errors.Is(err, checkpoint.ErrNoSchema), errors.Is(err, checkpoint.ErrNotGranted), errors.Is(err, checkpoint.ErrProtocol),
		errors.Is(err, checkpoint.ErrPublicationUnusable):
		return cli.Exit(cli.Precondition, err)
	case errors.Is(err, checkpoint.ErrNoMark), errors.Is(err, checkpoint.ErrNoSlot):
		return cli.Exit(cli.SlotUnusable, err)
	}
	switch d := replication.Class(err); d.Action {
	case replication.Stop:
		return cli.Exit(cli.Precondition, withCure(err, d.Cure))
	case replication.SlotUnusable:
		return cli.Exit(cli.SlotUnusable, withCure(err, d.Cure))
	}
	return cli.Explain(err)
}

func withCure(err error, cure string) error {
	if cure == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, cure)
}
