package testenv

import (
	"os"
	"testing"
	"time"
)

// Skip ends the test because a part is missing: as skipped, by the part's name, or as failed where
// CDC_RELAY_TEST_REQUIRE=all says that everything must run.
func Skip(t testing.TB, part string, why error) {
	t.Helper()
	if os.Getenv("CDC_RELAY_TEST_REQUIRE") == "all" {
		t.Fatalf("MISSING PART %s: %v", part, why)
	}
	t.Skipf("SKIPPED for want of %s: %v", part, why)
}

// Eventually calls check, at once and then each 10 ms, until it returns nil; after the timeout the test fails with what
// it returned last.
func Eventually(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", timeout, err)
		}
		<-tick.C
	}
}
