package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/demo/ledger"
)

// consumer reads the topic from its beginning and enters what it gets in the books.
type consumer struct {
	client *kgo.Client
	books  *ledger.Ledger
	last   atomic.Int64 // when something came last, in Unix nanoseconds
}

func newConsumer(brokers []string, topic string, books *ledger.Ledger) (*consumer, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMinBytes(1), kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("make a consumer: %w", err)
	}
	return &consumer{client: client, books: books}, nil
}

// run reads until ctx ends. Errors of the broker are its bad luck: the client tries again.
func (c *consumer) run(ctx context.Context) error {
	defer c.client.Close()
	for {
		fetches := c.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for _, e := range fetches.Errors() {
			if errors.Is(e.Err, kgo.ErrClientClosed) {
				return fmt.Errorf("consume %s: %w", e.Topic, e.Err)
			}
		}
		fetches.EachRecord(c.take)
	}
}

// take judges one record: its payload must be one that was committed in this form, under the record's own key.
func (c *consumer) take(r *kgo.Record) {
	c.last.Store(time.Now().UnixNano())
	var event struct {
		Key string `json:"key"`
		N   uint64 `json:"n"`
		Is  string `json:"is"`
	}
	if err := json.Unmarshal(r.Value, &event); err != nil || event.Is != isCommitted || event.Key != string(r.Key) || event.N == 0 {
		c.books.Phantom()
		return
	}
	c.books.Delivered(event.Key, event.N)
}

// quiet says for how long nothing has come.
func (c *consumer) quiet() time.Duration { return time.Since(time.Unix(0, c.last.Load())) }
