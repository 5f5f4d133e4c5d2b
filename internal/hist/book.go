package hist

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"sort"

	"dt/internal/hit"
)

// Hits are booked in batches: gather brings the hits of closed orbits into the order of their orbits, bookHits counts what each
// hit counts for by itself, and bookOrbits what an orbit counts for as a whole. Counters of single hits are kept in flat tables, by chamber
// code, until the window ends.

// batch is how many hits are booked at a time; more where one orbit has more.
const batch = 4096

// codes is how many chamber codes there are.
const codes = 256

// tally is what hits in time count for by themselves, by chamber code and by FPGA.
type tally struct {
	channels [codes * hit.Channels]int64
	bx       [fpgas * (hit.MaxBX/bxWidth + 1)]int64
	tdc      [fpgas * tdcBins]int64
	last     [fpgas]int64 // orbit of the last hit of an FPGA; −1: none since the tally was folded
	n        int64        // hits
}

const bxCells = hit.MaxBX/bxWidth + 1

// gather moves hits of an epoch with orbits below limit to l.words and l.chambers, ascending, whole orbits only, and late ones to l.lates. It
// reports whether it left some because the batch is full.
func (l *Lane) gather(e *waiting, limit int64) (more bool) {
	words, chambers := l.words[:0], l.chambers[:0]
	l.lates = l.lates[:0]
	last := int64(-1)
	for {
		// The queue whose head is the lowest, and the lowest of what comes after.
		lowest, bound, at := int64(math.MaxInt64), int64(math.MaxInt64), -1
		for m := e.full; m != 0; m &= m - 1 {
			f := bits.TrailingZeros8(m)
			if h := e.heads[f]; h < lowest {
				lowest, bound, at = h, lowest, f
			} else if h < bound {
				bound = h
			}
		}
		next := int64(math.MaxInt64) // of the strays
		if len(e.strays) > 0 {
			next = int64(e.strays[0].orbit)
		}
		if least := min(lowest, next); least >= limit {
			break
		} else if len(words)+len(l.lates) >= batch && least > last {
			more = true
			break
		}
		if next <= lowest {
			s := e.strays.pop()
			if last = next; s.late {
				l.lates = append(l.lates, s)
			} else {
				words = append(words, s.word)
				chambers = append(chambers, s.chamber)
			}
			continue
		}
		if len(words) >= batch {
			bound = lowest // only the rest of this orbit
		} else if other := e.full &^ (1 << at); other != 0 && other&(other-1) == 0 {
			// The two FPGAs of the detector.
			words, chambers = l.mergeTwo(e, at, bits.TrailingZeros8(other), min(limit, next), words, chambers)
			last = int64(uint32(words[len(words)-1] >> hit.OrbitShift))
			continue
		}
		bound = min(bound, next, limit-1)
		q := &e.queues[at]
		head := q.head
		for {
			i, end := q.first, q.headEnd()
			from := i
			for i < end && int64(uint32(head.words[i]>>hit.OrbitShift)) <= bound {
				i++
			}
			if len(words) > 4*batch && len(words)+blockLen > cap(words) {
				// An orbit with very many hits: room for all there may be, once.
				words, chambers = slices.Grow(words, int(l.pending)-len(words)), slices.Grow(chambers, int(l.pending)-len(words))
			}
			words = append(words, head.words[from:i]...)
			chambers = append(chambers, head.chambers[from:i]...)
			if i < end {
				q.first = i
				e.heads[at] = int64(uint32(head.words[i] >> hit.OrbitShift))
				break
			}
			if head == q.tail {
				q.drop(&l.pool)
				e.full &^= 1 << at
				break
			}
			head = q.nextBlock(&l.pool)
			if len(words) >= batch+blockLen {
				bound = min(bound, int64(uint32(words[len(words)-1]>>hit.OrbitShift)))
			}
		}
		last = int64(uint32(words[len(words)-1] >> hit.OrbitShift))
	}
	l.words, l.chambers = words, chambers
	return more
}

// mergeTwo is the inner loop of gather for two queues: it moves hits with orbits below limit, one at least, until a block of a queue is empty or the
// batch is full. Which queue is next is hard to predict, so there is no branch on it.
func (l *Lane) mergeTwo(e *waiting, f, g int, limit int64, words []uint64, chambers []uint8) ([]uint64, []uint8) {
	p, q := &e.queues[f], &e.queues[g]
	a, b := p.head.words[p.first:p.headEnd()], q.head.words[q.first:q.headEnd()]
	ca, cb := p.head.chambers[p.first:p.headEnd()], q.head.chambers[q.first:q.headEnd()]
	n := len(words)
	words = slices.Grow(words, batch+1)[:n+batch+1]
	chambers = slices.Grow(chambers, batch+1)[:n+batch+1]
	from, i, k := n, 0, 0
	for i < len(a) && k < len(b) && n-from < batch {
		w, w2 := a[i], b[k]
		o, o2 := int64(uint32(w>>hit.OrbitShift)), int64(uint32(w2>>hit.OrbitShift))
		second := (o2 - o) >> 63 // −1 when b is next, else 0
		if o+(o2-o)&second >= limit {
			break
		}
		words[n] = w ^ (w^w2)&uint64(second)
		chambers[n] = ca[i] ^ (ca[i]^cb[k])&uint8(second)
		n++
		k -= int(second)
		i += 1 + int(second)
	}
	e.advance(f, i, &l.pool)
	e.advance(g, k, &l.pool)
	return words[:n], chambers[:n]
}

// advance drops n hits, which are all in the first block, from queue f.
func (e *waiting) advance(f, n int, p *pool) {
	q := &e.queues[f]
	q.first += n
	switch {
	case q.first < q.headEnd():
	case q.head == q.tail:
		q.drop(p)
		e.full &^= 1 << f
		return
	default:
		q.nextBlock(p)
	}
	e.heads[f] = int64(uint32(q.head.words[q.first] >> hit.OrbitShift))
}

// close books all orbits of an epoch below limit.
func (l *Lane) close(e *waiting, limit int64, early bool) {
	for more := true; more; {
		more = l.gather(e, limit)
		l.book(e.epoch, l.words, l.chambers, l.lates, early)
		if cap(l.words) > 16*batch {
			l.words, l.chambers = nil, nil // it was an orbit like no other
		}
	}
}

// book books a batch, window by window.
func (l *Lane) book(epoch uint32, words []uint64, chambers []uint8, lates []stray, early bool) {
	for len(words)+len(lates) > 0 {
		first := int64(math.MaxInt64)
		if len(words) > 0 {
			first = int64(uint32(words[0] >> hit.OrbitShift))
		}
		if len(lates) > 0 {
			first = min(first, int64(lates[0].orbit))
		}
		l.early = l.early || early // also of a window that ends because of it
		c := l.window(epoch, first)
		n := len(words)
		if l.set.Clock == Detector && n > 0 && int64(uint32(words[n-1]>>hit.OrbitShift)) >= l.end {
			n = sort.Search(n, func(i int) bool { return int64(uint32(words[i]>>hit.OrbitShift)) >= l.end })
		}
		for len(lates) > 0 && (l.set.Clock != Detector || int64(lates[0].orbit) < l.end) {
			l.bookLate(c, epoch, lates[0].word, lates[0].chamber)
			lates = lates[1:]
		}
		l.pending -= int64(n)
		l.ledger.Pending -= int64(n)
		if n == 0 {
			continue
		}
		if k := len(c.Spans); k == 0 || c.Spans[k-1].Epoch != epoch {
			l.beginSpan(c, epoch, int64(uint32(words[0]>>hit.OrbitShift)))
		}
		if early {
			l.foldHits(false)
		}
		l.early = l.early || early
		l.bookHits(words[:n], chambers[:n])
		l.bookOrbits(c, epoch, words[:n], chambers[:n])
		if early {
			l.foldHits(true)
		}
		words, chambers = words[n:], chambers[n:]
	}
}

// bookHits counts hits of the window that is being filled.
func (l *Lane) bookHits(words []uint64, chambers []uint8) {
	t := &l.tally
	chambers = chambers[:len(words)]
	for i, w := range words {
		f := w >> hit.FPGAShift & 7
		t.channels[uint64(chambers[i])*hit.Channels+w>>hit.ChannelShift&(hit.Channels-1)]++
		t.bx[f*bxCells+uint64(uint32(w>>hit.BXShift&hit.MaxBX)/bxWidth)]++
		t.tdc[f*tdcBins+w&(tdcBins-1)]++
		t.last[f] = int64(uint32(w >> hit.OrbitShift))
	}
	t.n += int64(len(words))
}

// foldHits moves the tally into the counts of the window and the ledger.
func (l *Lane) foldHits(early bool) {
	t, c := &l.tally, l.counts
	if t.n == 0 {
		return
	}
	t.n = 0
	take := func(code int, to *[hit.Channels]int64) (n int64) {
		cells := t.channels[code*hit.Channels : (code+1)*hit.Channels]
		for i, k := range cells {
			n += k
			if to != nil {
				to[i] += k
			}
		}
		clear(cells)
		return n
	}
	inChamber := int64(0)
	for i := range c.Chambers {
		inChamber += take(i+1, &c.Chambers[i].Occupancy)
	}
	if early {
		l.ledger.Early += inChamber
	} else {
		l.ledger.Hits += inChamber
	}
	l.ledger.Unassigned += take(hit.NoChamber, nil)
	n := take(hit.Scintillator, nil)
	l.ledger.Scintillator += n
	c.Trigger.Hits += n
	for f := range c.FPGA {
		p := &c.FPGA[f]
		if t.last[f] < 0 {
			continue
		}
		p.Last, t.last[f] = t.last[f], -1
		for i := range bxCells {
			if k := &t.bx[f*bxCells+i]; i < bxBins {
				p.BX[i] += *k
				*k = 0
			} else {
				p.BXOverflow += *k
				*k = 0
			}
		}
		for i := range p.TDC {
			p.TDC[i] += t.tdc[f*tdcBins+i]
			t.tdc[f*tdcBins+i] = 0
		}
	}
}

// bookOrbits counts the orbits of the window that is being filled.
func (l *Lane) bookOrbits(c *Counts, epoch uint32, words []uint64, chambers []uint8) {
	chambers = chambers[:len(words)]
	span := &c.Spans[len(c.Spans)-1]
	last := span.Last
	stretch := &span.Live[len(span.Live)-1]
	for i := 0; i < len(words); {
		o := uint32(words[i] >> hit.OrbitShift)
		if int64(o)-last > LiveGap {
			stretch[1] = last
			span.Live = append(span.Live, [2]int64{int64(o), 0})
			stretch = &span.Live[len(span.Live)-1]
		}
		last = int64(o)
		if last < l.binLo || last >= l.binHi {
			l.turn(c, last)
		}
		code := chambers[i]
		if (i+1 == len(words) || uint32(words[i+1]>>hit.OrbitShift) != o) && code != hit.Scintillator {
			// Most orbits have one hit.
			l.single[code]++
			l.active[code]++
			i++
		} else {
			end := i + 1
			for end < len(words) && uint32(words[end]>>hit.OrbitShift) == o {
				end++
			}
			l.bookOrbit(c, words[i:end], chambers[i:end])
			i = end
		}
		if l.Hit != nil {
			l.tell(epoch, o, words[:i], chambers[:i])
		}
	}
	span.Last = last
	stretch[1] = last
}

// bookOrbit counts one orbit that is more than one hit in time.
func (l *Lane) bookOrbit(c *Counts, words []uint64, chambers []uint8) {
	trigger := int64(math.MaxInt64)
	touched := uint32(0)
	for i, w := range words {
		switch code := chambers[i]; code {
		case hit.Scintillator:
			trigger = min(trigger, hit.Ticks(w))
		case hit.NoChamber:
		default:
			k := (code - 1) % hit.MaxChambers
			l.masks[k] |= 1 << (w >> hit.ChannelShift & (hit.Channels - 1))
			touched |= 1 << k
		}
	}
	for m := touched; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m)
		k := bits.OnesCount64(l.masks[i])
		c.Chambers[i].Multiplicity[k]++
		l.active[i+1] += int64(k)
		l.masks[i] = 0
	}
	if trigger != math.MaxInt64 {
		l.bookTrigger(c, words, chambers, trigger)
	}
}

// bookTrigger books what needs the time of the scintillator, which was at ticks trigger.
func (l *Lane) bookTrigger(c *Counts, words []uint64, chambers []uint8, trigger int64) {
	c.Trigger.Orbits++
	var layers [hit.MaxChambers]uint8 // bit k: an in-time hit in layer k+1
	for i, w := range words {
		code := chambers[i]
		if code == hit.Scintillator || code == hit.NoChamber {
			continue
		}
		channel := int(w >> hit.ChannelShift & hit.MaxChannel)
		ch := &c.Chambers[code-1]
		ch.Scintillator[channel%hit.Channels]++
		drift := l.drift(w, code, trigger)
		ch.Hist4.add(&l.set.Hist4, drift, 1)
		layer := l.set.Map.Layer(channel) - 1
		if a := &l.set.Hist4; drift >= a.Lo && drift < a.Limit {
			ch.DriftLayer[layer][(drift-a.Lo)/a.Width]++
		}
		if drift >= 0 && drift < InTime {
			l.masks[code-1] |= 1 << (channel % hit.Channels)
			layers[code-1] |= 1 << layer
		}
	}
	for i := range c.Chambers {
		ch := &c.Chambers[i]
		ch.TriggerMultiplicity[min(bits.OnesCount64(l.masks[i]), TriggerBins-1)]++
		l.masks[i] = 0
		for layer := range ch.Efficiency {
			const all = 1<<hit.Layers - 1
			if others := uint8(all &^ (1 << layer)); layers[i]&others == others {
				ch.Efficiency[layer][0]++
				ch.Efficiency[layer][1] += int64(layers[i] >> layer & 1)
			}
		}
	}
}

// drift returns the drift time of a hit in 1/30 ns.
func (l *Lane) drift(w uint64, chamber uint8, trigger int64) int64 {
	return hit.DriftPerTick*(hit.Ticks(w)-trigger) + l.set.Map.Chambers[chamber-1].Offset
}

// bookLate books a late hit in the window of the newest orbit it came with.
func (l *Lane) bookLate(c *Counts, epoch uint32, w uint64, chamber uint8) {
	l.pending--
	l.ledger.Pending--
	switch chamber {
	case hit.Scintillator:
		l.ledger.Scintillator++
	case hit.NoChamber:
		l.ledger.Unassigned++
	default:
		l.ledger.Late++
		ch := &c.Chambers[chamber-1]
		ch.Late++
		ch.Occupancy[w>>hit.ChannelShift&(hit.Channels-1)]++
	}
	if l.Hit != nil {
		l.Hit(epoch, Booked{Word: w, Chamber: chamber, Late: true})
	}
}

// tell hands the hits of the orbit that was booked, the last of words, to l.Hit, by time.
func (l *Lane) tell(epoch, orbit uint32, words []uint64, chambers []uint8) {
	first := len(words)
	trigger := int64(math.MaxInt64)
	for first > 0 && uint32(words[first-1]>>hit.OrbitShift) == orbit {
		first--
		if chambers[first] == hit.Scintillator {
			trigger = min(trigger, hit.Ticks(words[first]))
		}
	}
	order := make([]int, 0, 16)
	for i := first; i < len(words); i++ {
		order = append(order, i)
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(hit.Ticks(words[a]), hit.Ticks(words[b])), cmp.Compare(words[a], words[b]))
	})
	for _, i := range order {
		b := Booked{Word: words[i], Chamber: chambers[i]}
		if trigger != math.MaxInt64 && b.Chamber != hit.NoChamber && b.Chamber != hit.Scintillator {
			b.InOrbit = true
			b.Drift = l.drift(b.Word, b.Chamber, trigger)
		}
		l.Hit(epoch, b)
	}
}

// window returns the counts of the window that orbit o of an epoch belongs to, which is the one being filled or a later one.
func (l *Lane) window(epoch uint32, o int64) *Counts {
	if l.counts != nil && (l.set.Clock != Detector || l.epoch == epoch && o < l.end) {
		return l.counts
	}
	if l.counts != nil {
		l.emit()
	}
	l.counts = NewCounts(l.set)
	if l.set.Clock == Detector {
		l.epoch = epoch
		l.number = o / l.set.Length
		l.end = (l.number + 1) * l.set.Length
	}
	return l.counts
}

// beginSpan begins the span of an epoch with orbit o.
func (l *Lane) beginSpan(c *Counts, epoch uint32, o int64) {
	l.fold(c)
	c.Spans = append(c.Spans, Span{Run: l.run, Epoch: epoch, First: o, Last: o, Live: [][2]int64{{o, o}}})
	for f := range c.FPGA {
		c.FPGA[f].Last = -1
	}
	c.spill()
	l.binLo, l.binHi = 0, 0
}

// turn makes the bin of orbit o the one that is being filled.
func (l *Lane) turn(c *Counts, o int64) {
	l.foldActive(c)
	if auto := l.set.Auto; auto > 0 {
		l.bin = o/auto - c.AutoLo
		l.binLo = o / auto * auto
		l.binHi = l.binLo + auto
		if l.bin >= MaxAutoBins {
			l.bin = overflow
		}
		return
	}
	switch a := &l.set.Hist2; {
	case o < a.Lo:
		l.bin, l.binLo, l.binHi = underflow, 0, a.Lo
	case o >= a.Limit:
		l.bin, l.binLo, l.binHi = overflow, a.Limit, math.MaxInt64
	default:
		l.bin = (o - a.Lo) / a.Width
		l.binLo = a.Lo + l.bin*a.Width
		l.binHi = min(l.binLo+a.Width, a.Limit)
		l.bin = min(l.bin, int64(a.n)-1) // Hist_2's last orbit may lie on its upper edge
	}
}

const (
	underflow = -1
	overflow  = -2
)

// foldActive adds what was collected for a bin of Hist_2 to it.
func (l *Lane) foldActive(c *Counts) {
	for i := range c.Chambers {
		c.Chambers[i].Multiplicity[1] += l.single[i+1]
		l.single[i+1] = 0
		n := l.active[i+1]
		if n == 0 {
			continue
		}
		l.active[i+1] = 0
		h := &c.Chambers[i].Hist2
		switch l.bin {
		case underflow:
			h.Underflow += n
		case overflow:
			h.Overflow += n
		default:
			h.grow(l.bin + 1)
			h.Counts[l.bin] += n
		}
	}
}

// fold adds all that was collected for the window to its counts.
func (l *Lane) fold(c *Counts) {
	l.foldHits(false)
	l.foldActive(c)
}

// grow makes a histogram have at least n bins.
func (h *Hist) grow(n int64) {
	if k := n - int64(len(h.Counts)); k > 0 {
		h.Counts = append(h.Counts, make([]int64, k)...)
	}
}

// spill is for a new last span: with Auto, what Hist_2 has of the one before moves to its overflow.
func (c *Counts) spill() {
	if c.Set.Auto == 0 {
		return
	}
	c.AutoLo = c.Spans[len(c.Spans)-1].First / c.Set.Auto
	for i := range c.Chambers {
		h := &c.Chambers[i].Hist2
		for _, n := range h.Counts {
			h.Overflow += n
		}
		h.Counts = h.Counts[:0]
	}
}
