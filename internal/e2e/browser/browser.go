// Package browser drives Debian's Chromium through a page as a reader would: by keys, clicks and dropped files. It records everything that
// a calm page does not do: errors on the console, exceptions, violations of the content security policy, dialogs, and every address asked for.
//
// Steps that fail end the test at once, so they return no errors. Each wait is for a condition, with a generous limit.
package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	cdp "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Patience is the limit of each wait.
const Patience = 30 * time.Second

// ErrMissing says that there is no Chromium on this machine.
var ErrMissing = errors.New("no chromium")

// T is told of a step that failed: a testing.TB, or a program's own. Fatalf does not return.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
}

// A Browser is a running Chromium with nothing from earlier runs.
type Browser struct {
	ctx   context.Context
	close func()
	dir   string // its folder for the user's data
	tabs  int
	mu    sync.Mutex
}

// Start starts Chromium. Its error is ErrMissing where there is none.
func Start() (*Browser, error) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		return nil, ErrMissing
	}
	dir, err := os.MkdirTemp("", "dt-chromium-")
	if err != nil {
		return nil, err
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Join(dir, "user"))}
	for _, flag := range []string{"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "no-default-browser-check",
		"disable-background-networking", "disable-component-update", "disable-sync", "hide-scrollbars", "disable-dev-shm-usage",
		// A tab that is behind others must run as a reader's does.
		"disable-background-timer-throttling", "disable-backgrounding-occluded-windows", "disable-renderer-backgrounding"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	allocated, release := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocated)
	b := &Browser{ctx: ctx, dir: dir, close: func() { cancel(); release() }}
	if err := chromedp.Do(ctx); err != nil {
		b.Close()
		return nil, fmt.Errorf("chromium does not start: %w", err)
	}
	return b, nil
}

// Close ends Chromium and removes its files.
func (b *Browser) Close() {
	b.close()
	_ = os.RemoveAll(b.dir)
}

// A Tab is one window on the page. Its storage is its own, so a Tab is a new reader; Sibling makes another tab of the same one.
type Tab struct {
	b      *Browser
	t      T
	ctx    context.Context
	cancel func()
	files  string // the folder of its downloads

	width, height int64 // of the window
	options       []chromedp.EmulateViewportOption

	mu        sync.Mutex
	trouble   []string
	requested []string
}

// Tab opens an empty tab of 1440 × 900. The caller closes it.
func (b *Browser) Tab(t T) *Tab {
	t.Helper()
	return b.open(t, b.ctx, chromedp.WithNewBrowserContext())
}

// Sibling opens another tab of the same reader: with the same storage.
func (tab *Tab) Sibling() *Tab {
	tab.t.Helper()
	return tab.b.open(tab.t, tab.ctx)
}

func (b *Browser) open(t T, parent context.Context, options ...chromedp.ContextOption) *Tab {
	t.Helper()
	b.mu.Lock()
	b.tabs++
	files := filepath.Join(b.dir, fmt.Sprintf("files-%d", b.tabs))
	b.mu.Unlock()
	ctx, cancel := chromedp.NewContext(parent, options...)
	tab := &Tab{b: b, t: t, ctx: ctx, cancel: cancel, files: files}
	if err := os.Mkdir(files, 0o777); err != nil {
		t.Fatalf("%v", err)
	}
	if err := chromedp.Listen(ctx, tab.hear); err != nil { // starts the tab
		t.Fatalf("a new tab: %v", err)
	}
	yes := true
	tab.try("downloads", func(ctx context.Context) error {
		_, err := chromedp.CallBrowser(ctx, cdp.SetDownloadBehavior, cdp.SetDownloadBehaviorParams{Behavior: cdp.SetDownloadBehaviorBehaviorAllow,
			BrowserContextID: chromedp.FromContext(ctx).BrowserContextID, DownloadPath: files, EventsEnabled: &yes})
		return err
	})
	tab.try("the listener of violations", func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: `addEventListener('securitypolicyviolation', e => console.error('CSP: ' + e.effectiveDirective + ' refuses ' + (e.blockedURI || 'inline') + ' ' + e.sample));`})
		return err
	})
	tab.Size(1440, 900)
	return tab
}

// Close closes the tab.
func (tab *Tab) Close() { tab.cancel() }

// hear is called with each event, by the goroutine that reads them: it must not wait.
func (tab *Tab) hear(event any) {
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var words []string
			for _, a := range e.Args {
				if a.Description != "" {
					words = append(words, a.Description)
				} else {
					words = append(words, string(a.Value))
				}
			}
			tab.troubled("console: " + strings.Join(words, " "))
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description + string(x.Value)
		}
		tab.troubled("exception: " + text)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			tab.troubled(fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		tab.asked(e.Request.URL)
	case *network.EventWebSocketCreated:
		tab.asked(e.URL)
	case *page.EventJavascriptDialogOpening:
		tab.troubled("dialog: " + e.Message)
		go func() {
			_, _ = chromedp.Call(tab.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		}()
	case *inspector.EventTargetCrashed:
		tab.troubled("the tab crashed")
	}
}

func (tab *Tab) troubled(text string) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.trouble = append(tab.trouble, text)
}

func (tab *Tab) asked(address string) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.requested = append(tab.requested, address)
}

// Trouble returns what a calm page does not do, in order.
func (tab *Tab) Trouble() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return append([]string(nil), tab.trouble...)
}

// Requested returns every address that was asked for, in order.
func (tab *Tab) Requested() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return append([]string(nil), tab.requested...)
}

// Foreign returns the requests that went to another host or port than host. Addresses that no network is asked for do not count.
func (tab *Tab) Foreign(host string) []string {
	var out []string
	for _, r := range tab.Requested() {
		u, err := url.Parse(r)
		if err == nil && (u.Scheme == "data" || u.Scheme == "blob" || u.Scheme == "about" || u.Host == host) {
			continue
		}
		out = append(out, r)
	}
	return out
}

// try runs one step within Patience.
func (tab *Tab) try(what string, f func(ctx context.Context) error) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, Patience)
	defer cancel()
	if err := f(ctx); err != nil {
		tab.t.Fatalf("%s: %v%s", what, err, tab.told())
	}
}

func (tab *Tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	tab.try(what, func(ctx context.Context) error { return chromedp.Do(ctx, steps...) })
}

// told is what the page complained of so far, for the message of a failure.
func (tab *Tab) told() string {
	all := tab.Trouble()
	if len(all) == 0 {
		return ""
	}
	return "\nthe page complained:\n" + strings.Join(all, "\n")
}

// Open goes to an address and waits until the page has loaded.
func (tab *Tab) Open(address string) {
	tab.t.Helper()
	tab.do("open "+address, chromedp.Navigate(address))
}

// Reload loads the page again.
func (tab *Tab) Reload() {
	tab.t.Helper()
	tab.do("reload", chromedp.Reload())
}

// Size makes the window so large, in CSS pixels.
func (tab *Tab) Size(width, height int64) {
	tab.t.Helper()
	tab.width, tab.height, tab.options = width, height, nil
	tab.emulate(height)
}

// Phone makes the window that of a phone: small, dense, and touched.
func (tab *Tab) Phone() {
	tab.t.Helper()
	tab.width, tab.height = 390, 844
	tab.options = []chromedp.EmulateViewportOption{chromedp.EmulateScale(2), chromedp.EmulateMobile, chromedp.EmulateTouch}
	tab.emulate(tab.height)
}

func (tab *Tab) emulate(height int64) {
	tab.t.Helper()
	tab.do("size", chromedp.EmulateViewport(tab.width, height, tab.options...))
}

// Media sets media features, such as prefers-color-scheme to dark, by name and value.
func (tab *Tab) Media(features ...string) {
	tab.t.Helper()
	var p emulation.SetEmulatedMediaParams
	for i := 0; i < len(features); i += 2 {
		p.Features = append(p.Features, &emulation.MediaFeature{Name: features[i], Value: features[i+1]})
	}
	tab.try("media", func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, p)
		return err
	})
}

// Eval evaluates an expression, awaits it if it is a promise, and decodes its JSON into out, unless that is nil.
func (tab *Tab) Eval(expression string, out any) {
	tab.t.Helper()
	tab.try(short(expression), func(ctx context.Context) error { return tab.eval(ctx, expression, out) })
}

func (tab *Tab) eval(ctx context.Context, expression string, out any) error {
	text, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	if err != nil || out == nil {
		return err
	}
	if len(text) == 0 {
		text = []byte("null") // undefined
	}
	return json.Unmarshal(text, out)
}

// short is the beginning of a long text.
func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 200 {
		text = text[:200] + " …"
	}
	return text
}

// Text evaluates an expression that is a text.
func (tab *Tab) Text(expression string) string {
	tab.t.Helper()
	var s string
	tab.Eval(expression, &s)
	return s
}

// Is evaluates an expression that is true or false.
func (tab *Tab) Is(expression string) bool {
	tab.t.Helper()
	var b bool
	tab.Eval("!!("+expression+")", &b)
	return b
}

// Wait waits until an expression is true. Why, if not empty, is an expression whose value is told when it does not become so.
func (tab *Tab) Wait(what, expression, why string) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, Patience)
	defer cancel()
	var last error
	for {
		var yes bool
		if err := tab.eval(ctx, "(async () => !!(await ("+expression+")))()", &yes); err == nil && yes {
			return
		} else if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			text := ""
			if why != "" {
				var v any
				told, cancel := context.WithTimeout(tab.ctx, Patience)
				defer cancel()
				if err := tab.eval(told, why, &v); err != nil {
					v = err.Error()
				}
				b, _ := json.Marshal(v)
				text = ": " + string(b)
			}
			if last != nil {
				text += fmt.Sprintf(" (%v)", last)
			}
			tab.t.Fatalf("%s: not within %v%s%s", what, Patience, text, tab.told())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Keys presses keys, one after the other. Those without a character are named by the constants of the package kb.
func (tab *Tab) Keys(keys string) {
	tab.t.Helper()
	tab.do(fmt.Sprintf("keys %q", keys), chromedp.KeyEvent(keys))
}

// Shifted presses keys with shift held.
func (tab *Tab) Shifted(keys string) {
	tab.t.Helper()
	tab.do(fmt.Sprintf("shift and %q", keys), chromedp.KeyEvent(keys, chromedp.KeyModifiers(kb.ModifierShift)))
}

// Click clicks in the middle of the first element that a CSS selector finds, with a real pointer: it must be seen and not be covered.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	x, y := tab.middle(selector)
	tab.do("click "+selector, chromedp.MouseClickXY(x, y))
}

// Point moves the pointer to the middle of an element.
func (tab *Tab) Point(selector string) {
	tab.t.Helper()
	x, y := tab.middle(selector)
	tab.do("point at "+selector, chromedp.MouseEvent(chromedp.MouseMoved, x, y))
}

// Drag drags the pointer over an element, from one point of it to another, as shares of its width and height.
func (tab *Tab) Drag(selector string, fromX, fromY, toX, toY float64) {
	tab.t.Helper()
	tab.middle(selector)
	var r struct{ X, Y, Width, Height float64 }
	tab.Eval(fmt.Sprintf("document.querySelector(%s).getBoundingClientRect().toJSON()", Quote(selector)), &r)
	at := func(x, y float64) (float64, float64) { return r.X + x*r.Width, r.Y + y*r.Height }
	x, y := at(fromX, fromY)
	down := chromedp.MouseEvent(chromedp.MousePressed, x, y, chromedp.ButtonLeft, chromedp.ClickCount(1))
	steps := []chromedp.Action[chromedp.Void]{chromedp.MouseEvent(chromedp.MouseMoved, x, y), down}
	for i := 1; i <= 5; i++ {
		s := float64(i) / 5
		x, y = at(fromX+s*(toX-fromX), fromY+s*(toY-fromY))
		steps = append(steps, chromedp.MouseEvent(chromedp.MouseMoved, x, y, chromedp.ButtonLeft))
	}
	tab.do("drag over "+selector, append(steps, chromedp.MouseEvent(chromedp.MouseReleased, x, y, chromedp.ButtonLeft, chromedp.ClickCount(1)))...)
}

// middle waits for an element that is seen, brings it into view and returns its middle. What lies there must be it, or within it.
func (tab *Tab) middle(selector string) (x, y float64) {
	tab.t.Helper()
	find := fmt.Sprintf(`(() => {
		const e = document.querySelector(%s);
		if (!e) return null;
		e.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});
		const r = e.getBoundingClientRect();
		if (!r.width || !r.height) return null;
		const p = [r.x + r.width / 2, r.y + r.height / 2];
		const hit = document.elementFromPoint(...p);
		return hit && (e.contains(hit) || hit.contains(e) || hit.closest('label')?.contains(e)) ? p : null;
	})()`, Quote(selector))
	tab.Wait(selector+" is there, and not covered", find, "")
	var p [2]float64
	tab.Eval(find, &p)
	return p[0], p[1]
}

// Choose chooses a value of a select element, as a reader does.
func (tab *Tab) Choose(selector, value string) {
	tab.t.Helper()
	var ok bool
	tab.Eval(fmt.Sprintf(`(() => {
		const s = document.querySelector(%s);
		if (!s || ![...s.options].some(o => o.value === %s)) return false;
		s.value = %[2]s;
		s.dispatchEvent(new Event('input', {bubbles: true}));
		s.dispatchEvent(new Event('change', {bubbles: true}));
		return true;
	})()`, Quote(selector), Quote(value)), &ok)
	if !ok {
		tab.t.Fatalf("%s has no value %q", selector, value)
	}
}

// Set gives an input element a value, as moving a slider or typing does.
func (tab *Tab) Set(selector, value string) {
	tab.t.Helper()
	var ok bool
	tab.Eval(fmt.Sprintf(`(() => {
		const s = document.querySelector(%s);
		if (!s) return false;
		s.value = %s;
		s.dispatchEvent(new Event('input', {bubbles: true}));
		s.dispatchEvent(new Event('change', {bubbles: true}));
		return true;
	})()`, Quote(selector), Quote(value)), &ok)
	if !ok {
		tab.t.Fatalf("there is no %s", selector)
	}
}

// Drop drops a file with this name and content on an element.
func (tab *Tab) Drop(selector, name string, content []byte) {
	tab.t.Helper()
	// In pieces: one message holds only so much.
	tab.Eval("self.dropped = []; null", nil)
	for len(content) > 0 {
		n := min(len(content), 1<<20)
		for n < len(content) && !utf8.RuneStart(content[n]) {
			n--
		}
		tab.Eval(fmt.Sprintf("self.dropped.push(%s); null", Quote(string(content[:n]))), nil)
		content = content[n:]
	}
	tab.Eval(fmt.Sprintf(`(() => {
		const data = new DataTransfer();
		data.items.add(new File(self.dropped, %s));
		delete self.dropped;
		const e = document.querySelector(%s);
		for (const type of ['dragenter', 'dragover', 'drop'])
			e.dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true, composed: true}));
		return null;
	})()`, Quote(name), Quote(selector)), nil)
}

// Download does something that saves a file, and returns the file's name and content.
func (tab *Tab) Download(step func()) (string, []byte) {
	tab.t.Helper()
	before := tab.saved()
	step()
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for name, size := range tab.saved() {
			if _, old := before[name]; old || size == 0 || strings.HasSuffix(name, ".crdownload") || strings.HasPrefix(name, ".") {
				continue
			}
			content, err := os.ReadFile(filepath.Join(tab.files, name))
			if err != nil {
				tab.t.Fatalf("%v", err)
			}
			return name, content
		}
	}
	tab.t.Fatalf("no file was saved within %v%s", Patience, tab.told())
	return "", nil
}

func (tab *Tab) saved() map[string]int64 {
	list, err := os.ReadDir(tab.files)
	if err != nil {
		tab.t.Fatalf("%v", err)
	}
	out := map[string]int64{}
	for _, e := range list {
		if info, err := e.Info(); err == nil {
			out[e.Name()] = info.Size()
		}
	}
	return out
}

// Picture returns a PNG of what the window shows, or of the whole page, in a window as high as the page: what sticks to the window's foot is then at
// the page's.
func (tab *Tab) Picture(whole bool) []byte {
	tab.t.Helper()
	if whole {
		var high int64
		tab.Eval("document.documentElement.scrollHeight", &high)
		tab.emulate(max(high, tab.height))
		defer tab.emulate(tab.height)
		tab.Drawn()
	}
	var png []byte
	tab.try("picture", func(ctx context.Context) (err error) {
		png, err = chromedp.Run(ctx, chromedp.CaptureScreenshot())
		return err
	})
	return png
}

// Drawn waits until what has been asked for until now is drawn.
func (tab *Tab) Drawn() {
	tab.t.Helper()
	tab.Eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(null))))", nil)
}

// Quote makes a text a JavaScript string.
func Quote(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Table reads a table as it stands in the page, row by row, the head first; nil where there is none.
func (tab *Tab) Table(selector string) [][]string {
	tab.t.Helper()
	var rows [][]string
	tab.Eval(fmt.Sprintf(`(() => {
		const table = document.querySelector(%s);
		return table && [...table.rows].map(r => [...r.cells].map(c => c.textContent.trim()));
	})()`, Quote(selector)), &rows)
	return rows
}

// Fetch gets a path of the page's own server from within the page.
func (tab *Tab) Fetch(path string, out any) {
	tab.t.Helper()
	tab.Eval(fmt.Sprintf("fetch(%s).then(r => r.json())", Quote(path)), out)
}
