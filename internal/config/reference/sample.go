package reference

import (
	"fmt"
	"io"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/config"
)

// Sample writes a file to start from: the two settings that a relay to Kafka needs, and every other one as a comment with
// its default. It loads as it stands, and with every comment sign taken away from a setting that has a default.
func Sample(w io.Writer, database string, brokers []string) error {
	b := &strings.Builder{}
	b.WriteString(`# Configuration of cdc-relay. Commented lines show the defaults; those in <angle brackets> have none.
# Stronger than this file: environment variables (cdc-relay config env), then --set path=value.
# ${VAR} and ${VAR:-default} are expanded inside values. Check with: cdc-relay config check
`)
	written := map[string]string{
		"database.url":         fmt.Sprintf("%q", database),
		"sink.kafka.brokers":   "[" + quoteAll(brokers) + "]",
		"sink.kafka.brokers[]": "",
	}
	sampleMapping(b, tree(), "", 0, written)
	_, err := io.WriteString(w, b.String())
	return err
}

func quoteAll(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(quoted, ", ")
}

func sampleMapping(b *strings.Builder, n *node, path string, depth int, written map[string]string) {
	for i, c := range n.children {
		full := c.name
		if path != "" {
			full = path + "." + c.name
		}
		indent := strings.Repeat("  ", depth)
		if depth == 0 {
			b.WriteString("\n")
		}
		switch {
		case c.field != nil:
			sampleField(b, c.field, full, indent, i == 0 && n.list, written)
		case full == "sink":
			b.WriteString("# Where events go: exactly one of kafka, stdout, file.\nsink:\n")
			sampleMapping(b, c, full, depth+1, written)
		case full == "sink.stdout":
			b.WriteString(indent + "#stdout: {} # a JSON object a line, instead of kafka\n")
		case full == "sink.file":
			b.WriteString(indent + "#file: {path: <required>} # a JSON object a line, instead of kafka\n")
		case c.list:
			b.WriteString("# Tables that are published.\n" + indent + c.name + ":\n")
			sampleMapping(b, c, full+"[]", depth+2, written)
		default:
			b.WriteString(indent + c.name + ":\n")
			sampleMapping(b, c, full, depth+1, written)
		}
	}
}

func sampleField(b *strings.Builder, f *config.Field, path, indent string, firstOfItem bool, written map[string]string) {
	if strings.HasSuffix(path, "_file") && !strings.HasSuffix(f.Doc, "PEM.") && f.Default == nil && strings.HasPrefix(f.Doc, "File that holds") {
		fmt.Fprintf(b, "%s#%s: <path> # the same from a file, read again at each connect\n", indent, last(path))
		return
	}
	for line := range strings.SplitSeq(wrap(plain(describeSample(f)), 110-len(indent)), "\n") {
		fmt.Fprintf(b, "%s# %s\n", indent, line)
	}
	sign, value := "#", "<not set>"
	if v, on := written[path]; on {
		sign, value = "", v
	} else if f.Default != nil {
		value = yamlScalar(f.DefaultText(), f.Kind())
	}
	dash := indent
	if firstOfItem { // the item's first key stands uncommented, so that the list has an item
		dash, sign = strings.TrimSuffix(indent, "  ")+"- ", ""
	}
	fmt.Fprintf(b, "%s%s%s: %s\n", dash, sign, last(path), value)
}

func describeSample(f *config.Field) string {
	s := describe(f)
	if f.Enum != nil {
		s += " One of " + strings.Join(f.Enum, ", ") + "."
	}
	return s
}

func plain(s string) string { return strings.ReplaceAll(s, "`", "") }

func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// yamlScalar quotes a string that YAML would read as something else.
func yamlScalar(s, kind string) string {
	switch kind {
	case "bool", "int", "size", "duration", "auto or int":
		return s
	}
	if s == "" || strings.ContainsAny(s, "{}[]:#&*!|>'\"%@`, ") || s == "off" || s == "on" || s[0] >= '0' && s[0] <= '9' || s[0] == '-' {
		return fmt.Sprintf("%q", s)
	}
	return s
}

func wrap(s string, width int) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}
