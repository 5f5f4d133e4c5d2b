package wire

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"

	"dt/internal/hit"
)

// A Splitter makes messages of the frames of one lane: small streams, each of which can be read alone. A whole run is divided by orbit
// over n lanes; with one lane, or for a lane that is a part of a run already, frames stay as they are.
type Splitter struct {
	// Send receives each message with the lane it is of, 0 … n−1, and the number behind its last record. It must not keep the value.
	Send func(k int, value []byte, next uint64) error
	// Known, if it is set, is shown the words that are left out because they are there already, with the lane and their number in it. Its error ends the
	// splitting.
	Known func(k int, number, word uint64) error

	lane  Lane // as it comes in
	n     int
	limit int // bytes of a message
	most  int // bytes of one that holds a frame which is passed on as it is
	parts []*part
	w     *Writer // into the message of whichever part it was turned to; what it collects goes there before it is turned to another
	text  []byte  // of the chamber map

	// Of a run that is divided.
	track   *Track
	ledgers []Frame // that stand before the next frame
	count   int     // of them
	start   uint64  // number of the first record
	next    uint64  // number of the next record
	recent  []uint16
	frame   uint64           // counts changes of the frames' kind, epoch, or whether they have chambers
	like    Frame            // has those
	spare   int              // more than a piece of the present frame adds to a message
	epochs  []reached        // that are open
	oldest  uint32           // of them
	place   Mark             // of the last mark whose number could be told in each lane; the numbers are in the parts
	front   Frame            // header of the last frame
	stopped bool             // that was a stopped end
	pos     [pieceLen]uint32 // in the first lane's frame, of the numbers of a piece that are not present
}

// reached is the horizon of an epoch.
type reached struct {
	epoch   uint32
	horizon uint64
}

// A part is one of the lanes.
type part struct {
	lane Lane
	buf  bytes.Buffer // the message
	next uint64       // number of the next record
	late uint64
	at   uint64 // number at the Splitter's place

	have  uint64 // records below this number are there already, and are left out
	ended bool   // and there are no more

	// The words or late frame that is being built.
	f        Frame
	open     bool
	frame    uint64  // as Splitter.frame was, while it is open
	chambers []uint8 // the memory of f.Chambers
	asides   []aside
	size     int // of what stands in the message, without the frame

	epochs []reached // what was said last
	oldest uint32
}

// aside is what one stage set aside for one reason.
type aside struct {
	stage string
	e     Entry
}

const (
	// pieceLen is how many numbers are divided between two looks at the sizes of the messages.
	pieceLen = 512
	// recentLen is how many numbers back a mark may point.
	recentLen = 1 << 16
	// leftOut stands for where a number is that the first lane has already.
	leftOut = 1<<32 - 1
	// MinMessage is the least that a message must be able to hold: marks of any size, some words, and their ledgers.
	MinMessage = 32 << 10
)

// NewSplitter returns a Splitter of a lane over n lanes, with messages of at most limit bytes, which is at least MinMessage.
func NewSplitter(lane *Lane, n, limit int) *Splitter {
	s := &Splitter{lane: *lane, n: n, limit: min(limit, MaxPayload), most: min(limit, MaxMessage), w: NewWriter(nil)}
	if lane.N > 1 {
		s.n = 1
	}
	if s.n > 1 {
		s.recent = make([]uint16, recentLen)
	}
	for k := range s.n {
		p := &part{lane: *lane}
		p.lane.Anew, p.lane.Settings = false, "" // are for who reads this stream
		if s.n > 1 {
			p.lane.K, p.lane.N = uint32(k+1), uint32(s.n)
			p.lane.FloorEpoch, p.lane.FloorOrbit = 0, 0
		}
		s.parts = append(s.parts, p)
	}
	s.place.Partition = NoPartition
	s.takeUp(lane)
	return s
}

// takeUp begins, or goes on, at a lane's floor. Of a run that is divided the lanes' own numbers there are not known, but none has had more records than
// the run: so each goes on with the run's number, and no reader takes for doubled what it has not seen.
func (s *Splitter) takeUp(l *Lane) {
	s.track = NewTrack(l)
	s.start, s.next = s.track.Next(), s.track.Next()
	for _, p := range s.parts {
		p.next = max(p.next, s.next)
		p.lane.FloorNumber = p.next
		if s.n == 1 {
			p.lane.FloorEpoch, p.lane.FloorOrbit, p.lane.FloorNumber = l.FloorEpoch, l.FloorOrbit, max(p.next, l.FloorNumber)
		}
		p.at = p.next
	}
}

// Continue makes the Splitter go on with lanes that are there already, so that together with those it is as if the run had been split in one go. Where
// the stream begins, lane k's next record has the number at[k]; what is below have[k] is left out; and a lane that has ended gets nothing
// more. A lane hears of nothing until it is where it was: it was told more already. Call it before the first Add.
func (s *Splitter) Continue(at, have []uint64, ended []bool) {
	for k, p := range s.parts {
		p.next, p.at, p.have, p.ended = at[k], at[k], have[k], ended[k]
		p.lane.FloorEpoch, p.lane.FloorOrbit, p.lane.FloorNumber = 0, 0, 0
	}
}

// quiet reports whether a part hears of nothing: it is not yet where it was, or it has ended.
func (p *part) quiet() bool { return p.next < p.have || p.ended }

// check reports that a stream is not the one that the lanes are from: with upTo, that it ends before a lane does; else that it has more of a
// lane that has ended.
func (p *part) check(upTo bool) error {
	switch {
	case upTo && p.next < p.have:
		return fmt.Errorf("it ends before record %d of lane %d of %d, but there are %d already: this is another run of that name, or it was filtered otherwise",
			p.next, p.lane.K, p.lane.N, p.have)
	case p.ended && p.next >= p.have && !(upTo && p.next == p.have):
		return fmt.Errorf("lane %d of %d ended before record %d, and now goes on: this is another run of that name, or it was filtered otherwise",
			p.lane.K, p.lane.N, p.have)
	}
	return nil
}

// Add takes the next frame of the lane, a lane frame included.
func (s *Splitter) Add(f *Frame) error {
	switch f.Kind {
	case KindLane:
		return s.setLane(f.Lane)
	case KindMap:
		if err := s.Flush(); err != nil {
			return err
		}
		s.text = bytes.Clone(f.payload)
		if size := len(s.text) + 2*HeaderSize; size > s.limit/2 {
			return fmt.Errorf("a chamber map of %d bytes, but messages of at most %d", len(s.text), s.limit)
		}
		return nil
	}
	if f.Kind != KindLedger {
		s.front = Frame{Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open}
		s.stopped = f.Kind == KindEnd && f.End.Stopped
	}
	if s.n == 1 {
		return s.pass(f)
	}
	switch f.Kind {
	case KindLedger:
		s.ledger(f)
	case KindWords, KindLate:
		return s.words(f)
	case KindMark:
		return s.mark(f)
	case KindEnd:
		return s.end(f)
	}
	return nil
}

// setLane takes a lane frame: the lane goes on, maybe with another map, or behind what another has read in between.
func (s *Splitter) setLane(l *Lane) error {
	if s.stopped && NewTrack(l).Next() > s.next {
		s.takeUp(l) // nothing is under way: the end was sent
	}
	if l.Map == s.lane.Map && l.Form == s.lane.Form {
		return nil
	}
	if err := s.Flush(); err != nil {
		return err
	}
	s.lane.Map, s.lane.Form = l.Map, l.Form
	for _, p := range s.parts {
		p.lane.Map, p.lane.Form = l.Map, l.Form
	}
	return nil
}

// begin opens the message of a part, if it is not, for what is written next, which stands at a number.
func (s *Splitter) begin(p *part, number uint64) error {
	s.w.w = &p.buf
	if p.size > 0 {
		return s.w.err
	}
	at := &Frame{Next: number}
	s.w.Preamble()
	s.w.Lane(at, &p.lane) // an error stays in the Writer
	if p.lane.Map != 0 && s.text != nil {
		s.w.Map(at, s.text)
	}
	return s.put(p)
}

// put puts what was written into a part's message.
func (s *Splitter) put(p *part) error {
	err := s.w.Flush()
	p.size = p.buf.Len()
	return err
}

// pass puts a frame into the message as it is.
func (s *Splitter) pass(f *Frame) error {
	p := s.parts[0]
	var ledgers []Frame
	size := len(f.raw)
	switch f.Kind {
	case KindLedger:
		s.ledger(f)
		return nil
	case KindWords, KindLate:
		ledgers = s.ledgersOf(f)
		for i := range ledgers {
			size += len(ledgers[i].raw)
		}
	case KindCut:
		return nil
	}
	if p.ended || p.next < p.have || f.First < p.have {
		if err := s.known(p, f); err != nil {
			return err
		}
		if skip, err := p.skip(f); skip || err != nil {
			return err
		}
	}
	if p.size > 0 && p.size+size > s.limit {
		if err := s.send(0); err != nil {
			return err
		}
	}
	left := max(f.First, p.have) - f.First
	if left > 0 {
		f.cutBelow(left)
	}
	if err := s.begin(p, f.First); err != nil {
		return err
	}
	if left > 0 {
		s.rest(f, ledgers, left)
	} else {
		for i := range ledgers {
			s.w.Pass(&ledgers[i])
		}
		s.w.Pass(f)
	}
	p.next = f.Next
	s.next = max(s.next, f.Next)
	if err := s.put(p); err != nil || f.Kind != KindMark && f.Kind != KindEnd {
		return err
	}
	return s.send(0)
}

// known shows the words of a frame that is passed on which are there already.
func (s *Splitter) known(p *part, f *Frame) error {
	if s.Known == nil || f.Kind != KindWords && f.Kind != KindLate {
		return nil
	}
	k := 0
	for i := range min(f.Next, max(p.have, f.First)) - f.First {
		if f.Present != nil && f.Present[i/64]>>(i%64)&1 == 0 {
			continue
		}
		if err := s.Known(0, f.First+i, f.Words[k]); err != nil {
			return err
		}
		k++
	}
	return nil
}

// skip reports whether all of a frame is left out, because it is there already.
func (p *part) skip(f *Frame) (bool, error) {
	if f.Kind == KindMark || f.Kind == KindEnd {
		p.next = f.Next
		if f.Kind == KindEnd && !f.End.Stopped {
			return p.quiet(), p.check(true)
		}
		return p.quiet(), nil
	}
	if f.Next > p.have {
		p.next = max(p.next, p.have)
		return false, p.check(false)
	}
	p.next = max(p.next, f.Next)
	return f.First < p.have || p.ended, nil
}

// rest writes what is left of a frame whose first n numbers were cut off, and of its ledgers.
func (s *Splitter) rest(f *Frame, ledgers []Frame, n uint64) {
	cover := int(f.Next - f.First)
	kept := len(f.Words)
	for i := range slices.Backward(ledgers) {
		l := &ledgers[i].Ledger
		l.Kept, l.Read = kept, kept
		for j := range l.Entries {
			e := &l.Entries[j]
			e.Numbers = bitsFrom(e.Numbers, n, cover)
			e.Count = popcount(e.Numbers)
			l.Read += e.Count
		}
		kept = l.Read
	}
	at := *f
	for i := range ledgers {
		at.Ledger = ledgers[i].Ledger
		s.w.Ledger(&at) // an error stays in the Writer
	}
	s.w.Words(f)
}

// ledgersOf returns the ledgers that stand before a words or late frame. They are good until the next ledger frame.
func (s *Splitter) ledgersOf(f *Frame) []Frame {
	ledgers := s.ledgers[:s.count]
	s.count = 0
	if len(ledgers) > 0 && (ledgers[0].First != f.First || ledgers[0].Next != f.Next) {
		return nil
	}
	return ledgers
}

// ledger keeps a ledger frame for the words that follow.
func (s *Splitter) ledger(f *Frame) {
	if s.count > 0 && (s.ledgers[0].First != f.First || s.ledgers[0].Next != f.Next) {
		s.count = 0 // nothing followed it
	}
	if s.count == len(s.ledgers) {
		s.ledgers = append(s.ledgers, Frame{})
	}
	l := &s.ledgers[s.count]
	s.count++
	l.Kind, l.First, l.Next, l.Count = f.Kind, f.First, f.Next, f.Count
	l.raw = append(l.raw[:0], f.raw...)
	l.Ledger.Stage, l.Ledger.Read, l.Ledger.Kept = f.Ledger.Stage, f.Ledger.Read, f.Ledger.Kept
	l.Ledger.Entries = slices.Grow(l.Ledger.Entries[:0], len(f.Ledger.Entries))[:len(f.Ledger.Entries)]
	for i, e := range f.Ledger.Entries {
		to := &l.Ledger.Entries[i]
		to.Reason, to.Count = e.Reason, e.Count
		to.Numbers = append(to.Numbers[:0], e.Numbers...)
	}
}

// words divides a words or late frame.
func (s *Splitter) words(f *Frame) error {
	ledgers := s.ledgersOf(f)
	first := f.First
	s.track.Admit(f) // whoever reads the lanes would not know what came again
	if err := s.gap(f.First); err != nil {
		return err
	}
	if f.First >= f.Next {
		s.reach(f)
		return nil
	}
	if s.like.Kind != f.Kind || s.like.Epoch != f.Epoch || (s.like.Chambers != nil) != (f.Chambers != nil) {
		s.frame++
		s.like.Kind, s.like.Epoch, s.like.Chambers = f.Kind, f.Epoch, nil
		if f.Chambers != nil {
			s.like.Chambers = []uint8{}
		}
	}
	if err := s.reasons(ledgers); err != nil {
		return err
	}
	cover := int(f.Next - f.First)
	k := 0 // words so far
	for from := 0; from < cover; from += pieceLen {
		to := min(from+pieceLen, cover)
		if f.Present == nil {
			s.piece(f, f.Words[from:to], from)
		} else {
			k = s.sparse(f, from, to, k)
			for i := range ledgers {
				s.setAside(&ledgers[i].Ledger, int(f.First-first), from, to)
			}
		}
		if to == cover {
			s.reach(f)
		}
		if err := s.sizes(); err != nil {
			return err
		}
	}
	if f.Kind == KindWords {
		return s.w.err
	}
	for k := range s.parts {
		// The horizon goes on, and may leave the late words' newest orbits behind.
		if err := s.close(k); err != nil {
			return err
		}
	}
	return nil
}

// gap leaves out the numbers before first that are missing. Whose words they are nobody knows: the first lane shows the gap.
func (s *Splitter) gap(first uint64) error {
	if first <= s.next {
		return nil
	}
	if err := s.close(0); err != nil {
		return err
	}
	s.parts[0].next += first - s.next
	s.start, s.next = first, first
	return nil
}

// target returns a part that takes words of a frame.
func (s *Splitter) target(k int, f *Frame) *part {
	p := s.parts[k]
	_ = s.close(k) // an error stays in the Writer
	if p.ended {
		s.w.fail(p.check(false))
	}
	p.open, p.frame = true, s.frame
	p.f = Frame{Kind: f.Kind, First: p.next, Epoch: f.Epoch, Horizon: s.horizon(f.Epoch), Open: s.oldest,
		Words: p.f.Words[:0], Newest: p.f.Newest[:0], Present: p.f.Present[:0]}
	if f.Kind == KindWords {
		p.f.Open = min(s.oldest, f.Epoch)
	}
	if f.Chambers != nil {
		p.f.Chambers = p.chambers[:0]
	}
	return p
}

// horizon returns how far an epoch was known to have come before the frame that is being divided.
func (s *Splitter) horizon(epoch uint32) uint64 {
	for _, e := range s.epochs {
		if e.epoch == epoch {
			return e.horizon
		}
	}
	return 0
}

// piece divides words that stand one after the other; k is how many are before them in the frame.
func (s *Splitter) piece(f *Frame, words []uint64, k int) {
	n := uint32(s.n)
	for i, w := range words {
		to := LaneOf(hit.Orbit(w), n) - 1
		s.recent[s.next%recentLen] = uint16(to)
		s.next++
		p := s.parts[to]
		if p.frame != s.frame {
			if p.next < p.have {
				if s.Known != nil {
					if err := s.Known(int(to), p.next, w); err != nil {
						s.w.fail(err)
					}
				}
				p.next++
				if f.Kind == KindLate {
					p.late++
				}
				continue
			}
			p = s.target(int(to), f)
		}
		if len(p.f.Present) > 0 {
			p.setPresent()
		}
		p.f.Words = append(p.f.Words, w)
		if f.Kind == KindLate {
			p.f.Newest = append(p.f.Newest, f.Newest[k+i])
			p.late++
		}
		if f.Chambers != nil {
			p.f.Chambers = append(p.f.Chambers, f.Chambers[k+i])
		}
		p.next++
	}
}

// setPresent says that the next number is present. Only the first lane has numbers that are not.
func (p *part) setPresent() {
	at := p.next - p.f.First
	if at/64 == uint64(len(p.f.Present)) {
		p.f.Present = append(p.f.Present, 0)
	}
	p.f.Present[at/64] |= 1 << (at % 64)
}

// setAbsent says that the next number is not present, and returns where in the frame that is.
func (p *part) setAbsent() uint32 {
	at := p.next - p.f.First
	if len(p.f.Present) == 0 {
		// All before it are.
		for range at / 64 {
			p.f.Present = append(p.f.Present, ^uint64(0))
		}
		p.f.Present = append(p.f.Present, 1<<(at%64)-1)
	}
	if at/64 == uint64(len(p.f.Present)) {
		p.f.Present = append(p.f.Present, 0)
	}
	p.next++
	return uint32(at)
}

// sparse divides the numbers from … to of a frame that has not all of them; k is how many words stand before those. It returns how many
// stand before to.
func (s *Splitter) sparse(f *Frame, from, to, k int) int {
	for i := from; i < to; {
		if run := min(bits.TrailingZeros64(^(f.Present[i/64] >> (i % 64))), 64-i%64, to-i); run > 0 {
			s.piece(f, f.Words[k:k+run], k)
			k += run
			i += run
			continue
		}
		p := s.parts[0]
		if p.next < p.have {
			p.next++
			s.pos[i-from] = leftOut
		} else {
			if p.frame != s.frame {
				p = s.target(0, f)
			}
			s.pos[i-from] = p.setAbsent()
		}
		s.recent[s.next%recentLen] = 0
		s.next++
		i++
	}
	return k
}

// reasons looks at what the ledgers of the next frame will add to that of the first lane, which is ended if it has no room for as many reasons.
func (s *Splitter) reasons(ledgers []Frame) error {
	const perNumber = 8 + 4 + 1 + 1 // a word, its newest orbit, its chamber, and bits
	s.spare = HeaderSize + pieceLen*perNumber
	p := s.parts[0]
	full := false
	for i := range ledgers {
		l := &ledgers[i].Ledger
		n := len(l.Entries)
		for j := range p.asides {
			if p.asides[j].stage == l.Stage {
				n++
			}
		}
		full = full || n > MaxReasons
		s.spare += HeaderSize + 16 + len(l.Stage)
		for _, e := range l.Entries {
			s.spare += 16 + len(e.Reason) + 8*bitmapLen(pieceLen)
		}
	}
	if full {
		return s.close(0)
	}
	return nil
}

// setAside takes what a ledger says of the numbers from … to of the frame that is being divided, of which as many as cut are gone.
func (s *Splitter) setAside(l *Ledger, cut, from, to int) {
	p := s.parts[0]
	for i := range l.Entries {
		e := &l.Entries[i]
		var mine *Entry
		for at := from + cut; at < to+cut; at++ {
			rest := e.Numbers[at/64] >> (at % 64)
			if rest == 0 {
				at |= 63
				continue
			}
			if at += bits.TrailingZeros64(rest); at >= to+cut {
				break
			}
			pos := int(s.pos[at-cut-from])
			if pos == leftOut {
				continue
			}
			if mine == nil {
				mine = p.aside(l.Stage, e.Reason)
			}
			for len(mine.Numbers) <= pos/64 {
				mine.Numbers = append(mine.Numbers, 0)
			}
			mine.Numbers[pos/64] |= 1 << (pos % 64)
			mine.Count++
		}
	}
}

// aside returns the entry of a stage's reason.
func (p *part) aside(stage, reason string) *Entry {
	for i := range p.asides {
		if a := &p.asides[i]; a.stage == stage && a.e.Reason == reason {
			return &a.e
		}
	}
	p.asides = append(p.asides, aside{stage, Entry{Reason: reason}})
	return &p.asides[len(p.asides)-1].e
}

// reach notes the horizon behind a frame, also in the frames that are being built.
func (s *Splitter) reach(f *Frame) {
	s.oldest = max(s.oldest, f.Open)
	s.epochs = slices.DeleteFunc(s.epochs, func(e reached) bool { return e.epoch < s.oldest })
	if f.Epoch < s.oldest {
		return
	}
	i, ok := slices.BinarySearchFunc(s.epochs, f.Epoch, func(e reached, epoch uint32) int { return int(int64(e.epoch) - int64(epoch)) })
	if !ok {
		s.epochs = slices.Insert(s.epochs, i, reached{epoch: f.Epoch})
	}
	s.epochs[i].horizon = max(s.epochs[i].horizon, f.Horizon)
	for _, p := range s.parts {
		if p.open && p.f.Epoch == f.Epoch {
			p.f.Horizon = s.epochs[i].horizon
			p.f.Open = s.oldest
		}
	}
}

// sizes sends the messages, and ends the frames, that another piece could make too large.
func (s *Splitter) sizes() error {
	for k, p := range s.parts {
		if !p.open {
			continue
		}
		cover := int(p.next - p.f.First)
		size := p.size + HeaderSize + 8*len(p.f.Words) + 4*len(p.f.Newest) + len(p.f.Chambers) + 8*len(p.f.Present)
		for i := range p.asides {
			size += HeaderSize + 32 + len(p.asides[i].stage) + len(p.asides[i].e.Reason) + 8*bitmapLen(cover)
		}
		var err error
		switch {
		case size+s.spare > s.limit:
			err = s.send(k)
		case cover+pieceLen > MaxCover:
			err = s.close(k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// close puts the frame that is being built into the message, with its ledgers.
func (s *Splitter) close(k int) error {
	p := s.parts[k]
	if !p.open {
		return s.w.err
	}
	p.open, p.frame = false, 0
	f := &p.f
	f.Next = p.next
	if f.Chambers != nil {
		p.chambers = f.Chambers
	}
	if err := s.begin(p, f.First); err != nil {
		return err
	}
	cover := int(f.Next - f.First)
	present := f.Present
	if len(present) == 0 {
		f.Present = nil
	}
	s.closeLedgers(p, cover)
	s.w.Words(f)
	f.Present = present
	p.say(f.Epoch, f.Horizon, f.Open)
	return s.put(p)
}

// closeLedgers writes the ledgers of a frame, each stage's by itself: what it kept is what the next one read.
func (s *Splitter) closeLedgers(p *part, cover int) {
	if len(p.asides) == 0 {
		return
	}
	var list []Ledger
	for _, a := range p.asides {
		i := slices.IndexFunc(list, func(l Ledger) bool { return l.Stage == a.stage })
		if i < 0 {
			i = len(list)
			list = append(list, Ledger{Stage: a.stage})
		}
		for len(a.e.Numbers) < bitmapLen(cover) {
			a.e.Numbers = append(a.e.Numbers, 0)
		}
		list[i].Entries = append(list[i].Entries, a.e)
		list[i].Read += a.e.Count
	}
	kept := len(p.f.Words)
	for i := range slices.Backward(list) {
		list[i].Kept = kept
		kept += list[i].Read
		list[i].Read = kept
	}
	at := p.f
	for i := range list {
		at.Ledger = list[i]
		s.w.Ledger(&at)
	}
	p.asides = p.asides[:0]
}

// say notes what a part has been told of an epoch.
func (p *part) say(epoch uint32, horizon uint64, oldest uint32) {
	p.oldest = max(p.oldest, oldest)
	p.epochs = slices.DeleteFunc(p.epochs, func(e reached) bool { return e.epoch < p.oldest || e.epoch == epoch })
	p.epochs = append(p.epochs, reached{epoch, horizon})
}

// heard reports whether a part has been told that an epoch has come that far.
func (p *part) heard(e reached) bool { return slices.Contains(p.epochs, e) }

// mark sends a mark to all lanes, with its number in each.
func (s *Splitter) mark(f *Frame) error {
	s.reach(f)
	if m := &f.Mark; m.Number <= s.next && m.Number >= s.start && s.next-m.Number <= recentLen {
		for _, p := range s.parts {
			p.at = p.next
		}
		for n := m.Number; n < s.next; n++ {
			s.parts[s.recent[n%recentLen]].at--
		}
		state := append(s.place.State[:0], m.State...)
		s.place = *m
		s.place.State = state
	} else {
		// It points too far back, so the place before it is told again.
		s.place.Newest, s.place.Time, s.place.Serial = m.Newest, m.Time, m.Serial
	}
	for k, p := range s.parts {
		if p.quiet() {
			continue
		}
		if err := s.room(k, HeaderSize+3*MaxText+256); err != nil {
			return err
		}
		at := s.here(p, f)
		at.Mark = s.place
		at.Mark.Number = p.at
		s.w.Mark(at)
		p.say(f.Epoch, f.Horizon, f.Open)
		if err := s.put(p); err != nil {
			return err
		}
	}
	return s.Flush()
}

// room ends what a part is building and opens its message, a new one if it has no room for size bytes more.
func (s *Splitter) room(k, size int) error {
	p := s.parts[k]
	if err := s.close(k); err != nil {
		return err
	}
	if p.size+size > s.limit {
		if err := s.send(k); err != nil {
			return err
		}
	}
	return s.begin(p, p.next)
}

// here is a frame header with what f says, where a part is.
func (s *Splitter) here(p *part, f *Frame) *Frame {
	return &Frame{First: p.next, Next: p.next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open}
}

// end ends all lanes.
func (s *Splitter) end(f *Frame) error {
	if err := s.gap(f.First); err != nil {
		return err
	}
	for _, p := range s.parts {
		if err := p.check(true); err != nil && !f.End.Stopped {
			return err
		}
	}
	for k, p := range s.parts {
		if p.quiet() {
			continue
		}
		if err := s.room(k, HeaderSize+MaxText+64); err != nil {
			return err
		}
		at := s.here(p, f)
		at.End = End{Stopped: f.End.Stopped, Why: f.End.Why, Read: p.next, Late: p.late}
		if k == 0 {
			at.End.Rejected = f.End.Rejected
		}
		s.w.End(at)
		if err := s.put(p); err != nil {
			return err
		}
	}
	return s.Flush()
}

// Stop ends the lanes of an input that was stopped.
func (s *Splitter) Stop(why string) error {
	f := s.front
	f.End = End{Stopped: true, Why: why}
	return s.end(&f)
}

// Flush sends all that there is.
func (s *Splitter) Flush() error {
	for k := range s.parts {
		if err := s.send(k); err != nil {
			return err
		}
	}
	return nil
}

// send sends the message of a part, if it has one.
func (s *Splitter) send(k int) error {
	p := s.parts[k]
	if err := s.close(k); err != nil || p.size == 0 {
		return err
	}
	if p.buf.Len() > s.most {
		return fmt.Errorf("a message of %d bytes, but at most %d are possible", p.buf.Len(), s.most)
	}
	err := s.Send(k, p.buf.Bytes(), p.next)
	p.buf.Reset()
	p.size = 0
	return err
}

// Behind reports whether some lanes have not been told how far the run has come.
func (s *Splitter) Behind() bool {
	return slices.ContainsFunc(s.parts, s.behind)
}

func (s *Splitter) behind(p *part) bool {
	if s.n == 1 || p.quiet() {
		return false
	}
	return p.oldest < s.oldest || slices.ContainsFunc(s.epochs, func(e reached) bool { return !p.heard(e) })
}

// Tell tells the lanes that do not know it how far the run has come, by frames without words, so that a quiet lane holds nothing back.
func (s *Splitter) Tell() error {
	for k, p := range s.parts {
		if !s.behind(p) {
			continue
		}
		if err := s.close(k); err != nil {
			return err
		}
		if err := s.begin(p, p.next); err != nil {
			return err
		}
		for _, e := range s.epochs {
			if p.heard(e) && p.oldest >= s.oldest {
				continue
			}
			at := &Frame{Kind: KindWords, First: p.next, Next: p.next, Horizon: e.horizon, Epoch: e.epoch, Open: s.oldest}
			s.w.Words(at)
			p.say(e.epoch, e.horizon, s.oldest)
		}
		p.oldest = s.oldest
		if err := s.put(p); err != nil {
			return err
		}
	}
	return s.Flush()
}
