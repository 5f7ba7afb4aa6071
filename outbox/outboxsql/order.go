package outboxsql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// OrderCheck asks the database whether an earlier event of a key can be outstanding: an outbox.Optimistic.Order. It needs
// cdc_relay.install_order_check() to have been run by the outbox's owner, and EXECUTE on cdc_relay.order_clear_v1
// (docs/optimistic.md). Safe for concurrent use.
type OrderCheck struct{ db *sql.DB }

// NewOrderCheck returns a check that asks by db, which is of the primary. The caller closes db.
func NewOrderCheck(db *sql.DB) *OrderCheck { return &OrderCheck{db} }

// Clear asks about events in one round trip; see [outbox.OrderCheck].
func (c *OrderCheck) Clear(ctx context.Context, written []outbox.Written) ([]string, error) {
	literal := func(of func(*outbox.Written) string) string {
		var b strings.Builder
		b.WriteByte('{')
		for i := range written {
			if i > 0 {
				b.WriteByte(',')
			}
			appendQuoted(&b, of(&written[i]))
		}
		b.WriteByte('}')
		return b.String()
	}
	ids, keys := literal(func(w *outbox.Written) string { return w.ID }), literal(func(w *outbox.Written) string { return w.Key })
	var codes string
	if err := c.db.QueryRowContext(ctx, "SELECT cdc_relay.order_clear_v1($1::text::text[], $2::text::text[])", ids, keys).Scan(&codes); err != nil {
		return nil, fmt.Errorf("ask for the order of %d events: %w", len(written), err)
	}
	return strings.Split(codes, ","), nil
}
