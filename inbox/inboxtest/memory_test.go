package inboxtest_test

import (
	"context"
	"testing"

	"github.com/cdc-relay/cdc-relay/inbox/inboxtest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	s := inboxtest.New()
	inboxtest.RunStore(t, inboxtest.Fixture[*inboxtest.Tx]{
		Store: s,
		Apply: func(_ context.Context, tx *inboxtest.Tx, key string) error {
			all, _ := tx.Get("all").([]string)
			tx.Set("all", append(all[:len(all):len(all)], key))
			return nil
		},
		Effects: func(*testing.T) []string {
			all, _ := s.Get("all").([]string)
			return all
		},
	})
}
