package inbox

import (
	"errors"
	"fmt"
	"time"
)

// Permanent says that trying again will not help: the message goes to the dead letters at once (or halts, as Options.Poison
// says). Nothing that the handler has written in the transaction is kept. nil stays nil.
//
// It is not for a row that should be there and is not: an event can arrive before its commit is visible to other sessions, and so
// can the answer to one's own. That is RetryAfter's.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// IsPermanent tells whether err, or an error that it wraps, came from Permanent.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

// RetryAfter says that the handler wants to be tried again, d from now at the earliest: a service that is down, a row that is not
// there yet. Whether such tries count is the caller's matter (inboxkafka counts them). nil stays nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryError{err, d}
}

type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

// RetryDelay returns the d of RetryAfter; false when err does not come from it.
func RetryDelay(err error) (time.Duration, bool) {
	var r *retryError
	if !errors.As(err, &r) {
		return 0, false
	}
	return r.after, true
}

// Skip says that the event is none of this consumer's business. The message is claimed and finished, outcome Skipped, and what
// the handler has written in the transaction is committed.
func Skip(reason string) error { return &skipError{reason} }

type skipError struct{ reason string }

func (e *skipError) Error() string { return "skip: " + e.reason }

// IsSkip tells whether err, or an error that it wraps, came from Skip.
func IsSkip(err error) bool {
	var s *skipError
	return errors.As(err, &s)
}

// PanicError is a panic of a handler. It is a failure of the message like any other error.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("handler panicked: %v", e.Value) }

// DatabaseError is a failure of the inbox's database, or of the way to it: it says nothing about the message, and is never
// counted against it. Try again later.
type DatabaseError struct {
	Err error
	// Conflict: a serialization failure or a deadlock; the transaction may be run again at once.
	Conflict bool
	// Commit: the answer to COMMIT was lost; whether the transaction took effect is known by claiming again.
	Commit bool
}

func (e *DatabaseError) Error() string { return e.Err.Error() }
func (e *DatabaseError) Unwrap() error { return e.Err }

// endedError says that the caller's context ended before the message was finished.
type endedError struct{ error }

func (e *endedError) Unwrap() error { return e.error }

// IsInfrastructure tells whether err is about the database, or the end of the context that Process was given, and not about the
// message. A time-out of the handler's own is about the message.
func IsInfrastructure(err error) bool {
	var d *DatabaseError
	var e *endedError
	return errors.As(err, &d) || errors.As(err, &e) || errors.Is(err, ErrFenced)
}

// HaltError means: stop, nothing was written. Going on would lose or double an effect, or a policy says to stop. An operator
// decides; the text names the ways out.
type HaltError struct{ Err error }

func (e *HaltError) Error() string { return e.Err.Error() }
func (e *HaltError) Unwrap() error { return e.Err }

// IsHalt tells whether err is, or wraps, a HaltError.
func IsHalt(err error) bool {
	var h *HaltError
	return errors.As(err, &h)
}

// What a HaltError wraps. Each is wrapped with the message, what was found, and the ways out.
var (
	// ErrNoID: a message without an id under the policy Halt.
	ErrNoID = errors.New("message without an id")
	// ErrPoison: a message that will never be processed, under the policy HaltOnPoison.
	ErrPoison = errors.New("poison message")
	// ErrNoPosition: the high-water mark needs the relay's position headers.
	ErrNoPosition = errors.New("message without a position")
	// ErrWorkers: the high-water mark allows one worker for a partition.
	ErrWorkers = errors.New("several workers for a partition")
	// ErrPartitionCount: the topic has another number of partitions than when its marks were made.
	ErrPartitionCount = errors.New("partition count changed")
	// ErrFirstContact: a topic that the consumer has no mark of, and no policy where to start.
	ErrFirstContact = errors.New("first contact without a start policy")
	// ErrUnknownSource: positions of a source that nobody announced.
	ErrUnknownSource = errors.New("unknown source")
	// ErrPositionReused: a position that was seen with another event.
	ErrPositionReused = errors.New("position seen with another event")
	// ErrUnproven: a copy on purpose that may have been published before.
	ErrUnproven = errors.New("replayed copy that may have been published before")
)

// What stores return.
var (
	// ErrFenced: another owner has opened the partition since; this one stops working on it.
	ErrFenced = errors.New("another owner has opened the partition")
	// ErrNoSchema: the schema cdc_inbox is missing or older than this library needs: run Migrate, or cdc-relay inbox migrate.
	ErrNoSchema = errors.New("schema cdc_inbox is missing or too old")
	// ErrGone: the dead letter is not there any more, or not the one to play next.
	ErrGone = errors.New("dead letter is gone")
)

func halt(err error) error { return &HaltError{err} }
