package host

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Nobody is the unprivileged user, and group, that servers run as when we are root: Postgres refuses root.
const Nobody = 65534

// rootDir is used by root in place of its own cache, which other users may not enter (a home is 0700).
const rootDir = "/var/cache/cdc-relay"

// Dir returns the folder that keeps downloads and servers between test runs, and makes it: $CDC_RELAY_CACHE, for root
// /var/cache/cdc-relay, else cdc-relay below the user's cache folder. The elements name a folder inside it, made too.
func Dir(elem ...string) (string, error) {
	base := os.Getenv("CDC_RELAY_CACHE")
	switch {
	case base != "":
	case os.Geteuid() == 0:
		base = rootDir
	default:
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a cache folder (set CDC_RELAY_CACHE): %w", err)
		}
		base = filepath.Join(cache, "cdc-relay")
	}
	base, err := filepath.Abs(base)
	if err != nil {
		return "", fmt.Errorf("find a cache folder: %w", err)
	}
	dir := filepath.Join(append([]string{base}, elem...)...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder (set CDC_RELAY_CACHE to a place that can be written): %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // Within compares with what the kernel says
		return "", fmt.Errorf("find a cache folder: %w", err)
	}
	if os.Geteuid() == 0 {
		for d := dir; d != filepath.Dir(d); d = filepath.Dir(d) {
			if info, err := os.Stat(d); err == nil && info.Mode().Perm()&0o001 == 0 {
				return "", fmt.Errorf("use cache folder %s as root: user %d, as which servers run, may not enter %s; "+
					"set CDC_RELAY_CACHE to another place or chmod o+x it", dir, Nobody, d)
			}
		}
	}
	return dir, nil
}

// Random returns eight hexadecimal digits that nobody else has drawn: for names of databases, slots and topics.
func Random() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // crypto/rand never fails: it ends the program instead
	return hex.EncodeToString(b)
}

// Lock waits until this process alone holds the file, made when missing, and returns what gives it back. The kernel
// gives it back when the process dies. After the timeout it fails and names the file.
func Lock(file string, timeout time.Duration) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	deadline := time.Now().Add(timeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", file, err)
		}
		if time.Now().After(deadline) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: another process has held it for %s", file, timeout)
		}
		<-tick.C
	}
}
