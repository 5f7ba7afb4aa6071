package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config/reference"
)

func newDocs(p *cli.Program) *cobra.Command {
	return cli.Group("docs", "Write the reference pages", newDocsMarkdown(p), newDocsMan(p))
}

// pages are the reference pages that are generated from the code, by file name.
func pages(p *cli.Program) map[string]func(io.Writer) error {
	return map[string]func(io.Writer) error{
		"configuration.md": reference.Markdown,
		"exit-codes.md":    cli.ExitCodesPage,
		"verbs.md":         func(w io.Writer) error { return cli.VerbsPage(w, newRoot(p)) },
	}
}

func newDocsMarkdown(p *cli.Program) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "markdown",
		Short:   "Write configuration.md, verbs.md and exit-codes.md",
		Example: "  cdc-relay docs markdown --dir docs\n  cdc-relay docs markdown --dir /tmp/pages",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(context.Context, []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("write pages: %w", err)
			}
			for _, name := range []string{"configuration.md", "exit-codes.md", "verbs.md"} {
				var text bytes.Buffer
				if err := pages(p)[name](&text); err != nil {
					return err
				}
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
					return fmt.Errorf("write pages: %w", err)
				}
				fmt.Fprintln(p.Out, path)
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&dir, "dir", "docs", "`directory` to write to")
	return cmd
}

func newDocsMan(p *cli.Program) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "man",
		Short:   "Write a manual page for each verb",
		Example: "  cdc-relay docs man --dir man\n  cdc-relay docs man --dir /usr/local/share/man/man1",
		Args:    cobra.NoArgs,
		RunE: cli.Verb(func(context.Context, []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("write manual: %w", err)
			}
			header := &doc.GenManHeader{Section: "1", Source: "cdc-relay " + p.Version.Version, Manual: "cdc-relay"}
			if when, err := time.Parse(time.RFC3339, p.Version.Date); err == nil { // else the time of the call
				header.Date = &when
			}
			if err := doc.GenManTree(newRoot(p), header, dir); err != nil {
				return fmt.Errorf("write manual: %w", err)
			}
			fmt.Fprintln(p.Out, dir)
			return nil
		}),
	}
	cmd.Flags().StringVar(&dir, "dir", "man", "`directory` to write to")
	return cmd
}
