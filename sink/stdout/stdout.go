package stdout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"syscall"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/lanes"
	"github.com/cdc-relay/cdc-relay/sink/line"
)

// New returns a sink that writes lines to out and reports to r. It does not close out.
//
// Close returns although a write to out is stuck, as into a pipe that nobody reads: that write's goroutine stays until
// the write ends, which is why only a program that is about to exit should close a stuck sink.
func New(ctx context.Context, out io.Writer, r sink.Receiver) (sink.Sink, error) {
	w := &writer{out: out}
	config := lanes.NewConfig(w.write)
	config.Lanes = 1
	config.Name = func(int) string { return "stdout" }
	return lanes.New(ctx, config, r)
}

// writer belongs to the one lane.
type writer struct {
	out  io.Writer
	buf  []byte
	ends []int // where each line ends in buf
	torn int   // how many bytes of the first line, which is to be written again, are out already
}

// write implements lanes.WriteFunc.
func (w *writer) write(ctx context.Context, _ int, events []*decoder.Event) (int, error) {
	w.buf, w.ends = w.buf[:0], w.ends[:0]
	for _, ev := range events {
		w.buf = line.Append(w.buf, ev)
		w.ends = append(w.ends, len(w.buf))
	}
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1) // room for the answer of a write that nobody waits for any more
	rest := w.buf[w.torn:]
	go func() {
		n, err := w.out.Write(rest)
		if err == nil && n < len(rest) {
			err = io.ErrShortWrite
		}
		done <- result{n, err}
	}()
	var got result
	select {
	case got = <-done:
	case <-ctx.Done():
		return 0, context.Cause(ctx) // the last call: w.buf is the stuck write's now
	}
	out := w.torn + got.n
	whole := sort.SearchInts(w.ends, out+1)
	w.torn = out
	if whole > 0 {
		w.torn -= w.ends[whole-1]
	}
	if got.err != nil {
		return whole, failure(got.err)
	}
	return whole, nil
}

func failure(err error) error {
	f := &lanes.Failure{Reason: "write_failed", Err: fmt.Errorf("write to standard output: %w", err)}
	f.Notice = sink.Notice{
		What: fmt.Sprintf("standard output takes no events: %v", err),
		Cure: "see to whatever reads it, and start the relay again if that is gone",
	}
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		f.Reason = "broken_pipe"
	}
	return f
}
