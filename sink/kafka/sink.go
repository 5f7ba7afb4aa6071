package kafka

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/kafka/batch"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
)

// stalledAfter is how long a lane may stand before Status names it.
const stalledAfter = time.Second

// maxStalled is how many lanes Status names.
const maxStalled = 16

// Sink delivers events to a Kafka cluster; see the package's promises. It implements sink.Sink.
type Sink struct {
	cfg    Config
	rcv    sink.Receiver
	dialer *wire.Dialer
	pool   batch.Pool
	close  context.CancelFunc
	work   sync.WaitGroup
	wake   chan struct{} // tells the keeper that needs has changed
	closed sync.Once

	mu       sync.Mutex
	topics   map[string]*topic
	last     *topic // of the last event: transactions tend to write to one
	brokers  map[int32]*broker
	producer batch.Producer // for lanes that have none; ID -1: to be asked for
	free     []*sealed
	needs    bool // the view of the cluster is older than the last error, or lacks a topic
	trouble  error
	since    time.Time // since when trouble
	noticed  map[string]bool
	ended    bool
}

// Open starts a sink. It returns before it has reached a broker: what is wrong out there is told by Notice and Status, and
// by Check for who wants to wait. The sink lives until Close, whatever becomes of ctx.
func Open(ctx context.Context, cfg Config, rcv sink.Receiver) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Sink{
		cfg: cfg, rcv: rcv, dialer: cfg.dialer(), close: cancel, wake: make(chan struct{}, 1),
		topics: make(map[string]*topic), brokers: make(map[int32]*broker), noticed: make(map[string]bool),
		producer: batch.Producer{ID: -1}, needs: true,
	}
	s.work.Go(func() { s.keep(ctx) })
	return s, nil
}

// Publish hands events over; see sink.Sink.
func (s *Sink) Publish(events []decoder.Event) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	for i := range events {
		ev := &events[i]
		t := s.last
		if t == nil || t.name != ev.Topic {
			t = s.topicOf(ev.Topic)
			s.last = t
		}
		l := t.route(ev)
		if l == nil {
			if t.waiting.len() == 0 {
				s.need()
			}
			t.waiting.push(ev)
			continue
		}
		s.enqueue(l, ev, now)
	}
}

// enqueue adds an event to a lane; with mu.
func (s *Sink) enqueue(l *lane, ev *decoder.Event, now time.Time) {
	if l.since.IsZero() {
		l.since = now
	}
	l.queue.push(ev)
	if l.listed == nil {
		s.kick(l, now)
	}
}

// kick lists a lane with its leader's writer if there is something to do; with mu.
func (s *Sink) kick(l *lane, now time.Time) {
	b := l.broker
	if b == nil || l.idle() || l.halted || l.rewinding {
		return
	}
	switch {
	case now.Before(l.retryAt):
		if l.paused != b {
			l.paused = b
			b.paused = append(b.paused, l)
			b.signal()
		}
	case l.listed != b && l.ready(s, now):
		l.listed = b
		b.ready = append(b.ready, l)
		b.signal()
	}
}

// need asks the keeper to look at the cluster; with mu.
func (s *Sink) need() {
	s.needs = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Status tells how the sink fares; see sink.Sink.
func (s *Sink) Status() sink.Status {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := sink.Status{Writable: true}
	blame := func(why string, since time.Time) {
		if st.Writable || since.Before(st.Since) {
			st.Writable, st.Reason, st.Since = false, why, since
		}
	}
	if s.trouble != nil {
		blame(s.trouble.Error(), s.since)
	}
	for _, b := range s.brokers {
		if b.link != nil {
			st.InFlight += len(b.link.flying)
		}
		if b.trouble != nil && now.Sub(b.since) > stalledAfter && b.waited() {
			blame(b.trouble.Error(), b.since)
		}
	}
	for _, t := range s.topics {
		if t.barred && t.waiting.len() > 0 {
			blame(t.trouble, t.since)
		}
		if t.waiting.len() > 0 && now.Sub(t.since) > stalledAfter {
			st.Stalled = append(st.Stalled, sink.Lane{Name: t.name, Since: t.since, Events: t.waiting.len(), Err: s.whyWaiting(t)})
		}
		for _, l := range t.lanes {
			if l.barred {
				blame("topic "+t.name+": "+l.trouble.Error(), l.since)
			}
			if !l.idle() && now.Sub(l.since) > stalledAfter {
				st.Stalled = append(st.Stalled, l.describe())
			}
		}
	}
	slices.SortFunc(st.Stalled, func(a, b sink.Lane) int { return a.Since.Compare(b.Since) })
	st.Stalled = st.Stalled[:min(len(st.Stalled), maxStalled)]
	return st
}

func (s *Sink) whyWaiting(t *topic) string {
	switch {
	case s.trouble != nil:
		return s.trouble.Error()
	case t.trouble != "":
		return t.trouble
	}
	return "the brokers have not been asked about the topic yet"
}

func (l *lane) describe() sink.Lane {
	d := sink.Lane{Name: l.name, Since: l.since, Events: l.queue.len()}
	for _, b := range l.sealed {
		d.Events += len(b.events)
	}
	switch {
	case l.trouble != nil:
		d.Err = l.trouble.Error()
	case l.broker == nil:
		d.Err = "the partition has no leader"
	case l.broker.trouble != nil:
		d.Err = l.broker.trouble.Error()
	case l.flying > 0:
		d.Err = "no answer from broker " + l.broker.addr
	}
	return d
}

// Close stops at once; see sink.Sink.
func (s *Sink) Close() error {
	s.closed.Do(func() {
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
		s.close()
	})
	s.work.Wait()
	return nil
}

// notice tells an operator once; forgive allows it to be told again. Without mu.
func (s *Sink) notice(n sink.Notice) {
	key := n.Topic + "\x00" + n.What
	s.mu.Lock()
	told := s.noticed[key] || s.ended
	s.noticed[key] = true
	s.mu.Unlock()
	if !told {
		s.rcv.Notice(n)
	}
}

// forgive forgets what was told about a topic ("" for the sink), because it has passed; with mu.
func (s *Sink) forgive(topic string) {
	if len(s.noticed) == 0 {
		return
	}
	for key := range s.noticed {
		if len(key) > len(topic) && key[:len(topic)+1] == topic+"\x00" {
			delete(s.noticed, key)
		}
	}
}
