package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A layout is how a test has the programs, and the check in Python, look at a run.
type layout struct {
	name     string
	expr     string // of the check: default, hits or all, which is no dtfilter at all
	lateness string // orbits, or nothing
	unmapped bool   // without dtchamber
	hist     []string
}

var layouts = []layout{
	{name: "all", hist: []string{"--window=all"}},
	{name: "5s", hist: []string{"--window=5s"}},
	{name: "2s auto unfiltered", expr: "all", unmapped: true, hist: []string{"--window=2s", "--hist2=auto"}},
	{name: "all with other axes", expr: "hits", hist: []string{"--window=all", "--hist1=3:131:7", "--hist2=610000:9000001:123457", "--hist4=-100.5:605:7.5"}},
	{name: "short lateness", lateness: "3000", hist: []string{"--window=0.7s", "--hist2=auto:1000"}},
	{name: "no lateness", lateness: "0", expr: "hits", unmapped: true, hist: []string{"--window=all", "--hist2=auto"}},
}

const check = "check/dtcheck.py"

// Filters as the programs and the check call them; "all" is no filter.
var filters = map[string][]string{"": {"dtfilter"}, "hits": {"dtfilter", "HEAD == 2"}}

// exact compares every field of the result lines with the check's, which it returns.
func exact(t *testing.T, l layout, from, chambers string, files ...string) []byte {
	t.Helper()
	var checkArgs, cat []string
	cat = append(cat, "dtcat", "--run", "check")
	if from != "" {
		cat = append(cat, "--from", from)
		checkArgs = append(checkArgs, "--from", from)
	}
	if l.lateness != "" {
		cat = append(cat, "--lateness", l.lateness)
		checkArgs = append(checkArgs, "--lateness", l.lateness)
	}
	stages := []stage{append(cat, files...)}
	if filter := filters[l.expr]; filter != nil {
		stages = append(stages, filter)
	}
	if l.expr != "" {
		checkArgs = append(checkArgs, "--expr", l.expr)
	}
	if chambers != "" {
		checkArgs = append(checkArgs, "--map", chambers)
		stages = append(stages, stage{"dtchamber", "--map", chambers})
	} else if !l.unmapped {
		stages = append(stages, stage{"dtchamber"})
	}
	hist := append(stage{"dthist"}, l.hist...)
	checkArgs = append(checkArgs, l.hist...)
	got := pipeline(t, nil, append(stages, hist)...).ok(t)
	want := script(t, nil, check, append(checkArgs, files...)...)
	r := pipeline(t, nil, stage{python(t), "check/dtcompare.py", write(t, "want", want), write(t, "got", got)})
	if r.Codes[0] != 0 {
		t.Errorf("%s\n%s%s", strings.Join(checkArgs, " "), r.Out, r.Errs[0])
	}
	return want
}

// proves fails the test if the expected lines have no late hits, or no drift times.
func proves(t *testing.T, want []byte) {
	t.Helper()
	late, drifts := 0, 0
	for _, l := range parse(t, want) {
		for c := 1; c <= 4 && l["Ledger_Total"] == nil; c++ {
			late += l.int(t, "Chamber_"+strconv.Itoa(c), "Late")
			drifts += sum(l.ints(t, "Chamber_"+strconv.Itoa(c), "Hist_4", "Counts"))
		}
	}
	if late == 0 || drifts == 0 {
		t.Errorf("the stream proves little: %d late hits, %d drift times", late, drifts)
	}
}

// A line is a result line, or what the check prints.
type line map[string]any

// parse reads lines.
func parse(t testing.TB, text []byte) []line {
	t.Helper()
	var lines []line
	for i, s := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		if len(text) == 0 {
			break
		}
		d := json.NewDecoder(bytes.NewReader(s))
		d.UseNumber()
		var l line
		if err := d.Decode(&l); err != nil {
			t.Fatalf("line %d: %v: %.200s", i+1, err, s)
		}
		lines = append(lines, l)
	}
	return lines
}

// at returns what stands under keys, one in the other.
func (l line) at(t testing.TB, keys ...string) any {
	t.Helper()
	var v any = map[string]any(l)
	for _, k := range keys {
		m, _ := v.(map[string]any)
		var ok bool
		if v, ok = m[k]; !ok {
			t.Fatalf("no %s in the line", strings.Join(keys, "."))
		}
	}
	return v
}

func (l line) int(t testing.TB, keys ...string) int { return toInt(t, l.at(t, keys...)) }

func (l line) ints(t testing.TB, keys ...string) []int {
	t.Helper()
	list, ok := l.at(t, keys...).([]any)
	if !ok {
		t.Fatalf("%s is no list", strings.Join(keys, "."))
	}
	out := make([]int, len(list))
	for i, v := range list {
		out[i] = toInt(t, v)
	}
	return out
}

func toInt(t testing.TB, v any) int {
	t.Helper()
	n, _ := v.(json.Number)
	i, err := strconv.Atoi(n.String())
	if err != nil {
		t.Fatalf("%v is no whole number", v)
	}
	return i
}

func sum(list []int) int {
	n := 0
	for _, v := range list {
		n += v
	}
	return n
}

// seeds is how many seeds of each sort of stream the tests take; DT_SEEDS says more.
func seeds(t testing.TB, n int) int {
	t.Helper()
	if s := os.Getenv("DT_SEEDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal("DT_SEEDS:", err)
		}
	}
	return n
}

func TestExactOnTheRealStream(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"stream_990.csv", "stream_noheader_73.txt"} {
		for _, l := range layouts {
			t.Run(name+" "+l.name, func(t *testing.T) {
				t.Parallel()
				exact(t, l, "", "", data(t, name))
			})
		}
	}
}

func TestExactOnTheLCPRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file string
		hist []string
	}{
		{"run591_lcp.txt.gz", []string{"--window=all", "--hist2=auto"}},
		{"run591_lcp.txt.gz", []string{"--window=2s"}},
		{"run591_lcp.dat.gz", []string{"--window=5s", "--hist2=auto"}},
		{"run591_lcp.dat.gz", []string{"--window=all", "--hist1=0:64:1", "--hist2=0:3000000:100000", "--hist4=-100:600:5"}},
	} {
		t.Run(c.file+" "+strings.Join(c.hist, " "), func(t *testing.T) {
			t.Parallel()
			exact(t, layout{expr: "hits", hist: c.hist}, "lcp", "lcp", data(t, c.file))
		})
	}
}

// The published numbers of the real files.
func TestKnownNumbers(t *testing.T) {
	t.Parallel()
	l := parse(t, pipeline(t, nil, stage{"dtcat", data(t, "stream_990.csv")}, stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--window", "all"}).ok(t))[0]
	if total, third := l.int(t, "Total Count"), l.int(t, "Chamber_3", "Count"); total != 492 || third != 102 {
		t.Errorf("stream_990: %d hits, %d in chamber 3; want 492, 102", total, third)
	}

	l = parse(t, pipeline(t, nil, stage{"dtcat", "--from", "lcp", data(t, "run591_lcp.dat.gz")}, stage{"dtfilter", "HEAD == 2"},
		stage{"dtchamber", "--map", "lcp"}, stage{"dthist", "--window", "all", "--hist4=-100:600:5"}).ok(t))[0]
	var counts []int
	var dead []string
	box := make([]int, 140)
	for c := 1; c <= 4; c++ {
		name := "Chamber_" + strconv.Itoa(c)
		counts = append(counts, l.int(t, name, "Count"))
		for channel, n := range l.ints(t, name, "Occupancy") {
			if n == 0 {
				dead = append(dead, fmt.Sprintf("%d:%d", c, channel))
			}
		}
		for i, n := range l.ints(t, name, "Hist_4", "Counts") {
			box[i] += n
		}
	}
	if want := []int{24253, 35907, 60564, 36572}; !slices.Equal(counts, want) {
		t.Errorf("run591: chambers have %v hits, want %v", counts, want)
	}
	if want := []string{"1:11", "1:13", "1:51", "1:54"}; !slices.Equal(dead, want) {
		t.Errorf("run591: dead wires %v, want %v", dead, want)
	}
	from, to := edges(box)
	from, to = -100+5*from, -100+5*to
	t.Logf("drift-time box from %.1f to %.1f ns", from, to)
	if width := to - from; width < 370 || width > 410 {
		t.Errorf("run591: the drift-time box is %.1f ns wide, from %.1f to %.1f; want about 390", width, from, to)
	}
}

// edges returns where a box of counts rises to, and falls below, half its height, in bins. Its height is the median of its middle.
func edges(counts []int) (from, to float64) {
	middle := slices.Clone(counts[len(counts)/3 : len(counts)/2])
	slices.Sort(middle)
	half := float64(middle[len(middle)/2]) / 2
	cross := func(i, step int) float64 { // between the middles of bins i and i−step
		for ; float64(counts[i]) < half; i += step {
		}
		below, above := float64(counts[i-step]), float64(counts[i])
		return float64(i) + 0.5 - float64(step)*(above-half)/(above-below)
	}
	return cross(1, 1), cross(len(counts)-2, -1)
}

var trapModes = []string{"mixed", "plain", "skew", "restarts", "epochs", "corrupt", "silent", "bad", "hits", "tail"}

// traps makes a CSV file with traps.
func traps(t *testing.T, mode string, seed, rows int) string {
	t.Helper()
	return write(t, fmt.Sprintf("%s%d.csv", mode, seed), script(t, nil, "check/traps.py", "--mode", mode, "--seed", strconv.Itoa(seed), "--rows", strconv.Itoa(rows)))
}

func TestExactOnTraps(t *testing.T) {
	t.Parallel()
	python(t)
	for i, mode := range trapModes {
		for seed := range seeds(t, 2) {
			t.Run(fmt.Sprintf("%s %d", mode, seed), func(t *testing.T) {
				t.Parallel()
				file := traps(t, mode, seed, 6000)
				for k := range 2 { // of the layouts, in turn
					l := layouts[(i+2*seed+3*k)%len(layouts)]
					proves(t, exact(t, l, "", "", file))
				}
			})
		}
	}
}

// simulated is a sim: source with everything in it: late hits, corrupt words, and a counter restart.
func simulated(seed, hits int) string {
	return fmt.Sprintf("sim:?seed=%d&hits=%d&rate=600&triggers=10&muons=5&late=0.001&corrupt=1e-4&stale=%d&restart=%d&skew=%d", seed, hits, 20*(seed%9), hits*4/5, []int{600, 5000, 20000}[seed%3])
}

func TestExactOnSimulatedRuns(t *testing.T) {
	t.Parallel()
	python(t)
	for seed := range seeds(t, 4) {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			csv := write(t, "sim.csv", pipeline(t, nil, stage{"dtcat", simulated(seed, 7500), "--to", "csv"}).ok(t))
			for k := range 2 {
				proves(t, exact(t, layouts[(seed+3*k)%len(layouts)], "", "", csv))
			}
		})
	}
}

// A v1 run is the same stream whether it was text or raw.
func TestTheLCPRunIsTheSameFromTextAndRaw(t *testing.T) {
	t.Parallel()
	text := pipeline(t, nil, stage{"dtcat", "--run", "X", "--from", "lcp", data(t, "run591_lcp.txt.gz")}).ok(t)
	raw := pipeline(t, nil, stage{"dtcat", "--run", "X", "--from", "lcp", data(t, "run591_lcp.dat.gz")}).ok(t)
	a, b := records(t, text), records(t, raw)
	if len(a) != 159616 || !slices.Equal(a, b) {
		t.Errorf("%d records from text, %d from raw, or they differ", len(a), len(b))
	}
}

// row is a CSV row of a hit.
func row(fpga, channel, orbit, bx, tdc int) string {
	return fmt.Sprintf("2,%d,%d,%d,%d,%d", fpga, channel, orbit, bx, tdc)
}

// Each trap of the real data by itself, with what it must come to worked out by hand; the check must agree.
func TestTrapsByName(t *testing.T) {
	t.Parallel()
	const o = 617000
	both := func(orbit int) []string { return []string{row(0, 1, orbit, 5, 5), row(1, 1, orbit, 5, 5)} }
	run := func(from, n, step int) []string {
		var rows []string
		for i := range n {
			rows = append(rows, both(from+i*step)...)
		}
		return rows
	}
	join := func(parts ...[]string) []string { return slices.Concat(parts...) }
	// Chamber 1's drift time is 93.9 ns more than the distance to the scintillator hit; a tick is 25/30 ns, so 2 817 + 25·ticks
	// is a whole number of bins (of 300) for no distance with these offsets, but for the LCP map's 11 700 = 39·300.
	drift := func(ticks int) string {
		at := 1000*30 + ticks
		return row(0, 3, o, at/30, at%30)
	}
	trigger := row(1, 128, o, 1000, 0)
	for _, c := range []struct {
		name     string
		chambers string // map
		axis     string // a flag of dthist
		rows     []string
		keys     string // in the line of --window all
		want     any    // an int, or a list of index: count, all others 0
	}{
		{name: "late hit", rows: join(run(o, 20, 100), []string{row(0, 9, o, 1, 1)}), keys: "Chamber_1.Late", want: 1},
		{name: "a late hit counts in Hist_1", rows: join(run(o, 20, 100), []string{row(0, 9, o, 1, 1)}), keys: "Chamber_1.Hist_1.Counts", want: map[int]int{0: 20, 1: 1}},
		{name: "a late hit is in no orbit", rows: join(run(o, 20, 100), []string{row(0, 9, o, 1, 1)}), keys: "Chamber_1.Multiplicity", want: map[int]int{1: 20}},
		{name: "stragglers of the old epoch are in time", rows: join(run(3387000000, 20, 1), run(o, 1, 1)[:1],
			[]string{row(1, 1, 3387000030, 5, 5), row(0, 1, o+1, 5, 5), row(1, 1, 3387000031, 5, 5)},
			run(o+2, 20, 1)), keys: "Chamber_3.Late", want: 0},
		{name: "ancillary words run ahead", rows: join(run(o, 5, 1), []string{"0,0,2,700000,5,5", "3,1,0,4000000000,65535,0", "1,0,0,710000,0,255"}, run(o+5, 5, 1)), keys: "Chamber_1.Late", want: 0},
		{name: "half-float ancillary words", rows: join(run(o, 5, 1), []string{"4,0,0,617100,0,-0.537109", "5,1,0,617100,0,inf"}), keys: "Total Count", want: 10},
		{name: "two scintillator hits, the earlier one counts", rows: []string{row(1, 128, o, 1010, 0), trigger, drift(0)}, keys: "Chamber_1.Hist_4.Counts", want: map[int]int{9: 1}},
		{name: "two scintillator hits are one orbit", rows: []string{row(1, 128, o, 1010, 0), trigger, drift(0)}, keys: "Trigger.Orbits", want: 1},
		{name: "channel 138 is in no chamber", rows: []string{row(0, 138, o, 1, 1), row(1, 138, o, 1, 1), row(0, 1, o, 1, 1)}, keys: "Total Count", want: 1},
		{name: "channel 128 of FPGA 0 is unassigned", rows: []string{row(0, 128, o, 1000, 0), drift(0)}, keys: "Trigger.Hits", want: 0},
		{name: "the upper edge of Hist_1", axis: "--hist1=3:7:2", rows: []string{row(0, 2, o, 1, 1), row(0, 6, o, 1, 1), row(0, 7, o, 1, 1), row(0, 8, o, 1, 1)}, keys: "Chamber_1.Hist_1.Overflow", want: 2},
		{name: "the upper edge of Hist_3", axis: "--hist1=3:7:2", rows: []string{trigger, row(0, 6, o, 1, 1), row(0, 7, o, 1, 1)}, keys: "Chamber_1.Hist_3.Overflow", want: 1},
		{name: "Hist_2 takes orbit 1e7", rows: []string{row(0, 1, 9999999, 1, 1), row(0, 1, 10000000, 1, 1), row(0, 1, 10000001, 1, 1)}, keys: "Chamber_1.Hist_2.Counts", want: map[int]int{18: 2}},
		{name: "Hist_2 ends behind orbit 1e7", rows: []string{row(0, 1, 9999999, 1, 1), row(0, 1, 10000000, 1, 1), row(0, 1, 10000001, 1, 1)}, keys: "Chamber_1.Hist_2.Overflow", want: 1},
		{name: "Hist_2 begins at 600000", rows: []string{row(0, 1, 599999, 1, 1), row(0, 2, 600000, 1, 1), row(0, 1, 600000, 1, 1), row(0, 1, 600000, 2, 1)}, keys: "Chamber_1.Hist_2.Counts", want: map[int]int{0: 2}},
		{name: "Hist_2's underflow", rows: []string{row(0, 1, 599999, 1, 1), row(0, 2, 600000, 1, 1)}, keys: "Chamber_1.Hist_2.Underflow", want: 1},
		{name: "a drift time on a bin's edge is in the upper bin", chambers: "lcp", rows: []string{row(0, 139, o, 1000, 0), drift(-468 + 12)}, keys: "Chamber_1.Hist_4.Counts", want: map[int]int{1: 1}},
		{name: "a drift time just below a bin's edge", chambers: "lcp", rows: []string{row(0, 139, o, 1000, 0), drift(-468 + 11)}, keys: "Chamber_1.Hist_4.Counts", want: map[int]int{0: 1}},
		{name: "drift time 0", chambers: "lcp", rows: []string{row(0, 139, o, 1000, 0), drift(-468)}, keys: "Chamber_1.Hist_4.Counts", want: map[int]int{0: 1}},
		{name: "a drift time below 0", chambers: "lcp", rows: []string{row(0, 139, o, 1000, 0), drift(-469)}, keys: "Chamber_1.Hist_4.Underflow", want: 1},
		{name: "drift time 1000 ns is overflow", chambers: "lcp", rows: []string{row(0, 139, o, 1000, 0), drift(732)}, keys: "Chamber_1.Hist_4.Overflow", want: 1},
		{name: "a drift time just below 1000 ns", chambers: "lcp", rows: []string{row(0, 139, o, 1000, 0), drift(731)}, keys: "Chamber_1.Hist_4.Counts", want: map[int]int{99: 1}},
		{name: "drift time 500 ns is no longer in time", chambers: "lcp", rows: []string{row(0, 139, o, 1000, 0), drift(132)}, keys: "Chamber_1.Trigger_Multiplicity", want: map[int]int{0: 1}},
		{name: "a drift time just below 500 ns is in time", chambers: "lcp", rows: []string{row(0, 139, o, 1000, 0), drift(131)}, keys: "Chamber_1.Trigger_Multiplicity", want: map[int]int{1: 1}},
		{name: "BX ends at 3564", rows: []string{row(0, 1, o, 3563, 1), row(0, 1, o, 3564, 1)}, keys: "FPGA_0.BX.Overflow", want: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			chambers := cmp.Or(c.chambers, "minidt")
			hist := []string{"--window=all"}
			if c.axis != "" {
				hist = append(hist, c.axis)
			}
			file := write(t, "rows.csv", []byte(strings.Join(c.rows, "\n")+"\n"))
			l := parse(t, pipeline(t, nil, stage{"dtcat", file}, stage{"dtfilter", "HEAD == 2"}, stage{"dtchamber", "--map", chambers}, append(stage{"dthist"}, hist...)).ok(t))[0]
			keys := strings.Split(c.keys, ".")
			switch want := c.want.(type) {
			case int:
				if got := l.int(t, keys...); got != want {
					t.Errorf("%s is %d, want %d", c.keys, got, want)
				}
			case map[int]int:
				got := map[int]int{}
				for i, n := range l.ints(t, keys...) {
					if n != 0 {
						got[i] = n
					}
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s has %v, want %v", c.keys, got, want)
				}
			}
			exact(t, layout{expr: "hits", hist: hist}, "", chambers, file)
		})
	}
}
