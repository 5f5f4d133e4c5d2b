package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

// peek is how much of the input is looked at to see whether it is lines.
const peek = wire.PreambleSize

// A merging puts lines together: partial lines of detector windows lane by lane as they come, all other lines that
// belong to one window at the end. Where lines say where they come from, as those of dtkafka consume --resume-from do, what is written says how to go on behind it, and
// what is not whole when the input ends is left to whoever does.
type merging struct {
	env      *tool.Env
	out      *output
	runs     hist.Runs
	settings string         // digest of the first line
	set      *hist.Settings // of the first line with counts
	n        int64          // lines
	bad      int
	doubled  int
	resumes  bool
	waited   time.Time   // when there was nothing to read
	had      int64       // lines that had come then
	total    hist.Window // what is of no window, of all runs
	rest     hist.Ledger // more of it
}

// merge is dthist --merge.
func merge(env *tool.Env, in *wire.Input, out *output, all bool, patience time.Duration) error {
	m := &merging{env: env, out: out, runs: hist.Runs{All: all, Patience: patience}, total: hist.Window{Number: hist.NoNumber, Complete: true}}
	m.runs.Emit, m.runs.Gap = m.emit, m.gap
	m.waited = time.Now()
	lines := tool.NewLines(in, hist.MaxLine)
	lines.OnWait = m.overdue
	if head, err := lines.Head(peek); len(head) > 0 {
		if what := tool.Sniff(head); what != tool.Results {
			return tool.Hint(fmt.Errorf("input is %s, not result lines", what), mergeUsage)
		}
	} else if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, wire.ErrStopped) {
		return err
	}
	for {
		text, number, err := lines.Next()
		var long *tool.LongLineError
		switch {
		case errors.As(err, &long):
			return fmt.Errorf("standard input:%d: %w", number, err)
		case errors.Is(err, io.EOF) && m.n == 0 && !m.resumes:
			return tool.Hint(errors.New("input is empty, no result lines"), "did the program before this one fail?")
		case errors.Is(err, io.EOF), errors.Is(err, wire.ErrStopped):
			return m.finish()
		case err != nil:
			return err
		}
		if err := m.line(text, number); err != nil {
			return err
		}
	}
}

// overdue writes what waits for silent lanes.
func (m *merging) overdue() (time.Duration, error) {
	now := time.Now()
	if m.n > m.had && now.Sub(m.waited) > time.Second {
		m.runs.Hold(now) // a backlog
	}
	m.waited, m.had = now, m.n
	next, err := m.runs.Overdue(now)
	if err != nil || next.IsZero() {
		return 0, err
	}
	return max(next.Sub(now), time.Millisecond), nil
}

// line takes one line. One that can't be used is told and counted.
func (m *merging) line(text []byte, number int64) error {
	if string(text) == hist.FloorNone {
		m.runs.TakeUp(nil)
		return m.resume()
	}
	l, err := hist.ParseLine(text)
	if err == nil && l.Floor {
		return m.floor(l)
	}
	m.n++
	place := fmt.Sprintf("standard input:%d", number)
	if err == nil {
		if from := l.From; from != nil {
			if err := m.resume(); err != nil {
				return err
			}
			place = fmt.Sprintf("%s[%d]@%d", from.Name, from.Partition, from.Offset)
		}
		err = m.add(l)
	}
	var refused *hist.RefusedError
	switch {
	case errors.Is(err, hist.ErrDouble):
		m.doubled++
	case errors.As(err, &refused) || err != nil && l == nil:
		m.bad++
		m.env.Say("%s: %v", place, err)
	default:
		return err
	}
	return nil
}

// floor begins behind the last line of a merge before this one.
func (m *merging) floor(l *hist.Line) error {
	if l.Merge == nil {
		return errors.New("standard input: the line to go on behind does not say how far that merge had come")
	}
	m.settings, m.set = l.Counts.Set.Digest(), l.Counts.Set
	m.out.last = max(m.out.last, l.Index)
	m.runs.TakeUp(l.Merge)
	return m.resume()
}

// resume notes that what is written can be gone on behind.
func (m *merging) resume() error {
	if m.resumes = true; m.runs.All {
		return tool.Hint(errors.New("standard input: the lines are those that a merge goes on with, but --window all is of lines from their beginning"),
			"dtkafka consume without --resume-from")
	}
	return nil
}

func (m *merging) add(l *hist.Line) error {
	digest := l.Counts.Set.Digest()
	if m.settings == "" {
		m.settings = digest
	}
	if digest != m.settings {
		return hist.Refused("settings %s, but those of the first line are %s; lines with different bins, windows or maps do not add up", digest, m.settings)
	}
	if !l.Progress && m.set == nil {
		m.set = l.Counts.Set
	}
	return m.runs.Add(l)
}

// gap tells of lines that never came.
func (m *merging) gap(run string, lane int, records, next uint64) {
	m.bad++
	m.env.Say("run %s, lane %d: the lines of %d records before record %d are missing", run, lane, records, next)
}

// emit writes a window. What is of no window becomes one line: at the end of all; of a merge that can be taken up, at the end of the run.
func (m *merging) emit(w hist.Window) error {
	if m.resumes && len(w.Counts.Chambers) == 0 && m.set != nil {
		c := hist.NewCounts(m.set)
		c.Ledger = w.Counts.Ledger
		w.Counts = c
	}
	if w.Number != hist.NoNumber || m.resumes && !w.Counts.Ledger.Empty() && len(w.Counts.Chambers) > 0 {
		l := w.Line()
		l.Merge = m.runs.State()
		return m.out.line(l)
	}
	if m.resumes {
		return nil // a run without anything more; there is no line at the end
	}
	m.total.Complete = m.total.Complete && w.Complete
	m.total.Lanes = append(m.total.Lanes, w.Lanes...)
	switch {
	case len(w.Counts.Chambers) == 0:
		m.rest.Add(&w.Counts.Ledger)
	case m.total.Counts == nil:
		m.total.Counts = w.Counts
	default:
		return m.total.Counts.Add(w.Counts)
	}
	return nil
}

// finish writes what is left.
func (m *merging) finish() error {
	if m.set != nil && !m.resumes {
		if err := m.runs.Flush(); err != nil {
			return err
		}
		if m.total.Counts == nil {
			m.total.Counts = hist.NewCounts(m.set)
		}
		m.total.Counts.Ledger.Add(&m.rest)
		if m.runs.All {
			m.total.Counts.Relabel()
		}
		if m.total.Counts.Set.Clock != hist.Detector || !m.total.Counts.Ledger.Empty() {
			if err := m.out.line(m.total.Line()); err != nil {
				return err
			}
		}
	}
	if m.doubled > 0 {
		m.env.Say("%d of %d lines came again, and were left out", m.doubled, m.n)
	}
	if m.bad > 0 {
		m.env.Say("%d of %d lines could not be used", m.bad, m.n)
		return tool.ErrTold
	}
	return nil
}
