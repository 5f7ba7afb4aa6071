package kafka_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/kafka"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// window is a receiver that only counts, and holds back whoever publishes too far ahead.
type window struct {
	acked atomic.Int64
	room  chan struct{}
	onAck func(*decoder.Event)
}

func (w *window) Divert(*decoder.Event) bool { return false }
func (w *window) Ack(events []*decoder.Event) {
	if w.onAck != nil {
		for _, ev := range events {
			w.onAck(ev)
		}
	}
	w.acked.Add(int64(len(events)))
	select {
	case w.room <- struct{}{}:
	default:
	}
}
func (w *window) Reject(*decoder.Event, sink.Rejection) sink.Verdict { return sink.Halt }
func (w *window) Attempted(int, string)                              {}
func (w *window) Notice(sink.Notice)                                 {}

func (w *window) wait(n int64) {
	for w.acked.Load() < n {
		<-w.room
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDrain publishes late events of some 330 bytes as fast as a window of 20,000 lets it.
func BenchmarkDrain(b *testing.B) {
	for _, flight := range []int{1, 0} {
		for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
			b.Run(fmt.Sprintf("server=trivial/flight=%d/delay=%v", flight, delay), func(b *testing.B) {
				drain(b, "orders", ackServer(b, "orders", 16, delay), flight)
			})
		}
		b.Run(fmt.Sprintf("server=kafka/flight=%d", flight), func(b *testing.B) {
			brokers := testenv.Kafka(b)
			drain(b, brokers.Topic(b, 8), brokers.Brokers()[0], flight)
		})
	}
}

func drain(b *testing.B, topic, addr string, flight int) {
	cfg := kafka.NewConfig(addr)
	cfg.MaxRequestsInFlight = flight
	w := &window{room: make(chan struct{}, 1)}
	s, err := kafka.Open(b.Context(), cfg, w)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	events := sinktest.Events(40_000, sinktest.Shape{Topics: []string{topic}, Keys: 1000, Bytes: 200})
	for i := range events {
		events[i].CommitTime -= int64(time.Hour / time.Microsecond)
	}
	sent := int64(0)
	put := func(n int) {
		for n > 0 {
			at := int(sent) % len(events)
			k := min(100, n, len(events)-at)
			w.wait(sent + int64(k) - 20_000)
			s.Publish(events[at : at+k])
			sent += int64(k)
			n -= k
		}
		w.wait(sent)
	}
	put(60_000) // buffers grow
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	put(b.N)
	b.StopTimer()
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/event")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkLive publishes 1,000 single events a second and reports what passes until each is acknowledged.
func BenchmarkLive(b *testing.B) {
	for _, rate := range []int{1000, 2500} {
		for _, flight := range []int{1, 2, 5, 0} {
			for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
				b.Run(fmt.Sprintf("server=trivial/rate=%d/flight=%d/delay=%v", rate, flight, delay), func(b *testing.B) {
					live(b, "orders", ackServer(b, "orders", 8, delay), flight, rate)
				})
			}
			b.Run(fmt.Sprintf("server=kafka/rate=%d/flight=%d", rate, flight), func(b *testing.B) {
				brokers := testenv.Kafka(b)
				live(b, brokers.Topic(b, 8), brokers.Brokers()[0], flight, rate)
			})
		}
	}
}

func live(b *testing.B, topic, addr string, flight, rate int) {
	cfg := kafka.NewConfig(addr)
	cfg.MaxRequestsInFlight = flight
	var mu sync.Mutex
	var took []time.Duration
	w := &window{room: make(chan struct{}, 1), onAck: func(ev *decoder.Event) {
		d := time.Since(time.UnixMicro(ev.CommitTime))
		mu.Lock()
		took = append(took, d)
		mu.Unlock()
	}}
	s, err := kafka.Open(b.Context(), cfg, w)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	n := 0
	publish := func(events []decoder.Event) {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for i := range events {
			<-tick.C
			events[i].CommitTime = time.Now().UnixMicro()
			s.Publish(events[i : i+1])
			n++
		}
		w.wait(int64(n))
	}
	publish(sinktest.Events(500, sinktest.Shape{Topics: []string{topic}, Keys: 1000, Bytes: 200}))
	took = took[:0]
	events := sinktest.Events(b.N, sinktest.Shape{Topics: []string{topic}, Keys: 1000, Bytes: 200})
	b.ResetTimer()
	before := cpu()
	publish(events)
	b.StopTimer()
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/event")
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
}
