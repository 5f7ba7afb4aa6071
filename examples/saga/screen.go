package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/examples/saga/services"
	"github.com/cdc-relay/cdc-relay/internal/demo/parts"
)

// How many of the latest sagas are drawn, and how many events below them.
const (
	shownSagas  = 12
	shownEvents = 6
)

// screen shows what goes on: a table of sagas that is redrawn on a terminal, a line each second elsewhere.
type screen struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	begun    time.Time
	events   []string
	drawn    int // lines that stand there
}

func newScreen(o options) *screen {
	return &screen{out: o.screen, terminal: o.terminal, begun: time.Now()}
}

// event names something that happened.
func (s *screen) event(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%6.1fs  %s", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
	if s.terminal && s.drawn > 0 {
		s.events = append(s.events, line)
		s.events = s.events[max(0, len(s.events)-shownEvents):]
		return
	}
	fmt.Fprintln(s.out, line)
}

// show draws until ctx ends.
func (s *stage) show(ctx context.Context) error {
	pace := time.Second
	if s.terminal {
		pace = 250 * time.Millisecond
	}
	for parts.Wait(ctx, pace); ctx.Err() == nil; parts.Wait(ctx, pace) {
		counts := map[string]int{}
		var state string
		var n int
		err := each(ctx, s.books[0], `SELECT state, count(*) FROM orders GROUP BY 1`, []any{&state, &n}, func() { counts[state] = n })
		if err != nil {
			continue // the order service has not made its tables yet
		}
		line := fmt.Sprintf("running %d  compensating %d  completed %d  compensated %d", counts["running"], counts["compensating"], counts["completed"], counts["compensated"])
		if !s.terminal {
			s.screen.event("%s", line)
			continue
		}
		lines := []string{
			fmt.Sprintf("saga   %s   Ctrl-C sends the customers home", time.Since(s.screen.begun).Round(time.Second)), "", "  " + line, "",
			fmt.Sprintf("  %-20s %-10s %-10s %-10s %s", "order", services.Plan()[0], services.Plan()[1], services.Plan()[2], ""),
		}
		var id string
		var history []string
		err = each(ctx, s.books[0], fmt.Sprintf(`SELECT id, state, (SELECT coalesce(array_agg(event ORDER BY seq), '{}') FROM history WHERE order_id = id)
			FROM (SELECT * FROM orders ORDER BY state IN ('running', 'compensating') DESC, deadline DESC LIMIT %d) latest ORDER BY id`, shownSagas),
			[]any{&id, &state, &history}, func() { lines = append(lines, row(id, state, history)) })
		if err == nil {
			s.screen.draw(lines)
		}
	}
	return nil
}

// row draws a saga: what is known of each step.
func row(id, state string, history []string) string {
	known := map[string]string{}
	late := ""
	for _, event := range history {
		step, what, _ := strings.Cut(event, ".")
		known[step] = what
		if event == "timeout" {
			late = " (no answer in time)"
		}
	}
	cells := ""
	for _, step := range services.Plan() {
		cells += fmt.Sprintf(" %-10s", map[string]string{"": ".", "done": "done", "refused": "REFUSED", "undone": "undone"}[known[step]])
	}
	return fmt.Sprintf("  %-20s%s %s%s", id, cells, state, late)
}

// draw draws the table in the place of the last one.
func (s *screen) draw(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines = append(append(lines, ""), s.events...)
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
