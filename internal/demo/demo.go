package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/internal/demo/ledger"
	"github.com/cdc-relay/cdc-relay/internal/demo/parts"
	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// How long the end may take: until the relay streams at first, until the last event is delivered, and how long nothing
// must come before the consumer believes that nothing will.
const (
	readyTimeout = 30 * time.Second
	drainTimeout = 30 * time.Second
	quietTime    = time.Second
)

// Run runs the demo until o.For has passed or ctx ends, drains, and returns the verdict. An error means that something
// did not run; a promise that was not kept is in the Summary (OK).
func Run(ctx context.Context, o Options) (sum ledger.Summary, err error) {
	if err := o.Validate(); err != nil {
		return sum, err
	}
	s := newScreen(o)
	cleanup := context.WithoutCancel(ctx)
	name := "cdc_relay_demo_" + host.Random()
	dir, err := os.MkdirTemp("", "cdc-relay-demo-")
	if err != nil {
		return sum, fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	program := o.Relay
	if program == "" {
		s.event("building the relay")
		if program, err = parts.Build(ctx, dir); err != nil {
			return sum, err
		}
	}
	s.event("starting Postgres")
	d, err := parts.OpenDatabase(ctx, o.Database, o.Postgres, name, o.Screen)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, d.Close(cleanup)) }()
	s.event("starting the broker")
	b, err := parts.OpenBroker(ctx, o.Brokers, name)
	if err != nil {
		return sum, err
	}
	defer b.Close(cleanup)
	r, err := parts.NewRelay(program, dir, d, b)
	if err != nil {
		return sum, err
	}
	s.event("cdc-relay migrate up")
	if err := r.Migrate(ctx); err != nil {
		return sum, err
	}
	books := ledger.New()
	c, err := newConsumer(b.Addrs(), name, books)
	if err != nil {
		return sum, err
	}
	p := &play{options: o, screen: s, database: d, broker: b, relay: r, consumer: c, books: books}
	err = p.run(ctx)
	if sum = books.Final(); !sum.OK() {
		p.explain(cleanup)
	}
	return sum, err
}

// play is the running demo.
type play struct {
	options  Options
	screen   *screen
	database *parts.Database
	broker   *parts.Broker
	relay    *parts.Relay
	consumer *consumer
	books    *ledger.Ledger
}

// run starts everyone and ends them in the order in which data flows: the application first, then the relay, which
// drains, then the consumer. ctx ends the application alone.
func (p *play) run(ctx context.Context) error {
	// all ends at the first error of anyone; each stage has an end of its own before that.
	all, fail := context.WithCancelCause(context.WithoutCancel(ctx))
	defer fail(nil)
	var group errgroup.Group
	start := func(run func(context.Context) error) (stop func()) {
		stage, cancel := context.WithCancel(all)
		var done sync.WaitGroup
		done.Add(1)
		group.Go(func() error {
			defer done.Done()
			err := run(stage)
			if err != nil {
				fail(err)
			}
			return err
		})
		return func() { cancel(); done.Wait() }
	}

	stopConsumer := start(p.consumer.run)
	defer stopConsumer()
	stopRelay := start(p.relay.Run)
	defer stopRelay()
	stopScreen := start(p.show)
	defer stopScreen()
	p.screen.event("cdc-relay run")
	ready, cancel := context.WithTimeout(all, readyTimeout)
	defer cancel()
	for !p.database.Streaming(ready) {
		if parts.Wait(ready, 20*time.Millisecond); ready.Err() != nil {
			return errors.Join(context.Cause(all), fmt.Errorf("wait for the relay to stream: %w\n%s", ready.Err(), p.relay.LastWords()))
		}
	}
	p.screen.event("the relay streams; the application begins")
	stopApplication := start((&application{
		url: p.database.URL(), topic: p.broker.Topic(), rate: p.options.Rate, rows: p.options.Rows, keys: p.options.Keys, books: p.books,
	}).run)
	stopChaos := func() {}
	if p.options.Chaos {
		stopChaos = start((&chaos{
			database: p.database, broker: p.broker, relay: p.relay, screen: p.screen, pause: p.betweenMisfortunes(),
		}).run)
	}
	p.await(ctx, all)
	stopChaos()
	stopApplication()
	p.screen.event("the application has ended; draining")
	p.drain(all)
	stopRelay()
	for all.Err() == nil && p.consumer.quiet() < quietTime { // a late repeat would still come
		parts.Wait(all, quietTime/10)
	}
	stopScreen()
	stopConsumer()
	return group.Wait()
}

// explain says where to look when a promise was not kept.
func (p *play) explain(ctx context.Context) {
	for _, gap := range p.books.Gaps(5) {
		p.screen.event("%s", gap)
	}
	if parked, err := p.database.DeadLetters(ctx); err == nil {
		p.screen.event("%d dead letters", parked)
	}
	if records, err := p.broker.Records(ctx); err == nil {
		p.screen.event("the topic's log ends at %d records, all partitions together", records)
	}
	p.screen.event("the relay's last words:\n%s", p.relay.LastWords())
}

// await waits for the end of the play: its time is over, Ctrl-C, or somebody failed.
func (p *play) await(ctx, all context.Context) {
	var over <-chan time.Time
	if p.options.For > 0 {
		timer := time.NewTimer(p.options.For)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-ctx.Done():
	case <-all.Done():
	}
}

// drain waits until all that was committed is delivered.
func (p *play) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	// A relay that was killed last is ready to be told to end once it streams.
	for (p.books.Waiting() > 0 || !p.database.Streaming(ctx)) && ctx.Err() == nil {
		parts.Wait(ctx, 20*time.Millisecond)
	}
}

// betweenMisfortunes leaves room for each of them to come once in a short play.
func (p *play) betweenMisfortunes() time.Duration {
	if p.options.For == 0 {
		return 3 * time.Second
	}
	return min(3*time.Second, p.options.For/8)
}

// show keeps the screen up to date.
func (p *play) show(ctx context.Context) error {
	every := time.Second
	if p.options.Terminal {
		every = 250 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i++ {
		lag, _ := p.database.Lag(ctx)
		p.screen.show(p.books.Summary(), facts{waiting: p.books.Waiting(), lag: lag, rss: p.relay.RSS(), restarts: p.relay.Restarts()})
		if i%10 == 9 {
			p.broker.Forget(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
