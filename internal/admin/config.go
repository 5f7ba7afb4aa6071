package admin

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"time"
)

// Defaults of Config.
const (
	DefaultListen          = "127.0.0.1:9630"
	DefaultShutdownTimeout = 3 * time.Second
)

// Config says where the server listens and whom it lets in. Begin with NewConfig.
type Config struct {
	Listen string // host:port; port 0 picks a free one. Default 127.0.0.1:9630

	// Token returns the bearer token; it is called at each request, so that one that stands in a file can be changed while
	// the relay runs. White space around it is ignored. Default none: protected paths answer 403, as they do for "".
	Token func() (string, error)

	// CertFile and KeyFile (PEM) switch TLS on, 1.2 and later; they are read again at each handshake, so that a renewed
	// certificate needs no restart. Default none: plain HTTP.
	CertFile, KeyFile string

	ShutdownTimeout time.Duration // how long requests under way may take once Serve is told to end. Default 3 s
	ErrorLog        *log.Logger   // of net/http: panics of handlers, failed handshakes. Default none: thrown away
}

// NewConfig returns the defaults.
func NewConfig() Config {
	return Config{Listen: DefaultListen, ShutdownTimeout: DefaultShutdownTimeout}
}

// Validate returns all mistakes at once. It reads no file.
func (c *Config) Validate() error {
	var mistakes []error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		mistakes = append(mistakes, fmt.Errorf("admin.listen: %w", err))
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		mistakes = append(mistakes, errors.New("admin.tls: a certificate needs its key and the other way round"))
	}
	if c.ShutdownTimeout <= 0 {
		mistakes = append(mistakes, fmt.Errorf("admin: shutdown timeout is %v, want more than 0", c.ShutdownTimeout))
	}
	return errors.Join(mistakes...)
}

// tls returns nil when TLS is off.
func (c *Config) tls() (*tls.Config, error) {
	if c.CertFile == "" {
		return nil, nil
	}
	load := func() (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load the certificate of admin.tls: %w", err)
		}
		return &cert, nil
	}
	if _, err := load(); err != nil { // a mistake shows at the start, not at the first request
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() },
	}, nil
}
