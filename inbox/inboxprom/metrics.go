package inboxprom

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// other is the event type of all that are not listed.
const other = "other"

// Metrics is an inbox.Metrics. It may be used by several goroutines, and by several consumers.
type Metrics struct {
	inbox.NoMetrics

	types                          map[string]bool
	processed, duplicates, retries *prometheus.CounterVec
	duration, age                  *prometheus.HistogramVec
	deadLetters, lag               *prometheus.GaugeVec
}

// New registers the metrics. eventTypes are the values that the label event_type may take. The error is the registry's: a name that
// is taken.
func New(registry prometheus.Registerer, eventTypes ...string) (*Metrics, error) {
	byType, byName := []string{"consumer_name", "event_type"}, []string{"consumer_name"}
	counter := func(name, help string, labels []string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "consumer_inbox_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels []string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "consumer_inbox_" + name, Help: help}, labels)
	}
	m := &Metrics{
		types:      map[string]bool{},
		processed:  counter("processed_total", "Events whose effect was committed.", byType),
		duplicates: counter("duplicates_total", "Deliveries of events that had taken effect.", byType),
		retries:    counter("retries_total", "What is tried again.", []string{"consumer_name", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "consumer_inbox_processing_duration_seconds", Help: "Begin of the transaction to its end.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}, byType),
		age: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "consumer_inbox_event_age_seconds", Help: "Time of the record to its effect.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 15),
		}, byName),
		deadLetters: gauge("dead_letters", "Dead letters, and messages that wait behind them.", byName),
		lag:         gauge("lag_messages", "Messages of the partition that are not finished.", []string{"consumer_name", "topic", "partition"}),
	}
	for _, t := range eventTypes {
		m.types[t] = true
	}
	for _, c := range []prometheus.Collector{m.processed, m.duplicates, m.retries, m.duration, m.age, m.deadLetters, m.lag} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) label(eventType string) string {
	if m.types[eventType] {
		return eventType
	}
	return other
}

// Processed is that of inbox.Metrics.
func (m *Metrics) Processed(consumer, eventType string, took time.Duration) {
	t := m.label(eventType)
	m.processed.WithLabelValues(consumer, t).Inc()
	m.duration.WithLabelValues(consumer, t).Observe(took.Seconds())
}

// Duplicate is that of inbox.Metrics.
func (m *Metrics) Duplicate(consumer, eventType string) {
	m.duplicates.WithLabelValues(consumer, m.label(eventType)).Inc()
}

// Retry is that of inbox.Metrics.
func (m *Metrics) Retry(consumer, reason string) { m.retries.WithLabelValues(consumer, reason).Inc() }

// DeadLetters is that of inbox.Metrics.
func (m *Metrics) DeadLetters(consumer string, n int) {
	m.deadLetters.WithLabelValues(consumer).Set(float64(n))
}

// Lag is that of inbox.Metrics.
func (m *Metrics) Lag(consumer, topic string, partition int32, messages int64) {
	m.lag.WithLabelValues(consumer, topic, strconv.Itoa(int(partition))).Set(float64(messages))
}

// EventAge is that of inbox.Metrics.
func (m *Metrics) EventAge(consumer string, age time.Duration) {
	m.age.WithLabelValues(consumer).Observe(age.Seconds())
}
