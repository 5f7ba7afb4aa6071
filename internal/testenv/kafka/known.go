package kafka

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// Ping asks for metadata and wants to see every broker, within five seconds.
func (c *Cluster) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.RetryTimeout(time.Second))
	if err != nil {
		return fmt.Errorf("ping kafka: %w", err)
	}
	defer client.Close()
	meta, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("ping kafka: %w", err)
	}
	if len(meta.Brokers) != c.Size {
		return fmt.Errorf("ping kafka: %d brokers of %d are there", len(meta.Brokers), c.Size)
	}
	return nil
}

// Known returns the clusters of this machine that Shared and Private made and that are still there.
func Known() []*Cluster {
	var found []*Cluster
	for _, kind := range []string{"shared", "private"} {
		dir, err := host.Dir(kind)
		if err != nil {
			continue
		}
		homes, _ := filepath.Glob(filepath.Join(dir, "kafka-*", "cluster.json"))
		for _, home := range homes {
			if c, err := Open(filepath.Dir(home)); err == nil {
				found = append(found, c)
			}
		}
	}
	return found
}

// Reap removes private clusters whose owner died without doing so.
func Reap() {
	for _, c := range Known() {
		if c.Owner.PID != 0 && !c.Owner.Alive() {
			_ = c.Remove()
		}
	}
}
