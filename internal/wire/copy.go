package wire

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"slices"
)

// Copy sends the frames of src to dst: lane, map, ledger, words and late frames through step, all others as they are. It ends each
// lane as its input does: where that was cut, so is the output. When step or the input is stopped (ErrStopped) the lanes get
// an end that says so.
//
// It returns a *CutError if the input was cut. tell is called with each such place as it is seen.
func Copy(dst *Writer, src *Reader, tell func(error), step func(f *Frame) error) error {
	open := map[ID]*Frame{} // lanes without an end, and where they are
	var current ID          // the lane that dst's frames belong to
	cut := 0
	for {
		f, err := src.Next()
		switch {
		case errors.Is(err, io.EOF):
			if err := dst.Flush(); err != nil {
				return err
			}
			if cut > 0 {
				return &CutError{cut}
			}
			return nil
		case err != nil:
		case f.Kind == KindStream:
			current = ID{}
			err = dst.Preamble()
		case f.Kind == KindCut:
			cut++
			tell(fmt.Errorf("%s was cut at record %d: no end frame (did the program before this one die?)", f.Lane.ID(), f.Next))
		case f.Kind == KindWords, f.Kind == KindLate, f.Kind == KindLane, f.Kind == KindMap, f.Kind == KindLedger:
			err = step(f)
		default:
			err = dst.Pass(f)
		}
		switch {
		case errors.Is(err, ErrStopped):
			return stop(dst, open, current, step)
		case err != nil:
			_ = dst.Flush() // what is good goes on
			return err
		case f.Kind == KindStream:
			continue
		}
		id := f.Lane.ID()
		switch f.Kind {
		case KindEnd, KindCut:
			delete(open, id)
			continue
		case KindLane:
			current = id
		case KindLedger:
			continue // it covers words that may not come any more
		}
		at := open[id]
		if at == nil {
			at = new(Frame)
			open[id] = at
		}
		at.Lane, at.Next, at.Horizon, at.Epoch, at.Open = f.Lane, f.Next, f.Horizon, f.Epoch, f.Open
	}
}

// A CutError says that lanes were cut.
type CutError struct{ Lanes int }

func (e *CutError) Error() string {
	if e.Lanes == 1 {
		return "the input was cut"
	}
	return fmt.Sprintf("the input was cut in %d lanes", e.Lanes)
}

// stop ends all open lanes.
func stop(dst *Writer, open map[ID]*Frame, current ID, step func(f *Frame) error) error {
	for _, id := range slices.SortedFunc(maps.Keys(open), ID.compare) {
		f := open[id]
		if id != current {
			current = id
			to := *f.Lane
			to.Anew = false // what was read of the lane counts
			lane := NewWriter(io.Discard)
			if err := lane.Lane(f, &to); err != nil {
				return err
			}
			l := f.at(KindLane)
			l.Lane, l.raw = &to, bytesOf(lane.buf[:lane.n])
			if err := step(l); err != nil {
				return err
			}
		}
		f.End = End{Stopped: true, Read: f.Next, Why: "stopped by a signal"}
		if err := dst.End(f); err != nil {
			return err
		}
	}
	return dst.Flush()
}

// Sieve writes words and late frames without the words that are set aside.
type Sieve struct {
	fail     [][]uint64 // for each reason, which words of the frame
	numbers  [][]uint64 // the same by number, of frames with a presence bitmap
	present  []uint64
	newest   []uint32
	chambers []uint8
	ledger   Frame
	out      Frame
}

// NewSieve returns a Sieve that sets words aside for these reasons; stage is the name of the program in the ledger.
func NewSieve(stage string, reasons []string) *Sieve {
	s := &Sieve{fail: make([][]uint64, len(reasons)), numbers: make([][]uint64, len(reasons)), chambers: []uint8{}}
	s.ledger.Ledger.Stage = stage
	s.ledger.Ledger.Entries = make([]Entry, len(reasons))
	for i := range reasons {
		s.ledger.Ledger.Entries[i].Reason = reasons[i]
	}
	return s
}

// Write writes f to w. eval fills fail[i] with the bitmap of the words of f (by their index) that are set aside for reason i; no word is set
// aside twice.
func (s *Sieve) Write(w *Writer, f *Frame, eval func(words []uint64, chambers []uint8, fail [][]uint64)) error {
	n := len(f.Words)
	for i := range s.fail {
		s.fail[i] = resize(s.fail[i], bitmapLen(n))
	}
	eval(f.Words, f.Chambers, s.fail)

	kept := n
	entries := s.ledger.Ledger.Entries
	for i, fail := range s.fail {
		entries[i].Count = popcount(fail)
		kept -= entries[i].Count
	}
	if kept == n {
		return w.Pass(f)
	}
	cover := int(f.Next - f.First)
	for i, fail := range s.fail {
		entries[i].Numbers = fail
		if f.Present != nil {
			s.numbers[i] = resize(s.numbers[i], bitmapLen(cover))
			deposit(s.numbers[i], fail, f.Present)
			entries[i].Numbers = s.numbers[i]
		}
	}
	l := &s.ledger
	l.First, l.Next, l.Horizon, l.Epoch, l.Open = f.First, f.Next, f.Horizon, f.Epoch, f.Open
	l.Ledger.Read, l.Ledger.Kept = n, kept
	if err := w.Ledger(l); err != nil {
		return err
	}

	// Which words are left, by index, and which numbers.
	keep := s.fail[0]
	for _, fail := range s.fail[1:] {
		for i := range keep {
			keep[i] |= fail[i]
		}
	}
	for i := range keep {
		keep[i] = ^keep[i]
	}
	if tail := n % 64; tail != 0 {
		keep[len(keep)-1] &= 1<<tail - 1
	}
	out := &s.out
	*out = Frame{Kind: f.Kind, First: f.First, Next: f.Next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open, Present: keep}
	if f.Present != nil {
		s.present = resize(s.present, bitmapLen(cover))
		deposit(s.present, keep, f.Present)
		out.Present = s.present
	}
	pick(w.room(headerLen + kept + runLen)[headerLen:], f.Words, keep)
	if f.Kind == KindLate {
		s.newest = pickSome(s.newest[:0], f.Newest, keep)
		out.Newest = s.newest
	}
	if f.Chambers != nil {
		s.chambers = pickSome(s.chambers[:0], f.Chambers, keep)
		out.Chambers = s.chambers
	}
	return w.finishWords(out, kept)
}

// resize returns a bitmap of n words, all 0 or not.
func resize(b []uint64, n int) []uint64 {
	if cap(b) < n {
		return make([]uint64, n)
	}
	return b[:n]
}

// deposit spreads the bits of src over those of mask: bit i of src goes where mask has its i-th bit.
func deposit(dst, src, mask []uint64) {
	i := 0
	for k, m := range mask {
		out := uint64(0)
		for ; m != 0; m &= m - 1 {
			if src[i/64]>>(i%64)&1 != 0 {
				out |= m & -m
			}
			i++
		}
		dst[k] = out
	}
}

// runLen is how many words pick copies at once, needed or not.
const runLen = 8

// pick copies the words whose bit is set, and returns how many. Hits and ancillary words come in runs of 8, so runs of ones are copied 8
// words at a time, in one piece of straight code, and what was too much is written over by the next. dst has room for runLen more than
// are picked.
func pick(dst, src, keep []uint64) int {
	n := 0
	for k, m := range keep {
		from := src[k*64:]
		// Where runs begin and where they end: so no run waits for the one before.
		begins, ends := m&^(m<<1), m&^(m>>1)
		for begins != 0 {
			at := bits.TrailingZeros64(begins)
			run := bits.TrailingZeros64(ends) + 1 - at
			begins &= begins - 1
			ends &= ends - 1
			for ; at+runLen <= len(from); at += runLen {
				*(*[runLen]uint64)(dst[n:]) = *(*[runLen]uint64)(from[at:])
				if run <= runLen {
					break
				}
				n += runLen
				run -= runLen
			}
			if at+runLen > len(from) {
				copy(dst[n:], from[at:at+run])
			}
			n += run
		}
	}
	return n
}

// pickSome appends the elements whose bit is set.
func pickSome[T any](dst, src []T, keep []uint64) []T {
	for k, m := range keep {
		for ; m != 0; m &= m - 1 {
			dst = append(dst, src[k*64+bits.TrailingZeros64(m)])
		}
	}
	return dst
}
