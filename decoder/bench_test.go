package decoder

import (
	"fmt"
	"strings"
	"testing"
)

// benchmark decodes transactions of n rows of about 330 bytes on the wire. ns/op and allocs/op are those of one event. It
// holds the last 20,000 events as the relay's window does: with an empty heap the garbage collector would never rest.
func benchmark(b *testing.B, n int, headers any) {
	d := open(b, Table{Name: "public.outbox"})
	feed(b, d, relationMsg(1, "public", "outbox", nativeColumns()...))
	begin, commit := beginMsg(0x100, 7), commitMsg(0x100, 0x130)
	row := insertMsg(1, "0198f0c2-5b1e-7d2a-9c3f-0123456789ab", "orders", "order-123456", "OrderCreated", nil, nil,
		`{"n": 123456, "pad": "`+strings.Repeat("x", 120)+`"}`, headers, "2026-01-02 03:04:05.678901+00", "123456")
	window, at := make([][]Event, 20_000/min(n, blockEvents)), 0
	take := func() {
		window[at%len(window)] = d.Take()
		at++
	}
	b.SetBytes(int64(len(row)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%n == 0 {
			feed(b, d, begin)
		}
		if _, err := d.Decode(row); err != nil {
			b.Fatal(err)
		}
		if d.Full() {
			take()
		}
		if i%n == n-1 {
			feed(b, d, commit)
			take()
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) { benchmark(b, n, "{}") })
		b.Run(fmt.Sprintf("rows=%d/headers", n), func(b *testing.B) {
			benchmark(b, n, `{"tenant": "acme", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`)
		})
	}
}

// TestAllocations: none for an event, amortised: a slab and a chunk serve hundreds.
func TestAllocations(t *testing.T) {
	for _, n := range []int{1, 1000} {
		result := testing.Benchmark(func(b *testing.B) { benchmark(b, n, `{"tenant": "acme"}`) })
		if got := float64(result.MemAllocs) / float64(result.N); got > 0.05 && result.N > 10_000 {
			t.Errorf("transactions of %d rows: got %.3f allocations for each event, want 0 amortised", n, got)
		}
	}
}
