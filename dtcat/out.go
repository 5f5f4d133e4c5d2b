package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// A sink is what the records go to: a stream, or text.
type sink interface {
	add(b batch) error
	at(name, tag string, offset uint64) // all records so far came from before this place
	mark() error
	flush() error
	end(why string, interrupted bool) error // why: empty when the sources are exhausted
}

// openOut opens the output when the first input is known.
func (c *cat) openOut(in *input) error {
	switch {
	case c.out != nil:
		return nil
	case c.w == nil:
		c.out = c.newTextSink(in.form())
		return nil
	}
	name := c.cli.Run
	if name == "" {
		name = strings.ToLower(rand.Text()[:16])
	}
	lane, at := wire.Lane{Run: name, K: 1, N: 1, Form: in.form()}, &wire.Mark{Partition: wire.NoPartition}
	if c.resumed != nil {
		lane, at = c.resumed.lane(in.form()), c.resumed.mark()
	}
	src, err := wire.ResumeSource(c.w, lane, c.env.Name, c.cli.Lateness, at)
	if err != nil {
		return err
	}
	c.out = &streamSink{src: src}
	return nil
}

// form is what the stream says of its source, so that it can be turned back.
func (in *input) form() string {
	switch {
	case in.sim:
		return wire.FormSim
	case in.format == formatCSV && in.header:
		return wire.FormHeader
	case in.format == formatCSV:
		return wire.FormCSV
	case in.format == formatJSON:
		return wire.FormJSON
	case in.format == formatRaw:
		return wire.FormRaw
	case in.format == formatLCP, in.format == formatLCPRaw:
		return wire.FormLCP
	}
	return ""
}

// A streamSink writes a stream.
type streamSink struct {
	src         *wire.Source
	words, hits int // hits: counted up to the first only
	bad         []wire.Bad
}

func (s *streamSink) add(b batch) error {
	s.words += len(b.words)
	if s.hits == 0 && slices.ContainsFunc(b.words, hit.IsHit) {
		s.hits = 1
	}
	s.bad = s.bad[:0]
	for i := range b.bad {
		s.bad = append(s.bad, wire.Bad{Record: b.bad[i].Record - b.first, Reason: b.bad[i].Class})
	}
	return s.src.Add(b.words, s.bad)
}

func (s *streamSink) at(name, tag string, offset uint64) {
	s.src.At(name, tag, wire.NoPartition, offset)
}
func (s *streamSink) mark() error  { return errors.Join(s.src.Mark(time.Now()), s.src.Flush()) }
func (s *streamSink) flush() error { return s.src.Flush() }

func (s *streamSink) end(why string, interrupted bool) error {
	return s.src.End(wire.End{Stopped: why != "", Why: why}, interrupted)
}

// A textSink writes words as text, or raw.
type textSink struct {
	w      *bufio.Writer
	to     string
	buf    []byte
	header bool // to be written before the first row

	columns []string // more columns of CSV
	m       *hit.Map // of the stream that is read, or the default one
}

// The columns that --columns can add.
var moreColumns = []string{"CHAMBER", "LAYER", "WIRE", "T_NS"}

func (c *cat) newTextSink(form string) *textSink {
	s := &textSink{w: bufio.NewWriterSize(c.env.Stdout, 256<<10), to: c.cli.To, m: hit.DefaultMap()}
	s.header = s.to == "csv" && (c.cli.Header == "yes" || c.cli.Header == "auto" && form != wire.FormCSV)
	if c.cli.Columns != "" {
		s.columns = c.cli.columns()
	}
	return s
}

func (s *textSink) add(b batch) error {
	if s.header {
		s.header = false
		line := hit.Header
		for _, name := range s.columns {
			line += "," + name
		}
		if _, err := s.w.WriteString(line + "\n"); err != nil {
			return err
		}
	}
	const piece = 2048 // words that are made text at a time
	for i := 0; i < len(b.words); i += piece {
		part := b.words[i:min(i+piece, len(b.words))]
		text := s.buf[:0]
		switch {
		case s.to == "csv" && len(s.columns) > 0:
			for k, w := range part {
				code := s.m.Of(w)
				if b.chambers != nil {
					code = b.chambers[i+k]
				}
				text = hit.AppendCSV(text, w)
				text = s.appendColumns(text[:len(text)-1], w, code)
			}
		case s.to == "csv":
			for _, w := range part {
				text = hit.AppendCSV(text, w)
			}
		case s.to == "json":
			for _, w := range part {
				text = hit.AppendJSON(text, w)
			}
		default:
			for _, w := range part {
				text = append(text, byte(w), byte(w>>8), byte(w>>16), byte(w>>24), byte(w>>32), byte(w>>40), byte(w>>48), byte(w>>56))
			}
		}
		s.buf = text
		if _, err := s.w.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// appendColumns appends the columns of a word of that chamber. Words in no chamber have no layer and wire, ancillary words no time.
func (s *textSink) appendColumns(b []byte, w uint64, code uint8) []byte {
	inChamber := code != hit.NoChamber && code != hit.Scintillator
	for _, name := range s.columns {
		b = append(b, ',')
		switch {
		case name == "CHAMBER":
			b = strconv.AppendInt(b, int64(code), 10)
		case name == "LAYER" && inChamber:
			b = strconv.AppendInt(b, int64(s.m.Layer(hit.Channel(w))), 10)
		case name == "WIRE" && inChamber:
			b = strconv.AppendInt(b, int64(hit.Wire(hit.Channel(w))), 10)
		case name == "T_NS" && hit.IsHit(w):
			b = hit.AppendNS(b, hit.Ticks(w)*hit.DriftPerTick)
		}
	}
	return append(b, '\n')
}

func (s *textSink) at(string, string, uint64) {}
func (s *textSink) mark() error               { return nil }
func (s *textSink) flush() error              { return s.w.Flush() }

func (s *textSink) end(string, bool) error {
	if s.header {
		if err := s.add(batch{}); err != nil {
			return err
		}
	}
	return s.w.Flush()
}

// nowhere is for words that are only kept with --save.
type nowhere struct{}

func (nowhere) add(batch) error           { return nil }
func (nowhere) at(string, string, uint64) {}
func (nowhere) mark() error               { return nil }
func (nowhere) flush() error              { return nil }
func (nowhere) end(string, bool) error    { return nil }

// stream takes a source that is a stream already: its frames go on as they are, or as text.
func (c *cat) stream(k *chunk) (ending, error) {
	defer func() {
		c.progress.inputDone()
		c.streamed <- struct{}{}
	}()
	if c.resumed != nil {
		return 0, tool.Hint(&tool.UsageError{Msg: k.in.name + ": --resume-from is for words, and this is a stream already"}, "resume the dtcat that writes it")
	}
	if c.w != nil && c.out != nil {
		c.env.Say("%s: a stream, after sources with words; they can't be one run (hint: dtcat it by itself)", k.in.name)
		c.failed = true
		return exhausted, nil
	}
	if c.w != nil && (c.cli.Limit > 0 || c.cli.Loop || c.pace.active()) {
		return 0, &tool.UsageError{Msg: k.in.name + ": --limit, --loop, --rate and --speed are for words, and this is a stream already"}
	}
	if k.in.follow != nil {
		return 0, tool.Hint(&tool.UsageError{Msg: k.in.name + ": --follow is for words, and this is a stream already"}, "tail -c +1 -f FILE | dtcat")
	}
	stopped := false
	in := wire.NewInput(k.in.file, c.env.StopFD())
	k.in.count.wait = func() error {
		err := in.Await(func() (time.Duration, error) {
			c.progress.add(c.records)
			if c.w != nil {
				return progressEvery, c.w.Flush()
			}
			return progressEvery, c.flush()
		})
		stopped = stopped || errors.Is(err, wire.ErrStopped)
		return err
	}
	src := wire.NewReader(k.in.r)
	tell := func(err error) { c.env.Say("%s: %v", k.in.name, err) }
	var err error
	if c.w != nil {
		err = wire.Copy(c.w, src, tell, func(f *wire.Frame) error {
			if f.Kind == wire.KindWords || f.Kind == wire.KindLate {
				c.records += uint64(len(f.Words))
			}
			c.progress.add(c.records)
			return c.w.Pass(f)
		})
		c.ended = stopped // Copy has written it
	} else {
		err = c.streamToText(k, src, tell)
	}
	k.in.endPipe()
	if k.in.broke != nil && !stopped {
		c.fail(k.in.broke)
		return broke, nil
	}
	var cut *wire.CutError
	var format *wire.FormatError
	switch {
	case errors.As(err, &cut):
		c.failed = true
	case errors.As(err, &format):
		c.env.Say("%s: %v", k.in.name, err)
		c.failed = true
	case errors.Is(err, errLimit):
		return limited, nil
	case stopped && err == nil || errors.Is(err, wire.ErrStopped):
		return interrupted, nil
	case err != nil:
		return 0, err
	}
	return exhausted, nil
}

// useMap sets the map of the words that come next, if they become text.
func (c *cat) useMap(m *hit.Map) {
	if s, ok := c.out.(*textSink); ok {
		s.m = m
	}
}

var errLimit = errors.New("limit")

// streamToText writes the words of a stream as text.
func (c *cat) streamToText(k *chunk, src *wire.Reader, tell func(error)) error {
	cuts := 0
	tracks := map[wire.ID]*wire.Track{} // what comes twice is written once
	doubled := uint64(0)
	defer func() {
		if doubled > 0 {
			c.env.Say("%s: %d records came twice, and are written once (or another run has the same name)", k.in.name, doubled)
		}
		c.useMap(hit.DefaultMap()) // the next source may have none
	}()
	for {
		f, err := src.Next()
		switch {
		case errors.Is(err, io.EOF):
			if cuts > 0 {
				return &wire.CutError{Lanes: cuts}
			}
			return nil
		case err != nil:
			return err
		}
		switch f.Kind {
		case wire.KindCut:
			cuts++
			tell(fmt.Errorf("%s was cut at record %d: no end frame", f.Lane.ID(), f.Next))
		case wire.KindLane:
			if c.out == nil {
				c.out = c.newTextSink(f.Lane.Form)
			}
			if f.Lane.Map == 0 {
				c.useMap(hit.DefaultMap())
			}
			if tracks[f.Lane.ID()] == nil {
				tracks[f.Lane.ID()] = wire.NewTrack(f.Lane)
			}
		case wire.KindMap:
			m, err := hit.ParseMap(f.Payload())
			if err != nil {
				return err
			}
			c.useMap(m)
		case wire.KindWords, wire.KindLate:
			_, _, again := tracks[f.Lane.ID()].Admit(f)
			doubled += again
			end, err := c.hand(k, batch{words: f.Words, chambers: f.Chambers})
			switch {
			case err != nil:
				return err
			case end == limited:
				return errLimit
			case end == interrupted:
				return wire.ErrStopped
			}
		}
	}
}
