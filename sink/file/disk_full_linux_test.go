package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// A real full disk: a file system of 256 KiB in memory, most of it taken by another file.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("SKIP TestDiskFull: needs the right to mount a tmpfs (run as root, or in a user namespace): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	path, ballast := filepath.Join(dir, "events.jsonl"), filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	r := sinktest.NewReceiver(t)
	s := open(t, path, osDisk, r)
	small := sinktest.Events(10, sinktest.Shape{})
	s.Publish(small)
	r.WaitAcked(len(small))

	large := sinktest.Events(200, sinktest.Shape{First: 10}) // about 100 KB of lines: twice what is left
	s.Publish(large)
	r.Wait("failed writes", func(tally sinktest.Tally) bool { return tally.Failures >= 3 })
	if got := r.Reasons()["disk_full"]; got == 0 {
		t.Errorf("attempts by reason %v, want disk_full among them", r.Reasons())
	}
	if got := r.Notices(); len(got) != 1 || !strings.Contains(got[0].What, "no space left") || !strings.Contains(got[0].What, path) {
		t.Errorf("notices %+v, want one that names the file", got)
	}
	if status := s.Status(); status.Writable || !strings.Contains(status.Reason, "no space left") {
		t.Errorf("status %+v, want not writable for want of space", status)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.WaitAcked(len(small) + len(large))
	if got, want := len(stored(t, path)), len(small)+len(large); got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
}

// Closed while the disk is full: what stays behind has no torn line.
func TestDiskFullLeavesNoTornLine(t *testing.T) {
	t.Parallel()
	path, d := filepath.Join(t.TempDir(), "events.jsonl"), &faults{}
	r := sinktest.NewReceiver(t)
	s := open(t, path, d.disk(), r)
	s.Publish(sinktest.Events(10, sinktest.Shape{}))
	r.WaitAcked(10)
	d.full.Store(true)
	s.Publish(sinktest.Events(100, sinktest.Shape{First: 10}))
	r.Wait("failed writes", func(tally sinktest.Tally) bool { return tally.Failures >= 2 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got, want := len(stored(t, path)), 10; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
}
