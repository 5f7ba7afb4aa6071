// Package inbox makes each event take effect once in a consumer's own database, however often it is delivered.
//
//	message ──▶ Process ──▶ BEGIN ─ claim the id ─ handler ─ COMMIT       Processed
//	                          │        └ known already                    Duplicate
//	                          │        └ its key is parked                Parked: waits in the dead-letter table, in order
//	                          └ the handler says Permanent                DeadLettered: rolled back, then claim and letter in one
//
// The claim and what the handler writes stand in one transaction of one database. A claim that is committed is an effect that
// is committed; there is nothing between them to be killed in.
//
// The parts:
//
//	Message      one delivery: key, value, headers; Decode reads id, type and position, whatever the relay's format
//	Process      owns the transaction; Processor is the same with options, batches, dead letters and the high-water mark
//	Handler      what the consumer does; JSON and Mux make typed ones; Permanent, RetryAfter and Skip are its words
//	Store        what is remembered: claims, dead letters, parked keys, positions, marks. inboxpgx (pgx), inboxsql (database/sql)
//	             and inboxtest (memory, for tests) have it
//
// Promises:
//
//  1. The handler's effects in the transaction are committed at most once for each (consumer, event id), for as long as the claim
//     is kept (8 days by default) and the position of the partition after that.
//  2. The second of two concurrent copies waits for the first, and then knows what became of it.
//  3. A lost answer to COMMIT does not double an effect: the transaction is tried again, and the claim tells.
//  4. A later event of a parked key does not overtake the earlier one.
//  5. What is wrong with the database is never held against a message.
//
// Not done here: fetching from Kafka, retries with back-off and the order of partitions (package inboxkafka), effects outside of
// the handler's transaction. An email that a handler sends is sent again when its transaction is.
//
// The package needs the standard library only.
package inbox
