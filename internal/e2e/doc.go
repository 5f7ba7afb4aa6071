// Package e2e holds the bad days: what happens to the relay when something outside of it goes wrong, and what the operator
// reads. There is no code here but tests. They run the real program as a process of its own, between a real Postgres and a
// real destination, kill, freeze and mislead one of the three, and compare what was committed with what arrived.
//
//	table outbox  ->  cdc-relay run  ->  sink.file or Kafka
//	     |                                      |
//	     +---- nothing lost, order by key, -----+
//	           repeats within the window
//
// TestMain builds the program once. Tests share servers where they can; those that break a server start their own.
package e2e
