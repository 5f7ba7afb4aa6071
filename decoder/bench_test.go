package decoder

import (
	"fmt"
	"strings"
	"testing"
)

// benchmark decodes transactions of n events of about 330 bytes on the wire as rows. ns/op and allocs/op are those of one
// event. It holds the last 20,000 events as the relay's window does: with an empty heap the garbage collector would never
// rest.
func benchmark(b *testing.B, n int, row []byte) {
	d, err := New(Config{Tables: []Table{{Name: "public.outbox"}}, Messages: []Span{{}}, Source: "1:1:i:slot", PositionHeaders: true})
	if err != nil {
		b.Fatal(err)
	}
	feed(b, d, relationMsg(1, "public", "outbox", nativeColumns()...))
	begin, commit := beginMsg(0x100, 7), commitMsg(0x100, 0x130)
	take := recycle(d)
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

// recycle gives d a pool, and returns what takes its events as the relay does: a window of 20,000 is held, older blocks go
// back.
func recycle(d *Decoder) (take func()) {
	var window []*Block
	pool := new(Pool)
	d.block.pool = pool
	return func() {
		before := d.Block()
		d.Take()
		if b := d.Block(); b == before {
			return
		}
		window = append(window, d.Block())
		if len(window) > 20_000/blockEvents {
			pool.Put(window[0])
			window = append(window[:0], window[1:]...)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	const more = `{"tenant": "acme", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`
	payload := `{"n": 123456, "pad": "` + strings.Repeat("x", 120) + `"}`
	row := func(headers string) []byte {
		return insertMsg(1, anID, "orders", "order-123456", "OrderCreated", nil, nil, payload, headers, "2026-01-02 03:04:05.678901+00", "123456")
	}
	message := func(headers any) []byte {
		return logicalMsg(true, 0x90, Prefix, ours(0, anID, "orders", "order-123456", "OrderCreated", nil, nil, headers, payload))
	}
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) { benchmark(b, n, row("{}")) })
		b.Run(fmt.Sprintf("rows=%d/headers", n), func(b *testing.B) { benchmark(b, n, row(more)) })
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) { benchmark(b, n, message(nil)) })
		b.Run(fmt.Sprintf("messages=%d/headers", n), func(b *testing.B) { benchmark(b, n, message(more)) })
	}
}

// TestAllocations: none once the pool has filled.
func TestAllocations(t *testing.T) {
	const rows = 20_000
	for name, row := range map[string][]byte{
		"row":     insertMsg(1, "id", "orders", "o-1", "T", nil, nil, `{"a": 1}`, `{"tenant": "acme", "n": 1}`, "now", "123456"),
		"message": logicalMsg(true, 0x90, Prefix, ours(0, anID, "orders", "o-1", "T", nil, nil, `{"tenant": "acme", "n": 1}`, `{"a": 1}`)),
	} {
		for _, n := range []int{1, 1000} {
			d, err := New(Config{Tables: []Table{{Name: "public.outbox"}}, Messages: []Span{{}}})
			if err != nil {
				t.Fatal(err)
			}
			feed(t, d, relationMsg(1, "public", "outbox", nativeColumns()...))
			begin, commit := beginMsg(0x100, 7), commitMsg(0x100, 0x130)
			take := recycle(d)
			got := testing.AllocsPerRun(2, func() {
				for range rows / n {
					_, _ = d.Decode(begin)
					for range n {
						_, _ = d.Decode(row)
						if d.Full() {
							take()
						}
					}
					_, _ = d.Decode(commit)
					take()
				}
			})
			if got > 10 || d.Tx().EndLSN == 0 || d.Tx().Counted != uint32(n) {
				t.Errorf("transactions of %d events of a %s: got %.0f allocations for %d, want none but the pool's own", n, name, got, rows)
			}
		}
	}
}
