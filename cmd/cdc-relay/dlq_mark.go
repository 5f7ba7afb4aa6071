package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
)

// markFlags say which dead letters requeue and drop mean, and why.
type markFlags struct {
	topic, key, why, yes string
	nullKey, everything  bool
}

func (f *markFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.topic, "topic", "", "all of one parked key: its `topic`")
	cmd.Flags().StringVar(&f.key, "key", "", "all of one parked key: the `key`")
	cmd.Flags().BoolVar(&f.nullKey, "null-key", false, "all of one parked key: the null key")
	cmd.Flags().BoolVar(&f.everything, "everything", false, "all of the slot")
	cmd.Flags().StringVar(&f.why, "why", "", "`reason`, for the audit")
}

func (f *markFlags) selection(cmd *cobra.Command, args []string) (deadletter.Selection, error) {
	if (f.topic != "") != (cmd.Flags().Changed("key") || f.nullKey) || cmd.Flags().Changed("key") && f.nullKey {
		return deadletter.Selection{}, errors.New("--topic goes with --key or --null-key")
	}
	return selection(args, f.topic, f.key, f.nullKey, f.everything)
}

func newDLQRequeue(p *cli.Program) *cobra.Command {
	var flags markFlags
	cmd := &cobra.Command{
		Use:   "requeue [ID...]",
		Short: "Publish dead letters again",
		Long: "Marks the rows; the owner of the slot publishes them in order and releases the key when none is left. By id the\n" +
			"earlier rows of the same key go along, so that order holds.",
		Example: "  cdc-relay dlq requeue 42 43\n  cdc-relay dlq requeue --topic orders --key o-1 --why 'limit raised'",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := flags.selection(cmd, args)
			if err != nil {
				return err
			}
			return cli.Exit(cli.Failed, withLetters(cmd.Context(), p, "requeue", func(store *deadletter.Store) error {
				m, err := store.Requeue(cmd.Context(), s, deadletter.Audit{Who: who(p), Why: flags.why})
				return showMarking(p, "requeue", s, m, err)
			}))
		},
	}
	flags.register(cmd)
	return cmd
}

func newDLQDrop(p *cli.Program) *cobra.Command {
	var flags markFlags
	cmd := &cobra.Command{
		Use:   "drop [ID...] --yes SLOT",
		Short: "Give dead letters up",
		Long: "The events are not published; a key whose rows are all dropped flows again. Their rows stay in the outbox table for\n" +
			"as long as it keeps them.",
		Example: "  cdc-relay dlq drop 42 --yes cdc_relay --why 'test data'\n  cdc-relay dlq drop --everything --yes cdc_relay",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := flags.selection(cmd, args)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			c, err := p.LoadDatabase()
			if err != nil {
				return err
			}
			if err := p.Confirm(flags.yes, fmt.Sprintf("giving up %s of slot %s", describe(s), c.Replication.Slot), c.Replication.Slot); err != nil {
				return err
			}
			return cli.Exit(cli.Failed, withDatabase(ctx, p, "dlq drop", func(c *config.Config, conn *pgx.Conn) error {
				return drop(ctx, p, deadletter.NewStore(conn, c.Replication.Slot), s, flags.why)
			}))
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&flags.yes, "yes", "", "`name` of the slot, to confirm")
	return cmd
}

func drop(ctx context.Context, p *cli.Program, store *deadletter.Store, s deadletter.Selection, why string) error {
	m, err := store.Drop(ctx, s, deadletter.Audit{Who: who(p), Why: why})
	return showMarking(p, "drop", s, m, err)
}

func showMarking(p *cli.Program, verb string, s deadletter.Selection, m deadletter.Marking, err error) error {
	if err != nil {
		return err
	}
	if p.JSON() {
		refused := m.Refused
		if refused == nil {
			refused = []int64{}
		}
		err = p.WriteJSON(map[string]any{"marked": m.Marked, "earlier": m.Earlier, "keys": m.Keys, "refused": refused})
	} else {
		p.Say("marked %d of %s for %s, and %d earlier ones; %d keys", m.Marked, describe(s), verb, m.Earlier, m.Keys)
	}
	if len(m.Refused) > 0 {
		return errors.Join(err, fmt.Errorf("%s: ids %v are unknown or resolved already", verb, m.Refused))
	}
	return err
}
