package kafka_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/kafka"
	"github.com/cdc-relay/cdc-relay/sink/kafka/batch"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	brokers := testenv.Kafka(t)
	sinktest.Run(t, sinktest.Harness{Destination: func(t *testing.T) sinktest.Destination {
		// One partition: an odd event names partition 0 for a key that has others elsewhere.
		topics := []string{brokers.Topic(t, 1), brokers.Topic(t, 4)}
		network := &network{}
		return sinktest.Destination{
			Topics: topics, Once: true,
			Open: func(t *testing.T, r sink.Receiver) sink.Sink {
				cfg := kafka.NewConfig(brokers.Brokers()...)
				cfg.Connect = network.connect
				return open(t, cfg, r)
			},
			Stored:     func(t *testing.T) []sinktest.Record { return stored(t, brokers.Brokers(), topics...) },
			Outage:     func(*testing.T) func() { network.cut(); return func() { network.down.Store(false) } },
			LoseAnswer: func(*testing.T) { network.lose.Store(true) },
			Poison: func(ev *decoder.Event) {
				ev.Value = make([]byte, 2<<20) // above max.message.bytes
				for i := range ev.Value {
					ev.Value[i] = byte(rand.Uint32())
				}
			},
		}
	}})
}

// network is the way to the brokers, with faults.
type network struct {
	down, lose atomic.Bool
	mu         sync.Mutex
	open       []net.Conn
}

func (n *network) connect(ctx context.Context, proto, addr string) (net.Conn, error) {
	if n.down.Load() {
		return nil, errors.New("the network is down")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, proto, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.open = append(n.open, c)
	n.mu.Unlock()
	return &lossyConn{Conn: c, n: n}, nil
}

func (n *network) cut() {
	n.down.Store(true)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.open {
		_ = c.Close()
	}
	n.open = nil
}

// lossyConn drops the connection instead of the answer to a produce request.
type lossyConn struct {
	net.Conn
	n        *network
	produced atomic.Bool
}

func (c *lossyConn) Write(b []byte) (int, error) {
	if len(b) > 8 && binary.BigEndian.Uint16(b[4:]) == 0 && c.n.lose.Load() {
		c.produced.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.produced.Load() && c.n.lose.CompareAndSwap(true, false) {
		_ = c.Conn.Close()
		return 0, errors.New("the answer was lost")
	}
	return n, err
}

func TestI9_EachCompressionIsReadBack(t *testing.T) {
	t.Parallel()
	brokers := testenv.Kafka(t)
	for c := batch.None; c <= batch.Zstd; c++ {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			topic := brokers.Topic(t, 3)
			cfg := kafka.NewConfig(brokers.Brokers()...)
			cfg.Compression = c
			r := sinktest.NewReceiver(t)
			s := open(t, cfg, r)
			events := sinktest.Events(3000, sinktest.Shape{Topics: []string{topic}, Bytes: 500})
			s.Publish(events)
			r.WaitAcked(len(events))
			order(t, stored(t, brokers.Brokers(), topic), events)
		})
	}
}
