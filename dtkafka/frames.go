package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"dt/internal/tool"
	"dt/internal/wire"
)

// framesOutput hands on the lanes of a topic of frames. Frames go on as they are; only marks are made anew, because from here on the place to
// begin again at is a partition's offset. Words that come twice go on too, for whoever counts them; but a lane that has ended stays ended.
type framesOutput struct {
	env   *tool.Env
	w     *wire.Writer
	topic string

	lanes   map[wire.ID]*laneOut
	parts   map[int]*partOut
	current *laneOut // that the frames belong to which are written next
	opened  bool
	digest  uint64 // of the map that was written last
	m       wire.Message
	mark    wire.Mark // of the present message
	marked  bool

	count   int     // messages so far
	bad     refused // messages that are no frames
	lost    refused // places where something is missing
	missing uint64
	doubled uint64
}

// A laneOut is a lane as it is handed on.
type laneOut struct {
	lane      wire.Lane
	partition int
	next      uint64
	front     wire.Frame // header of its last frame
	fresh     bool       // its lane frame must be written
	begun     bool       // something of it was written
	open      bool       // and no end
	ended     bool       // exhausted
	seen      int        // message count when it was seen last
}

// A partOut is a partition.
type partOut struct {
	place  int64
	middle bool               // we begin in the middle, and lanes may too
	known  map[wire.ID]laneAt // from the place that we begin at
}

// A laneAt is what a place says of a lane.
type laneAt struct {
	Run   string `json:"run"`
	K     uint32 `json:"k"`
	N     uint32 `json:"n"`
	Next  uint64 `json:"next"`
	Ended int    `json:"ended,omitempty"`
}

// lanesKept is how many lanes a place names, the latest.
const lanesKept = 8

func newFramesOutput(env *tool.Env, w *wire.Writer, topic string) *framesOutput {
	return &framesOutput{env: env, w: w, topic: topic, lanes: map[wire.ID]*laneOut{}, parts: map[int]*partOut{},
		bad: refused{env: env, topic: topic, what: "frame"}, lost: refused{env: env, topic: topic}}
}

func (o *framesOutput) begin(from map[int]place) error {
	for p, part := range o.parts {
		at, kept := from[p]
		if kept && at.Offset == part.place {
			continue
		}
		why := fmt.Sprintf("partition %d of %s was given up", p, o.topic)
		if kept {
			why = fmt.Sprintf("partition %d of %s was read by another in between", p, o.topic)
		}
		for id, l := range o.lanes {
			if l.partition != p {
				continue
			}
			if err := o.stop(l, why); err != nil {
				return err
			}
			delete(o.lanes, id)
		}
		delete(o.parts, p)
	}
	for p, at := range from {
		if o.parts[p] != nil {
			continue
		}
		part := &partOut{place: at.Offset, middle: at.middle, known: map[wire.ID]laneAt{}}
		var list []laneAt
		if at.Meta != "" {
			if err := json.Unmarshal([]byte(at.Meta), &list); err != nil {
				return fmt.Errorf("%s[%d]: the place that was kept makes no sense: %w", o.topic, p, err)
			}
		}
		for _, l := range list {
			part.known[wire.ID{Run: l.Run, K: l.K, N: l.N}] = l
		}
		o.parts[p] = part
	}
	return o.w.Flush()
}

func (o *framesOutput) take(f *fetched) error {
	defer f.release()
	part := o.parts[f.partition]
	if f.gap > 0 {
		o.lost.tell(f.partition, part.place, fmt.Sprintf("%d messages from here on are gone (retention?)", f.gap))
	}
	for _, m := range f.messages {
		part.place = m.offset + 1
		if err := o.m.Parse(m.value); err != nil {
			o.bad.tell(f.partition, m.offset, err.Error())
			continue
		}
		if err := o.message(part, f.partition, m.offset); err != nil {
			return err
		}
	}
	part.place = f.next
	return nil
}

// message hands on what was parsed.
func (o *framesOutput) message(part *partOut, partition int, offset int64) error {
	lane, frames := o.m.Lane(), o.m.Frames()
	if len(frames) == 0 {
		return nil
	}
	l := o.lanes[lane.ID()]
	if l == nil {
		l = o.newLane(part, lane, frames[0].First)
		o.lanes[lane.ID()] = l
	}
	l.partition = partition
	o.count++
	l.seen = o.count
	if last := frames[len(frames)-1].Next; l.ended {
		if last > l.next {
			o.lost.tell(partition, offset, fmt.Sprintf("%s goes on behind its end, with record %d (another run of the same name?); left out", lane.ID(), last-1))
		} else {
			o.doubled += last - min(last, frames[0].First)
		}
		return nil
	}
	if lane.Map != l.lane.Map || lane.Form != l.lane.Form {
		l.lane.Map, l.lane.Form, l.fresh = lane.Map, lane.Form, true
	}
	o.marked = false
	for i := range frames {
		if err := o.frame(l, &frames[i], partition, offset); err != nil {
			return err
		}
	}
	return o.putMark(l, partition, offset)
}

// newLane returns a lane that is new to us; first is where its first message begins.
func (o *framesOutput) newLane(part *partOut, lane *wire.Lane, first uint64) *laneOut {
	l := &laneOut{lane: *lane, fresh: true}
	at, known := part.known[lane.ID()]
	switch {
	case known:
		l.next, l.ended = at.Next, at.Ended != 0
	case part.middle:
		l.next = first
	}
	l.lane.FloorNumber = max(l.lane.FloorNumber, l.next)
	return l
}

// frame hands on one frame.
func (o *framesOutput) frame(l *laneOut, f *wire.Frame, partition int, offset int64) error {
	behind := f.Next < l.next // it was here before, and what it says is old
	switch f.Kind {
	case wire.KindMark:
		if !behind {
			o.mark, o.marked = f.Mark, true
		}
		return nil
	case wire.KindMap:
		if l.lane.Map == o.digest && !l.fresh {
			return nil
		}
		if err := o.enter(l, f.First); err != nil {
			return err
		}
		o.digest = l.lane.Map
		return o.w.Pass(f)
	case wire.KindEnd:
		if behind {
			return nil
		}
		if err := o.putMark(l, partition, offset); err != nil {
			return err
		}
	case wire.KindWords, wire.KindLate:
		switch {
		case f.First > l.next:
			o.missing += f.First - l.next
			o.lost.tell(partition, offset, fmt.Sprintf("%s: %d records are missing before record %d", l.lane.ID(), f.First-l.next, f.First))
		case f.First < l.next:
			o.doubled += min(l.next, f.Next) - f.First
		}
	}
	if f.Kind == wire.KindEnd && f.Next > l.next {
		o.missing += f.Next - l.next
		o.lost.tell(partition, offset, fmt.Sprintf("%s: %d records are missing before its end", l.lane.ID(), f.Next-l.next))
	}
	if err := o.enter(l, f.First); err != nil {
		return err
	}
	if f.Kind != wire.KindLedger {
		l.next = max(l.next, f.Next)
		l.front = wire.Frame{Next: l.next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open}
	}
	l.open = true
	if f.Kind == wire.KindEnd {
		l.open, l.ended = false, !f.End.Stopped
		o.current = nil
	}
	return o.w.Pass(f)
}

// enter makes what is written next belong to a lane.
func (o *framesOutput) enter(l *laneOut, number uint64) error {
	if o.current == l && !l.fresh {
		return nil
	}
	if !o.opened {
		o.opened = true
		if err := o.w.Preamble(); err != nil {
			return err
		}
	}
	o.current, l.fresh = l, false
	lane := l.lane
	if l.begun {
		lane.FloorNumber = l.lane.FloorNumber
	}
	l.begun = true
	return o.w.Lane(&wire.Frame{Next: number}, &lane)
}

// putMark writes the message's mark, if it has one: what is before the lane's next number came from before the message behind this one.
func (o *framesOutput) putMark(l *laneOut, partition int, offset int64) error {
	if !o.marked {
		return nil
	}
	o.marked = false
	f := l.front
	if err := o.enter(l, l.next); err != nil {
		return err
	}
	f.First, f.Next = l.next, l.next
	f.Mark = wire.Mark{Newest: o.mark.Newest, Time: o.mark.Time, Number: l.next, Offset: uint64(offset + 1), Source: o.mark.Source, Serial: o.mark.Serial,
		Partition: uint32(partition), Name: o.topic}
	l.open = true
	return o.w.Mark(&f)
}

func (o *framesOutput) idle() (time.Duration, error) { return 0, o.w.Flush() }
func (o *framesOutput) done(int) error               { return nil }

// stop ends a lane that has no end.
func (o *framesOutput) stop(l *laneOut, why string) error {
	if !l.open {
		return nil
	}
	if err := o.enter(l, l.next); err != nil {
		return err
	}
	l.open = false
	o.current = nil
	f := l.front
	f.First, f.Next = l.next, l.next
	f.End = wire.End{Stopped: true, Read: l.next, Why: why}
	return o.w.End(&f)
}

func (o *framesOutput) end(why string) error {
	list := slices.SortedFunc(maps.Values(o.lanes), func(a, b *laneOut) int {
		return cmp.Or(cmp.Compare(a.lane.Run, b.lane.Run), cmp.Compare(a.lane.N, b.lane.N), cmp.Compare(a.lane.K, b.lane.K))
	})
	for _, l := range list {
		if err := o.stop(l, why); err != nil {
			return err
		}
	}
	if err := o.w.Flush(); err != nil {
		return err
	}
	if o.doubled > 0 {
		o.env.Say("%s: %d records came twice, and were or will be dropped by their numbers", o.topic, o.doubled)
	}
	if o.missing > 0 {
		o.env.Say("%s: %d records are missing", o.topic, o.missing)
	}
	if !o.opened {
		o.env.Say("%s: no stream was there to read", o.topic)
	}
	o.bad.total()
	if o.lost.n > 0 {
		return tool.ErrTold
	}
	return nil
}

func (o *framesOutput) places() map[int]place {
	list := map[int]place{}
	for p, part := range o.parts {
		var lanes []*laneOut
		for _, l := range o.lanes {
			if l.partition == p {
				lanes = append(lanes, l)
			}
		}
		slices.SortFunc(lanes, func(a, b *laneOut) int { return cmp.Compare(b.seen, a.seen) })
		var at []laneAt
		for _, l := range lanes[:min(len(lanes), lanesKept)] {
			at = append(at, laneAt{l.lane.Run, l.lane.K, l.lane.N, l.next, int(bit(l.ended))})
		}
		for id, l := range part.known {
			if o.lanes[id] == nil && len(at) < lanesKept {
				at = append(at, l)
			}
		}
		meta := ""
		if len(at) > 0 {
			text, _ := json.Marshal(at) // of strings and numbers
			meta = string(text)
		}
		list[p] = place{Offset: part.place, Meta: meta}
	}
	return list
}

func bit(is bool) uint8 {
	if is {
		return 1
	}
	return 0
}
