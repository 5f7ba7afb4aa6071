package testenv

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
	"github.com/cdc-relay/cdc-relay/internal/testenv/kafka"
)

// Brokers is a Kafka to make topics in. Topics are not created by producing to them.
type Brokers struct {
	t       testing.TB
	cluster *kafka.Cluster // nil: a running one that the environment named
	brokers []string
}

// Kafka returns the shared broker, or the one of CDC_RELAY_TEST_KAFKA. Do not kill or freeze it: others use it.
func Kafka(t testing.TB) *Brokers {
	t.Helper()
	if given := os.Getenv("CDC_RELAY_TEST_KAFKA"); given != "" {
		return &Brokers{t: t, brokers: strings.Split(given, ",")}
	}
	c, err := kafka.Shared(context.Background(), os.Stderr)
	if err != nil {
		skipKafka(t, err)
	}
	return &Brokers{t: t, cluster: c, brokers: c.Brokers()}
}

// StartKafka starts a cluster of n brokers (1 to 3; replication factor n, min.insync.replicas 2 of 3) with more server
// properties ("message.max.bytes=2000"), and removes it when the test ends. Each broker takes some 330 MB.
func StartKafka(t testing.TB, n int, properties ...string) *Brokers {
	t.Helper()
	c, err := kafka.Private(context.Background(), n, strings.Join(properties, "\n"), os.Stderr)
	if err != nil {
		skipKafka(t, err)
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Errorf("remove the cluster: %v", err)
		}
	})
	return &Brokers{t: t, cluster: c, brokers: c.Brokers()}
}

// skipKafka skips where Java is wanting; a Kafka that does not start although Java is there is a failure.
func skipKafka(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, kafka.ErrNoJava) {
		Skip(t, "Kafka", err)
	}
	t.Fatal(err)
}

// Brokers returns the bootstrap addresses.
func (b *Brokers) Brokers() []string { return b.brokers }

// Topic makes a topic with a name of its own, with that many partitions (0: the broker's default, 8) and, where given,
// settings such as "min.insync.replicas=1". It is deleted when the test ends, if the brokers still answer.
func (b *Brokers) Topic(t testing.TB, partitions int, settings ...string) string {
	t.Helper()
	name := "topic-" + host.Random()
	b.CreateTopic(t, name, partitions, settings...)
	return name
}

// CreateTopic makes a topic with the name given, which must be new, and deletes it when the test ends.
func (b *Brokers) CreateTopic(t testing.TB, name string, partitions int, settings ...string) {
	t.Helper()
	admin := b.Admin(t)
	configs := map[string]*string{}
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		configs[key] = &value
	}
	if partitions == 0 {
		partitions = -1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := admin.CreateTopic(ctx, int32(partitions), -1, configs, name); err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_, _ = admin.DeleteTopics(ctx, name)
	})
	Eventually(t, 10*time.Second, func() error { // a leader may take a moment
		topics, err := admin.ListTopics(context.Background(), name)
		if err != nil {
			return err
		}
		if err := topics[name].Err; err != nil {
			return err
		}
		for _, p := range topics[name].Partitions {
			if p.Err != nil {
				return p.Err
			}
		}
		return nil
	})
}

// Admin returns an administrative client, closed when the test ends.
func (b *Brokers) Admin(t testing.TB) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.DialTimeout(2*time.Second))
	if err != nil {
		t.Fatalf("make a Kafka client: %v", err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// Kill ends broker n (from 1) of a cluster of one's own with SIGKILL.
func (b *Brokers) Kill(n int) { b.t.Helper(); b.must(b.own().Kill(context.Background(), n)) }

// Stop freezes broker n with SIGSTOP.
func (b *Brokers) Stop(n int) { b.t.Helper(); b.must(b.own().Stop(context.Background(), n)) }

// Cont lets a frozen broker n go on.
func (b *Brokers) Cont(n int) { b.t.Helper(); b.must(b.own().Cont(context.Background(), n)) }

// Start starts broker n again and waits until it serves.
func (b *Brokers) Start(n int) { b.t.Helper(); b.must(b.own().Start(context.Background(), n)) }

// Tool runs a class of Kafka's jars and returns what it printed.
func (b *Brokers) Tool(class string, args ...string) string {
	b.t.Helper()
	if b.cluster == nil {
		Skip(b.t, "Kafka's jars", errors.New("CDC_RELAY_TEST_KAFKA names a Kafka that is not ours"))
	}
	out, err := b.cluster.Tool(context.Background(), class, args...)
	b.must(err)
	return out
}

func (b *Brokers) own() *kafka.Cluster {
	b.t.Helper()
	if b.cluster == nil || b.cluster.Owner.PID == 0 {
		b.t.Fatal("the shared Kafka is not to be killed or frozen: use StartKafka")
	}
	return b.cluster
}

func (b *Brokers) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}
