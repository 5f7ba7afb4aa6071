package inbox

import (
	"context"
	"errors"
)

// Handler does what an event asks for, with tx, and returns nil, or an error: Permanent, RetryAfter, Skip, or any other, which
// means "try again". It neither commits nor rolls back, and does not keep m. It may be run more than once for a message; only one
// run is committed.
type Handler[T any] func(ctx context.Context, tx T, m *Message) error

// BatchHandler does the same for many messages at once, in order. An error means that none of them took effect: the batch is
// rolled back, and the messages are given to it one by one, to find the one to blame.
type BatchHandler[T any] func(ctx context.Context, tx T, ms []*Message) error

// Processor applies messages of one consumer. It may be used by several goroutines. Make it by NewProcessor or NewBatchProcessor.
//
// It decides about one delivery. Waiting before the next try, counting tries (Store.AddAttempts, Message.Attempt) and giving up
// after too many (DeadLetter) are its caller's.
type Processor[T any] struct {
	store    Store[T]
	consumer string
	one      Handler[T]
	many     BatchHandler[T]
	o        Options
}

// NewProcessor returns a Processor that gives messages to h one by one, also those of a batch. The consumer's name is part of
// every key in the store: two consumers with different names each process all events. 1 to 200 bytes of UTF-8.
func NewProcessor[T any](store Store[T], consumer string, h Handler[T], o Options) (*Processor[T], error) {
	return newProcessor(store, consumer, h, nil, o)
}

// NewBatchProcessor returns a Processor that gives all fresh messages of a batch to h at once.
func NewBatchProcessor[T any](store Store[T], consumer string, h BatchHandler[T], o Options) (*Processor[T], error) {
	one := func(ctx context.Context, tx T, m *Message) error { return h(ctx, tx, []*Message{m}) }
	return newProcessor(store, consumer, one, h, o)
}

func newProcessor[T any](store Store[T], consumer string, one Handler[T], many BatchHandler[T], o Options) (*Processor[T], error) {
	o, err := o.withDefaults()
	if consumer == "" || clean(consumer, 200) != consumer {
		err = errors.Join(err, errors.New("inbox: a consumer's name has 1 to 200 bytes of UTF-8"))
	}
	if err != nil {
		return nil, err
	}
	return &Processor[T]{store: store, consumer: consumer, one: one, many: many, o: o}, nil
}

// Process applies one message with the default options: claim, handler, commit. See Processor.Process.
func Process[T any](ctx context.Context, store Store[T], consumer string, m *Message, h Handler[T]) (Outcome, error) {
	p, err := NewProcessor(store, consumer, h, Options{})
	if err != nil {
		return Unfinished, err
	}
	return p.Process(ctx, m)
}

// Claim claims m in the caller's transaction: true when it is fresh, and the caller goes on and commits; false when it is a
// duplicate. It waits for a concurrent copy. Parked keys, dead letters and policies are Process's; here a message without an id
// is ErrNoID, and one that cannot be decoded the error of Decode.
func Claim[T any](ctx context.Context, store Claims[T], tx T, consumer string, m *Message) (bool, error) {
	id, err := Identify(m, Reject)
	if err != nil {
		return false, err
	}
	got, err := store.Claim(ctx, tx, consumer, []Ask{{ID: id, Age: age(m, id)}})
	if err != nil {
		return false, err
	}
	return got[0].State == Fresh, nil
}
