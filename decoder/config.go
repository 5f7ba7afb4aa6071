package decoder

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/record"
)

// Names of the presets.
const (
	PresetNative   = "native"
	PresetDebezium = "debezium"
)

// DefaultTopic is the rule of a table that has none, with preset native.
const DefaultTopic = "{aggregate_type}"

// Table says how rows of one table become events.
type Table struct {
	Name   string // schema.table, as Postgres spells them, without quotes
	Preset string // native (default) or debezium: which columns to expect

	// Columns maps logical names (event_id, aggregate_type, aggregate_id, event_type, topic, partition_key, payload, headers,
	// created_at, seq) to the table's columns, over what the preset says; "" says that the table has none. event_id and
	// payload are needed, and what the topic rule reads. A mapped column that is missing is an error at the first row, but
	// for the native preset's created_at and seq.
	Columns map[string]string

	// Topic is the rule for rows whose own topic is null: record.NewRouter. "" is "{aggregate_type}", and for preset or format
	// debezium the router's replacement.
	Topic         string
	TopicsAllowed []string // nil: any

	Format            string          // "" is plain, for preset debezium it is debezium
	CloudEventsSource string          // record.Options
	Debezium          record.Debezium // for preset debezium in another format only EventKey, RouteByField, TopicReplacement
}

// Config is what a Decoder needs to know.
type Config struct {
	Tables []Table

	Source          string // cdc-source: <system identifier>:<timeline>:<incarnation>:<slot>
	SourcePrev      string // cdc-source-prev, "" for none
	PositionHeaders bool   // write cdc-source, cdc-lsn and cdc-index

	// Messages are the spans in which logical messages of ours (Prefix) are events; none: all are passed over. An event of a
	// message is routed and formatted as a row of the first table with the columns of preset native would be.
	Messages []Span

	Publication string // names of the publications, as START_REPLICATION has them: part of Hash, nothing else

	Pool *Pool // where blocks come from; nil: new ones, which the garbage collector frees
}

// table is a Table that has been checked.
type table struct {
	name    string
	columns [record.NumColumns]mapping
	format  *record.Format
	router  *record.Router
}

// mapping is the table's column behind a logical one; name "" is none.
type mapping struct {
	name     string
	optional bool // may be missing
}

// newTable checks one table and names all that is wrong with it.
func newTable(cfg *Config, t Table) (*table, error) {
	out := &table{name: t.Name}
	var errs []error
	if schema, name, ok := strings.Cut(t.Name, "."); !ok || schema == "" || name == "" {
		errs = append(errs, errors.New("name is not schema.table"))
	}
	preset := t.Preset
	switch preset {
	case "", PresetNative:
		for c := range record.ColRoutedBy {
			out.columns[c] = mapping{c.String(), c == record.ColCreatedAt || c == record.ColSeq}
		}
	case PresetDebezium:
		out.columns[record.ColEventID].name = "id"
		out.columns[record.ColAggregateType].name = "aggregatetype"
		out.columns[record.ColAggregateID].name = "aggregateid"
		out.columns[record.ColEventType].name = "type"
		out.columns[record.ColPayload].name = "payload"
	default:
		errs = append(errs, fmt.Errorf("preset %q is unknown: it is native or debezium", preset))
	}
	for _, logical := range slices.Sorted(maps.Keys(t.Columns)) {
		column, ok := columnNamed(logical)
		if !ok {
			errs = append(errs, fmt.Errorf("columns.%s is no column of an event: they are event_id, aggregate_type, aggregate_id,"+
				" event_type, topic, partition_key, payload, headers, created_at, seq", logical))
			continue
		}
		out.columns[column] = mapping{name: t.Columns[logical]}
	}
	format := t.Format
	if format == "" && preset == PresetDebezium {
		format = record.DebeziumRouter
	}
	topic := t.Topic
	if preset == PresetDebezium || format == record.DebeziumRouter {
		errs = append(errs, out.debezium(t.Debezium, &topic)...)
	} else if topic == "" {
		topic = DefaultTopic
	}
	debezium := t.Debezium
	if format != record.DebeziumRouter && preset == PresetDebezium {
		debezium.RouteByField, debezium.TopicReplacement, debezium.EventKey = "", "", ""
	}
	var err error
	if out.router, err = record.NewRouter(topic, t.TopicsAllowed); err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, out.needed()...)
	}
	out.format, err = record.New(record.Options{
		Format: format, PositionHeaders: cfg.PositionHeaders, Source: cfg.Source, SourcePrev: cfg.SourcePrev,
		CloudEventsSource: t.CloudEventsSource, Table: t.Name, Debezium: debezium,
	})
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("table %q: %w", t.Name, err)
	}
	return out, nil
}

// debezium applies the router's options that are about columns and topics.
func (t *table) debezium(d record.Debezium, topic *string) []error {
	var errs []error
	t.columns[record.ColRoutedBy] = mapping{name: t.columns[record.ColAggregateType].name}
	if d.RouteByField != "" {
		t.columns[record.ColRoutedBy].name = d.RouteByField
	}
	if d.EventKey != "" {
		if t.columns[record.ColPartitionKey].name != "" && t.columns[record.ColPartitionKey].name != d.EventKey {
			errs = append(errs, fmt.Errorf("columns.partition_key and debezium's event key %q name two columns: keep one", d.EventKey))
		}
		t.columns[record.ColPartitionKey] = mapping{name: d.EventKey}
	}
	switch {
	case *topic != "" && d.TopicReplacement != "":
		errs = append(errs, errors.New("topic and debezium's topic replacement are both set: keep one"))
	case *topic == "" && d.TopicReplacement != "":
		*topic = d.TopicReplacement
	case *topic == "":
		*topic = record.DebeziumTopic
	}
	return errs
}

// needed names the columns without which no event can be made.
func (t *table) needed() []error {
	var errs []error
	for _, c := range []record.Column{record.ColEventID, record.ColPayload} {
		if t.columns[c].name == "" {
			errs = append(errs, fmt.Errorf("columns.%s is empty: an event needs it", c))
		}
	}
	for _, c := range t.router.Columns() {
		if t.columns[c].name == "" {
			errs = append(errs, fmt.Errorf("topic rule reads %s, which is not mapped: set columns.%s or another rule", c, c))
		}
	}
	return errs
}

func columnNamed(logical string) (record.Column, bool) {
	for c := range record.ColRoutedBy {
		if c.String() == logical {
			return c, true
		}
	}
	return 0, false
}
