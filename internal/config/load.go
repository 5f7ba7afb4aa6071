package config

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultFile is read from the working directory when no file is named, where there is one.
const DefaultFile = "cdc-relay.yaml"

// Options says where to look.
type Options struct {
	File         string   // named by the user: has to exist; "": DefaultFile in Dir, if there is one
	Dir          string   // working directory; "": the process's
	Env          []string // NAME=value, as os.Environ returns it
	Set          []string // path=value, in the order of the command line
	SinkOptional bool     // for verbs that only need the database
}

// Load merges all layers and checks the result. Its error is an *Invalid with every mistake.
func Load(opts Options) (*Config, error) {
	l := newLoader(opts.Env)
	if path, read := l.findFile(opts); read {
		l.readFile(path, opts.File)
	}
	l.applyEnv()
	for _, s := range opts.Set {
		l.applySet(s)
	}
	l.finish()
	if !l.unread {
		l.check(opts.SinkOptional)
	}
	if len(l.mistakes) > 0 {
		sortMistakes(l.mistakes)
		return nil, &Invalid{Mistakes: l.mistakes}
	}
	return l.cfg, nil
}

// Default is the configuration of an empty file; it has no sink.
func Default() *Config {
	l := newLoader(nil)
	l.finish()
	return l.cfg
}

// loader is one run of Load.
type loader struct {
	cfg      *Config
	fields   []Field
	root     *section
	env      map[string]string
	sinks    map[string]Origin // kinds that were chosen
	bad      map[string]bool   // settings with a mistake: no second one about the same value
	mistakes []Mistake
	unread   bool // the file could not be read whole: what seems to be missing may stand in it
}

func newLoader(env []string) *loader {
	fields := Fields()
	l := &loader{
		cfg: &Config{origins: map[string]Origin{}}, fields: fields, root: newTree(fields),
		env: map[string]string{}, sinks: map[string]Origin{}, bad: map[string]bool{},
	}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		l.env[name] = value
	}
	for _, f := range fields {
		if f.Default != nil && !strings.Contains(f.Path, "[]") {
			f.set(l.cfg, 0, f.Default)
		}
	}
	l.cfg.Database.URL.url, l.cfg.Migrate.URL.url, l.cfg.Inbox.URL.url = true, true, true
	return l
}

// set stores a typed value.
func (f Field) set(c *Config, i int, value any) {
	switch p := f.at(c, i).(type) {
	case *string:
		*p = value.(string)
	case *bool:
		*p = value.(bool)
	case *int:
		*p = value.(int)
	case *ByteSize:
		*p = value.(ByteSize)
	case *Auto:
		*p = value.(Auto)
	default:
		if err := setText(p, fmt.Sprint(value)); err != nil {
			panic("config: default of " + f.Path + ": " + err.Error())
		}
	}
}

func (l *loader) findFile(opts Options) (path string, read bool) {
	path = opts.File
	if path == "" {
		path = DefaultFile
	}
	if opts.Dir != "" && !filepath.IsAbs(path) {
		path = filepath.Join(opts.Dir, path)
	}
	if opts.File != "" {
		return path, true
	}
	_, err := os.Stat(path)
	return path, !os.IsNotExist(err)
}

func (l *loader) mistake(o Origin, path, format string, args ...any) {
	l.bad[path] = true
	l.mistakes = append(l.mistakes, Mistake{Origin: o, Path: path, Text: fmt.Sprintf(format, args...)})
}

// assign stores what fill writes at the field, unless it breaks the field's rules.
func (l *loader) assign(f *Field, i int, path string, o Origin, fill func(ptr any) error) {
	try := f.at(&Config{Outbox: make([]Outbox, i+1)}, i)
	if err := cmp.Or(fill(try), f.rules(try)); err != nil { // a refused value leaves the weaker layer's in place
		l.mistake(o, path, "%s", err)
		return
	}
	if f.twin != "" && !l.clearTwin(f, path, o) {
		return
	}
	ptr := f.at(l.cfg, i)
	if err := cmp.Or(fill(ptr), f.rules(ptr)); err != nil {
		panic("config: " + path + " was good a moment ago: " + err.Error())
	}
	delete(l.bad, path)
	l.cfg.origins[path] = o
}

// clearTwin makes way for a secret or its _file form when a weaker layer has set the other one.
func (l *loader) clearTwin(f *Field, path string, o Origin) bool {
	twin := strings.TrimSuffix(path, "_file")
	if !strings.HasSuffix(f.Path, "_file") {
		twin = path + "_file"
	}
	other, set := l.cfg.origins[twin]
	if set && other.Layer == o.Layer {
		l.mistake(o, path, "%s is set too (%s); keep one of them", twin, other)
		return false
	}
	delete(l.cfg.origins, twin)
	return true
}

// outboxItem makes sure that the list has item i; the next one is appended with defaults.
func (l *loader) outboxItem(i int) bool {
	if i > len(l.cfg.Outbox) {
		return false
	}
	if i == len(l.cfg.Outbox) {
		l.cfg.Outbox = append(l.cfg.Outbox, Outbox{})
		for _, f := range l.fields {
			if f.Default != nil && strings.HasPrefix(f.Path, "outbox[]") {
				f.set(l.cfg, i, f.Default)
			}
		}
	}
	return true
}

// chooseSink notes that a kind of sink was named; a stronger layer can take it back by false.
func (l *loader) chooseSink(node *section, on bool, o Origin) {
	if node.later {
		l.mistake(o, "sink."+node.sink, "this sink is not in this version; it has kafka, stdout and file")
		return
	}
	if on {
		l.sinks[node.sink] = o
		l.cfg.origins["sink."+node.sink] = o
	} else {
		delete(l.sinks, node.sink)
	}
}

// finish fills what depends on other settings.
func (l *loader) finish() {
	if len(l.cfg.Outbox) == 0 {
		l.outboxItem(0)
	}
	for i := range l.cfg.Outbox {
		o := &l.cfg.Outbox[i]
		prefix := fmt.Sprintf("outbox[%d].", i)
		if o.Preset == "debezium" || o.Format == "debezium" {
			for key, set := range map[string]func(){"topic": func() { o.Topic = DebeziumTopic }, "format": func() { o.Format = "debezium" }} {
				if l.cfg.origins[prefix+key].Layer == LayerDefault && !l.bad[prefix+key] {
					set()
					l.cfg.origins[prefix+key] = Origin{Layer: LayerPreset}
				}
			}
		}
		if !strings.Contains(o.Table, ".") && o.Table != "" {
			o.Table = "public." + o.Table
		}
	}
	kinds := make([]string, 0, len(l.sinks))
	for kind := range l.sinks {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	if len(kinds) > 0 {
		l.cfg.Sink.Kind = kinds[0]
	}
}
