package main

import (
	"fmt"
	"os"
	"time"

	"dt/internal/tool"
)

// progress shows on a terminal how far the sources have been read.
type progress struct {
	on       bool
	env      *tool.Env
	net      *network // nil if all is on this machine
	start    time.Time
	shown    time.Time
	files    int
	size     int64 // of all files and objects; 0: not known
	finished int
	bytes    int64 // of the finished ones
	in       *input
	records  uint64
	before   uint64 // records when it was shown last
	was      int64  // bytes then
	rejects  int
}

const progressEvery = 500 * time.Millisecond

func newProgress(env *tool.Env, mode string, sources []source, net *network) *progress {
	now := time.Now()
	p := &progress{on: env.ShowsStatus(mode), env: env, net: net, start: now, shown: now, files: len(sources)}
	if !p.on {
		return p
	}
	for _, s := range sources {
		size := s.size()
		if size < 0 {
			p.size = 0
			break
		}
		p.size += size
	}
	return p
}

// size returns the bytes of a source, or −1 if they are not known.
func (s source) size() int64 {
	if s.object != nil {
		return s.object.Size
	}
	if info, err := os.Stat(s.name); err == nil && info.Mode().IsRegular() {
		return info.Size()
	}
	return -1
}

func (p *progress) input(in *input) { p.in = in }

func (p *progress) inputDone() {
	p.finished++
	p.bytes = p.read()
	p.in = nil
}

// read returns how many bytes of the sources have been read.
func (p *progress) read() int64 {
	if p.in == nil || p.in.count == nil {
		return p.bytes
	}
	return p.bytes + p.in.count.n.Load()
}

// add says how many records have gone through, also when there are no more.
func (p *progress) add(records uint64) {
	p.records = records
	if !p.on {
		return
	}
	now := time.Now()
	if d := now.Sub(p.shown); d >= progressEvery {
		p.show(d, false)
		p.shown, p.before, p.was = now, records, p.read()
	}
}

// show shows what was done in the last d.
func (p *progress) show(d time.Duration, last bool) {
	seconds := max(d.Seconds(), 1e-9)
	read := p.read()
	text := fmt.Sprintf("%.0f words/s, %d words, file %d of %d, %s, %.1f MB/s", float64(p.records-p.before)/seconds, p.records,
		min(p.finished+1, p.files), p.files, bytesText(read), float64(read-p.was)/seconds/1e6)
	if p.size > 0 && read <= p.size {
		text += fmt.Sprintf(" (%.0f %% of %s)", 100*float64(read)/float64(p.size), bytesText(p.size))
		if elapsed := time.Since(p.start); !last && read > 0 && elapsed > time.Second {
			left := time.Duration(float64(elapsed) * float64(p.size-read) / float64(read))
			text += fmt.Sprintf(", %v left", left.Round(time.Second))
		}
	}
	text += fmt.Sprintf(", %d rejected", p.rejects)
	if p.net != nil {
		text += fmt.Sprintf(", %d retries", p.net.fetch.Stats().Retries)
	}
	p.env.Status(text, last)
}

// done leaves the last line standing.
func (p *progress) done() {
	if p.on {
		p.before, p.was = 0, 0
		p.show(time.Since(p.start), true)
	}
}

// bytesText is a number of bytes for people.
func bytesText(n int64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB"}
	x, i := float64(n), 0
	for ; x >= 999.5 && i < len(units)-1; i++ {
		x /= 1000
	}
	if i == 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.3g %s", x, units[i])
}
