package main

import (
	"context"
	"encoding/json"
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

// maxJudged bounds what one retry or drop by key takes up.
const maxJudged = 100_000

func newInboxDLQ(p *cli.Program) *cobra.Command {
	return cli.Group("dlq", "Look at a consumer's dead letters, let them be played again, give them up",
		newInboxDLQList(p), newInboxDLQShow(p), newInboxDLQRetry(p), newInboxDLQDrop(p))
}

// inboxLetter is one letter for scripts. Bytes that are no UTF-8 are replaced in the texts; key and value also stand there in base64.
type inboxLetter struct {
	ID        int64         `json:"id"`
	Consumer  string        `json:"consumer"`
	State     string        `json:"state"`
	Verdict   string        `json:"verdict,omitempty"`
	Topic     string        `json:"topic"`
	Partition int32         `json:"partition"`
	Offset    int64         `json:"offset"`
	Key       *string       `json:"key"`
	EventID   string        `json:"event_id"`
	EventType string        `json:"event_type"`
	Reason    string        `json:"reason"`
	Error     string        `json:"error"`
	Attempts  int           `json:"attempts"`
	Created   time.Time     `json:"created_at"`
	Value     *string       `json:"value,omitempty"`
	KeyRaw    []byte        `json:"key_base64,omitempty"`
	ValueRaw  []byte        `json:"value_base64,omitempty"`
	Headers   []inboxHeader `json:"headers,omitempty"`
}

type inboxHeader struct {
	Name  string  `json:"name"`
	Value *string `json:"value"`
}

func textOf(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

func letterLine(l *inbox.Letter, whole bool) inboxLetter {
	m := &l.Message
	_ = m.Decode()
	state := "dead"
	if l.Waiting {
		state = "waiting"
	}
	out := inboxLetter{
		ID: l.ID, Consumer: l.Consumer, State: state, Verdict: string(l.Verdict), Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Key: textOf(m.Key),
		EventID: m.ID, EventType: m.Type, Reason: l.Reason, Error: l.Error, Attempts: l.Attempts, Created: l.Created.UTC(),
	}
	if whole {
		out.Value, out.KeyRaw, out.ValueRaw = textOf(m.Value), m.Key, m.Value
		for _, h := range m.Headers {
			out.Headers = append(out.Headers, inboxHeader{h.Key, textOf(h.Value)})
		}
	}
	return out
}

func newInboxDLQList(p *cli.Program) *cobra.Command {
	var consumer, topic, key string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters and those that wait behind them, oldest first, without payloads",
		Example: "  cdc-relay inbox dlq list\n  cdc-relay inbox dlq list --consumer billing --topic orders -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return errors.New("--limit: want 1 or more")
			}
			f := inbox.LetterFilter{Topic: topic}
			if cmd.Flags().Changed("key") {
				f.Key = []byte(key)
			}
			return cli.Exit(cli.Failed, withInbox(cmd.Context(), p, "dlq list", func(_ *pgx.Conn, store *inboxpgx.Store) error {
				letters, err := store.ListLetters(cmd.Context(), consumer, f, limit)
				if err != nil {
					return err
				}
				return showInboxLetters(p, letters)
			}))
		},
	}
	cmd.Flags().StringVar(&consumer, "consumer", "", "only of this `consumer`")
	cmd.Flags().StringVar(&topic, "topic", "", "only this `topic`")
	cmd.Flags().StringVar(&key, "key", "", "only this `key`")
	cmd.Flags().IntVar(&limit, "limit", 100, "`number` of rows at most")
	return cmd
}

func showInboxLetters(p *cli.Program, letters []inbox.Letter) error {
	lines := make([]inboxLetter, len(letters))
	for i := range letters {
		lines[i] = letterLine(&letters[i], false)
	}
	if p.JSON() {
		return p.WriteJSON(lines)
	}
	var rows [][]string
	for i := range lines {
		l := &lines[i]
		rows = append(rows, []string{
			strconv.FormatInt(l.ID, 10), l.Consumer, l.State, dash(l.Verdict), fmt.Sprintf("%s/%d", l.Topic, l.Partition), keyText(letters[i].Message.Key),
			dash(l.EventID), l.Reason, strconv.Itoa(l.Attempts), l.Created.Format("2006-01-02T15:04:05Z"),
		})
	}
	return p.Table([]string{"ID", "CONSUMER", "STATE", "VERDICT", "PARTITION", "KEY", "EVENT", "REASON", "TRIES", "SINCE"}, rows)
}

func newInboxDLQShow(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show one letter whole, as JSON",
		Example: "  cdc-relay inbox dlq show 42\n  cdc-relay inbox dlq show 42 | jq -r .value",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := parseIDs(args)
			if err != nil {
				return err
			}
			return cli.Exit(cli.Failed, withInbox(cmd.Context(), p, "dlq show", func(_ *pgx.Conn, store *inboxpgx.Store) error {
				letters, err := store.ListLetters(cmd.Context(), "", inbox.LetterFilter{IDs: ids}, 1)
				if err != nil {
					return err
				}
				if len(letters) == 0 {
					return fmt.Errorf("there is no dead letter %d; `cdc-relay inbox dlq list` shows them", ids[0])
				}
				enc := json.NewEncoder(p.Out)
				enc.SetIndent("", "  ")
				return enc.Encode(letterLine(&letters[0], true))
			}))
		},
	}
}

// judgeFlags say which letters retry and drop mean.
type judgeFlags struct{ consumer, topic, key string }

func (f *judgeFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.consumer, "consumer", "", "`consumer` whose letters they are")
	cmd.Flags().StringVar(&f.topic, "topic", "", "all of one key: its `topic`")
	cmd.Flags().StringVar(&f.key, "key", "", "all of one key: the `key`")
}

// filter reads ids, or topic and key.
func (f *judgeFlags) filter(cmd *cobra.Command, args []string) (inbox.LetterFilter, error) {
	byKey := f.topic != "" && cmd.Flags().Changed("key")
	switch {
	case f.consumer == "":
		return inbox.LetterFilter{}, errors.New("name the consumer by --consumer")
	case byKey == (len(args) > 0), (f.topic != "") != cmd.Flags().Changed("key"):
		return inbox.LetterFilter{}, errors.New("name ids, or --topic with --key: one of the two")
	case byKey:
		return inbox.LetterFilter{Topic: f.topic, Key: []byte(f.key)}, nil
	}
	ids, err := parseIDs(args)
	return inbox.LetterFilter{IDs: ids}, err
}

func newInboxDLQRetry(p *cli.Program) *cobra.Command {
	var flags judgeFlags
	cmd := &cobra.Command{
		Use:   "retry [ID...] --consumer NAME",
		Short: "Let dead letters be played again",
		Long: "Marks them and wakes the consumer, which alone has the handler. Of a parked key the first letter is marked, whichever was\n" +
			"named; once it succeeds, those that wait behind it follow in order, and the last one releases the key.",
		Example: "  cdc-relay inbox dlq retry 42 43 --consumer billing\n  cdc-relay inbox dlq retry --consumer billing --topic orders --key o-1",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := flags.filter(cmd, args)
			if err != nil {
				return err
			}
			return cli.Exit(cli.Failed, judge(cmd.Context(), p, flags.consumer, f, inbox.Retry))
		},
	}
	flags.register(cmd)
	return cmd
}

func newInboxDLQDrop(p *cli.Program) *cobra.Command {
	var flags judgeFlags
	var yes string
	cmd := &cobra.Command{
		Use:     "drop [ID...] --consumer NAME --yes NAME",
		Short:   "Give dead letters up",
		Long:    "Marks them and wakes the consumer, which deletes them in their turn; those that wait behind a dropped one are played then.",
		Example: "  cdc-relay inbox dlq drop 42 --consumer billing --yes billing\n  cdc-relay inbox dlq drop --consumer billing --topic orders --key o-1 --yes billing",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := flags.filter(cmd, args)
			if err != nil {
				return err
			}
			if err := p.Confirm(yes, "giving up dead letters of consumer "+flags.consumer, flags.consumer); err != nil {
				return err
			}
			return cli.Exit(cli.Failed, judge(cmd.Context(), p, flags.consumer, f, inbox.Drop))
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&yes, "yes", "", "`name` of the consumer, to confirm")
	return cmd
}

func judge(ctx context.Context, p *cli.Program, consumer string, f inbox.LetterFilter, v inbox.Verdict) error {
	return withInbox(ctx, p, "dlq "+string(v), func(_ *pgx.Conn, store *inboxpgx.Store) error {
		letters, err := store.ListLetters(ctx, consumer, f, maxJudged)
		if err != nil {
			return err
		}
		if len(letters) == 0 || f.IDs != nil && len(letters) < len(f.IDs) {
			return fmt.Errorf("%s: found %d of the letters of consumer %q; `cdc-relay inbox dlq list` shows them; nothing was marked", v, len(letters), consumer)
		}
		ids := make([]int64, len(letters))
		for i := range letters {
			ids[i] = letters[i].ID
		}
		n, err := store.Judge(ctx, consumer, ids, v)
		if err != nil {
			return err
		}
		if p.JSON() {
			return p.WriteJSON(map[string]any{"named": len(ids), "marked": n, "verdict": v})
		}
		p.Say("marked %d for %s; the consumer takes them up within seconds, when it runs", n, v)
		return nil
	})
}
