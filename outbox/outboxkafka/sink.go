package outboxkafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/record"
	"github.com/cdc-relay/cdc-relay/sink/kafka/partition"
)

// Defaults of Config.
const (
	DefaultClientID    = "cdc-relay-outbox"
	DefaultDialTimeout = 5 * time.Second
	DefaultMetadataTTL = 5 * time.Second
	DefaultIdleTimeout = 5 * time.Minute
)

// Config of a sink. NewConfig fills the defaults in.
type Config struct {
	Brokers []string // host:port of some brokers of the cluster; the others are learned
	// Topics are those whose partitions and leaders are kept in mind. Default: all of the cluster; name them where it has
	// many. A topic that is not among them is not published to.
	Topics      []string
	ClientID    string         // default "cdc-relay-outbox"
	DialTimeout time.Duration  // for connection and handshakes together, default 5 s
	MetadataTTL time.Duration  // how old the view of the cluster may get, default 5 s
	IdleTimeout time.Duration  // after which a connection is closed, below the brokers' connections.max.idle.ms; default 5 min
	TLS         *tls.Config    // nil: plain text
	SASL        sasl.Mechanism // nil: none
}

// NewConfig returns the defaults, for these brokers.
func NewConfig(brokers ...string) Config {
	return Config{
		Brokers: brokers, ClientID: DefaultClientID, DialTimeout: DefaultDialTimeout, MetadataTTL: DefaultMetadataTTL, IdleTimeout: DefaultIdleTimeout,
	}
}

// Validate returns all mistakes at once.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("no brokers: name at least one host:port"))
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			errs = append(errs, fmt.Errorf("broker %q is no host:port: %w", b, err))
		}
	}
	for _, t := range c.Topics {
		if !record.ValidTopic(t) {
			errs = append(errs, fmt.Errorf("topic %q is no name that Kafka takes", t))
		}
	}
	if c.DialTimeout <= 0 || c.MetadataTTL <= 0 || c.IdleTimeout <= 0 {
		errs = append(errs, errors.New("dial timeout, metadata TTL and idle timeout: want more than 0"))
	}
	return errors.Join(errs...)
}

// ErrClosed is in the error of a Publish after Close.
var ErrClosed = errors.New("the sink is closed")

// Sink publishes to one cluster. It implements outbox.OptimisticSink; any number of goroutines may use it.
type Sink struct {
	client    kafka.Client
	transport *kafka.Transport

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
}

// Open returns a sink. It does not wait for a broker: Warm does.
func Open(c Config) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("open an optimistic sink: %w", err)
	}
	t := &kafka.Transport{
		ClientID: c.ClientID, DialTimeout: c.DialTimeout, IdleTimeout: c.IdleTimeout, MetadataTTL: c.MetadataTTL, MetadataTopics: c.Topics,
		TLS: c.TLS, SASL: c.SASL,
	}
	return &Sink{client: kafka.Client{Addr: kafka.TCP(c.Brokers...), Transport: t}, transport: t}, nil
}

// Warm connects and looks at the cluster, so that the first event does not wait for it. It returns an error when no broker
// answers before ctx ends; the sink is good all the same, and tries again with each call.
func (s *Sink) Warm(ctx context.Context) error {
	if _, err := s.client.Metadata(ctx, &kafka.MetadataRequest{}); err != nil {
		return fmt.Errorf("look at the cluster: %w", err)
	}
	return nil
}

// batch is what goes to one partition.
type batch struct {
	topic     string
	partition int
	records   []kafka.Record
}

// Publish sends records and waits for the brokers; see [outbox.OptimisticSink].
func (s *Sink) Publish(ctx context.Context, records []outbox.OptimisticRecord) (stored int, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return 0, fmt.Errorf("publish %d records: %w", len(records), ErrClosed)
	}
	s.calls.Add(1)
	s.mu.Unlock()
	defer s.calls.Done()

	batches, err := s.batches(ctx, records)
	errs := make([]error, len(batches), len(batches)+1)
	var others sync.WaitGroup
	for i := 1; i < len(batches); i++ {
		others.Go(func() { errs[i] = s.produce(ctx, &batches[i]) })
	}
	if len(batches) > 0 {
		errs[0] = s.produce(ctx, &batches[0])
	}
	others.Wait()
	for i := range batches {
		if errs[i] == nil {
			stored += len(batches[i].records)
		}
	}
	return stored, errors.Join(append(errs, err)...)
}

// batches sorts records by partition, in their order. Those of a topic that is not there are left out, with an error.
func (s *Sink) batches(ctx context.Context, records []outbox.OptimisticRecord) ([]batch, error) {
	counts, err := s.partitions(ctx, records)
	if err != nil {
		return nil, err
	}
	var batches []batch
	var missing error
	for i := range records {
		r := &records[i]
		n := counts[r.Topic]
		if n == 0 {
			missing = fmt.Errorf("topic %s: %w", r.Topic, kafka.UnknownTopicOrPartition)
			continue
		}
		to := int(partition.Of(r.Key, n))
		at := 0
		for at < len(batches) && (batches[at].topic != r.Topic || batches[at].partition != to) {
			at++
		}
		if at == len(batches) {
			batches = append(batches, batch{topic: r.Topic, partition: to})
		}
		batches[at].records = append(batches[at].records, encode(r))
	}
	return batches, missing
}

// partitions counts those of the records' topics, by the view of the cluster that the transport keeps.
func (s *Sink) partitions(ctx context.Context, records []outbox.OptimisticRecord) (map[string]int32, error) {
	counts := make(map[string]int32, 1)
	var topics []string
	for i := range records {
		if _, known := counts[records[i].Topic]; !known {
			counts[records[i].Topic] = 0
			topics = append(topics, records[i].Topic)
		}
	}
	res, err := s.client.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, fmt.Errorf("look at the cluster: %w", err)
	}
	for i := range res.Topics {
		counts[res.Topics[i].Name] = int32(len(res.Topics[i].Partitions)) //nolint:gosec // a topic's partitions are numbered by int32
	}
	return counts, nil
}

func encode(r *outbox.OptimisticRecord) kafka.Record {
	k := kafka.Record{Time: r.Time, Key: kafka.NewBytes(r.Key), Value: kafka.NewBytes(r.Value), Headers: make([]kafka.Header, 0, r.Headers.Count)}
	for name, value := range r.Headers.All() {
		k.Headers = append(k.Headers, kafka.Header{Key: string(name), Value: value})
	}
	return k
}

func (s *Sink) produce(ctx context.Context, b *batch) error {
	res, err := s.client.Produce(ctx, &kafka.ProduceRequest{
		Topic: b.topic, Partition: b.partition, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(b.records...),
	})
	if err == nil {
		err = res.Error
	}
	if err == nil {
		return nil
	}
	var code kafka.Error
	if errors.As(err, &code) {
		switch code {
		case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidRecord:
			err = fmt.Errorf("%w: %w", outbox.ErrOptimisticRejected, err)
		case kafka.NotLeaderForPartition, kafka.LeaderNotAvailable:
			// The view is old. The next call learns the new leader instead of waiting for MetadataTTL.
			s.transport.CloseIdleConnections()
		}
	}
	return fmt.Errorf("publish %d records to %s/%d: %w", len(b.records), b.topic, b.partition, err)
}

// Close waits for the calls under way, which their contexts bound, and closes the connections. A second one does nothing.
func (s *Sink) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.calls.Wait()
	s.transport.CloseIdleConnections()
	return nil
}
