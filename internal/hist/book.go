package hist

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"dt/internal/hit"
)

// bookOrbit closes the lowest pending orbit, o, of an epoch, and books its hits.
func (l *Lane) bookOrbit(e *waiting, o int64, early bool) {
	c := l.window(e.epoch, o)
	words, chambers := l.words[:0], l.chambers[:0]
	for m := e.full; m != 0; m &= m - 1 {
		f := bits.TrailingZeros8(m)
		if e.heads[f] != o {
			continue
		}
		q := &e.queues[f]
		for {
			words = append(words, q.head.words[q.first])
			chambers = append(chambers, q.head.chambers[q.first])
			q.pop(&l.pool)
			if q.n == 0 {
				e.full &^= 1 << f
				break
			}
			if e.heads[f] = int64(uint32(q.head.words[q.first] >> hit.OrbitShift)); e.heads[f] != o {
				break
			}
		}
	}
	for len(e.strays) > 0 && int64(e.strays[0].orbit) == o {
		s := e.strays.pop()
		if s.late {
			l.bookLate(c, e.epoch, s.word, s.chamber)
			continue
		}
		words = append(words, s.word)
		chambers = append(chambers, s.chamber)
	}
	l.words, l.chambers = words, chambers
	if len(words) == 0 {
		return
	}
	n := int64(len(words))
	l.pending -= n
	l.ledger.Pending -= n
	l.early = l.early || early

	if c.occupy(l.run, e.epoch, o) {
		l.fold(c)
		c.spill()
		l.binLo, l.binHi = 0, 0
	}
	if o < l.binLo || o >= l.binHi {
		l.turn(c, o)
	}
	inChamber := int64(0)
	trigger := int64(math.MaxInt64)
	touched := uint32(0)
	for i, w := range words {
		fpga := &c.FPGA[w>>hit.FPGAShift&7]
		fpga.Last = o
		fpga.TDC[w&(tdcBins-1)]++
		if bx := w >> hit.BXShift & 4095 / bxWidth; bx < bxBins {
			fpga.BX[bx]++
		} else {
			fpga.BXOverflow++
		}
		switch code := chambers[i]; code {
		case hit.Scintillator:
			c.Trigger.Hits++
			l.ledger.Scintillator++
			trigger = min(trigger, hit.Ticks(w))
		case hit.NoChamber:
			l.ledger.Unassigned++
		default:
			inChamber++
			channel := w >> hit.ChannelShift & (hit.Channels - 1)
			c.Chambers[code-1].Occupancy[channel]++
			l.masks[code-1] |= 1 << channel
			touched |= 1 << (code - 1)
		}
	}
	if early {
		l.ledger.Early += inChamber
	} else {
		l.ledger.Hits += inChamber
	}
	for m := touched; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m)
		k := bits.OnesCount64(l.masks[i])
		c.Chambers[i].Multiplicity[k]++
		l.active[i] += int64(k)
		l.masks[i] = 0
	}
	if trigger != math.MaxInt64 {
		l.bookTrigger(c, trigger)
	}
	if l.Hit != nil {
		l.tell(e.epoch, trigger)
	}
}

// bookTrigger books what needs the time of the scintillator: l.words is an orbit with a scintillator hit at ticks trigger.
func (l *Lane) bookTrigger(c *Counts, trigger int64) {
	c.Trigger.Orbits++
	var layers [hit.MaxChambers]uint8 // bit k: an in-time hit in layer k+1
	for i, w := range l.words {
		code := l.chambers[i]
		if code == hit.Scintillator || code == hit.NoChamber {
			continue
		}
		channel := int(w >> hit.ChannelShift & 511)
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

// tell hands the hits of the orbit that was booked to l.Hit, by time.
func (l *Lane) tell(epoch uint32, trigger int64) {
	order := make([]int, len(l.words))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(hit.Ticks(l.words[a]), hit.Ticks(l.words[b])), cmp.Compare(l.words[a], l.words[b]))
	})
	for _, i := range order {
		b := Booked{Word: l.words[i], Chamber: l.chambers[i]}
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

// occupy notes that orbit o, which is not below those before of its epoch, has hits in time, and reports whether
// it is the first of a span.
func (c *Counts) occupy(run string, epoch uint32, o int64) bool {
	n := len(c.Spans)
	if n == 0 || c.Spans[n-1].Epoch != epoch {
		c.Spans = append(c.Spans, Span{Run: run, Epoch: epoch, First: o, Last: o, Live: [][2]int64{{o, o}}})
		for f := range c.FPGA {
			c.FPGA[f].Last = -1
		}
		return true
	}
	s := &c.Spans[n-1]
	if o-s.Last > LiveGap {
		s.Live = append(s.Live, [2]int64{o, o})
	} else {
		s.Live[len(s.Live)-1][1] = o
	}
	s.Last = o
	return false
}

// turn makes the bin of orbit o the one that is being filled.
func (l *Lane) turn(c *Counts, o int64) {
	l.fold(c)
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

// fold adds what was collected for a bin of Hist_2 to it.
func (l *Lane) fold(c *Counts) {
	for i := range c.Chambers {
		n := l.active[i]
		if n == 0 {
			continue
		}
		l.active[i] = 0
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
