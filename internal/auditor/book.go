package auditor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
)

// Position names an event from outside: Begin's commit LSN, and the index among the inserts and messages of the transaction.
type Position struct {
	Commit pglogrepl.LSN
	Index  uint32
}

// Confirmation is a status that confirms events for the first time.
type Confirmation struct {
	At     time.Time
	LSN    pglogrepl.LSN
	Events []Position
}

// Report is what was seen.
type Report struct {
	Sessions, Statuses, Keepalives, Transactions, Events, Confirmed int
	LongestGap                                                      time.Duration // between two statuses of a session
	Violations                                                      []string      // the first hundred
}

// transaction is a Commit that was sent.
type transaction struct {
	end    pglogrepl.LSN
	events []Position
}

// book is what all sessions of a slot have in common.
type book struct {
	late      time.Duration
	confirmed func(Confirmation)

	mu     sync.Mutex
	report Report
	ends   map[pglogrepl.LSN]bool // positions that may be confirmed
	last   pglogrepl.LSN          // end of the newest transaction filed
	due    []transaction          // not yet confirmed, in order
	high   pglogrepl.LSN          // the highest position confirmed
}

// session is one connection; before START_REPLICATION it is of no interest.
type session struct {
	book      *book
	streaming bool
	start     pglogrepl.LSN // where it asked to start
	inside    bool          // between Begin and Commit
	commit    pglogrepl.LSN // of the open transaction
	inserts   uint32
	status    pglogrepl.LSN
	told      time.Time
}

var startReplication = regexp.MustCompile(`(?i)^START_REPLICATION\s+SLOT\s+\S+\s+LOGICAL\s+([0-9A-F]+/[0-9A-F]+)`)

// fail notes a violation; with mu.
func (b *book) fail(format string, args ...any) {
	if len(b.report.Violations) < 100 {
		b.report.Violations = append(b.report.Violations, fmt.Sprintf(format, args...))
	}
}

// fromClient takes one message of the relay, before the server has it.
func (s *session) fromClient(typ byte, body []byte, now time.Time) {
	b := s.book
	b.mu.Lock()
	var news *Confirmation
	switch {
	case typ == 0 && len(body) >= 4 && binary.BigEndian.Uint32(body) == 80877103: // SSLRequest
		b.fail("the relay asks for TLS: it cannot be audited; use sslmode=disable")
	case typ == 'Q' && !s.streaming:
		if m := startReplication.FindSubmatch(body); m != nil {
			s.begin(string(m[1]), now)
		}
	case typ == 'd' && s.streaming && len(body) == 34 && body[0] == 'r':
		news = s.statusUpdate(body[1:], now)
	}
	b.mu.Unlock()
	if news != nil && b.confirmed != nil {
		b.confirmed(*news)
	}
}

func (s *session) begin(at string, now time.Time) {
	b := s.book
	lsn, err := pglogrepl.ParseLSN(at)
	if err != nil {
		b.fail("start at %q: %v", at, err)
	}
	b.report.Sessions++
	s.streaming, s.start, s.told = true, lsn, now
	switch {
	case lsn == 0:
		b.fail("I5: session %d starts at 0/0", b.report.Sessions)
	case lsn < b.high:
		b.fail("I5: session %d starts at %s, and %s was confirmed before", b.report.Sessions, lsn, b.high)
	}
}

// statusUpdate checks a status: written, flushed, applied, time, whether a reply is wanted.
func (s *session) statusUpdate(body []byte, now time.Time) *Confirmation {
	b := s.book
	b.report.Statuses++
	lsn, flushed, applied := lsnAt(body, 0), lsnAt(body, 8), lsnAt(body, 16)
	if lsn != flushed || lsn != applied || lsn == 0 {
		b.fail("status of session %d: positions %s, %s, %s: want the same in all, and not 0", b.report.Sessions, lsn, flushed, applied)
	}
	lsn = max(lsn, flushed, applied) // the server believes each
	if lsn < s.status || lsn < b.high {
		b.fail("I5: status %s after %s", lsn, max(s.status, b.high))
	}
	if lsn != s.start && !b.ends[lsn] {
		b.fail("I3: status %s is neither a transaction's end nor a keepalive between transactions", lsn)
	}
	gap := now.Sub(s.told)
	b.report.LongestGap = max(b.report.LongestGap, gap)
	if gap > b.late {
		b.fail("I6: %s between two statuses, at %s", gap.Round(time.Millisecond), lsn)
	}
	s.status, s.told, b.high = lsn, now, max(b.high, lsn)

	c := &Confirmation{At: now, LSN: lsn}
	n := 0
	for n < len(b.due) && b.due[n].end <= lsn {
		c.Events = append(c.Events, b.due[n].events...)
		n++
	}
	b.due = slices.Delete(b.due, 0, n)
	b.report.Confirmed += len(c.Events)
	if len(c.Events) == 0 {
		return nil
	}
	return c
}

// fromServer takes one message of the walsender, before the relay has it.
func (s *session) fromServer(typ byte, body []byte) {
	if typ != 'd' || len(body) == 0 {
		return
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !s.streaming:
	case body[0] == 'k' && len(body) >= 18:
		b.report.Keepalives++
		if !s.inside {
			b.ends[lsnAt(body, 1)] = true
		}
	case body[0] == 'w' && len(body) > 25:
		s.wal(body[25:])
	}
}

// ours begins a transactional message of prefix cdc_relay, behind its LSN: an event when messages are on, as they are for good
// where this is used with messages.
const ours = "cdc_relay\x00"

// wal follows pgoutput as far as it must: Begin, Insert, Message, Commit (manual, 55.9 Logical Replication Message Formats).
func (s *session) wal(data []byte) {
	b := s.book
	switch data[0] {
	case 'B':
		s.inside, s.commit, s.inserts = true, lsnAt(data, 1), 0
	case 'I':
		s.inserts++
	case 'M':
		if len(data) > 10 && data[1] == 1 && bytes.HasPrefix(data[10:], []byte(ours)) {
			s.inserts++
		}
	case 'C':
		s.inside = false
		end := lsnAt(data, 10)
		b.ends[end] = true
		if end <= b.last {
			return // an earlier session was sent it
		}
		b.last = end
		b.report.Transactions++
		b.report.Events += int(s.inserts)
		tx := transaction{end: end}
		for i := range s.inserts {
			tx.events = append(tx.events, Position{s.commit, i})
		}
		b.due = append(b.due, tx)
	}
}

func lsnAt(b []byte, at int) pglogrepl.LSN {
	if len(b) < at+8 {
		return 0
	}
	return pglogrepl.LSN(binary.BigEndian.Uint64(b[at:]))
}
