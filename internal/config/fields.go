package config

import (
	"strings"
	"time"
)

// Field is one setting: a row of the table that everything else is derived from.
type Field struct {
	Path    string // "sink.kafka.brokers"; a member of a list's items: "outbox[].table"
	Default any    // typed; nil: nothing
	Unset   string // what happens when there is no default and nothing is written
	Doc     string // a sentence or two, without the default
	Enum    []string
	Min     any // same type as Default; nil: no bound
	Max     any
	Keys    []string // of a map: the keys it may have
	Example string   // for settings without a default
	Secret  bool     // its value is never shown, and it has a _file twin
	Since   string   // version that brought it
	Later   string   // not empty: this version knows the name, but any other value than the default is refused, for this reason

	twin string // of a _file row: the path of its secret; of a secret: the path of its _file row
	at   func(c *Config, i int) any
}

// Kind names the type of a field, for people and for the schema.
func (f Field) Kind() string {
	switch f.at(&Config{Outbox: make([]Outbox, 1)}, 0).(type) {
	case *bool:
		return "bool"
	case *int:
		return "int"
	case *ByteSize:
		return "size"
	case *time.Duration:
		return "duration"
	case *Auto:
		return "auto or int"
	case *[]string:
		return "list"
	case *map[string]string:
		return "map"
	case *Secret:
		return "secret"
	case secretFile:
		return "file"
	}
	return "string"
}

// DefaultText is the default as a person writes it; "" when there is none.
func (f Field) DefaultText() string {
	if f.Default == nil {
		return ""
	}
	c := &Config{Outbox: make([]Outbox, 1)}
	f.set(c, 0, f.Default)
	return formatText(f.at(c, 0))
}

// EnvName is the environment variable that sets the field; members of list items carry the index 0.
func (f Field) EnvName() string {
	path := strings.ReplaceAll(f.Path, "[]", "_0")
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// EnvPrefix starts the name of every environment variable that the relay reads.
const EnvPrefix = "CDC_RELAY_"

// Defaults that differ from zero. Sizes in bytes.
const (
	DefaultSlot                = "cdc_relay"
	DefaultStatusInterval      = time.Second
	DefaultOutboxTable         = "public.outbox"
	DefaultTopic               = "{aggregate_type}"
	DebeziumTopic              = "outbox.event.${routedByValue}"
	DefaultClientID            = "cdc-relay"
	DefaultBatchBytes          = 900 * KiB
	DefaultTopicMissingTimeout = time.Minute
	DefaultMaxInFlightEvents   = 20000
	DefaultMaxInFlightBytes    = 32 * MiB
	DefaultMaxParked           = 10000
	DefaultDrainTimeout        = 20 * time.Second
	DefaultRetentionKeep       = 72 * time.Hour
	DefaultPremake             = 7
	DefaultAdminListen         = "127.0.0.1:9630"
)

const first = "0.1.0"

// Fields is the table, in the order of the documentation, secrets' _file twins included.
func Fields() []Field {
	var table []Field
	for _, f := range rows() {
		if f.Since == "" {
			f.Since = first
		}
		if !f.Secret {
			table = append(table, f)
			continue
		}
		secretAt := f.at
		f.twin = f.Path + "_file"
		table = append(table, f, Field{
			Path: f.twin, Since: f.Since, twin: f.Path, Unset: "not used",
			Doc: "File that holds `" + f.Path + "`; read again at each connect.",
			at:  func(c *Config, i int) any { return secretFile{secretAt(c, i).(*Secret)} },
		})
	}
	return table
}

func rows() []Field {
	var table []Field
	table = append(table, databaseRows()...)
	table = append(table, outboxRows()...)
	table = append(table, sinkRows()...)
	return append(table, runtimeRows()...)
}

func databaseRows() []Field {
	return []Field{
		{
			Path: "database.url", Secret: true, Unset: "libpq's environment: `PGHOST`, `PGUSER`, ...", Example: "postgres://cdc_relay@localhost:5432/app",
			Doc: "Source database as the relay's role, direct or through a pooler in session mode. TLS as libpq spells it: `?sslmode=verify-full&sslrootcert=...`.",
			at:  func(c *Config, _ int) any { return &c.Database.URL },
		},
		{
			Path: "database.password", Secret: true, Unset: "the one in `database.url`", Doc: "Password of the relay's role; wins over the one in the URL.",
			at: func(c *Config, _ int) any { return &c.Database.Password },
		},
		{
			Path: "database.standby_urls", Unset: "none", Example: "postgres://cdc_relay@standby:5432/app",
			Doc: "Standbys to look at, to see whether a failover slot is synchronised there. Without passwords: those come from `database.password_file` or libpq's environment.",
			at:  func(c *Config, _ int) any { return &c.Database.StandbyURLs },
		},
		{
			Path: "migrate.url", Secret: true, Unset: "`database.url`", Example: "postgres://app_owner@localhost:5432/app",
			Doc: "The owner's connection: makes tables, functions and the publication.",
			at:  func(c *Config, _ int) any { return &c.Migrate.URL },
		},
		{
			Path: "migrate.password", Secret: true, Unset: "the one in `migrate.url`", Doc: "Password of the owner; wins over the one in the URL.",
			at: func(c *Config, _ int) any { return &c.Migrate.Password },
		},
		{
			Path: "migrate.relay_role", Unset: "the user of `database.url`", Example: "cdc_relay", Doc: "Role that is granted what the relay needs.",
			at: func(c *Config, _ int) any { return &c.Migrate.RelayRole },
		},
		{
			Path: "inbox.url", Secret: true, Unset: "`database.url`", Example: "postgres://billing@localhost:5432/billing",
			Doc: "A consumer's database, for the verbs of `inbox`: the owner of schema `cdc_inbox` migrates, any role that was granted it may do the rest.",
			at:  func(c *Config, _ int) any { return &c.Inbox.URL },
		},
		{
			Path: "inbox.password", Secret: true, Unset: "the one in `inbox.url`", Doc: "Its password; wins over the one in the URL.",
			at: func(c *Config, _ int) any { return &c.Inbox.Password },
		},
		{
			Path: "replication.slot", Default: DefaultSlot, Doc: "Replication slot, unique in the whole cluster; lower case letters, digits and `_`, 63 at most.",
			at: func(c *Config, _ int) any { return &c.Replication.Slot },
		},
		{
			Path: "replication.publication", Default: DefaultSlot, Doc: "Publication that narrows the slot to the outbox; same letters as the slot.",
			at: func(c *Config, _ int) any { return &c.Replication.Publication },
		},
		{
			Path: "replication.status_interval", Default: DefaultStatusInterval, Min: 100 * time.Millisecond, Max: 3 * time.Second,
			Doc: "A status update goes to the server at least this often.",
			at:  func(c *Config, _ int) any { return &c.Replication.StatusInterval },
		},
		{
			Path: "replication.failover", Default: "auto", Enum: []string{"auto", "on", "off"},
			Doc: "Whether the slot is made as a failover slot; `auto`: on Postgres 17 and later.",
			at:  func(c *Config, _ int) any { return &c.Replication.Failover },
		},
	}
}

// ColumnKeys are the names that `columns` maps to a table's own.
func ColumnKeys() []string {
	return []string{"event_id", "aggregate_type", "aggregate_id", "event_type", "topic", "partition_key", "payload", "headers", "created_at", "seq"}
}

func outboxRows() []Field {
	return []Field{
		{
			Path: "outbox[].table", Default: DefaultOutboxTable, Doc: "Table that applications insert into: `schema.table`, or a table of schema `public`; spelled as the catalog has it, without quotes.",
			at: func(c *Config, i int) any { return &c.Outbox[i].Table },
		},
		{
			Path: "outbox[].preset", Default: "native", Enum: []string{"native", "debezium"},
			Doc: "Which columns the table has; with `debezium` the default of `topic` is `" + DebeziumTopic + "`, that of `format` is `debezium`.",
			at:  func(c *Config, i int) any { return &c.Outbox[i].Preset },
		},
		{
			Path: "outbox[].columns", Unset: "those of the preset", Keys: ColumnKeys(), Example: "event_id=id,payload=body",
			Doc: "What the table calls a column, where it differs from the preset; an empty text: it has none.",
			at:  func(c *Config, i int) any { return &c.Outbox[i].Columns },
		},
		{
			Path: "outbox[].topic", Default: DefaultTopic,
			Doc: "Topic of rows whose `topic` is null: text with `{aggregate_type}`, `{aggregate_id}`, `{event_type}`, and `${routedByValue}` as Debezium writes it.",
			at:  func(c *Config, i int) any { return &c.Outbox[i].Topic },
		},
		{
			Path: "outbox[].topics_allowed", Unset: "any", Example: "orders,invoices", Doc: "Topics that rows may name; an event for another one is rejected.",
			at: func(c *Config, i int) any { return &c.Outbox[i].TopicsAllowed },
		},
		{
			Path: "outbox[].format", Default: "plain", Enum: []string{"plain", "cloudevents", "cloudevents-structured", "debezium"}, Doc: "What a record looks like.",
			at: func(c *Config, i int) any { return &c.Outbox[i].Format },
		},
		{
			Path: "outbox[].cloudevents_source", Unset: "`/cdc-relay/<schema.table>`", Example: "/shop/orders", Doc: "Attribute `source` of CloudEvents, a URI reference.",
			at: func(c *Config, i int) any { return &c.Outbox[i].CloudEventsSource },
		},
		{
			Path: "outbox[].debezium.event_key", Unset: "the aggregate id", Doc: "Debezium's `table.field.event.key`: the column of the key.",
			at: func(c *Config, i int) any { return &c.Outbox[i].Debezium.EventKey },
		},
		{
			Path: "outbox[].debezium.route_by_field", Unset: "the aggregate type", Doc: "Debezium's `route.by.field`: the column behind `${routedByValue}`.",
			at: func(c *Config, i int) any { return &c.Outbox[i].Debezium.RouteByField },
		},
		{
			Path: "outbox[].debezium.additional_placement", Unset: "none", Example: "type:header:eventType", Doc: "Debezium's `table.fields.additional.placement`, written as there.",
			at: func(c *Config, i int) any { return &c.Outbox[i].Debezium.AdditionalPlacement },
		},
		{
			Path: "outbox[].debezium.key_converter", Default: "string", Enum: []string{"string", "json"}, Doc: "Which converter of Kafka Connect wrote the keys.",
			at: func(c *Config, i int) any { return &c.Outbox[i].Debezium.KeyConverter },
		},
		{
			Path: "outbox[].debezium.value_converter", Default: "auto", Enum: []string{"auto", "string", "binary", "json"}, Doc: "Which one wrote the values; `auto`: string or binary, as the payload's type asks for.",
			at: func(c *Config, i int) any { return &c.Outbox[i].Debezium.ValueConverter },
		},
		{
			Path: "shards", Default: 1, Min: 1, Max: 64, Later: "several slots over one outbox come with `shards plan | apply`",
			Doc: "Slots that share the outbox (Postgres 15 and later). The number lives in the database; this only checks it.",
			at:  func(c *Config, _ int) any { return &c.Shards },
		},
	}
}

func runtimeRows() []Field {
	return []Field{
		{
			Path: "position_headers", Default: true, Doc: "Write `cdc-source`, `cdc-lsn` and `cdc-index` into each record.",
			at: func(c *Config, _ int) any { return &c.PositionHeaders },
		},
		{
			Path: "on_reject", Default: "park", Enum: []string{"park", "halt", "dead_letter"},
			Doc: "What happens to an event that the destination will never accept. `park`: it and later events of its topic and key wait in `cdc_relay.dead_letter`; `halt`: stop with exit code 8; `dead_letter`: the event alone is put aside.",
			at:  func(c *Config, _ int) any { return &c.OnReject },
		},
		{
			Path: "on_stop", Default: "exit", Enum: []string{"exit", "wait"},
			Doc: "When the relay stops for good: `exit` uses the exit code, `wait` stays up, not ready, and serves the reason.",
			at:  func(c *Config, _ int) any { return &c.OnStop },
		},
		{
			Path: "limits.max_in_flight_events", Default: DefaultMaxInFlightEvents, Min: 1, Max: 10_000_000, Doc: "Events read and not yet acknowledged; when there are as many, reading stops.",
			at: func(c *Config, _ int) any { return &c.Limits.MaxInFlightEvents },
		},
		{
			Path: "limits.max_in_flight_bytes", Default: DefaultMaxInFlightBytes, Min: MiB, Max: 64 * GiB, Doc: "The same in bytes of keys, values and headers.",
			at: func(c *Config, _ int) any { return &c.Limits.MaxInFlightBytes },
		},
		{
			Path: "limits.max_parked", Default: DefaultMaxParked, Min: 0, Max: 100_000_000, Doc: "Unresolved dead letters; one more stops the relay with exit code 8.",
			at: func(c *Config, _ int) any { return &c.Limits.MaxParked },
		},
		{
			Path: "messages", Default: "off", Enum: []string{"off", "on"},
			Doc: "Events without a table, written by `cdc_relay.emit_message` and published as rows of the first table would be; docs/tableless.md. Needs EXECUTE on `pg_logical_emit_message` revoked from PUBLIC.",
			at:  func(c *Config, _ int) any { return &c.Messages },
		},
		{
			Path: "drain_timeout", Default: DefaultDrainTimeout, Min: time.Duration(0), Max: time.Hour, Doc: "How long SIGTERM waits for acknowledgements; keep it below a pod's grace period of 30 s.",
			at: func(c *Config, _ int) any { return &c.DrainTimeout },
		},
		{
			Path: "retention.keep", Default: DefaultRetentionKeep, Min: time.Duration(0), Max: 24 * 3650 * time.Hour, Doc: "Partitions of the outbox older than this are dropped once wholly published; `0` keeps all.",
			at: func(c *Config, _ int) any { return &c.Retention.Keep },
		},
		{
			Path: "retention.premake", Default: DefaultPremake, Min: 1, Max: 366, Doc: "Days for which partitions are made in advance.",
			at: func(c *Config, _ int) any { return &c.Retention.Premake },
		},
		{
			Path: "retention.plain_tables", Default: false, Doc: "Delete published rows older than `retention.keep` from outbox tables that are not partitioned, in batches.",
			at: func(c *Config, _ int) any { return &c.Retention.PlainTables },
		},
		{
			Path: "admin.listen", Default: DefaultAdminListen, Doc: "Address of /livez, /readyz, /metrics and /api.",
			at: func(c *Config, _ int) any { return &c.Admin.Listen },
		},
		{
			Path: "admin.token", Secret: true, Unset: "writes are refused", Doc: "Bearer token for writes and for reads that show payloads.",
			at: func(c *Config, _ int) any { return &c.Admin.Token },
		},
		{
			Path: "admin.tls.enabled", Default: false, Doc: "Serve HTTPS; `admin.tls: true` is short for it.",
			at: func(c *Config, _ int) any { return &c.Admin.TLS.Enabled },
		},
		{
			Path: "admin.tls.cert_file", Unset: "required with `admin.tls.enabled`", Doc: "Certificate chain, PEM.",
			at: func(c *Config, _ int) any { return &c.Admin.TLS.CertFile },
		},
		{
			Path: "admin.tls.key_file", Unset: "required with `admin.tls.enabled`", Doc: "Private key, PEM.",
			at: func(c *Config, _ int) any { return &c.Admin.TLS.KeyFile },
		},
		{
			Path: "log.level", Default: "info", Enum: []string{"trace", "debug", "info", "warn", "error"}, Doc: "Least severity that is logged.",
			at: func(c *Config, _ int) any { return &c.Log.Level },
		},
		{
			Path: "log.format", Default: "auto", Enum: []string{"auto", "json", "text"}, Doc: "`auto`: JSON unless standard error is a terminal.",
			at: func(c *Config, _ int) any { return &c.Log.Format },
		},
	}
}
