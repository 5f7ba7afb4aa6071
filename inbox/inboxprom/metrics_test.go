package inboxprom_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxprom"
	"github.com/cdc-relay/cdc-relay/inbox/inboxtest"
)

// What was committed is counted, once, under types from the list; others are one.
func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	m, err := inboxprom.New(registry, "OrderCreated")
	if err != nil {
		t.Fatal(err)
	}
	var fail error
	p, err := inbox.NewProcessor(inboxtest.New(), "c", func(context.Context, *inboxtest.Tx, *inbox.Message) error { return fail }, inbox.Options{Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	send := func(id, eventType string) {
		_, _ = p.Process(t.Context(), &inbox.Message{Topic: "orders", Time: time.Now(), Headers: []inbox.Header{{Key: "event_id", Value: []byte(id)}, {Key: "event_type", Value: []byte(eventType)}}})
	}
	send("a", "OrderCreated")
	send("a", "OrderCreated")
	send("b", "Whatever-1")
	send("c", "Whatever-2")
	fail = errors.New("broken")
	send("d", "OrderCreated")
	m.DeadLetters("c", 3)
	m.Lag("c", "orders", 7, 12)
	want := `
# HELP consumer_inbox_dead_letters Dead letters, and messages that wait behind them.
# TYPE consumer_inbox_dead_letters gauge
consumer_inbox_dead_letters{consumer_name="c"} 3
# HELP consumer_inbox_duplicates_total Deliveries of events that had taken effect.
# TYPE consumer_inbox_duplicates_total counter
consumer_inbox_duplicates_total{consumer_name="c",event_type="OrderCreated"} 1
# HELP consumer_inbox_lag_messages Messages of the partition that are not finished.
# TYPE consumer_inbox_lag_messages gauge
consumer_inbox_lag_messages{consumer_name="c",partition="7",topic="orders"} 12
# HELP consumer_inbox_processed_total Events whose effect was committed.
# TYPE consumer_inbox_processed_total counter
consumer_inbox_processed_total{consumer_name="c",event_type="OrderCreated"} 1
consumer_inbox_processed_total{consumer_name="c",event_type="other"} 2
# HELP consumer_inbox_retries_total What is tried again.
# TYPE consumer_inbox_retries_total counter
consumer_inbox_retries_total{consumer_name="c",reason="handler"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "consumer_inbox_dead_letters", "consumer_inbox_duplicates_total",
		"consumer_inbox_lag_messages", "consumer_inbox_processed_total", "consumer_inbox_retries_total"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"consumer_inbox_processing_duration_seconds", "consumer_inbox_event_age_seconds"} {
		if n, err := testutil.GatherAndCount(registry, name); err != nil || n == 0 {
			t.Errorf("%s: %d series, %v", name, n, err)
		}
	}
}
