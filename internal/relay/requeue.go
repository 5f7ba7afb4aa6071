package relay

import (
	"slices"
	"sync"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/sink"
)

// maxRequeued is how many dead letters are under way at once; the rest waits in the table (I8).
const maxRequeued = 256

// requeues are the dead letters that go through the sink once more, and those whose fate is known but not yet written. They
// outlive sessions like all that the sink holds.
//
// When the sink refuses one again, those of its key behind it are taken out of their lane as it comes to them: the row is
// parked once more, and they wait behind it in the table (I2).
type requeues struct {
	wake chan struct{}

	mu       sync.Mutex
	underway map[int64]string // key of each letter that the sink has, or whose fate is not yet written
	perKey   map[string]int   // how many of underway have that key
	refused  map[string]bool  // keys of which one was refused, while others of them are under way
	settled  []deadletter.Result
}

func newRequeues() *requeues {
	r := &requeues{wake: make(chan struct{}, 1)}
	r.reset()
	return r
}

// begin notes a letter as under way; false when its key has just been refused.
func (r *requeues) begin(l *deadletter.Letter) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := string(appendKey(nil, l.Topic, l.Key))
	if r.refused[key] {
		return false
	}
	r.underway[l.ID] = key
	r.perKey[key]++
	return true
}

// ids are the letters under way.
func (r *requeues) ids() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]int64, 0, len(r.underway))
	for id := range r.underway {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// divert takes a letter out of its lane when an earlier one of its key was refused.
func (r *requeues) divert(ev *decoder.Event) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := int64(ev.Token &^ requeued)
	if key, known := r.underway[id]; known && !r.refused[key] {
		return false
	}
	r.forget(id)
	return true
}

// settle notes that the sink has acked a letter (why is nil) or refused it again.
func (r *requeues) settle(id int64, why *sink.Rejection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, known := r.underway[id]
	if !known {
		return
	}
	res := deadletter.Result{ID: id, Outcome: deadletter.Published}
	if why != nil {
		res = deadletter.Result{ID: id, Outcome: deadletter.Refused, Reason: why.Reason, Error: why.Err.Error()}
		r.refused[key] = true
	}
	r.settled = append(r.settled, res)
	signal(r.wake)
}

// take returns what is settled; written forgets it once it stands in the table.
func (r *requeues) take() []deadletter.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.settled)
}

func (r *requeues) written(results []deadletter.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled = slices.Clone(r.settled[min(len(results), len(r.settled)):])
	for _, res := range results {
		r.forget(res.ID)
	}
}

func (r *requeues) forget(id int64) {
	key, known := r.underway[id]
	if !known {
		return
	}
	delete(r.underway, id)
	if r.perKey[key]--; r.perKey[key] == 0 {
		delete(r.perKey, key)
		delete(r.refused, key)
	}
}

func (r *requeues) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underway, r.perKey, r.refused, r.settled = map[int64]string{}, map[string]int{}, map[string]bool{}, nil
}
