package inbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"
)

// Process applies m: one READ COMMITTED transaction of claim, handler, commit. It runs the whole transaction again on
// serialization failures, deadlocks and lost connections. With an error nothing is committed, and the outcome is Unfinished:
// IsInfrastructure (try again, count nothing), IsHalt (stop), RetryDelay, or the handler's own error.
// A Permanent error of the handler is not returned: the message is put aside, as DeadLetter does.
func (p *Processor[T]) Process(ctx context.Context, m *Message) (Outcome, error) {
	id, err := p.identify(m)
	if err != nil {
		return p.unfit(ctx, m, err)
	}
	began := time.Now()
	outs, err := p.transact(ctx, func(ctx context.Context, tx T, outs []Outcome) error {
		return p.apply(ctx, tx, []*Message{m}, []UID{id}, outs)
	}, 1)
	switch {
	case err == nil:
		p.count([]*Message{m}, outs, time.Since(began))
		return outs[0], nil
	case IsInfrastructure(err) || IsHalt(err):
		return Unfinished, err
	case IsPermanent(err):
		return p.DeadLetter(ctx, m, "permanent", err, max(m.Attempt, 1))
	}
	p.o.Metrics.Retry(p.consumer, retryReason(err))
	return Unfinished, err
}

func retryReason(err error) string {
	var pe *PanicError
	if _, later := RetryDelay(err); later {
		return "retry_after"
	} else if errors.As(err, &pe) {
		return "panic"
	}
	return "handler"
}

// identify is Identify with this processor's policy; a mark stands for an id that is missing.
func (p *Processor[T]) identify(m *Message) (UID, error) {
	policy := p.o.IDs
	if p.o.Mode == ByMark && m.Decode() == nil && !m.Position.IsZero() {
		policy = UsePosition
	}
	return Identify(m, policy)
}

// unfit finishes a message that cannot be identified. It never blocks, and parks no key: nothing is known of it.
func (p *Processor[T]) unfit(ctx context.Context, m *Message, cause error) (Outcome, error) {
	reason := "undecodable"
	if errors.Is(cause, ErrNoID) {
		if p.o.IDs == HaltOnNoID {
			return Unfinished, halt(fmt.Errorf("%w; let the producer send event_id, or choose Options.IDs: Reject or UsePosition", cause))
		}
		reason = "no_id"
	}
	return p.putAside(ctx, m, placeUID(m), &Letter{Reason: reason, Error: cause.Error(), Attempts: max(m.Attempt, 1)}, false)
}

// transact runs f in a transaction, again when the database gave up, until it is committed. f fills the outcomes of n messages.
// When the answer to a COMMIT was lost, the next try finds the claims of the one before: what looks like a duplicate then is the
// outcome of that one.
func (p *Processor[T]) transact(ctx context.Context, f func(context.Context, T, []Outcome) error, n int) ([]Outcome, error) {
	var lost []Outcome
	for try := 1; ; try++ {
		outs := make([]Outcome, n)
		err := p.store.Tx(ctx, func(ctx context.Context, tx T) error { return f(ctx, tx, outs) })
		if err == nil {
			for i, o := range outs {
				if o == Duplicate && lost != nil {
					outs[i] = lost[i]
				}
			}
			return outs, nil
		}
		if ctx.Err() != nil {
			return nil, &endedError{errors.Join(context.Cause(ctx), err)}
		}
		var db *DatabaseError
		if !errors.As(err, &db) {
			return nil, err
		}
		if db.Commit && lost == nil {
			lost = outs
		}
		if try >= p.o.Tries {
			return nil, err
		}
		reason := "connection"
		if db.Conflict {
			reason = "conflict"
		}
		p.o.Metrics.Retry(p.consumer, reason)
		if err := p.pause(ctx, try); err != nil {
			return nil, err
		}
	}
}

// pause waits before the next try: a hundredth of the longest pause, doubled each time, the half of it at random.
func (p *Processor[T]) pause(ctx context.Context, try int) error {
	d := min(p.o.Backoff, p.o.Backoff/100<<min(try-1, 10))
	timer := time.NewTimer(d/2 + time.Duration(rand.Int64N(int64(d/2)+1)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &endedError{context.Cause(ctx)}
	}
}

// apply does what stands in the transaction: claim, handler. It fills outs, one for each message. ids are those of the messages, in
// their order; they may repeat.
func (p *Processor[T]) apply(ctx context.Context, tx T, ms []*Message, ids []UID, outs []Outcome) error {
	var fresh []int
	var err error
	if p.o.Mode == ByMark {
		fresh, err = p.mark(ctx, tx, ms, ids, outs)
	} else {
		fresh, err = p.claim(ctx, tx, ms, ids, outs)
	}
	if err != nil {
		return err
	}
	began := time.Now()
	if err := p.handle(ctx, tx, ms, fresh, outs); err != nil {
		return err
	}
	if p.o.RecordDuration && len(fresh) > 0 {
		took := time.Since(began) / time.Duration(len(fresh))
		if err := p.store.Took(ctx, tx, p.consumer, pick(ids, fresh), took); err != nil {
			return err
		}
	}
	var counted []UID
	for i, m := range ms {
		if m.Attempt > 0 {
			counted = append(counted, ids[i])
		}
	}
	if counted == nil {
		return nil
	}
	return p.store.ClearAttempts(ctx, tx, p.consumer, counted)
}

func pick(ids []UID, at []int) []UID {
	out := make([]UID, len(at))
	for n, i := range at {
		out[n] = ids[i]
	}
	return out
}

// handle gives the fresh messages to the handler.
func (p *Processor[T]) handle(ctx context.Context, tx T, ms []*Message, fresh []int, outs []Outcome) error {
	if p.many != nil && len(fresh) > 1 {
		batch := make([]*Message, len(fresh))
		for n, i := range fresh {
			batch[n], outs[i] = ms[i], Processed
		}
		return guard(func() error { return p.many(ctx, tx, batch) })
	}
	for _, i := range fresh {
		err := guard(func() error { return p.one(ctx, tx, ms[i]) })
		outs[i] = Processed
		if IsSkip(err) {
			outs[i] = Skipped
		} else if err != nil {
			return err
		}
	}
	return nil
}

// guard turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}

// count tells the metrics what was committed. Of a batch each message took its part.
func (p *Processor[T]) count(ms []*Message, outs []Outcome, took time.Duration) {
	n := 0
	for _, o := range outs {
		if o == Processed {
			n++
		}
	}
	for i, o := range outs {
		switch o {
		case Processed:
			p.o.Metrics.Processed(p.consumer, ms[i].Type, took/time.Duration(n))
			if !ms[i].Time.IsZero() {
				p.o.Metrics.EventAge(p.consumer, max(0, time.Since(ms[i].Time)))
			}
		case Duplicate, Expired:
			p.o.Metrics.Duplicate(p.consumer, ms[i].Type)
		}
	}
}
