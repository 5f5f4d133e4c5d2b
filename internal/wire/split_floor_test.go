package wire

import (
	"bytes"
	"slices"
	"testing"

	"dt/internal/hit"
)

// splitAll splits a stream and returns the lanes' words, the numbers they begin and end at, and their floors.
func splitAll(t *testing.T, stream []byte, n, limit int) (lanes [][]uint64, first, next, floor []uint64) {
	t.Helper()
	lanes, first, next, floor = make([][]uint64, n), make([]uint64, n), make([]uint64, n), make([]uint64, n)
	var m Message
	var s *Splitter
	src := NewReader(bytes.NewReader(stream))
	for {
		f, err := src.Next()
		if err != nil {
			return lanes, first, next, floor
		}
		if f.Kind == KindStream {
			continue
		}
		if s == nil {
			s = NewSplitter(f.Lane, n, limit)
			s.Send = func(k int, value []byte, _ uint64) error {
				if err := m.Parse(value); err != nil {
					t.Fatal(err)
				}
				floor[k] = m.Lane().FloorNumber
				for _, f := range m.Frames() {
					if len(lanes[k]) == 0 {
						first[k] = f.First
					}
					next[k] = f.Next
					if f.Kind == KindWords {
						lanes[k] = append(lanes[k], f.Words...)
					}
				}
				return nil
			}
		}
		if err := s.Add(f); err != nil {
			t.Fatal(err)
		}
	}
}

// A run that is taken up in the middle by another Splitter has no number again in any lane, and all its words.
func TestSplitterInTheMiddle(t *testing.T) {
	const n = 4
	words := benchRecords(20_000)
	var a, b bytes.Buffer
	s, err := NewSource(NewWriter(&a), Lane{Run: "demo", K: 1, N: 1}, "test", DefaultLateness)
	if err != nil {
		t.Fatal(err)
	}
	s.Add(words[:12_000], nil)
	s.At("file", "", NoPartition, 1)
	if err := s.End(End{Stopped: true}, true); err != nil {
		t.Fatal(err)
	}
	m := s.Place()
	s, err = ResumeSource(NewWriter(&b), Lane{Run: "demo", K: 1, N: 1, FloorNumber: m.Number}, "test", DefaultLateness, m)
	if err != nil {
		t.Fatal(err)
	}
	s.Add(words[m.Number:], nil)
	if err := s.End(End{}, false); err != nil {
		t.Fatal(err)
	}
	before, _, next, _ := splitAll(t, a.Bytes(), n, 1<<20)
	after, first, _, floor := splitAll(t, b.Bytes(), n, 1<<20)
	together, _, _, floors := splitAll(t, slices.Concat(a.Bytes(), b.Bytes()), n, 1<<20)
	for k := range n {
		var want []uint64
		for _, w := range words {
			if int(LaneOf(hit.Orbit(w), n)) == k+1 {
				want = append(want, w)
			}
		}
		if got := slices.Concat(before[k], after[k]); !slices.Equal(got, want) {
			t.Errorf("lane %d has other words", k+1)
		}
		if first[k] < next[k] || floor[k] != first[k] {
			t.Errorf("lane %d ended at %d and begins again at %d, with floor %d", k+1, next[k], first[k], floor[k])
		}
		// One Splitter that sees both goes on where it was.
		if !slices.Equal(together[k], want) || floors[k] != 0 {
			t.Errorf("lane %d, split by one, has other words, or floor %d", k+1, floors[k])
		}
	}
}

// What is missing before the end shows.
func TestSplitterGapBeforeTheEnd(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	w.Preamble()
	w.Lane(&Frame{}, &Lane{Run: "demo", K: 1, N: 1})
	words := benchRecords(300)[:300]
	w.Words(&Frame{Kind: KindWords, Next: 300, Words: words})
	w.End(&Frame{First: 800, Next: 800, End: End{Read: 800}})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	lanes, _, next, _ := splitAll(t, buf.Bytes(), 3, 1<<20)
	if got := int(next[0]) - len(lanes[0]); got != 500 {
		t.Errorf("%d records are missing before the end of lane 1, want 500", got)
	}
}

// A frame as large as there can be goes into a message of the default limit.
func TestSplitterPassesTheLargestFrame(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	w.Preamble()
	w.Lane(&Frame{}, &Lane{Run: "demo", K: 2, N: 3})
	l := Frame{Kind: KindLedger, Next: MaxCover}
	for i := range 64 {
		e := Entry{Reason: string(rune('a' + i)), Numbers: make([]uint64, MaxCover/64)}
		l.Ledger.Entries = append(l.Ledger.Entries, e)
	}
	late := Frame{Kind: KindLate, Next: MaxCover, Words: make([]uint64, MaxCover), Newest: make([]uint32, MaxCover), Chambers: make([]uint8, MaxCover),
		Present: slices.Repeat([]uint64{^uint64(0)}, MaxCover/64)}
	for i := range 14 {
		l.Ledger.Entries[i].Count = 1
		l.Ledger.Entries[i].Numbers[i] = 1
		late.Present[i] &^= 1
		late.Words, late.Newest, late.Chambers = late.Words[1:], late.Newest[1:], late.Chambers[1:]
	}
	l.Ledger.Read, l.Ledger.Kept = MaxCover, MaxCover-14
	w.Ledger(&l)
	w.Words(&late)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if buf.Len() < MaxPayload-8<<10 {
		t.Fatalf("only %d bytes", buf.Len())
	}
	src := NewReader(&buf)
	var s *Splitter
	sent := 0
	for {
		f, err := src.Next()
		if err != nil || f.Kind == KindCut {
			break
		}
		if f.Kind == KindStream {
			continue
		}
		if s == nil {
			s = NewSplitter(f.Lane, 8, 1_048_588-72)
			s.Send = func(_ int, value []byte, _ uint64) error {
				sent += len(value)
				return new(Message).Parse(value)
			}
		}
		if err := s.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(); err != nil || sent < MaxPayload-8<<10 {
		t.Errorf("%d bytes sent: %v", sent, err)
	}
}
