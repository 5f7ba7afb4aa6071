package progress

import (
	"testing"

	"pgregory.net/rapid"
)

// The watermark never passes an unfinished message, and reaches the end when all are finished.
func TestTracker_LowNeverPassesAnUnfinishedMessage(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 100).Draw(t, "start")
		tr := New(start)
		open, next := map[int64]Ticket{}, start
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "add") || len(open) == 0 {
				at := next
				next += rapid.Int64Range(1, 3).Draw(t, "step") // holes in between
				if rapid.IntRange(0, 9).Draw(t, "pass") == 0 {
					tr.Pass(next)
				} else {
					open[at] = tr.Add(next)
				}
			} else {
				var at []int64
				for a := range open {
					at = append(at, a)
				}
				a := rapid.SampledFrom(at).Draw(t, "finish")
				tr.Finish(open[a])
				delete(open, a)
			}
			want := next
			for a := range open {
				want = min(want, a)
			}
			// A hole before an unfinished message belongs to the one before it.
			if got := tr.Low(); got > want {
				t.Fatalf("low is %d, %d is unfinished", got, want)
			}
		}
		for _, n := range open {
			tr.Finish(n)
		}
		if got := tr.Low(); got != next {
			t.Fatalf("all finished: low is %d, want %d", got, next)
		}
		if tr.Open() != 0 {
			t.Fatalf("%d open", tr.Open())
		}
	})
}
