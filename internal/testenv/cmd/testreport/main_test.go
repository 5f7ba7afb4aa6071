package main

import (
	"strings"
	"testing"
)

func TestReportNamesFailuresSkipsAndCounts(t *testing.T) {
	t.Parallel()
	in := `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: SKIPPED for want of Kafka: no java\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    a_test.go:9: got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestB","Elapsed":0.5}
{"Action":"fail","Package":"p","Elapsed":1.2}
{"Action":"pass","Package":"q","Test":"TestC"}
{"Action":"pass","Package":"q","Elapsed":0.1}
{"Action":"build-output","ImportPath":"r","Output":"r.go:1: undefined: x\n"}
{"Action":"fail","Package":"r"}
`
	var out strings.Builder
	if report(strings.NewReader(in), &out) {
		t.Error("a run with failures passes")
	}
	for _, want := range []string{
		"p TestA: SKIPPED for want of Kafka: no java", "--- FAIL: p TestB (0.50s)", "got 1, want 2", "ok  \tq\t0.1s\t1 tests",
		"r.go:1: undefined: x", "FAIL: 3 tests in 3 packages, 2 failed, 1 skipped",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", out.String(), want)
		}
	}
	if report(strings.NewReader(""), &out) {
		t.Error("a run without tests passes")
	}
}
