package sim

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
)

// parkedKey is a row of cdc_relay.parked_key.
type parkedKey struct {
	deadletter.Key
	draining bool
}

func lane(topic string, key []byte) string {
	if key == nil {
		return topic + "\x00\x00"
	}
	return topic + "\x00\x01" + string(key)
}

// holds tells whether a row keeps its key parked.
func holds(l *deadletter.Letter) bool {
	return !l.Alone && !l.State.Resolved() && l.State != deadletter.Dead
}

func (d *Database) changed(l *deadletter.Letter) {
	if d.OnLetter != nil {
		d.OnLetter(*l)
	}
}

// release removes the keys of these lanes that have no row left.
func (d *Database) release(lanes map[string]bool) (released []deadletter.Key) {
	for name := range lanes {
		k := d.keys[name]
		if k != nil && !slices.ContainsFunc(d.letters, func(l *deadletter.Letter) bool { return holds(l) && lane(l.Topic, l.Key) == name }) {
			delete(d.keys, name)
			released = append(released, k.Key)
		}
	}
	return released
}

// Park is park_v1.
func (c *connection) Park(ctx context.Context, pid uint32, letters []deadletter.Letter) (filed []deadletter.Filed, err error) {
	err = c.call(ctx, "Park", func() error {
		d := c.db
		if err := c.owned(pid, deadletter.ErrFenced); err != nil {
			return err
		}
		lanes := map[string]bool{}
		for i := range letters {
			if l := &letters[i]; !l.Alone {
				name := lane(l.Topic, l.Key)
				lanes[name] = true
				if d.keys[name] == nil {
					d.keys[name] = &parkedKey{Key: deadletter.Key{Topic: l.Topic, Key: bytes.Clone(l.Key)}}
				}
			}
		}
		for i := range letters {
			l := letters[i]
			row := d.at(l)
			if row == nil {
				row = d.insert(l)
			}
			filed = append(filed, deadletter.Filed{ID: row.ID, State: row.State})
		}
		d.release(lanes)
		return nil
	})
	return filed, err
}

func (d *Database) at(l deadletter.Letter) *deadletter.Letter {
	for _, row := range d.letters {
		if row.Incarnation == l.Incarnation && row.Position == l.Position {
			return row
		}
	}
	return nil
}

func (d *Database) insert(l deadletter.Letter) *deadletter.Letter {
	name := lane(l.Topic, l.Key)
	behind := slices.ContainsFunc(d.letters, func(o *deadletter.Letter) bool {
		return o.State == deadletter.Requeue && !o.Alone && lane(o.Topic, o.Key) == name && o.Compare(l.Position) > 0
	})
	switch k := d.keys[name]; {
	case l.Alone:
		l.State = deadletter.Dead
	case k != nil && k.draining || behind:
		l.State = deadletter.Requeue
	default:
		l.State = deadletter.Parked
	}
	l.ID = int64(len(d.letters) + 1)
	l.ParkedAt, l.StateAt = time.Now(), time.Now()
	l.Key, l.Value, l.Headers.Bytes = bytes.Clone(l.Key), bytes.Clone(l.Value), bytes.Clone(l.Headers.Bytes)
	d.letters = append(d.letters, &l)
	d.changed(&l)
	return &l
}

func (c *connection) Keys(ctx context.Context) (keys []deadletter.Key, err error) {
	err = c.call(ctx, "Keys", func() error {
		for _, k := range c.db.keys {
			keys = append(keys, k.Key)
		}
		return nil
	})
	return keys, err
}

func (c *connection) Verdicts(ctx context.Context, incarnation string, after pglogrepl.LSN) (out []deadletter.Verdict, err error) {
	err = c.call(ctx, "Verdicts", func() error {
		for _, l := range c.db.letters {
			if l.Incarnation == incarnation && l.Commit >= after {
				out = append(out, deadletter.Verdict{Position: l.Position, ID: l.ID, State: l.State})
			}
		}
		return nil
	})
	return out, err
}

func (c *connection) Pending(ctx context.Context, limit int, underWay ...int64) (out []deadletter.Letter, err error) {
	err = c.call(ctx, "Pending", func() error {
		for _, l := range c.db.letters {
			if (l.State == deadletter.Requeue || l.State == deadletter.Drop) && !slices.Contains(underWay, l.ID) {
				out = append(out, *l)
			}
		}
		slices.SortFunc(out, func(a, b deadletter.Letter) int { return a.Compare(b.Position) })
		out = out[:min(limit, len(out))]
		return nil
	})
	return out, err
}

// Done is dead_letter_done_v1.
func (c *connection) Done(ctx context.Context, pid uint32, results []deadletter.Result) (released []deadletter.Key, err error) {
	err = c.call(ctx, "Done", func() error {
		d := c.db
		if err := c.owned(pid, deadletter.ErrFenced); err != nil {
			return err
		}
		lanes := map[string]bool{}
		for _, r := range results {
			l := d.letters[r.ID-1]
			if !l.Alone {
				lanes[lane(l.Topic, l.Key)] = true
			}
			switch {
			case r.Outcome == deadletter.Published && !l.State.Resolved():
				l.State, l.ResolvedAt = deadletter.Requeued, time.Now()
			case r.Outcome == deadletter.Forgotten && l.State == deadletter.Drop:
				l.State, l.ResolvedAt = deadletter.Dropped, time.Now()
			default:
				continue
			}
			d.changed(l)
		}
		for _, r := range results {
			if r.Outcome == deadletter.Refused {
				d.refuse(d.letters[r.ID-1], r)
			}
		}
		released = d.release(lanes)
		return nil
	})
	return released, err
}

// refuse puts a row that was rejected again back, and those of its key behind it.
func (d *Database) refuse(l *deadletter.Letter, r deadletter.Result) {
	switch l.State {
	case deadletter.Parked, deadletter.Dead, deadletter.Requeue:
	default:
		return
	}
	l.State, l.Reason, l.Error, l.StateAt = deadletter.Parked, r.Reason, r.Error, time.Now()
	l.Tries++
	if l.Alone {
		l.State = deadletter.Dead
	}
	d.changed(l)
	if l.Alone {
		return
	}
	name := lane(l.Topic, l.Key)
	if k := d.keys[name]; k != nil {
		k.draining = false
	}
	for _, o := range d.letters {
		if o.State == deadletter.Requeue && !o.Alone && lane(o.Topic, o.Key) == name && o.Compare(l.Position) > 0 {
			o.State, o.StateAt = deadletter.Parked, time.Now()
			d.changed(o)
		}
	}
}

func (c *connection) Requeue(ctx context.Context, key deadletter.Key) error {
	return c.call(ctx, "Requeue", func() error {
		c.db.verb(deadletter.Requeue, func(l *deadletter.Letter) bool { return lane(l.Topic, l.Key) == lane(key.Topic, key.Key) },
			func(k *parkedKey) bool { return lane(k.Topic, k.Key.Key) == lane(key.Topic, key.Key) })
		return nil
	})
}

func (c *connection) Counts(ctx context.Context) (n deadletter.Counts, err error) {
	err = c.call(ctx, "Counts", func() error {
		for _, l := range c.db.letters {
			if !l.State.Resolved() {
				n.Unresolved++
			}
			if l.State == deadletter.Requeue || l.State == deadletter.Drop {
				n.Marked++
			}
		}
		n.Keys = int64(len(c.db.keys))
		return nil
	})
	return n, err
}

func (c *connection) Prune(ctx context.Context, pid uint32, _ pglogrepl.LSN) error {
	return c.call(ctx, "Prune", func() error { return c.owned(pid, deadletter.ErrFenced) })
}

// verb marks rows of whole keys; d.mu is held.
func (d *Database) verb(to deadletter.State, rows func(*deadletter.Letter) bool, keys func(*parkedKey) bool) (n int) {
	for _, l := range d.letters {
		waits := l.State == deadletter.Parked || l.State == deadletter.Dead || to == deadletter.Drop && l.State == deadletter.Requeue
		if waits && rows(l) {
			l.State, l.StateAt = to, time.Now()
			d.changed(l)
			n++
		}
	}
	for _, k := range d.keys {
		if keys(k) {
			k.draining = true
		}
	}
	return n
}

// RequeueAll is `dlq requeue --all`; it says how many rows it marked.
func (d *Database) RequeueAll() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.verb(deadletter.Requeue, func(*deadletter.Letter) bool { return true }, func(*parkedKey) bool { return true })
}

// DropAll is `dlq drop --all`.
func (d *Database) DropAll() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.verb(deadletter.Drop, func(*deadletter.Letter) bool { return true }, func(*parkedKey) bool { return true })
}

// RequeueRow is `dlq requeue` of one row: it takes the earlier parked rows of its key along.
func (d *Database) RequeueRow(id int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id < 1 || int(id) > len(d.letters) {
		return
	}
	l := d.letters[id-1]
	if l.State.Resolved() {
		return
	}
	name := lane(l.Topic, l.Key)
	for _, o := range d.letters {
		earlier := !l.Alone && !o.Alone && o.State == deadletter.Parked && lane(o.Topic, o.Key) == name && o.Compare(l.Position) < 0
		if o == l || earlier {
			o.State, o.StateAt = deadletter.Requeue, time.Now()
			d.changed(o)
		}
	}
}

// Skip is `cdc-relay skip`: the verdict that the event at a position is passed over.
func (d *Database) Skip(l deadletter.Letter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.Incarnation, l.Alone, l.Reason = d.mark.Incarnation, true, "skipped"
	if d.at(l) != nil {
		return
	}
	row := d.insert(l)
	row.State, row.ResolvedAt = deadletter.Skipped, time.Now()
	d.changed(row)
}

// Letters returns all rows, in the order of parking.
func (d *Database) Letters() []deadletter.Letter {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]deadletter.Letter, len(d.letters))
	for i, l := range d.letters {
		out[i] = *l
	}
	slices.SortFunc(out, func(a, b deadletter.Letter) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// ParkedKeys counts the parked keys.
func (d *Database) ParkedKeys() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.keys)
}

// ParkAs files a letter and parks its key, as an owner does that is gone since.
func (d *Database) ParkAs(l deadletter.Letter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.Incarnation = d.mark.Incarnation
	d.keys[lane(l.Topic, l.Key)] = &parkedKey{Key: deadletter.Key{Topic: l.Topic, Key: l.Key}}
	d.insert(l)
}

// span is a row of cdc_relay.message_span.
type span struct {
	checkpoint.MessageSpan
	closing bool
}

// holdMessages tells whether emit_message would write, and keeps it so until release.
func (d *Database) holdMessages() (on bool, release func()) {
	d.mu.Lock()
	n := len(d.spans)
	return n > 0 && d.spans[n-1].Until == 0 && !d.spans[n-1].closing, d.mu.Unlock
}

func (c *connection) MessageRights(ctx context.Context) (r checkpoint.MessageRights, err error) {
	return checkpoint.MessageRights{Public: c.db.Forgery, OwnerMay: true, Needed: "REVOKE"}, c.call(ctx, "MessageRights", func() error { return nil })
}

func (c *connection) MessageSpans(ctx context.Context, m *checkpoint.Mark) (spans []checkpoint.MessageSpan, err error) {
	err = c.call(ctx, "MessageSpans", func() error {
		for _, s := range c.db.spans {
			if s.Until == 0 || s.Until > m.LSN { // no transaction here is open for long: no horizon
				spans = append(spans, s.MessageSpan)
			}
		}
		return nil
	})
	return spans, err
}

// SwitchMessages is messages_v1, called until it does not answer "again".
func (c *connection) SwitchMessages(ctx context.Context, pid uint32, incarnation string, on bool) error {
	for again := true; again; {
		err := c.call(ctx, "SwitchMessages", func() error {
			d := c.db
			if err := c.owned(pid, checkpoint.ErrFenced); err != nil {
				return err
			}
			if d.mark == nil || d.mark.Incarnation != incarnation {
				return checkpoint.ErrIncarnation
			}
			again = false
			n := len(d.spans)
			open := n > 0 && d.spans[n-1].Until == 0
			switch {
			case on && !open:
				d.spans = append(d.spans, span{MessageSpan: checkpoint.MessageSpan{Since: d.srv.WALEnd()}})
			case on:
				d.spans[n-1].closing = false
			case open && !d.spans[n-1].closing:
				d.spans[n-1].closing, again = true, true
			case open:
				d.spans[n-1].Until, d.spans[n-1].UntilXID = d.srv.WALEnd(), uint64(d.srv.NextXID())
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
