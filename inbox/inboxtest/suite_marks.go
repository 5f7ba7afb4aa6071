package inboxtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// positioned is a delivery with position headers.
func positioned(source string, lsn uint64, index int, key string, more ...inbox.Header) *inbox.Message {
	return message(NewID(), key, int64(lsn), append([]inbox.Header{
		{Key: "cdc-source", Value: []byte(source)},
		{Key: "cdc-lsn", Value: fmt.Appendf(nil, "%016X", lsn)},
		{Key: "cdc-index", Value: fmt.Append(nil, index)},
	}, more...)...)
}

func (b *bed[T]) byMark(h inbox.Handler[T]) *inbox.Processor[T] {
	b.Helper()
	return b.processor(h, inbox.Options{Mode: inbox.ByMark, Mark: inbox.MarkOptions{AcceptFirst: true}})
}

// The mark rises with what takes effect; what stands at or before it is a duplicate, alone and in a batch.
func (b *bed[T]) mark() {
	p := b.byMark(b.apply)
	a, c, d := positioned("s:1", 10, 0, "k"), positioned("s:1", 10, 1, "k"), positioned("s:1", 11, 0, "k")
	b.want(p, a, inbox.Processed)
	b.want(p, c, inbox.Processed)
	b.want(p, again(a), inbox.Duplicate)
	b.want(p, again(c), inbox.Duplicate)
	e := positioned("s:1", 12, 0, "k")
	const done, dup = inbox.Processed, inbox.Duplicate
	if err := b.batchOf(p, []inbox.Outcome{dup, dup, done, dup, done, dup}, again(a), again(c), d, again(c), e, again(d)); err != nil {
		b.Fatal(err)
	}
	b.wantEffects(a.ID, c.ID, d.ID, e.ID)

	broken := errors.New("broken")
	fails := b.byMark(func(context.Context, T, *inbox.Message) error { return broken })
	f := positioned("s:1", 13, 0, "k")
	if _, err := fails.Process(b.Context(), f); !errors.Is(err, broken) {
		b.Fatal(err)
	}
	b.want(p, f, inbox.Processed) // the failure moved no mark
}

// The row fences: who comes while the same event takes effect waits, and finds it done.
func (b *bed[T]) markConcurrent() {
	p := b.byMark(b.apply)
	b.want(p, positioned("s:1", 1, 0, "k"), inbox.Processed)
	m := positioned("s:1", 2, 0, "k")
	busy, release := make(chan struct{}), make(chan struct{})
	slow := b.byMark(func(ctx context.Context, tx T, m *inbox.Message) error {
		close(busy)
		<-release
		return b.apply(ctx, tx, m)
	})
	outcomes := make(chan inbox.Outcome, 2)
	run := func(p *inbox.Processor[T], m *inbox.Message) {
		o, err := p.Process(b.Context(), m)
		if err != nil {
			b.Error(err)
		}
		outcomes <- o
	}
	go run(slow, m)
	<-busy
	zombie := again(m)
	go run(p, zombie)
	select {
	case o := <-outcomes:
		b.Errorf("a copy ended as %v while the first was under way", o)
		outcomes <- o
	case <-time.After(200 * time.Millisecond): // it waits
	}
	close(release)
	first, second := <-outcomes, <-outcomes
	if min(first, second) != inbox.Processed || max(first, second) != inbox.Duplicate {
		b.Errorf("two at once: %v and %v", first, second)
	}
	if n := len(b.effects()); n != 2 {
		b.Errorf("%d effects of 2 events", n)
	}
}

func (b *bed[T]) refused(p *inbox.Processor[T], m *inbox.Message, want error) {
	b.Helper()
	o, err := p.Process(b.Context(), m)
	if o != inbox.Unfinished || !inbox.IsHalt(err) || !errors.Is(err, want) {
		b.Errorf("%v, %v; want a halt for %v", o, err, want)
	}
}

// What the mark cannot judge stops the b.consumer, and writes nothing.
func (b *bed[T]) markRefuses() {
	if _, err := inbox.NewProcessor(b.f.Store, b.consumer, b.apply, inbox.Options{Mode: inbox.ByMark, Workers: 2}); !inbox.IsHalt(err) || !errors.Is(err, inbox.ErrWorkers) {
		b.Errorf("several workers: %v", err)
	}
	strict := b.processor(b.apply, inbox.Options{Mode: inbox.ByMark})
	m := positioned("s:1", 10, 0, "k")
	b.refused(strict, m, inbox.ErrFirstContact)
	named := b.processor(b.apply, inbox.Options{Mode: inbox.ByMark, Mark: inbox.MarkOptions{Sources: []string{"s:1"}}})
	b.want(named, again(m), inbox.Processed)

	b.refused(strict, message(NewID(), "k", 2), inbox.ErrNoPosition)
	b.refused(strict, positioned("s:1", 10, 0, "k"), inbox.ErrPositionReused) // another event at the same position
	stranger := positioned("t:1", 20, 0, "k")
	b.refused(strict, stranger, inbox.ErrUnknownSource)
	b.refused(b.byMark(b.apply), stranger, inbox.ErrUnknownSource) // AcceptFirst is for the first
	if err := b.f.Store.Announce(b.Context(), b.consumer, "orders", "t:1"); err != nil {
		b.Fatal(err)
	}
	b.want(strict, stranger, inbox.Processed)
	b.wantEffects(m.ID, stranger.ID)
}

// After a change of timeline the old mark holds up to the switch.
func (b *bed[T]) markTimeline() {
	prev := inbox.Header{Key: "cdc-source-prev", Value: []byte("s:1@0/64")} // the switch at 100
	p := b.byMark(b.apply)
	b.want(p, positioned("s:1", 90, 0, "k"), inbox.Processed)
	old := positioned("s:1", 95, 0, "k")
	b.want(p, old, inbox.Processed)
	copied := again(old)
	copied.Headers = append(positioned("s:2", 95, 0, "k", prev).Headers[2:], inbox.Header{Key: "event_id", Value: []byte(old.ID)})
	copied = again(copied)
	b.want(p, copied, inbox.Duplicate) // the new primary sends what the old one had sent
	next := positioned("s:2", 96, 0, "k", prev)
	b.want(p, next, inbox.Processed)

	// A phantom: the old primary sent beyond the switch. What the new one has there is another event, and new.
	q := positioned("s:1", 120, 0, "k")
	q.Partition = 7
	b.want(p, q, inbox.Processed)
	r := positioned("s:2", 100, 0, "k", prev)
	r.Partition = 7
	b.want(p, r, inbox.Processed)
	b.refused(p, positioned("s:4", 130, 0, "k", inbox.Header{Key: "cdc-source-prev", Value: []byte("s:3@0/80")}), inbox.ErrUnknownSource)
}

// Optimistic copies are left to the relay's; copies on purpose are claimed by id, unless nobody knows whether they are copies.
func (b *bed[T]) markCopies() {
	p := b.byMark(b.apply)
	b.want(p, positioned("s:1", 50, 0, "k"), inbox.Processed)
	relayed := positioned("s:1", 51, 0, "k")
	optimistic := message(relayed.ID, "k", 4, inbox.Header{Key: "cdc-optimistic", Value: []byte("1")})
	b.want(p, optimistic, inbox.Skipped)
	b.want(p, relayed, inbox.Processed)

	replayed := positioned("s:1", 7, 0, "k", inbox.Header{Key: "cdc-replay", Value: []byte("dlq requeue 2026-01-02T03:04:05Z")})
	b.want(p, replayed, inbox.Processed) // its position is old, and it was never published
	b.want(p, again(replayed), inbox.Duplicate)
	for _, value := range []string{"slot repair 2026-01-02T03:04:05Z unproven", "replay 2026-01-02T03:04:05Z", "a verb that is not known"} {
		b.refused(p, positioned("s:1", 8, 0, "k", inbox.Header{Key: "cdc-replay", Value: []byte(value)}), inbox.ErrUnproven)
	}
	published := again(relayed) // and took effect: as a replay it must not have a second one
	published.Headers = append(published.Headers, inbox.Header{Key: "cdc-replay", Value: []byte("replay 2026-01-02T03:04:05Z")})
	published.Replay = "replay 2026-01-02T03:04:05Z"
	b.refused(p, published, inbox.ErrUnproven)
}

// Poison under the mark: letter and mark in one transaction, the key parks, and is played back.
func (b *bed[T]) markParks() {
	h := &picky[T]{b, map[string]bool{}}
	p := b.byMark(h.handle)
	bad, next := positioned("s:1", 1, 0, "k"), positioned("s:1", 2, 0, "k")
	h.bad[bad.ID] = true
	b.want(p, bad, inbox.DeadLettered)
	b.want(p, again(bad), inbox.Duplicate)
	b.want(p, next, inbox.Parked)
	b.want(p, again(next), inbox.Duplicate)
	clear(h.bad)
	b.judge(b.letters()[0], inbox.Retry)
	for range 2 {
		if o, err := p.Play(b.Context(), b.playable()[0]); o != inbox.Processed || err != nil {
			b.Fatal(o, err)
		}
	}
	b.wantEffects(bad.ID, next.ID)
}

func (b *bed[T]) markPartitions() {
	p := b.byMark(b.apply)
	for _, n := range []int{6, 6} {
		if err := p.CheckTopic(b.Context(), "orders", n); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.CheckTopic(b.Context(), "orders", 8); !inbox.IsHalt(err) || !errors.Is(err, inbox.ErrPartitionCount) {
		b.Errorf("8 partitions after 6: %v", err)
	}
	if n, err := b.f.Store.Partitions(b.Context(), b.consumer, "orders", 8, true); err != nil || n != 8 {
		b.Errorf("accept: %d, %v", n, err)
	}
	if err := p.CheckTopic(b.Context(), "orders", 8); err != nil {
		b.Error(err)
	}
}
