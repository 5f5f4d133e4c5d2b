package hist

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"dt/internal/hit"
)

// Add adds the counts of another window, lane or line, which it leaves as they are.
func (c *Counts) Add(o *Counts) error {
	if a, b := c.Set.Digest(), o.Set.Digest(); a != b {
		return fmt.Errorf("settings %s and %s do not add up", a, b)
	}
	if !c.Set.fits(o.Set) {
		return errors.New("settings have the same digest, but not the same bins")
	}
	// Negative: o has the newer last span, zero: it is the same.
	newer := compareLast(c.Spans, o.Spans)
	lo := min(c.AutoLo, o.AutoLo)
	for i := range c.Chambers {
		a, b := &c.Chambers[i], &o.Chambers[i]
		c.sumByChannel(o, i, &a.Hist1, &b.Hist1, &a.Occupancy, &b.Occupancy)
		c.sumByChannel(o, i, &a.Hist3, &b.Hist3, &a.Scintillator, &b.Scintillator)
		a.Count += b.Count
		if c.Set.Auto == 0 {
			a.Hist2.sum(&b.Hist2)
		} else {
			a.Hist2.sumAuto(&b.Hist2, newer, c.AutoLo-lo, o.AutoLo-lo)
		}
		a.Hist4.sum(&b.Hist4)
		a.Late += b.Late
		sum(a.Multiplicity[:], b.Multiplicity[:])
		sum(a.TriggerMultiplicity[:], b.TriggerMultiplicity[:])
		for layer := range a.DriftLayer {
			sum(a.DriftLayer[layer], b.DriftLayer[layer])
			sum(a.Efficiency[layer][:], b.Efficiency[layer][:])
		}
	}
	c.Trigger.Hits += o.Trigger.Hits
	c.Trigger.Orbits += o.Trigger.Orbits
	for f := range c.FPGA {
		a, b := &c.FPGA[f], &o.FPGA[f]
		switch {
		case newer < 0:
			a.Last = b.Last
		case newer == 0:
			a.Last = max(a.Last, b.Last)
		}
		if m := o.Set.fpgas; m != 0 && m>>f&1 == 0 {
			continue // not in the line that was read
		}
		sum(a.BX[:], b.BX[:])
		a.BXOverflow += b.BXOverflow
		sum(a.TDC[:], b.TDC[:])
	}
	switch {
	case newer < 0:
		c.AutoLo = o.AutoLo
	case newer == 0:
		c.AutoLo = lo
	}
	c.Spans = unite(c.Spans, o.Spans)
	c.Ledger.Add(&o.Ledger)
	c.count += o.count
	return nil
}

// fits reports whether the bins are the same.
func (s *Settings) fits(o *Settings) bool {
	return len(s.Map.Chambers) == len(o.Map.Chambers) && s.Auto == o.Auto && s.Hist1.like(&o.Hist1) && s.Hist4.like(&o.Hist4) &&
		(s.Auto > 0 || s.Hist2.like(&o.Hist2))
}

// like reports whether two axes have the same edges. The width of one bin is not known of a line that was read.
func (a *Axis) like(b *Axis) bool {
	return a.n == b.n && a.Lo == b.Lo && (a.n == 1 || a.Width == b.Width)
}

// compareLast compares the last spans. No span is before all.
func compareLast(a, b []Span) int {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(len(a), len(b))
	}
	return compareSpans(&a[len(a)-1], &b[len(b)-1])
}

func compareSpans(a, b *Span) int {
	return cmp.Or(cmp.Compare(a.Run, b.Run), cmp.Compare(a.Epoch, b.Epoch))
}

func sum(a, b []int64) {
	b = b[:len(a)]
	for i, n := range b {
		a[i] += n
	}
}

func (h *Hist) sum(o *Hist) {
	switch {
	case o.Counts == nil: // of a bare line
	case h.Counts == nil:
		h.Counts = slices.Clone(o.Counts)
	default:
		sum(h.Counts, o.Counts)
	}
	h.Underflow += o.Underflow
	h.Overflow += o.Overflow
}

// sumAuto adds to Hist_2 with Auto. newer is as in Add; shift and at say where the bins of h and of o move.
func (h *Hist) sumAuto(o *Hist, newer int, shift, at int64) {
	h.Underflow += o.Underflow
	h.Overflow += o.Overflow
	switch {
	case newer < 0:
		h.Overflow += total(h.Counts)
		h.Counts = slices.Clone(o.Counts)
	case newer > 0:
		h.Overflow += total(o.Counts)
	default:
		if shift > 0 {
			was := *h
			h.Counts = nil
			h.place(was.Counts, shift)
		}
		h.place(o.Counts, at)
	}
}

// place adds counts from bin at on; what has no bin is overflow.
func (h *Hist) place(counts []int64, at int64) {
	for i := len(counts) - 1; i >= 0; i-- {
		n, bin := counts[i], at+int64(i)
		switch {
		case n == 0:
		case bin >= MaxAutoBins:
			h.Overflow += n
		default:
			h.grow(bin + 1)
			h.Counts[bin] += n
		}
	}
}

func total(counts []int64) int64 {
	t := int64(0)
	for _, n := range counts {
		t += n
	}
	return t
}

// unite returns the spans of both, ascending. It changes a, and shares nothing with b that changes.
func unite(a, b []Span) []Span {
	if n := len(a); n > 0 && len(b) == 1 && compareSpans(&a[n-1], &b[0]) == 0 {
		// Windows of a run come one after the other.
		s, o := &a[n-1], &b[0]
		s.First, s.Last = min(s.First, o.First), max(s.Last, o.Last)
		s.Live = uniteLive(s.Live, o.Live)
		return a
	}
	var all []Span
	for len(a) > 0 || len(b) > 0 {
		order := -1
		switch {
		case len(a) == 0:
			order = 1
		case len(b) > 0:
			order = compareSpans(&a[0], &b[0])
		}
		var s Span
		switch {
		case order < 0:
			s, a = a[0], a[1:]
			s.Live = slices.Clone(s.Live)
		case order > 0:
			s, b = b[0], b[1:]
			s.Live = slices.Clone(s.Live)
		default:
			s = Span{a[0].Run, a[0].Epoch, min(a[0].First, b[0].First), max(a[0].Last, b[0].Last), uniteLive(a[0].Live, b[0].Live)}
			a, b = a[1:], b[1:]
		}
		all = append(all, s)
	}
	return all
}

// uniteLive returns the live stretches of two sets of orbits together, from those of each. That is exact, because
// both ends of a stretch are orbits with hits. It changes a.
func uniteLive(a, b [][2]int64) [][2]int64 {
	if n := len(a); n > 0 && len(b) > 0 && b[0][0] > a[n-1][1] {
		if b[0][0]-a[n-1][1] <= LiveGap {
			a[n-1][1] = b[0][1]
			b = b[1:]
		}
		return append(a, b...)
	}
	all := make([][2]int64, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		var s [2]int64
		if len(b) == 0 || len(a) > 0 && a[0][0] <= b[0][0] {
			s, a = a[0], a[1:]
		} else {
			s, b = b[0], b[1:]
		}
		if n := len(all); n > 0 && s[0]-all[n-1][1] <= LiveGap {
			all[n-1][1] = max(all[n-1][1], s[1])
		} else {
			all = append(all, s)
		}
	}
	return all
}

// Add adds another ledger, which it leaves as it is.
func (l *Ledger) Add(o *Ledger) {
	l.Read += o.Read
	l.Hits += o.Hits
	l.Late += o.Late
	l.Scintillator += o.Scintillator
	l.Unassigned += o.Unassigned
	l.NotAHit += o.NotAHit
	l.Early += o.Early
	l.Pending += o.Pending
	l.Missing += o.Missing
	l.Doubled += o.Doubled
	for stage, reasons := range o.SetAside {
		for reason, n := range reasons {
			l.Set(stage, reason, n)
		}
	}
}

// Set counts n records that a stage set aside for a reason. It does not count them as read.
func (l *Ledger) Set(stage, reason string, n int64) {
	if l.SetAside == nil {
		l.SetAside = map[string]map[string]int64{}
	}
	if l.SetAside[stage] == nil {
		l.SetAside[stage] = map[string]int64{}
	}
	l.SetAside[stage][reason] += n
}

// Off returns by how many words the terms do not add up to what was read: 0 if they do.
func (l *Ledger) Off() int64 {
	n := l.Hits + l.Late + l.Scintillator + l.Unassigned + l.NotAHit + l.Early + l.Pending
	for _, reasons := range l.SetAside {
		for _, k := range reasons {
			n += k
		}
	}
	return max(n-l.Read, l.Read-n)
}

// Balanced reports whether the terms add up to what was read.
func (l *Ledger) Balanced() bool { return l.Off() == 0 }

// Hist1 returns a copy of Hist_1 of chamber i, from 0: as it was read from a line, or from the occupancy.
func (c *Counts) Hist1(i int) Hist {
	ch := &c.Chambers[i]
	return c.byChannel(i, &ch.Hist1, &ch.Occupancy)
}

// Hist3 is like Hist1.
func (c *Counts) Hist3(i int) Hist {
	ch := &c.Chambers[i]
	return c.byChannel(i, &ch.Hist3, &ch.Scintillator)
}

func (c *Counts) byChannel(i int, read *Hist, counts *[hit.Channels]int64) Hist {
	h := *read
	if h.Counts != nil || c.Bare() {
		h.Counts = slices.Clone(h.Counts)
		return h
	}
	h.Counts = make([]int64, c.Set.Hist1.n)
	c.addByChannel(&h, i, counts)
	return h
}

// addByChannel adds counts of channels of chamber i, from 0, to Hist_1 or Hist_3.
func (c *Counts) addByChannel(h *Hist, i int, counts *[hit.Channels]int64) {
	first := int64(c.Set.Map.Chambers[i].FirstChannel)
	for channel := first; channel < first+hit.Channels; channel++ {
		h.add(&c.Set.Hist1, channel, counts[channel%hit.Channels])
	}
}

// sumByChannel adds Occupancy and Hist_1, or Scintillator and Hist_3, of chamber i of o to those of c. A histogram that has not been read
// stays what the other counts say, unless it is added to one that has been.
func (c *Counts) sumByChannel(o *Counts, i int, h, oh *Hist, counts, ocounts *[hit.Channels]int64) {
	if h.Counts != nil || oh.Counts != nil {
		if h.Counts == nil {
			*h = c.byChannel(i, h, counts)
		}
		if oh.Counts == nil && !o.Bare() {
			o.addByChannel(h, i, ocounts)
		} else {
			h.sum(oh)
		}
	}
	sum(counts[:], ocounts[:])
}

// live returns the sum of the live stretches, in orbits.
func (c *Counts) live() int64 {
	n := int64(0)
	for i := range c.Spans {
		for _, s := range c.Spans[i].Live {
			n += s[1] - s[0]
		}
	}
	return n
}
