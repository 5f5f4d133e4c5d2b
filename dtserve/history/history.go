// Package history keeps the newest result lines, within a number of windows and of bytes, and adds up any range of them fast.
//
// Of each line the text is kept, compressed, and what the page needs of every window at once (Window). A range is added up from the sums
// of blocks of 16 and 256 windows, which are made as lines come in and are kept in caches; what a cache had no room for is made again from
// the texts. Windows add up only within their run and settings, so blocks are of a group: the windows of one run and one settings digest.
//
// One goroutine adds, any number read. The lock is held only to look things up and to put them in; compressing, decoding and adding up are
// done outside.
package history

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/klauspost/compress/zstd"

	"dt/internal/hist"
	"dt/internal/hit"
)

// Errors of a History, for errors.Is.
var (
	ErrNotKept    = errors.New("not kept")
	ErrDouble     = errors.New("the same line is here already")
	ErrSuperseded = errors.New("a later revision of the same window is here already")
	ErrTooLate    = errors.New("a revision of a window that is no longer kept; only its ledger is counted")
)

// A History is the newest result lines.
type History struct {
	maxWindows int
	maxBytes   int64 // of all but the caches, which have bounds of their own
	caches     [levels]cache
	encoder    *zstd.Encoder
	decoder    *zstd.Decoder
	seed       maphash.Seed

	adding  sync.Mutex // held while a line is added; who holds it reads without mu
	scratch []byte

	mu      sync.RWMutex
	all     []*entry // ascending by id, without a gap
	next    int64    // id of the next line
	kept    int      // of all: those with a Window
	bytes   int64    // of all, and of the groups' sums
	newest  *entry   // that is not bookkeeping, if there is one
	changes int64    // windows that took the place of others
	runs    []*run   // by their first lines
	present *run     // the one that started last
}

// An entry is a line. It is never changed: another takes the place of one that is revised. Of several lines of a window the revision takes the place of the
// first; the others give way to entries without Window.
type entry struct {
	w       *Window
	id      int64
	g       *group
	place   int64 // in its group: 0, 1, …
	zip     []byte
	size    int    // of the text
	hash    uint64 // of the text as it came
	records uint64 // hash of the stretches of records that it came with, and of what they gave; 0: none, and of no window
	late    bool   // it came behind newer windows of its group
	version int    // how many entries were in its place before
}

// A run is the lines with one run name.
type run struct {
	name   string
	first  int64 // id
	last   int64
	since  int64 // unix, µs
	groups []*group
	newest *group // of the last line
	epochs []EpochInfo
	count  int // windows, ever
}

// A group is the windows of one run and one settings digest.
type group struct {
	run      *run
	settings string
	list     []*entry // those kept, ascending by place and by id, without a gap
	from     int64    // place of the first in list

	// Sums, which are replaced and never changed. head and tail together are all that ever came, tail those from tailFrom on, which are
	// at least one and at most a block. gone is those below goneTo, the first of which are not kept any more: what head is made of again when
	// a revision takes a window out. head and gone are of the present run only.
	gone, head, tail *part
	goneTo, tailFrom int64
	size             int64 // of the three, bytes

	totals         totals
	epochs         []EpochInfo
	index          int64     // highest Index, µs
	oldest, newest windowKey // of all detector windows that ever came; the number is hist.NoNumber where there is none
	evicted        windowKey // the highest of those no longer kept, likewise
}

// A windowKey orders the detector windows of a run.
type windowKey struct {
	epoch  uint32
	number int64
}

func (k windowKey) below(o windowKey) bool {
	return k.epoch < o.epoch || k.epoch == o.epoch && k.number < o.number
}

func (w *Window) key() windowKey { return windowKey{w.Epoch, w.Number} }

// New returns an empty History that keeps at most maxWindows lines, and at least one, in about maxBytes. The newest line and the sums of the
// present run are kept whatever they take.
func New(maxWindows int, maxBytes int64) *History {
	// What stays in memory needs no checksum. An error here would be a wrong option.
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(2*hist.MaxLine), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err)
	}
	h := &History{maxWindows: max(maxWindows, 1), encoder: encoder, decoder: decoder, seed: maphash.MakeSeed(), next: 1}
	// The single lines that are looked at again, by a cursor or at the edges of spans, are few; there is a block for every 16 windows.
	h.caches[0].max, h.caches[1].max, h.caches[2].max = maxBytes/64, maxBytes/8, maxBytes/16
	h.maxBytes = maxBytes - h.caches[0].max - h.caches[1].max - h.caches[2].max
	return h
}

// Add takes a line, which is neither kept nor changed, and its text, which is copied, without a line feed. arrived is in unix µs. An error says in a
// few words why the line can't be taken. was are the windows that it takes the place of, if it is a revision.
//
// With ErrTooLate what it would replace can't be taken out of the sums any more. Then its ledger alone is taken, as bookkeeping: w is that.
//
// A line belongs to the run that it names; one that was not there before becomes the present run. Lines of the other clocks name it in their
// spans or lanes; an empty one that names none belongs to the present run, and bare lines to a run without a name.
func (h *History) Add(l *hist.Line, text []byte, arrived int64) (w *Window, was []*Window, err error) {
	if l.Progress || l.Lane != [2]int{} {
		return nil, nil, errors.New("a line of one lane, which has to be merged first")
	}
	h.adding.Lock()
	defer h.adding.Unlock()
	text = bytes.TrimRight(text, "\r\n")
	r, g := h.find(l, l.Counts.Set.Digest())
	e := h.newEntry(l, g, arrived)
	e.hash = maphash.Bytes(h.seed, text)
	taken, err := g.supersedes(e, l.Index)
	tooLate := errors.Is(err, ErrTooLate)
	switch {
	case tooLate:
		l = ledgerOf(l)
		text = l.Append(nil)
		hash := e.hash
		e = h.newEntry(l, g, arrived)
		e.hash = hash
	case err != nil:
		return nil, nil, err
	case len(taken) > 0:
		if err = h.revise(e, l, taken); err != nil {
			return nil, nil, err
		}
		for _, t := range taken {
			was = append(was, t.w)
		}
		return e.w, was, h.evict()
	}
	if err = h.append(e, l, text, r); err == nil {
		err = h.evict()
	}
	if err == nil && tooLate {
		err = ErrTooLate
	}
	return e.w, nil, err
}

// newEntry returns the entry of a line at the end of a group, but for its text.
func (h *History) newEntry(l *hist.Line, g *group, arrived int64) *entry {
	w := newWindow(l, arrived)
	w.ID, w.Run, w.Settings = h.next, g.run.name, g.settings
	if w.Number == hist.NoNumber {
		w.Epoch = lastEpoch(l, g.run.name)
	}
	return &entry{w: w, id: w.ID, g: g, place: g.end(), records: h.records(l, w), late: w.Number != hist.NoNumber && !g.newest.below(w.key())}
}

// records returns a hash of the stretches of records that a line covers, and of what they gave. Lines of one window that are equal in it are the same one, though
// their texts may differ in who wrote them, and when.
func (h *History) records(l *hist.Line, w *Window) uint64 {
	type stretch struct {
		run         string
		k, n        uint32
		first, next uint64
	}
	var m maphash.Hash
	m.SetSeed(h.seed)
	some := false
	for _, s := range joinSources(nil, l.Lanes) {
		some = some || s.Next > s.First
		maphash.WriteComparable(&m, stretch{s.Run, s.K, s.N, s.First, s.Next})
	}
	if !some && w.Number == hist.NoNumber {
		return 0
	}
	for _, n := range slices.Concat(w.Counts, w.Late, w.FPGAHits, []int64{w.Triggers}) {
		maphash.WriteComparable(&m, n)
	}
	return max(m.Sum64(), 1)
}

// pack keeps the text of an entry.
func (h *History) pack(e *entry, text []byte) {
	h.scratch = h.encoder.EncodeAll(text, h.scratch[:0])
	e.zip, e.size = bytes.Clone(h.scratch), len(text)
	if cap(h.scratch) > 1<<20 {
		h.scratch = nil
	}
}

// append puts a line behind all others.
func (h *History) append(e *entry, l *hist.Line, text []byte, r *run) error {
	g := e.g
	isPresent := r == h.present || r.first == 0
	line, head, tailFrom := partOf(l), g.head, g.tailFrom
	sum, err := plus(g.tail, line) // which also says whether the line fits
	if err != nil {
		return err
	}
	if e.place-tailFrom == small {
		// The tail is a block now.
		if g.tail != nil && g.from <= tailFrom {
			h.caches[1].put(key(g.list[tailFrom-g.from:]), g.tail)
		}
		if e.place%large == 0 && g.from <= e.place-large {
			if _, err = h.block(g.list[e.place-large-g.from:], 2, true); err != nil {
				return err
			}
		}
		if isPresent {
			if head, err = plus(head, g.tail); err != nil {
				return err
			}
		}
		tailFrom = e.place
		if sum, err = plus(nil, line); err != nil {
			return err
		}
	}
	h.pack(e, text)

	h.mu.Lock()
	defer h.mu.Unlock()
	if r.first == 0 {
		r.first, r.since = e.id, e.w.Arrived
		h.runs = append(h.runs, r)
		h.setPresent(r)
	}
	if !slices.Contains(r.groups, g) {
		r.groups = append(r.groups, g)
	}
	g.head, g.tail, g.tailFrom = head, sum, tailFrom
	h.weigh(g)
	g.list = append(g.list, e)
	h.all = append(h.all, e)
	h.next++
	h.kept++
	h.bytes += e.bytes()
	if h.newest == nil || !e.w.Bookkeeping || h.newest.w.Bookkeeping {
		h.newest = e
	}
	g.count(e, l)
	emptied := r.newest != nil && r.newest != g && len(r.newest.list) == 0
	r.newest = g
	if emptied {
		h.prune()
	}
	return nil
}

// revise puts a line in the place of others of its window.
func (h *History) revise(e *entry, l *hist.Line, taken []*entry) error {
	g, first := e.g, taken[0]
	l, text, err := h.united(l, taken)
	if err != nil {
		return err
	}
	e.id, e.place, e.late, e.version = first.id, first.place, first.late, first.version+1
	e.w.ID, e.w.Change = first.id, h.changes+1
	h.pack(e, text)
	list := slices.Clone(g.list)
	for _, t := range taken {
		h.dropBlocks(g, t.place)
		list[t.place-g.from] = t.gone()
	}
	list[e.place-g.from] = e
	head, tail, err := h.sums(g, list)
	if err != nil {
		return err
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range taken {
		h.takeOut(t)
		if t == h.newest {
			h.newest = e
		}
	}
	h.bytes += e.bytes() - h.all[e.id-h.all[0].id].bytes()
	h.kept++
	h.all[e.id-h.all[0].id], g.list[e.place-g.from] = e, e
	h.changes = e.w.Change
	g.head, g.tail = head, tail
	h.weigh(g)
	g.count(e, l)
	return nil
}

// united returns a line, and its text, with the ledgers and stretches of those that it replaces added to its own.
func (h *History) united(l *hist.Line, taken []*entry) (*hist.Line, []byte, error) {
	one, c := *l, *l.Counts
	c.Ledger = hist.Ledger{}
	c.Ledger.Add(&l.Counts.Ledger)
	one.Counts = &c
	for _, t := range taken {
		p, err := h.block([]*entry{t}, 0, false)
		if err != nil {
			return nil, nil, err
		}
		if _, err := plus(p, partOf(l)); err != nil {
			return nil, nil, err // it does not fit
		}
		c.Ledger.Add(&p.counts.Ledger)
		one.Lanes = joinSources(p.sources, one.Lanes)
	}
	text := one.Append(nil)
	back, err := hist.ParseAny(text)
	return back, text, err
}

// ledgerOf returns a line that has only the ledger of another.
func ledgerOf(l *hist.Line) *hist.Line {
	c := hist.NewCounts(l.Counts.Set)
	c.Ledger = l.Counts.Ledger
	return &hist.Line{Index: l.Index, Window: hist.WindowInfo{Number: hist.NoNumber}, Counts: c, Node: l.Node, Lanes: l.Lanes}
}

// find returns the run and the group that a line belongs to; new ones are not yet among the others.
func (h *History) find(l *hist.Line, settings string) (*run, *group) {
	name := h.runName(l)
	r := h.runNamed(name)
	if r == nil {
		r = &run{name: strings.Clone(name)}
	}
	for _, g := range r.groups {
		if g.settings == settings {
			return r, g
		}
	}
	none := windowKey{number: hist.NoNumber}
	return r, &group{run: r, settings: strings.Clone(settings), oldest: none, newest: none, evicted: none}
}

func (h *History) runNamed(name string) *run {
	if h.present != nil && h.present.name == name {
		return h.present
	}
	for _, r := range h.runs {
		if r.name == name {
			return r
		}
	}
	return nil
}

// runName returns the name of the run of a line.
func (h *History) runName(l *hist.Line) string {
	if l.Bare || l.Window.Number != hist.NoNumber && l.Counts.Set.Clock == hist.Detector {
		return l.Window.Run
	}
	var names []string
	for i := range l.Counts.Spans {
		names = append(names, l.Counts.Spans[i].Run)
	}
	if len(names) == 0 {
		for i := range l.Lanes {
			names = append(names, l.Lanes[i].Run)
		}
	}
	// Of several, one that starts here, or else the present one.
	for _, name := range names {
		if h.runNamed(name) == nil {
			return name
		}
	}
	switch {
	case h.present != nil && (len(names) == 0 || slices.Contains(names, h.present.name)):
		return h.present.name
	case len(names) == 0:
		return ""
	}
	return names[len(names)-1]
}

// lastEpoch returns the last epoch of a run in a line.
func lastEpoch(l *hist.Line, run string) uint32 {
	epoch := uint32(0)
	for i := range l.Counts.Spans {
		if s := &l.Counts.Spans[i]; s.Run == run {
			epoch = s.Epoch
		}
	}
	return epoch
}

// end returns the place behind the last window.
func (g *group) end() int64 { return g.from + int64(len(g.list)) }

// supersedes returns the windows in whose place e comes, if any, ascending by id.
func (g *group) supersedes(e *entry, index int64) (taken []*entry, err error) {
	named := e.w.Number != hist.NoNumber
	isOnce := e.records != 0 && (named || e.w.Bookkeeping) // its records can't be in two lines
	if g.end() == 0 || !e.late && index > g.index && !(isOnce && !named) {
		return nil, nil // it is the first, or newer than all
	}
	for _, have := range g.list {
		if have.w == nil {
			continue
		}
		sameName := have.w.key() == e.w.key() && have.w.Revision == e.w.Revision
		if have.hash == e.hash || sameName && (e.w.Revision > 0 || isOnce && have.records == e.records) {
			return nil, ErrDouble
		}
	}
	if !named {
		return nil, nil
	}
	for _, have := range g.list {
		switch {
		case have.w == nil || have.w.key() != e.w.key():
		case have.w.Revision > e.w.Revision:
			return nil, ErrSuperseded
		case have.w.Revision < e.w.Revision:
			taken = append(taken, have)
		}
	}
	// What is no longer kept, or in the sum of what is not, can't be taken out of the sum of the run.
	isGone := len(taken) == 0 && e.w.Revision > 0 && g.evicted.number != hist.NoNumber && !g.evicted.below(e.w.key()) && !e.w.key().below(g.oldest)
	if isGone || len(taken) > 0 && taken[0].place < g.goneTo {
		return nil, ErrTooLate
	}
	return taken, nil
}

// sums returns the head and the tail of a group that has this list.
func (h *History) sums(g *group, list []*entry) (head, tail *part, err error) {
	at := max(g.from, g.goneTo)
	if g.run == h.present {
		if at < g.tailFrom {
			if head, err = h.sum(list[at-g.from : g.tailFrom-g.from]); err != nil {
				return nil, nil, err
			}
		}
		if head, err = plus(g.gone, head); err != nil {
			return nil, nil, err
		}
	}
	tail, err = h.sum(list[max(at, g.tailFrom)-g.from:])
	return head, tail, err
}

// gone returns what is in the place of an entry that was taken out.
func (e *entry) gone() *entry {
	return &entry{id: e.id, g: e.g, place: e.place, version: e.version + 1}
}

// takeOut takes out a window that was revised.
func (h *History) takeOut(t *entry) {
	none := t.gone()
	t.g.list[t.place-t.g.from] = none
	h.all[t.id-h.all[0].id] = none
	h.kept--
	h.bytes += none.bytes() - t.bytes()
	t.g.totals.takeOut(t.w)
	t.g.run.count--
	for _, list := range [][]EpochInfo{t.g.epochs, t.g.run.epochs} {
		for i := range list {
			if list[i].Epoch == t.w.Epoch {
				list[i].Windows--
				list[i].Hits -= t.w.Total
				list[i].Revised -= t.w.revised()
			}
		}
	}
}

// count counts a line in what is known of its group and run.
func (g *group) count(e *entry, l *hist.Line) {
	w := e.w
	g.index = max(g.index, l.Index)
	g.totals.add(w, false)
	g.run.last = max(g.run.last, e.id)
	if w.Bookkeeping {
		return
	}
	g.run.count++
	if w.Number != hist.NoNumber {
		k := w.key()
		if g.oldest.number == hist.NoNumber || k.below(g.oldest) {
			g.oldest = k
		}
		if g.newest.below(k) {
			g.newest = k
		}
	}
	for _, list := range []*[]EpochInfo{&g.epochs, &g.run.epochs} {
		*list = addEpoch(*list, EpochInfo{Epoch: w.Epoch, First: e.id, Last: e.id, Windows: 1, Hits: w.Total, Revised: w.revised()})
		for i := range l.Counts.Spans {
			if s := &l.Counts.Spans[i]; s.Run == g.run.name {
				*list = addEpoch(*list, EpochInfo{Epoch: s.Epoch, First: e.id, Last: e.id,
					Start: hit.Seconds(s.First), End: hit.Seconds(s.Last + 1)})
			}
		}
	}
}

// bytes returns what an entry takes, about.
func (e *entry) bytes() int64 {
	const pointers = 4 * 8 // in both lists, which may have twice the room
	n := int64(unsafe.Sizeof(*e)) + pointers + int64(cap(e.zip))
	if w := e.w; w != nil {
		n += int64(unsafe.Sizeof(*w)) + 8*int64(len(w.Counts)+len(w.Late)+len(w.Last)+len(w.FPGAHits)+len(w.Missing))
	}
	return n
}

// weigh puts right what a group's sums take.
func (h *History) weigh(g *group) {
	n := int64(unsafe.Sizeof(*g)+unsafe.Sizeof(*g.run)) + int64(len(g.settings)+len(g.run.name))
	n += 2*int64(cap(g.epochs)+1)*int64(unsafe.Sizeof(EpochInfo{})) + g.gone.size() + g.head.size() + g.tail.size()
	h.bytes += n - g.size
	g.size = n
}

// setPresent makes a run the present one. Of the others only what is kept can be added up.
func (h *History) setPresent(r *run) {
	was := h.present
	h.present = r
	if was == nil {
		return
	}
	for _, g := range was.groups {
		g.gone, g.head, g.goneTo = nil, nil, 0
		h.weigh(g)
	}
	h.prune()
}

// knownRuns is how many of the last runs are known by name when nothing of them is kept, so that a late line does not start one again.
const knownRuns = 64

// prune forgets groups and runs of which nothing is kept, but for the present ones.
func (h *History) prune() {
	left := len(h.runs)
	h.runs = slices.DeleteFunc(h.runs, func(r *run) bool {
		left--
		r.groups = slices.DeleteFunc(r.groups, func(g *group) bool {
			if len(g.list) > 0 || r == h.present && g == r.newest {
				return false
			}
			h.bytes -= g.size
			return true
		})
		return len(r.groups) == 0 && r != h.present && (left >= knownRuns || len(r.name) > 256)
	})
}

// evict lets the oldest lines go until the bounds hold.
func (h *History) evict() error {
	var first error
	for len(h.all) > h.maxWindows || h.bytes > h.maxBytes {
		e := h.all[0]
		if n := len(h.all); n == 1 || n == 2 && e == h.newest {
			break
		}
		g := e.g
		gone, goneTo := g.gone, g.goneTo
		if g.run == h.present && e.place >= goneTo {
			goneTo = e.place/small*small + small
			if goneTo > g.tailFrom {
				goneTo = e.place + 1
			}
			p, err := h.sum(g.list[:goneTo-g.from])
			if err == nil {
				p, err = plus(gone, p)
			}
			if err == nil {
				gone = p
			} else if first == nil {
				first = err
			}
		}
		h.dropBlocks(g, e.place)
		h.mu.Lock()
		if e.w != nil {
			h.kept--
			if k := e.w.key(); e.w.Number != hist.NoNumber && (g.evicted.number == hist.NoNumber || g.evicted.below(k)) {
				g.evicted = k
			}
		}
		if gone != g.gone {
			g.gone = gone
			h.weigh(g)
		}
		g.goneTo = goneTo
		h.bytes -= e.bytes()
		h.all[0], g.list[0] = nil, nil
		h.all, g.list = h.all[1:], g.list[1:]
		g.from++
		if h.newest == e {
			h.newest = h.all[len(h.all)-1]
		}
		if len(g.list) == 0 {
			h.prune()
		}
		h.mu.Unlock()
	}
	return first
}

// dropBlocks forgets the sums of the blocks that hold a window which is about to go.
func (h *History) dropBlocks(g *group, place int64) {
	for level, n := range []int64{1, small, large} {
		if from := place / n * n; from >= g.from && from+n <= g.end() {
			h.caches[level].drop(key(g.list[from-g.from : from-g.from+n]))
		}
	}
}

// entry returns the line with an id, or nil. One of the locks is held.
func (h *History) entry(id int64) *entry {
	if len(h.all) == 0 || id < h.all[0].id || id >= h.next {
		return nil
	}
	if e := h.all[id-h.all[0].id]; e.w != nil {
		return e
	}
	return nil
}

// notKept is the error for an id.
func (h *History) notKept(id int64) error {
	if len(h.all) == 0 {
		return fmt.Errorf("window %d is %w: there are none yet", id, ErrNotKept)
	}
	return fmt.Errorf("window %d is %w: %d to %d are", id, ErrNotKept, h.all[0].id, h.next-1)
}

// Newest returns the newest window that is not bookkeeping, a bookkeeping line if there is nothing else, or nil.
func (h *History) Newest() *Window {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.newest == nil {
		return nil
	}
	return h.newest.w
}

// Oldest returns the id of the oldest line that is kept, or 0.
func (h *History) Oldest() int64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, e := range h.all {
		if e.w != nil {
			return e.id
		}
	}
	return 0
}

// Last returns the id of the last line that was added, bookkeeping or not, or 0.
func (h *History) Last() int64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.next - 1
}

// Len returns how many lines are kept.
func (h *History) Len() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.kept
}

// Bytes returns about how many bytes all that is kept takes: texts, windows and sums.
func (h *History) Bytes() int64 {
	h.mu.RLock()
	n := h.bytes
	h.mu.RUnlock()
	for i := range h.caches {
		n += h.caches[i].size()
	}
	return n
}

// between returns a copy of the entries between two ids, as far as they are kept. A lock is held.
func (h *History) between(from, to int64) []*entry {
	if len(h.all) == 0 {
		return nil
	}
	first := h.all[0].id
	from, to = max(from, first), min(to, h.next-1)
	if from > to {
		return nil
	}
	return slices.Clone(h.all[from-first : to-first+1])
}

// Windows returns the windows with ids from one to another, both among them, as far as they are kept; also bookkeeping ones.
func (h *History) Windows(from, to int64) []*Window {
	h.mu.RLock()
	list := h.between(from, to)
	h.mu.RUnlock()
	out := make([]*Window, 0, len(list))
	for _, e := range list {
		if e.w != nil {
			out = append(out, e.w)
		}
	}
	return out
}

// Revised returns the windows that took the place of others since a number that it returned before, as far as they are kept, by id; since 0: ever.
func (h *History) Revised(since int64) (list []*Window, now int64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.changes == since {
		return nil, since
	}
	for _, e := range h.all {
		if e.w != nil && e.w.Change > since {
			list = append(list, e.w)
		}
	}
	return list, h.changes
}

// Text returns a line as it came, or with what it took over from those that it replaced; without a line feed. It is the caller's.
func (h *History) Text(id int64) ([]byte, error) {
	h.mu.RLock()
	e := h.entry(id)
	err := h.notKept(id)
	h.mu.RUnlock()
	if e == nil {
		return nil, err
	}
	return h.text(e)
}

func (h *History) text(e *entry) ([]byte, error) {
	return h.decoder.DecodeAll(e.zip, make([]byte, 0, e.size))
}

// Sum adds up the windows with ids from one to another, both among them, of the run and settings of window to; the others are counted. Where
// from is no longer kept, the sum begins with the oldest window that is.
func (h *History) Sum(from, to int64) (*Sum, error) {
	h.mu.RLock()
	last := h.entry(to)
	if last == nil || from > to {
		defer h.mu.RUnlock()
		if last != nil {
			return nil, fmt.Errorf("from %d to %d is no range", from, to)
		}
		return nil, h.notKept(to)
	}
	g := last.g
	span := h.between(from, to)
	tail, tailFrom, toEnd := g.tail, g.tailFrom, last.place == g.end()-1
	stale, hasStale := staleEpoch(g.run.epochs)
	h.mu.RUnlock()

	var t totals
	list := make([]*entry, 0, len(span))
	leftOut := 0
	for _, e := range span {
		switch {
		case e.g == g:
			list = append(list, e)
			if e.w != nil {
				t.add(e.w, hasStale && e.w.Epoch == stale)
			}
		case e.w != nil && !e.w.Bookkeeping:
			leftOut++
		}
	}
	var rest *part
	if toEnd && list[0].place <= tailFrom {
		list, rest = list[:tailFrom-list[0].place], tail
	}
	p, err := h.sum(list)
	switch {
	case err != nil:
	case p == nil:
		p, err = plus(rest, nil)
	default:
		err = (&summing{p}).add(rest)
	}
	if err != nil {
		return nil, err
	}
	return newSum(p, &t, leftOut), nil
}

// Whole returns the sum of the present run from its first line on, also of windows that are no longer kept, or nil when there are none. Its settings are those
// of the newest line of the run.
func (h *History) Whole() *Sum {
	h.mu.RLock()
	r := h.present
	if r == nil {
		h.mu.RUnlock()
		return nil
	}
	g := r.newest
	head, tail, t := g.head, g.tail, g.totals
	t.missing = slices.Clone(t.missing)
	leftOut := r.count - t.windows
	if stale, ok := staleEpoch(r.epochs); ok {
		for i := range g.epochs {
			if g.epochs[i].Epoch == stale {
				t.stale = g.epochs[i].Hits
			}
		}
	}
	h.mu.RUnlock()
	p, err := plus(head, tail)
	if err != nil {
		return nil // can't be: each line was seen to fit
	}
	return newSum(p, &t, leftOut)
}

// newSum makes a Sum of a part that is not shared.
func newSum(p *part, t *totals, leftOut int) *Sum {
	return &Sum{
		Counts: p.counts, From: t.first, To: t.last, Windows: t.windows, LeftOut: leftOut, Complete: t.windows > 0 && t.incomplete == 0,
		Start: t.start, End: t.end, Seconds: t.seconds, Arrived: t.arrived, Other: newestOther(p.other), Source: slices.Clone(p.sources), Stale: t.stale,
		Incomplete: t.incomplete, Revised: t.revised, Revision: t.revision, Missing: t.lanesMissing(), Lanes: t.lanes,
	}
}

// Recent returns the ids from and to of the last seconds of windows up to one, of its run, epoch and settings: those that began at most
// so long before its end in time of their clock, or, of lines with the clock "all" and bare ones, that arrived at most so long before it.
// The window itself is always among them, and so is bookkeeping that follows it at once. Both are 0 when there is no such window.
func (h *History) Recent(at int64, seconds float64) (from, to int64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	e := h.entry(at)
	if e == nil {
		return 0, 0
	}
	list, i := e.g.list, int(e.place-e.g.from)
	from, to = at, at
	for _, next := range list[i+1:] {
		if next.w != nil {
			if !next.w.Bookkeeping {
				break
			}
			to = next.id
		}
	}
	isWindow := func(e *entry) bool { return e.w != nil && !e.w.Bookkeeping && !e.late }
	for i > 0 && !isWindow(list[i]) {
		i--
	}
	if !isWindow(list[i]) {
		return from, to
	}
	w := list[i].w
	from = w.ID
	for i--; i >= 0; i-- {
		if !isWindow(list[i]) {
			continue
		}
		v := list[i].w
		const rounding = 1e-6 // s
		if v.Epoch != w.Epoch {
			break
		}
		if w.Bare || w.Clock == hist.All {
			if float64(w.Arrived-v.Arrived) > seconds*1e6 {
				break
			}
		} else if v.Start < w.End-seconds-rounding {
			break
		}
		from = v.ID
	}
	return from, to
}

// Run returns the ids of the first and the last line that is kept of the run and settings of a window, or 0 when there is no such window.
func (h *History) Run(at int64) (from, to int64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	e := h.entry(at)
	if e == nil {
		return 0, 0
	}
	for _, e := range e.g.list {
		if e.w != nil {
			if from == 0 {
				from = e.id
			}
			to = e.id
		}
	}
	return from, to
}

// Runs returns the runs of which anything is kept, and the present one, by their first lines. The present run is the one that started last.
func (h *History) Runs() []RunInfo {
	h.mu.RLock()
	defer h.mu.RUnlock()
	out := make([]RunInfo, 0, len(h.runs))
	for _, r := range h.runs {
		if len(r.groups) == 0 {
			continue
		}
		info := RunInfo{Name: r.name, First: r.first, Last: r.last, Windows: r.count, Since: r.since, Epochs: slices.Clone(r.epochs)}
		judge(info.Epochs)
		out = append(out, info)
	}
	return out
}
