// Package partitions takes care of outbox tables: makes days ahead, brings rows home from the default partition, and drops
// days that are published and old enough. It speaks to the functions of migrations/sql/004_partitions.sql.
//
//	Maintain -> make     today ... today+Premake       CREATE and ATTACH in one transaction
//	         -> move     days that were missed         out of the default partition, when those days are over
//	         -> retire   days older than Keep          found -> waiting for snapshots -> waiting for the mark -> dropped
//	         -> delete   rows of a plain table, when asked
//
// Promises:
//  1. An insert never waits behind us for longer than LockTimeout (HoldTimeout for rows that have no partition of their
//     own), and never fails because of us: what cannot be locked in that time is left for the next call.
//  2. Moved rows are not published again.
//  3. A partition is dropped only when Keep has passed, no snapshot or transaction from before the decision is open, and
//     the mark of every slot has passed a WAL position read after that (I10). Rows written to it since begin the wait anew.
//  4. Days are UTC, whatever the zone of server and session.
//  5. Nobody but the slot's owner, or an operator's verb, changes anything (ErrFenced).
//
// A day whose rows are going to the default partition right now is left alone until it is over: an INSERT that is on its
// way to the default partition while its day is attached would fail. Days ahead are attached meanwhile.
//
// It does not schedule itself, and does not share a connection with the mark: a move may take as long as copying the rows.
package partitions
