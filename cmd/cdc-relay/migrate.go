package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/migrations"
)

// migrateFlags are what the schema can look like, beyond the configuration.
type migrateFlags struct {
	createRole      bool
	payloadType     string
	payloadMaxBytes string
}

func (f *migrateFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.payloadType, "payload-type", migrations.DefaultPayloadType, "`type` of column payload: jsonb, json, text or bytea")
	cmd.Flags().StringVar(&f.payloadMaxBytes, "payload-max", config.ByteSize(migrations.DefaultPayloadMaxBytes).String(), "largest payload, a `size` like 768KiB")
	cmd.Flags().BoolVar(&f.createRole, "create-role", false, "make migrate.relay_role, LOGIN REPLICATION without a password, where it is missing")
}

// options joins configuration and flags. The relay's role is the user of database.url unless that is the owner himself.
func (f *migrateFlags) options(p *cli.Program, c *config.Config) (migrations.Options, error) {
	o := migrations.NewOptions()
	o.OutboxTable, o.Publication, o.PremakeDays = c.Outbox[0].Table, c.Replication.Publication, c.Retention.Premake
	o.PayloadType, o.CreateRole, o.RelayRole = f.payloadType, f.createRole, c.Migrate.RelayRole
	size, err := config.ParseByteSize(f.payloadMaxBytes)
	if err != nil {
		return o, cli.Exit(cli.Usage, fmt.Errorf("--payload-max: %w", err))
	}
	o.PayloadMaxBytes = int(size)
	if o.RelayRole == "" && c.Migrate.URL.IsSet() {
		if o.RelayRole, err = cli.User(c.Database); err != nil {
			return o, err
		}
		owner, err := cli.User(c.MigrateDatabase())
		if err != nil {
			return o, err
		}
		if owner == o.RelayRole {
			o.RelayRole = ""
		}
	}
	if o.RelayRole == "" {
		p.Say("warning: owner and relay are the same role; give the relay one of its own by migrate.url and migrate.relay_role")
	}
	return o, cli.Exit(cli.Invalid, o.Validate())
}

func newMigrate(p *cli.Program) *cobra.Command {
	return cli.Group("migrate", "Make and update tables, functions and the publication", newMigrateUp(p), newMigrateStatus(p), newMigratePrint(p))
}

// withMigrations runs f on the owner's connection.
func withMigrations(ctx context.Context, p *cli.Program, flags *migrateFlags, f func(*pgx.Conn, migrations.Options) error) error {
	c, err := p.LoadDatabase()
	if err != nil {
		return err
	}
	o, err := flags.options(p, c)
	if err != nil {
		return err
	}
	conn, err := p.Connect(ctx, c.MigrateDatabase(), "migrate")
	if err != nil {
		return err
	}
	return cli.Explain(errors.Join(f(conn, o), conn.Close(context.WithoutCancel(ctx))))
}

func newMigrateUp(p *cli.Program) *cobra.Command {
	var flags migrateFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the schema up to date",
		Long: "Connects by migrate.url (else database.url) as the owner and grants the relay's role what it needs. Running it again\n" +
			"changes nothing; two at once wait for each other. It makes no slot: the first `run` does.",
		Example: "  cdc-relay migrate up\n  cdc-relay migrate up --create-role --set migrate.url=postgres://owner@db/app --set migrate.relay_role=cdc_relay",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			return withMigrations(ctx, p, &flags, func(conn *pgx.Conn, o migrations.Options) error {
				applied, err := migrations.Up(ctx, conn, o)
				if p.JSON() {
					if applied == nil {
						applied = []string{}
					}
					return errors.Join(err, p.WriteJSON(map[string]any{"applied": applied}))
				}
				for _, name := range applied {
					fmt.Fprintln(p.Out, name)
				}
				if err == nil && len(applied) == 0 {
					p.Say("nothing to do: the schema is up to date")
				}
				return err
			})
		}),
	}
	flags.register(cmd)
	return cmd
}

func newMigrateStatus(p *cli.Program) *cobra.Command {
	var flags migrateFlags
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show which migrations have run",
		Long:    "Exits 4 when some have not: `migrate up` is needed before `run`.",
		Example: "  cdc-relay migrate status\n  cdc-relay migrate status -o json",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(ctx context.Context, _ []string) error {
			return withMigrations(ctx, p, &flags, func(conn *pgx.Conn, o migrations.Options) error {
				state, err := migrations.Status(ctx, conn, o)
				if err != nil {
					return err
				}
				if err := showMigrations(p, state); err != nil {
					return err
				}
				if state.Pending() {
					return cli.Exit(cli.Precondition, errors.New("migrations are pending: run `cdc-relay migrate up`"))
				}
				return nil
			})
		}),
	}
	flags.register(cmd)
	return cmd
}

func showMigrations(p *cli.Program, state migrations.State) error {
	if p.JSON() {
		type file struct {
			Name    string `json:"name"`
			Applied bool   `json:"applied"`
		}
		files := make([]file, len(state.Files))
		for i, f := range state.Files {
			files[i] = file{f.Name, f.Applied}
		}
		return p.WriteJSON(map[string]any{"version": state.Version, "pending": state.Pending(), "files": files})
	}
	var rows [][]string
	for _, f := range state.Files {
		word := "pending"
		if f.Applied {
			word = "applied"
		}
		rows = append(rows, []string{f.Name, word})
	}
	return p.Table([]string{"MIGRATION", "STATE"}, rows)
}

func newMigratePrint(p *cli.Program) *cobra.Command {
	var flags migrateFlags
	cmd := &cobra.Command{
		Use:     "print",
		Short:   "Print the migrations as SQL",
		Long:    "For those who run their own tool. Connects to nothing.",
		Example: "  cdc-relay migrate print > cdc-relay.sql\n  cdc-relay migrate print --set migrate.relay_role=cdc_relay | psql -v ON_ERROR_STOP=1 app",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(context.Context, []string) error {
			c, err := p.LoadDatabase()
			if err != nil {
				return err
			}
			o, err := flags.options(p, c)
			if err != nil {
				return err
			}
			var text strings.Builder
			if err := migrations.Print(&text, o); err != nil {
				return err
			}
			_, err = fmt.Fprint(p.Out, text.String())
			return err
		}),
	}
	flags.register(cmd)
	return cmd
}
