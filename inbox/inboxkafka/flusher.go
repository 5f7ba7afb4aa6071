package inboxkafka

import (
	"context"
	"errors"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxkafka/internal/group"
)

// flusher writes the watermarks of a generation: to the database first, and what stands there, now and then, to Kafka.
type flusher struct {
	*settings

	assignment *group.Assignment
	partitions []*partition
	committed  time.Time
}

// run writes until ctx ends.
func (f *flusher) run(ctx context.Context) {
	tick := time.NewTicker(f.watermarks)
	defer tick.Stop()
	f.committed = time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.flush(ctx, false)
		if time.Since(f.committed) >= f.commits {
			f.commit()
		}
		f.report()
	}
}

// last writes what the generation leaves to the next owner. It ends clean where nothing is under way any more.
func (f *flusher) last(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.session/6)
	defer cancel()
	f.flush(ctx, false)
	f.flush(ctx, true)
	f.commit()
}

// flush writes what has moved, in one statement. What fails is written the next time.
func (f *flusher) flush(ctx context.Context, clean bool) {
	var moved []*partition
	var rows []inbox.Progress
	for _, p := range f.partitions {
		o := p.opened.Load()
		if o == nil || p.fenced.Load() || clean && p.left.Load() {
			continue
		}
		if low := o.progress.Low(); low > max(p.written, o.state.Watermark) || clean {
			moved = append(moved, p)
			rows = append(rows, inbox.Progress{Place: p.place, Epoch: o.state.Epoch, Watermark: low})
		}
	}
	if len(rows) == 0 {
		return
	}
	f.at("watermark")
	err := f.Save(ctx, f.consumer, clean, rows...)
	switch {
	case errors.Is(err, inbox.ErrFenced):
		f.fenced(ctx, clean, moved, rows)
		return
	case err != nil:
		f.log.Warn("write the positions", "partitions", len(rows), "err", err)
		return
	}
	f.at("saved")
	for i, p := range moved {
		p.saved(rows[i].Watermark)
	}
}

// fenced finds out which partitions another member has opened since, and stops them: the group has given them away.
func (f *flusher) fenced(ctx context.Context, clean bool, moved []*partition, rows []inbox.Progress) {
	for i, p := range moved {
		err := f.Save(ctx, f.consumer, clean, rows[i])
		switch {
		case errors.Is(err, inbox.ErrFenced):
			p.log.Warn("another member has opened the partition", "err", err)
			p.fenced.Store(true)
			p.fence(err)
		case err == nil:
			p.saved(rows[i].Watermark)
		}
	}
}

func (p *partition) saved(watermark int64) {
	p.uncommitted = p.uncommitted || watermark > p.written
	p.written = watermark
}

// commit tells Kafka what the database holds: a hint for the next owner, and what tools show as lag.
func (f *flusher) commit() {
	f.committed = time.Now()
	var offsets []group.Offset
	for _, p := range f.partitions {
		if p.uncommitted && p.written > p.hint {
			offsets = append(offsets, group.Offset{Topic: p.place.Topic, Partition: p.place.Partition, Offset: p.written})
		}
		p.uncommitted = false
	}
	if len(offsets) == 0 {
		return
	}
	f.at("kafka commit")
	if err := f.assignment.Commit(offsets); err != nil { // a later owner commits what it finds in the database
		f.log.Debug("commit offsets to Kafka", "err", err)
	}
	f.at("kafka committed")
}

// report tells the metrics how far behind each partition is.
func (f *flusher) report() {
	for _, p := range f.partitions {
		o := p.opened.Load()
		if o == nil {
			continue
		}
		if end := o.feed.End(); end >= 0 {
			f.metrics.Lag(f.consumer, p.place.Topic, p.place.Partition, max(0, end-o.progress.Low()))
		}
	}
}
