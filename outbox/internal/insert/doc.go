// Package insert holds the SQL by which rows reach the outbox, for all drivers:
//
//	one row     INSERT ... VALUES ($1::text::uuid, $2, ...)
//	many rows   INSERT ... SELECT ... FROM unnest($1::text[], $2::text[], ...)      one text for any number of rows: one plan
//	messages    SELECT count(cdc_relay.emit_message(event_id => e.event_id, ...)) FROM (VALUES or unnest as above) AS e
//	returning   WITH e AS (...), w AS (INSERT ... SELECT FROM e) SELECT e.payload::text, e.headers::text
//
// Columns that no row needs (topic, partition_key, headers) are left out: that is most calls, and a tenth of the time. Parameters
// are texts and cast in the statement, so that no driver has to know uuid or jsonb, nor a program's own codecs get to see them;
// a bytea payload is bytea. RETURNING would need SELECT on the outbox, which applications do not have: what is printed comes from
// a common table expression in its place. A trigger that changes rows is not seen in it.
//
// Promises: rows are inserted, and printed, in the order of the parameters.
package insert
