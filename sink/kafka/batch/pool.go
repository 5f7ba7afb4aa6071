package batch

import (
	"math/bits"
	"sync"
)

// Pool lends buffers by size class (powers of two from 1 KiB to 4 MiB), so that a batch of one event never holds the buffer
// of a full one. The garbage collector empties it.
type Pool struct{ classes [13]sync.Pool }

const smallest = 10 // 1 KiB

// Buffer is one that a Pool lends.
type Buffer struct{ B []byte }

// Get returns an empty buffer with room for size bytes.
func (p *Pool) Get(size int) *Buffer {
	class := max(bits.Len(uint(max(size, 1)-1))-smallest, 0)
	if class >= len(p.classes) {
		return &Buffer{make([]byte, 0, size)}
	}
	if b, ok := p.classes[class].Get().(*Buffer); ok {
		b.B = b.B[:0]
		return b
	}
	return &Buffer{make([]byte, 0, 1<<(class+smallest))}
}

// Put takes a buffer back; nobody may use it any more.
func (p *Pool) Put(b *Buffer) {
	class := bits.Len(uint(cap(b.B))) - 1 - smallest
	if class >= 0 && class < len(p.classes) {
		p.classes[class].Put(b)
	}
}
