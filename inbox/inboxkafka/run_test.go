package inboxkafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// ways are the ways to run a consumer that differ in how they could lose or double something.
func ways() map[string]func(*Config[pgx.Tx]) {
	return map[string]func(*Config[pgx.Tx]){
		"batch":  func(*Config[pgx.Tx]) {},
		"single": func(c *Config[pgx.Tx]) { c.MaxBatch, c.BatchHandler, c.Handler = 1, nil, insertOne },
		"by key": func(c *Config[pgx.Tx]) { c.Workers = 4 },
		"mark":   func(c *Config[pgx.Tx]) { c.Inbox.Mode, c.Inbox.Mark.AcceptFirst = inbox.ByMark, true },
	}
}

func TestRun_EachEventOnceAndInOrder(t *testing.T) {
	t.Parallel()
	for name, way := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 4)
			w.produce(1500, 20)
			c := w.config()
			way(&c)
			stop := w.start(c)
			w.waitFor(1500, 20*time.Second)
			w.produce(500, 20)
			w.waitFor(2000, 10*time.Second)
			stop()
			if got := w.watermarks(); got != 2000 {
				t.Errorf("watermarks sum up to %d, want 2000", got)
			}
			w.start(c)
			w.produce(500, 20)
			w.waitFor(2500, 10*time.Second)
			w.check()
		})
	}
}

// The database is the truth: an offset set back in Kafka repeats nothing, one set forward skips; without a row the offset of
// Kafka counts, and without that the configuration.
func TestRun_WhereAConsumerStarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.produce(10, 1)
	c := w.config()
	w.commit(0, 3) // a consumer that had no inbox until now
	stop := w.start(c)
	w.waitFor(7, 20*time.Second)
	testenv.Eventually(t, 10*time.Second, func() error {
		if got := w.committed(0); got != 10 {
			return fmt.Errorf("Kafka holds %d, want 10", got)
		}
		return nil
	})
	stop()
	w.pg.Exec(t, "DELETE FROM cdc_inbox.claimed") // so that claims cannot hide what is read again
	w.commit(0, 0)
	w.produce(5, 1)
	stop = w.start(c)
	w.waitFor(12, 20*time.Second)
	stop()
	w.commit(0, 18)
	w.produce(5, 1)
	w.start(c)
	w.waitFor(14, 20*time.Second)
	w.checkBut(map[string][]int{"key-0": {0, 1, 2, 15, 16, 17}})

	late := c
	late.Consumer, late.Start = "late-"+w.topic, StartLast
	w.start(late)
	testenv.Eventually(t, 20*time.Second, func() error {
		places, err := w.store.Look(t.Context(), late.Consumer, "")
		if err == nil && len(places) == 0 {
			err = errors.New("it has not begun")
		}
		return err
	})
	w.produce(2, 1)
	w.waitFor(14+2+2, 20*time.Second) // two for each of the consumers
}

// A consumer that is new to a topic with a long history processes it, whatever its age.
func TestRun_AMonthOfHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	for range 10 {
		r := w.event("k")
		r.Timestamp = time.Now().Add(-30 * 24 * time.Hour)
		w.send(r)
	}
	w.start(w.config())
	w.waitFor(10, 20*time.Second)
	w.check()
}

func TestRun_MarkersAndAbortedRecordsLeaveNoLag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	tx := newProducer(t, w.kafka, kgo.TransactionalID("tx-"+w.topic))
	for _, commit := range []bool{true, false} {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		key := map[bool]string{true: "kept", false: "aborted"}[commit]
		for range 5 {
			if err := tx.ProduceSync(t.Context(), w.event(key)).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.EndTransaction(t.Context(), kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
	}
	var lag atomic.Int64
	lag.Store(-1)
	c := w.config()
	c.Inbox.Metrics = &lagMetric{lag: &lag}
	w.start(c)
	testenv.Eventually(t, 20*time.Second, func() error {
		if w.watermarks() != 12 || lag.Load() != 0 {
			return fmt.Errorf("watermark %d, lag %d, want 12 and 0", w.watermarks(), lag.Load())
		}
		return nil
	})
	w.checkBut(map[string][]int{"aborted": {0, 1, 2, 3, 4}})
}

type lagMetric struct {
	inbox.NoMetrics

	lag *atomic.Int64
}

func (m *lagMetric) Lag(_, _ string, _ int32, n int64) { m.lag.Store(n) }

// A poison message parks its key, other keys flow; the verdict retry plays the key back in order and releases it.
func TestRun_PoisonParksItsKeyAndIsPlayedBack(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			var mended atomic.Bool
			c := w.config()
			c.Workers, c.BatchHandler = workers, nil
			c.Handler = func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
				if string(m.Key) == "key-1" && string(m.Value) == "2" && !mended.Load() {
					return errors.New("this one cannot be handled")
				}
				return insertOne(ctx, tx, m)
			}
			w.produce(40, 4)
			w.start(c)
			w.waitFor(32, 20*time.Second)
			w.checkBut(map[string][]int{"key-1": {2, 3, 4, 5, 6, 7, 8, 9}})
			testenv.Eventually(t, 10*time.Second, func() error {
				if got := w.query("SELECT string_agg(attempts || ' ' || waiting, ',' ORDER BY id) FROM cdc_inbox.dead_letter"); !strings.HasPrefix(got, "3 false,0 true") {
					return fmt.Errorf("attempts and waiting: %s", got)
				}
				return nil
			})
			mended.Store(true)
			w.pg.Exec(t, "UPDATE cdc_inbox.dead_letter SET verdict = 'retry' WHERE NOT waiting; NOTIFY "+channel+", '"+w.consumer+"'")
			w.waitFor(40, 20*time.Second)
			w.produce(8, 4)
			w.waitFor(48, 20*time.Second)
			w.check()
		})
	}
}

// channel is where verdicts are announced (inbox/internal/pgstore).
const channel = "cdc_inbox"

// What cannot be decoded or has no id is put aside, and holds nothing up.
func TestRun_UndecodableRecordsHoldNothingUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.produce(3, 1)
	w.send(&kgo.Record{Topic: w.topic, Key: []byte("key-0"), Value: []byte("no id")},
		&kgo.Record{Topic: w.topic, Value: []byte("{"), Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}}})
	w.produce(3, 1)
	w.start(w.config())
	w.waitFor(6, 20*time.Second)
	w.check()
	if got := w.query("SELECT string_agg(reason, ' ' ORDER BY id) FROM cdc_inbox.dead_letter"); got != "no_id undecodable" {
		t.Errorf("dead letters: %s", got)
	}
}

// Under Halt the partition stops at the message, others go on, and Run does not return.
func TestRun_HaltStopsThePartitionAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	halted := make(chan error, 10)
	c := w.config()
	c.Inbox.Poison = inbox.HaltOnPoison
	c.BatchHandler, c.Handler = nil, func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
		if m.Partition == 0 && string(m.Value) == "1" {
			return inbox.Permanent(errors.New("never"))
		}
		return insertOne(ctx, tx, m)
	}
	c.OnHalt = func(_ string, p int32, err error) {
		if p == 0 {
			halted <- err
		}
	}
	manual := newProducer(t, w.kafka, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	send := func(n int) {
		for p := range int32(2) {
			for range n {
				r := w.event(fmt.Sprint("p", p))
				r.Partition = p
				if err := manual.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	send(3)
	w.start(c)
	if err := <-halted; !errors.Is(err, inbox.ErrPoison) {
		t.Errorf("halted with %v", err)
	}
	send(3)
	w.waitFor(1+6, 20*time.Second)
	w.checkBut(map[string][]int{"p0": {1, 2, 3, 4, 5}})
}

// A topic that was made anew is not mistaken for the old one: the partition halts instead of waiting for ever, or skipping.
func TestRun_ATopicMadeAnewHalts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.produce(10, 1)
	c := w.config()
	stop := w.start(c)
	w.waitFor(10, 20*time.Second)
	stop()
	if _, err := w.kafka.Admin(t).DeleteTopics(t.Context(), w.topic); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		topics, err := w.kafka.Admin(t).ListTopics(t.Context(), w.topic)
		if err == nil && topics[w.topic].Err == nil {
			err = errors.New("the topic is still there")
		}
		return err
	})
	w.kafka.CreateTopic(t, w.topic, 1)
	halted := make(chan error, 1)
	c.OnHalt = func(_ string, _ int32, err error) { halted <- err }
	w.start(c)
	select {
	case err := <-halted:
		if !strings.Contains(err.Error(), "beyond the log's end") {
			t.Errorf("halted with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("not halted")
	}
}

// A shutdown finishes what is under way, writes the position, and leaves in good order.
func TestRun_DrainsAndLeavesClean(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	begun, goOn := make(chan struct{}), make(chan struct{})
	c := w.config()
	c.MaxBatch, c.BatchHandler = 1, nil
	var once atomic.Bool
	c.Handler = func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
		if once.CompareAndSwap(false, true) {
			close(begun)
			<-goOn
		}
		return insertOne(ctx, tx, m)
	}
	w.produce(5, 1)
	stop := w.start(c)
	<-begun
	ended := make(chan struct{})
	go func() { stop(); close(ended) }()
	select {
	case <-ended:
		t.Fatal("it ended amid a handler")
	case <-time.After(300 * time.Millisecond):
	}
	close(goOn)
	<-ended
	if got := w.query("SELECT watermark || ' ' || clean FROM cdc_inbox.place"); got != "1 true" {
		t.Errorf("watermark and clean: got %s, want 1 true", got)
	}
	w.start(c)
	w.waitFor(5, 20*time.Second)
	w.check()
}

// While the database is away nothing is counted against a message, and all goes on when it is back.
func TestRun_TheDatabaseGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	proxy := testenv.Proxy(t, w.pg.Address())
	pool := openPool(t, w.pg.Via(proxy.Addr()))
	c := w.config()
	c.Store = inboxpgx.New(pool)
	w.start(c)
	w.produce(100, 5)
	w.waitFor(100, 20*time.Second)
	for range 3 {
		proxy.Cut()
		w.produce(100, 5)
		<-time.After(200 * time.Millisecond)
		proxy.Resume()
	}
	w.waitFor(400, 20*time.Second)
	w.check()
	if got := w.query("SELECT (SELECT count(*) FROM cdc_inbox.dead_letter) || ' ' || (SELECT count(*) FROM cdc_inbox.attempt)"); got != "0 0" {
		t.Errorf("dead letters and counted attempts: %s", got)
	}
}
