package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Layer ranks where a value comes from; a higher one wins.
type Layer int

// The layers, weakest first.
const (
	LayerDefault Layer = iota
	LayerPreset        // a default that another setting changed
	LayerFile
	LayerEnv
	LayerFlag
)

// Origin is the place where a value was written.
type Origin struct {
	Layer  Layer
	File   string // LayerFile
	Line   int    // from 1; 0: the file as a whole
	Column int    // from 1
	Name   string // LayerEnv: the variable; LayerFlag: the path as it was written
}

// String is file:line:column, "environment NAME", "--set path", or "default".
func (o Origin) String() string {
	switch o.Layer {
	case LayerFile:
		if o.Line == 0 {
			return o.File
		}
		return fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column)
	case LayerEnv:
		return "environment " + o.Name
	case LayerFlag:
		return "--set " + o.Name
	case LayerPreset:
		return "preset"
	}
	return "default"
}

// Mistake is one thing that is wrong, and where.
type Mistake struct {
	Origin Origin
	Path   string // the setting, "" when the mistake is about the file's form
	Text   string // what is wrong and what to write instead
}

// String is "where: path: text".
func (m Mistake) String() string {
	var parts []string
	if m.Origin.Layer != LayerDefault && m.Origin.Layer != LayerPreset {
		parts = append(parts, m.Origin.String())
	}
	if m.Path != "" {
		parts = append(parts, m.Path)
	}
	return strings.Join(append(parts, m.Text), ": ")
}

// Invalid is the error of Load: all mistakes, in the order of the file, then environment, then flags.
type Invalid struct {
	Mistakes []Mistake
}

// Error is a line for each mistake.
func (e *Invalid) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

func sortMistakes(list []Mistake) {
	slices.SortStableFunc(list, func(a, b Mistake) int {
		rank := func(m Mistake) int {
			if m.Origin.Layer <= LayerPreset {
				return int(LayerFlag) + 1
			}
			return int(m.Origin.Layer)
		}
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.Origin.Line, b.Origin.Line),
			cmp.Compare(a.Origin.Column, b.Origin.Column),
			cmp.Compare(a.Origin.Name, b.Origin.Name),
		)
	})
}

// guess returns the candidate that a person most likely meant by word; "" when none is near.
func guess(word string, candidates []string) string {
	best, least := "", 1+max(1, len(word)/3)
	for _, c := range candidates {
		if d := distance(fold(word), fold(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// fold lets partitionKey and partition-key meet partition_key.
func fold(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// distance counts insertions, deletions, replacements and swaps of neighbours between a and b (optimal string
// alignment).
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
