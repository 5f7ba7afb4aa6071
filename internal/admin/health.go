package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Source is what the server tells about. Its methods are called from several goroutines, at each request; they return at
// once and wait for nothing outside.
type Source interface {
	// Live returns why the process should be started again, or nil.
	Live() error

	// Ready returns each check, in the order in which a person should read them. Ready means that there is one and that
	// none has failed.
	Ready() []Check

	// Status returns what /api/v1/status shows; encoding/json must take it.
	Status() any
}

// Check is one condition of readiness.
type Check struct {
	Name   string // short: "streaming", "sink writable"
	OK     bool
	Detail string // why not, and what to do; or a fact worth reading while all is well. May be empty
}

func (s *Server) livez(w http.ResponseWriter, _ *http.Request) {
	if err := s.source.Live(); err != nil {
		reply(w, http.StatusServiceUnavailable, "not alive: "+err.Error()+"\n")
		return
	}
	reply(w, http.StatusOK, "ok\n")
}

// readyz lists the checks that failed; with ?verbose all of them.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	checks, verbose := s.source.Ready(), r.URL.Query().Has("verbose")
	ready := len(checks) > 0
	var text strings.Builder
	for _, c := range checks {
		sign, detail := "[+]", "ok"
		if !c.OK {
			ready, sign, detail = false, "[-]", "failed"
		}
		if c.Detail != "" {
			detail = c.Detail
		}
		if verbose || !c.OK {
			fmt.Fprintf(&text, "%s %s: %s\n", sign, c.Name, oneLine(detail))
		}
	}
	switch {
	case !ready:
		reply(w, http.StatusServiceUnavailable, text.String()+"not ready\n")
	case verbose:
		reply(w, http.StatusOK, text.String()+"ready\n")
	default:
		reply(w, http.StatusOK, "ok\n")
	}
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	body, err := json.MarshalIndent(s.source.Status(), "", "  ")
	if err != nil {
		reply(w, http.StatusInternalServerError, "encode the status: "+err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(append(body, '\n')) // the client may have gone: nobody is left to be told
}

func reply(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // as above
}

// oneLine keeps an error of several lines from looking like several checks.
func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }
