package inboxkafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxkafka/internal/fetch"
	"github.com/cdc-relay/cdc-relay/inbox/inboxkafka/internal/group"
	"github.com/cdc-relay/cdc-relay/inbox/inboxkafka/internal/progress"
)

// partition is one partition while this member owns it.
type partition struct {
	*settings

	place  inbox.Place
	hint   int64 // the offset that Kafka holds; -1: none
	reader *fetch.Reader
	log    *slog.Logger
	fence  context.CancelCauseFunc // ends this partition alone

	opened atomic.Pointer[opened] // nil: not yet
	left   atomic.Bool            // a handler was left behind: the partition's end is not clean
	fenced atomic.Bool            // another member has opened it since

	// Of the flusher.
	written     int64 // the watermark in the database
	uncommitted bool  // Kafka does not know it yet
}

// opened is what there is once the partition's row is ours.
type opened struct {
	state    inbox.PlaceState
	feed     *fetch.Feed
	progress *progress.Tracker
}

func newPartition(s *settings, r *fetch.Reader, p group.Partition, generation int32) *partition {
	return &partition{
		settings: s, place: inbox.Place{Topic: p.Topic, Partition: p.ID}, hint: p.Offset, reader: r, written: -1,
		log: s.log.With("topic", p.Topic, "partition", p.ID, "generation", generation),
	}
}

// run reads the partition and handles its messages until soft ends. Its errors are its own: no partition takes others with it.
func (p *partition) run(soft, hard context.Context, partitions int) {
	defer p.fence(nil)
	for {
		err := p.own(soft, hard, partitions)
		if inbox.IsHalt(err) {
			p.log.Error("a partition is halted; once the cause is mended it goes on with the next assignment (restart this member)", "err", err)
			if p.onHalt != nil {
				p.onHalt(p.place.Topic, p.place.Partition, err)
			}
			return
		}
		if soft.Err() != nil {
			return
		}
		p.log.Error("a partition has stopped: beginning anew", "in", p.maxBackoff, "err", err)
		if !pause(soft, jitter(p.maxBackoff)) {
			return
		}
	}
}

func (p *partition) own(soft, hard context.Context, partitions int) error {
	l := p.lane(false)
	err := l.steady(soft, hard, func() error { return p.CheckTopic(hard, p.place.Topic, partitions) })
	if err != nil {
		return err
	}
	state, err := p.open(soft, hard, l)
	if err != nil {
		return err
	}
	start := max(state.Watermark, p.hint)
	o := &opened{state: state, progress: progress.New(start)}
	o.feed = p.reader.Add(p.place.Topic, p.place.Partition, start)
	defer o.feed.Close()
	p.opened.Store(o)
	p.at("opened")
	p.log.Info("a partition is read", "from", start, "kafka", p.hint, "watermark", state.Watermark, "first", state.First, "clean", state.Clean)
	if p.workers == 1 {
		return p.inOrder(soft, hard, o, p.lane(!state.Clean))
	}
	return p.byKey(soft, hard, o)
}

// open takes the partition's row over. At the first contact it begins at Kafka's offset or, without one, at the end of the log
// that the configuration names.
func (p *partition) open(soft, hard context.Context, l *lane) (state inbox.PlaceState, err error) {
	start := p.hint
	for wait := p.minBackoff; start < 0; wait = min(2*wait, p.maxBackoff) {
		first, end, err := p.reader.Offsets(soft, p.place.Topic, p.place.Partition)
		if err == nil {
			if start = first; p.start == StartLast {
				start = end
			}
			break
		}
		p.log.Warn("ask where the log begins and ends: trying again", "in", wait, "err", err)
		if !pause(soft, jitter(wait)) {
			return state, context.Cause(soft)
		}
	}
	err = l.steady(soft, hard, func() (err error) {
		state, err = p.Open(hard, p.consumer, p.place, start)
		return err
	})
	return state, err
}

// next returns what is to be done next, and the offset up to which the log is seen thereby.
func (p *partition) next(soft context.Context, feed *fetch.Feed) ([]*inbox.Message, int64, error) {
	records, next, err := feed.Next(soft, p.maxBatch)
	var hole *fetch.HoleError
	if errors.As(err, &hole) {
		p.log.Error("records are lost for this consumer", "from", hole.From, "to", hole.To, "err", err)
		return nil, next, nil
	}
	if err != nil {
		var beyond *fetch.BeyondEndError
		if errors.As(err, &beyond) {
			err = &inbox.HaltError{Err: fmt.Errorf("%w. If it is a new topic, delete the row of consumer %q in cdc_inbox (and the group's offsets), and it is read from its start", err, p.consumer)}
		}
		return nil, next, err
	}
	slab := make([]inbox.Message, len(records))
	messages := make([]*inbox.Message, len(records))
	for i, r := range records {
		slab[i] = inbox.Message{
			Topic: p.place.Topic, Partition: p.place.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Headers: r.Headers, Time: r.Time,
		}
		slab[i].Undecodable(r.Err)
		messages[i] = &slab[i]
	}
	p.at("read")
	return messages, next, nil
}

// inOrder handles the partition's messages one after the other.
func (p *partition) inOrder(soft, hard context.Context, o *opened, l *lane) error {
	for {
		messages, next, err := p.next(soft, o.feed)
		if err != nil {
			return err
		}
		rest := messages
		err = l.run(soft, hard, messages, func(n int) {
			if n > 0 {
				o.progress.Pass(rest[n-1].Offset + 1)
				rest = rest[n:]
			}
		})
		if err != nil {
			return err
		}
		o.progress.Pass(next)
	}
}

// item is a message on its way to a worker.
type item struct {
	message *inbox.Message
	ticket  progress.Ticket
}

// byKey handles messages of different keys side by side, those of a key one after the other.
func (p *partition) byKey(soft, hard context.Context, o *opened) error {
	soft, halt := context.WithCancelCause(soft)
	defer halt(nil)
	var wg sync.WaitGroup
	queues := make([]chan item, p.workers)
	for i := range queues {
		queues[i] = make(chan item, p.maxBatch)
		l := p.lane(!o.state.Clean)
		wg.Go(func() {
			if err := p.serve(soft, hard, queues[i], o.progress, l); err != nil {
				halt(err)
			}
		})
	}
	err := p.deal(soft, o, queues)
	if soft.Err() == nil { // reading is at its end; what it has dealt out is finished
		halt(err)
	}
	wg.Wait()
	return context.Cause(soft)
}

// deal gives each message to the worker of its key.
func (p *partition) deal(soft context.Context, o *opened, queues []chan item) error {
	for {
		messages, next, err := p.next(soft, o.feed)
		if err != nil {
			return err
		}
		for i, m := range messages {
			after := next
			if i+1 < len(messages) {
				after = messages[i+1].Offset
			}
			select {
			case queues[worker(m, len(queues))] <- item{m, o.progress.Add(after)}:
			case <-soft.Done():
				return context.Cause(soft)
			}
		}
		if len(messages) == 0 {
			o.progress.Pass(next)
		}
	}
}

// worker is the number of the worker of a message's key (FNV-1a); messages without a key have no order.
func worker(m *inbox.Message, n int) int {
	if m.Key == nil {
		return int(m.Offset % int64(n))
	}
	h := uint64(14695981039346656037)
	for _, b := range m.Key {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return int(h % uint64(n))
}

// serve handles the messages of a worker's keys.
func (p *partition) serve(soft, hard context.Context, queue <-chan item, tracker *progress.Tracker, l *lane) error {
	for {
		var items []item
		select {
		case <-soft.Done():
			return nil
		case it := <-queue:
			items = append(items, it)
		}
		for more := true; more && len(items) < p.maxBatch; {
			select {
			case it := <-queue:
				items = append(items, it)
			default:
				more = false
			}
		}
		messages := make([]*inbox.Message, len(items))
		for i, it := range items {
			messages[i] = it.message
		}
		err := l.run(soft, hard, messages, func(n int) {
			for _, it := range items[:n] {
				tracker.Finish(it.ticket)
			}
			items = items[n:]
		})
		if err != nil && soft.Err() == nil {
			return err
		}
	}
}

// lane returns a new lane of the partition.
func (p *partition) lane(unclean bool) *lane {
	l := &lane{settings: p.settings, log: p.log}
	if unclean {
		l.cautious, l.sifting = p.maxBatch, true
	}
	l.watch = watchdog{log: p.log, grace: p.session / 12, left: func() { p.left.Store(true) }}
	return l
}
