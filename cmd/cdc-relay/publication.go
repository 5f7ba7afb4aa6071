package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/replication"
)

func newPublication(p *cli.Program) *cobra.Command {
	return cli.Group("publication", "Look at the publication, make it, drop it, accept a change",
		newPublicationShow(p), newPublicationCreate(p), newPublicationAccept(p), newPublicationDrop(p))
}

// publicationRow is the publication for people and scripts.
type publicationRow struct {
	Name        string    `json:"publication"`
	Owner       string    `json:"owner"`
	Tables      []string  `json:"tables"`
	Publishes   []string  `json:"publishes"`
	ViaRoot     bool      `json:"publish_via_partition_root"`
	Fingerprint string    `json:"fingerprint"`
	Matches     *bool     `json:"matches_mark"` // null: the slot has no mark
	Problems    []problem `json:"problems"`
}

type problem struct {
	Fatal bool   `json:"fatal"`
	What  string `json:"what"`
	Cure  string `json:"cure,omitempty"`
}

func newPublicationShow(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Show the publication, what is wrong with it, and whether it changed",
		Long:    "Exits 4 when the relay would not start with it.",
		Example: "  cdc-relay publication show\n  cdc-relay publication show -o json",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			return withDatabase(ctx, p, "publication show", func(c *config.Config, conn *pgx.Conn) error {
				row, err := lookPublication(ctx, c, conn)
				if err != nil {
					return err
				}
				if err := showPublication(p, row); err != nil {
					return err
				}
				return verdict(row, c.Replication.Slot)
			})
		}),
	}
}

func lookPublication(ctx context.Context, c *config.Config, conn *pgx.Conn) (publicationRow, error) {
	name := c.Replication.Publication
	pub, err := replication.LookPublication(ctx, conn, name)
	if err != nil {
		return publicationRow{}, err
	}
	row := publicationRow{Name: name, Owner: pub.Owner, ViaRoot: pub.ViaRoot, Tables: []string{}, Publishes: []string{}, Problems: []problem{}}
	for _, t := range pub.Tables {
		row.Tables = append(row.Tables, t.String())
	}
	for _, kind := range []struct {
		name string
		on   bool
	}{{"insert", pub.Insert}, {"update", pub.Update}, {"delete", pub.Delete}, {"truncate", pub.Truncate}} {
		if kind.on {
			row.Publishes = append(row.Publishes, kind.name)
		}
	}
	for _, x := range pub.Check(tables(c)) {
		row.Problems = append(row.Problems, problem{x.Fatal, x.What, x.Cure})
	}
	fingerprint, _, err := checkpoint.Fingerprint(ctx, conn, name)
	switch {
	case errors.Is(err, checkpoint.ErrPublicationUnusable): // among the problems
	case err != nil:
		return row, err
	}
	row.Fingerprint = fingerprint
	mark, err := checkpoint.NewStore(conn, c.Replication.Slot).Read(ctx)
	if err != nil {
		return row, err
	}
	if mark != nil && !mark.Creating {
		same := mark.Fingerprint == fingerprint
		row.Matches = &same
	}
	return row, nil
}

func showPublication(p *cli.Program, row publicationRow) error {
	if p.JSON() {
		return p.WriteJSON(row)
	}
	matches := "the slot has no mark yet"
	if row.Matches != nil {
		matches = map[bool]string{true: "yes", false: "no, it was changed"}[*row.Matches]
	}
	err := p.Table([]string{"PUBLICATION", row.Name}, [][]string{
		{"owner", row.Owner},
		{"tables", strings.Join(row.Tables, ", ")},
		{"publishes", strings.Join(row.Publishes, ", ")},
		{"via root", fmt.Sprint(row.ViaRoot)},
		{"as the mark knows it", matches},
	})
	for _, x := range row.Problems {
		word := "note"
		if x.Fatal {
			word = "problem"
		}
		p.Say("%s: %s; %s", word, x.What, x.Cure)
	}
	return err
}

// verdict says whether the relay would start with this publication.
func verdict(row publicationRow, slot string) error {
	for _, x := range row.Problems {
		if x.Fatal {
			return cli.Exit(cli.Precondition, fmt.Errorf("publication %q cannot be used as it is", row.Name))
		}
	}
	if row.Matches != nil && !*row.Matches {
		return cli.Exit(cli.Precondition, fmt.Errorf("publication %q is not the one that slot %q was read with: rows may have been skipped; `cdc-relay publication accept` goes on", row.Name, slot))
	}
	return nil
}

func newPublicationAccept(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "accept",
		Short: "Go on with a publication that was changed",
		Long: "Shows the publication as the mark knew it and as it is. Rows that were committed while it was different may have been\n" +
			"skipped by the server: look for them in the outbox first.",
		Example: "  cdc-relay publication accept\n  cdc-relay publication accept -o json",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			return withDatabase(ctx, p, "publication accept", func(c *config.Config, conn *pgx.Conn) error {
				before, after, err := checkpoint.NewStore(conn, c.Replication.Slot).AcceptPublication(ctx, who(p))
				if err != nil {
					return err
				}
				if p.JSON() {
					return p.WriteJSON(map[string]any{"slot": c.Replication.Slot, "before": before, "after": after})
				}
				p.Say("slot %s goes on with publication %s", c.Replication.Slot, c.Replication.Publication)
				return p.Table([]string{"BEFORE", before}, [][]string{{"AFTER", after}})
			})
		}),
	}
}

// withOwner runs f on the owner's connection, in a transaction.
func withOwner(ctx context.Context, p *cli.Program, verb string, f func(*config.Config, *pgx.Conn) error) error {
	c, err := p.LoadDatabase()
	if err != nil {
		return err
	}
	conn, err := p.Connect(ctx, c.MigrateDatabase(), verb)
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, conn, func(pgx.Tx) error { return f(c, conn) })
	return explain(errors.Join(err, conn.Close(context.WithoutCancel(ctx))))
}

func newPublicationCreate(p *cli.Program) *cobra.Command {
	var yes string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make the publication for the configured outbox tables",
		Long: "`migrate up` does this by itself. It has to stand before the slot: rows between the slot's position and now cannot be\n" +
			"decoded with it (Postgres 14 to 17 stop, 18 skips them). So where the slot exists it asks for --yes SLOT.",
		Example: "  cdc-relay publication create\n  cdc-relay publication create --yes cdc_relay",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			return withOwner(ctx, p, "publication create", func(c *config.Config, conn *pgx.Conn) error {
				return createPublication(ctx, p, c, conn, yes)
			})
		}),
	}
	cmd.Flags().StringVar(&yes, "yes", "", "`name` of a slot that exists already, to confirm")
	return cmd
}

// createPublication also stores the new fingerprint, in the same transaction, where the slot has a mark.
func createPublication(ctx context.Context, p *cli.Program, c *config.Config, conn *pgx.Conn, yes string) error {
	slot, name := c.Replication.Slot, c.Replication.Publication
	_, err := replication.LookSlot(ctx, conn, slot)
	exists := err == nil
	if err != nil && !errors.Is(err, replication.ErrSlotMissing) {
		return err
	}
	if exists {
		if err := p.Confirm(yes, fmt.Sprintf("giving up what slot %s has not sent", slot), slot); err != nil {
			return err
		}
	}
	if err := replication.CreatePublication(ctx, conn, name, tables(c), ""); err != nil {
		return err
	}
	if exists {
		_, _, err := checkpoint.NewStore(conn, slot).AcceptPublication(ctx, who(p))
		if err != nil && !errors.Is(err, checkpoint.ErrNoMark) {
			return err
		}
		p.Say("slot %s stands before this publication: `cdc-relay slot advance --to now --yes %s` moves it past", slot, slot)
	}
	if p.JSON() {
		return p.WriteJSON(map[string]any{"publication": name, "tables": tables(c)})
	}
	p.Say("made publication %s for %s", name, strings.Join(tables(c), ", "))
	return nil
}

func newPublicationDrop(p *cli.Program) *cobra.Command {
	var yes string
	cmd := &cobra.Command{
		Use:     "drop --yes NAME",
		Short:   "Drop the publication",
		Long:    "A slot that still has to send with it becomes useless: drop the slot first.",
		Example: "  cdc-relay publication drop --yes cdc_relay\n  cdc-relay publication drop --yes other --set replication.publication=other",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			c, err := p.LoadDatabase()
			if err != nil {
				return err
			}
			name := c.Replication.Publication
			if err := p.Confirm(yes, "dropping publication "+name, name); err != nil {
				return err
			}
			return withOwner(ctx, p, "publication drop", func(_ *config.Config, conn *pgx.Conn) error {
				if _, err := replication.LookPublication(ctx, conn, name); errors.Is(err, replication.ErrPublicationMissing) {
					return cli.Exit(cli.Failed, fmt.Errorf("publication %q does not exist; nothing was dropped", name))
				}
				if err := replication.DropPublication(ctx, conn, name); err != nil {
					return err
				}
				p.Say("dropped publication %s", name)
				return nil
			})
		}),
	}
	cmd.Flags().StringVar(&yes, "yes", "", "`name` of the publication, to confirm")
	return cmd
}
