package main

import (
	"testing"
	"time"

	"dt/internal/hit"
)

// pacedHit is a hit of an FPGA.
func pacedHit(fpga int, orbit int64) uint64 {
	return hit.HeadHit<<hit.HeadShift | uint64(fpga)<<hit.FPGAShift | uint64(orbit)<<hit.OrbitShift
}

// play lets words through a pacer whose clock is set forward to what it waits for, and returns how long that takes, in orbits.
func play(t *testing.T, maxGap int64, words []uint64) int64 {
	t.Helper()
	p := newPacer(0, 1, 0, nil)
	p.maxGap = maxGap
	now := time.Duration(0)
	for len(words) > 0 {
		n := p.ready(words, now)
		words = words[n:]
		if n > 0 {
			continue
		}
		due := p.next(words[0])
		if due <= now {
			t.Fatalf("at %v it waits until %v", now, due)
		}
		now = due + 1
	}
	return int64(now.Seconds()*p.orbits + 0.5)
}

// steps are n hits of each FPGA from an orbit on, one every 100.
func steps(orbit int64, n int, fpgas ...int) []uint64 {
	var words []uint64
	for i := range n {
		for _, f := range fpgas {
			words = append(words, pacedHit(f, orbit+int64(i)*100))
		}
	}
	return words
}

func TestPacer(t *testing.T) {
	const far, stale = 1_000_000_000, 3_387_200_956
	join := func(parts ...[]uint64) []uint64 {
		var all []uint64
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	one := func(fpga int, orbit int64) []uint64 { return []uint64{pacedHit(fpga, orbit)} }
	tests := map[string]struct {
		words  []uint64
		maxGap int64
		want   int64 // orbits
	}{
		"nothing":                  {nil, 0, 0},
		"steady":                   {steps(5000, 101, 0, 1), 0, 10_000},
		"one FPGA":                 {steps(5000, 101, 1), 0, 10_000},
		"drifted":                  {join(steps(5000, 1, 0, 1), steps(5000, 51, 0), steps(5000, 101, 1)), 0, 10_000},
		"corrupt":                  {join(steps(5000, 51, 0, 1), one(0, far), steps(10_000, 51, 0, 1)), 0, 10_000},
		"corrupt, to the front":    {join(steps(500_000, 51, 0, 1), one(1, 3), steps(505_000, 51, 0, 1)), 0, 10_000},
		"corrupt, last":            {join(steps(5000, 101, 0, 1), one(0, far)), 0, 10_000},
		"corrupt, first":           {join(one(0, 7), steps(far, 101, 0, 1)), 0, 10_000},
		"corrupt, first, far":      {join(one(0, far), steps(5000, 101, 0, 1)), 0, 10_000},
		"corrupt, two that differ": {join(steps(5000, 51, 0), one(0, far), one(0, 2*far), steps(10_000, 51, 0)), 0, 10_000},
		"corrupt, back and forth":  {join(steps(500_000, 51, 0), one(0, 3), one(0, far), steps(505_000, 51, 0)), 0, 10_000},
		"corrupt, no such FPGA":    {join(steps(5000, 51, 0, 1), one(6, far), one(6, 9000), one(6, 2*far), steps(10_000, 51, 0, 1)), 0, 10_000},
		"corrupt, now and then":    {join(steps(5000, 11, 0), one(0, far), steps(6000, 11, 0), one(0, far), steps(7000, 81, 0)), 0, 10_000},
		"ancillary ahead":          {join(steps(5000, 51, 0), []uint64{far << 24}, steps(10_000, 51, 0)), 0, 10_000},
		"stale prefix":             {join(steps(stale, 11, 0, 1), steps(617_000, 101, 0, 1)), 0, 11_000 - 100},
		"stale prefix of each":     {join(steps(stale, 11, 0, 1), steps(617_000, 51, 0), steps(617_000, 101, 1), steps(622_100, 50, 0)), 0, 11_000 - 100},
		"restart":                  {join(steps(far, 51, 0, 1), steps(617_000, 51, 0, 1)), 0, 10_000 - 100},
		"restart, then corrupt":    {join(steps(far, 51, 0, 1), steps(617_000, 2, 0, 1), one(0, far), steps(617_200, 49, 0, 1)), 0, 10_000 - 100},
		"gap":                      {join(steps(5000, 51, 0, 1), steps(1_010_000, 51, 0, 1)), 0, 1_010_000},
		"gap, shortened":           {join(steps(5000, 51, 0, 1), steps(1_010_000, 51, 0, 1)), 1000, 11_000},
		"gap below a jump":         {join(steps(5000, 51, 0, 1), steps(60_000, 51, 0, 1)), 0, 60_000},
		"gap, corrupt behind it":   {join(steps(5000, 51, 0, 1), steps(1_010_000, 1, 0, 1), one(0, far), steps(1_010_100, 50, 0, 1)), 0, 1_010_000},
	}
	for name, test := range tests {
		// Behind a restart each FPGA leaves out up to one step; more than that would be a wait for nothing.
		if got := play(t, test.maxGap, test.words); got < test.want-100 || got > test.want+100 {
			t.Errorf("%s: %d orbits, want %d", name, got, test.want)
		}
		// In parts, the same: nothing depends on what is read at once.
		p, q := newPacer(0, 1, 0, nil), newPacer(0, 1, 0, nil)
		p.ready(test.words, 1<<62)
		for i := range test.words {
			q.ready(test.words[i:i+1], 1<<62)
		}
		if p.time != q.time {
			t.Errorf("%s: %d orbits at once, word by word %d", name, p.time, q.time)
		}
	}
}

// Simulated runs with all that there is go through in their own time.
func TestPacerOfSim(t *testing.T) {
	for _, spec := range []string{"?hits=300000&corrupt=0", "?hits=300000&corrupt=0.001", "?hits=300000&corrupt=0.01&late=0.001", "?hits=300000&corrupt=0.001&restart=100000+200000&skew=20000"} {
		got := float64(play(t, 0, simWords(t, spec))) * hit.OrbitNum / hit.OrbitDen
		if got < 95 || got > 120 {
			t.Errorf("sim:%s takes %.1f s, and has 100", spec, got)
		}
	}
}
