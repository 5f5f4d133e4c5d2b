package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

// maxLine bounds a line that is read.
const maxLine = 64 << 20

// peek is how much of the input is looked at to see whether it is lines.
const peek = wire.PreambleSize

// A merging puts lines together: partial lines of detector windows lane by lane as they come, all other lines that
// belong to one window at the end.
type merging struct {
	env      *tool.Env
	out      *output
	all      bool
	runs     map[string]*mergingRun
	settings string         // digest of the first line
	set      *hist.Settings // of the first line with counts
	n        int            // of the line
	bad      int

	total    *hist.Counts // of lines that all become one
	complete bool         // of total
	rest     hist.Rest    // of no window
}

// A mergingRun is one run.
type mergingRun struct {
	merger  *hist.Merger // of detector windows
	partial bool
	lanes   []bool // of partial lines: lane k at k−1 has ended
}

// merge is dthist --merge.
func merge(env *tool.Env, in *wire.Input, out *output, all bool) error {
	m := &merging{env: env, out: out, all: all, runs: map[string]*mergingRun{}, complete: true}
	r := bufio.NewReaderSize(&awaited{in}, 1<<20)
	if head, err := r.Peek(peek); len(head) > 0 {
		head, _ = r.Peek(r.Buffered())
		if what := tool.Sniff(head); what != tool.Results {
			return tool.Hint(fmt.Errorf("input is %s, not result lines", what), mergeUsage)
		}
	} else if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, wire.ErrStopped) {
		return err
	}
	var long []byte
	stopped := false
	for {
		text, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || len(long) > 0 {
			long = append(long, text...)
			if len(long) > maxLine {
				return fmt.Errorf("standard input:%d: a line of more than %d bytes", m.n+1, maxLine)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			text = long
			long = nil
		}
		if errors.Is(err, wire.ErrStopped) {
			stopped = true
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(bytes.TrimSpace(text)) > 0 {
			m.n++
			if err := m.line(text); err != nil {
				return err
			}
		}
		if err != nil {
			break
		}
	}
	if m.n == 0 && !stopped {
		return tool.Hint(errors.New("input is empty, no result lines"), "did the program before this one fail?")
	}
	if err := m.finish(); err != nil {
		return err
	}
	if m.bad > 0 {
		env.Say("%d of %d lines could not be used", m.bad, m.n)
		return tool.ErrTold
	}
	return nil
}

// awaited reads an input that may be stopped while it waits.
type awaited struct{ in *wire.Input }

func (a *awaited) Read(p []byte) (int, error) {
	if err := a.in.Await(func() (time.Duration, error) { return 0, nil }); err != nil {
		return 0, err
	}
	return a.in.Read(p)
}

// line takes one line. One that can't be used is told and counted.
func (m *merging) line(text []byte) error {
	l, err := hist.ParseLine(bytes.TrimRight(text, "\r\n"))
	if err == nil {
		err = m.add(l)
	}
	var refused *refusedLine
	switch {
	case errors.As(err, &refused), err != nil && l == nil:
		m.bad++
		m.env.Say("standard input:%d: %v", m.n, err)
		return nil
	}
	return err
}

// A refusedLine is one that does not fit the others.
type refusedLine struct{ msg string }

func (e *refusedLine) Error() string { return e.msg }

func (m *merging) add(l *hist.Line) error {
	digest := l.Counts.Set.Digest()
	if m.settings == "" {
		m.settings = digest
	}
	if digest != m.settings {
		return &refusedLine{fmt.Sprintf("settings %s, but those of the first line are %s; lines with different bins, windows or maps do not add up", digest, m.settings)}
	}
	if !l.Progress && m.set == nil {
		m.set = l.Counts.Set
	}
	r, err := m.run(l)
	if err != nil {
		return err
	}
	k := l.Lane[0]
	if l.End || k > 0 && !l.Progress && l.Counts.Set.Clock == hist.All {
		r.lanes[k-1] = true
	}
	rest := hist.Rest{Ledger: l.Counts.Ledger, Lanes: l.Lanes}
	windowed := !m.all && (l.Progress || l.Counts.Set.Clock == hist.Detector) // there is progress of detector windows only
	switch {
	case l.Progress && !windowed:
		m.rest.Add(rest)
		m.complete = m.complete && l.Complete
		return nil
	case l.Progress:
		r.merger.Rest(rest)
		if l.End {
			return r.merger.End(k, l.Complete)
		}
		return r.merger.Pass(k, l.Window.Epoch, l.Window.Number, l.Complete)
	case !windowed:
		if m.total == nil {
			m.total = hist.NewCounts(m.set)
		}
		m.complete = m.complete && l.Complete
		m.rest.Lanes = append(m.rest.Lanes, l.Lanes...)
		return m.total.Add(l.Counts)
	case l.Window.Number == hist.NoNumber:
		m.rest.Add(rest)
		m.complete = m.complete && l.Complete
		return nil
	}
	w := hist.Window{Run: l.Window.Run, Epoch: l.Window.Epoch, Number: l.Window.Number, Complete: l.Complete, Counts: l.Counts, Lanes: l.Lanes}
	if err := r.merger.Add(w); err != nil || k == 0 {
		return err // a line of whole runs: others of the same window may be anywhere
	}
	return r.merger.Pass(k, l.Window.Epoch, l.Window.Number+1, true) // as a partial line says by being there
}

// run returns the run of a line.
func (m *merging) run(l *hist.Line) (*mergingRun, error) {
	name, n := l.Window.Run, max(1, l.Lane[1])
	if name == "" && len(l.Lanes) > 0 {
		name = l.Lanes[0].Run
	}
	r := m.runs[name]
	if r == nil {
		r = &mergingRun{merger: hist.NewMerger(n), partial: l.Lane[0] > 0, lanes: make([]bool, n)}
		r.merger.Emit = m.emit
		m.runs[name] = r
	}
	if r.partial != (l.Lane[0] > 0) || len(r.lanes) != n {
		return nil, &refusedLine{fmt.Sprintf("of run %s there were partial lines of %d lanes, which this one is none of", name, len(r.lanes))}
	}
	return r, nil
}

// emit writes a window.
func (m *merging) emit(w hist.Window) error {
	return m.out.line(&hist.Line{
		Window: hist.WindowInfo{Run: w.Run, Epoch: w.Epoch, Number: w.Number},
		Counts: w.Counts, Complete: w.Complete, Lanes: joinStretches(w.Lanes),
	})
}

// finish writes what is left.
func (m *merging) finish() error {
	whole := m.complete
	for _, name := range slices.Sorted(maps.Keys(m.runs)) {
		r := m.runs[name]
		if r.partial {
			whole = whole && !slices.Contains(r.lanes, false)
		} else if err := r.merger.End(1, true); err != nil {
			return err
		}
		rest, err := r.merger.Flush()
		if err != nil {
			return err
		}
		m.rest.Add(rest)
	}
	if m.set == nil || m.total == nil && m.rest.Ledger.Empty() {
		return nil
	}
	if m.total == nil {
		m.total = hist.NewCounts(m.set)
	}
	if m.all {
		m.total.Relabel()
	}
	m.total.Ledger.Add(&m.rest.Ledger)
	return m.emit(hist.Window{Number: hist.NoNumber, Complete: whole, Counts: m.total, Lanes: m.rest.Lanes})
}
