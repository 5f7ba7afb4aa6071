// Package decoder turns the messages of a pgoutput slot into committed outbox events.
//
//	Begin      opens a transaction                      Kind Begin
//	Relation   names a table, its columns, their types  Nothing
//	Insert     one row                                  Inserted; Nothing when the table is not configured, or skipped
//	Commit     closes the transaction                   Committed
//	Message    a logical message                        Inserted when it is ours and messages are on; Nothing else
//	Update, Delete, Truncate, Origin, Type              Nothing: known, and no events
//
// It reads protocol version 1 (Postgres manual, chapter "Logical Replication Message Formats"), which sends only what has
// committed, so a row is an event at once and a transaction is never gathered: memory does not depend on its size.
//
// Promises:
//
//   - Position.Index counts every Insert of a transaction before any configuration is applied, those of other tables too, and
//     every message of ours where the transaction lies in a Span: inserts and messages share one order. It means the same
//     after a restart with other settings (Hash).
//   - A row's bytes are copied once, into a block that its neighbours share; events own their memory, and nobody writes to it
//     again. A message belongs to the caller and is read during Decode only.
//   - No allocation for each event in format plain: a block is made for some 256 events or 64 KiB.
//   - What cannot be decoded is a *DecodeError with LSN, relation, column and a cure (I7), never a skipped row. After it the
//     decoder is of no more use: begin a new session. A row that is readable and not publishable is an event with Refused.
//   - A Decoder shares nothing with others.
//
// Relations are told apart by the OID in the Insert: with publish_via_partition_root the root's Relation and the leaf's both
// come before the row. Each Relation replaces what was known, so rows have the columns of their time. A table that is not
// configured is ignored by name, and counted (Ignored).
//
// Not done here: reading the connection, acks, LSNs to confirm, streamed or two-phase transactions (protocol 2 and up).
package decoder
