package reference

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/cdc-relay/cdc-relay/internal/config"
)

// Variable is one environment variable.
type Variable struct {
	Name    string `json:"name"`
	Path    string `json:"path"`
	Kind    string `json:"type"`
	Default string `json:"default,omitempty"`
	Doc     string `json:"doc"`
	Secret  bool   `json:"secret,omitempty"`
}

// Variables lists the environment variables in the order of the table.
func Variables() []Variable {
	var list []Variable
	for _, f := range config.Fields() {
		list = append(list, Variable{Name: f.EnvName(), Path: f.Path, Kind: f.Kind(), Default: f.DefaultText(), Doc: describe(&f), Secret: f.Secret})
	}
	return list
}

// Env writes the variables as a table.
func Env(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VARIABLE\tTYPE\tDEFAULT")
	for _, v := range Variables() {
		fmt.Fprintf(t, "%s\t%s\t%s\n", v.Name, v.Kind, dash(v.Default))
	}
	return t.Flush()
}

// EnvJSON writes them as a JSON list.
func EnvJSON(w io.Writer) error { return writeJSON(w, Variables()) }

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
