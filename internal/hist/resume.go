package hist

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"dt/internal/hit"
)

// What a line says so that its work can be taken up behind it; RESUME.md says how.

// A LaneState is how far one lane is written, and where to read it again for the rest.
type LaneState struct {
	Run   string
	K, N  uint32
	Epoch uint32 // every window below this epoch and orbit is written
	Orbit int64
	Next  uint64 // every record below this number is in a written ledger
	End   bool   // the lane has ended, exhausted, and all of it is written
	Place *Place // every record that is not booked in a written window comes from behind it; nil: from where the lane begins
}

// A MergeState is how far a merge has written.
type MergeState struct {
	Places []Place    // of each partition of the partial lines: what is not written comes from behind it
	Runs   []RunState // by name
	Ended  []string   // the last runs that have ended
}

// A RunState is how far a merge has written one run.
type RunState struct {
	Run   string
	Lanes []LaneMerge  // lane k at k−1
	Open  []OpenWindow // written without all their lanes, ascending
	Holes []Hole
	Given key // windows below it are not kept any more for a lane that comes back
}

// A Hole is windows of a lane, numbered from 1, that may lack hits, though it has passed them.
type Hole struct {
	Lane     int
	Epoch    uint32
	Number   int64
	ToEpoch  uint32 // those below
	ToNumber int64
}

// A LaneMerge is how far one lane is merged.
type LaneMerge struct {
	Epoch    uint32 // the lane's windows below (Epoch, Number) are in what was written
	Number   int64
	Next     uint64 // and its ledger, of the records below this one
	ToEpoch  uint32 // the lane has passed all windows below (ToEpoch, ToNumber)
	ToNumber int64
	End      bool // it has ended, exhausted, and all of it is written
}

// An OpenWindow is a window that was written while lanes were missing.
type OpenWindow struct {
	Epoch    uint32
	Number   int64
	Revision int64
	Parts    int // lanes that had part in it
}

// MaxStates bounds the lanes of one partition that a line names.
const MaxStates = 256

const maxOpen = maxWaiting

// The JSON of these. Numbers are whole and flags 0 or 1, as everywhere in a line.
type placeJSON struct {
	Name      *string `json:"Name,omitempty"`
	Partition *int64  `json:"Partition,omitempty"`
	Offset    uint64  `json:"Offset"`
	Number    uint64  `json:"Number"`
	Tag       string  `json:"Tag,omitempty"`
	State     string  `json:"State,omitempty"`
}

type laneStateJSON struct {
	Run   string     `json:"Run"`
	Lane  [2]uint32  `json:"Lane"`
	Epoch uint32     `json:"Epoch"`
	Orbit int64      `json:"Orbit"`
	Next  uint64     `json:"Next"`
	End   int        `json:"End"`
	Place *placeJSON `json:"Place"`
}

type runStateJSON struct {
	Run   string     `json:"Run"`
	Lanes [][6]int64 `json:"Lanes"` // Epoch, Number, Next, ToEpoch, ToNumber, End
	Open  [][4]int64 `json:"Open"`  // Epoch, Number, Revision, Parts
	Holes [][5]int64 `json:"Holes"` // Lane, Epoch, Number, ToEpoch, ToNumber
	Given [2]int64   `json:"Given"` // Epoch, Number
}

type mergeJSON struct {
	Places []placeJSON    `json:"Places"`
	Runs   []runStateJSON `json:"Runs"`
	Ended  []string       `json:"Ended"`
}

func appendPlace(dst []byte, p *Place) []byte {
	dst = appendString(append(dst, `{"Name": `...), p.Name)
	if p.Partition >= 0 {
		dst = appendInt(dst, `, "Partition": `, p.Partition)
	}
	dst = appendUint(dst, `, "Offset": `, p.Offset)
	dst = appendUint(dst, `, "Number": `, p.Number)
	if p.Tag != "" {
		dst = appendString(append(dst, `, "Tag": `...), p.Tag)
	}
	if len(p.State) > 0 {
		dst = append(dst, `, "State": "`...)
		dst = append(base64.StdEncoding.AppendEncode(dst, p.State), '"')
	}
	return append(dst, '}')
}

// AppendResume appends a line that says nothing else.
func AppendResume(dst []byte, list []LaneState) []byte {
	dst = append(dst, '{')
	return append(append(dst, appendLaneStates(nil, list)[len(", "):]...), '}')
}

func appendLaneStates(dst []byte, list []LaneState) []byte {
	dst = append(dst, `, "Resume": [`...)
	for i := range list {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		s := &list[i]
		dst = appendRun(append(dst, '{'), s.Run)
		dst = appendInt(dst, `, "Lane": [`, int64(s.K))
		dst = appendInt(dst, `,`, int64(s.N))
		dst = appendInt(dst, `], "Epoch": `, int64(s.Epoch))
		dst = appendInt(dst, `, "Orbit": `, s.Orbit)
		dst = appendUint(dst, `, "Next": `, s.Next)
		if s.End {
			dst = append(dst, `, "End": 1`...)
		}
		if s.Place != nil {
			dst = appendPlace(append(dst, `, "Place": `...), s.Place)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendMergeState(dst []byte, m *MergeState) []byte {
	dst = append(dst, `, "Merge": {"Places": [`...)
	for i := range m.Places {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendPlace(dst, &m.Places[i])
	}
	dst = append(dst, `], "Runs": [`...)
	for i := range m.Runs {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		r := &m.Runs[i]
		dst = append(appendRun(append(dst, '{'), r.Run), `, "Lanes": [`...)
		for j, l := range r.Lanes {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendInts(dst, "", []int64{int64(l.Epoch), l.Number, int64(l.Next), int64(l.ToEpoch), l.ToNumber, bit(l.End)})
		}
		dst = append(dst, `], "Open": [`...)
		for j, o := range r.Open {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendInts(dst, "", []int64{int64(o.Epoch), o.Number, o.Revision, int64(o.Parts)})
		}
		dst = append(dst, `], "Holes": [`...)
		for j, h := range r.Holes {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendInts(dst, "", []int64{int64(h.Lane), int64(h.Epoch), h.Number, int64(h.ToEpoch), h.ToNumber})
		}
		dst = append(dst, ']')
		if r.Given != (key{}) {
			dst = appendInts(dst, `, "Given": `, []int64{int64(r.Given.epoch), r.Given.number})
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `], "Ended": [`...)
	for i, run := range m.Ended {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendString(dst, run)
	}
	return append(dst, "]}"...)
}

func (p *placeJSON) place() (*Place, error) {
	if p == nil {
		return nil, nil //nolint:nilnil // no place is one
	}
	if p.Name == nil {
		return nil, errors.New("a place without a name")
	}
	to := &Place{Name: *p.Name, Offset: p.Offset, Number: p.Number, Partition: -1, Tag: p.Tag}
	if p.Partition != nil {
		if to.Partition = *p.Partition; to.Partition < 0 || to.Partition > math.MaxInt32 {
			return nil, fmt.Errorf("partition %d", to.Partition)
		}
	}
	var err error
	if p.State != "" {
		to.State, err = base64.StdEncoding.DecodeString(p.State)
	}
	return to, err
}

func parseLaneStates(text []byte) ([]LaneState, error) {
	var list []laneStateJSON
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, plain(err)
	}
	if len(list) > MaxStates {
		return nil, fmt.Errorf("%d lanes to resume, more than %d", len(list), MaxStates)
	}
	var states []LaneState
	for _, j := range list {
		p, err := j.Place.place()
		switch {
		case err != nil:
			return nil, err
		case j.Run == "" || j.Lane[0] < 1 || j.Lane[0] > j.Lane[1] || j.Lane[1] > maxLanes:
			return nil, fmt.Errorf("lane %d of %d of run %.80q", j.Lane[0], j.Lane[1], j.Run)
		case j.Orbit < 0 || j.Orbit > 2*hit.MaxOrbit+1:
			return nil, fmt.Errorf("orbit %d", j.Orbit)
		}
		states = append(states, LaneState{j.Run, j.Lane[0], j.Lane[1], j.Epoch, j.Orbit, j.Next, j.End != 0, p})
	}
	return states, nil
}

func parseMergeState(text []byte) (*MergeState, error) {
	var m mergeJSON
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, plain(err)
	}
	if max(len(m.Runs), len(m.Places), len(m.Ended)) > maxLanes {
		return nil, fmt.Errorf("%d runs and %d places, more than %d", len(m.Runs), len(m.Places), maxLanes)
	}
	to := new(MergeState)
	for i := range m.Places {
		p, err := m.Places[i].place()
		if err != nil {
			return nil, err
		}
		to.Places = append(to.Places, *p)
	}
	for _, r := range m.Runs {
		if r.Run == "" || len(r.Lanes) < 1 || len(r.Lanes) > maxLanes || len(r.Open) > maxOpen {
			return nil, fmt.Errorf("run %.80q with %d lanes and %d open windows", r.Run, len(r.Lanes), len(r.Open))
		}
		if min(r.Given[0], r.Given[1]) < 0 || r.Given[0] > math.MaxUint32 {
			return nil, fmt.Errorf("run %.80q: given up to %v", r.Run, r.Given)
		}
		run := RunState{Run: r.Run, Given: key{uint32(r.Given[0]), r.Given[1]}}
		for _, l := range r.Lanes {
			if min(l[0], l[1], l[2], l[3], l[4]) < 0 || max(l[0], l[3]) > math.MaxUint32 {
				return nil, fmt.Errorf("run %.80q: a lane at %v", r.Run, l)
			}
			run.Lanes = append(run.Lanes, LaneMerge{uint32(l[0]), l[1], uint64(l[2]), uint32(l[3]), l[4], l[5] != 0})
		}
		for _, o := range r.Open {
			if min(o[0], o[1], o[2]) < 0 || o[0] > math.MaxUint32 || o[3] < 1 || o[3] > maxLanes {
				return nil, fmt.Errorf("run %.80q: an open window %v", r.Run, o)
			}
			run.Open = append(run.Open, OpenWindow{uint32(o[0]), o[1], o[2], int(o[3])})
		}
		for _, h := range r.Holes {
			if h[0] < 1 || h[0] > int64(len(r.Lanes)) || min(h[1], h[2], h[3], h[4]) < 0 || max(h[1], h[3]) > math.MaxUint32 {
				return nil, fmt.Errorf("run %.80q: a hole %v", r.Run, h)
			}
			run.Holes = append(run.Holes, Hole{int(h[0]), uint32(h[1]), h[2], uint32(h[3]), h[4]})
		}
		to.Runs = append(to.Runs, run)
	}
	if len(m.Ended) > 0 {
		to.Ended = m.Ended
	}
	return to, nil
}

// plain says what is wrong with JSON in words that name none of our types.
func plain(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Errorf("%s: %s does not belong there", cmp.Or(kind.Field, "the whole"), kind.Value)
	}
	return err
}

// ParseResume reads only what a line says for taking its work up: Resume, Merge, and the digest of the settings. It is no error if there is
// nothing of it in a line.
func ParseResume(text []byte) (lanes []LaneState, merge *MergeState, settings string, err error) {
	if len(text) > MaxLine {
		return nil, nil, "", fmt.Errorf("a line of %d bytes is longer than %d", len(text), MaxLine)
	}
	if !bytes.Contains(text, []byte(`"Resume"`)) && !bytes.Contains(text, []byte(`"Merge"`)) {
		return nil, nil, "", nil
	}
	var l struct {
		Resume   json.RawMessage `json:"Resume"`
		Merge    json.RawMessage `json:"Merge"`
		Settings string          `json:"Settings"`
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, nil, "", plain(err)
	}
	if l.Resume != nil {
		if lanes, err = parseLaneStates(l.Resume); err != nil {
			return nil, nil, "", fmt.Errorf("in Resume: %w", err)
		}
	}
	if l.Merge != nil {
		if merge, err = parseMergeState(l.Merge); err != nil {
			return nil, nil, "", fmt.Errorf("in Merge: %w", err)
		}
	}
	return lanes, merge, l.Settings, nil
}

// A message of partial lines that comes from a topic says where from, and a merge is told how far it had come, by keys that are put behind
// the others of a line.

// AppendFrom appends a line, with where it comes from.
func AppendFrom(dst, line []byte, name string, partition int, offset int64) []byte {
	dst, ok := openEnd(dst, line)
	if !ok {
		return dst
	}
	dst = appendString(append(dst, `"From": {"Name": `...), name)
	dst = appendInt(dst, `, "Partition": `, int64(partition))
	dst = appendInt(dst, `, "Offset": `, offset)
	return append(dst, "}}"...)
}

// FloorNone is the line that tells a merge to begin anew.
const FloorNone = `{"Floor": 1}`

// AppendFloor appends a line as what a merge is to go on behind; without a line, that it is to begin anew.
func AppendFloor(dst, line []byte) []byte {
	if len(line) == 0 {
		return append(dst, FloorNone...)
	}
	dst, ok := openEnd(dst, line)
	if !ok {
		return dst
	}
	return append(dst, `"Floor": 1}`...)
}

// openEnd appends a line without its last brace, so that more can follow; false: it is no object, and stands as it is.
func openEnd(dst, line []byte) ([]byte, bool) {
	text := bytes.TrimRight(line, " \t\r\n")
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return append(dst, line...), false
	}
	dst = append(dst, text[:len(text)-1]...)
	if len(bytes.TrimSpace(text[1:len(text)-1])) > 0 {
		dst = append(dst, ", "...)
	}
	return dst, true
}

// From is where a line came from.
type From struct {
	Name      string
	Partition int64
	Offset    int64
}

func parseFrom(text []byte) (*From, error) {
	var f From
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, plain(err)
	}
	if f.Partition < 0 || f.Offset < 0 {
		return nil, fmt.Errorf("partition %s, offset %s", strconv.FormatInt(f.Partition, 10), strconv.FormatInt(f.Offset, 10))
	}
	return &f, nil
}
