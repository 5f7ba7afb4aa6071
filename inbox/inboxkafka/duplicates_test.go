package inboxkafka

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// duplicate is a way in which a copy of an event comes about.
type duplicate struct {
	name string
	make func(w *world, first *kgo.Record)
}

func header(r *kgo.Record, name, value string) {
	r.Headers = slices.DeleteFunc(slices.Clone(r.Headers), func(h kgo.RecordHeader) bool { return h.Key == name })
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
}

func copyOf(r *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: slices.Clone(r.Headers)}
}

func duplicates() []duplicate {
	optimistic := func(first *kgo.Record) *kgo.Record {
		r := copyOf(first)
		r.Headers = r.Headers[:2] // no position
		header(r, "cdc-optimistic", "1")
		return r
	}
	return []duplicate{
		{"the relay was killed and publishes again", func(w *world, first *kgo.Record) {
			w.send(first)
			w.send(copyOf(first))
		}},
		{"optimistic copy, then the relay's", func(w *world, first *kgo.Record) {
			w.send(optimistic(first))
			w.send(first)
		}},
		{"the relay's copy, then the optimistic one", func(w *world, first *kgo.Record) {
			w.send(first)
			w.send(optimistic(first))
		}},
		{"a rebalance, or a kill: read again from the watermark", func(w *world, first *kgo.Record) {
			w.send(first)
			w.waitFor(1, 20*time.Second)
			w.restart(func() { w.pg.Exec(w.t, "UPDATE cdc_inbox.place SET watermark = 0, clean = false") })
		}},
		{"the group's offsets were set back", func(w *world, first *kgo.Record) {
			w.send(first)
			w.waitFor(1, 20*time.Second)
			w.restart(func() { w.commit(0, 0) })
		}},
		{"`dlq requeue`, whose first try had come through", func(w *world, first *kgo.Record) {
			header(first, "cdc-replay", "dlq requeue 2026-01-02T03:04:05Z")
			w.send(w.event("before")) // the letter's position lies behind others
			w.send(first)
			w.send(copyOf(first))
		}},
		{"slot repair: it may have been published (unproven)", func(w *world, first *kgo.Record) {
			w.send(first)
			r := copyOf(first)
			header(r, "cdc-replay", "repair unproven 2026-01-02T03:04:05Z")
			w.send(r)
		}},
		{"a replay of what was published", func(w *world, first *kgo.Record) {
			w.send(first)
			r := copyOf(first)
			header(r, "cdc-replay", "replay 2026-01-02T03:04:05Z")
			w.send(r)
		}},
	}
}

// TestDuplicates_TableByMode makes each kind of duplicate, says what each mode does with it, and holds the table of
// docs/inbox.md to it. UPDATE=1 writes it anew.
func TestDuplicates_TableByMode(t *testing.T) {
	t.Parallel()
	kinds := duplicates()
	cells := make([][2]string, len(kinds))
	t.Run("all", func(t *testing.T) {
		for i, kind := range kinds {
			for j, mode := range []inbox.Mode{inbox.ByID, inbox.ByMark} {
				t.Run(fmt.Sprint(kind.name, j), func(t *testing.T) {
					t.Parallel()
					cells[i][j] = verdict(t, kind, mode)
				})
			}
		}
	})
	table := "| duplicate | claim by id | high-water mark |\n|---|---|---|\n"
	for i, kind := range kinds {
		table += fmt.Sprintf("| %s | %s | %s |\n", kind.name, cells[i][0], cells[i][1])
		for j, cell := range cells[i] {
			if cell != "one effect" && (j == 0 || cell != "halts: ErrUnproven") {
				t.Errorf("%s, mode %d: %s", kind.name, j, cell)
			}
		}
	}
	page := filepath.Join("..", "..", "docs", "inbox.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- duplicates: made by TestDuplicates_TableByMode -->\n", "<!-- end of duplicates -->"
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table of duplicates", page)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if old != table {
		t.Errorf("docs/inbox.md is stale: UPDATE=1 go test ./inbox/inboxkafka -run Duplicates\n%s", table)
	}
}

// verdict makes the duplicate and says what became of it. An event after it shows that all was read.
func verdict(t *testing.T, kind duplicate, mode inbox.Mode) string {
	t.Helper()
	w := newWorld(t, 1)
	c := w.config()
	c.Inbox.Mode, c.Inbox.Mark.AcceptFirst = mode, true
	halted := make(chan error, 10)
	c.OnHalt = func(_ string, _ int32, err error) { halted <- err }
	w.restart = func(between func()) {
		w.stop()
		between()
		w.stop = w.start(c)
	}
	w.stop = w.start(c)
	kind.make(w, w.event("copied"))
	w.send(w.event("after"))
	deadline := time.After(25 * time.Second)
	for {
		select {
		case err := <-halted:
			for name, is := range map[string]error{"ErrUnproven": inbox.ErrUnproven, "ErrUnknownSource": inbox.ErrUnknownSource} {
				if errors.Is(err, is) {
					return "halts: " + name
				}
			}
			return "halts: " + err.Error()
		case <-deadline:
			return "the event after it never came"
		case <-time.After(20 * time.Millisecond):
		}
		if w.query("SELECT count(*)::text FROM effects WHERE key = 'after'") != "1" {
			continue
		}
		switch n := w.query("SELECT count(*)::text FROM effects WHERE key = 'copied'"); n {
		case "1":
			return "one effect"
		default:
			return n + " effects"
		}
	}
}
