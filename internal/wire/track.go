package wire

import "math/bits"

// A Track follows the numbers of one lane, so that nothing is counted twice or lost unseen.
type Track struct {
	next  uint64
	floor uint64 // records below are in a ledger already
	aside []Aside
	lane  *Lane  // the lane frame that aside stands behind
	first uint64 // the stretch of aside
	upTo  uint64
}

// Aside is how many records a stage set aside for a reason.
type Aside struct {
	Stage, Reason string
	Count         int
}

// NewTrack follows a lane from its floor on; one that is Resumed from where its lane frame stands, so that records come again that are in a
// ledger already.
func NewTrack(l *Lane) *Track {
	if l.Resumed() {
		return &Track{next: min(l.Start, l.FloorNumber), floor: l.FloorNumber}
	}
	return &Track{next: l.FloorNumber}
}

// Next returns the number that is expected next.
func (t *Track) Next() uint64 { return t.next }

// Floor returns the number below which records are in a ledger already: Admit counts nothing of them, but hands them on. 0 for a lane that is not Resumed.
func (t *Track) Floor() uint64 { return t.floor }

// Again returns how many words at the beginning of a frame, which was admitted, have numbers below the floor.
func (t *Track) Again(f *Frame) int {
	switch {
	case f.First >= t.floor:
		return 0
	case f.Next <= t.floor:
		return len(f.Words)
	case f.Present != nil:
		return countBelow(f.Present, t.floor-f.First)
	}
	return int(t.floor - f.First)
}

// Ledger takes a ledger frame, which Admit applies to the frame that follows.
func (t *Track) Ledger(f *Frame) {
	if t.first != f.First || t.upTo != f.Next || t.lane != f.Lane {
		t.aside = t.aside[:0] // nothing followed it
	}
	t.first, t.upTo, t.lane = f.First, f.Next, f.Lane
	from := max(t.next, t.floor)
	for i := range f.Ledger.Entries {
		e := &f.Ledger.Entries[i]
		n := e.Count
		if f.First < from {
			n -= countBelow(e.Numbers, min(from, f.Next)-f.First)
		}
		if n > 0 {
			t.aside = append(t.aside, Aside{f.Ledger.Stage, e.Reason, n})
		}
	}
}

// Admit takes a words or late frame and cuts from it what was there before. It returns what the ledgers say of the rest, good until the
// next call of Ledger; how many records are missing before the frame, or in it without a ledger; and how many came again.
func (t *Track) Admit(f *Frame) (aside []Aside, missing, doubled uint64) {
	if t.first == f.First && t.upTo == f.Next && t.lane == f.Lane {
		aside = t.aside
	}
	t.aside = t.aside[:0]
	t.first, t.upTo, t.lane = 0, 0, nil
	if f.First > t.next {
		missing = f.First - min(max(t.next, t.floor), f.First)
	}
	if f.First < t.next {
		doubled = min(t.next, f.Next) - f.First
		f.cutBelow(doubled)
	}
	t.next = max(t.next, f.Next)
	absent := int(f.Next-f.First) - len(f.Words)
	if f.First < t.floor {
		absent -= int(min(t.floor, f.Next)-f.First) - t.Again(f)
	}
	for _, a := range aside {
		absent -= a.Count
	}
	if absent > 0 {
		missing += uint64(absent)
	}
	return aside, missing, doubled
}

// countBelow counts the bits of a bitmap below n.
func countBelow(b []uint64, n uint64) int {
	count := 0
	for i := uint64(0); i < n/64; i++ {
		count += bits.OnesCount64(b[i])
	}
	if n%64 != 0 {
		count += bits.OnesCount64(b[n/64] & (1<<(n%64) - 1))
	}
	return count
}

// cutBelow drops the first n numbers of a words or late frame.
func (f *Frame) cutBelow(n uint64) {
	k := int(n)
	if f.Present != nil {
		k = countBelow(f.Present, n)
	}
	f.First += n
	f.Words = f.Words[k:]
	f.Count = len(f.Words)
	if f.Kind == KindLate {
		f.Newest = f.Newest[k:]
	}
	if f.Chambers != nil {
		f.Chambers = f.Chambers[k:]
	}
	if f.Present != nil {
		f.Present = bitsFrom(f.Present, n, int(f.Next-f.First))
	}
}

// bitsFrom returns a bitmap of which the first n bits are cut off; cover bits are left.
func bitsFrom(b []uint64, n uint64, cover int) []uint64 {
	rest := make([]uint64, bitmapLen(cover))
	for i := range rest {
		at := n + uint64(i)*64
		rest[i] = b[at/64] >> (at % 64)
		if at%64 != 0 && at/64+1 < uint64(len(b)) {
			rest[i] |= b[at/64+1] << (64 - at%64)
		}
	}
	return rest
}
