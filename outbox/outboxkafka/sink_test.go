package outboxkafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/outbox"
)

func open(t *testing.T, brokers ...string) *Sink {
	t.Helper()
	s, err := Open(NewConfig(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func bounded(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func records(topic string, n int) []outbox.OptimisticRecord {
	out := make([]outbox.OptimisticRecord, n)
	for i := range out {
		out[i] = outbox.OptimisticRecord{Topic: topic, Key: fmt.Append(nil, "k", i%5), Value: fmt.Append(nil, i), Time: time.Now()}
	}
	return out
}

// Many callers at once, several partitions: what counts as stored is in the log once, in the order of each call.
func TestStoredIsInTheLogOnce(t *testing.T) {
	t.Parallel()
	k := testenv.Kafka(t)
	topic := k.Topic(t, 4)
	s := open(t, k.Brokers()...)
	if err := s.Warm(bounded(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	stored := 0
	testenv.Eventually(t, 20*time.Second, func() error { // a broker that does not know of its new partition yet refuses it
		n, err := s.Publish(bounded(t, 20*time.Second), records(topic, 20))
		stored += n
		return err
	})
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			if n, err := s.Publish(bounded(t, 20*time.Second), records(topic, 20)); n != 20 || err != nil {
				t.Errorf("stored %d of 20: %v", n, err)
			}
		})
	}
	calls.Wait()
	stored += 200
	c := testenv.NewConsumer(t, k.Brokers(), topic)
	c.Take(stored, 30*time.Second)
	if rest := c.Rest(500 * time.Millisecond); len(rest) != 0 {
		t.Errorf("%d records too many", len(rest))
	}
}

// A missing topic and a record too large fail by themselves, and do not take the others with them.
func TestOneBadRecordAmongGoodOnes(t *testing.T) {
	t.Parallel()
	k := testenv.Kafka(t)
	topic, small := k.Topic(t, 1), k.Topic(t, 1, "max.message.bytes=1000")
	s := open(t, k.Brokers()...)
	large := outbox.OptimisticRecord{Topic: small, Key: []byte("k"), Value: []byte(strings.Repeat("x", 5000)), Time: time.Now()}
	n, err := s.Publish(bounded(t, 20*time.Second), append(records(topic, 3), large))
	if n != 3 || !errors.Is(err, outbox.ErrOptimisticRejected) {
		t.Errorf("too large: stored %d, %v", n, err)
	}
	n, err = s.Publish(bounded(t, 20*time.Second), append(records(topic, 3), records("not-there-"+topic, 1)...))
	if n != 3 || err == nil || errors.Is(err, outbox.ErrOptimisticRejected) {
		t.Errorf("missing topic: stored %d, %v", n, err)
	}
}

// A broker that does not answer costs the time that the caller gave, and Close nothing more.
func TestBoundedByItsContext(t *testing.T) {
	t.Parallel()
	k := testenv.Kafka(t)
	link := testenv.Proxy(t, k.Brokers()[0])
	link.Pause()
	s := open(t, link.Addr())
	start := time.Now()
	n, err := s.Publish(bounded(t, 300*time.Millisecond), records("any", 1))
	if took := time.Since(start); n != 0 || err == nil || took > 5*time.Second {
		t.Errorf("stored %d after %s: %v", n, took, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Publish(t.Context(), records("any", 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
