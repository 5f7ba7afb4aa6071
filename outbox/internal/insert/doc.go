// Package insert holds the SQL by which rows reach the outbox, for all drivers:
//
//	one row     INSERT ... VALUES ($1::uuid, $2::text, ...)
//	many rows   INSERT ... SELECT ... FROM unnest($1::text[], $2::text[], ...)      one text for any number of rows: one plan
//	messages    SELECT cdc_relay.emit_message(event_id => $1::uuid, ...), or emit_messages with arrays
//	returning   WITH e AS (...), w AS (INSERT ... SELECT FROM e) SELECT e.payload::text, e.headers::text
//
// Columns that no row needs (topic, partition_key, headers) are left out: that is most calls, and a tenth of the time. Every value
// is handed over as text (a bytea payload as bytes), which drivers send as it is to a parameter of any type: no driver has to know
// uuid or jsonb, and a program's own codecs do not see it. Arrays are text[] and cast row by row: a pgx with binary arrays is
// faster so, and the planner, which looks into constant arrays, does not parse the payloads twice. RETURNING would need SELECT
// on the outbox, which applications do not have: what is printed comes from a common table expression in its place. A trigger
// that changes rows is not seen in it.
//
// Promises: rows are inserted, and printed, in the order of the parameters.
package insert
