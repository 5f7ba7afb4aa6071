package inboxsql_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxsql"
	"github.com/cdc-relay/cdc-relay/inbox/inboxtest"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

func message(id string) *inbox.Message {
	return &inbox.Message{Topic: "orders", Offset: 1, Key: []byte("k"), Value: []byte("{}"), Headers: []inbox.Header{{Key: "event_id", Value: []byte(id)}}}
}

func via(t *testing.T, driver string, pg *testenv.PG, link *testenv.Link) *inboxsql.Store {
	t.Helper()
	u, err := url.Parse(pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Host = link.Addr()
	return inboxsql.New(openDB(t, driver, u.String()))
}

// With either driver: a lost answer to COMMIT runs nothing twice, a connection that breaks before it runs all again, and a database
// that is away is nobody's fault.
func TestConnections(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"postgres", "pgx"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			db, _, pg := open(t, driver)
			link := testenv.Proxy(t, pg.Address())
			store := via(t, driver, pg, link)
			var runs atomic.Int32
			outcome := make(chan inbox.Outcome, 1)
			go func() {
				o, err := inbox.Process(t.Context(), store, "c", message(inboxtest.NewID()), func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
					runs.Add(1)
					err := apply(ctx, tx, m.ID)
					link.PauseReplies()
					return err
				})
				if err != nil {
					t.Error(err)
				}
				outcome <- o
			}()
			testenv.Eventually(t, 10*time.Second, func() error {
				if len(effects(t, db)) != 1 {
					return errors.New("the commit has no effect")
				}
				return nil
			})
			link.CloseAll()
			link.Resume()
			if o := <-outcome; o != inbox.Processed || runs.Load() != 1 || len(effects(t, db)) != 1 {
				t.Errorf("lost commit: %v after %d runs, %d effects", o, runs.Load(), len(effects(t, db)))
			}

			again := 0
			o, err := inbox.Process(t.Context(), store, "c", message(inboxtest.NewID()), func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
				again++
				err := apply(ctx, tx, m.ID)
				if again == 1 {
					link.CloseAll()
				}
				return err
			})
			if o != inbox.Processed || err != nil || again != 2 || len(effects(t, db)) != 2 {
				t.Errorf("lost connection: %v, %v after %d runs, %d effects", o, err, again, len(effects(t, db)))
			}
			link.Cut()
			o, err = inbox.Process(t.Context(), store, "c", message(inboxtest.NewID()), func(context.Context, *sql.Tx, *inbox.Message) error { return nil })
			if o != inbox.Unfinished || !inbox.IsInfrastructure(err) {
				t.Errorf("database away: %v, %v", o, err)
			}
		})
	}
}

// With either driver: conflicts run the transaction again, a hidden failure is the handler's, an abandoned handler holds nothing.
func TestHandlers(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"postgres", "pgx"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			_, store, _ := open(t, driver)
			runs := 0
			o, err := inbox.Process(t.Context(), store, "c", message(inboxtest.NewID()), func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
				if runs++; runs < 3 {
					_, err := tx.ExecContext(ctx, "DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$")
					return err
				}
				return apply(ctx, tx, m.ID)
			})
			if o != inbox.Processed || err != nil || runs != 3 {
				t.Errorf("conflicts: %v, %v after %d runs", o, err, runs)
			}
			o, err = inbox.Process(t.Context(), store, "c", message(inboxtest.NewID()), func(ctx context.Context, tx *sql.Tx, _ *inbox.Message) error {
				_, _ = tx.ExecContext(ctx, "SELECT 1/0")
				return nil
			})
			if o != inbox.Unfinished || err == nil || inbox.IsInfrastructure(err) {
				t.Errorf("a hidden failure: %v, %v; want the handler to blame", o, err)
			}

			id := inboxtest.NewID()
			hanging, release := make(chan struct{}), make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := inbox.Process(ctx, store, "c", message(id), func(context.Context, *sql.Tx, *inbox.Message) error {
					close(hanging)
					<-release
					return nil
				})
				ended <- err
			}()
			<-hanging
			cancel()
			next, stop := context.WithTimeout(t.Context(), 10*time.Second)
			defer stop()
			o, err = inbox.Process(next, store, "c", message(id), func(context.Context, *sql.Tx, *inbox.Message) error { return nil })
			if o != inbox.Processed || err != nil {
				t.Errorf("after an abandoned handler: %v, %v", o, err)
			}
			close(release)
			if err := <-ended; !inbox.IsInfrastructure(err) {
				t.Errorf("the abandoned one: %v", err)
			}
		})
	}
}
