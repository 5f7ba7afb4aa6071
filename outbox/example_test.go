package outbox_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// Rows checks and encodes events for a driver that has no package here.
func ExampleOptions_Rows() {
	ctx := outbox.WithTrace(context.Background(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "")
	rows, err := outbox.NewOptions().Rows(ctx, []outbox.Event{{
		ID:            "01890a5d-ac96-774b-bcce-b302099a8057",
		AggregateType: "orders",
		AggregateID:   "o-1",
		Type:          "OrderCreated",
		Payload:       map[string]any{"total": 12.3},
	}})
	fmt.Println(string(rows[0].Payload), string(rows[0].Headers), err)
	// Output: {"total":12.3} {"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"} <nil>
}

// All mistakes of all events come at once; each says which event it is in.
func ExampleInvalidError() {
	_, err := outbox.NewOptions().Rows(context.Background(), []outbox.Event{
		{AggregateType: "orders", AggregateID: "o-1", Type: "OrderCreated", Payload: []byte("{")},
		{AggregateType: "orders", AggregateID: "o-1", Headers: map[string]any{"cdc-lsn": "0"}},
	})
	fmt.Println(err)
	var first *outbox.InvalidError
	fmt.Println(errors.As(err, &first), first.Index, first.Field)
	// Output:
	// event 0: payload: no JSON, and the table's payload is jsonb
	// event 1: type: empty, and it is required
	// event 1: header "cdc-lsn": names that begin with cdc- are the relay's own
	// true 0 payload
}
