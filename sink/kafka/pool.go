package kafka

import (
	"math/bits"
	"sync"

	"github.com/cdc-relay/cdc-relay/sink/kafka/batch"
)

// pool lends buffers by size class (powers of two from 1 KiB to 4 MiB), so that a batch of one event never holds the buffer
// of a full one. The garbage collector empties it.
type pool struct{ classes [13]sync.Pool }

const smallest = 10 // 1 KiB

// buffer is one that the pool lends.
type buffer struct{ b []byte }

func (p *pool) get(size int) *buffer {
	class := max(bits.Len(uint(max(size, 1)-1))-smallest, 0)
	if class >= len(p.classes) {
		return &buffer{make([]byte, 0, size)}
	}
	if b, ok := p.classes[class].Get().(*buffer); ok {
		b.b = b.b[:0]
		return b
	}
	return &buffer{make([]byte, 0, 1<<(class+smallest))}
}

func (p *pool) put(b *buffer) {
	class := bits.Len(uint(cap(b.b))) - 1 - smallest
	if class >= 0 && class < len(p.classes) {
		p.classes[class].Put(b)
	}
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
		s.pool.put(b.buf)
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
