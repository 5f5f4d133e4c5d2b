package hist

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Runs puts the lines of runs together: detector windows lane by lane as they come, the rest at the end of a run.
type Runs struct {
	// Emit receives each window, and for each run that is let go one more, the closing one, whose Number is NoNumber: in its Counts is
	// what belongs to no window, often only a ledger, or nothing at all, which need not be written. Where a run had only progress
	// lines it has no chambers. It is Complete if all lanes of the run have ended, exhausted. It may be replaced between calls.
	Emit func(Window) error
	// All makes every window part of the closing one.
	All bool
	// Max bounds the runs at a time, for an input without end: then a run is let go when all its lanes have ended, and where there are
	// more, the one that has been silent longest, what its lanes have not passed incomplete. 0: Flush alone lets go.
	Max int

	runs  map[string]*openRun
	lines int64 // that were added
}

// An openRun is a run that has not been let go.
type openRun struct {
	name    string
	set     *Settings // of the first line with chambers; before that of the first line
	merger  *Merger   // of detector windows
	partial bool
	ended   []bool  // of partial lines: lane k at k−1
	closing *Counts // of lines of no window, or nil
	rest    Rest    // more for the closing window
	whole   bool    // closing and rest are complete, but for lanes that have not ended
	last    int64   // its last line, as lines counts
}

// A RefusedError is of a line that does not fit those before it, and was not added.
type RefusedError struct{ msg string }

func (e *RefusedError) Error() string { return e.msg }

// Refused returns a RefusedError.
func Refused(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// Add takes a line, which must not be used afterwards. Its errors are a *RefusedError and those of Emit.
func (r *Runs) Add(l *Line) error {
	run, err := r.run(l)
	if err != nil {
		return err
	}
	r.lines++
	run.last = r.lines
	if k := l.Lane[0]; l.End || k > 0 && !l.Progress && l.Counts.Set.Clock == All {
		run.ended[k-1] = true
	}
	if err := r.book(run, l); err != nil || r.Max == 0 {
		return err
	}
	if run.partial && !slices.Contains(run.ended, false) {
		return r.close(run)
	}
	if len(r.runs) > r.Max {
		return r.close(slices.MinFunc(slices.Collect(maps.Values(r.runs)), func(a, b *openRun) int { return cmp.Compare(a.last, b.last) }))
	}
	return nil
}

// run returns the run of a line that fits it.
func (r *Runs) run(l *Line) (*openRun, error) {
	name, n, set := l.Window.Run, max(1, l.Lane[1]), l.Counts.Set
	if name == "" && len(l.Lanes) > 0 {
		name = l.Lanes[0].Run
	}
	run := r.runs[name]
	if run == nil {
		if r.runs == nil {
			r.runs = map[string]*openRun{}
		}
		run = &openRun{name: name, set: set, merger: NewMerger(n), partial: l.Lane[0] > 0, ended: make([]bool, n), whole: true}
		run.merger.Emit = func(w Window) error { return r.Emit(w) } // the present one
		run.merger.whole = !run.partial
		r.runs[name] = run
	}
	have := run.set
	switch {
	case run.partial != (l.Lane[0] > 0) || len(run.ended) != n:
		return nil, Refused("of run %s there were partial lines of %d lanes, which this one is none of", name, len(run.ended))
	case have.Digest() != set.Digest():
		return nil, Refused("settings %s, but those of the first line of run %s are %s", set.Digest(), name, have.Digest())
	case l.Progress:
	case len(have.Map.Chambers) == 0:
		run.set = set
	case !have.fits(set):
		return nil, Refused("settings %s, as before, but other bins", set.Digest())
	}
	return run, nil
}

// book takes the counts of a line.
func (r *Runs) book(run *openRun, l *Line) error {
	k, w := l.Lane[0], &l.Window
	switch {
	case l.Progress && r.All:
		run.rest.Add(Rest{Ledger: l.Counts.Ledger, Lanes: l.Lanes})
		run.whole = run.whole && l.Complete
		return nil
	case l.Progress:
		run.merger.Rest(Rest{Ledger: l.Counts.Ledger, Lanes: l.Lanes})
		if l.End {
			return run.merger.End(k, l.Complete)
		}
		return run.merger.Pass(k, w.Epoch, w.Number, l.Complete)
	case r.All, w.Number == NoNumber:
		run.rest.Add(Rest{Lanes: l.Lanes})
		run.whole = run.whole && l.Complete
		if run.closing == nil {
			run.closing = l.Counts
			return nil
		}
		return run.closing.Add(l.Counts)
	}
	err := run.merger.Add(Window{Run: w.Run, Epoch: w.Epoch, Number: w.Number, Complete: l.Complete, Counts: l.Counts, Lanes: l.Lanes})
	if err != nil || k == 0 {
		return err // a line of whole runs: others of the same window may be anywhere
	}
	return run.merger.Pass(k, w.Epoch, w.Number+1, true) // as a partial line says by being there
}

// close lets go of a run.
func (r *Runs) close(run *openRun) error {
	delete(r.runs, run.name)
	whole := run.whole
	if run.partial {
		whole = whole && !slices.Contains(run.ended, false)
	} else if err := run.merger.End(1, true); err != nil {
		return err
	}
	rest, err := run.merger.Flush()
	if err != nil {
		return err
	}
	rest.Add(run.rest)
	c := run.closing
	if c == nil {
		c = NewCounts(run.set)
	}
	c.Ledger.Add(&rest.Ledger)
	return r.Emit(Window{Run: run.name, Number: NoNumber, Complete: whole, Counts: c, Lanes: rest.Lanes})
}

// Flush lets go of all runs, by name; what their lanes have not passed is incomplete.
func (r *Runs) Flush() error {
	for _, name := range slices.Sorted(maps.Keys(r.runs)) {
		if err := r.close(r.runs[name]); err != nil {
			return err
		}
	}
	return nil
}

// Line returns the line of a window; Index and Node are left to whoever writes it.
func (w *Window) Line() *Line {
	return &Line{Window: WindowInfo{Run: w.Run, Epoch: w.Epoch, Number: w.Number}, Counts: w.Counts, Complete: w.Complete, Lanes: JoinStretches(w.Lanes)}
}

// JoinStretches makes one stretch of those of a lane that follow each other. It puts list in order.
func JoinStretches(list []LaneSource) []LaneSource {
	slices.SortFunc(list, func(a, b LaneSource) int {
		return cmp.Or(cmp.Compare(a.Run, b.Run), cmp.Compare(a.K, b.K), cmp.Compare(a.First, b.First), cmp.Compare(a.Next, b.Next))
	})
	var joined []LaneSource
	for _, s := range list {
		if n := len(joined); n > 0 && joined[n-1].Run == s.Run && joined[n-1].K == s.K && joined[n-1].Next == s.First {
			joined[n-1].Next, joined[n-1].Place = s.Next, s.Place
			continue
		}
		joined = append(joined, s)
	}
	return joined
}
