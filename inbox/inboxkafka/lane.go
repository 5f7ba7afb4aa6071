package inboxkafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// processor is the inbox, whatever its transactions are.
type processor interface {
	Process(ctx context.Context, m *inbox.Message) (inbox.Outcome, error)
	ProcessBatch(ctx context.Context, ms []*inbox.Message) ([]inbox.Outcome, error)
	DeadLetter(ctx context.Context, m *inbox.Message, reason string, cause error, attempts int) (inbox.Outcome, error)
	Play(ctx context.Context, l inbox.Playable) (inbox.Outcome, error)
	CheckTopic(ctx context.Context, topic string, partitions int) error
}

// store is what a runner asks of an inbox.Store itself.
type store interface {
	inbox.Places
	inbox.Waiter
	AddAttempts(ctx context.Context, consumer string, id inbox.UID, delta int) (int, error)
	Playable(ctx context.Context, consumer, topic string, partitions []int32, limit int) ([]inbox.Playable, error)
	CountLetters(ctx context.Context, consumer string) (dead, waiting int, err error)
}

// lane handles messages one after the other: those of a partition, or of some of its keys.
type lane struct {
	*settings

	log   *slog.Logger
	watch watchdog

	// cautious is how many more messages that are not known yet go one by one, with the try counted first: after an unclean
	// end, one of those that were under way may be what ended the process.
	cautious int
	sifting  bool // what is known already is passed over first, in batches: it is what the watermark had not reached
}

// run handles messages in order. settled is told, as it goes, how many more from the front need nothing. It returns before all
// are settled when soft or hard ends, or with a HaltError. Nothing else stops it: it tries again for as long as it takes.
func (l *lane) run(soft, hard context.Context, messages []*inbox.Message, settled func(n int)) error {
	for len(messages) > 0 {
		if soft.Err() != nil {
			return context.Cause(soft)
		}
		var n int
		var err error
		if l.cautious > 0 && l.sifting {
			n, err = l.sift(soft, hard, messages[:min(len(messages), l.maxBatch)])
		} else if len(messages) > 1 && l.maxBatch > 1 && l.cautious == 0 {
			n, err = l.batch(soft, hard, messages[:min(len(messages), l.maxBatch)])
		} else if err = l.single(soft, hard, messages[0], nil); err == nil {
			n = 1
		}
		l.at("settle")
		settled(n)
		if err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

// sift settles the messages from the front that need no handler, and returns their number.
func (l *lane) sift(soft, hard context.Context, messages []*inbox.Message) (n int, err error) {
	ctx := context.WithValue(hard, siftKey{}, true)
	err = l.steady(soft, hard, func() error {
		done, err := l.ProcessBatch(ctx, messages[n:])
		n += len(done)
		return err
	})
	if ended(soft, hard) || inbox.IsHalt(err) {
		return n, err
	}
	l.sifting = err == nil
	return n, nil
}

// siftKey marks the context of a call in which no handler may run.
type siftKey struct{}

var errFresh = errors.New("the message has not been handled yet")

// sifted is h, but in a call that only sifts.
func sifted[T, M any](h func(context.Context, T, M) error) func(context.Context, T, M) error {
	return func(ctx context.Context, tx T, m M) error {
		if ctx.Value(siftKey{}) != nil {
			return errFresh
		}
		return h(ctx, tx, m)
	}
}

// batch handles messages in one transaction. How many are settled it returns also with an error.
func (l *lane) batch(soft, hard context.Context, messages []*inbox.Message) (int, error) {
	var outcomes []inbox.Outcome
	err := l.steady(soft, hard, func() error {
		// A call that is left behind keeps its own answer and its own messages: nobody reads them any more.
		var answer []inbox.Outcome
		err := l.watch.call(hard, l.handlerTimeout, func(ctx context.Context) (err error) {
			answer, err = l.ProcessBatch(ctx, messages)
			return err
		})
		if errors.Is(err, errLeft) {
			return err
		}
		outcomes = append(outcomes, answer...)
		messages = messages[len(answer):]
		return err
	})
	n := len(outcomes)
	switch {
	case err == nil, ended(soft, hard), inbox.IsHalt(err):
		return n, err
	case errors.Is(err, errLate): // whose fault it is shows when each has its own time
		err = nil
		if errors.Is(err, errLeft) {
			messages = copies(messages)
		}
		for _, m := range messages {
			if err = l.single(soft, hard, m, nil); err != nil {
				break
			}
			n++
		}
		return n, err
	}
	if err := l.single(soft, hard, messages[0], err); err != nil {
		return n, err
	}
	return n + 1, nil
}

// copies returns messages that a call which was left behind does not know.
func copies(messages []*inbox.Message) []*inbox.Message {
	fresh := make([]*inbox.Message, len(messages))
	for i, m := range messages {
		fresh[i] = again(m)
	}
	return fresh
}

func again(m *inbox.Message) *inbox.Message {
	fresh := *m
	return &fresh
}

// single handles one message until it is settled: handled, known, or put aside. failed is what its handler has said already.
func (l *lane) single(soft, hard context.Context, m *inbox.Message, failed error) error {
	counted, attempts := false, 0
	release := func() {}
	defer func() { release() }()
	if l.cautious > 0 && failed == nil {
		var err error
		if release, err = l.onlyOne(soft); err != nil {
			return err
		}
		if attempts, err = l.count(soft, hard, m, 1); err != nil {
			return err
		}
		counted = attempts > 0
		if attempts > l.maxAttempts {
			return l.putAside(soft, hard, m, "crash", fmt.Errorf("the process ended %d times while this message was handled", attempts-1), attempts-1)
		}
	}
	for wait := l.minBackoff; ; wait = min(2*wait, l.maxBackoff) {
		err := failed
		if failed = nil; err == nil {
			m.Attempt = attempts
			var outcome inbox.Outcome
			m, outcome, err = l.once(soft, hard, m)
			if err == nil {
				if known := outcome == inbox.Duplicate || outcome == inbox.Expired; known {
					l.sifting = l.cautious > 0
				} else {
					l.cautious = max(0, l.cautious-1)
				}
				return nil
			}
			release()
		}
		if ended(soft, hard) || inbox.IsHalt(err) || errors.Is(err, inbox.ErrFenced) {
			if counted {
				l.giveBack(hard, m)
			}
			return errors.Join(err, context.Cause(soft))
		}
		if !counted {
			var failure error
			if attempts, failure = l.count(soft, hard, m, 1); failure != nil {
				return failure
			}
		}
		counted = false
		if attempts >= l.maxAttempts {
			return l.putAside(soft, hard, m, "attempts", err, attempts)
		}
		delay := jitter(wait)
		if d, ok := inbox.RetryDelay(err); ok {
			delay = d // at the earliest
		}
		l.log.Warn("a message was not handled: trying again", "offset", m.Offset, "id", m.ID, "type", m.Type, "attempt", attempts, "in", delay, "err", err)
		if !pause(soft, delay) {
			return context.Cause(soft)
		}
	}
}

// onlyOne waits until no other cautious lane of this process handles a message: which one it is that ends the process is known
// only when it is alone.
func (l *lane) onlyOne(soft context.Context) (release func(), err error) {
	select {
	case l.alone <- struct{}{}:
		return sync.OnceFunc(func() { <-l.alone }), nil
	case <-soft.Done():
		return func() {}, context.Cause(soft)
	}
}

// once hands the message to the inbox, for as often as the database fails. It returns the message to go on with: another one
// when the call was left behind with the first.
func (l *lane) once(soft, hard context.Context, m *inbox.Message) (*inbox.Message, inbox.Outcome, error) {
	var outcome inbox.Outcome
	err := l.steady(soft, hard, func() error {
		var answer inbox.Outcome
		message := m
		err := l.watch.call(hard, l.handlerTimeout, func(ctx context.Context) (err error) {
			answer, err = l.Process(ctx, message)
			return err
		})
		if errors.Is(err, errLeft) {
			m = again(message)
			return err
		}
		outcome = answer
		return err
	})
	return m, outcome, err
}

// count adds to the tries of a message that stand in the database; 0 when it has no id to count under.
func (l *lane) count(soft, hard context.Context, m *inbox.Message, delta int) (n int, err error) {
	id, err := inbox.Identify(m, l.ids)
	if err != nil {
		return 0, nil //nolint:nilerr // the inbox puts it aside, or halts
	}
	err = l.steady(soft, hard, func() (err error) {
		n, err = l.AddAttempts(hard, l.consumer, id, delta)
		return err
	})
	return n, err
}

// giveBack takes back a try that was counted first and did not come to an end of its own.
func (l *lane) giveBack(hard context.Context, m *inbox.Message) {
	id, err := inbox.Identify(m, l.ids)
	if err != nil || hard.Err() != nil {
		return
	}
	if _, err := l.AddAttempts(hard, l.consumer, id, -1); err != nil {
		l.log.Warn("take a try back", "offset", m.Offset, "id", m.ID, "err", err)
	}
}

func (l *lane) putAside(soft, hard context.Context, m *inbox.Message, reason string, cause error, attempts int) error {
	l.log.Error("a message is given up", "offset", m.Offset, "id", m.ID, "type", m.Type, "reason", reason, "attempts", attempts, "err", cause)
	m.Attempt = attempts // it clears the count
	return l.steady(soft, hard, func() error {
		_, err := l.DeadLetter(hard, m, reason, cause, attempts)
		return err
	})
}

// steady calls f until its error is not the database's: those say nothing about a message.
func (l *lane) steady(soft, hard context.Context, f func() error) error {
	for wait := l.minBackoff; ; wait = min(2*wait, l.maxBackoff) {
		err := f()
		var database *inbox.DatabaseError
		if err == nil || !errors.As(err, &database) || ended(soft, hard) {
			return err
		}
		l.log.Warn("the database failed: trying again", "in", wait, "err", err)
		if !pause(soft, jitter(wait)) {
			return context.Cause(soft)
		}
	}
}

func ended(soft, hard context.Context) bool { return soft.Err() != nil || hard.Err() != nil }

// pause waits, and tells whether the time has passed.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// jitter spreads waits, so that members that failed together do not come back together.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}
