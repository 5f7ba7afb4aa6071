package record

import (
	"errors"
	"fmt"
	"strings"
)

// maxTopic is the longest topic name that Kafka takes (org.apache.kafka.common.internals.Topic).
const maxTopic = 249

// maxInterned bounds the names a Router remembers, so that a rule over aggregate ids cannot grow it.
const maxInterned = 4096

// ValidTopic says whether Kafka takes a topic of that name: 1 to 249 of [a-zA-Z0-9._-], and neither "." nor "..".
func ValidTopic(name string) bool {
	if name == "" || len(name) > maxTopic || name == "." || name == ".." {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// Router names the topic of each row. It remembers names: one goroutine at a time.
type Router struct {
	parts   []part
	allowed map[string]bool
	names   map[string]string
	scratch []byte
}

// part is text, or the value of a column.
type part struct {
	text   string
	column Column // when text is ""
}

// NewRouter parses a rule. {aggregate_type}, {aggregate_id} and {event_type} stand for columns, ${routedByValue} for the one
// that Debezium's route.by.field names; everything else is text. With an allow-list no other topic is ever named.
func NewRouter(rule string, allowed []string) (*Router, error) {
	r := &Router{names: make(map[string]string)}
	var errs []error
	if rule == "" {
		errs = append(errs, errors.New(`topic rule is empty: "{aggregate_type}" is the default`))
	}
	rest := rule
	for rest != "" {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			open = len(rest)
		}
		text, dollar := rest[:open], open > 0 && open < len(rest) && rest[open-1] == '$'
		if dollar {
			text = text[:open-1]
		}
		if text != "" {
			r.parts = append(r.parts, part{text: text})
		}
		if open == len(rest) {
			break
		}
		name, after, closed := strings.Cut(rest[open+1:], "}")
		column, known := ruleColumn(name, dollar)
		if !closed || !known {
			errs = append(errs, fmt.Errorf("topic rule %q: no column at %q: it knows {aggregate_type}, {aggregate_id}, {event_type}"+
				" and, for Debezium's router, ${routedByValue}", rule, rest[open:]))
			break
		}
		r.parts = append(r.parts, part{column: column})
		rest = after
	}
	for _, name := range allowed {
		if r.allowed == nil {
			r.allowed = make(map[string]bool, len(allowed))
		}
		r.allowed[name] = true
		if !ValidTopic(name) {
			errs = append(errs, fmt.Errorf("allowed topic %q is no name that Kafka takes: 1 to 249 of a-z A-Z 0-9 . _ -", name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

func ruleColumn(name string, dollar bool) (Column, bool) {
	switch {
	case dollar && name == "routedByValue":
		return ColRoutedBy, true
	case dollar:
	case name == "aggregate_type":
		return ColAggregateType, true
	case name == "aggregate_id":
		return ColAggregateID, true
	case name == "event_type":
		return ColEventType, true
	}
	return 0, false
}

// Columns are those that the rule reads.
func (r *Router) Columns() []Column {
	var columns []Column
	for _, p := range r.parts {
		if p.text == "" {
			columns = append(columns, p.column)
		}
	}
	return columns
}

// Topic names the row's topic: its own column, else the rule. refused says why the event must not be sent there, "" otherwise.
// A name seen before costs no allocation.
func (r *Router) Topic(row *Row) (topic, refused string) {
	name := row.Values[ColTopic]
	if name == nil {
		name = r.scratch[:0]
		for _, p := range r.parts {
			if p.text != "" {
				name = append(name, p.text...)
				continue
			}
			value := row.Values[p.column]
			if value == nil {
				return "", "topic rule needs " + p.column.String() + ", which is null"
			}
			name = append(name, value...)
		}
		r.scratch = name
	}
	topic, known := r.names[string(name)]
	if !known {
		if len(r.names) >= maxInterned {
			clear(r.names)
		}
		topic = string(name)
		if len(topic) <= maxTopic {
			r.names[topic] = topic
		}
	}
	if topic == "" {
		return "", "topic is empty"
	}
	if r.allowed != nil && !r.allowed[topic] {
		return topic, fmt.Sprintf("topic %q is not in topics_allowed", topic)
	}
	return topic, ""
}
