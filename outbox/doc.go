// Package outbox writes events into the outbox table, inside the transaction that changes the data they speak of.
//
//	tx := BEGIN
//	  UPDATE orders ...
//	  outboxpgx.Write(ctx, tx, outbox.Event{...}, ...)   one INSERT, one round trip, however many events
//	COMMIT  ──▶ the relay publishes them, in this order
//
// This package says what an event is, checks it, encodes it and gives it an id. What speaks to a driver stands beside it, so
// that a program links what it uses:
//
//	outboxpgx    pgx.Tx
//	outboxsql    *sql.Tx, with lib/pq or pgx's stdlib driver
//	outboxkafka  Kafka as the sink of optimistic sending, the way past the relay that docs/optimistic.md is about
//	outboxprom   its metrics for Prometheus
//	outboxotel   traceparent and tracestate of an OpenTelemetry span, as an option
//
// Programs in other languages call the SQL function cdc_relay.emit, which does the same: docs/applications.md.
//
// Promises:
//
//  1. An event takes effect if and only if the caller's transaction commits. Nothing here commits, rolls back or opens one.
//  2. What Postgres or the relay would refuse or leave out is an error before the database sees it, and the transaction is
//     still good: all mistakes of all events at once, each an [InvalidError] that says which event. Two things only the
//     database can see: a number in jsonb that numeric cannot hold, and a payload whose printed form alone passes the bound.
//  3. Events of one call are published in the order of its arguments, as far as they share a topic and a key.
//  4. An event without an id is given a UUIDv7, handed back in [Written]; ids of one process rise.
//
// Order between transactions is what the database makes of it: two transactions that write events of one key must not run side
// by side (lock the aggregate first), or whichever commits first is published first.
//
// Not done here: retries, transactions, and publishing but for [Optimistic]. The package needs the standard library only.
package outbox
