package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// testRun is a run's words, and its lanes' messages: each partition's values.
func testRun(t testing.TB, run string, n, words int, seed uint64) ([]uint64, [][][]byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 9))
	var list []uint64
	for i := range words {
		list = append(list, hit.NewHit(i/4%2, r.IntN(128), uint32(617_000+i*3+r.IntN(3)), r.IntN(3564), r.IntN(30)))
	}
	var stream bytes.Buffer
	s, err := wire.NewSource(wire.NewWriter(&stream), wire.Lane{Run: run, K: 1, N: 1}, "dtcat", wire.DefaultLateness)
	if err != nil {
		t.Fatal(err)
	}
	lanes := make([][][]byte, n)
	for i := 0; i < len(list); {
		k := min(1+r.IntN(200), len(list)-i)
		if err := s.Add(list[i:i+k], nil); err != nil {
			t.Fatal(err)
		}
		i += k
		s.At("file", "", wire.NoPartition, uint64(i))
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.End(wire.End{}, false); err != nil {
		t.Fatal(err)
	}
	src := wire.NewReader(&stream)
	var split *wire.Splitter
	for {
		f, err := src.Next()
		if errors.Is(err, io.EOF) {
			return list, lanes
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind == wire.KindStream {
			continue
		}
		if split == nil {
			split = wire.NewSplitter(f.Lane, n, 1<<20)
			split.Send = func(k int, value []byte, _ uint64) error {
				lanes[k] = append(lanes[k], bytes.Clone(value))
				return nil
			}
		}
		if err := split.Add(f); err != nil {
			t.Fatal(err)
		}
		if r.IntN(2) == 0 {
			split.Flush()
		}
	}
}

// A testFrames is an output of frames whose results are looked at.
type testFrames struct {
	*framesOutput
	out  bytes.Buffer
	errs bytes.Buffer
	next []int64 // offset of the next message of each partition
}

func newTestFrames(from map[int]place) *testFrames {
	o := &testFrames{next: make([]int64, 64)}
	o.framesOutput = newFramesOutput(&tool.Env{Name: "dtkafka", Stderr: &o.errs}, wire.NewWriter(&o.out), "t")
	for p, at := range from {
		o.next[p] = at.Offset
	}
	return o
}

// give hands messages on as if they had been fetched.
func (o *testFrames) give(t testing.TB, partition int, values ...[]byte) {
	t.Helper()
	f := &fetched{partition: partition, home: make(chan *fetched, 1)}
	for _, v := range values {
		f.messages = append(f.messages, message{offset: o.next[partition], value: v})
		o.next[partition]++
	}
	f.next = o.next[partition]
	if err := o.take(f); err != nil {
		t.Fatal(err)
	}
	if len(f.home) == 0 {
		t.Fatal("not released")
	}
}

// A gotLane is what a reader has of a lane.
type gotLane struct {
	words            []uint64
	missing, doubled uint64
	track            *wire.Track
	end              string // "", stopped or exhausted
	floor            uint64
	marks            []wire.Mark
}

// lanesOf reads a stream as the programs behind do.
func lanesOf(t testing.TB, stream []byte) map[string]*gotLane {
	t.Helper()
	lanes := map[string]*gotLane{}
	src := wire.NewReader(bytes.NewReader(stream))
	for {
		f, err := src.Next()
		if errors.Is(err, io.EOF) {
			return lanes
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind == wire.KindStream {
			continue
		}
		name := f.Lane.ID().String()
		l := lanes[name]
		if l == nil {
			l = &gotLane{track: wire.NewTrack(f.Lane), floor: f.Lane.FloorNumber}
			lanes[name] = l
		}
		switch f.Kind {
		case wire.KindWords, wire.KindLate:
			_, missing, doubled := l.track.Admit(f)
			l.missing += missing
			l.doubled += doubled
			l.words = append(l.words, f.Words...)
		case wire.KindMark:
			l.marks = append(l.marks, f.Mark)
		case wire.KindCut:
			l.end = "cut"
		case wire.KindEnd:
			l.end = "exhausted"
			if f.End.Stopped {
				l.end = "stopped"
			}
		}
	}
}

func laneName(run string, k, n int) string {
	return wire.ID{Run: run, K: uint32(k + 1), N: uint32(n)}.String()
}

// wantLane is the words of a run that belong to a lane.
func wantLane(words []uint64, k, n int) (list []uint64) {
	for _, w := range words {
		if int(wire.LaneOf(hit.Orbit(w), uint32(n))) == k+1 {
			list = append(list, w)
		}
	}
	return list
}

func all(n int, at int64) map[int]place {
	from := map[int]place{}
	for p := range n {
		from[p] = place{Offset: at}
	}
	return from
}

func TestFramesAreReadWhole(t *testing.T) {
	const n = 4
	words, lanes := testRun(t, "demo", n, 5000, 1)
	second, others := testRun(t, "other", n, 3000, 2)
	garbage := [][]byte{nil, {}, []byte("garbage"), make([]byte, 5<<20), lanes[0][0][:100], slices.Concat(lanes[1][0], []byte("\x07"))}
	o := newTestFrames(nil)
	if err := o.begin(all(n, 0)); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 3))
	at := make([]int, n)
	poisons := 0
	for open := n; open > 0; {
		k := r.IntN(n)
		if at[k] > len(lanes[k]) {
			continue
		}
		if at[k] == len(lanes[k]) {
			o.give(t, k, others[k]...)
			at[k]++
			open--
			continue
		}
		o.give(t, k, lanes[k][at[k]])
		at[k]++
		if r.IntN(20) == 0 {
			o.give(t, k, garbage[poisons%len(garbage)])
			poisons++
		}
	}
	if err := o.end("enough"); err != nil {
		t.Fatal(err)
	}
	got := lanesOf(t, o.out.Bytes())
	for run, list := range map[string][]uint64{"demo": words, "other": second} {
		for k := range n {
			l := got[laneName(run, k, n)]
			if l == nil || !slices.Equal(l.words, wantLane(list, k, n)) || l.missing+l.doubled+l.floor > 0 || l.end != "exhausted" {
				t.Errorf("%s, lane %d: %+v", run, k+1, l)
			}
		}
	}
	if text := o.errs.String(); poisons == 0 || strings.Count(text, "\n") != min(poisons, 11)+1 || !strings.Contains(text, fmt.Sprintf("%d messages are no frames", poisons)) || !strings.Contains(text, "dtkafka: t[") {
		t.Errorf("%d were poisoned, and this was said:\n%s", poisons, text)
	}
	// A place is where a mark says.
	for k := range n {
		l := got[laneName("demo", k, n)]
		m := l.marks[len(l.marks)-1]
		if m.Name != "t" || m.Partition != uint32(k) || m.Number != uint64(len(l.words)) || m.Offset < uint64(len(lanes[k])-1) {
			t.Errorf("lane %d of %d words, %d messages: last mark %+v", k+1, len(l.words), len(lanes[k]), m)
		}
	}
}

// What comes twice goes on, for whoever counts it, but not behind the end of its lane.
func TestFramesThatComeTwice(t *testing.T) {
	words, lanes := testRun(t, "demo", 1, 3000, 1)
	o := newTestFrames(nil)
	o.begin(all(1, 0))
	half := len(lanes[0]) / 2
	o.give(t, 0, lanes[0][:half]...)
	o.give(t, 0, lanes[0]...)
	o.give(t, 0, lanes[0]...)
	if err := o.end("enough"); err != nil {
		t.Fatal(err)
	}
	l := lanesOf(t, o.out.Bytes())[laneName("demo", 0, 1)]
	if !slices.Equal(l.words, words) || l.missing > 0 || l.doubled == 0 || l.doubled >= uint64(len(words)) || l.end != "exhausted" {
		t.Errorf("%d words of %d, missing %d, doubled %d, %s", len(l.words), len(words), l.missing, l.doubled, l.end)
	}
	if !strings.Contains(o.errs.String(), "came twice") {
		t.Errorf("said: %s", &o.errs)
	}
}

func TestFramesThatAreMissing(t *testing.T) {
	_, lanes := testRun(t, "demo", 2, 3000, 1)
	o := newTestFrames(nil)
	o.begin(all(2, 0))
	o.give(t, 0, slices.Concat(lanes[0][:3], lanes[0][5:])...)
	o.give(t, 1, lanes[1]...)
	if err := o.end("enough"); !errors.Is(err, tool.ErrTold) {
		t.Errorf("end says %v", err)
	}
	got := lanesOf(t, o.out.Bytes())
	if l := got[laneName("demo", 0, 2)]; l.missing == 0 || l.end != "exhausted" {
		t.Errorf("missing %d, %s", l.missing, l.end)
	}
	if l := got[laneName("demo", 1, 2)]; l.missing > 0 {
		t.Errorf("missing %d", l.missing)
	}
	if text := o.errs.String(); !strings.Contains(text, "t[0]@3: run demo, lane 1 of 2: ") || !strings.Contains(text, "records are missing before record") {
		t.Errorf("said: %s", text)
	}
}

// Read in pieces, by one after the other, each from the other's places, a lane has each word once, and nothing is missing.
func TestFramesGoOnFromAPlace(t *testing.T) {
	const n = 3
	words, lanes := testRun(t, "demo", n, 4000, 5)
	from := all(n, 0)
	got := map[string][]uint64{}
	r := rand.New(rand.NewPCG(8, 8))
	at := make([]int, n)
	for round := 0; at[0]+at[1]+at[2] < len(lanes[0])+len(lanes[1])+len(lanes[2]); round++ {
		o := newTestFrames(from)
		if err := o.begin(from); err != nil {
			t.Fatal(err)
		}
		for k := range n {
			to := min(at[k]+r.IntN(8), len(lanes[k]))
			o.give(t, k, lanes[k][at[k]:to]...)
			at[k] = to
		}
		if _, err := o.idle(); err != nil {
			t.Fatal(err)
		}
		from = o.places()
		if err := o.end("enough"); err != nil {
			t.Fatal(err)
		}
		if o.out.Len() == 0 {
			continue
		}
		for name, l := range lanesOf(t, o.out.Bytes()) {
			if l.missing+l.doubled > 0 || l.floor != uint64(len(got[name])) {
				t.Fatalf("round %d, %s: missing %d, doubled %d, floor %d behind %d", round, name, l.missing, l.doubled, l.floor, len(got[name]))
			}
			got[name] = append(got[name], l.words...)
		}
	}
	for k := range n {
		if !slices.Equal(got[laneName("demo", k, n)], wantLane(words, k, n)) {
			t.Errorf("lane %d differs", k+1)
		}
	}
	for p, at := range from {
		if len(at.Meta) > 4000 || at.Offset != int64(len(lanes[p])) {
			t.Errorf("partition %d: %+v", p, at)
		}
	}
}

// A partition that is given up has its lanes ended as stopped; when it comes back it goes on behind what another has read.
func TestFramesOfPartitionsThatMove(t *testing.T) {
	const n = 2
	words, lanes := testRun(t, "demo", n, 4000, 6)
	o := newTestFrames(nil)
	o.begin(all(n, 0))
	half := len(lanes[1]) / 2
	o.give(t, 0, lanes[0][:4]...)
	o.give(t, 1, lanes[1][:half]...)
	o.idle()
	places := o.places()
	o.begin(map[int]place{0: places[0]})
	if l := lanesOf(t, slices.Concat(o.out.Bytes())); l[laneName("demo", 1, n)].end != "stopped" || l[laneName("demo", 0, n)].end != "cut" {
		t.Errorf("given up: %q, kept: %q", l[laneName("demo", 1, n)].end, l[laneName("demo", 0, n)].end)
	}
	o.give(t, 0, lanes[0][4:]...)
	// Another reads on.
	other := newTestFrames(places)
	other.begin(map[int]place{1: places[1]})
	other.give(t, 1, lanes[1][half:half+2]...)
	other.idle()
	back := map[int]place{0: o.places()[0], 1: other.places()[1]}
	o.next[1] = back[1].Offset
	o.begin(back)
	o.give(t, 1, lanes[1][half+2:]...)
	if err := o.end("enough"); err != nil {
		t.Fatal(err)
	}
	if l := lanesOf(t, o.out.Bytes())[laneName("demo", 0, n)]; !slices.Equal(l.words, wantLane(words, 0, n)) || l.end != "exhausted" {
		t.Errorf("the lane that stayed has %d words, %s", len(l.words), l.end)
	}
	if strings.Contains(o.errs.String(), "missing") {
		t.Errorf("said: %s", &o.errs)
	}
}

// In the middle nothing is missing.
func TestFramesFromTheMiddle(t *testing.T) {
	_, lanes := testRun(t, "demo", 1, 4000, 6)
	o := newTestFrames(nil)
	o.begin(map[int]place{0: {Offset: 7, middle: true}})
	o.give(t, 0, lanes[0][7:]...)
	if err := o.end("enough"); err != nil {
		t.Fatal(err)
	}
	if l := lanesOf(t, o.out.Bytes())[laneName("demo", 0, 1)]; l.missing > 0 || l.floor == 0 || l.end != "exhausted" {
		t.Errorf("missing %d, floor %d, %s", l.missing, l.floor, l.end)
	}
}
