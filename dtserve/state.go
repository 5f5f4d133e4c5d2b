package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"dt/dtserve/history"
	"dt/dtserve/verdict"
	"dt/internal/hist"
	"dt/internal/hit"
)

// What the state has, and what of it is bounded.
const (
	stateRows    = 300  // trend rows of /api/state
	eventRows    = 300  // of an event; who misses more asks /api/trend
	thinTo       = 240  // bins of Hist_2 with Auto in a state; they are added up to these
	stateCleared = 20   // cleared alarms; /api/alarms has more
	maxLanes     = 64   // stretches of lanes in a view, the newest
	maxOther     = 64   // histograms under keys that are not known
	otherBins    = 4000 // of one of them
	lateSeconds  = 15   // without a line, or three windows, are stale
)

// A snapshot is the state at one window, made once.
type snapshot struct {
	number int64   // of the event that tells it
	id     int64   // of its newest window; 0: none
	newest int64   // its arrival: unix, µs
	length float64 // of its window, s
	ended  bool
	body   []byte // the members that do not change with the time
	from   int64  // id from which on the windows are in rows
	change int64  // revisions until now
	rows   []byte // trend rows since the event before, those of revised windows first, a JSON list
}

// Phases.
const (
	waiting = "waiting"
	live    = "live"
	stale   = "stale"
	ended   = "ended"
)

// phase says how things stand at a time.
func (s *server) phase(n *snapshot, now time.Time) string {
	switch {
	case n.ended:
		return ended
	case n.id == 0:
		return waiting
	case now.Sub(time.UnixMicro(n.newest)) > s.late(n.length):
		return stale
	}
	return live
}

// late returns how old the newest line may be, when windows are of so many seconds.
func (s *server) late(seconds float64) time.Duration {
	if s.staleAfter > 0 {
		return s.staleAfter
	}
	return time.Duration(min(max(lateSeconds, 3*seconds), 1e6) * float64(time.Second))
}

// now returns the present state as an event, for a client that comes.
func (s *server) now() present {
	n, at := s.shown.Load(), time.Now()
	t := s.head(n, at)
	t.comma()
	t.b = append(t.b, n.body...)
	t.int("Rows_From", n.from)
	t.raw("Rows", n.rows)
	t.close('}')
	// Revisions have no id of their own.
	return present{number: n.number, id: n.id, quiet: s.phase(n, at) == live && n.change == 0, text: appendEvent(nil, stateEvent, n.id, t.b)}
}

// hello returns what each client of /events gets first.
func (s *server) hello() []byte {
	var t doc
	t.open('{')
	t.float("Started", unixSeconds(s.started), 3)
	t.string("Version", s.version)
	t.close('}')
	return append([]byte("retry: 1000\n"), appendEvent(nil, helloEvent, 0, t.b)...)
}

func unixSeconds(at time.Time) float64 { return float64(at.UnixMicro()) / 1e6 }
func seconds(micros int64) float64     { return float64(micros) / 1e6 }

// head begins a state, with what changes with the time.
func (s *server) head(n *snapshot, at time.Time) *doc {
	t := &doc{b: make([]byte, 0, len(n.body)+len(n.rows)+1024)}
	t.open('{')
	t.int("Id", n.id)
	t.float("Now", unixSeconds(at), 3)
	t.string("Phase", s.phase(n, at))
	t.int("Clients", s.hub.count.Load())
	t.float("Stale_After", s.late(n.length).Seconds(), 3)
	return t
}

// publish makes the present state and sends it to all clients. Only one goroutine may call it.
func (s *server) publish() {
	n := s.snapshot()
	n.number = s.hub.next()
	s.shown.Store(n)
	p := s.now()
	if s.hub.publish(p.text) {
		s.told, s.changes = n.id, n.change
	}
}

// publishing sends a state for each window, at most one in a while, and one when the phase changes, until done is closed.
func (s *server) publishing(done <-chan struct{}) {
	tick, beat := time.NewTicker(250*time.Millisecond), time.NewTicker(beatEvery)
	defer tick.Stop()
	defer beat.Stop()
	last := waiting
	for {
		select {
		case <-done:
			return
		case <-beat.C:
			s.hub.beat()
			continue
		case <-tick.C:
			if s.phase(s.shown.Load(), time.Now()) == last {
				continue
			}
		case <-s.wake:
		}
		start := time.Now()
		s.publish()
		last = s.phase(s.shown.Load(), time.Now())
		select {
		case <-time.After(publishEvery - time.Since(start)):
		case <-done:
			return
		}
	}
}

// changed says that there is something new to be told.
func (s *server) changed() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// snapshot makes the present state.
func (s *server) snapshot() *snapshot {
	n := &snapshot{rows: []byte("[]")}
	var t doc
	t.b = make([]byte, 0, 32<<10)
	newest := s.history.Newest()
	if newest != nil {
		n.id, n.newest, n.length = newest.ID, newest.Arrived, newest.Seconds
		t.float("Newest", seconds(newest.Arrived), 3)
	}
	s.mu.Lock()
	bad, end := s.bad, s.end
	s.mu.Unlock()
	if !end.at.IsZero() {
		n.ended = true
		t.object("Ended")
		t.float("At", unixSeconds(end.at), 3)
		t.string("Why", end.why)
		t.close('}')
	}
	t.int("Oldest", s.history.Oldest())
	t.int("Kept", int64(s.history.Len()))
	t.object("Bad_Lines")
	t.int("Count", bad.count)
	if bad.count > 0 {
		t.string("Last", bad.last)
		t.float("At", unixSeconds(bad.at), 3)
	}
	t.close('}')
	if newest != nil {
		s.present(&t, newest)
		s.spans(&t, newest)
		n.from = max(s.told+1, n.id-eventRows+1)
		n.rows = s.rows(append(s.revised(&t, n), s.windows(n.from, n.id)...))
	}
	s.report(&t, stateCleared)
	n.body = t.b
	return n
}

// present writes which run the newest window is of.
func (s *server) present(t *doc, newest *history.Window) {
	runs := s.history.Runs()
	k := slices.IndexFunc(runs, func(r history.RunInfo) bool { return r.Name == newest.Run })
	if k < 0 {
		return
	}
	r := &runs[k]
	t.object("Run")
	t.string("Name", r.Name)
	t.int("First", r.First)
	t.int("Windows", int64(r.Windows))
	t.float("Since", seconds(r.Since), 3)
	t.close('}')
	old := false
	for i := range r.Epochs {
		if e := &r.Epochs[i]; e.Epoch == newest.Epoch {
			old = e.Stale || e.MayBeStale
		}
	}
	t.bit("Stale_Epoch", old)
}

// spans writes the three views of the newest window.
func (s *server) spans(t *doc, newest *history.Window) {
	if sum, err := s.history.Sum(newest.ID, newest.ID); err == nil {
		s.view(t, "Window", newest, sum, true)
	}
	if sum, err := s.history.Sum(s.history.Recent(newest.ID, s.recent.Seconds())); err == nil {
		s.view(t, "Recent", newest, sum, true)
	}
	if sum := s.history.Whole(); sum != nil {
		s.view(t, "Whole", s.window(sum.To), sum, true)
	}
}

// revised returns the windows before those of an event that were revised since the event before, none where they are too many, and writes from which
// revision on they are told.
func (s *server) revised(t *doc, n *snapshot) []*history.Window {
	list, change := s.history.Revised(s.changes)
	list = slices.DeleteFunc(list, func(w *history.Window) bool { return w.ID >= n.from })
	n.change = change
	from := s.changes
	if len(list) > eventRows {
		list, from = nil, change
	}
	t.int("Revised", change)
	t.int("Revised_From", from)
	return list
}

// rows returns trend rows.
func (s *server) rows(list []*history.Window) []byte {
	n := s.chambers()
	b := []byte{'['}
	for i, w := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = history.AppendRow(b, w, n)
	}
	return append(b, ']')
}

// windows returns the windows that are kept between two ids, without bookkeeping.
func (s *server) windows(from, to int64) []*history.Window {
	return slices.DeleteFunc(s.history.Windows(from, to), func(w *history.Window) bool { return w.Bookkeeping })
}

// chambers returns how many chambers trend rows have.
func (s *server) chambers() int {
	n := len(s.chamberMap.Chambers)
	if w := s.history.Newest(); w != nil {
		n = max(n, len(w.Counts))
	}
	return n
}

// judged returns what the judge has to say.
func (s *server) judged() verdict.Report {
	s.judging.Lock()
	defer s.judging.Unlock()
	return s.judge.Report()
}

// report writes the alarms, with at most so many that have been cleared, and the checks.
func (s *server) report(t *doc, cleared int) {
	r := s.judged()
	t.value("Alarms", append(r.Alarms, r.Cleared[:min(cleared, len(r.Cleared))]...))
	t.value("Checks", r.Checks)
	t.float("False_Alarms", r.FalseAlarms, 6)
}

// fullState returns what /api/state answers.
func (s *server) fullState() []byte {
	n := s.shown.Load()
	t := s.head(n, time.Now())
	t.comma()
	t.b = append(t.b, n.body...)
	from := max(n.id-stateRows+1, s.history.Oldest())
	t.int("Rows_From", from)
	t.raw("Rows", s.rows(s.windows(from, n.id)))
	t.value("Columns", history.Columns(s.chambers()))
	t.raw("Config", s.config)
	t.close('}')
	return append(t.b, '\n')
}

// mapOf returns the name of the map that lines of these settings were made with, where it is a known one.
func (s *server) mapOf(set *hist.Settings) string {
	for _, m := range s.knownMaps {
		if set.MadeWith(m) {
			return m.Name
		}
	}
	return ""
}

// makeConfig returns the member Config, which never changes.
func (s *server) makeConfig() []byte {
	var t doc
	t.open('{')
	t.string("Title", s.title)
	t.string("Version", s.version)
	t.float("Started", unixSeconds(s.started), 3)
	t.float("Recent_Seconds", s.recent.Seconds(), 3)
	m := s.chamberMap
	t.object("Map")
	t.string("Name", m.Name)
	t.list("Chambers")
	for i := range m.Chambers {
		c := &m.Chambers[i]
		t.open('{')
		t.string("Label", fmt.Sprintf("Chamber %d (ch%d: FPGA %d, %d–%d)", c.Chamber, c.Chamber-1, c.FPGA, c.FirstChannel, c.LastChannel))
		t.int("FPGA", int64(c.FPGA))
		t.int("First", int64(c.FirstChannel))
		t.int("Last", int64(c.LastChannel))
		t.float("Z", c.ZMM, 3)
		t.close('}')
	}
	t.close(']')
	for _, list := range []struct {
		name string
		of   func(channel int) float64
	}{
		{"Layer", func(k int) float64 { return float64(m.Layer(k)) }},
		{"Wire", func(k int) float64 { return float64(hit.Wire(k)) }},
		{"X", m.Position},
	} {
		t.list(list.name)
		for k := range hit.Channels {
			t.comma()
			t.b = appendFloat(t.b, list.of(k), 3)
		}
		t.close(']')
	}
	g := &m.Geometry
	t.value("Cell", []float64{g.CellWidthMM, g.CellHeightMM})
	t.float("Max_Drift", g.MaxDriftNS, 3)
	t.list("Scintillators")
	for _, c := range m.Scintillators {
		t.open('{')
		t.int("FPGA", int64(c.FPGA))
		t.int("Channel", int64(c.Channel))
		t.close('}')
	}
	t.close(']')
	t.close('}')
	t.raw("Thresholds", compact(s.thresholds.Text()))
	if s.ref != nil {
		t.object("Reference")
		t.string("Name", s.ref.name)
		t.string("Digest", s.ref.digest)
		t.close('}')
	}
	t.close('}')
	return t.b
}

// view writes a View; w is the last window in it, or nil. thin: Hist_2 with Auto has few bins.
func (s *server) view(t *doc, key string, w *history.Window, sum *history.Sum, thin bool) {
	if key == "" {
		t.open('{')
	} else {
		t.object(key)
	}
	c := sum.Counts
	bare := c.Bare()
	liveTime := c.LiveSeconds()
	t.object("Span")
	t.int("From", sum.From)
	t.int("To", sum.To)
	t.int("Windows", int64(sum.Windows))
	t.int("Left_Out", int64(sum.LeftOut))
	clock := c.Set.Clock
	if w != nil {
		t.string("Run", w.Run)
		t.int("Epoch", int64(w.Epoch))
		clock = w.Clock
	}
	t.float("Start", sum.Start, 7)
	t.float("End", sum.End, 7)
	t.float("Seconds", sum.Seconds, 7)
	t.float("Live", liveTime, 7)
	t.bit("Complete", sum.Complete)
	t.int("Incomplete", int64(sum.Incomplete))
	t.int("Revised", int64(sum.Revised))
	t.int("Revision", sum.Revision)
	if len(sum.Missing) > 0 {
		t.value("Missing", sum.Missing)
		t.int("Lanes", int64(sum.Lanes))
	}
	t.list("Arrived")
	for _, at := range sum.Arrived {
		t.comma()
		t.b = appendFloat(t.b, seconds(at), 3)
	}
	t.close(']')
	if n := len(c.Spans); n > 0 {
		t.int("First_Orbit", c.Spans[0].First)
		t.int("Last_Orbit", c.Spans[n-1].Last)
	}
	t.int("Stale", sum.Stale)
	t.string("Clock", string(clock))
	t.close('}')

	t.string("Settings", c.Set.Digest())
	if name := s.mapOf(c.Set); name != "" {
		t.string("Map", name)
	}
	if bare {
		t.int("Bare", 1)
	}
	total := c.Total()
	t.int("Total", total)
	rate := func(n int64) {
		if liveTime > 0 {
			t.float("Rate", float64(n)/liveTime, 6)
		}
	}
	rate(total)
	var wires [][]verdict.Wire
	if !bare {
		wires = verdict.Wires(c, s.refCounts(), s.chamberMap, s.thresholds)
	}
	t.list("Chambers")
	for i := range c.Chambers {
		t.open('{')
		s.chamber(t, c, i, thin)
		if !bare {
			rate(c.Chambers[i].Hits())
			if i < len(wires) {
				letters := make([]byte, len(wires[i]))
				for k, w := range wires[i] {
					letters[k] = byte(w)
				}
				t.string("Wires", string(letters))
			}
		}
		t.close('}')
	}
	t.close(']')
	if !bare {
		t.object("Trigger")
		t.int("Hits", c.Trigger.Hits)
		t.int("Orbits", c.Trigger.Orbits)
		rate(c.Trigger.Orbits)
		t.close('}')
		s.fpgas(t, c, rate)
		ledger(t, &c.Ledger)
	}
	others(t, sum.Other)
	if !bare {
		sources(t, s.node(), sum.Source)
	}
	t.close('}')
}

// window returns a window that is kept, or nil.
func (s *server) window(id int64) *history.Window {
	if list := s.history.Windows(id, id); len(list) > 0 {
		return list[0]
	}
	return nil
}

// chamber writes the members of chamber i, from 0.
func (s *server) chamber(t *doc, c *hist.Counts, i int, thin bool) {
	ch, set := &c.Chambers[i], c.Set
	t.int("Count", ch.Hits())
	h1, h3 := c.Hist1(i), c.Hist3(i)
	histogram(t, "Hist_1", axisOf(&set.Hist1, 1), &h1)
	a2, h2 := c.Hist2(i)
	limit := 0
	if thin && set.Auto > 0 {
		limit = thinTo
	}
	hist2(t, &a2, &h2, limit, set.Auto)
	histogram(t, "Hist_3", axisOf(&set.Hist1, 1), &h3)
	histogram(t, "Hist_4", axisOf(&set.Hist4, hit.DriftPerNS), &ch.Hist4)
	box(t, verdict.FitBox(&set.Hist4, &ch.Hist4))
	if c.Bare() {
		return
	}
	t.int("Late", ch.Late)
	t.counts("Occupancy", ch.Occupancy[:])
	t.counts("Scintillator", ch.Scintillator[:])
	t.counts("Multiplicity", ch.Multiplicity[:])
	t.list("Drift_Layer")
	for layer := range ch.DriftLayer {
		t.comma()
		t.b = appendInts(t.b, trimmed(ch.DriftLayer[layer]))
	}
	t.close(']')
	t.counts("Trigger_Multiplicity", ch.TriggerMultiplicity[:])
	t.list("Efficiency")
	for layer := range ch.Efficiency {
		t.comma()
		t.b = appendInts(t.b, ch.Efficiency[layer][:])
	}
	t.close(']')
}

// An axis is where bins are, in the unit of the histogram.
type axis struct {
	lo, width float64
	bins      int
}

func axisOf(a *hist.Axis, unit float64) axis {
	return axis{float64(a.Lo) / unit, float64(a.Width) / unit, a.Bins()}
}

// histogram writes a histogram.
func histogram(t *doc, key string, a axis, h *hist.Hist) {
	t.object(key)
	t.axis(a)
	t.counts("Counts", h.Counts)
	t.int("Underflow", h.Underflow)
	t.int("Overflow", h.Overflow)
	t.close('}')
}

func (t *doc) axis(a axis) {
	t.list("Axis")
	t.b = appendFloat(t.b, a.lo, 3)
	t.b = append(t.b, ',')
	t.b = appendFloat(t.b, a.width, 3)
	t.b = append(t.b, ',')
	t.b = strconv.AppendInt(t.b, int64(a.bins), 10)
	t.close(']')
}

// hist2 writes Hist_2. With a limit, bins are added up, in ones, twos, fives, tens, …, until there are no more than that; their edges stay
// at multiples of their width. auto is the width in the lines.
func hist2(t *doc, a *hist.Axis, h *hist.Hist, limit int, auto int64) {
	by := int64(1)
	for k := 0; limit > 0 && int64(a.Bins())/by+2 > int64(limit) && a.Bins() > limit; k++ {
		by = by * []int64{2, 5, 2}[k%3]
		if k%3 == 1 {
			by /= 2
		}
	}
	at := axisOf(a, 1)
	out := *h
	if by > 1 {
		first := floorDiv(a.Lo/a.Width, by)
		last := floorDiv(a.Lo/a.Width+int64(a.Bins())-1, by)
		at = axis{float64(first * by * a.Width), float64(by * a.Width), int(last - first + 1)}
		out.Counts = make([]int64, at.bins)
		for i, n := range h.Counts {
			out.Counts[floorDiv(a.Lo/a.Width+int64(i), by)-first] += n
		}
	}
	t.object("Hist_2")
	t.axis(at)
	t.counts("Counts", out.Counts)
	t.int("Underflow", out.Underflow)
	t.int("Overflow", out.Overflow)
	if auto > 0 {
		t.int("Auto", auto)
	}
	t.close('}')
}

func floorDiv(a, b int64) int64 { return int64(math.Floor(float64(a) / float64(b))) }

func box(t *doc, b verdict.Box) {
	t.object("Box")
	t.bit("OK", b.OK)
	t.int("Entries", b.Entries)
	if b.OK {
		t.float("From", b.From, 2)
		t.float("To", b.To, 2)
		t.float("Width", b.Width, 2)
		t.float("Error", b.Error, 2)
		t.float("Height", b.Height, 3)
		t.float("Background", b.Background, 3)
	} else {
		t.string("Why", b.Why)
	}
	t.close('}')
}

// The fixed axes of the FPGAs' histograms.
var bxAxis = axis{0, 36, 99}

// fpgas writes what is known of the FPGAs that the map names, or that have hits.
func (s *server) fpgas(t *doc, c *hist.Counts, rate func(int64)) {
	t.list("FPGAs")
	for f := range c.FPGA {
		p := &c.FPGA[f]
		hits := int64(0)
		for _, n := range p.TDC {
			hits += n
		}
		if hits == 0 && p.Last < 0 && !s.names(f) {
			continue
		}
		t.open('{')
		t.int("FPGA", int64(f))
		t.int("Hits", hits)
		rate(hits)
		if p.Last >= 0 {
			t.int("Last", p.Last)
		}
		histogram(t, "BX", bxAxis, &hist.Hist{Counts: p.BX[:], Overflow: p.BXOverflow})
		t.counts("TDC", p.TDC[:])
		t.close('}')
	}
	t.close(']')
}

// names reports whether the map names an FPGA.
func (s *server) names(f int) bool {
	return slices.ContainsFunc(s.chamberMap.Chambers, func(c hit.Chamber) bool { return c.FPGA == f }) ||
		slices.ContainsFunc(s.chamberMap.Scintillators, func(c hit.ScintillatorChannel) bool { return c.FPGA == f })
}

func ledger(t *doc, l *hist.Ledger) {
	t.object("Ledger")
	t.int("Read", l.Read)
	t.int("Hits", l.Hits)
	t.int("Late", l.Late)
	t.int("Scintillator", l.Scintillator)
	t.int("Unassigned", l.Unassigned)
	t.int("Not_A_Hit", l.NotAHit)
	t.int("Early", l.Early)
	t.int("Pending", l.Pending)
	set := l.SetAside
	if set == nil {
		set = map[string]map[string]int64{}
	}
	t.value("Set_Aside", set)
	if l.Missing != 0 {
		t.int("Missing", l.Missing)
	}
	if l.Doubled != 0 {
		t.int("Doubled", l.Doubled)
	}
	t.bit("Balanced", l.Balanced())
	t.close('}')
}

func others(t *doc, list []hist.Other) {
	if len(list) == 0 {
		return
	}
	t.list("Other")
	for i := range list[:min(len(list), maxOther)] {
		o := &list[i]
		if len(o.Bins) > otherBins {
			continue
		}
		t.open('{')
		t.string("Path", o.Path)
		t.list("Bins")
		for _, edge := range o.Bins {
			t.comma()
			t.b = strconv.AppendFloat(t.b, edge, 'g', -1, 64)
		}
		t.close(']')
		t.counts("Counts", o.Counts)
		t.int("Underflow", o.Underflow)
		t.int("Overflow", o.Overflow)
		t.close('}')
	}
	t.close(']')
}

func sources(t *doc, node string, list []hist.LaneSource) {
	t.object("Source")
	t.string("Node", node)
	t.list("Lanes")
	list = list[max(0, len(list)-maxLanes):]
	for i := range list {
		l := &list[i]
		t.open('{')
		t.string("Run", l.Run)
		t.ints("Lane", []int64{int64(l.K), int64(l.N)})
		t.uint("First", l.First)
		t.uint("Next", l.Next)
		if p := l.Place; p != nil {
			t.string("Name", p.Name)
			t.uint("Offset", p.Offset)
			t.uint("Number", p.Number)
			if p.Partition >= 0 {
				t.int("Partition", p.Partition)
			}
			if p.Tag != "" {
				t.string("Tag", p.Tag)
			}
		}
		t.close('}')
	}
	t.close(']')
	t.close('}')
}
