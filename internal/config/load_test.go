package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// smallest is the head of most files here: five lines, so that what a test adds begins in line 6.
const smallest = `database:
  url: "postgres://relay@db/app"
sink:
  kafka:
    brokers: ["kafka:9092"]
`

func load(t *testing.T, yaml string, env []string, set ...string) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	if yaml != "" {
		write(t, filepath.Join(dir, DefaultFile), yaml)
	}
	return Load(Options{Dir: dir, Env: env, Set: set})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustLoad(t *testing.T, yaml string, env []string, set ...string) *Config {
	t.Helper()
	c, err := load(t, yaml, env, set...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSmallestFile(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, smallest, nil)
	if got, want := c.Sink.Kind, SinkKafka; got != want {
		t.Errorf("sink: got %q, want %q", got, want)
	}
	if got, want := c.Replication.Slot, "cdc_relay"; got != want {
		t.Errorf("slot: got %q, want %q", got, want)
	}
	if got, want := c.Sink.Kafka.BatchBytes, 900*KiB; got != want {
		t.Errorf("batch: got %v, want %v", got, want)
	}
	if got, want := len(c.Outbox), 1; got != want {
		t.Fatalf("outbox: got %d items, want %d", got, want)
	}
	if got, want := c.Outbox[0].Table, "public.outbox"; got != want {
		t.Errorf("table: got %q, want %q", got, want)
	}
	if got, want := c.Origin("database.url").String(), "cdc-relay.yaml:2:8"; got != want {
		t.Errorf("origin: got %q, want %q", got, want)
	}
}

func TestEnvironmentAlone(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, "", []string{"CDC_RELAY_DATABASE_URL=postgres://relay@db/app", "CDC_RELAY_SINK_KAFKA_BROKERS=a:9092, b:9092"})
	if got, want := strings.Join(c.Sink.Kafka.Brokers, " "), "a:9092 b:9092"; got != want {
		t.Errorf("brokers: got %q, want %q", got, want)
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file string
		env, set   []string
		want       string
		origin     string
	}{
		{"default", smallest, nil, nil, "20s", "default"},
		{"file", smallest + "drain_timeout: 1s\n", nil, nil, "1s", "cdc-relay.yaml:6:16"},
		{"environment over file", smallest + "drain_timeout: 1s\n", []string{"CDC_RELAY_DRAIN_TIMEOUT=2s"}, nil, "2s", "environment CDC_RELAY_DRAIN_TIMEOUT"},
		{"flag over environment", smallest + "drain_timeout: 1s\n", []string{"CDC_RELAY_DRAIN_TIMEOUT=2s"}, []string{"drain_timeout=3s"}, "3s", "--set drain_timeout"},
		{"last flag wins", smallest, nil, []string{"drain_timeout=3s", "drain_timeout=4s"}, "4s", "--set drain_timeout"},
		{"empty environment is not set", smallest + "drain_timeout: 1s\n", []string{"CDC_RELAY_DRAIN_TIMEOUT="}, nil, "1s", "cdc-relay.yaml:6:16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := mustLoad(t, c.file, c.env, c.set...)
			if got := FormatDuration(cfg.DrainTimeout); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if got := cfg.Origin("drain_timeout").String(); got != c.origin {
				t.Errorf("origin: got %s, want %s", got, c.origin)
			}
		})
	}
}

func TestListsMapsAndPresets(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, smallest+`outbox:
  - preset: debezium
    table: app.events
    columns: {event_id: uid, payload: body}
  - topics_allowed: [a, b]
`, []string{"CDC_RELAY_OUTBOX_1_TABLE=app.other", "CDC_RELAY_OUTBOX_2_TABLE=third"}, "outbox.0.columns.payload=doc", "outbox[1].topic=x-{event_type}")
	if got, want := len(c.Outbox), 3; got != want {
		t.Fatalf("got %d tables, want %d", got, want)
	}
	first, second, third := c.Outbox[0], c.Outbox[1], c.Outbox[2]
	if first.Topic != DebeziumTopic || first.Format != "debezium" {
		t.Errorf("preset debezium: got topic %q, format %q", first.Topic, first.Format)
	}
	if got, want := joinMap(first.Columns), "event_id=uid,payload=doc"; got != want {
		t.Errorf("columns: got %q, want %q", got, want)
	}
	if second.Table != "app.other" || second.Topic != "x-{event_type}" || len(second.TopicsAllowed) != 2 {
		t.Errorf("second table: got %+v", second)
	}
	if got, want := third.Table, "public.third"; got != want {
		t.Errorf("third table: got %q, want %q", got, want)
	}
}

func TestExpansion(t *testing.T) {
	t.Parallel()
	env := []string{"HOST=db1", "EMPTY=", "INJECT=a\nsink: {stdout: {}}"}
	for _, c := range []struct{ text, want string }{
		{"${HOST}", "db1"},
		{"a-${HOST}-${NONE:-x}", "a-db1-x"},
		{"${EMPTY:-x}", "x"},
		{"${EMPTY}", ""},
		{"${NONE:-}", ""},
		{"$${HOST}", "${HOST}"},
		{"$HOST", "$HOST"},
		{"cost $5", "cost $5"},
	} {
		cfg, err := load(t, smallest+"sink_x: 1\n", env)
		if err == nil {
			t.Fatalf("loaded %v", cfg)
		}
		got := mustLoad(t, "database: {url: \"postgres://relay@db/app\"}\nsink: {file: {path: \"x"+c.text+"\"}}\n", env).Sink.File.Path
		if got != "x"+c.want {
			t.Errorf("%s: got %q, want %q", c.text, got, "x"+c.want)
		}
	}
	t.Run("never changes the structure", func(t *testing.T) {
		t.Parallel()
		c := mustLoad(t, "sink: {file: {path: \"${INJECT}\"}}\n", env)
		if got, want := c.Sink.File.Path, "a\nsink: {stdout: {}}"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("other types", func(t *testing.T) {
		t.Parallel()
		c := mustLoad(t, smallest+"shards: ${N:-1}\ndrain_timeout: ${D}\nposition_headers: ${B}\nlimits:\n  max_in_flight_bytes: ${S}\n", []string{"D=7s", "B=false", "S=64MiB"})
		if c.DrainTimeout != 7*time.Second || c.PositionHeaders || c.Limits.MaxInFlightBytes != 64*MiB {
			t.Errorf("got %v %v %v", c.DrainTimeout, c.PositionHeaders, c.Limits.MaxInFlightBytes)
		}
	})
	t.Run("comma list", func(t *testing.T) {
		t.Parallel()
		c := mustLoad(t, "sink: {kafka: {brokers: \"${BROKERS}\"}}\n", []string{"BROKERS=a:1,b:2"})
		if got, want := strings.Join(c.Sink.Kafka.Brokers, " "), "a:1 b:2"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestDebeziumTopicRuleNeedsNoEscape(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, smallest+"outbox: [{topic: \"x.${routedByValue}\"}, {table: a.b, format: debezium, debezium: {event_key: k}}]\n",
		[]string{"CDC_RELAY_OUTBOX_1_DEBEZIUM_VALUE_CONVERTER=json"})
	if got, want := c.Outbox[0].Topic, "x.${routedByValue}"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	second := c.Outbox[1]
	if got, want := second.Topic, DebeziumTopic; got != want {
		t.Errorf("format debezium: got topic %q, want %q", got, want)
	}
	if second.Debezium.EventKey != "k" || second.Debezium.ValueConverter != "json" {
		t.Errorf("got %+v", second.Debezium)
	}
}

func TestSinkChoice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file, want string
		env, set         []string
	}{
		{"stdout, empty mapping", "sink: {stdout: {}}\n", SinkStdout, nil, nil},
		{"stdout, nothing below", "sink:\n  stdout:\n", SinkStdout, nil, nil},
		{"stdout by environment", "", SinkStdout, []string{"CDC_RELAY_SINK_STDOUT=true"}, nil},
		{"flags replace the file's", smallest, SinkStdout, nil, []string{"sink.kafka=false", "sink.stdout=true"}},
		{"file by flag", "", SinkFile, nil, []string{"sink.file.path=/x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := mustLoad(t, c.file, c.env, c.set...).Sink.Kind; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	c, err := Load(Options{Dir: t.TempDir(), SinkOptional: true})
	if err != nil || c.Sink.Kind != "" {
		t.Errorf("without a sink, where none is needed: got %v, %v", c, err)
	}
}

func TestShorthands(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, smallest+"    tls: true\n    sasl: \"off\"\nreplication: {failover: on}\n", nil)
	if !c.Sink.Kafka.TLS.Enabled || c.Sink.Kafka.SASL.Mechanism != "off" || c.Replication.Failover != "on" {
		t.Errorf("got tls %v, sasl %q, failover %q", c.Sink.Kafka.TLS.Enabled, c.Sink.Kafka.SASL.Mechanism, c.Replication.Failover)
	}
	c = mustLoad(t, smallest, []string{"CDC_RELAY_SINK_KAFKA_TLS=true"})
	if !c.Sink.Kafka.TLS.Enabled {
		t.Error("CDC_RELAY_SINK_KAFKA_TLS=true did not switch TLS on")
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, "database: {url: &url \"postgres://relay@db/app\"}\nmigrate: {url: *url}\nsink: {stdout: }\n", nil)
	if got, want := c.Migrate.URL.value, "postgres://relay@db/app"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEnvironmentNamesAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, f := range Fields() {
		if other, twice := seen[f.EnvName()]; twice {
			t.Errorf("%s names %s and %s", f.EnvName(), other, f.Path)
		}
		seen[f.EnvName()] = f.Path
	}
}

func TestEveryFieldIsSetByItsEnvironmentName(t *testing.T) {
	t.Parallel()
	for _, f := range Fields() {
		value := f.DefaultText()
		if value == "" {
			value = f.Example
		}
		if value == "" {
			value = "x"
		}
		_, err := Load(Options{Dir: t.TempDir(), SinkOptional: true, Env: []string{f.EnvName() + "=" + value}})
		var invalid *Invalid
		if errors.As(err, &invalid) {
			for _, m := range invalid.Mistakes {
				if strings.Contains(m.Text, "no such setting") {
					t.Errorf("%s: %v", f.EnvName(), m)
				}
			}
		}
	}
}

func TestDefaultsObeyTheirOwnRules(t *testing.T) {
	t.Parallel()
	for _, f := range Fields() {
		if f.Default == nil {
			continue
		}
		c := &Config{Outbox: make([]Outbox, 1)}
		f.set(c, 0, f.Default)
		if err := f.rules(f.at(c, 0)); err != nil {
			t.Errorf("%s: %v", f.Path, err)
		}
		again := &Config{Outbox: make([]Outbox, 1)}
		if err := setText(f.at(again, 0), f.DefaultText()); err != nil {
			t.Errorf("%s: default %q does not parse: %v", f.Path, f.DefaultText(), err)
		}
		if got, want := formatText(f.at(again, 0)), f.DefaultText(); got != want {
			t.Errorf("%s: got %q, want %q", f.Path, got, want)
		}
	}
}
