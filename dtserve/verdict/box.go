package verdict

import (
	"fmt"
	"math"

	"dt/internal/hist"
	"dt/internal/hit"
)

// A Box is a drift-time box: where the drift times begin and end. Times are ns.
type Box struct {
	OK                 bool
	From, To, Width    float64
	Error              float64 // of Width, one standard deviation
	FromError, ToError float64
	Height, Background float64 // counts in a bin: of the box above the background, and of the background
	Entries            int64   // on the axis
	Why                string  // when not OK
}

// Bounds of a fit.
const (
	leastEntries = 200 // of a box
	fitBins      = 200 // more than these are merged for the fit
	scanBins     = 50  // of the search for the start of the fit
	scanGain     = 15  // least gain in ln L of a box over a flat histogram
	boxParams    = 10
	topLength    = 22  // ns: how far the top may bend beside an edge
	tailLength   = 110 // ns: how fast the hits behind the box die away
	maxSmear     = 45  // ns: an edge that is softer is none
	maxFits      = 40  // steps
	shortSample  = 150 // entries: the likelihood of so few is no parabola, and toys scatter more than it tells
)

// Parameters of the fit, and how far they are expected from their start: those of the top and of the edges' softness are
// known beforehand to be small, which keeps a fit of 200 entries stable and says nothing to one of 10 000.
const (
	pBack  = iota // ln of the background
	pHigh         // ln of the height
	pTilt         // slope of the ln of the top, half a box long
	pLeft         // bend of the ln of the top at the rising edge
	pRight        // and at the falling edge
	pFrom         // ns
	pTo           // ns
	pSoft1        // ln of the smear, ns, of the rising edge
	pSoft2        // and of the falling edge
	pTail         // hits behind the box (after-pulses), as a share of the height
)

var (
	boxStart = [boxParams]float64{pSoft1: math.Log(3), pSoft2: math.Log(3)}
	boxPrior = [boxParams]float64{pTilt: 0.2, pLeft: 0.2, pRight: 0.2, pFrom: 40, pTo: 40, pSoft1: 1, pSoft2: 1, pTail: 0.1}
)

// FitBox fits the drift-time box of a histogram of drift times, such as Hist_4, on any axis in 1/30 ns.
//
// It maximises the binned Poisson likelihood of
//
//	background + height · top(t) · [Φ((t − From)/s₁) − Φ((t − To)/s₂)]
//
// whose top may tilt and bend up or down beside each edge (as boxes of real chambers do), and whose edges have a
// softness of their own, so that From and To are where each edge is at half of the height that the box has there. The
// start is the best of all sharp boxes. Errors are those of the likelihood, times √(χ²/ndf) where that is above 1. An
// edge below the axis cannot be seen; a box that begins where the axis does is told with From near the axis' start.
func FitBox(a *hist.Axis, h *hist.Hist) Box {
	b := Box{}
	for _, n := range h.Counts {
		b.Entries += n
	}
	if b.Entries < leastEntries {
		b.Why = fmt.Sprintf("only %d entries, %d needed", b.Entries, leastEntries)
		return b
	}
	f := newBoxFit(a, h)
	if why := f.start(); why != "" {
		b.Why = why
		return b
	}
	f.run()
	f.result(&b)
	b.Height /= float64(f.merged)
	b.Background /= float64(f.merged)
	if b.Why == "" && math.Abs(b.From-f.lo) < 3*b.FromError+1 {
		// The counts below the axis tell whether the box goes on there: more than three bins of it is more than smear.
		if under := float64(h.Underflow); under > 3*(b.Height+b.Background)+5*math.Sqrt(under) {
			b.Why = fmt.Sprintf("the box begins below the axis: %d hits are earlier than %g ns", h.Underflow, f.lo)
		}
	}
	b.OK = b.Why == ""
	return b
}

// A boxFit is one fit under way.
type boxFit struct {
	n      []float64 // counts
	lo, w  float64   // start of the axis and width of a bin, ns
	merged int       // bins of the histogram in one of n
	p      [boxParams]float64
	ref    [boxParams]float64 // p before, and how far from it
	sd     [boxParams]float64

	// of the present p
	mu    []float64
	dmu   [][boxParams]float64
	tilt  float64 // middle of the box
	scale float64 // half its length
	bend  float64 // topLength, or more with wide bins
}

func newBoxFit(a *hist.Axis, h *hist.Hist) *boxFit {
	merged := (len(h.Counts) + fitBins - 1) / fitBins
	f := &boxFit{lo: float64(a.Lo) / hit.DriftPerNS, w: float64(a.Width) / hit.DriftPerNS * float64(merged), merged: merged}
	f.n = merge(h.Counts, merged)
	f.bend = max(topLength, 1.5*f.w)
	return f
}

// merge adds up bins, by by. What is left over at the end is dropped, as it is no whole bin.
func merge(counts []int64, by int) []float64 {
	n := make([]float64, len(counts)/by)
	for i := range n {
		for _, c := range counts[i*by : (i+1)*by] {
			n[i] += float64(c)
		}
	}
	return n
}

// start finds the sharp box of the greatest likelihood.
func (f *boxFit) start() string {
	by := (len(f.n) + scanBins - 1) / scanBins
	bins := len(f.n) / by
	sum := make([]float64, bins+1)
	for i := range bins {
		sum[i+1] = sum[i]
		for _, c := range f.n[i*by : (i+1)*by] {
			sum[i+1] += c
		}
	}
	all := sum[bins]
	flat := all * math.Log(all/float64(bins))
	best, from, to := math.Inf(-1), 0, 0
	for i := range bins {
		for j := i + 1; j <= bins; j++ {
			in, wide := sum[j]-sum[i], float64(j-i)
			if in <= all*wide/float64(bins) || j-i == bins {
				continue
			}
			l := in * math.Log(in/wide)
			if out := all - in; out > 0 {
				l += out * math.Log(out/(float64(bins)-wide))
			}
			if l > best {
				best, from, to = l, i, j
			}
		}
	}
	if !(best > flat+scanGain) {
		return "no box stands out of the background"
	}
	if to == bins {
		return "the box does not end within the axis"
	}
	wide := f.w * float64(by)
	in := sum[to] - sum[from]
	f.p = boxStart
	f.p[pFrom], f.p[pTo] = f.lo+wide*float64(from), f.lo+wide*float64(to)
	f.p[pBack] = math.Log((all - in + 0.5) / (float64(bins-to+from) * float64(by)))
	f.p[pHigh] = math.Log(max(in/float64((to-from)*by)-math.Exp(f.p[pBack]), 0.5))
	f.ref, f.sd = f.p, boxPrior
	if from == 0 {
		f.sd[pSoft1] = 0.3 // half of the edge is below the axis: nothing else tells softness and place apart
	}
	f.frame()
	return ""
}

// frame fixes what the top is measured by, so that it is no part of the derivatives.
func (f *boxFit) frame() {
	f.tilt, f.scale = (f.p[pFrom]+f.p[pTo])/2, max((f.p[pTo]-f.p[pFrom])/2, f.w)
}

// run takes Fisher's scoring steps, shortened until the likelihood grows, until they are far below the errors.
func (f *boxFit) run() {
	f.mu = make([]float64, len(f.n))
	f.dmu = make([][boxParams]float64, len(f.n))
	l := f.eval()
	damp := 1e-3
	for step := range maxFits {
		if step == 3 || step == 6 {
			f.frame()
			l = f.eval()
		}
		grad, fisher := f.score()
		for i := range fisher {
			fisher[i][i] *= 1 + damp
		}
		inv, ok := invert(&fisher)
		if !ok {
			damp = max(10*damp, 1e-3)
			continue
		}
		move, far := [boxParams]float64{}, 0.
		for i := range move {
			for k := range grad {
				move[i] += inv[i][k] * grad[k]
			}
		}
		for i := range move {
			most := 1. // of a logarithm
			if i == pFrom || i == pTo {
				most = 2 * f.w
			}
			move[i] = min(max(move[i], -most), most)
			far = max(far, move[i]*move[i]/inv[i][i])
		}
		old := f.p
		for i := range move {
			f.p[i] += move[i]
		}
		f.bound()
		if next := f.eval(); next >= l-1e-9 {
			l, damp = next, damp/10
			if far < 1e-4 && step > 6 {
				return
			}
		} else {
			f.p = old
			f.eval()
			damp = max(10*damp, 1e-3)
			if damp > 1e6 {
				return
			}
		}
	}
}

// bound keeps parameters where they have a meaning.
func (f *boxFit) bound() {
	end := f.lo + f.w*float64(len(f.n))
	f.p[pFrom] = min(max(f.p[pFrom], f.lo), end)
	f.p[pTo] = min(max(f.p[pTo], f.p[pFrom]+f.w), end)
	for _, i := range []int{pSoft1, pSoft2} {
		f.p[i] = min(max(f.p[i], 0), math.Log(200))
	}
	f.p[pTilt] = min(max(f.p[pTilt], -1), 1)
	for _, i := range []int{pLeft, pRight, pTail} {
		f.p[i] = min(max(f.p[i], 0), 2)
	}
}

// eval works out the expected counts and their derivatives, and returns the ln of the likelihood with what is known beforehand.
func (f *boxFit) eval() float64 {
	back, high := math.Exp(f.p[pBack]), math.Exp(f.p[pHigh])
	l := 0.5 * f.p[pBack] // Jeffreys' prior: a background of 0 counts is not exactly 0
	for i, sd := range f.sd {
		if sd > 0 {
			d := (f.p[i] - f.ref[i]) / sd
			l -= d * d / 2
		}
	}
	rise, fall := newEdge(f.p[pFrom], f.p[pSoft1], f.lo), newEdge(f.p[pTo], f.p[pSoft2], f.lo)
	for i, n := range f.n {
		x := f.lo + f.w*float64(i+1)
		r, rx, rs := rise.next(x)
		d, dx, ds := fall.next(x)
		mid := x - f.w/2
		u := min(max((mid-f.tilt)/f.scale, -1.5), 1.5)
		e1, e2 := f.bendAt(mid-f.tilt+f.scale), f.bendAt(f.tilt+f.scale-mid)
		top := high / f.w * math.Exp(f.p[pTilt]*u+f.p[pLeft]*e1+f.p[pRight]*e2)
		t := top * max(r-d, 0)
		tail := 0.
		if d > 0 {
			tail = high * d / f.w * math.Exp(-max(0, mid-f.tilt-f.scale)/tailLength)
		}
		mu := back + t + tail*f.p[pTail]
		f.mu[i] = mu
		l -= mu
		if n > 0 {
			l += n * math.Log(mu)
		}
		f.dmu[i] = [boxParams]float64{back, t + tail*f.p[pTail], u * t, e1 * t, e2 * t, top * rx, -top * dx, top * rs, -top * ds, tail}
	}
	return l
}

// bendAt returns the shape of a bend, far from the edge inwards.
func (f *boxFit) bendAt(far float64) float64 {
	z := max(0, far) / f.bend
	return math.Exp(-z * z * z * z)
}

// An edge is a smeared step that is integrated bin by bin.
type edge struct {
	at, smear   float64
	g, cdf, pdf float64 // at the end of the last bin
}

func newEdge(at, soft, lo float64) edge {
	e := edge{at: at, smear: math.Exp(soft)}
	e.next(lo)
	return e
}

// next returns the integral of the step from the last bin's end to x, and its derivatives by the place and the ln of the smear.
func (e *edge) next(x float64) (area, place, soft float64) {
	z := (x - e.at) / e.smear
	cdf, pdf := 0., 0.
	switch {
	case z > 8:
		cdf = 1
	case z > -8:
		cdf, pdf = 0.5*math.Erfc(-z/math.Sqrt2), math.Exp(-z*z/2)/math.Sqrt(2*math.Pi)
	}
	g := e.smear * (z*cdf + pdf)
	area, place, soft = g-e.g, -(cdf - e.cdf), e.smear*(pdf-e.pdf)
	e.g, e.cdf, e.pdf = g, cdf, pdf
	return area, place, soft
}

// score returns the gradient of the ln of the likelihood and Fisher's information.
func (f *boxFit) score() (grad [boxParams]float64, fisher [boxParams][boxParams]float64) {
	for i, n := range f.n {
		d, mu := &f.dmu[i], f.mu[i]
		for j := range boxParams {
			if d[j] == 0 {
				continue
			}
			grad[j] += d[j] * (n/mu - 1)
			v := d[j] / mu
			for k := range j + 1 {
				fisher[j][k] += v * d[k]
			}
		}
	}
	grad[pBack] += 0.5
	fisher[pBack][pBack] += 0.5
	for _, i := range []int{pLeft, pRight, pTail} {
		if f.p[i] <= 0 && grad[i] < 0 { // at its bound
			grad[i], fisher[i] = 0, [boxParams]float64{}
			for j := range fisher {
				fisher[j][i] = 0
			}
		}
	}
	for i, sd := range f.sd {
		if sd > 0 {
			grad[i] -= (f.p[i] - f.ref[i]) / (sd * sd)
			fisher[i][i] += 1 / (sd * sd)
		}
	}
	for j := range boxParams {
		for k := range j {
			fisher[k][j] = fisher[j][k]
		}
	}
	return grad, fisher
}

// invert inverts a positive definite matrix by its Cholesky factors.
func invert(m *[boxParams][boxParams]float64) (inv [boxParams][boxParams]float64, ok bool) {
	var l, li [boxParams][boxParams]float64 // m = l·lᵀ, li = l⁻¹
	for i := range boxParams {
		for j := range i + 1 {
			s := m[i][j]
			for k := range j {
				s -= l[i][k] * l[j][k]
			}
			if i != j {
				l[i][j] = s / l[j][j]
				continue
			}
			if !(s > 0) {
				return inv, false
			}
			l[i][i] = math.Sqrt(s)
		}
	}
	for i := range boxParams {
		li[i][i] = 1 / l[i][i]
		for j := range i {
			s := 0.
			for k := j; k < i; k++ {
				s -= l[i][k] * li[k][j]
			}
			li[i][j] = s / l[i][i]
		}
	}
	for i := range boxParams {
		for j := range i + 1 {
			for k := i; k < boxParams; k++ {
				inv[i][j] += li[k][i] * li[k][j]
			}
			inv[j][i] = inv[i][j]
		}
	}
	return inv, true
}

// result tells what the fit found, and whether it is a box.
func (f *boxFit) result(b *Box) {
	_, fisher := f.score()
	inv, ok := invert(&fisher)
	chi2, ndf := f.chi2()
	scale := 1.
	if ndf > 0 {
		scale = math.Sqrt(max(1, chi2/float64(ndf)))
	}
	scale *= math.Sqrt(1 + shortSample/float64(b.Entries))
	b.From, b.To, b.Width = f.p[pFrom], f.p[pTo], f.p[pTo]-f.p[pFrom]
	b.Height, b.Background = math.Exp(f.p[pHigh]), math.Exp(f.p[pBack])
	if !ok {
		b.Why = "the fit does not converge"
		return
	}
	b.FromError = scale * math.Sqrt(inv[pFrom][pFrom])
	b.ToError = scale * math.Sqrt(inv[pTo][pTo])
	b.Error = scale * math.Sqrt(max(0, inv[pFrom][pFrom]+inv[pTo][pTo]-2*inv[pFrom][pTo]))
	soft := max(maxSmear, 1.5*f.w)
	switch rise, fall := math.Exp(f.p[pSoft1]), math.Exp(f.p[pSoft2]); {
	case rise > soft:
		b.Why = fmt.Sprintf("no box: it rises over %.0f ns", 2*rise)
	case fall > soft:
		b.Why = fmt.Sprintf("no box: it falls over %.0f ns", 2*fall)
	case f.p[pTo]+f.w/2 > f.lo+f.w*float64(len(f.n)):
		b.Why = "the box does not end within the axis"
	case b.Width < 3*f.w:
		b.Why = "the bins are too wide for the box"
	case b.Height < 0.5*b.Background && b.Height*b.Width/f.w < 10*math.Sqrt(float64(b.Entries)):
		b.Why = "no box stands out of the background"
	}
}

// chi2 compares the counts with the fit, with bins joined until 5 are expected.
func (f *boxFit) chi2() (chi2 float64, ndf int) {
	n, mu := 0., 0.
	for i := range f.n {
		n += f.n[i]
		mu += f.mu[i]
		if mu >= 5 {
			chi2 += (n - mu) * (n - mu) / mu
			ndf++
			n, mu = 0, 0
		}
	}
	return chi2, ndf - boxParams
}
