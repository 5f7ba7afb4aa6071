package replication_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/replication"
)

func TestReal_Publications(t *testing.T) {
	everyVersion(t, func(t *testing.T, b *bed) {
		outbox := []string{"public.outbox"}
		if err := replication.CheckPublication(t.Context(), b.db, b.name, outbox); err != nil {
			t.Errorf("what CreatePublication made does not pass: %v", err)
		}
		for what, c := range map[string]struct {
			sql, want string
			fatal     bool
		}{
			"all tables": {"CREATE PUBLICATION p FOR ALL TABLES", "ALL TABLES", true},
			"updates":    {"CREATE PUBLICATION p FOR TABLE outbox WITH (publish_via_partition_root)", "inserts and nothing else", true},
			"leaf names": {"CREATE PUBLICATION p FOR TABLE outbox WITH (publish = 'insert')", "names of its partitions", true},
			"other":      {"CREATE PUBLICATION p FOR TABLE other WITH (publish = 'insert')", "does not contain public.outbox", true},
			"more":       {"CREATE PUBLICATION p FOR TABLE outbox, other WITH (publish = 'insert', publish_via_partition_root)", "also contains public.other", false},
			"schema":     {"CREATE PUBLICATION p FOR TABLES IN SCHEMA public WITH (publish = 'insert', publish_via_partition_root)", "SCHEMA public", true},
			"filter":     {"CREATE PUBLICATION p FOR TABLE outbox WHERE (key = 'a') WITH (publish = 'insert', publish_via_partition_root)", "only the rows", false},
			"columns":    {"CREATE PUBLICATION p FOR TABLE outbox (id, key) WITH (publish = 'insert', publish_via_partition_root)", "only the columns id, key", false},
		} {
			if b.version == "14" && (what == "schema" || what == "filter" || what == "columns") {
				continue
			}
			b.pg.Exec(t, c.sql)
			p, err := replication.LookPublication(t.Context(), b.db, "p")
			if err != nil {
				t.Fatal(err)
			}
			problems := p.Check(outbox)
			if len(problems) == 0 || !strings.Contains(problems[0].What, c.want) || problems[0].Fatal != c.fatal {
				t.Errorf("%s: %+v, want %q, fatal %v", what, problems, c.want, c.fatal)
			}
			err = replication.CheckPublication(t.Context(), b.db, "p", outbox)
			if c.fatal != errors.Is(err, replication.ErrPublicationWrong) || c.fatal != (replication.Class(err).Action == replication.Stop) {
				t.Errorf("%s: %v, want an error: %v", what, err, c.fatal)
			}
			if err := replication.DropPublication(t.Context(), b.db, "p"); err != nil {
				t.Fatal(err)
			}
		}
		err := replication.CheckPublication(t.Context(), b.db, "p", outbox)
		if !errors.Is(err, replication.ErrPublicationMissing) || replication.Class(err).Action != replication.Stop {
			t.Errorf("missing: %v", err)
		}
		all, err := replication.ListPublications(t.Context(), b.db)
		if err != nil || len(all) != 1 || all[0].Name != b.name || len(all[0].Tables) != 1 || !all[0].Tables[0].Partitioned {
			t.Errorf("list: %+v, %v", all, err)
		}
	})
}

func TestReal_Slots(t *testing.T) {
	everyVersion(t, func(t *testing.T, b *bed) {
		point := b.createSlot(t)
		slot := b.slot(t)
		if slot.Plugin != "pgoutput" || slot.Database != b.name || slot.ConfirmedFlush != point || slot.Restart == 0 || slot.Restart > point ||
			slot.WALStatus != "reserved" || slot.Lost() || slot.Temporary || slot.TwoPhase {
			t.Errorf("a new slot: %+v, want it at %s", slot, point)
		}
		b.insert(t, 10)
		conn := b.connect(t)
		end := conn.System().WALEnd
		moved, err := replication.AdvanceSlot(t.Context(), b.db, b.name, end)
		if err != nil || moved > end || moved <= point || b.slot(t).ConfirmedFlush != moved {
			t.Errorf("advanced from %s to %s of %s, %v", point, moved, end, err)
		}
		if _, err := replication.AdvanceSlot(t.Context(), b.db, b.name, point); err == nil {
			t.Error("the slot was moved back")
		}
		all, err := replication.ListSlots(t.Context(), b.db)
		found := false
		for _, s := range all {
			found = found || s.Name == b.name
		}
		if err != nil || !found {
			t.Errorf("list: %+v, %v", all, err)
		}
		if err := replication.DropSlot(t.Context(), b.db, b.name); err != nil {
			t.Fatal(err)
		}
		if err := replication.DropSlot(t.Context(), b.db, b.name); replication.Class(err).Action != replication.SlotUnusable {
			t.Errorf("second drop: %v", err)
		}
	})
}

// Over TLS, with the server's certificate verified: rows larger and smaller than a TLS record, and status all the while.
func TestReal_TLS(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "tls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cert, key := certificate(t, dir)
	srv := testenv.StartPostgres(t, "", map[string]string{"ssl": "on", "ssl_cert_file": cert, "ssl_key_file": key})
	b := newBedIn(t, srv.Database(t), "15")
	point := b.createSlot(t)
	cfg := b.config()
	cfg.Conn = func(context.Context) (*pgconn.Config, error) {
		return pgconn.ParseConfig(b.pg.URLFor(b.name, "geheim") + "&sslmode=verify-ca&sslrootcert=" + cert)
	}
	conn, err := replication.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.Start(t.Context(), point)
	if err != nil {
		t.Fatal(err)
	}
	var tls bool
	if err := b.db.QueryRow(t.Context(), "SELECT ssl FROM pg_stat_ssl WHERE pid = $1", int64(conn.PID())).Scan(&tls); err != nil || !tls {
		t.Errorf("the walsender's connection is encrypted: %v, %v", tls, err)
	}
	b.insert(t, 5000)
	b.pg.Exec(t, "INSERT INTO outbox (key, payload) SELECT 'big', repeat(md5(n::text), 20000) FROM generate_series(1, 5) n")
	began := time.Now()
	end, rows := commits(t, s, 2)
	t.Logf("read %d rows in %s", rows, time.Since(began))
	if rows != 5005 {
		t.Errorf("%d rows, want 5005", rows)
	}
	s.Confirm(end[1])
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.slot(t).ConfirmedFlush; got != end[1] {
		t.Errorf("the slot is at %s, want %s", got, end[1])
	}
}

// certificate makes a self-signed one that Postgres' own user can read.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 { // the server runs as nobody then
			if err := errors.Join(os.Chown(path, 65534, 65534), os.Chmod(dir, 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	return write("server.crt", "CERTIFICATE", der), write("server.key", "PRIVATE KEY", pkcs8)
}
