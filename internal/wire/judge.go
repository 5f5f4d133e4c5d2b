package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"

	"dt/internal/hit"
)

// Constants of the judgement, in orbits and hits; FORMAT.md explains them.
const (
	far             = 65_536
	slack           = 16
	agreement       = 8
	lookAhead       = 1023
	maxEpochs       = 64
	DefaultLateness = 112_000 // 10 s
)

// A judge decides the epoch, the horizon and the lateness of each hit, in the order of the source, as FORMAT.md says.
type judge struct {
	lateness int64
	fpga     [hit.MaxFPGA + 1]fpgaState
	epochs   []epochState // from the oldest open one on; the last is the newest
	gone     epochState   // stands for every closed epoch before those
	base     int          // number of epochs[0]
	open     int          // number of the oldest open epoch
	current  int          // epoch of the last hit: ancillary words travel in it
}

type fpgaState struct {
	seen  bool
	epoch int
	last  int64 // L: the highest orbit
}

type epochState struct {
	begin, newest, horizon int64
	jumpFrom, jumpTo       int64 // of the last jump forward; 0: none
	seen, members          uint8 // bit f: FPGA f
	closed                 bool

	// So that the horizon is worked out anew only when it must be: the FPGA that holds it back; the lowest orbit of the others that
	// are waited for; how far N may grow before others are waited for or the horizon begins to move; whether it moves; and whether
	// an FPGA has left since.
	slowest       int
	second, limit int64
	moves, stale  bool
}

// verdict is what the judgement of one hit says.
type verdict uint8

const (
	inTime verdict = iota
	late
	undecided // more words are wanted
)

func newJudge(lateness int64) *judge {
	// More than there are orbits is as good as all of them.
	return &judge{lateness: min(max(lateness, 0), hit.MaxOrbit+1), gone: epochState{closed: true}}
}

// epoch returns the state of an epoch.
func (j *judge) epoch(number int) *epochState {
	if number < j.base {
		return &j.gone
	}
	return &j.epochs[number-j.base]
}

func (j *judge) newest() int { return j.base + len(j.epochs) - 1 }

// run judges words up to the first that is not simply in time and in the current epoch, and returns how many those are.
// It is the inner loop of every source.
func (j *judge) run(words []uint64) int {
	if len(j.epochs) == 0 {
		for i, w := range words {
			if hit.IsHit(w) {
				return i
			}
		}
		return len(words)
	}
	e := j.epoch(j.current)
	newest, horizon, second, limit, members, slowest := e.newest, e.horizon, e.second, e.limit, e.members, e.slowest
	if e.stale {
		members = 0 // the first hit is not for this loop
	}
	for i := 0; i < len(words); {
		w := words[i]
		source := w >> hit.FPGAShift // HEAD and FPGA
		if source>>(hit.HeadShift-hit.FPGAShift) != hit.HeadHit {
			i++
			continue
		}
		f := int(source & hit.MaxFPGA)
		s := &j.fpga[f]
		o := int64(uint32(w >> hit.OrbitShift))
		if uint64(o-s.last+far) > 2*far || members>>f&1 == 0 || o < horizon {
			e.newest, e.horizon = newest, horizon
			return i
		}
		// An FPGA's hits come some at a time. Behind one that is in time, those that do not step back are in time, because only this FPGA
		// moves, and the horizon stays behind it.
		last := max(o, s.last)
		for i++; i < len(words); i++ {
			w := words[i]
			o := int64(uint32(w >> hit.OrbitShift))
			if w>>hit.FPGAShift != source || uint64(o-last) > far {
				break
			}
			last = o
		}
		if last == s.last {
			continue
		}
		s.last = last
		newest = max(newest, last)
		switch {
		case newest > limit:
		case f != slowest && last >= second:
			continue
		case f == slowest && last <= second:
			if e.moves {
				horizon = max(horizon, last-slack)
			}
			continue
		}
		e.newest, e.horizon = newest, horizon
		j.advance(e)
		j.tidy()
		horizon, second, limit, slowest = e.horizon, e.second, e.limit, e.slowest
	}
	e.newest, e.horizon = newest, horizon
	return len(words)
}

// advance works out the horizon of an epoch anew, and closes older epochs that are over.
func (j *judge) advance(e *epochState) {
	slow := int64(math.MaxInt64)
	e.second, e.slowest, e.stale = slow, -1, false
	pending := j.pending(e)
	for m := e.members; m != 0; m &= m - 1 {
		f := bits.TrailingZeros8(m)
		last := j.fpga[f].last
		switch waited := last >= e.newest-j.lateness || pending && last >= e.jumpFrom-j.lateness && last < e.jumpTo; {
		case !waited:
		case last < slow:
			slow, e.second, e.slowest = last, slow, f
		default:
			e.second = min(e.second, last)
		}
	}
	alone := e.seen&(e.seen-1) == 0
	over := e.newest-e.begin > j.lateness
	e.moves = e.slowest >= 0 && (!alone || over)
	if e.moves {
		e.horizon = max(e.horizon, slow-slack)
	}
	e.limit = min(slow, hit.MaxOrbit) + j.lateness
	if !over {
		e.limit = min(e.limit, e.begin+j.lateness)
		return
	}
	for i := range j.epochs {
		older := &j.epochs[i]
		if older == e {
			break
		}
		older.closed = true
	}
}

// tidy moves open past closed epochs, leaves a closed epoch for the newest with the words that are no hit, and forgets
// epochs before the oldest open one.
func (j *judge) tidy() {
	for j.open < j.newest() && j.epoch(j.open).closed {
		j.open++
	}
	if j.epoch(j.current).closed {
		j.current = j.newest()
	}
	for j.base < j.open {
		j.epochs = j.epochs[1:]
		j.base++
	}
}

// one judges the hit words[0]; the words behind it are what may be looked ahead at, all that there will be when eof. After inTime,
// its epoch is current. After late, tag is the epoch of its frame. The numbers are those of FORMAT.md.
func (j *judge) one(words []uint64, eof bool) (v verdict, tag int) {
	w := words[0]
	f := int(w >> hit.FPGAShift & 7)
	o := int64(uint32(w >> hit.OrbitShift))
	s := &j.fpga[f]

	if len(j.epochs) == 0 { // 1
		j.begin(o)
		return j.enter(f, j.newest(), o, true)
	}
	home, reference := s.epoch, s.last // 2
	if !s.seen {
		home = j.newest()
		reference = j.epoch(home).newest
	}
	e := j.epoch(home)
	if abs(o-reference) <= far { // 3
		if e.closed || o < e.horizon {
			if newer := j.follows(f, home+1, o); newer >= 0 {
				return j.enter(f, newer, o, true)
			}
		}
		return j.enter(f, home, o, false)
	}
	from := home
	if e.closed || o < reference {
		from++
	}
	if into := j.follows(f, from, o); into >= 0 { // 4
		switch j.next(words, f, reference, eof) {
		case undecided:
			return undecided, 0
		case late:
			return j.odd(s)
		}
		if into == home {
			j.jump(e, f, o, reference, false)
		}
		return j.enter(f, into, o, true)
	}
	switch j.accept(words, f, o, reference, eof) { // 5
	case undecided:
		return undecided, 0
	case late: // 7
		return j.odd(s)
	}
	if o > reference && !e.closed { // 6
		j.jump(e, f, o, reference, true)
		return j.enter(f, home, o, true)
	}
	j.begin(o)
	return j.enter(f, j.newest(), o, true)
}

// begin opens the next epoch.
func (j *judge) begin(o int64) {
	if len(j.epochs) == maxEpochs {
		j.epochs[0].closed = true
	}
	j.epochs = append(j.epochs, epochState{begin: o, newest: o, horizon: max(0, o-j.lateness), slowest: -1})
}

// odd says where an odd hit goes.
func (j *judge) odd(s *fpgaState) (verdict, int) {
	if s.seen && !j.epoch(s.epoch).closed {
		return late, s.epoch
	}
	return late, j.newest()
}

// follows returns the newest open epoch, not older than from, in which another FPGA is near o, or -1.
func (j *judge) follows(f, from int, o int64) int {
	best := -1
	for g := range j.fpga {
		s := &j.fpga[g]
		if g != f && s.seen && s.epoch >= from && s.epoch > best && abs(o-s.last) <= far && !j.epoch(s.epoch).closed {
			best = s.epoch
		}
	}
	return best
}

// next looks ahead whether the next hit of f is back near the reference, so that words[0] was odd.
func (j *judge) next(words []uint64, f int, reference int64, eof bool) verdict {
	for i := 1; i < len(words) && i <= lookAhead; i++ {
		if w := words[i]; hit.IsHit(w) && hit.FPGA(w) == f {
			if abs(int64(uint32(w>>hit.OrbitShift))-reference) <= far {
				return late
			}
			return inTime
		}
	}
	if len(words) <= lookAhead && !eof {
		return undecided
	}
	return inTime
}

// accept looks ahead whether the far hit words[0] is borne out.
func (j *judge) accept(words []uint64, f int, o, reference int64, eof bool) verdict {
	agree, odd, last := 1, 0, true
	for i := 1; i < len(words) && i <= lookAhead; i++ {
		w := words[i]
		if !hit.IsHit(w) {
			continue
		}
		last = false
		if hit.FPGA(w) != f {
			continue
		}
		next := int64(uint32(w >> hit.OrbitShift))
		switch {
		case abs(next-reference) <= far:
			return late
		case (next > reference) == (o > reference) && next >= o-far:
			if agree++; agree >= agreement {
				return inTime
			}
		default:
			if odd++; odd >= agreement {
				return late
			}
		}
	}
	switch {
	case len(words) > lookAhead:
		return late
	case !eof:
		return undecided
	case last, agree > max(odd, 1):
		return inTime
	}
	return late
}

// jump notes that FPGA f, accepted or following another, jumps forward in its epoch.
func (j *judge) jump(e *epochState, f int, o, reference int64, accepted bool) {
	switch {
	case e.seen == 1<<f:
		e.begin = o
		e.horizon = max(e.horizon, o-j.lateness)
	case accepted:
		if !j.pending(e) {
			e.jumpFrom = reference
		}
		e.jumpTo = o
	}
}

// pending reports whether FPGAs that have not made a jump yet are waited for.
func (j *judge) pending(e *epochState) bool { return e.jumpTo > 0 && e.newest-e.jumpTo <= j.lateness }

// enter takes the hit of FPGA f into an epoch, and says whether it is late there.
func (j *judge) enter(f, into int, o int64, far bool) (v verdict, tag int) {
	s, e := &j.fpga[f], j.epoch(into)
	moved := !s.seen || s.epoch != into
	if moved || far || o > s.last {
		s.last = o
	}
	if e.closed {
		return late, j.newest()
	}
	isLate := o < e.horizon
	if moved && s.seen {
		old := j.epoch(s.epoch)
		old.members &^= 1 << f
		old.stale = true // its next hit works the horizon out
		if old.members == 0 {
			old.closed = true
		}
	}
	s.seen, s.epoch = true, into
	e.members |= 1 << f
	e.seen |= 1 << f
	e.newest = max(e.newest, o)
	j.advance(e)
	if !isLate {
		j.current = into
	}
	j.tidy()
	if isLate {
		return late, into
	}
	return inTime, 0
}

// appendState appends the judgement as a mark carries it.
func (j *judge) appendState(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, uint64(j.lateness))
	b = le.AppendUint32(b, uint32(j.base))
	b = le.AppendUint32(b, uint32(j.open))
	b = le.AppendUint32(b, uint32(j.current))
	b = le.AppendUint32(b, uint32(len(j.epochs)))
	for i := range j.epochs {
		e := &j.epochs[i]
		for _, x := range [...]int64{e.begin, e.newest, e.horizon, e.jumpFrom, e.jumpTo} {
			b = le.AppendUint64(b, uint64(x))
		}
		b = append(b, e.seen, e.members, bit(e.closed), 0, 0, 0, 0, 0)
	}
	for f := range j.fpga {
		s := &j.fpga[f]
		b = le.AppendUint64(b, uint64(s.last))
		b = le.AppendUint32(b, uint32(s.epoch))
		b = le.AppendUint32(b, uint32(bit(s.seen)))
	}
	return b
}

func bit(is bool) uint8 {
	if is {
		return 1
	}
	return 0
}

var errState = errors.New("the state of the source's judgement makes no sense")

// restore makes j the judge that appendState wrote. An empty state is that of a judge that has seen nothing, with j's lateness.
func (j *judge) restore(state []byte) error {
	if len(state) == 0 {
		*j = *newJudge(j.lateness)
		return nil
	}
	c := cursor{state, true}
	lateness := int64(c.u64())
	r := newJudge(lateness)
	base, open, current, count := c.u32(), c.u32(), c.u32(), c.u32()
	if !c.ok || lateness < 0 || count > maxEpochs || uint64(base)+uint64(count) > math.MaxUint32 || open != base ||
		current < base || count > 0 && current >= base+count || count == 0 && current != 0 {
		return errState
	}
	r.base, r.open, r.current = int(base), int(open), int(current)
	for range count {
		var e epochState
		for _, x := range [...]*int64{&e.begin, &e.newest, &e.horizon, &e.jumpFrom, &e.jumpTo} {
			if *x = int64(c.u64()); *x < 0 || *x > hit.MaxOrbit {
				return errState
			}
		}
		e.seen, e.members = c.u8(), c.u8()
		closed := c.u8()
		zero := c.take(5)
		if !c.ok || closed > 1 || string(zero) != "\x00\x00\x00\x00\x00" || e.members&^e.seen != 0 || e.horizon > e.newest || e.begin > e.newest {
			return errState
		}
		e.closed, e.stale = closed == 1, true
		r.epochs = append(r.epochs, e)
	}
	for f := range r.fpga {
		s := &r.fpga[f]
		last, epoch, seen := int64(c.u64()), c.u32(), c.u32()
		if last < 0 || last > hit.MaxOrbit || seen > 1 || uint64(epoch) >= uint64(base)+max(1, uint64(count)) {
			return errState
		}
		s.last, s.epoch, s.seen = last, int(epoch), seen == 1
		for i := range r.epochs {
			if member := s.seen && s.epoch == r.base+i; member != (r.epochs[i].members>>f&1 == 1) {
				return errState
			}
		}
	}
	if !c.ok || len(c.b) > 0 || count > 0 && (r.epochs[count-1].closed || r.epoch(r.current).closed || r.epochs[0].closed && count > 1) {
		return errState
	}
	*j = *r
	return nil
}

func abs(x int64) int64 {
	if x < 0 {
		return -x
	}
	return x
}
