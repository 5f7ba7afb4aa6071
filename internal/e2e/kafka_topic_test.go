package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/sink/line"
)

// Keys and headers arrive byte for byte, whatever they hold.
func TestKeysAndHeadersByteForByte(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t))
	topic := s.k.Topic(t, 4)
	got := s.watch(topic)
	p := s.start()
	keys := []string{"", strings.Repeat("0123456789", 1024), "Zürich 北京 🚚", "line\nbreak\ttab\\\"quote'", "k"}
	for i, key := range keys {
		s.pg.Exec(t, `INSERT INTO outbox (topic, aggregate_type, aggregate_id, event_type, partition_key, payload)
			VALUES ($1, 'orders', 'a', 'Made', $2, jsonb_build_object('n', $3::int))`, topic, key, i)
	}
	s.pg.Exec(t, `INSERT INTO outbox (topic, aggregate_type, aggregate_id, event_type, payload)
		VALUES ($1, 'orders', 'the aggregate''s id', 'Made', '{"n": 5}'), ($1, 'orders', 'null payload', 'Made', NULL)`, topic)
	lines := got.holds(len(keys) + 2)
	find := func(key string) *line.Line {
		for i := range lines {
			if string(lines[i].Key) == key {
				return &lines[i]
			}
		}
		t.Errorf("no record with key %.40q", key)
		return &line.Line{}
	}
	for i, key := range append(keys, "the aggregate's id") {
		if l := find(key); number(t, *l) != i || l.Key == nil {
			t.Errorf("key %.40q: got value %s, key %v", key, l.Value, l.Key)
		}
	}
	if l := find("null payload"); l.Value != nil {
		t.Errorf("a NULL payload arrived as %q, want null", l.Value)
	}

	s.pg.Exec(t, `INSERT INTO outbox (topic, aggregate_type, aggregate_id, event_type, payload, headers)
		SELECT $1, 'orders', 'many', 'Made', '{"n": 6}', jsonb_object_agg('h' || lpad(i::text, 4, '0'), 'value ' || i) FROM generate_series(1, 1000) AS i`, topic)
	s.pg.Exec(t, `INSERT INTO outbox (topic, aggregate_type, aggregate_id, event_type, payload, headers) VALUES
		($1, 'orders', 'odd', 'Made', '{"n": 7}', '{"text": "ä\n", "number": 1.50, "null": null, "object": {"a": [1]}, "true": true, "empty": "", "event_id": "mine", "cdc-lsn": "mine"}')`, topic)
	lines = got.holds(len(keys) + 4)
	many := find("many")
	for i := 1; i <= 1000; i++ {
		if got, want := header(*many, fmt.Sprintf("h%04d", i)), fmt.Sprint("value ", i); got != want {
			t.Fatalf("header %d: got %q, want %q", i, got, want)
		}
	}
	odd := find("odd")
	for name, want := range map[string]string{"text": "ä\n", "number": "1.50", "object": `{"a": [1]}`, "true": "true", "empty": ""} {
		if got := header(*odd, name); got != want {
			t.Errorf("header %s: got %q, want %q", name, got, want)
		}
	}
	for _, ours := range []string{"event_id", "cdc-lsn"} {
		if n := countHeader(*odd, ours); n != 1 || header(*odd, ours) == "mine" {
			t.Errorf("header %s: %d of them, %q: a row must not overwrite the relay's own", ours, n, header(*odd, ours))
		}
	}
	p.drain()
	s.hasNothingParked()
}

func countHeader(l line.Line, name string) (n int) {
	for _, h := range l.Headers {
		if h.Name == name {
			n++
		}
	}
	return n
}

// A topic that nobody made is named at once, with the command and the key that makes it. Other topics flow; after
// topic_missing_timeout its events are parked, and requeue publishes them once it is there.
func TestTopicThatNobodyMade(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t), "CDC_RELAY_SINK_KAFKA_TOPIC_MISSING_TIMEOUT=4s")
	missing, there := name("missing"), s.k.Topic(t, 2)
	got := s.watch(there)
	p := s.start()
	s.into(missing, 0, 3, 1)
	begun := time.Now()
	p.says("topic "+missing+" does not exist", "kafka-topics.sh", "--create --topic "+missing, "sink.kafka.topic_create")
	if told := time.Since(begun); told > 3*time.Second {
		t.Errorf("told after %s", told)
	}
	s.into(there, 0, 20, 3)
	got.holds(20)
	s.parks(3, "state = 'parked'")
	if l := s.letters("true"); !strings.HasPrefix(l[0], "parked topic_missing "+missing) {
		t.Errorf("the first dead letter is %q", l[0])
	}
	s.passesLetters()
	s.k.CreateTopic(t, missing, 2)
	late := s.watch(missing)
	s.verb(0, nil, "dlq", "requeue", "--everything")
	late.holds(3)
	s.into(missing, 3, 2, 1)
	late.holds(5)
	p.drain()
	if n := numbers(t, late.end(missing), missing, "k0"); !slices.Equal(n, []int{0, 1, 2, 3, 4}) {
		t.Errorf("got %v", n)
	}
}

// A topic that is made within the time limit gets what waited for it: nothing is parked.
func TestTopicMadeInTime(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t))
	missing := name("late")
	p := s.start()
	s.into(missing, 0, 50, 5)
	p.says("topic " + missing + " does not exist")
	p.is(func(st relay.Status) error {
		if !slices.ContainsFunc(st.Sink.Stalled, func(l relay.Lane) bool { return strings.HasPrefix(l.Name, missing) && l.Events == 50 }) {
			return fmt.Errorf("the status names no lane %s: %+v", missing, st.Sink)
		}
		return nil
	})
	s.k.CreateTopic(t, missing, 3)
	got := s.watch(missing)
	got.holds(50)
	p.drain()
	s.hasNothingParked()
	s.compare(got.end(missing), 0)
}

// topic_create makes what is missing, with topic_partitions, also after a topic was deleted under a running relay.
func TestTopicCreateAndDeletedWhileRunning(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t), "CDC_RELAY_SINK_KAFKA_TOPIC_CREATE=true", "CDC_RELAY_SINK_KAFKA_TOPIC_PARTITIONS=3")
	topic := name("created")
	admin := s.k.Admin(t)
	t.Cleanup(func() { _, _ = admin.DeleteTopics(context.Background(), topic) })
	p := s.start()
	s.into(topic, 0, 60, 6)
	got := s.watch(topic)
	if n := len(got.holds(60)); n != 60 {
		t.Errorf("%d records, want 60", n)
	}
	if n := partitions(t, admin, topic); n != 3 {
		t.Errorf("%d partitions, want 3", n)
	}
	got.client.Close()
	deleteTopic(t, admin, topic)
	s.into(topic, 60, 60, 6)
	again := s.watch(topic)
	lines := again.holds(60)
	p.drain()
	s.hasNothingParked()
	for i := range 6 {
		key := fmt.Sprint("k", i)
		if n := numbers(t, lines, topic, key); len(n) != 10 || !slices.IsSorted(n) || n[0] < 60 {
			t.Errorf("key %s in the new topic: %v", key, n)
		}
	}
}

// A topic is deleted while events flow to it and made again by hand, with more partitions: what came in between waits for it.
func TestTopicDeletedAndMadeAgain(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t))
	topic, other := s.k.Topic(t, 2), s.k.Topic(t, 2)
	admin := s.k.Admin(t)
	p := s.start()
	s.into(topic, 0, 40, 4)
	before := s.watch(topic)
	before.holds(40)
	before.client.Close()
	deleteTopic(t, admin, topic)
	s.into(topic, 40, 40, 4)
	s.into(other, 0, 10, 2)
	rest := s.watch(other)
	rest.holds(10)
	p.says("topic " + topic + " does not exist")
	s.k.CreateTopic(t, topic, 5)
	got := s.watch(topic)
	lines := got.holds(40)
	p.drain()
	s.hasNothingParked()
	for i := range 4 {
		key := fmt.Sprint("k", i)
		if n := numbers(t, lines, topic, key); len(n) != 10 || !slices.IsSorted(n) || n[0] < 40 {
			t.Errorf("key %s in the new topic: %v", key, n)
		}
	}
}

func partitions(t testing.TB, admin *kadm.Client, topic string) int {
	t.Helper()
	topics, err := admin.ListTopics(context.Background(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return len(topics[topic].Partitions)
}

func deleteTopic(t testing.TB, admin *kadm.Client, topic string) {
	t.Helper()
	if _, err := admin.DeleteTopics(context.Background(), topic); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, func() error {
		topics, err := admin.ListTopics(context.Background(), topic)
		if err != nil {
			return err
		}
		if topics[topic].Err == nil {
			return errors.New("the topic is still there")
		}
		return nil
	})
}

// A broker that refuses the commit times (clocks that differ by an hour; here a topic that takes none as old as the commit)
// is the sink's state: nothing is parked, readiness says no and shows the cure, and events flow once it is mended.
func TestTimestampsThatTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t))
	strict, other := s.k.Topic(t, 2, "message.timestamp.before.max.ms=1"), s.k.Topic(t, 2)
	got := s.watch(strict, other)
	p := s.start()
	s.into(strict, 0, 20, 4)
	s.into(other, 0, 20, 4)
	p.says("invalid_timestamp", "message.timestamp.after.max.ms", strict)
	p.readies(503, "sink", "invalid_timestamp", "compare the clocks")
	testenv.Eventually(t, patience, func() error {
		if n := len(of(got.all(), other)); n != 20 {
			return fmt.Errorf("%d events of the other topic, want 20", n)
		}
		return nil
	})
	s.hasNothingParked()
	s.settings(strict, "message.timestamp.before.max.ms=9223372036854775807")
	got.holds(40)
	p.readies(200)
	p.drain()
	s.hasNothingParked()
	s.compare(got.end(strict, other), 0)
}
