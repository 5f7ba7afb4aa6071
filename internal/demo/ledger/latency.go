package ledger

import (
	"math"
	"time"
)

// growth is the ratio of a bucket's upper bound to the one before: one part in fifty.
const growth = 1.02

// histogram counts durations in buckets whose bounds grow by a fixed ratio from one microsecond on.
type histogram struct {
	counts  []uint64
	total   uint64
	longest time.Duration
}

func (h *histogram) add(d time.Duration) {
	i := 0
	if us := float64(d) / float64(time.Microsecond); us > 1 {
		i = int(math.Ceil(math.Log(us) / math.Log(growth)))
	}
	for len(h.counts) <= i {
		h.counts = append(h.counts, 0)
	}
	h.counts[i]++
	h.total++
	h.longest = max(h.longest, d)
}

// quantile returns the upper bound, in ms, below which that share of the durations lies.
func (h *histogram) quantile(q float64) float64 {
	if h.total == 0 {
		return 0
	}
	rank, seen := uint64(math.Ceil(q*float64(h.total))), uint64(0)
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return round(min(math.Pow(growth, float64(i))/1000, h.max()))
		}
	}
	return round(h.max())
}

func (h *histogram) max() float64 {
	return round(float64(h.longest) / float64(time.Millisecond))
}

// round keeps microseconds.
func round(ms float64) float64 { return math.Round(ms*1000) / 1000 }
