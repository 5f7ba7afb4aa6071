package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/auditor"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// rig is everything at once: applications that write, the relay, the wire auditor between it and Postgres, a proxy between it
// and the broker, and a judge that compares each confirmed position with what the broker's log holds at that moment.
//
//	applications -> Postgres <- auditor <- relay -> proxy -> broker <- consumer
//	                               |                                     |
//	                               +------------- judge -----------------+
type rig struct {
	*kafkaStand
	auditor *auditor.Auditor
	broker  *testenv.Link
	got     *log
	topics  []string // the last one takes 4 KB, so that some events are parked
	relay   *process
	seed    uint64

	stop    chan struct{}
	writers sync.WaitGroup

	mu      sync.Mutex
	next    map[string]int // number of the next event of a key
	rolled  int
	judging sync.WaitGroup
	strict  int // confirmed events that were in the log or the table when the status came
	loose   int // ... whose log could be asked a while later only, because the broker did not answer
	lost    []string
}

func newRig(t *testing.T, seed uint64, env ...string) *rig {
	t.Helper()
	s, broker := behind(t, tableless(t), append(env, "CDC_RELAY_LIMITS_MAX_IN_FLIGHT_EVENTS=5000")...)
	s.pg.Exec(t, "CREATE TABLE emitted (id uuid)")
	r := &rig{kafkaStand: s, broker: broker, seed: seed, stop: make(chan struct{}), next: map[string]int{}}
	r.topics = []string{s.k.Topic(t, 6), s.k.Topic(t, 2), s.k.Topic(t, 3, "max.message.bytes=4000")}
	r.got = s.watch(r.topics...)
	a, err := auditor.New(s.pg.Address(), 8*time.Second, r.judge) // status_interval 1 s, and a machine that is busy
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		r.judging.Wait()
	})
	r.auditor = a
	s.env = append(s.env, "CDC_RELAY_DATABASE_URL="+strings.Replace(s.pg.URLFor(s.role, "secret"), s.pg.Address(), a.Addr(), 1)) // TLS is off in it
	r.relay = s.start()
	return r
}

// judge is called before the server gets a status.
func (r *rig) judge(c auditor.Confirmation) {
	var missing []decoder.Position
	r.got.mu.Lock()
	for _, e := range c.Events {
		if _, seen := r.got.places[decoder.Position(e)]; !seen {
			missing = append(missing, decoder.Position(e))
		}
	}
	r.got.mu.Unlock()
	if len(missing) == 0 {
		r.count(&r.strict, len(c.Events))
		return
	}
	ends, err := r.ends(500 * time.Millisecond) // the log as it is now
	counter := &r.strict
	if err != nil {
		counter = &r.loose
	}
	r.judging.Go(func() {
		for err != nil {
			select {
			case <-r.t.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
				ends, err = r.ends(2 * time.Second)
			}
		}
		r.verdict(c, missing, ends)
		r.count(counter, len(c.Events))
	})
}

func (r *rig) count(n *int, events int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n += events
}

func (r *rig) ends(timeout time.Duration) (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	listed, err := kadm.NewClient(r.got.client).ListEndOffsets(ctx, r.topics...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, err
	}
	ends := map[string]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[fmt.Sprint(o.Topic, "/", o.Partition)] = o.Offset })
	return ends, nil
}

// verdict holds I1: what the consumer had not seen when the status came is in the log before its end of that moment, or was in
// the dead-letter table.
func (r *rig) verdict(c auditor.Confirmation, missing []decoder.Position, ends map[string]int64) {
	deadline := time.Now().Add(patience)
	for !r.readUpTo(ends) {
		if time.Now().After(deadline) {
			r.say("the log was not read to its end within %s", patience)
			return
		}
		select {
		case <-r.t.Context().Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	parked, err := r.parked(c.At)
	if err != nil {
		r.say("read the dead letters: %v", err)
		return
	}
	r.got.mu.Lock()
	defer r.got.mu.Unlock()
	for _, at := range missing {
		p, in := r.got.places[at]
		if in && p.offset < ends[p.partition] || parked[at] {
			continue
		}
		r.say("I1: a status confirmed %s at %s, and event %s was in neither the log nor the table (in the log now: %v at %+v)",
			c.LSN, c.At.Format(time.TimeOnly), at, in, p)
	}
}

func (r *rig) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lost) < 20 {
		r.lost = append(r.lost, fmt.Sprintf(format, args...))
	}
}

func (r *rig) readUpTo(ends map[string]int64) bool {
	r.got.mu.Lock()
	defer r.got.mu.Unlock()
	for partition, end := range ends {
		if r.got.offsets[partition] < end {
			return false
		}
	}
	return true
}

// parked are the dead letters that stood in the table at a time.
func (r *rig) parked(at time.Time) (map[decoder.Position]bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, r.pg.URL())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `SELECT (commit_lsn - '0/0')::bigint, idx FROM cdc_relay.dead_letter WHERE slot = $1 AND parked_at <= $2`, r.slot, at)
	if err != nil {
		return nil, err
	}
	found := map[decoder.Position]bool{}
	var lsn, index int64
	_, err = pgx.ForEachRow(rows, []any{&lsn, &index}, func() error {
		found[decoder.Position{Commit: pglogrepl.LSN(lsn), Index: uint32(index)}] = true
		return nil
	})
	return found, err
}

// write has n applications commit and roll back until halt: transactions of 1 to 60 events over keys of their own, a third of
// them without a row, some too large for the last topic.
func (r *rig) write(n int) {
	for w := range n {
		rng := rand.New(rand.NewPCG(r.seed, uint64(w)))
		conn := r.pg.Conn(r.t)
		r.writers.Go(func() {
			for ctx := context.Background(); ; {
				select {
				case <-r.stop:
					return
				case <-time.After(time.Duration(rng.IntN(50)) * time.Millisecond):
				}
				if err := r.transaction(ctx, conn, rng, w); err != nil {
					r.t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
}

func (r *rig) transaction(ctx context.Context, conn *pgx.Conn, rng *rand.Rand, w int) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	rows := 1
	if rng.IntN(4) == 0 {
		rows = 2 + rng.IntN(60)
	}
	back := rng.IntN(10) == 0
	var batch pgx.Batch
	taken := map[string]int{}
	for range rows {
		t := rng.IntN(20)
		topic, pad := r.topics[min(t/10, 1)], rng.IntN(300)
		if t == 0 {
			if topic = r.topics[2]; rng.IntN(40) == 0 {
				pad = 9000
			}
		}
		key := fmt.Sprintf("w%d-%d", w, rng.IntN(15))
		id := topic + "/" + key
		n, known := taken[id]
		if !known {
			r.mu.Lock()
			n = r.next[id]
			r.mu.Unlock()
		}
		taken[id] = n + 1
		if rng.IntN(3) == 0 { // without a row
			batch.Queue(`INSERT INTO emitted SELECT cdc_relay.emit_message('orders', $2, 'Made', jsonb_build_object('n', $3::int, 'pad', repeat('x', $4::int)), topic => $1)`, topic, key, n, pad)
			continue
		}
		batch.Queue(`INSERT INTO outbox (topic, aggregate_type, aggregate_id, event_type, payload)
			VALUES ($1, 'orders', $2, 'Made', jsonb_build_object('n', $3::int, 'pad', repeat('x', $4::int)))`, topic, key, n, pad)
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return err
	}
	r.mu.Lock()
	for id, n := range taken {
		r.next[id] = n // also when it is rolled back: a number too many is no harm
	}
	if back {
		r.rolled += rows
	}
	r.mu.Unlock()
	if back {
		return tx.Rollback(ctx)
	}
	return tx.Commit(ctx)
}

// crash is kill -9 of the relay, and another start.
func (r *rig) crash() {
	r.relay.kill()
	r.relay = r.run()
}

// terminate ends the walsender.
func (r *rig) terminate() {
	r.pg.Exec(r.t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '"+r.slot+"' AND active_pid IS NOT NULL")
}

// finish stops the writers, waits until all is delivered or parked, drains, and holds what arrived against the tables.
func (r *rig) finish() {
	r.t.Helper()
	close(r.stop)
	r.writers.Wait()
	committed := append(r.ids(), query[[]string](r.stand, "SELECT coalesce(array_agg(id::text), '{}') FROM emitted")...)
	testenv.Eventually(r.t, patience, func() error {
		parked := len(r.letters("true"))
		if got := r.got.different(); got+parked < len(committed) {
			return fmt.Errorf("%d events arrived and %d were parked, of %d", got, parked, len(committed))
		}
		return nil
	})
	r.relay.says(`"streaming"`)
	r.relay.drain()
	parked := query[[]string](r.stand, `SELECT coalesce(array_agg(event_id), '{}') FROM cdc_relay.dead_letter WHERE slot = $1`, r.slot)
	lines := r.got.end(r.topics...)
	r.judging.Wait()

	// A parked event may have been delivered before a crash that kept its ack from counting; the table of those that were not.
	arrived := map[string]bool{}
	for _, l := range lines {
		arrived[header(l, "event_id")] = true
	}
	isParked := map[string]bool{}
	for _, id := range parked {
		isParked[id] = true
	}
	want := committed[:0:0]
	for _, id := range committed {
		if !isParked[id] || arrived[id] {
			want = append(want, id)
		}
	}
	again := compare(r.t, want, lines, len(lines))
	report := r.auditor.Report()
	r.t.Logf("seed %d: %d events committed, %d rows rolled back, %d records, %d repeats, %d parked", r.seed, len(committed), r.rolled, len(lines), again, len(parked))
	r.t.Logf("%d sessions, %d statuses, %d keepalives, longest time between two statuses %s; %d events confirmed: %d judged at once, %d when the broker answered again",
		report.Sessions, report.Statuses, report.Keepalives, report.LongestGap.Round(time.Millisecond), report.Confirmed, r.strict, r.loose)
	for _, v := range append(report.Violations, r.lost...) {
		r.t.Error(v)
	}
	if report.Confirmed != r.strict+r.loose || report.Confirmed < len(committed)/2 {
		r.t.Errorf("%d events were confirmed, of %d; %d were judged", report.Confirmed, len(committed), r.strict+r.loose)
	}
}
