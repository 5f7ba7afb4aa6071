package walsender

import (
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// faults is what is wrong with the server at the moment.
type faults struct {
	down       bool
	frozen     bool
	notReading bool
	mute       bool
	hold       bool
	chunk      int
	pause      time.Duration
	cutAfter   int // bytes until the cut; 0: never
	failNext   []failure
}

// writes tells whether anything may be sent.
func (f *faults) writes() bool { return !f.frozen && !f.mute }

type failure struct {
	prefix string
	err    *pgconn.PgError
}

func (s *Server) fault(set func(*faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set(&s.faults)
	if s.faults.frozen || s.faults.notReading {
		for c := range s.conns {
			_ = c.net.SetReadDeadline(time.Unix(1, 0)) // ends the read that is under way
		}
	}
	s.broadcast()
}

// Down makes new connections fail as with no server there; those that stand stay.
func (s *Server) Down(on bool) { s.fault(func(f *faults) { f.down = on }) }

// Freeze stops the server as SIGSTOP does: nothing is read or written, no timeout runs, connections stay; Thaw ends it.
func (s *Server) Freeze() { s.fault(func(f *faults) { f.frozen = true }) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.fault(func(f *faults) { f.frozen = false }) }

// NotReading makes the server read nothing, so that the client's writes block.
func (s *Server) NotReading(on bool) { s.fault(func(f *faults) { f.notReading = on }) }

// Mute makes the server send nothing, not even answers; it reads on.
func (s *Server) Mute(on bool) { s.fault(func(f *faults) { f.mute = on }) }

// Trickle cuts everything that is sent into pieces of n bytes with a pause after each; 0 ends it.
func (s *Server) Trickle(n int, pause time.Duration) {
	s.fault(func(f *faults) { f.chunk, f.pause = n, pause })
}

// CutAfter cuts the connection that sends the nth byte from now on, in the middle of whatever it is.
func (s *Server) CutAfter(n int) { s.fault(func(f *faults) { f.cutAfter = n }) }

// HoldSlots makes CREATE_REPLICATION_SLOT wait, as an open prepared transaction does, until it is cancelled or released. START_REPLICATION
// waits as well, until it is released.
func (s *Server) HoldSlots(on bool) { s.fault(func(f *faults) { f.hold = on }) }

// FailNext answers the next command that begins with prefix (IDENTIFY_SYSTEM, START_REPLICATION, ...; CONNECT: the next
// connection) with err. Several are answered in the order of the calls.
func (s *Server) FailNext(prefix string, err *pgconn.PgError) {
	s.fault(func(f *faults) { f.failNext = append(f.failNext, failure{prefix, err}) })
}

// takeFailure returns the error that a command is to get, once.
func (s *Server) takeFailure(command string) *pgconn.PgError {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults.failNext {
		if strings.HasPrefix(command, f.prefix) {
			s.faults.failNext = append(s.faults.failNext[:i:i], s.faults.failNext[i+1:]...)
			return f.err
		}
	}
	return nil
}

// Cut ends every connection without a word.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.kill()
	}
}

func (s *Server) cut(pid uint32) {
	for c := range s.conns {
		if pid != 0 && c.pid == pid {
			c.kill()
		}
	}
}

// Crash ends every connection and forgets what the slots have confirmed since the last Checkpoint. Commits stay.
func (s *Server) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.free()
		c.kill()
	}
	for _, slot := range s.slots {
		slot.Confirmed = slot.Persisted
	}
}

// Restart is a clean one: a checkpoint, and every stream ends with 57P01.
func (s *Server) Restart() {
	s.mu.Lock()
	s.checkpoint()
	var slots []string
	for name := range s.slots {
		slots = append(slots, name)
	}
	s.mu.Unlock()
	for _, name := range slots {
		s.Terminate(name)
	}
}

// Terminate is pg_terminate_backend of the slot's owner.
func (s *Server) Terminate(slot string) {
	s.Fail(slot, &pgconn.PgError{
		Severity: "FATAL", Code: "57P01", Message: "terminating connection due to administrator command", Routine: "ProcessInterrupts",
	})
}

// Invalidate makes a slot lost, as max_slot_wal_keep_size does; its owner gets the error.
func (s *Server) Invalidate(slot string) {
	s.mu.Lock()
	if p := s.slots[slot]; p != nil {
		p.Lost = true
	}
	s.mu.Unlock()
	s.Terminate(slot)
}

// Fail sends an error to the slot's owner in mid-stream and ends the connection.
func (s *Server) Fail(slot string, err *pgconn.PgError) {
	b, _ := errorResponse(err).Encode(nil)
	s.inject(slot, b, true)
}

// Notice sends a notice to the slot's owner in mid-stream.
func (s *Server) Notice(slot string, err *pgconn.PgError) {
	n := pgproto3.NoticeResponse(*errorResponse(err))
	b, _ := n.Encode(nil)
	s.inject(slot, b, false)
}

// Raw sends any bytes to the slot's owner between two messages.
func (s *Server) Raw(slot string, b []byte) { s.inject(slot, b, false) }

// Keepalive sends a keepalive to the slot's owner, wherever its stream is.
func (s *Server) Keepalive(slot string, reply bool) {
	s.mu.Lock()
	c := s.owner(slot)
	if c == nil {
		s.mu.Unlock()
		return
	}
	b := copyData(PrimaryKeepalive(c.sent, time.Now(), reply))
	s.mu.Unlock()
	s.inject(slot, b, false)
}

func (s *Server) inject(slot string, b []byte, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.owner(slot); c != nil {
		c.queue = append(c.queue, injected{b, last})
		s.broadcast()
	}
}

func errorResponse(e *pgconn.PgError) *pgproto3.ErrorResponse {
	severity := e.Severity
	if severity == "" {
		severity = "ERROR"
	}
	return &pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: e.Code, Message: e.Message, Detail: e.Detail, Hint: e.Hint,
		File: e.File, Line: e.Line, Routine: e.Routine,
	}
}
