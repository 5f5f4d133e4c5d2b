package main

import (
	"math"
	"slices"
	"time"

	"dt/internal/hit"
)

// A merger puts the messages of the partitions of a topic in one order: by their times, each partition's own order kept, also where its
// times step back. It is decided by the messages that are next, so a log that is read again, in whatever pieces, gives the same
// order. Only what comes too late for its place (see grace) makes that depend on when it came.
//
// Where several partitions have messages of one time (ms), byOrbit orders the hits among them, within each FPGA, by orbit, for so the detector sends
// them; of several FPGAs the lower orbit goes first. What is no hit goes with the message before it in its partition. A hit that jumps, while the next of its FPGA in
// that partition is back where the others are, orders nothing. Where orbits of one FPGA lie more than far apart, those near the last one come first,
// then the higher: the counter was restarted. (A jump forward within one ms, shared by partitions, is taken for that when there was no hit before.)
type merger struct {
	parts []*mergePart // ascending by partition
	heads []int64      // of each, the time of its next message, or none or over

	byOrbit  bool
	grace    time.Duration // how long a message waits for others that may still be on their way
	patience time.Duration // how long one waits for a partition that does not answer; 0: for ever, and the answer must be newer than the message
	load     func(p *mergePart, f *fetched) error
	// emit hands on items, or the first of them, and says how many.
	emit func(p *mergePart, items []mergeItem) (int, error)

	last [hit.MaxFPGA + 1]int64 // orbit of the last hit of each FPGA; −1: none yet
	wait time.Duration          // in which messages may go on though nothing comes; 0: never

	// Of a tie.
	tied   []tied
	firsts [hit.MaxFPGA + 1][]int64 // of each FPGA, the orbit of the first of its hits that is left in each of the tied, or −1
	lowest [hit.MaxFPGA + 1]int     // and in which of them it comes first, or −1
}

// A mergePart is a partition in the merge.
type mergePart struct {
	id    int
	queue []arrival   // not loaded yet
	items []mergeItem // of these the next is at pos
	pos   int
	bad   []badMessage // of items, in order; the next is at badAt
	badAt int
	front *fetched  // whose memory items need, or nil
	since time.Time // when the first of items came
	at    time.Time // and the last

	expect int64 // messages before this offset have been loaded
	after  int64 // where to read next, behind queue
	next   int64 // everything before was handed on

	atEnd bool // the last answer said that there is no more
	endAt time.Time
	done  bool // nothing more will come
}

type arrival struct {
	f  *fetched
	at time.Time
}

// A mergeItem is a message, or a gap before one.
type mergeItem struct {
	time, offset int64
	word         uint64 // the word; of a gap, how many messages are gone; of a line, its index in front
	next         int32  // in a tie, the next hit of this FPGA in items, or −1
	kind         itemKind
	free         bool // in a tie: it orders nothing
}

type itemKind uint8

const (
	itemWord itemKind = iota
	itemBad
	itemGap
)

// Times in heads where there is no message.
const (
	none     = math.MaxInt64     // but there may be one
	over     = math.MaxInt64 - 1 // nor will there be
	lastTime = math.MaxInt64 - 2
)

const (
	mergeGrace = 25 * time.Millisecond
	// tieMost bounds how many messages of one time and partition are put in order together.
	tieMost = 4096
	// farOrbits is the step from which on an orbit is of another stretch of the counter, as in the source's judgement.
	farOrbits = 65_536
)

func newMerger() *merger {
	m := new(merger)
	m.forget()
	return m
}

// forget makes last that of a run that begins.
func (m *merger) forget() {
	for f := range m.last {
		m.last[f] = -1
	}
}

// begin says which partitions are merged from now on, and where each begins. Of those that were merged before and have not been read
// further elsewhere, what is here stays; that of the others is dropped.
func (m *merger) begin(from map[int]place) {
	before := m.parts
	m.parts, m.heads = nil, nil
	for _, p := range before {
		if at, ok := from[p.id]; ok && p.resumes(at) {
			p.done, p.atEnd = false, false
			m.parts = append(m.parts, p)
		} else {
			p.drop()
		}
	}
	for id, at := range from {
		if m.part(id) == nil {
			m.parts = append(m.parts, &mergePart{id: id, expect: at.Offset, after: at.Offset, next: at.Offset})
		}
	}
	slices.SortFunc(m.parts, func(a, b *mergePart) int { return a.id - b.id })
	for _, p := range m.parts {
		m.heads = append(m.heads, p.head())
	}
}

// resumes reports whether what p holds is of use where it is to begin.
func (p *mergePart) resumes(from place) bool { return from.Offset <= p.next }

// drop lets go of all that is held.
func (p *mergePart) drop() {
	for _, a := range p.queue {
		a.f.release()
	}
	p.queue, p.items, p.pos = nil, nil, 0
	p.letGo()
}

func (p *mergePart) letGo() {
	if p.front != nil {
		p.front.release()
		p.front = nil
	}
}

func (m *merger) part(id int) *mergePart {
	for _, p := range m.parts {
		if p.id == id {
			return p
		}
	}
	return nil
}

// head returns what stands in heads for p.
func (p *mergePart) head() int64 {
	switch {
	case p.pos < len(p.items):
		return min(p.items[p.pos].time, lastTime)
	case p.done:
		return over
	}
	return none
}

// take takes what was fetched of a partition that is merged; next says what can go on because of it.
func (m *merger) take(f *fetched, now time.Time) error {
	i := slices.IndexFunc(m.parts, func(p *mergePart) bool { return p.id == f.partition })
	if i < 0 {
		f.release()
		return nil
	}
	p := m.parts[i]
	p.after = max(p.after, f.next)
	if p.atEnd = f.next >= f.high; p.atEnd {
		p.endAt = now
	}
	if len(f.messages) == 0 && f.gap == 0 {
		f.release()
	} else {
		p.queue = append(p.queue, arrival{f, now})
	}
	return m.refill(i)
}

// done says that no more comes of a partition.
func (m *merger) done(id int) {
	for i, p := range m.parts {
		if p.id == id {
			p.done = true
			m.heads[i] = p.head()
		}
	}
}

// over reports whether all partitions are done and handed on.
func (m *merger) over() bool {
	return !slices.ContainsFunc(m.heads, func(h int64) bool { return h != over })
}

// refill loads what was fetched where p has nothing left.
func (m *merger) refill(i int) error {
	p := m.parts[i]
	for p.pos == len(p.items) {
		p.letGo()
		p.items, p.pos = p.items[:0], 0
		if len(p.queue) == 0 {
			p.next = p.after // behind the last message there may be offsets without one
			break
		}
		if err := m.more(p); err != nil {
			return err
		}
	}
	m.heads[i] = p.head()
	return nil
}

// more loads the next that was fetched behind items.
func (m *merger) more(p *mergePart) error {
	a := p.queue[0]
	p.queue = slices.Delete(p.queue, 0, 1)
	if p.pos == len(p.items) {
		p.since = a.at
	}
	p.at = a.at
	p.items = slices.Delete(p.items, 0, p.pos)
	p.bad = slices.Delete(p.bad, 0, p.badAt)
	p.pos, p.badAt = 0, 0
	return m.load(p, a.f)
}

// hand hands on n items.
func (m *merger) hand(p *mergePart, n int) error {
	if n == 0 {
		return nil
	}
	n, err := m.emit(p, p.items[p.pos:p.pos+n])
	if n > 0 {
		p.pos += n
		p.next = p.items[p.pos-1].offset + 1
	}
	return err
}

// step hands on some messages, if there are any whose turn it is. Where it returns, what follows depends on nothing but the messages that are
// next, and last.
func (m *merger) step(now time.Time) (more bool, err error) {
	m.wait = 0
	first, same, waiting := -1, 0, 0
	time, second := int64(over), int64(over)
	for i, h := range m.heads {
		switch {
		case h == none:
			waiting++
		case h < time:
			first, same, time, second = i, 1, h, time
		case h == time && h != over:
			same++
		case h < second:
			second = h
		}
	}
	switch {
	case first < 0 || waiting > 0 && !m.mayPass(time, now):
		return false, nil
	case same > 1 && m.byOrbit:
		return m.tie(time, now)
	case same > 1:
		second = time + 1
	}
	p := m.parts[first]
	end := p.pos + 1
	for end < len(p.items) && p.items[end].time < second {
		end++
	}
	if m.byOrbit {
		m.note(p.items[p.pos:end])
	}
	if err := m.hand(p, end-p.pos); err != nil {
		return false, err
	}
	return true, m.refill(first)
}

// note keeps the orbits of hits that are handed on.
func (m *merger) note(items []mergeItem) {
	for i := range items {
		if it := &items[i]; it.kind == itemWord && hit.IsHit(it.word) {
			m.last[hit.FPGA(it.word)] = orbitOf(it.word)
		}
	}
}

func orbitOf(w uint64) int64 { return int64(uint32(w >> hit.OrbitShift)) }

// mayPass reports whether the next messages, which are of this time, need not wait for the partitions that have none.
func (m *merger) mayPass(t int64, now time.Time) bool {
	var at time.Time
	for i, h := range m.heads {
		if h == t && m.parts[i].at.After(at) {
			at = m.parts[i].at
		}
	}
	if m.patience > 0 {
		m.wait = max(0, at.Add(m.patience).Sub(now))
	}
	for i, h := range m.heads {
		p := m.parts[i]
		switch {
		case h != none:
		case m.patience > 0 && !p.atEnd && m.wait > 0, m.patience == 0 && !(p.atEnd && p.endAt.After(at)):
			return false
		}
	}
	return m.waited(at, now)
}

// waited reports whether what came at a time has waited for its grace.
func (m *merger) waited(at, now time.Time) bool {
	m.wait = max(0, at.Add(m.grace).Sub(now))
	return m.wait == 0
}

// A tied is the messages of one time that a partition has in a tie with others.
type tied struct {
	p     *mergePart
	part  int
	left  int                    // of its next items
	whole bool                   // that is all it has of this time
	first [hit.MaxFPGA + 1]int32 // of each FPGA the first of its hits, in items, or −1
	fpga  int                    // of the next item, a hit; −1: nothing is left
	orbit int64
}

// tie hands on the messages of one time that are next in several partitions, as soon as all of them are here.
func (m *merger) tie(t int64, now time.Time) (more bool, err error) {
	m.tied = m.tied[:0]
	for i, h := range m.heads {
		if h != t {
			continue
		}
		p := m.parts[i]
		n, err := m.stretch(p, t, now)
		if n == 0 || err != nil {
			return false, err
		}
		m.tied = append(m.tied, tied{p: p, part: i, left: n, whole: n < tieMost})
	}
	for f := range m.firsts {
		m.firsts[f] = slices.Grow(m.firsts[f][:0], len(m.tied))[:len(m.tied)]
	}
	for i := range m.tied {
		m.chain(i)
		if err := m.follow(i, 0); err != nil {
			return false, err
		}
	}
	for f := range m.lowest {
		m.lower(f)
	}
	for best := m.choose(); best >= 0; best = m.choose() {
		g := &m.tied[best]
		f := g.fpga
		m.last[f] = g.orbit
		m.unchain(best, f)
		if err := m.follow(best, 1); err != nil {
			return false, err
		}
		if g.left == 0 && !g.whole {
			break // more of it takes part
		}
		m.lower(f)
	}
	for i := range m.tied {
		if err := m.refill(m.tied[i].part); err != nil {
			return false, err
		}
	}
	return true, nil
}

// choose returns which of the tied has the next message, or −1 at the end: of the hits that wait for no other of their FPGA that with the lowest
// orbit. Where a step back within a partition has all wait for each other, it is the lowest of all.
func (m *merger) choose() int {
	best := -1
	for f, i := range m.lowest {
		if i >= 0 && m.tied[i].fpga == f && (best < 0 || m.tied[i].orbit < m.tied[best].orbit) {
			best = i
		}
	}
	if best >= 0 {
		return best
	}
	for i := range m.tied {
		if g := &m.tied[i]; g.fpga >= 0 && (best < 0 || g.orbit < m.tied[best].orbit) {
			best = i
		}
	}
	return best
}

// lower finds which of the tied has the first hit of an FPGA; of equals one that has it next.
func (m *merger) lower(f int) {
	best, low, lowNear := -1, int64(0), false
	last := m.last[f]
	for i, o := range m.firsts[f] {
		if o < 0 {
			continue
		}
		isNear := last >= 0 && near(o, last)
		first := o < low
		switch {
		case best < 0:
			first = true
		case isNear != lowNear:
			first = isNear
		case o == low:
			first = m.tied[best].fpga != f && m.tied[i].fpga == f
		case !isNear && !near(o, low):
			first = o > low // the counter was restarted
		}
		if first {
			best, low, lowNear = i, o, isNear
		}
	}
	m.lowest[f] = best
}

// stretch returns how many messages of this time are next in p, at most tieMost; 0 when there may be more to come.
func (m *merger) stretch(p *mergePart, t int64, now time.Time) (int, error) {
	for n := 0; ; {
		for n < tieMost && p.pos+n < len(p.items) && min(p.items[p.pos+n].time, lastTime) == t {
			n++
		}
		switch {
		case n == tieMost, p.pos+n < len(p.items):
			return n, nil
		case len(p.queue) > 0:
			if err := m.more(p); err != nil {
				return 0, err
			}
		case p.done, p.atEnd && m.waited(p.since, now):
			return n, nil
		default:
			return 0, nil
		}
	}
}

// chain finds the hits of each FPGA in one of the tied, and those that order nothing.
func (m *merger) chain(i int) {
	g := &m.tied[i]
	items := g.p.items
	for f := range g.first {
		g.first[f], m.firsts[f][i] = -1, -1
	}
	for k := g.p.pos + g.left - 1; k >= g.p.pos; k-- {
		it := &items[k]
		it.free = true
		if it.kind != itemWord || !hit.IsHit(it.word) {
			continue
		}
		f, o := hit.FPGA(it.word), orbitOf(it.word)
		behind := m.firsts[f][i]
		if last := m.last[f]; last >= 0 && behind >= 0 && !near(o, last) && near(behind, last) {
			continue
		}
		it.free, it.next = false, g.first[f]
		g.first[f], m.firsts[f][i] = int32(k), o
	}
}

// unchain takes the first hit of an FPGA out of one of the tied.
func (m *merger) unchain(i, f int) {
	g := &m.tied[i]
	items := g.p.items
	next := items[g.first[f]].next
	g.first[f], m.firsts[f][i] = next, -1
	if next >= 0 {
		m.firsts[f][i] = orbitOf(items[next].word)
	}
}

// follow hands on n items of one of the tied and those behind them that order nothing.
func (m *merger) follow(i, n int) error {
	g := &m.tied[i]
	p := g.p
	for n < g.left && p.items[p.pos+n].free {
		n++
	}
	if err := m.hand(p, n); err != nil {
		return err
	}
	g.fpga = -1
	if g.left -= n; g.left > 0 {
		w := p.items[p.pos].word
		g.fpga, g.orbit = hit.FPGA(w), orbitOf(w)
	}
	return nil
}

func near(a, b int64) bool { return a-b <= farOrbits && b-a <= farOrbits }
