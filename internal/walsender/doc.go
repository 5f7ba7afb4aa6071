// Package walsender is a Postgres that does nothing but logical replication, in memory, for tests: the walsender's side of
// the wire over net.Pipe, so that it works inside a testing/synctest bubble, in virtual time.
//
//	srv := walsender.New(walsender.Config{})
//	defer srv.Close()
//	srv.CreateSlot("cdc_relay")
//	srv.Commit(walsender.OutboxRow(rel, 1, "order-7", `{"n":1}`))     one transaction; returns its LSNs
//	cfg := replication.NewConfig(srv.Conn, "cdc_relay", "cdc_relay")  and Connect, Start, Next, ...
//	srv.Statuses()                                                    every status that arrived, in order
//
// What it keeps, as Postgres does:
//
//  1. Transactions are sent whole, in commit order: Begin with the commit LSN, Relation before the first row of a stream,
//     Insert, Commit with both LSNs; protocol version 1. A logical message for those who ask (Row.Tableless), with the LSN
//     where its record ends, and behind the row that begins there when it is of a subtransaction.
//  2. A stream starts with the first transaction whose commit LSN is at or after the larger of START_REPLICATION's LSN and
//     the slot's confirmed_flush. What a status confirms moves the slot, never back.
//  3. Crash forgets confirmed_flush back to the last Checkpoint; Restart is a clean one and forgets nothing.
//  4. A slot has one owner: another START_REPLICATION gets 55006 with the owner's process id.
//  5. wal_sender_timeout of the connection: a keepalive that asks for a reply at its half, the end of the connection when
//     nothing came. A keepalive also follows WAL that was none of ours (AdvanceWAL), and answers a status that asks.
//  6. While the client does not read, writes block (net.Pipe has no buffer at all), and statuses are read all the same.
//
// Faults: Cut, Fail, FailNext, Down, Freeze, Mute, NotReading, Trickle, CutAfter, HoldSlots,
// Invalidate, DropSlot, Crash, Restart.
//
// What it does not do: SQL, TLS, SCRAM, snapshots, large transactions in pieces of WAL, publications (all rows of a
// committed transaction are sent), two-phase commit. Every goroutine ends with its connection; Close ends all of them.
package walsender
