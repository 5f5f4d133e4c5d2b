package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

// A resume takes work up behind the lines that are its results: internal/hist/RESUME.md says why that is exact.
type resume struct {
	r        *consume
	topic    *topicInfo // of the lines
	settings string     // that the lines of dthist --partial have, if one was seen
	told     bool       // that there are lines that say nothing
}

// A resumed is what lines say of the lanes of a partition.
type resumed struct {
	lanes    map[wire.ID]*hist.LaneState
	settings string
}

// checkContent refuses what can't be taken up.
func (s *resume) checkContent(c content) error {
	if c != contentFrames && c != contentLines {
		return tool.Hint(fmt.Errorf("%s: has words, and only frames and lines can be taken up", s.r.topic.name),
			"bridge it to a topic of frames: dtkafka consume "+s.r.topic.name+" --group bridge | dtkafka produce FRAMES")
	}
	return nil
}

// places says where to begin with the partitions that we are given. Those that we have read until now, and nobody else, go on as they are.
func (s *resume) places(given map[int]place) (map[int]place, error) {
	held := s.r.out.places()
	given = maps.Clone(given)
	lost := slices.DeleteFunc(slices.Sorted(maps.Keys(given)), func(p int) bool {
		at, ok := held[p]
		return ok && at.Offset == given[p].Offset
	})
	if len(lost) == 0 {
		return given, nil
	}
	if out, ok := s.r.out.(*linesOutput); ok {
		return s.merged(out, slices.Sorted(maps.Keys(given)))
	}
	unknown := false
	for _, p := range lost {
		at, err := s.partial(p)
		if err != nil {
			return nil, err
		}
		given[p] = at
		unknown = unknown || at.resumed.settings == ""
	}
	if unknown {
		if err := s.findSettings(); err != nil {
			return nil, err
		}
		for _, p := range lost {
			given[p].resumed.settings = cmp.Or(given[p].resumed.settings, s.settings)
		}
	}
	return given, nil
}

// partial looks for the last lines of dthist --partial about a partition. Any of them will do to go on, and of those that are found together each lane's
// furthest saves the most.
func (s *resume) partial(p int) (place, error) {
	at := place{Offset: -1, resumed: &resumed{lanes: map[wire.ID]*hist.LaneState{}}}
	to := at.resumed
	from := p % s.topic.partitions
	lines, known := 0, false
	err := s.r.cluster.backward(s.r.ctx, s.topic.name, from, func(m *message) error {
		lanes, settings, err := s.lanes(from, m)
		lines, known = lines+1, known || len(lanes) > 0
		if err != nil || !slices.ContainsFunc(lanes, func(l hist.LaneState) bool { return s.about(&l, p) }) {
			return err
		}
		to.settings = settings
		for _, l := range lanes {
			id := wire.ID{Run: l.Run, K: l.K, N: l.N}
			if old := to.lanes[id]; (l.Place == nil || s.about(&l, p)) && (old == nil || further(&l, old)) {
				to.lanes[id] = &l
			}
		}
		return nil
	}, func() bool { return len(to.lanes) > 0 })
	if err == nil && lines > 0 && !known && !s.told {
		s.told = true
		s.r.env.Say("%s: its lines say of no lane how far it is written (hint: dthist --partial writes lines that do)", s.topic.name)
	}
	if err != nil || len(to.lanes) == 0 {
		return at, err
	}
	first, _, err := s.r.cluster.span(s.r.ctx, s.r.topic.name, p)
	at.Offset = to.start(first)
	return at, err
}

// about reports whether a state names a place in a partition of what is read.
func (s *resume) about(l *hist.LaneState, p int) bool {
	return l.Place != nil && l.Place.Name == s.r.topic.name && l.Place.Partition == int64(p)
}

func further(a, b *hist.LaneState) bool {
	if a.End != b.End {
		return a.End
	}
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Orbit, b.Orbit), cmp.Compare(a.Next, b.Next)) > 0
}

// start is where to begin: at the least place of the lanes that go on, or behind all of them. A lane without a place may have begun with the log.
func (r *resumed) start(first int64) int64 {
	least, last := int64(math.MaxInt64), int64(0)
	for _, l := range r.lanes {
		at := first
		if l.Place != nil {
			at = int64(min(l.Place.Offset, math.MaxInt64))
		}
		if last = max(last, at); !l.End {
			least = min(least, at)
		}
	}
	if least < math.MaxInt64 {
		return least
	}
	return last
}

// lanes returns what a message says of lanes, if it is a line of dthist --partial.
func (s *resume) lanes(partition int, m *message) ([]hist.LaneState, string, error) {
	lanes, merge, settings, err := s.parse(partition, m)
	if err == nil && merge != nil && lanes == nil {
		err = tool.Hint(fmt.Errorf("%s: a line of dthist --merge, where those of dthist --partial are wanted", placeOf(s.topic.name, partition, m.offset)),
			"--resume-from the topic that this pipe's own lines go to")
	}
	return lanes, settings, err
}

// parse reads a line. What is no line that can be read says nothing; a topic of frames is the wrong one.
func (s *resume) parse(partition int, m *message) ([]hist.LaneState, *hist.MergeState, string, error) {
	at := placeOf(s.topic.name, partition, m.offset)
	if wire.IsStream(m.value) {
		return nil, nil, "", tool.Hint(fmt.Errorf("%s: a piece of a hit stream, where lines of dthist are wanted", at),
			"--resume-from the topic that the pipe's lines go to")
	}
	lanes, merge, settings, err := hist.ParseResume(m.value)
	if err != nil {
		s.r.env.Say("%s: %v; this line is passed over", at, err)
		return nil, nil, "", nil
	}
	return lanes, merge, settings, nil
}

// findSettings looks into the ends of all partitions for what settings the lines have.
func (s *resume) findSettings() error {
	for p := 0; p < s.topic.partitions && s.settings == ""; p++ {
		err := s.r.cluster.backward(s.r.ctx, s.topic.name, p, func(m *message) error {
			lanes, settings, err := s.lanes(p, m)
			if lanes != nil {
				s.settings = settings
			}
			return err
		}, func() bool { return true })
		if err != nil {
			return err
		}
	}
	return nil
}

// reach is how far a merge had read.
func reach(m *hist.MergeState) (n uint64) {
	for i := range m.Places {
		n += m.Places[i].Offset
	}
	return n
}

// merged looks for the last line of dthist --merge that says how far it has read this topic, and has the output begin with it.
func (s *resume) merged(out *linesOutput, partitions []int) (map[int]place, error) {
	var floor []byte
	var state *hist.MergeState
	err := s.r.cluster.backward(s.r.ctx, s.topic.name, 0, func(m *message) error {
		lanes, merge, _, err := s.parse(0, m)
		switch {
		case err != nil:
			return err
		case lanes != nil && merge == nil:
			return tool.Hint(fmt.Errorf("%s: a line of dthist --partial, where those of dthist --merge are wanted", placeOf(s.topic.name, 0, m.offset)),
				"--resume-from the topic that this pipe's own lines go to")
		case merge != nil && slices.ContainsFunc(merge.Places, func(p hist.Place) bool { return p.Name == s.r.topic.name }) && (state == nil || reach(merge) >= reach(state)):
			floor, state = bytes.Clone(m.value), merge // of those that are found together the furthest: a merge that hung may have written the last
		}
		return nil
	}, func() bool { return state != nil })
	if err != nil {
		return nil, err
	}
	from := map[int]place{}
	for _, p := range partitions {
		from[p] = place{Offset: -1}
		if state == nil {
			continue
		}
		first, _, err := s.r.cluster.span(s.r.ctx, s.r.topic.name, p)
		if err != nil {
			return nil, err
		}
		from[p] = place{Offset: first}
		for _, at := range state.Places {
			if at.Name == s.r.topic.name && at.Partition == int64(p) {
				from[p] = place{Offset: int64(min(at.Offset, math.MaxInt64))}
			}
		}
	}
	out.restart(floor)
	return from, nil
}
