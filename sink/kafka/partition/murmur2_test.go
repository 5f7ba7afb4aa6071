package partition

import (
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The vectors of Kafka's own UtilsTest.testMurmur2.
func TestMurmur2_JavaVectors(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(Murmur2([]byte(key))); got != want {
			t.Errorf("Murmur2(%q): got %d, want %d", key, got, want)
		}
	}
}

func TestOf_AgreesWithAnotherClient(t *testing.T) {
	t.Parallel()
	judge := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		key := make([]byte, rnd.IntN(40))
		for i := range key {
			key[i] = byte(rnd.Uint32())
		}
		n := 1 + rnd.IntN(100)
		if got, want := Of(key, int32(n)), judge.Partition(&kgo.Record{Key: key}, n); int(got) != want {
			t.Fatalf("Of(%x, %d): got %d, want %d", key, n, got, want)
		}
	}
}
