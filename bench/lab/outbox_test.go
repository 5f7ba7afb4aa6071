package lab_test

import (
	"os"
	"testing"

	"github.com/cdc-relay/cdc-relay/bench/lab"
)

func TestNumberComesBackFromAPayload(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{0, 7, 123456789} {
		if got := lab.Number([]byte("I\x00before" + lab.Payload(n) + "after")); got != n {
			t.Errorf("row %d: got %d", n, got)
		}
	}
	for _, none := range []string{"", "{", `{"m": 3}`} {
		if got := lab.Number([]byte(none)); got != -1 {
			t.Errorf("%q: got %d, want -1", none, got)
		}
	}
}

func TestProcessIsMeasured(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("SKIPPED for want of /proc")
	}
	if got := lab.PeakRSS(os.Getpid()); got < 1<<20 || got > 1<<32 {
		t.Errorf("our own peak: got %d bytes", got)
	}
	for i, before := 0, lab.CPU(os.Getpid()); lab.CPU(os.Getpid()) == before; i++ { // burn some until it shows
		if i > 1e6 {
			t.Fatal("our own CPU does not rise")
		}
	}
	if got := lab.PeakRSS(1<<22 + 1); got != 0 {
		t.Errorf("peak of nobody: got %d, want 0", got)
	}
}
