package hist

import (
	"strings"
	"testing"

	"dt/internal/hit"
)

func TestParseAxis(t *testing.T) {
	for _, tt := range []struct {
		spec      string
		unit      int64
		inclusive bool
		want      Axis
		err       string
	}{
		{"0:170:5", 1, false, Axis{0, 170, 5, 34}, ""},
		{"6e5:1e7:5e5", 1, true, Axis{600_000, 10_000_001, 500_000, 19}, ""},
		{"0:1000:10", 30, false, Axis{0, 30_000, 300, 100}, ""},
		{"0:1000:2.5", 30, false, Axis{0, 30_000, 75, 400}, ""},
		{"-100:500:0.1", 30, false, Axis{-3000, 15_000, 3, 6000}, ""},
		{"0:11:5", 1, false, Axis{0, 11, 5, 3}, ""},
		{"0:11:5", 1, true, Axis{0, 12, 5, 3}, ""},
		{"0:100000:1", 1, false, Axis{0, 100_000, 1, 100_000}, ""},
		{"1.5e1:2E1:+1.0", 1, false, Axis{15, 20, 1, 5}, ""},
		{"0:100001:1", 1, false, Axis{}, "makes 100001 bins"},
		{"0:1000:0.05", 30, false, Axis{}, "not a whole multiple of 1/30"},
		{"0:10:2.5", 1, false, Axis{}, "WIDTH of \"0:10:2.5\": 2.5 is not a whole number"},
		{"0:10", 1, false, Axis{}, "is not LO:HI:WIDTH"},
		{"0:10:1:1", 1, false, Axis{}, "is not LO:HI:WIDTH"},
		{"", 1, false, Axis{}, "is not LO:HI:WIDTH"},
		{"0:0:1", 1, true, Axis{}, "HI is not above LO"},
		{"5:1:1", 1, false, Axis{}, "HI is not above LO"},
		{"0:5:0", 1, false, Axis{}, "WIDTH is not above 0"},
		{"0:5:-1", 1, false, Axis{}, "WIDTH is not above 0"},
		{"x:5:1", 1, false, Axis{}, "LO of \"x:5:1\": \"x\" is not a number"},
		{"0:1/2:1", 1, false, Axis{}, "not a number"},
		{"0:0x10:1", 1, false, Axis{}, "not a number"},
		{"0:1_0:1", 1, false, Axis{}, "not a number"},
		{"0:inf:1", 1, false, Axis{}, "not a number"},
		{"0::1", 1, false, Axis{}, "not a number"},
		{"0:.:1", 1, false, Axis{}, "not a number"},
		{"0:1e999999999:1", 1, false, Axis{}, "not a number"},
		{"0:1e18:1", 1, false, Axis{}, "too large"},
		{"0:" + strings.Repeat("9", 1000) + ":1", 1, false, Axis{}, "not a number"},
	} {
		got, err := ParseAxis(tt.spec, tt.unit, tt.inclusive)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("ParseAxis(%.40q, %d, %v) = %v, %v; want %v, %s", tt.spec, tt.unit, tt.inclusive, got, err, tt.want, tt.err)
		}
	}
}

func TestParseHist2(t *testing.T) {
	for spec, want := range map[string]int64{"auto": 11_223, "auto:1e3": 1000, "auto:4294967295": hit.MaxOrbit, "0:10:1": 0} {
		if _, auto, err := ParseHist2(spec); auto != want || err != nil {
			t.Errorf("ParseHist2(%q): %d, %v; want %d", spec, auto, err, want)
		}
	}
	for _, spec := range []string{"auto:", "auto:0", "auto:-1", "auto:1.5", "auto:1e10", "autos", "Auto"} {
		if _, _, err := ParseHist2(spec); err == nil {
			t.Errorf("ParseHist2(%q): no error", spec)
		}
	}
}

func TestParseWindow(t *testing.T) {
	for spec, want := range map[string]int64{"5s": 5e9, "500ms": 5e8, "2m": 120e9, "0.5h": 1800e9, "1ms": 1e6, "2.5s": 2.5e9, "1000h": 3600e12} {
		if ns, all, err := ParseWindow(spec); ns != want || all || err != nil {
			t.Errorf("ParseWindow(%q) = %d, %v, %v; want %d", spec, ns, all, err, want)
		}
	}
	if _, all, err := ParseWindow("all"); !all || err != nil {
		t.Errorf("ParseWindow(all) = %v, %v", all, err)
	}
	for _, spec := range []string{"", "s", "5", "5 s", "5x", "-5s", "0s", "0.5ms", "1001h", "1e30s", "ms", "5ss", "0.0000000001s", "All"} {
		if ns, all, err := ParseWindow(spec); err == nil {
			t.Errorf("ParseWindow(%q) = %d, %v; no error", spec, ns, all)
		}
	}
}

func TestDefaultSettings(t *testing.T) {
	s := NewSettings(nil)
	if s.Length != 56_117 || s.Clock != Detector {
		t.Errorf("%s %d", s.Clock, s.Length)
	}
	for _, tt := range []struct {
		spec string
		unit int64
		incl bool
		have Axis
	}{{"0:170:5", 1, false, s.Hist1}, {"6e5:1e7:5e5", 1, true, s.Hist2}, {"0:1000:10", 30, false, s.Hist4}} {
		if a, err := ParseAxis(tt.spec, tt.unit, tt.incl); err != nil || a != tt.have {
			t.Errorf("%s: %v, default %v, %v", tt.spec, a, tt.have, err)
		}
	}
}

// Each change of what counts depend on changes the digest; other changes do not.
func TestDigest(t *testing.T) {
	edit := func(old, new string) *Settings {
		text, _ := hit.BuiltinMap("minidt")
		if !strings.Contains(string(text), old) {
			t.Fatalf("%q is not in the map", old)
		}
		m, err := hit.ParseMap([]byte(strings.Replace(string(text), old, new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		return NewSettings(m)
	}
	def := NewSettings(nil).Digest()
	if len(def) != 16 || strings.Trim(def, "0123456789abcdef") != "" {
		t.Errorf("digest %q", def)
	}
	for _, s := range []*Settings{edit("minidt", "other"), edit("219.8", "219.9"), edit("93.9", "93.90"), edit(`"cell_width_mm": 42`, `"cell_width_mm": 43`)} {
		if s.Digest() != def {
			t.Error("the digest depends on what does not count")
		}
	}
	auto := NewSettings(nil)
	auto.Auto = 11_223
	auto2 := NewSettings(nil)
	auto2.Auto = 11_224
	all := NewSettings(nil)
	all.SetWindow(All, 0)
	wall := NewSettings(nil)
	wall.SetWindow(Wall, 5e9)
	ten := NewSettings(nil)
	ten.SetWindow(Detector, 10e9)
	axis := func(change func(*Settings)) *Settings { s := NewSettings(nil); change(s); return s }
	seen := map[string]int{def: -1}
	for i, s := range []*Settings{auto, auto2, all, wall, ten,
		axis(func(s *Settings) { s.Hist1.Limit-- }), axis(func(s *Settings) { s.Hist2.Limit-- }), axis(func(s *Settings) { s.Hist4.Width++ }),
		edit("93.9", "94.0"), edit(`"fpga": 1, "channel": 128`, `"fpga": 0, "channel": 128`), edit(`"last_channel": 63`, `"last_channel": 62`),
		edit("[4, 2, 3, 1]", "[4, 3, 2, 1]")} {
		if was, twice := seen[s.Digest()]; twice {
			t.Errorf("settings %d and %d have the same digest", was, i)
		}
		seen[s.Digest()] = i
	}
}

func TestMadeWith(t *testing.T) {
	lcp, _ := hit.BuiltinMap("lcp")
	other, err := hit.ParseMap(lcp)
	if err != nil {
		t.Fatal(err)
	}
	minidt := hit.DefaultMap()
	for _, auto := range []int64{0, 11223} {
		set := NewSettings(other)
		set.Auto = auto
		line := Line{Counts: NewCounts(set), Window: WindowInfo{Number: NoNumber}}
		read, err := ParseLine(line.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Settings{set, read.Counts.Set} {
			if !s.MadeWith(other) || s.MadeWith(minidt) {
				t.Errorf("auto %d: lcp %v, minidt %v; want true, false", auto, s.MadeWith(other), s.MadeWith(minidt))
			}
		}
	}
}
