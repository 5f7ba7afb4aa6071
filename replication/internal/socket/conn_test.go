package socket_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/replication/internal/socket"
)

// pair returns the two ends of a TCP connection on loopback, the first one wrapped.
func pair(t *testing.T) (*socket.Conn, net.Conn) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var d net.Dialer
	ours, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	c, ok := socket.Wrap(ours, 10*time.Second).(*socket.Conn)
	if !ok {
		t.Fatalf("Wrap returned %T", c)
	}
	return c, theirs
}

// Whatever is gathered, the bytes and their order are those that were sent: read in large pieces and in small ones.
func TestReadBringsEveryByte(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"large": 256 << 10, "small": 700} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, server := pair(t)
			c.Gather(true)
			const messages, length = 20_000, 100
			go func() {
				b := make([]byte, length)
				for i := range messages {
					for j := range b {
						b[j] = byte(i + j)
					}
					_, _ = server.Write(b)
				}
				_ = server.Close()
			}()
			p, at, reads := make([]byte, size), 0, 0
			for {
				n, err := c.Read(p)
				for _, got := range p[:n] {
					if want := byte(at/length + at%length); got != want {
						t.Fatalf("byte %d is %d, want %d", at, got, want)
					}
					at++
				}
				reads++
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if at != messages*length {
				t.Errorf("%d bytes, want %d", at, messages*length)
			}
			t.Logf("%d messages in %d reads", messages, reads)
		})
	}
}

func TestWrap_LeavesAPipeAlone(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if got := socket.Wrap(a, time.Second); got != a {
		t.Errorf("got %T, want the pipe itself", got)
	}
}
