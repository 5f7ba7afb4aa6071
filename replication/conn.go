package replication

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/replication/internal/socket"
)

// cancelGrace is how long CreateSlot waits for the server to take a cancel request in.
const cancelGrace = 5 * time.Second

// System is what IDENTIFY_SYSTEM says of the server.
type System struct {
	ID       string // system identifier, decimal
	Timeline int32
	WALEnd   pglogrepl.LSN // end of the WAL that is flushed to disk
	Database string
	Version  int // as server_version_num: 150019 is 15.19; 0 when the server does not say
}

// Conn is a logical replication connection that does not stream yet. One goroutine uses it.
type Conn struct {
	cfg    Config
	pg     *pgconn.PgConn // nil once a Stream owns the connection
	raw    net.Conn       // the stream's, once there is one
	pid    uint32
	system System
}

// Connect opens a replication connection and asks who the server is. ctx bounds it.
func Connect(ctx context.Context, cfg Config) (*Conn, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("replication configuration: %w", err)
	}
	connConfig, err := cfg.connConfig(ctx)
	if err != nil {
		return nil, err
	}
	pg, err := pgconn.ConnectConfig(ctx, connConfig)
	if err != nil {
		return nil, fmt.Errorf("connect for replication: %w", err)
	}
	c := &Conn{cfg: cfg, pg: pg, pid: pg.PID()}
	if err := c.identify(ctx); err != nil {
		_ = pg.Close(ctx)
		return nil, err
	}
	return c, nil
}

// System is what the server said of itself at Connect, or at the last Start.
func (c *Conn) System() System { return c.system }

// PID is the walsender's process id, as pg_replication_slots.active_pid shows it while it streams.
func (c *Conn) PID() uint32 { return c.pid }

// Messages overrides Config.Messages for the Start that follows.
func (c *Conn) Messages(on bool) { c.cfg.Messages = on }

func (c *Conn) identify(ctx context.Context) error {
	r, err := pglogrepl.IdentifySystem(ctx, c.pg)
	if err != nil {
		return fmt.Errorf("identify system: %w", err)
	}
	c.system = System{
		ID: r.SystemID, Timeline: r.Timeline, WALEnd: r.XLogPos, Database: r.DBName,
		Version: versionNumber(c.pg.ParameterStatus("server_version")),
	}
	return nil
}

// TimelineHistory returns the history file of a timeline: a line for each switch, "timeline, LSN, reason". Timeline 1 has
// none (58P01).
func (c *Conn) TimelineHistory(ctx context.Context, timeline int32) ([]byte, error) {
	if c.pg == nil {
		return nil, ErrStreaming
	}
	r, err := pglogrepl.TimelineHistory(ctx, c.pg, timeline)
	if err != nil {
		return nil, fmt.Errorf("history of timeline %d: %w", timeline, err)
	}
	return r.Content, nil
}

// CreateSlot makes the slot and returns its consistent point: transactions that commit after it are sent. failover (17 and
// later) lets standbys synchronise it. The publication must exist before.
//
// The server waits for every transaction that is open, a prepared one among them, however long. When ctx ends the command
// is cancelled, which leaves no slot behind, and the error is ErrSlotWaits.
func (c *Conn) CreateSlot(ctx context.Context, slot string, failover bool) (pglogrepl.LSN, error) {
	if c.pg == nil {
		return 0, ErrStreaming
	}
	if err := ValidSlotName(slot); err != nil {
		return 0, err
	}
	action := "(SNAPSHOT 'nothing')"
	switch {
	case failover && c.system.Version < 170000:
		return 0, fmt.Errorf("create slot %q: %w", slot, ErrNoFailover)
	case failover:
		action = "(SNAPSHOT 'nothing', FAILOVER true)"
	case c.system.Version < 150000:
		action = "NOEXPORT_SNAPSHOT"
	}

	// A client that only hangs up leaves the server waiting, with the slot half made: cancel, then wait for the answer.
	free, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	stop := context.AfterFunc(ctx, func() {
		grace, done := context.WithTimeout(free, cancelGrace)
		defer done()
		_ = c.pg.CancelRequest(grace)
		<-grace.Done() // no answer: give up on the connection
		release()
	})
	defer stop()
	r, err := pglogrepl.ParseCreateReplicationSlot(
		c.pg.Exec(free, "CREATE_REPLICATION_SLOT "+slot+" LOGICAL pgoutput "+action))
	if err != nil && ctx.Err() != nil {
		return 0, fmt.Errorf("create slot %q: %w (%w)", slot, ErrSlotWaits, context.Cause(ctx))
	}
	if err != nil {
		return 0, fmt.Errorf("create slot %q: %w", slot, err)
	}
	point, err := pglogrepl.ParseLSN(r.ConsistentPoint)
	if err != nil {
		return 0, fmt.Errorf("create slot %q: consistent point %q: %w", slot, r.ConsistentPoint, err)
	}
	return point, nil
}

// Close ends the connection; a stream on it is cut without a last status (Stream.Stop sends one). ctx bounds the goodbye.
func (c *Conn) Close(ctx context.Context) {
	if c.pg != nil {
		_ = c.pg.Close(ctx)
		return
	}
	_ = c.raw.Close()
}

// takeOver makes the bare connection ours: from here on nothing of pgconn touches it.
func (c *Conn) takeOver(ctx context.Context) (*pgconn.HijackedConn, error) {
	if err := c.pg.SyncConn(ctx); err != nil {
		return nil, err
	}
	h, err := c.pg.Hijack()
	if err != nil {
		return nil, err
	}
	c.pg, c.raw = nil, h.Conn
	gather(h.Conn, true)
	return h, nil
}

// giveBack returns a connection that has not begun to stream to pgconn.
func (c *Conn) giveBack(h *pgconn.HijackedConn) error {
	gather(h.Conn, false)
	pg, err := pgconn.Construct(h)
	if err != nil {
		return err
	}
	c.pg, c.raw = pg, nil
	return nil
}

// gather switches the gathering of reads; it works below TLS, where the bytes come from.
func gather(conn net.Conn, on bool) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if s, ok := conn.(*socket.Conn); ok {
		s.Gather(on)
	}
}

// versionNumber turns "15.19 (Debian 15.19-1)" into 150019, "18beta1" into 180000.
func versionNumber(s string) int {
	digits := func(s string) (int, string) {
		end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(s)
		}
		n, _ := strconv.Atoi(s[:end])
		return n, s[end:]
	}
	major, rest := digits(s)
	minor := 0
	if strings.HasPrefix(rest, ".") {
		minor, _ = digits(rest[1:])
	}
	return major*10000 + minor
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
