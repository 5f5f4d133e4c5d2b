package verdict

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"dt/internal/hist"
	"dt/internal/hit"
)

func driftAxis(t testing.TB, spec string) *hist.Axis {
	t.Helper()
	a, err := hist.ParseHist4(spec)
	if err != nil {
		t.Fatal(err)
	}
	return &a
}

// A toyBox is a box to draw drift times from, ns.
type toyBox struct {
	from, to, smear, back float64 // back: share of flat background
	ramp, peak            float64 // length of a rise like run591's at the start, and weight of a peak before the end
}

func (b toyBox) draw(r *rand.Rand) float64 {
	if r.Float64() < b.back {
		return 1000 * r.Float64()
	}
	for {
		x := b.from + (b.to-b.from)*r.Float64()
		if r.Float64() < b.peak {
			x = b.to - 25*r.Float64()
		} else if b.ramp > 0 {
			x = b.from - b.ramp/2 + (b.to-b.from+b.ramp/2)*r.Float64()
			if r.Float64() > (x-b.from+b.ramp/2)/b.ramp {
				continue
			}
		}
		return x + b.smear*r.NormFloat64()
	}
}

func (b toyBox) fill(a *hist.Axis, n int, r *rand.Rand) *hist.Hist {
	h := &hist.Hist{Counts: make([]int64, int((a.Limit-a.Lo+a.Width-1)/a.Width))}
	for k := 0; k < n; {
		v := int64(math.Floor(b.draw(r) * hit.DriftPerNS))
		switch {
		case v < a.Lo:
			h.Underflow++
		case v >= a.Limit:
			h.Overflow++
		default:
			h.Counts[(v-a.Lo)/a.Width]++
			k++
		}
	}
	return h
}

// An ensemble is many toys of one kind.
type ensemble struct {
	from, to, width, pulls, errors float64 // means; pulls: their standard deviation about 0, of the width
	pullFrom, pullTo               float64
}

func toys(t *testing.T, spec string, b toyBox, n, times int, seed uint64) (e ensemble) {
	t.Helper()
	a := driftAxis(t, spec)
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	for range times {
		b := b
		if b.from > 0 {
			b.from += 10 * r.Float64() // anywhere in a bin
		}
		b.to += 10 * r.Float64()
		f := FitBox(a, b.fill(a, n, r))
		if !f.OK || f.Entries != int64(n) {
			t.Fatalf("%+v, %d entries: %+v", b, n, f)
		}
		from, to := f.From-b.from, f.To-b.to
		e.from += from
		e.to += to
		e.width += to - from
		e.errors += f.Error
		e.pulls += math.Pow((to-from)/f.Error, 2)
		e.pullFrom += math.Pow(from/f.FromError, 2)
		e.pullTo += math.Pow(to/f.ToError, 2)
	}
	k := float64(times)
	e.from, e.to, e.width, e.errors = e.from/k, e.to/k, e.width/k, e.errors/k
	e.pulls, e.pullFrom, e.pullTo = math.Sqrt(e.pulls/k), math.Sqrt(e.pullFrom/k), math.Sqrt(e.pullTo/k)
	return e
}

// The boxes cover what chambers show: 300 … 450 ns, sharp to soft, without background and with a fifth, and the shape of
// run591: a rise over 50 ns, a peak before the end.
func TestFitBoxFindsTheBox(t *testing.T) {
	t.Parallel()
	for i, b := range []toyBox{
		{from: 0, to: 390, smear: 3},
		{from: 23, to: 403, smear: 3},
		{from: 20, to: 320, smear: 3, back: 0.2},
		{from: 31, to: 481, smear: 8, back: 0.1},
		{from: 50, to: 440, back: 0.05},
	} {
		for _, n := range []int{200, 1000, 5000, 30000} {
			e := toys(t, "0:1000:10", b, n, 100, uint64(i))
			bias := 2.
			if n < 1000 {
				bias = 0.75 * e.errors
			}
			if math.Abs(e.from) > bias || math.Abs(e.to) > bias || math.Abs(e.width) > 1.25*bias {
				t.Errorf("%+v, %d entries: off by %.2f and %.2f, width %.2f ns", b, n, e.from, e.to, e.width)
			}
			if e.pulls < 0.7 || e.pulls > 1.5 {
				t.Errorf("%+v, %d entries: pulls of the width %.2f", b, n, e.pulls)
			}
			if e.pullFrom < 0.6 || e.pullFrom > 1.7 || e.pullTo < 0.6 || e.pullTo > 1.7 {
				t.Errorf("%+v, %d entries: pulls of the edges %.2f and %.2f", b, n, e.pullFrom, e.pullTo)
			}
		}
		if e := toys(t, "0:1000:10", b, 1_000_000, 2, uint64(i)); math.Abs(e.from) > 0.5 || math.Abs(e.to) > 0.5 {
			t.Errorf("%+v, a million entries: off by %.2f and %.2f ns", b, e.from, e.to)
		}
	}
}

func TestFitBoxOfRealShapes(t *testing.T) {
	b := toyBox{from: 27, to: 368, smear: 4, back: 0.1, ramp: 50, peak: 0.08}
	for _, n := range []int{1000, 5000, 30000} {
		e := toys(t, "0:1000:10", b, n, 100, 9)
		if math.Abs(e.from) > 4 || math.Abs(e.to) > 4 || math.Abs(e.width) > 5 {
			t.Errorf("%d entries: off by %.2f and %.2f, width %.2f ns", n, e.from, e.to, e.width)
		}
	}
	// Chambers of run591 (windows 2 to 7) and of the simulation: bins of 10 ns, read by eye.
	for _, c := range []struct {
		counts           []int64
		from, to, within float64
	}{
		{[]int64{5, 7, 12, 16, 28, 35, 41, 39, 33, 34, 34, 37, 32, 27, 37, 35, 19, 30, 33, 36, 28, 34, 33, 28, 28, 27, 24, 27, 28, 29, 32, 40, 40, 32, 77, 80, 33, 9, 14, 4, 12, 6, 1, 4, 3, 5, 2, 5, 2, 0, 1, 2}, 28, 368, 8},
		{[]int64{278, 301, 273, 327, 248, 304, 325, 299, 315, 325, 307, 302, 306, 270, 310, 292, 321, 279, 281, 297, 284, 299, 308, 283, 320, 278, 320, 290, 325, 314, 348, 310, 342, 307, 321, 302, 317, 294, 236, 34, 10, 4, 6, 11, 6, 7, 5, 11, 11}, 1, 388, 3},
	} {
		h := &hist.Hist{Counts: append(c.counts, make([]int64, 100-len(c.counts))...)}
		f := FitBox(driftAxis(t, "0:1000:10"), h)
		if !f.OK || math.Abs(f.From-c.from) > c.within || math.Abs(f.To-c.to) > c.within {
			t.Errorf("%+v, want %g … %g", f, c.from, c.to)
		}
	}
}

func TestFitBoxOnOtherAxes(t *testing.T) {
	for _, spec := range []string{"0:1000:1", "0:600:4", "-100:900:20", "0:1000:25"} {
		e := toys(t, spec, toyBox{from: 40, to: 430, smear: 3, back: 0.1}, 5000, 60, 3)
		if math.Abs(e.from) > 3 || math.Abs(e.to) > 3 || e.errors > 6 {
			t.Errorf("%s: off by %.2f and %.2f ns, errors of %.2f", spec, e.from, e.to, e.errors)
		}
	}
}

func TestFitBoxSaysWhyNot(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	flat := toyBox{back: 1}
	wide := toyBox{from: 100, to: 800, smear: 150}
	box := toyBox{from: 20, to: 410, smear: 3}
	early := toyBox{from: -80, to: 310, smear: 3}
	for _, c := range []struct {
		b    toyBox
		spec string
		n    int
		why  string
	}{
		{box, "0:1000:10", 37, "only 37 entries, 200 needed"},
		{box, "0:1000:10", 0, "only 0 entries, 200 needed"},
		{flat, "0:1000:10", 300, "no box stands out of the background"},
		{flat, "0:1000:10", 30000, "no box stands out of the background"},
		{box, "0:360:10", 3000, "the box does not end within the axis"},
		{wide, "0:1000:10", 3000, "no box: it"},
		{early, "0:1000:10", 3000, "the box begins below the axis"},
		{box, "0:1000:1000", 3000, "no box stands out of the background"},
	} {
		a := driftAxis(t, c.spec)
		f := FitBox(a, c.b.fill(a, c.n, r))
		if f.OK || !strings.HasPrefix(f.Why, c.why) {
			t.Errorf("%+v on %s, %d entries: %+v, want %q", c.b, c.spec, c.n, f, c.why)
		}
	}
	if f := FitBox(driftAxis(t, "0:10:10"), &hist.Hist{}); f.OK || f.Why == "" {
		t.Errorf("without bins: %+v", f)
	}
}

// Whatever is in the bins, a fit ends, and what it says is finite.
func TestFitBoxOfAnything(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(6, 6))
	for range 3000 {
		h := &hist.Hist{Counts: make([]int64, 1+r.IntN(130)), Underflow: r.Int64N(1000)}
		for k := r.IntN(6); k > 0; k-- {
			i, j := r.IntN(len(h.Counts)), r.IntN(len(h.Counts))
			for n := int64(1) << r.IntN(40); i <= j; i++ {
				h.Counts[i] += r.Int64N(n)
			}
		}
		f := FitBox(&hist.Axis{Width: 300}, h)
		for _, v := range []float64{f.From, f.To, f.Width, f.Error, f.FromError, f.ToError, f.Height, f.Background} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Fatalf("%v: %+v", h.Counts, f)
			}
		}
		if f.OK != (f.Why == "") || f.OK && !(f.To > f.From && f.Error > 0) {
			t.Fatalf("%v: %+v", h.Counts, f)
		}
	}
}

func BenchmarkFit(b *testing.B) {
	a := driftAxis(b, "0:1000:10")
	r := rand.New(rand.NewPCG(1, 2))
	h := toyBox{from: 20, to: 400, smear: 3, back: .1}.fill(a, 1000, r)
	for b.Loop() {
		FitBox(a, h)
	}
}
