package hit

import (
	"bytes"
	"encoding/binary"
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

// A layout is where the columns of one HEAD go: the highest value of each, and 1 << the shift of its bits.
type layout struct {
	maxChannel, maxBX, maxTDC               int64
	unitChannel, unitBX, unitTDC, unitOrbit uint64
}

// A column without bits in the word must be 0, or it would be lost. HEAD 4 and 5 have their half-float beside this.
var layouts = [8]layout{
	0:       {maxChannel: 31, maxBX: 4095, maxTDC: 31, unitChannel: 1, unitBX: 1 << 12, unitTDC: 1 << 7, unitOrbit: 1 << 24},
	1:       {maxTDC: 255, unitTDC: 1 << 16, unitOrbit: 1 << 24},
	HeadHit: {maxChannel: MaxChannel, maxBX: MaxBX, maxTDC: MaxTDC, unitChannel: 1 << ChannelShift, unitBX: 1 << BXShift, unitTDC: 1, unitOrbit: 1 << OrbitShift},
	3:       {maxBX: 0xffff, unitBX: 1, unitOrbit: 1 << 24},
	4:       {unitOrbit: 1 << 24},
	5:       {unitOrbit: 1 << 24},
	6:       {unitOrbit: 1 << 24},
	7:       {unitOrbit: 1 << 24},
}

// IsHeader reports whether line, with or without its end and spaces around it, is the header.
func IsHeader(line []byte) bool { return string(bytes.TrimSpace(line)) == Header }

// DecodeCSV appends to dst the words of src, lines of which the last may lack its end, and to bad the lines that
// are none. With lcp the lines are those of a course file (layout v1), and the words v2 hits.
func DecodeCSV(dst []uint64, bad []Bad, src []byte, lcp bool) ([]uint64, []Bad) {
	words, bads := len(dst), len(bad)
	for p := 0; p < len(src); {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, (len(src)-p)/20+1)
		}
		var n int
		n, p = decodeRows(dst[len(dst):cap(dst)], src, p, lcp)
		dst = dst[:len(dst)+n]
		if n > 0 {
			continue
		}
		line, next := nextLine(src, p)
		p = next
		if w, f := decodeLine(line, lcp); f == nil {
			dst = append(dst, w)
		} else {
			bad = append(bad, f.bad(len(dst)-words+len(bad)-bads, line))
		}
	}
	return dst, bad
}

// nextLine returns the line at src[p:] without its end, and where the next one starts.
func nextLine(src []byte, p int) (line []byte, next int) {
	next = len(src)
	line = src[p:]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line, next = line[:i], p+i+1
	}
	return bytes.TrimSuffix(line, []byte("\r")), next
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
	return decodeColumns(&cols, lcp)
}

// lineFault returns what is wrong with a line before its content is looked at.
func lineFault(line []byte) *fault {
	switch {
	case len(line) > MaxLine:
		return &fault{"", fmt.Sprintf("line of %d bytes is longer than %d", len(line), MaxLine), BadLength}
	case bytes.IndexByte(line, 0) >= 0:
		return &fault{"", "contains a NUL byte", BadNUL}
	case len(bytes.TrimSpace(line)) == 0:
		return &fault{"", "blank line", BadBlank}
	}
	return nil
}

// decodeColumns makes the word of six columns.
func decodeColumns(cols *[columns][]byte, lcp bool) (uint64, *fault) {
	var low, v [columns]int64
	high := [columns]int64{colHead: MaxHead, colFPGA: MaxFPGA, colChannel: MaxChannel, colOrbit: MaxOrbit, colBX: MaxBX, colTDC: MaxTDC - 1}
	if lcp {
		low[colHead], high[colHead], low[colChannel] = lcpHead, lcpHead, 1
	}
	var half uint16
	for c := range columns {
		if c == colTDC && !lcp && v[colHead]&6 == 4 {
			var f *fault
			if half, f = decodeHalf(cols[c]); f != nil {
				return 0, f
			}
			continue
		}
		var f *fault
		if v[c], f = decodeNumber(c, cols[c]); f != nil {
			return 0, f
		}
		if c == colHead && !lcp && v[c] <= MaxHead {
			to := &layouts[v[c]]
			high[colChannel], high[colBX], high[colTDC] = to.maxChannel, to.maxBX, to.maxTDC
		}
		switch {
		case v[c] > high[c] && high[c] == 0:
			return 0, &fault{columnNames[c], fmt.Sprintf("%s: %d is not 0, as HEAD %d wants it", columnNames[c], v[c], v[colHead]), BadRange}
		case v[c] > high[c]:
			return 0, &fault{columnNames[c], fmt.Sprintf("%s: %d is above %d", columnNames[c], v[c], high[c]), BadRange}
		case v[c] < low[c]:
			return 0, &fault{columnNames[c], fmt.Sprintf("%s: %d is below %d", columnNames[c], v[c], low[c]), BadRange}
		}
	}
	if lcp {
		w, ok := FromLCPText(int(v[colHead]), int(v[colFPGA]), int(v[colChannel]), uint32(v[colOrbit]), int(v[colBX]), int(v[colTDC]))
		if !ok {
			return 0, &fault{"", "no word of a course file", BadRange}
		}
		return w, nil
	}
	to := &layouts[v[colHead]]
	return uint64(v[colHead])<<HeadShift | uint64(v[colFPGA])<<FPGAShift | uint64(v[colOrbit])*to.unitOrbit |
		uint64(v[colChannel])*to.unitChannel | uint64(v[colBX])*to.unitBX | uint64(v[colTDC])*to.unitTDC | uint64(half), nil
}

// decodeNumber reads decimal digits. Zeros may lead, but there are at most 12 digits, so that nothing overflows.
func decodeNumber(column int, text []byte) (int64, *fault) {
	const maxDigits = 12
	digits := bytes.TrimPrefix(text, []byte("-"))
	var v int64
	for i, c := range digits {
		if c < '0' || c > '9' {
			return 0, notNumber(column, text)
		}
		if i < maxDigits {
			v = v*10 + int64(c-'0')
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
func decodeHalf(text []byte) (uint16, *fault) {
	digits, negative := bytes.CutPrefix(text, []byte("-"))
	var sign uint16
	if negative {
		sign = 0x8000
	}
	switch string(digits) {
	case "inf":
		return sign | halfInf, nil
	case "nan":
		return sign | halfInf | 0x200, nil
	}
	if !isDecimal(digits) {
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

// isDecimal reports whether text is digits, with a point and more digits, and an exponent if need be.
func isDecimal(text []byte) bool {
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
	if len(rest) > 0 && (rest[0] == 'e' || rest[0] == 'E') {
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
// decodeLine must judge.
//
// It works on eight bytes at a time. Digits have bit 4 set and separators have not, so the mask of that bit gives the
// ends of the columns, by way of a table, because finding four bits one by one takes a third of the time of a row.
// Each column is then shifted to where the multiplications that make a number of eight digits want it. What the mask
// took on trust is checked later, gathered in wrong, so that a plain row has no branch that the processor could
// mispredict, but for HEAD 4 and 5 against the others.
func decodeRows(out []uint64, src []byte, p int, lcp bool) (int, int) {
	n := 0
	for n < len(out) && p >= before && p <= len(src)-(window-before) {
		row := (*[window]byte)(src[p-before : p-before+window])
		start := binary.LittleEndian.Uint32(row[before:]) ^ ('0' | ','<<8 | '0'<<16 | ','<<24)
		wrong := uint64(start & 0xfff8fff8) // all but the low three bits of the two digits
		head := start & 7
		w := uint64(head)<<HeadShift | uint64(start>>16&7)<<FPGAShift

		text := load(row[body:])
		seps := (digitMask(text) | digitMask(load(row[body+8:]))<<8 | digitMask(load(row[body+16:]))<<16) ^ 0xffffff
		ends := seps & (seps - 1)
		ends &= ends - 1
		ends &= ends - 1
		ends = seps ^ ends&(ends-1) // the lowest four
		at := &spans[uint32(ends)*spanHash>>spanShift&(1<<spanBits-1)]
		end1, end2 := int(at.end1), int(at.end2)
		wrong |= uint64(row[body+end1]^',') | uint64(row[body+end2]^',')

		keep := &orbitKeep[at.orbitDigits&15]
		orbit8 := (load(row[body-8+end2:]) ^ zeros) & keep.low
		orbit2 := (uint64(binary.LittleEndian.Uint16(row[body-10+end2:])) ^ zeros) & keep.high
		var next int
		if head&6 == 4 && !lcp {
			// h,f,0,orbit,0,±i.ffffff
			wrong |= uint64(at.end1^1) | uint64(row[body]^'0') | uint64(binary.LittleEndian.Uint16(row[body+1+end2:])^('0'|','<<8))
			value := end2 + 3
			var minus int
			if row[body+value] == '-' {
				minus = 1
			}
			value += minus
			whole := int(wholeDigits[seps>>(value&31)&63])
			point := value + whole
			integer := (load(row[body+value:]) ^ zeros) << (64 - 8*whole&63)
			decimals := (load(row[body+1+point:])^zeros)<<16 | orbit2
			wrong |= uint64(row[body+point] ^ '.')
			if (notDigits(orbit8)|notDigits(integer)|notDigits(decimals))&highBits|wrong != 0 {
				return n, p
			}
			next = point + 7
			pairs := pair(decimals)
			orbit := (pairs&0xff)*1e8 + eightDigits(pair(orbit8))
			micros := eightDigits(pairs&^0xff) + eightDigits(pair(integer))*1e6
			half := halfBits(float64(int64(micros)) / 1e6)
			if orbit > MaxOrbit || half >= halfInf {
				return n, p
			}
			w |= orbit<<24 | uint64(half) | uint64(minus)<<15
		} else {
			end3, end4 := int(at.end3), int(at.end4)
			bx := (load(row[body+1+end2:])^zeros)<<(at.shiftBX&63) | orbit2
			small := uint64(uint32(text^zeros)<<(at.shiftChannel&31)) | (load(row[body+1+end3:])^zeros)<<(at.shiftTDC&63)
			wrong |= uint64(row[body+end3] ^ ',')
			wrong |= (notDigits(orbit8) | notDigits(bx) | notDigits(small)) & highBits
			next = end4
			pairs := pair(bx)
			orbit := (pairs&0xff)*1e8 + eightDigits(pair(orbit8))
			b := eightDigits(pairs &^ 0xff)
			small = quad(pair(small))
			channel, tdc := small&0xffff, small>>32
			if lcp {
				v, ok := FromLCPText(int(head), int(start>>16&7), int(channel), uint32(orbit), int(b), int(tdc))
				if !ok || orbit > MaxOrbit || wrong != 0 {
					return n, p
				}
				w = v
			} else {
				to := &layouts[head]
				over := to.maxChannel - int64(channel) | to.maxBX - int64(b) | to.maxTDC - int64(tdc) | MaxOrbit - int64(orbit)
				if wrong != 0 || over < 0 {
					return n, p
				}
				w |= orbit*to.unitOrbit + channel*to.unitChannel + b*to.unitBX + tdc*to.unitTDC
			}
		}
		if row[body+next] != '\n' {
			if row[body+next] != '\r' || row[body+next+1] != '\n' {
				return n, p
			}
			next++
		}
		p += body - before + next + 1
		out[n] = w
		n++
	}
	return n, p
}

// What decodeRows sees of src at a time.
const (
	before = 8          // orbits are loaded up to their end, which for short ones begins before the row
	body   = before + 4 // behind "2,0,"
	window = body + 256 + 20
)

const (
	zeros    = 0x3030303030303030
	highBits = 0x8080808080808080
)

func load(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// digitMask returns bit 4 of each byte, the first byte's lowest.
func digitMask(text uint64) uint64 {
	// The multiplication adds shifts of which no two meet at a bit.
	return (text & 0x1010101010101010) * (1<<52 | 1<<45 | 1<<38 | 1<<31 | 1<<24 | 1<<17 | 1<<10 | 1<<3) >> 56
}

// notDigits has highBits set where a byte is above 9.
func notDigits(digits uint64) uint64 { return digits | (digits + 0x7676767676767676) }

// pair, quad and eightDigits add up digits, the first in the lowest byte, to numbers of 2, 4 and 8: each needs the
// one before. The first number is the lowest here too.
func pair(digits uint64) uint64       { return digits * (10<<8 | 1) >> 8 & 0x00ff00ff00ff00ff }
func quad(pairs uint64) uint64        { return pairs * (100<<16 | 1) >> 16 & 0x0000ffff0000ffff }
func eightDigits(pairs uint64) uint64 { return quad(pairs) * (10000<<32 | 1) >> 32 }

// A span is where the columns behind "2,0," end, and how far their digits are to be shifted up so that the last is
// in the highest byte (of 32 bits for TDC_CHANNEL).
type span struct {
	end1, end2, end3, end4          uint8
	orbitDigits                     uint8
	shiftChannel, shiftBX, shiftTDC uint8
}

// spans has the span for each mask of four separators, by a multiplication that happens to give each of them an
// entry of its own. Entries of no mask fail the checks: no byte is both ',' and a line end.
const (
	spanBits  = 12
	spanHash  = 0xd49e4af1
	spanShift = 32 - spanBits
)

var spans = func() (t [1 << spanBits]span) {
	for _, s := range allSpans() {
		t[s.slot()] = s
	}
	return t
}()

func (s span) slot() uint32 {
	return (1<<s.end1 | 1<<s.end2 | 1<<s.end3 | 1<<s.end4) * uint32(spanHash) >> spanShift
}

// allSpans lists those of plain rows: up to 3, 10, 5, 3 digits; and of HEAD 4 and 5, where the fourth separator is a minus
// sign (no digit before it) or a point.
func allSpans() (all []span) {
	for channel := 1; channel <= 3; channel++ {
		for orbit := 1; orbit <= 10; orbit++ {
			for bx := 1; bx <= 5; bx++ {
				for tdc := 0; tdc <= 4; tdc++ {
					end2 := channel + 1 + orbit
					end3 := end2 + 1 + bx
					end4 := end3 + 1 + tdc
					if (tdc == 0 || tdc == 4) && (channel != 1 || bx != 1) || end4 > 23 {
						continue
					}
					all = append(all, span{
						end1: uint8(channel), end2: uint8(end2), end3: uint8(end3), end4: uint8(end4),
						orbitDigits:  uint8(orbit),
						shiftChannel: uint8(32 - 8*channel), shiftBX: uint8(64 - 8*bx), shiftTDC: uint8(64 - 8*tdc),
					})
				}
			}
		}
	}
	return all
}

// orbitKeep masks, by the number of digits of ORBIT_CNT, its last eight bytes and the two before.
var orbitKeep = func() (t [16]struct{ low, high uint64 }) {
	for digits := 1; digits <= 10; digits++ {
		t[digits].low = ^uint64(0) << (64 - 8*min(digits, 8))
		t[digits].high = 0xffff << (16 - 8*max(digits-8, 0)) & 0xffff
	}
	return t
}()

// wholeDigits is how many digits, 1 to 5, are before the point of a half-float, by the separator mask from its first
// digit on; 0, where a check for the point fails, for all else.
var wholeDigits = func() (t [64]uint8) {
	for mask := range t {
		if n := bits.TrailingZeros8(uint8(mask)); n <= 5 {
			t[mask] = uint8(n)
		}
	}
	return t
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
