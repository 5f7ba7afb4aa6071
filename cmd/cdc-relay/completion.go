package main

import (
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
)

func newCompletion(p *cli.Program) *cobra.Command {
	return &cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		Short:     "Print a completion script for a shell",
		Example:   "  source <(cdc-relay completion bash)\n  cdc-relay completion fish > ~/.config/fish/completions/cdc-relay.fish",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			var err error
			switch args[0] {
			case "bash":
				err = root.GenBashCompletionV2(p.Out, true)
			case "zsh":
				err = root.GenZshCompletion(p.Out)
			case "fish":
				err = root.GenFishCompletion(p.Out, true)
			case "powershell":
				err = root.GenPowerShellCompletionWithDesc(p.Out)
			}
			return cli.Exit(cli.Failed, err)
		},
	}
}
