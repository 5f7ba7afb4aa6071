package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// endPlayTimeout bounds filing a failed play after the caller's context has ended.
const endPlayTimeout = 2 * time.Second

// DeadLetter gives a message up: claim and dead letter in one transaction, as Options.Poison says (DeadLettered), or a HaltError.
// reason is one word for people and filters ("attempts"), attempts the number of tries. Duplicate when it had been finished; Parked
// when its key is parked already.
func (p *Processor[T]) DeadLetter(ctx context.Context, m *Message, reason string, cause error, attempts int) (Outcome, error) {
	id, err := p.identify(m)
	if err != nil {
		return p.unfit(ctx, m, err)
	}
	if p.o.Poison == HaltOnPoison {
		return Unfinished, halt(fmt.Errorf("%w: %s, event %s: %w; mend the handler, or choose Options.Poison: ParkKey or Park to put such messages aside",
			ErrPoison, m.where(), id, cause))
	}
	text := ""
	if cause != nil {
		text = cause.Error()
	}
	return p.putAside(ctx, m, id, &Letter{Reason: reason, Error: text, Attempts: attempts}, p.o.Poison == ParkKey)
}

// putAside claims m and writes the letter, in one transaction.
func (p *Processor[T]) putAside(ctx context.Context, m *Message, id UID, l *Letter, parkKey bool) (Outcome, error) {
	ms, ids := []*Message{m}, []UID{id}
	outs, err := p.transact(ctx, func(ctx context.Context, tx T, outs []Outcome) error {
		var fresh []int
		var err error
		if p.o.Mode == ByMark && !m.Position.IsZero() {
			fresh, err = p.mark(ctx, tx, ms, ids, outs)
		} else {
			fresh, err = p.claim(ctx, tx, ms, ids, outs)
		}
		if err != nil {
			return err
		}
		if len(fresh) > 0 {
			outs[0] = DeadLettered
			letter := letterOf(m, id, l)
			err = p.store.AddLetter(ctx, tx, p.consumer, letter, parkKey && m.Key != nil)
		}
		if err == nil && m.Attempt > 0 {
			err = p.store.ClearAttempts(ctx, tx, p.consumer, ids)
		}
		return err
	}, 1)
	if err != nil {
		return Unfinished, err
	}
	p.count(ms, outs, 0)
	return outs[0], nil
}

// Play applies one letter that Store.Playable has returned: deletes it and runs the handler in one transaction (Processed or
// Skipped; the last of a key releases it), or gives it up (Drop: outcome Skipped). When the handler fails, the letter stays, dead
// and without a verdict, its outcome is DeadLettered, and the handler's error is returned with it. ErrGone, with Duplicate:
// somebody else was quicker.
func (p *Processor[T]) Play(ctx context.Context, l Playable) (Outcome, error) {
	if !l.Drop {
		if err := p.store.BeginPlay(ctx, p.consumer, l.ID); err != nil {
			if errors.Is(err, ErrGone) {
				return Duplicate, err
			}
			return Unfinished, err
		}
	}
	var m *Message
	began := time.Now()
	outs, err := p.transact(ctx, func(ctx context.Context, tx T, outs []Outcome) error {
		letter, err := p.store.TakeLetter(ctx, tx, p.consumer, l.ID)
		if errors.Is(err, ErrGone) {
			outs[0] = Duplicate // by a try whose answer was lost, or by somebody else
			return nil
		}
		if err != nil {
			return err
		}
		if outs[0] = Skipped; l.Drop {
			return nil
		}
		m = &letter.Message
		_ = m.Decode() // a letter that could not be decoded is the handler's to judge
		return p.handle(ctx, tx, []*Message{m}, []int{0}, outs)
	}, 1)
	switch {
	case err == nil && outs[0] == Duplicate:
		return Duplicate, fmt.Errorf("play dead letter %d: %w", l.ID, ErrGone)
	case err == nil:
		if m != nil {
			p.count([]*Message{m}, outs, time.Since(began))
		}
		return outs[0], nil
	case l.Drop:
		return Unfinished, err
	}
	infrastructure := IsInfrastructure(err)
	endCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPlayTimeout)
	defer cancel()
	if end := p.store.EndPlay(endCtx, p.consumer, l.ID, clean(err.Error(), 4000), infrastructure); end != nil {
		return Unfinished, errors.Join(err, end)
	}
	if infrastructure {
		return Unfinished, err
	}
	p.o.Metrics.Retry(p.consumer, retryReason(err))
	return DeadLettered, err
}
