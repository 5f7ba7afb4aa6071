// Package connect writes column values as Debezium's Postgres connector and Kafka Connect's converters do.
//
//	            header (SimpleHeaderConverter)   JSON (JsonConverter without schemas)
//	text, uuid  as it is                         string
//	integers    decimal                          number
//	bool        true, false                      true, false
//	numeric     decimal, BigDecimal.toString     base64 of the unscaled value
//	timestamp   microseconds since the epoch     the same, a number
//	timestamptz 2026-01-02T03:04:05.678901Z      string
//	json, jsonb the text                         string
//
// Observed in records of Debezium 3.6.1: as headers integers, bool, numeric, timestamp, timestamptz, jsonb and text; in JSON
// text, null, numeric, timestamp and timestamptz. Concluded from how Java and Kafka Connect write such values, and not yet
// seen beside a real Debezium: integers, bool, uuid and json in JSON; smallint, uuid, char and json as headers; the exponent of
// a numeric below 0.000001; and a timestamptz whose microseconds end in zeros, which are left out.
//
// Any other type is an error, and so is a value that has no such form (NaN, infinity, a year before Christ). Values come in
// Postgres's text form with DateStyle ISO.
package connect
