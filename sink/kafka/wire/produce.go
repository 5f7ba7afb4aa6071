package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// Entry is one partition's place in a produce request. Entries of the same topic stand together.
type Entry struct {
	Topic     string
	Partition int32
	Batch     []byte // size prefix first; not copied
}

// Result is the answer for one partition.
type Result struct {
	Topic     []byte // valid until the next Receive
	Partition int32
	Code      Code
	Message   []byte // the broker's words, where it has any; valid until the next Receive
}

// Produce writes produce requests; its buffers are used again.
type Produce struct {
	Acks     int16         // -1: all in-sync replicas
	Timeout  time.Duration // how long the leader waits for the replicas
	ClientID string

	head  []byte
	cuts  []int
	parts net.Buffers
}

// copyBelow is the size up to which a batch is copied next to its neighbours: cheaper than a vector entry of its own.
const copyBelow = 4096

// frame builds the request; the buffers returned are valid until the next call.
func (p *Produce) frame(version int16, correlation int32, entries []Entry) net.Buffers {
	be := binary.BigEndian
	h := append(p.head[:0], 0, 0, 0, 0)
	p.cuts = p.cuts[:0]
	outside := 0
	h = be.AppendUint16(h, 0) // produce
	h = be.AppendUint16(h, uint16(version))
	h = be.AppendUint32(h, uint32(correlation))
	h = appendString(h, p.ClientID)
	h = be.AppendUint16(h, 0xffff) // no transactional id
	h = be.AppendUint16(h, uint16(p.Acks))
	h = be.AppendUint32(h, uint32(p.Timeout.Milliseconds()))
	h = be.AppendUint32(h, uint32(countTopics(entries)))
	for i := 0; i < len(entries); {
		n := sameTopic(entries[i:])
		h = appendString(h, entries[i].Topic)
		h = be.AppendUint32(h, uint32(n))
		for _, e := range entries[i : i+n] {
			h = be.AppendUint32(h, uint32(e.Partition))
			if len(e.Batch) < copyBelow {
				h = append(h, e.Batch...)
				continue
			}
			p.cuts = append(p.cuts, len(h))
			outside += len(e.Batch)
		}
		i += n
	}
	be.PutUint32(h, uint32(len(h)+outside-4))
	p.head = h

	p.parts = p.parts[:0]
	at, cut := 0, 0
	for _, e := range entries {
		if len(e.Batch) < copyBelow {
			continue
		}
		p.parts = append(p.parts, h[at:p.cuts[cut]], e.Batch)
		at = p.cuts[cut]
		cut++
	}
	if at < len(h) {
		p.parts = append(p.parts, h[at:])
	}
	return p.parts
}

func countTopics(entries []Entry) int {
	n := 0
	for i := 0; i < len(entries); i += sameTopic(entries[i:]) {
		n++
	}
	return n
}

func sameTopic(entries []Entry) int {
	n := 1
	for n < len(entries) && entries[n].Topic == entries[0].Topic {
		n++
	}
	return n
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// parseProduce reads the body of an answer and yields each partition's result.
func parseProduce(body []byte, version int16, each func(Result)) (throttle time.Duration, err error) {
	r := reader{b: body}
	for range r.count() {
		topic := r.bytes(int(r.int16()))
		for range r.count() {
			res := Result{Topic: topic, Partition: r.int32(), Code: Code(r.int16())}
			r.skip(8) // base offset
			r.skip(8) // log append time, from version 2 on
			if version >= 5 {
				r.skip(8) // log start offset
			}
			if version >= 8 {
				for range r.count() {
					r.skip(4)
					if m := r.nullable(); res.Message == nil {
						res.Message = m
					}
				}
				if m := r.nullable(); m != nil {
					res.Message = m
				}
			}
			if r.bad {
				break
			}
			each(res)
		}
	}
	throttle = time.Duration(r.int32()) * time.Millisecond
	if r.bad {
		return 0, fmt.Errorf("read a produce response of version %d: %w", version, errShort)
	}
	return throttle, nil
}

var errShort = errors.New("it ends too early")

// reader walks a response; after bad every value is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) bytes(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) skip(n int) { r.bytes(n) }

func (r *reader) int16() int16 {
	if b := r.bytes(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.bytes(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// count is an array's length; none is longer than the bytes that are left.
func (r *reader) count() int {
	n := int(r.int32())
	if n > len(r.b) {
		r.bad = true
	}
	if r.bad || n < 0 {
		return 0
	}
	return n
}

func (r *reader) nullable() []byte {
	n := r.int16()
	if n < 0 {
		return nil
	}
	return r.bytes(int(n))
}
