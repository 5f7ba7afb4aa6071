package inboxkafka

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/segmentio/kafka-go/sasl"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// Start says where a consumer begins that has neither a row in the inbox nor an offset in Kafka.
type Start int

// The starts.
const (
	StartFirst Start = iota // at the first record that the topic still holds
	StartLast               // at the end: with what comes from now on
)

// Config is what Run needs. Take NewConfig and change what differs: zero values are not defaults.
type Config[T any] struct {
	Brokers []string // host:port, some of them
	Topics  []string
	Group   string // of Kafka; "": the consumer's name

	// Store keeps the inbox (inboxpgx, inboxsql). The caller closes it after Run has returned. It needs a connection for each
	// partition and worker, and three.
	Store inbox.Store[T]
	// Consumer is the name under which events count as taken. Another name takes them all again.
	Consumer string
	// Exactly one of the two.
	Handler      inbox.Handler[T]
	BatchHandler inbox.BatchHandler[T]
	// Inbox are the inbox's own options (ids, poison, mode, metrics). Its Workers are set to those below.
	Inbox inbox.Options

	Start   Start
	Workers int // for each partition, by key; 1: in the order of the partition. Default 1
	// MaxBatch is how many messages share a transaction, at most. Default 500; 1: no batches. The rows that a handler locks stay
	// locked until the last message of its batch: handlers that update rows which several partitions share had better take 1, or
	// small batches, or they deadlock now and then (each costs a second, and the batch again).
	MaxBatch    int
	MaxAttempts int // of a message until it is poison, those after RetryAfter among them; they survive a restart. Default 5

	MinBackoff     time.Duration // before a message is tried again; doubles up to MaxBackoff. Default 100 ms
	MaxBackoff     time.Duration // Default 30 s
	HandlerTimeout time.Duration // of one transaction; its context ends then, and soon after it is left behind. Default 1 min
	DrainTimeout   time.Duration // for what is under way when Run's context ends. Default 20 s

	SessionTimeout    time.Duration // a member that does not answer for so long loses its partitions. Default 10 s; brokers allow 6 s and more
	WatermarkInterval time.Duration // how often the position is written to the database, at most 1 s. Default 1 s
	CommitInterval    time.Duration // how often offsets are committed to Kafka, where they are only a hint. Default 5 s
	RetryInterval     time.Duration // how often dead letters with a verdict are looked for, besides the notification. Default 5 s

	BufferBytes    int           // of records that were read and wait for their handlers, all partitions together. Default 32 MiB
	PartitionBytes int           // of one partition in one request. Default 1 MiB
	MaxWait        time.Duration // how long a broker holds a request that finds nothing. Default 500 ms

	ClientID string         // Default "cdc-relay-inbox"
	TLS      *tls.Config    // nil: plain. Default nil
	SASL     sasl.Mechanism // nil: none. Default nil
	Log      *slog.Logger   // Default slog.Default()

	// OnHalt is told of a partition that stops although its member goes on: a poison message under HaltOnPoison, a position beyond
	// the log's end, a message that the high-water mark refuses. It must return soon. A program that would rather end cancels
	// Run's context here. nil: the log says it.
	OnHalt func(topic string, partition int32, err error)
}

// Defaults of Config.
const (
	DefaultMaxBatch          = 500
	DefaultMaxAttempts       = 5
	DefaultMinBackoff        = 100 * time.Millisecond
	DefaultMaxBackoff        = 30 * time.Second
	DefaultHandlerTimeout    = time.Minute
	DefaultDrainTimeout      = 20 * time.Second
	DefaultSessionTimeout    = 10 * time.Second
	DefaultWatermarkInterval = time.Second
	DefaultCommitInterval    = 5 * time.Second
	DefaultRetryInterval     = 5 * time.Second
	DefaultBufferBytes       = 32 << 20
	DefaultPartitionBytes    = 1 << 20
	DefaultMaxWait           = 500 * time.Millisecond
	DefaultClientID          = "cdc-relay-inbox"
)

// NewConfig returns the defaults; Brokers, Topics, Store, Consumer and a handler are wanting.
func NewConfig[T any]() Config[T] {
	return Config[T]{
		Workers: 1, MaxBatch: DefaultMaxBatch, MaxAttempts: DefaultMaxAttempts, MinBackoff: DefaultMinBackoff, MaxBackoff: DefaultMaxBackoff,
		HandlerTimeout: DefaultHandlerTimeout, DrainTimeout: DefaultDrainTimeout, SessionTimeout: DefaultSessionTimeout,
		WatermarkInterval: DefaultWatermarkInterval, CommitInterval: DefaultCommitInterval, RetryInterval: DefaultRetryInterval,
		BufferBytes: DefaultBufferBytes, PartitionBytes: DefaultPartitionBytes, MaxWait: DefaultMaxWait,
		ClientID: DefaultClientID, Log: slog.Default(),
	}
}

// Validate returns all mistakes at once.
func (c *Config[T]) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(len(c.Brokers) > 0, "Brokers: name at least one")
	need(len(c.Topics) > 0, "Topics: name at least one")
	seen := map[string]bool{}
	for _, t := range c.Topics {
		need(t != "" && !seen[t], "Topics: %q is empty or stands twice", t)
		seen[t] = true
	}
	need(c.Store != nil, "Store: open one with inboxpgx or inboxsql")
	need((c.Handler == nil) != (c.BatchHandler == nil), "Handler, BatchHandler: set one of the two")
	need(c.Start == StartFirst || c.Start == StartLast, "Start: %d is neither StartFirst nor StartLast", c.Start)
	need(c.Inbox.Workers == 0 || c.Inbox.Workers == c.Workers, "Inbox.Workers: leave it 0 and set Workers")
	for _, n := range []struct {
		name     string
		is, from int
	}{
		{"Workers", c.Workers, 1},
		{"MaxBatch", c.MaxBatch, 1},
		{"MaxAttempts", c.MaxAttempts, 1},
		{"PartitionBytes", c.PartitionBytes, 64 << 10},
		{"BufferBytes", c.BufferBytes, 1 << 20},
	} {
		need(n.is >= n.from, "%s: %d is less than %d", n.name, n.is, n.from)
	}
	for _, d := range []struct {
		name         string
		is, from, to time.Duration
	}{
		{"MaxBackoff", c.MaxBackoff, time.Millisecond, time.Hour},
		{"MinBackoff", c.MinBackoff, time.Millisecond, c.MaxBackoff},
		{"HandlerTimeout", c.HandlerTimeout, time.Millisecond, 24 * time.Hour},
		{"DrainTimeout", c.DrainTimeout, 0, time.Hour},
		{"SessionTimeout", c.SessionTimeout, time.Second, time.Hour},
		{"WatermarkInterval", c.WatermarkInterval, time.Millisecond, time.Second},
		{"CommitInterval", c.CommitInterval, time.Millisecond, time.Hour},
		{"RetryInterval", c.RetryInterval, time.Millisecond, time.Hour},
		{"MaxWait", c.MaxWait, time.Millisecond, 30 * time.Second},
	} {
		need(d.is >= d.from && d.is <= d.to, "%s: %s is not between %s and %s", d.name, d.is, d.from, d.to)
	}
	need(c.Log != nil, "Log: nil (slog.New(slog.DiscardHandler) is silent)")
	if _, err := c.processor(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("inboxkafka: %w", errors.Join(errs...))
}

// processor makes the inbox's part, which checks the consumer's name and what does not go with several workers.
func (c *Config[T]) processor() (*inbox.Processor[T], error) {
	o := c.Inbox
	o.Workers = max(1, c.Workers)
	if c.BatchHandler != nil {
		return inbox.NewBatchProcessor(c.Store, c.Consumer, sifted(c.BatchHandler), o)
	}
	return inbox.NewProcessor(c.Store, c.Consumer, sifted(c.Handler), o)
}

// settings are what of a Config its parts need, whatever the transaction's type.
type settings struct {
	processor
	store

	topics                                               []string
	consumer, group                                      string
	start                                                Start
	ids                                                  inbox.IDPolicy
	workers, maxBatch, maxAttempts                       int
	minBackoff, maxBackoff, handlerTimeout, drainTimeout time.Duration
	session, watermarks, commits, retries                time.Duration
	log                                                  *slog.Logger
	metrics                                              inbox.Metrics
	onHalt                                               func(topic string, partition int32, err error)

	alone chan struct{} // holds a token while a cautious lane handles a message

	at func(point string) // tests kill the process there
}

func (c *Config[T]) settings() (*settings, error) {
	p, err := c.processor()
	if err != nil {
		return nil, fmt.Errorf("inboxkafka: %w", err)
	}
	s := &settings{
		processor: p, store: c.Store, topics: c.Topics, consumer: c.Consumer, group: cmp.Or(c.Group, c.Consumer), start: c.Start,
		ids: c.Inbox.IDs, workers: c.Workers, maxBatch: c.MaxBatch, maxAttempts: c.MaxAttempts, minBackoff: c.MinBackoff,
		maxBackoff: c.MaxBackoff, handlerTimeout: c.HandlerTimeout, drainTimeout: c.DrainTimeout, session: c.SessionTimeout,
		watermarks: c.WatermarkInterval, commits: c.CommitInterval, retries: c.RetryInterval, log: c.Log, metrics: c.Inbox.Metrics,
		onHalt: c.OnHalt, alone: make(chan struct{}, 1), at: func(string) {},
	}
	if c.Inbox.Mode == inbox.ByMark { // a message without an id goes by its position there
		s.ids = inbox.UsePosition
	}
	if s.metrics == nil {
		s.metrics = inbox.NoMetrics{}
	}
	return s, nil
}
