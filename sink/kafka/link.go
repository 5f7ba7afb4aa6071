package kafka

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
)

// link is one connection's life: the requests under way on it, in order, and its reader.
type link struct {
	conn    *wire.Conn
	addr    string
	until   time.Time  // when its session has to be renewed; zero: never
	writing sync.Mutex // held while the writer writes: until then batches must not be given back

	flying []*request // with Sink.mu
	spare  []*request
	broken bool
}

// ending says that the link waits for its last answers before the session's end.
func (k *link) ending(now time.Time) bool {
	return k.broken || !k.until.IsZero() && !now.Before(k.until)
}

func (k *link) newRequest() *request {
	if n := len(k.spare); n > 0 {
		req := k.spare[n-1]
		k.spare = k.spare[:n-1]
		return req
	}
	return new(request)
}

func (k *link) free(req *request) {
	clear(req.items)
	req.items = req.items[:0]
	if len(k.spare) < 8 {
		k.spare = append(k.spare, req)
	}
}

// connect dials the broker and starts the reader, or says until when not to try again.
func (s *Sink) connect(ctx context.Context, b *broker) {
	s.mu.Lock()
	addr := b.addr
	s.mu.Unlock()
	conn, err := s.dialer.Dial(ctx, addr)
	now := time.Now()
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		s.unreachable(err)
		s.mu.Lock()
		b.trouble = err
		if b.since.IsZero() {
			b.since = now
		}
		b.notSoon = now.Add(b.redial.Next())
		s.need() // its lanes may have moved
		held := 0
		if len(b.ready) > 0 {
			held = b.ready[0].queue.len()
			if l := b.ready[0]; l.next < len(l.sealed) {
				held = len(l.sealed[l.next].events)
			}
		}
		s.mu.Unlock()
		if held > 0 {
			s.rcv.Attempted(held, "connection")
		}
		return
	}
	b.redial.Reset()
	k := &link{conn: conn, addr: addr, until: conn.Expires}
	s.mu.Lock()
	b.link, b.trouble, b.since = k, nil, time.Time{}
	b.pace.Connected(conn.Near, now)
	s.mu.Unlock()
	s.work.Go(func() { s.read(b, k) })
}

// send writes a request; what goes wrong the reader finds out too, and it alone deals with it.
func (s *Sink) send(b *broker, k *link, req *request) {
	now := time.Now()
	b.next++
	b.entries = b.entries[:0]
	for _, it := range req.items {
		b.entries = append(b.entries, wire.Entry{Topic: it.lane.topic.name, Partition: it.lane.id, Batch: it.batch.buf.B})
	}
	req.correlation, req.sent = b.next, now
	deadline := now.Add(s.cfg.RequestTimeout + answerSlack)
	s.mu.Lock()
	broken := k.broken
	if !broken && s.cfg.Acks != AcksNone {
		k.flying = append(k.flying, req)
		if len(k.flying) == 1 {
			_ = k.conn.SetReadDeadline(deadline)
		}
	}
	b.pace.Sent(now)
	s.mu.Unlock()
	if broken {
		s.lost(req, errBroken)
		return
	}
	k.writing.Lock()
	err := k.conn.Send(&b.produce, req.correlation, b.entries, deadline)
	k.writing.Unlock()
	if err != nil {
		_ = k.conn.Close() // the reader sees it
	}
	if s.cfg.Acks == AcksNone {
		if err != nil {
			s.lost(req, err)
			return
		}
		for i := range req.items {
			s.answer(&req.items[i], wire.OK, nil)
		}
	}
}

var errBroken = fmt.Errorf("the connection ended before the request was sent")

// read is the reader of one connection.
func (s *Sink) read(b *broker, k *link) {
	var req *request
	begin := func(correlation int32) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(k.flying) == 0 || k.flying[0].correlation != correlation {
			return fmt.Errorf("broker %s answered request %d, which is not the next one", k.addr, correlation)
		}
		req = k.flying[0]
		return nil
	}
	at := 0
	each := func(r wire.Result) {
		for range req.items {
			it := &req.items[at%len(req.items)]
			at++
			if it.lane.id == r.Partition && it.lane.topic.name == string(r.Topic) {
				if !it.done {
					s.answer(it, r.Code, r.Message)
				}
				return
			}
		}
	}
	for {
		throttle, err := k.conn.Receive(begin, each)
		if err == nil {
			for i := range req.items {
				if !req.items[i].done {
					err = fmt.Errorf("broker %s did not answer for %s", k.addr, req.items[i].lane.name)
				}
			}
		}
		if err != nil {
			s.hangUp(b, k, err)
			return
		}
		now := time.Now()
		s.mu.Lock()
		b.pace.Answered(now.Sub(req.sent), now)
		k.flying = append(k.flying[:0], k.flying[1:]...)
		if len(k.flying) > 0 {
			_ = k.conn.SetReadDeadline(k.flying[0].sent.Add(s.cfg.RequestTimeout + answerSlack))
		} else {
			_ = k.conn.SetReadDeadline(time.Time{})
		}
		if throttle > 0 {
			b.notSoon = now.Add(throttle)
		}
		k.free(req)
		req, at = nil, 0
		b.signal()
		s.mu.Unlock()
	}
}

// hangUp ends a link: nobody knows what became of the requests under way.
func (s *Sink) hangUp(b *broker, k *link, err error) {
	_ = k.conn.Close()
	k.writing.Lock()   // a write under way has returned
	k.writing.Unlock() //nolint:staticcheck // only waited for
	s.mu.Lock()
	k.broken = true
	if b.link == k {
		b.link = nil
	}
	flying := k.flying
	k.flying = nil
	if len(flying) > 0 {
		s.need()
	}
	b.rewarm = len(flying) == 0
	b.signal()
	s.mu.Unlock()
	for _, req := range flying {
		s.lost(req, err)
	}
}

// lost tells the lanes of a request that its fate is not known.
func (s *Sink) lost(req *request, err error) {
	for i := range req.items {
		if it := &req.items[i]; !it.done {
			s.ambiguous(it, err)
		}
	}
}

// unreachable tells about a broker that cannot be reached, when a person can do something about it.
func (s *Sink) unreachable(err error) {
	if cure := wire.Diagnose(err); cure != "" {
		s.notice(sink.Notice{What: err.Error(), Cure: cure})
	}
}

var _ sink.Sink = (*Sink)(nil)
