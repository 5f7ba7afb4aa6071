// Command cdc-relay publishes what applications commit into an outbox table.
//
// main.go ends the process, root.go lists the verbs, and each verb is a small file of its own: it reads the configuration,
// connects, calls the package that does the work, and prints. What verbs share is in internal/cli; run.go joins the
// pipeline.
//
// Exit codes, streams and flags are a contract: docs/verbs.md and docs/exit-codes.md, generated from here.
package main
