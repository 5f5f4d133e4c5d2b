package main

import (
	"compress/gzip"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"dt/dtserve/page"
	"dt/internal/tool"
)

// Bounds of requests and answers.
const (
	maxHeader   = 16 << 10
	headerTime  = 5 * time.Second
	readTime    = 10 * time.Second
	idleTime    = 60 * time.Second
	answerTime  = 30 * time.Second // for an answer, or for each piece of a long one
	heavyAtOnce = 4                // answers in the making
	heavyWait   = 10 * time.Second
	moreConns   = 256 // connections beside those of live clients
	gzipFrom    = 1 << 10
)

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// handler returns everything that is served.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", s.static("index.html"))
	mux.HandleFunc("/api", s.static("api.html"))
	mux.HandleFunc("/static/{name...}", func(w http.ResponseWriter, r *http.Request) { s.static(r.PathValue("name"))(w, r) })
	mux.Handle("/events", s.hub)
	mux.HandleFunc("/api/state", s.serveState)
	mux.HandleFunc("/api/sum", s.made(s.sum, "from", "to", "at", "span", "format"))
	mux.HandleFunc("/api/trend", s.made(s.trend, "from", "to", "format"))
	mux.HandleFunc("/api/windows", s.serveWindows)
	mux.HandleFunc("/api/run", s.made(s.runList))
	mux.HandleFunc("/api/reference", s.made(s.referenceView))
	mux.HandleFunc("/api/alarms", s.made(s.alarms))
	mux.HandleFunc("/metrics", s.serveMetrics)
	mux.HandleFunc("/healthz", s.serveHealth)
	mux.HandleFunc("/readyz", s.serveReady)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, r, http.StatusNotFound, "there is nothing here; /api says what there is")
	})
	return s.access.guard(mux)
}

// newHTTPServer returns the server, with its bounds.
func newHTTPServer(h http.Handler, say func(string, ...any)) *http.Server {
	return &http.Server{
		Handler:           h,
		MaxHeaderBytes:    maxHeader - 4096, // net/http adds as much
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		IdleTimeout:       idleTime,
		ConnContext:       withConn,
		ErrorLog:          log.New(&panics{say}, "", 0),
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: writeWithin, SendPingTimeout: 2 * beatEvery, PingTimeout: beatEvery},
	}
}

// panics tells of a panic, which is a mistake of ours. What else a connection goes wrong by is not for the terminal.
type panics struct{ say func(string, ...any) }

func (p *panics) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "panic") {
		p.say("%s", b)
	}
	return len(b), nil
}

// An access says who may ask.
type access struct {
	hosts  map[string]bool // names in Host and Origin, lower case
	open   bool            // not only this machine can reach it: then any address by number is right
	token  []byte          // or nil
	cookie string          // name
	tls    bool
}

// newAccess returns the rules for what listens at an address, as --listen has it, and the names that a certificate has.
func newAccess(host string, port int, loopback bool, token []byte, cert *tls.Certificate) *access {
	a := &access{hosts: map[string]bool{"localhost": true}, open: !loopback, token: token, cookie: "dtserve_" + strconv.Itoa(port), tls: cert != nil}
	if host != "" {
		a.hosts[strings.ToLower(host)] = true
	}
	if a.open {
		if name, err := os.Hostname(); err == nil {
			name = strings.ToLower(name)
			a.hosts[name] = true
			short, _, _ := strings.Cut(name, ".")
			a.hosts[short] = true
			a.hosts[short+".local"] = true
		}
	}
	if cert != nil && cert.Leaf != nil {
		for _, name := range cert.Leaf.DNSNames {
			a.hosts[strings.ToLower(name)] = true
		}
	}
	return a
}

// allows reports whether a host, with any port or none, is this server.
//
// A page elsewhere can have its own name point to this machine, and be of one origin with us then. It can't do so with a name that is
// ours, nor with an address by number.
func (a *access) allows(hostport string) bool {
	u := url.URL{Host: hostport}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if a.hosts[host] {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (a.open || ip.IsLoopback())
}

// guard lets through what may be asked, with the headers that every answer has.
func (a *access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		if !a.allows(r.Host) {
			fail(w, r, http.StatusForbidden, "this server is not called "+shortened(r.Host)+"; open it as localhost, by its address, or by the name that --listen has")
			return
		}
		if origins, sent := r.Header["Origin"]; sent {
			u, err := url.Parse(origins[0])
			if len(origins) != 1 || err != nil || u.Scheme != "http" && u.Scheme != "https" || !a.allows(u.Host) {
				fail(w, r, http.StatusForbidden, "pages of "+shortened(origins[0])+" may not read this server")
				return
			}
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			fail(w, r, http.StatusMethodNotAllowed, "there is only GET and HEAD: nothing can be changed here")
			return
		}
		if r.ContentLength != 0 {
			// Nobody would read it, and net/http waits for it before it answers.
			h.Set("Connection", "close")
			fail(w, r, http.StatusBadRequest, "there is nothing here that takes a body")
			return
		}
		if a.token != nil && r.URL.Path != "/healthz" && !a.knows(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// knows reports whether a request has the token; it has answered where not, and where the token has just been given.
func (a *access) knows(w http.ResponseWriter, r *http.Request) bool {
	given := func(text string, want []byte) bool {
		x, y := sha256.Sum256([]byte(text)), sha256.Sum256(want)
		return subtle.ConstantTimeCompare(x[:], y[:]) == 1
	}
	if kind, text, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(kind, "Bearer") && given(strings.TrimSpace(text), a.token) {
		return true
	}
	for _, c := range r.CookiesNamed(a.cookie) {
		if given(c.Value, a.cookieValue()) {
			return true
		}
	}
	q := r.URL.Query()
	if r.URL.Path == "/" && given(q.Get("token"), a.token) {
		http.SetCookie(w, &http.Cookie{Name: a.cookie, Value: string(a.cookieValue()), Path: "/", HttpOnly: true, Secure: a.tls, SameSite: http.SameSiteLaxMode})
		q.Del("token")
		u := url.URL{Path: "/", RawQuery: q.Encode()}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Location", u.String())
		w.WriteHeader(http.StatusSeeOther)
		return false
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="dtserve"`)
	w.Header().Set("Cache-Control", "no-store")
	fail(w, r, http.StatusUnauthorized, "a token is wanted: open this address once with /?token=… behind it, or send the header Authorization: Bearer …; the token is in the file that dtserve was given with --token-file")
	return false
}

// cookieValue is what stands for the token in the cookie.
func (a *access) cookieValue() []byte {
	sum := sha256.Sum256(append([]byte("dtserve cookie "), a.token...))
	return hex.AppendEncode(nil, sum[:])
}

// shortened returns a text of a request as it can be shown in an answer.
func shortened(s string) string { return fmt.Sprintf("%.60q", s) }

// minToken is the least number of characters of a token.
const minToken = 16

// readToken reads a token from a file that nobody else may read.
func readToken(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return nil, tool.Hint(fmt.Errorf("%s: others may read it (mode %04o)", name, info.Mode().Perm()), "chmod 600 "+name)
	}
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return nil, err
	}
	token := strings.TrimSpace(string(b))
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return nil, fmt.Errorf("%s: a token is one word of printable ASCII", name)
		}
	}
	if len(token) < minToken {
		return nil, tool.Hint(fmt.Errorf("%s: a token has at least %d characters, this has %d", name, minToken, len(token)), "head -c 24 /dev/urandom | base64 > "+name)
	}
	return []byte(token), nil
}

// fail answers with an error.
func fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	body, kind := []byte(text+"\n"), "text/plain; charset=utf-8"
	if strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/events" {
		body, kind = append(appendString([]byte(`{"Error":`), text), "}\n"...), "application/json"
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Del("Content-Disposition")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// answer sends a body that is all there: packed if the client takes that, and not at all where it has it already.
func answer(w http.ResponseWriter, r *http.Request, kind string, body []byte) {
	if unchanged(w, r, tagOf(body)) {
		return
	}
	if len(body) >= gzipFrom && takesGzip(r) {
		body = packed(body)
		w.Header().Set("Content-Encoding", "gzip")
	}
	send(w, r, kind, body)
}

// tagOf returns the ETag of an answer.
func tagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `W/"` + hex.EncodeToString(sum[:12]) + `"`
}

// unchanged sets the tag of what is asked for and reports whether the client has it; then all has been said.
func unchanged(w http.ResponseWriter, r *http.Request, tag string) bool {
	h := w.Header()
	h.Set("ETag", tag)
	h.Set("Vary", "Accept-Encoding")
	for _, list := range r.Header.Values("If-None-Match") {
		for have := range strings.SplitSeq(list, ",") {
			if have = strings.TrimSpace(have); have == "*" || strings.TrimPrefix(have, "W/") == strings.TrimPrefix(tag, "W/") {
				w.WriteHeader(http.StatusNotModified)
				return true
			}
		}
	}
	return false
}

// fresh sends a body that is never the same twice.
func fresh(w http.ResponseWriter, r *http.Request, kind string, body []byte) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Encoding")
	if len(body) >= gzipFrom && takesGzip(r) {
		body = packed(body)
		h.Set("Content-Encoding", "gzip")
	}
	send(w, r, kind, body)
}

func send(w http.ResponseWriter, r *http.Request, kind string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// takesGzip reports whether a client takes gzip.
func takesGzip(r *http.Request) bool {
	for _, list := range r.Header.Values("Accept-Encoding") {
		for one := range strings.SplitSeq(list, ",") {
			name, q, _ := strings.Cut(one, ";")
			if name = strings.TrimSpace(name); name != "gzip" && name != "*" {
				continue
			}
			value, ok := strings.CutPrefix(strings.ReplaceAll(q, " ", ""), "q=")
			weight, err := strconv.ParseFloat(value, 64)
			return !ok || err != nil || weight > 0
		}
	}
	return false
}

var packers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level exists
	return z
}}

type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

func packed(body []byte) []byte {
	out := make(buffer, 0, len(body)/3+64)
	z := packers.Get().(*gzip.Writer)
	defer packers.Put(z)
	z.Reset(&out)
	z.Write(body)
	z.Close()
	return out
}

// An asset is a file of the page.
type asset struct {
	kind, tag    string
	plain, small []byte
}

var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".json": "application/json",
}

var assets sync.Map // by name: func() *asset

// loadAsset returns a file of the page, read once; nil if there is none.
func loadAsset(name string) *asset {
	kind := kinds[path.Ext(name)]
	if kind == "" || !fs.ValidPath(name) {
		return nil
	}
	load, ok := assets.Load(name)
	if !ok {
		b, err := page.Files.ReadFile(name)
		if err != nil {
			return nil
		}
		load, _ = assets.LoadOrStore(name, sync.OnceValue(func() *asset {
			a := &asset{kind: kind, tag: tagOf(b), plain: b}
			if z := packed(b); len(z) < len(b) {
				a.small = z
			}
			return a
		}))
	}
	return load.(func() *asset)()
}

// static serves a file of the page.
func (s *server) static(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := loadAsset(name)
		if a == nil {
			fail(w, r, http.StatusNotFound, "the page has no such file")
			return
		}
		if unchanged(w, r, a.tag) {
			return
		}
		body := a.plain
		if a.small != nil && takesGzip(r) {
			body = a.small
			w.Header().Set("Content-Encoding", "gzip")
		}
		send(w, r, a.kind, body)
	}
}

// A maker makes an answer, and sets what is particular in its header.
type maker func(h http.Header, r *http.Request) (kind string, body []byte, err error)

// made serves what a maker makes for a request that has no parameters but those named.
func (s *server) made(f maker, params ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		kind, body, err := s.making(f, w.Header(), r, params)
		if err != nil {
			failed(w, r, err)
			return
		}
		answer(w, r, kind, body)
	}
}

// making bounds how many answers are in the making. They are sent after that, since a client may be slow to read.
func (s *server) making(f maker, h http.Header, r *http.Request, params []string) (kind string, body []byte, err error) {
	if err := only(r, params...); err != nil {
		return "", nil, err
	}
	wait := time.NewTimer(heavyWait)
	defer wait.Stop()
	select {
	case s.heavy <- struct{}{}:
		defer func() { <-s.heavy }()
		return f(h, r)
	case <-r.Context().Done():
		return "", nil, r.Context().Err() // nobody reads it
	case <-wait.C:
		h.Set("Retry-After", "5")
		return "", nil, &wrongError{http.StatusServiceUnavailable, "too much is asked for at once"}
	}
}

// attach names the file that an answer is saved as.
func attach(h http.Header, how string, parts ...string) {
	var name []byte
	for _, c := range []byte(strings.Join(parts, "-")) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && len(name) > 0:
			name = append(name, c)
		default:
			name = append(name, '_')
		}
	}
	h.Set("Content-Disposition", mime.FormatMediaType(how, map[string]string{"filename": string(name[:min(len(name), 120)])}))
}

// A place is what --listen names.
type place struct {
	spec, host, port string
	addr             *net.TCPAddr
	next             bool // or the next free port
}

// parseListen reads HOST:PORT, HOST, or PORT, with a + behind it or not.
func parseListen(spec string) (*place, error) {
	p := &place{spec: spec}
	bad := func(why string) (*place, error) {
		return nil, tool.Hint(&tool.UsageError{Msg: fmt.Sprintf("--listen %s: %s", spec, why)}, "--listen "+defaultListen)
	}
	text, next := strings.CutSuffix(spec, "+")
	p.next = next
	if _, err := strconv.ParseUint(text, 10, 16); err == nil {
		text = "127.0.0.1:" + text
	}
	var err error
	if p.host, p.port, err = net.SplitHostPort(text); err != nil {
		if p.host, p.port, err = net.SplitHostPort(net.JoinHostPort(strings.Trim(text, "[]"), "5006")); err != nil {
			return bad("this is no HOST:PORT")
		}
	}
	if p.addr, err = net.ResolveTCPAddr("tcp", net.JoinHostPort(p.host, p.port)); err != nil {
		return bad("there is no such address")
	}
	return p, nil
}

// open listens.
func (p *place) open() (net.Listener, error) {
	ln, err := net.ListenTCP("tcp", p.addr)
	switch {
	case err == nil:
		return ln, nil
	case errors.Is(err, syscall.EADDRINUSE):
		taken := net.JoinHostPort(p.host, p.port)
		free := nextFree(p.addr)
		switch {
		case free == nil:
			return nil, fmt.Errorf("%s is taken, and so are the next ports", taken)
		case p.next:
			return free, nil
		}
		defer free.Close()
		_, port, _ := net.SplitHostPort(free.Addr().String()) // it is an address
		return nil, tool.Hint(fmt.Errorf("%s is taken", taken), fmt.Sprintf("--listen %s is free", net.JoinHostPort(p.host, port)))
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return nil, fmt.Errorf("--listen %s: %w", p.spec, err)
}

// nextFree listens on the first of the next ports that is free.
func nextFree(at *net.TCPAddr) net.Listener {
	for port := at.Port + 1; port <= min(at.Port+50, 65535); port++ {
		if ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: at.IP, Port: port, Zone: at.Zone}); err == nil {
			return ln
		}
	}
	return nil
}

// A limited listener lets in so many connections at a time, and closes others at once.
type limited struct {
	net.Listener
	slots chan struct{}
}

type limitedConn struct {
	net.Conn
	free func()
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &limitedConn{conn, sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			conn.Close()
		}
	}
}

func (c *limitedConn) Close() error {
	c.free()
	return c.Conn.Close()
}

// pieces are a long answer, whose write deadline moves on with it.
type pieces struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	z   *gzip.Writer // or nil
	n   int          // bytes since the deadline was set
	err error
}

func (p *pieces) pack() {
	p.z = packers.Get().(*gzip.Writer)
	p.z.Reset(p.w)
}

// line writes a line.
func (p *pieces) line(text []byte) {
	if p.n -= len(text); p.n < 0 {
		p.n = 1 << 20
		p.rc.SetWriteDeadline(time.Now().Add(answerTime))
	}
	var out io.Writer = p.w
	if p.z != nil {
		out = p.z
	}
	if _, p.err = out.Write(text); p.err == nil {
		_, p.err = out.Write([]byte{'\n'})
	}
}

func (p *pieces) end() {
	if p.z != nil {
		p.z.Close() // an error has nobody to be told to
		packers.Put(p.z)
	}
}
