package verdict

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"dt/internal/hist"
	"dt/internal/hit"
)

// counts returns empty counts of the default map.
func counts() *hist.Counts { return hist.NewCounts(hist.NewSettings(nil)) }

// letters returns verdicts as text.
func letters(w []Wire) string {
	b := make([]byte, len(w))
	for i, v := range w {
		b[i] = byte(v)
	}
	return string(b)
}

// fillLayer sets a layer's 16 counts; channels of layer 4 are 0 mod 4 in the default map, of layer 2: 1, 3: 2, 1: 3.
func fillLayer(c *hist.Counts, chamber, mod int, n ...int64) {
	for wire := range 16 {
		c.Chambers[chamber].Occupancy[4*wire+mod] = n[min(wire, len(n)-1)]
	}
}

func TestWires(t *testing.T) {
	for _, c := range []struct {
		name string
		n    []int64
		want string // of wires 1 to 16
	}{
		{"as the median", []int64{100}, "oooooooooooooooo"},
		{"the limits are ok", []int64{500, 20, 100}, "oooooooooooooooo"},
		{"beyond the limits", []int64{501, 19, 0, 1, 100}, "hldloooooooooooo"},
		{"the least median", []int64{0, 101, 100, 4, 3, 20}, "dhoolooooooooooo"},
		{"below the least", []int64{0, 1000, 19}, "????????????????"},
		{"half of them 39, half 0: a median of 19.5", []int64{0, 0, 0, 0, 0, 0, 0, 0, 39}, "????????????????"},
		{"half of them 41, half 0: a median of 20.5", []int64{0, 0, 0, 0, 0, 0, 0, 0, 41}, "ddddddddoooooooo"},
		{"nothing", []int64{0}, "????????????????"},
		{"a hot wire does not make others low", []int64{1_000_000_000, 100}, "hooooooooooooooo"},
	} {
		all := counts()
		fillLayer(all, 2, 1, c.n...)
		got := Wires(all, nil, hit.DefaultMap(), Default())
		for i, wires := range got {
			for ch, v := range wires {
				want := Unknown
				if i == 2 && ch%4 == 1 {
					want = Wire(c.want[ch/4])
				}
				if v != want {
					t.Errorf("%s: chamber %d, channel %d is %c, want %c", c.name, i+1, ch, v, want)
				}
			}
		}
	}
}

func TestWiresWithReference(t *testing.T) {
	c, ref := counts(), counts()
	fillLayer(ref, 0, 3, 1000, 50, 2000, 0, 400)
	fillLayer(c, 0, 3, 500, 25, 19, 50, 0, 1001, 40, 39, 200)
	got := Wires(c, ref, hit.DefaultMap(), Default())
	// Half of the reference: 500, 25, 1000, nothing known, 200 each.
	want := "ool?dholoooooooo"
	for wire := range 16 {
		if v := got[0][4*wire+3]; v != Wire(want[wire]) {
			t.Errorf("wire %d is %c, want %c", wire+1, v, want[wire])
		}
	}
	// One hot wire, hot enough to double the layer's total, changes no other.
	c.Chambers[0].Occupancy[3] = 1_000_000
	for wire, v := range "hol?dholoooooooo" {
		if g := Wires(c, ref, hit.DefaultMap(), Default())[0][4*wire+3]; g != Wire(v) {
			t.Errorf("with a hot wire: wire %d is %c, want %c", wire+1, g, v)
		}
	}
}

func TestWiresThatAreNotThere(t *testing.T) {
	text, _ := hit.BuiltinMap("minidt")
	short := strings.Replace(string(text), `"first_channel": 64, "last_channel": 127, "offset_ns": 101.4`, `"first_channel": 70, "last_channel": 100, "offset_ns": 101.4`, 1)
	m, err := hit.ParseMap([]byte(short))
	if err != nil {
		t.Fatal(err)
	}
	c := hist.NewCounts(hist.NewSettings(m))
	for ch := range c.Chambers[1].Occupancy {
		if c.Chambers[1].Occupancy[ch] = 100; ch < 6 || ch > 36 {
			c.Chambers[1].Occupancy[ch] = 0
		}
	}
	got := letters(Wires(c, nil, m, Default())[1])
	if want := "??????" + strings.Repeat("o", 31) + strings.Repeat("?", 27); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// A map with fewer chambers than the line knows nothing of the others.
	m.Chambers = m.Chambers[:1]
	if got := letters(Wires(c, nil, m, Default())[1]); got != strings.Repeat("?", 64) {
		t.Error(got)
	}
}

// A verdict depends on the channel's count and its layer's median alone: scaling all counts by a whole number changes
// none that was known, and another layer's counts change nothing.
func TestWiresProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	m, th := hit.DefaultMap(), Default()
	for range 200 {
		a := counts()
		for i := range a.Chambers {
			for ch := range a.Chambers[i].Occupancy {
				a.Chambers[i].Occupancy[ch] = r.Int64N(1 << r.IntN(10))
			}
		}
		b := counts()
		for i := range a.Chambers {
			for ch, n := range a.Chambers[i].Occupancy {
				b.Chambers[i].Occupancy[ch] = 3 * n
				if m.Layer(ch) == 2 {
					b.Chambers[i].Occupancy[ch] = 7
				}
			}
		}
		x, y := Wires(a, nil, m, th), Wires(b, nil, m, th)
		for i := range x {
			for ch, v := range x[i] {
				if v != Unknown && m.Layer(ch) != 2 && y[i][ch] != v {
					t.Fatalf("chamber %d, channel %d: %c, three times as many: %c", i+1, ch, v, y[i][ch])
				}
			}
		}
	}
}

func TestThresholds(t *testing.T) {
	th, err := Parse(Default().Text())
	if err != nil || *th != *Default() {
		t.Errorf("%+v, %v; want the default", th, err)
	}
	th, err = Parse([]byte(`{"wire": {"hot": 3.5}, "recent_seconds": 60}`))
	want := Default()
	want.Wire.Hot, want.RecentSeconds = 3.5, 60
	if err != nil || *th != *want {
		t.Errorf("%+v, %v; want %+v", th, err, want)
	}
	for text, want := range map[string]string{
		``:                              "thresholds: EOF",
		`[]`:                            "thresholds: json: cannot unmarshal array",
		`{"wire": {"hto": 3}}`:          `thresholds: json: unknown field "hto"`,
		`{"tol_ns": 3}`:                 `thresholds: json: unknown field "tol_ns"`,
		`{} {}`:                         "thresholds: more text after them",
		`{"wire": {"hot": 0.5}}`:        "thresholds: wire.hot is 0.5; 1 to 1e+06 are possible",
		`{"wire": {"enough": 10}}`:      "thresholds: wire.enough is 10; 20 to 1e+09 are possible",
		`{"wire": {"hot": "5"}}`:        "thresholds: json: cannot unmarshal string",
		`{"spans_in_a_row": 0}`:         "thresholds: spans_in_a_row is 0; 1 to 100 are possible",
		`{"spans_in_a_row": 1.5}`:       "thresholds: json: cannot unmarshal number",
		`{"drift_box": {"least": 10}}`:  "thresholds: drift_box.least is 10; 200 to 1e+09 are possible",
		`{"bx": {"p": -1}}`:             "thresholds: bx.p is -1; 0 to 1 are possible",
		`{"recent_seconds": 1e999}`:     "thresholds: json: cannot unmarshal number",
		`{"board": {"channels": 1}}`:    "thresholds: board.channels is 1; 2 to 64 are possible",
		`{"ledger": {"late": 2}}`:       "thresholds: ledger.late is 2; 0 to 1 are possible",
		`{"rate": {"windows": 100000}}`: "thresholds: rate.windows is 100000; 1 to 1000 are possible",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestPoisson(t *testing.T) {
	for _, mean := range []float64{0.01, 1, 7.3, 20, 400} {
		p, sum := math.Exp(-mean), 0.
		for k := range 700 {
			sum += p
			below, _ := poisson(float64(k), mean)
			if math.Abs(below-sum) > 1e-10 {
				t.Errorf("%d or fewer of %g: %g, want %g", k, mean, below, sum)
			}
			_, above := poisson(float64(k+1), mean)
			if math.Abs(above+below-1) > 1e-10 {
				t.Errorf("%d or fewer, and more, of %g: %g and %g", k, mean, below, above)
			}
			p *= mean / float64(k+1)
		}
	}
	if p, _ := poisson(0, 1000); p != 0 && !(p > 0 && p < 1e-300) {
		t.Error(p)
	}
	if p, q := poisson(0, 0); p != 1 || q != 1 {
		t.Error(p, q)
	}
	if p := chi2Tail(124.342, 100); math.Abs(p-0.05) > 1e-4 { // from tables
		t.Error(p)
	}
}

func TestSliding(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	var s sliding
	var all []float64
	for range 3000 {
		v := float64(r.IntN(50))
		s.add(v, 2, 600)
		all = append(all, v)
		if want := median(append([]float64(nil), all[max(0, len(all)-300):]...)); s.median() != want {
			t.Fatalf("after %d: %g, want %g", len(all), s.median(), want)
		}
	}
}
