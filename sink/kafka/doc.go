// Package kafka delivers events to Kafka: ordered by key, once each as long as the process lives, without kafka-go's Writer.
//
//	Publish -> lane (a partition's queue of events)            sink.go, topic.go
//	        -> broker's writer: seals batches of many lanes    broker.go, lane.go, batch/
//	           into one produce request                        wire/
//	        -> broker's reader: acks, or rewinds the lane      answer.go
//	keeper: metadata, producer ids, missing topics             keeper.go
//
// Goroutines: one keeper, and for each broker a writer and, while connected, a reader. None for a partition or an event.
//
// Promises:
//   - Order (I2). Events of a lane are sealed in order. At most 5 batches stand between the first unacknowledged one and
//     the last one sent (what a broker remembers of a producer), one until a partition has acknowledged this producer.
//     Every batch carries producer id, epoch and sequence: what a broker received twice it keeps once (KIP-98), and a
//     request that a broken connection left behind cannot overtake.
//   - Sealed bytes do not change (I9): after an error the lane waits until nothing of it is under way, then sends the same
//     bytes from the first unacknowledged batch on, one until that is acknowledged. Only where the broker has certainly
//     not stored them (it refused the batch, or lost the producer's state) are the events behind it sealed anew, under a
//     higher epoch, so that no old copy fits the sequence any more.
//   - Retries have no end. An event is rejected only for what is its own fault, once a batch of it alone was refused.
//   - Bounded (I8). Events wait as pointers; bytes exist for what is on the wire only.
//   - No linger at the live edge. Events that are late already may wait a few milliseconds for company.
//
// The partition is the event's own, else murmur2 of the key as Java's clients do, else, for a null key, murmur2 of the
// event id: the same event always goes to the same partition. The number of partitions is followed when it grows; the order
// of a key is not promised while it does.
//
// With acks other than all there is no idempotence: one batch of a lane at a time, and a fault can repeat or swap a suffix.
//
// It does not remember anything across restarts: a new process may repeat what the old one could not confirm.
package kafka
