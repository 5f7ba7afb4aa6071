// Package fetch reads partitions of Kafka, outside of any group, for package inboxkafka.
//
//	Reader ──plan──> one Fetch request a leader, with all of its partitions that have room ──> brokers
//	   ^                                                                                         │
//	   └── Feed (a partition): raw record batches, bounded ◄── answer, cut by partition ◄────────┘
//	          └── Next: decodes, batch by batch, in the goroutine of who reads
//
// Requests go through kafka-go's Transport (leaders, connections, TLS, SASL); their answers are read from the connection by
// this package, because kafka-go's reader of records hides how far a batch reaches and allocates for each record.
//
// Promises:
//
//  1. Records of a feed come in the order of their offsets, each once, from the offset that was asked for.
//  2. Only what is committed: control batches and records of aborted transactions are left out.
//  3. The position goes on by batch. What ends with a marker, an aborted transaction or a hole that compaction left is
//     passed, so that a feed that has seen all stands at the end of its log.
//  4. At most about Config.BufferBytes lie in memory for all feeds together, and one batch for each. A feed that nobody
//     reads holds back itself alone.
//  5. Every error of a broker is retried, but for two: an offset before the log's first (HoleError, and the feed goes on from
//     there) and one beyond its end (BeyondEndError, and the feed ends).
//  6. What cannot be decoded is handed out as it is, with the reason, and passed.
//
// Memory: a record's bytes are slices of what was read. Nobody writes to them, and they are free when nobody holds them.
//
// It knows nothing of groups, of committed offsets, and of what a record means.
package fetch
