package wire

import "math/bits"

// A Track follows the numbers of one lane, so that nothing is counted twice or lost unseen.
type Track struct {
	next  uint64
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

// NewTrack follows a lane from its floor on.
func NewTrack(l *Lane) *Track { return &Track{next: l.FloorNumber} }

// Next returns the number that is expected next.
func (t *Track) Next() uint64 { return t.next }

// Ledger takes a ledger frame, which Admit applies to the frame that follows.
func (t *Track) Ledger(f *Frame) {
	if t.first != f.First || t.upTo != f.Next || t.lane != f.Lane {
		t.aside = t.aside[:0] // nothing followed it
	}
	t.first, t.upTo, t.lane = f.First, f.Next, f.Lane
	for i := range f.Ledger.Entries {
		e := &f.Ledger.Entries[i]
		n := e.Count
		if f.First < t.next {
			n -= countBelow(e.Numbers, min(t.next, f.Next)-f.First)
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
		missing = f.First - t.next
	}
	if f.First < t.next {
		doubled = min(t.next, f.Next) - f.First
		f.cutBelow(doubled)
	}
	t.next = max(t.next, f.Next)
	absent := int(f.Next-f.First) - len(f.Words)
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
		cover := int(f.Next - f.First)
		present := make([]uint64, bitmapLen(cover))
		for i := range present {
			at := n + uint64(i)*64
			present[i] = f.Present[at/64] >> (at % 64)
			if at%64 != 0 && at/64+1 < uint64(len(f.Present)) {
				present[i] |= f.Present[at/64+1] << (64 - at%64)
			}
		}
		f.Present = present
	}
}
