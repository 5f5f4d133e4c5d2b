package hist

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"dt/internal/hit"
)

// An event is what a lane gets of one orbit: hits in time, and late hits that come while it is the newest.
type event struct {
	epoch uint32
	orbit int64
	words []uint64
	late  []uint64
}

// randomEvents makes orbits of several epochs, the first of them stale, with gaps about LiveGap, scintillator hits
// (sometimes two), hits that no chamber has, words that are no hits, and late hits.
func randomEvents(r *rand.Rand) []event {
	var events []event
	epochs := 1 + r.IntN(3)
	for epoch := range uint32(epochs) {
		o := int64(r.IntN(2_000_000))
		if epoch == 0 && epochs > 1 {
			o = 3_387_000_000 + int64(r.IntN(1000))
		}
		for range 1 + r.IntN(60) {
			switch r.IntN(12) {
			case 0:
				o += LiveGap + int64(r.IntN(3)) - 1
			case 1:
				o += int64(r.IntN(20_000_000))
			default:
				o += 1 + int64(r.IntN(3000))
			}
			e := event{epoch: epoch, orbit: o}
			bx := r.IntN(3400)
			for range r.IntN(12) {
				e.words = append(e.words, hit.NewHit(r.IntN(3), r.IntN(140), uint32(o), bx+r.IntN(60), r.IntN(32)))
			}
			for range r.IntN(3) {
				e.words = append(e.words, hit.NewHit(1, 128, uint32(o), bx+r.IntN(8), r.IntN(30)))
			}
			if r.IntN(8) == 0 {
				e.words = append(e.words, uint64(5)<<hit.HeadShift|uint64(r.IntN(1<<20)))
			}
			if len(e.words) > 0 && r.IntN(4) == 0 {
				e.late = append(e.late, hit.NewHit(r.IntN(2), r.IntN(129), uint32(r.IntN(int(o))), 7, 7))
			}
			events = append(events, e)
		}
	}
	return events
}

// collect feeds a lane and returns its windows.
func collect(t testing.TB, set *Settings, events []event) []Window {
	t.Helper()
	var out []Window
	l := NewLane(set, "demo")
	l.Emit = func(w Window) error { out = append(out, w); return nil }
	chambers := func(words []uint64) []uint8 {
		codes := make([]uint8, len(words))
		set.Map.Assign(codes, words)
		return codes
	}
	for _, e := range events {
		if set.Clock == Detector {
			if err := l.Horizon(e.epoch, uint64(e.orbit), e.epoch); err != nil {
				t.Fatal(err)
			}
		}
		l.Words(e.epoch, e.words, chambers(e.words))
		if len(e.late) > 0 {
			newest := slices.Repeat([]uint32{uint32(e.orbit)}, len(e.late))
			l.Late(e.epoch, e.late, newest, chambers(e.late))
		}
	}
	if err := l.Finish(); err != nil {
		t.Fatal(err)
	}
	if set.Clock != Detector {
		if c := l.Take(); c != nil {
			out = append(out, Window{Run: "demo", Number: NoNumber, Counts: c, Complete: true})
		}
	} else if !l.Ledger().Empty() && len(out) > 0 {
		out[len(out)-1].Counts.Ledger.Add(l.Ledger())
	}
	for i := range out {
		if !out[i].Counts.Ledger.Balanced() {
			t.Fatalf("the ledger of window %d does not balance: %+v", i, out[i].Counts.Ledger)
		}
	}
	return out
}

// split gives each orbit with its late hits to one of n lanes.
func split(r *rand.Rand, events []event, n int) [][]event {
	lanes := make([][]event, n)
	for _, e := range events {
		k := r.IntN(n)
		lanes[k] = append(lanes[k], e)
	}
	return lanes
}

// canonical makes equal counts deeply equal.
func canonical(c *Counts) Counts {
	d := *c
	d.Set = nil
	d.Chambers = slices.Clone(c.Chambers)
	for i := range d.Chambers {
		ch := &d.Chambers[i]
		ch.Hist1, ch.Hist3 = c.Hist1(i), c.Hist3(i)
		if len(ch.Hist2.Counts) == 0 {
			ch.Hist2.Counts = nil
		}
	}
	if len(d.Spans) == 0 {
		d.Spans = nil
	}
	return d
}

func mustEqual(t *testing.T, what string, got, want *Counts) {
	t.Helper()
	g, w := canonical(got), canonical(want)
	if reflect.DeepEqual(g, w) {
		return
	}
	gv, wv := reflect.ValueOf(g), reflect.ValueOf(w)
	for i := range gv.NumField() {
		if name := gv.Type().Field(i).Name; !reflect.DeepEqual(gv.Field(i).Interface(), wv.Field(i).Interface()) {
			t.Fatalf("%s: %s differs:\n%.3000s\nwant\n%.3000s", what, name, fmt.Sprintf("%+v", gv.Field(i)), fmt.Sprintf("%+v", wv.Field(i)))
		}
	}
}

// testSettings are some of each sort.
func testSettings(t testing.TB, r *rand.Rand) *Settings {
	set := NewSettings(nil)
	switch r.IntN(3) {
	case 0:
		set.Auto = []int64{5000, defaultAuto}[r.IntN(2)]
	case 1:
		a, auto, err := ParseHist2("1e5:5000001:300000")
		b, err4 := ParseHist4("-20.5:700.1:7.5")
		if err != nil || err4 != nil || auto != 0 {
			t.Fatal(err, err4)
		}
		set.Hist2, set.Hist4 = a, b
	}
	set.SetWindow(Detector, []int64{1e8, 5e9, 60e9}[r.IntN(3)])
	return set
}

// Orbits split at random over lanes and detector windows merge to what one lane has in one window.
func TestMergeOfLanesAndWindowsIsTheWhole(t *testing.T) {
	var late, drift, overflow, spans int64
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		events := randomEvents(r)
		set := testSettings(t, r)
		whole := *set
		whole.SetWindow(All, 0)
		windows := collect(t, &whole, events)
		if len(windows) != 1 {
			t.Fatalf("seed %d: %d windows of all", seed, len(windows))
		}
		want := windows[0].Counts

		var parts []*Counts
		for _, lane := range split(r, events, 1+r.IntN(8)) {
			for _, w := range collect(t, set, lane) {
				w.Counts.Set = &whole
				parts = append(parts, w.Counts)
			}
		}
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		before := make([]Counts, len(parts))
		got := NewCounts(&whole)
		for i, p := range parts {
			before[i] = canonical(p)
			if err := got.Add(p); err != nil {
				t.Fatal(err)
			}
		}
		// Lanes without an orbit with hits hand out no window; what they read is told elsewhere.
		got.Ledger, want.Ledger = Ledger{}, Ledger{}
		mustEqual(t, fmt.Sprintf("seed %d", seed), got, want)
		for i, p := range parts {
			if !reflect.DeepEqual(canonical(p), before[i]) {
				t.Fatalf("seed %d: Add changed what it was given", seed)
			}
		}
		// Also pairwise, as a tree.
		for len(parts) > 1 {
			i := r.IntN(len(parts) - 1)
			if err := parts[i].Add(parts[i+1]); err != nil {
				t.Fatal(err)
			}
			parts = slices.Delete(parts, i+1, i+2)
		}
		if len(parts) == 1 {
			parts[0].Ledger = Ledger{}
			mustEqual(t, fmt.Sprintf("seed %d, as a tree", seed), parts[0], want)
		}
		for i := range want.Chambers {
			ch := &want.Chambers[i]
			late += ch.Late
			drift += total(ch.Hist4.Counts)
			if set.Auto > 0 {
				overflow += ch.Hist2.Overflow
			}
		}
		spans += int64(len(want.Spans))
	}
	if late == 0 || drift == 0 || overflow == 0 || spans <= 100 {
		t.Errorf("the streams prove little: %d late, %d drift times, %d in overflow of auto, %d spans", late, drift, overflow, spans)
	}
}

// The lines of lanes, written, read back, and added up, are the lines of one lane, but for the ledger.
func TestMergeOfParsedLinesIsTheLine(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 4))
		events := randomEvents(r)
		set := testSettings(t, r)
		type key struct {
			epoch  uint32
			number int64
		}
		want := map[key]string{}
		text := func(l *Line) string {
			l.Counts.Ledger = Ledger{}
			return string(l.Append(nil))
		}
		for _, w := range collect(t, set, events) {
			k := key{w.Epoch, w.Number}
			if _, twice := want[k]; twice {
				t.Fatalf("seed %d: window %v twice", seed, k)
			}
			want[k] = text(lineOf(w))
		}
		merged := map[key]*Line{}
		for _, lane := range split(r, events, 4) {
			for _, w := range collect(t, set, lane) {
				l, err := ParseLine(lineOf(w).Append(nil))
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				k := key{l.Window.Epoch, l.Window.Number}
				if merged[k] == nil {
					// Half of them on what was read, half on new counts.
					if r.IntN(2) == 0 {
						merged[k] = l
						continue
					}
					first := *l
					first.Counts = NewCounts(l.Counts.Set)
					merged[k] = &first
				}
				if err := merged[k].Counts.Add(l.Counts); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		}
		if len(merged) != len(want) {
			t.Fatalf("seed %d: %d windows, want %d", seed, len(merged), len(want))
		}
		for _, k := range slices.Collect(maps.Keys(want)) {
			if got := text(merged[k]); got != want[k] {
				t.Fatalf("seed %d, window %v:\n%s\nwant\n%s", seed, k, got, want[k])
			}
		}
	}
}

func lineOf(w Window) *Line {
	return &Line{Index: 1, Counts: w.Counts, Complete: w.Complete, Window: WindowInfo{Run: w.Run, Epoch: w.Epoch, Number: w.Number}}
}

func TestAddRefusesOtherSettings(t *testing.T) {
	a, b := NewSettings(nil), NewSettings(nil)
	b.Hist1.Width = 6
	if err := NewCounts(a).Add(NewCounts(b)); err == nil || !strings.Contains(err.Error(), "do not add up") {
		t.Errorf("other settings: %v", err)
	}
	c := NewSettings(nil)
	c.Hist1.n = 33
	c.digest = a.Digest()
	if err := NewCounts(a).Add(NewCounts(c)); err == nil || !strings.Contains(err.Error(), "same bins") {
		t.Errorf("forged digest: %v", err)
	}
	// A progress line has no chambers.
	d := &Counts{Set: &Settings{Map: new(hit.Map), digest: a.Digest()}}
	if err := NewCounts(a).Add(d); err == nil {
		t.Error("a progress line was added")
	}
}

func TestUniteLive(t *testing.T) {
	const g = LiveGap
	for _, tt := range []struct{ a, b, want [][2]int64 }{
		{[][2]int64{{0, 10}}, [][2]int64{{10 + g, 10 + g}}, [][2]int64{{0, 10 + g}}},
		{[][2]int64{{0, 10}}, [][2]int64{{11 + g, 11 + g}}, [][2]int64{{0, 10}, {11 + g, 11 + g}}},
		{[][2]int64{{0, 10}, {15 + g, 15 + g}}, [][2]int64{{15, 15}}, [][2]int64{{0, 15 + g}}},
		{[][2]int64{{0, 100}}, [][2]int64{{5, 6}}, [][2]int64{{0, 100}}},
		{[][2]int64{{7, 7}}, [][2]int64{{7, 7}}, [][2]int64{{7, 7}}},
	} {
		if got := uniteLive(tt.a, tt.b); !slices.Equal(got, tt.want) {
			t.Errorf("%v and %v: %v, want %v", tt.a, tt.b, got, tt.want)
		}
		if got := uniteLive(tt.b, tt.a); !slices.Equal(got, tt.want) {
			t.Errorf("%v and %v: %v, want %v", tt.b, tt.a, got, tt.want)
		}
	}
}

// Auto: the bins of an older last span go to overflow, those of the same are put together by orbit, and what is 400 000 bins
// above the first is overflow.
func TestAddAuto(t *testing.T) {
	set := NewSettings(nil)
	set.Auto = 10
	set.SetWindow(All, 0)
	of := func(epoch uint32, orbits ...int64) *Counts {
		l := NewLane(set, "demo")
		for _, o := range orbits {
			l.Words(epoch, []uint64{hit.NewHit(0, 1, uint32(o), 0, 0)}, []uint8{1})
		}
		if err := l.Finish(); err != nil {
			t.Fatal(err)
		}
		return l.Take()
	}
	for _, tt := range []struct {
		a, b     *Counts
		lo, over int64
		last     int64
		counts   []int64
	}{
		{of(0, 100, 105, 121), of(0, 130), 10, 0, 130, []int64{2, 0, 1, 1}},
		{of(0, 100, 105, 121), of(0, 85, 86, 87), 8, 0, 121, []int64{3, 0, 2, 0, 1}},
		{of(0, 100, 105, 121), of(1, 7), 0, 3, 7, []int64{1}},
		{of(1, 7), of(0, 100, 105, 121), 0, 3, 7, []int64{1}},
		{of(0, 4_000_005), of(0, 3), 0, 1, 4_000_005, []int64{1}},
		{of(0, 3), of(0, 4_000_005), 0, 1, 4_000_005, []int64{1}},
		{of(0), of(0, 25), 2, 0, 25, []int64{1}},
	} {
		c := NewCounts(set)
		for _, o := range []*Counts{tt.a, tt.b} {
			if o == nil {
				continue
			}
			if err := c.Add(o); err != nil {
				t.Fatal(err)
			}
		}
		h := &c.Chambers[0].Hist2
		if c.AutoLo != tt.lo || h.Overflow != tt.over || !slices.Equal(h.Counts, tt.counts) || c.FPGA[0].Last != tt.last {
			t.Errorf("from bin %d %v, overflow %d, last %d; want %d %v, %d, %d", c.AutoLo, h.Counts, h.Overflow, c.FPGA[0].Last, tt.lo, tt.counts, tt.over, tt.last)
		}
	}
}

func TestLedgerAdd(t *testing.T) {
	a := Ledger{Read: 10, Hits: 5, Pending: 2, Missing: 1}
	a.Set("dtfilter", "TDC_CHANNEL", 3)
	b := Ledger{Read: 4, Hits: 3, Late: 1, Scintillator: 1, Pending: -2, Doubled: 7}
	b.Set("dtfilter", "TDC_CHANNEL", 1)
	if a.Add(&b); a.Balanced() && a.Read == 14 {
		want := Ledger{Read: 14, Hits: 8, Late: 1, Scintillator: 1, Missing: 1, Doubled: 7, SetAside: map[string]map[string]int64{"dtfilter": {"TDC_CHANNEL": 4}}}
		if !reflect.DeepEqual(a, want) {
			t.Errorf("%+v", a)
		}
	} else {
		t.Errorf("does not balance: %+v", a)
	}
	if b.SetAside["dtfilter"]["TDC_CHANNEL"] != 1 {
		t.Error("add changed what it was given")
	}
}
