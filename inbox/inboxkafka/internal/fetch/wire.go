package fetch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/protocol"
	kfetch "github.com/segmentio/kafka-go/protocol/fetch"
)

// maxAnswer bounds what a broker may make us allocate for one partition: a batch is never larger.
const maxAnswer = 1 << 30

// exchange is a Fetch request whose answer is read raw: Transport hands the connection to a request that wants it.
type exchange struct {
	kfetch.Request

	clientID string
	version  int16
}

// answer is a Fetch response.
type answer struct {
	code       int16
	partitions []partitionAnswer
}

// ApiKey makes it a protocol.Message.
func (*answer) ApiKey() protocol.ApiKey { return protocol.Fetch } //nolint:staticcheck // kafka-go's interface has this name

type partitionAnswer struct {
	topic     string
	partition int32
	code      int16
	high      int64 // the log's end, as replicated
	stable    int64 // and as far as transactions are decided
	aborted   []aborted
	records   []byte // its own: a slow partition keeps no other one's bytes
}

// aborted is a transaction whose records are to be left out, from first on until its marker.
type aborted struct {
	producer, first int64
}

// Required has RawExchange called, and tells it the version that this broker takes.
func (e *exchange) Required(versions map[protocol.ApiKey]int16) bool {
	e.version = versions[protocol.Fetch]
	return true
}

// RawExchange sends the request and reads its answer.
func (e *exchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if e.version < 4 {
		return nil, fmt.Errorf("read from a broker: it takes Fetch requests up to version %d, and committed reads need 4 (Kafka 0.11)", e.version)
	}
	const correlation = 1 // a connection of Transport has one request under way
	if err := protocol.WriteRequest(rw, e.version, correlation, e.clientID, &e.Request); err != nil {
		return nil, fmt.Errorf("send a Fetch request: %w", err)
	}
	r := &reader{in: rw, left: 4}
	r.left += int(r.int32())
	if id := r.int32(); r.err == nil && id != correlation {
		return nil, fmt.Errorf("read a Fetch response: it answers request %d, not %d", id, correlation)
	}
	a := readAnswer(r, e.version)
	if r.err == nil && r.left > 0 {
		r.err = fmt.Errorf("%d bytes are left over", r.left)
	}
	if r.err != nil {
		return nil, fmt.Errorf("read a Fetch response of version %d: %w", e.version, r.err)
	}
	return a, nil
}

func readAnswer(r *reader, version int16) *answer {
	a := &answer{}
	r.int32() // throttle: the broker waits for us
	if version >= 7 {
		a.code = r.int16()
		r.int32() // session
	}
	for range r.count() {
		topic := string(r.bytes(int(r.int16())))
		for range r.count() {
			p := partitionAnswer{topic: topic, partition: r.int32(), code: r.int16(), high: r.int64(), stable: r.int64()}
			if version >= 5 {
				r.int64() // the log's start
			}
			for range r.count() {
				p.aborted = append(p.aborted, aborted{producer: r.int64(), first: r.int64()})
			}
			if version >= 11 {
				r.int32() // preferred replica: we name no rack
			}
			p.records = r.bytes(int(r.int32()))
			if r.err != nil {
				return a
			}
			a.partitions = append(a.partitions, p)
		}
	}
	return a
}

// reader walks an answer; after err every value is zero.
type reader struct {
	in   io.Reader
	left int
	err  error
	buf  [8]byte
}

var errShort = errors.New("it ends too early")

func (r *reader) fill(b []byte) []byte {
	clear(b)
	if r.err == nil && len(b) > r.left {
		r.err = errShort
	}
	if r.err == nil {
		_, r.err = io.ReadFull(r.in, b)
		r.left -= len(b)
	}
	if r.err != nil {
		clear(b)
	}
	return b
}

func (r *reader) int16() int16 { return int16(binary.BigEndian.Uint16(r.fill(r.buf[:2]))) }
func (r *reader) int32() int32 { return int32(binary.BigEndian.Uint32(r.fill(r.buf[:4]))) }
func (r *reader) int64() int64 { return int64(binary.BigEndian.Uint64(r.fill(r.buf[:8]))) }

// bytes returns n bytes of their own; none for a null (-1).
func (r *reader) bytes(n int) []byte {
	if n <= 0 || r.err != nil {
		return nil
	}
	if n > r.left || n > maxAnswer {
		r.err = errShort
		return nil
	}
	return r.fill(make([]byte, n))
}

// count is an array's length; none is longer than the bytes that are left.
func (r *reader) count() int {
	n := int(r.int32())
	if n > r.left {
		r.err = errShort
	}
	if r.err != nil || n < 0 {
		return 0
	}
	return n
}
