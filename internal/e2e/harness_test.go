package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/sink/line"
)

// program is the relay as users run it.
var program string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cdc-relay-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "cdc-relay")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", program, "github.com/cdc-relay/cdc-relay/cmd/cdc-relay")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the relay: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// stand is a migrated database, a role for the relay with just the rights that the migration grants, the name of a slot, and
// a file to publish to. The relay is configured by its environment alone.
type stand struct {
	t    testing.TB
	pg   *testenv.PG
	slot string
	role string
	dir  string
	file string   // where sink.file writes
	env  []string // of every relay and verb; later ones win
	read map[string]arrived
	conn *pgx.Conn // query's
}

// setup makes a stand in the shared server of a version.
func setup(t testing.TB, version ...string) *stand {
	t.Helper()
	return setupIn(t, testenv.Postgres(t, version...))
}

// setupIn makes a stand in a database, of a server of one's own mostly.
func setupIn(t testing.TB, pg *testenv.PG) *stand {
	t.Helper()
	s := bare(t, pg)
	s.migrate()
	return s
}

// bare is a stand without the schema.
func bare(t testing.TB, pg *testenv.PG) *stand {
	t.Helper()
	dir := t.TempDir()
	role, url := pg.CreateRole(t, "REPLICATION")
	s := &stand{t: t, pg: pg, slot: pg.SlotName(t), role: role, dir: dir, file: filepath.Join(dir, "events.jsonl")}
	s.env = []string{
		"CDC_RELAY_DATABASE_URL=" + url, "CDC_RELAY_MIGRATE_URL=" + pg.URL(), "CDC_RELAY_REPLICATION_SLOT=" + s.slot,
		"CDC_RELAY_ADMIN_LISTEN=127.0.0.1:0", "CDC_RELAY_LOG_FORMAT=json", "USER=tester",
	}
	return s
}

func (s *stand) migrate(change ...func(*migrations.Options)) {
	s.t.Helper()
	o := migrations.NewOptions()
	o.RelayRole = s.role
	for _, f := range change {
		f(&o)
	}
	if _, err := migrations.Up(context.Background(), s.pg.Conn(s.t), o); err != nil {
		s.t.Fatal(err)
	}
}

// environ is the environment of a process: without our own CDC_RELAY_ variables; sink.file unless another sink is named.
func (s *stand) environ(more []string) []string {
	env := slices.Concat(host.Environ(), s.env, more)
	for _, v := range slices.Concat(s.env, more) {
		if strings.HasPrefix(v, "CDC_RELAY_SINK_") {
			return env
		}
	}
	return append(env, "CDC_RELAY_SINK_FILE_PATH="+s.file)
}

// insert commits n rows in one transaction, keys k0, k1, ... in turn over `keys` of them, payloads {"n": from}, ...
func (s *stand) insert(from, n, keys int) {
	s.t.Helper()
	s.pg.Exec(s.t, insertRows, from, n, keys)
}

const insertRows = `INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload)
	SELECT 'orders', 'k' || (i % $3::int), 'Made', jsonb_build_object('n', i) FROM generate_series($1::int, $1::int + $2::int - 1) AS i`

// lines are the events in a file, "" for the stand's. What was read before is not read again: tests ask often. A torn last
// line, being written or left by a kill, is not counted yet.
func (s *stand) lines(path string) []line.Line {
	s.t.Helper()
	if path == "" {
		path = s.file
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	known := s.read[path]
	b, err := io.ReadAll(io.NewSectionReader(f, known.bytes, 1<<40))
	if err != nil {
		s.t.Fatal(err)
	}
	for text := range bytes.Lines(b) {
		if !bytes.HasSuffix(text, []byte("\n")) {
			break
		}
		l, err := line.Parse(text)
		if err != nil {
			s.t.Fatal(err)
		}
		known.lines = append(known.lines, l)
		known.bytes += int64(len(text))
	}
	if s.read == nil {
		s.read = map[string]arrived{}
	}
	s.read[path] = known
	return known.lines[:len(known.lines):len(known.lines)]
}

// arrived is how far a file was read.
type arrived struct {
	lines []line.Line
	bytes int64
}

// commitLSN is that of the first event in the file.
func (s *stand) commitLSN() string {
	s.t.Helper()
	f, err := os.Open(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	text, err := bufio.NewReader(f).ReadBytes('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := line.Parse(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return l.Position[:strings.LastIndexByte(l.Position, '/')]
}

// holds waits until the file holds n different events, and returns all lines.
func (s *stand) holds(n int) []line.Line {
	s.t.Helper()
	var got []line.Line
	testenv.Eventually(s.t, 60*time.Second, func() error {
		if got = s.lines(""); len(got) < n {
			return fmt.Errorf("the destination holds %d lines, want %d events", len(got), n)
		}
		if different := len(firstSight(got)); different < n {
			return fmt.Errorf("the destination holds %d events, want %d", different, n)
		}
		return nil
	})
	return got
}

// query reads one value, over a connection that is kept: tests ask often, and each sign-on costs milliseconds of CPU.
func query[T any](s *stand, sql string, args ...any) T {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var v T
	for attempt := 1; ; attempt++ {
		var err error
		if s.conn == nil || s.conn.IsClosed() {
			if s.conn, err = pgx.Connect(ctx, s.pg.URL()); err != nil {
				s.t.Fatal(err)
			}
			conn := s.conn
			s.t.Cleanup(func() { _ = conn.Close(context.Background()) })
		}
		if err = s.conn.QueryRow(ctx, sql, args...).Scan(&v); err == nil {
			return v
		}
		if !s.conn.IsClosed() || attempt == 2 { // closed: the server was restarted since
			s.t.Fatalf("%s: %v", sql, err)
		}
	}
}

// quiet waits until the slot has confirmed every event in the file.
func (s *stand) quiet() {
	s.t.Helper()
	testenv.Eventually(s.t, 40*time.Second, func() error {
		lines := s.lines("")
		if len(lines) == 0 {
			return errors.New("no event has arrived")
		}
		at := lines[len(lines)-1].Position
		commit := at[:strings.LastIndexByte(at, '/')]
		if !query[bool](s, "SELECT confirmed_flush_lsn > $1::pg_lsn FROM pg_replication_slots WHERE slot_name = $2", commit, s.slot) {
			return fmt.Errorf("the slot has not confirmed %s", at)
		}
		return nil
	})
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

// heavy skips a test that takes long unless it is asked for (make test-heavy).
func heavy(t testing.TB) {
	t.Helper()
	if os.Getenv("CDC_RELAY_TEST_HEAVY") == "" || testing.Short() {
		t.Skip("SKIPPED: takes long; CDC_RELAY_TEST_HEAVY=1 (make test-heavy) runs it")
	}
}
