package wire

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A Writer writes a stream. It collects small frames and writes them when flushAt bytes have come together or Flush is
// called; who may have to wait for input calls Flush before.
type Writer struct {
	w   io.Writer
	buf []uint64
	n   int // words of buf that hold whole frames
	err error
}

const (
	flushAt    = 128 << 10
	headerLen  = HeaderSize / 8
	writerRoom = 2*flushAt + 8*8192
)

// NewWriter returns a Writer to w. Nothing is written before the first frame.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, buf: make([]uint64, writerRoom/8)}
}

// Flush writes what has been collected. Once a write has failed, it and all others return that error.
func (w *Writer) Flush() error {
	if w.n > 0 && w.err == nil {
		_, w.err = w.w.Write(bytesOf(w.buf[:w.n]))
	}
	w.n = 0
	return w.err
}

// room returns space for n words behind the collected frames. What is written there becomes part of the stream by commit.
func (w *Writer) room(n int) []uint64 {
	if w.n+n > len(w.buf) {
		bigger := make([]uint64, w.n+n+writerRoom/8)
		copy(bigger, w.buf) // also what stands in room and is not committed yet
		w.buf = bigger
	}
	return w.buf[w.n : w.n+n]
}

// commit puts the header before a payload of length bytes that stands in room, pads it, and makes it part of the stream.
func (w *Writer) commit(f *Frame, length int) error {
	if err := f.checkCover(); err != nil {
		return w.fail(err)
	}
	words := headerLen + (length+7)/8
	if words*8-HeaderSize > MaxPayload {
		return w.fail(fmt.Errorf("a frame of %d bytes; at most %d are possible", length, MaxPayload))
	}
	b := bytesOf(w.room(words))
	for i := HeaderSize + length; i < len(b); i++ {
		b[i] = 0
	}
	putHeader(b, f, len(b)-HeaderSize)
	w.n += words
	if w.n*8 >= flushAt {
		return w.Flush()
	}
	return w.err
}

// fail makes err the Writer's error: what could not be read again is not written, and nothing behind it.
func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// Preamble opens a stream.
func (w *Writer) Preamble() error {
	copy(bytesOf(w.room(1)), preamble[:])
	w.n++
	return w.err
}

// Pass writes a frame, as it was read, on; nothing for a KindCut, which stands for what is not there.
func (w *Writer) Pass(f *Frame) error {
	if f.raw == nil && f.Kind != KindCut {
		return w.fail(fmt.Errorf("a frame of kind %d that was not read can't be passed on", f.Kind))
	}
	copy(bytesOf(w.room(len(f.raw)/8)), f.raw)
	w.n += len(f.raw) / 8
	if w.n*8 >= flushAt {
		return w.Flush()
	}
	return w.err
}

// Words writes a words or late frame: f.Words, f.Present, f.Newest and f.Chambers with the numbers, horizon and epochs of f. Count and Flags
// follow from them.
func (w *Writer) Words(f *Frame) error {
	out := w.room(headerLen + len(f.Words))
	copy(out[headerLen:], f.Words)
	return w.finishWords(f, len(f.Words))
}

// finishWords commits a words or late frame whose n words stand in room already.
func (w *Writer) finishWords(f *Frame, n int) error {
	cover := f.Next - f.First
	if f.Present == nil && cover != uint64(n) || f.Present != nil && (cover > MaxCover || len(f.Present) != bitmapLen(int(cover))) {
		return w.fail(fmt.Errorf("a frame of %d words for the numbers %d to %d", n, f.First, f.Next))
	}
	f.Count, f.Flags = n, 0
	size := 8 * n
	if f.Present != nil {
		f.Flags |= FlagPresence
		size += 8 * len(f.Present)
	}
	if f.Kind == KindLate {
		size += 4 * n
	}
	if f.Chambers != nil {
		f.Flags |= FlagChambers
		size += n
	}
	out := w.room(headerLen + (size+7)/8)[headerLen+n:]
	copy(out, f.Present)
	b := bytesOf(out[len(f.Present):])
	if f.Kind == KindLate {
		for i, o := range f.Newest[:n] {
			binary.LittleEndian.PutUint32(b[4*i:], o)
		}
		b = b[4*n:]
	}
	copy(b, f.Chambers)
	return w.commit(f, size)
}

// Ledger writes a ledger frame: f.Ledger for the numbers of f. Entries without a count are left out; with none at all nothing is
// written.
func (w *Writer) Ledger(f *Frame) error {
	l := &f.Ledger
	if err := cmp.Or(f.checkCover(), l.check()); err != nil {
		return w.fail(err)
	}
	count, cover := 0, int(f.Next-f.First)
	b := bytesOf(w.room(headerLen + ledgerLen(l, cover)))[:HeaderSize]
	b = append(b, uint8(len(l.Stage)))
	b = append(b, l.Stage...)
	b = binary.LittleEndian.AppendUint32(b, uint32(l.Read))
	b = binary.LittleEndian.AppendUint32(b, uint32(l.Kept))
	for i := range l.Entries {
		e := &l.Entries[i]
		if e.Count == 0 {
			continue
		}
		count++
		b = append(b, uint8(len(e.Reason)))
		b = append(b, e.Reason...)
		b = binary.LittleEndian.AppendUint32(b, uint32(e.Count))
		for _, x := range e.Numbers[:bitmapLen(cover)] {
			b = binary.LittleEndian.AppendUint64(b, x)
		}
	}
	if count == 0 {
		return w.err
	}
	return w.commit(&Frame{Kind: KindLedger, Count: count, First: f.First, Next: f.Next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open}, len(b)-HeaderSize)
}

// check reports what a ledger frame can't say.
func (l *Ledger) check() error {
	if len(l.Stage) > 255 || !printable(l.Stage) {
		return fmt.Errorf("the stage %q is longer than 255 bytes or not printable text", l.Stage)
	}
	count, sum := 0, l.Kept
	for i := range l.Entries {
		e := &l.Entries[i]
		if e.Count == 0 {
			continue
		}
		if len(e.Reason) > 255 || !printable(e.Reason) {
			return fmt.Errorf("the reason %q is longer than 255 bytes or not printable text", e.Reason)
		}
		count++
		sum += e.Count
	}
	if count > MaxReasons || sum != l.Read {
		return fmt.Errorf("a ledger of %d reasons, at most %d are possible; read %d, kept and set aside %d", count, MaxReasons, l.Read, sum)
	}
	return nil
}

// ledgerLen is an upper bound of a ledger's payload, in words.
func ledgerLen(l *Ledger, cover int) int {
	size := 1 + len(l.Stage) + 8
	for i := range l.Entries {
		size += 1 + len(l.Entries[i].Reason) + 4 + 8*bitmapLen(cover)
	}
	return (size + 7) / 8
}

// at is a frame of a kind that stands at a number.
func (f *Frame) at(kind Kind) *Frame {
	return &Frame{Kind: kind, Count: 1, First: f.Next, Next: f.Next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open}
}

// Lane writes a lane frame for lane, at f.Next.
func (w *Writer) Lane(f *Frame, lane *Lane) error {
	if err := lane.check(); err != nil {
		return w.fail(err)
	}
	b := bytesOf(w.room(headerLen + (43+3*MaxRun+7)/8))[:HeaderSize]
	b = binary.LittleEndian.AppendUint32(b, lane.K)
	b = binary.LittleEndian.AppendUint32(b, lane.N)
	b = binary.LittleEndian.AppendUint64(b, lane.Map)
	b = binary.LittleEndian.AppendUint32(b, lane.FloorEpoch)
	flags := uint32(0)
	if lane.Anew {
		flags |= laneAnew
	}
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint64(b, lane.FloorOrbit)
	b = binary.LittleEndian.AppendUint64(b, lane.FloorNumber)
	b = append(b, uint8(len(lane.Run)))
	b = append(b, lane.Run...)
	b = append(b, uint8(len(lane.Form)))
	b = append(b, lane.Form...)
	if lane.Settings != "" {
		b = append(b, uint8(len(lane.Settings)))
		b = append(b, lane.Settings...)
	}
	return w.commit(f.at(KindLane), len(b)-HeaderSize)
}

// Map writes a map frame with this text, at f.Next.
func (w *Writer) Map(f *Frame, text []byte) error {
	if len(text) == 0 || text[len(text)-1] == 0 {
		return w.fail(errors.New("a map without text, or with a zero byte at its end"))
	}
	copy(bytesOf(w.room(headerLen + (len(text)+7)/8))[HeaderSize:], text)
	return w.commit(f.at(KindMap), len(text))
}

// Mark writes f.Mark, at f.Next. Names are cut at MaxText bytes.
func (w *Writer) Mark(f *Frame) error {
	m := &f.Mark
	if len(m.State) > MaxText || m.Number > f.Next {
		return w.fail(fmt.Errorf("a mark for number %d at %d, with %d bytes of state", m.Number, f.Next, len(m.State)))
	}
	name, tag := m.Name[:min(len(m.Name), MaxText)], m.Tag[:min(len(m.Tag), MaxText)]
	b := bytesOf(w.room(headerLen + (58+len(name)+len(tag)+len(m.State)+7)/8))[:HeaderSize]
	b = binary.LittleEndian.AppendUint64(b, m.Newest)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Time))
	b = binary.LittleEndian.AppendUint64(b, m.Number)
	b = binary.LittleEndian.AppendUint64(b, m.Offset)
	b = binary.LittleEndian.AppendUint64(b, m.Source)
	b = binary.LittleEndian.AppendUint64(b, m.Serial)
	b = binary.LittleEndian.AppendUint32(b, m.Partition)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
	b = append(b, name...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(tag)))
	b = append(b, tag...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.State)))
	b = append(b, m.State...)
	return w.commit(f.at(KindMark), len(b)-HeaderSize)
}

// End writes f.End, at f.Next. The text is cut at MaxText bytes.
func (w *Writer) End(f *Frame) error {
	e := &f.End
	why := e.Why[:min(len(e.Why), MaxText)]
	b := bytesOf(w.room(headerLen + (27+len(why)+7)/8))[:HeaderSize]
	how := uint8(1)
	if e.Stopped {
		how = 2
	}
	b = append(b, how)
	b = binary.LittleEndian.AppendUint64(b, e.Read)
	b = binary.LittleEndian.AppendUint64(b, e.Late)
	b = binary.LittleEndian.AppendUint64(b, e.Rejected)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(why)))
	b = append(b, why...)
	return w.commit(f.at(KindEnd), len(b)-HeaderSize)
}
