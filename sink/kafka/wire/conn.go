package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// maxResponse bounds what a broker may make us read at once.
const maxResponse = 16 << 20

// Conn is a connection to one broker, past its handshakes.
type Conn struct {
	// Near is the shortest answer to a request that asks the broker for nothing: the way there and back.
	Near time.Duration

	// Expires is when the broker ends the session unless the client signs on again (KIP-368); zero: never. It is 90 % of
	// what the broker granted.
	Expires time.Time

	net      net.Conn
	control  *protocol.Conn
	in       *bufio.Reader
	out      *bufio.Writer // around TLS only: its records should not follow our fragments
	versions map[protocol.ApiKey]int16
	body     []byte
}

// Dialer opens connections.
type Dialer struct {
	ClientID string
	TLS      *tls.Config // nil: plain. ServerName is the broker's host unless set
	SASL     Mechanisms  // nil: none
	Timeout  time.Duration
	Connect  func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer's DialContext
}

// Dial connects to addr (host:port) and shakes hands.
func (d *Dialer) Dial(ctx context.Context, addr string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	dial := d.Connect
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	}
	nc, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to broker %s: %w", addr, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	c, err := d.shake(ctx, nc, addr)
	if !stop() && err == nil {
		err = fmt.Errorf("connect to broker %s: %w", addr, context.Cause(ctx))
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nil
}

func (d *Dialer) shake(ctx context.Context, nc net.Conn, addr string) (*Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("broker address %q: %w", addr, err)
	}
	c := &Conn{net: nc}
	if d.TLS != nil {
		conf := d.TLS.Clone()
		if conf.ServerName == "" {
			conf.ServerName = host
		}
		secure := tls.Client(nc, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			var garbled tls.RecordHeaderError
			if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.As(err, &garbled) {
				err = fmt.Errorf("%w: %w", ErrNotTLS, err)
			}
			return nil, fmt.Errorf("TLS handshake with broker %s: %w", addr, err)
		}
		c.net = secure
		c.out = bufio.NewWriterSize(secure, 64<<10)
	}
	c.control = protocol.NewConn(c.net, d.ClientID)
	if err := c.negotiate(); err != nil {
		hint := ""
		if d.TLS == nil && errors.Is(err, io.ErrUnexpectedEOF) {
			hint = " (does this listener want TLS? set sink.kafka.tls)"
		}
		return nil, fmt.Errorf("ask broker %s for its versions: %w%s", addr, err, hint)
	}
	if d.SASL != nil {
		if err := c.authenticate(ctx, d.SASL, addr); err != nil {
			return nil, err
		}
	}
	if err := c.measure(); err != nil {
		return nil, fmt.Errorf("ask broker %s again: %w", addr, err)
	}
	c.in = bufio.NewReaderSize(c.net, 16<<10)
	return c, nil
}

// Close ends the connection; Send and Receive under way return an error.
func (c *Conn) Close() error { return c.net.Close() }

// SetReadDeadline bounds Receive.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.net.SetReadDeadline(t) }

// Send writes one produce request. Entries' batches must not change until it returns.
func (c *Conn) Send(p *Produce, correlation int32, entries []Entry, deadline time.Time) error {
	parts := p.frame(c.versions[protocol.Produce], correlation, entries)
	if err := c.net.SetWriteDeadline(deadline); err != nil {
		return fmt.Errorf("send a produce request: %w", err)
	}
	var err error
	if c.out == nil {
		_, err = parts.WriteTo(c.net)
	} else {
		for _, b := range parts {
			if _, err = c.out.Write(b); err != nil {
				break
			}
		}
		if err == nil {
			err = c.out.Flush()
		}
	}
	if err != nil {
		return fmt.Errorf("send a produce request: %w", err)
	}
	return nil
}

// Receive reads the next answer to a produce request. First begin is told the correlation id, then each every result.
func (c *Conn) Receive(begin func(correlation int32) error, each func(Result)) (throttle time.Duration, err error) {
	var head [8]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, fmt.Errorf("read a produce response: %w", err)
	}
	size := int(int32(binary.BigEndian.Uint32(head[:]))) - 4
	if size < 0 || size > maxResponse {
		return 0, fmt.Errorf("read a produce response: %d bytes are announced, which is no Kafka response", size)
	}
	if cap(c.body) < size {
		c.body = make([]byte, size+size/2)
	}
	if _, err := io.ReadFull(c.in, c.body[:size]); err != nil {
		return 0, fmt.Errorf("read a produce response: %w", err)
	}
	if err := begin(int32(binary.BigEndian.Uint32(head[4:]))); err != nil {
		return 0, err
	}
	return parseProduce(c.body[:size], c.versions[protocol.Produce], each)
}
