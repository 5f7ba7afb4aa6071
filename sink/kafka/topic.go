package kafka

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/record"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/kafka/partition"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
)

// topic is a name that events were published to. All fields but calls are guarded by Sink.mu.
type topic struct {
	calls sync.Mutex // held by the keeper around calls of the Receiver about waiting events; taken before Sink.mu

	name       string
	lanes      []*lane // by partition; empty: not known, or gone
	waiting    queue   // events that have no lane: nothing of the topic overtakes them
	batchBytes int     // what a batch may weigh; falls when the broker refuses one as too large
	unshrunk   int     // batchBytes before that, while it is not known whether one event was to blame; 0: it is known
	epoch      int16   // the least epoch of a lane made from now on

	// asked holds events of dissolved lanes that Divert has been asked about; nil: none.
	asked map[*decoder.Event]bool

	invalid bool
	barred  bool // the broker does not let us see it
	halted  bool
	created time.Time // when we last asked for it to be made
	missing time.Time // since when the cluster does not know it
	since   time.Time // since when events wait
	trouble string
}

func (s *Sink) topicOf(name string) *topic {
	t := s.topics[name]
	if t == nil {
		t = &topic{name: name, batchBytes: s.cfg.BatchBytes, invalid: !record.ValidTopic(name)}
		s.topics[name] = t
	}
	return t
}

// route returns the lane of an event; nil: it has to wait for the keeper.
func (t *topic) route(ev *decoder.Event) *lane {
	if len(t.lanes) == 0 || t.waiting.len() > 0 {
		if t.since.IsZero() {
			t.since = time.Now()
		}
		return nil
	}
	return t.choose(ev)
}

// choose is the event's lane by its partition, key or id; nil: that partition does not exist.
func (t *topic) choose(ev *decoder.Event) *lane {
	n := int32(len(t.lanes))
	switch {
	case ev.Partition >= n:
		return nil
	case ev.Partition >= 0:
		return t.lanes[ev.Partition]
	case ev.Key == nil:
		return t.lanes[partition.Of(ev.ID, n)]
	}
	return t.lanes[partition.Of(ev.Key, n)]
}

// shrink makes batches smaller after one of that weight was too large.
func (t *topic) shrink(weight, most int) {
	if t.unshrunk == 0 {
		t.unshrunk = t.batchBytes
	}
	t.batchBytes = max(min(t.batchBytes, weight, most)/2, 1)
}

// restore undoes shrink: one event alone was too large.
func (t *topic) restore() {
	if t.unshrunk > 0 {
		t.batchBytes, t.unshrunk = t.unshrunk, 0
	}
}

// grow makes lanes up to n.
func (t *topic) grow(n int) {
	for i := len(t.lanes); i < n; i++ {
		t.lanes = append(t.lanes, &lane{
			topic: t, id: int32(i), name: t.name + "/" + strconv.Itoa(i), producer: noProducer(),
		})
	}
}

// dissolve gives up the lanes of a topic that is gone or was made anew with fewer partitions; their events wait again,
// before all others. It returns false while something is under way. Lanes made later begin with an epoch above all that
// was used, so that no sequence number means two things.
func (t *topic) dissolve(s *Sink) (acked []*sealed, ok bool) {
	for _, l := range t.lanes {
		if l.flying > 0 || l.halted {
			return nil, false
		}
	}
	var events []*decoder.Event
	for _, l := range t.lanes {
		used := l.producer.Epoch
		acked = append(acked, l.unseal(s)...)
		t.epoch = max(t.epoch, used+1)
		for ; l.queue.len() > 0; l.asked-- {
			if l.asked > 0 {
				if t.asked == nil {
					t.asked = make(map[*decoder.Event]bool)
				}
				t.asked[l.queue.front()] = true
			}
			events = append(events, l.queue.pop())
		}
		l.broker, l.listed, l.paused = nil, nil, nil
	}
	if t.epoch < 0 || t.epoch > 32000 {
		s.producer.ID, t.epoch = -1, 0
	}
	t.lanes = nil
	t.waiting.unshift(events)
	if len(events) > 0 && t.since.IsZero() {
		t.since = time.Now()
	}
	return acked, true
}

// settle places the events that wait, or rejects them, or leaves them; the keeper calls it after each look at the
// cluster, without mu.
func (s *Sink) settle(t *topic) {
	t.calls.Lock()
	defer t.calls.Unlock()
	for {
		s.mu.Lock()
		ev, why := s.place(t, time.Now())
		asked := t.asked[ev]
		if ev != nil {
			t.asked = nil // those behind a rejected one are asked about anew
		}
		s.mu.Unlock()
		if ev == nil {
			return
		}
		if (asked || !s.rcv.Divert(ev)) && s.rcv.Reject(ev, why) == sink.Halt {
			s.mu.Lock()
			t.halted = true
			s.mu.Unlock()
			return
		}
		s.mu.Lock()
		t.waiting.pop()
		s.mu.Unlock()
	}
}

// place gives waiting events to their lanes, and returns the first that has to be rejected; it stays in front.
func (s *Sink) place(t *topic, now time.Time) (*decoder.Event, sink.Rejection) {
	for t.waiting.len() > 0 && !t.halted && !s.ended {
		ev := t.waiting.front()
		switch {
		case t.invalid:
			return ev, sink.Rejection{Reason: "topic_invalid", Err: fmt.Errorf(
				"topic %q is no name that Kafka takes: 1 to 249 of a-z A-Z 0-9 . _ -", t.name)}
		case len(t.lanes) > 0:
			l := t.choose(ev)
			if l == nil {
				return ev, sink.Rejection{Reason: "partition_missing", Err: fmt.Errorf(
					"the event asks for partition %d of topic %q, which has %d", ev.Partition, t.name, len(t.lanes))}
			}
			s.enqueue(l, t.waiting.pop(), now)
		case !t.missing.IsZero() && now.Sub(t.missing) >= s.cfg.TopicMissingTimeout:
			return ev, sink.Rejection{Reason: "topic_missing", Err: fmt.Errorf(
				"topic %q does not exist for %v: create it, then requeue the event", t.name, now.Sub(t.missing).Round(time.Second))}
		default:
			return nil, sink.Rejection{}
		}
	}
	if t.waiting.len() == 0 {
		t.since = time.Time{}
	}
	return nil, sink.Rejection{}
}

func (s *Sink) topicMissing(t *topic) sink.Notice {
	parts := ""
	if s.cfg.TopicPartitions > 0 {
		parts = fmt.Sprintf(" --partitions %d", s.cfg.TopicPartitions)
	}
	return sink.Notice{
		Topic: t.name, What: fmt.Sprintf("topic %s does not exist", t.name),
		Cure: fmt.Sprintf("create it (kafka-topics.sh --bootstrap-server %s --create --topic %s%s) or set sink.kafka.topic_create: true;"+
			" after %v its events are rejected", s.cfg.Brokers[0], t.name, parts, s.cfg.TopicMissingTimeout),
	}
}

// topicAnswer takes over what the cluster says about one topic.
func (s *Sink) topicAnswer(ctx context.Context, k *keeper, m metadata.ResponseTopic, res *metadata.Response) {
	code := wire.Code(m.ErrorCode)
	s.mu.Lock()
	t := s.topics[m.Name]
	if t == nil {
		s.mu.Unlock()
		return
	}
	now := time.Now()
	t.barred = false
	var notices []sink.Notice
	var acked []*sealed
	create := false
	switch {
	case code == wire.OK || code == wire.LeaderNotAvailable && len(m.Partitions) > 0:
		acked = s.partitions(t, m, now)
	case code == wire.UnknownTopic:
		if t.missing.IsZero() {
			t.missing = now
		}
		t.trouble = "topic " + t.name + " does not exist"
		create = s.cfg.TopicCreate && now.Sub(t.created) > createEvery
		if create {
			t.created = now
		} else if !s.cfg.TopicCreate {
			notices = append(notices, s.topicMissing(t))
		}
		for _, l := range t.lanes {
			s.lead(l, nil, now)
		}
		if now.Sub(t.missing) >= s.cfg.TopicMissingTimeout {
			acked, _ = t.dissolve(s)
		}
	case code == wire.InvalidTopic:
		t.invalid = true
	case code.Class() == wire.StateOfSink:
		t.barred, t.trouble = true, code.Error()
		notices = append(notices, sink.Notice{Topic: t.name, What: "topic " + t.name + " is not writable: " + code.Label(), Cure: code.Cure()})
	default:
		t.trouble = code.Error()
	}
	s.mu.Unlock()
	if len(acked) > 0 {
		s.acked(acked)
	}
	for _, n := range notices {
		s.notice(n)
	}
	if create {
		k.create(ctx, t, res)
	}
}

// partitions takes over leaders and counts; with mu. A topic with fewer partitions than before was made anew.
func (s *Sink) partitions(t *topic, m metadata.ResponseTopic, now time.Time) (acked []*sealed) {
	if len(m.Partitions) < len(t.lanes) {
		for _, l := range t.lanes {
			s.lead(l, nil, now)
		}
		var ok bool
		if acked, ok = t.dissolve(s); !ok {
			s.needs = true
			return acked
		}
	}
	if !t.missing.IsZero() {
		t.missing, t.trouble = time.Time{}, ""
		s.forgive(t.name)
	}
	t.grow(len(m.Partitions))
	for _, p := range m.Partitions {
		if p.PartitionIndex < 0 || int(p.PartitionIndex) >= len(t.lanes) {
			continue
		}
		s.lead(t.lanes[p.PartitionIndex], s.brokers[p.LeaderID], now)
	}
	return acked
}
