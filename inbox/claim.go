package inbox

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"
)

// claim claims the ids of the messages and returns the indices of those that are to be handled, in order.
func (p *Processor[T]) claim(ctx context.Context, tx T, ms []*Message, ids []UID, outs []Outcome) ([]int, error) {
	asks, firsts := asks(ms, ids)
	answers, err := p.store.Claim(ctx, tx, p.consumer, asks)
	if err != nil {
		return nil, err
	}
	for i := range outs {
		outs[i] = Duplicate // also of a message further up in this batch
	}
	parked := make([]bool, len(ms))
	for n, a := range answers {
		i := firsts[n]
		switch a.State {
		case Fresh:
			outs[i], parked[i] = Unfinished, a.Parked
		case TooOld:
			outs[i] = Expired
		}
	}
	return p.sift(ctx, tx, ms, ids, outs, parked)
}

// asks are the distinct ids, sorted, and for each the index of the first message that has it.
func asks(ms []*Message, ids []UID) ([]Ask, []int) {
	firsts := make([]int, len(ids))
	for i := range firsts {
		firsts[i] = i
	}
	slices.SortStableFunc(firsts, func(a, b int) int { return bytes.Compare(ids[a][:], ids[b][:]) })
	firsts = slices.CompactFunc(firsts, func(a, b int) bool { return ids[a] == ids[b] })
	all := make([]Ask, len(firsts))
	for n, i := range firsts {
		all[n] = Ask{ID: ids[i], Topic: ms[i].Topic, Key: ms[i].Key, Age: age(ms[i], ids[i])}
	}
	return all, firsts
}

// age is the day by which a message below the watermark is judged: that of its v7 id, else of the record. It decides about
// dropping what was finished once, never about where a claim stands.
func age(m *Message, id UID) time.Time {
	if !m.Below {
		return time.Time{}
	}
	if t, ok := id.Time(); ok {
		return t
	}
	return m.Time
}

// sift parks the fresh messages whose key is parked, and returns the indices of the others.
func (p *Processor[T]) sift(ctx context.Context, tx T, ms []*Message, ids []UID, outs []Outcome, parked []bool) ([]int, error) {
	var fresh []int
	for i, m := range ms {
		if outs[i] != Unfinished {
			continue
		}
		if parked[i] {
			waits, err := p.store.ParkBehind(ctx, tx, p.consumer, letterOf(m, ids[i], &Letter{Reason: "waiting", Waiting: true}))
			if err != nil {
				return nil, err
			}
			if waits {
				outs[i] = Parked
				continue
			}
		}
		fresh = append(fresh, i)
	}
	return fresh, nil
}

// letterOf fills in what a letter takes from its message.
func letterOf(m *Message, id UID, l *Letter) *Letter {
	filled := *l
	filled.UID, filled.Message = id, *m
	filled.Key, _ = KeyUID(m.Topic, m.Key)
	filled.Error = clean(l.Error, 4000)
	return &filled
}

// ProcessBatch applies messages of one partition, in their order, in one transaction. When it fails it is rolled back and the
// messages are processed one by one. The answer holds the outcomes of the messages that are finished, from the first on; when
// they are fewer than ms, the error is that of the next one, ms[len(outcomes)], and means what it means for Process.
func (p *Processor[T]) ProcessBatch(ctx context.Context, ms []*Message) ([]Outcome, error) {
	outs := make([]Outcome, 0, len(ms))
	for len(outs) < len(ms) {
		rest := ms[len(outs):]
		run, ids := p.run(rest)
		if run < 2 {
			o, err := p.Process(ctx, rest[0])
			if err != nil {
				return outs, err
			}
			outs = append(outs, o)
			continue
		}
		done, err := p.processRun(ctx, rest[:run], ids)
		outs = append(outs, done...)
		if err != nil {
			return outs, err
		}
	}
	return outs, nil
}

// maxLocks bounds the ids of a transaction that are claimed under a lock of their own: the server has room for some 6,400 in all.
const maxLocks = 250

// run is the number of messages at the front that can share a transaction, and their ids: those that can be identified.
func (p *Processor[T]) run(ms []*Message) (int, []UID) {
	ids := make([]UID, 0, len(ms))
	locks := 0
	for _, m := range ms {
		id, err := p.identify(m)
		if err != nil {
			break
		}
		if _, v7 := id.Time(); !v7 {
			if locks++; locks > maxLocks {
				break
			}
		}
		ids = append(ids, id)
	}
	return len(ids), ids
}

// processRun tries all in one transaction, then each in its own.
func (p *Processor[T]) processRun(ctx context.Context, ms []*Message, ids []UID) ([]Outcome, error) {
	began := time.Now()
	outs, err := p.transact(ctx, func(ctx context.Context, tx T, outs []Outcome) error {
		return p.apply(ctx, tx, ms, ids, outs)
	}, len(ms))
	if err == nil {
		p.count(ms, outs, time.Since(began))
		return outs, nil
	}
	if IsInfrastructure(err) && !outOfMemory(err) {
		return nil, err
	}
	p.o.Metrics.Retry(p.consumer, "batch")
	outs = make([]Outcome, 0, len(ms))
	for _, m := range ms {
		o, err := p.Process(ctx, m)
		if err != nil {
			return outs, err
		}
		outs = append(outs, o)
	}
	return outs, nil
}

// outOfMemory tells whether the server had no room for the batch, most likely for its locks: one message may fit.
func outOfMemory(err error) bool {
	var s interface{ SQLState() string }
	return errors.As(err, &s) && s.SQLState() == "53200"
}
