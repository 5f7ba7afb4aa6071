package relay

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/replication"
)

// TestStraight: a message at the LSN of rows was written before them, and nothing else changes its place.
func TestStraight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ sent, want string }{
		{"B0 I1 I2 C9", "B0 I1 I2 C9"},
		{"B0 M1 I2 C9", "B0 M1 I2 C9"},
		{"B0 I2 M2 C9", "B0 M2 I2 C9"},
		{"B0 R0 I2 M2 I3 M3 M4 C9", "B0 R0 M2 I2 M3 I3 M4 C9"},
		{"B0 I2 I2 I2 M2 C9", "B0 M2 I2 I2 I2 C9"}, // rows of one record, from COPY
		{"B0 I2 I3 M2 C9", "B0 I2 I3 M2 C9"},       // no server sends this
		{"B0 I1 R0 I2 M2 C9 B10 I11 C19", "B0 I1 R0 M2 I2 C9 B10 I11 C19"},
		{"B0 I1 U1 M1 C9", "B0 I1 U1 M1 C9"},
		{"M5 B0 I1 C9", "M5 B0 I1 C9"},
	} {
		q := &straight{on: true}
		var got []string
		shared := make([]byte, 8) // the reader's buffer: what is kept has to be a copy
		for _, m := range strings.Fields(tt.sent) {
			lsn, _ := strconv.Atoi(m[1:])
			n := copy(shared, m)
			data, ok := q.push(&replication.Message{Kind: replication.XLog, WALStart: pglogrepl.LSN(lsn), Data: shared[:n]})
			if ok {
				got = append(got, string(data))
			}
			clear(shared)
			for q.more() {
				data, _ := q.pop()
				got = append(got, string(data))
			}
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%s: got %s, want %s", tt.sent, text, tt.want)
		}
	}
}

// TestStraightIsBounded: the rows of one record may be larger than memory should be.
func TestStraightIsBounded(t *testing.T) {
	t.Parallel()
	q := &straight{on: true}
	row := &replication.Message{WALStart: 7, Data: append([]byte("I"), bytes.Repeat([]byte("x"), 100<<10)...)}
	most, rows := 0, 0
	for range 100 {
		if _, ok := q.push(row); ok {
			t.Fatal("a row was let through although a message may follow")
		}
		most = max(most, q.bytes)
		for q.more() {
			q.pop()
			rows++
		}
	}
	if most > straightBytes+len(row.Data) || rows < 85 {
		t.Errorf("%d bytes waited, and %d rows came out", most, rows)
	}
}

// TestStraightCostsNothing: no memory once its buffers are there, and no copy when messages are off.
func TestStraightCostsNothing(t *testing.T) {
	for _, on := range []bool{false, true} {
		q := &straight{on: on}
		data := bytes.Repeat([]byte("I"), 300)
		var lsn pglogrepl.LSN
		got := testing.AllocsPerRun(1000, func() {
			lsn++
			if _, ok := q.push(&replication.Message{WALStart: lsn, Data: data}); ok == on {
				t.Fatalf("on %v: let through %v", on, ok)
			}
			for q.more() {
				q.pop()
			}
		})
		if got > 0 {
			t.Errorf("on %v: %v allocations a row", on, got)
		}
	}
}
