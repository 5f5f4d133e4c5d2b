package verdict

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"dt/internal/hist"
	"dt/internal/hit"
)

// A Window is what the judge is told of a window beside its counts.
type Window struct {
	ID          int64
	Run         string
	Epoch       uint32
	Arrived     int64   // unix, µs
	End         float64 // s, of its clock
	Live        float64 // s
	Revision    int64   // above 0, a window comes again: it has been judged, but for the ledger of what is new in it
	Bookkeeping bool    // the line without orbits: only its ledger is judged
	Bare        bool    // only the first published pipeline's keys: not judged
	Missing     int     // so many lanes were silent
	Lanes       int     // of so many; 0: not known
}

// An Alarm is something that is not as it should be, in a sentence.
type Alarm struct {
	Key      string  // such as wire:1:11; the same as long as it stands, and when it comes again
	Kind     string  // such as dead wire
	Chamber  int     `json:",omitempty"`
	Channel  *int    `json:",omitempty"` // TDC_CHANNEL
	FPGA     *int    `json:",omitempty"`
	Text     string  // with the numbers of the last span that was judged
	Raised   float64 // unix, s
	RaisedID int64   `json:"Raised_Id"` // of the window
	RaisedAt float64 `json:"Raised_At"` // detector time, s: the end of the window
	Cleared  float64 `json:",omitempty"`
	Severity string  // alarm or warning
}

// The severities: an alarm means data that is lost or wrong.
const (
	SeverityAlarm   = "alarm"
	SeverityWarning = "warning"
)

// A Check is how one thing that is watched was when it was judged last.
type Check struct {
	Name    string
	Chamber int    `json:",omitempty"`
	FPGA    *int   `json:",omitempty"`
	State   string // ok, bad (an alarm stands) or unknown
	Value   string
	Rule    string
}

// A Report is what a Judge has to say.
type Report struct {
	Alarms      []Alarm // standing ones, oldest first
	Cleared     []Alarm // the last maxCleared ones, newest first
	Checks      []Check
	FalseAlarms float64 // expected a day, see ExpectedFalseAlarms
}

const (
	maxCleared = 200
	maxPast    = 64 // runs whose late lines are known
	longGap    = 60 // s: conditions may be others behind it
	firstTDC   = 1  // values of TDC_MEAS that both layouts have: v1 counts from 0 to 29, v2 from 1 to 30
	lastTDC    = 29
	bxBins     = 99
	bxWidth    = 36
	day        = 86400 // s
)

// state is a verdict on one span.
type state byte

const (
	unknown state = iota
	good
	bad
)

// A check is one thing that is watched: t.Spans bad spans in a row raise its alarm, as many good ones clear it.
type check struct {
	name, key, kind, severity string
	chamber                   int // from 1; 0: of none
	fpga, channel             *int
	bads, goods               int // in a row
	alarm                     *Alarm
	last                      state
	value, rule               string
	p, perDay                 float64 // of a bad span if all is well, and how many spans a day
}

// forget begins the row anew, as a new epoch does.
func (c *check) forget() { c.bads, c.goods = 0, 0 }

// A Judge follows a run, window by window. It is not safe for concurrent use.
type Judge struct {
	t   *Thresholds
	m   *hit.Map
	ref *hist.Counts

	w        *Window // the present one
	from, to float64 // detector time, s, of the orbits of its last epoch; of the windows before where it has none
	end      float64 // detector time, s
	begun    bool
	run      string
	past     []string // runs before it
	epoch    uint32
	alarms   []*Alarm // standing
	cleared  []Alarm  // oldest first
	chambers []*chamber
	fpgas    []*fpga
	step     *check
	ledger   *ledger
}

// A chamber is what is known of one.
type chamber struct {
	*layers
	label string // chamber 1

	wires     [hit.Channels]wire
	sum       [hit.Channels]int64 // hits of the layers' present spans
	live      [hit.Layers]float64 // of those
	judged    [hit.Channels]Wire  // in the last span of each layer
	falses    [hit.Layers]falses
	boardSum  [hit.Channels]int64
	boardLive float64
	board     []*check
	mute      [hit.Layers]*check // whether layers are silent

	drift        hist.Hist
	axis         hist.Axis
	driftCount   int64
	driftLive    float64
	driftEnd     float64 // detector time, s
	width, edge  *check
	refBox       Box
	rate, silent *check
	rates        sliding
	cluster      cluster
}

// A wire is the row of a wire, with what the spans of the row held.
type wire struct {
	check   *check // nil until the first bad span
	kind    Wire   // of the row: Hot, or Low also for dead
	shown   Wire   // of the alarm
	now     Wire   // over the row: Hot, Low or Dead
	wasGood bool   // the span before the row was good, so that the row's first one may be mixed
	spans   []wireSpan
}

type wireSpan struct {
	n        int64
	expected float64
	live     float64
}

// A cluster tells how far hits come together: by the orbits' numbers of active channels.
type cluster struct{ k, kk float64 }

func (c *cluster) add(multiplicity []int64) {
	for k, n := range multiplicity {
		c.k += float64(k) * float64(n)
		c.kk += float64(k) * float64(k) * float64(n)
	}
}

// size returns by how much the variance of a count is above its mean, at most: the hits of an orbit may all be of one muon.
func (c *cluster) size() float64 {
	if c.k == 0 {
		return 1
	}
	return max(1, c.kk/c.k)
}

// An fpga is what is known of one.
type fpga struct {
	number   int
	chambers []int // from 0
	silent   *check
	rates    sliding
	bx, tdc  structure
}

// A structure is a histogram that should be flat, of one FPGA.
type structure struct {
	check   *check
	n       []int64
	live    float64
	cluster []cluster // of each chamber
}

// A ledger is what is known of the words.
type ledger struct {
	hits, late, unassigned     int64
	live                       float64
	lateCheck, unassignedCheck *check
	missing, balance           fact
}

// A fact raises its alarm at once, and clears it when none came for as long as a span is at most.
type fact struct {
	check *check
	n     int64
	quiet float64 // s, live
}

// NewJudge returns a judge of runs with a map. With a reference, wires and boxes are compared with it.
func NewJudge(t *Thresholds, m *hit.Map, ref *hist.Counts) *Judge {
	j := &Judge{t: t, m: m, ref: ref}
	j.start()
	return j
}

// start forgets all but the list of cleared alarms.
func (j *Judge) start() {
	t := j.t
	j.chambers, j.fpgas = nil, nil
	for i := range j.m.Chambers {
		j.chambers = append(j.chambers, j.newChamber(i))
	}
	for i, c := range j.chambers {
		at := slices.IndexFunc(j.fpgas, func(f *fpga) bool { return f.number == c.fpga })
		if at < 0 {
			at = len(j.fpgas)
			j.fpgas = append(j.fpgas, j.newFPGA(c.fpga))
		}
		j.fpgas[at].chambers = append(j.fpgas[at].chambers, i)
	}
	slices.SortFunc(j.fpgas, func(a, b *fpga) int { return cmp.Compare(a.number, b.number) })
	for _, f := range j.fpgas {
		f.bx.cluster = make([]cluster, len(f.chambers))
		f.tdc.cluster = make([]cluster, len(f.chambers))
	}
	j.step = &check{name: "FPGAs in step", key: "step", kind: "FPGA step", severity: SeverityAlarm,
		rule: fmt.Sprintf("last orbits at most %d apart", t.Step.Orbits)}
	j.ledger = &ledger{
		lateCheck: &check{name: "late hits", key: "ledger:late", kind: "late hits", severity: SeverityWarning,
			rule: fmt.Sprintf("at most %s of the hits", percent(t.Ledger.Late))},
		unassignedCheck: &check{name: "unassigned hits", key: "ledger:unassigned", kind: "unassigned hits", severity: SeverityWarning,
			rule: fmt.Sprintf("at most %s of the hits", percent(t.Ledger.Unassigned))},
		missing: fact{check: &check{name: "missing words", key: "ledger:missing", kind: "missing words", severity: SeverityWarning, rule: "none"}},
		balance: fact{check: &check{name: "ledger balance", key: "ledger:balance", kind: "ledger balance", severity: SeverityWarning,
			rule: "words read are the sum of what became of them"}},
	}
}

func (j *Judge) newChamber(i int) *chamber {
	t := j.t
	c := &chamber{layers: newLayers(j.m, i), label: fmt.Sprintf("chamber %d", i+1)}
	c.cut(t.Board.Channels)
	for ch := range c.judged {
		c.judged[ch] = Unknown
	}
	f := c.fpga
	for _, channels := range c.boards {
		first := c.tdc[channels[0]]
		c.board = append(c.board, &check{name: "board", key: fmt.Sprintf("board:%d:%d", f, first), kind: "silent board",
			severity: SeverityAlarm, chamber: i + 1, fpga: &f})
	}
	for layer := range c.mute {
		c.mute[layer] = &check{name: "layer", key: fmt.Sprintf("layer:%d:%d", i+1, layer+1), kind: "silent layer", severity: SeverityAlarm, chamber: i + 1, fpga: &f}
	}
	add := func(name, key, kind string) *check {
		return &check{name: name, key: key + ":" + strconv.Itoa(i+1), kind: kind, severity: SeverityAlarm, chamber: i + 1}
	}
	c.width = add("drift box width", "box-width", "drift box width")
	c.edge = add("drift box edge", "box-edge", "drift box edge")
	c.rate = add("rate", "rate", "chamber rate")
	c.silent = add("alive", "chamber", "silent chamber")
	c.silent.fpga = &f
	drift := j.m.Geometry.MaxDriftNS
	c.width.rule = fmt.Sprintf("%g … %g ns, and %g σ", drift-t.Box.Below, drift+t.Box.Above, t.Box.Sigmas)
	c.edge.rule = fmt.Sprintf("0 ± %g ns, and %g σ", t.Box.Edge, t.Box.Sigmas)
	if j.ref != nil && i < len(j.ref.Chambers) {
		if c.refBox = FitBox(&j.ref.Set.Hist4, &j.ref.Chambers[i].Hist4); c.refBox.OK {
			c.width.rule = fmt.Sprintf("%.0f ± %g ns (reference), and %g σ", c.refBox.Width, t.Box.Reference, t.Box.Sigmas)
			c.edge.rule = fmt.Sprintf("%.0f ± %g ns (reference), and %g σ", c.refBox.From, t.Box.Reference, t.Box.Sigmas)
		}
	}
	c.rate.rule = fmt.Sprintf("1/%g … %g × its median, or p above %g", t.Rate.Factor, t.Rate.Factor, t.Rate.P)
	c.silent.rule = fmt.Sprintf("hits where %g are expected", t.Rate.Expected)
	for layer := range hit.Layers {
		f := &c.falses[layer] // before there is a span, the least that is judged
		f.channels, f.live = c.channels[layer], t.RecentSeconds
		for range f.channels {
			f.expected = append(f.expected, t.Wire.Least)
		}
	}
	return c
}

func (j *Judge) newFPGA(number int) *fpga {
	t := j.t
	add := func(name, key, kind, severity, rule string) *check {
		return &check{name: name, key: key + ":" + strconv.Itoa(number), kind: kind, severity: severity, fpga: &number, rule: rule}
	}
	flat := func(l *StructureLimits) string {
		return fmt.Sprintf("at most %s rms beyond chance, or p above %g", percent(l.RMS), l.P)
	}
	return &fpga{
		number: number,
		silent: add("FPGA alive", "fpga", "silent FPGA", SeverityAlarm, fmt.Sprintf("hits where %g are expected", t.Rate.Expected)),
		bx:     structure{check: add("BX structure", "bx", "BX structure", SeverityWarning, flat(&t.BX)), n: make([]int64, bxBins)},
		tdc: structure{check: add("TDC structure", "tdc", "TDC structure", SeverityWarning, flat(&t.TDC)),
			n: make([]int64, lastTDC-firstTDC+1)},
	}
}

// Add judges the next window. Windows must come in the order in which they were written.
func (j *Judge) Add(w *Window, c *hist.Counts) {
	again := w.Revision > 0
	if w.Bare || again && (!j.begun || w.Run != j.run) {
		return
	}
	j.w = w
	switch {
	case again:
		j.addLedger(0, &c.Ledger)
		return
	case w.Bookkeeping:
		j.addLedger(w.Live, &c.Ledger)
		return
	}
	epoch := w.Epoch
	switch {
	case !j.begun:
	case slices.Contains(j.past, w.Run):
		return // a line that comes late
	case w.Run != j.run:
		for len(j.alarms) > 0 {
			j.clear(j.alarms[0])
		}
		j.past = append(j.past[max(0, len(j.past)+1-maxPast):], j.run)
		j.start()
	case len(c.Spans) == 0:
		epoch = j.epoch // a window of the wall clock without hits knows none
	case epoch < j.epoch:
		j.addLedger(w.Live, &c.Ledger)
		return // late, too
	case epoch > j.epoch:
		j.anew()
	}
	j.begun, j.run, j.epoch = true, w.Run, epoch
	j.place(c)

	j.addRates(c)
	for i, ch := range j.chambers {
		if i < len(c.Chambers) {
			j.addBoards(ch, &c.Chambers[i])
			j.addWires(ch, &c.Chambers[i])
			j.addBox(ch, &c.Set.Hist4, &c.Chambers[i].Hist4)
		}
	}
	j.addSteps(c)
	for _, f := range j.fpgas {
		p := &c.FPGA[f.number]
		j.addStructure(f, &f.bx, &j.t.BX, p.BX[:], c)
		j.addStructure(f, &f.tdc, &j.t.TDC, p.TDC[firstTDC:lastTDC+1], c)
	}
	j.addLedger(w.Live, &c.Ledger)
}

// place notes where in detector time the window is.
func (j *Judge) place(c *hist.Counts) {
	if n := len(c.Spans); n > 0 {
		s := &c.Spans[n-1]
		j.from, j.to = hit.Seconds(s.First), hit.Seconds(s.Last+1)
	}
	j.end = j.to
	if c.Set.Clock == hist.Detector {
		j.end = j.w.End
	}
}

// anew begins all spans anew, as a new epoch does. Alarms stand on.
func (j *Judge) anew() {
	for _, c := range j.chambers {
		for ch := range c.wires {
			c.wires[ch].forget()
		}
		clear(c.sum[:])
		clear(c.live[:])
		c.endBoards()
		c.endBox()
		c.rates = sliding{}
		for _, b := range slices.Concat(c.board, c.mute[:]) {
			b.forget()
		}
		c.width.forget()
		c.edge.forget()
		c.rate.forget()
		c.silent.forget()
	}
	for _, f := range j.fpgas {
		f.rates = sliding{}
		f.silent.forget()
		f.bx.end()
		f.bx.check.forget()
		f.tdc.end()
		f.tdc.check.forget()
	}
	j.step.forget()
}

// see takes the verdict on one span. The text is that of the alarm, should one stand.
func (j *Judge) see(c *check, s state, format string, args ...any) {
	c.last = s
	switch s {
	case unknown:
		c.forget()
	case good:
		c.goods, c.bads = c.goods+1, 0
		if c.alarm != nil && c.goods >= j.t.Spans {
			j.clear(c.alarm)
			c.alarm = nil
		}
	case bad:
		c.bads, c.goods = c.bads+1, 0
		if c.alarm == nil && c.bads >= j.t.Spans {
			j.raise(c)
		}
		if c.alarm != nil {
			c.alarm.Text = fmt.Sprintf(format, args...)
		}
	}
}

func (j *Judge) raise(c *check) {
	c.alarm = &Alarm{Key: c.key, Kind: c.kind, Chamber: c.chamber, Channel: c.channel, FPGA: c.fpga, Severity: c.severity,
		Raised: float64(j.w.Arrived) / 1e6, RaisedID: j.w.ID, RaisedAt: j.end}
	j.alarms = append(j.alarms, c.alarm)
}

// clear moves an alarm to the cleared ones. Its check must forget it.
func (j *Judge) clear(a *Alarm) {
	a.Cleared = float64(j.w.Arrived) / 1e6
	j.alarms = slices.DeleteFunc(j.alarms, func(b *Alarm) bool { return a == b })
	if len(j.cleared) == maxCleared {
		j.cleared = slices.Delete(j.cleared, 0, 1)
	}
	j.cleared = append(j.cleared, *a)
}

// drop clears the alarm of a check, if one stands, and forgets its row.
func (j *Judge) drop(c *check) {
	if c.alarm != nil {
		j.clear(c.alarm)
		c.alarm = nil
	}
	c.forget()
}

// addBoards judges whether boards are silent, beside a board of the chamber that is not, and whether layers are, beside
// another layer: against a median of 0 their wires can't be judged. Its spans are short: they end
// where the median wire of the liveliest board has t.Wire.Least hits, so that a board is found before its wires are.
func (j *Judge) addBoards(c *chamber, n *hist.Chamber) {
	for ch, k := range n.Occupancy {
		c.boardSum[ch] += k
	}
	c.boardLive += j.w.Live
	mid := 0.
	silent := make([]bool, len(c.boards))
	for b, channels := range c.boards {
		sum := int64(0)
		for _, ch := range channels {
			sum += c.boardSum[ch]
		}
		silent[b] = sum == 0
		if float64(sum) < mid*float64(len(channels)/2) {
			continue // its median is not the largest: half of the wires have as many at least
		}
		if m, _ := expect(&c.boardSum, nil, channels); m[0] > mid {
			mid = m[0]
		}
	}
	if mid < j.t.Wire.Least && c.boardLive < j.t.RecentSeconds {
		return
	}
	for b, check := range c.board {
		channels := c.boards[b]
		first, last := c.tdc[channels[0]], c.tdc[channels[len(channels)-1]]
		s := good
		switch {
		case mid < j.t.Wire.Least || len(channels) < 2:
			s = unknown
		case silent[b]:
			s = bad
		}
		check.p, check.perDay = math.Exp(-mid*float64(len(channels))), day/max(c.boardLive, 1e-3)
		j.seeWires(c, channels, check, s, "FPGA %d, channels %d–%d (%s): %d wires silent: 0 hits where the median wire of another board has %s",
			c.fpga, first, last, c.label, len(channels), short(mid))
	}
	j.judgeLayers(c)
	c.endBoards()
}

// judgeLayers judges whether half of a layer's wires or more are silent, but for those of silent boards.
func (j *Judge) judgeLayers(c *chamber) {
	var mid [hit.Layers]float64
	var ok [hit.Layers]bool
	for layer := range mid {
		var of [hit.Channels]float64
		of, ok[layer] = expect(&c.boardSum, nil, c.onBoards(layer))
		mid[layer] = of[0]
	}
	most := slices.Max(mid[:])
	for layer, check := range c.mute {
		s := good
		switch {
		case !ok[layer] || most < j.t.Wire.Least:
			s = unknown
		case mid[layer] == 0:
			s = bad
		}
		// That half of the wires have no hit is far less probable than that one has none.
		check.p, check.perDay = math.Exp(-most), day/max(c.boardLive, 1e-3)
		j.seeWires(c, c.channels[layer], check, s, "%s, layer %d: its median wire has 0 hits where that of another layer has %s",
			c.label, layer+1, short(most))
	}
}

// seeWires takes the verdict on wires that are judged together. Their own alarms end where it raises one.
func (j *Judge) seeWires(c *chamber, channels []int, k *check, s state, format string, args ...any) {
	standing := k.alarm != nil
	j.see(k, s, format, args...)
	if k.alarm == nil || standing {
		return
	}
	for _, ch := range channels {
		if w := c.wires[ch].check; w != nil {
			j.drop(w)
		}
	}
}

// onBoards returns the channels of a layer that are not on a silent board.
func (c *chamber) onBoards(layer int) []int {
	return slices.DeleteFunc(slices.Clone(c.channels[layer]), c.boardOut)
}

func (c *chamber) endBoards() {
	clear(c.boardSum[:])
	c.boardLive = 0
}

// boardOut reports whether a wire's board is silent, so that the wire is not judged by itself.
func (c *chamber) boardOut(ch int) bool {
	b := c.board[c.layers.board[ch]]
	return b.alarm != nil || b.bads > 0
}

// addWires judges the wires of each layer whose span ends.
func (j *Judge) addWires(c *chamber, n *hist.Chamber) {
	for ch, k := range n.Occupancy {
		c.sum[ch] += k
	}
	var buffer [hit.Channels]int
	for layer, channels := range c.channels {
		c.live[layer] += j.w.Live
		wires := buffer[:0]
		total := int64(0)
		for _, ch := range channels {
			total += c.sum[ch]
			if !c.boardOut(ch) {
				wires = append(wires, ch)
			} else {
				c.wires[ch].forget()
				c.judged[ch] = Unknown
			}
		}
		long := c.live[layer] >= j.t.RecentSeconds
		if !long && float64(total) < j.t.Wire.Enough*float64(len(wires)/2) {
			continue
		}
		if mid, _ := expect(&c.sum, nil, wires); mid[0] < j.t.Wire.Enough && !long {
			continue
		}
		expected, ok := expect(&c.sum, occupancy(j.ref, c.chamber), wires)
		for k, ch := range wires {
			v := Unknown
			if ok {
				v = j.t.Wire.judge(c.sum[ch], expected[k])
			}
			c.judged[ch] = v
			if v != OK || c.wires[ch].check != nil || !c.wires[ch].wasGood {
				j.seeWire(c, ch, v, wireSpan{c.sum[ch], expected[k], c.live[layer]})
			}
		}
		if ok {
			f := &c.falses[layer]
			f.channels, f.expected = append(f.channels[:0:0], wires...), append(f.expected[:0], expected[:len(wires)]...)
			f.live, f.known = c.live[layer], false
		}
		for _, ch := range channels {
			c.sum[ch] = 0
		}
		c.live[layer] = 0
	}
}

// forget begins a wire's row anew.
func (w *wire) forget() {
	w.spans, w.wasGood = nil, false
	if w.check != nil {
		w.check.forget()
	}
}

// seeWire takes the verdict on a wire in one span.
//
// What kind of alarm it is, is judged over all spans of the row: a wire is dead that had no hit in any of them, and only
// low if it had one. The row's first span does not count when the wire was good before, as it began to be bad within it.
func (j *Judge) seeWire(c *chamber, ch int, v Wire, span wireSpan) {
	w := &c.wires[ch]
	kind := v
	if v == Dead {
		kind = Low
	}
	switch v {
	case Unknown:
		w.forget()
		return
	case OK:
		w.spans, w.wasGood = nil, true
		if w.check != nil {
			j.see(w.check, good, "")
			if w.check.alarm == nil && w.check.goods >= j.t.Spans {
				w.check = nil
			}
		}
		return
	}
	if w.check == nil {
		tdc := c.tdc[ch]
		w.check = &check{key: fmt.Sprintf("wire:%d:%d", c.chamber+1, tdc), chamber: c.chamber + 1, channel: &tdc, fpga: &c.fpga}
	}
	if w.check.bads > 0 && kind != w.kind {
		w.check.forget()
		w.spans, w.wasGood = nil, false
	}
	w.kind = kind
	if w.wasGood && len(w.spans) == 1 {
		w.spans, w.wasGood = nil, false
	}
	w.spans = append(w.spans, span)
	sum := wireSpan{}
	for i := len(w.spans) - 1; i >= 0; i-- {
		if sum.live >= j.t.RecentSeconds {
			w.spans = slices.Delete(w.spans, 0, i+1)
			break
		}
		s := &w.spans[i]
		sum.n, sum.expected, sum.live = sum.n+s.n, sum.expected+s.expected, sum.live+s.live
	}
	v = kind
	if kind == Low && sum.n == 0 {
		v = Dead
	}
	w.now = v
	k := w.check
	if k.alarm != nil && w.shown != kind && k.bads+1 >= j.t.Spans {
		j.clear(k.alarm) // the other way round: it is another alarm
		k.alarm = nil
	}
	k.severity = SeverityWarning
	word := "low"
	switch v {
	case Dead:
		word, k.severity = "dead", SeverityAlarm
	case Hot:
		word = "hot"
	}
	k.kind = word + " wire"
	of := "its layer's median is " + short(sum.expected)
	if j.ref != nil {
		of = short(sum.expected) + " are expected by the reference"
	}
	text := fmt.Sprintf("%s, channel %d (layer %d, wire %d): %s where %s — %s", c.label, c.tdc[ch], c.layer[ch]+1, hit.Wire(ch),
		hits(sum.n), of, word)
	old := k.alarm
	j.see(k, bad, "%s", text)
	switch {
	case k.alarm == nil:
	case old == nil:
		w.shown = kind
	case w.shown == kind:
		k.alarm.Kind, k.alarm.Severity = k.kind, k.severity
	}
}

// addBox judges the drift-time box of a chamber. A span ends at a long gap, too, if it has enough by then.
func (j *Judge) addBox(c *chamber, a *hist.Axis, h *hist.Hist) {
	if len(c.drift.Counts) != len(h.Counts) || c.axis.Lo != a.Lo || c.axis.Width != a.Width {
		c.axis = *a
		c.drift.Counts = make([]int64, len(h.Counts))
		c.endBox()
	}
	if c.driftCount >= j.t.Box.Least && j.from-c.driftEnd > longGap {
		j.judgeBox(c)
	}
	for i, k := range h.Counts {
		c.drift.Counts[i] += k
		c.driftCount += k
	}
	c.drift.Underflow += h.Underflow
	c.driftLive += j.w.Live
	c.driftEnd = j.to
	if c.driftCount >= j.t.Box.Enough || c.driftLive >= j.t.RecentSeconds {
		j.judgeBox(c)
	}
}

// judgeBox judges a span.
func (j *Judge) judgeBox(c *chamber) {
	n := c.driftCount
	if n < j.t.Box.Least {
		text := fmt.Sprintf("only %d entries, %d needed", n, j.t.Box.Least)
		c.width.value, c.edge.value = text, text
		j.see(c.width, unknown, "")
		j.see(c.edge, unknown, "")
		c.endBox()
		return
	}
	b := FitBox(&c.axis, &c.drift)
	perDay := day / max(c.driftLive, 1e-3)
	c.endBox()
	if !b.OK {
		c.width.value, c.edge.value = b.Why, b.Why
		c.width.p, c.edge.p = 0, 0
		j.see(c.width, bad, "%s: no drift-time box is found in %d entries: %s", c.label, n, b.Why)
		j.see(c.edge, unknown, "")
		return
	}
	l := &j.t.Box
	below, above, edge, width, at := l.Below, l.Above, l.Edge, j.m.Geometry.MaxDriftNS, 0.
	if c.refBox.OK {
		below, above, edge, width, at = l.Reference, l.Reference, l.Reference, c.refBox.Width, c.refBox.From
		b.Error, b.FromError = math.Hypot(b.Error, c.refBox.Error), math.Hypot(b.FromError, c.refBox.FromError)
	}
	off, wide := b.Width-width, l.Sigmas*b.Error
	s := good
	if off > above+wide || off < -below-wide {
		s = bad
	}
	c.width.value = fmt.Sprintf("%.0f ± %.0f ns", b.Width, max(b.Error, 1))
	c.width.p, c.width.perDay = gaussTail(above/b.Error+l.Sigmas)+gaussTail(below/b.Error+l.Sigmas), perDay
	j.see(c.width, s, "%s: the drift-time box is %.1f ± %.1f ns wide; expected: %s (%d entries)",
		c.label, b.Width, b.Error, c.width.rule, n)
	s = good
	if math.Abs(b.From-at) > edge+l.Sigmas*b.FromError {
		s = bad
	}
	c.edge.value = fmt.Sprintf("%.0f ± %.0f ns", b.From, max(b.FromError, 1))
	c.edge.p, c.edge.perDay = 2*gaussTail(edge/b.FromError+l.Sigmas), perDay
	j.see(c.edge, s, "%s: the drift-time box begins at %.1f ± %.1f ns; expected: %s (%d entries)",
		c.label, b.From, b.FromError, c.edge.rule, n)
}

func (c *chamber) endBox() {
	clear(c.drift.Counts)
	c.drift.Underflow, c.driftCount, c.driftLive = 0, 0, 0
}

// addRates judges each window's count of a chamber and of an FPGA, by the median rate of the recent windows.
func (j *Judge) addRates(c *hist.Counts) {
	live := j.w.Live
	if c.Set.Clock == hist.Wall && len(c.Spans) == 0 {
		live = float64(c.Set.Length) / 1e9 // nothing came, where a detector window is not even written
	}
	if w := j.w; w.Missing < w.Lanes {
		live *= float64(w.Lanes-w.Missing) / float64(w.Lanes) // orbits are dealt out to the lanes evenly
	}
	if live <= 0 {
		return
	}
	perDay := day / live
	n := min(len(j.chambers), len(c.Chambers))
	counts := make([]float64, n)
	for i := range n {
		counts[i] = float64(c.Chambers[i].Hits())
		j.chambers[i].cluster.add(c.Chambers[i].Multiplicity[:])
	}
	size := 1.
	for _, ch := range j.chambers {
		size = max(size, ch.cluster.size())
	}
	hitsOf := make([]float64, len(j.fpgas))
	for k, f := range j.fpgas {
		for _, v := range c.FPGA[f.number].TDC {
			hitsOf[k] += float64(v)
		}
	}
	for k, f := range j.fpgas {
		expected := f.rates.median() * live
		if len(f.rates.order) < j.t.Rate.Windows {
			expected = others(hitsOf, k)
		}
		s := j.silence(f.silent, hitsOf[k], expected, size*float64(len(f.chambers)), perDay)
		f.silent.value = short(hitsOf[k]/live) + " Hz"
		j.see(f.silent, s, "FPGA %d: silent: 0 hits in a window where %s are expected", f.number, short(expected))
		if hitsOf[k] > 0 {
			f.rates.add(hitsOf[k]/live, live, j.t.RecentSeconds)
		}
	}
	for i, ch := range j.chambers[:n] {
		own := len(ch.rates.order) >= j.t.Rate.Windows
		expected := ch.rates.median() * live
		if !own {
			expected = others(counts, i)
		}
		s := j.silence(ch.silent, counts[i], expected, size, perDay)
		if at := slices.IndexFunc(j.fpgas, func(f *fpga) bool { return f.number == ch.fpga }); hitsOf[at] == 0 {
			s = unknown // the FPGA's alarm tells
		}
		ch.silent.value = short(counts[i]/live) + " Hz"
		j.see(ch.silent, s, "FPGA %d, channels %d–%d (%s): %d wires silent: 0 hits in a window where %s are expected",
			ch.fpga, ch.first, ch.last, ch.label, ch.last-ch.first+1, short(expected))
		ch.rate.value = ch.silent.value
		if !own || counts[i] == 0 {
			j.see(ch.rate, unknown, "")
			if counts[i] > 0 {
				ch.rates.add(counts[i]/live, live, j.t.RecentSeconds)
			}
			continue
		}
		d, f := ch.cluster.size(), j.t.Rate.Factor
		below, above := poisson(counts[i]/d, expected/d)
		s = good
		if counts[i] < expected/f && below < j.t.Rate.P || counts[i] > expected*f && above < j.t.Rate.P {
			s = bad
		}
		least, _ := poisson(expected/f/d, expected/d)
		_, most := poisson(expected*f/d, expected/d)
		ch.rate.p, ch.rate.perDay = min(least, j.t.Rate.P)+min(most, j.t.Rate.P), perDay
		j.see(ch.rate, s, "%s: %s Hz, where the median of the last %g minutes was %s Hz", ch.label, short(counts[i]/live),
			j.t.RecentSeconds/60, short(expected/live))
		if s == good { // what is bad is no measure of what is good
			ch.rates.add(counts[i]/live, live, j.t.RecentSeconds)
		}
	}
}

// silence judges a count of 0, where independent clusters of size hits are expected.
func (j *Judge) silence(c *check, n, expected, size, perDay float64) state {
	c.p, c.perDay = 0, perDay
	enough := expected/size >= j.t.Rate.Expected
	if enough {
		c.p = math.Exp(-expected / size)
	}
	switch {
	case n > 0:
		return good
	case enough:
		return bad
	}
	return unknown
}

// others returns the median of the values that are not 0, but for the one at i.
func others(values []float64, i int) float64 {
	rest := make([]float64, 0, len(values))
	for k, v := range values {
		if k != i && v > 0 {
			rest = append(rest, v)
		}
	}
	return median(rest)
}

// addSteps judges how far apart the FPGAs' last orbits are, of those with so many hits that one would be seen in time.
func (j *Judge) addSteps(c *hist.Counts) {
	if j.w.Live <= 0 {
		return
	}
	size := 1.
	for _, ch := range j.chambers {
		size = max(size, ch.cluster.size())
	}
	var lo, hi *fpga
	p, known := 0., 0
	for _, f := range j.fpgas {
		n := int64(0)
		for _, k := range c.FPGA[f.number].TDC {
			n += k
		}
		within := float64(n) / j.w.Live * hit.Seconds(j.t.Step.Orbits) / (size * float64(len(f.chambers)))
		if last := c.FPGA[f.number].Last; last >= 0 && within >= j.t.Rate.Expected {
			known++
			p += math.Exp(-within)
			if lo == nil || last < c.FPGA[lo.number].Last {
				lo = f
			}
			if hi == nil || last > c.FPGA[hi.number].Last {
				hi = f
			}
		}
	}
	j.step.p, j.step.perDay = p, day/j.w.Live
	if known < 2 {
		j.see(j.step, unknown, "")
		return
	}
	apart := c.FPGA[hi.number].Last - c.FPGA[lo.number].Last
	j.step.value = fmt.Sprintf("%d orbits apart", apart)
	s := good
	if apart > j.t.Step.Orbits {
		s = bad
	}
	j.see(j.step, s, "FPGA %d is %d orbits (%.1f s) behind FPGA %d; at most %d are in step", lo.number, apart,
		hit.Seconds(apart), hi.number, j.t.Step.Orbits)
}

// addStructure judges whether a histogram of an FPGA is flat. Hits of one orbit may share a bin, so that a bin's variance
// may be as much above its mean as they are many.
func (j *Judge) addStructure(f *fpga, s *structure, l *StructureLimits, counts []int64, c *hist.Counts) {
	sum := int64(0)
	for i, k := range counts {
		s.n[i] += k
		sum += s.n[i]
	}
	for k, i := range f.chambers {
		if i < len(c.Chambers) {
			s.cluster[k].add(c.Chambers[i].Multiplicity[:])
		}
	}
	s.live += j.w.Live
	mean := float64(sum) / float64(len(s.n))
	if mean < l.Enough && s.live < j.t.RecentSeconds {
		return
	}
	defer s.end()
	if mean < l.Least {
		j.see(s.check, unknown, "")
		return
	}
	// Var(n₁ + n₂ + …) of one orbit is at most that of as many independent ones times their number.
	all := cluster{}
	for k := range s.cluster {
		all.k += s.cluster[k].k
		all.kk += s.cluster[k].kk
	}
	size := all.size() * float64(len(s.cluster))
	square, most := 0., 0
	for i, k := range s.n {
		square += (float64(k) - mean) * (float64(k) - mean)
		if k > s.n[most] {
			most = i
		}
	}
	ndf := len(s.n) - 1
	excess := math.Sqrt(max(0, square/float64(ndf)-size*mean)) / mean
	verdict := good
	if excess > l.RMS && chi2Tail(square/mean/size, ndf) < l.P {
		verdict = bad
	}
	s.check.value = percent(excess) + " rms beyond chance"
	s.check.p, s.check.perDay = l.P, day/max(s.live, 1e-3)
	what, where := "BX", fmt.Sprintf("BX %d–%d", most*bxWidth, most*bxWidth+bxWidth-1)
	if s == &f.tdc {
		what, where = "TDC_MEAS", fmt.Sprintf("TDC_MEAS %d", most+firstTDC)
	}
	j.see(s.check, verdict, "FPGA %d: %s is not flat: the bins differ by %s (rms) beyond chance; the highest, %s, has %d hits where the mean is %s",
		f.number, what, percent(excess), where, s.n[most], short(mean))
}

func (s *structure) end() {
	clear(s.n)
	clear(s.cluster)
	s.live = 0
}

// addLedger judges what became of the words.
func (j *Judge) addLedger(live float64, l *hist.Ledger) {
	g, t := j.ledger, &j.t.Ledger
	g.hits += l.Hits + l.Late + l.Early + l.Scintillator + l.Unassigned
	g.late += l.Late + l.Early
	g.unassigned += l.Unassigned
	g.live += live
	if g.hits >= t.Enough || g.live >= j.t.RecentSeconds && g.hits > 0 {
		share := func(c *check, n int64, limit float64, what string) {
			s := good
			part := float64(n) / float64(g.hits)
			if part > limit {
				s = bad
			}
			c.value = percent(part)
			j.see(c, s, "%d of %d hits (%s) %s; more than %s is not well", n, g.hits, percent(part), what, percent(limit))
		}
		share(g.lateCheck, g.late, t.Late, "came late or had to be booked early")
		share(g.unassignedCheck, g.unassigned, t.Unassigned, "belong to no chamber")
		g.hits, g.late, g.unassigned, g.live = 0, 0, 0, 0
	}
	j.fact(&g.missing, l.Missing, live, "%d words are missing: gaps in the lanes' numbers")
	j.fact(&g.balance, l.Off(), live, "the ledger is out of balance by %d words")
}

func (j *Judge) fact(f *fact, n int64, live float64, format string) {
	c := f.check
	c.last = good
	if n > 0 {
		f.n, f.quiet = f.n+n, 0
		if c.alarm == nil {
			j.raise(c)
		}
		c.alarm.Text = fmt.Sprintf(format, f.n)
	} else if f.quiet += live; c.alarm != nil && f.quiet >= j.t.RecentSeconds {
		j.drop(c)
		f.n = 0
	}
	c.value = strconv.FormatInt(f.n, 10)
}

// Report returns the alarms and checks after the last window. It is a copy.
func (j *Judge) Report() Report {
	r := Report{FalseAlarms: j.ExpectedFalseAlarms(), Alarms: []Alarm{}, Cleared: []Alarm{}, Checks: []Check{}}
	for _, a := range j.alarms {
		r.Alarms = append(r.Alarms, *a)
	}
	for _, a := range slices.Backward(j.cleared) {
		r.Cleared = append(r.Cleared, a)
	}
	add := func(c *check) {
		k := Check{Name: c.name, Chamber: c.chamber, FPGA: c.fpga, State: "unknown", Value: c.value, Rule: c.rule}
		if c.chamber > 0 {
			k.FPGA = nil
		}
		switch {
		case c.alarm != nil || c.last == bad:
			k.State = "bad"
		case c.last == good:
			k.State = "ok"
		}
		r.Checks = append(r.Checks, k)
	}
	for _, c := range j.chambers {
		r.Checks = append(r.Checks, j.wiresCheck(c))
		add(c.silent)
		add(c.rate)
		add(c.width)
		add(c.edge)
	}
	for _, f := range j.fpgas {
		add(f.silent)
		add(f.bx.check)
		add(f.tdc.check)
	}
	add(j.step)
	add(j.ledger.lateCheck)
	add(j.ledger.unassignedCheck)
	add(j.ledger.missing.check)
	add(j.ledger.balance.check)
	return r
}

// wiresCheck sums up the wires of a chamber.
func (j *Judge) wiresCheck(c *chamber) Check {
	k := Check{Name: "wires", Chamber: c.chamber + 1, State: "unknown",
		Rule: fmt.Sprintf("dead: 0, low: below 1/%g, hot: above %g × the layer's median; %d spans in a row", j.t.Wire.Low, j.t.Wire.Hot, j.t.Spans)}
	n := map[Wire]int{}
	alarm := false
	for ch, v := range c.judged {
		if w := &c.wires[ch]; w.check != nil && w.check.alarm != nil {
			v, alarm = w.now, true
		}
		if c.tdc[ch] >= 0 {
			n[v]++
		}
	}
	standing := func(checks []*check) (n int) {
		for _, k := range checks {
			if k.alarm != nil {
				n++
			}
		}
		return n
	}
	boards, layers := standing(c.board), standing(c.mute[:])
	for _, word := range []struct {
		v    Wire
		name string
	}{{Dead, "dead"}, {Low, "low"}, {Hot, "hot"}, {OK, "ok"}, {Unknown, "unknown"}} {
		if n[word.v] > 0 {
			if k.Value != "" {
				k.Value += ", "
			}
			k.Value += fmt.Sprintf("%d %s", n[word.v], word.name)
		}
	}
	if boards > 0 {
		k.Value += fmt.Sprintf(", boards silent: %d", boards)
	}
	if layers > 0 {
		k.Value += fmt.Sprintf(", layers silent: %d", layers)
	}
	switch {
	case alarm || boards+layers+n[Dead]+n[Low]+n[Hot] > 0:
		k.State = "bad"
	case n[OK] > 0:
		k.State = "ok"
	}
	return k
}

// short writes a number with as many digits as tell something.
func short(v float64) string {
	if v >= 100 || v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'g', 3, 64) + " %" }

func hits(n int64) string {
	if n == 1 {
		return "1 hit"
	}
	return fmt.Sprintf("%d hits", n)
}
