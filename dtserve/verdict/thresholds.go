package verdict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Thresholds are the numbers behind all verdicts. THRESHOLDS.md says what each means. The JSON form is what
// dtserve --print-thresholds prints and --thresholds FILE reads; what a file leaves out is as in the default.
type Thresholds struct {
	RecentSeconds float64         `json:"recent_seconds"` // live detector time that a span has at most
	Spans         int             `json:"spans_in_a_row"` // that raise an alarm, and clear it
	Wire          WireLimits      `json:"wire"`
	Board         BoardLimits     `json:"board"`
	Box           BoxLimits       `json:"drift_box"`
	Rate          RateLimits      `json:"rate"`
	Step          StepLimits      `json:"fpga_step"`
	BX            StructureLimits `json:"bx"`
	TDC           StructureLimits `json:"tdc"`
	Ledger        LedgerLimits    `json:"ledger"`
}

// WireLimits are those of a wire against its layer's median.
type WireLimits struct {
	Hot    float64 `json:"hot"`    // above hot × the median
	Low    float64 `json:"low"`    // below the median / low
	Least  float64 `json:"least"`  // unknown below this median
	Enough float64 `json:"enough"` // a span ends at this median
}

// BoardLimits say what a front-end board is.
type BoardLimits struct {
	Channels int `json:"channels"` // consecutive TDC_CHANNEL, from a multiple of it
}

// BoxLimits are those of the drift-time box.
type BoxLimits struct {
	Enough    int64   `json:"enough"`       // a span ends at so many entries
	Least     int64   `json:"least"`        // unknown below so many
	Below     float64 `json:"narrower_ns"`  // than the longest drift time
	Above     float64 `json:"wider_ns"`     // than the longest drift time
	Edge      float64 `json:"edge_ns"`      // of the rising edge from 0
	Reference float64 `json:"reference_ns"` // of width and edge from those of a reference, in their stead
	Sigmas    float64 `json:"sigmas"`       // of the fit, on top
}

// RateLimits are those of the rate of a chamber or an FPGA.
type RateLimits struct {
	Factor   float64 `json:"factor"`   // above factor × or below 1/factor × the median rate of recent windows
	P        float64 `json:"p"`        // and less probable than this
	Windows  int     `json:"windows"`  // needed before
	Expected float64 `json:"expected"` // silent: 0 where so many are expected
}

// StepLimits are those of the FPGAs' step.
type StepLimits struct {
	Orbits int64 `json:"orbits"` // between the last orbits of any two FPGAs
}

// StructureLimits are those of a histogram that should be flat.
type StructureLimits struct {
	Enough float64 `json:"enough"` // a span ends at so many hits a bin
	Least  float64 `json:"least"`  // unknown below so many
	P      float64 `json:"p"`      // less probable than this
	RMS    float64 `json:"rms"`    // and larger than this share of the mean
}

// LedgerLimits are shares of the hits of a span.
type LedgerLimits struct {
	Enough     int64   `json:"enough"` // a span ends at so many hits
	Late       float64 `json:"late"`   // late, or booked early
	Unassigned float64 `json:"unassigned"`
}

// Default returns the thresholds that hold without a file.
func Default() *Thresholds {
	return &Thresholds{
		RecentSeconds: 600,
		Spans:         2,
		Wire:          WireLimits{Hot: 5, Low: 5, Least: 20, Enough: 100},
		Board:         BoardLimits{Channels: 16},
		Box:           BoxLimits{Enough: 1000, Least: 200, Below: 60, Above: 25, Edge: 40, Reference: 20, Sigmas: 3},
		Rate:          RateLimits{Factor: 3, P: 1e-6, Windows: 10, Expected: 20},
		Step:          StepLimits{Orbits: 11223},
		BX:            StructureLimits{Enough: 100, Least: 20, P: 1e-9, RMS: 0.15},
		TDC:           StructureLimits{Enough: 200, Least: 20, P: 1e-9, RMS: 0.15},
		Ledger:        LedgerLimits{Enough: 10000, Late: 0.01, Unassigned: 0.05},
	}
}

// Text returns the thresholds as JSON, as Parse reads it.
func (t *Thresholds) Text() []byte {
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		panic(err) // finite numbers only: check saw to it
	}
	return append(text, '\n')
}

// Parse reads thresholds and checks them.
func Parse(text []byte) (*Thresholds, error) {
	t := Default()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(t); err != nil {
		return nil, fmt.Errorf("thresholds: %w", err)
	}
	if dec.More() {
		return nil, errors.New("thresholds: more text after them")
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("thresholds: %w", err)
	}
	return t, nil
}

func (t *Thresholds) check() error {
	for _, c := range []struct {
		name      string
		v, lo, hi float64
	}{
		{"recent_seconds", t.RecentSeconds, 1, 1e6},
		{"spans_in_a_row", float64(t.Spans), 1, 100},
		{"wire.hot", t.Wire.Hot, 1, 1e6},
		{"wire.low", t.Wire.Low, 1, 1e6},
		{"wire.least", t.Wire.Least, 1, 1e9},
		{"wire.enough", t.Wire.Enough, t.Wire.Least, 1e9},
		{"board.channels", float64(t.Board.Channels), 2, 64},
		{"drift_box.least", float64(t.Box.Least), leastEntries, 1e9},
		{"drift_box.enough", float64(t.Box.Enough), float64(t.Box.Least), 1e9},
		{"drift_box.narrower_ns", t.Box.Below, 0, 1e6},
		{"drift_box.wider_ns", t.Box.Above, 0, 1e6},
		{"drift_box.edge_ns", t.Box.Edge, 0, 1e6},
		{"drift_box.reference_ns", t.Box.Reference, 0, 1e6},
		{"drift_box.sigmas", t.Box.Sigmas, 0, 100},
		{"rate.factor", t.Rate.Factor, 1, 1e6},
		{"rate.p", t.Rate.P, 0, 1},
		{"rate.windows", float64(t.Rate.Windows), 1, maxHistory},
		{"rate.expected", t.Rate.Expected, 1, 1e9},
		{"fpga_step.orbits", float64(t.Step.Orbits), 1, 1 << 32},
		{"bx.least", t.BX.Least, 1, 1e9},
		{"bx.enough", t.BX.Enough, t.BX.Least, 1e9},
		{"bx.p", t.BX.P, 0, 1},
		{"bx.rms", t.BX.RMS, 0, 100},
		{"tdc.least", t.TDC.Least, 1, 1e9},
		{"tdc.enough", t.TDC.Enough, t.TDC.Least, 1e9},
		{"tdc.p", t.TDC.P, 0, 1},
		{"tdc.rms", t.TDC.RMS, 0, 100},
		{"ledger.enough", float64(t.Ledger.Enough), 1, 1e12},
		{"ledger.late", t.Ledger.Late, 0, 1},
		{"ledger.unassigned", t.Ledger.Unassigned, 0, 1},
	} {
		if !(c.v >= c.lo && c.v <= c.hi) {
			return fmt.Errorf("%s is %g; %g to %g are possible", c.name, c.v, c.lo, c.hi)
		}
	}
	return nil
}
