package decoder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/record"
)

// The messages of pgoutput, made by hand.

func beginMsg(commit uint64, xid uint32) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'B'}, commit)
	b = binary.BigEndian.AppendUint64(b, 1_000_000) // one second after 2000-01-01
	return binary.BigEndian.AppendUint32(b, xid)
}

func commitMsg(commit, end uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'C', 0}, commit)
	b = binary.BigEndian.AppendUint64(b, end)
	return binary.BigEndian.AppendUint64(b, 1_000_000)
}

type column struct {
	name string
	oid  uint32
}

func relationMsg(oid uint32, schema, name string, columns ...column) []byte {
	b := binary.BigEndian.AppendUint32([]byte{'R'}, oid)
	b = append(append(b, schema...), 0)
	b = append(append(b, name...), 0, 'd')
	b = binary.BigEndian.AppendUint16(b, uint16(len(columns)))
	for _, c := range columns {
		b = append(append(append(b, 0), c.name...), 0)
		b = binary.BigEndian.AppendUint32(b, c.oid)
		b = binary.BigEndian.AppendUint32(b, 0xffffffff)
	}
	return b
}

// insertMsg takes a string or nil for each column; a rune stands for a value's kind alone.
func insertMsg(oid uint32, values ...any) []byte {
	b := append(binary.BigEndian.AppendUint32([]byte{'I'}, oid), 'N')
	b = binary.BigEndian.AppendUint16(b, uint16(len(values)))
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			b = append(b, 'n')
		case rune:
			b = append(b, byte(v))
		case []byte:
			b = binary.BigEndian.AppendUint32(append(b, 'b'), uint32(len(v)))
			b = append(b, v...)
		case string:
			b = binary.BigEndian.AppendUint32(append(b, 't'), uint32(len(v)))
			b = append(b, v...)
		}
	}
	return b
}

// five are the columns of the small tables in these tests, and their configuration.
func five() []column {
	return []column{{"event_id", 23}, {"aggregate_type", oidText}, {"aggregate_id", oidText}, {"event_type", oidText}, {"payload", oidText}}
}

func fiveTable(name string) Table {
	return Table{Name: name, Columns: map[string]string{"topic": "", "partition_key": "", "headers": ""}}
}

func nativeColumns() []column {
	return []column{
		{"event_id", 2950},
		{"aggregate_type", oidText},
		{"aggregate_id", oidText},
		{"event_type", oidText},
		{"topic", oidText},
		{"partition_key", oidText},
		{"payload", oidJSONB},
		{"headers", oidJSONB},
		{"created_at", 1184},
		{"seq", 20},
	}
}

func open(t testing.TB, tables ...Table) *Decoder {
	t.Helper()
	d, err := New(Config{Tables: tables, Source: "1:1:i:slot", PositionHeaders: true})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// feed decodes messages that must decode.
func feed(t testing.TB, d *Decoder, messages ...[]byte) {
	t.Helper()
	for _, m := range messages {
		if _, err := d.Decode(m); err != nil {
			t.Fatalf("%q: %v", m, err)
		}
	}
}

// dump decodes messages and writes down what comes out. LSNs and xids are numbered as they come, so that the same history
// gives the same text in any server.
func dump(cfg Config, messages [][]byte) string {
	cfg.Source, cfg.PositionHeaders = "SOURCE", true
	d, err := New(cfg)
	if err != nil {
		return "config: " + err.Error() + "\n"
	}
	var out strings.Builder
	transactions := 0
	for _, msg := range messages {
		kind, err := d.Decode(slices.Clone(msg))
		if err != nil {
			var bad *DecodeError
			if errors.As(err, &bad) {
				fmt.Fprintf(&out, "ERROR index %d relation %s column %s: %v\n", bad.Position.Index, bad.Relation, bad.Column, bad.Err)
			} else {
				fmt.Fprintf(&out, "ERROR %v\n", err)
			}
			return out.String()
		}
		switch kind {
		case Begin:
			transactions++
			fmt.Fprintf(&out, "begin %d\n", transactions)
		case Committed:
			fmt.Fprintf(&out, "commit %d: %d inserts\n", transactions, d.Tx().Counted)
		case Nothing:
			fmt.Fprintf(&out, "  nothing: %c\n", msg[0])
		case Inserted:
			for _, ev := range d.Take() {
				dumpEvent(&out, &ev, d.Tx())
			}
		}
	}
	for name, n := range d.Ignored() {
		fmt.Fprintf(&out, "ignored: %s %d\n", name, n)
	}
	return out.String()
}

func dumpEvent(out *strings.Builder, ev *Event, tx Tx) {
	fmt.Fprintf(out, "  event %d of %s seq %d topic %q key %s partition %d\n", ev.Index, ev.Table, ev.Seq, ev.Topic, text(ev.Key), ev.Partition)
	fmt.Fprintf(out, "    id %s type %s aggregate %s %s\n", text(ev.ID), text(ev.Type), text(ev.AggregateType), text(ev.AggregateID))
	value := ev.Value
	if len(value) > 0 { // ReplaceAll makes nil of an empty one
		value = bytes.ReplaceAll(value, []byte(stamp(tx)), []byte("TIME"))
	}
	fmt.Fprintf(out, "    value %s\n", text(value))
	for name, value := range ev.Headers.All() {
		switch string(name) {
		case record.HeaderLSN:
			if string(value) == fmt.Sprintf("%016X", uint64(tx.CommitLSN)) {
				value = []byte("LSN OF BEGIN")
			}
		case "ce_time":
			if string(value) == stamp(tx) {
				value = []byte("TIME")
			}
		}
		fmt.Fprintf(out, "    %s: %s\n", name, text(value))
	}
	if ev.Refused != "" {
		fmt.Fprintf(out, "    REFUSED %s\n", ev.Refused)
	}
	if ev.Commit != tx.CommitLSN || ev.CommitTime != tx.CommitTime || ev.XID != tx.XID {
		fmt.Fprintf(out, "    IS NOT OF ITS TRANSACTION: %v %v\n", ev, tx)
	}
}

func stamp(tx Tx) string {
	return time.UnixMicro(tx.CommitTime).UTC().Format("2006-01-02T15:04:05.000000Z")
}

func text(b []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf("%q", b)
}

func position(lsn uint64, index uint32) Position { return Position{pglogrepl.LSN(lsn), index} }
