package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
)

func newStatus(p *cli.Program) *cobra.Command {
	var (
		address  string
		watch    bool
		interval time.Duration
	)
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show how the relay on this machine fares; exit 5 when it is not healthy",
		Long:    "Asks /api/v1/status and /readyz on admin.listen. --watch repeats it, a JSON object a line with -o json.",
		Example: "  cdc-relay status\n  cdc-relay status --watch --interval 1s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < 100*time.Millisecond {
				return errors.New("--interval: want 100ms or more")
			}
			if !watch {
				return cli.Exit(cli.Failed, status(cmd.Context(), p, address, false))
			}
			return cli.Exit(cli.Failed, watchStatus(cmd.Context(), p, address, interval))
		},
	}
	cmd.Flags().StringVar(&address, "address", "", "`url` of the admin listener (default from admin.listen)")
	cmd.Flags().BoolVar(&watch, "watch", false, "repeat until interrupted")
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "`duration` between two looks")
	return cmd
}

// watchStatus looks again and again; that the relay does not answer is something to watch too.
func watchStatus(ctx context.Context, p *cli.Program, address string, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := status(ctx, p, address, true); err != nil && ctx.Err() == nil {
			if cli.CodeOf(err) != cli.Unhealthy {
				return err
			}
			p.Say("%s", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func status(ctx context.Context, p *cli.Program, address string, again bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	code, body, err := adminGet(ctx, p, address, "/api/v1/status")
	if err != nil {
		return err
	}
	if code != http.StatusOK || !json.Valid(body) {
		return cli.Exit(cli.Unhealthy, fmt.Errorf("the relay answers with HTTP %d: %s", code, strings.TrimSpace(string(body))))
	}
	if err := showStatus(p, body, again); err != nil {
		return err
	}
	ready, text, err := adminGet(ctx, p, address, "/readyz?verbose")
	if err != nil {
		return err
	}
	if ready != http.StatusOK {
		return cli.Exit(cli.Unhealthy, fmt.Errorf("not ready: %s", strings.TrimSpace(string(text))))
	}
	return nil
}

func showStatus(p *cli.Program, body []byte, again bool) error {
	if p.JSON() {
		if !again {
			_, err := fmt.Fprintf(p.Out, "%s\n", bytes.TrimSpace(body))
			return err
		}
		var line bytes.Buffer
		if err := json.Compact(&line, body); err != nil {
			return err
		}
		_, err := fmt.Fprintf(p.Out, "%s\n", line.Bytes())
		return err
	}
	var v any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		return err
	}
	if again {
		fmt.Fprintf(p.Out, "-- %s\n", time.Now().UTC().Format(time.RFC3339))
	}
	return p.Table([]string{"STATUS", ""}, flatten("", v))
}

// flatten lists the leaves of a JSON value by path, so that whatever the relay tells is shown, also by an older verb.
func flatten(path string, v any) [][]string {
	var rows [][]string
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			rows = append(rows, flatten(strings.TrimPrefix(path+"."+name, "."), v[name])...)
		}
	case []any:
		for i, item := range v {
			rows = append(rows, flatten(fmt.Sprintf("%s[%d]", path, i), item)...)
		}
	case nil:
		rows = append(rows, []string{path, "-"})
	default:
		rows = append(rows, []string{path, fmt.Sprint(v)})
	}
	return rows
}
