package e2e_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/sink/line"
)

// of keeps the lines of one topic.
func of(lines []line.Line, topic string) []line.Line {
	return slices.DeleteFunc(slices.Clone(lines), func(l line.Line) bool { return l.Topic != topic })
}

// numbers are the payloads of a key, in the order of the log.
func numbers(t testing.TB, lines []line.Line, topic, key string) []int {
	t.Helper()
	var out []int
	for _, l := range lines {
		if l.Topic == topic && string(l.Key) == key {
			out = append(out, number(t, l))
		}
	}
	return out
}

// A topic becomes too small for one record: the event and later ones of its key are parked, other keys and topics flow, and
// the position moves on. The parked key survives kill -9. Once the limit is raised, requeue publishes in order, and releases
// the key.
func TestI2_TopicTooSmallParksTheKey(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t))
	small, other := s.k.Topic(t, 4, "max.message.bytes=4000"), s.k.Topic(t, 2)
	got := s.watch(small, other)
	p := s.start()
	s.into(small, 0, 30, 3)
	s.intoWide(small, 31, 1, 3, 20_000) // k1
	s.into(small, 32, 28, 3)            // nine of them k1
	s.into(other, 0, 10, 3)
	got.holds(30 + 19 + 10)
	s.parks(10, "state = 'parked'")
	s.passesLetters()
	if l := s.letters("true"); l[0] != "parked too_large "+small+" k1" || l[1] != "parked behind_parked "+small+" k1" {
		t.Errorf("the dead letters are %v", l)
	}
	s.verb(0, []string{small, `"k1"`, "too_large", "behind_parked"}, "dlq", "list")
	p.readies(200)

	p.kill()
	p = s.start()
	s.into(small, 60, 3, 3)
	s.parks(11, "state = 'parked'")
	s.verb(0, nil, "dlq", "requeue", "--topic", small, "--key", "k1", "--why", "too early")
	s.parks(1, "state = 'parked' AND tries = 1") // refused again: back to where it was, and those behind it stay
	s.parks(11, "state IN ('parked', 'requeue')")
	if n := numbers(t, got.all(), small, "k1"); slices.Max(n) > 30 {
		t.Fatalf("an event of the parked key overtook it: %v", n)
	}

	s.settings(small, "max.message.bytes=1000000")
	s.verb(0, []string{"marked"}, "dlq", "requeue", "--topic", small, "--key", "k1", "--why", "limit raised")
	s.parks(0, "state <> 'requeued'")
	s.into(small, 63, 3, 3)
	got.holds(10 + 63 + 2)
	s.parks(11, "true") // the key is released: nothing new is parked
	p.drain()
	lines := got.end(small, other)
	s.compareRequeued(lines)
	for _, l := range lines {
		n := number(t, l)
		again := l.Topic == small && n >= 31 && n <= 62 && string(l.Key) == "k1"
		if replay := header(l, "cdc-replay"); again != strings.HasPrefix(replay, "dlq requeue ") {
			t.Errorf("event %d of key %s: cdc-replay is %q", n, l.Key, replay)
		}
	}
}

// compareRequeued is compare without I9: a copy from the dead-letter table says so in a header.
func (s *kafkaStand) compareRequeued(lines []line.Line) {
	s.t.Helper()
	s.compare(firstSight(lines), 0)
}

// drop gives up the event that was refused and lets its key go on.
func TestI2_DropReleasesTheKey(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t))
	small := s.k.Topic(t, 2, "max.message.bytes=4000")
	got := s.watch(small)
	p := s.start()
	s.intoWide(small, 0, 1, 1, 20_000)
	s.into(small, 1, 5, 1)
	s.parks(6, "state = 'parked'")
	id := strconv.Itoa(query[int](s.stand, "SELECT id::int FROM cdc_relay.dead_letter WHERE reason = 'too_large' AND slot = $1", s.slot))
	s.verb(2, []string{"--yes"}, "dlq", "drop", id)
	s.verb(0, nil, "dlq", "drop", id, "--yes", s.slot, "--why", "test")
	s.parks(1, "state = 'dropped'")
	s.verb(0, nil, "dlq", "requeue", "--everything")
	got.holds(5)
	s.into(small, 6, 4, 1)
	got.holds(9)
	p.drain()
	if n := numbers(t, got.end(small), small, "k0"); !slices.Equal(n, []int{1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("got %v", n)
	}
}

// With dead_letter the event alone is set aside, and its key flows on.
func TestPolicyDeadLetterSetsOneEventAside(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t), "CDC_RELAY_ON_REJECT=dead_letter")
	small := s.k.Topic(t, 2, "max.message.bytes=4000")
	got := s.watch(small)
	p := s.start()
	s.into(small, 0, 5, 1)
	s.intoWide(small, 5, 1, 1, 20_000)
	s.into(small, 6, 5, 1)
	got.holds(10)
	s.parks(1, "state = 'dead'")
	s.passesLetters()
	s.settings(small, "max.message.bytes=1000000")
	s.verb(0, nil, "dlq", "requeue", "--everything")
	got.holds(11)
	p.drain()
	s.parks(1, "state = 'requeued'")
	if n := numbers(t, got.end(small), small, "k0"); !slices.Equal(n, []int{0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 5}) {
		t.Errorf("got %v", n)
	}
}

// With halt the relay stops with exit code 8, says where, and stops there again until an operator skips the position.
func TestPolicyHaltStopsUntilSkipped(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t), "CDC_RELAY_ON_REJECT=halt")
	small := s.k.Topic(t, 2, "max.message.bytes=4000")
	got := s.watch(small)
	p := s.start()
	s.into(small, 0, 5, 1)
	got.holds(5)
	s.intoWide(small, 5, 1, 1, 20_000)
	s.into(small, 6, 5, 1)
	said := p.exits(8, small, "k0", "skip --position")
	p = s.run()
	p.exits(8, "skip --position")
	if n := got.different(); n != 5 {
		t.Errorf("the log holds %d events, want the 5 before the one that was refused", n)
	}
	at := regexp.MustCompile(`skip --position (\S+/\d+)`).FindStringSubmatch(said)
	if at == nil {
		t.Fatalf("no position in %s", said)
	}
	s.verb(0, []string{"passes over " + at[1]}, "skip", "--position", at[1], "--why", "test")
	p = s.start()
	got.holds(10)
	p.drain()
	if n := numbers(t, firstSight(got.end(small)), small, "k0"); !slices.Equal(n, []int{0, 1, 2, 3, 4, 6, 7, 8, 9, 10}) {
		t.Errorf("got %v", n)
	}
	s.parks(1, "state = 'skipped'")
	s.hasNoOther("state <> 'skipped'")
}

func (s *kafkaStand) hasNoOther(where string) {
	s.t.Helper()
	if got := s.letters(where); len(got) > 0 {
		s.t.Errorf("dead letters that nobody asked for: %v", got)
	}
}

// More dead letters than limits.max_parked: the relay stops with exit code 8 rather than fill the database.
func TestTooManyDeadLettersHalt(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t), "CDC_RELAY_LIMITS_MAX_PARKED=3")
	small := s.k.Topic(t, 1, "max.message.bytes=4000")
	p := s.start()
	s.intoWide(small, 0, 5, 5, 20_000)
	p.exits(8, "max_parked", "dlq list")
	s.parks(3, "state = 'parked'")
}

// batch_bytes above the topic's limit: batches that are too large are split, and no event is refused. Below it: an event
// larger than batch_bytes gets a batch of its own.
func TestBatchBytesAndTheBrokersLimit(t *testing.T) {
	t.Parallel()
	for _, bytes := range []string{"900KiB", "2KiB"} {
		t.Run(bytes, func(t *testing.T) {
			t.Parallel()
			s := onKafka(setup(t), testenv.Kafka(t), "CDC_RELAY_SINK_KAFKA_BATCH_BYTES="+bytes)
			topic := s.k.Topic(t, 2, "max.message.bytes=20000")
			got := s.watch(topic)
			p := s.start()
			s.intoWide(topic, 0, 200, 7, 5000)
			s.intoWide(topic, 200, 20, 7, 19_000)
			lines := got.holds(220)
			s.hasNothingParked()
			p.drain()
			s.compare(got.end(topic), 0)
			if n := len(lines); n != 220 {
				t.Errorf("%d records, want 220", n)
			}
		})
	}
}

// The largest payload that the shipped schema takes passes a broker with defaults; half a megabyte more is refused by the
// schema, not by the relay.
func TestLargestPayloadPasses(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t))
	topic := s.k.Topic(t, 1)
	got := s.watch(topic)
	p := s.start()
	const bound = 768 << 10
	s.intoWide(topic, 0, 1, 1, bound-64)
	if l := got.holds(1)[0]; len(l.Value) < bound-64 {
		t.Errorf("%d bytes arrived", len(l.Value))
	}
	p.drain()
	s.hasNothingParked()
}

// Names that Kafka refuses are the event's fault: parked at once, by name, and the others flow.
func TestTopicNamesThatKafkaRefuses(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t))
	good := s.k.Topic(t, 2)
	got := s.watch(good)
	p := s.start()
	bad := []string{"with space", "ä", ".", "..", strings.Repeat("n", 250), "a/b", ""}
	for i, topic := range bad {
		s.into(topic, i, 1, 1)
		s.into(good, i, 1, 1)
	}
	got.holds(len(bad))
	s.parks(len(bad), "state = 'parked'")
	for i, l := range s.letters("true") {
		want := "parked topic_invalid " + bad[i] + " k0"
		if bad[i] == "" {
			want = "parked refused  k0"
		}
		if l != want {
			t.Errorf("got %.80q, want %.80q", l, want)
		}
	}
	s.passesLetters()
	p.drain()
}
