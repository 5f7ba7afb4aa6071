package batch

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"github.com/cdc-relay/cdc-relay/decoder"
)

// Offsets in an encoded batch, counted after its size prefix.
const (
	sizePrefix  = 4
	atLength    = 8
	atCRC       = 17
	atAttrs     = 21
	headerBytes = 61

	// MaxOverhead is what a record takes besides key, value and headers, at most: seven varints and the attributes.
	MaxOverhead = 40
)

// Producer is the idempotent producer's part of a batch; ID -1 stands for none, then Epoch and Sequence are -1 too.
type Producer struct {
	ID       int64
	Epoch    int16
	Sequence int32 // of the first record
}

// NextSequence is the sequence number that follows n records from seq on: 2^31-1 is followed by 0 (KIP-98).
func NextSequence(seq int32, n int) int32 { return int32((int64(seq) + int64(n)) & math.MaxInt32) }

// MaxSize is an upper bound of the size of a batch of records whose Bytes sum up to payload, size prefix included.
func MaxSize(records, payload int) int {
	return sizePrefix + headerBytes + records*MaxOverhead + payload
}

// Encoder encodes batches. It must not be used by two goroutines at once.
type Encoder struct {
	Codec   Codec
	scratch []byte
	packer  packer
}

// Append appends the batch of events (at least one), size prefix first, as a produce request carries it.
func (e *Encoder) Append(dst []byte, events []*decoder.Event, p Producer) ([]byte, error) {
	start := len(dst)
	first := events[0].CommitTime / 1000
	newest := first
	for _, ev := range events {
		newest = max(newest, ev.CommitTime/1000)
	}
	be := binary.BigEndian
	dst = be.AppendUint32(dst, 0) // size
	dst = be.AppendUint64(dst, 0) // base offset
	dst = be.AppendUint32(dst, 0) // length
	dst = be.AppendUint32(dst, math.MaxUint32)
	dst = append(dst, 2)
	dst = be.AppendUint32(dst, 0) // crc
	dst = be.AppendUint16(dst, uint16(e.Codec))
	dst = be.AppendUint32(dst, uint32(len(events)-1))
	dst = be.AppendUint64(dst, uint64(first))
	dst = be.AppendUint64(dst, uint64(newest))
	dst = be.AppendUint64(dst, uint64(p.ID))
	dst = be.AppendUint16(dst, uint16(p.Epoch))
	dst = be.AppendUint32(dst, uint32(p.Sequence))
	dst = be.AppendUint32(dst, uint32(len(events)))

	if e.Codec == None {
		dst = appendRecords(dst, events, first)
	} else {
		e.scratch = appendRecords(e.scratch[:0], events, first)
		var err error
		if dst, err = e.packer.pack(dst, e.scratch, e.Codec); err != nil {
			return dst[:start], err
		}
	}
	b := dst[start:]
	be.PutUint32(b, uint32(len(b)-sizePrefix))
	b = b[sizePrefix:]
	be.PutUint32(b[atLength:], uint32(len(b)-atLength-4))
	be.PutUint32(b[atCRC:], crc32.Checksum(b[atAttrs:], crc32.MakeTable(crc32.Castagnoli)))
	return dst, nil
}

func appendRecords(dst []byte, events []*decoder.Event, first int64) []byte {
	for i, ev := range events {
		dst = appendRecord(dst, ev, ev.CommitTime/1000-first, int64(i))
	}
	return dst
}

func appendRecord(dst []byte, ev *decoder.Event, delta, offset int64) []byte {
	size := 1 + varintLen(delta) + varintLen(offset) + bytesLen(ev.Key) + bytesLen(ev.Value) +
		varintLen(int64(ev.Headers.Count)) + len(ev.Headers.Bytes)
	dst = binary.AppendVarint(dst, int64(size))
	dst = append(dst, 0) // attributes: none are defined
	dst = binary.AppendVarint(dst, delta)
	dst = binary.AppendVarint(dst, offset)
	dst = appendBytes(dst, ev.Key)
	dst = appendBytes(dst, ev.Value)
	dst = binary.AppendVarint(dst, int64(ev.Headers.Count))
	return append(dst, ev.Headers.Bytes...)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

func varintLen(v int64) int {
	n := 1
	for u := uint64(v)<<1 ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}
