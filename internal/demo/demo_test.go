package demo

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/demo/ledger"
	"github.com/cdc-relay/cdc-relay/internal/demo/parts"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// relayProgram builds the relay for a test.
func relayProgram(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "relay-") // t.TempDir's name would be too long for some
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program, err := parts.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func TestI1I2_EmbeddedDemoUnderChaosKeepsItsPromises(t *testing.T) {
	t.Parallel()
	var screen strings.Builder
	o := NewOptions()
	o.For, o.Chaos, o.Screen, o.Relay = 6*time.Second, true, &screen, relayProgram(t)
	sum, err := Run(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, screen.String())
	}
	if !sum.OK() || sum.Committed == 0 || sum.Delivered != sum.Committed || sum.RolledBack == 0 {
		t.Errorf("got %+v, want all that was committed, and rows rolled back\n%s", sum, screen.String())
	}
	for _, m := range []string{"kill -9 of the relay", "pg_terminate_backend", "refuses", "acknowledgements are lost"} {
		if !strings.Contains(screen.String(), "chaos: ") || !strings.Contains(screen.String(), m) {
			t.Errorf("the screen does not name %q:\n%s", m, screen.String())
		}
	}
}

func TestDemoOnRealServersLeavesThemAsTheyWere(t *testing.T) {
	t.Parallel()
	pg, k := testenv.Postgres(t), testenv.Kafka(t)
	var screen strings.Builder
	o := NewOptions()
	o.Database, o.Brokers, o.Screen, o.Relay = pg.URL(), k.Brokers(), &screen, relayProgram(t)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second) // as Ctrl-C would
	defer stop()
	sum, err := Run(ctx, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, screen.String())
	}
	if !sum.OK() || sum.Committed == 0 || sum.Delivered != sum.Committed {
		t.Errorf("got %+v, want all that was committed\n%s", sum, screen.String())
	}
	var left int
	if err := pg.Conn(t).QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_database WHERE datname ~ '^cdc_relay_demo_')
		+ (SELECT count(*) FROM pg_replication_slots WHERE database ~ '^cdc_relay_demo_')`).Scan(&left); err != nil || left != 0 {
		t.Errorf("left in Postgres: got %d databases and slots, %v, want 0", left, err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		topics, err := k.Admin(t).ListTopics(t.Context())
		if err != nil {
			return err
		}
		for _, name := range topics.Names() {
			if strings.HasPrefix(name, "cdc_relay_demo_") {
				return &leftTopic{name}
			}
		}
		return nil
	})
}

type leftTopic struct{ name string }

func (e *leftTopic) Error() string { return "topic " + e.name + " is left" }

func TestConsumerJudgesWhatItGets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, key, value string
		phantom          bool
	}{
		{"as committed", "key-1", `{"key": "key-1", "n": 1, "is": "committed"}`, false},
		{"rolled back", "key-1", `{"key": "key-1", "n": 1, "is": "rolled back"}`, true},
		{"as an update left it", "key-1", `{"key": "key-1", "n": 1, "is": "updated"}`, true},
		{"under another key", "key-2", `{"key": "key-1", "n": 1, "is": "committed"}`, true},
		{"not ours", "key-1", `hello`, true},
		{"a tombstone", "key-1", ``, true},
	} {
		books := ledger.New()
		books.Committed("key-1", 1)
		(&consumer{books: books}).take(&kgo.Record{Key: []byte(c.key), Value: []byte(c.value)})
		got := books.Final()
		if (got.Phantom == 1) != c.phantom || (got.Delivered == 1) == c.phantom {
			t.Errorf("%s: got %+v, want phantom %v", c.what, got, c.phantom)
		}
	}
}

// TestApplicationKnowsWhatItCommitted compares the books with the table, without any relay.
func TestApplicationKnowsWhatItCommitted(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	pg.Exec(t, `CREATE TABLE outbox (event_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregate_type text, aggregate_id text, event_type text,
		topic text, payload jsonb, created_at timestamptz DEFAULT clock_timestamp());
		CREATE TABLE log (aggregate_id text, n bigint, is_what text, seq bigserial);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO log (aggregate_id, n, is_what) VALUES (NEW.aggregate_id, (NEW.payload->>'n')::bigint, NEW.payload->>'is'); RETURN NEW; END $$;
		CREATE TRIGGER note AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION note()`)
	books := ledger.New()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	app := &application{url: pg.URL(), topic: "t", rate: 2000, rows: 10, keys: 7, books: books}
	if err := app.run(ctx); err != nil {
		t.Fatal(err)
	}
	rows, err := pg.Conn(t).Query(t.Context(), "SELECT aggregate_id, n, is_what FROM log ORDER BY seq")
	if err != nil {
		t.Fatal(err)
	}
	committed := 0
	var key, is string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&key, &n, &is}, func() error {
		committed++
		if is != isCommitted {
			t.Errorf("a row that was %s stands in the table", is)
		}
		books.Delivered(key, uint64(n))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := books.Final()
	if !got.OK() || int(got.Committed) != committed || committed == 0 || got.Duplicates != 0 {
		t.Errorf("got %+v and %d rows in the table, want the same, in order, each once", got, committed)
	}
}
