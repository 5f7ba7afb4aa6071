package main

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// The verbs in the order in which an operator meets them: the database is the consumer's, not the relay's.
func TestInboxVerbs(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	role, roleURL := pg.CreateRole(t)
	env := []string{"CDC_RELAY_INBOX_URL=" + pg.URL(), "CDC_RELAY_DATABASE_URL=postgres://nobody@127.0.0.1:1/none"}
	do := func(args ...string) result {
		t.Helper()
		return call(t, env, append([]string{"inbox"}, args...)...)
	}
	do("status").expect(t, cli.Precondition, "inbox migrate")
	do("migrate", "--keep-days", "12", "--role", role).expect(t, cli.OK, "kept for 12 days")
	do("migrate").expect(t, cli.OK, "kept for 12 days")
	do("maintain", "-o", "json").expect(t, cli.OK)
	do("status").expect(t, cli.OK)

	// A consumer with the rights that --role gave it.
	conn, err := pgx.Connect(t.Context(), roleURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	store := inboxpgx.New(conn)
	broken := true
	p, err := inbox.NewProcessor(store, "billing", func(context.Context, pgx.Tx, *inbox.Message) error {
		if broken {
			return inbox.Permanent(errors.New("no such account"))
		}
		return nil
	}, inbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []inbox.Outcome{inbox.DeadLettered, inbox.Parked} {
		m := &inbox.Message{Topic: "orders", Offset: int64(i), Key: []byte("o-1"), Value: []byte(`{"n":1}`), Headers: []inbox.Header{{Key: "event_id", Value: []byte{'a' + byte(i)}}}}
		if o, err := p.Process(t.Context(), m); o != want || err != nil {
			t.Fatal(o, err)
		}
	}
	if done, err := store.Maintain(t.Context()); err != nil || len(done.Waiting) > 0 {
		t.Errorf("maintained by the consumer's role: %+v, %v", done, err)
	}
	if _, err := store.Open(t.Context(), "billing", inbox.Place{Topic: "orders"}, 0); err != nil {
		t.Fatal(err)
	}

	do("status").expect(t, cli.Unhealthy, "1 dead letters")
	var letters []inboxLetter
	r := do("dlq", "list", "-o", "json")
	r.expect(t, cli.OK)
	if r.decode(t, &letters); len(letters) != 2 || letters[0].State != "dead" || letters[0].Error != "no such account" || letters[1].State != "waiting" {
		t.Fatalf("dlq list: %+v", letters)
	}
	var whole inboxLetter
	r = do("dlq", "show", "1")
	r.expect(t, cli.OK)
	if r.decode(t, &whole); whole.Value == nil || *whole.Value != `{"n":1}` || len(whole.Headers) != 1 {
		t.Errorf("dlq show: %+v", whole)
	}
	do("dlq", "show", "99").expect(t, cli.Failed, "there is no dead letter 99")
	do("dlq", "retry", "1").expect(t, cli.Usage, "--consumer")
	do("dlq", "retry", "1", "99", "--consumer", "billing").expect(t, cli.Failed, "nothing was marked")
	do("dlq", "drop", "2", "--consumer", "billing").expect(t, cli.Usage, "--yes billing")
	do("dlq", "drop", "2", "--consumer", "billing", "--yes", "billing").expect(t, cli.OK, "marked 1 for drop")
	do("dlq", "retry", "--consumer", "billing", "--topic", "orders", "--key", "o-1").expect(t, cli.OK, "marked 1 for retry")

	broken = false
	for _, want := range []inbox.Outcome{inbox.Processed, inbox.Skipped} {
		ready, err := store.Playable(t.Context(), "billing", "orders", nil, 10)
		if err != nil || len(ready) != 1 {
			t.Fatal(ready, err)
		}
		if o, err := p.Play(t.Context(), ready[0]); o != want || err != nil {
			t.Fatal(o, err)
		}
	}
	do("status", "-o", "json").expect(t, cli.OK)
	if n := len(do("dlq", "list").out); n == 0 {
		t.Error("no table head")
	}
}
