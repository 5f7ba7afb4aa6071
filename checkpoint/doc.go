// Package checkpoint decides which LSN may be confirmed, and keeps the durable mark beside the outbox.
//
//	WAL order:   piece  piece+end | end | end | ...        tickets, oldest first
//	acks:          3/3     1/2       4/4  0/1              in any order
//	Confirmed:   the end LSN of the longest acked prefix   I1, I3, I5
//
// Tracker is pure: no I/O, no clock, no goroutine. Whoever publishes files a ticket for each transaction (several for a
// large one, which comes in pieces) and counts its events down as the sink acknowledges them. Nothing else decides what is
// confirmed: a keepalive or a transaction without outbox rows only raises the end of the newest ticket, so an idle outbox in
// a busy database never holds WAL, and one with events under way never lets go of theirs.
//
// Store is the client of the mark: one row for each slot, written by functions of the schema cdc_relay that refuse whoever
// does not hold the slot. What the mark does not hold is not confirmed to the slot.
//
// The package does not read the WAL, does not publish, and does not decide when the mark is written.
package checkpoint
