package house

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/metrics"
)

// TestMetricsPage holds docs/metrics.md to the registry: each metric of ours has its line, with its labels and its help.
// UPDATE=1 writes the page anew.
func TestMetricsPage(t *testing.T) {
	t.Parallel()
	m := metrics.New("test")
	descs := make(chan *prometheus.Desc, 256)
	m.Registry.Describe(descs)
	close(descs)
	form := regexp.MustCompile(`fqName: "(cdc_relay_[a-z_]+)", help: "(.*?)", unit: "[^"]*", constLabels: \{\}, variableLabels: \{(.*?)\}`)
	var rows []string
	for d := range descs {
		if f := form.FindStringSubmatch(d.String()); f != nil {
			labels := strings.ReplaceAll(f[3], ",", ", ")
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", f[1], labels, f[2]))
		}
	}
	slices.Sort(rows)
	want := "# Metrics\n\nWhat `/metrics` of the admin listener shows, beside the Go runtime's and the process's own. Made from the code; a test holds it.\n\n" +
		"| metric | labels | meaning |\n|---|---|---|\n" + strings.Join(rows, "\n") + "\n"
	page := filepath.Join(root(t), "docs", "metrics.md")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/metrics.md is stale: UPDATE=1 go test ./internal/house -run MetricsPage")
	}
}
