package sinktest

import (
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
)

func orderUnderLoad(s *stand) {
	s.open()
	events := Events(s.h.Events, Shape{Topics: s.d.Topics, Keys: 40})
	s.publish(events)
	s.r.WaitAcked(len(events))
	s.close()
	s.checkStored(events, true, s.r)
	if got := s.r.Reasons()[""]; got == 0 || got > len(events) {
		s.Errorf("%d successful writes reported for %d events", got, len(events))
	}
}

func oddEvents(s *stand) {
	s.open()
	events := OddEvents(s.d.Topics[0], 0)
	s.publish(events)
	s.r.WaitAcked(len(events))
	s.close()
	s.checkStored(events, true, s.r)
}

func statusDuringLoad(s *stand) {
	s.open()
	events := Events(500, Shape{Topics: s.d.Topics})
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if got := s.s.Status().InFlight; got < 0 {
						s.Errorf("%d writes in flight", got)
					}
				}
			}
		})
	}
	s.publish(events)
	s.r.WaitAcked(len(events))
	s.poll("the sink to be idle", func() bool { return s.s.Status().InFlight == 0 }, func() string { return "writes in flight" })
	if status := s.s.Status(); !status.Writable || len(status.Stalled) > 0 {
		s.Errorf("status %+v after all events were acknowledged, want writable and nothing stalled", status)
	}
	close(stop)
	readers.Wait()
	s.close()
	s.s.Status() // "safe to call at any time"
}

func divert(s *stand) {
	s.open()
	events := Events(600, Shape{Topics: s.d.Topics, Keys: 6})
	s.r.DivertIf(func(ev *decoder.Event) bool { return string(ev.Key) == "key-3" })
	s.publish(events)
	s.r.WaitSettled(len(events))
	s.close()
	if got := s.r.Tally(); got.Diverted == 0 || got.Acked == 0 {
		s.Errorf("%+v, want some diverted and some acknowledged", got)
	}
	s.checkStored(events, true, s.r)
}

func divertLater(s *stand) {
	s.open()
	events := Events(600, Shape{Topics: s.d.Topics, Keys: 6})
	s.r.DivertIf(func(ev *decoder.Event) bool { return string(ev.Key) == "key-3" && ev.Token > 300 })
	s.publish(events[:400])
	s.r.WaitSettled(200)
	s.publish(events[400:])
	s.r.WaitSettled(len(events))
	s.close()
	s.checkStored(events, true, s.r)
}

// outaged opens a sink to a destination that is down, and returns what was published before that, so that what a sink
// sets up at its first write stands. It skips where an outage cannot be arranged.
func outaged(s *stand) (before []decoder.Event, end func()) {
	s.Helper()
	if s.d.Outage == nil {
		s.Skip("SKIP: this destination cannot be made to fail")
	}
	s.open()
	before = Events(1, Shape{Topics: s.d.Topics})
	s.publish(before)
	s.r.WaitAcked(1)
	return before, s.d.Outage(s.T)
}

func outage(s *stand) {
	before, end := outaged(s)
	events := Events(900, Shape{Topics: s.d.Topics, Keys: 12, First: 1})
	s.publish(events[:600])
	s.r.Wait("failed writes", func(t Tally) bool { return t.Failures >= 3 })
	s.publish(events[600:])
	if got := s.r.Tally().Acked; got > len(events) {
		s.Error("every event was acknowledged during the outage")
	}
	end()
	s.r.WaitAcked(1 + len(events))
	s.poll("the sink to call itself writable again",
		func() bool { return s.s.Status().Writable }, func() string { return s.s.Status().Reason })
	s.close()
	s.checkStored(append(before, events...), true, s.r)
}

func outagePublish(s *stand) {
	_, end := outaged(s)
	events := Events(s.h.Events, Shape{Topics: s.d.Topics, Keys: 40, First: 1})
	done := make(chan struct{})
	go func() { defer close(done); s.publish(events) }()
	select {
	case <-done:
	case <-time.After(s.h.Patience):
		s.Fatalf("Publish waits for a destination that is down")
	}
	end()
	s.r.WaitAcked(1 + len(events))
	s.close()
}

func outageClose(s *stand) {
	_, end := outaged(s)
	defer end()
	s.publish(Events(200, Shape{Topics: s.d.Topics, First: 1}))
	s.r.Wait("a failed write", func(t Tally) bool { return t.Failures > 0 })
	s.close()
}

func outageStatus(s *stand) {
	_, end := outaged(s)
	s.publish(Events(100, Shape{Topics: s.d.Topics, Keys: 1, First: 1}))
	var status sink.Status
	s.poll("a stalled lane in the status", func() bool {
		status = s.s.Status()
		return !status.Writable && len(status.Stalled) > 0
	}, func() string { return "status is that of a healthy sink" })
	if status.Reason == "" || status.Since.IsZero() || time.Since(status.Since) > time.Hour {
		s.Errorf("not writable since %v because %q, want a reason and a time", status.Since, status.Reason)
	}
	for _, lane := range status.Stalled {
		if lane.Name == "" || lane.Err == "" || lane.Events <= 0 || lane.Since.IsZero() {
			s.Errorf("stalled lane %+v, want a name, how many events wait, since when, and the last answer", lane)
		}
	}
	end()
	s.r.WaitAcked(101)
	s.poll("a healthy status", func() bool {
		status = s.s.Status()
		return status.Writable && len(status.Stalled) == 0
	}, func() string { return status.Reason })
	s.close()
}

func answerLost(s *stand) {
	if s.d.LoseAnswer == nil {
		s.Skip("SKIP: this destination cannot be made to lose an answer")
	}
	s.open()
	events := Events(400, Shape{Topics: s.d.Topics})
	s.publish(events[:100])
	s.r.WaitAcked(100)
	s.d.LoseAnswer(s.T)
	s.publish(events[100:])
	s.r.WaitAcked(len(events))
	s.close()
	s.checkStored(events, true, s.r)
}

// closeUnderLoad closes in the middle, several times, and each time publishes again what was not acknowledged.
func closeUnderLoad(s *stand) {
	events := Events(1500, Shape{Topics: s.d.Topics, Keys: 20})
	var receivers []*Receiver
	left := events
	for round := 0; len(left) > 0; round++ {
		s.open()
		receivers = append(receivers, s.r)
		s.publish(left)
		if round < 5 {
			s.r.WaitAcked(min(len(left), round*round*20))
		} else {
			s.r.WaitAcked(len(left))
		}
		s.close()
		s.checkStored(events, false, receivers...)
		acked := map[uint64]bool{}
		for _, ev := range s.r.Acked() {
			acked[ev.Token] = true
		}
		var again []decoder.Event
		for _, ev := range left {
			if !acked[ev.Token] {
				again = append(again, ev)
			}
		}
		left = again
	}
	s.checkStored(events, true, receivers...)
}

func closeUnused(s *stand) {
	s.open()
	if status := s.s.Status(); len(status.Stalled) > 0 {
		s.Errorf("stalled lanes %+v before the first event", status.Stalled)
	}
	s.close()
	s.checkStored(nil, true, s.r)
}

// poisoned makes events of which those that bad picks will be refused for good; it skips where nothing ever is.
func poisoned(s *stand, n int, bad func(*decoder.Event) bool) []decoder.Event {
	s.Helper()
	if s.d.Poison == nil {
		s.Skip("SKIP: this destination refuses no event for good")
	}
	events := Events(n, Shape{Topics: s.d.Topics, Keys: 6})
	for i := range events {
		if bad(&events[i]) {
			s.d.Poison(&events[i])
		}
	}
	return events
}

func rejectTaken(s *stand) {
	events := poisoned(s, 600, func(ev *decoder.Event) bool { return ev.Token == 250 })
	s.open()
	s.publish(events)
	s.r.WaitSettled(len(events))
	s.close()
	if got := s.r.Tally(); got.Rejected != 1 || got.Acked != len(events)-1 {
		s.Errorf("%+v, want one rejected and the others acknowledged", got)
	}
	for _, rejected := range s.r.Rejected() {
		if rejected.Event.Token != 250 {
			s.Errorf("event %d was rejected, want 250", rejected.Event.Token)
		}
	}
	s.checkStored(events, true, s.r)
}

// rejectParks does what the relay does under `park`: once an event is rejected, the later ones of its topic and key are
// diverted. None of them may arrive, although some were sealed behind it.
func rejectParks(s *stand) {
	bad := map[uint64]bool{100: true, 117: true, 134: true, 400: true}
	events := poisoned(s, 900, func(ev *decoder.Event) bool { return bad[ev.Token] })
	s.open()
	parked := map[string]bool{}
	s.r.VerdictIs(func(ev *decoder.Event, _ sink.Rejection) sink.Verdict {
		parked[LaneKey(ev)] = true
		return sink.Taken
	})
	s.r.DivertIf(func(ev *decoder.Event) bool { return parked[LaneKey(ev)] })
	s.labelled(func() { s.s.Publish(events) }) // at once, so that others of the key are sealed behind it
	s.r.WaitSettled(len(events))
	s.close()
	taken := map[uint64]bool{}
	for _, ev := range s.r.Diverted() {
		taken[ev.Token] = true
	}
	for _, rejected := range s.r.Rejected() {
		taken[rejected.Event.Token] = true
	}
	first := map[string]uint64{}
	for i := range events {
		ev := &events[i]
		if bad[ev.Token] && first[LaneKey(ev)] == 0 {
			first[LaneKey(ev)] = ev.Token
		}
		if before := first[LaneKey(ev)]; before != 0 && !taken[ev.Token] {
			s.Errorf("I2: event %d went on, and event %d of its topic and key was rejected", ev.Token, before)
		}
	}
	s.checkStored(events, true, s.r)
}

func rejectSeveral(s *stand) {
	bad := func(ev *decoder.Event) bool { return ev.Token%7 == 0 }
	events := poisoned(s, 300, bad)
	s.open()
	s.publish(events)
	s.r.WaitSettled(len(events))
	s.close()
	if got, want := s.r.Tally().Rejected, len(events)/7; got != want {
		s.Errorf("%d events rejected, want %d", got, want)
	}
	for _, rejected := range s.r.Rejected() {
		if !bad(rejected.Event) {
			s.Errorf("event %d was rejected (%s: %v), and nothing is wrong with it", rejected.Event.Token, rejected.Why.Reason, rejected.Why.Err)
		}
	}
	s.checkStored(events, true, s.r)
}

func rejectHalt(s *stand) {
	const bad = 50
	events := poisoned(s, 600, func(ev *decoder.Event) bool { return ev.Token == bad })
	s.open()
	s.r.VerdictIs(func(*decoder.Event, sink.Rejection) sink.Verdict { return sink.Halt })
	halted := LaneKey(&events[bad-1])
	s.publish(events[:300])
	s.r.Wait("the rejection", func(t Tally) bool { return t.Rejected > 0 })
	s.publish(events[300:]) // a halted lane takes more, and keeps it
	s.poll("the status to name the halted lane", func() bool { return len(s.s.Status().Stalled) > 0 },
		func() string { return "its oldest event was refused, and no lane is stalled" })
	s.close()
	if got := s.r.Tally().Rejected; got != 1 {
		s.Errorf("%d rejections, want one: the lane stays where it is", got)
	}
	for _, ev := range s.r.Acked() {
		if LaneKey(ev) == halted && ev.Token > bad {
			s.Errorf("I2: event %d was acknowledged behind event %d, on which its lane halted", ev.Token, bad)
		}
	}
	for _, rec := range s.d.Stored(s.T) {
		for i := bad - 1; i < len(events); i++ {
			if rec.ID() == string(events[i].ID) && LaneKey(&events[i]) == halted {
				s.Errorf("I2: event %d arrived behind event %d, on which its lane halted", events[i].Token, bad)
			}
		}
	}
}
