package outbox

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestNewID: version, variant and time are those of RFC 9562, and nothing comes twice.
func TestNewID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 10_000 {
		from := time.Now()
		id := NewID()
		if _, ok := parseID(id); !ok || id[14] != '7' || id[19] < '8' || id[19] > 'b' {
			t.Fatalf("%s is no UUIDv7", id)
		}
		ms, err := strconv.ParseInt(id[:8]+id[9:13], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.UnixMilli(ms).Sub(from); d < -time.Minute || d > time.Minute {
			t.Fatalf("%s is %s away from now", id, d)
		}
		if seen[id] {
			t.Fatalf("%s came twice", id)
		}
		seen[id] = true
	}
}

// Ids of a process rise: within a goroutine, and for one that begins after another has ended.
func TestIDsRise(t *testing.T) {
	t.Parallel()
	last := ""
	for range 20 {
		var wg sync.WaitGroup
		made := make([][]string, 8)
		for g := range made {
			wg.Go(func() {
				for range 500 {
					made[g] = append(made[g], NewID())
				}
			})
		}
		wg.Wait()
		for _, ids := range made {
			if !slices.IsSorted(ids) || ids[0] <= last {
				t.Fatal("ids do not rise")
			}
		}
		for _, ids := range made {
			last = max(last, ids[len(ids)-1])
		}
	}
}

// A clock that stands still or is set back does not make an id come before an earlier one.
func TestIDsRiseWhenTheClockDoesNot(t *testing.T) {
	t.Parallel()
	now := time.Now()
	last := ""
	for i := range 10_000 {
		at := now
		if i > 5000 {
			at = now.Add(-time.Second)
		}
		id := newID(func() time.Time { return at })
		if id <= last {
			t.Fatalf("%s after %s", id, last)
		}
		last = id
	}
}

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NewID()
	}
}
