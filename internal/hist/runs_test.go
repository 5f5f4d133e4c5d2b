package hist

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// laneLines are the partial lines of the lanes of a run, each lane's with its end behind them, as they are read.
func laneLines(t *testing.T, r *rand.Rand, set *Settings, events []event, run string, n int) [][]*Line {
	t.Helper()
	var lanes [][]*Line
	for k, lane := range split(r, events, n) {
		id := [2]int{k + 1, n}
		var lines []*Line
		first := uint64(0)
		stretch := func() []LaneSource {
			first += 10
			return []LaneSource{{Run: run, K: uint32(k + 1), N: uint32(n), First: first - 10, Next: first}}
		}
		read := func(l *Line) {
			back, err := ParseLine(l.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, back)
		}
		for _, w := range collect(t, set, lane) {
			w.Lanes = stretch()
			l := w.Line()
			l.Window.Run, l.Lane = run, id
			if set.Clock != Detector {
				l.Window.Run = ""
			}
			read(l)
			if set.Clock == Detector && r.IntN(3) == 0 {
				read(&Line{Progress: true, Complete: true, Lane: id, Lanes: stretch(), Window: WindowInfo{Run: run, Epoch: w.Epoch, Number: w.Number + 1},
					Counts: &Counts{Set: set, Ledger: Ledger{Read: 1, Unassigned: 1}}})
			}
		}
		if set.Clock == Detector {
			read(&Line{Progress: true, End: true, Complete: true, Lane: id, Lanes: stretch(), Window: WindowInfo{Run: run, Epoch: 9}, Counts: &Counts{Set: set, Ledger: Ledger{Read: 2, NotAHit: 2}}})
		}
		lanes = append(lanes, lines)
	}
	return lanes
}

// Lines of lanes, in any order that keeps each lane's, become the windows of one lane, each when all have passed it; ledgers are kept to the word.
func TestRuns(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 11))
		events := randomEvents(r)
		set := testSettings(t, r)
		all := seed%4 == 3
		if seed%4 == 2 {
			set.SetWindow(All, 0)
		}
		want := map[string]string{}
		text := func(w Window) string {
			l := w.Line()
			l.Lanes, l.Window.Run, l.Counts = nil, "", l.Counts.Clone()
			l.Counts.Ledger = Ledger{}
			return string(l.Append(nil))
		}
		name := func(w Window) string { return fmt.Sprint(w.Epoch, " ", w.Number) }
		var total *Counts
		for _, w := range collect(t, set, events) {
			want[name(w)] = text(w)
			if total == nil {
				total = NewCounts(set)
			}
			if err := total.Add(w.Counts); err != nil {
				t.Fatal(err)
			}
		}
		lanes := laneLines(t, r, set, events, "demo", 1+r.IntN(4))
		read := Ledger{}
		for _, lines := range lanes {
			for _, l := range lines {
				read.Add(&l.Counts.Ledger)
			}
		}
		got, written := 0, Ledger{}
		var closing []Window
		runs := Runs{All: all, Max: r.IntN(2) * 4}
		runs.Emit = func(w Window) error {
			written.Add(&w.Counts.Ledger)
			if w.Number == NoNumber {
				closing = append(closing, w)
				return nil
			}
			got++
			if !w.Complete || w.Run != "demo" || text(w) != want[name(w)] {
				t.Errorf("seed %d, window %s of %s, complete %v:\n%s\nwant\n%s", seed, name(w), w.Run, w.Complete, text(w), want[name(w)])
			}
			return nil
		}
		for len(lanes) > 0 {
			k := r.IntN(len(lanes))
			if len(lanes[k]) == 0 {
				lanes = slices.Delete(lanes, k, k+1)
				continue
			}
			if len(closing) > 0 {
				t.Fatalf("seed %d: closed before all lanes have ended", seed)
			}
			if err := runs.Add(lanes[k][0]); err != nil {
				t.Fatal(err)
			}
			lanes[k] = lanes[k][1:]
		}
		if closed := len(closing) == 1; closed == (all && runs.Max == 0) {
			t.Errorf("seed %d: closed by itself: %v", seed, closed)
		}
		if err := runs.Flush(); err != nil {
			t.Fatal(err)
		}
		windows := len(want)
		if all || set.Clock == All {
			windows = 0
		}
		if got != windows || len(closing) != 1 || set.Clock == Detector && !closing[0].Complete {
			t.Errorf("seed %d: %d windows, want %d; %d closed %+v", seed, got, windows, len(closing), closing)
		}
		if a, b := fmt.Sprintf("%+v", written), fmt.Sprintf("%+v", read); a != b {
			t.Errorf("seed %d: ledgers %s, read were %s", seed, a, b)
		}
		if windows == 0 && total != nil {
			for f := range total.FPGA {
				if set.fpgaMask()>>f&1 == 0 {
					total.FPGA[f] = FPGA{Last: -1} // not in a line
				}
			}
			total.Ledger, closing[0].Counts.Ledger = Ledger{}, Ledger{}
			mustEqual(t, fmt.Sprintf("seed %d, closing", seed), closing[0].Counts, total)
		}
	}
}

// lineAt is a partial line with one hit.
func lineAt(t *testing.T, set *Settings, run string, k, n int, number int64) *Line {
	t.Helper()
	c := NewCounts(set)
	o := number * set.Length
	c.Spans = []Span{{Run: run, First: o, Last: o, Live: [][2]int64{{o, o}}}}
	l := &Line{Counts: c, Complete: true, Lane: [2]int{k, n}, Window: WindowInfo{Run: run, Number: number}}
	l, err := ParseLine(l.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRunsRefuse(t *testing.T) {
	set, other := NewSettings(nil), NewSettings(nil)
	other.Hist4.Width *= 2
	runs := Runs{Emit: func(Window) error { return nil }}
	if err := runs.Add(lineAt(t, set, "a", 1, 2, 5)); err != nil {
		t.Fatal(err)
	}
	forged := lineAt(t, set, "a", 1, 2, 6)
	forged.Counts.Set.Hist4.n = 7
	for what, tt := range map[string]struct {
		line *Line
		want string
	}{
		"other lanes":    {lineAt(t, set, "a", 1, 3, 6), "of run a there were partial lines of 2 lanes, which this one is none of"},
		"a whole run":    {lineAt(t, set, "a", 0, 0, 6), "of run a there were partial lines of 2 lanes"},
		"other settings": {lineAt(t, other, "a", 1, 2, 6), "settings " + other.Digest() + ", but those of the first line of run a are " + set.Digest()},
		"forged digest":  {forged, "as before, but other bins"},
	} {
		err := runs.Add(tt.line)
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Another run may have them.
	if err := runs.Add(lineAt(t, other, "b", 1, 2, 6)); err != nil {
		t.Error(err)
	}
	bad := errors.New("write failed")
	runs.Emit = func(Window) error { return bad }
	if err := runs.Flush(); !errors.Is(err, bad) {
		t.Errorf("Flush: %v", err)
	}
}

// Of more than Max runs the one that is silent longest goes, incomplete; and one that comes again begins anew.
func TestRunsMax(t *testing.T) {
	set := NewSettings(nil)
	var out []string
	runs := Runs{Max: 2, Emit: func(w Window) error {
		out = append(out, fmt.Sprintf("%s %d %v", w.Run, w.Number, w.Complete))
		return nil
	}}
	add := func(l *Line) {
		t.Helper()
		if err := runs.Add(l); err != nil {
			t.Fatal(err)
		}
	}
	add(lineAt(t, set, "a", 1, 2, 5))
	add(lineAt(t, set, "b", 1, 2, 5))
	add(lineAt(t, set, "a", 1, 2, 6))
	add(lineAt(t, set, "c", 1, 2, 5))
	add(lineAt(t, set, "a", 2, 2, 5))
	add(lineAt(t, set, "b", 2, 2, 5))
	want := []string{"b 5 false", "b -1 false", "a 5 true", "c 5 false", "c -1 false"}
	if !slices.Equal(out, want) {
		t.Errorf("%q, want %q", out, want)
	}
	out = nil
	if err := runs.Flush(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a 6 false", "a -1 false", "b 5 false", "b -1 false"}; !slices.Equal(out, want) {
		t.Errorf("%q, want %q", out, want)
	}
}

// A run that only tells how far it is, for ever, holds no more and more.
func TestRunsStayBounded(t *testing.T) {
	set := NewSettings(nil)
	runs := Runs{Max: 1, Emit: func(Window) error { return nil }}
	for i := range uint64(10_000) {
		l := &Line{Progress: true, Complete: true, Lane: [2]int{1 + int(i%2), 2}, Window: WindowInfo{Run: "a", Number: int64(i)}, Counts: &Counts{Set: set, Ledger: Ledger{Read: 1, NotAHit: 1}},
			Lanes: []LaneSource{{Run: "a", K: 1 + uint32(i%2), N: 2, First: i / 2, Next: i/2 + 1}}}
		if err := runs.Add(l); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range runs.runs["a"].merger.lanes {
		if n := len(l.rests); n > maxWaiting {
			t.Errorf("%d links are kept", n)
		}
	}
}

func TestJoinStretches(t *testing.T) {
	at := func(k uint32, first, next uint64, tag string) LaneSource {
		return LaneSource{Run: "r", K: k, N: 2, First: first, Next: next, Place: &Place{Tag: tag}}
	}
	// Also where one of them is empty.
	got := JoinStretches([]LaneSource{at(2, 0, 5, "a"), at(1, 5, 9, "b"), at(1, 5, 5, "c"), at(1, 0, 5, "d"), at(1, 10, 12, "e"), at(2, 5, 5, "f")})
	want := []LaneSource{at(1, 0, 9, "b"), at(1, 10, 12, "e"), at(2, 0, 5, "f")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if JoinStretches(nil) != nil {
		t.Error("of nothing")
	}
}

// Lines of whole runs that wait for others of their window are let go when there are many, and stay as complete as they were.
func TestRunsOfWholeLines(t *testing.T) {
	set := testSettings(t, rand.New(rand.NewPCG(1, 1)))
	const windows = maxWaiting + 100
	got := 0
	r := Runs{Emit: func(w Window) error {
		if w.Number == NoNumber {
			return nil
		}
		if want := w.Number != 7; w.Complete != want || w.Number != int64(got) {
			t.Errorf("window %d, the %d. in order: complete %v, want %v", w.Number, got, w.Complete, want)
		}
		got++
		return nil
	}}
	for i := range int64(windows) {
		if err := r.Add(&Line{Window: WindowInfo{Run: "r", Number: i}, Counts: NewCounts(set), Complete: i != 7}); err != nil {
			t.Fatal(err)
		}
	}
	if got != windows-maxWaiting {
		t.Errorf("%d windows before the end, want %d", got, windows-maxWaiting)
	}
	if err := r.Flush(); err != nil || got != windows {
		t.Errorf("%d windows, want %d; %v", got, windows, err)
	}
}

// Emit is asked for at each window, so that it may tell when the line came that completed it.
func TestRunsEmitMayBeReplaced(t *testing.T) {
	set := testSettings(t, rand.New(rand.NewPCG(1, 1)))
	var r Runs
	line := int64(0)
	for line = range 5 {
		now := line
		r.Emit = func(w Window) error {
			if now != line {
				t.Errorf("window %d is told to line %d's Emit at line %d", w.Number, now, line)
			}
			return nil
		}
		if err := r.Add(&Line{Window: WindowInfo{Run: "r", Number: line}, Lane: [2]int{1, 1}, Counts: NewCounts(set), Complete: true}); err != nil {
			t.Fatal(err)
		}
	}
}
