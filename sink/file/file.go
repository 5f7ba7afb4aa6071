package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
	"github.com/cdc-relay/cdc-relay/sink/lanes"
	"github.com/cdc-relay/cdc-relay/sink/line"
)

// DefaultMode is the mode of a file that does not exist yet, before the umask: payloads are not for everyone.
const DefaultMode fs.FileMode = 0o640

// Config says where the lines go.
type Config struct {
	Path string      // of the file; its directory must exist
	Mode fs.FileMode // of a new file. Default 0640
}

// NewConfig returns the defaults for the file at path.
func NewConfig(path string) Config { return Config{Path: path, Mode: DefaultMode} }

// Sink is a sink.Sink over a file. Create it with New.
type Sink struct {
	*lanes.Sink
	log     *log
	closing sync.Once
}

// New opens the file, creates it where it is missing, and returns a sink that appends to it and reports to r. It fails
// when the file cannot be opened for writing, is no regular file, or ends in text that is not ours.
func New(ctx context.Context, config Config, r sink.Receiver) (*Sink, error) {
	return newSink(ctx, &log{path: config.Path, mode: config.Mode, disk: osDisk}, r)
}

func newSink(ctx context.Context, l *log, r sink.Receiver) (*Sink, error) {
	if err := l.open(); err != nil {
		return nil, err
	}
	s := &Sink{log: l}
	config := lanes.NewConfig(s.write)
	config.Lanes = 1
	config.Name = func(int) string { return l.path }
	var err error
	if s.Sink, err = lanes.New(ctx, config, r); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return s, nil
}

// Close implements sink.Sink.
func (s *Sink) Close() error {
	err := s.Sink.Close()
	s.closing.Do(func() { err = errors.Join(err, s.log.close()) })
	return err
}

// write implements lanes.WriteFunc. A batch is in the file whole and flushed, or not at all.
func (s *Sink) write(_ context.Context, _ int, events []*decoder.Event) (int, error) {
	buf := s.log.buf[:0]
	for _, ev := range events {
		buf = line.Append(buf, ev)
	}
	s.log.buf = buf
	if err := s.log.append(buf); err != nil {
		return 0, s.failure(err)
	}
	return len(events), nil
}

func (s *Sink) failure(err error) error {
	path := s.log.path
	f := &lanes.Failure{Reason: "write_failed", Err: fmt.Errorf("append to %s: %w", path, err)}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		f.Reason = "disk_full"
		f.Notice = sink.Notice{
			What: fmt.Sprintf("no space left for %s", path),
			Cure: "free space on its file system, or raise the quota; the relay goes on by itself",
		}
	case errors.Is(err, errLocked):
		f.Reason = "locked"
		f.Notice = sink.Notice{
			What: fmt.Sprintf("%s is locked by another process", path),
			Cure: "stop the other relay that writes it, or set sink.file.path to a file of its own",
		}
	default:
		f.Notice = sink.Notice{
			What: fmt.Sprintf("%s cannot be written: %v", path, err),
			Cure: "see to the file, its directory and its file system; the relay goes on by itself",
		}
	}
	return f
}
