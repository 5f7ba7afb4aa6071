// Package outboxprom counts optimistic sends for Prometheus: an outbox.Optimistic.Observer.
//
//	outbox_optimistic_send_attempts_total             events that were to be sent
//	outbox_optimistic_send_success_total              of those, stored
//	outbox_optimistic_send_failures_total{reason}     of those, left to the relay by an accident; reasons: outbox.OptimisticFailures
//	outbox_optimistic_send_latency_seconds            from Send to the broker's answer, for each call that stored something
//
// What is left to the relay on purpose (switched off, an earlier event of the key under way) is no attempt, and has no metric.
package outboxprom
