package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
)

func newDLQ(p *cli.Program) *cobra.Command {
	return cli.Group("dlq", "Look at dead letters, publish them again, give them up",
		newDLQList(p), newDLQShow(p), newDLQRequeue(p), newDLQDrop(p), newDLQExport(p))
}

// withLetters runs f on the dead letters of the configured slot.
func withLetters(ctx context.Context, p *cli.Program, verb string, f func(*deadletter.Store) error) error {
	return withDatabase(ctx, p, "dlq "+verb, func(c *config.Config, conn *pgx.Conn) error {
		return f(deadletter.NewStore(conn, c.Replication.Slot))
	})
}

// filterFlags narrow list and export.
type filterFlags struct {
	states             []string
	topic, key, reason string
	resolved           bool
}

func (f *filterFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.states, "state", nil, "only these `states`: parked, dead, requeue, drop, requeued, dropped, skipped")
	cmd.Flags().StringVar(&f.topic, "topic", "", "only this `topic`")
	cmd.Flags().StringVar(&f.key, "key", "", "only this `key`")
	cmd.Flags().StringVar(&f.reason, "reason", "", "only this `reason`, like too_large")
	cmd.Flags().BoolVar(&f.resolved, "all", false, "resolved ones too")
}

func (f *filterFlags) filter(cmd *cobra.Command) (deadletter.Filter, error) {
	known := []deadletter.State{
		deadletter.Parked, deadletter.Dead, deadletter.Requeue, deadletter.Drop,
		deadletter.Requeued, deadletter.Dropped, deadletter.Skipped,
	}
	filter := deadletter.Filter{Topic: f.topic, Reason: f.reason}
	if cmd.Flags().Changed("key") {
		filter.Key = []byte(f.key)
	}
	for _, s := range f.states {
		if !slices.Contains(known, deadletter.State(s)) {
			return filter, fmt.Errorf("--state %q: want parked, dead, requeue, drop, requeued, dropped or skipped", s)
		}
		filter.States = append(filter.States, deadletter.State(s))
	}
	if len(f.states) == 0 && !f.resolved {
		filter.States = slices.DeleteFunc(known, deadletter.State.Resolved)
	}
	return filter, nil
}

func newDLQList(p *cli.Program) *cobra.Command {
	var flags filterFlags
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters, oldest first, without payloads",
		Example: "  cdc-relay dlq list\n  cdc-relay dlq list --topic orders --state parked -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := flags.filter(cmd)
			if err != nil {
				return err
			}
			if limit < 1 {
				return errors.New("--limit: want 1 or more")
			}
			return cli.Exit(cli.Failed, withLetters(cmd.Context(), p, "list", func(store *deadletter.Store) error {
				letters, err := store.List(cmd.Context(), filter, limit)
				if err != nil {
					return err
				}
				if len(letters) == limit {
					p.Say("there may be more; raise --limit or use `dlq export`")
				}
				return showLetters(p, letters)
			}))
		},
	}
	flags.register(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "`number` of rows at most")
	return cmd
}

func showLetters(p *cli.Program, letters []deadletter.Letter) error {
	if p.JSON() {
		lines := make([]deadletter.Line, len(letters))
		for i := range letters {
			lines[i] = letters[i].Line()
		}
		return p.WriteJSON(lines)
	}
	var rows [][]string
	for i := range letters {
		l := &letters[i]
		rows = append(rows, []string{
			strconv.FormatInt(l.ID, 10), string(l.State), l.Topic, keyText(l.Key), l.EventID, l.Reason,
			strconv.Itoa(l.ValueBytes), l.ParkedAt.UTC().Format("2006-01-02T15:04:05Z"),
		})
	}
	return p.Table([]string{"ID", "STATE", "TOPIC", "KEY", "EVENT", "REASON", "BYTES", "PARKED"}, rows)
}

// keyText is a key fit for a column: null is not the empty key.
func keyText(key []byte) string {
	if key == nil {
		return "null"
	}
	return strconv.Quote(string(key))
}

func newDLQShow(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show one dead letter whole, as JSON",
		Example: "  cdc-relay dlq show 42\n  cdc-relay dlq show 42 | jq .value",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := parseIDs(args)
			if err != nil {
				return err
			}
			return cli.Exit(cli.Failed, withLetters(cmd.Context(), p, "show", func(store *deadletter.Store) error {
				letter, err := store.Show(cmd.Context(), ids[0])
				if err != nil {
					return err
				}
				return p.WriteJSON(letter.Line())
			}))
		},
	}
}

func parseIDs(args []string) ([]int64, error) {
	var ids []int64
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id < 1 {
			return nil, fmt.Errorf("%q is no id; `dlq list` shows them", arg)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func newDLQExport(p *cli.Program) *cobra.Command {
	var flags filterFlags
	var file string
	cmd := &cobra.Command{
		Use:     "export",
		Short:   "Write whole dead letters, a JSON object a line",
		Example: "  cdc-relay dlq export > dead.jsonl\n  cdc-relay dlq export --all --file dead.jsonl",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := flags.filter(cmd)
			if err != nil {
				return err
			}
			return cli.Exit(cli.Failed, withLetters(cmd.Context(), p, "export", func(store *deadletter.Store) error {
				return exportTo(p, file, func(w io.Writer) error {
					n, err := store.Export(cmd.Context(), filter, w)
					p.Say("%d dead letters", n)
					return err
				})
			}))
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&file, "file", "", "`path` of a file that does not exist yet (default standard output)")
	return cmd
}

func exportTo(p *cli.Program, path string, write func(io.Writer) error) error {
	if path == "" {
		return write(p.Out)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("export dead letters: %w", err)
	}
	return errors.Join(write(f), f.Close())
}

// selection reads what requeue and drop mean: ids, one key, or all.
func selection(args []string, topic, key string, nullKey, all bool) (deadletter.Selection, error) {
	var s deadletter.Selection
	var err error
	ways := 0
	if len(args) > 0 {
		ways++
		s.IDs, err = parseIDs(args)
	}
	if topic != "" {
		ways++
		s.Key = &deadletter.Key{Topic: topic, Key: []byte(key)}
		if nullKey {
			s.Key.Key = nil
		}
	}
	if all {
		ways++
		s.All = true
	}
	if err == nil && ways != 1 {
		err = errors.New("name ids, or --topic with --key (or --null-key), or --everything: exactly one of them")
	}
	return s, err
}

// describe says what a selection is, for confirmation and messages.
func describe(s deadletter.Selection) string {
	switch {
	case s.All:
		return "all dead letters"
	case s.Key != nil:
		return fmt.Sprintf("dead letters of topic %s, key %s", s.Key.Topic, keyText(s.Key.Key))
	}
	ids := make([]string, len(s.IDs))
	for i, id := range s.IDs {
		ids[i] = strconv.FormatInt(id, 10)
	}
	return "dead letters " + strings.Join(ids, ", ")
}
