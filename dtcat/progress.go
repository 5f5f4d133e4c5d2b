package main

import (
	"fmt"
	"time"

	"dt/internal/tool"
)

// progress shows on a terminal how far the sources have been read.
type progress struct {
	on       bool
	env      *tool.Env
	start    time.Time
	shown    time.Time
	files    int
	finished int
	in       *input
	records  uint64
	before   uint64 // records when it was shown last
	rejects  int
}

const progressEvery = 500 * time.Millisecond

func newProgress(env *tool.Env, mode string, files int) *progress {
	now := time.Now()
	return &progress{on: env.ShowsStatus(mode), env: env, start: now, shown: now, files: files}
}

func (p *progress) input(in *input) { p.in = in }
func (p *progress) inputDone()      { p.finished++ }

// add says how many records have gone through, also when there are no more.
func (p *progress) add(records uint64) {
	p.records = records
	if !p.on {
		return
	}
	now := time.Now()
	if d := now.Sub(p.shown); d >= progressEvery {
		p.show(float64(records-p.before)/d.Seconds(), false)
		p.shown, p.before = now, records
	}
}

func (p *progress) show(rate float64, last bool) {
	share := ""
	if p.in != nil && p.in.size > 0 && p.in.count != nil {
		share = fmt.Sprintf(", %3.0f %% of this one", 100*float64(p.in.count.n.Load())/float64(p.in.size))
	}
	p.env.Status(fmt.Sprintf("%.0f words/s, %d words, file %d of %d%s, %d rejected", rate, p.records, min(p.finished+1, p.files), p.files, share, p.rejects), last)
}

// done leaves the last line standing.
func (p *progress) done() {
	if p.on {
		p.show(float64(p.records)/max(time.Since(p.start).Seconds(), 1e-9), true)
	}
}
