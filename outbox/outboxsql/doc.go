// Package outboxsql writes events by database/sql, inside the caller's transaction. It imports no driver; lib/pq and pgx's stdlib
// are those that it is tested with.
//
//	Write    one INSERT with the default options
//	Writer   the same with other options
//
// Promises: those of package outbox; one statement for any number of events; only INSERT on the table is needed, with
// Options.Returning too. How many round trips a statement takes is the driver's: pgx's stdlib one, once it has prepared it;
// lib/pq two, or one with binary_parameters=yes.
//
// It does not begin, commit or retry.
package outboxsql
