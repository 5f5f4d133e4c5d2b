package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"dt/internal/tool"
)

// progress shows on a terminal how far the sources have been read.
type progress struct {
	on       bool
	env      *tool.Env
	net      *network // nil if all is on this machine
	growing  bool     // there may always be more sources
	paced    bool     // then the bytes, which are read in large pieces, say little of the time
	start    time.Time
	files    int
	size     int64 // of all files and objects; 0: not known
	finished int
	bytes    int64 // of the finished ones
	in       *input
	records  uint64
	rejects  int
	samples  []sample // the newest ones, oldest first
}

// A sample is how far the sources had been read at a time.
type sample struct {
	at      time.Time
	records uint64
	bytes   int64
}

const (
	progressEvery   = 500 * time.Millisecond
	progressSamples = 6 // rates are those of the last three seconds
)

func newProgress(env *tool.Env, mode string, sources []source, net *network, growing bool) *progress {
	p := &progress{on: env.ShowsStatus(mode), env: env, net: net, growing: growing, start: time.Now(), files: len(sources)}
	p.samples = []sample{{at: p.start}}
	if !p.on || growing {
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
	if now.Sub(p.samples[len(p.samples)-1].at) >= progressEvery {
		p.show(now, false)
		if len(p.samples) == progressSamples {
			p.samples = p.samples[:copy(p.samples, p.samples[1:])]
		}
		p.samples = append(p.samples, sample{now, records, p.read()})
	}
}

// show shows how far it is, and how fast it goes since the oldest sample.
func (p *progress) show(now time.Time, last bool) {
	since := p.samples[0]
	seconds := max(now.Sub(since.at).Seconds(), 1e-9)
	read := p.read()
	speed := float64(read-since.bytes) / seconds
	parts := make([]string, 0, 8)
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	known := p.size > 0 && read <= p.size
	if known {
		add("%.0f %% of %s", 100*float64(read)/float64(p.size), bytesText(p.size))
	} else {
		add("%s", bytesText(read))
	}
	if p.growing {
		add("file %d", p.finished+1)
	} else {
		add("file %d/%d", min(p.finished+1, p.files), p.files)
	}
	add("%d words", p.records)
	add("%.0f words/s", float64(p.records-since.records)/seconds)
	add("%.1f MB/s", speed/1e6)
	switch left := time.Duration(float64(p.size-read) / speed * 1e9); {
	case last || !known || p.paced:
	case speed == 0:
		add("waiting")
	case left > 0 && left < 1000*time.Hour:
		add("%v left", left.Round(time.Second))
	}
	if p.rejects > 0 {
		add("%d rejected", p.rejects)
	}
	if p.net != nil {
		if n := p.net.fetch.Stats().Retries; n > 0 {
			add("%d retries", n)
		}
	}
	p.env.Status(strings.Join(parts, ", "), last)
}

// done leaves the last line standing.
func (p *progress) done() {
	if p.on {
		p.samples[0] = sample{at: p.start}
		p.show(time.Now(), true)
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
