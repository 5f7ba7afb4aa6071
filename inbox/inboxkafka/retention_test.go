package inboxkafka

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// A topic that keeps records for longer than the inbox keeps claims is warned of.
func TestRun_WarnsOfATopicThatKeepsLonger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.topic = w.kafka.Topic(t, 1, "retention.ms=-1")
	warned := make(chan string, 100)
	c := w.config()
	c.Log = slog.New(slog.NewTextHandler(lines(warned), nil))
	w.start(c)
	for deadline := time.After(20 * time.Second); ; {
		select {
		case line := <-warned:
			if strings.Contains(line, "level=WARN") && strings.Contains(line, "keeps records for longer") && strings.Contains(line, w.topic) {
				return
			}
		case <-deadline:
			t.Fatal("no warning")
		}
	}
}

type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}

// Records that the topic's retention took before they were read are reported, and the partition goes on behind them.
func TestRun_GoesOnBehindAHole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	c := w.config()
	logged := make(chan string, 1000)
	c.Log = slog.New(slog.NewTextHandler(lines(logged), nil))
	w.produce(3, 1)
	stop := w.start(c)
	w.waitFor(3, 20*time.Second)
	stop()
	w.produce(10, 1)
	gone := kadm.Offsets{}
	gone.Add(kadm.Offset{Topic: w.topic, Partition: 0, At: 8})
	if _, err := w.kafka.Admin(t).DeleteRecords(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	w.start(c)
	w.waitFor(8, 20*time.Second)
	w.checkBut(map[string][]int{"key-0": {3, 4, 5, 6, 7}})
	for {
		select {
		case line := <-logged:
			if strings.Contains(line, "records are lost") && strings.Contains(line, "from=3") && strings.Contains(line, "to=8") {
				return
			}
		default:
			t.Fatal("the hole is not reported")
		}
	}
}
