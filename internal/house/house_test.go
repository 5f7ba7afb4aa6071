package house

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cdc-relay/cdc-relay"

// deps lists the packages that pkg needs, itself left out.
func deps(t *testing.T, pkg string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg)
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pkg, err)
	}
	return slices.DeleteFunc(strings.Fields(string(out)), func(s string) bool { return s == pkg })
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Data flows down the pipeline, imports point up it.
func TestArrows(t *testing.T) {
	t.Parallel()
	own := func(pkg string) string { return module + "/" + pkg }
	for pkg, allowed := range map[string][]string{
		"record":         {"record/"},
		"decoder":        {"record"},
		"replication":    {"replication/"},
		"checkpoint":     {},
		"sink":           {"decoder", "record"},
		"sink/lanes":     {"sink", "decoder", "record"},
		"sink/line":      {"sink", "decoder", "record"},
		"sink/stdout":    {"sink", "sink/lanes", "sink/line", "decoder", "record"},
		"sink/file":      {"sink", "sink/lanes", "sink/line", "decoder", "record"},
		"sink/kafka":     {"sink", "sink/kafka/", "decoder", "record"},
		"migrations":     {},
		"internal/admin": {},

		"outbox":             {"outbox", "record"},
		"outbox/outboxpgx":   {"outbox", "record"},
		"outbox/outboxsql":   {"outbox", "record"},
		"outbox/outboxotel":  {},
		"outbox/outboxprom":  {"outbox", "record"},
		"outbox/outboxkafka": {"outbox", "record", "sink/kafka/partition"},

		"inbox/inboxkafka":                   {"inbox", "inbox/inboxkafka/internal/"},
		"inbox/inboxkafka/internal/fetch":    {"inbox"},
		"inbox/inboxkafka/internal/group":    {},
		"inbox/inboxkafka/internal/progress": {},

		"inbox":           {},
		"inbox/inboxpgx":  {"inbox", "inbox/internal/"},
		"inbox/inboxsql":  {"inbox", "inbox/internal/"},
		"inbox/inboxhttp": {"inbox"},
		"inbox/inboxprom": {"inbox"},
		"inbox/inboxtest": {"inbox"},
	} {
		for _, dep := range deps(t, own(pkg)) {
			rest, ours := strings.CutPrefix(dep, module+"/")
			if !ours {
				continue
			}
			ok := slices.ContainsFunc(allowed, func(a string) bool {
				return rest == a || strings.HasSuffix(a, "/") && strings.HasPrefix(rest, a) || strings.HasPrefix(rest, a+"/internal/")
			})
			if !ok {
				t.Errorf("%s depends on %s, and may know only %v", pkg, rest, allowed)
			}
		}
	}
}

// What lands in other people's programs pulls in nothing.
func TestRecordNeedsTheStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	for _, dep := range deps(t, module+"/record") {
		if strings.Contains(strings.Split(dep, "/")[0], ".") && !strings.HasPrefix(dep, module+"/record/") {
			t.Errorf("record depends on %s", dep)
		}
	}
}

// A program that writes events pulls in the driver that it uses, and nothing else of ours or of others.
func TestOutboxPullsInWhatItSpeaksTo(t *testing.T) {
	t.Parallel()
	for pkg, allowed := range map[string][]string{
		"outbox":            {module + "/outbox", module + "/record"},
		"outbox/outboxsql":  {module + "/outbox", module + "/record"},
		"outbox/outboxpgx":  {module + "/outbox", module + "/record", "github.com/jackc/pgx/v5", "github.com/jackc/pgpassfile", "github.com/jackc/pgservicefile", "golang.org/x/text"},
		"outbox/outboxotel": {"go.opentelemetry.io/otel", "github.com/cespare/xxhash"},
		"outbox/outboxkafka": {
			module + "/outbox", module + "/record", module + "/sink/kafka/partition",
			"github.com/segmentio/kafka-go", "github.com/klauspost/compress", "github.com/pierrec/lz4",
		},
		"outbox/outboxprom": {
			module + "/outbox", module + "/record", "github.com/prometheus/", "github.com/beorn7/", "github.com/cespare/", "github.com/munnerz/",
			"google.golang.org/protobuf", "golang.org/x/", "go.yaml.in/",
		},
	} {
		for _, dep := range deps(t, module+"/"+pkg) {
			if strings.HasSuffix(dep, "/stdlib") {
				t.Errorf("%s depends on %s, which registers a driver of database/sql", pkg, dep)
			}
			if strings.Contains(strings.Split(dep, "/")[0], ".") && !slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(dep, a) }) {
				t.Errorf("%s depends on %s", pkg, dep)
			}
		}
	}
}

// The inbox lands in other people's programs as well: nobody pulls in a driver, or a client, that he does not use.
func TestInboxPullsInWhatItNames(t *testing.T) {
	t.Parallel()
	for pkg, allowed := range map[string][]string{
		"inbox": nil, "inbox/inboxsql": nil, "inbox/inboxhttp": nil, "inbox/inboxtest": nil,
		"inbox/inboxpgx": {"github.com/jackc/", "golang.org/x/text/"}, // without pgxpool
	} {
		for _, dep := range deps(t, module+"/"+pkg) {
			ok := !strings.Contains(strings.Split(dep, "/")[0], ".") || strings.HasPrefix(dep, module+"/") ||
				slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(dep, a) })
			if !ok || strings.Contains(dep, "puddle") || strings.Contains(dep, "pgxpool") {
				t.Errorf("%s depends on %s", pkg, dep)
			}
		}
	}
}

// OpenTelemetry comes with the package that is named for it, and with no other.
func TestOpenTelemetryIsAnOption(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Deps " "}}`, "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		pkg, deps, _ := strings.Cut(line, " ")
		if strings.Contains(deps, "go.opentelemetry.io/") != strings.HasSuffix(pkg, "otel") {
			t.Errorf("%s: OpenTelemetry belongs to packages whose name ends in otel, and to them", pkg)
		}
	}
}

// The relay carries no broker, no server and nothing that is for tests.
func TestRelayCarriesNoBroker(t *testing.T) {
	t.Parallel()
	for _, dep := range deps(t, module+"/cmd/cdc-relay") {
		for _, bad := range []string{"kfake", "franz-go", "embedded-postgres", "toxiproxy", module + "/internal/testenv", module + "/internal/demo", "sinktest", module + "/internal/walsender", "pgregory.net"} {
			if strings.Contains(dep, bad) {
				t.Errorf("cmd/cdc-relay depends on %s", dep)
			}
		}
	}
}

// The stages start no log, count nothing: those belong to internal/relay and what stands around it.
func TestStagesDoNotLogOrCount(t *testing.T) {
	t.Parallel()
	for _, pkg := range []string{"record", "decoder", "replication", "checkpoint", "sink", "sink/lanes", "sink/kafka", "sink/stdout", "sink/file"} {
		for _, dep := range deps(t, module+"/"+pkg) {
			if strings.HasPrefix(dep, "github.com/rs/zerolog") || strings.HasPrefix(dep, "github.com/prometheus/") {
				t.Errorf("%s depends on %s", pkg, dep)
			}
		}
	}
}

// Packages of more than eight files stand here with their reason in ARCHITECTURE.md.
var large = []string{"internal/config", "cmd/cdc-relay", "internal/relay", "sink/kafka", "internal/testenv", "record", "inbox", "inbox/internal/pgstore"}

func TestSizes(t *testing.T) {
	t.Parallel()
	files := map[string]int{}
	comments := map[string]int{}
	walk(t, func(path string, text []byte) {
		if n := bytes.Count(text, []byte("\n")); n > 400 {
			t.Errorf("%s has %d lines: cut it by noun", path, n)
		}
		if strings.HasSuffix(path, "_test.go") || !strings.HasSuffix(path, ".go") {
			return
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		files[dir]++
		f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc != nil {
			comments[dir]++
		}
	})
	architecture, err := os.ReadFile(filepath.Join(root(t), "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	for dir, n := range files {
		if n > 8 && !(slices.Contains(large, dir) && bytes.Contains(architecture, []byte("`"+dir+"`"))) {
			t.Errorf("%s has %d files: cut the package, or say why not in ARCHITECTURE.md and here", dir, n)
		}
		if comments[dir] != 1 {
			t.Errorf("%s has %d package comments, want exactly one", dir, comments[dir])
		}
	}
}

// walk visits the project's own Go and SQL files, by their path below the root.
func walk(t *testing.T, visit func(path string, text []byte)) {
	t.Helper()
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return fs.SkipDir
		}
		if ext := filepath.Ext(path); d.IsDir() || ext != ".go" && ext != ".sql" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		visit(filepath.ToSlash(rel), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The runner needs Kafka's library, and neither a driver nor the relay: who runs it with database/sql carries no pgx.
func TestRunnerNeedsKafkaOnly(t *testing.T) {
	t.Parallel()
	for _, dep := range deps(t, module+"/inbox/inboxkafka") {
		if !strings.Contains(strings.Split(dep, "/")[0], ".") || strings.HasPrefix(dep, module+"/inbox") {
			continue
		}
		if !slices.ContainsFunc([]string{"github.com/segmentio/kafka-go", "github.com/klauspost/compress", "github.com/pierrec/lz4", "golang.org/x/"}, func(p string) bool {
			return strings.HasPrefix(dep, p)
		}) {
			t.Errorf("inbox/inboxkafka depends on %s", dep)
		}
	}
}
