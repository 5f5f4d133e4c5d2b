package main

import (
	"math"
	"time"

	"dt/internal/hit"
)

// A pacer lets words through when their time has come: so many a second, or at a multiple of the detector's own time.
//
// Detector time is kept for each FPGA by itself, because they drift apart and their counters restart one after the other;
// that of the first of them counts.
type pacer struct {
	rate    float64 // words a second
	orbits  float64 // of detector time a second of ours
	maxGap  int64   // orbits; 0: none
	stopped <-chan struct{}

	start time.Time // when the first word went through; the zero of our time
	words float64   // let through
	fpga  [hit.MaxFPGA + 1]pacedFPGA
	time  int64 // orbits since the start
}

type pacedFPGA struct {
	seen  bool
	orbit int64 // the newest
	time  int64 // orbits since the start
}

// Words come in steps of at least this, so that a fast pace does not wake up for each word.
const paceStep = 2 * time.Millisecond

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
		p.start = time.Now()
	}
	now := time.Since(p.start)
	n := p.ready(words, now)
	for n == 0 {
		wait := p.next(words) - now
		if err := idle(); err != nil {
			return 0, err
		}
		select {
		case <-p.stopped:
			return -1, nil
		case <-time.After(min(max(wait, paceStep), time.Second)):
		}
		now = time.Since(p.start)
		n = p.ready(words, now)
	}
	return n, nil
}

// next returns when the first of words is due.
func (p *pacer) next(words []uint64) time.Duration {
	if p.rate > 0 {
		return time.Duration(p.words / p.rate * 1e9)
	}
	return p.when(max(p.time, p.after(words).time))
}

// when turns orbits since the start into our time.
func (p *pacer) when(orbits int64) time.Duration {
	return time.Duration(float64(orbits) / p.orbits * 1e9)
}

// after returns the state of the FPGA of the first of words behind it.
func (p *pacer) after(words []uint64) pacedFPGA {
	w := words[0]
	s := p.fpga[hit.FPGA(w)]
	if !hit.IsHit(w) {
		return s
	}
	o := int64(hit.Orbit(w))
	if !s.seen {
		return pacedFPGA{true, o, p.time}
	}
	switch d := o - s.orbit; {
	case (d > jump || d < -jump) && odd(words, s.orbit):
	case d < -jump:
		s.orbit = o
	case d > 0:
		s.orbit = o
		if p.maxGap > 0 {
			d = min(d, p.maxGap)
		}
		s.time += d
	}
	return s
}

// odd reports whether the next hit of the FPGA is back where the counter was, so that the first of words is corrupt.
func odd(words []uint64, orbit int64) bool {
	f := hit.FPGA(words[0])
	for _, w := range words[1:] {
		if hit.IsHit(w) && hit.FPGA(w) == f {
			d := int64(hit.Orbit(w)) - orbit
			return d >= -jump && d <= jump
		}
	}
	return false
}

// ready counts the words that are due now, and moves on behind them.
func (p *pacer) ready(words []uint64, now time.Duration) int {
	if p.rate > 0 {
		n := min(len(words), max(0, int(math.Floor(now.Seconds()*p.rate-p.words))+1))
		p.words += float64(n)
		return n
	}
	for i, w := range words {
		s := p.after(words[i:])
		if s.time > p.time && p.when(s.time) > now {
			return i
		}
		p.fpga[hit.FPGA(w)] = s
		p.time = max(p.time, s.time)
	}
	return len(words)
}
