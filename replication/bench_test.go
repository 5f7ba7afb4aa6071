package replication_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/replication"
)

// BenchmarkDrain reads a backlog that waits in a slot: by Next alone, by Next on a socket whose reads are not gathered, and
// by pg_recvlogical for comparison. Each iteration is one row. go test -bench Drain -benchtime 300000x ./replication
func BenchmarkDrain(b *testing.B) {
	for _, size := range []int{1000, 1} {
		rows := b.N
		b.Run(fmt.Sprintf("rows=%d", size), func(b *testing.B) {
			for name, drain := range map[string]func(*testing.B, *bed, string, pglogrepl.LSN, pglogrepl.LSN){
				"next": drainNext, "greedy": drainGreedy, "pg_recvlogical": drainRecvlogical,
			} {
				b.Run(name, func(b *testing.B) {
					rows = b.N
					bed := newBed(b, "15")
					from := bed.createSlot(b)
					bed.backlog(b, rows, size)
					var end string
					if err := bed.db.QueryRow(context.Background(), "SELECT pg_current_wal_lsn()::text").Scan(&end); err != nil {
						b.Fatal(err)
					}
					to, _ := pglogrepl.ParseLSN(end)
					b.ReportAllocs()
					drain(b, bed, bed.name, from, to)
				})
			}
		})
	}
}

func (b *bed) backlog(t testing.TB, rows, size int) {
	b.pg.Exec(t, fmt.Sprintf(`DO $$ BEGIN
		PERFORM set_config('synchronous_commit', 'off', false);
		FOR i IN 1..%d LOOP
			INSERT INTO outbox (key, payload) SELECT 'key-' || n, repeat('x', 270) FROM generate_series(1, %d) n;
			COMMIT;
		END LOOP; END $$`, (rows+size-1)/size, size))
}

func drainNext(b *testing.B, bed *bed, _ string, from, to pglogrepl.LSN) {
	drainWith(b, bed.config(), from, to)
}

// plain hides the socket from the stream, so that it cannot gather reads.
type plain struct{ net.Conn }

func drainGreedy(b *testing.B, bed *bed, _ string, from, to pglogrepl.LSN) {
	drainWith(b, bed.config(func(c *pgconn.Config) {
		c.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) { return plain{conn}, nil }
	}), from, to)
}

func drainWith(b *testing.B, cfg replication.Config, from, to pglogrepl.LSN) {
	ctx := b.Context()
	conn, err := replication.Connect(ctx, cfg)
	if err != nil {
		b.Fatal(err)
	}
	s, err := conn.Start(ctx, from)
	if err != nil {
		b.Fatal(err)
	}
	cpu, reads := usage(), readCalls()
	b.ResetTimer()
	rows := 0
	for rows < b.N {
		m, err := s.Next(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if m.Kind == replication.XLog && m.Data[0] == 'I' {
			rows++
		}
	}
	b.StopTimer()
	report(b, usage()-cpu, readCalls()-reads)
	_ = s.Stop(ctx)
}

func drainRecvlogical(b *testing.B, bed *bed, slot string, _, to pglogrepl.LSN) {
	bin, err := exec.LookPath("pg_recvlogical")
	if err != nil {
		b.Skip("SKIPPED for want of pg_recvlogical")
	}
	cmd := exec.CommandContext(b.Context(), bin, "-d", bed.pg.URL(), "--slot", slot, "--start", "-n", "-f", "/dev/null", "--endpos", to.String(),
		"-o", "proto_version=1", "-o", "publication_names="+bed.name)
	cmd.Stderr = os.Stderr
	b.ResetTimer()
	err = cmd.Run()
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	report(b, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), 0)
}

func report(b *testing.B, cpu time.Duration, reads int) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/row")
	if reads > 0 {
		b.ReportMetric(float64(reads)/float64(b.N), "reads/row")
	}
}

// BenchmarkLive reads single-row transactions at 1,000 a second and reports how long a commit's last message takes after
// the server's own time stamp. go test -bench Live -benchtime 5000x ./replication
func BenchmarkLive(b *testing.B) {
	greedy := func(c *pgconn.Config) {
		c.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) { return plain{conn}, nil }
	}
	for name, change := range map[string][]func(*pgconn.Config){"gathered": nil, "greedy": {greedy}} {
		b.Run(name, func(b *testing.B) {
			bed := newBed(b, "15")
			from := bed.createSlot(b)
			conn, err := replication.Connect(b.Context(), bed.config(change...))
			if err != nil {
				b.Fatal(err)
			}
			s, err := conn.Start(b.Context(), from)
			if err != nil {
				b.Fatal(err)
			}
			writer := exec.CommandContext(b.Context(), "psql", "-qX", bed.pg.URL(), "-c", fmt.Sprintf(
				`DO $$ BEGIN FOR i IN 1..%d LOOP INSERT INTO outbox (key, payload) VALUES ('k', repeat('x', 270)); COMMIT; PERFORM pg_sleep(0.0009); END LOOP; END $$`, b.N))
			if err := writer.Start(); err != nil {
				b.Skip("SKIPPED for want of psql")
			}
			cpu, reads := usage(), readCalls()
			b.ResetTimer()
			late := make([]time.Duration, 0, b.N)
			for len(late) < b.N {
				m, err := s.Next(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if m.Kind == replication.XLog && m.Data[0] == 'C' {
					late = append(late, time.Since(m.ServerTime))
				}
			}
			b.StopTimer()
			_ = writer.Wait()
			slices.Sort(late)
			b.ReportMetric(float64(late[len(late)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(late[len(late)*99/100].Microseconds()), "p99-us")
			report(b, usage()-cpu, readCalls()-reads)
			_ = s.Stop(b.Context())
		})
	}
}

func usage() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// readCalls counts this process's read system calls, where the system tells.
func readCalls() int {
	io, _ := os.ReadFile("/proc/self/io")
	_, rest, _ := strings.Cut(string(io), "syscr: ")
	var n int
	_, _ = fmt.Sscan(rest, &n)
	return n
}
