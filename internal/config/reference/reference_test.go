package reference

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/cdc-relay/cdc-relay/internal/config"
)

var update = flag.Bool("update", false, "rewrite golden files")

const (
	sampleURL    = "postgres://cdc_relay@localhost:5432/app"
	sampleBroker = "localhost:9092"
)

func sample(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	if err := Sample(&b, sampleURL, []string{sampleBroker}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, config.DefaultFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Options{Dir: dir})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

func TestSampleIsGolden(t *testing.T) {
	t.Parallel()
	path := filepath.Join("testdata", "init.yaml")
	got := sample(t)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("config init changed; look at it, then go test -update\n%s", got)
	}
}

var commented = regexp.MustCompile(`(?m)^( *)#([a-z_]+: .*)$`)

func TestSampleRoundTrips(t *testing.T) {
	t.Parallel()
	text := sample(t)
	var b strings.Builder
	for line := range strings.Lines(text) {
		if m := commented.FindStringSubmatch(line); m != nil && !strings.Contains(line, "<") && !strings.Contains(line, "#stdout") {
			line = m[1] + m[2] + "\n"
		}
		b.WriteString(line)
	}
	plain := load(t, "database: {url: \""+sampleURL+"\"}\nsink: {kafka: {brokers: [\""+sampleBroker+"\"]}}\n")
	for name, c := range map[string]*config.Config{"as it is": load(t, text), "with all defaults written out": load(t, b.String())} {
		got, want := c.Values(), plain.Values()
		for i := range want {
			if got[i].Text != want[i].Text {
				t.Errorf("%s: %s: got %q, want %q", name, want[i].Path, got[i].Text, want[i].Text)
			}
		}
	}
	for _, f := range config.Fields() {
		if name := last(f.Path); !strings.Contains(text, name+": ") {
			t.Errorf("the sample does not mention %s", f.Path)
		}
	}
}

func TestShowLoadsAgain(t *testing.T) {
	t.Parallel()
	c := load(t, "database: {url: \""+sampleURL+"\"}\nsink: {kafka: {brokers: [\"a:1\"]}}\noutbox: [{preset: debezium}, {table: app.x, columns: {payload: body}, topics_allowed: [a, b]}]\n")
	var b bytes.Buffer
	if err := ShowYAML(&b, c); err != nil {
		t.Fatal(err)
	}
	again := load(t, b.String())
	got, want := again.Values(), c.Values()
	for i := range want {
		if !reflect.DeepEqual(got[i].Any, want[i].Any) {
			t.Errorf("%s: got %v, want %v", want[i].Path, got[i].Any, want[i].Any)
		}
	}
	if !strings.Contains(b.String(), "# cdc-relay.yaml:1:17") {
		t.Errorf("no origin shown:\n%s", b.String())
	}
}

func TestShowMasksSecrets(t *testing.T) {
	t.Parallel()
	c := load(t, "database: {url: \"postgres://u:hunter2@h/d\"}\nadmin: {token: hunter2}\nsink: {stdout: {}}\n")
	var y, j bytes.Buffer
	if err := ShowYAML(&y, c); err != nil {
		t.Fatal(err)
	}
	if err := ShowJSON(&j, c); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(y.String()+j.String(), "hunter2") {
		t.Error("a secret is shown")
	}
	if !strings.Contains(y.String(), "sink: {stdout: {}}") {
		t.Errorf("the sink is not shown:\n%s", y.String())
	}
	if !json.Valid(j.Bytes()) {
		t.Error("no JSON")
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Schema(&b); err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(b.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, yaml string
		valid      bool
	}{
		{"sample", sample(t), true},
		{"smallest", "database: {url: x}\nsink: {kafka: {brokers: [\"a:1\"]}}", true},
		{"shorthand", "sink: {kafka: {brokers: [\"a:1\"], tls: true, sasl: off}}", true},
		{"reference", "shards: ${N}\nsink: {stdout: {}}", true},
		{"upper case", "sink: {kafka: {brokers: a, sasl: {mechanism: SCRAM-SHA-256}}}", true},
		{"unknown key", "sink: {stdout: {}}\nshrads: 1", false},
		{"unknown key inside", "sink: {kafka: {brokers: [\"a:1\"], ack: all}}", false},
		{"unknown key in a list", "sink: {stdout: {}}\noutbox: [{tabel: x}]", false},
		{"unknown column", "sink: {stdout: {}}\noutbox: [{columns: {paylod: x}}]", false},
		{"wrong type", "shards: many\nsink: {stdout: {}}", false},
		{"out of range", "shards: 0\nsink: {stdout: {}}", false},
		{"enumeration", "on_stop: never\nsink: {stdout: {}}", false},
		{"duration", "drain_timeout: soon\nsink: {stdout: {}}", false},
		{"two sinks", "sink: {stdout: {}, file: {path: x}}", false},
	} {
		var doc any
		if err := yaml.Unmarshal([]byte(c.yaml), &doc); err != nil {
			t.Fatal(err)
		}
		if err := validate(s, doc, "$"); (err == nil) != c.valid {
			t.Errorf("%s: got %v, want valid %v", c.name, err, c.valid)
		}
	}
	// every default, in the type that the schema gives it
	for _, f := range config.Fields() {
		if f.Default != nil {
			if err := validate(normal(scalar(&f)), normal(defaultValue(&f)), f.Path); err != nil {
				t.Error(err)
			}
		}
	}
}

// normal takes a value through JSON, as a file would.
func normal(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		panic(err)
	}
	return out
}

// validate is the part of JSON schema that Schema uses.
func validate(schema, v any, at string) error {
	s := schema.(map[string]any)
	if list, has := s["anyOf"].([]any); has {
		var last error
		for _, one := range list {
			if last = validate(one, v, at); last == nil {
				return nil
			}
		}
		return last
	}
	if want, has := s["const"]; has && fmt.Sprint(want) != fmt.Sprint(v) {
		return fmt.Errorf("%s: %v is not %v", at, v, want)
	}
	if list, has := s["enum"].([]any); has {
		for _, want := range list {
			if fmt.Sprintf("%v", want) == fmt.Sprintf("%v", v) {
				return nil
			}
		}
		return fmt.Errorf("%s: %v is none of %v", at, v, list)
	}
	if !hasType(s["type"], v) {
		return fmt.Errorf("%s: %v is no %v", at, v, s["type"])
	}
	switch v := v.(type) {
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		for name, member := range v {
			p, known := properties[name]
			if !known {
				return fmt.Errorf("%s: unknown key %s", at, name)
			}
			if err := validate(p, member, at+"."+name); err != nil {
				return err
			}
		}
		if high, has := s["maxProperties"].(float64); has && len(v) > int(high) {
			return fmt.Errorf("%s: too many keys", at)
		}
	case []any:
		for i, item := range v {
			if err := validate(s["items"], item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case string:
		if p, has := s["pattern"].(string); has && !regexp.MustCompile(p).MatchString(v) {
			return fmt.Errorf("%s: %q does not match %s", at, v, p)
		}
	case int:
		return inRange(s, float64(v), at)
	case float64:
		return inRange(s, v, at)
	}
	return nil
}

func inRange(s map[string]any, v float64, at string) error {
	if low, has := s["minimum"].(float64); has && v < low {
		return fmt.Errorf("%s: %v is below %v", at, v, low)
	}
	if high, has := s["maximum"].(float64); has && v > high {
		return fmt.Errorf("%s: %v is above %v", at, v, high)
	}
	return nil
}

func hasType(want, v any) bool {
	if want == nil {
		return true
	}
	if list, several := want.([]any); several {
		for _, one := range list {
			if hasType(one, v) {
				return true
			}
		}
		return false
	}
	switch v.(type) {
	case nil:
		return want == "null"
	case bool:
		return want == "boolean"
	case string:
		return want == "string"
	case int, float64:
		return want == "integer" || want == "number"
	case []any:
		return want == "array"
	}
	return want == "object"
}

func TestVariablesNameEveryField(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Env(&b); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"CDC_RELAY_SINK_KAFKA_BROKERS", "CDC_RELAY_DATABASE_URL_FILE", "CDC_RELAY_OUTBOX_0_TABLE"} {
		if !strings.Contains(b.String(), name+" ") {
			t.Errorf("%s is not listed", name)
		}
	}
	if got, want := len(Variables()), len(config.Fields()); got != want {
		t.Errorf("got %d variables, want %d", got, want)
	}
}

func TestMarkdownHasEachGroupOnce(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Markdown(&b); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(b.String(), -1) {
		if seen[m[1]] {
			t.Errorf("group %s stands twice", m[1])
		}
		seen[m[1]] = true
	}
}
