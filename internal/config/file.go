package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readFile applies the YAML file. name is how the user calls it, for messages; "" stands for the default name.
func (l *loader) readFile(path, name string) {
	if name == "" {
		name = DefaultFile
	}
	text, err := os.ReadFile(path)
	if err != nil {
		var cause *os.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		l.unread = true
		l.mistake(Origin{Layer: LayerFile, File: name}, "", "%s; name an existing file with --config, or make one with `cdc-relay config init`", err)
		return
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return // comments only: an empty configuration
	} else if err != nil {
		l.syntaxMistake(name, err)
		return
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		l.mistake(l.at(name, &second), "", "a second document begins here; the file holds exactly one")
	case !errors.Is(err, io.EOF):
		l.syntaxMistake(name, err)
	}
	l.cfg.origins[""] = Origin{Layer: LayerFile, File: name}
	if len(doc.Content) == 1 {
		l.section(name, doc.Content[0], l.root, "", 0)
	}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

func (l *loader) syntaxMistake(name string, err error) {
	o, text := Origin{Layer: LayerFile, File: name, Line: 1, Column: 1}, err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			o.Line = n
		}
		text = m[2]
	}
	l.unread = true
	l.mistake(o, "", "not YAML: %s", text)
}

func (l *loader) at(file string, n *yaml.Node) Origin {
	return Origin{Layer: LayerFile, File: file, Line: n.Line, Column: n.Column}
}

// section applies the node that stands in the place of s.
func (l *loader) section(file string, n *yaml.Node, s *section, path string, index int) {
	o := l.at(file, n)
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if s.field == nil && path != "" {
		l.cfg.origins[path] = o
	}
	if s.sink != "" {
		on := n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "true"
		l.chooseSink(s, on, o)
		if s.later || n.Kind == yaml.ScalarNode && (n.Tag == "!!null" || n.Tag == "!!bool") {
			return
		}
	}
	switch {
	case s.field != nil:
		l.leaf(file, n, s.field, path, index, o)
	case s.list:
		l.list(file, n, s, path, o)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
	case n.Kind == yaml.ScalarNode && s.shorthand != "":
		child := s.child(s.shorthand)
		l.leaf(file, n, child.field, path+"."+s.shorthand, index, o)
	case n.Kind != yaml.MappingNode:
		l.mistake(o, path, "%s stands where keys are expected: %s", describe(n), strings.Join(s.names(), ", "))
	default:
		l.mapping(file, n, s, path, index)
	}
}

func (l *loader) mapping(file string, n *yaml.Node, s *section, path string, index int) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		o := l.at(file, key)
		if line, twice := seen[key.Value]; twice {
			l.mistake(o, join(path, key.Value), "the key stands twice; the first is in line %d", line)
			continue
		}
		seen[key.Value] = key.Line
		child := s.child(key.Value)
		switch {
		case key.Tag == "!!merge":
			l.mistake(o, path, "merge keys (<<) are not supported; repeat the keys")
		case child == nil:
			l.mistake(o, path, "%s", s.unknown(l.root, key.Value))
		default:
			l.section(file, value, child, join(path, key.Value), index)
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (l *loader) list(file string, n *yaml.Node, s *section, path string, o Origin) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		l.mistake(o, path, "%s stands where a list is expected; begin each item with \"- \"", describe(n))
		return
	}
	for i, item := range n.Content {
		l.outboxItem(i)
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		l.cfg.origins[itemPath] = l.at(file, item)
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		if item.Kind != yaml.MappingNode {
			l.mistake(l.at(file, item), itemPath, "%s stands where keys are expected: %s", describe(item), strings.Join(s.names(), ", "))
			continue
		}
		l.mapping(file, item, s, itemPath, i)
	}
}

// leaf applies a value of the file to a setting.
func (l *loader) leaf(file string, n *yaml.Node, f *Field, path string, index int, o Origin) {
	switch f.Kind() {
	case "list":
		if n.Kind != yaml.ScalarNode {
			l.stringList(file, n, f, path, index, o)
			return
		}
	case "map":
		l.stringMap(file, n, f, path, index, o)
		return
	}
	if n.Kind != yaml.ScalarNode {
		l.mistake(o, path, "%s stands where %s is expected", describe(n), article(f.Kind()))
		return
	}
	if text, ok := l.scalar(n, path, o, f.Kind() == "string" && f.Enum == nil || f.Kind() == "secret" || f.Kind() == "file"); ok {
		l.assign(f, index, path, o, func(ptr any) error { return setText(ptr, text) })
	}
}

// scalar expands a scalar's text. A string may not be a bare true or false: YAML reads those as booleans, and whoever
// wrote it may have meant either.
func (l *loader) scalar(n *yaml.Node, path string, o Origin, isString bool) (string, bool) {
	if n.Tag == "!!null" {
		l.mistake(o, path, "the key has no value; write one or remove the line")
		return "", false
	}
	if isString && n.Tag == "!!bool" {
		l.mistake(o, path, "%s is a boolean where a string is expected; put it in quotes", n.Value)
		return "", false
	}
	text, err := expand(n.Value, l.env)
	if err != nil {
		l.mistake(o, path, "%s", err)
		return "", false
	}
	if strings.Contains(text, Placeholder) {
		l.mistake(o, path, "still holds the placeholder %s; write your own value", Placeholder)
		return "", false
	}
	return text, true
}

func (l *loader) stringList(file string, n *yaml.Node, f *Field, path string, index int, o Origin) {
	if n.Kind != yaml.SequenceNode {
		l.mistake(o, path, "%s stands where a list is expected", describe(n))
		return
	}
	var items []string
	good := true
	for i, item := range n.Content {
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		at := l.at(file, item)
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		if item.Kind != yaml.ScalarNode {
			l.mistake(at, itemPath, "%s stands where a string is expected", describe(item))
			good = false
			continue
		}
		text, ok := l.scalar(item, itemPath, at, true)
		good = good && ok
		items = append(items, text)
		l.cfg.origins[itemPath] = at
	}
	if !good {
		l.bad[path] = true
		return
	}
	l.assign(f, index, path, o, func(ptr any) error { *ptr.(*[]string) = items; return nil })
}

func (l *loader) stringMap(file string, n *yaml.Node, f *Field, path string, index int, o Origin) {
	if n.Kind != yaml.MappingNode {
		l.mistake(o, path, "%s stands where keys are expected: %s", describe(n), strings.Join(f.Keys, ", "))
		return
	}
	m := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		keyPath, at := join(path, key.Value), l.at(file, value)
		_, twice := m[key.Value]
		switch {
		case !slices.Contains(f.Keys, key.Value):
			l.mistake(l.at(file, key), path, "%s", unknownKey(key.Value, f.Keys))
		case twice:
			l.mistake(l.at(file, key), keyPath, "the key stands twice")
		case value.Kind != yaml.ScalarNode:
			l.mistake(at, keyPath, "%s stands where a column's name is expected", describe(value))
		default:
			if text, ok := l.scalar(value, keyPath, at, true); ok {
				m[key.Value] = text
				l.cfg.origins[keyPath] = at
			}
		}
	}
	l.assign(f, index, path, o, func(ptr any) error { *ptr.(*map[string]string) = m; return nil })
}

func unknownKey(name string, known []string) string {
	if near := guess(name, known); near != "" {
		return fmt.Sprintf("unknown key %q; did you mean %q?", name, near)
	}
	return fmt.Sprintf("unknown key %q; known here: %s", name, strings.Join(known, ", "))
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(n.Value)
}

func article(kind string) string {
	switch kind {
	case "int":
		return "a whole number"
	case "auto or int":
		return "a whole number or auto"
	case "file":
		return "a file's path"
	}
	return "a " + kind
}
