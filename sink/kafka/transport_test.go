package kafka_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/sink/kafka/batch"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// BenchmarkTransport sends one batch to each of 8 partitions of a real broker and waits for all answers, in the three ways
// that kafka-go leaves open: why the sink has a connection of its own.
func BenchmarkTransport(b *testing.B) {
	const partitions = 8
	for _, events := range []int{1, 100} {
		var e batch.Encoder
		list := sinktest.Events(events, sinktest.Shape{Topics: []string{"t"}, Keys: 10, Bytes: 200})
		pointers := make([]*decoder.Event, events)
		for i := range list {
			pointers[i] = &list[i]
		}
		bytes, err := e.Append(nil, pointers, batch.Producer{ID: -1, Epoch: -1, Sequence: -1})
		if err != nil {
			b.Fatal(err)
		}
		for _, way := range []struct {
			name string
			open func(b *testing.B, addr, topic string) func(raw []byte) error
		}{{"own", ownConnection}, {"roundtrip", roundTrip}, {"rawproduce", rawProduce}} {
			b.Run(fmt.Sprintf("events=%dx%d/%s", partitions, events, way.name), func(b *testing.B) {
				k := testenv.Kafka(b)
				send := way.open(b, k.Brokers()[0], k.Topic(b, partitions))
				testenv.Eventually(b, 20*time.Second, func() error { return send(bytes) }) // a new topic has no leader at first
				for range 200 {                                                            // the broker's code is warm
					if err := send(bytes); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportAllocs()
				b.ResetTimer()
				before := cpu()
				for b.Loop() {
					if err := send(bytes); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/op")
			})
		}
	}
}

func ownConnection(b *testing.B, addr, topic string) func([]byte) error {
	d := wire.Dialer{ClientID: "bench", Timeout: 5 * time.Second}
	c, err := d.Dial(context.Background(), addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	p := wire.Produce{Acks: -1, Timeout: 10 * time.Second, ClientID: "bench"}
	entries := make([]wire.Entry, 8)
	return func(raw []byte) error {
		for i := range entries {
			entries[i] = wire.Entry{Topic: topic, Partition: int32(i), Batch: raw}
		}
		deadline := time.Now().Add(10 * time.Second)
		if err := errors.Join(c.Send(&p, 1, entries, deadline), c.SetReadDeadline(deadline)); err != nil {
			return err
		}
		var refused error
		_, err := c.Receive(func(int32) error { return nil }, func(r wire.Result) {
			if r.Code != wire.OK {
				refused = r.Code
			}
		})
		return errors.Join(err, refused)
	}
}

// recordSet is read once; a writer spares kafka-go's own buffer.
type recordSet struct{ *bytes.Reader }

func raw(b []byte) protocol.RawRecordSet {
	return protocol.RawRecordSet{Reader: recordSet{bytes.NewReader(b)}}
}

var _ io.WriterTo = recordSet{}

func rawProduce(b *testing.B, addr, topic string) func([]byte) error {
	client := &kafkago.Client{Addr: kafkago.TCP(addr), Timeout: 20 * time.Second, Transport: transport(b, topic)}
	return func(batch []byte) error {
		var all errgroup.Group
		for i := range 8 {
			all.Go(func() error {
				res, err := client.RawProduce(context.Background(), &kafkago.RawProduceRequest{
					Topic: topic, Partition: i, RequiredAcks: kafkago.RequireAll, RawRecords: raw(batch),
				})
				if err != nil {
					return err
				}
				return res.Error
			})
		}
		return all.Wait()
	}
}

func roundTrip(b *testing.B, addr, topic string) func([]byte) error {
	t := transport(b, topic)
	return func(batch []byte) error {
		req := &rawproduce.Request{Acks: -1, Timeout: 10_000, Topics: []rawproduce.RequestTopic{{Topic: topic}}}
		for i := range 8 {
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, rawproduce.RequestPartition{Partition: int32(i), RecordSet: raw(batch)})
		}
		res, err := t.RoundTrip(context.Background(), kafkago.TCP(addr), req)
		if err != nil {
			return err
		}
		answer, ok := res.(*produce.Response)
		if !ok {
			return fmt.Errorf("got %T", res)
		}
		for _, topic := range answer.Topics {
			for _, p := range topic.Partitions {
				if p.ErrorCode != 0 {
					return kafkago.Error(p.ErrorCode)
				}
			}
		}
		return nil
	}
}

func transport(b *testing.B, topic string) *kafkago.Transport {
	t := &kafkago.Transport{ClientID: "bench", IdleTimeout: time.Hour, MetadataTopics: []string{topic}}
	b.Cleanup(t.CloseIdleConnections)
	return t
}
