package outboxotel_test

import (
	"context"
	"fmt"
	"testing"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxotel"
)

const (
	parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	state  = "vendor=x"
)

// span is what a tracer would have put into the context.
func span() trace.SpanContext {
	traceID, _ := trace.TraceIDFromHex(parent[3:35])
	spanID, _ := trace.SpanIDFromHex(parent[36:52])
	s, _ := trace.ParseTraceState(state)
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled, TraceState: s})
}

// What the context's span says stands in the event's headers; without a span there are none.
func TestTheSpanBecomesHeaders(t *testing.T) {
	t.Parallel()
	ctx := trace.ContextWithSpanContext(t.Context(), span())
	member, err := baggage.NewMember("tenant", "a")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	ctx = baggage.ContextWithBaggage(ctx, bag)
	event := outbox.Event{AggregateType: "orders", AggregateID: "o-1", Type: "OrderCreated"}
	o := outbox.NewOptions()
	for _, c := range []struct {
		name string
		set  func()
		want string
	}{
		{"TraceContext", func() { o.ContextHeaders = outboxotel.TraceContext }, `{"traceparent":"` + parent + `","tracestate":"` + state + `"}`},
		{"Propagate", func() { o.ContextHeaders = outboxotel.Propagate(propagation.Baggage{}) }, `{"baggage":"tenant=a"}`},
	} {
		c.set()
		rows, err := o.Rows(ctx, []outbox.Event{event})
		if err != nil || string(rows[0].Headers) != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.name, rows[0].Headers, err, c.want)
		}
		if rows, err = o.Rows(t.Context(), []outbox.Event{event}); err != nil || string(rows[0].Headers) != "{}" {
			t.Errorf("%s without a span: got %s, %v", c.name, rows[0].Headers, err)
		}
	}
}

func ExampleTraceContext() {
	ctx := trace.ContextWithSpanContext(context.Background(), span()) // a tracer does that
	o := outbox.NewOptions()
	o.ContextHeaders = outboxotel.TraceContext
	rows, _ := o.Rows(ctx, []outbox.Event{{AggregateType: "orders", AggregateID: "o-1", Type: "OrderCreated"}})
	fmt.Println(string(rows[0].Headers))
	// Output: {"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","tracestate":"vendor=x"}
}
