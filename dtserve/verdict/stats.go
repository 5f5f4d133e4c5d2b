package verdict

import (
	"math"
	"slices"
)

// median returns the middle of values, or the mean of the two middle ones, or 0 of none. It sorts them.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}

// poisson returns the probability of k or fewer, and of k or more, where mean are expected. k may be a fraction, as
// counts of independent clusters are: then it is of ⌊k⌋ or fewer, and ⌈k⌉ or more.
func poisson(k, mean float64) (below, above float64) {
	if !(mean > 0) {
		if k <= 0 {
			return 1, 1
		}
		return 1, 0
	}
	return poissonBelow(math.Floor(k), mean), poissonAbove(math.Ceil(k), mean)
}

// term returns the probability of k.
func term(k, mean float64) float64 {
	g, _ := math.Lgamma(k + 1)
	return math.Exp(k*math.Log(mean) - mean - g)
}

// poissonBelow returns the probability of k or fewer, to a relative precision where that is small.
func poissonBelow(k, mean float64) float64 {
	if k < 0 {
		return 0
	}
	if k >= mean {
		return 1 - poissonAbove(k+1, mean)
	}
	t := term(k, mean)
	sum := t
	for ; k > 0 && t > sum*1e-16; k-- {
		t *= k / mean
		sum += t
	}
	return min(sum, 1)
}

// poissonAbove returns the probability of k or more, to a relative precision where that is small.
func poissonAbove(k, mean float64) float64 {
	if k <= 0 {
		return 1
	}
	if k <= mean {
		return 1 - poissonBelow(k-1, mean)
	}
	t := term(k, mean)
	sum := t
	for t > sum*1e-16 {
		k++
		t *= mean / k
		sum += t
	}
	return min(sum, 1)
}

// chi2Tail returns the probability of a χ² above x with an even number of degrees of freedom.
func chi2Tail(x float64, ndf int) float64 {
	if x <= 0 {
		return 1
	}
	return poissonBelow(float64(ndf/2-1), x/2)
}

// gaussTail returns the probability of a deviation of more than z standard deviations to one side.
func gaussTail(z float64) float64 { return math.Erfc(z/math.Sqrt2) / 2 }

// A sliding holds values of the recent windows, in their order and sorted, to have the median at once.
type sliding struct {
	live   float64 // s, of all
	order  []float64
	lives  []float64
	sorted []float64
}

const maxHistory = 1000 // windows

// add takes a value of a window of live seconds and forgets what is more than recent seconds older.
func (s *sliding) add(v, live, recent float64) {
	s.order, s.lives = append(s.order, v), append(s.lives, live)
	s.live += live
	at, _ := slices.BinarySearch(s.sorted, v)
	s.sorted = slices.Insert(s.sorted, at, v)
	for len(s.order) > 1 && (s.live-s.lives[0] >= recent || len(s.order) > maxHistory) {
		at, _ := slices.BinarySearch(s.sorted, s.order[0])
		s.sorted = slices.Delete(s.sorted, at, at+1)
		s.live -= s.lives[0]
		s.order, s.lives = s.order[1:], s.lives[1:]
	}
}

// median returns the median value.
func (s *sliding) median() float64 {
	n := len(s.sorted)
	if n == 0 {
		return 0
	}
	return (s.sorted[(n-1)/2] + s.sorted[n/2]) / 2
}
