// Dthist makes windowed histograms of a hit stream and writes each window as one JSON line.
//
//	dtcat FILE | dtfilter | dtchamber | dthist [--window 5s] | jq '."Total Count"'
//
// What a line says is defined, key by key, in internal/hist/RESULTS.md. Windows are cut by the detector's own clock (the same
// windows on every run, live or offline), by ours with --clock wall, or not at all with --window all: one line at the end.
// An orbit's hits are booked when the stream says that no more of them will come; until then they are pending.
//
// Without dtchamber before it, dthist applies the map minidt itself.
//
// --partial writes the lines of each lane by themselves, and dthist --merge puts such lines, or the lines of several windows,
// together; it waits --patience for a lane of which nothing comes, then writes a window without it, and once more when the lane is back. A
// partial line says how to take its lane up behind it, which dtkafka consume --resume-from does; --log FILE keeps the lines of a run that needs no Kafka, for dtcat
// --resume-from. internal/hist/RESUME.md tells why nothing is lost or doubled by that. --format cosmo writes the message of the second published pipeline instead. --hits FILE keeps every booked hit as
// a CSV line.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"dt/internal/hist"
	"dt/internal/tool"
)

const examples = `  dtcat run/*.txt | dtfilter | dtchamber | dthist --window all | jq .Chamber_1.Count
  dtcat sim: | dtfilter | dthist --window 2s --hist2 auto | jq --unbuffered '."Total Count"'
  dtcat 'sim:?hits=100000' | dtfilter | dthist --partial | dthist --merge --window all
`

const (
	usage      = "dtcat FILE | dtfilter | dthist"
	mergeUsage = "dtcat FILE | dtfilter | dthist --partial | dthist --merge"
)

// Defaults, which --merge must find unchanged.
const (
	defaultWindow = "5s"
	defaultHist1  = "0:170:5"
	defaultHist2  = "6e5:1e7:5e5"
	defaultHist4  = "0:1000:10"
)

type flags struct {
	Window  string `default:"${window}" help:"Length of a window (5s, 500ms, 2m), or all: one line at the end."`
	Clock   string `default:"auto" enum:"auto,detector,wall" help:"Whose time windows are of: detector, wall; auto: detector, with --format cosmo wall."`
	Format  string `default:"json" enum:"json,cosmo,text" help:"json; cosmo: the second published pipeline's message; text: for people."`
	Hist1   string `name:"hist1" default:"${hist1}" help:"Bins of Hist_1 and Hist_3, LO:HI:WIDTH in channels."`
	Hist2   string `name:"hist2" default:"${hist2}" help:"Bins of Hist_2, LO:HI:WIDTH in orbits, or auto[:WIDTH]: as far as the data go."`
	Hist4   string `name:"hist4" default:"${hist4}" help:"Bins of Hist_4, LO:HI:WIDTH in ns."`
	Partial bool   `help:"Write each lane's lines by themselves, for dthist --merge."`
	Merge   bool   `help:"Read lines instead of a stream, and put together those that belong together."`
	Hits    string `placeholder:"FILE" help:"Write a CSV line for each booked hit to FILE."`

	Patience time.Duration `default:"30s" help:"With --merge: write without a lane that is silent for so long."`
	Log      string        `placeholder:"FILE" help:"Append the lines to FILE as well, to go on behind it: dtcat --resume-from FILE."`
}

// softMemory is where the garbage collector begins to work harder. Some megabytes are in use, unless millions of hits are pending.
const softMemory = 48 << 20

func main() {
	debug.SetMemoryLimit(softMemory)
	tool.Main("dthist", run)
}

func run(env *tool.Env) error {
	var cli flags
	if err := env.Parse(&cli, "Makes windowed histograms of a hit stream; one JSON line a window.", examples,
		"window", defaultWindow, "hist1", defaultHist1, "hist2", defaultHist2, "hist4", defaultHist4); err != nil {
		return err
	}
	set, err := cli.settings()
	if err != nil {
		return &tool.UsageError{Msg: err.Error()}
	}
	env.Stage()
	before := usage
	if cli.Merge {
		before = mergeUsage
	}
	in, err := env.In(before)
	if err != nil {
		return err
	}
	out := newOutput(env, cli.Format)
	if cli.Merge {
		return merge(env, in, out, cli.Window == "all", cli.Patience)
	}
	p := &program{env: env, cli: &cli, in: in, out: out, set: set, lanes: newLanes(), mapDigest: defaultMap, complete: true, parts: map[partKey][]*lane{}}
	if cli.Log != "" {
		if p.log, err = openLog(cli.Log); err != nil {
			return err
		}
		out.log = p.log
	}
	if cli.Hits != "" {
		if p.hits, err = createHits(env, cli.Hits); err != nil {
			return err
		}
	}
	err = p.run()
	if p.log != nil {
		err = errors.Join(err, p.log.close())
	}
	if p.hits != nil {
		err = errors.Join(err, p.hits.close())
	}
	return err
}

// settings makes the settings that the flags ask for; their map comes with the stream.
func (cli *flags) settings() (*hist.Settings, error) {
	set := hist.NewSettings(nil)
	ns, all, err := hist.ParseWindow(cli.Window)
	if err != nil {
		return nil, fmt.Errorf("--window: %w", err)
	}
	clock := hist.Detector
	switch {
	case all && cli.Clock != "auto":
		return nil, errors.New("--window all has no clock")
	case all && cli.Format == "cosmo":
		return nil, errors.New("--format cosmo has messages of at most a million orbits, so --window all can't be")
	case cli.Clock == "detector" && cli.Format == "cosmo":
		return nil, errors.New("--format cosmo is for the wall clock: its reader wants a message every few seconds")
	case all:
		clock = hist.All
	case cli.Clock == "wall", cli.Clock == "auto" && cli.Format == "cosmo":
		clock = hist.Wall
	}
	switch {
	case cli.Partial && (clock == hist.Wall || cli.Format != "json"):
		return nil, errors.New("--partial is for the detector's clock and --window all, and for --format json")
	case cli.Log != "" && (clock != hist.Detector || cli.Format != "json" || cli.Merge):
		return nil, errors.New("--log is for windows of the detector's clock and --format json, and not for --merge")
	case cli.Log != "" && cli.Hits != "":
		return nil, errors.New("--hits begins anew at each start, so --log and --hits exclude each other")
	case cli.Patience < 0:
		return nil, errors.New("--patience can't be negative; 0 is for ever")
	case cli.Partial && cli.Merge:
		return nil, errors.New("--partial and --merge exclude each other")
	case cli.Merge && (cli.Format == "cosmo" || cli.Hits != ""):
		return nil, errors.New("--merge knows no single hits, so --format cosmo and --hits can't be")
	case cli.Merge && (!all && cli.Window != defaultWindow || cli.Clock != "auto" || cli.Hist1 != defaultHist1 || cli.Hist2 != defaultHist2 || cli.Hist4 != defaultHist4):
		return nil, errors.New("--merge takes windows and bins as they are in the lines; beside it only --window all can be")
	}
	set.SetWindow(clock, ns)
	if set.Hist1, err = hist.ParseHist1(cli.Hist1); err != nil {
		return nil, fmt.Errorf("--hist1: %w", err)
	}
	if set.Hist2, set.Auto, err = hist.ParseHist2(cli.Hist2); err != nil {
		return nil, fmt.Errorf("--hist2: %w", err)
	}
	if set.Hist4, err = hist.ParseHist4(cli.Hist4); err != nil {
		return nil, fmt.Errorf("--hist4: %w", err)
	}
	return set, nil
}

// An output writes lines, each at once and whole, and gives them their Index.
type output struct {
	env  *tool.Env
	node string
	last int64 // Index of the line before, µs
	text bool  // for people
	log  *logFile
	buf  []byte
}

func newOutput(env *tool.Env, format string) *output {
	node, err := os.Hostname()
	if err != nil {
		node = "unknown"
	}
	return &output{env: env, node: node, text: format == "text"}
}

// line writes a line.
func (o *output) line(l *hist.Line) error {
	if !l.Progress {
		o.last = max(time.Now().UnixMicro(), o.last+1)
		l.Index = o.last
	}
	l.Node = o.node
	if o.text {
		return o.write(appendText(o.buf[:0], l))
	}
	b := append(l.Append(o.buf[:0]), '\n')
	if o.log != nil {
		if err := o.log.line(b); err != nil {
			return &outputError{err}
		}
	}
	return o.write(b)
}

// write writes a line, or several, at once.
func (o *output) write(b []byte) error {
	o.buf = b
	if _, err := o.env.Stdout.Write(o.buf); err != nil {
		return &outputError{err}
	}
	return nil
}

// An outputError is a failed write: nothing more can be said on standard output.
type outputError struct{ error }

func (e *outputError) Error() string { return tool.Plain(e.error).Error() }
func (e *outputError) Unwrap() error { return e.error }

// A hitsFile is what --hits writes.
type hitsFile struct {
	f   *os.File
	w   *bufio.Writer
	buf []byte
}

const hitsHeader = "EPOCH,ORBIT_CNT,FPGA,TDC_CHANNEL,CHAMBER,LAYER,WIRE,T_NS,DRIFT_NS,LATE\n"

// createHits creates the file, which must not be what the program reads or writes already.
func createHits(env *tool.Env, name string) (*hitsFile, error) {
	if info, err := os.Stat(name); err == nil {
		for _, f := range []*os.File{env.Stdin, env.Stdout} {
			if other, err := f.Stat(); err == nil && info.Mode().IsRegular() && os.SameFile(info, other) {
				return nil, fmt.Errorf("--hits %s: that file is standard input or output already", name)
			}
		}
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	h := &hitsFile{f: f, w: bufio.NewWriterSize(f, 64<<10)}
	h.w.WriteString(hitsHeader) // an error stays in w and comes out of close
	return h, nil
}

func (h *hitsFile) close() error { return errors.Join(h.w.Flush(), h.f.Close()) }
