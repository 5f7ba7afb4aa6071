// Package outboxkafka publishes optimistic records to Kafka: an outbox.Optimistic.Sink.
//
//	sink, err := outboxkafka.Open(outboxkafka.NewConfig("kafka:9092"))
//	defer sink.Close()
//	sender, err := outbox.NewOptimistic(sink).Sender()
//
// Promises:
//
//  1. A record is stored when all in-sync replicas hold it (acks=all), in the partition that the relay chooses for its key
//     (murmur2, as Java's clients).
//  2. A record is sent once. No error is answered by a second try, so there is nothing that an idempotent producer would have to
//     sort out: what failed is the relay's, whose copy comes anyway. A request that timed out may still arrive: late, as a repeat.
//  3. Nothing is queued. A call lasts as long as its context at most, and a broker that is away costs no memory.
//  4. Records of one call that share a partition are stored together and in order, or not at all.
//
// Not done here: creating topics, retries, transactions. The topics must be those of the relay's own cluster. It needs kafka-go,
// and nothing of the relay's machinery.
package outboxkafka
