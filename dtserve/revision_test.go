package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dt/internal/hist"
)

// merged returns the lines of a run of two lanes: with lane 2 silent until all of lane 1 has come, and waited for.
func merged(t *testing.T, windows int64) (early, again, undisturbed [][]byte) {
	t.Helper()
	var lanes [2][][]byte
	for k := range lanes {
		s := newSource("r")
		for i := range windows {
			l, err := hist.ParseLine(s.line(i))
			if err != nil {
				t.Fatal(err)
			}
			l.Lane = [2]int{k + 1, 2}
			l.Lanes[0].K, l.Lanes[0].N = uint32(k+1), 2
			lanes[k] = append(lanes[k], l.Append(nil))
		}
	}
	index := time.Now().UnixMicro() - 1e9
	merge := func(patience time.Duration, to *[][]byte) *hist.Runs {
		return &hist.Runs{Patience: patience, Emit: func(w hist.Window) error {
			l := w.Line()
			index++
			l.Index, l.Node = index, "m"
			*to = append(*to, l.Append(nil))
			return nil
		}}
	}
	add := func(r *hist.Runs, text []byte) {
		l, err := hist.ParseLine(text)
		if err == nil {
			err = r.Add(l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	whole := merge(0, &undisturbed)
	var all [][]byte
	waiting := merge(time.Second, &all)
	for i := range windows {
		add(whole, lanes[0][i])
		add(whole, lanes[1][i])
		add(waiting, lanes[0][i])
	}
	if _, err := waiting.Overdue(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, text := range lanes[1] {
		add(waiting, text)
	}
	if len(all) != 2*int(windows) || len(undisturbed) != int(windows) {
		t.Fatalf("%d lines, and %d undisturbed", len(all), len(undisturbed))
	}
	return all[:windows], all[windows:], undisturbed
}

// looks is what a server shows, but for when it came.
func (b *bench) looks() map[string]any {
	b.t.Helper()
	var state map[string]any
	if err := json.Unmarshal([]byte(body(b.get("/api/state"))), &state); err != nil {
		b.t.Fatal(err)
	}
	var forget func(v any)
	forget = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range []string{"Arrived", "Revised", "Revision", "Revised_From", "Alarms", "Checks"} {
				delete(v, key)
			}
			for _, in := range v {
				forget(in)
			}
		case []any:
			for _, in := range v {
				forget(in)
			}
		}
	}
	out := map[string]any{}
	for _, key := range []string{"Window", "Recent", "Whole", "Id", "Kept", "Oldest", "Run"} {
		forget(state[key])
		out[key] = state[key]
	}
	delete(out["Run"].(map[string]any), "Since")
	return out
}

// counted returns what the metrics say of what was read.
func (b *bench) counted() string {
	b.t.Helper()
	list := regexp.MustCompile(`(?m)^dt_(hits|triggers|ledger|windows|pending|rate)[^\n]*$`).FindAllString(body(b.get("/metrics")), -1)
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// Windows that were written without a lane, and come again with it, end as if it had never been silent.
func TestRevisions(t *testing.T) {
	early, again, undisturbed := merged(t, 40)
	want := newBench(t)
	want.give(undisturbed...)
	want.settle()

	log := filepath.Join(t.TempDir(), "log")
	b := newBench(t)
	c := b.listenTo()
	if err := b.piped(append(bytes.Join(early, []byte("\n")), '\n'), log); err != nil {
		t.Fatal(err)
	}
	b.settle()
	var state struct {
		ID, Revised   int
		RevisedFrom   int `json:"Revised_From"`
		Window, Whole struct {
			Span struct {
				Complete, Incomplete, Revised, Revision, Lanes int
				Missing                                        []int
			}
		}
		Rows [][]any
	}
	see := func(text string) {
		t.Helper()
		state.Whole.Span.Missing, state.Rows = nil, nil
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			t.Fatal(err)
		}
	}
	see(body(b.get("/api/state")))
	if s := state.Whole.Span; state.Revised != 0 || s.Complete != 0 || s.Incomplete != 40 || s.Revised != 0 || !slices.Equal(s.Missing, []int{2}) || s.Lanes != 2 {
		t.Errorf("%+v", s)
	}
	for state.ID = 0; state.ID < 40; {
		see(c.nextState().data)
	}
	sum := b.get("/api/windows?from=5&to=5")
	tag := sum.Header.Get("ETag")

	// Each of them, and who has an older one is told.
	b.give(again...)
	b.give(again[3], early[7])
	told := map[int]bool{}
	for from := 0; len(told) < 40; from = state.Revised {
		see(c.nextState().data)
		if state.RevisedFrom != from || state.ID != 40 {
			t.Fatalf("revisions from %d, not %d; window %d", state.RevisedFrom, from, state.ID)
		}
		for _, row := range state.Rows {
			told[int(row[0].(float64))] = true
			if n := len(row); row[n-3] != 1.0 || len(row[n-1].([]any)) != 0 {
				t.Errorf("%v", row)
			}
		}
	}
	if s := state.Whole.Span; state.Revised != 40 || s.Complete != 1 || s.Incomplete != 0 || s.Revised != 40 || s.Revision != 1 || s.Missing != nil {
		t.Errorf("%+v", s)
	}
	compare := func(what string, b *bench) {
		t.Helper()
		got, want := b.looks(), want.looks()
		for key := range want {
			x, _ := json.Marshal(got[key])
			if y, _ := json.Marshal(want[key]); !bytes.Equal(x, y) {
				t.Errorf("%s, %s:\n%s\n%s", what, key, x, y)
			}
		}
	}
	compare("live", b)
	if x, y := b.counted(), want.counted(); x != y {
		t.Errorf("%s\n\n%s", x, y)
	}
	if got := b.metrics.revised.Get(); got != 40 || b.metrics.doubled.Get() != 2 {
		t.Errorf("%d revised, %d doubled", got, b.metrics.doubled.Get())
	}
	if a := b.get("/api/windows?from=5&to=5", "If-None-Match: "+tag); a.StatusCode != 200 || !strings.Contains(body(a), `"Revision": 1`) {
		t.Errorf("%d %.100s", a.StatusCode, body(a))
	}
	table, err := csv.NewReader(b.get("/api/trend?format=csv").Body).ReadAll()
	if err != nil || len(table) != 41 || !slices.Equal(table[1][len(table[1])-3:], []string{"1", "2", ""}) || len(table[0]) != len(table[1]) {
		t.Errorf("%v, %d rows: %v", err, len(table), table[1])
	}
	if text := body(b.get("/api/run")); !strings.Contains(text, `"Windows":40,"Revised":40,`) {
		t.Error(text)
	}
	// A client that comes back and has the newest window may not have the revisions.
	back := b.listenTo("Last-Event-ID: 40")
	if see(back.nextState().data); state.Revised != 40 {
		t.Errorf("%+v", state)
	}
	b.stop()
	if err := b.log.Close(); err != nil {
		t.Fatal(err)
	}

	// So it is after a restart.
	after := newBench(t)
	if err := after.piped(append(bytes.Join(again[:3], []byte("\n")), '\n'), log); err != nil {
		t.Fatal(err)
	}
	after.settle()
	until(t, "the log is shown", func() bool { return after.shown.Load().change == 40 })
	compare("from the log", after)
	if after.metrics.doubled.Get() != 3 || after.metrics.revised.Get() != 0 {
		t.Errorf("%d doubled, %d revised", after.metrics.doubled.Get(), after.metrics.revised.Get())
	}
	if err := after.log.Close(); err != nil {
		t.Fatal(err)
	}

	// As a reference, too.
	file := write(t, "ref.jsonl", string(bytes.Join(slices.Concat(early, again, early[:2]), []byte("\n"))), 0o644)
	ref, err := readReference(file)
	if err != nil || ref.sum.Counts.Total() != want.history.Whole().Counts.Total() || ref.sum.Counts.Ledger.Read != want.history.Whole().Counts.Ledger.Read {
		t.Errorf("%v", err)
	}
}

// A revision of a window that is no longer kept is told; its ledger counts.
func TestRevisionTooLate(t *testing.T) {
	early, again, _ := merged(t, 60)
	b := newBench(t, "--history", "20")
	b.give(early...)
	read := b.history.Whole().Counts.Ledger.Read
	b.give(again[2])
	b.settle()
	sum := b.history.Whole()
	if l := sum.Counts.Ledger; l.Read <= read || l.Off() != 0 || sum.Windows != 60 || sum.Revised != 0 {
		t.Errorf("%d words read, %d before, in %d windows", l.Read, read, sum.Windows)
	}
	if b.bad.count != 1 || !strings.Contains(b.said.String(), "no longer kept; only its ledger is counted") {
		t.Errorf("%+v\n%s", b.bad, b.said.String())
	}
	b.give(again[2])
	if n := b.history.Whole().Counts.Ledger.Read; n != sum.Counts.Ledger.Read || b.metrics.doubled.Get() != 1 {
		t.Errorf("%d words read, %d before", n, sum.Counts.Ledger.Read)
	}
}
