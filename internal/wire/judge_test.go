package wire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"dt/internal/hit"
)

// A model is the judgement as FORMAT.md has it, word for word, without a thought for speed.
type model struct {
	lateness int64
	fpga     map[int]*modelFPGA
	epochs   []*modelEpoch
	current  int
}

type modelFPGA struct {
	epoch int
	last  int64 // L
}

type modelEpoch struct {
	begin, newest, horizon int64
	jumped                 bool
	from, to               int64
	seen, members          map[int]bool
	closed                 bool
}

// A judged is what the model says of a word: its place, and what held behind it.
type judged struct {
	late    bool
	epoch   int
	newest  int64
	horizon []int64 // of each epoch
	open    int
}

func runModel(words []uint64, lateness int64) (list []judged) {
	m := &model{lateness: lateness, fpga: map[int]*modelFPGA{}}
	for i, w := range words {
		j := judged{epoch: m.current}
		if hit.IsHit(w) {
			j.late, j.epoch = m.hit(words[i:])
			if !j.late {
				m.current = j.epoch
			}
			if m.epochs[m.current].closed {
				m.current = len(m.epochs) - 1
			}
		}
		if i > 0 && !hit.IsHit(w) {
			j.horizon = list[i-1].horizon
		} else {
			for _, e := range m.epochs {
				j.horizon = append(j.horizon, e.horizon)
			}
		}
		if len(m.epochs) > 0 {
			j.newest = m.epochs[j.epoch].newest
			for m.epochs[j.open].closed {
				j.open++
			}
		}
		list = append(list, j)
	}
	return list
}

func (m *model) newestEpoch() int { return len(m.epochs) - 1 }

func (m *model) hit(words []uint64) (late bool, tag int) {
	o, f := int64(hit.Orbit(words[0])), hit.FPGA(words[0])
	if len(m.epochs) == 0 { // 1
		m.opens(o)
		return m.enters(f, 0, o, true)
	}
	home, reference := m.newestEpoch(), m.epochs[m.newestEpoch()].newest // 2
	if s := m.fpga[f]; s != nil {
		home, reference = s.epoch, s.last
	}
	e := m.epochs[home]
	near := func(a, b int64) bool { return a-b <= far && b-a <= far }
	if near(o, reference) { // 3
		newer := -1
		for g, s := range m.fpga {
			if g != f && s.epoch > home && !m.epochs[s.epoch].closed && near(o, s.last) {
				newer = max(newer, s.epoch)
			}
		}
		if !e.closed && o >= e.horizon || newer < 0 {
			return m.enters(f, home, o, false)
		}
		return m.enters(f, newer, o, false)
	}
	there := -1 // 4
	for g, s := range m.fpga {
		if g != f && near(o, s.last) && !m.epochs[s.epoch].closed && (s.epoch > home || s.epoch == home && o > reference) {
			there = max(there, s.epoch)
		}
	}
	ahead := words[1:min(len(words), 1024)]
	var next []int64
	for _, w := range ahead {
		if hit.IsHit(w) && hit.FPGA(w) == f {
			next = append(next, int64(hit.Orbit(w)))
		}
	}
	odd := func() (bool, int) { // 7
		if s := m.fpga[f]; s != nil && !m.epochs[s.epoch].closed {
			return true, s.epoch
		}
		return true, m.newestEpoch()
	}
	if there >= 0 {
		if len(next) > 0 && near(next[0], reference) {
			return odd()
		}
		if there == home {
			m.jump(e, f, o, reference, false)
		}
		return m.enters(f, there, o, true)
	}
	accepted := func() bool { // 5
		agree, odd := 1, 0
		for _, n := range next {
			switch {
			case near(n, reference):
				return false
			case (n > reference) == (o > reference) && n >= o-far:
				if agree++; agree == 8 {
					return true
				}
			default:
				if odd++; odd == 8 {
					return false
				}
			}
		}
		nothing := true
		for _, w := range words[1:] {
			nothing = nothing && !hit.IsHit(w)
		}
		return len(words) < 1024 && (nothing || agree > odd && agree > 1)
	}
	if !accepted() {
		return odd()
	}
	if o > reference && !e.closed { // 6
		m.jump(e, f, o, reference, true)
		return m.enters(f, home, o, true)
	}
	m.opens(o)
	return m.enters(f, m.newestEpoch(), o, true)
}

func (m *model) opens(o int64) {
	m.epochs = append(m.epochs, &modelEpoch{begin: o, newest: o, horizon: max(0, o-m.lateness), seen: map[int]bool{}, members: map[int]bool{}})
	for oldest := 0; ; oldest++ {
		if !m.epochs[oldest].closed {
			if len(m.epochs)-oldest <= 64 {
				return
			}
			m.epochs[oldest].closed = true
		}
	}
}

func (m *model) pending(e *modelEpoch) bool { return e.jumped && e.newest-e.to <= m.lateness }

func (m *model) jump(e *modelEpoch, f int, o, reference int64, accepted bool) {
	if len(e.seen) == 1 && e.seen[f] {
		e.begin, e.horizon = o, max(e.horizon, o-m.lateness)
	} else if accepted {
		if !m.pending(e) {
			e.from = reference
		}
		e.to, e.jumped = o, true
	}
}

func (m *model) enters(f, number int, o int64, far bool) (late bool, tag int) {
	e, s := m.epochs[number], m.fpga[f]
	if e.closed {
		s.last = max(s.last, o)
		return true, m.newestEpoch()
	}
	late = o < e.horizon
	isNew := s == nil || s.epoch != number
	if s == nil {
		s = &modelFPGA{}
		m.fpga[f] = s
	} else if isNew {
		old := m.epochs[s.epoch]
		delete(old.members, f)
		if len(old.members) == 0 {
			old.closed = true
		}
	}
	s.epoch = number
	if isNew || far {
		s.last = o
	} else {
		s.last = max(s.last, o)
	}
	e.newest = max(e.newest, o)
	e.members[f], e.seen[f] = true, true
	if len(e.seen) > 1 || e.newest-e.begin > m.lateness {
		lowest := int64(-1)
		for g := range e.members {
			l := m.fpga[g].last
			if l >= e.newest-m.lateness || m.pending(e) && e.from-m.lateness <= l && l < e.to {
				if lowest < 0 || l < lowest {
					lowest = l
				}
			}
		}
		if lowest >= 0 {
			e.horizon = max(e.horizon, lowest-slack)
		}
	}
	if e.newest-e.begin > m.lateness {
		for _, older := range m.epochs[:number] {
			older.closed = true
		}
	}
	return late, number
}

// compare checks a stream against the model, and what a reader may rely on.
func compare(t testing.TB, records []record, lateness int64, d *decoded) {
	t.Helper()
	words := wordsOf(records)
	want := runModel(words, lateness)
	if len(d.words) != len(words) {
		t.Fatalf("%d words, want %d", len(d.words), len(words))
	}
	behind := map[uint64]judged{} // what held behind a word, by the number after it, and behind the records that follow that are none
	i := 0
	var last judged
	for n, r := range records {
		if r.reason == "" {
			p, j := d.words[i], want[i]
			w := placed{uint64(n), r.word, KindWords, uint32(j.epoch), 0}
			if j.late {
				w.kind, w.newest = KindLate, uint32(j.newest)
			}
			if p != w {
				t.Fatalf("word %d (FPGA %d, orbit %d) is %+v, want %+v", i, hit.FPGA(r.word), hit.Orbit(r.word), p, w)
			}
			last = j
			i++
		}
		behind[uint64(n)+1] = last
	}
	for _, e := range d.ends {
		j := behind[e.next]
		horizon := int64(0)
		if int(e.epoch) < len(j.horizon) {
			horizon = j.horizon[e.epoch]
		}
		if int64(e.horizon) != horizon || int(e.open) != j.open {
			t.Fatalf("the frame of kind %d up to %d has horizon %d of epoch %d, open %d; want %d, open %d", e.kind, e.next, e.horizon, e.epoch, e.open, horizon, j.open)
		}
	}
	checkPromise(t, d)
}

// checkPromise is FORMAT.md's "What a reader may rely on", word by word.
func checkPromise(t testing.TB, d *decoded) {
	t.Helper()
	horizon := map[uint32]uint64{}
	open := uint32(0)
	at := 0
	for _, e := range d.ends {
		for ; at < len(d.words) && d.words[at].number < e.next; at++ {
			p := d.words[at]
			switch {
			case p.kind == KindLate:
				if uint64(p.newest) < e.horizon {
					t.Fatalf("the late word %d has newest orbit %d, below its frame's horizon %d", p.number, p.newest, e.horizon)
				}
			case hit.IsHit(p.word):
				if p.epoch < open || uint64(hit.Orbit(p.word)) < horizon[p.epoch] {
					t.Fatalf("word %d, epoch %d, orbit %d, came in time; open was %d, the horizon %d", p.number, p.epoch, hit.Orbit(p.word), open, horizon[p.epoch])
				}
			}
		}
		if e.open < open || e.horizon < horizon[e.epoch] {
			t.Fatalf("behind %d open or horizon went back: %d to %d, %d to %d", e.next, open, e.open, horizon[e.epoch], e.horizon)
		}
		open, horizon[e.epoch] = e.open, e.horizon
	}
}

// A scene makes streams with every trap there is. Rates and gaps are random, so that each seed is another detector.
type scene struct {
	*rand.Rand
	orbit    []int64 // of each FPGA
	dead     []bool
	from     []int // words before it appears
	lateness int64
	records  []record
}

var corruptReasons = []string{"a bad row", "not a number", "too few columns"}

func randomRecords(seed, n int) (records []record, lateness int64) {
	s := &scene{Rand: newRand(seed)}
	fpgas := 1 + s.IntN(3)
	s.lateness = []int64{DefaultLateness, DefaultLateness, 30_000, 2000, 0}[s.IntN(5)]
	start := []int64{617_000, 3_387_000_000, 10, 200_000}[s.IntN(4)]
	skew := []int64{1, 600, 20_000, 100_000, 200_000}[s.IntN(5)]
	for range fpgas {
		s.orbit = append(s.orbit, start+s.Int64N(skew))
		s.dead = append(s.dead, false)
		late := 0
		if s.IntN(4) == 0 {
			late = s.IntN(n)
		}
		s.from = append(s.from, late)
	}
	step := []int64{1, 4, 60, 700, 9000}[s.IntN(5)]
	odds := []int{0, 3000, 300, 30}[s.IntN(4)] // of something going wrong
	moving := make([]int64, fpgas)             // where an FPGA jumps to when its stragglers are over
	stragglers := make([]int, fpgas)
	for len(s.records) < n {
		for f := range fpgas {
			if s.dead[f] || len(s.records) < s.from[f] {
				if s.IntN(50) == 0 {
					s.add(ancillary(f, s.orbit[f]))
				}
				continue
			}
			for range 1 + s.IntN(6) {
				if stragglers[f] > 0 {
					if stragglers[f]--; stragglers[f] == 0 {
						s.orbit[f] = moving[f] + s.Int64N(1+skew/2)
					}
				}
				s.orbit[f] = min(s.orbit[f]+s.Int64N(2*step), hit.MaxOrbit-1)
				o := s.orbit[f]
				if s.IntN(200) == 0 {
					o = max(0, o-1)
				}
				s.add(hitAt(f, o))
			}
		}
		for range s.IntN(9) {
			s.add(ancillary(s.IntN(fpgas), s.orbit[0]+s.Int64N(150_000)))
		}
		if odds == 0 || s.IntN(odds) > 20 {
			continue
		}
		f := s.IntN(fpgas)
		switch s.IntN(9) {
		case 0: // corrupt words, some in a row
			for range 1 + s.IntN(1+s.IntN(12)) {
				s.add(hitAt(s.IntN(8), s.Int64N(hit.MaxOrbit)))
			}
		case 1: // late hits
			s.add(hitAt(f, max(0, s.orbit[f]-s.Int64N(3*far))))
		case 2: // the counter restarts, for some FPGAs later than for others
			to := s.Int64N(700_000)
			for g := range fpgas {
				moving[g], stragglers[g] = to, 1+s.IntN(1+s.IntN(60))
			}
		case 3: // a jump forward
			to := s.orbit[f] + s.Int64N(3_000_000)
			for g := range fpgas {
				moving[g], stragglers[g] = min(to, hit.MaxOrbit/2), 1+s.IntN(1+s.IntN(200))
			}
		case 4:
			s.dead[f] = s.IntN(2) == 0
		case 5:
			for range 1 + s.IntN(1+s.IntN(20)) {
				s.records = append(s.records, record{reason: corruptReasons[s.IntN(len(corruptReasons))]})
			}
		case 6: // one FPGA alone moves away
			s.orbit[f] = s.Int64N(2_000_000)
		case 7: // just about as far as near goes
			s.add(hitAt(f, max(0, s.orbit[f]-far-1+s.Int64N(3))))
			s.add(hitAt(f, s.orbit[f]+far-1+s.Int64N(3)))
		case 8: // many words without a hit
			for range s.IntN(1500) {
				s.add(ancillary(f, s.Int64N(hit.MaxOrbit)))
			}
		}
	}
	return s.records, s.lateness
}

func (s *scene) add(w uint64) { s.records = append(s.records, record{word: w}) }

// chaos has no sense at all: hits of few FPGAs at few places, so that rules meet that would not.
func chaos(seed, n int) (records []record, lateness int64) {
	r := newRand(seed)
	lateness = []int64{DefaultLateness, 70_000, 300, 0}[r.IntN(4)]
	places := make([]int64, 1+r.IntN(5))
	for i := range places {
		places[i] = r.Int64N(1 << uint(17+r.IntN(5)))
	}
	fpgas, stay := 1+r.IntN(4), 1+r.IntN(20)
	at := places[0]
	for len(records) < n {
		if r.IntN(stay) == 0 {
			at = places[r.IntN(len(places))]
		}
		at += r.Int64N(40)
		switch r.IntN(12) {
		case 0:
			records = append(records, record{word: ancillary(0, r.Int64N(hit.MaxOrbit))})
		case 1:
			records = append(records, record{word: hitAt(r.IntN(fpgas), places[r.IntN(len(places))]+r.Int64N(100))})
		default:
			records = append(records, record{word: hitAt(r.IntN(fpgas), at)})
		}
	}
	return records, lateness
}

func eachScene(t *testing.T, check func(t *testing.T, seed int, records []record, lateness int64)) {
	scenes := 35
	if testing.Short() {
		scenes = 15
	}
	lateHits, epochs := 0, 0
	for seed := range scenes {
		for name, make := range map[string]func(seed, n int) ([]record, int64){"scene": randomRecords, "chaos": chaos} {
			records, lateness := make(seed, 1500+seed*20)
			for _, j := range runModel(wordsOf(records), lateness) {
				if j.late {
					lateHits++
				}
				epochs = max(epochs, len(j.horizon))
			}
			t.Run(fmt.Sprintf("%s%d", name, seed), func(t *testing.T) { check(t, seed, records, lateness) })
		}
	}
	if lateHits < 300 || epochs < 10 {
		t.Errorf("%d late hits and at most %d epochs prove little", lateHits, epochs)
	}
}

func TestJudgeAgainstModel(t *testing.T) {
	eachScene(t, func(t *testing.T, seed int, records []record, lateness int64) {
		compare(t, records, lateness, decode(t, streamOf(t, records, lateness, all)))
	})
}

func TestBatchSizesDoNotMatter(t *testing.T) {
	eachScene(t, func(t *testing.T, seed int, records []record, lateness int64) {
		want := decode(t, streamOf(t, records, lateness, all))
		r := newRand(seed)
		for name, size := range map[string]func() int{"one": one, "some": func() int { return r.IntN(40) }, "many": func() int { return r.IntN(2000) }} {
			got := decode(t, streamOf(t, records, lateness, size))
			if !reflect.DeepEqual(got.words, want.words) || !reflect.DeepEqual(got.aside, want.aside) || !reflect.DeepEqual(got.end, want.end) {
				t.Fatalf("%s: other words, ledgers or totals", name)
			}
			if !reflect.DeepEqual(got.ends, want.ends) {
				// Frames may end elsewhere only where records that are no word stand; each is checked against the model.
				compare(t, records, lateness, got)
			}
		}
	})
}

func TestStateRestoresJudge(t *testing.T) {
	eachScene(t, func(t *testing.T, seed int, records []record, lateness int64) {
		if seed%5 != 0 {
			return
		}
		words := wordsOf(records)
		want := decode(t, streamOf(t, recordsOf(words), lateness, all)).words
		var buf bytes.Buffer
		s := newTestSource(t, &buf, lateness)
		r := newRand(seed)
		for i := 0; i < len(words); {
			n := min(1+r.IntN(200), len(words)-i)
			if err := s.Add(words[i:i+n], nil); err != nil {
				t.Fatal(err)
			}
			i += n
			s.At("file", "", NoPartition, uint64(i))
			at := int(s.place.Number)

			var rest bytes.Buffer
			again := newTestSource(t, &rest, 12)
			if err := again.j.restore(s.place.State); err != nil {
				t.Fatal(err)
			}
			if got := again.j.appendState(nil); at > 0 && !bytes.Equal(got, s.place.State) {
				t.Fatal("the state changes when it is restored")
			}
			if at == 0 {
				again.j.lateness = lateness
			}
			if err := again.Add(words[at:], nil); err != nil {
				t.Fatal(err)
			}
			if err := again.End(End{}, false); err != nil {
				t.Fatal(err)
			}
			got := decode(t, rest.Bytes()).words
			for k := range got {
				got[k].number += uint64(at)
			}
			if !slices.Equal(got, want[at:]) {
				t.Fatalf("restored at %d it judges differently", at)
			}
		}
	})
}

func TestRestoreRefuses(t *testing.T) {
	records, lateness := randomRecords(3, 2000)
	j := newJudge(lateness)
	s := newTestSource(t, &bytes.Buffer{}, lateness)
	if err := s.Add(wordsOf(records), nil); err != nil {
		t.Fatal(err)
	}
	state := s.j.appendState(nil)
	if err := j.restore(state); err != nil {
		t.Fatal(err)
	}
	for n := range state {
		if err := j.restore(state[:n]); (err == nil) != (n == 0) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if err := j.restore(append(bytes.Clone(state), 0)); err == nil {
		t.Error("one byte more is taken")
	}
	// Whatever is taken must be safe to go on with.
	r := newRand(1)
	taken := 0
	for range 20_000 {
		damaged := bytes.Clone(state)
		for range 1 + r.IntN(3) {
			damaged[r.IntN(len(damaged))] ^= 1 << r.IntN(8)
		}
		if err := j.restore(damaged); err != nil {
			continue
		}
		taken++
		go_on := newTestSource(t, &bytes.Buffer{}, 5)
		go_on.j = j
		if err := go_on.Add(wordsOf(records[:100]), nil); err != nil {
			t.Fatal(err)
		}
		j = newJudge(lateness)
	}
	if taken == 0 {
		t.Error("none was taken, so the test proves little")
	}
}

// ---- named cases

// cycle appends n cycles of hits of FPGAs 0 and 1 and ancillary words, from these orbits on, one orbit a hit.
func cycles(words []uint64, n int, orbit0, orbit1 int64) []uint64 {
	for c := range int64(n) {
		for i := range int64(4) {
			words = append(words, hitAt(0, orbit0+4*c+i))
		}
		for i := range int64(4) {
			words = append(words, hitAt(1, orbit1+4*c+i))
		}
		for i := range 8 {
			words = append(words, ancillary(i/4, orbit0+20_000))
		}
	}
	return words
}

func judgeWords(t testing.TB, words []uint64) *decoded {
	t.Helper()
	d := decode(t, streamOf(t, recordsOf(words), DefaultLateness, all))
	compare(t, recordsOf(words), DefaultLateness, d)
	if one := decode(t, streamOf(t, recordsOf(words), DefaultLateness, one)); !slices.Equal(one.words, d.words) {
		t.Fatal("word by word they are judged differently")
	}
	return d
}

func (d *decoded) late() (numbers []int) {
	for _, p := range d.words {
		if p.kind == KindLate {
			numbers = append(numbers, int(p.number))
		}
	}
	return numbers
}

func (d *decoded) epochOf(number int) int { return int(d.words[number].epoch) }

// A word with another orbit, or of an FPGA that is not there, is late, and all others are judged as without it.
func TestOneCorruptWordMovesNothing(t *testing.T) {
	const tail = 200 // cycles: more than the look-ahead
	plain := cycles(nil, 20+tail, 617_000, 616_900)
	restart := append(cycles(nil, 20, 3_387_000_000, 3_386_999_900), cycles(nil, tail, 617_000, 616_900)...)
	jump := append(cycles(nil, 20, 341_374, 341_300), cycles(nil, tail, 2_698_963, 2_698_900)...)
	low, high, top := int64(5), int64(200_000_000), int64(hit.MaxOrbit)
	for _, c := range []struct {
		name   string
		words  []uint64
		at     int
		fpgas  int
		orbits []int64
	}{
		{"middle", plain, 16*10 + 2, 3, []int64{low, high, top}},
		{"second", plain, 1, 3, []int64{low, high, top}},
		{"second of FPGA 1", plain, 5, 3, []int64{low, high, top}},
		// Below the orbits of a restart a word of an FPGA that restarts behind it is borne out by it; see the next test.
		{"before a restart", restart, 16 * 20, 3, []int64{high, top}},
		{"during a restart", restart, 16*20 + 2, 3, []int64{high, top}},
		{"between the FPGAs' restarts", restart, 16*20 + 4, 3, []int64{high, top}},
		{"behind a restart", restart, 16*20 + 8, 3, []int64{low, high, top}},
		{"before a jump", jump, 16 * 20, 3, []int64{low, high, top}},
		{"behind a jump", jump, 16*20 + 1, 3, []int64{low, high, top}},
		{"between the FPGAs' jumps", jump, 16*20 + 4, 3, []int64{low, high, top}},
	} {
		clean := judgeWords(t, c.words)
		if len(clean.late()) > 0 {
			t.Fatalf("%s: late words %v without corruption", c.name, clean.late())
		}
		for _, orbit := range c.orbits {
			for fpga := range c.fpgas {
				name := fmt.Sprintf("%s: FPGA %d, orbit %d", c.name, fpga, orbit)
				d := judgeWords(t, slices.Insert(slices.Clone(c.words), c.at, hitAt(fpga, orbit)))
				if got := d.late(); !slices.Equal(got, []int{c.at}) {
					t.Errorf("%s: late are %v, want %d only", name, got, c.at)
					continue
				}
				checkSameEpochs(t, name, slices.Delete(slices.Clone(d.words), c.at, c.at+1), clean.words)
				if a, b := d.ends[len(d.ends)-1], clean.ends[len(clean.ends)-1]; a.horizon != b.horizon || a.open != b.open {
					t.Errorf("%s: at the end %+v instead of %+v", name, a, b)
				}
			}
		}
	}
}

func checkSameEpochs(t *testing.T, name string, got, want []placed) {
	t.Helper()
	for i := range got {
		if got[i].word != want[i].word || got[i].kind != want[i].kind || got[i].epoch != want[i].epoch {
			t.Errorf("%s: word %d is %+v instead of %+v", name, i, got[i], want[i])
			return
		}
	}
}

// What FORMAT.md's step 5 lets pass: a corrupt word that the hits behind it seem to bear out, the first of all, and the last.
func TestCorruptWordThatIsBorneOut(t *testing.T) {
	// The first of all opens epoch 0; the hits behind it open the next, in which all is as it would have been.
	plain := cycles(nil, 300, 617_000, 616_900)
	for fpga := range 3 {
		for _, orbit := range []int64{200_000_000, hit.MaxOrbit} {
			d := judgeWords(t, append([]uint64{hitAt(fpga, orbit)}, plain...))
			if late := d.late(); len(late) > 0 {
				t.Errorf("first of all, FPGA %d: late are %v", fpga, late)
			}
			for _, p := range d.words[1:] {
				if p.epoch != 1 && hit.IsHit(p.word) {
					t.Errorf("first of all, FPGA %d: word %d is in epoch %d", fpga, p.number, p.epoch)
					break
				}
			}
		}
	}

	// The last of all: no word is behind it that it could move.
	clean := judgeWords(t, plain)
	for fpga := range 3 {
		for _, orbit := range []int64{5, 200_000_000, hit.MaxOrbit} {
			d := judgeWords(t, append(slices.Clone(plain), hitAt(fpga, orbit)))
			checkSameEpochs(t, fmt.Sprintf("last of all, FPGA %d, orbit %d", fpga, orbit), d.words[:len(plain)], clean.words)
		}
	}

	// Before FPGA 1's restart, and below it: FPGA 1 has an epoch of its own until that closes the other. Nothing is late.
	words := append(cycles(nil, 20, 3_387_000_000, 3_386_999_900), hitAt(1, 5))
	for o := int64(617_000); o < 617_000+150_000; o += 100 {
		words = append(words, hitAt(0, o), hitAt(1, o))
	}
	d := judgeWords(t, words)
	if late := d.late(); len(late) > 0 {
		t.Errorf("before a restart: late are %v", late)
	}
	if a, b := d.epochOf(len(words)-2), d.epochOf(len(words)-1); a != b {
		t.Errorf("before a restart: at the end FPGA 0 is in epoch %d, FPGA 1 in %d", a, b)
	}
}

// The look-ahead is 1 023 words, to the word.
func TestLookAheadEnds(t *testing.T) {
	for _, distance := range []int{lookAhead - 1, lookAhead, lookAhead + 1} {
		// FPGA 0 jumps alone; the hit that bears it out as the eighth is this many words behind.
		words := cycles(nil, 20, 617_000, 616_900)
		at := len(words)
		for i := range int64(agreement - 1) {
			words = append(words, hitAt(0, 5_000_000+i))
		}
		for len(words) < at+distance {
			words = append(words, ancillary(0, 617_000))
		}
		words = append(words, hitAt(0, 5_000_100))
		words = append(words, make([]uint64, 2*lookAhead)...)
		if late := judgeWords(t, words).late(); (len(late) == 0) != (distance <= lookAhead) || len(late) > 0 && late[0] != at {
			t.Errorf("borne out %d words behind: late are %v", distance, late)
		}

		// FPGA 1 has jumped; a hit of FPGA 0 there is odd if its next is back.
		words = cycles(nil, 20, 617_000, 616_900)
		for i := range int64(agreement) {
			words = append(words, hitAt(1, 5_000_000+i))
		}
		at = len(words)
		words = append(words, hitAt(0, 5_000_000))
		for len(words) < at+distance {
			words = append(words, ancillary(0, 617_000))
		}
		words = append(words, hitAt(0, 617_090))
		words = append(words, make([]uint64, 2*lookAhead)...)
		late := judgeWords(t, words).late()
		if isOdd := slices.Contains(late, at); isOdd != (distance <= lookAhead) {
			t.Errorf("back %d words behind: late are %v", distance, late)
		}
	}
}

// An FPGA that leaves an epoch for a newer one, and is late there, no longer holds the old one's horizon back from the next hit on, also if
// that hit is no newer than the last.
func TestLeavingLateFreesTheHorizon(t *testing.T) {
	var words []uint64
	for f, o := range []int64{1_000_000, 1_000_300, 1_000_300, 1_000_300} {
		words = append(words, hitAt(f, o))
	}
	for i := range int64(agreement) {
		words = append(words, hitAt(2, 100_000+i), hitAt(3, 100_000+i))
	}
	words = append(words, hitAt(1, 1_000_300), hitAt(0, 99_000), hitAt(1, 1_000_300))
	words = append(words, ancillary(0, 5))
	d := judgeWords(t, words)
	if late := d.late(); !slices.Equal(late, []int{len(words) - 3}) {
		t.Fatalf("late: %v", late)
	}
	for _, e := range d.ends {
		if e.next == uint64(len(words)) && e.kind == KindWords && (e.epoch != 0 || e.horizon != 1_000_300-slack) {
			t.Errorf("at the end %+v", e)
		}
	}
}

func TestRestartWithStragglers(t *testing.T) {
	words := cycles(nil, 20, 3_387_000_000, 3_386_999_900)
	at := len(words)
	for i := range int64(40) { // FPGA 0 has restarted, FPGA 1 not yet
		words = append(words, hitAt(0, 617_000+i), hitAt(1, 3_386_999_980+i))
	}
	straggler := len(words) - 1
	words = cycles(words, 20, 617_040, 616_940)
	d := judgeWords(t, words)
	if late := d.late(); len(late) > 0 {
		t.Errorf("late: %v", late)
	}
	if a, b, c := d.epochOf(at), d.epochOf(straggler), d.epochOf(len(words)-1); a != 1 || b != 0 || c != 1 {
		t.Errorf("the restart is in epoch %d, the last straggler in %d, the end in %d", a, b, c)
	}
	if e := d.ends[len(d.ends)-1]; e.open != 1 {
		t.Errorf("epoch 0 is open at the end: %+v", e)
	}
}

func TestJumpForwardKeepsTheTail(t *testing.T) {
	words := cycles(nil, 20, 341_294, 341_200)
	for i := range int64(300) { // FPGA 0 has jumped, FPGA 1's tail comes
		words = append(words, hitAt(0, 2_698_963+i), hitAt(1, 341_280+i/4))
	}
	words = cycles(words, 20, 2_699_263, 2_698_963)
	d := judgeWords(t, words)
	if late := d.late(); len(late) > 0 {
		t.Errorf("late: %v", late)
	}
	for _, p := range d.words {
		if p.epoch != 0 {
			t.Fatalf("word %d is in epoch %d", p.number, p.epoch)
		}
	}
	if e := d.ends[len(d.ends)-1]; e.horizon < 2_698_963 {
		t.Errorf("the horizon stays at %d", e.horizon)
	}
}

func TestFPGADies(t *testing.T) {
	words := cycles(nil, 20, 617_000, 616_900)
	died := int64(616_979)
	for o := int64(617_080); o < 617_080+200_000; o += 50 {
		words = append(words, hitAt(0, o))
		if o < died+DefaultLateness-100 && o > died+DefaultLateness-200 {
			d := judgeWords(t, words)
			if h := d.ends[len(d.ends)-1].horizon; h != uint64(died-slack) {
				t.Fatalf("at orbit %d the horizon is %d: FPGA 1 is not waited for", o, h)
			}
		}
	}
	words = append(words, hitAt(1, died+10)) // it comes back too late
	d := judgeWords(t, words)
	if late := d.late(); !slices.Equal(late, []int{len(words) - 1}) {
		t.Errorf("late: %v", late)
	}
	if h := d.ends[len(d.ends)-1].horizon; h < 816_000 {
		t.Errorf("the horizon is %d: a dead FPGA holds it back", h)
	}
}

func TestFPGAAppearsLate(t *testing.T) {
	var words []uint64
	for i := range int64(1000) {
		words = append(words, hitAt(0, 617_000+100*i))
	}
	d := judgeWords(t, words)
	if h := d.ends[len(d.ends)-1].horizon; h != 617_000-DefaultLateness {
		t.Errorf("the horizon is %d before another FPGA was seen", h)
	}
	words = append(words, hitAt(1, 660_000)) // 57 000 behind
	d = judgeWords(t, words)
	if late := d.late(); len(late) > 0 {
		t.Errorf("late: %v", late)
	}
	if h := d.ends[len(d.ends)-1].horizon; h != 660_000-slack {
		t.Errorf("the horizon is %d", h)
	}
}

func TestEpochsAreBounded(t *testing.T) {
	// FPGA 7 stays in epoch 0, FPGA 0 restarts again and again without coming far.
	words := []uint64{hitAt(7, 4_000_000_000)}
	top := int64(4_000_000_000)
	for range 200 {
		top -= 10 * far / 2
		for i := range int64(10) {
			words = append(words, hitAt(0, top+i))
		}
	}
	var buf bytes.Buffer
	s := newTestSource(t, &buf, DefaultLateness)
	for _, w := range words {
		if err := s.Add([]uint64{w}, nil); err != nil {
			t.Fatal(err)
		}
		if len(s.j.epochs) > maxEpochs {
			t.Fatalf("%d epochs", len(s.j.epochs))
		}
		s.At("", "", NoPartition, 0)
		if len(s.place.State) > MaxText {
			t.Fatalf("a state of %d bytes", len(s.place.State))
		}
	}
	d := judgeWords(t, words)
	if e := d.ends[len(d.ends)-1]; e.epoch < 150 {
		t.Errorf("only %d epochs: the test proves little", e.epoch)
	}
}

func TestRejectedRecordsKeepTheirNumbers(t *testing.T) {
	words := cycles(nil, 2000, 617_000, 616_900)
	var records []record
	want := map[string][]uint64{}
	r := newRand(1)
	for _, w := range words {
		for r.IntN(10) == 0 {
			reason := corruptReasons[r.IntN(3)]
			want[reason] = append(want[reason], uint64(len(records)))
			records = append(records, record{reason: reason})
		}
		records = append(records, record{word: w})
	}
	for range 20_000 { // more than a frame covers, behind the last word
		want["a bad row"] = append(want["a bad row"], uint64(len(records)))
		records = append(records, record{reason: "a bad row"})
	}
	for name, size := range map[string]func() int{"all": all, "one": one, "some": func() int { return r.IntN(30_000) }} {
		d := decode(t, streamOf(t, records, DefaultLateness, size))
		if !reflect.DeepEqual(d.aside, want) {
			t.Errorf("%s: other records are set aside", name)
		}
		compare(t, records, DefaultLateness, d)
		if n := uint64(len(records) - len(words)); d.end.Rejected != n || d.end.Read != uint64(len(records)) {
			t.Errorf("%s: the end says %+v, %d were rejected of %d", name, d.end, n, len(records))
		}
	}
}

func TestManyReasonsAndBadRecordsBeforeALateWord(t *testing.T) {
	words := cycles(nil, 40, 617_000, 616_900)
	records := recordsOf(words)
	for i := range 3*frameWords + 5 {
		records = append(records, record{reason: fmt.Sprintf("reason %d", i%200)})
	}
	records = append(records, record{word: hitAt(0, 610_000)}) // late
	for range frameWords {
		records = append(records, record{reason: "x"})
	}
	records = append(records, recordsOf(cycles(nil, 10, 617_160, 617_060))...)
	for _, size := range []func() int{all, one} {
		d := decode(t, streamOf(t, records, DefaultLateness, size))
		compare(t, records, DefaultLateness, d)
		if len(d.late()) != 1 {
			t.Errorf("late: %v", d.late())
		}
		if len(d.aside) != 201 {
			t.Errorf("%d reasons", len(d.aside))
		}
	}
}

func TestInterruptedLeavesOutWhatIsHeld(t *testing.T) {
	words := cycles(nil, 40, 617_000, 616_900)
	for _, interrupted := range []bool{false, true} {
		var buf bytes.Buffer
		s := newTestSource(t, &buf, DefaultLateness)
		records := append(recordsOf(words), record{reason: "x"}, record{word: hitAt(0, 5)}, record{reason: "y"}, record{word: hitAt(1, 616_990)})
		w, bad := batch(records)
		if err := s.Add(w, bad); err != nil {
			t.Fatal(err)
		}
		if len(s.held) != 2 {
			t.Fatalf("%d words are held", len(s.held))
		}
		if err := s.End(End{Stopped: interrupted, Why: "test"}, interrupted); err != nil {
			t.Fatal(err)
		}
		d := decode(t, buf.Bytes())
		want := End{interrupted, uint64(len(words)) + 4, 2, 2, "test"} // both: nothing bears the far one out
		if interrupted {
			want.Read, want.Late, want.Rejected = uint64(len(words))+1, 0, 1
		}
		if *d.end != want {
			t.Errorf("interrupted %v: %+v, want %+v", interrupted, *d.end, want)
		}
	}
}
