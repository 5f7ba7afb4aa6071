package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"github.com/segmentio/kafka-go/protocol/metadata"
	_ "github.com/segmentio/kafka-go/protocol/produce" // its range of versions
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
)

// Mechanisms makes a SASL mechanism for one connection, so that secrets are read again each time. user names whom it signs
// on, for messages.
type Mechanisms func(ctx context.Context) (m sasl.Mechanism, user string, err error)

// ErrAuthentication says that the broker does not know these credentials, or that there are none.
var ErrAuthentication = errors.New("SASL authentication failed")

// ErrNotTLS says that what answered a TLS handshake was no TLS, or nothing.
var ErrNotTLS = errors.New("the listener does not seem to speak TLS")

// near is the way there and back below which it is not measured twice.
const near = time.Millisecond

// negotiate learns the versions, and the distance by the way. It asks once: before it has been told a mechanism a SASL
// listener hangs up on a second ApiVersions request (KIP-43).
func (c *Conn) negotiate() error {
	start := time.Now()
	msg, err := c.control.RoundTrip(new(apiversions.Request))
	if err != nil {
		return err
	}
	c.Near = time.Since(start)
	res := msg.(*apiversions.Response)
	if res.ErrorCode != 0 {
		return Code(res.ErrorCode)
	}
	c.versions = make(map[protocol.ApiKey]int16, len(res.ApiKeys))
	for _, k := range res.ApiKeys {
		key := protocol.ApiKey(k.ApiKey)
		if key > protocol.AlterUserScramCredentials { // kafka-go's tables end there
			continue
		}
		c.versions[key] = key.SelectVersion(k.MinVersion, k.MaxVersion)
		if key == protocol.Produce && (k.MaxVersion < 3 || k.MinVersion > 8) {
			return fmt.Errorf("it takes produce requests of versions %d to %d, this client writes 3 to 8", k.MinVersion, k.MaxVersion)
		}
	}
	c.control.SetVersions(c.versions)
	return nil
}

// measure asks again when the first answer was late: what counts is the way, not the broker's first use of a code path.
func (c *Conn) measure() error {
	for range 2 {
		if c.Near < near {
			return nil
		}
		start := time.Now()
		if _, err := c.control.RoundTrip(new(apiversions.Request)); err != nil {
			return err
		}
		c.Near = min(c.Near, time.Since(start))
	}
	return nil
}

func (c *Conn) authenticate(ctx context.Context, mechanisms Mechanisms, addr string) error {
	m, user, err := mechanisms(ctx)
	if err != nil {
		return fmt.Errorf("%w for %s at broker %s: %w", ErrAuthentication, user, addr, err)
	}
	fail := func(what string, err error) error {
		return fmt.Errorf("%w for %s at broker %s (%s): %s: %w", ErrAuthentication, user, addr, m.Name(), what, err)
	}
	lost := func(err error) error {
		return fmt.Errorf("sign on as %s at broker %s (%s): %w", user, addr, m.Name(), err)
	}
	msg, err := c.control.RoundTrip(&saslhandshake.Request{Mechanism: m.Name()})
	if err != nil {
		return lost(err)
	}
	if res := msg.(*saslhandshake.Response); res.ErrorCode != 0 {
		return fail(fmt.Sprintf("the broker offers %v", res.Mechanisms), Code(res.ErrorCode))
	}
	state, out, err := m.Start(ctx)
	if err != nil {
		return fail("cannot begin", err)
	}
	for done := false; !done; {
		msg, err := c.control.RoundTrip(&saslauthenticate.Request{AuthBytes: out})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fail("the broker hung up", err) // some do not say that they refuse
		}
		if err != nil {
			return lost(err)
		}
		res := msg.(*saslauthenticate.Response)
		if res.ErrorCode != 0 {
			return fail(res.ErrorMessage, Code(res.ErrorCode))
		}
		if res.SessionLifetimeMs > 0 {
			c.Expires = time.Now().Add(time.Duration(res.SessionLifetimeMs) * time.Millisecond * 9 / 10)
		}
		if done, out, err = state.Next(ctx, res.AuthBytes); err != nil {
			return fail("the broker's challenge", err)
		}
	}
	return nil
}

// do sends one request and waits for its answer.
func (c *Conn) do(msg protocol.Message, timeout time.Duration) (protocol.Message, error) {
	if err := c.net.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, fmt.Errorf("ask a broker: %w", err)
	}
	if _, ok := c.versions[msg.ApiKey()]; !ok {
		return nil, fmt.Errorf("ask a broker: it does not know requests of kind %v", msg.ApiKey())
	}
	res, err := c.control.RoundTrip(msg)
	if err != nil {
		return nil, fmt.Errorf("%v request: %w", msg.ApiKey(), err)
	}
	return res, nil
}

// Metadata asks for brokers, and for these topics alone.
func (c *Conn) Metadata(topics []string, timeout time.Duration) (*metadata.Response, error) {
	if topics == nil {
		topics = []string{} // null means all topics
	}
	res, err := c.do(&metadata.Request{TopicNames: topics}, timeout)
	if err != nil {
		return nil, err
	}
	return res.(*metadata.Response), nil
}

// InitProducerID asks for a new producer id (KIP-98).
func (c *Conn) InitProducerID(timeout time.Duration) (id int64, epoch int16, err error) {
	msg, err := c.do(&initproducerid.Request{TransactionTimeoutMs: 60_000, ProducerID: -1, ProducerEpoch: -1}, timeout)
	if err != nil {
		return -1, -1, err
	}
	res := msg.(*initproducerid.Response)
	if res.ErrorCode != 0 {
		return -1, -1, fmt.Errorf("ask for a producer id: %w", Code(res.ErrorCode))
	}
	return res.ProducerID, res.ProducerEpoch, nil
}

// CreateTopic makes a topic with the broker's replication factor, and its number of partitions when partitions is -1. A
// topic that exists already is no error.
func (c *Conn) CreateTopic(name string, partitions int32, timeout time.Duration) error {
	msg, err := c.do(&createtopics.Request{
		Topics: []createtopics.RequestTopic{{
			Name: name, NumPartitions: partitions, ReplicationFactor: -1,
			Assignments: []createtopics.RequestAssignment{}, Configs: []createtopics.RequestConfig{},
		}},
		TimeoutMs: int32(timeout.Milliseconds()),
	}, timeout)
	if err != nil {
		return err
	}
	for _, t := range msg.(*createtopics.Response).Topics {
		if c := Code(t.ErrorCode); c != OK && c != TopicAlreadyExists {
			return fmt.Errorf("create topic %q: %w (%s)", name, c, t.ErrorMessage)
		}
	}
	return nil
}
