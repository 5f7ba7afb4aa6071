package report

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Report is one run. Its JSON is a contract: fields are only added.
type Report struct {
	At       time.Time `json:"at"`
	Smoke    bool      `json:"smoke"` // sizes too small for the figures to mean anything
	CPUs     int       `json:"cpus"`
	Load     string    `json:"load_average"` // of the machine before the run: what others did meanwhile is in the figures
	Postgres string    `json:"postgres"`
	Kafka    string    `json:"kafka"`
	RowBytes float64   `json:"row_bytes"` // of an Insert in pgoutput
	Figures  []Figure  `json:"figures"`
	Notes    []string  `json:"notes,omitempty"` // what disturbed
}

// Figure is one line of the table.
type Figure struct {
	Stage    string             `json:"stage"`
	What     string             `json:"what"`
	Reach    string             `json:"reach,omitempty"` // empty: told beside the others, nothing to reach
	Measured string             `json:"measured"`
	Reached  *bool              `json:"reached,omitempty"`
	Values   map[string]float64 `json:"values,omitempty"`
}

// Add adds a figure.
func (r *Report) Add(f Figure) { r.Figures = append(r.Figures, f) }

// Note adds a line about what disturbed.
func (r *Report) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Verdict is what Figure.Reached holds.
func Verdict(reached bool) *bool { return &reached }

// JSON writes the report as one object.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

// Table writes the report for people.
func (r *Report) Table(w io.Writer) error {
	fmt.Fprintf(w, "Postgres %s, Kafka %s, %d CPUs, load average before %s, rows of %.0f bytes\n", r.Postgres, r.Kafka, r.CPUs, r.Load, r.RowBytes)
	if r.Smoke {
		fmt.Fprintln(w, "smoke: shows that the stages run; the figures mean nothing")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\n")
	fmt.Fprintln(t, "what\treach\tmeasured\tverdict")
	for _, f := range r.Figures {
		verdict := ""
		if f.Reached != nil {
			verdict = "missed"
			if *f.Reached {
				verdict = "reached"
			}
		}
		fmt.Fprintf(t, "%s: %s\t%s\t%s\t%s\n", f.Stage, f.What, f.Reach, f.Measured, verdict)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	return nil
}
