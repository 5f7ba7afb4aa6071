package outboxprom

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// The names are a contract with people's alerts: OptimisticSendHighFailureRate divides two of them.
func TestNamesAndReasons(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	m, err := New(registry)
	if err != nil {
		t.Fatal(err)
	}
	var _ outbox.OptimisticObserver = m
	m.Attempted(3)
	m.Succeeded(2, time.Millisecond)
	m.Failed(1, outbox.FailedTimeout)
	m.Skipped(7, outbox.SkippedOrder)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names, reasons []string
	for _, f := range families {
		names = append(names, f.GetName())
		for _, metric := range f.GetMetric() {
			for _, l := range metric.GetLabel() {
				reasons = append(reasons, l.GetValue())
			}
			if c := metric.GetCounter(); c != nil && f.GetName() == "outbox_optimistic_send_attempts_total" && c.GetValue() != 3 {
				t.Errorf("attempts: got %v, want 3", c.GetValue())
			}
		}
	}
	if got, want := strings.Join(names, " "), "outbox_optimistic_send_attempts_total outbox_optimistic_send_failures_total outbox_optimistic_send_latency_seconds outbox_optimistic_send_success_total"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want := outbox.OptimisticFailures()
	slices.Sort(want)
	if !slices.Equal(reasons, want) {
		t.Errorf("reasons: got %v, want %v", reasons, want)
	}
	if _, err := New(registry); err == nil {
		t.Error("a second registration went through")
	}
}
