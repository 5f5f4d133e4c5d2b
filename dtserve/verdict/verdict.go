// Package verdict judges the data quality of a run from its windows' counts: wires against their layers, drift-time
// boxes, rates, the FPGAs' step and structure in electronics histograms. THRESHOLDS.md says each rule with its numbers.
// It does no input or output.
package verdict

import (
	"dt/internal/hist"
	"dt/internal/hit"
)

// A Wire is the verdict on a wire.
type Wire byte

// The verdicts, as the letters that the page is sent.
const (
	OK      Wire = 'o'
	Hot     Wire = 'h' // above hot × what is expected
	Low     Wire = 'l' // below 1/low of it
	Dead    Wire = 'd' // no hit
	Unknown Wire = '?' // too few are expected, or the chamber does not have the channel
)

// Wires judges each wire of each chamber by the hits of its channel: 64 verdicts a chamber, by TDC_CHANNEL mod 64.
//
// A wire is judged against the median of its layer's wires. With a reference, it is judged against its own count there
// times the median ratio of its layer, here to there, over the wires that have hits there: so one hot wire does not make
// the others low. A wire is unknown where fewer than t.Wire.Least are expected, and where the chamber does not have the
// channel.
func Wires(c, ref *hist.Counts, m *hit.Map, t *Thresholds) [][]Wire {
	all := make([][]Wire, len(c.Chambers))
	for i := range c.Chambers {
		all[i] = make([]Wire, hit.Channels)
		for ch := range all[i] {
			all[i][ch] = Unknown
		}
		g := newLayers(m, i)
		then := occupancy(ref, i)
		for layer := range hit.Layers {
			channels := g.channels[layer]
			expected, ok := expect(&c.Chambers[i].Occupancy, then, channels)
			if !ok {
				continue
			}
			for k, ch := range channels {
				all[i][ch] = t.Wire.judge(c.Chambers[i].Occupancy[ch], expected[k])
			}
		}
	}
	return all
}

// judge judges a wire by its hits and those expected.
func (l *WireLimits) judge(n int64, expected float64) Wire {
	switch v := float64(n); {
	case expected < l.Least:
		return Unknown
	case n == 0:
		return Dead
	case v > l.Hot*expected:
		return Hot
	case v*l.Low < expected:
		return Low
	}
	return OK
}

// occupancy returns a chamber's hits by channel mod 64, or nil.
func occupancy(c *hist.Counts, i int) *[hit.Channels]int64 {
	if c == nil || i >= len(c.Chambers) {
		return nil
	}
	return &c.Chambers[i].Occupancy
}

// expect returns what is expected of each of a layer's channels; false if the layer has none.
func expect(n, ref *[hit.Channels]int64, channels []int) (expected [hit.Channels]float64, ok bool) {
	var buffer [hit.Channels]float64
	values := buffer[:0]
	for _, ch := range channels {
		switch {
		case ref == nil:
			values = append(values, float64(n[ch]))
		case ref[ch] > 0:
			values = append(values, float64(n[ch])/float64(ref[ch]))
		}
	}
	if len(values) == 0 {
		return expected, false
	}
	mid := median(values)
	for k, ch := range channels {
		expected[k] = mid
		if ref != nil {
			expected[k] = mid * float64(ref[ch])
		}
	}
	return expected, true
}

// layers are the channels of a chamber.
type layers struct {
	chamber  int // from 0
	fpga     int
	first    int // TDC_CHANNEL
	last     int
	channels [hit.Layers][]int // by layer: channels mod 64, ascending
	tdc      [hit.Channels]int // TDC_CHANNEL by channel mod 64; −1: the chamber has none
	boards   [][]int           // channels mod 64 of each board
	board    [hit.Channels]int // by channel mod 64
	layer    [hit.Channels]int // from 0
}

// newLayers returns the channels of chamber i, from 0, of the map; without any if the map does not know the chamber.
func newLayers(m *hit.Map, i int) *layers {
	g := &layers{chamber: i}
	for ch := range g.tdc {
		g.tdc[ch] = -1
	}
	if i >= len(m.Chambers) {
		return g
	}
	c := &m.Chambers[i]
	g.fpga, g.first, g.last = c.FPGA, c.FirstChannel, c.LastChannel
	for tdc := c.FirstChannel; tdc <= c.LastChannel; tdc++ {
		g.tdc[tdc%hit.Channels] = tdc
	}
	for ch, tdc := range g.tdc {
		if tdc >= 0 {
			layer := m.Layer(ch) - 1
			g.layer[ch] = layer
			g.channels[layer] = append(g.channels[layer], ch)
		}
	}
	return g
}

// cut cuts the chamber into boards of n consecutive channels.
func (g *layers) cut(n int) {
	for tdc, last := g.first, -1; tdc <= g.last; tdc++ {
		ch := tdc % hit.Channels
		if g.tdc[ch] < 0 {
			continue
		}
		if tdc/n != last {
			last = tdc / n
			g.boards = append(g.boards, nil)
		}
		at := len(g.boards) - 1
		g.boards[at] = append(g.boards[at], ch)
		g.board[ch] = at
	}
}
