package wire

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// Copy sends the frames of src to dst: words and late frames through step, all others as they are. It ends each lane as its
// input does: where that was cut, so is the output. When step or the input is stopped (ErrStopped) the lanes get an end that
// says so.
//
// It returns a *CutError if the input was cut. tell is called with each such place as it is seen.
func Copy(dst *Writer, src *Reader, tell func(error), step func(f *Frame) error) error {
	open := map[ID]*Frame{} // lanes without an end, and where they are
	var order []ID
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
		case errors.Is(err, ErrStopped):
			return stop(dst, open, order)
		case err != nil:
			_ = dst.Flush() // what is good goes on
			return err
		}
		switch f.Kind {
		case KindStream:
			err = dst.Preamble()
		case KindCut:
			cut++
			tell(fmt.Errorf("%s was cut at record %d: no end frame (did the program before this one die?)", f.Lane.ID(), f.Next))
			delete(open, f.Lane.ID())
		case KindWords, KindLate, KindLane, KindMap, KindLedger:
			err = step(f)
		default:
			err = dst.Pass(f)
		}
		if err != nil {
			return err
		}
		if f.Kind == KindStream || f.Kind == KindCut {
			continue
		}
		id := f.Lane.ID()
		at := open[id]
		switch {
		case f.Kind == KindEnd:
			delete(open, id)
			continue
		case at == nil:
			at = new(Frame)
			open[id] = at
			order = append(order, id)
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
func stop(dst *Writer, open map[ID]*Frame, order []ID) error {
	many := len(open) > 1
	for _, id := range order {
		f := open[id]
		if f == nil {
			continue
		}
		delete(open, id)
		if many {
			if err := dst.Lane(f, f.Lane); err != nil {
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
	stage   string
	reasons []string
	fail    [][]uint64 // by index of the word
	numbers [][]uint64 // by number, where some are absent
	ledger  Frame
	out     Frame
	present []uint64
}

// NewSieve returns a Sieve that sets words aside for these reasons; stage is the name of the program in the ledger.
func NewSieve(stage string, reasons []string) *Sieve {
	s := &Sieve{stage: stage, reasons: reasons, fail: make([][]uint64, len(reasons)), numbers: make([][]uint64, len(reasons))}
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
	cover := int(f.Next - f.First)
	for i := range s.fail {
		e := &s.ledger.Ledger.Entries[i]
		e.Count = popcount(s.fail[i])
		kept -= e.Count
		if f.Present == nil {
			e.Numbers = s.fail[i]
		} else {
			s.numbers[i] = resize(s.numbers[i], bitmapLen(cover))
			deposit(s.numbers[i], s.fail[i], f.Present)
			e.Numbers = s.numbers[i]
		}
	}
	if kept == n {
		return w.Pass(f)
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
	*out = Frame{Kind: f.Kind, First: f.First, Next: f.Next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open, Newest: out.Newest[:0], Chambers: out.Chambers[:0]}
	if f.Present == nil {
		out.Present = keep
	} else {
		s.present = resize(s.present, bitmapLen(cover))
		deposit(s.present, keep, f.Present)
		out.Present = s.present
	}
	to := w.room(headerLen + kept + 64)[headerLen:]
	pick(to, f.Words, keep)
	if f.Kind == KindLate {
		out.Newest = pickSome(out.Newest, f.Newest, keep)
	}
	if f.Chambers != nil {
		out.Chambers = pickSome(out.Chambers, f.Chambers, keep)
	} else {
		out.Chambers = nil
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

// pick copies the words whose bit is set. Batches of 64 that are kept or dropped whole, and long runs, are common; others are picked bit by
// bit. dst has room for 64 more than are picked.
func pick(dst, src, keep []uint64) int {
	n := 0
	for k, m := range keep {
		from := src[k*64 : min(k*64+64, len(src))]
		switch {
		case m == 0:
		case m == ^uint64(0):
			n += copy(dst[n:], from)
		default:
			for m != 0 {
				// A run of ones at a time: hits and ancillary words come in runs.
				skip := bits.TrailingZeros64(m)
				run := bits.TrailingZeros64(^(m >> skip))
				n += copyRun(dst[n:], from[skip:skip+run])
				m = m >> skip >> run << skip << run
			}
		}
	}
	return n
}

// copyRun copies a short run.
func copyRun(dst, src []uint64) int {
	dst = dst[:len(src)]
	for i, w := range src {
		dst[i] = w
	}
	return len(src)
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
