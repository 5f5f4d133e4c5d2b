package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"dt/dtserve/history"
	"dt/dtserve/verdict"
	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

const (
	peek      = 512         // bytes of the input that are looked at to see what it is
	maxRuns   = 16          // of partial lines, at a time
	tellEvery = time.Second // at most one message about bad lines
	shownLine = 200         // characters of one that are shown
)

// A badLines counts what could not be used.
type badLines struct {
	count int64
	last  string // why
	at    time.Time
}

// An ending says when and why no more lines come.
type ending struct {
	at  time.Time
	why string
}

// read takes what comes on standard input until it ends or is stopped.
func (s *server) read(in *wire.Input) error {
	lines := tool.NewLines(in, hist.MaxLine)
	head, _ := lines.Head(1)
	what := tool.Sniff(head[:min(len(head), peek)])
	// One bad line at the start is no reason to refuse the others; the end of one that was torn may look like CSV.
	if hint, refused := hints[what]; refused && !(what == tool.CSV && bytes.Contains(head, []byte("\n{"))) {
		return &fatalError{tool.Hint(fmt.Errorf("input is %s, not result lines", what), hint)}
	}
	got := false
	for {
		text, number, err := lines.Next()
		var long *tool.LongLineError
		switch {
		case err == nil:
			got = true
			s.take(text, number, time.Now())
		case errors.As(err, &long):
			s.badLine(number, err)
		case errors.Is(err, io.EOF) && !got:
			return tool.Hint(errEmpty, "did the program before this one fail?")
		case errors.Is(err, io.EOF), errors.Is(err, wire.ErrStopped):
			return nil
		default:
			return err
		}
	}
}

var errEmpty = errors.New("input is empty, no result lines")

// hints says what to do with an input that is refused.
var hints = map[tool.Content]string{
	tool.Stream: "… | dthist | dtserve",
	tool.CSV:    "dtcat FILE | dtfilter | dthist | dtserve",
	tool.JSON:   "dtcat FILE | dtfilter | dthist | dtserve",
	tool.Binary: "dtcat FILE | dtfilter | dthist | dtserve",
	tool.Gzip:   "zcat FILE | dtserve",
	tool.Zstd:   "zstdcat FILE | dtserve",
}

// take takes a line that has just come.
func (s *server) take(text []byte, number int64, at time.Time) {
	arrived := at.UnixMicro()
	l, err := hist.ParseAny(text)
	if err == nil {
		err = s.line(l, text, arrived, true)
	}
	switch {
	case isOld(err):
		s.metrics.doubled.Inc() // a source that was read again
		return
	case err != nil:
		s.badLine(number, err)
		if !errors.Is(err, history.ErrTooLate) {
			return
		}
	}
	if s.log != nil {
		s.log.Append(text)
	}
	s.changed()
}

// isOld reports whether an error only says that a line, or a newer one of its window, is there already.
func isOld(err error) bool {
	return errors.Is(err, hist.ErrDouble) || errors.Is(err, history.ErrDouble) || errors.Is(err, history.ErrSuperseded)
}

// line takes a line, which may be one of the log.
func (s *server) line(l *hist.Line, text []byte, arrived int64, isNew bool) error {
	if l.Progress || l.Lane[0] > 0 {
		s.runs.Emit = func(w hist.Window) error {
			if w.Number == hist.NoNumber && (len(w.Counts.Chambers) == 0 || w.Counts.Total() == 0 && w.Counts.Ledger.Empty()) {
				return nil
			}
			whole := w.Line()
			whole.Index, whole.Node = arrived, l.Node
			return s.add(whole, whole.Append(nil), arrived, isNew)
		}
		return s.runs.Add(l)
	}
	return s.add(l, text, arrived, isNew)
}

// add takes a line of whole runs. With history.ErrTooLate its ledger was taken.
func (s *server) add(l *hist.Line, text []byte, arrived int64, isNew bool) error {
	w, was, err := s.history.Add(l, text, arrived)
	if err != nil && !errors.Is(err, history.ErrTooLate) {
		return err
	}
	s.judging.Lock()
	s.judge.Add(&verdict.Window{
		ID: w.ID, Run: w.Run, Epoch: w.Epoch, Arrived: w.Arrived, End: w.End, Live: w.Live,
		Revision: w.Revision, Bookkeeping: w.Bookkeeping, Bare: w.Bare, Missing: len(w.Missing), Lanes: w.Lanes,
	}, l.Counts)
	s.judging.Unlock()
	if l.Node != "" {
		s.mu.Lock()
		s.nodeName = l.Node
		s.mu.Unlock()
	}
	if isNew {
		s.metrics.count(w, was, &l.Counts.Ledger, w == s.history.Newest())
	}
	return err
}

// node returns the host that the newest lines come from.
func (s *server) node() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodeName
}

// badLine counts a line that can't be used, and tells of it, but not of each when there are many.
func (s *server) badLine(number int64, err error) {
	why := strings.ToValidUTF8(err.Error(), "�")
	if len(why) > shownLine {
		why = strings.ToValidUTF8(why[:shownLine], "") + "…"
	}
	now := time.Now()
	s.mu.Lock()
	s.bad.count++
	s.bad.last, s.bad.at = fmt.Sprintf("line %d: %s", number, why), now
	s.mu.Unlock()
	s.metrics.bad.Inc()
	if now.Sub(s.saidBad) < tellEvery {
		s.unsaid++
		return
	}
	more := ""
	if s.unsaid > 0 {
		more = fmt.Sprintf(" (and %d more before it)", s.unsaid)
	}
	s.env.Say("standard input:%d: %s%s", number, printable(why), more)
	s.saidBad, s.unsaid = now, 0
	s.changed()
}

// printable returns a text as a terminal can show it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, text)
}

// A fatalError ends the program: the input is something else.
type fatalError struct{ error }

func (e *fatalError) Unwrap() error { return e.error }

// feed takes the log, and then standard input, and says at the end that no more comes.
func (s *server) feed(in *wire.Input, logFile string) error {
	if logFile != "" {
		old := func(l *hist.Line, text []byte, arrived int64) error {
			if s.stopping.Load() {
				return wire.ErrStopped
			}
			if err := s.line(l, text, arrived, false); err != nil && !isOld(err) {
				s.env.Say("%s: a line is left out: %v", logFile, err)
			}
			return nil
		}
		var err error
		switch s.log, err = OpenLog(logFile, old, s.env.Say); {
		case errors.Is(err, wire.ErrStopped):
			return nil
		case err != nil:
			return &fatalError{tool.Plain(err)}
		}
		s.changed()
	}
	err := s.read(in)
	if flushed := s.runs.Flush(); err == nil && flushed != nil {
		err = flushed
	}
	if s.unsaid > 0 {
		s.env.Say("%d more lines could not be used", s.unsaid)
		s.unsaid = 0
	}
	why := "the input has ended"
	if err != nil {
		why = tool.Plain(err).Error()
	}
	s.mu.Lock()
	s.end = ending{time.Now(), why}
	s.mu.Unlock()
	s.changed()
	return err
}
