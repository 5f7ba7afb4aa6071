// Package lab is what the measurements are made on: a private Postgres with fsync on, a private Kafka, and the relay as a
// program of its own, built from ./cmd/cdc-relay and run with its defaults.
//
//	Lab      Open starts the servers and builds the relay; Close ends them
//	Slot     NewSlot, CopySlot: slots of their own for each run; Adopt gives one the relay's mark
//	Topic    a fresh topic for each run; Count says how many records its log holds
//	Relay    one process of the relay: Stop, Kill, Usage
//
// It measures nothing by itself and knows no figure to reach.
package lab
