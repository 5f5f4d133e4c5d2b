package hist

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// bareLine is what the first published pipeline writes, with few bins.
const bareLine = `{"Index": 1700000000.1234567, "Total Count": 9,` +
	` "Chamber_1": {"Count": 5, "Hist_1": {"Bins": [0, 5, 10], "Counts": [1, 0, 4]}, "Hist_2": {"Bins": [600000, 1100000], "Counts": [2, 3]},` +
	` "Hist_3": {"Bins": [0, 5, 10], "Counts": [0, 0, 2]}, "Hist_4": {"Bins": [0.0, 2.5], "Counts": [7, 1]}},` +
	` "Chamber_2": {"Count": 4, "Hist_1": {"Bins": [0, 5, 10], "Counts": [4, 0, 0]}}}`

func TestParseBare(t *testing.T) {
	if _, err := ParseLine([]byte(bareLine)); err == nil || !strings.Contains(err.Error(), "no Underflow") {
		t.Errorf("ParseLine: %v", err)
	}
	l, err := ParseAny([]byte(bareLine))
	if err != nil {
		t.Fatal(err)
	}
	c := l.Counts
	if !l.Bare || !c.Bare() || l.Progress || l.Complete || l.Window.Number != NoNumber || c.Set.Clock != "" || len(l.Other) != 0 {
		t.Errorf("%+v", l)
	}
	if l.Index != 1_700_000_000_123_457 || c.Total() != 9 || c.Chambers[0].Hits() != 5 || c.Chambers[1].Hits() != 4 || c.LiveSeconds() != 0 {
		t.Errorf("Index %d, %d hits: %d and %d", l.Index, c.Total(), c.Chambers[0].Hits(), c.Chambers[1].Hits())
	}
	if h := c.Hist1(0); !reflect.DeepEqual(h, Hist{Counts: []int64{1, 0, 4}}) {
		t.Errorf("Hist_1: %+v", h)
	}
	if a, h := c.Hist2(0); a.Bins() != 2 || a.Edge(0) != 600_000 || a.Edge(1) != 1_100_000 || !slices.Equal(h.Counts, []int64{2, 3}) {
		t.Errorf("Hist_2: %+v %+v", a, h)
	}
	if a, h := &c.Set.Hist4, c.Chambers[0].Hist4; a.Bins() != 2 || a.Edge(1) != 75 || !slices.Equal(h.Counts, []int64{7, 1}) {
		t.Errorf("Hist_4: %+v %+v", a, h)
	}
	if h := c.Hist3(1); h.Counts != nil {
		t.Errorf("Hist_3 of chamber 2, which is missing: %+v", h)
	}
	if _, h := c.Hist2(1); h.Counts != nil {
		t.Errorf("Hist_2 of chamber 2, which is missing: %+v", h)
	}
	if d := c.Set.Digest(); len(d) != 16 || strings.Trim(d, "0123456789abcdef") != "" {
		t.Errorf("digest %q", d)
	}
	text := string(l.Append(nil))
	want := strings.NewReplacer("34567", "3457", ", ", ",").Replace(strings.ReplaceAll(bareLine, "0.0", "0"))
	if strings.ReplaceAll(text, ", ", ",") != want {
		t.Errorf("written:\n%s\nwant\n%s", text, want)
	}
	// Of new Counts, of a copy, and of another line with a histogram more.
	more, err := ParseAny([]byte(strings.Replace(bareLine, `"Counts": [4, 0, 0]}`, `"Counts": [4, 0, 0]}, "Hist_2": {"Bins": [600000, 1100000], "Counts": [8, 1]}`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, sum := range []*Counts{NewCounts(c.Set), c.Clone()} {
		was := sum.Total()
		for _, o := range []*Counts{c, more.Counts, c} {
			if err := sum.Add(o); err != nil {
				t.Fatal(err)
			}
		}
		n := 3 + was/9
		_, h2 := sum.Hist2(1)
		if sum.Total() != 9*n || sum.Chambers[0].Hits() != 5*n || !slices.Equal(sum.Hist1(0).Counts, []int64{n, 0, 4 * n}) || !slices.Equal(h2.Counts, []int64{8, 1}) ||
			sum.Chambers[0].Hist4.Counts[0] != 7*n {
			t.Errorf("sum: %+v", sum)
		}
	}
	if c.Total() != 9 || c.Chambers[1].Hist2.Counts != nil {
		t.Error("Add changed what it was given")
	}
	full := handLine(t).Counts
	if err := full.Add(c); err == nil || !strings.Contains(err.Error(), "do not add up") {
		t.Errorf("bare to full: %v", err)
	}
	if err := c.Add(full); err == nil {
		t.Error("full to bare")
	}
}

// Settings of bare lines are told from those of others with the same bins.
func TestBareDigest(t *testing.T) {
	l, err := ParseAny([]byte(bareLine))
	if err != nil {
		t.Fatal(err)
	}
	full := *l.Counts.Set
	full.bare, full.digest = false, ""
	if full.Digest() == l.Counts.Set.Digest() {
		t.Error("the digest is that of full lines")
	}
	digests := map[string]bool{l.Counts.Set.Digest(): true}
	for _, tt := range [][2]string{{"[0, 5, 10]", "[0, 6, 12]"}, {"[600000, 1100000]", "[0, 1100000]"}, {"[0.0, 2.5]", "[0, 2]"}, {`"Chamber_2"`, `"Chamber_0"`}} {
		o, err := ParseAny([]byte(strings.ReplaceAll(bareLine, tt[0], tt[1])))
		if err != nil {
			t.Fatal(err)
		}
		digests[o.Counts.Set.Digest()] = true
	}
	if len(digests) != 5 {
		t.Errorf("%d digests of 5 sorts of bins", len(digests))
	}
}

// What print writes of a dict.
func TestParsePython(t *testing.T) {
	want, err := ParseAny([]byte(bareLine))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`"`, "'", "[1, 0, 4]", "[1.0, 0.0, 4.0]", "600000", "600000.0", `"Total Count": 9`, `'Total Count': 9.0`).Replace(bareLine)
	text = strings.Replace(text, "{'Index'", `{"it's": None, 'a\'b\xe9\n': [True, 'x"y', 1e-05], 'Index'`, 1)
	if _, err := ParseAny([]byte(text)); err == nil {
		t.Error("the first quote is a double one, so it is JSON")
	}
	text = strings.Replace(text, `{"it's": None, `, `{'n': None, "it's": -1.5, `, 1)
	if got, err := ParseAny([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
	if _, err := ParseLine([]byte(text)); err == nil {
		t.Error("ParseLine takes a Python literal")
	}
	// A whole line, too.
	hand := handLine(t)
	python := strings.ReplaceAll(string(hand.Append(nil)), `"`, "'")
	if got, err := ParseAny([]byte(python)); err != nil || !bytes.Equal(got.Append(nil), hand.Append(nil)) {
		t.Errorf("whole line: %v", err)
	}
	for _, bad := range []string{"[1.5, 0, 4]", "[1, 0, 4,]", "[1, 0, nan]", "[1, 0, 1e1]", "(1, 0, 4)", "[1, 0, 04]", "[1, 0, true]"} {
		text := strings.Replace(strings.ReplaceAll(bareLine, `"`, "'"), "[1, 0, 4]", bad, 1)
		if _, err := ParseAny([]byte(text)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestParseAnyRefuses(t *testing.T) {
	for _, tt := range []struct{ old, new, want string }{
		{`"Index": 1700000000.1234567, `, ``, "no Index"},
		{`"Index": 1700000000.1234567`, `"Index": "now"`, `Index: "\"" where there should be a number`},
		{`"Index": 1700000000.1234567`, `"Index": 1e300`, "Index: too large"},
		{`"Total Count": 9,`, ``, "no Total Count"},
		{`"Total Count": 9`, `"Total Count": 9.0`, `Total Count: "9.0" is not a whole number`},
		{`"Chamber_1": {"Count": 5`, `"Chamber_1": {"Hits": 5`, "Chamber_1: no Count"},
		{`"Chamber_1": {"Count": 5`, `"Chamber_1": {"Count": -5`, "Chamber_1.Count: -5 is not within"},
		{`"Chamber_1": {"Count": 5`, `"Chamber_1": {"Count": 5, "Count": 5`, "Chamber_1: Count is there twice"},
		{`"Chamber_1": {"Count": 5`, `"Chamber_1": {"Late": 1, "Count": 5`, "Chamber_1.Hist_1: no Underflow"},
		{`"Chamber_1": {"Count": 5`, `"Chamber_1": {"Occupancy": [], "Count": 5`, "Chamber_1.Occupancy: 0 counts where there should be 64"},
		{`"Counts": [1, 0, 4]`, `"Counts": [1, 0, 4], "Underflow": 0`, "Chamber_1.Hist_1: no Overflow"},
		{`"Counts": [1, 0, 4]`, `"Counts": [1, 4]`, "Chamber_1.Hist_1: 2 counts where there should be 3"},
		{`"Counts": [1, 0, 4]`, `"Count": [1, 0, 4]`, "Chamber_1.Hist_1: no Counts"},
		{`"Counts": [1, 0, 4]`, `"Counts": [1, 0, -4]`, "Chamber_1.Hist_1.Counts: a count of -4"},
		{`"Counts": [1, 0, 4]`, `"Counts": [1, 0, 4.0]`, `Chamber_1.Hist_1.Counts: "4.0" is not a whole number`},
		{`"Bins": [0, 5, 10], "Counts": [1, 0, 4]`, `"Counts": [1, 0, 4]`, "Chamber_1.Hist_1: no Bins"},
		{`"Bins": [0, 5, 10]`, `"Bins": [0, 5, null]`, "Chamber_1.Hist_1.Bins: \"n\" where there should be a number"},
		{`"Chamber_2"`, `"Chamber_3"`, "no Chamber_2"},
		{`"Chamber_2"`, `"Chamber_1"`, "Chamber_1 is there twice"},
		{`"Chamber_2"`, `"Chamber_33"`, "Chamber_33: more than 32 chambers"},
		{`{"Index"`, `{"Complete": 1, "Index"`, "no Underflow"},
		{`{"Index"`, `{"Settings": "x", "Index"`, "16 hex digits"},
		{`{"Index"`, `{"Lane": [1,2], "Index"`, "no Underflow"},
		{`{"Index"`, `{"Progress": 1, "Index"`, "no Run"},
		{`{"Index"`, `{"a` + "\x01" + `": 1, "Index"`, "without control characters"},
		{`{"Index"`, `{"\x41": 1, "Index"`, "an escape"},
		{`{"Index"`, `{"x": 'y', "Index"`, `x: "'" where there should be a string`},
		{`{"Index"`, `{"x": tru, "Index"`, "x: \"t\" where there should be a value"},
		{`{"Index"`, `{"x": 01, "Index"`, "x: \"0\" where there should be a number"},
		{`{"Index"`, `{"x": [1,], "Index"`, "x: \"]\" where there should be a value"},
		{`{"Index"`, `{"x" 1, "Index"`, "where there should be a colon"},
		{`{"Index"`, `{"<b>%d": -, "Index"`, `"<b>%d": "-" where there should be a number`},
		{`{"Index"`, `{"x": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `, "Index"`, "more than 64 values in one another"},
		{`}}`, `}} x`, `"x" where there should be the end of the line`},
		{`}}`, `}`, "the line ends where there should be"},
	} {
		text := strings.Replace(bareLine, tt.old, tt.new, 1)
		if text == bareLine {
			t.Fatalf("%s is not in the line", tt.old)
		}
		if strings.HasSuffix(bareLine, tt.old) && tt.old == "}}" {
			text = strings.TrimSuffix(bareLine, tt.old) + tt.new
		}
		if _, err := ParseAny([]byte(text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.new, err, tt.want)
		}
	}
}

// A line that is not bare must have every key that Append always writes, and each just once; the order does not matter.
func TestParseLineKeys(t *testing.T) {
	hand := handLine(t)
	text := hand.Append(nil)
	progress := (&Line{Progress: true, Lane: [2]int{1, 2}, Window: WindowInfo{Run: "r"}, Counts: &Counts{Set: NewSettings(nil)}, Lanes: hand.Lanes}).Append(nil)
	for _, text := range [][]byte{text, progress} {
		var line map[string]any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		// By name, as json.Marshal writes them.
		sorted, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := ParseLine(sorted); err != nil || !bytes.Equal(l.Append(nil), text) {
			t.Fatalf("%v\n%s", err, sorted)
		}
		optional := []string{"Rate", "Last", "Start", "End", "Name", "Offset", "Number", "FPGA_0", "FPGA_1"}
		var try func(path string, object map[string]any)
		try = func(path string, object map[string]any) {
			for _, key := range slices.Sorted(maps.Keys(object)) {
				v := object[key]
				if strings.HasSuffix(path, "Set_Aside") || strings.HasSuffix(path, "dtfilter") {
					continue
				}
				delete(object, key)
				without, _ := json.Marshal(line)
				if l, err := ParseLine(without); err == nil && !slices.Contains(optional, key) {
					t.Errorf("without %s.%s: %+v", path, key, l)
				}
				object[key+"\u2028new"] = v
				object[key] = v
				if l, err := ParseLine(must(json.Marshal(line))); err != nil || !bytes.Equal(l.Append(nil), text) {
					t.Errorf("with something new beside %s.%s: %v", path, key, err)
				}
				delete(object, key+"\u2028new")
				object[key] = nil
				if l, err := ParseLine(must(json.Marshal(line))); err == nil && key != "Rate" && key != "Live" && key != "Start" && key != "End" && key != "Hits" {
					t.Errorf("null as %s.%s: %+v", path, key, l)
				}
				object[key] = v
				switch v := v.(type) {
				case map[string]any:
					try(path+"."+key, v)
				case []any:
					if len(v) > 0 {
						if object, ok := v[0].(map[string]any); ok {
							try(path+"."+key, object)
						}
					}
				}
			}
		}
		try("", line)
	}
	for _, tt := range [][2]string{{`"Complete": 1`, `"Complete": 1, "Complete": 1`}, {`"Late": 1,`, `"Late": 1, "Late": 1,`}, {`"HEAD": 2`, `"HEAD": 1, "HEAD": 1`},
		{`"Epoch": 1,`, `"Epoch": 1, "\u0045poch": 1,`}, {`"First": 0`, `"First": 0, "First": 0`}} {
		twice := strings.Replace(string(text), tt[0], tt[1], 1)
		if _, err := ParseLine([]byte(twice)); err == nil || !strings.Contains(err.Error(), "is there twice") {
			t.Errorf("%s: %v", tt[1], err)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestScanStrings(t *testing.T) {
	for text, want := range map[string]string{
		`"plain"`: "plain", `"\"\\\/\b\f\n\r\t"`: "\"\\/\b\f\n\r\t", `"\u00e9\uD83D\uDE00"`: "é😀", `"\ud83d"`: "\ufffd", `"\ud83d\u0041"`: "\ufffdA", `"\ude00x"`: "\ufffdx",
		"\"a\xff\xfeb\"": "a\ufffd\ufffdb", `""`: "", "\"\x7f\"": "\x7f",
	} {
		s := scanner{text: []byte(text)}
		got := s.str()
		s.end()
		var std string
		if err := json.Unmarshal([]byte(text), &std); s.err != nil || got != want || err != nil || std != want {
			t.Errorf("%s: %q, %v; want %q; encoding/json: %q, %v", text, got, s.err, want, std, err)
		}
	}
	for _, text := range []string{`"`, `"a`, `"\`, `"\u12"`, `"\u+123"`, `"\'"`, `"\x41"`, `'a'`, "\"\n\"", `a`, ``, `"` + strings.Repeat("a", maxString+1) + `"`} {
		s := scanner{text: []byte(text)}
		if got := s.str(); s.err == nil {
			t.Errorf("%.20s: %.20q", text, got)
		}
	}
	for text, want := range map[string]string{`'a"\'\x41\u00e9\U0001f600\\'`: `a"'Aé😀\`, `"it's"`: "it's"} {
		s := scanner{text: []byte(text), python: true}
		if got := s.str(); s.err != nil || got != want {
			t.Errorf("%s: %q, %v", text, got, s.err)
		}
	}
}

func TestScanNumbers(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "18446744073709551615": 1<<64 - 1, " 7": 7} {
		s := scanner{text: []byte(text)}
		if got := s.uint(); s.err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, s.err)
		}
	}
	for _, text := range []string{"-1", "-0", "18446744073709551616", "99999999999999999999999", "1.0", "1e3", "", "x", "00"} {
		s := scanner{text: []byte(text)}
		got := s.uint()
		if s.end(); s.err == nil {
			t.Errorf("%s: %d", text, got)
		}
	}
	for _, text := range []string{"[1,2,]", "[,1]", "[1 2]", "[1", "[", "1", "[01]", "[1.0]", "[-]", "[1e0]", "[9007199254740993]", "[9007199254740992,1,1]", "[1,2,3,4]", "[99999999999999999999999999999999999999999]", "{}"} {
		s := scanner{text: []byte(text)}
		if got, _ := s.counts(nil, 3); s.err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
	s := scanner{text: []byte("[ 1 , 20,300 , 0]")}
	if got, sum := s.counts(nil, 4); s.err != nil || sum != 321 || !slices.Equal(got, []int64{1, 20, 300, 0}) {
		t.Errorf("%v, %d, %v", got, sum, s.err)
	}
}

func TestOther(t *testing.T) {
	const h = `{"Bins": [-1.5, 0, 1e3], "Counts": [1, 2.0, 0], "Overflow": 4, "Title": "<script>"}`
	good := string(handLine(t).Append(nil))
	text := strings.Replace(good, `{"Index"`, `{"<b>": `+h+`, "Index"`, 1)
	text = strings.Replace(text, `"Chamber_1": {`, `"Chamber_1": {"Hist_9": `+h+`, `, 1)
	text = strings.Replace(text, `"FPGA_1": {`, `"FPGA_1": {"Hist_9": `+h+`, "More": {"Deep": `+h+`}, `, 1)
	text = strings.Replace(text, `"Ledger": {`, `"Ledger": {"H": `+h+`, `, 1)
	l, err := ParseAny([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, o := range l.Other {
		paths = append(paths, o.Path)
		if !slices.Equal(o.Bins, []float64{-1.5, 0, 1000}) || !reflect.DeepEqual(o.Hist, Hist{Counts: []int64{1, 2, 0}, Overflow: 4}) {
			t.Errorf("%+v", o)
		}
	}
	if want := []string{"<b>", "Chamber_1.Hist_9", "FPGA_1.Hist_9"}; !slices.Equal(paths, want) {
		t.Errorf("%q, want %q", paths, want)
	}
	if string(l.Append(nil)) != good {
		t.Error("the others are written")
	}
	if l, err = ParseLine([]byte(text)); err != nil || l.Other != nil {
		t.Errorf("ParseLine: %v, %v", l.Other, err)
	}
	many := func(n int, form string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, form, i)
		}
		return b.String()
	}
	for _, tt := range []struct {
		name, keys string
		n          int
	}{
		{"no histogram", `"a": {}, "b": {"Bins": [0]}, "c": {"Counts": [0]}, "d": [` + h + `], "e": 1, `, 0},
		{"unlike lengths", `"a": {"Bins": [0,1], "Counts": [0]}, `, 0},
		{"nothing in it", `"a": {"Bins": [], "Counts": []}, `, 0},
		{"not ascending", `"a": {"Bins": [0,0], "Counts": [0,0]}, "b": {"Bins": [1,0], "Counts": [0,0]}, `, 0},
		{"odd counts", `"a": {"Bins": [0], "Counts": [0.5]}, "b": {"Bins": [0], "Counts": [-1]}, "c": {"Bins": [0], "Counts": ["1"]}, "d": {"Bins": [0], "Counts": [1], "Overflow": -1}, `, 0},
		{"odd bins", `"a": {"Bins": [1e999], "Counts": [0]}, "b": {"Bins": [null], "Counts": [0]}, `, 0},
		{"twice", `"a": {"Bins": [0], "Counts": [0]}, "a": {"Bins": [0], "Counts": [1]}, `, 1},
		{"long name", `"` + strings.Repeat("a", 300) + `": {"Bins": [0], "Counts": [0]}, `, 0},
		{"65", many(65, `"h%d": {"Bins": [0], "Counts": [0]}, `), 64},
		{"100 000 bins", `"a": {"Bins": [-1` + many(99_999, ",%d") + `], "Counts": [0` + strings.Repeat(",0", 99_999) + `]}, `, 1},
		{"100 001 bins", `"a": {"Bins": [-1` + many(100_000, ",%d") + `], "Counts": [0` + strings.Repeat(",0", 100_000) + `]}, `, 0},
	} {
		for _, line := range []string{good, bareLine} {
			l, err := ParseAny([]byte(strings.Replace(line, `{"Index"`, `{`+tt.keys+`"Index"`, 1)))
			if err != nil || len(l.Other) != tt.n {
				t.Errorf("%s: %v, %d others, want %d", tt.name, err, len(l.Other), tt.n)
			}
		}
	}
	// What a bare line has on other axes.
	for _, bins := range []string{"[0, 5, 11]", "[0.5, 1.5, 2.5]", "[0, 6, 12]"} {
		text := strings.Replace(bareLine, `"Chamber_2": {"Count": 4, "Hist_1": {"Bins": [0, 5, 10]`, `"Chamber_2": {"Count": 4, "Hist_1": {"Bins": `+bins, 1)
		l, err := ParseAny([]byte(text))
		if err != nil || len(l.Other) != 1 || l.Other[0].Path != "Chamber_2.Hist_1" || l.Counts.Chambers[1].Hist1.Counts != nil || !slices.Equal(l.Other[0].Counts, []int64{4, 0, 0}) {
			t.Errorf("%s: %v, %+v", bins, err, l)
		}
	}
}

func TestCloneAndHist2(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 9))
		set := testSettings(t, r)
		windows := collect(t, set, randomEvents(r))
		for i, w := range windows {
			c := w.Counts
			if i%2 == 0 { // as it is read
				l, err := ParseLine(lineOf(w).Append(nil))
				if err != nil {
					t.Fatal(err)
				}
				c = l.Counts
			}
			c.Ledger.Set("dtfilter", "HEAD", 1)
			before := lineOf(Window{Counts: c}).Append(nil)
			d := c.Clone()
			mustEqual(t, "clone", d, c)
			for range 2 {
				if err := d.Add(windows[r.IntN(len(windows))].Counts); err != nil {
					t.Fatal(err)
				}
			}
			for k := range c.Chambers {
				a, h := c.Hist2(k)
				if a.Bins() != len(h.Counts) || a.Edge(a.Bins()) < a.Limit-a.Width || total(h.Counts)+h.Overflow+h.Underflow != total(c.Chambers[k].Hist2.Counts)+c.Chambers[k].Hist2.Overflow+c.Chambers[k].Hist2.Underflow {
					t.Errorf("Hist_2: %+v %+v", a, h)
				}
				if s := c.Spans; set.Auto > 0 && len(s) > 0 && (a.Edge(0) > s[len(s)-1].First || a.Edge(1) <= s[len(s)-1].First) {
					t.Errorf("Hist_2 of auto begins at %d, the last span at %d", a.Edge(0), s[len(s)-1].First)
				}
				for j := range h.Counts {
					h.Counts[j]++ // it is a copy
				}
				h = c.Hist1(k)
				h.Counts[0]++
			}
			if after := lineOf(Window{Counts: c}).Append(nil); !bytes.Equal(after, before) {
				t.Fatalf("seed %d: the counts have changed with their copy:\n%s\nwas\n%s", seed, after, before)
			}
		}
	}
}

func FuzzParseAny(f *testing.F) {
	f.Add([]byte(bareLine))
	f.Add([]byte(strings.ReplaceAll(bareLine, `"`, "'")))
	f.Add([]byte(`{'Index': 1.5, 'Total Count': 3.0, 'Chamber_1': {'Count': 1, 'Hist_4': {'Bins': [0.1, 0.25], 'Counts': [1.0, 2]}, 'x': {'Bins': [-1e3], 'Counts': [7]}}}`))
	f.Add(handLine(f).Append(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ParseAny(text)
		strict, strictErr := ParseLine(text)
		if strictErr == nil {
			if err != nil {
				t.Fatalf("ParseLine takes it, but %v", err)
			}
			if l.Other = nil; !reflect.DeepEqual(l, strict) {
				t.Fatalf("%+v, but ParseLine has %+v", l, strict)
			}
		}
		if err != nil {
			return
		}
		if i := bytes.IndexAny(text, `"'`); text[i] == '"' && !json.Valid(text) {
			t.Fatalf("not JSON: %q", text)
		}
		written := l.Append(nil)
		if !json.Valid(written) {
			t.Fatalf("not JSON: %s", written)
		}
		again, err := ParseAny(written)
		if err != nil {
			t.Fatalf("what was written is not read: %v\n%s", err, written)
		}
		if l.Other = nil; !reflect.DeepEqual(l, again) {
			t.Fatalf("%+v, read again %+v", l, again)
		}
		copied := l.Counts.Clone()
		if err := copied.Add(again.Counts); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(l, again) {
			t.Fatal("the copy is none")
		}
		for i := range copied.Chambers {
			copied.Hist1(i)
			copied.Hist2(i)
			copied.Hist3(i)
		}
	})
}
