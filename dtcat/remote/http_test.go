package remote

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// newWeb starts a server. It answers every path that answers has.
func newWeb(t *testing.T, answers map[string]http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := answers[r.URL.Path]; answer != nil {
			answer(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	s.Config.ErrorLog = quiet
	t.Cleanup(s.Close)
	return s
}

var webTime = time.Date(2026, 3, 2, 10, 0, 0, 123e6, time.UTC)

// file answers with a content, and the ETag if there is one, or the time if not.
func file(etag string, modified time.Time, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		http.ServeContent(w, r, "x.csv", modified, strings.NewReader(content))
	}
}

func TestWeb(t *testing.T) {
	clearEnvironment(t)
	const content = "one two three four five"
	withoutRanges := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"a"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		io.WriteString(w, content)
	}
	s := newWeb(t, map[string]http.HandlerFunc{
		"/etag":   file(`"a"`, webTime, content),
		"/weak":   file(`W/"a"`, webTime, content),
		"/time":   file("", webTime, content),
		"/none":   file("", time.Time{}, content),
		"/weaker": file(`W/"a"`, time.Time{}, content),
		"/empty":  file(`"e"`, webTime, ""),
		"/plain":  withoutRanges,
		"/chunked": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, content[:4])
			http.NewResponseController(w).Flush()
			io.WriteString(w, content[4:])
		},
		"/nohead": func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			file(`"a"`, webTime, content)(w, r)
		},
		"/packed": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "identity" {
				t.Error("Accept-Encoding:", r.Header.Get("Accept-Encoding"))
			}
			w.Header().Set("Content-Encoding", "gzip") // it is said, and not unpacked
			file(`"a"`, webTime, content)(w, r)
		},
		"/to/there": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/etag", http.StatusFound) },
		"/a b/c%d":  file(`"a"`, webTime, content),
		"/query": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "token=a%2Fb&x" {
				t.Error(r.URL.RawQuery)
			}
			file(`"a"`, webTime, content)(w, r)
		},
	})
	const byTime = "modified 2026-03-02T10:00:00Z"
	n := int64(len(content))
	c := newClient(t, Settings{})
	for _, test := range []struct {
		path, name, kept string
		size             int64
		tag              string
		ranges           bool
		read             string // by asking for the bytes from 4
		from             int64
	}{
		{"/etag", "/etag", "etag", n, "a", true, content[4:], 4},
		{"/weak", "/weak", "weak", n, byTime, true, content[4:], 4},
		{"/time", "/time", "time", n, byTime, true, content[4:], 4},
		{"/none", "/none", "none", n, "", false, content[4:], 4},
		{"/weaker", "/weaker", "weaker", n, "", false, content[4:], 4},
		{"/empty", "/empty", "empty", 0, "e", false, "", 0},
		{"/plain", "/plain", "plain", n, "a", false, content, 0},
		{"/chunked", "/chunked", "chunked", -1, "", false, content, 0},
		{"/nohead", "/nohead", "nohead", n, "a", true, content[4:], 4},
		{"/packed", "/packed", "packed", n, "a", true, content[4:], 4},
		{"/to/there", "/to/there", "there", n, "a", true, content[4:], 4},
		{"/a%20b/c%25d#x", "/a%20b/c%25d", "c%25d", n, "a", true, content[4:], 4},
		{"/query?token=a%2Fb&x", "/query?token=…&x", "query", n, "a", true, content[4:], 4},
	} {
		l, err := c.List(t.Context(), s.URL+test.path)
		if err != nil {
			t.Error(err)
			continue
		}
		o := l.Objects[0]
		if len(l.Objects) != 1 || l.Folder || o.Name != s.URL+test.name || o.Path != test.kept || o.Size != test.size || o.Tag != test.tag || o.ranges != test.ranges {
			t.Errorf("%s: %+v", test.path, o)
		}
		if o.Size == 0 {
			continue
		}
		g, err := o.store.get(t.Context(), &o, 4, n)
		if err != nil {
			t.Errorf("%s: %v", test.path, err)
			continue
		}
		if b, err := io.ReadAll(g.body); err != nil || string(b) != test.read || g.from != test.from || g.size != test.size || g.tag != test.tag {
			t.Errorf("%s: %q %v %+v", test.path, b, err, g)
		}
		g.body.Close()
	}
}

func TestWebChanged(t *testing.T) {
	clearEnvironment(t)
	answers := map[string]http.HandlerFunc{}
	s := newWeb(t, answers)
	c := newClient(t, Settings{})
	for _, test := range []struct {
		before, after http.HandlerFunc
		was, is       string
	}{
		{file(`"a"`, webTime, "one"), file(`"b"`, webTime, "two"), "a", "b"},
		{file("", webTime, "one"), file("", webTime.Add(time.Second), "two"), "modified 2026-03-02T10:00:00Z", "modified 2026-03-02T10:00:01Z"},
		{file("", webTime, "one"), file("", webTime.Add(time.Hour), "two"), "modified 2026-03-02T10:00:00Z", "modified 2026-03-02T11:00:00Z"},
		{file("", time.Time{}, "one"), file("", time.Time{}, "longer"), "3 bytes", "6 bytes"},
		{file(`"a"`, webTime, "one"), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(412) }, "a", "another version"},
	} {
		answers["/x"] = test.before
		l, err := c.List(t.Context(), s.URL+"/x")
		if err != nil {
			t.Fatal(err)
		}
		answers["/x"] = test.after
		o := &l.Objects[0]
		_, err = o.store.get(t.Context(), o, 1, -1)
		var changed *ChangedError
		if !errors.As(err, &changed) || *changed != (ChangedError{s.URL + "/x", test.was, test.is}) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestWebErrors(t *testing.T) {
	clearEnvironment(t)
	status := func(n int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(n)
			io.WriteString(w, body)
		}
	}
	answers := map[string]http.HandlerFunc{
		"/401": status(401, ""), "/403": status(403, "<Error><Message>Request has expired</Message></Error>"), "/410": status(410, ""), "/407": status(407, ""),
		"/408": status(408, ""), "/429": status(429, ""), "/500": status(500, ""), "/502": status(502, ""), "/503": status(503, ""), "/504": status(504, ""),
		"/501": status(501, ""), "/204": status(204, ""), "/400": status(400, "<html>400 The plain HTTP request was sent to HTTPS port</html>"), "/418": status(418, ""),
		"/loop": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/loop?token=Geheim7", http.StatusFound)
		},
		"/ftp": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "ftp://elsewhere/Geheim7", http.StatusFound)
		},
		"/file": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		},
		"/void": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) },
		"/broken": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://user:Geheim7@%zz/")
			w.WriteHeader(http.StatusFound)
		},
		"/range": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 7-7/9")
			w.WriteHeader(206)
			io.WriteString(w, "x")
		},
	}
	s := newWeb(t, answers)
	host := strings.TrimPrefix(s.URL, "http://")
	c := newClient(t, Settings{})
	past := "X-Amz-Date=20260302T100000Z&X-Amz-Expires=60&X-Amz-Signature=Geheim7"
	for _, test := range []struct {
		path  string
		again bool
		want  string
	}{
		{"/nothing", false, "there is no such file (404) (hint: is the address right?)"},
		{"/410", false, "the file is gone for good (410) (hint: ask whoever gave you the address)"},
		{"/401", false, "the server wants a user and a password (401) (hint: https://USER:PASSWORD@" + host + "/…)"},
		{"user:Geheim7@/401", false, "the server refuses this user and password (401) (hint: is the password right?)"},
		{"/403", false, "access is denied (403) (hint: does it want a password, or a presigned address?)"},
		{"/403?" + past, false, "the presigned address expired on 2026-03-02 10:01 UTC (403) (hint: get a new one)"},
		{"/403?Signature=Geheim7&Expires=1772445660", false, "the presigned address expired on 2026-03-02 10:01 UTC (403) (hint: get a new one)"},
		{"/403?sig=Geheim7&se=2026-03-02T10:01:00Z", false, "the presigned address expired on 2026-03-02 10:01 UTC (403) (hint: get a new one)"},
		{"/403?X-Goog-Signature=Geheim7", false, "the presigned address has expired (403) (hint: get a new one)"},
		{"/407", false, "the proxy wants a user and a password (407) (hint: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT)"},
		{"/400", false, "the server speaks TLS there (hint: https:// instead of http://)"},
		{"/418", false, "the server answers 418 I'm a teapot"},
		{"/501", false, "the server answers 501 Not Implemented"},
		{"/204", false, "the server answers 204 No Content"},
		{"/408", true, "the server answers 408 Request Timeout"},
		{"/429", true, "the server answers 429 Too Many Requests"},
		{"/500", true, "the server answers 500 Internal Server Error"},
		{"/502", true, "the server answers 502 Bad Gateway"},
		{"/503", true, "the server answers 503 Service Unavailable"},
		{"/504", true, "the server answers 504 Gateway Timeout"},
		{"/loop", false, "more than 10 redirects, one after the other"},
		{"/ftp", false, "it is redirected to ftp://, which is not the web"},
		{"/file", false, "it is redirected to file://, which is not the web"},
		{"/broken", false, "it is redirected to what is no web address"},
		{"/void", false, "the server answers 302 Found"},
		{"/range", true, "the server sends other bytes than those that were asked for, or says so"},
	} {
		user, path, _ := strings.Cut(test.path, "/")
		_, err := c.List(t.Context(), "http://"+user+host+"/"+path)
		if test.again {
			var f *failure
			if !errors.As(err, &f) || !f.again || f.after != 3*time.Second && path != "range" || !strings.HasSuffix(err.Error(), ": "+test.want) {
				t.Errorf("%s: %v %+v", test.path, err, f)
			}
			continue
		}
		checkFinal(t, test.path, err, webName("http://"+user+host+"/"+path), test.want)
		if err != nil && strings.Contains(err.Error(), "Geheim7") {
			t.Errorf("%s: %v", test.path, err)
		}
	}
	for _, test := range []struct{ name, want string }{
		{"http://", "http://: no server is named (hint: https://host/path)"},
		{"https://user:Geheim7@/x", "https:///x: no server is named (hint: https://host/path)"},
		{"https://user:Geheim7 @host/x", "https://host/x: this is no web address (hint: https://host/path; %20 stands for a space, %25 for a %)"},
		{"https://host:70000/x", "https://host:70000/x: there is no such port"},
	} {
		if _, err := c.List(t.Context(), test.name); err == nil || err.Error() != test.want {
			t.Errorf("\n     %v\nwant %s", err, test.want)
		}
	}
}

// TestRedirects checks that a password and what is in an address go to nobody but the server that they are for.
func TestRedirects(t *testing.T) {
	clearEnvironment(t)
	var seen []string
	see := func(_ http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		seen = append(seen, strings.TrimSpace(user+":"+password+" "+r.Referer()))
	}
	other := newWeb(t, map[string]http.HandlerFunc{"/end": see})
	answers := map[string]http.HandlerFunc{}
	s := newWeb(t, answers)
	answers["/end"] = see
	answers["/away"] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/end", http.StatusFound) }
	answers["/here"] = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/end", http.StatusTemporaryRedirect)
	}
	answers["/two"] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/away", http.StatusSeeOther) }
	host := strings.TrimPrefix(s.URL, "http://")
	c := newClient(t, Settings{})
	for _, test := range []struct{ path, want string }{{"here", "user:p w"}, {"away", ":"}, {"two", ":"}} {
		seen = nil
		if _, err := c.List(t.Context(), "http://user:p%20w@"+host+"/"+test.path+"?token=Geheim7"); err != nil || len(seen) != 1 || seen[0] != test.want {
			t.Errorf("%s: %q %v", test.path, seen, err)
		}
	}
	// The same name over another scheme or port is another server, and so is one below it.
	for _, test := range []struct {
		to   string
		kept bool
	}{{"https://host/x", true}, {"http://host/x", false}, {"https://host:444/x", false}, {"https://sub.host/x", false}} {
		from := &http.Request{URL: &url.URL{Scheme: "https", Host: "host"}}
		u, _ := url.Parse(test.to)
		to := &http.Request{URL: u, Header: http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("a:b"))}}}
		if err := checkRedirect(to, []*http.Request{from}); err != nil || (to.Header.Get("Authorization") != "") != test.kept {
			t.Error(test, err, to.Header)
		}
	}
}

// TestConnections checks that several requests at once go through as many connections, also to a server that has HTTP/2, that connections
// are used again, and that one whose body is not read to its end is cut at once.
func TestConnections(t *testing.T) {
	clearEnvironment(t)
	ended := make(chan struct{})
	connections := make(chan string, 10)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connections <- r.Proto + " " + r.RemoteAddr
		if r.URL.Path == "/endless" {
			for b := make([]byte, 64<<10); ; {
				if _, err := w.Write(b); err != nil {
					close(ended)
					return
				}
			}
		}
		io.WriteString(w, "hello")
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	c := newClient(t, Settings{})
	c.transport.TLSClientConfig.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	get := func(path string) io.ReadCloser {
		t.Helper()
		u, _ := url.Parse(s.URL + path)
		o := &Object{Size: -1, url: u}
		g, err := c.web.get(t.Context(), o, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		return g.body
	}
	a, b := get("/a"), get("/b")
	first, second := <-connections, <-connections
	if first == second || !strings.HasPrefix(first, "HTTP/1.1 ") {
		t.Error(first, second)
	}
	for _, body := range []io.ReadCloser{a, b} {
		if _, err := io.ReadAll(body); err != nil {
			t.Error(err)
		}
		body.Close()
	}
	body := get("/endless")
	if again := <-connections; again != first && again != second {
		t.Errorf("%s is a connection more", again)
	}
	if _, err := io.CopyN(io.Discard, body, 1000); err != nil {
		t.Error(err)
	}
	body.Close()
	<-ended
}
