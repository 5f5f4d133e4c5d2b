package main

import (
	"math"
	"time"

	"dt/internal/hit"
)

// A pacer lets words through when their time has come: so many a second, or at a multiple of the detector's own time.
type pacer struct {
	rate, speed float64
	maxGap      time.Duration
	stopped     <-chan struct{}

	start time.Time // when the first word went through; the zero of our time
	words float64   // let through
	due0  time.Duration
	orbit int64 // newest, −1 before the first hit
}

// Words come in steps of at least this, so that a fast pace does not wake up for each word.
const paceStep = 2 * time.Millisecond

// jump is a step of the orbit counter, either way, that is no passing of time: a restart, or a corrupt word.
const jump = 65_536

func newPacer(rate, speed float64, maxGap time.Duration, stopped <-chan struct{}) *pacer {
	return &pacer{rate: rate, speed: speed, maxGap: maxGap, stopped: stopped, orbit: -1}
}

func (p *pacer) active() bool { return p.rate > 0 || p.speed > 0 }

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
	step, _ := p.step(words)
	return p.due0 + step
}

// step returns how much later than the word before the first of words is due, and the newest orbit with it.
func (p *pacer) step(words []uint64) (time.Duration, int64) {
	w := words[0]
	if !hit.IsHit(w) {
		return 0, p.orbit
	}
	o := int64(hit.Orbit(w))
	d := o - p.orbit
	switch {
	case p.orbit < 0:
		return 0, o
	case (d > jump || d < -jump) && p.odd(words):
		return 0, p.orbit
	case d < -jump:
		return 0, o
	case d <= 0:
		return 0, p.orbit
	}
	step := time.Duration(float64(d) * hit.OrbitNum / hit.OrbitDen * 1e9 / p.speed)
	if p.maxGap > 0 {
		step = min(step, p.maxGap)
	}
	return step, o
}

// odd reports whether the next hit of the FPGA is back where the counter was, so that the first of words is corrupt.
func (p *pacer) odd(words []uint64) bool {
	f := hit.FPGA(words[0])
	for _, w := range words[1:] {
		if hit.IsHit(w) && hit.FPGA(w) == f {
			d := int64(hit.Orbit(w)) - p.orbit
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
	for i := range words {
		step, o := p.step(words[i:])
		if p.due0+step > now {
			return i
		}
		p.due0 += step
		p.orbit = o
	}
	return len(words)
}
