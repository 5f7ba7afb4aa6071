package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/walsender"
)

// ErrLost is what every call of a ledger's connection returns once it is cut.
var ErrLost = errors.New("sim: connection to the database lost")

// Fault is what happens to one call of a ledger. The zero value: nothing.
type Fault struct {
	Delay time.Duration // passes before the statement has any effect
	Err   error         // it has no effect, and this is the answer; the connection stands
	Lost  bool          // it has its effect, and the connection is lost before the answer
	Cut   bool          // the connection is lost before it has any effect
}

// Database is the part of a database that relays write: one slot's mark and dead letters. Create it with NewDatabase; its
// methods are safe to call from any goroutine.
type Database struct {
	srv  *walsender.Server
	slot string

	// MarkWAL is how many bytes of WAL each write of the mark makes; default 144, as measured.
	MarkWAL int
	// Forgery: PUBLIC may write logical messages.
	Forgery bool
	// OnMark is called with each mark that was written, under the database's lock; it may not call the database.
	OnMark func(checkpoint.Update)
	// OnLetter is called after each change of a dead letter, like OnMark.
	OnLetter func(deadletter.Letter)

	mu          sync.Mutex
	mark        *checkpoint.Mark
	fingerprint string // of the publication as it is now
	protocol    checkpoint.Protocol
	claim       *connection
	conns       map[*connection]bool
	fault       func(call string) Fault
	letters     []*deadletter.Letter // in order of parking; ids count from 1
	keys        map[string]*parkedKey
	spans       []span
	older       int64
	writes      int
}

// NewDatabase returns a database without mark, beside srv.
func NewDatabase(srv *walsender.Server, slot string) *Database {
	return &Database{
		srv: srv, slot: slot, MarkWAL: 144, fingerprint: "publication 1",
		protocol: checkpoint.Protocol{Version: checkpoint.ProtocolVersion, CompatibleFrom: 1},
		conns:    map[*connection]bool{}, keys: map[string]*parkedKey{},
	}
}

// Connect opens a connection, as relay.Config.Ledger wants it.
func (d *Database) Connect(context.Context) (relay.Ledger, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &connection{db: d, gone: make(chan struct{})}
	d.conns[c] = true
	return c, nil
}

// Faults sets what happens to each call, by the name of relay.Ledger's method; nil: nothing. It may not call the database.
func (d *Database) Faults(f func(call string) Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// Cut ends every connection; what is under way and has not had its effect never has it.
func (d *Database) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		c.end()
	}
}

// Mark returns the mark, nil when there is none.
func (d *Database) Mark() *checkpoint.Mark {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mark == nil {
		return nil
	}
	m := *d.mark
	return &m
}

// Change lets a test do to the mark's row what somebody else might. f may make, change or remove it.
func (d *Database) Change(f func(*checkpoint.Mark) *checkpoint.Mark) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mark = f(d.mark)
}

// Writes counts the writes of the mark that took effect.
func (d *Database) Writes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

// Pause is `cdc-relay pause` and `resume`.
func (d *Database) Pause(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mark != nil {
		d.mark.Paused = on
	}
}

// ChangePublication is an ALTER PUBLICATION behind the relay's back.
func (d *Database) ChangePublication(to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fingerprint = to
}

// SetProtocol is another version of the schema.
func (d *Database) SetProtocol(p checkpoint.Protocol) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.protocol = p
}

// connection is one ordinary connection: a relay.Ledger.
type connection struct {
	db     *Database
	gone   chan struct{}
	closed bool // db.mu
}

// end cuts the connection; db.mu is held.
func (c *connection) end() {
	if c.closed {
		return
	}
	c.closed = true
	close(c.gone)
	delete(c.db.conns, c)
	if c.db.claim == c {
		c.db.claim = nil
	}
}

// call runs one statement under the faults of the moment: f has db.mu, all at once or not at all.
func (c *connection) call(ctx context.Context, name string, f func() error) error {
	d := c.db
	d.mu.Lock()
	var fault Fault
	if d.fault != nil {
		fault = d.fault(name)
	}
	d.mu.Unlock()
	if fault.Delay > 0 {
		t := time.NewTimer(fault.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.gone:
		case <-ctx.Done(): // as pgx: a statement that was cancelled leaves no connection
			fault.Cut = true
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case c.closed, ctx.Err() != nil, fault.Cut:
		c.end()
		return fmt.Errorf("%s: %w", name, errors.Join(ErrLost, context.Cause(ctx)))
	case fault.Err != nil:
		return fmt.Errorf("%s: %w", name, fault.Err)
	}
	err := f()
	if fault.Lost {
		c.end()
		return fmt.Errorf("%s: %w", name, ErrLost)
	}
	return err
}

// owned is the fence: pid must be the walsender that holds the slot.
func (c *connection) owned(pid uint32, fenced error) error {
	if slot, ok := c.db.srv.Slot(c.db.slot); !ok || slot.ActivePID != pid || pid == 0 {
		return fmt.Errorf("%w: walsender %d, and the slot is held by %d", fenced, pid, slot.ActivePID)
	}
	return nil
}

func (c *connection) Protocol(ctx context.Context) (p checkpoint.Protocol, err error) {
	err = c.call(ctx, "Protocol", func() error { p = c.db.protocol; return nil })
	return p, err
}

func (c *connection) Slot(ctx context.Context) (out *checkpoint.Slot, err error) {
	err = c.call(ctx, "Slot", func() error {
		slot, ok := c.db.srv.Slot(c.db.slot)
		if !ok {
			return nil
		}
		out = &checkpoint.Slot{Confirmed: slot.Confirmed, ActivePID: int32(slot.ActivePID)}
		if slot.Lost {
			out.Lost = "wal_status is lost"
		}
		return nil
	})
	return out, err
}

func (c *connection) Read(ctx context.Context) (out *checkpoint.Mark, err error) {
	err = c.call(ctx, "Read", func() error {
		if c.db.mark != nil {
			m := *c.db.mark
			out = &m
		}
		return nil
	})
	return out, err
}

func (c *connection) Lock(ctx context.Context) (got bool, err error) {
	err = c.call(ctx, "Lock", func() error {
		if got = c.db.claim == nil || c.db.claim == c; got {
			c.db.claim = c
		}
		return nil
	})
	return got, err
}

func (c *connection) Unlock(ctx context.Context) error {
	return c.call(ctx, "Unlock", func() error {
		if c.db.claim != c {
			return errors.New("unlock: not held")
		}
		c.db.claim = nil
		return nil
	})
}

func (c *connection) Intent(ctx context.Context, m checkpoint.Mark) error {
	return c.call(ctx, "Intent", func() error {
		d := c.db
		switch {
		case d.claim != nil && d.claim != c:
			return checkpoint.ErrClaimed
		case d.fingerprint == "":
			return checkpoint.ErrPublicationUnusable
		case d.mark != nil && !d.mark.Creating:
			return checkpoint.ErrMarkExists
		}
		m.Slot, m.Creating, m.Fingerprint = d.slot, true, d.fingerprint
		m.HorizonXID, m.HorizonLSN = 1, d.srv.WALEnd()
		d.mark = &m
		return nil
	})
}

func (c *connection) Complete(ctx context.Context, nonce string, lsn pglogrepl.LSN) error {
	return c.call(ctx, "Complete", func() error {
		d := c.db
		switch {
		case d.claim != nil && d.claim != c:
			return checkpoint.ErrClaimed
		case d.mark == nil:
			return checkpoint.ErrNoMark
		case !d.mark.Creating:
			return checkpoint.ErrMarkExists
		case d.mark.Nonce != nonce:
			return checkpoint.ErrNonce
		case d.mark.Fingerprint != d.fingerprint:
			return checkpoint.ErrPublicationChanged
		}
		d.mark.Creating, d.mark.Nonce, d.mark.LSN = false, "", lsn
		if d.OnMark != nil {
			d.OnMark(checkpoint.Update{LSN: lsn})
		}
		return nil
	})
}

func (c *connection) OlderRows(ctx context.Context) (n int64, err error) {
	err = c.call(ctx, "OlderRows", func() error { n = c.db.older; return nil })
	return n, err
}

// Write is mark_v1.
func (c *connection) Write(ctx context.Context, pid uint32, u checkpoint.Update) error {
	return c.call(ctx, "Write", func() error {
		d := c.db
		m := d.mark
		if m == nil || m.Creating {
			return checkpoint.ErrNoMark
		}
		if err := c.owned(pid, checkpoint.ErrFenced); err != nil {
			return err
		}
		switch {
		case m.SystemID != u.SystemID || m.Incarnation != u.Incarnation || m.Timeline > u.Timeline:
			return checkpoint.ErrIncarnation
		case m.Fingerprint != d.fingerprint:
			return checkpoint.ErrPublicationChanged
		case u.HorizonLSN > u.LSN:
			return checkpoint.ErrHorizon
		}
		openCommit, openIndex := m.OpenCommit, m.OpenIndex
		if m.OpenHash != u.OpenHash {
			openCommit, openIndex = 0, 0
		}
		switch compareMarks(m.LSN, openCommit, openIndex, u) {
		case 0:
			return nil
		case 1:
			return fmt.Errorf("%w: from %s (open %s, index %d) to %s (open %s, index %d)", checkpoint.ErrBackwards,
				m.LSN, m.OpenCommit, m.OpenIndex, u.LSN, u.OpenCommit, u.OpenIndex)
		}
		m.Timeline, m.LSN, m.OpenCommit, m.OpenIndex, m.OpenHash = u.Timeline, u.LSN, u.OpenCommit, u.OpenIndex, u.OpenHash
		if u.HorizonLSN != 0 {
			m.HorizonXID, m.HorizonLSN = u.HorizonXID, u.HorizonLSN
		}
		d.writes++
		if d.OnMark != nil {
			d.OnMark(u)
		}
		if d.MarkWAL > 0 {
			d.srv.AdvanceWAL(d.MarkWAL)
		}
		return nil
	})
}

func compareMarks(lsn, commit pglogrepl.LSN, index uint32, u checkpoint.Update) int {
	for _, pair := range [][2]uint64{{uint64(lsn), uint64(u.LSN)}, {uint64(commit), uint64(u.OpenCommit)}, {uint64(index), uint64(u.OpenIndex)}} {
		switch {
		case pair[0] < pair[1]:
			return -1
		case pair[0] > pair[1]:
			return 1
		}
	}
	return 0
}

// Inspect refuses a mark that another publication was written with.
func (c *connection) Inspect(ctx context.Context, _ string, mark *checkpoint.Mark) (notes []string, err error) {
	err = c.call(ctx, "Inspect", func() error {
		switch {
		case c.db.fingerprint == "":
			return checkpoint.ErrPublicationUnusable
		case mark != nil && !mark.Creating && mark.Fingerprint != c.db.fingerprint:
			return checkpoint.ErrPublicationChanged
		}
		return nil
	})
	return notes, err
}

func (c *connection) Sample(ctx context.Context) (s checkpoint.Sample, err error) {
	err = c.call(ctx, "Sample", func() error {
		d := c.db
		s.WALEnd = d.srv.WALEnd()
		s.HorizonXID, s.HorizonLSN = 1, s.WALEnd
		if d.mark != nil {
			s.Marked, s.Paused = true, d.mark.Paused
		}
		for _, l := range d.letters {
			if l.State == deadletter.Requeue || l.State == deadletter.Drop {
				s.Requested++
			}
		}
		if slot, ok := d.srv.Slot(d.slot); ok {
			s.SlotExists, s.Confirmed, s.Restart, s.ActivePID = true, slot.Confirmed, slot.Confirmed, int32(slot.ActivePID)
			s.WALStatus = "reserved"
		}
		return nil
	})
	return s, err
}

func (c *connection) Close(context.Context) error {
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	c.end()
	return nil
}
