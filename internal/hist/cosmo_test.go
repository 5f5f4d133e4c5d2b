package hist

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"dt/internal/hit"
)

var minidt = hit.DefaultMap()

func booked(fpga, channel int, orbit uint32) Booked {
	w := hit.NewHit(fpga, channel, orbit, 0, 0)
	return Booked{Word: w, Chamber: minidt.Of(w)}
}

// Two hits of one channel and one of another in orbit 7, one in orbit 9 with drift times 93.9 ns and (2 817 + 25)/30 ns = 94.7333… ns,
// a late hit, a scintillator hit, one in no chamber.
func TestCosmoByHand(t *testing.T) {
	var c Cosmo
	drift := func(b Booked, d int64) Booked { b.InOrbit, b.Drift = true, d; return b }
	late := booked(0, 5, 3)
	late.Late = true
	for _, b := range []Booked{booked(0, 3, 7), booked(0, 3, 7), booked(0, 4, 7), booked(1, 127, 7), booked(1, 138, 8),
		drift(booked(0, 3, 9), 2817), drift(booked(0, 70, 9), 2842), drift(booked(0, 70, 9), -1), booked(1, 128, 9), late} {
		if !c.Fits(2, b) {
			t.Fatalf("%+v does not fit", b)
		}
		c.Book(2, b)
	}
	want := `{"n": 12, "ch0": 5, "ch1": 2, "ch2": 0, "ch3": 1, ` +
		`"ch0_tdc_hist": {"edg": [3,4,5], "cnt": [3,1,1]}, "ch0_orb_hist": {"edg": [7,9], "cnt": [2,1]}, "ch0_tdc_hist_scint": {"edg": [3], "cnt": [1]}, "ch0_drifts": [93.9], ` +
		`"ch1_tdc_hist": {"edg": [70], "cnt": [2]}, "ch1_orb_hist": {"edg": [9], "cnt": [1]}, "ch1_tdc_hist_scint": {"edg": [70], "cnt": [2]}, "ch1_drifts": [94.733,-0.033], ` +
		`"ch2_tdc_hist": {"edg": [], "cnt": []}, "ch2_orb_hist": {"edg": [9], "cnt": [0]}, "ch2_tdc_hist_scint": {"edg": [], "cnt": []}, "ch2_drifts": [], ` +
		`"ch3_tdc_hist": {"edg": [127], "cnt": [1]}, "ch3_orb_hist": {"edg": [7], "cnt": [1]}, "ch3_tdc_hist_scint": {"edg": [], "cnt": []}, "ch3_drifts": []}`
	if got := string(c.Append(nil, 12)); got != want {
		t.Errorf("\n%s\nwant\n%s", got, want)
	}
	c.Reset()
	// An empty message knows the orbit of before.
	got := string(c.Append(nil, 0))
	if strings.Count(got, `_orb_hist": {"edg": [9], "cnt": [0]}`) != 4 || strings.Count(got, `: {"edg": [], "cnt": []}`) != 8 || strings.Count(got, `_drifts": []`) != 4 {
		t.Error(got)
	}
}

func TestCosmoNeverSpansEpochsNorManyOrbits(t *testing.T) {
	var c Cosmo
	c.Book(1, booked(0, 1, 100))
	for _, tt := range []struct {
		epoch uint32
		orbit uint32
		want  bool
	}{{1, 100, true}, {1, 101, true}, {1, 1_000_099, true}, {1, 1_000_100, false}, {2, 100, false}, {2, 101, false}, {0, 100, false}, {1, 99, false}} {
		if got := c.Fits(tt.epoch, booked(0, 1, tt.orbit)); got != tt.want {
			t.Errorf("epoch %d, orbit %d: %v", tt.epoch, tt.orbit, got)
		}
	}
	late := booked(0, 1, 5_000_000)
	late.Late = true
	if !c.Fits(2, late) {
		t.Error("a late hit does not fit")
	}
	c.Reset()
	if !c.Fits(7, booked(0, 1, 3)) {
		t.Error("nothing fits into an empty message")
	}
	// Many entries: full, but not in the middle of an orbit.
	for i := range CosmoEntries + 1 {
		b := booked(0, 1, 100)
		b.InOrbit = true
		if !c.Fits(1, b) {
			t.Fatalf("an orbit is divided at hit %d", i)
		}
		c.Book(1, b)
	}
	if c.Fits(1, booked(0, 1, 101)) {
		t.Error("not full")
	}
}

// Fed by a Lane, the messages hold what the Counts hold.
func TestCosmoOfALane(t *testing.T) {
	type hist struct{ Edg, Cnt []int64 }
	drifts := 0
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 6))
		set := NewSettings(nil)
		set.SetWindow(All, 0)
		var c Cosmo
		var messages [][]byte
		l := NewLane(set, "demo")
		l.Hit = func(epoch uint32, b Booked) {
			if !c.Fits(epoch, b) {
				messages = append(messages, c.Append(nil, 1))
				c.Reset()
			}
			c.Book(epoch, b)
		}
		for _, e := range randomEvents(r) {
			if err := l.Horizon(e.epoch, 0, e.epoch); err != nil {
				t.Fatal(err)
			}
			codes := make([]uint8, len(e.words))
			set.Map.Assign(codes, e.words)
			l.Words(e.epoch, e.words, codes)
		}
		if err := l.Finish(); err != nil {
			t.Fatal(err)
		}
		messages = append(messages, c.Append(nil, 1))
		want := l.Take()
		if want == nil {
			continue
		}
		for i := range want.Chambers {
			ch := &want.Chambers[i]
			var hits, scint, active, fired int64
			lo, hi := 64*int64(i%2), 64*int64(i%2)+63
			for _, text := range messages {
				var m map[string]json.RawMessage
				if err := json.Unmarshal(text, &m); err != nil {
					t.Fatal(err)
				}
				get := func(key string, to any) {
					if err := json.Unmarshal(m[fmt.Sprintf(key, i)], to); err != nil {
						t.Fatal(key, err)
					}
				}
				var n int64
				var tdc, orb, sc hist
				var times []float64
				get("ch%d", &n)
				get("ch%d_tdc_hist", &tdc)
				get("ch%d_orb_hist", &orb)
				get("ch%d_tdc_hist_scint", &sc)
				get("ch%d_drifts", &times)
				if len(orb.Edg) == 0 || orb.Edg[len(orb.Edg)-1]-orb.Edg[0] >= CosmoOrbits {
					t.Fatalf("orbits %v", orb.Edg)
				}
				for k, channel := range tdc.Edg {
					if channel < lo || channel > hi || k > 0 && channel <= tdc.Edg[k-1] {
						t.Fatalf("ch%d: channels %v", i, tdc.Edg)
					}
				}
				for k := range orb.Edg {
					if k > 0 && orb.Edg[k] <= orb.Edg[k-1] {
						t.Fatalf("ch%d: orbits %v", i, orb.Edg)
					}
				}
				if total(tdc.Cnt) != n {
					t.Fatalf("ch%d: %d hits, %d in tdc_hist", i, n, total(tdc.Cnt))
				}
				hits += n
				scint += total(sc.Cnt)
				active += total(orb.Cnt)
				fired += int64(len(times))
				drifts += len(times)
			}
			h2 := &ch.Hist2
			if hits != ch.Hits() || scint != total(ch.Scintillator[:]) || fired != scint || active != total(h2.Counts)+h2.Underflow+h2.Overflow {
				t.Fatalf("seed %d, ch%d: %d hits, %d with scintillator, %d drift times, %d active channels", seed, i, hits, scint, fired, active)
			}
		}
	}
	if drifts == 0 {
		t.Error("no drift times")
	}
}

func BenchmarkCosmoAppend(b *testing.B) {
	var c Cosmo
	r := rand.New(rand.NewPCG(1, 2))
	for o := range uint32(15_000) {
		c.Book(0, booked(r.IntN(2), r.IntN(128), o))
	}
	dst := c.Append(nil, 15_000)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		dst = c.Append(dst[:0], 15_000)
	}
}
