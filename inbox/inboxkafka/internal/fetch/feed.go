package fetch

import (
	"context"
	"fmt"
	"time"
)

// HoleError says that records were deleted before this consumer read them: retention, or DeleteRecords.
type HoleError struct {
	Topic     string
	Partition int32
	From, To  int64 // offsets From to To-1 are gone; the feed goes on from To
}

func (e *HoleError) Error() string {
	return fmt.Sprintf("%s[%d]: offsets %d to %d were deleted before they were read: the topic's retention is shorter than this consumer's lag", e.Topic, e.Partition, e.From, e.To-1)
}

// BeyondEndError says that the position lies beyond the log's end: the topic was deleted and made anew, or an unclean
// election of a leader cut its log. The feed is at its end.
type BeyondEndError struct {
	Topic     string
	Partition int32
	At, End   int64
}

func (e *BeyondEndError) Error() string {
	return fmt.Sprintf("%s[%d]: the position %d lies beyond the log's end %d: the topic was made anew, or its log was cut", e.Topic, e.Partition, e.At, e.End)
}

// Feed is one partition that is being read. Next and Close are for one goroutine.
type Feed struct {
	Topic     string
	Partition int32

	reader *Reader
	ready  chan struct{} // something changed under reader.mu that Next may wait for

	// Under reader.mu.
	ask    int64 // the offset of the next request
	limit  int   // bytes of the next request: more than the usual when a batch did not fit
	chunks []chunk
	bytes  int
	busy   bool // a request of it is under way
	until  time.Time
	fails  int
	beyond int   // how often it was found beyond the end
	hole   error // told once the chunks before it are gone
	ended  error
	stable int64
	closed bool

	// Of who reads.
	decoder decoder
	current chunk
	active  map[int64]bool // producers whose transaction is to be left out
	records []Record       // decoded, not yet handed out
	buf     []Record       // what records is a part of
	next    int64
	torn    int // how often the batch at next was read with a bad checksum
}

// chunk is what one answer held of a partition: whole batches.
type chunk struct {
	raw     []byte
	size    int
	aborted []aborted
}

// Position is the offset up to which Next has handed out all.
func (f *Feed) Position() int64 { return f.next }

// End is the offset up to which the log held decided records at the last answer; -1 before the first one.
func (f *Feed) End() int64 {
	f.reader.mu.Lock()
	defer f.reader.mu.Unlock()
	return f.stable
}

// Next waits for records and returns at most n of those that are there, in order, and the offset up to which the log is
// thereby seen. No records and a later offset: markers, or aborted records. The slice is valid until the next call, what its
// records point to for as long as it is held. A HoleError is told once, and Next goes on; other errors than ctx's are final.
func (f *Feed) Next(ctx context.Context, n int) (records []Record, next int64, err error) {
	from := f.next
	for {
		for len(f.records) < n {
			if len(f.current.raw) == 0 && !f.reader.take(f) {
				break
			}
			f.decode()
		}
		if len(f.records) > 0 {
			records = f.records[:min(n, len(f.records))]
			f.records = f.records[len(records):]
			next = f.next
			if len(f.records) > 0 {
				next = f.records[0].Offset
			}
			return records, next, nil
		}
		if f.next > from {
			return nil, f.next, nil
		}
		if err := f.wait(ctx); err != nil {
			return nil, f.next, err
		}
	}
}

// wait waits for a chunk, or for the feed's end.
func (f *Feed) wait(ctx context.Context) error {
	for {
		if f.reader.take(f) {
			return nil
		}
		if err := f.reader.fault(f); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.ready:
		}
	}
}

// decode decodes one more batch of the current chunk.
func (f *Feed) decode() {
	b, rest, ok, _ := cut(f.current.raw) // the reader has cut it once: it is whole
	f.current.raw = rest
	if !ok || b.next <= f.next { // all of it was seen: a broker begins with the batch around the offset
		return
	}
	if err := b.check(); err != nil {
		if f.torn++; f.torn < 3 {
			f.current = chunk{}
			f.reader.rewind(f, f.next)
			return
		}
		f.grow(append(f.room(), Record{Offset: max(b.base, f.next), Time: b.time(0), Value: b.raw, Err: err}))
	} else if f.wanted(b) {
		f.grow(f.decoder.appendRecords(f.room(), b, f.next))
	}
	f.torn = 0
	f.next = b.next
}

// room returns the records that are not yet handed out, in a slice that may grow.
func (f *Feed) room() []Record {
	if len(f.records) > 0 {
		return f.records
	}
	return f.buf[:0]
}

func (f *Feed) grow(records []Record) {
	f.records = records
	if cap(records) > cap(f.buf) {
		f.buf = records
	}
}

// wanted follows transactions, and tells whether the batch holds records for us.
func (f *Feed) wanted(b batch) bool {
	for len(f.current.aborted) > 0 && f.current.aborted[0].first < b.next {
		if f.active == nil {
			f.active = make(map[int64]bool)
		}
		f.active[f.current.aborted[0].producer] = true
		f.current.aborted = f.current.aborted[1:]
	}
	if b.control() {
		if b.aborts() {
			delete(f.active, b.producer())
		}
		return false
	}
	return !b.transactional() || !f.active[b.producer()]
}

// Close ends the feed: nothing more is asked for it.
func (f *Feed) Close() { f.reader.remove(f) }
