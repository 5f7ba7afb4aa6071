package reference

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/config"
)

// Schema writes a JSON schema (draft 2020-12) of the file. Every scalar may also be a text with a ${VAR} in it.
func Schema(w io.Writer) error {
	s := object(tree())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "cdc-relay configuration"
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(s)
}

type schema map[string]any

func object(n *node) schema {
	properties := schema{}
	for _, c := range n.children {
		properties[c.name] = property(c)
	}
	s := schema{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	if n.name == "sink" {
		s["type"], s["minProperties"], s["maxProperties"] = "object", 1, 1
	}
	return s
}

func property(n *node) schema {
	switch {
	case n.field != nil:
		return scalar(n.field)
	case n.list:
		item := object(n)
		item["type"] = "object"
		return schema{"type": "array", "minItems": 1, "items": item}
	}
	s := object(n)
	for _, c := range n.children {
		if c.name == "enabled" || c.name == "mechanism" { // tls: true, sasl: off
			return schema{"anyOf": []schema{s, scalar(c.field)}}
		}
	}
	return s
}

func reference() schema { return schema{"type": "string", "pattern": `\$\{`} }

func scalar(f *config.Field) schema {
	s := schema{}
	switch f.Kind() {
	case "bool":
		s["anyOf"] = []schema{{"type": "boolean"}, reference()}
	case "int":
		s["anyOf"] = []schema{bounds(f, schema{"type": "integer"}), reference()}
	case "auto or int":
		s["anyOf"] = []schema{{"const": "auto"}, bounds(f, schema{"type": "integer"}), reference()}
	case "size":
		s["type"] = []string{"string", "integer"}
		s["pattern"] = `^[0-9.]+ *([KMGkmg][iI])?[bB]?$|\$\{`
	case "duration":
		s["anyOf"] = []schema{{"type": "string", "pattern": `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$|\$\{`}, {"const": 0}}
	case "list":
		item := schema{"type": []string{"string", "number"}}
		s["anyOf"] = []schema{{"type": "array", "items": item}, {"type": "string"}}
	case "map":
		properties := schema{}
		for _, key := range f.Keys {
			properties[key] = schema{"type": "string"}
		}
		s["type"], s["additionalProperties"], s["properties"] = "object", false, properties
	default:
		s["type"] = []string{"string", "number"}
		if f.Enum != nil {
			s = schema{"anyOf": []schema{{"enum": enum(f.Enum)}, reference()}}
		}
	}
	s["description"] = describe(f)
	if f.Default != nil {
		s["default"] = defaultValue(f)
	}
	return s
}

// enum adds what YAML may make of a word: on is true to some parsers, 1 a number to all.
func enum(words []string) []any {
	var list []any
	for _, w := range words {
		list = append(list, w)
		switch w {
		case "on":
			list = append(list, true)
		case "off":
			list = append(list, false)
		case "0":
			list = append(list, 0)
		case "1":
			list = append(list, 1)
		default:
			if strings.HasPrefix(w, "scram") || w == "plain" || w == "oauthbearer" {
				list = append(list, strings.ToUpper(w))
			}
		}
	}
	return list
}

func bounds(f *config.Field, s schema) schema {
	for name, v := range map[string]any{"minimum": f.Min, "maximum": f.Max} {
		switch n := v.(type) {
		case int:
			s[name] = n
		case config.Auto:
			s[name] = n.N
		}
	}
	return s
}

func defaultValue(f *config.Field) any {
	switch v := f.Default.(type) {
	case bool, int, string:
		return v
	case config.Auto:
		if v.Auto {
			return "auto"
		}
		return v.N
	}
	return f.DefaultText()
}

// describe is the whole documentation of a field in a line of plain text.
func describe(f *config.Field) string {
	var b strings.Builder
	b.WriteString(f.Doc)
	if r := rangeText(f); r != "" {
		fmt.Fprintf(&b, " From %s.", r)
	}
	if f.Default == nil && f.Unset != "" {
		fmt.Fprintf(&b, " Not set: %s.", f.Unset)
	}
	if f.Later != "" {
		fmt.Fprintf(&b, " Not in this version: %s.", f.Later)
	}
	return b.String()
}

func rangeText(f *config.Field) string {
	if f.Min == nil || f.Max == nil {
		return ""
	}
	return text(f.Min) + " to " + text(f.Max)
}

func text(v any) string {
	if d, is := v.(time.Duration); is {
		return config.FormatDuration(d)
	}
	return fmt.Sprint(v)
}
