package kafka_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/sink/kafka"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

var errDropped = errors.New("dropped by the test")

// TestI2_Chaos publishes while connections are dropped, requests swallowed, executed late or refused, acks lost after the
// append, and leaders move. CHAOS_SEED=n plays one seed again.
func TestI2_Chaos(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1, 2, 3}
	if testing.Short() {
		seeds = seeds[:1]
	}
	if one, err := strconv.ParseUint(os.Getenv("CHAOS_SEED"), 10, 64); err == nil {
		seeds = []uint64{one}
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { chaos(t, seed) })
	}
}

// dice is a seeded source for several goroutines.
type dice struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

func (d *dice) below(p float64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rnd.Float64() < p
}

func (d *dice) n(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rnd.IntN(n)
}

func chaos(t *testing.T, seed uint64) {
	d := &dice{rnd: rand.New(rand.NewPCG(seed, 7))}
	const partitions, total = 4, 15_000
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(partitions, "orders"), kfake.SleepOutOfOrder())
	faults(c, d)

	cfg := kafka.NewConfig(c.ListenAddrs()...)
	cfg.RequestTimeout = 200 * time.Millisecond // with the slack of 5 s shortened below by the connection
	cfg.Connect = flaky(d)
	r := sinktest.NewReceiver(t)
	r.Patience = 2 * time.Minute
	cfg.BatchBytes = 2 << 10 // a dozen events: many requests
	cfg.MaxRequestsInFlight = 5
	s := open(t, cfg, r)

	ctx, stop := context.WithCancel(t.Context())
	var movers sync.WaitGroup
	movers.Go(func() {
		tick := time.NewTicker(150 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = c.MoveTopicPartition("orders", int32(d.n(partitions)), int32(d.n(3)))
			case <-ctx.Done():
				return
			}
		}
	})
	events := sinktest.Events(total, sinktest.Shape{Keys: 16, Bytes: 80})
	for at := 0; at < total; {
		n := min(1+d.n(400), total-at)
		s.Publish(events[at : at+n])
		at += n
		r.WaitAcked(at - 8000) // a window
	}
	r.WaitAcked(total)
	stop()
	movers.Wait()
	t.Logf("seed %d: attempts %v", seed, r.Reasons())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.DropControl()
	order(t, stored(t, c.ListenAddrs(), "orders"), events)
}

func faults(c *kfake.Cluster, d *dice) {
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		switch {
		case d.below(0.02):
			return nil, errDropped, true // the connection closes
		case d.below(0.005):
			return nil, nil, true // never answered
		case d.below(0.02):
			return refuse(req.(*kmsg.ProduceRequest), kerr.NotEnoughReplicas), nil, true
		case d.below(0.01):
			wait := time.Duration(d.n(800)) * time.Millisecond
			c.SleepControl(func() { <-time.After(wait) }) // executed late
		}
		return nil, nil, false
	})
	c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: -1, // answered after the append
		When: func(kmsg.Request) bool { return d.below(0.01) },
	})
	c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: -1,
		When: func(kmsg.Request) bool { return d.below(0.01) },
	})
}

func refuse(req *kmsg.ProduceRequest, why *kerr.Error) kmsg.Response {
	res := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, why.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		res.Topics = append(res.Topics, rt)
	}
	return res
}

// flaky makes connections that lose an answer now and then, after the broker has acted, and that time out early.
func flaky(d *dice) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &flakyConn{Conn: c, d: d}, nil
	}
}

type flakyConn struct {
	net.Conn
	d     *dice
	reads int
}

func (c *flakyConn) SetReadDeadline(t time.Time) error {
	if left := time.Until(t); !t.IsZero() && left > 0 {
		t = time.Now().Add(min(left, 300*time.Millisecond))
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *flakyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.reads++; c.reads > 10 && err == nil && c.d.below(0.005) {
		_ = c.Conn.Close()
		return 0, errDropped
	}
	return n, err
}
