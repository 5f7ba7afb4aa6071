package lanes_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/lanes"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

type quiet struct{ acked chan int }

func (quiet) Divert(*decoder.Event) bool                         { return false }
func (q quiet) Ack(events []*decoder.Event)                      { q.acked <- len(events) }
func (quiet) Reject(*decoder.Event, sink.Rejection) sink.Verdict { return sink.Taken }
func (quiet) Attempted(int, string)                              {}
func (quiet) Notice(sink.Notice)                                 {}

func BenchmarkPublishToAck(b *testing.B) {
	events := sinktest.Events(1000, sinktest.Shape{Keys: 100})
	for _, size := range []int{1, 1000} {
		b.Run(fmt.Sprintf("%d events", size), func(b *testing.B) {
			q := quiet{make(chan int, 64)}
			s, err := lanes.New(b.Context(), lanes.NewConfig(func(_ context.Context, _ int, events []*decoder.Event) (int, error) {
				return len(events), nil
			}), q)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.ReportAllocs()
			for b.Loop() {
				s.Publish(events[:size])
				for n := 0; n < size; {
					n += <-q.acked
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/event")
		})
	}
}
