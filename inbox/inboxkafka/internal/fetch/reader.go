package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	kfetch "github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// Config is what a Reader needs; every field but Log.
type Config struct {
	Transport      *kafka.Transport // its MetadataTopics are the topics that are read
	Addr           net.Addr         // the brokers to ask first
	ClientID       string
	MaxWait        time.Duration // how long a broker holds a request that finds nothing
	BufferBytes    int           // for all feeds together
	PartitionBytes int           // for one partition in a request, at most
	Log            *slog.Logger
}

// Times of the reader's own.
const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = 2 * time.Second
	refresh    = 250 * time.Millisecond // metadata are thrown away at most so often
	patience   = 15 * time.Second       // for an answer, past MaxWait
)

// minPartitionBytes is what a partition may ask for however many there are.
const minPartitionBytes = 64 << 10

// maxRequests bounds requests under way to one leader: a feed that gets room while others wait for records needs its own.
const maxRequests = 4

// Reader reads the partitions that were added to it.
type Reader struct {
	Config

	client *kafka.Client
	wake   chan struct{}

	mu        sync.Mutex
	feeds     []*Feed
	turn      int // whose turn it is to stand first: a broker gives a batch above the limit to the first alone
	requests  map[int32]int
	refreshed time.Time
}

// NewReader returns a reader; Run makes it read.
func NewReader(c Config) *Reader {
	return &Reader{
		Config: c, client: &kafka.Client{Addr: c.Addr, Transport: c.Transport, Timeout: patience},
		wake: make(chan struct{}, 1), requests: make(map[int32]int),
	}
}

// Add begins to read a partition from offset on.
func (r *Reader) Add(topic string, partition int32, offset int64) *Feed {
	f := &Feed{Topic: topic, Partition: partition, reader: r, ready: make(chan struct{}, 1), ask: offset, next: offset, stable: -1}
	r.mu.Lock()
	r.feeds = append(r.feeds, f)
	r.mu.Unlock()
	signal(r.wake)
	return f
}

func (r *Reader) remove(f *Feed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.closed, f.chunks, f.current, f.records = true, nil, chunk{}, nil
	r.feeds = slices.DeleteFunc(r.feeds, func(x *Feed) bool { return x == f })
}

// Offsets returns the first offset of a partition's log and the one after its last. It does not try again.
func (r *Reader) Offsets(ctx context.Context, topic string, partition int32) (first, end int64, err error) {
	res, err := r.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		topic: {kafka.FirstOffsetOf(int(partition)), kafka.LastOffsetOf(int(partition))},
	}})
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the offsets of %s[%d]: %w", topic, partition, err)
	}
	for _, p := range res.Topics[topic] {
		if p.Partition == int(partition) && p.Error == nil && p.FirstOffset >= 0 && p.LastOffset >= 0 {
			return p.FirstOffset, p.LastOffset, nil
		} else if p.Error != nil {
			err = p.Error
		}
	}
	r.Refresh()
	if err == nil {
		err = errors.New("the broker did not say")
	}
	return 0, 0, fmt.Errorf("ask for the offsets of %s[%d]: %w", topic, partition, err)
}

// Refresh has the cluster's layout read anew, as after a leader has moved; not more often than is good.
func (r *Reader) Refresh() {
	r.mu.Lock()
	due := time.Since(r.refreshed) > refresh
	if due {
		r.refreshed = time.Now()
	}
	r.mu.Unlock()
	if due {
		r.Transport.CloseIdleConnections() // forgets the layout with them; requests under way end as they would
	}
}

// Run reads until ctx ends, and returns when no request is under way any more.
func (r *Reader) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(r.plan(ctx, &wg))
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// plan sends requests for the feeds that have room, and returns when to look again.
func (r *Reader) plan(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	const idle = time.Minute
	wanting, again := r.wanting(time.Now())
	if len(wanting) == 0 {
		return min(again, idle)
	}
	leaders, err := r.leaders(ctx, wanting)
	if err != nil {
		if ctx.Err() == nil {
			r.Log.Warn("ask Kafka for its layout", "err", err)
		}
		r.Refresh()
		return refresh
	}
	for leader, feeds := range leaders {
		r.mu.Lock()
		full := r.requests[leader] >= maxRequests
		if !full && leader >= 0 {
			r.requests[leader]++
			for _, f := range feeds {
				f.busy = true
			}
		}
		r.mu.Unlock()
		switch {
		case leader < 0: // none just now
			r.Refresh()
			r.delay(feeds, kafka.LeaderNotAvailable)
			again = min(again, minBackoff)
		case !full:
			wg.Go(func() { r.fetch(ctx, leader, feeds) })
		}
	}
	return min(again, idle)
}

// wanting returns the feeds that have room and no request under way, each time another one first, and how long the first of
// those that back off still waits.
func (r *Reader) wanting(now time.Time) (feeds []*Feed, again time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	again = time.Hour
	share := r.share()
	n := len(r.feeds)
	r.turn++
	for i := range n {
		f := r.feeds[(i+r.turn)%n]
		if f.busy || f.ended != nil || f.hole != nil || f.bytes >= share {
			continue
		}
		if wait := f.until.Sub(now); wait > 0 {
			again = min(again, wait)
			continue
		}
		feeds = append(feeds, f)
	}
	return feeds, again
}

// share is what a feed may have in memory before it asks for more; the answer to what it asks is as large at most.
func (r *Reader) share() int {
	return min(r.PartitionBytes, max(minPartitionBytes, r.BufferBytes/max(1, 2*len(r.feeds))))
}

// leaders sorts feeds by their leader; -1 stands for those without one.
func (r *Reader) leaders(ctx context.Context, feeds []*Feed) (map[int32][]*Feed, error) {
	var topics []string
	for _, f := range feeds {
		if !slices.Contains(topics, f.Topic) {
			topics = append(topics, f.Topic)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	msg, err := r.Transport.RoundTrip(ctx, r.Addr, &metadata.Request{TopicNames: topics}) // Transport answers from its memory
	if err != nil {
		return nil, fmt.Errorf("ask for metadata: %w", err)
	}
	type place struct {
		topic     string
		partition int32
	}
	leader := make(map[place]int32)
	for _, t := range msg.(*metadata.Response).Topics {
		for _, p := range t.Partitions {
			leader[place{t.Name, p.PartitionIndex}] = p.LeaderID
		}
	}
	by := make(map[int32][]*Feed)
	for _, f := range feeds {
		l, ok := leader[place{f.Topic, f.Partition}]
		if !ok {
			l = -1
		}
		by[l] = append(by[l], f)
	}
	return by, nil
}

// fetch sends one request and files its answer.
func (r *Reader) fetch(ctx context.Context, leader int32, feeds []*Feed) {
	defer signal(r.wake)
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.requests[leader]--
		for _, f := range feeds {
			f.busy = false
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, r.MaxWait+patience)
	defer cancel()
	req, asked := r.request(feeds)
	msg, err := r.Transport.RoundTrip(ctx, r.Addr, req)
	if err == nil && msg.(*answer).code != 0 {
		err = kafka.Error(msg.(*answer).code)
	}
	if err != nil {
		if ctx.Err() == nil {
			r.Log.Warn("read from Kafka", "leader", leader, "err", err)
		}
		r.Refresh()
		r.delay(feeds, err)
		return
	}
	for _, p := range msg.(*answer).partitions {
		i := slices.IndexFunc(feeds, func(f *Feed) bool { return f.Partition == p.partition && f.Topic == p.topic })
		if i >= 0 {
			r.file(ctx, feeds[i], p, asked[i])
		}
	}
}

func (r *Reader) request(feeds []*Feed) (e *exchange, asked []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	share := r.share()
	e = &exchange{clientID: r.ClientID}
	e.Request = kfetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(r.MaxWait.Milliseconds()), MinBytes: 1, IsolationLevel: 1, SessionEpoch: -1,
	}
	total := 0
	for _, f := range feeds {
		i := slices.IndexFunc(e.Topics, func(t kfetch.RequestTopic) bool { return t.Topic == f.Topic })
		if i < 0 {
			i = len(e.Topics)
			e.Topics = append(e.Topics, kfetch.RequestTopic{Topic: f.Topic})
		}
		limit := max(share, f.limit)
		total += limit
		asked = append(asked, f.ask)
		e.Topics[i].Partitions = append(e.Topics[i].Partitions, kfetch.RequestPartition{
			Partition: f.Partition, CurrentLeaderEpoch: -1, FetchOffset: f.ask, LogStartOffset: -1, PartitionMaxBytes: int32(limit),
		})
	}
	e.MaxBytes = int32(min(total, maxAnswer))
	return e, asked
}

// delay has feeds wait before they ask again.
func (r *Reader) delay(feeds []*Feed, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range feeds {
		wait := min(maxBackoff, minBackoff<<min(f.fails, 16))
		if f.fails++; f.fails%10 == 0 {
			r.Log.Warn("a partition cannot be read", "topic", f.Topic, "partition", f.Partition, "attempts", f.fails, "err", err)
		}
		f.until = time.Now().Add(wait)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func sortAborted(a []aborted) {
	slices.SortFunc(a, func(x, y aborted) int { return cmp.Compare(x.first, y.first) })
}
