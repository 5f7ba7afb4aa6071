package lanes

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/sink"
)

const (
	stalledAfter = time.Second // a lane whose oldest event waits longer for its answer is worth a line
	maxStalled   = 16          // lines
)

// status looks at each lane. The destination counts as writable while no lane has failed since the last write that got
// somewhere: one lane that stalls alone is named, but does not make the sink unready.
func (s *Sink) status() sink.Status {
	status := sink.Status{Writable: true}
	answered, now := s.answered.Load(), time.Now()
	for _, l := range s.lanes {
		l.mu.Lock()
		if l.writing {
			status.InFlight++
		}
		if l.failed > answered && (status.Writable || l.since.Before(status.Since)) {
			status.Writable, status.Reason, status.Since = false, s.config.Name(l.number)+": "+l.err, l.since
		}
		if l.taken > 0 && !l.tried.IsZero() && now.Sub(l.tried) > stalledAfter {
			status.Stalled = append(status.Stalled, sink.Lane{
				Name: s.config.Name(l.number), Since: l.tried,
				Events: l.taken + len(l.queue) - l.head, Err: cmp.Or(l.err, "no answer yet"),
			})
		}
		l.mu.Unlock()
	}
	slices.SortFunc(status.Stalled, func(a, b sink.Lane) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	status.Stalled = status.Stalled[:min(len(status.Stalled), maxStalled)]
	return status
}

// notices counts which lanes hold a notice, so that what many of them meet is told once, and told again when it comes
// back after it was gone.
type notices struct {
	mu   sync.Mutex
	held map[sink.Notice]int
}

// hold reports whether n is new.
func (n *notices) hold(notice sink.Notice) bool {
	if notice == (sink.Notice{}) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held[notice]++
	return n.held[notice] == 1
}

func (n *notices) drop(notice sink.Notice) {
	if notice == (sink.Notice{}) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held[notice]--; n.held[notice] <= 0 {
		delete(n.held, notice)
	}
}
