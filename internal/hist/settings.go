package hist

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"dt/internal/hit"
)

// Bounds of what settings say.
const (
	MaxBins     = 100_000                 // of a histogram
	maxEdge     = 1 << 40                 // of an axis, in its units
	minWindow   = 1_000_000               // ns
	maxWindow   = 1000 * 3600_000_000_000 // ns
	maxAuto     = hit.MaxOrbit            // orbits
	maxDecimal  = 32                      // characters of a number
	maxExponent = 18                      // of a number such as 6e5
)

// NewSettings returns the default settings with a map, or with the default map for nil.
func NewSettings(m *hit.Map) *Settings {
	if m == nil {
		m = hit.DefaultMap()
	}
	return &Settings{
		Clock:  Detector,
		Length: hit.OrbitsIn(defaultWindow),
		Hist1:  Axis{Lo: 0, Limit: 170, Width: 5, n: 34},
		Hist2:  Axis{Lo: 600_000, Limit: 10_000_001, Width: 500_000, n: 19},
		Hist4:  Axis{Lo: 0, Limit: 1000 * hit.DriftPerNS, Width: 10 * hit.DriftPerNS, n: 100},
		Map:    m,
	}
}

// SetWindow sets the clock and the length of windows, in ns (without meaning for the clock All).
func (s *Settings) SetWindow(clock Clock, ns int64) {
	s.Clock = clock
	switch clock {
	case Detector:
		s.Length = hit.OrbitsIn(ns)
	case Wall:
		s.Length = ns
	default:
		s.Length = 0
	}
	if s.digest != "" {
		s.digest = s.digest[:8] + s.windowDigest()
	}
}

// ParseAxis reads LO:HI:WIDTH, numbers such as 6e5, 0 or 2.5 that must be whole multiples of 1/unit. HI is the first
// value above the axis, or, if inclusive, the last one on it.
func ParseAxis(spec string, unit int64, inclusive bool) (Axis, error) {
	parts := strings.Split(spec, ":")
	if len(parts) != 3 {
		return Axis{}, fmt.Errorf("%.60q is not LO:HI:WIDTH", spec)
	}
	var v [3]int64
	for i, part := range parts {
		var err error
		if v[i], err = parseUnits(part, unit); err != nil {
			return Axis{}, fmt.Errorf("%s of %.60q: %w", [...]string{"LO", "HI", "WIDTH"}[i], spec, err)
		}
	}
	lo, hi, width := v[0], v[1], v[2]
	if width <= 0 {
		return Axis{}, fmt.Errorf("%q: WIDTH is not above 0", spec)
	}
	if hi <= lo {
		return Axis{}, fmt.Errorf("%q: HI is not above LO", spec)
	}
	bins := (hi - lo + width - 1) / width
	if bins > MaxBins {
		return Axis{}, fmt.Errorf("%q makes %d bins; at most %d are possible", spec, bins, MaxBins)
	}
	a := Axis{Lo: lo, Limit: hi, Width: width, n: int(bins)}
	if inclusive {
		a.Limit++
	}
	return a, nil
}

// ParseHist1 reads the axis of Hist_1 and Hist_3, in channels.
func ParseHist1(spec string) (Axis, error) { return ParseAxis(spec, 1, false) }

// ParseHist2 reads the axis of Hist_2, in orbits, or auto or auto:WIDTH: then auto is the width, else 0.
func ParseHist2(spec string) (a Axis, auto int64, err error) {
	if spec == "auto" {
		return Axis{}, defaultAuto, nil
	}
	if text, ok := strings.CutPrefix(spec, "auto:"); ok {
		auto, err = parseUnits(text, 1)
		if err == nil && (auto < 1 || auto > maxAuto) {
			err = fmt.Errorf("%s orbits; 1 to %d are possible", text, int64(maxAuto))
		}
		if err != nil {
			return Axis{}, 0, fmt.Errorf("WIDTH of %.60q: %w", spec, err)
		}
		return Axis{}, auto, nil
	}
	a, err = ParseAxis(spec, 1, true)
	return a, 0, err
}

// ParseHist4 reads the axis of Hist_4, in ns.
func ParseHist4(spec string) (Axis, error) { return ParseAxis(spec, hit.DriftPerNS, false) }

// parseUnits reads a decimal number as a multiple of 1/unit.
func parseUnits(text string, unit int64) (int64, error) {
	r, err := parseNumber(text)
	if err != nil {
		return 0, err
	}
	r.Mul(r, new(big.Rat).SetInt64(unit))
	if !r.IsInt() {
		if unit == 1 {
			return 0, fmt.Errorf("%s is not a whole number", text)
		}
		return 0, fmt.Errorf("%s is not a whole multiple of 1/%d", text, unit)
	}
	if r.Num().BitLen() > 62 || max(r.Num().Int64(), -r.Num().Int64()) > maxEdge {
		return 0, fmt.Errorf("%s is too large", text)
	}
	return r.Num().Int64(), nil
}

// parseNumber reads a decimal number exactly. Its length and exponent are bounded before it is believed: a big.Rat of
// 1e999999999 would take all memory.
func parseNumber(text string) (*big.Rat, error) {
	bad := func() (*big.Rat, error) { return nil, fmt.Errorf("%.40q is not a number", text) }
	if len(text) > maxDecimal {
		return bad()
	}
	mantissa, exponent := text, ""
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa, exponent = text[:i], text[i+1:]
		if e, err := strconv.Atoi(exponent); err != nil || e > maxExponent || e < -maxExponent {
			return bad()
		}
	}
	if strings.Trim(mantissa, "+-.0123456789") != "" || strings.Trim(mantissa, "+-.") == "" {
		return bad()
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return bad()
	}
	return r, nil
}

// ParseWindow reads the length of a window, such as 5s, 500ms, 2.5m or 1h, in ns; or all.
func ParseWindow(spec string) (ns int64, all bool, err error) {
	if spec == "all" {
		return 0, true, nil
	}
	units := []struct {
		suffix string
		ns     int64
	}{{"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}}
	for _, unit := range units {
		text, ok := strings.CutSuffix(spec, unit.suffix)
		if !ok {
			continue
		}
		r, err := parseNumber(text)
		if err != nil {
			break
		}
		r.Mul(r, new(big.Rat).SetInt64(unit.ns))
		if r.Cmp(big.NewRat(minWindow, 1)) < 0 || r.Cmp(big.NewRat(maxWindow, 1)) > 0 {
			return 0, false, fmt.Errorf("a window of %s: 1ms to 1000h are possible", spec)
		}
		if !r.IsInt() {
			return 0, false, fmt.Errorf("a window of %s is no whole number of ns", spec)
		}
		return r.Num().Int64(), false, nil
	}
	return 0, false, fmt.Errorf("%.40q is no length of a window, such as 5s, 500ms, 2m or all", spec)
}

// Digest names the settings, in 16 hex digits: 8 of bins and map, and 8 of clock and window. Lines add up only where it is the
// same. Settings must not be changed after it was asked for, but for SetWindow.
func (s *Settings) Digest() string {
	if s.digest == "" {
		s.digest = digest(s.appendBins(nil)) + s.windowDigest()
	}
	return s.digest
}

// MadeWith reports whether the digest, which may be of a line that was read, is that of these bins with map m. A line does not tell
// the last orbit of Hist_2 or a last bin that is cut short: with such bins of one's own the answer is no.
func (s *Settings) MadeWith(m *hit.Map) bool {
	c := *s
	c.SetMap(m)
	if usual := NewSettings(m).Hist2; c.Hist2.like(&usual) {
		c.Hist2 = usual
	}
	return digest(c.appendBins(nil)) == s.Digest()[:8]
}

func (s *Settings) windowDigest() string { return digest(fmt.Appendf(nil, "%s %d", s.Clock, s.Length)) }

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return fmt.Sprintf("%x", sum[:4])
}

// appendBins appends what the counts of a line depend on beside the window. Names and positions in the map are not among it.
func (s *Settings) appendBins(b []byte) []byte {
	if s.bare {
		b = append(b, "bare\n"...)
	}
	axis := func(name string, a *Axis) {
		b = fmt.Appendf(b, "%s %d %d %d\n", name, a.Lo, a.Limit, a.Width)
	}
	axis("hist1", &s.Hist1)
	if s.Auto > 0 {
		b = fmt.Appendf(b, "hist2 auto %d\n", s.Auto)
	} else {
		axis("hist2", &s.Hist2)
	}
	axis("hist4", &s.Hist4)
	for _, c := range s.Map.Chambers {
		b = fmt.Appendf(b, "chamber %d %d %d %d\n", c.FPGA, c.FirstChannel, c.LastChannel, c.Offset)
	}
	scintillators := slices.SortedFunc(slices.Values(s.Map.Scintillators), func(x, y hit.ScintillatorChannel) int {
		return cmp.Or(cmp.Compare(x.FPGA, y.FPGA), cmp.Compare(x.Channel, y.Channel))
	})
	for _, c := range scintillators {
		b = fmt.Appendf(b, "scintillator %d %d\n", c.FPGA, c.Channel)
	}
	return fmt.Appendf(b, "layers %d\n", s.Map.Geometry.LayerOfChannel)
}

// fpgaMask has bit f set for each FPGA that lines tell of: those that the map names, or that the line that was read names.
func (s *Settings) fpgaMask() uint8 {
	if s.fpgas != 0 {
		return s.fpgas
	}
	var m uint8
	for _, c := range s.Map.Chambers {
		m |= 1 << c.FPGA
	}
	for _, c := range s.Map.Scintillators {
		m |= 1 << c.FPGA
	}
	return m
}
