package walsender

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

var errGone = errors.New("walsender: connection gone")

// conn is one walsender. serve reads; while it streams, a goroutine of its own writes. Fields after srv.mu's line are
// guarded by it.
type conn struct {
	srv      *Server
	net      net.Conn
	backend  *pgproto3.Backend
	pid      uint32
	timeout  time.Duration
	messages bool // the stream asked for them

	// srv.mu
	closed bool
	cancel bool  // a cancel request came for the command under way
	slot   *Slot // streaming from it
	stream
	queue []injected
}

// stream is the state of one START_REPLICATION.
type stream struct {
	next     int           // index of the next transaction to send
	sent     pglogrepl.LSN // how far the stream is; keepalives say so
	txns     int
	heard    time.Time // when the last status came
	ping     bool      // a keepalive that asks is due
	pong     bool      // a keepalive is due because a status asked
	copyDone bool      // the client is done
	watch    *time.Timer
}

type injected struct {
	bytes []byte
	last  bool
}

func newConn(s *Server, c net.Conn, pid uint32) *conn {
	k := &conn{srv: s, net: c, pid: pid, timeout: s.cfg.WALSenderTimeout}
	k.backend = pgproto3.NewBackend(gate{k}, c)
	return k
}

// gate is the read side, shut while the server is frozen or does not read.
type gate struct{ c *conn }

func (g gate) Read(p []byte) (int, error) {
	for {
		open := func() bool { return !g.c.srv.faults.frozen && !g.c.srv.faults.notReading }
		if !g.c.await(open, func() { _ = g.c.net.SetReadDeadline(time.Time{}) }) {
			return 0, errGone
		}
		n, err := g.c.net.Read(p)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			continue // a fault was switched on while we waited
		}
		return n, err
	}
}

// await waits until cond holds and calls then, both with srv.mu held. It is false when the connection is closed first.
func (c *conn) await(cond func() bool, then func()) bool {
	for {
		c.srv.mu.Lock()
		if c.closed {
			c.srv.mu.Unlock()
			return false
		}
		if cond() {
			if then != nil {
				then()
			}
			c.srv.mu.Unlock()
			return true
		}
		changed := c.srv.changed
		c.srv.mu.Unlock()
		<-changed
	}
}

// kill closes the connection; srv.mu is held.
func (c *conn) kill() {
	c.closed = true
	_ = c.net.Close()
	c.srv.broadcast()
}

// free gives up the slot; srv.mu is held.
func (c *conn) free() {
	if c.slot != nil && c.slot.ActivePID == c.pid {
		c.slot.ActivePID = 0
	}
	c.slot = nil
	c.queue = nil
}

func (c *conn) serve() {
	defer func() {
		c.srv.mu.Lock()
		defer c.srv.mu.Unlock()
		c.free()
		delete(c.srv.conns, c)
		c.kill()
	}()
	if !c.startup() {
		return
	}
	for {
		m, err := c.backend.Receive()
		if err != nil {
			return
		}
		q, ok := m.(*pgproto3.Query)
		if !ok || !c.command(strings.TrimSpace(strings.TrimSuffix(q.String, ";"))) {
			return
		}
	}
}

func (c *conn) startup() bool {
	m, err := c.backend.ReceiveStartupMessage()
	if err != nil {
		return false
	}
	switch m := m.(type) {
	case *pgproto3.CancelRequest:
		c.srv.mu.Lock()
		defer c.srv.mu.Unlock()
		for other := range c.srv.conns {
			if other.pid == m.ProcessID {
				other.cancel = true
				c.srv.broadcast()
			}
		}
		return false
	case *pgproto3.StartupMessage:
		if v, err := strconv.Atoi(m.Parameters["wal_sender_timeout"]); err == nil {
			c.timeout = time.Duration(v) * time.Millisecond
		}
	default:
		return false
	}
	if c.srv.cfg.Password != "" {
		c.backend.Send(&pgproto3.AuthenticationCleartextPassword{})
		if c.flush() != nil || c.backend.SetAuthType(pgproto3.AuthTypeCleartextPassword) != nil {
			return false
		}
		m, err := c.backend.Receive()
		if err != nil {
			return false
		}
		if p, ok := m.(*pgproto3.PasswordMessage); !ok || p.Password != c.srv.cfg.Password {
			c.backend.Send(errorResponse(&pgconn.PgError{
				Severity: "FATAL", Code: "28P01", Message: `password authentication failed for user "relay"`, Routine: "auth_failed",
			}))
			_ = c.flush()
			return false
		}
	}
	if e := c.srv.takeFailure("CONNECT"); e != nil {
		c.backend.Send(errorResponse(e))
		_ = c.flush()
		return false
	}
	c.backend.Send(&pgproto3.AuthenticationOk{})
	c.backend.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: c.srv.cfg.Version})
	c.backend.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	c.backend.Send(&pgproto3.BackendKeyData{ProcessID: c.pid, SecretKey: []byte{1, 2, 3, 4}})
	return c.ready()
}

func (c *conn) ready() bool {
	c.backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return c.flush() == nil
}

// flush writes what the backend has gathered, as any other bytes.
func (c *conn) flush() error {
	if !c.await(func() bool { return c.srv.faults.writes() }, nil) {
		return errGone
	}
	return c.backend.Flush()
}

// refuse answers a command with an error; the connection goes on.
func (c *conn) refuse(e *pgconn.PgError) bool {
	c.backend.Send(errorResponse(e))
	return c.ready()
}

// command runs one command; false ends the connection.
func (c *conn) command(q string) bool {
	if e := c.srv.takeFailure(q); e != nil {
		return c.refuse(e)
	}
	words := strings.Fields(q)
	switch {
	case len(words) == 0 || strings.HasPrefix(q, "--"):
		c.backend.Send(&pgproto3.EmptyQueryResponse{})
		return c.ready()
	case words[0] == "IDENTIFY_SYSTEM":
		c.srv.mu.Lock()
		timeline, end := c.srv.timeline, c.srv.end
		c.srv.mu.Unlock()
		return c.row("systemid", c.srv.cfg.SystemID, "timeline", fmt.Sprint(timeline), "xlogpos", end.String(), "dbname", c.srv.cfg.Database)
	case words[0] == "TIMELINE_HISTORY" && len(words) == 2:
		return c.row("filename", "0000000"+words[1]+".history", "content", c.srv.history())
	case words[0] == "CREATE_REPLICATION_SLOT" && len(words) > 3:
		return c.createSlot(words[1], strings.Contains(q, "FAILOVER"))
	case words[0] == "DROP_REPLICATION_SLOT" && len(words) > 1:
		c.srv.DropSlot(words[1])
		c.backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("DROP_REPLICATION_SLOT")})
		return c.ready()
	case words[0] == "START_REPLICATION" && len(words) > 4 && words[3] == "LOGICAL":
		return c.startReplication(words[2], words[4], option(q, "proto_version"), option(q, "messages") == "true")
	}
	return c.refuse(&pgconn.PgError{Code: "42601", Message: "walsender: unknown command " + q})
}

// row answers with one row of name, value pairs.
func (c *conn) row(pairs ...string) bool {
	var names pgproto3.RowDescription
	var values pgproto3.DataRow
	for i := 0; i < len(pairs); i += 2 {
		names.Fields = append(names.Fields, pgproto3.FieldDescription{Name: []byte(pairs[i]), DataTypeOID: TextOID, DataTypeSize: -1, TypeModifier: -1})
		if pairs[i+1] == "" {
			values.Values = append(values.Values, nil)
		} else {
			values.Values = append(values.Values, []byte(pairs[i+1]))
		}
	}
	c.backend.Send(&names)
	c.backend.Send(&values)
	c.backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
	return c.ready()
}

func (c *conn) createSlot(name string, failover bool) bool {
	name = strings.Trim(name, `"`)
	var refusal *pgconn.PgError
	var point pglogrepl.LSN
	ready := func() bool { return c.cancel || !c.srv.faults.hold }
	if !c.await(ready, func() {
		switch {
		case c.cancel:
			c.cancel = false
			refusal = &pgconn.PgError{Code: "57014", Message: "canceling statement due to user request", Routine: "ProcessInterrupts"}
		case c.srv.slots[name] != nil:
			refusal = &pgconn.PgError{Code: "42710", Message: fmt.Sprintf("replication slot %q already exists", name), Routine: "ReplicationSlotCreate"}
		default:
			slot := c.srv.createSlot(name)
			slot.Failover = failover
			point = slot.Confirmed
		}
	}) {
		return false
	}
	if refusal != nil {
		return c.refuse(refusal)
	}
	return c.row("slot_name", name, "consistent_point", point.String(), "snapshot_name", "", "output_plugin", "pgoutput")
}
