package hist

import (
	"slices"
	"testing"

	"dt/internal/hit"
)

// The expectations here are worked out by hand from RESULTS.md.

// allOf books words of one epoch, in the order of their orbits, and returns all that was counted.
func allOf(t *testing.T, set *Settings, words ...uint64) *Counts {
	t.Helper()
	set.SetWindow(All, 0)
	codes := make([]uint8, len(words))
	set.Map.Assign(codes, words)
	l := NewLane(set, "demo")
	l.Words(0, words, codes)
	if err := l.Finish(); err != nil {
		t.Fatal(err)
	}
	return l.Take()
}

func lcp(t *testing.T) *Settings {
	t.Helper()
	text, _ := hit.BuiltinMap("lcp")
	m, err := hit.ParseMap(text)
	if err != nil {
		t.Fatal(err)
	}
	return NewSettings(m)
}

// only checks that a list is 0 but for the given index: count pairs.
func only(t *testing.T, what string, list []int64, want map[int]int64) {
	t.Helper()
	for i, n := range list {
		if n != want[i] {
			t.Errorf("%s[%d] is %d, want %d", what, i, n, want[i])
		}
	}
}

func TestHist1UpperEdge(t *testing.T) {
	set := NewSettings(nil)
	var err error
	if set.Hist1, err = ParseHist1("3:63:5"); err != nil {
		t.Fatal(err)
	}
	c := allOf(t, set, hit.NewHit(0, 2, 1, 0, 0), hit.NewHit(0, 3, 1, 0, 0), hit.NewHit(0, 62, 1, 0, 0), hit.NewHit(0, 63, 1, 0, 0),
		hit.NewHit(0, 64, 1, 0, 0), hit.NewHit(0, 127, 1, 0, 0))
	h := c.Hist1(0)
	only(t, "Hist_1", h.Counts, map[int]int64{0: 1, 11: 1})
	if len(h.Counts) != 12 || h.Underflow != 1 || h.Overflow != 1 {
		t.Errorf("%d bins, %d below, %d above", len(h.Counts), h.Underflow, h.Overflow)
	}
	// Chamber 2 has channels 64 to 127, which are all above.
	if h := c.Hist1(1); h.Overflow != 2 || total(h.Counts) != 0 {
		t.Errorf("chamber 2: %+v", h)
	}
	c = allOf(t, NewSettings(nil), hit.NewHit(0, 0, 1, 0, 0), hit.NewHit(0, 4, 1, 0, 0), hit.NewHit(0, 5, 1, 0, 0), hit.NewHit(1, 127, 1, 0, 0))
	h = c.Hist1(0)
	only(t, "Hist_1", h.Counts, map[int]int64{0: 2, 1: 1})
	h = c.Hist1(3)
	only(t, "Hist_1 of chamber 4", h.Counts, map[int]int64{25: 1})
}

func TestHist2UpperEdge(t *testing.T) {
	at := func(o uint32) uint64 { return hit.NewHit(0, 1, o, 0, 0) }
	c := allOf(t, NewSettings(nil), at(0), at(599_999), at(600_000), at(1_099_999), at(1_100_000), at(9_599_999), at(9_600_000), at(9_999_999), at(10_000_000),
		at(10_000_001), at(3_387_000_000))
	h := &c.Chambers[0].Hist2
	only(t, "Hist_2", h.Counts, map[int]int64{0: 2, 1: 1, 17: 1, 18: 3})
	if len(h.Counts) != 19 || h.Underflow != 2 || h.Overflow != 2 {
		t.Errorf("%d bins, %d below, %d above", len(h.Counts), h.Underflow, h.Overflow)
	}
	// A last bin that is narrower, HI in it.
	set := NewSettings(nil)
	var err error
	if set.Hist2, _, err = ParseHist2("0:25:10"); err != nil {
		t.Fatal(err)
	}
	c = allOf(t, set, at(19), at(20), at(25), at(26), at(29))
	h = &c.Chambers[0].Hist2
	if !slices.Equal(h.Counts, []int64{0, 1, 2}) || h.Overflow != 2 {
		t.Errorf("%+v", h)
	}
}

// With map lcp drift = 25·Δticks + 11 700, in 1/30 ns: Δ = −468 is 0 ns, −456 is 10 ns, 132 is 500 ns, 732 is 1000 ns.
func TestHist4EdgesAndDriftTimeOnABinEdge(t *testing.T) {
	trigger := hit.NewHit(1, 139, 700_000, 1000, 0)
	for _, tt := range []struct {
		delta       int
		bin         int // −1 underflow, 100 overflow
		triggerBins int64
	}{{-469, -1, 0}, {-468, 0, 1}, {-457, 0, 1}, {-456, 1, 1}, {-455, 1, 1}, {131, 49, 1}, {132, 50, 0}, {731, 99, 0}, {732, 100, 0}} {
		w := hit.NewHit(0, 6, 700_000, (30_000+tt.delta)/30, (30_000+tt.delta)%30)
		if got := hit.Ticks(w) - hit.Ticks(trigger); got != int64(tt.delta) {
			t.Fatalf("the test is wrong: Δ is %d, not %d", got, tt.delta)
		}
		c := allOf(t, lcp(t), w, trigger)
		ch := &c.Chambers[0]
		want := map[int]int64{tt.bin: 1}
		only(t, "Hist_4", ch.Hist4.Counts, want)
		only(t, "Drift_Layer of layer 3", ch.DriftLayer[2], want) // 6 mod 4 = 2: layer 3
		only(t, "Drift_Layer of layer 1", ch.DriftLayer[0], nil)
		if ch.Hist4.Underflow != want[-1] || ch.Hist4.Overflow != want[100] {
			t.Errorf("Δ %d: %d below, %d above", tt.delta, ch.Hist4.Underflow, ch.Hist4.Overflow)
		}
		only(t, "Trigger_Multiplicity", ch.TriggerMultiplicity[:], map[int]int64{int(tt.triggerBins): 1})
		only(t, "Trigger_Multiplicity of chamber 2", c.Chambers[1].TriggerMultiplicity[:], map[int]int64{0: 1})
		if ch.Scintillator[6] != 1 || c.Trigger != (Trigger{1, 1}) {
			t.Errorf("%d in Scintillator, %+v", ch.Scintillator[6], c.Trigger)
		}
	}
}

// The earlier of two scintillator hits counts: with the minidt map, chamber 3, 4 BX after the earlier one,
// 25·120 + 2 865 = 5 865 (195.5 ns, bin 19).
func TestTwoScintillatorHitsInOneOrbit(t *testing.T) {
	c := allOf(t, NewSettings(nil), hit.NewHit(1, 128, 5, 108, 0), hit.NewHit(1, 128, 5, 100, 0), hit.NewHit(1, 9, 5, 104, 0), hit.NewHit(1, 9, 6, 104, 0))
	ch := &c.Chambers[2]
	only(t, "Hist_4", ch.Hist4.Counts, map[int]int64{19: 1})
	if c.Trigger != (Trigger{2, 1}) || ch.Hits() != 2 || c.Ledger.Scintillator != 2 {
		t.Errorf("%+v, %d hits, %+v", c.Trigger, ch.Hits(), c.Ledger)
	}
	h := c.Hist3(2)
	only(t, "Hist_3", h.Counts, map[int]int64{1: 1})
}

// The scintillator of FPGA 0 is none with minidt, channel 138 is in no chamber, and a HEAD 3 word is no hit.
func TestUnassigned(t *testing.T) {
	c := allOf(t, NewSettings(nil), hit.NewHit(0, 128, 5, 108, 0), hit.NewHit(1, 138, 5, 100, 0), uint64(3)<<hit.HeadShift, hit.NewHit(1, 9, 5, 104, 0))
	if want := (Ledger{Read: 4, Hits: 1, Unassigned: 2, NotAHit: 1}); c.Ledger.Read != 4 || c.Ledger.Hits != 1 || c.Ledger.Unassigned != 2 || c.Ledger.NotAHit != 1 || !c.Ledger.Balanced() {
		t.Errorf("%+v, want %+v", c.Ledger, want)
	}
	if c.Trigger.Hits != 0 || total(c.FPGA[0].TDC[:]) != 1 || total(c.FPGA[1].TDC[:]) != 2 {
		t.Errorf("%+v", c.Trigger)
	}
}

func TestFPGAUpperEdges(t *testing.T) {
	c := allOf(t, NewSettings(nil), hit.NewHit(0, 1, 5, 35, 0), hit.NewHit(0, 1, 5, 36, 31), hit.NewHit(0, 1, 5, 3563, 30), hit.NewHit(0, 1, 5, 3564, 0), hit.NewHit(0, 1, 5, 4095, 0))
	only(t, "BX", c.FPGA[0].BX[:], map[int]int64{0: 1, 1: 1, 98: 1})
	only(t, "TDC", c.FPGA[0].TDC[:], map[int]int64{0: 3, 30: 1, 31: 1})
	if c.FPGA[0].BXOverflow != 2 || c.FPGA[0].Last != 5 || c.FPGA[1].Last != -1 {
		t.Errorf("%d above, last %d and %d", c.FPGA[0].BXOverflow, c.FPGA[0].Last, c.FPGA[1].Last)
	}
}

// All 64 channels in one orbit, one of them twice, and a channel twice in the next.
func TestMultiplicityUpperEdge(t *testing.T) {
	var words []uint64
	for channel := range 64 {
		words = append(words, hit.NewHit(0, 64+channel, 5, channel, 0))
	}
	words = append(words, hit.NewHit(0, 64, 5, 9, 9), hit.NewHit(0, 70, 6, 1, 1), hit.NewHit(0, 70, 6, 1, 1))
	set := NewSettings(nil)
	set.Auto = 1
	c := allOf(t, set, words...)
	only(t, "Multiplicity", c.Chambers[1].Multiplicity[:], map[int]int64{64: 1, 1: 1})
	if h := c.Chambers[1].Hist2; !slices.Equal(h.Counts, []int64{64, 1}) || c.AutoLo != 5 {
		t.Errorf("Hist_2 %v from %d", h.Counts, c.AutoLo)
	}
}

// 15, 16 and 17 wires in time; the layers of channels 0, 1, 2, 3 are 4, 2, 3, 1.
func TestTriggerMultiplicityUpperEdgeAndEfficiency(t *testing.T) {
	var words []uint64
	for i, wires := range []int{15, 16, 17, 3} {
		o := uint32(10 + i)
		for channel := range wires {
			words = append(words, hit.NewHit(0, channel, o, 100, 0))
		}
		words = append(words, hit.NewHit(1, 128, o, 100, 0))
	}
	c := allOf(t, NewSettings(nil), words...)
	ch := &c.Chambers[0]
	only(t, "Trigger_Multiplicity", ch.TriggerMultiplicity[:], map[int]int64{3: 1, 15: 1, 16: 2})
	// Three orbits with all layers; the last has channels 0, 1, 2: layers 4, 2, 3, so that layer 1 was eligible and not found.
	if want := [4][2]int64{{4, 3}, {3, 3}, {3, 3}, {3, 3}}; ch.Efficiency != want {
		t.Errorf("Efficiency %v, want %v", ch.Efficiency, want)
	}
	if c.Chambers[1].Efficiency != [4][2]int64{} {
		t.Errorf("Efficiency of chamber 2 %v", c.Chambers[1].Efficiency)
	}
}

func TestLiveGapEdge(t *testing.T) {
	at := func(o uint32) uint64 { return hit.NewHit(3, 200, o, 0, 0) } // in no chamber
	c := allOf(t, NewSettings(nil), at(10), at(10+11_223), at(10+2*11_223+1), at(40_000))
	if want := [][2]int64{{10, 11_233}, {22_457, 22_457}, {40_000, 40_000}}; !slices.Equal(c.Spans[0].Live, want) || c.live() != 11_223 {
		t.Errorf("Live %v, %d; want %v", c.Spans[0].Live, c.live(), want)
	}
}
