package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/sink/line"
)

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
