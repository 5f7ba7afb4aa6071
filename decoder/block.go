package decoder

import "sync"

const (
	blockEvents = 256      // events of one slab
	blockBytes  = 64 << 10 // bytes of one chunk, and what may wait before Take
	keptChunks  = 4        // chunks that a recycled block keeps
)

// Block is where events live: a slab of them, and chunks of bytes that their fields point into. Both are filled from front
// to back and not written again while an event of them is in use. Small transactions share a block: Take hands out the part
// filled since the last one.
//
// A full block is left to the garbage collector, which frees it with its last event; or whoever knows that all its events
// are done with gives it back to the Pool that it came from.
type Block struct {
	events []Event  // len: filled
	chunks [][]byte // the one being filled is chunks[chunk]; len of each: filled
	chunk  int
}

func newBlock() *Block { return &Block{events: make([]Event, 0, blockEvents)} }

// space returns an empty slice with room for n bytes. What needs a large part of a chunk gets memory of its own, so that it
// does not waste the chunk's rest; that is never recycled.
func (b *Block) space(n int) []byte {
	if n > blockBytes/4 {
		return make([]byte, 0, n)
	}
	for b.chunk < len(b.chunks) {
		if c := b.chunks[b.chunk]; n <= cap(c)-len(c) {
			return c[len(c):]
		}
		b.chunk++
	}
	b.chunks = append(b.chunks, make([]byte, 0, blockBytes))
	return b.chunks[b.chunk]
}

// keep takes note of what was appended to the slice that space(n) gave.
func (b *Block) keep(n int, filled []byte) {
	if n > blockBytes/4 || b.chunk == len(b.chunks) {
		return
	}
	if c := b.chunks[b.chunk]; len(filled) <= cap(c)-len(c) {
		b.chunks[b.chunk] = c[:len(c)+len(filled)]
	}
}

// next returns the event to fill.
func (b *Block) next() *Event {
	b.events = b.events[:len(b.events)+1]
	return &b.events[len(b.events)-1]
}

// reset makes the block empty. Events are cleared, so that rows with memory of their own are not kept by a block that waits.
func (b *Block) reset() {
	clear(b.events)
	b.events, b.chunk = b.events[:0], 0
	if len(b.chunks) > keptChunks {
		clear(b.chunks[keptChunks:])
		b.chunks = b.chunks[:keptChunks]
	}
	for i, c := range b.chunks {
		b.chunks[i] = c[:0]
	}
}

// Pool recycles blocks, so that a steady stream makes no garbage. It is safe for use by several goroutines, and outlives
// decoders. The zero value is empty and ready.
type Pool struct {
	mu   sync.Mutex
	free []*Block
}

// maxFree bounds what waits in a pool: blocks of a window of 20,000 events and some.
const maxFree = 96

// Put gives a block back. Nobody may hold an event of it, or bytes of one, any more.
func (p *Pool) Put(b *Block) {
	b.reset()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < maxFree {
		p.free = append(p.free, b)
	}
}

func (p *Pool) get() *Block {
	if p == nil {
		return newBlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free)
	if n == 0 {
		return newBlock()
	}
	b := p.free[n-1]
	p.free[n-1] = nil
	p.free = p.free[:n-1]
	return b
}

// cursor is the decoder's place in its block.
type cursor struct {
	*Block
	pool   *Pool
	from   *Block // of the last Take
	taken  int    // events before it are handed out
	weight int    // bytes appended since the last Take
}

func (c *cursor) full() bool {
	return c.Block != nil && len(c.events) > c.taken && (len(c.events) == cap(c.events) || c.weight >= blockBytes)
}

func (c *cursor) take() []Event {
	if c.Block == nil || c.taken == len(c.events) {
		return nil
	}
	out := c.events[c.taken:len(c.events):len(c.events)]
	c.from, c.taken, c.weight = c.Block, len(c.events), 0
	return out
}

// room makes sure that the block takes one more event.
func (c *cursor) room() {
	if c.Block == nil || len(c.events) == cap(c.events) {
		c.Block, c.taken = c.pool.get(), 0
	}
}
