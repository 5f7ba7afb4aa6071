package testenv_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

func produce(t *testing.T, brokers []string, topic string, values ...string) error {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordDeliveryTimeout(20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, v := range values {
		if err := client.ProduceSync(context.Background(), &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte(v)}).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}

func TestKafkaTakesAndGivesRecordsInOrder(t *testing.T) {
	t.Parallel()
	k := testenv.Kafka(t)
	topic := k.Topic(t, 3)
	if err := produce(t, k.Brokers(), topic, "a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	var got string
	for _, r := range testenv.Consume(t, k.Brokers(), 3, topic) {
		got += string(r.Value)
	}
	if got != "abc" {
		t.Errorf("got %q, want %q", got, "abc")
	}
}

func TestKafkaOfOnesOwnIsKilledFrozenAndStartedAgain(t *testing.T) {
	t.Parallel()
	k := testenv.StartKafka(t, 1, "message.max.bytes=200000")
	topic := k.Topic(t, 1)
	for i, bad := range []func(int){k.Kill, k.Stop} {
		if err := produce(t, k.Brokers(), topic, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		bad(1)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err := k.Admin(t).BrokerMetadata(ctx)
		cancel()
		if err == nil {
			t.Errorf("broker answers after bad day %d", i)
		}
		if i == 0 {
			k.Start(1)
		} else {
			k.Cont(1)
		}
	}
	if got := len(testenv.Consume(t, k.Brokers(), 2, topic)); got != 2 {
		t.Errorf("records after a kill and a freeze: got %d, want 2", got)
	}
}
