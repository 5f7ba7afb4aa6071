// Package ends measures what the two ends of the relay cost the programs that they are part of: one file a stage.
//
//	Write        outbox.Write beside a bare INSERT of the same rows
//	Optimistic   commit returned -> consumer, by the relay alone and with optimistic sending beside it
//
// Ratios count: both sides of one run in turns, on one server, medians of calls. It says nothing of the relay in between.
package ends
