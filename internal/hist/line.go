package hist

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"

	"dt/internal/hit"
)

// A Line is a result line, or a progress line. RESULTS.md says what its text means.
type Line struct {
	Index    int64 // unix time at which the window closed, µs; not of progress lines
	Window   WindowInfo
	Counts   *Counts // of a progress line: only the Ledger, and Set with only the digest
	Complete bool
	Lane     [2]int // k of N of a partial or progress line; zero: of whole runs
	Progress bool   // of lane k of run Window.Run: all windows below (Window.Epoch, Window.Number) have been passed
	End      bool   // of a progress line: the lane has ended, exhausted
	Node     string
	Lanes    []LaneSource
}

// NoNumber is the Number of a line that is not of a detector window.
const NoNumber = -1

// WindowInfo says which window a line is of. Clock and length are in its Settings.
type WindowInfo struct {
	Run        string // with the detector clock
	Epoch      uint32 // with the detector clock
	Number     int64  // with the detector clock: orbit div length; NoNumber in the line without orbits
	Start, End int64  // with the wall clock: unix, µs
	Revision   int64
}

// A LaneSource is the stretch of a lane's record numbers that a ledger covers.
type LaneSource struct {
	Run         string
	K, N        uint32
	First, Next uint64
	Place       *Place // the last mark, or nil
}

// A Place is where a source was when it wrote a mark.
type Place struct {
	Name           string // of the file or topic
	Offset, Number uint64
	Partition      int64  // −1: none
	Tag            string // or ""
}

// Append appends the line to dst, without a line feed.
func (l *Line) Append(dst []byte) []byte {
	if l.Progress {
		dst = append(dst, `{"Progress": 1, `...)
		dst = appendRun(dst, l.Window.Run)
		dst = l.appendLane(dst)
		dst = append(dst, `, "Epoch": `...)
		dst = strconv.AppendUint(dst, uint64(l.Window.Epoch), 10)
		dst = appendInt(dst, `, "Number": `, l.Window.Number)
		dst = appendInt(dst, `, "End": `, bit(l.End))
		return l.appendTail(dst)
	}
	c := l.Counts
	dst = append(dst, `{"Index": `...)
	dst = appendMicros(dst, l.Index)
	hits := int64(0)
	for i := range c.Chambers {
		hits += c.Chambers[i].Hits()
	}
	dst = appendInt(dst, `, "Total Count": `, hits)
	live := c.live()
	for i := range c.Chambers {
		dst = c.appendChamber(dst, i, live)
	}
	dst = appendInt(dst, `, "Trigger": {"Hits": `, c.Trigger.Hits)
	dst = appendInt(dst, `, "Orbits": `, c.Trigger.Orbits)
	dst = append(dst, '}')
	for f := range c.FPGA {
		if c.Set.fpgaMask()>>f&1 != 0 {
			dst = appendFPGA(dst, f, &c.FPGA[f])
		}
	}
	dst = l.appendWindow(dst, live)
	if l.Lane != [2]int{} {
		dst = append(dst, `, "Partial": 1`...)
		dst = l.appendLane(dst)
	}
	return l.appendTail(dst)
}

// appendTail appends what result and progress lines end with.
func (l *Line) appendTail(dst []byte) []byte {
	dst = appendLedger(dst, &l.Counts.Ledger)
	dst = appendInt(dst, `, "Complete": `, bit(l.Complete))
	dst = append(dst, `, "Source": {"Node": `...)
	dst = appendString(dst, l.Node)
	dst = append(dst, `, "Lanes": [`...)
	for i := range l.Lanes {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = l.Lanes[i].append(dst)
	}
	dst = append(dst, `]}, "Settings": "`...)
	dst = append(dst, l.Counts.Set.Digest()...)
	return append(dst, `"}`...)
}

func (l *Line) appendLane(dst []byte) []byte {
	dst = appendInt(dst, `, "Lane": [`, int64(l.Lane[0]))
	dst = appendInt(dst, `,`, int64(l.Lane[1]))
	return append(dst, ']')
}

func (s *LaneSource) append(dst []byte) []byte {
	dst = append(dst, '{')
	dst = appendRun(dst, s.Run)
	dst = appendInt(dst, `, "Lane": [`, int64(s.K))
	dst = appendInt(dst, `,`, int64(s.N))
	dst = appendUint(dst, `], "First": `, s.First)
	dst = appendUint(dst, `, "Next": `, s.Next)
	if p := s.Place; p != nil {
		dst = append(dst, `, "Name": `...)
		dst = appendString(dst, p.Name)
		dst = appendUint(dst, `, "Offset": `, p.Offset)
		dst = appendUint(dst, `, "Number": `, p.Number)
		if p.Partition >= 0 {
			dst = appendInt(dst, `, "Partition": `, p.Partition)
		}
		if p.Tag != "" {
			dst = append(dst, `, "Tag": `...)
			dst = appendString(dst, p.Tag)
		}
	}
	return append(dst, '}')
}

func (c *Counts) appendChamber(dst []byte, i int, live int64) []byte {
	ch, set := &c.Chambers[i], c.Set
	count := ch.Hits()
	dst = appendInt(dst, `, "Chamber_`, int64(i+1))
	dst = appendInt(dst, `": {"Count": `, count)
	h := c.hist1(i)
	dst = appendHist(dst, `, "Hist_1": `, &set.Hist1, 1, &h)
	axis2, h2 := set.Hist2, ch.Hist2
	if set.Auto > 0 {
		axis2 = Axis{Lo: c.AutoLo * set.Auto, Width: set.Auto, n: int(c.autoBins())}
		h2.Counts = slices.Clone(h2.Counts)
		h2.grow(int64(axis2.n))
	}
	dst = appendHist(dst, `, "Hist_2": `, &axis2, 1, &h2)
	if set.Auto > 0 {
		dst = appendInt(dst[:len(dst)-1], `, "Auto": `, set.Auto)
		dst = append(dst, '}')
	}
	h = c.hist3(i)
	dst = appendHist(dst, `, "Hist_3": `, &set.Hist1, 1, &h)
	dst = appendHist(dst, `, "Hist_4": `, &set.Hist4, hit.DriftPerNS, &ch.Hist4)
	dst = appendInt(dst, `, "Late": `, ch.Late)
	if live > 0 {
		dst = append(dst, `, "Rate": `...)
		dst = appendRate(dst, count, live)
	}
	dst = appendInts(dst, `, "Occupancy": `, ch.Occupancy[:])
	dst = appendInts(dst, `, "Scintillator": `, ch.Scintillator[:])
	dst = appendInts(dst, `, "Multiplicity": `, ch.Multiplicity[:])
	sep := `, "Drift_Layer": [`
	for layer := range ch.DriftLayer {
		dst = appendInts(dst, sep, ch.DriftLayer[layer])
		sep = ","
	}
	dst = appendInts(dst, `], "Trigger_Multiplicity": `, ch.TriggerMultiplicity[:])
	sep = `, "Efficiency": [`
	for layer := range ch.Efficiency {
		dst = appendInts(dst, sep, ch.Efficiency[layer][:])
		sep = ","
	}
	return append(dst, `]}`...)
}

var bxAxis = Axis{Lo: 0, Limit: bxBins * bxWidth, Width: bxWidth, n: bxBins}

func appendFPGA(dst []byte, f int, p *FPGA) []byte {
	dst = appendInt(dst, `, "FPGA_`, int64(f))
	dst = appendInt(dst, `": {"Hits": `, total(p.TDC[:]))
	if p.Last >= 0 {
		dst = appendInt(dst, `, "Last": `, p.Last)
	}
	dst = appendHist(dst, `, "BX": `, &bxAxis, 1, &Hist{Counts: p.BX[:], Overflow: p.BXOverflow})
	dst = appendInts(dst, `, "TDC": `, p.TDC[:])
	return append(dst, '}')
}

func (l *Line) appendWindow(dst []byte, live int64) []byte {
	set, spans := l.Counts.Set, l.Counts.Spans
	dst = append(dst, `, "Window": {"Clock": "`...)
	dst = append(dst, set.Clock...)
	dst = append(dst, '"')
	seconds := func(key string, orbits int64) {
		dst = append(dst, key...)
		dst = appendDecimal(dst, orbits*hit.OrbitNum, orbitDigits)
	}
	switch w := &l.Window; {
	case set.Clock == Wall:
		dst = append(dst, `, "Seconds": `...)
		dst = appendDecimal(dst, set.Length, 9)
		dst = append(dst, `, "Start": `...)
		dst = appendMicros(dst, w.Start)
		dst = append(dst, `, "End": `...)
		dst = appendMicros(dst, w.End)
	case set.Clock == Detector:
		seconds(`, "Seconds": `, set.Length)
		if w.Number != NoNumber {
			seconds(`, "Start": `, w.Number*set.Length)
			seconds(`, "End": `, (w.Number+1)*set.Length)
		}
	case len(spans) > 0:
		length := int64(0)
		for i := range spans {
			length += spans[i].Last + 1 - spans[i].First
		}
		seconds(`, "Seconds": `, length)
		seconds(`, "Start": `, spans[0].First)
		seconds(`, "End": `, spans[len(spans)-1].Last+1)
	}
	seconds(`, "Live": `, live)
	dst = append(dst, `, "Spans": [`...)
	for i := range spans {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		s := &spans[i]
		dst = append(dst, '{')
		dst = appendRun(dst, s.Run)
		dst = appendInt(dst, `, "Epoch": `, int64(s.Epoch))
		dst = appendInt(dst, `, "First": `, s.First)
		dst = appendInt(dst, `, "Last": `, s.Last)
		dst = append(dst, `, "Live": [`...)
		for j := range s.Live {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendInts(dst, "", s.Live[j][:])
		}
		dst = append(dst, `]}`...)
	}
	dst = appendInt(dst, `], "Revision": `, l.Window.Revision)
	if set.Clock == Detector && l.Window.Number != NoNumber {
		dst = append(dst, ", "...)
		dst = appendRun(dst, l.Window.Run)
		dst = appendInt(dst, `, "Epoch": `, int64(l.Window.Epoch))
		dst = appendInt(dst, `, "Number": `, l.Window.Number)
	}
	return append(dst, '}')
}

func appendLedger(dst []byte, l *Ledger) []byte {
	dst = appendInt(dst, `, "Ledger": {"Read": `, l.Read)
	dst = appendInt(dst, `, "Hits": `, l.Hits)
	dst = appendInt(dst, `, "Late": `, l.Late)
	dst = appendInt(dst, `, "Scintillator": `, l.Scintillator)
	dst = appendInt(dst, `, "Unassigned": `, l.Unassigned)
	dst = appendInt(dst, `, "Not_A_Hit": `, l.NotAHit)
	dst = appendInt(dst, `, "Early": `, l.Early)
	dst = appendInt(dst, `, "Pending": `, l.Pending)
	dst = append(dst, `, "Set_Aside": {`...)
	for i, stage := range slices.Sorted(maps.Keys(l.SetAside)) {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendString(dst, stage)
		dst = append(dst, ": {"...)
		for j, reason := range slices.Sorted(maps.Keys(l.SetAside[stage])) {
			if j > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendString(dst, reason)
			dst = appendInt(dst, ": ", l.SetAside[stage][reason])
		}
		dst = append(dst, '}')
	}
	dst = append(dst, '}')
	if l.Missing != 0 {
		dst = appendInt(dst, `, "Missing": `, l.Missing)
	}
	if l.Doubled != 0 {
		dst = appendInt(dst, `, "Doubled": `, l.Doubled)
	}
	return append(dst, '}')
}

// appendHist appends a histogram on an axis in 1/unit.
func appendHist(dst []byte, key string, a *Axis, unit int64, h *Hist) []byte {
	dst = append(dst, key...)
	dst = append(dst, `{"Bins": [`...)
	for i := range int64(a.n) {
		if i > 0 {
			dst = append(dst, ',')
		}
		edge := a.Lo + i*a.Width
		if unit == 1 {
			dst = strconv.AppendInt(dst, edge, 10)
		} else {
			dst = appendNS(dst, edge)
		}
	}
	dst = appendInts(dst, `], "Counts": `, h.Counts)
	dst = appendInt(dst, `, "Underflow": `, h.Underflow)
	dst = appendInt(dst, `, "Overflow": `, h.Overflow)
	return append(dst, '}')
}

// appendNS appends an edge of Hist_4, which is a decimal number of ns, so that it is a multiple of a tenth.
func appendNS(dst []byte, edge int64) []byte {
	return appendDecimal(dst, edge/(hit.DriftPerNS/10), 1)
}

const orbitDigits = 7 // of seconds: hit.OrbitDen is 10 to this

// appendRate appends count / (live · 89.1 µs), rounded half up to six decimals.
func appendRate(dst []byte, count, live int64) []byte {
	den := new(big.Int).Mul(big.NewInt(live), big.NewInt(hit.OrbitNum))
	num := new(big.Int).Mul(big.NewInt(count), big.NewInt(2*hit.OrbitDen*1_000_000))
	num.Add(num, den)
	num.Quo(num, den.Lsh(den, 1))
	if !num.IsInt64() {
		whole, micros := new(big.Int).QuoRem(num, big.NewInt(1_000_000), new(big.Int))
		return appendFraction(whole.Append(dst, 10), micros.Int64(), 6)
	}
	return appendDecimal(dst, num.Int64(), 6)
}

// appendDecimal appends v / 10^digits, without needless zeros.
func appendDecimal(dst []byte, v int64, digits int) []byte {
	u := uint64(v)
	if v < 0 {
		dst = append(dst, '-')
		u = -u
	}
	unit := uint64(1)
	for range digits {
		unit *= 10
	}
	dst = strconv.AppendUint(dst, u/unit, 10)
	return appendFraction(dst, int64(u%unit), digits)
}

func appendFraction(dst []byte, v int64, digits int) []byte {
	if v == 0 {
		return dst
	}
	for ; v%10 == 0; digits-- {
		v /= 10
	}
	n := len(dst) + 1
	dst = append(dst, ".000000000"[:digits+1]...)
	for i := n + digits - 1; i >= n; i-- {
		dst[i] += byte(v % 10)
		v /= 10
	}
	return dst
}

// appendMicros appends a unix time with six decimals.
func appendMicros(dst []byte, v int64) []byte {
	u := uint64(v)
	if v < 0 {
		dst = append(dst, '-')
		u = -u
	}
	dst = strconv.AppendUint(dst, u/1_000_000, 10)
	n := len(dst) + 1
	dst = append(dst, ".000000"...)
	u %= 1_000_000
	for i := n + 5; i >= n; i-- {
		dst[i] += byte(u % 10)
		u /= 10
	}
	return dst
}

func appendInt(dst []byte, key string, v int64) []byte {
	return strconv.AppendInt(append(dst, key...), v, 10)
}

func appendUint(dst []byte, key string, v uint64) []byte {
	return strconv.AppendUint(append(dst, key...), v, 10)
}

func appendInts(dst []byte, key string, list []int64) []byte {
	dst = append(dst, key...)
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, v, 10)
	}
	return append(dst, ']')
}

func appendRun(dst []byte, run string) []byte {
	return appendString(append(dst, `"Run": `...), run)
}

// appendString appends s as a string that JSON and Python read alike: characters beyond U+FFFF, which JSON would
// escape as two that are one and Python as two that stay two, are never escaped, and what could end a line always is.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == utf8.RuneError || r <= 0xffff && !unicode.IsPrint(r):
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Bounds of a line that is read.
const (
	MaxLine  = 64 << 20 // bytes
	maxCount = 1 << 53  // of anything that is counted: what every reader of JSON can hold
	maxLanes = 65536    // of a run, as the stream format has it
	maxIndex = 1 << 60  // µs
)

// The parts of a line, as JSON has them. Lists are slices, so that their lengths can be checked.
type (
	histJSON struct {
		Bins                      []json.Number
		Counts                    []int64
		Underflow, Overflow, Auto int64
	}
	chamberJSON struct {
		Count, Late         int64
		Hist1               histJSON `json:"Hist_1"`
		Hist2               histJSON `json:"Hist_2"`
		Hist3               histJSON `json:"Hist_3"`
		Hist4               histJSON `json:"Hist_4"`
		Occupancy           []int64
		Scintillator        []int64
		Multiplicity        []int64
		DriftLayer          [][]int64 `json:"Drift_Layer"`
		TriggerMultiplicity []int64   `json:"Trigger_Multiplicity"`
		Efficiency          [][]int64
	}
	fpgaJSON struct {
		Last *int64
		BX   histJSON
		TDC  []int64
	}
	spanJSON struct {
		Run         string
		Epoch       uint32
		First, Last int64
		Live        [][]int64
	}
	windowJSON struct {
		Clock               Clock
		Seconds, Start, End json.Number
		Spans               []spanJSON
		Revision            int64
		Run                 string
		Epoch               uint32
		Number              *int64
	}
	ledgerJSON struct {
		Read, Hits, Late, Scintillator, Unassigned int64
		NotAHit                                    int64 `json:"Not_A_Hit"`
		Early, Pending                             int64
		SetAside                                   map[string]map[string]int64 `json:"Set_Aside"`
		Missing, Doubled                           int64
	}
	laneJSON struct {
		Run         string
		Lane        []int64
		First, Next uint64
		Name        *string
		Offset      uint64
		Number      uint64
		Partition   *int64
		Tag         string
	}
	sourceJSON struct {
		Node  string
		Lanes []laneJSON
	}
)

// A lineReader reads the keys of a line and keeps the first error.
type lineReader struct {
	keys map[string]json.RawMessage
	line *Line
	set  *Settings
	err  error
}

// ParseLine reads back what Append writes. Keys that it does not know are ignored.
//
// The Settings of the line know the edges and the digest; chambers and offsets are not known, and are not needed to add
// lines and to write them again.
func ParseLine(text []byte) (*Line, error) {
	if len(text) > MaxLine {
		return nil, fmt.Errorf("a line of %d bytes is longer than %d", len(text), MaxLine)
	}
	r := lineReader{set: &Settings{Map: new(hit.Map)}}
	if err := json.Unmarshal(text, &r.keys); err != nil {
		return nil, fmt.Errorf("not a result line: %w", err)
	}
	r.line = &Line{Counts: &Counts{Set: r.set}}
	for f := range r.line.Counts.FPGA {
		r.line.Counts.FPGA[f].Last = -1
	}
	if _, ok := r.keys["Progress"]; ok {
		r.progress()
	} else {
		r.result()
	}
	if r.err != nil {
		return nil, fmt.Errorf("not a result line: %w", r.err)
	}
	return r.line, nil
}

// fail keeps the first error.
func (r *lineReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// get reads a key that must be there.
func (r *lineReader) get(key string, to any) {
	if r.err != nil {
		return
	}
	raw, ok := r.keys[key]
	if !ok {
		r.fail("no %s", key)
		return
	}
	if err := json.Unmarshal(raw, to); err != nil {
		r.fail("%s: %w", key, err)
	}
}

// within checks that a number is in range.
func (r *lineReader) within(key string, v, low, high int64) {
	if v < low || v > high {
		r.fail("%s: %d is not within %d and %d", key, v, low, high)
	}
}

// flag reads 0 or 1.
func (r *lineReader) flag(key string) bool {
	var v int64
	r.get(key, &v)
	r.within(key, v, 0, 1)
	return v == 1
}

// lane reads k of N.
func (r *lineReader) lane(key string, v []int64) (k, n int64) {
	if len(v) != 2 || v[0] < 1 || v[0] > v[1] || v[1] > maxLanes {
		r.fail("%s: %.40s is not [k, N]", key, fmt.Sprint(v))
		return 1, 1
	}
	return v[0], v[1]
}

// counts checks a list of n counts, and returns their sum.
func (r *lineReader) counts(key string, list []int64, n int) int64 {
	if len(list) != n {
		r.fail("%s: %d counts where there should be %d", key, len(list), n)
	}
	sum := int64(0)
	for _, v := range list {
		if v < 0 || v > maxCount || sum > maxCount {
			r.fail("%s: a count of %d", key, v)
			return 0
		}
		sum += v
	}
	return sum
}

func (r *lineReader) progress() {
	l := r.line
	r.flag("Progress")
	l.Progress = true
	r.get("Run", &l.Window.Run)
	r.get("Epoch", &l.Window.Epoch)
	r.get("Number", &l.Window.Number)
	r.within("Number", l.Window.Number, 0, maxCount)
	var lane []int64
	r.get("Lane", &lane)
	k, n := r.lane("Lane", lane)
	l.Lane = [2]int{int(k), int(n)}
	l.End = r.flag("End")
	r.tail()
}

// tail reads what result and progress lines end with.
func (r *lineReader) tail() {
	l := r.line
	l.Complete = r.flag("Complete")
	r.get("Settings", &r.set.digest)
	if len(r.set.digest) != 16 {
		r.fail("Settings: %.40q is not 16 hex digits", r.set.digest)
	}
	for _, c := range []byte(r.set.digest) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			r.fail("Settings: %.40q is not 16 hex digits", r.set.digest)
		}
	}
	r.ledger()
	var source sourceJSON
	r.get("Source", &source)
	l.Node = source.Node
	for i := range source.Lanes {
		s := &source.Lanes[i]
		k, n := r.lane("Source", s.Lane)
		to := LaneSource{Run: s.Run, K: uint32(k), N: uint32(n), First: s.First, Next: s.Next}
		if s.First > s.Next {
			r.fail("Source: First %d is above Next %d", s.First, s.Next)
		}
		if s.Name != nil {
			to.Place = &Place{Name: *s.Name, Offset: s.Offset, Number: s.Number, Partition: -1, Tag: s.Tag}
			if s.Partition != nil {
				r.within("Partition", *s.Partition, 0, maxCount)
				to.Place.Partition = *s.Partition
			}
		}
		l.Lanes = append(l.Lanes, to)
	}
}

func (r *lineReader) ledger() {
	var v ledgerJSON
	r.get("Ledger", &v)
	r.within("Pending", v.Pending, -maxCount, maxCount)
	for _, n := range []int64{v.Read, v.Hits, v.Late, v.Scintillator, v.Unassigned, v.NotAHit, v.Early, v.Missing, v.Doubled} {
		r.within("Ledger", n, 0, maxCount)
	}
	to := &r.line.Counts.Ledger
	*to = Ledger{Read: v.Read, Hits: v.Hits, Late: v.Late, Scintillator: v.Scintillator, Unassigned: v.Unassigned,
		NotAHit: v.NotAHit, Early: v.Early, Pending: v.Pending, Missing: v.Missing, Doubled: v.Doubled}
	for stage, reasons := range v.SetAside {
		for reason, n := range reasons {
			r.within("Set_Aside", n, 0, maxCount)
			to.Set(stage, reason, n)
		}
	}
}

func (r *lineReader) result() {
	l, c := r.line, r.line.Counts
	var index json.Number
	r.get("Index", &index)
	l.Index = r.decimal("Index", index, 6)
	r.within("Index", l.Index, -maxIndex, maxIndex)
	r.window()
	hits := int64(0)
	for i := 0; r.err == nil; i++ {
		key := "Chamber_" + strconv.Itoa(i+1)
		if _, ok := r.keys[key]; !ok && i > 0 {
			break
		}
		if i == hit.MaxChambers {
			r.fail("more than %d chambers", hit.MaxChambers)
			break
		}
		var v chamberJSON
		r.get(key, &v)
		r.set.Map.Chambers = append(r.set.Map.Chambers, hit.Chamber{Chamber: i + 1})
		c.Chambers = append(c.Chambers, Chamber{})
		r.chamber(i, key, &v)
		hits += v.Count
	}
	var count int64
	r.get("Total Count", &count)
	if r.err == nil && count != hits {
		r.fail("Total Count: %d, but the chambers have %d", count, hits)
	}
	var trigger struct{ Hits, Orbits int64 }
	r.get("Trigger", &trigger)
	r.within("Trigger", trigger.Hits, 0, maxCount)
	r.within("Trigger", trigger.Orbits, 0, trigger.Hits)
	c.Trigger = Trigger(trigger)
	for f := range c.FPGA {
		key := "FPGA_" + strconv.Itoa(f)
		if _, ok := r.keys[key]; !ok {
			continue
		}
		var v fpgaJSON
		r.get(key, &v)
		r.set.fpgas |= 1 << f
		to := &c.FPGA[f]
		copy(to.BX[:], v.BX.Counts)
		copy(to.TDC[:], v.TDC)
		to.BXOverflow = v.BX.Overflow
		bx := r.counts(key, v.BX.Counts, bxBins)
		r.within(key, v.BX.Overflow, 0, maxCount)
		if n := r.counts(key, v.TDC, tdcBins); n != bx+v.BX.Overflow {
			r.fail("%s: %d hits in TDC, but %d in BX", key, n, bx+v.BX.Overflow)
		}
		if v.Last != nil {
			r.within(key, *v.Last, 0, hit.MaxOrbit)
			to.Last = *v.Last
		}
	}
	if r.set.fpgas == 0 {
		r.fail("no FPGA")
	}
	if _, ok := r.keys["Partial"]; ok && r.flag("Partial") {
		var lane []int64
		r.get("Lane", &lane)
		k, n := r.lane("Lane", lane)
		l.Lane = [2]int{int(k), int(n)}
	}
	r.tail()
}

func (r *lineReader) window() {
	var v windowJSON
	r.get("Window", &v)
	if r.err != nil {
		return
	}
	l, w := r.line, &r.line.Window
	r.within("Revision", v.Revision, 0, maxCount)
	*w = WindowInfo{Number: NoNumber, Revision: v.Revision}
	r.set.Clock = v.Clock
	switch v.Clock {
	case Detector:
		length := r.decimal("Seconds", v.Seconds, orbitDigits)
		r.set.Length = length / hit.OrbitNum
		if length%hit.OrbitNum != 0 {
			r.fail("Seconds: %s is no whole number of orbits", v.Seconds)
		}
		r.within("Seconds", r.set.Length, 1, maxEdge)
		if v.Number != nil && r.err == nil {
			w.Run, w.Epoch, w.Number = v.Run, v.Epoch, *v.Number
			r.within("Number", w.Number, 0, hit.MaxOrbit/r.set.Length)
		}
	case Wall:
		r.set.Length = r.decimal("Seconds", v.Seconds, 9)
		r.within("Seconds", r.set.Length, 1, maxWindow)
		w.Start = r.decimal("Start", v.Start, 6)
		w.End = r.decimal("End", v.End, 6)
		r.within("Start", w.Start, -maxIndex, maxIndex)
		r.within("End", w.End, -maxIndex, maxIndex)
	case All:
	default:
		r.fail("Clock: %.40q", v.Clock)
	}
	for i := range v.Spans {
		l.Counts.Spans = append(l.Counts.Spans, r.span(&v.Spans[i]))
		if i > 0 && compareSpans(&l.Counts.Spans[i-1], &l.Counts.Spans[i]) >= 0 {
			r.fail("Spans are not ascending")
		}
	}
}

func (r *lineReader) span(v *spanJSON) Span {
	s := Span{Run: v.Run, Epoch: v.Epoch, First: v.First, Last: v.Last}
	r.within("First", s.First, 0, s.Last)
	r.within("Last", s.Last, 0, hit.MaxOrbit)
	for i, live := range v.Live {
		if len(live) != 2 || live[0] > live[1] || i > 0 && live[0]-s.Live[i-1][1] <= LiveGap {
			r.fail("Live: %.40s", fmt.Sprint(live))
			return s
		}
		s.Live = append(s.Live, [2]int64(live))
	}
	if n := len(s.Live); n == 0 || s.Live[0][0] != s.First || s.Live[n-1][1] != s.Last {
		r.fail("Live is not from First to Last")
	}
	return s
}

// chamber reads chamber i+1. The first one says what the bins are.
func (r *lineReader) chamber(i int, key string, v *chamberJSON) {
	if r.err != nil {
		return
	}
	c, set := r.line.Counts, r.set
	ch := &c.Chambers[i]
	if i == 0 {
		set.Auto = v.Hist2.Auto
		r.within("Auto", set.Auto, 0, maxAuto)
		if set.Auto > 0 && len(c.Spans) > 0 {
			c.AutoLo = c.Spans[len(c.Spans)-1].First / set.Auto
		}
	}
	r.axis(key+".Hist_1", &set.Hist1, i == 0, v.Hist1.Bins, 1)
	r.axis(key+".Hist_3", &set.Hist1, false, v.Hist3.Bins, 1)
	r.axis(key+".Hist_4", &set.Hist4, i == 0, v.Hist4.Bins, hit.DriftPerNS)
	axis2 := &set.Hist2
	if set.Auto > 0 {
		axis2 = &Axis{Lo: c.AutoLo * set.Auto, Width: set.Auto, n: int(c.autoBins())}
	}
	r.axis(key+".Hist_2", axis2, i == 0 && set.Auto == 0, v.Hist2.Bins, 1)
	if v.Hist2.Auto != set.Auto {
		r.fail("%s.Hist_2: another Auto than before", key)
	}

	n := r.counts(key+".Occupancy", v.Occupancy, hit.Channels)
	if n != v.Count {
		r.fail("%s: Count %d, but %d in Occupancy", key, v.Count, n)
	}
	r.within(key+".Late", v.Late, 0, v.Count)
	ch.Late = v.Late
	copy(ch.Occupancy[:], v.Occupancy)
	var in3 int64
	ch.Hist1, n = r.hist(key+".Hist_1", &v.Hist1, set.Hist1.n)
	ch.Hist3, in3 = r.hist(key+".Hist_3", &v.Hist3, set.Hist1.n)
	if n != v.Count {
		r.fail("%s: Count %d, but %d in Hist_1", key, v.Count, n)
	}
	if n := r.counts(key+".Scintillator", v.Scintillator, hit.Channels); n != in3 {
		r.fail("%s: %d in Scintillator, but %d in Hist_3", key, n, in3)
	}
	copy(ch.Scintillator[:], v.Scintillator)
	ch.Hist2, _ = r.hist(key+".Hist_2", &v.Hist2, axis2.n)
	if set.Auto > 0 {
		k := len(ch.Hist2.Counts)
		for k > 0 && ch.Hist2.Counts[k-1] == 0 {
			k--
		}
		ch.Hist2.Counts = slices.Clone(ch.Hist2.Counts[:k:k])
		if k == 0 {
			ch.Hist2.Counts = nil
		}
	}
	ch.Hist4, n = r.hist(key+".Hist_4", &v.Hist4, set.Hist4.n)
	if n != in3 {
		r.fail("%s: %d in Hist_4, but %d in Hist_3", key, n, in3)
	}
	r.counts(key+".Multiplicity", v.Multiplicity, activeBins)
	copy(ch.Multiplicity[:], v.Multiplicity)
	r.counts(key+".Trigger_Multiplicity", v.TriggerMultiplicity, TriggerBins)
	copy(ch.TriggerMultiplicity[:], v.TriggerMultiplicity)
	if len(v.DriftLayer) != hit.Layers || len(v.Efficiency) != hit.Layers {
		r.fail("%s: not %d layers", key, hit.Layers)
		return
	}
	for layer, counts := range v.DriftLayer {
		r.counts(key+".Drift_Layer", counts, set.Hist4.n)
		r.counts(key+".Efficiency", v.Efficiency[layer], 2)
		ch.DriftLayer[layer] = counts
		copy(ch.Efficiency[layer][:], v.Efficiency[layer])
	}
}

// hist checks a histogram of n bins and returns the sum of all that is in it.
func (r *lineReader) hist(key string, v *histJSON, n int) (Hist, int64) {
	sum := r.counts(key, v.Counts, n)
	r.within(key, v.Underflow, 0, maxCount)
	r.within(key, v.Overflow, 0, maxCount)
	return Hist{v.Counts, v.Underflow, v.Overflow}, sum + v.Underflow + v.Overflow
}

// axis checks lower edges, in 1/unit, against an axis, or, if it is new, makes it.
func (r *lineReader) axis(key string, a *Axis, isNew bool, bins []json.Number, unit int64) {
	if r.err != nil {
		return
	}
	edges := make([]int64, len(bins))
	for i, text := range bins {
		if unit == 1 {
			edges[i] = r.decimal(key, text, 0)
		} else {
			edges[i] = r.decimal(key, text, 1) * (unit / 10)
		}
		r.within(key, edges[i], -2*maxEdge, 2*maxEdge)
	}
	if isNew && r.err == nil {
		if len(edges) == 0 || len(edges) > MaxBins {
			r.fail("%s: %d bins", key, len(edges))
			return
		}
		*a = Axis{Lo: edges[0], Width: unit, n: len(edges)}
		if len(edges) > 1 {
			a.Width = edges[1] - edges[0]
		}
		if a.Width <= 0 {
			r.fail("%s: Bins are not ascending", key)
		}
		a.Limit = a.Lo + int64(a.n)*a.Width
	}
	if len(edges) != a.n {
		r.fail("%s: %d Bins where there should be %d", key, len(edges), a.n)
		return
	}
	for i, edge := range edges {
		if edge != a.Lo+int64(i)*a.Width {
			r.fail("%s: Bins are not those of the other chambers, or not evenly spaced", key)
			return
		}
	}
}

var errDecimal = errors.New("is not a decimal number of this precision")

// decimal reads a number as a multiple of 1/10^digits.
func (r *lineReader) decimal(key string, text json.Number, digits int) int64 {
	v, err := parseDecimal(string(text), digits)
	if err != nil {
		r.fail("%s: %.40q %w", key, string(text), err)
	}
	return v
}

// parseDecimal is the inverse of appendDecimal. Exponents are not read.
func parseDecimal(s string, digits int) (int64, error) {
	negative := s != "" && s[0] == '-'
	if negative {
		s = s[1:]
	}
	v, seen, point := int64(0), false, false
	for _, c := range []byte(s) {
		switch {
		case c == '.' && !point && seen:
			point, seen = true, false
		case c < '0' || c > '9':
			return 0, errDecimal
		case point && digits == 0:
			if c != '0' {
				return 0, errDecimal
			}
			seen = true
		default:
			if v > (1<<62)/10-1 {
				return 0, errDecimal
			}
			v = v*10 + int64(c-'0')
			seen = true
			if point {
				digits--
			}
		}
	}
	if !seen {
		return 0, errDecimal
	}
	for ; digits > 0; digits-- {
		if v > (1<<62)/10-1 {
			return 0, errDecimal
		}
		v *= 10
	}
	if negative {
		v = -v
	}
	return v, nil
}
