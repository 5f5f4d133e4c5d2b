package hit

import (
	"encoding/binary"
	"slices"
)

// The longest texts are below these, with room for the stores that go past their end.
const (
	maxRow    = 64
	maxObject = 192
)

// AppendCSV appends the row of a word, with its line end. Of canonical text it is the inverse of DecodeCSV.
func AppendCSV(dst []byte, w uint64) []byte {
	dst = slices.Grow(dst, maxRow)
	b := (*[maxRow]byte)(dst[len(dst) : len(dst)+maxRow])
	binary.LittleEndian.PutUint32(b[:], uint32('0'|','<<8|'0'<<16|','<<24|w>>HeadShift|w>>FPGAShift&7<<16))
	i := putNumber(b[:], 4, uint32(Channel(w)), ',')
	i = putNumber(b[:], i, Orbit(w), ',')
	i = putNumber(b[:], i, uint32(BX(w)), ',')
	if HasHalf(w) {
		i = putHalf(b[:], i, uint16(w))
		b[i] = '\n'
		i++
	} else {
		i = putNumber(b[:], i, uint32(TDC(w)), '\n')
	}
	return dst[:len(dst)+i]
}

// AppendJSON appends the JSON object of a word, with a line end, as the first producers to Kafka wrote it: in the
// manner of Python's json.dumps, ORBIT_CNT and TDC_MEAS being floats, of a half-float the value of its text.
func AppendJSON(dst []byte, w uint64) []byte {
	dst = slices.Grow(dst, maxObject)
	b := dst[len(dst) : len(dst)+maxObject]
	i := copy(b, `{"HEAD": `)
	b[i] = '0' + byte(Head(w))
	i++
	i += copy(b[i:], `, "FPGA": `)
	b[i] = '0' + byte(FPGA(w))
	i++
	i += copy(b[i:], `, "TDC_CHANNEL": `)
	i = putNumber(b, i, uint32(Channel(w)), ',')
	i += copy(b[i:], ` "ORBIT_CNT": `)
	i = putNumber(b, i, Orbit(w), '.')
	i += copy(b[i:], `0, "BX_COUNTER": `)
	i = putNumber(b, i, uint32(BX(w)), ',')
	i += copy(b[i:], ` "TDC_MEAS": `)
	if HasHalf(w) {
		i = putPythonHalf(b, i, uint16(w))
	} else {
		i = putNumber(b, i, uint32(TDC(w)), '.')
		b[i] = '0'
		i++
	}
	i += copy(b[i:], "}\n")
	return dst[:len(dst)+i]
}

// threeDigits has the text of 0 … 999 with leading zeros, and in its fourth byte the number of digits without them.
var threeDigits = func() (t [1000]uint32) {
	for v := range uint32(1000) {
		t[v] = ('0' + v/100) | ('0'+v/10%10)<<8 | ('0'+v%10)<<16 | 1<<24
		if v >= 10 {
			t[v] += 1 << 24
		}
		if v >= 100 {
			t[v] += 1 << 24
		}
	}
	return t
}()

// putNumber writes the digits of v and one byte behind them, and returns where they end.
func putNumber(b []byte, i int, v uint32, end byte) int {
	switch {
	case v < 1e3:
		i = putFirst(b, i, v)
	case v < 1e6:
		i = putFirst(b, i, v/1e3)
		i = putThree(b, i, v%1e3)
	default:
		if v < 1e9 {
			i = putFirst(b, i, v/1e6)
		} else {
			i = putFirst(b, i, v/1e9)
			i = putThree(b, i, v/1e6%1e3)
		}
		i = putThree(b, i, v/1e3%1e3)
		i = putThree(b, i, v%1e3)
	}
	b[i] = end
	return i + 1
}

// putFirst writes the digits of v, below 1000, and bytes behind them that the next ones overwrite.
func putFirst(b []byte, i int, v uint32) int {
	t := threeDigits[v]
	length := t >> 24
	binary.LittleEndian.PutUint32(b[i:], t>>(24-8*length&31))
	return i + int(length)
}

// putThree is putFirst with leading zeros.
func putThree(b []byte, i int, v uint32) int {
	binary.LittleEndian.PutUint32(b[i:], threeDigits[v])
	return i + 3
}

// putHalf writes a half-float as C's %.6f does.
func putHalf(b []byte, i int, h uint16) int {
	if h>>15 != 0 {
		b[i] = '-'
		i++
	}
	if h&halfInf == halfInf {
		if h&^0x8000 > halfInf {
			return i + copy(b[i:], "nan")
		}
		return i + copy(b[i:], "inf")
	}
	micros := halfMicros(h)
	whole := micros / 1e6
	decimals := uint32(micros - whole*1e6)
	i = putNumber(b, i, uint32(whole), '.')
	i = putThree(b, i, decimals/1e3)
	return putThree(b, i, decimals%1e3)
}

// putPythonHalf writes the value that the text of a half-float has as Python's repr does.
func putPythonHalf(b []byte, i int, h uint16) int {
	if h&halfInf == halfInf {
		switch {
		case h&^0x8000 > halfInf:
			return i + copy(b[i:], "NaN")
		case h>>15 != 0:
			return i + copy(b[i:], "-Infinity")
		}
		return i + copy(b[i:], "Infinity")
	}
	if micros := halfMicros(h); micros > 0 && micros < 100 {
		// Below 1e-4 Python turns to exponents.
		if h>>15 != 0 {
			b[i] = '-'
			i++
		}
		if micros < 10 {
			b[i] = '0' + byte(micros)
			return i + 1 + copy(b[i+1:], "e-06")
		}
		b[i] = '0' + byte(micros/10)
		i++
		if micros%10 != 0 {
			b[i], b[i+1] = '.', '0'+byte(micros%10)
			i += 2
		}
		return i + copy(b[i:], "e-05")
	}
	i = putHalf(b, i, h)
	for b[i-1] == '0' && b[i-2] != '.' {
		i--
	}
	return i
}

// halfMicros returns the size of a finite half-float in millionths, rounded to the nearest, of two to the even one.
func halfMicros(h uint16) uint64 {
	exponent, fraction := uint(h>>10&31), uint64(h&1023)
	if exponent == 0 {
		exponent = 1
	} else {
		fraction |= 1024
	}
	micros := fraction * 1e6
	const unit = 25 // the exponent at which fraction counts ones
	if exponent >= unit {
		return micros << (exponent - unit)
	}
	shift := unit - exponent
	return (micros + 1<<(shift-1) - 1 + micros>>shift&1) >> shift
}
