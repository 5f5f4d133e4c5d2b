package hist

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"dt/internal/hit"
)

// oneChamber has one chamber and few bins, so that a line can be written out by hand.
func oneChamber(t testing.TB) *Settings {
	t.Helper()
	m, err := hit.ParseMap([]byte(`{"chambers": [{"chamber": 1, "fpga": 0, "first_channel": 0, "last_channel": 63, "offset_ns": 93.9}],
		"scintillators": [{"fpga": 1, "channel": 128}], "geometry": {"layer_of_channel_mod_4": [4, 2, 3, 1]}}`))
	if err != nil {
		t.Fatal(err)
	}
	set := NewSettings(m)
	for _, tt := range []struct {
		axis *Axis
		spec string
		unit int64
	}{{&set.Hist1, "0:170:85", 1}, {&set.Hist2, "0:1e7:5e6", 1}, {&set.Hist4, "0:1000:500", 30}} {
		if *tt.axis, err = ParseAxis(tt.spec, tt.unit, tt.axis == &set.Hist2); err != nil {
			t.Fatal(err)
		}
	}
	return set
}

// zeros is a list of n counts, 0 but for the given index, count pairs.
func zeros(n int, set ...int) string {
	list := make([]int, n)
	for i := 0; i < len(set); i += 2 {
		list[set[i]] = set[i+1]
	}
	return strings.ReplaceAll(fmt.Sprint(list), " ", ",")
}

func bxBinsText() string {
	var b strings.Builder
	for i := range 99 {
		fmt.Fprintf(&b, ",%d", 36*i)
	}
	return b.String()[1:]
}

// One orbit with a hit of channel 5 (layer 2), BX 100, and the scintillator, BX 100: the drift time is the offset, 93.9 ns.
// A second orbit, 1000 later, with a hit of channel 6, and a late hit of channel 7. Window 17 begins at orbit 953 989.
func handLine(t testing.TB) *Line {
	set := oneChamber(t)
	var out []*Line
	l := NewLane(set, "demo")
	l.Emit = func(w Window) error {
		w.Counts.Ledger.Set("dtfilter", "HEAD", 2)
		w.Counts.Ledger.Read += 2
		out = append(out, &Line{Index: 1_700_000_000_100_000, Counts: w.Counts, Complete: w.Complete, Node: "n1",
			Window: WindowInfo{Run: w.Run, Epoch: w.Epoch, Number: w.Number, Revision: 0},
			Lanes:  []LaneSource{{Run: "demo", K: 1, N: 1, First: 0, Next: 6, Place: &Place{Name: "run.csv", Offset: 160, Number: 6, Partition: -1}}}})
		return nil
	}
	l.Words(1, []uint64{hit.NewHit(0, 5, 1_000_000, 100, 0), hit.NewHit(1, 128, 1_000_000, 100, 0), hit.NewHit(0, 6, 1_001_000, 72, 31)}, []uint8{1, 255, 1})
	l.Late(1, []uint64{hit.NewHit(0, 7, 3, 0, 0)}, []uint32{1_001_000}, []uint8{1})
	if err := l.Finish(); err != nil || len(out) != 1 {
		t.Fatal(len(out), err)
	}
	return out[0]
}

func TestLineByHand(t *testing.T) {
	hist := func(bins, counts string, over int) string {
		return fmt.Sprintf(`{"Bins": [%s], "Counts": %s, "Underflow": 0, "Overflow": %d}`, bins, counts, over)
	}
	// 3 hits in 1000 orbits: 3 / 0.0891 s = 33.6700336700…
	// Window 17: 17·56117 = 953 989 orbits = 85.0004199 s.
	want := `{"Index": 1700000000.100000, "Total Count": 3, "Chamber_1": {"Count": 3, ` +
		`"Hist_1": ` + hist("0,85", "[3,0]", 0) + `, "Hist_2": ` + hist("0,5000000", "[2,0]", 0) +
		`, "Hist_3": ` + hist("0,85", "[1,0]", 0) + `, "Hist_4": ` + hist("0,500", "[1,0]", 0) +
		`, "Late": 1, "Rate": 33.670034, "Occupancy": ` + zeros(64, 5, 1, 6, 1, 7, 1) + `, "Scintillator": ` + zeros(64, 5, 1) +
		`, "Multiplicity": ` + zeros(65, 1, 2) + `, "Drift_Layer": [[0,0],[1,0],[0,0],[0,0]], "Trigger_Multiplicity": ` + zeros(17, 1, 1) +
		`, "Efficiency": [[0,0],[0,0],[0,0],[0,0]]}, "Trigger": {"Hits": 1, "Orbits": 1}, ` +
		`"FPGA_0": {"Hits": 2, "Last": 1001000, "BX": ` + hist(bxBinsText(), zeros(99, 2, 2), 0) + `, "TDC": ` + zeros(32, 0, 1, 31, 1) + `}, ` +
		`"FPGA_1": {"Hits": 1, "Last": 1000000, "BX": ` + hist(bxBinsText(), zeros(99, 2, 1), 0) + `, "TDC": ` + zeros(32, 0, 1) + `}, ` +
		`"Window": {"Clock": "detector", "Seconds": 5.0000247, "Start": 85.0004199, "End": 90.0004446, "Live": 0.0891, ` +
		`"Spans": [{"Run": "demo", "Epoch": 1, "First": 1000000, "Last": 1001000, "Live": [[1000000,1001000]]}], "Revision": 0, "Run": "demo", "Epoch": 1, "Number": 17}, ` +
		`"Ledger": {"Read": 6, "Hits": 2, "Late": 1, "Scintillator": 1, "Unassigned": 0, "Not_A_Hit": 0, "Early": 0, "Pending": 0, "Set_Aside": {"dtfilter": {"HEAD": 2}}}, ` +
		`"Complete": 1, "Source": {"Node": "n1", "Lanes": [{"Run": "demo", "Lane": [1,1], "First": 0, "Next": 6, "Name": "run.csv", "Offset": 160, "Number": 6}]}, ` +
		`"Settings": "` + oneChamber(t).Digest() + `"}`
	if got := string(handLine(t).Append(nil)); got != want {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("differs at %d:\n%.200s\nwant\n%.200s", i, got[max(0, i-40):], want[max(0, i-40):])
			}
		}
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPartialProgressAndOtherClocks(t *testing.T) {
	l := handLine(t)
	l.Lane = [2]int{2, 4}
	l.Lanes[0].Place = nil
	if got := string(l.Append(nil)); !strings.Contains(got, `"Number": 17}, "Partial": 1, "Lane": [2,4], "Ledger": {`) ||
		!strings.Contains(got, `"First": 0, "Next": 6}]}, "Settings": "`) {
		t.Errorf("partial line: %s", got)
	}

	p := &Line{Progress: true, End: true, Complete: true, Lane: [2]int{2, 4}, Node: "n", Window: WindowInfo{Run: "r\"1", Epoch: 3, Number: 9},
		Counts: &Counts{Set: NewSettings(nil), Ledger: Ledger{Read: 3, Pending: 3, Missing: 8, Doubled: 1}},
		Lanes:  []LaneSource{{Run: "r", K: 2, N: 4, First: 1, Next: 1 << 63, Place: &Place{Name: "t", Offset: 5, Partition: 0, Tag: "x"}}}}
	want := `{"Progress": 1, "Run": "r\"1", "Lane": [2,4], "Epoch": 3, "Number": 9, "End": 1, "Ledger": {"Read": 3, "Hits": 0, "Late": 0, "Scintillator": 0, "Unassigned": 0, ` +
		`"Not_A_Hit": 0, "Early": 0, "Pending": 3, "Set_Aside": {}, "Missing": 8, "Doubled": 1}, "Complete": 1, "Source": {"Node": "n", ` +
		`"Lanes": [{"Run": "r", "Lane": [2,4], "First": 1, "Next": 9223372036854775808, "Name": "t", "Offset": 5, "Number": 0, "Partition": 0, "Tag": "x"}]}, ` +
		`"Settings": "` + NewSettings(nil).Digest() + `"}`
	if got := string(p.Append(nil)); got != want {
		t.Errorf("progress:\n%s\nwant\n%s", got, want)
	}

	wall := NewSettings(nil)
	wall.SetWindow(Wall, 2_500_000_000)
	w := &Line{Counts: NewCounts(wall), Window: WindowInfo{Start: 1_700_000_000_000_001, End: 1_700_000_002_500_000}}
	if got := string(w.Append(nil)); !strings.Contains(got, `"Window": {"Clock": "wall", "Seconds": 2.5, "Start": 1700000000.000001, "End": 1700000002.500000, "Live": 0, "Spans": [], "Revision": 0}, `) ||
		strings.Contains(got, "Rate") || strings.Contains(got, "Last") {
		t.Errorf("wall: %s", got)
	}
	w.Counts = NewCounts(NewSettings(nil))
	w.Window = WindowInfo{Number: NoNumber}
	if got := string(w.Append(nil)); !strings.Contains(got, `"Window": {"Clock": "detector", "Seconds": 5.0000247, "Live": 0, "Spans": [], "Revision": 0}, `) {
		t.Errorf("line without orbits: %s", got)
	}
	all := NewSettings(nil)
	all.SetWindow(All, 0)
	w.Counts = NewCounts(all)
	if got := string(w.Append(nil)); !strings.Contains(got, `"Window": {"Clock": "all", "Live": 0, "Spans": [], "Revision": 0}, `) {
		t.Errorf("all, without hits: %s", got)
	}
	// A stale epoch before the run: Seconds are those of 2 orbits and of 1.
	w.Counts.Spans = []Span{{"r", 0, 3_387_000_000, 3_387_000_001, [][2]int64{{3_387_000_000, 3_387_000_001}}}, {"r", 1, 617_000, 617_000, [][2]int64{{617_000, 617_000}}}}
	if got := string(w.Append(nil)); !strings.Contains(got, `"Window": {"Clock": "all", "Seconds": 0.0002673, "Start": 301781.7, "End": 54.9747891, "Live": 0.0000891, "Spans"`) {
		t.Errorf("all, two epochs: %s", got)
	}
}

// parseDecimal reads all of s as a decimal number.
func parseDecimal(text string, digits int) (int64, error) {
	s := scanner{text: []byte(text)}
	v := s.decimal(digits)
	s.end()
	return v, s.err
}

func TestDecimals(t *testing.T) {
	for _, tt := range []struct {
		v      int64
		digits int
		want   string
	}{{0, 7, "0"}, {891, 7, "0.0000891"}, {-891, 7, "-0.0000891"}, {10_000_000, 7, "1"}, {12_340_000_000, 7, "1234"}, {12_345_000_000, 7, "1234.5"},
		{939, 1, "93.9"}, {5, 0, "5"}, {math.MaxInt64, 0, "9223372036854775807"}, {math.MinInt64, 7, "-922337203685.4775808"}} {
		got := string(appendDecimal(nil, tt.v, tt.digits))
		if got != tt.want {
			t.Errorf("appendDecimal(%d, %d) = %s, want %s", tt.v, tt.digits, got, tt.want)
		}
		if back, err := parseDecimal(got, tt.digits); (err != nil || back != tt.v) && tt.v < 1<<60 && tt.v > -1<<60 {
			t.Errorf("parseDecimal(%q, %d) = %d, %v", got, tt.digits, back, err)
		}
	}
	for _, s := range []string{"", "-", ".", ".5", "5.", "1.2.3", "1e3", "+1", "0x1", "01", "1.23", "99999999999999999999", "--1"} {
		if v, err := parseDecimal(s, 1); err == nil {
			t.Errorf("parseDecimal(%q) = %d", s, v)
		}
	}
	for _, s := range []string{"1.20", "1.200000000000000"} {
		if v, err := parseDecimal(s, 1); err != nil || v != 12 {
			t.Errorf("parseDecimal(%q) = %d, %v", s, v, err)
		}
	}
	// 891e7 / (16384 · 891) = 610.3515625, a tie: up.
	for _, tt := range []struct {
		count, live int64
		want        string
	}{{0, 1, "0"}, {1, 1, "11223.344557"}, {891, 16_384, "610.351563"}, {891, 10_000_000, "1"}, {1, 1 << 40, "0"}, {math.MaxInt64, 1, "103517082344049111189674.523008"}} {
		if got := string(appendRate(nil, tt.count, tt.live)); got != tt.want {
			t.Errorf("rate of %d in %d orbits: %s, want %s", tt.count, tt.live, got, tt.want)
		}
	}
	for v, want := range map[int64]string{0: "0.000000", 1: "0.000001", 1_700_000_000_100_000: "1700000000.100000", -1: "-0.000001"} {
		if got := string(appendMicros(nil, v)); got != want {
			t.Errorf("appendMicros(%d) = %s", v, got)
		}
	}
}

func TestStrings(t *testing.T) {
	for s, want := range map[string]string{
		"plain /x": `"plain /x"`, "a\"b\\c": `"a\"b\\c"`, "\n\x00\x1f\x7f": `"\u000a\u0000\u001f\u007f"`, "é ü 漢": `"é ü 漢"`,
		"\u2028\u2029\u0085\u00a0\ufeff": `"\u2028\u2029\u0085\u00a0\ufeff"`, "😀": `"😀"`, "a\xffb": `"a\ufffdb"`,
	} {
		got := string(appendString(nil, s))
		var back string
		if err := json.Unmarshal([]byte(got), &back); got != want || err != nil || back != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("%q: %s, want %s; read back %q, %v", s, got, want, back, err)
		}
	}
}

// backAgain checks that a line is what it was when it is read back.
func backAgain(t *testing.T, l *Line) {
	t.Helper()
	text := l.Append(nil)
	if !json.Valid(text) {
		t.Fatalf("not JSON: %s", text)
	}
	got, err := ParseLine(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if again := got.Append(nil); string(again) != string(text) {
		t.Fatalf("written again:\n%s\nwas\n%s", again, text)
	}
	if l.Progress {
		return
	}
	want := *l.Counts
	// FPGAs that the map does not name are not in a line.
	for f := range want.FPGA {
		if want.Set.fpgaMask()>>f&1 == 0 {
			want.FPGA[f] = FPGA{Last: -1}
		}
	}
	mustEqual(t, "read back", got.Counts, &want)
	g, w := *got, *l
	g.Counts, w.Counts = nil, nil
	if !reflect.DeepEqual(g, w) {
		t.Fatalf("read back %+v, was %+v", g, w)
	}
	if err := got.Counts.Add(l.Counts); err != nil {
		t.Fatal(err)
	}
}

func TestParseOfAppend(t *testing.T) {
	hand := handLine(t)
	backAgain(t, hand)
	partial := *hand
	partial.Lane = [2]int{3, 3}
	partial.Complete = false
	backAgain(t, &partial)
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 5))
		set := testSettings(t, r)
		switch r.IntN(3) {
		case 0:
			set.SetWindow(All, 0)
		case 1:
			set.SetWindow(Wall, 1+r.Int64N(1e13))
		}
		for _, w := range collect(t, set, randomEvents(r)) {
			l := lineOf(w)
			l.Index = r.Int64N(1 << 52)
			l.Window.Revision = r.Int64N(3)
			if set.Clock != Detector {
				l.Window.Run, l.Window.Number = "", NoNumber
			}
			if set.Clock == Wall {
				l.Window.Start, l.Window.End = r.Int64N(1<<52), r.Int64N(1<<52)
			}
			w.Counts.Ledger.Set("dtfilter", "a \"reason\"", 3)
			l.Node = "häl\u2028lo"
			l.Lanes = []LaneSource{{Run: "demo", K: 1, N: 9, First: 3, Next: 1<<64 - 1, Place: &Place{Name: "", Partition: 5, Tag: "t"}}}
			l.Resume, l.Merge, l.Missing = resumes(r), merges(r), []int{1, 65536}[:r.IntN(2)*2]
			if len(l.Missing) == 0 {
				l.Missing = nil
			}
			backAgain(t, l)
		}
	}
	backAgain(t, &Line{Progress: true, End: true, Lane: [2]int{1, 2}, Resume: resumes(rand.New(rand.NewPCG(1, 1))), Window: WindowInfo{Run: "r", Epoch: 1<<32 - 1, Number: 77}, Counts: &Counts{Set: NewSettings(nil)}})
}

// resumes is what a partial line may say for taking it up.
func resumes(r *rand.Rand) []LaneState {
	var list []LaneState
	for k := range uint32(r.IntN(3)) {
		s := LaneState{Run: "h\"ä", K: k + 1, N: 9, Epoch: r.Uint32(), Orbit: r.Int64N(1 << 32), Next: r.Uint64(), End: r.IntN(2) == 0}
		if r.IntN(3) > 0 {
			s.Place = &Place{Name: "s\u2028", Partition: r.Int64N(3) - 1, Offset: r.Uint64(), Number: r.Uint64(), Tag: "\"t\""[:r.IntN(2)*3]}
			if r.IntN(2) == 0 {
				s.Place.State = []byte{0, 255, byte(r.IntN(256))}
			}
		}
		list = append(list, s)
	}
	return list
}

// merges is what a merged line may say.
func merges(r *rand.Rand) *MergeState {
	if r.IntN(3) == 0 {
		return nil
	}
	m := &MergeState{Places: []Place{{Name: "P", Partition: 3, Offset: 7}}}
	for range r.IntN(3) {
		run := RunState{Run: "run"}
		for range 1 + r.IntN(3) {
			run.Lanes = append(run.Lanes, LaneMerge{r.Uint32(), r.Int64N(1 << 53), uint64(r.Int64()), r.Uint32(), r.Int64N(1 << 53), r.IntN(2) == 0})
		}
		for range r.IntN(3) {
			run.Open = append(run.Open, OpenWindow{r.Uint32(), r.Int64N(1 << 53), r.Int64N(9), 1 + r.IntN(99)})
			run.Holes = append(run.Holes, Hole{1, r.Uint32(), r.Int64N(99), r.Uint32(), r.Int64N(99)})
			run.Given = key{r.Uint32(), r.Int64N(99)}
		}
		m.Runs = append(m.Runs, run)
		m.Ended = append(m.Ended, "é")
	}
	return m
}

// What a reader of lines alone needs is read without the rest, and what is put behind a line stays a line.
func TestResumeAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	for range 50 {
		l := handLine(t)
		l.Resume, l.Merge = resumes(r), merges(r)
		text := AppendFrom(nil, l.Append(nil), "P\"", 3, 99)
		lanes, merge, settings, err := ParseResume(text)
		if err != nil || !reflect.DeepEqual(lanes, l.Resume) || !reflect.DeepEqual(merge, l.Merge) || (lanes != nil || merge != nil) && settings != l.Counts.Set.Digest() {
			t.Fatalf("%v: %+v %+v %s of %s", err, lanes, merge, settings, text)
		}
		back, err := ParseLine(AppendFloor(nil, append(text, '\n')))
		if err != nil || !back.Floor || *back.From != (From{"P\"", 3, 99}) {
			t.Fatalf("%v: %+v", err, back)
		}
	}
	if got := string(AppendFloor(nil, nil)); got != FloorNone {
		t.Error(got)
	}
	if got := string(AppendFrom(nil, []byte("no object"), "P", 1, 2)); got != "no object" {
		t.Error(got)
	}
	good := string((&Line{Progress: true, Lane: [2]int{1, 2}, Window: WindowInfo{Run: "r"}, Counts: &Counts{Set: NewSettings(nil)},
		Resume: []LaneState{{Run: "r", K: 1, N: 2, Place: &Place{Name: "S", Partition: 1}}}}).Append(nil))
	for _, tt := range []struct{ old, new, want string }{
		{`"Resume": [{"Run": "r", "Lane": [1,2]`, `"Resume": [{"Run": "r", "Lane": [3,2]`, "Resume: lane 3 of 2"},
		{`"Orbit": 0`, `"Orbit": -1`, "Resume: orbit -1"},
		{`"Place": {"Name": "S", "Partition": 1`, `"Place": {"Name": "S", "Partition": -4`, "Resume: partition -4"},
		{`"Place": {"Name": "S", `, `"Place": {`, "Resume: a place without a name"},
		{`"Place": {`, `"Place": {"State": "?", `, "Resume: illegal base64"},
		{`"Orbit": 0`, `"Orbit": "x"`, "Orbit: string does not belong there"},
	} {
		text := strings.Replace(good, tt.old, tt.new, 1)
		if text == good {
			t.Fatalf("%s is not in %s", tt.old, good)
		}
		for _, err := range []error{second(ParseLine([]byte(text))), fourth(ParseResume([]byte(text)))} {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %s", tt.new, err, tt.want)
			}
		}
	}
}

func second(_ *Line, err error) error                                { return err }
func fourth(_ []LaneState, _ *MergeState, _ string, err error) error { return err }

func TestParseLineRefuses(t *testing.T) {
	good := string(handLine(t).Append(nil))
	for _, tt := range []struct{ old, new, want string }{
		{`{"Index"`, `{"Inde"`, "no Index"},
		{`"Chamber_1"`, `"Chamber_0"`, "no Chamber_1"},
		{`"Total Count": 3`, `"Total Count": 4`, "Total Count: 4, but the chambers have 3"},
		{`"Count": 3,`, `"Count": 3.0,`, `Chamber_1.Count: "3.0" is not a whole number`},
		{`"Bins": [0,85], "Counts": [3,0]`, `"Bins": [0,85], "Counts": [3]`, "Chamber_1.Hist_1: 1 counts where there should be 2"},
		{`"Bins": [0,85], "Counts": [3,0]`, `"Bins": [0,85], "Counts": [-3,6]`, "a count of -3"},
		{`"Bins": [0,85], "Counts": [3,0]`, `"Bins": [0,85], "Counts": [9223372036854775807,9223372036854775807]`, "a count of"},
		{`"Bins": [0,85], "Counts": [3,0]`, `"Bins": [0,85], "Counts": [2,0]`, "but 2 in Hist_1"},
		{`"Bins": [0,85], "Counts": [3,0]`, `"Bins": [0,-85], "Counts": [3,0]`, "not ascending"},
		{`"Bins": [0,85], "Counts": [3,0]`, `"Bins": [], "Counts": []`, "0 bins"},
		{`"Bins": [0,85], "Counts": [1,0]`, `"Bins": [0,86], "Counts": [1,0]`, "Bins are not those"},
		{`"Clock": "detector"`, `"Clock": "sun"`, `Clock: "sun"`},
		{`"Seconds": 5.0000247`, `"Seconds": 5`, "no whole number of orbits"},
		{`"Seconds": 5.0000247`, `"Seconds": 0`, "Seconds: 0 is not within"},
		{`"Number": 17`, `"Number": -1`, "Number: -1"},
		{`[[1000000,1001000]]`, `[[1000000,1000999]]`, "Live is not from First to Last"},
		{`[[1000000,1001000]]`, `[[1000000]]`, "Live: [1000000]"},
		{`[[1000000,1001000]]`, `[]`, "Live is not"},
		{`"Settings": "`, `"Settings": "0`, "16 hex digits"},
		{`"Settings": "` + oneChamber(t).Digest()[:1], `"Settings": "X`, "16 hex digits"},
		{`"Complete": 1`, `"Complete": 2`, "Complete: 2"},
		{`"Lane": [1,1]`, `"Lane": [2,1]`, "is not [k, N]"},
		{`"Drift_Layer": [[0,0],`, `"Drift_Layer": [`, "not 4 layers"},
		{`"Read": 6`, `"Read": -6`, "Ledger.Read: -6"},
	} {
		text := strings.Replace(good, tt.old, tt.new, 1)
		if text == good {
			t.Fatalf("%s is not in the line", tt.old)
		}
		if _, err := ParseLine([]byte(text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.new, err, tt.want)
		}
	}
	for _, text := range []string{"", "null", "{}", "[]", "1", `{"Progress": 1}`, good[:len(good)-1], good + "x", `{"Chamber_1": null}`} {
		if _, err := ParseLine([]byte(text)); err == nil {
			t.Errorf("%.40q: no error", text)
		}
	}
	// Keys that are not known are ignored.
	if _, err := ParseLine([]byte(strings.Replace(good, "{", `{"New Key": [1, {"x": 2}], `, 1) + "\n")); err != nil {
		t.Error(err)
	}
}

func FuzzParseLine(f *testing.F) {
	hand := handLine(f)
	f.Add(hand.Append(nil))
	auto := oneChamber(f)
	auto.Auto = 1000
	auto.SetWindow(All, 0)
	c := NewCounts(auto)
	c.Spans = []Span{{Run: "r", First: 5000, Last: 9000, Live: [][2]int64{{5000, 9000}}}}
	c.AutoLo = 5
	f.Add((&Line{Counts: c}).Append(nil))
	f.Add((&Line{Progress: true, Lane: [2]int{1, 2}, Window: WindowInfo{Run: "r"}, Counts: &Counts{Set: auto}}).Append(nil))
	r := rand.New(rand.NewPCG(1, 1))
	hand.Resume, hand.Merge = resumes(r), &MergeState{Runs: []RunState{{Run: "r", Lanes: make([]LaneMerge, 2), Open: []OpenWindow{{Parts: 1}}}}}
	f.Add(AppendFloor(nil, AppendFrom(nil, hand.Append(nil), "P", 1, 2)))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ParseLine(text)
		if err != nil {
			return
		}
		l.From, l.Floor = nil, false // which are not a writer's
		if !json.Valid(text) {
			t.Fatalf("not JSON: %q", text)
		}
		written := l.Append(nil)
		again, err := ParseLine(written)
		if err != nil {
			t.Fatalf("what was written is not read: %v\n%s", err, written)
		}
		if !reflect.DeepEqual(l, again) {
			t.Fatalf("%+v, read again %+v", l, again)
		}
		if err := again.Counts.Add(l.Counts); err != nil {
			t.Fatal(err)
		}
		again.Append(nil)
	})
}

func benchmarkLine(b *testing.B) *Line {
	r := rand.New(rand.NewPCG(1, 2))
	set := NewSettings(nil)
	set.SetWindow(All, 0)
	l := lineOf(collect(b, set, randomEvents(r))[0])
	return l
}

func BenchmarkAppend(b *testing.B) {
	l := benchmarkLine(b)
	dst := l.Append(nil)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		dst = l.Append(dst[:0])
	}
}

func BenchmarkParseLine(b *testing.B) {
	text := benchmarkLine(b).Append(nil)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseLine(text); err != nil {
			b.Fatal(err)
		}
	}
}
