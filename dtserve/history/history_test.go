package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"dt/internal/hist"
	"dt/internal/hit"
)

// A fed is a line as it is fed.
type fed struct {
	line *hist.Line
	text []byte
}

// A source makes lines of windows of 1000 orbits with the detector clock.
type source struct {
	t      testing.TB
	r      *rand.Rand
	set    *hist.Settings
	run    string
	index  int64
	record uint64
	// A scintillator hit comes with one of so many hits.
	triggers int
}

func newSource(t testing.TB, seed uint64, run string) *source {
	set := hist.NewSettings(nil)
	set.Length, set.Auto = 1000, 100
	return &source{t: t, r: rand.New(rand.NewPCG(seed, 1)), set: set, run: run, index: 1_700_000_000_000_000, triggers: 3}
}

// counts books some hits of the orbits of a window.
func (s *source) counts(epoch uint32, number int64, hits int) *hist.Counts {
	s.t.Helper()
	var out []hist.Window
	l := hist.NewLane(s.set, s.run)
	l.Emit = func(w hist.Window) error { out = append(out, w); return nil }
	var words []uint64
	for range hits {
		o := uint32(number*s.set.Length) + s.r.Uint32N(uint32(s.set.Length))
		words = append(words, hit.NewHit(s.r.IntN(2), s.r.IntN(128), o, s.r.IntN(3000), s.r.IntN(30)))
		if s.r.IntN(s.triggers) == 0 {
			words = append(words, hit.NewHit(1, 128, o, s.r.IntN(3000), 3))
		}
	}
	codes := make([]uint8, len(words))
	s.set.Map.Assign(codes, words)
	l.Words(epoch, words, codes)
	if err := l.Finish(); err != nil || len(out) != 1 {
		s.t.Fatal(len(out), err)
	}
	return out[0].Counts
}

// of makes a line of counts.
func (s *source) of(c *hist.Counts, w hist.WindowInfo) fed {
	s.t.Helper()
	s.index += 1000
	next := s.record + uint64(c.Ledger.Read)
	l := &hist.Line{Index: s.index, Window: w, Counts: c, Complete: s.r.IntN(20) > 0, Node: "n",
		Lanes: []hist.LaneSource{{Run: s.run, K: 1, N: 1, First: s.record, Next: next, Place: &hist.Place{Name: "f", Offset: next, Number: next, Partition: -1}}}}
	s.record = next
	return s.again(l)
}

// again reads a line back from its text.
func (s *source) again(l *hist.Line) fed {
	s.t.Helper()
	text := l.Append(nil)
	back, err := hist.ParseAny(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return fed{back, text}
}

func (s *source) window(epoch uint32, number int64) fed {
	s.t.Helper()
	return s.of(s.counts(epoch, number, 1+s.r.IntN(20)), hist.WindowInfo{Run: s.run, Epoch: epoch, Number: number})
}

// bookkeeping makes a line without orbits.
func (s *source) bookkeeping() fed {
	c := hist.NewCounts(s.set)
	c.Ledger.SetAsideBy("dtfilter", "HEAD", 1+s.r.Int64N(9))
	return s.of(c, hist.WindowInfo{Number: hist.NoNumber})
}

func (f fed) arrived() int64 { return f.line.Index + 5 }

func add(t testing.TB, h *History, f fed) *Window {
	t.Helper()
	w, _, err := h.Add(f.line, f.text, f.arrived())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// written returns a line with counts as its text, so that equal counts are equal.
func written(c *hist.Counts, other []hist.Other, lanes []hist.LaneSource) string {
	l := hist.Line{Counts: c, Lanes: lanes, Window: hist.WindowInfo{Number: hist.NoNumber}}
	text := string(l.Append(nil))
	for _, o := range other {
		text += fmt.Sprint(o)
	}
	return text
}

// united returns a line with the ledgers and stretches of those whose place it takes.
func united(f fed, all map[int64]fed, ids []int64) fed {
	l, c := *f.line, f.line.Counts.Clone()
	l.Counts = c
	for _, id := range ids {
		c.Ledger.Add(&all[id].line.Counts.Ledger)
		l.Lanes = joinSources(all[id].line.Lanes, l.Lanes)
	}
	return fed{&l, l.Append(nil)}
}

// mustBe compares a Sum with the lines that are in it, added up one by one.
func mustBe(t *testing.T, what string, got *Sum, want []fed) {
	t.Helper()
	total, windows, complete := (*hist.Counts)(nil), 0, true
	var lanes []hist.LaneSource
	for _, f := range want {
		lanes = joinSources(lanes, f.line.Lanes)
		if total == nil {
			total = f.line.Counts.Clone()
		} else if err := total.Add(f.line.Counts); err != nil {
			t.Fatal(err)
		}
		if f.line.Window.Number != hist.NoNumber {
			windows++
			complete = complete && f.line.Complete
		}
	}
	if a, b := written(got.Counts, got.Other, got.Source), written(total, nil, lanes); a != b {
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("%s differs at %d:\n%.200s\nwant\n%.200s", what, i, a[max(0, i-90):], b[max(0, i-90):])
			}
		}
		t.Fatalf("%s: %d bytes, want %d", what, len(a), len(b))
	}
	if got.Windows != windows || got.Complete != (complete && windows > 0) {
		t.Fatalf("%s: %d windows, complete %v; want %d, %v", what, got.Windows, got.Complete, windows, complete)
	}
}

func TestSumsAreTheLinesAddedUp(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 7))
		kept := []int{1 << 20, 100, 20, 5}[seed%4]
		h := New(kept, 64<<20)
		if seed%3 == 1 {
			for i := range h.caches {
				h.caches[i].max = 0 // all is made again, each time
			}
		}
		n := 500
		if seed%3 == 1 {
			n = 80
		}
		a, b := newSource(t, seed, "a"), newSource(t, seed+100, "b")
		other := newSource(t, seed+200, "a")
		other.set.Length = 500
		all := map[int64]fed{}       // by id
		group := map[int64]*source{} // by id
		whole := map[*source][]int64{}
		number := map[*source]int64{a: 3_387_000, b: 20, other: 40}
		epoch := map[*source]uint32{}
		byWindow, revised := map[string][]int64{}, map[string]bool{}
		revision := int64(0)
		for i := range n {
			s := a
			switch {
			case i > n/2 && r.IntN(10) > 0:
				s = b
			case r.IntN(20) == 0:
				s = other
			}
			if i == 30 {
				epoch[a], number[a] = 1, 100
			}
			var f fed
			var gone []int64 // ids of what it takes the place of
			name := ""
			switch k := r.IntN(30); {
			case k == 0:
				f = s.bookkeeping()
			case k == 1 && number[s] > 110: // a lane that comes late: more of a window
				f = s.window(epoch[s], number[s]-r.Int64N(10))
			case k == 2 && len(h.Windows(1, math.MaxInt64)) > 40 && kept > 20:
				// A revision of a window that is surely kept, and not yet folded into what is gone.
				list := h.Windows(h.Last()-15, h.Last())
				w := list[r.IntN(len(list))]
				if w.Number == hist.NoNumber || w.Settings != s.set.Digest() || w.Run != s.run {
					continue
				}
				revision++
				f = s.of(s.counts(w.Epoch, w.Number, 9), hist.WindowInfo{Run: s.run, Epoch: w.Epoch, Number: w.Number, Revision: revision})
				key := fmt.Sprint(s.run, s.set.Length, w.Epoch, w.Number)
				gone = byWindow[key]
				byWindow[key] = nil
				revised[key] = true
			default:
				number[s] += 1 + r.Int64N(3)
				f = s.window(epoch[s], number[s])
			}
			if f.line.Window.Number != hist.NoNumber {
				name = fmt.Sprint(s.run, s.set.Length, f.line.Window.Epoch, f.line.Window.Number)
			}
			if revised[name] && f.line.Window.Revision == 0 {
				continue // more of a window of which there is a revision
			}
			newest, want := h.Last(), int64(len(group)+1)
			w := add(t, h, f)
			if len(gone) > 0 {
				want = gone[0]
				f = united(f, all, gone)
				if h.Last() != newest {
					t.Fatalf("a revision has made line %d", h.Last())
				}
			} else {
				whole[s] = append(whole[s], w.ID)
			}
			for _, id := range gone {
				if id == want {
					continue
				}
				if _, err := h.Text(id); !errors.Is(err, ErrNotKept) {
					t.Fatal(err)
				}
				delete(all, id)
				whole[s] = slices.DeleteFunc(whole[s], func(have int64) bool { return have == id })
			}
			if w.ID != want || w.Bookkeeping != (name == "") {
				t.Fatalf("%+v, want id %d", w, want)
			}
			all[w.ID], group[w.ID] = f, s
			if name != "" {
				byWindow[name] = append(byWindow[name], w.ID)
			}
			if text, err := h.Text(w.ID); err != nil || !bytes.Equal(text, f.text) {
				t.Fatal(err)
			}
			for id := range all {
				if id < h.Oldest() {
					byWindow[fmt.Sprint(group[id].run, group[id].set.Length, all[id].line.Window.Epoch, all[id].line.Window.Number)] = nil
				}
			}
			if i%17 == 0 || i == n-1 {
				// What is summed up: as far as it is kept.
				to := h.Last() - r.Int64N(int64(h.Len()))
				if all[to].line == nil || to < h.Oldest() {
					continue
				}
				from := max(1, to-r.Int64N(600))
				sum, err := h.Sum(from, to)
				if err != nil {
					t.Fatal(err)
				}
				var want []fed
				leftOut := 0
				for id := max(from, h.Oldest()); id <= to; id++ {
					switch f := all[id]; {
					case f.line == nil:
					case group[id] == group[to]:
						want = append(want, f)
					case f.line.Window.Number != hist.NoNumber:
						leftOut++
					}
				}
				mustBe(t, fmt.Sprintf("seed %d: %d to %d", seed, from, to), sum, want)
				if sum.LeftOut != leftOut || sum.To != to {
					t.Fatalf("%d left out, want %d; to %d, want %d", sum.LeftOut, leftOut, sum.To, to)
				}
			}
			if i%50 == 49 || i == n-1 {
				present := a
				for id := int64(1); id <= h.Last(); id++ {
					if group[id] == b {
						present = b
					}
				}
				if present == a && group[h.Last()] == other {
					present = other
				}
				var want []fed
				if len(whole[other]) > 0 && kept <= 20 && present != b {
					continue // the group may have been forgotten
				}
				for _, id := range whole[present] {
					want = append(want, all[id])
				}
				sum := h.Whole()
				mustBe(t, fmt.Sprintf("seed %d: the run after %d", seed, i), sum, want)
				if sum.To != whole[present][len(whole[present])-1] {
					t.Fatalf("the run ends at %d", sum.To)
				}
			}
		}
		if h.Len() > kept || h.Bytes() > 64<<20 {
			t.Fatalf("%d lines, %d bytes", h.Len(), h.Bytes())
		}
		checkBytes(t, h)
	}
}

// checkBytes counts again what is counted as it comes and goes.
func checkBytes(t *testing.T, h *History) {
	t.Helper()
	n, kept := int64(0), 0
	for _, e := range h.all {
		n += e.bytes()
		if e.w != nil {
			kept++
		}
	}
	for _, r := range h.runs {
		for _, g := range r.groups {
			n += g.size
		}
	}
	if n != h.bytes || kept != h.kept {
		t.Fatalf("%d bytes and %d lines are counted, there are %d and %d", h.bytes, h.kept, n, kept)
	}
}

func TestRevisionsAndDoubles(t *testing.T) {
	h, s := New(100, 64<<20), newSource(t, 1, "r")
	var lines []fed
	all := map[int64]fed{}
	for i := range int64(40) {
		lines = append(lines, s.window(0, i))
		all[add(t, h, lines[i]).ID] = lines[i]
	}
	refused := func(f fed, want error) {
		t.Helper()
		if w, was, err := h.Add(f.line, f.text, 1); !errors.Is(err, want) || w != nil || was != nil {
			t.Errorf("%v, %v, %v", w, was, err)
		}
	}
	refused(lines[7], ErrDouble)
	// The same line of another who wrote it, at another time.
	other := *lines[7].line
	other.Index, other.Node = other.Index+7_000_000_000, "m"
	refused(s.again(&other), ErrDouble)
	other.Index = s.index + 1
	refused(s.again(&other), ErrDouble)
	revised := func(number, revision int64) fed {
		return s.of(s.counts(0, number, 5), hist.WindowInfo{Run: "r", Number: number, Revision: revision})
	}
	for i, number := range []int64{3, 39, 16, 3} { // in a block, in the tail, at the edge of a block, and again
		f := revised(number, int64(i+1))
		id, whole := number+1, h.Whole().Counts.Ledger.Read
		w, was, err := h.Add(f.line, f.text, f.arrived())
		if err != nil || w.ID != id || w.Change != int64(i+1) || len(was) != 1 || was[0].ID != id || was[0].Revision >= w.Revision {
			t.Fatalf("%+v, %+v, %v", w, was, err)
		}
		if read := h.Whole().Counts.Ledger.Read; read != whole+f.line.Counts.Ledger.Read {
			t.Errorf("%d words read in all, %d before, %d in the line", read, whole, f.line.Counts.Ledger.Read)
		}
		refused(f, ErrDouble)
		all[id] = united(f, all, []int64{id})
		var want []fed
		for id := range int64(40) {
			want = append(want, all[id+1])
		}
		mustBe(t, "the run", h.Whole(), want)
		for _, span := range [][2]int64{{1, 40}, {id, id}, {id, 40}, {1, id}, {5, 20}} {
			sum, err := h.Sum(span[0], span[1])
			if err != nil {
				t.Fatal(err)
			}
			mustBe(t, fmt.Sprint(span), sum, want[span[0]-1:span[1]])
		}
		text, err := h.Text(id)
		if back, bad := hist.ParseLine(text); err != nil || bad != nil || back.Window.Revision != w.Revision || back.Counts.Ledger.Read != all[id].line.Counts.Ledger.Read {
			t.Errorf("%v, %v: %.200s", err, bad, text)
		}
		if h.Newest().ID != 40 || h.Last() != 40 {
			t.Errorf("the newest is %d, the last %d", h.Newest().ID, h.Last())
		}
	}
	refused(revised(3, 1), ErrSuperseded)
	refused(revised(3, 4), ErrDouble) // there is one of each
	if got := h.Windows(1, 100); len(got) != 40 || got[39].Revision == 0 || h.Len() != 40 {
		t.Errorf("%d windows, %d kept", len(got), h.Len())
	}
	if info := h.Runs()[0]; info.Windows != 40 || info.Epochs[0].Windows != 40 || info.Epochs[0].Revised != 3 || info.Last != 40 {
		t.Errorf("%+v", info)
	}
	if list, now := h.Revised(2); now != 4 || len(list) != 2 || list[0].ID != 4 || list[1].ID != 17 {
		t.Errorf("%v, %d", list, now)
	}
	if list, now := h.Revised(4); now != 4 || list != nil {
		t.Errorf("%v, %d", list, now)
	}
	for i := range int64(200) {
		add(t, h, s.window(0, 40+i))
	}
	// Too late for its counts, not for its ledger. It comes once, however often it is read.
	late, sum := revised(5, 9), h.Whole()
	w, was, err := h.Add(late.line, late.text, 1)
	if !errors.Is(err, ErrTooLate) || !w.Bookkeeping || was != nil {
		t.Errorf("%+v, %v, %v", w, was, err)
	}
	refused(late, ErrDouble)
	add(t, h, s.window(0, 240))
	whole := h.Whole()
	if got, want := whole.Counts.Ledger.Read, sum.Counts.Ledger.Read+late.line.Counts.Ledger.Read; got <= want || whole.Windows != sum.Windows+1 || whole.Source[len(whole.Source)-1].Next != s.record {
		t.Errorf("%d words read in %d windows, want more than %d: %+v", got, whole.Windows, want, whole.Source)
	}
	if got := whole.Counts.Ledger; got.Off() != 0 || got.Hits+got.Late == whole.Counts.Total() {
		t.Errorf("%+v", got)
	}
	// One of which there was nothing before is no such thing.
	early := newSource(t, 2, "r")
	h = New(10, 64<<20)
	for i := range int64(30) {
		add(t, h, early.window(0, 10+i))
	}
	if f := early.of(early.counts(0, 3, 5), hist.WindowInfo{Run: "r", Number: 3, Revision: 1}); true {
		add(t, h, f)
	}
	// Revisions of one window for ever.
	for i := range int64(300) {
		add(t, h, early.of(early.counts(0, 50, 5), hist.WindowInfo{Run: "r", Number: 50, Revision: i}))
	}
	if len(h.all) != 10 || h.Len() != 10 || h.Newest().Revision != 299 {
		t.Errorf("%d places, %d lines", len(h.all), h.Len())
	}
	checkBytes(t, h)
}

// The lines of several lanes that came for themselves give way to the whole one; a closing line comes once.
func TestRevisionOfSeveral(t *testing.T) {
	h, s := New(100, 64<<20), newSource(t, 3, "r")
	for i := range int64(18) {
		add(t, h, s.window(0, i))
	}
	add(t, h, s.window(0, 17)) // of its own
	add(t, h, s.window(0, 16))
	end := s.bookkeeping()
	add(t, h, end)
	end.line.Index += 1000
	again := s.again(end.line)
	if _, _, err := h.Add(again.line, again.text, 1); !errors.Is(err, ErrDouble) {
		t.Error(err)
	}
	read := h.Whole().Counts.Ledger.Read
	f := s.of(s.counts(0, 17, 9), hist.WindowInfo{Run: "r", Number: 17, Revision: 1})
	if w, was, err := h.Add(f.line, f.text, 1); err != nil || w.ID != 18 || len(was) != 2 {
		t.Fatal(w, was, err)
	}
	sum := h.Whole()
	if got, want := sum.Counts.Ledger.Read, read+f.line.Counts.Ledger.Read; got != want || sum.Windows != 19 || sum.Revised != 1 {
		t.Errorf("%d words read, want %d, in %d windows", got, want, sum.Windows)
	}
	if h.Len() != 20 || h.Last() != 21 || h.Newest().ID != 20 {
		t.Errorf("%d, %d, %d", h.Len(), h.Last(), h.Newest().ID)
	}
	if _, err := h.Text(19); !errors.Is(err, ErrNotKept) {
		t.Error(err)
	}
	checkBytes(t, h)
}

// Sums say which lanes were silent in their windows, until these come again.
func TestMissingLanes(t *testing.T) {
	h, s := New(100, 64<<20), newSource(t, 4, "r")
	line := func(number, revision int64, missing ...int) fed {
		f := s.of(s.counts(0, number, 5), hist.WindowInfo{Run: "r", Number: number, Revision: revision})
		f.line.Missing, f.line.Complete, f.line.Lanes[0].N = missing, len(missing) == 0, 8
		return s.again(f.line)
	}
	says := func(what string, sum *Sum, incomplete, revised int, revision int64, missing ...int) {
		t.Helper()
		if sum.Incomplete != incomplete || sum.Revised != revised || sum.Revision != revision || !slices.Equal(sum.Missing, missing) || sum.Lanes != 8 || sum.Complete != (incomplete == 0) {
			t.Errorf("%s: %d incomplete, %d revised, revision %d, missing %d of %d", what, sum.Incomplete, sum.Revised, sum.Revision, sum.Missing, sum.Lanes)
		}
	}
	add(t, h, line(0, 0))
	add(t, h, line(1, 0, 7, 3))
	add(t, h, line(2, 0, 7))
	says("the run", h.Whole(), 2, 0, 0, 3, 7)
	add(t, h, line(1, 1))
	says("the run", h.Whole(), 1, 1, 1, 7)
	add(t, h, line(2, 1, 8))
	says("the run", h.Whole(), 1, 2, 1, 8)
	one, err := h.Sum(2, 2)
	if err != nil {
		t.Fatal(err)
	}
	says("window 2", one, 0, 1, 1)
	add(t, h, line(2, 2))
	says("the run", h.Whole(), 0, 2, 2)
}

func TestBytesAreBounded(t *testing.T) {
	const bound = 2 << 20
	h, s := New(1_000_000, bound), newSource(t, 1, "r")
	peak := int64(0)
	noise := make([]byte, 50_000)
	for i := range int64(200) {
		f := s.window(0, i)
		for j := range noise {
			noise[j] = 'a' + byte(s.r.IntN(26))
		}
		f.text = append(f.text[:len(f.text)-1], fmt.Sprintf(`, "Junk": "%s"}`, noise)...)
		add(t, h, f)
		peak = max(peak, h.Bytes())
		if i%50 == 0 {
			from, to := h.Run(h.Last())
			if _, err := h.Sum(from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	if peak > bound || h.Len() < 10 {
		t.Errorf("up to %d bytes, %d lines", peak, h.Len())
	}
	// One that is larger than all: it is the only one that stays, and the run goes on.
	huge := s.window(0, 1000)
	for len(noise) < 5<<20 {
		noise = append(noise, noise...)
	}
	for i := 0; i < len(noise); i += 2 {
		noise[i] = 'a' + byte(s.r.Uint32N(26))
	}
	huge.text = append(huge.text[:len(huge.text)-1], fmt.Sprintf(`, "Junk": "%s"}`, noise)...)
	add(t, h, huge)
	if h.Len() != 1 {
		t.Errorf("%d lines with a huge one", h.Len())
	}
	if text, err := h.Text(h.Last()); err != nil || !bytes.Equal(text, huge.text) {
		t.Error(err)
	}
	if sum := h.Whole(); sum.Windows != 201 {
		t.Errorf("%d windows", sum.Windows)
	}
	add(t, h, s.window(0, 1001))
	if h.Len() != 1 || h.Bytes() > bound {
		t.Errorf("%d lines, %d bytes", h.Len(), h.Bytes())
	}
	checkBytes(t, h)
	// Bookkeeping for ever lets the newest window go.
	h = New(5, bound)
	add(t, h, s.window(1, 1))
	for range 20 {
		add(t, h, s.bookkeeping())
	}
	if h.Len() != 5 || !h.Newest().Bookkeeping || h.Whole().Windows != 1 {
		t.Errorf("%d lines, newest %+v", h.Len(), h.Newest())
	}
	// Nor do runs for ever add up.
	h = New(20, bound)
	for i := range 300 {
		s.run = fmt.Sprint("run", i)
		add(t, h, s.window(0, 5))
	}
	if len(h.runs) > knownRuns || len(h.Runs()) > 20 || h.Bytes() > bound {
		t.Errorf("%d runs, %d bytes", len(h.runs), h.Bytes())
	}
	checkBytes(t, h)
}

func TestRunsEpochsAndStaleBuffer(t *testing.T) {
	h := New(100, 64<<20)
	if h.Newest() != nil || h.Whole() != nil || h.Oldest() != 0 || len(h.Runs()) != 0 {
		t.Error("an empty history has something")
	}
	if _, err := h.Sum(1, 1); !errors.Is(err, ErrNotKept) {
		t.Error(err)
	}
	a := newSource(t, 1, "a")
	stale := add(t, h, a.window(0, 3_387_000))
	if e := h.Runs()[0].Epochs[0]; e.Stale || !e.MayBeStale {
		t.Errorf("%+v", e)
	}
	stale2 := add(t, h, a.window(0, 3_387_001))
	for i := range int64(5) {
		add(t, h, a.window(1, 617+i))
	}
	info := h.Runs()[0]
	if e := info.Epochs; len(e) != 2 || !e[0].Stale || e[0].MayBeStale || e[1].Stale || e[0].First != 1 || e[0].Last != 2 || e[1].First != 3 || e[1].Last != 7 ||
		e[0].Start < 3_387_000_000*89.1e-6 || e[0].End > 3_387_002_001*89.1e-6 || e[1].Windows != 5 {
		t.Errorf("%+v", e)
	}
	sum := h.Whole()
	if want := stale.Total + stale2.Total; sum.Stale != want || sum.Start != stale.Start || math.Abs(sum.End-622_000*89.1e-6) > 1e-9 || want == 0 {
		t.Errorf("%+v", sum)
	}
	if sum, _ := h.Sum(3, 7); sum.Stale != 0 || math.Abs(sum.Start-617_000*89.1e-6) > 1e-9 || math.Abs(sum.Seconds-5*0.0891) > 1e-9 {
		t.Errorf("%+v", sum)
	}
	// Recent stays in the epoch.
	if from, to := h.Recent(7, 600); from != 3 || to != 7 {
		t.Errorf("recent: %d to %d", from, to)
	}
	if from, to := h.Recent(7, 2*0.0891); from != 6 || to != 7 {
		t.Errorf("recent two windows: %d to %d", from, to)
	}
	if from, to := h.Recent(2, 600); from != 1 || to != 2 {
		t.Errorf("recent of the stale buffer: %d to %d", from, to)
	}
	// Another run, between whose windows lines of the first one come late.
	b := newSource(t, 2, "b")
	add(t, h, b.window(0, 10))
	late := add(t, h, a.window(1, 640))
	add(t, h, b.window(0, 11))
	add(t, h, b.bookkeeping())
	if runs := h.Runs(); len(runs) != 2 || runs[0].Last != late.ID || runs[0].Windows != 8 || runs[1].Windows != 2 || runs[1].First != 8 || late.Run != "a" {
		t.Errorf("%+v", runs)
	}
	if sum := h.Whole(); sum.Windows != 2 || sum.From != 8 || sum.To != 11 || sum.Counts.Ledger.SetAside["dtfilter"]["HEAD"] == 0 {
		t.Errorf("%+v", sum)
	}
	if from, to := h.Recent(10, 600); from != 8 || to != 11 {
		t.Errorf("recent: %d to %d", from, to)
	}
	if w := h.Newest(); w.ID != 10 {
		t.Errorf("newest is %d", w.ID)
	}
	if from, to := h.Run(1); from != 1 || to != 9 {
		t.Errorf("run: %d to %d", from, to)
	}
	if sum, _ := h.Sum(1, 10); sum.Windows != 2 || sum.LeftOut != 8 || sum.From != 8 {
		t.Errorf("%+v", sum)
	}
	// A piece of an old window does not make the last stretch longer, nor shorter.
	add(t, h, b.window(0, 12))
	add(t, h, b.window(0, 10))
	add(t, h, b.window(0, 13))
	if from, to := h.Recent(14, 3*0.0891); from != 10 || to != 14 {
		t.Errorf("recent: %d to %d", from, to)
	}
	if from, to := h.Recent(99, 1); from != 0 || to != 0 {
		t.Errorf("recent of none: %d to %d", from, to)
	}
}

func TestOtherClocks(t *testing.T) {
	h, s := New(100, 64<<20), newSource(t, 1, "a")
	s.set.SetWindow(hist.Wall, 5e9)
	s.set.Clock = hist.Detector
	s.set.Length = 1000
	c := s.counts(0, 4, 9)
	wall := *s.set
	wall.SetWindow(hist.Wall, 5e9)
	line := func(set *hist.Settings, c *hist.Counts, i int64) fed {
		d := c.Clone()
		d.Set = set
		return s.of(d, hist.WindowInfo{Number: hist.NoNumber, Start: (1_700_000_000 + 5*i) * 1e6, End: (1_700_000_005 + 5*i) * 1e6})
	}
	for i := range int64(4) {
		w := add(t, h, line(&wall, c, i))
		if w.Run != "a" || w.Clock != hist.Wall || w.Seconds != 5 || w.Start != float64(1_700_000_000+5*i) || w.Bookkeeping || w.Number != hist.NoNumber {
			t.Errorf("%+v", w)
		}
	}
	// Nothing came: of the present run.
	empty := hist.NewCounts(&wall)
	f := line(&wall, empty, 4)
	f.line.Lanes = nil
	if w := add(t, h, s.again(f.line)); w.Run != "a" || w.Total != 0 {
		t.Errorf("%+v", w)
	}
	if from, to := h.Recent(5, 15); from != 3 || to != 5 {
		t.Errorf("recent: %d to %d", from, to)
	}
	all := *s.set
	all.SetWindow(hist.All, 0)
	if w := add(t, h, line(&all, c, 0)); w.Clock != hist.All || w.Run != "a" || w.Start == 0 || w.End <= w.Start || math.Abs(w.Seconds-(w.End-w.Start)) > 1e-9 {
		t.Errorf("%+v", w)
	}
	if sum := h.Whole(); sum.Windows != 1 || sum.LeftOut != 5 {
		t.Errorf("%+v", sum)
	}
	if from, to := h.Recent(6, 600); from != 6 || to != 6 {
		t.Errorf("recent: %d to %d", from, to)
	}
	partial := *f.line
	partial.Lane = [2]int{1, 2}
	if _, _, err := h.Add(&partial, f.text, 1); err == nil {
		t.Error("a partial line is taken")
	}
}

func TestBareLinesAndUnknownHistograms(t *testing.T) {
	h, s := New(100, 64<<20), newSource(t, 1, "a")
	bare := func(index, n int) fed {
		text := fmt.Appendf(nil, `{"Index": %d.5, "Total Count": %d, "Chamber_1": {"Count": %d, "Hist_1": {"Bins": [0, 5, 10], "Counts": [%d, 0, 0]}, "Hist_9": {"Bins": [1, 2.5, 7], "Counts": [1, 2, %d]}}}`, index, n, n, n, n)
		l, err := hist.ParseAny(text)
		if err != nil {
			t.Fatal(err)
		}
		return fed{l, text}
	}
	for i := range 40 {
		if i == 20 {
			add(t, h, s.window(0, 7)) // a line of another sort between them
		}
		w := add(t, h, bare(1_700_000_000+i, i))
		if !w.Bare || w.Bookkeeping || w.Run != "" || w.Start != 0 || w.End != 0 || w.Number != hist.NoNumber || w.Total != int64(i) || w.Counts[0] != int64(i) || w.Last[0] != -1 {
			t.Fatalf("%+v", w)
		}
	}
	if _, _, err := h.Add(bare(1_700_000_003, 3).line, bare(1_700_000_003, 3).text, 0); !errors.Is(err, ErrDouble) {
		t.Error(err)
	}
	sum, err := h.Sum(1, h.Last())
	if err != nil {
		t.Fatal(err)
	}
	if sum.Windows != 40 || sum.LeftOut != 1 || sum.Counts.Total() != 780 || !sum.Counts.Bare() || len(sum.Other) != 1 || sum.Other[0].Path != "Chamber_1.Hist_9" ||
		!slices.Equal(sum.Other[0].Counts, []int64{40, 80, 780}) {
		t.Errorf("%+v", sum)
	}
	if h1 := sum.Counts.Hist1(0); h1.Counts[0] != 780 {
		t.Errorf("%+v", h1)
	}
	// By their arrival, which is 5 µs after their Index.
	if from, to := h.Recent(41, 10); from != 31 || to != 41 {
		t.Errorf("recent: %d to %d", from, to)
	}
	if len(h.Runs()) != 2 || h.Whole().Windows != 1 {
		t.Errorf("%+v", h.Runs())
	}
}

func TestRefusesOtherBinsUnderTheSameSettings(t *testing.T) {
	h, s := New(100, 64<<20), newSource(t, 1, "a")
	for i := range int64(32) {
		f := s.window(0, i)
		if i == 16 || i == 20 {
			bad := fed{text: bytes.ReplaceAll(f.text, []byte(`"Auto": 100`), []byte(`"Auto": 50`))}
			bad.text = bytes.ReplaceAll(bad.text, []byte("[0,10,20,"), []byte("[0,11,20,"))
			l, err := hist.ParseAny(f.text)
			if err != nil {
				t.Fatal(err)
			}
			l.Counts.Set.Auto = 50
			if _, _, err := h.Add(l, bad.text, 1); err == nil {
				t.Error("a line with other bins is taken")
			}
		}
		add(t, h, f)
	}
	if h.Len() != 32 || h.Last() != 32 {
		t.Error(h.Len(), h.Last())
	}
}

func TestRows(t *testing.T) {
	h, s := New(100, 64<<20), newSource(t, 1, "r\"<1>\u2028")
	w := add(t, h, s.window(3, 7))
	var row []any
	text := AppendRow(nil, w, 5)
	if err := json.Unmarshal(text, &row); err != nil {
		t.Fatal(err)
	}
	columns := Columns(5)
	if len(row) != len(columns) {
		t.Fatalf("%d values for %d columns", len(row), len(columns))
	}
	got := map[string]any{}
	for i := range row {
		got[columns[i]] = row[i]
	}
	for key, want := range map[string]any{"Id": 1.0, "Run": "r\"<1>\u2028", "Epoch": 3.0, "Number": 7.0, "Start": 0.6237, "End": 0.7128, "Arrived": float64(w.Arrived) / 1e6, "Live": w.Live,
		"Total": float64(w.Total), "Count_1": float64(w.Counts[0]), "Count_4": float64(w.Counts[3]), "Count_5": 0.0, "Last_1": float64(w.Last[1]), "Hits_0": float64(w.FPGAHits[0]), "Revision": 0.0, "Lanes": 1.0} {
		if v, ok := got[key].(float64); ok && math.Abs(v-want.(float64)) > 1e-9 || !ok && got[key] != want {
			t.Errorf("%s: %v, want %v", key, got[key], want)
		}
	}
	if bytes.ContainsAny(text, "\n\u2028") {
		t.Errorf("%s", text)
	}
	w.Revision, w.Lanes, w.Missing = 2, 8, []int{3, 7}
	if text := AppendRow(nil, w, 4); !bytes.HasSuffix(text, []byte(",2,8,[3,7]]")) {
		t.Errorf("%s", text)
	}
}

func TestOthersAndSources(t *testing.T) {
	other := func(path string, bins []float64, counts ...int64) hist.Other {
		return hist.Other{Path: path, Bins: bins, Hist: hist.Hist{Counts: counts, Overflow: 1}}
	}
	two, three := []float64{0, 1}, []float64{0, 1, 2}
	a := []hist.Other{other("B", two, 1, 2), other("A", two, 1, 1)}
	b := []hist.Other{other("A", three, 1, 1, 1), other("B", two, 10, 20)}
	sum := addOther(addOther(slices.Clone(a), b), a[:1])
	got := newestOther(sum)
	if len(got) != 2 || got[0].Path != "A" || len(got[0].Bins) != 3 || !slices.Equal(got[1].Counts, []int64{12, 24}) || got[1].Overflow != 3 || a[0].Counts[0] != 1 {
		t.Errorf("%+v", got)
	}
	var many []hist.Other
	for i := range 3 * MaxOther {
		many = addOther(many, []hist.Other{other(fmt.Sprint(i), two, 1, 2)})
	}
	if len(many) != MaxOther {
		t.Error(len(many))
	}
	wide := make([]float64, 100_000)
	for i := range 10 {
		many = addOther(many, []hist.Other{other(fmt.Sprint("wide ", i), wide, make([]int64, len(wide))...)})
	}
	if len(many) != 5 || many[4].Path != "wide 9" {
		t.Errorf("%d histograms of many bins, the last %s", len(many), many[len(many)-1].Path)
	}
	lane := func(k uint32, first, next uint64) hist.LaneSource {
		return hist.LaneSource{Run: "r", K: k, N: 2, First: first, Next: next}
	}
	joined := joinSources(joinSources(nil, []hist.LaneSource{lane(2, 0, 5), lane(1, 0, 9)}), []hist.LaneSource{lane(1, 9, 9), lane(1, 9, 12), lane(2, 6, 7)})
	if fmt.Sprint(joined) != fmt.Sprint([]hist.LaneSource{lane(1, 0, 12), lane(2, 0, 5), lane(2, 6, 7)}) {
		t.Errorf("%+v", joined)
	}
	var gaps []hist.LaneSource
	for i := range uint64(2 * MaxSources) {
		gaps = append(gaps, lane(2, 10+3*i, 11+3*i))
	}
	joined = joinSources(joined, gaps)
	if len(joined) != MaxSources || joined[MaxSources-1].First != 10+3*(2*MaxSources-1) || joined[0].Next != 12 {
		t.Errorf("%d, %+v", len(joined), joined[0])
	}
}

func TestReadersWhileLinesComeIn(t *testing.T) {
	h, s := New(150, 4<<20), newSource(t, 1, "r")
	lines := make([]fed, 600)
	for i := range lines {
		if i == 300 {
			s.run = "s"
		}
		lines[i] = s.window(0, int64(i))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for k := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(k, 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				w := h.Newest()
				if w == nil {
					continue
				}
				from, to := h.Recent(w.ID, 5)
				for _, span := range [][2]int64{{from, to}, {h.Oldest(), w.ID}, {w.ID - r.Int64N(100), w.ID}} {
					sum, err := h.Sum(span[0], span[1])
					switch {
					case errors.Is(err, ErrNotKept):
					case err != nil:
						t.Error(err)
						return
					case !sum.Counts.Ledger.Balanced() || sum.Counts.Total() == 0:
						t.Errorf("%+v", sum)
						return
					}
				}
				// What a Sum holds is the caller's.
				if sum := h.Whole(); sum != nil {
					sum.Counts.Chambers[0].Occupancy[0]++
					sum.Source[0].Next = 0
				}
				h.Runs()
				h.Bytes()
				if _, err := h.Text(h.Oldest()); err != nil && !errors.Is(err, ErrNotKept) {
					t.Error(err)
				}
				h.Windows(1, 1000)
				h.Revised(0)
				h.Run(w.ID)
			}
		})
	}
	revised := map[int]fed{}
	for i := range 300 {
		if i%7 == 0 { // of each run one in seven comes again, three later
			for _, of := range []int{i, 300 + i} {
				s.run = lines[of].line.Window.Run
				revised[of+3] = s.of(s.counts(0, int64(of), 9), hist.WindowInfo{Run: s.run, Number: int64(of), Revision: 1})
			}
		}
	}
	for i := range lines {
		add(t, h, lines[i])
		if f, ok := revised[i]; ok {
			if w := add(t, h, f); w.ID != int64(i-2) {
				t.Errorf("window %d has taken the place of %d", w.Number, w.ID)
			}
			lines[i-3] = united(f, map[int64]fed{1: lines[i-3]}, []int64{1})
		}
	}
	close(stop)
	wg.Wait()
	mustBe(t, "the run", h.Whole(), lines[300:])
	sum, err := h.Sum(1, 600)
	if err != nil {
		t.Fatal(err)
	}
	mustBe(t, "what is kept", sum, lines[450:])
}

// benchmarkLines makes lines of windows as they are in use.
func benchmarkLines(b *testing.B, n int) []fed {
	s := newSource(b, 1, "run")
	s.set.Length, s.set.Auto, s.triggers = 5*hit.OrbitsPerSecond, hit.OrbitsPerSecond, 1000
	counts := make([]*hist.Counts, 16)
	for i := range counts {
		counts[i] = s.counts(0, int64(i), 15000)
	}
	lines := make([]fed, n)
	for i := range lines {
		c := counts[i%len(counts)].Clone()
		number := int64(i)
		shift := (number - int64(i%len(counts))) * s.set.Length
		c.AutoLo += shift / s.set.Auto
		for j := range c.Spans {
			c.Spans[j].First, c.Spans[j].Last = c.Spans[j].First+shift, c.Spans[j].Last+shift
			c.Spans[j].Live = [][2]int64{{c.Spans[j].First, c.Spans[j].Last}}
		}
		lines[i] = s.of(c, hist.WindowInfo{Run: "run", Number: number})
	}
	return lines
}

// full is a history that the benchmarks share.
var full *History

func filled(b *testing.B) *History {
	if full == nil {
		full = New(8000, 256<<20)
		for _, f := range benchmarkLines(b, 8000) {
			add(b, full, f)
		}
	}
	return full
}

func BenchmarkAdd(b *testing.B) {
	lines := benchmarkLines(b, 2000)
	b.SetBytes(int64(len(lines[0].text)))
	b.ReportAllocs()
	var h *History
	i := 0
	for b.Loop() {
		if i%len(lines) == 0 {
			h = New(8000, 256<<20)
		}
		add(b, h, lines[i%len(lines)])
		i++
	}
	b.ReportMetric(float64(h.Bytes())/float64(h.Len()), "B/window")
}

// BenchmarkAddAndRecent is what a window takes live: its Add, and the sums of the last 10 minutes and the run.
func BenchmarkAddAndRecent(b *testing.B) {
	lines := benchmarkLines(b, 2000)
	var h *History
	i := 0
	for b.Loop() {
		if i%len(lines) == 0 {
			h = New(8000, 256<<20)
		}
		w := add(b, h, lines[i%len(lines)])
		if _, err := h.Sum(h.Recent(w.ID, 600)); err != nil {
			b.Fatal(err)
		}
		h.Whole()
		i++
	}
}

// BenchmarkRevise is what it takes when a lane comes back after an hour: its windows come again, one after the other.
func BenchmarkRevise(b *testing.B) {
	lines := benchmarkLines(b, 720)
	h := New(8000, 256<<20)
	for _, f := range benchmarkLines(b, 4000) {
		add(b, h, f)
	}
	i, revision := 0, int64(0)
	for b.Loop() {
		if i%len(lines) == 0 {
			revision++
		}
		l := *lines[i%len(lines)].line
		l.Window.Number += 4000 - 720
		l.Window.Revision = revision
		add(b, h, fed{&l, fmt.Append(nil, i)})
		i++
	}
}

func benchmarkSum(b *testing.B, prepare func(h *History), sum func(h *History)) {
	h := filled(b)
	sum(h)
	for b.Loop() {
		b.StopTimer()
		prepare(h)
		b.StartTimer()
		sum(h)
	}
}

func sumAll(b *testing.B) func(h *History) {
	return func(h *History) {
		if sum, err := h.Sum(6, h.Last()-5); err != nil || sum.Windows != h.Len()-10 {
			b.Fatal(err)
		}
	}
}

func BenchmarkSumWarm(b *testing.B) { benchmarkSum(b, func(*History) {}, sumAll(b)) }

// BenchmarkSumCold has only the sums of large blocks.
func BenchmarkSumCold(b *testing.B) {
	benchmarkSum(b, func(h *History) { h.caches[0].clear(); h.caches[1].clear() }, sumAll(b))
}

// BenchmarkSumFromTexts has no sums at all.
func BenchmarkSumFromTexts(b *testing.B) {
	benchmarkSum(b, func(h *History) {
		for i := range h.caches {
			h.caches[i].clear()
		}
	}, sumAll(b))
}

func BenchmarkRecent(b *testing.B) {
	benchmarkSum(b, func(*History) {}, func(h *History) {
		if _, err := h.Sum(h.Recent(h.Last(), 600)); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkWhole(b *testing.B) {
	benchmarkSum(b, func(*History) {}, func(h *History) { h.Whole() })
}

// clear forgets all.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byKey = nil
	c.used.Init()
	c.bytes = 0
}
