package kafka_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/kafka"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// refusing makes the cluster refuse each batch that holds the word, as a broker refuses a record.
func refusing(c *kfake.Cluster, partitions int32, word string, why *kerr.Error) {
	for n := range partitions {
		c.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{n}, Err: why, Count: -1,
			When: func(req kmsg.Request) bool {
				for _, t := range req.(*kmsg.ProduceRequest).Topics {
					for _, p := range t.Partitions {
						if p.Partition == n && bytes.Contains(p.Records, []byte(word)) {
							return true
						}
					}
				}
				return false
			},
		})
	}
}

func TestI2_RejectsAmongPipelinedBatches(t *testing.T) {
	t.Parallel()
	for _, why := range []*kerr.Error{kerr.InvalidRecord, kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.PolicyViolation} {
		t.Run(why.Message, func(t *testing.T) {
			t.Parallel()
			c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
			refusing(c, 1, "POISON", why)
			cfg := withFlight(c, 5)
			cfg.BatchBytes = 4 << 10
			r := sinktest.NewReceiver(t)
			s := open(t, cfg, r)
			events := sinktest.Events(3000, sinktest.Shape{Keys: 9})
			var good []decoder.Event
			var bad []uint64
			for i := range events {
				if i%701 == 500 || i == 1902 {
					events[i].Value = []byte(`"POISON"`)
					bad = append(bad, events[i].Token)
				} else {
					good = append(good, events[i])
				}
			}
			s.Publish(events)
			r.WaitSettled(len(events))
			var rejected []uint64
			for _, x := range r.Rejected() {
				rejected = append(rejected, x.Event.Token)
				if want := map[int16]string{10: "too_large", 18: "too_large", 44: "policy_violation", 87: "invalid_record"}[why.Code]; x.Why.Reason != want {
					t.Errorf("reason: got %q, want %q", x.Why.Reason, want)
				}
			}
			if !slices.Equal(rejected, bad) {
				t.Errorf("rejected %v, want %v: only what is at fault itself", rejected, bad)
			}
			order(t, stored(t, c.ListenAddrs(), "orders"), good)
		})
	}
}

func TestLostProducerStateBeginsANewEpoch(t *testing.T) {
	t.Parallel()
	for _, why := range []*kerr.Error{kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch} {
		t.Run(why.Message, func(t *testing.T) {
			t.Parallel()
			c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))
			var left atomic.Int32
			c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if left.Add(-1) >= 0 {
					return refuse(req.(*kmsg.ProduceRequest), why), nil, true
				}
				return nil, nil, false
			})
			cfg := withFlight(c, 5)
			cfg.BatchBytes = 2 << 10
			r := sinktest.NewReceiver(t)
			s := open(t, cfg, r)
			events := sinktest.Events(4000, sinktest.Shape{Keys: 9})
			s.Publish(events[:1000])
			r.WaitAcked(500)
			left.Store(20)
			s.Publish(events[1000:])
			r.WaitAcked(len(events))
			order(t, stored(t, c.ListenAddrs(), "orders"), events)
		})
	}
}

// The window: at most five batches of a partition from the first unacknowledged one on, and one until the partition has
// acknowledged the producer.
func TestI2_WindowOfAPartition(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	var mu sync.Mutex
	requests := 0
	seen := func() int { mu.Lock(); defer mu.Unlock(); return requests }
	hold := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		requests++
		first := requests == 1
		mu.Unlock()
		if first {
			return nil, nil, false
		}
		c.SleepControl(func() { <-hold })
		return nil, nil, false
	})
	cfg := withFlight(c, 5)
	cfg.BatchBytes = 1 << 10
	r := sinktest.NewReceiver(t)
	s := open(t, cfg, r)
	events := sinktest.Events(200, sinktest.Shape{})
	s.Publish(events)
	r.Wait("the first batch", func(t sinktest.Tally) bool { return t.Acked > 0 })
	eventually(t, func() bool { return s.Status().InFlight == 5 })
	if got := seen(); got > 6 {
		t.Errorf("requests that reached the broker: got %d, want 6 at most: one alone, then five", got)
	}
	close(hold)
	r.WaitAcked(len(events))
	order(t, stored(t, c.ListenAddrs(), "orders"), events)
}

func eventually(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not come to pass within 20 s")
		}
	}
}

func TestMissingTopicIsNamedAtOnceAndHoldsNothingElse(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))
	cfg := withFlight(c, 0)
	cfg.TopicMissingTimeout = 700 * time.Millisecond
	r := sinktest.NewReceiver(t)
	s := open(t, cfg, r)
	lost := sinktest.Events(10, sinktest.Shape{Topics: []string{"oders"}})
	begun := time.Now()
	s.Publish(lost)
	r.Wait("a notice", func(t sinktest.Tally) bool { return t.Notices == 1 })
	if took := time.Since(begun); took > cfg.TopicMissingTimeout {
		t.Errorf("the notice took %v", took)
	}
	n := r.Notices()[0]
	if n.Topic != "oders" || !strings.Contains(n.Cure, "--create --topic oders") || !strings.Contains(n.Cure, "topic_create") {
		t.Errorf("notice %+v names neither topic, command nor key", n)
	}
	events := sinktest.Events(100, sinktest.Shape{First: 100})
	s.Publish(events)
	r.WaitAcked(100)
	if got := r.Tally().Rejected; got > 0 && time.Since(begun) < cfg.TopicMissingTimeout {
		t.Errorf("%d events rejected before topic_missing_timeout", got)
	}
	r.Wait("rejections", func(t sinktest.Tally) bool { return t.Rejected == 10 })
	if got := r.Rejected()[0].Why.Reason; got != "topic_missing" {
		t.Errorf("reason: got %q", got)
	}
	begun = time.Now()
	late := sinktest.Events(5, sinktest.Shape{Topics: []string{"oders"}, First: 300})
	s.Publish(late)
	r.Wait("rejections without the wait", func(t sinktest.Tally) bool { return t.Rejected == 15 })
	if took := time.Since(begun); took > 500*time.Millisecond {
		t.Errorf("an event of a topic given up was rejected after %v", took)
	}
}

func TestMissingTopicIsMadeLater(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(1, "other"))
	r := sinktest.NewReceiver(t)
	s := open(t, withFlight(c, 0), r)
	events := sinktest.Events(500, sinktest.Shape{})
	s.Publish(events)
	r.Wait("a notice", func(t sinktest.Tally) bool { return t.Notices == 1 })
	if err := c.CreateTopic("orders", 3, nil); err != nil {
		t.Fatal(err)
	}
	r.WaitAcked(500)
	order(t, stored(t, c.ListenAddrs(), "orders"), events)
}

func TestTopicIsCreatedWhenAsked(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(1, "other"))
	cfg := withFlight(c, 0)
	cfg.TopicCreate, cfg.TopicPartitions = true, 5
	r := sinktest.NewReceiver(t)
	s := open(t, cfg, r)
	events := sinktest.Events(500, sinktest.Shape{Keys: 40})
	s.Publish(events)
	r.WaitAcked(500)
	got := stored(t, c.ListenAddrs(), "orders")
	order(t, got, events)
	parts := map[int32]bool{}
	for _, rec := range got {
		parts[rec.Partition] = true
	}
	if len(parts) != 5 {
		t.Errorf("events lie in %d partitions, want 5", len(parts))
	}
	if n := r.Notices(); len(n) != 0 {
		t.Errorf("notices: got %v, want none", n)
	}
}

func TestTopicThatKafkaRefuses(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(1))
	r := sinktest.NewReceiver(t)
	s := open(t, withFlight(c, 0), r)
	s.Publish(sinktest.Events(3, sinktest.Shape{Topics: []string{"or ders"}}))
	r.Wait("rejections", func(t sinktest.Tally) bool { return t.Rejected == 3 })
	if got := r.Rejected()[0].Why.Reason; got != "topic_invalid" {
		t.Errorf("reason: got %q, want topic_invalid", got)
	}
}

func TestPartitionThatDoesNotExist(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))
	r := sinktest.NewReceiver(t)
	s := open(t, withFlight(c, 0), r)
	events := sinktest.Events(30, sinktest.Shape{})
	events[10].Partition, events[10].Key = 2, []byte("lost")
	events[11].Partition, events[11].Key = 1, []byte("found")
	s.Publish(events)
	r.WaitSettled(30)
	if got := r.Rejected(); len(got) != 1 || got[0].Event.Token != 11 || got[0].Why.Reason != "partition_missing" {
		t.Errorf("rejected %v, want event 11 as partition_missing", got)
	}
}

// Rights and the like are the sink's state: nothing is given up, and a person is told how to end it.
func TestStateOfTheSinkParksNothing(t *testing.T) {
	t.Parallel()
	for _, why := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.InvalidTimestamp, kerr.UnsupportedCompressionType, kerr.ClusterAuthorizationFailed} {
		t.Run(why.Message, func(t *testing.T) {
			t.Parallel()
			c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.SeedTopics(1, "payments"))
			var granted atomic.Bool
			c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if req.(*kmsg.ProduceRequest).Topics[0].Topic == "orders" && !granted.Load() {
					return refuse(req.(*kmsg.ProduceRequest), why), nil, true
				}
				return nil, nil, false
			})
			r := sinktest.NewReceiver(t)
			s := open(t, withFlight(c, 0), r)
			events := sinktest.Events(300, sinktest.Shape{})
			s.Publish(events)
			r.Wait("a notice", func(t sinktest.Tally) bool { return t.Notices == 1 })
			if n := r.Notices()[0]; n.Topic != "orders" || n.Cure == "" {
				t.Errorf("notice %+v, want the topic and a cure", n)
			}
			st := s.Status()
			if st.Writable || !strings.Contains(st.Reason, "orders") {
				t.Errorf("status %+v, want not writable because of topic orders", st)
			}
			others := sinktest.Events(50, sinktest.Shape{Topics: []string{"payments"}, First: 1000})
			s.Publish(others)
			r.WaitAcked(50)
			granted.Store(true)
			r.WaitAcked(350)
			if got := r.Tally(); got.Rejected != 0 || got.Notices != 1 {
				t.Errorf("%+v, want nothing rejected and one notice", got)
			}
			if st := s.Status(); !st.Writable {
				t.Errorf("status %+v, want writable", st)
			}
			order(t, stored(t, c.ListenAddrs(), "orders"), events)
		})
	}
}

func TestHaltLeavesTheLane(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))
	refusing(c, 2, "POISON", kerr.InvalidRecord)
	r := sinktest.NewReceiver(t)
	r.VerdictIs(func(*decoder.Event, sink.Rejection) sink.Verdict { return sink.Halt })
	s := open(t, withFlight(c, 0), r)
	events := sinktest.Events(200, sinktest.Shape{})
	for i := range events {
		events[i].Partition, events[i].Key = int32(i%2), []byte{byte(i % 2)}
	}
	events[50].Value = []byte("POISON")
	s.Publish(events)
	r.Wait("acks and one rejection", func(t sinktest.Tally) bool { return t.Acked >= 125 && t.Rejected > 0 })
	if got := r.Tally(); got.Acked != 125 || got.Rejected != 1 {
		t.Errorf("%+v, want one lane whole, the other up to the event", got)
	}
}

func TestAcksOfTheLeaderAloneAreNotIdempotent(t *testing.T) {
	t.Parallel()
	for _, acks := range []kafka.Acks{kafka.AcksLeader, kafka.AcksNone} {
		c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(3, "orders"))
		cfg := withFlight(c, 5)
		cfg.Acks = acks
		if _, err := kafka.Open(t.Context(), cfg, sinktest.NewReceiver(t)); err == nil || !strings.Contains(err.Error(), "unsafe_acks") {
			t.Fatalf("acks %d without unsafe_acks: got %v, want the key named", acks, err)
		}
		cfg.UnsafeAcks = true
		r := sinktest.NewReceiver(t)
		s := open(t, cfg, r)
		events := sinktest.Events(2000, sinktest.Shape{})
		s.Publish(events)
		r.WaitAcked(len(events))
		if acks == kafka.AcksLeader {
			order(t, stored(t, c.ListenAddrs(), "orders"), events)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	cfg := withFlight(c, 0)
	if err := kafka.Check(t.Context(), cfg, "orders"); err != nil {
		t.Errorf("all is well: got %v", err)
	}
	if err := kafka.Check(t.Context(), cfg, "orders", "oders"); !errors.Is(err, kafka.ErrTopicMissing) || !strings.Contains(err.Error(), "oders") {
		t.Errorf("a topic is missing: got %v", err)
	}
	cfg.Brokers = []string{"127.0.0.1:1"}
	if err := kafka.Check(t.Context(), cfg); !errors.Is(err, kafka.ErrUnreachable) {
		t.Errorf("no broker: got %v", err)
	}
	var code wire.Code
	if errors.As(kafka.ErrTopicMissing, &code) {
		t.Error("a sentinel is a code")
	}
}
