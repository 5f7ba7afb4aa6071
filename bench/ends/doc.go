// Package ends measures what the two ends of the relay cost the programs that they are part of: one file a stage.
//
//	Write        outbox.Write beside a bare INSERT of the same rows
//	Optimistic   commit returned -> consumer, by the relay alone and with optimistic sending beside it
//	Tableless    outbox.Emit beside outbox.Write: what is committed, what that leaves in the WAL, how fast it drains
//	Inbox        claims, batches with and without an inbox, what a claim and a day weigh
//	Runner       from a topic of 8 partitions to effects in the database
//
// Ratios count: both sides of one run in turns, on one server, medians of calls. Optimistic and Tableless have the relay in them.
package ends
