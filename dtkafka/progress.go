package main

import (
	"fmt"
	"time"

	"dt/internal/tool"
)

// progress shows on a terminal what goes through.
type progress struct {
	on     bool
	env    *tool.Env
	start  time.Time
	shown  time.Time
	before [2]int64 // messages and bytes when it was shown last
	now    [2]int64
	lag    int64
}

const progressEvery = 500 * time.Millisecond

func newProgress(env *tool.Env, mode string) *progress {
	now := time.Now()
	return &progress{on: env.ShowsStatus(mode), env: env, start: now, shown: now}
}

// update says how many messages and bytes have gone through, and how many messages there are still to read, or −1.
func (p *progress) update(messages, bytes, lag int64) {
	if !p.on {
		return
	}
	p.now, p.lag = [2]int64{messages, bytes}, lag
	now := time.Now()
	if d := now.Sub(p.shown); d >= progressEvery {
		p.show(d, p.before, false)
		p.shown, p.before = now, p.now
	}
}

func (p *progress) show(d time.Duration, since [2]int64, last bool) {
	lag := ""
	if p.lag >= 0 {
		lag = fmt.Sprintf(", lag %d", p.lag)
	}
	s := max(d.Seconds(), 1e-9)
	p.env.Status(fmt.Sprintf("%.0f messages/s, %.2f MB/s, %d messages%s", float64(p.now[0]-since[0])/s, float64(p.now[1]-since[1])/s/1e6, p.now[0], lag), last)
}

// done leaves the last line standing.
func (p *progress) done() {
	if p.on {
		p.show(time.Since(p.start), [2]int64{}, true)
	}
}
