package inboxkafka

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// childEnv makes the test's program a consumer of its own, to be killed.
const childEnv = "INBOXKAFKA_TEST_CHILD"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		if err := child(spec); err != nil {
			slog.Error("child", "err", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// childSpec is what a child consumes.
type childSpec struct {
	URL, Topic, Consumer, Group, Way string
	Brokers                          []string
	Session                          time.Duration
	Point                            string // where it kills itself, the Nth time that it is there
	N                                int64
	Attempts                         int // Config.MaxAttempts
}

// points are all between which a consumer can be killed.
func points() []string {
	return []string{"opened", "read", "handler", "handled", "settle", "watermark", "saved", "kafka commit", "kafka committed"}
}

func child(text string) error {
	var s childSpec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := os.NewFile(3, "listening").Close(); err != nil { // spawn waits for it
		return err
	}
	pc, err := pgxpool.ParseConfig(s.URL)
	if err != nil {
		return err
	}
	pc.MaxConns = 20
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return err
	}
	w := &world{}
	c := w.base(s.Brokers, s.Topic, s.Consumer)
	c.Store, c.Group, c.SessionTimeout = inboxpgx.New(pool), s.Group, s.Session
	c.MaxAttempts = s.Attempts
	ways()[s.Way](&c)
	var times atomic.Int64
	at := func(point string) {
		if point == s.Point && times.Add(1) == s.N {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if c.Handler != nil {
		h := c.Handler
		c.Handler = func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
			at("handler")
			defer at("handled")
			return h(ctx, tx, m)
		}
	} else {
		h := c.BatchHandler
		c.BatchHandler = func(ctx context.Context, tx pgx.Tx, ms []*inbox.Message) error {
			at("handler")
			defer at("handled")
			return h(ctx, tx, ms)
		}
	}
	c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	return run(ctx, c, at)
}

// spawn starts a child.
func (w *world) spawn(s childSpec) *exec.Cmd {
	w.t.Helper()
	s.URL, s.Topic, s.Consumer, s.Brokers = w.pg.URL(), w.topic, w.consumer, w.kafka.Brokers()
	text, err := json.Marshal(s)
	if err != nil {
		w.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	if testing.Verbose() {
		cmd.Stderr = testWriter{w.t}
	}
	listening, theirs, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = listening.Close() }()
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cmd.Process.Kill() })
	_, _ = listening.Read(make([]byte, 1)) // ends when the child listens to SIGTERM, or is dead
	return cmd
}

// patient is how often a message may be under way when its process is killed from outside, which says nothing about it: a test
// that kills many times in a row before anything is finished must not have it put aside.
const patient = 50

// Killed at each point, in each mode: nothing is lost and nothing has its effect twice. Each child belongs to a group of its own,
// which inherits the offsets: so no test waits until Kafka has missed the one that was killed.
func TestCrash_AtEachPoint(t *testing.T) {
	t.Parallel()
	for way := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			group := w.consumer
			for i, point := range points() {
				w.produce(60, 10)
				s := childSpec{Way: way, Session: 6 * time.Second, Group: group, Point: point, N: 1, Attempts: patient}
				if i < 5 {
					s.N += int64(i % 2) // the others come by the clock, and perhaps once only
				}
				cmd := w.spawn(s)
				dead := make(chan error, 1)
				go func() { dead <- cmd.Wait() }()
				select {
				case err := <-dead:
					if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
						t.Fatalf("at %q: the child ended with %v", point, err)
					}
				case <-time.After(20 * time.Second):
					t.Fatalf("the child never came to %q", point)
				}
				next := fmt.Sprint(w.consumer, "-", i)
				w.inherit(group, next)
				group = next
			}
			c := w.config()
			ways()[way](&c)
			c.Group, c.MaxAttempts = group, patient
			w.start(c)
			w.waitFor(60*len(points()), 30*time.Second)
			w.check()
			if got := w.query("SELECT count(*)::text FROM cdc_inbox.dead_letter"); got != "0" {
				t.Errorf("%s messages were put aside", got)
			}
		})
	}
}

// inherit gives a new group the offsets of another.
func (w *world) inherit(from, to string) {
	w.t.Helper()
	admin := w.kafka.Admin(w.t)
	old, err := admin.FetchOffsets(context.Background(), from)
	if err != nil {
		w.t.Fatal(err)
	}
	os := kadm.Offsets{}
	old.Each(func(o kadm.OffsetResponse) {
		if o.At >= 0 {
			os.Add(o.Offset)
		}
	})
	if len(os) == 0 {
		return
	}
	if _, err := admin.CommitOffsets(context.Background(), to, os); err != nil {
		w.t.Fatal(err)
	}
}

// A message that kills the process is found, although no code of the process sees it die, and put aside.
func TestCrash_AMessageThatKillsTheProcessIsPutAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.produce(20, 4)
	// The handler of one message kills the process: with a batch of one, the 8th call.
	for i := range 10 {
		n := int64(8)
		if i > 0 {
			n = 1 // the others are known by then: the first that is handled is it
		}
		cmd := w.spawn(childSpec{Way: "single", Session: 6 * time.Second, Group: fmt.Sprint(w.consumer, i), Point: "handler", N: n, Attempts: 3})
		_ = cmd.Wait()
		if w.query("SELECT count(*)::text FROM effects") != "7" {
			break
		}
	}
	// It was begun 4 times (one in peace, 3 counted); the fifth process puts it aside, and dies of the next one.
	if got := w.query("SELECT reason || ' ' || attempts FROM cdc_inbox.dead_letter ORDER BY id LIMIT 1"); got != "crash 3" {
		t.Errorf("dead letter: %q, want crash 3", got)
	}
}

// Two consumers are killed, frozen and started again at random while they take partitions from each other.
func TestCrash_RandomKills(t *testing.T) {
	t.Parallel()
	kills := 12
	if os.Getenv("CDC_RELAY_TEST_HEAVY") != "" {
		kills = 1000
	}
	if n, err := strconv.Atoi(os.Getenv("INBOXKAFKA_TEST_KILLS")); err == nil {
		kills = n
	}
	b := testenv.StartKafka(t, 1, "group.min.session.timeout.ms=500")
	for _, way := range []string{"batch", "by key", "mark"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := newWorldOn(t, b, 4)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			spec := childSpec{Way: way, Session: time.Second, Group: w.consumer, Attempts: patient}
			members := []*exec.Cmd{w.spawn(spec), w.spawn(spec)}
			total := 0
			for range (kills + 2) / 3 {
				w.produce(200, 25)
				total += 200
				<-time.After(time.Duration(200+rnd.IntN(900)) * time.Millisecond)
				victim := rnd.IntN(2)
				if rnd.IntN(4) == 0 { // a zombie: it wakes up when its partitions are another's
					_ = members[victim].Process.Signal(syscall.SIGSTOP)
					<-time.After(time.Duration(800+rnd.IntN(900)) * time.Millisecond)
					_ = members[victim].Process.Signal(syscall.SIGCONT)
					<-time.After(time.Duration(rnd.IntN(100)) * time.Millisecond)
				}
				_ = members[victim].Process.Kill()
				_ = members[victim].Wait()
				members[victim] = w.spawn(spec)
			}
			w.waitFor(total, 60*time.Second)
			for _, m := range members {
				_ = m.Process.Signal(syscall.SIGTERM)
				if err := m.Wait(); err != nil {
					t.Errorf("after SIGTERM: %v", err)
				}
			}
			w.check()
			if got := w.query("SELECT count(*)::text FROM cdc_inbox.dead_letter"); got != "0" {
				t.Errorf("%s messages were put aside", got)
			}
			if got := w.watermarks(); got != int64(total) {
				t.Errorf("watermarks sum up to %d, want %d", got, total)
			}
		})
	}
}
