// Package deadletter keeps the events that a destination refuses for good, in the source database: tables
// cdc_relay.dead_letter and cdc_relay.parked_key, through the functions of migrations/sql/003_dead_letter.sql.
//
//	event rejected ----------> parked ---requeue---> requeue ---published--> requeued
//	later event of its key --^   |   \---drop------> drop    ---------------> dropped
//	policy dead_letter ------> dead  takes the same two ways; its key flows on
//	position under halt -----> skipped
//
// Verbs (an operator) mark, the owner of the slot acts: it alone has the lane in which the key's order holds (I2).
// A channel notification on cdc_relay, with the slot's name, tells it that there is something to do.
//
// Promises:
//  1. Park is durable when it returns, and done twice it changes nothing. So an event counts as acknowledged after it (I1).
//  2. A key is released in the transaction that finds no row left, under the lock that parking takes: no row is stranded
//     behind a released key.
//  3. A requeue of one event takes the earlier parked ones of its key along, and says so. A requeue or drop of a whole key
//     drains it: what is parked behind it later is requeued at once, so that it ends under traffic too.
//  4. A row stays until the mark has passed it: an event that is read again finds its verdict.
//  5. A requeued record is the identical one with one header more, cdc-replay; a second attempt is identical to the first (I9).
//  6. Writes of the owner are refused to whoever does not hold the slot (ErrFenced).
//
// It does not decide what is rejected, publish anything, wait, retry or enforce limits.max_parked: Counts is for that.
package deadletter
