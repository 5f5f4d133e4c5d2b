// Dtcat reads TDC words from anywhere and writes them as a hit stream, or turns a stream, or any input, back into text.
//
//	dtcat [SOURCE…] | dtfilter | dtchamber | dthist
//
// A SOURCE is a file, a folder (its data files in natural order), an object, a folder or a pattern in S3 (s3://bucket/run/, s3://bucket/data_*.txt), an
// address on the web, - (standard input, also without a SOURCE), or sim: (simulated cosmic data). What is in it is recognised by content: CSV with
// or without header, JSON lines, raw 64-bit words, streams, and gzip or zstd around any of them. All sources together are one run, in one lane, in
// order. --from lcp reads the v1 course files, text or raw. --list shows what sources hold.
//
// Objects are read as durably as files, and kept with --save: see SOURCES.md.
//
// A record that is no word is told (the first ten of each source), counted, kept with --rejects, and does not stop the stream unless
// --strict; at the end it is told how many there were in each source. A source that can't be read is told, and the next one is read; the exit status is 1 then.
//
// --resume-from goes on with a run where its results end: see SOURCES.md.
//
// The order of the words, and with it the epochs, horizon and late words, is decided here: see internal/wire/FORMAT.md.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"dt/dtcat/remote"
	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

const examples = `  dtcat run/*.txt | dtfilter | dtchamber | dthist
  dtcat 'sim:?seed=7&hits=2000000' | dtfilter | dthist --window all
  dtcat run.csv --speed 10 --max-gap 1s | dtfilter | dthist --window 2s
  dtcat --from lcp run591.dat.gz | dtfilter 'HEAD == 2' | dtchamber --map lcp | dthist
  dtcat s3://bucket/run7/ --endpoint https://host:5210 --ca-cert ca.pem --credentials key.json
  dtcat 'sim:?hits=1000' | dtfilter | dtcat --to csv --columns +CHAMBER,LAYER,WIRE,T_NS
`

type flags struct {
	Sources        []string      `arg:"" optional:"" name:"source" env:"-" help:"File, folder, s3://…, http(s)://…, - or sim: (simulated)."`
	From           string        `default:"auto" enum:"auto,csv,json,raw,lcp" placeholder:"auto" help:"Form of the sources: csv json raw lcp (v1 words)."`
	To             string        `default:"stream" enum:"stream,csv,json,raw" placeholder:"stream" help:"What to write: stream csv json raw."`
	Header         string        `default:"auto" enum:"auto,yes,no" help:"Header of --to csv: yes no, auto: as the source had."`
	Columns        string        `placeholder:"NAMES" help:"More columns of --to csv: +CHAMBER,LAYER,WIRE,T_NS."`
	Limit          uint64        `placeholder:"N" help:"Stop after so many records."`
	Loop           bool          `help:"Begin again at the end of the sources, for ever."`
	Follow         bool          `short:"f" help:"Wait for more in the last file, or S3 folder."`
	Rate           float64       `placeholder:"N" help:"Words a second. Default: as fast as they go."`
	Speed          float64       `placeholder:"X" help:"X times the detector's time (gaps: --max-gap=1s)."`
	MaxGap         time.Duration `hidden:""`
	Lateness       int64         `default:"${lateness}" help:"Orbits that a slow FPGA is waited for."`
	Run            string        `env:"-" placeholder:"NAME" help:"Name of the run. Default: a random one."`
	ResumeFrom     string        `placeholder:"FILE" help:"Go on where the last result line in FILE says."`
	Rejects        string        `placeholder:"FILE" help:"Keep records that are no words in FILE."`
	Strict         bool          `help:"Stop at the first record that is no word."`
	Save           string        `placeholder:"FOLDER" help:"Keep objects in FOLDER, and go on there."`
	List           bool          `env:"-" help:"Show name, bytes, format (also --json), and exit."`
	DryRun         bool          `env:"-" help:"Show what would be read from where, and exit."`
	JSON           bool          `name:"json" env:"-" hidden:""`
	SimSettings    bool          `env:"-" help:"List the settings of sim:, and exit."`
	RemoteSettings bool          `env:"-" help:"List the settings of s3:// and http(s)://, and exit."`
	Progress       string        `default:"auto" enum:"auto,yes,no" help:"Progress line: yes no, auto: on a terminal."`

	Remote remoteFlags `embed:""`
}

func main() { tool.Main("dtcat", run) }

// cat is one run of the program.
type cat struct {
	env *tool.Env
	cli flags

	free     chan *chunk
	enough   chan struct{} // closed when the consumer wants no more
	stopped  chan struct{} // closed by ^C or SIGTERM
	streamed chan struct{} // the consumer has read a stream to its end

	net      *network
	resumed  *resumption // nil: the run begins
	followed []source    // what there was at first of the folder in S3 that is followed
	out      sink
	w        *wire.Writer // of out, when that is a stream
	rejects  *os.File
	pace     *pacer
	lag      lag
	progress *progress

	records uint64 // handed to out
	told    int    // bad records of this input
	inInput int    // records of it
	bads    []bads // of all
	hinted  bool
	failed  bool // something could not be read
	ended   bool // a stream that was stopped has its end
	lines   int  // of this input, before the chunk
	marked  time.Time
}

// bads is how many records of a source are no words.
type bads struct {
	source string
	n      int
}

// Bad records that are told one by one, of each source.
const tellAtMost = 10

func run(env *tool.Env) error {
	c := &cat{env: env}
	err := env.Parse(&c.cli, "Reads TDC words from files, S3, the web or a simulation, as a hit stream.", examples, "lateness", fmt.Sprint(wire.DefaultLateness))
	switch {
	case err != nil:
		return err
	case c.cli.SimSettings:
		_, err := io.WriteString(env.Stdout, simUsage)
		return err
	case c.cli.RemoteSettings:
		_, err := io.WriteString(env.Stdout, remoteUsage)
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	if slices.ContainsFunc(c.cli.Sources, remote.Is) {
		if c.net, err = newNetwork(env, &c.cli.Remote); err != nil {
			return err
		}
	}
	if c.cli.ResumeFrom != "" {
		if err := c.findResumption(); err != nil {
			return err
		}
		if c.resumed != nil && c.resumed.state.End {
			w, err := env.BinaryOut("dtcat FILE | dtfilter")
			if err != nil {
				return err
			}
			return c.complete(w)
		}
	}
	sources := c.expand()
	switch {
	case len(sources) == 0 && (c.failed || !c.cli.Follow):
		return tool.ErrTold
	case c.cli.List:
		return c.list(sources)
	case c.cli.DryRun:
		return c.dryRun(sources)
	}
	all := sources
	if c.resumed != nil {
		if sources, err = c.fromPlace(sources); err != nil {
			return err
		}
	}
	env.Source()
	if c.cli.Save != "" {
		if err := c.net.openFolder(env, c.cli.Save, sources); err != nil {
			return err
		}
	}
	switch {
	case c.cli.Save != "" && tool.IsTerminal(env.Stdout) && c.cli.To == "stream" && c.cli.ResumeFrom == "":
		c.out = nowhere{}
	case c.cli.To == "stream":
		if c.w, err = env.BinaryOut("dtcat FILE | dtfilter, or --to csv"); err != nil {
			return err
		}
	default:
		if c.cli.To == "raw" && tool.IsTerminal(env.Stdout) {
			return tool.Hint(&tool.UsageError{Msg: "standard output is a terminal, and --to raw is binary"}, "--to csv, or > FILE")
		}
		wire.Enlarge(env.Stdout)
	}
	if c.cli.Rejects != "" {
		if err := c.notSource(c.cli.Rejects, all); err != nil {
			return err
		}
		how := os.O_TRUNC
		if c.resumed != nil {
			how = os.O_APPEND
		}
		if c.rejects, err = os.OpenFile(c.cli.Rejects, os.O_WRONLY|os.O_CREATE|how, 0o666); err != nil {
			return err
		}
		defer c.rejects.Close()
	}
	return c.consume(sources)
}

// notSource reports when a file that is to be written is one of the sources: creating it would empty it.
func (c *cat) notSource(file string, sources []source) error {
	to, err := os.Stat(file)
	if err != nil || !to.Mode().IsRegular() {
		return nil
	}
	for _, s := range sources {
		if from, err := os.Stat(s.name); err == nil && s.object == nil && os.SameFile(from, to) {
			return &tool.UsageError{Msg: "--rejects " + file + ": that is one of the sources"}
		}
	}
	return nil
}

// check looks for flags that make no sense, and fills in what depends on others.
func (c *cat) check() error {
	cli := &c.cli
	if len(cli.Sources) == 0 {
		if tool.IsTerminal(c.env.Stdin) {
			return tool.Hint(&tool.UsageError{Msg: "no source is named, and nothing is piped in"}, "dtcat FILE, or dtcat sim:")
		}
		cli.Sources = []string{"-"}
	}
	sims, stdins, remotes := 0, 0, 0
	for _, s := range cli.Sources {
		switch {
		case remote.Is(s):
			remotes++
		case strings.HasPrefix(s, "sim:"):
			sims++
		case s == "-":
			stdins++
		}
	}
	last := cli.Sources[len(cli.Sources)-1]
	switch {
	case sims > 0 && len(cli.Sources) > 1:
		return &tool.UsageError{Msg: "sim: is a run by itself, with no other source beside it"}
	case cli.Loop && (stdins > 0 || sims > 0 || cli.Follow):
		return &tool.UsageError{Msg: "--loop is for files: it excludes --follow, sim: and standard input"}
	case stdins > 1:
		return &tool.UsageError{Msg: "standard input can be read only once"}
	case cli.Lateness < 0 || cli.Lateness > hit.MaxOrbit:
		return &tool.UsageError{Msg: fmt.Sprintf("--lateness %d: 0 to %d orbits are possible", cli.Lateness, int64(hit.MaxOrbit))}
	case math.IsNaN(cli.Rate+cli.Speed) || math.IsInf(cli.Rate+cli.Speed, 0):
		return &tool.UsageError{Msg: "--rate and --speed are finite numbers"}
	case cli.Rate < 0 || cli.Speed < 0 || cli.MaxGap < 0:
		return &tool.UsageError{Msg: "--rate, --speed and --max-gap can't be negative"}
	case cli.Rate > 0 && cli.Speed > 0:
		return &tool.UsageError{Msg: "--rate and --speed exclude each other"}
	case cli.MaxGap > 0 && cli.Speed == 0:
		return &tool.UsageError{Msg: "--max-gap needs --speed"}
	case cli.Follow && remote.Is(last) && !strings.HasPrefix(strings.ToLower(last), "s3:"):
		return &tool.UsageError{Msg: "--follow is for files and for folders in S3, not for the web"}
	case cli.Save != "" && remotes == 0:
		return &tool.UsageError{Msg: "--save is for s3:// and http(s)://, and no source is one"}
	case cli.Remote.Connections < 1 || cli.Remote.Connections > 256:
		return &tool.UsageError{Msg: fmt.Sprintf("--connections %d: 1 to 256 are possible", cli.Remote.Connections)}
	case cli.Remote.Tries < 1 || cli.Remote.Stall <= 0:
		return &tool.UsageError{Msg: "--tries is at least 1, and --stall more than 0"}
	case cli.List && cli.DryRun:
		return &tool.UsageError{Msg: "--list and --dry-run exclude each other"}
	case cli.JSON && !cli.List && !cli.DryRun:
		return &tool.UsageError{Msg: "--json is for --list and --dry-run"}
	case cli.ResumeFrom != "" && cli.To != "stream":
		return &tool.UsageError{Msg: "--resume-from goes on with a stream, and excludes --to " + cli.To}
	case cli.ResumeFrom != "" && (cli.Loop || cli.List || cli.DryRun):
		return &tool.UsageError{Msg: "--resume-from excludes --loop, --list and --dry-run"}
	case cli.Columns != "" && cli.To != "csv":
		return &tool.UsageError{Msg: "--columns needs --to csv"}
	case cli.Run != "":
		if err := wire.CheckRun(cli.Run); err != nil {
			return &tool.UsageError{Msg: "--run: " + err.Error()}
		}
	}
	if cli.Columns != "" {
		for _, name := range cli.columns() {
			if !slices.Contains(moreColumns, name) {
				return &tool.UsageError{Msg: fmt.Sprintf("--columns: there is no column %q; possible are +%s", name, strings.Join(moreColumns, ","))}
			}
		}
	}
	return nil
}

// columns are those of --columns.
func (cli *flags) columns() []string { return strings.Split(strings.TrimPrefix(cli.Columns, "+"), ",") }

// consume takes the chunks in order to the output. It owns the output, the ledger of what went wrong, pace and progress.
func (c *cat) consume(sources []source) error {
	c.free = make(chan *chunk, inFlight)
	for range inFlight {
		c.free <- new(chunk)
	}
	c.enough, c.stopped, c.streamed = make(chan struct{}), make(chan struct{}), make(chan struct{})
	c.env.OnStop(func() { close(c.stopped) })
	order := make(chan *chunk, inFlight)
	produce := func() { c.read(sources, order) }
	if len(sources) == 1 && sources[0].sim() {
		cfg, err := parseSim(strings.TrimPrefix(sources[0].name, "sim:"))
		if err != nil {
			return &tool.UsageError{Msg: err.Error()}
		}
		if c.cli.Rate == 0 && c.cli.Speed == 0 && cfg.endless() && c.cli.Limit == 0 {
			c.cli.Speed = 1
		}
		produce = func() { c.simulate(cfg, sources[0].from, order) }
	}
	c.pace = newPacer(c.cli.Rate, c.cli.Speed, c.cli.MaxGap, c.stopped)
	c.pace.slow = c.late
	c.progress = newProgress(c.env, c.cli.Progress, sources, c.net, c.cli.Follow || c.cli.Loop)
	c.progress.paced = c.pace.active()
	go produce()
	end, err := c.pump(order)
	close(c.enough)
	closeErr := c.net.close()
	c.progress.done()
	for _, b := range c.bads {
		if b.n == 1 {
			c.env.Say("%s: 1 record is no word", b.source)
		} else {
			c.env.Say("%s: %d records are no words", b.source, b.n)
		}
	}
	if err != nil {
		return err
	}
	if err := errors.Join(c.finish(end), closeErr); err != nil {
		return err
	}
	if c.failed {
		return tool.ErrTold
	}
	return nil
}

// ending says why the words end.
type ending int

const (
	exhausted ending = iota
	limited
	interrupted
	strict
	broke // in the middle of a source
)

// pump is the loop of consume.
func (c *cat) pump(order <-chan *chunk) (ending, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	c.marked = time.Now()
	for {
		var k *chunk
		var ok bool
		waits := time.Now()
		select {
		case k, ok = <-order:
		default:
			// Nothing is there, so what has come must go out before waiting.
			if err := c.flush(); err != nil {
				return 0, err
			}
			waits = time.Now()
			select {
			case k, ok = <-order:
			case <-c.stopped:
				return interrupted, nil
			case <-tick.C:
				c.lag.in += time.Since(waits)
				if err := c.mark(); err != nil {
					return 0, err
				}
				c.progress.add(c.records)
				continue
			}
		}
		if !ok {
			return exhausted, nil
		}
		select {
		case <-k.done:
		case <-c.stopped:
			return interrupted, nil
		}
		c.lag.in += time.Since(waits)
		end, err := c.take(k)
		if err != nil || end != exhausted {
			return end, err
		}
		c.free <- k
		select {
		case <-c.stopped:
			return interrupted, nil
		default:
		}
		if time.Since(c.marked) > time.Second {
			if err := c.mark(); err != nil {
				return 0, err
			}
		}
	}
}

// take hands one chunk to the output.
func (c *cat) take(k *chunk) (ending, error) {
	if k.opened {
		c.lines = 0
		switch {
		case k.in.raw():
			c.lines = int(k.in.from / 8)
		case k.in.header && k.in.from == 0:
			c.lines = 1
		}
		c.progress.input(k.in)
		if k.in.format == formatStream {
			return c.stream(k)
		}
		if err := c.openOut(k.in); err != nil {
			return 0, err
		}
	}
	if c.rejects != nil {
		if k.whole && !bytes.HasSuffix(k.piece, []byte("\n")) {
			k.piece = append(k.piece, '\n') // the last line lacks it
		}
		if _, err := c.rejects.Write(k.piece); err != nil {
			return 0, err
		}
	}
	if end, err := c.hand(k, batch{words: k.words, bad: k.bad}); err != nil || end != exhausted {
		return end, err
	}
	c.lines += k.records
	if c.out != nil && (len(k.piece) == 0 || k.whole) { // not inside a line
		c.out.at(k.in.name, k.in.tag, k.offset)
	}
	switch {
	case k.err == nil:
		return exhausted, nil
	case errors.As(k.err, new(*broken)):
		c.fail(k.err)
		return broke, nil
	case !errors.Is(k.err, io.EOF):
		c.fail(k.err)
	}
	c.progress.inputDone()
	c.hintLCP(k.in)
	c.told, c.inInput = 0, 0
	return exhausted, nil
}

// hintLCP warns of a source that has records, but no hit, as long as there was none before.
func (c *cat) hintLCP(in *input) {
	if s, ok := c.out.(*streamSink); ok && s.hits == 0 && c.inInput > 0 && !c.hinted && in.format != formatLCP && in.format != formatLCPRaw {
		c.hinted = true
		c.env.Say("%s: not one hit (HEAD 2) in %d records (hint: a v1 course file wants --from lcp)", in.name, c.inInput)
	}
}

// lineOf returns a record of the chunk with the carriage return that may be behind it.
func (k *chunk) lineOf(text []byte) []byte {
	end := cap(k.data) - cap(text) + len(text) // both end with the same memory
	if end >= 0 && end < len(k.data) && k.data[end] == '\r' {
		return text[:len(text)+1]
	}
	return text
}

// reject tells of one record of a chunk that is no word, and keeps it.
func (c *cat) reject(k *chunk, b *hit.Bad) error {
	place, text := fmt.Sprintf("%s:%d", k.in.name, c.lines+b.Line+1), b.Text
	switch {
	case k.in.raw():
		place = fmt.Sprintf("%s: word %d", k.in.name, c.lines+b.Line)
	case k.in.from > 0:
		place = fmt.Sprintf("%s: line %d behind byte %d", k.in.name, c.lines+b.Line+1, k.in.from)
	}
	if text != nil && !k.in.raw() {
		text = append(append([]byte(nil), k.lineOf(text)...), '\n')
	}
	if c.told++; c.told <= tellAtMost {
		c.env.Say("%s: %s", place, b.Reason)
	} else if c.told == tellAtMost+1 {
		c.env.Say("%s: %s; further ones of this source are counted, not told", place, b.Reason)
	}
	i := slices.IndexFunc(c.bads, func(x bads) bool { return x.source == k.in.name })
	if i < 0 {
		i = len(c.bads)
		c.bads = append(c.bads, bads{source: k.in.name})
	}
	c.bads[i].n++
	c.progress.rejects++
	if c.rejects != nil {
		if _, err := c.rejects.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// A batch is records on their way to the output: words, and between them records that are none.
type batch struct {
	words    []uint64
	chambers []uint8   // of the words, if their stream tells
	bad      []hit.Bad // their numbers begin with first
	first    int
}

func (b *batch) len() int { return len(b.words) + len(b.bad) }

// cut returns the first n records, and the others.
func (b batch) cut(n int) (head, rest batch) {
	k := sort.Search(len(b.bad), func(i int) bool { return b.bad[i].Record >= b.first+n })
	w := n - k
	head, rest = b, b
	head.words, rest.words = b.words[:w], b.words[w:]
	head.bad, rest.bad = b.bad[:k], b.bad[k:]
	if b.chambers != nil {
		head.chambers, rest.chambers = b.chambers[:w], b.chambers[w:]
	}
	rest.first += n
	return head, rest
}

// recordsOf returns how many records the first n words make, with the bad ones between them.
func (b *batch) recordsOf(n int) int {
	for i := range b.bad {
		if b.bad[i].Record-b.first >= n {
			break
		}
		n++
	}
	return n
}

// hand hands records of a chunk to the output, at the pace that is asked for and up to the limit or, if that is strict, the first that is no
// word. What is no word is told and kept when its turn comes.
func (c *cat) hand(k *chunk, b batch) (ending, error) {
	end := exhausted
	read := c.resumed.number() + c.records
	if limit := c.cli.Limit; limit > 0 && read+uint64(b.len()) >= limit {
		b, _ = b.cut(int(limit - min(limit, read)))
		end = limited
	}
	if c.cli.Strict && len(b.bad) > 0 {
		b, _ = b.cut(b.bad[0].Record - b.first + 1)
		end = strict
	}
	for b.len() > 0 {
		n, err := c.pace.due(b.words, c.flushAndMark)
		if err != nil {
			return 0, err
		}
		if n < 0 {
			return interrupted, nil
		}
		now, rest := b, batch{}
		if n < len(b.words) {
			now, rest = b.cut(b.recordsOf(n))
		}
		for i := range now.bad {
			if err := c.reject(k, &now.bad[i]); err != nil {
				return 0, err
			}
		}
		writes := time.Now()
		if err := c.out.add(now); err != nil {
			return 0, err
		}
		c.lag.out += time.Since(writes)
		c.inInput += now.len()
		c.records += uint64(now.len())
		c.progress.add(c.records)
		b = rest
	}
	if end == strict {
		c.failed = true
	}
	return end, nil
}

// lag is why words come later than they are due.
type lag struct {
	in, out time.Duration // waited for the source, and for what is written to, since the words were in step
	late    bool          // it was told
	told    time.Time     // the last time
}

const (
	lateAfter  = time.Second
	lateAgain  = time.Minute
	inStepWhen = 50 * time.Millisecond
)

// late tells that words come later than they are due, and later that they are in step again.
func (c *cat) late(debt time.Duration) {
	l := &c.lag
	switch {
	case debt < inStepWhen:
		if l.late {
			c.env.Say("%s: in step again", c.cli.paceFlag())
		}
		*l = lag{told: l.told}
	case debt >= lateAfter && time.Since(l.told) > lateAgain:
		who := "the source"
		if l.out > l.in {
			who = "what is behind dtcat"
		}
		l.late, l.told = true, time.Now()
		c.env.Say("%s: words come %.1f s late, %s can't keep up", c.cli.paceFlag(), debt.Seconds(), who)
	}
}

func (cli *flags) paceFlag() string {
	if cli.Rate > 0 {
		return fmt.Sprintf("--rate %g", cli.Rate)
	}
	return fmt.Sprintf("--speed %g", cli.Speed)
}

func (c *cat) flush() error {
	if c.out == nil {
		return nil
	}
	defer func(t time.Time) { c.lag.out += time.Since(t) }(time.Now())
	return c.out.flush()
}

func (c *cat) mark() error {
	c.marked = time.Now()
	if c.out == nil {
		return nil
	}
	return c.out.mark()
}

// flushAndMark is for a pause.
func (c *cat) flushAndMark() error {
	c.progress.add(c.records)
	if time.Since(c.marked) > time.Second {
		if err := c.mark(); err != nil {
			return err
		}
	}
	return c.flush()
}

// finish writes the end.
func (c *cat) finish(end ending) error {
	if end == broke {
		// No end: who reads the stream must not take it for whole.
		return errors.Join(c.mark(), c.flush())
	}
	if end == exhausted && !c.failed && c.resumed != nil {
		if err := c.resumed.reached(c.resumed.number() + c.records); err != nil {
			c.fail(err) // nor for the run, whose results would be of two sources
		}
	}
	if c.out == nil {
		if c.w == nil || c.ended || end == exhausted && !c.failed {
			return nil // streams only, which have their own ends
		}
		// Nothing came. An empty lane that is not exhausted tells the stages behind.
		if err := c.openOut(&input{}); err != nil {
			return err
		}
	}
	var why string
	switch {
	case end == limited:
		why = "--limit"
	case end == interrupted:
		why = "stopped by a signal"
	case end == strict:
		why = "--strict, and a record is no word"
	case c.failed:
		why = "a source could not be read"
	}
	return c.out.end(why, end == interrupted)
}

// simulate sends the words of a simulated run as chunks. Those that were read before are made, too, and left out.
func (c *cat) simulate(cfg *simConfig, from *point, order chan<- *chunk) {
	defer close(order)
	in := &input{name: cfg.String(), format: formatRaw, sim: true}
	s := newSim(cfg)
	words := uint64(0)
	if from != nil {
		for left := make([]uint64, 16384); words < from.offset; {
			n := s.next(left[:min(uint64(len(left)), from.offset-words)])
			words += uint64(n)
			select {
			case <-c.enough:
				return
			default:
			}
			if n == 0 {
				break
			}
		}
	}
	size := 16384
	if c.pace.active() {
		size = 256 // the place in a mark is that behind a chunk
	}
	for first := true; ; first = false {
		k := c.get()
		if k == nil {
			return
		}
		if cap(k.words) < size {
			k.words = make([]uint64, size)
		}
		k.words = k.words[:size]
		n := s.next(k.words)
		k.in, k.words, k.records, k.opened = in, k.words[:n], n, first
		words += uint64(n)
		k.offset = words
		if n == 0 {
			k.err = io.EOF
		}
		close(k.done)
		order <- k
		if n == 0 {
			return
		}
	}
}
