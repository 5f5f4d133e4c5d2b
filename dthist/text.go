package main

import (
	"fmt"
	"strings"

	"dt/internal/hist"
	"dt/internal/hit"
)

// appendText is --format text: a window for people, in lines of at most 100 columns.
func appendText(b []byte, l *hist.Line) []byte {
	c := l.Counts
	total, live := c.Total(), c.LiveSeconds()
	b = append(b, windowTitle(l)...)
	b = fmt.Appendf(b, "   %d hits   %s   %d triggers", total, frequency(total, live), c.Trigger.Orbits)
	if !l.Complete {
		b = append(b, "   INCOMPLETE"...)
	}
	b = append(b, '\n')
	for i := range c.Chambers {
		ch := &c.Chambers[i]
		n := ch.Hits()
		b = fmt.Appendf(b, "  chamber %d %8d hits %9s  wires %s  drift %s\n", i+1, n, frequency(n, live), spark(ch.Occupancy[:], 2), spark(driftPart(&ch.Hist4), 2))
	}
	g := &c.Ledger
	aside := int64(0)
	for _, reasons := range g.SetAside {
		for _, n := range reasons {
			aside += n
		}
	}
	return fmt.Appendf(b, "  ledger: %d read = %d hits + %d late + %d scintillator + %d unassigned + %d set aside %+d pending\n\n",
		g.Read, g.Hits+g.Early, g.Late, g.Scintillator, g.Unassigned, aside+g.NotAHit, g.Pending)
}

func windowTitle(l *hist.Line) string {
	set := l.Counts.Set
	switch {
	case set.Clock == hist.Detector && l.Window.Number != hist.NoNumber:
		title := fmt.Sprintf("%.1f to %.1f s", hit.Seconds(l.Window.Number*set.Length), hit.Seconds((l.Window.Number+1)*set.Length))
		if l.Window.Epoch > 0 {
			title += fmt.Sprintf(" after restart %d", l.Window.Epoch)
		}
		return title
	case set.Clock == hist.All:
		return "in all"
	case set.Clock == hist.Wall:
		return "now"
	}
	return "behind the last window"
}

// driftPart is Hist_4 up to 500 ns with the default axis: the box, and what a bad one would spill.
func driftPart(h *hist.Hist) []int64 { return h.Counts[:min(len(h.Counts), 50)] }

func frequency(n int64, seconds float64) string {
	switch f := float64(n) / seconds; {
	case seconds <= 0:
		return "– Hz"
	case f >= 1000:
		return fmt.Sprintf("%.2f kHz", f/1000)
	default:
		return fmt.Sprintf("%.0f Hz", f)
	}
}

// spark draws counts as a row of blocks, per of them each. Nothing at all is a dot, so that a dead wire stands out.
func spark(counts []int64, per int) string {
	blocks := []rune("▁▂▃▄▅▆▇█")
	var sums []int64
	most := int64(1)
	for i := 0; i < len(counts); i += per {
		sum := int64(0)
		for _, n := range counts[i:min(i+per, len(counts))] {
			sum += n
		}
		sums = append(sums, sum)
		most = max(most, sum)
	}
	var s strings.Builder
	for _, n := range sums {
		if n == 0 {
			s.WriteRune('·')
			continue
		}
		s.WriteRune(blocks[n*int64(len(blocks)-1)/most])
	}
	return s.String()
}
