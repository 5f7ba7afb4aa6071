// Package inboxkafka runs an inbox over topics of Kafka: each event takes effect once in the consumer's database, in the order
// of its key, whatever is killed, rebalanced, reset or delivered twice.
//
//	             ┌─ group membership (kafka-go) ── a generation: which partitions are ours
//	Run(ctx) ────┤
//	             └─ reader: one request a leader for all partitions that have room
//	                  │ feed                │ feed                        a generation's goroutines:
//	                  ▼                     ▼
//	             partition 0           partition 1 ...                    one a partition: read, batch, transaction
//	                  │                     │   └ by key: workers         and one a worker, when Workers > 1
//	                  ▼                     ▼
//	             inbox: BEGIN claim handler COMMIT                        in a goroutine of its own, so that it may be left behind
//	                  │ watermark
//	                  ▼
//	             flusher ── each second ──▶ database ── each 5 s ──▶ Kafka's offsets (a hint)
//	             player  ── verdict on a dead letter ──▶ inbox
//
// Promises:
//
//  1. The database is the truth. A partition is read from the larger of its watermark there and Kafka's offset; a position that
//     was set back in Kafka repeats nothing, one that was set forward skips. At the first contact it begins at Kafka's offset or,
//     without one, where Config.Start says.
//  2. The watermark never passes a message that is not settled: handled, known, or put aside in the database.
//  3. A message that fails is tried again in its place, with back-off; only its partition waits. Its tries are counted in the
//     database and survive a restart. When the database or the network fails, nothing is counted.
//  4. A message that cannot be handled is put aside as Config.Inbox.Poison says, by default with its key, so that later events of
//     the key wait and others flow. What cannot be decoded is put aside too, and holds up nothing.
//  5. A message that kills the process is found: after an end that was not clean, messages go one by one, with the try
//     counted first.
//  6. When the group rebalances, work under way is finished, or rolled back within a third of the session time-out. A handler
//     that hangs gets its context ended, and is left behind with its connection closed.
//  7. No partition's error ends another one, or Run.
//  8. Memory is bounded by Config.BufferBytes and one record batch a partition, whatever the lag.
//  9. Dead letters with the verdict retry are played by the member that owns the partition, in the order of their key.
//
// What was deleted before it was read is reported, and the partition goes on behind the hole. A position beyond the log's end
// (the topic was made anew) halts the partition.
//
// Not promised: order across partitions, or of messages without a key; anything for effects outside of the transaction.
package inboxkafka
