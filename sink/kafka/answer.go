package kafka

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
)

// verdict is what is left to do about an answer once the lane's state is changed.
type verdict uint8

const (
	goOn verdict = iota
	reject
)

// answer deals with a broker's answer for one batch.
func (s *Sink) answer(it *item, code wire.Code, message []byte) {
	it.done = true
	l, b := it.lane, it.batch
	events := len(b.events)
	var err error
	if code != wire.OK {
		err = code
		if len(message) > 0 {
			err = fmt.Errorf("%w: %s", code, message)
		}
	}
	l.calls.Lock()
	defer l.calls.Unlock()
	class := code.Class()
	if class == wire.Stored {
		s.stored(l, b)
		s.rcv.Attempted(events, "")
		return
	}
	s.mu.Lock()
	now := time.Now()
	what, middle := s.refused(l, b, class, code, err, now)
	if code.Moved() {
		s.need()
	}
	s.mu.Unlock()
	s.acked(middle)
	s.rcv.Attempted(events, code.Label())
	if class == wire.StateOfSink {
		s.notice(sink.Notice{Topic: l.topic.name, What: "topic " + l.topic.name + " is not writable: " + code.Label(), Cure: code.Cure()})
	}
	if what == reject {
		reason := code.Label()
		if class == wire.TooLarge {
			reason = "too_large"
		}
		s.reject(l, b, reason, err)
	}
}

// stored acknowledges, in order, what is wholly stored from the lane's front on.
func (s *Sink) stored(l *lane, b *sealed) {
	var few [maxWindow + 1]*sealed
	now := time.Now()
	s.mu.Lock()
	b.acked = true
	done := l.acknowledged(now, few[:0])
	l.landed(now)
	s.kick(l, now)
	if len(s.noticed) > 0 {
		s.forgive(l.topic.name)
	}
	s.mu.Unlock()
	s.acked(done)
}

func (s *Sink) acked(done []*sealed) {
	if len(done) == 0 {
		return
	}
	for _, b := range done {
		s.rcv.Ack(b.events)
	}
	s.mu.Lock()
	for _, b := range done {
		s.freeSealed(b)
	}
	s.mu.Unlock()
}

// refused changes the lane's state after a refusal; with mu. Only when the batch was the first and alone does its answer
// speak of itself; else the lane rewinds and sends it alone. middle are batches behind it that had been acknowledged, which
// happens only where a broker lost what it knew.
func (s *Sink) refused(l *lane, b *sealed, class wire.Class, code wire.Code, err error, now time.Time) (what verdict, middle []*sealed) {
	defer s.kick(l, now)
	alone := l.flying == 1 && !l.rewinding && l.sealed[0] == b
	if !alone || class == wire.Retry || class == wire.StateOfSink {
		l.rewind(err, class)
		l.landed(now)
		return goOn, nil
	}
	l.trouble = err
	l.flying--
	single := len(b.events) == 1
	switch {
	case class == wire.LostState:
		if code == wire.InvalidProducerEpoch {
			l.retire(s)
			s.need()
		}
		l.delay = min(max(2*l.delay, minDelay), maxDelay)
		l.retryAt = now.Add(l.delay)
	case class == wire.BadTopic || single:
		if class == wire.TooLarge {
			l.topic.restore()
		}
		l.rewinding = true // nothing is taken until the event is rejected
		return reject, nil
	case class == wire.TooLarge:
		l.topic.shrink(b.weight, s.cfg.BatchBytes)
		l.suspects, l.atMost = len(b.events), len(b.events)
	default:
		l.suspects, l.atMost = len(b.events), len(b.events)/2
	}
	return goOn, l.unseal(s)
}

// reject hands the first event of a batch over, and asks Divert anew for those behind it. With the lane's calls.
func (s *Sink) reject(l *lane, b *sealed, reason string, err error) {
	halt := s.rcv.Reject(b.events[0], sink.Rejection{Reason: reason, Err: err}) == sink.Halt
	s.mu.Lock()
	now := time.Now()
	l.rewinding = false
	if halt {
		l.halted = true
		s.mu.Unlock()
		return
	}
	middle := l.unseal(s)
	l.queue.pop()
	l.asked = 0
	l.suspects = max(0, l.suspects-1)
	l.trouble, l.delay = nil, 0
	l.since = time.Time{}
	if !l.idle() {
		l.since = now
	}
	s.kick(l, now)
	s.mu.Unlock()
	s.acked(middle)
}

// ambiguous deals with a batch whose answer never came.
func (s *Sink) ambiguous(it *item, err error) {
	it.done = true
	l := it.lane
	l.calls.Lock()
	defer l.calls.Unlock()
	s.mu.Lock()
	now := time.Now()
	events := len(it.batch.events)
	l.rewind(err, wire.Retry)
	l.landed(now)
	s.kick(l, now)
	ended := s.ended
	s.mu.Unlock()
	if !ended {
		s.rcv.Attempted(events, label(err))
	}
}

// label is a metric's word for a network error.
func label(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no_answer"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "connection_closed"
	}
	return "connection"
}
