package main

import (
	"slices"
	"time"

	"dt/internal/hit"
)

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

// tie hands on the messages of one time (ms) that are next in several partitions, as soon as all of them are here.
//
// The hits of each FPGA go by orbit, for so the detector sends them, and of those that may be next that of the lowest orbit goes first. What is no
// hit goes with the message before it in its partition. So does a hit that jumps while the next of its FPGA there is back near the last one.
// Where orbits of one FPGA are more than farOrbits apart, those near the last one go first, then the higher: the counter was restarted. So
// a jump forward within one ms is taken for a restart where no hit came before.
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
	short := false // of one that has nothing left, more must be looked at
	for i := range m.tied {
		m.chain(i)
		if err := m.follow(i, 0); err != nil {
			return false, err
		}
		short = short || m.tied[i].short()
	}
	for f := range m.lowest {
		m.lower(f)
	}
	for best := m.choose(); best >= 0 && !short; best = m.choose() {
		g := &m.tied[best]
		f := g.fpga
		m.last[f] = g.orbit
		m.unchain(best, f)
		if err := m.follow(best, 1); err != nil {
			return false, err
		}
		m.lower(f)
		short = g.short()
	}
	for i := range m.tied {
		if err := m.refill(m.tied[i].part); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (g *tied) short() bool { return g.left == 0 && !g.whole }

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
