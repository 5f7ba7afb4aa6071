package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
)

// result is what an invocation did.
type result struct {
	code     cli.Code
	out, err string
}

// call runs one invocation in an empty directory, with nothing in its environment but env.
func call(t *testing.T, env []string, args ...string) result {
	t.Helper()
	return callIn(t, t.TempDir(), env, args...)
}

func callIn(t *testing.T, dir string, env []string, args ...string) result {
	t.Helper()
	var out, words bytes.Buffer
	p := &cli.Program{In: strings.NewReader(""), Out: &out, Err: &words, Env: env, Dir: dir, Version: cli.Version{Version: "v0.0.0-test"}}
	code := execute(t.Context(), p, args)
	return result{code, out.String(), words.String()}
}

func (r result) expect(t *testing.T, code cli.Code, words ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code: got %d, want %d; %s", r.code, code, r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.err, w) {
			t.Errorf("standard error lacks %q:\n%s", w, r.err)
		}
	}
}

var stdout = []string{"CDC_RELAY_SINK_STDOUT=true"}

func TestUsageErrorsExit2(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args  string
		words string
	}{
		{"", "name one of its verbs"},
		{"rnu", `unknown verb "rnu" for "cdc-relay"; did you mean "run"?`},
		{"config", "name one of its verbs"},
		{"config chekc", `unknown verb "chekc" for "cdc-relay config"; did you mean "check"?`},
		{"config check extra", "unknown command \"extra\""},
		{"config check --nope", "unknown flag: --nope"},
		{"config check -o yaml", `output format "yaml": want text or json`},
		{"completion tcsh", `invalid argument "tcsh"`},
		{"dlq show", "accepts 1 arg(s)"},
		{"dlq show x", `"x" is no id`},
		{"dlq requeue", "name ids, or --topic with --key"},
		{"dlq requeue 1 --everything", "exactly one of them"},
		{"dlq requeue --topic a", "--topic goes with --key or --null-key"},
		{"dlq list --state gone", `--state "gone"`},
		{"dlq drop 1", "giving up dead letters 1 of slot cdc_relay cannot be undone; say --yes cdc_relay"},
		{"slot drop", "dropping slot cdc_relay cannot be undone; say --yes cdc_relay"},
		{"slot drop --yes other", `--yes names "other", which is another one`},
		{"slot drop Bad-Name --yes x", "slot name"},
		{"slot advance --to x --yes cdc_relay", `--to "x": want an LSN`},
		{"publication drop", "say --yes cdc_relay"},
		{"skip", `--position "": want LSN/INDEX`},
		{"skip --position 0/16B3748", "want LSN/INDEX as the error names it"},
		{"skip --position 0/16B3748/3", "--why is missing"},
		{"migrate print --payload-max big", `--payload-max: "big" is no size`},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			r := call(t, nil, strings.Fields(c.args)...)
			r.expect(t, cli.Usage, c.words)
			if r.out != "" {
				t.Errorf("standard output: got %q, want nothing", r.out)
			}
		})
	}
}

func TestHelpIsData(t *testing.T) {
	t.Parallel()
	r := call(t, nil, "config", "check", "--help")
	r.expect(t, cli.OK)
	if !strings.Contains(r.out, "Examples:") || r.err != "" {
		t.Errorf("got out %q, err %q", r.out, r.err)
	}
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "cdc-relay.yaml")
	if err := os.WriteFile(file, []byte("shadrs: 1\nsink:\n  kafka:\n    brokers: [x]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := callIn(t, dir, nil, "config", "check")
	r.expect(t, cli.Invalid, `cdc-relay.yaml:1:1: unknown key "shadrs"; did you mean "shards"?`, "cdc-relay.yaml:4:15: sink.kafka.brokers[0]", "the configuration has 2 mistakes")
	if r.out != "" {
		t.Errorf("standard output: got %q, want nothing", r.out)
	}
	call(t, stdout, "config", "check").expect(t, cli.OK, "the configuration is valid")
	call(t, nil, "config", "check", "--config", "none.yaml").expect(t, cli.Invalid, "none.yaml: no such file")
	for _, verb := range []string{"run", "config check"} {
		call(t, nil, strings.Fields(verb)...).expect(t, cli.Invalid, "no sink is configured")
	}
}

func TestConfigShow(t *testing.T) {
	t.Parallel()
	env := []string{"CDC_RELAY_DATABASE_URL=postgres://relay:hunter2@db/app"}
	r := call(t, env, "config", "show", "--set", "drain_timeout=3s")
	r.expect(t, cli.OK)
	for _, want := range []string{`url: "postgres://relay:***@db/app"`, "# environment CDC_RELAY_DATABASE_URL", "drain_timeout: 3s", "# --set drain_timeout"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("lacks %q:\n%s", want, r.out)
		}
	}
	r = call(t, env, "config", "show", "-o", "json")
	r.expect(t, cli.OK)
	var shown struct {
		Values []struct{ Path, Origin string }
	}
	if err := json.Unmarshal([]byte(r.out), &shown); err != nil || len(shown.Values) == 0 {
		t.Errorf("no JSON: %v\n%s", err, r.out)
	}
	if strings.Contains(r.out, "hunter2") {
		t.Error("the password is shown")
	}
}

func TestConfigInit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "cdc-relay.yaml")
	args := []string{"config", "init", "--file", file, "--database", "postgres://me@h/d", "--brokers", "a:1,b:2"}
	callIn(t, dir, nil, args...).expect(t, cli.OK, "wrote "+file)
	callIn(t, dir, nil, "config", "check").expect(t, cli.OK)
	callIn(t, dir, nil, args...).expect(t, cli.Failed, "file exists")
	if r := call(t, nil, "config", "init"); !strings.Contains(r.out, "sink:") || r.err != "" {
		t.Errorf("got out %q, err %q", r.out, r.err)
	}
}

func TestConfigSchemaAndEnv(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"config schema", "config env -o json", "version -o json"} {
		r := call(t, nil, strings.Fields(args)...)
		r.expect(t, cli.OK)
		if !json.Valid([]byte(r.out)) {
			t.Errorf("%s: no JSON:\n%s", args, r.out)
		}
	}
	if r := call(t, nil, "config", "env"); !strings.Contains(r.out, "CDC_RELAY_SINK_KAFKA_BROKERS") {
		t.Errorf("got %s", r.out)
	}
}

func TestVersionAndCompletion(t *testing.T) {
	t.Parallel()
	if r := call(t, nil, "version"); !strings.HasPrefix(r.out, "cdc-relay v0.0.0-test ") {
		t.Errorf("got %q", r.out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := call(t, nil, "completion", shell)
		r.expect(t, cli.OK)
		if !strings.Contains(r.out, "cdc-relay") {
			t.Errorf("%s: no script", shell)
		}
	}
}

// verbs yields every runnable verb.
func verbs(cmd *cobra.Command, yield func(*cobra.Command)) {
	for _, c := range cmd.Commands() {
		if c.Name() == "help" {
			continue
		}
		yield(c)
		verbs(c, yield)
	}
}

func TestEveryVerbHasTwoExamplesThatParse(t *testing.T) {
	t.Parallel()
	verbs(newRoot(&cli.Program{}), func(c *cobra.Command) {
		lines := strings.Split(c.Example, "\n")
		if len(lines) < 2 {
			t.Errorf("%s has %d examples, want 2", c.CommandPath(), len(lines))
		}
		for _, line := range lines {
			args := exampleArgs(line)
			if args == nil {
				t.Errorf("%s: example %q does not call cdc-relay", c.CommandPath(), line)
				continue
			}
			root := newRoot(&cli.Program{})
			found, rest, err := root.Find(args)
			if err != nil {
				t.Errorf("%q: %v", line, err)
				continue
			}
			if !c.HasSubCommands() && found.CommandPath() != c.CommandPath() {
				t.Errorf("%q is an example of %s, not of %s", line, found.CommandPath(), c.CommandPath())
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%q: %v", line, err)
				continue
			}
			if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%q: %v", line, err)
			}
		}
	})
}

// exampleArgs cuts the arguments of cdc-relay out of a line of shell.
func exampleArgs(line string) []string {
	_, rest, found := strings.Cut(line, "cdc-relay ")
	if !found {
		return nil
	}
	var args []string
	var word strings.Builder
	quoted, any := false, false
	flush := func() {
		if any {
			args = append(args, word.String())
		}
		word.Reset()
		any = false
	}
	for _, r := range rest {
		switch {
		case r == '\'':
			quoted, any = !quoted, true
		case quoted:
			word.WriteRune(r)
		case r == '|' || r == '>' || r == '&' || r == ')':
			flush()
			return args
		case r == ' ':
			flush()
		default:
			word.WriteRune(r)
			any = true
		}
	}
	flush()
	return args
}

func TestReferencePagesAreFresh(t *testing.T) {
	t.Parallel()
	for name, write := range pages(&cli.Program{}) {
		var want bytes.Buffer
		if err := write(&want); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("docs/%s is stale: run `go run ./cmd/cdc-relay docs markdown --dir docs`", name)
		}
	}
}

func TestDocs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	call(t, nil, "docs", "markdown", "--dir", filepath.Join(dir, "md")).expect(t, cli.OK)
	call(t, nil, "docs", "man", "--dir", filepath.Join(dir, "man")).expect(t, cli.OK)
	for _, name := range []string{"md/configuration.md", "md/verbs.md", "md/exit-codes.md", "man/cdc-relay-config-check.1"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestHealthcheckAndStatus(t *testing.T) {
	t.Parallel()
	ready := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/v1/status":
			_, _ = w.Write([]byte(`{"state": "streaming", "lag": {"bytes": 12345678901234567}, "stalled": [{"lane": "orders/3"}], "none": null}`))
		case !ready:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("sink: no broker answers\nnot ready\n"))
		}
	}))
	env := []string{"CDC_RELAY_ADMIN_LISTEN=" + strings.TrimPrefix(server.URL, "http://")}

	call(t, env, "healthcheck").expect(t, cli.OK, "ready")
	r := call(t, env, "status")
	r.expect(t, cli.OK)
	for _, want := range []string{"lag.bytes", "12345678901234567", "stalled[0].lane", "orders/3"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("status lacks %q:\n%s", want, r.out)
		}
	}
	if r := call(t, env, "status", "-o", "json"); !json.Valid([]byte(r.out)) {
		t.Errorf("no JSON: %s", r.out)
	}

	ready = false
	call(t, env, "healthcheck").expect(t, cli.Unhealthy, "not ready (HTTP 503): sink: no broker answers")
	call(t, env, "status").expect(t, cli.Unhealthy, "sink: no broker answers")

	server.Close()
	call(t, env, "healthcheck").expect(t, cli.Unhealthy, "is it running, and admin.listen right?")
	call(t, env, "status").expect(t, cli.Unhealthy, "is it running")
}

func TestStatusWatchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 6 { // each look asks twice
			cancel()
		}
		_, _ = w.Write([]byte("{\"n\":\n1}"))
	}))
	defer server.Close()
	var out, words bytes.Buffer
	p := &cli.Program{In: strings.NewReader(""), Out: &out, Err: &words, Dir: t.TempDir()}
	code := execute(ctx, p, []string{"status", "--watch", "--interval", "100ms", "-o", "json", "--address", server.URL})
	if code != cli.OK {
		t.Errorf("exit code: got %d, want 0; %s", code, words.String())
	}
	if got, want := out.String(), strings.Repeat("{\"n\":1}\n", 3); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParsePosition(t *testing.T) {
	t.Parallel()
	p, err := parsePosition("0/16B3748/3")
	if err != nil || p.String() != "0/16B3748/3" {
		t.Errorf("got %v, %v", p, err)
	}
	for _, bad := range []string{"", "/", "3", "0/16B3748", "0/16B3748/x", "0/16B3748/-1", "0/16B3748/4294967296", "x/y/1"} {
		if _, err := parsePosition(bad); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}

func TestAdminURL(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{"127.0.0.1:9630": "http://127.0.0.1:9630", ":9630": "http://127.0.0.1:9630", "0.0.0.0:1": "http://127.0.0.1:1", "[::]:1": "http://[::1]:1"} {
		r := call(t, []string{"CDC_RELAY_ADMIN_LISTEN=" + listen, "CDC_RELAY_SINK_STDOUT=true"}, "config", "check")
		r.expect(t, cli.OK)
		if got := adminURL(adminConfig(listen)); got != want {
			t.Errorf("%s: got %s, want %s", listen, got, want)
		}
	}
}

func adminConfig(listen string) config.Admin { return config.Admin{Listen: listen} }
