package hist

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"dt/internal/hit"
)

// laneOf returns a Lane with detector windows of 1000 orbits and the default map, and the windows it emits.
func laneOf(t testing.TB) (*Lane, *[]Window) {
	t.Helper()
	set := NewSettings(nil)
	set.Length = 1000
	l := NewLane(set, "run")
	var out []Window
	l.Emit = func(w Window) error {
		out = append(out, w)
		return nil
	}
	return l, &out
}

// feed gives words in time, with their chambers, to a lane.
func feed(l *Lane, epoch uint32, words ...uint64) {
	chambers := make([]uint8, len(words))
	l.set.Map.Assign(chambers, words)
	l.Words(epoch, words, chambers)
}

// names says which windows came out, with a ! behind those that are incomplete.
func names(out []Window) string {
	s := ""
	for _, w := range out {
		s += fmt.Sprintf("%d/%d:%d", w.Epoch, w.Number, w.Counts.Total())
		if !w.Complete {
			s += "!"
		}
		s += " "
	}
	return s
}

func at(orbit uint32) uint64 { return hit.NewHit(0, 1, orbit, 0, 1) }

func TestOneOrbitForEver(t *testing.T) {
	l, out := laneOf(t)
	words := make([]uint64, 65536)
	for i := range words {
		words[i] = at(7)
	}
	chambers := make([]uint8, len(words))
	l.set.Map.Assign(chambers, words)
	fed := int64(0)
	for fed < 3*MaxPending {
		l.Words(0, words, chambers)
		fed += int64(len(words))
		if l.pending > MaxPending {
			t.Fatalf("%d hits are pending; the bound is %d", l.pending, MaxPending)
		}
	}
	if err := l.Finish(); err != nil {
		t.Fatal(err)
	}
	if len(*out) != 1 || (*out)[0].Complete || (*out)[0].Counts.Total() != fed {
		t.Fatalf("windows %s; wanted one with %d hits, incomplete", names(*out), fed)
	}
	g := (*out)[0].Counts.Ledger
	if g.Early == 0 || g.Late == 0 || g.Early+g.Late+g.Hits != fed || g.Read != fed || g.Pending != 0 {
		t.Errorf("ledger %+v", g)
	}
}

// A horizon that stays behind, and jumps of the orbit counter by billions, take neither memory nor time beyond the bound.
func TestBoundedState(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l, out := laneOf(t)
	l.set.SetWindow(Detector, 3600_000_000_000)
	fed := int64(0)
	for i := uint32(0); fed < 2*MaxPending; i++ {
		words := make([]uint64, 4096)
		for k := range words {
			words[k] = at(3_387_000_000 + i*40 + uint32(k)/128)
		}
		feed(l, 0, words...)
		fed += int64(len(words))
		if err := l.Horizon(0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	feed(l, 1, at(617_000))
	feed(l, 2, at(4_294_967_295))
	if err := l.Finish(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	total := int64(0)
	for _, w := range *out {
		total += w.Counts.Total()
	}
	if total != fed+2 || len(*out) > 6 {
		t.Errorf("%d hits in %d windows; %d went in", total, len(*out), fed+2)
	}
	if grown := int64(after.Sys-before.Sys) >> 20; grown > 128 {
		t.Errorf("memory grew by %d MiB", grown)
	}
}

func TestEarlyCloseIsIncomplete(t *testing.T) {
	l, out := laneOf(t)
	feed(l, 0, at(100))
	feed(l, 0, at(1500))
	// As wait does when there is too much: the oldest orbits close, the second of them in another window.
	l.close(l.epochs[0], 101, true)
	l.close(l.epochs[0], 1501, true)
	l.epochs[0].below = 1501
	feed(l, 0, at(200), at(1600)) // 200 comes for a window that is out
	if err := l.Finish(); err != nil {
		t.Fatal(err)
	}
	if got, want := names(*out), "0/0:1! 0/1:3! "; got != want {
		t.Errorf("windows %s; want %s", got, want)
	}
}

// Windows come in the order of their epochs, although the newer epoch's horizon is further on.
func TestEpochsInOrder(t *testing.T) {
	l, out := laneOf(t)
	feed(l, 0, at(5000))
	feed(l, 1, at(100), at(2100))
	if err := l.Horizon(1, 2000, 0); err != nil {
		t.Fatal(err)
	}
	if len(*out) != 0 {
		t.Fatalf("windows %s before epoch 0 is closed", names(*out))
	}
	feed(l, 0, at(5001)) // a straggler
	if err := l.Horizon(1, 2000, 1); err != nil {
		t.Fatal(err)
	}
	if got, want := names(*out), "0/5:2 1/0:1 "; got != want {
		t.Errorf("windows %s; want %s", got, want)
	}
	if epoch, number := l.Passed(); epoch != 1 || number != 2 {
		t.Errorf("passed %d/%d; want 1/2", epoch, number)
	}
}

func TestWhatComesBehindASilenceIsLate(t *testing.T) {
	l, _ := laneOf(t)
	l.set.SetWindow(Wall, 5_000_000_000)
	feed(l, 0, at(100))
	feed(l, 1, at(50), at(60))
	if err := l.Silent(); err != nil {
		t.Fatal(err)
	}
	feed(l, 0, at(100), at(90_000)) // of an epoch that the silence has closed
	feed(l, 1, at(55), at(70))
	if err := l.Finish(); err != nil {
		t.Fatal(err)
	}
	c := l.Take()
	if c.Total() != 7 || c.Ledger.Late != 3 || c.Ledger.Hits != 4 || len(c.Spans) != 2 || c.Spans[1].Last != 70 {
		t.Errorf("total %d, ledger %+v, spans %+v", c.Total(), c.Ledger, c.Spans)
	}
}

func TestGapMakesIncomplete(t *testing.T) {
	l, out := laneOf(t)
	feed(l, 0, at(100))
	feed(l, 0, at(1100))
	if err := l.Horizon(0, 1000, 0); err != nil { // window 0 is out before the gap
		t.Fatal(err)
	}
	l.Gap()
	feed(l, 0, at(2100))
	l.GapOver(0, 2500)
	feed(l, 0, at(3100))
	if err := l.Finish(); err != nil {
		t.Fatal(err)
	}
	if got, want := names(*out), "0/0:1 0/1:1! 0/2:1! 0/3:1 "; got != want {
		t.Errorf("windows %s; want %s", got, want)
	}
}

func TestMerger(t *testing.T) {
	set := NewSettings(nil)
	window := func(number int64) Window {
		return Window{Number: number, Complete: true, Counts: NewCounts(set)}
	}
	var out []Window
	m := NewMerger(2)
	m.Emit = func(w Window) error {
		out = append(out, w)
		return nil
	}
	step := func(err error, want string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got := names(out); got != want {
			t.Fatalf("windows %s; want %s", got, want)
		}
	}
	step(m.Add(1, window(3), nil), "")
	step(m.Pass(1, 0, 4, true), "")
	step(m.Add(2, window(1), nil), "") // lane 2, which is behind
	step(m.Pass(2, 0, 2, true), "0/1:0 ")
	step(m.Pass(2, 0, 5, false), "0/1:0 0/3:0! ") // lane 2 may lack hits of windows 2 to 4
	step(m.Add(1, window(7), nil), "0/1:0 0/3:0! ")
	step(m.End(1, true), "0/1:0 0/3:0! ")
	_, err := m.Flush() // lane 2 never came to 7
	step(err, "0/1:0 0/3:0! 0/7:0! ")
	if m.Complete() {
		t.Error("complete, though lane 2 has not ended")
	}
}

// What a lane does with hits like the simulated ones: two FPGAs, apart by some orbits, half of the orbits with one hit.
func BenchmarkLane(b *testing.B) {
	set := NewSettings(nil)
	rng := rand.New(rand.NewPCG(1, 2))
	const n = 8192
	words, chambers := make([]uint64, n), make([]uint8, n)
	orbit := [2]uint32{1000, 1600}
	b.SetBytes(8 * n)
	b.ReportAllocs()
	l := NewLane(set, "run")
	set.SetWindow(All, 0)
	for b.Loop() {
		b.StopTimer()
		for i := range words {
			f := i / 4 % 2
			if rng.IntN(3) > 0 {
				orbit[f] += uint32(rng.IntN(12))
			}
			words[i] = hit.NewHit(f, rng.IntN(128), orbit[f], rng.IntN(3564), 1+rng.IntN(30))
		}
		set.Map.Assign(chambers, words)
		b.StartTimer()
		l.Words(0, words, chambers)
		if err := l.Horizon(0, uint64(min(orbit[0], orbit[1])-16), 0); err != nil {
			b.Fatal(err)
		}
	}
}
