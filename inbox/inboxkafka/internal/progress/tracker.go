package progress

import "sync"

// Tracker follows one partition. Its methods may be called by several goroutines; Add in the order of offsets.
type Tracker struct {
	mu    sync.Mutex
	low   int64
	first uint64 // ticket of open[0]
	open  []entry
	freed chan struct{}
}

type entry struct {
	next int64 // the offset after it
	done bool
}

// Ticket stands for a message under way.
type Ticket uint64

// New returns a tracker of a partition that is finished below low.
func New(low int64) *Tracker { return &Tracker{low: low, freed: make(chan struct{}, 1)} }

// Add files a message; next is the offset from which on nothing has been added yet.
func (t *Tracker) Add(next int64) Ticket {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = append(t.open, entry{next: next})
	return Ticket(t.first + uint64(len(t.open)) - 1)
}

// Pass files that nothing has to be done below next.
func (t *Tracker) Pass(next int64) { t.Finish(t.Add(next)) }

// Finish says that a message needs nothing more.
func (t *Tracker) Finish(n Ticket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[uint64(n)-t.first].done = true
	i := 0
	for ; i < len(t.open) && t.open[i].done; i++ {
		t.low = max(t.low, t.open[i].next)
	}
	t.open = t.open[i:]
	t.first += uint64(i)
	select {
	case t.freed <- struct{}{}:
	default:
	}
}

// Low is the offset below which all is finished.
func (t *Tracker) Low() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.low
}

// Open is how many messages are filed and not yet below Low.
func (t *Tracker) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// Freed receives after a message was finished. For one goroutine.
func (t *Tracker) Freed() <-chan struct{} { return t.freed }
