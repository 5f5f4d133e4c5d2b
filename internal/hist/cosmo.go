package hist

import (
	"math/bits"

	"dt/internal/hit"
)

// Bounds of a message of --format cosmo. The page that reads it allocates from the lowest to the highest orbit, and
// a Kafka message has by default at most 1 MiB.
const (
	CosmoChambers = 4
	CosmoOrbits   = 1_000_000 // from the lowest to the highest orbit, inclusive
	CosmoEntries  = 50_000    // orbits of chambers, and drift times; what one orbit has is never divided
)

// A Cosmo collects what --format cosmo writes: the second published pipeline's message. It is fed by a Lane's Hit:
//
//	lane.Hit = func(epoch uint32, b Booked) {
//		if !c.Fits(epoch, b) {
//			send(c.Append(nil, words))
//			c.Reset()
//		}
//		c.Book(epoch, b)
//	}
type Cosmo struct {
	epoch       uint32
	first, last int64 // orbit; last is also any orbit, for chambers without hits
	any         bool  // there are hits in time, so epoch and first are known
	entries     int
	chambers    [CosmoChambers]cosmoChamber
}

type cosmoChamber struct {
	hits   int64
	tdc    [hit.Channels]int64 // of all hits, by channel mod 64
	scint  [hit.Channels]int64 // of hits in orbits with a scintillator hit
	mask   uint64              // of the channels that are active in orbit last
	orbits []cosmoOrbit        // before last
	drifts []int64             // 1/30 ns
}

type cosmoOrbit struct {
	orbit int64
	n     int
}

// Fits reports whether a hit may go into the message. If not, the message is to be written and Reset first. It is never
// false between two hits of one orbit.
func (c *Cosmo) Fits(epoch uint32, b Booked) bool {
	o := int64(hit.Orbit(b.Word))
	if b.Late || !c.any || epoch == c.epoch && o == c.last {
		return true
	}
	return epoch == c.epoch && o > c.last && o-c.first < CosmoOrbits && c.entries < CosmoEntries
}

// Book adds a hit as it is booked. Late hits count in chX and chX_tdc_hist only.
func (c *Cosmo) Book(epoch uint32, b Booked) {
	if !b.Late {
		o := int64(hit.Orbit(b.Word))
		switch {
		case !c.any:
			c.any, c.epoch, c.first = true, epoch, o
		case o != c.last:
			c.turn()
		}
		c.last = o
	}
	if b.Chamber == hit.NoChamber || b.Chamber > CosmoChambers {
		return
	}
	ch := &c.chambers[b.Chamber-1]
	channel := hit.Channel(b.Word) % hit.Channels
	ch.hits++
	ch.tdc[channel]++
	if b.Late {
		return
	}
	if ch.mask == 0 {
		c.entries++
	}
	ch.mask |= 1 << channel
	if b.InOrbit {
		ch.scint[channel]++
		ch.drifts = append(ch.drifts, b.Drift)
		c.entries++
	}
}

// turn ends orbit last.
func (c *Cosmo) turn() {
	for i := range c.chambers {
		ch := &c.chambers[i]
		if ch.mask != 0 {
			ch.orbits = append(ch.orbits, cosmoOrbit{c.last, bits.OnesCount64(ch.mask)})
			ch.mask = 0
		}
	}
}

// Append appends the message, without a line feed; n is how many words were read for it. It also ends the last orbit:
// Reset must follow.
func (c *Cosmo) Append(dst []byte, n int64) []byte {
	c.turn()
	dst = appendInt(dst, `{"n": `, n)
	for i := range c.chambers {
		dst = appendInt(dst, `, "ch`, int64(i))
		dst = appendInt(dst, `": `, c.chambers[i].hits)
	}
	for i := range c.chambers {
		ch := &c.chambers[i]
		key := func(name string) {
			dst = appendInt(dst, `, "ch`, int64(i))
			dst = append(dst, name...)
		}
		key(`_tdc_hist": `)
		dst = appendChannels(dst, i, &ch.tdc)
		key(`_orb_hist": {"edg": [`)
		if len(ch.orbits) == 0 {
			dst = appendInt(dst, "", c.last)
			dst = append(dst, `], "cnt": [0`...)
		} else {
			sep := ""
			for _, o := range ch.orbits {
				dst = appendInt(dst, sep, o.orbit)
				sep = ","
			}
			sep = `], "cnt": [`
			for _, o := range ch.orbits {
				dst = appendInt(dst, sep, int64(o.n))
				sep = ","
			}
		}
		dst = append(dst, `]}`...)
		key(`_tdc_hist_scint": `)
		dst = appendChannels(dst, i, &ch.scint)
		key(`_drifts": [`)
		for j, drift := range ch.drifts {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendDrift(dst, drift)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// appendChannels appends the channels that occur, 0–63 of ch0 and ch2 and 64–127 of ch1 and ch3 as the page wants them
// whatever the map, and their counts.
func appendChannels(dst []byte, chamber int, counts *[hit.Channels]int64) []byte {
	sep := `{"edg": [`
	for channel, n := range counts {
		if n > 0 {
			dst = appendInt(dst, sep, int64(channel+chamber%2*hit.Channels))
			sep = ","
		}
	}
	if sep != "," {
		return append(dst, `{"edg": [], "cnt": []}`...)
	}
	sep = `], "cnt": [`
	for _, n := range counts {
		if n > 0 {
			dst = appendInt(dst, sep, n)
			sep = ","
		}
	}
	return append(dst, `]}`...)
}

// appendDrift appends a drift time in ns, rounded to 3 decimals, which moves none over a whole ns: they are multiples
// of 1/30 ns.
func appendDrift(dst []byte, drift int64) []byte {
	v := drift * 1000 * 2
	if drift < 0 {
		v -= hit.DriftPerNS
	} else {
		v += hit.DriftPerNS
	}
	return appendDecimal(dst, v/(2*hit.DriftPerNS), 3)
}

// Reset begins the next message. The newest orbit stays known, for messages without hits.
func (c *Cosmo) Reset() {
	last := c.last
	var kept [CosmoChambers]cosmoChamber
	for i := range kept {
		kept[i].orbits, kept[i].drifts = c.chambers[i].orbits[:0], c.chambers[i].drifts[:0]
	}
	*c = Cosmo{last: last, chambers: kept}
}
