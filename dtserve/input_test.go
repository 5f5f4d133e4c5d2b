package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dt/internal/hist"
	"dt/internal/wire"
)

// Bad lines are counted, told and skipped, and what is told of many is little.
func TestBadLines(t *testing.T) {
	b, src := newBench(t), newSource("r")
	var input []byte
	for i := range int64(10) {
		input = append(append(input, src.line(i)...), '\n')
		for range 100 {
			input = append(input, "{\"Index\": \x1b[31m<script>\n"...)
		}
	}
	if err := b.piped(input, ""); err != nil {
		t.Fatal(err)
	}
	b.settle()
	if b.history.Len() != 10 {
		t.Errorf("%d windows", b.history.Len())
	}
	said := b.said.String()
	if n := strings.Count(said, "\n"); n < 2 || n > 5 {
		t.Errorf("%d messages:\n%s", n, said)
	}
	if !strings.Contains(said, "dtserve: standard input:2: ") || strings.ContainsRune(said, 0x1b) {
		t.Errorf("%q", said)
	}
	var state struct {
		Bad_Lines struct {
			Count int
			Last  string
			At    float64
		}
	}
	until(t, "it is shown", func() bool {
		text := body(b.get("/api/state"))
		if strings.ContainsAny(text, "<>\x1b") {
			t.Fatalf("%.300s", text)
		}
		return json.Unmarshal([]byte(text), &state) == nil && state.Bad_Lines.Count == 1000
	})
	if state.Bad_Lines.At == 0 || !strings.HasPrefix(state.Bad_Lines.Last, "line 1010: ") {
		t.Errorf("%+v", state)
	}
}

// Whatever stands in the text fields of a line stays text.
func TestHostileLine(t *testing.T) {
	evil := "<script>alert(1)</script>&\"'\u2028"
	b, src := newBench(t), newSource(evil)
	src.place = evil
	line := src.line(0)
	line = []byte(strings.Replace(string(line), `"Node": "node"`, `"Node": "<img src=x onerror=alert(1)>"`, 1))
	line = []byte(strings.Replace(string(line), `"Set_Aside": {`, `"Set_Aside": {"<b>": {"</script>": 0}`, 1))
	b.give(line)
	b.settle()
	if b.history.Len() != 1 {
		t.Fatal(b.said.String())
	}
	c := b.listenTo()
	c.next()
	for path, text := range map[string]string{
		"/events": c.next().data, "/api/state": body(b.get("/api/state")), "/api/sum": body(b.get("/api/sum")), "/api/run": body(b.get("/api/run")),
		"/api/trend": body(b.get("/api/trend")), "/metrics": body(b.get("/metrics")),
	} {
		if strings.Contains(text, "<script") || strings.Contains(text, "<img") || strings.Contains(text, "</script") {
			t.Errorf("%s has it as it is", path)
		}
	}
	var state struct {
		Run    struct{ Name string }
		Window struct{ Source struct{ Node string } }
	}
	if err := json.Unmarshal([]byte(body(b.get("/api/state"))), &state); err != nil || state.Run.Name != evil || !strings.HasPrefix(state.Window.Source.Node, "<img") {
		t.Errorf("%v %+v", err, state)
	}
}

// What is not result lines is refused with what to do.
func TestOtherInput(t *testing.T) {
	b := newBench(t)
	for input, says := range map[string]string{
		"2,0,5,617000,100,3\n2,0,5,617000,100,3\n": "input is CSV, not result lines (hint: dtcat FILE | dtfilter | dthist | dtserve)",
		`{"HEAD": 2, "FPGA": 0}` + "\n":            "input is JSON lines of words, not result lines (hint: ",
		"\x1f\x8b\x08\x00":                         "input is gzip, not result lines (hint: zcat FILE | dtserve)",
		"":                                         "input is empty, no result lines (hint: did the program before this one fail?)",
	} {
		if err := b.piped([]byte(input), ""); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%.20q: %v", input, err)
		}
	}
	// A line whose beginning is missing is a bad line, though it may look like CSV.
	if err := b.piped(append([]byte("0,3,0,5],\n"), newSource("r").line(0)...), ""); err != nil || b.history.Len() != 1 {
		t.Errorf("%v, %d windows", err, b.history.Len())
	}
	var stream bytes.Buffer
	out := wire.NewWriter(&stream)
	if err := errors.Join(out.Preamble(), out.Flush()); err != nil {
		t.Fatal(err)
	}
	var fatal *fatalError
	if err := b.piped(stream.Bytes(), ""); !errors.As(err, &fatal) || err.Error() != "input is a hit stream, not result lines (hint: … | dthist | dtserve)" {
		t.Error(err)
	}
}

// A restart with the same log has its history back; ids go on, and what the metrics counted does not come twice.
func TestLogRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run.log")
	src := newSource("r")
	var lines [][]byte
	for i := range int64(6) {
		lines = append(lines, src.line(i))
	}
	feed := func(list ...[]byte) *bench {
		b := newBench(t)
		var input []byte
		for _, l := range list {
			input = append(append(input, l...), '\n')
		}
		if err := b.piped(append(input, "bad\n"...), file); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.stop()
		if err := b.log.Close(); err != nil {
			t.Fatal(err)
		}
		return b
	}
	feed(lines[:3]...)
	b := feed(lines[2:]...) // one is there already
	if n := b.history.Newest(); n.ID != 6 || b.history.Len() != 6 {
		t.Errorf("%d windows, the newest is %d", b.history.Len(), n.ID)
	}
	for i, want := range lines {
		if text, err := b.history.Text(int64(i + 1)); err != nil || string(text) != string(want) {
			t.Errorf("window %d: %v %.80s", i+1, err, text)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Count(string(text), "\n") != 6 {
		t.Errorf("%v, %d lines in the log", err, strings.Count(string(text), "\n"))
	}
	if got := b.metrics.windows.Get(); got != 3 {
		t.Errorf("%d windows counted", got)
	}
	// The windows of the log came when they did.
	if w := b.history.Windows(1, 1)[0]; time.Since(time.UnixMicro(w.Arrived)) < time.Minute {
		t.Errorf("window 1 came at %v", time.UnixMicro(w.Arrived))
	}
}

// The lines of lanes are put together as they come.
func TestPartialLines(t *testing.T) {
	whole := newSource("r")
	b := newBench(t)
	var input []byte
	want := int64(0)
	for i := range int64(3) {
		for k := range 2 {
			l, err := hist.ParseLine(whole.line(i))
			if err != nil {
				t.Fatal(err)
			}
			l.Lane = [2]int{k + 1, 2}
			l.Lanes[0].K, l.Lanes[0].N = uint32(k+1), 2
			want += l.Counts.Total()
			input = append(l.Append(input), '\n')
		}
	}
	// Those that come again when the run has been let go are known.
	for range 2 {
		if err := b.piped(input, ""); err != nil {
			t.Fatal(err)
		}
	}
	b.settle()
	if b.history.Len() < 3 || b.said.String() == "" {
		t.Fatalf("%d windows\n%s", b.history.Len(), b.said.String())
	}
	if sum := b.history.Whole(); sum.Counts.Total() != want || sum.Windows != 3 {
		t.Errorf("%d hits in %d windows, the lines have %d", sum.Counts.Total(), sum.Windows, want)
	}
}

// A line with only the first published pipeline's keys shows what there is.
func TestBareLines(t *testing.T) {
	b := newBench(t)
	var line strings.Builder
	line.WriteString(`{"Index": 1700000000.5, "Total Count": 12`)
	for i := range 4 {
		fmt.Fprintf(&line, `, "Chamber_%d": {"Count": 3, "Hist_1": {"Bins": [0, 5, 10], "Counts": [1, 2, 0]}, "Hist_2": {"Bins": [600000, 1100000], "Counts": [3, 0]}, "Hist_3": {"Bins": [0, 5, 10], "Counts": [0, 1, 0]}, "Hist_4": {"Bins": [0, 10, 20], "Counts": [0, 1, 0]}}`, i+1)
	}
	line.WriteString("}")
	b.give([]byte(line.String()))
	if b.history.Len() != 1 {
		t.Fatal(b.said.String())
	}
	b.settle()
	var state struct {
		Window struct {
			Bare, Total int
			Chambers    []map[string]any
			Trigger     any
		}
	}
	text := body(b.get("/api/state"))
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		t.Fatal(err, text)
	}
	w := state.Window
	if w.Bare != 1 || w.Total != 12 || len(w.Chambers) != 4 || w.Chambers[0]["Count"] != 3.0 || w.Chambers[0]["Occupancy"] != nil || w.Trigger != nil {
		t.Errorf("%+v", w)
	}
	if h := w.Chambers[0]["Hist_1"].(map[string]any)["Counts"].([]any); len(h) != 2 || h[1] != 2.0 {
		t.Errorf("%v", h)
	}
	if csv := body(b.get("/api/sum?format=csv")); !strings.Contains(csv, "Chamber_1.Hist_1,5,10,2\n") || strings.Contains(csv, "Occupancy") {
		t.Error(csv)
	}
}

// A reference is the lines of a file, added up.
func TestReference(t *testing.T) {
	src := newSource("then")
	var file []byte
	for i := range int64(5) {
		file = append(append(file, src.line(i)...), '\n')
	}
	b := newBench(t, "--reference", write(t, "ref.jsonl", string(file), 0o644))
	var view struct {
		Total int64
		Span  struct {
			Windows int
			Run     string
		}
	}
	a := b.get("/api/reference")
	if err := json.Unmarshal([]byte(body(a)), &view); err != nil || view.Total != b.ref.sum.Counts.Total() || view.Span.Windows != 5 || view.Span.Run != "then" {
		t.Errorf("%v %+v", err, view)
	}
	if state := body(b.get("/api/state")); !strings.Contains(state, `"Reference":{"Name":"ref.jsonl","Digest":"`) {
		t.Errorf("%.300s", state)
	}
	for content, says := range map[string]string{"": "no result lines", "x\n": ":1: "} {
		if _, err := readReference(write(t, "bad.jsonl", content, 0o644)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// Hist_2 with bins of a second has few bins in a state, and the same sum.
func TestThinHist2(t *testing.T) {
	for _, bins := range []int{1, 10, 240, 241, 1000, 30000} {
		for _, lo := range []int64{0, 7, 1000} {
			set := hist.NewSettings(nil)
			set.Auto = 100
			c := hist.NewCounts(set)
			c.Spans = []hist.Span{{Run: "r", First: lo * 100, Last: (lo+int64(bins))*100 - 1, Live: [][2]int64{{lo * 100, (lo+int64(bins))*100 - 1}}}}
			c.AutoLo = lo
			for i := range bins {
				c.Chambers[0].Hist2.Counts = append(c.Chambers[0].Hist2.Counts, int64(i%7))
			}
			a, h := c.Hist2(0)
			var d doc
			d.open('{')
			hist2(&d, &a, &h, thinTo, 100)
			d.close('}')
			var got struct {
				Hist_2 struct {
					Axis   [3]int64
					Counts []int64
				}
			}
			if err := json.Unmarshal(d.b, &got); err != nil {
				t.Fatal(err, string(d.b))
			}
			x := got.Hist_2
			var want, sum int64
			for _, n := range h.Counts {
				want += n
			}
			for _, n := range x.Counts {
				sum += n
			}
			if sum != want || x.Axis[2] > thinTo || x.Axis[0]%x.Axis[1] != 0 && bins > thinTo || x.Axis[0] > lo*100 || x.Axis[0]+x.Axis[1]*x.Axis[2] < (lo+int64(bins))*100 {
				t.Errorf("%d bins from %d: %v, %d of %d", bins, lo, x.Axis, sum, want)
			}
		}
	}
}

// Everything that is written is JSON that means the same.
func FuzzString(f *testing.F) {
	f.Add("a<b>&\u2028\x00\xff\"\\")
	f.Fuzz(func(t *testing.T, s string) {
		b := appendString(nil, s)
		var back string
		if err := json.Unmarshal(b, &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && strings.ToValidUTF8(s, "") == s {
			t.Errorf("%q: %v, %q", s, err, back)
		}
		if strings.ContainsAny(string(b), "<>&\n\r\u2028\u2029") {
			t.Errorf("%s", b)
		}
	})
}

// No line whatever stops the server, and what it shows stays JSON.
func FuzzLine(f *testing.F) {
	src := newSource("r")
	f.Add(src.line(0))
	f.Add([]byte(`{"Index": 1, "Total Count": 0}`))
	b := newBench(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		b.give(text)
		for _, state := range [][]byte{b.fullState(), b.now().text[strings.Index(string(b.now().text), "{"):]} {
			if !json.Valid(state) {
				t.Fatalf("%s", state)
			}
		}
	})
}

// What a window costs from its line to the text of its event, at the end of ten minutes.
func BenchmarkWindow(b *testing.B) {
	src := newSource("r")
	s := newBench(b)
	var lines [][]byte
	for i := range int64(600) {
		lines = append(lines, src.line(i))
	}
	s.give(lines...)
	var more [][]byte
	for i := range int64(b.N) {
		more = append(more, src.line(600+i))
	}
	b.ResetTimer()
	for _, text := range more {
		l, err := hist.ParseAny(text)
		if err == nil {
			err = s.line(l, text, 0, true)
		}
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(s.snapshot().body)))
	}
}

// What taking a line costs.
func BenchmarkLine(b *testing.B) {
	src := newSource("r")
	s := newBench(b)
	var lines [][]byte
	for i := range int64(b.N) {
		lines = append(lines, src.line(i))
	}
	b.ResetTimer()
	for _, text := range lines {
		l, err := hist.ParseAny(text)
		if err == nil {
			err = s.line(l, text, 0, true)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
