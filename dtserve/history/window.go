package history

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"

	"dt/internal/hist"
	"dt/internal/hit"
)

// FPGAs is how many FPGAs a Window tells of: 0 and 1.
const FPGAs = 2

// A Window is what is kept of a line beside its text. It is never changed.
type Window struct {
	ID      int64 // 1, 2, … of this server's history, never used again; the newest is the highest
	Arrived int64 // unix, µs
	Run     string
	Epoch   uint32
	Number  int64 // hist.NoNumber: none
	Clock   hist.Clock

	// As in the line, s. Start and End are 0 where they are not known: of bookkeeping and bare lines.
	Start, End, Seconds, Live float64

	Complete    bool
	Revision    int64
	Change      int64  // which revision of this History it was, counted from 1; 0: it took no window's place
	Missing     []int  // lanes, from 1, that were silent when it was written
	Lanes       int    // of how many; 0: not known
	Settings    string // digest
	Total       int64  // hits of all chambers, in time and late
	Triggers    int64  // orbits with a scintillator hit
	Counts      []int64
	Late        []int64 // a chamber, like Counts
	Last        []int64 // highest orbit of FPGA 0 and 1; −1: none
	FPGAHits    []int64
	Bookkeeping bool // the closing line without orbits: counts in the ledger only, and is never a span of its own
	Bare        bool // of a line with only the first published pipeline's keys
}

func (w *Window) revised() int {
	if w.Revision > 0 {
		return 1
	}
	return 0
}

// lanesOf returns how many lanes the run of a line has, as far as the line says.
func lanesOf(l *hist.Line) int {
	for i := range l.Lanes {
		if l.Lanes[i].Run == l.Window.Run {
			return int(l.Lanes[i].N)
		}
	}
	if l.Merge != nil {
		for i := range l.Merge.Runs {
			if l.Merge.Runs[i].Run == l.Window.Run {
				return len(l.Merge.Runs[i].Lanes)
			}
		}
	}
	return 0
}

// newWindow returns the Window of a line, but for ID and Run.
func newWindow(l *hist.Line, arrived int64) *Window {
	c := l.Counts
	bookkeeping := c.Set.Clock == hist.Detector && l.Window.Number == hist.NoNumber && !l.Bare
	w := &Window{
		Arrived: arrived, Number: hist.NoNumber, Clock: c.Set.Clock, Live: c.LiveSeconds(), Complete: l.Complete, Revision: l.Window.Revision,
		Settings: c.Set.Digest(), Total: c.Total(), Triggers: c.Trigger.Orbits, Bookkeeping: bookkeeping, Bare: l.Bare,
		Missing: slices.Compact(slices.Sorted(slices.Values(l.Missing))), Lanes: lanesOf(l),
	}
	switch spans := c.Spans; {
	case l.Bare:
	case w.Clock == hist.Detector:
		w.Seconds = hit.Seconds(c.Set.Length)
		if !bookkeeping {
			w.Epoch, w.Number = l.Window.Epoch, l.Window.Number
			w.Start, w.End = hit.Seconds(w.Number*c.Set.Length), hit.Seconds((w.Number+1)*c.Set.Length)
		}
	case w.Clock == hist.Wall:
		w.Seconds = float64(c.Set.Length) / 1e9
		w.Start, w.End = float64(l.Window.Start)/1e6, float64(l.Window.End)/1e6
	case len(spans) > 0:
		for i := range spans {
			w.Seconds += hit.Seconds(spans[i].Last + 1 - spans[i].First)
		}
		w.Start, w.End = hit.Seconds(spans[0].First), hit.Seconds(spans[len(spans)-1].Last+1)
	}
	n := len(c.Chambers)
	lists := make([]int64, 2*n+2*FPGAs)
	cut := func(k int) []int64 {
		list := lists[:k:k]
		lists = lists[k:]
		return list
	}
	w.Counts, w.Late, w.Last, w.FPGAHits = cut(n), cut(n), cut(FPGAs), cut(FPGAs)
	for i := range c.Chambers {
		w.Counts[i], w.Late[i] = c.Chambers[i].Hits(), c.Chambers[i].Late
	}
	for f := range FPGAs {
		w.Last[f] = c.FPGA[f].Last
		for _, k := range c.FPGA[f].TDC {
			w.FPGAHits[f] += k
		}
	}
	return w
}

// Columns names the columns of trend rows for a number of chambers.
func Columns(chambers int) []string {
	columns := []string{"Id", "Run", "Epoch", "Number", "Start", "End", "Arrived", "Live", "Complete", "Total", "Triggers"}
	for i := range chambers {
		columns = append(columns, "Count_"+strconv.Itoa(i+1))
	}
	for _, name := range []string{"Last_", "Hits_"} {
		for f := range FPGAs {
			columns = append(columns, name+strconv.Itoa(f))
		}
	}
	return append(columns, "Revision", "Lanes", "Missing")
}

// AppendRow appends the trend row of a window as a JSON list, with Columns(chambers). Times are in s, Arrived in unix s, Missing is a list; there is no null:
// Number and Last are −1 where there is none, Start and End are 0 where they are not known. A chamber that the window does not have is 0.
func AppendRow(dst []byte, w *Window, chambers int) []byte {
	number := func(v int64) { dst = strconv.AppendInt(append(dst, ','), v, 10) }
	real := func(v float64) { dst = strconv.AppendFloat(append(dst, ','), v, 'f', -1, 64) }
	dst = strconv.AppendInt(append(dst, '['), w.ID, 10)
	run, _ := json.Marshal(w.Run) // a string always can be
	dst = append(append(dst, ','), run...)
	number(int64(w.Epoch))
	number(w.Number)
	real(w.Start)
	real(w.End)
	real(float64(w.Arrived) / 1e6)
	real(w.Live)
	if w.Complete {
		number(1)
	} else {
		number(0)
	}
	number(w.Total)
	number(w.Triggers)
	for i := range chambers {
		if i < len(w.Counts) {
			number(w.Counts[i])
		} else {
			number(0)
		}
	}
	for _, list := range [][]int64{w.Last, w.FPGAHits} {
		for _, v := range list {
			number(v)
		}
	}
	number(w.Revision)
	number(int64(w.Lanes))
	dst = append(dst, ",["...)
	for i, k := range w.Missing {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(k), 10)
	}
	return append(dst, "]]"...)
}

// totals are what a sum of windows says beside their counts.
type totals struct {
	windows, incomplete  int
	startEpoch, endEpoch uint32 // that Start and End are of
	start, end, seconds  float64
	arrived              [2]int64
	first, last          int64 // ids
	known                bool  // start and end
	stale                int64 // hits of the stale buffer
	revised              int
	revision             int64   // the highest
	missing              []int32 // by lane, from 0: windows in which it was missing
	lanes                int
}

// add counts a window. One that is bookkeeping counts in the ids only.
func (t *totals) add(w *Window, stale bool) {
	if t.first == 0 || w.ID < t.first {
		t.first = w.ID
	}
	t.last = max(t.last, w.ID)
	if w.Bookkeeping {
		return
	}
	if t.windows == 0 {
		t.arrived = [2]int64{w.Arrived, w.Arrived}
	}
	t.arrived = [2]int64{min(t.arrived[0], w.Arrived), max(t.arrived[1], w.Arrived)}
	t.windows++
	if !w.Complete {
		t.incomplete++
	}
	t.revised += w.revised()
	t.revision = max(t.revision, w.Revision)
	t.miss(w, 1)
	t.lanes = max(t.lanes, w.Lanes)
	t.seconds += w.Seconds
	if stale {
		t.stale += w.Total
	}
	if w.Start == 0 && w.End == 0 {
		return
	}
	// A span over several epochs starts in its oldest one and ends in its newest, whatever their orbits are.
	if !t.known || w.Epoch < t.startEpoch || w.Epoch == t.startEpoch && w.Start < t.start {
		t.startEpoch, t.start = w.Epoch, w.Start
	}
	if !t.known || w.Epoch > t.endEpoch || w.Epoch == t.endEpoch && w.End > t.end {
		t.endEpoch, t.end = w.Epoch, w.End
	}
	t.known = true
}

// miss counts the lanes that were missing in a window, n times.
func (t *totals) miss(w *Window, n int32) {
	for _, k := range w.Missing {
		if k > len(t.missing) {
			t.missing = append(t.missing, make([]int32, k-len(t.missing))...)
		}
		t.missing[k-1] += n
	}
}

// lanesMissing returns the lanes that were missing in some window.
func (t *totals) lanesMissing() (list []int) {
	for i, n := range t.missing {
		if n > 0 {
			list = append(list, i+1)
		}
	}
	return list
}

// takeOut takes out a window that was revised.
func (t *totals) takeOut(w *Window) {
	t.windows--
	t.revised -= w.revised()
	t.miss(w, -1)
	if !w.Complete {
		t.incomplete--
	}
	t.seconds -= w.Seconds
}

// MaxEpochs bounds the epochs of a run that are told: the first one, and the newest.
const MaxEpochs = 256

// StaleSeconds is the detector time of which a stale buffer holds less. A run that starts at orbits below StaleFrom is taken for a real start.
const (
	StaleSeconds = 60.0
	StaleFrom    = 600.0
)

// An EpochInfo is what is known of an epoch of a run, also of windows that are no longer kept.
type EpochInfo struct {
	Epoch       uint32
	First, Last int64   // ids of windows
	Start, End  float64 // s of detector time: from the lowest to behind the highest orbit; 0 when there was none
	Windows     int
	Revised     int // of the windows, those with a Revision above 0
	Hits        int64
	Stale       bool // the stale buffer of the run
	MayBeStale  bool // the run may turn out to have begun with a stale buffer: no other epoch has followed, it is short, and at high orbits
}

// A RunInfo is what is known of a run, also of windows that are no longer kept.
type RunInfo struct {
	Name        string
	First, Last int64 // ids of windows
	Windows     int
	Since       int64 // arrival of its first line: unix, µs
	Epochs      []EpochInfo
}

// addEpoch counts a window in the list of epochs, which ascends. low and high are orbits, high behind the last; none where high is 0.
func addEpoch(list []EpochInfo, e EpochInfo) []EpochInfo {
	i, found := slices.BinarySearchFunc(list, e.Epoch, func(e EpochInfo, epoch uint32) int { return cmp.Compare(e.Epoch, epoch) })
	if !found {
		list = slices.Insert(list, i, e)
		if len(list) > MaxEpochs {
			list = slices.Delete(list, 1, 2)
		}
		return list
	}
	have := &list[i]
	have.First, have.Last = min(have.First, e.First), max(have.Last, e.Last)
	switch {
	case have.End == 0:
		have.Start, have.End = e.Start, e.End
	case e.End > 0:
		have.Start, have.End = min(have.Start, e.Start), max(have.End, e.End)
	}
	have.Windows += e.Windows
	have.Revised += e.Revised
	have.Hits += e.Hits
	return list
}

// judge says which epoch is, or may be, a stale buffer.
func judge(list []EpochInfo) {
	if epoch, ok := staleEpoch(list); ok {
		list[0].Stale = list[0].Epoch == epoch
	} else if len(list) == 1 {
		list[0].MayBeStale = list[0].short() && list[0].Start >= StaleFrom
	}
}

// staleEpoch returns the epoch that is a stale buffer, if there is one: the first of a run, when it is short and another one at lower orbits has followed.
func staleEpoch(list []EpochInfo) (uint32, bool) {
	if len(list) < 2 || !list[0].short() || list[1].End == 0 || list[1].Start >= list[0].Start {
		return 0, false
	}
	return list[0].Epoch, true
}

func (e *EpochInfo) short() bool { return e.End > 0 && e.End-e.Start < StaleSeconds }
