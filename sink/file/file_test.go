package file

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/line"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// faults is a disk that fails when told to.
type faults struct {
	full     atomic.Bool // a write takes half and fails
	badSyncs atomic.Int32
	syncs    atomic.Int32
}

func (d *faults) disk() disk {
	return disk{
		write: func(f *os.File, b []byte) (int, error) {
			if d.full.Load() {
				n, _ := f.Write(b[:len(b)/2])
				return n, &os.PathError{Op: "write", Path: f.Name(), Err: unix.ENOSPC}
			}
			return f.Write(b)
		},
		sync: func(f *os.File) error {
			d.syncs.Add(1)
			if d.badSyncs.Load() > 0 && d.badSyncs.Add(-1) >= 0 {
				return &os.PathError{Op: "sync", Path: f.Name(), Err: unix.EIO}
			}
			return f.Sync()
		},
	}
}

func open(t *testing.T, path string, d disk, r sink.Receiver) *Sink {
	t.Helper()
	s, err := newSink(t.Context(), &log{path: path, mode: DefaultMode, disk: d}, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// stored reads the file back; each of its lines must be whole.
func stored(t *testing.T, path string) []sinktest.Record {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var records []sinktest.Record
	for text := range bytes.Lines(text) {
		l, err := line.Parse(text)
		if err != nil || text[len(text)-1] != '\n' {
			t.Errorf("a torn line %.60q: %v", text, err)
			continue
		}
		rec := sinktest.Record{Topic: l.Topic, Key: l.Key, Value: l.Value, Partition: l.Partition, Millis: l.Timestamp.UnixMilli()}
		for _, h := range l.Headers {
			rec.Headers = append(rec.Headers, sinktest.Header(h))
		}
		records = append(records, rec)
	}
	return records
}

func TestConformance(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, sinktest.Harness{Destination: func(t *testing.T) sinktest.Destination {
		path, d := filepath.Join(t.TempDir(), "events.jsonl"), &faults{}
		return sinktest.Destination{
			Open: func(t *testing.T, r sink.Receiver) sink.Sink { return open(t, path, d.disk(), r) },
			Stored: func(t *testing.T) []sinktest.Record {
				return stored(t, path)
			},
			Outage:     func(*testing.T) func() { d.full.Store(true); return func() { d.full.Store(false) } },
			LoseAnswer: func(*testing.T) { d.badSyncs.Store(1) },
			Once:       true,
		}
	}})
}

// deliver publishes n events and waits for their acks.
func deliver(t *testing.T, path string, n, first int) *sinktest.Receiver {
	t.Helper()
	r := sinktest.NewReceiver(t)
	s := open(t, path, osDisk, r)
	s.Publish(sinktest.Events(n, sinktest.Shape{First: first}))
	r.WaitAcked(n)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	r.Seal()
	return r
}

func TestI1_FlushedBeforeAcknowledged(t *testing.T) {
	t.Parallel()
	path, d := filepath.Join(t.TempDir(), "events.jsonl"), &faults{}
	d.badSyncs.Store(1)
	r := sinktest.NewReceiver(t)
	s := open(t, path, d.disk(), r)
	s.Publish(sinktest.Events(100, sinktest.Shape{}))
	r.WaitAcked(100)
	if got := d.syncs.Load(); got < 2 {
		t.Errorf("%d flushes, want the failed one and another", got)
	}
	if got, want := len(stored(t, path)), 100; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
	if got := r.Tally(); got.Failures == 0 {
		t.Error("the failed flush was not told")
	}
}

// A crash in the middle of a write leaves the beginning of a line; it was never acknowledged.
func TestTornLastLineIsCutOff(t *testing.T) {
	t.Parallel()
	whole := string(line.Append(nil, &sinktest.Events(1, sinktest.Shape{Bytes: 200_000})[0]))
	for name, tail := range map[string]string{
		"half": whole[:len(whole)/2], "all but the newline": whole[:len(whole)-1], "one byte": "{", "field": `{"topic":`,
		"just over a step": whole[:64<<10+1], "a step": whole[:64<<10], "just below": whole[:64<<10-1],
	} {
		for _, before := range []string{"", whole, "anything\n"} {
			path := filepath.Join(t.TempDir(), "events.jsonl")
			if err := os.WriteFile(path, []byte(before+tail), 0o600); err != nil {
				t.Fatal(err)
			}
			deliver(t, path, 1, 0)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if rest, ok := strings.CutPrefix(string(text), before); !ok || strings.Count(rest, "\n") != 1 || !strings.HasPrefix(rest, lineStart) {
				t.Errorf("%s behind %.12q: the file became %.80q", name, before, text)
			}
		}
	}
}

func TestI10_TextThatIsNotOursStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notes.txt")
	const text = "first line\nunfinished"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), NewConfig(path), sinktest.NewReceiver(t))
	if err == nil {
		s.Close()
		t.Fatal("opened a file that ends in somebody else's line")
	}
	if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "byte 11") {
		t.Errorf("error %q, want the file and where the line begins", err)
	}
	if got, _ := os.ReadFile(path); string(got) != text {
		t.Errorf("the file became %q", got)
	}
}

func TestOpenNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir: "directory", filepath.Join(dir, "missing", "events"): "no such file", fifo: "sink.stdout", "/dev/null": "sink.stdout",
	} {
		s, err := New(t.Context(), NewConfig(path), sinktest.NewReceiver(t))
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", path)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %q, want %q in it", path, err, want)
		}
	}
}

func TestModeOfANewFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	deliver(t, path, 1, 0)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got&^DefaultMode != 0 {
		t.Errorf("mode %v, want %v at most", got, DefaultMode)
	}
}

func TestSecondWriterWaitsAndSaysFor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	first, second := sinktest.NewReceiver(t), sinktest.NewReceiver(t)
	owner := open(t, path, osDisk, first)
	owner.Publish(sinktest.Events(5, sinktest.Shape{}))
	first.WaitAcked(5)
	standby := open(t, path, osDisk, second) // opening is no claim: replicas start together
	standby.Publish(sinktest.Events(5, sinktest.Shape{First: 5}))
	second.Wait("a notice", func(tally sinktest.Tally) bool { return tally.Notices > 0 })
	if got := second.Notices()[0]; !strings.Contains(got.What, "locked") {
		t.Errorf("notice %+v, want the lock named", got)
	}
	if err := owner.Close(); err != nil {
		t.Error(err)
	}
	second.WaitAcked(5)
	if got, want := len(stored(t, path)), 10; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
}

func TestRotationByOthers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	r := sinktest.NewReceiver(t)
	s := open(t, path, osDisk, r)
	published := 0
	for _, rotate := range []struct {
		name string
		do   func() error
		want int // lines under the path after ten more events
	}{
		{"nothing", func() error { return nil }, 10},
		{"renamed", func() error { return os.Rename(path, path+".1") }, 10},
		{"deleted", func() error { return os.Remove(path) }, 10},
		{"cut short", func() error { return os.Truncate(path, 0) }, 10},
		{"nothing again", func() error { return nil }, 20},
	} {
		if err := rotate.do(); err != nil {
			t.Fatal(err)
		}
		s.Publish(sinktest.Events(10, sinktest.Shape{First: published}))
		published += 10
		r.WaitAcked(published)
		if got := len(stored(t, path)); got != rotate.want {
			t.Errorf("%s: %d lines under the path, want %d", rotate.name, got, rotate.want)
		}
	}
	if got, want := len(stored(t, path+".1")), 10; got != want {
		t.Errorf("%d lines in the renamed file, want %d", got, want)
	}
}
