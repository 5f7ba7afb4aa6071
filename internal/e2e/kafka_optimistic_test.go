package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxkafka"
	"github.com/cdc-relay/cdc-relay/outbox/outboxpgx"
)

// sendings counts what became of optimistic sends.
type sendings struct{ stored, failed, skipped atomic.Int64 }

func (s *sendings) Attempted(int)                    {}
func (s *sendings) Succeeded(n int, _ time.Duration) { s.stored.Add(int64(n)) }
func (s *sendings) Failed(n int, _ string)           { s.failed.Add(int64(n)) }
func (s *sendings) Skipped(n int, _ string)          { s.skipped.Add(int64(n)) }

// returning is a writer whose events can be sent.
func returning(typ outbox.PayloadType) (*outboxpgx.Writer, error) {
	o := outbox.NewOptions()
	o.Returning, o.PayloadType = true, typ
	return outboxpgx.NewWriter(o)
}

// senderTo is a sender with time enough for a busy machine.
func senderTo(t testing.TB, brokers []string, change func(*outbox.Optimistic)) *outbox.Sender {
	t.Helper()
	sink, err := outboxkafka.Open(outboxkafka.NewConfig(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	o := outbox.NewOptimistic(sink)
	o.Timeout = 20 * time.Second
	change(&o)
	sender, err := o.Sender()
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

func isOptimistic(r *kgo.Record) bool { return len(kafkaHeader(r, outbox.HeaderOptimistic)) > 0 }

func kafkaHeader(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// described is a record without what an optimistic copy cannot have: the position, the timestamp, the offset.
func described(r *kgo.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%d key %q value %q null %v", r.Topic, r.Partition, r.Key, r.Value, r.Value == nil)
	for _, h := range r.Headers {
		if !strings.HasPrefix(h.Key, "cdc-") {
			fmt.Fprintf(&b, " %q=%q", h.Key, h.Value)
		}
	}
	return b.String()
}

// I9: the optimistic record of a row is the relay's, byte for byte, for every type of payload; only the timestamp differs, and
// cdc-optimistic stands where the position stands.
func TestI9_AnOptimisticRecordIsTheRelays(t *testing.T) {
	t.Parallel()
	k := testenv.Kafka(t)
	for _, typ := range []outbox.PayloadType{outbox.JSONB, outbox.Bytea, outbox.Text} {
		t.Run(string(typ), func(t *testing.T) {
			t.Parallel()
			s := bare(t, testenv.Postgres(t))
			s.migrate(func(o *migrations.Options) { o.PayloadType = string(typ) })
			ks := onKafka(s, k, "CDC_RELAY_OUTBOX_0_TOPIC={aggregate_type}-x")
			own, ruled := k.Topic(t, 7), name("orders")
			k.CreateTopic(t, ruled+"-x", 5)
			var seen sendings
			sender := senderTo(t, k.Brokers(), func(o *outbox.Optimistic) { o.TopicRule, o.Observer = "{aggregate_type}-x", &seen })
			w, err := returning(typ)
			if err != nil {
				t.Fatal(err)
			}
			var events []outbox.Event
			for i, key := range []string{"", "k1", "Zürich 北京", `q"\'`, strings.Repeat("long", 500)} {
				payload := any(map[string]any{"z": i, "a": "<&>\u2028"})
				if typ != outbox.JSONB {
					payload = []byte("raw \\x00 " + key)
				}
				if i == 2 {
					payload = nil
				}
				events = append(events, outbox.Event{
					AggregateType: ruled, AggregateID: fmt.Sprint("id-", i), Type: "Made", PartitionKey: key, Payload: payload,
					Headers: map[string]any{"zz": "text", "a": 1.5, "n": nil, "o": map[string]any{"k": []int{1}}, "traceparent": "00-1-2-01"},
				})
			}
			events[1].Topic, events[3].Headers = own, nil
			conn := s.pg.Conn(t)
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// The slot before the rows.
			p := ks.start()
			written, err := w.Write(t.Context(), tx, events...)
			if err != nil || tx.Commit(t.Context()) != nil {
				t.Fatal(err)
			}
			sender.SendFree(t.Context(), written...)
			if got := seen.stored.Load(); got != int64(len(events)) {
				t.Fatalf("%d of %d events were stored", got, len(events))
			}
			copies := map[string][]string{}
			for _, r := range testenv.Consume(t, k.Brokers(), 2*len(events), own, ruled+"-x") {
				id := kafkaHeader(r, "event_id")
				copies[id] = append(copies[id], described(r))
				if last := r.Headers[len(r.Headers)-1]; isOptimistic(r) && (last.Key != "cdc-optimistic" || string(last.Value) != "1" || kafkaHeader(r, "cdc-lsn") != "") {
					t.Errorf("an optimistic record ends in %s=%s", last.Key, last.Value)
				}
				if age := time.Since(r.Timestamp); age < 0 || age > time.Minute {
					t.Errorf("a record is %s old", age)
				}
			}
			for id, c := range copies {
				if len(c) != 2 || c[0] != c[1] {
					t.Errorf("the copies of %s differ:\n%s", id, strings.Join(c, "\n"))
				}
			}
			p.drain()
		})
	}
}

// I2 under load: transactions that write keys at random, side by side and without a lock of their own, senders that ask, and a
// relay that is frozen now and then, so that optimistic copies come first.
func TestI2_OptimisticCopiesKeepTheOrder(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t))
	topic := s.k.Topic(t, 3)
	s.pg.Exec(t, "SELECT cdc_relay.install_order_check()")
	p := s.start()
	pool, err := pgxpool.New(t.Context(), s.pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var seen sendings
	sender := senderTo(t, s.k.Brokers(), func(o *outbox.Optimistic) {
		o.Order, o.Observer = outboxpgx.NewOrderCheck(pool), &seen
	})
	w, err := returning(outbox.JSONB)
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	var writers sync.WaitGroup
	var committed atomic.Int64
	for n := range 4 {
		rng := rand.New(rand.NewPCG(seed, uint64(n)))
		writers.Go(func() {
			for ctx.Err() == nil {
				written, err := makeOne(pool, w, topic, fmt.Sprint("k", int(rng.ExpFloat64()*40)), rng.IntN(10) == 0)
				if err != nil {
					t.Error(err)
					return
				}
				committed.Add(int64(len(written)))
				sender.Send(t.Context(), written...)
				wait(ctx, time.Duration(rng.IntN(20))*time.Millisecond)
			}
		})
	}
	for ctx.Err() == nil {
		wait(ctx, 1500*time.Millisecond)
		p.signal(syscall.SIGSTOP)
		wait(ctx, 700*time.Millisecond)
		p.signal(syscall.SIGCONT)
	}
	writers.Wait()
	records := testenv.Consume(t, s.k.Brokers(), int(committed.Load()+seen.stored.Load()), topic)
	relayed, first := map[string][]string{}, map[string][]string{}
	known, lead := map[string]bool{}, 0
	for _, r := range records {
		key, id := string(r.Key), kafkaHeader(r, "event_id")
		if !isOptimistic(r) {
			relayed[key] = append(relayed[key], id)
		}
		if !known[id] {
			known[id] = true
			first[key] = append(first[key], id)
			if isOptimistic(r) {
				lead++
			}
		}
	}
	for key, want := range relayed {
		if got := strings.Join(first[key], " "); got != strings.Join(want, " ") {
			t.Errorf("seed %d, key %s: first sight was not in the order of commits\ngot  %s\nwant %s", seed, key, got, strings.Join(want, " "))
		}
	}
	t.Logf("%d events, %d optimistic copies of which %d came first, %d left to the relay, %d failed", committed.Load(), seen.stored.Load(), lead, seen.skipped.Load(), seen.failed.Load())
	if lead == 0 || len(known) != int(committed.Load()) {
		t.Errorf("%d copies came first, %d events of %d arrived: the test proves nothing", lead, len(known), committed.Load())
	}
	p.drain()
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// makeOne commits an event of a key, and lingers before the commit now and then.
func makeOne(pool *pgxpool.Pool, w *outboxpgx.Writer, topic, key string, slow bool) (written []outbox.Written, err error) {
	ctx := context.Background()
	return written, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		written, err = w.Write(ctx, tx, outbox.Event{Topic: topic, AggregateType: "orders", AggregateID: key, Type: "Made", Payload: 1})
		if slow {
			wait(ctx, 30*time.Millisecond)
		}
		return err
	})
}

// The points at which the application below is killed.
const (
	killBeforeSend = "between commit and send"
	killInSend     = "while the record is under way"
	killAfterSend  = "after the send"
)

// I1: an application that is killed around its send loses nothing, and there is one optimistic copy beside the relay's at most.
func TestI1_ApplicationKilledAroundItsSend(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t))
	topic := s.k.Topic(t, 1)
	p := s.start()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	points := []string{killBeforeSend, killInSend, killAfterSend}
	died := map[string]string{} // event id: where
	for i := range 6 {
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestApplicationToBeKilled$")
		cmd.Env = append(host.Environ(), "OPTIMISTIC_APP="+strings.Join([]string{s.pg.URL(), strings.Join(s.k.Brokers(), ","), topic, points[i%3]}, "|"))
		out, err := cmd.StdoutPipe()
		if err != nil || cmd.Start() != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() && !bytes.HasPrefix(lines.Bytes(), []byte("at ")) { //nolint:revive // what is printed before is the test's own
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		id, ok := strings.CutPrefix(lines.Text(), "at ")
		if !ok {
			t.Fatal("the application did not come to its point")
		}
		died[id] = points[i%3]
	}
	c := testenv.NewConsumer(t, s.k.Brokers(), topic)
	byRelay, early := map[string]int{}, map[string]int{}
	for _, r := range append(c.Take(len(died), 30*time.Second), c.Rest(2*time.Second)...) {
		if id := kafkaHeader(r, "event_id"); isOptimistic(r) {
			early[id]++
		} else {
			byRelay[id]++
		}
	}
	for id, where := range died {
		low, high := 0, 1
		switch where {
		case killBeforeSend:
			high = 0
		case killAfterSend:
			low = 1
		}
		if n := early[id]; byRelay[id] != 1 || n < low || n > high {
			t.Errorf("killed %s: %d optimistic copies (want %d to %d) and %d of the relay (want 1)", where, n, low, high, byRelay[id])
		}
	}
	p.drain()
}

// TestApplicationToBeKilled is the application of the test above.
func TestApplicationToBeKilled(t *testing.T) {
	t.Parallel()
	args := strings.Split(os.Getenv("OPTIMISTIC_APP"), "|")
	if len(args) != 4 {
		t.Skip("a part of TestI1_ApplicationKilledAroundItsSend")
	}
	pool, err := pgxpool.New(t.Context(), args[0])
	if err != nil {
		t.Fatal(err)
	}
	w, err := returning(outbox.JSONB)
	if err != nil {
		t.Fatal(err)
	}
	written, err := makeOne(pool, w, args[2], "k", false)
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {
		fmt.Fprintf(os.Stdout, "at %s\n", written[0].ID)
		select {} // to be killed
	}
	sender := senderTo(t, strings.Split(args[1], ","), func(o *outbox.Optimistic) {
		if args[3] == killInSend {
			o.Sink = underWay{o.Sink, written[0].ID}
		}
	})
	if args[3] == killBeforeSend {
		stop()
	}
	sender.SendFree(t.Context(), written...)
	stop()
}

// underWay says so when it is called.
type underWay struct {
	outbox.OptimisticSink
	id string
}

func (u underWay) Publish(ctx context.Context, records []outbox.OptimisticRecord) (int, error) {
	fmt.Fprintf(os.Stdout, "at %s\n", u.id)
	return u.OptimisticSink.Publish(ctx, records)
}
