package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"dt/internal/wire"
)

const (
	csvHeader = "HEAD,FPGA,TDC_CHANNEL,ORBIT_CNT,BX_COUNTER,TDC_MEAS\n"
	rowA      = "2,0,5,617000,100,3\n"  // chamber 1
	rowB      = "2,1,70,617001,200,4\n" // chamber 4
)

// An outLine is what the tests look at in a line of dthist.
type outLine struct {
	Total    int `json:"Total Count"`
	Complete int
	Ledger   terms
}

type terms struct {
	Read, Hits, Late, Scintillator, Unassigned, NotAHit, Early, Pending, Missing, Doubled int
	SetAside                                                                              map[string]map[string]int
}

func (l *terms) UnmarshalJSON(b []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	for name, to := range map[string]any{
		"Read": &l.Read, "Hits": &l.Hits, "Late": &l.Late, "Scintillator": &l.Scintillator, "Unassigned": &l.Unassigned,
		"Not_A_Hit": &l.NotAHit, "Early": &l.Early, "Pending": &l.Pending, "Missing": &l.Missing, "Doubled": &l.Doubled, "Set_Aside": &l.SetAside,
	} {
		if all[name] == nil {
			continue
		}
		if err := json.Unmarshal(all[name], to); err != nil {
			return err
		}
		delete(all, name)
	}
	if len(all) > 0 {
		return fmt.Errorf("a term of the ledger that this test does not know: %v", all)
	}
	return nil
}

// parseLines reads the lines of dthist, and checks that each ledger balances.
func parseLines(t testing.TB, out []byte) []outLine {
	t.Helper()
	var lines []outLine
	for text := range bytes.Lines(out) {
		var l outLine
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatalf("%v in %.200q", err, text)
		}
		g := &l.Ledger
		sum := g.Hits + g.Late + g.Scintillator + g.Unassigned + g.NotAHit + g.Early + g.Pending
		for _, reasons := range g.SetAside {
			for _, n := range reasons {
				sum += n
			}
		}
		if sum != g.Read {
			t.Errorf("the ledger does not balance: read %d, the terms are %d: %+v", g.Read, sum, *g)
		}
		lines = append(lines, l)
	}
	return lines
}

// oneLine is parseLines where there must be one.
func oneLine(t testing.TB, out []byte) outLine {
	t.Helper()
	lines := parseLines(t, out)
	if len(lines) != 1 {
		t.Fatalf("%d lines instead of 1: %.200q", len(lines), out)
	}
	return lines[0]
}

// same compares texts, and shows where they part.
func same(t testing.TB, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	from := max(0, at-40)
	t.Errorf("%s: %d bytes instead of %d, and from byte %d on\n got %.300q\nwant %.300q", what, len(got), len(want), at, got[min(from, len(got)):], want[min(from, len(want)):])
}

// codes compares exit codes.
func codes(t testing.TB, r result, want ...int) {
	t.Helper()
	if fmt.Sprint(r.Codes) != fmt.Sprint(want) {
		t.Errorf("exit %v instead of %v\n%s", r.Codes, want, strings.Join(r.Errs, ""))
	}
}

// countOf is what dtcat says at the end of a source with n records that are no words.
func countOf(source string, n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "dtcat: " + source + ": 1 record is no word\n"
	}
	return fmt.Sprintf("dtcat: %s: %d records are no words\n", source, n)
}

// packed returns content compressed.
func packed(t testing.TB, how string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if how == "zst" {
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// cat runs dtcat on sources and returns what it writes.
func cat(t testing.TB, args ...string) []byte {
	t.Helper()
	return pipeline(t, nil, append([]string{"dtcat"}, args...)).ok(t)
}

// Every text that is not as it should be: what is no word is told with its place, counted by reason, kept as it was, and stops nothing.
func TestBadText(t *testing.T) {
	tests := map[string]struct {
		input   string
		args    string
		words   string // as text
		says    []string
		rejects string
		aside   map[string]int
	}{
		"CRLF":                {input: strings.ReplaceAll(csvHeader+rowA+rowB, "\n", "\r\n"), words: rowA + rowB},
		"CRLF, bad":           {input: rowA + "foo\r\n" + rowB, words: rowA + rowB, says: []string{":2: 6 columns wanted, 1 found"}, rejects: "foo\r\n", aside: map[string]int{"wrong number of columns": 1}},
		"CR at the end":       {input: rowA + strings.TrimSuffix(rowB, "\n") + "\r", words: rowA + rowB},
		"byte order mark":     {input: "\xef\xbb\xbf" + csvHeader + rowA, words: rowA},
		"mark, no header":     {input: "\xef\xbb\xbf" + rowA, words: rowA},
		"no final newline":    {input: csvHeader + rowA + strings.TrimSuffix(rowB, "\n"), words: rowA + rowB},
		"bad, no final line":  {input: rowA + "x", words: rowA, says: []string{":2: 6 columns wanted, 1 found"}, rejects: "x\n", aside: map[string]int{"wrong number of columns": 1}},
		"header only":         {input: csvHeader},
		"header, no newline":  {input: strings.TrimSuffix(csvHeader, "\n")},
		"nothing":             {input: ""},
		"blank lines":         {input: csvHeader + rowA + "\n \n" + rowB, words: rowA + rowB, says: []string{":3: blank line", ":4: blank line"}, rejects: "\n \n", aside: map[string]int{"blank line": 2}},
		"blank lines first":   {input: "\n\r\n" + rowA, words: rowA, says: []string{":1: blank line", ":2: blank line"}, rejects: "\n\r\n", aside: map[string]int{"blank line": 2}},
		"junk first":          {input: "# run 7\n" + rowA, words: rowA, says: []string{":1: 6 columns wanted, 1 found"}, rejects: "# run 7\n", aside: map[string]int{"wrong number of columns": 1}},
		"header again":        {input: csvHeader + rowA + csvHeader + rowB, words: rowA + rowB, says: []string{":3: header again"}, rejects: csvHeader, aside: map[string]int{"header again": 1}},
		"missing column":      {input: rowA + "2,0,5,617000,100\n", words: rowA, says: []string{":2: 6 columns wanted, 5 found"}, rejects: "2,0,5,617000,100\n", aside: map[string]int{"wrong number of columns": 1}},
		"missing in first":    {input: "2,0,5,617000,100\n" + rowA, words: rowA, says: []string{":1: 6 columns wanted, 5 found"}, rejects: "2,0,5,617000,100\n", aside: map[string]int{"wrong number of columns": 1}},
		"extra column":        {input: rowA + "2,0,5,617000,100,3,9\n", words: rowA, says: []string{":2: 6 columns wanted, 7 found"}, rejects: "2,0,5,617000,100,3,9\n", aside: map[string]int{"wrong number of columns": 1}},
		"a word":              {input: rowA + "2,0,twelve,617000,100,3\n", words: rowA, says: []string{`:2: TDC_CHANNEL: "twelve" is not a number`}, rejects: "2,0,twelve,617000,100,3\n", aside: map[string]int{"not a number": 1}},
		"empty field":         {input: rowA + "2,0,,617000,100,3\n", words: rowA, says: []string{`:2: TDC_CHANNEL: "" is not a number`}, rejects: "2,0,,617000,100,3\n", aside: map[string]int{"not a number": 1}},
		"signs":               {input: rowA + "2,0,+5,617000,100,3\n2,0,-5,617000,100,3\n", words: rowA, says: []string{`:2: TDC_CHANNEL: "+5" is not a number`, ":3: TDC_CHANNEL: -5 is below 0"}, rejects: "2,0,+5,617000,100,3\n2,0,-5,617000,100,3\n", aside: map[string]int{"not a number": 1, "out of range": 1}},
		"spaces":              {input: rowA + "2, 0,5,617000,100,3\n2,0,5 ,617000,100,3\n 2,0,5,617000,100,3\n", words: rowA, says: []string{`:2: FPGA: " 0" is not a number`, `:3: TDC_CHANNEL: "5 " is not a number`, `:4: HEAD: " 2" is not a number`}, rejects: "2, 0,5,617000,100,3\n2,0,5 ,617000,100,3\n 2,0,5,617000,100,3\n", aside: map[string]int{"not a number": 3}},
		"float":               {input: rowA + "2,0,5,617000.0,100,3\n", words: rowA, says: []string{`:2: ORBIT_CNT: "617000.0" is not a number`}, rejects: "2,0,5,617000.0,100,3\n", aside: map[string]int{"not a number": 1}},
		"HEAD too large":      {input: rowA + "8,0,5,617000,100,3\n", words: rowA, says: []string{":2: HEAD: 8 is above 7"}, rejects: "8,0,5,617000,100,3\n", aside: map[string]int{"out of range": 1}},
		"FPGA too large":      {input: rowA + "2,8,5,617000,100,3\n", words: rowA, says: []string{":2: FPGA: 8 is above 7"}, rejects: "2,8,5,617000,100,3\n", aside: map[string]int{"out of range": 1}},
		"channel too large":   {input: rowA + "2,0,512,617000,100,3\n", words: rowA, says: []string{":2: TDC_CHANNEL: 512 is above 511"}, rejects: "2,0,512,617000,100,3\n", aside: map[string]int{"out of range": 1}},
		"orbit too large":     {input: rowA + "2,0,5,4294967296,100,3\n", words: rowA, says: []string{":2: ORBIT_CNT: 4294967296 is above 4294967295"}, rejects: "2,0,5,4294967296,100,3\n", aside: map[string]int{"out of range": 1}},
		"orbit far too large": {input: rowA + "2,0,5,18446744073710168616,100,3\n", words: rowA, says: []string{`:2: ORBIT_CNT: "18446744073710168616" has more than 12 digits`}, rejects: "2,0,5,18446744073710168616,100,3\n", aside: map[string]int{"out of range": 1}},
		"BX too large":        {input: rowA + "2,0,5,617000,4096,3\n", words: rowA, says: []string{":2: BX_COUNTER: 4096 is above 4095"}, rejects: "2,0,5,617000,4096,3\n", aside: map[string]int{"out of range": 1}},
		"TDC too large":       {input: rowA + "2,0,5,617000,100,32\n", words: rowA, says: []string{":2: TDC_MEAS: 32 is above 31"}, rejects: "2,0,5,617000,100,32\n", aside: map[string]int{"out of range": 1}},
		"NUL":                 {input: csvHeader + rowA + "2,0,5,617\x00000,100,3\n" + rowB, words: rowA + rowB, says: []string{":3: contains a NUL byte"}, rejects: "2,0,5,617\x00000,100,3\n", aside: map[string]int{"NUL byte": 1}},
		"NUL in first":        {input: "2,0,5,617\x00000,100,3\n" + rowA, words: rowA, says: []string{":1: contains a NUL byte"}, rejects: "2,0,5,617\x00000,100,3\n", aside: map[string]int{"NUL byte": 1}},
		"NUL behind header":   {input: csvHeader + "2,0,5,617\x00000,100,3\n" + rowA, words: rowA, says: []string{":2: contains a NUL byte"}, rejects: "2,0,5,617\x00000,100,3\n", aside: map[string]int{"NUL byte": 1}},
		"many": {input: rowA + strings.Repeat("foo\n", 30) + rowB, words: rowA + rowB, aside: map[string]int{"wrong number of columns": 30}, rejects: strings.Repeat("foo\n", 30),
			says: []string{":2: 6 columns wanted, 1 found", ":3: 6 columns wanted, 1 found", ":4: 6 columns wanted, 1 found", ":5: 6 columns wanted, 1 found", ":6: 6 columns wanted, 1 found", ":7: 6 columns wanted, 1 found", ":8: 6 columns wanted, 1 found", ":9: 6 columns wanted, 1 found", ":10: 6 columns wanted, 1 found", ":11: 6 columns wanted, 1 found",
				":12: 6 columns wanted, 1 found; further ones of this source are counted, not told"}},
		"JSON": {input: `{"HEAD":2,"FPGA":0,"TDC_CHANNEL":5,"ORBIT_CNT":617000.0,"BX_COUNTER":100,"TDC_MEAS":3.0}` + "\n{\"HEAD\":2}\n[1]\n", words: rowA,
			says: []string{":2: FPGA: key is missing", ":3: not a JSON object: it does not begin with {"}, rejects: "{\"HEAD\":2}\n[1]\n", aside: map[string]int{"missing key": 1, "not a JSON object": 1}},
		"raw, a piece left": {input: string(binary.LittleEndian.AppendUint64(nil, 2<<61|5<<49|617000<<17|100<<5|3)) + "\x01\x02\x03", words: rowA, says: []string{": word 1: 3 bytes left over, a word has 8"}, rejects: "\x01\x02\x03", aside: map[string]int{"cut word": 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, "in", []byte(test.input))
			kept := filepath.Join(t.TempDir(), "rejects")
			args := append([]string{"dtcat", file, "--rejects", kept}, strings.Fields(test.args)...)
			r := pipeline(t, nil, append(args, "--to", "csv", "--header", "no"))
			codes(t, r, 0)
			same(t, "words", string(r.Out), test.words)
			says := ""
			for _, s := range test.says {
				says += "dtcat: " + file + s + "\n"
			}
			bad := 0
			for _, n := range test.aside {
				bad += n
			}
			says += countOf(file, bad)
			same(t, "messages", r.Errs[0], says)

			r = pipeline(t, nil, args, stage{"dtfilter", "HEAD <= 7"}, stage{"dtchamber"}, stage{"dthist", "--window", "all"})
			codes(t, r, 0, 0, 0, 0)
			same(t, "messages", strings.Join(r.Errs, ""), says)
			l := oneLine(t, r.Out)
			hits := strings.Count(test.words, "\n")
			if l.Total != hits || l.Ledger.Read != hits+bad || !maps.Equal(l.Ledger.SetAside["dtcat"], test.aside) || l.Complete != 1 {
				t.Errorf("%+v; wanted %d hits and %v set aside, complete", l, hits, test.aside)
			}
			got, err := os.ReadFile(kept)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "rejects", string(got), test.rejects)
		})
	}
}

// Lines that no buffer holds, anywhere in a file.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("2,0,5,", 10<<20/6) + "\n"
	tests := map[string]struct {
		input, rejects string
		says           []int // lines
	}{
		"in the middle": {csvHeader + rowA + long + rowB, long, []int{3}},
		"first":         {long + rowA + rowB, long, []int{1}},
		"last":          {rowA + rowB + long, long, []int{3}},
		"cut off":       {rowA + rowB + strings.TrimSuffix(long, "\n"), long, []int{3}},
		"two":           {rowA + long + long + rowB, long + long, []int{2, 3}},
		"two apart":     {rowA + long + rowB + long, long + long, []int{2, 4}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kept := filepath.Join(t.TempDir(), "rejects")
			r := pipeline(t, strings.NewReader(test.input), stage{"dtcat", "--rejects", kept}, stage{"dtfilter"}, stage{"dthist", "--window", "all"})
			codes(t, r, 0, 0, 0)
			says := ""
			for _, n := range test.says {
				says += fmt.Sprintf("dtcat: standard input:%d: a line of more than 262144 bytes\n", n)
			}
			says += countOf("standard input", len(test.says))
			same(t, "messages", strings.Join(r.Errs, ""), says)
			l := oneLine(t, r.Out)
			if l.Total != 2 || l.Ledger.SetAside["dtcat"]["line too long"] != len(test.says) || l.Complete != 1 {
				t.Errorf("%+v", l)
			}
			got, err := os.ReadFile(kept)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "rejects", string(got), test.rejects)
		})
	}
}

// --strict and --limit end at a record: those before it are there, and of those behind it nothing is said or kept, however much is read at once.
func TestStrict(t *testing.T) {
	foo := ":2: 6 columns wanted, 1 found\n"
	tests := map[string]struct {
		input, args  string
		code         int
		words, aside int
		says         string // of the first bad record
		rejects      string
	}{
		"strict":             {rowA + "foo\n" + rowB, "--strict", 1, 1, 1, foo, "foo\n"},
		"strict, more bad":   {rowA + "foo\nbar\n" + rowB, "--strict", 1, 1, 1, foo, "foo\n"},
		"strict, first":      {"foo\n" + rowB, "--strict", 1, 0, 1, ":1: 6 columns wanted, 1 found\n", "foo\n"},
		"strict, none":       {rowA + rowB, "--strict", 0, 2, 0, "", ""},
		"strict, long line":  {rowA + strings.Repeat("x", 300_000) + "\n" + rowB, "--strict", 1, 1, 1, ":2: a line of more than 262144 bytes\n", strings.Repeat("x", 300_000) + "\n"},
		"strict, at a pace":  {rowA + rowB + "foo\n" + rowB, "--strict --rate 50", 1, 2, 1, ":3: 6 columns wanted, 1 found\n", "foo\n"},
		"limit":              {rowA + "foo\n" + rowB + "bar\n", "--limit 3", 0, 2, 1, foo, "foo\n"},
		"limit before it":    {rowA + "foo\n" + rowB, "--limit 1", 0, 1, 0, "", ""},
		"limit at it":        {rowA + "foo\nbar\n" + rowB, "--limit 2", 0, 1, 1, foo, "foo\n"},
		"limit, at a pace":   {rowA + "foo\n" + rowB + rowA + "bar\n", "--limit 4 --rate 50", 0, 3, 1, foo, "foo\n"},
		"limit, then strict": {rowA + "foo\n" + rowB, "--limit 1 --strict", 0, 1, 0, "", ""},
		"limit is strict":    {rowA + "foo\n" + rowB, "--limit 2 --strict", 1, 1, 1, foo, "foo\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kept := filepath.Join(t.TempDir(), "rejects")
			args := append(stage{"dtcat", "--rejects", kept}, strings.Fields(test.args)...)
			r := pipeline(t, strings.NewReader(test.input), args, stage{"dtfilter", "HEAD <= 7"}, stage{"dthist", "--window", "all"})
			codes(t, r, test.code, 0, 0)
			says := ""
			if test.says != "" {
				says = "dtcat: standard input" + test.says
			}
			same(t, "messages", strings.Join(r.Errs, ""), says+countOf("standard input", test.aside))
			aside := 0
			l := oneLine(t, r.Out)
			for _, n := range l.Ledger.SetAside["dtcat"] {
				aside += n
			}
			if complete := test.code == 0 && !strings.Contains(test.args, "limit"); l.Total != test.words || aside != test.aside || (l.Complete == 1) != complete {
				t.Errorf("%+v", l)
			}
			got, err := os.ReadFile(kept)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "rejects", string(got), test.rejects)
		})
	}
}

// smallStream is a stream of two words.
func smallStream(t testing.TB) []byte {
	t.Helper()
	return pipeline(t, strings.NewReader(rowA+rowB), stage{"dtcat", "--run", "demo"}).ok(t)
}

// inParts runs f for the numbers below n, in parallel.
func inParts(t *testing.T, n int, f func(t *testing.T, i int)) {
	const parts = 4
	for part := range parts {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			for i := part; i < n && !t.Failed(); i += parts {
				f(t, i)
			}
		})
	}
}

// A stream that is cut anywhere is told so, by every stage, and what came before the cut is counted.
func TestCutStream(t *testing.T) {
	s := smallStream(t)
	inParts(t, len(s), func(t *testing.T, n int) {
		path := write(t, "cut", s[:n])
		for i, cmd := range []stage{{"dtfilter"}, {"dtchamber"}, {"dthist", "--window", "all"}} {
			if i < 2 && n%6 != i && n > 0 {
				continue // each byte through dthist, and one of six through each of the others
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			r := pipeline(t, f, cmd)
			f.Close()
			says := r.Errs[0]
			switch {
			case r.Codes[0] != 1 || strings.Count(says, "\n") != 1:
				t.Fatalf("%v, cut at byte %d: exit %d, says %q", cmd, n, r.Codes[0], says)
			case n == 0:
				same(t, "message", says, cmd[0]+": input is empty, not even a stream (hint: did the program before this one fail?)\n")
			case n < wire.PreambleSize:
				if !strings.Contains(says, ", not a stream (hint: dtcat FILE | ") {
					t.Fatalf("%v, cut at byte %d: %q", cmd, n, says)
				}
			case !strings.Contains(says, "cut"):
				t.Fatalf("%v, cut at byte %d: %q", cmd, n, says)
			}
			if cmd[0] == "dthist" && len(r.Out) > 0 {
				if l := oneLine(t, r.Out); l.Complete != 0 || l.Total != l.Ledger.Read {
					t.Fatalf("cut at byte %d: %+v", n, l)
				}
			}
		}
		// The stages behind one that was cut say so as well.
		if n%50 == 40 {
			r := pipeline(t, bytes.NewReader(s[:n]), stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--window", "all"})
			codes(t, r, 1, 1, 1)
		}
	})
}

// No damaged stream passes for a whole one.
func TestFlippedBits(t *testing.T) {
	s := smallStream(t)
	const stride = 21 // the library's own tests flip each bit
	inParts(t, len(s)*8/stride, func(t *testing.T, i int) {
		bit := i * stride
		b := bytes.Clone(s)
		b[bit/8] ^= 1 << (bit % 8)
		r := pipeline(t, bytes.NewReader(b), stage{"dthist", "--window", "all"})
		if r.Codes[0] != 1 || !strings.HasPrefix(r.Errs[0], "dthist: ") {
			t.Fatalf("bit %d: exit %d, says %q", bit, r.Codes[0], r.Errs[0])
		}
		for _, l := range parseLines(t, r.Out) {
			if l.Complete != 0 {
				t.Fatalf("bit %d: complete", bit)
			}
		}
	})
}

func TestWrongStream(t *testing.T) {
	s := smallStream(t)
	edit := func(at int, with ...byte) []byte {
		b := bytes.Clone(s)
		copy(b[at:], with)
		return b
	}
	huge := binary.LittleEndian.AppendUint32(nil, 0xffff_fff8)
	tests := map[string]struct {
		input []byte
		says  string // behind the program's name
	}{
		"wrong magic":   {edit(0, 0xd8), "input is binary, not a stream (hint: dtcat FILE | "},
		"newer version": {edit(7, 2), "standard input: at byte 0: stream of version 2; this program reads version 1"},
		"4 GB":          {edit(8+4, huge...), "standard input: at byte 8: a frame of 4294967288 bytes; at most 983040 are possible"},
		"random":        {bytes.Repeat([]byte{0x9e, 0x01, 0xff, 0x33, 0x80}, 100), "input is binary, not a stream (hint: dtcat FILE | "},
		"behind it":     {append(bytes.Clone(s), "what is this text here behind the stream, which goes on for a while"...), "standard input: at byte "},
	}
	for name, test := range tests {
		for _, program := range []string{"dtfilter", "dtchamber", "dthist"} {
			t.Run(name+"/"+program, func(t *testing.T) {
				t.Parallel()
				r := pipeline(t, bytes.NewReader(test.input), stage{program})
				codes(t, r, 1)
				if !strings.HasPrefix(r.Errs[0], program+": "+test.says) || strings.Count(r.Errs[0], "\n") != 1 {
					t.Errorf("says %q, wanted %q", r.Errs[0], test.says)
				}
				if program == "dthist" && name != "behind it" && len(r.Out) > 0 {
					t.Errorf("%.200q", r.Out)
				}
			})
		}
	}
}

// Files that are compressed and cut: what can be read is, the rest is told.
func TestCutCompressed(t *testing.T) {
	text := cat(t, "sim:?hits=20000", "--to", "csv", "--header", "no")
	for _, how := range []string{"gz", "zst"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			name := map[string]string{"gz": "gzip", "zst": "zstd"}[how]
			whole := packed(t, how, text)
			file := write(t, "run.csv."+how, whole[:len(whole)*2/3])
			kept := filepath.Join(t.TempDir(), "rejects")
			r := pipeline(t, nil, stage{"dtcat", file, "--to", "csv", "--header", "no", "--rejects", kept})
			codes(t, r, 1)
			got, err := os.ReadFile(kept)
			if err != nil {
				t.Fatal(err)
			}
			// The last line is cut, and so a record by itself; that it may still look like a word is no one's fault.
			came := append(r.Out, got...)
			if len(r.Out) < len(text)/4 || !bytes.HasPrefix(text, bytes.TrimSuffix(came, []byte("\n"))) {
				t.Errorf("%d bytes of %d came, or not as they were: … %q", len(came), len(text), came[max(0, len(came)-60):])
			}
			if want := "dtcat: " + file + ": the " + name + " file is cut, its end is missing\n" + countOf(file, bytes.Count(got, []byte("\n"))); !strings.HasSuffix(r.Errs[0], want) {
				t.Errorf("says %q, wanted %q", r.Errs[0], want)
			}

			// Others of the list are read, and the result says that it is not all.
			other := write(t, "b.csv", []byte(rowA))
			r = pipeline(t, nil, stage{"dtcat", other, file, other}, stage{"dtfilter"}, stage{"dthist", "--window", "all"})
			codes(t, r, 1, 0, 0)
			if l := oneLine(t, r.Out); l.Complete != 0 || l.Total < 2000 {
				t.Errorf("%+v", l)
			}

			// Damaged in the middle, and nothing but the beginning of a header.
			bad := bytes.Clone(whole)
			bad[len(bad)/2] ^= 0xff
			for _, content := range [][]byte{bad, whole[:5]} {
				r = pipeline(t, nil, stage{"dtcat", write(t, "bad."+how, content), "--to", "csv"})
				codes(t, r, 1)
				if !strings.Contains(r.Errs[0], ": "+name+": ") && !strings.Contains(r.Errs[0], " is cut, ") {
					t.Errorf("says %q", r.Errs[0])
				}
			}
		})
	}
}

// What can't be read is told and left out; the rest is read, and the result is not complete.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b := file("a.csv", rowA), file("b.csv", csvHeader+rowB)
	empty := filepath.Join(dir, "folder")
	if err := os.Mkdir(empty, 0o777); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none.csv")
	prose := file("prose.txt", "It was a dark night.\nNo words here.\n")
	noise := file("noise.bin", strings.Repeat("\xff\xfe\x00\x91\xe0", 200))
	lines := file("lines.json", `{"Index": 1, "Total Count": 2}`+"\n")
	tests := map[string]struct{ source, says string }{
		"missing":      {none, none + ": no such file or directory"},
		"below a file": {a + "/x", a + "/x: not a directory"},
		"read error":   {"/proc/self/mem", "/proc/self/mem: input/output error"},
		"empty folder": {empty, empty + ": no data files in this folder (hint: they end in .txt .csv .dat .raw .json .jsonl .dts, with or without .gz or .zst)"},
		"prose":        {prose, prose + ": text, and no words that can be recognised (hint: if there are, say --from csv, json, raw or lcp)"},
		"noise":        {noise, noise + ": binary, and no words that can be recognised (hint: if there are, say --from csv, json, raw or lcp)"},
		"result lines": {lines, lines + ": result lines, not words (hint: dthist --merge reads them)"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := pipeline(t, nil, stage{"dtcat", a, test.source, b}, stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--window", "all"})
			codes(t, r, 1, 0, 0, 0)
			same(t, "messages", strings.Join(r.Errs, ""), "dtcat: "+test.says+"\n")
			if l := oneLine(t, r.Out); l.Total != 2 || l.Ledger.Read != 2 || l.Complete != 0 {
				t.Errorf("%+v", l)
			}
			r = pipeline(t, nil, stage{"dtcat", test.source, "--to", "csv"})
			codes(t, r, 1)
			same(t, "alone: messages", r.Errs[0], "dtcat: "+test.says+"\n")
			r = pipeline(t, nil, stage{"dtcat", test.source, "--list"})
			codes(t, r, 1)
			same(t, "--list: messages", r.Errs[0], "dtcat: "+test.says+"\n")
		})
	}
	t.Run("empty files", func(t *testing.T) {
		t.Parallel()
		nothing := file("empty.csv", "")
		nothingPacked := file("empty.csv.gz", string(packed(t, "gz", nil)))
		r := pipeline(t, nil, stage{"dtcat", nothing, a, nothingPacked, b, nothing}, stage{"dtfilter"}, stage{"dthist", "--window", "all"})
		r.ok(t)
		same(t, "messages", strings.Join(r.Errs, ""), "")
		if l := oneLine(t, r.Out); l.Total != 2 || l.Complete != 1 {
			t.Errorf("%+v", l)
		}
		r = pipeline(t, nil, stage{"dtcat", nothing}, stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--window", "all"})
		if l := oneLine(t, r.ok(t)); l.Total != 0 || l.Complete != 1 {
			t.Errorf("%+v", l)
		}
	})
}

// A full disk is told by whoever writes to it.
func TestDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		missing(t, "/dev/full", "a Linux machine")
	}
	t.Cleanup(func() { full.Close() })
	small := write(t, "s.dts", smallStream(t))
	lines := write(t, "lines.json", pipeline(t, strings.NewReader(rowA), stage{"dtcat"}, stage{"dthist", "--window", "all"}).ok(t))
	tests := map[string]struct {
		stdin string
		cmd   stage
		says  string
	}{
		"dtcat":                {"", stage{"dtcat", "sim:?hits=10000"}, "standard output"},
		"dtcat --to csv":       {"", stage{"dtcat", "sim:?hits=10000", "--to", "csv"}, "standard output"},
		"dtcat, a stream":      {small, stage{"dtcat"}, "standard output"},
		"dtcat --list":         {small, stage{"dtcat", "--list"}, "standard output"},
		"dtcat --sim-settings": {"", stage{"dtcat", "--sim-settings"}, "standard output"},
		"dtfilter":             {small, stage{"dtfilter"}, "standard output"},
		"dtchamber":            {small, stage{"dtchamber"}, "standard output"},
		"dtchamber, map":       {"", stage{"dtchamber", "--print-map"}, "standard output"},
		"dthist":               {small, stage{"dthist"}, "standard output"},
		"dthist all":           {small, stage{"dthist", "--window", "all"}, "standard output"},
		"dthist --merge":       {lines, stage{"dthist", "--merge"}, "standard output"},
		"":                     {"", stage{"dthist", "-h"}, "standard output"},
		"dthist --hits":        {small, stage{"dthist", "--hits", "/dev/full"}, "/dev/full"},
		"dtcat --rejects":      {lines, stage{"dtcat", "--from", "csv", "--rejects", "/dev/full"}, "/dev/full"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var in *os.File
			if test.stdin != "" {
				if in, err = os.Open(test.stdin); err != nil {
					t.Fatal(err)
				}
				defer in.Close()
			}
			r := startTo(t, nil, in, full, test.cmd).wait()
			codes(t, r, 1)
			if want := test.cmd[0] + ": " + test.says + ": no space left on device\n"; !strings.HasSuffix(r.Errs[0], want) {
				t.Errorf("says %q, wanted %q", r.Errs[0], want)
			}
		})
	}
}

// The wrong kind of input is recognised, and what is missing in between is said.
func TestWrongKind(t *testing.T) {
	lines := pipeline(t, strings.NewReader(rowA), stage{"dtcat"}, stage{"dthist", "--window", "all"}).ok(t)
	inputs := map[string][]byte{
		"empty":               nil,
		"CSV":                 []byte(csvHeader + rowA),
		"CSV ":                []byte(rowA + rowA),
		"JSON lines of words": cat(t, "sim:?hits=10", "--to", "json"),
		"result lines":        lines,
		"gzip":                packed(t, "gz", []byte(rowA)),
		"zstd":                packed(t, "zst", []byte(rowA)),
		"binary":              cat(t, "sim:?hits=100&stale=0", "--to", "raw"),
		"text":                []byte("bash: line 1: dtcat: command not found\n"),
		"a hit stream":        smallStream(t),
	}
	programs := []struct {
		cmd           stage
		is, not, hint string
	}{
		{stage{"dtfilter"}, "a hit stream", "not a stream", "dtcat FILE | dtfilter"},
		{stage{"dtchamber"}, "a hit stream", "not a stream", "dtcat FILE | dtchamber"},
		{stage{"dthist"}, "a hit stream", "not a stream", "dtcat FILE | dtfilter | dthist"},
		{stage{"dthist", "--window", "all"}, "a hit stream", "not a stream", "dtcat FILE | dtfilter | dthist"},
		{stage{"dthist", "--format", "cosmo"}, "a hit stream", "not a stream", "dtcat FILE | dtfilter | dthist"},
		{stage{"dthist", "--merge"}, "result lines", "not result lines", "dtcat FILE | dtfilter | dthist --partial | dthist --merge"},
	}
	for _, p := range programs {
		for kind, content := range inputs {
			if kind == p.is {
				continue
			}
			t.Run(strings.Join(p.cmd, " ")+"/"+kind, func(t *testing.T) {
				t.Parallel()
				r := pipeline(t, bytes.NewReader(content), p.cmd)
				codes(t, r, 1)
				want := fmt.Sprintf("%s: input is %s, %s (hint: %s)\n", p.cmd[0], strings.TrimSpace(kind), p.not, p.hint)
				switch {
				case kind == "empty" && p.is == "a hit stream":
					want = p.cmd[0] + ": input is empty, not even a stream (hint: did the program before this one fail?)\n"
				case kind == "empty":
					want = p.cmd[0] + ": input is empty, no result lines (hint: did the program before this one fail?)\n"
				}
				same(t, "message", r.Errs[0], want)
				same(t, "output", string(r.Out), "")
			})
		}
	}
}

// A v1 file without --from lcp is told, whatever of it can be read.
func TestHintLCP(t *testing.T) {
	const v1 = "1,0,72,46758,279,18\n1,1,52,46759,1410,7\n"
	r := pipeline(t, strings.NewReader(v1), stage{"dtcat", "--to", "stream"}, stage{"dthist", "--window", "all"})
	codes(t, r, 0, 0)
	if want := "dtcat: standard input: not one hit (HEAD 2) in 2 records (hint: a v1 course file wants --from lcp)\n"; !strings.HasSuffix(r.Errs[0], want+countOf("standard input", 2)) {
		t.Errorf("says %q, wanted %q", r.Errs[0], want)
	}
	r = pipeline(t, strings.NewReader("0,1,1,3387317245,3186,14\n"), stage{"dtcat"}, stage{"dthist", "--window", "all"})
	codes(t, r, 0, 0)
	same(t, "ancillary words only", r.Errs[0], "dtcat: standard input: not one hit (HEAD 2) in 1 records (hint: a v1 course file wants --from lcp)\n")
	r = pipeline(t, strings.NewReader(v1), stage{"dtcat", "--from", "lcp"}, stage{"dthist", "--window", "all"})
	same(t, "v1", strings.Join(r.Errs, ""), "")
	if l := oneLine(t, r.ok(t)); l.Total != 2 {
		t.Errorf("%+v", l)
	}
}
