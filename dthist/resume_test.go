package main

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dt/internal/hist"
	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// randomRun is words of two FPGAs that drift apart, with scintillator hits, late hits, words that are no hit, jumps and counter restarts.
func randomRun(r *rand.Rand, n, lanes int) []uint64 {
	var words []uint64
	quiet := false
	base := int64(500_000 + r.IntN(1000))
	skew := int64(r.IntN(3000))
	for len(words) < n {
		switch {
		case r.IntN(4000) == 0:
			base = int64(r.IntN(1000)) // restart
		case r.IntN(1500) == 0:
			base += int64(r.IntN(300_000))
		case lanes > 1 && len(words) > n/2 && !quiet:
			quiet = true
			for range 40 { // in which the last lane has no hit
				base += 40_000 + int64(r.IntN(20_000))
				for wire.LaneOf(uint32(base), uint32(lanes)) == uint32(lanes) {
					base++
				}
				other := base
				for wire.LaneOf(uint32(other), uint32(lanes)) != uint32(lanes) {
					other++
				}
				words = append(words, hit.NewHit(r.IntN(2), r.IntN(128), uint32(base), r.IntN(3564), 1+r.IntN(30)), uint64(1)<<hit.HeadShift|uint64(other)<<hit.OrbitShift)
			}
		}
		base += int64(r.IntN(40))
		for f := range 2 {
			o := base + int64(f)*skew
			for range r.IntN(4) {
				words = append(words, hit.NewHit(f, r.IntN(128), uint32(o), r.IntN(3564), 1+r.IntN(30)))
			}
			switch r.IntN(30) {
			case 0:
				words = append(words, hit.NewHit(f, r.IntN(128), uint32(max(0, o-int64(r.IntN(4000)))), r.IntN(3564), 1+r.IntN(30)))
			case 1:
				words = append(words, uint64(1)<<hit.HeadShift|uint64(o)<<hit.OrbitShift)
			}
		}
	}
	return words
}

// lanesOf splits a run over n lanes, and returns the messages of each.
func lanesOf(t *testing.T, r *rand.Rand, words []uint64, n int) [][][]byte {
	t.Helper()
	var stream bytes.Buffer
	s, err := wire.NewSource(wire.NewWriter(&stream), wire.Lane{Run: "demo", K: 1, N: 1}, "test", 2000)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for at := 0; at < len(words); {
		k := min(1+r.IntN(400), len(words)-at)
		var bad []wire.Bad
		if r.IntN(3) == 0 {
			bad = []wire.Bad{{Record: r.IntN(k + 1), Reason: "no word"}}
		}
		check(s.Add(words[at:at+k], bad))
		at += k
		s.At("file", "", wire.NoPartition, uint64(at))
		if r.IntN(4) == 0 {
			check(s.Mark(time.Unix(1, 0)))
		}
		if r.IntN(3) == 0 {
			check(s.Flush())
		}
	}
	check(s.End(wire.End{}, false))
	lanes := make([][][]byte, n)
	src := wire.NewReader(&stream)
	var split *wire.Splitter
	for {
		f, err := src.Next()
		if err != nil {
			break
		}
		if f.Kind == wire.KindLane && split == nil {
			split = wire.NewSplitter(f.Lane, n, 64<<10)
			split.Send = func(k int, value []byte, _ uint64) error {
				lanes[k] = append(lanes[k], bytes.Clone(value))
				return nil
			}
		}
		if f.Kind != wire.KindStream {
			check(split.Add(f))
			if r.IntN(5) == 0 {
				check(split.Tell())
			}
		}
	}
	return lanes
}

// read is the stream that a reader of partition k makes of its messages, from one on, for a lane that is written as far as at says.
func read(t *testing.T, messages [][]byte, k int, at *hist.LaneState) []byte {
	t.Helper()
	var stream bytes.Buffer
	w := wire.NewWriter(&stream)
	first := 0
	if at != nil && at.Place != nil {
		first = int(at.Place.Offset)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(w.Preamble())
	var m wire.Message
	for i, value := range messages[first:] {
		check(m.Parse(value))
		frames := m.Frames()
		if i == 0 {
			lane := *m.Lane()
			number := frames[0].First
			if at != nil {
				lane.FloorEpoch, lane.FloorOrbit, lane.FloorNumber = at.Epoch, uint64(at.Orbit), at.Next
				number = min(number, at.Next)
			}
			lane.Anew = true
			check(w.Lane(&wire.Frame{Next: number}, &lane))
			check(w.Mark(&wire.Frame{First: number, Next: number, Mark: wire.Mark{Name: "S", Partition: uint32(k), Number: number, Offset: uint64(first)}}))
		}
		for j := range frames {
			f := &frames[j]
			if f.Kind != wire.KindMark {
				check(w.Pass(f))
				continue
			}
			mark := f.Mark
			mark.Name, mark.Partition, mark.Offset, mark.Number, mark.State = "S", uint32(k), uint64(first+i+1), f.Next, nil
			check(w.Mark(&wire.Frame{First: f.Next, Next: f.Next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open, Mark: mark}))
		}
	}
	check(w.Flush())
	return stream.Bytes()
}

// partial runs dthist --partial.
func partial(t *testing.T, stream []byte, args ...string) (lines []*hist.Line, said string) {
	t.Helper()
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { w.Write(stream); w.Close() }()
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var errs bytes.Buffer
	env := &tool.Env{Name: "dthist", Args: append([]string{"--partial", "--window", "2s"}, args...), Stdin: in, Stdout: out, Stderr: &errs}
	env.Run(run)
	in.Close()
	text, _ := os.ReadFile(out.Name())
	for line := range strings.Lines(string(text)) {
		l, err := hist.ParseLine([]byte(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, l)
	}
	return lines, errs.String()
}

// chain is the links of lines, by what must be equal: all but Index, Node and places.
func chain(lines []*hist.Line) []string {
	var links []string
	for _, l := range lines {
		if s := &l.Lanes[0]; l.Progress && !l.End && s.First == s.Next && l.Counts.Ledger.Empty() {
			continue // no link
		}
		c := *l
		c.Index, c.Node, c.Resume = 0, "", nil
		c.Lanes = slices.Clone(l.Lanes)
		c.Lanes[0].Place = nil
		s := &l.Resume[0]
		links = append(links, fmt.Sprintf("%s %d %d %d %v", c.Append(nil), s.Epoch, s.Orbit, s.Next, s.End))
	}
	return links
}

// seeds is how many random runs are tried.
func seeds(n uint64) uint64 {
	if testing.Short() {
		return n / 2
	}
	return n
}

// Whoever takes a lane up behind any line of it, writes the rest of its chain, to the letter.
func TestChainGoesOnBehindAnyLine(t *testing.T) {
	links, late, epochs, checkpoints := 0, 0, map[uint32]bool{}, 0
	for seed := range seeds(4) {
		r := rand.New(rand.NewPCG(seed, 7))
		n := 1 + 3*r.IntN(3)
		lanes := lanesOf(t, r, randomRun(r, 8_000, n), n)
		for k, messages := range lanes {
			lines, said := partial(t, read(t, messages, k, nil))
			whole := chain(lines)
			if len(whole) < 5 || !lines[len(lines)-1].End || said != "" {
				t.Fatalf("seed %d, lane %d: %d links, %s", seed, k, len(whole), said)
			}
			links += len(whole)
			total, next := hist.Ledger{}, uint64(0)
			for _, l := range lines {
				total.Add(&l.Counts.Ledger)
				if l.Lanes[0].First != next {
					t.Fatalf("seed %d, lane %d: a line begins at %d, the one before ended at %d", seed, k, l.Lanes[0].First, next)
				}
				next = l.Lanes[0].Next
				epochs[l.Window.Epoch] = true
				if l.Progress && !l.End && !l.Counts.Ledger.Empty() {
					checkpoints++
				}
			}
			late += int(total.Late)
			if total.Pending != 0 || total.Missing != 0 || total.Doubled != 0 || total.Read != int64(next) {
				t.Errorf("seed %d, lane %d: ledger %+v of %d records", seed, k, total, next)
			}
			for i, l := range lines {
				if r.IntN(12) > 0 {
					continue
				}
				again, said := partial(t, read(t, messages, k, &l.Resume[0]))
				rest := chain(lines[i+1:])
				got := chain(again)
				if l.End {
					continue // nobody takes up what has ended
				}
				if !slices.Equal(got, rest) {
					for j := range max(len(got), len(rest)) {
						a, b := "", ""
						if j < len(got) {
							a = got[j]
						}
						if j < len(rest) {
							b = rest[j]
						}
						if a != b {
							t.Fatalf("seed %d, lane %d, taken up behind line %d of %d at %+v, link %d of %d:\n%s\nwant\n%s\n%s", seed, k, i, len(lines), l.Resume[0], j, len(rest), a, b, said)
						}
					}
				}
			}
		}
	}
	if late == 0 || len(epochs) < 2 || checkpoints == 0 && !testing.Short() {
		t.Errorf("%d late hits, %d epochs, %d checkpoints: too tame", late, len(epochs), checkpoints)
	}
	t.Logf("%d links, %d late hits, %d epochs, %d checkpoints", links, late, len(epochs), checkpoints)
}

// A merge that is taken up behind any line of another writes what that one would have, whatever comes again.
func TestMergeGoesOnBehindAnyLine(t *testing.T) {
	for seed := range seeds(2) {
		r := rand.New(rand.NewPCG(seed, 8))
		n := 2 + r.IntN(3)
		parts := make([][]string, 2) // partitions of the partial lines, each in order
		var all []int                // whose turn it is
		for k, messages := range lanesOf(t, r, randomRun(r, 5_000, n), n) {
			lines, _ := partial(t, read(t, messages, k, nil))
			behind := r.IntN(len(lines) - 1)
			again, _ := partial(t, read(t, messages, k, &lines[behind].Resume[0]))
			p := k % len(parts)
			var texts []string
			for _, l := range lines {
				texts = append(texts, string(l.Append(nil)))
			}
			at := behind + 1 + r.IntN(len(texts)-behind)
			for _, l := range again { // a process that hung writes late what others have written
				texts = slices.Insert(texts, at, string(l.Append(nil)))
				at++
			}
			var merged []string
			for len(parts[p])+len(texts) > 0 { // of two lanes of a partition each in order
				from := &parts[p]
				if len(*from) == 0 || len(texts) > 0 && r.IntN(2) == 0 {
					from = &texts
				}
				merged = append(merged, (*from)[0])
				*from = (*from)[1:]
			}
			parts[p] = merged
		}
		for p := range parts {
			for range parts[p] {
				all = append(all, p)
			}
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		input := func(floor []byte, from [2]int) []byte {
			text := append(hist.AppendFloor(nil, floor), '\n')
			at := [2]int{}
			for _, p := range all {
				if at[p] >= from[p] {
					text = append(hist.AppendFrom(text, []byte(parts[p][at[p]]), "P", p, int64(at[p])), '\n')
				}
				at[p]++
			}
			return text
		}
		whole := merged(t, input(nil, [2]int{}))
		if len(whole) < 3 {
			t.Fatalf("seed %d: %d lines", seed, len(whole))
		}
		total := hist.Ledger{}
		next := make([]uint64, n+1)
		for _, line := range whole {
			l := line.line
			total.Add(&l.Counts.Ledger)
			slices.SortFunc(l.Lanes, func(a, b hist.LaneSource) int { return cmp.Or(cmp.Compare(a.K, b.K), cmp.Compare(a.First, b.First)) })
			for _, s := range l.Lanes {
				if s.First != next[s.K] {
					t.Errorf("seed %d: lane %d goes on at %d, but was at %d", seed, s.K, s.First, next[s.K])
				}
				next[s.K] = s.Next
			}
			if !l.Complete {
				t.Errorf("seed %d: window %d is not complete", seed, l.Window.Number)
			}
		}
		if total.Pending != 0 || total.Missing != 0 {
			t.Errorf("seed %d: ledger %+v", seed, total)
		}
		for i, line := range whole {
			if i > 20 && r.IntN(len(whole)) > 5 {
				continue
			}
			var from [2]int
			for _, p := range line.line.Merge.Places {
				from[p.Partition] = int(p.Offset)
			}
			got := merged(t, input([]byte(line.text), from))
			if len(got) != len(whole)-i-1 {
				t.Fatalf("seed %d: %d lines behind line %d of %d, from %v", seed, len(got), i, len(whole), from)
			}
			for j, g := range got {
				if w := whole[i+1+j]; g.same() != w.same() {
					t.Fatalf("seed %d: line %d behind line %d:\n%s\nwant\n%s", seed, j, i, g.same(), w.same())
				}
			}
		}
	}
}

// A mergedLine is a line of a merge.
type mergedLine struct {
	text string
	line *hist.Line
}

// same is what is the same whoever has merged it.
func (m *mergedLine) same() string {
	l := *m.line
	l.Index, l.Node, l.Merge = 0, "", nil
	l.Lanes = slices.Clone(l.Lanes)
	for i := range l.Lanes {
		l.Lanes[i].Place = nil
	}
	return string(l.Append(nil))
}

// merged runs dthist --merge.
func merged(t *testing.T, input []byte) []mergedLine {
	t.Helper()
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { w.Write(input); w.Close() }()
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var said bytes.Buffer
	env := &tool.Env{Name: "dthist", Args: []string{"--merge"}, Stdin: in, Stdout: out, Stderr: &said}
	if code := env.Run(run); code != 0 {
		t.Fatalf("exit %d: %s", code, &said)
	}
	in.Close()
	text, _ := os.ReadFile(out.Name())
	var lines []mergedLine
	for line := range strings.Lines(string(text)) {
		l, err := hist.ParseLine([]byte(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, mergedLine{strings.TrimSpace(line), l})
	}
	return lines
}

// With --log each run of a stream is closed by itself, so that the last line is of the run that is to go on.
func TestLogOfTwoRuns(t *testing.T) {
	var stream bytes.Buffer
	for _, run := range []string{"late", "early"} {
		s, err := wire.NewSource(wire.NewWriter(&stream), wire.Lane{Run: run, K: 1, N: 1}, "test", 2000)
		if err != nil {
			t.Fatal(err)
		}
		words := []uint64{uint64(1) << hit.HeadShift} // no hit, so there is no window
		for i := 0; i < 3000 && run == "early"; i++ {
			words = append(words, hit.NewHit(i%2, i%128, uint32(617_000+i*20), i%3564, 1))
		}
		if err := s.Add(words, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.End(wire.End{Stopped: run == "early"}, false); err != nil {
			t.Fatal(err)
		}
	}
	log := t.TempDir() + "/log"
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { w.Write(stream.Bytes()); w.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var said bytes.Buffer
	env := &tool.Env{Name: "dthist", Args: []string{"--window", "500ms", "--log", log}, Stdin: in, Stdout: null, Stderr: &said}
	env.Run(run)
	text, _ := os.ReadFile(log)
	read, last := map[string]int64{}, hist.LaneState{}
	for line := range strings.Lines(string(text)) {
		l, err := hist.ParseLine([]byte(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		last = l.Resume[0]
		if len(l.Lanes) != 1 || l.Lanes[0].Run != last.Run {
			t.Errorf("a line of %+v says how to go on with run %s", l.Lanes, last.Run)
		}
		read[last.Run] += l.Counts.Ledger.Read
	}
	if read["late"] != 1 || last.Run != "early" || last.End {
		t.Errorf("records %v, at the end %+v; said: %s", read, last, &said)
	}
}

// A file that is no log stays as it is.
func TestLogIsNoOtherFile(t *testing.T) {
	for text, good := range map[string]bool{"": true, "{\"Index\": 1}\n": true, "{\"Index\": 1}\n{\"Ind": true, "{\"In": true, "HEAD,FPGA\n1,0\n": false, "1,0\n2": false, "\n": false} {
		name := t.TempDir() + "/file"
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := openLog(name)
		if good != (err == nil) {
			t.Errorf("%q: %v", text, err)
		}
		if l != nil {
			l.f.Close()
		}
		want := text
		if good {
			want = text[:strings.LastIndexByte(text, '\n')+1]
		}
		if now, _ := os.ReadFile(name); string(now) != want {
			t.Errorf("%q became %q", text, now)
		}
	}
}

// Lanes of a partition that another has read in between are named no more, but for those that are taken up.
func TestLanesThatLeaveAreNotNamed(t *testing.T) {
	var stream bytes.Buffer
	w := wire.NewWriter(&stream)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mark := func(number uint64, partition uint32) {
		t.Helper()
		check(w.Mark(&wire.Frame{First: number, Next: number, Mark: wire.Mark{Number: number, Offset: number, Name: "S", Partition: partition}}))
	}
	begin := func(run string) {
		t.Helper()
		check(w.Lane(&wire.Frame{}, &wire.Lane{Run: run, K: 1, N: 2, Anew: true}))
		mark(0, 3)
	}
	check(w.Preamble())
	for _, run := range []string{"gone", "stays"} {
		begin(run)
		check(w.Words(&wire.Frame{Kind: wire.KindWords, Next: 1, Words: []uint64{hit.NewHit(0, 1, 617_000, 0, 1)}, Horizon: 616_984}))
	}
	for _, run := range []string{"gone", "stays"} {
		check(w.Lane(&wire.Frame{Next: 1}, &wire.Lane{Run: run, K: 1, N: 2}))
		mark(1, wire.NoPartition)
		check(w.End(&wire.Frame{First: 1, Next: 1, End: wire.End{Stopped: true}}))
	}
	begin("stays")
	begin("new")
	check(w.Words(&wire.Frame{Kind: wire.KindWords, Next: 1, Words: []uint64{hit.NewHit(0, 1, 617_000, 0, 1)}, Horizon: 900_000_000}))
	check(w.Flush())
	lines, said := partial(t, stream.Bytes())
	if len(lines) == 0 {
		t.Fatal(said)
	}
	for _, l := range lines {
		var runs []string
		for _, s := range l.Resume {
			runs = append(runs, s.Run)
		}
		if !slices.Equal(runs, []string{"new", "stays"}) {
			t.Errorf("a line of run %s names %q", l.Window.Run, runs)
		}
	}
}

// The lines that a merge goes on with are not all there are.
func TestMergeOfAllIsFromTheBeginning(t *testing.T) {
	for _, text := range []string{hist.FloorNone, string(hist.AppendFrom(nil, (&hist.Line{Progress: true, Lane: [2]int{1, 2}, Window: hist.WindowInfo{Run: "r"},
		Counts: &hist.Counts{Set: hist.NewSettings(nil)}}).Append(nil), "P", 0, 1))} {
		in, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() { w.WriteString(text + "\n"); w.Close() }()
		var said bytes.Buffer
		env := &tool.Env{Name: "dthist", Args: []string{"--merge", "--window", "all"}, Stdin: in, Stdout: os.Stdout, Stderr: &said}
		if code := env.Run(run); code != 1 || !strings.Contains(said.String(), "--resume-from") {
			t.Errorf("exit %d: %s", code, &said)
		}
		in.Close()
	}
}
