package hit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// Chamber codes of words beside 1 … MaxChambers.
const (
	NoChamber    = 0   // ancillary words, and hits that the map does not know
	Scintillator = 255 // the trigger's time
)

// Bounds of a map. Occupancy and the active channels of an orbit are kept by channel mod Channels.
const (
	MaxChambers = 32
	Channels    = 64 // of a chamber
	Layers      = 4  // of a chamber
	Wires       = 16 // of a layer
)

// A Map says which chamber each electronics channel belongs to. Its JSON form is what dtchamber --print-map
// prints, --map FILE reads, and a map frame carries.
type Map struct {
	Name          string                `json:"name"`
	Chambers      []Chamber             `json:"chambers"`
	Scintillators []ScintillatorChannel `json:"scintillators"`
	Geometry      Geometry              `json:"geometry"`
	lut           [8 * 512]uint8        // by FPGA·512 + channel
}

// A Chamber is up to 64 consecutive channels of one FPGA.
type Chamber struct {
	Chamber      int         `json:"chamber"` // 1, 2, … in order
	FPGA         int         `json:"fpga"`
	FirstChannel int         `json:"first_channel"`
	LastChannel  int         `json:"last_channel"`
	OffsetNS     json.Number `json:"offset_ns"` // added to the drift time; a multiple of 1/30 ns
	ZMM          float64     `json:"z_mm"`

	Offset int64 `json:"-"` // OffsetNS in 1/30 ns
}

// ScintillatorChannel names one channel that carries the scintillators' trigger.
type ScintillatorChannel struct {
	FPGA    int `json:"fpga"`
	Channel int `json:"channel"`
}

// Geometry is that of every chamber: 4 layers of 16 cells, staggered by half a cell.
type Geometry struct {
	LayerOfChannel    [Layers]int     `json:"layer_of_channel_mod_4"` // the layer, 1 … 4 from the top, of channel mod 4 = 0, 1, 2, 3
	CellWidthMM       float64         `json:"cell_width_mm"`
	CellHeightMM      float64         `json:"cell_height_mm"`
	StaggerMM         [Layers]float64 `json:"stagger_mm"` // shift of layers 1 … 4 towards higher wires
	DriftVelocityUMNS float64         `json:"drift_velocity_um_ns"`
	MaxDriftNS        float64         `json:"max_drift_ns"`
}

const geometry = `"geometry": {
    "layer_of_channel_mod_4": [4, 2, 3, 1],
    "cell_width_mm": 42,
    "cell_height_mm": 13,
    "stagger_mm": [21, 0, 21, 0],
    "drift_velocity_um_ns": 53.8,
    "max_drift_ns": 390
  }`

// The built-in maps. minidt: the stream run. lcp: Run000591, whose trigger is channel 139 of either FPGA and comes
// 390 ns after the earliest hits, so that its offset moves the box to 0 … 390 ns.
var builtin = map[string]string{
	"minidt": `{
  "name": "minidt",
  "chambers": [
    {"chamber": 1, "fpga": 0, "first_channel": 0, "last_channel": 63, "offset_ns": 93.9, "z_mm": 219.8},
    {"chamber": 2, "fpga": 0, "first_channel": 64, "last_channel": 127, "offset_ns": 101.4, "z_mm": 977.3},
    {"chamber": 3, "fpga": 1, "first_channel": 0, "last_channel": 63, "offset_ns": 95.5, "z_mm": 1035.6},
    {"chamber": 4, "fpga": 1, "first_channel": 64, "last_channel": 127, "offset_ns": 92.4, "z_mm": 1819.8}
  ],
  "scintillators": [{"fpga": 1, "channel": 128}],
  ` + geometry + `
}
`,
	"lcp": `{
  "name": "lcp",
  "chambers": [
    {"chamber": 1, "fpga": 0, "first_channel": 0, "last_channel": 63, "offset_ns": 390, "z_mm": 219.8},
    {"chamber": 2, "fpga": 0, "first_channel": 64, "last_channel": 127, "offset_ns": 390, "z_mm": 977.3},
    {"chamber": 3, "fpga": 1, "first_channel": 0, "last_channel": 63, "offset_ns": 390, "z_mm": 1035.6},
    {"chamber": 4, "fpga": 1, "first_channel": 64, "last_channel": 127, "offset_ns": 390, "z_mm": 1819.8}
  ],
  "scintillators": [{"fpga": 0, "channel": 139}, {"fpga": 1, "channel": 139}],
  ` + geometry + `
}
`,
}

// BuiltinMap returns the text of the built-in map of that name, and whether there is one.
func BuiltinMap(name string) ([]byte, bool) {
	text, ok := builtin[name]
	return []byte(text), ok
}

// DefaultMap is minidt, which dthist applies to streams without a map.
func DefaultMap() *Map {
	m, err := ParseMap([]byte(builtin["minidt"]))
	if err != nil {
		panic(err) // the text above is constant, and a test parses it
	}
	return m
}

// MapDigest is how frames name the map with this text: the first 8 bytes, little-endian, of its SHA-256.
func MapDigest(text []byte) uint64 {
	sum := sha256.Sum256(text)
	return binary.LittleEndian.Uint64(sum[:])
}

// ParseMap reads a map from its JSON text and checks it.
func ParseMap(text []byte) (*Map, error) {
	m := new(Map)
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, fmt.Errorf("chamber map: %w", err)
	}
	if dec.More() {
		return nil, errors.New("chamber map: more text after the map")
	}
	if len(m.Chambers) == 0 || len(m.Chambers) > MaxChambers {
		return nil, fmt.Errorf("chamber map: %d chambers; 1 to %d are possible", len(m.Chambers), MaxChambers)
	}
	for i := range m.Chambers {
		c := &m.Chambers[i]
		if err := m.add(i, c); err != nil {
			return nil, fmt.Errorf("chamber map: chamber %d: %w", i+1, err)
		}
	}
	for _, s := range m.Scintillators {
		if err := m.claim(s.FPGA, s.Channel, Scintillator); err != nil {
			return nil, fmt.Errorf("chamber map: scintillator: %w", err)
		}
	}
	var seen [Layers + 1]bool
	for _, layer := range m.Geometry.LayerOfChannel {
		if layer < 1 || layer > Layers || seen[layer] {
			return nil, fmt.Errorf("chamber map: layer_of_channel_mod_4 is %v; it must name each of the layers 1 to 4 once", m.Geometry.LayerOfChannel)
		}
		seen[layer] = true
	}
	return m, nil
}

func (m *Map) add(i int, c *Chamber) error {
	if c.Chamber != i+1 {
		return fmt.Errorf("it is called chamber %d; chambers are numbered 1, 2, … in order", c.Chamber)
	}
	if c.FirstChannel > c.LastChannel || c.LastChannel-c.FirstChannel >= Channels {
		return fmt.Errorf("channels %d to %d; a chamber has 1 to %d", c.FirstChannel, c.LastChannel, Channels)
	}
	// A big.Rat of "1e999999999" would take all memory: bound the text first.
	if len(c.OffsetNS) > 16 {
		return fmt.Errorf("offset_ns %.20s… has more than 16 characters", c.OffsetNS)
	}
	ns, ok := new(big.Rat).SetString(string(c.OffsetNS))
	if !ok || bytes.ContainsAny([]byte(c.OffsetNS), "eE") {
		return fmt.Errorf("offset_ns %q is not a decimal number", c.OffsetNS)
	}
	ns.Mul(ns, big.NewRat(DriftPerNS, 1))
	if !ns.IsInt() || ns.Num().BitLen() > 32 {
		return fmt.Errorf("offset_ns %s is not a multiple of 1/30 ns below 100 ms", c.OffsetNS)
	}
	c.Offset = ns.Num().Int64()
	for ch := c.FirstChannel; ch <= c.LastChannel; ch++ {
		if err := m.claim(c.FPGA, ch, uint8(i+1)); err != nil {
			return err
		}
	}
	return nil
}

func (m *Map) claim(fpga, channel int, code uint8) error {
	if fpga < 0 || fpga > MaxFPGA || channel < 0 || channel > MaxChannel {
		return fmt.Errorf("FPGA %d, channel %d does not exist", fpga, channel)
	}
	at := &m.lut[fpga<<9|channel]
	if *at != NoChamber {
		return fmt.Errorf("FPGA %d, channel %d is taken twice", fpga, channel)
	}
	*at = code
	return nil
}

// Of returns the chamber code of a word: 1 … n, Scintillator, or NoChamber.
func (m *Map) Of(w uint64) uint8 {
	if !IsHit(w) {
		return NoChamber
	}
	return m.lut[w>>ChannelShift&(8*512-1)]
}

// Assign writes the chamber code of each word to codes, which must be as long.
func (m *Map) Assign(codes []uint8, words []uint64) {
	codes = codes[:len(words)]
	lut := &m.lut
	for i, w := range words {
		c := lut[w>>ChannelShift&(8*512-1)]
		if w>>HeadShift != HeadHit {
			c = NoChamber
		}
		codes[i] = c
	}
}

// Layer returns the layer, 1 … 4 from the top, of a chamber's channel.
func (m *Map) Layer(channel int) int { return m.Geometry.LayerOfChannel[channel%Layers] }

// Wire returns the wire in its layer, 1 … 16, of a chamber's channel.
func Wire(channel int) int { return channel%Channels/Layers + 1 }

// Position returns where a channel's wire is, in mm from the middle of wire 1 of an unstaggered layer, towards higher wires.
func (m *Map) Position(channel int) float64 {
	return float64(Wire(channel)-1)*m.Geometry.CellWidthMM + m.Geometry.StaggerMM[m.Layer(channel)-1]
}
