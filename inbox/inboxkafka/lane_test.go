package inboxkafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// scripted is an inbox in virtual time: the lane's tests say what its handler and its database do.
type scripted struct {
	processor
	store

	mu       sync.Mutex
	handler  func(ctx context.Context, m *inbox.Message) error // a DatabaseError stands for the database
	counting func() error
	known    map[int64]bool
	calls    []string
	attempts map[inbox.UID]int
	aside    []string
}

func (s *scripted) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

func (s *scripted) apply(ctx context.Context, m *inbox.Message) (inbox.Outcome, error) {
	s.mu.Lock()
	known := s.known[m.Offset]
	s.mu.Unlock()
	if known {
		return inbox.Duplicate, nil
	}
	if ctx.Value(siftKey{}) != nil {
		return inbox.Unfinished, errFresh
	}
	if err := s.handler(ctx, m); err != nil {
		return inbox.Unfinished, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[m.Offset] = true
	return inbox.Processed, nil
}

func (s *scripted) Process(ctx context.Context, m *inbox.Message) (inbox.Outcome, error) {
	s.note("one %d", m.Offset)
	return s.apply(ctx, m)
}

func (s *scripted) ProcessBatch(ctx context.Context, ms []*inbox.Message) (done []inbox.Outcome, err error) {
	s.note("batch %d", len(ms))
	for _, m := range ms {
		o, err := s.apply(ctx, m)
		if err != nil {
			return done, err
		}
		done = append(done, o)
	}
	return done, nil
}

func (s *scripted) DeadLetter(_ context.Context, m *inbox.Message, reason string, _ error, attempts int) (inbox.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aside = append(s.aside, fmt.Sprintf("%d %s %d", m.Offset, reason, attempts))
	return inbox.DeadLettered, nil
}

func (s *scripted) AddAttempts(_ context.Context, _ string, id inbox.UID, delta int) (int, error) {
	if s.counting != nil {
		if err := s.counting(); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts[id] = max(0, s.attempts[id]+delta)
	return s.attempts[id], nil
}

func newLane(handler func(ctx context.Context, m *inbox.Message) error) (*lane, *scripted) {
	s := &scripted{handler: handler, known: map[int64]bool{}, attempts: map[inbox.UID]int{}}
	log := slog.New(slog.DiscardHandler)
	l := &lane{log: log, settings: &settings{
		processor: s, store: s, consumer: "c", maxBatch: 10, maxAttempts: 3, minBackoff: 100 * time.Millisecond, maxBackoff: 10 * time.Second,
		handlerTimeout: time.Minute, metrics: inbox.NoMetrics{}, log: log, at: func(string) {},
		alone: make(chan struct{}, 1),
	}}
	l.watch = watchdog{log: log, grace: time.Second, left: func() { s.note("left") }}
	return l, s
}

func deliveries(n int) (ds []*inbox.Message) {
	for i := range n {
		ds = append(ds, &inbox.Message{
			Topic: "t", Offset: int64(i), Key: []byte("k"), Headers: []inbox.Header{{Key: "event_id", Value: fmt.Append(nil, "e", i)}},
		})
	}
	return ds
}

func (s *scripted) id(offset int) inbox.UID {
	u, _ := inbox.Identify(deliveries(offset + 1)[offset], inbox.Reject)
	return u
}

func (s *scripted) want(t *testing.T, calls string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := strings.Join(s.calls, ", "); got != calls {
		t.Errorf("got %s\nwant %s", got, calls)
	}
}

func TestLane_RetriesInPlaceUntilItIsPoison(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, s := newLane(func(_ context.Context, m *inbox.Message) error {
			if m.Offset == 2 {
				return errors.New("no")
			}
			return nil
		})
		settled := 0
		start := time.Now()
		if err := l.run(t.Context(), t.Context(), deliveries(5), func(n int) { settled += n }); err != nil {
			t.Fatal(err)
		}
		s.want(t, "batch 5, one 2, one 2, batch 2") // 3 tries in all, the first of them in the batch
		if settled != 5 || !slices.Equal(s.aside, []string{"2 attempts 3"}) {
			t.Errorf("settled %d, put aside %v", settled, s.aside)
		}
		if took := time.Since(start); took < 150*time.Millisecond || took > 300*time.Millisecond {
			t.Errorf("took %s, want back-off of 0.05-0.1 s and 0.1-0.2 s", took)
		}
	})
}

// The tries of a message stand in the database: a restart does not forget them.
func TestLane_AttemptsSurviveARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, s := newLane(func(context.Context, *inbox.Message) error { return errors.New("no") })
		s.attempts[s.id(0)] = 2
		if err := l.run(t.Context(), t.Context(), deliveries(1), func(int) {}); err != nil {
			t.Fatal(err)
		}
		s.want(t, "one 0")
		if !slices.Equal(s.aside, []string{"0 attempts 3"}) {
			t.Errorf("put aside %v", s.aside)
		}
	})
}

func TestLane_TheDatabaseIsNeverCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := time.Now().Add(time.Hour)
		fails := func() error {
			if time.Now().Before(down) {
				return &inbox.DatabaseError{Err: errors.New("connection refused")}
			}
			return nil
		}
		l, s := newLane(func(context.Context, *inbox.Message) error { return fails() })
		s.counting = fails
		for _, n := range []int{3, 1} { // a batch, and one
			settled := 0
			if err := l.run(t.Context(), t.Context(), deliveries(n), func(n int) { settled += n }); err != nil {
				t.Fatal(err)
			}
			if settled != n || len(s.attempts) != 0 || len(s.aside) != 0 {
				t.Errorf("settled %d, attempts %v, put aside %v", settled, s.attempts, s.aside)
			}
			down, s.known = time.Now().Add(time.Hour), map[int64]bool{}
		}
		if got := len(s.calls); got > 1000 {
			t.Errorf("%d calls in two hours: no back-off", got)
		}
	})
}

// A handler's own time-out (an HTTP call's) is the message's, and is counted.
func TestLane_AHandlersOwnDeadlineIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, s := newLane(func(context.Context, *inbox.Message) error {
			return fmt.Errorf("call the bank: %w", context.DeadlineExceeded)
		})
		if err := l.run(t.Context(), t.Context(), deliveries(1), func(int) {}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.aside, []string{"0 attempts 3"}) {
			t.Errorf("put aside %v", s.aside)
		}
	})
}

// After an unclean end messages go one by one, with the try written first; one that has ended the process too often is put
// aside without being tried again.
func TestLane_AfterAnUncleanEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l *lane
		var s *scripted
		l, s = newLane(func(_ context.Context, m *inbox.Message) error {
			if s.attempts[s.id(int(m.Offset))] == 0 {
				t.Errorf("message %d is handled before its try is written", m.Offset)
			}
			return nil
		})
		l.cautious, l.sifting = 3, true
		s.known[0] = true // not fresh: it does not count as one of the three
		s.attempts[s.id(2)] = l.maxAttempts
		if err := l.run(t.Context(), t.Context(), deliveries(3), func(int) {}); err != nil {
			t.Fatal(err)
		}
		s.want(t, "batch 3, one 1")
		if !slices.Equal(s.aside, []string{"2 crash 3"}) {
			t.Errorf("put aside %v", s.aside)
		}
		s.handler, s.calls = func(context.Context, *inbox.Message) error { return nil }, nil
		if err := l.run(t.Context(), t.Context(), deliveries(9)[3:], func(int) {}); err != nil {
			t.Fatal(err)
		}
		s.want(t, "one 3, one 4, batch 4")
	})
}

// Cautious lanes take turns: a message that only was there when another one ended the process is not blamed.
func TestLane_CautiousLanesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var underway, most int
		l, _ := newLane(func(context.Context, *inbox.Message) error {
			underway++ // racy unless lanes take turns
			most = max(most, underway)
			<-time.After(time.Second)
			underway--
			return nil
		})
		var wg sync.WaitGroup
		for i := range 3 {
			other := *l
			other.cautious = 5
			wg.Go(func() {
				if err := other.run(t.Context(), t.Context(), deliveries(9)[3*i:3*i+3], func(int) {}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if most != 1 {
			t.Errorf("%d messages at once", most)
		}
	})
}

// A shutdown amid a try that was counted first takes the count back: ten deployments are no poison.
func TestLane_AShutdownIsNotCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		soft, stop := context.WithCancel(t.Context())
		l, s := newLane(func(context.Context, *inbox.Message) error {
			stop()
			return &inbox.DatabaseError{Err: errors.New("terminating connection")}
		})
		l.cautious = 1
		if err := l.run(soft, t.Context(), deliveries(1), func(int) {}); err == nil {
			t.Fatal("no error")
		}
		if got := s.attempts[s.id(0)]; got != 0 {
			t.Errorf("%d tries counted, want 0", got)
		}
	})
}

// A handler that hangs is left behind, its message counted and at last put aside; what was beside it in the batch is not blamed.
func TestLane_Watchdog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		l, s := newLane(func(ctx context.Context, m *inbox.Message) error {
			switch m.Offset {
			case 1:
				<-hang // deaf
			case 2:
				<-ctx.Done() // slow, but it listens
				return ctx.Err()
			}
			return nil
		})
		settled := 0
		if err := l.run(t.Context(), t.Context(), deliveries(4), func(n int) { settled += n }); err != nil {
			t.Fatal(err)
		}
		if settled != 4 || !slices.Equal(s.aside, []string{"1 attempts 3", "2 attempts 3"}) {
			t.Errorf("settled %d, put aside %v", settled, s.aside)
		}
		s.want(t, "batch 4, left, one 0, one 1, left, one 1, left, one 1, left, one 2, one 2, one 2, one 3")
	})
}

// Once hard has ended, a deaf handler is left behind within the grace, and nothing more is tried.
func TestLane_GivesUpAfterHard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		l, s := newLane(func(context.Context, *inbox.Message) error { <-hang; return nil })
		soft, stop := context.WithCancel(t.Context())
		hard, abandon := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		time.AfterFunc(3*time.Second, abandon)
		start := time.Now()
		err := l.run(soft, hard, deliveries(3), func(n int) {
			if n > 0 {
				t.Errorf("%d settled", n)
			}
		})
		if err == nil || time.Since(start) != 4*time.Second {
			t.Errorf("ended after %s with %v", time.Since(start), err)
		}
		s.want(t, "batch 3, left")
	})
}

func TestLane_HaltsOnAHaltError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, s := newLane(func(_ context.Context, m *inbox.Message) error {
			if m.Offset == 1 {
				return &inbox.HaltError{Err: inbox.ErrUnknownSource}
			}
			return nil
		})
		settled := 0
		err := l.run(t.Context(), t.Context(), deliveries(3), func(n int) { settled += n })
		if !inbox.IsHalt(err) || !errors.Is(err, inbox.ErrUnknownSource) || settled != 1 || len(s.attempts) != 0 {
			t.Errorf("got %v, settled %d, attempts %v", err, settled, s.attempts)
		}
	})
}

func TestLane_RetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		l, _ := newLane(func(context.Context, *inbox.Message) error {
			if tries++; tries == 1 {
				return inbox.RetryAfter(time.Hour, errors.New("closed on Sundays"))
			}
			return nil
		})
		start := time.Now()
		if err := l.run(t.Context(), t.Context(), deliveries(1), func(int) {}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != time.Hour || tries != 2 {
			t.Errorf("tried %d times in %s", tries, took)
		}
	})
}
