package batch

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/record"
)

func events() []*decoder.Event {
	var h record.Headers
	for _, kv := range [][2]string{{"event_id", "e-1"}, {"empty", ""}, {"", "no name"}} {
		h.Bytes = record.AppendHeader(h.Bytes, kv[0], []byte(kv[1]))
		h.Count++
	}
	h.Bytes = record.AppendHeader(h.Bytes, "null", nil)
	h.Count++
	return []*decoder.Event{
		{CommitTime: 1_700_000_000_123_456, Key: []byte("k"), Value: []byte("v"), Headers: h},
		{CommitTime: 1_700_000_000_122_000, Key: nil, Value: nil},
		{CommitTime: 1_700_000_099_999_999, Key: []byte{}, Value: []byte{}, Headers: h},
		{CommitTime: 1_700_000_000_123_456, Key: bytes.Repeat([]byte("K"), 10_000), Value: bytes.Repeat([]byte(`{"a":1}`), 10_000)},
	}
}

func TestAppend_Golden(t *testing.T) {
	t.Parallel()
	e := Encoder{}
	got, err := e.Append(nil, events()[:2], Producer{ID: 0x0102030405060708, Epoch: 3, Sequence: 77})
	if err != nil {
		t.Fatal(err)
	}
	want := "00000070" + "0000000000000000" + "00000064" + "ffffffff" + "02" + "0863bdda" + "0000" + "00000001" +
		"0000018bcfe5687b" + "0000018bcfe5687b" + "0102030405060708" + "0003" + "0000004d" + "00000002" +
		"56" + "00" + "00" + "00" + "026b" + "0276" + "08" +
		"106576656e745f6964" + "06652d31" + "0a656d707479" + "00" + "00" + "0e6e6f206e616d65" + "086e756c6c" + "01" +
		"0c" + "00" + "01" + "02" + "01" + "01" + "00"
	if hex.EncodeToString(got) != want {
		t.Errorf("got\n%x, want\n%s", got, want)
	}
}

func TestAppend_OthersReadIt(t *testing.T) {
	t.Parallel()
	for c := None; c <= Zstd; c++ {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			e := Encoder{Codec: c}
			for range 2 { // the second time with used buffers
				b, err := e.Append([]byte("before"), events(), Producer{ID: 9, Epoch: 1, Sequence: 5})
				if err != nil {
					t.Fatal(err)
				}
				judge(t, b[len("before"):], events())
			}
		})
	}
}

func judge(t *testing.T, b []byte, want []*decoder.Event) {
	t.Helper()
	var raw kmsg.RecordBatch
	if err := raw.ReadFrom(b[sizePrefix:]); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(raw.ProducerID, raw.ProducerEpoch, raw.FirstSequence, raw.NumRecords, raw.LastOffsetDelta); got != "9 1 5 4 3" {
		t.Errorf("producer: got %s", got)
	}
	if got, want := raw.MaxTimestamp, int64(1_700_000_099_999); got != want {
		t.Errorf("newest time: got %d, want %d", got, want)
	}
	var set protocol.RecordSet // checks the checksum
	if _, err := set.ReadFrom(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	for i, ev := range want {
		r, err := set.Records.ReadRecord()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.Time.UnixMilli(), ev.CommitTime/1000; got != want {
			t.Errorf("time of %d: got %d, want %d", i, got, want)
		}
		same(t, i, "key", r.Key, ev.Key)
		same(t, i, "value", r.Value, ev.Value)
		n := 0
		for k, v := range ev.Headers.All() {
			if h := r.Headers[n]; h.Key != string(k) || !bytes.Equal(h.Value, v) || (h.Value == nil) != (v == nil) {
				t.Errorf("header %d of %d: got %q=%q, want %q=%q", n, i, h.Key, h.Value, k, v)
			}
			n++
		}
		if n != len(r.Headers) {
			t.Errorf("headers of %d: got %d, want %d", i, len(r.Headers), n)
		}
	}
}

func same(t *testing.T, i int, what string, got protocol.Bytes, want []byte) {
	t.Helper()
	if (got == nil) != (want == nil) {
		t.Errorf("%s of %d: got null %v, want %v", what, i, got == nil, want == nil)
		return
	}
	if b, err := protocol.ReadAll(got); err != nil || !bytes.Equal(b, want) {
		t.Errorf("%s of %d: got %q (%v), want %q", what, i, b, err, want)
	}
}

func TestI9_SameEventsGiveTheSameBytes(t *testing.T) {
	t.Parallel()
	for c := None; c <= Zstd; c++ {
		a, b := Encoder{Codec: c}, Encoder{Codec: c}
		one, _ := a.Append(nil, events(), Producer{ID: 1})
		one, _ = a.Append(one[:0], events(), Producer{ID: 1})
		two, _ := b.Append(nil, events(), Producer{ID: 1})
		if !bytes.Equal(one, two) {
			t.Errorf("%v: two encoders differ", c)
		}
	}
}

func TestMaxSize_IsABound(t *testing.T) {
	t.Parallel()
	n := 0
	for _, ev := range events() {
		n += ev.Bytes()
	}
	e := Encoder{}
	b, _ := e.Append(nil, events(), Producer{})
	if got, bound := len(b), MaxSize(4, n); got > bound {
		t.Errorf("got %d bytes, bound %d", got, bound)
	}
}

func TestNextSequence_Wraps(t *testing.T) {
	t.Parallel()
	if got := NextSequence(2147483647, 1); got != 0 {
		t.Errorf("after the last: got %d, want 0", got)
	}
	if got := NextSequence(2147483645, 5); got != 2 {
		t.Errorf("across the end: got %d, want 2", got)
	}
}

func TestParseCodec(t *testing.T) {
	t.Parallel()
	if c, err := ParseCodec("lz4"); c != LZ4 || err != nil {
		t.Errorf("lz4: got %v, %v", c, err)
	}
	if _, err := ParseCodec("zip"); err == nil || !strings.Contains(err.Error(), "zstd") {
		t.Errorf("zip: got %v, want the names that exist", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	var h record.Headers
	for _, name := range []string{"event_id", "event_type", "aggregate_type", "aggregate_id", "cdc-source", "cdc-lsn", "cdc-index"} {
		h.Bytes = record.AppendHeader(h.Bytes, name, []byte("0123456789abcdef"))
		h.Count++
	}
	evs := make([]*decoder.Event, 500)
	for i := range evs {
		evs[i] = &decoder.Event{CommitTime: int64(i), Key: []byte("customer-1"), Value: bytes.Repeat([]byte("x"), 200), Headers: h}
	}
	for c := None; c <= Zstd; c++ {
		b.Run(c.String(), func(b *testing.B) {
			e := Encoder{Codec: c}
			buf := make([]byte, 0, 1<<20)
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = e.Append(buf[:0], evs, Producer{})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(evs)), "ns/event")
		})
	}
}
