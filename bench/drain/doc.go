// Package drain measures how fast a backlog leaves a slot: by the relay into Kafka, and by a receiver that throws it away,
// which is the limit that Postgres sets.
//
//	Stage     fills the slot once, then rounds of (receiver, relay), each from a copy of the slot, so that all read the same WAL
//	Relay     one run of the relay: from its start to the last record in the broker's log
//	Receiver  one run of pg_recvlogical > /dev/null, or of a stand-in in Go where it is not installed
//
// Rates count from the start of the process, so connecting is in them; CPU is what the process used until then. Order
// within a round alternates. It does not look at what the records hold: tests do.
package drain
