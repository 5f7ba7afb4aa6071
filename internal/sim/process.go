package sim

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/replication"
	"github.com/cdc-relay/cdc-relay/sink"
)

var (
	errDead = errors.New("sim: the process is dead")
	errTold = errors.New("received terminated") // a signal's cause is no context.Canceled
)

// Process is one relay. Everything that it has to do with the world goes through it, so that it can die: from one moment on
// nothing of it reaches anybody.
type Process struct {
	Relay *relay.Relay
	Done  chan struct{} // closed when Run has returned
	Err   error         // what it returned, once Done is closed

	db     *Database
	stop   context.CancelCauseFunc
	mu     sync.Mutex
	dead   bool
	conns  []net.Conn
	ledger []*connection
	sinks  []sink.Sink
}

// Start runs a relay in a process of its own. cfg lacks Connect, Ledger and Sink; change may alter how it connects.
func Start(cfg relay.Config, db *Database, open func(context.Context, sink.Receiver) (sink.Sink, error), change ...func(*replication.Config)) *Process {
	p := &Process{Done: make(chan struct{}), db: db}
	cfg.Connect = func(ctx context.Context) (*replication.Conn, error) {
		rc := replication.NewConfig(func(ctx context.Context) (*pgconn.Config, error) {
			c, err := db.srv.Conn(ctx)
			if err == nil {
				c.DialFunc = p.dial
			}
			return c, err
		}, cfg.Slot, cfg.Publication)
		for _, f := range change {
			f(&rc)
		}
		return replication.Connect(ctx, rc)
	}
	cfg.Ledger = p.connect
	cfg.Sink = func(ctx context.Context, to sink.Receiver) (sink.Sink, error) {
		s, err := open(ctx, to)
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.dead {
			_ = s.Close()
			return nil, errDead
		}
		p.sinks = append(p.sinks, s)
		return s, nil
	}
	ctx, stop := context.WithCancelCause(context.Background())
	p.stop = stop
	p.Relay = relay.New(cfg)
	go func() {
		defer close(p.Done)
		p.Err = p.Relay.Run(ctx)
	}()
	return p
}

func (p *Process) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return nil, errDead
	}
	c, err := p.db.srv.Dial(ctx, network, addr)
	if err == nil {
		p.conns = append(p.conns, c)
	}
	return c, err
}

func (p *Process) connect(ctx context.Context) (relay.Ledger, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return nil, errDead
	}
	l, err := p.db.Connect(ctx)
	if err != nil {
		return nil, err
	}
	p.ledger = append(p.ledger, l.(*connection))
	return l, nil
}

// Crash is kill -9: connections are cut, the sink is gone, nothing is drained. Statements and writes that had their effect
// keep it. It returns when nothing of the process can have an effect any more; Done is closed some time later.
func (p *Process) Crash() {
	p.mu.Lock()
	p.dead = true
	p.db.mu.Lock()
	for _, l := range p.ledger {
		l.end()
	}
	p.db.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	sinks := p.sinks
	p.mu.Unlock()
	for _, s := range sinks {
		_ = s.Close()
	}
	p.stop(nil)
}

// Stop is SIGTERM; it does not wait.
func (p *Process) Stop() { p.stop(errTold) }

// Running tells whether Run has not returned.
func (p *Process) Running() bool {
	select {
	case <-p.Done:
		return false
	default:
		return true
	}
}

// counted tells a Checker what its sink holds.
type counted struct {
	sink.Sink
	to      sink.Receiver
	checker *Checker
	window  int
}

// Count wraps what opens a sink, so that c sees how much each one holds; dead letters on their way once more do not count.
func Count(c *Checker, window int, open func(context.Context, sink.Receiver) (sink.Sink, error)) func(context.Context, sink.Receiver) (sink.Sink, error) {
	return func(ctx context.Context, to sink.Receiver) (sink.Sink, error) {
		s := &counted{to: to, checker: c, window: window}
		var err error
		s.Sink, err = open(ctx, s)
		return s, err
	}
}

func (s *counted) Publish(events []decoder.Event) {
	n := 0
	for i := range events {
		if !replayed(&events[i]) {
			n++
		}
	}
	s.checker.hold(s, n, s.window)
	s.Sink.Publish(events)
}

func (s *counted) settle(events ...*decoder.Event) {
	n := 0
	for _, ev := range events {
		if !replayed(ev) {
			n++
		}
	}
	s.checker.hold(s, -n, s.window)
}

func (s *counted) keep(ev *decoder.Event) {
	if !replayed(ev) {
		s.checker.hold(s, 1, s.window)
	}
}

func (s *counted) Ack(events []*decoder.Event) {
	s.settle(events...)
	s.to.Ack(events)
}

func (s *counted) Divert(ev *decoder.Event) bool {
	s.settle(ev) // first: what the relay has taken over makes room at once
	taken := s.to.Divert(ev)
	if !taken {
		s.keep(ev)
	}
	return taken
}

func (s *counted) Reject(ev *decoder.Event, why sink.Rejection) sink.Verdict {
	s.settle(ev)
	v := s.to.Reject(ev, why)
	if v != sink.Taken {
		s.keep(ev)
	}
	return v
}

func (s *counted) Attempted(events int, reason string) { s.to.Attempted(events, reason) }
func (s *counted) Notice(n sink.Notice)                { s.to.Notice(n) }
