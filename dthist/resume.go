package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"dt/internal/hist"
	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// A written says how far a lane is written, so that its work can be taken up behind each of its lines: internal/hist/RESUME.md.
type written struct {
	hist.LaneState
	begin uint64   // number that the lane's records begin with here
	marks []markAt // behind State.Place, ascending
}

// A markAt is a place, of which it is known that no hit from before it is newer than this.
type markAt struct {
	place  hist.Place
	epoch  uint32
	newest int64
}

// maxMarks bounds the marks of a lane whose windows do not end.
const maxMarks = 4096

// begins is where a lane is written when it begins.
func begins(l *wire.Lane, number uint64) written {
	return written{begin: number, LaneState: hist.LaneState{Run: l.Run, K: l.K, N: l.N, Epoch: l.FloorEpoch, Orbit: int64(l.FloorOrbit), Next: l.FloorNumber}}
}

// mark takes a mark of the source.
func (w *written) mark(f *wire.Frame) {
	m := &f.Mark
	at := markAt{place: *placeOf(m), epoch: f.Epoch, newest: int64(m.Newest)}
	if len(m.State) > 0 {
		at.place.State = bytes.Clone(m.State)
	}
	if m.Number <= w.begin && at.newest < math.MaxInt64 { // else it stands behind the lane's end, which is still to come
		w.Place = &at.place // nothing is before it
		return
	}
	if w.marks = append(w.marks, at); len(w.marks) > maxMarks {
		kept := w.marks[:0]
		for i := 1; i < len(w.marks); i += 2 {
			kept = append(kept, w.marks[i])
		}
		w.marks = kept
	}
}

func placeOf(m *wire.Mark) *hist.Place {
	p := &hist.Place{Name: m.Name, Offset: m.Offset, Number: m.Number, Partition: int64(m.Partition), Tag: m.Tag}
	if m.Partition == wire.NoPartition {
		p.Partition = -1
	}
	return p
}

// link notes that a link of the lane's chain is written: of the records below next, with all windows below an orbit. The place moves to the last mark from before which nothing else comes.
func (w *written) link(epoch uint32, orbit int64, next uint64) {
	w.Epoch, w.Orbit, w.Next = epoch, orbit, next
	for len(w.marks) > 0 {
		m := &w.marks[0]
		if m.place.Number > next || !w.End && (m.epoch > epoch || m.epoch == epoch && m.newest >= orbit) {
			return
		}
		w.Place = &m.place
		w.marks = w.marks[1:]
	}
}

// resumable reports whether the lines are to be gone on behind: then nothing is written that is not passed, for whoever goes on writes it.
func (p *program) resumable() bool { return p.cli.Partial || p.log != nil }

// A partKey names a partition that lanes come from.
type partKey struct {
	name      string
	partition int64
}

// resume returns what a line of a lane says for taking it up: its own state first, then those of the other lanes of its partition, of which it forgets those that
// have ended before all others' places.
func (p *program) resume(l *lane) []hist.LaneState {
	list := []hist.LaneState{l.written.LaneState}
	if l.written.Place == nil || l.written.Place.Partition < 0 {
		return list
	}
	k := partKey{l.written.Place.Name, l.written.Place.Partition}
	others := p.parts[k]
	least := ^uint64(0)
	for _, o := range others {
		switch at := o.written.Place; {
		case at == nil:
			least = 0
		case !o.written.End:
			least = min(least, at.Offset)
		}
	}
	kept := others[:0]
	for _, o := range others {
		if o.written.End && o != l && o.written.Place != nil && o.written.Place.Offset <= least {
			continue
		}
		if kept = append(kept, o); o != l {
			list = append(list, o.written.LaneState)
		}
	}
	clear(others[len(kept):])
	p.parts[k] = kept
	return list[:min(len(list), hist.MaxStates)]
}

// comesFrom notes the partition that a lane comes from.
func (p *program) comesFrom(l *lane) {
	if l.written.Place == nil || l.written.Place.Partition < 0 {
		return
	}
	k := partKey{l.written.Place.Name, l.written.Place.Partition}
	if !slices.Contains(p.parts[k], l) { // else it is new, or began anew after it was forgotten
		p.parts[k] = append(p.parts[k], l)
	}
}

// leaves takes a lane out of its partition that another reads from here on, which a mark without a place says.
func (p *program) leaves(l *lane, m *wire.Mark) bool {
	at := l.written.Place
	if m.Partition != wire.NoPartition || at == nil || at.Partition < 0 {
		return false
	}
	k := partKey{at.Name, at.Partition}
	p.parts[k] = slices.DeleteFunc(p.parts[k], func(o *lane) bool { return o == l })
	return true
}

// due reports whether a lane has passed so much without a link, an epoch, twelve windows, or a minute, that it is to say how far its ledger is. That depends on
// nothing but its last link and what it has passed, so whoever takes it up says it at the same place.
func (p *program) due(l *lane) bool {
	return l.epoch > l.written.Epoch || l.number*p.set.Length-l.written.Orbit >= max(12*p.set.Length, hit.OrbitsIn(60e9))
}

// fits says what is wrong if lines were written already, with other settings.
func (p *program) fits(l *lane) error {
	if want := l.settings; want != "" && want != p.set.Digest() {
		other := "bins, or another map,"
		if have := p.set.Digest(); len(want) == len(have) && want[:len(want)/2] == have[:len(have)/2] {
			other = "windows, or another clock,"
		}
		return tool.Hint(fmt.Errorf("standard input: %s: its lines have other %s than these flags make (settings %s and %s)", l.id, other, want, p.set.Digest()),
			"the flags of before, or another topic or log for the lines")
	}
	return nil
}
