package decoder

import (
	"bufio"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/record"
)

// Each testdata/NAME.sql is a history. NAME.wal holds the messages that a real Postgres made of it, a line of hex each, and
// NAME.golden what the decoder makes of those. `-record` writes the former again, `-update` the latter.
func recordFlag() bool { return flag.Lookup("record").Value.String() == "true" }
func updateFlag() bool { return flag.Lookup("update").Value.String() == "true" }

func TestMain(m *testing.M) {
	flag.Bool("record", false, "run testdata/*.sql in a real Postgres and write testdata/*.wal")
	flag.Bool("update", false, "write testdata/*.golden")
	flag.Parse()
	os.Exit(m.Run())
}

// scenarios are the histories and the configurations they are read with; a name after a slash is another reading.
func scenarios() map[string]Config {
	placements := "type:header:eventType,tenant:header,n:header,amount:header,ok:header,ts:header,tz:header,doc:header"
	envelope := "type:envelope,tenant:envelope:t,n:envelope,amount:envelope,ok:envelope,ts:envelope,tz:envelope,doc:envelope,prio:partition"
	noTimes := map[string]string{"created_at": "", "seq": ""}
	small := map[string]string{"topic": "", "partition_key": "", "headers": ""}
	app := func(name string, columns map[string]string) Table {
		all := map[string]string{
			"event_type": "", "aggregate_type": "", "topic": "", "partition_key": "", "headers": "", "event_id": "id",
			"payload": "body", "aggregate_id": "who",
		}
		for k, v := range columns {
			all[k] = v
		}
		return Table{Name: name, Columns: all, Topic: "events"}
	}
	return map[string]Config{
		"native":                        {Tables: []Table{{Name: "public.outbox"}}},
		"native/cloudevents":            {Tables: []Table{{Name: "public.outbox", Format: record.CloudEvents}}},
		"native/cloudevents-structured": {Tables: []Table{{Name: "public.outbox", Format: record.CloudEventsStructured}}},
		"debezium":                      {Tables: []Table{{Name: "public.outbox", Preset: PresetDebezium, Debezium: record.Debezium{AdditionalPlacement: placements}}}},
		"debezium/json": {Tables: []Table{{Name: "public.outbox", Preset: PresetDebezium, Debezium: record.Debezium{
			ValueConverter: "json", KeyConverter: "json", AdditionalPlacement: envelope,
		}}}},
		"debezium/routed": {Tables: []Table{{Name: "public.outbox", Preset: PresetDebezium, Debezium: record.Debezium{
			RouteByField: "type", TopicReplacement: "events.${routedByValue}", EventKey: "tenant", ValueConverter: "json",
		}}}},
		"debezium/plain": {Tables: []Table{{Name: "public.outbox", Preset: PresetDebezium, Format: record.Plain}}},
		"columns": {Tables: []Table{
			app("app.events", map[string]string{"event_type": "what", "partition_key": "who"}),
			app("app.json_events", nil), app("app.text_events", nil),
		}},
		"schema":       {Tables: []Table{{Name: "public.outbox", Columns: small}}},
		"transactions": {Tables: []Table{{Name: "public.outbox", Columns: small}}},
		"tables": {Tables: []Table{
			{Name: "public.outbox", Columns: small},
			{Name: "public.second", Columns: small, Topic: "second-{aggregate_type}", TopicsAllowed: []string{"second-a"}},
		}},
		"messages":                        {Tables: []Table{{Name: "public.outbox", Columns: noTimes}}, Messages: []Span{{}}},
		"messages/cloudevents":            {Tables: []Table{{Name: "public.outbox", Columns: noTimes, Format: record.CloudEvents}}, Messages: []Span{{}}},
		"messages/cloudevents-structured": {Tables: []Table{{Name: "public.outbox", Columns: noTimes, Format: record.CloudEventsStructured}}, Messages: []Span{{}}},
		"messages/debezium": {Tables: []Table{{Name: "public.outbox", Columns: noTimes, Format: record.DebeziumRouter, Debezium: record.Debezium{
			RouteByField: "event_type", EventKey: "partition_key", AdditionalPlacement: "event_type:header:eventType,aggregate_type:envelope:kind", ValueConverter: "json",
		}}}, Messages: []Span{{}}},
		"messages/off": {Tables: []Table{{Name: "public.outbox", Columns: noTimes}}},
		"broken":       {Tables: []Table{{Name: "public.outbox", Columns: small}}},
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	if recordFlag() {
		histories, err := filepath.Glob("testdata/*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, history := range histories {
			writeWAL(t, strings.TrimSuffix(history, ".sql")+".wal", play(t, history))
		}
	}
	for name, cfg := range scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, _, _ := strings.Cut(name, "/")
			compare(t, name, dump(cfg, readWAL(t, filepath.Join("testdata", base+".wal"))))
		})
	}
}

// TestGoldenLive plays each history in the Postgres at hand: whatever its version, the events are those of the recording.
func TestGoldenLive(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("short: needs a Postgres")
	}
	histories, err := filepath.Glob("testdata/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, history := range histories {
		base := strings.TrimSuffix(filepath.Base(history), ".sql")
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			messages := play(t, history)
			for name, cfg := range scenarios() {
				if of, _, _ := strings.Cut(name, "/"); of == base {
					compare(t, name, dump(cfg, messages))
				}
			}
		})
	}
}

// compare holds got against the golden file. Which transactions without events a server sends depends on its version (14
// sends empty ones), and so does how often it repeats a Relation: neither is compared.
func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(name, "/", "-")+".golden")
	got = essence(got)
	if updateFlag() {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func essence(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		switch {
		case line == "  nothing: R\n", line == "  nothing: Y\n":
		case strings.HasPrefix(line, "begin"):
			out = append(out, "begin\n")
		case strings.HasPrefix(line, "commit"):
			if out[len(out)-1] == "begin\n" {
				out = out[:len(out)-1]
				continue
			}
			_, count, _ := strings.Cut(line, ": ")
			out = append(out, "commit: "+count)
		default:
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// play runs a history in a fresh database and returns what its slot sends.
func play(t *testing.T, history string) [][]byte {
	t.Helper()
	pg := testenv.Postgres(t)
	conn := pg.Conn(t).PgConn()
	slot := pg.SlotName(t)
	sql, err := os.ReadFile(history)
	if err != nil {
		t.Fatal(err)
	}
	script := strings.ReplaceAll(string(sql), "'gid'", "'"+slot+"'") // one name in the whole server
	before, after, _ := strings.Cut(script, "-- slot\n")
	run(t, conn, before)
	query(t, conn, fmt.Sprintf("SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", slot))
	run(t, conn, after)
	rows := query(t, conn, fmt.Sprintf("SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('%s', NULL, NULL,"+
		" 'proto_version', '1', 'publication_names', 'p', 'messages', 'true')", slot))
	var messages [][]byte
	for _, row := range rows {
		msg, err := hex.DecodeString(string(row[0]))
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, msg)
	}
	return messages
}

// run executes statements one by one; the lines after COPY ... FROM STDIN up to \. are its data.
func run(t *testing.T, conn *pgconn.PgConn, script string) {
	t.Helper()
	var statement strings.Builder
	lines := bufio.NewScanner(strings.NewReader(script))
	block := false
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "--") {
			continue
		}
		statement.WriteString(line + "\n")
		if strings.HasPrefix(line, "DO $$") {
			block = true
		}
		if !strings.HasSuffix(line, ";") || block && !strings.HasSuffix(line, "$$;") {
			continue
		}
		block = false
		sql := statement.String()
		statement.Reset()
		if strings.HasPrefix(sql, "COPY ") {
			var data strings.Builder
			for lines.Scan() && lines.Text() != `\.` {
				data.WriteString(lines.Text() + "\n")
			}
			if _, err := conn.CopyFrom(context.Background(), strings.NewReader(data.String()), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			continue
		}
		query(t, conn, sql)
	}
}

func query(t *testing.T, conn *pgconn.PgConn, sql string) [][][]byte {
	t.Helper()
	results, err := conn.Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return results[len(results)-1].Rows
}

func writeWAL(t *testing.T, path string, messages [][]byte) {
	t.Helper()
	var out strings.Builder
	for _, msg := range messages {
		out.WriteString(hex.EncodeToString(msg) + "\n")
	}
	if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readWAL(t testing.TB, path string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var messages [][]byte
	for line := range strings.FieldsSeq(string(data)) {
		msg, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, msg)
	}
	return messages
}
