// Command bench measures the relay on real servers that it starts itself, and says what of its promises it reached.
//
//	go run ./bench all                 everything; also drain, memory, live, start, write, tableless, optimistic, inbox, runner
//	go run ./bench -o json all         one JSON object on standard output
//	go run ./bench -huge 10000000 memory
//	go run ./bench -smoke all          under a minute: that every stage runs, not the figures
//	go run ./bench profile             a CPU profile of the relay at full drain, into ./relay.pprof
//
// main.go reads flags, stages.go runs them; each stage is a package: drain, memory, live, with start in live, and ends (the
// others), a stage a file, for what the libraries cost the programs at both ends. lab holds the servers, report the table. The relay
// is the program built from ./cmd/cdc-relay, with its defaults. Postgres and Kafka are private and durable: fsync, acks=all.
// Everything shares one machine, and what else runs there is in the figures.
//
// Exit code 0: measured, whether reached or missed; 1: a stage did not run; 2: usage.
package main
