package inboxkafka

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/cdc-relay/cdc-relay/inbox/inboxkafka/internal/fetch"
	"github.com/cdc-relay/cdc-relay/inbox/inboxkafka/internal/group"
)

// runner is one call of Run.
type runner struct {
	*settings

	transport *kafka.Transport
	reader    *fetch.Reader
}

// Run consumes until ctx ends, then finishes what is under way, and returns nil. It returns an error only for a mistake in the
// configuration, its own or one that Kafka points out. Everything else it tries again, and says so in the log.
func Run[T any](ctx context.Context, c Config[T]) error {
	return run(ctx, c, nil)
}

// run is Run; at is called at the points where tests kill the process.
func run[T any](ctx context.Context, c Config[T], at func(point string)) error {
	if err := c.Validate(); err != nil {
		return err
	}
	s, err := c.settings()
	if err != nil {
		return err
	}
	if at != nil {
		s.at = at
	}
	r := &runner{settings: s, transport: &kafka.Transport{
		ClientID: c.ClientID, TLS: c.TLS, SASL: c.SASL, MetadataTopics: c.Topics, MetadataTTL: watchInterval,
		IdleTimeout: 9 * time.Minute, // brokers close after ten
		Context:     context.WithoutCancel(ctx),
	}}
	defer r.transport.CloseIdleConnections()
	r.reader = fetch.NewReader(fetch.Config{
		Transport: r.transport, Addr: kafka.TCP(c.Brokers...), ClientID: c.ClientID, MaxWait: c.MaxWait,
		BufferBytes: c.BufferBytes, PartitionBytes: c.PartitionBytes, Log: c.Log,
	})

	aside, end := context.WithCancel(context.WithoutCancel(ctx)) // goes on while the last generation drains
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	wg.Go(func() { r.reader.Run(aside) })
	wg.Go(func() { r.compareRetention(aside) })
	return group.Run(ctx, group.Config{
		Brokers: c.Brokers, ID: s.group, Topics: c.Topics, Session: c.SessionTimeout, Heartbeat: min(c.SessionTimeout/6, time.Second),
		Dialer: &kafka.Dialer{
			ClientID: c.ClientID, TLS: c.TLS, SASLMechanism: c.SASL, Timeout: min(c.SessionTimeout/2, 5*time.Second), DualStack: true,
		},
		Drain: c.DrainTimeout, Watch: watchInterval, Log: c.Log, Partitions: r.count,
	}, r.work)
}

// watchInterval is how often the number of partitions is compared, and how old Kafka's layout may be here.
const watchInterval = 2 * time.Second

// work owns an assignment for one generation.
func (r *runner) work(soft, hard context.Context, a *group.Assignment) {
	counts := r.counted(soft)
	all := make([]*partition, 0, len(a.Partitions))
	for _, p := range a.Partitions {
		all = append(all, newPartition(r.settings, r.reader, p, a.Generation))
	}
	aside, stop := context.WithCancel(hard)
	defer stop()
	f := &flusher{settings: r.settings, assignment: a, partitions: all}
	p := &player{settings: r.settings, partitions: all, watch: watchdog{log: r.log, grace: r.session / 12, left: func() {}}}
	var side, work sync.WaitGroup
	for _, p := range all {
		own, fence := context.WithCancelCause(soft)
		p.fence = fence
		n := max(counts[p.place.Topic], int(p.place.Partition)+1) // what Kafka says may be a moment old
		work.Go(func() { p.run(own, hard, n) })
	}
	side.Go(func() { f.run(aside) })
	work.Go(func() { p.run(soft, hard) })
	work.Wait() // the player at least ends with soft only
	stop()
	side.Wait()
	f.last(hard)
}

// counted is count, for as often as it takes.
func (r *runner) counted(soft context.Context) map[string]int {
	for {
		n, err := r.count(soft, r.topics)
		if err == nil {
			return n
		}
		r.log.Warn("count partitions: trying again", "err", err)
		if !pause(soft, r.minBackoff) {
			return nil
		}
	}
}

// count counts the partitions of topics; a missing topic has none.
func (r *runner) count(ctx context.Context, topics []string) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	msg, err := r.transport.RoundTrip(ctx, r.reader.Addr, &metadata.Request{TopicNames: topics}) // from the transport's memory
	if err != nil {
		return nil, fmt.Errorf("ask for metadata: %w", err)
	}
	n := make(map[string]int)
	for _, t := range msg.(*metadata.Response).Topics {
		n[t.Name] = len(t.Partitions)
	}
	return n, nil
}

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
