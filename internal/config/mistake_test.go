package config

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestMistakes(t *testing.T) {
	t.Parallel()
	const f = "cdc-relay.yaml:"
	for _, c := range []struct {
		name, file string
		env, set   []string
		want       []string // each the beginning of a mistake, in order
	}{
		{"unknown key with a neighbour", smallest + "replication:\n  slott: x\n", nil, nil, []string{f + `7:3: replication: unknown key "slott"; did you mean "slot"?`}},
		{"swapped letters", smallest + "shadrs: 1\n", nil, nil, []string{f + `6:1: unknown key "shadrs"; did you mean "shards"?`}},
		{"other spelling", smallest + "    batchBytes: 1MiB\n", nil, nil, []string{f + `6:5: sink.kafka: unknown key "batchBytes"; did you mean "batch_bytes"?`}},
		{"key in the wrong place", smallest + "compression: zstd\n", nil, nil, []string{f + `6:1: unknown key "compression" here; did you mean sink.kafka.compression?`}},
		{"key out of the blue", smallest + "log: {zzzzzzzz: 1}\n", nil, nil, []string{f + `6:7: log: unknown key "zzzzzzzz"; known here: level, format`}},
		{"key in a list item", smallest + "outbox:\n  - tabel: x\n", nil, nil, []string{f + `7:5: outbox[0]: unknown key "tabel"; did you mean "table"?`}},
		{"key of a map", smallest + "outbox:\n  - columns:\n      paylod: x\n", nil, nil, []string{f + `8:7: outbox[0].columns: unknown key "paylod"; did you mean "payload"?`}},
		{"key twice", smallest + "shards: 1\nshards: 1\n", nil, nil, []string{f + `7:1: shards: the key stands twice; the first is in line 6`}},
		{"list for a section", smallest + "limits: [1]\n", nil, nil, []string{f + `6:9: limits: a list stands where keys are expected: max_in_flight_events`}},
		{"mapping for a scalar", smallest + "shards: {a: 1}\n", nil, nil, []string{f + `6:9: shards: a mapping stands where a whole number is expected`}},
		{"scalar for a list", smallest + "outbox: public.outbox\n", nil, nil, []string{f + `6:9: outbox: "public.outbox" stands where a list is expected`}},
		{"no value", smallest + "shards:\n", nil, nil, []string{f + `6:8: shards: the key has no value`}},
		{"int", smallest + "shards: many\n", nil, nil, []string{f + `6:9: shards: "many" is no whole number`}},
		{"float for int", smallest + "limits: {max_parked: 1.5}\n", nil, nil, []string{f + `6:22: limits.max_parked: "1.5" is no whole number`}},
		{"bool", smallest + "position_headers: maybe\n", nil, nil, []string{f + `6:19: position_headers: "maybe" is neither true nor false`}},
		{"bool for a string", smallest + "replication: {slot: true}\n", nil, nil, []string{f + `6:21: replication.slot: true is a boolean where a string is expected; put it in quotes`}},
		{"duration without unit", smallest + "drain_timeout: 20\n", nil, nil, []string{f + `6:16: drain_timeout: "20" has no unit; write 20s`}},
		{"duration in days", smallest + "retention: {keep: 3d}\n", nil, nil, []string{f + `6:19: retention.keep: "3d" counts days; write 72h`}},
		{"duration out of range", smallest + "replication: {status_interval: 1h}\n", nil, nil, []string{f + `6:32: replication.status_interval: 1h is out of range; it goes from 100ms to 3s`}},
		{"retention below an hour", smallest + "retention: {keep: 5m}\n", nil, nil, []string{f + `6:19: retention.keep: 5m is less than an hour`}},
		{"decimal size", smallest + "limits: {max_in_flight_bytes: 32MB}\n", nil, nil, []string{f + `6:31: limits.max_in_flight_bytes: "32MB" has no binary unit; write 32MiB`}},
		{"size", smallest + "limits: {max_in_flight_bytes: big}\n", nil, nil, []string{f + `6:31: limits.max_in_flight_bytes: "big" is no size`}},
		{"size out of range", smallest + "limits: {max_in_flight_bytes: 1KiB}\n", nil, nil, []string{f + `6:31: limits.max_in_flight_bytes: 1KiB is out of range; it goes from 1MiB to 64GiB`}},
		{"batch above the window", smallest + "    batch_bytes: 64MiB\n", nil, nil, []string{f + `6:18: sink.kafka.batch_bytes: 64MiB is more than limits.max_in_flight_bytes (32MiB)`}},
		{"auto", smallest + "    max_requests_in_flight: 90\n", nil, nil, []string{f + `6:29: sink.kafka.max_requests_in_flight: 90 is out of range; it goes from 1 to 20`}},
		{"enumeration", smallest + "on_reject: prak\n", nil, nil, []string{f + `6:12: on_reject: "prak" is none of park, halt, dead_letter (did you mean "park"?)`}},
		{"slot name", smallest + "replication: {slot: My-Slot}\n", nil, nil, []string{f + `6:21: replication.slot: "My-Slot" is no valid name`}},
		{"slot name too long", smallest + "replication: {publication: " + strings.Repeat("a", 64) + "}\n", nil, nil, []string{f + `6:28: replication.publication: "aaaa`}},
		{"placeholder", "database: {url: \"postgres://relay:CHANGE-ME@db/app\"}\nsink: {stdout: {}}\n", nil, nil, []string{f + `1:17: database.url: still holds the placeholder CHANGE-ME`}},
		{"placeholder by environment", smallest, []string{"CDC_RELAY_ADMIN_TOKEN=CHANGE-ME"}, nil, []string{`environment CDC_RELAY_ADMIN_TOKEN: admin.token: still holds the placeholder`}},
		{"no sink", "database: {url: \"postgres://relay@db/app\"}\n", nil, nil, []string{`cdc-relay.yaml: sink: no sink is configured`}},
		{"empty sink", "sink: {}\n", nil, nil, []string{f + `1:7: sink: no sink is configured`}},
		{"no file, no sink", "", nil, nil, []string{`sink: no sink is configured`}},
		{"two sinks", smallest + "  stdout: {}\n", nil, nil, []string{f + `5:5: sink.kafka: one of several sinks (kafka, stdout)`, f + `6:11: sink.stdout: one of several sinks`}},
		{"sink of a later version", "sink: {nats: {url: x}}\n", nil, nil, []string{f + `1:14: sink.nats: this sink is not in this version; it has kafka, stdout and file`}},
		{"sink of a later version by environment", "sink: {stdout: {}}", []string{"CDC_RELAY_SINK_NATS_URL=x"}, nil, []string{`environment CDC_RELAY_SINK_NATS_URL: sink.nats: this sink is not in this version`}},
		{"unknown sink", "sink: {kafak: {}}\n", nil, nil, []string{f + `1:8: sink: unknown key "kafak"; did you mean "kafka"?`}},
		{"no brokers", "sink: {kafka: {}}\n", nil, nil, []string{f + `1:15: sink.kafka.brokers: is required`}},
		{"no path", "sink: {file: {}}\n", nil, nil, []string{f + `1:14: sink.file.path: is required`}},
		{"setting of stdout", "sink: {stdout: {path: x}}\n", nil, nil, []string{f + `1:17: sink.stdout: unknown key "path" here; did you mean sink.file.path?`}},
		{"broker without port", "sink: {kafka: {brokers: [\"a:1\", b]}}\n", nil, nil, []string{f + `1:33: sink.kafka.brokers[1]: "b" has no port; write b:9092`}},
		{"broker by environment", "", []string{"CDC_RELAY_SINK_KAFKA_BROKERS=a:1,b"}, nil, []string{`environment CDC_RELAY_SINK_KAFKA_BROKERS: sink.kafka.brokers[1]: "b" has no port`}},
		{"acks", smallest + "    acks: 1\n", nil, nil, []string{f + `6:11: sink.kafka.acks: 1 can lose events`}},
		{"TLS files without TLS", smallest + "    tls: {ca_file: /x}\n", nil, nil, []string{f + `6:20: sink.kafka.tls.ca_file: is set, but TLS is off`}},
		{"half a certificate", smallest + "    tls: {enabled: true, cert_file: /x}\n", nil, nil, []string{f + `6:37: sink.kafka.tls.key_file: is required with cert_file`}},
		{"SASL without user", smallest + "    sasl: {mechanism: PLAIN}\n", nil, nil, []string{f + `6:23: sink.kafka.sasl.username: is required with plain`, f + `6:23: sink.kafka.sasl.password: is required`}},
		{"SASL off with user", smallest + "    sasl: {username: me}\n", nil, nil, []string{f + `6:22: sink.kafka.sasl.username: is set, but sink.kafka.sasl.mechanism is off`}},
		{"oauth without token", smallest + "    sasl: {mechanism: oauthbearer}\n", nil, nil, []string{f + `6:23: sink.kafka.sasl.token: is required`}},
		{"token address", smallest + "    sasl: {mechanism: oauthbearer, token_url: x, client_id: a, client_secret: b}\n", nil, nil, []string{f + `6:47: sink.kafka.sasl.token_url: "x" is no http or https address`}},
		{"secret twice", smallest + "admin: {token: a, token_file: b}\n", nil, nil, []string{f + `6:31: admin.token_file: admin.token is set too (cdc-relay.yaml:6:16)`}},
		{"listener", smallest + "admin: {listen: here}\n", nil, nil, []string{f + `6:17: admin.listen: "here" has no port; write here:9630`}},
		{"listener with TLS", smallest + "admin: {tls: true}\n", nil, nil, []string{f + `6:14: admin.tls.cert_file: is required`, f + `6:14: admin.tls.key_file: is required`}},
		{"database scheme", "database: {url: \"mysql://a\"}\nsink: {stdout: {}}\n", nil, nil, []string{f + `1:17: database.url: has the scheme mysql`}},
		{"database text", "database: {url: db.example}\nsink: {stdout: {}}\n", nil, nil, []string{f + `1:17: database.url: is neither a URL`}},
		{"password in a standby's address", smallest[:len("database:\n")] + "  standby_urls: [\"postgres://a:b@c/d\"]\nsink: {stdout: {}}\n", nil, nil, []string{f + `2:18: database.standby_urls[0]: holds a password`}},
		{"table", smallest + "outbox: [{table: 'a.b.c'}]\n", nil, nil, []string{f + `6:18: outbox[0].table: "a.b.c" is no table`}},
		{"same table twice", smallest + "outbox: [{table: a.b}, {table: a.b}]\n", nil, nil, []string{f + `6:32: outbox[1].table: a.b stands in outbox[0] already`}},
		{"second table without a name", smallest + "outbox:\n  - preset: native\n  - preset: native\n", nil, nil, []string{f + `8:5: outbox[1].table: public.outbox stands in outbox[0] already`}},
		{"topic rule", smallest + "outbox: [{topic: \"x.{agregate_type}\"}]\n", nil, nil, []string{f + `6:18: outbox[0].topic: {agregate_type} is no column of the rule; did you mean {aggregate_type}?`}},
		{"topic brace", smallest + "outbox: [{topic: \"x.{\"}]\n", nil, nil, []string{f + `6:18: outbox[0].topic: "x.{" has an unpaired brace`}},
		{"topic letters", smallest + "outbox: [{topic: \"a b\"}]\n", nil, nil, []string{f + `6:18: outbox[0].topic: "a b" has letters that Kafka refuses`}},
		{"allowed topic", smallest + "outbox: [{topics_allowed: [ok, \"a/b\"]}]\n", nil, nil, []string{f + `6:32: outbox[0].topics_allowed[1]: "a/b" is no topic`}},
		{"shards of a later version", smallest + "shards: 2\n", nil, nil, []string{f + `6:9: shards: not in this version`}},
		{"shards out of range", smallest + "shards: 0\n", nil, nil, []string{f + `6:9: shards: 0 is out of range; it goes from 1 to 64`}},
		{"variable that is not set", smallest + "log: {level: \"${NONE}\"}\n", nil, nil, []string{f + `6:14: log.level: environment variable NONE is not set; set it, or write ${NONE:-default}`}},
		{"reference without an end", smallest + "log: {level: \"${NONE\"}\n", nil, nil, []string{f + `6:14: log.level: "${NONE" is no reference`}},
		{"not YAML", "database: [\n", nil, nil, []string{f + `1:1: not YAML`}},
		{"tabs", "database:\n\turl: x\n", nil, nil, []string{f + `2:1: not YAML`}},
		{"two documents", smallest + "---\nshards: 1\n", nil, nil, []string{f + `6:1: a second document begins here`}},
		{"environment, unknown", smallest, []string{"CDC_RELAY_DRAIN_TIMOUT=1s"}, nil, []string{`environment CDC_RELAY_DRAIN_TIMOUT: no such setting; did you mean CDC_RELAY_DRAIN_TIMEOUT?`}},
		{"environment, bad value", smallest, []string{"CDC_RELAY_DRAIN_TIMEOUT=soon"}, nil, []string{`environment CDC_RELAY_DRAIN_TIMEOUT: drain_timeout: "soon" is no duration`}},
		{"flag, unknown", smallest, nil, []string{"sink.kafka.ack=all"}, []string{`--set sink.kafka.ack: unknown key "ack"; did you mean "acks"?`}},
		{"flag, no value", smallest, nil, []string{"shards"}, []string{`--set shards: no value; write --set shards=value`}},
		{"flag, section", smallest, nil, []string{"limits=1"}, []string{`--set limits: limits: this is a section`}},
		{"flag, list", smallest, nil, []string{"outbox.table=x"}, []string{`--set outbox.table: outbox is a list; write outbox[0].table`}},
		{"flag, index", smallest, nil, []string{"outbox[4].table=x"}, []string{`--set outbox[4].table: outbox[4].table: the list has 0 items; the next one is outbox[0]`}},
		{"flag, column", smallest, nil, []string{"outbox[0].columns.paylod=x"}, []string{`--set outbox[0].columns.paylod: outbox[0].columns.paylod: unknown key "paylod"; did you mean "payload"?`}},
		{
			"all at once, in order", "databse: {}\nsink:\n  kafka:\n    brokers: [x]\n    acks: some\nshards: a\n",
			[]string{"CDC_RELAY_LOG_LEVEL=loud"},
			[]string{"on_stop=never"},
			[]string{
				f + `1:1: unknown key "databse"; did you mean "database"?`, f + `4:15: sink.kafka.brokers[0]: "x" has no port`, f + `5:11: sink.kafka.acks: "some"`, f + `6:9: shards: "a"`,
				`environment CDC_RELAY_LOG_LEVEL: log.level: "loud"`, `--set on_stop: on_stop: "never"`,
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, err := load(t, c.file, c.env, c.set...)
			if err == nil {
				t.Fatalf("loaded: %v", cfg.Sink)
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(c.want) {
				t.Fatalf("got %d mistakes, want %d:\n%s", len(got), len(c.want), err)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], c.want[i]) {
					t.Errorf("got  %s\nwant %s", got[i], c.want[i])
				}
			}
		})
	}
}

func TestMissingFileIsNamed(t *testing.T) {
	t.Parallel()
	_, err := Load(Options{File: "no.yaml", Dir: t.TempDir(), Set: []string{"sink.stdout=true"}})
	if err == nil || !strings.HasPrefix(err.Error(), "no.yaml: no such file or directory; name an existing file") {
		t.Errorf("got %v", err)
	}
}

func TestNamedFileAppearsInMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "other.yaml")
	write(t, path, "sink: {stdout: {}}\nshards: x\n")
	_, err := Load(Options{File: path})
	if err == nil || !strings.HasPrefix(err.Error(), path+":2:9: shards") {
		t.Errorf("got %v", err)
	}
}

func TestKubernetesServiceLinksArePassedOver(t *testing.T) {
	t.Parallel()
	mustLoad(t, smallest, []string{
		"CDC_RELAY_SERVICE_HOST=10.0.0.1", "CDC_RELAY_SERVICE_PORT=9630", "CDC_RELAY_SERVICE_PORT_ADMIN=9630", "CDC_RELAY_PORT=tcp://10.0.0.1:9630",
		"CDC_RELAY_PORT_9630_TCP=tcp://10.0.0.1:9630", "CDC_RELAY_PORT_9630_TCP_ADDR=10.0.0.1", "CDC_RELAY_TEST_DATABASE_URL=x",
	})
}

func FuzzLoad(f *testing.F) {
	f.Add(smallest)
	f.Add("a: &a {b: *a}\n")
	f.Add("outbox: [{columns: {payload: [1]}}, null, 3]\nsink: {stdout: {}}")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = load(t, text, nil) // must not panic
	})
}
