package traffic

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/bench/lab"
)

// Proxy passes TCP connections on and holds every byte for a time, in each direction. Bandwidth is not limited.
type Proxy struct {
	listener net.Listener
	each     time.Duration
	target   string
	group    sync.WaitGroup
	stop     context.CancelFunc
}

// NewProxy listens on loopback; Serve names the target.
func NewProxy(ctx context.Context, each time.Duration) (*Proxy, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the proxy: %w", err)
	}
	return &Proxy{listener: listener, each: each}, nil
}

// Addr is where to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Serve begins to pass connections on to target.
func (p *Proxy) Serve(ctx context.Context, target string) {
	ctx, p.stop = context.WithCancel(ctx)
	p.target = target
	p.group.Go(func() {
		for {
			conn, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.group.Go(func() { p.pass(ctx, conn) })
		}
	})
}

// Close ends all connections.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	if p.stop != nil {
		p.stop()
	}
	p.group.Wait()
}

func (p *Proxy) pass(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }()
	var d net.Dialer
	target, err := d.DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = target.Close() }()
	ctx, cancel := context.WithCancel(ctx) // one direction over: end both
	defer cancel()
	defer context.AfterFunc(ctx, func() { _, _ = client.Close(), target.Close() })()
	var both sync.WaitGroup
	both.Go(func() { defer cancel(); p.pump(ctx, client, target) })
	both.Go(func() { defer cancel(); p.pump(ctx, target, client) })
	both.Wait()
}

// piece is some bytes and when they may go on.
type piece struct {
	bytes []byte
	due   time.Time
}

// pump reads on while pieces wait for their time.
func (p *Proxy) pump(ctx context.Context, from, to net.Conn) {
	pieces := make(chan piece, 4096)
	go func() {
		defer close(pieces)
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			if n > 0 {
				select {
				case pieces <- piece{append([]byte(nil), buffer[:n]...), time.Now().Add(p.each)}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	for piece := range pieces {
		if lab.Wait(ctx, time.Until(piece.due)) != nil {
			return
		}
		if _, err := to.Write(piece.bytes); err != nil {
			return
		}
	}
}
