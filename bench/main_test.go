package main

import (
	"io"
	"slices"
	"testing"
	"time"
)

func TestFlagsMayStandAroundStages(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-o", "json", "live", "-for", "3s", "start", "--smoke"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !o.json || !o.smoke || o.live.For != 3*time.Second || !slices.Equal(o.stages, []string{"live", "start"}) {
		t.Errorf("got %+v", o)
	}
	if o.wants("drain") || !o.wants("live") || o.live.Rounds != 1 {
		t.Errorf("live and start, small: got %+v", o)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"swim"}, {"-o", "xml", "all"}, {"-postgres", "9", "all"}, {"-rounds", "0", "drain"}, {"-for", "1ms", "live"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

func TestAllIsEveryStageButTheProfile(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"all"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stages() {
		if !o.wants(s) {
			t.Errorf("all leaves out %s", s)
		}
	}
	if o.wants("profile") {
		t.Error("all includes the profile")
	}
}
