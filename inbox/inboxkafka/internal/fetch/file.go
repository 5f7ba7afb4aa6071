package fetch

import (
	"context"

	"github.com/segmentio/kafka-go"
)

// file puts the answer for one partition, which was asked for offset asked, where its feed finds it.
func (r *Reader) file(ctx context.Context, f *Feed, p partitionAnswer, asked int64) {
	switch code := kafka.Error(p.code); code {
	case 0:
		r.keep(f, p, asked)
	case kafka.OffsetOutOfRange:
		r.outOfRange(ctx, f)
	case kafka.TopicAuthorizationFailed:
		r.Log.Error("a partition may not be read: grant READ on the topic", "topic", f.Topic, "partition", f.Partition)
		r.delay([]*Feed{f}, code)
	default: // what we do not know is tried again, at the partition's leader, whoever that is by now
		r.Refresh()
		r.delay([]*Feed{f}, code)
	}
}

// keep takes the whole batches of an answer.
func (r *Reader) keep(f *Feed, p partitionAnswer, asked int64) {
	ask, size, err := asked, 0, error(nil)
	for rest := p.records; len(rest) > 0; {
		b, more, ok, bad := cut(rest)
		if bad != nil {
			err = bad
		}
		if !ok {
			break
		}
		ask, size, rest = max(ask, b.next), size+len(b.raw), more
	}
	sortAborted(p.aborted)
	r.mu.Lock()
	defer r.mu.Unlock()
	f.stable, f.fails, f.beyond = p.stable, 0, 0
	if p.stable < 0 {
		f.stable = p.high
	}
	switch {
	case f.closed, f.ask != asked: // rewound meanwhile
		return
	case size > 0:
		f.chunks = append(f.chunks, chunk{raw: p.records[:size:size], size: size, aborted: p.aborted})
		f.bytes += size
		f.ask, f.limit = ask, 0
	case err != nil:
		f.ended = err
	case len(p.records) > 0: // a batch that does not fit; only the first partition of a request gets it all the same
		f.limit = min(2*max(f.limit, r.share()), maxAnswer)
	default:
		return
	}
	signal(f.ready)
}

// take gives a feed its next chunk, if there is one.
func (r *Reader) take(f *Feed) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(f.chunks) == 0 {
		return false
	}
	f.current = f.chunks[0]
	f.chunks = f.chunks[1:]
	f.bytes -= f.current.size
	clear(f.active)
	signal(r.wake)
	return true
}

// fault tells what there is instead of chunks: a hole, once, or the feed's end.
func (r *Reader) fault(f *Feed) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.hole == nil || len(f.chunks) > 0 {
		return f.ended
	}
	hole := f.hole
	f.hole, f.next = nil, f.ask
	signal(r.wake)
	return hole
}

// rewind throws away what was read of a feed from offset on, and has it read again.
func (r *Reader) rewind(f *Feed, offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.chunks, f.bytes, f.ask = nil, 0, offset
	signal(r.wake)
}

// outOfRange finds out on which side of the log the feed stands.
func (r *Reader) outOfRange(ctx context.Context, f *Feed) {
	first, end, err := r.Offsets(ctx, f.Topic, f.Partition)
	r.Refresh()
	r.delay([]*Feed{f}, kafka.OffsetOutOfRange)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case f.ask < first:
		f.hole = &HoleError{Topic: f.Topic, Partition: f.Partition, From: f.ask, To: first}
		f.ask = first
	case f.ask > end:
		if f.beyond++; f.beyond < 3 { // a leader that has just been elected may not know its end yet
			return
		}
		f.ended = &BeyondEndError{Topic: f.Topic, Partition: f.Partition, At: f.ask, End: end}
	default:
		return
	}
	signal(f.ready)
}
