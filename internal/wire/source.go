package wire

import (
	"encoding/binary"
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
	bad      []badAt  // records that are no word, not placed yet
	late     uint64
	rejected uint64
	serial   uint64

	// The frame that is being built: n words stand in w.room already.
	f      Frame
	n      int
	opened bool
	newest []uint32
	ledger Ledger

	place Mark // the last place where nothing was held
}

type badAt struct {
	number uint64
	reason string
}

// A Bad is a record that is no word: its index among the records of a batch, and the reason for the ledger (one of few).
type Bad struct {
	Record int
	Reason string
}

// NewSource opens a stream on w with one lane. stage is the name of the program in ledgers; lateness is in orbits.
func NewSource(w *Writer, lane Lane, stage string, lateness int64) (*Source, error) {
	if err := CheckRun(lane.Run); err != nil {
		return nil, err
	}
	s := &Source{w: w, lane: lane, stage: stage, j: newJudge(lateness)}
	s.place.Partition = NoPartition
	if err := w.Preamble(); err != nil {
		return nil, err
	}
	return s, w.Lane(&Frame{}, &lane)
}

// Add takes the next records: words, and between them those that are no word, ascending by Record. It keeps
// neither slice.
func (s *Source) Add(words []uint64, bad []Bad) error {
	for _, b := range bad {
		s.bad = append(s.bad, badAt{s.read + uint64(b.Record), b.Reason})
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
	if len(s.held) == 0 {
		s.fill(nil)
	}
	return s.w.err
}

// judge places words up to the first that it can't decide yet, and returns how many.
func (s *Source) judge(words []uint64, eof bool) int {
	used := 0
	for used < len(words) {
		room := frameWords
		if s.opened && s.f.Kind == KindWords && int(s.f.Epoch) == s.j.current {
			room -= s.cover()
		}
		if room <= 0 {
			s.close()
			continue
		}
		// No more than fit into the frame, so that its horizon is the one behind its last word.
		if n := s.j.run(words[used:min(used+room, len(words))]); n > 0 {
			s.open(KindWords, s.j.current)
			s.fill(words[used : used+n])
			s.keep()
			used += n
			continue
		}
		v, tag := s.j.one(words[used:], eof)
		switch v {
		case undecided:
			return used
		case inTime:
			s.open(KindWords, s.j.current)
		case late:
			s.open(KindLate, tag)
			s.newest = append(s.newest, uint32(s.j.epoch(tag).newest))
			s.late++
		}
		s.fill(words[used : used+1])
		s.keep()
		used++
	}
	return used
}

func (s *Source) cover() int { return int(s.next - s.f.First) }

// keep notes the horizon behind the last word placed.
func (s *Source) keep() {
	if len(s.j.epochs) == 0 {
		return
	}
	s.f.Horizon = uint64(s.j.epoch(int(s.f.Epoch)).horizon)
	s.f.Open = uint32(s.j.open)
}

// open makes a frame of this kind and epoch the one that is being built.
func (s *Source) open(kind Kind, epoch int) {
	if s.opened && s.f.Kind == kind && int(s.f.Epoch) == epoch && s.cover() < frameWords {
		return
	}
	s.close()
	s.opened = true
	s.f = Frame{Kind: kind, First: s.next, Epoch: uint32(epoch), Horizon: s.f.Horizon, Open: s.f.Open}
	s.w.room(headerLen + 2*frameWords)
}

// fill places words, and the records that are no word before, between and directly behind them.
func (s *Source) fill(words []uint64) {
	for {
		switch {
		case len(s.bad) > 0 && s.bad[0].number == s.next:
			if !s.opened {
				s.open(KindWords, s.j.current)
			}
			s.setAside(s.bad[0].reason)
			s.bad = s.bad[1:]
			s.next++
		case len(words) == 0:
			return
		default:
			n := min(len(words), frameWords)
			if len(s.bad) > 0 {
				n = int(min(uint64(n), s.bad[0].number-s.next))
			}
			copy(s.w.buf[s.w.n+headerLen+s.n:], words[:n])
			s.n += n
			s.next += uint64(n)
			words = words[n:]
		}
		if s.cover() >= 2*frameWords-1 && len(s.bad) > 0 {
			// Only with many bad records. The horizon is one that held before; that is safe.
			kind, epoch := s.f.Kind, int(s.f.Epoch)
			s.close()
			s.open(kind, epoch)
		}
	}
}

// setAside notes that the record with the next number is none, for this reason.
func (s *Source) setAside(reason string) {
	i := 0
	for i < len(s.ledger.Entries) && s.ledger.Entries[i].Reason != reason {
		i++
	}
	if i == len(s.ledger.Entries) {
		s.ledger.Entries = append(s.ledger.Entries, Entry{Reason: reason, Numbers: make([]uint64, bitmapLen(2*frameWords))})
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
	if s.cover() > 0 {
		s.f.Newest = s.newest
		if len(s.ledger.Entries) > 0 {
			s.closeWithLedger()
		} else {
			s.w.finishWords(&s.f, s.n)
		}
	}
	s.n = 0
	s.newest = s.newest[:0]
}

// closeWithLedger is close for a frame in which records are set aside; their ledger goes before it.
func (s *Source) closeWithLedger() {
	cover := s.cover()
	words := append([]uint64(nil), s.w.room(headerLen + s.n)[headerLen:]...)
	present := make([]uint64, bitmapLen(cover))
	for i := range present {
		present[i] = ^uint64(0)
	}
	if tail := cover % 64; tail != 0 {
		present[len(present)-1] = 1<<tail - 1
	}
	for _, e := range s.ledger.Entries {
		for i := range present {
			present[i] &^= e.Numbers[i]
		}
	}
	s.ledger.Stage, s.ledger.Read, s.ledger.Kept = s.stage, cover, s.n
	s.f.Ledger = s.ledger
	s.w.Ledger(&s.f)
	s.f.Words, s.f.Present = words, present
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
	f := &Frame{First: s.next, Next: s.next, Open: s.f.Open}
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

// Newest returns the newest orbit of the newest epoch, and its number.
func (s *Source) Newest() (epoch int, orbit int64) {
	if len(s.j.epochs) == 0 {
		return 0, 0
	}
	return s.j.newest(), s.j.epoch(s.j.newest()).newest
}

// Counts returns how many records were read, and how many of them are late and rejected.
func (s *Source) Counts() (read, late, rejected uint64) { return s.read, s.late, s.rejected }

// End ends the lane and flushes. Where the input was exhausted or has a limit, what is held is judged by what there is. Where it was interrupted
// and may be taken up again, it is left out, for whoever goes on may see more.
func (s *Source) End(e End, interrupted bool) error {
	if interrupted {
		s.read = s.next
		s.held, s.bad = nil, nil
	} else if err := s.take(nil, true); err != nil {
		return err
	}
	s.close()
	if err := s.Mark(time.Now()); err != nil {
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
		closed := uint8(0)
		if e.closed {
			closed = 1
		}
		b = append(b, e.seen, e.members, closed, 0, 0, 0, 0, 0)
	}
	for f := range j.fpga {
		s := &j.fpga[f]
		seen := uint32(0)
		if s.seen {
			seen = 1
		}
		b = le.AppendUint64(b, uint64(s.last))
		b = le.AppendUint32(b, uint32(s.epoch))
		b = le.AppendUint32(b, seen)
	}
	return b
}
