package hist

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"dt/internal/hit"
)

// Bounds of a line that is read.
const (
	MaxLine  = 64 << 20 // bytes
	maxCount = 1 << 53  // of anything that is counted: what every reader of JSON can hold
	maxLanes = 65536    // of a run, as the stream format has it
	maxIndex = 1 << 60  // µs
	maxOther = 64       // histograms that are not known, of a line
	maxPath  = 256      // bytes of the name of one
)

// The keys, in the order in which Append writes them. There is one chamber and one FPGA more than can be.
var (
	lineKeys = keysOf(slices.Concat([]string{"Index", "Total Count", "Chamber_1"}, numbered("Chamber_%d~", 2, hit.MaxChambers+1), []string{"Trigger+"},
		numbered("FPGA_%d*", 0, fpgas-1), []string{"Window+", "Partial*", "Lane*", "Ledger+", "Complete+", "Source+", "Settings+", "Resume*", "Merge*", "Progress*",
			"From~", "Floor~"})...)
	progressKeys = keysOf("Progress", "Run", "Lane", "Epoch", "Number", "End", "Ledger", "Complete", "Source", "Settings", "Resume~", "From~")
	chamberKeys  = keysOf("Count", "Hist_1?", "Hist_2?", "Hist_3?", "Hist_4?", "Late+", "Rate*", "Occupancy+", "Scintillator+", "Multiplicity+", "Drift_Layer+",
		"Trigger_Multiplicity+", "Efficiency+")
	histKeys    = keysOf("Bins", "Counts", "Underflow+", "Overflow+", "Auto*")
	triggerKeys = keysOf("Hits", "Orbits")
	fpgaKeys    = keysOf("Hits", "Last~", "BX", "TDC")
	windowKeys  = keysOf("Clock", "Seconds~", "Start~", "End~", "Live", "Spans", "Revision", "Run~", "Epoch~", "Number~")
	spanKeys    = keysOf("Run", "Epoch", "First", "Last", "Live")
	ledgerKeys  = keysOf("Read", "Hits", "Late", "Scintillator", "Unassigned", "Not_A_Hit", "Early", "Pending", "Set_Aside", "Missing~", "Doubled~")
	sourceKeys  = keysOf("Node", "Lanes", "Missing~")
	laneKeys    = keysOf("Run", "Lane", "First", "Next", "Name~", "Offset~", "Number~", "Partition~", "Tag~")
	otherKeys   = keysOf("Bins", "Counts", "Underflow~", "Overflow~")
)

func numbered(format string, from, to int) []string {
	var names []string
	for i := from; i <= to; i++ {
		names = append(names, fmt.Sprintf(format, i))
	}
	return names
}

// A lineReader reads a line. Keys may come in any order, so what depends on others is checked when all have been read.
type lineReader struct {
	scanner
	any      bool // of ParseAny
	line     *Line
	set      *Settings
	index    int   // where it is in the text
	total    int64 // Total Count
	chambers []chamberText
	partial  bool
	lane     [2]int
}

// A chamberText is what has to be checked of a chamber.
type chamberText struct {
	there                               bool
	count, late, occupied, scintillator int64 // the last two: sums of Occupancy and Scintillator
	hists                               [4]histText
}

// A histText is a histogram that was read.
type histText struct {
	Hist
	axis Axis
	odd  string // why Bins make no axis, or ""
	auto int64
	in   int64 // sum of all that is in it
	at   int   // where it is in the text; 0: nowhere
}

// errProgress ends the reading of a line as a result line.
var errProgress = errors.New("a progress line")

// ParseLine reads back what Append writes, but for bare lines. Keys that it does not know are ignored.
//
// The Settings of the line know the edges and the digest; chambers and offsets are not known, and are not needed to add
// lines and to write them again.
func ParseLine(text []byte) (*Line, error) { return parse(text, false) }

// ParseAny reads what ParseLine reads, and bare lines: those with only the keys of the first published pipeline, which are Index, Total Count, and
// for each chamber Count and Hist_1 to Hist_4 with Bins and Counts. A histogram may be missing, and has no Counts then. Of a bare line Set.Clock is
// "", Window.Number NoNumber, and the digest made of the bins. A line with one key more that Append writes must have them all.
//
// A line may also be a Python literal, as print writes it: where the first quote is a single one, strings may stand in either, and
// whole numbers may be written like 5.0.
//
// Other has the histograms under keys that are not known, of the line itself or of a chamber or FPGA, and those of a bare line whose
// bins can't be an axis of the Settings.
func ParseAny(text []byte) (*Line, error) { return parse(text, true) }

func parse(text []byte, any bool) (*Line, error) {
	if len(text) > MaxLine {
		return nil, fmt.Errorf("a line of %d bytes is longer than %d", len(text), MaxLine)
	}
	r := newLineReader(text, any)
	r.result()
	if errors.Is(r.err, errProgress) {
		r = newLineReader(text, any)
		r.progress()
	}
	if r.err != nil {
		return nil, fmt.Errorf("not a result line: %w", r.err)
	}
	return r.line, nil
}

func newLineReader(text []byte, any bool) *lineReader {
	set := &Settings{Map: new(hit.Map)}
	r := &lineReader{any: any, set: set, line: &Line{Counts: &Counts{Set: set}}}
	r.text = text
	if i := bytes.IndexAny(text, `"'`); any && i >= 0 {
		r.python = text[i] == '\''
	}
	for f := range r.line.Counts.FPGA {
		r.line.Counts.FPGA[f].Last = -1
	}
	return r
}

// progress reads a progress line.
func (r *lineReader) progress() {
	l := r.line
	l.Progress = true
	r.fields(progressKeys, func(key string) {
		switch key {
		case "Progress":
			r.flag()
		case "Run":
			l.Window.Run = r.str()
		case "Lane":
			l.Lane = r.laneOf()
		case "Epoch":
			l.Window.Epoch = uint32(r.int(0, math.MaxUint32))
		case "Number":
			l.Window.Number = r.int(0, maxCount)
		case "End":
			l.End = r.flag()
		default:
			r.tail(key)
		}
	})
	r.end()
}

// tail reads what result and progress lines end with.
func (r *lineReader) tail(key string) {
	switch key {
	case "Ledger":
		r.ledger()
	case "Complete":
		r.line.Complete = r.flag()
	case "Source":
		r.source()
	case "Settings":
		digest := r.str()
		if len(digest) != 16 || strings.Trim(digest, "0123456789abcdef") != "" {
			r.fail("%.40q is not 16 hex digits", digest)
		}
		r.set.digest = digest
	case "Resume":
		raw(r, &r.line.Resume, parseLaneStates)
	case "Merge":
		raw(r, &r.line.Merge, parseMergeState)
	case "From":
		raw(r, &r.line.From, parseFrom)
	case "Floor":
		r.line.Floor = r.flag()
	default:
		r.skip()
	}
}

// raw reads a value that is rare, and small, by its own text.
func raw[T any](r *lineReader, to *T, parse func([]byte) (T, error)) {
	r.peek()
	start := r.pos
	if r.skip(); r.err != nil || r.python {
		return // print writes none of these
	}
	v, err := parse(r.text[start:r.pos])
	if err != nil {
		r.fail("%v", err)
	}
	*to = v
}

// laneOf reads [k, N].
func (r *lineReader) laneOf() [2]int {
	var buf [3]int64
	v, _ := r.counts(buf[:0], 3)
	if len(v) != 2 || v[0] < 1 || v[0] > v[1] || v[1] > maxLanes {
		r.fail("%.40s is not [k, N]", fmt.Sprint(v))
		return [2]int{1, 1}
	}
	return [2]int{int(v[0]), int(v[1])}
}

func (r *lineReader) ledger() {
	l := &r.line.Counts.Ledger
	r.fields(ledgerKeys, func(key string) {
		switch key {
		case "Read":
			l.Read = r.count()
		case "Hits":
			l.Hits = r.count()
		case "Late":
			l.Late = r.count()
		case "Scintillator":
			l.Scintillator = r.count()
		case "Unassigned":
			l.Unassigned = r.count()
		case "Not_A_Hit":
			l.NotAHit = r.count()
		case "Early":
			l.Early = r.count()
		case "Pending":
			l.Pending = r.int(-maxCount, maxCount)
		case "Missing":
			l.Missing = r.count()
		case "Doubled":
			l.Doubled = r.count()
		case "Set_Aside":
			r.setAside(l)
		default:
			r.skip()
		}
	})
}

func (r *lineReader) setAside(l *Ledger) {
	r.object(func(key []byte) {
		stage := r.kept(key)
		if l.SetAside[stage] != nil {
			r.fail("%.40q is there twice", stage)
		}
		r.object(func(key []byte) {
			reason := r.kept(key)
			if _, twice := l.SetAside[stage][reason]; twice {
				r.fail("%.40q is there twice", reason)
			}
			l.Set(stage, reason, r.count())
		})
	})
}

// count reads a number of things.
func (r *lineReader) count() int64 { return r.int(0, maxCount) }

func (r *lineReader) source() {
	r.fields(sourceKeys, func(key string) {
		switch key {
		case "Node":
			r.line.Node = r.str()
		case "Lanes":
			r.list(r.laneSource)
		case "Missing":
			r.list(func() { r.line.Missing = append(r.line.Missing, int(r.int(1, maxLanes))) })
		default:
			r.skip()
		}
	})
}

func (r *lineReader) laneSource() {
	var s LaneSource
	p, named := Place{Partition: -1}, false
	r.fields(laneKeys, func(key string) {
		switch key {
		case "Run":
			s.Run = r.str()
		case "Lane":
			lane := r.laneOf()
			s.K, s.N = uint32(lane[0]), uint32(lane[1])
		case "First":
			s.First = r.uint()
		case "Next":
			s.Next = r.uint()
		case "Name":
			p.Name, named = r.str(), true
		case "Offset":
			p.Offset = r.uint()
		case "Number":
			p.Number = r.uint()
		case "Partition":
			p.Partition = r.count()
		case "Tag":
			p.Tag = r.str()
		default:
			r.skip()
		}
	})
	if s.First > s.Next {
		r.fail("First %d is above Next %d", s.First, s.Next)
	}
	if named {
		s.Place = &p
	}
	r.line.Lanes = append(r.line.Lanes, s)
}

// result reads a line that is no progress line.
func (r *lineReader) result() {
	r.fields(lineKeys, func(key string) {
		switch key {
		case "":
			r.unknown()
		case "Index":
			r.index = r.pos
			r.skip()
		case "Total Count":
			r.total = r.count()
		case "Trigger":
			r.trigger()
		case "Window":
			r.window()
		case "Partial":
			r.partial = r.flag()
		case "Lane":
			r.lane = r.laneOf()
		case "Progress":
			if r.err == nil {
				r.err = errProgress
			}
		default:
			if n, ok := strings.CutPrefix(key, "Chamber_"); ok {
				r.chamber(atoi(n) - 1)
			} else if n, ok := strings.CutPrefix(key, "FPGA_"); ok {
				r.fpga(atoi(n))
			} else {
				r.tail(key)
			}
		}
	})
	r.end()
	for i := range r.chambers {
		if !r.chambers[i].there {
			r.fail("no Chamber_%d", i+1)
		}
	}
	switch bare := r.any && !r.further; {
	case r.err != nil:
	case bare:
		r.bare()
	case r.missing != "":
		r.err = errors.New(r.missing)
	default:
		r.whole()
	}
}

// atoi reads the number of a key.
func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func (r *lineReader) trigger() {
	t := &r.line.Counts.Trigger
	r.fields(triggerKeys, func(key string) {
		switch key {
		case "Hits":
			t.Hits = r.count()
		case "Orbits":
			t.Orbits = r.count()
		default:
			r.skip()
		}
	})
	r.within(t.Orbits, 0, t.Hits)
}

func (r *lineReader) fpga(f int) {
	r.set.fpgas |= 1 << f
	to := &r.line.Counts.FPGA[f]
	var bx histText
	tdc := int64(0)
	r.fields(fpgaKeys, func(key string) {
		switch key {
		case "":
			r.unknown()
		case "Last":
			to.Last = r.int(0, hit.MaxOrbit)
		case "BX":
			bx = r.hist(1, to.BX[:0])
		case "TDC":
			tdc = r.fill(to.TDC[:])
		default:
			r.skip()
		}
	})
	switch {
	case r.err != nil:
	case bx.odd != "" || !bx.axis.like(&bxAxis):
		r.fail("BX has other Bins than 0, %d, … %d", bxWidth, (bxBins-1)*bxWidth)
	case tdc != bx.in-bx.Underflow:
		r.fail("%d hits in TDC, but %d in BX", tdc, bx.in-bx.Underflow)
	}
	to.BXOverflow = bx.Overflow
}

func (r *lineReader) window() {
	l, w := r.line, &r.line.Window
	w.Number = NoNumber
	var seconds, start, end int // where they are in the text
	run, epoch := false, false
	r.fields(windowKeys, func(key string) {
		switch key {
		case "Clock":
			r.set.Clock = Clock(r.str())
		case "Seconds":
			seconds = r.pos
			r.skip()
		case "Start":
			start = r.pos
			r.skip()
		case "End":
			end = r.pos
			r.skip()
		case "Spans":
			r.list(r.span)
		case "Revision":
			w.Revision = r.count()
		case "Run":
			w.Run, run = r.str(), true
		case "Epoch":
			w.Epoch, epoch = uint32(r.int(0, math.MaxUint32)), true
		case "Number":
			w.Number = r.count()
		default:
			r.skip()
		}
	})
	decimal := func(key string, at, digits int) (v int64) {
		if at == 0 {
			r.fail("no %s", key)
		}
		r.at(at, key, func() { v = r.decimal(digits) })
		return v
	}
	within := func(key string, v, low, high int64) {
		r.path = append(r.path, key)
		r.within(v, low, high)
		r.path = r.path[:len(r.path)-1]
	}
	switch r.set.Clock {
	case Detector:
		length := decimal("Seconds", seconds, orbitDigits)
		r.set.Length = length / hit.OrbitNum
		if length%hit.OrbitNum != 0 {
			r.fail("Seconds is no whole number of orbits")
		}
		within("Seconds", r.set.Length, 1, maxEdge)
		if w.Number == NoNumber {
			w.Run, w.Epoch = "", 0
			break
		}
		if !run || !epoch {
			r.fail("Number without Run and Epoch")
		}
		if r.err == nil {
			within("Number", w.Number, 0, hit.MaxOrbit/r.set.Length)
		}
	case Wall, All:
		w.Run, w.Epoch, w.Number = "", 0, NoNumber
		if r.set.Clock == All {
			break
		}
		r.set.Length = decimal("Seconds", seconds, 9)
		within("Seconds", r.set.Length, 1, maxWindow)
		w.Start = decimal("Start", start, 6)
		w.End = decimal("End", end, 6)
		within("Start", w.Start, -maxIndex, maxIndex)
		within("End", w.End, -maxIndex, maxIndex)
	default:
		r.fail("Clock: %.40q", r.set.Clock)
	}
	for i := 1; i < len(l.Counts.Spans); i++ {
		if compareSpans(&l.Counts.Spans[i-1], &l.Counts.Spans[i]) >= 0 {
			r.fail("Spans are not ascending")
		}
	}
}

func (r *lineReader) span() {
	var s Span
	r.fields(spanKeys, func(key string) {
		switch key {
		case "Run":
			s.Run = r.str()
		case "Epoch":
			s.Epoch = uint32(r.int(0, math.MaxUint32))
		case "First":
			s.First = r.int(0, hit.MaxOrbit)
		case "Last":
			s.Last = r.int(0, hit.MaxOrbit)
		case "Live":
			r.list(func() {
				var buf [3]int64
				live, _ := r.counts(buf[:0], 3)
				if len(live) != 2 || live[0] > live[1] || len(s.Live) > 0 && live[0]-s.Live[len(s.Live)-1][1] <= LiveGap {
					r.fail("%.40s", fmt.Sprint(live))
					return
				}
				s.Live = append(s.Live, [2]int64(live))
			})
		default:
			r.skip()
		}
	})
	if n := len(s.Live); n == 0 || s.Live[0][0] != s.First || s.Live[n-1][1] != s.Last {
		r.fail("Live is not from First to Last")
	}
	r.line.Counts.Spans = append(r.line.Counts.Spans, s)
}

// chamber reads chamber i, from 0.
func (r *lineReader) chamber(i int) {
	if i == hit.MaxChambers {
		r.fail("more than %d chambers", hit.MaxChambers)
		return
	}
	c := r.line.Counts
	if c.Chambers == nil {
		c.Chambers, r.chambers = make([]Chamber, 0, 4), make([]chamberText, 0, 4)
	}
	for len(c.Chambers) <= i {
		c.Chambers, r.chambers = append(c.Chambers, Chamber{}), append(r.chambers, chamberText{})
		r.set.Map.Chambers = append(r.set.Map.Chambers, hit.Chamber{Chamber: len(c.Chambers)})
	}
	ch, t := &c.Chambers[i], &r.chambers[i]
	t.there = true
	r.fields(chamberKeys, func(key string) {
		switch key {
		case "":
			r.unknown()
		case "Count":
			t.count = r.count()
		case "Hist_1", "Hist_2", "Hist_3":
			t.hists[key[5]-'1'] = r.hist(1, nil)
		case "Hist_4":
			t.hists[3] = r.hist(hit.DriftPerNS, nil)
		case "Late":
			t.late = r.count()
		case "Occupancy":
			t.occupied = r.fill(ch.Occupancy[:])
		case "Scintillator":
			t.scintillator = r.fill(ch.Scintillator[:])
		case "Multiplicity":
			r.fill(ch.Multiplicity[:])
		case "Trigger_Multiplicity":
			r.fill(ch.TriggerMultiplicity[:])
		case "Drift_Layer":
			r.layers(func(layer int) { ch.DriftLayer[layer], _ = r.counts(make([]int64, 0, t.hists[3].axis.n), MaxBins) })
		case "Efficiency":
			r.layers(func(layer int) { r.fill(ch.Efficiency[layer][:]) })
		default:
			r.skip()
		}
	})
}

// layers reads a list with something of each layer.
func (r *lineReader) layers(value func(layer int)) {
	n := 0
	r.list(func() {
		if n < hit.Layers {
			value(n)
		} else {
			r.fail("not %d layers", hit.Layers)
		}
		n++
	})
	if n != hit.Layers {
		r.fail("not %d layers", hit.Layers)
	}
}

// hist reads a histogram on an axis in 1/unit. Its counts are appended to dst.
func (r *lineReader) hist(unit int64, dst []int64) histText {
	h := histText{at: r.pos}
	sum := int64(0)
	r.fields(histKeys, func(key string) {
		switch key {
		case "Bins":
			h.axis, h.odd = r.axis(unit)
		case "Counts":
			if dst == nil {
				dst = make([]int64, 0, h.axis.n)
			}
			h.Counts, sum = r.counts(dst, MaxAutoBins)
		case "Underflow":
			h.Underflow = r.count()
		case "Overflow":
			h.Overflow = r.count()
		case "Auto":
			h.auto = r.int(0, maxAuto)
		default:
			r.skip()
		}
	})
	if len(h.Counts) != h.axis.n {
		r.fail("%d counts where there should be %d", len(h.Counts), h.axis.n)
	}
	h.in = sum + h.Underflow + h.Overflow
	return h
}

// axis reads lower edges, which make an axis in 1/unit where they are evenly spaced, and whole, or with one digit behind the point if unit is
// not 1. It returns what is odd about them, or "".
func (r *lineReader) axis(unit int64) (a Axis, odd string) {
	digits, tenth := 0, int64(1)
	if unit != 1 {
		digits, tenth = 1, unit/10
	}
	a.Width = unit
	r.list(func() {
		u, negative, _, exact := r.number(digits)
		edge, ok := signed(u, negative)
		if ok = ok && exact && edge >= -2*maxEdge && edge <= 2*maxEdge; ok {
			edge *= tenth
			ok = edge >= -2*maxEdge && edge <= 2*maxEdge
		}
		switch {
		case odd != "":
		case !ok:
			odd = "Bins are not decimal numbers of this precision"
		case a.n == 0:
			a.Lo = edge
		case a.n == 1:
			if a.Width = edge - a.Lo; a.Width <= 0 {
				odd = "Bins are not ascending"
			}
		case edge != a.Edge(a.n):
			odd = "Bins are not those of the other chambers, or not evenly spaced"
		}
		if a.n++; a.n > MaxAutoBins {
			r.fail("more than %d Bins", MaxAutoBins)
		}
	})
	a.Limit = a.Edge(a.n)
	return a, odd
}

// whole checks and takes what was read of a line that is not bare.
func (r *lineReader) whole() {
	l, c, set := r.line, r.line.Counts, r.set
	r.at(r.index, "Index", func() {
		l.Index = r.decimal(6)
		r.within(l.Index, -maxIndex, maxIndex)
	})
	if r.partial {
		if r.lane == [2]int{} {
			r.fail("no Lane")
		}
		l.Lane = r.lane
	}
	if set.fpgas == 0 {
		r.fail("no FPGA")
	}
	first := &r.chambers[0]
	set.Auto = first.hists[1].auto
	if set.Auto > 0 && len(c.Spans) > 0 {
		c.AutoLo = c.Spans[len(c.Spans)-1].First / set.Auto
	}
	set.Hist1, set.Hist4 = first.hists[0].axis, first.hists[3].axis
	axis2 := c.axis2()
	if set.Auto == 0 {
		set.Hist2 = first.hists[1].axis
		axis2 = set.Hist2
	}
	hits := int64(0)
	for i := range r.chambers {
		r.path = append(r.path[:0], "Chamber_"+strconv.Itoa(i+1))
		t, ch := &r.chambers[i], &c.Chambers[i]
		for k, axis := range []*Axis{&set.Hist1, &axis2, &set.Hist1, &set.Hist4} {
			r.path = append(r.path[:1], "Hist_"+strconv.Itoa(k+1))
			h := &t.hists[k]
			auto := k == 1 && set.Auto > 0
			switch {
			case h.odd != "":
				r.fail("%s", h.odd)
			case k == 1 && h.auto != set.Auto:
				r.fail("another Auto than before")
			case !auto && (h.axis.n == 0 || h.axis.n > MaxBins):
				r.fail("%d bins", h.axis.n)
			case h.axis.n != axis.n:
				r.fail("%d Bins where there should be %d", h.axis.n, axis.n)
			case axis.n > 0 && !h.axis.like(axis):
				r.fail("Bins are not those of the other chambers, or not evenly spaced")
			}
		}
		r.path = r.path[:1]
		ch.Hist1, ch.Hist2, ch.Hist3, ch.Hist4 = t.hists[0].Hist, t.hists[1].Hist, t.hists[2].Hist, t.hists[3].Hist
		if set.Auto > 0 {
			k := len(ch.Hist2.Counts)
			for k > 0 && ch.Hist2.Counts[k-1] == 0 {
				k--
			}
			if ch.Hist2.Counts = ch.Hist2.Counts[:k:k]; k == 0 {
				ch.Hist2.Counts = nil
			}
		}
		ch.Late = t.late
		r.within(t.late, 0, t.count)
		same := func(n int64, where string, want int64, as string) {
			if n != want {
				r.fail("%d in %s, but %d in %s", n, where, want, as)
			}
		}
		same(t.count, "Count", t.occupied, "Occupancy")
		same(t.count, "Count", t.hists[0].in, "Hist_1")
		same(t.scintillator, "Scintillator", t.hists[2].in, "Hist_3")
		same(t.hists[3].in, "Hist_4", t.hists[2].in, "Hist_3")
		for layer, counts := range ch.DriftLayer {
			if len(counts) != set.Hist4.n {
				r.fail("%d counts in Drift_Layer %d where there should be %d", len(counts), layer+1, set.Hist4.n)
			}
		}
		hits += t.count
	}
	r.path = r.path[:0]
	if r.total != hits {
		r.fail("Total Count: %d, but the chambers have %d", r.total, hits)
	}
}

// bare checks and takes what was read of a bare line.
func (r *lineReader) bare() {
	l, c, set := r.line, r.line.Counts, r.set
	l.Bare, set.bare = true, true
	l.Window.Number = NoNumber
	r.at(r.index, "Index", r.bareIndex)
	c.count = r.total
	for i := range r.chambers {
		t, ch := &r.chambers[i], &c.Chambers[i]
		ch.Count = t.count
		for k, to := range []struct {
			axis *Axis
			hist *Hist
		}{{&set.Hist1, &ch.Hist1}, {&set.Hist2, &ch.Hist2}, {&set.Hist1, &ch.Hist3}, {&set.Hist4, &ch.Hist4}} {
			h := &t.hists[k]
			if h.axis.n == 0 {
				continue
			}
			if to.axis.n == 0 && h.odd == "" && h.axis.n <= MaxBins {
				*to.axis = h.axis
			}
			if h.odd == "" && h.axis.like(to.axis) {
				*to.hist = h.Hist
				continue
			}
			// It can be shown all the same.
			was := r.pos
			r.pos = h.at
			r.skip()
			r.other(fmt.Sprintf("Chamber_%d.Hist_%d", i+1, k+1), r.text[h.at:r.pos])
			r.pos = was
		}
	}
	set.Digest() // here, so that several may read it
}

// bareIndex reads the Index of a bare line, which Python may have written with more digits, or with an exponent.
func (r *lineReader) bareIndex() {
	v := math.Round(r.float() * 1e6)
	if math.Abs(v) > maxIndex {
		r.fail("too large")
		return
	}
	r.line.Index = int64(v)
}

// float reads a number.
func (r *lineReader) float() float64 {
	r.peek()
	start := r.pos
	r.number(0)
	if r.err != nil {
		return 0
	}
	v, err := strconv.ParseFloat(string(r.text[start:r.pos]), 64)
	if err != nil || r.pos-start > maxDecimal {
		r.fail("%.40q is no number of at most %d characters", r.text[start:r.pos], maxDecimal)
	}
	return v
}

// unknown reads the value of a key that is not known.
func (r *lineReader) unknown() {
	r.peek()
	start := r.pos
	r.skip()
	if r.any && r.err == nil && r.text[start] == '{' {
		r.other(strings.Join(r.path, "."), r.text[start:r.pos])
	}
}

// other takes the value of a key that is not known if it is a histogram.
func (r *lineReader) other(path string, text []byte) {
	if len(r.line.Other) == maxOther || len(path) > maxPath {
		return
	}
	if path = r.kept([]byte(path)); slices.ContainsFunc(r.line.Other, func(o Other) bool { return o.Path == path }) {
		return
	}
	o := Other{Path: path}
	s := lineReader{scanner: scanner{text: text, python: true}} // it has been read already, and 5.0 is whole, too
	s.fields(otherKeys, func(key string) {
		switch key {
		case "Bins":
			s.list(func() {
				edge := s.float()
				if n := len(o.Bins); n == MaxBins || n > 0 && edge <= o.Bins[n-1] {
					s.fail("not ascending, or too many")
				}
				o.Bins = append(o.Bins, edge)
			})
		case "Counts":
			o.Counts, _ = s.counts(nil, MaxBins)
		case "Underflow":
			o.Underflow = s.count()
		case "Overflow":
			o.Overflow = s.count()
		default:
			s.skip()
		}
	})
	if s.err == nil && len(o.Bins) == len(o.Counts) && len(o.Bins) > 0 {
		r.line.Other = append(r.line.Other, o)
	}
}
