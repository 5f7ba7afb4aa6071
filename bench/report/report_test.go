package report_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/bench/report"
)

func TestPercentilesAreNearestRank(t *testing.T) {
	t.Parallel()
	var s report.Samples
	for i := 200; i > 0; i-- {
		s = append(s, time.Duration(i))
	}
	if p50, p99, most := s.Percentiles(); p50 != 100 || p99 != 198 || most != 200 {
		t.Errorf("of 1 to 200: got %d, %d, %d, want 100, 198, 200", p50, p99, most)
	}
	if p50, p99, most := report.Samples(nil).Percentiles(); p50 != 0 || p99 != 0 || most != 0 {
		t.Errorf("of none: got %d, %d, %d, want zeros", p50, p99, most)
	}
	if p50, p99, most := (report.Samples{7}).Percentiles(); p50 != 7 || p99 != 7 || most != 7 {
		t.Errorf("of one: got %d, %d, %d, want 7", p50, p99, most)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 100}, 3}} {
		if got := report.MedianOf(c.of); got != c.want {
			t.Errorf("median of %v: got %v, want %v", c.of, got, c.want)
		}
	}
}

func TestReportSaysWhatWasReachedAndMissed(t *testing.T) {
	t.Parallel()
	r := report.Report{Postgres: "15.19", Kafka: "4.3.1"}
	r.Add(report.Figure{Stage: "drain", What: "fast", Reach: ">= 1", Measured: "2", Reached: report.Verdict(true)})
	r.Add(report.Figure{Stage: "drain", What: "slow", Reach: ">= 1", Measured: "0.5", Reached: report.Verdict(false)})
	r.Add(report.Figure{Stage: "drain", What: "beside", Measured: "1"})
	r.Note("the disk was full")
	var table, object bytes.Buffer
	if err := r.Table(&table); err != nil {
		t.Fatal(err)
	}
	verdict := func(what string) string {
		for line := range strings.Lines(table.String()) {
			if strings.Contains(line, what) {
				fields := strings.Fields(line)
				return fields[len(fields)-1]
			}
		}
		return "no line"
	}
	for what, want := range map[string]string{"fast": "reached", "slow": "missed", "beside": "1", "note:": "full"} {
		if got := verdict(what); got != want {
			t.Errorf("end of the line of %q: got %q, want %q", what, got, want)
		}
	}
	if err := r.JSON(&object); err != nil {
		t.Fatal(err)
	}
	var back report.Report
	if err := json.Unmarshal(object.Bytes(), &back); err != nil || len(back.Figures) != 3 || *back.Figures[1].Reached || back.Figures[2].Reached != nil {
		t.Errorf("JSON does not come back as it was: %v\n%s", err, object.String())
	}
}
