package walsender

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// startReplication streams until the client is done (true: it may send the next command) or the connection ends.
func (c *conn) startReplication(name, from, proto string, messages bool) bool {
	c.messages = messages
	if !c.await(func() bool { return !c.srv.faults.hold }, nil) {
		return false
	}
	start, err := pglogrepl.ParseLSN(from)
	if err != nil || proto != "1" {
		return c.refuse(&pgconn.PgError{Code: "22023", Message: fmt.Sprintf("walsender: START LSN %q, proto_version %q", from, proto)})
	}
	if e := c.acquire(name, start); e != nil {
		return c.refuse(e)
	}
	c.backend.Send(&pgproto3.CopyBothResponse{OverallFormat: 0})
	if c.flush() != nil {
		return false
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if !c.send() {
			c.srv.mu.Lock()
			defer c.srv.mu.Unlock()
			c.kill()
		}
	}()
	c.receive()
	<-done
	c.srv.mu.Lock()
	c.watch.Stop()
	c.free()
	closed := c.closed
	c.srv.broadcast()
	c.srv.mu.Unlock()
	if closed {
		return false
	}
	c.backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("COPY 0")})
	return c.ready()
}

// acquire takes the slot and sets the stream to its beginning.
func (c *conn) acquire(name string, start pglogrepl.LSN) *pgconn.PgError {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	slot := c.srv.slots[name]
	switch {
	case slot == nil:
		return &pgconn.PgError{Code: "42704", Message: fmt.Sprintf("replication slot %q does not exist", name), Routine: "ReplicationSlotAcquire"}
	case slot.Lost:
		return &pgconn.PgError{Code: "55000", Message: fmt.Sprintf("can no longer get changes from replication slot %q", name), Routine: "ReplicationSlotAcquire"}
	case slot.ActivePID != 0:
		return &pgconn.PgError{Code: "55006", Message: fmt.Sprintf("replication slot %q is active for PID %d", name, slot.ActivePID), Routine: "ReplicationSlotAcquire"}
	}
	slot.ActivePID = c.pid
	c.slot = slot
	from := max(start, slot.Confirmed)
	c.stream = stream{sent: slot.Confirmed, heard: time.Now()}
	for c.next < len(c.srv.txns) && c.srv.txns[c.next].Commit < from {
		c.next++
	}
	if c.timeout > 0 {
		c.watch = time.AfterFunc(c.timeout/2, c.watchdog)
	} else {
		c.watch = time.AfterFunc(1<<62, func() {})
	}
	c.srv.broadcast()
	return nil
}

// watchdog is wal_sender_timeout: it asks for a sign of life at half the time, and ends the connection at the whole.
func (c *conn) watchdog() {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	silent := time.Since(c.heard)
	switch {
	case c.slot == nil || c.closed:
		return
	case c.srv.faults.frozen:
		c.watch.Reset(c.timeout / 2)
	case silent >= c.timeout:
		c.kill()
	case silent >= c.timeout/2:
		c.ping = true
		c.watch.Reset(c.timeout - silent)
		c.srv.broadcast()
	default:
		c.watch.Reset(c.timeout/2 - silent)
	}
}

// receive reads what the client says while it streams, until it is done or gone.
func (c *conn) receive() {
	defer func() {
		c.srv.mu.Lock()
		defer c.srv.mu.Unlock()
		c.copyDone = true
		c.srv.broadcast()
	}()
	for {
		m, err := c.backend.Receive()
		if err != nil {
			c.srv.mu.Lock()
			c.kill()
			c.srv.mu.Unlock()
			return
		}
		switch m := m.(type) {
		case *pgproto3.CopyData:
			c.take(m.Data)
		case *pgproto3.CopyDone:
			return
		default:
			c.srv.mu.Lock()
			c.kill()
			c.srv.mu.Unlock()
			return
		}
	}
}

// take files one status.
func (c *conn) take(b []byte) {
	if len(b) != 34 || b[0] != 'r' {
		return
	}
	lsn := func(at int) pglogrepl.LSN { return pglogrepl.LSN(binary.BigEndian.Uint64(b[at:])) }
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	if c.slot == nil {
		return
	}
	st := Status{
		Slot: c.slot.Name, PID: c.pid, Write: lsn(1), Flush: lsn(9), Apply: lsn(17), ReplyRequested: b[33] != 0, At: time.Now(),
	}
	if c.srv.cfg.OnStatus != nil {
		c.srv.cfg.OnStatus(st)
	}
	c.srv.statuses = append(c.srv.statuses, st)
	c.slot.Confirmed = max(c.slot.Confirmed, st.Flush)
	c.heard = st.At
	c.pong = c.pong || st.ReplyRequested
	c.srv.broadcast()
}

// send writes the stream until the client is done; false when the connection has to end.
func (c *conn) send() bool {
	relations := map[uint32]*Relation{}
	for {
		var out []byte
		var txn *Txn
		done, last := false, false
		ok := c.await(func() bool { return c.srv.faults.writes() && c.pending() }, func() {
			switch {
			case c.copyDone:
				done = true
			case len(c.queue) > 0:
				out, last = c.queue[0].bytes, c.queue[0].last
				c.queue = c.queue[1:]
			case c.next < len(c.srv.txns):
				txn = c.srv.txns[c.next]
			default:
				c.sent = c.srv.end
				out = copyData(PrimaryKeepalive(c.sent, time.Now(), c.ping))
				c.ping, c.pong = false, false
			}
		})
		switch {
		case !ok:
			return false
		case done:
			return c.write([]byte{'c', 0, 0, 0, 4})
		case txn != nil:
			if !c.sendTxn(txn, relations) {
				return false
			}
		case !c.write(out) || last:
			return false
		}
	}
}

// pending tells whether there is something to send; srv.mu is held. A stream that has caught up says how far the WAL is.
func (c *conn) pending() bool {
	return c.copyDone || len(c.queue) > 0 || c.next < len(c.srv.txns) || c.ping || c.pong || c.sent < c.srv.end
}

// sendTxn writes one transaction. Between its messages go keepalives that are due and what was injected; it ends early
// when the client is done.
func (c *conn) sendTxn(t *Txn, relations map[uint32]*Relation) bool {
	now := time.Now()
	if !c.piece(t.first, t.first, Begin(t.Commit, t.At, t.XID)) {
		return false
	}
	for _, p := range t.sent(c.messages) {
		var out []byte
		last, done := false, false
		if !c.await(func() bool { return c.srv.faults.writes() }, func() {
			done = c.copyDone
			if len(c.queue) > 0 {
				out, last = c.queue[0].bytes, c.queue[0].last
				c.queue = c.queue[1:]
			} else if c.ping || c.pong {
				out = copyData(PrimaryKeepalive(c.sent, now, c.ping))
				c.ping, c.pong = false, false
			}
		}) {
			return false
		}
		if done {
			return true
		}
		if out != nil && (!c.write(out) || last) {
			return false
		}
		if p.rel != nil && relations[p.rel.OID] != p.rel {
			relations[p.rel.OID] = p.rel
			if !c.piece(0, 0, p.rel.Encode()) { // as Postgres: a Relation lies nowhere
				return false
			}
		}
		if !c.piece(p.lsn, p.lsn, p.data) {
			return false
		}
	}
	if !c.piece(t.End, t.End, Commit(t.Commit, t.End, t.At)) {
		return false
	}
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	c.next++
	c.txns++
	c.sent = max(c.sent, t.End)
	return true
}

func (c *conn) piece(start, end pglogrepl.LSN, data []byte) bool {
	return c.write(copyData(XLogData(start, end, time.Now(), data)))
}

// write sends bytes under the faults of the moment.
func (c *conn) write(b []byte) bool {
	for len(b) > 0 {
		n := len(b)
		var pause time.Duration
		cut := false
		if !c.await(func() bool { return c.srv.faults.writes() }, func() {
			f := &c.srv.faults
			if f.chunk > 0 {
				n, pause = min(n, f.chunk), f.pause
			}
			if f.cutAfter > 0 {
				n = min(n, f.cutAfter)
				if f.cutAfter -= n; f.cutAfter == 0 {
					cut = true
				}
			}
		}) {
			return false
		}
		if _, err := c.net.Write(b[:n]); err != nil || cut {
			return false
		}
		b = b[n:]
		if pause > 0 {
			<-time.After(pause)
		}
	}
	return true
}
