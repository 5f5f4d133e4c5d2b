package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dt/internal/e2e/browser"
)

// What the tests of the page share: a site is a dtserve with what fills it, a visitor is a browser's tab on it.

var chromium struct {
	once sync.Once
	*browser.Browser
	err error
}

// aBrowser returns the browser that all tests share.
func aBrowser(t testing.TB) *browser.Browser {
	t.Helper()
	chromium.once.Do(func() { chromium.Browser, chromium.err = browser.Start() })
	if errors.Is(chromium.err, browser.ErrMissing) {
		missing(t, "chromium", "apt-get install chromium")
	}
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	return chromium.Browser
}

// closeBrowser ends the browser, if there is one.
func closeBrowser() {
	if chromium.Browser != nil {
		chromium.Close()
	}
}

// outliving is a test whose programs are stopped by its cleanup, in order, and not all at once before it.
type outliving struct{ testing.TB }

func (outliving) Context() context.Context { return context.Background() }

// A site is a running dtserve.
type site struct {
	*running
	t       testing.TB
	address string   // host:port
	feed    *os.File // the test's end of the standard input, if it has it
	stopped bool
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// fed starts a dtserve that the test feeds.
func fed(t testing.TB, flags ...string) *site {
	t.Helper()
	return fedAt(t, freeAddress(t), flags...)
}

func fedAt(t testing.TB, address string, flags ...string) *site {
	t.Helper()
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	s := startSite(t, address, in, slices.Concat(stage{"dtserve", "--listen", address}, flags))
	s.feed = feed
	return s
}

// piped starts a whole pipe that ends in a dtserve, and returns the file that will hold the lines which went into it.
func piped(t testing.TB, stages []stage, flags ...string) (*site, string) {
	t.Helper()
	tee, err := exec.LookPath("tee")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	address := freeAddress(t)
	return startSite(t, address, nil, slices.Concat(stages, []stage{{tee, file}, slices.Concat(stage{"dtserve", "--listen", address}, flags)})...), file
}

func startSite(t testing.TB, address string, stdin *os.File, stages ...stage) *site {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	s := &site{t: t, address: address, running: startTo(outliving{t}, nil, stdin, null, stages...)}
	t.Cleanup(s.stop)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r, err := http.Get(s.url("healthz"))
		if err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return s
			}
		}
		if time.Now().After(end) {
			t.Fatalf("dtserve does not answer at %s: %v", address, err)
		}
	}
}

func (s *site) server() *exec.Cmd { return s.Cmds[len(s.Cmds)-1] }

func (s *site) url(path string) string {
	return "http://" + s.address + "/" + strings.TrimPrefix(path, "/")
}

// stop stops the server as an operator does. What its sources say then is of no interest.
func (s *site) stop() {
	if s.stopped {
		return
	}
	s.stopped = true
	_ = s.server().Process.Signal(syscall.SIGTERM)
	if s.feed != nil {
		_ = s.feed.Close()
	}
	r := s.wait()
	if last := len(r.Codes) - 1; r.Codes[last] != 0 {
		s.t.Errorf("dtserve: exit %d\n%s", r.Codes[last], r.Errs[last])
	}
	if s.t.Failed() {
		s.t.Logf("the programs said:\n%s", strings.Join(r.Errs, ""))
	}
}

// kill ends the server as a crash does.
func (s *site) kill() {
	s.stopped = true
	_ = s.server().Process.Kill()
	_ = s.feed.Close()
	s.wait()
}

// send feeds lines.
func (s *site) send(lines ...[]byte) {
	s.t.Helper()
	for _, line := range lines {
		if _, err := s.feed.Write(line); err != nil {
			s.t.Fatal(err)
		}
	}
}

// end ends the input.
func (s *site) end() {
	s.t.Helper()
	if err := s.feed.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// get gets a path, which must be there.
func (s *site) get(path string) []byte {
	s.t.Helper()
	r, err := http.Get(s.url(path))
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if r.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s\n%s", path, r.Status, body)
	}
	return body
}

// has waits until the server has got as far as a line.
func (s *site) has(id int) {
	s.t.Helper()
	for end := time.Now().Add(browser.Patience); ; time.Sleep(10 * time.Millisecond) {
		var state struct{ ID int }
		if err := json.Unmarshal(s.get("api/state"), &state); err != nil {
			s.t.Fatal(err)
		}
		if state.ID >= id {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("the server is at line %d, not at %d", state.ID, id)
		}
	}
}

// simLines returns the lines of a simulated run of this name, with these settings of sim:, in windows of this length.
func simLines(t testing.TB, run, settings, window string) [][]byte {
	t.Helper()
	out := pipeline(t, nil, stage{"dtcat", "--run", run, "sim:?" + settings}, stage{"dtfilter"}, stage{"dtchamber"},
		stage{"dthist", "--window", window, "--hist2", "auto"}).ok(t)
	return bytes.SplitAfter(bytes.TrimSpace(out), []byte("\n"))
}

// withNewlines ends each line as it must be.
func withNewlines(lines [][]byte) [][]byte {
	for i, l := range lines {
		if !bytes.HasSuffix(l, []byte("\n")) {
			lines[i] = append(slices.Clone(l), '\n')
		}
	}
	return lines
}

// A visitor is a tab on a site's page.
type visitor struct {
	*browser.Tab
	t       testing.TB
	s       *site
	allowed []*regexp.Regexp
}

// visit opens the page in the browser of a new reader, and waits for the first draw. In the end it must have been calm.
func (s *site) visit(t testing.TB, path string) *visitor {
	t.Helper()
	return s.look(t, aBrowser(t).Tab(t), path)
}

func (s *site) look(t testing.TB, tab *browser.Tab, path string) *visitor {
	t.Helper()
	v := &visitor{Tab: tab, t: t, s: s}
	t.Cleanup(v.leave)
	v.Open(s.url(path))
	v.ready()
	return v
}

// leave closes the tab and says what a calm page would not have done.
func (v *visitor) leave() {
	trouble := slices.DeleteFunc(v.Trouble(), func(text string) bool {
		return slices.ContainsFunc(v.allowed, func(r *regexp.Regexp) bool { return r.MatchString(text) })
	})
	if len(trouble) > 0 {
		v.t.Errorf("the page was not calm:\n%s", strings.Join(trouble, "\n"))
	}
	if foreign := v.Foreign(v.s.address); len(foreign) > 0 {
		v.t.Errorf("requests to others than the server:\n%s", strings.Join(foreign, "\n"))
	}
	if len(v.Requested()) == 0 {
		v.t.Error("no request was seen: the record is broken")
	}
	v.Close()
}

// allow takes complaints of the page that the test brings about.
func (v *visitor) allow(patterns ...string) {
	for _, p := range patterns {
		v.allowed = append(v.allowed, regexp.MustCompile(p))
	}
}

// ready waits for the first draw.
func (v *visitor) ready() {
	v.t.Helper()
	v.Wait("the first draw", `document.querySelector('main')?.dataset.ready === '1'`, `document.body.innerText.slice(0, 2000)`)
}

// at waits until a line is drawn.
func (v *visitor) at(id int) {
	v.t.Helper()
	v.Wait(fmt.Sprintf("line %d", id), fmt.Sprintf(`document.querySelector('main').dataset.id === '%d'`, id), `document.querySelector('main').dataset.id`)
}

// phase waits for a phase.
func (v *visitor) phase(want string) {
	v.t.Helper()
	v.Wait("phase "+want, fmt.Sprintf(`document.querySelector('#state').dataset.phase === '%s'`, want), `document.querySelector('#state').dataset.phase`)
}
