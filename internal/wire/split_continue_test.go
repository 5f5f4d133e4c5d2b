package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"dt/internal/hit"
)

// A sent is a message as it was sent, and the number behind it.
type sent struct {
	value []byte
	next  uint64
}

// splitFrom splits a stream, with flushes and words of the horizon between its frames, and returns each lane's messages. prepare may be nil.
func splitFrom(t testing.TB, stream []byte, n, limit int, r *rand.Rand, prepare func(*Splitter)) ([][]sent, error) {
	t.Helper()
	lanes := make([][]sent, n)
	var s *Splitter
	src := NewReader(bytes.NewReader(stream))
	for {
		f, err := src.Next()
		switch {
		case errors.Is(err, io.EOF):
			return lanes, s.Flush()
		case err != nil:
			t.Fatal(err)
		case f.Kind == KindStream:
			continue
		case s == nil:
			s = NewSplitter(f.Lane, n, limit)
			s.Send = func(k int, value []byte, next uint64) error {
				lanes[k] = append(lanes[k], sent{bytes.Clone(value), next})
				return nil
			}
			if prepare != nil {
				prepare(s)
			}
		}
		if err := s.Add(f); err != nil {
			return lanes, err
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
}

// A laneRead is what a reader of a lane's messages has of it.
type laneRead struct {
	list    []told // by number
	aside   map[string]int
	doubled uint64
	marks   []Mark
	ends    int
}

// readLane reads a lane's messages, one after the other, as programs do.
func readLane(t testing.TB, messages []sent) *laneRead {
	t.Helper()
	to := &laneRead{aside: map[string]int{}}
	var track *Track
	var m Message
	horizon := map[uint32]uint64{}
	oldest := uint32(0)
	for _, x := range messages {
		if err := m.Parse(x.value); err != nil {
			t.Fatal(err)
		}
		if track == nil {
			track = NewTrack(m.Lane())
		}
		if l := m.Lane(); l.Anew || l.Settings != "" || l.FloorNumber != 0 || l.Resumed() {
			t.Fatalf("a message has the lane %+v", l)
		}
		if f := &m.Frames()[0]; m.Lane().Start != f.First {
			t.Fatalf("the lane frame stands at %d, the frame behind it at %d", m.Lane().Start, f.First)
		}
		var ledgers []Frame
		for _, f := range m.Frames() {
			switch f.Kind {
			case KindLedger:
				track.Ledger(&f)
				ledgers = append(ledgers, f)
				continue
			case KindWords, KindLate:
				all := tell(t, nil, ledgers, &f)
				ledgers = nil
				aside, missing, doubled := track.Admit(&f)
				if missing > 0 {
					t.Fatalf("%d records are missing before or in %d–%d", missing, f.First, f.Next)
				}
				for _, a := range aside {
					to.aside[a.Stage+": "+a.Reason] += a.Count
				}
				to.doubled += doubled
				for _, w := range f.Words {
					if f.Kind == KindWords && hit.IsHit(w) && (f.Epoch < oldest || uint64(hit.Orbit(w)) < horizon[f.Epoch]) {
						t.Fatalf("a word of epoch %d, orbit %d came in time; open was %d, the horizon %d", f.Epoch, hit.Orbit(w), oldest, horizon[f.Epoch])
					}
				}
				to.list = append(to.list, all[min(int(doubled), len(all)):]...)
			case KindMark:
				mark := f.Mark
				mark.State = bytes.Clone(mark.State)
				to.marks = append(to.marks, mark)
			case KindEnd:
				to.ends++
			}
			oldest = max(oldest, f.Open)
			horizon[f.Epoch] = max(horizon[f.Epoch], f.Horizon)
		}
	}
	for i := range to.list {
		if !to.list[i].present {
			to.list[i].kind, to.list[i].epoch = 0, 0 // those of whichever frame was open
		}
	}
	return to
}

// filtered is a stream behind stages that set words aside, and behind one that says the chambers, or not.
func filtered(t testing.TB, stream []byte, stages int, chambers bool) []byte {
	t.Helper()
	through := func(w *Writer, out *bytes.Buffer, step func(f *Frame) error) {
		if err := Copy(w, NewReader(bytes.NewReader(stream)), noTell, step); err != nil {
			t.Fatal(err)
		}
		stream = out.Bytes()
	}
	for _, name := range []string{"one", "two"}[:stages] {
		var out bytes.Buffer
		w := NewWriter(&out)
		sieve := NewSieve(name, []string{"fives", "never", "sevens of " + name})
		through(w, &out, func(f *Frame) error {
			if f.Kind == KindWords || f.Kind == KindLate {
				return sieve.Write(w, f, evalTest)
			}
			return w.Pass(f)
		})
	}
	if !chambers {
		return stream
	}
	var out bytes.Buffer
	w := NewWriter(&out)
	through(w, &out, func(f *Frame) error {
		switch f.Kind {
		case KindLane:
			l := *f.Lane
			l.Map = 99
			return w.Lane(f, &l)
		case KindWords, KindLate:
			f.Chambers = make([]uint8, len(f.Words))
			for i, x := range f.Words {
				f.Chambers[i] = uint8(x % 5)
			}
			return w.Words(f)
		}
		return w.Pass(f)
	})
	return stream
}

// sourceFrom writes records, from the one with the mark's number on, with marks in random places, and returns the stream and the places.
func sourceFrom(t testing.TB, r *rand.Rand, records []record, lateness int64, m *Mark) (stream []byte, places []Mark) {
	t.Helper()
	var buf bytes.Buffer
	s, err := ResumeSource(NewWriter(&buf), Lane{Run: "demo", K: 1, N: 1, Form: FormCSV, FloorNumber: m.Number}, "test", lateness, m)
	if err != nil {
		t.Fatal(err)
	}
	for i := int(m.Number); i < len(records); {
		n := min(1+r.IntN(300), len(records)-i)
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
			p := *s.Place()
			p.State = bytes.Clone(p.State)
			places = append(places, p)
		}
	}
	if err := s.End(End{}, false); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), places
}

// A run that is split in two goes, of which the second begins at a mark of the first, or at the beginning, and leaves out what each lane has, is split as in one.
func TestSplitterContinues(t *testing.T) {
	overlaps, skipped := uint64(0), 0
	eachScene(t, func(t *testing.T, seed int, records []record, lateness int64) {
		r := newRand(seed)
		whole, places := sourceFrom(t, r, records, lateness, &Mark{Partition: NoPartition})
		stages, chambers := r.IntN(3), r.IntN(2) == 0
		whole = filtered(t, whole, stages, chambers)
		places = append(places, Mark{Partition: NoPartition})
		at := places[r.IntN(len(places))]
		rest, _ := sourceFrom(t, r, records, lateness, &at)
		rest = filtered(t, rest, stages, chambers)
		for _, n := range []int{1, 2, 5, 60} {
			limit := MinMessage << r.IntN(3)
			first, err := splitFrom(t, whole, n, limit, r, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]*laneRead, n)
			numbers := make([]uint64, n)
			for k := range n {
				want[k] = readLane(t, first[k])
				// The lane's number at the mark: the mark says it, in each lane.
				for _, m := range want[k].marks {
					if m.Source == at.Number && m.Source > 0 {
						numbers[k] = m.Number
					}
				}
			}

			// What the topic has of each lane: all messages to some place that is not before the mark. It may have more than is known.
			have, know, ended := make([]uint64, n), make([]uint64, n), make([]bool, n)
			there := make([][]sent, n)
			for k := range n {
				least := 0
				for least < len(first[k]) && numbers[k] > 0 && (least == 0 || first[k][least-1].next < numbers[k]) {
					least++
				}
				keep := least + r.IntN(len(first[k])-least+1)
				there[k] = first[k][:keep]
				if keep > 0 {
					have[k] = there[k][keep-1].next
				}
				ended[k] = keep == len(first[k])
				know[k] = have[k]
				if r.IntN(4) == 0 && !ended[k] {
					know[k] -= r.Uint64N(have[k] - numbers[k] + 1)
				}
			}
			second, err := splitFrom(t, rest, n, limit, r, func(s *Splitter) { s.Continue(numbers, know, ended) })
			if err != nil {
				t.Fatalf("%d lanes: %v", n, err)
			}
			for k := range n {
				if ended[k] && len(second[k]) > 0 {
					t.Fatalf("lane %d of %d has ended, and gets something", k+1, n)
				}
				got := readLane(t, slices.Concat(there[k], second[k]))
				if !slices.Equal(got.list, want[k].list) {
					t.Fatalf("lane %d of %d has other records", k+1, n)
				}
				for reason, count := range want[k].aside {
					if got.aside[reason] != count {
						t.Fatalf("lane %d of %d: %d of %q, want %d", k+1, n, got.aside[reason], reason, count)
					}
				}
				if got.doubled != have[k]-know[k] || got.ends != 1 {
					t.Fatalf("lane %d of %d: %d records are there again, want %d; it ends %d times", k+1, n, got.doubled, have[k]-know[k], got.ends)
				}
				var m Message
				for _, x := range second[k] {
					if err := m.Parse(x.value); err != nil {
						t.Fatal(err)
					}
					if f := &m.Frames()[0]; f.First < know[k] {
						t.Fatalf("lane %d of %d has %d already, and gets %d", k+1, n, know[k], f.First)
					}
				}
				overlaps += got.doubled
				skipped += int(know[k] - numbers[k])
			}
		}
	})
	if overlaps < 1000 || skipped < 10_000 {
		t.Errorf("%d records were there again and %d left out, which proves little", overlaps, skipped)
	}
}

// A stream that is another than what is there is refused, one that was stopped is not.
func TestSplitterContinuesTheSameRun(t *testing.T) {
	records := recordsOf(benchRecords(3000)[:3000])
	r := newRand(1)
	stream, _ := sourceFrom(t, r, records, DefaultLateness, &Mark{Partition: NoPartition})
	var buf bytes.Buffer
	s := newTestSource(t, &buf, DefaultLateness)
	s.Add(wordsOf(records), nil)
	s.End(End{Stopped: true}, true)
	for _, n := range []int{1, 4} {
		whole, err := splitFrom(t, stream, n, 1<<20, r, nil)
		if err != nil {
			t.Fatal(err)
		}
		have, ended := make([]uint64, n), make([]bool, n)
		for k := range n {
			have[k] = whole[k][len(whole[k])-1].next
		}
		for what, c := range map[string]struct {
			stream []byte
			have   uint64 // more than there is, in the last lane
			ended  bool
			err    string
		}{
			"all of it":               {stream, 0, true, ""},
			"all but the end":         {stream, 0, false, ""},
			"less":                    {stream, 7, false, "already: this is another run"},
			"less, ended":             {stream, 7, true, "already: this is another run"},
			"more":                    {stream, ^uint64(4), true, "ended before record"},
			"stopped before":          {buf.Bytes(), 7, false, ""},
			"stopped before, ended":   {buf.Bytes(), 7, true, ""},
			"stopped where it ended":  {buf.Bytes(), 0, true, ""},
			"stopped where it is not": {buf.Bytes(), ^uint64(4), true, "ended before record"},
		} {
			for k := range ended {
				ended[k] = c.ended
			}
			more := slices.Clone(have)
			more[n-1] += c.have
			got, err := splitFrom(t, c.stream, n, 1<<20, r, func(s *Splitter) { s.Continue(make([]uint64, n), more, ended) })
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%d lanes, %s: %v", n, what, err)
			}
			for k := range got {
				if len(got[k]) > 0 && (c.ended || more[k] != have[k]) {
					t.Errorf("%d lanes, %s: lane %d gets %d messages", n, what, k+1, len(got[k]))
				}
				if !c.ended && more[k] == have[k] && err == nil && readLane(t, slices.Concat(whole[k][:len(whole[k])-1], got[k])).ends != 1 {
					t.Errorf("%d lanes, %s: lane %d has no end", n, what, k+1)
				}
			}
		}
	}
}
