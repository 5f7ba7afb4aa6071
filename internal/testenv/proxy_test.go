package testenv_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// echo starts a server that sends back what it gets, and returns its address.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// say writes a line and waits for its echo.
func say(c net.Conn, line string, patience time.Duration) error {
	if _, err := c.Write([]byte(line)); err != nil {
		return err
	}
	return hear(c, line, patience)
}

func hear(c net.Conn, line string, patience time.Duration) error {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != line {
		return fmt.Errorf("got %q, want %q", got, line)
	}
	return nil
}

func TestProxyDelaysPausesAndCuts(t *testing.T) {
	t.Parallel()
	p := testenv.Proxy(t, echo(t))
	c := dial(t, p.Addr())
	if err := say(c, "plain", time.Second); err != nil {
		t.Fatalf("echo through the proxy: %v", err)
	}

	p.Latency(60 * time.Millisecond)
	begun := time.Now()
	if err := say(c, "late", time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 60*time.Millisecond {
		t.Errorf("round trip with latency: got %s, want at least 60ms", took)
	}
	p.Latency(0)

	p.Pause()
	if err := say(c, "held", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("echo through a paused proxy: got %v, want a timeout", err)
	}
	p.Resume()
	if err := hear(c, "held", time.Second); err != nil {
		t.Errorf("what was held: %v", err)
	}

	p.PauseReplies()
	sent, _ := p.Bytes()
	if _, err := c.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Second, func() error {
		if now, _ := p.Bytes(); now != sent+4 {
			return fmt.Errorf("toward the target: got %d bytes more, want 4", now-sent)
		}
		return nil
	})
	p.CloseAll()
	if err := hear(c, "lost", time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reply after CloseAll: got %v, want a reset", err)
	}
	p.Resume()
	if err := say(dial(t, p.Addr()), "again", time.Second); err != nil {
		t.Errorf("new connection after CloseAll: %v", err)
	}

	p.Cut()
	if refused, err := net.Dial("tcp", p.Addr()); err == nil { // the reset may come before the connection counts as made
		if err := say(refused, "no", time.Second); err == nil {
			t.Error("a cut proxy passes data on")
		}
		_ = refused.Close()
	}
	p.Target(echo(t))
	p.Resume()
	if err := say(dial(t, p.Addr()), "elsewhere", time.Second); err != nil {
		t.Errorf("new target: %v", err)
	}
}
