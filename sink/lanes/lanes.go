package lanes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
)

// errClosed is the cause that ends the writes under way when the sink is closed.
var errClosed = errors.New("the sink is closed")

// Sink is a sink.Sink over a WriteFunc. Create it with New.
type Sink struct {
	config   Config
	receiver sink.Receiver
	lanes    []*lane
	start    []*lane // Publish's own: which lanes need a worker

	spawn   func(*lane)             // starts a lane's worker; it holds the context that Close ends
	end     context.CancelCauseFunc // ends that context
	workers sync.WaitGroup

	turns    atomic.Uint64 // counts answers, so that "after" does not hang on the clock
	answered atomic.Uint64 // turn of the last write that got somewhere
	notices  notices
}

// New returns a sink that reports to r. It starts no goroutine before the first event. ctx lends the writes its values;
// its end means nothing, so that lanes can drain while everything else stops: only Close ends the sink.
func New(ctx context.Context, config Config, r sink.Receiver) (*Sink, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configure lanes: %w", err)
	}
	s := &Sink{config: config, receiver: r, notices: notices{held: map[sink.Notice]int{}}}
	ctx, s.end = context.WithCancelCause(context.WithoutCancel(ctx))
	s.spawn = func(l *lane) { s.workers.Go(func() { s.work(ctx, l) }) }
	for i := range config.Lanes {
		s.lanes = append(s.lanes, &lane{number: i})
	}
	return s, nil
}

// Publish implements sink.Sink.
func (s *Sink) Publish(events []decoder.Event) {
	for i := range events {
		l := s.lanes[0]
		if len(s.lanes) > 1 {
			l = s.lanes[hash(&events[i])%uint64(len(s.lanes))]
		}
		if l.push(&events[i]) {
			s.start = append(s.start, l)
		}
	}
	// Workers start only now: the first batch is what Publish was given, not its first event.
	for i, l := range s.start {
		s.startWorker(l)
		s.start[i] = nil
	}
	s.start = s.start[:0]
}

// Status implements sink.Sink.
func (s *Sink) Status() sink.Status { return s.status() }

// Close implements sink.Sink. It waits for writes under way to notice that their context has ended.
func (s *Sink) Close() error {
	s.end(errClosed)
	for _, l := range s.lanes {
		l.close()
	}
	s.workers.Wait()
	return nil
}

// startWorker starts l's worker unless the lane was closed meanwhile: Close sets that under the same lock before it waits,
// so it waits for every worker that was started.
func (s *Sink) startWorker(l *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		s.spawn(l)
	}
}

// work delivers what is in l's queue, batch by batch, until it is empty or the lane can go no further.
func (s *Sink) work(ctx context.Context, l *lane) {
	for ctx.Err() == nil {
		batch := l.take(s.config.MaxBatchEvents, s.config.MaxBatchBytes)
		if len(batch) == 0 || !s.deliver(ctx, l, s.seal(batch)) {
			return
		}
	}
}

// seal asks about each event, in order, and drops those that the receiver has taken over.
func (s *Sink) seal(batch []*decoder.Event) []*decoder.Event {
	return slices.DeleteFunc(batch, s.receiver.Divert)
}

// deliver writes batch until all of it is settled. It returns false when the lane has halted or the sink is closed.
func (s *Sink) deliver(ctx context.Context, l *lane, batch []*decoder.Event) bool {
	wait := sink.Backoff{Min: s.config.MinBackoff, Max: s.config.MaxBackoff}
	for len(batch) > 0 {
		written, err := s.write(ctx, l, batch)
		if written > 0 {
			s.receiver.Ack(batch[:written])
			batch = batch[written:]
			wait.Reset()
		}
		if err == nil || len(batch) == 0 {
			continue
		}
		if rejected, ok := errors.AsType[*Rejected](err); ok {
			if s.receiver.Reject(batch[0], rejected.Rejection) == sink.Halt {
				l.halt(len(batch), rejected)
				return false
			}
			batch = s.seal(batch[1:])
			wait.Reset()
			continue
		}
		if ctx.Err() != nil {
			return false
		}
		s.fail(l, failure(err))
		if wait.Wait(ctx) != nil {
			return false
		}
	}
	return true
}

// write writes once and tells how it went. A write that was cut short by Close counts as no attempt.
func (s *Sink) write(ctx context.Context, l *lane, batch []*decoder.Event) (written int, err error) {
	l.begin(len(batch))
	written, err = s.config.Write(ctx, l.number, batch)
	if written < 0 || written > len(batch) {
		panic(fmt.Sprintf("lanes: a write of %d events returned %d", len(batch), written))
	}
	if err == nil && written < len(batch) {
		err = fmt.Errorf("wrote %d of %d events and gave no reason", written, len(batch))
	}
	reason, answered := "", written > 0
	if rejected, ok := errors.AsType[*Rejected](err); ok {
		reason, answered = rejected.Reason, true
	} else if err != nil {
		reason = failure(err).Reason
	}
	if answered {
		s.answered.Store(s.turns.Add(1))
		s.notices.drop(l.advance(len(batch) - written))
	}
	if err == nil || answered || ctx.Err() == nil {
		s.receiver.Attempted(len(batch), reason)
	}
	return written, err
}

// fail notes a failed write and tells the operator what no other lane has told.
func (s *Sink) fail(l *lane, f *Failure) {
	told := l.fail(f, s.turns.Add(1))
	if told == f.Notice {
		return
	}
	s.notices.drop(told)
	if s.notices.hold(f.Notice) {
		s.receiver.Notice(f.Notice)
	}
}

// hash places an event: all with the same topic and key get the same number.
func hash(ev *decoder.Event) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a, 64 bits
	h := uint64(offset)
	for i := range len(ev.Topic) {
		h = (h ^ uint64(ev.Topic[i])) * prime
	}
	h *= prime // the border between topic and key
	for _, b := range ev.Key {
		h = (h ^ uint64(b)) * prime
	}
	return h ^ h>>32 // the low bits alone are weak in short strings
}
