package wire

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestFrame_AnotherClientReadsIt(t *testing.T) {
	t.Parallel()
	small, large := []byte{0, 0, 0, 2, 'a', 'b'}, append([]byte{0, 0, 0x20, 0}, bytes.Repeat([]byte("x"), 0x2000)...)
	entries := []Entry{{"orders", 0, small}, {"orders", 3, large}, {"orders", 4, small}, {"payments", 1, large}, {"refunds", 2, small}}
	p := Produce{Acks: -1, Timeout: 1500 * time.Millisecond, ClientID: "relay"}
	for range 2 { // the second time with used buffers
		var b []byte
		for _, part := range p.frame(8, 77, entries) {
			b = append(b, part...)
		}
		if got, want := int(b[2])<<8|int(b[3]), (len(b)-4)&0xffff; got != want {
			t.Errorf("size: got %d, want %d", got, want)
		}
		req := kmsg.NewPtrProduceRequest()
		req.Version = 8
		if err := req.ReadFrom(b[4+2+2+4+2+len("relay"):]); err != nil {
			t.Fatal(err)
		}
		if req.Acks != -1 || req.TimeoutMillis != 1500 || req.TransactionID != nil {
			t.Errorf("head: got %+v", req)
		}
		var got []Entry
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				got = append(got, Entry{t.Topic, p.Partition, p.Records})
			}
		}
		for i := range entries {
			if got[i].Topic != entries[i].Topic || got[i].Partition != entries[i].Partition || !bytes.Equal(got[i].Batch, entries[i].Batch[4:]) {
				t.Errorf("entry %d differs", i)
			}
		}
	}
}

func TestParseProduce_EachVersion(t *testing.T) {
	t.Parallel()
	res := &produce.Response{ThrottleTimeMs: 40, Topics: []produce.ResponseTopic{
		{Topic: "orders", Partitions: []produce.ResponsePartition{{Partition: 3, BaseOffset: 9}, {Partition: 4, ErrorCode: 87, ErrorMessage: "no key"}}},
		{Topic: "payments", Partitions: []produce.ResponsePartition{{Partition: 1, ErrorCode: 10, RecordErrors: []produce.ResponseError{{BatchIndex: 1, BatchIndexErrorMessage: "big"}}}}},
	}}
	for version := int16(3); version <= 8; version++ {
		var b bytes.Buffer
		if err := protocol.WriteResponse(&b, version, 5, res); err != nil {
			t.Fatal(err)
		}
		var got []string
		throttle, err := parseProduce(b.Bytes()[8:], version, func(r Result) {
			got = append(got, string(r.Topic)+" "+r.Code.Label()+" "+string(r.Message))
		})
		want := []string{"orders  ", "orders invalid_record no key", "payments too_large big"}
		if version < 8 {
			want = []string{"orders  ", "orders invalid_record ", "payments too_large "}
		}
		if !slices.Equal(got, want) || throttle != 40*time.Millisecond || err != nil {
			t.Errorf("version %d: got %q, %v, %v", version, got, throttle, err)
		}
	}
}

func FuzzParseProduce(f *testing.F) {
	var b bytes.Buffer
	_ = protocol.WriteResponse(&b, 8, 5, &produce.Response{Topics: []produce.ResponseTopic{{Topic: "t", Partitions: []produce.ResponsePartition{{ErrorMessage: "m"}}}}})
	f.Add(b.Bytes()[8:], int16(8))
	f.Fuzz(func(_ *testing.T, body []byte, version int16) {
		_, _ = parseProduce(body, version, func(Result) {})
	})
}

func TestCode_Classes(t *testing.T) {
	t.Parallel()
	for code, want := range map[Code]Class{
		0: Stored, 46: Stored, 10: TooLarge, 18: TooLarge, 87: Refused, 44: Refused, 17: BadTopic, 45: LostState, 47: LostState, 59: LostState,
		21: StateOfSink, 29: StateOfSink, 31: StateOfSink, 32: StateOfSink, 35: StateOfSink, 42: StateOfSink, 43: StateOfSink, 53: StateOfSink, 76: StateOfSink,
		-1: Retry, 2: Retry, 3: Retry, 5: Retry, 6: Retry, 7: Retry, 8: Retry, 19: Retry, 20: Retry, 56: Retry, 999: Retry,
	} {
		if got := code.Class(); got != want {
			t.Errorf("code %d: got class %d, want %d", code, got, want)
		}
		if want == StateOfSink && code.Cure() == "" {
			t.Errorf("code %d is a state that a person ends, and has no cure", code)
		}
	}
}
