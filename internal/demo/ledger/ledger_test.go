package ledger

import (
	"testing"
	"time"
)

func TestI1_WhatIsCommittedAndNotDeliveredIsMissing(t *testing.T) {
	t.Parallel()
	l := New()
	for n := range uint64(3) {
		l.Committed("a", n+1)
	}
	l.Delivered("a", 1)
	if got := l.Final(); got.Missing != 2 || got.OK() || got.Delivered != 1 {
		t.Errorf("got %+v, want 2 missing", got)
	}
	l.Delivered("a", 2)
	l.Delivered("a", 3)
	if got := l.Final(); got.Missing != 0 || !got.OK() || l.Waiting() != 0 {
		t.Errorf("got %+v, want nothing missing", got)
	}
}

func TestI2_OrderIsJudgedAtFirstSight(t *testing.T) {
	t.Parallel()
	l := New()
	for n := range uint64(4) {
		l.Committed("a", n+1)
		l.Committed("b", n+1)
	}
	for _, n := range []uint64{1, 2, 1, 2, 3} { // repeated from the start: duplicates, not disorder
		l.Delivered("a", n)
	}
	if got := l.Summary(); got.Duplicates != 2 || got.OutOfOrder != 0 {
		t.Errorf("repeats: got %d duplicates and %d out of order, want 2 and 0", got.Duplicates, got.OutOfOrder)
	}
	for _, n := range []uint64{1, 3, 2, 3, 2} { // 2 after 3 at first sight
		l.Delivered("b", n)
	}
	if got := l.Summary(); got.Duplicates != 4 || got.OutOfOrder != 1 {
		t.Errorf("overtaking: got %d duplicates and %d out of order, want 4 and 1", got.Duplicates, got.OutOfOrder)
	}
}

func TestPhantomIsWhatNobodyCommitted(t *testing.T) {
	t.Parallel()
	l := New()
	l.Delivered("a", 1) // before its commit returned
	if got := l.Summary(); got.Phantom != 0 {
		t.Errorf("while commits are on their way: got %d phantoms, want 0", got.Phantom)
	}
	if got := l.Final(); got.Phantom != 1 {
		t.Errorf("at the end: got %d phantoms, want 1", got.Phantom)
	}
	l.Committed("a", 1)
	if got := l.Final(); got.Phantom != 0 || got.Missing != 0 {
		t.Errorf("after the commit returned: got %+v, want neither phantom nor missing", got)
	}
}

func TestLatencyIsFromCommitToFirstDelivery(t *testing.T) {
	t.Parallel()
	l := New()
	now := time.Unix(0, 0)
	l.now = func() time.Time { return now }
	for n := uint64(1); n <= 100; n++ {
		l.Committed("a", n)
		now = now.Add(time.Duration(n) * time.Millisecond)
		l.Delivered("a", n)
		now = now.Add(time.Second)
		l.Delivered("a", n)
	}
	got := l.Summary().Latency
	if got.P50 < 50 || got.P50 > 51 || got.P99 < 99 || got.P99 > 100 || got.Max != 100 {
		t.Errorf("of 1..100 ms: got %+v, want 50, 99 and 100 within one part in fifty", got)
	}
}
