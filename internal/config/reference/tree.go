package reference

import (
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/config"
)

// node is a mapping of the file, rebuilt from paths.
type node struct {
	name     string
	list     bool
	field    *config.Field
	children []*node
}

func tree() *node {
	root := &node{}
	fields := config.Fields()
	for i := range fields {
		n := root
		for part := range strings.SplitSeq(fields[i].Path, ".") {
			name, list := strings.CutSuffix(part, "[]")
			n = n.child(name)
			n.list = n.list || list
		}
		n.field = &fields[i]
	}
	sinks := root.child("sink")
	for _, kind := range config.SinkKinds() {
		if !kind.Later {
			sinks.child(kind.Name)
		}
	}
	return root
}

// child returns the child called name, made on demand.
func (n *node) child(name string) *node {
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	c := &node{name: name}
	n.children = append(n.children, c)
	return c
}
