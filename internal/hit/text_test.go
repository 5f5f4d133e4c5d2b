package hit

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// streamRows is about size bytes of rows with the order and the frequencies of the real stream: cycles of 4 hits of
// each FPGA and then ancillary words of both. With onlyHits these are left out.
func streamRows(size int, onlyHits bool) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b []byte
	orbit := 10_000_000
	for len(b) < size {
		for i := range 8 {
			orbit += r.IntN(40)
			b = fmt.Appendf(b, "2,%d,%d,%d,%d,%d\n", i/4, r.IntN(128), orbit-r.IntN(2), r.IntN(3564), r.IntN(30))
		}
		for i := 0; i < 8 && !onlyHits; i++ {
			o, f := orbit+r.IntN(2000), i/4
			switch kind := r.IntN(8); kind {
			case 0:
				b = fmt.Appendf(b, "0,%d,%d,%d,%d,%d\n", f, r.IntN(32), o, r.IntN(3564), r.IntN(30))
			case 1, 2:
				b = fmt.Appendf(b, "1,%d,0,%d,0,%d\n", f, o, r.IntN(256))
			case 3:
				b = fmt.Appendf(b, "3,%d,0,%d,%d,0\n", f, o, r.IntN(65536))
			default:
				b = fmt.Appendf(b, "%d,%d,0,%d,0,%.6f\n", 4+kind%2, f, o, HalfToFloat(uint16(0x3000+r.IntN(0x2800)|r.IntN(2)<<15)))
			}
		}
	}
	return b
}

// anyWord returns a word with only bits that its layout names, and fields of any length.
func anyWord(r *rand.Rand) uint64 {
	orbit := uint64(r.Uint32()) >> r.IntN(32)
	w := uint64(r.IntN(8))<<HeadShift | uint64(r.IntN(8))<<FPGAShift
	switch Head(w) {
	case HeadHit:
		return w | uint64(r.IntN(512)>>r.IntN(9))<<ChannelShift | orbit<<OrbitShift | uint64(r.IntN(4096)>>r.IntN(12))<<BXShift | uint64(r.IntN(32))
	case 0:
		w |= uint64(r.IntN(4096)>>r.IntN(12))<<12 | uint64(r.IntN(32))<<7 | uint64(r.IntN(32))
	case 1:
		w |= uint64(r.IntN(256)) << 16
	case 3:
		w |= uint64(r.IntN(65536) >> r.IntN(16))
	case 4, 5:
		w |= uint64(r.IntN(65536) >> r.IntN(16))
		if w&halfInf == halfInf {
			w &^= 1 << 14 // neither infinity nor NaN, of which the text has only one
		}
	}
	return w | orbit<<24
}

func TestDecodeCSV(t *testing.T) {
	for _, test := range []struct {
		row  string
		lcp  bool
		want uint64
	}{
		{"2,1,36,3387200956,2165,28", false, NewHit(1, 36, 3387200956, 2165, 28)},
		{"2,7,511,4294967295,4095,31", false, NewHit(7, 511, 4294967295, 4095, 31)},
		{"2,0,0,0,0,0", false, NewHit(0, 0, 0, 0, 0)},
		{"2,0,138,4294959999,1,1", false, NewHit(0, 138, 4294959999, 1, 1)},
		{"2,0,138,4294960000,1,1", false, NewHit(0, 138, 4294960000, 1, 1)},
		{"2,0,000000000007,000000000008,0009,03", false, NewHit(0, 7, 8, 9, 3)},
		{"02,0,7,8,9,3", false, NewHit(0, 7, 8, 9, 3)},
		{"0,1,4,3387315706,3055,5", false, 1<<58 | 3387315706<<24 | 3055<<12 | 5<<7 | 4},
		{"0,1,31,1,4095,31", false, 1<<58 | 1<<24 | 4095<<12 | 31<<7 | 31},
		{"1,0,0,3387339394,0,255", false, 1<<61 | 3387339394<<24 | 255<<16},
		{"3,0,0,3387339394,65535,0", false, 3<<61 | 3387339394<<24 | 65535},
		{"4,0,0,3387339329,0,-0.537109", false, 4<<61 | 3387339329<<24 | 0xb84c},
		{"5,0,0,3387339329,0,-41.531250", false, 5<<61 | 3387339329<<24 | 0xd131},
		{"5,0,0,7,0,65504.000000", false, 5<<61 | 7<<24 | 0x7bff},
		{"5,0,0,7,0,-65504.000000", false, 5<<61 | 7<<24 | 0xfbff},
		{"5,0,0,7,0,65519.999999", false, 5<<61 | 7<<24 | 0x7bff},
		{"4,0,0,7,0,0.000000", false, 4<<61 | 7<<24},
		{"4,0,0,7,0,-0.000000", false, 4<<61 | 7<<24 | 0x8000},
		{"4,0,0,7,0,1", false, 4<<61 | 7<<24 | 0x3c00},
		{"4,0,0,7,0,2049", false, 4<<61 | 7<<24 | 0x6800},
		{"4,0,0,7,0,2049.000001", false, 4<<61 | 7<<24 | 0x6801},
		{"4,0,0,7,0,2051.000000", false, 4<<61 | 7<<24 | 0x6802},
		{"4,0,0,7,0,2049.00000000000000000001", false, 4<<61 | 7<<24 | 0x6801},
		{"4,0,0,7,0,2050.99999999999999999999", false, 4<<61 | 7<<24 | 0x6801},
		{"4,0,0,7,0,inf", false, 4<<61 | 7<<24 | 0x7c00},
		{"4,0,0,7,0,-inf", false, 4<<61 | 7<<24 | 0xfc00},
		{"4,0,0,7,0,nan", false, 4<<61 | 7<<24 | 0x7e00},
		{"4,0,0,7,0,-nan", false, 4<<61 | 7<<24 | 0xfe00},
		{"6,3,0,4294967295,0,0", false, 6<<61 | 3<<58 | 4294967295<<24},
		{"7,3,0,1,0,0", false, 7<<61 | 3<<58 | 1<<24},
		{"1,0,1,341374,3563,29", true, NewHit(0, 0, 341374, 3563, 29)},
		{"1,1,128,341374,1,30", true, NewHit(1, 127, 341374, 1, 30)},
		{"1,1,139,341374,1,0", true, NewHit(1, 139, 341374, 1, 0)},
	} {
		for _, end := range []string{"", "\n", "\r\n", "\r"} {
			// Behind other rows it is met by the fast path as it is set up, and as it has guessed wrong.
			for _, others := range []string{"", strings.Repeat(test.row+"\n", 40), strings.Repeat("1,0,1,12345,0,0\n1,1,1,1234567890,0,0\n", 40)} {
				if !test.lcp {
					others = strings.ReplaceAll(others, "1,0,1,", "2,0,1,")
					others = strings.ReplaceAll(others, "1,1,1,", "2,1,1,")
				}
				got, bad := DecodeCSV(nil, nil, []byte(others+test.row+end), test.lcp)
				if len(bad) != 0 {
					t.Errorf("%q: %s", test.row+end, bad[0].Reason)
				} else if w := got[len(got)-1]; w != test.want {
					t.Errorf("%q is %#x; want %#x", test.row+end, w, test.want)
				}
			}
		}
	}
}

func TestBadRows(t *testing.T) {
	long := strings.Repeat("7", 70000)
	for _, test := range []struct{ row, field, class, reason string }{
		{"", "", BadBlank, "blank line"},
		{" \t", "", BadBlank, "blank line"},
		{Header, "", BadHeader, "header again"},
		{" " + Header + " ", "", BadHeader, "header again"},
		{"2,0,5,1,2", "", BadColumns, "6 columns wanted, 5 found"},
		{"2,0,5,1,2,3,4", "", BadColumns, "6 columns wanted, 7 found"},
		{"hello", "", BadColumns, "6 columns wanted, 1 found"},
		{long, "", BadLength, "line of 70000 bytes is longer than 65536"},
		{"2,0,5,1\x00,2,3", "", BadNUL, "contains a NUL byte"},
		{"2,0,12x,1,2,3", "TDC_CHANNEL", BadNumber, `TDC_CHANNEL: "12x" is not a number`},
		{"2,0, 5,1,2,3", "TDC_CHANNEL", BadNumber, `TDC_CHANNEL: " 5" is not a number`},
		{"2,0,+5,1,2,3", "TDC_CHANNEL", BadNumber, `TDC_CHANNEL: "+5" is not a number`},
		{"2,0,-5,1,2,3", "TDC_CHANNEL", BadRange, `TDC_CHANNEL: -5 is below 0`},
		{"2,0,,1,2,3", "TDC_CHANNEL", BadNumber, `TDC_CHANNEL: "" is not a number`},
		{"2,0,5,1,,3", "BX_COUNTER", BadNumber, `BX_COUNTER: "" is not a number`},
		{"2,0,5,1,2,", "TDC_MEAS", BadNumber, `TDC_MEAS: "" is not a number`},
		{"2,0,5,,2,3", "ORBIT_CNT", BadNumber, `ORBIT_CNT: "" is not a number`},
		{"2,0,5,1.0,2,3", "ORBIT_CNT", BadNumber, `ORBIT_CNT: "1.0" is not a number`},
		{"2,0,5,1,2,3.0", "TDC_MEAS", BadNumber, `TDC_MEAS: "3.0" is not a number`},
		{"2,0,5,0000000000001,2,3", "ORBIT_CNT", BadRange, `ORBIT_CNT: "0000000000001" has more than 12 digits`},
		{"8,0,5,1,2,3", "HEAD", BadRange, "HEAD: 8 is above 7"},
		{"2,8,5,1,2,3", "FPGA", BadRange, "FPGA: 8 is above 7"},
		{"2,0,600,1,2,3", "TDC_CHANNEL", BadRange, "TDC_CHANNEL: 600 is above 511"},
		{"2,0,512,1,2,3", "TDC_CHANNEL", BadRange, "TDC_CHANNEL: 512 is above 511"},
		{"2,0,5,4294967296,2,3", "ORBIT_CNT", BadRange, "ORBIT_CNT: 4294967296 is above 4294967295"},
		{"2,0,5,9999999999,2,3", "ORBIT_CNT", BadRange, "ORBIT_CNT: 9999999999 is above 4294967295"},
		{"2,0,5,1,4096,3", "BX_COUNTER", BadRange, "BX_COUNTER: 4096 is above 4095"},
		{"2,0,5,1,40960,3", "BX_COUNTER", BadRange, "BX_COUNTER: 40960 is above 4095"},
		{"2,0,5,1,2,32", "TDC_MEAS", BadRange, "TDC_MEAS: 32 is above 31"},
		{"0,0,32,1,2,3", "TDC_CHANNEL", BadRange, "TDC_CHANNEL: 32 is above 31"},
		{"1,0,0,1,2,3", "BX_COUNTER", BadRange, "BX_COUNTER: 2 is not 0, as it must be where HEAD is 1"},
		{"1,0,0,1,0,256", "TDC_MEAS", BadRange, "TDC_MEAS: 256 is above 255"},
		{"3,0,0,1,65536,0", "BX_COUNTER", BadRange, "BX_COUNTER: 65536 is above 65535"},
		{"4,0,1,1,0,0.5", "TDC_CHANNEL", BadRange, "TDC_CHANNEL: 1 is not 0, as it must be where HEAD is 4"},
		{"4,0,0,1,7,0.500000", "BX_COUNTER", BadRange, "BX_COUNTER: 7 is not 0, as it must be where HEAD is 4"},
		{"4,0,0,1,0,65520.000000", "TDC_MEAS", BadRange, `TDC_MEAS: "65520.000000" is above 65504, the highest half-float`},
		{"4,0,0,1,0,.500000", "TDC_MEAS", BadNumber, `TDC_MEAS: ".500000" is not a number`},
		{"4,0,0,1,0,1e3", "TDC_MEAS", BadNumber, `TDC_MEAS: "1e3" is not a number`},
		{"4,0,0,1,0,1.", "TDC_MEAS", BadNumber, `TDC_MEAS: "1." is not a number`},
		{"4,0,0,1,0,--1.500000", "TDC_MEAS", BadNumber, `TDC_MEAS: "--1.500000" is not a number`},
		{"4,0,0,1,0,NaN", "TDC_MEAS", BadNumber, `TDC_MEAS: "NaN" is not a number`},
		{"7,0,0,1,0,1", "TDC_MEAS", BadRange, "TDC_MEAS: 1 is not 0, as it must be where HEAD is 7"},
		{"2,0,5,1,0,-3", "TDC_MEAS", BadRange, "TDC_MEAS: -3 is below 0"},
		{"2,0," + strings.Repeat("x", 50) + ",1,0,3", "TDC_CHANNEL", BadNumber, `TDC_CHANNEL: "` + strings.Repeat("x", 40) + `" is not a number`},
	} {
		good := strings.Repeat("2,1,5,1,2,3\n", 60)
		for _, before := range []string{"", good} {
			words, bad := DecodeCSV(nil, nil, []byte(before+test.row+"\r\n"+good), false)
			record := strings.Count(before, "\n")
			want := Bad{record, record, []byte(test.row), test.field, test.reason, test.class}
			if len(bad) != 1 || fmt.Sprint(bad[0]) != fmt.Sprint(want) {
				t.Errorf("%.40q: %v; want %v", test.row, bad, want)
			}
			if len(words) != record+60 {
				t.Errorf("%.40q: %d words around it; want %d", test.row, len(words), record+60)
			}
		}
	}
	for row, reason := range map[string]string{
		"2,0,1,5,0,0":   "HEAD: 2 is above 1",
		"0,0,1,5,0,0":   "HEAD: 0 is below 1",
		"4,0,0,5,0,0.5": "HEAD: 4 is above 1",
		"1,0,0,5,0,0":   "TDC_CHANNEL: 0 is below 1",
		"1,0,1,5,0,31":  "TDC_MEAS: 31 is above 30",
	} {
		if _, bad := DecodeCSV(nil, nil, []byte(row), true); len(bad) != 1 || bad[0].Reason != reason {
			t.Errorf("course row %q: %v; want %q", row, bad, reason)
		}
	}
}

func TestNoLines(t *testing.T) {
	if words, bad := DecodeCSV(nil, nil, nil, false); len(words)+len(bad) != 0 {
		t.Error("words or bad records of nothing")
	}
	// A call appends, and counts records from its own first.
	words, bad := DecodeCSV([]uint64{7}, []Bad{{}}, []byte("2,0,0,0,0,0\nx"), false)
	if len(words) != 2 || words[0] != 7 || len(bad) != 2 || bad[1].Record != 1 {
		t.Errorf("%x, %v", words, bad)
	}
}

func TestIsHeader(t *testing.T) {
	for line, want := range map[string]bool{Header: true, Header + "\r\n": true, "  " + Header + " ": true, "": false, "2,0,1,2,3,4": false, Header + ",": false} {
		if IsHeader([]byte(line)) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
}

// Canonical text of any word goes there and back, is decoded by the fast path, and by the slow one to the same word.
func TestThereAndBack(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var words []uint64
	var text []byte
	for range 200_000 {
		w := anyWord(r)
		words = append(words, w)
		text = AppendCSV(text, w)
	}
	got, bad := DecodeCSV(nil, nil, text, false)
	if len(bad) > 0 {
		t.Fatal(bad[0].Reason)
	}
	var again []byte
	for i, line := range bytes.SplitAfter(text, []byte("\n"))[:len(words)] {
		again = AppendCSV(again[:0], got[i])
		if !bytes.Equal(again, line) {
			t.Fatalf("%q comes back as %q", line, again)
		}
		if got[i] != words[i] && !HasHalf(words[i]) {
			t.Fatalf("%q: %#x; want %#x", line, got[i], words[i])
		}
		if w, f := decodeLine(line[:len(line)-1], false); f != nil || w != got[i] {
			t.Fatalf("%q: %#x by the fast path, %#x (%v) by the slow one", line, got[i], w, f)
		}
	}
}

func TestFastPathIsTaken(t *testing.T) {
	text := streamRows(1<<20, false)
	out := make([]uint64, len(text)/10)
	start := bytes.IndexByte(text, '\n') + 1
	if _, p := decodeRows(out, text, start, 0); p < len(text)-window {
		line, _ := nextLine(text, p)
		t.Errorf("the fast path stops at %q", line)
	}
}

// Every half-float is printed as C does, and its text decoded by both paths to the nearest one, of two to the even.
func TestHalves(t *testing.T) {
	for h := range 1 << 16 {
		w := uint64(4)<<HeadShift | 617000<<24 | uint64(h)
		row := AppendCSV(nil, w)
		f := HalfToFloat(uint16(h))
		number := fmt.Sprintf("%.6f", f)
		switch {
		case math.IsNaN(f):
			number = strings.Repeat("-", h>>15) + "nan"
		case math.IsInf(f, 0):
			number = strings.Repeat("-", h>>15) + "inf"
		}
		if want := "4,0,0,617000,0," + number + "\n"; string(row) != want {
			t.Fatalf("%#04x: %q; want %q", h, row, want)
		}
		words, bad := DecodeCSV(nil, nil, row, false)
		if len(bad) > 0 {
			t.Fatalf("%q: %s", row, bad[0].Reason)
		}
		if slow, _ := decodeLine(row[:len(row)-1], false); slow != words[0] {
			t.Fatalf("%q: %#x by the fast path, %#x by the slow one", row, words[0], slow)
		}
		if again := AppendCSV(nil, words[0]); !bytes.Equal(again, row) {
			t.Fatalf("%q comes back as %q", row, again)
		}
		if !math.IsInf(f, 0) && !math.IsNaN(f) {
			micros, _ := strconv.ParseInt(strings.NewReplacer(".", "", "-", "").Replace(number), 10, 64)
			checkNearest(t, micros, uint16(words[0])&0x7fff)
		}
	}
	// Text that no half-float prints, and text half way between two.
	r := rand.New(rand.NewPCG(5, 6))
	for range 200_000 {
		micros := r.Int64N(65_519_999_999) >> r.IntN(36)
		if r.IntN(4) == 0 {
			h := uint16(r.IntN(halfInf - 1))
			micros = int64(math.Round((HalfToFloat(h) + HalfToFloat(h+1)) / 2 * 1e6))
		}
		row := fmt.Appendf(nil, "5,1,0,9,0,-%d.%06d\n", micros/1e6, micros%1e6)
		words, bad := DecodeCSV(nil, nil, row, false)
		if len(bad) > 0 {
			t.Fatalf("%q: %s", row, bad[0].Reason)
		}
		if slow, _ := decodeLine(row[:len(row)-1], false); slow != words[0] {
			t.Fatalf("%q: %#x by the fast path, %#x by the slow one", row, words[0], slow)
		}
		checkNearest(t, micros, uint16(words[0])&0x7fff)
	}
}

// checkNearest compares in units of 1e-6 · 2^-24, of which every half-float and every text is a whole number.
func checkNearest(t *testing.T, micros int64, h uint16) {
	t.Helper()
	distance := func(h uint16) int64 {
		d := int64(HalfToFloat(h)*(1<<24))*1e6 - micros<<24
		return max(d, -d)
	}
	for _, other := range []uint16{h - 1, h + 1} {
		if other >= halfInf {
			continue
		}
		if d, best := distance(other), distance(h); d < best || d == best && h&1 == 1 {
			t.Fatalf("%d millionths: %#04x is nearer than %#04x", micros, other, h)
		}
	}
}

// Every channel of a course row comes out as FromLCPText has it.
func TestCourseChannels(t *testing.T) {
	var text []byte
	for channel := 1; channel <= MaxChannel; channel++ {
		text = fmt.Appendf(text, "1,%d,%d,%d,%d,%d\n", channel&1, channel, 340000+channel, channel, channel%31)
	}
	words, bad := DecodeCSV(nil, nil, text, true)
	if len(bad) > 0 {
		t.Fatal(bad[0].Reason)
	}
	for i, w := range words {
		channel := i + 1
		want, ok := FromLCPText(1, channel&1, channel, uint32(340000+channel), channel, channel%31)
		if !ok || w != want {
			t.Errorf("channel %d: %#x; want %#x, %v", channel, w, want, ok)
		}
	}
}

func TestDecodeJSON(t *testing.T) {
	for line, want := range map[string]uint64{
		`{"HEAD": 2, "FPGA": 0, "TDC_CHANNEL": 70, "ORBIT_CNT": 3869200167.0, "BX_COUNTER": 2374, "TDC_MEAS": 26.0}`:                                        NewHit(0, 70, 3869200167, 2374, 26),
		` {"TDC_MEAS":26,"HEAD":2.0 ,"x":{"HEAD":[1,"}"]},"FPGA":0,"BX_COUNTER":2374,"y":"a\"b}","TDC_CHANNEL":70,"z":NaN,"ORBIT_CNT":3869200167}` + "\t\r": NewHit(0, 70, 3869200167, 2374, 26),
		`{"HEAD": 4, "FPGA": 1, "TDC_CHANNEL": 0, "ORBIT_CNT": 7.0, "BX_COUNTER": 0, "TDC_MEAS": -0.537109}`:                                                4<<61 | 1<<58 | 7<<24 | 0xb84c,
		`{"HEAD": 4, "FPGA": 1, "TDC_CHANNEL": 0, "ORBIT_CNT": 7.0, "BX_COUNTER": 0, "TDC_MEAS": -1.5e-05}`:                                                 4<<61 | 1<<58 | 7<<24 | 0x80fc,
		`{"HEAD": 4, "FPGA": 1, "TDC_CHANNEL": 0, "ORBIT_CNT": 7.0, "BX_COUNTER": 0, "TDC_MEAS": -Infinity}`:                                                4<<61 | 1<<58 | 7<<24 | 0xfc00,
		`{"HEAD": 4, "FPGA": 1, "TDC_CHANNEL": 0, "ORBIT_CNT": 7.0, "BX_COUNTER": 0, "TDC_MEAS": NaN}`:                                                      4<<61 | 1<<58 | 7<<24 | 0x7e00,
	} {
		words, bad := DecodeJSON(nil, nil, []byte(line+"\n"), false)
		if len(bad) > 0 {
			t.Errorf("%s: %s", line, bad[0].Reason)
		} else if words[0] != want {
			t.Errorf("%s: %#x; want %#x", line, words[0], want)
		}
	}
	rest := `"FPGA": 0, "TDC_CHANNEL": 70, "ORBIT_CNT": 3.0, "BX_COUNTER": 2374, "TDC_MEAS": 26.0}`
	for _, test := range []struct{ line, field, class, reason string }{
		{``, "", BadBlank, "blank line"},
		{`2,0,1,2,3,4`, "", BadJSON, "not a JSON object: it does not begin with {"},
		{`{}`, "HEAD", BadMissing, "HEAD: key is missing"},
		{`{` + rest, "HEAD", BadMissing, "HEAD: key is missing"},
		{`{"HEAD": 2, "HEAD": 2, ` + rest, "HEAD", BadTwice, "HEAD: key given twice"},
		{`{"HEAD": , ` + rest, "", BadJSON, "not a JSON object: a value is missing"},
		{`{"HEAD": 2, ` + rest + "}", "", BadJSON, "not a JSON object: more text after the object"},
		{`{"HEAD": 2, ` + rest[:len(rest)-1], "", BadJSON, "not a JSON object: the } at the end is missing"},
		{`{"HEAD"`, "", BadJSON, "not a JSON object: a : is missing"},
		{`{"HEAD": 2,}`, "", BadJSON, "not a JSON object: a key is missing"},
		{`{"x": wrong, "HEAD": 2, ` + rest, "", BadJSON, `not a JSON object: "\"x\"" is not valid`},
		{`{"HEAD": "2", ` + rest, "HEAD", BadNumber, `HEAD: "\"2\"" is not a number`},
		{`{"HEAD": 2.5, ` + rest, "HEAD", BadNumber, `HEAD: "2.5" is not a number`},
		{`{"HEAD": null, ` + rest, "HEAD", BadNumber, `HEAD: "null" is not a number`},
		{`{"HEAD": 9, ` + rest, "HEAD", BadRange, `HEAD: 9 is above 7`},
		{`{"HEAD": 4, ` + strings.ReplaceAll(strings.ReplaceAll(rest, "70", "0"), "2374", "0"), "", "", ""},
	} {
		_, bad := DecodeJSON(nil, nil, []byte(test.line+"\n"), false)
		switch {
		case test.class == "":
			if len(bad) > 0 {
				t.Errorf("%s: %s", test.line, bad[0].Reason)
			}
		case len(bad) != 1 || bad[0].Field != test.field || bad[0].Class != test.class || bad[0].Reason != test.reason || string(bad[0].Text) != test.line:
			t.Errorf("%s: %v; want %q, %q, %q", test.line, bad, test.field, test.class, test.reason)
		}
	}
}

func TestAppendJSON(t *testing.T) {
	for row, want := range map[string]string{
		"2,0,70,3869200167,2374,26":    `{"HEAD": 2, "FPGA": 0, "TDC_CHANNEL": 70, "ORBIT_CNT": 3869200167.0, "BX_COUNTER": 2374, "TDC_MEAS": 26.0}`,
		"4,1,0,3387339329,0,-0.537109": `{"HEAD": 4, "FPGA": 1, "TDC_CHANNEL": 0, "ORBIT_CNT": 3387339329.0, "BX_COUNTER": 0, "TDC_MEAS": -0.537109}`,
		"3,1,0,0,65535,0":              `{"HEAD": 3, "FPGA": 1, "TDC_CHANNEL": 0, "ORBIT_CNT": 0.0, "BX_COUNTER": 65535, "TDC_MEAS": 0.0}`,
	} {
		words, _ := DecodeCSV(nil, nil, []byte(row), false)
		if got := AppendJSON(nil, words[0]); string(got) != want+"\n" {
			t.Errorf("%s: %s; want %s", row, got, want)
		}
	}
	// The half-floats against a float of the same text, printed by Python's rules.
	for h := range 1 << 16 {
		w := uint64(5)<<HeadShift | uint64(h)
		row, object := AppendCSV(nil, w), AppendJSON(nil, w)
		text := strings.TrimSuffix(string(row[bytes.LastIndexByte(row, ',')+1:]), "\n")
		f, _ := strconv.ParseFloat(text, 64)
		want := strconv.FormatFloat(f, 'f', -1, 64)
		switch {
		case strings.HasSuffix(text, "nan"):
			want = "NaN"
		case strings.HasSuffix(text, "inf"):
			want = strings.Replace(text, "inf", "Infinity", 1)
		case f != 0 && math.Abs(f) < 1e-4:
			want = strconv.FormatFloat(f, 'e', -1, 64)
		case !strings.Contains(want, "."):
			want += ".0"
		}
		if want = `"TDC_MEAS": ` + want + "}\n"; !bytes.HasSuffix(object, []byte(want)) {
			t.Fatalf("%#04x: %s; want %s", h, object, want)
		}
		if words, bad := DecodeJSON(nil, nil, object, false); len(bad) > 0 || !strings.HasSuffix(text, "nan") && !bytes.Equal(AppendCSV(nil, words[0]), row) {
			t.Fatalf("%s: %#x, %v", object, words, bad)
		}
	}
}

func TestNumbers(t *testing.T) {
	var b [maxRow]byte
	check := func(v uint32) {
		if n := putNumber(b[:], 0, v, 'x'); string(b[:n]) != strconv.FormatUint(uint64(v), 10)+"x" {
			t.Fatalf("%d is printed as %q", v, b[:n])
		}
	}
	for v := range uint32(100_000) {
		check(v)
		check(v * 10_000)
		check(math.MaxUint32 - v)
		check(v*42949 + 1)
	}
}

func TestNoAllocations(t *testing.T) {
	text := streamRows(1<<16, false)
	words, _ := DecodeCSV(nil, nil, text, false)
	var row, object []byte
	for _, w := range words {
		object = AppendJSON(object, w)
	}
	for name, f := range map[string]func(){
		"DecodeCSV":  func() { words, _ = DecodeCSV(words[:0], nil, text, false) },
		"DecodeJSON": func() { words, _ = DecodeJSON(words[:0], nil, object, false) },
		"Append":     func() { row = AppendJSON(AppendCSV(row[:0], words[0]), words[0]) },
	} {
		f()
		if n := testing.AllocsPerRun(10, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// The fast path agrees with the slow one, record by record, and what is accepted has text that goes there and back.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{
		"2,1,36,3387200956,2165,28\n4,0,0,3387339329,0,-0.537109\n3,0,0,3387339394,4353,0\r\n1,0,0,3387339394,0,4\n0,1,4,3387315706,3055,4\n",
		"2,0,5,1,2,3\n2,0,5,99999,2,3\n2,0,5,100000,2,3\n2,0,5,4294967295,2,3\n2,0,5,4294967296,2,3\n",
		// Bytes that are no digits, where a shorter orbit has none: alone, and behind a longer one of another FPGA.
		"2,0,5,\x009999,2,3", "2,0,5,\xff9999,2,3", "2,0,5,1234,2,3\n2,1,5,12345,2,3\n2,0,5,\x001234,2,3\n2,0,5,\xff1234,2,3\n1,0,0,1234,0,3\n1,0,0,\x011234,0,3\n",
		"5,0,0,1,0,65504.000000\n5,0,0,1,0,-65519.9\n5,0,0,1,0,inf\n\n" + Header + "\n2,0,1,1,1\n",
		"1,0,1,5,0,0\n1,0,139,617000,3563,30", "2,0,1 1 1,1\n2,0,1,1-1,1,1\n2,0,1,1,1.1,1\n2,0,1,1,1,/\n2:0,1,1,1,1\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, src []byte, lcp bool) {
		// Once alone and once between rows, away from the ends of src.
		around := []byte(strings.Repeat("1,0,1,1234567,89,10\n", 40))
		for _, text := range [][]byte{src, append(append(append([]byte{}, around...), src...), append([]byte("\n"), around...)...)} {
			words, bad := DecodeCSV(nil, nil, text, lcp)
			records := len(words) + len(bad)
			for record, p := 0, 0; p < len(text); record++ {
				var line []byte
				line, p = nextLine(text, p)
				w, fault := decodeLine(line, lcp)
				if fault != nil {
					if len(bad) == 0 || fmt.Sprint(bad[0]) != fmt.Sprint(fault.bad(record, line)) {
						t.Fatalf("%q: %v; want %v", line, bad, fault)
					}
					bad = bad[1:]
					continue
				}
				if len(words) == 0 || words[0] != w {
					t.Fatalf("%q: %#x; want %#x", line, words, w)
				}
				words = words[1:]
				row := AppendCSV(nil, w)
				again, rejected := DecodeCSV(nil, nil, row, false)
				if len(rejected) > 0 || !bytes.Equal(AppendCSV(nil, again[0]), row) {
					t.Fatalf("%q: %q does not come back", line, row)
				}
				if p == len(text) && record+1 != records {
					t.Fatalf("%d records; want %d", records, record+1)
				}
			}
			if len(words)+len(bad) > 0 {
				t.Fatalf("%d words and %d bad records too many", len(words), len(bad))
			}
		}
	})
}

// What is accepted has an object that goes there and back, and every line is a record.
func FuzzJSON(f *testing.F) {
	object := `{"HEAD": 2, "FPGA": 0, "TDC_CHANNEL": 70, "ORBIT_CNT": 3869200167.0, "BX_COUNTER": 2374, "TDC_MEAS": 26.0}` + "\n"
	f.Add([]byte(object), false)
	f.Add([]byte(strings.Replace(object, "2,", "1,", 1)), true)
	f.Add([]byte(`{"HEAD":4,"FPGA":0,"TDC_CHANNEL":0,"ORBIT_CNT":3,"BX_COUNTER":0,"TDC_MEAS":-1.5e-05,"x":["}"]}`), false)
	f.Add([]byte("{\n}\n\n"), false)
	f.Fuzz(func(t *testing.T, src []byte, lcp bool) {
		words, bad := DecodeJSON(nil, nil, src, lcp)
		lines := bytes.Count(src, []byte("\n"))
		if len(src) > 0 && src[len(src)-1] != '\n' {
			lines++
		}
		if len(words)+len(bad) != lines {
			t.Fatalf("%d words and %d bad records of %d lines", len(words), len(bad), lines)
		}
		for _, w := range words {
			object := AppendJSON(nil, w)
			again, rejected := DecodeJSON(nil, nil, object, false)
			if len(rejected) > 0 || !bytes.Equal(AppendJSON(nil, again[0]), object) {
				t.Fatalf("%q does not come back", object)
			}
		}
	})
}

func BenchmarkDecodeCSV(b *testing.B) {
	run := func(name string, text []byte, lcp bool) {
		b.Run(name, func(b *testing.B) {
			if len(text) == 0 {
				b.Skip("the real rows are not there")
			}
			words, bad := DecodeCSV(nil, nil, text, lcp)
			if len(bad) > 0 {
				b.Fatal(bad[0].Reason)
			}
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				words, _ = DecodeCSV(words[:0], nil, text, lcp)
			}
		})
	}
	hits, stream := streamRows(1<<20, true), streamRows(1<<20, false)
	run("hits", hits, false)
	run("stream", stream, false)
	run("crlf", bytes.ReplaceAll(stream, []byte("\n"), []byte("\r\n")), false)
	words, _ := DecodeCSV(nil, nil, hits, false)
	var course []byte
	for _, w := range words {
		course = fmt.Appendf(course, "1,%d,%d,%d,%d,%d\n", FPGA(w), Channel(w)+1, Orbit(w), BX(w), TDC(w))
	}
	run("course", course, true)
	real, err := os.ReadFile("../../../shared/data/stream_990.csv")
	if err != nil {
		real = []byte(Header + "\n")
	}
	run("real", bytes.Repeat(real[len(Header)+1:], 46), false)
}

func BenchmarkDecodeJSON(b *testing.B) {
	words, _ := DecodeCSV(nil, nil, streamRows(1<<18, false), false)
	var text []byte
	for _, w := range words {
		text = AppendJSON(text, w)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		words, _ = DecodeJSON(words[:0], nil, text, false)
	}
}

func BenchmarkAppend(b *testing.B) {
	words, _ := DecodeCSV(nil, nil, streamRows(1<<18, false), false)
	for name, print := range map[string]func([]byte, uint64) []byte{"CSV": AppendCSV, "JSON": AppendJSON} {
		b.Run(name, func(b *testing.B) {
			var text []byte
			b.ReportAllocs()
			for b.Loop() {
				text = text[:0]
				for _, w := range words {
					text = print(text, w)
				}
			}
			b.SetBytes(int64(len(text)))
		})
	}
}
