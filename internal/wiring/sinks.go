package wiring

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/file"
	"github.com/cdc-relay/cdc-relay/sink/kafka"
	"github.com/cdc-relay/cdc-relay/sink/kafka/auth"
	"github.com/cdc-relay/cdc-relay/sink/kafka/batch"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
	"github.com/cdc-relay/cdc-relay/sink/stdout"
)

type opener = func(context.Context, sink.Receiver) (sink.Sink, error)

// sinkOf chooses the sink. Files of certificates are read now, so that a mistake shows at the start.
func sinkOf(cfg *config.Config, out io.Writer) (opener, error) {
	switch cfg.Sink.Kind {
	case config.SinkStdout:
		return func(ctx context.Context, r sink.Receiver) (sink.Sink, error) { return stdout.New(ctx, out, r) }, nil
	case config.SinkFile:
		return func(ctx context.Context, r sink.Receiver) (sink.Sink, error) {
			return file.New(ctx, file.NewConfig(cfg.Sink.File.Path), r)
		}, nil
	case config.SinkKafka:
		kc, err := KafkaConfig(cfg.Sink.Kafka)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, r sink.Receiver) (sink.Sink, error) { return kafka.Open(ctx, kc, r) }, nil
	}
	return nil, fmt.Errorf("sink kind %q is unknown", cfg.Sink.Kind)
}

// KafkaConfig is the Kafka sink's part of the configuration.
func KafkaConfig(k config.Kafka) (kafka.Config, error) {
	c := kafka.NewConfig(k.Brokers...)
	c.ClientID, c.UnsafeAcks, c.BatchBytes = k.ClientID, k.UnsafeAcks, int(k.BatchBytes)
	c.TopicCreate, c.TopicMissingTimeout = k.TopicCreate, k.TopicMissingTimeout
	c.MaxRequestsInFlight, c.TopicPartitions = k.MaxRequestsInFlight.N, k.TopicPartitions.N
	var err error
	if c.Acks, err = kafka.ParseAcks(k.Acks); err != nil {
		return c, err
	}
	if c.Compression, err = batch.ParseCodec(k.Compression); err != nil {
		return c, err
	}
	if c.TLS, err = clientTLS(k.TLS); err != nil {
		return c, err
	}
	c.SASL, err = mechanism(k.SASL)
	return c, err
}

// clientTLS reads the client's own certificate again at each handshake.
func clientTLS(t config.ClientTLS) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("sink.kafka.tls.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("sink.kafka.tls.ca_file: %s holds no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &cert, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("sink.kafka.tls.cert_file: %w", err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return c, nil
}

func mechanism(s config.SASL) (wire.Mechanisms, error) {
	switch s.Mechanism {
	case "", "off":
		return nil, nil
	case "plain":
		return auth.Plain(s.Username, s.Password.Read), nil
	case "scram-sha-256":
		return auth.ScramSHA256(s.Username, s.Password.Read), nil
	case "scram-sha-512":
		return auth.ScramSHA512(s.Username, s.Password.Read), nil
	case "oauthbearer":
		if s.TokenURL == "" {
			return auth.OAuthBearer("the token's subject", func(context.Context) (string, error) { return s.Token.Read() }, nil), nil
		}
		grant := auth.ClientCredentials{TokenURL: s.TokenURL, ClientID: s.ClientID, Secret: s.ClientSecret.Read, Scope: strings.Join(s.Scopes, " ")}
		return auth.OAuthBearer(s.ClientID, grant.Token, nil), nil
	}
	return nil, fmt.Errorf("sink.kafka.sasl.mechanism %q is unknown", s.Mechanism)
}
