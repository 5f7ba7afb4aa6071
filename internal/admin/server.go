package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Time limits of one connection.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second // a handler that needs longer says so by http.ResponseController
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 16 << 10
	maxScrapes        = 4 // at a time
)

// Server is the admin listener. Create it with New, add handlers, then Listen and Serve.
type Server struct {
	config   Config
	source   Source
	mux      *http.ServeMux
	listener net.Listener
	scheme   string
}

// New returns a server that does not listen yet. metrics is what /metrics shows.
func New(config Config, source Source, metrics prometheus.Gatherer) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Server{config: config, source: source, mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /livez", s.livez)
	s.mux.HandleFunc("GET /readyz", s.readyz)
	s.mux.HandleFunc("GET /api/v1/status", s.status)
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.HTTPErrorOnError, // half a scrape would look like a counter that fell
		MaxRequestsInFlight: maxScrapes,
		Timeout:             readTimeout,
	}))
	return s, nil
}

// Handle adds an open handler: a read that shows no payload. pattern is one of http.ServeMux, with its method:
// "GET /api/v1/lanes". Call it before Serve.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Protect adds a handler that needs the token: every write, and reads that show payloads. The body of a request ends at
// 1 MiB. Call it before Serve.
func (s *Server) Protect(pattern string, h http.Handler) { s.mux.Handle(pattern, s.protect(h)) }

// Listen takes the address, so that one that is taken is an error of the start. Serve, or Close, gives it back.
func (s *Server) Listen(ctx context.Context) error {
	tlsConfig, err := s.config.tls()
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", s.config.Listen)
	if err != nil {
		return fmt.Errorf("listen on admin.listen %s: %w", s.config.Listen, err)
	}
	s.listener, s.scheme = l, "http"
	if tlsConfig != nil {
		s.listener, s.scheme = tls.NewListener(l, tlsConfig), "https"
	}
	return nil
}

// URL is where the server listens, "" before Listen.
func (s *Server) URL() string {
	if s.listener == nil {
		return ""
	}
	return s.scheme + "://" + s.listener.Addr().String()
}

// Close gives the address back when Serve was never called.
func (s *Server) Close() error {
	if s.listener == nil {
		return nil
	}
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close admin.listen: %w", err)
	}
	return nil
}

// Serve answers until ctx ends; then it takes no more connections, lets the requests under way finish within
// Config.ShutdownTimeout, cuts off the others, and returns nil. Any other end is an error.
func (s *Server) Serve(ctx context.Context) error {
	if s.listener == nil {
		return errors.New("serve admin: Listen comes first")
	}
	errorLog := s.config.ErrorLog
	if errorLog == nil {
		errorLog = log.New(io.Discard, "", 0)
	}
	requests, cut := context.WithCancelCause(context.WithoutCancel(ctx)) // handlers may outlive ctx, but not Serve
	defer cut(errors.New("the admin server has ended"))
	server := &http.Server{
		Handler: plain(s.mux), ErrorLog: errorLog,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		BaseContext: func(net.Listener) context.Context { return requests },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.listener) }()
	select {
	case err := <-served:
		_ = server.Close()
		return fmt.Errorf("serve %s: %w", s.URL(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(requests, s.config.ShutdownTimeout)
	defer cancel()
	if server.Shutdown(grace) != nil { // somebody is slow: cut off
		cut(errors.New("the admin server shuts down"))
		_ = server.Close()
	}
	<-served //nolint:errcheck // it ended as it was asked to
	return nil
}

// plain sets what every answer carries.
func plain(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
