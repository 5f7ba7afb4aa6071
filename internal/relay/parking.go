package relay

import (
	"sync"
	"sync/atomic"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
)

// parking holds, in memory, which keys are parked, and the events that are on their way to the dead-letter table. The rows
// there are the truth; the keeper writes them and acks the events only then (I1).
//
// A key is parked from the moment one of its events is rejected until the keeper has released it: every later event of
// the key is diverted meanwhile, whether it is gathering in a lane or still to be read (I2).
type parking struct {
	parkedKeys atomic.Int64 // len(keys): the fast path of an empty parking takes no lock
	wake       chan struct{}

	mu    sync.Mutex
	keys  map[string]bool
	queue []parkedEvent
	rows  int // unresolved rows, written or queued
	max   int
	full  bool // an event found no room: the relay is stopping, and no key is released until it has
	buf   []byte
}

// parkedEvent is one event on its way to the dead-letter table.
type parkedEvent struct {
	event  *decoder.Event
	reason string
	err    string
	alone  bool // its key goes on (policy dead_letter, or an event without a key)
}

func newParking(maxRows int) *parking {
	return &parking{keys: map[string]bool{}, max: maxRows, wake: make(chan struct{}, 1)}
}

// holds tells whether the key of an event is parked.
func (p *parking) holds(ev *decoder.Event) bool {
	if p.parkedKeys.Load() == 0 || ev.Key == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf = appendKey(p.buf[:0], ev.Topic, ev.Key)
	return p.keys[string(p.buf)]
}

// put queues an event for the dead-letter table, and parks its key unless it goes alone. False: the table is full, and the
// relay has to stop instead; the event is left unacknowledged.
func (p *parking) put(e parkedEvent) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.event.Key == nil {
		e.alone = true // without a key there is no order to keep
	}
	if !e.alone {
		p.keys[string(appendKey(nil, e.event.Topic, e.event.Key))] = true
		p.parkedKeys.Store(int64(len(p.keys)))
	}
	if p.rows >= p.max {
		p.full = true
		return false
	}
	p.rows++
	p.queue = append(p.queue, e)
	signal(p.wake)
	return true
}

// take returns what is queued, oldest first, and leaves it in place: written removes it once the rows stand.
func (p *parking) take(limit int) []parkedEvent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]parkedEvent(nil), p.queue[:min(limit, len(p.queue))]...)
}

// written drops the first n of the queue.
func (p *parking) written(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.queue[:n])
	p.queue = p.queue[n:]
	if len(p.queue) == 0 {
		p.queue = nil
	} else {
		signal(p.wake)
	}
}

// adopt takes the parked keys from the database, and keeps those whose events are still on their way there. A tenure that
// goes on does so too: another owner may have parked a key meanwhile, or released one, without moving the mark.
func (p *parking) adopt(keys []deadletter.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.keys)
	for _, k := range keys {
		p.keys[string(appendKey(nil, k.Topic, k.Key))] = true
	}
	for _, e := range p.queue {
		if !e.alone {
			p.keys[string(appendKey(nil, e.event.Topic, e.event.Key))] = true
		}
	}
	p.parkedKeys.Store(int64(len(p.keys)))
}

// release forgets a key that the database has released, and returns the queued events of that key that came too late for
// it: they are the key's next ones, so they take the way through the table once more, marked for requeue at once.
func (p *parking) release(topic string, key []byte) (late bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := string(appendKey(nil, topic, key))
	for _, e := range p.queue {
		if !e.alone && string(appendKey(nil, e.event.Topic, e.event.Key)) == k {
			return true
		}
	}
	if p.full { // the event without room is not in the queue, and later ones of its key must not pass it
		return false
	}
	delete(p.keys, k)
	p.parkedKeys.Store(int64(len(p.keys)))
	return false
}

// count sets the number of unresolved rows to what the database says, plus what is queued.
func (p *parking) count(rows int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows = rows + len(p.queue)
}

// reset forgets everything: another owner had the slot meanwhile.
func (p *parking) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys, p.queue, p.rows, p.full = map[string]bool{}, nil, 0, false
	p.parkedKeys.Store(0)
}

func appendKey(buf []byte, topic string, key []byte) []byte {
	buf = append(buf, topic...)
	buf = append(buf, 0)
	return append(buf, key...)
}

// signal wakes whoever waits on c, without ever blocking; c has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
