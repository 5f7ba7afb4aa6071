package fetch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// Record is one record. Its bytes belong to all who hold them: read only.
type Record struct {
	Offset  int64
	Time    time.Time
	Key     []byte // nil: null
	Value   []byte // nil: null
	Headers []inbox.Header
	Err     error // it could not be decoded: Value is what stands in the log
}

// decoder decodes batches of one feed. Names of headers are few, so each is kept once.
type decoder struct {
	names map[string]string
}

// maxNames bounds the names that are kept, should a producer invent a new one for each record.
const maxNames = 256

var errRecord = errors.New("the record is cut short")

// appendRecords decodes the records of b from offset from on.
func (d *decoder) appendRecords(dst []Record, b batch, from int64) []Record {
	body, err := b.records()
	if err != nil {
		return append(dst, Record{Offset: max(b.base, from), Time: b.time(0), Value: b.raw, Err: err})
	}
	n := b.count()
	if n < 0 || n > len(body) {
		return append(dst, Record{Offset: max(b.base, from), Time: b.time(0), Value: b.raw, Err: fmt.Errorf("%d records in %d bytes", n, len(body))})
	}
	c := cursor{b: body}
	var headers []inbox.Header // of the batch's records, one behind the other
	for i := range n {
		size := c.varint()
		raw := c.bytes(int(min(size, math.MaxInt32)))
		if c.bad {
			return append(dst, Record{Offset: max(b.base+int64(i), from), Time: b.time(0), Value: b.raw, Err: errRecord})
		}
		var r Record
		if r, headers, err = d.record(b, raw, headers, n-i); err != nil {
			r = Record{Offset: b.base + int64(i), Time: b.time(0), Value: raw, Err: err}
		}
		if r.Offset >= from { // a broker answers with the whole batch around the offset that was asked for
			dst = append(dst, r)
		}
	}
	return dst
}

// record decodes one. Its headers are cut from the slab given; left is how many records may want some of it.
func (d *decoder) record(b batch, raw []byte, slab []inbox.Header, left int) (Record, []inbox.Header, error) {
	c := cursor{b: raw}
	c.bytes(1) // attributes: none are defined
	delta := c.varint()
	r := Record{Time: b.time(delta), Offset: b.base + c.varint()}
	r.Key = c.nullable()
	r.Value = c.nullable()
	n := int(c.varint())
	if c.bad || n < 0 || n > len(raw) {
		return r, slab, errRecord
	}
	if n > cap(slab)-len(slab) {
		slab = make([]inbox.Header, 0, n*max(1, min(left, 4096)))
	}
	at := len(slab)
	for range n {
		name := c.bytes(int(c.varint()))
		slab = append(slab, inbox.Header{Key: d.name(name), Value: c.nullable()})
	}
	if c.bad {
		return r, slab[:at], errRecord
	}
	r.Headers = slab[at:len(slab):len(slab)]
	return r, slab, nil
}

func (d *decoder) name(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if d.names == nil {
		d.names = make(map[string]string)
	}
	if len(d.names) < maxNames {
		d.names[s] = s
	}
	return s
}

// time is a record's time: the broker's when the topic says so, else its producer's.
func (b batch) time(delta int64) time.Time {
	at := int64(binary.BigEndian.Uint64(b.raw[atFirstTime:])) + delta
	if b.attrs&attrLogAppendTime != 0 {
		at = int64(binary.BigEndian.Uint64(b.raw[atMaxTime:]))
	}
	return time.UnixMilli(at)
}

// cursor walks records; after bad every value is zero.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 || c.bad {
		c.bad = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) bytes(n int) []byte {
	if c.bad || n < 0 || n > len(c.b) {
		c.bad = true
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

// nullable reads a length and that many bytes; -1 is null.
func (c *cursor) nullable() []byte {
	n := c.varint()
	if n < 0 || c.bad {
		return nil
	}
	return c.bytes(int(min(n, math.MaxInt32)))
}
