package auditor

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
)

// Auditor is a TCP proxy on loopback. All methods may be used by several goroutines.
type Auditor struct {
	target   string
	listener net.Listener
	book     *book
	work     sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// New listens on a port of its own and passes connections on to target. late is the longest time that may lie between two
// statuses: the status interval and what a busy machine adds. confirmed is called, one call at a time for each session,
// before the server gets a status that confirms events for the first time; it holds that status up until it returns.
func New(target string, late time.Duration, confirmed func(Confirmation)) (*Auditor, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the auditor: %w", err)
	}
	a := &Auditor{
		target: target, listener: listener, open: map[net.Conn]struct{}{},
		book: &book{late: late, confirmed: confirmed, ends: map[pglogrepl.LSN]bool{}},
	}
	a.work.Go(a.accept)
	return a, nil
}

// Addr is where the relay connects to.
func (a *Auditor) Addr() string { return a.listener.Addr().String() }

// Report returns what was seen so far.
func (a *Auditor) Report() Report {
	a.book.mu.Lock()
	defer a.book.mu.Unlock()
	r := a.book.report
	r.Violations = slices.Clone(r.Violations)
	return r
}

// Cut closes all connections; new ones are welcome.
func (a *Auditor) Cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.open {
		_ = c.Close()
	}
	clear(a.open)
}

// Close ends the proxy and waits until nothing of it runs.
func (a *Auditor) Close() {
	_ = a.listener.Close()
	a.Cut()
	a.work.Wait()
}

func (a *Auditor) accept() {
	for {
		client, err := a.listener.Accept()
		if err != nil {
			return
		}
		a.work.Go(func() { a.serve(client) })
	}
}

func (a *Auditor) serve(client net.Conn) {
	defer a.forget(client)
	a.keep(client)
	d := net.Dialer{Timeout: 5 * time.Second}
	server, err := d.DialContext(context.Background(), "tcp", a.target)
	if err != nil {
		return
	}
	defer a.forget(server)
	a.keep(server)
	s := &session{book: a.book}
	var pumps sync.WaitGroup
	pumps.Go(func() {
		in := frames{first: true}
		pump(client, server, func(b []byte) {
			in.feed(b, func(typ byte, body []byte) { s.fromClient(typ, body, time.Now()) })
		})
	})
	pumps.Go(func() {
		var in frames
		pump(server, client, func(b []byte) { in.feed(b, s.fromServer) })
	})
	pumps.Wait()
}

func (a *Auditor) keep(c net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open[c] = struct{}{}
}

func (a *Auditor) forget(c net.Conn) {
	_ = c.Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, c)
}

// pump shows look each piece before it passes it on, and closes both ends when either is done.
func pump(from, to net.Conn, look func([]byte)) {
	defer func() { _, _ = from.Close(), to.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			look(buf[:n])
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
