package hist

import (
	"cmp"
	"slices"
	"time"
)

// A Merger puts the windows of the n lanes of one run together, and hands out each when all lanes have passed it, in order. With Patience a
// lane that is silent for too long holds nothing back: windows are handed out without it, and once more when it has come back.
type Merger struct {
	// Emit receives each window. It must not keep the Counts of one that has lanes Missing.
	Emit func(Window) error
	// Patience is how long a lane may be silent, see Overdue; 0: for ever.
	Patience time.Duration

	lanes   []mergeLane // lane k at k−1
	windows []*waitingWindow
	given   key  // windows below it were dropped because too many waited
	whole   bool // windows are of all lanes, so that one handed out early is as complete as it says itself
}

// maxWaiting bounds the windows that wait for a lane, and those that were handed out without one: an hour of 5 s each.
const maxWaiting = 720

// A waitingWindow is one that was not handed out, or not with all its lanes.
type waitingWindow struct {
	Window
	parts []part
	open  bool // it was handed out without lanes that have not passed it
	again int  // parts that it was handed out with, by the merge that was taken up, and that are not here again
}

// A part is what a window has of one lane.
type part struct {
	k    int
	from *From
}

// A Rest is what a ledger has left behind a lane's last window, and the stretches it covers.
type Rest struct {
	Ledger Ledger
	Lanes  []LaneSource
	joinAt int // how many stretches are joined, so that they do not gather for ever
}

// Add adds another rest.
func (r *Rest) Add(o Rest) {
	r.Ledger.Add(&o.Ledger)
	r.Lanes = append(r.Lanes, o.Lanes...)
	if len(r.Lanes) > max(r.joinAt, 64) {
		r.Lanes = JoinStretches(r.Lanes)
		r.joinAt = 2 * len(r.Lanes)
	}
}

type mergeLane struct {
	passed key // every window below has been passed
	ended  bool
	holes  [][2]key  // windows from, up to: hits may be missing
	heard  time.Time // when it last was heard of

	// Its chain: see RESUME.md. Of partial lines only.
	known    bool
	taken    key // its windows below are here, or were
	next     uint64
	rest     Rest // links behind the last window that was handed out, of no window
	restFrom *From
	written  key // its windows below were handed out
	upTo     uint64
}

// A key orders the windows of a run.
type key struct {
	epoch  uint32
	number int64
}

func (a key) compare(b key) int {
	return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.number, b.number))
}

func (w *Window) key() key { return key{w.Epoch, w.Number} }

// end is behind every window.
var end = key{epoch: 1<<32 - 1, number: maxCount}

// NewMerger returns a Merger for a run of n lanes. Emit must be set.
func NewMerger(n int) *Merger {
	m := &Merger{lanes: make([]mergeLane, n)}
	now := time.Now()
	for i := range m.lanes {
		m.lanes[i].heard = now
	}
	return m
}

// find returns where the window of a key is, or belongs.
func (m *Merger) find(k key) (int, bool) {
	return slices.BinarySearchFunc(m.windows, k, func(w *waitingWindow, k key) int { return w.key().compare(k) })
}

// Add takes a window of lane k, from 1; 0: of all lanes.
func (m *Merger) Add(k int, w Window, from *From) error {
	i, found := m.find(w.key())
	if !found {
		if w.key().compare(m.given) < 0 {
			w.Complete = w.Complete && m.whole
			m.join(&w)
			return m.Emit(w) // its lane comes back after the window was dropped
		}
		m.windows = slices.Insert(m.windows, i, &waitingWindow{Window: w})
	} else if k == 0 && m.windows[i].has(w.Lanes) && w.Revision == m.windows[i].Revision {
		return ErrDouble
	} else if err := m.windows[i].add(w); err != nil {
		return err
	}
	if k > 0 {
		m.windows[i].parts = append(m.windows[i].parts, part{k, from})
	}
	return m.bound()
}

// add takes more of a window; or all of it once more, of which one revision stays, with the ledgers of both.
func (w *waitingWindow) add(more Window) error {
	lanes := append(w.Lanes, more.Lanes...)
	switch {
	case w.Counts == nil:
		w.Counts = more.Counts
	case more.Revision > w.Revision:
		more.Counts.Ledger.Add(&w.Counts.Ledger)
		w.Window = more
	case more.Revision < w.Revision:
		w.Counts.Ledger.Add(&more.Counts.Ledger)
	default:
		w.Complete = w.Complete && more.Complete
		if err := w.Counts.Add(more.Counts); err != nil {
			return err
		}
	}
	w.Lanes = lanes
	return nil
}

// has reports whether some of these stretches are in the window already.
func (w *waitingWindow) has(lanes []LaneSource) bool {
	for _, a := range lanes {
		for _, b := range w.Lanes {
			if a.Run == b.Run && a.K == b.K && a.N == b.N && (a.First == b.First && a.Next == b.Next || max(a.First, b.First) < min(a.Next, b.Next)) {
				return true
			}
		}
	}
	return false
}

// bound keeps the number of windows within bounds: of those that wait the oldest is handed out, of those that are open the oldest is given up.
func (m *Merger) bound() error {
	open := 0
	for _, w := range m.windows {
		open += int(bit(w.open))
	}
	if len(m.windows)-open > maxWaiting {
		i := slices.IndexFunc(m.windows, func(w *waitingWindow) bool { return !w.open })
		w := m.windows[i]
		if err := m.handOut(i, false); err != nil {
			return err
		}
		m.given = key{w.Epoch, w.Number + 1}
		m.windows = slices.DeleteFunc(m.windows, func(w *waitingWindow) bool { return w.key().compare(m.given) < 0 })
	} else if open > maxWaiting {
		i := slices.IndexFunc(m.windows, func(w *waitingWindow) bool { return w.open })
		m.windows = slices.Delete(m.windows, i, i+1)
	}
	return nil
}

// Again takes counts of a window that lane k had part in when it was handed out, by the merge that was taken up. It returns false if the window is not one of
// these, or has that part.
func (m *Merger) Again(k int, w Window, from *From) (was bool, err error) {
	i, found := m.find(w.key())
	if !found || m.windows[i].again == 0 || slices.ContainsFunc(m.windows[i].parts, func(p part) bool { return p.k == k }) {
		return false, nil
	}
	at := m.windows[i]
	w.Counts.Ledger, w.Lanes = Ledger{}, nil // they are in a line
	if err := at.add(w); err != nil {
		return true, err
	}
	at.parts = append(at.parts, part{k, from})
	at.again--
	return true, m.emit()
}

// Heard says that something of lane k came.
func (m *Merger) Heard(k int, at time.Time) { m.lanes[k-1].heard = at }

// Pass says that lane k, from 1, has passed every window below (epoch, number); where it was not complete since the last Pass, hits of those may be missing.
func (m *Merger) Pass(k int, epoch uint32, number int64, complete bool) error {
	l := &m.lanes[k-1]
	to := key{epoch, number}
	if to.compare(l.passed) <= 0 {
		return nil
	}
	if !complete {
		l.holes = append(l.holes, [2]key{l.passed, to})
	}
	l.passed = to
	return m.emit()
}

// End says that lane k has ended, exhausted.
func (m *Merger) End(k int, complete bool) error {
	m.lanes[k-1].ended = true
	return m.Pass(k, end.epoch, end.number, complete)
}

// Rest takes what the ledger of lane k has behind its last window, before its End. It goes with the lane's last window that waits, or else into the next that is
// handed out.
func (m *Merger) Rest(k int, rest Rest, from *From) {
	for i := len(m.windows) - 1; i >= 0; i-- {
		w := m.windows[i]
		if w.open || !slices.ContainsFunc(w.parts, func(p part) bool { return p.k == k }) {
			continue
		}
		w.Counts.Ledger.Add(&rest.Ledger)
		w.Lanes = append(w.Lanes, rest.Lanes...)
		return
	}
	l := &m.lanes[k-1]
	if len(l.rest.Lanes) == 0 {
		l.restFrom = from
	}
	l.rest.Add(rest)
}

// Flush hands out what has not been passed by all lanes, incomplete, and returns the ledger that is left.
func (m *Merger) Flush() (Rest, error) {
	for i := 0; i < len(m.windows); {
		if m.windows[i].open {
			i++ // it is out; nothing more came of it
			continue
		}
		if err := m.handOut(i, false); err != nil {
			return Rest{}, err
		}
	}
	m.windows = nil
	var rest Rest
	for i := range m.lanes {
		rest.Add(m.lanes[i].rest)
		m.lanes[i].rest = Rest{}
	}
	return rest, nil
}

// Complete reports whether all lanes have ended, exhausted.
func (m *Merger) Complete() bool {
	return !slices.ContainsFunc(m.lanes, func(l mergeLane) bool { return !l.ended })
}

// passed returns up to where all lanes have passed, and up to where all those have that were heard of since a time.
func (m *Merger) passed(since time.Time) (all, heard key) {
	all, heard = end, end
	for i := range m.lanes {
		l := &m.lanes[i]
		if l.passed.compare(all) < 0 {
			all = l.passed
		}
		if !l.heard.Before(since) && l.passed.compare(heard) < 0 {
			heard = l.passed
		}
	}
	return all, heard
}

// emit hands out the windows that all lanes have passed.
func (m *Merger) emit() error {
	all, _ := m.passed(time.Time{})
	for i := 0; i < len(m.windows) && m.windows[i].key().compare(all) < 0; {
		w := m.windows[i]
		if w.again > 0 {
			i++ // open since before we were here; others need not wait for it
			continue
		}
		if w.open {
			w.Revision++
		}
		if err := m.handOut(i, false); err != nil {
			return err
		}
	}
	return nil
}

// Overdue hands out the windows that wait for none but lanes that have been silent for longer than Patience, and returns when to look again; the zero time: when
// something has come.
func (m *Merger) Overdue(now time.Time) (next time.Time, err error) {
	if m.Patience == 0 {
		return time.Time{}, nil
	}
	_, heard := m.passed(now.Add(-m.Patience))
	for i := 0; i < len(m.windows); {
		w := m.windows[i]
		switch {
		case w.open:
			i++
		case w.key().compare(heard) < 0:
			if err := m.handOut(i, true); err != nil {
				return time.Time{}, err
			}
		default:
			for j := range m.lanes {
				if l := &m.lanes[j]; l.passed.compare(w.key()) <= 0 {
					if at := l.heard.Add(m.Patience); at.After(now) && (next.IsZero() || at.Before(next)) {
						next = at
					}
				}
			}
			return next, m.bound()
		}
	}
	return time.Time{}, m.bound()
}

// handOut hands out window i; keep: lanes are missing, and it stays open for them.
func (m *Merger) handOut(i int, keep bool) error {
	at := m.windows[i]
	w := at.Window
	k := at.key()
	w.Missing = nil
	for j := range m.lanes {
		l := &m.lanes[j]
		if l.passed.compare(k) <= 0 && !m.whole {
			w.Complete = false
			w.Missing = append(w.Missing, j+1)
		}
		for _, h := range l.holes {
			if h[0].compare(k) <= 0 && h[1].compare(k) > 0 {
				w.Complete = false
			}
		}
	}
	at.open = at.open || keep
	if !keep {
		m.windows = slices.Delete(m.windows, i, i+1)
	}
	m.join(&w)
	m.forgetHoles()
	err := m.Emit(w)
	if keep {
		at.Counts.Ledger, at.Lanes = Ledger{}, nil // which is told once
	}
	return err
}

// forgetHoles forgets the holes that no window asks for any more.
func (m *Merger) forgetHoles() {
	all, _ := m.passed(time.Time{})
	if len(m.windows) > 0 && m.windows[0].key().compare(all) < 0 {
		all = m.windows[0].key()
	}
	for i := range m.lanes {
		l := &m.lanes[i]
		l.holes = slices.DeleteFunc(l.holes, func(h [2]key) bool { return h[1].compare(all) <= 0 })
	}
}

// join notes what of each lane's chain goes out with a window: the links up to the lane's first window that still waits; if none does, also what belongs to
// no window.
func (m *Merger) join(w *Window) {
	first := m.waiting()
	for i := range m.lanes {
		l := &m.lanes[i]
		at := first[i+1]
		if at == nil {
			w.Counts.Ledger.Add(&l.rest.Ledger)
			w.Lanes = append(w.Lanes, l.rest.Lanes...)
			l.rest, l.restFrom = Rest{}, nil
			l.written, l.upTo = l.taken, l.next
			continue
		}
		l.written = at.key()
		for _, s := range at.Lanes {
			if int(s.K) == i+1 {
				l.upTo = s.First
				break
			}
		}
	}
}

// waiting returns, by lane, the first window that waits and has something of it.
func (m *Merger) waiting() map[int]*waitingWindow {
	first := map[int]*waitingWindow{}
	for _, w := range slices.Backward(m.windows) {
		if w.open {
			continue
		}
		for _, p := range w.parts {
			first[p.k] = w
		}
	}
	return first
}

// state returns how far the lanes are merged.
func (m *Merger) state() RunState {
	var s RunState
	first := m.waiting()
	for i := range m.lanes {
		l := &m.lanes[i]
		to := l.passed
		at := first[i+1]
		if at != nil && at.key().compare(to) < 0 {
			to = at.key() // its line is to be read again before the lane has passed it
		}
		s.Lanes = append(s.Lanes, LaneMerge{Epoch: l.written.epoch, Number: l.written.number, Next: l.upTo, ToEpoch: to.epoch, ToNumber: to.number,
			End: l.ended && at == nil && len(l.rest.Lanes) == 0})
	}
	for _, w := range m.windows {
		if w.open {
			s.Open = append(s.Open, OpenWindow{w.Epoch, w.Number, w.Revision, len(w.parts) + w.again})
		}
	}
	return s
}

// takeUp goes on where another merge was.
func (m *Merger) takeUp(run string, s RunState) {
	for i, at := range s.Lanes {
		l := &m.lanes[i]
		l.written, l.upTo = key{at.Epoch, at.Number}, at.Next
		l.taken, l.next = l.written, l.upTo
		l.passed, l.ended = key{at.ToEpoch, at.ToNumber}, at.End
		l.known = l.upTo > 0 || l.written != key{}
	}
	for _, o := range s.Open {
		m.windows = append(m.windows, &waitingWindow{Window: Window{Run: run, Epoch: o.Epoch, Number: o.Number, Complete: true, Revision: o.Revision}, open: true, again: o.Parts})
	}
	slices.SortFunc(m.windows, func(a, b *waitingWindow) int { return a.key().compare(b.key()) })
}

// places lowers places to what is not handed out, or may be handed out again. It returns false while windows that were open are not read again yet.
func (m *Merger) places(lower func(*From)) bool {
	read := true
	for _, w := range m.windows {
		read = read && w.again == 0
		for _, p := range w.parts {
			lower(p.from)
		}
	}
	for i := range m.lanes {
		lower(m.lanes[i].restFrom)
	}
	return read
}

// link says whether a link of lane k's chain is the next one: of the records [first, next), with the window k, or having passed those below it. It returns how many records before it have
// no link; an error if it is none that can follow.
func (m *Merger) link(lane int, at key, window bool, s *LaneSource) (is bool, missing uint64, err error) {
	l := &m.lanes[lane-1]
	switch {
	case window && at.compare(l.taken) < 0, !window && s.Next <= l.next && l.known:
		return false, 0, nil
	case !l.known && s.First > 0:
		l.holes = append(l.holes, [2]key{{}, at}) // it begins in the middle
	case s.First < l.next:
		return false, 0, Refused("records %d to %d of lane %d of run %s, of which those below %d are in a line before", s.First, s.Next, lane, s.Run, l.next)
	case l.known && s.First > l.next:
		missing = s.First - l.next
		l.holes = append(l.holes, [2]key{l.taken, at})
	}
	l.known = true
	l.next = s.Next
	if window {
		at.number++
	}
	if at.compare(l.taken) > 0 {
		l.taken = at
	}
	return true, missing, nil
}
