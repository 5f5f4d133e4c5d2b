package hist

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"dt/internal/hit"
)

// Runs puts the lines of runs together: detector windows lane by lane as they come, the rest at the end of a run. Partial lines are links of their lanes' chains
// (RESUME.md): each is taken once, however often it comes.
type Runs struct {
	// Emit receives each window, and for each run that is let go one more, the closing one, whose Number is NoNumber: in its Counts is
	// what belongs to no window, often only a ledger, or nothing at all, which need not be written. Where a run had only progress
	// lines it has no chambers. It is Complete if all lanes of the run have ended, exhausted. It may be replaced between calls.
	Emit func(Window) error
	// Gap, if not nil, is told of lines that are missing: those of a lane with as many records before number next.
	Gap func(run string, lane int, records, next uint64)
	// All makes every window part of the closing one.
	All bool
	// Max bounds the runs at a time, for an input without end: where there are more, the one that has been silent longest is let go, what its lanes have
	// not passed incomplete. 0: no bound. A run of partial lines is let go when all its lanes have ended.
	Max int
	// Patience is how long a lane may be silent, see Overdue; 0: for ever.
	Patience time.Duration

	runs   map[string]*openRun
	ended  []string // runs that were let go, the latest last
	lines  int64    // that were added
	places []Place  // where lines have come from, up to behind the last
	floor  []Place  // where a merge was taken up, while windows that were open then are not read again
}

// endedRuns is how many runs are known by name after their end, so that lines which come once more make no new run.
const endedRuns = 64

// An openRun is a run that has not been let go.
type openRun struct {
	name    string
	set     *Settings // of the first line with chambers; before that of the first line; nil: none came since the merge was taken up
	merger  *Merger   // of detector windows
	partial bool
	ended   []bool  // of partial lines: lane k at k−1
	closing *Counts // of lines of no window, or nil
	rest    Rest    // more for the closing window
	whole   bool    // closing and rest are complete, but for lanes that have not ended
	last    int64   // its last line, as lines counts
}

// ErrDouble is the error of a line that came before.
var ErrDouble = errors.New("the line was here before")

// A RefusedError is of a line that does not fit those before it, and was not added.
type RefusedError struct{ msg string }

func (e *RefusedError) Error() string { return e.msg }

// Refused returns a RefusedError.
func Refused(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// Add takes a line, which must not be used afterwards. Its errors are ErrDouble, a *RefusedError and those of Emit.
func (r *Runs) Add(l *Line) error {
	r.comesFrom(l.From)
	run, err := r.run(l)
	if err != nil {
		return err
	}
	r.lines++
	run.last = r.lines
	k := l.Lane[0]
	if k > 0 {
		run.merger.Heard(k, time.Now())
	}
	if err := r.book(run, l); err != nil {
		return err
	}
	if l.End || k > 0 && !l.Progress && l.Counts.Set.Clock == All {
		run.ended[k-1] = true
	}
	if run.over() && !(r.All && r.Max == 0) {
		return r.close(run)
	}
	if r.Max > 0 && len(r.runs) > r.Max {
		return r.close(slices.MinFunc(slices.Collect(maps.Values(r.runs)), func(a, b *openRun) int { return cmp.Compare(a.last, b.last) }))
	}
	return nil
}

// comesFrom notes where a line came from.
func (r *Runs) comesFrom(f *From) {
	if f == nil {
		return
	}
	for i := range r.places {
		if p := &r.places[i]; p.Name == f.Name && p.Partition == f.Partition {
			p.Offset = max(p.Offset, uint64(f.Offset)+1)
			return
		}
	}
	r.places = append(r.places, Place{Name: f.Name, Partition: f.Partition, Offset: uint64(f.Offset) + 1})
}

// run returns the run of a line that fits it.
func (r *Runs) run(l *Line) (*openRun, error) {
	name, n, set := l.Window.Run, max(1, l.Lane[1]), l.Counts.Set
	if name == "" && len(l.Lanes) > 0 {
		name = l.Lanes[0].Run
	}
	run := r.runs[name]
	if run == nil {
		if l.Lane[0] > 0 && slices.Contains(r.ended, name) {
			return nil, ErrDouble
		}
		run = r.open(name, n, l.Lane[0] > 0)
		run.set = set
	}
	if run.set == nil {
		run.set = set
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

// open begins a run of n lanes.
func (r *Runs) open(name string, n int, partial bool) *openRun {
	if r.runs == nil {
		r.runs = map[string]*openRun{}
	}
	run := &openRun{name: name, merger: NewMerger(n), partial: partial, ended: make([]bool, n), whole: true}
	run.merger.Emit = func(w Window) error {
		if r.All {
			return run.close(&w)
		}
		return r.Emit(w) // the present one
	}
	run.merger.Patience = r.Patience
	run.merger.whole = !partial
	r.runs[name] = run
	return run
}

// book takes the counts of a line.
func (r *Runs) book(run *openRun, l *Line) error {
	k, w, m := l.Lane[0], &l.Window, run.merger
	win := Window{Run: w.Run, Epoch: w.Epoch, Number: w.Number, Complete: l.Complete, Counts: l.Counts, Lanes: l.Lanes}
	at := win.key()
	if l.End || w.Number == NoNumber {
		at = end
	}
	isLink := true
	if k > 0 && len(l.Lanes) == 1 {
		is, missing, err := m.link(k, at, !l.Progress, &l.Lanes[0])
		switch {
		case err != nil:
			return err
		case l.Progress && run.ended[k-1]:
			return ErrDouble
		case !is && !l.Progress:
			if was, err := m.Again(k, win, l.From); was {
				return err
			}
			return ErrDouble
		}
		if missing > 0 {
			l.Counts.Ledger.Missing += int64(missing)
			if r.Gap != nil {
				r.Gap(run.name, k, missing, l.Lanes[0].First)
			}
		}
		isLink = is
	}
	switch {
	case l.Progress && r.All:
		if isLink {
			run.rest.Add(Rest{Ledger: l.Counts.Ledger, Lanes: l.Lanes})
		}
		run.whole = run.whole && l.Complete
		return nil
	case l.Progress:
		if isLink && (l.Lanes == nil || l.Lanes[0].First < l.Lanes[0].Next || !l.Counts.Ledger.Empty()) {
			m.Rest(k, at, Rest{Ledger: l.Counts.Ledger, Lanes: l.Lanes}, l.From)
		}
		if l.End {
			return m.End(k, l.Complete)
		}
		return m.Pass(k, w.Epoch, w.Number, l.Complete)
	case r.All && k > 0, w.Number == NoNumber:
		return run.close(&win)
	}
	err := m.Add(k, win, l.From)
	if err != nil || k == 0 {
		return err // a line of whole runs: others of the same window may be anywhere
	}
	return m.Pass(k, w.Epoch, w.Number+1, l.Complete)
}

// close makes a window part of the closing one.
func (run *openRun) close(w *Window) error {
	run.rest.Add(Rest{Lanes: w.Lanes})
	run.whole = run.whole && w.Complete
	if run.closing == nil {
		run.closing = w.Counts
		return nil
	}
	return run.closing.Add(w.Counts)
}

// over reports whether all of a run is here. Windows that were open when a merge was taken up are read again before.
func (run *openRun) over() bool {
	return run.partial && !slices.Contains(run.ended, false) && !slices.ContainsFunc(run.merger.windows, func(w *waitingWindow) bool { return w.again > 0 })
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
		c = &Counts{Set: cmp.Or(run.set, &Settings{Map: new(hit.Map)})}
		if len(c.Set.Map.Chambers) > 0 {
			c = NewCounts(run.set)
		}
	}
	c.Ledger.Add(&rest.Ledger)
	if run.partial && !slices.Contains(run.ended, false) {
		r.ended = append(r.ended, run.name)
		r.ended = r.ended[max(0, len(r.ended)-endedRuns):]
	}
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

// Overdue hands out the windows that wait for none but lanes which have been silent for longer than Patience, and returns when to look again; the zero
// time: when something has come.
func (r *Runs) Overdue(now time.Time) (next time.Time, err error) {
	for _, name := range slices.Sorted(maps.Keys(r.runs)) {
		run := r.runs[name]
		at, err := run.merger.Overdue(now)
		if err == nil && run.over() && !r.All {
			err = r.close(run) // it waited for what does not come
		}
		if err != nil {
			return time.Time{}, err
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next, nil
}

// Hold makes all lanes heard of: time went by while there was more to read than could be.
func (r *Runs) Hold(now time.Time) {
	for _, run := range r.runs {
		for k := range run.merger.lanes {
			run.merger.Heard(k+1, now)
		}
	}
}

// State returns how far all is written, for the line that is being written; nil: lines did not say where they come from.
func (r *Runs) State() *MergeState {
	if len(r.places) == 0 {
		return nil
	}
	s := &MergeState{Places: slices.Clone(r.places), Ended: r.ended}
	read := true
	for _, name := range slices.Sorted(maps.Keys(r.runs)) {
		run := r.runs[name]
		if !run.partial {
			continue
		}
		at := run.merger.state()
		at.Run = name
		s.Runs = append(s.Runs, at)
		read = run.merger.places(s.lower) && read
	}
	if read {
		r.floor = nil
	}
	for i := range r.floor {
		p := &r.floor[i]
		s.lower(&From{p.Name, p.Partition, int64(p.Offset)})
	}
	return s
}

// lower makes what comes from a place be read again.
func (s *MergeState) lower(f *From) {
	if f == nil {
		return
	}
	for i := range s.Places {
		if p := &s.Places[i]; p.Name == f.Name && p.Partition == f.Partition {
			p.Offset = min(p.Offset, uint64(f.Offset))
		}
	}
}

// TakeUp forgets all, and goes on where another merge was; nil: anew.
func (r *Runs) TakeUp(s *MergeState) {
	r.runs, r.ended, r.places, r.floor = nil, nil, nil, nil
	if s == nil {
		return
	}
	r.places, r.ended = slices.Clone(s.Places), slices.Clone(s.Ended)
	for _, at := range s.Runs {
		if !slices.ContainsFunc(at.Lanes, func(l LaneMerge) bool { return !l.End }) && len(at.Open) == 0 {
			r.ended = append(r.ended, at.Run)
			continue
		}
		run := r.open(at.Run, len(at.Lanes), true)
		run.merger.takeUp(at.Run, at)
		for i, l := range at.Lanes {
			run.ended[i] = l.End
		}
		if len(at.Open) > 0 {
			r.floor = slices.Clone(s.Places)
		}
	}
}

// Line returns the line of a window; Index and Node are left to whoever writes it.
func (w *Window) Line() *Line {
	return &Line{Window: WindowInfo{Run: w.Run, Epoch: w.Epoch, Number: w.Number, Revision: w.Revision}, Counts: w.Counts, Complete: w.Complete,
		Lanes: JoinStretches(w.Lanes), Missing: w.Missing}
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
