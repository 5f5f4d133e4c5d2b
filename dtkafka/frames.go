package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"dt/internal/hist"
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
	over    bool   // records of the message stand behind its mark
	first   uint64 // number that it begins with

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
	open      bool       // something of it was written, and no end
	ended     bool       // exhausted
	stopped   bool       // its last frame was a stopped end
	written   bool       // ended, and with all of it in the results: it is left out
	placed    bool       // it was said where it begins, or it begins in the middle
	from      uint64     // of a lane that is taken up: records before this number, in messages before the offset fromAt, are in the results
	fromAt    int64
	seen      int // message count when it was seen last
}

// A partOut is a partition.
type partOut struct {
	place  int64
	middle bool               // we begin in the middle, and lanes may too
	known  map[wire.ID]laneAt // from the place that we begin at
	up     *resumed           // what lines say of the lanes, or nil
}

// A partMeta is the Meta of a partition's place.
type partMeta struct {
	Middle int      `json:"middle,omitempty"` // 1: lanes that are not named may have begun before
	Lanes  []laneAt `json:"lanes,omitempty"`
}

// A laneAt is what a place says of a lane.
type laneAt struct {
	Run   string `json:"run"`
	K     uint32 `json:"k"`
	N     uint32 `json:"n"`
	Next  uint64 `json:"next"`
	Ended int    `json:"ended,omitempty"` // 1: exhausted, 2: stopped
}

// metaMost is how long the text of a place may become; it names the latest lanes.
const metaMost = 3900

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
			if part.up != nil {
				if err := o.leave(l); err != nil {
					return err
				}
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
		part := &partOut{place: at.Offset, middle: at.middle, known: map[wire.ID]laneAt{}, up: at.resumed}
		var meta partMeta
		if at.Meta != "" && at.resumed == nil {
			if err := json.Unmarshal([]byte(at.Meta), &meta); err != nil {
				return fmt.Errorf("%s[%d]: the place that was kept makes no sense: %w", o.topic, p, err)
			}
		}
		part.middle = part.middle || meta.Middle != 0
		for _, l := range meta.Lanes {
			part.known[wire.ID{Run: l.Run, K: l.K, N: l.N}] = l
		}
		o.parts[p] = part
		if err := o.announce(part, p); err != nil {
			return err
		}
	}
	return o.w.Flush()
}

// announce hands on the lanes that lines know, with their places, also those of which nothing may come any more: so the lines that follow know them, too.
func (o *framesOutput) announce(part *partOut, partition int) error {
	if part.up == nil {
		return nil
	}
	for _, id := range slices.SortedFunc(maps.Keys(part.up.lanes), func(a, b wire.ID) int { return cmp.Compare(a.String(), b.String()) }) {
		s := part.up.lanes[id]
		if s.Place == nil {
			continue // it begins with the log, where it is found
		}
		l := &laneOut{lane: wire.Lane{Run: id.Run, K: id.K, N: id.N, Anew: true, Settings: part.up.settings}, partition: partition, fresh: true}
		l.takeUp(s)
		o.lanes[id] = l
		if err := o.putPlace(l, partition, int64(s.Place.Offset), time.Now().UnixNano(), 0); err != nil {
			return err
		}
		if !s.End {
			continue
		}
		l.open, o.current = false, nil
		if err := o.w.End(&wire.Frame{First: l.next, Next: l.next, End: wire.End{Read: l.next}}); err != nil {
			return err
		}
	}
	return nil
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
		if err := o.message(part, f.partition, &m); err != nil {
			return err
		}
	}
	part.place = f.next
	return nil
}

// message hands on what was parsed.
func (o *framesOutput) message(part *partOut, partition int, m *message) error {
	offset := m.offset
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
	last := frames[len(frames)-1].Next
	if last <= l.from && offset < l.fromAt || l.written && last <= l.next {
		return nil // it is in the results
	}
	switch {
	case l.ended:
		if last > l.next {
			o.lost.tell(partition, offset, fmt.Sprintf("%s goes on behind its end, with record %d (another run of the same name?); left out", lane.ID(), last-1))
		} else {
			o.doubled += last - min(last, frames[0].First)
		}
		return nil
	}
	if l.stopped && lane.FloorNumber > l.next {
		// It is taken up again where another had read on to.
		l.next, l.lane.FloorNumber, l.fresh = lane.FloorNumber, lane.FloorNumber, true
	}
	if lane.Map != l.lane.Map || lane.Form != l.lane.Form {
		l.lane.Map, l.lane.Form, l.fresh = lane.Map, lane.Form, true
	}
	o.marked, o.over, o.first = false, false, frames[0].First
	for i := range frames {
		if !l.placed && frames[i].Kind != wire.KindMap { // which belongs to the lane frame
			if err := o.putPlace(l, partition, offset, m.time*int64(time.Millisecond), 0); err != nil {
				return err
			}
		}
		if err := o.frame(l, &frames[i], partition, offset); err != nil {
			return err
		}
	}
	return o.putMark(l, partition, offset)
}

// putPlace writes a mark of our own: of where a lane begins, so that its place is known from its first record on, or ends. newest is what must be written
// before a lane is taken up there.
func (o *framesOutput) putPlace(l *laneOut, partition int, offset, at int64, newest uint64) error {
	if err := o.enter(l, l.next); err != nil {
		return err
	}
	l.placed, l.open = true, true
	return o.w.Mark(&wire.Frame{First: l.next, Next: l.next, Mark: wire.Mark{Newest: newest, Time: at, Number: l.next, Offset: uint64(offset),
		Partition: uint32(partition), Name: o.topic}})
}

// newLane returns a lane that is new to us; first is where its first message begins.
func (o *framesOutput) newLane(part *partOut, lane *wire.Lane, first uint64) *laneOut {
	l := &laneOut{lane: *lane, fresh: true}
	if part.up != nil {
		l.lane.Anew, l.lane.Settings = true, part.up.settings
		if s := part.up.lanes[lane.ID()]; s != nil {
			l.takeUp(s)
			return l
		}
	}
	at, known := part.known[lane.ID()]
	switch {
	case known:
		l.next, l.ended, l.stopped = at.Next, at.Ended == 1, at.Ended == 2
	case part.middle:
		l.next, l.placed = first, true
	default:
		l.next = lane.FloorNumber
	}
	l.lane.FloorNumber = max(l.lane.FloorNumber, l.next)
	return l
}

// takeUp has a lane go on where its results end.
func (l *laneOut) takeUp(s *hist.LaneState) {
	l.from = min(l.lane.FloorNumber, s.Next)
	if s.Place != nil {
		l.from, l.fromAt = min(s.Place.Number, s.Next), int64(min(s.Place.Offset, math.MaxInt64))
	}
	l.lane.FloorEpoch, l.lane.FloorOrbit, l.lane.FloorNumber = s.Epoch, uint64(s.Orbit), s.Next
	l.next = l.from
	if s.End {
		l.next, l.ended, l.written = s.Next, true, true
	}
}

// frame hands on one frame.
func (o *framesOutput) frame(l *laneOut, f *wire.Frame, partition int, offset int64) error {
	behind := f.Next < l.next // it was here before, and what it says is old
	switch f.Kind {
	case wire.KindMark:
		if behind {
			return nil
		}
		if f.First > l.next {
			// The records before it are missing: told before its horizon is, which closes what they belong to.
			empty := wire.Frame{Kind: wire.KindWords, First: f.First, Next: f.First, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open}
			o.gap(l, &empty, partition, offset)
			if err := o.enter(l, f.First); err != nil {
				return err
			}
			l.open = true
			if err := o.w.Words(&empty); err != nil {
				return err
			}
			l.next = f.First
		}
		o.mark, o.marked, o.over = f.Mark, true, false
		l.front = wire.Frame{Next: l.next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open}
		l.stopped = false
		return nil
	case wire.KindMap:
		if l.lane.Map == o.digest && !l.fresh {
			return nil
		}
		if err := o.enter(l, min(f.First, l.next)); err != nil {
			return err
		}
		o.digest = l.lane.Map
		return o.w.Pass(f)
	case wire.KindEnd:
		if behind {
			return nil
		}
		o.over = o.over || f.End.Stopped // whoever begins at the mark must know that what follows goes on behind a stop
		if err := o.putMark(l, partition, offset); err != nil {
			return err
		}
		if !f.End.Stopped { // whoever has all of it, the end too, need not read this message
			if err := o.putPlace(l, partition, offset+1, time.Now().UnixNano(), math.MaxInt64); err != nil {
				return err
			}
		}
	case wire.KindWords, wire.KindLate:
		o.over = o.over || o.marked && f.Next > f.First
		switch {
		case f.First > l.next:
			o.gap(l, f, partition, offset)
		case f.First < l.next:
			o.doubled += min(l.next, f.Next) - f.First
		}
	}
	if f.Kind == wire.KindEnd && f.Next > l.next {
		o.gap(l, f, partition, offset)
	}
	if err := o.enter(l, f.First); err != nil {
		return err
	}
	if f.Kind != wire.KindLedger {
		l.next = max(l.next, f.Next)
		l.front = wire.Frame{Next: l.next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open}
	}
	l.open, l.stopped = true, false
	if f.Kind == wire.KindEnd {
		l.open, l.ended, l.stopped = false, !f.End.Stopped, f.End.Stopped
		o.current = nil
	}
	return o.w.Pass(f)
}

// gap tells of the records that are missing before a frame.
func (o *framesOutput) gap(l *laneOut, f *wire.Frame, partition int, offset int64) {
	o.missing += f.First - l.next
	before := fmt.Sprintf("record %d", f.First)
	if f.Kind == wire.KindEnd {
		before = "its end"
	}
	o.lost.tell(partition, offset, fmt.Sprintf("%s: %d records are missing before %s", l.lane.ID(), f.First-l.next, before))
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
	if l.lane.Map == 0 {
		o.digest = 0 // whoever reads it may go back to the default map
	}
	err := o.w.Lane(&wire.Frame{Next: number}, &l.lane)
	l.lane.Anew = false
	return err
}

// putMark writes the message's mark, if it has one: what is before the lane's next number came from before the message behind this one. Of records
// that stand behind the mark in the message it knows no newest orbit; then it is of what came before the message.
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
	number, behind := l.next, uint64(offset+1)
	if o.over {
		number, behind = min(o.first, l.next), uint64(offset)
	}
	f.Mark = wire.Mark{Newest: o.mark.Newest, Time: o.mark.Time, Number: number, Offset: behind, Source: o.mark.Source, Serial: o.mark.Serial,
		Partition: uint32(partition), Name: o.topic}
	l.open = true
	return o.w.Mark(&f)
}

func (o *framesOutput) idle() (time.Duration, error) { return 0, o.w.Flush() }
func (o *framesOutput) done(int) error               { return nil }

// leave says that another reads a lane from here on, by a mark without a place: lines need not name it any more, for it may be long over when its partition comes back.
func (o *framesOutput) leave(l *laneOut) error {
	if l.ended || !l.placed {
		return nil
	}
	if err := o.enter(l, l.next); err != nil {
		return err
	}
	l.open = true
	f := l.front
	f.First, f.Next = l.next, l.next
	f.Mark = wire.Mark{Time: time.Now().UnixNano(), Number: l.next, Partition: wire.NoPartition}
	return o.w.Mark(&f)
}

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
	return totals(&o.bad, &o.lost)
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
		meta := partMeta{Middle: int(bit(part.middle))}
		size := 32
		add := func(at laneAt) {
			text, _ := json.Marshal(at) // of strings and numbers
			if size += len(text) + 1; size > metaMost {
				meta.Middle = 1
				return
			}
			meta.Lanes = append(meta.Lanes, at)
		}
		for _, l := range lanes {
			add(laneAt{l.lane.Run, l.lane.K, l.lane.N, l.next, int(bit(l.ended) + 2*bit(l.stopped))})
		}
		for id, l := range part.known {
			if o.lanes[id] == nil {
				add(l)
			}
		}
		if part.up != nil {
			for id := range part.up.lanes {
				if o.lanes[id] == nil {
					meta.Middle = 1 // of these the number is not known
				}
			}
		}
		text := ""
		if meta.Middle != 0 || len(meta.Lanes) > 0 {
			b, _ := json.Marshal(meta)
			text = string(b)
		}
		list[p] = place{Offset: part.place, Meta: text}
	}
	return list
}

func bit(is bool) uint8 {
	if is {
		return 1
	}
	return 0
}
