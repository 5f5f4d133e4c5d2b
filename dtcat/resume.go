package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

// A resumption is where a run is taken up, as the last line of what was written of it says. internal/hist/RESUME.md says why that is exact.
type resumption struct {
	file     string
	state    hist.LaneState
	settings string // that the lines have
}

// number is that of the first record that is read again.
func (r *resumption) number() uint64 {
	if r == nil || r.state.Place == nil {
		return 0
	}
	return r.state.Place.Number
}

// lane is what the stream says of itself.
func (r *resumption) lane(form string) wire.Lane {
	return wire.Lane{Run: r.state.Run, K: 1, N: 1, Form: form, FloorEpoch: r.state.Epoch, FloorOrbit: uint64(r.state.Orbit), FloorNumber: r.state.Next, Settings: r.settings}
}

// mark is the mark that the source goes on at.
func (r *resumption) mark() *wire.Mark {
	m := &wire.Mark{Partition: wire.NoPartition}
	if p := r.state.Place; p != nil {
		m.Number, m.Source, m.Offset, m.Name, m.Tag, m.State = p.Number, p.Number, p.Offset, p.Name, p.Tag, p.State
	}
	return m
}

const resumeHint = "lanes of a topic are taken up by dtkafka consume --resume-from"

// findResumption reads what --resume-from names. It leaves c.resumed nil if there is nothing yet.
func (c *cat) findResumption() error {
	file := c.cli.ResumeFrom
	r, lines, err := lastState(file)
	if err != nil {
		return err
	}
	if r == nil {
		if lines > 0 {
			c.env.Say("%s: it says of no run how far it has come, so this one is read from its beginning", file)
		}
		return nil
	}
	s := &r.state
	floor := s.Epoch > 0 || s.Orbit > 0
	if s.Place != nil && s.Place.Number > 0 && len(s.Place.State) == 0 && !s.End {
		// How the words before were judged is not said, and decides how those behind are: so all are judged again.
		if s.Place = nil; !floor {
			s.Next = 0
		}
	}
	switch {
	case s.K != 1 || s.N != 1:
		return tool.Hint(fmt.Errorf("%s: its last line is of lane %d of %d of run %s, and sources are a whole run", file, s.K, s.N, s.Run), resumeHint)
	case s.Place != nil && s.Place.Partition >= 0:
		return tool.Hint(fmt.Errorf("%s: run %s goes on in topic %s, not in a source", file, s.Run, s.Place.Name), resumeHint)
	case c.cli.Run != "" && c.cli.Run != s.Run:
		return &tool.UsageError{Msg: fmt.Sprintf("--run %s: %s is of run %s", c.cli.Run, file, s.Run)}
	case !s.End && (r.number() > s.Next || !floor && r.number() != s.Next):
		return fmt.Errorf("%s: its last line does not fit together: %d records are written, and it goes on at record %d", file, s.Next, r.number())
	}
	if err := wire.CheckRun(s.Run); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	c.resumed = r
	return nil
}

// lastState returns what the last whole line of a file says that says it, or nil, and how many lines it looked at. A line without a line feed is not whole: its writer died.
func lastState(file string) (last *resumption, lines int, err error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, tool.Plain(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, 0, tool.Plain(err)
	case info.IsDir():
		return nil, 0, fmt.Errorf("%s: a folder", file)
	}
	parse := func(line []byte) (bool, error) {
		lines++
		lanes, _, settings, err := hist.ParseResume(line)
		if err != nil {
			return false, tool.Hint(fmt.Errorf("%s: its last line is no result line: %w", file, err), "is that file what dthist --log wrote, as it wrote it?")
		}
		if len(lanes) > 0 {
			last = &resumption{file, lanes[0], settings}
		}
		return len(lanes) > 0, nil
	}
	if info.Mode().IsRegular() {
		err = linesBackward(f, info.Size(), parse)
	} else {
		err = linesForward(f, parse)
	}
	return last, lines, tool.Plain(err)
}

// lookBack is how much of the end of a file is searched; every line of a log says where to go on.
const lookBack = 4 * hist.MaxLine

// linesBackward calls each with the lines of a file from the last whole one on, until that is enough.
func linesBackward(f *os.File, size int64, each func(line []byte) (enough bool, err error)) error {
	var rest []byte // the end of the line that the next block ends in
	torn := true    // there was no line feed yet
	block := int64(256 << 10)
	for end := size; end > 0 && size-end < lookBack; block *= 2 {
		n := min(block, end)
		buf := make([]byte, n, n+int64(len(rest)))
		if _, err := f.ReadAt(buf, end-n); err != nil {
			return err // also if it became shorter
		}
		end -= n
		buf = append(buf, rest...)
		for i := bytes.LastIndexByte(buf, '\n'); i >= 0; i = bytes.LastIndexByte(buf, '\n') {
			if !torn {
				if enough, err := each(buf[i+1:]); enough || err != nil {
					return err
				}
			}
			buf, torn = buf[:i], false
		}
		if rest = buf; len(rest) > hist.MaxLine {
			return fmt.Errorf("%s: a line of more than %d bytes", f.Name(), hist.MaxLine)
		}
		if end == 0 && !torn {
			_, err := each(rest)
			return err
		}
	}
	return nil
}

// linesForward calls each with all whole lines of what can be read only once. An error counts only if no good line is behind it.
func linesForward(r io.Reader, each func(line []byte) (good bool, err error)) error {
	var bad error
	lines := tool.LinesOf(r, hist.MaxLine)
	for {
		text, _, err := lines.Next()
		switch {
		case errors.Is(err, io.EOF):
			return bad
		case err != nil:
			return err
		case lines.Open():
			continue
		}
		if good, err := each(text); good || err != nil {
			bad = err
		}
	}
}

// A point is where a source is read from.
type point struct {
	offset uint64 // bytes, unpacked; words of a simulated run
	like   *input // what an object is, as its beginning says, if that is not read again
}

// fromPlace leaves out the sources that were read to their ends, and lets the first of the others begin where the run is taken up.
func (c *cat) fromPlace(sources []source) ([]source, error) {
	r := c.resumed
	p := r.state.Place
	if p == nil || p.Name == "" && p.Number == 0 {
		c.env.Say("%s: run %s is read from its beginning; %s", r.file, r.state.Run, r.written())
		return sources, nil
	}
	at := -1
	for i, s := range sources {
		if !s.is(p.Name) {
			continue
		}
		if at >= 0 {
			return nil, fmt.Errorf("%s: run %s goes on in %s, which is named twice", r.file, r.state.Run, p.Name)
		}
		at = i
	}
	if at < 0 {
		return nil, tool.Hint(fmt.Errorf("%s: run %s goes on in %s, which is no source", r.file, r.state.Run, cmp.Or(p.Name, "a source without a name")),
			"name the sources of the run as before")
	}
	sources = sources[at:]
	s := &sources[0]
	s.from = &point{offset: p.Offset}
	if s.object != nil {
		if p.Tag != "" && s.object.Tag != p.Tag {
			return nil, fmt.Errorf("%s: has changed since the run was read from it: it is version %s, and was %s", s.name, cmp.Or(s.object.Tag, "unknown"), p.Tag)
		}
		if c.cli.Save == "" {
			if err := c.lookAhead(s); err != nil {
				return nil, err
			}
		}
	}
	unit := "byte"
	if s.sim() {
		unit = "word"
	}
	c.env.Say("%s: run %s goes on at record %d, %s %d of %s; %s", r.file, r.state.Run, p.Number, unit, p.Offset, p.Name, r.written())
	return sources, nil
}

// written says what is done already.
func (r *resumption) written() string {
	if s := &r.state; s.Epoch > 0 || s.Orbit > 0 {
		return fmt.Sprintf("results are written up to epoch %d, orbit %d", s.Epoch, s.Orbit)
	}
	return fmt.Sprintf("%d records are there", r.state.Next)
}

// reached says what is wrong if the sources end before the results do: they are not those of the run.
func (r *resumption) reached(number uint64) error {
	if number >= r.state.Next {
		return nil
	}
	return tool.Hint(fmt.Errorf("%s: %d records of run %s are written, but the sources end behind %d", r.file, r.state.Next, r.state.Run, number),
		"are they the same as before?")
}

// is reports whether marks call a source so.
func (s source) is(name string) bool {
	switch {
	case s.object != nil:
		return s.name == name
	case s.name == "-":
		return name == stdinName
	case s.sim():
		cfg, err := parseSim(strings.TrimPrefix(s.name, "sim:"))
		return err == nil && cfg.String() == name
	}
	return filepath.Clean(s.name) == filepath.Clean(name)
}

// lookAhead looks at the beginning of an object, so that one that is not packed need not be read to the place where it is taken up.
func (c *cat) lookAhead(s *source) error {
	in, err := c.lookInto(*s)
	if err != nil {
		return err
	}
	in.Close()
	if in.packed == "" {
		s.from.like = in
	}
	return nil
}

// goOn makes an input, whose beginning has been looked at, begin at a point.
func (in *input) goOn(at *point) error {
	err := in.skipTo(at.offset)
	if errors.Is(err, io.EOF) {
		err = tool.Hint(fmt.Errorf("%s: has only %d bytes, and byte %d is where the run goes on", in.name, in.skipped, at.offset), "is it the same as before?")
	}
	in.from = at.offset
	return err
}

// skipTo leaves out what is before an offset. It returns io.EOF if there is not so much, and then skipped says how much there is.
func (in *input) skipTo(offset uint64) error {
	if offset < in.skipped {
		return fmt.Errorf("%s: the run goes on at byte %d, which is inside its header: it is not the same as before", in.name, offset)
	}
	if in.packed == "" && in.file != nil {
		info, err := in.file.Stat()
		if err == nil && info.Mode().IsRegular() && in.name != stdinName {
			if uint64(info.Size()) < offset {
				in.skipped = uint64(info.Size())
				return io.EOF
			}
			if _, err := in.file.Seek(int64(offset), io.SeekStart); err != nil {
				return tool.Plain(err)
			}
			in.count.n.Store(int64(offset))
			in.r.Reset(in.count)
			if in.follow != nil {
				in.follow.at = int64(offset)
			}
			in.skipped = offset
			return nil
		}
	}
	n, err := io.CopyN(io.Discard, in.r, int64(offset-in.skipped))
	in.skipped += uint64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return in.failure(err)
	}
	return err
}

// complete writes a stream of a run that is complete.
func (c *cat) complete(w *wire.Writer) error {
	s := &c.resumed.state
	c.env.Say("%s: run %s is complete, with %d records; nothing is read", c.resumed.file, s.Run, s.Next)
	lane := c.resumed.lane("")
	at := &wire.Frame{First: s.Next, Next: s.Next, Horizon: lane.FloorOrbit, Epoch: s.Epoch, Open: s.Epoch, End: wire.End{Read: s.Next}}
	return errors.Join(w.Preamble(), w.Lane(at, &lane), w.End(at), w.Flush())
}
