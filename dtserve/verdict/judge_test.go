package verdict

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"dt/internal/hist"
	"dt/internal/hit"
)

// A source makes windows of a run with the default map, of two seconds unless said otherwise.
type source struct {
	r       *rand.Rand
	j       *Judge
	w       Window
	live    float64
	rate    float64 // of a wire, Hz
	factor  [4][hit.Channels]float64
	drift   float64 // entries of Hist_4 a second and chamber
	box     toyBox
	step    int64 // orbits by which FPGA 1 is behind
	bx, tdc func(i int) float64
	ledger  hist.Ledger
	count   int
}

func newSource(t *Thresholds, seed uint64) *source {
	s := &source{r: rand.New(rand.NewPCG(seed, 77)), live: 2, rate: 12, drift: 6, box: toyBox{from: 0, to: 390, smear: 3, back: 0.05}}
	s.j = NewJudge(t, hit.DefaultMap(), nil)
	s.w = Window{Run: "run", Arrived: 1_700_000_000_000_000}
	s.bx = func(int) float64 { return 1 }
	s.tdc = func(i int) float64 {
		if i == 0 || i == 31 {
			return 0
		}
		return 1
	}
	s.all(1)
	return s
}

// all sets how much more than usual wires of all chambers have.
func (s *source) all(f float64) {
	for i := range s.factor {
		for ch := range s.factor[i] {
			s.factor[i][ch] = f
		}
	}
}

// draw draws a count.
func draw(r *rand.Rand, mean float64) int64 {
	if mean > 500 {
		return max(0, int64(math.Round(mean+math.Sqrt(mean)*r.NormFloat64())))
	}
	n, limit := int64(0), math.Exp(-mean)
	for p := r.Float64(); p > limit; p *= r.Float64() {
		n++
	}
	return n
}

// window makes the next window and has it judged.
func (s *source) window() *hist.Counts {
	c := counts()
	var of [2]float64
	for i := range c.Chambers {
		ch := &c.Chambers[i]
		for k := range ch.Occupancy {
			ch.Occupancy[k] = draw(s.r, s.rate*s.live*s.factor[i][k])
			of[i/2] += float64(ch.Occupancy[k])
		}
		ch.Multiplicity[1] = ch.Hits()
		if s.drift > 0 {
			h := s.box.fill(&c.Set.Hist4, int(draw(s.r, s.drift*s.live)), s.r)
			ch.Hist4 = *h
		}
	}
	for f := range of {
		p := &c.FPGA[f]
		for i := range p.BX {
			p.BX[i] = draw(s.r, of[f]/99*s.bx(i))
		}
		for i := range p.TDC {
			p.TDC[i] = draw(s.r, of[f]/30*s.tdc(i))
		}
		if of[f] > 0 {
			p.Last = int64((s.w.End+s.live)/89.1e-6) - int64(f)*s.step
		}
	}
	c.Ledger = s.ledger
	s.w.ID++
	s.w.Arrived += int64(s.live * 1e6)
	first := int64(s.w.End / 89.1e-6)
	s.w.End, s.w.Live = s.w.End+s.live, s.live
	c.Spans = []hist.Span{{Run: s.w.Run, Epoch: s.w.Epoch, First: first, Last: int64(s.w.End / 89.1e-6)}}
	w := s.w
	s.j.Add(&w, c)
	s.count++
	return c
}

// until makes windows until an alarm with the key stands or not, and returns the seconds that took.
func (s *source) until(t *testing.T, key string, stands bool, most float64) float64 {
	t.Helper()
	from := s.w.End
	for s.w.End-from < most {
		s.window()
		if (s.find(key) != nil) == stands {
			return s.w.End - from
		}
	}
	t.Fatalf("alarm %s, standing: %v, is not so within %g s; there are %v", key, stands, most, s.keys())
	return 0
}

func (s *source) find(key string) *Alarm {
	for _, a := range s.j.Report().Alarms {
		if a.Key == key {
			return &a
		}
	}
	return nil
}

// keys returns those of the standing alarms.
func (s *source) keys() []string {
	keys := []string{}
	for _, a := range s.j.Report().Alarms {
		keys = append(keys, a.Key)
	}
	slices.Sort(keys)
	return keys
}

// only checks which alarms stand.
func (s *source) only(t *testing.T, keys ...string) {
	t.Helper()
	if slices.Sort(keys); !slices.Equal(s.keys(), keys) {
		t.Errorf("alarms %v, want %v", s.keys(), keys)
	}
}

func (s *source) windows(n int) {
	for range n {
		s.window()
	}
}

func TestHealthyRunHasNoAlarm(t *testing.T) {
	s := newSource(Default(), 1)
	s.windows(900)
	s.only(t)
	r := s.j.Report()
	if len(r.Cleared) > 0 {
		t.Errorf("cleared: %+v", r.Cleared)
	}
	for _, c := range r.Checks {
		if c.State != "ok" && !strings.HasSuffix(c.Name, " hits") { // the ledger has no words
			t.Errorf("%+v", c)
		}
		if c.Rule == "" || c.Value == "" && c.State == "ok" {
			t.Errorf("%+v", c)
		}
	}
	if r.FalseAlarms > 0.1 || !(r.FalseAlarms >= 0) {
		t.Errorf("%g false alarms a day", r.FalseAlarms)
	}
}

func TestWireAlarms(t *testing.T) {
	s := newSource(Default(), 2)
	s.windows(20)
	s.factor[0][11] = 0
	if took := s.until(t, "wire:1:11", true, 60); took < 10 || took > 34 {
		t.Errorf("a dead wire is found after %g s", took)
	}
	a := s.find("wire:1:11")
	if a.Kind != "dead wire" || a.Severity != SeverityAlarm || a.Chamber != 1 || *a.Channel != 11 || a.RaisedID != s.w.ID ||
		a.RaisedAt != s.w.End || a.Raised != float64(s.w.Arrived)/1e6 || a.Cleared != 0 ||
		!strings.HasPrefix(a.Text, "chamber 1, channel 11 (layer 1, wire 3): 0 hits where its layer's median is ") || !strings.HasSuffix(a.Text, " — dead") {
		t.Errorf("%+v", a)
	}
	s.only(t, "wire:1:11")
	s.factor[0][11] = 1
	if took := s.until(t, "wire:1:11", false, 60); took < 10 {
		t.Errorf("cleared after %g s, within one span", took)
	}
	if c := s.j.Report().Cleared; len(c) != 1 || c[0].Cleared != float64(s.w.Arrived)/1e6 || c[0].Raised != a.Raised {
		t.Errorf("cleared: %+v", c)
	}
	s.factor[1][2], s.factor[2][60], s.factor[3][3] = 8, 0.05, 0
	s.windows(40)
	s.only(t, "wire:2:66", "wire:3:60", "wire:4:67")
	for key, kind := range map[string]string{"wire:2:66": "hot wire warning", "wire:3:60": "low wire warning", "wire:4:67": "dead wire alarm"} {
		if a := s.find(key); a.Kind+" "+a.Severity != kind {
			t.Errorf("%+v, want %s", a, kind)
		}
	}
	// From hot to dead at once is another alarm; from low to dead the same.
	s.factor[1][2], s.factor[2][60] = 0, 0
	low := s.find("wire:3:60")
	s.windows(360)
	s.only(t, "wire:2:66", "wire:3:60", "wire:4:67")
	if a := s.find("wire:2:66"); a.Kind != "dead wire" || a.Severity != SeverityAlarm {
		t.Errorf("%+v", a)
	}
	if a := s.find("wire:3:60"); a.Kind != "dead wire" || a.Raised != low.Raised {
		t.Errorf("%+v", a)
	}
}

// A wire that has a hit now and then is low, not dead, even where it has none in two spans.
func TestRareHitsAreLow(t *testing.T) {
	s := newSource(Default(), 3)
	s.factor[3][59] = 0.004
	s.windows(60)
	s.only(t, "wire:4:123")
	if a := s.find("wire:4:123"); a.Kind != "low wire" {
		t.Errorf("%+v", a)
	}
}

func TestSlowSource(t *testing.T) {
	s := newSource(Default(), 4)
	s.live, s.rate, s.drift = 5, 0.08, 0.5
	s.factor[2][20] = 0
	if took := s.until(t, "wire:3:20", true, 1300); took > 1205 {
		t.Errorf("found after %g s", took)
	}
	s.windows(300)
	s.only(t, "wire:3:20")
	s = newSource(Default(), 4)
	s.live, s.rate, s.drift = 5, 0.02, 0.1 // medians of 12: unknown
	s.factor[2][20] = 0
	s.windows(600)
	s.only(t)
}

func TestSilentBoardIsOneAlarm(t *testing.T) {
	for _, rate := range []float64{12, 0.1} {
		s := newSource(Default(), 5)
		s.rate = rate
		s.live = 24 / rate
		s.windows(50)
		s.factor[0][17] = 0 // a dead wire in it, before
		s.until(t, "wire:1:17", true, 60*12/rate)
		for ch := 16; ch < 32; ch++ {
			s.factor[0][ch] = 0
		}
		s.until(t, "board:0:16", true, 40*12/rate)
		for range 60 {
			s.window()
			s.only(t, "board:0:16")
		}
		if a := s.find("board:0:16"); !strings.HasPrefix(a.Text, "FPGA 0, channels 16–31 (chamber 1): 16 wires silent: 0 hits where the median wire of another board has ") ||
			a.Kind != "silent board" || *a.FPGA != 0 || a.Chamber != 1 {
			t.Errorf("%+v", a)
		}
		// Three boards of four: each is told.
		for ch := 32; ch < 64; ch++ {
			s.factor[0][ch] = 0
		}
		s.windows(40)
		for _, key := range []string{"board:0:32", "board:0:48"} {
			if s.find(key) == nil {
				t.Errorf("no %s: %v", key, s.keys())
			}
		}
		for _, key := range s.keys() {
			if strings.HasPrefix(key, "wire:") {
				t.Error(key)
			}
		}
		for ch := 16; ch < 64; ch++ {
			s.factor[0][ch] = 1
		}
		s.windows(60)
		s.only(t)
	}
}

// Only the wall clock has windows without any hit: they are silence, in its time.
func TestSilentWallClock(t *testing.T) {
	s := newSource(Default(), 32)
	s.windows(20)
	c := counts()
	set := *c.Set
	set.Clock, set.Length = hist.Wall, 2e9
	c.Set = &set
	for want := range 2 {
		if n := len(s.keys()); n != 0 {
			t.Errorf("%d alarms after %d silent windows", n, want)
		}
		s.w.ID++
		w := s.w
		w.Epoch, w.Live, w.End = 0, 0, 1.7e9
		s.j.Add(&w, c)
	}
	s.only(t, "fpga:0", "fpga:1")
	if a := s.find("fpga:1"); a != nil && a.RaisedAt > s.w.End+s.live {
		t.Errorf("raised at %g s of detector time", a.RaisedAt)
	}
	s.windows(2)
	s.only(t)
}

// With more than half of a layer off there is no median to judge its wires by.
func TestSilentLayer(t *testing.T) {
	s := newSource(Default(), 31)
	s.windows(60)
	layer := newLayers(hit.DefaultMap(), 2).channels[1]
	s.factor[2][layer[3]] = 0
	s.until(t, "wire:3:13", true, 60)
	for _, ch := range layer[4:] {
		s.factor[2][ch] = 0
	}
	if took := s.until(t, "layer:3:2", true, 60); took > 10 {
		t.Errorf("after %g s", took)
	}
	s.windows(100)
	s.only(t, "layer:3:2")
	if a := s.find("layer:3:2"); !strings.HasPrefix(a.Text, "chamber 3, layer 2: its median wire has ") || a.Chamber != 3 {
		t.Errorf("%+v", a)
	}
	for _, c := range s.j.Report().Checks {
		if c.Name == "wires" && c.Chamber == 3 && (c.State != "bad" || !strings.HasSuffix(c.Value, ", layers silent: 1")) {
			t.Errorf("%+v", c)
		}
	}
	s.all(1)
	if took := s.until(t, "layer:3:2", false, 60); took > 10 {
		t.Errorf("cleared after %g s", took)
	}
	s.windows(60)
	s.only(t)
}

func TestSilentChamberAndFPGA(t *testing.T) {
	s := newSource(Default(), 6)
	half := func(i int, f float64) {
		for ch := range s.factor[i] {
			s.factor[i][ch] = f
		}
	}
	half(1, 0) // from the start
	s.windows(1)
	s.only(t)
	s.windows(1)
	s.only(t, "chamber:2")
	if a := s.find("chamber:2"); !strings.HasPrefix(a.Text, "FPGA 0, channels 64–127 (chamber 2): 64 wires silent: 0 hits in a window where ") {
		t.Errorf("%+v", a)
	}
	s.windows(400) // it does not become usual
	s.only(t, "chamber:2")
	half(1, 1)
	s.windows(2)
	s.only(t)
	s.windows(100)
	half(2, 0)
	half(3, 0)
	s.windows(2)
	s.only(t, "fpga:1")
	s.windows(50)
	s.only(t, "fpga:1")
	half(2, 1)
	half(3, 1)
	s.windows(20)
	s.only(t)
}

func TestRateAlarm(t *testing.T) {
	s := newSource(Default(), 7)
	s.windows(20)
	for ch := range s.factor[3] {
		s.factor[3][ch] = 4
	}
	s.windows(1)
	s.only(t)
	s.windows(1)
	s.only(t, "rate:4")
	s.windows(400)
	s.only(t, "rate:4")
	s.all(1)
	s.windows(2)
	s.only(t)
	s.all(0.2)
	s.windows(30)
	s.only(t, "rate:1", "rate:2", "rate:3", "rate:4")
	s.all(2.5) // within the factor
	s.windows(30)
	s.only(t)
}

func TestStepAlarm(t *testing.T) {
	s := newSource(Default(), 8)
	s.step = 11_200
	s.windows(30)
	s.only(t)
	s.step = 11_300
	s.windows(1)
	s.only(t)
	s.windows(1)
	s.only(t, "step")
	if a := s.find("step"); !strings.HasPrefix(a.Text, "FPGA 1 is 11300 orbits (1.0 s) behind FPGA 0") {
		t.Errorf("%+v", a)
	}
	s.rate = 0.05 // hits are rarer than a step
	s.step = 50_000
	s.windows(10)
	if s.find("step") == nil { // not judged, so it stands
		t.Error("cleared by windows that are not judged")
	}
	s.rate, s.step = 12, 0
	s.windows(2)
	if s.find("step") != nil {
		t.Error("not cleared")
	}
}

func TestBoxAlarms(t *testing.T) {
	s := newSource(Default(), 9)
	s.drift = 50
	s.windows(60)
	s.only(t)
	s.box.to = 450
	s.windows(60)
	s.only(t, "box-width:1", "box-width:2", "box-width:3", "box-width:4")
	if a := s.find("box-width:3"); !strings.Contains(a.Text, "ns wide; expected: 330 … 415 ns, and 3 σ (") {
		t.Errorf("%+v", a)
	}
	s.box = toyBox{from: 80, to: 460, smear: 3}
	s.windows(60)
	s.only(t, "box-edge:1", "box-edge:2", "box-edge:3", "box-edge:4")
	s.box = toyBox{back: 1}
	s.windows(60)
	if a := s.find("box-width:1"); a == nil || !strings.Contains(a.Text, "no drift-time box is found in 1") {
		t.Errorf("%+v", a)
	}
	s.box = toyBox{from: 5, to: 380, smear: 4}
	s.windows(60)
	s.only(t)
	s.w.End += 100 // a span ends at a gap
	s.drift = 60
	s.windows(8)
	s.box.to = 450
	for range 3 {
		s.w.End += 100
		s.windows(6) // 720 entries
	}
	s.only(t, "box-width:1", "box-width:2", "box-width:3", "box-width:4")
	s.box.to = 380
	s.windows(60)
	s.only(t)
	s.drift = 0.1 // 60 entries in 10 minutes
	s.windows(700)
	s.only(t)
	for _, c := range s.j.Report().Checks {
		if c.Name == "drift box width" && (c.State != "unknown" || !strings.Contains(c.Value, "200 needed")) {
			t.Errorf("%+v", c)
		}
	}
}

func TestReferenceTightens(t *testing.T) {
	ref := newSource(Default(), 10)
	sum := counts()
	ref.drift = 100
	ref.factor[0][0], ref.factor[0][1] = 8, 0.1 // known there
	for range 100 {
		if err := sum.Add(ref.window()); err != nil {
			t.Fatal(err)
		}
	}
	s := newSource(Default(), 11)
	s.j = NewJudge(Default(), hit.DefaultMap(), sum)
	s.factor, s.drift = ref.factor, 50
	s.windows(200)
	s.only(t)
	s.box.to = 430
	s.factor[0][0] = 1
	s.windows(120)
	s.only(t, "box-width:1", "box-width:2", "box-width:3", "box-width:4", "wire:1:0")
	if a := s.find("wire:1:0"); a.Kind != "low wire" || !strings.Contains(a.Text, "are expected by the reference") {
		t.Errorf("%+v", a)
	}
}

func TestStructureAlarms(t *testing.T) {
	s := newSource(Default(), 12)
	s.bx = func(i int) float64 { return 1 + 0.1*math.Sin(float64(i)) } // 7 %
	s.windows(60)
	s.only(t)
	s.bx = func(i int) float64 { return float64(i / 4 % 2 * 2) } // a bit that stays 1
	s.windows(60)
	s.only(t, "bx:0", "bx:1")
	s.bx = func(int) float64 { return 1 }
	s.tdc = func(i int) float64 { return float64(i % 2 * 2) }
	s.windows(60)
	s.only(t, "tdc:0", "tdc:1")
	if a := s.find("tdc:1"); *a.FPGA != 1 || a.Severity != SeverityWarning || !strings.HasPrefix(a.Text, "FPGA 1: TDC_MEAS is not flat") {
		t.Errorf("%+v", a)
	}
}

func TestLedgerAlarms(t *testing.T) {
	s := newSource(Default(), 13)
	s.ledger = hist.Ledger{Read: 20_000, Hits: 9_700, Late: 90, Unassigned: 210, NotAHit: 5_000, SetAside: map[string]map[string]int64{"dtfilter": {"x": 5_000}}}
	s.windows(20)
	s.only(t)
	s.ledger.Late, s.ledger.Hits = 300, 9_490
	s.windows(4)
	s.only(t, "ledger:late")
	s.ledger.Late, s.ledger.Hits = 0, 9_000
	s.ledger.Unassigned = 1_000
	s.windows(4)
	s.only(t, "ledger:unassigned")
	s.ledger.Unassigned, s.ledger.Hits = 0, 10_000
	s.windows(4)
	s.only(t)
	s.ledger.Missing = 7
	s.window()
	s.ledger.Missing = 0
	s.window()
	s.only(t, "ledger:missing")
	s.ledger.Read++
	s.window()
	s.ledger.Read--
	s.only(t, "ledger:balance", "ledger:missing")
	for _, key := range s.keys() {
		if a := s.find(key); a.Severity != SeverityWarning || a.Text == "" {
			t.Errorf("%+v", a)
		}
	}
	s.windows(305)
	s.only(t)
}

func TestRunsAndEpochs(t *testing.T) {
	s := newSource(Default(), 14)
	// The stale buffer: a few hits, then the counters begin anew.
	s.w.End, s.live = 301798, 0.06
	s.window()
	s.w.Epoch, s.w.End, s.live = 1, 54, 2
	s.windows(5)
	s.only(t)
	if c := s.j.Report().Cleared; len(c) > 0 {
		t.Errorf("%+v", c)
	}
	s.factor[0][11] = 0
	s.until(t, "wire:1:11", true, 60)
	s.w.Epoch = 2
	s.windows(1)
	s.only(t, "wire:1:11") // alarms stand over epochs
	s.w.Run = "next"
	s.window()
	s.only(t)
	if c := s.j.Report().Cleared; len(c) != 1 || c[0].Key != "wire:1:11" || c[0].Cleared != float64(s.w.Arrived)/1e6 {
		t.Errorf("%+v", c)
	}
	s.until(t, "wire:1:11", true, 60)

	// What comes late from an older run or epoch changes nothing.
	s.w.Epoch = 3
	s.window()
	for range 20 {
		s.w.Run, s.w.Epoch = "run", 9
		s.window()
		s.w.Run, s.w.Epoch = "next", 1
		s.window()
		s.w.Epoch = 3
		s.window()
	}
	s.only(t, "wire:1:11")
	s.factor[0][11] = 1
	s.factor[0][13] = 0
	from := s.j.Report().Alarms[0].RaisedID
	for s.find("wire:1:13") == nil && s.w.ID < from+300 {
		s.w.Run, s.w.Epoch = "run", 9
		s.window()
		s.w.Run, s.w.Epoch = "next", 3
		s.window()
	}
	s.only(t, "wire:1:13")

	// Spans begin anew with each epoch: none ends in one of 4 s.
	s = newSource(Default(), 15)
	s.factor[0][11] = 0
	for range 100 {
		s.windows(2)
		s.w.Epoch++
	}
	s.only(t)
}

func TestWhatIsNotJudged(t *testing.T) {
	for _, w := range []Window{{Bare: true}, {Revision: 1}, {Bookkeeping: true}} {
		s := newSource(Default(), 16)
		s.windows(3)
		s.all(0)
		s.factor[0][0] = 1
		s.w.Bare, s.w.Revision, s.w.Bookkeeping = w.Bare, w.Revision, w.Bookkeeping
		s.windows(50)
		s.only(t)
	}
}

// A window without some of its lanes is judged by what these would have. When it comes again, the ledger of what is new is judged.
func TestSilentLanes(t *testing.T) {
	for _, missing := range []int{0, 6} {
		s := newSource(Default(), 21)
		s.windows(50)
		s.all(0.2)
		s.w.Missing, s.w.Lanes = missing, 8
		s.windows(20)
		if (s.find("rate:1") == nil) != (missing > 0) {
			t.Errorf("%d lanes missing: %+v", missing, s.j.Report().Alarms)
		}
		if missing == 0 {
			continue
		}
		s.all(0)
		s.w.Revision, s.w.Missing, s.ledger.Missing = 1, 0, 5
		s.windows(20)
		s.only(t, "ledger:missing")
	}
}

func TestReportIsACopyAndBounded(t *testing.T) {
	th := Default()
	th.Spans = 1
	s := newSource(th, 17)
	s.drift = 0
	for range 260 {
		s.step = 50_000 - s.step
		s.window()
	}
	r := s.j.Report()
	if len(r.Cleared) > maxCleared || len(r.Cleared) < 100 {
		t.Errorf("%d cleared", len(r.Cleared))
	}
	if !slices.IsSortedFunc(r.Cleared, func(a, b Alarm) int { return int(b.RaisedID - a.RaisedID) }) {
		t.Error("not the newest first")
	}
	s.step = 0
	s.factor[0][1] = 0
	s.windows(30)
	r = s.j.Report()
	r.Alarms[0].Text, r.Checks[0].Name = "", ""
	if got := s.j.Report(); got.Alarms[0].Text == "" || got.Checks[0].Name == "" {
		t.Error("a report is no copy")
	}
}

// With looser limits there are enough false alarms to count: they are as many as expected.
func TestExpectedFalseAlarms(t *testing.T) {
	t.Parallel()
	th := Default()
	th.Wire.Hot, th.Wire.Low = 1.2, 1.26
	for _, spans := range []int{1, 2} {
		th.Spans = spans
		s := newSource(th, 18)
		s.rate, s.drift = 55, 0 // a span a window
		const windows = 1500
		expected, raised := 0., map[string]bool{}
		n, last := 0, int64(0)
		for range windows {
			s.window()
			sum := 0.
			for _, c := range s.j.chambers {
				for layer := range c.falses {
					sum += s.j.falseWires(c, &c.falses[layer])
				}
			}
			expected += sum * s.live / day
			for _, a := range s.j.alarms {
				if id := fmt.Sprint(a.Key, a.RaisedID); !raised[id] {
					raised[id] = true
					n++
				}
			}
			last = s.w.ID
		}
		// A row that goes on, and one behind it that a single good span does not clear, raise no second alarm.
		if ratio := float64(n) / expected; ratio < 0.75 || ratio > 1.25 || n < 100 {
			t.Errorf("%d in a row: %d alarms in %d windows where %.0f are expected", spans, n, last, expected)
		}
	}
}

func TestFalseAlarmsByDefault(t *testing.T) {
	if f := NewJudge(Default(), hit.DefaultMap(), nil).ExpectedFalseAlarms(); f > 0.1 {
		t.Errorf("at the start: %g", f)
	}
	for _, rate := range []float64{0.035, 0.08, 0.5, 12, 300} { // from medians of 21 in 10 minutes on
		s := newSource(Default(), 19)
		s.rate, s.drift, s.live = rate, min(6, rate), 5
		s.windows(300)
		if f := s.j.ExpectedFalseAlarms(); f > 0.1 {
			t.Errorf("%g Hz: %g", rate, f)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	s := newSource(Default(), 20)
	var all []*hist.Counts
	for range 200 {
		all = append(all, s.window())
	}
	for i := 0; b.Loop(); i++ {
		s.w.ID++
		w := s.w
		w.Live = 2
		s.j.Add(&w, all[i%200])
	}
}
