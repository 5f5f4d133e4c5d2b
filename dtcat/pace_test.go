package main

import (
	"slices"
	"testing"
	"testing/synctest"
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

// A paced run on a clock of its own: how many words went through until when.
type pacedRun struct {
	p     *pacer
	start time.Time
	at    []time.Duration // one for each step of words
	sum   []int
	debts []time.Duration
	idle  func() error
}

func newPacedRun(rate, speed float64) *pacedRun {
	r := &pacedRun{p: newPacer(rate, speed, 0, nil), start: time.Now()}
	r.p.slow = func(debt time.Duration) { r.debts = append(r.debts, debt) }
	return r
}

// send lets words through.
func (r *pacedRun) send(t *testing.T, words []uint64) {
	t.Helper()
	for len(words) > 0 {
		n, err := r.p.due(words, func() error {
			if r.idle != nil {
				return r.idle()
			}
			return nil
		})
		if err != nil || n < 1 {
			t.Fatal(n, err)
		}
		words = words[n:]
		before := 0
		if len(r.sum) > 0 {
			before = r.sum[len(r.sum)-1]
		}
		r.at, r.sum = append(r.at, time.Since(r.start)), append(r.sum, before+n)
	}
}

// by returns how many words went through until a time.
func (r *pacedRun) by(d time.Duration) int {
	n := 0
	for i, at := range r.at {
		if at <= d {
			n = r.sum[i]
		}
	}
	return n
}

// A minute at 1 000 words/s: the right number in every tenth of a second, never more than 2 ms of them at once.
func TestPaceIsSmooth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPacedRun(1000, 0)
		for range 60 {
			r.send(t, make([]uint64, 1000))
		}
		for d := 100 * time.Millisecond; d <= time.Minute-100*time.Millisecond; d += 100 * time.Millisecond {
			if want, got := int(d.Milliseconds()), r.by(d); got < want-2 || got > want+2 {
				t.Fatalf("%d words after %v", got, d)
			}
		}
		for i := range r.sum[1:] {
			if n := r.sum[i+1] - r.sum[i]; n > 3 {
				t.Fatalf("%d words at once", n)
			}
		}
	})
}

// A source that is too slow for long, and then fast; and a reader behind that takes nothing for a while: neither leads to a burst, and both are told.
func TestPaceHasNoBursts(t *testing.T) {
	for name, stall := range map[string]func(r *pacedRun){
		"slow source": func(r *pacedRun) {
			for range 200 {
				r.send(t, make([]uint64, 10)) // 100 a second, and 1 000 are asked for
				time.Sleep(100 * time.Millisecond)
			}
		},
		"stalled reader": func(r *pacedRun) {
			r.idle = func() error {
				time.Sleep(20 * time.Second)
				r.idle = nil
				return nil
			}
			r.send(t, make([]uint64, 2))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newPacedRun(1000, 0)
				r.send(t, make([]uint64, 2000))
				stall(r)
				since, before := time.Since(r.start), r.by(time.Hour)
				r.send(t, make([]uint64, 40_000))
				for d := 100 * time.Millisecond; d < 9*time.Second; d += 100 * time.Millisecond {
					if got, most := r.by(since+d)-before, int(2*d.Milliseconds())+350; got > most || got < most-600 {
						t.Fatalf("%d words in the %v behind it", got, d)
					}
				}
				if worst := slices.Max(r.debts); worst < 9*time.Second {
					t.Errorf("told as %v late", worst)
				}
			})
		})
	}
}

// What came late is made up for at double pace, up to ten seconds of it; then the pace is as before.
func TestPaceAfterABreak(t *testing.T) {
	for _, test := range []struct{ pause, madeUp time.Duration }{{5 * time.Second, 5 * time.Second}, {time.Minute, maxDebt}} {
		for _, speed := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				words, run := make([]uint64, 52_000), newPacedRun(1000, 0)
				if speed {
					run = newPacedRun(0, 1)
					for i := range words {
						words[i] = pacedHit(0, int64(float64(i)*11.2233)) // 1 000 a second of the detector's time
					}
				}
				run.send(t, words[:10_000])
				time.Sleep(test.pause)
				run.send(t, words[10_000:])
				back := 10*time.Second + test.pause
				const slack = 250 // words: the step behind a break
				before := run.by(10 * time.Second)
				for d := 100 * time.Millisecond; d < test.madeUp; d += 100 * time.Millisecond {
					if got, most := run.by(back+d)-before, int(2*d.Milliseconds())+slack; got > most || got < most-2*slack {
						t.Fatalf("speed %v, a break of %v: %d words in the %v behind it", speed, test.pause, got, d)
					}
				}
				late := test.pause - test.madeUp
				for d := back + test.madeUp + time.Second; d < back+test.madeUp+20*time.Second; d += time.Second {
					if want, got := int((d - late).Milliseconds()), run.by(d); got < want-slack || got > want+slack {
						t.Fatalf("speed %v, a break of %v: %d words after %v, not %d", speed, test.pause, got, d, want)
					}
				}
				if worst := slices.Max(run.debts); worst < test.madeUp-time.Second || worst > test.pause+breakStep {
					t.Errorf("a break of %v is told as %v", test.pause, worst)
				}
			})
		}
	}
}

// A source that is silent because the detector is makes nothing late, and what comes then is waited for no longer than before.
func TestPaceAfterAQuietTime(t *testing.T) {
	for _, quiet := range []time.Duration{3 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			run := newPacedRun(0, 1)
			orbit, ancillary := int64(0), pacedHit(0, 1)&^(7<<61)
			second := func() []uint64 {
				words := []uint64{ancillary}
				for range 1000 {
					words = append(words, pacedHit(0, orbit))
					orbit += 11
				}
				return words
			}
			run.send(t, second())
			orbit += int64(quiet.Seconds() * hit.OrbitDen / hit.OrbitNum)
			time.Sleep(quiet)
			before := time.Now()
			run.send(t, second())
			if took := time.Since(before); took > 2*time.Second {
				t.Errorf("a second behind a quiet time of %v took %v", quiet, took)
			}
			if worst := slices.Max(run.debts); worst > lateAfter {
				t.Errorf("a quiet time of %v is told as %v late", quiet, worst)
			}
		})
	}
}

// No number is too large.
func TestPaceOfLargeNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newPacedRun(1e300, 0)
		run.send(t, make([]uint64, 1_000_000))
		if d := time.Since(run.start); d > time.Second {
			t.Errorf("took %v", d)
		}
		p := newPacer(0, 1e-300, 0, nil)
		p.due([]uint64{pacedHit(0, 1)}, nil)
		if n := p.ready([]uint64{pacedHit(0, 2)}, time.Hour); n != 0 {
			t.Error("the next orbit is due, at a speed of nearly nothing")
		}
	})
}
