package socket

import (
	"net"
	"time"
)

const (
	// Gap is how far apart reads begin while they are gathered, and what counts as idle. The walsender writes each message by
	// a call of its own, and on a machine without a free core each read that takes only one of them costs several switches
	// between processes: at 2,500 single-row commits a second on two full cores, p99 from commit to read fell from 60-230 ms
	// at 100 us to 2-3 ms at 1 ms. From 500 us on there is no more to gain, and 1 ms shows in the median at 1,000 a second.
	Gap = 500 * time.Microsecond

	// Streak is how many small reads have to follow each other closely before reads are gathered: more than a transaction of
	// one row takes, so that at the live edge nothing is ever delayed (p50 36 us after the server's time stamp; 114 when
	// the second read of each transaction waited).
	Streak = 8

	// Small is the size in bytes from which a read was worth its system call: some 50 outbox rows.
	Small = 16 << 10
)

// tlsBytes is the size of the buffer below TLS, whose own reads are about as large as one record.
const tlsBytes = 64 << 10

// Conn is a socket whose reads can be gathered. One goroutine reads; deadlines may be set by others, as net.Conn allows.
type Conn struct {
	net.Conn
	gather bool
	streak int       // small reads, none of which had to wait for its bytes
	last   time.Time // when the last one returned
	buf    []byte    // for callers that ask for little: TLS
	r, w   int
}

// Wrap sets keepalives and the time-out of unacknowledged data on a TCP socket (RFC 5482: TCP_USER_TIMEOUT, where the
// system has it) and returns it as a Conn. Other sockets, net.Pipe among them, are returned as they are.
func Wrap(c net.Conn, silence time.Duration) net.Conn {
	switch tcp := c.(type) {
	case *net.TCPConn:
		// An option that the system refuses costs only the speed at which a dead peer is noticed.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: silence / 3, Interval: silence / 6, Count: 4})
		setUserTimeout(tcp, silence)
	case *net.UnixConn:
	default:
		return c
	}
	return &Conn{Conn: c}
}

// Gather switches the gathering of reads on or off.
func (c *Conn) Gather(on bool) { c.gather = on && canPause }

// Read is net.Conn's, later by up to Gap when several reads have just returned little.
func (c *Conn) Read(p []byte) (int, error) {
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.r += n
		return n, nil
	}
	if !c.gather {
		return c.Conn.Read(p)
	}
	if len(p) >= Small {
		return c.read(p)
	}
	if c.buf == nil {
		c.buf = make([]byte, tlsBytes)
	}
	n, err := c.read(c.buf)
	c.r, c.w = 0, n
	if n > 0 {
		n = copy(p, c.buf[:n])
		c.r, err = n, nil
	}
	return n, err
}

func (c *Conn) read(p []byte) (int, error) {
	begin := time.Now()
	if since := begin.Sub(c.last); c.streak >= Streak && since < Gap {
		pause(Gap - since)
		begin = time.Now()
	}
	n, err := c.Conn.Read(p)
	c.last = time.Now()
	switch {
	case c.last.Sub(begin) > Gap: // it was idle
		c.streak = 0
	case n < Small:
		c.streak++
	default:
		c.streak = Streak - 1 // the next may be small by chance
	}
	return n, err
}
