package outboxpgx_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
)

func ctx(t testing.TB) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return c
}

func migrated(t testing.TB) *testenv.PG {
	t.Helper()
	pg := testenv.Postgres(t)
	if _, err := migrations.Up(ctx(t), pg.Conn(t), migrations.NewOptions()); err != nil {
		t.Fatal(err)
	}
	return pg
}

func events(n int) []outbox.Event {
	out := make([]outbox.Event, n)
	for i := range out {
		out[i] = outbox.Event{AggregateType: "orders", AggregateID: "o-1", Type: "Counted", Payload: i}
	}
	return out
}

func count(t *testing.T, conn *pgx.Conn) (n int) {
	t.Helper()
	if err := conn.QueryRow(ctx(t), "SELECT count(*) FROM outbox").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// turns counts how often a connection turns from writing to reading: its round trips.
type turns struct {
	net.Conn
	writing atomic.Bool
	n       atomic.Int64
}

func (c *turns) Write(b []byte) (int, error) {
	c.writing.Store(true)
	return c.Conn.Write(b)
}

func (c *turns) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.writing.Swap(false) {
		c.n.Add(1)
	}
	return n, err
}

// Many events take one round trip, once the connection knows the statement; in a batch they take none of their own.
func TestOneRoundTrip(t *testing.T) {
	t.Parallel()
	config, err := pgx.ParseConfig(migrated(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	var wire *turns
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		wire = &turns{Conn: c}
		return wire, err
	}
	conn, err := pgx.ConnectConfig(ctx(t), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	o := outbox.NewOptions()
	plain, err := outboxpgx.NewWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	o.Returning = true
	returning, err := outboxpgx.NewWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := pgx.BeginFunc(ctx(t), conn, func(tx pgx.Tx) error {
		for name, write := range map[string]func(n int) error{
			"Write":                func(n int) error { _, err := outboxpgx.Write(ctx(t), tx, events(n)...); return err },
			"Writer":               func(n int) error { _, err := plain.Write(ctx(t), tx, events(n)...); return err },
			"Writer and Returning": func(n int) error { _, err := returning.Write(ctx(t), tx, events(n)...); return err },
			"Queue beside another statement": func(n int) error {
				b := &pgx.Batch{}
				b.Queue("SELECT 1")
				if _, err := plain.Queue(ctx(t), b, events(n)...); err != nil {
					return err
				}
				return tx.SendBatch(ctx(t), b).Close()
			},
		} {
			for _, n := range []int{1, 500} {
				for _, warm := range []bool{true, false} {
					before := wire.n.Load()
					if err := write(n); err != nil {
						return err
					}
					if trips := wire.n.Load() - before; trips != 1 && !warm {
						t.Errorf("%s of %d events: %d round trips", name, n, trips)
					}
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, want := count(t, conn), 4*2*(1+500); got != want {
		t.Errorf("%d rows, want %d", got, want)
	}
}

// A rolled back transaction leaves nothing, a savepoint that is rolled back nothing of its own.
func TestEventsShareTheTransactionsFate(t *testing.T) {
	t.Parallel()
	conn := migrated(t).Conn(t)
	tx, err := conn.Begin(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outboxpgx.Write(ctx(t), tx, events(2)...); err != nil {
		t.Fatal(err)
	}
	save, err := tx.Begin(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outboxpgx.Write(ctx(t), save, events(3)...); err != nil {
		t.Fatal(err)
	}
	if err := save.Rollback(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if n := count(t, conn); n != 2 {
		t.Errorf("%d rows, want the 2 outside of the savepoint", n)
	}
}

// What a program has registered for jsonb and uuid is for its own values.
func TestOwnCodecsAreNotAsked(t *testing.T) {
	t.Parallel()
	conn := migrated(t).Conn(t)
	for _, typ := range []*pgtype.Type{
		{Name: "jsonb", OID: pgtype.JSONBOID, Codec: &pgtype.JSONBCodec{Marshal: func(any) ([]byte, error) { return nil, errors.New("asked for jsonb") }}},
		{Name: "uuid", OID: pgtype.UUIDOID, Codec: pgtype.BoolCodec{}},
	} {
		conn.TypeMap().RegisterType(typ)
	}
	o := outbox.NewOptions()
	o.Returning = true
	returning, err := outboxpgx.NewWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := pgx.BeginFunc(ctx(t), conn, func(tx pgx.Tx) error {
		for _, n := range []int{1, 3} {
			if _, err := outboxpgx.Write(ctx(t), tx, events(n)...); err != nil {
				return err
			}
			if written, err := returning.Write(ctx(t), tx, events(n)...); err != nil || string(written[n-1].Value) != strconv.Itoa(n-1) {
				return fmt.Errorf("%+v: %w", written, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestQueueRefuses(t *testing.T) {
	t.Parallel()
	o := outbox.NewOptions()
	o.Returning = true
	w, err := outboxpgx.NewWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	b := &pgx.Batch{}
	if _, err := w.Queue(t.Context(), b, events(1)...); err == nil || !strings.Contains(err.Error(), "use Write") {
		t.Errorf("Returning: %v", err)
	}
	if w, err = outboxpgx.NewWriter(outbox.NewOptions()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Queue(t.Context(), b, outbox.Event{}); err == nil || b.Len() != 0 {
		t.Errorf("an invalid event: %v, %d queued", err, b.Len())
	}
	if written, err := w.Queue(t.Context(), b); written != nil || err != nil || b.Len() != 0 {
		t.Errorf("no events: %v, %v, %d queued", written, err, b.Len())
	}
	if _, err := outboxpgx.NewWriter(outbox.Options{}); err == nil || !strings.Contains(err.Error(), "payload type") {
		t.Errorf("options of zeros: %v", err)
	}
}

func TestExampleRuns(t *testing.T) {
	t.Parallel()
	pg := migrated(t)
	conn := pg.Conn(t)
	pg.Exec(t, "CREATE TABLE orders (id text PRIMARY KEY, total numeric)")
	id, err := placeOrder(ctx(t), conn, "o-1", 12)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := conn.QueryRow(ctx(t), "SELECT concat_ws(' ', event_id, aggregate_type, aggregate_id, event_type, payload) FROM outbox").Scan(&got); err != nil {
		t.Fatal(err)
	}
	if want := id + ` orders o-1 OrderPlaced {"id": "o-1", "total": 12}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := placeOrder(ctx(t), conn, "o-1", 12); err == nil || count(t, conn) != 1 {
		t.Errorf("the order is there already: %v, %d events", err, count(t, conn))
	}
}
