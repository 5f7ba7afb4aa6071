package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/outbox/internal/breaker"
	"github.com/cdc-relay/cdc-relay/record"
)

// Defaults of Optimistic.
const (
	DefaultOptimisticTimeout = 100 * time.Millisecond
	DefaultTopicRule         = "{aggregate_type}"
	DefaultBreakerFailures   = 5
	DefaultBreakerCoolDown   = 10 * time.Second
)

// HeaderOptimistic stands in an optimistic copy in the place of the position headers, with the value 1.
const HeaderOptimistic = "cdc-optimistic"

// Optimistic says how events are published right after their commit, by the process that wrote them, beside the relay. Start
// from [NewOptimistic]; a [Sender] does it. docs/optimistic.md says when not to: mostly.
//
// The record is the relay's, of format plain and byte for byte: topic, key, value and headers; but for its timestamp, which is
// the time of sending, and the header cdc-optimistic in the place of the position. The relay publishes its own copy all the
// same; consumers tell it by its event id.
type Optimistic struct {
	// Sink publishes; required. outboxkafka has one. The caller closes it.
	Sink OptimisticSink
	// Enabled is asked at each call whether to send at all: a feature flag, the Load of an atomic.Bool. It must not block.
	// nil: yes.
	Enabled func() bool
	// Timeout bounds a call of Send, the order check included. Default 100 ms.
	Timeout time.Duration

	// Free says which events need no order: their copies may overtake earlier events of their key. nil: none;
	// [FreeTypes] goes by the event type, [Sender.SendFree] is for single calls.
	Free func(*Written) bool
	// Order asks the database about all others (outboxpgx.OrderCheck, outboxsql.OrderCheck), and costs a round trip.
	// nil: they are left to the relay.
	Order OrderCheck

	// TopicRule names the topic of an event without one, TopicsAllowed the topics that there may be (none named: any): the
	// relay's outbox[].topic and outbox[].topics_allowed. Default "{aggregate_type}", any.
	TopicRule     string
	TopicsAllowed []string

	// BreakerFailures in a row stop sending for BreakerCoolDown; one call probes after that. Default 5, 10 s.
	BreakerFailures int
	BreakerCoolDown time.Duration

	// Observer is told what becomes of each event; outboxprom counts. nil: nobody.
	Observer OptimisticObserver
}

// NewOptimistic returns the defaults, for a sink.
func NewOptimistic(sink OptimisticSink) Optimistic {
	return Optimistic{
		Sink: sink, Timeout: DefaultOptimisticTimeout, TopicRule: DefaultTopicRule,
		BreakerFailures: DefaultBreakerFailures, BreakerCoolDown: DefaultBreakerCoolDown,
	}
}

// FreeTypes is an Optimistic.Free for events of these types.
func FreeTypes(types ...string) func(*Written) bool {
	free := make(map[string]bool, len(types))
	for _, t := range types {
		free[t] = true
	}
	return func(w *Written) bool { return free[w.Type] }
}

// OptimisticRecord is one record to publish. The sink may keep its slices for as long as it likes, and does not write to them.
type OptimisticRecord struct {
	Topic      string
	Key, Value []byte // nil: null
	Headers    record.Headers
	Time       time.Time
}

// OptimisticSink publishes records. It partitions as the relay does (murmur2 of the key), returns when they are as durable as
// the relay's, gives up when ctx ends, and tries nothing again by itself: the relay's copy comes anyway. Called by several
// goroutines at once.
type OptimisticSink interface {
	// Publish returns how many of the records are stored for certain, and why not all are. An error that has
	// [ErrOptimisticRejected] in it is about the records, any other about the way there.
	Publish(ctx context.Context, records []OptimisticRecord) (stored int, err error)
}

// ErrOptimisticRejected is in a sink's error when the destination refused the records themselves, as too large for instance.
// It says nothing about its health: the breaker does not count it.
var ErrOptimisticRejected = errors.New("the destination refuses the record")

// OrderCheck says of each event whether every earlier event of its key is in the destination: [OrderClear], or the code of
// cdc_relay.order_clear_v1 that says why it may not be. It must ask after the commit, and the primary.
type OrderCheck interface {
	Clear(ctx context.Context, written []Written) (codes []string, err error)
}

// OrderClear is the one code with which an event is sent.
const OrderClear = "clear"

// Why an event was not sent although it was to be: the label reason of outbox_optimistic_send_failures_total.
const (
	FailedTimeout     = "timeout"      // Optimistic.Timeout passed; it may have arrived or still arrive
	FailedCancelled   = "cancelled"    // the caller's context ended
	FailedSink        = "sink"         // the broker cannot be reached, or refuses for now
	FailedRejected    = "rejected"     // the broker refuses the record
	FailedInvalid     = "invalid"      // no record can be made: written without Options.Returning, or no topic that is allowed
	FailedBreakerOpen = "breaker_open" // the last calls failed: not tried
	FailedOrderCheck  = "order_check"  // the database could not be asked
)

// OptimisticFailures are all reasons of a failure.
func OptimisticFailures() []string {
	return []string{FailedTimeout, FailedCancelled, FailedSink, FailedRejected, FailedInvalid, FailedBreakerOpen, FailedOrderCheck}
}

// Why an event was left to the relay on purpose. An [OrderCheck] adds its codes.
const (
	SkippedDisabled = "disabled" // Optimistic.Enabled said no
	SkippedOrder    = "order"    // it needs order, and there is no Optimistic.Order
)

// OptimisticObserver is told what becomes of events. Each one that is attempted succeeds or fails; one that is skipped is none
// of these. Its methods return quickly and are called by several goroutines at once.
type OptimisticObserver interface {
	Attempted(events int)
	Succeeded(events int, took time.Duration) // from the call of Send to the broker's answer
	Failed(events int, reason string)         // one of OptimisticFailures
	Skipped(events int, reason string)        // SkippedDisabled, SkippedOrder, or a code of the OrderCheck
}

// Validate returns all mistakes at once.
func (o Optimistic) Validate() error {
	_, err := o.router()
	errs := []error{err}
	if o.Sink == nil {
		errs = append(errs, errors.New("no sink"))
	}
	if o.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("timeout of %v: want more than 0", o.Timeout))
	}
	if o.BreakerFailures < 1 || o.BreakerCoolDown <= 0 {
		errs = append(errs, fmt.Errorf("breaker of %d failures and %v: want 1 or more, and more than 0", o.BreakerFailures, o.BreakerCoolDown))
	}
	return errors.Join(errs...)
}

func (o Optimistic) router() (*record.Router, error) {
	return record.NewRouter(o.TopicRule, o.TopicsAllowed)
}

// Sender publishes events right after their commit. It starts no goroutine; any number may use it at once.
type Sender struct {
	o       Optimistic
	breaker breaker.Breaker

	mu     sync.Mutex // of what follows: both keep scratch space
	router *record.Router
	plain  *record.Encoder
}

// Sender checks the options.
func (o Optimistic) Sender() (*Sender, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("make an optimistic sender: %w", err)
	}
	s := &Sender{o: o, breaker: breaker.Breaker{Failures: o.BreakerFailures, CoolDown: o.BreakerCoolDown}}
	s.router, _ = o.router()
	f, err := record.New(record.Options{Format: record.Plain})
	if err != nil {
		return nil, fmt.Errorf("make an optimistic sender: %w", err)
	}
	// A payload that is bytea was handed back as it is: nothing is to be unpacked.
	shape := record.Shape{}
	for c := range record.ColCreatedAt {
		shape.Mapped[c], shape.Types[c] = true, record.Type{OID: textOID, Mod: -1}
	}
	if s.plain, err = f.Bind(shape); err != nil {
		return nil, fmt.Errorf("make an optimistic sender: %w", err)
	}
	return s, nil
}

const textOID = 25 // pg_type.dat

// Send publishes events that a transaction wrote, once its commit has returned: what Write returned, with Options.Returning.
// It takes up to Optimistic.Timeout and tells nobody but the observer how it went: what is not sent, the relay publishes.
// Events that need order are sent only as Optimistic.Order allows.
//
// Do not call it before the commit, nor when the commit's answer was lost.
func (s *Sender) Send(ctx context.Context, written ...Written) { s.send(ctx, written, s.o.Free) }

// SendFree is Send for events that the caller declares free of order, whatever Optimistic.Free says of them.
func (s *Sender) SendFree(ctx context.Context, written ...Written) {
	s.send(ctx, written, func(*Written) bool { return true })
}

func (s *Sender) send(ctx context.Context, written []Written, free func(*Written) bool) {
	start := time.Now()
	if len(written) == 0 {
		return
	}
	if s.o.Enabled != nil && !s.o.Enabled() {
		s.skipped(len(written), SkippedDisabled)
		return
	}
	var records []OptimisticRecord // free ones, and behind them those that are asked about
	var ask []Written
	var asked []OptimisticRecord
	for i := range written {
		w := &written[i]
		isFree := free != nil && free(w)
		if !isFree && s.o.Order == nil {
			s.skipped(1, SkippedOrder)
			continue
		}
		r, ok := s.record(w, start)
		switch {
		case !ok:
			s.failed(1, FailedInvalid)
		case isFree:
			records = append(records, r)
		default:
			ask, asked = append(ask, *w), append(asked, r)
		}
	}
	if len(records)+len(asked) == 0 {
		return
	}
	probe, ok := s.breaker.Allow()
	if !ok {
		s.failed(len(records)+len(asked), FailedBreakerOpen)
		return
	}
	outcome := breaker.Unknown
	defer func() { s.breaker.Done(probe, outcome) }()
	bounded, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	if len(ask) > 0 {
		codes, err := s.o.Order.Clear(bounded, ask)
		for i := range ask {
			switch {
			case err != nil || len(codes) != len(ask):
				s.failed(1, FailedOrderCheck)
			case codes[i] == OrderClear:
				records = append(records, asked[i])
			default:
				s.skipped(1, codes[i])
			}
		}
	}
	if len(records) > 0 {
		outcome = s.publish(ctx, bounded, records, start)
	}
}

// publish hands records to the sink; caller is the context of Send, whose end says nothing about the sink.
func (s *Sender) publish(caller, ctx context.Context, records []OptimisticRecord, start time.Time) breaker.Outcome {
	if s.o.Observer != nil {
		s.o.Observer.Attempted(len(records))
	}
	stored, err := s.o.Sink.Publish(ctx, records)
	if err == nil {
		stored = len(records)
	}
	if s.o.Observer != nil && stored > 0 {
		s.o.Observer.Succeeded(stored, time.Since(start))
	}
	reason, outcome := FailedSink, breaker.Failure
	switch {
	case err == nil:
		return breaker.Success
	case caller.Err() != nil:
		reason, outcome = FailedCancelled, breaker.Unknown
	case errors.Is(err, ErrOptimisticRejected):
		reason, outcome = FailedRejected, breaker.Success // it answers
	case ctx.Err() != nil:
		reason = FailedTimeout
	}
	if s.o.Observer != nil && stored < len(records) {
		s.o.Observer.Failed(len(records)-stored, reason)
	}
	return outcome
}

// failed tells of events that did not come as far as the sink.
func (s *Sender) failed(events int, reason string) {
	if s.o.Observer != nil {
		s.o.Observer.Attempted(events)
		s.o.Observer.Failed(events, reason)
	}
}

func (s *Sender) skipped(events int, reason string) {
	if s.o.Observer != nil {
		s.o.Observer.Skipped(events, reason)
	}
}

// record is what the relay would publish; false: nothing, or it cannot be told.
func (s *Sender) record(w *Written, now time.Time) (OptimisticRecord, bool) {
	if w.Headers == nil {
		return OptimisticRecord{}, false // without Options.Returning
	}
	var row record.Row
	v := &row.Values
	v[record.ColEventID], v[record.ColEventType] = []byte(w.ID), []byte(w.Type)
	v[record.ColAggregateType], v[record.ColAggregateID] = []byte(w.AggregateType), []byte(w.AggregateID)
	v[record.ColPartitionKey], v[record.ColPayload], v[record.ColHeaders] = []byte(w.Key), w.Value, w.Headers
	if w.Topic != "" {
		v[record.ColTopic] = []byte(w.Topic)
	}
	var out record.Record
	s.mu.Lock()
	topic, refused := s.router.Topic(&row)
	s.plain.Append(make([]byte, 0, s.plain.Bound(&row)+32), &row, &out)
	s.mu.Unlock()
	if refused != "" || out.Refused != "" || !record.ValidTopic(topic) {
		return OptimisticRecord{}, false
	}
	// The headers' bytes stand in the middle of the buffer: with a capacity of their own, this copies them.
	headers := record.Headers{Count: out.Headers.Count + 1, Bytes: record.AppendHeader(out.Headers.Bytes, HeaderOptimistic, []byte("1"))}
	return OptimisticRecord{Topic: topic, Key: out.Key, Value: out.Value, Headers: headers, Time: now}, true
}
