package config

import (
	"time"
)

// Config is the effective configuration: all layers merged, all checks passed. Units and defaults of each field stand in
// [Fields].
type Config struct {
	Database    Database
	Migrate     Migrate
	Inbox       Inbox
	Replication Replication
	Outbox      []Outbox // at least one
	Shards      int
	Sink        Sink

	PositionHeaders bool   // cdc-source, cdc-lsn and cdc-index in each record
	OnReject        string // park, halt, dead_letter
	OnStop          string // exit, wait
	Limits          Limits
	Messages        string // off, on
	DrainTimeout    time.Duration
	Retention       Retention
	Admin           Admin
	Log             Log

	origins map[string]Origin // by concrete path: "outbox[0].table"
}

// Database is the source database as the relay's role sees it.
type Database struct {
	URL         Secret // URL or keyword/value string; not set: libpq's environment (PGHOST, ...)
	Password    Secret // overrides the one in URL
	StandbyURLs []string
}

// Migrate is the connection of the owner, who makes tables and functions.
type Migrate struct {
	URL       Secret // not set: Database.URL
	Password  Secret
	RelayRole string // "": the user of Database.URL
}

// Inbox is the consumer's database, for the inbox verbs.
type Inbox struct {
	URL      Secret // not set: Database.URL
	Password Secret
}

// Replication names the slot and says how it is kept.
type Replication struct {
	Slot           string
	Publication    string
	StatusInterval time.Duration
	Failover       string // auto, on, off
}

// Outbox is one table that is published.
type Outbox struct {
	Table         string            // schema.table, as the catalog spells it, without quotes
	Preset        string            // native, debezium
	Columns       map[string]string // what the relay calls a column -> what the table calls it
	Topic         string            // rule for rows whose topic is null: "{aggregate_type}"
	TopicsAllowed []string          // empty: any
	Format        string            // plain, cloudevents, cloudevents-structured, debezium

	CloudEventsSource string // "": /cdc-relay/<schema.table>
	Debezium          Debezium
}

// Debezium are the settings of Debezium's outbox event router that change what a record looks like, and of the Kafka Connect
// converters around it. The router's topic replacement is Outbox.Topic.
type Debezium struct {
	EventKey            string // column; "": the aggregate id
	RouteByField        string // column; "": the aggregate type
	AdditionalPlacement string
	KeyConverter        string // string, json
	ValueConverter      string // auto, string, binary, json
}

// Sink is where events go. Kind says which of the others counts.
type Sink struct {
	Kind  string // kafka, stdout, file
	Kafka Kafka
	File  File
}

// The kinds of sinks of this version.
const (
	SinkKafka  = "kafka"
	SinkStdout = "stdout"
	SinkFile   = "file"
)

// File is the sink that appends a JSON object a line.
type File struct {
	Path string
}

// Kafka is the Kafka sink.
type Kafka struct {
	Brokers             []string // host:port
	ClientID            string
	Acks                string // all, 1, 0
	UnsafeAcks          bool
	Compression         string // none, gzip, snappy, lz4, zstd
	BatchBytes          ByteSize
	ExactlyOnce         bool
	TransactionalID     string // "": cdc-relay-<system identifier>-<slot>
	MaxRequestsInFlight Auto   // for each broker
	TopicCreate         bool
	TopicPartitions     Auto // auto: the broker's default
	TopicMissingTimeout time.Duration
	TLS                 ClientTLS
	SASL                SASL
}

// ClientTLS is TLS towards a broker; certificates are always verified.
type ClientTLS struct {
	Enabled    bool
	CAFile     string // "": the system's roots
	CertFile   string
	KeyFile    string
	ServerName string // "": the broker's host name
}

// SASL is how the relay proves to a broker who it is.
type SASL struct {
	Mechanism    string // off, plain, scram-sha-256, scram-sha-512, oauthbearer
	Username     string
	Password     Secret
	Token        Secret // oauthbearer: a ready-made token
	TokenURL     string // oauthbearer: endpoint of a client-credentials grant
	ClientID     string
	ClientSecret Secret
	Scopes       []string
}

// Limits bound memory and harm.
type Limits struct {
	MaxInFlightEvents int
	MaxInFlightBytes  ByteSize
	MaxParked         int
}

// Retention is about rows of the outbox that are wholly published.
type Retention struct {
	Keep        time.Duration // 0 keeps all
	Premake     int           // days
	PlainTables bool          // batched delete for tables that are not partitioned
}

// Admin is the HTTP listener.
type Admin struct {
	Listen string // host:port
	Token  Secret
	TLS    ServerTLS
}

// ServerTLS is TLS of a listener.
type ServerTLS struct {
	Enabled  bool
	CertFile string
	KeyFile  string
}

// Log says what is logged and how.
type Log struct {
	Level  string // trace, debug, info, warn, error
	Format string // auto, json, text
}

// Origin returns where the value at a concrete path ("sink.kafka.brokers", "outbox[0].table") came from.
func (c *Config) Origin(path string) Origin {
	return c.origins[path]
}

// InboxDatabase is the connection of the inbox verbs: inbox.url where it is set, else the relay's own.
func (c *Config) InboxDatabase() Database { return c.instead(c.Inbox.URL, c.Inbox.Password) }

// MigrateDatabase is the connection that migrations use: migrate.url where it is set, else the relay's own.
func (c *Config) MigrateDatabase() Database {
	return c.instead(c.Migrate.URL, c.Migrate.Password)
}

// instead is another connection where its URL is set, else the relay's own.
func (c *Config) instead(url, password Secret) Database {
	d := Database{URL: url, Password: password}
	if !d.URL.IsSet() {
		d.URL = c.Database.URL
		if !d.Password.IsSet() {
			d.Password = c.Database.Password
		}
	}
	return d
}
