package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// wordOptions are what the flags say of a topic with a word in each message.
type wordOptions struct {
	run      string   // name of the lane's run; default: a random one
	rejects  *os.File // where messages that are no words are kept, or nil
	strict   bool     // stop at the first of them
	lateness int64
	now      func() time.Time
}

// A wordsOutput makes the words of a topic, one in each message, one lane: it merges the partitions by time, decodes the messages, and is the source
// that numbers and judges them. Each message has a number, also one that is no word, and each one that is gone. So the lane, and what is
// said of its place, can be made again from the log.
//
// The place that is kept for a partition is that of its next message; with the lowest partition goes what the source and the
// merger knew there, and with all of them the lane's number, so that places that do not belong together are found out.
type wordsOutput struct {
	env   *tool.Env
	w     *wire.Writer
	topic string
	opt   wordOptions
	form  string

	m      *merger
	src    *wire.Source // nil: no lane is open
	lane   wire.Lane
	number uint64 // of the next record

	// Records that were merged and are not with the source yet.
	words   []uint64
	bad     []wire.Bad
	records int

	text    []byte // of messages that are decoded
	decoded []uint64
	faults  []hit.Bad
	line    []byte // of one that is decoded again
	one     []uint64

	refused refused // messages that are no words
	lost    refused // places where messages are gone
	named   bool    // a lane had a name already
	placed  lanePlace
	flushed lanePlace
	tag     []byte
	marked  time.Time
}

const (
	batchRecords = 8192 // are handed to the source at a time, or some more
	markEvery    = time.Second
)

// newWordsOutput returns the output of a topic that has words as JSON or CSV.
func newWordsOutput(env *tool.Env, w *wire.Writer, topic string, as content, opt wordOptions) output {
	if opt.now == nil {
		opt.now = time.Now
	}
	o := &wordsOutput{env: env, w: w, topic: topic, opt: opt, form: wire.FormCSV, m: newMerger(),
		refused: refused{env: env, topic: topic, what: "word"}, lost: refused{env: env, topic: topic}}
	if as == contentJSON {
		o.form = wire.FormJSON
	}
	o.m.byOrbit, o.m.grace, o.m.load, o.m.emit = true, mergeGrace, o.load, o.emit
	return o
}

func (o *wordsOutput) begin(from map[int]place) error {
	if o.src != nil {
		if o.goesOn(from) {
			o.m.begin(from)
			return nil
		}
		why := "the partitions were given up"
		if len(from) > 0 {
			why = "the partitions were read by another in between"
		}
		if err := o.close(why, true); err != nil {
			return err
		}
	}
	o.m.begin(nil)
	o.placed, o.flushed = lanePlace{}, lanePlace{}
	if len(from) == 0 {
		return nil
	}
	o.m.begin(from)
	return o.open(from)
}

// goesOn reports whether the lane that is open goes on: all partitions are ours still, and no one has read them further.
func (o *wordsOutput) goesOn(from map[int]place) bool {
	return len(from) == len(o.m.parts) && !slices.ContainsFunc(o.m.parts, func(p *mergePart) bool {
		at, ok := from[p.id]
		return !ok || !p.resumes(at)
	})
}

// open opens the lane that the places belong to, or a new one.
func (o *wordsOutput) open(from map[int]place) error {
	at, err := readLanePlace(from)
	if err == nil && at != nil {
		if o.opt.run == "" || at.Run == o.opt.run {
			o.lane = wire.Lane{Run: at.Run, K: 1, N: 1, Form: o.form, FloorNumber: at.Next}
			o.m.last = at.Last
			err = o.resume(&wire.Mark{Number: at.Next, Source: at.Next, Serial: at.Serial, State: at.state, Partition: wire.NoPartition})
			if err == nil {
				return nil
			}
		} else {
			err = fmt.Errorf("the places that are kept are of run %s", at.Run)
		}
	}
	if err != nil {
		o.env.Say("%s: %v; a new run begins", o.topic, err)
	}
	o.lane = wire.Lane{Run: o.opt.run, K: 1, N: 1, Form: o.form}
	if o.opt.run == "" || o.named {
		// A name is not used for two lanes: who reads them tells doubles by their numbers.
		o.lane.Run = strings.ToLower(rand.Text()[:16])
	}
	o.m.forget()
	return o.resume(&wire.Mark{Partition: wire.NoPartition})
}

// resume has a source go on with the lane at a mark.
func (o *wordsOutput) resume(m *wire.Mark) error {
	src, err := wire.ResumeSource(o.w, o.lane, o.env.Name, o.opt.lateness, m)
	if err != nil {
		return err
	}
	o.src, o.number, o.named, o.marked = src, m.Number, true, o.opt.now()
	o.note()
	o.flushed.copy(&o.placed) // nothing is before it that is not written
	return nil
}

func (o *wordsOutput) take(f *fetched) error {
	if o.src == nil {
		f.release()
		return nil
	}
	now := o.opt.now()
	if err := o.m.take(f, now); err != nil {
		return err
	}
	return o.advance(now)
}

func (o *wordsOutput) done(partition int) error {
	o.m.done(partition)
	return o.advance(o.opt.now())
}

func (o *wordsOutput) idle() (time.Duration, error) {
	now := o.opt.now()
	if err := o.advance(now); err != nil || o.src == nil {
		return 0, err
	}
	if err := o.flush(); err != nil {
		return 0, err
	}
	wait := max(time.Millisecond, o.marked.Add(markEvery).Sub(now))
	if o.m.wait > 0 {
		wait = min(wait, o.m.wait)
	}
	return wait, nil
}

// advance hands on what can be.
func (o *wordsOutput) advance(now time.Time) error {
	if o.src == nil {
		return nil
	}
	for more := true; more; {
		var err error
		if more, err = o.m.step(now); err != nil {
			return err
		}
		if o.records >= batchRecords || !more {
			if err := o.commit(); err != nil {
				return err
			}
		}
	}
	if o.m.over() {
		return o.close("--until", false)
	}
	if now.Sub(o.marked) < markEvery {
		return nil
	}
	o.marked = now
	if err := o.src.Mark(now); err != nil {
		return err
	}
	return o.flush()
}

// emit takes what the merger hands on.
func (o *wordsOutput) emit(p *mergePart, items []mergeItem) (int, error) {
	for i := range items {
		it := &items[i]
		switch it.kind {
		case itemWord:
			o.words = append(o.words, it.word)
			o.records++
		case itemGap:
			if i > 0 {
				p.next = items[i-1].offset + 1
			}
			if err := o.gap(p, it); err != nil {
				return i + 1, err
			}
		case itemBad:
			b := &p.bad[p.badAt]
			p.badAt++
			o.bad = append(o.bad, wire.Bad{Record: o.records, Reason: b.class})
			o.records++
			p.next = it.offset + 1 // reject may end the lane here
			if err := o.reject(p.id, it.offset, b); err != nil {
				return i + 1, err
			}
		}
	}
	return len(items), nil
}

// reject tells of a message that is no word, and keeps it.
func (o *wordsOutput) reject(partition int, offset int64, b *badMessage) error {
	o.refused.tell(partition, offset, b.reason)
	if o.opt.rejects != nil {
		if _, err := o.opt.rejects.Write(b.text); err != nil {
			return err
		}
	}
	if !o.opt.strict {
		return nil
	}
	if err := o.commit(); err != nil {
		return err
	}
	if err := o.close("--strict, and a message is no word", false); err != nil {
		return err
	}
	return tool.ErrTold
}

// gap leaves out as many numbers as messages of a partition are gone, so that those who read the lane miss them. What is held is judged by what
// there was before.
func (o *wordsOutput) gap(p *mergePart, it *mergeItem) error {
	if err := o.commit(); err != nil {
		return err
	}
	o.lost.tell(p.id, p.next, fmt.Sprintf("%d messages from here on are gone (retention?)", it.word))
	why := fmt.Sprintf("%d messages of %s[%d] are gone", it.word, o.topic, p.id)
	if err := o.src.End(wire.End{Stopped: true, Why: why}, false); err != nil {
		return err
	}
	o.note()
	m := *o.src.Place()
	m.Number += it.word
	m.Source += it.word
	p.next = it.offset + 1
	return o.resume(&m)
}

// commit hands the records that were merged to the source.
func (o *wordsOutput) commit() error {
	if o.records == 0 {
		return nil
	}
	err := o.src.Add(o.words, o.bad)
	o.number += uint64(o.records)
	o.words, o.bad, o.records = o.words[:0], o.bad[:0], 0
	o.note()
	return err
}

// note tells the source how far the partitions have been read, and keeps the place if it is one.
func (o *wordsOutput) note() {
	o.tag = o.tag[:0]
	sum := int64(0)
	for _, p := range o.m.parts {
		sum += max(p.next, 0)
		if len(o.tag) <= wire.MaxText {
			o.tag = append(strconv.AppendInt(append(strconv.AppendInt(o.tag, int64(p.id), 10), ':'), p.next, 10), ' ')
		}
	}
	tag := ""
	if len(o.tag) <= wire.MaxText {
		tag = string(bytes.TrimSpace(o.tag))
	}
	o.src.At(o.topic, tag, wire.NoPartition, uint64(sum))
	if at := o.src.Place(); at.Number == o.number {
		o.placed.set(o.lane.Run, at, o.m)
	}
}

// flush writes what has been placed.
func (o *wordsOutput) flush() error {
	if err := o.src.Flush(); err != nil {
		return err
	}
	o.flushed.copy(&o.placed)
	return nil
}

// close ends the lane. Where it is interrupted, and may be taken up again at its place, what is held is left out; else that is judged by what there
// is, and the place is behind it.
func (o *wordsOutput) close(why string, interrupted bool) error {
	if err := o.src.End(wire.End{Stopped: true, Why: why}, interrupted); err != nil {
		return err
	}
	if !interrupted {
		o.note()
	}
	o.flushed.copy(&o.placed)
	o.src = nil
	return nil
}

func (o *wordsOutput) end(why string) error {
	if o.src != nil {
		if err := o.close(why, true); err != nil {
			return err
		}
	}
	o.m.drop()
	return totals(&o.refused, &o.lost)
}

func (o *wordsOutput) places() map[int]place { return o.flushed.places() }
