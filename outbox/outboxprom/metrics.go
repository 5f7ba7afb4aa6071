package outboxprom

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// Metrics implements outbox.OptimisticObserver. Several senders may share one.
type Metrics struct {
	attempts, success prometheus.Counter
	failures          *prometheus.CounterVec
	latency           prometheus.Histogram
}

// New registers the metrics. All reasons are there from the start, at 0.
func New(to prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		attempts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "outbox_optimistic_send_attempts_total", Help: "Events that were to be published right after their commit.",
		}),
		success: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "outbox_optimistic_send_success_total", Help: "Events that the broker has stored.",
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outbox_optimistic_send_failures_total", Help: "Events that were left to the relay by an accident.",
		}, []string{"reason"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "outbox_optimistic_send_latency_seconds", Help: "From the call of Send to the broker's answer.",
			Buckets: []float64{0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1},
		}),
	}
	for _, reason := range outbox.OptimisticFailures() {
		m.failures.WithLabelValues(reason)
	}
	for _, c := range []prometheus.Collector{m.attempts, m.success, m.failures, m.latency} {
		if err := to.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Attempted counts attempts.
func (m *Metrics) Attempted(events int) { m.attempts.Add(float64(events)) }

// Succeeded counts events that are stored, and one latency.
func (m *Metrics) Succeeded(events int, took time.Duration) {
	m.success.Add(float64(events))
	m.latency.Observe(took.Seconds())
}

// Failed counts failures.
func (m *Metrics) Failed(events int, reason string) {
	m.failures.WithLabelValues(reason).Add(float64(events))
}

// Skipped counts nothing: what is left to the relay on purpose is no attempt.
func (m *Metrics) Skipped(int, string) {}
