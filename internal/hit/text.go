package hit

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strconv"
)

// Header is the first line of the text form, where there is one: the names of its six columns.
const Header = "HEAD,FPGA,TDC_CHANNEL,ORBIT_CNT,BX_COUNTER,TDC_MEAS"

// MaxLine bounds a line of text, without its end, so that a file with no line end in it is told from one with words.
const MaxLine = 65536

// Classes of bad records: what a ledger counts them under.
const (
	BadNumber  = "not a number"
	BadRange   = "out of range"
	BadColumns = "wrong number of columns"
	BadBlank   = "blank line"
	BadHeader  = "header again"
	BadLength  = "line too long"
	BadNUL     = "NUL byte"
	BadJSON    = "not a JSON object"
	BadMissing = "missing key"
	BadTwice   = "key given twice"
)

// Bad is a record that is no word.
type Bad struct {
	Record int    // among the records of the call, from 0
	Line   int    // in src, from 0
	Text   []byte // the record, without its line end; part of src
	Field  string // the column at fault, or ""
	Reason string // for people
	Class  string // one of the constants above
}

// A fault is what Bad says about a line, but for its place. Good lines have none.
type fault struct{ field, reason, class string }

func (f *fault) bad(record int, line []byte) Bad {
	return Bad{Record: record, Line: record, Text: line, Field: f.field, Reason: f.reason, Class: f.class}
}

// The columns, in the order of the text.
const (
	colHead = iota
	colFPGA
	colChannel
	colOrbit
	colBX
	colTDC
	columns
)

var columnNames = [columns]string{"HEAD", "FPGA", "TDC_CHANNEL", "ORBIT_CNT", "BX_COUNTER", "TDC_MEAS"}

// A layout is where the columns of one HEAD go: the values each may have, 1 << the shift of its bits, and the HEAD of
// the word.
type layout struct {
	minChannel, maxChannel, maxBX, maxTDC   uint64
	unitChannel, unitBX, unitTDC, unitOrbit uint64
	top                                     uint64
}

// The layouts by HEAD; those of course rows, which become hits, begin at 8. A column without bits in the word must be
// 0, or it would be lost. HEAD 4 and 5 have their half-float beside this.
var layouts = [16]layout{
	0:           {0, 31, 4095, 31, 1, 1 << 12, 1 << 7, 1 << 24, 0 << HeadShift},
	1:           {0, 0, 0, 255, 0, 0, 1 << 16, 1 << 24, 1 << HeadShift},
	HeadHit:     {0, MaxChannel, MaxBX, MaxTDC, 1 << ChannelShift, 1 << BXShift, 1, 1 << OrbitShift, HeadHit << HeadShift},
	3:           {0, 0, 0xffff, 0, 0, 1, 0, 1 << 24, 3 << HeadShift},
	4:           {unitOrbit: 1 << 24, top: 4 << HeadShift},
	5:           {unitOrbit: 1 << 24, top: 5 << HeadShift},
	6:           {unitOrbit: 1 << 24, top: 6 << HeadShift},
	7:           {unitOrbit: 1 << 24, top: 7 << HeadShift},
	8:           noLayout,
	8 + lcpHead: {1, MaxChannel, MaxBX, MaxTDC - 1, 1 << ChannelShift, 1 << BXShift, 1, 1 << OrbitShift, HeadHit << HeadShift},
	10:          noLayout, 11: noLayout, 12: noLayout, 13: noLayout, 14: noLayout, 15: noLayout,
}

// noLayout has no values that are allowed.
var noLayout = layout{minChannel: 1 << 62}

// IsHeader reports whether line, with or without its end and spaces around it, is the header.
func IsHeader(line []byte) bool { return string(bytes.TrimSpace(line)) == Header }

// DecodeCSV appends to dst the words of src, lines of which the last may lack its end, and to bad the lines that
// are none. With lcp the lines are those of a course file (layout v1), and the words v2 hits.
func DecodeCSV(dst []uint64, bad []Bad, src []byte, lcp bool) ([]uint64, []Bad) {
	var heads uint64
	if lcp {
		heads = 8
	}
	words, bads := len(dst), len(bad)
	for p := 0; p < len(src); {
		if len(dst) == cap(dst) {
			const shortish = 20 // bytes in a row
			dst = slices.Grow(dst, (len(src)-p)/shortish+1)
		}
		out := dst[len(dst):cap(dst)]
		var n int
		if p >= before && len(src)-p >= window {
			n, p = decodeRows(out, src, p, heads)
		} else {
			// Near either end of src the rows are decoded from a copy with zeros around it.
			var buf [before + 2*window]byte
			copy(buf[before:before+window], src[p:])
			n, _ = decodeRows(out, buf[:], before, heads)
			for range n {
				p += bytes.IndexByte(src[p:], '\n') + 1
			}
		}
		if lcp {
			for i, w := range out[:n] {
				out[i], _ = FromLCPText(lcpHead, FPGA(w), Channel(w), Orbit(w), BX(w), TDC(w))
			}
		}
		dst = dst[:len(dst)+n]
		if n > 0 {
			continue
		}
		var line []byte
		line, p = nextLine(src, p)
		if w, f := decodeLine(line, lcp); f == nil {
			dst = append(dst, w)
		} else {
			bad = append(bad, f.bad(len(dst)-words+len(bad)-bads, line))
		}
	}
	return dst, bad
}

// DecodeJSON is DecodeCSV for lines with one JSON object each, which has the names of the columns as its keys. Other
// keys are ignored. Whole numbers may be written as floats are, with .0 behind them, and NaN and Infinity as Python has them.
func DecodeJSON(dst []uint64, bad []Bad, src []byte, lcp bool) ([]uint64, []Bad) {
	words, bads := len(dst), len(bad)
	for p := 0; p < len(src); {
		var line []byte
		line, p = nextLine(src, p)
		if w, f := decodeObject(line, lcp); f == nil {
			dst = append(dst, w)
		} else {
			bad = append(bad, f.bad(len(dst)-words+len(bad)-bads, line))
		}
	}
	return dst, bad
}

// nextLine returns the line at src[p:] without its end, and where the next one starts.
func nextLine(src []byte, p int) (line []byte, next int) {
	line, next = src[p:], len(src)
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line, next = line[:i], p+i+1
	}
	return bytes.TrimSuffix(line, []byte("\r")), next
}

// decodeObject returns the word of a JSON object.
func decodeObject(line []byte, lcp bool) (uint64, *fault) {
	if f := lineFault(line); f != nil {
		return 0, f
	}
	var cols [columns][]byte
	rest := trimSpaces(line)
	if rest[0] != '{' {
		return 0, notJSON("it does not begin with {")
	}
	for first := true; ; first = false {
		rest = trimSpaces(rest[1:])
		if first && len(rest) > 0 && rest[0] == '}' {
			break
		}
		if len(rest) == 0 || rest[0] != '"' {
			return 0, notJSON("a key is missing")
		}
		keyEnd := valueEnd(rest, ':')
		if keyEnd == len(rest) {
			return 0, notJSON("a : is missing")
		}
		key := trimSpaces(rest[:keyEnd])
		rest = rest[keyEnd+1:]
		end := valueEnd(rest, ',')
		if end == len(rest) {
			return 0, notJSON("the } at the end is missing")
		}
		value := trimSpaces(rest[:end])
		rest = rest[end:]
		if len(value) == 0 {
			return 0, notJSON("a value is missing")
		}
		if c := columnOf(key); c < 0 {
			if !json.Valid(key) || !json.Valid(value) && !isPythonFloat(value) {
				return 0, notJSON(fmt.Sprintf("%.40q is not valid", key))
			}
		} else if cols[c] != nil {
			return 0, &fault{columnNames[c], columnNames[c] + ": key given twice", BadTwice}
		} else {
			cols[c] = value
		}
		if rest[0] == '}' {
			break
		}
	}
	if len(rest) > 1 {
		return 0, notJSON("more text after the object")
	}
	for c, value := range cols {
		if value == nil {
			return 0, &fault{columnNames[c], columnNames[c] + ": key is missing", BadMissing}
		}
	}
	return decodeColumns(&cols, lcp, true)
}

// trimSpaces is bytes.TrimSpace for the spaces of a JSON line, and inlined.
func trimSpaces(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t') {
		text = text[1:]
	}
	for len(text) > 0 && (text[len(text)-1] == ' ' || text[len(text)-1] == '\t') {
		text = text[:len(text)-1]
	}
	return text
}

func notJSON(why string) *fault { return &fault{"", "not a JSON object: " + why, BadJSON} }

// valueEnd returns where in text a JSON value ends: at the separator, or the end of what it is part of, that stands
// outside of its strings and brackets.
func valueEnd(text []byte, separator byte) int {
	depth := 0
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case depth == 0 && (c == separator || c == '}'):
			return i
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	return len(text)
}

// columnOf returns the column that a quoted key names, or −1.
func columnOf(key []byte) int {
	switch string(key) {
	case `"HEAD"`:
		return colHead
	case `"FPGA"`:
		return colFPGA
	case `"TDC_CHANNEL"`:
		return colChannel
	case `"ORBIT_CNT"`:
		return colOrbit
	case `"BX_COUNTER"`:
		return colBX
	case `"TDC_MEAS"`:
		return colTDC
	}
	return -1
}

// isPythonFloat reports whether value is one that Python writes and JSON has not.
func isPythonFloat(value []byte) bool {
	switch string(value) {
	case "NaN", "Infinity", "-Infinity":
		return true
	}
	return false
}

// decodeLine is the slow path of DecodeCSV, for one line of any sort.
func decodeLine(line []byte, lcp bool) (uint64, *fault) {
	if f := lineFault(line); f != nil {
		return 0, f
	}
	if IsHeader(line) {
		return 0, &fault{"", "header again", BadHeader}
	}
	var cols [columns][]byte
	found := 0
	for rest, more := line, true; more; found++ {
		var col []byte
		col, rest, more = bytes.Cut(rest, []byte(","))
		if found < columns {
			cols[found] = col
		}
	}
	if found != columns {
		return 0, &fault{"", fmt.Sprintf("%d columns wanted, %d found", columns, found), BadColumns}
	}
	return decodeColumns(&cols, lcp, false)
}

// lineFault returns what is wrong with a line before its content is looked at.
func lineFault(line []byte) *fault {
	switch {
	case len(line) > MaxLine:
		return &fault{"", fmt.Sprintf("line of %d bytes is longer than %d", len(line), MaxLine), BadLength}
	case bytes.IndexByte(line, 0) >= 0:
		return &fault{"", "contains a NUL byte", BadNUL}
	case len(trimSpaces(line)) == 0:
		return &fault{"", "blank line", BadBlank}
	}
	return nil
}

// decodeColumns makes the word of six columns, which are written as in CSV or as in JSON.
func decodeColumns(cols *[columns][]byte, lcp, isJSON bool) (uint64, *fault) {
	var v [columns]uint64
	var half uint16
	high := [columns]uint64{colHead: MaxHead, colFPGA: MaxFPGA, colOrbit: MaxOrbit}
	low := [columns]uint64{}
	if lcp {
		low[colHead], high[colHead] = lcpHead, lcpHead
	}
	to := &layouts[0]
	for c := range columns {
		var f *fault
		if c == colTDC && v[colHead]&6 == 4 {
			if half, f = decodeHalf(cols[c], isJSON); f != nil {
				return 0, f
			}
			continue
		}
		text := cols[c]
		if isJSON {
			text = trimPointZero(text)
		}
		if v[c], f = decodeNumber(c, text); f != nil {
			return 0, f
		}
		name := columnNames[c]
		switch {
		case v[c] > high[c] && high[c] == 0:
			return 0, &fault{name, fmt.Sprintf("%s: %d is not 0, as it must be where HEAD is %d", name, v[c], v[colHead]), BadRange}
		case v[c] > high[c]:
			return 0, &fault{name, fmt.Sprintf("%s: %d is above %d", name, v[c], high[c]), BadRange}
		case v[c] < low[c]:
			return 0, &fault{name, fmt.Sprintf("%s: %d is below %d", name, v[c], low[c]), BadRange}
		}
		if c == colHead {
			to = &layouts[v[c]]
			if lcp {
				to = &layouts[8+v[c]]
			}
			low[colChannel], high[colChannel], high[colBX], high[colTDC] = to.minChannel, to.maxChannel, to.maxBX, to.maxTDC
		}
	}
	if lcp {
		w, _ := FromLCPText(int(v[colHead]), int(v[colFPGA]), int(v[colChannel]), uint32(v[colOrbit]), int(v[colBX]), int(v[colTDC]))
		return w, nil
	}
	return to.top | v[colFPGA]<<FPGAShift | v[colOrbit]*to.unitOrbit | v[colChannel]*to.unitChannel | v[colBX]*to.unitBX |
		v[colTDC]*to.unitTDC | uint64(half), nil
}

// trimPointZero cuts .0 from a whole number that is written as a float.
func trimPointZero(text []byte) []byte {
	whole := text
	for len(whole) > 0 && whole[len(whole)-1] == '0' {
		whole = whole[:len(whole)-1]
	}
	if len(whole) < len(text) && len(whole) > 0 && whole[len(whole)-1] == '.' {
		return whole[:len(whole)-1]
	}
	return text
}

// decodeNumber reads decimal digits. Zeros may lead, but there are at most 12 digits, so that nothing overflows.
func decodeNumber(column int, text []byte) (uint64, *fault) {
	const maxDigits = 12
	digits := bytes.TrimPrefix(text, []byte("-"))
	var v uint64
	for i, c := range digits {
		if c < '0' || c > '9' {
			return 0, notNumber(column, text)
		}
		if i < maxDigits {
			v = v*10 + uint64(c-'0')
		}
	}
	name := columnNames[column]
	switch {
	case len(digits) == 0:
		return 0, notNumber(column, text)
	case len(digits) > maxDigits:
		return 0, &fault{name, fmt.Sprintf("%s: %.40q has more than %d digits", name, text, maxDigits), BadRange}
	case len(digits) < len(text):
		return 0, &fault{name, fmt.Sprintf("%s: %s is below 0", name, text), BadRange}
	}
	return v, nil
}

func notNumber(column int, text []byte) *fault {
	name := columnNames[column]
	return &fault{name, fmt.Sprintf("%s: %.40q is not a number", name, text), BadNumber}
}

// decodeHalf returns the half-float nearest to a decimal number, as C prints it or as JSON has it.
func decodeHalf(text []byte, isJSON bool) (uint16, *fault) {
	digits, negative := bytes.CutPrefix(text, []byte("-"))
	var sign uint16
	if negative {
		sign = 0x8000
	}
	switch string(digits) {
	case "inf", "Infinity":
		if isJSON == (digits[0] == 'I') {
			return sign | halfInf, nil
		}
	case "nan", "NaN":
		if isJSON == (digits[0] == 'N') {
			return sign | halfInf | 0x200, nil
		}
	}
	if !isDecimal(digits, isJSON) {
		return 0, notNumber(colTDC, text)
	}
	f, err := strconv.ParseFloat(string(digits), 64)
	if err != nil { // isDecimal leaves only one error: beyond even a float64
		f = math.MaxFloat64
	}
	half := halfBits(f)
	// Where the float64 is half way between two half-floats, the text, of more digits, may not be.
	if below, above := math.Nextafter(f, 0), math.Nextafter(f, math.Inf(1)); f > 0 && halfBits(below) != halfBits(above) {
		if exact, ok := new(big.Rat).SetString(string(digits)); ok {
			switch exact.Cmp(new(big.Rat).SetFloat64(f)) {
			case -1:
				half = halfBits(below)
			case 1:
				half = halfBits(above)
			}
		}
	}
	if half >= halfInf {
		name := columnNames[colTDC]
		return 0, &fault{name, fmt.Sprintf("%s: %.40q is above 65504, the highest half-float", name, text), BadRange}
	}
	return sign | half, nil
}

// isDecimal reports whether text is digits, maybe with a point and more digits, and maybe, where allowed, an exponent.
func isDecimal(text []byte, exponents bool) bool {
	const maxText = 40 // a half-float has at most 5 digits before the point and 24 behind it
	if len(text) > maxText {
		return false
	}
	rest := trimDigits(text)
	if len(rest) == len(text) {
		return false
	}
	if len(rest) > 0 && rest[0] == '.' {
		decimals := rest[1:]
		if rest = trimDigits(decimals); len(rest) == len(decimals) {
			return false
		}
	}
	if exponents && len(rest) > 0 && (rest[0] == 'e' || rest[0] == 'E') {
		exponent := rest[1:]
		if len(exponent) > 0 && (exponent[0] == '-' || exponent[0] == '+') {
			exponent = exponent[1:]
		}
		if rest = trimDigits(exponent); len(rest) == len(exponent) {
			return false
		}
	}
	return len(rest) == 0
}

func trimDigits(text []byte) []byte {
	for len(text) > 0 && text[0] >= '0' && text[0] <= '9' {
		text = text[1:]
	}
	return text
}

// decodeRows is the fast path of DecodeCSV. It decodes rows from src[p:] to out for as long as they are plain, and
// returns how many there were and where it stopped: at the end of out, near either end of src, or before a row that
// decodeLine must judge. heads is 0, or 8 for course rows, whose words still have the channel of the text.
//
// It works on eight bytes at a time, and guesses that ORBIT_CNT has as many digits as in the row before: then HEAD,
// FPGA and TDC_CHANNEL are in the eight bytes at the start of the row, BX_COUNTER and TDC_MEAS in the eight behind
// ORBIT_CNT, and a table knows by the places of the separators there where their digits are. Each column is shifted
// to where the multiplications that make a number of its digits want it, two columns in one word where they fit. All
// but the last four digits of ORBIT_CNT are mostly those of the last word of that FPGA, and are looked up. What was
// taken on trust is checked at the end, gathered in wrong, so that rows have no branches that the processor could
// mispredict but those for the sort of word, which comes in cycles.
func decodeRows(out []uint64, src []byte, p int, heads uint64) (int, int) {
	n := 0
	if p < before || len(src) < window {
		return n, p
	}
	o := orbitText{digits: 1, low: 0xff000000}
	p -= before
	for n < len(out) && p >= 0 && p <= len(src)-window { // p >= 0 always, which saves the check of the slice
		row := (*[window]byte)(src[p : p+window])
		text := load(row[before:])
		// TDC_CHANNEL has a second and a third digit where bit 4 says so.
		second := text >> (5*8 + 4) & 1
		more := second + second&(text>>(6*8+4))
		// From here on all is counted from where ORBIT_CNT ends if TDC_CHANNEL has one digit and it none.
		at := int(more) + int(o.digits)
		wrong := (uint64(row[before+5+more]) ^ ',') | (uint64(row[before+6+at]) ^ ',')
		high := load(row[before-6+at:])&o.high | uint64(o.digits)
		low := uint64(binary.LittleEndian.Uint32(row[before+2+at:])^zeros>>32) & o.low
		rest := load(row[before+7+at:])
		t := &tails[uint8(digitMask(rest))]
		rest ^= zeros
		end := before + 7 + at + int(t.end)
		wrong |= uint64(row[before+7+at+int(t.bxEnd)]) ^ ','
		tdc := rest << (t.shiftTDC & 63) & t.keepTDC
		channel := uint64(uint32(text>>32)^zeros>>32) << (24 - 8*more) & 0xffffffff

		var w uint64
		if uint32(text)&^(7<<16) == '2'|','<<8|'0'<<16|','<<24 && heads == 0 {
			known := &o.known[text>>16&7]
			bx := rest << (t.shiftBX & 63)
			two, orbit := channel|tdc, low|bx
			wrong |= (high ^ known.text) | uint64(t.long) | (notDigits(two)|notDigits(orbit))&highBits
			two, orbit = quad(pair(two)), quad(pair(orbit))
			// Channel, BX and TDC, 16 bits each, of which the highest shows those out of range.
			two |= orbit >> 16
			wrong |= (two + ((0x7fff - MaxChannel) | (0x7fff-MaxBX)<<16 | (0x7fff-MaxTDC)<<32)) & 0x800080008000
			if wrong != 0 {
				if o.learn(row, more) {
					continue
				}
				break
			}
			w = HeadHit<<HeadShift | text>>16&7<<FPGAShift | two<<ChannelShift | (known.orbit+orbit&0xffff)<<OrbitShift | two>>16&0xffff<<BXShift | two>>32
		} else if text&6 == 4 && heads == 0 {
			// h,f,0,orbit,0,±i.dddddd
			start := text ^ ('0' | ','<<8 | '0'<<16 | ','<<24 | '0'<<32)
			known := &o.known[8+text>>16&7]
			wrong |= (high ^ known.text) | more | start&0xfffff8fff8 | rest&0xff | (uint64(t.bxEnd) ^ 1)
			wrong |= (uint64(row[before+9+at])^'-')&-uint64(t.minus) | (uint64(row[end]) ^ '.')
			orbit := low | tdc
			decimals := (load(row[end+1:]) ^ zeros) << 16
			wrong |= (notDigits(orbit) | notDigits(decimals)) & highBits
			orbit = quad(pair(orbit))
			micros := eightDigits(pair(decimals)) + orbit>>32*1e6
			half := halfBits(float64(int64(micros)) / 1e6)
			if wrong != 0 || half >= halfInf {
				if o.learn(row, more) {
					continue
				}
				break
			}
			w = start&7<<HeadShift | start>>16&7<<FPGAShift | (known.orbit+orbit&0xffff)<<24 | uint64(half) | uint64(t.minus)<<15
			end += 7
		} else {
			start := text ^ ('0' | ','<<8 | '0'<<16 | ','<<24)
			known := &o.known[8+text>>16&7]
			orbit, two := low|tdc, channel>>8|rest<<(t.shiftBX&63)
			wrong |= (high ^ known.text) | start&0xfff8fff8 | uint64(t.minus) | (notDigits(orbit)|notDigits(two))&highBits
			orbit, two = quad(pair(orbit)), eightDigits(pair(two))
			channel, bx, tdc := two/100000, two%100000, orbit>>32
			l := &layouts[start&7|heads]
			wrong |= ((l.maxChannel - channel) | (channel - l.minChannel) | (l.maxBX - bx) | (l.maxTDC - tdc)) >> 63
			if wrong != 0 {
				if o.learn(row, more) {
					continue
				}
				break
			}
			w = l.top | start>>16&7<<FPGAShift | (known.orbit+orbit&0xffff)*l.unitOrbit | channel*l.unitChannel | bx*l.unitBX | tdc*l.unitTDC
		}
		if row[end] != '\n' {
			if row[end] != '\r' || row[end+1] != '\n' {
				break
			}
			end++
		}
		p += end + 1 - before
		out[n] = w
		n++
	}
	return n, p + before
}

// What decodeRows sees of src at a time: some of the row before, as columns are loaded up to their end, and enough
// that no index made of numbers from the tables can point outside it.
const (
	before = 8
	window = before + 8 + 2 + 255 + 255 + 16
)

// orbitText is what decodeRows guesses of ORBIT_CNT: how many digits there are, masks for the last four and those before
// them, and, by FPGA, for hits and other words, the text of those before them in the last word and what they add to the
// orbit. The text's lowest byte, where no digit comes, is the number of digits: so bytes that are no digits never look like
// digits that are not there.
type orbitText struct {
	digits    uint8
	low, high uint64
	known     [16]struct{ text, orbit uint64 }
}

// learn makes the guess right for a row, more being the digits of TDC_CHANNEL behind the first, and reports whether it
// was not, so that another try makes sense.
func (o *orbitText) learn(row *[window]byte, more uint64) bool {
	start := before + 6 + int(more)
	digits := bytes.IndexByte(row[start:start+11], ',')
	if digits < 1 {
		return false
	}
	changed := digits != int(o.digits)
	o.digits = uint8(digits)
	o.low = 0xffffffff << (32 - 8*min(digits, 4)) & 0xffffffff
	o.high = ^uint64(0) << (64 - 8*max(digits-4, 0))

	known := &o.known[row[before+2]&7]
	if row[before] != '0'+HeadHit {
		known = &o.known[8+row[before+2]&7]
	}
	text := load(row[start+digits-12:])&o.high | uint64(o.digits)
	value := (text ^ zeros) & o.high
	orbit := eightDigits(pair(value)) * 1e4
	// Of the highest orbits the last four digits would have to be looked at too.
	if text == known.text || notDigits(value)&highBits != 0 || orbit > MaxOrbit-9999 {
		return changed
	}
	known.text, known.orbit = text, orbit
	return true
}

const (
	zeros    = 0x3030303030303030
	highBits = 0x8080808080808080
)

func load(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// digitMask returns bit 4 of each byte, which digits have and separators have not; the first byte's is the lowest.
func digitMask(text uint64) uint64 {
	// The multiplication adds shifts of which no two meet at a bit.
	return (text & 0x1010101010101010) * (1<<52 | 1<<45 | 1<<38 | 1<<31 | 1<<24 | 1<<17 | 1<<10 | 1<<3) >> 56
}

// notDigits has highBits set where a byte is above 9.
func notDigits(digits uint64) uint64 { return digits | (digits + 0x7676767676767676) }

// pair, quad and eightDigits add up digits, the first in the lowest byte, to numbers of 2, 4 and 8: each takes what
// the one before gives. The first number is the lowest here too.
func pair(digits uint64) uint64       { return digits * (10<<8 | 1) >> 8 & 0x00ff00ff00ff00ff }
func quad(pairs uint64) uint64        { return pairs * (100<<16 | 1) >> 16 & 0x0000ffff0000ffff }
func eightDigits(pairs uint64) uint64 { return quad(pairs) * (10000<<32 | 1) >> 32 }

// A tail says where in the eight bytes behind ORBIT_CNT the columns are: the ends of BX_COUNTER and of TDC_MEAS (for
// a half-float its point), and the shifts that put the last digit in the highest byte, keepTDC masking what is not
// TDC_MEAS then. minus is 1 where TDC_MEAS must have a minus sign, long is not 0 where no hit has the columns.
type tail struct {
	bxEnd, end, shiftBX, shiftTDC uint8
	minus, long                   uint8
	keepTDC                       uint64
}

// tails has the tail for the mask of what is a digit in the eight bytes. Where the mask is of no plain row, both ends are the
// same, which fails the checks: no byte is ',' and a line end or a point.
var tails = func() (all [256]tail) {
	const maxBX, maxTDC = 5, 4 // digits
	for mask := range all {
		seps := ^uint8(mask)
		t := tail{bxEnd: uint8(bits.TrailingZeros8(seps))}
		start := t.bxEnd + 1
		seps &= seps - 1
		t.end = uint8(bits.TrailingZeros8(seps))
		if t.end == start {
			seps &= seps - 1
			t.end, t.minus = uint8(bits.TrailingZeros8(seps)), 1
			start++
		}
		digits := t.end - start
		if t.bxEnd < 1 || t.bxEnd > maxBX || t.end > 7 || digits < 1 || digits > maxTDC {
			continue
		}
		t.shiftBX, t.shiftTDC = 64-8*t.bxEnd, 64-8*t.end
		t.keepTDC = ^uint64(0) << (64 - 8*digits)
		if t.long = t.minus; t.bxEnd == maxBX {
			t.long = 1
		}
		all[mask] = t
	}
	return all
}()

const halfInf = 0x7c00

// halfBits returns the half-float nearest to f, which is not negative; of two, the even one.
func halfBits(f float64) uint16 {
	if f < 0x1p-14 {
		// Subnormal: the sum is rounded to multiples of 2^-24, which its low bits then count.
		return uint16(math.Float64bits(f + 1<<28))
	}
	if f >= 1<<16 {
		return halfInf
	}
	b := math.Float64bits(f)
	const drop = 52 - 10
	return uint16((b+(1<<(drop-1)-1)+b>>drop&1)>>drop - (1023-15)<<10)
}
