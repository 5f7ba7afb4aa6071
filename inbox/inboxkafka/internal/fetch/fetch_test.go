package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// open starts a reader of topics, stopped when the test ends.
func open(t *testing.T, b *testenv.Brokers, topics ...string) *Reader {
	t.Helper()
	tr := &kafka.Transport{MetadataTopics: topics, MetadataTTL: time.Second}
	r := NewReader(Config{
		Transport: tr, Addr: kafka.TCP(b.Brokers()...), ClientID: "test", MaxWait: 100 * time.Millisecond,
		BufferBytes: 1 << 20, PartitionBytes: 128 << 10, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; tr.CloseIdleConnections() })
	return r
}

func client(t *testing.T, b *testenv.Brokers, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func produce(t *testing.T, c *kgo.Client, topic string, partition int32, from, to int) {
	t.Helper()
	var rs []*kgo.Record
	for i := from; i < to; i++ {
		rs = append(rs, &kgo.Record{
			Topic: topic, Partition: partition, Key: fmt.Append(nil, "k", i%7), Value: fmt.Append(nil, "v", i),
			Headers: []kgo.RecordHeader{{Key: "event_id", Value: fmt.Append(nil, i)}, {Key: "null"}, {Key: "event_type", Value: []byte("T")}},
		})
	}
	if err := c.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// take reads until the position is at least to.
func take(t *testing.T, f *Feed, to int64) (records []Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for f.Position() < to || len(f.records) > 0 {
		rs, _, err := f.Next(ctx, 500)
		if err != nil {
			t.Fatalf("after %d records, at %d of %d: %v", len(records), f.Position(), to, err)
		}
		records = append(records, rs...)
	}
	return records
}

func wantValues(t *testing.T, got []Record, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d records, want %d", len(got), len(want))
	}
	for i, r := range got {
		if string(r.Value) != want[i] || r.Err != nil {
			t.Fatalf("record %d: got %q (%v), want %q", i, r.Value, r.Err, want[i])
		}
	}
}

func values(from, to int) (v []string) {
	for i := from; i < to; i++ {
		v = append(v, fmt.Sprint("v", i))
	}
	return v
}

func TestReader_AllRecordsInOrder(t *testing.T) {
	t.Parallel()
	b := testenv.Kafka(t)
	topic := b.Topic(t, 3)
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.SnappyCompression(), kgo.ZstdCompression()} {
		produce(t, client(t, b, kgo.ProducerBatchCompression(codec)), topic, int32(i), 0, 5000)
	}
	gz, lz := client(t, b, kgo.ProducerBatchCompression(kgo.GzipCompression())), client(t, b, kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	produce(t, gz, topic, 0, 5000, 5100)
	produce(t, lz, topic, 0, 5100, 5200)
	r := open(t, b, topic)
	for p := range int32(3) {
		f := r.Add(topic, p, 100)
		end := 5000
		if p == 0 {
			end = 5200
		}
		got := take(t, f, int64(end))
		wantValues(t, got, values(100, end)...) // 100 lies within a batch: what precedes it is not handed out
		last := got[len(got)-1]
		if last.Offset != int64(end-1) || string(last.Key) != fmt.Sprint("k", (end-1)%7) || len(last.Headers) != 3 || time.Since(last.Time).Abs() > time.Minute {
			t.Errorf("partition %d: last record: %+v", p, last)
		}
		if h := last.Headers; h[0].Key != "event_id" || string(h[0].Value) != fmt.Sprint(end-1) || h[1].Value != nil || h[2].Key != "event_type" {
			t.Errorf("partition %d: headers: %+v", p, h)
		}
	}
}

// Aborted records are left out, and a marker at the log's end is passed: no hot loop, no lag of 1.
func TestReader_TransactionsAndTheMarkerAtTheEnd(t *testing.T) {
	t.Parallel()
	b := testenv.Kafka(t)
	topic := b.Topic(t, 1)
	c := client(t, b, kgo.TransactionalID("tx-"+topic))
	plain := client(t, b)
	for i, commit := range []bool{true, false, true, false} {
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, c, topic, 0, 10*i, 10*i+5)
		produce(t, plain, topic, 0, 10*i+5, 10*i+7) // others' records amid the transaction
		produce(t, c, topic, 0, 10*i+7, 10*i+10)
		if err := c.EndTransaction(t.Context(), kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, b, topic)
	f := r.Add(topic, 0, 0)
	got := take(t, f, 44) // 40 records, 4 markers
	want := append(values(0, 10), "v15", "v16")
	want = append(append(want, values(20, 30)...), "v35", "v36")
	wantValues(t, got, want...)
	if f.Position() != 44 || f.End() != 44 {
		t.Errorf("position %d, end %d, want 44 and 44", f.Position(), f.End())
	}

	// Begun within an aborted transaction the records after the start are still left out.
	g := r.Add(topic, 0, 13)
	wantValues(t, take(t, g, 44), want[10:]...)

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if rs, _, err := f.Next(ctx, 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at the end: got %d records, %v", len(rs), err)
	}
}

func TestReader_OutOfRange(t *testing.T) {
	t.Parallel()
	b := testenv.Kafka(t)
	topic := b.Topic(t, 1)
	produce(t, client(t, b), topic, 0, 0, 20)
	deleted := kadm.Offsets{}
	deleted.Add(kadm.Offset{Topic: topic, Partition: 0, At: 12})
	if _, err := b.Admin(t).DeleteRecords(t.Context(), deleted); err != nil {
		t.Fatal(err)
	}
	r := open(t, b, topic)

	low := r.Add(topic, 0, 3)
	_, next, err := low.Next(t.Context(), 10)
	var hole *HoleError
	if !errors.As(err, &hole) || hole.From != 3 || hole.To != 12 || next != 12 {
		t.Fatalf("below the log: got %v at %d, want the hole 3 to 12", err, next)
	}
	wantValues(t, take(t, low, 20), values(12, 20)...)

	high := r.Add(topic, 0, 21)
	_, _, err = high.Next(t.Context(), 10)
	var beyond *BeyondEndError
	if !errors.As(err, &beyond) || beyond.At != 21 || beyond.End != 20 {
		t.Fatalf("beyond the log: got %v", err)
	}
	if _, _, err := high.Next(t.Context(), 10); !errors.As(err, &beyond) {
		t.Errorf("and it is final: got %v", err)
	}
	at := r.Add(topic, 0, 20) // the end itself is no error
	produce(t, client(t, b), topic, 0, 20, 22)
	wantValues(t, take(t, at, 22), values(20, 22)...)
}

// A feed that nobody reads holds little, and does not hold others back.
func TestReader_Bounded(t *testing.T) {
	t.Parallel()
	b := testenv.Kafka(t)
	topic := b.Topic(t, 2)
	c := client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()))
	for p := range int32(2) {
		for i := range 40 {
			r := &kgo.Record{Topic: topic, Partition: p, Value: make([]byte, 200<<10)}
			if i == 20 {
				r.Value = make([]byte, 900<<10) // larger than what a feed asks for at once
			}
			if err := c.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := open(t, b, topic)
	slow, quick := r.Add(topic, 0, 0), r.Add(topic, 1, 0)
	if got := len(take(t, quick, 40)); got != 40 {
		t.Errorf("got %d records of the partition that is read, want 40", got)
	}
	r.mu.Lock()
	held, share := slow.bytes, r.share()
	r.mu.Unlock()
	if held > 2*share+1<<20 {
		t.Errorf("the partition that nobody reads holds %d bytes, its share is %d", held, share)
	}
	if got := len(take(t, slow, 40)); got != 40 {
		t.Errorf("got %d records of the slow partition, want 40", got)
	}
}
