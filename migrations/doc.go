// Package migrations makes what the relay needs inside the source database: the outbox, the mark of each slot, dead letters,
// the care of partitions, the publication and the relay role's rights.
//
//	sql/001_outbox.sql      outbox, its sequence, uuid v7, first partitions
//	sql/002_checkpoint.sql  the mark and the functions that read and write it; the number of this protocol
//	sql/003_dead_letter.sql dead letters and parked keys
//	sql/004_partitions.sql  premade days, retention
//	sql/005_publication.sql the publication (the slot is made by the first `run`: a transaction that has written cannot make one)
//	sql/006_grants.sql      the relay's role and what it may do; run again at the end of every Up, it changes only what differs
//	sql/007_emit.sql        cdc_relay.emit, by which applications in any language write an event
//	sql/008_messages.sql    cdc_relay.emit_message, which needs no table, and when such events are published
//	sql/009_order.sql       may an application publish an event itself, or is an earlier one of its key under way?
//
// The files are text/template documents. Their data is a [Data]; its names print themselves as quoted identifiers, so that
// {{.Outbox}} and {{.RelayRole}} can stand where SQL wants a name, and {{literal .RelayRole}} where it wants a string.
// A file may look at the server's version only when it runs (DO ... EXECUTE), because Print does not know the server.
//
// Promises: each file runs in one transaction with its entry in cdc_relay.schema_version, so an interrupted Up is repeated as
// if it had not been; two at once wait for each other (advisory locks); a second Up changes nothing; nothing is ever dropped
// or migrated down, and an older binary leaves a newer schema alone. Every statement can also be run twice, for people who
// feed the output of Print to a tool of their own.
//
// It does not make slots, set passwords, or change an outbox or a publication that exists and is not what we would have made:
// it stops and says what differs.
package migrations
