package relay_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/ledger"
	"github.com/cdc-relay/cdc-relay/internal/metrics"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/replication"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// stand is a fresh database with the schema, a slot's name, and a destination in memory that outlives relays.
type stand struct {
	t    *testing.T
	pg   *testenv.PG
	db   *pgx.Conn
	slot string
	to   *sinktest.Faulty
	via  string // address to connect to, "": the server's own
}

func setup(t *testing.T, version ...string) *stand {
	t.Helper()
	pg := testenv.Postgres(t, version...)
	s := &stand{t: t, pg: pg, db: pg.Conn(t), slot: pg.SlotName(t), to: sinktest.NewFaulty()}
	if _, err := migrations.Up(t.Context(), s.db, migrations.NewOptions()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stand) url() string {
	if s.via != "" {
		return s.pg.Via(s.via)
	}
	return s.pg.URL()
}

// config of a relay on this stand.
func (s *stand) config(change ...func(*relay.Config)) relay.Config {
	cfg := relay.NewConfig()
	cfg.Slot, cfg.Publication = s.slot, "cdc_relay"
	cfg.Decoder = decoder.Config{
		Tables:          []decoder.Table{{Name: "public.outbox", Preset: decoder.PresetNative, Topic: decoder.DefaultTopic}},
		PositionHeaders: true, Publication: cfg.Publication,
	}
	cfg.Metrics = metrics.New("test")
	cfg.Log = zerolog.New(zerolog.NewTestWriter(s.t))
	cfg.Sink = s.to.Open
	cfg.Connect = func(ctx context.Context) (*replication.Conn, error) {
		return replication.Connect(ctx, replication.NewConfig(func(context.Context) (*pgconn.Config, error) {
			return pgconn.ParseConfig(s.url())
		}, s.slot, cfg.Publication))
	}
	cfg.Ledger = func(ctx context.Context) (relay.Ledger, error) {
		conn, err := pgx.Connect(ctx, s.url())
		if err != nil {
			return nil, err
		}
		return ledger.New(conn, s.slot, []string{"public.outbox"}), nil
	}
	for _, f := range change {
		f(&cfg)
	}
	return cfg
}

// running is a relay in its own goroutine.
type running struct {
	*relay.Relay
	t    *testing.T
	stop context.CancelFunc
	done chan struct{}
	err  error
}

func (s *stand) run(change ...func(*relay.Config)) *running {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Relay: relay.New(s.config(change...)), t: s.t, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = r.Run(ctx)
	}()
	s.t.Cleanup(func() { cancel(); <-r.done })
	return r
}

// start runs a relay and waits until it streams.
func (s *stand) start(change ...func(*relay.Config)) *running {
	s.t.Helper()
	r := s.run(change...)
	r.await("streaming")
	return r
}

func (r *running) await(state string) {
	r.t.Helper()
	testenv.Eventually(r.t, 20*time.Second, func() error {
		select {
		case <-r.done:
			r.t.Fatalf("Run returned %v, while waiting for state %q", r.err, state)
		default:
		}
		if got := r.Status(); got.State != state {
			return fmt.Errorf("state is %q (%s), want %q", got.State, got.Reason, state)
		}
		return nil
	})
}

// drain stops the relay as SIGTERM does, and returns what Run returned.
func (r *running) drain() error {
	r.t.Helper()
	r.stop()
	return r.wait()
}

// wait returns what Run returned.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(30 * time.Second):
		r.t.Fatal("Run does not return")
		return nil
	}
}

// insert commits n rows in one transaction, with keys k0, k1, ... in turn over `keys` of them, and payloads {"n": from...}.
func (s *stand) insert(from, n, keys int) {
	s.t.Helper()
	s.pg.Exec(s.t, `INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload)
		SELECT 'orders', 'k' || (i % $3), 'Made', jsonb_build_object('n', i) FROM generate_series($1::int, $1::int + $2::int - 1) AS i`, from, n, keys)
}

// holds waits until the destination holds n records.
func (s *stand) holds(n int) []sinktest.Record {
	s.t.Helper()
	testenv.Eventually(s.t, 30*time.Second, func() error {
		if got := len(s.to.Stored()); got < n {
			return fmt.Errorf("the destination holds %d records, want %d", got, n)
		}
		return nil
	})
	return s.to.Stored()
}
