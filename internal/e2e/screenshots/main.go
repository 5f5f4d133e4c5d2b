// Screenshots writes pictures of every view of dtserve's page, in light and dark, on a desk and on a phone.
//
//	go run ./internal/e2e/screenshots [--bin bin] [--out .screenshots] [--only REGEXP]
//
// The page shows a simulated run with faults (a dead wire, a hot one), faster than live and then one window a second; and, where ../shared/data (or
// DT_DATA) has it, the real run 591. Its pictures begin with run591. Files are named RUN-VIEW-light|dark-desk|phone.png; those of the first screen
// show just the window, all others the whole page. Those named state-… show the page as it is only at times: paused, stale, disconnected, compared
// with a reference, without triggers, ….
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chromedp/chromedp/kb"

	"dt/internal/e2e/browser"
)

var (
	bin  = flag.String("bin", "bin", "folder of the programs")
	out  = flag.String("out", ".screenshots", "folder of the pictures")
	only = flag.String("only", "", "only pictures whose name has this regular expression")
)

// fatal ends the program: it is what the browser's steps are told to when they fail.
type fatal struct{ undo []func() }

func (*fatal) Helper() {}

func (f *fatal) Fatalf(format string, args ...any) {
	f.clean()
	fmt.Fprintf(os.Stderr, "screenshots: "+format+"\n", args...)
	os.Exit(1)
}

func (f *fatal) clean() {
	for i := len(f.undo) - 1; i >= 0; i-- {
		f.undo[i]()
	}
	f.undo = nil
}

func main() {
	flag.Parse()
	f := new(fatal)
	b, err := browser.Start()
	if errors.Is(err, browser.ErrMissing) {
		err = errors.New("chromium is missing (get it: apt-get install chromium)")
	}
	if err != nil {
		f.Fatalf("%v", err)
	}
	f.undo = append(f.undo, b.Close)
	if err := os.MkdirAll(*out, 0o777); err != nil {
		f.Fatalf("%v", err)
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		f.Fatalf("%v", err)
	}

	sim := run(f, "dtcat --run sim 'sim:?seed=11&rate=3000&triggers=3&hits=2700000&stale=160&hot=3:20&dead=1:11+4:40' | dtfilter | dtchamber | dthist --window 2s --hist2 auto")
	pictures(f, b, "sim", sim, 120, wanted)
	states(f, b, sim, wanted)
	data := os.Getenv("DT_DATA")
	if data == "" {
		data = filepath.Join("..", "shared", "data")
	}
	file := filepath.Join(data, "run591_lcp.dat.gz")
	if _, err := os.Stat(file); err == nil {
		lines := run(f, fmt.Sprintf("dtcat --run run591 --from lcp '%s' | dtfilter 'HEAD == 2' | dtchamber --map lcp | dthist --window 2s --hist2 auto", file))
		pictures(f, b, "run591", lines, 0, wanted, "--map", "lcp")
	}
	f.clean()
}

// run runs a pipe of our programs and returns its lines.
func run(f *fatal, script string) [][]byte {
	dir, err := filepath.Abs(*bin)
	if err != nil {
		f.Fatalf("%v", err)
	}
	cmd := exec.Command("bash", "-o", "pipefail", "-c", script)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		f.Fatalf("%s: %v", script, err)
	}
	return bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
}

// serve starts dtserve and returns its address, its standard input, and what ends it.
func serve(f *fatal, flags ...string) (address string, feed io.WriteCloser, end func()) {
	address = free(f)
	cmd := exec.Command(filepath.Join(*bin, "dtserve"), append([]string{"--listen", address}, flags...)...)
	cmd.Stderr = os.Stderr
	feed, err := cmd.StdinPipe()
	if err != nil {
		f.Fatalf("%v", err)
	}
	if err := cmd.Start(); err != nil {
		f.Fatalf("%v", err)
	}
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	f.undo = append(f.undo, end)
	up(f, address)
	return address, feed, end
}

// write gives lines to a server.
func write(f *fatal, feed io.Writer, lines [][]byte) {
	if _, err := feed.Write(bytes.Join(lines, nil)); err != nil {
		f.Fatalf("%v", err)
	}
}

// pictures shows a run, all but the last lines at once and these one a second, and takes every picture of it. With none to come the input ends.
func pictures(f *fatal, b *browser.Browser, run string, lines [][]byte, later int, wanted *regexp.Regexp, flags ...string) {
	address, feed, end := serve(f, flags...)
	defer end()
	later = min(later, len(lines)-1)
	now, then := lines[:len(lines)-later], lines[len(lines)-later:]
	write(f, feed, now)
	if later == 0 {
		_ = feed.Close()
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for _, line := range then {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
			}
			if _, err := feed.Write(line); err != nil {
				return
			}
		}
	}()

	for _, device := range []string{"desk", "phone"} {
		for _, theme := range []string{"light", "dark"} {
			tab := b.Tab(f)
			if device == "phone" {
				tab.Phone()
			}
			tab.Media("prefers-color-scheme", theme)
			tab.Open("http://" + address + "/")
			tab.Wait("the first draw", `document.querySelector('main').dataset.ready === '1'`, "")
			var tabs []string
			tab.Eval(`[...document.querySelectorAll('nav [data-tab]')].map(a => a.dataset.tab)`, &tabs)
			for _, name := range tabs {
				take(f, tab, wanted, fmt.Sprintf("%s-%s-%s-%s", run, name, theme, device), name != "glance" || device == "phone", func() {
					tab.Click(fmt.Sprintf(`nav [data-tab="%s"]`, name))
				})
			}
			take(f, tab, wanted, fmt.Sprintf("%s-help-%s-%s", run, theme, device), false, func() { tab.Keys("?") })
			for _, text := range tab.Trouble() {
				fmt.Fprintln(os.Stderr, "screenshots: the page complains:", text)
			}
			tab.Close()
		}
	}
}

// states shows what is only at times.
func states(f *fatal, b *browser.Browser, lines [][]byte, wanted *regexp.Regexp) {
	const pipe = " | dtfilter | dtchamber | dthist --window 2s --hist2 auto"
	lines = lines[:100]
	picture := func(address, name, hash string, phone bool, show func(*browser.Tab)) {
		if name = "state-" + name; !wanted.MatchString(name) {
			return
		}
		tab := b.Tab(f)
		defer tab.Close()
		if phone {
			tab.Phone()
		}
		tab.Open("http://" + address + "/" + hash)
		tab.Wait("the first draw", `document.querySelector('main').dataset.ready === '1'`, "")
		take(f, tab, wanted, name, false, func() {
			if show != nil {
				show(tab)
			}
		})
	}
	phase := func(word string) func(*browser.Tab) {
		return func(tab *browser.Tab) {
			tab.Wait(word, "document.body.dataset.phase === "+browser.Quote(word), "document.body.dataset.phase")
		}
	}

	address, feed, end := serve(f)
	picture(address, "waiting", "", false, nil)
	write(f, feed, lines[:1])
	picture(address, "stale-buffer", "", false, nil)
	write(f, feed, lines[1:60])
	picture(address, "paused", "", false, func(tab *browser.Tab) {
		tab.Keys(" ")
		tab.Shifted(kb.ArrowLeft)
	})
	reference := func(tab *browser.Tab) {
		tab.Click(`[data-action="reference"]`)
		tab.Click("dialog#reference .choices button")
	}
	picture(address, "reference-dialog", "", false, reference)
	picture(address, "reference", "#tab=chamber-1", false, func(tab *browser.Tab) {
		reference(tab)
		tab.Keys(kb.Escape)
		write(f, feed, lines[60:])
	})
	picture(address, "log", "#tab=chamber-1&log=1&scale=rate&span=run", false, nil)
	picture(address, "zoom", "#tab=chamber-1&zoom=drift~300~500,channel:1~5~25&span=run", false, nil)
	picture(address, "wire", "#wire=1:11&span=run", false, nil)
	picture(address, "wire-phone", "#wire=1:11&span=run", true, nil)
	picture(address, "phone", "", true, nil)
	picture(address, "phone-scrolled", "", true, func(tab *browser.Tab) { tab.Eval("scrollTo(0, 1000)", nil) })
	picture(address, "readout", "", false, func(tab *browser.Tab) { tab.Point(`figure[data-plot="trend:rates"] .plot-area`) })
	picture(address, "menu", "#tab=chamber-1", false, func(tab *browser.Tab) { tab.Click(`figure[data-plot="hist_1:1"] .plot-menu`) })
	picture(address, "disconnected", "", false, func(tab *browser.Tab) {
		end()
		phase("disconnected")(tab)
	})
	end()

	address, feed, end = serve(f, "--stale-after", "1s")
	write(f, feed, lines)
	picture(address, "stale", "", false, phase("stale"))
	end()

	for _, other := range []struct{ name, script, hash string }{
		{"no-triggers", "dtcat --run quiet 'sim:?triggers=1e-9&hits=240000&stale=0'" + pipe, ""},
		{"no-triggers-chamber", "dtcat --run quiet 'sim:?triggers=1e-9&hits=240000&stale=0'" + pipe, "#tab=chamber-2"},
		{"silent-chamber", "dtcat --run silent 'sim:?hits=300000&stale=0' | dtfilter 'HEAD == 2 && TDC_CHANNEL <= 128 && !(FPGA == 1 && TDC_CHANNEL < 64 && ORBIT_CNT > 1500000)' | dtchamber | dthist --window 2s --hist2 auto", ""},
		{"silent-fpga", "dtcat --run silent 'sim:?hits=300000&stale=0' | dtfilter 'HEAD == 2 && TDC_CHANNEL <= 128 && !(FPGA == 0 && ORBIT_CNT > 1500000)' | dtchamber | dthist --window 2s --hist2 auto", ""},
		{"long", "dtcat --run long 'sim:?rate=300&hits=2000000&stale=160'" + pipe, ""},
		{"bare", "dtcat --run bare 'sim:?hits=120000&stale=0'" + pipe + ` | jq -c '{Index, "Total Count"} + with_entries(select(.key | startswith("Chamber_")) | .value |= {Count, Hist_1, Hist_2, Hist_3, Hist_4} | .value |= map_values(if type == "object" then {Bins, Counts} else . end))'`, ""},
	} {
		if !wanted.MatchString("state-" + other.name) {
			continue
		}
		address, feed, end := serve(f)
		write(f, feed, run(f, other.script))
		picture(address, other.name, other.hash, false, nil)
		end()
	}
}

// take shows a view and takes its picture.
func take(f *fatal, tab *browser.Tab, wanted *regexp.Regexp, name string, whole bool, show func()) {
	if !wanted.MatchString(name) {
		return
	}
	show()
	// What a view asks the server for is on its way for a moment.
	tab.Wait("the view", `document.querySelector('main').dataset.ready === '1'`, "")
	tab.Eval("new Promise(done => setTimeout(() => done(null), 300))", nil)
	tab.Drawn()
	path := filepath.Join(*out, name+".png")
	if err := os.WriteFile(path, tab.Picture(whole), 0o666); err != nil {
		f.Fatalf("%v", err)
	}
	fmt.Println(path)
}

// free returns an address of this machine that nobody listens on.
func free(f *fatal) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatalf("%v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// up waits until the server answers.
func up(f *fatal, address string) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r, err := http.Get("http://" + address + "/healthz")
		if err != nil {
			continue
		}
		_ = r.Body.Close()
		if r.StatusCode == http.StatusOK {
			return
		}
	}
	f.Fatalf("nothing answers at %s", strings.TrimSpace(address))
}
