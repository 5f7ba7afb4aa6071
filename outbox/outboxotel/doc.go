// Package outboxotel takes the headers of events from OpenTelemetry: what a span of the writing application says becomes headers
// of the record, and the consumer's spans join the same trace.
//
//	o := outbox.NewOptions()
//	o.ContextHeaders = outboxotel.TraceContext
//
// It writes no spans of its own, and it is the one package here that needs OpenTelemetry.
package outboxotel
