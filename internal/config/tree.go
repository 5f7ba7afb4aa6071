package config

import (
	"slices"
	"strconv"
	"strings"
)

// section is a node of the tree that the table's paths make: a mapping with children, a list of such mappings, or a leaf.
type section struct {
	name      string
	path      string // "sink.kafka"; below a list: "outbox[]"
	field     *Field // leaf
	children  []*section
	list      bool
	shorthand string // child that a scalar in the section's place stands for: `tls: true`
	sink      string // kind, for the sections right below sink
	later     bool
}

func newTree(fields []Field) *section {
	root := &section{}
	for i := range fields {
		node := root
		for name := range strings.SplitSeq(fields[i].Path, ".") {
			bare, list := strings.CutSuffix(name, "[]")
			next := node.child(bare)
			if next == nil {
				next = node.add(bare)
			}
			if list {
				next.list, next.path = true, strings.TrimSuffix(next.path, "[]")+"[]"
			}
			node = next
		}
		node.field = &fields[i]
	}
	sinks := root.child("sink")
	for _, kind := range SinkKinds() {
		s := sinks.child(kind.Name)
		if s == nil {
			s = sinks.add(kind.Name)
		}
		s.sink, s.later = kind.Name, kind.Later
	}
	root.markShorthands()
	return root
}

func (s *section) add(name string) *section {
	c := &section{name: name, path: name}
	if s.path != "" {
		c.path = s.path + "." + name
	}
	s.children = append(s.children, c)
	return c
}

func (s *section) markShorthands() {
	for _, name := range []string{"enabled", "mechanism"} {
		if s.child(name) != nil {
			s.shorthand = name
		}
	}
	for _, c := range s.children {
		c.markShorthands()
	}
}

func (s *section) child(name string) *section {
	i := slices.IndexFunc(s.children, func(c *section) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return s.children[i]
}

func (s *section) names() []string {
	var names []string
	for _, c := range s.children {
		names = append(names, c.name)
	}
	return names
}

// leaves yields the paths of all settings below s that are called name.
func (s *section) leaves(name string) []string {
	var paths []string
	for _, c := range s.children {
		if c.name == name {
			paths = append(paths, c.path)
		}
		paths = append(paths, c.leaves(name)...)
	}
	return paths
}

// unknown says that s has no child called name, and which one was probably meant: a neighbour with nearly that name, or
// the same name elsewhere in the tree.
func (s *section) unknown(root *section, name string) string {
	if near := guess(name, s.names()); near != "" {
		return "unknown key " + strconv.Quote(name) + "; did you mean " + strconv.Quote(near) + "?"
	}
	if paths := root.leaves(name); len(paths) > 0 && len(paths) <= 3 {
		return "unknown key " + strconv.Quote(name) + " here; did you mean " + strings.Join(paths, " or ") + "?"
	}
	if len(s.children) == 0 {
		return "unknown key " + strconv.Quote(name) + "; " + s.path + " has no settings"
	}
	return "unknown key " + strconv.Quote(name) + "; known here: " + strings.Join(s.names(), ", ")
}

// target is what a concrete path leads to.
type target struct {
	node  *section
	index int    // of the list item on the way, else 0
	key   string // of a map
	path  string // normal form: "outbox[0].table"
}

// resolve walks a path as people write it: outbox[0].table or outbox.0.table. The message says what is wrong with it.
func (s *section) resolve(path string) (target, string) {
	t := target{node: s}
	steps := strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(path), ".")
	for i := 0; i < len(steps); i++ {
		name := steps[i]
		if t.node.field != nil && t.node.field.Kind() == "map" && i == len(steps)-1 {
			t.key, t.path = name, t.path+"."+name
			return t, ""
		}
		next := t.node.child(name)
		if next == nil {
			return t, t.node.unknown(s, name)
		}
		t.node = next
		if t.path != "" {
			t.path += "."
		}
		t.path += name
		if next.list {
			if i+1 == len(steps) {
				return t, name + " is a list; write " + name + "[0].table"
			}
			i++
			n, err := strconv.Atoi(steps[i])
			if err != nil || n < 0 {
				return t, name + " is a list; write " + name + "[0]." + strings.Join(steps[i:], ".")
			}
			t.index, t.path = n, t.path+"["+steps[i]+"]"
		}
	}
	return t, ""
}
