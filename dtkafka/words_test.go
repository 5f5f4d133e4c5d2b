package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// seeds are those of a test, fewer with -short.
func seeds(n int) int {
	if testing.Short() {
		return n / 5
	}
	return n
}

func newRand(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 7)) }

// testEnv is an Env whose messages are kept.
func testEnv() (*tool.Env, *bytes.Buffer) {
	said := new(bytes.Buffer)
	return &tool.Env{Name: "dtkafka", Stderr: said}, said
}

// detector returns words as the detector sends them: stale orbits first, then cycles of 4 hits of FPGA 0, 4 of FPGA 1, whose orbits differ, and 8
// ancillary words that run ahead. Of one FPGA no two hits have the same orbit.
func detector(r *rand.Rand, n int) []uint64 {
	var words []uint64
	orbit := [2]int64{3_387_200_956, 3_387_200_500}
	restart := 160
	for len(words) < n {
		for f := range orbit {
			for range 4 {
				if len(words) == restart || len(words) == restart+4 {
					orbit[f] = 616_958 - 300*int64(f)
				}
				orbit[f] += 1 + r.Int64N(8)
				o := orbit[f]
				if r.IntN(300) == 0 {
					o = r.Int64N(hit.MaxOrbit) // a corrupt word
				}
				words = append(words, hit.NewHit(f, r.IntN(128), uint32(o), r.IntN(3564), r.IntN(30)))
			}
		}
		var rows []byte
		for i := range 8 {
			ahead := orbit[0] + r.Int64N(20_000)
			switch i % 5 {
			case 0:
				rows = fmt.Appendf(rows, "0,%d,%d,%d,%d,%d\n", i/4, r.IntN(32), ahead, r.IntN(3564), r.IntN(30))
			case 1:
				rows = fmt.Appendf(rows, "1,%d,0,%d,0,%d\n", i/4, ahead, r.IntN(256))
			case 2:
				rows = fmt.Appendf(rows, "3,%d,0,%d,%d,0\n", i/4, ahead, r.IntN(1<<16))
			default:
				rows = fmt.Appendf(rows, "%d,%d,0,%d,0,%.6f\n", i%5+1, i/4, ahead, (r.Float64()*100-50)*math.Pow(10, -float64(r.IntN(60)/10)))
			}
		}
		var bad []hit.Bad
		if words, bad = hit.DecodeCSV(words, nil, rows, false); bad != nil {
			panic(bad[0].Reason)
		}
	}
	return words[:n]
}

// A testLog is the partitions of a topic.
type testLog [][]message

func (l testLog) add(p int, ms int64, value []byte) {
	l[p] = append(l[p], message{offset: int64(len(l[p])), time: ms, value: value})
}

func textOf(as content, w uint64) []byte {
	if as == contentCSV {
		return bytes.TrimSuffix(hit.AppendCSV(nil, w), []byte("\n"))
	}
	return bytes.TrimSuffix(hit.AppendJSON(nil, w), []byte("\n"))
}

// spread puts words into n partitions at random, with times of which perMS are the same on the average; 0: all differ.
func spread(r *rand.Rand, words []uint64, n int, as content, perMS int) testLog {
	log := make(testLog, n)
	ms := int64(1_700_000_000_000)
	for _, w := range words {
		switch {
		case perMS == 0:
			ms += 1 + r.Int64N(3)
		case r.IntN(perMS) == 0:
			ms++
		}
		log.add(r.IntN(n), ms, textOf(as, w))
	}
	return log
}

// A feeder gives an output what fetchers would, in pieces of random sizes that arrive in a random order.
type feeder struct {
	r     *rand.Rand
	log   testLog
	next  []int64
	most  int // messages of a piece
	home  chan *fetched
	given int
	back  int
}

func newFeeder(r *rand.Rand, log testLog, from map[int]place, most int) *feeder {
	f := &feeder{r: r, log: log, next: make([]int64, len(log)), most: most, home: make(chan *fetched, 1<<13)}
	for p, at := range from {
		f.next[p] = max(at.Offset, 0)
	}
	return f
}

// piece fetches some of a partition.
func (f *feeder) piece(p int) *fetched {
	log := f.log[p]
	from := min(f.next[p], int64(len(log)))
	n := min(int64(1+f.r.IntN(f.most)), int64(len(log))-from)
	f.next[p] = from + n
	f.given++
	// The memory is scribbled over on release.
	to := &fetched{partition: p, next: from + n, high: int64(len(log)), home: f.home}
	for _, m := range log[from : from+n] {
		if m.value != nil {
			m.value = append([]byte{}, m.value...)
		}
		to.messages = append(to.messages, m)
	}
	return to
}

// recycle takes back what was released.
func (f *feeder) recycle() {
	for {
		select {
		case to := <-f.home:
			f.back++
			for i := range to.messages {
				for k := range to.messages[i].value {
					to.messages[i].value[k] = 'x'
				}
			}
		default:
			return
		}
	}
}

// run gives out up to limit all there is, and says what is done; it reports whether all is.
func (f *feeder) run(t testing.TB, out output, limit int) bool {
	t.Helper()
	var left []int
	for p := range f.log {
		left = append(left, p)
	}
	for ; len(left) > 0 && limit != 0; limit-- {
		i := f.r.IntN(len(left))
		p := left[i]
		if f.next[p] < int64(len(f.log[p])) {
			must(t, out.take(f.piece(p)))
			f.recycle()
			if f.r.IntN(3) == 0 {
				_, err := out.idle()
				must(t, err)
			}
			continue
		}
		left = slices.Delete(left, i, i+1)
		must(t, out.done(p))
	}
	f.recycle()
	return len(left) == 0
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(log testLog) map[int]place {
	from := map[int]place{}
	for p := range log {
		from[p] = place{}
	}
	return from
}

// A wordAt is a word as a stream has it.
type wordAt struct {
	word   uint64
	kind   wire.Kind
	epoch  uint32
	newest uint32
}

// A laneRead is what a stream says of its lane.
type laneRead struct {
	lanes    []wire.Lane
	at       []uint64 // where the lane frames stand
	words    map[uint64]wordAt
	horizons map[uint64]uint64 // behind a number
	aside    map[uint64]string
	next     uint64
	doubled  int
	marks    int
	serial   uint64 // of the first
	ends     []wire.End
}

// readLane reads a stream; numbers may come twice if they say the same.
func readLane(t testing.TB, stream []byte) *laneRead {
	t.Helper()
	l := &laneRead{words: map[uint64]wordAt{}, horizons: map[uint64]uint64{}, aside: map[uint64]string{}}
	r := wire.NewReader(bytes.NewReader(stream))
	begins := map[string]uint64{}
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return l
		}
		must(t, err)
		switch f.Kind {
		case wire.KindLane:
			l.lanes = append(l.lanes, *f.Lane)
			l.at = append(l.at, f.Next)
		case wire.KindMark:
			m := &f.Mark
			sum := uint64(0)
			for _, at := range strings.Fields(m.Tag) {
				var p int
				var n uint64
				if _, err := fmt.Sscanf(at, "%d:%d", &p, &n); err != nil {
					t.Fatalf("tag %q: %v", m.Tag, err)
				}
				sum += n
			}
			// Each offset has a number.
			begin, ok := begins[f.Lane.Run]
			if !ok {
				begin = m.Offset - m.Number
				begins[f.Lane.Run] = begin
			}
			if m.Offset-m.Number != begin || m.Offset != sum || m.Partition != wire.NoPartition {
				t.Fatalf("a mark of number %d, offset %d, tag %q", m.Number, m.Offset, m.Tag)
			}
			if l.marks++; l.marks == 1 {
				l.serial = m.Serial
			}
		case wire.KindEnd:
			l.ends = append(l.ends, f.End)
		case wire.KindLedger:
			for _, e := range f.Ledger.Entries {
				for i := range f.Next - f.First {
					if e.Numbers[i/64]>>(i%64)&1 != 0 {
						l.aside[f.First+i] = e.Reason
					}
				}
			}
		case wire.KindWords, wire.KindLate:
			k := 0
			for i := range f.Next - f.First {
				if f.Present != nil && f.Present[i/64]>>(i%64)&1 == 0 {
					continue
				}
				w := wordAt{f.Words[k], f.Kind, f.Epoch, 0}
				if f.Kind == wire.KindLate {
					w.newest = f.Newest[k]
				}
				k++
				number := f.First + i
				if was, ok := l.words[number]; ok {
					l.doubled++
					if was != w {
						t.Fatalf("number %d was %+v, and is %+v", number, was, w)
					}
				}
				l.words[number] = w
			}
			l.horizons[f.Next] = f.Horizon
			l.next = max(l.next, f.Next)
		}
	}
}

// same reports whether two lanes are: words, epochs and late words the same, and the horizons where both say it.
func (l *laneRead) same(t testing.TB, want *laneRead) {
	t.Helper()
	if l.next != want.next || len(l.words) != len(want.words) || len(l.aside) != len(want.aside) {
		t.Fatalf("%d words and %d aside, up to %d; want %d, %d, %d", len(l.words), len(l.aside), l.next, len(want.words), len(want.aside), want.next)
	}
	for n := range want.next {
		if l.words[n] != want.words[n] || l.aside[n] != want.aside[n] {
			t.Fatalf("number %d: %+v %q; want %+v %q", n, l.words[n], l.aside[n], want.words[n], want.aside[n])
		}
	}
	for n, h := range l.horizons {
		if w, ok := want.horizons[n]; ok && w != h {
			t.Fatalf("the horizon behind %d is %d; want %d", n, h, w)
		}
	}
}

// plain is the lane of words in order, flushed behind each, so that it knows all horizons.
func plain(t testing.TB, words []uint64) *laneRead {
	t.Helper()
	var buf bytes.Buffer
	s, err := wire.NewSource(wire.NewWriter(&buf), wire.Lane{Run: "demo", K: 1, N: 1, Form: wire.FormJSON}, "dtkafka", wire.DefaultLateness)
	must(t, err)
	for i := range words {
		must(t, s.Add(words[i:i+1], nil))
		must(t, s.Flush())
	}
	s.At("", fmt.Sprint("0:", len(words)), wire.NoPartition, uint64(len(words)))
	must(t, s.End(wire.End{Stopped: true}, false))
	return readLane(t, buf.Bytes())
}

// A testClock is a clock that tests move.
type testClock struct{ at time.Time }

func newTestClock() *testClock { return &testClock{time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC)} }

// now is later with each call.
func (c *testClock) now() time.Time {
	c.at = c.at.Add(1)
	return c.at
}

func (c *testClock) wait(d time.Duration) { c.at = c.at.Add(d) }
func (c *testClock) options(run string) wordOptions {
	return wordOptions{run: run, lateness: wire.DefaultLateness, now: c.now}
}

func TestWordsAnySplit(t *testing.T) {
	for seed := range seeds(60) {
		r := newRand(seed)
		words := detector(r, 1+r.IntN(6000))
		as := []content{contentJSON, contentCSV}[seed%2]
		n := 1 + r.IntN(16)
		log := spread(r, words, n, as, 0)
		env, said := testEnv()
		var buf bytes.Buffer
		out := newWordsOutput(env, wire.NewWriter(&buf), "t", as, newTestClock().options("demo"))
		must(t, out.begin(start(log)))
		f := newFeeder(r, log, nil, 1+r.IntN(500))
		f.run(t, out, -1)
		must(t, out.end(""))
		got := readLane(t, buf.Bytes())
		got.same(t, plain(t, words))
		switch {
		case said.Len() > 0:
			t.Fatal(said)
		case got.ends[0].Why != "--until" || !got.ends[0].Stopped:
			t.Fatalf("end: %+v", got.ends[0])
		case f.given != f.back:
			t.Fatalf("%d pieces were given, %d released", f.given, f.back)
		}
		for p, at := range out.places() {
			if at.Offset != int64(len(log[p])) {
				t.Fatalf("partition %d of %d messages: place %d", p, len(log[p]), at.Offset)
			}
		}
	}
}

// byFPGA returns the orbits of the hits of each FPGA, in order.
func byFPGA(words []uint64) (orbits [2][]int64) {
	for _, w := range words {
		if hit.IsHit(w) {
			orbits[hit.FPGA(w)] = append(orbits[hit.FPGA(w)], orbitOf(w))
		}
	}
	return orbits
}

func (l *laneRead) list() (words []uint64) {
	for n := range l.next {
		words = append(words, l.words[n].word)
	}
	return words
}

// Words of one ms that are spread over partitions come in the order of their orbits, whatever the pieces.
func TestWordsTies(t *testing.T) {
	for seed := range seeds(60) {
		r := newRand(seed)
		words := detector(r, 1+r.IntN(6000))
		// A corrupt word's place in a tie is not known; the orbits around it are.
		words = slices.DeleteFunc(words, func(w uint64) bool {
			o := orbitOf(w)
			return hit.IsHit(w) && (o < 616_000 || o > 700_000 && o < 3_387_000_000 || o > 3_388_000_000)
		})
		n := 2 + r.IntN(15)
		log := spread(r, words, n, contentCSV, 1+r.IntN(1500))
		var first *laneRead
		for range 3 {
			env, _ := testEnv()
			var buf bytes.Buffer
			out := newWordsOutput(env, wire.NewWriter(&buf), "t", contentCSV, newTestClock().options("demo"))
			must(t, out.begin(start(log)))
			newFeeder(r, log, nil, 1+r.IntN(500)).run(t, out, -1)
			got := readLane(t, buf.Bytes())
			if first == nil {
				first = got
			}
			got.same(t, first)
		}
		got := first.list()
		want, have := byFPGA(words), byFPGA(got)
		for f := range want {
			for i := range want[f] {
				if have[f][i] != want[f][i] {
					t.Fatalf("seed %d, FPGA %d: hit %d has orbit %d; want %d", seed, f, i, have[f][i], want[f][i])
				}
			}
		}
		for _, w := range first.words {
			if w.kind == wire.KindLate {
				t.Fatalf("seed %d: %x is late", seed, w.word)
			}
		}
		slices.Sort(got)
		slices.Sort(words)
		if !slices.Equal(got, words) {
			t.Fatal("other words came out")
		}
	}
}

// A reader that dies at any moment and one that goes on at its places make the same lane.
func TestWordsResume(t *testing.T) {
	clock := newTestClock()
	for seed := range seeds(80) {
		r := newRand(seed)
		words := detector(r, 500+r.IntN(6000))
		n := 1 + r.IntN(16)
		log := spread(r, words, n, contentJSON, seed%2*400)
		whole := func() *laneRead {
			env, _ := testEnv()
			var buf bytes.Buffer
			out := newWordsOutput(env, wire.NewWriter(&buf), "t", contentJSON, clock.options("demo"))
			must(t, out.begin(start(log)))
			newFeeder(r, log, nil, 100).run(t, out, -1)
			return readLane(t, buf.Bytes())
		}()
		var stream []byte
		from := start(log)
		last, serial := uint64(0), uint64(0)
		for life := 0; ; life++ {
			env, said := testEnv()
			var buf bytes.Buffer
			opt := clock.options("")
			if life == 0 {
				opt.run = "demo"
			}
			out := newWordsOutput(env, wire.NewWriter(&buf), "t", contentJSON, opt)
			must(t, out.begin(from))
			over := newFeeder(r, log, from, 1+r.IntN(300)).run(t, out, 1+r.IntN(80))
			clock.wait(time.Duration(r.IntN(700)) * time.Millisecond)
			if !over {
				_, err := out.idle()
				must(t, err)
			}
			from = out.places()
			if !over && r.IntN(2) == 0 {
				must(t, out.end("stopped by a signal"))
			}
			for p, at := range from {
				if len(at.Meta) > 4000 || strings.ContainsAny(at.Meta, "\n") {
					t.Fatalf("partition %d: %q", p, at.Meta)
				}
			}
			got := readLane(t, buf.Bytes())
			if got.lanes[0].Run != "demo" || got.at[0] != last || got.lanes[0].FloorNumber != last {
				t.Fatalf("a lane of %+v at %d; want number %d", got.lanes[0], got.at[0], last)
			}
			if got.marks > 0 && got.serial != serial+1 {
				t.Fatalf("the first mark is the %d. of the lane; want %d", got.serial, serial+1)
			}
			var at lanePlace
			must(t, json.Unmarshal([]byte(from[0].Meta), &at))
			serial = at.Serial
			sum := int64(0)
			for _, p := range from {
				sum += p.Offset
			}
			if uint64(sum) != at.Next {
				t.Fatalf("places of %d messages for number %d", sum, at.Next)
			}
			if last = at.Next; last > got.next && got.next > 0 {
				t.Fatalf("the place is %d, but frames are there up to %d", last, got.next)
			}
			stream = append(stream, buf.Bytes()...)
			if said.Len() > 0 {
				t.Fatal(said)
			}
			if over {
				break
			}
		}
		readLane(t, stream).same(t, whole)
		if last != uint64(len(words)) {
			t.Fatalf("the last place is %d of %d", last, len(words))
		}
	}
}

func TestWordsPoison(t *testing.T) {
	words := detector(newRand(1), 40)
	big := bytes.Repeat([]byte{0}, 5<<20)
	var stream bytes.Buffer
	s, err := wire.NewSource(wire.NewWriter(&stream), wire.Lane{Run: "x", K: 1, N: 1}, "dtcat", 0)
	must(t, err)
	must(t, s.End(wire.End{}, false))
	poison := []struct {
		value  []byte
		reason string
		class  string
	}{
		{[]byte("\x80\x81\xff garbage"), "not a JSON object: it does not begin with {", hit.BadJSON},
		{big, "a message of 5242880 bytes is longer than 65536", hit.BadLength},
		{nil, "a message without a value", classNull},
		{[]byte{}, "an empty message", hit.BadBlank},
		{[]byte(" \n\n"), "blank line", hit.BadBlank},
		{[]byte(hit.Header), "not a JSON object: it does not begin with {", hit.BadJSON},
		{append(append([]byte("["), textOf(contentJSON, words[0])...), ']'), "not a JSON object: it does not begin with {", hit.BadJSON},
		{textOf(contentJSON, words[0])[:30], "not a JSON object: a : is missing", hit.BadJSON},
		{stream.Bytes(), "a piece of a hit stream, among words", hit.BadNUL},
		{append(append(textOf(contentJSON, words[0]), '\n'), textOf(contentJSON, words[1])...), "not a JSON object: more text after the object", hit.BadJSON},
		{[]byte("{\"HEAD\":\x000}"), "contains a NUL byte", hit.BadNUL},
		{[]byte("{}"), "HEAD: key is missing", hit.BadMissing},
	}
	log := make(testLog, 2)
	var want strings.Builder
	var kept []byte
	for i, p := range poison {
		log.add(0, int64(10*i), textOf(contentJSON, words[2*i]))
		log.add(1, int64(10*i+1), p.value)
		// Line ends behind a word do not matter, and those within are blanks.
		log.add(0, int64(10*i+2), append(bytes.Replace(textOf(contentJSON, words[2*i+1]), []byte(", "), []byte(",\r\n"), 1), "\r\n"...))
		if i < tellAtMost {
			fmt.Fprintf(&want, "dtkafka: t[1]@%d: %s\n", i, p.reason)
		} else if i == tellAtMost {
			fmt.Fprintf(&want, "dtkafka: t[1]@%d: %s; further ones of this topic are counted, not told\n", i, p.reason)
		}
		if p.value != nil {
			kept = append(append(kept, p.value...), '\n')
		}
	}
	fmt.Fprintf(&want, "dtkafka: t: %d messages are no words\n", len(poison))
	name := filepath.Join(t.TempDir(), "rejects")
	file, err := os.Create(name)
	must(t, err)
	defer file.Close()
	env, said := testEnv()
	var buf bytes.Buffer
	opt := newTestClock().options("demo")
	opt.rejects = file
	out := newWordsOutput(env, wire.NewWriter(&buf), "t", contentJSON, opt)
	must(t, out.begin(start(log)))
	newFeeder(newRand(2), log, nil, 3).run(t, out, -1)
	must(t, out.end(""))
	got := readLane(t, buf.Bytes())
	for i, p := range poison {
		n := uint64(3 * i)
		if got.words[n].word != words[2*i] || got.words[n+2].word != words[2*i+1] || got.aside[n+1] != p.class {
			t.Errorf("poison %d: %x, %q, %x", i, got.words[n].word, got.aside[n+1], got.words[n+2].word)
		}
	}
	if said.String() != want.String() {
		t.Errorf("said\n%swant\n%s", said, &want)
	}
	if file, _ := os.ReadFile(name); !bytes.Equal(file, kept) {
		t.Errorf("%d bytes of rejects, want %d", len(file), len(kept))
	}
	if e := got.ends[0]; e.Read != uint64(3*len(poison)) || e.Rejected != uint64(len(poison)) {
		t.Errorf("end: %+v", e)
	}
}

func TestWordsStrict(t *testing.T) {
	words := detector(newRand(1), 40)
	log := make(testLog, 1)
	for i, w := range words {
		if i == 7 {
			log.add(0, 7, []byte("nothing"))
		}
		log.add(0, int64(i), textOf(contentCSV, w))
	}
	env, said := testEnv()
	var buf bytes.Buffer
	opt := newTestClock().options("demo")
	opt.strict = true
	out := newWordsOutput(env, wire.NewWriter(&buf), "t", contentCSV, opt)
	must(t, out.begin(start(log)))
	f := newFeeder(newRand(3), log, nil, 100)
	f.next[0], f.most = 0, 1<<20
	err := out.take(f.piece(0))
	for err == nil {
		err = out.take(f.piece(0))
	}
	if !errors.Is(err, tool.ErrTold) {
		t.Fatal(err)
	}
	must(t, out.end("failed"))
	got := readLane(t, buf.Bytes())
	if got.next != 8 || len(got.words) != 7 || got.ends[0].Why != "--strict, and a message is no word" || len(got.ends) != 1 {
		t.Errorf("up to %d, %d words, %+v", got.next, len(got.words), got.ends)
	}
	if want := "dtkafka: t[0]@7: 6 columns wanted, 1 found\ndtkafka: t: 1 message is no word\n"; said.String() != want {
		t.Errorf("said %q", said)
	}
	// Who goes on begins behind it.
	from := out.places()
	if from[0].Offset != 8 {
		t.Errorf("place %+v", from[0])
	}
}

// Messages that are gone leave a gap in the numbers, and what is behind it has the numbers that it would have had.
func TestWordsGap(t *testing.T) {
	r := newRand(4)
	words := detector(r, 3000)
	log := spread(r, words, 3, contentCSV, 0)
	run := func(cut bool) (*laneRead, string, error) {
		env, said := testEnv()
		var buf bytes.Buffer
		out := newWordsOutput(env, wire.NewWriter(&buf), "t", contentCSV, newTestClock().options("demo"))
		must(t, out.begin(start(log)))
		for p := range log {
			f := newFeeder(r, log, nil, 1)
			for f.next[p] < int64(len(log[p])) {
				if p == 1 && cut && f.next[p] == 100 {
					f.next[p] += 300
					x := f.piece(p)
					x.gap = 300
					must(t, out.take(x))
					continue
				}
				must(t, out.take(f.piece(p)))
			}
			must(t, out.done(p))
		}
		err := out.end("")
		return readLane(t, buf.Bytes()), said.String(), err
	}
	whole, _, err := run(false)
	must(t, err)
	got, said, err := run(true)
	if !errors.Is(err, tool.ErrTold) || said != "dtkafka: t[1]@100: 300 messages from here on are gone (retention?)\n" {
		t.Errorf("%v, %q", err, said)
	}
	if got.next != whole.next || len(got.words) != len(words)-300 || len(got.ends) != 2 || got.ends[0].Why != "300 messages of t[1] are gone" {
		t.Fatalf("%d words up to %d; want %d up to %d; %+v", len(got.words), got.next, len(words)-300, whole.next, got.ends)
	}
	// Behind the last message that was in both cases merged behind the gap, all numbers are equal.
	for n := whole.next - 500; n < whole.next; n++ {
		if got.words[n].word != whole.words[n].word {
			t.Fatalf("number %d is %x; want %x", n, got.words[n].word, whole.words[n].word)
		}
	}
}

// A reader goes on from any place around a gap, in a tie or not.
func TestWordsGapResume(t *testing.T) {
	for seed := range seeds(60) {
		r := newRand(seed)
		words := detector(r, 400)
		log := spread(r, words, 2, contentJSON, seed%2*100)
		gap := 1 + r.Int64N(int64(len(log[0])-60))
		var stream []byte
		from := start(log)
		for life := 0; life < 40; life++ {
			env, _ := testEnv()
			var buf bytes.Buffer
			opt := newTestClock().options("")
			if life == 0 {
				opt.run = "demo"
			}
			out := newWordsOutput(env, wire.NewWriter(&buf), "t", contentJSON, opt)
			must(t, out.begin(from))
			f := newFeeder(r, log, from, 1+r.IntN(60))
			over := true
			for p := range log {
				f.r = newRand(seed + life)
				for k := 0; f.next[p] < int64(len(log[p])); k++ {
					if over = k < 1+life/2; !over {
						break
					}
					gone := int64(0)
					if at := f.next[p]; p == 0 && at < gap+50 {
						if at < gap {
							f.log = testLog{log[0][:gap], log[1]}
						} else {
							gone = gap + 50 - at
							f.next[p] += gone
						}
					}
					x := f.piece(p)
					f.log = log
					x.gap, x.high = gone, int64(len(log[p]))
					must(t, out.take(x))
				}
				if f.next[p] == int64(len(log[p])) {
					must(t, out.done(p))
				}
			}
			_, err := out.idle()
			must(t, err)
			from = out.places()
			stream = append(stream, buf.Bytes()...)
		}
		got := readLane(t, stream)
		if got.next != uint64(len(words)) || len(got.words) != len(words)-50 {
			t.Fatalf("%d words up to %d", len(got.words), got.next)
		}
	}
}

// What is given up and taken back is the same lane: where no one read on, without a new start, and else from the place of that.
func TestWordsRebalance(t *testing.T) {
	clock := newTestClock()
	r := newRand(5)
	words := detector(r, 4000)
	log := spread(r, words, 4, contentJSON, 0)
	env, said := testEnv()
	var one, two bytes.Buffer
	a := newWordsOutput(env, wire.NewWriter(&one), "t", contentJSON, clock.options("demo"))
	must(t, a.begin(start(log)))
	newFeeder(r, log, nil, 50).run(t, a, 20)
	_, err := a.idle()
	must(t, err)
	from := a.places()
	must(t, a.begin(from)) // the same again; the fetchers begin anew
	newFeeder(r, log, from, 50).run(t, a, 20)
	_, err = a.idle()
	must(t, err)
	from = a.places()
	b := newWordsOutput(env, wire.NewWriter(&two), "t", contentJSON, clock.options(""))
	must(t, b.begin(from))
	newFeeder(r, log, from, 50).run(t, b, 20)
	_, err = b.idle()
	must(t, err)
	from = b.places()
	must(t, b.begin(nil))
	must(t, a.begin(from))
	if !newFeeder(r, log, from, 50).run(t, a, -1) {
		t.Fatal("not over")
	}
	must(t, a.end(""))
	if said.Len() > 0 {
		t.Error(said)
	}
	first, second := readLane(t, one.Bytes()), readLane(t, two.Bytes())
	whys := []string{}
	for _, e := range append(first.ends, second.ends...) {
		whys = append(whys, e.Why)
	}
	if len(first.lanes) != 2 || fmt.Sprint(whys) != "[the partitions were read by another in between --until the partitions were given up]" {
		t.Errorf("%d lanes, %q", len(first.lanes), whys)
	}
	if first.lanes[1].FloorNumber == 0 || first.lanes[1].FloorNumber != first.at[1] || first.doubled > 0 {
		t.Errorf("%+v at %d, %d doubled", first.lanes[1], first.at[1], first.doubled)
	}
	readLane(t, append(append([]byte{}, two.Bytes()...), one.Bytes()...)).same(t, plain(t, words))
}

// Of what is gone, only what was not here before is missing.
func TestWordsGapAfterRebalance(t *testing.T) {
	words := detector(newRand(1), 40)
	log := make(testLog, 1)
	for i, w := range words {
		log.add(0, int64(i), textOf(contentCSV, w))
	}
	env, said := testEnv()
	var buf bytes.Buffer
	out := newWordsOutput(env, wire.NewWriter(&buf), "t", contentCSV, newTestClock().options("demo"))
	must(t, out.begin(start(log)))
	must(t, out.take(&fetched{messages: log[0][:10], next: 10, high: 40}))
	must(t, out.begin(start(log)))
	must(t, out.take(&fetched{gap: 12, messages: log[0][12:], next: 40, high: 40}))
	must(t, out.done(0))
	if err := out.end(""); !errors.Is(err, tool.ErrTold) {
		t.Error(err)
	}
	if got := readLane(t, buf.Bytes()); got.next != 40 || len(got.words) != 38 || got.words[12].word != words[12] {
		t.Errorf("%d words up to %d", len(got.words), got.next)
	}
	if want := "dtkafka: t[0]@10: 2 messages from here on are gone (retention?)\n"; said.String() != want {
		t.Errorf("said %q", said)
	}
}

// Two readers between which the partitions go to and fro, each from what was kept last, which may be old.
func TestWordsTwoReaders(t *testing.T) {
	for seed := range seeds(40) {
		r := newRand(seed)
		words := detector(r, 3000)
		n := 1 + r.IntN(5)
		log := spread(r, words, n, contentJSON, seed%2*100)
		var outs [2]output
		var bufs [2]bytes.Buffer
		for i := range outs {
			env, said := testEnv()
			defer func() {
				if said.Len() > 0 {
					t.Error(said)
				}
			}()
			outs[i] = newWordsOutput(env, wire.NewWriter(&bufs[i]), "t", contentJSON, newTestClock().options(""))
		}
		kept := start(log)
		for turn := 0; ; turn++ {
			out := outs[r.IntN(2)]
			must(t, out.begin(kept))
			over := newFeeder(r, log, kept, 1+r.IntN(200)).run(t, out, 1+r.IntN(40))
			if turn == 0 || over || r.IntN(3) > 0 {
				kept = out.places()
			}
			if over {
				break
			}
			if r.IntN(2) == 0 {
				must(t, out.begin(nil))
			}
		}
		for _, out := range outs {
			must(t, out.end("test"))
		}
		got := readLane(t, append(bytes.Clone(bufs[0].Bytes()), bufs[1].Bytes()...))
		if seed%2 == 0 {
			got.same(t, plain(t, words))
		} else if len(got.words) != len(words) {
			t.Fatalf("%d words; want %d", len(got.words), len(words))
		}
		for i := range got.lanes {
			if got.lanes[i].Run != got.lanes[0].Run {
				t.Fatalf("runs %s and %s", got.lanes[0].Run, got.lanes[i].Run)
			}
		}
	}
}

// Places that do not belong together, or that no one can read, are no place to go on.
func TestWordsOddPlaces(t *testing.T) {
	clock := newTestClock()
	r := newRand(6)
	log := spread(r, detector(r, 1000), 2, contentJSON, 0)
	env, _ := testEnv()
	out := newWordsOutput(env, wire.NewWriter(io.Discard), "t", contentJSON, clock.options("demo"))
	must(t, out.begin(start(log)))
	newFeeder(r, log, nil, 50).run(t, out, 8)
	_, err := out.idle()
	must(t, err)
	good := out.places()
	for name, odd := range map[string]struct {
		run    string
		change func(map[int]place)
		said   string
	}{
		"good":       {"", func(map[int]place) {}, ""},
		"the run":    {"demo", func(map[int]place) {}, ""},
		"new":        {"", func(m map[int]place) { m[2] = place{} }, ""},
		"other run":  {"other", func(map[int]place) {}, "dtkafka: t: the places that are kept are of run demo; a new run begins\n"},
		"unreadable": {"", func(m map[int]place) { m[0] = place{Offset: 1, Meta: "{"} }, "dtkafka: t: partition 0: what is kept with its place can't be read; a new run begins\n"},
		"reset":      {"", func(m map[int]place) { m[0] = place{} }, "dtkafka: t: the places that are kept for the partitions do not belong together; a new run begins\n"},
		"mixed": {"", func(m map[int]place) { m[1] = place{Offset: 5, Meta: `{"run":"demo","next":1}`} },
			"dtkafka: t: the places that are kept for the partitions do not belong together; a new run begins\n"},
		"state": {"", func(m map[int]place) {
			var at lanePlace
			must(t, json.Unmarshal([]byte(m[0].Meta), &at))
			at.State = packState([]byte("12345678"))
			text, _ := json.Marshal(at)
			m[0] = place{Offset: m[0].Offset, Meta: string(text)}
		}, "dtkafka: t: the state of the source's judgement makes no sense; a new run begins\n"},
		"packed": {"", func(m map[int]place) {
			m[0] = place{Offset: m[0].Offset, Meta: strings.Replace(m[0].Meta, `"state":"`, `"state":"gA`, 1)}
		},
			"dtkafka: t: the judgement that is kept with the place is damaged; a new run begins\n"},
	} {
		env, said := testEnv()
		var buf bytes.Buffer
		out := newWordsOutput(env, wire.NewWriter(&buf), "t", contentJSON, clock.options(odd.run))
		from := map[int]place{0: good[0], 1: good[1]}
		odd.change(from)
		must(t, out.begin(from))
		must(t, out.end("test"))
		got := readLane(t, buf.Bytes())
		if said.String() != odd.said {
			t.Errorf("%s: said %q; want %q", name, said, odd.said)
		}
		if anew := got.at[0] == 0; anew != (odd.said != "") || !anew && got.lanes[0].Run != "demo" || anew && got.lanes[0].Run == "demo" {
			t.Errorf("%s: %+v at %d", name, got.lanes[0], got.at[0])
		}
	}
}

func TestPackState(t *testing.T) {
	r := newRand(7)
	for range 200 {
		state := make([]byte, r.IntN(wire.MaxText))
		for i := range state {
			if r.IntN(3) == 0 {
				state[i] = byte(r.Uint32())
			}
		}
		got, err := unpackState(packState(state))
		must(t, err)
		if !bytes.Equal(got, state) {
			t.Fatalf("%x became %x", state, got)
		}
	}
	// The longest judgement there is: 64 epochs, with orbits of 32 bits.
	var state []byte
	for range 24 + 64*5*8 {
		state = append(state, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)
	}
	at := lanePlace{Run: strings.Repeat("<", wire.MaxRun), Next: 1 << 63, Serial: 1 << 63, partitions: []int{0}, offsets: []int64{0}, state: state[:24+64*48+8*16]}
	for f := range at.Last {
		at.Last[f] = hit.MaxOrbit
	}
	if n := len(at.places()[0].Meta); n > 4000 {
		t.Errorf("a place of %d bytes", n)
	}
}

// referenceWord is what a message is, by the decoder for lines alone.
func referenceWord(as content, v []byte) (uint64, bool) {
	text := bytes.TrimRight(v, "\r\n")
	text = append(bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("  ")), []byte("\n"), []byte(" ")), '\n')
	decode := hit.DecodeCSV
	if as == contentJSON {
		decode = hit.DecodeJSON
	}
	words, bad := decode(nil, nil, text, false)
	if len(v) > hit.MaxLine || len(words)+len(bad) != 1 || len(words) == 0 {
		return 0, false
	}
	return words[0], true
}

// Each message is one record: the word that it is by itself, or a bad one.
func FuzzWordMessages(f *testing.F) {
	for _, w := range detector(newRand(1), 40) {
		f.Add(textOf(contentJSON, w), textOf(contentCSV, w), false)
		f.Add(bytes.ReplaceAll(textOf(contentJSON, w), []byte(" "), nil), textOf(contentCSV, w), true)
	}
	for _, v := range []string{
		`{"HEAD": 4, "FPGA": 0, "TDC_CHANNEL": 0, "ORBIT_CNT": 5.0, "BX_COUNTER": 0, "TDC_MEAS": -1.25e-05}`,
		`{"HEAD": 4, "FPGA": 0, "TDC_CHANNEL": 0, "ORBIT_CNT": 5.0, "BX_COUNTER": 0, "TDC_MEAS": 65519.9999999999999999999}`,
		`{"HEAD": 2, "FPGA": 0, "TDC_CHANNEL": 0, "ORBIT_CNT": 5.00, "BX_COUNTER": 000000000000007, "TDC_MEAS": 3.0}`,
		`{"HEAD": 2.0, "FPGA": 0.0, "TDC_CHANNEL": -1, "ORBIT_CNT": 5., "BX_COUNTER": 7, "TDC_MEAS": 3}`,
		`{"HEAD": 2, "FPGA": 0, "TDC_CHANNEL": 1, "ORBIT_CNT": 5.5, "BX_COUNTER": 7, "TDC_MEAS": 3.0}`,
		`{"HEAD": 2, "FPGA": 0, "TDC_CHANNEL": 1, "ORBIT_CNT": 5.0, "BX_COUNTER": 7, "TDC_MEAS": 3.5}`,
		`{"HEAD": 5, "FPGA": 0, "TDC_CHANNEL": 0, "ORBIT_CNT": 5.0, "BX_COUNTER": 0, "TDC_MEAS": NaN}`,
	} {
		f.Add([]byte(v), []byte("2,0,1,2\n,3,4"), false)
	}
	f.Add([]byte("0"), []byte("5,1,0,3387217064,0,-0.0\r\r\r"), true)
	f.Fuzz(func(t *testing.T, a, b []byte, csv bool) {
		as := contentJSON
		if csv {
			as = contentCSV
		}
		good := detector(newRand(2), 3)
		log := make(testLog, 1)
		for i, v := range [][]byte{textOf(as, good[0]), a, textOf(as, good[1]), b, nil, textOf(as, good[2])} {
			log.add(0, int64(i), v)
		}
		env, said := testEnv()
		var buf bytes.Buffer
		out := newWordsOutput(env, wire.NewWriter(&buf), "t", as, newTestClock().options("demo"))
		must(t, out.begin(start(log)))
		newFeeder(newRand(len(a)), log, nil, 6).run(t, out, -1)
		must(t, out.end(""))
		got := readLane(t, buf.Bytes())
		bad := 0
		for i, m := range log[0] {
			w, ok := uint64(0), false
			if m.value != nil {
				w, ok = referenceWord(as, m.value)
			}
			have, there := got.words[uint64(i)]
			if there != ok || have.word != w || ok == (got.aside[uint64(i)] != "") {
				t.Fatalf("%q is %x, %v, %q; want %x, %v", m.value, have.word, there, got.aside[uint64(i)], w, ok)
			}
			if !ok {
				bad++
			}
		}
		if n := strings.Count(said.String(), "dtkafka: t[0]@"); n != bad || got.next != 6 {
			t.Fatalf("%d are told of %d; %d records", n, bad, got.next)
		}
	})
}
