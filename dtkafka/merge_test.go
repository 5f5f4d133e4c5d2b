package main

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"dt/internal/hit"
	"dt/internal/wire"
)

// live is a word output whose partitions are at their ends, and what comes when.
type live struct {
	t     *testing.T
	clock *testClock
	out   output
	buf   bytes.Buffer
	next  map[int]int64
}

func newLive(t *testing.T, partitions int) *live {
	env, _ := testEnv()
	l := &live{t: t, clock: newTestClock(), next: map[int]int64{}}
	l.out = newWordsOutput(env, wire.NewWriter(&l.buf), "t", contentCSV, l.clock.options("demo"))
	from := map[int]place{}
	for p := range partitions {
		from[p] = place{}
	}
	must(t, l.out.begin(from))
	return l
}

// comes has a partition answer with one hit at ms, whose orbit is given, or without one.
func (l *live) comes(p int, ms, orbit int64) {
	l.t.Helper()
	f := &fetched{partition: p, next: l.next[p]}
	if orbit > 0 {
		f.messages = []message{{offset: f.next, time: ms, value: textOf(contentCSV, hit.NewHit(0, 1, uint32(orbit), 0, 0))}}
		f.next++
	}
	f.high, l.next[p] = f.next, f.next
	must(l.t, l.out.take(f))
}

// is says which orbits have come out so far, and how long the output wants to wait.
func (l *live) is(wait time.Duration, orbits ...int64) {
	l.t.Helper()
	got, err := l.out.idle()
	must(l.t, err)
	var have []int64
	for _, w := range readLane(l.t, l.buf.Bytes()).list() {
		have = append(have, orbitOf(w))
	}
	if got = got.Round(ms); !slices.Equal(have, orbits) || got != wait {
		l.t.Errorf("orbits %v, waits %v; want %v, %v", have, got, orbits, wait)
	}
}

const ms = time.Millisecond

func TestMergeGrace(t *testing.T) {
	l := newLive(t, 3)
	for p := range 3 {
		l.comes(p, 0, 0)
	}
	l.is(1000 * ms)
	l.clock.wait(10 * ms)
	l.comes(1, 100, 50)
	l.is(990 * ms) // the others have not answered since
	l.clock.wait(5 * ms)
	l.comes(0, 0, 0)
	l.comes(2, 0, 0)
	l.is(20 * ms)
	l.clock.wait(10 * ms)
	l.comes(2, 99, 49) // it was on its way
	l.is(975 * ms)     // now partition 0 must answer once more
	l.comes(0, 0, 0)
	l.comes(1, 0, 0)
	l.is(25 * ms)
	l.clock.wait(24 * ms)
	l.is(1 * ms)
	l.clock.wait(1 * ms)
	l.is(950*ms, 49, 50) // which came first
	// What is later than that comes behind.
	l.comes(0, 98, 48)
	l.clock.wait(25 * ms)
	for p := 1; p < 3; p++ {
		l.comes(p, 0, 0)
	}
	l.is(925*ms, 49, 50, 48)
	// A message behind which all have one need not wait.
	l.comes(0, 101, 51)
	l.comes(1, 102, 52)
	l.comes(2, 103, 53)
	l.is(925*ms, 49, 50, 48, 51)
}

// One partition has nothing to wait for.
func TestMergeOnePartition(t *testing.T) {
	l := newLive(t, 1)
	l.comes(0, 5, 50)
	l.comes(0, 4, 51)
	l.is(1000*ms, 50, 51)
}

// While the leader of a partition is away nothing is merged past it, and it may have the oldest.
func TestMergeLeaderAway(t *testing.T) {
	l := newLive(t, 2)
	l.comes(0, 0, 0)
	for i := range int64(50) {
		l.comes(1, 100+i, 100+i)
		l.clock.wait(100 * ms)
	}
	l.comes(0, 99, 7)
	l.comes(0, 200, 200)
	want := []int64{7}
	for i := range int64(50) {
		want = append(want, 100+i)
	}
	l.is(1000*ms, want...)
}

// Of one ms, whose messages come in pieces, all are waited for that may be there.
func TestMergeTieInPieces(t *testing.T) {
	l := newLive(t, 2)
	l.comes(0, 100, 60)
	l.comes(1, 100, 50)
	l.is(25 * ms)
	l.clock.wait(10 * ms)
	l.comes(1, 100, 55)
	l.comes(0, 101, 70)
	l.is(15 * ms)
	l.comes(1, 102, 80)
	l.is(990*ms, 50, 55, 60, 70)
}

// Orbits of one ms: a restart of the counter, a jump, a corrupt one, a step back.
func TestMergeTieOrder(t *testing.T) {
	for name, c := range map[string]struct {
		before [][]int64 // orbits of an earlier ms, of each partition; negative: of FPGA 1
		tied   [][]int64 // of one ms
		want   string
	}{
		"restart, no hit before": {nil, [][]int64{{3387000001, 3387000003, 7}, {3387000002, 5, 6}}, "3387000001 3387000002 3387000003 5 6 7"},
		"restart":                {[][]int64{{3387000000}}, [][]int64{{2, 5}, {3387000002, 3, 6}, {3387000001, 4}}, "3387000001 3387000002 2 3 4 5 6"},
		"jump":                   {[][]int64{{341374}}, [][]int64{{2698963, 2698966}, {341375, 2698964}}, "341375 2698963 2698964 2698966"},
		"jump, after a tie":      {[][]int64{{341374}, {341370}}, [][]int64{{341375, 2698963}, {2698964}}, "341375 2698963 2698964"},
		"corrupt":                {[][]int64{{600000}}, [][]int64{{600001, 4000000000, 600004}, {600002, 600003, 5, 600005}}, "600001 4000000000 600002 600003 5 600004 600005"},
		"corrupt at the end":     {[][]int64{{600000}}, [][]int64{{600001, 4000000000}, {600002, 600003}}, "600001 600002 600003 4000000000"},
		"step back":              {[][]int64{{100}}, [][]int64{{105, 104}, {103, 106}}, "103 105 104 106"},
		"FPGAs apart":            {nil, [][]int64{{1003, -930}, {1001, -935}}, "1001 1003 -930 -935"},
		"all wait":               {nil, [][]int64{{10, -20}, {-21, 9}}, "10 -20 -21 9"},
		"equal":                  {nil, [][]int64{{5, 5, -1}, {-2, 5}}, "5 5 -1 -2 5"},
	} {
		log := make(testLog, len(c.tied))
		add := func(p int, ms, o int64) {
			f := 0
			if o < 0 {
				f, o = 1, -o
			}
			log.add(p, ms, textOf(contentCSV, hit.NewHit(f, 1, uint32(o), 0, 0)))
		}
		skip := 0
		for p, orbits := range c.before {
			skip += len(orbits)
			for _, o := range orbits {
				add(p, 1, o)
			}
		}
		for p, orbits := range c.tied {
			for _, o := range orbits {
				add(p, 2, o)
			}
		}
		env, _ := testEnv()
		var buf bytes.Buffer
		out := newWordsOutput(env, wire.NewWriter(&buf), "t", contentCSV, newTestClock().options("demo"))
		must(t, out.begin(start(log)))
		newFeeder(newRand(1), log, nil, 10).run(t, out, -1)
		var got []int64
		for _, w := range readLane(t, buf.Bytes()).list() {
			o := orbitOf(w)
			if hit.FPGA(w) == 1 {
				o = -o
			}
			got = append(got, o)
		}
		if have := fmt.Sprint(got[skip:]); have != "["+c.want+"]" {
			t.Errorf("%s: %s; want [%s]", name, have, c.want)
		}
	}
}

// Many messages of one time, or of none, are put in order some at a time, and held no longer.
func TestMergeOneTime(t *testing.T) {
	log := make(testLog, 3)
	r := newRand(9)
	n := 5 * tieMost
	for i := range n {
		log.add(r.IntN(3), -1, textOf(contentCSV, hit.NewHit(0, 1, uint32(100*i), 0, 0)))
	}
	env, _ := testEnv()
	var buf bytes.Buffer
	out := newWordsOutput(env, wire.NewWriter(&buf), "t", contentCSV, newTestClock().options("demo"))
	must(t, out.begin(start(log)))
	f := newFeeder(r, log, nil, 1000)
	for p := range log {
		for range 6 {
			must(t, out.take(f.piece(p)))
		}
		f.recycle()
	}
	f.run(t, out, -1)
	for i, w := range readLane(t, buf.Bytes()).list() {
		if orbitOf(w) != int64(100*i) {
			t.Fatalf("word %d has orbit %d", i, orbitOf(w))
		}
	}
	if f.given != f.back {
		t.Errorf("%d of %d pieces are held", f.given-f.back, f.given)
	}
}
