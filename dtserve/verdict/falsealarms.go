package verdict

import (
	"math"
	"slices"
)

// ExpectedFalseAlarms returns how many alarms a day are raised by chance if all is well, at the present rates.
//
// A check that is judged N times a day, in spans that share no hit, and is bad by chance with probability p, raises
// N · pᵏ alarms a day, k = t.Spans (for small p; a row that goes on raises no second one). It adds up, over
//   - each wire: hot and low in two terms, of the Poisson tails of its count about what is expected, smeared by the error of
//     the median itself (see falseWires): the null is that a wire is as its layer's median;
//   - each board: e to the minus of the hits expected of it; each layer: likewise of one wire, of which half must have none;
//   - each chamber's and FPGA's windows: the Poisson tails beyond the factor, at most rate.p each, and of 0 hits, with
//     hits in clusters of as many as come in one orbit;
//   - the FPGAs' step: that the last hit of a window lies as far before its end, e to the minus of the clusters expected;
//   - BX and TDC: their p, an upper bound, as the size is asked for, too;
//   - the drift box: the Gaussian tails beyond tolerance and sigmas.
//
// Shares and sums of the ledger are facts and no estimates.
func (j *Judge) ExpectedFalseAlarms() float64 {
	sum, k := 0., float64(j.t.Spans)
	add := func(c *check) { sum += c.perDay * math.Pow(c.p, k) }
	for _, c := range j.chambers {
		for layer := range c.falses {
			sum += j.falseWires(c, &c.falses[layer])
		}
		for _, b := range slices.Concat(c.board, c.mute[:]) {
			add(b)
		}
		add(c.width)
		add(c.edge)
		add(c.rate)
		add(c.silent)
	}
	for _, f := range j.fpgas {
		add(f.silent)
		add(f.bx.check)
		add(f.tdc.check)
	}
	add(j.step)
	return sum
}

// falses are the false alarms expected of a layer's wires by its last span.
type falses struct {
	channels []int
	expected []float64 // hits of each
	live     float64   // s
	perDay   float64   // worked out when it is asked for
	known    bool
}

// falseWires returns the false alarms expected a day of a layer's wires.
//
// The median of n counts about μ scatters by √(π/2 · μ/(n + π/2 − 1)), and where one of them is far off it is that of the
// rest, shifted by 1.25/n · √μ to that side. A bad wire's count lies beyond a limit that scatters so. With a reference
// there is the error of its count, which is the same in all spans: then the mean of pᵏ counts, not the mean's power.
func (j *Judge) falseWires(c *chamber, f *falses) float64 {
	if f.known {
		return f.perDay
	}
	l, k := &j.t.Wire, float64(j.t.Spans)
	n := float64(len(f.channels))
	then := occupancy(j.ref, c.chamber)
	sum, lastMean, lastP := 0., 0., 0.
	for i, mean := range f.expected {
		if mean < l.Least {
			continue
		}
		if then == nil && mean == lastMean {
			sum += lastP
			continue
		}
		scatter := math.Pi / 2 * mean / (n + math.Pi/2 - 1)
		if then != nil {
			ref := float64(then[f.channels[i]])
			scatter += mean * mean / max(ref, 1)
		}
		scatter, shift := math.Sqrt(scatter), 2*math.Sqrt(math.Pi/8)/n*math.Sqrt(mean)
		low, high, lowK, highK, weight := 0., 0., 0., 0., 0.
		for z := -4.; z <= 4; z += 0.5 {
			w := math.Exp(-z * z / 2)
			// Hot is a count above the limit, low one below; the counts next to it are whole.
			p := poissonAbove(math.Floor(l.Hot*max(mean+shift+z*scatter, 0))+1, mean)
			q := poissonBelow(math.Ceil(max(mean-shift+z*scatter, 0)/l.Low)-1, mean)
			q = max(q, math.Exp(-mean)) // dead
			weight += w
			high, low = high+w*p, low+w*q
			highK, lowK = highK+w*math.Pow(p, k), lowK+w*math.Pow(q, k)
		}
		lastMean, lastP = mean, math.Pow(high/weight, k)+math.Pow(low/weight, k)
		if then != nil {
			lastP = (highK + lowK) / weight
		}
		sum += lastP
	}
	f.perDay, f.known = sum*day/max(f.live, 1e-3), true
	return f.perDay
}
