package kafka

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/kafka/batch"
	"github.com/cdc-relay/cdc-relay/sink/kafka/pace"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
)

const (
	maxEntries   = 256     // partitions in a request
	minRequest   = 2 << 20 // bytes in a request, unless a batch is larger
	answerSlack  = 5 * time.Second
	lingerTime   = 3 * time.Millisecond
	lingerLate   = 100 * time.Millisecond // events younger than that are never held back
	lingerMany   = 32                     // nor are a few: they are no backlog
	lingerEnough = 256 << 10              // bytes that are worth a request of their own
	maxRedial    = time.Second
)

// broker is one member of the cluster, and the writer to it. All fields are guarded by Sink.mu but those of the writer.
type broker struct {
	id      int32
	addr    string
	ready   []*lane // lanes with something to send, first come first served
	paused  []*lane // lanes that wait for their back-off's end
	link    *link   // nil: not connected
	weight  int     // bytes of the batches that this writer has sealed and that exist still
	notSoon time.Time
	rewarm  bool // an idle connection ended: dial once, so that the next event need not wait for it
	wake    chan struct{}

	pace    pace.Pace
	trouble error // why it cannot be reached
	since   time.Time

	// the writer's own
	encoder batch.Encoder
	produce wire.Produce
	entries []wire.Entry
	redial  sink.Backoff
	next    int32
	timer   *time.Timer
	held    time.Time // since when it lingers
}

// request is one produce request under way.
type request struct {
	correlation int32
	sent        time.Time
	items       []item
}

type item struct {
	lane  *lane
	batch *sealed
	fresh bool
	done  bool
}

func (s *Sink) newBroker(ctx context.Context, id int32, addr string) *broker {
	b := &broker{
		id: id, addr: addr, wake: make(chan struct{}, 1), redial: sink.Backoff{Min: time.Millisecond, Max: maxRedial},
		encoder: batch.Encoder{Codec: s.cfg.Compression},
		produce: wire.Produce{Acks: int16(s.cfg.Acks), Timeout: s.cfg.RequestTimeout, ClientID: s.cfg.ClientID},
		timer:   time.NewTimer(time.Hour),
	}
	s.brokers[id] = b
	s.work.Go(func() { s.write(ctx, b) })
	return b
}

func (b *broker) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// waited says whether lanes wait for this broker; with mu.
func (b *broker) waited() bool { return len(b.ready) > 0 || len(b.paused) > 0 }

// write is the writer: it waits for something to send, connects when need be, seals and sends.
func (s *Sink) write(ctx context.Context, b *broker) {
	defer b.timer.Stop()
	for {
		s.mu.Lock()
		wait := s.due(b, time.Now())
		k := b.link
		s.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			if k != nil {
				_ = k.conn.Close()
			}
			return
		case wait > 0:
			b.timer.Reset(wait)
			select {
			case <-b.wake:
			case <-b.timer.C:
			case <-ctx.Done():
			}
		case k == nil:
			s.connect(ctx, b)
		default:
			if req := s.gather(b, k); req != nil {
				s.send(b, k, req)
			}
		}
	}
}

// due says how long the writer has nothing to do; with mu.
func (s *Sink) due(b *broker, now time.Time) time.Duration {
	wait := time.Hour
	keep := b.paused[:0]
	for _, l := range b.paused {
		if l.paused != b {
			continue
		}
		if left := l.retryAt.Sub(now); left > 0 {
			wait = min(wait, left)
			keep = append(keep, l)
			continue
		}
		l.paused = nil
		s.kick(l, now)
	}
	clear(b.paused[len(keep):])
	b.paused = keep
	if k := b.link; k != nil && !k.until.IsZero() && len(k.flying) == 0 {
		if left := k.until.Sub(now); left <= 0 {
			b.link = nil // the session ends soon: the next request opens a new one
			_ = k.conn.Close()
		} else {
			wait = min(wait, left)
		}
	}
	if len(b.ready) == 0 {
		b.held = time.Time{}
		if b.rewarm && b.link == nil {
			b.rewarm = false
			return 0
		}
		return wait
	}
	hold := b.notSoon.Sub(now)
	if k := b.link; k != nil {
		if k.ending(now) || len(k.flying) >= b.pace.Limit(s.cfg.MaxRequestsInFlight) {
			return wait // an answer wakes us
		}
		if len(k.flying) > 0 {
			hold = max(hold, b.pace.Hold(now, s.cfg.MaxRequestsInFlight))
		}
		hold = max(hold, s.linger(b, now))
		if b.weight >= s.budget() && len(k.flying) > 0 {
			return wait
		}
	}
	if hold > 0 {
		return min(wait, hold)
	}
	return 0
}

// budget is how many bytes of sealed batches a writer may have around.
func (s *Sink) budget() int { return max(4<<20, maxWindow*s.cfg.BatchBytes) }

// linger says how long to wait for company: some milliseconds when a backlog is being worked off, else not at all.
func (s *Sink) linger(b *broker, now time.Time) time.Duration {
	if !b.held.IsZero() {
		return lingerTime - now.Sub(b.held)
	}
	events, oldest := 0, int64(0)
	for _, l := range b.ready {
		if l.next < len(l.sealed) {
			return 0 // sealed before: nothing can join it
		}
		if n := l.queue.len(); n > 0 {
			events += n
			if oldest == 0 {
				oldest = l.queue.front().CommitTime
			}
		}
		if events > lingerEnough/256 {
			return 0
		}
	}
	if events < lingerMany || now.Sub(time.UnixMicro(oldest)) < lingerLate {
		return 0
	}
	b.held = now
	return lingerTime
}

// gather takes a batch of each lane that has one, within the bounds of a request, and seals the new ones. nil: there was
// nothing after all.
func (s *Sink) gather(b *broker, k *link) *request {
	now := time.Now()
	s.mu.Lock()
	b.held = time.Time{}
	req := k.newRequest()
	limit, weight := max(minRequest, s.cfg.BatchBytes), 0
	again := b.ready[:0:0]
	rest := b.ready
	for len(rest) > 0 && len(req.items) < maxEntries && weight < limit {
		l := rest[0]
		rest = rest[1:]
		if l.listed != b {
			continue
		}
		full := b.weight >= s.budget() && len(req.items) > 0 && l.next == len(l.sealed)
		if full || l.request == req {
			again = append(again, l)
			continue
		}
		l.listed = nil
		if l.broker != b || !l.ready(s, now) {
			s.kick(l, now)
			continue
		}
		batch, fresh := l.take(s)
		if batch == nil {
			continue
		}
		if fresh {
			batch.owner = b
			b.weight += batch.weight
		}
		weight += batch.weight
		l.request = req
		req.items = append(req.items, item{lane: l, batch: batch, fresh: fresh})
	}
	b.ready = append(append(b.ready[:0], rest...), again...)
	for _, it := range req.items {
		s.kick(it.lane, now) // it may have more for the next request
		it.lane.request = nil
	}
	s.mu.Unlock()

	kept := req.items[:0]
	for _, it := range req.items {
		if !it.fresh || s.seal(b, it.lane, it.batch) {
			kept = append(kept, it)
		}
	}
	clear(req.items[len(kept):])
	req.items = kept
	if len(kept) == 0 {
		s.mu.Lock()
		k.free(req)
		s.mu.Unlock()
		return nil
	}
	slices.SortStableFunc(req.items, func(a, b item) int { return cmp.Compare(a.lane.topic.name, b.lane.topic.name) })
	return req
}

// seal asks Divert about the batch's events and encodes those that stay. false: none did.
func (s *Sink) seal(b *broker, l *lane, batched *sealed) bool {
	l.calls.Lock()
	stay := batched.events[:0]
	for i, ev := range batched.events {
		if i < batched.asked || batched.moved && s.recall(l.topic, ev) || !s.rcv.Divert(ev) {
			stay = append(stay, ev)
		}
	}
	l.calls.Unlock()
	clear(batched.events[len(stay):])
	batched.events = stay

	s.mu.Lock()
	if len(stay) == 0 {
		now := time.Now()
		l.forget(batched, now)
		s.freeSealed(batched)
		s.kick(l, now)
		s.mu.Unlock()
		return false
	}
	batched.producer = l.producer
	if l.producer.ID >= 0 {
		l.producer.Sequence = batch.NextSequence(l.producer.Sequence, len(stay))
	}
	s.mu.Unlock()

	batched.buf = s.pool.Get(batch.MaxSize(len(stay), payload(stay)))
	out, err := b.encoder.Append(batched.buf.B, stay, batched.producer)
	if err != nil { // a compressor failed: plain bytes are as good
		plain := batch.Encoder{}
		out, _ = plain.Append(batched.buf.B, stay, batched.producer)
	}
	batched.buf.B = out
	return true
}

// recall says whether Divert was asked about an event in a lane that is gone; with neither lock.
func (s *Sink) recall(t *topic, ev *decoder.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := t.asked[ev]
	delete(t.asked, ev)
	return known
}

func payload(events []*decoder.Event) int {
	n := 0
	for _, ev := range events {
		n += ev.Bytes()
	}
	return n
}
