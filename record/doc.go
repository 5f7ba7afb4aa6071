// Package record says what one outbox row looks like on the wire: its key, its value, its headers and its topic.
//
//	Row (column values, position)  -- Encoder -->  Record (key, value, headers, partition)
//	                               -- Router  -->  topic
//
// A Format is chosen once, from Options. It is bound to the columns of a relation (Format.Bind), and the Encoder that comes
// out appends records to a buffer of the caller.
//
// Formats:
//
//	plain                   value = payload; headers event_id event_type aggregate_type aggregate_id, the row's, the position
//	cloudevents             CloudEvents 1.0, Kafka binding, binary mode: ce_ headers, value = payload
//	cloudevents-structured  CloudEvents 1.0, JSON envelope as the value; a null payload stays a tombstone, in binary mode
//	debezium                what Debezium's outbox event router writes with string, binary or schemaless JSON converters
//
// The position stands behind everything else, in every format: cdc-source, cdc-source-prev (for some time after a change of
// timeline), cdc-lsn (commit LSN, 16 hex digits), cdc-index (decimal).
//
// The row's own headers (a JSON object) follow those of the format in the order of their text: a string as it is, anything
// else as its JSON text. They never overwrite a name of the relay: event_id, event_type, aggregate_type, aggregate_id,
// whatever begins with cdc- or ce_, in the CloudEvents formats content-type (its string value becomes the event's own
// content type), in format debezium id, whatever begins with __debezium. and the names that additional placements write.
// A header with such a name is left out. Names are compared byte by byte: Event_Id is not event_id.
//
// Promises: the same row at the same position gives the same bytes (I9); `plain` does not allocate; what Append returns
// does not point into the row. A row that can be read and not be published (no event id, headers that are no object) gives a
// Record that says so in Refused, never an error.
//
// Not done here: choosing the partition from the key, the record's timestamp, batches, compression. Debezium's schemas
// (JsonConverter with schemas, Avro), table.expand.json.payload, table.field.event.timestamp and
// table.field.event.schema.version are refused when the Format is made.
package record
