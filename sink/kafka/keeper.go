package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
)

const (
	askTimeout  = 3 * time.Second        // for one answer about the cluster
	hushed      = time.Second            // a request unanswered for that long: look at the cluster
	minInterval = 10 * time.Millisecond  // between two looks, doubling while they bring nothing
	maxInterval = 250 * time.Millisecond // so a leader's election is seen within that
	createEvery = 5 * time.Second
	manyTopics  = 4096 // names remembered without lanes
)

// keeper looks after what the lanes need from the cluster: leaders, partitions, producer ids.
type keeper struct {
	s     *Sink
	conn  *wire.Conn
	stop  func() bool // undoes what ends conn with the sink
	at    int         // which address is tried next
	known []string    // addresses that the cluster named
}

// keep is the keeper's goroutine.
func (s *Sink) keep(ctx context.Context) {
	k := &keeper{s: s}
	defer k.hangUp()
	stop := context.AfterFunc(ctx, s.hangUpAll)
	defer stop()
	pause := sink.Backoff{Min: minInterval, Max: maxInterval}
	ttl := time.NewTicker(min(s.cfg.MetadataTTL, hushed))
	defer ttl.Stop()
	var looked time.Time
	for ctx.Err() == nil {
		s.mu.Lock()
		due := s.needs || time.Since(looked) > s.cfg.MetadataTTL || s.hushed(time.Now())
		s.needs = false
		s.mu.Unlock()
		if !due {
			pause.Reset()
			select {
			case <-s.wake:
			case <-ttl.C:
			case <-ctx.Done():
			}
			continue
		}
		looked = time.Now()
		if err := k.look(ctx); err != nil && ctx.Err() == nil {
			k.hangUp()
			s.unreachable(err)
			s.mu.Lock()
			if s.trouble == nil {
				s.since = time.Now()
			}
			s.trouble, s.needs = err, true
			s.mu.Unlock()
		} else {
			s.mu.Lock()
			if s.trouble != nil {
				s.trouble = nil
				s.forgive("")
			}
			s.mu.Unlock()
		}
		s.rest(ctx, pause.Next())
	}
}

// rest waits before the next look; a new need ends it early, but for the shortest wait.
func (s *Sink) rest(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(minInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	if wait <= minInterval {
		return
	}
	timer.Reset(wait - minInterval)
	select {
	case <-timer.C:
	case <-s.wake:
	case <-ctx.Done():
	}
}

func (s *Sink) hangUpAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.brokers {
		if b.link != nil {
			_ = b.link.conn.Close()
		}
	}
}

// hushed says whether a broker owes an answer for long, or a topic or partition is waited for; with mu.
func (s *Sink) hushed(now time.Time) bool {
	for _, b := range s.brokers {
		if b.link != nil && len(b.link.flying) > 0 && now.Sub(b.link.flying[0].sent) > hushed {
			return true
		}
	}
	for _, t := range s.topics {
		if t.waiting.len() > 0 && !t.halted {
			return true
		}
		for _, l := range t.lanes {
			if l.broker == nil && !l.idle() {
				return true
			}
		}
	}
	return false
}

func (k *keeper) hangUp() {
	if k.conn != nil {
		k.stop()
		_ = k.conn.Close()
		k.conn = nil
	}
}

// connection returns one to any broker that answers; each failure moves on to the next address.
func (k *keeper) connection(ctx context.Context) (*wire.Conn, error) {
	if k.conn != nil && (k.conn.Expires.IsZero() || time.Now().Before(k.conn.Expires)) {
		return k.conn, nil
	}
	k.hangUp()
	all := slices.Concat(k.known, k.s.cfg.Brokers)
	addr := all[k.at%len(all)]
	k.at++
	conn, err := k.s.dialer.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	k.conn = conn
	k.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return conn, nil
}

// look asks for the state of the cluster and acts on it.
func (k *keeper) look(ctx context.Context) error {
	conn, err := k.connection(ctx)
	if err != nil {
		return err
	}
	s := k.s
	s.mu.Lock()
	names := make([]string, 0, len(s.topics))
	for name, t := range s.topics {
		if len(s.topics) > manyTopics && len(t.lanes) == 0 && t.waiting.len() == 0 && s.last != t {
			delete(s.topics, name)
			continue
		}
		if !t.invalid && (len(t.lanes) > 0 || t.waiting.len() > 0) {
			names = append(names, name)
		}
	}
	needsID := s.cfg.idempotent() && s.producer.ID < 0
	s.mu.Unlock()
	slices.Sort(names)

	if needsID {
		if err := k.identify(conn); err != nil {
			return err
		}
	}
	res, err := conn.Metadata(names, askTimeout)
	if err != nil {
		return err
	}
	k.learn(ctx, res)
	for _, t := range res.Topics {
		s.topicAnswer(ctx, k, t, res)
	}
	s.mu.Lock()
	all := make([]*topic, 0, len(s.topics))
	for _, t := range s.topics {
		if t.waiting.len() > 0 {
			all = append(all, t)
		}
	}
	s.mu.Unlock()
	for _, t := range all {
		s.settle(t)
	}
	return nil
}

// identify asks for a producer id.
func (k *keeper) identify(conn *wire.Conn) error {
	id, epoch, err := conn.InitProducerID(askTimeout)
	if err != nil {
		return err
	}
	s := k.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.producer.ID, s.producer.Epoch, s.producer.Sequence = id, epoch, 0
	now := time.Now()
	for _, t := range s.topics {
		for _, l := range t.lanes {
			s.kick(l, now)
		}
	}
	return nil
}

// learn takes over which brokers there are and where.
func (k *keeper) learn(ctx context.Context, res *metadata.Response) {
	s := k.s
	k.known = k.known[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range res.Brokers {
		addr := address(m)
		k.known = append(k.known, addr)
		b := s.brokers[m.NodeID]
		switch {
		case s.ended:
		case b == nil:
			s.newBroker(ctx, m.NodeID, addr)
		case b.addr != addr:
			b.addr = addr
			b.notSoon = time.Time{}
			if b.link != nil {
				_ = b.link.conn.Close()
			}
			b.signal()
		}
	}
}

func address(b metadata.ResponseBroker) string {
	return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
}

// create makes a topic. With ZooKeeper only the controller does; with KRaft any broker passes it on.
func (k *keeper) create(ctx context.Context, t *topic, res *metadata.Response) {
	conn, err := k.conn, error(nil)
	for _, b := range res.Brokers {
		if b.NodeID == res.ControllerID && len(res.Brokers) > 1 {
			if conn, err = k.s.dialer.Dial(ctx, address(b)); err == nil {
				own := conn
				defer context.AfterFunc(ctx, func() { _ = own.Close() })()
				defer func() { _ = own.Close() }()
			}
		}
	}
	if err == nil {
		parts := int32(-1)
		if k.s.cfg.TopicPartitions > 0 {
			parts = int32(k.s.cfg.TopicPartitions)
		}
		err = conn.CreateTopic(t.name, parts, k.s.cfg.RequestTimeout)
	}
	k.s.mu.Lock()
	k.s.needs = true
	k.s.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		var code wire.Code
		cure := "create it by hand, or see why the brokers refuse"
		if errors.As(err, &code) && code.Cure() != "" {
			cure = code.Cure()
		}
		k.s.notice(sink.Notice{Topic: t.name, What: fmt.Sprintf("topic %s does not exist and cannot be created: %v", t.name, err), Cure: cure})
	}
}
