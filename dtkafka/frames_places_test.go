package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"dt/internal/wire"
)

// value is the message of a lane with what put writes.
func value(t testing.TB, lane wire.Lane, put func(w *wire.Writer)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := wire.NewWriter(&buf)
	w.Preamble()
	w.Lane(&wire.Frame{}, &lane)
	put(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func wordsValue(t testing.TB, lane wire.Lane, first uint64, n int, horizon uint64) []byte {
	t.Helper()
	return value(t, lane, func(w *wire.Writer) {
		w.Words(&wire.Frame{Kind: wire.KindWords, First: first, Next: first + uint64(n), Horizon: horizon, Words: make([]uint64, n)})
	})
}

func markValue(t testing.TB, lane wire.Lane, at, horizon uint64, epoch uint32) []byte {
	t.Helper()
	return value(t, lane, func(w *wire.Writer) {
		w.Mark(&wire.Frame{First: at, Next: at, Horizon: horizon, Epoch: epoch, Mark: wire.Mark{Number: at, Newest: horizon + 5, Partition: wire.NoPartition}})
	})
}

// framesOf returns the frames of a stream, one line each.
func framesOf(t testing.TB, stream []byte) string {
	t.Helper()
	var b strings.Builder
	src := wire.NewReader(bytes.NewReader(stream))
	for {
		f, err := src.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%d %d-%d h%d e%d\n", f.Kind, f.First, f.Next, f.Horizon, f.Epoch)
	}
}

// A quiet lane hears of the horizon by marks alone.
func TestFramesKeepTheHorizonOfMarks(t *testing.T) {
	lane := wire.Lane{Run: "demo", K: 1, N: 2}
	o := newTestFrames(nil)
	o.begin(all(1, 0))
	o.give(t, 0, wordsValue(t, lane, 0, 10, 100), markValue(t, lane, 10, 700, 1))
	o.idle()
	if text := framesOf(t, o.out.Bytes()); !strings.Contains(text, "5 10-10 h700 e1\n") {
		t.Errorf("the mark's horizon is not told:\n%s", text)
	}
	// Where records before the mark are missing, that is told before its horizon.
	o.give(t, 0, markValue(t, lane, 15, 900, 1), wordsValue(t, lane, 15, 5, 900))
	o.idle()
	text := framesOf(t, o.out.Bytes())
	if gap, mark := strings.Index(text, "2 15-15 h900 e1\n"), strings.Index(text, "5 15-15 h900 e1\n"); gap < 0 || mark < gap {
		t.Errorf("the gap is not told before the mark:\n%s", text)
	}
	if l := lanesOf(t, o.out.Bytes())[lane.ID().String()]; l.missing != 5 || o.missing != 5 || strings.Count(o.errs.String(), "missing") != 1 {
		t.Errorf("%d are missing, said is %d:\n%s", l.missing, o.missing, &o.errs)
	}
}

// A place in the middle says that it is one: who goes on there misses nothing of lanes that it does not name.
func TestFramesPlaceInTheMiddle(t *testing.T) {
	lane := wire.Lane{Run: "demo", K: 1, N: 1}
	first := newTestFrames(nil)
	first.begin(map[int]place{0: {Offset: 70, middle: true}}) // and nothing comes
	first.idle()
	from := first.places()
	o := newTestFrames(from)
	o.begin(from)
	o.give(t, 0, wordsValue(t, lane, 500, 10, 0))
	if err := o.end("enough"); err != nil || strings.Contains(o.errs.String(), "missing") {
		t.Errorf("%v; said: %s", err, &o.errs)
	}
	if l := lanesOf(t, o.out.Bytes())[lane.ID().String()]; l.missing > 0 || l.floor != 500 {
		t.Errorf("missing %d, floor %d", l.missing, l.floor)
	}
}

// A partition may have very many lanes at once. Its place is bounded all the same, and what it leaves out is not taken for missing.
func TestFramesPlaceOfManyLanes(t *testing.T) {
	for _, n := range []int{20, 500} {
		o := newTestFrames(nil)
		o.begin(all(1, 0))
		for k := range n {
			o.give(t, 0, wordsValue(t, wire.Lane{Run: "demo", K: uint32(k + 1), N: uint32(n)}, 0, 10, 0))
		}
		o.idle()
		from := o.places()
		if size := len(from[0].Meta); size > 4000 {
			t.Errorf("%d lanes: a place of %d bytes", n, size)
		}
		o = newTestFrames(from)
		o.begin(from)
		for k := range n {
			o.give(t, 0, wordsValue(t, wire.Lane{Run: "demo", K: uint32(k + 1), N: uint32(n)}, 10, 10, 0))
		}
		if err := o.end("enough"); err != nil {
			t.Errorf("%d lanes: %v; said: %s", n, err, &o.errs)
		}
		// One of the last is known.
		o = newTestFrames(from)
		o.begin(from)
		o.give(t, 0, wordsValue(t, wire.Lane{Run: "demo", K: uint32(n), N: uint32(n)}, 15, 10, 0))
		if o.missing != 5 {
			t.Errorf("%d lanes: %d records are missing, want 5", n, o.missing)
		}
	}
}

// Behind a stopped end a lane may go on at a floor: what is before it was another's. Without the end it is a gap.
func TestFramesTakenUpAtAFloor(t *testing.T) {
	lane := wire.Lane{Run: "demo", K: 1, N: 1}
	up := lane
	up.FloorNumber = 50
	end := value(t, lane, func(w *wire.Writer) {
		w.End(&wire.Frame{First: 10, Next: 10, End: wire.End{Stopped: true, Read: 10}})
	})
	for _, stopped := range []bool{true, false} {
		for _, again := range []bool{false, true} {
			o := newTestFrames(nil)
			o.begin(all(1, 0))
			o.give(t, 0, wordsValue(t, lane, 0, 10, 0))
			if stopped {
				o.give(t, 0, end)
			}
			if again { // from the place that was kept there
				o.idle()
				from := o.places()
				o = newTestFrames(from)
				o.begin(from)
			}
			o.give(t, 0, wordsValue(t, up, 50, 10, 0))
			o.idle()
			if told := o.missing > 0; told == stopped {
				t.Errorf("stopped: %v, from a place: %v: %d are missing", stopped, again, o.missing)
			}
		}
	}
	// In a topic of its own nothing is missing at all.
	o := newTestFrames(nil)
	o.begin(all(1, 0))
	o.give(t, 0, wordsValue(t, up, 50, 10, 0))
	if err := o.end("enough"); err != nil {
		t.Errorf("%v; said: %s", err, &o.errs)
	}
}

// A wordsSink counts the messages of --as.
type wordsSink struct{ n int }

func (*wordsSink) partitions() int { return 2 }

func (s *wordsSink) send(int, int64, []byte, uint64) error { s.n++; return nil }

// Words that come twice in a stream become messages once.
func TestProduceWordsOnce(t *testing.T) {
	_, lanes := testRun(t, "demo", 1, 1000, 4)
	stream := bytes.Join(append(lanes[0][:3:3], lanes[0]...), nil) // each message is a stream
	sink := &wordsSink{}
	p := &produce{tracks: map[wire.ID]*wire.Track{}, words: newWordSpreader(sink, "csv")}
	src := wire.NewReader(bytes.NewReader(stream))
	for {
		f, err := src.Next()
		if err != nil {
			break
		}
		if err := p.frame(f); err != nil {
			t.Fatal(err)
		}
	}
	if sink.n != 1000 || p.doubled == 0 {
		t.Errorf("%d messages, %d doubled", sink.n, p.doubled)
	}
}
