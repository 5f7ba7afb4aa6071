package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/admin"
)

// source is an admin.Source that a test can change.
type source struct {
	mu     sync.Mutex
	live   error
	ready  []admin.Check
	status any
}

func (s *source) Live() error          { s.mu.Lock(); defer s.mu.Unlock(); return s.live }
func (s *source) Ready() []admin.Check { s.mu.Lock(); defer s.mu.Unlock(); return s.ready }
func (s *source) Status() any          { s.mu.Lock(); defer s.mu.Unlock(); return s.status }

func (s *source) set(change func()) { s.mu.Lock(); defer s.mu.Unlock(); change() }

type running struct {
	*admin.Server
	source   *source
	registry *prometheus.Registry
	stop     context.CancelFunc
	served   chan error
	client   *http.Client
}

// start serves on a free port until the test ends.
func start(t *testing.T, change func(*admin.Config), add func(*admin.Server)) *running {
	t.Helper()
	config := admin.NewConfig()
	config.Listen = "127.0.0.1:0"
	if change != nil {
		change(&config)
	}
	r := &running{source: &source{}, registry: prometheus.NewRegistry(), served: make(chan error, 1), client: &http.Client{Transport: &http.Transport{}}}
	var err error
	if r.Server, err = admin.New(config, r.source, r.registry); err != nil {
		t.Fatal(err)
	}
	if add != nil {
		add(r.Server)
	}
	if err := r.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.served <- r.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-r.served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return r
}

// do asks and returns code, body and header.
func (r *running) do(t *testing.T, method, path, token string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func TestLivez(t *testing.T) {
	t.Parallel()
	r := start(t, nil, nil)
	if code, body, _ := r.do(t, "GET", "/livez", ""); code != 200 || body != "ok\n" {
		t.Errorf("got %d %q, want 200 ok", code, body)
	}
	r.source.set(func() { r.source.live = errors.New("the session loop has not ticked for 30s") })
	if code, body, _ := r.do(t, "GET", "/livez", ""); code != 503 || !strings.Contains(body, "has not ticked") {
		t.Errorf("got %d %q, want 503 and why", code, body)
	}
}

func TestReadyz(t *testing.T) {
	t.Parallel()
	good := []admin.Check{{Name: "streaming", OK: true, Detail: "at 0/16B3748"}, {Name: "position moves", OK: true}}
	bad := append(good[:2:2], admin.Check{Name: "sink writable", Detail: "broker refused\nthe connection"})
	r := start(t, nil, nil)
	for _, tc := range []struct {
		checks []admin.Check
		path   string
		code   int
		want   string
	}{
		{nil, "/readyz", 503, "not ready\n"},
		{good, "/readyz", 200, "ok\n"},
		{good, "/readyz?verbose", 200, "[+] streaming: at 0/16B3748\n[+] position moves: ok\nready\n"},
		{bad, "/readyz", 503, "[-] sink writable: broker refused; the connection\nnot ready\n"},
		{bad, "/readyz?verbose=1", 503, "[+] streaming: at 0/16B3748\n[+] position moves: ok\n[-] sink writable: broker refused; the connection\nnot ready\n"},
	} {
		r.source.set(func() { r.source.ready = tc.checks })
		if code, body, _ := r.do(t, "GET", tc.path, ""); code != tc.code || body != tc.want {
			t.Errorf("%s with %v:\n got %d %q\nwant %d %q", tc.path, tc.checks, code, body, tc.code, tc.want)
		}
	}
}

func TestStatusAndMetrics(t *testing.T) {
	t.Parallel()
	r := start(t, nil, nil)
	r.source.set(func() { r.source.status = map[string]any{"state": "streaming", "lag_bytes": 12} })
	code, body, header := r.do(t, "GET", "/api/v1/status", "")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || got["state"] != "streaming" {
		t.Errorf("status: %d %q (%v)", code, body, err)
	}
	if header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", header)
	}
	r.source.set(func() { r.source.status = func() {} })
	if code, _, _ := r.do(t, "GET", "/api/v1/status", ""); code != 500 {
		t.Errorf("a status that is no JSON: %d, want 500", code)
	}
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "cdc_relay_healthy", Help: "1 when ready."})
	gauge.Set(1)
	r.registry.MustRegister(gauge)
	if code, body, _ := r.do(t, "GET", "/metrics", ""); code != 200 || !strings.Contains(body, "\ncdc_relay_healthy 1\n") {
		t.Errorf("metrics: %d %q", code, body)
	}
}

func TestOnlyWhatIsServed(t *testing.T) {
	t.Parallel()
	r := start(t, nil, nil)
	for _, tc := range []struct {
		method, path string
		code         int
	}{
		{"HEAD", "/livez", 200},
		{"POST", "/livez", 405},
		{"DELETE", "/api/v1/status", 405},
		{"PUT", "/metrics", 405},
		{"GET", "/", 404},
		{"GET", "/debug/pprof/", 404},
		{"GET", "/debug/vars", 404},
		{"GET", "/livez/", 404},
	} {
		if code, _, _ := r.do(t, tc.method, tc.path, ""); code != tc.code {
			t.Errorf("%s %s: %d, want %d", tc.method, tc.path, code, tc.code)
		}
	}
}

func fromFile(path string) func() (string, error) {
	return func() (string, error) {
		text, err := os.ReadFile(path)
		return string(text), err
	}
}

func TestProtectNeedsTheTokenOfTheMoment(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	calls := 0
	r := start(t, func(c *admin.Config) { c.Token = fromFile(file) }, func(s *admin.Server) {
		s.Protect("POST /api/v1/pause", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { calls++; w.WriteHeader(204) }))
	})
	expect := func(what, header string, want int) {
		t.Helper()
		before := calls
		code, body, got := r.do(t, "POST", "/api/v1/pause", header)
		if code != want || (code == 204) != (calls > before) {
			t.Errorf("%s: %d %q with %d calls, want %d", what, code, body, calls-before, want)
		}
		if code == 401 && !strings.HasPrefix(got.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: no challenge", what)
		}
		if strings.Contains(body, file) {
			t.Errorf("%s: the answer tells the file's path: %q", what, body)
		}
	}
	expect("the file is missing", "Bearer one", 503)
	write("one\n")
	expect("right", "Bearer one", 204)
	expect("lower-case scheme", "bearer one", 204)
	expect("none", "", 401)
	expect("wrong", "Bearer two", 401)
	expect("longer", "Bearer onetwo", 401)
	expect("another scheme", "Basic one", 401)
	expect("no scheme", "one", 401)
	write("two")
	expect("the old one", "Bearer one", 401)
	expect("the new one", "Bearer two", 204)
	write("\n")
	expect("an empty file lets nobody in", "Bearer ", 403)
	expect("an empty file lets nobody in", "Bearer", 403)
}

func TestProtectWithoutATokenFileIsClosed(t *testing.T) {
	t.Parallel()
	r := start(t, nil, func(s *admin.Server) {
		s.Protect("POST /api/v1/pause", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("called") }))
		s.Handle("GET /api/v1/lanes", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	})
	if code, body, _ := r.do(t, "POST", "/api/v1/pause", "Bearer x"); code != 403 || !strings.Contains(body, "admin.token_file") {
		t.Errorf("got %d %q, want 403 and the cure", code, body)
	}
	if code, _, _ := r.do(t, "GET", "/api/v1/lanes", ""); code != 204 {
		t.Errorf("an open read: %d, want 204", code)
	}
}

func TestProtectBoundsTheBody(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	r := start(t, func(c *admin.Config) { c.Token = fromFile(file) }, func(s *admin.Server) {
		s.Protect("POST /api/v1/large", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			read <- err
		}))
	})
	req, err := http.NewRequestWithContext(t.Context(), "POST", r.URL()+"/api/v1/large", strings.NewReader(strings.Repeat("x", 2<<20)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer one")
	if resp, err := r.client.Do(req); err == nil {
		resp.Body.Close()
	}
	if _, ok := errors.AsType[*http.MaxBytesError](<-read); !ok {
		t.Error("2 MiB were read, want the end at 1 MiB")
	}
}

func TestShutdownLetsRequestsFinishAndCutsOffTheSlow(t *testing.T) {
	t.Parallel()
	entered, release, cut := make(chan struct{}, 2), make(chan struct{}), make(chan error, 1)
	r := start(t, func(c *admin.Config) { c.ShutdownTimeout = 500 * time.Millisecond }, func(s *admin.Server) {
		s.Handle("GET /quick", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			entered <- struct{}{}
			<-release
			_, _ = io.WriteString(w, "done")
		}))
		s.Handle("GET /slow", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			<-r.Context().Done()
			cut <- context.Cause(r.Context())
		}))
	})
	url := r.URL()
	quick := make(chan string, 1)
	get := func(path string) string {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+path, nil)
		if err != nil {
			return err.Error()
		}
		resp, err := r.client.Do(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	go func() { quick <- get("/quick") }()
	go get("/slow")
	<-entered
	<-entered
	r.stop()
	close(release)
	if got := <-quick; got != "done" {
		t.Errorf("the request under way got %q, want it finished", got)
	}
	if err := <-cut; err == nil {
		t.Error("the slow request was not told")
	}
	if err := <-r.served; err != nil {
		t.Errorf("serve: %v", err)
	}
	r.served <- nil // for the clean-up
	if conn, err := net.DialTimeout("tcp", strings.TrimPrefix(url, "http://"), time.Second); err == nil {
		conn.Close()
		t.Error("the address is still taken")
	}
}

func TestListenNamesATakenAddress(t *testing.T) {
	t.Parallel()
	r := start(t, nil, nil)
	config := admin.NewConfig()
	config.Listen = strings.TrimPrefix(r.URL(), "http://")
	second, err := admin.New(config, r.source, r.registry)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Serve(t.Context()); err == nil {
		t.Error("served without listening")
	}
	if err := second.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), config.Listen) {
		t.Errorf("got %v, want the address named", err)
	}
	if second.URL() != "" || second.Close() != nil {
		t.Error("a server that does not listen has an address")
	}
}

func TestDefaultsAndMistakes(t *testing.T) {
	t.Parallel()
	config := admin.NewConfig()
	if host, _, err := net.SplitHostPort(config.Listen); err != nil || !net.ParseIP(host).IsLoopback() {
		t.Errorf("default %q, want the loopback address", config.Listen)
	}
	bad := admin.Config{Listen: "9630", CertFile: "x"}
	_, err := admin.New(bad, &source{}, prometheus.NewRegistry())
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"admin.listen", "admin.tls", "shutdown timeout"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q in it", err, want)
		}
	}
}
