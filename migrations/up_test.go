package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// versions are the servers that the project serves.
var versions = []string{"14", "15", "16", "17", "18"}

func eachVersion(t *testing.T, test func(t *testing.T, pg *testenv.PG)) {
	t.Parallel()
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			test(t, testenv.Postgres(t, v))
		})
	}
}

func ctx(t testing.TB) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return c
}

func mustUp(t testing.TB, conn *pgx.Conn, o Options) []string {
	t.Helper()
	applied, err := Up(ctx(t), conn, o)
	if err != nil {
		t.Fatalf("Up: %v", err)
	}
	return applied
}

func connectAs(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(ctx(t), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// catalog is all that Up leaves behind, row versions included: equal before and after means that nothing was written.
func catalog(t testing.TB, conn *pgx.Conn) string {
	t.Helper()
	var out string
	err := conn.QueryRow(ctx(t), `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
		SELECT 'class ' || c.oid || ' ' || c.relname || ' ' || c.xmin || coalesce(c.relacl::text, '') AS line FROM pg_class c WHERE c.relnamespace::regnamespace::text IN ('public', 'cdc_relay')
		UNION ALL SELECT 'proc ' || p.oid || ' ' || p.proname || ' ' || p.xmin || coalesce(p.proacl::text, '') FROM pg_proc p WHERE p.pronamespace::regnamespace::text = 'cdc_relay'
		UNION ALL SELECT 'schema ' || n.nspname || ' ' || n.xmin FROM pg_namespace n WHERE n.nspname IN ('public', 'cdc_relay')
		UNION ALL SELECT 'publication ' || p.oid || ' ' || p.xmin || ' ' || to_jsonb(p) FROM pg_publication p
		UNION ALL SELECT 'settings ' || s.xmin || to_jsonb(s) FROM cdc_relay.settings s
		UNION ALL SELECT 'protocol ' || s.xmin || to_jsonb(s) FROM cdc_relay.protocol s
		UNION ALL SELECT 'version ' || s.xmin || to_jsonb(s) FROM cdc_relay.schema_version s) x`).Scan(&out)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUpTwiceChangesNothing(t *testing.T) {
	eachVersion(t, func(t *testing.T, pg *testenv.PG) {
		conn, o := pg.Conn(t), NewOptions()
		o.RelayRole, _ = pg.CreateRole(t, "REPLICATION")

		state, err := Status(ctx(t), conn, o)
		if err != nil || state.Version != 0 || !state.Pending() {
			t.Fatalf("Status of an empty database: %+v, %v", state, err)
		}
		applied := mustUp(t, conn, o)
		var want []string
		for _, f := range state.Files {
			want = append(want, f.Name)
		}
		if !slices.Equal(applied, want) {
			t.Fatalf("applied %v, want %v", applied, want)
		}
		before := catalog(t, conn)
		if again := mustUp(t, conn, o); len(again) != 0 {
			t.Fatalf("second Up applied %v", again)
		}
		if after := catalog(t, conn); after != before {
			t.Fatalf("second Up changed the database\nbefore:\n%s\nafter:\n%s", before, after)
		}
		if state, err = Status(ctx(t), conn, o); err != nil || state.Pending() {
			t.Fatalf("Status after Up: %+v, %v", state, err)
		}
	})
}

func TestUpAtOnceIsHarmless(t *testing.T) {
	eachVersion(t, func(t *testing.T, pg *testenv.PG) {
		o := NewOptions()
		o.RelayRole, o.CreateRole = "relay_"+pg.Name(), true
		pg.Exec(t, "SELECT 1")
		t.Cleanup(func() { pg.Exec(t, "DROP OWNED BY "+o.RelayRole+"; DROP ROLE "+o.RelayRole) })
		var wg sync.WaitGroup
		var applied [4][]string
		var errs [4]error
		for i := range applied {
			conn := pg.Conn(t)
			wg.Go(func() { applied[i], errs[i] = Up(ctx(t), conn, o) })
		}
		wg.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatal(err)
		}
		if got, want := len(slices.Concat(applied[:]...)), len(mustRender(t, o)); got != want {
			t.Fatalf("%d files ran, want each of %d once: %v", got, want, applied)
		}
	})
}

// TestUpInterrupted ends the backend inside each file in turn, where all of its work is done and nothing committed: at the
// update of the version, held up by a trigger.
func TestUpInterrupted(t *testing.T) {
	eachVersion(t, func(t *testing.T, pg *testenv.PG) {
		o, watch := NewOptions(), pg.Conn(t)
		o.RelayRole, _ = pg.CreateRole(t, "REPLICATION")
		pg.Exec(t, versionTableSQL)
		pg.Exec(t, `CREATE TABLE hold (version int PRIMARY KEY);
			CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN IF EXISTS (SELECT FROM public.hold h WHERE h.version = NEW.version) THEN PERFORM pg_sleep(600); END IF; RETURN NEW; END $$;
			CREATE TRIGGER hold BEFORE UPDATE ON cdc_relay.schema_version FOR EACH ROW EXECUTE FUNCTION hold()`)
		for i, f := range mustRender(t, o) {
			pg.Exec(t, "DELETE FROM hold")
			pg.Exec(t, "INSERT INTO hold VALUES ($1)", i+1)
			conn := pg.Conn(t)
			pid := int32(conn.PgConn().PID())
			done := make(chan error, 1)
			go func() { _, err := Up(t.Context(), conn, o); done <- err }()
			testenv.Eventually(t, 30*time.Second, func() error {
				var sleeping bool
				err := watch.QueryRow(ctx(t), "SELECT coalesce(wait_event, '') = 'PgSleep' FROM pg_stat_activity WHERE pid = $1", pid).Scan(&sleeping)
				if err == nil && !sleeping {
					err = errors.New("not there yet")
				}
				return err
			})
			pg.Exec(t, "SELECT pg_terminate_backend($1)", pid)
			if err := <-done; err == nil {
				t.Fatalf("Up went through in spite of its end inside %s", f.name)
			}
			testenv.Eventually(t, 10*time.Second, func() error {
				state, err := Status(ctx(t), watch, o)
				if err == nil && state.Version != i {
					err = fmt.Errorf("after an end inside %s: version %d", f.name, state.Version)
				}
				return err
			})
		}
		pg.Exec(t, "DELETE FROM hold")
		mustUp(t, pg.Conn(t), o)
	})
}

func TestUpRefusesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, want string }{
		"table":       {"CREATE TABLE public.outbox (id uuid, payload text)", "is not the native outbox"},
		"plain":       {"CREATE TABLE public.outbox (event_id uuid, aggregate_type text, aggregate_id text, event_type text, topic text, partition_key text, payload jsonb, headers jsonb, created_at timestamptz, seq bigint)", "not partitioned"},
		"publication": {"CREATE PUBLICATION cdc_relay FOR ALL TABLES", "publication cdc_relay exists and is not FOR TABLE"},
		"empty":       {"CREATE PUBLICATION cdc_relay WITH (publish = 'insert', publish_via_partition_root = true)", "exists without table"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pg := testenv.Postgres(t)
			pg.Exec(t, c.before)
			_, err := Up(ctx(t), pg.Conn(t), NewOptions())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Run("somebody else's publication of all tables is no hindrance", func(t *testing.T) {
		t.Parallel()
		pg := testenv.Postgres(t)
		pg.Exec(t, "CREATE PUBLICATION theirs FOR ALL TABLES")
		mustUp(t, pg.Conn(t), NewOptions())
	})
	t.Run("other options", func(t *testing.T) {
		t.Parallel()
		pg, o := testenv.Postgres(t), NewOptions()
		mustUp(t, pg.Conn(t), o)
		o.OutboxTable = "public.events"
		if _, err := Up(ctx(t), pg.Conn(t), o); err == nil || !strings.Contains(err.Error(), `outbox_table "public.outbox"`) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("missing role", func(t *testing.T) {
		t.Parallel()
		pg, o := testenv.Postgres(t), NewOptions()
		o.RelayRole = "nobody_" + pg.Name()
		if _, err := Up(ctx(t), pg.Conn(t), o); err == nil || !strings.Contains(err.Error(), "--create-role") {
			t.Fatalf("got %v", err)
		}
		o.RelayRole, _ = pg.CreateRole(t) // and it goes on from there
		mustUp(t, pg.Conn(t), o)
	})
	t.Run("newer schema", func(t *testing.T) {
		t.Parallel()
		pg, o := testenv.Postgres(t), NewOptions()
		mustUp(t, pg.Conn(t), o)
		pg.Exec(t, "UPDATE cdc_relay.schema_version SET version = 99")
		if applied := mustUp(t, pg.Conn(t), o); len(applied) != 0 {
			t.Fatalf("an older binary ran %v", applied)
		}
	})
}

func TestFilesAreNumberedWithoutGap(t *testing.T) {
	t.Parallel()
	for i, f := range mustRender(t, NewOptions()) {
		if f.number != i+1 {
			t.Fatalf("%s stands at position %d", f.name, i+1)
		}
	}
}

func TestPrintIsWhatUpRuns(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pg, o := testenv.Postgres(t, version), NewOptions()
			o.RelayRole, _ = pg.CreateRole(t, "REPLICATION")
			var b strings.Builder
			if err := Print(&b, o); err != nil {
				t.Fatal(err)
			}
			pg.Exec(t, b.String())
			if applied := mustUp(t, pg.Conn(t), o); len(applied) != 0 {
				t.Fatalf("Up after Print ran %v", applied)
			}
			pg.Exec(t, b.String()) // people run it twice
		})
	}
}

func TestOptionsValidateNamesAllMistakes(t *testing.T) {
	t.Parallel()
	err := Options{OutboxTable: "out;box", PayloadType: "xml", Publication: "No", CreateRole: true}.Validate()
	for _, want := range []string{"out;box", "xml", `"No"`, "role is to be made", "0 bytes", "0 days"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if err := NewOptions().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func mustRender(t testing.TB, o Options) []file {
	t.Helper()
	all, err := render(o)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
