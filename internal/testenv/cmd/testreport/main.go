// Command testreport reads `go test -json` and prints what a person wants to see of it: a line for each package as it
// ends, the output of tests that failed, and at the end what was skipped and why, and how many tests ran.
//
//	go test -json ./... | go run ./internal/testenv/cmd/testreport
//
// It exits with 1 when something failed or nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	if !report(os.Stdin, os.Stdout) {
		os.Exit(1)
	}
}

// event is one line of test2json (go doc test2json), or of the build when Action begins with "build-".
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// place names a test, or with an empty test a package.
type place struct{ pkg, test string }

// tally is what was seen so far.
type tally struct {
	output   map[place][]string // until the test or package ends
	ran      map[string]int     // tests that ended, by package; subtests count
	skips    []string           // package, test and reason
	packages int
	failed   int
}

func report(in io.Reader, out io.Writer) bool {
	t := &tally{output: map[place][]string{}, ran: map[string]int{}}
	begun := time.Now()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(out, lines.Text())
			continue
		}
		t.take(e, out)
	}
	if len(t.skips) > 0 {
		fmt.Fprintf(out, "\nskipped (CDC_RELAY_TEST_REQUIRE=all makes these failures):\n")
		slices.Sort(t.skips)
		for _, s := range t.skips {
			fmt.Fprintln(out, "  "+s)
		}
	}
	tests := 0
	for _, n := range t.ran {
		tests += n
	}
	word := "PASS"
	if t.failed > 0 || tests == 0 || lines.Err() != nil {
		word = "FAIL"
	}
	fmt.Fprintf(out, "\n%s: %d tests in %d packages, %d failed, %d skipped, %.0fs\n",
		word, tests, t.packages, t.failed, len(t.skips), time.Since(begun).Seconds())
	return word == "PASS"
}

func (t *tally) take(e event, out io.Writer) {
	at := place{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "output":
		t.output[at] = append(t.output[at], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			t.packageEnds(e, out)
			return
		}
		t.ran[e.Package]++
		text := t.output[at]
		delete(t.output, at)
		switch e.Action {
		case "fail":
			t.failed++
			fmt.Fprintf(out, "--- FAIL: %s %s (%.2fs)\n%s", e.Package, e.Test, e.Elapsed, strings.Join(text, ""))
		case "skip":
			t.skips = append(t.skips, e.Package+" "+e.Test+": "+reason(text))
		}
	}
}

func (t *tally) packageEnds(e event, out io.Writer) {
	text := t.output[place{e.Package, ""}]
	delete(t.output, place{e.Package, ""})
	switch e.Action {
	case "skip": // it has no tests
	case "pass":
		t.packages++
		fmt.Fprintf(out, "ok  \t%s\t%.1fs\t%d tests\n", e.Package, e.Elapsed, t.ran[e.Package])
	default:
		t.packages++
		if t.ran[e.Package] == 0 {
			t.failed++ // it did not build, or ended before a test did
		}
		for at, unfinished := range t.output {
			if at.pkg == e.Package { // a panic or the deadline: the text stands at the test that was running
				fmt.Fprintf(out, "--- UNFINISHED: %s %s\n%s", at.pkg, at.test, strings.Join(unfinished, ""))
				t.failed++
				delete(t.output, at)
			}
		}
		fmt.Fprintf(out, "%sFAIL\t%s\t%.1fs\n", strings.Join(text, ""), e.Package, e.Elapsed)
	}
}

// reason is what a test said when it was skipped: its last line that is not the runner's own, without file and line.
func reason(text []string) string {
	said := "no reason given"
	for _, line := range text {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			said = line
		}
	}
	if _, words, ok := strings.Cut(said, ".go:"); ok {
		if _, words, ok = strings.Cut(words, ": "); ok {
			return words
		}
	}
	return said
}
