package decoder

const (
	blockEvents = 256      // events of one slab
	blockBytes  = 64 << 10 // bytes of one chunk, and what may wait before Take
)

// block is where events live: a slab of them and a chunk of bytes that their fields point into. Both are filled from front to
// back and never written again behind the front; a full one is left to the garbage collector, which frees it with its last
// event. Small transactions share a slab: Take hands out the part filled since the last one.
type block struct {
	events []Event
	taken  int    // events before it are handed out
	weight int    // bytes appended since the last Take
	chunk  []byte // len: filled
}

func (b *block) full() bool {
	return len(b.events) > b.taken && (len(b.events) == cap(b.events) || b.weight >= blockBytes)
}

func (b *block) take() []Event {
	if b.taken == len(b.events) {
		return nil
	}
	out := b.events[b.taken:len(b.events):len(b.events)]
	b.taken, b.weight = len(b.events), 0
	return out
}

// space returns an empty slice with room for n bytes. What needs a large part of a chunk gets memory of its own, so that it
// neither wastes the chunk's rest nor is kept alive by its neighbours.
func (b *block) space(n int) []byte {
	if n > blockBytes/4 {
		return make([]byte, 0, n)
	}
	if n > cap(b.chunk)-len(b.chunk) {
		b.chunk = make([]byte, 0, blockBytes)
	}
	return b.chunk[len(b.chunk):]
}

// keep takes note of what was appended to the slice that space(n) gave.
func (b *block) keep(n int, filled []byte) {
	b.weight += len(filled)
	if n <= blockBytes/4 && len(filled) <= cap(b.chunk)-len(b.chunk) {
		b.chunk = b.chunk[:len(b.chunk)+len(filled)]
	}
}

// next returns the event to fill.
func (b *block) next() *Event {
	if len(b.events) == cap(b.events) {
		b.events, b.taken = make([]Event, 0, blockEvents), 0
	}
	b.events = b.events[:len(b.events)+1]
	return &b.events[len(b.events)-1]
}
