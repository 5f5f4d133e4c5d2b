package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dt/internal/hit"
)

func noTell(error) {}

// A naive sieve: words, one by one, with what became of each number.
type sieved struct {
	words    []uint64
	numbers  []uint64
	newest   []uint32
	chambers []uint8
	aside    map[string][]uint64
}

func reasonOf(w uint64) int { // −1: kept
	switch {
	case w%5 == 0:
		return 0
	case w%7 == 0:
		return 2
	}
	return -1
}

func evalTest(words []uint64, _ []uint8, fail [][]uint64) {
	for i := range fail {
		clear(fail[i])
	}
	for i, w := range words {
		if k := reasonOf(w); k >= 0 {
			fail[k][i/64] |= 1 << (i % 64)
		}
	}
}

func TestSieveAgainstModel(t *testing.T) {
	reasons := []string{"fives", "never", "sevens"}
	sieve := NewSieve("s", reasons) // one for all, as in a program
	for seed := range 400 {
		r := newRand(seed)
		cover := r.IntN(700)
		f := &Frame{Kind: KindWords, First: r.Uint64N(1000), Horizon: 7, Epoch: 3, Open: 2}
		if r.IntN(3) == 0 {
			f.Kind = KindLate
		}
		f.Next = f.First + uint64(cover)
		withPresence, withChambers, runs := r.IntN(2) == 0, r.IntN(2) == 0, 1+r.IntN(100)
		if withPresence {
			f.Present = make([]uint64, bitmapLen(cover))
		}
		if withChambers {
			f.Chambers = []uint8{}
		}
		want := sieved{aside: map[string][]uint64{}}
		kind := uint64(0)
		sparse := 1 + r.IntN(30)
		for i := range cover {
			if withPresence {
				if r.IntN(sparse) == 0 {
					continue
				}
				f.Present[i/64] |= 1 << (i % 64)
			}
			if r.IntN(runs) == 0 {
				kind = r.Uint64N(35)
			}
			w := 35*r.Uint64N(1<<20) + kind
			f.Words = append(f.Words, w)
			newest, chamber := uint32(w)+1, uint8(w%33)
			if f.Kind == KindLate {
				f.Newest = append(f.Newest, newest)
			}
			if withChambers {
				f.Chambers = append(f.Chambers, chamber)
			}
			number := f.First + uint64(i)
			if k := reasonOf(w); k >= 0 {
				want.aside[reasons[k]] = append(want.aside[reasons[k]], number)
				continue
			}
			want.words, want.numbers = append(want.words, w), append(want.numbers, number)
			if f.Kind == KindLate {
				want.newest = append(want.newest, newest)
			}
			if withChambers {
				want.chambers = append(want.chambers, chamber)
			}
		}
		in := build(t, func(w *Writer) {
			w.Preamble()
			w.Lane(&Frame{}, &Lane{Run: "demo", K: 1, N: 1})
			w.Words(f)
		})
		out := build(t, func(w *Writer) {
			err := Copy(w, NewReader(bytes.NewReader(in)), noTell, func(f *Frame) error {
				if f.Kind == KindWords || f.Kind == KindLate {
					return sieve.Write(w, f, evalTest)
				}
				return w.Pass(f)
			})
			if err == nil {
				t.Fatal("a stream without an end is no cut")
			}
		})
		got := sieved{aside: map[string][]uint64{}}
		rd := NewReader(bytes.NewReader(out))
		for {
			g, err := rd.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			switch g.Kind {
			case KindLedger:
				if g.First != f.First || g.Next != f.Next || g.Ledger.Stage != "s" || g.Ledger.Read != len(f.Words) {
					t.Fatalf("seed %d: ledger %+v", seed, g)
				}
				for _, e := range g.Ledger.Entries {
					for _, i := range indices(e.Numbers) {
						got.aside[e.Reason] = append(got.aside[e.Reason], f.First+uint64(i))
					}
				}
			case KindWords, KindLate:
				if g.Kind != f.Kind || g.First != f.First || g.Next != f.Next || g.Horizon != 7 || g.Epoch != 3 || g.Open != 2 || withChambers != (g.Chambers != nil) {
					t.Fatalf("seed %d: frame %+v", seed, g)
				}
				for i := range cover {
					if g.Present == nil || g.Present[i/64]>>(i%64)&1 != 0 {
						got.numbers = append(got.numbers, f.First+uint64(i))
					}
				}
				got.words = slices.Clone(g.Words)
				got.chambers = slices.Clone(g.Chambers)
				if g.Kind == KindLate {
					got.newest = slices.Clone(g.Newest)
				}
			}
		}
		if !slices.Equal(got.words, want.words) || !slices.Equal(got.numbers, want.numbers) || !slices.Equal(got.newest, want.newest) ||
			!slices.Equal(got.chambers, want.chambers) || !reflect.DeepEqual(got.aside, want.aside) {
			t.Fatalf("seed %d: got %+v\nwant %+v", seed, got, want)
		}
	}
}

func TestPick(t *testing.T) {
	for seed := range 2000 {
		r := newRand(seed)
		src := make([]uint64, r.IntN(300))
		keep := make([]uint64, bitmapLen(len(src)))
		var want []uint64
		stay := 1 + r.IntN(20)
		on := false
		for i := range src {
			src[i] = r.Uint64()
			if r.IntN(stay) == 0 {
				on = !on
			}
			if on {
				keep[i/64] |= 1 << (i % 64)
				want = append(want, src[i])
			}
		}
		dst := make([]uint64, len(want)+runLen)
		if n := pick(dst, src, keep); n != len(want) || !slices.Equal(dst[:n], want) {
			t.Fatalf("seed %d: %d words of %d", seed, n, len(want))
		}
	}
}

func TestCopyChangesNothing(t *testing.T) {
	for _, path := range vectorFiles(t) {
		v := readVector(t, path)
		if v.err != "" || v.name == "good-skippable" || strings.Contains(v.name, "inside") || strings.Contains(v.name, "at-the-end") {
			continue
		}
		var buf bytes.Buffer
		w := NewWriter(&buf)
		told := 0
		err := Copy(w, NewReader(bytes.NewReader(v.stream)), func(error) { told++ }, w.Pass)
		var cut *CutError
		if is := strings.HasPrefix(v.name, "cut"); is != errors.As(err, &cut) || is != (told == 1) || !is && err != nil {
			t.Errorf("%s: %v, told %d times", v.name, err, told)
		}
		if !bytes.Equal(buf.Bytes(), v.stream) {
			t.Errorf("%s: the copy is different", v.name)
		}
	}
}

// What comes in goes out before the next read would block: also when the stream ends in the middle of a frame.
func TestFlushBeforeWait(t *testing.T) {
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer outR.Close()
	defer inR.Close()
	in := NewInput(inR, -1)
	w := NewWriter(outW)
	src := NewReader(in)
	src.OnWait = func() error {
		return in.Await(func() (time.Duration, error) { return 0, w.Flush() })
	}
	done := make(chan error, 1)
	go func() {
		done <- Copy(w, src, noTell, w.Pass)
		outW.Close()
	}()

	stream := goodVector(t, "good-all-kinds")
	if err := outR.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	whole := 0 // bytes of whole frames that were written
	for at := 0; at < len(stream); {
		// Half a frame more than is expected back.
		size := PreambleSize
		if stream[whole] != preamble[0] {
			size = HeaderSize + int(stream[whole+4]) + int(stream[whole+5])<<8
		}
		whole += size
		next := min(whole+20, len(stream))
		if _, err := inW.Write(stream[at:next]); err != nil {
			t.Fatal(err)
		}
		at = next
		b := make([]byte, whole-len(got))
		if _, err := io.ReadFull(outR, b); err != nil {
			t.Fatalf("the frame up to byte %d does not come out while the input is open: %v", whole, err)
		}
		got = append(got, b...)
		if next == len(stream) {
			break
		}
	}
	inW.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(outR)
	if got = append(got, rest...); err != nil || !bytes.Equal(got, stream) {
		t.Errorf("%d bytes come out of %d, %v", len(got), len(stream), err)
	}
}

func TestAwait(t *testing.T) {
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stopR, stopW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer inR.Close()
	defer inW.Close()
	defer stopR.Close()
	in := NewInput(inR, int(stopR.Fd()))
	idled := 0
	idle := func() (time.Duration, error) {
		if idled++; idled == 3 {
			inW.Write([]byte{1})
		}
		return time.Millisecond, nil
	}
	if err := in.Await(idle); err != nil || idled != 3 {
		t.Errorf("%v after %d times idle", err, idled)
	}
	if err := in.Await(func() (time.Duration, error) { t.Error("idle, and a read would not block"); return 0, nil }); err != nil {
		t.Error(err)
	}
	io.ReadFull(inR, make([]byte, 1))
	broken := errors.New("broken")
	if err := in.Await(func() (time.Duration, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	stopW.Close()
	if err := in.Await(idle); !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
	Enlarge(inR)
	Enlarge(os.Stdin) // whatever it is
}

// A stream of two lanes that take turns, stopped before each read and in each step: every lane that began gets an end, where its words end, and none begins anew a second time.
func TestStoppedEndsLanes(t *testing.T) {
	lanes := [2]*Lane{{Run: "demo", K: 1, N: 2, FloorOrbit: 9, FloorNumber: 1, Settings: "0123456789abcdef"}, {Run: "demo", K: 2, N: 2, FloorEpoch: 2, FloorNumber: 2}}
	anew := [2]Lane{*lanes[0], *lanes[1]}
	anew[0].Anew, anew[1].Anew = true, true
	stream := build(t, func(w *Writer) {
		w.Preamble()
		w.Lane(&Frame{}, &anew[0])
		w.Words(&Frame{Kind: KindWords, Next: 2, Words: exampleWords, Horizon: 5})
		w.Lane(&Frame{}, &anew[1])
		w.Ledger(&Frame{Next: 3, Ledger: Ledger{Stage: "s", Read: 3, Kept: 2, Entries: []Entry{{"x", 1, []uint64{1}}}}})
		w.Words(&Frame{Kind: KindWords, Next: 3, Words: exampleWords, Present: []uint64{6}, Horizon: 6})
		w.Lane(&Frame{Next: 2}, lanes[0])
		w.Words(&Frame{Kind: KindWords, First: 2, Next: 4, Words: exampleWords, Horizon: 7})
		w.Lane(&Frame{Next: 3}, lanes[1])
		w.End(&Frame{Next: 3})
		w.Preamble()
		w.Lane(&Frame{Next: 4}, lanes[0])
		w.End(&Frame{Next: 4})
	})
	total := 0 // of frames
	if kinds, err := frames(NewReader(bytes.NewReader(stream))); err != nil {
		t.Fatal(err)
	} else {
		total = len(kinds)
	}
	for _, inStep := range []bool{true, false} {
		if !inStep {
			total = len(stream)/8 + 1
		}
		for n := range total {
			var buf bytes.Buffer
			w := NewWriter(&buf)
			src := NewReader(&randomReader{bytes.NewReader(stream), func() int { return 8 }})
			reached, waits := 0, 0
			src.OnWait = func() error {
				if waits++; !inStep && waits > n {
					return ErrStopped
				}
				return nil
			}
			const digest = 77
			next := map[uint32]uint64{}
			err := Copy(w, src, noTell, func(f *Frame) error {
				if inStep && reached >= n && f.Kind != KindLane {
					return ErrStopped
				}
				reached++
				switch f.Kind {
				case KindLane: // as dtchamber does
					lane := *f.Lane
					lane.Map = digest
					return errors.Join(w.Lane(f, &lane), w.Map(f, []byte("{}")))
				case KindWords:
					next[f.Lane.K] = f.Next
				}
				return w.Pass(f)
			})
			if err != nil {
				t.Fatalf("stopped at %d (in step %v): %v", n, inStep, err)
			}
			if buf.Len() == 0 {
				continue
			}
			r := NewReader(&buf)
			open, begun := map[uint32]bool{}, map[uint32]bool{}
			for {
				f, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					if strings.Contains(err.Error(), "without a lane frame") && reached == 0 {
						break
					}
					t.Fatalf("stopped at %d (in step %v): %v", n, inStep, err)
				}
				switch f.Kind {
				case KindCut:
					t.Errorf("stopped at %d (in step %v): %s is cut", n, inStep, f.Lane.ID())
				case KindLane:
					if f.Lane.Map != digest {
						t.Errorf("stopped at %d (in step %v): a lane frame that step did not see", n, inStep)
					}
					open[f.Lane.K] = true
					want := *lanes[f.Lane.K-1]
					want.Map, want.Start, want.Anew = digest, f.Next, !begun[f.Lane.K]
					if *f.Lane != want {
						t.Errorf("stopped at %d (in step %v): lane %+v, want %+v", n, inStep, *f.Lane, want)
					}
					begun[f.Lane.K] = true
				case KindEnd:
					delete(open, f.Lane.K)
					if f.First != next[f.Lane.K] {
						t.Errorf("stopped at %d (in step %v): lane %d ends at %d, its words at %d", n, inStep, f.Lane.K, f.First, next[f.Lane.K])
					}
					if f.End.Stopped && f.End.Why == "" {
						t.Error("no reason is given")
					}
				}
			}
			if len(open) > 0 {
				t.Errorf("stopped at %d (in step %v): %d lanes have no end", n, inStep, len(open))
			}
		}
	}
}

// A failingWriter is a disk that gets full.
type failingWriter struct{ left int }

func (w *failingWriter) Write(b []byte) (int, error) {
	n := min(len(b), w.left)
	w.left -= n
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestWriteErrorsArrive(t *testing.T) {
	records, lateness := randomRecords(11, 30_000)
	stream := streamOf(t, records, lateness, all)
	for _, room := range []int{0, 7, 1000, 64 << 10, 100_000, len(stream) - 1} {
		w := NewWriter(&failingWriter{room})
		sieve := NewSieve("s", []string{"a", "b", "c"})
		err := Copy(w, NewReader(bytes.NewReader(stream)), noTell, func(f *Frame) error {
			if f.Kind == KindWords || f.Kind == KindLate {
				return sieve.Write(w, f, func(words []uint64, _ []uint8, fail [][]uint64) {
					for i := range fail {
						clear(fail[i])
					}
				})
			}
			return w.Pass(f)
		})
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("room for %d bytes: Copy returns %v", room, err)
		}
		for _, again := range []error{w.Flush(), w.Preamble(), w.Mark(&Frame{}), w.End(&Frame{}), w.Flush()} {
			if !errors.Is(again, syscall.ENOSPC) {
				t.Errorf("room for %d bytes: later %v", room, again)
			}
		}
		if room > len(stream)/2 {
			continue // without places in its marks the stream is shorter
		}
		s := newTestSource(t, &failingWriter{room}, lateness)
		words, bad := batch(records)
		if err := errors.Join(s.Add(words, bad), s.Flush(), s.End(End{}, false)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("room for %d bytes: the Source returns %v", room, err)
		}
		if err := s.Mark(testTime); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("room for %d bytes: Mark returns %v", room, err)
		}
	}
	if err := Copy(NewWriter(&failingWriter{4}), NewReader(bytes.NewReader(stream[:200])), noTell, func(*Frame) error { return ErrStopped }); err == nil {
		t.Error("stopped with a full disk: no error")
	}
}

// The Writer does not write what a Reader refuses.
func TestWriterRefuses(t *testing.T) {
	long := strings.Repeat("x", 256)
	for name, write := range map[string]func(w *Writer) error{
		"long run":         func(w *Writer) error { return w.Lane(&Frame{}, &Lane{Run: long, K: 1, N: 1}) },
		"long form":        func(w *Writer) error { return w.Lane(&Frame{}, &Lane{Run: "a", Form: long, K: 1, N: 1}) },
		"long settings":    func(w *Writer) error { return w.Lane(&Frame{}, &Lane{Run: "a", Settings: long, K: 1, N: 1}) },
		"lane 0":           func(w *Writer) error { return w.Lane(&Frame{}, &Lane{Run: "a", N: 1}) },
		"large map":        func(w *Writer) error { return w.Map(&Frame{}, bytes.Repeat([]byte{'x'}, MaxPayload+1)) },
		"no map":           func(w *Writer) error { return w.Map(&Frame{}, nil) },
		"map ends in zero": func(w *Writer) error { return w.Map(&Frame{}, []byte{'x', 0}) },
		"wide words": func(w *Writer) error {
			return w.Words(&Frame{Kind: KindWords, Next: MaxCover + 1, Words: make([]uint64, MaxCover+1)})
		},
		"absent words": func(w *Writer) error { return w.Words(&Frame{Kind: KindWords, Next: 2, Words: make([]uint64, 1)}) },
		"short bitmap": func(w *Writer) error {
			return w.Words(&Frame{Kind: KindWords, Next: 65, Words: make([]uint64, 1), Present: make([]uint64, 1)})
		},
		"made frame": func(w *Writer) error { return w.Pass(&Frame{Kind: KindWords}) },
		"state":      func(w *Writer) error { return w.Mark(&Frame{Mark: Mark{State: make([]byte, MaxText+1)}}) },
		"mark ahead": func(w *Writer) error { return w.Mark(&Frame{Mark: Mark{Number: 1}}) },
		"long reason": func(w *Writer) error {
			return w.Ledger(&Frame{Next: 1, Ledger: Ledger{Stage: "s", Read: 1, Entries: []Entry{{long, 1, []uint64{1}}}}})
		},
		"odd stage": func(w *Writer) error {
			return w.Ledger(&Frame{Next: 1, Ledger: Ledger{Stage: "\n", Read: 1, Entries: []Entry{{"x", 1, []uint64{1}}}}})
		},
		"unbalanced": func(w *Writer) error {
			return w.Ledger(&Frame{Next: 2, Ledger: Ledger{Stage: "s", Read: 2, Entries: []Entry{{"x", 1, []uint64{1}}}}})
		},
	} {
		w := NewWriter(io.Discard)
		if write(w) == nil || w.Flush() == nil {
			t.Errorf("%s is written", name)
		}
	}
	w := NewWriter(io.Discard)
	if err := w.Mark(&Frame{Mark: Mark{Name: strings.Repeat("n", 9999)}}); err != nil {
		t.Error(err)
	}
}

// ---- benchmarks

const benchWords = 1 << 20

// benchStream is what dtcat makes of real data: 4 hits of FPGA 0, 4 of FPGA 1, 8 ancillary words.
func benchRecords(n int) []uint64 {
	words := make([]uint64, 0, n)
	for c := int64(0); len(words) < n; c++ {
		o := 617_000 + c*16
		for i := range int64(4) {
			words = append(words, hitAt(0, o+4*i))
		}
		for i := range int64(4) {
			words = append(words, hitAt(1, o+4*i-100))
		}
		for i := range 8 {
			words = append(words, ancillary(i/4, o+20_000))
		}
	}
	return words
}

func benchStream(b *testing.B) []byte {
	var buf bytes.Buffer
	s := newTestSource(b, &buf, DefaultLateness)
	if err := errors.Join(s.Add(benchRecords(benchWords), nil), s.End(End{}, false)); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}

func reportWords(b *testing.B, n int) {
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mwords/s")
}

// A loop reads a stream's words frames again and again.
type loop struct {
	b, body []byte
}

func (l *loop) Read(b []byte) (int, error) {
	if len(l.b) == 0 {
		l.b = l.body
	}
	n := copy(b, l.b)
	l.b = l.b[n:]
	return n, nil
}

// words is a stream of the words frames of stream without an end to it, and how many bytes a frame has.
func newLoop(stream []byte) (l *loop, frame int) {
	head := PreambleSize
	head += HeaderSize + int(stream[head+4])
	frame = HeaderSize + 8*frameWords
	return &loop{stream[:head+benchWords/frameWords*frame], stream[head : head+benchWords/frameWords*frame]}, frame
}

func BenchmarkReader(b *testing.B) {
	in, _ := newLoop(benchStream(b))
	r := NewReader(in)
	for range 10 {
		r.Next()
	}
	b.SetBytes(8 * frameWords)
	b.ReportAllocs()
	for b.Loop() {
		if f, err := r.Next(); err != nil || len(f.Words) != frameWords {
			b.Fatal(err)
		}
	}
	reportWords(b, frameWords)
}

func BenchmarkCopy(b *testing.B) {
	in, _ := newLoop(benchStream(b))
	w := NewWriter(io.Discard)
	n := 0
	done := errors.New("done")
	b.SetBytes(8 * frameWords)
	b.ReportAllocs()
	b.ResetTimer()
	err := Copy(w, NewReader(in), noTell, func(f *Frame) error {
		if n++; n > b.N {
			return done
		}
		return w.Pass(f)
	})
	if err != done {
		b.Fatal(err)
	}
	reportWords(b, frameWords)
}

func benchSieve(b *testing.B, bitmap func(fail []uint64)) {
	in, _ := newLoop(benchStream(b))
	r := NewReader(in)
	r.Next()
	r.Next()
	f, err := r.Next()
	if err != nil {
		b.Fatal(err)
	}
	w := NewWriter(io.Discard)
	sieve := NewSieve("s", []string{"HEAD == 2", "TDC_CHANNEL <= 128"})
	eval := func(_ []uint64, _ []uint8, fail [][]uint64) {
		bitmap(fail[0])
		clear(fail[1])
	}
	sieve.Write(w, f, eval)
	b.SetBytes(8 * frameWords)
	b.ReportAllocs()
	for b.Loop() {
		if err := sieve.Write(w, f, eval); err != nil {
			b.Fatal(err)
		}
	}
	reportWords(b, frameWords)
}

func BenchmarkSieve(b *testing.B) {
	b.Run("8of16", func(b *testing.B) {
		benchSieve(b, func(fail []uint64) {
			for i := range fail {
				fail[i] = 0xFF00FF00FF00FF00
			}
		})
	})
	b.Run("random", func(b *testing.B) {
		r := rand.New(rand.NewPCG(1, 2))
		random := make([]uint64, 128)
		for i := range random {
			random[i] = r.Uint64()
		}
		benchSieve(b, func(fail []uint64) { copy(fail, random) })
	})
}

func BenchmarkPick(b *testing.B) {
	src, dst, keep := make([]uint64, frameWords), make([]uint64, frameWords), make([]uint64, frameWords/64)
	for i := range keep {
		keep[i] = 0x00FF00FF00FF00FF
	}
	b.SetBytes(8 * frameWords)
	b.ReportAllocs()
	for b.Loop() {
		pick(dst, src, keep)
	}
	reportWords(b, frameWords)
}

func BenchmarkJudge(b *testing.B) {
	words := benchRecords(benchWords)
	b.SetBytes(8 * benchWords)
	b.ReportAllocs()
	for b.Loop() {
		j := newJudge(DefaultLateness)
		for i := 0; i < len(words); {
			next := min(i+frameWords, len(words))
			n := j.run(words[i:next])
			if i += n; n == 0 {
				j.one(words[i:], true)
				i++
			}
		}
		if j.newest() != 0 {
			b.Fatal("another epoch")
		}
	}
	reportWords(b, benchWords)
}

func BenchmarkSourceAdd(b *testing.B) {
	words := benchRecords(frameWords)
	s := newTestSource(b, io.Discard, DefaultLateness)
	s.Add(words, nil)
	last := hit.Orbit(words[len(words)-16+3])
	b.SetBytes(8 * frameWords)
	b.ReportAllocs()
	step := uint64(last+4-617_000) << hit.OrbitShift
	at := uint32(617_000)
	for b.Loop() {
		if at > 1<<31 {
			b.StopTimer()
			words, at = benchRecords(frameWords), 617_000
			s = newTestSource(b, io.Discard, DefaultLateness)
			b.StartTimer()
		}
		for i := range words { // as if the run went on
			if hit.IsHit(words[i]) {
				words[i] += step
			}
		}
		at += last + 4 - 617_000
		if err := s.Add(words, nil); err != nil {
			b.Fatal(err)
		}
	}
	if s.late > 0 {
		b.Fatalf("%d words are late", s.late)
	}
	reportWords(b, frameWords)
}
