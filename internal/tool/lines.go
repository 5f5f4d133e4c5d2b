package tool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"dt/internal/wire"
)

// Lines reads lines of text, of which it keeps one at a time.
type Lines struct {
	// OnWait, if it is set, is called before a read that would block, and again when as much time has gone by as it said; 0: not again. Its error ends the
	// reading. Only of lines of a wire.Input.
	OnWait func() (time.Duration, error)

	src    io.Reader
	await  func(idle func() (time.Duration, error)) error // or nil
	max    int
	buf    []byte
	pos    int   // of the next line in buf
	end    int   // of what was read into buf
	seen   int   // no line ends in buf from pos to here
	number int64 // of the line before pos
	open   bool  // the line before pos had no line feed
	skip   bool  // what comes up to the next line feed is of a line that is too long
	err    error // behind end
}

const (
	linesRead = 256 << 10 // what one read may bring
	linesOver = 64 << 10  // how much larger than the longest line the buffer may become
)

// A LongLineError is a line that was skipped.
type LongLineError struct {
	Number int64 // from 1
	Max    int
}

func (e *LongLineError) Error() string { return fmt.Sprintf("a line of more than %d bytes", e.Max) }

// NewLines returns the lines of an input, of at most max bytes each. It holds max + 64 KiB at most, and only while a line is that long.
func NewLines(in *wire.Input, max int) *Lines {
	l := LinesOf(in, max)
	l.await = in.Await
	return l
}

// LinesOf returns the lines of any reader.
func LinesOf(r io.Reader, max int) *Lines {
	return &Lines{src: r, max: max, buf: make([]byte, min(linesRead, max+linesOver))}
}

// Next returns the next line that is not blank, without its line end, and its number, from 1; blank lines are counted. The text is
// valid until the next call. The last line need not end in a line feed.
//
// A line that is too long is returned as a *LongLineError as soon as it is, and can be read past. Other errors are final: io.EOF, wire.ErrStopped, OnWait's
// and those of reading; a line that was not read to its end because of them is dropped.
func (l *Lines) Next() (text []byte, number int64, err error) {
	for {
		i := bytes.IndexByte(l.buf[l.seen:l.end], '\n')
		last := i < 0 && errors.Is(l.err, io.EOF) && l.pos < l.end
		switch {
		case i >= 0:
			text = l.buf[l.pos : l.seen+i]
			l.pos = l.seen + i + 1
			l.seen, l.open = l.pos, false
		case last:
			text = l.buf[l.pos:l.end]
			l.pos, l.seen, l.open = l.end, l.end, true
		case l.err != nil:
			return nil, 0, l.err
		case l.skip:
			l.pos, l.seen = l.end, l.end
			l.fill()
			continue
		case l.end-l.pos > l.max:
			l.skip = true
			l.number++
			return nil, l.number, &LongLineError{l.number, l.max}
		default:
			l.seen = l.end
			l.fill()
			continue
		}
		if l.skip {
			l.skip = false
			continue
		}
		l.number++
		if len(text) > l.max {
			return nil, l.number, &LongLineError{l.number, l.max}
		}
		if text = bytes.TrimRight(text, "\r"); len(bytes.TrimSpace(text)) > 0 {
			return text, l.number, nil
		}
	}
}

// Open reports whether the line that Next has returned is the last one, and does not end in a line feed: its writer may not have got further.
func (l *Lines) Open() bool { return l.open }

// Head returns the beginning of what Next will return lines of: n bytes or more, or all there is; of n, 64 KiB count at most. It may be called before Next.
func (l *Lines) Head(n int) ([]byte, error) {
	for l.end < min(n, linesOver) && l.err == nil {
		l.fill()
	}
	return l.buf[:l.end], l.err
}

// fill reads once.
func (l *Lines) fill() {
	if l.pos == l.end {
		l.pos, l.end, l.seen = 0, 0, 0
		if len(l.buf) > linesRead {
			l.buf = make([]byte, linesRead)
		}
	}
	if l.end == len(l.buf) && l.pos > 0 {
		l.end = copy(l.buf, l.buf[l.pos:l.end])
		l.seen -= l.pos
		l.pos = 0
	}
	if l.end == len(l.buf) {
		larger := make([]byte, min(2*len(l.buf), l.max+linesOver))
		copy(larger, l.buf)
		l.buf = larger
	}
	if l.await != nil {
		if l.err = l.await(l.idle); l.err != nil {
			return
		}
	}
	for range 100 {
		var n int
		n, l.err = l.src.Read(l.buf[l.end:])
		if l.end += n; n > 0 || l.err != nil {
			return
		}
	}
	l.err = io.ErrNoProgress
}

func (l *Lines) idle() (time.Duration, error) {
	if l.OnWait == nil {
		return 0, nil
	}
	return l.OnWait()
}
