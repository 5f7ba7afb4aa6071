package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Verb makes a RunE of f. What f returns exits 1, unless it carries a code of its own: only errors from before f ran, which
// are cobra's, are about usage.
func Verb(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error { return Exit(Failed, f(cmd.Context(), args)) }
}

// Group is a verb that only has verbs below it. Without one of them it shows its help and exits 2.
func Group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, SuggestionsMinimumDistance: 2}
	var examples []string
	for _, v := range verbs {
		examples = append(examples, strings.Split(v.Example, "\n")[0])
	}
	cmd.Example = strings.Join(examples, "\n")
	cmd.AddCommand(verbs...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			text := fmt.Sprintf("unknown verb %q for %q", args[0], cmd.CommandPath())
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				text += fmt.Sprintf("; did you mean %q?", near[0])
			}
			return errors.New(text)
		}
		cmd.SetOut(cmd.ErrOrStderr())
		if err := cmd.Help(); err != nil {
			return err
		}
		return fmt.Errorf("%s: name one of its verbs", cmd.CommandPath())
	}
	return cmd
}

// Confirm asks whether the thing called name may be destroyed: by --yes NAME, or on a terminal by typing the name.
func (p *Program) Confirm(yes, what, name string) error {
	switch {
	case yes == name:
		return nil
	case yes != "":
		return Exit(Usage, fmt.Errorf("%s: --yes names %q, which is another one; repeat the exact name", what, yes))
	case !isTerminal(p.In):
		return Exit(Usage, fmt.Errorf("%s cannot be undone; say --yes %s", what, name))
	}
	fmt.Fprintf(p.Err, "%s cannot be undone. Type %s to go on: ", what, name)
	line, err := bufio.NewReader(p.In).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != name {
		return Exit(Usage, errors.New("that is not the name; nothing was done"))
	}
	return nil
}
