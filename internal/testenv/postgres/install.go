package postgres

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// DefaultVersion is the major version used where none is named.
const DefaultVersion = "15"

// Versions returns the major versions that can be had.
func Versions() []string { return []string{"14", "15", "16", "17", "18"} }

// pinned returns the exact version that stands for a major one.
func pinned(major string) (embedded.PostgresVersion, bool) {
	v, ok := map[string]embedded.PostgresVersion{
		"14": "14.24.0", "15": "15.19.0", "16": "16.15.0", "17": "17.11.0", "18": "18.6.0",
	}[major]
	return v, ok
}

// Install returns the folder of programs of a major version, after fetching it (15 MB from Maven's central repository)
// and unpacking it when this machine has not got it yet. Words about progress go to w. Several processes may ask at
// once: one fetches, the others wait.
func Install(major string, w io.Writer) (bin string, err error) {
	version, ok := pinned(major)
	if !ok {
		return "", fmt.Errorf("install Postgres %q: not one of %v", major, Versions())
	}
	dir, err := host.Dir("postgres")
	if err != nil {
		return "", err
	}
	home := filepath.Join(dir, string(version))
	bin = filepath.Join(home, "bin")
	if installed(bin) {
		return bin, nil
	}
	unlock, err := host.Lock(filepath.Join(dir, "install.lock"), 10*time.Minute)
	if err != nil {
		return "", err
	}
	defer unlock()
	if installed(bin) {
		return bin, nil
	}
	fmt.Fprintf(w, "Postgres %s: fetching (15 MB) and unpacking, once\n", version)
	begun := time.Now()
	if err := fetch(version, dir, home); err != nil {
		return "", fmt.Errorf("fetch Postgres %s for %s/%s: %w", version, runtime.GOOS, runtime.GOARCH, err)
	}
	fmt.Fprintf(w, "Postgres %s: installed in %.1f s\n", version, time.Since(begun).Seconds())
	return bin, nil
}

func installed(bin string) bool {
	_, err := os.Stat(filepath.Join(bin, "postgres"))
	return err == nil
}

// fetch lets the library download and unpack. The library goes on to start a server, which we do ourselves: it is given
// a folder that looks like a cluster and is none, so its start ends at once. What counts is whether the programs are
// there. They are unpacked beside their place and moved there whole, so that a killed run leaves no half of them.
func fetch(version embedded.PostgresVersion, dir, home string) error {
	tmp, err := os.MkdirTemp(dir, "unpack-")
	if err != nil {
		return fmt.Errorf("make a folder to unpack in: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	none := filepath.Join(tmp, "no-cluster")
	if err := errors.Join(os.Mkdir(none, 0o700), os.WriteFile(filepath.Join(none, "PG_VERSION"), nil, 0o600)); err != nil {
		return fmt.Errorf("prepare to unpack: %w", err)
	}
	port, err := host.Ports(0)
	if err != nil {
		return err
	}
	unpacked := filepath.Join(tmp, "home")
	err = embedded.NewDatabase(embedded.DefaultConfig().Version(version).Port(uint32(port)).Logger(io.Discard).
		CachePath(filepath.Join(dir, "archives")).RuntimePath(filepath.Join(tmp, "run")).
		BinariesPath(unpacked).DataPath(none)).Start()
	if !installed(filepath.Join(unpacked, "bin")) {
		if err == nil {
			err = errors.New("the archive holds no program bin/postgres")
		}
		return err
	}
	if err := errors.Join(os.Chmod(unpacked, 0o755), os.Rename(unpacked, home)); err != nil {
		return fmt.Errorf("move the unpacked programs: %w", err)
	}
	return nil
}
