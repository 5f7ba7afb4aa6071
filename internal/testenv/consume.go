package testenv

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Consume reads topics from their beginning until it has at least want records, or fails after 30 s. Records of one
// partition come in order. Only committed ones are seen.
func Consume(t testing.TB, brokers []string, want int, topics ...string) []*kgo.Record {
	t.Helper()
	c := NewConsumer(t, brokers, topics...)
	return c.Take(want, 30*time.Second)
}

// Consumer reads topics from their beginning, outside of any group, and goes on from where it was.
type Consumer struct {
	t      testing.TB
	client *kgo.Client
	ready  []*kgo.Record
}

// NewConsumer returns a consumer, closed when the test ends.
func NewConsumer(t testing.TB, brokers []string, topics ...string) *Consumer {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(200*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatalf("make a consumer: %v", err)
	}
	t.Cleanup(client.Close)
	return &Consumer{t: t, client: client}
}

// Take returns the next n records, or fails after the timeout and says how many there were.
func (c *Consumer) Take(n int, timeout time.Duration) []*kgo.Record {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for len(c.ready) < n {
		if err := c.poll(ctx); err != nil {
			c.t.Fatalf("consume: %d records of %d after %s: %v", len(c.ready), n, timeout, err)
		}
	}
	taken := c.ready[:n:n]
	c.ready = c.ready[n:]
	return taken
}

// Rest returns what comes until nothing has come for the time given: for tests that say "and no more than that".
func (c *Consumer) Rest(quiet time.Duration) []*kgo.Record {
	c.t.Helper()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), quiet)
		err := c.poll(ctx)
		cancel()
		if err != nil {
			rest := c.ready
			c.ready = nil
			return rest
		}
	}
}

func (c *Consumer) poll(ctx context.Context) error {
	fetches := c.client.PollFetches(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, kgo.ErrClientClosed) {
			return e.Err
		}
		c.t.Logf("consume %s[%d]: %v", e.Topic, e.Partition, e.Err)
	}
	c.ready = append(c.ready, fetches.Records()...)
	return nil
}
