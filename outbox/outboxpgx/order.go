package outboxpgx

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// Querier is a *pgxpool.Pool or a *pgx.Conn of the primary.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// OrderCheck asks the database whether an earlier event of a key can be outstanding: an outbox.Optimistic.Order. It needs
// cdc_relay.install_order_check() to have been run by the outbox's owner, and EXECUTE on cdc_relay.order_clear_v1
// (docs/optimistic.md). Safe for concurrent use if its Querier is.
type OrderCheck struct{ q Querier }

// NewOrderCheck returns a check that asks by q, outside any transaction. The caller closes q.
func NewOrderCheck(q Querier) *OrderCheck { return &OrderCheck{q} }

// Clear asks about events in one round trip; see [outbox.OrderCheck].
func (c *OrderCheck) Clear(ctx context.Context, written []outbox.Written) ([]string, error) {
	ids, keys := make([]string, len(written)), make([]string, len(written))
	for i := range written {
		ids[i], keys[i] = written[i].ID, written[i].Key
	}
	var codes string
	if err := c.q.QueryRow(ctx, "SELECT cdc_relay.order_clear_v1($1::text[], $2::text[])", ids, keys).Scan(&codes); err != nil {
		return nil, fmt.Errorf("ask for the order of %d events: %w", len(written), err)
	}
	return strings.Split(codes, ","), nil
}
