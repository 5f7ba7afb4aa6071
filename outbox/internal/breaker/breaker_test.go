package breaker

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := Breaker{Failures: 3, CoolDown: 10 * time.Second}
		want := func(probe, allowed bool) {
			t.Helper()
			if p, got := b.Allow(); got != allowed || p != probe {
				t.Fatalf("Allow: got %v (probe %v), want %v (%v)", got, p, allowed, probe)
			}
		}
		fail := func() { t.Helper(); want(false, true); b.Done(false, Failure) }

		fail()
		fail()
		want(false, true)
		b.Done(false, Success) // not in a row
		fail()
		fail()
		want(false, true)
		b.Done(false, Unknown) // says nothing
		fail()
		want(false, false)
		b.Done(false, Success) // a call from before it opened
		<-time.After(10*time.Second - 1)
		want(false, false)
		<-time.After(1)
		want(true, true)
		want(false, false) // one probe at a time
		b.Done(false, Success)
		want(false, false)
		b.Done(true, Failure)
		<-time.After(10*time.Second - 1)
		want(false, false)
		<-time.After(1)
		want(true, true)
		b.Done(true, Unknown) // the probe found nothing out: the next call is one
		want(true, true)
		b.Done(true, Success)
		want(false, true)
		want(false, true)
	})
}
