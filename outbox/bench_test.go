package outbox

import (
	"strings"
	"testing"
)

func BenchmarkRows(b *testing.B) {
	raw := []byte(`{"n": 1, "pad": "` + strings.Repeat("x", 160) + `"}`)
	typed := struct {
		N   int    `json:"n"`
		Pad string `json:"pad"`
	}{1, strings.Repeat("x", 160)}
	for name, e := range map[string]Event{
		"bytes":   with(func(e *Event) { e.Payload = raw }),
		"typed":   with(func(e *Event) { e.Payload = typed }),
		"headers": with(func(e *Event) { e.Payload, e.Headers = typed, map[string]any{"a": "b", "c": "d"} }),
	} {
		b.Run(name, func(b *testing.B) {
			events := make([]Event, 100)
			for i := range events {
				events[i] = e
			}
			o := NewOptions()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := o.Rows(b.Context(), events); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/event")
		})
	}
}
