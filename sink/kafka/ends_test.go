package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// listEnds returns the number of offsets of each partition that has any.
func listEnds(t testing.TB, client *kgo.Client, topics []string) []int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	listed, err := kadm.NewClient(client).ListEndOffsets(ctx, topics...)
	if err != nil {
		t.Fatalf("list the ends of %v: %v", topics, err)
	}
	var all []int64
	listed.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			t.Fatalf("list the end of %s/%d: %v", o.Topic, o.Partition, o.Err)
		}
		all = append(all, o.Offset)
	})
	return all
}
