// Package hist turns hits into the result lines that RESULTS.md defines: it waits for orbits to close, books their
// hits in windows, and merges, writes and reads lines. All sums are integers. It does no input or output.
package hist

import (
	"slices"

	"dt/internal/hit"
)

// Bounds of what a result holds.
const (
	MaxPending    = 4 << 20 // pending hits of a lane, before the oldest orbit closes early
	MaxAutoBins   = 400_000
	TriggerBins   = 17 // Trigger_Multiplicity: 0 … 15, 16 or more
	InTime        = 500 * hit.DriftPerNS
	LiveGap       = hit.OrbitsPerSecond // orbits; a longer gap between hits is not live
	bxBins        = 99
	bxWidth       = 36
	tdcBins       = 32
	fpgas         = hit.MaxFPGA + 1
	activeBins    = hit.Channels + 1
	defaultAuto   = hit.OrbitsPerSecond
	defaultWindow = 5_000_000_000 // ns
)

// An Axis has n bins of Width from Lo, in whole units: channels, orbits, or 1/30 ns. Values from Lo to Limit−1 are in.
type Axis struct {
	Lo, Limit, Width int64
	n                int
}

// A Hist counts on an axis.
type Hist struct {
	Counts              []int64
	Underflow, Overflow int64
}

// add counts v, weight times.
func (h *Hist) add(a *Axis, v, weight int64) {
	switch {
	case v < a.Lo:
		h.Underflow += weight
	case v >= a.Limit:
		h.Overflow += weight
	default:
		h.Counts[(v-a.Lo)/a.Width] += weight
	}
}

// Clock says what cuts windows.
type Clock string

// The clocks.
const (
	Detector Clock = "detector"
	All      Clock = "all"
	Wall     Clock = "wall"
)

// Settings are what all lines that are added up have in common.
type Settings struct {
	Clock  Clock
	Length int64 // of a window: orbits for Detector, ns for Wall
	Hist1  Axis  // also of Hist_3; channels
	Hist2  Axis  // orbits; without meaning when Auto > 0
	Hist4  Axis  // 1/30 ns
	Auto   int64 // width in orbits of Hist_2's bins with --hist2 auto, else 0
	Map    *hit.Map
	digest string
	bare   bool  // of a bare line
	fpgas  uint8 // bit f: FPGA f is in the lines; of settings that were read from a line, whose map is not known
}

// Counts is what one window, or part of one, holds. Everything in it adds up.
type Counts struct {
	Set      *Settings
	Chambers []Chamber // of the map, in order
	Trigger  Trigger
	FPGA     [fpgas]FPGA
	Spans    []Span // ascending by run and epoch
	AutoLo   int64  // with Auto: the number of the first bin, orbit div Auto, of the last span
	Ledger   Ledger
	count    int64 // Total Count of bare lines, else 0
}

// Chamber is the counts of one chamber.
type Chamber struct {
	Count               int64 // of bare lines, else 0: see Hits
	Late                int64
	Hist1, Hist3        Hist
	Hist2               Hist // with Auto: the last span's, see auto
	Hist4               Hist
	Occupancy           [hit.Channels]int64
	Scintillator        [hit.Channels]int64
	Multiplicity        [activeBins]int64
	DriftLayer          [hit.Layers][]int64
	TriggerMultiplicity [TriggerBins]int64
	Efficiency          [hit.Layers][2]int64 // eligible, found
}

// Trigger counts scintillator hits in time, and orbits with one.
type Trigger struct{ Hits, Orbits int64 }

// FPGA is the counts of the hits in time of one FPGA.
type FPGA struct {
	Last       int64 // highest orbit in the last span; −1: none there
	BX         [bxBins]int64
	BXOverflow int64
	TDC        [tdcBins]int64
}

// A Span is what a window holds of one epoch of one run.
type Span struct {
	Run         string
	Epoch       uint32
	First, Last int64      // orbits
	Live        [][2]int64 // stretches of orbits
}

// A Ledger says what became of the records read since the line before.
type Ledger struct {
	Read, Hits, Late, Scintillator, Unassigned, NotAHit, Early, Pending int64
	SetAside                                                            map[string]map[string]int64 // by stage and reason
	Missing, Doubled                                                    int64                       // outside the sum
}

// Bins returns how many bins an axis has.
func (a *Axis) Bins() int { return a.n }

// Edge returns the lower edge of bin i, from 0.
func (a *Axis) Edge(i int) int64 { return a.Lo + int64(i)*a.Width }

// NewCounts returns empty Counts.
func NewCounts(set *Settings) *Counts {
	c := &Counts{Set: set, Chambers: make([]Chamber, len(set.Map.Chambers))}
	for i := range c.Chambers {
		ch := &c.Chambers[i]
		if set.bare {
			continue
		}
		if set.Auto == 0 {
			ch.Hist2.Counts = make([]int64, set.Hist2.n)
		}
		ch.Hist4.Counts = make([]int64, set.Hist4.n)
		for layer := range ch.DriftLayer {
			ch.DriftLayer[layer] = make([]int64, set.Hist4.n)
		}
	}
	for f := range c.FPGA {
		c.FPGA[f].Last = -1
	}
	return c
}

// Hits returns the hits of a chamber, in time and late.
func (c *Chamber) Hits() int64 {
	n := c.Count
	for _, k := range c.Occupancy {
		n += k
	}
	return n
}

// autoBins returns how many bins Hist_2 has with Auto.
func (c *Counts) autoBins() int64 {
	if len(c.Spans) == 0 {
		return 0
	}
	s := &c.Spans[len(c.Spans)-1]
	return min(s.Last/c.Set.Auto-s.First/c.Set.Auto+1, MaxAutoBins)
}

// Empty reports whether there is nothing in a ledger.
func (l *Ledger) Empty() bool {
	return l.Read|l.Hits|l.Late|l.Scintillator|l.Unassigned|l.NotAHit|l.Early|l.Pending|l.Missing|l.Doubled == 0 && len(l.SetAside) == 0
}

// SetAsideBy adds n records that a stage set aside for a reason, which count as read.
func (l *Ledger) SetAsideBy(stage, reason string, n int64) {
	l.Set(stage, reason, n)
	l.Read += n
}

// Relabel makes counts of windows those of --window all.
func (c *Counts) Relabel() {
	set := *c.Set
	set.SetWindow(All, 0)
	c.Set = &set
}

// SetMap sets the map.
func (s *Settings) SetMap(m *hit.Map) { s.Map, s.digest = m, "" }

// Total returns the hits of all chambers, in time and late; of bare lines what they say.
func (c *Counts) Total() int64 {
	if c.Bare() {
		return c.count
	}
	n := int64(0)
	for i := range c.Chambers {
		n += c.Chambers[i].Hits()
	}
	return n
}

// LiveSeconds returns the live detector time.
func (c *Counts) LiveSeconds() float64 { return hit.Seconds(c.live()) }

// Bare reports whether only what bare lines have is known.
func (c *Counts) Bare() bool { return c.Set.bare }

// Hist2 returns a copy of Hist_2 of chamber i, from 0, and its axis in orbits, which with Auto is that of the last span. Of a bare
// line that lacks it, Counts are nil.
func (c *Counts) Hist2(i int) (Axis, Hist) {
	a, h := c.axis2(), c.Chambers[i].Hist2
	h.Counts = slices.Clone(h.Counts)
	if c.Set.Auto > 0 {
		h.grow(int64(a.n))
	}
	return a, h
}

// axis2 returns the axis of Hist_2.
func (c *Counts) axis2() Axis {
	if c.Set.Auto == 0 {
		return c.Set.Hist2
	}
	a := Axis{Lo: c.AutoLo * c.Set.Auto, Width: c.Set.Auto, n: int(c.autoBins())}
	a.Limit = a.Lo + int64(a.n)*a.Width
	return a
}

// Clone returns a copy that shares nothing but the Settings.
func (c *Counts) Clone() *Counts {
	d := *c
	d.Chambers = slices.Clone(c.Chambers)
	for i := range d.Chambers {
		ch := &d.Chambers[i]
		for _, list := range []*[]int64{&ch.Hist1.Counts, &ch.Hist2.Counts, &ch.Hist3.Counts, &ch.Hist4.Counts} {
			*list = slices.Clone(*list)
		}
		for layer := range ch.DriftLayer {
			ch.DriftLayer[layer] = slices.Clone(ch.DriftLayer[layer])
		}
	}
	d.Spans = slices.Clone(c.Spans)
	for i := range d.Spans {
		d.Spans[i].Live = slices.Clone(d.Spans[i].Live)
	}
	d.Ledger = Ledger{}
	d.Ledger.Add(&c.Ledger)
	return &d
}
