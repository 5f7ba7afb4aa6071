package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/config"
)

// maxAnswer bounds what a verb reads from the admin listener.
const maxAnswer = 16 << 20

// adminGet asks the relay's admin listener. Whatever keeps it from answering means unhealthy.
func adminGet(ctx context.Context, p *cli.Program, address, path string) (status int, body []byte, err error) {
	c, err := p.LoadDatabase()
	if err != nil {
		return 0, nil, err
	}
	if address == "" {
		address = adminURL(c.Admin)
	}
	client, err := adminClient(c.Admin)
	if err != nil {
		return 0, nil, err
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+path, http.NoBody)
	if err != nil {
		return 0, nil, cli.Exit(cli.Usage, fmt.Errorf("--address: %w", err))
	}
	token, err := c.Admin.Token.Read()
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, cli.Exit(cli.Unhealthy, fmt.Errorf("ask the relay: %w; is it running, and admin.listen right?", err))
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, cli.Exit(cli.Unhealthy, fmt.Errorf("ask the relay: %w", err))
	}
	return response.StatusCode, body, nil
}

// adminURL is where a relay on this machine listens.
func adminURL(a config.Admin) string {
	host, port, err := net.SplitHostPort(a.Listen)
	if err != nil { // the configuration was checked
		return "http://" + a.Listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	scheme := "http"
	if a.TLS.Enabled {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// adminClient trusts exactly the certificate that the listener is configured with: its names are those of the service, not
// of the loopback address that a verb asks.
func adminClient(a config.Admin) (*http.Client, error) {
	transport := &http.Transport{}
	if !a.TLS.Enabled {
		return &http.Client{Transport: transport}, nil
	}
	text, err := os.ReadFile(a.TLS.CertFile)
	if err != nil {
		return nil, fmt.Errorf("read admin.tls.cert_file: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("admin.tls.cert_file %s holds no PEM certificate", a.TLS.CertFile)
	}
	own := block.Bytes
	transport.TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // replaced by the comparison below
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 || !bytes.Equal(raw[0], own) {
				return errors.New("the listener's certificate is not the one in admin.tls.cert_file")
			}
			return nil
		},
	}
	return &http.Client{Transport: transport}, nil
}
