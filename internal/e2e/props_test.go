package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dt/internal/hit"
	"dt/internal/wire"
)

// A streamed run: what the properties are shown on.
type streamed struct {
	seed int
	csv  []byte
	hist []string // flags of dthist
}

// eachRun runs f on runs of several seeds, of sim: and of traps.
func eachRun(t *testing.T, f func(t *testing.T, s streamed)) {
	t.Helper()
	t.Parallel()
	hists := [][]string{{"--window=1s"}, {"--window=all"}, {"--window=3s", "--hist2=auto"}, {"--window=all", "--hist2=auto:1000"}, {"--window=500ms", "--hist4=-100:600:5"}}
	run := func(t *testing.T, seed int, csv []byte) {
		t.Parallel()
		f(t, streamed{seed, csv, hists[seed%len(hists)]})
	}
	for seed := range seeds(t, 3) {
		t.Run("sim "+strconv.Itoa(seed), func(t *testing.T) {
			run(t, seed, pipeline(t, nil, stage{"dtcat", simulated(seed, 3000), "--to", "csv"}).ok(t))
		})
	}
	for seed := range seeds(t, 3) {
		mode := []string{"bad", "mixed", "restarts", "silent", "corrupt", "epochs", "tail", "skew"}[seed%8]
		t.Run(fmt.Sprintf("traps %s %d", mode, seed), func(t *testing.T) {
			csv, err := os.ReadFile(traps(t, mode, 100+seed, 3000))
			if err != nil {
				t.Fatal(err)
			}
			run(t, seed+3, csv)
		})
	}
}

func (s streamed) dthist(more ...string) stage { return slices.Concat(stage{"dthist"}, s.hist, more) }

// random returns a source of random numbers of its own for a property.
func (s streamed) random(name string) *rand.Rand {
	n := uint64(s.seed)
	for _, b := range []byte(name) {
		n = n*31 + uint64(b)
	}
	return rand.New(rand.NewPCG(uint64(len(s.csv)), n))
}

var dtcat = stage{"dtcat", "--run", "demo"}

// want returns the result lines of the run in the plain way.
func (s streamed) want(t testing.TB) []string {
	t.Helper()
	return results(t, pipeline(t, bytes.NewReader(s.csv), dtcat, stage{"dtfilter"}, stage{"dtchamber"}, s.dthist()).ok(t))
}

// stream returns the run as dtcat writes it.
func (s streamed) stream(t testing.TB) []byte {
	t.Helper()
	return pipeline(t, bytes.NewReader(s.csv), dtcat).ok(t)
}

// results returns what counts of result lines: all keys but Index, Source, Ledger, Run and Window.Revision. The line without orbits
// at the end is bookkeeping. Each line's ledger must balance.
func results(t testing.TB, out []byte) []string {
	t.Helper()
	var list []string
	for _, l := range parse(t, out) {
		balance(t, l)
		if l["Progress"] != nil || isRest(l) {
			continue
		}
		for _, k := range []string{"Index", "Source", "Ledger"} {
			delete(l, k)
		}
		w := l["Window"].(map[string]any)
		delete(w, "Revision")
		delete(w, "Run")
		for _, span := range w["Spans"].([]any) {
			delete(span.(map[string]any), "Run")
		}
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(text))
	}
	return list
}

// isRest reports whether a line is the one without orbits.
func isRest(l line) bool {
	w, _ := l["Window"].(map[string]any)
	return w["Clock"] == "detector" && w["Number"] == nil
}

var ledgerTerms = []string{"Hits", "Late", "Scintillator", "Unassigned", "Not_A_Hit", "Early", "Pending"}

// balance fails the test if Read is not the sum of the ledger's terms.
func balance(t testing.TB, l line) {
	t.Helper()
	n := 0
	for _, k := range ledgerTerms {
		n += l.int(t, "Ledger", k)
	}
	for _, reasons := range l.at(t, "Ledger", "Set_Aside").(map[string]any) {
		for _, v := range reasons.(map[string]any) {
			n += toInt(t, v)
		}
	}
	if read := l.int(t, "Ledger", "Read"); read != n {
		t.Errorf("a ledger says Read %d, and its terms sum to %d: %v", read, n, l["Ledger"])
	}
}

// inLedgers sums up a key of the ledgers of all lines.
func inLedgers(t testing.TB, out []byte, key string) int {
	t.Helper()
	n := 0
	for _, l := range parse(t, out) {
		if v, ok := l.at(t, "Ledger").(map[string]any)[key]; ok {
			n += toInt(t, v)
		}
	}
	return n
}

// sameLines fails the test where two lists of lines differ.
func sameLines(t testing.TB, what string, got, want []string) {
	t.Helper()
	if len(want) == 0 {
		t.Fatal("no lines to compare with")
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			k := 0
			for k < min(len(got[i]), len(want[i])) && got[i][k] == want[i][k] {
				k++
			}
			from := max(0, k-150)
			t.Errorf("%s: line %d differs:\n got …%.300s\nwant …%.300s", what, i+1, got[i][from:], want[i][from:])
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d lines, want %d", what, len(got), len(want))
	}
}

// records is how many records a CSV has.
func (s streamed) records() int { return bytes.Count(s.csv, []byte("\n")) - 1 }

// The ledger balances in every line, and over the run Read is the number of records.
func TestTheLedgerBalances(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		for _, stages := range [][]stage{{}, {{"dtfilter"}}, {{"dtfilter", "HEAD == 2"}, {"dtchamber"}, {"dtfilter", "CHAMBER != 3 && TDC_MEAS < 17"}}} {
			out := pipeline(t, bytes.NewReader(s.csv), slices.Concat([]stage{dtcat}, stages, []stage{s.dthist()})...).ok(t)
			results(t, out)
			if read, pending := inLedgers(t, out, "Read"), inLedgers(t, out, "Pending"); read != s.records() || pending != 0 {
				t.Errorf("behind %v: Read is %d, Pending %d in all; want %d, 0", stages, read, pending, s.records())
			}
		}
	})
}

// choppy hands out its content in pieces of random sizes.
type choppy struct {
	r    *rand.Rand
	b    []byte
	most int
}

func (c *choppy) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1+c.r.IntN(c.most))], c.b)
	c.b = c.b[n:]
	return n, nil
}

func TestChunksDoNotMatter(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		want := s.want(t)
		r := s.random("chunks")
		for _, most := range []int{1, 3, 500, 20000} {
			b := s.csv
			for _, st := range []stage{dtcat, {"dtfilter"}, {"dtchamber"}, s.dthist()} {
				b = pipeline(t, &choppy{r, b, most}, st).ok(t)
			}
			sameLines(t, fmt.Sprintf("pieces of up to %d bytes", most), results(t, b), want)
		}
	})
}

func TestFilesDoNotMatter(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		want := s.want(t)
		r := s.random("files")
		header, rest, _ := bytes.Cut(s.csv, []byte("\n"))
		for _, withHeader := range []bool{true, false} {
			dir := t.TempDir()
			left := rest
			for n := 0; len(left) > 0; n++ {
				at := r.IntN(len(left) + 1)
				if i := bytes.IndexByte(left[at:], '\n'); i >= 0 {
					at += i + 1
				} else {
					at = len(left)
				}
				part := left[:at]
				if withHeader || n == 0 {
					part = slices.Concat(header, []byte("\n"), part)
				}
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("part%d.csv", n)), part, 0o666); err != nil {
					t.Fatal(err)
				}
				left = left[at:]
			}
			got := pipeline(t, nil, append(dtcat, dir), stage{"dtfilter"}, stage{"dtchamber"}, s.dthist()).ok(t)
			sameLines(t, "several files", results(t, got), want)
		}
	})
}

func TestProcessorsDoNotMatter(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		want := s.want(t)
		for _, procs := range []string{"1", "2", "7"} {
			got := start(t, []string{"GOMAXPROCS=" + procs}, bytes.NewReader(s.csv), dtcat, stage{"dtfilter"}, stage{"dtchamber"}, s.dthist()).wait().ok(t)
			sameLines(t, "GOMAXPROCS="+procs, results(t, got), want)
		}
	})
}

func TestTheOrderOfStagesDoesNotMatter(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		want := s.want(t)
		for _, stages := range [][]stage{
			{{"dtfilter"}}, // without dtchamber
			{{"dtchamber"}, {"dtfilter"}},
			{{"dtfilter", "HEAD == 2"}, {"dtchamber"}, {"dtfilter", "TDC_CHANNEL <= 128"}},
			{{"dtfilter", "-v", "HEAD != 2 || TDC_CHANNEL > 128"}, {"dtchamber"}, {"dtchamber"}},
			{{"dtfilter"}, {"dtcat"}, {"dtchamber"}, {"dtcat"}},
		} {
			got := pipeline(t, bytes.NewReader(s.csv), slices.Concat([]stage{dtcat}, stages, []stage{s.dthist()})...).ok(t)
			sameLines(t, fmt.Sprint(stages), results(t, got), want)
		}
	})
}

// Windows add up to the whole: by --merge, and bin by bin.
func TestWindowsAddUp(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		head := []stage{dtcat, {"dtfilter"}, {"dtchamber"}}
		axes := slices.DeleteFunc(slices.Clone(s.hist), func(f string) bool { return strings.HasPrefix(f, "--window") })
		run := func(window string) []byte {
			return pipeline(t, bytes.NewReader(s.csv), append(head, slices.Concat(stage{"dthist", window}, axes))...).ok(t)
		}
		all := run("--window=all")
		for _, window := range []string{"--window=5s", "--window=200ms"} {
			windows := run(window)
			merged := pipeline(t, bytes.NewReader(windows), stage{"dthist", "--merge", "--window=all"}).ok(t)
			sameLines(t, window, results(t, merged), results(t, all))
			if read := inLedgers(t, merged, "Read"); read != s.records() {
				t.Errorf("%s: the merged ledger has Read %d, want %d", window, read, s.records())
			}
			if slices.ContainsFunc(axes, func(f string) bool { return strings.HasPrefix(f, "--hist2=auto") }) {
				continue // other bins in each line
			}
			total := map[string]int{}
			for _, l := range parse(t, windows) {
				addUp(t, total, "", map[string]any(l))
			}
			want := map[string]int{}
			addUp(t, want, "", map[string]any(parse(t, all)[0]))
			for k, v := range want {
				if total[k] != v {
					t.Errorf("%s: %s sums to %d, want %d", window, k, total[k], v)
				}
			}
		}
	})
}

// addUp adds all counts of a line to those of others.
func addUp(t testing.TB, total map[string]int, path string, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			switch k {
			case "Index", "Rate", "Bins", "Last", "Window", "Source", "Settings", "Complete":
			default:
				addUp(t, total, path+"."+k, x)
			}
		}
	case []any:
		for i, x := range v {
			addUp(t, total, fmt.Sprintf("%s[%d]", path, i), x)
		}
	default:
		total[path] += toInt(t, v)
	}
}

// frames reads all frames of a stream, each with memory of its own.
func frames(t testing.TB, stream []byte) []*wire.Frame {
	t.Helper()
	r := wire.NewReader(bytes.NewReader(stream))
	var list []*wire.Frame
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, clone(f))
	}
}

// clone copies a frame, but for the bytes it was read from; a map's text is kept in Mark.State.
func clone(f *wire.Frame) *wire.Frame {
	c := &wire.Frame{Kind: f.Kind, Count: f.Count, First: f.First, Next: f.Next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open, Lane: f.Lane}
	switch f.Kind {
	case wire.KindWords, wire.KindLate:
		c.Words, c.Present, c.Newest, c.Chambers = slices.Clone(f.Words), slices.Clone(f.Present), slices.Clone(f.Newest), slices.Clone(f.Chambers)
		if f.Chambers != nil && c.Chambers == nil {
			c.Chambers = []uint8{}
		}
	case wire.KindLedger:
		c.Ledger = f.Ledger
		c.Ledger.Entries = slices.Clone(f.Ledger.Entries)
		for i := range c.Ledger.Entries {
			e := &c.Ledger.Entries[i]
			e.Numbers = slices.Clone(e.Numbers)
		}
	case wire.KindMark:
		c.Mark = f.Mark
		c.Mark.State = slices.Clone(f.Mark.State)
	case wire.KindMap:
		c.Mark.State = slices.Clone(f.Payload())
	case wire.KindEnd:
		c.End = f.End
	}
	return c
}

// put writes a frame of any kind.
func put(t testing.TB, w *wire.Writer, f *wire.Frame) {
	t.Helper()
	var err error
	switch f.Kind {
	case wire.KindStream:
		err = w.Preamble()
	case wire.KindLane:
		err = w.Lane(f, f.Lane)
	case wire.KindWords, wire.KindLate:
		err = w.Words(clone(f))
	case wire.KindLedger:
		err = w.Ledger(f)
	case wire.KindMark:
		err = w.Mark(f)
	case wire.KindMap:
		err = w.Map(f, f.Mark.State)
	case wire.KindEnd:
		err = w.End(f)
	default:
		t.Fatalf("a frame of kind %d", f.Kind)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// encode writes frames as a stream.
func encode(t testing.TB, list []*wire.Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	w := wire.NewWriter(&b)
	for _, f := range list {
		put(t, w, f)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func bit(b []uint64, i uint64) bool { return b[i/64]>>(i%64)&1 != 0 }

// A record is what a stream says of one number.
type record struct {
	number  uint64
	kind    wire.Kind // 0: set aside
	epoch   uint32
	word    uint64
	newest  uint32
	chamber uint8
	aside   string // stage and reason
}

// recordsOf returns what a words or late frame says of its numbers, with the ledgers before it.
func recordsOf(f *wire.Frame, ledgers []*wire.Frame) []record {
	var list []record
	k := 0
	for n := f.First; n < f.Next; n++ {
		r := record{number: n}
		i := n - f.First
		if f.Present == nil || bit(f.Present, i) {
			r.kind, r.epoch, r.word = f.Kind, f.Epoch, f.Words[k]
			if f.Kind == wire.KindLate {
				r.newest = f.Newest[k]
			}
			if f.Chambers != nil {
				r.chamber = f.Chambers[k]
			}
			k++
		}
		for _, l := range ledgers {
			for _, e := range l.Ledger.Entries {
				if bit(e.Numbers, i) {
					r.aside = l.Ledger.Stage + "\x00" + e.Reason
				}
			}
		}
		list = append(list, r)
	}
	return list
}

// records returns what a stream of one lane says of all its numbers.
func records(t testing.TB, stream []byte) []record {
	t.Helper()
	var list []record
	var ledgers []*wire.Frame
	for _, f := range frames(t, stream) {
		switch f.Kind {
		case wire.KindLedger:
			ledgers = append(ledgers, f)
		case wire.KindWords, wire.KindLate:
			list = append(list, recordsOf(f, ledgers)...)
			ledgers = nil
		}
	}
	return list
}

// frameOf makes the frames of records of one kind and epoch: their ledgers, and themselves. like has the rest of the header.
func frameOf(list []record, like *wire.Frame, first uint64) []*wire.Frame {
	f := &wire.Frame{Kind: like.Kind, First: first, Next: first + uint64(len(list)), Horizon: like.Horizon, Epoch: like.Epoch, Open: like.Open}
	if like.Chambers != nil {
		f.Chambers = []uint8{}
	}
	bitmap := func() []uint64 { return make([]uint64, (len(list)+63)/64) }
	present := bitmap()
	var out []*wire.Frame
	for i, r := range list {
		if r.kind != 0 {
			present[i/64] |= 1 << (i % 64)
			f.Words = append(f.Words, r.word)
			if f.Kind == wire.KindLate {
				f.Newest = append(f.Newest, r.newest)
			}
			if f.Chambers != nil {
				f.Chambers = append(f.Chambers, r.chamber)
			}
			continue
		}
		stageName, reason, _ := strings.Cut(r.aside, "\x00")
		at := slices.IndexFunc(out, func(f *wire.Frame) bool { return f.Ledger.Stage == stageName })
		if at < 0 {
			at = len(out)
			out = append(out, &wire.Frame{Kind: wire.KindLedger, First: f.First, Next: f.Next})
			out[at].Ledger = wire.Ledger{Stage: stageName, Read: len(list), Kept: len(list)}
		}
		l := &out[at].Ledger
		e := slices.IndexFunc(l.Entries, func(e wire.Entry) bool { return e.Reason == reason })
		if e < 0 {
			e = len(l.Entries)
			l.Entries = append(l.Entries, wire.Entry{Reason: reason, Numbers: bitmap()})
		}
		l.Entries[e].Numbers[i/64] |= 1 << (i % 64)
		l.Entries[e].Count++
		l.Kept--
	}
	// What a stage has read is what the one before it kept.
	for i := 1; i < len(out); i++ {
		l, before := &out[i].Ledger, &out[i-1].Ledger
		set := l.Read - l.Kept
		l.Read = before.Kept
		l.Kept = l.Read - set
	}
	if len(f.Words) < len(list) {
		f.Present = present
	}
	return append(out, f)
}

// split divides a stream of one lane by orbit into n lanes, and cuts frames at random. Each lane begins with its lane frame; all
// horizons, marks and maps go to each, and an end.
func split(t testing.TB, r *rand.Rand, list []*wire.Frame, n uint32) [][]*wire.Frame {
	t.Helper()
	lanes := make([][]*wire.Frame, n)
	next := make([]uint64, n)
	var laneAt []uint32 // of each number
	var ledgers []*wire.Frame
	held := map[uint32]*wire.Frame{} // of each epoch, the frame whose horizon was last
	for _, f := range list {
		switch f.Kind {
		case wire.KindStream:
		case wire.KindLedger:
			ledgers = append(ledgers, f)
		case wire.KindWords, wire.KindLate:
			all := recordsOf(f, ledgers)
			ledgers = nil
			for len(all) > 0 || f != nil {
				// A part of the frame has the horizon that held before; only the last one that of the frame.
				part, like := all, *f
				if r.IntN(3) > 0 && len(all) > 1 {
					part = all[:1+r.IntN(len(all)-1)]
					like.Horizon, like.Open = 0, 0
					if h := held[f.Epoch]; h != nil {
						like.Horizon, like.Open = h.Horizon, h.Open
					}
				}
				all = all[len(part):]
				parts := make([][]record, n)
				for _, rec := range part {
					k := uint32(1)
					if rec.kind != 0 {
						k = wire.LaneOf(hit.Orbit(rec.word), n)
					}
					laneAt = append(laneAt, k)
					parts[k-1] = append(parts[k-1], rec)
				}
				for k := range lanes {
					now := like
					if len(parts[k]) == 0 && like.Kind == wire.KindLate {
						if len(all) > 0 {
							continue
						}
						now.Kind = wire.KindWords // nothing, but the horizon; a late frame may be of a closed epoch
						if now.Epoch < now.Open {
							now.Epoch, now.Horizon = now.Open, 0
							if h := held[now.Epoch]; h != nil {
								now.Horizon = h.Horizon
							}
						}
					}
					lanes[k] = append(lanes[k], frameOf(parts[k], &now, next[k])...)
					next[k] += uint64(len(parts[k]))
				}
				if len(all) == 0 {
					held[f.Epoch] = f
					break
				}
			}
		default:
			for k := range lanes {
				g := clone(f)
				g.First, g.Next = next[k], next[k]
				switch g.Kind {
				case wire.KindLane:
					lane := *f.Lane
					lane.K, lane.N = uint32(k+1), n
					g.Lane = &lane
				case wire.KindMark:
					g.Mark.Number = 0
					for _, l := range laneAt[:f.Mark.Number] {
						if l == uint32(k+1) {
							g.Mark.Number++
						}
					}
				case wire.KindEnd:
					g.End.Read = next[k]
				case wire.KindMap:
					g.Mark.State = f.Mark.State
				}
				lanes[k] = append(lanes[k], g)
			}
		}
	}
	return lanes
}

// interleave makes one stream of lanes that take turns, some of them far behind others.
func interleave(t testing.TB, r *rand.Rand, lanes [][]*wire.Frame) []byte {
	t.Helper()
	left := slices.Clone(lanes)
	list := []*wire.Frame{{Kind: wire.KindStream}}
	now := -1
	for {
		var open []int
		for k := range left {
			if len(left[k]) > 0 {
				open = append(open, k)
			}
		}
		if len(open) == 0 {
			return encode(t, list)
		}
		k := open[r.IntN(len(open))]
		n := 1 + r.IntN(1+r.IntN(20))
		for n < len(left[k]) && left[k][n-1].Kind == wire.KindLedger {
			n++ // with the frame that it is about
		}
		n = min(n, len(left[k]))
		if now != k && left[k][0].Kind != wire.KindLane {
			f := *lanes[k][0]
			f.Next = left[k][0].First
			f.First = f.Next
			list = append(list, &f)
		}
		now = k
		list = append(list, left[k][:n]...)
		left[k] = left[k][n:]
	}
}

// alone makes one lane a stream.
func alone(t testing.TB, lane []*wire.Frame) []byte {
	t.Helper()
	return encode(t, append([]*wire.Frame{{Kind: wire.KindStream}}, lane...))
}

// merging is the merge of lines that were made with this --window.
func merging(window string) stage {
	if strings.HasSuffix(window, "all") {
		return stage{"dthist", "--merge", window}
	}
	return stage{"dthist", "--merge"}
}

// The words of a run, split by orbit over lanes, give the line of one: in one dthist, and as partial lines merged.
func TestLanesDoNotMatter(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		want := s.want(t)
		plain := s.stream(t)
		behind := pipeline(t, bytes.NewReader(plain), stage{"dtfilter"}, stage{"dtchamber"}).ok(t)
		r := s.random("lanes")
		for n := uint32(1); n <= 8; n += 1 + r.Uint32N(3) {
			for _, from := range []string{"dtcat", "dtchamber"} {
				stream, rest := plain, []stage{{"dtfilter"}, {"dtchamber"}}
				if from == "dtchamber" {
					stream, rest = behind, nil
				}
				what := fmt.Sprintf("%d lanes, split behind %s", n, from)
				lanes := split(t, r, frames(t, stream), n)
				together := interleave(t, r, lanes)
				out := pipeline(t, bytes.NewReader(together), append(slices.Clone(rest), s.dthist())...).ok(t)
				sameLines(t, what, results(t, out), want)
				if read := inLedgers(t, out, "Read"); read != s.records() {
					t.Errorf("%s: Read is %d in all, want %d", what, read, s.records())
				}

				var partial [][]string
				for _, lane := range lanes {
					out := pipeline(t, bytes.NewReader(alone(t, lane)), append(slices.Clone(rest), s.dthist("--partial"))...).ok(t)
					partial = append(partial, strings.SplitAfter(string(out), "\n"))
				}
				var lines strings.Builder
				for len(partial) > 0 {
					k := r.IntN(len(partial))
					lines.WriteString(partial[k][0])
					if partial[k] = partial[k][1:]; len(partial[k]) == 0 {
						partial = slices.Delete(partial, k, k+1)
					}
				}
				out = pipeline(t, strings.NewReader(lines.String()), merging(s.hist[0])).ok(t)
				sameLines(t, what+", partial lines merged", results(t, out), want)
				if read := inLedgers(t, out, "Read"); read != s.records() {
					t.Errorf("%s: Read of merged lines is %d in all, want %d", what, read, s.records())
				}

				out = pipeline(t, bytes.NewReader(together), append(slices.Clone(rest), s.dthist("--partial"), merging(s.hist[0]))...).ok(t)
				sameLines(t, what+", partial lines of one dthist merged", results(t, out), want)
			}
		}
	})
}

// source reads the records of a stream and has a wire.Source number and judge them again, in batches of random sizes.
func source(t testing.TB, r *rand.Rand, list []record, most int) []byte {
	t.Helper()
	var b bytes.Buffer
	src, err := wire.NewSource(wire.NewWriter(&b), wire.Lane{Run: "demo", K: 1, N: 1, Form: wire.FormRaw}, "dtcat", wire.DefaultLateness)
	for len(list) > 0 && err == nil {
		var words []uint64
		var bad []wire.Bad
		n := min(1+r.IntN(most), len(list))
		for i, rec := range list[:n] {
			if rec.kind != 0 {
				words = append(words, rec.word)
				continue
			}
			_, reason, _ := strings.Cut(rec.aside, "\x00")
			bad = append(bad, wire.Bad{Record: i, Reason: reason})
		}
		list = list[n:]
		err = src.Add(words, bad)
		if err == nil && r.IntN(2) == 0 {
			err = src.Flush()
		}
	}
	if err == nil {
		err = src.End(wire.End{}, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A stream that was begun again, at an older place and with other frame sizes, is counted once.
func TestOverlapsAreCutByTheWord(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		want := s.want(t)
		r := s.random("overlap")
		recs := records(t, s.stream(t))
		if len(recs) != s.records() {
			t.Fatalf("%d records in the stream, want %d", len(recs), s.records())
		}
		var versions [][]*wire.Frame // each: ledgers with the frame they are about
		for _, most := range []int{1000, 40, 4000} {
			one := source(t, r, recs, most)
			if again := records(t, one); !slices.Equal(again, recs) {
				t.Fatalf("batches of up to %d are judged differently", most)
			}
			versions = append(versions, frames(t, one))
		}
		for range 3 {
			list := []*wire.Frame{{Kind: wire.KindStream}, versions[0][1]}
			next, doubled := uint64(0), 0
			for total := uint64(len(recs)); next < total; {
				v := versions[r.IntN(len(versions))]
				from := next - min(next, uint64(r.IntN(700)))
				if len(list) > 2 {
					if r.IntN(2) == 0 {
						list = append(list, &wire.Frame{Kind: wire.KindStream})
					}
					list = append(list, &wire.Frame{Kind: wire.KindLane, Lane: v[1].Lane, First: from, Next: from})
				}
				i := slices.IndexFunc(v, func(f *wire.Frame) bool { return f.Next > from && f.Kind != wire.KindLane })
				for n := 1 + r.IntN(12); n > 0 && i < len(v) && v[i].Kind != wire.KindEnd; i++ {
					f := v[i]
					list = append(list, f)
					if f.Kind == wire.KindWords || f.Kind == wire.KindLate {
						doubled += int(min(f.Next, max(next, f.First)) - f.First)
						next = max(next, f.Next)
						n--
					}
				}
			}
			end := versions[0][len(versions[0])-1]
			list = append(list, end)
			stream := encode(t, list)
			for _, stages := range [][]stage{{{"dtfilter"}, {"dtchamber"}, s.dthist()}, {{"dtcat"}, {"dtfilter"}, s.dthist()}} {
				out := pipeline(t, bytes.NewReader(stream), stages...).ok(t)
				sameLines(t, "with overlaps", results(t, out), want)
				if got := inLedgers(t, out, "Doubled"); got != doubled || doubled == 0 {
					t.Errorf("Doubled is %d, want %d", got, doubled)
				}
				if read := inLedgers(t, out, "Read"); read != s.records() {
					t.Errorf("Read is %d in all, want %d", read, s.records())
				}
			}
		}
	})
}

// Where frames are missing, it is told, counted, and what they may have belonged to is incomplete.
func TestGapsAreTold(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		r := s.random("gap")
		list := frames(t, source(t, r, records(t, s.stream(t)), 300))
		var at []int
		for i, f := range list {
			if f.Kind == wire.KindWords && len(f.Words) > 10 {
				at = append(at, i)
			}
		}
		for range 3 {
			i := at[r.IntN(len(at))]
			lost := int(list[i].Next - list[i].First)
			first := i
			for list[first-1].Kind == wire.KindLedger {
				first--
			}
			stream := encode(t, slices.Concat(list[:first], list[i+1:]))
			res := pipeline(t, bytes.NewReader(stream), stage{"dtfilter"}, stage{"dtchamber"}, s.dthist())
			if fmt.Sprint(res.Codes) != "[0 0 1]" {
				t.Errorf("exit codes %v, want [0 0 1]", res.Codes)
			}
			if told := fmt.Sprintf("%d records are missing", lost); !strings.Contains(res.Errs[2], told) {
				t.Errorf("dthist says %q, want %q in it", res.Errs[2], told)
			}
			results(t, res.Out)
			if got := inLedgers(t, res.Out, "Missing"); got != lost {
				t.Errorf("Missing is %d, want %d", got, lost)
			}
			if read := inLedgers(t, res.Out, "Read"); read != s.records()-lost {
				t.Errorf("Read is %d, want %d", read, s.records()-lost)
			}
			incomplete := 0
			for _, l := range parse(t, res.Out) {
				incomplete += 1 - l.int(t, "Complete")
			}
			if incomplete == 0 {
				t.Error("every line is complete")
			}
		}
	})
}

// What went in as text or raw comes out again byte for byte, with a header or without.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	to := func(t *testing.T, b []byte, format string, more ...string) []byte {
		t.Helper()
		stream := pipeline(t, bytes.NewReader(b), append(stage{"dtcat"}, more...)).ok(t)
		return pipeline(t, bytes.NewReader(stream), stage{"dtcat", "--to", format}).ok(t)
	}
	trip := func(t *testing.T, csv []byte) {
		t.Helper()
		if got := to(t, csv, "csv"); !bytes.Equal(got, csv) {
			t.Error("text, a stream, and text again differ")
		}
		json := to(t, csv, "json")
		if got := to(t, json, "json"); !bytes.Equal(got, json) {
			t.Error("JSON, a stream, and JSON again differ")
		}
		raw := to(t, csv, "raw")
		if got := to(t, raw, "raw"); !bytes.Equal(got, raw) {
			t.Error("raw, a stream, and raw again differ")
		}
		direct := pipeline(t, bytes.NewReader(csv), stage{"dtcat", "--to", "raw"}).ok(t)
		if !bytes.Equal(direct, raw) {
			t.Error("raw directly differs from raw of the stream")
		}
		_, rows, _ := bytes.Cut(csv, []byte("\n"))
		if !bytes.HasPrefix(csv, []byte("HEAD")) {
			rows = csv
		}
		for name, b := range map[string][]byte{"raw": raw, "JSON": json} {
			got := pipeline(t, bytes.NewReader(b), stage{"dtcat", "--to", "csv", "--header", "no"}).ok(t)
			if !bytes.Equal(got, rows) {
				t.Errorf("%s to text differs", name)
			}
		}
	}
	for _, name := range []string{"stream_990.csv", "stream_noheader_73.txt"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			csv, err := os.ReadFile(data(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasSuffix(csv, []byte("\n")) {
				csv = append(csv, '\n') // the real one lacks its last
			}
			trip(t, csv)
		})
	}
	for seed := range seeds(t, 3) {
		t.Run("sim "+strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			csv := pipeline(t, nil, stage{"dtcat", simulated(seed, 9000), "--to", "csv"}).ok(t)
			trip(t, csv)
			_, rows, _ := bytes.Cut(csv, []byte("\n"))
			trip(t, rows)
		})
		t.Run("traps "+strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			csv, err := os.ReadFile(traps(t, "mixed", seed, 3000))
			if err != nil {
				t.Fatal(err)
			}
			trip(t, csv)
		})
		t.Run("any words "+strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(seed), 9))
			var b []byte
			for range 20000 {
				b = binary.LittleEndian.AppendUint64(b, r.Uint64())
			}
			if got := to(t, b, "raw", "--from", "raw"); !bytes.Equal(got, b) {
				t.Error("raw, a stream, and raw again differ")
			}
		})
	}
}

// Streams of two runs, one behind the other, are two runs.
func TestTwoRuns(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		other := streamed{s.seed + 1, pipeline(t, nil, stage{"dtcat", simulated(s.seed+77, 2500), "--to", "csv"}).ok(t), s.hist}
		a := s.stream(t)
		b := pipeline(t, bytes.NewReader(other.csv), stage{"dtcat", "--run", "other"}).ok(t)
		out := pipeline(t, bytes.NewReader(slices.Concat(a, b)), stage{"dtfilter"}, stage{"dtchamber"}, s.dthist()).ok(t)
		if read := inLedgers(t, out, "Read"); read != s.records()+other.records() {
			t.Errorf("Read is %d in all, want %d", read, s.records()+other.records())
		}
		want := slices.Concat(s.want(t), other.want(t))
		if s.hist[0] == "--window=all" {
			lines := slices.Concat(
				pipeline(t, bytes.NewReader(a), stage{"dtfilter"}, s.dthist()).ok(t),
				pipeline(t, bytes.NewReader(b), stage{"dtfilter"}, s.dthist()).ok(t))
			want = results(t, pipeline(t, bytes.NewReader(lines), stage{"dthist", "--merge", "--window=all"}).ok(t))
		}
		sameLines(t, "two runs", results(t, out), want)
	})
}

// dtcat --limit N reads as much as the first N records of a file, and says that it was stopped.
func TestLimit(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		r := s.random("limit")
		for range 3 {
			n := 1000 + r.IntN(s.records()-1000)
			lines := bytes.SplitAfter(s.csv, []byte("\n"))
			want := pipeline(t, bytes.NewReader(bytes.Join(lines[:n+1], nil)), dtcat, stage{"dtfilter"}, s.dthist()).ok(t)
			got := pipeline(t, bytes.NewReader(s.csv), append(dtcat, "--limit", strconv.Itoa(n)), stage{"dtfilter"}, s.dthist()).ok(t)
			incomplete := func(b []byte) []string {
				list := results(t, b)
				for i := range list {
					list[i] = strings.Replace(list[i], `"Complete":1`, `"Complete":0`, 1)
				}
				return list
			}
			sameLines(t, fmt.Sprintf("--limit %d", n), incomplete(got), incomplete(want))
			if read := inLedgers(t, got, "Read"); read != n {
				t.Errorf("--limit %d: Read is %d", n, read)
			}
			// The last detector window may have been passed, and be whole, all the same.
			if all := parse(t, got); s.hist[0] == "--window=all" && all[0].int(t, "Complete") != 0 {
				t.Errorf("--limit %d: the line is complete", n)
			}
		}
	})
}

// The first pipeline's programs read a line as a Python literal, others as JSON.
func TestLinesAreJSONAndPythonLiterals(t *testing.T) {
	eachRun(t, func(t *testing.T, s streamed) {
		reader := []string{python(t), "-c", `
import ast, json, sys
n = 0
for text in sys.stdin:
    assert "\n" not in text[:-1]
    a, b = ast.literal_eval(text), json.loads(text)
    assert a == b and isinstance(a, dict), text[:200]
    if "Chamber_1" in a:
        assert len(a["Chamber_1"]["Hist_2"]["Bins"]) == len(a["Chamber_1"]["Hist_2"]["Counts"])
    n += 1
print(n)
`}
		for _, stages := range [][]stage{
			{dtcat, {"dtfilter"}, {"dtchamber"}, s.dthist()},
			{{"dtcat", "--run", "λ \"quoted\" \\ 'run' 𝛍"}, {"dtfilter"}, {"dtchamber"}, s.dthist()},
			{dtcat, {"dtfilter"}, s.dthist("--partial")},
			{dtcat, {"dtfilter", "HEAD == 7"}, s.dthist()},
			{dtcat, {"dtfilter"}, {"dthist", "--format=cosmo"}},
			{dtcat, {"dtfilter"}, {"dthist", "--clock=wall"}},
		} {
			out := pipeline(t, bytes.NewReader(s.csv), stages...).ok(t)
			got := pipeline(t, bytes.NewReader(out), reader)
			if n := strconv.Itoa(bytes.Count(out, []byte("\n"))); strings.TrimSpace(string(got.Out)) != n || n == "0" {
				t.Errorf("%v: Python reads %s of %s lines\n%s", stages[len(stages)-1], bytes.TrimSpace(got.Out), n, got.Errs[0])
			}
		}
	})
}
