package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/kafka/batch"
	"github.com/cdc-relay/cdc-relay/sink/kafka/pace"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
)

// Defaults of Config.
const (
	DefaultClientID            = "cdc-relay"
	DefaultBatchBytes          = 900 << 10
	DefaultTopicMissingTimeout = 60 * time.Second
	DefaultRequestTimeout      = 10 * time.Second
	DefaultDialTimeout         = 5 * time.Second
	DefaultMetadataTTL         = 30 * time.Second
)

// maxWindow is how many batches of a producer a partition remembers (KIP-98): more than that must not be under way.
const maxWindow = 5

// Acks is how many replicas hold a batch before it counts.
type Acks int16

// Acks as the protocol numbers them.
const (
	AcksAll    Acks = -1 // all in-sync replicas
	AcksNone   Acks = 0  // nobody: what is written to the socket counts as delivered
	AcksLeader Acks = 1
)

// ParseAcks reads the configuration's value: all (or -1), 1, 0.
func ParseAcks(s string) (Acks, error) {
	switch s {
	case "all", "-1":
		return AcksAll, nil
	case "1":
		return AcksLeader, nil
	case "0":
		return AcksNone, nil
	}
	return AcksAll, fmt.Errorf("acks %q is unknown: use all, 1 or 0", s)
}

// Config of a sink. NewConfig fills the defaults in.
type Config struct {
	Brokers  []string // host:port of some brokers of the cluster; the others are learned
	ClientID string   // default cdc-relay
	Acks     Acks     // default AcksAll; any other needs UnsafeAcks
	// UnsafeAcks says that lost and repeated events are acceptable; without it Acks other than AcksAll is an error.
	UnsafeAcks  bool
	Compression batch.Codec // default none
	BatchBytes  int         // of a batch before compression, default 900 KiB; a larger event gets a batch of its own

	// MaxRequestsInFlight for each broker: 0 adapts (1 to a near broker, up to 20 when the way takes milliseconds).
	MaxRequestsInFlight int

	TopicCreate         bool          // make missing topics
	TopicPartitions     int           // of those; 0: the broker's num.partitions
	TopicMissingTimeout time.Duration // after which events of a missing topic are rejected; default 60 s

	RequestTimeout time.Duration // how long a leader may wait for its replicas, default 10 s; a dead connection is given up 5 s later
	DialTimeout    time.Duration // for connection and handshakes together, default 5 s
	MetadataTTL    time.Duration // how old the view of the cluster may get without an error, default 30 s

	TLS  *tls.Config     // nil: plain text
	SASL wire.Mechanisms // nil: none; package auth makes them

	// Connect replaces net.Dialer, for tests; nil: the network.
	Connect func(ctx context.Context, network, addr string) (net.Conn, error)
}

// NewConfig returns the defaults, for these brokers.
func NewConfig(brokers ...string) Config {
	return Config{
		Brokers: brokers, ClientID: DefaultClientID, Acks: AcksAll, BatchBytes: DefaultBatchBytes,
		TopicMissingTimeout: DefaultTopicMissingTimeout, RequestTimeout: DefaultRequestTimeout,
		DialTimeout: DefaultDialTimeout, MetadataTTL: DefaultMetadataTTL,
	}
}

// Validate returns all mistakes at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Brokers) == 0 {
		bad("sink.kafka.brokers is empty: name at least one host:port")
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			bad("sink.kafka.brokers: %q is no host:port: %w", b, err)
		}
	}
	if c.Acks != AcksAll && !c.UnsafeAcks {
		bad("sink.kafka.acks other than all loses events: set sink.kafka.unsafe_acks: true if that is wanted")
	}
	if c.Acks < AcksAll || c.Acks > AcksLeader {
		bad("sink.kafka.acks: %d is none of all, 1, 0", c.Acks)
	}
	if c.BatchBytes < 1<<10 || c.BatchBytes > 64<<20 {
		bad("sink.kafka.batch_bytes: %d is outside 1 KiB to 64 MiB", c.BatchBytes)
	}
	if c.MaxRequestsInFlight < 0 || c.MaxRequestsInFlight > pace.Most {
		bad("sink.kafka.max_requests_in_flight: %d is neither auto nor 1 to %d", c.MaxRequestsInFlight, pace.Most)
	}
	if c.TopicPartitions < 0 {
		bad("sink.kafka.topic_partitions: %d is negative", c.TopicPartitions)
	}
	for name, d := range map[string]time.Duration{
		"topic_missing_timeout": c.TopicMissingTimeout, "request timeout": c.RequestTimeout,
		"dial timeout": c.DialTimeout, "metadata TTL": c.MetadataTTL,
	} {
		if d <= 0 {
			bad("sink.kafka: %s must be positive, not %v", name, d)
		}
	}
	if strings.ContainsAny(c.ClientID, "\x00\n") || len(c.ClientID) > 249 {
		bad("sink.kafka.client_id: %q is no name", c.ClientID)
	}
	return errors.Join(errs...)
}

func (c *Config) idempotent() bool { return c.Acks == AcksAll }

func (c *Config) dialer() *wire.Dialer {
	return &wire.Dialer{ClientID: c.ClientID, TLS: c.TLS, SASL: c.SASL, Timeout: c.DialTimeout, Connect: c.Connect}
}

// What Check may find; errors.Is tells them apart.
var (
	ErrUnreachable    = errors.New("no Kafka broker can be reached")     // wait, or correct sink.kafka.brokers
	ErrAuthentication = wire.ErrAuthentication                           // correct sink.kafka.sasl
	ErrTopicMissing   = errors.New("topic does not exist")               // create it, or let the sink do it
	ErrNotAuthorised  = errors.New("the relay's principal has no right") // grant it
)

// Check connects to the cluster as the sink would, before there is an event: it returns nil when a broker answers, lets us
// in, gives out producer ids, and knows each of topics with a leader for each partition. It changes nothing, and returns
// everything that it found at once.
func Check(ctx context.Context, cfg Config, topics ...string) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	conn, err := reach(ctx, &cfg)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var errs []error
	if cfg.idempotent() {
		if err := producible(ctx, conn, cfg.DialTimeout); err != nil {
			errs = append(errs, authorisation(err))
		}
	}
	res, err := conn.Metadata(topics, cfg.DialTimeout)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("ask for topics: %w", err))...)
	}
	for _, t := range res.Topics {
		switch code := wire.Code(t.ErrorCode); {
		case code == wire.UnknownTopic && cfg.TopicCreate:
		case code == wire.UnknownTopic:
			errs = append(errs, fmt.Errorf("topic %s: %w", t.Name, ErrTopicMissing))
		case code != wire.OK:
			errs = append(errs, fmt.Errorf("topic %s: %w", t.Name, authorisation(code)))
		}
		for _, p := range t.Partitions {
			if p.LeaderID < 0 {
				errs = append(errs, fmt.Errorf("topic %s: partition %d has no leader", t.Name, p.PartitionIndex))
			}
		}
	}
	return errors.Join(errs...)
}

// producible asks for a producer id until the broker has one to give: it loads its coordinator for a while after its start.
func producible(ctx context.Context, conn *wire.Conn, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause := sink.Backoff{}
	for {
		_, _, err := conn.InitProducerID(timeout)
		var code wire.Code
		if err == nil || !errors.As(err, &code) || code.Class() != wire.Retry {
			return err
		}
		if pause.Wait(ctx) != nil {
			return err
		}
	}
}

func reach(ctx context.Context, cfg *Config) (*wire.Conn, error) {
	errs := []error{ErrUnreachable}
	for _, addr := range cfg.Brokers {
		conn, err := cfg.dialer().Dial(ctx, addr)
		if err == nil {
			return conn, nil
		}
		if errors.Is(err, wire.ErrAuthentication) {
			return nil, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func authorisation(err error) error {
	var code wire.Code
	if errors.As(err, &code) && (code == wire.TopicAuthorization || code == wire.ClusterAuthorization) {
		return fmt.Errorf("%w: %w", ErrNotAuthorised, err)
	}
	return err
}
