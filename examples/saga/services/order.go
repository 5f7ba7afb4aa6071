package services

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
)

const orderSchema = `
CREATE TABLE IF NOT EXISTS orders (
	id text PRIMARY KEY, customer text NOT NULL, item text NOT NULL, amount bigint NOT NULL,
	state text NOT NULL, step int NOT NULL, deadline timestamptz NOT NULL);
CREATE INDEX IF NOT EXISTS orders_deadline ON orders (deadline) WHERE state = 'running';
CREATE TABLE IF NOT EXISTS history (
	seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id text NOT NULL, event text NOT NULL);
CREATE INDEX IF NOT EXISTS history_order ON history (order_id)`

// conductor leads the sagas: a row of orders is where one stands.
type conductor struct{ Options }

func order(o Options) service {
	c := conductor{o}
	return service{
		name: "order", schema: orderSchema, topics: []string{Payments, Shipments}, handler: inbox.JSON(c.answer),
		beside: []func(context.Context, *pgxpool.Pool) error{c.serve, c.watch},
	}
}

// saga is where an order stands. running: waiting for the answer to a step's "do"; compensating: to its "undo".
type saga struct {
	state string // running, compensating, completed, compensated
	step  int
}

// next says where an answer leads, and what is to be asked then. An answer that nobody waits for any more changes nothing: the
// time was up, and "undo" is on its way behind "do".
func (s saga) next(step, answer string) (to saga, ask string, ok bool) {
	plan := Plan()
	if s.step >= len(plan) || step != plan[s.step] {
		return s, "", false
	}
	switch s.state + " " + answer {
	case "running done":
		if s.step+1 == len(plan) {
			return saga{"completed", s.step}, "", true
		}
		return saga{"running", s.step + 1}, plan[s.step+1] + ".do", true
	case "running refused", "compensating undone":
		to, ask = back(s.step - 1) // a refused step has done nothing
		return to, ask, true
	}
	return s, "", false
}

// back is a saga that takes back its steps from this one on, downwards.
func back(from int) (to saga, ask string) {
	if from < 0 {
		return saga{"compensated", 0}, ""
	}
	return saga{"compensating", from}, Plan()[from] + ".undo"
}

// answer is the handler: one transaction with the claim of the answer.
func (c conductor) answer(ctx context.Context, tx pgx.Tx, m *inbox.Message, o Order) error {
	var s saga
	err := tx.QueryRow(ctx, `SELECT state, step FROM orders WHERE id = $1 FOR UPDATE`, o.ID).Scan(&s.state, &s.step)
	switch found, err := none(err); {
	case err != nil:
		return fmt.Errorf("look for order %s: %w", o.ID, err)
	case !found: // Postgres hands a commit to the relay a moment before it shows it to other sessions: an answer may be faster
		return inbox.RetryAfter(20*time.Millisecond, fmt.Errorf("answer %s: order %s is not there yet", m.Type, o.ID))
	}
	step, answer, _ := strings.Cut(m.Type, ".")
	to, ask, ok := s.next(step, answer)
	if !ok {
		return inbox.Skip("nobody waits for " + m.Type)
	}
	return c.move(ctx, tx, o, m.Type, to, ask)
}

// move writes where a saga stands, why, and the next question, in the caller's transaction, which holds the order's row: two
// transactions that write events of one key must not run side by side.
func (c conductor) move(ctx context.Context, tx pgx.Tx, o Order, why string, to saga, ask string) error {
	if _, err := tx.Exec(ctx, `UPDATE orders SET state = $2, step = $3, deadline = now() + $4 WHERE id = $1`,
		o.ID, to.state, to.step, c.Patience); err != nil {
		return fmt.Errorf("move order %s: %w", o.ID, err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO history (order_id, event) VALUES ($1, $2)`, o.ID, why); err != nil {
		return fmt.Errorf("note %s of order %s: %w", why, o.ID, err)
	}
	if ask == "" {
		return nil
	}
	_, err := outboxpgx.Write(ctx, tx, event(Orders, ask, o))
	return err
}

// watch gives up steps that nobody answered in time. Whether such a step was done is not known, so it is taken back as well.
func (c conductor) watch(ctx context.Context, pool *pgxpool.Pool) error {
	every(ctx, c.Patience/10, "look for late answers", func() error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, `SELECT id, customer, item, amount, step FROM orders
				WHERE state = 'running' AND deadline < now() LIMIT 100 FOR UPDATE SKIP LOCKED`)
			if err != nil {
				return fmt.Errorf("find late sagas: %w", err)
			}
			type row struct {
				Order
				Step int
			}
			late, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
			for i := 0; i < len(late) && err == nil; i++ {
				to, ask := back(late[i].Step)
				err = c.move(ctx, tx, late[i].Order, "timeout", to, ask)
			}
			return err
		})
	})
	return nil
}

// place begins a saga. A customer who heard nothing sends the order again, with the same id: that begins nothing.
func (c conductor) place(ctx context.Context, pool *pgxpool.Pool, o Order) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `INSERT INTO orders (id, customer, item, amount, state, step, deadline)
			VALUES ($1, $2, $3, $4, 'running', 0, now()) ON CONFLICT DO NOTHING`, o.ID, o.Customer, o.Item, o.Amount)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		return c.move(ctx, tx, o, "placed", saga{"running", 0}, Plan()[0]+".do")
	})
}

// serve takes orders by POST /orders.
func (c conductor) serve(ctx context.Context, pool *pgxpool.Pool) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		var o Order
		err := json.NewDecoder(r.Body).Decode(&o)
		if err != nil || slices.Contains([]string{o.ID, o.Customer, o.Item}, "") || o.Amount <= 0 {
			http.Error(w, "want id, customer, item and a positive amount", http.StatusBadRequest)
			return
		}
		if err := c.place(r.Context(), pool, o); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
	server := &http.Server{Addr: c.Listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Shutdown(context.WithoutCancel(ctx)) })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("take orders at %s: %w", c.Listen, err)
	}
	return nil
}
