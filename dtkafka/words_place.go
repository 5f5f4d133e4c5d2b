package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"dt/internal/hit"
	"dt/internal/wire"
)

// A lanePlace is a place in the merge of a word topic's partitions, and what a reader must know to go on there as if it had never stopped.
type lanePlace struct {
	Run    string                 `json:"run"`
	Next   uint64                 `json:"next"`            // number of the next record
	Serial uint64                 `json:"serial"`          // of the marks
	Last   [hit.MaxFPGA + 1]int64 `json:"last"`            // of the merger
	State  string                 `json:"state,omitempty"` // the source's judgement, packed

	state      []byte
	partitions []int
	offsets    []int64 // of the next message of each
}

// A laneStamp is what the places of the other partitions keep: which place they belong to.
type laneStamp struct {
	Run  string `json:"run"`
	Next uint64 `json:"next"`
}

// set makes at the place where the merger is.
func (at *lanePlace) set(run string, m *wire.Mark, merge *merger) {
	at.Run, at.Next, at.Serial, at.Last = run, m.Number, m.Serial, merge.last
	at.state = append(at.state[:0], m.State...)
	at.partitions, at.offsets = at.partitions[:0], at.offsets[:0]
	for _, p := range merge.parts {
		at.partitions, at.offsets = append(at.partitions, p.id), append(at.offsets, p.next)
	}
}

// copy makes at a copy of from.
func (at *lanePlace) copy(from *lanePlace) {
	state, partitions, offsets := at.state, at.partitions, at.offsets
	*at = *from
	at.state = append(state[:0], from.state...)
	at.partitions, at.offsets = append(partitions[:0], from.partitions...), append(offsets[:0], from.offsets...)
}

// places is what is kept for each partition.
func (at *lanePlace) places() map[int]place {
	places := map[int]place{}
	for i, id := range at.partitions {
		var meta []byte
		if i == 0 {
			full := *at
			full.State = packState(at.state)
			meta, _ = json.Marshal(full)
		} else {
			meta, _ = json.Marshal(laneStamp{at.Run, at.Next})
		}
		places[id] = place{Offset: at.offsets[i], Meta: string(meta)}
	}
	return places
}

var errPlaces = errors.New("the places that are kept for the partitions do not belong together")

// readLanePlace returns the place that places of partitions make together; nil if nothing was kept with them. A partition without a
// place of its own, which may be new, is read from where it begins.
func readLanePlace(places map[int]place) (*lanePlace, error) {
	var at *lanePlace
	var stamps []laneStamp
	for _, id := range slices.Sorted(maps.Keys(places)) {
		meta := places[id].Meta
		if meta == "" {
			continue
		}
		var one lanePlace
		if err := json.Unmarshal([]byte(meta), &one); err != nil {
			return nil, fmt.Errorf("partition %d: what is kept with its place can't be read", id)
		}
		stamps = append(stamps, laneStamp{one.Run, one.Next})
		if one.State != "" && at == nil {
			at = &one
		}
	}
	switch {
	case len(stamps) == 0:
		return nil, nil
	case at == nil:
		return nil, errPlaces
	}
	for _, s := range stamps {
		if s.Run != at.Run || s.Next != at.Next {
			return nil, errPlaces
		}
	}
	var err error
	if at.state, err = unpackState(at.State); err != nil {
		return nil, err
	}
	return at, wire.CheckRun(at.Run)
}

// packState makes a judgement short enough to be kept with a place: most of its numbers are small.
func packState(state []byte) string {
	b := binary.AppendUvarint(nil, uint64(len(state)))
	for ; len(state) >= 8; state = state[8:] {
		b = binary.AppendUvarint(b, binary.LittleEndian.Uint64(state))
	}
	return base64.RawStdEncoding.EncodeToString(append(b, state...))
}

var errPacked = errors.New("the judgement that is kept with the place is damaged")

func unpackState(text string) ([]byte, error) {
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, errPacked
	}
	length, n := binary.Uvarint(b)
	if n <= 0 || length > wire.MaxText {
		return nil, errPacked
	}
	b = b[n:]
	var state []byte
	for uint64(len(state))+8 <= length {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errPacked
		}
		b = b[n:]
		state = binary.LittleEndian.AppendUint64(state, v)
	}
	if state = append(state, b...); uint64(len(state)) != length {
		return nil, errPacked
	}
	return state, nil
}
