package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var reference = regexp.MustCompile(`\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}|\$\{`)

// routedByValue is what Debezium's topic rules write in this form; it is a column's value, not a variable.
const routedByValue = "routedByValue"

// expand replaces ${VAR} and ${VAR:-default}; as in a shell the default also stands for an empty variable. $${ is a
// literal ${.
func expand(text string, env map[string]string) (string, error) {
	var err error
	out := reference.ReplaceAllStringFunc(text, func(ref string) string {
		if ref == "$${" {
			return "${"
		}
		m := reference.FindStringSubmatch(ref)
		value, set := env[m[1]]
		switch {
		case m[1] == "":
			err = fmt.Errorf("%q is no reference; write ${VAR}, ${VAR:-default}, or $${ for a literal ${", text)
		case m[1] == routedByValue && !set:
			return ref
		case m[2] != "" && value == "":
			return m[3]
		case !set:
			err = fmt.Errorf("environment variable %s is not set; set it, or write ${%s:-default}", m[1], m[1])
		}
		return value
	})
	return out, err
}

// Kubernetes describes each service of a namespace by variables of this form; a service called cdc-relay makes names
// that begin like ours ("Discovering services" in its manual).
var serviceLink = regexp.MustCompile(`_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)

var outboxVariable = regexp.MustCompile(`^OUTBOX_(\d+)_(\w+)$`)

// applyEnv applies every variable with our prefix. An empty one counts as not set: compose files pass those on for
// whatever is not there.
func (l *loader) applyEnv() {
	paths := l.envPaths()
	var names []string
	for name, value := range l.env {
		if strings.HasPrefix(name, EnvPrefix) && value != "" && !serviceLink.MatchString(name) && !strings.HasPrefix(name, EnvPrefix+"TEST_") {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { // items of a list in the order of their numbers
		return cmp.Or(cmp.Compare(len(indexOf(a)), len(indexOf(b))), cmp.Compare(a, b))
	})
	for _, name := range names {
		o := Origin{Layer: LayerEnv, Name: name}
		suffix := strings.TrimPrefix(name, EnvPrefix)
		path, known := paths[suffix]
		if m := outboxVariable.FindStringSubmatch(suffix); m != nil {
			if path, known = paths["OUTBOX_0_"+m[2]]; known {
				path = strings.Replace(path, "[0]", "["+m[1]+"]", 1)
			}
		}
		if !known {
			l.unknownVariable(o, suffix, paths)
			continue
		}
		l.override(path, l.env[name], o)
	}
}

func indexOf(name string) string {
	if m := outboxVariable.FindStringSubmatch(strings.TrimPrefix(name, EnvPrefix)); m != nil {
		return m[1]
	}
	return ""
}

func (l *loader) unknownVariable(o Origin, suffix string, paths map[string]string) {
	var known []string
	for _, kind := range SinkKinds() {
		if kind.Later && strings.HasPrefix(suffix, "SINK_"+strings.ToUpper(kind.Name)+"_") {
			l.chooseSink(l.root.child("sink").child(kind.Name), true, o)
			return
		}
	}
	for s := range paths {
		known = append(known, EnvPrefix+s)
	}
	slices.Sort(known)
	if near := guess(EnvPrefix+suffix, known); near != "" {
		l.mistake(o, "", "no such setting; did you mean %s?", near)
		return
	}
	l.mistake(o, "", "no such setting; `cdc-relay config env` lists them all")
}

// envPaths maps the part of a variable's name after the prefix to a path.
func (l *loader) envPaths() map[string]string {
	paths := map[string]string{}
	var walk func(s *section)
	walk = func(s *section) {
		if s.field != nil || s.shorthand != "" || s.sink != "" {
			name := strings.ReplaceAll(strings.ReplaceAll(s.path, "[]", "_0"), ".", "_")
			paths[strings.ToUpper(name)] = strings.ReplaceAll(s.path, "[]", "[0]")
		}
		for _, c := range s.children {
			walk(c)
		}
	}
	walk(l.root)
	return paths
}

// applySet applies one --set.
func (l *loader) applySet(text string) {
	path, value, found := strings.Cut(text, "=")
	o := Origin{Layer: LayerFlag, Name: path}
	if !found {
		l.mistake(o, "", "no value; write --set %s=value", path)
		return
	}
	l.override(strings.TrimSpace(path), value, o)
}

// override applies a value of the environment or the command line.
func (l *loader) override(path, text string, o Origin) {
	t, problem := l.root.resolve(path)
	if problem != "" {
		l.mistake(o, "", "%s", problem)
		return
	}
	node := t.node
	if node.shorthand != "" {
		node, t.path = node.child(node.shorthand), t.path+"."+node.shorthand
	}
	switch {
	case node.sink != "":
		on, err := parseBool(text)
		if err != nil && text != "{}" {
			l.mistake(o, t.path, "%q stands where true is expected; its settings are %s", text, strings.Join(node.names(), ", "))
			return
		}
		l.chooseSink(node, on || err != nil, o)
		return
	case node.field == nil:
		l.mistake(o, t.path, "this is a section; name one of its settings: %s", strings.Join(node.names(), ", "))
		return
	case strings.Contains(text, Placeholder):
		l.mistake(o, t.path, "still holds the placeholder %s; write your own value", Placeholder)
		return
	}
	if strings.HasPrefix(node.path, "outbox[]") && !l.outboxItem(t.index) {
		l.mistake(o, t.path, "the list has %d items; the next one is outbox[%d]", len(l.cfg.Outbox), len(l.cfg.Outbox))
		return
	}
	if kind, found := strings.CutPrefix(node.path, "sink."); found {
		kind, _, _ = strings.Cut(kind, ".")
		l.chooseSink(l.root.child("sink").child(kind), true, o)
	}
	l.assign(node.field, t.index, t.path, o, func(ptr any) error {
		if t.key == "" {
			return setText(ptr, text)
		}
		if !slices.Contains(node.field.Keys, t.key) {
			return fmt.Errorf("%s", unknownKey(t.key, node.field.Keys))
		}
		m := ptr.(*map[string]string)
		merged := map[string]string{t.key: text}
		for k, v := range *m {
			if k != t.key {
				merged[k] = v
			}
		}
		*m = merged
		return nil
	})
}

// rules checks what the table says about a value: the enumeration, the range.
func (f Field) rules(ptr any) error {
	switch p := ptr.(type) {
	case *string:
		return f.enumerate(p)
	case *int:
		return between(*p, f.Min, f.Max, strconv.Itoa)
	case *ByteSize:
		return between(*p, f.Min, f.Max, ByteSize.String)
	case *Auto:
		if p.Auto {
			return nil
		}
		return between(p.N, f.Min.(Auto).N, f.Max.(Auto).N, strconv.Itoa)
	}
	return f.durationRule(ptr)
}
