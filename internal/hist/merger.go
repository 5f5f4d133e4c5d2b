package hist

import (
	"cmp"
	"slices"
)

// A Merger puts the windows of the n lanes of one run together, and hands out each when all lanes have passed it, in order.
type Merger struct {
	// Emit receives each window.
	Emit func(Window) error

	lanes   []mergeLane // lane k at k−1
	windows []Window    // not complete yet, ascending
	rest    Rest
	given   key  // windows below it were handed out because too many waited
	whole   bool // windows are of all lanes, so that one handed out early is as complete as it says itself
}

// maxWaiting bounds the windows that wait for a lane: an hour of 5 s.
const maxWaiting = 720

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
	holes  [][2]key // windows from, up to: hits may be missing
}

// A key orders the windows of a run.
type key struct {
	epoch  uint32
	number int64
}

func (a key) compare(b key) int {
	return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.number, b.number))
}

// end is behind every window.
var end = key{epoch: 1<<32 - 1, number: 1<<63 - 1}

// NewMerger returns a Merger for a run of n lanes. Emit must be set.
func NewMerger(n int) *Merger {
	return &Merger{lanes: make([]mergeLane, n)}
}

// Add takes a window of one lane.
func (m *Merger) Add(w Window) error {
	k := key{w.Epoch, w.Number}
	i, found := slices.BinarySearchFunc(m.windows, k, func(w Window, k key) int { return key{w.Epoch, w.Number}.compare(k) })
	if !found && k.compare(m.given) < 0 {
		w.Complete = w.Complete && m.whole
		return m.Emit(w) // its lane comes back after the window was handed out without it
	}
	if !found {
		m.windows = slices.Insert(m.windows, i, w)
		if len(m.windows) > maxWaiting {
			first := m.windows[0]
			m.given = key{first.Epoch, first.Number + 1}
			return m.first()
		}
		return nil
	}
	have := &m.windows[i]
	have.Complete = have.Complete && w.Complete
	have.Lanes = append(have.Lanes, w.Lanes...)
	return have.Counts.Add(w.Counts)
}

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

// Rest takes what a lane's ledger has left behind its last window, before its End. It goes into the next window.
func (m *Merger) Rest(rest Rest) { m.rest.Add(rest) }

// Flush hands out what has not been passed by all lanes, incomplete, and returns the ledger that is left.
func (m *Merger) Flush() (Rest, error) {
	for len(m.windows) > 0 {
		if err := m.first(); err != nil {
			return Rest{}, err
		}
	}
	rest := m.rest
	m.rest = Rest{}
	return rest, nil
}

// Complete reports whether all lanes have ended, exhausted.
func (m *Merger) Complete() bool {
	return !slices.ContainsFunc(m.lanes, func(l mergeLane) bool { return !l.ended })
}

// emit hands out the windows that all lanes have passed.
func (m *Merger) emit() error {
	least := end
	for i := range m.lanes {
		if l := &m.lanes[i]; l.passed.compare(least) < 0 {
			least = l.passed
		}
	}
	for len(m.windows) > 0 && (key{m.windows[0].Epoch, m.windows[0].Number}).compare(least) < 0 {
		if err := m.first(); err != nil {
			return err
		}
	}
	return nil
}

// first hands out the first window.
func (m *Merger) first() error {
	w := m.windows[0]
	m.windows = slices.Delete(m.windows, 0, 1)
	k := key{w.Epoch, w.Number}
	for i := range m.lanes {
		l := &m.lanes[i]
		if l.passed.compare(k) <= 0 && !m.whole {
			w.Complete = false
		}
		l.holes = slices.DeleteFunc(l.holes, func(h [2]key) bool {
			if h[0].compare(k) <= 0 && h[1].compare(k) > 0 {
				w.Complete = false
			}
			return h[1].compare(k) <= 0
		})
	}
	w.Counts.Ledger.Add(&m.rest.Ledger)
	w.Lanes = append(w.Lanes, m.rest.Lanes...)
	m.rest = Rest{}
	return m.Emit(w)
}
