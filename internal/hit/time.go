package hit

import "strconv"

// The clock of the experiment (the LHC's): 1 orbit = 3564 BX, 1 BX = 25 ns, 1 TDC count = 1/30 BX.
// Times are integer ticks of one TDC count; drift times are integers of 1/30 ns, because the chambers'
// offsets are tenths of ns and no whole ticks.
const (
	BXPerOrbit    = 3564
	TicksPerBX    = 30
	TicksPerOrbit = BXPerOrbit * TicksPerBX

	DriftPerTick = 25 // 1/30 ns in a tick of 25/30 ns
	DriftPerNS   = 30 // 1/30 ns in a ns

	// An orbit lasts 89.1 µs: OrbitNum/OrbitDen seconds.
	OrbitNum = 891
	OrbitDen = 10_000_000

	// OrbitsPerSecond is 1 s in orbits, rounded to the nearest.
	OrbitsPerSecond = (OrbitDen + OrbitNum/2) / OrbitNum
)

// Ticks returns the time of a hit in ticks of 25/30 ns since orbit 0. It is exact.
func Ticks(w uint64) int64 {
	return (int64(uint32(w>>OrbitShift))*BXPerOrbit+int64(w>>BXShift&4095))*TicksPerBX + int64(w&31)
}

// Seconds returns how long so many orbits last.
func Seconds(orbits int64) float64 { return float64(orbits) * OrbitNum / OrbitDen }

// OrbitsIn returns how many orbits make ns nanoseconds, rounded to the nearest, at least 1.
func OrbitsIn(ns int64) int64 {
	const orbit = OrbitNum * 1_000_000_000 / OrbitDen // 89 100 ns
	return max(1, (ns+orbit/2)/orbit)
}

// AppendNS appends a time or drift time of v/30 ns in ns with three decimals, rounded to the nearest.
func AppendNS(b []byte, v int64) []byte {
	if v < 0 {
		b = append(b, '-')
		v = -v
	}
	whole, rest := v/DriftPerNS, v%DriftPerNS
	rest = (rest*1000 + DriftPerNS/2) / DriftPerNS
	if rest == 1000 {
		whole, rest = whole+1, 0
	}
	b = strconv.AppendInt(b, whole, 10)
	return append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
}
