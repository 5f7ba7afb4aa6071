package sinktest

import "github.com/cdc-relay/cdc-relay/decoder"

// checkStored compares what the destination holds with what was published, key by key: each copy is the event to the byte
// (I9); at first sight the events of a key arrive in order and none is left out before another (I2), but for those that
// the receiver took over; and each acknowledged event is there (I1). With all, nothing but those may be missing.
func (s *stand) checkStored(published []decoder.Event, all bool, receivers ...*Receiver) {
	s.Helper()
	want := map[string]*decoder.Event{}
	for i := range published {
		want[string(published[i].ID)] = &published[i]
	}
	seen := map[string]bool{}
	arrived := map[string][]*decoder.Event{} // by topic and key, at first sight
	wrong := 0
	complain := func(format string, args ...any) {
		s.Helper()
		if wrong++; wrong <= 10 {
			s.Errorf(format, args...)
		}
	}
	for _, rec := range s.d.Stored(s.T) {
		ev := want[rec.ID()]
		if ev == nil {
			complain("the destination holds %+v, which was never published", rec)
			continue
		}
		if diff := rec.Diff(RecordOf(ev)); diff != "" {
			complain("I9: event %d arrived with %s", ev.Token, diff)
		}
		if seen[rec.ID()] {
			if s.d.Once && len(receivers) == 1 { // a sink opened later may repeat what another left unacknowledged
				complain("event %d arrived twice", ev.Token)
			}
			continue
		}
		seen[rec.ID()] = true
		arrived[LaneKey(ev)] = append(arrived[LaneKey(ev)], ev)
	}
	gone := map[string]bool{}
	for _, r := range receivers {
		for _, ev := range r.Diverted() {
			gone[string(ev.ID)] = true
		}
		for _, rejected := range r.Rejected() {
			gone[string(rejected.Event.ID)] = true
		}
		for _, ev := range r.Acked() {
			if !seen[string(ev.ID)] {
				complain("I1: event %d was acknowledged and the destination does not hold it", ev.Token)
			}
		}
	}
	for i := range published {
		ev := &published[i]
		if gone[string(ev.ID)] {
			if seen[string(ev.ID)] {
				complain("event %d was taken over and arrived all the same", ev.Token)
			}
			continue
		}
		lane := LaneKey(ev)
		switch rest := arrived[lane]; {
		case len(rest) == 0:
			if all {
				complain("I1: event %d of %.40q never arrived", ev.Token, lane)
			}
		case rest[0] != ev:
			complain("I2: event %d of %.40q arrived before event %d", rest[0].Token, lane, ev.Token)
			arrived[lane] = rest[1:]
		default:
			arrived[lane] = rest[1:]
		}
	}
	if wrong > 10 {
		s.Errorf("and %d complaints more", wrong-10)
	}
}
