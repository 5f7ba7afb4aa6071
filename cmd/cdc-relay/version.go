package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
)

// Set by the linker: -ldflags "-X main.version=v1.2.3 -X main.commit=... -X main.date=...". A plain `go build` leaves them
// empty, and what the Go tool knows stands in.
var version, commit, date string

func build() cli.Version {
	v := cli.Version{Version: version, Commit: commit, Date: date, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && v.Commit == "":
			v.Commit = s.Value
		case s.Key == "vcs.time" && v.Date == "":
			v.Date = s.Value
		}
	}
	return v
}

func newVersion(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  cdc-relay version\n  cdc-relay version -o json",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(context.Context, []string) error {
			if p.JSON() {
				return p.WriteJSON(p.Version)
			}
			v := p.Version
			_, err := fmt.Fprintf(p.Out, "cdc-relay %s (commit %s, %s, %s, %s/%s)\n", v.Version, v.Commit, v.Date, v.Go, v.OS, v.Arch)
			return err
		}),
	}
}
