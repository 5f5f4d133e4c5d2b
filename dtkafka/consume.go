package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

type consumeCmd struct {
	Topic      string        `arg:"" env:"-" help:"The topic."`
	From       string        `placeholder:"WHERE" help:"start, end, time:RFC3339 (default: end; --until, --group: start)."`
	Until      string        `placeholder:"WHERE" help:"end (of what is there now) or time:RFC3339. Default: never."`
	As         string        `default:"auto" enum:"auto,frames,json,csv,lines" placeholder:"auto" help:"What messages are: frames json csv (words) lines; auto: it shows."`
	Group      string        `placeholder:"NAME" help:"Share the partitions with others; the group keeps the place."`
	Session    time.Duration `default:"10s" help:"With --group: who is silent for so long has left."`
	Member     string        `placeholder:"NAME" help:"With --group: our name in it; who had it before is replaced."`
	State      string        `placeholder:"FILE" help:"Keep the place in FILE."`
	ResumeFrom string        `placeholder:"TOPIC" help:"Begin where the lines in TOPIC end, of the dthist behind this."`
	Run        string        `env:"-" hidden:""`
	Lateness   int64         `default:"${lateness}" hidden:""`
	Rejects    string        `placeholder:"FILE" help:"Keep messages that are no words; see --run --lateness --strict."`
	Strict     bool          `hidden:""`
	Progress   string        `default:"auto" enum:"auto,yes,no" placeholder:"auto" help:"Progress line: yes no, auto: on a terminal."`

	connection `embed:""`
}

const consumeUsage = "dtkafka consume TOPIC | dtfilter"

const (
	// saveEvery is how often the places are kept.
	saveEvery = time.Second
	// leaveTimeout is how long the last places may take to be kept.
	leaveTimeout = 3 * time.Second
	// untilGrace is how long behind the time of --until messages of before may still arrive.
	untilGrace = time.Second
)

// A where is a place in a topic, of --from and --until.
type where struct {
	kind string // "", start, end, time
	at   time.Time
}

func parseWhere(flag, text string, start bool) (where, error) {
	switch rest, endTime := strings.CutPrefix(text, "time:"); {
	case text == "" || text == "end" || text == "start" && start:
		return where{kind: text}, nil
	case endTime:
		at, err := time.Parse(time.RFC3339, rest)
		if err != nil {
			return where{}, &tool.UsageError{Msg: fmt.Sprintf("--%s: %q is no time as in time:2026-11-21T14:00:00Z", flag, rest)}
		}
		return where{kind: "time", at: at}, nil
	}
	possible := "end or time:2026-11-21T14:00:00Z"
	if start {
		possible = "start, " + possible
	}
	return where{}, &tool.UsageError{Msg: fmt.Sprintf("--%s %s: %s are possible", flag, text, possible)}
}

// A consume is one run of dtkafka consume.
type consume struct {
	env     *tool.Env
	cmd     *consumeCmd
	cluster *cluster
	retry   *retrier
	topic   *topicInfo
	from    where
	until   where
	member  membership
	content content
	out     output
	resume  *resume       // with --resume-from
	begun   map[int]place // where reading began when it was not known what the topic holds
	rejects *os.File
	show    *progress
	ctx     context.Context // over when the program is asked to stop
	lag     map[int]int64
	n       int64 // messages
	bytes   int64
}

func (c *consumeCmd) check() (from, until where, err error) {
	if from, err = parseWhere("from", c.From, true); err != nil {
		return
	}
	if until, err = parseWhere("until", c.Until, false); err != nil {
		return
	}
	switch {
	case c.Group != "" && c.State != "":
		err = &tool.UsageError{Msg: "--group and --state exclude each other: a group keeps its place with the brokers"}
	case c.Member != "" && c.Group == "":
		err = &tool.UsageError{Msg: "--member is a name within a --group"}
	case c.ResumeFrom != "" && c.ResumeFrom == c.Topic:
		err = &tool.UsageError{Msg: "--resume-from " + c.ResumeFrom + ": that is the topic that is read; the one with the lines of the dthist behind this is wanted"}
	case c.Lateness < 0 || c.Lateness > hit.MaxOrbit:
		err = &tool.UsageError{Msg: fmt.Sprintf("--lateness %d: 0 to %d orbits are possible", c.Lateness, int64(hit.MaxOrbit))}
	case c.Run != "" && wire.CheckRun(c.Run) != nil:
		err = &tool.UsageError{Msg: "--run: " + wire.CheckRun(c.Run).Error()}
	}
	if from.kind == "" {
		from.kind = "end"
		if until.kind != "" || c.Group != "" || c.State != "" || c.ResumeFrom != "" {
			from.kind = "start"
		}
	}
	return from, until, err
}

func (c *consumeCmd) run(env *tool.Env) error {
	from, until, err := c.check()
	if err != nil {
		return err
	}
	env.Source()
	env.EndWithReader()
	cluster, err := c.open(env)
	if err != nil {
		return err
	}
	r := &consume{env: env, cmd: c, cluster: cluster, retry: cluster.retrier(""), from: from, until: until, lag: map[int]int64{}}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	r.ctx = ctx
	env.OnStop(stop)
	if c.Rejects != "" {
		if r.rejects, err = os.Create(c.Rejects); err != nil {
			return err
		}
		defer r.rejects.Close()
	}
	r.show = newProgress(env, c.Progress)
	defer r.show.done()
	err = r.start()
	if err == nil {
		defer r.member.close()
		err = r.consume()
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil // before there was anything to end
	}
	return err
}

// start finds the topic, what is in it, and who reads which part.
func (r *consume) start() (err error) {
	if r.topic, err = r.cluster.topic(r.ctx, r.retry, r.cmd.Topic); err != nil {
		return err
	}
	if r.cmd.ResumeFrom != "" {
		lines, err := r.cluster.topic(r.ctx, r.retry, r.cmd.ResumeFrom)
		if err != nil {
			return err
		}
		r.resume = &resume{r: r, topic: lines}
	}
	if r.cmd.As != "auto" {
		r.content = content(r.cmd.As)
	} else if r.content, err = r.look(); err != nil {
		return err
	}
	switch {
	case r.cmd.Group != "":
		r.member, err = newGroup(r.env, r.cluster, r.cmd.Group, r.cmd.Member, r.topic.name, r.topic.partitions, r.cmd.Session)
	case r.cmd.State != "":
		r.member, err = newStateFile(r.cmd.State, r.topic.clusterID, r.topic.name, r.topic.partitions)
	default:
		r.member = newStandalone(r.topic.partitions)
	}
	if err != nil {
		return err
	}
	return r.open()
}

// open opens the output for what the topic's content is, if that is known.
func (r *consume) open() error {
	if r.content == "" {
		return nil
	}
	if r.resume != nil {
		if err := r.resume.checkContent(r.content); err != nil {
			return err
		}
	}
	if r.content == contentLines {
		if r.resume != nil {
			r.member.whole()
		}
		wire.Enlarge(r.env.Stdout)
		lines := newLinesOutput(r.env, r.env.Stdout, r.topic.name)
		if r.resume != nil {
			lines.restart(nil) // also who stands by has said what it is
		}
		r.out = lines
		return nil
	}
	w, err := r.env.BinaryOut(consumeUsage)
	if err != nil {
		return err
	}
	if r.content == contentFrames {
		r.out = newFramesOutput(r.env, w, r.topic.name)
		return nil
	}
	r.member.whole()
	r.out = newWordsOutput(r.env, w, r.topic.name, r.content,
		wordOptions{run: r.cmd.Run, rejects: r.rejects, strict: r.cmd.Strict, lateness: r.cmd.Lateness, now: time.Now})
	return nil
}

const (
	lookPartitions = 8    // that are looked into
	lookMessages   = 8    // of each end of each
	lookBytes      = 4096 // of each message
)

// look tells what a topic holds from messages at the beginnings and ends of some partitions.
func (r *consume) look() (content, error) {
	var values [][]byte
	for p := range min(r.topic.partitions, lookPartitions) {
		var first, end int64
		err := r.patiently(func() (err error) {
			first, end, err = r.cluster.offsets(r.ctx, r.topic.name, p)
			return err
		})
		if err != nil {
			return "", err
		}
		for _, at := range []int64{max(first, end-lookMessages), first} {
			if at == end {
				break
			}
			f := newFetcher(r.cluster, r.topic.name, p, r.topic.partitions, at, min(at+lookMessages, end), nil)
			f.most = fetchLeast
			to := new(fetched)
			if err := r.patiently(func() error { *to = fetched{}; return f.fetch(r.ctx, to) }); err != nil {
				return "", err
			}
			for _, m := range to.messages {
				values = append(values, m.value[:min(len(m.value), lookBytes)])
			}
		}
	}
	return recognise(values), nil
}

// patiently does what may want several tries.
func (r *consume) patiently(f func() error) error {
	for {
		err := f()
		if err == nil {
			r.retry.ok()
			return nil
		}
		if errors.Is(err, kafka.OffsetOutOfRange) {
			return nil // the log has moved; whoever reads it will say so
		}
		if err := r.retry.failed(r.ctx, err); err != nil {
			return err
		}
	}
}

// consume reads until the end.
func (r *consume) consume() error {
	first := true
	for {
		a, err := r.member.next(r.ctx)
		if err != nil {
			return r.finish(err)
		}
		end, err := r.assignment(a, first && len(a.from) > 0)
		for first = first && len(a.from) == 0; (end == endTime || end == endKnown) && err == nil; {
			end, err = r.assignment(a, false)
		}
		a.release()
		if end == endOver || err != nil {
			return r.finish(err)
		}
	}
}

// An ending is why reading what was assigned ends.
type ending int

const (
	endLost  ending = iota // it is another's now
	endOver                // --until, or a signal
	endTime                // the time of --until has come: now it is known which offsets that is
	endKnown               // now it is known what the topic holds, and so where to begin
)

// finish ends what is open, and returns why.
func (r *consume) finish(err error) error {
	why := "--until " + r.cmd.Until
	switch {
	case r.ctx.Err() != nil:
		why, err = "stopped by a signal", nil
	case err != nil:
		why = err.Error()
	}
	if r.out == nil {
		if err == nil && r.ctx.Err() == nil {
			r.env.Say("%s: nothing is there to read", r.topic.name)
		}
		return err
	}
	ended := r.out.end(why)
	return errors.Join(err, ended)
}

// assignment reads the partitions that we have.
func (r *consume) assignment(a *assignment, tell bool) (ending, error) {
	given := a.from
	if r.resume != nil && r.out != nil {
		var err error
		if given, err = r.resume.places(given); err != nil {
			return endLost, err
		}
	}
	from, until, err := r.resolve(given)
	if err != nil {
		return endLost, err
	}
	var clock <-chan time.Time
	if r.until.kind == "time" {
		if wait := time.Until(r.until.at.Add(untilGrace)); wait > 0 {
			clock = time.After(wait)
		}
	}
	if tell {
		r.tellFrom(given)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	arrived := make(chan *fetched)
	type ended struct {
		partition int
		err       error
	}
	ends := make(chan ended, len(from))
	running := 0
	clear(r.lag)
	for p, at := range from {
		f := newFetcher(r.cluster, r.topic.name, p, len(from), at.Offset, until[p], arrived)
		if r.content == contentJSON || r.content == contentCSV {
			f.wait = wordsWait
		}
		if clock != nil {
			f.latest = r.until.at.UnixMilli()
		}
		running++
		go func() { ends <- ended{p, f.run(ctx)} }()
	}
	defer func() {
		cancel()
		for ; running > 0; running-- {
			<-ends
		}
	}()
	begun := false
	begin := func() error {
		if r.out == nil || begun {
			return nil
		}
		begun = true
		return r.out.begin(from)
	}
	if err := begin(); err != nil {
		return endLost, err
	}
	saved := time.Now()
	save := func(ctx context.Context, last bool) error {
		saved = time.Now()
		if !begun {
			return nil
		}
		if _, err := r.out.idle(); err != nil {
			return err
		}
		err := a.save(ctx, r.out.places())
		if !errors.Is(err, errUnheard) && !errors.Is(err, errExpelled) {
			return err
		}
		if last && !errors.Is(err, kafka.FencedInstanceID) { // which is why we end
			r.env.Say("%v", err)
		}
		return nil // the next one says more, or who goes on there reads it again
	}
	leave := func() error {
		cancel()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), leaveTimeout)
		defer cancel()
		return save(ctx, true)
	}
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	var wake <-chan time.Time
	for {
		if running == 0 && len(from) > 0 {
			return endOver, leave()
		}
		// These come first: where there is a backlog, something has always arrived.
		select {
		case <-r.ctx.Done():
			return endOver, leave()
		case <-a.lost:
			return endLost, leave()
		default:
		}
		var f *fetched
		select {
		case f = <-arrived:
		default:
			if begun {
				wait, err := r.out.idle()
				if err != nil {
					return endLost, err
				}
				wake = nil
				if wait > 0 {
					wake = time.After(wait)
				}
			}
			select {
			case f = <-arrived:
			case e := <-ends:
				running--
				if e.err != nil {
					return endLost, errors.Join(e.err, leave())
				}
				if begun {
					if err := r.out.done(e.partition); err != nil {
						return endLost, err
					}
				}
			case <-a.lost:
				return endLost, leave()
			case <-r.ctx.Done():
				return endOver, leave()
			case <-clock:
				err := leave()
				a.from = from
				if begun {
					a.from = r.out.places()
				}
				return endTime, err
			case <-wake:
			case <-tick.C:
			}
		}
		if f != nil {
			if r.out == nil {
				if err := r.recognise(f); err != nil {
					return endLost, err
				}
				select {
				case <-a.lost: // words are for one member as a whole
					return endLost, leave()
				default:
				}
				if r.out != nil && r.resume != nil {
					f.release()
					r.begun = from
					return endKnown, nil
				}
				if err := begin(); err != nil {
					return endLost, err
				}
			}
			r.count(f)
			if begun {
				if err := r.out.take(f); err != nil {
					return endLost, err
				}
			} else {
				f.release()
			}
		}
		if time.Since(saved) >= saveEvery {
			ctx, cancel := context.WithTimeout(r.ctx, saveEvery)
			err := save(ctx, false)
			cancel()
			if err != nil && r.ctx.Err() == nil {
				return endLost, err
			}
		}
	}
}

// recognise tells what a topic that was empty holds, from the first messages that come.
func (r *consume) recognise(f *fetched) error {
	var values [][]byte
	for _, m := range f.messages {
		values = append(values, m.value)
	}
	if r.content = recognise(values); r.content == "" {
		for _, m := range f.messages {
			r.env.Say("%s[%d]@%d: neither frames nor words nor lines; passed over (hint: --as)", r.topic.name, f.partition, m.offset)
		}
		return nil
	}
	return r.open()
}

// count is for the progress line.
func (r *consume) count(f *fetched) {
	r.n += int64(len(f.messages))
	r.bytes += int64(len(f.buf))
	r.lag[f.partition] = f.high - f.next
	lag := int64(0)
	for _, n := range r.lag {
		lag += n
	}
	r.show.update(r.n, r.bytes, lag)
}

// resolve finds the offsets to begin and end at.
func (r *consume) resolve(given map[int]place) (from map[int]place, until map[int]int64, err error) {
	from, until = map[int]place{}, map[int]int64{}
	for p, at := range given {
		err := r.patiently(func() error {
			first, end, err := r.cluster.offsets(r.ctx, r.topic.name, p)
			if err != nil {
				return err
			}
			switch {
			case at.Offset > end && r.resume != nil:
				return &explained{text: fmt.Sprintf("%s: the partition ends at %d, and lines in %s are of what came before %d", r.topic.name, end, r.resume.topic.name, at.Offset),
					hint: "was " + r.topic.name + " deleted and made anew? then " + r.resume.topic.name + " must be too", lasts: forever}
			case at.Offset > end:
				return beyond(r.topic.name, p, at.Offset, end) // --until end would be content with nothing
			}
			if at.Offset < 0 {
				was, begun := r.begun[p]
				switch {
				case begun:
					at.Offset, at.middle = was.Offset, was.middle
				case r.from.kind == "start":
					at.Offset = first
				case r.from.kind == "end":
					at.Offset, at.middle = end, true
				case r.from.kind == "time":
					at.middle = true
					if at.Offset, err = r.cluster.offsetAt(r.ctx, r.topic.name, p, r.from.at); err != nil {
						return err
					}
				}
			}
			until[p] = -1
			switch r.until.kind {
			case "end":
				until[p] = end
			case "time":
				if time.Now().After(r.until.at) {
					until[p], err = r.cluster.offsetAt(r.ctx, r.topic.name, p, r.until.at)
				}
			}
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		from[p] = at
	}
	return from, until, nil
}

// tellFrom says where reading begins.
func (r *consume) tellFrom(given map[int]place) {
	kept := 0
	for _, at := range given {
		if at.Offset >= 0 {
			kept++
		}
	}
	where := "from its " + r.from.kind + " on"
	switch {
	case r.from.kind == "time":
		where = "from " + r.from.at.Format(time.RFC3339) + " on"
	case r.from.kind == "end":
		where += " (--from start: with what is there)"
	}
	left := "from where it was left"
	if r.resume != nil {
		left = "from where the lines in " + r.resume.topic.name + " end"
	}
	if kept == len(given) && kept > 0 {
		where = left
	} else if kept > 0 {
		where = fmt.Sprintf("%s, in %d of them; else %s", left, kept, where)
	}
	what := string(r.content)
	if what == "" {
		what = "empty so far"
	}
	r.env.Say("%s: %s, partitions %s of %d, %s", r.topic.name, what, ranges(slices.Sorted(maps.Keys(given))), r.topic.partitions, where)
}
