// Package outboxpgx writes events by pgx, inside the caller's transaction.
//
//	Write          one INSERT with the default options
//	Writer         the same with other options
//	Writer.Queue   the INSERT as a part of the caller's own pgx.Batch: no round trip of its own
//
// Promises: those of package outbox; one round trip for any number of events (one more when a connection sees a statement for
// the first time, by which pgx prepares it); every QueryExecMode works, those for PgBouncer among them; only INSERT on the
// table is needed, with Options.Returning too.
//
// It does not begin, commit or retry.
package outboxpgx
