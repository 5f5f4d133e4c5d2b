package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"runtime"
	"testing"
	"testing/iotest"
)

// goodVector returns the stream of a vector.
func goodVector(t testing.TB, name string) []byte {
	return readVector(t, "testdata/"+name+".txt").stream
}

// bigStream has frames of all kinds that a source writes.
func bigStream(t testing.TB) []byte {
	records, lateness := randomRecords(11, 4000)
	return streamOf(t, records, lateness, all)
}

// A randomReader delivers random numbers of bytes, sometimes none.
type randomReader struct {
	r    io.Reader
	size func() int
}

func (r *randomReader) Read(b []byte) (int, error) { return r.r.Read(b[:min(len(b), r.size())]) }

func TestReadSizesDoNotMatter(t *testing.T) {
	streams := [][]byte{bigStream(t)}
	for _, path := range vectorFiles(t) {
		streams = append(streams, readVector(t, path).stream)
	}
	for _, stream := range streams {
		var want []string
		read := func(in io.Reader) (list []string) {
			r := NewReader(in)
			for {
				f, err := r.Next()
				var not *NotStreamError
				if errors.As(err, &not) {
					return append(list, "not a stream") // how much of it was read is not the same
				}
				if err != nil {
					return append(list, err.Error())
				}
				if f.raw == nil && f.Kind != KindCut {
					t.Fatal("a frame without its bytes")
				}
				list = append(list, kindNames[f.Kind]+string(f.raw))
			}
		}
		want = read(bytes.NewReader(stream))
		rnd := newRand(1)
		for name, in := range map[string]io.Reader{
			"one byte":   iotest.OneByteReader(bytes.NewReader(stream)),
			"half":       iotest.HalfReader(bytes.NewReader(stream)),
			"data + EOF": iotest.DataErrReader(bytes.NewReader(stream)),
			"random":     &randomReader{bytes.NewReader(stream), func() int { return rnd.IntN(100) }},
			"large":      &randomReader{bytes.NewReader(stream), func() int { return rnd.IntN(20_000) }},
		} {
			if got := read(in); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: other frames", name)
			}
		}
	}
}

// A prefix of a stream is never taken for a whole one.
func TestEveryCutIsSeen(t *testing.T) {
	for _, name := range []string{"good", "good-all-kinds", "good-skippable"} {
		stream := goodVector(t, name)
		for n := range stream {
			r := NewReader(bytes.NewReader(stream[:n]))
			kinds, err := frames(r)
			cut := len(kinds) > 0 && kinds[len(kinds)-1] == KindCut
			if cut != (r.Cuts() == 1) || cut == (err != nil) {
				t.Errorf("%s cut at byte %d of %d: frames %v, %d cuts, %v", name, n, len(stream), kinds, r.Cuts(), err)
			}
		}
		if r := NewReader(bytes.NewReader(stream)); func() error { _, err := frames(r); return err }() != nil || r.Cuts() != 0 {
			t.Errorf("%s is not read to its end", name)
		}
	}
}

// Every bit of a stream that stands alone is guarded; there is no exception.
func TestEveryFlippedBitIsSeen(t *testing.T) {
	for _, name := range []string{"good", "good-all-kinds", "good-skippable"} {
		stream := goodVector(t, name)
		for bit := range len(stream) * 8 {
			damaged := bytes.Clone(stream)
			damaged[bit/8] ^= 1 << (bit % 8)
			r := NewReader(bytes.NewReader(damaged))
			if kinds, err := frames(r); err == nil && r.Cuts() == 0 {
				t.Errorf("%s: bit %d of byte %d is flipped, and %v are read", name, bit%8, bit/8, kinds)
			}
		}
	}
}

// Of two streams, damage in the first is seen too, but where the second goes on with the lane and no word is missing: that passes as a cut.
func TestFlippedBitBeforeAnotherStream(t *testing.T) {
	first := build(t, func(w *Writer) {
		w.Preamble()
		w.Lane(&Frame{}, &Lane{Run: "demo", K: 1, N: 1})
		w.Words(&Frame{Kind: KindWords, Next: 2, Words: exampleWords})
		w.Mark(&Frame{Next: 2})
	})
	second := build(t, func(w *Writer) {
		w.Preamble()
		w.Lane(&Frame{Next: 2}, &Lane{Run: "demo", K: 1, N: 1})
		w.End(&Frame{Next: 2})
	})
	passed := 0
	for bit := range len(first) * 8 {
		damaged := join(first, second)
		damaged[bit/8] ^= 1 << (bit % 8)
		r := NewReader(bytes.NewReader(damaged))
		kinds, err := frames(r)
		if err != nil || r.Cuts() > 0 {
			continue
		}
		passed++
		words := 0
		for _, k := range kinds {
			if k == KindWords {
				words++
			}
		}
		// Without the words, the second lane frame's number tells of the gap.
		if words != 1 && bit/8 >= len(first)-(HeaderSize+64) {
			t.Errorf("bit %d of byte %d is flipped, and %v are read", bit%8, bit/8, kinds)
		}
	}
	if passed == 0 {
		t.Error("no damage passes: FORMAT.md says that some does")
	}
}

func TestLengthsAreCheckedBeforeAllocating(t *testing.T) {
	head := goodVector(t, "good")[:112]
	for _, length := range []uint32{1<<32 - 8, 1 << 31, MaxPayload + 8} {
		frame := sealed(Frame{Kind: KindWords}, nil)
		binary.LittleEndian.PutUint32(frame[4:], length)
		in := join(head, frame)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := frames(NewReader(bytes.NewReader(in)))
		runtime.ReadMemStats(&after)
		var format *FormatError
		if !errors.As(err, &format) || format.At != int64(len(head)) {
			t.Errorf("length %d: %v", length, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 2*bufferSize {
			t.Errorf("length %d: %d bytes were allocated", length, n)
		}
	}
	// Counts are not believed either.
	for _, kind := range []Kind{KindWords, KindLate, KindLedger} {
		for _, flags := range []uint8{0, FlagPresence, FlagChambers} {
			in := join(head, sealed(Frame{Kind: kind, Flags: flags, Count: 1<<32 - 1, Next: MaxCover}, make([]byte, 16)))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := frames(NewReader(bytes.NewReader(in)))
			runtime.ReadMemStats(&after)
			if err == nil || after.TotalAlloc-before.TotalAlloc > 2*bufferSize {
				t.Errorf("kind %d, flags %d: %v, %d bytes allocated", kind, flags, err, after.TotalAlloc-before.TotalAlloc)
			}
		}
	}
}

func TestLargestFrames(t *testing.T) {
	f := &Frame{Kind: KindLate, Next: MaxCover, Present: make([]uint64, MaxCover/64), Epoch: 1}
	for i := range f.Present {
		f.Present[i] = ^uint64(0)
	}
	for i := range uint64(MaxCover) {
		f.Words = append(f.Words, i*i)
		f.Newest = append(f.Newest, uint32(i)*7)
		f.Chambers = append(f.Chambers, uint8(i%33))
	}
	stream := build(t, func(w *Writer) {
		w.Preamble()
		w.Lane(&Frame{}, &Lane{Run: "demo", K: 1, N: 1})
		w.Words(f)
		w.End(&Frame{Next: MaxCover})
	})
	r := NewReader(iotest.HalfReader(bytes.NewReader(stream)))
	for range 2 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Words, f.Words) || !reflect.DeepEqual(got.Newest, f.Newest) || !reflect.DeepEqual(got.Chambers, f.Chambers) || !reflect.DeepEqual(got.Present, f.Present) {
		t.Error("the largest frame does not come back as it was")
	}
	if len(r.bytes) > 1<<20 {
		t.Errorf("the buffer has %d bytes", len(r.bytes))
	}
}

func TestSkippableAllocatesNothing(t *testing.T) {
	in := join(goodVector(t, "good")[:112], bytes.Repeat(sealed(Frame{Kind: 50, Flags: FlagSkippable}, make([]byte, 800)), 2000))
	rd := bytes.NewReader(in)
	r := NewReader(rd)
	kinds, err := frames(r)
	if err != nil || len(kinds) != 3 || kinds[2] != KindCut {
		t.Errorf("%v, %v", kinds, err)
	}
}

func TestReaderErrors(t *testing.T) {
	stream := goodVector(t, "good")
	broken := errors.New("broken")
	for n := range stream {
		_, err := frames(NewReader(io.MultiReader(bytes.NewReader(stream[:n]), iotest.ErrReader(broken))))
		if !errors.Is(err, broken) {
			t.Errorf("the input breaks at byte %d: %v", n, err)
		}
	}
	r := NewReader(bytes.NewReader(stream))
	r.OnWait = func() error { return ErrStopped }
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, ErrStopped) {
			t.Errorf("stopped: %v", err)
		}
	}
	if _, err := NewReader(lazyReader{}).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that reads nothing: %v", err)
	}
	r = NewReader(bytes.NewReader(goodVector(t, "bad-flipped")))
	_, err := frames(r)
	if _, again := r.Next(); err == nil || again != err {
		t.Errorf("an error is not kept: %v, then %v", err, again)
	}
}

type lazyReader struct{}

func (lazyReader) Read([]byte) (int, error) { return 0, nil }

// Many small streams of many runs, as of a topic: neither lanes nor time grow.
func TestManyStreams(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	const n = MaxLanes + 10
	for i := range n {
		w.Preamble()
		w.Lane(&Frame{}, &Lane{Run: string(rune('a'+i%26)) + string(rune(0x4E00+i/26)), K: 1, N: 1})
		w.End(&Frame{})
	}
	w.Flush()
	r := NewReader(&buf)
	kinds, err := frames(r)
	if err != nil || len(kinds) != 3*n || len(r.lanes) > 2 {
		t.Errorf("%d frames, %d lanes kept, %v", len(kinds), len(r.lanes), err)
	}
}

func TestAreChambers(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				b := bytes.Repeat([]byte{255}, n)
				for i := range b {
					b[i] -= byte(i * 223) // 255 or 0 … 32
					if b[i] > 32 {
						b[i] = 255
					}
				}
				b[at] = byte(c)
				if want := c <= 32 || c == 255; areChambers(b) != want {
					t.Fatalf("%d is %v at %d of %v", c, !want, at, b)
				}
			}
		}
	}
}

func TestLaneOf(t *testing.T) {
	// Worked out from FORMAT.md's formula in another language, with numbers of any size.
	for _, c := range []struct{ orbit, n, want uint32 }{
		{0, 1, 1}, {0, 8, 1}, {1, 8, 5}, {617_000, 1, 1}, {617_000, 4, 4}, {617_000, 8, 8}, {617_001, 8, 5}, {3_387_000_000, 16, 9},
		{1<<32 - 1, 3, 2}, {1<<32 - 1, 65_536, 25_033}, {2_698_963, 7, 7}, {341_374, 65_536, 48_159},
	} {
		if got := LaneOf(c.orbit, c.n); got != c.want {
			t.Errorf("orbit %d of %d lanes travels in %d, want %d", c.orbit, c.n, got, c.want)
		}
	}
	counts := make([]int, 9)
	for o := range uint32(80_000) {
		counts[LaneOf(617_000+o, 8)]++
	}
	for k, n := range counts[1:] {
		if n < 9_900 || n > 10_100 {
			t.Errorf("lane %d of 8 gets %d of 80 000 orbits", k+1, n)
		}
	}
}
