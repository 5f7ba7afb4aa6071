package main

import (
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
)

// newRoot builds the tree of verbs for one invocation.
func newRoot(p *cli.Program) *cobra.Command {
	root := cli.Group("cdc-relay", "Publish what applications commit into an outbox table",
		newRun(p),
		newConfig(p),
		newMigrate(p),
		newSlot(p),
		newPublication(p),
		newPartitions(p),
		newPause(p),
		newResume(p),
		newSkip(p),
		newStatus(p),
		newDLQ(p),
		newInbox(p),
		newHealthcheck(p),
		newVersion(p),
		newCompletion(p),
		newDocs(p),
	)
	root.Long = "cdc-relay tails one Postgres replication slot, turns each row committed into an outbox table into an event,\n" +
		"publishes it, and confirms the WAL position only after the destination has acknowledged."
	root.Example = "  cdc-relay migrate up && cdc-relay run\n  cdc-relay config init > cdc-relay.yaml"
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.DisableAutoGenTag = true
	p.Register(root)
	return root
}
