package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

// A logFile keeps the lines of --log, each whole. It is what dtcat --resume-from begins behind.
type logFile struct {
	f      *os.File
	name   string
	synced time.Time
	last   []hist.LaneState // of the last line that says how far its lane is written
}

// syncEvery bounds what a power cut may take; what is lost is made again.
const syncEvery = time.Second

// openLog opens a log for this process alone, cuts off a last line that is torn, and finds out how far it has come.
func openLog(name string) (*logFile, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o666) //nolint:gosec // as the user's mask has it
	if err != nil {
		return nil, fmt.Errorf("--log %w", tool.Plain(err))
	}
	l := &logFile{f: f, name: name}
	if err := l.begin(); err != nil {
		f.Close()
		return nil, fmt.Errorf("--log %w", err)
	}
	return l, nil
}

func (l *logFile) begin() error {
	info, err := l.f.Stat()
	if err != nil {
		return tool.Plain(err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: is no regular file", l.name)
	}
	switch err := unix.Flock(int(l.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return tool.Hint(fmt.Errorf("%s: another dthist writes it", l.name), "each run wants its own")
	case err != nil && !errors.Is(err, unix.ENOLCK) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS): // a file system without locks
		return fmt.Errorf("%s: %w", l.name, err)
	}
	end := info.Size()
	tail, start, err := l.lineBefore(end)
	if err != nil {
		return err
	}
	if end > 0 && tail[0] != '{' {
		return tool.Hint(fmt.Errorf("%s: its last line is no result line", l.name), "is that file what dthist --log wrote?")
	}
	if end > 0 && tail[len(tail)-1] != '\n' {
		if err := l.f.Truncate(start); err != nil { // its writer died
			return tool.Plain(err)
		}
		end = start
	}
	for at := end; at > 0 && l.last == nil; at = start {
		if tail, start, err = l.lineBefore(at); err != nil {
			return err
		}
		if l.last, _, _, err = hist.ParseResume(tail); err != nil {
			return tool.Hint(fmt.Errorf("%s: byte %d: %w", l.name, start, err), "is that file what dthist --log wrote?")
		}
	}
	return nil
}

// lineBefore returns the line that ends at an offset, with its line feed if it has one, and where it begins.
func (l *logFile) lineBefore(end int64) (line []byte, start int64, err error) {
	const piece = 64 << 10
	for start = end; start > 0; {
		n := min(piece, start)
		more := make([]byte, n, int(n)+len(line))
		if _, err := l.f.ReadAt(more, start-n); err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, tool.Plain(err)
		}
		line = append(more, line...)
		start -= n
		if i := bytes.LastIndexByte(line[:max(0, len(line)-1)], '\n'); i >= 0 {
			return line[i+1:], start + int64(i) + 1, nil
		}
		if len(line) > hist.MaxLine {
			return nil, 0, fmt.Errorf("%s: its last line is longer than %d bytes", l.name, hist.MaxLine)
		}
	}
	return line, 0, nil
}

// goesOn says what is wrong if a lane of the run with which the log ends does not begin where that is.
func (l *logFile) goesOn(at *wire.Lane) error {
	for i := range l.last {
		s := &l.last[i]
		if s.Run != at.Run || s.K != at.K || s.N != at.N {
			continue
		}
		if s.Next == at.FloorNumber && (s.End || s.Epoch == at.FloorEpoch && s.Orbit == int64(at.FloorOrbit)) {
			return nil
		}
		return tool.Hint(fmt.Errorf("--log %s: is written up to record %d of %s, but the stream begins at %d", l.name, s.Next, at.ID(), at.FloorNumber),
			"dtcat --resume-from "+l.name+", or another file")
	}
	return nil
}

func (l *logFile) line(b []byte) error {
	if _, err := l.f.Write(b); err != nil {
		return fmt.Errorf("--log %w", tool.Plain(err))
	}
	if time.Since(l.synced) < syncEvery {
		return nil
	}
	return l.sync()
}

func (l *logFile) sync() error {
	l.synced = time.Now()
	if err := l.f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // what some file systems say to it
		return fmt.Errorf("--log %w", tool.Plain(err))
	}
	return nil
}

func (l *logFile) close() error { return errors.Join(l.sync(), l.f.Close()) }
