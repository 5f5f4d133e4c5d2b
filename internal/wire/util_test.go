package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"dt/internal/hit"
)

// A record is what a source reads: a word, or something that is none.
type record struct {
	word   uint64
	reason string // not empty: no word
}

func wordsOf(records []record) (words []uint64) {
	for _, r := range records {
		if r.reason == "" {
			words = append(words, r.word)
		}
	}
	return words
}

func recordsOf(words []uint64) (records []record) {
	for _, w := range words {
		records = append(records, record{word: w})
	}
	return records
}

// batch makes of records what Add takes.
func batch(records []record) (words []uint64, bad []Bad) {
	for i, r := range records {
		if r.reason == "" {
			words = append(words, r.word)
		} else {
			bad = append(bad, Bad{i, r.reason})
		}
	}
	return words, bad
}

// A placed is a word as a stream has it.
type placed struct {
	number, word uint64
	kind         Kind
	epoch        uint32
	newest       uint32 // late words
}

// A frameEnd is what a frame says behind its last word.
type frameEnd struct {
	next, horizon uint64
	epoch, open   uint32
	kind          Kind
}

// A decoded is a stream of one lane, taken apart.
type decoded struct {
	words  []placed
	ends   []frameEnd // words, late, mark and end frames
	aside  map[string][]uint64
	marks  []Mark
	end    *End
	frames int
}

// decode reads a stream of one lane, and fails if it does not cover each number once.
func decode(t testing.TB, stream []byte) *decoded {
	t.Helper()
	d := &decoded{aside: map[string][]uint64{}}
	r := NewReader(bytes.NewReader(stream))
	var track *Track
	next := uint64(0)
	for {
		f, err := r.Next()
		if err == io.EOF {
			return d
		}
		if err != nil {
			t.Fatalf("frame %d: %v", d.frames, err)
		}
		d.frames++
		switch f.Kind {
		case KindLane:
			track = NewTrack(f.Lane)
		case KindLedger:
			track.Ledger(f)
			for _, e := range f.Ledger.Entries {
				for _, i := range indices(e.Numbers) {
					d.aside[e.Reason] = append(d.aside[e.Reason], f.First+uint64(i))
				}
			}
		case KindWords, KindLate:
			if f.First != next {
				t.Fatalf("a frame begins at %d, the last ended at %d", f.First, next)
			}
			next = f.Next
			at := 0
			for i := range int(f.Next - f.First) {
				if f.Present != nil && f.Present[i/64]>>(i%64)&1 == 0 {
					continue
				}
				p := placed{number: f.First + uint64(i), word: f.Words[at], kind: f.Kind, epoch: f.Epoch}
				if f.Kind == KindLate {
					p.newest = f.Newest[at]
				}
				d.words = append(d.words, p)
				at++
			}
			if _, missing, doubled := track.Admit(f); missing > 0 || doubled > 0 {
				t.Fatalf("the frame %d–%d: %d missing, %d doubled", f.First, f.Next, missing, doubled)
			}
		case KindMark:
			m := f.Mark
			m.State = bytes.Clone(m.State)
			d.marks = append(d.marks, m)
		case KindEnd:
			end := f.End
			d.end = &end
		case KindCut:
			t.Fatal("cut")
		}
		switch f.Kind {
		case KindWords, KindLate, KindMark, KindEnd:
			d.ends = append(d.ends, frameEnd{f.Next, f.Horizon, f.Epoch, f.Open, f.Kind})
		}
	}
}

// indices returns which bits of a bitmap are set.
func indices(b []uint64) (list []int) {
	for i := range len(b) * 64 {
		if b[i/64]>>(i%64)&1 != 0 {
			list = append(list, i)
		}
	}
	return list
}

var testTime = time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC)

// newTestSource returns a source into buf whose marks have testTime.
func newTestSource(t testing.TB, buf io.Writer, lateness int64) *Source {
	t.Helper()
	s, err := NewSource(NewWriter(buf), Lane{Run: "demo", K: 1, N: 1, Form: FormCSV}, "test", lateness)
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return testTime }
	return s
}

// streamOf is the stream of records, given to the source in batches of sizes that size returns.
func streamOf(t testing.TB, records []record, lateness int64, size func() int) []byte {
	t.Helper()
	var buf bytes.Buffer
	s := newTestSource(t, &buf, lateness)
	for i := 0; i < len(records); {
		n := min(max(size(), 1), len(records)-i)
		words, bad := batch(records[i : i+n])
		if err := s.Add(words, bad); err != nil {
			t.Fatal(err)
		}
		if len(s.held) > lookAhead+1 {
			t.Fatalf("%d words are held", len(s.held))
		}
		i += n
		s.At("file", "", NoPartition, uint64(i))
	}
	if err := s.End(End{}, false); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func all() int { return 1 << 30 }
func one() int { return 1 }

func newRand(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 7)) }

func hitAt(fpga int, orbit int64) uint64 { return hit.NewHit(fpga, 5, uint32(orbit), 100, 7) }

// ancillary is a word that is no hit; its orbit must move nothing.
func ancillary(fpga int, orbit int64) uint64 {
	return 4<<hit.HeadShift | uint64(fpga)<<hit.FPGAShift | uint64(uint32(orbit))<<24 | 77
}

// frames reads a stream to its end and returns the kinds of its frames, how many lanes were cut, and why reading ended (nil: the end).
func frames(r *Reader) (kinds []Kind, err error) {
	for {
		f, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return kinds, nil
		case err != nil:
			return kinds, err
		}
		kinds = append(kinds, f.Kind)
	}
}
