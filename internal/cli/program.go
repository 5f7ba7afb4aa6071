package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cdc-relay/cdc-relay/internal/config"
)

// Program is one invocation: its streams, its surroundings, and the global flags.
type Program struct {
	In       io.Reader
	Out, Err io.Writer
	Env      []string // NAME=value
	Dir      string   // working directory; "": the process's
	Version  Version

	ConfigFile string
	Set        []string
	Format     string // text, json
}

// Register puts the global flags on the root.
func (p *Program) Register(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&p.ConfigFile, "config", "", "configuration `file` (default cdc-relay.yaml in the working directory, where there is one)")
	flags.StringArrayVar(&p.Set, "set", nil, "set one configuration value, `path=value`; stronger than file and environment; repeatable")
	flags.StringVarP(&p.Format, "output", "o", "text", "output `format` of data: text or json")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if p.Format != "text" && p.Format != "json" {
			return fmt.Errorf("output format %q: want text or json", p.Format)
		}
		return nil
	}
}

// JSON tells whether data is wanted as JSON.
func (p *Program) JSON() bool { return p.Format == "json" }

// Getenv returns a variable of the invocation's environment.
func (p *Program) Getenv(name string) string {
	for i := len(p.Env) - 1; i >= 0; i-- {
		if value, found := strings.CutPrefix(p.Env[i], name+"="); found {
			return value
		}
	}
	return ""
}

// Load reads the configuration for a verb that publishes.
func (p *Program) Load() (*config.Config, error) { return p.load(false) }

// LoadDatabase reads the configuration for a verb that needs the database only: no sink has to be named.
func (p *Program) LoadDatabase() (*config.Config, error) { return p.load(true) }

func (p *Program) load(sinkOptional bool) (*config.Config, error) {
	c, err := config.Load(config.Options{File: p.ConfigFile, Dir: p.Dir, Env: p.Env, Set: p.Set, SinkOptional: sinkOptional})
	var invalid *config.Invalid
	if errors.As(err, &invalid) {
		return nil, &ExitError{Code: Invalid, Err: invalid}
	}
	return c, err
}

// Say writes a line of words to standard error.
func (p *Program) Say(format string, args ...any) { fmt.Fprintf(p.Err, format+"\n", args...) }

// Colour tells whether words may be coloured.
func (p *Program) Colour() bool {
	return p.Getenv("NO_COLOR") == "" && p.Getenv("TERM") != "dumb" && isTerminal(p.Err)
}

func isTerminal(stream any) bool {
	f, is := stream.(*os.File)
	return is && term.IsTerminal(int(f.Fd()))
}

// Report writes an error for people; a configuration's mistakes one a line, usage with a pointer to help.
func (p *Program) Report(cmd *cobra.Command, err error) {
	label := "error:"
	if p.Colour() {
		label = "\x1b[31merror:\x1b[0m"
	}
	var invalid *config.Invalid
	switch {
	case errors.As(err, &invalid):
		for _, m := range invalid.Mistakes {
			p.Say("%s", m)
		}
		noun := "mistakes"
		if len(invalid.Mistakes) == 1 {
			noun = "mistake"
		}
		p.Say("%s the configuration has %d %s", label, len(invalid.Mistakes), noun)
	case CodeOf(err) == Usage:
		p.Say("%s %s\n`%s --help` shows how it is used", label, err, cmd.CommandPath())
	default:
		p.Say("%s %s", label, err)
	}
}
