// Package batch encodes events as record batches of Kafka's message format v2 (KIP-98; layout: Kafka documentation,
// "Record Batch").
//
//	size | base offset, length, leader epoch, magic | crc | attributes ... producer id, epoch, sequence, count | records
//	4      17                                         4     40                                                   compressed as one block
//
// Promises: one record for one event, in order; key, value and headers byte for byte, a nil key or value as null; the
// timestamp is the commit time in milliseconds; the same events with the same Producer and Codec give the same bytes.
// An Encoder allocates nothing once its buffers have grown.
//
// It does not decide what goes into a batch, nor read batches.
package batch
