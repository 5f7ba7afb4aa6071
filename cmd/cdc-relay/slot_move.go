package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/replication"
)

func newSlotDrop(p *cli.Program) *cobra.Command {
	var yes string
	cmd := &cobra.Command{
		Use:   "drop [NAME] --yes NAME",
		Short: "Drop a slot and its mark",
		Long: "Events that were not published yet are not published any more, and the next `run` is a first start. The server frees\n" +
			"the WAL that the slot kept.",
		Example: "  cdc-relay slot drop --yes cdc_relay\n  cdc-relay slot drop other --yes other",
		Args:    cobra.MaximumNArgs(1),
		RunE: cli.Verb(func(ctx context.Context, args []string) error {
			if err := confirmSlot(p, args, yes, "dropping slot %s"); err != nil {
				return err
			}
			return withSlot(ctx, p, "drop", args, func(_ *config.Config, conn *pgx.Conn, name string) error {
				return dropSlot(ctx, p, conn, name)
			})
		}),
	}
	cmd.Flags().StringVar(&yes, "yes", "", "`name` of the slot, to confirm")
	return cmd
}

// confirmSlot asks before anything is connected to.
func confirmSlot(p *cli.Program, args []string, yes, what string) error {
	c, err := p.LoadDatabase()
	if err != nil {
		return err
	}
	name, err := slotName(c, args)
	if err != nil {
		return err
	}
	return p.Confirm(yes, fmt.Sprintf(what, name), name)
}

// dropSlot drops the slot first: a mark without a slot stops the next start, a slot without a mark would too, but keeps WAL.
func dropSlot(ctx context.Context, p *cli.Program, conn *pgx.Conn, name string) error {
	_, err := replication.LookSlot(ctx, conn, name)
	missing := errors.Is(err, replication.ErrSlotMissing)
	if err != nil && !missing {
		return err
	}
	if !missing {
		if err := replication.DropSlot(ctx, conn, name); err != nil {
			return inUse(err)
		}
		p.Say("dropped slot %s", name)
	}
	forgot := checkpoint.NewStore(conn, name).Forget(ctx, who(p))
	noMark := errors.Is(forgot, checkpoint.ErrNoMark) || errors.Is(forgot, checkpoint.ErrNoSchema)
	switch {
	case forgot == nil:
		p.Say("forgot the mark of slot %s", name)
		return nil
	case noMark && missing:
		return cli.Exit(cli.Failed, fmt.Errorf("slot %q does not exist and has no mark; nothing was dropped", name))
	case noMark:
		return nil
	}
	return forgot
}

// inUse adds the cure to a refusal because somebody streams the slot.
func inUse(err error) error {
	if d := replication.Class(err); d.Action == replication.Standby {
		return cli.Exit(cli.Precondition, fmt.Errorf("%w; stop the relay that owns it first", err))
	}
	return err
}

func newSlotAdvance(p *cli.Program) *cobra.Command {
	var to, yes string
	cmd := &cobra.Command{
		Use:     "advance [NAME] --to LSN --yes NAME",
		Short:   "Move a slot and its mark forward; what lies between is not published",
		Long:    "Nobody may stream the slot meanwhile. `--to now` is the end of the WAL.",
		Example: "  cdc-relay slot advance --to 0/16B3748 --yes cdc_relay\n  cdc-relay slot advance other --to now --yes other",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var lsn pglogrepl.LSN
			if to != "now" {
				var err error
				if lsn, err = pglogrepl.ParseLSN(to); err != nil {
					return fmt.Errorf("--to %q: want an LSN like 0/16B3748, or now", to)
				}
			}
			if err := confirmSlot(p, args, yes, "giving up what slot %s has not sent"); err != nil {
				return err
			}
			ctx := cmd.Context()
			return cli.Exit(cli.Failed, withSlot(ctx, p, "advance", args, func(c *config.Config, conn *pgx.Conn, name string) error {
				return advance(ctx, p, c, conn, name, lsn)
			}))
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "`lsn` to move to, or now")
	cmd.Flags().StringVar(&yes, "yes", "", "`name` of the slot, to confirm")
	return cmd
}

func advance(ctx context.Context, p *cli.Program, c *config.Config, conn *pgx.Conn, name string, lsn pglogrepl.LSN) error {
	if lsn == 0 {
		var now string
		if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_current_wal_lsn()::text").Scan(&now); err != nil {
			return fmt.Errorf("read the end of the WAL: %w", err)
		}
		var err error
		if lsn, err = pglogrepl.ParseLSN(now); err != nil {
			return err
		}
	}
	if _, err := replication.AdvanceSlot(ctx, conn, name, lsn); err != nil {
		return inUse(err)
	}
	mark, err := adopt(ctx, p, c, conn, name, false)
	if err != nil {
		return fmt.Errorf("moved slot %q, but not its mark (`cdc-relay slot adopt %s` does): %w", name, name, err)
	}
	return showMark(p, "moved", mark)
}

func newSlotAdopt(p *cli.Program) *cobra.Command {
	var newIncarnation bool
	var yes string
	cmd := &cobra.Command{
		Use:   "adopt [NAME]",
		Short: "Make the mark of a slot from where the slot stands",
		Long: "For a slot without a mark, and after a slot was moved or made anew by hand. What lies before it counts as dealt with:\n" +
			"where that skips something, it asks for --yes NAME. --new-incarnation tells consumers that positions begin anew\n" +
			"(after a restore, or with a new slot).",
		Example: "  cdc-relay slot adopt\n  cdc-relay slot adopt other --new-incarnation --yes other",
		Args:    cobra.MaximumNArgs(1),
		RunE: cli.Verb(func(ctx context.Context, args []string) error {
			return withSlot(ctx, p, "adopt", args, func(c *config.Config, conn *pgx.Conn, name string) error {
				slot, err := replication.LookSlot(ctx, conn, name)
				if err != nil {
					return err
				}
				old, err := checkpoint.NewStore(conn, name).Read(ctx)
				if err != nil {
					return err
				}
				if old != nil && !old.Creating && slot.ConfirmedFlush > old.LSN {
					what := fmt.Sprintf("giving up what was committed between %s (mark) and %s (slot %s)", old.LSN, slot.ConfirmedFlush, name)
					if err := p.Confirm(yes, what, name); err != nil {
						return err
					}
				}
				mark, err := adopt(ctx, p, c, conn, name, newIncarnation)
				if err != nil {
					return inUse(err)
				}
				return showMark(p, "adopted", mark)
			})
		}),
	}
	cmd.Flags().BoolVar(&newIncarnation, "new-incarnation", false, "positions begin anew")
	cmd.Flags().StringVar(&yes, "yes", "", "`name` of the slot, to confirm")
	return cmd
}
