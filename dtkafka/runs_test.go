package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"dt/internal/wire"
)

// A splitRun is a run as it goes to a topic: its words, its stream, and each partition's messages.
type splitRun struct {
	words  []uint64
	stream []byte
	lanes  [][][]byte
	track  []wire.Mark // of the stream
}

// newSplitRun makes a run whose source says now and then how far it has come.
func newSplitRun(t testing.TB, run string, n, words int, seed uint64) *splitRun {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	list, _ := testRun(t, run, 1, words, seed)
	var stream bytes.Buffer
	s, err := wire.NewSource(wire.NewWriter(&stream), wire.Lane{Run: run, K: 1, N: 1}, "dtcat", wire.DefaultLateness)
	must(t, err)
	for i := 0; i < len(list); {
		k := min(1+r.IntN(300), len(list)-i)
		must(t, s.Add(list[i:i+k], nil))
		i += k
		s.At("file", "tag", wire.NoPartition, uint64(10*i))
		if r.IntN(4) == 0 {
			must(t, s.Mark(time.Unix(int64(i), 0)))
		}
	}
	must(t, s.End(wire.End{}, false))
	x := &splitRun{words: list, stream: stream.Bytes()}
	x.lanes = x.split(t, n, nil)
	src := wire.NewReader(bytes.NewReader(x.stream))
	for {
		f, err := src.Next()
		if errors.Is(err, io.EOF) {
			return x
		}
		must(t, err)
		if f.Kind == wire.KindMark {
			x.track = append(x.track, f.Mark)
		}
	}
}

// split divides the stream, or what of it is not there already.
func (x *splitRun) split(t testing.TB, n int, up *taken) [][][]byte {
	t.Helper()
	lanes := make([][][]byte, n)
	src := wire.NewReader(bytes.NewReader(x.stream))
	var s *wire.Splitter
	for {
		f, err := src.Next()
		if errors.Is(err, io.EOF) {
			return lanes
		}
		must(t, err)
		if f.Kind == wire.KindStream {
			continue
		}
		if s == nil {
			s = wire.NewSplitter(f.Lane, n, 1<<20)
			s.Send = func(k int, value []byte, _ uint64) error {
				lanes[k] = append(lanes[k], bytes.Clone(value))
				return nil
			}
			if up != nil {
				s.Continue(up.at, up.have, up.ended)
				s.Known = func(k int, number, word uint64) error {
					if !up.samples[k].same(number, word) {
						t.Fatalf("record %d of lane %d is another", number, k+1)
					}
					return nil
				}
			}
		}
		must(t, s.Add(f))
		if f.Next%3 == 0 {
			must(t, s.Flush())
		}
	}
}

// topicOf is a topic with the beginnings of runs' partitions, one after the other.
func topicOf(n int, runs ...[][][]byte) *fakeTopics {
	log := make(testLog, n)
	ms := int64(1_700_000_000_000)
	for _, lanes := range runs {
		for p := range lanes {
			for _, v := range lanes[p] {
				log.add(p, ms, v)
			}
		}
		ms += 10_000_000
	}
	return &fakeTopics{logs: map[string]testLog{"t": log}}
}

// cut keeps a part of each partition's messages.
func cut(lanes [][][]byte, of ...int) [][][]byte {
	lanes = slices.Clone(lanes)
	for p := range lanes {
		lanes[p] = lanes[p][:len(lanes[p])*of[p]/100]
	}
	return lanes
}

func readRuns(t testing.TB, f *fakeTopics) *written {
	t.Helper()
	l, _ := f.cluster()
	w, err := readWritten(t.Context(), l, &topicInfo{name: "t", partitions: len(f.logs["t"])})
	must(t, err)
	return w
}

// However far each lane came, the stream read again from the beginning, or from what the topic says, gives all that is missing.
func TestProduceGoesOn(t *testing.T) {
	for seed := range seeds(30) {
		r := newRand(seed)
		n := 1 + r.IntN(4)
		x := newSplitRun(t, "demo", n, 3000, uint64(seed))
		parts := make([]int, n)
		for p := range parts {
			parts[p] = r.IntN(101)
		}
		_, before := testRun(t, "old", n, 1500, 77)
		was := cut(x.lanes, parts...)
		w := readRuns(t, topicOf(n, before, was))
		if named, err := w.takeUp(t.Context(), &wire.Lane{Run: "another", K: 1, N: 1}); named != nil || err != nil {
			t.Fatalf("seed %d: a run with a name of its own goes on with %s: %v", seed, named.run, err)
		}
		const name = "abcdefghijkl2345" // as dtcat makes one up
		lane := &wire.Lane{Run: name, K: 1, N: 1}
		up, err := w.takeUp(t.Context(), lane)
		must(t, err)
		complete := !slices.ContainsFunc(parts, func(p int) bool { return p < 100 })
		switch any := slices.ContainsFunc(was, func(v [][]byte) bool { return len(v) > 0 }); {
		case (complete || !any) && up != nil:
			t.Fatalf("seed %d: %v is gone on with: %s", seed, parts, up.said)
		case complete || !any:
			continue
		case up == nil:
			t.Fatalf("seed %d: %v is not gone on with", seed, parts)
		case up.run != "demo" || !strings.HasSuffix(up.said, "(in the stream it is run "+name+")"):
			t.Errorf("seed %d: it says %q", seed, up.said)
		}
		check := func(more [][][]byte) {
			t.Helper()
			for p := range n {
				l := lanesOf(t, bytes.Join(slices.Concat(was[p], more[p]), nil))[laneName("demo", p, n)]
				if !slices.Equal(l.words, wantLane(x.words, p, n)) || l.end != "exhausted" || l.doubled+l.missing > 0 {
					t.Errorf("seed %d, %v: lane %d has %d words, want %d; %s, missing %d, doubled %d", seed, parts, p+1, len(l.words), len(wantLane(x.words, p, n)), l.end, l.missing, l.doubled)
				}
			}
		}
		check(x.split(t, n, up))

		// From the mark that the topic names.
		w = readRuns(t, topicOf(n, before, was))
		s, err := w.state(t.Context(), "")
		must(t, err)
		if s == nil || s.Run != "demo" || s.End || s.K != 1 || s.N != 1 {
			t.Fatalf("seed %d: it says %+v", seed, s)
		}
		if s.Place == nil {
			if s.Next != 0 {
				t.Errorf("seed %d: %d without a place", seed, s.Next)
			}
			continue
		}
		i := slices.IndexFunc(x.track, func(m wire.Mark) bool { return m.Number == s.Place.Number })
		if i < 0 || s.Next != s.Place.Number || s.Place.Offset != x.track[i].Offset || s.Place.Name != "file" || s.Place.Tag != "tag" || !bytes.Equal(s.Place.State, x.track[i].State) {
			t.Fatalf("seed %d: the place is %+v", seed, s.Place)
		}
		lane = &wire.Lane{Run: "demo", K: 1, N: 1, FloorNumber: s.Next, Start: s.Next}
		up, err = w.takeUp(t.Context(), lane)
		must(t, err)
		y := &splitRun{}
		var stream bytes.Buffer
		src, err := wire.ResumeSource(wire.NewWriter(&stream), *lane, "dtcat", wire.DefaultLateness,
			&wire.Mark{Number: s.Next, Source: s.Next, Offset: s.Place.Offset, Name: "file", Tag: "tag", Partition: wire.NoPartition, State: s.Place.State})
		must(t, err)
		must(t, src.Add(x.words[s.Next:], nil))
		must(t, src.End(wire.End{}, false))
		y.stream = stream.Bytes()
		check(y.split(t, n, up))
		// But nowhere else.
		if _, err := readRuns(t, topicOf(n, before, was)).takeUp(t.Context(), &wire.Lane{Run: "demo", K: 1, N: 1, FloorNumber: s.Next + 1, Start: s.Next + 1}); err == nil {
			t.Errorf("seed %d: it goes on where no mark is", seed)
		}
	}
}

func TestProduceFindsTheRun(t *testing.T) {
	const n = 2
	_, a := testRun(t, "a", n, 3000, 1)
	_, b := testRun(t, "b", n, 3000, 2)
	half := []int{50, 60}
	lane := func(run string) *wire.Lane { return &wire.Lane{Run: run, K: 1, N: 1} }
	const noName = "abcdefghijkl2345" // as dtcat makes one up
	for _, c := range []struct {
		name   string
		topic  *fakeTopics
		stream string
		want   string // run, or "complete", or "" for none
	}{
		{"nothing is there", topicOf(n), "a", ""},
		{"lines are there", &fakeTopics{logs: map[string]testLog{"t": {{{value: []byte("line")}}, nil}}}, "a", ""},
		{"it", topicOf(n, cut(a, half...)), "a", "a"},
		{"it, not the newer one", topicOf(n, cut(a, half...), cut(b, half...)), "a", "a"},
		{"the newer one", topicOf(n, cut(a, half...), cut(b, half...)), noName, "b"},
		{"another one, that has a name", topicOf(n, cut(a, half...), cut(b, half...)), "c", ""},
		{"the one that is not complete", topicOf(n, cut(a, half...), b), noName, "a"},
		{"a complete one", topicOf(n, a, cut(b, half...)), "a", "complete"},
		{"only complete ones", topicOf(n, a, b), noName, ""},
	} {
		up, err := readRuns(t, c.topic).takeUp(t.Context(), lane(c.stream))
		got := ""
		switch {
		case errors.Is(err, errComplete):
			got = "complete"
		case err != nil:
			t.Error(err)
		case up != nil:
			got = up.run
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	// Each is taken up once, and the source of a complete one has ended.
	w := readRuns(t, topicOf(n, cut(a, half...), cut(b, half...)))
	for _, want := range []string{"b", "a"} {
		if up, err := w.takeUp(t.Context(), lane(noName)); err != nil || up == nil || up.run != want {
			t.Errorf("%v %v, want %s", up, err, want)
		}
	}
	if up, err := w.takeUp(t.Context(), lane(noName)); up != nil || err != nil {
		t.Errorf("%v %v", up, err)
	}
	s, err := readRuns(t, topicOf(n, a)).state(t.Context(), "")
	if err != nil || s == nil || !s.End || s.Next != 3000 || s.Place == nil {
		t.Errorf("%+v %v", s, err)
	}
	if s, err := readRuns(t, topicOf(n)).state(t.Context(), ""); s != nil || err != nil {
		t.Errorf("%+v %v", s, err)
	}
	// A lane of four in three partitions.
	_, four := testRun(t, "four", 4, 3000, 4)
	log := make(testLog, 3)
	for k := range four {
		for i, v := range four[k][:len(four[k])/(1+k%2)] {
			log.add(k%3, int64(i), v)
		}
	}
	w = readRuns(t, &fakeTopics{logs: map[string]testLog{"t": log}})
	for k := range uint32(4) {
		up, err := w.takeUp(t.Context(), &wire.Lane{Run: "four", K: k + 1, N: 4})
		if k%2 == 0 && !errors.Is(err, errComplete) || k%2 == 1 && (err != nil || up == nil || up.have[0] == 0 || up.at[0] != 0) {
			t.Errorf("lane %d: %+v %v", k+1, up, err)
		}
	}
	// Also one that another of its partition has left behind.
	x := newSplitRun(t, "four", 4, 3000, 4)
	log = make(testLog, 3)
	for k := range x.lanes {
		for _, v := range x.lanes[k][:len(x.lanes[k])/2] {
			log.add(k%3, int64(k), v)
		}
	}
	for len(log[0]) < 3*tailMessages {
		for _, v := range x.lanes[3][:len(x.lanes[3])/2] {
			log.add(0, 5, v)
		}
	}
	behind := readRuns(t, &fakeTopics{logs: map[string]testLog{"t": log}})
	if up, err := behind.takeUp(t.Context(), &wire.Lane{Run: "four", K: 1, N: 4}); err != nil || up == nil || up.have[0] == 0 {
		t.Errorf("lane 1: %+v %v", up, err)
	}
	if up, err := behind.takeUp(t.Context(), &wire.Lane{Run: "five", K: 1, N: 4}); err != nil || up != nil {
		t.Errorf("lane 1 of another run: %+v %v", up, err)
	}
	if _, err := w.takeUp(t.Context(), lane("four")); err == nil {
		t.Error("a run of four lanes goes on in three")
	}
	// Splitting can't begin anew where it began in the middle.
	x = &splitRun{}
	var stream bytes.Buffer
	src, err := wire.ResumeSource(wire.NewWriter(&stream), wire.Lane{Run: "middle", K: 1, N: 1, FloorNumber: 500}, "dtcat", 0, &wire.Mark{Number: 500, Partition: wire.NoPartition})
	must(t, err)
	words, _ := testRun(t, "x", 1, 100, 1)
	must(t, src.Add(words, nil))
	must(t, src.Flush())
	x.stream = stream.Bytes()
	lanes := x.split(t, n, nil)
	if len(lanes[0]) == 0 {
		t.Skip("nothing was sent")
	}
	if _, err := readRuns(t, topicOf(n, lanes)).takeUp(t.Context(), lane("middle")); err == nil {
		t.Error("it begins anew")
	}
}

func TestSample(t *testing.T) {
	var s sample
	s.take(&wire.Frame{First: 100, Next: 104, Words: []uint64{7, 8, 9}, Present: []uint64{0b1101}})
	for _, c := range []struct {
		number, word uint64
		want         bool
	}{{99, 1, true}, {104, 1, true}, {100, 7, true}, {100, 8, false}, {101, 0, false}, {102, 8, true}, {103, 9, true}, {103, 7, false}} {
		if got := s.same(c.number, c.word); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
