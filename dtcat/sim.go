package main

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"dt/internal/hit"
)

// The simulated source makes what the stream run looks like: cosmic muons and noise, as 64-bit words.
//
// Detector time is integer ticks from 0. Muons come at random and put the hits of a straight track into the queues of
// both FPGAs, sorted by time; each FPGA merges its queue with noise of its own. Words leave in cycles of 16: 4 hits of
// FPGA 0, 4 of FPGA 1, 4 ancillary words of each. As both send equally many hits, an FPGA with fewer hits a second
// runs ahead of the other (so it is in the real stream, inferred), and the noise rates are steered so that FPGA 1
// leads by what skew= says.
//
// The same settings give the same words on every machine: all arithmetic behind the settings is on integers, and the
// few tables from package math are rounded far more coarsely than machines differ.

// simUsage lists the settings of sim:, for the help text.
const simUsage = `sim:?NAME=VALUE&NAME=VALUE…   simulated cosmic data; all settings are optional
  seed=1         the same seed and settings give the same words, 0 … 2^64-1
  hits=0         end after so many hits, 2000000 or 2e6; 0: never
  words=0        end after so many words, half of them ancillary; 0: never
  rate=3000      hits a second of detector time in all, 1 … 1e6; what is no muon is noise
  triggers=1.5   muons a second with a scintillator hit; they cross all four chambers
  muons=rate/40  muons a second without one
  eff=0.97       efficiency of a wire, 0 … 1
  after=0.03     share of the muons' hits that an after-pulse follows, 0 … 0.5
  hot=           wires with half as much noise as the rest of their chamber: 3:20+4:1
  dead=          wires without hits, chamber:channel, channels 0 … 63: 1:11+1:13
  skew=600       orbits by which FPGA 1 comes to run ahead of FPGA 0, 0 … 20000
  late=0         share of the hits that come too late for their orbit, 0 … 0.1
  corrupt=1e-6   share of words with wrong bits, 0 … 0.1
  stale=160      hits with orbits near 3.387e9 at the start, 0 … 1e6
  restart=       hits after which the orbit counters restart: 50000+100000
`

// simConfig holds the settings of one simulated run, checked.
type simConfig struct {
	seed                      uint64
	hits, words               float64 // whole; 0: no end
	rate, triggers, muons     float64 // a second; muons < 0: a share of rate
	eff, after, late, corrupt float64
	skew, stale               float64
	hot, dead                 [simWires]bool // by (chamber-1)·64 + channel
	restart                   []uint64

	noise [2]float64 // noise hits a second of each FPGA: what rate leaves beside the muons
}

const (
	simWires     = 4 * hit.Channels
	simMuonShare = 1. / 40 // muons to hits, unless set
	minNoise     = 0.05    // least noise of an FPGA, as a share of rate: the skew is steered by it
)

var simDefaults = simConfig{seed: 1, rate: 3000, triggers: 1.5, muons: -1, eff: 0.97, after: 0.03, skew: 600, corrupt: 1e-6, stale: 160}

// simNumbers are the settings that are numbers. Limits of 1e15 keep whole numbers exact.
var simNumbers = []struct {
	name     string
	min, max float64
	whole    bool
	of       func(*simConfig) *float64
}{
	{"hits", 0, 1e15, true, func(c *simConfig) *float64 { return &c.hits }},
	{"words", 0, 1e15, true, func(c *simConfig) *float64 { return &c.words }},
	{"rate", 1, 1e6, false, func(c *simConfig) *float64 { return &c.rate }},
	{"triggers", 0, 1e5, false, func(c *simConfig) *float64 { return &c.triggers }},
	{"muons", 0, 1e5, false, func(c *simConfig) *float64 { return &c.muons }},
	{"eff", 0, 1, false, func(c *simConfig) *float64 { return &c.eff }},
	{"after", 0, 0.5, false, func(c *simConfig) *float64 { return &c.after }},
	{"skew", 0, 20000, true, func(c *simConfig) *float64 { return &c.skew }},
	{"late", 0, 0.1, false, func(c *simConfig) *float64 { return &c.late }},
	{"corrupt", 0, 0.1, false, func(c *simConfig) *float64 { return &c.corrupt }},
	{"stale", 0, 1e6, true, func(c *simConfig) *float64 { return &c.stale }},
}

var simNames = func() []string {
	names := []string{"seed", "hot", "dead", "restart"}
	for _, n := range simNumbers {
		names = append(names, n.name)
	}
	slices.Sort(names)
	return names
}()

// parseSim reads what follows "sim:" in a source's name: nothing, or a URL's query with its question mark.
func parseSim(spec string) (*simConfig, error) {
	query, ok := strings.CutPrefix(spec, "?")
	if !ok && spec != "" {
		return nil, fmt.Errorf("sim:%s: settings begin with a question mark (hint: sim:?%s)", spec, strings.TrimLeft(spec, "/&"))
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("sim: settings %q: %w", query, err)
	}
	c := simDefaults
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if len(values[key]) > 1 {
			return nil, fmt.Errorf("sim: %s is set twice", key)
		}
		if err := c.set(key, values[key][0]); err != nil {
			return nil, fmt.Errorf("sim: %w", err)
		}
	}
	if err := c.finish(); err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	return &c, nil
}

func (c *simConfig) set(key, value string) (err error) {
	switch key {
	case "seed":
		if c.seed, err = strconv.ParseUint(value, 10, 64); err != nil {
			return fmt.Errorf("seed: %q is not a whole number from 0 to 2^64-1", value)
		}
		return nil
	case "hot":
		return parseWires(&c.hot, key, value)
	case "dead":
		return parseWires(&c.dead, key, value)
	case "restart":
		for _, field := range simList(value) {
			n, err := simNumber(key, field, 1, 1e15, true)
			if err != nil {
				return err
			}
			if len(c.restart) > 0 && uint64(n) <= c.restart[len(c.restart)-1] {
				return fmt.Errorf("restart: %q does not come after %d", field, c.restart[len(c.restart)-1])
			}
			c.restart = append(c.restart, uint64(n))
		}
		if len(c.restart) == 0 || len(c.restart) > 1000 {
			return fmt.Errorf("restart: %d numbers of hits; 1 to 1000 are possible, as in restart=50000+100000", len(c.restart))
		}
		return nil
	}
	for _, n := range simNumbers {
		if n.name == key {
			*n.of(c), err = simNumber(key, value, n.min, n.max, n.whole)
			return err
		}
	}
	if near, ok := nearestName(key, simNames); ok {
		return fmt.Errorf("unknown setting %q (hint: %s)", key, near)
	}
	return fmt.Errorf("unknown setting %q; there are %s", key, strings.Join(simNames, ", "))
}

func simNumber(key, value string, lo, hi float64, whole bool) (float64, error) {
	v, err := strconv.ParseFloat(value, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s: %q is not a number", key, value)
	case !(v >= lo && v <= hi): // so written, it refuses NaN too
		return 0, fmt.Errorf("%s: %s is not from %v to %v", key, value, lo, hi)
	case whole && v != math.Trunc(v):
		return 0, fmt.Errorf("%s: %s is not a whole number", key, value)
	}
	return v, nil
}

// simList splits a list at its plus signs, which a URL's query gives as spaces, or at commas.
func simList(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '+' || r == ',' })
}

func parseWires(set *[simWires]bool, key, value string) error {
	fields := simList(value)
	if len(fields) == 0 {
		return fmt.Errorf("%s: no wires; write chamber:channel, as in %s=1:11+1:13", key, key)
	}
	for _, field := range fields {
		left, right, ok := strings.Cut(strings.Replace(field, "/", ":", 1), ":")
		chamber, err1 := strconv.Atoi(left)
		channel, err2 := strconv.Atoi(right)
		if !ok || err1 != nil || err2 != nil {
			return fmt.Errorf("%s: %q is not chamber:channel, as in 1:11", key, field)
		}
		if chamber < 1 || chamber > 4 || channel < 0 || channel >= hit.Channels {
			return fmt.Errorf("%s: there is no wire %s; chambers are 1 to 4, their channels 0 to 63", key, field)
		}
		set[(chamber-1)*hit.Channels+channel] = true
	}
	return nil
}

// finish checks the settings against each other and works out the noise.
func (c *simConfig) finish() error {
	alive := [2]int{}
	for i := range simWires {
		if c.hot[i] && c.dead[i] {
			return fmt.Errorf("wire %s is both hot and dead", wireName(i))
		}
		if !c.dead[i] {
			alive[simChambers().chamber[i/hit.Channels].fpga]++
		}
	}
	for f, n := range alive {
		if n == 0 {
			return fmt.Errorf("dead: FPGA %d has no wire left", f)
		}
	}
	if len(c.restart) > 0 && float64(c.restart[0]) <= c.stale {
		return fmt.Errorf("restart: %d lies in the %v stale hits at the start (hint: stale=0)", c.restart[0], c.stale)
	}
	each := hitsOfMuon(c)
	for f := range each {
		// The conversion keeps a compiler from fusing the operations, which would round differently.
		c.noise[f] = c.rate/2 - float64((c.triggers+c.muonRate())*each[f])
	}
	if most := max(each[0], each[1]); min(c.noise[0], c.noise[1]) < minNoise*c.rate {
		need := (c.triggers + c.muons) / (0.5/most - minNoise/most)
		if c.muons < 0 {
			need = c.triggers / (0.5/most - minNoise/most - simMuonShare)
		}
		return fmt.Errorf("rate: %v hits a second are too few for triggers=%v and muons=%v (hint: rate=%v)",
			c.rate, c.triggers, c.muonRate(), 100*math.Ceil(need/100*1.02))
	}
	return nil
}

func (c *simConfig) muonRate() float64 {
	if c.muons < 0 {
		return c.rate * simMuonShare
	}
	return c.muons
}

func wireName(i int) string { return fmt.Sprintf("%d:%d", i/hit.Channels+1, i%hit.Channels) }

// endless reports whether no limit is set.
func (c *simConfig) endless() bool { return c.hits == 0 && c.words == 0 }

// String returns the source that gives this run again: the seed, and whatever is not the default.
func (c *simConfig) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sim:?seed=%d", c.seed)
	for _, n := range simNumbers {
		if v := *n.of(c); v != *n.of(&simDefaults) {
			fmt.Fprintf(&b, "&%s=%s", n.name, strconv.FormatFloat(v, 'f', -1, 64))
		}
	}
	list := func(key string, items []string) {
		if len(items) > 0 {
			fmt.Fprintf(&b, "&%s=%s", key, strings.Join(items, "+"))
		}
	}
	var hot, dead, restart []string
	for i := range simWires {
		if c.hot[i] {
			hot = append(hot, wireName(i))
		}
		if c.dead[i] {
			dead = append(dead, wireName(i))
		}
	}
	for _, n := range c.restart {
		restart = append(restart, strconv.FormatUint(n, 10))
	}
	list("hot", hot)
	list("dead", dead)
	list("restart", restart)
	return b.String()
}

// nearestName returns the name that fewest changes of a letter lead to, if it is near enough to be meant.
func nearestName(key string, names []string) (string, bool) {
	best, distance := "", max(2, len(key)/2)+1
	for _, name := range names {
		row := make([]int, len(name)+1)
		for j := range row {
			row[j] = j
		}
		for i := range len(key) {
			diagonal := row[0]
			row[0] = i + 1
			for j := range len(name) {
				change := diagonal
				if key[i] != name[j] {
					change++
				}
				diagonal = row[j+1]
				row[j+1] = min(change, row[j]+1, row[j+1]+1)
			}
		}
		if d := row[len(name)]; d < distance {
			best, distance = name, d
		}
	}
	return best, best != ""
}

// Detector and data, in ticks and µm. The values that no chamber map has are from stream_990.csv and run591.
const (
	ticksPerSecond = 1e9 * hit.DriftPerNS / hit.DriftPerTick

	scintillatorChannel = 128
	strayChannel        = 138          // belongs to no chamber
	scintillatorDelay   = 120 * 6 / 5  // from the muon to the scintillator's signal; more than any chamber's offset
	twoScintillators    = 1 << 16 / 12 // share of triggers with a second hit, of 1<<16
	resolution          = 3 * 6 / 5.   // of a drift time, one sigma: 3 ns
	afterPulseMin       = 60 * 6 / 5
	afterPulseMean      = 150 * 6 / 5

	staleOrbit = 3_387_200_956 // where the counters stand at the start …
	liveOrbit  = 616_953       // … and after a restart

	skewGrowth  = 8       // the skew grows by one orbit in so many
	swapOneIn   = 1 << 12 // neighbours of successive orbits of which one pair has changed places: a step back of 1 orbit
	lateOrbits  = 64      // a late hit comes at least so many orbits after its own
	aheadOrbits = 20_095  // ancillary orbits run ahead of the hits by at most so many
)

// chambers is the default map's geometry in the simulation's units.
type chambers struct {
	chamber [4]struct {
		fpga, first int
		delay       int64    // from the muon to a hit without drift
		z           [4]int64 // of layer 1 … 4
	}
	shift      [4]int64 // from a place to where it is in layer 1 … 4, counted from the left wall of wire 1
	channel    [4]int64 // channel mod 4 of layer 1 … 4
	cell       int64
	driftTicks int64 // for 1 µm, in 1/2³²
}

var simChambers = sync.OnceValue(func() *chambers {
	m := hit.DefaultMap()
	micron := func(mm float64) int64 { return int64(math.Round(1000 * mm)) }
	g := &chambers{cell: micron(m.Geometry.CellWidthMM)}
	g.driftTicks = int64(math.Round(1.2 / m.Geometry.DriftVelocityUMNS * (1 << 32)))
	for i, c := range m.Chambers {
		to := &g.chamber[i]
		to.fpga, to.first = c.FPGA, c.FirstChannel
		to.delay = scintillatorDelay - (c.Offset+hit.DriftPerTick/2)/hit.DriftPerTick
		for layer := range to.z { // z points upwards, layer 1 is on top
			to.z[layer] = micron(c.ZMM) + micron(m.Geometry.CellHeightMM)*int64(3-2*layer)/2
		}
	}
	for mod, layer := range m.Geometry.LayerOfChannel {
		g.channel[layer-1] = int64(mod)
	}
	for layer, mm := range m.Geometry.StaggerMM {
		g.shift[layer] = g.cell/2 - micron(mm)
	}
	return g
})

// simTables turn uniform random numbers into others.
type simTables struct {
	exponential [1025]int64  // −ln(i/1024) in 1/2¹⁶, to be interpolated
	normal      [1024]int64  // quantiles of the resolution, in ticks
	tan         [1024]int64  // quantiles of tan ψ in 1/2¹⁶
	tanHalf     [1024]uint16 // the same as half-floats
	xHalf       [1024]uint16 // −87 … 87 mm as half-floats
}

var newSimTables = sync.OnceValue(func() *simTables {
	t := new(simTables)
	for i := range 1024 {
		u := (float64(i) + 0.5) / 512 // 0 … 2
		t.exponential[i+1] = int64(math.Round(-math.Log(float64(i+1)/1024) * (1 << 16)))
		t.normal[i] = int64(math.Round(resolution * math.Sqrt2 * math.Erfinv(u-1)))
		// A flux as cos²θ crosses a plane, seen in projection, as cos³ψ: sin ψ − sin³ψ/3 is uniform.
		sin := 2 * math.Sin(math.Asin(u-1)/3)
		tan := sin / math.Sqrt((1-sin)*(1+sin))
		t.tan[i] = int64(math.Round(tan * (1 << 16)))
		t.tanHalf[i] = toHalf(float64(t.tan[i]) / (1 << 16))
		t.xHalf[i] = toHalf(float64(i*174-511*174) / 1024)
	}
	t.exponential[0] = t.exponential[1] + 2<<16 // gives the first cell its right mean
	return t
})

// toHalf rounds a normal number to an IEEE half-float, towards zero; smaller ones to zero.
func toHalf(v float64) uint16 {
	b := math.Float64bits(v)
	exp := int(b>>52&2047) - 1023 + 15
	if exp < 1 {
		return 0
	}
	return uint16(b>>63<<15) | uint16(exp)<<10 | uint16(b>>42&1023)
}

// random is SplitMix64 (Steele, Lea, Flood 2014).
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// scaled returns mean times an exponential random number, from the low 32 bits of bits.
func (t *simTables) scaled(mean int64, bits uint64) int64 {
	i, frac := bits>>22&1023, int64(bits>>6&0xffff)
	a, b := t.exponential[i], t.exponential[i+1]
	return mean * (a + (b-a)*frac>>16) >> 16
}

// A pending hit is its time in ticks above its channel, so that comparing compares times.
const channelBits = 8

// simFPGA is one FPGA's side of the stream.
type simFPGA struct {
	number int
	queue  simQueue    // hits of muons
	wires  [4096]uint8 // channels, each as often as it makes noise
	noise  uint64      // next noise hit
	gap    int64       // mean time between noise hits, as steered now
	mean   int64       // the same, unsteered
	level  int64       // 256 times the noise, steered to unsteered

	at        int64      // time of the newest hit
	epoch     int        // restarts passed
	restart   int64      // when the counter restarts next
	zero      int64      // counter at time 0, in ticks
	lead      int64      // ancillary words run ahead by so many orbits, …
	leadStep  int64      // … more in each cycle by so many …
	leadMax   int64      // … up to so many
	record    int64      // orbit of the ancillary record being written
	phase     int        // its next word
	held      []heldWord // late hits, a ring
	head, end uint64     // of held
}

type heldWord struct {
	word uint64
	due  int64
}

// simQueue is a ring of pending hits in order.
type simQueue struct {
	ring      []uint64
	head, end uint64
}

// push puts in a hit, which belongs near the end.
func (q *simQueue) push(pending uint64) {
	if q.end-q.head == uint64(len(q.ring)) {
		q.grow()
	}
	ring := q.ring
	mask := uint64(len(ring) - 1)
	i := q.end
	for ; i != q.head && ring[(i-1)&mask] > pending; i-- {
		ring[i&mask] = ring[(i-1)&mask]
	}
	ring[i&mask] = pending
	q.end++
}

func (q *simQueue) grow() {
	ring := make([]uint64, 2*len(q.ring))
	n := copy(ring, q.ring[q.head&uint64(len(q.ring)-1):])
	copy(ring[n:], q.ring)
	q.head, q.end = 0, uint64(len(q.ring))
	q.ring = ring
}

// sim is a simulated run. Its words are made cycle by cycle, so how a caller batches them changes nothing.
type sim struct {
	*simTables
	*chambers
	rng  random
	fpga [2]simFPGA
	left uint64 // words until the end

	cycle [16]uint64 // the cycle that a caller had not room for …
	rest  int        // … and how many words of it are left

	muonAt       int64 // time of the next muon
	muonGap      int64
	triggerShare uint64 // of 1<<32
	eff, after   uint64 // of 1<<16
	dead         [simWires]bool

	skew, settle int64  // in ticks: the lead of FPGA 1, and the error that doubles the noise
	hitGap       int64  // mean time between hits
	late         uint64 // share of 1<<32
	corruptGap   int64  // words between corrupt ones, in the mean; 0: none
	corruptIn    int64

	hits       uint64
	restartsAt []uint64 // hits after which the counters restart, those to come
	restarts   []int64  // times of those that came
}

const never = math.MaxInt64

// share turns a probability into a threshold for numbers of so many bits.
func share(p float64, bits int) uint64 { return uint64(p * float64(uint64(1)<<bits)) }

// newMuons returns a simulation that is complete as far as muons go.
func newMuons(c *simConfig) *sim {
	s := &sim{simTables: newSimTables(), chambers: simChambers(), muonAt: never, dead: c.dead}
	for f := range s.fpga {
		s.fpga[f].queue.ring = make([]uint64, 256)
	}
	if muons := c.triggers + c.muonRate(); muons > 0 {
		s.muonAt = 0
		s.muonGap = int64(ticksPerSecond / muons)
		s.triggerShare = share(c.triggers/muons, 32)
	}
	s.eff, s.after = share(c.eff, 16), share(c.after, 16)
	return s
}

// hitsOfMuon returns the mean number of hits of a muon in each FPGA, by trying.
func hitsOfMuon(c *simConfig) (mean [2]float64) {
	const muons = 4096
	s := newMuons(c)
	if s.muonAt == never {
		return mean
	}
	var hits [2]uint64
	for range muons {
		s.muon()
		for f := range s.fpga {
			q := &s.fpga[f].queue
			hits[f] += q.end - q.head
			q.head = q.end
		}
	}
	for f := range mean {
		mean[f] = float64(hits[f]) / muons
	}
	return mean
}

func newSim(c *simConfig) *sim {
	s := newMuons(c)
	s.rng = random(c.seed)
	s.rng = random(s.rng.next()) // or neighbouring seeds would give the same numbers, shifted
	s.left = math.MaxUint64
	if c.hits > 0 { // the end comes before the hit that is too many
		s.left = uint64(c.hits)/8*16 + uint64(c.hits)%8
	}
	if c.words > 0 {
		s.left = min(s.left, uint64(c.words))
	}
	s.skew = int64(c.skew) * hit.TicksPerOrbit
	s.hitGap = int64(ticksPerSecond / c.rate)
	s.settle = 64 * s.hitGap
	s.late = share(c.late, 32)
	if c.corrupt > 0 {
		s.corruptGap = int64(1 / c.corrupt)
		s.corruptIn = s.scaled(s.corruptGap, s.rng.next())
	}
	if c.stale > 0 {
		s.restartsAt = append(s.restartsAt, uint64(c.stale))
	}
	s.restartsAt = append(s.restartsAt, c.restart...)
	s.restarts = make([]int64, 0, len(s.restartsAt))

	// Rings of the size that is needed when FPGA 0 has fallen back by the skew.
	seconds := float64(s.skew)/ticksPerSecond + 2000*hit.TicksPerOrbit/ticksPerSecond
	ring := func(rate float64) uint64 { return 1 << bits.Len64(256+uint64(2*rate*seconds)) }
	for f := range s.fpga {
		p := &s.fpga[f]
		p.number, p.phase, p.restart = f, 3-3*f, never
		p.queue.ring = make([]uint64, ring(c.rate/2-c.noise[f]))
		p.held = make([]heldWord, ring(c.late*c.rate/2))
		p.mean = int64(ticksPerSecond / c.noise[f])
		p.gap, p.level = p.mean, 256
		p.fillWires(s, c)
		if c.stale > 0 {
			p.zero = staleOrbit * hit.TicksPerOrbit
			p.lead, p.leadStep, p.leadMax = 138_300, 380, 146_000
			if f == 1 {
				p.lead, p.leadMax = 114_700, 121_500
			}
			p.record = staleOrbit + p.lead
		} else {
			p.begin(0)
		}
		s.drawNoise(p)
	}
	if s.muonAt != never {
		s.muonAt = s.scaled(s.muonGap, s.rng.next())
	}
	return s
}

// begin starts the counter anew at a time.
func (p *simFPGA) begin(at int64) {
	p.zero = liveOrbit*hit.TicksPerOrbit - at
	p.lead, p.leadStep, p.leadMax = 140, 180, aheadOrbits
	p.record = liveOrbit
}

// fillWires gives each wire its share of the noise.
func (p *simFPGA) fillWires(s *sim, c *simConfig) {
	type weight struct{ channel, n int }
	var weights []weight
	total := 0
	for i, ch := range s.chamber {
		if ch.fpga != p.number {
			continue
		}
		var w [hit.Channels]int
		sum := 0
		for j := range w { // rates vary from wire to wire by up to 8
			u := int(s.rng.next() >> 54)
			if k := i*hit.Channels + j; !c.dead[k] && !c.hot[k] {
				w[j] = 128 + u*u*7>>13
				sum += w[j]
			}
		}
		for j := range w {
			if c.hot[i*hit.Channels+j] {
				w[j] = max(sum/2, 1024)
			}
			weights = append(weights, weight{ch.first + j, w[j]})
			total += w[j]
		}
	}
	if p.number == 1 {
		weights = append(weights, weight{strayChannel, total/200 + 1})
		total += total/200 + 1
	}
	sum, filled := 0, 0
	for _, w := range weights {
		sum += w.n
		for ; filled < sum*len(p.wires)/total; filled++ {
			p.wires[filled] = uint8(w.channel)
		}
	}
}

// next fills dst with the words that come next and returns how many; 0 at the end.
func (s *sim) next(dst []uint64) int {
	if uint64(len(dst)) > s.left {
		dst = dst[:s.left]
	}
	n := 0
	for n < len(dst) {
		if s.rest == 0 {
			if len(dst)-n >= len(s.cycle) {
				s.fill((*[16]uint64)(dst[n:]))
				n += len(s.cycle)
				continue
			}
			s.fill(&s.cycle)
			s.rest = len(s.cycle)
		}
		m := copy(dst[n:], s.cycle[len(s.cycle)-s.rest:])
		s.rest -= m
		n += m
	}
	s.left -= uint64(n)
	return n
}

// fill makes one cycle.
func (s *sim) fill(out *[16]uint64) {
	a, b := &s.fpga[0], &s.fpga[1]
	s.steer(a, b)
	slowest := min(a.at, b.at)
	s.fourHits(a, out[0:4:4], slowest)
	s.fourHits(b, out[4:8:8], slowest)
	s.fourAncillary(a, out[8:12:12])
	s.fourAncillary(b, out[12:16:16])

	s.hits += 8
	if len(s.restartsAt) > 0 && s.hits >= s.restartsAt[0] {
		s.restartsAt = s.restartsAt[1:]
		s.restarts = append(s.restarts, (max(a.at, b.at)/hit.TicksPerOrbit+1)*hit.TicksPerOrbit)
		for f := range s.fpga {
			if p := &s.fpga[f]; p.restart == never {
				p.restart = s.restarts[p.epoch]
			}
		}
	}
	if s.corruptGap > 0 {
		for s.corruptIn < int64(len(out)) {
			s.corrupt(&out[s.corruptIn])
			s.corruptIn += 1 + s.scaled(s.corruptGap, s.rng.next())
		}
		s.corruptIn -= int64(len(out))
	}
}

// steer sets the noise rates so that b leads a by the skew: more noise keeps an FPGA back. As little time passes where
// there is much noise, this alone would give fewer hits than rate says, so it slowly makes up for those.
func (s *sim) steer(a, b *simFPGA) {
	tooFar := b.at - a.at - min(s.skew, min(a.at, b.at)/skewGrowth)
	change := min(max(tooFar/(s.settle>>8+1), -2048), 2048)
	missing := (a.at+b.at)/2/s.hitGap - int64(s.hits)
	level := 256 + min(max(missing/64, -64), 64)
	a.setNoise(level - change)
	b.setNoise(level + change)
}

// setNoise makes the noise level/256 times what it is by default, from now on. The wait for the next hit has no
// memory, so what is left of it may be stretched.
func (p *simFPGA) setNoise(level int64) {
	level = min(max(level, 32), 2048)
	if level == p.level {
		return
	}
	at, channel := int64(p.noise>>channelBits), p.noise&(1<<channelBits-1)
	at = p.at + (at-p.at)*p.level/level
	p.noise = uint64(at)<<channelBits | channel
	p.level, p.gap = level, p.mean<<8/level
}

// corrupt flips a bit or two, or makes all bits random.
func (s *sim) corrupt(w *uint64) {
	r := s.rng.next()
	switch r >> 62 {
	case 0:
		*w = s.rng.next()
	case 1:
		*w ^= 1<<(r&63) | 1<<(r>>6&63)
	default:
		*w ^= 1 << (r & 63)
	}
}

func (s *sim) fourHits(p *simFPGA, out []uint64, slowest int64) {
	for i := range out {
		if p.head != p.end {
			if h := &p.held[p.head&uint64(len(p.held)-1)]; h.due < slowest {
				out[i] = h.word
				p.head++
				continue
			}
		}
		w := s.hit(p)
		if s.late > 0 {
			for s.hold(p, w) {
				w = s.hit(p)
			}
		}
		out[i] = w
		if i > 0 && hit.Orbit(w)-hit.Orbit(out[i-1]) == 1 && s.rng.next()%swapOneIn == 0 {
			out[i], out[i-1] = out[i-1], w
		}
	}
}

// hold keeps a hit back until its orbit has gone by in both FPGAs, if chance says so.
func (s *sim) hold(p *simFPGA, w uint64) bool {
	r := s.rng.next()
	if r>>32 >= s.late || p.end-p.head == uint64(len(p.held)) {
		return false
	}
	due := p.at + (lateOrbits+int64(r&1023))*hit.TicksPerOrbit
	p.held[p.end&uint64(len(p.held)-1)] = heldWord{w, due}
	p.end++
	return true
}

// hit makes the next hit of an FPGA in its order of time.
func (s *sim) hit(p *simFPGA) uint64 {
	q := &p.queue
	for {
		pending := p.noise
		fromMuon := false
		if q.head != q.end {
			if first := q.ring[q.head&uint64(len(q.ring)-1)]; first < pending {
				pending, fromMuon = first, true
			}
		}
		at := int64(pending >> channelBits)
		if s.muonAt <= at {
			s.muon() // may have earlier hits
			continue
		}
		if fromMuon {
			q.head++
		} else {
			s.drawNoise(p)
		}
		p.at = at
		if at >= p.restart {
			s.restartCounter(p)
		}
		t := uint64(at + p.zero)
		bx := t / hit.TicksPerBX // the TDC counts from 1 to 30
		return hit.NewHit(p.number, int(pending&(1<<channelBits-1)), uint32(bx/hit.BXPerOrbit), int(bx%hit.BXPerOrbit), int(t%hit.TicksPerBX)+1)
	}
}

func (s *sim) restartCounter(p *simFPGA) {
	for p.restart <= p.at {
		p.begin(p.restart)
		p.epoch++
		p.restart = never
		if p.epoch < len(s.restarts) {
			p.restart = s.restarts[p.epoch]
		}
	}
}

func (s *sim) drawNoise(p *simFPGA) {
	r := s.rng.next()
	at := int64(p.noise>>channelBits) + s.scaled(p.gap, r)
	p.noise = uint64(at)<<channelBits | uint64(p.wires[r>>52])
}

// muon puts the hits of the next muon into the queues, none before the muon's own time, and draws the time of the
// one after it.
func (s *sim) muon() {
	r := s.rng.next()
	t := s.muonAt
	s.muonAt += s.scaled(s.muonGap, r)
	trigger := r>>32 < s.triggerShare
	ref := s.chamber[r&3].z[0] // a height at which the track is inside
	width := 16 * s.cell
	var x, tan int64
	for {
		r = s.rng.next()
		x = int64(r>>32)*width>>32 - s.cell/4
		tan = s.tan[r&1023]
		if !trigger || s.inside(x+tan*(s.chamber[0].z[3]-ref)>>16) && s.inside(x+tan*(s.chamber[3].z[0]-ref)>>16) {
			break
		}
	}
	for c := range s.chamber {
		chamber := &s.chamber[c]
		q := &s.fpga[chamber.fpga].queue
		for layer, z := range chamber.z {
			place := x + tan*(z-ref)>>16 + s.shift[layer]
			if uint64(place) >= uint64(width) {
				continue
			}
			wire := place / s.cell
			channel := wire*hit.Layers + s.channel[layer]
			r = s.rng.next()
			if r>>48 >= s.eff || s.dead[int64(c*hit.Channels)+channel] {
				continue
			}
			drift := place - wire*s.cell - s.cell/2
			drift = max(drift, -drift) * s.driftTicks >> 32
			at := t + chamber.delay + drift + s.normal[r&1023]
			channel += int64(chamber.first)
			q.push(uint64(at)<<channelBits | uint64(channel))
			if r>>32&0xffff < s.after {
				at += afterPulseMin + s.scaled(afterPulseMean, s.rng.next())
				q.push(uint64(at)<<channelBits | uint64(channel))
			}
		}
	}
	if trigger {
		q := &s.fpga[1].queue
		r = s.rng.next()
		at := t + scintillatorDelay + int64(r&1)
		q.push(uint64(at)<<channelBits | scintillatorChannel)
		if r>>48 < twoScintillators {
			at += 30 + int64(r>>8&255)
			q.push(uint64(at)<<channelBits | scintillatorChannel)
		}
	}
}

// inside reports whether a place is in the cells of every layer.
func (s *sim) inside(x int64) bool { return x >= 0 && x < 16*s.cell-s.cell/2 }

// fourAncillary goes on with the records of five words that an FPGA sends beside its hits: mask, value, a trigger's
// t0, tan ψ and local x.
func (s *sim) fourAncillary(p *simFPGA, out []uint64) {
	now := (p.at + p.zero) / hit.TicksPerOrbit
	p.lead = min(p.lead+p.leadStep, p.leadMax-1000) // below the bound, so that chance has room
	for i := range out {
		r := s.rng.next()
		if p.phase == 0 || p.record < now {
			p.record += s.scaled(max(now+p.lead-p.record, 0), r)
			p.record = min(max(p.record, now), now+p.leadMax)
		}
		w := uint64(p.number)<<hit.FPGAShift | uint64(uint32(p.record))<<24
		switch p.phase {
		case 0: // a cell of each layer
			w |= 3<<hit.HeadShift | 1<<(r>>40&3) | 16<<(r>>42&3) | 256<<(r>>44&3) | 4096<<(r>>46&3)
		case 1:
			w |= 1<<hit.HeadShift | (1<<(r>>40&3)|16<<(r>>42&3))<<16
		case 2:
			bx, tdc := (r>>32)*hit.BXPerOrbit>>32, r&0xffff*hit.TicksPerBX>>16+1
			w |= bx<<12 | tdc<<7 | (r>>16&15)*(r>>20&1)
		case 3:
			w |= 4<<hit.HeadShift | uint64(s.tanHalf[r>>40&1023])
		case 4:
			w |= 5<<hit.HeadShift | uint64(s.xHalf[r>>40&1023])
		}
		out[i] = w
		if p.phase++; p.phase == 5 {
			p.phase = 0
		}
	}
}
