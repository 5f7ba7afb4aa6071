package inboxkafka

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// world is a topic, and the database of a consumer whose effects are rows.
type world struct {
	t        testing.TB
	pg       *testenv.PG
	kafka    *testenv.Brokers
	pool     *pgxpool.Pool
	store    *inboxpgx.Store
	topic    string
	consumer string
	producer *kgo.Client
	sent     map[string]int // events for each key
	lsn      uint64

	stop    func()               // of the consumer under test
	restart func(between func()) // stops it, and starts it again
}

func newWorld(t testing.TB, partitions int) *world {
	t.Helper()
	return newWorldOn(t, testenv.Kafka(t), partitions)
}

func newWorldOn(t testing.TB, b *testenv.Brokers, partitions int) *world {
	t.Helper()
	w := &world{t: t, pg: testenv.Postgres(t), kafka: b, sent: map[string]int{}, lsn: 1000}
	w.topic = b.Topic(t, partitions)
	w.consumer = "consumer-of-" + w.topic
	w.pool = openPool(t, w.pg.URL())
	w.store = inboxpgx.New(w.pool)
	if err := inboxpgx.Migrate(t.Context(), w.pool, inboxpgx.MigrateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.pg.Exec(t, "CREATE TABLE effects (at bigint GENERATED ALWAYS AS IDENTITY, event_id text, key text, n int)")
	w.producer = newProducer(t, b)
	return w
}

func openPool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	c.MaxConns = 20
	pool, err := pgxpool.NewWithConfig(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func newProducer(t testing.TB, b *testenv.Brokers, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	p, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Brokers()...), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// config is that of a quick consumer that writes each event as a row.
func (w *world) config() Config[pgx.Tx] {
	c := w.base(w.kafka.Brokers(), w.topic, w.consumer)
	c.Store = w.store
	if testing.Verbose() {
		c.Log = slog.New(slog.NewTextHandler(testWriter{w.t}, nil))
	}
	return c
}

func (w *world) base(brokers []string, topic, consumer string) Config[pgx.Tx] {
	c := NewConfig[pgx.Tx]()
	c.Brokers, c.Topics, c.Consumer = brokers, []string{topic}, consumer
	c.BatchHandler = insertAll
	c.MinBackoff, c.MaxBackoff, c.MaxAttempts = 5*time.Millisecond, 50*time.Millisecond, 3
	c.SessionTimeout, c.WatermarkInterval, c.CommitInterval = 6*time.Second, 50*time.Millisecond, 200*time.Millisecond
	c.RetryInterval, c.MaxWait = 200*time.Millisecond, 100*time.Millisecond
	c.Log = slog.New(slog.DiscardHandler)
	return c
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Output().Write(b) //nolint:errcheck // a log
	return len(b), nil
}

func insertOne(ctx context.Context, tx pgx.Tx, m *inbox.Message) error {
	return insertAll(ctx, tx, []*inbox.Message{m})
}

func insertAll(ctx context.Context, tx pgx.Tx, ms []*inbox.Message) error {
	ids, keys, ns := make([]string, len(ms)), make([]string, len(ms)), make([]int, len(ms))
	for i, m := range ms {
		n, err := strconv.Atoi(string(m.Value))
		if err != nil {
			return inbox.Permanent(err)
		}
		ids[i], keys[i], ns[i] = m.ID, string(m.Key), n
	}
	_, err := tx.Exec(ctx, "INSERT INTO effects (event_id, key, n) SELECT * FROM unnest($1::text[], $2::text[], $3::int[])", ids, keys, ns)
	return err
}

// event is the next event of a key, as the relay would write it.
func (w *world) event(key string) *kgo.Record {
	n := w.sent[key]
	w.sent[key]++
	w.lsn += 8
	id, err := uuid.NewV7()
	if err != nil {
		w.t.Fatal(err)
	}
	return &kgo.Record{Topic: w.topic, Key: []byte(key), Value: strconv.AppendInt(nil, int64(n), 10), Headers: []kgo.RecordHeader{
		{Key: "event_id", Value: []byte(id.String())},
		{Key: "event_type", Value: []byte("Counted")},
		{Key: "cdc-source", Value: []byte("7:1:a:cdc_relay")},
		{Key: "cdc-lsn", Value: fmt.Appendf(nil, "%016x", w.lsn)},
		{Key: "cdc-index", Value: []byte("0")},
	}}
}

// produce sends n events of some keys.
func (w *world) produce(n, keys int) {
	w.t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = w.event(fmt.Sprint("key-", i%keys))
	}
	w.send(records...)
}

func (w *world) send(records ...*kgo.Record) {
	w.t.Helper()
	if err := w.producer.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// start runs a consumer; the function returned ends it and waits. It is ended with the test in any case.
func (w *world) start(c Config[pgx.Tx]) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := Run(ctx, c); err != nil {
			w.t.Errorf("run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return stop
}

func (w *world) query(sql string, args ...any) string {
	w.t.Helper()
	var s *string
	if err := w.pool.QueryRow(context.Background(), sql, args...).Scan(&s); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	if s == nil {
		return ""
	}
	return *s
}

// waitFor waits for n effects.
func (w *world) waitFor(n int, timeout time.Duration) {
	w.t.Helper()
	testenv.Eventually(w.t, timeout, func() error {
		if got := w.query("SELECT count(*)::text FROM effects"); got != strconv.Itoa(n) {
			return fmt.Errorf("%s effects of %d", got, n)
		}
		return nil
	})
}

// check compares effects with what was sent: each event once, those of a key in order.
func (w *world) check() {
	w.t.Helper()
	w.checkBut(nil)
}

// checkBut leaves out what must not have an effect, by key.
func (w *world) checkBut(missing map[string][]int) {
	w.t.Helper()
	rows, err := w.pool.Query(context.Background(), "SELECT key, string_agg(n::text, ' ' ORDER BY at) FROM effects GROUP BY 1")
	if err != nil {
		w.t.Fatal(err)
	}
	got := map[string]string{}
	var key, ns string
	if _, err := pgx.ForEachRow(rows, []any{&key, &ns}, func() error { got[key] = ns; return nil }); err != nil {
		w.t.Fatal(err)
	}
	for key, n := range w.sent {
		var want []string
		for i := range n {
			if !slices.Contains(missing[key], i) {
				want = append(want, strconv.Itoa(i))
			}
		}
		if got[key] != strings.Join(want, " ") {
			w.t.Errorf("%s: %d effects are\n%s\nwant 0 to %d without %v, each once and in order", key, strings.Count(got[key], " ")+1, got[key], n-1, missing[key])
		}
	}
}

// watermarks sums up the positions in the database.
func (w *world) watermarks() int64 {
	w.t.Helper()
	places, err := w.store.Look(context.Background(), w.consumer, "")
	if err != nil {
		w.t.Fatal(err)
	}
	sum := int64(0)
	for _, p := range places {
		sum += p.Watermark
	}
	return sum
}

// commit sets an offset in Kafka, as kafka-consumer-groups.sh does while no member is there.
func (w *world) commit(partition int32, offset int64) {
	w.t.Helper()
	admin := w.kafka.Admin(w.t)
	os := kadm.Offsets{}
	os.Add(kadm.Offset{Topic: w.topic, Partition: partition, At: offset, LeaderEpoch: -1})
	testenv.Eventually(w.t, 15*time.Second, func() error { // a member that was killed is in the way for a session
		res, err := admin.CommitOffsets(context.Background(), w.consumer, os)
		if err != nil {
			return err
		}
		return res.Error()
	})
}

// committed is the offset that Kafka holds; -1: none.
func (w *world) committed(partition int32) int64 {
	w.t.Helper()
	res, err := w.kafka.Admin(w.t).FetchOffsets(context.Background(), w.consumer)
	if err != nil {
		w.t.Fatal(err)
	}
	if o, ok := res.Lookup(w.topic, partition); ok {
		return o.At
	}
	return -1
}
