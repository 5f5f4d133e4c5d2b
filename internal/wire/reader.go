package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A Reader reads frames from a stream, or from several, one after the other.
type Reader struct {
	// OnWait, if not nil, is called before every read of the input that may block. A program flushes its output there.
	OnWait func() error

	r     io.Reader
	buf   []uint64 // bytes lo … hi of it are read and not yet returned; lo is a multiple of 8
	bytes []byte   // the same memory
	lo    int
	hi    int
	at    int64 // of byte lo, in the input
	err   error // why reading ended
	begun bool  // a preamble was seen

	frame Frame
	lane  *Lane
	lanes map[ID]*laneState
	cuts  []*laneState // to be told
	nCuts int

	suspended bool // some lanes are, maybe
}

// laneState is what a Reader knows of a lane, so as to know when it is cut.
type laneState struct {
	lane      *Lane
	next      uint64
	ended     bool
	suspended bool // its stream is over and it has no end frame yet
}

// bufferSize is the size of a Reader's buffer to begin with; it grows to hold the largest frame there is.
const bufferSize = 256 << 10

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	rd := &Reader{r: r, lanes: map[ID]*laneState{}}
	rd.grow(bufferSize)
	return rd
}

func (r *Reader) grow(size int) {
	buf := make([]uint64, size/8)
	b := bytesOf(buf)
	copy(b, r.bytes[r.lo:r.hi])
	r.buf, r.bytes, r.hi, r.lo = buf, b, r.hi-r.lo, 0
}

// need makes n bytes available at lo. It returns false at the end of the input or an error, kept in r.err.
func (r *Reader) need(n int) bool {
	if r.hi-r.lo >= n {
		return true
	}
	if n > len(r.bytes) {
		r.grow((n + bufferSize - 1) / bufferSize * bufferSize)
	} else if r.lo+n > len(r.bytes) || r.lo == r.hi {
		copy(r.bytes, r.bytes[r.lo:r.hi])
		r.hi, r.lo = r.hi-r.lo, 0
	}
	for empty := 0; r.hi-r.lo < n; {
		if r.err != nil {
			return false
		}
		if r.OnWait != nil {
			if r.err = r.OnWait(); r.err != nil {
				return false
			}
		}
		k, err := r.r.Read(r.bytes[r.hi:])
		r.hi += k
		r.err = err
		if empty++; k > 0 {
			empty = 0
		} else if err == nil && empty >= 100 {
			r.err = io.ErrNoProgress
		}
	}
	return true
}

func (r *Reader) skip(n int) { r.lo += n; r.at += int64(n) }

// Cuts returns how many lanes were cut so far.
func (r *Reader) Cuts() int { return r.nCuts }

// Next returns the next frame. It returns io.EOF at the end of the input, after a KindCut frame for each lane that has no end; a
// *NotStreamError or a *FormatError for an input that can't be read on; and the input's or OnWait's own error.
func (r *Reader) Next() (*Frame, error) {
	for {
		if len(r.cuts) > 0 {
			return r.cut(), nil
		}
		f, err := r.read()
		if f != nil || err != nil {
			return f, err
		}
	}
}

// cut returns the next lane to be told as cut.
func (r *Reader) cut() *Frame {
	s := r.cuts[0]
	r.cuts = r.cuts[1:]
	s.ended = true
	r.nCuts++
	r.frame = Frame{Kind: KindCut, Lane: s.lane, First: s.next, Next: s.next, Newest: r.frame.Newest}
	return &r.frame
}

// read reads one frame. It returns nothing at all when there is something to look at again: a cut, or a skipped frame.
func (r *Reader) read() (*Frame, error) {
	if !r.need(1) {
		if errors.Is(r.err, io.EOF) {
			if !r.begun {
				return nil, &NotStreamError{}
			}
			if r.cutWhere(func(*laneState) bool { return true }) {
				return nil, nil
			}
			if r.lane == nil {
				return nil, r.bad(errNoLane)
			}
		}
		return nil, r.err
	}
	if !r.begun || r.bytes[r.lo] == preamble[0] {
		return r.readPreamble()
	}
	if !r.need(HeaderSize) {
		return r.short("a frame's header")
	}
	f := &r.frame
	length, err := f.parseHeader(r.bytes[r.lo:])
	if err != nil {
		return r.damaged(HeaderSize, err)
	}
	size := HeaderSize + length
	if !r.need(size) {
		return r.short("a frame")
	}
	known, err := f.parse(r.bytes[r.lo:r.lo+size], r.buf[(r.lo+HeaderSize)/8:(r.lo+size)/8])
	switch {
	case isChecksum(err):
		return r.damaged(size, err)
	case err != nil:
		return nil, r.bad(err)
	case !known:
		r.skip(size)
		return nil, nil
	}
	if err := r.follow(f); err != nil {
		return nil, r.bad(err)
	}
	r.skip(size)
	return f, nil
}

func (r *Reader) readPreamble() (*Frame, error) {
	if !r.need(PreambleSize) {
		if !r.begun && errors.Is(r.err, io.EOF) {
			return nil, &NotStreamError{Head: append([]byte(nil), r.bytes[r.lo:r.hi]...)}
		}
		return r.short("the preamble")
	}
	head := r.bytes[r.lo : r.lo+PreambleSize]
	if !IsStream(head) {
		if !r.begun {
			return nil, &NotStreamError{Head: append([]byte(nil), r.bytes[r.lo:r.hi]...)}
		}
		return nil, r.bad(errors.New("neither a frame nor the beginning of a stream"))
	}
	if v := head[PreambleSize-1]; v != Version {
		return nil, r.bad(fmt.Errorf("stream of version %d; this program reads version %d", v, Version))
	}
	if r.begun && r.lane == nil {
		return nil, r.bad(errNoLane)
	}
	for id, s := range r.lanes {
		if s.ended {
			delete(r.lanes, id)
		}
		s.suspended = true
	}
	r.suspended = len(r.lanes) > 0
	r.begun = true
	r.lane = nil
	r.frame = Frame{Kind: KindStream, Newest: r.frame.Newest, raw: head}
	r.skip(PreambleSize)
	return &r.frame, nil
}

// follow keeps track of the lanes.
func (r *Reader) follow(f *Frame) error {
	if f.Kind != KindLane {
		if r.lane == nil {
			return errors.New("a frame before the stream's lane frame")
		}
		f.Lane = r.lane
		s := r.lanes[r.lane.ID()]
		if s.ended {
			return fmt.Errorf("a frame behind the end of %s", r.lane.ID())
		}
		switch f.Kind {
		case KindWords, KindLate:
			s.next = f.Next
		case KindEnd:
			s.ended = true
		}
		return nil
	}
	id := f.Lane.ID()
	s := r.lanes[id]
	if s == nil {
		if len(r.lanes) >= MaxLanes {
			return fmt.Errorf("more than %d lanes", MaxLanes)
		}
		s = &laneState{}
		r.lanes[id] = s
	}
	// A lane may go on at another number than where it was left: who keeps the numbers sees the overlap or the gap.
	s.lane, s.next, s.ended, s.suspended = f.Lane, f.First, false, false
	r.lane = f.Lane
	if r.suspended {
		// Another run begins: the lanes of earlier streams that have no end are not going to be continued.
		r.cutWhere(func(s *laneState) bool { return s.suspended && s.lane.Run != id.Run })
	}
	return nil
}

// cutWhere marks unended lanes as cut, in the order of their names.
func (r *Reader) cutWhere(is func(*laneState) bool) bool {
	for _, s := range r.lanes {
		if !s.ended && is(s) {
			s.ended = true
			r.cuts = append(r.cuts, s)
		}
	}
	slices.SortFunc(r.cuts, func(a, b *laneState) int { return a.lane.ID().compare(b.lane.ID()) })
	return len(r.cuts) > 0
}

// short is for an input that ends inside of something.
func (r *Reader) short(what string) (*Frame, error) {
	if !errors.Is(r.err, io.EOF) {
		return nil, r.err
	}
	if r.resync(r.hi - r.lo) {
		return nil, nil
	}
	have := r.hi - r.lo
	r.skip(have)
	r.lo = r.hi
	if r.cutWhere(func(*laneState) bool { return true }) {
		return nil, nil
	}
	return nil, r.bad(fmt.Errorf("cut inside %s", what))
}

// damaged is for n bytes that should be a frame and are none.
func (r *Reader) damaged(n int, err error) (*Frame, error) {
	if r.resync(n) {
		return nil, nil
	}
	return nil, r.bad(err)
}

// resync goes on at the preamble that stands within what should be a frame of n bytes, if there is one: then the stream was cut inside
// that frame, and another was written behind it.
func (r *Reader) resync(n int) bool {
	r.need(n + PreambleSize - 1) // it may begin in the frame's last bytes
	k := bytes.Index(r.bytes[r.lo+1:min(r.lo+n+PreambleSize-1, r.hi)], preamble[:])
	if k < 0 || r.lane == nil {
		return false
	}
	r.skip(1 + k)
	r.hi = copy(r.bytes, r.bytes[r.lo:r.hi]) // the words in it must be aligned
	r.lo = 0
	return true
}

var errNoLane = errors.New("a stream without a lane frame, cut behind its preamble")

func (r *Reader) bad(err error) error {
	r.err = &FormatError{At: r.at, Msg: err.Error()}
	r.lo = r.hi // nothing is read on behind it
	return r.err
}
