package pace

import (
	"testing"
	"time"
)

func TestLimitFollowsTheDistance(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	for way, want := range map[time.Duration]int{
		200 * time.Microsecond: 1, 1400 * time.Microsecond: 1, 2 * time.Millisecond: 2, 3500 * time.Microsecond: 3, 15 * time.Millisecond: 15, 40 * time.Millisecond: 20,
	} {
		var p Pace
		p.Connected(way, now)
		if got := p.Limit(0); got != want {
			t.Errorf("%v away: got %d requests, want %d", way, got, want)
		}
		if got := p.Limit(3); got != 3 {
			t.Errorf("fixed at 3: got %d", got)
		}
	}
}

// A broker whose first answer was slow is near as soon as one answer shows it; a slow disk does not make it far.
func TestDistanceIsTheShortestAnswer(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	var p Pace
	p.Connected(30*time.Millisecond, now)
	p.Answered(400*time.Microsecond, now)
	if got := p.Limit(0); got != 1 {
		t.Errorf("after a quick answer: got %d, want 1", got)
	}
	p.Connected(300*time.Microsecond, now)
	for i := range 100 {
		p.Answered(50*time.Millisecond, now.Add(time.Duration(i)*time.Second))
	}
	if got := p.Limit(0); got != 1 {
		t.Errorf("near, but slow: got %d, want 1", got)
	}
}

func TestHoldSpreadsRequestsOverTheWay(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	var p Pace
	p.Connected(20*time.Millisecond, now)
	p.Sent(now)
	if got, want := p.Hold(now.Add(200*time.Microsecond), 0), 800*time.Microsecond; got != want {
		t.Errorf("0.2 ms after a request: got %v, want %v", got, want)
	}
	if got := p.Hold(now.Add(200*time.Microsecond), 5); got != 0 {
		t.Errorf("fixed: got %v, want 0", got)
	}
}
