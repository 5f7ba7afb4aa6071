package stdout_test

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/line"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
	"github.com/cdc-relay/cdc-relay/sink/stdout"
)

// pipe keeps what is written; while it is down it takes a part of each write and fails.
type pipe struct {
	mu   sync.Mutex
	got  bytes.Buffer
	down bool
	part int
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		p.part = (p.part*5 + 3) % 611
		n, _ := p.got.Write(b[:min(p.part, len(b)-1)])
		return n, errors.New("no space left in the pipe")
	}
	return p.got.Write(b)
}

func (p *pipe) set(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *pipe) records(t *testing.T) []sinktest.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	var records []sinktest.Record
	for text := range bytes.Lines(p.got.Bytes()) {
		l, err := line.Parse(text)
		if err != nil {
			t.Errorf("a torn line: %v", err)
			continue
		}
		rec := sinktest.Record{Topic: l.Topic, Key: l.Key, Value: l.Value, Partition: l.Partition, Millis: l.Timestamp.UnixMilli()}
		for _, h := range l.Headers {
			rec.Headers = append(rec.Headers, sinktest.Header(h))
		}
		records = append(records, rec)
	}
	return records
}

func open(t *testing.T, out io.Writer, r sink.Receiver) sink.Sink {
	t.Helper()
	s, err := stdout.New(t.Context(), out, r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, sinktest.Harness{Destination: func(*testing.T) sinktest.Destination {
		p := &pipe{}
		return sinktest.Destination{
			Open:   func(t *testing.T, r sink.Receiver) sink.Sink { return open(t, p, r) },
			Stored: p.records,
			Outage: func(*testing.T) func() { p.set(true); return func() { p.set(false) } },
			Once:   true,
		}
	}})
}

// A reader that stops reading holds the write for ever; SIGTERM must still end the relay.
func TestCloseReturnsWhileNobodyReads(t *testing.T) {
	t.Parallel()
	reader, writer := io.Pipe()
	r := sinktest.NewReceiver(t)
	s := open(t, writer, r)
	s.Publish(sinktest.Events(3, sinktest.Shape{}))
	if _, err := io.ReadFull(reader, make([]byte, 10)); err != nil { // the write is under way
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Close waits for a pipe that nobody reads")
	}
	r.Seal()
	if got := r.Tally(); got.Acked != 0 || got.Attempts != 0 {
		t.Errorf("%+v, want nothing acknowledged", got)
	}
	reader.Close() // ends the stuck write
}

func TestOutageTellsTheOperatorOnce(t *testing.T) {
	t.Parallel()
	p := &pipe{down: true}
	r := sinktest.NewReceiver(t)
	s := open(t, p, r)
	s.Publish(sinktest.Events(3, sinktest.Shape{Bytes: 5000}))
	r.Wait("three failures", func(tally sinktest.Tally) bool { return tally.Failures >= 3 })
	p.set(false)
	r.WaitAcked(3)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := r.Notices(); len(got) != 1 {
		t.Errorf("notices %+v, want one", got)
	}
	if got, want := len(p.records(t)), 3; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
}
