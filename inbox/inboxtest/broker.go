package inboxtest

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// Broker is a topic in memory, read by one group: partitions in order, and a committed offset for each. It may be used by several
// goroutines.
type Broker struct {
	topic string

	mu         sync.Mutex
	partitions [][]inbox.Message
	committed  []int64
	crash      bool
}

// NewBroker returns an empty topic with that many partitions, at least one.
func NewBroker(topic string, partitions int) *Broker {
	return &Broker{topic: topic, partitions: make([][]inbox.Message, partitions), committed: make([]int64, partitions)}
}

// Send appends an event with a new id, and returns the message: send it again by Append for a copy. A key has one partition.
func (b *Broker) Send(key, eventType string, value []byte) *inbox.Message {
	m := &inbox.Message{Key: []byte(key), Value: value, Headers: []inbox.Header{
		{Key: "event_id", Value: []byte(NewID())}, {Key: "event_type", Value: []byte(eventType)},
	}}
	return b.Append(m)
}

// Append appends a message as it is, but for topic, partition, offset and time, and returns what was appended.
func (b *Broker) Append(m *inbox.Message) *inbox.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := fnv.New32a()
	_, _ = h.Write(m.Key)
	p := int(h.Sum32() % uint32(len(b.partitions)))
	kept := inbox.Message{
		Topic: b.topic, Partition: int32(p), Offset: int64(len(b.partitions[p])), Key: m.Key, Value: m.Value, Headers: m.Headers, Time: time.Now(),
	}
	b.partitions[p] = append(b.partitions[p], kept)
	return &kept
}

// Rewind sets the committed offsets of all partitions back to the beginning: everything is delivered again.
func (b *Broker) Rewind() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.committed)
}

// CrashBeforeCommit lets the process die once between the next message's effect and the commit of its offset: Deliver returns ErrCrashed.
func (b *Broker) CrashBeforeCommit() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.crash = true
}

// next returns a copy of the message at the committed offset.
func (b *Broker) next(partition int) (*inbox.Message, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.committed[partition]
	if at >= int64(len(b.partitions[partition])) {
		return nil, false
	}
	m := b.partitions[partition][at]
	return &m, true
}

func (b *Broker) commit(m *inbox.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.crash {
		b.crash = false
		return ErrCrashed
	}
	b.committed[m.Partition] = m.Offset + 1
	return nil
}

// Deliver gives everything that is not committed to p, partition after partition, and commits the offset after each message. It
// returns at the end of the topic, or at the first error: call it again, as a consumer that comes back would.
func Deliver[T any](ctx context.Context, b *Broker, p *inbox.Processor[T]) error {
	for partition := range b.partitions {
		for {
			m, more := b.next(partition)
			if !more {
				break
			}
			if _, err := p.Process(ctx, m); err != nil {
				return fmt.Errorf("deliver %s/%d@%d: %w", m.Topic, m.Partition, m.Offset, err)
			}
			if err := b.commit(m); err != nil {
				return err
			}
		}
	}
	return nil
}
