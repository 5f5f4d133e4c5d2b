package main

import (
	"math"
	"slices"
	"time"

	"dt/internal/hit"
)

// A merger puts the messages of the partitions of a topic in one order: by their times, each partition's own order kept, also where its
// times step back. The messages that are next decide, so a log that is read again, in whatever pieces, gives the same order. Only what
// comes too late for its place makes that depend on when it came: a message goes on when each other partition has one that is not older, or
// has said since that it has none, and the message has waited for its grace.
//
// What is one fetch ahead of the others waits here and stops its fetcher; a partition that the others wait for has nothing here, and is fetched.
type merger struct {
	parts []*mergePart // ascending by partition
	heads []int64      // of each, the time of its next message, or none or over

	byOrbit  bool          // see tie
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
	at    time.Time // when the last did

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

// drop lets go of all that is held of all partitions.
func (m *merger) drop() {
	for _, p := range m.parts {
		p.drop()
	}
}

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

// take takes what was fetched of a partition. step says what can go on because of it.
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
	low, second := int64(over), int64(over)
	for i, h := range m.heads {
		switch {
		case h == none:
			waiting++
		case h < low:
			first, same, low, second = i, 1, h, low
		case h == low && h != over:
			same++
		case h < second:
			second = h
		}
	}
	switch {
	case first < 0 || waiting > 0 && !m.mayPass(low, now):
		return false, nil
	case same > 1 && m.byOrbit:
		return m.tie(low, now)
	case same > 1:
		second = low + 1
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
