package reference

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/config"
)

// Shown is one effective value.
type Shown struct {
	Path   string `json:"path"`
	Value  any    `json:"value"`
	Origin string `json:"origin"`
}

// ShowJSON writes the effective configuration as one object: sink, and values with their origins; secrets are masked.
func ShowJSON(w io.Writer, c *config.Config) error {
	out := struct {
		Sink   string  `json:"sink"`
		Values []Shown `json:"values"`
	}{Sink: c.Sink.Kind}
	for _, v := range relevant(c) {
		out.Values = append(out.Values, Shown{Path: v.Path, Value: v.Any, Origin: v.Origin.String()})
	}
	return writeJSON(w, out)
}

// ShowYAML writes the effective configuration in the form of the file, each value with its origin as a comment.
func ShowYAML(w io.Writer, c *config.Config) error {
	b := &strings.Builder{}
	var open []string // the sections that the last line stood in
	for _, v := range relevant(c) {
		parts := strings.Split(v.Path, ".")
		sections, name := parts[:len(parts)-1], parts[len(parts)-1]
		same := 0
		for same < len(open) && same < len(sections) && open[same] == sections[same] {
			same++
		}
		newItem := false
		for depth := same; depth < len(sections); depth++ {
			list, _, isItem := strings.Cut(sections[depth], "[")
			newItem = isItem
			if !isItem || strings.HasSuffix(sections[depth], "[0]") {
				inItem := strings.Contains(strings.Join(sections[:depth], "."), "[")
				fmt.Fprintf(b, "%s%s:\n", strings.Repeat("  ", depth+below(inItem)), list)
			}
		}
		open = sections
		indent := strings.Repeat("  ", len(sections))
		switch {
		case newItem:
			indent += "- "
		case strings.Contains(v.Path, "["):
			indent += "  "
		}
		line := fmt.Sprintf("%s%s: %s", indent, name, showScalar(v))
		if v.Any == nil {
			line = fmt.Sprintf("%s# %s: not set: %s", indent, name, v.Field.Unset)
			fmt.Fprintln(b, line)
			continue
		}
		fmt.Fprintf(b, "%-50s # %s\n", line, v.Origin)
	}
	if c.Sink.Kind == config.SinkStdout {
		fmt.Fprintf(b, "%-50s # %s\n", "sink: {stdout: {}}", c.Origin("sink.stdout"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// below is how much deeper a section of a list's item stands: the dash takes a step of its own.
func below(inItem bool) int {
	if inItem {
		return 1
	}
	return 0
}

// relevant leaves out the sinks that were not chosen, and the half of each secret that is not used.
func relevant(c *config.Config) []config.Value {
	var list []config.Value
	for _, v := range c.Values() {
		if kind, found := strings.CutPrefix(v.Path, "sink."); found && !strings.HasPrefix(kind, c.Sink.Kind+".") {
			continue
		}
		if v.Any == nil && strings.HasSuffix(v.Path, "_file") && v.Field.Kind() == "file" {
			continue
		}
		list = append(list, v)
	}
	return list
}

// showScalar is JSON, which is YAML too, for whatever needs quotes.
func showScalar(v config.Value) string {
	switch a := v.Any.(type) {
	case []string, map[string]string:
		text, err := json.Marshal(a)
		if err != nil {
			return v.Text
		}
		return string(text)
	}
	return yamlScalar(v.Text, v.Field.Kind())
}
