// Package live measures how long an event takes from the moment its commit has returned to the consumer, and how soon a
// relay that begins delivers.
//
//	Stage   loads on schedule; each round measures the limits, then the relay, from slots and topics of their own
//	Far     the same with a delay between the relay and the broker
//	Start   restart to first event; takeover after kill -9 of the owner
//
// The limits are measured under the same load at the same time: rows are committed, a bare reader of pgoutput reads them
// (the walsender's own delay), and a bare client produces as many to the broker (produce to consume). So all that the
// relay's path needs is at work but the relay. An event that is seen before its commit has returned counts as 0.
//
// Percentiles are those of a round; the median over rounds is reported, and the largest value of all.
package live
