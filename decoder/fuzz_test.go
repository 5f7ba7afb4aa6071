package decoder

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
)

// FuzzDecode: no sequence of bytes makes the decoder panic, and what comes out does not change when the messages are
// overwritten. The input is a sequence of messages, each behind two bytes of length.
func FuzzDecode(f *testing.F) {
	recordings, err := filepath.Glob("testdata/*.wal")
	if err != nil {
		f.Fatal(err)
	}
	for _, recording := range recordings {
		var seed []byte
		for _, msg := range readWAL(f, recording) {
			if len(seed)+len(msg) < 4000 {
				seed = append(binary.BigEndian.AppendUint16(seed, uint16(len(msg))), msg...)
			}
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		d, err := New(Config{
			Tables:   []Table{{Name: "public.outbox"}, fiveTable("public.second"), {Name: "app.events", Preset: PresetDebezium}},
			Messages: []Span{{}}, Source: "1:1:i:slot", PositionHeaders: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		var events []Event
		var want []string
		for len(input) >= 2 {
			n := min(int(binary.BigEndian.Uint16(input)), len(input)-2)
			msg := append([]byte(nil), input[2:2+n]...)
			input = input[2+n:]
			inserts := d.Tx().Counted
			kind, err := d.Decode(msg)
			if err != nil {
				if kind != Nothing {
					t.Fatalf("got %v and %v", kind, err)
				}
				break
			}
			if (kind == Inserted) && d.Tx().Counted != inserts+1 {
				t.Fatalf("an event was not counted")
			}
			for i := range msg {
				msg[i] ^= 0xff
			}
			taken := d.Take()
			if len(taken) != 0 != (kind == Inserted) {
				t.Fatalf("%v: got %d events", kind, len(taken))
			}
			for i := range taken {
				events, want = append(events, taken[i]), append(want, fmt.Sprintf("%q", taken[i:i+1]))
				count := 0
				for range taken[i].Headers.All() {
					count++
				}
				if count != taken[i].Headers.Count {
					t.Fatalf("got %d headers, want %d", count, taken[i].Headers.Count)
				}
			}
		}
		for i := range events {
			if got := fmt.Sprintf("%q", events[i:i+1]); got != want[i] {
				t.Fatalf("event changed: got %s, want %s", got, want[i])
			}
		}
	})
}
