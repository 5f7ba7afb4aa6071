// Package partitions takes care of outbox tables: makes days ahead, brings rows home from the default partition, and drops
// days that are published and old enough. It speaks to the functions of migrations/sql/004_partitions.sql.
//
//	Maintain -> make     today ... today+Premake       CREATE and ATTACH in one transaction
//	         -> move     days that were missed         out of the default partition, when those days are over
//	         -> retire   days older than Keep          found -> waiting for snapshots -> waiting for the mark -> dropped
//	         -> delete   rows of a plain table, when asked
//
// Promises:
//  1. An insert waits behind us for LockTimeout, and HoldTimeout at the very most: what cannot be had in that time is left
//     for the next call.
//  2. Moved rows are not published again.
//  3. A partition is dropped only when Keep has passed, no snapshot or transaction from before the decision is open, and
//     the mark of every slot has passed a WAL position read after that (I10). Rows written to it since begin the wait anew.
//  4. Days are UTC, whatever the zone of server and session.
//  5. Nobody but the slot's owner, or an operator's verb, changes anything (ErrFenced).
//
// An INSERT that has chosen the default partition, and finds its day attached once it has the lock, fails with a check
// violation. So a day whose rows are going to the default partition right now is left alone until it is over and Settle has
// passed; days ahead are attached meanwhile. What remains is a transaction that began longer than Settle before the move,
// or sets created_at itself to a missed day, and inserts at the very moment of the move.
//
// It does not schedule itself, and does not share a connection with the mark: a move may take as long as copying the rows.
package partitions
