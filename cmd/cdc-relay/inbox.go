package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
	"github.com/cdc-relay/cdc-relay/internal/cli"
)

func newInbox(p *cli.Program) *cobra.Command {
	cmd := cli.Group("inbox", "Look after a consumer's inbox", newInboxMigrate(p), newInboxMaintain(p), newInboxStatus(p), newInboxDLQ(p))
	cmd.Long = "The inbox stands in the consumer's own database: inbox.url, else database.url."
	return cmd
}

// withInbox runs f on a connection to the consumer's database.
func withInbox(ctx context.Context, p *cli.Program, verb string, f func(*pgx.Conn, *inboxpgx.Store) error) error {
	c, err := p.LoadDatabase()
	if err != nil {
		return err
	}
	conn, err := p.Connect(ctx, c.InboxDatabase(), "inbox "+verb)
	if err != nil {
		return err
	}
	err = errors.Join(f(conn, inboxpgx.New(conn)), conn.Close(context.WithoutCancel(ctx)))
	if errors.Is(err, inbox.ErrNoSchema) {
		return cli.Exit(cli.Precondition, err)
	}
	return cli.Explain(err)
}

func newInboxMigrate(p *cli.Program) *cobra.Command {
	var o inboxpgx.MigrateOptions
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Make schema cdc_inbox, or bring it up to date",
		Long: "As the owner of the database. Running it again changes nothing but what the flags say; two at once wait for each other.\n" +
			"With --role that role is granted what a consumer needs.",
		Example: "  cdc-relay inbox migrate --set inbox.url=postgres://owner@db/billing --role billing\n  cdc-relay inbox migrate --keep-days 30",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			return withInbox(ctx, p, "migrate", func(conn *pgx.Conn, store *inboxpgx.Store) error {
				if err := inboxpgx.Migrate(ctx, conn, o); err != nil {
					return err
				}
				st, err := store.Status(ctx)
				if err != nil {
					return err
				}
				if p.JSON() {
					return p.WriteJSON(map[string]any{"version": st.Version, "keep_days": st.KeepDays, "premake_days": st.PremakeDays})
				}
				p.Say("schema cdc_inbox is at version %d; claims are kept for %d days", st.Version, st.KeepDays)
				return nil
			})
		}),
	}
	cmd.Flags().IntVar(&o.KeepDays, "keep-days", 0, "`days` for which claims are kept: longer than anything is delivered again (default: as it is; 8 at first)")
	cmd.Flags().IntVar(&o.PremakeDays, "premake-days", 0, "`days` made ahead (default: as it is; 3 at first)")
	cmd.Flags().StringVar(&o.Role, "role", "", "`role` of the consumer, to be granted what it needs")
	return cmd
}

func newInboxMaintain(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "maintain",
		Short:   "Make days ahead, bring stray claims home, drop days past the retention",
		Long:    "What the library does by itself each hour, once and now. It gives way to transactions that are under way.",
		Example: "  cdc-relay inbox maintain\n  cdc-relay inbox maintain --set inbox.url=postgres://billing@db/billing -o json",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			return withInbox(ctx, p, "maintain", func(_ *pgx.Conn, store *inboxpgx.Store) error {
				done, err := store.Maintain(ctx)
				if err != nil {
					return err
				}
				if p.JSON() {
					return p.WriteJSON(map[string]any{
						"made": list(done.Made), "moved_claims": done.Moved, "dropped": list(done.Dropped), "waiting": list(done.Waiting), "busy": done.Busy,
					})
				}
				var rows [][]string
				for _, part := range []struct {
					word string
					what []string
				}{{"made", done.Made}, {"dropped", done.Dropped}, {"waiting", done.Waiting}} {
					for _, what := range part.what {
						rows = append(rows, []string{part.word, what})
					}
				}
				if done.Busy {
					p.Say("another process is maintaining this inbox")
				}
				p.Say("%d stray claims moved home", done.Moved)
				return p.Table([]string{"DONE", "WHAT"}, rows)
			})
		}),
	}
}

// list is never null in JSON.
func list[E any](all []E) []E {
	if all == nil {
		return []E{}
	}
	return all
}

type inboxPlace struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Start     int64     `json:"start_offset"`
	Watermark int64     `json:"watermark"`
	Clean     bool      `json:"clean"`
	At        time.Time `json:"at"`
}

type inboxConsumer struct {
	Name    string       `json:"consumer"`
	Dead    int64        `json:"dead_letters"`
	Waiting int64        `json:"waiting_letters"`
	Parked  int64        `json:"parked_keys"`
	Places  []inboxPlace `json:"partitions"`
	Sources []string     `json:"sources"`
}

type inboxDay struct {
	Day   string `json:"day"`
	Bytes int64  `json:"bytes"`
}

type inboxStatus struct {
	Version   int             `json:"version"`
	KeepDays  int             `json:"keep_days"`
	DaysAhead int             `json:"days_ahead"`
	Stray     int64           `json:"stray_claims"`
	Days      []inboxDay      `json:"days"`
	Consumers []inboxConsumer `json:"consumers"`
}

func newInboxStatus(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show consumers, their positions and dead letters, and the days that are kept",
		Long:    "Exits 5 when there are dead letters, or no day is made ahead.",
		Example: "  cdc-relay inbox status\n  cdc-relay inbox status -o json | jq '.consumers[].dead_letters'",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			return withInbox(ctx, p, "status", func(_ *pgx.Conn, store *inboxpgx.Store) error {
				st, err := store.Status(ctx)
				if err != nil {
					return err
				}
				return showInbox(p, &st)
			})
		}),
	}
}

func showInbox(p *cli.Program, st *inboxpgx.Status) error {
	out := inboxStatus{Version: st.Version, KeepDays: st.KeepDays, DaysAhead: st.DaysAhead, Stray: st.StrayClaims, Days: []inboxDay{}, Consumers: []inboxConsumer{}}
	for _, d := range st.Days {
		out.Days = append(out.Days, inboxDay(d))
	}
	var dead int64
	var rows [][]string
	for _, c := range st.Consumers {
		dead += c.Dead
		row := inboxConsumer{Name: c.Name, Dead: c.Dead, Waiting: c.Waiting, Parked: c.Parked, Places: []inboxPlace{}, Sources: list(c.Sources)}
		counts := []string{c.Name, strconv.FormatInt(c.Dead, 10), strconv.FormatInt(c.Waiting, 10), strconv.FormatInt(c.Parked, 10)}
		for _, at := range c.Places {
			row.Places = append(row.Places, inboxPlace{at.Topic, at.Partition, at.Start, at.Watermark, at.Clean, at.At})
			rows = append(rows, append(counts[:4:4], fmt.Sprintf("%s/%d", at.Topic, at.Partition), strconv.FormatInt(at.Watermark, 10), at.At.UTC().Format("2006-01-02T15:04:05Z")))
		}
		if len(c.Places) == 0 {
			rows = append(rows, append(counts, "-", "-", "-"))
		}
		out.Consumers = append(out.Consumers, row)
	}
	var err error
	if p.JSON() {
		err = p.WriteJSON(out)
	} else {
		p.Say("version %d; claims are kept for %d days in %d partitions; %d days made ahead; %d stray claims", st.Version, st.KeepDays, len(st.Days), st.DaysAhead, st.StrayClaims)
		err = p.Table([]string{"CONSUMER", "DEAD", "WAITING", "PARKED KEYS", "PARTITION", "WATERMARK", "AT"}, rows)
	}
	switch {
	case err != nil:
		return err
	case dead > 0:
		return cli.Exit(cli.Unhealthy, fmt.Errorf("%d dead letters; `cdc-relay inbox dlq list` shows them", dead))
	case st.DaysAhead == 0:
		return cli.Exit(cli.Unhealthy, errors.New("no day is made ahead: call Maintain each hour, or `cdc-relay inbox maintain` each day"))
	}
	return nil
}
