package inbox

import (
	"context"
	"time"
)

func age(*Message, UID) time.Time { return time.Time{} }

// Process applies m: one READ COMMITTED transaction of claim, handler, commit. It runs the whole transaction again on
// serialization failures, deadlocks and lost connections. With an error nothing is committed, and the outcome is Unfinished:
// IsInfrastructure (try again, count nothing), IsHalt (stop), RetryDelay, or the handler's own error.
// A Permanent error of the handler is not returned: the message is put aside, as DeadLetter does.
func (p *Processor[T]) Process(ctx context.Context, m *Message) (Outcome, error) {
	return Unfinished, nil
}

// ProcessBatch applies messages of one partition, in their order, in one transaction. When it fails it is rolled back and the
// messages are processed one by one. The answer holds the outcomes of the messages that are finished, from the first on; when
// they are fewer than ms, the error is that of the next one, ms[len(outcomes)], and means what it means for Process.
func (p *Processor[T]) ProcessBatch(ctx context.Context, ms []*Message) ([]Outcome, error) {
	return nil, nil
}

// DeadLetter gives a message up: claim and dead letter in one transaction, as Options.Poison says (DeadLettered), or a HaltError.
// reason is one word for people and filters ("attempts"), attempts the number of tries. Duplicate when it had been finished; Parked
// when its key is parked already.
func (p *Processor[T]) DeadLetter(ctx context.Context, m *Message, reason string, cause error, attempts int) (Outcome, error) {
	return Unfinished, nil
}

// Play applies one letter that Store.Playable has returned: deletes it and runs the handler in one transaction (Processed or
// Skipped; the last of a key releases it), or gives it up (Drop: outcome Skipped). When the handler fails, the letter stays, dead and without
// a verdict, its outcome is DeadLettered, and the handler's error is returned with it. ErrGone, with Duplicate: somebody else was
// quicker.
func (p *Processor[T]) Play(ctx context.Context, l Playable) (Outcome, error) {
	return Unfinished, nil
}

// CheckTopic is called by a runner before it reads a topic in the mode ByMark, with the topic's number of partitions: a HaltError
// when it is not the one that the marks were made for. It registers Options.Mark.Sources. In the mode ByID it does nothing.
func (p *Processor[T]) CheckTopic(ctx context.Context, topic string, partitions int) error {
	return nil
}
