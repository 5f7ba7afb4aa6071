package walsender

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
)

// Config says what the server is; the zero value will do.
type Config struct {
	SystemID         string        // default "7000000000000000001"
	Database         string        // default "app"
	Version          string        // default "18.0"
	Password         string        // asked for when not ""; Conn gives it
	WALSenderTimeout time.Duration // for connections that set none; default 60 s
	Start            pglogrepl.LSN // end of the WAL at the beginning; default 0/1000000
	OnStatus         func(Status)  // called for each status as it arrives, before it takes effect; it may not call the server
}

// Status is one standby status update.
type Status struct {
	Slot                string
	PID                 uint32
	Write, Flush, Apply pglogrepl.LSN
	ReplyRequested      bool
	At                  time.Time // when it arrived
}

// Txn is one committed transaction.
type Txn struct {
	Commit, End pglogrepl.LSN // commit LSN (in Begin), end LSN (in Commit)
	XID         uint32
	At          time.Time

	first pglogrepl.LSN
	parts []part
}

// First is where its WAL begins.
func (t Txn) First() pglogrepl.LSN { return t.first }

type part struct {
	lsn  pglogrepl.LSN
	rel  *Relation // announced first; nil: a message that needs none
	data []byte
	row  *Row // a tableless one: sent to those who ask for messages
}

// sent is what a stream gets of a transaction, in order.
func (t *Txn) sent(messages bool) []part {
	out := make([]part, 0, len(t.parts))
	for _, p := range t.parts {
		last := len(out) - 1
		switch {
		case p.row != nil && !messages:
		case p.row == nil && last >= 0 && out[last].row != nil && out[last].row.Sub && out[last].lsn == p.lsn:
			out = append(out[:last], p, out[last])
		default:
			out = append(out, p)
		}
	}
	return out
}

// Slot is the state of one replication slot.
type Slot struct {
	Name      string
	Confirmed pglogrepl.LSN // confirmed_flush_lsn as shown
	Persisted pglogrepl.LSN // as a crash would leave it
	ActivePID uint32        // 0: nobody
	Lost      bool
	Failover  bool
}

// Server is one cluster with one database. All methods are safe to call from any goroutine.
type Server struct {
	cfg Config

	mu       sync.Mutex
	changed  chan struct{} // closed and made anew whenever something below changes
	timeline int32
	switches []pglogrepl.LSN // where each timeline ended
	end      pglogrepl.LSN
	xid      uint32
	pid      uint32
	txns     []*Txn
	slots    map[string]*Slot
	conns    map[*conn]struct{}
	statuses []Status
	faults   faults
	wg       sync.WaitGroup
}

// New returns a server that runs. Inside a synctest bubble it must be made inside.
func New(cfg Config) *Server {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&cfg.SystemID, "7000000000000000001")
	set(&cfg.Database, "app")
	set(&cfg.Version, "18.0")
	if cfg.WALSenderTimeout == 0 {
		cfg.WALSenderTimeout = time.Minute
	}
	if cfg.Start == 0 {
		cfg.Start = 0x1000000
	}
	return &Server{
		cfg: cfg, changed: make(chan struct{}), timeline: 1, end: cfg.Start, xid: 700, pid: 1000,
		slots: map[string]*Slot{}, conns: map[*conn]struct{}{},
	}
}

// Close cuts every connection and waits for their goroutines.
func (s *Server) Close() {
	s.Down(true)
	s.Cut()
	s.wg.Wait()
}

// Conn is where to connect: fit for replication.Config.Conn.
func (s *Server) Conn(context.Context) (*pgconn.Config, error) {
	cfg, err := pgconn.ParseConfig("host=walsender port=5432 user=relay sslmode=disable database=" + s.cfg.Database)
	if err != nil {
		return nil, fmt.Errorf("walsender: %w", err)
	}
	cfg.Password = s.cfg.Password
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	cfg.DialFunc = s.Dial
	return cfg, nil
}

// Dial opens a connection: fit for pgconn.Config.DialFunc.
func (s *Server) Dial(_ context.Context, network, addr string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", addr, syscall.ECONNREFUSED)}
	}
	ours, theirs := net.Pipe()
	s.pid++
	c := newConn(s, theirs, s.pid)
	s.conns[c] = struct{}{}
	s.wg.Go(c.serve)
	return ours, nil
}

// Commit appends a transaction of these rows to the WAL, as of now.
func (s *Server) Commit(rows ...Row) Txn {
	parts := make([]part, len(rows))
	for i, r := range rows {
		if parts[i] = (part{rel: r.Relation, data: r.Encode()}); r.Tableless {
			parts[i] = part{row: &rows[i], data: r.message(0)}
		}
	}
	return s.append(parts)
}

// CommitMessages is Commit with any messages of pgoutput between Begin and Commit.
func (s *Server) CommitMessages(messages ...[]byte) Txn {
	parts := make([]part, len(messages))
	for i, m := range messages {
		parts[i] = part{data: m}
	}
	return s.append(parts)
}

func (s *Server) append(parts []part) Txn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.xid++
	t := &Txn{XID: s.xid, At: time.Now(), first: s.end, parts: parts}
	at := s.end
	for i := range parts {
		parts[i].lsn = at
		at += pglogrepl.LSN(64+len(parts[i].data)+7) &^ 7
		if row := parts[i].row; row != nil { // as Postgres: where its record ends
			parts[i].lsn, parts[i].data = at, row.message(at)
		}
	}
	t.Commit, t.End = at, at+48
	s.end = t.End
	s.txns = append(s.txns, t)
	s.broadcast()
	return *t
}

// AdvanceWAL writes WAL that is none of the slots' business, and returns its end. Streams that have caught up get a
// keepalive.
func (s *Server) AdvanceWAL(bytes int) pglogrepl.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end += pglogrepl.LSN(bytes+7) &^ 7
	s.broadcast()
	return s.end
}

// WALEnd is the end of the WAL.
func (s *Server) WALEnd() pglogrepl.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// NextXID is the xid of the next transaction.
func (s *Server) NextXID() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.xid + 1
}

// SystemID is the system identifier.
func (s *Server) SystemID() string { return s.cfg.SystemID }

// Promote begins a new timeline, as a failover does.
func (s *Server) Promote() int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timeline++
	s.switches = append(s.switches, s.end)
	return s.timeline
}

// history is the content of the newest timeline's history file.
func (s *Server) history() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for i, at := range s.switches {
		fmt.Fprintf(&b, "%d\t%s\tno recovery target specified\n\n", i+1, at)
	}
	return b.String()
}

// CreateSlot makes a slot whose consistent point is the end of the WAL.
func (s *Server) CreateSlot(name string) Slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.createSlot(name)
}

func (s *Server) createSlot(name string) *Slot {
	slot := &Slot{Name: name, Confirmed: s.end, Persisted: s.end}
	s.slots[name] = slot
	s.broadcast()
	return slot
}

// Slot returns a slot as it is now; ok is false when there is none of that name.
func (s *Server) Slot(name string) (slot Slot, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.slots[name]
	if !ok {
		return Slot{}, false
	}
	return *p, true
}

// Advance moves a slot as pg_replication_slot_advance does.
func (s *Server) Advance(name string, to pglogrepl.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot := s.slots[name]; slot != nil {
		slot.Confirmed = max(slot.Confirmed, to)
		slot.Persisted = slot.Confirmed
	}
}

// DropSlot removes a slot; its owner is cut off.
func (s *Server) DropSlot(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot := s.slots[name]; slot != nil {
		s.cut(slot.ActivePID)
		delete(s.slots, name)
	}
}

// Checkpoint persists what the slots have confirmed.
func (s *Server) Checkpoint() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkpoint()
}

func (s *Server) checkpoint() {
	for _, slot := range s.slots {
		slot.Persisted = slot.Confirmed
	}
}

// Statuses returns every status that has arrived, in order.
func (s *Server) Statuses() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Status(nil), s.statuses...)
}

// Await returns when cond holds, or with the cause of ctx. cond is asked again after every change, without any lock held.
func (s *Server) Await(ctx context.Context, cond func() bool) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// AwaitConfirmed returns when the slot has confirmed lsn.
func (s *Server) AwaitConfirmed(ctx context.Context, slot string, lsn pglogrepl.LSN) error {
	return s.Await(ctx, func() bool {
		p, ok := s.Slot(slot)
		return ok && p.Confirmed >= lsn
	})
}

// broadcast tells every waiter that something changed; mu is held.
func (s *Server) broadcast() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// owner is the connection that streams from a slot; mu is held.
func (s *Server) owner(slot string) *conn {
	for c := range s.conns {
		if c.slot != nil && c.slot.Name == slot {
			return c
		}
	}
	return nil
}

// option returns the value of `name 'value'` in a command.
func option(command, name string) string {
	_, rest, ok := strings.Cut(command, name+" '")
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, "'")
	return value
}
