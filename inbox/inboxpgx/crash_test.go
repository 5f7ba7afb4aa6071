package inboxpgx_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
)

// The points at which a child process kills itself, and the modes in which it works.
var (
	crashPoints = []string{"before begin", "after begin", "before claim", "after claim", "in handler", "before letter", "after letter", "before commit", "after commit"}
	crashModes  = []string{"single", "batch", "mark", "mark batch", "poison", "poison batch", "play"}
)

const crashEnv = "CDC_RELAY_TEST_INBOX_CRASH"

// suicidal is a store whose process dies at a point, by SIGKILL: no defer runs, no rollback is sent.
type suicidal struct {
	*inboxpgx.Store
	point string
}

func (s suicidal) at(point string) {
	if s.point == point {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (s suicidal) Tx(ctx context.Context, f func(context.Context, pgx.Tx) error) error {
	s.at("before begin")
	err := s.Store.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		s.at("after begin")
		err := f(ctx, tx)
		if err == nil {
			s.at("before commit")
		}
		return err
	})
	if err == nil {
		s.at("after commit")
	}
	return err
}

func (s suicidal) Claim(ctx context.Context, tx pgx.Tx, consumer string, asks []inbox.Ask) ([]inbox.Answer, error) {
	s.at("before claim")
	a, err := s.Store.Claim(ctx, tx, consumer, asks)
	s.at("after claim")
	return a, err
}

func (s suicidal) LockMark(ctx context.Context, tx pgx.Tx, consumer string, at inbox.MarkPlace) (inbox.Mark, bool, error) {
	s.at("before claim")
	return s.Store.LockMark(ctx, tx, consumer, at)
}

func (s suicidal) SetMark(ctx context.Context, tx pgx.Tx, consumer string, at inbox.MarkPlace, m inbox.Mark) error {
	err := s.Store.SetMark(ctx, tx, consumer, at, m)
	s.at("after claim")
	return err
}

func (s suicidal) AddLetter(ctx context.Context, tx pgx.Tx, consumer string, l *inbox.Letter, parkKey bool) error {
	s.at("before letter")
	err := s.Store.AddLetter(ctx, tx, consumer, l, parkKey)
	s.at("after letter")
	return err
}

func (s suicidal) TakeLetter(ctx context.Context, tx pgx.Tx, consumer string, id int64) (*inbox.Letter, error) {
	s.at("before letter")
	l, err := s.Store.TakeLetter(ctx, tx, consumer, id)
	s.at("after letter")
	return l, err
}

// crashMessages are the same in each process: ids and positions are made from the numbers.
func crashMessages() []*inbox.Message {
	day := time.Now().UTC().Truncate(24 * time.Hour).UnixMilli()
	var ms []*inbox.Message
	for n := range 4 {
		ms = append(ms, &inbox.Message{
			Topic: "orders", Offset: int64(n), Key: fmt.Appendf(nil, "k%d", n%2), Value: []byte("{}"),
			Headers: []inbox.Header{
				{Key: "event_id", Value: fmt.Appendf(nil, "%08x-%04x-7000-8000-%012x", day>>16, day&0xffff, n)},
				{Key: "cdc-source", Value: []byte("1:1:a:s")},
				{Key: "cdc-lsn", Value: fmt.Appendf(nil, "%016X", n+1)},
				{Key: "cdc-index", Value: []byte("0")},
			},
		})
	}
	return ms
}

// crashRun is one life of the consumer.
func crashRun(ctx context.Context, s suicidal, mode string, heal bool) error {
	o := inbox.Options{Backoff: time.Millisecond}
	if strings.HasPrefix(mode, "mark") {
		o.Mode, o.Mark.AcceptFirst = inbox.ByMark, true
	}
	p, err := inbox.NewProcessor[pgx.Tx](s, "c", func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
		if err := apply(ctx, tx, m.ID); err != nil {
			return err
		}
		s.at("in handler")
		if !heal && m.Offset == 1 && (strings.HasPrefix(mode, "poison") || mode == "play") {
			return inbox.Permanent(errors.New("poison"))
		}
		return nil
	}, o)
	if err != nil {
		return err
	}
	if mode == "play" && heal {
		return crashPlay(ctx, s, p)
	}
	if strings.HasSuffix(mode, "batch") {
		_, err := p.ProcessBatch(ctx, crashMessages())
		return err
	}
	for _, m := range crashMessages() {
		if _, err := p.Process(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// crashPlay plays all letters; a verdict that a killed play took is given again, as an operator would.
func crashPlay(ctx context.Context, s suicidal, p *inbox.Processor[pgx.Tx]) error {
	for {
		letters, err := s.ListLetters(ctx, "c", inbox.LetterFilter{}, 1)
		if err != nil || len(letters) == 0 {
			return err
		}
		if _, err := s.Judge(ctx, "c", []int64{letters[0].ID}, inbox.Retry); err != nil {
			return err
		}
		ready, err := s.Playable(ctx, "c", "orders", nil, 10)
		if err != nil {
			return err
		}
		for _, l := range ready {
			if _, err := p.Play(ctx, l); err != nil {
				return err
			}
		}
	}
}

// The process is killed at each point, in each mode; the next one gets everything delivered again. Each effect is there once, and in
// the order of its key.
func TestKilledAtEachPoint(t *testing.T) {
	t.Parallel()
	if os.Getenv(crashEnv) != "" {
		t.Skip("this is the child")
	}
	for _, mode := range crashModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			pool, store, pg := open(t)
			killed := 0
			for _, point := range crashPoints {
				pg.Exec(t, "TRUNCATE effect, cdc_inbox.claimed, cdc_inbox.mark, cdc_inbox.source, cdc_inbox.topic, cdc_inbox.dead_letter, cdc_inbox.parked_key")
				if mode == "play" { // the letters are there, the kill comes while they are played
					if err := crashRun(t.Context(), suicidal{store, ""}, mode, false); err != nil {
						t.Fatal(err)
					}
				}
				child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashChild$", "-test.v")
				child.Env = append(os.Environ(), crashEnv+"="+mode+"|"+point+"|"+pg.URL())
				out, err := child.CombinedOutput()
				if state, ok := child.ProcessState.Sys().(syscall.WaitStatus); ok && state.Signaled() {
					killed++
				} else if err != nil {
					t.Fatalf("%s: the child failed by itself: %v\n%s", point, err, out)
				}
				if err := crashRun(t.Context(), suicidal{store, ""}, mode, mode == "play"); err != nil {
					t.Fatalf("%s: the next life: %v", point, err)
				}
				got, want := effects(t, pool), crashWant(mode)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("%s: effects %v, want %v", point, got, want)
				}
				dead, waiting, err := store.CountLetters(t.Context(), "c")
				if poison := strings.HasPrefix(mode, "poison"); err != nil || poison != (dead == 1) || poison != (waiting == 1) {
					t.Errorf("%s: %d dead letters, %d waiting, %v", point, dead, waiting, err)
				}
			}
			if killed < 6 {
				t.Errorf("only %d of %d points killed the child", killed, len(crashPoints))
			}
		})
	}
}

// crashWant are the effects: of four messages the second is poison, and the fourth is of its key.
func crashWant(mode string) (ids []string) {
	for _, m := range crashMessages() {
		if strings.HasPrefix(mode, "poison") && m.Offset%2 == 1 {
			continue
		}
		_ = m.Decode()
		ids = append(ids, m.ID)
	}
	return ids
}

// TestCrashChild is one life that ends at a point.
func TestCrashChild(t *testing.T) {
	mode, rest, _ := strings.Cut(os.Getenv(crashEnv), "|")
	point, url, is := strings.Cut(rest, "|")
	if !is {
		t.Skip("run by TestKilledAtEachPoint")
	}
	store := inboxpgx.New(poolOf(t, url))
	if err := crashRun(t.Context(), suicidal{store, point}, mode, mode == "play"); err != nil {
		t.Fatal(err)
	}
}
