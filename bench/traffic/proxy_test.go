package traffic_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/bench/traffic"
)

func TestProxyDelaysEachDirectionAndKeepsEveryByte(t *testing.T) {
	t.Parallel()
	const each = 30 * time.Millisecond
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = echo.Close() }()
	go func() {
		conn, err := echo.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(conn, conn)
		_ = conn.Close()
	}()
	p, err := traffic.NewProxy(t.Context(), each)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Serve(t.Context(), echo.Addr().String())
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()

	sent := make([]byte, 1<<20)
	_, _ = rand.Read(sent)
	begun := time.Now()
	go func() { _, _ = conn.Write(sent) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got[:1]); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 2*each {
		t.Errorf("first byte back after %s, want %s at least", took, 2*each)
	}
	if _, err := io.ReadFull(conn, got[1:]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Error("what came back is not what was sent")
	}
}
