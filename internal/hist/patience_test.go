package hist

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// A lane that is silent, or two, hold nothing back for longer than Patience; when one is back its windows come again, whole, also if another merge has taken over in between. Ledgers add
// up over all lines.
func TestPatience(t *testing.T) {
	all := 0
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 12))
		set := testSettings(t, r)
		events := randomEvents(r)
		want := map[int64]*Counts{}
		for _, w := range collect(t, set, events) {
			w.Counts.Ledger = Ledger{}
			want[int64(w.Epoch)<<40+w.Number] = w.Counts
		}
		n := 3 + r.IntN(3)
		lanes := laneLines(t, r, set, events, "demo", n)
		read := Ledger{}
		for k, lines := range lanes {
			for i, l := range lines {
				read.Add(&l.Counts.Ledger)
				l.From = &From{"P", int64(k), int64(i)}
			}
		}
		back := func(l *Line) *Line { // a line is used up when it is added
			text := l.Append(nil)
			again, err := ParseLine(AppendFrom(nil, text, l.From.Name, int(l.From.Partition), l.From.Offset))
			if err != nil {
				t.Fatal(err)
			}
			return again
		}
		got, revisions, missing := map[int64]*Counts{}, map[int64]int64{}, 0
		written := Ledger{}
		var last *MergeState
		runs := &Runs{Patience: time.Minute}
		emit := func(w Window) error {
			written.Add(&w.Counts.Ledger)
			last = runs.State()
			if w.Number == NoNumber {
				return nil
			}
			c := w.Counts.Clone()
			c.Ledger = Ledger{}
			k := int64(w.Epoch)<<40 + w.Number
			if _, there := got[k]; there != (w.Revision > 0) || w.Revision > 0 && w.Revision != revisions[k]+1 {
				t.Errorf("seed %d: window %d comes with revision %d, was there %v", seed, w.Number, w.Revision, there)
			}
			if w.Complete != (len(w.Missing) == 0) {
				t.Errorf("seed %d: window %d: complete %v, missing %v", seed, w.Number, w.Complete, w.Missing)
			}
			missing += len(w.Missing)
			got[k], revisions[k] = c, w.Revision
			return nil
		}
		runs.Emit = emit
		next := make([]int, n)
		feed := func(k int) {
			if next[k] == len(lanes[k]) {
				return
			}
			l := lanes[k][next[k]]
			next[k]++
			if err := runs.Add(back(l)); err != nil {
				t.Fatalf("seed %d: lane %d, line %d: %v", seed, k+1, next[k]-1, err)
			}
		}
		takeOver := func() {
			if last == nil {
				return
			}
			text := appendMergeState(nil, last)
			state, err := parseMergeState(text[len(`, "Merge": `):])
			if err != nil || string(appendMergeState(nil, state)) != string(text) {
				t.Fatalf("%v: %+v, want %s", err, state, text)
			}
			runs = &Runs{Patience: time.Minute}
			runs.Emit = emit
			runs.TakeUp(state)
			from := make([]uint64, n) // a partition of which nothing had come is read from its beginning
			for _, p := range state.Places {
				from[p.Partition] = p.Offset
			}
			for k := range lanes {
				for i := int(from[k]); i < next[k]; i++ {
					if err := runs.Add(back(lanes[k][i])); err != nil && err != ErrDouble { //nolint:errorlint // it is never wrapped
						t.Fatalf("seed %d: lane %d, line %d again: %v", seed, k+1, i, err)
					}
				}
			}
		}
		silent := 1 + r.IntN(2) // the first ones
		for range n * len(lanes[n-1]) {
			feed(silent + r.IntN(n-silent))
			switch r.IntN(6) {
			case 0:
				feed(r.IntN(silent))
			case 1, 2:
				for k := range lanes {
					if k >= silent {
						for name := range runs.runs {
							runs.runs[name].merger.Heard(k+1, time.Now().Add(2*time.Minute))
						}
					}
				}
				if _, err := runs.Overdue(time.Now().Add(2 * time.Minute)); err != nil {
					t.Fatal(err)
				}
			case 3:
				takeOver()
			}
		}
		for k := range lanes {
			for range lanes[k] {
				feed(k)
				if r.IntN(10) == 0 {
					takeOver()
				}
			}
		}
		all += missing
		if len(got) != len(want) {
			t.Errorf("seed %d: %d windows, want %d", seed, len(got), len(want))
		}
		for k, w := range want {
			if got[k] == nil {
				t.Errorf("seed %d: no window %d", seed, k)
				continue
			}
			for f := range w.FPGA {
				if set.fpgaMask()>>f&1 == 0 {
					w.FPGA[f] = FPGA{Last: -1} // not in a line
				}
			}
			a, b := *got[k], *w
			if a.Total() != b.Total() || !reflect.DeepEqual(a.Trigger, b.Trigger) || !reflect.DeepEqual(a.FPGA, b.FPGA) || !reflect.DeepEqual(a.Spans, b.Spans) {
				t.Errorf("seed %d: window %d is another one: %d hits, want %d", seed, k, a.Total(), b.Total())
			}
		}
		if !reflect.DeepEqual(written, read) {
			t.Errorf("seed %d: ledgers %+v, read were %+v", seed, written, read)
		}
	}
	if all < 100 {
		t.Errorf("only %d times a lane was missing", all)
	}
}

// linkAt is a partial line with one hit that comes from a place, a link of its lane's chain: its number-th record.
func linkAt(t *testing.T, set *Settings, k, n int, window int64, number uint64) *Line {
	t.Helper()
	l := lineAt(t, set, "run", k, n, window)
	l.Counts.Ledger = Ledger{Read: 1, Hits: 1}
	l.Lanes = []LaneSource{{Run: "run", K: uint32(k), N: uint32(n), First: number, Next: number + 1}}
	l.From = &From{"P", int64(k), int64(number)}
	return l
}

// Windows that were written without a lane are kept within bounds, as many as a line may name. What comes for one that is kept no more is set aside; also by the merge that
// takes over. What had come for one before that is in a line.
func TestOpenWindowsAreBounded(t *testing.T) {
	set := oneChamber(t)
	var last *MergeState
	windows, hits, ledger := map[[2]int64]bool{}, int64(0), Ledger{}
	runs := &Runs{Patience: time.Minute}
	emit := func(w Window) error {
		ledger.Add(&w.Counts.Ledger)
		if name := [2]int64{w.Number, w.Revision}; w.Number != NoNumber {
			if windows[name] {
				t.Fatalf("window %d is written twice with revision %d", w.Number, w.Revision)
			}
			windows[name] = true
		}
		hits += w.Counts.Ledger.Hits
		if last = runs.State(); len(last.Runs) > 0 && len(last.Runs[0].Open) >= maxWaiting {
			if _, err := parseMergeState(appendMergeState(nil, last)[len(`, "Merge": `):]); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	}
	runs.Emit = emit
	add := func(k int, window int64, number uint64) {
		if err := runs.Add(linkAt(t, set, k, 3, window, number)); err != nil {
			t.Fatal(err)
		}
	}
	overdue := func(after time.Duration) {
		runs.runs["run"].merger.Heard(1, time.Now().Add(after))
		if _, err := runs.Overdue(time.Now().Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	const n = maxWaiting + 50
	for i := range int64(n) {
		add(1, i, uint64(i))
		switch i {
		case n / 2:
			overdue(2 * time.Minute)
			add(2, 0, 0) // is back, for a window that waits for the third lane
		case n - 1:
			overdue(2 * time.Minute)
		}
	}
	if open := runs.runs["run"].merger.open(); open != maxWaiting {
		t.Errorf("%d windows are open, want %d", open, maxWaiting)
	}
	if hits != n+1 {
		t.Errorf("%d hits are written, want %d", hits, n+1)
	}
	next := &Runs{Patience: time.Minute, Emit: emit}
	next.TakeUp(last)
	runs = next
	add(3, 5, 0) // given up
	add(1, n, n)
	add(2, n, 1)
	add(3, n, 1)
	if want := int64(1); ledger.SetAside["dthist --merge"]["too late for its window"] != want {
		t.Errorf("ledger %+v, want %d too late", ledger, want)
	}
	if ledger.Read != n+5 || hits != n+4 {
		t.Errorf("%d read, %d hits are written", ledger.Read, hits)
	}
}

// A run does not end before the windows are read again that were open when it was taken up; and lanes that are silent are not waited for by lines of whole runs.
func TestOpenWindowsOfARunThatEnds(t *testing.T) {
	set := oneChamber(t)
	var out []Window
	var last *MergeState
	runs := &Runs{Patience: time.Minute}
	emit := func(w Window) error {
		last = runs.State()
		w.Counts = w.Counts.Clone()
		out = append(out, w)
		return nil
	}
	end := func(k int, number uint64) *Line {
		return &Line{Progress: true, End: true, Complete: true, Lane: [2]int{k, 2}, Window: WindowInfo{Run: "run"}, Counts: &Counts{Set: set},
			Lanes: []LaneSource{{Run: "run", K: uint32(k), N: 2, First: number, Next: number}}, From: &From{"P", int64(k), int64(number)}}
	}
	add := func(l *Line) {
		if err := runs.Add(l); err != nil && err != ErrDouble { //nolint:errorlint // it is never wrapped
			t.Fatal(err)
		}
	}
	runs.Emit = emit
	add(linkAt(t, set, 1, 2, 7, 0))
	add(end(1, 1))
	if _, err := runs.Overdue(time.Now().Add(2 * time.Minute)); err != nil || len(out) != 1 {
		t.Fatalf("%d windows, %v", len(out), err)
	}
	state := last
	runs = &Runs{Patience: time.Minute, Emit: emit}
	runs.TakeUp(state)
	add(linkAt(t, set, 2, 2, 7, 0))
	add(end(2, 1))
	add(linkAt(t, set, 1, 2, 7, 0))
	add(end(1, 1))
	if len(out) != 3 || out[1].Revision != 1 || !out[1].Complete || out[1].Counts.Ledger.Hits != 1 || out[2].Number != NoNumber {
		t.Errorf("%+v", out)
	}

	out = nil
	runs = &Runs{Patience: time.Minute, Emit: emit}
	whole := lineAt(t, set, "whole", 1, 1, 3)
	whole.Lane = [2]int{}
	add(whole)
	if next, err := runs.Overdue(time.Now().Add(time.Hour)); err != nil || !next.IsZero() || len(out) > 0 {
		t.Errorf("%d windows of whole runs are written before the end; %v", len(out), err)
	}
}
