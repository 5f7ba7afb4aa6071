package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// States are the values of the label state of cdc_relay_state; exactly one of them is 1.
var States = []string{"starting", "standby", "streaming", "draining", "stopped"}

// SlotStatuses are the values of the label status of cdc_relay_slot_status (pg_replication_slots.wal_status).
var SlotStatuses = []string{"reserved", "extended", "unreserved", "lost"}

// Relay is the metrics of one relay process.
type Relay struct {
	Registry *prometheus.Registry

	State                *prometheus.GaugeVec
	Healthy              prometheus.Gauge
	PendingEvents        *prometheus.GaugeVec
	LagBytes, LagSeconds *prometheus.GaugeVec
	ConfirmedLSN         *prometheus.GaugeVec
	LastConfirmed        *prometheus.GaugeVec
	SlotRetained         *prometheus.GaugeVec
	SlotSafe             *prometheus.GaugeVec
	SlotStatus           *prometheus.GaugeVec
	Published            *prometheus.CounterVec
	Attempts             prometheus.Counter
	AttemptsFailed       *prometheus.CounterVec
	Rejected             *prometheus.CounterVec
	DeadLetters          prometheus.Gauge
	ParkedKeys           prometheus.Gauge
	PublishSeconds       prometheus.Histogram
	InFlightEvents       prometheus.Gauge
	InFlightBytes        prometheus.Gauge
	BatchEvents          prometheus.Histogram
	Sessions             *prometheus.CounterVec
	Takeovers            *prometheus.CounterVec
}

// New registers the relay's metrics and the Go runtime's in a new registry.
func New(version string) *Relay {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m := &Relay{Registry: r}

	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "cdc_relay_" + name, Help: help})
		r.MustRegister(g)
		return g
	}
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "cdc_relay_" + name, Help: help}, labels)
		r.MustRegister(g)
		return g
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cdc_relay_" + name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "cdc_relay_" + name, Help: help, Buckets: buckets})
		r.MustRegister(h)
		return h
	}

	gauges("build_info", "Always 1; the labels tell the version of the relay and of Go.", "version", "go").
		WithLabelValues(version, runtime.Version()).Set(1)
	m.State = gauges("state", "1 for the state the relay is in, 0 for the others.", "shard", "state")
	m.Healthy = gauge("healthy", "1 when /readyz would say yes.")
	m.PendingEvents = gauges("pending_events", "Events committed and not yet acknowledged: an estimate, set by the owner only.", "shard")
	m.LagBytes = gauges("lag_bytes", "Bytes of WAL between the server's end and the confirmed LSN.", "shard")
	m.LagSeconds = gauges("lag_seconds", "Age of the oldest unacknowledged event; 0 when there is none.", "shard")
	m.ConfirmedLSN = gauges("confirmed_lsn", "The confirmed LSN as a number.", "shard")
	m.LastConfirmed = gauges("last_confirmed_timestamp_seconds", "When the confirmed LSN last moved, in seconds since the epoch.", "shard")
	m.SlotRetained = gauges("slot_retained_wal_bytes", "Bytes of WAL that the slot keeps on the server (WAL end - restart_lsn).", "slot")
	m.SlotSafe = gauges("slot_safe_wal_bytes", "Bytes of WAL that can still be written before the slot may be lost; absent without max_slot_wal_keep_size.", "slot")
	m.SlotStatus = gauges("slot_status", "1 for the slot's wal_status, 0 for the others.", "slot", "status")
	m.Published = counters("events_published_total", "Events acknowledged by the sink.", "topic")
	m.Attempts = prometheus.NewCounter(prometheus.CounterOpts{Name: "cdc_relay_publish_attempts_total", Help: "Batches tried."})
	r.MustRegister(m.Attempts)
	m.AttemptsFailed = counters("publish_attempts_failed_total", "Batches that failed and are tried again, or were refused.", "reason")
	m.Rejected = counters("events_rejected_total", "Events that the sink will never accept.", "topic", "reason")
	m.DeadLetters = gauge("dead_letters", "Dead letters that wait for an operator.")
	m.ParkedKeys = gauge("parked_keys", "Keys whose events are parked.")
	m.PublishSeconds = histogram("publish_duration_seconds", "Time from commit to acknowledgement.", []float64{
		.0005, .00075, .001, .0015, .002, .003, .004, .005, .0075, .01, .015, .02, .03, .05, .075, .1, .15, .2, .3, .5, .75, 1, 2.5, 5, 10, 60, 300,
	})
	m.InFlightEvents = gauge("in_flight_events", "Events handed to the sink and not yet acknowledged.")
	m.InFlightBytes = gauge("in_flight_bytes", "Bytes of the blocks that hold them.")
	m.BatchEvents = histogram("batch_events", "Events in a batch.", prometheus.ExponentialBuckets(1, 2, 14))
	m.Sessions = counters("sessions_total", "Replication sessions that ended, by how.", "result")
	m.Takeovers = counters("takeovers_total", "Times that this relay took the slot after standing by, by why it was free.", "reason")
	return m
}

// SetState makes state the one that is 1.
func (m *Relay) SetState(shard, state string) { setOne(m.State, shard, state, States) }

// SetSlotStatus makes status the one that is 1; "" (unknown) sets all to 0.
func (m *Relay) SetSlotStatus(slot, status string) { setOne(m.SlotStatus, slot, status, SlotStatuses) }

func setOne(g *prometheus.GaugeVec, first, which string, all []string) {
	for _, s := range all {
		v := 0.0
		if s == which {
			v = 1
		}
		g.WithLabelValues(first, s).Set(v)
	}
}
