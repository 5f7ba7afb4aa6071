package kafka_test

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/sink/kafka"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// TestI2_BrokersKilledFrozenAndStarted is a bad day of a cluster: one of its brokers dies and another freezes under load.
func TestI2_BrokersKilledFrozenAndStarted(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: -short leaves out the cluster of three")
	}
	t.Parallel()
	cluster := testenv.StartKafka(t, 3)
	topic := cluster.Topic(t, 6)
	r := sinktest.NewReceiver(t)
	r.Patience = 90 * time.Second
	cfg := kafka.NewConfig(cluster.Brokers()...)
	s := open(t, cfg, r)
	const total = 50_000
	events := sinktest.Events(total, sinktest.Shape{Topics: []string{topic}, Keys: 60})
	at := 0
	begun := time.Now()
	load := func(n int) {
		defer func() { t.Logf("%v: %d events published", time.Since(begun).Round(time.Millisecond), at) }()
		for end := min(at+n, total); at < end; {
			k := min(50, end-at)
			s.Publish(events[at : at+k])
			at += k
			r.WaitAcked(at - 5000)
		}
	}
	load(10_000)
	cluster.Kill(1)
	load(10_000)
	cluster.Start(1)
	load(10_000)
	cluster.Stop(2)
	load(10_000) // leaders move; the frozen one's answers never come
	cluster.Cont(2)
	load(total)
	r.WaitAcked(total)
	t.Logf("attempts: %v", r.Reasons())
	order(t, stored(t, cluster.Brokers(), topic), events)
	eventually(t, func() bool { st := s.Status(); return st.Writable && len(st.Stalled) == 0 })
}

// TestI8_OutageHoldsEventsNotBytes fills the window while the only broker is dead, and looks at the heap.
func TestI8_OutageHoldsEventsNotBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: -short leaves out the broker of one's own")
	}
	t.Parallel()
	cluster := testenv.StartKafka(t, 1)
	topic := cluster.Topic(t, 8)
	r := sinktest.NewReceiver(t)
	r.Patience = 90 * time.Second
	s := open(t, kafka.NewConfig(cluster.Brokers()...), r)
	events := sinktest.Events(20_000, sinktest.Shape{Topics: []string{topic}, Keys: 500, Bytes: 1000, First: 100})
	s.Publish(events[:500])
	r.WaitAcked(500)
	cluster.Kill(1)
	before := heap()
	s.Publish(events[500:])
	r.Wait("attempts to fail", func(t sinktest.Tally) bool { return t.Failures > 8 })
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("I8: the heap grew by %d MiB while 20,000 events waited", grown>>20)
	}
	if st := s.Status(); st.Writable {
		t.Error("status says writable while the only broker is dead")
	}
	cluster.Start(1)
	r.WaitAcked(len(events))
	order(t, stored(t, cluster.Brokers(), topic), events)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A compacted topic takes no record without a key: the broker names it, and only it goes.
func TestInvalidRecordOnRealKafka(t *testing.T) {
	t.Parallel()
	brokers := testenv.Kafka(t)
	topic := brokers.Topic(t, 1, "cleanup.policy=compact")
	r := sinktest.NewReceiver(t)
	s := open(t, kafka.NewConfig(brokers.Brokers()...), r)
	events := sinktest.Events(400, sinktest.Shape{Topics: []string{topic}})
	events[150].Key = nil
	s.Publish(events)
	r.WaitSettled(len(events))
	if got := r.Rejected(); len(got) != 1 || got[0].Event.Token != 151 || got[0].Why.Reason != "invalid_record" {
		t.Errorf("rejected %+v, want event 151 as invalid_record", got)
	}
	order(t, stored(t, brokers.Brokers(), topic), slices.Delete(events, 150, 151))
}

// A topic whose limit is below batch_bytes takes smaller batches, and nothing is rejected.
func TestTopicWithASmallLimit(t *testing.T) {
	t.Parallel()
	brokers := testenv.Kafka(t)
	topic := brokers.Topic(t, 2, "max.message.bytes=4000")
	r := sinktest.NewReceiver(t)
	s := open(t, kafka.NewConfig(brokers.Brokers()...), r)
	events := sinktest.Events(2000, sinktest.Shape{Topics: []string{topic}})
	s.Publish(events)
	r.WaitSettled(len(events))
	if got := r.Tally(); got.Rejected != 0 {
		t.Errorf("%+v, want nothing rejected", got)
	}
	order(t, stored(t, brokers.Brokers(), topic), events)
}

// A topic that is deleted under load: its events are rejected after the time-out, or delivered to the one made anew.
func TestTopicDeletedAndMadeAnew(t *testing.T) {
	t.Parallel()
	brokers := testenv.Kafka(t)
	topic := brokers.Topic(t, 4)
	cfg := kafka.NewConfig(brokers.Brokers()...)
	cfg.TopicMissingTimeout = 20 * time.Second
	r := sinktest.NewReceiver(t)
	s := open(t, cfg, r)
	events := sinktest.Events(3000, sinktest.Shape{Topics: []string{topic}})
	s.Publish(events[:1000])
	r.WaitAcked(1000)
	admin := brokers.Admin(t)
	if _, err := admin.DeleteTopics(context.Background(), topic); err != nil {
		t.Fatal(err)
	}
	s.Publish(events[1000:])
	r.Wait("a notice", func(t sinktest.Tally) bool { return t.Notices > 0 })
	if what := r.Notices()[0].What; !strings.Contains(what, "does not exist") {
		t.Errorf("notice %q", what)
	}
	if _, err := admin.CreateTopic(context.Background(), 2, -1, nil, topic); err != nil { // fewer partitions
		t.Fatal(err)
	}
	r.WaitAcked(len(events))
	got := stored(t, brokers.Brokers(), topic)
	order(t, got, events[len(events)-len(got):])
}
