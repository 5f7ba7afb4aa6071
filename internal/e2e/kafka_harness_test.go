package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
	"github.com/cdc-relay/cdc-relay/sink/line"
)

// patience is for what passes by itself: generous, since the machine may be busy with other tests.
const patience = 90 * time.Second

// kafkaStand is a stand whose relay publishes to Kafka.
type kafkaStand struct {
	*stand
	k    *testenv.Brokers
	dial dialer // of consumers; nil: the network
}

// onKafka points a stand at brokers; env are more settings of the relay.
func onKafka(s *stand, k *testenv.Brokers, env ...string) *kafkaStand {
	s.env = append(s.env, append([]string{"CDC_RELAY_SINK_KAFKA_BROKERS=" + strings.Join(k.Brokers(), ",")}, env...)...)
	return &kafkaStand{stand: s, k: k}
}

// behind starts a broker that clients reach through a proxy only, and a stand whose relay goes that way. Consumers of the
// stand take the direct way, so that they see the log while the proxy holds the relay up.
func behind(t testing.TB, s *stand, env ...string) (*kafkaStand, *testenv.Link) {
	t.Helper()
	link := testenv.Proxy(t, "")
	k := testenv.StartKafka(t, 1, "advertised.listeners=PLAINTEXT://"+link.Addr())
	direct := k.Brokers()[0]
	link.Target(direct)
	ks := onKafka(s, k, env...)
	ks.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, direct)
	}
	return ks, link
}

// through sends the relay's connections to the database through a proxy.
func (s *stand) through() *testenv.Link {
	link := testenv.Proxy(s.t, s.pg.Address())
	s.env = append(s.env, "CDC_RELAY_DATABASE_URL="+strings.Replace(s.pg.URLFor(s.role, "secret"), s.pg.Address(), link.Addr(), 1))
	return link
}

// name is one that no other test uses for a topic.
func name(about string) string { return about + "-" + host.Random() }

// into commits n rows for a topic in one transaction: keys k0, k1, ... in turn, payloads {"n": from}, ...
func (s *kafkaStand) into(topic string, from, n, keys int) {
	s.t.Helper()
	s.pg.Exec(s.t, intoTopic, from, n, keys, topic, 0)
}

// intoWide is into with some more bytes in each payload.
func (s *kafkaStand) intoWide(topic string, from, n, keys, bytes int) {
	s.t.Helper()
	s.pg.Exec(s.t, intoTopic, from, n, keys, topic, bytes)
}

const intoTopic = `INSERT INTO outbox (topic, aggregate_type, aggregate_id, event_type, payload)
	SELECT $4::text, 'orders', 'k' || (i % $3::int), 'Made', jsonb_build_object('n', i, 'pad', repeat('x', $5::int))
	FROM generate_series($1::int, $1::int + $2::int - 1) AS i`

// ids are the event ids that the table holds for topics (all: none named).
func (s *kafkaStand) ids(topics ...string) []string {
	s.t.Helper()
	return query[[]string](s.stand, `SELECT coalesce(array_agg(event_id::text), '{}') FROM outbox WHERE topic = ANY ($1) OR $1 IS NULL`, topics)
}

// log is a topic's content as it grows.
type log struct {
	t      testing.TB
	client *kgo.Client
	done   chan struct{}

	mu      sync.Mutex
	lines   []line.Line
	where   map[string]int // event id: how often
	places  map[decoder.Position]place
	offsets map[string]int64
	changed chan struct{}
}

// place is where an event came first.
type place struct {
	partition string // topic/number
	offset    int64
}

// watch follows topics from their beginning, at any of the brokers' addresses, through their outages. Topics need not exist
// yet.
func (s *kafkaStand) watch(topics ...string) *log {
	s.t.Helper()
	return follow(s.t, s.k.Brokers(), s.dial, topics...)
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// follow reads topics from their beginning, as they grow; dial nil: the network.
func follow(t testing.TB, brokers []string, dial dialer, topics ...string) *log {
	t.Helper()
	if dial == nil {
		dial = (&net.Dialer{Timeout: 2 * time.Second}).DialContext
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics...), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(2*time.Second),
		kgo.Dialer(dial), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxBytes(8<<20), kgo.UnknownTopicRetries(-1))
	if err != nil {
		t.Fatal(err)
	}
	l := &log{t: t, client: client, done: make(chan struct{}), where: map[string]int{}, places: map[decoder.Position]place{}, offsets: map[string]int64{}, changed: make(chan struct{})}
	go func() {
		defer close(l.done)
		for {
			fetches := client.PollFetches(context.Background())
			if fetches.IsClientClosed() {
				return
			}
			l.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) {
				read := lineOf(r)
				l.lines = append(l.lines, read)
				l.where[header(read, "event_id")]++
				if at, ok := positionOf(r); ok {
					if _, known := l.places[at]; !known {
						l.places[at] = place{fmt.Sprint(r.Topic, "/", r.Partition), r.Offset}
					}
				}
				l.offsets[fmt.Sprint(r.Topic, "/", r.Partition)] = r.Offset + 1
			})
			close(l.changed)
			l.changed = make(chan struct{})
			l.mu.Unlock()
		}
	}()
	t.Cleanup(func() { client.Close(); <-l.done })
	return l
}

// lineOf is a record as sink.file would have written it.
func lineOf(r *kgo.Record) line.Line {
	l := line.Line{Topic: r.Topic, Key: r.Key, Value: r.Value, Partition: r.Partition, Timestamp: r.Timestamp}
	for _, h := range r.Headers {
		l.Headers = append(l.Headers, line.Header{Name: h.Key, Value: h.Value})
	}
	if at, ok := positionOf(r); ok {
		l.Position = at.String()
	}
	return l
}

// positionOf reads cdc-lsn and cdc-index.
func positionOf(r *kgo.Record) (decoder.Position, bool) {
	var at decoder.Position
	found := 0
	for _, h := range r.Headers {
		switch h.Key {
		case "cdc-lsn":
			if _, err := fmt.Sscanf(string(h.Value), "%016X", (*uint64)(&at.Commit)); err == nil {
				found++
			}
		case "cdc-index":
			if _, err := fmt.Sscan(string(h.Value), &at.Index); err == nil {
				found++
			}
		}
	}
	return at, found == 2 && at.Commit != pglogrepl.LSN(0)
}

// all are the records so far.
func (l *log) all() []line.Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]line.Line(nil), l.lines...)
}

// different counts the events so far, repeats left out.
func (l *log) different() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.where)
}

// holds waits for n different events, and returns all records.
func (l *log) holds(n int) []line.Line {
	l.t.Helper()
	testenv.Eventually(l.t, patience, func() error {
		if got := l.different(); got < n {
			return fmt.Errorf("the log holds %d events, want %d", got, n)
		}
		return nil
	})
	return l.all()
}

// end waits until all that the brokers hold now has been read.
func (l *log) end(topics ...string) []line.Line {
	l.t.Helper()
	admin := kadm.NewClient(l.client)
	testenv.Eventually(l.t, patience, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		ends, err := admin.ListEndOffsets(ctx, topics...)
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		ends.Each(func(o kadm.ListedOffset) {
			if read := l.offsets[fmt.Sprint(o.Topic, "/", o.Partition)]; read < o.Offset {
				err = fmt.Errorf("partition %d of %s is read up to %d, it ends at %d", o.Partition, o.Topic, read, o.Offset)
			}
		})
		return err
	})
	return l.all()
}

// ready fetches /readyz?verbose.
func (p *process) ready() (code int, text string, err error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, p.admin()+"/readyz?verbose", nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// readies waits until readiness has the code and its text all the words.
func (p *process) readies(code int, words ...string) {
	p.t.Helper()
	testenv.Eventually(p.t, patience, func() error {
		got, text, err := p.ready()
		if err != nil {
			return err
		}
		if got != code {
			return fmt.Errorf("readyz answers %d, want %d: %s", got, code, text)
		}
		for _, w := range words {
			if !strings.Contains(text, w) {
				return fmt.Errorf("readyz does not say %q: %s", w, text)
			}
		}
		return nil
	})
}

// letters are the dead letters of the slot, in order: topic, key, state and reason of each.
func (s *kafkaStand) letters(where string) []string {
	s.t.Helper()
	return query[[]string](s.stand, `SELECT coalesce(array_agg(state || ' ' || reason || ' ' || topic || ' ' || coalesce(convert_from(key, 'UTF8'), 'null')
		ORDER BY commit_lsn, idx), '{}') FROM cdc_relay.dead_letter WHERE slot = $1 AND `+where, s.slot)
}

// parks waits for so many dead letters in states (a SQL condition).
func (s *kafkaStand) parks(n int, where string) {
	s.t.Helper()
	testenv.Eventually(s.t, patience, func() error {
		if got := s.letters(where); len(got) != n {
			return fmt.Errorf("%d dead letters, want %d: %.300v", len(got), n, got)
		}
		return nil
	})
}

// passesLetters waits until the mark lies behind every dead letter: they hold no WAL back.
func (s *kafkaStand) passesLetters() {
	s.t.Helper()
	testenv.Eventually(s.t, patience, func() error {
		if !query[bool](s.stand, `SELECT c.lsn > (SELECT max(d.commit_lsn) FROM cdc_relay.dead_letter d WHERE d.slot = c.slot)
			FROM cdc_relay.checkpoint c WHERE c.slot = $1`, s.slot) {
			return errors.New("the mark has not passed the dead letters")
		}
		return nil
	})
}

// settings changes a topic's configuration.
func (s *kafkaStand) settings(topic string, settings ...string) {
	s.t.Helper()
	var changes []kadm.AlterConfig
	for _, set := range settings {
		key, value, _ := strings.Cut(set, "=")
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: &value})
	}
	resp, err := s.k.Admin(s.t).AlterTopicConfigs(context.Background(), changes, topic)
	if err == nil && len(resp) > 0 {
		err = resp[0].Err
	}
	if err != nil {
		s.t.Fatalf("change topic %s: %v", topic, err)
	}
}

// hasNothingParked fails when an event was parked.
func (s *kafkaStand) hasNothingParked() {
	s.t.Helper()
	if got := s.letters("true"); len(got) > 0 {
		s.t.Errorf("%d events were parked: %.400v", len(got), got)
	}
}
