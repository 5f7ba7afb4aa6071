package config

import (
	"strconv"
	"strings"
	"time"
)

// Value is one setting of an effective configuration, fit for showing: secrets are masked.
type Value struct {
	Path   string // concrete: "outbox[0].table"
	Field  Field
	Text   string // as a person writes it; "" when nothing is set
	Any    any    // for JSON: string, bool, int, []string, map[string]string; nil when nothing is set
	Origin Origin
}

// Values lists every setting in the order of the table, list items in place.
func (c *Config) Values() []Value {
	var values []Value
	fields := Fields()
	for n := 0; n < len(fields); n++ {
		if !strings.HasPrefix(fields[n].Path, "outbox[]") {
			values = append(values, c.value(fields[n], fields[n].Path, 0))
			continue
		}
		last := n
		for last+1 < len(fields) && strings.HasPrefix(fields[last+1].Path, "outbox[]") {
			last++
		}
		for i := range c.Outbox {
			for _, f := range fields[n : last+1] {
				values = append(values, c.value(f, strings.Replace(f.Path, "[]", "["+strconv.Itoa(i)+"]", 1), i))
			}
		}
		n = last
	}
	return values
}

func (c *Config) value(f Field, path string, i int) Value {
	ptr := f.at(c, i)
	v := Value{Path: path, Field: f, Text: formatText(ptr), Origin: c.origins[path]}
	switch p := ptr.(type) {
	case *bool:
		v.Any = *p
	case *int:
		v.Any = *p
	case *Auto:
		v.Any = v.Text
		if !p.Auto {
			v.Any = p.N
		}
	case *[]string:
		if len(*p) > 0 {
			v.Any = *p
		}
	case *map[string]string:
		if len(*p) > 0 {
			v.Any = *p
		}
	case *time.Duration, *ByteSize:
		v.Any = v.Text
	default:
		if v.Text != "" {
			v.Any = v.Text
		}
	}
	return v
}
