package main

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

// A linesOutput writes the messages of a topic as lines. Lines that are here are merged by their times; but one that is here does not wait for
// others that may still be on their way, and for a partition that does not answer only a moment.
type linesOutput struct {
	env     *tool.Env
	out     io.Writer
	m       *merger
	buf     []byte        // whole lines
	written map[int]int64 // of each partition, what is before was written
	now     func() time.Time
	topic   string
	from    bool   // each line says where it comes from
	anew    bool   // what follows begins at floor
	floor   []byte // a line, or nothing
	line    []byte

	refused refused // messages that are no lines
	lost    refused // places where messages are gone
}

const (
	linesPatience   = time.Second
	resumedPatience = 30 * time.Second
	linesBuffer     = 128 << 10
)

func newLinesOutput(env *tool.Env, out io.Writer, topic string) *linesOutput {
	o := &linesOutput{env: env, out: out, m: newMerger(), written: map[int]int64{}, now: time.Now, topic: topic,
		refused: refused{env: env, topic: topic, what: "line"}, lost: refused{env: env, topic: topic}}
	o.m.patience, o.m.load, o.m.emit = linesPatience, o.load, o.emit
	return o
}

// restart has the lines that follow begin anew behind a line, or without one; a line that says so comes before them.
// They wait longer for a partition that does not answer: a merge must not see some lanes far ahead of others.
func (o *linesOutput) restart(floor []byte) {
	o.anew, o.from, o.floor = true, true, floor
	o.m.patience = resumedPatience
}

func (o *linesOutput) begin(from map[int]place) error {
	if o.anew {
		o.m.begin(nil)
		o.line = appendLine(o.line[:0], o.floor)
		o.buf = append(hist.AppendFloor(o.buf, o.line), '\n')
		o.anew, o.floor = false, nil
	}
	o.m.begin(from)
	o.written = map[int]int64{}
	return o.flush()
}

func (o *linesOutput) take(f *fetched) error {
	now := o.now()
	if err := o.m.take(f, now); err != nil {
		return err
	}
	return o.advance(now)
}

func (o *linesOutput) done(partition int) error {
	o.m.done(partition)
	return o.advance(o.now())
}

func (o *linesOutput) idle() (time.Duration, error) {
	if err := o.advance(o.now()); err != nil {
		return 0, err
	}
	return o.m.wait, o.flush()
}

// advance hands on what can be.
func (o *linesOutput) advance(now time.Time) error {
	for {
		more, err := o.m.step(now)
		if err != nil || !more {
			return err
		}
		if len(o.buf) >= linesBuffer {
			if err := o.flush(); err != nil {
				return err
			}
		}
	}
}

// load lists what was fetched; its memory stays ours until all of it is handed on.
func (o *linesOutput) load(p *mergePart, f *fetched) error {
	first := f.next
	if len(f.messages) > 0 {
		first = f.messages[0].offset
	}
	if gone := min(f.gap, first-p.expect); gone > 0 {
		o.lost.tell(p.id, first-gone, fmt.Sprintf("%d messages from here on are gone (retention?)", gone))
	}
	for i := range f.messages {
		if v := &f.messages[i]; v.offset >= p.expect {
			p.items = append(p.items, mergeItem{time: v.time, offset: v.offset, word: uint64(i)})
		}
	}
	p.expect = max(p.expect, f.next)
	p.front = f
	return nil
}

// emit appends lines to the buffer until that is full.
func (o *linesOutput) emit(p *mergePart, items []mergeItem) (int, error) {
	for i := range items {
		v := p.front.messages[items[i].word].value
		switch reason := notLine(v); {
		case reason != "":
			o.refused.tell(p.id, items[i].offset, reason)
		case len(bytes.TrimSpace(v)) == 0:
		case o.from:
			o.line = appendLine(o.line[:0], v)
			o.buf = append(hist.AppendFrom(o.buf, o.line, o.topic, p.id, items[i].offset), '\n')
		default:
			o.buf = append(appendLine(o.buf, v), '\n')
		}
		if len(o.buf) >= linesBuffer {
			return i + 1, nil
		}
	}
	return len(items), nil
}

// notLine says why a message is no line of text, or nothing.
func notLine(v []byte) string {
	switch {
	case wire.IsStream(v):
		return "a piece of a hit stream, among lines"
	case len(v) > hist.MaxLine:
		return fmt.Sprintf("a line of %d bytes is longer than %d", len(v), hist.MaxLine)
	case !isText(v):
		return fmt.Sprintf("%d bytes that are no text", len(v))
	}
	return ""
}

// flush writes the lines that were collected, whole ones in each write.
func (o *linesOutput) flush() error {
	if len(o.buf) > 0 {
		if _, err := o.out.Write(o.buf); err != nil {
			return err
		}
		if o.buf = o.buf[:0]; cap(o.buf) > 8*linesBuffer {
			o.buf = nil
		}
	}
	for _, p := range o.m.parts {
		o.written[p.id] = p.next
	}
	return nil
}

func (o *linesOutput) end(string) error {
	if err := o.flush(); err != nil {
		return err
	}
	o.m.drop()
	return totals(&o.refused, &o.lost)
}

func (o *linesOutput) places() map[int]place {
	places := map[int]place{}
	for p, offset := range o.written {
		places[p] = place{Offset: offset}
	}
	return places
}
