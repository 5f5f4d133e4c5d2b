// Screenshots writes pictures of every view of dtserve's page, in light and dark, on a desk and on a phone.
//
//	go run ./internal/e2e/screenshots [--bin bin] [--out .screenshots] [--only REGEXP]
//
// The page shows a simulated run with faults (a dead wire, a hot one), faster than live and then one window a second; and, where ../shared/data (or
// DT_DATA) has it, the real run 591. Its pictures begin with run591. Files are named RUN-VIEW-light|dark-desk|phone.png; those of the first screen
// show just the window, all others the whole page.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

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

	sim := run(f, "dtcat 'sim:?seed=11&rate=3000&triggers=3&hits=2700000&stale=160&hot=3:20&dead=1:11+4:40' | dtfilter | dtchamber | dthist --window 2s --hist2 auto")
	pictures(f, b, "sim", sim, 120, wanted)
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

// pictures shows a run, all but the last lines at once and these one a second, and takes every picture of it. With none to come the input ends.
func pictures(f *fatal, b *browser.Browser, run string, lines [][]byte, later int, wanted *regexp.Regexp, flags ...string) {
	address := free(f)
	cmd := exec.Command(filepath.Join(*bin, "dtserve"), append([]string{"--listen", address}, flags...)...)
	cmd.Stderr = os.Stderr
	feed, err := cmd.StdinPipe()
	if err != nil {
		f.Fatalf("%v", err)
	}
	if err := cmd.Start(); err != nil {
		f.Fatalf("%v", err)
	}
	stop := make(chan struct{})
	f.undo = append(f.undo, func() {
		close(stop)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	later = min(later, len(lines)-1)
	now, then := lines[:len(lines)-later], lines[len(lines)-later:]
	if _, err := feed.Write(bytes.Join(now, nil)); err != nil {
		f.Fatalf("%v", err)
	}
	if later == 0 {
		_ = feed.Close()
	}
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
	up(f, address)

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
	f.undo[len(f.undo)-1]()
	f.undo = f.undo[:len(f.undo)-1]
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
