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

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// While members come and go nothing is handled twice, nothing is left out, and the order of keys holds.
func TestRebalance_MembersComeAndGo(t *testing.T) {
	t.Parallel()
	for name, way := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 6)
			c := w.config()
			way(&c)
			produced := make(chan struct{})
			go func() {
				defer close(produced)
				for range 60 {
					w.produce(100, 30)
					<-time.After(50 * time.Millisecond)
				}
			}()
			var stops []func()
			for i := range 4 {
				stops = append(stops, w.start(c))
				<-time.After(500 * time.Millisecond)
				if i%2 == 1 {
					stops[0]()
					stops = stops[1:]
				}
			}
			<-produced
			w.waitFor(6000, 30*time.Second)
			w.check()
			for _, stop := range stops {
				stop()
			}
			if got := w.watermarks(); got != 6000 {
				t.Errorf("watermarks sum up to %d, want 6000", got)
			}
		})
	}
}

// A handler that hangs while the group rebalances is left behind in time: the next owner is not blocked by what it had claimed.
func TestRebalance_AHandlerThatHangsIsLeftBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	hang, hangs := make(chan struct{}), make(chan struct{})
	defer close(hang)
	var once atomic.Bool
	deaf := w.config()
	deaf.MaxBatch, deaf.BatchHandler = 1, nil
	deaf.Handler = func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
		err := insertOne(ctx, tx, m)
		if once.CompareAndSwap(false, true) {
			close(hangs)
			<-hang
		}
		return err
	}
	w.produce(40, 8)
	w.start(deaf)
	<-hangs
	sound := w.config()
	w.start(sound)
	w.waitFor(40, 25*time.Second) // the deaf member gets its other partition anew, or this one: it hangs no second time
	w.check()
}

// A hung handler without any rebalance: the watchdog counts it, and the message is put aside.
func TestRun_TheWatchdogPutsAHungMessageAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	hang := make(chan struct{})
	defer close(hang)
	c := w.config()
	c.HandlerTimeout, c.BatchHandler = 300*time.Millisecond, nil
	c.Handler = func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
		if string(m.Value) == "1" && string(m.Key) == "key-0" {
			<-hang
		}
		return insertOne(ctx, tx, m)
	}
	w.produce(10, 2)
	w.start(c)
	w.waitFor(6, 20*time.Second)
	w.checkBut(map[string][]int{"key-0": {1, 2, 3, 4}}) // parked behind it
}

func TestRebalance_NewPartitionsAndALateTopic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	c := w.config()
	late := "late-" + w.topic
	c.Topics = append(c.Topics, late)
	w.start(c)
	w.produce(10, 5)
	w.waitFor(10, 20*time.Second)
	w.kafka.CreateTopic(t, late, 2)
	old := w.topic
	w.topic = late
	w.produce(10, 5)
	w.waitFor(20, 30*time.Second)
	w.topic = old
	if _, err := w.kafka.Admin(t).UpdatePartitions(t.Context(), 4, w.topic); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 30*time.Second, func() error { // all four are owned
		places, err := w.store.Look(t.Context(), w.consumer, w.topic)
		if err == nil && len(places) != 4 {
			err = fmt.Errorf("%d partitions", len(places))
		}
		return err
	})
}

// In the mode of the high-water mark a changed number of partitions halts: keys have moved, and marks would lose events.
func TestRebalance_NewPartitionsHaltTheHighWaterMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	c := w.config()
	c.Inbox.Mode, c.Inbox.Mark.AcceptFirst = inbox.ByMark, true
	halted := make(chan error, 10)
	c.OnHalt = func(_ string, _ int32, err error) { halted <- err }
	w.start(c)
	w.produce(10, 5)
	w.waitFor(10, 20*time.Second)
	if _, err := w.kafka.Admin(t).UpdatePartitions(t.Context(), 2, w.topic); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-halted:
		if !errors.Is(err, inbox.ErrPartitionCount) {
			t.Errorf("halted with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("not halted")
	}
}

func TestConfig_AllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	var c Config[pgx.Tx]
	err := c.Validate()
	for _, want := range []string{"Brokers", "Topics", "Store", "Handler", "Workers", "MaxBatch", "WatermarkInterval", "Log", "consumer's name"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
	w := newWorld(t, 1)
	c = w.config()
	c.Workers, c.Inbox.Mode = 2, inbox.ByMark
	if err := c.Validate(); !errors.Is(err, inbox.ErrWorkers) {
		t.Errorf("several workers with the high-water mark: got %v", err)
	}
	c = w.config()
	c.WatermarkInterval = 2 * time.Second // the rule: at least each second
	if err := c.Validate(); err == nil {
		t.Error("a watermark each two seconds is accepted")
	}
}
