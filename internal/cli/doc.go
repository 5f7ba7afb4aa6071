// Package cli is what the verbs of cdc-relay share: exit codes, streams, output, confirmation, connections, and the pages
// generated from the tree of verbs.
//
//	Program   streams, environment and global flags of one invocation; tests make their own
//	ExitError an error with the exit code it means
//	Verb      turns a function into a cobra RunE: what it returns exits 1 unless it says otherwise
//	Group     a verb that only has verbs below it
//
// Promises: data goes to standard output, words to standard error; nothing is coloured unless standard error is a terminal
// and NO_COLOR is not set; usage errors exit 2 and configuration errors 3; no password reaches either stream.
//
// It knows cobra, the configuration and the driver, and no verb by name.
package cli
