package wire

import (
	"slices"
	"time"
)

// frameWords is how many numbers a Source puts into a frame: 64 KiB of words, which stay in a core's cache on
// their way through a program.
const frameWords = 8192

// A Source turns records, in the order of the run, into the frames of its lane: it numbers them, judges them, and keeps the
// ledger of those that are no word.
type Source struct {
	w     *Writer
	lane  Lane
	stage string
	j     *judge

	read     uint64   // records received
	next     uint64   // number of the next record to place: those before are in frames
	held     []uint64 // words received and not judged: a look-ahead waits for more
	bad      []badRun // records that are no word, not placed yet: those from badAt on
	badAt    int
	late     uint64
	rejected uint64
	serial   uint64
	now      func() time.Time

	// The frame that is being built: n words stand in w.room already.
	f      Frame
	n      int
	opened bool
	newest []uint32
	ledger Ledger

	place Mark // the last place where nothing was held
}

// badRun is one or more records after each other that are no word, for one reason.
type badRun struct {
	first, next uint64
	reason      string
}

// A Bad is a record that is no word: its index among the records of a batch, and the reason for the ledger (one of few).
type Bad struct {
	Record int
	Reason string
}

// NewSource opens a stream on w with one lane. w is the Source's from now on: Source.Flush flushes it. stage is the name of the program
// in ledgers; lateness is in orbits.
func NewSource(w *Writer, lane Lane, stage string, lateness int64) (*Source, error) {
	return ResumeSource(w, lane, stage, lateness, &Mark{Partition: NoPartition})
}

// ResumeSource opens a stream on w that goes on with a lane where a mark of it stands: with its number, and its judgement, whose lateness
// is kept; without a judgement the lane is judged anew from there on.
func ResumeSource(w *Writer, lane Lane, stage string, lateness int64, m *Mark) (*Source, error) {
	if err := CheckRun(lane.Run); err != nil {
		return nil, err
	}
	s := &Source{w: w, lane: lane, stage: stage, j: newJudge(lateness), now: time.Now, read: m.Number, next: m.Number, serial: m.Serial, place: *m}
	s.place.State = slices.Clone(m.State)
	if err := s.j.restore(m.State); err != nil {
		return nil, err
	}
	if err := w.Preamble(); err != nil {
		return nil, err
	}
	return s, w.Lane(s.point(), &lane)
}

// Place returns the last place that At noted while nothing was held. It is valid until the next call of the Source.
func (s *Source) Place() *Mark { return &s.place }

// Add takes the next records: words, and between them those that are no word, ascending by Record. It keeps
// neither slice.
func (s *Source) Add(words []uint64, bad []Bad) error {
	s.bad, s.badAt = slices.Delete(s.bad, 0, s.badAt), 0
	for _, b := range bad {
		number := s.read + uint64(b.Record)
		if n := len(s.bad); n > s.badAt && s.bad[n-1].next == number && s.bad[n-1].reason == b.Reason {
			s.bad[n-1].next++
		} else {
			s.bad = append(s.bad, badRun{number, number + 1, b.Reason})
		}
	}
	s.read += uint64(len(words) + len(bad))
	s.rejected += uint64(len(bad))
	return s.take(words, false)
}

// take judges and places what is held and words, as far as it can.
func (s *Source) take(words []uint64, eof bool) error {
	if len(s.held) > 0 {
		s.held = append(s.held, words...)
		used := s.judge(s.held, eof)
		s.held = s.held[:copy(s.held, s.held[used:])]
	} else {
		used := s.judge(words, eof)
		s.held = append(s.held, words[used:]...)
	}
	return s.w.err
}

// judge places words up to the first that it can't decide yet, with the records before and behind them that are no word, and
// returns how many.
func (s *Source) judge(words []uint64, eof bool) int {
	used := 0
	for {
		s.placeBad()
		if used == len(words) {
			return used
		}
		// No more at once than fit into the frame, and than come before the next record that is no word: so what a frame says of its
		// horizon is what held behind its last word.
		n := frameWords
		if s.fits(KindWords, s.j.current) {
			n -= s.cover()
		}
		n = min(n, len(words)-used)
		if s.badAt < len(s.bad) {
			n = int(min(uint64(n), s.bad[s.badAt].first-s.next))
		}
		kind, epoch := KindWords, s.j.current
		if n = s.j.run(words[used : used+n]); n == 0 {
			n = 1
			switch v, tag := s.j.one(words[used:], eof); v {
			case undecided:
				return used
			case inTime:
				epoch = s.j.current
			case late:
				kind, epoch = KindLate, tag
			}
		}
		if !s.fits(kind, epoch) {
			s.open(kind, epoch)
		}
		if kind == KindLate {
			s.newest = append(s.newest, uint32(s.j.epoch(epoch).newest))
			s.late++
		}
		copy(s.w.buf[s.w.n+headerLen+s.n:], words[used:used+n])
		s.n += n
		s.next += uint64(n)
		used += n
		s.keep()
	}
}

func (s *Source) cover() int { return int(s.next - s.f.First) }

// fits reports whether the frame that is being built takes a word of this kind and epoch.
func (s *Source) fits(kind Kind, epoch int) bool {
	return s.opened && s.f.Kind == kind && int(s.f.Epoch) == epoch && s.cover() < frameWords
}

// open begins a frame of this kind and epoch.
func (s *Source) open(kind Kind, epoch int) {
	s.close()
	s.opened = true
	s.f = Frame{Kind: kind, First: s.next, Epoch: uint32(epoch)}
	s.w.room(headerLen + frameWords)
	s.keep()
}

// keep notes the horizon behind what has been placed.
func (s *Source) keep() {
	if len(s.j.epochs) > 0 {
		s.f.Horizon = uint64(s.j.epoch(int(s.f.Epoch)).horizon)
		s.f.Open = uint32(s.j.open)
	}
}

// placeBad places the records that are no word and are next: in the frame that is being built, whatever its words.
func (s *Source) placeBad() {
	for ; s.badAt < len(s.bad); s.badAt++ {
		for b := &s.bad[s.badAt]; b.first < b.next; b.first++ {
			if b.first != s.next {
				return
			}
			if !s.opened || s.cover() >= frameWords {
				s.open(KindWords, s.j.current)
			}
			s.setAside(b.reason)
			s.next++
		}
	}
	s.bad, s.badAt = s.bad[:0], 0
}

// setAside notes that the record with the next number is none, for this reason.
func (s *Source) setAside(reason string) {
	i := slices.IndexFunc(s.ledger.Entries, func(e Entry) bool { return e.Reason == reason })
	if i < 0 && len(s.ledger.Entries) == MaxReasons {
		s.open(s.f.Kind, int(s.f.Epoch))
	}
	if i < 0 {
		i = len(s.ledger.Entries)
		s.ledger.Entries = append(s.ledger.Entries, Entry{Reason: reason, Numbers: make([]uint64, bitmapLen(frameWords))})
	}
	e := &s.ledger.Entries[i]
	e.Count++
	at := s.cover()
	e.Numbers[at/64] |= 1 << (at % 64)
}

// close finishes the frame that is being built.
func (s *Source) close() {
	if !s.opened {
		return
	}
	s.opened = false
	s.f.Next = s.next
	s.f.Newest = s.newest
	switch {
	case s.cover() == 0:
	case len(s.ledger.Entries) > 0:
		s.closeWithLedger()
	default:
		s.w.finishWords(&s.f, s.n)
	}
	s.n = 0
	s.newest = s.newest[:0]
}

// closeWithLedger is close for a frame in which records are set aside; their ledger goes before it.
func (s *Source) closeWithLedger() {
	cover := s.cover()
	s.f.Words = slices.Clone(s.w.room(headerLen + s.n)[headerLen:])
	s.f.Present = make([]uint64, bitmapLen(cover))
	for i := range s.f.Present {
		s.f.Present[i] = ^uint64(0)
	}
	if tail := cover % 64; tail != 0 {
		s.f.Present[len(s.f.Present)-1] = 1<<tail - 1
	}
	for _, e := range s.ledger.Entries {
		for i := range s.f.Present {
			s.f.Present[i] &^= e.Numbers[i]
		}
	}
	s.ledger.Stage, s.ledger.Read, s.ledger.Kept = s.stage, cover, s.n
	s.f.Ledger = s.ledger
	s.w.Ledger(&s.f)
	s.w.Words(&s.f)
	s.ledger = Ledger{}
}

// At says that all records so far came from before this place. It costs little; call it after every batch.
func (s *Source) At(name, tag string, partition uint32, offset uint64) {
	if len(s.held) > 0 {
		return
	}
	m := &s.place
	m.Name, m.Tag, m.Partition, m.Offset = name, tag, partition, offset
	m.Number, m.Source = s.read, s.read
	m.State = s.j.appendState(m.State[:0])
}

// Mark writes how far the source has come.
func (s *Source) Mark(now time.Time) error {
	s.close()
	s.serial++
	s.place.Serial = s.serial
	s.place.Time = now.UnixNano()
	f := s.point()
	if len(s.j.epochs) > 0 {
		s.place.Newest = uint64(s.j.epoch(s.j.newest()).newest)
	}
	f.Mark = s.place
	return s.w.Mark(f)
}

// point is a frame header for where the source is, in the newest epoch.
func (s *Source) point() *Frame {
	f := &Frame{First: s.next, Next: s.next}
	if len(s.j.epochs) > 0 {
		f.Epoch = uint32(s.j.newest())
		f.Horizon = uint64(s.j.epoch(s.j.newest()).horizon)
		f.Open = uint32(s.j.open)
	}
	return f
}

// Flush sends what has been placed.
func (s *Source) Flush() error {
	s.close()
	return s.w.Flush()
}

// End ends the lane and flushes. Where the input was exhausted or has a limit, what is held is judged by what there is. Where it was interrupted
// and may be taken up again, it is left out, for whoever goes on may see more.
func (s *Source) End(e End, interrupted bool) error {
	if interrupted {
		for _, b := range s.bad[s.badAt:] {
			s.rejected -= b.next - b.first
		}
		s.read = s.next
		s.held, s.bad, s.badAt = nil, nil, 0
	} else if err := s.take(nil, true); err != nil {
		return err
	}
	s.close()
	if err := s.Mark(s.now()); err != nil {
		return err
	}
	f := s.point()
	e.Read, e.Late, e.Rejected = s.read, s.late, s.rejected
	f.End = e
	if err := s.w.End(f); err != nil {
		return err
	}
	return s.w.Flush()
}
