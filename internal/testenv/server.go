package testenv

import (
	"context"
	"maps"
	"os"
	"syscall"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/testenv/postgres"
)

// Server is a Postgres of a test's own, to be killed, frozen and restarted. It keeps its port. An error ends the test.
type Server struct {
	t testing.TB
	*postgres.Server
}

// StartPostgres starts a server with settings of its own (fsync on, wal_level=logical, 20 slots, unless params say
// otherwise; the version "" is the default) and removes it when the test ends.
func StartPostgres(t testing.TB, version string, params map[string]string) *Server {
	t.Helper()
	if version == "" {
		version = defaultVersion()
	}
	s, err := postgres.Private(context.Background(), version, maps.Clone(params), os.Stderr)
	if s != nil {
		t.Cleanup(func() {
			if err := s.Remove(); err != nil {
				t.Errorf("remove the server: %v", err)
			}
		})
	}
	if err != nil && s == nil {
		Skip(t, "Postgres "+version, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &Server{t: t, Server: s}
}

// Database makes a fresh database in the server. When the test ends and the server is down, it is left alone.
func (s *Server) Database(t testing.TB) *PG {
	t.Helper()
	return newPGIn(t, s.URL("postgres"), s.Running)
}

// Start starts it again and waits until it takes connections.
func (s *Server) Start() {
	s.t.Helper()
	s.must(s.Server.Start(context.Background()))
}

// Stop is an orderly shutdown.
func (s *Server) Stop() {
	s.t.Helper()
	s.must(s.Server.Stop())
}

// Restart is Stop and Start.
func (s *Server) Restart() {
	s.t.Helper()
	s.must(s.Server.Restart(context.Background()))
}

// Kill9 kills the postmaster and waits until its children are gone.
func (s *Server) Kill9() {
	s.t.Helper()
	s.must(s.Server.Kill9())
}

// SignalPostmaster sends a signal to the postmaster alone: with SIGSTOP sessions go on and new connections hang. Freeze
// and Thaw are for all of the server.
func (s *Server) SignalPostmaster(sig syscall.Signal) {
	s.t.Helper()
	s.must(s.Main.Signal(sig))
}

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}
