package inbox

import (
	"errors"
	"fmt"
	"time"
)

// Outcome is how a message ended. Each of them is committed: the message need not be delivered again.
type Outcome int

// The outcomes.
const (
	// Unfinished: nothing was committed; the error says why.
	Unfinished Outcome = iota
	// Processed: the handler's effect is committed, now or by a try whose answer was lost.
	Processed
	// Duplicate: the event had taken effect (or was put aside) before.
	Duplicate
	// DeadLettered: put aside as a dead letter.
	DeadLettered
	// Parked: put aside behind a dead letter of its key, to be played after it.
	Parked
	// Expired: below the watermark and older than the retention, so it was finished once; dropped.
	Expired
	// Skipped: the handler said Skip, or the high-water mark left an optimistic copy to the relay's.
	Skipped
)

// String is the outcome's name in lower case.
func (o Outcome) String() string {
	names := [...]string{"unfinished", "processed", "duplicate", "dead_lettered", "parked", "expired", "skipped"}
	if o < 0 || int(o) >= len(names) {
		return fmt.Sprintf("outcome %d", int(o))
	}
	return names[o]
}

// Poison says what becomes of a message that will never be processed.
type Poison int

// The policies.
const (
	// ParkKey puts it aside; later messages of its key wait behind it, other keys flow. The default.
	ParkKey Poison = iota
	// Park puts it aside alone: later messages of its key overtake it.
	Park
	// HaltOnPoison stops with a HaltError that wraps ErrPoison.
	HaltOnPoison
)

// Mode says how duplicates are known.
type Mode int

// The modes.
const (
	// ByID keeps a row for each event. The default.
	ByID Mode = iota
	// ByMark keeps one row for each source and partition, the high-water mark. It needs the relay's position headers and one
	// worker for a partition, and refuses what would lose events.
	ByMark
)

// Options of a Processor. The zero value is usable.
type Options struct {
	IDs     IDPolicy // default Reject
	Poison  Poison   // default ParkKey
	Mode    Mode     // default ByID
	Mark    MarkOptions
	Metrics Metrics // default NoMetrics
	// Tries bounds how often one call runs a transaction that conflicts, or whose connection is lost. Default 8; from 1.
	Tries int
	// Backoff is the longest pause before such a try; the first is a hundredth of it. Default 1 s.
	Backoff time.Duration
	// RecordDuration keeps the handler's time with each claim (column took_us). Off by default: the claim is written before the
	// handler, so this writes the row a second time, and doubles what an event costs the database. The metric costs nothing.
	RecordDuration bool
	// Workers is the number of goroutines that process one partition. Default 1.
	Workers int
}

// MarkOptions are those of the mode ByMark.
type MarkOptions struct {
	// AcceptFirst takes the source of the first record of a topic as known: everything from where the consumer starts is fresh.
	// Without it, and without Sources, the first contact is refused (ErrFirstContact).
	AcceptFirst bool
	// Sources are known ahead: values of the header cdc-source, one for each shard.
	Sources []string
}

// Defaults of Options.
const (
	DefaultTries   = 8
	DefaultBackoff = time.Second
)

// withDefaults fills what is zero and refuses what cannot be.
func (o Options) withDefaults() (Options, error) {
	if o.Tries == 0 {
		o.Tries = DefaultTries
	}
	if o.Backoff == 0 {
		o.Backoff = DefaultBackoff
	}
	if o.Workers == 0 {
		o.Workers = 1
	}
	if o.Metrics == nil {
		o.Metrics = NoMetrics{}
	}
	var wrong []error
	if o.Tries < 1 || o.Backoff < 0 || o.Workers < 1 {
		wrong = append(wrong, errors.New("inbox: Tries, Backoff and Workers must not be negative"))
	}
	if o.Mode == ByMark && o.Workers > 1 {
		wrong = append(wrong, halt(fmt.Errorf("%w: the high-water mark is one position for each partition and cannot rise out of order; "+
			"use Workers: 1, or Mode: ByID, which allows %d", ErrWorkers, o.Workers)))
	}
	return o, errors.Join(wrong...)
}
