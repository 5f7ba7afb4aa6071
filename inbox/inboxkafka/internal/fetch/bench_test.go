package fetch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawBatch is a batch of n records as the relay writes them: seven headers, 300 bytes.
func rawBatch(n int) []byte {
	var body []byte
	for i := range n {
		r := kmsg.Record{OffsetDelta: int32(i), Key: fmt.Append(nil, "key-", i), Value: bytes.Repeat([]byte("x"), 300)}
		for _, h := range []string{"event_id", "event_type", "aggregate_type", "aggregate_id", "cdc-source", "cdc-lsn", "cdc-index"} {
			r.Headers = append(r.Headers, kmsg.Header{Key: h, Value: []byte("0123456789abcdef")})
		}
		one := r.AppendTo(nil)[1:]
		r.Length = int32(len(one))
		b := r.AppendTo(nil)
		size, k := binary.Varint(b)
		r.Length = int32(len(b) - k)
		_ = size
		body = r.AppendTo(body)
	}
	rb := kmsg.RecordBatch{Magic: 2, LastOffsetDelta: int32(n - 1), NumRecords: int32(n), Records: body, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1}
	raw := rb.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[atLength:], uint32(len(raw)-atLength-4))
	binary.BigEndian.PutUint32(raw[atCRC:], castagnoli(raw[atAttrs:]))
	return raw
}

func BenchmarkDecode(b *testing.B) {
	const n = 1000
	raw := rawBatch(n)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		d, dst := decoder{}, []Record(nil)
		for range b.N {
			x, _, ok, err := cut(raw)
			if !ok || err != nil {
				b.Fatal(err)
			}
			dst = d.appendRecords(dst[:0], x, 0)
			if len(dst) != n || len(dst[n-1].Headers) != 7 || dst[n-1].Err != nil {
				b.Fatal("wrong", len(dst))
			}
		}
	})
	b.Run("kafka-go", func(b *testing.B) {
		b.ReportAllocs()
		in := append(binary.BigEndian.AppendUint32(nil, uint32(len(raw))), raw...)
		for range b.N {
			var set protocol.RecordSet
			if _, err := set.ReadFrom(bytes.NewReader(in)); err != nil {
				b.Fatal(err)
			}
			for range n {
				r, err := set.Records.ReadRecord()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := protocol.ReadAll(r.Key); err != nil {
					b.Fatal(err)
				}
				if _, err := protocol.ReadAll(r.Value); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
