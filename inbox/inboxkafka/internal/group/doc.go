// Package group is membership in a consumer group of Kafka, for package inboxkafka, on kafka-go's ConsumerGroup.
//
//	Run ── Next ──> Generation ──> work(ctx, assignment) in the generation's one function
//	                    │               │ ctx ends: rebalance, lost coordinator, new partitions, Run's end
//	                    │               └─ returns within the grace, or is left behind (its hard context ends)
//	                    └── heartbeat goes on beside it until work has returned
//
// Promises:
//
//  1. work runs once a generation, and never twice at once; what it leaves behind has had its hard context cancelled.
//  2. The generation's function returns within a third of the session time-out after the generation's end, whatever work does
//     (a quarter for it to finish, then its hard context ends): kafka-go waits without limit, and would miss the next one.
//  3. Only a changed number of partitions ends a generation from this side. kafka-go's own watcher is not used: it ends the
//     generation at once while a topic is missing, and joins again without a pause.
//  4. At the end of Run's context work ends first, under heartbeats, and then the group is left.
//  5. Whatever a broker answers to a join is tried again, but for what only a configuration can mend.
//
// It does not read records, and keeps no offsets.
package group
