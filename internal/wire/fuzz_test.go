package wire

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func addVectors(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatalf("%d vectors, %v", len(files), err)
	}
	for _, path := range files {
		f.Add(readVector(f, path).stream)
	}
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		f.Fatal(err)
	}
	_, example, _ := bytes.Cut(page, []byte("\n## An example\n"))
	f.Add(parseHex(f, string(example)))
}

// reseal repairs the checksums of what looks like frames, so that fuzzing comes past them.
func reseal(stream []byte) []byte {
	b := slices.Clone(stream)
	for at := 0; at+HeaderSize <= len(b); {
		if b[at] == preamble[0] {
			at += PreambleSize
			continue
		}
		length := int(b[at+4]) | int(b[at+5])<<8 | int(b[at+6])<<16 | int(b[at+7])<<24
		if length > MaxPayload || at+HeaderSize+length > len(b) {
			return b
		}
		seal(b[at : at+HeaderSize+length])
		at += HeaderSize + length
	}
	return b
}

// encode writes a frame anew from what was read of it, and reports whether the frame is one that the Writer writes.
func encode(w *Writer, f *Frame) (canonical bool, err error) {
	canonical = f.Flags&FlagSkippable == 0
	switch f.Kind {
	case KindStream:
		return true, w.Preamble()
	case KindLane:
		return canonical, w.Lane(f, f.Lane)
	case KindWords, KindLate:
		g := *f
		return canonical, w.Words(&g)
	case KindLedger:
		for _, e := range f.Ledger.Entries {
			canonical = canonical && e.Count > 0
		}
		return canonical && len(f.Ledger.Entries) > 0, w.Ledger(f)
	case KindMark:
		return canonical, w.Mark(f)
	case KindMap:
		return canonical, w.Map(f, f.Payload())
	case KindEnd:
		return canonical, w.End(f)
	}
	return false, nil
}

// What a Reader takes, a Writer writes again, byte for byte, and memory is bounded.
func FuzzReader(f *testing.F) {
	addVectors(f)
	f.Fuzz(func(t *testing.T, stream []byte) {
		var out bytes.Buffer
		w := NewWriter(&out)
		for _, stream := range [][]byte{stream, reseal(stream)} {
			r := NewReader(bytes.NewReader(stream))
			for frames := 0; ; frames++ {
				f, err := r.Next()
				if len(r.bytes) > 1<<20 {
					t.Fatalf("the buffer has %d bytes", len(r.bytes))
				}
				if err != nil {
					if _, again := r.Next(); again == nil || (err == io.EOF) != (again == io.EOF) {
						t.Fatalf("%v, and then %v", err, again)
					}
					break
				}
				if frames > len(stream)/PreambleSize+MaxLanes {
					t.Fatal("more frames than there are bytes for")
				}
				if f.Kind == KindCut {
					continue
				}
				raw := bytes.Clone(f.raw)
				if !bytes.Contains(stream, raw) {
					t.Fatal("a frame that does not stand in the stream")
				}
				out.Reset()
				if w.Pass(f) != nil || w.Flush() != nil || !bytes.Equal(out.Bytes(), raw) {
					t.Fatalf("passed on:\n%s\ninstead of\n%s", dump(out.Bytes()), dump(raw))
				}
				out.Reset()
				canonical, err := encode(w, f)
				if err != nil || w.Flush() != nil {
					t.Fatalf("the Writer refuses what the Reader took: %v", err)
				}
				if canonical && !bytes.Equal(out.Bytes(), raw) {
					t.Fatalf("written again:\n%s\ninstead of\n%s", dump(out.Bytes()), dump(raw))
				}
			}
		}
	})
}

// A Track never admits a number twice, and what it admits fits together.
func FuzzTrack(f *testing.F) {
	addVectors(f)
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReader(bytes.NewReader(reseal(stream)))
		tracks := map[ID]*Track{}
		for {
			f, err := r.Next()
			if err != nil {
				return
			}
			if f.Kind == KindStream {
				continue
			}
			track := tracks[f.Lane.ID()]
			if track == nil {
				track = NewTrack(f.Lane)
				tracks[f.Lane.ID()] = track
			}
			switch f.Kind {
			case KindLedger:
				track.Ledger(f)
			case KindWords, KindLate:
				before, first := track.Next(), f.First
				aside, missing, doubled := track.Admit(f)
				if track.Next() != max(before, f.Next) || f.First != first+doubled || f.First < f.Next && f.First < before {
					t.Fatalf("the frame %d–%d is %d–%d behind %d, then %d is next; %d doubled", first, f.Next, f.First, f.Next, before, track.Next(), doubled)
				}
				cover := f.Next - f.First
				sum := uint64(len(f.Words))
				for _, a := range aside {
					sum += uint64(a.Count)
				}
				if again := track.Again(f); again > len(f.Words) || f.First < track.Floor() && track.Floor() < f.Next && f.Present == nil && uint64(again) != track.Floor()-f.First {
					t.Fatalf("%d words of %d–%d come again, the floor is %d", again, f.First, f.Next, track.Floor())
				}
				if before < track.Floor() {
					continue
				}
				if gap := max(first, before) - before; sum <= cover && missing != gap+cover-sum {
					t.Fatalf("%d are missing of %d, with %d words and set aside, and %d before", missing, cover, sum, gap)
				}
				if f.Count != len(f.Words) || f.Present != nil && popcount(f.Present) != f.Count || f.Chambers != nil && len(f.Chambers) != f.Count || f.Kind == KindLate && len(f.Newest) != f.Count {
					t.Fatalf("a frame that does not fit together: %+v", f)
				}
				if _, err := encode(NewWriter(io.Discard), f); err != nil {
					t.Fatalf("the Writer refuses what is left: %v", err)
				}
			}
		}
	})
}

// What restore takes is safe to go on with, and written again it is the same.
func FuzzRestore(f *testing.F) {
	for seed := range 8 {
		records, lateness := randomRecords(seed, 1000)
		s := newTestSource(f, io.Discard, lateness)
		if err := s.Add(wordsOf(records), nil); err != nil {
			f.Fatal(err)
		}
		f.Add(s.j.appendState(nil))
	}
	records, _ := randomRecords(2, 300)
	words := wordsOf(records)
	f.Fuzz(func(t *testing.T, state []byte) {
		s := newTestSource(t, io.Discard, DefaultLateness)
		if s.j.restore(state) != nil {
			return
		}
		again := newJudge(0)
		if b := s.j.appendState(nil); len(state) > 0 && again.restore(b) != nil {
			t.Fatal("what was restored is not taken again")
		}
		if err := s.Add(words, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.End(End{}, false); err != nil {
			t.Fatal(err)
		}
	})
}
