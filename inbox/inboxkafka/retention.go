package inboxkafka

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

// retentionInterval is how often the topics' retention is compared with the inbox's.
const retentionInterval = 6 * time.Hour

// compareRetention warns of topics that keep records for longer than the inbox keeps claims: an old record that is read again by
// a reset of the position would take effect again.
func (r *runner) compareRetention(ctx context.Context) {
	for {
		if err := r.compareOnce(ctx); err != nil && ctx.Err() == nil {
			r.log.Debug("compare the topics' retention with the inbox's", "err", err)
		}
		if !pause(ctx, retentionInterval) {
			return
		}
	}
}

func (r *runner) compareOnce(ctx context.Context) error {
	days, err := r.Retention(ctx)
	if err != nil {
		return fmt.Errorf("ask for the inbox's retention: %w", err)
	}
	req := &kafka.DescribeConfigsRequest{}
	for _, t := range r.topics {
		req.Resources = append(req.Resources, kafka.DescribeConfigRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: t, ConfigNames: []string{"retention.ms", "cleanup.policy"},
		})
	}
	client := &kafka.Client{Addr: r.reader.Addr, Transport: r.transport, Timeout: 10 * time.Second}
	res, err := client.DescribeConfigs(ctx, req)
	if err != nil {
		return fmt.Errorf("ask for the topics' retention: %w", err)
	}
	for _, topic := range res.Resources {
		for _, e := range topic.ConfigEntries {
			if e.ConfigName != "retention.ms" {
				continue
			}
			ms, err := strconv.ParseInt(e.ConfigValue, 10, 64)
			if kept := time.Duration(ms) * time.Millisecond; err == nil && (ms < 0 || kept > time.Duration(days)*24*time.Hour) {
				r.log.Warn("a topic keeps records for longer than the inbox keeps claims: raise the inbox's retention, or lower the topic's",
					"topic", topic.ResourceName, "retention.ms", ms, "inbox_days", days)
			}
		}
	}
	return nil
}
