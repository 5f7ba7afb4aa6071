package inboxkafka

import (
	"context"
	"fmt"
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
	counts, err := r.count(hard, r.topics)
	if err != nil {
		r.log.Warn("count partitions", "err", err)
	}
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
		work.Go(func() { p.run(own, hard, counts[p.place.Topic]) })
	}
	side.Go(func() { f.run(aside) })
	work.Go(func() { p.run(soft, hard) })
	work.Wait() // the player at least ends with soft only
	stop()
	side.Wait()
	f.last(hard)
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
