package main

import (
	"math"
	"slices"
	"time"

	"dt/internal/hit"
)

// A pacer lets words through when their time has come: so many a second, or at a multiple of the detector's own time.
//
// Detector time is kept for each FPGA by itself, because they drift apart and their counters restart one after the other;
// that of the first of them counts. A far step, of more than jump orbits either way, is taken only when the next hit of the FPGA is
// where it leads, and time passes only with one forward: so nothing is waited for because of one corrupt word.
//
// Words that come too late, because the source or the programs behind were slow, do not come in a burst: they go through at no more than
// double pace until it is made up for, and what is more than maxDebt is not.
type pacer struct {
	rate    float64 // words a second
	orbits  float64 // of detector time a second of ours
	maxGap  int64   // orbits; 0: none
	stopped <-chan struct{}
	slow    func(debt time.Duration) // told how late words are, now and then

	start time.Time     // when the first word went through, and later by what is not made up for; the zero of our time
	at    time.Duration // words that are due by then went through, or may; it moves on at double pace until it is now
	asked time.Time     // when it did
	words float64       // let through
	fpga  [hit.MaxFPGA + 1]pacedFPGA
	time  int64 // orbits since the start
}

type pacedFPGA struct {
	seen  bool
	sure  bool  // a second hit was near orbit
	orbit int64 // the newest
	time  int64 // orbits since the start
	far   int64 // the orbit of the last hit, if that was a far step; else none
}

const none = -1

// Words come in steps of at least this, so that a fast pace does not wake up for each word.
const paceStep = 2 * time.Millisecond

// Behind a break in the words, up to breakStep is gone through at once, and up to maxDebt made up for.
const (
	breakStep = 100 * time.Millisecond
	maxDebt   = 10 * time.Second
)

// jump is a step of the orbit counter, either way, that may be no passing of time: a restart, or a corrupt word.
const jump = 65_536

func newPacer(rate, speed float64, maxGap time.Duration, stopped <-chan struct{}) *pacer {
	p := &pacer{rate: rate, orbits: speed * hit.OrbitDen / hit.OrbitNum, stopped: stopped}
	if maxGap > 0 {
		p.maxGap = hit.OrbitsIn(maxGap.Nanoseconds())
	}
	return p
}

func (p *pacer) active() bool { return p.rate > 0 || p.orbits > 0 }

// due waits until a word is due and returns how many of words are, at least one, or −1 when the program is stopped. Before it waits it calls idle.
func (p *pacer) due(words []uint64, idle func() error) (int, error) {
	if !p.active() || len(words) == 0 {
		return len(words), nil
	}
	if p.start.IsZero() {
		p.start, p.asked = time.Now(), time.Now()
	}
	next := p.quiet(words)
	if time.Since(p.asked) > breakStep {
		p.at = max(p.at, min(time.Since(p.start), next)) // nothing is late where there was nothing
	}
	p.at = min(p.at, next+breakStep) // while these words were not there, they could not go through
	p.forget()
	for {
		due := p.dueAt(time.Now(), next)
		if n := p.ready(words, due); n > 0 {
			return n, nil
		}
		if err := idle(); err != nil {
			return 0, err
		}
		p.forget()
		select {
		case <-p.stopped:
			return -1, nil
		case <-time.After(min(max(p.next(words[0])-due, paceStep), time.Second)):
		}
	}
}

// forget forgets the time since asked, but for a short break: others have taken it.
func (p *pacer) forget() {
	if t := time.Now(); t.Sub(p.asked) > breakStep {
		p.asked = t.Add(-breakStep)
	}
}

// dueAt says up to when words are due at a time, while words that were due at next are there and wait.
func (p *pacer) dueAt(t time.Time, next time.Duration) time.Duration {
	now := t.Sub(p.start)
	p.at = min(now, p.at+2*t.Sub(p.asked))
	p.asked = t
	debt := max(now-next, 0)
	if lost := debt - maxDebt; lost > 0 {
		p.start = p.start.Add(lost)
	}
	if p.slow != nil {
		p.slow(debt)
	}
	return p.at
}

// next returns when the word that comes next is due.
func (p *pacer) next(w uint64) time.Duration {
	if p.rate > 0 {
		return nanoseconds(p.words / p.rate * 1e9)
	}
	return p.when(max(p.time, p.after(w).time))
}

// quiet returns until when no word is due if the first hit among those that come next is right, also if that is a far step.
func (p *pacer) quiet(words []uint64) time.Duration {
	i := slices.IndexFunc(words, hit.IsHit)
	if p.rate > 0 || i < 0 {
		return p.next(words[0])
	}
	s := p.fpga[hit.FPGA(words[i])]
	if d := int64(hit.Orbit(words[i])) - s.orbit; s.seen && d > 0 {
		s.time += p.shortened(d)
	}
	return p.when(max(p.time, s.time))
}

// when turns orbits since the start into our time.
func (p *pacer) when(orbits int64) time.Duration {
	return nanoseconds(float64(orbits) / p.orbits * 1e9)
}

// nanoseconds is a time that may be too long to be one.
func nanoseconds(n float64) time.Duration { return time.Duration(min(n, 1<<62)) }

// shortened is how much of a step forward counts.
func (p *pacer) shortened(d int64) int64 {
	if p.maxGap > 0 {
		return min(d, p.maxGap)
	}
	return d
}

// after returns the state of the FPGA of w behind it.
func (p *pacer) after(w uint64) pacedFPGA {
	s := p.fpga[hit.FPGA(w)]
	if !hit.IsHit(w) {
		return s
	}
	o := int64(hit.Orbit(w))
	d := o - s.orbit
	switch isFar := d > jump || d < -jump; {
	case !s.seen, isFar && !s.sure:
		return pacedFPGA{seen: true, orbit: o, time: p.time, far: none}
	case isFar && (s.far == none || o-s.far > jump || o-s.far < -jump):
		s.far = o
		return s
	case isFar && d < 0:
		s.orbit = o // a restart
	case d > 0:
		s.orbit = o
		s.time += p.shortened(d)
	}
	s.sure, s.far = true, none
	return s
}

// ready counts the words that are due now, and moves on behind them.
func (p *pacer) ready(words []uint64, now time.Duration) int {
	if p.rate > 0 {
		n := int(min(float64(len(words)), max(0, math.Floor(now.Seconds()*p.rate-p.words)+1)))
		p.words += float64(n)
		return n
	}
	for i, w := range words {
		s := p.after(w)
		if s.time > p.time && p.when(s.time) > now {
			return i
		}
		p.fpga[hit.FPGA(w)] = s
		p.time = max(p.time, s.time)
	}
	return len(words)
}
