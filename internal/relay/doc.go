// Package relay joins the stages: replication reads, decoder turns bytes into events, the sink delivers them, checkpoint
// says what may be confirmed. It is the only place with goroutines, retries, logs and metrics.
//
//	Run --- session --- read loop      owns the replication connection (I4): Next, Decode, hand on, Confirm
//	 |         |------- keeper         owns the ledger's connection: mark, dead letters, requeues, once a second a sample
//	 |         '------- maintenance    premakes and drops partitions of the outbox, on a connection of its own
//	 '--- delivery ---- sink           tickets, window, parked keys; lives as long as nobody else has had the slot
//
// An LSN goes around in one direction: ack -> tracker -> mark in the database -> status to the slot. Nothing is confirmed
// that the mark does not hold (I1), and reading pauses when acked but unmarked and unacked events together fill the
// window, so what a kill repeats is bounded too (I8).
//
// Lifetimes. Run is a loop of sessions; a session is one connection's life, and any error of any of its parts ends all of
// them, with the cause. The delivery, its tracker and its sink live on for a tenure: as long as the mark is found as we
// left it, a new session reads again what is not confirmed and passes over what was handed on before, so a flapping
// connection with a dead broker behind it neither repeats events nor grows. When somebody else has moved the mark, the
// tenure is over: sink and tracker are thrown away and made anew from the mark.
//
// Two contexts: when Run's ends, reading ends first; status, mark and dead letters go on while the lanes drain, for
// DrainTimeout at most. No goroutine outlives Run.
package relay
