package inboxtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxtest"
)

// The process dies, or the connection breaks, at each point: with the broker's redelivery there is one effect for each event.
func TestEachPoint(t *testing.T) {
	t.Parallel()
	for _, mode := range []inbox.Mode{inbox.ByID, inbox.ByMark} {
		for _, point := range inboxtest.Points() {
			for what, harm := range map[string]func(*inboxtest.Store){
				"crash": func(s *inboxtest.Store) { s.CrashAt(point) },
				"cut":   func(s *inboxtest.Store) { s.CutAt(point) },
			} {
				store, broker := inboxtest.New(), inboxtest.NewBroker("orders", 1)
				p, err := inbox.NewProcessor(store, "c", func(_ context.Context, tx *inboxtest.Tx, m *inbox.Message) error {
					tx.Add(m.ID, 1)
					return nil
				}, inbox.Options{Mode: mode, Mark: inbox.MarkOptions{AcceptFirst: true}, Backoff: time.Microsecond})
				if err != nil {
					t.Fatal(err)
				}
				var ids []string
				for n := range 3 {
					m := &inbox.Message{Key: []byte("k"), Headers: []inbox.Header{
						{Key: "event_id", Value: []byte(inboxtest.NewID())},
						{Key: "cdc-source", Value: []byte("s")},
						{Key: "cdc-lsn", Value: []byte("000000000000000" + string(rune('1'+n)))},
						{Key: "cdc-index", Value: []byte("0")},
					}}
					broker.Append(m)
					ids = append(ids, string(m.Headers[0].Value))
				}
				harm(store)
				switch err := inboxtest.Deliver(t.Context(), broker, p); {
				case what == "crash" && !errors.Is(err, inboxtest.ErrCrashed), what == "cut" && err != nil:
					t.Fatalf("%s %s: %v", what, point, err)
				}
				store.Restart()
				broker.CrashBeforeCommit()
				_ = inboxtest.Deliver(t.Context(), broker, p) // ErrCrashed, unless nothing was left to do
				broker.Rewind()
				if err := inboxtest.Deliver(t.Context(), broker, p); err != nil && !errors.Is(err, inboxtest.ErrCrashed) {
					t.Fatal(err)
				}
				if err := inboxtest.Deliver(t.Context(), broker, p); err != nil {
					t.Fatal(err)
				}
				for _, id := range ids {
					if n := store.Get(id); n != 1 {
						t.Errorf("mode %d, %s %s: %v effects of an event, want 1", mode, what, point, n)
					}
				}
			}
		}
	}
}
