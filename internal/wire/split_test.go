package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"dt/internal/hit"
)

// A told is what a stream says of one number, taken apart by the word.
type told struct {
	word    uint64
	present bool
	kind    Kind
	epoch   uint32
	newest  uint32
	chamber uint8
	aside   string // by whom and why, if it is not present
}

// tell takes the frames of one lane apart.
func tell(t testing.TB, list []told, ledgers []Frame, f *Frame) []told {
	t.Helper()
	k := 0
	for i := range int(f.Next - f.First) {
		x := told{kind: f.Kind, epoch: f.Epoch}
		if f.Present == nil || f.Present[i/64]>>(i%64)&1 != 0 {
			x.present, x.word = true, f.Words[k]
			if f.Kind == KindLate {
				x.newest = f.Newest[k]
			}
			if f.Chambers != nil {
				x.chamber = f.Chambers[k] + 1
			}
			k++
		} else {
			for _, l := range ledgers {
				for _, e := range l.Ledger.Entries {
					if e.Numbers[i/64]>>(i%64)&1 != 0 {
						x.aside += l.Ledger.Stage + ": " + e.Reason
					}
				}
			}
			if x.aside == "" {
				t.Fatalf("number %d is neither present nor in a ledger", f.First+uint64(i))
			}
		}
		list = append(list, x)
	}
	return list
}

// A lane as its messages say it.
type laneTold struct {
	list  []told
	marks []Mark
	end   *End
	all   decoded // for checkPromise
}

// messages splits a stream and takes the messages apart; each is parsed by itself.
func messages(t testing.TB, stream []byte, n, limit int, r *rand.Rand) []*laneTold {
	t.Helper()
	lanes := make([]*laneTold, n)
	for k := range lanes {
		lanes[k] = &laneTold{}
	}
	var m Message
	var s *Splitter
	send := func(k int, value []byte, next uint64) error {
		if err := m.Parse(value); err != nil {
			t.Fatal(err)
		}
		if l := m.Lane(); int(l.K) != k+1 || int(l.N) != n || l.Run != "demo" {
			t.Fatalf("message for %d of %d has lane %v", k+1, n, l.ID())
		}
		if len(value) > limit {
			t.Fatalf("a message of %d bytes, at most %d were asked for", len(value), limit)
		}
		to := lanes[k]
		var ledgers []Frame
		for _, f := range m.Frames() {
			switch f.Kind {
			case KindLedger:
				if len(ledgers) > 0 && ledgers[len(ledgers)-1].Ledger.Kept != f.Ledger.Read {
					t.Fatalf("stage %s read %d, but the one before it kept %d", f.Ledger.Stage, f.Ledger.Read, ledgers[len(ledgers)-1].Ledger.Kept)
				}
				ledgers = append(ledgers, f)
			case KindWords, KindLate:
				if f.First != uint64(len(to.list)) {
					t.Fatalf("lane %d: a frame begins at %d, the last ended at %d", k+1, f.First, len(to.list))
				}
				for i, w := range f.Words {
					p := placed{number: f.First + uint64(i), word: w, kind: f.Kind, epoch: f.Epoch}
					if f.Kind == KindLate {
						p.newest = f.Newest[i]
					}
					to.all.words = append(to.all.words, p)
				}
				to.list = tell(t, to.list, ledgers, &f)
				ledgers = nil
			case KindMark:
				mark := f.Mark
				mark.State = bytes.Clone(mark.State)
				to.marks = append(to.marks, mark)
			case KindEnd:
				end := f.End
				to.end = &end
			}
			switch f.Kind {
			case KindWords, KindLate, KindMark, KindEnd:
				to.all.ends = append(to.all.ends, frameEnd{f.Next, f.Horizon, f.Epoch, f.Open, f.Kind})
			}
		}
		if to.end == nil && uint64(len(to.list)) != next {
			t.Fatalf("lane %d: a message is said to end before %d, but it does before %d", k+1, next, len(to.list))
		}
		return nil
	}
	src := NewReader(bytes.NewReader(stream))
	for {
		f, err := src.Next()
		if err != nil {
			break
		}
		if f.Kind == KindStream {
			continue
		}
		if s == nil {
			s = NewSplitter(f.Lane, n, limit)
			s.Send = send
		}
		if err := s.Add(f); err != nil {
			t.Fatal(err)
		}
		switch r.IntN(8) {
		case 0:
			err = s.Flush()
		case 1:
			if err = s.Tell(); s.Behind() {
				t.Fatal("told, and behind all the same")
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return lanes
}

// marked is streamOf with marks, filtered, and with chambers.
func marked(t testing.TB, r *rand.Rand, records []record, lateness int64) (stream []byte, marks []Mark) {
	t.Helper()
	var buf bytes.Buffer
	s := newTestSource(t, &buf, lateness)
	for i := 0; i < len(records); {
		n := min(1+r.IntN(700), len(records)-i)
		words, bad := batch(records[i : i+n])
		if err := s.Add(words, bad); err != nil {
			t.Fatal(err)
		}
		i += n
		s.At("file", "tag", NoPartition, uint64(i))
		if r.IntN(3) == 0 {
			if err := s.Mark(testTime); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.End(End{}, false); err != nil {
		t.Fatal(err)
	}
	stream = buf.Bytes()
	marks = decode(t, stream).marks
	chambers := r.IntN(2) == 0
	for _, name := range []string{"one", "two"}[:r.IntN(3)] {
		var out bytes.Buffer
		w := NewWriter(&out)
		sieve := NewSieve(name, []string{"fives", "never", "sevens of " + name})
		err := Copy(w, NewReader(bytes.NewReader(stream)), noTell, func(f *Frame) error {
			switch f.Kind {
			case KindWords, KindLate:
				if chambers {
					f.Chambers = make([]uint8, len(f.Words))
					for i, x := range f.Words {
						f.Chambers[i] = uint8(x % 5)
					}
				}
				return sieve.Write(w, f, evalTest)
			case KindLane:
				if l := *f.Lane; chambers {
					l.Map = 99
					return w.Lane(f, &l)
				}
			}
			return w.Pass(f)
		})
		if err != nil {
			t.Fatal(err)
		}
		stream = out.Bytes()
	}
	return stream, marks
}

// What the lanes say of each number is what the run says, in its order.
func TestSplitterAgainstModel(t *testing.T) {
	eachScene(t, func(t *testing.T, seed int, records []record, lateness int64) {
		r := newRand(seed)
		stream, marks := marked(t, r, records, lateness)
		var all []told
		var ledgers []Frame
		src := NewReader(bytes.NewReader(stream))
		for {
			f, err := src.Next()
			if err != nil {
				break
			}
			switch f.Kind {
			case KindLedger:
				c := *f
				c.Ledger.Entries = nil
				for _, e := range f.Ledger.Entries {
					e.Numbers = slices.Clone(e.Numbers)
					c.Ledger.Entries = append(c.Ledger.Entries, e)
				}
				ledgers = append(ledgers, c)
			case KindWords, KindLate:
				all = tell(t, all, ledgers, f)
				ledgers = nil
			}
		}
		for _, n := range []int{2, 3, 8, 100} {
			lanes := messages(t, stream, n, MinMessage<<r.IntN(4), r)
			want := make([]*laneTold, n)
			for k := range want {
				want[k] = &laneTold{}
			}
			at := make([]uint64, n)
			number := 0
			upTo := func(m uint64) {
				for ; uint64(number) < m; number++ {
					x := all[number]
					k := 0
					if x.present {
						k = int(LaneOf(hit.Orbit(x.word), uint32(n))) - 1
					}
					want[k].list = append(want[k].list, x)
					at[k]++
				}
			}
			for _, m := range marks {
				upTo(m.Number)
				for k := range want {
					mine := m
					mine.Number = at[k]
					want[k].marks = append(want[k].marks, mine)
				}
			}
			upTo(uint64(len(all)))
			for k := range lanes {
				// A record set aside is in whichever frame is open there, so it has no kind and epoch of its own.
				for _, list := range [][]told{lanes[k].list, want[k].list} {
					for i := range list {
						if !list[i].present {
							list[i].kind, list[i].epoch = 0, 0
						}
					}
				}
				if !slices.Equal(lanes[k].list, want[k].list) {
					t.Fatalf("lane %d of %d differs", k+1, n)
				}
				if !reflect.DeepEqual(lanes[k].marks, want[k].marks) {
					t.Fatalf("lane %d of %d has other marks:\n%+v\n%+v", k+1, n, lanes[k].marks, want[k].marks)
				}
				if lanes[k].end == nil || lanes[k].end.Read != uint64(len(want[k].list)) {
					t.Fatalf("lane %d of %d ends with %+v", k+1, n, lanes[k].end)
				}
				checkPromise(t, &lanes[k].all)
			}
		}
	})
}

// One lane goes on as it is, and so does a part of a run.
func TestSplitterPasses(t *testing.T) {
	eachScene(t, func(t *testing.T, seed int, records []record, lateness int64) {
		r := newRand(seed)
		stream, _ := marked(t, r, records, lateness)
		var out bytes.Buffer
		w := NewWriter(&out)
		var s *Splitter
		var m Message
		src := NewReader(bytes.NewReader(stream))
		for first := true; ; {
			f, err := src.Next()
			if err != nil {
				break
			}
			if f.Kind == KindStream {
				w.Preamble()
				continue
			}
			if s == nil {
				s = NewSplitter(f.Lane, 1, 128<<10)
				s.Send = func(_ int, value []byte, _ uint64) error {
					if err := m.Parse(value); err != nil {
						return err
					}
					if first {
						w.Lane(&Frame{}, m.Lane())
						first = false
					}
					for _, f := range m.Frames() {
						w.Pass(&f)
					}
					return nil
				}
			}
			if err := s.Add(f); err != nil {
				t.Fatal(err)
			}
			if r.IntN(5) == 0 {
				if err := s.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.Flush()
		if !bytes.Equal(out.Bytes(), stream) {
			k := 0
			for k < min(out.Len(), len(stream)) && out.Bytes()[k] == stream[k] {
				k++
			}
			t.Fatalf("the messages of one lane are another stream, from byte %d on: %d bytes, want %d", k, out.Len(), len(stream))
		}
	})
}

// A gap shows in the first lane, and what comes twice is cut.
func TestSplitterGapsAndOverlaps(t *testing.T) {
	words := benchRecords(40_000)
	var a, b bytes.Buffer
	for _, part := range []struct {
		to   *bytes.Buffer
		at   uint64
		part []uint64
	}{{&a, 0, words[:20_000]}, {&b, 25_000, words[25_000:]}} {
		s, err := ResumeSource(NewWriter(part.to), Lane{Run: "demo", K: 1, N: 1}, "test", DefaultLateness, &Mark{Number: part.at, Partition: NoPartition})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Add(part.part, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.End(End{Stopped: true}, true); err != nil {
			t.Fatal(err)
		}
	}
	stream := slices.Concat(a.Bytes(), a.Bytes(), b.Bytes())
	lanes := make([][]uint64, 4)
	next := make([]uint64, 4)
	missing := uint64(0)
	var m Message
	var s *Splitter
	src := NewReader(bytes.NewReader(stream))
	for {
		f, err := src.Next()
		if err != nil {
			break
		}
		if f.Kind == KindStream {
			continue
		}
		if s == nil {
			s = NewSplitter(f.Lane, 4, 1<<20)
			s.Send = func(k int, value []byte, _ uint64) error {
				if err := m.Parse(value); err != nil {
					return err
				}
				for _, f := range m.Frames() {
					if f.Kind == KindWords {
						if k == 0 {
							missing += f.First - next[k]
						} else if f.First != next[k] {
							t.Errorf("lane %d: a frame begins at %d, the last ended at %d", k+1, f.First, next[k])
						}
						next[k] = f.Next
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
	if missing != 5000 {
		t.Errorf("%d records are missing, want 5000", missing)
	}
	want := make([][]uint64, 4)
	for i, w := range words {
		if k := LaneOf(hit.Orbit(w), 4) - 1; i < 20_000 || i >= 25_000 {
			want[k] = append(want[k], w)
		}
	}
	if !reflect.DeepEqual(lanes, want) {
		t.Error("the lanes have other words")
	}
}

func TestMessageRefuses(t *testing.T) {
	const lead = PreambleSize + HeaderSize + 56 // preamble and lane frame
	var value []byte                            // words, mark and end in one message
	s := NewSplitter(&Lane{Run: "demo", K: 1, N: 1, Form: FormCSV}, 1, 1<<20)
	s.Send = func(_ int, b []byte, _ uint64) error { value = append(value, b[min(len(value), lead):]...); return nil }
	src := NewReader(bytes.NewReader(streamOf(t, recordsOf(benchRecords(500)), DefaultLateness, all)))
	for {
		f, err := src.Next()
		if err != nil {
			break
		}
		if f.Kind != KindStream {
			s.Add(f)
		}
	}
	s.Flush()
	var m Message
	if err := m.Parse(value); err != nil || len(m.Frames()) != 3 {
		t.Fatalf("%v, %d frames", err, len(m.Frames()))
	}
	ends := map[int]bool{}
	for at := PreambleSize; at < len(value); at += HeaderSize + int(binary.LittleEndian.Uint32(value[at+4:])) {
		ends[at] = at > PreambleSize
	}
	for n := range value {
		if err := m.Parse(value[:n]); (err == nil) != ends[n] {
			t.Fatalf("cut behind byte %d: %v", n, err)
		}
		bad := bytes.Clone(value)
		bad[n] ^= 1
		if m.Parse(bad) == nil {
			t.Fatalf("with byte %d wrong it is taken", n)
		}
	}
	for what, b := range map[string][]byte{"nothing": {}, "zeros": make([]byte, 5<<20), "text": []byte("2,0,5,617000,100,7"), "twice": slices.Concat(value, value),
		"a preamble": value[:PreambleSize], "large": slices.Concat(value[:PreambleSize], make([]byte, 5<<20))} {
		if err := m.Parse(b); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

func FuzzMessage(f *testing.F) {
	s := NewSplitter(&Lane{Run: "demo", K: 1, N: 1}, 3, 1<<20)
	s.Send = func(_ int, b []byte, _ uint64) error { f.Add(bytes.Clone(b)); return nil }
	src := NewReader(bytes.NewReader(streamOf(f, recordsOf(benchRecords(100)), DefaultLateness, all)))
	for {
		frame, err := src.Next()
		if err != nil {
			break
		}
		if frame.Kind != KindStream {
			s.Add(frame)
		}
	}
	var m Message
	f.Fuzz(func(t *testing.T, b []byte) {
		if m.Parse(b) != nil {
			return
		}
		// What Parse takes, a Reader takes, up to the end that a message lacks, and a Splitter.
		src := NewReader(bytes.NewReader(b))
		again := NewSplitter(m.Lane(), 5, 1<<20)
		again.Send = func(int, []byte, uint64) error { return nil }
		for range len(m.Frames()) + 2 {
			g, err := src.Next()
			if err != nil {
				t.Fatal(err)
			}
			if g.Kind != KindStream {
				_ = again.Add(g) // a frame of another lane's numbers may not fit
			}
		}
	})
}

func BenchmarkSplitter(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			in, frame := newLoop(benchStream(b))
			r := NewReader(in)
			r.Next()
			f, _ := r.Next()
			s := NewSplitter(f.Lane, n, 983_040)
			s.Send = func(int, []byte, uint64) error { return nil }
			b.SetBytes(int64(frame))
			next := uint64(0)
			for b.Loop() {
				f, err := r.Next()
				if err != nil {
					b.Fatal(err)
				}
				f.First, f.Next = next, next+uint64(len(f.Words))
				next = f.Next
				if err := s.Add(f); err != nil {
					b.Fatal(err)
				}
			}
			reportWords(b, frameWords)
		})
	}
}
