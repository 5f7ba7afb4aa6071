package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/config/reference"
)

func newConfig(p *cli.Program) *cobra.Command {
	return cli.Group("config", "Check, show and write the configuration",
		newConfigCheck(p), newConfigShow(p), newConfigInit(p), newConfigSchema(p), newConfigEnv(p))
}

func newConfigCheck(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "check",
		Short:   "Check file, environment and flags, and list every mistake",
		Long:    "Reports all mistakes at once with file:line:column on standard error and exits 3. Connects to nothing.",
		Example: "  cdc-relay config check\n  cdc-relay config check --config prod.yaml --set log.level=debug",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(context.Context, []string) error {
			if _, err := p.Load(); err != nil {
				return err
			}
			p.Say("the configuration is valid")
			return nil
		}),
	}
}

func newConfigShow(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Show the effective configuration and where each value comes from",
		Long:    "Writes YAML with each value's origin as a comment, or JSON with -o json. Secrets are masked.",
		Example: "  cdc-relay config show\n  cdc-relay config show -o json",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(context.Context, []string) error {
			c, err := p.LoadDatabase()
			if err != nil {
				return err
			}
			if p.JSON() {
				return reference.ShowJSON(p.Out, c)
			}
			return reference.ShowYAML(p.Out, c)
		}),
	}
}

func newConfigInit(p *cli.Program) *cobra.Command {
	var (
		database string
		brokers  []string
		file     string
	)
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Write a commented configuration to start from",
		Long:    "Every setting stands in it with its default. Writes to standard output, or to a new file; it never overwrites one.",
		Example: "  cdc-relay config init > cdc-relay.yaml\n  cdc-relay config init --file cdc-relay.yaml --database postgres://relay@db/app --brokers kafka:9092",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(context.Context, []string) error {
			if file == "" {
				return reference.Sample(p.Out, database, brokers)
			}
			var text bytes.Buffer
			if err := reference.Sample(&text, database, brokers); err != nil {
				return err
			}
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return fmt.Errorf("write configuration: %w", err)
			}
			if _, err := f.Write(text.Bytes()); err != nil {
				return fmt.Errorf("write configuration: %w", err)
			}
			p.Say("wrote %s; check it with: cdc-relay config check --config %s", file, file)
			return f.Close()
		}),
	}
	cmd.Flags().StringVar(&database, "database", "postgres://cdc_relay@localhost:5432/app", "`url` of the source database")
	cmd.Flags().StringSliceVar(&brokers, "brokers", []string{"localhost:9092"}, "Kafka brokers, `host:port`")
	cmd.Flags().StringVar(&file, "file", "", "`path` of a file that does not exist yet")
	return cmd
}

func newConfigSchema(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON schema of the configuration file",
		Long:    "For editors (yaml-language-server) and pipelines.",
		Example: "  cdc-relay config schema > cdc-relay.schema.json\n  cdc-relay config schema | jq '.properties | keys'",
		Args:    cobra.NoArgs,
		RunE:    cli.Verb(func(context.Context, []string) error { return reference.Schema(p.Out) }),
	}
}

func newConfigEnv(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "env",
		Short:   "List the environment variables",
		Long:    fmt.Sprintf("Each setting's variable is %s and its path in upper case. An empty variable counts as not set.", config.EnvPrefix),
		Example: "  cdc-relay config env\n  cdc-relay config env -o json",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(context.Context, []string) error {
			if p.JSON() {
				return reference.EnvJSON(p.Out)
			}
			return reference.Env(p.Out)
		}),
	}
}
