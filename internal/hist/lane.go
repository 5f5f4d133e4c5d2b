package hist

import (
	"bytes"
	"cmp"
	"math"
	"math/bits"
	"slices"

	"dt/internal/hit"
)

// A Window is a stretch of one lane's, or a whole run's, results.
type Window struct {
	Run      string
	Epoch    uint32
	Number   int64 // with the detector clock: orbit div length
	Complete bool
	Counts   *Counts
	Lanes    []LaneSource // the stretches that its ledger covers
	Revision int64        // how often it was handed out before, without all its lanes
	Missing  []int        // lanes, from 1, that had not passed it
}

// A Booked is one hit as it is booked, for who wants to see each.
type Booked struct {
	Word    uint64
	Chamber uint8
	Late    bool
	InOrbit bool  // the orbit has a scintillator hit, so there is a drift time
	Drift   int64 // 1/30 ns
}

// A Lane collects the hits of one lane, books them when their orbits close, and hands out windows in order.
type Lane struct {
	// Emit receives each window when it is over. With the detector clock only.
	Emit func(Window) error
	// Hit, if not nil, receives each hit as it is booked, by orbit, and within an orbit by time.
	Hit func(epoch uint32, b Booked)

	set     *Settings
	run     string
	epochs  []*waiting // those with hits or a horizon, from the oldest open one on
	open    uint32     // the oldest epoch that is open, and not below floor
	floor   uint32     // epochs below this one had to close early
	base    key        // windows that end at or below this epoch, and orbit in place of the number, are written
	spare   []*waiting
	pool    pool
	pending int64
	counts  *Counts // of the window that is being filled
	number  int64   // of it
	epoch   uint32  // of it
	end     int64   // of it: the first orbit behind
	stopped bool    // nothing that closes now is complete
	early   bool    // the window has an orbit that closed early
	err     error

	// A gap in the numbers may have taken hits: of all windows while it is not over, then of those up to here.
	inGap   bool
	gapUpTo key  // epoch, and orbit in place of the number
	gapped  bool // there was one
	newGap  bool // since IncompleteSince

	ledger  Ledger // since the last window
	booking Ledger // of what was booked in the window that is being filled; it is told with it

	// The active channels of the orbits in the bin of Hist_2 that is being filled, so that not each orbit is divided:
	// it has the orbits from binLo to binHi−1 and the number bin, −1 for underflow and −2 for overflow.
	binLo, binHi int64
	bin          int64
	active       [codes]int64 // by chamber code
	single       [codes]int64 // orbits with one hit, in that chamber

	tally    tally
	words    []uint64 // of the orbits that are being booked
	chambers []uint8
	masks    [hit.MaxChambers]uint64 // of the channels that are active in it
}

// waiting is what is pending of one epoch.
type waiting struct {
	epoch   uint32
	horizon int64
	below   int64 // orbits below this one are closed
	newest  int64
	last    [fpgas]int64 // orbit of the hit that was queued last
	full    uint8        // bit f: queue f is not empty
	heads   [fpgas]int64 // orbit at the head of each queue that is not empty
	queues  [fpgas]queue
	strays  strays

	triggers [fpgas]triggers
}

// triggers are the orbits of pending scintillator hits of one FPGA, ascending.
type triggers struct {
	orbits []uint32
	first  int // the next one
}

func (t *triggers) push(o uint32) {
	if t.first > len(t.orbits)/2 {
		t.orbits = t.orbits[:copy(t.orbits, t.orbits[t.first:])]
		t.first = 0
	}
	t.orbits = append(t.orbits, o)
}

// nextTrigger returns the lowest orbit, o or above, with a scintillator hit in the queues, or MaxInt64.
func (e *waiting) nextTrigger(o int64) int64 {
	next := int64(math.MaxInt64)
	for f := range e.triggers {
		t := &e.triggers[f]
		for t.first < len(t.orbits) && int64(t.orbits[t.first]) < o {
			t.first++
		}
		if t.first < len(t.orbits) {
			next = min(next, int64(t.orbits[t.first]))
		}
	}
	return next
}

// NewLane returns a Lane of a run.
func NewLane(set *Settings, run string) *Lane {
	l := &Lane{set: set, run: run, number: -1}
	for f := range l.tally.last {
		l.tally.last[f] = -1
	}
	return l
}

// Begin makes a new Lane go on where results end: every window that ends at or below this epoch and orbit is written.
func (l *Lane) Begin(epoch uint32, orbit int64) {
	l.open, l.base = epoch, key{epoch, orbit}
	e := l.waiting(epoch)
	e.horizon, e.below = orbit, orbit
}

// Again takes words in time that are in a written ledger. Of these, hits of windows that are written are booked; the others are pending, as that ledger says.
func (l *Lane) Again(epoch uint32, words []uint64, chambers []uint8) {
	var kept []uint64
	var codes []uint8
	for i, w := range words {
		if hit.IsHit(w) && (key{epoch, int64(hit.Orbit(w))}).compare(l.base) >= 0 {
			kept = append(kept, w)
			codes = append(codes, chambers[i])
		}
	}
	l.ledger.Read -= int64(len(kept))
	l.ledger.Pending -= int64(len(kept))
	l.Words(epoch, kept, codes)
}

// LateAgain is the same for late hits.
func (l *Lane) LateAgain(epoch uint32, words []uint64, newest []uint32, chambers []uint8) {
	var kept []uint64
	var at []uint32
	var codes []uint8
	for i, w := range words {
		if (key{epoch, int64(newest[i])}).compare(l.base) >= 0 {
			kept = append(kept, w)
			at = append(at, newest[i])
			codes = append(codes, chambers[i])
		}
	}
	l.ledger.Read -= int64(len(kept))
	l.ledger.Pending -= int64(len(kept))
	l.Late(epoch, kept, at, codes)
}

// Ledger returns the ledger since the last window, to add to.
func (l *Lane) Ledger() *Ledger { return &l.ledger }

// TakeLedger returns the ledger since the last window and begins a new one. Hits of the window that is being filled are pending in it.
func (l *Lane) TakeLedger() Ledger {
	ledger := l.ledger
	l.ledger = Ledger{}
	return ledger
}

// waiting returns the pending hits of an epoch.
func (l *Lane) waiting(epoch uint32) *waiting {
	i, ok := slices.BinarySearchFunc(l.epochs, epoch, func(w *waiting, e uint32) int { return cmp.Compare(w.epoch, e) })
	if ok {
		return l.epochs[i]
	}
	var w *waiting
	if n := len(l.spare); n > 0 {
		w, l.spare = l.spare[n-1], l.spare[:n-1]
	} else {
		w = new(waiting)
	}
	w.epoch, w.horizon, w.below, w.newest = epoch, 0, 0, -1
	for f := range w.triggers {
		w.triggers[f].orbits, w.triggers[f].first = w.triggers[f].orbits[:0], 0
	}
	l.epochs = slices.Insert(l.epochs, i, w)
	return w
}

// Words takes words in time. chambers has each one's chamber.
func (l *Lane) Words(epoch uint32, words []uint64, chambers []uint8) {
	if len(words) == 0 {
		return
	}
	l.ledger.Read += int64(len(words))
	e := l.waiting(max(epoch, l.floor))
	chambers = chambers[:len(words)]
	below := e.below
	if epoch < l.floor {
		below = math.MaxInt64
	}
	aside := 0
	for i := 0; i < len(words); {
		w := words[i]
		source := w >> hit.FPGAShift // HEAD and FPGA
		if source>>(hit.HeadShift-hit.FPGAShift) != hit.HeadHit {
			aside++
			i++
			continue
		}
		f := source & hit.MaxFPGA
		o := int64(uint32(w >> hit.OrbitShift))
		q := &e.queues[f]
		switch {
		case o < below:
			// Its orbit has closed, which a good stream shows only of one that had to close early.
			e.strays.push(stray{w, uint32(max(e.newest, 0)), chambers[i], true})
			i++
			continue
		case e.full>>f&1 == 0:
			e.full |= 1 << f
			e.heads[f] = o
		case o < e.last[f]:
			e.strays.push(stray{w, uint32(o), chambers[i], false})
			i++
			continue
		}
		if q.tail == nil || q.end == blockLen {
			q.extend(&l.pool)
		}
		// An FPGA's hits come some at a time.
		tail, at, last := q.tail, q.end, o
		for {
			tail.words[at] = w
			tail.chambers[at] = chambers[i]
			at++
			i++
			if i == len(words) || at == blockLen {
				break
			}
			w = words[i]
			next := int64(uint32(w >> hit.OrbitShift))
			if w>>hit.FPGAShift != source || next < last {
				break
			}
			last = next
		}
		q.end, e.last[f] = at, last
		e.newest = max(e.newest, last)
	}
	for i := 0; ; i++ {
		n := bytes.IndexByte(chambers[i:], hit.Scintillator)
		if n < 0 {
			break
		}
		i += n
		e.trigger(words[i])
	}
	l.ledger.NotAHit += int64(aside)
	l.wait(len(words) - aside)
}

// trigger notes that a scintillator hit has come. Where it is no news, because the hit is a stray or its orbit is known, nothing is lost.
func (e *waiting) trigger(w uint64) {
	o := uint32(w >> hit.OrbitShift)
	t := &e.triggers[w>>hit.FPGAShift&hit.MaxFPGA]
	if n := len(t.orbits); n == t.first || t.orbits[n-1] < o {
		t.push(o)
	}
}

// Late takes late hits, each with the newest orbit at its place.
func (l *Lane) Late(epoch uint32, words []uint64, newest []uint32, chambers []uint8) {
	if len(words) == 0 {
		return
	}
	l.ledger.Read += int64(len(words))
	e := l.waiting(max(epoch, l.floor))
	for i, w := range words {
		at := newest[i]
		if epoch < l.floor || int64(at) < e.below {
			at = uint32(max(e.newest, 0))
		}
		e.strays.push(stray{w, at, chambers[i], true})
		e.newest = max(e.newest, int64(at))
	}
	l.wait(len(words))
}

// wait counts hits that have become pending, and closes orbits early while there are too many.
func (l *Lane) wait(n int) {
	l.pending += int64(n)
	l.ledger.Pending += int64(n)
	for l.load() > MaxPending {
		for len(l.epochs) > 1 && l.oldest(l.epochs[0]) == math.MaxInt64 {
			l.early = true
			l.next()
			l.floor = l.epochs[0].epoch
		}
		e := l.epochs[0]
		o := l.oldest(e)
		e.below = max(e.below, o+1)
		l.close(e, o+1, true)
	}
}

// load is how much is pending; strays take more memory than what is queued.
func (l *Lane) load() int64 {
	n := l.pending
	for _, e := range l.epochs {
		n += 3 * int64(len(e.strays))
	}
	return n
}

// Horizon says that of an epoch no orbit below horizon, and of epochs below open none at all, gets another hit in time. What can be closed is booked.
func (l *Lane) Horizon(epoch uint32, horizon uint64, open uint32) error {
	for len(l.epochs) > 0 && l.epochs[0].epoch < open {
		l.close(l.epochs[0], math.MaxInt64, false)
		l.next()
	}
	l.open = max(l.open, open, l.floor)
	if epoch >= l.open {
		e := l.waiting(epoch)
		e.horizon = max(e.horizon, int64(min(horizon, math.MaxInt64)))
		e.below = max(e.below, e.horizon)
	}
	// Epochs above the oldest open one wait, however far their horizon is: windows come in order.
	if len(l.epochs) > 0 && l.epochs[0].epoch == l.open {
		e := l.epochs[0]
		l.close(e, e.horizon, false)
		l.pass(e.epoch, e.horizon)
	}
	return l.err
}

// Passed returns the first detector window, by epoch and number, that may still get a hit in time.
func (l *Lane) Passed() (epoch uint32, number int64) {
	if len(l.epochs) > 0 && l.epochs[0].epoch == l.open {
		return l.open, l.epochs[0].horizon / l.set.Length
	}
	return l.open, 0
}

// next drops the oldest epoch, which has nothing pending, and ends its window.
func (l *Lane) next() {
	e := l.epochs[0]
	l.pass(e.epoch, math.MaxInt64)
	l.epochs = slices.Delete(l.epochs, 0, 1)
	l.spare = append(l.spare, e)
}

// pass ends the window that is being filled if the lane has passed it.
func (l *Lane) pass(epoch uint32, horizon int64) {
	if l.set.Clock == Detector && l.counts != nil && l.epoch == epoch && horizon >= l.end {
		l.emit()
	}
}

// Stop says that what closes from now on may lack hits.
func (l *Lane) Stop() { l.stopped = true }

// Gap says that hits may be missing: all windows from now on are incomplete, until GapOver.
func (l *Lane) Gap() { l.inGap, l.gapped, l.newGap = true, true, true }

// GapOver says that no hit is missing of a later epoch, nor of windows that begin above newest.
func (l *Lane) GapOver(epoch uint32, newest int64) {
	if l.inGap {
		l.inGap = false
		l.gapUpTo = key{epoch, newest}
	}
}

// Missed reports whether a gap may have taken hits of a detector window.
func (l *Lane) Missed(epoch uint32, number int64) bool {
	return l.inGap || l.gapped && key{epoch, number * l.set.Length}.compare(l.gapUpTo) <= 0
}

// Silent closes all that is pending, because nothing more came for a while: what comes for these orbits is late.
func (l *Lane) Silent() error {
	for len(l.epochs) > 1 {
		l.close(l.epochs[0], math.MaxInt64, false)
		l.next()
	}
	for _, e := range l.epochs {
		l.floor = max(l.floor, e.epoch)
		e.below = max(e.below, e.newest+1)
		l.close(e, math.MaxInt64, false)
	}
	return l.err
}

// Finish closes all that is pending and ends the last window.
func (l *Lane) Finish() error {
	for len(l.epochs) > 0 {
		l.close(l.epochs[0], math.MaxInt64, false)
		l.next()
	}
	return l.err
}

// Take returns what was booked since the last window, or nil, and begins anew. With the clocks all and wall.
func (l *Lane) Take() *Counts {
	c := l.counts
	if c == nil && l.ledger.Empty() {
		return nil
	}
	if c == nil {
		c = NewCounts(l.set)
	}
	l.settle(c)
	return c
}

// Incomplete reports whether something that was booked since NewLane or may be missing makes `all` incomplete.
func (l *Lane) Incomplete() bool { return l.stopped || l.early || l.gapped }

// IncompleteSince reports the same of what was booked since it was called last.
func (l *Lane) IncompleteSince() bool {
	is := l.stopped || l.early || l.inGap || l.newGap
	l.early, l.newGap = false, false
	return is
}

func (l *Lane) emit() {
	w := Window{Run: l.run, Epoch: l.epoch, Number: l.number, Counts: l.counts}
	w.Complete = !l.stopped && !l.early && !l.Missed(l.epoch, l.number)
	l.early = false
	l.settle(l.counts)
	if l.err == nil {
		l.err = l.Emit(w)
	}
}

// settle hands counts over with the ledger.
func (l *Lane) settle(c *Counts) {
	l.fold(c)
	l.binLo, l.binHi = 0, 0
	l.ledger.Add(&l.booking)
	l.booking = Ledger{}
	c.Ledger = l.TakeLedger()
	l.counts = nil
}

// oldest returns the lowest pending orbit of an epoch, or MaxInt64.
func (l *Lane) oldest(e *waiting) int64 {
	o := int64(math.MaxInt64)
	for m := e.full; m != 0; m &= m - 1 {
		o = min(o, e.heads[bits.TrailingZeros8(m)])
	}
	if len(e.strays) > 0 {
		o = min(o, int64(e.strays[0].orbit))
	}
	return o
}
