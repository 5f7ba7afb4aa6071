package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
)

func newSkip(p *cli.Program) *cobra.Command {
	var position, why string
	cmd := &cobra.Command{
		Use:   "skip --position LSN/INDEX --why TEXT",
		Short: "Pass over one event that stops the relay",
		Long: "The way past exit code 8. The position stands in the error that stopped the relay; the verdict is kept with who gave\n" +
			"it and why, and the event is not published. It stays in the outbox table, unless it was a message: those are nowhere else.",
		Example: "  cdc-relay skip --position 0/16B3748/3 --why 'ticket 4711'\n  cdc-relay skip --position 0/16B3748/0 --why 'bad row' -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := parsePosition(position)
			if err != nil {
				return err
			}
			if strings.TrimSpace(why) == "" {
				return errors.New("--why is missing: say why the event is given up")
			}
			return cli.Exit(cli.Failed, withDatabase(cmd.Context(), p, "skip", func(c *config.Config, conn *pgx.Conn) error {
				return skip(cmd.Context(), p, c.Replication.Slot, conn, at, why)
			}))
		},
	}
	cmd.Flags().StringVar(&position, "position", "", "`LSN/INDEX` of the event, as the error names it")
	cmd.Flags().StringVar(&why, "why", "", "`reason`, for the audit")
	return cmd
}

func skip(ctx context.Context, p *cli.Program, slot string, conn *pgx.Conn, at decoder.Position, why string) error {
	id, err := deadletter.NewStore(conn, slot).Skip(ctx, at, deadletter.Audit{Who: who(p), Why: why})
	if err != nil {
		return err
	}
	if p.JSON() {
		return p.WriteJSON(map[string]any{"slot": slot, "position": at.String(), "id": id})
	}
	p.Say("slot %s passes over %s (verdict %d); start the relay again", slot, at, id)
	return nil
}

// parsePosition reads what decoder.Position.String writes: 0/16B3748/3.
func parsePosition(text string) (decoder.Position, error) {
	cut := strings.LastIndexByte(text, '/')
	if cut > 0 {
		lsn, lsnErr := pglogrepl.ParseLSN(text[:cut])
		index, indexErr := strconv.ParseUint(text[cut+1:], 10, 32)
		if lsnErr == nil && indexErr == nil && strings.Contains(text[:cut], "/") {
			return decoder.Position{Commit: lsn, Index: uint32(index)}, nil
		}
	}
	return decoder.Position{}, fmt.Errorf("--position %q: want LSN/INDEX as the error names it, like 0/16B3748/3", text)
}
