package wire

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// A fate is what became of a record: it is a word, or a stage set it aside, or no one says.
type fate struct {
	word  uint64
	aside string // stage and reason
}

// writeStretch writes the records first … next of a lane with these fates as one frame, with the ledgers before it.
func writeStretch(w *Writer, fates []fate, first, next uint64, late bool) {
	f := &Frame{Kind: KindWords, First: first, Next: next, Present: make([]uint64, bitmapLen(int(next-first))), Chambers: []uint8{}}
	if late {
		f.Kind = KindLate
	}
	ledgers := map[string]*Frame{}
	var stages []string
	for i := range int(next - first) {
		x := fates[first+uint64(i)]
		if x.aside == "" {
			f.Present[i/64] |= 1 << (i % 64)
			f.Words = append(f.Words, x.word)
			f.Chambers = append(f.Chambers, uint8(x.word%33))
			f.Newest = append(f.Newest, uint32(x.word)+1)
			continue
		}
		if x.aside == "lost" {
			continue
		}
		stage, reason := x.aside[:2], x.aside[2:]
		l := ledgers[stage]
		if l == nil {
			l = &Frame{First: first, Next: next, Ledger: Ledger{Stage: stage}}
			ledgers[stage] = l
			stages = append(stages, stage)
		}
		k := slices.IndexFunc(l.Ledger.Entries, func(e Entry) bool { return e.Reason == reason })
		if k < 0 {
			k = len(l.Ledger.Entries)
			l.Ledger.Entries = append(l.Ledger.Entries, Entry{Reason: reason, Numbers: make([]uint64, len(f.Present))})
		}
		e := &l.Ledger.Entries[k]
		e.Count++
		e.Numbers[i/64] |= 1 << (i % 64)
		l.Ledger.Read++
	}
	for _, stage := range stages {
		w.Ledger(ledgers[stage])
	}
	if len(f.Words) == int(next-first) {
		f.Present = nil
	}
	w.Words(f)
}

func randomFates(r *rand.Rand, n int) []fate {
	aside := []string{"", "", "", "s1HEAD == 2", "s1TDC_CHANNEL <= 128", "s2CHAMBER == 1"}
	if r.IntN(4) == 0 {
		aside = append(aside, "lost")
	}
	if r.IntN(5) == 0 {
		aside = []string{""}
	}
	fates := make([]fate, n)
	for i := range fates {
		fates[i] = fate{word: r.Uint64N(1 << 31), aside: aside[r.IntN(len(aside))]}
	}
	return fates
}

// What a Track admits is each record once, with what the ledgers say of it, however the frames overlap.
func TestTrackAgainstModel(t *testing.T) {
	overlaps := 0
	for seed := range 300 {
		r := newRand(seed)
		n := 1 + r.IntN(600)
		fates := randomFates(r, n)
		floor := uint64(r.IntN(2) * r.IntN(n))
		lane := &Lane{Run: "demo", K: 1, N: 1, FloorNumber: floor}
		expected := floor
		if r.IntN(2) == 0 {
			// It is taken up below the floor: records come again that are in a ledger.
			lane.FloorOrbit = 1
			lane.Start = r.Uint64N(floor + 1)
			expected = lane.Start
		}
		most := 1 + r.IntN(200)

		// Frames that go on, go back, and leave gaps; and ledgers that nothing follows.
		want := map[string]int{}
		var wantWords []uint64
		var wantMissing, wantDoubled uint64
		wantAgain := 0
		stream := build(t, func(w *Writer) {
			w.Preamble()
			w.Lane(&Frame{}, lane)
			at := uint64(r.IntN(int(floor) + 1))
			for range 30 {
				switch r.IntN(6) {
				case 0:
					at -= min(at, r.Uint64N(300))
				case 1:
					if r.IntN(3) == 0 {
						at += r.Uint64N(20)
					}
				case 2: // cut behind the ledger, and begun anew
					if at < uint64(n) {
						next := min(at+1+r.Uint64N(uint64(most)), uint64(n))
						cut := build(t, func(w *Writer) { writeStretch(w, fates, at, next, false) })
						for cut[0] == byte(KindLedger) {
							size := HeaderSize + int(cut[4]) + int(cut[5])<<8
							copy(bytesOf(w.room(size/8)), cut[:size])
							w.n += size / 8
							cut = cut[size:]
						}
						w.Preamble()
						w.Lane(&Frame{Next: at}, lane)
					}
				}
				if at >= uint64(n) {
					break
				}
				next := min(at+r.Uint64N(uint64(most)+1), uint64(n))
				writeStretch(w, fates, at, next, r.IntN(3) == 0)
				for i := expected; i < at; i++ {
					if i >= floor {
						wantMissing++
					}
				}
				for i := at; i < next; i++ {
					if i < expected {
						wantDoubled++
						continue
					}
					switch x := fates[i]; {
					case x.aside == "":
						wantWords = append(wantWords, x.word)
						if i < floor {
							wantAgain++
						}
					case i < floor:
					case x.aside == "lost":
						wantMissing++
					default:
						want[x.aside]++
					}
				}
				expected = max(expected, next)
				at = next
			}
		})

		got := map[string]int{}
		var words []uint64
		var missing, doubled uint64
		again := 0
		track := NewTrack(lane)
		if want := lane.Resumed(); (track.Floor() == floor) != (want || floor == 0) {
			t.Fatalf("seed %d: the floor is %d, want %d: %v", seed, track.Floor(), floor, want)
		}
		rd := NewReader(bytes.NewReader(stream))
		for {
			f, err := rd.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch f.Kind {
			case KindLedger:
				track.Ledger(f)
			case KindWords, KindLate:
				aside, m, d := track.Admit(f)
				missing, doubled = missing+m, doubled+d
				for _, a := range aside {
					got[a.Stage+a.Reason] += a.Count
				}
				words = append(words, f.Words...)
				k := track.Again(f)
				again += k
				if k > 0 && f.First >= floor || k < len(f.Words) && f.Next <= floor {
					t.Fatalf("seed %d: %d of the words %d–%d come again, the floor is %d", seed, k, f.First, f.Next, floor)
				}
				for i, w := range f.Words {
					if f.Chambers[i] != uint8(w%33) || f.Kind == KindLate && f.Newest[i] != uint32(w)+1 {
						t.Fatalf("seed %d: the chambers or newest orbits are not those of the words", seed)
					}
				}
				if n := f.Count; n != len(f.Words) || f.Present == nil && uint64(n) != f.Next-f.First || f.Present != nil && (popcount(f.Present) != n || len(f.Present) != bitmapLen(int(f.Next-f.First))) {
					t.Fatalf("seed %d: a frame of %d words, %d–%d, does not fit together", seed, f.Count, f.First, f.Next)
				}
			}
		}
		if track.Next() != expected || missing != wantMissing || doubled != wantDoubled || !slices.Equal(words, wantWords) || !reflect.DeepEqual(got, want) || again != wantAgain {
			t.Fatalf("seed %d: next %d, missing %d, doubled %d, aside %v, %d words, %d again; want %d, %d, %d, %v, %d, %d", seed,
				track.Next(), missing, doubled, got, len(words), again, expected, wantMissing, wantDoubled, want, len(wantWords), wantAgain)
		}
		if doubled > 0 && len(want) > 0 {
			overlaps++
		}
	}
	if overlaps < 50 {
		t.Errorf("only %d streams have overlaps and ledgers", overlaps)
	}
}

// Overlaps of each size there is, of frames of the sizes where a bitmap's word begins.
func TestAdmitEveryOverlap(t *testing.T) {
	r := newRand(5)
	for _, cover := range []int{1, 2, 63, 64, 65, 127, 128, 129, 200} {
		fates := randomFates(r, cover)
		fates[0].aside, fates[cover-1].aside = "", "s1last"
		stream := build(t, func(w *Writer) {
			w.Preamble()
			w.Lane(&Frame{}, &Lane{Run: "demo", K: 1, N: 1})
			writeStretch(w, fates, 0, uint64(cover), true)
		})
		for overlap := range cover + 2 {
			t.Run(fmt.Sprintf("%d of %d", overlap, cover), func(t *testing.T) {
				track := NewTrack(&Lane{FloorNumber: uint64(overlap)})
				var words []uint64
				aside := map[string]int{}
				rd := NewReader(bytes.NewReader(stream))
				for {
					f, err := rd.Next()
					if err != nil {
						t.Fatal(err)
					}
					if f.Kind == KindLedger {
						track.Ledger(f)
					}
					if f.Kind == KindLate {
						list, _, doubled := track.Admit(f)
						for _, a := range list {
							aside[a.Stage+a.Reason] += a.Count
						}
						words = append(words, f.Words...)
						if doubled != uint64(min(overlap, cover)) {
							t.Errorf("%d doubled", doubled)
						}
						break
					}
				}
				var wantWords []uint64
				want := map[string]int{}
				for _, x := range fates[min(overlap, cover):] {
					if x.aside == "" {
						wantWords = append(wantWords, x.word)
					} else if x.aside != "lost" {
						want[x.aside]++
					}
				}
				if !slices.Equal(words, wantWords) || !reflect.DeepEqual(aside, want) {
					t.Errorf("%d words, %v; want %d, %v", len(words), aside, len(wantWords), want)
				}
			})
		}
	}
}
