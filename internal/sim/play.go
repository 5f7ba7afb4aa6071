package sim

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/metrics"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/walsender"
)

// Slot and publication of every world.
const (
	Slot        = "cdc_relay"
	Publication = "cdc_relay"
)

// quietFor is how long, in virtual time, a world gets to deliver everything once nothing goes wrong any more.
const quietFor = 15 * time.Minute

// world is one seed being played.
type world struct {
	s        *Schedule
	srv      *walsender.Server
	db       *Database
	to       *Destination
	check    *Checker
	rel      *walsender.Relation
	metrics  *metrics.Relay
	log      zerolog.Logger
	relays   []*Process // that are meant to run
	gone     []*Process // that died or drained
	seq      int
	refusals map[string]int // how often a dead letter is refused again
	calls    int            // ledger calls that get a fault
	wait     time.Duration
}

// Play plays a schedule in a synctest bubble and returns what was broken, with the trace that led there.
func Play(s *Schedule, log zerolog.Logger) error {
	w := &world{s: s, check: NewChecker(s.Policy), rel: walsender.Outbox(), metrics: metrics.New("sim"), log: log}
	w.srv = walsender.New(walsender.Config{OnStatus: w.check.OnStatus})
	defer w.srv.Close()
	w.db = NewDatabase(w.srv, Slot)
	w.db.OnMark, w.db.OnLetter = w.check.OnMark, w.check.OnLetter
	w.to = NewDestination(w.check)
	w.to.Config.Lanes, w.to.Config.MaxBatchEvents = s.Lanes, s.Batch
	w.to.Config.MinBackoff, w.to.Config.MaxBackoff = 10*time.Millisecond, time.Second
	w.to.Answers(w.answer, w.refuse)
	w.db.Faults(w.fault)

	for range s.Relays {
		w.start()
	}
	for i := 0; w.db.Mark() == nil || w.db.Mark().Creating; i++ { // rows that are older than the slot are not published
		if i > 1000 {
			return errors.New("no first start within 100 s")
		}
		<-time.After(100 * time.Millisecond)
	}
	for i, step := range s.Steps {
		if step.After > 0 {
			<-time.After(step.After)
		}
		w.check.Note("step %d: %s", i, step)
		w.step(step)
		w.supervise()
		if len(w.check.Failures()) > 0 {
			break
		}
	}
	if len(w.check.Failures()) == 0 {
		w.quiet()
	}
	for _, p := range w.relays {
		p.Crash()
	}
	for _, p := range append(w.relays, w.gone...) {
		<-p.Done
	}
	if failures := w.check.Failures(); len(failures) > 0 {
		return fmt.Errorf("%s\n%strace:\n%s", strings.Join(failures, "\n"), s, strings.Join(w.check.Trace(), "\n"))
	}
	return nil
}

// start runs one more relay.
func (w *world) start() {
	cfg := relay.NewConfig()
	cfg.Slot, cfg.Publication = Slot, Publication
	cfg.Decoder = DecoderConfig()
	cfg.OnReject, cfg.MaxInFlightEvents, cfg.MaxInFlightBytes, cfg.MaxParked = w.s.Policy, w.s.Events, w.s.Bytes, w.s.Parked
	cfg.DrainTimeout = 5 * time.Second
	cfg.Messages = w.s.draw(100, uint64(len(w.relays)+len(w.gone)), 51) < w.s.OnPct
	cfg.Metrics, cfg.Log = w.metrics, w.log.With().Int("relay", len(w.relays)+len(w.gone)).Logger()
	w.relays = append(w.relays, Start(cfg, w.db, Count(w.check, max(1, w.s.Events), w.to.Open)))
}

// DecoderConfig is for the native outbox, without Source.
func DecoderConfig() decoder.Config {
	return decoder.Config{
		Tables:          []decoder.Table{{Name: "public.outbox", Preset: decoder.PresetNative, Topic: decoder.DefaultTopic}},
		PositionHeaders: true, Publication: Publication,
	}
}

// supervise is Kubernetes and an operator: it starts what has stopped, once the reason is mended.
func (w *world) supervise() {
	for i := 0; i < len(w.relays); i++ {
		p := w.relays[i]
		if p.Running() {
			continue
		}
		w.relays = append(w.relays[:i], w.relays[i+1:]...)
		w.gone = append(w.gone, p)
		i--
		var stop *relay.StopError
		if !errors.As(p.Err, &stop) || stop.Code != relay.ExitEvent {
			w.check.Fail("a relay returned %v", p.Err)
			continue
		}
		w.check.Note("a relay stopped: %v", p.Err)
		w.mend()
		w.db.RequeueAll()
		w.start()
	}
}

// mend makes the destination take everything from now on.
func (w *world) mend() { w.to.Answers(w.answer, nil) }

func (w *world) step(s Step) {
	switch s.Kind {
	case Commit:
		rows := make([]Row, s.N)
		on, release := w.db.holdMessages() // none is turned off between the look and the commit
		defer release()
		for i := range rows {
			w.seq++
			key := w.s.draw(w.s.Keys, uint64(w.seq), 1)
			value := fmt.Sprintf(`{"n":%d,"x":%q}`, w.seq, strings.Repeat("x", w.s.draw(s.M, uint64(w.seq), 3)))
			rows[i] = Row{Seq: w.seq, Topic: fmt.Sprintf("t%d", w.s.draw(w.s.Topics, uint64(w.seq), 2)), Key: fmt.Sprintf("k%d", key), Value: value}
			rows[i].Tableless, rows[i].Sub = on && w.s.draw(2, uint64(w.seq), 4) == 0, w.s.draw(2, uint64(w.seq), 5) == 0
		}
		w.check.Commit(w.srv, w.rel, rows...)
	case WAL:
		w.srv.AdvanceWAL(s.N)
	case Crash:
		w.replace(s, (*Process).Crash)
	case Drain:
		w.replace(s, (*Process).Stop)
	case Cut:
		w.srv.Cut()
	case CutAfter:
		w.srv.CutAfter(s.N)
	case Terminate:
		w.srv.Terminate(Slot)
	case LedgerCut:
		w.db.Cut()
	case ServerCrash:
		w.srv.Down(true)
		w.srv.Crash()
		w.db.Cut()
		time.AfterFunc(s.For, func() { w.srv.Down(false) })
	case Restart:
		w.srv.Restart()
		w.db.Cut()
	case Checkpoint:
		w.srv.Checkpoint()
	case Freeze:
		w.srv.Freeze()
		time.AfterFunc(s.For, w.srv.Thaw)
	case Slow:
		w.srv.Trickle(1000, 10*time.Millisecond)
		time.AfterFunc(s.For, func() { w.srv.Trickle(0, 0) })
	case SinkDown:
		w.to.Down(true)
		time.AfterFunc(s.For, func() { w.to.Down(false) })
	case LedgerFault:
		w.db.mu.Lock()
		w.calls = s.N
		w.db.mu.Unlock()
	case LedgerSlow:
		w.db.mu.Lock()
		w.calls, w.wait = 10*s.N, s.For/10
		w.db.mu.Unlock()
	case Pause:
		w.db.Pause(true)
		time.AfterFunc(s.For, func() { w.db.Pause(false) })
	case Requeue:
		w.db.RequeueAll()
	case RequeueRow:
		w.db.RequeueRow(int64(len(w.db.Letters()) - s.N))
	case Drop:
		w.db.DropAll()
	}
}

// replace ends one relay, and starts another at once or after a while.
func (w *world) replace(s Step, end func(*Process)) {
	if len(w.relays) == 0 {
		return
	}
	i := s.N % len(w.relays)
	p := w.relays[i]
	w.relays = append(w.relays[:i], w.relays[i+1:]...)
	w.gone = append(w.gone, p)
	end(p)
	if s.N%2 == 0 {
		<-time.After(s.For)
	}
	w.start()
}

// answer is the destination's, by event and attempt.
func (w *world) answer(first *decoder.Event, try int) (a Answer) {
	id := number(first)
	if w.s.draw(100, id, uint64(try), 10) < w.s.SlowPct {
		a.Delay = time.Duration(w.s.draw(300, id, uint64(try), 11)) * time.Millisecond
		a.AckDelay = time.Duration(w.s.draw(300, id, uint64(try), 12)) * time.Millisecond
	}
	if try < 5 && w.s.draw(100, id, uint64(try), 13) < w.s.FailPct {
		a.Fail, a.Stored = true, w.s.draw(5, id, uint64(try), 14)
		a.Told = w.s.draw(a.Stored+1, id, uint64(try), 15)
	}
	return a
}

// refuse is the destination's: an event that it refuses is refused until an operator requeues it, some once more then.
func (w *world) refuse(ev *decoder.Event) bool {
	if w.s.draw(10_000, number(ev), 20) >= w.s.RejectPct {
		return false
	}
	if !replayed(ev) {
		return true
	}
	if w.refusals == nil {
		w.refusals = map[string]int{}
	}
	w.refusals[string(ev.ID)]++
	return w.refusals[string(ev.ID)] <= w.s.draw(3, number(ev), 21)
}

// number is the event's: its seq, where it has a row, and the digits of its id.
func number(ev *decoder.Event) uint64 {
	id := string(ev.ID)
	n, err := strconv.ParseUint(id[strings.LastIndexByte(id, '-')+1:], 10, 64)
	if err != nil {
		panic(fmt.Sprintf("sim: event id %q", id))
	}
	return n
}

// fault is the database's; it is called under its lock.
func (w *world) fault(string) (f Fault) {
	if w.calls <= 0 {
		w.wait = 0
		return f
	}
	w.calls--
	if w.wait > 0 {
		f.Delay = w.wait
		return f
	}
	switch w.s.draw(4, uint64(w.calls), 30) {
	case 0:
		f.Err = errors.New("sim: the statement failed")
	case 1:
		f.Cut = true
	default:
		f.Lost = true
	}
	return f
}

// quiet ends all trouble, and then everything has to arrive.
func (w *world) quiet() {
	w.check.Note("quiet")
	w.srv.Thaw()
	w.srv.Down(false)
	w.srv.Trickle(0, 0)
	w.srv.CutAfter(0)
	w.to.Down(false)
	w.db.Faults(nil)
	w.db.Pause(false)
	w.mend()
	if len(w.relays) == 0 {
		w.start()
	}
	end := time.Now().Add(quietFor)
	for {
		w.supervise()
		w.db.RequeueAll()
		missing := w.check.Missing()
		slot, _ := w.srv.Slot(Slot)
		mark := w.db.Mark()
		if len(missing) == 0 && slot.Confirmed >= w.check.End() && mark.LSN >= w.check.End() && w.db.ParkedKeys() == 0 {
			break
		}
		if len(w.check.Failures()) > 0 {
			return
		}
		if time.Now().After(end) {
			w.check.Fail("after %s of quiet %d events are missing (%v ...), %d keys are parked, the slot is at %s, the mark at %s, and the last end is %s; relays: %v",
				quietFor, len(missing), missing[:min(3, len(missing))], w.db.ParkedKeys(), slot.Confirmed, mark.LSN, w.check.End(), w.states())
			return
		}
		<-time.After(time.Second)
	}
	w.bye()
}

// bye drains the relays: a drained one has confirmed everything, and the next start repeats nothing.
func (w *world) bye() {
	<-time.After(10 * time.Second) // whoever was in the middle of something is past it
	for _, p := range w.relays {
		p.Stop()
		<-p.Done
		if p.Err != nil {
			w.check.Fail("a drain of nothing returned %v", p.Err)
		}
	}
	w.gone, w.relays = append(w.gone, w.relays...), nil
	before := w.check.Copies()
	w.start()
	<-time.After(3 * time.Second)
	if n := w.check.Copies() - before; n > 0 {
		w.check.Fail("%d events were repeated after a drain", n)
	}
	if copies, most := w.check.Copies(), w.to.Untold()+w.check.Sinks()*max(1, w.s.Events); copies > most {
		w.check.Fail("I8: %d repeats, and windows and lost answers explain %d", copies, most)
	}
}

func (w *world) states() (out []string) {
	for _, p := range w.relays {
		st := p.Relay.Status()
		out = append(out, st.State+" "+st.Reason)
	}
	return out
}
