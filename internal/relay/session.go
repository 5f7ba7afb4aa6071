package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/replication"
)

// session is one connection's life. The goroutine that runs it owns the replication connection (I4).
type session struct {
	relay    *Relay
	delivery *delivery
	ledger   Ledger
	conn     *replication.Conn
	stream   *replication.Stream
	decoder  *decoder.Decoder
	keeper   *keeper
	mark     checkpoint.Mark          // as it was found
	spans    []checkpoint.MessageSpan // in which messages are events
	straight straight

	out    []decoder.Event           // decoded, and not yet handed on for want of room
	cuts   []cut                     // ends of transactions among them
	held   int                       // events that the decoder holds since the last take
	ends   []cut                     // ends of transactions among those
	from   *decoder.Block            // where they lie
	memory *checkpoint.Memory        // what it weighs
	skips  map[decoder.Position]bool // positions that an operator lets us pass over (`skip --position`)
	paused bool
	marked atomic.Uint64 // LSN of the mark, as the keeper wrote it last
}

// session connects, claims the slot, and streams until something ends it.
func (r *Relay) session(ctx context.Context) (err error) {
	s := &session{relay: r, delivery: r.delivery}
	defer func() { err = r.diagnose(err) }()

	// What runs beside the read loop outlives ctx: the drain needs it.
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	r.arm(cancel)
	defer r.arm(func(error) {})

	if s.ledger, err = r.cfg.Ledger(ctx); err != nil {
		return err
	}
	goodbye := func(end func(context.Context) error) { // bounded, and not by ctx, which may have ended
		bounded, done := context.WithTimeout(context.WithoutCancel(ctx), goodbyeTimeout)
		defer done()
		_ = end(bounded)
	}
	defer func() { goodbye(s.ledger.Close) }()
	if s.conn, err = r.cfg.Connect(ctx); err != nil {
		return err
	}
	defer func() { goodbye(func(ctx context.Context) error { s.conn.Close(ctx); return nil }) }()
	if err := s.claim(ctx); err != nil {
		return err
	}
	if err := s.begin(inner); err != nil {
		return err
	}

	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel(nil)
	wake := s.stream.Wake
	s.delivery.room.Store(&wake)
	defer s.delivery.room.Store(nil)
	kept := make(chan struct{})
	beside.Go(func() {
		defer close(kept)
		if err := s.keeper.run(inner); err != nil && inner.Err() == nil {
			cancel(err)
			wake()
		}
	})
	if r.cfg.Maintain != nil {
		beside.Go(func() { s.maintain(inner) })
	}

	reading, stop := context.WithCancelCause(inner)
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(errDrain) })()
	err = s.read(reading)
	if errors.Is(err, errDrain) && inner.Err() == nil {
		return s.drain(inner, kept)
	}
	var bad *decoder.DecodeError
	if errors.As(err, &bad) { // what came before it is delivered and marked: the verdict is the only thing that waits
		return errors.Join(err, s.drain(inner, kept))
	}
	return err
}

// errDrain: the relay was asked to stop.
var errDrain = errors.New("draining")

// goodbyeTimeout bounds each of the last words: the last mark, the last status, the end of a connection.
const goodbyeTimeout = 2 * time.Second

// begin makes ready to read: a tenure that goes on keeps its tracker and sink, a new one starts from the mark.
func (s *session) begin(ctx context.Context) error {
	r, cfg := s.relay, s.relay.cfg
	sys := s.conn.System()
	dc := cfg.Decoder
	dc.Source, dc.Pool = source(&s.mark, sys.Timeline), &s.delivery.pool
	var err error
	if dc.Messages, err = s.messages(ctx); err != nil {
		return err
	}
	if s.decoder, err = decoder.New(dc); err != nil {
		return &StopError{Code: ExitPrecondition, Err: err}
	}
	verdicts, err := s.ledger.Verdicts(ctx, s.mark.Incarnation, s.mark.LSN)
	if err != nil {
		return err
	}
	keys, err := s.ledger.Keys(ctx)
	if err != nil {
		return err
	}
	settled := map[decoder.Position]bool{}
	s.skips = map[decoder.Position]bool{}
	for _, v := range verdicts {
		settled[v.Position] = true
		s.skips[v.Position] = v.State == deadletter.Skipped
	}
	if s.resumes(&s.mark) {
		s.delivery.judge(settled)
		s.delivery.parking.adopt(keys)
	} else {
		r.endTenure()
		s.delivery.parking.adopt(keys)
		to, err := cfg.Sink(ctx, s.delivery)
		if err != nil {
			return err
		}
		r.tenure = tenure{sink: to, source: dc.Source, last: checkpoint.Update{
			SystemID: s.mark.SystemID, Incarnation: s.mark.Incarnation,
			LSN: s.mark.LSN, OpenCommit: s.mark.OpenCommit, OpenIndex: s.mark.OpenIndex,
		}}
		var open decoder.Position
		if s.mark.OpenCommit != 0 && s.mark.OpenHash == s.decoder.Hash() {
			open = decoder.Position{Commit: s.mark.OpenCommit, Index: s.mark.OpenIndex}
		}
		s.delivery.begin(to, s.stream.Confirmed(), open, settled)
	}
	s.delivery.waiting.Store(false)
	s.decoder.SkipThrough(s.delivery.skipThrough())
	s.marked.Store(uint64(s.mark.LSN))
	s.paused = s.mark.Paused
	s.keeper = newKeeper(s)
	r.state.streaming(s)
	r.log.Info().Stringer(keyLSN, s.stream.Confirmed()).Str("source", dc.Source).Msg("streaming")
	return nil
}

// read is the hot loop: bytes in, events out, for as long as there is room.
func (s *session) read(ctx context.Context) error {
	for {
		if s.paused || !s.handOn() {
			if err := s.await(ctx); err != nil {
				return err
			}
			continue
		}
		data, ok := s.straight.pop()
		if !ok {
			m, err := s.stream.Next(ctx)
			if err != nil {
				return err
			}
			switch m.Kind {
			case replication.Tick:
				s.delivery.setIdle(!s.paused)
				s.turn()
				continue
			case replication.Keepalive:
				s.take()
				if s.handOn() && !s.decoder.OpenTx() {
					s.delivery.keepalive(m.ServerWALEnd)
					s.delivery.setIdle(true)
				}
				continue
			case replication.XLog:
				data, ok = s.straight.push(&m)
			}
		}
		if ok {
			if err := s.decode(data); err != nil {
				return err
			}
		}
		if s.decoder.Full() || !s.straight.more() && !s.stream.Buffered() {
			s.take()
		}
	}
}

// await keeps the connection alive until there is room, or the pause may be over. The flag comes before the last look: an ack
// either finds it, or is seen by that look.
func (s *session) await(ctx context.Context) error {
	s.delivery.waiting.Store(true)
	defer s.delivery.waiting.Store(false)
	if s.paused || !s.handOn() {
		if err := s.stream.Wait(ctx, nil); err != nil {
			return err
		}
	}
	s.turn()
	return nil
}

// turn is what happens between two pieces of work, and at least once a status interval.
func (s *session) turn() {
	s.confirm()
	s.look()
	s.relay.state.ticked(loopReader)
}

// decode feeds one message of pgoutput to the decoder.
func (s *session) decode(data []byte) error {
	kind, err := s.decoder.Decode(data)
	if err != nil {
		var bad *decoder.DecodeError
		if errors.As(err, &bad) && s.skips[bad.Position] {
			s.relay.log.Warn().Err(err).Stringer("position", bad.Position).Msg("skipped, as an operator asked")
			return nil
		}
		s.take()
		if bad == nil {
			return &StopError{Code: ExitEvent, Err: err}
		}
		return &StopError{Code: ExitEvent, Err: fmt.Errorf("%w; mend the cause, or pass over it with `cdc-relay skip --position %s`", err, bad.Position)}
	}
	switch kind {
	case decoder.Inserted:
		s.held++
	case decoder.Committed:
		tx := s.decoder.Tx()
		s.ends = append(s.ends, cut{upTo: s.held, commit: tx.CommitLSN, end: tx.EndLSN})
	}
	return nil
}

// take moves what the decoder holds to out. It is called only when out is empty.
func (s *session) take() {
	s.out, s.held = s.decoder.Take(), 0
	if b := s.decoder.Block(); b != s.from {
		s.from, s.memory = b, s.delivery.follow(s.memory, b)
	}
	s.cuts, s.ends = s.ends, s.cuts[:0]
	s.handOn()
	s.turn()
}

// handOn hands on what fits into the window; false when something is left.
func (s *session) handOn() bool {
	for len(s.out) > 0 {
		n := min(len(s.out), s.delivery.capacity())
		if n == 0 {
			return false
		}
		ends := 0
		for ends < len(s.cuts) && s.cuts[ends].upTo <= n {
			ends++
		}
		s.delivery.hand(s.out[:n], s.cuts[:ends], s.memory)
		s.out = s.out[n:]
		s.cuts = append(s.cuts[:0], s.cuts[ends:]...)
		for i := range s.cuts {
			s.cuts[i].upTo -= n
		}
	}
	if len(s.cuts) > 0 {
		s.delivery.hand(nil, s.cuts, s.memory)
		s.cuts = s.cuts[:0]
	}
	return true
}

// confirm lets the next status carry the mark; never more than the server has sent in this session, although events of the
// last one may have been acked beyond that meanwhile.
func (s *session) confirm() {
	s.stream.Confirm(min(pglogrepl.LSN(s.marked.Load()), s.stream.Seen()))
}

// look takes in what the keeper sampled.
func (s *session) look() {
	select {
	case sample := <-s.keeper.sample:
		if s.paused != sample.Paused {
			s.relay.log.Info().Bool("paused", sample.Paused).Msg("reading paused or resumed by an operator")
		}
		if s.paused = sample.Paused; s.paused {
			s.delivery.setIdle(false)
		}
	default:
	}
}

// drain waits for the lanes, writes the last mark, and says goodbye with a last status.
func (s *session) drain(inner context.Context, kept <-chan struct{}) error {
	r := s.relay
	r.state.set("draining")
	r.log.Info().Int(keyEvents, s.delivery.unacked()).Msg("draining")
	limit, done := context.WithTimeoutCause(inner, r.cfg.DrainTimeout, errors.New("drain timeout"))
	defer done()
	var late error
	s.delivery.waiting.Store(true)
	for s.delivery.unacked() > 0 && late == nil {
		s.confirm()
		if err := s.stream.Wait(limit, nil); err != nil {
			late = err
		}
	}
	left := s.delivery.unacked()
	goodbye, end := context.WithTimeout(context.WithoutCancel(inner), 2*goodbyeTimeout)
	defer end()
	close(s.keeper.finish)
	marked, stop := context.WithTimeout(goodbye, goodbyeTimeout)
	defer stop()
	select {
	case <-kept:
	case <-marked.Done():
	}
	s.confirm()
	if err := s.stream.Stop(goodbye); err != nil && left == 0 {
		r.log.Warn().Err(err).Msg("the last status may not have arrived; a restart may repeat what it would have confirmed")
	}
	if left > 0 {
		return &StopError{Code: ExitDrain, Err: fmt.Errorf("drain: %d events of slot %q were not acknowledged within %s; the next start publishes them again: %w", left, r.cfg.Slot, r.cfg.DrainTimeout, late)}
	}
	r.log.Info().Stringer(keyLSN, s.stream.Confirmed()).Msg("drained")
	return nil
}

// maintain looks after the outbox's partitions now and then, on a connection of its own.
func (s *session) maintain(ctx context.Context) {
	for {
		if err := s.relay.cfg.Maintain(ctx, s.conn.PID()); err != nil && ctx.Err() == nil {
			s.relay.log.Warn().Err(err).Msg("maintenance of the outbox's partitions; it is tried again")
		}
		if !sleep(ctx, s.relay.cfg.MaintainEvery) {
			return
		}
	}
}

// diagnose turns an error into what the relay does about it.
func (r *Relay) diagnose(err error) error {
	var stop *StopError
	var unusable *checkpoint.UnusableError
	switch {
	case err == nil, errors.As(err, &stop), errors.Is(err, errStandby), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &unusable):
		return &StopError{Code: ExitSlot, Err: err}
	case errors.Is(err, checkpoint.ErrFenced), errors.Is(err, deadletter.ErrFenced):
		return fmt.Errorf("%w: %w", errStandby, err)
	case errors.Is(err, checkpoint.ErrNoSchema), errors.Is(err, checkpoint.ErrNotGranted):
		return &StopError{Code: ExitPrecondition, Err: err}
	}
	d := replication.Class(err)
	switch d.Action {
	case replication.Standby:
		return fmt.Errorf("%w: %w", errStandby, err)
	case replication.Stop:
		return &StopError{Code: ExitPrecondition, Err: fmt.Errorf("%w; %s", err, d.Cure)}
	case replication.SlotUnusable:
		return &StopError{Code: ExitSlot, Err: fmt.Errorf("%w; %s", err, d.Cure)}
	}
	return err
}
