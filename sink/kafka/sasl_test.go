package kafka_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/sink/kafka"
	"github.com/cdc-relay/cdc-relay/sink/kafka/auth"
	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

// certificates makes an authority and two certificates of it: the server's (127.0.0.1) and the client's.
func certificates(t *testing.T) (pool *x509.CertPool, server, client tls.Certificate) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sign := func(number int64, tmpl, parent *x509.Certificate, k, parentKey *ecdsa.PrivateKey) ([]byte, *x509.Certificate) {
		tmpl.SerialNumber, tmpl.NotBefore, tmpl.NotAfter = big.NewInt(number), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &k.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return der, c
	}
	caKey := key()
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	_, ca = sign(1, ca, ca, caKey, caKey)
	pool = x509.NewCertPool()
	pool.AddCert(ca)
	leaf := func(number int64, usage x509.ExtKeyUsage) tls.Certificate {
		k := key()
		der, _ := sign(number, &x509.Certificate{
			Subject: pkix.Name{CommonName: "leaf"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		}, ca, k, caKey)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
	}
	return pool, leaf(2, x509.ExtKeyUsageServerAuth), leaf(3, x509.ExtKeyUsageClientAuth)
}

func TestSASLOverMutualTLS(t *testing.T) {
	t.Parallel()
	pool, server, client := certificates(t)
	for name, mechanism := range map[string]func(user string, password auth.Secret) wire.Mechanisms{
		"PLAIN": auth.Plain, "SCRAM-SHA-256": auth.ScramSHA256, "SCRAM-SHA-512": auth.ScramSHA512,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(3, "orders"), kfake.EnableSASL(), kfake.Superuser(name, "relay", "secret"),
				kfake.TLS(&tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}))
			file := filepath.Join(t.TempDir(), "password")
			write := func(s string) {
				if err := os.WriteFile(file, []byte(s+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("wrong")
			cfg := withFlight(c, 0)
			cfg.TLS = &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{client}}
			cfg.SASL = mechanism("relay", auth.File(file))
			if err := kafka.Check(t.Context(), cfg); !errors.Is(err, kafka.ErrAuthentication) {
				t.Errorf("check with a wrong password: got %v", err)
			}
			r := sinktest.NewReceiver(t)
			s := open(t, cfg, r)
			events := sinktest.Events(500, sinktest.Shape{Bytes: 3000})
			s.Publish(events)
			r.Wait("a notice", func(t sinktest.Tally) bool { return t.Notices > 0 })
			what := r.Notices()[0].What
			for _, part := range []string{"SASL authentication failed for user relay at broker 127.0.0.1:", name} {
				if !strings.Contains(what, part) {
					t.Errorf("notice %q lacks %q", what, part)
				}
			}
			eventually(t, func() bool { return !s.Status().Writable })
			write("secret") // read again at the next connect
			r.WaitAcked(len(events))
			if err := kafka.Check(t.Context(), cfg, "orders"); err != nil {
				t.Errorf("check with the right password: got %v", err)
			}
		})
	}
}

// A SASL listener of real Kafka hangs up on a second ApiVersions request before the handshake (kfake does not).
func TestOneApiVersionsBeforeTheHandshake(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "relay", "secret"))
	var mu sync.Mutex
	var seen []kmsg.Key
	for _, key := range []kmsg.Key{kmsg.ApiVersions, kmsg.SASLHandshake, kmsg.SASLAuthenticate} {
		c.ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			mu.Lock()
			seen = append(seen, key)
			mu.Unlock()
			<-time.After(3 * time.Millisecond) // so far away that it is measured again
			return nil, nil, false
		})
	}
	cfg := withFlight(c, 0)
	cfg.SASL = auth.Plain("relay", auth.Value("secret"))
	if err := kafka.Check(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := []kmsg.Key{kmsg.ApiVersions, kmsg.SASLHandshake, kmsg.SASLAuthenticate, kmsg.ApiVersions, kmsg.ApiVersions}
	if !slices.Equal(seen, want) {
		t.Errorf("requests: got %v, want %v", seen, want)
	}
}

func TestSessionIsRenewedBeforeItEnds(t *testing.T) {
	t.Parallel()
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "relay", "secret"),
		kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "500"}))
	cfg := withFlight(c, 0)
	cfg.SASL = auth.Plain("relay", auth.Value("secret"))
	r := sinktest.NewReceiver(t)
	s := open(t, cfg, r)
	events := sinktest.Events(1000, sinktest.Shape{})
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := range events {
		<-tick.C
		s.Publish(events[i : i+1])
	}
	r.WaitAcked(len(events))
	if got := r.Tally(); got.Failures != 0 {
		t.Errorf("attempts %v, want no failure: the session is renewed between two requests", r.Reasons())
	}
}

func TestTLSFailuresSayWhatToDo(t *testing.T) {
	t.Parallel()
	pool, server, _ := certificates(t)
	secure := fake(t, kfake.NumBrokers(1), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{server}}))
	plain := testenv.Kafka(t).Brokers() // kfake waits for the rest of what it takes for a request
	for name, test := range map[string]struct {
		brokers []string
		tls     *tls.Config
		want    string
	}{
		"unknown authority":    {secure.ListenAddrs(), &tls.Config{}, "ca_file"},
		"broker without TLS":   {plain, &tls.Config{RootCAs: pool}, "remove sink.kafka.tls"},
		"another host's name":  {secure.ListenAddrs(), &tls.Config{RootCAs: pool, ServerName: "kafka.example"}, "ca_file"},
		"broker that wants it": {secure.ListenAddrs(), nil, "set sink.kafka.tls"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := kafka.NewConfig(test.brokers...)
			cfg.TLS = test.tls
			r := sinktest.NewReceiver(t)
			s := open(t, cfg, r)
			if test.tls != nil {
				r.Wait("a notice", func(t sinktest.Tally) bool { return t.Notices > 0 })
				if got := r.Notices()[0].Cure; !strings.Contains(got, test.want) {
					t.Errorf("cure %q, want %q in it", got, test.want)
				}
				return
			}
			eventually(t, func() bool { return strings.Contains(s.Status().Reason, test.want) })
		})
	}
}
