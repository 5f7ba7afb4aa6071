package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/metrics"
	"github.com/cdc-relay/cdc-relay/replication"
	"github.com/cdc-relay/cdc-relay/sink"
)

// Policy is what happens to an event that the sink will never accept.
type Policy string

// Policies.
const (
	Park       Policy = "park"        // the event, and later ones of its topic and key, go to the dead-letter table
	DeadLetter Policy = "dead_letter" // the event alone goes there
	Halt       Policy = "halt"        // the relay stops (ExitEvent)
)

// Defaults of Config.
const (
	DefaultMaxInFlightEvents = 20000
	DefaultMaxInFlightBytes  = 32 << 20
	DefaultMaxParked         = 10000
	DefaultDrainTimeout      = 20 * time.Second
	DefaultStatusInterval    = time.Second
)

// Exit codes of a relay that stopped for good; the program exits with them.
const (
	ExitPrecondition = 4 // privilege, wal_level, publication, schema
	ExitSlot         = 6 // slot and mark contradict each other; an operator decides
	ExitDrain        = 7 // the drain timed out
	ExitEvent        = 8 // an event was rejected under halt, or could not be decoded
)

// StopError is why a relay stopped for good. Trying again without an operator would not help.
type StopError struct {
	Code int
	Err  error
}

func (e *StopError) Error() string { return e.Err.Error() }
func (e *StopError) Unwrap() error { return e.Err }

// Config of a Relay. NewConfig fills in the defaults; the functions have none.
type Config struct {
	Slot        string
	Publication string
	Shard       string         // label of the metrics; "0"
	Decoder     decoder.Config // Source is filled in by the relay
	OnReject    Policy         // default Park

	Messages   bool // logical messages are events too; needs EXECUTE on pg_logical_emit_message revoked from PUBLIC
	WaitOnStop bool // stay up after a stop for good, and look again every 10 s; default: return

	MaxInFlightEvents int           // the window: events read and not yet marked; default 20,000
	MaxInFlightBytes  int           // of unacknowledged events; default 32 MiB
	MaxParked         int           // unresolved dead letters before the relay halts; default 10,000
	DrainTimeout      time.Duration // for the lanes, after Run's context has ended; default 20 s
	Failover          func(version int) bool

	// Connect opens the replication connection, Ledger the ordinary one. Both are called once a session.
	Connect func(ctx context.Context) (*replication.Conn, error)
	Ledger  func(ctx context.Context) (Ledger, error)

	// Sink opens the sink; it must not need the destination to be reachable. Called once a tenure.
	Sink func(ctx context.Context, to sink.Receiver) (sink.Sink, error)

	// Maintain, when not nil, looks after the outbox's partitions once; it is called at the start of a session and then
	// every MaintainEvery (default 10 min), with the walsender that holds the slot.
	Maintain      func(ctx context.Context, walsender uint32) error
	MaintainEvery time.Duration

	Metrics *metrics.Relay
	Log     zerolog.Logger
}

// NewConfig returns a Config with the defaults.
func NewConfig() Config {
	return Config{
		Shard: "0", OnReject: Park, MaxInFlightEvents: DefaultMaxInFlightEvents, MaxInFlightBytes: DefaultMaxInFlightBytes,
		MaxParked: DefaultMaxParked, DrainTimeout: DefaultDrainTimeout, MaintainEvery: 10 * time.Minute, Log: zerolog.Nop(),
	}
}

// Relay is one relay: it stands by for its slot, and streams while it holds it.
type Relay struct {
	cfg      Config
	log      zerolog.Logger
	metrics  *metrics.Relay
	delivery *delivery
	state    *state
	tenure   tenure

	haltOnce sync.Mutex
	halted   error                   // why the delivery asked to stop
	cancel   context.CancelCauseFunc // of the session under way
}

// tenure is what stays when sessions come and go, as long as nobody else has had the slot.
type tenure struct {
	sink   sink.Sink
	source string            // cdc-source
	last   checkpoint.Update // the mark as it was found or written last
	trying checkpoint.Update // as it was sent last, in case the answer was lost
}

// New makes a relay. Nothing is connected before Run.
func New(cfg Config) *Relay {
	r := &Relay{cfg: cfg, log: cfg.Log.With().Str(keySlot, cfg.Slot).Logger(), metrics: cfg.Metrics, state: newState(cfg)}
	r.delivery = &delivery{
		metrics: cfg.Metrics, policy: cfg.OnReject, parking: newParking(cfg.MaxParked), requeues: newRequeues(),
		maxEvents: cfg.MaxInFlightEvents, maxBytes: cfg.MaxInFlightBytes,
		due: make(chan struct{}, 1), published: map[string]prometheus.Counter{},
	}
	r.delivery.halt = r.stop
	r.delivery.notice = r.notice
	return r
}

// Run relays until ctx ends, then drains; nil means drained. A *StopError says that it stopped for good.
func (r *Relay) Run(ctx context.Context) error {
	defer r.endTenure()
	defer r.state.set("stopped")
	retry := sink.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second}
	for attempt := 1; ; attempt++ {
		began := time.Now()
		err := r.session(ctx)
		r.metrics.Sessions.WithLabelValues(result(err)).Inc()
		var stop *StopError
		wait := standbyInterval
		switch {
		case ctx.Err() != nil:
			// What ended because we were asked to stop is no failure, and neither is standing by.
			for _, expected := range []error{context.Canceled, context.Cause(ctx), errStandby} {
				if errors.Is(err, expected) {
					return nil
				}
			}
			return err
		case errors.As(err, &stop):
			r.state.stop(stop)
			if !r.cfg.WaitOnStop {
				return err
			}
			r.log.Error().Err(err).Msg("stopped; looking again every 10 s until an operator has mended it")
			r.endTenure()
			wait = 10 * time.Second
		case errors.Is(err, errStandby):
			r.state.standby(err)
			attempt = 0
			retry.Reset()
		default:
			if time.Since(began) > retry.Max {
				attempt = 1
				retry.Reset()
			}
			wait = retry.Next()
			r.state.failed(err)
			r.log.Warn().Err(err).Int(keyAttempt, attempt).Dur("again_in", wait).Msg("session ended")
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// standbyInterval is how often a standby looks at the slot: a takeover waits for half of it on average.
const standbyInterval = 200 * time.Millisecond

// errStandby: somebody else holds the slot.
var errStandby = errors.New("standing by")

// stop ends the session under way for good. The first reason counts.
func (r *Relay) stop(err error) {
	r.haltOnce.Lock()
	defer r.haltOnce.Unlock()
	if r.halted == nil {
		r.halted = err
	}
	if r.cancel != nil {
		r.cancel(r.halted)
	}
}

// arm makes stop end this session; a reason that came before it ends it at once.
func (r *Relay) arm(cancel context.CancelCauseFunc) {
	r.haltOnce.Lock()
	defer r.haltOnce.Unlock()
	r.cancel = cancel
	if r.halted != nil {
		cancel(r.halted)
	}
}

// endTenure throws away what is under way: it is neither confirmed nor marked, so the next tenure reads it again.
func (r *Relay) endTenure() {
	if r.tenure.sink != nil {
		_ = r.tenure.sink.Close()
	}
	r.tenure = tenure{}
	r.delivery.parking.reset()
	r.delivery.requeues.reset()
	r.haltOnce.Lock()
	r.halted = nil
	r.haltOnce.Unlock()
}

// notice tells an operator what holds events back.
func (r *Relay) notice(n sink.Notice) {
	r.state.notice(n)
	r.log.Warn().Str(keyTopic, n.Topic).Str(keyCure, n.Cure).Msg(n.What)
}

// result is the label of a session's end.
func result(err error) string {
	var stop *StopError
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return "drained"
	case errors.As(err, &stop):
		return "stopped"
	case errors.Is(err, errStandby):
		return "standby"
	}
	return "lost"
}

// sleep waits; false: ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// source is cdc-source: what tells one history of positions from another.
func source(m *checkpoint.Mark, timeline int32) string {
	return fmt.Sprintf("%s:%d:%s:%s", m.SystemID, timeline, m.Incarnation, m.Slot)
}
