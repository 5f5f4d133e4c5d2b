package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"

	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

// A written is what the ends of a topic's partitions say of the runs that are written to it.
type written struct {
	topic string
	parts []*writtenPart
	used  map[string]bool // runs that a stream goes on with
}

type writtenPart struct {
	tail  *tail
	lanes map[wire.ID]*writtenLane
	time  int64 // of the earliest message that was read, ms
}

// A writtenLane is a lane in its partition.
type writtenLane struct {
	next   uint64
	ended  bool  // exhausted
	floor  bool  // it was taken up in the middle: its numbers are not those of a run that is split from the beginning
	begins int64 // time of the message that it begins with, ms; 0: that was not read
	time   int64 // of its last message, ms
	marks  map[moment]wire.Mark
	sample sample
}

// A moment is what the marks of all lanes that were written together have in common.
type moment struct {
	source       uint64 // number in the run
	time, serial int64
}

func (a moment) compare(b moment) int {
	return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.time, b.time), cmp.Compare(a.serial, b.serial))
}

// A sample is some records of a lane, by which another run of the same name is found out.
type sample struct {
	first   uint64
	words   []uint64 // by number; 0 where there is none
	present []bool
	n       int // words
}

// beginMargin is how much earlier than the first message of a run that was found one may be in another partition.
const beginMargin = int64(3_600_000) // ms

// readWritten reads the end of each partition of a topic, as far as its last marks.
func readWritten(ctx context.Context, l *cluster, t *topicInfo) (*written, error) {
	w := &written{topic: t.name, used: map[string]bool{}}
	for i := range t.partitions {
		tail, err := l.tail(ctx, t.name, i)
		if err != nil {
			return nil, err
		}
		p := &writtenPart{tail: tail, lanes: map[wire.ID]*writtenLane{}, time: math.MaxInt64}
		w.parts = append(w.parts, p)
		for marked := false; !marked && !tail.over(); {
			if err := p.more(ctx); err != nil {
				return nil, err
			}
			for _, l := range p.lanes {
				marked = marked || len(l.marks) > 0
			}
		}
	}
	return w, nil
}

// more reads the messages before those that were read.
func (p *writtenPart) more(ctx context.Context) error {
	var m wire.Message
	return p.tail.more(ctx, func(v *message) error {
		if m.Parse(v.value) != nil {
			return nil // whoever reads the topic says so
		}
		p.time = min(p.time, v.time)
		id := m.Lane().ID()
		if p.lanes[id] == nil {
			p.lanes[id] = &writtenLane{marks: map[moment]wire.Mark{}}
		}
		p.lanes[id].take(&m, v.time)
		return nil
	})
}

func (l *writtenLane) take(m *wire.Message, time int64) {
	lane := m.Lane()
	l.time = max(l.time, time)
	l.floor = l.floor || lane.FloorNumber > 0
	if lane.Start == 0 || lane.Start == lane.FloorNumber {
		l.begins = time
	}
	for i := range m.Frames() {
		f := &m.Frames()[i]
		l.next = max(l.next, f.Next)
		switch f.Kind {
		case wire.KindMark:
			mark := f.Mark
			mark.State = bytes.Clone(mark.State)
			l.marks[moment{mark.Source, mark.Time, int64(mark.Serial)}] = mark
		case wire.KindEnd:
			l.ended = l.ended || !f.End.Stopped
		case wire.KindWords, wire.KindLate:
			if len(f.Words) > l.sample.n {
				l.sample.take(f)
			}
		}
	}
}

func (s *sample) take(f *wire.Frame) {
	cover := int(f.Next - f.First)
	s.first, s.n = f.First, len(f.Words)
	s.words, s.present = make([]uint64, cover), make([]bool, cover)
	k := 0
	for i := range cover {
		if f.Present == nil || f.Present[i/64]>>(i%64)&1 != 0 {
			s.words[i], s.present[i] = f.Words[k], true
			k++
		}
	}
}

// same reports whether a word may have this number.
func (s *sample) same(number, word uint64) bool {
	i := number - s.first // wraps below it
	return i >= uint64(len(s.words)) || s.present[i] && s.words[i] == word
}

// A writtenRun is a run that is split over the partitions.
type writtenRun struct {
	name  string
	n     uint32
	lanes []*writtenLane // lane k at k−1; nil: nothing was found of it
	time  int64          // of its last message
}

// complete reports whether each lane has its end.
func (r *writtenRun) complete() bool {
	return !slices.ContainsFunc(r.lanes, func(l *writtenLane) bool { return l == nil || !l.ended })
}

// runs returns what was found, by name and number of lanes.
func (w *written) runs() []*writtenRun {
	found := map[wire.ID]*writtenRun{}
	for _, p := range w.parts {
		for id, l := range p.lanes {
			key := wire.ID{Run: id.Run, N: id.N}
			if found[key] == nil {
				found[key] = &writtenRun{name: id.Run, n: id.N}
			}
			found[key].time = max(found[key].time, l.time)
		}
	}
	list := slices.SortedFunc(maps.Values(found), func(a, b *writtenRun) int {
		return cmp.Or(cmp.Compare(b.time, a.time), cmp.Compare(a.name, b.name), cmp.Compare(a.n, b.n))
	})
	for _, r := range list {
		w.gather(r)
	}
	return list
}

// part returns the partition of a lane.
func (w *written) part(k int) *writtenPart { return w.parts[k%len(w.parts)] }

func (w *written) gather(r *writtenRun) {
	r.lanes = make([]*writtenLane, r.n)
	for k := range r.lanes {
		r.lanes[k] = w.part(k).lanes[wire.ID{Run: r.name, K: uint32(k + 1), N: r.n}]
	}
}

// madeUp is what dtcat calls a run that has no name.
var madeUp = regexp.MustCompile(`^[a-z2-7]{16}$`)

// last returns the run that a stream goes on with: the one that has its name, or else, for a name that was made up, the newest that is not complete; nil: there is none. A run that
// has a name of its own is another one than all those that are there, though nothing of it may have come yet. Without a name it is the newest, if all are complete.
func (w *written) last(ctx context.Context, name string) (*writtenRun, error) {
	runs := slices.DeleteFunc(w.runs(), func(r *writtenRun) bool { return int(r.n) != len(w.parts) || w.used[r.name] })
	if i := slices.IndexFunc(runs, func(r *writtenRun) bool { return r.name == name }); i >= 0 {
		return runs[i], w.whole(ctx, runs[i])
	}
	if name != "" && !madeUp.MatchString(name) {
		return nil, nil //nolint:nilnil // nothing of it is there
	}
	for _, r := range runs {
		if err := w.whole(ctx, r); err != nil || !r.complete() {
			return r, err
		}
	}
	if name == "" && len(runs) > 0 {
		return runs[0], nil
	}
	return nil, nil //nolint:nilnil // nothing is there
}

// marks looks for a moment of which each lane of a run has the mark: the latest, or the latest at a number of the run. It reads on backward until there is
// one, or the lanes' beginnings. ok is false if there is none.
func (w *written) marks(ctx context.Context, r *writtenRun, number uint64, any bool) (at moment, ok bool, err error) {
	for {
		w.gather(r)
		for m := range cmp.Or(r.lanes[0], &writtenLane{}).marks {
			all := !slices.ContainsFunc(r.lanes, func(l *writtenLane) bool {
				if l == nil {
					return true
				}
				_, has := l.marks[m]
				return !has
			})
			if all && (any || m.source == number) && (!ok || m.compare(at) > 0) {
				at, ok = m, true
			}
		}
		if ok {
			return at, true, nil
		}
		more, err := w.back(ctx, r)
		if !more || err != nil {
			return at, false, err
		}
	}
}

// whole finds each lane of a run, if it is there at all.
func (w *written) whole(ctx context.Context, r *writtenRun) error {
	for w.gather(r); slices.Contains(r.lanes, nil); {
		if more, err := w.back(ctx, r); !more || err != nil {
			return err
		}
	}
	return nil
}

// back reads further back in the partitions in which there may be more of a run, and reports whether there were any.
func (w *written) back(ctx context.Context, r *writtenRun) (bool, error) {
	begins := int64(0) // the run, as far as was seen
	for _, l := range r.lanes {
		if l != nil && l.begins > 0 && (begins == 0 || l.begins < begins) {
			begins = l.begins
		}
	}
	more := false
	for k, l := range r.lanes {
		p := w.part(k)
		if p.tail.over() || l != nil && l.begins > 0 || begins > 0 && p.time < begins-beginMargin {
			continue
		}
		more = true
		if err := p.more(ctx); err != nil {
			return false, err
		}
	}
	w.gather(r)
	return more, nil
}

// records returns how many records of a run are there.
func (r *writtenRun) records() (n uint64) {
	for _, l := range r.lanes {
		if l != nil {
			n += l.next
		}
	}
	return n
}

// state says where the source of a run, or without a name of the last one, is to be read again; nil: there is no run.
func (w *written) state(ctx context.Context, run string) (*hist.LaneState, error) {
	r, err := w.last(ctx, run)
	if r != nil && run != "" && r.name != run {
		return nil, nil //nolint:nilnil // nothing of it is there
	}
	if r == nil || err != nil {
		return nil, err
	}
	s := &hist.LaneState{Run: r.name, K: 1, N: 1}
	if r.complete() {
		s.Next, s.End = r.records(), true
	}
	at, ok, err := w.marks(ctx, r, 0, true)
	if err != nil || !ok || at.source == 0 {
		return s, err
	}
	m := r.lanes[0].marks[at]
	s.Place = &hist.Place{Name: m.Name, Offset: m.Offset, Number: m.Source, Partition: -1, Tag: m.Tag, State: m.State}
	if m.Partition != wire.NoPartition {
		s.Place.Partition = int64(m.Partition)
	}
	if !s.End {
		s.Next = m.Source
	}
	return s, nil
}

// A taken is how a stream goes on with what is there of a run: of lane k−1, the number that its first record has, below which number its records are there,
// and whether all are.
type taken struct {
	run      string // the stream may call it otherwise
	at, have []uint64
	ended    []bool
	samples  []*sample
	said     string // what there is to say about it
}

// errComplete is for a lane that is there, all of it.
var errComplete = errors.New("the run is complete")

// takeUp finds out how a lane goes on with what is there; nil: it begins.
func (w *written) takeUp(ctx context.Context, lane *wire.Lane) (*taken, error) {
	first := wire.NewTrack(lane).Next() // of the stream
	if lane.N > 1 {
		return w.takeUpPart(ctx, lane, first)
	}
	for _, r := range w.runs() {
		if r.name == lane.Run && int(r.n) != len(w.parts) {
			return nil, tool.Hint(fmt.Errorf("run %s is there in %s, and the topic has %s", r.name, count(int(r.n), "lane"), count(len(w.parts), "partition")),
				"another topic, or another --run")
		}
	}
	r, err := w.last(ctx, lane.Run)
	switch {
	case r == nil || err != nil:
		return nil, err
	case r.complete():
		return nil, errComplete
	}
	up := &taken{run: r.name, at: make([]uint64, r.n), have: make([]uint64, r.n), ended: make([]bool, r.n), samples: make([]*sample, r.n)}
	ok := true
	if first > 0 {
		var m moment
		if m, ok, err = w.marks(ctx, r, first, false); err != nil {
			return nil, err
		}
		for k := 0; k < len(r.lanes) && ok; k++ {
			up.at[k] = r.lanes[k].marks[m].Number
		}
	}
	for k, l := range r.lanes {
		if l == nil {
			continue
		}
		ok = ok && (first > 0 || !l.floor || r.n == 1)
		up.have[k], up.ended[k], up.samples[k] = max(l.next, up.at[k]), l.ended, &l.sample
	}
	if !ok {
		return nil, tool.Hint(fmt.Errorf("run %s can't go on at record %d, where the stream begins: no mark of all its lanes is there", r.name, first),
			fmt.Sprintf("dtcat … --resume-from <(dtkafka topics source %s)", w.topic))
	}
	w.used[r.name] = true
	if up.said = fmt.Sprintf("goes on with run %s from record %d", r.name, first); first == 0 {
		up.said = fmt.Sprintf("goes on with run %s, whose first %d records are there already", r.name, r.records())
	}
	if r.name != lane.Run {
		up.said += fmt.Sprintf(" (in the stream it is run %s)", lane.Run)
	}
	return up, nil
}

// takeUpPart is takeUp for a lane that is a part of a run.
func (w *written) takeUpPart(ctx context.Context, lane *wire.Lane, first uint64) (*taken, error) {
	var l *writtenLane
	for _, r := range w.runs() {
		if r.name != lane.Run || r.n != lane.N {
			continue
		}
		if err := w.whole(ctx, r); err != nil { // in its partition others may stand behind it
			return nil, err
		}
		l = r.lanes[lane.K-1]
	}
	switch {
	case l == nil:
		return nil, nil //nolint:nilnil // it begins
	case l.ended:
		return nil, errComplete
	}
	return &taken{run: lane.Run, at: []uint64{first}, have: []uint64{max(l.next, first)}, ended: []bool{false}, samples: []*sample{&l.sample}}, nil
}
