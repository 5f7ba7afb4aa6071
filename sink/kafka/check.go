package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
)

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
		if _, _, err := conn.InitProducerID(cfg.DialTimeout); err != nil {
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
