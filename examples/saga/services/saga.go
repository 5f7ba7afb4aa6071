package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxkafka"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
	"github.com/cdc-relay/cdc-relay/outbox"
)

// Plan returns the steps of a saga. Compensation walks it backwards. The types of the events are made of them: order asks
// "charge.do" and "charge.undo"; the answers are "charge.done", "charge.refused" and "charge.undone".
func Plan() []string { return []string{"reserve", "charge", "dispatch"} }

// The topics; they are the aggregate types of the events, which the relay takes for topics.
const (
	Orders    = "orders"
	Payments  = "payments"
	Shipments = "shipments"
)

// Order is the payload of every event here.
type Order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Item     string `json:"item"`
	Amount   int64  `json:"amount"` // in cents
}

func event(topic, kind string, o Order) outbox.Event {
	return outbox.Event{AggregateType: topic, AggregateID: o.ID, Type: kind, Payload: o}
}

// Options are what a service is started with.
type Options struct {
	Database string        // URL of its own
	Brokers  []string      // of Kafka
	Listen   string        // where order takes orders by HTTP
	Patience time.Duration // for the answer to a step

	// Misfortune: shares, from 0 to 1, of the charges and dispatches that are refused, and of the answers that are never given.
	RefuseCharge, RefuseDispatch, Silence float64

	Group   string        // of Kafka; "": the service's name
	Session time.Duration // how long Kafka waits for a member that died
	Metrics inbox.Metrics `json:"-"` // nil: none

	// Around wraps the handler, for a program that wants to die in it. nil: nothing.
	Around func(inbox.Handler[pgx.Tx]) inbox.Handler[pgx.Tx] `json:"-"`
}

// service is what differs between the three.
type service struct {
	name    string
	schema  string   // tables, made where they are missing
	topics  []string // listened to
	handler inbox.Handler[pgx.Tx]
	beside  []func(context.Context, *pgxpool.Pool) error // run until the context ends
}

// Run runs the service of that name until ctx ends, and finishes what is under way.
func Run(ctx context.Context, name string, o Options) error {
	var s service
	switch name {
	case "order":
		s = order(o)
	case "payment":
		s = payment(o)
	case "shipping":
		s = shipping(o)
	default:
		return fmt.Errorf("run service %q: there are order, payment and shipping", name)
	}
	return s.run(ctx, o)
}

func (s service) run(ctx context.Context, o Options) error {
	config, err := pgxpool.ParseConfig(o.Database)
	if err != nil {
		return fmt.Errorf("read the database's URL: %w", err)
	}
	config.MaxConns = 10 // one for each partition, three for the inbox, some for ourselves
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	if err := inboxpgx.Migrate(ctx, pool, inboxpgx.MigrateOptions{}); err != nil {
		return fmt.Errorf("make the inbox: %w", err)
	}
	if _, err := pool.Exec(ctx, s.schema); err != nil {
		return fmt.Errorf("make the tables of %s: %w", s.name, err)
	}

	c := inboxkafka.NewConfig[pgx.Tx]()
	c.Brokers, c.Topics, c.Group = o.Brokers, s.topics, o.Group
	c.Store, c.Consumer, c.Handler = inboxpgx.New(pool), s.name, s.handler
	c.SessionTimeout, c.Inbox.Metrics, c.Log = o.Session, o.Metrics, slog.Default()
	c.MaxBatch = 1       // an order a transaction: a batch would hold the accounts of many customers at once
	c.MaxAttempts = 1000 // a saga is better late than in the dead letters
	if o.Around != nil {
		c.Handler = o.Around(c.Handler)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return inboxkafka.Run(ctx, c) })
	for _, run := range s.beside {
		group.Go(func() error { return run(ctx, pool) })
	}
	return group.Wait()
}

// every calls f at that pace until ctx ends. What fails is tried again at the next turn.
func every(ctx context.Context, pace time.Duration, what string, f func() error) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := f(); err != nil && ctx.Err() == nil {
			slog.Warn(what, "err", err)
		}
	}
}

// happens is true for that share of calls.
func happens(share float64) bool { return rand.Float64() < share }

// none turns "no rows" into false.
func none(err error) (found bool, _ error) {
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
