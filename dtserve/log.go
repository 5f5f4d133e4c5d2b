package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"dt/internal/hist"
)

// Bounds of a Log.
const (
	syncEvery  = time.Second
	maxUnsaved = 16 << 20 // bytes of lines that wait while they can't be written
)

// A Log is the file of --log: every line taken, as it came, in order, so that a restart has its history back.
//
// A line and its line feed are appended with one write(2) before Append returns, so that all lines taken survive a kill -9. The file is synced
// within a second of a line and at the end, so that a power cut takes at most the last second. A write that fails (a full disk) is told once;
// the server goes on, what was written of the line is cut off again, and each later line tries anew with all that could not be
// written before, up to 16 MiB; more than that is counted and told.
//
// One server at a time has the file: it is locked. Who renames it has it written on under the new name.
type Log struct {
	path string
	say  func(format string, args ...any)

	mu      sync.Mutex
	file    logFile
	size    int64 // of the whole lines in the file
	torn    bool  // there may be more in the file
	unsaved []byte
	lines   int // in unsaved
	lost    int // lines that unsaved had no room for
	failing bool
	dirty   bool // written since the last sync
	syncBad bool // a sync failed, and it was told

	stop    chan struct{}
	stopped chan struct{}
}

// A logFile is what a Log does with its file.
type logFile interface {
	io.Writer
	Truncate(size int64) error
	Sync() error
	Close() error
}

// OpenLog opens a log for appending, made when it is not there, and gives the lines that it has to read, in order, with their times of arrival in unix µs.
// text is valid during the call, an error of which ends the reading. say tells one line for people.
//
// The arrival of a line that was logged is taken to be its Index, the time at which its window closed: live that is the same within a moment.
// A line without one (a progress line), or with one in the future, gets that of the line before; the first ones get the file's time.
//
// What a crash left of the last line, without a line feed or not to be read, is cut off and told; where only the line feed is missing, it is written.
// A bad line before it is counted and told, and stays. A file in which no line is a result line is not touched but refused, since it is not a log.
func OpenLog(path string, read func(l *hist.Line, text []byte, arrived int64) error, say func(format string, args ...any)) (*Log, error) {
	_, err := os.Stat(path)
	isNew := errors.Is(err, os.ErrNotExist)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	l := &Log{path: path, say: say, file: f, stop: make(chan struct{}), stopped: make(chan struct{})}
	if err := l.open(f, isNew, read); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	go l.syncing()
	return l, nil
}

func (l *Log) open(f *os.File, isNew bool, read func(l *hist.Line, text []byte, arrived int64) error) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("is no regular file, so it can't be a log")
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return errors.New("is the log of another dtserve that runs; each needs its own")
	case err != nil:
		return fmt.Errorf("can't be locked: %w", err)
	}
	if isNew {
		// So that a power cut does not take the new file's name.
		if dir, err := os.Open(filepath.Dir(l.path)); err == nil {
			_ = dir.Sync()
			dir.Close()
		}
	}
	return l.readBack(f, info.ModTime().UnixMicro(), read)
}

// readBack reads what is there and repairs the end.
func (l *Log) readBack(f *os.File, arrived int64, read func(l *hist.Line, text []byte, arrived int64) error) error {
	now := time.Now().UnixMicro()
	var (
		r         = bufio.NewReaderSize(f, 1<<20)
		n         = 0    // of the line
		good, bad = 0, 0 // lines
		lastBad   error  // of the last line that is not blank, when it is bad
		lastN     int    // its number
		badErr    error  // of the first bad one before it
		firstBad  int    // its number
		from, end int64  // of the last line that is not blank
		whole     = true // it has a line feed, or is bad in another way than by being torn
	)
	for {
		text, length, err := readLine(r)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if length == 0 {
			break
		}
		n++
		start := end
		end += length
		if length <= hist.MaxLine && len(bytes.TrimSpace(text)) == 0 && err == nil {
			continue
		}
		if lastBad != nil {
			// The bad line before was not the last one.
			bad++
			if badErr == nil {
				firstBad, badErr = lastN, lastBad
			}
		}
		from, whole = start, err == nil
		line, wrong := parseLogged(text, length)
		lastBad, lastN = wrong, n
		if wrong != nil {
			whole = whole || json.Valid(text) // what is torn is not
			continue
		}
		good++
		if line.Index > 0 && line.Index <= now {
			arrived = line.Index
		}
		if err := read(line, bytes.TrimRight(text, "\r\n"), arrived); err != nil {
			return err
		}
	}
	l.size = end
	if good == 0 && (bad > 0 || lastBad != nil && (whole || !l.begins(f, from))) {
		if badErr == nil {
			badErr = lastBad
		}
		return fmt.Errorf("is no log of result lines: %w", badErr)
	}
	if bad > 0 {
		l.say("%s: %d bad lines among %d are left out, the first is line %d: %v", l.path, bad, n, firstBad, badErr)
	}
	switch {
	case lastBad != nil:
		l.say("%s: the last line was torn, by a crash or a full disk; its %d bytes are cut off", l.path, end-from)
		if err := f.Truncate(from); err != nil {
			return err
		}
		l.size = from
	case !whole:
		l.say("%s: the last line had no line feed; it gets one", l.path)
		if _, err := f.Write([]byte{'\n'}); err != nil {
			return err
		}
		l.size++
	}
	return nil
}

// begins reports whether what is at an offset looks like the beginning of a result line.
func (l *Log) begins(f *os.File, at int64) bool {
	head := make([]byte, 2)
	n, _ := f.ReadAt(head, at)
	return bytes.HasPrefix([]byte(`{"`), head[:n])
}

// parseLogged reads a line, of which length bytes stand in the file.
func parseLogged(text []byte, length int64) (*hist.Line, error) {
	if length > int64(len(text)) {
		return nil, fmt.Errorf("a line of %d bytes is longer than %d", length, hist.MaxLine)
	}
	return hist.ParseAny(bytes.TrimRight(text, "\r\n"))
}

// readLine reads a line with its line feed, the last one may have none. Of a line that is too long only a part is returned; length is the bytes that it has.
// The text is valid until the next call. An error is that of the file, or io.EOF behind the last line or at its end without a line feed.
func readLine(r *bufio.Reader) (text []byte, length int64, err error) {
	text, err = r.ReadSlice('\n')
	length = int64(len(text))
	if !errors.Is(err, bufio.ErrBufferFull) {
		return text, length, err
	}
	text = bytes.Clone(text)
	for errors.Is(err, bufio.ErrBufferFull) {
		var more []byte
		more, err = r.ReadSlice('\n')
		length += int64(len(more))
		if length <= hist.MaxLine+2 {
			text = append(text, more...)
		}
	}
	return text, length, err
}

// Append writes a line, text without a line feed. It returns no error: what fails is told, and tried again.
func (l *Log) Append(text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.unsaved) > 0 && len(l.unsaved)+len(text) > maxUnsaved {
		l.lost++
	} else {
		l.unsaved = append(append(l.unsaved, text...), '\n')
		l.lines++
	}
	l.write()
}

// write writes what is unsaved.
func (l *Log) write() {
	err := error(nil)
	if l.torn {
		if err = l.file.Truncate(l.size); err == nil {
			l.torn = false
		}
	}
	if err == nil {
		n := 0
		n, err = l.file.Write(l.unsaved)
		l.torn = err != nil && n > 0
		if l.torn && l.file.Truncate(l.size) == nil {
			l.torn = false
		}
	}
	if err != nil {
		if !l.failing {
			l.say("%s: %v; the page goes on, and writing is tried again with each line", l.path, withoutPath(err))
		}
		l.failing = true
		return
	}
	l.size += int64(len(l.unsaved))
	l.dirty = true
	if l.failing {
		if l.lost > 0 {
			l.say("%s: is written again; %d lines are missing in it", l.path, l.lost)
		} else {
			l.say("%s: is written again; nothing is missing", l.path)
		}
	}
	l.failing, l.lost, l.lines = false, 0, 0
	if l.unsaved = l.unsaved[:0]; cap(l.unsaved) > 1<<20 {
		l.unsaved = nil
	}
}

// withoutPath takes the path out of an error, that what is told has already.
func withoutPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// syncing syncs the file while lines come.
func (l *Log) syncing() {
	defer close(l.stopped)
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			l.sync()
		}
	}
}

// sync syncs what was written. Appending goes on meanwhile.
func (l *Log) sync() {
	l.mu.Lock()
	dirty := l.dirty
	l.dirty = false
	l.mu.Unlock()
	if !dirty {
		return
	}
	err := l.file.Sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && !l.syncBad {
		l.say("%s: can't be synced: %v; a power cut may take lines", l.path, withoutPath(err))
	}
	l.syncBad = err != nil
}

// Close writes what is unsaved, syncs, and closes the file. The error says what could not be written.
func (l *Log) Close() error {
	close(l.stop)
	<-l.stopped
	l.mu.Lock()
	if len(l.unsaved) > 0 {
		l.write()
	}
	lost := l.lines + l.lost
	l.mu.Unlock()
	l.sync()
	err := l.file.Close()
	if lost > 0 {
		return fmt.Errorf("%s: %d lines could not be written", l.path, lost)
	}
	return err
}
