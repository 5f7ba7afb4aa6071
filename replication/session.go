package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cdc-relay/cdc-relay/replication/internal/frames"
)

const (
	statusBytes    = 1 + 4 + 1 + 8 + 8 + 8 + 8 + 1 // CopyData with a standby status update
	xlogHeader     = 1 + 8 + 8 + 8
	keepaliveBytes = 1 + 8 + 8 + 1

	lastWords   = 200 * time.Millisecond // how long a broken connection is searched for the server's reason
	stopReading = 50 * time.Millisecond  // see Stop
	stopBytes   = 1 << 20
)

// Start begins to stream at from: the durable mark, or the slot's own position, whichever is further. The server takes the
// larger of from and the slot's confirmed_flush_lsn. It sends every transaction whose commit LSN (not end LSN) is at or
// after that.
//
// A position beyond the server's WAL would be accepted by the server in silence, and all commits below it lost: it is
// refused here (ErrBeyondWAL). When the server refuses to start (a taken slot: Class says Standby), the connection stays
// usable, and Start may be tried again on it. After success the stream owns the connection: Stop ends both.
func (c *Conn) Start(ctx context.Context, from pglogrepl.LSN) (*Stream, error) {
	if c.pg == nil {
		return nil, ErrStreaming
	}
	what := func(err error) error {
		return fmt.Errorf("start replication on slot %q at %s: %w", c.cfg.Slot, from, err)
	}
	if from == 0 {
		return nil, what(ErrZeroLSN)
	}
	if err := c.identify(ctx); err != nil {
		return nil, what(err)
	}
	if from > c.system.WALEnd {
		return nil, what(fmt.Errorf("%w: it ends at %s (system identifier %s, timeline %d)", ErrBeyondWAL, c.system.WALEnd, c.system.ID, c.system.Timeline))
	}
	h, err := c.takeOver(ctx)
	if err != nil {
		return nil, what(err)
	}
	now := time.Now()
	s := &Stream{
		cfg: c.cfg, conn: h.Conn, in: frames.New(h.Conn), confirmed: from, seen: from,
		due: now.Add(c.cfg.StatusInterval), wakeup: make(chan struct{}, 1), timer: time.NewTimer(time.Hour),
	}
	s.timer.Stop()
	query, _ := (&pgproto3.Query{String: startCommand(c.cfg, from)}).Encode(nil)
	if err := s.write(now, query, deadlineOf(ctx)); err != nil {
		return nil, what(err)
	}
	if err := s.begin(ctx); err != nil {
		var refused *pgconn.PgError
		if errors.As(err, &refused) && s.untilReady(ctx) == nil {
			s.unwatch()
			_ = s.conn.SetDeadline(time.Time{})
			if back := c.giveBack(h); back == nil {
				return nil, what(err)
			}
		}
		s.end()
		return nil, what(err)
	}
	s.due = time.Now() // the first status goes out at once: it shows who reads
	return s, nil
}

func startCommand(cfg Config, from pglogrepl.LSN) string {
	name := strings.ReplaceAll(`"`+strings.ReplaceAll(cfg.Publication, `"`, `""`)+`"`, `'`, `''`)
	messages := ""
	if cfg.Messages {
		messages = ", messages 'true'"
	}
	return fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL %s (proto_version '1', publication_names '%s'%s)", cfg.Slot, from, name, messages)
}

// begin waits for the server to switch to copy mode.
func (s *Stream) begin(ctx context.Context) error {
	for {
		typ, body, err := s.message(ctx)
		switch {
		case err != nil:
			return err
		case typ == 'W':
			return nil
		}
		if err := s.aside(typ, body); err != nil {
			return err
		}
	}
}

// untilReady reads up to ReadyForQuery.
func (s *Stream) untilReady(ctx context.Context) error {
	for {
		typ, _, err := s.message(ctx)
		if err != nil || typ == 'Z' {
			return err
		}
	}
}

// message returns the next message of any kind and sends no status meanwhile.
func (s *Stream) message(ctx context.Context) (typ byte, body []byte, err error) {
	for {
		typ, body, ok, err := s.in.Next()
		if ok || err != nil {
			return typ, body, err
		}
		s.watch(ctx)
		deadline := deadlineOf(ctx)
		_ = s.conn.SetReadDeadline(deadline)
		s.armed = false
		if ctx.Err() != nil {
			return 0, nil, context.Cause(ctx)
		}
		if err := s.in.Fill(); err != nil {
			if isTimeout(err) && (ctx.Err() != nil || !deadline.IsZero() && !time.Now().Before(deadline)) {
				return 0, nil, fmt.Errorf("read: %w", errors.Join(context.Cause(ctx), err))
			}
			if !isTimeout(err) {
				return 0, nil, fmt.Errorf("read: %w", lost(err))
			}
		}
	}
}

// copyData takes one CopyData apart (manual, "Streaming Replication Protocol").
func (s *Stream) copyData(b []byte) (Message, error) {
	switch {
	case len(b) >= xlogHeader && b[0] == 'w':
		m := Message{
			Kind:         XLog,
			WALStart:     pglogrepl.LSN(binary.BigEndian.Uint64(b[1:])),
			ServerWALEnd: pglogrepl.LSN(binary.BigEndian.Uint64(b[9:])),
			ServerTime:   serverTime(b[17:]),
			Data:         b[xlogHeader:],
		}
		s.seen = max(s.seen, m.WALStart, m.ServerWALEnd)
		return m, nil
	case len(b) == keepaliveBytes && b[0] == 'k':
		m := Message{
			Kind:           Keepalive,
			ServerWALEnd:   pglogrepl.LSN(binary.BigEndian.Uint64(b[1:])),
			ServerTime:     serverTime(b[9:]),
			ReplyRequested: b[17] != 0,
		}
		s.seen = max(s.seen, m.ServerWALEnd)
		if m.ReplyRequested {
			if err := s.sendStatus(time.Now(), false, time.Time{}); err != nil {
				return Message{}, err
			}
		}
		return m, nil
	case len(b) == 0:
		return Message{}, fmt.Errorf("%w: empty CopyData", ErrProtocol)
	}
	return Message{}, fmt.Errorf("%w: CopyData of kind %q with %d bytes", ErrProtocol, b[0], len(b))
}

func serverTime(b []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b)) + postgresEpoch)
}

// aside handles what is no data: the server's errors and its end of the stream; notices and parameters pass.
func (s *Stream) aside(typ byte, body []byte) error {
	switch typ {
	case 'E':
		return serverError(body)
	case 'N':
		return noticeError(body)
	case 'S', 'A', 'Z':
		return nil
	case 'c', 'C':
		return ErrEnded
	}
	return fmt.Errorf("%w: message %q", ErrProtocol, typ)
}

func serverError(body []byte) error {
	var e pgproto3.ErrorResponse
	if err := e.Decode(body); err != nil {
		return fmt.Errorf("%w: an error that cannot be read: %w", ErrProtocol, err)
	}
	return pgconn.ErrorResponseToPgError(&e)
}

// noticeError finds the one notice that must not pass: from 18 on the server warns that it skips the rows of a publication
// that does not exist at that point of the WAL, where 14 to 17 fail.
func noticeError(body []byte) error {
	var n pgproto3.NoticeResponse
	if n.Decode(body) != nil {
		return nil //nolint:nilerr // a notice that cannot be read is no reason to stop
	}
	e := pgproto3.ErrorResponse(n)
	if pg := pgconn.ErrorResponseToPgError(&e); pg.Routine == "LoadPublications" || strings.HasPrefix(pg.Message, "skipped loading publication") {
		return fmt.Errorf("%w: %w", ErrPublicationSkipped, pg)
	}
	return nil
}

// SendStatus sends a status now, whatever the interval says: after Confirm, when the server should know at once.
func (s *Stream) SendStatus(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	return s.sendStatus(time.Now(), false, deadlineOf(ctx))
}

func (s *Stream) sendWhenDue(now time.Time) error {
	s.unclock = clockEvery
	if now.Before(s.due) {
		return nil
	}
	return s.sendStatus(now, false, time.Time{})
}

func (s *Stream) sendStatus(now time.Time, ask bool, deadline time.Time) error {
	if err := s.awake(now); err != nil {
		return err
	}
	b := s.status[:0]
	b = append(b, 'd', 0, 0, 0, statusBytes-1, 'r')
	for range 3 { // written, flushed, applied: one truth in all (a zero flush would be taken for the written one by some)
		b = binary.BigEndian.AppendUint64(b, uint64(s.confirmed))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMicro()-postgresEpoch))
	if ask {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	if err := s.write(now, b, deadline); err != nil {
		return s.fail(err)
	}
	s.due = now.Add(s.cfg.StatusInterval)
	s.armed = false
	return nil
}

// write sends bytes, within WriteTimeout and the deadline. One that ends half way has broken the stream.
func (s *Stream) write(now time.Time, b []byte, deadline time.Time) error {
	limit := now.Add(s.cfg.WriteTimeout)
	if !deadline.IsZero() && deadline.Before(limit) {
		limit = deadline
	}
	_ = s.conn.SetWriteDeadline(limit)
	_, err := s.conn.Write(b)
	switch {
	case err == nil:
		return nil
	case isTimeout(err):
		return fmt.Errorf("write: %w for %s: %w", ErrNotReading, limit.Sub(now).Round(time.Millisecond), err)
	}
	if said := s.lastWords(); said != nil {
		return said
	}
	return fmt.Errorf("write: %w", lost(err))
}

// lastWords looks in what has already arrived on a broken connection for the server's reason.
func (s *Stream) lastWords() error {
	_ = s.conn.SetReadDeadline(time.Now().Add(lastWords))
	for {
		typ, body, ok, err := s.in.Next()
		switch {
		case err != nil:
			return nil //nolint:nilerr // no last words: the caller has its own error
		case ok && typ == 'E':
			return serverError(body)
		case !ok && s.in.Fill() != nil:
			return nil //nolint:nilerr // as above
		}
	}
}

// Stop sends one last status, takes leave and closes the connection, all within ctx. When it returns nil, the server has
// read the status. What the server had still to send is dropped.
//
// A walsender in the middle of a large transaction looks at what we say only when it cannot write, so Stop stops reading
// for a moment once much has come.
func (s *Stream) Stop(ctx context.Context) error {
	defer s.end()
	if s.err != nil {
		return s.err
	}
	now := time.Now()
	if err := s.sendStatus(now, false, deadlineOf(ctx)); err != nil {
		return err
	}
	if err := s.write(now, []byte{'c', 0, 0, 0, 4}, deadlineOf(ctx)); err != nil {
		return s.wrap(err)
	}
	for dropped := 0; ; {
		typ, body, err := s.message(ctx)
		if err != nil {
			return s.wrap(err)
		}
		if typ == 'c' || typ == 'C' {
			break
		}
		if typ == 'E' {
			return s.wrap(serverError(body))
		}
		if dropped += len(body); dropped > stopBytes {
			dropped = 0
			s.timer.Reset(stopReading)
			select {
			case <-s.timer.C:
			case <-ctx.Done():
			}
		}
	}
	_ = s.write(time.Now(), []byte{'X', 0, 0, 0, 4}, deadlineOf(ctx))
	return nil
}

// end closes the connection.
func (s *Stream) end() {
	s.unwatch()
	s.timer.Stop()
	_ = s.conn.Close()
	if s.err == nil {
		s.err = ErrStopped
	}
}

// fail makes err the stream's end and closes the connection: nothing more can be said on it.
func (s *Stream) fail(err error) error {
	if s.err != nil {
		return s.err
	}
	s.err = s.wrap(err)
	s.end()
	return s.err
}

func (s *Stream) wrap(err error) error {
	return fmt.Errorf("stream slot %q at %s: %w", s.cfg.Slot, s.seen, err)
}

// lost names the end of a connection that said nothing.
func lost(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrLost
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}

func deadlineOf(ctx context.Context) time.Time {
	t, _ := ctx.Deadline()
	return t
}
