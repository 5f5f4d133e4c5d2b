package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

type produceCmd struct {
	Topic       string `arg:"" env:"-" help:"The topic; it must exist (dtkafka topics create)."`
	As          string `default:"auto" enum:"auto,json,csv" placeholder:"auto" help:"Of a stream: auto: frames; json, csv: a message a word, as the first producers wrote them."`
	Resume      bool   `env:"-" help:"Go on with the run that is in the topic: what is there of the stream, which is read again, is left out."`
	Compression string `default:"none" enum:"none,gzip,zstd" placeholder:"none" help:"none gzip zstd. The published readers take none and gzip."`
	Progress    string `default:"auto" enum:"auto,yes,no" placeholder:"auto" help:"Progress line: yes no, auto: on a terminal."`

	connection `embed:""`
}

const produceUsage = "dtcat FILE | dtkafka produce TOPIC"

const (
	// tellEvery is how long a quiet lane may not know how far the run has come; with very many lanes it is longer.
	tellEvery = 20 * time.Millisecond
	// lookEvery is how often it is looked, while nothing comes in, whether the producer has failed.
	lookEvery = time.Second
)

// A produce is one run of dtkafka produce.
type produce struct {
	env  *tool.Env
	cmd  *produceCmd
	in   *wire.Input
	out  *producer
	show *progress

	lanes   map[wire.ID]*wire.Splitter // nil: exhausted
	open    map[wire.ID]bool           // have no end yet
	told    time.Time                  // when quiet lanes were told how far the run has come
	words   *wordSpreader              // with --as
	tracks  map[wire.ID]*wire.Track    // of these: what comes twice is sent once
	doubled uint64
	written *written         // with --resume, from the first lane on
	there   map[wire.ID]bool // lanes that are in the topic, all of them
	cuts    int              // and lanes that went on behind their end
	lines   uint64
}

func (c *produceCmd) run(env *tool.Env) error {
	if c.Resume && c.As != "auto" {
		return &tool.UsageError{Msg: "--resume and --as " + c.As + " exclude each other: messages of words do not say their numbers"}
	}
	env.Stage()
	in, err := env.In(produceUsage)
	if err != nil {
		return err
	}
	cluster, err := c.open(env)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := &produce{env: env, cmd: c, in: in, lanes: map[wire.ID]*wire.Splitter{}, open: map[wire.ID]bool{}, tracks: map[wire.ID]*wire.Track{}, there: map[wire.ID]bool{}}
	if p.out, err = p.connect(ctx, cluster); err != nil {
		return err
	}
	env.OnStop(p.out.stopping)
	p.show = newProgress(env, c.Progress)
	err = p.read()
	if end := p.finish(); end != nil && errors.Is(err, end) {
		err = end // which read has seen first
	} else {
		err = errors.Join(err, end)
	}
	p.show.done()
	if p.doubled > 0 {
		env.Say("%s: %d records came twice, and were sent once", c.Topic, p.doubled)
	}
	if p.cuts > 0 && err == nil {
		return tool.ErrTold
	}
	return err
}

// connect waits for the brokers, unless the program is stopped before.
func (p *produce) connect(ctx context.Context, c *cluster) (*producer, error) {
	starting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	p.env.OnStop(func() { stop(errors.New("stopped before a broker was there")) })
	retry := c.retrier("")
	topic, err := c.topic(starting, retry, p.cmd.Topic)
	if err == nil && topic.maxMessage-batchMost < wire.MinMessage {
		err = tool.Hint(fmt.Errorf("%s: max.message.bytes is %d, too little for frames", topic.name, topic.maxMessage), "dtkafka topics create has --max-message")
	}
	var out *producer
	if err == nil {
		out, err = newProducer(ctx, starting, p.env, c, topic, parseCodec(p.cmd.Compression))
	}
	if err != nil && starting.Err() != nil {
		err = context.Cause(starting)
	}
	return out, err
}

// read takes the input to its end.
func (p *produce) read() error {
	head, err := p.in.Peek(1)
	if err == nil && len(head) > 0 && head[0] == 0xD7 {
		head, err = p.in.Peek(wire.PreambleSize)
	}
	switch {
	case errors.Is(err, wire.ErrStopped):
		return nil
	case err != nil:
		return err
	case len(head) == 0:
		return tool.Hint(errors.New("input is empty, neither a stream nor lines"), "did the program before this one fail?")
	case wire.IsStream(head):
		return p.stream()
	case p.cmd.As != "auto":
		return tool.Hint(fmt.Errorf("--as %s wants a stream, but input is %s", p.cmd.As, tool.Sniff(head)), produceUsage)
	case p.cmd.Resume:
		return tool.Hint(fmt.Errorf("--resume wants a stream, but input is %s", tool.Sniff(head)), "for lines it is left out: they say themselves what they are of")
	}
	switch what := tool.Sniff(head); what {
	case tool.Binary, tool.Gzip, tool.Zstd:
		return tool.Hint(fmt.Errorf("input is %s, neither a stream nor lines", what), produceUsage)
	}
	return p.textLines()
}

// stream takes frames.
func (p *produce) stream() error {
	src := wire.NewReader(p.in)
	src.OnWait = func() error { return p.in.Await(p.idle) }
	if p.cmd.As != "auto" {
		p.words = newWordSpreader(p.out, p.cmd.As)
	}
	for {
		f, err := src.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, wire.ErrStopped):
			return p.stop()
		case err != nil:
			return p.env.InputError(err, produceUsage)
		}
		if err := p.frame(f); err != nil {
			return err
		}
		p.progress()
	}
}

// progress shows what was acknowledged.
func (p *produce) progress() { p.show.update(p.out.messages.Load(), p.out.bytes.Load(), -1) }

// frame takes one frame.
func (p *produce) frame(f *wire.Frame) error {
	switch f.Kind {
	case wire.KindStream:
		return nil
	case wire.KindCut:
		p.cuts++
		p.env.Say("standard input: %s was cut at record %d: no end frame (did the program before this one die?)", f.Lane.ID(), f.Next)
		delete(p.open, f.Lane.ID())
		if s := p.lanes[f.Lane.ID()]; s != nil {
			return s.Flush()
		}
		return nil
	}
	id := f.Lane.ID()
	if p.words != nil {
		return p.asWords(id, f)
	}
	s, known := p.lanes[id]
	switch {
	case p.there[id]:
		return nil
	case !known:
		var err error
		if s, err = p.splitter(f.Lane); s == nil || err != nil {
			return err
		}
		p.lanes[id] = s
	case s == nil:
		if f.Kind == wire.KindLane {
			p.cuts++
			p.env.Say("standard input: %s goes on behind its end; left out (was the same stream read twice?)", id)
		}
		return nil
	}
	if err := s.Add(f); err != nil {
		if p.out.ctx.Err() == nil {
			err = fmt.Errorf("%s: %s: %w", p.cmd.Topic, id, err)
		}
		return err
	}
	p.open[id] = f.Kind != wire.KindEnd
	if f.Kind == wire.KindEnd && !f.End.Stopped {
		p.lanes[id] = nil // with its memory: there may be very many runs
		delete(p.open, id)
	}
	return nil
}

// asWords sends the words of a frame as the first producers did.
func (p *produce) asWords(id wire.ID, f *wire.Frame) error {
	switch f.Kind {
	case wire.KindLane:
		if p.tracks[id] == nil {
			p.tracks[id] = wire.NewTrack(f.Lane)
		}
	case wire.KindWords, wire.KindLate:
		_, _, doubled := p.tracks[id].Admit(f)
		p.doubled += doubled
		return p.words.words(f.Words)
	}
	return nil
}

// splitter returns what makes messages of a lane: a whole run is divided over the partitions, a part of one goes to the partition of its number. It returns nil
// for a lane that is in the topic already.
func (p *produce) splitter(l *wire.Lane) (*wire.Splitter, error) {
	n := p.out.partitions()
	up, err := p.takeUp(l)
	if err != nil || p.there[l.ID()] {
		return nil, err
	}
	if up != nil && up.run != l.Run {
		other := *l
		other.Run = up.run
		l = &other
	}
	s := wire.NewSplitter(l, n, p.out.limit())
	if up != nil {
		s.Continue(up.at, up.have, up.ended)
		s.Known = func(k int, number, word uint64) error {
			if sample := up.samples[k]; sample != nil && !sample.same(number, word) {
				return tool.Hint(fmt.Errorf("record %d of lane %d is another one there: this is not the stream that was sent before", number, k+1),
					"without --resume it is sent as a run of its own")
			}
			return nil
		}
	}
	s.Send = func(k int, value []byte, next uint64) error {
		return p.out.send(k, time.Now().UnixMilli(), value, next)
	}
	if l.N > 1 {
		to := int(l.K-1) % n
		s.Send = func(_ int, value []byte, next uint64) error {
			return p.out.send(to, time.Now().UnixMilli(), value, next)
		}
	}
	return s, nil
}

// takeUp says how a lane goes on with what is in the topic, with --resume; nil: not at all.
func (p *produce) takeUp(l *wire.Lane) (*taken, error) {
	if !p.cmd.Resume {
		return nil, nil //nolint:nilnil // nothing is taken up
	}
	ctx, cancel := context.WithCancelCause(p.out.ctx)
	defer cancel(nil)
	p.env.OnStop(func() { cancel(errors.New("stopped before it was known what is in the topic")) })
	var err error
	if p.written == nil {
		p.written, err = readWritten(ctx, p.out.cluster, p.out.topic)
	}
	var up *taken
	if err == nil {
		up, err = p.written.takeUp(ctx, l)
	}
	switch {
	case errors.Is(err, errComplete):
		p.there[l.ID()] = true
		if l.N == 1 {
			p.env.Say("%s: %s is there already, complete; nothing is sent", p.cmd.Topic, l.ID())
		}
		return nil, nil //nolint:nilnil // nothing is taken up
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", p.cmd.Topic, err)
	case up != nil && up.said != "":
		p.env.Say("%s: %s", p.cmd.Topic, up.said)
	}
	return up, nil
}

// idle sends out what there is, before waiting for more, and tells quiet lanes how far the run has come.
func (p *produce) idle() (time.Duration, error) {
	p.progress()
	every := max(tellEvery, time.Duration(p.out.partitions())*time.Millisecond)
	due := time.Until(p.told.Add(every))
	wait := lookEvery
	for id, s := range p.lanes {
		if !p.open[id] {
			continue
		}
		if err := s.Flush(); err != nil {
			return 0, err
		}
		switch {
		case !s.Behind():
		case due > 0:
			wait = due
		default:
			if err := s.Tell(); err != nil {
				return 0, err
			}
			p.told = time.Now()
		}
	}
	p.out.flush()
	return wait, p.out.failed()
}

// stop ends the lanes of an input that was stopped.
func (p *produce) stop() error {
	for id, s := range p.lanes {
		if p.open[id] {
			if err := s.Stop("stopped by a signal"); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish waits until all is acknowledged.
func (p *produce) finish() error {
	for _, s := range p.lanes {
		if s != nil && s.Flush() != nil {
			break // close says why
		}
	}
	err := p.out.close()
	if err == nil {
		return nil
	}
	what := "message"
	if len(p.lanes) > 0 {
		what = "record"
	}
	p.env.Say("%s: %s", p.cmd.Topic, p.out.acknowledged(what))
	return err
}

// textLines takes lines, one message each.
func (p *produce) textLines() error {
	lines := tool.NewLines(p.in, min(hist.MaxLine, p.out.limit()))
	lines.OnWait = p.idle
	skipped, links := 0, false
	for {
		text, number, err := lines.Next()
		var long *tool.LongLineError
		switch {
		case errors.As(err, &long):
			p.env.Say("standard input:%d: %v, more than a message of %s can be; it is left out", number, err, p.cmd.Topic)
			if skipped++; links {
				return errBroken
			}
			continue
		case errors.Is(err, io.EOF), errors.Is(err, wire.ErrStopped):
			if skipped > 0 {
				return tool.ErrTold
			}
			return nil
		case err != nil:
			return err
		case lines.Open() && text[0] == '{' && !json.Valid(text):
			p.env.Say("standard input:%d: the last line is torn, and left out (did the program before this one die?)", number)
			return tool.ErrTold
		}
		p.lines++
		partial := isPartial(text)
		if links = links || partial; links && skipped > 0 {
			return errBroken
		}
		p.out.lanes[0].alone.Store(!partial && bytes.HasPrefix(text, []byte(`{"Index"`)))
		if err := p.out.send(p.lineTo(text, partial), time.Now().UnixMilli(), text, p.lines); err != nil {
			return err
		}
		p.progress()
	}
}

// errBroken is why nothing is sent behind a line of a lane that can't be: whoever takes the lane up begins behind what is there, and would never write that line.
var errBroken = tool.Hint(errors.New("the lines behind it would be taken for all there is"), "dtkafka topics create has --max-message; fewer bins make shorter lines")

// isPartial reports whether a line is of one lane.
func isPartial(text []byte) bool {
	return bytes.HasPrefix(text, []byte(`{"Progress": 1`)) || bytes.Contains(text, []byte(`"Partial": 1`))
}

// lineTo returns the partition of a line: of a partial line that of the messages that it is made of, so that who reads those finds it, or of its lane; the
// first for all others, so that they stay in order.
func (p *produce) lineTo(text []byte, partial bool) int {
	n := p.out.partitions()
	if n == 1 || !partial {
		return 0
	}
	if from, ok := resumesFrom(text); ok {
		return from % n
	}
	if l, err := hist.ParseLine(text); err == nil && l.Lane[0] > 0 {
		return (l.Lane[0] - 1) % n
	}
	return 0
}

// resumesFrom returns which partition the lane of a line comes from, if the line says so. It reads no more of it than that.
func resumesFrom(text []byte) (partition int, ok bool) {
	key := []byte(`, "Resume": [`)
	i := bytes.LastIndex(text, key)
	if i < 0 {
		return 0, false
	}
	var lane struct {
		Place *struct{ Partition *int32 }
	}
	if json.NewDecoder(bytes.NewReader(text[i+len(key):])).Decode(&lane) != nil || lane.Place == nil || lane.Place.Partition == nil || *lane.Place.Partition < 0 {
		return 0, false
	}
	return int(*lane.Place.Partition), true
}
