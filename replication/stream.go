package replication

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/replication/internal/frames"
)

// Kind says what Next returned.
type Kind uint8

const (
	Tick      Kind = iota // nothing came; the status is out, look around
	XLog                  // Data is one message of pgoutput
	Keepalive             // ServerWALEnd is how far the server has sent
)

// Message is what Next returns.
type Message struct {
	Kind           Kind
	ReplyRequested bool          // Keepalive: the server wanted an answer, and has got it
	WALStart       pglogrepl.LSN // XLog: where the message's record lies; of Commit it is the end LSN
	ServerWALEnd   pglogrepl.LSN
	ServerTime     time.Time
	Data           []byte // valid until the next call of Next; the reader may not write to it
}

// Stream is one slot's WAL as it comes. The goroutine that owns it reads and writes; only Wake is for others (I4).
type Stream struct {
	cfg  Config
	conn net.Conn
	in   frames.Reader
	err  error // what ended the stream; every later call returns it

	confirmed pglogrepl.LSN // what each status carries
	seen      pglogrepl.LSN // the furthest that the server has spoken of

	due     time.Time // when the next status goes out at the latest
	unclock int       // messages until Next looks at the clock though it need not read
	armed   bool      // the read deadline stands at due

	heard time.Time // when the server last said something, at the latest; zero: since the last time-out
	asked bool      // a status asked for an answer since

	woken  atomic.Bool
	wakeup chan struct{} // the same for Wait
	timer  *time.Timer

	done   <-chan struct{} // of the context that is being watched
	unwait func() bool
	status [statusBytes]byte
}

// clockEvery is how many messages out of the buffer Next returns between two looks at the clock.
const clockEvery = 64

// postgresEpoch is 2000-01-01 in microseconds since the Unix epoch: the zero of all times in the protocol.
const postgresEpoch = 946_684_800_000_000

// Next returns the next message; it waits for one until the next status is due, sends that, and returns a Tick. So it
// returns at least once each StatusInterval. A keepalive that asks for a reply has been answered when Next returns it.
//
// When ctx ends, its cause is returned, and the stream can go on. Every other error has ended the stream: see Class.
func (s *Stream) Next(ctx context.Context) (Message, error) {
	if s.err != nil {
		return Message{}, s.err
	}
	if s.unclock--; s.unclock <= 0 {
		if err := s.sendWhenDue(time.Now()); err != nil {
			return Message{}, err
		}
	}
	for {
		typ, body, ok, err := s.in.Next()
		switch {
		case err != nil:
			return Message{}, s.fail(err)
		case !ok:
			tick, err := s.fill(ctx)
			if tick || err != nil {
				return Message{}, err
			}
		case typ == 'd':
			m, err := s.copyData(body)
			if err != nil {
				return Message{}, s.fail(err)
			}
			return m, nil
		default:
			if err := s.aside(typ, body); err != nil {
				return Message{}, s.fail(err)
			}
		}
	}
}

// Buffered tells whether Next would return without reading from the connection. Over TLS a message that has arrived may
// not count yet.
func (s *Stream) Buffered() bool { return s.err == nil && s.in.Whole() }

// Wake makes a Next or Wait that is under way, or else the following one, return soon: Next as with a Tick, when no
// message is at hand. Any goroutine may call it.
func (s *Stream) Wake() {
	s.woken.Store(true)
	select {
	case s.wakeup <- struct{}{}:
	default:
	}
	_ = s.conn.SetReadDeadline(longAgo())
}

// Wait keeps the connection alive while the owner has no room for more: it reads nothing, so that TCP holds the server
// back, and sends the status when it is due. It returns nil after wake, Wake or a status; then look whether there is room.
// wake may be nil. When ctx ends, its cause is returned, and the stream can go on.
func (s *Stream) Wait(ctx context.Context, wake <-chan struct{}) error {
	if s.err != nil {
		return s.err
	}
	s.heard, s.asked = time.Time{}, false // nobody listens: silence proves nothing
	now := time.Now()
	if !now.Before(s.due) {
		return s.sendWhenDue(now)
	}
	s.timer.Reset(s.due.Sub(now))
	defer s.timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-wake:
		return nil
	case <-s.wakeup:
		s.woken.Store(false)
		return nil
	case <-s.timer.C:
		return s.sendWhenDue(time.Now())
	}
}

// Confirm sets what the next status carries in all three fields: everything before lsn is durable elsewhere, or of no
// interest. A position below the one confirmed before is ignored (I5). One beyond all that the server has sent cannot be
// true, whatever the caller believes, and panics (I1).
func (s *Stream) Confirm(lsn pglogrepl.LSN) {
	if lsn > s.seen {
		panic(fmt.Sprintf("replication: confirm %s on slot %q, but the server has sent nothing beyond %s (I1)", lsn, s.cfg.Slot, s.seen))
	}
	s.confirmed = max(s.confirmed, lsn)
}

// Confirmed is what the next status carries.
func (s *Stream) Confirmed() pglogrepl.LSN { return s.confirmed }

// Seen is the furthest position that the server has spoken of in this session: what Confirm may be given at most. Events of
// an earlier session may have been acknowledged beyond it.
func (s *Stream) Seen() pglogrepl.LSN { return s.seen }

// fill reads once. tick is true when there was nothing to read until the status was due, or until Wake.
func (s *Stream) fill(ctx context.Context) (tick bool, err error) {
	if err := s.sendWhenDue(time.Now()); err != nil {
		return false, err
	}
	s.watch(ctx)
	if !s.armed {
		_ = s.conn.SetReadDeadline(s.due) // an error shows in the read
		s.armed = true
	}
	// Whoever interrupts sets the flag (or ends ctx) first and the deadline then. If his deadline came before ours, we have
	// undone it, but we see the flag here; if it comes later, the read ends at once.
	if tick, err = s.interrupted(ctx); tick || err != nil {
		return tick, err
	}
	err = s.in.Fill()
	if err == nil {
		if err := s.awake(time.Now()); err != nil {
			return false, err
		}
		s.heard, s.asked = time.Time{}, false
		return false, nil
	}
	s.armed = false
	if !isTimeout(err) {
		return false, s.fail(fmt.Errorf("read: %w", lost(err)))
	}
	if tick, err = s.interrupted(ctx); tick || err != nil {
		return tick, err
	}
	now := time.Now()
	if now.Before(s.due) {
		return false, nil // an old interruption that came late
	}
	return true, s.tick(now)
}

// awake finds out that we were frozen (SIGSTOP, a machine that slept): what lies in our socket since then may have been
// delivered by another owner, who has gone on. The server gives the slot away when it has no status for WALSenderTimeout.
func (s *Stream) awake(now time.Time) error {
	if late := now.Sub(s.due); late > s.cfg.WALSenderTimeout-s.cfg.StatusInterval {
		return s.fail(fmt.Errorf("%w (%s)", ErrFrozen, late.Round(time.Second)))
	}
	return nil
}

// interrupted tells why the owner should not read on: ctx has ended, or Wake was called.
func (s *Stream) interrupted(ctx context.Context) (woken bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if s.woken.Load() {
		s.woken.Store(false)
		select {
		case <-s.wakeup:
		default:
		}
		return true, nil
	}
	return false, nil
}

// watch arranges that the end of ctx ends a read. It is kept from call to call for as long as the context is the same.
func (s *Stream) watch(ctx context.Context) {
	done := ctx.Done()
	if done == s.done {
		return
	}
	s.unwatch()
	if done != nil {
		conn := s.conn
		s.done, s.unwait = done, context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(longAgo()) })
	}
	s.armed = false // the end of the context before may have moved the deadline
}

func (s *Stream) unwatch() {
	if s.unwait != nil {
		s.unwait()
		s.done, s.unwait = nil, nil
	}
}

// tick sends the status after a time-out, and asks for an answer when the server has been silent for long.
func (s *Stream) tick(now time.Time) error {
	if s.heard.IsZero() {
		s.heard = now
	}
	silent := now.Sub(s.heard)
	if s.asked && silent >= s.cfg.ServerTimeout {
		return s.fail(fmt.Errorf("%w for %s", ErrSilent, silent.Round(time.Second)))
	}
	s.asked = silent >= s.cfg.ServerTimeout/2
	return s.sendStatus(now, s.asked, time.Time{})
}

// longAgo is a deadline that has passed, on any clock.
func longAgo() time.Time { return time.Unix(1, 0) }
