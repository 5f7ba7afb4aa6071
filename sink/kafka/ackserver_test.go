package kafka_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// ackServer is a broker that acknowledges every batch at once and keeps none: what is left is the client's own cost.
func ackServer(t testing.TB, topic string, partitions int, delay time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	host, port, _ := net.SplitHostPort(l.Addr().String())
	number, _ := strconv.Atoi(port)
	meta := &metadata.Response{Brokers: []metadata.ResponseBroker{{NodeID: 1, Host: host, Port: int32(number)}}, ControllerID: 1}
	topics := []metadata.ResponseTopic{{Name: topic}}
	for i := range partitions {
		topics[0].Partitions = append(topics[0].Partitions, metadata.ResponsePartition{PartitionIndex: int32(i), LeaderID: 1})
	}
	meta.Topics = topics
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveAcks(c, meta, delay)
		}
	}()
	return l.Addr().String()
}

func serveAcks(c net.Conn, meta *metadata.Response, delay time.Duration) {
	defer func() { _ = c.Close() }()
	type late struct {
		due  time.Time
		body []byte
	}
	out := make(chan late, 64) // answers leave in order, each delay after its request came
	defer close(out)
	go func() {
		for l := range out {
			<-time.After(time.Until(l.due))
			if _, err := c.Write(l.body); err != nil {
				return
			}
		}
	}()
	in := bufio.NewReaderSize(c, 1<<20)
	body := make([]byte, 0, 4<<20)
	var ack []byte
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		if cap(body) < n {
			body = make([]byte, n)
		}
		body = body[:n]
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		key, version := binary.BigEndian.Uint16(body), int16(binary.BigEndian.Uint16(body[2:]))
		correlation := int32(binary.BigEndian.Uint32(body[4:]))
		if key == 0 {
			ack = appendAcks(ack[:0], body)
			if delay == 0 {
				if _, err := c.Write(ack); err != nil {
					return
				}
				continue
			}
			out <- late{time.Now().Add(delay), bytes.Clone(ack)}
			continue
		}
		var res protocol.Message
		switch protocol.ApiKey(key) {
		case protocol.ApiVersions:
			res = &apiversions.Response{ApiKeys: []apiversions.ApiKeyResponse{{ApiKey: 0, MinVersion: 3, MaxVersion: 8}, {ApiKey: 3, MaxVersion: 8}, {ApiKey: 22, MaxVersion: 4}}}
			<-time.After(delay)
		case protocol.Metadata:
			res = meta
		case protocol.InitProducerId:
			res = &initproducerid.Response{ProducerID: 7}
		default:
			return
		}
		if err := protocol.WriteResponse(c, version, correlation, res); err != nil {
			return
		}
	}
}

// appendAcks answers a produce request of version 8.
func appendAcks(b, req []byte) []byte {
	be := binary.BigEndian
	b = append(b, 0, 0, 0, 0)
	b = append(b, req[4:8]...)
	req = req[8:]
	req = req[2+be.Uint16(req):] // client id
	req = req[2+2+4:]            // no transactional id, acks, timeout
	topics := be.Uint32(req)
	b, req = append(b, req[:4]...), req[4:]
	for range topics {
		n := 2 + int(be.Uint16(req))
		parts := be.Uint32(req[n:])
		b, req = append(b, req[:n+4]...), req[n+4:]
		for range parts {
			b = append(b, req[:4]...)
			b = be.AppendUint16(b, 0)
			b = append(b, make([]byte, 8+8+8+4)...)
			b = be.AppendUint16(b, 0xffff)
			req = req[8+be.Uint32(req[4:]):]
		}
	}
	b = be.AppendUint32(b, 0)
	be.PutUint32(b, uint32(len(b)-4))
	return b
}
