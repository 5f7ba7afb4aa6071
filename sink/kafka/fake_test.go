package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/cdc-relay/cdc-relay/sink/kafka"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

func TestI2_ManyEventsOnManyPartitions(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(7, "orders", "payments"))
	for _, flight := range []int{0, 1, 5} {
		r := sinktest.NewReceiver(t)
		s := open(t, withFlight(c, flight), r)
		events := sinktest.Events(20_000, sinktest.Shape{Topics: []string{"orders", "payments"}, Keys: 50, First: flight * 100_000})
		for rest := events; len(rest) > 0; {
			n := min(97, len(rest))
			s.Publish(rest[:n])
			rest = rest[n:]
		}
		r.WaitAcked(len(events))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := r.Reasons(); len(got) != 1 {
			t.Errorf("attempts by reason: got %v, want successes alone", got)
		}
		if flight == 0 {
			order(t, stored(t, c.ListenAddrs(), "orders", "payments"), events)
		}
	}
}

func withFlight(c *kfake.Cluster, n int) kafka.Config {
	cfg := kafka.NewConfig(c.ListenAddrs()...)
	cfg.MaxRequestsInFlight = n
	return cfg
}
