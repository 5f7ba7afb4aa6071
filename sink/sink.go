package sink

import (
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
)

// Sink delivers events. It is asynchronous: events go in by Publish, acks come out at the Receiver that the sink was
// opened with. Every implementation passes sinktest.Run.
type Sink interface {
	// Publish hands events over in commit order and returns without waiting for the destination; the caller's window
	// bounds how many are under way. The sink keeps pointers into events until each is acknowledged, rejected or diverted,
	// and not a moment longer: what an event's fields point to is used again after that.
	// Events with the same topic and key arrive at the destination in the order of Publish (I2). It must not be called
	// by two goroutines at once, nor after Close.
	Publish(events []decoder.Event)

	// Status tells how the sink fares; it is cheap, and safe to call at any time.
	Status() Status

	// Close stops at once: what is under way is abandoned, and no Receiver method is called after it returns. Whoever
	// wants to drain waits for the acks first. A second Close does nothing.
	Close() error
}

// Receiver is what a sink reports to. Its methods are called from the sink's goroutines, at the same time for different
// lanes, one after the other within a lane. They return quickly and never call back into the sink.
type Receiver interface {
	// Divert is asked about each event once, in lane order, right before its bytes are sealed for the first time; and
	// again for events that were sealed behind one that has since been rejected. True: the caller has taken the event
	// over, and the sink forgets it.
	Divert(ev *decoder.Event) bool

	// Ack says that the destination holds these events durably. The slice is the sink's: valid during the call only.
	Ack(events []*decoder.Event)

	// Reject says that the destination will never accept this event. Taken: the caller has taken it over, and the sink
	// goes on with what is behind it. Halt: the lane stays where it is until Close.
	Reject(ev *decoder.Event, why Rejection) Verdict

	// Attempted counts one write of a batch; reason is "" when it succeeded, else a short constant fit for a metric's label
	// (the batch will be tried again, or was rejected).
	Attempted(events int, reason string)

	// Notice tells an operator once about something that holds events back (a missing topic, missing rights) and its cure.
	Notice(Notice)
}

// Verdict is the answer to Reject.
type Verdict uint8

const (
	Taken Verdict = iota // the event is the caller's now
	Halt                 // leave the lane as it is
)

// Rejection says why an event will never be accepted.
type Rejection struct {
	Reason string // short constant, fit for a metric's label: too_large, invalid_record, topic_invalid, topic_missing, ...
	Err    error  // the whole story
}

// Notice is a state that a person can end.
type Notice struct {
	Topic string // "" when it concerns the whole sink
	What  string // "topic orders does not exist"
	Cure  string // "create it (kafka-topics.sh --create --topic orders ...) or set sink.kafka.topic_create: true"
}

// Status is a snapshot of a sink.
type Status struct {
	Writable bool      // the destination accepts events now, as far as is known
	Reason   string    // why not, and what to do
	Since    time.Time // since when it is not writable
	Stalled  []Lane    // lanes whose oldest event has been refused or unanswered for more than a second, worst first, 16 at most
	InFlight int       // writes under way
}

// Lane is one ordered queue that does not move.
type Lane struct {
	Name   string    // "orders/3"
	Since  time.Time // when its oldest event was first tried
	Events int       // how many wait
	Err    string    // the last answer
}
