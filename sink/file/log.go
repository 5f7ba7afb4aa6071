package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// errLocked: another process appends to the file.
var errLocked = errors.New("locked by another process")

// lineStart is how each line of package line begins.
const lineStart = `{"topic":`

// disk is the part of the operating system that tests make fail.
type disk struct {
	write func(f *os.File, b []byte) (int, error)
	sync  func(f *os.File) error
}

var osDisk = disk{write: (*os.File).Write, sync: (*os.File).Sync}

// log is the file: lines that are whole and flushed, and nothing behind them once append has returned. It belongs to one
// goroutine at a time.
type log struct {
	path string
	mode fs.FileMode
	disk disk

	file  *os.File // nil: closed, or to be opened again
	ready bool     // file is locked and ends in a whole line
	torn  bool     // beyond good lies what a failed append has left
	good  int64    // length of the file without that
	buf   []byte
}

// open opens the file at path, or makes it, and refuses what cannot be appended to.
func (l *log) open() error {
	file, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_NONBLOCK, l.mode) // a FIFO must not block the open
	if err != nil {
		return fmt.Errorf("open the file of the sink: %w", err)
	}
	l.file, l.ready, l.torn = file, false, false
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file: use sink.stdout for pipes and devices", l.path)
	}
	if err == nil {
		_, err = l.wholeLength() // what is torn is cut off later, under the lock
	}
	if err != nil {
		return errors.Join(err, l.close())
	}
	return nil
}

// close lets the file and its lock go.
func (l *log) close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// append writes b and flushes it. On an error the file is as it was, or will be before anything else is written to it.
func (l *log) append(b []byte) error {
	if err := l.prepare(); err != nil {
		return err
	}
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	l.good, l.torn = info.Size(), true
	if _, err := l.disk.write(l.file, b); err != nil {
		return errors.Join(err, l.cut())
	}
	// After a failed fsync the kernel may call pages clean that never reached the disk: flushing again would lie. Cutting
	// them off and writing them again makes them dirty again.
	if err := l.disk.sync(l.file); err != nil {
		return errors.Join(err, l.cut())
	}
	l.torn = false
	return nil
}

// prepare makes sure that the open file is the one at path, that it is ours alone, and that it ends in a whole line.
func (l *log) prepare() error {
	if l.file != nil {
		opened, err := l.file.Stat()
		if err != nil {
			return err
		}
		if there, err := os.Stat(l.path); err != nil || !os.SameFile(opened, there) { // renamed, deleted, replaced
			if err := l.close(); err != nil {
				return err
			}
		}
	}
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.torn {
		return l.cut()
	}
	if l.ready {
		return nil
	}
	if err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return errLocked
		}
		return fmt.Errorf("lock: %w", err)
	}
	good, err := l.wholeLength()
	if err != nil {
		return err
	}
	l.good, l.torn = good, true
	if err := l.cut(); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(l.path)); err != nil { // a new file's name is not durable before that
		return err
	}
	l.ready = true
	return nil
}

// cut cuts off what lies beyond the good length.
func (l *log) cut() error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() > l.good {
		if err := l.file.Truncate(l.good); err != nil {
			return fmt.Errorf("cut off a torn line at byte %d: %w", l.good, err)
		}
		if err := l.disk.sync(l.file); err != nil {
			return fmt.Errorf("cut off a torn line at byte %d: %w", l.good, err)
		}
	}
	l.torn = false
	return nil
}

// wholeLength is the length of the file up to the end of its last whole line. What follows must be the beginning of a line
// of ours.
func (l *log) wholeLength() (int64, error) {
	info, err := l.file.Stat()
	if err != nil {
		return 0, err
	}
	const step = 64 << 10
	chunk := make([]byte, step+len(lineStart))
	for end := info.Size(); ; {
		begin := max(0, end-step)
		n, err := l.file.ReadAt(chunk[:min(info.Size()-begin, int64(len(chunk)))], begin)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("read the end of the file: %w", err)
		}
		newline := bytes.LastIndexByte(chunk[:min(n, int(end-begin))], '\n')
		if newline < 0 && begin > 0 {
			end = begin
			continue
		}
		good := begin + int64(newline) + 1
		tail := chunk[newline+1 : n]
		tail = tail[:min(len(tail), len(lineStart))]
		if !bytes.HasPrefix([]byte(lineStart), tail) {
			return 0, fmt.Errorf("%s ends in a line that is not ours (byte %d begins %q): end that line, or name another file", l.path, good, tail)
		}
		return good, nil
	}
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: a file system that has nothing to flush
		return fmt.Errorf("flush directory %s: %w", path, err)
	}
	return nil
}
