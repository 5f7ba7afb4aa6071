package relay

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/metrics"
	"github.com/cdc-relay/cdc-relay/sink"
)

// Loops that must tick for the relay to be alive.
const (
	loopReader = iota
	loopKeeper
	loops
)

// liveWithin is how old the last tick of a loop may be: every loop turns once a second when nothing happens.
const liveWithin = 30 * time.Second

// Status is what `cdc-relay status` and /api/v1/status show. Fields are only added.
type Status struct {
	State        string     `json:"state"` // starting, standby, streaming, draining, stopped
	Since        time.Time  `json:"since"`
	Reason       string     `json:"reason,omitempty"` // why it stands by, retries or has stopped
	ExitCode     int        `json:"exit_code,omitempty"`
	Slot         string     `json:"slot"`
	Publication  string     `json:"publication"`
	Source       string     `json:"source,omitempty"` // cdc-source
	Paused       bool       `json:"paused"`
	ConfirmedLSN string     `json:"confirmed_lsn,omitempty"`
	WALEnd       string     `json:"wal_end,omitempty"`
	LagBytes     uint64     `json:"lag_bytes"`
	LagSeconds   float64    `json:"lag_seconds"`
	Pending      int64      `json:"pending_events"`
	InFlight     int        `json:"in_flight_events"`
	InFlightB    int        `json:"in_flight_bytes"`
	SlotStatus   string     `json:"slot_status,omitempty"`
	SlotRetained uint64     `json:"slot_retained_wal_bytes"`
	SlotSafe     *int64     `json:"slot_safe_wal_bytes,omitempty"`
	DeadLetters  int64      `json:"dead_letters"`
	ParkedKeys   int64      `json:"parked_keys"`
	Sink         SinkStatus `json:"sink"`
	Notices      []Notice   `json:"notices,omitempty"`
	Sessions     int        `json:"sessions"` // since the start
}

// SinkStatus is the sink's part of Status.
type SinkStatus struct {
	Writable bool      `json:"writable"`
	Reason   string    `json:"reason,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Stalled  []Lane    `json:"stalled_lanes,omitempty"`
}

// Lane is a lane that does not move.
type Lane struct {
	Name   string    `json:"name"`
	Since  time.Time `json:"since"`
	Events int       `json:"events"`
	Err    string    `json:"last_answer"`
}

// Notice is a state of the sink that a person can end.
type Notice struct {
	At    time.Time `json:"at"`
	Topic string    `json:"topic,omitempty"`
	What  string    `json:"what"`
	Cure  string    `json:"cure"`
}

// Check is one line of /readyz?verbose.
type Check struct {
	Name string
	Err  error // nil: good
}

// maxNotices is how many of the newest notices a status shows.
const maxNotices = 16

// state is what the relay knows about itself: written by its loops, read by the admin listener.
type state struct {
	metrics *metrics.Relay
	shard   string
	slot    string

	ticks [loops]atomic.Int64

	mu       sync.Mutex
	status   Status
	sink     sink.Sink
	standing bool // it has stood by since it last streamed
	stalled  bool // events wait and none was acknowledged for a while
}

func newState(cfg Config) *state {
	s := &state{metrics: cfg.Metrics, shard: cfg.Shard, slot: cfg.Slot}
	s.status = Status{Slot: cfg.Slot, Publication: cfg.Publication}
	s.set("starting")
	return s
}

// set enters a state.
func (s *state) set(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(name, "")
}

func (s *state) enter(name, reason string) {
	if s.status.State != name {
		s.status.State, s.status.Since = name, time.Now()
	}
	s.status.Reason = reason
	s.metrics.SetState(s.shard, name)
	s.tickAll()
	if name != "streaming" && name != "draining" { // the owner alone speaks of the slot's events: sum() is right
		s.metrics.PendingEvents.Reset()
		s.metrics.LagBytes.Reset()
		s.metrics.LagSeconds.Reset()
		s.metrics.ConfirmedLSN.Reset()
	}
}

func (s *state) stop(err *StopError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter("stopped", err.Error())
	s.status.ExitCode = err.Code
	s.metrics.Healthy.Set(0)
}

func (s *state) standby(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter("standby", err.Error())
	s.standing = true
	s.metrics.Healthy.Set(1)
}

func (s *state) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter("starting", err.Error())
	s.metrics.Healthy.Set(0)
}

func (s *state) streaming(se *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standing {
		s.metrics.Takeovers.WithLabelValues("free").Inc()
		s.standing = false
	}
	s.enter("streaming", "")
	s.status.ExitCode = 0
	s.status.Source = se.relay.tenure.source
	s.status.ConfirmedLSN = se.stream.Confirmed().String()
	s.status.Sessions++
	s.sink = se.relay.tenure.sink
	s.metrics.ConfirmedLSN.WithLabelValues(s.shard).Set(float64(se.stream.Confirmed()))
}

// confirmed notes that the mark moved.
func (s *state) confirmed(lsn pglogrepl.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.ConfirmedLSN = lsn.String()
	s.metrics.ConfirmedLSN.WithLabelValues(s.shard).Set(float64(lsn))
	s.metrics.LastConfirmed.WithLabelValues(s.shard).Set(float64(time.Now().UnixMilli()) / 1000)
}

func (s *state) notice(n sink.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Notices = append(s.status.Notices, Notice{At: time.Now(), Topic: n.Topic, What: n.What, Cure: n.Cure})
	if extra := len(s.status.Notices) - maxNotices; extra > 0 {
		s.status.Notices = append([]Notice(nil), s.status.Notices[extra:]...)
	}
}

// sampled takes in what the keeper saw.
func (s *state) sampled(r *Relay, smp checkpoint.Sample, c deadletter.Counts, stalled bool) {
	v := r.delivery.view(smp.OutboxSeq)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.status
	st.Paused, st.WALEnd, st.SlotStatus, st.SlotSafe = smp.Paused, smp.WALEnd.String(), smp.WALStatus, smp.SafeWALSize
	st.LagBytes, st.SlotRetained = distance(v.confirmed, smp.WALEnd), distance(smp.Restart, smp.WALEnd)
	st.LagSeconds, st.Pending, st.InFlight, st.InFlightB = v.lag.Seconds(), v.pending, v.unacked, v.bytes
	st.DeadLetters, st.ParkedKeys = c.Unresolved, c.Keys
	s.stalled = stalled

	m := s.metrics
	m.PendingEvents.WithLabelValues(s.shard).Set(float64(v.pending))
	m.LagBytes.WithLabelValues(s.shard).Set(float64(st.LagBytes))
	m.LagSeconds.WithLabelValues(s.shard).Set(st.LagSeconds)
	m.InFlightEvents.Set(float64(v.unacked))
	m.InFlightBytes.Set(float64(v.bytes))
	m.SlotRetained.WithLabelValues(s.slot).Set(float64(st.SlotRetained))
	if smp.SafeWALSize != nil {
		m.SlotSafe.WithLabelValues(s.slot).Set(float64(*smp.SafeWALSize))
	} else {
		m.SlotSafe.Reset()
	}
	m.SetSlotStatus(s.slot, smp.WALStatus)
	m.DeadLetters.Set(float64(c.Unresolved))
	m.ParkedKeys.Set(float64(c.Keys))
	healthy := 1.0
	for _, c := range s.checks() {
		if c.Err != nil {
			healthy = 0
		}
	}
	m.Healthy.Set(healthy)
}

// distance is how far b is ahead of a.
func distance(a, b pglogrepl.LSN) uint64 {
	if a == 0 || b <= a {
		return 0
	}
	return uint64(b - a)
}

// ticked notes that a loop has turned.
func (s *state) ticked(loop int) { s.ticks[loop].Store(time.Now().UnixNano()) }

func (s *state) tickAll() {
	for i := range s.ticks {
		s.ticked(i)
	}
}

// Live is nil as long as every loop of the relay turns; nothing outside counts.
func (r *Relay) Live() error {
	for i, name := range []string{"reader", "keeper"} {
		if age := time.Since(time.Unix(0, r.state.ticks[i].Load())); age > liveWithin {
			return fmt.Errorf("the %s has not turned for %s", name, age.Round(time.Second))
		}
	}
	return nil
}

// Ready names what is needed for the relay to do its work: the owner streams, its sink is writable, and what waits moves; a
// standby watches.
func (r *Relay) Ready() []Check {
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	return r.state.checks()
}

func (s *state) checks() []Check {
	st := &s.status
	if st.State == "standby" {
		return []Check{{Name: "standby"}}
	}
	checks := []Check{{Name: "streaming"}, {Name: "sink"}, {Name: "moving"}}
	if st.State != "streaming" {
		checks[0].Err = fmt.Errorf("%s: %s", st.State, st.Reason)
		return checks[:1]
	}
	if v := s.sink.Status(); !v.Writable {
		checks[1].Err = errors.New(v.Reason)
	}
	if s.stalled {
		checks[2].Err = fmt.Errorf("events wait, and none was acknowledged for %s", stallAfter)
	}
	return checks
}

// Status is a snapshot.
func (r *Relay) Status() Status {
	s := r.state
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.status
	out.Notices = append([]Notice(nil), s.status.Notices...)
	if s.sink != nil {
		v := s.sink.Status()
		out.Sink = SinkStatus{Writable: v.Writable, Reason: v.Reason, Since: v.Since}
		for _, l := range v.Stalled {
			out.Sink.Stalled = append(out.Sink.Stalled, Lane(l))
		}
	}
	return out
}
