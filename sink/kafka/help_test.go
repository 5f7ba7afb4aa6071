package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/kafka"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// fake starts an in-process cluster; brokers of real Kafka stand in real_test.go.
func fake(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatalf("start kfake: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

func open(t testing.TB, cfg kafka.Config, r sink.Receiver) *kafka.Sink {
	t.Helper()
	s, err := kafka.Open(t.Context(), cfg, r)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// stored reads all that the topics hold, in order within each partition.
func stored(t testing.TB, brokers []string, topics ...string) []sinktest.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		t.Fatalf("make a consumer: %v", err)
	}
	defer client.Close()
	want := ends(t, client, topics)
	var all []sinktest.Record
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for int64(len(all)) < want {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read back: %d records of %d", len(all), want)
		}
		for r := range fetches.RecordsAll() {
			rec := sinktest.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Partition: r.Partition, Millis: r.Timestamp.UnixMilli()}
			for _, h := range r.Headers {
				rec.Headers = append(rec.Headers, sinktest.Header{Name: h.Key, Value: h.Value})
			}
			all = append(all, rec)
		}
	}
	return all
}

// order checks that each event of published arrived once and in order by key, and nothing else.
func order(t *testing.T, got []sinktest.Record, published []decoder.Event) {
	t.Helper()
	want := map[string][]*decoder.Event{}
	for i := range published {
		key := sinktest.LaneKey(&published[i])
		want[key] = append(want[key], &published[i])
	}
	wrong := 0
	for _, rec := range got {
		key := rec.Topic + "=" + string(rec.Key)
		if len(want[key]) == 0 || want[key][0] == nil {
			t.Fatalf("%s: %s arrived beyond what was published: a duplicate", key, rec.ID())
		}
		if diff := rec.Diff(sinktest.RecordOf(want[key][0])); diff != "" {
			if wrong++; wrong < 5 {
				t.Errorf("I2 or I9: record %s of %s: %s", rec.ID(), key, diff)
			}
		}
		want[key] = want[key][1:]
	}
	for key, rest := range want {
		if len(rest) > 0 {
			t.Errorf("I1: %d events of %s never arrived, the first is %s", len(rest), key, rest[0].ID)
		}
	}
}

func ends(t testing.TB, client *kgo.Client, topics []string) int64 {
	t.Helper()
	var sum int64
	for _, o := range listEnds(t, client, topics) {
		sum += o
	}
	return sum
}
