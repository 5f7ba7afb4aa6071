package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/demo/ledger"
)

// kept is how many of the latest events stand below the table.
const kept = 8

// screen shows what goes on: a table that is redrawn on a terminal, a line each second elsewhere.
type screen struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	begun    time.Time
	events   []string
	drawn    int // lines of the table that stands there
	last     ledger.Summary
	at       time.Time
}

func newScreen(o Options) *screen {
	return &screen{out: o.Screen, terminal: o.Terminal, begun: time.Now()}
}

// event names something that happened.
func (s *screen) event(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%6.1fs  %s", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
	if s.terminal && s.drawn > 0 {
		s.events = append(s.events, line)
		s.events = s.events[max(0, len(s.events)-kept):]
		return
	}
	fmt.Fprintln(s.out, line)
}

// facts are what the screen shows beside the books.
type facts struct {
	waiting  int
	lag      int64
	rss      int64
	restarts int
}

// show draws the present state.
func (s *screen) show(sum ledger.Summary, f facts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	seconds := now.Sub(s.at).Seconds()
	if s.at.IsZero() {
		seconds = now.Sub(s.begun).Seconds()
	}
	in := float64(sum.Committed-s.last.Committed) / seconds
	out := float64(sum.Delivered-s.last.Delivered) / seconds
	s.last, s.at = sum, now
	if !s.terminal {
		fmt.Fprintf(s.out, "%6.1fs  committed %d (%.0f/s)  delivered %d (%.0f/s)  on the way %d  phantom %d  out of order %d  duplicates %d  p50 %.2f ms  p99 %.2f ms\n",
			now.Sub(s.begun).Seconds(), sum.Committed, in, sum.Delivered, out, f.waiting, sum.Phantom, sum.OutOfOrder, sum.Duplicates,
			sum.Latency.P50, sum.Latency.P99)
		return
	}
	lines := []string{
		fmt.Sprintf("cdc-relay demo   %s   Ctrl-C drains and ends", now.Sub(s.begun).Round(time.Second)),
		"",
		fmt.Sprintf("  committed    %12d   %8.0f /s", sum.Committed, in),
		fmt.Sprintf("  delivered    %12d   %8.0f /s", sum.Delivered, out),
		fmt.Sprintf("  rolled back  %12d", sum.RolledBack),
		fmt.Sprintf("  on the way   %12d   %8s of WAL not confirmed", f.waiting, size(f.lag)),
		fmt.Sprintf("  phantom      %12d", sum.Phantom),
		fmt.Sprintf("  out of order %12d", sum.OutOfOrder),
		fmt.Sprintf("  duplicates   %12d", sum.Duplicates),
		fmt.Sprintf("  latency      p50 %.2f ms   p99 %.2f ms   max %.0f ms   (commit returned -> consumer)", sum.Latency.P50, sum.Latency.P99, sum.Latency.Max),
		fmt.Sprintf("  relay        %s resident, %d restarts", size(f.rss), f.restarts),
		"",
	}
	lines = append(lines, s.events...)
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	for _, line := range lines {
		b.WriteString("\x1b[2K" + line + "\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	_, _ = io.WriteString(s.out, b.String())
}

// size writes bytes as a person says them.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
