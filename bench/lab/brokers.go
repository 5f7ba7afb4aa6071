package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
	"github.com/cdc-relay/cdc-relay/internal/testenv/kafka"
)

// Partitions of each topic.
const Partitions = 8

// Brokers is a one-broker Kafka of our own.
type Brokers struct {
	cluster    *kafka.Cluster
	advertised string // what clients are told to dial, where that is not the broker itself
	admin      *kadm.Client
	client     *kgo.Client
}

// OpenBrokers starts a Kafka. Where advertised is given, clients that follow the metadata dial that address; ours dial the
// broker itself.
func OpenBrokers(ctx context.Context, advertised string, words io.Writer) (*Brokers, error) {
	extra := "log.segment.delete.delay.ms=1000"
	if advertised != "" {
		extra += "\nadvertised.listeners=PLAINTEXT://" + advertised
	}
	c, err := kafka.Private(ctx, 1, extra, words)
	if err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	b := &Brokers{cluster: c, advertised: advertised}
	if b.client, err = b.Client(true); err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	b.admin = kadm.NewClient(b.client)
	return b, nil
}

// Close ends the broker and removes its data.
func (b *Brokers) Close() error {
	b.client.Close()
	return b.cluster.Remove()
}

// Address of the broker itself.
func (b *Brokers) Address() string { return b.cluster.Brokers()[0] }

// Bootstrap is what a client is configured with: the advertised address.
func (b *Brokers) Bootstrap() string {
	if b.advertised != "" {
		return b.advertised
	}
	return b.Address()
}

// Version of Kafka.
func (b *Brokers) Version() string { return b.cluster.Version }

// Client makes a franz-go client; direct: it dials the broker itself, whatever is advertised.
func (b *Brokers) Client(direct bool, opts ...kgo.Opt) (*kgo.Client, error) {
	all := []kgo.Opt{kgo.SeedBrokers(b.Bootstrap()), kgo.MetadataMinAge(200 * time.Millisecond)}
	if direct && b.advertised != "" {
		var d net.Dialer
		all = append(all, kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, b.Address())
		}))
	}
	client, err := kgo.NewClient(append(all, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	return client, nil
}

// Topic makes a topic with a name of its own.
func (b *Brokers) Topic(ctx context.Context) (string, error) {
	name := "bench-" + host.Random()
	if _, err := b.admin.CreateTopic(ctx, Partitions, -1, nil, name); err != nil {
		return "", fmt.Errorf("create topic %s: %w", name, err)
	}
	err := Poll(ctx, 20*time.Millisecond, 10*time.Second, "leaders of topic "+name, func() (bool, error) {
		_, err := b.Count(ctx, name)
		return err == nil, nil
	})
	return name, err
}

// Drop deletes a topic.
func (b *Brokers) Drop(ctx context.Context, topic string) { _, _ = b.admin.DeleteTopics(ctx, topic) }

// Count returns how many records a topic's log holds.
func (b *Brokers) Count(ctx context.Context, topic string) (n int64, err error) {
	ends, err := b.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("list the end of topic %s: %w", topic, err)
	}
	if err := ends.Error(); err != nil {
		return 0, fmt.Errorf("list the end of topic %s: %w", topic, err)
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, nil
}

// Freeze stops the broker by SIGSTOP, Thaw lets it go on.
func (b *Brokers) Freeze(ctx context.Context) error { return b.cluster.Stop(ctx, 1) }

// Thaw lets a frozen broker go on.
func (b *Brokers) Thaw(ctx context.Context) error { return b.cluster.Cont(ctx, 1) }

// PID of the broker's process.
func (b *Brokers) PID() int {
	text, _ := os.ReadFile(filepath.Join(b.cluster.Dir, "1", "pid"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}
