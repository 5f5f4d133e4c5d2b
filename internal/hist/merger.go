package hist

import (
	"cmp"
	"math"
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
	given   key  // windows below it are not kept any more for a lane that comes back
	whole   bool // windows are of all lanes, so that one handed out early is as complete as it says itself
}

// maxWaiting bounds the windows that wait for a lane, and those that were handed out without one: almost three hours of 5 s, or 36 KB, each.
const maxWaiting = 2048

// openFor is how long after the last line of a run its windows are kept for a lane that does not come back.
const openFor = time.Hour

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
	told bool // it was handed out
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
	known   bool
	taken   key // its windows below are here, or were
	next    uint64
	rests   []restAt // links of no window that were not handed out, ascending
	written key      // its windows below were handed out
	upTo    uint64
}

// A restAt is a link of no window: all windows below at had been passed.
type restAt struct {
	at   key
	rest Rest
	from *From
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

// fresh reports whether something of a window was not handed out. Of lanes only.
func (w *waitingWindow) fresh() bool {
	return slices.ContainsFunc(w.parts, func(p part) bool { return !p.told })
}

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
			if m.whole {
				return m.Emit(w)
			}
			m.tooLate(k, w, from)
			return nil
		}
		m.windows = slices.Insert(m.windows, i, &waitingWindow{Window: w})
	} else if k == 0 && m.windows[i].has(w.Lanes) && w.Revision == m.windows[i].Revision {
		return ErrDouble
	} else {
		if k > 0 {
			w.Revision = m.windows[i].Revision // a part has none of its own
		}
		if err := m.windows[i].add(w); err != nil {
			return err
		}
	}
	if k > 0 {
		m.windows[i].parts = append(m.windows[i].parts, part{k: k, from: from})
	}
	return m.bound()
}

// add takes more of a window; or all of it once more, of which one revision stays, with the ledgers of both.
func (w *waitingWindow) add(more Window) error {
	lanes := append(w.Lanes, more.Lanes...)
	complete := w.Complete && more.Complete
	switch {
	case w.Counts == nil:
		w.Counts = more.Counts
	case more.Revision > w.Revision:
		more.Counts.Ledger.Add(&w.Counts.Ledger)
		w.Window, complete = more, more.Complete
	case more.Revision < w.Revision:
		w.Counts.Ledger.Add(&more.Counts.Ledger)
		complete = w.Complete
	default:
		if err := w.Counts.Add(more.Counts); err != nil {
			return err
		}
	}
	w.Lanes, w.Complete = lanes, complete
	return nil
}

// tooLate takes a window of a lane that came back when the window was not kept for it any more. Its hits are set aside.
func (m *Merger) tooLate(k int, w Window, from *From) {
	l := w.Counts.Ledger
	n := l.Hits + l.Late + l.Early
	l.Hits, l.Late, l.Early = 0, 0, 0
	l.Set("dthist --merge", "too late for its window", n)
	m.Rest(k, w.key(), Rest{Ledger: l, Lanes: w.Lanes}, from)
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

// bound keeps the number of windows that wait within bounds: the oldest is handed out.
func (m *Merger) bound() error {
	for len(m.windows)-m.open() > maxWaiting {
		i := 0
		if m.whole {
			m.given = key{m.windows[0].Epoch, m.windows[0].Number + 1}
		} else {
			i = slices.IndexFunc(m.windows, (*waitingWindow).fresh)
		}
		if err := m.put(i); err != nil {
			return err
		}
	}
	return nil
}

// put hands out window i, which is to stay open for lanes that are missing.
func (m *Merger) put(i int) error {
	if m.windows[i].again > 0 {
		m.drop(i) // those that wait are too many for what it was written with to come still
		return nil
	}
	return m.handOut(i, !m.whole)
}

// open returns how many windows are open.
func (m *Merger) open() (n int) {
	for _, w := range m.windows {
		n += int(bit(w.open))
	}
	return n
}

// giveUp gives up the oldest open windows. What has come for one since it was written goes out with it.
func (m *Merger) giveUp(n int) error {
	for i := 0; i < len(m.windows) && n > 0; {
		w := m.windows[i]
		if !w.open {
			i++
			continue
		}
		n--
		if k := (key{w.Epoch, w.Number + 1}); k.compare(m.given) > 0 {
			m.given = k
		}
		if w.again > 0 || !w.fresh() {
			m.drop(i)
		} else if err := m.handOut(i, false); err != nil {
			return err
		}
	}
	return nil
}

// drop forgets a window that was written, and is not here as it was written. What has come for it since is set aside.
func (m *Merger) drop(i int) {
	w := m.windows[i]
	m.windows = slices.Delete(m.windows, i, i+1)
	if n := slices.IndexFunc(w.parts, func(p part) bool { return !p.told }); n >= 0 {
		m.tooLate(w.parts[n].k, w.Window, w.parts[n].from)
	}
}

// Again takes counts of a window that lane k had part in when it was handed out, by the merge that was taken up. It returns false if the window is not one of
// these, or has that part.
func (m *Merger) Again(k int, w Window, from *From) (was bool, err error) {
	i, found := m.find(w.key())
	if !found || m.windows[i].again == 0 || slices.ContainsFunc(m.windows[i].parts, func(p part) bool { return p.k == k }) {
		return false, nil
	}
	at := m.windows[i]
	w.Counts.Ledger, w.Lanes, w.Revision = Ledger{}, nil, at.Revision // the first two are in a line
	if err := at.add(w); err != nil {
		return true, err
	}
	at.parts = append(at.parts, part{k, from, true})
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
	if n := len(l.holes); !complete && n > 0 && l.holes[n-1][1] == l.passed {
		l.holes[n-1][1] = to
	} else if !complete {
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

// Rest takes what the ledger of lane k has behind its last window, when it had passed all windows below a key. It goes with the first window at or above that.
func (m *Merger) Rest(k int, at key, rest Rest, from *From) {
	l := &m.lanes[k-1]
	i, found := slices.BinarySearchFunc(l.rests, at, func(r restAt, at key) int { return r.at.compare(at) })
	if found {
		l.rests[i].rest.Add(rest)
		return
	}
	if len(l.rests) == maxWaiting { // no window comes that they could go with
		l.rests[1].rest.Add(l.rests[0].rest)
		l.rests[1].from = l.rests[0].from
		l.rests = slices.Delete(l.rests, 0, 1)
		i = max(0, i-1)
	}
	l.rests = slices.Insert(l.rests, i, restAt{at, rest, from})
}

// EndRest takes what the ledger of lane k has when the lane is over.
func (m *Merger) EndRest(k int, rest Rest) { m.Rest(k, end, rest, nil) }

// Flush hands out what has not been passed by all lanes, incomplete, and returns the ledger that is left.
func (m *Merger) Flush() (Rest, error) {
	if err := m.giveUp(len(m.windows)); err != nil {
		return Rest{}, err
	}
	for len(m.windows) > 0 {
		if err := m.handOut(0, false); err != nil {
			return Rest{}, err
		}
	}
	var rest Rest
	for i := range m.lanes {
		for _, r := range m.lanes[i].rests {
			rest.Add(r.rest)
		}
		m.lanes[i].rests = nil
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
			if w.fresh() {
				return nil // what it was written with comes first: no lane's later links may be in a line before its earlier ones
			}
			i++ // open since before we were here; others need not wait for it
			continue
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
	if m.Patience == 0 || m.whole {
		return time.Time{}, nil
	}
	_, heard := m.passed(now.Add(-m.Patience))
	for {
		i := slices.IndexFunc(m.windows, (*waitingWindow).fresh)
		if i < 0 || m.windows[i].again > 0 {
			if !slices.ContainsFunc(m.lanes, func(l mergeLane) bool { return now.Sub(l.heard) < openFor }) {
				err = m.giveUp(len(m.windows)) // the run is over
			}
			return time.Time{}, err
		}
		at := m.windows[i].key()
		if at.compare(heard) < 0 {
			if err := m.handOut(i, true); err != nil {
				return time.Time{}, err
			}
			continue
		}
		for j := range m.lanes {
			if l := &m.lanes[j]; l.passed.compare(at) <= 0 {
				if at := l.heard.Add(m.Patience); at.After(now) && (next.IsZero() || at.Before(next)) {
					next = at
				}
			}
		}
		return next, nil
	}
}

// handOut hands out window i; keep: lanes are missing, and it stays open for them.
func (m *Merger) handOut(i int, keep bool) error {
	at := m.windows[i]
	k := at.key()
	switch {
	case at.open:
		at.Revision++
	case keep:
		if err := m.giveUp(m.open() + 1 - maxOpen); err != nil {
			return err
		}
		i, _ = m.find(k)
	}
	w := at.Window
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
	for j := range at.parts {
		at.parts[j].told = true
	}
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

// join notes what of each lane's chain goes out with a window: the links up to it, so that it does not depend on when lines came.
func (m *Merger) join(w *Window) {
	first := m.waiting()
	for i := range m.lanes {
		l := &m.lanes[i]
		n := 0
		for ; n < len(l.rests) && l.rests[n].at.compare(w.key()) <= 0; n++ {
			w.Counts.Ledger.Add(&l.rests[n].rest.Ledger)
			w.Lanes = append(w.Lanes, l.rests[n].rest.Lanes...)
		}
		l.rests = slices.Delete(l.rests, 0, n)
		l.written, l.upTo = l.taken, l.next
		if at := first[i+1]; at != nil {
			l.written = at.key()
			l.upTo = min(l.upTo, firstOf(at.Lanes, i+1))
		}
		if len(l.rests) > 0 {
			l.upTo = min(l.upTo, firstOf(l.rests[0].rest.Lanes, i+1))
			if l.rests[0].at.compare(l.written) < 0 {
				l.written = l.rests[0].at
			}
		}
	}
}

// firstOf returns the number with which the stretches of a lane begin.
func firstOf(lanes []LaneSource, k int) uint64 {
	first := uint64(math.MaxUint64)
	for _, s := range lanes {
		if int(s.K) == k {
			first = min(first, s.First)
		}
	}
	return first
}

// waiting returns, by lane, the first window that waits and has something of it.
func (m *Merger) waiting() map[int]*waitingWindow {
	first := map[int]*waitingWindow{}
	for _, w := range slices.Backward(m.windows) {
		for _, p := range w.parts {
			if !p.told {
				first[p.k] = w
			}
		}
	}
	return first
}

// state returns how far the lanes are merged.
func (m *Merger) state() RunState {
	s := RunState{Given: m.given}
	first := m.waiting()
	for i := range m.lanes {
		l := &m.lanes[i]
		to := l.passed
		at := first[i+1]
		if at != nil && at.key().compare(to) < 0 {
			to = at.key() // its line is to be read again before the lane has passed it
		}
		if len(l.rests) > 0 && l.rests[0].at.compare(to) < 0 {
			to = l.rests[0].at
		}
		s.Lanes = append(s.Lanes, LaneMerge{Epoch: l.written.epoch, Number: l.written.number, Next: l.upTo, ToEpoch: to.epoch, ToNumber: to.number,
			End: l.ended && at == nil && len(l.rests) == 0})
		for _, h := range l.holes {
			s.Holes = append(s.Holes, Hole{i + 1, h[0].epoch, h[0].number, h[1].epoch, h[1].number})
		}
	}
	for _, w := range m.windows {
		if !w.open {
			continue
		}
		told := w.again
		for _, p := range w.parts {
			told += int(bit(p.told))
		}
		s.Open = append(s.Open, OpenWindow{w.Epoch, w.Number, w.Revision, told})
	}
	return s
}

// takeUp goes on where another merge was.
func (m *Merger) takeUp(run string, s RunState) {
	m.given = s.Given
	for i, at := range s.Lanes {
		l := &m.lanes[i]
		l.written, l.upTo = key{at.Epoch, at.Number}, at.Next
		l.taken, l.next = l.written, l.upTo
		l.passed, l.ended = key{at.ToEpoch, at.ToNumber}, at.End
		l.known = l.upTo > 0 || l.written != key{}
	}
	for _, h := range s.Holes {
		l := &m.lanes[h.Lane-1]
		l.holes = append(l.holes, [2]key{{h.Epoch, h.Number}, {h.ToEpoch, h.ToNumber}})
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
		for _, r := range m.lanes[i].rests {
			lower(r.from)
		}
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
