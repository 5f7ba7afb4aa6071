package record

import (
	"strings"
	"testing"
)

// TestDebezium holds what was observed in records of Debezium 3.6.1. Two rows are conclusions, not observations: the value of
// "J-" (its null was seen, and its envelope) and the key of the JSON converter without schemas.
func TestDebezium(t *testing.T) {
	t.Parallel()
	const id = `id="0198f0c2-5b1e-7d2a-9c3f-0123456789ab"`
	types := map[string]Type{
		"type": {oidText, -1}, "tenant": {oidText, -1}, "amount": {1700, 12<<16 | 2 + 4}, "n": {oidInt4, -1}, "ok": {16, -1},
		"ts": {1114, -1}, "tz": {1184, -1}, "doc": {oidJSONB, -1}, "prio": {oidInt4, -1},
	}
	values := map[string]string{
		"type": "OrderCreated", "tenant": "acme", "amount": "12.30", "n": "42", "ok": "t", "ts": "2026-01-02 03:04:05.678901",
		"tz": "2026-01-02 03:04:05.678901+00", "doc": `{"a": 1}`, "prio": "3",
	}
	const payload = `{"a": {"x": [1, 2]}, "b": 1}`
	tests := []struct {
		name      string
		options   Debezium
		payload   uint32
		set       map[Column]string
		null      string // extra columns that are null, each with a comma behind it
		key       string
		value     string
		headers   string
		partition int32
		refused   string
	}{
		{name: "S", payload: oidJSONB, key: `"o-1"`, value: quoted([]byte(payload)), headers: id, partition: -1},
		{name: "S, a JSON string stays quoted", payload: oidJSONB, set: map[Column]string{ColPayload: `"x"`}, key: `"o-1"`, value: `"\"x\""`, headers: id, partition: -1},
		{name: "S, an array stays", payload: oidJSON, set: map[Column]string{ColPayload: `[1, 2]`}, key: `"o-1"`, value: `"[1, 2]"`, headers: id, partition: -1},
		{name: "S, empty key", payload: oidText, set: map[Column]string{ColAggregateID: ""}, key: `""`, value: quoted([]byte(payload)), headers: id, partition: -1},
		{name: "S, tombstone", payload: oidJSONB, set: map[Column]string{ColPayload: "NULL"}, key: `"o-1"`, value: "null", headers: id, partition: -1},
		{name: "B", options: Debezium{ValueConverter: "binary"}, payload: oidBytea, set: map[Column]string{ColPayload: `\x00ff`}, key: `"o-1"`, value: `"\x00\xff"`, headers: id, partition: -1},
		{name: "B, tombstone", options: Debezium{ValueConverter: "binary"}, payload: oidBytea, set: map[Column]string{ColPayload: "NULL"}, key: `"o-1"`, value: "null", headers: id, partition: -1},
		{name: "J-, null is four bytes", options: Debezium{ValueConverter: "json"}, payload: oidJSONB, set: map[Column]string{ColPayload: "NULL"}, key: `"o-1"`, value: `"null"`, headers: id, partition: -1},
		{name: "J-", options: Debezium{ValueConverter: "json", KeyConverter: "json"}, payload: oidJSONB, key: `"\"o-1\""`, value: quoted([]byte(`"{\"a\": {\"x\": [1, 2]}, \"b\": 1}"`)), headers: id, partition: -1},
		{name: "event key", options: Debezium{EventKey: "k"}, payload: oidJSONB, set: map[Column]string{ColPartitionKey: "kk"}, key: `"kk"`, value: quoted([]byte(payload)), headers: id, partition: -1},
		{name: "event key null", options: Debezium{EventKey: "k"}, payload: oidJSONB, key: "null", value: quoted([]byte(payload)), headers: id, partition: -1},
		{
			name: "headers in the order given", payload: oidJSONB, key: `"o-1"`, value: quoted([]byte(payload)), partition: -1,
			options: Debezium{AdditionalPlacement: "type:header:eventType, tenant:header,n:header,amount:header,ok:header,ts:header,tz:header,doc:header"},
			headers: id + ` eventType="OrderCreated" tenant="acme" n="42" amount="12.30" ok="true" ts="1767323045678901" tz="2026-01-02T03:04:05.678901Z" doc="{\"a\": 1}"`,
		},
		{
			name: "a null column is a null header", payload: oidJSONB, key: `"o-1"`, value: quoted([]byte(payload)), partition: -1, null: "tenant,",
			options: Debezium{AdditionalPlacement: "tenant:header,type:header"}, headers: id + ` tenant=null type="OrderCreated"`,
		},
		{
			name: "envelope", payload: oidJSONB, key: `"o-1"`, headers: id, partition: -1, null: "doc,",
			options: Debezium{ValueConverter: "json", AdditionalPlacement: "type:envelope,tenant:envelope:t,amount:envelope,ts:envelope,tz:envelope,doc:envelope"},
			value:   quoted([]byte(`{"payload":"{\"a\": {\"x\": [1, 2]}, \"b\": 1}","type":"OrderCreated","t":"acme","amount":"BM4=","ts":1767323045678901,"tz":"2026-01-02T03:04:05.678901Z","doc":null}`)),
		},
		{
			name: "partition", payload: oidJSONB, key: `"o-1"`, value: quoted([]byte(payload)), headers: id + ` tenant="acme"`, partition: 3,
			options: Debezium{AdditionalPlacement: "prio:partition,tenant:header"},
		},
		{
			name: "partition null", payload: oidJSONB, key: `"o-1"`, value: quoted([]byte(payload)), headers: id, partition: -1, null: "prio,",
			options: Debezium{AdditionalPlacement: "prio:partition"}, refused: refusedPartition,
		},
		{
			name: "row's headers never replace ours", payload: oidJSONB, key: `"o-1"`, value: quoted([]byte(payload)), partition: -1,
			options: Debezium{AdditionalPlacement: "tenant:header:t"}, set: map[Column]string{ColHeaders: `{"id": "x", "t": "x", "__debezium.x": "x", "tenant": "kept", "content-type": "kept"}`},
			headers: id + ` t="acme" tenant="kept" content-type="kept"`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			row := testRow()
			row.Values[ColPayload], row.Values[ColHeaders] = []byte(payload), nil
			for c, v := range tt.set {
				row.Values[c] = []byte(v)
				if v == "NULL" {
					row.Values[c] = nil
				}
			}
			options := Options{Format: DebeziumRouter, PositionHeaders: true, Source: "s", Debezium: tt.options}
			f, err := New(options)
			if err != nil {
				t.Fatal(err)
			}
			s := shape(tt.payload)
			for _, name := range f.Extra() {
				s.Extra = append(s.Extra, types[name])
				value := []byte(values[name])
				if strings.Contains(tt.null, name+",") {
					value = nil
				}
				row.Extra = append(row.Extra, value)
			}
			rec := encode(t, options, s, row)
			if got := quoted(rec.Key); got != tt.key {
				t.Errorf("key: got %s, want %s", got, tt.key)
			}
			if got := quoted(rec.Value); got != tt.value {
				t.Errorf("value: got\n%s, want\n%s", got, tt.value)
			}
			if got, want := list(t, rec.Headers), tt.headers+` cdc-source="s" cdc-lsn="00000000016B3748" cdc-index="12"`; got != want {
				t.Errorf("headers: got\n%s, want\n%s", got, want)
			}
			if rec.Partition != tt.partition || rec.Refused != tt.refused {
				t.Errorf("got partition %d, refused %q, want %d, %q", rec.Partition, rec.Refused, tt.partition, tt.refused)
			}
		})
	}
}

// TestDebeziumUnsupportedTypes: what nobody has observed is not guessed at.
func TestDebeziumUnsupportedTypes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options Debezium
		payload uint32
		extra   []Type
		says    string
	}{
		{"bytea by the string converter", Debezium{ValueConverter: "string"}, oidBytea, nil, "column payload"},
		{"text by the binary converter", Debezium{ValueConverter: "binary"}, oidText, nil, "column payload"},
		{"a date", Debezium{AdditionalPlacement: "day:header"}, oidText, []Type{{1082, -1}}, "column day"},
		{"numeric without a scale", Debezium{AdditionalPlacement: "amount:header"}, oidText, []Type{{1700, -1}}, "column amount"},
		{"partition of text", Debezium{AdditionalPlacement: "p:partition"}, oidText, []Type{{oidText, -1}}, "column p"},
	}
	for _, tt := range tests {
		f, err := New(Options{Format: DebeziumRouter, Debezium: tt.options})
		if err != nil {
			t.Fatal(err)
		}
		s := shape(tt.payload)
		s.Extra = tt.extra
		if _, err := f.Bind(s); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.says)
		}
	}
}
