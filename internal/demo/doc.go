// Package demo shows the whole path at work, and judges it: an application that writes to the outbox, the real relay as
// a process of its own, a consumer that counts, and, where asked, bad luck.
//
//	application --SQL--> Postgres --slot--> relay --> broker --> consumer
//	     |                  ^                 ^          ^          |
//	     |                  +----- chaos -----+----------+          |
//	     +----------------------- ledger ---------------------------+
//
// Postgres and the broker are embedded unless real ones are named; then the demo works in a database and a topic of its
// own there and takes them away when it ends. The application commits and rolls back, single rows and batches, and updates
// and deletes outbox rows, which must have no effect. Run returns the ledger's verdict.
//
// The embedded broker is an imitation that runs in this process: it shows the path, it proves nothing about Kafka.
package demo
