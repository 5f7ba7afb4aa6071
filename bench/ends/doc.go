// Package ends measures what the two ends of the relay cost the programs that they are part of: one file a stage.
//
//	Write       outbox.Write beside a bare INSERT of the same rows
//	Tableless   outbox.Emit beside outbox.Write: what is committed, what that leaves in the WAL, how fast it drains
//
// Ratios count: both sides of one run in turns, on one server, medians of calls. Only Tableless has the relay in it.
package ends
