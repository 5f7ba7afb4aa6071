package parts

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// partitions of the demo's topic.
const partitions = 8

// Broker is where events go: an embedded one, or a real Kafka in which a topic is ours.
type Broker struct {
	addrs []string
	topic string
	fake  *kfake.Cluster // nil: a real one
	wires *wires
	admin *kadm.Client
}

// OpenBroker makes the topic at the brokers given, or, where there are none, in a new embedded broker.
func OpenBroker(ctx context.Context, addrs []string, topic string) (*Broker, error) {
	b := &Broker{addrs: addrs, topic: topic, wires: &wires{}}
	if len(addrs) == 0 {
		fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(b.wires.listen),
			kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "1000"})) // a killed member is missed soon
		if err != nil {
			return nil, fmt.Errorf("start the embedded broker: %w", err)
		}
		b.fake, b.addrs = fake, fake.ListenAddrs()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...), kgo.RetryTimeout(10*time.Second))
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	b.admin = kadm.NewClient(client)
	if _, err := b.admin.CreateTopic(ctx, partitions, -1, nil, topic); err != nil {
		b.Close(ctx)
		return nil, fmt.Errorf("create topic %s at %v: %w", topic, b.addrs, err)
	}
	return b, nil
}

// Add makes more topics, in an embedded broker.
func (b *Broker) Add(ctx context.Context, partitions int32, topics ...string) error {
	answers, err := b.admin.CreateTopics(ctx, partitions, -1, nil, topics...)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		return fmt.Errorf("create topics %v at %v: %w", topics, b.addrs, err)
	}
	return nil
}

// Addrs returns the brokers' addresses.
func (b *Broker) Addrs() []string { return b.addrs }

// Topic returns the topic's name.
func (b *Broker) Topic() string { return b.topic }

// Embedded says whether the broker is ours to be unlucky with.
func (b *Broker) Embedded() bool { return b.fake != nil }

// Close removes the topic and ends what is embedded.
func (b *Broker) Close(ctx context.Context) {
	if b.fake == nil {
		_, _ = b.admin.DeleteTopics(ctx, b.topic)
	}
	b.admin.Close()
	if b.fake != nil {
		b.fake.Close()
	}
}

// Records returns how many records the topic's log holds.
func (b *Broker) Records(ctx context.Context) (n int64, err error) {
	ends, err := b.admin.ListEndOffsets(ctx, b.topic)
	if err != nil {
		return 0, fmt.Errorf("list the topic's end: %w", err)
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, nil
}

// Forget deletes what stands in the embedded broker's memory up to a minute's worth of records, so that a long demo does
// not grow. The consumer is far beyond it.
func (b *Broker) Forget(ctx context.Context) {
	if b.fake == nil {
		return
	}
	keep, err := b.admin.ListOffsetsAfterMilli(ctx, time.Now().Add(-time.Minute).UnixMilli(), b.topic)
	if err != nil {
		return
	}
	keep.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset > 0 {
			_ = b.fake.DeleteRecords(b.topic, o.Partition, o.Offset)
		}
	})
}

// Refuse makes the embedded broker answer produce requests with an error, without taking them, for so long.
func (b *Broker) Refuse(ctx context.Context, d time.Duration) {
	fault := b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	defer fault.Remove()
	Wait(ctx, d)
}

// LoseAcks makes the embedded broker take what is produced and never say so, for so long: some answers are an error after
// the append, then connections break with the answers in them.
func (b *Broker) LoseAcks(ctx context.Context, d time.Duration) {
	fault := b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: 3})
	hits(ctx, fault, 3, d/2)
	fault.Remove()
	taken := b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: -1, Observe: true})
	defer taken.Remove()
	b.wires.mute.Store(true) // from here on, an answer ends its connection
	defer b.wires.mute.Store(false)
	hits(ctx, taken, 1, d/2)
	Wait(ctx, d/10) // for the answer to that one, and to those beside it
}

// hits waits until a fault has met n requests, at most for d.
func hits(ctx context.Context, h *kfake.FaultHandle, n int, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_ = h.Wait(ctx, n)
}

// wires are the embedded broker's connections.
type wires struct {
	mute atomic.Bool
}

func (w *wires) listen(network, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("listen for the embedded broker: %w", err)
	}
	return &listener{Listener: l, wires: w}, nil
}

type listener struct {
	net.Listener
	wires *wires
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wire{Conn: c, wires: l.wires}, nil
}

// wire is a connection that breaks in place of an answer while the wires are mute.
type wire struct {
	net.Conn
	wires *wires
	once  sync.Once
}

func (w *wire) Write(p []byte) (int, error) {
	if w.wires.mute.Load() {
		w.once.Do(func() { _ = w.Close() })
		return 0, net.ErrClosed
	}
	return w.Conn.Write(p)
}
