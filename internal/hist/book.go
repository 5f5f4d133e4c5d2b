package hist

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"dt/internal/hit"
)

// Counters of single hits are kept in flat tables, by chamber code and by FPGA, until the window ends; bookHits fills them. bookOrbits
// counts what an orbit counts for as a whole.

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

// close books all orbits of an epoch below limit.
//
// Only an orbit with a scintillator hit needs the hits of all FPGAs together: a chamber belongs to one FPGA, so the active channels
// of an orbit can be counted FPGA by FPGA. So hits are booked straight from the queues, up to the next orbit that needs more: one with a trigger or a
// stray, or the end of the window, of Hist_2's bin, or of the second after the last hit.
func (l *Lane) close(e *waiting, limit int64, early bool) {
	for {
		o := l.oldest(e)
		if o >= limit {
			return
		}
		l.early = l.early || early // also of a window that ends because of it
		c := l.window(e.epoch, o)
		l.early = l.early || early
		trigger, stray := e.nextTrigger(o), int64(math.MaxInt64)
		if len(e.strays) > 0 {
			stray = int64(e.strays[0].orbit)
		}
		if o == trigger || o == stray || l.Hit != nil || early {
			l.closeOrbit(c, e, o, early)
			continue
		}
		span := l.occupy(c, e.epoch, o)
		stop := min(limit, trigger, stray, l.binHi, o+LiveGap+1)
		if l.set.Clock == Detector {
			stop = min(stop, l.end)
		}
		last := o
		for m := e.full; m != 0; m &= m - 1 {
			if f := bits.TrailingZeros8(m); e.heads[f] < stop {
				last = max(last, l.bookQueue(c, e, f, stop))
			}
		}
		span.Last = last
		span.Live[len(span.Live)-1][1] = last
	}
}

// bookQueue books the hits of one FPGA in orbits below stop, and returns the last of these orbits.
func (l *Lane) bookQueue(c *Counts, e *waiting, f int, stop int64) (last int64) {
	q := &e.queues[f]
	n := int64(0)
	for {
		b, from, end := q.head, q.first, q.headEnd()
		to := from
		for to < end && int64(uint32(b.words[to]>>hit.OrbitShift)) < stop {
			to++
		}
		whole := to
		if to == end && b != q.tail {
			// The last orbit may go on in the next block.
			for o := uint32(b.words[to-1] >> hit.OrbitShift); whole > from && uint32(b.words[whole-1]>>hit.OrbitShift) == o; {
				whole--
			}
		}
		last = int64(uint32(b.words[to-1] >> hit.OrbitShift))
		if whole > from {
			l.bookHits(b.words[from:whole], b.chambers[from:whole])
			l.bookOrbits(c, b.words[from:whole], b.chambers[from:whole])
			n += int64(whole - from)
		}
		q.first = whole
		if whole < to {
			words, chambers := l.takeOrbit(e, f, last, l.words[:0], l.chambers[:0])
			l.words, l.chambers = words, chambers
			l.bookHits(words, chambers)
			l.bookOrbits(c, words, chambers)
			n += int64(len(words))
		} else if whole == end {
			q.drop(&l.pool)
			e.full &^= 1 << f
		}
		if e.full>>f&1 != 0 {
			e.heads[f] = int64(uint32(q.head.words[q.first] >> hit.OrbitShift))
			if e.heads[f] < stop {
				continue
			}
		}
		l.booked(n)
		return last
	}
}

// takeOrbit moves the hits of orbit o, the next one, from queue f to the end of words and chambers.
func (l *Lane) takeOrbit(e *waiting, f int, o int64, words []uint64, chambers []uint8) ([]uint64, []uint8) {
	q := &e.queues[f]
	for {
		b, from, end := q.head, q.first, q.headEnd()
		to := from
		for to < end && int64(uint32(b.words[to]>>hit.OrbitShift)) == o {
			to++
		}
		if n := len(words) + to - from; n > manyHits && n > cap(words) {
			// Room for all there may be, once.
			words, chambers = slices.Grow(words, int(l.pending)), slices.Grow(chambers, int(l.pending))
		}
		words = append(words, b.words[from:to]...)
		chambers = append(chambers, b.chambers[from:to]...)
		q.first = to
		switch {
		case to < end:
			e.heads[f] = int64(uint32(b.words[to] >> hit.OrbitShift))
			return words, chambers
		case b == q.tail:
			q.drop(&l.pool)
			e.full &^= 1 << f
			return words, chambers
		}
		q.nextBlock(&l.pool)
	}
}

// manyHits is more than an orbit has, but for one where something is wrong.
const manyHits = 65536

// closeOrbit books orbit o, the oldest, with the hits of all FPGAs together, and the late hits that wait for it.
func (l *Lane) closeOrbit(c *Counts, e *waiting, o int64, early bool) {
	words, chambers := l.words[:0], l.chambers[:0]
	for m := e.full; m != 0; m &= m - 1 {
		if f := bits.TrailingZeros8(m); e.heads[f] == o {
			words, chambers = l.takeOrbit(e, f, o, words, chambers)
		}
	}
	for len(e.strays) > 0 && int64(e.strays[0].orbit) == o {
		if s := e.strays.pop(); s.late {
			l.bookLate(c, e.epoch, s.word, s.chamber)
		} else {
			words = append(words, s.word)
			chambers = append(chambers, s.chamber)
		}
	}
	l.words, l.chambers = words, chambers
	if len(words) == 0 {
		return
	}
	span := l.occupy(c, e.epoch, o)
	span.Last = o
	span.Live[len(span.Live)-1][1] = o
	l.booked(int64(len(words)))
	if early {
		l.foldHits(false)
	}
	l.bookHits(words, chambers)
	l.bookOrbit(c, words, chambers)
	if early {
		l.foldHits(true)
	}
	if l.Hit != nil {
		l.tell(e.epoch, words, chambers)
	}
	if cap(words) > manyHits {
		l.words, l.chambers = nil, nil
	}
}

// booked counts hits that are pending no more.
func (l *Lane) booked(n int64) {
	l.pending -= n
	l.booking.Pending -= n
}

// occupy notes that orbit o has hits in time: in the span of its epoch, and in Hist_2's bin, which becomes the one that is being filled.
func (l *Lane) occupy(c *Counts, epoch uint32, o int64) *Span {
	if n := len(c.Spans); n == 0 || c.Spans[n-1].Epoch != epoch {
		l.beginSpan(c, epoch, o)
	}
	span := &c.Spans[len(c.Spans)-1]
	if o-span.Last > LiveGap {
		span.Live = append(span.Live, [2]int64{o, o})
	}
	if o < l.binLo || o >= l.binHi {
		l.turn(c, o)
	}
	return span
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
		l.booking.Early += inChamber
	} else {
		l.booking.Hits += inChamber
	}
	l.booking.Unassigned += take(hit.NoChamber, nil)
	n := take(hit.Scintillator, nil)
	l.booking.Scintillator += n
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

// bookOrbits counts orbits without a scintillator hit, in the bin of Hist_2 that is being filled.
func (l *Lane) bookOrbits(c *Counts, words []uint64, chambers []uint8) {
	chambers = chambers[:len(words)]
	for i := 0; i < len(words); {
		o := uint32(words[i] >> hit.OrbitShift)
		if i+1 == len(words) || uint32(words[i+1]>>hit.OrbitShift) != o {
			// Most orbits have one hit of an FPGA.
			code := chambers[i]
			l.single[code]++
			l.active[code]++
			i++
			continue
		}
		end := i + 2
		for end < len(words) && uint32(words[end]>>hit.OrbitShift) == o {
			end++
		}
		l.bookOrbit(c, words[i:end], chambers[i:end])
		i = end
	}
}

// bookOrbit counts one orbit, or what one FPGA has of it if it has no scintillator hit.
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
	l.booked(1)
	switch chamber {
	case hit.Scintillator:
		l.booking.Scintillator++
	case hit.NoChamber:
		l.booking.Unassigned++
	default:
		l.booking.Late++
		ch := &c.Chambers[chamber-1]
		ch.Late++
		ch.Occupancy[w>>hit.ChannelShift&(hit.Channels-1)]++
	}
	if l.Hit != nil {
		l.Hit(epoch, Booked{Word: w, Chamber: chamber, Late: true})
	}
}

// tell hands the hits of the orbit that was booked to l.Hit, by time.
func (l *Lane) tell(epoch uint32, words []uint64, chambers []uint8) {
	trigger := int64(math.MaxInt64)
	for i, code := range chambers {
		if code == hit.Scintillator {
			trigger = min(trigger, hit.Ticks(words[i]))
		}
	}
	order := make([]int, 0, 16)
	for i := range words {
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
