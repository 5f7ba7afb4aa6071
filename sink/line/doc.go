// Package line writes an event as one line of JSON, as sink/stdout and sink/file do, and reads it back.
//
//	{"topic":"orders","key":"42","value":"{\"total\": 10}","headers":[["event_id","0198..."],["event_type","Placed"]],
//	 "partition":null,"timestamp":"2026-03-01T12:00:00.123456Z","position":"0/16B3748/3"}
//
// (on one line), with these rules:
//
//   - key and value are the bytes of the record as a string: a value that is JSON stands in it quoted, not embedded, so
//     that no reader changes a byte of it. null is a null key, a tombstone.
//   - Bytes that are not UTF-8 stand as base64 (RFC 4648, with padding) in key_base64 or value_base64, and the plain
//     field is missing.
//   - headers keep their order and what is repeated. A header is [name, value]; where either is not UTF-8 it is
//     [name, value, name_base64, value_base64] with null in the place of what stands in the other form.
//   - partition is the number that the row asked for, null when the key decides.
//   - timestamp is the commit time, in UTC to the microsecond. position is LSN/index, as `skip --position` takes it.
//
// Fields come in this order; later versions only add some. The same event always gives the same bytes (I9). It promises
// nothing about delivery: that is the sinks' part.
package line
