package fetch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/segmentio/kafka-go/compress"
)

// Offsets in a record batch of format 2 (Kafka documentation, "Record Batch").
const (
	atLength    = 8
	atMagic     = 16
	atCRC       = 17
	atAttrs     = 21
	atLastDelta = 23
	atFirstTime = 27
	atMaxTime   = 35
	atProducer  = 43
	atCount     = 57
	headerBytes = 61

	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
)

// maxUnpacked bounds what a compressed batch may become.
const maxUnpacked = 1 << 28

var errOldFormat = errors.New("the topic's records have the format of Kafka before 0.11: raise its message.format.version, and write them anew")

// batch is one record batch.
type batch struct {
	raw   []byte
	base  int64
	next  int64 // the offset after it
	attrs int16
}

// cut takes the first whole batch off b; ok is false when b holds none (a broker cuts the last one off where its limit is).
func cut(b []byte) (first batch, rest []byte, ok bool, err error) {
	if len(b) < atMagic+1 {
		return batch{}, nil, false, nil
	}
	size := int64(int32(binary.BigEndian.Uint32(b[atLength:]))) + atLength + 4
	if b[atMagic] < 2 {
		return batch{}, nil, false, errOldFormat
	}
	if size < headerBytes {
		return batch{}, nil, false, fmt.Errorf("a record batch of %d bytes, which is none", size)
	}
	if size > int64(len(b)) {
		return batch{}, nil, false, nil
	}
	raw := b[:size:size]
	first = batch{raw: raw, base: int64(binary.BigEndian.Uint64(raw)), attrs: int16(binary.BigEndian.Uint16(raw[atAttrs:]))}
	first.next = first.base + int64(int32(binary.BigEndian.Uint32(raw[atLastDelta:]))) + 1
	return first, b[size:], true, nil
}

func (b batch) control() bool       { return b.attrs&attrControl != 0 }
func (b batch) transactional() bool { return b.attrs&attrTransactional != 0 }
func (b batch) producer() int64     { return int64(binary.BigEndian.Uint64(b.raw[atProducer:])) }
func (b batch) count() int          { return int(int32(binary.BigEndian.Uint32(b.raw[atCount:]))) }

// check compares the checksum: what was torn on the way is read again.
func (b batch) check() error {
	if got, want := castagnoli(b.raw[atAttrs:]), binary.BigEndian.Uint32(b.raw[atCRC:]); got != want {
		return fmt.Errorf("the checksum of the batch at %d is %08x, it says %08x", b.base, got, want)
	}
	return nil
}

// records returns the batch's records, unpacked.
func (b batch) records() ([]byte, error) {
	body := b.raw[headerBytes:]
	kind := compress.Compression(b.attrs & attrCodec)
	if kind == compress.None {
		return body, nil
	}
	codec := kind.Codec()
	if codec == nil {
		return nil, fmt.Errorf("compression %d is not known here", kind)
	}
	r := codec.NewReader(bytes.NewReader(body))
	out := bytes.NewBuffer(make([]byte, 0, 4*len(body)))
	n, err := out.ReadFrom(io.LimitReader(r, maxUnpacked+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("unpack a batch (%s): %w", codec.Name(), err)
	}
	if n > maxUnpacked {
		return nil, fmt.Errorf("unpack a batch (%s): more than %d bytes come out", codec.Name(), maxUnpacked)
	}
	return out.Bytes(), nil
}

// aborts tells whether a control batch ends a transaction by undoing it: its only record's key is a version and a type.
func (b batch) aborts() bool {
	body, err := b.records()
	if err != nil {
		return false
	}
	c := cursor{b: body}
	c.varint() // size
	c.bytes(1) // attributes
	c.varint() // time
	c.varint() // offset
	key := c.nullable()
	return !c.bad && len(key) >= 4 && binary.BigEndian.Uint16(key[2:]) == 0
}

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
