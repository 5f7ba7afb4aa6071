package postgres_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
	"github.com/cdc-relay/cdc-relay/internal/testenv/postgres"
)

// ownCache gives the test servers of its own, with the downloads of the machine.
func ownCache(t *testing.T) {
	real, err := host.Dir("postgres")
	if err != nil {
		t.Skipf("SKIPPED for want of a cache: %v", err)
	}
	dir, err := os.MkdirTemp("", "cdc-relay-cache-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("CDC_RELAY_CACHE", dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, filepath.Join(dir, "postgres")); err != nil {
		t.Fatal(err)
	}
}

func TestSharedServerIsReusedAndMadeAnewWhenDead(t *testing.T) {
	ownCache(t)
	first, err := postgres.Shared(t.Context(), postgres.DefaultVersion, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	again, err := postgres.Shared(t.Context(), postgres.DefaultVersion, t.Output())
	if err != nil || again.Main != first.Main {
		t.Fatalf("asked twice: got process %v, %v, want the same, %v", again.Main, err, first.Main)
	}
	if err := first.Kill9(); err != nil {
		t.Fatal(err)
	}
	anew, err := postgres.Shared(t.Context(), postgres.DefaultVersion, t.Output())
	if err != nil {
		t.Fatalf("asked after its death: %v", err)
	}
	if err := anew.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := anew.Remove(); err != nil || anew.Running() {
		t.Errorf("remove: %v, still running: %v", err, anew.Running())
	}
}

func TestReapEndsServersOfDeadOwnersOnly(t *testing.T) {
	ownCache(t)
	s, err := postgres.Private(t.Context(), postgres.DefaultVersion, nil, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	postgres.Reap()
	if !s.Running() {
		t.Fatal("a server whose owner lives was ended")
	}
	s.Owner = host.Process{PID: os.Getpid(), Started: "long ago"} // what a dead test leaves, its pid recycled
	if err := s.Restart(t.Context()); err != nil {                // writes it down
		t.Fatal(err)
	}
	postgres.Reap()
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) || s.Running() {
		t.Errorf("server of a dead owner: folder %v, running %v, want both gone", err, s.Running())
	}
}
