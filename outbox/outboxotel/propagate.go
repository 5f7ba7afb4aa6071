package outboxotel

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// TraceContext returns the headers of W3C Trace Context: traceparent, and tracestate where there is one; nothing when the
// context holds no span. It is an outbox.Options.ContextHeaders.
func TraceContext(ctx context.Context) map[string]string {
	return headers(ctx, propagation.TraceContext{})
}

// Propagate returns an outbox.Options.ContextHeaders that asks a propagator of the program's own: otel.GetTextMapPropagator(),
// baggage, B3.
func Propagate(p propagation.TextMapPropagator) func(context.Context) map[string]string {
	return func(ctx context.Context) map[string]string { return headers(ctx, p) }
}

func headers(ctx context.Context, p propagation.TextMapPropagator) map[string]string {
	carrier := propagation.MapCarrier{}
	p.Inject(ctx, carrier)
	return carrier
}
