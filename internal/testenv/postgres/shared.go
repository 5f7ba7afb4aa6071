package postgres

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// Shared returns the server of a major version that all test processes of this machine share, started by whoever comes
// first. It stays up for those who come later; one that is dead or does not answer is made anew. Its data is not safe
// (fsync is off): for crashes use a server of one's own.
func Shared(ctx context.Context, major string, w io.Writer) (*Server, error) {
	dir, err := host.Dir("shared")
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "postgres-"+major)
	unlock, err := host.Lock(home+".lock", 5*time.Minute)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if s, err := Open(home); err == nil {
		if s.Running() && s.Ping(ctx) == nil {
			return s, nil
		}
		if err := s.Remove(); err != nil {
			return nil, err
		}
	}
	if err := os.RemoveAll(home); err != nil { // a half-made one
		return nil, err
	}
	s, err := Create(home, major, map[string]string{
		"max_replication_slots": "200", "max_wal_senders": "200", "max_connections": "500", "max_prepared_transactions": "100",
		"fsync": "off", "synchronous_commit": "on", "full_page_writes": "off", "shared_buffers": "128MB", "max_wal_size": "4GB",
	}, w)
	if err != nil {
		return nil, err
	}
	return s, s.Start(ctx)
}

// Private creates and starts a server that belongs to the calling process: whoever calls Reap after its death ends it.
func Private(ctx context.Context, major string, params map[string]string, w io.Writer) (*Server, error) {
	dir, err := host.Dir("private")
	if err != nil {
		return nil, err
	}
	Reap()
	s, err := Create(filepath.Join(dir, "postgres-"+host.Random()), major, params, w)
	if err != nil {
		return nil, err
	}
	if err := s.Own(); err != nil {
		return nil, err
	}
	return s, s.Start(ctx)
}

// Known returns the servers of this machine that Shared and Private made and that are still there.
func Known() []*Server {
	var found []*Server
	for _, kind := range []string{"shared", "private"} {
		dir, err := host.Dir(kind)
		if err != nil {
			continue
		}
		homes, _ := filepath.Glob(filepath.Join(dir, "postgres-*", "server.json"))
		for _, home := range homes {
			if s, err := Open(filepath.Dir(home)); err == nil {
				found = append(found, s)
			}
		}
	}
	return found
}

// Reap removes private servers whose owner died without doing so.
func Reap() {
	for _, s := range Known() {
		if s.Owner.PID != 0 && !s.Owner.Alive() {
			_ = s.Remove()
		}
	}
}
