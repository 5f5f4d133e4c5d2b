package hist

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// A lane that is silent holds nothing back for longer than Patience; when it is back its windows come again, whole, also if another merge has taken over in between. Ledgers add
// up over all lines.
func TestPatience(t *testing.T) {
	all := 0
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 12))
		set := testSettings(t, r)
		events := randomEvents(r)
		want := map[int64]*Counts{}
		for _, w := range collect(t, set, events) {
			w.Counts.Ledger = Ledger{}
			want[int64(w.Epoch)<<40+w.Number] = w.Counts
		}
		lanes := laneLines(t, r, set, events, "demo", 3)
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
		next := [3]int{}
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
			for _, p := range state.Places {
				for i := int(p.Offset); i < next[p.Partition]; i++ {
					if err := runs.Add(back(lanes[p.Partition][i])); err != nil && err != ErrDouble { //nolint:errorlint // it is never wrapped
						t.Fatalf("seed %d: lane %d, line %d again: %v", seed, p.Partition+1, i, err)
					}
				}
			}
		}
		silent := r.IntN(3)
		for range 2 * len(lanes[0]) {
			feed((silent + 1 + r.IntN(2)) % 3)
			switch r.IntN(6) {
			case 0:
				feed(silent)
			case 1, 2:
				for k := range lanes {
					if k != silent {
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
