package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/sink/line"
	"github.com/jackc/pgx/v5"
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

// process is a `cdc-relay run`.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  string // file of its standard error
	done chan struct{}
}

// run starts the relay and waits for nothing. It is killed when the test ends.
func (s *stand) run(env ...string) *process {
	s.t.Helper()
	log, err := os.CreateTemp(s.dir, "relay-*.log")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	p := &process{t: s.t, log: log.Name(), done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.Background(), program, "run")
	p.cmd.Env, p.cmd.Dir, p.cmd.Stderr = s.environ(env), s.dir, log
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	s.t.Cleanup(func() {
		p.kill()
		if s.t.Failed() {
			s.t.Logf("the relay (pid %d) ended with %s and said:\n%s", p.cmd.Process.Pid, p.cmd.ProcessState, last(p.said(), 6000))
		}
	})
	return p
}

// start runs the relay and waits until it streams.
func (s *stand) start(env ...string) *process {
	s.t.Helper()
	p := s.run(env...)
	p.says(`"streaming"`)
	return p
}

func (p *process) said() string {
	b, _ := os.ReadFile(p.log)
	return string(b)
}

func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// says waits until the relay has said all the words, and fails when it ends before.
func (p *process) says(words ...string) {
	p.t.Helper()
	testenv.Eventually(p.t, 40*time.Second, func() error {
		over, said := p.over(), p.said()
		for _, w := range words {
			if strings.Contains(said, w) {
				continue
			}
			if over {
				p.t.Fatalf("the relay ended (%s) without saying %q:\n%s", p.cmd.ProcessState, w, last(said, 4000))
			}
			return fmt.Errorf("the relay has not said %q yet", w)
		}
		return nil
	})
}

// saysAgain waits until a word was said n times.
func (p *process) saysAgain(word string, n int) {
	p.t.Helper()
	testenv.Eventually(p.t, 40*time.Second, func() error {
		if got := strings.Count(p.said(), word); got < n {
			return fmt.Errorf("the relay has said %q %d times, want %d", word, got, n)
		}
		return nil
	})
}

// exits waits for the end of the process, and holds it to its exit code and its last words: those after "error:". -1 is a
// death by a signal.
func (p *process) exits(code int, words ...string) string {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(60 * time.Second):
		p.t.Fatal("the relay does not end")
	}
	said := p.said()
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("got exit code %d, want %d:\n%s", got, code, last(said, 4000))
	}
	at := strings.LastIndex(said, "\nerror:")
	if len(words) > 0 && at < 0 {
		p.t.Fatalf("no error is told:\n%s", last(said, 4000))
	}
	text := said[max(at, 0):]
	for _, w := range words {
		if !strings.Contains(text, w) {
			p.t.Errorf("the operator does not read %q in:%s", w, text)
		}
	}
	p.verbsExist(text)
	return text
}

// verbsExist runs --help of each verb that an error names.
func (p *process) verbsExist(text string) {
	p.t.Helper()
	for _, m := range regexp.MustCompile("`cdc-relay ([^`]+)`").FindAllStringSubmatch(text, -1) {
		checkVerb(p.t, m[1])
	}
}

// checkVerb holds that a command line that we advise is one: its verb and its flags are known, and it takes as many arguments.
func checkVerb(t testing.TB, words string) {
	t.Helper()
	out, err := exec.CommandContext(context.Background(), program, append(strings.Fields(words), "--help")...).CombinedOutput()
	if err != nil {
		t.Errorf("`cdc-relay %s` is advised, and there is no such verb or flag: %v", words, err)
		return
	}
	args := 0
	verbs := strings.Fields(words)
	for i, w := range verbs {
		if strings.HasPrefix(w, "-") {
			verbs = verbs[:i]
			break
		}
	}
	usage := regexp.MustCompile(`(?m)^  cdc-relay (.*)$`).FindSubmatch(out)
	if usage == nil {
		return
	}
	known := strings.Fields(string(usage[1]))
	for i, w := range verbs {
		if i < len(known) && known[i] == w {
			continue
		}
		args++
	}
	if args > 0 && !bytes.Contains(usage[1], []byte("[NAME]")) && !bytes.Contains(usage[1], []byte("POSITION")) {
		t.Errorf("`cdc-relay %s` is advised, and that verb takes no argument: %s", words, usage[1])
	}
}

// signal sends one; kill is kill -9 and waits for the end.
func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// drain sends SIGTERM and expects exit code 0.
func (p *process) drain() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.exits(0)
}

// peak is the most memory that the process ever had resident, in bytes.
func (p *process) peak() int64 {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	if err != nil || m == nil {
		p.t.Skipf("SKIPPED for want of /proc: %v", err)
	}
	kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10
}

// admin is the address of its HTTP listener, as it says itself.
func (p *process) admin() string {
	p.t.Helper()
	p.says(`"admin":"`)
	m := regexp.MustCompile(`"admin":"([^"]+)"`).FindStringSubmatch(p.said())
	return m[1]
}

// status is /api/v1/status.
func (p *process) status() (relay.Status, error) {
	var st relay.Status
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, p.admin()+"/api/v1/status", nil)
	if err != nil {
		return st, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return st, err
	}
	defer func() { _ = resp.Body.Close() }()
	return st, json.NewDecoder(resp.Body).Decode(&st)
}

// is waits until the status satisfies check.
func (p *process) is(check func(relay.Status) error) {
	p.t.Helper()
	testenv.Eventually(p.t, 40*time.Second, func() error {
		st, err := p.status()
		if err != nil {
			return err
		}
		return check(st)
	})
}

// verb runs another verb and holds it to its exit code and words.
func (s *stand) verb(code int, words []string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(context.Background(), program, args...)
	cmd.Env, cmd.Dir = s.environ(nil), s.dir
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		s.t.Fatalf("cdc-relay %v: got exit code %d, want %d:\n%s", args, got, code, out)
	}
	for _, w := range words {
		if !strings.Contains(string(out), w) {
			s.t.Errorf("cdc-relay %v does not say %q:\n%s", args, w, out)
		}
	}
	return string(out)
}

// insert commits n rows in one transaction, keys k0, k1, ... in turn over `keys` of them, payloads {"n": from}, ...
func (s *stand) insert(from, n, keys int) {
	s.t.Helper()
	s.pg.Exec(s.t, insertRows, from, n, keys)
}

const insertRows = `INSERT INTO outbox (aggregate_type, aggregate_id, event_type, payload)
	SELECT 'orders', 'k' || (i % $3::int), 'Made', jsonb_build_object('n', i) FROM generate_series($1::int, $1::int + $2::int - 1) AS i`

// lines are the events in a file, "" for the stand's.
func (s *stand) lines(path string) []line.Line {
	s.t.Helper()
	if path == "" {
		path = s.file
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	var out []line.Line
	for text := range bytes.Lines(b) {
		if !bytes.HasSuffix(text, []byte("\n")) { // being written, or torn by a kill
			break
		}
		l, err := line.Parse(text)
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// holds waits until the file holds n different events, and returns all lines.
func (s *stand) holds(n int) []line.Line {
	s.t.Helper()
	var got []line.Line
	testenv.Eventually(s.t, 60*time.Second, func() error {
		got = s.lines("")
		if different := len(firstSight(got)); different < n {
			return fmt.Errorf("the destination holds %d events, want %d", different, n)
		}
		return nil
	})
	return got
}

// firstSight leaves out every event that came before.
func firstSight(lines []line.Line) []line.Line {
	seen := map[string]bool{}
	var out []line.Line
	for _, l := range lines {
		if id := header(l, "event_id"); !seen[id] {
			seen[id] = true
			out = append(out, l)
		}
	}
	return out
}

func header(l line.Line, name string) string {
	for _, h := range l.Headers {
		if h.Name == name {
			return string(h.Value)
		}
	}
	return ""
}

// number is the n of a payload {"n": n}.
func number(t testing.TB, l line.Line) int {
	t.Helper()
	var v struct{ N *int }
	if err := json.Unmarshal(l.Value, &v); err != nil || v.N == nil {
		t.Fatalf("value %q has no n: %v", l.Value, err)
	}
	return *v.N
}

// compare holds what arrived against what the table has: nothing is missing (I1), nothing was never committed, events of a
// key are in order at first sight (I2), a repeat is byte-identical (I9), and there are at most so many repeats. It returns how many.
func (s *stand) compare(lines []line.Line, repeats int) int {
	s.t.Helper()
	conn := s.pg.Conn(s.t)
	rows, err := conn.Query(context.Background(), "SELECT event_id::text FROM outbox")
	if err != nil {
		s.t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	return compare(s.t, ids, lines, repeats)
}

func compare(t testing.TB, committed []string, lines []line.Line, repeats int) int {
	t.Helper()
	seen := map[string]line.Line{}
	newest := map[string]int{}
	again := 0
	for _, l := range lines {
		id := header(l, "event_id")
		if before, is := seen[id]; is {
			again++
			if !sameLine(before, l) {
				t.Errorf("I9: event %s came again and differs:\n%+v\n%+v", id, before, l)
			}
			continue
		}
		seen[id] = l
		key, n := l.Topic+"/"+string(l.Key), number(t, l)
		if last, is := newest[key]; is && n < last {
			t.Errorf("I2: key %s: %d came after %d", key, n, last)
		}
		newest[key] = n
	}
	missing := 0
	for _, id := range committed {
		if _, is := seen[id]; !is {
			missing++
		}
		delete(seen, id)
	}
	if missing > 0 {
		t.Errorf("I1: %d of %d events are missing", missing, len(committed))
	}
	if len(seen) > 0 {
		t.Errorf("%d events arrived that the table does not hold", len(seen))
	}
	if again > repeats {
		t.Errorf("%d events came again, want at most %d", again, repeats)
	}
	return again
}

// sameLine compares all but cdc-source, which differs after a failover.
func sameLine(a, b line.Line) bool {
	same := func(a, b line.Header) bool {
		return a.Name == b.Name && (a.Name == "cdc-source" || bytes.Equal(a.Value, b.Value))
	}
	return a.Topic == b.Topic && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.Timestamp.Equal(b.Timestamp) &&
		a.Position == b.Position && slices.EqualFunc(a.Headers, b.Headers, same)
}

// query reads one value.
func query[T any](s *stand, sql string, args ...any) T {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.pg.URL())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var v T
	if err := conn.QueryRow(ctx, sql, args...).Scan(&v); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return v
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
