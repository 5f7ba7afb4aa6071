package report

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Samples are the durations of one measurement, in any order.
type Samples []time.Duration

// Percentiles returns p50, p99 and the largest, by the nearest rank; zeros when there are none.
func (s Samples) Percentiles() (p50, p99, most time.Duration) {
	if len(s) == 0 {
		return 0, 0, 0
	}
	sorted := slices.Sorted(slices.Values(s))
	rank := func(p float64) time.Duration { return sorted[max(0, int(math.Ceil(p*float64(len(sorted))))-1)] }
	return rank(0.5), rank(0.99), sorted[len(sorted)-1]
}

// Median returns the middle one, or the mean of the two in the middle; the zero value when there are none.
func Median[T cmp.Ordered](of []T, mean func(a, b T) T) (m T) {
	if len(of) == 0 {
		return m
	}
	sorted := slices.Sorted(slices.Values(of))
	if n := len(sorted); n%2 == 0 {
		return mean(sorted[n/2-1], sorted[n/2])
	}
	return sorted[len(sorted)/2]
}

// MedianOf is Median of numbers.
func MedianOf[T ~int | ~int64 | ~float64](of []T) T {
	return Median(of, func(a, b T) T { return (a + b) / 2 })
}

// Milliseconds of a duration.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
