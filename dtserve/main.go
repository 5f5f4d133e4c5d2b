// Dtserve shows result lines in a browser, live.
//
//	dtcat FILE | dtfilter | dtchamber | dthist --window 2s --hist2 auto | dtserve
//
// It reads the lines that dthist writes (also those of --partial, which it puts together as dthist --merge does, and lines with only the
// first published pipeline's keys) from standard input, keeps the newest, judges them, and serves a page, the numbers behind it, and
// metrics over HTTP. Nothing can be changed through it. /api says what there is to be asked for.
//
// # What it keeps
//
// The newest --history windows, compressed, and sums over them, within --memory. The sum of the present run goes on over
// what is no longer kept. A line that can't be used is counted, told, shown on the page and skipped. With --log FILE every line is
// appended to FILE, durably, and the lines that are in it already are taken first: so a restart has its history back.
//
// A window that dthist --merge wrote without lanes that were silent is shown at once, and says which they were. When it comes again, whole, with a higher
// Revision, it takes the place of what it was before, everywhere: in the sums, in the trends, and on pages that are open. Its ledger has only what
// no line before had, and is added to theirs. A line that is there already, or of an older revision, is dropped.
//
// When the input ends the page stays up and says so; --exit ends then. ^C is for the whole pipe: dtserve takes what still comes,
// for 2 s at most, and stops. A second ^C kills. SIGTERM stops it at once. All who look on are told.
//
// # Who may look
//
// Only this machine, by default: the page is at 127.0.0.1:5006, and from elsewhere one comes with ssh -L 5006:localhost:5006 HOST.
// On an address that others can reach, dtserve wants a token (--token-file, a file of its owner alone; it is given once as
// http://HOST:5006/?token=… or in the header Authorization: Bearer …), and with --cert and --key it is TLS. --insecure-open does
// without. Names in Host and Origin must be this machine's, on any port, so that no page elsewhere can read along through somebody's browser.
//
// If the port is taken, dtserve says which one is free; with a + behind the port (--listen 127.0.0.1:5006+) it takes that one.
//
// A reference (--reference FILE) is the result lines of a run, added up. Thresholds of the verdicts are in a file as
// --print-thresholds shows it. Labels and geometry are of the map that dtchamber has (--map).
package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dt/dtserve/history"
	"dt/dtserve/verdict"
	"dt/internal/hist"
	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

const examples = `  dtcat sim: --speed 1 | dtfilter | dthist --window 2s --hist2 auto | dtserve
  dtcat run.csv | dtfilter | dthist --window 2s --hist2 auto | dtserve --exit --listen 127.0.0.1:0
  dtserve --print-thresholds > my.thresholds
`

const usage = "dtcat FILE | dtfilter | dthist | dtserve"

const (
	defaultListen = "127.0.0.1:5006"
	publishEvery  = 50 * time.Millisecond // between states in a burst
	drainTime     = time.Second           // for clients, at the end
	graceTime     = 2 * time.Second       // for the input, after ^C
	maxSmallFile  = 256 << 10
)

type flags struct {
	Listen          string        `default:"${listen}" help:"Address of the page, HOST:PORT; with a + behind it that port or the next free one."`
	Open            bool          `help:"Open the page in a browser."`
	Title           string        `default:"miniDT" help:"What the page is called."`
	Cert            string        `placeholder:"FILE" help:"Certificate (PEM): serve TLS."`
	Key             string        `placeholder:"FILE" help:"Its key (PEM)."`
	TokenFile       string        `placeholder:"FILE" help:"Let in only who has the token in FILE."`
	InsecureOpen    bool          `help:"Let others look without a token."`
	Log             string        `placeholder:"FILE" help:"Append every line to FILE, and begin with those in it."`
	History         int           `default:"8000" help:"Windows to keep."`
	Memory          size          `default:"256MiB" help:"Memory to aim at; fewer windows are kept where it is short."`
	Recent          time.Duration `default:"10m" help:"What of detector time is recent."`
	StaleAfter      time.Duration `placeholder:"DURATION" help:"Age from which the newest line is stale (default: 15s, or 3 windows)."`
	Reference       string        `placeholder:"FILE" help:"Result lines to compare with."`
	Thresholds      string        `placeholder:"FILE" help:"Thresholds of the verdicts."`
	PrintThresholds bool          `help:"Print the thresholds and exit." env:"-"`
	Map             string        `default:"minidt" help:"The chamber map: minidt, lcp, or a file as for dtchamber."`
	Exit            bool          `help:"End when the input ends."`
	Clients         int           `default:"2000" help:"Live clients at a time."`
}

// A size is a number of bytes: 256MiB, 1GiB.
type size int64

func (s *size) UnmarshalText(text []byte) error {
	for suffix, unit := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if digits, ok := strings.CutSuffix(string(text), suffix); ok {
			if n, err := strconv.ParseInt(digits, 10, 32); err == nil && n > 0 {
				*s = size(n * unit)
				return nil
			}
		}
	}
	return fmt.Errorf("%q is no size, such as 256MiB or 1GiB", text)
}

// A server is all that is known, and who is told of it.
type server struct {
	env        *tool.Env
	title      string
	version    string
	started    time.Time
	chamberMap *hit.Map
	knownMaps  []*hit.Map // chamberMap, and the built-in ones
	thresholds *verdict.Thresholds
	ref        *reference
	recent     time.Duration
	staleAfter time.Duration // 0: by the length of the windows
	config     []byte

	history *history.History
	judging sync.Mutex // of judge
	judge   *verdict.Judge
	metrics *counters
	hub     *hub
	access  *access
	heavy   chan struct{}
	wake    chan struct{}
	shown   atomic.Pointer[snapshot] // what clients see
	told    int64                    // newest window that was in an event; of the publishing goroutine
	changes int64                    // how many revisions were in events; likewise

	// Of the goroutine that reads.
	runs    hist.Runs
	log     *Log // or nil
	saidBad time.Time
	unsaid  int

	stopping atomic.Bool // nothing more is read, also of the log

	mu       sync.Mutex
	bad      badLines
	end      ending
	nodeName string
}

// A reference is a run to compare with.
type reference struct {
	name, digest string
	window       *history.Window // the newest of it
	sum          *history.Sum
}

func main() { tool.Main("dtserve", run) }

func run(env *tool.Env) error {
	cli := flags{}
	if err := env.Parse(&cli, "Shows result lines in a browser, live.", examples, "listen", defaultListen); err != nil {
		return err
	}
	s, conf, err := newServer(env, &cli)
	if err != nil {
		return err
	}
	if cli.PrintThresholds {
		_, err := env.Stdout.Write(s.thresholds.Text())
		return err
	}
	if tool.IsTerminal(env.Stdin) {
		return tool.Hint(&tool.UsageError{Msg: "nothing is piped in"}, usage)
	}
	ln, err := s.listen(&cli, conf)
	if err != nil {
		return err
	}
	return s.run(&cli, ln, conf)
}

// newServer makes a server of what the flags say.
func newServer(env *tool.Env, cli *flags) (*server, *tls.Config, error) {
	badFlag := func(format string, args ...any) error { return &tool.UsageError{Msg: fmt.Sprintf(format, args...)} }
	switch {
	case (cli.Cert == "") != (cli.Key == ""):
		return nil, nil, badFlag("--cert and --key go together")
	case cli.History < 1 || cli.History > 10_000_000:
		return nil, nil, badFlag("--history %d: 1 to 10000000 windows are possible", cli.History)
	case cli.Memory < 32<<20:
		return nil, nil, badFlag("--memory: 32MiB are the least")
	case cli.Recent < time.Second || cli.Recent > 1000*time.Hour:
		return nil, nil, badFlag("--recent %v: 1s to 1000h are possible", cli.Recent)
	case cli.StaleAfter < 0:
		return nil, nil, badFlag("--stale-after can't be negative")
	case cli.Clients < 1 || cli.Clients > 100_000:
		return nil, nil, badFlag("--clients %d: 1 to 100000 are possible", cli.Clients)
	}
	s := &server{
		env: env, title: cli.Title, version: tool.Version, started: time.Now(), recent: cli.Recent, staleAfter: cli.StaleAfter,
		history: history.New(cli.History, int64(cli.Memory)/2), thresholds: verdict.Default(), hub: newHub(cli.Clients),
		heavy: make(chan struct{}, heavyAtOnce), wake: make(chan struct{}, 1), runs: hist.Runs{Max: maxRuns},
	}
	debug.SetMemoryLimit(int64(cli.Memory) * 7 / 8)
	if cli.Thresholds != "" {
		text, err := readSmall(cli.Thresholds)
		if err != nil {
			return nil, nil, err
		}
		if s.thresholds, err = verdict.Parse(text); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", cli.Thresholds, err)
		}
	}
	var err error
	for _, name := range []string{cli.Map, "minidt", "lcp"} {
		m, err := loadMap(name)
		if err != nil {
			return nil, nil, err
		}
		s.knownMaps = append(s.knownMaps, m)
	}
	s.chamberMap = s.knownMaps[0]
	if cli.Reference != "" {
		if s.ref, err = readReference(cli.Reference); err != nil {
			return nil, nil, err
		}
	}
	s.judge = verdict.NewJudge(s.thresholds, s.chamberMap, s.refCounts())
	var conf *tls.Config
	if cli.Cert != "" {
		cert, err := tls.LoadX509KeyPair(cli.Cert, cli.Key)
		if err != nil {
			return nil, nil, fmt.Errorf("--cert and --key: %w", err)
		}
		conf = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	}
	s.hub.hello, s.hub.now = s.hello, s.now
	s.metrics = newCounters(s)
	s.config = s.makeConfig()
	s.shown.Store(s.snapshot())
	return s, conf, nil
}

// refCounts returns the counts of the reference, or nil.
func (s *server) refCounts() *hist.Counts {
	if s.ref == nil {
		return nil
	}
	return s.ref.sum.Counts
}

// listen opens the address, if it may be opened, and sets who may ask.
func (s *server) listen(cli *flags, conf *tls.Config) (net.Listener, error) {
	at, err := parseListen(cli.Listen)
	if err != nil {
		return nil, err
	}
	var token []byte
	if cli.TokenFile != "" {
		if token, err = readToken(cli.TokenFile); err != nil {
			return nil, err
		}
	}
	loopback := at.addr.IP.IsLoopback()
	if !loopback && token == nil && !cli.InsecureOpen {
		return nil, tool.Hint(&tool.UsageError{Msg: fmt.Sprintf("--listen %s: anyone who reaches this machine could look on there", cli.Listen)},
			"--token-file FILE, or --listen "+defaultListen+" and ssh -L 5006:localhost:5006, or --insecure-open")
	}
	ln, err := at.open()
	if err != nil {
		return nil, err
	}
	port := ln.Addr().(*net.TCPAddr).Port
	var cert *tls.Certificate
	if conf != nil {
		cert = &conf.Certificates[0]
	}
	s.access = newAccess(at.host, port, loopback, token, cert)
	scheme, host := "http", at.host
	if conf != nil {
		scheme = "https"
	}
	if at.addr.IP == nil || at.addr.IP.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			host = "localhost"
		}
	}
	page := scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port))
	how := ""
	if token != nil {
		how = " (the first time with /?token=… behind it)"
	}
	s.env.Say("open %s%s", page, how)
	if cli.Open {
		browser := exec.Command("xdg-open", page)
		browser.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is not for it
		go func() {
			if err := browser.Run(); err != nil {
				s.env.Say("--open: no browser could be started: xdg-open: %v", err)
			}
		}()
	}
	return &limited{ln, make(chan struct{}, cli.Clients+moreConns)}, nil
}

// run serves until it is stopped.
func (s *server) run(cli *flags, ln net.Listener, conf *tls.Config) error {
	env := s.env
	ints, terms := make(chan os.Signal, 1), make(chan os.Signal, 1)
	env.Stage()
	signal.Notify(ints, syscall.SIGINT)
	signal.Notify(terms, syscall.SIGTERM)
	stopRead, stopWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stopRead.Close()
	stopInput := sync.OnceFunc(func() {
		s.stopping.Store(true)
		stopWrite.Close()
	})
	defer stopInput()

	ctx, stopServing := context.WithCancel(context.Background())
	defer stopServing()
	served := make(chan error, 1)
	srv := newHTTPServer(s.handler(), env.Say)
	go func() { served <- serve(ctx, srv, ln, conf) }()

	done := make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() { s.publishing(done) })

	fed := make(chan error, 1)
	go func() { fed <- s.feed(wire.NewInput(env.Stdin, int(stopRead.Fd())), cli.Log) }()

	var failure error
	var grace <-chan time.Time
	reading, interrupted := true, false
	why := "the server stops"
	for stop := false; !stop; {
		select {
		case err := <-fed:
			reading = false
			if interrupted && errors.Is(err, errEmpty) {
				err = nil // nothing had come yet
			}
			var fatal *fatalError
			switch {
			case cli.Exit, interrupted, errors.As(err, &fatal):
				failure = errors.Join(failure, err)
				stop = true
			case err != nil: // and the page stays up
				env.Say("%v", tool.Plain(err))
				if !errors.Is(err, errEmpty) {
					failure = tool.ErrTold
				}
			}
			if cli.Exit {
				why = "the input has ended"
			}
		case <-ints:
			interrupted = true
			stop = !reading
			grace = time.After(graceTime)
		case <-grace:
			stop = true
		case <-terms:
			stop = true
		case err := <-served:
			served <- nil
			failure = errors.Join(failure, err)
			stop = true
		}
	}
	stopInput()
	if reading {
		if err := <-fed; !errors.Is(err, errEmpty) {
			failure = errors.Join(failure, err)
		}
	}
	close(done)
	publisher.Wait()
	s.publish() // what came last
	s.hub.close(why, drainTime/2)
	stopServing()
	failure = errors.Join(failure, <-served)
	if s.log != nil {
		failure = errors.Join(failure, s.log.Close())
	}
	return failure
}

// serve serves until ctx is done, and a little longer.
func serve(ctx context.Context, srv *http.Server, ln net.Listener, conf *tls.Config) error {
	failed := make(chan error, 1)
	go func() {
		if conf != nil {
			srv.TLSConfig = conf
			failed <- srv.ServeTLS(ln, "", "")
			return
		}
		failed <- srv.Serve(ln)
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), drainTime/2)
	defer cancel()
	if srv.Shutdown(end) != nil {
		srv.Close()
	}
	return nil
}

// loadMap returns the built-in map of that name, or the one in that file.
func loadMap(name string) (*hit.Map, error) {
	text, ok := hit.BuiltinMap(name)
	if !ok {
		var err error
		text, err = readSmall(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, tool.Hint(&tool.UsageError{Msg: fmt.Sprintf("--map: %q is neither a built-in map nor a file", name)}, "--map minidt, --map lcp, or a file as dtchamber --print-map shows it")
		}
		if err != nil {
			return nil, err
		}
	}
	m, err := hit.ParseMap(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// readSmall reads a file of settings.
func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxSmallFile:
		return nil, fmt.Errorf("%s: more than %d bytes", name, maxSmallFile)
	case len(b) == 0:
		return nil, fmt.Errorf("%s: empty", name)
	}
	return b, nil
}

// readReference adds up the lines of a file: those of the run that the last one is of, with its settings.
func readReference(name string) (*reference, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	digest := sha256.New()
	lines := tool.LinesOf(io.TeeReader(f, digest), hist.MaxLine)
	h := history.New(4096, 64<<20) // lanes may come back after half as many windows
	var last *history.Window
	for {
		text, number, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			var l *hist.Line
			if l, err = hist.ParseAny(text); err == nil {
				if l.Progress || l.Lane[0] > 0 {
					err = errors.New("a partial line (hint: dthist --merge)")
				} else {
					var w *history.Window
					if w, _, err = h.Add(l, text, l.Index); err == nil {
						last = w
					} else if isOld(err) {
						err = nil // lines are written at least once
					}
				}
			}
		}
		switch {
		case err != nil && number == 0: // it can't be read
			return nil, err
		case err != nil:
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
	}
	if last == nil {
		return nil, fmt.Errorf("%s: no result lines", name)
	}
	return &reference{name: filepath.Base(name), digest: hex.EncodeToString(digest.Sum(nil)[:8]), window: h.Newest(), sum: h.Whole()}, nil
}
