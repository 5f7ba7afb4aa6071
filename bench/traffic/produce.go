package traffic

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/bench/lab"
)

// Produce puts rows into a topic on a schedule, with nothing but a client between: what the broker itself takes. Sent[n]
// is when row n was handed to the client.
func Produce(ctx context.Context, b *lab.Brokers, topic string, w Load, into *Commits) error {
	client, err := b.Client(false, kgo.ProducerLinger(0), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		return err
	}
	defer client.Close()
	start := time.Now()
	gap := time.Duration(float64(time.Second) / float64(w.Rate))
	var failed atomic.Pointer[error]
	for i := range w.transactions() {
		due := start.Add(time.Duration(i) * gap)
		if lab.Wait(ctx, time.Until(due)) != nil {
			return nil
		}
		into.Late = max(into.Late, time.Since(due))
		for r := range w.Rows {
			n := i*w.Rows + r
			into.Returned[n] = time.Since(into.Base)
			client.Produce(ctx, &kgo.Record{Topic: topic, Key: []byte(lab.Key(n)), Value: []byte(lab.Payload(int64(n)))}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
			into.count.Add(1)
		}
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	if err := failed.Load(); err != nil {
		return fmt.Errorf("produce: %w", *err)
	}
	return nil
}
