package testenv

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// Link is a TCP proxy on loopback with faults. A change holds for connections that are open and for new ones. All
// methods may be used by several goroutines.
//
// A Kafka client dials what the broker advertises: make the proxy first, start the broker with
// "advertised.listeners=PLAINTEXT://"+link.Addr(), then call link.Target with the broker's own address.
type Link struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	target  string
	delay   time.Duration // of each direction
	refuse  bool
	hold    [2]bool       // toward the target, toward the client
	changed chan struct{} // closed and replaced at each change
	open    map[net.Conn]struct{}
	bytes   [2]int64
}

// The two directions of a connection.
const (
	toTarget = 0
	toClient = 1
)

// Proxy listens on a port of its own and passes connections on to target (host:port, which may be down, or "" until
// Target names it). It closes when the test ends.
func Proxy(t testing.TB, target string) *Link {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for a proxy: %v", err)
	}
	l := &Link{listener: listener, target: target, changed: make(chan struct{}), open: map[net.Conn]struct{}{}}
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		l.Cut()
		l.wg.Wait()
	})
	return l
}

// Addr is where to connect to.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Target sends new connections elsewhere.
func (l *Link) Target(address string) { l.change(func() { l.target = address }) }

// Latency adds d to a round trip, half of it in each direction. Bandwidth is not limited.
func (l *Link) Latency(d time.Duration) { l.change(func() { l.delay = d / 2 }) }

// Pause passes nothing on in either direction: connections stay open, new ones are accepted, nobody answers.
func (l *Link) Pause() { l.change(func() { l.hold = [2]bool{true, true} }) }

// PauseReplies passes on what the client sends and holds what the target answers: a request is done and its
// acknowledgement lost, when CloseAll or Cut follows.
func (l *Link) PauseReplies() { l.change(func() { l.hold[toClient] = true }) }

// Cut resets all connections, and new ones at once, until Resume.
func (l *Link) Cut() {
	l.change(func() { l.refuse = true })
	l.CloseAll()
}

// Resume ends Pause, PauseReplies and Cut. What was held is passed on.
func (l *Link) Resume() {
	l.change(func() { l.refuse, l.hold = false, [2]bool{} })
}

// CloseAll resets the connections that are open, with what is held in them; new ones are welcome.
func (l *Link) CloseAll() {
	l.change(func() {
		for c := range l.open {
			reset(c)
		}
		clear(l.open)
	})
}

// Bytes returns how much was passed on so far toward the target and toward the client.
func (l *Link) Bytes() (sent, received int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes[toTarget], l.bytes[toClient]
}

func (l *Link) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.serve(client) })
	}
}

func (l *Link) serve(client net.Conn) {
	if !l.keep(client) {
		return
	}
	defer l.forget(client)
	l.mu.Lock()
	address := l.target
	l.mu.Unlock()
	d := net.Dialer{Timeout: 5 * time.Second}
	target, err := d.DialContext(context.Background(), "tcp", address)
	if err != nil {
		return
	}
	if !l.keep(target) {
		return
	}
	defer l.forget(target)
	ended := make(chan struct{})
	var pumps sync.WaitGroup
	pumps.Go(func() { l.pump(client, target, toTarget, ended) })
	pumps.Go(func() { l.pump(target, client, toClient, ended) })
	pumps.Wait()
}

// keep remembers a connection, so that it can be reset, or resets it when connections are refused.
func (l *Link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse {
		reset(c)
		return false
	}
	l.open[c] = struct{}{}
	return true
}

func (l *Link) forget(c net.Conn) {
	_ = c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// piece is some bytes and when they arrived.
type piece struct {
	bytes []byte
	at    time.Time
}

// pump passes bytes on in one direction until either end closes. Reading goes on while pieces wait for their time, so
// that latency does not limit bandwidth.
func (l *Link) pump(from, to net.Conn, way int, ended chan struct{}) {
	pieces := make(chan piece, 1024)
	l.wg.Go(func() {
		defer close(pieces)
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				select {
				case pieces <- piece{append([]byte(nil), buf[:n]...), time.Now()}:
				case <-ended:
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for p := range pieces {
		if !l.await(way, p.at, ended) {
			break
		}
		l.mu.Lock()
		l.bytes[way] += int64(len(p.bytes))
		l.mu.Unlock()
		if _, err := to.Write(p.bytes); err != nil {
			break
		}
	}
	// One direction over: end the other as well, which also ends the reader above.
	_ = from.Close()
	_ = to.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-ended:
	default:
		close(ended)
	}
}

// await waits until a piece may pass; false when the connection is over.
func (l *Link) await(way int, arrived time.Time, ended <-chan struct{}) bool {
	for {
		l.mu.Lock()
		held, left, changed := l.hold[way], time.Until(arrived.Add(l.delay)), l.changed
		l.mu.Unlock()
		var due <-chan time.Time
		if !held {
			if left <= 0 {
				return true
			}
			due = time.After(left)
		}
		select {
		case <-ended:
			return false
		case <-changed:
		case <-due:
		}
	}
}

// reset closes a connection so that the other side sees a reset and not an orderly end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
