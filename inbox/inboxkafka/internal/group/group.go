package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/segmentio/kafka-go"
)

// Config is what Run needs, every field.
type Config struct {
	Brokers   []string
	Dialer    *kafka.Dialer
	ID        string
	Topics    []string
	Session   time.Duration // a member that does not answer for so long is thrown out
	Heartbeat time.Duration
	Drain     time.Duration // for work, once Run's context has ended
	Watch     time.Duration // how often the number of partitions is looked at
	Log       *slog.Logger

	// Partitions returns how many partitions each topic has; a missing topic has none. From a cache: it is called often.
	Partitions func(ctx context.Context, topics []string) (map[string]int, error)
}

// backoff is how long kafka-go waits after a failed join.
const backoff = 500 * time.Millisecond

// Assignment is what a generation gives this member.
type Assignment struct {
	Generation int32
	Partitions []Partition

	commit func(map[string]map[int]int64) error
}

// Partition is one that this member owns for a generation.
type Partition struct {
	Topic  string
	ID     int32
	Offset int64 // as committed; -1: none is
}

// Offset is where a partition's next record lies.
type Offset struct {
	Topic     string
	Partition int32
	Offset    int64
}

// Commit writes offsets to the group's coordinator. It may be called until work returns.
func (a *Assignment) Commit(offsets []Offset) error {
	by := make(map[string]map[int]int64)
	for _, o := range offsets {
		if by[o.Topic] == nil {
			by[o.Topic] = make(map[int]int64)
		}
		by[o.Topic][int(o.Partition)] = o.Offset
	}
	if err := a.commit(by); err != nil {
		return fmt.Errorf("commit offsets in generation %d: %w", a.Generation, err)
	}
	return nil
}

// Work does what is to be done with an assignment. Once soft ends it takes on nothing more, finishes what it has begun and
// returns; once hard ends it gives up.
type Work func(soft, hard context.Context, a *Assignment)

// Causes of a context's end, for logs.
var (
	ErrGenerationEnded = errors.New("the group rebalances")
	ErrAbandoned       = errors.New("the handler did not end in time, another member may own its partition by now")
	errGrown           = errors.New("the number of partitions has changed")
)

// Run is a member of the group until ctx ends. It returns nil then, or what only a change of configuration can mend.
func Run(ctx context.Context, c Config, work Work) error {
	before, err := c.Partitions(ctx, c.Topics)
	if err != nil { // the first generation counts, then
		c.Log.Debug("count partitions", "err", err)
	}
	cg, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: c.ID, Brokers: c.Brokers, Dialer: c.Dialer, Topics: c.Topics,
		GroupBalancers:    []kafka.GroupBalancer{balancer{kafka.RoundRobinGroupBalancer{}, ctx, c}, balancer{kafka.RangeGroupBalancer{}, ctx, c}},
		HeartbeatInterval: c.Heartbeat, SessionTimeout: c.Session, RebalanceTimeout: c.Session,
		JoinGroupBackoff: backoff, StartOffset: kafka.FirstOffset, Timeout: min(c.Session/2, 5*time.Second),
	})
	if err != nil {
		return fmt.Errorf("make a member of group %q: %w", c.ID, err)
	}
	m := &member{Config: c, cg: cg, work: work, idle: make(chan struct{}, 1), before: before}
	m.idle <- struct{}{}
	err = m.loop(ctx)
	// The last generation drains while its heartbeat goes on; only then is the group left.
	<-m.idle
	return errors.Join(err, cg.Close())
}

// balancer is one of kafka-go's, that is not led astray by a missing topic: kafka-go knows no partitions at all then, of any
// topic.
type balancer struct {
	kafka.GroupBalancer

	ctx context.Context
	c   Config
}

// AssignGroups is called when this member leads the group.
func (b balancer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	if len(partitions) == 0 {
		counts, err := b.c.Partitions(b.ctx, b.c.Topics)
		if err != nil {
			b.c.Log.Warn("count partitions", "err", err)
		}
		for topic, n := range counts {
			for i := range n {
				partitions = append(partitions, kafka.Partition{Topic: topic, ID: i})
			}
		}
	}
	return b.GroupBalancer.AssignGroups(members, partitions)
}

type member struct {
	Config

	cg   *kafka.ConsumerGroup
	work Work
	idle chan struct{} // holds a token while no work runs

	// before is how many partitions there were before the last join: a topic that grew while the group joined is noticed, too.
	// Of the generation's function, of which there is one at a time.
	before map[string]int
}

func (m *member) loop(ctx context.Context) error {
	for {
		gen, err := m.cg.Next(ctx)
		if ctx.Err() != nil { // whatever Next says besides
			return nil //nolint:nilerr // the end that was asked for
		}
		switch {
		case fatal(err):
			return fmt.Errorf("join group %q: %w", m.ID, err)
		case err != nil: // kafka-go waits before it tries again, but for a rebalance, where the coordinator does
			m.Log.Warn("join the group", "group", m.ID, "err", err)
			continue
		}
		a := &Assignment{Generation: gen.ID, commit: gen.CommitOffsets}
		for topic, ps := range gen.Assignments {
			for _, p := range ps {
				a.Partitions = append(a.Partitions, Partition{Topic: topic, ID: int32(p.ID), Offset: max(-1, p.Offset)})
			}
		}
		m.Log.Info("joined the group", "group", m.ID, "generation", gen.ID, "partitions", len(a.Partitions))
		select {
		case <-m.idle:
		case <-ctx.Done():
			return nil
		}
		gen.Start(func(generation context.Context) { m.generation(ctx, generation, a) })
	}
}

// generation is a generation's only function beside kafka-go's heartbeat. Its return ends the generation.
func (m *member) generation(ctx, generation context.Context, a *Assignment) {
	soft, end := context.WithCancelCause(context.WithoutCancel(ctx))
	hard, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.work(soft, hard, a)
	}()
	over := m.wait(ctx, generation, a)
	end(over)
	grace := m.Session / 4
	if ctx.Err() != nil {
		grace = m.Drain
	}
	m.drain(generation, done, grace)
	abandon(ErrAbandoned)
	select {
	case <-done:
	case <-time.NewTimer(m.Session / 12).C: // what listens to its context is gone by then
		m.Log.Error("a handler is left behind: it listens to no context, and its database connection was closed", "generation", a.Generation)
	}
	m.idle <- struct{}{}
	if ctx.Err() != nil { // leaving is Run's: a return before it would only join again
		<-generation.Done()
	}
}

// wait returns why a generation is over.
func (m *member) wait(ctx, generation context.Context, a *Assignment) error {
	tick := time.NewTicker(m.Watch)
	defer tick.Stop()
	for {
		now, err := m.Partitions(ctx, m.Topics)
		switch {
		case err != nil:
			m.Log.Debug("count partitions", "err", err)
		case m.before == nil:
			m.before = now
		default:
			for topic, n := range now {
				if was := m.before[topic]; n != was && n > 0 {
					m.Log.Info("a topic has another number of partitions: joining again", "topic", topic, "was", was, "is", n, "generation", a.Generation)
					m.before = now
					return errGrown
				}
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-generation.Done():
			return ErrGenerationEnded
		case <-tick.C:
		}
	}
}

// drain waits for work; a generation that ends while Run's context has ended already cuts the time to what a rebalance has.
func (m *member) drain(generation context.Context, done <-chan struct{}, grace time.Duration) {
	limit := time.NewTimer(grace)
	defer limit.Stop()
	ended := generation.Done()
	if generation.Err() != nil {
		ended = nil
	}
	for {
		select {
		case <-done:
			return
		case <-limit.C:
			return
		case <-ended:
			ended = nil
			limit.Reset(min(grace, m.Session/4))
		}
	}
}

// fatal tells what no waiting mends.
func fatal(err error) bool {
	for _, code := range []kafka.Error{kafka.InconsistentGroupProtocol, kafka.InvalidGroupId, kafka.InvalidSessionTimeout} {
		if errors.Is(err, code) {
			return true
		}
	}
	return errors.Is(err, kafka.ErrGroupClosed)
}
