package hist

import (
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
	Resume   []LaneState // of lines of one lane: it, and the others of its partition
	Merge    *MergeState // of lines of a merge that can be taken up
	Missing  []int       // lanes, from 1, that had not passed the window when it was written
	From     *From       // of a line that was read: where it came from, if it says so
	Floor    bool        // of a line that was read: a merge is to go on behind it
	Bare     bool        // only the keys of the first published pipeline are there, see ParseAny; then Complete is false, because nobody said so
	Other    []Other     // of ParseAny; not written
}

// An Other is a histogram under a key that is not known.
type Other struct {
	Path string    // such as "Chamber_2.Hist_9" or "My_Hist"
	Bins []float64 // lower edges, ascending
	Hist
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
	State          []byte // the source's judgement there, or nil
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
	dst = appendInt(dst, `, "Total Count": `, c.Total())
	if c.Bare() {
		for i := range c.Chambers {
			dst = c.appendBare(dst, i)
		}
		return append(dst, '}')
	}
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
	dst = append(dst, ']')
	for i, k := range l.Missing {
		sep := `,`
		if i == 0 {
			sep = `, "Missing": [`
		}
		dst = appendInt(dst, sep, int64(k))
	}
	if len(l.Missing) > 0 {
		dst = append(dst, ']')
	}
	dst = append(dst, `}, "Settings": "`...)
	dst = append(append(dst, l.Counts.Set.Digest()...), '"')
	if len(l.Resume) > 0 {
		dst = appendLaneStates(dst, l.Resume)
	}
	if l.Merge != nil {
		dst = appendMergeState(dst, l.Merge)
	}
	return append(dst, '}')
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
	h := c.Hist1(i)
	dst = appendHist(dst, `, "Hist_1": `, &set.Hist1, 1, &h)
	axis2, h2 := c.Hist2(i)
	dst = appendHist(dst, `, "Hist_2": `, &axis2, 1, &h2)
	if set.Auto > 0 {
		dst = appendInt(dst[:len(dst)-1], `, "Auto": `, set.Auto)
		dst = append(dst, '}')
	}
	h = c.Hist3(i)
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

// appendBare appends a chamber of a bare line.
func (c *Counts) appendBare(dst []byte, i int) []byte {
	ch, set := &c.Chambers[i], c.Set
	dst = appendInt(dst, `, "Chamber_`, int64(i+1))
	dst = appendInt(dst, `": {"Count": `, ch.Count)
	for k, h := range []struct {
		axis   *Axis
		unit   int64
		counts []int64
	}{{&set.Hist1, 1, ch.Hist1.Counts}, {&set.Hist2, 1, ch.Hist2.Counts}, {&set.Hist1, 1, ch.Hist3.Counts}, {&set.Hist4, hit.DriftPerNS, ch.Hist4.Counts}} {
		if h.counts != nil {
			dst = appendInt(dst, `, "Hist_`, int64(k+1))
			dst = appendBins(append(dst, `": `...), h.axis, h.unit)
			dst = append(appendInts(dst, `, "Counts": `, h.counts), '}')
		}
	}
	return append(dst, '}')
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
	dst = appendBins(append(dst, key...), a, unit)
	dst = appendInts(dst, `, "Counts": `, h.Counts)
	dst = appendInt(dst, `, "Underflow": `, h.Underflow)
	dst = appendInt(dst, `, "Overflow": `, h.Overflow)
	return append(dst, '}')
}

// appendBins appends the beginning of a histogram.
func appendBins(dst []byte, a *Axis, unit int64) []byte {
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
	return append(dst, ']')
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
