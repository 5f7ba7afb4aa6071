// Package parts holds what the demo puts together: a database, a broker and the relay as processes, each with the bad luck
// that it can have.
//
//	Database   embedded or real; Terminate ends its walsender
//	Broker     embedded or real; Refuse and LoseAcks, where it is embedded
//	Relay      the real program, started again when it dies; Kill9
//
// What is made in somebody's Postgres or Kafka has a name of its own and is taken away by Close. It judges nothing.
package parts
