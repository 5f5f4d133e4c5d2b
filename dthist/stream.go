package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"dt/internal/hist"
	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// A program makes lines of a stream.
type program struct {
	env  *tool.Env
	cli  *flags
	in   *wire.Input
	out  *output
	hits *hitsFile
	set  *hist.Settings

	mapDigest uint64 // of the map in set
	mapped    bool   // words were booked with it
	lanes     lanes
	codes     []uint8
	cosmo     *hist.Cosmo
	cosmoHits int64 // hits in the message
	cosmoRest int64 // records since the last message that are not in it: set aside, or no hits
	failed    error // of a message that was written while hits were booked
	cuts      int

	total    *hist.Counts      // --window all: of the lanes that have ended; with the wall clock, of those that began anew in this window
	kept     []hist.LaneSource // of these
	rest     hist.Rest         // of runs that have ended
	complete bool              // what has ended is

	windowAt time.Time // wall clock: when the window began

	parts map[partKey][]*lane // with --partial: lanes by the partition that they come from
	log   *logFile            // --log
}

// lanes are all lanes, and the runs they make.
type lanes struct {
	byID map[wire.ID]*lane
	runs map[string]*laneGroup
}

func newLanes() lanes { return lanes{map[wire.ID]*lane{}, map[string]*laneGroup{}} }

// A laneGroup puts the windows of its lanes together. With the detector clock only.
type laneGroup struct {
	merger *hist.Merger // nil: the run has ended
	n      uint32
	seen   int // lanes
	ended  int // of these
}

// A lane is one lane of the stream.
type lane struct {
	id      wire.ID
	track   *wire.Track
	h       *hist.Lane // nil: it has ended, and nothing of it is left
	run     *laneGroup
	first   uint64 // number behind the stretch that the last line covers
	place   *hist.Place
	epoch   uint32 // what was passed last, and said so
	number  int64
	told    time.Time // when a progress line was written
	hole    bool      // windows that were passed since the last line may lack hits
	written written
	// settings is the digest of the lines that are written already, or "".
	settings string
	seen     time.Time // when words came
	silent   bool
	stopped  bool // its last end was not exhausted
	ended    bool // exhausted, cut, or stopped for good: nothing more to come
	cut      bool
}

// defaultMap is the digest of the map that is applied without dtchamber.
var defaultMap = func() uint64 {
	text, _ := hit.BuiltinMap("minidt")
	return hit.MapDigest(text)
}()

// silence closes the orbits of a lane, with the wall clock.
const silence = time.Second

func (p *program) run() error {
	src := wire.NewReader(p.in)
	src.OnWait = func() error { return p.in.Await(p.idle) }
	p.windowAt = time.Now()
	if p.cli.Format == "cosmo" {
		p.cosmo = new(hist.Cosmo)
	}
	err := p.read(src)
	var not *wire.NotStreamError
	if errors.As(err, &not) {
		return p.env.InputError(err, usage)
	}
	var failed *outputError
	if errors.As(err, &failed) {
		return err
	}
	if err != nil {
		p.cuts++ // what is there is not whole
		err = p.env.InputError(err, usage)
	}
	if err := errors.Join(err, p.finish()); err != nil {
		return err
	}
	if p.cuts > 0 {
		return tool.ErrTold
	}
	return nil
}

// read takes frames until the input ends or the program is stopped.
func (p *program) read(src *wire.Reader) error {
	for {
		f, err := src.Next()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, wire.ErrStopped):
			return nil
		case err != nil:
			return err
		}
		if err := p.frame(f); err != nil {
			return err
		}
		if _, err := p.onTime(); err != nil {
			return err
		}
	}
}

// frame takes one frame.
func (p *program) frame(f *wire.Frame) error {
	if f.Kind == wire.KindStream {
		return nil
	}
	l, err := p.lane(f)
	if err != nil {
		return err
	}
	switch f.Kind {
	case wire.KindLane:
		switch {
		case f.Lane.Anew:
			return p.anew(l, f.Lane)
		case l.stopped && f.Lane.FloorNumber > l.track.Next():
			if err := p.keep(l); err != nil {
				return err
			}
			p.newLane(l, f.Lane) // another has read on in between
		}
		l.stopped = false
	case wire.KindMap:
		return p.useMap(f)
	case wire.KindLedger:
		l.track.Ledger(f)
	case wire.KindWords, wire.KindLate:
		return p.words(l, f)
	case wire.KindMark:
		if p.leaves(l, &f.Mark) {
			return nil
		}
		l.place = placeOf(&f.Mark)
		if p.resumable() {
			l.written.mark(f)
			p.comesFrom(l)
		}
		if f.Mark.Serial > 0 { // else only the place where the lane begins
			l.h.GapOver(f.Epoch, int64(f.Mark.Newest))
		}
		return p.pass(l, f)
	case wire.KindCut:
		p.cuts++
		p.env.Say("standard input: %s was cut at record %d: no end frame (did the program before this one die?)", l.id, f.Next)
		l.cut = true
		return p.close(l)
	case wire.KindEnd:
		if missing := l.missing(f.Next); missing > 0 {
			p.gap(l, missing, missing, f.Next)
		}
		if f.End.Stopped {
			l.stopped = true // it may be taken up again
			return nil
		}
		l.stopped = false
		return p.close(l)
	}
	return nil
}

// lane returns the lane of a frame.
func (p *program) lane(f *wire.Frame) (*lane, error) {
	id := f.Lane.ID()
	if l := p.lanes.byID[id]; l != nil {
		if f.Kind == wire.KindLane && l.ended && !f.Lane.Anew {
			return nil, fmt.Errorf("standard input: %s goes on behind its end (was the same stream read twice?)", id)
		}
		return l, nil
	}
	if p.cosmo != nil && len(p.lanes.byID) > 0 && p.unended() {
		return nil, errors.New("standard input: several lanes, but --format cosmo is for a stream of one lane")
	}
	run := p.lanes.runs[id.Run]
	if run == nil {
		run = &laneGroup{n: id.N}
		p.newMerger(run)
		p.lanes.runs[id.Run] = run
	}
	if run.n != id.N && !p.cli.Partial {
		return nil, fmt.Errorf("standard input: %s, but run %s had %d lanes before", id, id.Run, run.n)
	}
	if p.log != nil {
		if id.N > 1 && !p.cli.Partial {
			return nil, tool.Hint(fmt.Errorf("standard input: %s, but --log is for a run in one lane", id), "--partial --log, and dthist --merge")
		}
		if err := p.log.goesOn(f.Lane); err != nil {
			return nil, err
		}
	}
	l := &lane{id: id, run: run, seen: time.Now(), told: time.Now(), settings: f.Lane.Settings}
	p.newLane(l, f.Lane)
	p.lanes.byID[id] = l
	run.seen++
	return l, nil
}

// newMerger makes the merger of a run begin.
func (p *program) newMerger(run *laneGroup) {
	if p.set.Clock == hist.Detector {
		run.merger = hist.NewMerger(int(run.n))
		run.merger.Emit = func(w hist.Window) error { return p.emit(w, [2]int{}) }
	}
}

// anew makes a lane begin that is taken up: what is here of it is forgotten, because the lines that are there say how far it is written.
func (p *program) anew(l *lane, at *wire.Lane) error {
	if l.settings = at.Settings; !p.cli.Partial && l.id.N > 1 {
		return tool.Hint(fmt.Errorf("standard input: %s is taken up in the middle, which only lines of each lane can be", l.id), "dthist --partial, and dthist --merge behind it")
	}
	if l.ended {
		l.run.ended--
	}
	if !p.cli.Partial {
		p.newMerger(l.run)
	}
	l.ended, l.stopped, l.cut, l.hole = false, false, false, false
	l.epoch, l.number = 0, 0
	p.newLane(l, at)
	return nil
}

// newLane makes a lane begin, at its floor. Where that is in the middle of what the source has read, and no results say up to where it is booked, the
// first windows may lack hits.
func (p *program) newLane(l *lane, at *wire.Lane) {
	l.track, l.first, l.place = wire.NewTrack(at), at.FloorNumber, nil
	l.h = hist.NewLane(p.set, l.id.Run)
	l.h.Emit = func(w hist.Window) error { return p.window(l, w) }
	if p.hits != nil || p.cosmo != nil {
		l.h.Hit = p.hit
	}
	l.written = begins(at, l.track.Next())
	switch {
	case at.Resumed():
		l.h.Begin(at.FloorEpoch, int64(at.FloorOrbit))
		l.epoch, l.number = l.h.Passed()
	case at.FloorNumber > 0:
		l.h.Gap()
	}
}

// keep keeps what a lane has booked that begins anew, for the line that it belongs to. With the detector clock windows that are not written yet are
// left to who reads them whole.
func (p *program) keep(l *lane) error {
	if p.set.Clock == hist.Detector || p.cli.Partial {
		return nil
	}
	l.h.Stop()
	if err := l.h.Finish(); err != nil {
		return err
	}
	if p.set.Clock == hist.All {
		return p.closeAll(l)
	}
	p.kept = append(p.kept, p.stretch(l))
	c := l.h.Take()
	if c == nil || p.total == nil {
		p.total = cmp.Or(p.total, c)
		return nil
	}
	return p.total.Add(c)
}

// missing returns how many records before number were never seen.
func (l *lane) missing(number uint64) uint64 {
	if next := l.track.Next(); number > next {
		return number - next
	}
	return 0
}

// gap tells of lost records, of which missing are in no ledger, and makes what they may have belonged to incomplete.
func (p *program) gap(l *lane, missing, lost, before uint64) {
	p.env.Say("standard input: %s: %d records are missing before record %d", l.id, lost, before)
	l.h.Ledger().Missing += int64(missing)
	l.h.Gap()
	p.cuts++
}

// useMap takes the map that dtchamber sends.
func (p *program) useMap(f *wire.Frame) error {
	digest := hit.MapDigest(f.Payload())
	if digest == p.mapDigest {
		return nil
	}
	if p.mapped {
		return errors.New("standard input: the chamber map changes; lines with different maps do not add up (without dtchamber it is minidt)")
	}
	m, err := hit.ParseMap(f.Payload())
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	p.mapDigest = digest
	p.set.SetMap(m)
	return nil
}

// words takes a words or late frame.
func (p *program) words(l *lane, f *wire.Frame) error {
	before := l.track.Next()
	aside, missing, doubled := l.track.Admit(f)
	if lost := max(f.First, before) - before; missing > 0 || lost > 0 {
		p.gap(l, missing, max(missing, lost), max(f.First, before))
	}
	ledger := l.h.Ledger()
	if before >= l.track.Floor() {
		ledger.Doubled += int64(doubled)
	}
	for _, a := range aside {
		ledger.SetAsideBy(a.Stage, a.Reason, int64(a.Count))
		p.cosmoRest += int64(a.Count)
	}
	if p.cosmo != nil {
		for _, w := range f.Words {
			if !hit.IsHit(w) {
				p.cosmoRest++
			}
		}
	}
	chambers := f.Chambers
	switch {
	case f.Lane.Map == 0 && p.mapDigest != defaultMap:
		return fmt.Errorf("standard input: %s: no dtchamber was before it, but before another lane, with another map than minidt", l.id)
	case f.Lane.Map == 0:
		// No dtchamber: the default map is applied here.
		if len(p.codes) < len(f.Words) {
			p.codes = make([]uint8, wire.MaxCover)
		}
		chambers = p.codes[:len(f.Words)]
		p.set.Map.Assign(chambers, f.Words)
	case f.Lane.Map != p.mapDigest || chambers == nil && len(f.Words) > 0:
		return fmt.Errorf("standard input: %s: its chambers are not those of the map in the stream", l.id)
	case !p.knows(chambers):
		return fmt.Errorf("standard input: %s: a chamber that the map does not have", l.id)
	}
	if len(f.Words) > 0 {
		p.mapped = true
		l.seen, l.silent = time.Now(), false
	}
	again := l.track.Again(f)
	if f.Kind == wire.KindLate {
		l.h.LateAgain(f.Epoch, f.Words[:again], f.Newest[:again], chambers[:again])
		l.h.Late(f.Epoch, f.Words[again:], f.Newest[again:], chambers[again:])
	} else {
		l.h.Again(f.Epoch, f.Words[:again], chambers[:again])
		l.h.Words(f.Epoch, f.Words[again:], chambers[again:])
	}
	return p.pass(l, f)
}

// knows reports whether all chamber codes are of the map: 0 … n, or the scintillator's 255. It looks at eight at a time.
func (p *program) knows(chambers []uint8) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	n := uint64(len(p.set.Map.Chambers))
	odd := uint64(0)
	for ; len(chambers) >= 8; chambers = chambers[8:] {
		x := binary.LittleEndian.Uint64(chambers)
		next := (x&^tops + ones) ^ x&tops         // each code plus 1, so that 255 becomes 0
		odd |= next | (next&^tops + (126-n)*ones) // its top bit is set where that is above n + 1
	}
	for _, c := range chambers {
		if uint64(c+1) > n+1 {
			return false
		}
	}
	return odd&tops == 0
}

// pass books what the horizon of a frame closes.
func (p *program) pass(l *lane, f *wire.Frame) error {
	if err := errors.Join(l.h.Horizon(f.Epoch, f.Horizon, f.Open), p.failed); err != nil {
		return err
	}
	if p.set.Clock != hist.Detector {
		return nil
	}
	epoch, number := l.h.Passed()
	if epoch == l.epoch && number == l.number {
		return nil
	}
	complete := !l.h.Missed(l.epoch, l.number)
	if !p.cli.Partial {
		l.epoch, l.number = epoch, number
		return l.run.merger.Pass(int(l.id.K), epoch, number, complete)
	}
	l.epoch, l.number = epoch, number
	l.hole = l.hole || !complete
	return p.progress(l, p.due(l))
}

// window takes a window of one lane.
func (p *program) window(l *lane, w hist.Window) error {
	if p.resumable() && (l.cut || l.stopped) {
		return nil // not whole, and whoever reads the lane again will write it
	}
	if w.Complete && p.cli.Partial && (l.hole || l.h.Missed(l.epoch, l.number)) {
		l.hole = true
		if l.epoch, l.number = w.Epoch, w.Number; p.set.Clock == hist.Detector {
			l.told = time.Time{}
			if err := p.progress(l, false); err != nil { // it is, but windows before it are not
				return err
			}
		}
	}
	w.Lanes = []hist.LaneSource{p.stretch(l)}
	if p.cli.Partial {
		if p.set.Clock == hist.Detector {
			l.written.link(w.Epoch, (w.Number+1)*p.set.Length, l.first)
		}
		l.told, l.hole = time.Now(), false
		return p.emit(w, [2]int{int(l.id.K), int(l.id.N)})
	}
	return l.run.merger.Add(int(l.id.K), w, nil)
}

// stretch returns the records since the lane's last line. Of a lane that is taken up these begin at its floor, which the windows that end may be read before: frames of a file are not
// always cut alike.
func (p *program) stretch(l *lane) hist.LaneSource {
	s := hist.LaneSource{Run: l.id.Run, K: l.id.K, N: l.id.N, First: l.first, Next: max(l.first, l.track.Next()), Place: l.place}
	l.first = s.Next
	return s
}

// emit writes a window's line.
func (p *program) emit(w hist.Window, lane [2]int) error {
	if p.cosmo != nil {
		return p.writeCosmo()
	}
	line := w.Line()
	line.Lane = lane
	return p.write(line)
}

// write writes a line, and what it says for taking up the work behind it.
func (p *program) write(line *hist.Line) error {
	if p.set.Clock != hist.Detector || !p.resumable() || len(line.Lanes) == 0 {
		return p.out.line(line)
	}
	l := p.lanes.byID[wire.ID{Run: line.Lanes[0].Run, K: line.Lanes[0].K, N: line.Lanes[0].N}]
	if err := p.fits(l); err != nil {
		return err
	}
	if !p.cli.Partial && line.Window.Number != hist.NoNumber {
		// Several windows may have ended at once: each line says what is written with it, and not what comes next.
		l.written.link(line.Window.Epoch, (line.Window.Number+1)*p.set.Length, line.Lanes[0].Next)
	}
	line.Resume = p.resume(l)
	return p.out.line(line)
}

// progress writes how far a lane has come: at most once a second, or as a link of its chain, with its ledger.
func (p *program) progress(l *lane, link bool) error {
	if !link && time.Since(l.told) < time.Second {
		return nil
	}
	l.told = time.Now()
	line := &hist.Line{
		Progress: true, End: l.ended, Window: hist.WindowInfo{Run: l.id.Run, Epoch: l.epoch, Number: l.number},
		Counts: &hist.Counts{Set: p.set}, Complete: !l.hole, Lane: [2]int{int(l.id.K), int(l.id.N)},
	}
	l.hole = false
	if link && l.ended {
		line.Window.Epoch, line.Window.Number = l.written.Epoch, l.written.Orbit/p.set.Length // how far the last link was, for whoever writes this one
	}
	if link {
		line.Counts.Ledger = l.h.TakeLedger()
		line.Lanes = []hist.LaneSource{p.stretch(l)}
		l.written.End = l.ended
		l.written.link(line.Window.Epoch, line.Window.Number*p.set.Length, l.first)
	} else {
		line.Lanes = []hist.LaneSource{{Run: l.id.Run, K: l.id.K, N: l.id.N, First: l.first, Next: l.first, Place: l.place}}
	}
	return p.write(line)
}

// close ends a lane that is exhausted, or was cut or stopped: what is left of it is booked, and its state let go.
func (p *program) close(l *lane) error {
	whole := !l.cut && !l.stopped
	if !whole {
		l.h.Stop()
	}
	l.ended = true
	l.run.ended++
	if p.resumable() && !whole {
		p.env.Say("standard input: %s did not come to its end; the windows that it has not passed are left to whoever goes on", l.id)
		l.h = nil
		return nil
	}
	if err := l.h.Finish(); err != nil {
		return err
	}
	switch p.set.Clock {
	case hist.Wall:
		return nil // the next line takes what it has
	case hist.All:
		return p.closeAll(l)
	}
	defer func() { l.h = nil }()
	missed := l.h.Missed(l.epoch, l.number)
	if p.cli.Partial {
		l.hole = l.hole || missed
		return p.progress(l, true)
	}
	m := l.run.merger
	m.EndRest(int(l.id.K), hist.Rest{Ledger: l.h.TakeLedger(), Lanes: []hist.LaneSource{p.stretch(l)}})
	if whole {
		if err := m.End(int(l.id.K), !missed); err != nil {
			return err
		}
	}
	l.written.End = whole
	l.written.link(l.epoch, l.number*p.set.Length, l.first)
	if l.run.ended == int(l.run.n) {
		return p.closeRun(l.run)
	}
	return nil
}

// closeRun writes what is left of a run whose lanes have ended, or will not come.
func (p *program) closeRun(run *laneGroup) error {
	rest, err := run.merger.Flush()
	p.rest.Add(rest)
	p.complete = p.complete && run.merger.Complete()
	run.merger = nil
	if err != nil || p.log == nil {
		return err
	}
	return p.writeRest() // of each run by itself: its line says how to go on behind it
}

// writeRest writes what is in the ledgers of runs behind their last windows.
func (p *program) writeRest() error {
	if p.rest.Ledger.Empty() {
		return nil
	}
	c := hist.NewCounts(p.set)
	c.Ledger = p.rest.Ledger
	lanes := p.rest.Lanes
	p.rest = hist.Rest{}
	return p.emit(hist.Window{Number: hist.NoNumber, Complete: p.complete && p.cuts == 0, Counts: c, Lanes: lanes}, [2]int{})
}

// closeAll takes a lane's part of the line of --window all, or writes it with --partial.
func (p *program) closeAll(l *lane) error {
	c := l.h.Take()
	if c == nil {
		c = hist.NewCounts(p.set)
	}
	whole := !l.h.Incomplete()
	stretch := p.stretch(l)
	l.h = nil
	if p.cli.Partial {
		return p.emit(hist.Window{Run: l.id.Run, Number: hist.NoNumber, Complete: whole, Counts: c, Lanes: []hist.LaneSource{stretch}}, [2]int{int(l.id.K), int(l.id.N)})
	}
	p.complete = p.complete && whole
	p.rest.Lanes = append(p.rest.Lanes, stretch)
	if p.total == nil {
		p.total = c
		return nil
	}
	return p.total.Add(c)
}

// alive returns the lanes that have something to tell, in the order of run and number.
func (p *program) alive() []*lane {
	var list []*lane
	for _, l := range p.lanes.byID {
		if l.h != nil {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b *lane) int {
		return cmp.Or(cmp.Compare(a.id.Run, b.id.Run), cmp.Compare(a.id.K, b.id.K))
	})
	return list
}

// unended reports whether a lane has not ended.
func (p *program) unended() bool {
	return slices.ContainsFunc(p.alive(), func(l *lane) bool { return !l.ended })
}

// finish writes what is left at the end of the input.
func (p *program) finish() error {
	for _, l := range p.alive() {
		if l.ended {
			continue
		}
		l.stopped = true
		if err := p.close(l); err != nil {
			return err
		}
	}
	p.complete = p.complete && p.cuts == 0
	for _, name := range slices.Sorted(maps.Keys(p.lanes.runs)) {
		run := p.lanes.runs[name]
		p.complete = p.complete && run.ended == int(run.n)
		if run.merger != nil {
			if err := p.closeRun(run); err != nil {
				return err
			}
		}
	}
	switch {
	case p.set.Clock == hist.Wall:
		return p.tick(time.Now())
	case p.cli.Partial:
		return nil
	case p.set.Clock == hist.Detector:
		return p.writeRest()
	case p.total == nil:
		p.total = hist.NewCounts(p.set)
	}
	return p.emit(hist.Window{Number: hist.NoNumber, Complete: p.complete, Counts: p.total, Lanes: p.rest.Lanes}, [2]int{})
}

// onTime ends a window of our own clock that is over, and returns when the next one is.
func (p *program) onTime() (next time.Time, err error) {
	if p.set.Clock != hist.Wall {
		return time.Time{}, nil
	}
	length := time.Duration(p.set.Length)
	if next = p.windowAt.Add(length); !time.Now().Before(next) {
		err = p.tick(next)
		next = p.windowAt.Add(length)
	}
	return next, err
}

// idle does what is due by our own clock when nothing comes in, and returns when something is due next.
func (p *program) idle() (time.Duration, error) {
	if p.set.Clock != hist.Wall {
		return 0, nil
	}
	next, err := p.onTime()
	if err != nil {
		return 0, err
	}
	now := time.Now()
	for _, l := range p.lanes.byID {
		if l.silent || l.ended {
			continue
		}
		if at := l.seen.Add(silence); now.Before(at) {
			if at.Before(next) {
				next = at
			}
			continue
		}
		l.silent = true
		if err := errors.Join(l.h.Silent(), p.failed); err != nil {
			return 0, err
		}
	}
	return max(time.Until(next), time.Millisecond), nil
}

// tick ends a window of our own clock.
func (p *program) tick(at time.Time) error {
	total := hist.NewCounts(p.set)
	complete := true
	if p.total != nil {
		total, p.total = p.total, nil
	}
	stretches := p.kept
	p.kept = nil
	for _, l := range p.alive() {
		if c := l.h.Take(); c != nil {
			if err := total.Add(c); err != nil {
				return err
			}
		}
		complete = complete && !l.h.IncompleteSince()
		stretches = append(stretches, p.stretch(l))
		if l.ended {
			l.h = nil
		}
	}
	for _, run := range p.lanes.runs {
		complete = complete && run.seen == int(run.n)
	}
	start := p.windowAt
	p.windowAt = at
	if time.Since(at) > time.Duration(p.set.Length) {
		p.windowAt = time.Now() // we were stopped, or the machine slept
	}
	if p.cosmo != nil {
		return p.writeCosmo()
	}
	return p.out.line(&hist.Line{
		Window: hist.WindowInfo{Number: hist.NoNumber, Start: start.UnixMicro(), End: at.UnixMicro()},
		Counts: total, Complete: complete, Lanes: hist.JoinStretches(stretches),
	})
}

// hit takes each booked hit, for --hits and --format cosmo.
func (p *program) hit(epoch uint32, b hist.Booked) {
	if p.hits != nil {
		p.hits.hit(p.set.Map, epoch, b)
	}
	if p.cosmo != nil {
		if !p.cosmo.Fits(epoch, b) {
			p.failed = errors.Join(p.failed, p.writeCosmo()) // told when the orbits are booked
		}
		p.cosmo.Book(epoch, b)
		p.cosmoHits++
	}
}

// writeCosmo writes the message of what was booked since the last one. Its n are the records that have come to their end since: booked, set
// aside, or no hits.
func (p *program) writeCosmo() error {
	b := p.cosmo.Append(p.out.buf[:0], p.cosmoHits+p.cosmoRest)
	p.cosmoHits, p.cosmoRest = 0, 0
	p.cosmo.Reset()
	return p.out.write(append(b, '\n'))
}

// hit writes one hit. Hits in no chamber have no layer and wire, and those of orbits without scintillator hit no drift time.
func (h *hitsFile) hit(m *hit.Map, epoch uint32, b hist.Booked) {
	w := b.Word
	inChamber := b.Chamber != hit.NoChamber && b.Chamber != hit.Scintillator
	line := h.buf[:0]
	for _, v := range [...]int64{int64(epoch), int64(hit.Orbit(w)), int64(hit.FPGA(w)), int64(hit.Channel(w)), int64(b.Chamber)} {
		line = append(strconv.AppendInt(line, v, 10), ',')
	}
	if inChamber {
		line = strconv.AppendInt(line, int64(m.Layer(hit.Channel(w))), 10)
	}
	line = append(line, ',')
	if inChamber {
		line = strconv.AppendInt(line, int64(hit.Wire(hit.Channel(w))), 10)
	}
	line = append(hit.AppendNS(append(line, ','), hit.Ticks(w)*hit.DriftPerTick), ',')
	if b.InOrbit {
		line = hit.AppendNS(line, b.Drift)
	}
	if b.Late {
		line = append(line, ",1\n"...)
	} else {
		line = append(line, ",0\n"...)
	}
	h.buf = line
	h.w.Write(line) // an error stays in w and comes out of close
}
