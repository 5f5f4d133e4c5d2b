// Package hit knows the 64-bit TDC word of the miniDT chambers: its layouts, its text forms, its time, and
// the map from electronics channels to chambers, layers and wires. It does no input or output.
//
// A word is kept in a uint64 in layout v2, the layout of the stream run:
//
//	HEAD = 2, a hit         HEAD 61–63  FPGA 58–60  TDC_CHANNEL 49–57  ORBIT_CNT 17–48  BX_COUNTER 5–16  TDC_MEAS 0–4
//	HEAD ≠ 2, ancillary     HEAD 61–63  FPGA 58–60  ORBIT_CNT 24–55, and
//	     0  a trigger's t0  label 0–4 (as TDC_CHANNEL)  TDC_MEAS 7–11  BX_COUNTER 12–23
//	     1                  value 16–23 (as TDC_MEAS)
//	     3                  mask 0–15 (as BX_COUNTER)
//	  4, 5  tan ψ, local x  an IEEE half-float 0–15 (as TDC_MEAS, six decimals)
//
// Ancillary ORBIT_CNT runs ahead of that of the hits, so it must never move a clock, window or epoch.
package hit

import "math"

// HeadHit is the HEAD of a hit; all other words are ancillary.
const HeadHit = 2

// Limits of the fields, as the bits of layout v2 allow.
const (
	MaxHead    = 7
	MaxFPGA    = 7
	MaxChannel = 511
	MaxOrbit   = 1<<32 - 1
	MaxBX      = 4095
	MaxTDC     = 31
)

// Shifts of layout v2, for loops that work on whole batches of words.
const (
	HeadShift    = 61
	FPGAShift    = 58
	ChannelShift = 49
	OrbitShift   = 17
	BXShift      = 5
)

// NewHit makes the word of a hit. The fields must be in range.
func NewHit(fpga, channel int, orbit uint32, bx, tdc int) uint64 {
	return HeadHit<<HeadShift | uint64(fpga)<<FPGAShift | uint64(channel)<<ChannelShift |
		uint64(orbit)<<OrbitShift | uint64(bx)<<BXShift | uint64(tdc)
}

// IsHit reports whether w has HEAD 2.
func IsHit(w uint64) bool { return w>>HeadShift == HeadHit }

// Head returns HEAD.
func Head(w uint64) int { return int(w >> HeadShift) }

// FPGA returns FPGA.
func FPGA(w uint64) int { return int(w >> FPGAShift & 7) }

// Orbit returns ORBIT_CNT, wherever the word's HEAD puts it.
func Orbit(w uint64) uint32 {
	if IsHit(w) {
		return uint32(w >> OrbitShift)
	}
	return uint32(w >> 24)
}

// Channel returns TDC_CHANNEL: of a hit, or the label of a HEAD 0 word; else 0.
func Channel(w uint64) int {
	switch Head(w) {
	case HeadHit:
		return int(w >> ChannelShift & 511)
	case 0:
		return int(w & 31)
	}
	return 0
}

// BX returns BX_COUNTER: of a hit, of a HEAD 0 word, or the mask of a HEAD 3 word; else 0.
func BX(w uint64) int {
	switch Head(w) {
	case HeadHit:
		return int(w >> BXShift & 4095)
	case 0:
		return int(w >> 12 & 4095)
	case 3:
		return int(w & 0xffff)
	}
	return 0
}

// TDC returns TDC_MEAS of words where it is an integer (HEAD 0, 1, 2); else 0.
func TDC(w uint64) int {
	switch Head(w) {
	case HeadHit:
		return int(w & 31)
	case 0:
		return int(w >> 7 & 31)
	case 1:
		return int(w >> 16 & 255)
	}
	return 0
}

// HasHalf reports whether TDC_MEAS of w is a half-float (HEAD 4 and 5).
func HasHalf(w uint64) bool { h := Head(w); return h == 4 || h == 5 }

// Half returns the half-float payload of a HEAD 4 or 5 word.
func Half(w uint64) float64 { return HalfToFloat(uint16(w)) }

// HalfToFloat converts an IEEE 754 binary16; every one is exact in a float64.
func HalfToFloat(h uint16) float64 {
	sign := 1.0
	if h>>15 != 0 {
		sign = -1
	}
	exp, frac := int(h>>10&31), float64(h&1023)
	switch exp {
	case 0:
		return math.Copysign(math.Ldexp(frac, -24), sign)
	case 31:
		if frac != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+frac, exp-25)
}

// A word of layout v1 (the course files) has HEAD 62–63, FPGA 58–61, and the rest where v2 has it. In its
// text, TDC_CHANNEL counts from 1, but for the trigger and the scintillators, which have numbers of their own.
const (
	lcpSpecial = 136 // from raw channel 136 on, the scintillators and the trigger, channels are as in the text, 137 on
	lcpHead    = 1
)

// FromLCP makes the v2 hit of a raw v1 word: HEAD 2, channels from 0, but those from 137 on as in the text, TDC_MEAS as in the
// text (raw − 1). It reports false for a word that has none: HEAD not 1, FPGA above 7, channel 511, or a TDC count of 0
// (the TDC counts from 1).
func FromLCP(raw uint64) (uint64, bool) {
	fpga, channel, tdc := int(raw>>58&15), int(raw>>49&511), int(raw&31)
	if raw>>62 != lcpHead || fpga > MaxFPGA || channel == MaxChannel || tdc < 1 {
		return 0, false
	}
	if channel >= lcpSpecial {
		channel++
	}
	return NewHit(fpga, channel, uint32(raw>>OrbitShift), int(raw>>BXShift&4095), tdc-1), true
}

// FromLCPText makes the v2 hit of the six columns of a v1 text row, and reports false where it has none.
func FromLCPText(head, fpga, channel int, orbit uint32, bx, tdc int) (uint64, bool) {
	if head != lcpHead || fpga < 0 || fpga > MaxFPGA || channel < 1 || channel > MaxChannel || bx < 0 || bx > MaxBX || tdc < 0 || tdc >= MaxTDC {
		return 0, false
	}
	if channel <= lcpSpecial {
		channel--
	}
	return NewHit(fpga, channel, orbit, bx, tdc), true
}
