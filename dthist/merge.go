package main

import (
	"errors"
	"fmt"
	"io"

	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

// peek is how much of the input is looked at to see whether it is lines.
const peek = wire.PreambleSize

// A merging puts lines together: partial lines of detector windows lane by lane as they come, all other lines that
// belong to one window at the end.
type merging struct {
	env      *tool.Env
	out      *output
	runs     hist.Runs
	settings string         // digest of the first line
	set      *hist.Settings // of the first line with counts
	n        int64          // lines
	bad      int
	total    hist.Window // what is of no window, of all runs
}

// merge is dthist --merge.
func merge(env *tool.Env, in *wire.Input, out *output, all bool) error {
	m := &merging{env: env, out: out, runs: hist.Runs{All: all}, total: hist.Window{Number: hist.NoNumber, Complete: true}}
	m.runs.Emit = m.emit
	lines := tool.NewLines(in, hist.MaxLine)
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
		case errors.Is(err, io.EOF) && m.n == 0:
			return tool.Hint(errors.New("input is empty, no result lines"), "did the program before this one fail?")
		case errors.Is(err, io.EOF), errors.Is(err, wire.ErrStopped):
			return m.finish()
		case err != nil:
			return err
		}
		m.n++
		if err := m.line(text, number); err != nil {
			return err
		}
	}
}

// line takes one line. One that can't be used is told and counted.
func (m *merging) line(text []byte, number int64) error {
	l, err := hist.ParseLine(text)
	if err == nil {
		err = m.add(l)
	}
	var refused *hist.RefusedError
	if errors.As(err, &refused) || err != nil && l == nil {
		m.bad++
		m.env.Say("standard input:%d: %v", number, err)
		return nil
	}
	return err
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

// emit writes a window. What is of no window becomes one line at the end.
func (m *merging) emit(w hist.Window) error {
	if w.Number != hist.NoNumber {
		return m.out.line(w.Line())
	}
	m.total.Complete = m.total.Complete && w.Complete
	m.total.Lanes = append(m.total.Lanes, w.Lanes...)
	if len(w.Counts.Chambers) == 0 {
		m.total.Counts.Ledger.Add(&w.Counts.Ledger)
		return nil
	}
	return m.total.Counts.Add(w.Counts)
}

// finish writes what is left.
func (m *merging) finish() error {
	if m.set != nil {
		m.total.Counts = hist.NewCounts(m.set)
		if err := m.runs.Flush(); err != nil {
			return err
		}
		if m.runs.All {
			m.total.Counts.Relabel()
		}
		if m.total.Counts.Set.Clock != hist.Detector || !m.total.Counts.Ledger.Empty() {
			if err := m.out.line(m.total.Line()); err != nil {
				return err
			}
		}
	}
	if m.bad > 0 {
		m.env.Say("%d of %d lines could not be used", m.bad, m.n)
		return tool.ErrTold
	}
	return nil
}
