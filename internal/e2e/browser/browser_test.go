package browser

import (
	"bytes"
	"errors"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'"

const testPage = `<!doctype html><html lang="en"><title>t</title><body>
<button id="save">save</button> <button id="ask">ask</button> <a href="#x" id="link">link</a>
<select id="choice"><option>a<option>b</select>
<table id="t"><tr><th>A<th>B<tr><td> 1 <td>2</table>
<p id="said"></p>
<script src="page.js"></script>`

const testScript = `
const say = text => document.querySelector('#said').textContent += text + ';';
document.querySelector('#save').onclick = () => {
	const a = document.createElement('a');
	a.href = URL.createObjectURL(new Blob(['one,two\n'], {type: 'text/csv'}));
	a.download = 'numbers.csv';
	a.click();
};
document.querySelector('#ask').onclick = () => { alert('hey'); say('asked'); };
document.querySelector('#choice').onchange = e => say(e.target.value);
addEventListener('keydown', e => say(e.key + (e.shiftKey ? '+' : '')));
document.body.addEventListener('dragover', e => e.preventDefault());
document.body.addEventListener('drop', async e => { e.preventDefault(); const f = e.dataTransfer.files[0]; say(f.name + ' ' + f.size); });
`

func newTab(t *testing.T) (*Tab, *httptest.Server) {
	t.Helper()
	b, err := Start()
	if errors.Is(err, ErrMissing) {
		text := "left out: chromium (get it: apt-get install chromium)"
		if os.Getenv("DT_MUST") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(testPage))
		case "/page.js":
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = w.Write([]byte(testScript))
		case "/favicon.ico":
			w.WriteHeader(http.StatusNoContent)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	tab := b.Tab(t)
	tab.Open(s.URL + "/")
	return tab, s
}

// What the tab records is what the other tests rely on: all that a calm page does not do is seen.
func TestTrouble(t *testing.T) {
	tab, s := newTab(t)
	host := strings.TrimPrefix(s.URL, "http://")
	for _, test := range []struct{ does, says string }{
		{`console.error('one', {a: 1}); null`, "console: "},
		{`setTimeout(() => { throw new Error('late') }); null`, "exception: "},
		{`Promise.reject(new Error('nobody')); null`, "exception: "},
		{`{ const s = document.createElement('script'); s.textContent = 'self.pwned = 1'; document.body.append(s); } null`, "CSP: script-src"},
		{`document.body.setAttribute('style', 'color: red'); null`, "CSP: style-src"},
		{`fetch('http://127.0.0.1:1/x').catch(() => null)`, "CSP: connect-src"},
		{`fetch('/nothing').then(() => null)`, "404"},
		{`setTimeout(() => alert('hey')); null`, "dialog: hey"},
	} {
		before := len(tab.Trouble())
		tab.Eval(test.does, nil)
		seen := func() bool { return strings.Contains(strings.Join(tab.Trouble()[before:], "\n"), test.says) }
		for i := 0; !seen(); i++ {
			if i == 100 {
				t.Fatalf("%s: not seen in %q", test.does, tab.Trouble()[before:])
			}
			tab.Eval("new Promise(done => setTimeout(() => done(null), 20))", nil)
		}
	}
	if tab.Is("self.pwned") {
		t.Error("an inline script ran")
	}
	if foreign := tab.Foreign(host); len(foreign) > 1 { // what the policy refused may be told as asked for
		t.Errorf("foreign: %q", foreign)
	}
	if foreign := tab.Foreign("127.0.0.1:2"); len(foreign) < 2 {
		t.Errorf("requests %q are not all foreign to another port", tab.Requested())
	}
}

func TestSteps(t *testing.T) {
	tab, _ := newTab(t)
	tab.Choose("#choice", "b")
	tab.Keys("?")
	tab.Keys(kb.ArrowLeft)
	tab.Shifted(kb.ArrowRight)
	tab.Drop("body", "a.jsonl", bytes.Repeat([]byte("ü€"), 600_000))
	tab.Wait("the file", `document.querySelector('#said').textContent.includes('a.jsonl 3000000;')`, `document.querySelector('#said').textContent`)
	if got := tab.Text(`document.querySelector('#said').textContent`); !strings.HasPrefix(got, "b;?+;ArrowLeft;ArrowRight+;") {
		t.Errorf("the page heard %q", got)
	}
	if name, content := tab.Download(func() { tab.Click("#save") }); name != "numbers.csv" || string(content) != "one,two\n" {
		t.Errorf("%s: %q", name, content)
	}
	if got := tab.Table("#t"); len(got) != 2 || got[1][0] != "1" || got[0][1] != "B" {
		t.Errorf("table %q", got)
	}
	tab.Phone()
	if w := tab.Text(`String(innerWidth)`); w != "390" && w != "980" {
		t.Errorf("a phone is %s wide", w)
	}
	tab.Media("prefers-color-scheme", "dark")
	if !tab.Is(`matchMedia('(prefers-color-scheme: dark)').matches`) {
		t.Error("not dark")
	}
	if _, err := png.Decode(bytes.NewReader(tab.Picture(true))); err != nil {
		t.Error(err)
	}
	other := tab.Sibling()
	defer other.Close()
	tab.Eval(`localStorage.setItem('a', '1')`, nil)
	other.Open(tab.Text("location.href"))
	if !other.Is(`localStorage.getItem('a') === '1'`) {
		t.Error("a sibling has not the same storage")
	}
	stranger := tab.b.Tab(t)
	defer stranger.Close()
	stranger.Open(tab.Text("location.href"))
	if stranger.Is(`localStorage.getItem('a')`) {
		t.Error("a new reader has another's storage")
	}
}
