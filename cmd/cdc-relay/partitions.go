package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/partitions"
)

// deleteRows bounds what one `partitions maintain` deletes from a plain table.
const deleteRows = 10_000

func newPartitions(p *cli.Program) *cobra.Command {
	return cli.Group("partitions", "Look after the days of the outbox", newPartitionsList(p), newPartitionsMaintain(p))
}

// partitionRow is one partition for people and scripts.
type partitionRow struct {
	Table    string     `json:"table"`
	Name     string     `json:"partition"`
	From     *time.Time `json:"from"`
	To       *time.Time `json:"to"`
	Default  bool       `json:"default"`
	Bytes    int64      `json:"bytes"`
	WaitsFor string     `json:"waits_for,omitempty"`
}

func newPartitionsList(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the partitions of each outbox",
		Example: "  cdc-relay partitions list\n  cdc-relay partitions list -o json",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			return withDatabase(ctx, p, "partitions list", func(c *config.Config, conn *pgx.Conn) error {
				list := []partitionRow{}
				for _, o := range c.Outbox {
					parts, err := partitions.List(ctx, conn, o.Table)
					if err != nil {
						return err
					}
					for i := range parts {
						list = append(list, rowOf(o.Table, &parts[i]))
					}
				}
				return showPartitions(p, list)
			})
		}),
	}
}

func rowOf(table string, part *partitions.Partition) partitionRow {
	r := partitionRow{Table: table, Name: part.Name, Default: part.Default, Bytes: part.Bytes}
	if !part.From.IsZero() {
		r.From = &part.From
	}
	if !part.To.IsZero() {
		r.To = &part.To
	}
	if part.WaitsFor != 0 {
		r.WaitsFor = part.WaitsFor.String()
	}
	return r
}

func showPartitions(p *cli.Program, list []partitionRow) error {
	if p.JSON() {
		return p.WriteJSON(list)
	}
	day := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return t.Format("2006-01-02")
	}
	var rows [][]string
	for _, r := range list {
		from := day(r.From)
		if r.Default {
			from = "default"
		}
		rows = append(rows, []string{r.Name, from, day(r.To), strconv.FormatInt(r.Bytes, 10), dash(r.WaitsFor)})
	}
	return p.Table([]string{"PARTITION", "FROM", "TO", "BYTES", "DROPPED AFTER"}, rows)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newPartitionsMaintain(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "maintain",
		Short: "Make days ahead, bring stray rows home, drop what retention.keep allows",
		Long: "What the owner of the slot does by itself, once and now. A day is dropped only when retention.keep has passed and the\n" +
			"mark of every slot is past it; what cannot be done yet is named.",
		Example: "  cdc-relay partitions maintain\n  cdc-relay partitions maintain --set retention.keep=168h -o json",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			return withDatabase(ctx, p, "partitions maintain", func(c *config.Config, conn *pgx.Conn) error {
				reports := []tableReport{}
				for _, o := range c.Outbox {
					r, err := partitions.Maintain(ctx, conn, maintainOptions(c, o.Table))
					if err != nil {
						return err
					}
					reports = append(reports, newTableReport(o.Table, r))
				}
				return showReports(p, reports)
			})
		}),
	}
}

func maintainOptions(c *config.Config, table string) partitions.Options {
	o := partitions.NewOptions(table)
	o.Slot, o.Premake, o.Keep = c.Replication.Slot, c.Retention.Premake, c.Retention.Keep
	if c.Retention.PlainTables {
		o.DeleteRows = deleteRows
	}
	return o
}

// tableReport is what maintain did to one table.
type tableReport struct {
	Table       string           `json:"table"`
	Made        []string         `json:"made"`
	Moved       map[string]int64 `json:"moved"`
	Dropped     []string         `json:"dropped"`
	Deleted     int64            `json:"deleted_rows"`
	Waiting     []waiting        `json:"waiting"`
	PremadeDays int              `json:"premade_days"`
	DefaultRows int64            `json:"default_rows"`
}

type waiting struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

func newTableReport(table string, r partitions.Report) tableReport {
	t := tableReport{
		Table: table, Made: append([]string{}, r.Made...), Moved: map[string]int64{}, Dropped: append([]string{}, r.Dropped...),
		Deleted: r.Deleted, Waiting: []waiting{}, PremadeDays: r.PremadeDays, DefaultRows: r.DefaultRows,
	}
	for _, m := range r.Moved {
		t.Moved[m.Partition] = m.Rows
	}
	for _, w := range r.Waiting {
		t.Waiting = append(t.Waiting, waiting{w.What, w.Why})
	}
	return t
}

func showReports(p *cli.Program, reports []tableReport) error {
	if p.JSON() {
		return p.WriteJSON(reports)
	}
	var rows [][]string
	for _, r := range reports {
		for _, name := range r.Made {
			rows = append(rows, []string{"made", name, ""})
		}
		for name, n := range r.Moved {
			rows = append(rows, []string{"moved", name, fmt.Sprintf("%d rows", n)})
		}
		for _, name := range r.Dropped {
			rows = append(rows, []string{"dropped", name, ""})
		}
		if r.Deleted > 0 {
			rows = append(rows, []string{"deleted", r.Table, fmt.Sprintf("%d rows", r.Deleted)})
		}
		for _, w := range r.Waiting {
			rows = append(rows, []string{"waiting", w.What, w.Why})
		}
		p.Say("%s: %d days premade, %d rows in the default partition", r.Table, r.PremadeDays, r.DefaultRows)
	}
	return p.Table([]string{"DONE", "WHAT", ""}, rows)
}
