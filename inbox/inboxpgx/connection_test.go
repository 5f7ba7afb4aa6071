package inboxpgx_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
	"github.com/cdc-relay/cdc-relay/inbox/inboxtest"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

func message(id string) *inbox.Message {
	return &inbox.Message{Topic: "orders", Offset: 1, Key: []byte("k"), Value: []byte("{}"), Headers: []inbox.Header{{Key: "event_id", Value: []byte(id)}}}
}

// The answer to COMMIT is lost: the handler does not run again, and the caller learns that the message is processed.
func TestLostCommit(t *testing.T) {
	t.Parallel()
	pool, _, pg := open(t)
	link := testenv.Proxy(t, pg.Address())
	store := inboxpgx.New(poolOf(t, pg.Via(link.Addr())))
	var runs atomic.Int32
	m := message(inboxtest.NewID())
	outcome := make(chan inbox.Outcome, 1)
	go func() {
		o, err := inbox.Process(t.Context(), store, "c", m, func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
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
	eventually(t, 10*time.Second, "the commit takes effect", func() bool { return len(effects(t, pool)) == 1 })
	link.CloseAll()
	link.Resume()
	if o := <-outcome; o != inbox.Processed || runs.Load() != 1 || len(effects(t, pool)) != 1 {
		t.Errorf("%v after %d runs, %d effects; want processed after 1 run, 1 effect", o, runs.Load(), len(effects(t, pool)))
	}
}

// The connection breaks before COMMIT is sent: the whole transaction again, one effect.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	pool, _, pg := open(t)
	link := testenv.Proxy(t, pg.Address())
	store := inboxpgx.New(poolOf(t, pg.Via(link.Addr())))
	runs := 0
	o, err := inbox.Process(t.Context(), store, "c", message(inboxtest.NewID()), func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
		runs++
		err := apply(ctx, tx, m.ID)
		if runs == 1 {
			link.CloseAll()
		}
		return err
	})
	if o != inbox.Processed || err != nil || runs != 2 || len(effects(t, pool)) != 1 {
		t.Errorf("%v, %v after %d runs, %d effects; want processed after 2 runs, 1 effect", o, err, runs, len(effects(t, pool)))
	}
	link.Cut()
	o, err = inbox.Process(t.Context(), store, "c", message(inboxtest.NewID()), func(context.Context, pgx.Tx, *inbox.Message) error { return nil })
	if o != inbox.Unfinished || !inbox.IsInfrastructure(err) {
		t.Errorf("database away: %v, %v; want an infrastructure error", o, err)
	}
}

// Serialization failures and deadlocks run the transaction again; a failed statement that the handler hides does not pass for done.
func TestConflicts(t *testing.T) {
	t.Parallel()
	pool, store, _ := open(t)
	for _, state := range []string{"40001", "40P01"} {
		runs := 0
		o, err := inbox.Process(t.Context(), store, "c", message(inboxtest.NewID()), func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
			if runs++; runs < 3 {
				_, err := tx.Exec(ctx, "DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '"+state+"'; END $$")
				return errors.Join(errors.New("my update"), err)
			}
			return apply(ctx, tx, m.ID)
		})
		if o != inbox.Processed || err != nil || runs != 3 {
			t.Errorf("%s: %v, %v after %d runs", state, o, err, runs)
		}
	}
	id := inboxtest.NewID()
	o, err := inbox.Process(t.Context(), store, "c", message(id), func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
		_, _ = tx.Exec(ctx, "SELECT 1/0")
		return nil
	})
	if o != inbox.Unfinished || err == nil || inbox.IsInfrastructure(err) {
		t.Errorf("a hidden failure: %v, %v; want the handler to blame", o, err)
	}
	if o, err := inbox.Process(t.Context(), store, "c", message(id), func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error { return apply(ctx, tx, m.ID) }); o != inbox.Processed {
		t.Errorf("afterwards: %v, %v", o, err)
	}
	if n := len(effects(t, pool)); n != 3 {
		t.Errorf("%d effects, want 3", n)
	}
}

// A handler that hangs past its context holds nothing: the next owner claims the message.
func TestAbandonedHandler(t *testing.T) {
	t.Parallel()
	_, store, _ := open(t)
	id := inboxtest.NewID()
	hanging, release := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := inbox.Process(ctx, store, "c", message(id), func(context.Context, pgx.Tx, *inbox.Message) error {
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
	o, err := inbox.Process(next, store, "c", message(id), func(context.Context, pgx.Tx, *inbox.Message) error { return nil })
	if o != inbox.Processed || err != nil {
		t.Errorf("the next owner: %v, %v", o, err)
	}
	close(release)
	if err := <-ended; !inbox.IsInfrastructure(err) {
		t.Errorf("the abandoned one: %v, want the end of its context", err)
	}
}

// A verdict wakes the runner.
func TestWait(t *testing.T) {
	t.Parallel()
	_, store, pg := open(t)
	if err := store.Wait(t.Context(), "c", 50*time.Millisecond); err != nil {
		t.Errorf("nothing happened: %v", err)
	}
	woken := make(chan error, 1)
	go func() { woken <- store.Wait(t.Context(), "c", time.Minute) }()
	conn := pg.Conn(t)
	eventually(t, 20*time.Second, "a notice arrives", func() bool {
		if _, err := store.Judge(t.Context(), "other", []int64{1}, inbox.Retry); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "SELECT pg_notify('cdc_inbox', 'c')"); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-woken:
			if err != nil {
				t.Error(err)
			}
			return true
		default:
			return false
		}
	})
}
