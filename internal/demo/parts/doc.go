// Package parts holds what the demo puts together: a database, a broker and the relay as processes, each with the bad luck
// that it can have.
//
//	Database   embedded or real; Terminate ends its walsender
//	Broker     embedded or real; Refuse and LoseAcks, where it is embedded
//	Process    a program, started again when it is killed; Kill9
//	Relay      the real one, as such a Process
//
// What is made in somebody's Postgres or Kafka has a name of its own and is taken away by Close. It judges nothing.
package parts
