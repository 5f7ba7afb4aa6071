// Package sim is a world in memory for tests of internal/relay, and a simulation that plays seeds in it. Nothing in it needs
// a server; made in a testing/synctest bubble it lives in virtual time.
//
//	walsender.Server   the slot, the WAL          Database     the ordinary connection: mark, claim, dead letters
//	Process            one relay that can crash   Destination  what consumers see, with faults
//	Checker            watches all of them and says which invariant was broken, when it happens
//	Schedule, Play     one seed: commits, crashes, cuts, faults, verbs, and a quiet end where nothing may be missing
//
// Database keeps the rules of migrations/sql/002 and 003: writes of an owner are fenced by the walsender that holds the slot,
// the mark only rises, the publication's fingerprint is compared, a key is released by the statement that finds no row left.
//
// What a seed decides, and what it does not: the schedule (what happens when, and every answer of the destination, which
// hangs on the event and how often it was tried) depends on the seed alone. Two runs of one seed still differ where
// goroutines race at one moment of virtual time, in the relay's jitter, and in the random incarnation. So a failure comes
// back at the same seed nearly always, and not by necessity; `make sim SEED=n` plays it a hundred times for that reason.
//
// What it does not do: SQL, locks of rows, a database that is slow as a whole, a failover, several slots.
package sim
