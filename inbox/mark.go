package inbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// neverPublished tells whether a copy on purpose is one that the relay can prove to have reached no consumer before: a dead
// letter that was requeued. Of every other copy (a repaired slot, a replay of what was published) nobody knows from its position
// whether it took effect, so a value that is not known is not believed.
func (m *Message) neverPublished() bool { return strings.HasPrefix(m.Replay, "dlq requeue ") }

// mark does in the mode ByMark what claim does in ByID: it locks the row of the partition and moves it, and returns the indices
// of the messages behind it. Copies on purpose have an old position: they are claimed by id where they are proven to be the first.
func (p *Processor[T]) mark(ctx context.Context, tx T, ms []*Message, ids []UID, outs []Outcome) ([]int, error) {
	var byID []int
	marks := map[MarkPlace]*marked{}
	var order []MarkPlace
	for i, m := range ms {
		switch {
		case m.Replay != "":
			if !m.neverPublished() {
				return nil, halt(fmt.Errorf("%w: %s, event %s, cdc-replay %q: whether it took effect is not known; look for its effect, then process it in Mode: ByID "+
					"(with the claims of before) or skip it by committing the offset behind it", ErrUnproven, m.where(), ids[i], m.Replay))
			}
			byID = append(byID, i)
			continue
		case m.Optimistic:
			outs[i] = Skipped // the relay's copy follows, with its position
			continue
		case m.Position.IsZero():
			return nil, halt(fmt.Errorf("%w: %s, event %s; set position_headers: true at the relay, or use Mode: ByID for topics that others write to",
				ErrNoPosition, m.where(), ids[i]))
		}
		at := MarkPlace{Source: m.Position.Source, Place: Place{Topic: m.Topic, Partition: m.Partition}}
		row := marks[at]
		if row == nil {
			locked, err := p.lockMark(ctx, tx, at, m)
			if err != nil {
				return nil, err
			}
			row = &marked{mark: locked}
			marks[at] = row
			order = append(order, at)
		}
		fresh, err := row.pass(m, ids[i])
		if err != nil {
			return nil, err
		}
		if !fresh {
			outs[i] = Duplicate
		}
	}
	for _, at := range order {
		if row := marks[at]; row.moved {
			if err := p.store.SetMark(ctx, tx, p.consumer, at, row.mark); err != nil {
				return nil, err
			}
		}
	}
	parked, err := p.parkedKeys(ctx, tx, ms, outs)
	if err != nil {
		return nil, err
	}
	if err := p.claimCopies(ctx, tx, ms, ids, outs, byID); err != nil {
		return nil, err
	}
	return p.sift(ctx, tx, ms, ids, outs, parked)
}

// marked is a locked row, and whether it has moved.
type marked struct {
	mark  Mark
	moved bool
}

// pass moves the mark over m, and tells whether m is behind it. The event at the mark must be the one that was there.
func (r *marked) pass(m *Message, id UID) (bool, error) {
	pos := m.Position
	switch {
	case pos.LSN == r.mark.LSN && int64(pos.Index) == r.mark.Index:
		if r.mark.Last != "" && r.mark.Last != id.String() {
			return false, halt(fmt.Errorf("%w: %s: position %s was event %s, now it is %s: the source was restored from a backup without a new "+
				"incarnation; see the relay's restore runbook, and go on in Mode: ByID", ErrPositionReused, m.where(), pos, r.mark.Last, id))
		}
		return false, nil
	case pos.LSN < r.mark.LSN, pos.LSN == r.mark.LSN && int64(pos.Index) < r.mark.Index:
		return false, nil
	}
	r.mark, r.moved = Mark{LSN: pos.LSN, Index: int64(pos.Index), Last: id.String()}, true
	return true, nil
}

// lockMark returns the row of the place, locked. A place without one is new: its source must be known, or follow a known one.
func (p *Processor[T]) lockMark(ctx context.Context, tx T, at MarkPlace, m *Message) (Mark, error) {
	mark, found, err := p.store.LockMark(ctx, tx, p.consumer, at)
	if err != nil || found {
		return mark, err
	}
	sources, err := p.store.Sources(ctx, tx, p.consumer, at.Topic)
	if err != nil {
		return Mark{}, err
	}
	if mark, found, err = p.store.LockMark(ctx, tx, p.consumer, at); err != nil || found { // made while we waited for the sources
		return mark, err
	}
	mark = Mark{Index: -1}
	known := slices.Contains(sources, at.Source)
	if m.Prev.Source != "" && slices.Contains(sources, m.Prev.Source) {
		// After a change of timeline: what stands at or behind the switch is new, what stands before it is what the old source sent.
		old, found, err := p.store.LockMark(ctx, tx, p.consumer, MarkPlace{Source: m.Prev.Source, Place: at.Place})
		if err != nil {
			return Mark{}, err
		}
		if found {
			mark = old
			if old.LSN >= m.Prev.LSN {
				mark = Mark{LSN: m.Prev.LSN, Index: -1}
			}
		}
	} else if !known {
		if err := p.mayBegin(at, m, sources); err != nil {
			return Mark{}, err
		}
	}
	if !known {
		if err := p.store.AddSource(ctx, tx, p.consumer, at.Topic, at.Source); err != nil {
			return Mark{}, err
		}
	}
	if err := p.store.SetMark(ctx, tx, p.consumer, at, mark); err != nil {
		return Mark{}, err
	}
	return mark, nil
}

// mayBegin says whether a source that nothing is known of may be believed.
func (p *Processor[T]) mayBegin(at MarkPlace, m *Message, sources []string) error {
	switch {
	case slices.Contains(p.o.Mark.Sources, at.Source):
		return nil
	case len(sources) > 0:
		return halt(fmt.Errorf("%w: consumer %q, %s carries cdc-source %q, and topic %q is known to come from %q: a failover whose "+
			"cdc-source-prev is missing, a restore, or new shards; find out which, then name it by Store.Announce or "+
			"Options.Mark.Sources, or go on in Mode: ByID", ErrUnknownSource, p.consumer, m.where(), at.Source, at.Topic, sources))
	case p.o.Mark.AcceptFirst:
		return nil
	}
	return halt(fmt.Errorf("%w: consumer %q has no mark of topic %q, whose records carry cdc-source %q; set Options.Mark.AcceptFirst to take "+
		"everything from where the consumer starts as fresh, or name the sources by Options.Mark.Sources", ErrFirstContact, p.consumer, at.Topic, at.Source))
}

// parkedKeys asks which of the messages that are still to be done wait behind a parked key.
func (p *Processor[T]) parkedKeys(ctx context.Context, tx T, ms []*Message, outs []Outcome) ([]bool, error) {
	parked := make([]bool, len(ms))
	if some, err := p.store.AnyParked(ctx, tx, p.consumer); err != nil || !some {
		return parked, err
	}
	var keys []UID
	var at []int
	for i, m := range ms {
		if key, ok := KeyUID(m.Topic, m.Key); ok && outs[i] == Unfinished {
			keys, at = append(keys, key), append(at, i)
		}
	}
	if len(keys) == 0 {
		return parked, nil
	}
	got, err := p.store.ParkedKeys(ctx, tx, p.consumer, keys)
	for n, i := range at {
		parked[i] = err == nil && got[n]
	}
	return parked, err
}

// claimCopies claims by id the copies on purpose that the relay could prove to be unpublished.
func (p *Processor[T]) claimCopies(ctx context.Context, tx T, ms []*Message, ids []UID, outs []Outcome, at []int) error {
	if len(at) == 0 {
		return nil
	}
	some := make([]*Message, len(at))
	for n, i := range at {
		some[n] = ms[i]
		outs[i] = Duplicate
	}
	asks, firsts := asks(some, pick(ids, at))
	answers, err := p.store.Claim(ctx, tx, p.consumer, asks)
	if err != nil {
		return err
	}
	for n, a := range answers {
		switch i := at[firsts[n]]; a.State {
		case Fresh:
			outs[i] = Unfinished
		case TooOld:
			outs[i] = Expired
		}
	}
	return nil
}

// CheckTopic is called by a runner before it reads a topic in the mode ByMark, with the topic's number of partitions: a HaltError
// when it is not the one that the marks were made for. It registers Options.Mark.Sources. In the mode ByID it does nothing.
func (p *Processor[T]) CheckTopic(ctx context.Context, topic string, partitions int) error {
	if p.o.Mode != ByMark {
		return nil
	}
	made, err := p.store.Partitions(ctx, p.consumer, topic, partitions, false)
	if err != nil {
		return err
	}
	if made != partitions {
		return halt(fmt.Errorf("%w: topic %q has %d partitions, the marks of consumer %q were made for %d: keys have moved, and a mark knows nothing of "+
			"what another partition saw; pause the relay, let the consumer reach the end of the topic, call Store.Partitions with accept and resume, "+
			"or use Mode: ByID", ErrPartitionCount, topic, partitions, p.consumer, made))
	}
	if len(p.o.Mark.Sources) == 0 {
		return nil
	}
	return p.store.Announce(ctx, p.consumer, topic, p.o.Mark.Sources...)
}
