package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/examples/saga/services"
	"github.com/cdc-relay/cdc-relay/internal/demo/parts"
	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// session is how long the broker waits for a service that was killed; partitions is how many each topic has.
const (
	session    = 3 * time.Second
	partitions = 2
	patience   = 60 * time.Second // for the sagas that are under way when customers have gone
)

// stage is everything that runs.
type stage struct {
	options

	screen    *screen
	broker    *parts.Broker
	relays    []*parts.Relay
	processes []*parts.Process // services and relays
	books     books            // the three databases
	shop      string           // where order listens
}

// play runs it all and returns the verdict. An error means that something did not run.
func play(ctx context.Context, o options) (v verdict, err error) {
	cleanup := context.WithoutCancel(ctx)
	dir, err := os.MkdirTemp("", "saga-")
	if err != nil {
		return v, fmt.Errorf("make a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &stage{options: o, screen: newScreen(o)}
	end, err := s.build(ctx, dir)
	defer func() { err = errors.Join(err, end(cleanup)) }()
	if err != nil {
		return v, err
	}
	if err := s.run(ctx); err != nil {
		return v, err
	}
	v, err = s.books.audit(cleanup)
	if err == nil && !v.ok() {
		s.explain(cleanup)
	}
	for _, p := range s.processes {
		v.Kills += p.Restarts()
	}
	return v, err
}

// build makes databases, topics, relays and services; end takes down what there is.
func (s *stage) build(ctx context.Context, dir string) (end func(context.Context) error, err error) {
	var closers []func(context.Context) error
	end = func(ctx context.Context) error {
		var err error
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i](ctx))
		}
		return err
	}
	if s.relay == "" {
		s.screen.event("building the relay")
		if s.relay, err = parts.Build(ctx, dir); err != nil {
			return end, err
		}
	}
	s.screen.event("starting Postgres and the broker")
	if s.broker, err = parts.OpenBroker(ctx, nil, "unused"); err != nil {
		return end, err
	}
	closers = append(closers, func(ctx context.Context) error { s.broker.Close(ctx); return nil })
	if err := s.broker.Add(ctx, partitions, services.Orders, services.Payments, services.Shipments); err != nil {
		return end, err
	}
	port, err := host.Ports(0)
	if err != nil {
		return end, fmt.Errorf("find a port: %w", err)
	}
	s.shop = fmt.Sprintf("127.0.0.1:%d", port)
	server := "" // the first database brings an embedded server with it
	for _, name := range []string{"order", "payment", "shipping"} {
		home := filepath.Join(dir, name)
		if err := os.Mkdir(home, 0o755); err != nil {
			return end, fmt.Errorf("make a folder: %w", err)
		}
		d, err := parts.OpenDatabase(ctx, server, "17", "saga_"+name, s.options.screen)
		if err != nil {
			return end, err
		}
		if server == "" { // it takes the others with it
			server = d.URL()
			closers = append(closers, d.Close)
		}
		pool, err := pgxpool.New(ctx, d.URL()+"&pool_max_conns=2")
		if err != nil {
			return end, fmt.Errorf("open the database of %s: %w", name, err)
		}
		closers = append(closers, func(context.Context) error { pool.Close(); return nil })
		s.books = append(s.books, pool)
		relay, err := parts.NewRelay(s.relay, home, d, s.broker)
		if err != nil {
			return end, err
		}
		if err := relay.Migrate(ctx); err != nil {
			return end, err
		}
		relay.Name = "the relay of " + name
		s.relays = append(s.relays, relay)
		service, err := s.service(name, home, d.URL())
		if err != nil {
			return end, err
		}
		s.processes = append(s.processes, service, relay.Process)
	}
	return end, nil
}

// service prepares a service as a process.
func (s *stage) service(name, home, url string) (*parts.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	p := &parts.Process{Name: "service " + name, Program: self, Log: filepath.Join(home, "service.log"), Suicidal: s.crash}
	p.Again = func(p *parts.Process, start int) {
		sp := spec{Service: name, Crash: s.crash, Options: services.Options{
			Database: url, Brokers: s.broker.Addrs(), Listen: s.shop, Session: session, Patience: s.patience,
			RefuseCharge: s.fail.payment, RefuseDispatch: s.fail.shipping, Silence: s.fail.silence,
		}}
		if s.crash { // a new group each time: nobody has to wait until the broker misses the dead one. Where to go on is in the database.
			sp.Options.Group = fmt.Sprintf("%s-%d", name, start)
		}
		text, err := json.Marshal(sp)
		if err != nil {
			panic(err) // plain values
		}
		p.Env = append(host.Environ(), specEnv+"="+string(text))
	}
	return p, nil
}

// run starts everyone, and ends them in the order in which data flows.
func (s *stage) run(ctx context.Context) error {
	all, fail := context.WithCancelCause(context.WithoutCancel(ctx)) // ends at the first error
	defer fail(nil)
	var group errgroup.Group
	start := func(run func(context.Context) error) (stop func()) {
		own, cancel := context.WithCancel(all)
		var done sync.WaitGroup
		done.Add(1)
		group.Go(func() error {
			defer done.Done()
			err := run(own)
			if err != nil {
				fail(err)
			}
			return err
		})
		return func() { cancel(); done.Wait() }
	}
	var stops []func()
	for _, p := range s.processes {
		stops = append(stops, start(p.Run))
	}
	stopScreen := start(s.show)
	s.screen.event("customers come")
	stopCustomers := start(func(own context.Context) error {
		return (&customers{shop: s.shop, rate: s.rate}).run(own, all)
	})
	stopKiller := func() {}
	if s.kill {
		stopKiller = start(s.killer)
	}
	timer := time.NewTimer(s.duration)
	if s.duration == 0 {
		timer.Stop()
	}
	select {
	case <-ctx.Done():
	case <-all.Done():
	case <-timer.C:
	}
	stopCustomers()
	stopKiller()
	s.screen.event("customers have gone; waiting for the sagas under way")
	err := s.settle(all)
	stopScreen()
	for _, stop := range stops {
		stop()
	}
	return errors.Join(group.Wait(), err)
}

// settle waits until no saga is under way, and then for what may come late. Sagas that never end are the audit's matter.
func (s *stage) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for ctx.Err() == nil {
		if running, err := s.books.running(ctx); err != nil && ctx.Err() == nil {
			return err
		} else if running == 0 {
			parts.Wait(ctx, time.Second)
			return nil
		}
		parts.Wait(ctx, 100*time.Millisecond)
	}
	return nil
}

// explain says where to look when a promise was not kept.
func (s *stage) explain(ctx context.Context) {
	var id, where string
	var history []string
	_ = each(ctx, s.books[0], `SELECT id, state || ' at step ' || step, (SELECT coalesce(array_agg(event ORDER BY seq), '{}') FROM history WHERE order_id = id)
		FROM orders WHERE state IN ('running', 'compensating') ORDER BY deadline LIMIT 5`, []any{&id, &where, &history},
		func() { s.screen.event("stuck: %s, %s, after %v", id, where, history) })
	var topic, why string
	for _, db := range s.books {
		_ = each(ctx, db, `SELECT convert_from(key, 'UTF8'), topic, reason || ': ' || coalesce(error, '') FROM cdc_inbox.dead_letter ORDER BY id LIMIT 5`, []any{&id, &topic, &why},
			func() { s.screen.event("dead letter: %s in %s: %s", id, topic, why) })
	}
	for _, p := range s.processes {
		s.screen.event("last words of %s:\n%s", p.Name, p.LastWords())
	}
}

// killer kills one of them at random, again and again.
func (s *stage) killer(ctx context.Context) error {
	pause := func() { parts.Wait(ctx, time.Second+rand.N(2*time.Second)) }
	for pause(); ctx.Err() == nil; pause() {
		if p := s.processes[rand.IntN(len(s.processes))]; p.Kill9() {
			s.screen.event("kill -9 of %s", p.Name)
		}
	}
	return nil
}
