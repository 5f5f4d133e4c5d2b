package main

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"dt/internal/hit"
)

func mustSim(t testing.TB, spec string) *simConfig {
	t.Helper()
	c, err := parseSim(spec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// simWords returns all words of a run that ends.
func simWords(t testing.TB, spec string) []uint64 {
	t.Helper()
	s := newSim(mustSim(t, spec))
	words := make([]uint64, 0, 1<<20)
	for {
		words = slices.Grow(words, 4096)
		n := s.next(words[len(words) : len(words)+4096])
		if n == 0 {
			return words
		}
		words = words[:len(words)+n]
	}
}

// live leaves out everything up to the restart at the end of the stale prefix, for each FPGA.
func live(words []uint64) []uint64 {
	return slices.DeleteFunc(slices.Clone(words), func(w uint64) bool { return hit.Orbit(w) > 3e9 })
}

func digest(words []uint64) string {
	h := fnv.New64a()
	var b [8]byte
	for _, w := range words {
		binary.LittleEndian.PutUint64(b[:], w)
		h.Write(b[:])
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// everything sets all there is.
const everything = "?seed=7&hits=100001&rate=20000&triggers=100&muons=300&eff=0.9&after=0.1&hot=3:20&dead=1:11+1:13" +
	"&skew=5000&late=0.01&corrupt=0.001&stale=200&restart=20000+20008+60000"

func TestSimIsReproducible(t *testing.T) {
	for _, test := range []struct{ spec, want string }{
		{"?words=300000", "5ae448e80a89e1c2"},
		{"?seed=2&words=300000", "32deeaaf1742c05a"},
		{everything, "8fd1b099239f8d20"},
	} {
		words := simWords(t, test.spec)
		if got := digest(words); got != test.want {
			t.Errorf("sim:%s gives words with digest %s, want %s", test.spec, got, test.want)
		}
		for _, sizes := range [][]int{{1}, {7, 16, 17, 3}, {100, 1}, {1 << 16}} {
			s := newSim(mustSim(t, test.spec))
			var again []uint64
			for i := 0; ; i++ {
				buf := make([]uint64, sizes[i%len(sizes)])
				n := s.next(buf)
				if n == 0 {
					break
				}
				again = append(again, buf[:n]...)
			}
			if !slices.Equal(again, words) {
				t.Errorf("sim:%s in pieces of %d words differs", test.spec, sizes)
			}
			if s.next(make([]uint64, 5)) != 0 {
				t.Errorf("sim:%s goes on after its end", test.spec)
			}
		}
	}
}

func TestSimCyclesAndFields(t *testing.T) {
	words := simWords(t, "?hits=400000&corrupt=0&late=0&triggers=20")
	if len(words) != 800000 {
		t.Fatalf("%d words for 400000 hits, want 800000", len(words))
	}
	heads := [2][8]int{}
	channel138, scint := 0, 0
	for i, w := range words {
		at, fpga := i%16, i/4%2
		if hit.IsHit(w) != (at < 8) || hit.FPGA(w) != fpga {
			t.Fatalf("word %d, place %d of its cycle, has HEAD %d and FPGA %d", i, at, hit.Head(w), hit.FPGA(w))
		}
		heads[fpga][hit.Head(w)]++
		switch head := hit.Head(w); head {
		case 4, 5:
			v, bound := hit.Half(w), 5.
			if head == 5 {
				bound = 90
			}
			if w&0xff0000 != 0 || !(math.Abs(v) <= bound) {
				t.Fatalf("word %d: HEAD %d has value %v", i, head, v)
			}
		case 0, 2:
			if hit.TDC(w) < 1 || hit.TDC(w) > 30 || hit.BX(w) >= hit.BXPerOrbit {
				t.Fatalf("word %d: HEAD %d has BX %d, TDC %d", i, head, hit.BX(w), hit.TDC(w))
			}
			if head == 2 && hit.Channel(w) > 127 {
				switch {
				case hit.Channel(w) == 138 && fpga == 1:
					channel138++
				case hit.Channel(w) == 128 && fpga == 1:
					scint++
				default:
					t.Fatalf("word %d: hit of FPGA %d, channel %d", i, fpga, hit.Channel(w))
				}
			}
		}
	}
	for fpga, of := range heads {
		for _, head := range []int{0, 1, 3, 4, 5} {
			if n := of[head]; n < 39999 || n > 40001 {
				t.Errorf("FPGA %d has %d words of HEAD %d, want 40000", fpga, n, head)
			}
		}
	}
	if channel138 < 100 || channel138 > 2000 {
		t.Errorf("%d of 400000 hits are of channel 138", channel138)
	}
	if scint < 2000 {
		t.Errorf("%d scintillator hits", scint)
	}
}

func TestSimEnds(t *testing.T) {
	for spec, want := range map[string]int{
		"?hits=1": 1, "?hits=7": 7, "?hits=8": 16, "?hits=12": 20, "?words=9": 9, "?words=40&hits=8": 16, "?words=10&hits=800": 10,
	} {
		if got := len(simWords(t, spec)); got != want {
			t.Errorf("sim:%s has %d words, want %d", spec, got, want)
		}
	}
}

// Within an FPGA, hits rise but for steps of one orbit; counters restart once behind the stale prefix and where set.
func TestSimOrder(t *testing.T) {
	words := simWords(t, "?hits=1000000&corrupt=0&triggers=50&restart=400000+800000")
	var last [2]int64
	var epoch, back [2]int
	var now [2]uint32
	staleHits, restartedAt := 0, [2][3]int{}
	for i, w := range words {
		f := hit.FPGA(w)
		orbit := int64(hit.Orbit(w))
		if !hit.IsHit(w) {
			ahead, bound := orbit-int64(now[f]), int64(20095)
			if epoch[f] == 0 {
				bound = 146000
			}
			if ahead < 0 || ahead > bound {
				t.Fatalf("word %d: ancillary orbit %d runs ahead of the hits by %d", i, orbit, ahead)
			}
			continue
		}
		now[f] = max(now[f], uint32(orbit))
		if epoch[f] == 0 && orbit > 3e9 {
			staleHits++
			if orbit < 3387200956 || orbit > 3387205000 {
				t.Fatalf("word %d: stale orbit %d", i, orbit)
			}
		}
		switch step := orbit - last[f]; {
		case last[f] == 0 || step >= 0:
		case step == -1:
			back[f]++
		default:
			if epoch[f] == 3 || orbit < 616953 || orbit > 618000 {
				t.Fatalf("word %d: FPGA %d steps back from orbit %d to %d", i, f, last[f], orbit)
			}
			restartedAt[f][epoch[f]] = i / 2
			epoch[f]++
			now[f] = uint32(orbit)
		}
		last[f] = orbit
	}
	for f := range last {
		if epoch[f] != 3 || back[f] == 0 || back[f] > 100 {
			t.Errorf("FPGA %d: %d restarts, %d steps back of one orbit", f, epoch[f], back[f])
		}
		for i, want := range []int{160, 400000, 800000} {
			if got := restartedAt[f][i]; got < want-8 || got > want+600 {
				t.Errorf("FPGA %d: the counter restarts at hit %d, want about %d", f, got, want)
			}
		}
	}
	if staleHits < 150 || staleHits > 250 {
		t.Errorf("%d stale hits, want about 160", staleHits)
	}
}

// A straightforward analysis, orbit by orbit: the drift-time box, its edges, the meantimer, the rates.
func TestSimDriftBox(t *testing.T) {
	words := live(simWords(t, "?seed=3&hits=1000000&triggers=100&corrupt=0"))
	m := hit.DefaultMap()
	type orbitHits struct {
		hits  []uint64
		scint []int64
	}
	orbits := make(map[uint32]*orbitHits)
	first, newest := uint32(math.MaxUint32), uint32(0)
	hits, scintHits := 0, 0
	for _, w := range words {
		if !hit.IsHit(w) {
			continue
		}
		hits++
		o := hit.Orbit(w)
		first, newest = min(first, o), max(newest, o)
		at := orbits[o]
		if at == nil {
			at = new(orbitHits)
			orbits[o] = at
		}
		if m.Of(w) == hit.Scintillator {
			at.scint = append(at.scint, hit.Ticks(w))
			scintHits++
		} else if m.Of(w) != hit.NoChamber {
			at.hits = append(at.hits, w)
		}
	}
	seconds := float64(newest-first) * hit.OrbitNum / hit.OrbitDen
	var box [4][60]int // 10 ns, from −100 ns
	in, all, triggers, twice := 0, 0, 0, 0
	var meantimes []float64
	for _, o := range orbits {
		if len(o.scint) == 0 {
			continue
		}
		triggers++
		if len(o.scint) > 1 {
			twice++
		}
		var layers [4][5][]float64
		for _, w := range o.hits {
			c := int(m.Of(w)) - 1
			drift := (25*float64(hit.Ticks(w)-slices.Min(o.scint)) + float64(m.Chambers[c].Offset)) / 30
			all++
			if drift >= -5 && drift <= 400 {
				in++
			}
			if bin := int(math.Floor(drift/10)) + 10; bin >= 0 && bin < len(box[c]) {
				box[c][bin]++
			}
			layer := m.Layer(hit.Channel(w))
			layers[c][layer] = append(layers[c][layer], drift)
		}
		for _, l := range layers {
			if len(l[1]) == 1 && len(l[2]) == 1 && len(l[3]) == 1 {
				meantimes = append(meantimes, (l[1][0]+l[3][0])/2+l[2][0])
			}
		}
	}
	t.Logf("%d hits in %.1f s: %.0f a second; %.2f triggers a second, %.1f%% with two scintillator hits, %.1f hits each, %.2f%% in time",
		hits, seconds, float64(hits)/seconds, float64(triggers)/seconds, 100*float64(twice)/float64(triggers),
		float64(all)/float64(triggers), 100*float64(in)/float64(all))
	near := func(what string, got, want, tolerance float64) {
		t.Helper()
		if !(math.Abs(got-want) <= tolerance*want) {
			t.Errorf("%s: %.3f, want %.3f within %.0f%%", what, got, want, 100*tolerance)
		}
	}
	near("hits a second", float64(hits)/seconds, 3000, 0.02)
	near("triggers a second", float64(triggers)/seconds, 100, 0.05)
	near("share of triggers with two scintillator hits", float64(twice)/float64(triggers), 1./12, 0.2)
	near("hits of a trigger", float64(all)/float64(triggers), 16, 0.1)
	if in*100 < all*95 {
		t.Errorf("%d of %d hits are between -5 and 400 ns", in, all)
	}
	for c, b := range box {
		flat := 0
		for _, n := range b[11:48] { // 10 … 380 ns
			flat += n
		}
		mean := float64(flat) / 37
		for i, n := range b[11:48] {
			if math.Abs(float64(n)-mean) > 0.15*mean {
				t.Errorf("chamber %d: %d hits from %d ns, where the box has %.0f", c+1, n, 10*i+10, mean)
			}
		}
		if edge := float64(b[9]); edge > 0.3*mean || float64(b[10]) < 0.7*mean {
			t.Errorf("chamber %d: the box does not begin at 0: %v", c+1, b[7:13])
		}
		if float64(b[50]) > 0.15*mean || float64(b[48]) < 0.7*mean {
			t.Errorf("chamber %d: the box does not end at 390 ns: %v", c+1, b[46:53])
		}
	}
	good := 0
	for _, v := range meantimes {
		if math.Abs(v-390) < 15 {
			good++
		}
	}
	if len(meantimes) < 1000 || good*10 < len(meantimes)*6 {
		t.Errorf("the meantimer is within 15 ns of 390 ns for %d of %d", good, len(meantimes))
	}
}

func TestSimWires(t *testing.T) {
	words := live(simWords(t, "?hits=1000000&corrupt=0&triggers=20&dead=1:11+1:13+4:63&hot=3:20"))
	m := hit.DefaultMap()
	var counts [5][64]int
	for _, w := range words {
		if c := m.Of(w); hit.IsHit(w) && c >= 1 && c <= 4 {
			counts[c][hit.Channel(w)%64]++
		}
	}
	for c := 1; c <= 4; c++ {
		sum := 0
		var alive []int
		for ch, n := range counts[c] {
			dead := c == 1 && (ch == 11 || ch == 13) || c == 4 && ch == 63
			if dead != (n == 0) {
				t.Errorf("wire %d:%d has %d hits", c, ch, n)
			}
			sum += n
			if !dead {
				alive = append(alive, n)
			}
		}
		slices.Sort(alive)
		if alive[len(alive)-2] < 2*alive[0] {
			t.Errorf("chamber %d: the wires' rates hardly differ: %d … %d", c, alive[0], alive[len(alive)-2])
		}
		if hot := counts[3][20]; c == 3 && (float64(hot) < 0.2*float64(sum) || float64(hot) > 0.4*float64(sum)) {
			t.Errorf("the hot wire has %d of %d hits", hot, sum)
		}
	}
}

func TestSimSkew(t *testing.T) {
	for _, skew := range []float64{0, 600, 20000} {
		words := live(simWords(t, fmt.Sprintf("?hits=400000&corrupt=0&skew=%v", skew)))
		words = words[slices.IndexFunc(words, hit.IsHit):]
		var now [2]float64
		var lead []float64
		for i, w := range words {
			if hit.IsHit(w) {
				now[hit.FPGA(w)] = float64(hit.Orbit(w))
			} else if hit.IsHit(words[i-1]) && now[0] > 0 && now[1] > 0 { // once in a cycle
				lead = append(lead, now[1]-now[0])
			}
		}
		lowest, highest := slices.Min(lead), slices.Max(lead)
		mean := func(v []float64) float64 {
			sum := 0.
			for _, l := range v {
				sum += l
			}
			return sum / float64(len(v))
		}
		t.Logf("skew=%v: mean at the end %.0f, extremes %.0f … %.0f", skew, mean(lead[len(lead)/2:]), lowest, highest)
		if got := mean(lead[len(lead)/2:]); math.Abs(got-skew) > 40 {
			t.Errorf("skew=%v: FPGA 1 leads by %.0f orbits at the end", skew, got)
		}
		if early := mean(lead[:20]); skew > 0 && early > 0.5*skew {
			t.Errorf("skew=%v: FPGA 1 leads by %.0f orbits at once", skew, early)
		}
		if lowest < -700 || highest > skew+700 {
			t.Errorf("skew=%v: it goes from %.0f to %.0f", skew, lowest, highest)
		}
	}
}

// A late hit lies at least 64 orbits behind both FPGAs.
func TestSimLate(t *testing.T) {
	for _, skew := range []int{0, 5000} {
		words := live(simWords(t, fmt.Sprintf("?hits=400000&corrupt=0&late=0.01&skew=%d", skew)))
		var now [2]uint32
		hits, late := 0, 0
		for _, w := range words {
			if !hit.IsHit(w) {
				continue
			}
			hits++
			o, f := hit.Orbit(w), hit.FPGA(w)
			if o+1 < now[f] {
				late++
				if slowest := min(now[0], now[1]); o+64 > slowest {
					t.Fatalf("a hit of orbit %d is late when the FPGAs are at %d", o, now)
				}
			}
			now[f] = max(now[f], o)
		}
		if share := float64(late) / float64(hits); share < 0.008 || share > 0.012 {
			t.Errorf("skew=%d: %.4f of the hits are late, want 0.01", skew, share)
		}
	}
}

func TestSimCorrupt(t *testing.T) {
	clean, odd := simWords(t, "?words=1600000&corrupt=0"), 0
	for i, w := range simWords(t, "?words=1600000&corrupt=0.001") {
		if hit.IsHit(w) != hit.IsHit(clean[i]) || hit.FPGA(w) != i/4%2 || hit.IsHit(w) && hit.Orbit(w) > 1e8 && i > 1000 {
			odd++
		}
	}
	if odd < 200 || odd > 1600 {
		t.Errorf("%d of 1600000 words are seen to be corrupt, want some hundreds", odd)
	}
}

func TestSimTriggers(t *testing.T) {
	words := live(simWords(t, "?hits=500000&rate=300&corrupt=0"))
	first, last, scint := uint32(0), uint32(0), make(map[uint32]bool)
	for _, w := range words {
		if hit.IsHit(w) {
			if first == 0 {
				first = hit.Orbit(w)
			}
			last = hit.Orbit(w)
			if hit.FPGA(w) == 1 && hit.Channel(w) == 128 {
				scint[last] = true
			}
		}
	}
	seconds := float64(last-first) * hit.OrbitNum / hit.OrbitDen
	if rate := float64(len(scint)) / seconds; math.Abs(rate-1.5) > 0.075 {
		t.Errorf("%.3f triggers a second by default, want 1.5", rate)
	}
}

func TestSimSpec(t *testing.T) {
	for _, spec := range []string{"", "?", "?seed=1", everything, "?rate=100&muons=0&triggers=0", "?dead=2/5,2:6&hits=2e6&seed=18446744073709551615"} {
		c := mustSim(t, spec)
		name := c.String()
		again := mustSim(t, strings.TrimPrefix(name, "sim:"))
		if again.String() != name || fmt.Sprint(*again) != fmt.Sprint(*c) {
			t.Errorf("sim:%s is called %s, which means %s", spec, name, again)
		}
	}
	if got := mustSim(t, "?dead=2/5,1:6&hits=2e6&triggers=100&rate=5000&muons=40").String(); got != "sim:?seed=1&hits=2000000&rate=5000&triggers=100&muons=40&dead=1:6+2:5" {
		t.Error(got)
	}

	for spec, want := range map[string]string{
		"seed=7":                    `sim:seed=7: settings begin with a question mark (hint: sim:?seed=7)`,
		"?trigers=3":                `sim: unknown setting "trigers" (hint: triggers)`,
		"?Seed=3":                   `sim: unknown setting "Seed" (hint: seed)`,
		"?noiselevel=3":             `sim: unknown setting "noiselevel"; there are after, corrupt, `,
		"?seed=1&seed=2":            `sim: seed is set twice`,
		"?seed=%zz":                 `sim: settings "seed=%zz": invalid URL escape "%zz"`,
		"?seed=1;hits=2":            `sim: settings "seed=1;hits=2": invalid semicolon separator in query`,
		"?seed=-1":                  `sim: seed: "-1" is not a whole number from 0 to 2^64-1`,
		"?seed=":                    `sim: seed: "" is not a whole number from 0 to 2^64-1`,
		"?hits=many":                `sim: hits: "many" is not a number`,
		"?hits=1.5":                 `sim: hits: 1.5 is not a whole number`,
		"?hits=-1":                  `sim: hits: -1 is not from 0 to 1e+15`,
		"?words=1e16":               `sim: words: 1e16 is not from 0 to 1e+15`,
		"?words=1e999":              `sim: words: 1e999 is not from 0 to 1e+15`,
		"?rate=0":                   `sim: rate: 0 is not from 1 to 1e+06`,
		"?rate=nan":                 `sim: rate: nan is not from 1 to 1e+06`,
		"?triggers=-2":              `sim: triggers: -2 is not from 0 to 100000`,
		"?muons=inf":                `sim: muons: inf is not from 0 to 100000`,
		"?eff=97":                   `sim: eff: 97 is not from 0 to 1`,
		"?after=0.6":                `sim: after: 0.6 is not from 0 to 0.5`,
		"?skew=20001":               `sim: skew: 20001 is not from 0 to 20000`,
		"?late=1":                   `sim: late: 1 is not from 0 to 0.1`,
		"?corrupt=1":                `sim: corrupt: 1 is not from 0 to 0.1`,
		"?stale=1e7":                `sim: stale: 1e7 is not from 0 to 1e+06`,
		"?hot=":                     `sim: hot: no wires; write chamber:channel, as in hot=1:11+1:13`,
		"?hot=20":                   `sim: hot: "20" is not chamber:channel, as in 1:11`,
		"?dead=1:x":                 `sim: dead: "1:x" is not chamber:channel, as in 1:11`,
		"?dead=5:1":                 `sim: dead: there is no wire 5:1; chambers are 1 to 4, their channels 0 to 63`,
		"?dead=2:64":                `sim: dead: there is no wire 2:64; chambers are 1 to 4, their channels 0 to 63`,
		"?dead=1:3&hot=1:3":         `sim: wire 1:3 is both hot and dead`,
		"?restart=":                 `sim: restart: 0 numbers of hits; 1 to 1000 are possible, as in restart=50000+100000`,
		"?restart=900+800":          `sim: restart: "800" does not come after 900`,
		"?restart=0":                `sim: restart: 0 is not from 1 to 1e+15`,
		"?restart=100":              `sim: restart: 100 lies in the 160 stale hits at the start (hint: stale=0)`,
		"?rate=100&triggers=100":    `sim: rate: 100 hits a second are too few for triggers=100 and muons=2.5 (hint: rate=`,
		"?dead=" + wiresOf(t, 1, 2): `sim: dead: FPGA 0 has no wire left`,
	} {
		if _, err := parseSim(spec); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("sim:%s: error %v, want %s", spec, err, want)
		}
	}
	// The hint holds: with the rate that it names, the run is possible.
	for _, rest := range []string{"&triggers=100", "&triggers=1000&muons=0", "&triggers=0&muons=300", "&triggers=77&after=0.5&eff=1"} {
		_, err := parseSim("?rate=100" + rest)
		if err == nil {
			t.Errorf("sim:?rate=100%s is possible", rest)
			continue
		}
		mustSim(t, "?"+regexp.MustCompile(`rate=\d+`).FindString(err.Error())+rest)
	}
}

func wiresOf(t *testing.T, chambers ...int) string {
	var list []string
	for _, c := range chambers {
		for ch := range 64 {
			list = append(list, fmt.Sprintf("%d:%d", c, ch))
		}
	}
	return strings.Join(list, "+")
}

func TestSimUsage(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(simUsage, "\n"), "\n")
	for _, line := range lines {
		if utf8.RuneCountInString(line) > 90 {
			t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
		}
	}
	if len(lines) != len(simNames)+1 {
		t.Errorf("%d lines for %d settings", len(lines), len(simNames))
	}
	for _, n := range simNumbers {
		want := fmt.Sprintf("  %s=%v ", n.name, *n.of(&simDefaults))
		if n.name == "corrupt" {
			want = "  corrupt=1e-6 "
		}
		if n.name == "muons" {
			want = "  muons=rate/40 "
		}
		if !strings.Contains(simUsage, want) {
			t.Errorf("simUsage lacks %q", want)
		}
	}
}

func TestSimAllocatesNothing(t *testing.T) {
	s := newSim(mustSim(t, "?triggers=100&late=0.001"))
	buf := make([]uint64, 1<<14)
	for range 100 {
		s.next(buf)
	}
	n := 1.0
	for range 5 { // what other tests have left behind may allocate meanwhile
		n = min(n, testing.AllocsPerRun(100, func() { s.next(buf) }))
	}
	if n != 0 {
		t.Errorf("%v allocations for each call of next", n)
	}
}

func BenchmarkSim(b *testing.B) {
	for _, spec := range []string{"", "?triggers=100", "?late=0.001&corrupt=0.001", "?rate=1000000&muons=10000"} {
		b.Run("sim:"+spec, func(b *testing.B) {
			s := newSim(mustSim(b, spec))
			buf := make([]uint64, 8192)
			b.SetBytes(int64(8 * len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				s.next(buf)
			}
			b.ReportMetric(float64(b.N)*float64(len(buf))/b.Elapsed().Seconds()/1e6, "Mwords/s")
		})
	}
}

func BenchmarkNewSim(b *testing.B) {
	for b.Loop() {
		newSim(mustSim(b, ""))
	}
}
