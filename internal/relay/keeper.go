package relay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
)

const (
	// keeperInterval is how often the keeper looks at the database, and the longest time between an ack and its mark.
	keeperInterval = time.Second
	// idleMarkBytes is how far an idle position moves before it is marked: the mark's own write makes WAL, and an idle relay
	// and an idle database would keep each other awake for ever. Two WAL segments of the usual size.
	idleMarkBytes = 32 << 20
	// parkBatch is how many dead letters one statement writes.
	parkBatch = 200
	// pruneEvery is how often dead letters that were settled long ago are deleted.
	pruneEvery = 10 * time.Minute
	// haltGrace bounds what is still written when the relay halts because of an event.
	haltGrace = 5 * time.Second
	// stallAfter is how long nothing is acknowledged, with events under way, before the relay says so.
	stallAfter = 10 * time.Second
)

// keeper is the goroutine that owns the ledger: what it writes, it writes in this order, one statement at a time.
type keeper struct {
	relay       *Relay
	delivery    *delivery
	ledger      Ledger
	walsender   uint32
	system      string
	timeline    int32
	incarnation string
	hash        string // of what defines the index of an open transaction's events

	written checkpoint.Progress // what the mark holds
	horizon horizons
	late    map[string]deadletter.Key // keys that were released while events of theirs still waited to be parked
	stalled bool
	seen    checkpoint.Progress // at the last look
	moved   time.Time           // when it was last seen to move

	marked *atomic.Uint64         // LSN that the session may confirm
	pruned time.Time              // when resolved dead letters were deleted last
	sample chan checkpoint.Sample // the newest, for the session: room for one
	finish chan struct{}          // the session drains: write the last mark and return
}

func newKeeper(s *session) *keeper {
	k := &keeper{
		relay: s.relay, delivery: s.delivery, ledger: s.ledger, walsender: s.conn.PID(),
		system: s.mark.SystemID, timeline: s.conn.System().Timeline, incarnation: s.mark.Incarnation, hash: s.decoder.Hash(),
		late: map[string]deadletter.Key{}, marked: &s.marked, sample: make(chan checkpoint.Sample, 1), finish: make(chan struct{}),
	}
	k.written = checkpoint.Progress{Confirmed: s.mark.LSN, OpenCommit: s.mark.OpenCommit, OpenIndex: s.mark.OpenIndex, Events: s.delivery.markedEvents()}
	k.horizon.add(s.mark.HorizonXID, s.mark.HorizonLSN)
	return k
}

// run returns when the session is over (ctx), when finish is closed and the last mark stands, or with what ends the session.
func (k *keeper) run(ctx context.Context) error {
	tick := time.NewTicker(keeperInterval)
	defer tick.Stop()
	k.moved = time.Now()
	work, end := writing(ctx)
	defer end()
	if err := k.look(work); err != nil {
		return err
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			if halted(ctx) {
				err = k.close(work)
			}
			return errors.Join(context.Cause(ctx), err)
		case <-k.finish:
			return k.mark(work, true)
		case <-tick.C:
			err = k.look(work)
		case <-k.delivery.due:
			err = k.mark(work, true)
		case <-k.delivery.parking.wake:
			err = k.park(work)
		case <-k.delivery.requeues.wake:
			err = k.settle(work)
		}
		if err != nil {
			return err
		}
		k.relay.state.ticked(loopKeeper)
	}
}

// writing is the context of what the keeper writes: it ends with ctx, but a while later when the relay halts because of an
// event. What was parked before that event has to stand in the table then, or an operator who is told to look there finds
// nothing to settle.
func writing(ctx context.Context) (work context.Context, end func()) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	grace := time.AfterFunc(math.MaxInt64, func() { cancel(context.Cause(ctx)) })
	stop := context.AfterFunc(ctx, func() {
		if halted(ctx) {
			grace.Reset(haltGrace)
			return
		}
		cancel(context.Cause(ctx))
	})
	return work, func() {
		stop()
		grace.Stop()
		cancel(nil)
	}
}

// halted tells whether ctx ended because of an event.
func halted(ctx context.Context) bool {
	var stop *StopError
	return errors.As(context.Cause(ctx), &stop) && stop.Code == ExitEvent
}

// close writes what is parked and marks what is acknowledged.
func (k *keeper) close(ctx context.Context) error {
	for len(k.delivery.parking.take(1)) > 0 {
		if err := k.park(ctx); err != nil {
			return err
		}
	}
	return k.mark(ctx, true)
}

// look is what happens once a second.
func (k *keeper) look(ctx context.Context) error {
	s, err := k.ledger.Sample(ctx)
	if err != nil {
		return err
	}
	k.horizon.add(s.HorizonXID, s.HorizonLSN)
	select { // only the newest counts
	case <-k.sample:
	default:
	}
	k.sample <- s
	k.delivery.wake()
	if err := k.mark(ctx, false); err != nil {
		return err
	}
	if err := k.park(ctx); err != nil {
		return err
	}
	if err := k.settle(ctx); err != nil {
		return err
	}
	if s.Requested > 0 {
		if err := k.redo(ctx); err != nil {
			return err
		}
	}
	counts, err := k.ledger.Counts(ctx)
	if err != nil {
		return err
	}
	k.delivery.parking.count(int(counts.Unresolved))
	if time.Since(k.pruned) > pruneEvery {
		if err := k.ledger.Prune(ctx, k.walsender, k.written.Confirmed); err != nil {
			return err
		}
		k.pruned = time.Now()
	}
	k.watch()
	k.relay.state.sampled(k.relay, s, counts, k.stalled)
	return nil
}

// mark writes the mark when it would say something new: events acked since, or an idle position that has moved far.
func (k *keeper) mark(ctx context.Context, now bool) error {
	p := k.delivery.progress()
	// The end of a transaction is news too: its events may have been acked, and marked as its open part, before it came.
	events := p.Events != k.written.Events || p.OpenCommit != k.written.OpenCommit
	far := p.Confirmed >= k.written.Confirmed+idleMarkBytes
	if p == k.written || !events && !far && !now {
		return nil
	}
	xid, at := k.horizon.upTo(p.Confirmed)
	u := checkpoint.Update{
		SystemID: k.system, Timeline: k.timeline, Incarnation: k.incarnation,
		LSN: p.Confirmed, OpenCommit: p.OpenCommit, OpenIndex: p.OpenIndex, OpenHash: k.hash, HorizonXID: xid, HorizonLSN: at,
	}
	k.relay.tenure.trying = u
	err := k.ledger.Write(ctx, k.walsender, u)
	switch {
	case err == nil:
	case errors.Is(err, checkpoint.ErrPublicationChanged):
		return k.relay.publicationChanged(err)
	case errors.Is(err, checkpoint.ErrNoMark), errors.Is(err, checkpoint.ErrIncarnation):
		return &StopError{Code: ExitSlot, Err: fmt.Errorf("%w; somebody changed the mark under a running relay", err)}
	default:
		return err
	}
	k.relay.tenure.last = u
	if p.Confirmed > k.written.Confirmed {
		k.relay.state.confirmed(p.Confirmed)
	}
	k.written = p
	k.marked.Store(uint64(p.Confirmed))
	k.delivery.noteMark(p)
	return nil
}

// park writes what was rejected or diverted to the dead-letter table, and acks it once it stands there.
func (k *keeper) park(ctx context.Context) error {
	queue := k.delivery.parking.take(parkBatch)
	if len(queue) == 0 {
		return nil
	}
	letters := make([]deadletter.Letter, len(queue))
	for i, e := range queue {
		letters[i] = deadletter.FromEvent(e.event, e.reason, e.err)
		letters[i].Incarnation, letters[i].Alone = k.incarnation, e.alone
	}
	if _, err := k.ledger.Park(ctx, k.walsender, letters); err != nil {
		return err
	}
	k.delivery.parking.written(len(queue))
	for name, key := range k.late { // they are the released key's next events: straight on, in order
		if err := k.ledger.Requeue(ctx, key); err != nil {
			return err
		}
		delete(k.late, name)
	}
	for _, e := range queue {
		k.relay.log.Warn().Str(keyTopic, e.event.Topic).Bytes("event_id", e.event.ID).Stringer("position", e.event.Position).
			Str("reason", e.reason).Str("why", e.err).Msg("event parked; see `cdc-relay dlq list`")
		k.delivery.ackNow(e.event)
	}
	return nil
}

// redo publishes what an operator has marked for requeue, in order per key, and settles what was marked to be dropped.
func (k *keeper) redo(ctx context.Context) error {
	underway := k.delivery.requeues.ids()
	if len(underway) >= maxRequeued {
		return nil
	}
	letters, err := k.ledger.Pending(ctx, maxRequeued-len(underway), underway...)
	if err != nil {
		return err
	}
	var drop []deadletter.Result
	var again []decoder.Event
	for i := range letters {
		l := &letters[i]
		if l.State == deadletter.Drop {
			drop = append(drop, deadletter.Result{ID: l.ID, Outcome: deadletter.Forgotten})
			continue
		}
		if k.delivery.requeues.begin(l) {
			ev := l.Event()
			ev.Token = requeued | uint64(l.ID)
			again = append(again, ev)
		}
	}
	if len(drop) > 0 {
		if err := k.done(ctx, drop); err != nil {
			return err
		}
	}
	if len(again) > 0 {
		k.relay.log.Info().Int(keyEvents, len(again)).Msg("dead letters requeued")
		k.delivery.publish(again)
	}
	return nil
}

// settle writes what became of requeued letters.
func (k *keeper) settle(ctx context.Context) error {
	results := k.delivery.requeues.take()
	if len(results) == 0 {
		return nil
	}
	if err := k.done(ctx, results); err != nil {
		return err
	}
	k.delivery.requeues.written(results)
	return k.redo(ctx)
}

// done files results. What waits to be parked goes first, so that few events of a released key come too late for it.
func (k *keeper) done(ctx context.Context, results []deadletter.Result) error {
	if err := k.park(ctx); err != nil {
		return err
	}
	released, err := k.ledger.Done(ctx, k.walsender, results)
	if err != nil {
		return err
	}
	for _, key := range released {
		if k.delivery.parking.release(key.Topic, key.Key) {
			k.late[string(appendKey(nil, key.Topic, key.Key))] = key
			continue
		}
		k.relay.log.Info().Str(keyTopic, key.Topic).Bytes("key", key.Key).Msg("key released: its events flow again")
	}
	if len(k.late) > 0 {
		return k.park(ctx)
	}
	return nil
}

// watch tells stalled from idle, once a stall.
func (k *keeper) watch() {
	p := k.delivery.progress()
	oldest, waiting := k.delivery.oldest()
	if p != k.seen || !waiting {
		if k.stalled {
			k.relay.log.Info().Stringer(keyLSN, p.Confirmed).Msg("events are acknowledged again")
		}
		k.seen, k.moved, k.stalled = p, time.Now(), false
		return
	}
	if !k.stalled && time.Since(k.moved) > stallAfter {
		k.stalled = true
		st := k.relay.tenure.sink.Status()
		line := k.relay.log.Warn().Int(keyEvents, k.delivery.unacked()).Stringer(keyLSN, oldest.Commit).
			Dur("age", time.Since(time.UnixMicro(oldest.Time)))
		if len(st.Stalled) > 0 {
			line = line.Str("lane", st.Stalled[0].Name).Str("last_answer", st.Stalled[0].Err)
		}
		if st.Reason != "" {
			line = line.Str("sink", st.Reason)
		}
		line.Msg("stalled: nothing has been acknowledged for 10 s")
	}
}

// horizons keeps pairs of (xid horizon, WAL position), sampled in that order once a second: a transaction that commits
// after the position has an xid at or above the horizon. A mark at some LSN carries the newest pair at or before it.
type horizons struct {
	pairs []horizon
}

type horizon struct {
	xid uint64
	lsn pglogrepl.LSN
}

// maxHorizons bounds the pairs: in a long backlog they are thinned out, which makes the horizon coarser and never wrong.
const maxHorizons = 512

func (h *horizons) add(xid uint64, lsn pglogrepl.LSN) {
	if n := len(h.pairs); n > 0 && h.pairs[n-1].lsn >= lsn {
		return
	}
	h.pairs = append(h.pairs, horizon{xid, lsn})
	if len(h.pairs) > maxHorizons {
		kept := h.pairs[:0]
		for i, p := range h.pairs {
			if i%2 == 0 || i == len(h.pairs)-1 {
				kept = append(kept, p)
			}
		}
		h.pairs = kept
	}
}

// upTo returns the newest pair at or before lsn, and forgets older ones; zeroes when there is none.
func (h *horizons) upTo(lsn pglogrepl.LSN) (uint64, pglogrepl.LSN) {
	i := 0
	for i < len(h.pairs) && h.pairs[i].lsn <= lsn {
		i++
	}
	if i == 0 {
		return 0, 0
	}
	h.pairs = h.pairs[i-1:]
	return h.pairs[0].xid, h.pairs[0].lsn
}
