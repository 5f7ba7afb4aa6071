package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/replication"
)

func newSlot(p *cli.Program) *cobra.Command {
	return cli.Group("slot", "Look at replication slots and their marks, make, drop and move them",
		newSlotList(p), newSlotCreate(p), newSlotDrop(p), newSlotAdvance(p), newSlotAdopt(p))
}

// slotRow is one slot, and its mark, for people and scripts.
type slotRow struct {
	Name          string  `json:"slot"`
	Plugin        string  `json:"plugin"`
	Database      string  `json:"database"`
	ActivePID     uint32  `json:"active_pid"`
	Confirmed     string  `json:"confirmed_flush_lsn"`
	Restart       string  `json:"restart_lsn"`
	WALStatus     string  `json:"wal_status"`
	RetainedBytes int64   `json:"retained_bytes"`
	SafeWALBytes  *int64  `json:"safe_wal_bytes"` // null: no limit
	Failover      bool    `json:"failover"`
	Synced        bool    `json:"synced"`
	Lost          bool    `json:"lost"`
	Mark          *string `json:"mark_lsn"` // null: no mark
	Incarnation   string  `json:"incarnation,omitempty"`
	Paused        bool    `json:"paused"`
}

func newSlotList(p *cli.Program) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the slots of this database, with their marks",
		Example: "  cdc-relay slot list\n  cdc-relay slot list --all -o json",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			return withDatabase(ctx, p, "slot list", func(_ *config.Config, conn *pgx.Conn) error {
				slots, err := replication.ListSlots(ctx, conn)
				if err != nil {
					return err
				}
				list := []slotRow{}
				for i := range slots {
					s := &slots[i]
					if !all && s.Database != conn.Config().Database {
						continue
					}
					row, err := slotRowOf(ctx, conn, s)
					if err != nil {
						return err
					}
					list = append(list, row)
				}
				return showSlots(p, list)
			})
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "slots of the whole cluster, physical ones too")
	return cmd
}

func slotRowOf(ctx context.Context, conn *pgx.Conn, s *replication.Slot) (slotRow, error) {
	row := slotRow{
		Name: s.Name, Plugin: s.Plugin, Database: s.Database, ActivePID: s.ActivePID, Confirmed: s.ConfirmedFlush.String(),
		Restart: s.Restart.String(), WALStatus: s.WALStatus, RetainedBytes: s.RetainedBytes, SafeWALBytes: s.SafeWALSize,
		Failover: s.Failover, Synced: s.Synced, Lost: s.Lost(),
	}
	mark, err := checkpoint.NewStore(conn, s.Name).Read(ctx)
	switch {
	case errors.Is(err, checkpoint.ErrNoSchema): // slots can be looked at before the first migration
	case err != nil:
		return row, err
	case mark != nil && !mark.Creating:
		lsn := mark.LSN.String()
		row.Mark, row.Incarnation, row.Paused = &lsn, mark.Incarnation, mark.Paused
	}
	return row, nil
}

func showSlots(p *cli.Program, list []slotRow) error {
	if p.JSON() {
		return p.WriteJSON(list)
	}
	var rows [][]string
	for _, s := range list {
		mark, state := "none", s.WALStatus
		if s.Mark != nil {
			mark = *s.Mark
		}
		if s.Lost {
			state = "lost"
		}
		if s.Paused {
			state += ",paused"
		}
		owner := "-"
		if s.ActivePID != 0 {
			owner = strconv.FormatUint(uint64(s.ActivePID), 10)
		}
		rows = append(rows, []string{s.Name, dash(s.Plugin), owner, s.Confirmed, mark, config.ByteSize(s.RetainedBytes).String(), state})
	}
	return p.Table([]string{"SLOT", "PLUGIN", "OWNER", "CONFIRMED", "MARK", "WAL KEPT", "STATE"}, rows)
}

// slotName is the slot that a verb means: its argument, else the configured one.
func slotName(c *config.Config, args []string) (string, error) {
	if len(args) == 0 {
		return c.Replication.Slot, nil
	}
	return args[0], cli.Exit(cli.Usage, replication.ValidSlotName(args[0]))
}

// withSlot runs f on the slot that args name, over a connection as the relay's role.
func withSlot(ctx context.Context, p *cli.Program, verb string, args []string, f func(*config.Config, *pgx.Conn, string) error) error {
	return withDatabase(ctx, p, "slot "+verb, func(c *config.Config, conn *pgx.Conn) error {
		name, err := slotName(c, args)
		if err != nil {
			return err
		}
		return f(c, conn, name)
	})
}

// withReplication runs f on a replication connection for the slot.
func withReplication(ctx context.Context, c *config.Config, slot string, f func(*replication.Conn) error) error {
	conn, err := replication.Connect(ctx, replication.NewConfig(cli.PgConfig(c.Database), slot, c.Replication.Publication))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return f(conn)
}

// adopt makes the mark of a slot from where the slot stands.
func adopt(ctx context.Context, p *cli.Program, c *config.Config, conn *pgx.Conn, slot string, newIncarnation bool) (*checkpoint.Mark, error) {
	var system replication.System
	err := withReplication(ctx, c, slot, func(r *replication.Conn) error { system = r.System(); return nil })
	if err != nil {
		return nil, err
	}
	return checkpoint.NewStore(conn, slot).Adopt(ctx, checkpoint.Adoption{
		Publication: c.Replication.Publication, SystemID: system.ID, Timeline: system.Timeline, NewIncarnation: newIncarnation, By: who(p),
	})
}

func showMark(p *cli.Program, done string, m *checkpoint.Mark) error {
	if p.JSON() {
		return p.WriteJSON(map[string]any{"slot": m.Slot, "mark_lsn": m.LSN.String(), "incarnation": m.Incarnation})
	}
	p.Say("%s slot %s: its mark stands at %s, incarnation %s", done, m.Slot, m.LSN, m.Incarnation)
	return nil
}

func newSlotCreate(p *cli.Program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Make a slot, and its mark where it has none",
		Long: "The first `run` does this by itself. What was committed before is not published. A slot that replaces one with a mark\n" +
			"is left without a new mark: `slot adopt` says that what lies between counts as dealt with.",
		Example: "  cdc-relay slot create\n  cdc-relay slot create other -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: cli.Verb(func(ctx context.Context, args []string) error {
			return withSlot(ctx, p, "create", args, func(c *config.Config, conn *pgx.Conn, name string) error {
				mark, err := checkpoint.NewStore(conn, name).Read(ctx)
				if err != nil {
					return err
				}
				if err := replication.CheckPublication(ctx, conn, c.Replication.Publication, tables(c)); err != nil {
					return cli.Exit(cli.Precondition, fmt.Errorf("a slot cannot decode what was written before its publication: %w", err))
				}
				if err := createSlot(ctx, c, name); err != nil {
					return err
				}
				if mark != nil && !mark.Creating {
					p.Say("made slot %s; its mark stands at %s: look for rows that were not published since, then run\n`cdc-relay slot adopt %s --new-incarnation`", name, mark.LSN, name)
					return nil
				}
				mark, err = adopt(ctx, p, c, conn, name, true)
				if err != nil {
					return fmt.Errorf("made slot %q, but not its mark (`cdc-relay slot adopt %s` makes it): %w", name, name, err)
				}
				return showMark(p, "made", mark)
			})
		}),
	}
	return cmd
}

// tables are the outbox tables as publications name them: schema.table.
func tables(c *config.Config) []string {
	var list []string
	for _, o := range c.Outbox {
		list = append(list, o.Table)
	}
	return list
}

// failoverVersion is the first major version with failover slots.
const failoverVersion = 170000

func createSlot(ctx context.Context, c *config.Config, name string) error {
	return withReplication(ctx, c, name, func(r *replication.Conn) error {
		failover := c.Replication.Failover == "on" || c.Replication.Failover == "auto" && r.System().Version >= failoverVersion
		_, err := r.CreateSlot(ctx, name, failover)
		return err
	})
}
