package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/wiring"
)

// profiledRelay is the relay in this program, with its CPU profile written to a file: the real one carries no profiler.
func profiledRelay(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("profiled-relay takes the profile's name and a configuration")
	}
	cfg, err := config.Load(config.Options{File: args[1]})
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	f, err := os.Create(args[0])
	if err != nil {
		return fmt.Errorf("make the profile: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return fmt.Errorf("start the profile: %w", err)
	}
	defer pprof.StopCPUProfile()
	return wiring.Run(ctx, cfg, "profiled", os.Stdout, os.Stderr)
}
