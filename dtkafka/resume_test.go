package main

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

// laneFrames returns the lane frames of a stream.
func laneFrames(t testing.TB, stream []byte) (lanes []wire.Lane) {
	t.Helper()
	src := wire.NewReader(bytes.NewReader(stream))
	for {
		f, err := src.Next()
		if errors.Is(err, io.EOF) {
			return lanes
		}
		must(t, err)
		if f.Kind == wire.KindLane {
			lanes = append(lanes, *f.Lane)
		}
	}
}

// A lane that begins says where, in a mark behind its lane frame; one that begins in the middle does not.
func TestFramesFirstMark(t *testing.T) {
	_, lanes := testRun(t, "demo", 1, 3000, 1)
	o := newTestFrames(nil)
	o.begin(all(1, 0))
	o.give(t, 0, lanes[0]...)
	must(t, o.end(""))
	if m := lanesOf(t, o.out.Bytes())[laneName("demo", 0, 1)].marks[0]; m.Number != 0 || m.Offset != 0 || m.Name != "t" || m.Partition != 0 || m.Newest != 0 {
		t.Errorf("the first mark says %+v", m)
	}
	if text := framesOf(t, o.out.Bytes()); !strings.Contains(text, "1 0-0 h0 e0\n5 0-0 h0 e0\n2 ") || strings.Count(text, "\n5 0-0 ") != 1 {
		t.Errorf("it does not stand behind the lane frame, once:\n%s", text)
	}
	from := map[int]place{0: {Offset: 5, Meta: `{"lanes":[{"run":"demo","k":1,"n":1,"next":400}]}`}}
	o = newTestFrames(from)
	o.begin(from)
	o.give(t, 0, lanes[0][5:]...)
	_, err := o.idle()
	must(t, err)
	if m := lanesOf(t, o.out.Bytes())[laneName("demo", 0, 1)].marks; len(m) > 0 && (m[0].Number != 400 || m[0].Offset != 5) {
		t.Errorf("from a place the first mark says %+v", m[0])
	}
	o = newTestFrames(nil)
	o.begin(map[int]place{0: {Offset: 0, middle: true}})
	o.give(t, 0, lanes[0][:3]...)
	_, err = o.idle()
	must(t, err)
	if m := lanesOf(t, o.out.Bytes())[laneName("demo", 0, 1)].marks; len(m) > 0 {
		t.Errorf("in the middle it says %+v", m)
	}
}

// Records behind the mark of a message are not before the mark that goes on, nor is a stopped end. An exhausted end has a mark behind it that is good when
// all is written.
func TestFramesMarkInAMessage(t *testing.T) {
	lane := wire.Lane{Run: "demo", K: 1, N: 1}
	words := func(w *wire.Writer, first, next uint64) {
		w.Words(&wire.Frame{Kind: wire.KindWords, First: first, Next: next, Words: make([]uint64, next-first)})
	}
	mark := func(w *wire.Writer, at uint64) {
		w.Mark(&wire.Frame{First: at, Next: at, Mark: wire.Mark{Number: at, Newest: 9, Partition: wire.NoPartition}})
	}
	end := func(w *wire.Writer, at uint64, stopped bool) {
		w.End(&wire.Frame{First: at, Next: at, End: wire.End{Stopped: stopped, Read: at}})
	}
	for _, c := range []struct {
		name           string
		put            func(w *wire.Writer)
		number, offset uint64
	}{
		{"last", func(w *wire.Writer) { words(w, 10, 15); mark(w, 15) }, 15, 2},
		{"before records", func(w *wire.Writer) { words(w, 10, 15); mark(w, 15); words(w, 15, 20) }, 10, 1},
		{"before what is empty", func(w *wire.Writer) { words(w, 10, 15); mark(w, 15); words(w, 15, 15) }, 15, 2},
		{"twice", func(w *wire.Writer) { words(w, 10, 15); mark(w, 15); words(w, 15, 20); mark(w, 20) }, 20, 2},
		{"before an end", func(w *wire.Writer) { words(w, 10, 15); mark(w, 15); end(w, 15, false) }, 15, 2},
		{"before a stop", func(w *wire.Writer) { words(w, 10, 15); mark(w, 15); end(w, 15, true) }, 10, 1},
	} {
		o := newTestFrames(nil)
		o.begin(all(1, 0))
		o.give(t, 0, wordsValue(t, lane, 0, 10, 0), value(t, lane, c.put))
		_, err := o.idle()
		must(t, err)
		marks := lanesOf(t, o.out.Bytes())[lane.ID().String()].marks
		if m := marks[1]; m.Number != c.number || m.Offset != c.offset || m.Newest != 9 {
			t.Errorf("%s: %+v", c.name, marks)
		}
		if last := marks[len(marks)-1]; len(marks) > 2 != (c.name == "before an end") || len(marks) > 2 && (last.Newest != math.MaxInt64 || last.Offset != 2 || last.Number != 15) {
			t.Errorf("%s: %+v", c.name, marks)
		}
	}
}

// From each place that a mark names a lane goes on with just the records behind it, under a floor that says what is written.
func TestFramesTakenUp(t *testing.T) {
	const n = 2
	words, lanes := testRun(t, "demo", n, 6000, 3)
	var log [][]byte // both lanes in one partition
	for i := range max(len(lanes[0]), len(lanes[1])) {
		for k := range n {
			if i < len(lanes[k]) {
				log = append(log, lanes[k][i])
			}
		}
	}
	o := newTestFrames(nil)
	o.begin(all(1, 0))
	o.give(t, 0, log...)
	must(t, o.end(""))
	read := lanesOf(t, o.out.Bytes())
	first, second := laneName("demo", 0, n), laneName("demo", 1, n)
	if len(read[first].marks) < 2 {
		t.Fatal("too few marks")
	}
	state := func(k int, m wire.Mark, next uint64) *hist.LaneState {
		return &hist.LaneState{Run: "demo", K: uint32(k + 1), N: n, Epoch: 0, Orbit: 617_000, Next: next,
			Place: &hist.Place{Name: "t", Offset: m.Offset, Number: m.Number, Partition: 0}}
	}
	taken := func(states ...*hist.LaneState) (*testFrames, map[int]place) {
		up := &resumed{lanes: map[wire.ID]*hist.LaneState{}, settings: "0123456789abcdef"}
		for _, s := range states {
			up.lanes[wire.ID{Run: s.Run, K: s.K, N: s.N}] = s
		}
		from := map[int]place{0: {Offset: up.start(0), resumed: up}}
		o := newTestFrames(from)
		must(t, o.begin(from))
		o.give(t, 0, log[from[0].Offset:]...)
		return o, from
	}
	marks := [n][]wire.Mark{}
	for k := range marks {
		m := read[laneName("demo", k, n)].marks
		marks[k] = m[:len(m)-1] // behind the end
	}
	for i, a := range marks[0] {
		b := marks[1][len(marks[1])-1-i%len(marks[1])]
		o, _ := taken(state(0, a, a.Number+7), state(1, b, b.Number+9))
		if err := o.end(""); err != nil || o.errs.Len() > 0 {
			t.Errorf("%d: %v; said %s", i, err, &o.errs)
		}
		got := lanesOf(t, o.out.Bytes())
		for k, m := range []wire.Mark{a, b} {
			want := wantLane(words, k, n)[m.Number:]
			l := got[laneName("demo", k, n)]
			if l == nil {
				if len(want) > 0 {
					t.Errorf("%d: lane %d is not there", i, k+1)
				}
				continue
			}
			if !slices.Equal(l.words, want) || l.missing+l.doubled > 0 || l.end != "exhausted" {
				t.Errorf("%d: lane %d has %d words, want %d; missing %d, doubled %d, %s", i, k+1, len(l.words), len(want), l.missing, l.doubled, l.end)
			}
		}
		anew := map[wire.ID]int{}
		for _, l := range laneFrames(t, o.out.Bytes()) {
			m := []wire.Mark{a, b}[l.K-1]
			if l.Anew {
				anew[l.ID()]++
				if l.Start != m.Number {
					t.Errorf("%d: lane %d stands at %d, not at %d", i, l.K, l.Start, m.Number)
				}
			}
			if l.FloorOrbit != 617_000 || l.FloorNumber != m.Number+[]uint64{7, 9}[l.K-1] || l.Settings != "0123456789abcdef" {
				t.Errorf("%d: a lane frame says %+v", i, l)
			}
		}
		for id, times := range anew {
			if times != 1 {
				t.Errorf("%d: %v begins anew %d times", i, id, times)
			}
		}
	}
	// One that is written is left out, and one that is not named begins.
	done := state(0, marks[0][0], uint64(len(wantLane(words, 0, n))))
	done.End = true
	o, from := taken(done)
	if err := o.end(""); err != nil || o.errs.Len() > 0 {
		t.Errorf("%v; said %s", err, &o.errs)
	}
	got := lanesOf(t, o.out.Bytes())
	if len(got[first].words) > 0 || got[first].end != "exhausted" || !slices.Equal(got[second].words, wantLane(words, 1, n)) || got[second].floor != 0 {
		t.Errorf("%v", got)
	}
	if l := laneFrames(t, o.out.Bytes()); !l[0].Resumed() || !l[0].Anew || l[1].Resumed() || !l[1].Anew || l[1].Settings == "" {
		t.Errorf("the lane frames are %+v", l)
	}
	if at := o.places()[0]; !strings.Contains(at.Meta, `"ended":1`) || from[0].Offset != 0 {
		t.Errorf("the place is %+v", at)
	}
	// What is behind the end is told.
	o.give(t, 0, wordsValue(t, wire.Lane{Run: "demo", K: 1, N: n}, done.Next, 5, 0))
	if err := o.end(""); !errors.Is(err, tool.ErrTold) || !strings.Contains(o.errs.String(), "goes on behind its end") {
		t.Errorf("%v; said %s", err, &o.errs)
	}
}

// Where messages are gone, what is missing is told; where the lane was given up and comes again, it begins anew.
func TestFramesTakenUpAgain(t *testing.T) {
	lane := wire.Lane{Run: "demo", K: 1, N: 1}
	up := &resumed{lanes: map[wire.ID]*hist.LaneState{lane.ID(): {Run: "demo", K: 1, N: 1, Orbit: 100, Next: 30, Place: &hist.Place{Name: "t", Offset: 5, Number: 20}}}}
	from := map[int]place{0: {Offset: 5, resumed: up}}
	for _, first := range []uint64{10, 20, 25, 40} {
		o := newTestFrames(from)
		must(t, o.begin(from))
		o.give(t, 0, wordsValue(t, lane, first, 50, 0))
		_, err := o.idle()
		must(t, err)
		if l := laneFrames(t, o.out.Bytes()); l[0].Start != 20 || l[0].FloorNumber != 30 || !l[0].Anew {
			t.Errorf("from %d: %+v", first, l)
		}
		l := lanesOf(t, o.out.Bytes())[lane.ID().String()]
		if o.missing != max(first, 20)-20 || l.missing != max(first, 30)-30 { // what is below the floor is in a ledger
			t.Errorf("from %d: %d are missing, and to a reader %d", first, o.missing, l.missing)
		}
		must(t, o.begin(nil))
		marks := lanesOf(t, o.out.Bytes())[lane.ID().String()].marks
		if m := marks[len(marks)-1]; m.Partition != wire.NoPartition || m.Number != first+50 { // so that it is named no more
			t.Errorf("given up: %+v", m)
		}
		o.next[0] = 5
		must(t, o.begin(from))
		o.give(t, 0, wordsValue(t, lane, 20, 50, 0))
		_, err = o.idle()
		must(t, err)
		if l := laneFrames(t, o.out.Bytes()); len(l) < 2 || !l[len(l)-1].Anew || l[len(l)-1].Start != 20 {
			t.Errorf("again: %+v", l)
		}
	}
	o := newTestFrames(from)
	must(t, o.begin(from))
	if at := o.places()[0]; at.Offset != 5 || at.Meta != `{"lanes":[{"run":"demo","k":1,"n":1,"next":20}]}` {
		t.Errorf("the place is %+v", at)
	}
}

func TestResumedStart(t *testing.T) {
	at := func(offset uint64, end bool) *hist.LaneState {
		return &hist.LaneState{End: end, Place: &hist.Place{Offset: offset}}
	}
	for _, c := range []struct {
		lanes []*hist.LaneState
		want  int64
	}{
		{[]*hist.LaneState{at(30, false), at(20, false), at(10, true)}, 20},
		{[]*hist.LaneState{at(30, true), at(40, true)}, 40},
		{[]*hist.LaneState{at(30, false), {}}, 7},
		{[]*hist.LaneState{{End: true}, at(9, true)}, 9},
	} {
		r := &resumed{lanes: map[wire.ID]*hist.LaneState{}}
		for i, l := range c.lanes {
			r.lanes[wire.ID{K: uint32(i)}] = l
		}
		if got := r.start(7); got != c.want {
			t.Errorf("%+v: %d, want %d", c.lanes, got, c.want)
		}
	}
}
