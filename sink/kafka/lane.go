package kafka

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink/kafka/batch"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
)

// Back-off of a lane: what passes by itself, and what a person has to change.
const (
	minDelay     = time.Millisecond
	maxDelay     = 100 * time.Millisecond
	minSlowDelay = 500 * time.Millisecond
	maxSlowDelay = 5 * time.Second
)

// forgetAfter is how long a partition is trusted to remember a producer that sent nothing; brokers forget after
// producer.id.expiration.ms, 24 h unless set.
const forgetAfter = time.Hour

// lane is one partition's ordered queue. All fields but calls are guarded by Sink.mu.
//
//	queue:  events, not sealed         sealed: |acked? |sent |sent |sealed before, to be sent again|
//	        in order behind sealed             0                   next
//
// flying counts the batches between "taken by a writer" and "answered". While rewinding nothing is taken; when flying
// reaches 0 the lane settles: next = 0, and one batch at a time (probing) until it is acknowledged. Hence a batch's answer
// that came while it was alone and first says something about that batch, and nothing else.
type lane struct {
	calls sync.Mutex // held around calls of the Receiver for this lane; taken before Sink.mu, never by Publish

	topic  *topic
	id     int32
	name   string
	broker *broker // its leader; nil: not known now

	queue  queue
	asked  int // events at the front of queue that Divert has been asked about
	sealed []*sealed
	next   int
	flying int

	rewinding bool
	probing   bool
	halted    bool
	retryAt   time.Time
	delay     time.Duration

	producer batch.Producer // ID -1: none yet
	proven   bool           // the partition has acknowledged this producer id and epoch
	lastAck  time.Time

	suspects int // events at the front among which one was refused
	atMost   int // events in a batch while there are suspects

	listed  *broker // whose ready list it stands in
	paused  *broker // whose paused list it stands in
	request *request

	since   time.Time // since when its oldest event waits with nothing acknowledged
	trouble error     // the last refusal, nil after an ack
	barred  bool      // trouble is the sink's state
}

// sealed is one batch: its bytes never change while it exists.
type sealed struct {
	events   []*decoder.Event
	buf      *batch.Buffer // nil: not encoded yet
	producer batch.Producer
	owner    *broker // whose budget its bytes count against
	asked    int     // events at its front that Divert has been asked about
	moved    bool    // some may come from a lane that is gone: topic.asked knows
	weight   int     // estimate of its bytes, before it is encoded
	acked    bool
}

func (l *lane) idle() bool { return len(l.sealed) == 0 && l.queue.len() == 0 }

// window is how many batches may stand between the first unacknowledged and the last sent one.
func (l *lane) window(s *Sink, now time.Time) int {
	if !s.cfg.idempotent() || !l.proven || now.Sub(l.lastAck) > forgetAfter {
		return 1
	}
	return maxWindow
}

// ready says whether a batch of the lane may be taken.
func (l *lane) ready(s *Sink, now time.Time) bool {
	if l.broker == nil || l.halted || l.rewinding || l.probing && l.flying > 0 || now.Before(l.retryAt) {
		return false
	}
	w := l.window(s, now)
	if l.next < len(l.sealed) {
		return l.next < w
	}
	return l.queue.len() > 0 && len(l.sealed) < w && (!s.cfg.idempotent() || l.producer.ID >= 0 || s.producer.ID >= 0)
}

// take returns the next batch to send; fresh: it is to be sealed. The caller has seen ready.
func (l *lane) take(s *Sink) (b *sealed, fresh bool) {
	for l.next < len(l.sealed) {
		b := l.sealed[l.next]
		l.next++
		if !b.acked {
			l.flying++
			return b, false
		}
	}
	if l.queue.len() == 0 {
		return nil, false
	}
	if l.producer.ID < 0 && s.cfg.idempotent() {
		l.producer = s.producer
		l.producer.Epoch = max(l.producer.Epoch, l.topic.epoch)
		l.proven = false
	}
	b = s.newSealed()
	limit, weight := l.topic.batchBytes, 0
	for l.queue.len() > 0 && (l.suspects == 0 || len(b.events) < l.atMost) {
		n := l.queue.front().Bytes() + batch.MaxOverhead
		if len(b.events) > 0 && weight+n > limit {
			break
		}
		weight += n
		b.events = append(b.events, l.queue.pop())
	}
	b.weight = batch.MaxSize(0, weight)
	b.moved = len(l.topic.asked) > 0
	b.asked = min(l.asked, len(b.events))
	l.asked -= b.asked
	l.sealed = append(l.sealed, b)
	l.next++
	l.flying++
	return b, true
}

// forget takes a batch that turned out empty (every event was diverted) out again; it is the last one.
func (l *lane) forget(b *sealed, now time.Time) {
	l.sealed = l.sealed[:len(l.sealed)-1]
	l.next = min(l.next, len(l.sealed))
	l.landed(now)
	if l.idle() {
		l.since = time.Time{}
	}
}

// landed counts one batch less under way, and settles the lane when it was the last one of a rewind.
func (l *lane) landed(now time.Time) {
	l.flying--
	if !l.rewinding || l.flying > 0 {
		return
	}
	l.rewinding, l.probing, l.next = false, true, 0
	l.retryAt = now.Add(l.delay - rand.N(l.delay/2+1))
}

// rewind stops the lane until nothing of it is under way. why is not nil.
func (l *lane) rewind(why error, class wire.Class) {
	l.trouble = why
	l.barred = class == wire.StateOfSink
	least, most := minDelay, maxDelay
	if l.barred {
		least, most = minSlowDelay, maxSlowDelay
	}
	if !l.rewinding {
		l.delay = min(max(2*l.delay, least), most)
	}
	l.rewinding = true
}

// acknowledged pops what is acked from the front into done.
func (l *lane) acknowledged(now time.Time, done []*sealed) []*sealed {
	n := 0
	for n < len(l.sealed) && l.sealed[n].acked {
		if l.suspects > 0 {
			if l.suspects = max(0, l.suspects-len(l.sealed[n].events)); l.suspects == 0 {
				l.topic.unshrunk = 0 // all of them fitted: the batches were too large
			}
		}
		n++
	}
	done = append(done, l.sealed[:n]...)
	l.sealed = slices.Delete(l.sealed, 0, n)
	l.next = max(0, l.next-n)
	l.proven, l.lastAck = true, now
	if !l.rewinding {
		l.probing, l.delay, l.trouble, l.barred = false, 0, nil, false
	}
	if l.suspects > 0 {
		l.atMost *= 2
	}
	l.since = time.Time{}
	if !l.idle() {
		l.since = now
	}
	return done
}

// unseal puts the events of all batches back to the front of the queue, and takes the next epoch: no copy of the old
// batches that may still be on its way can ever fit the sequence again, whatever its contents. Batches that were
// acknowledged in the middle are returned. Nothing is under way.
func (l *lane) unseal(s *Sink) (acked []*sealed) {
	var events []*decoder.Event
	for _, b := range l.sealed {
		if b.acked {
			acked = append(acked, b)
			continue
		}
		events = append(events, b.events...)
		s.freeSealed(b)
	}
	l.queue.unshift(events)
	l.asked += len(events)
	clear(l.sealed)
	l.sealed, l.next, l.probing = l.sealed[:0], 0, false
	l.proven = false
	if l.producer.ID >= 0 {
		l.producer.Sequence = 0
		if l.producer.Epoch++; l.producer.Epoch < 0 { // all epochs are used
			l.retire(s)
		}
	}
	return acked
}

// retire asks for a new producer id.
func (l *lane) retire(s *Sink) {
	if l.producer.ID >= 0 && l.producer.ID == s.producer.ID {
		s.producer.ID = -1
	}
	l.producer = noProducer()
}

// lead gives a lane to its leader; with mu. What is under way at the old one has to land first.
func (s *Sink) lead(l *lane, b *broker, now time.Time) {
	old := l.broker
	if old != b {
		l.broker, l.listed, l.paused = b, nil, nil
		if l.flying > 0 {
			l.rewinding = true
			if old != nil && old.link != nil && len(old.link.flying) > 0 && now.Sub(old.link.flying[0].sent) > hushed {
				_ = old.link.conn.Close() // it is frozen, or gone: do not wait for it
			}
		}
	}
	s.kick(l, now)
}

func noProducer() batch.Producer { return batch.Producer{ID: -1, Epoch: -1, Sequence: -1} }

// newSealed and freeSealed lend batches; with mu.
func (s *Sink) newSealed() *sealed {
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return new(sealed)
}

func (s *Sink) freeSealed(b *sealed) {
	if b.owner != nil {
		b.owner.weight -= b.weight
	}
	if b.buf != nil {
		s.pool.Put(b.buf)
	}
	clear(b.events)
	events := b.events[:0]
	if cap(events) > 8192 {
		events = nil
	}
	*b = sealed{events: events}
	if len(s.free) < 256 {
		s.free = append(s.free, b)
	}
}

// queue is a first-in first-out of events in one slice.
type queue struct {
	buf  []*decoder.Event
	head int
}

func (q *queue) len() int              { return len(q.buf) - q.head }
func (q *queue) front() *decoder.Event { return q.buf[q.head] }

func (q *queue) push(ev *decoder.Event) {
	if q.head > len(q.buf)/2 && len(q.buf) == cap(q.buf) {
		n := copy(q.buf, q.buf[q.head:])
		clear(q.buf[n:])
		q.buf, q.head = q.buf[:n], 0
	}
	q.buf = append(q.buf, ev)
}

func (q *queue) pop() *decoder.Event {
	ev := q.buf[q.head]
	q.buf[q.head] = nil // the event's block may go
	if q.head++; q.head == len(q.buf) {
		q.buf, q.head = q.buf[:0], 0
	}
	return ev
}

// unshift puts events before all others; it is for the rare cases.
func (q *queue) unshift(events []*decoder.Event) {
	q.buf, q.head = append(slices.Clip(events), q.buf[q.head:]...), 0
}
