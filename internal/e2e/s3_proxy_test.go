package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fault is what a proxy does to an answer.
type fault string

const (
	well         fault = ""
	faultReset   fault = "reset"      // the connection is reset at a byte of the body
	faultEnd     fault = "end"        // the connection ends at a byte of the body
	faultStall   fault = "stall"      // nothing comes from a byte of the body on; if that is the first, not even a status
	fault500     fault = "500"        //
	fault503     fault = "503"        // with Retry-After
	fault429     fault = "429"        // without
	faultDenied  fault = "403"        //
	faultShort   fault = "short"      // the body ends at a byte, rightly as far as HTTP goes
	faultMore    fault = "more"       // a Content-Length of more than there is
	faultLess    fault = "less"       // a Content-Length of less than there is
	faultRange   fault = "range"      // a part, and it says that it is another one
	faultGarbage fault = "garbage"    // of connections: what answers is no server of this protocol
	faultHangUp  fault = "hanging up" // of connections: it is closed at once
	faultGone    fault = "gone"       // of connections: reset at once
	faultWhole   fault = "whole"      // a range is asked for, and the whole object comes
)

// A proxied is a request, or a connection, that came to a proxy.
type proxied struct {
	Number int    // of requests and connections, from 1
	Method string // empty: a connection
	Path   string // unescaped: /bucket/key
	Query  string
	From   int64 // of the range that is asked for
	To     int64 // its end, which is not in it; −1: that of the object

	Fault fault
	At    float64 // where in the body, from 0 to 1

	Status int
	Sent   int64 // bytes of the body that went to the client
}

// gets reports whether the request is for the bytes of an object.
func (r *proxied) gets() bool {
	return r.Method == http.MethodGet && !strings.Contains(r.Query, "list-type=")
}

// A proxy stands between dtcat and a server. It is what a bad network and a busy server are, and it keeps a log.
type proxy struct {
	url string // the endpoint for dtcat

	decide func(r *proxied) // says what happens to a request or a connection by its Fault and At; one at a time

	t        testing.TB
	upstream *url.URL
	client   *http.Transport
	server   *http.Server
	closed   chan struct{}
	once     sync.Once // closes it

	mu    sync.Mutex
	all   []*proxied
	where place
}

// A place is where the server of a proxy seems to be.
type place struct {
	latency time.Duration // before each answer, and of each connection twice
	rate    int           // bytes a second of a connection; 0: as fast as they go
	ahead   time.Duration // by how much its clock differs
}

// moved puts the server of a proxy elsewhere.
func (p *proxy) moved(where place) *proxy {
	p.update(func() { p.where = where })
	return p
}

// proxy returns a proxy before the S3 server, over TLS as the server.
func (s *s3Server) proxy(t testing.TB, decide func(r *proxied)) *proxy {
	t.Helper()
	return s.proxyAs(t, s.certificate(t), decide)
}

// proxyAs is proxy with another certificate.
func (s *s3Server) proxyAs(t testing.TB, pair [2]string, decide func(r *proxied)) *proxy {
	t.Helper()
	certificate, err := tls.X509KeyPair([]byte(pair[1]), []byte(pair[0]))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{decide: decide}
	p.open(t, s.url, &http.Transport{TLSClientConfig: s.ca.trusted()}, &tls.Config{Certificates: []tls.Certificate{certificate}})
	return p
}

// plain returns a proxy before the S3 server that speaks no TLS.
func (s *s3Server) plain(t testing.TB) *proxy {
	t.Helper()
	p := &proxy{}
	p.open(t, s.url, &http.Transport{TLSClientConfig: s.ca.trusted()}, nil)
	return p
}

// webProxy returns a proxy before a server without TLS.
func webProxy(t testing.TB, upstream string, decide func(r *proxied)) *proxy {
	t.Helper()
	p := &proxy{decide: decide}
	p.open(t, upstream, &http.Transport{}, nil)
	return p
}

// trusted is for clients that trust this CA only.
func (a *certAuthority) trusted() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool}
}

func (p *proxy) open(t testing.TB, upstream string, client *http.Transport, secure *tls.Config) {
	t.Helper()
	var err error
	if p.upstream, err = url.Parse(upstream); err != nil {
		t.Fatal(err)
	}
	p.t, p.closed, p.client = t, make(chan struct{}), client
	client.DisableCompression, client.MaxIdleConnsPerHost = true, 64
	client.Proxy = nil
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.url = "http://" + l.Addr().String()
	p.server = &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0), TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	listener := net.Listener(proxyListener{l, p})
	if secure != nil {
		p.url = "https://" + l.Addr().String()
		listener = tls.NewListener(listener, secure)
	}
	go p.server.Serve(listener)
	t.Cleanup(p.close)
}

// close ends the proxy and its connections; it takes no new ones from then on.
func (p *proxy) close() {
	p.once.Do(func() {
		close(p.closed)
		p.server.Close()
		p.client.CloseIdleConnections()
	})
}

// note adds to the log, asks what is to happen, and says where.
func (p *proxy) note(r *proxied) place {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, r)
	r.Number = len(p.all)
	if p.decide != nil {
		p.decide(r)
	}
	return p.where
}

// log returns what came so far.
func (p *proxy) log() []proxied {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]proxied, len(p.all))
	for i, r := range p.all {
		list[i] = *r
	}
	return list
}

// requests returns those of the log that are for the bytes of an object whose path ends so.
func (p *proxy) requests(suffix string) []proxied {
	return slices.DeleteFunc(p.log(), func(r proxied) bool { return !r.gets() || !strings.HasSuffix(r.Path, suffix) })
}

// faults counts those that happened.
func (p *proxy) faults() map[fault]int {
	n := map[fault]int{}
	for _, r := range p.log() {
		if r.Fault != well {
			n[r.Fault]++
			n["all"]++
		}
	}
	return n
}

// update changes a record of the log.
func (p *proxy) update(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// A proxyListener takes connections, and spoils some.
type proxyListener struct {
	net.Listener
	p *proxy
}

func (l proxyListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		r := &proxied{}
		where := l.p.note(r)
		switch r.Fault {
		case faultGarbage:
			io.WriteString(conn, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
			go func() { // closed while there is something unread, it would be a reset
				conn.SetReadDeadline(time.Now().Add(time.Second))
				io.Copy(io.Discard, io.LimitReader(conn, 100))
				conn.Close()
			}()
		case faultHangUp:
			go func() {
				conn.Read(make([]byte, 4<<10))
				conn.Close()
			}()
		case faultGone:
			reset(conn)
		default:
			return &pacedConn{Conn: conn, latency: 2 * where.latency, rate: where.rate}, nil
		}
	}
}

// reset closes a connection in the rude way.
func reset(conn net.Conn) {
	for {
		switch c := conn.(type) {
		case *tls.Conn:
			conn = c.NetConn()
		case *pacedConn:
			conn = c.Conn
		default:
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			return
		}
	}
}

// hangUp closes the TCP connection, without the goodbye of TLS.
func hangUp(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	conn.Close()
}

// A pacedConn is far away.
type pacedConn struct {
	net.Conn
	latency time.Duration // before the first byte
	rate    int           // bytes a second
	due     time.Time     // of what is written next
}

func (c *pacedConn) Read(b []byte) (int, error) {
	if c.latency > 0 {
		time.Sleep(c.latency)
		c.latency = 0
	}
	return c.Conn.Read(b)
}

func (c *pacedConn) Write(b []byte) (int, error) {
	if c.rate == 0 {
		return c.Conn.Write(b)
	}
	written := 0
	for len(b) > 0 {
		part := b[:min(len(b), 16<<10)]
		now := time.Now()
		if c.due.Before(now) {
			c.due = now
		}
		c.due = c.due.Add(time.Duration(len(part)) * time.Second / time.Duration(c.rate))
		time.Sleep(time.Until(c.due))
		n, err := c.Conn.Write(part)
		written += n
		if err != nil {
			return written, err
		}
		b = b[len(part):]
	}
	return written, nil
}

var rangeWanted = regexp.MustCompile(`^bytes=(\d+)-(\d*)$`)

func (p *proxy) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r := &proxied{Method: request.Method, Path: request.URL.Path, Query: request.URL.RawQuery, To: -1}
	if m := rangeWanted.FindStringSubmatch(request.Header.Get("Range")); m != nil {
		r.From, _ = strconv.ParseInt(m[1], 10, 64)
		if m[2] != "" {
			r.To, _ = strconv.ParseInt(m[2], 10, 64)
			r.To++
		}
	}
	where := p.note(r)
	time.Sleep(where.latency)
	switch r.Fault {
	case fault500:
		p.refuse(w, r, http.StatusInternalServerError, "InternalError")
		return
	case fault503:
		// A number of seconds, a time, and those that are no wait.
		past := time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat)
		after := []string{"1", time.Now().Add(time.Second).UTC().Format(http.TimeFormat), "0", past, "0", past, "soon", "-1"}
		w.Header().Set("Retry-After", after[int(r.At*float64(len(after)))])
		p.refuse(w, r, http.StatusServiceUnavailable, "SlowDown")
		return
	case fault429:
		p.refuse(w, r, http.StatusTooManyRequests, "TooManyRequests")
		return
	case faultDenied:
		p.refuse(w, r, http.StatusForbidden, "AccessDenied")
		return
	case faultWhole:
		request.Header.Del("Range")
	}

	out := request.Clone(request.Context())
	out.URL.Scheme, out.URL.Host = p.upstream.Scheme, p.upstream.Host // and out.Host is what the client signed
	out.RequestURI = ""
	early(out, where.ahead)
	answer, err := p.client.RoundTrip(out)
	if err != nil {
		p.refuse(w, r, http.StatusBadGateway, "BadGateway")
		return
	}
	defer answer.Body.Close()
	if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		answer.Header.Set("Date", date.Add(where.ahead).UTC().Format(http.TimeFormat))
	}
	p.update(func() { r.Status = answer.StatusCode })
	size := answer.ContentLength
	spoilt := r.Fault != well && r.Fault != faultWhole && request.Method == http.MethodGet && answer.StatusCode < 300 && size > 0
	if r.Fault == faultRange && answer.StatusCode != http.StatusPartialContent {
		spoilt = false
	}
	if !spoilt {
		if r.Fault != faultWhole {
			p.update(func() { r.Fault = well }) // it cannot happen to this one
		}
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		io.Copy(&countedBody{w, p, r}, answer.Body)
		return
	}
	p.spoil(w, r, answer, min(int64(r.At*float64(size)), size-1))
}

// early makes a signed request older than it is.
func early(r *http.Request, by time.Duration) {
	const form = "20060102T150405Z"
	date, err := time.Parse(form, r.Header.Get("X-Amz-Date"))
	if err != nil || by == 0 {
		return
	}
	before := date.Add(-by)
	r.Header.Set("X-Amz-Date", before.Format(form))
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), date.Format("/20060102/"), before.Format("/20060102/"), 1))
}

// refuse answers as S3 does when something is wrong.
func (p *proxy) refuse(w http.ResponseWriter, r *proxied, status int, code string) {
	p.update(func() { r.Status = status })
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>the test wants it so</Message></Error>", code)
	}
}

// countedBody counts the bytes of a body.
type countedBody struct {
	io.Writer
	p *proxy
	r *proxied
}

func (c *countedBody) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.p.update(func() { c.r.Sent += int64(n) })
	return n, err
}

// spoil sends an answer with a fault at a byte of its body.
func (p *proxy) spoil(w http.ResponseWriter, r *proxied, answer *http.Response, at int64) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer hangUp(conn)
	if r.Fault == faultStall && at == 0 {
		p.untilGone(conn)
		return
	}
	size, header := answer.ContentLength, answer.Header.Clone()
	header.Set("Connection", "close")
	sent := size
	switch r.Fault {
	case faultReset, faultEnd, faultStall:
		sent = at
	case faultShort:
		sent = at
		header.Del("Content-Length")
		header.Set("Transfer-Encoding", "chunked")
	case faultMore:
		header.Set("Content-Length", strconv.FormatInt(size+1+at, 10))
	case faultLess:
		header.Set("Content-Length", strconv.FormatInt(at, 10))
	case faultRange:
		var from, to, all int64
		fmt.Sscanf(header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &all)
		header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from+1, to+1, all+1))
	default:
		panic("no fault of answers: " + r.Fault)
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %s\r\n", answer.Status)
	header.Write(&head)
	head.WriteString("\r\n")
	if _, err := conn.Write(head.Bytes()); err != nil {
		return
	}
	if r.Fault == faultShort {
		chunks := httputil.NewChunkedWriter(conn)
		io.CopyN(&countedBody{chunks, p, r}, answer.Body, sent)
		chunks.Close()
		io.WriteString(conn, "\r\n")
		return
	}
	if _, err := io.CopyN(&countedBody{conn, p, r}, answer.Body, sent); err != nil {
		return
	}
	switch r.Fault {
	case faultReset:
		reset(conn)
	case faultStall:
		p.untilGone(conn)
	case faultEnd:
		if at%2 == 0 {
			conn.Close() // with the goodbye of TLS
		}
	}
}

// untilGone waits until the client closes the connection.
func (p *proxy) untilGone(conn net.Conn) {
	gone := make(chan struct{})
	go func() {
		io.Copy(io.Discard, conn)
		close(gone)
	}()
	select {
	case <-gone:
	case <-p.closed:
	}
}

// A storm is faults that come at random: so many, and then it is over.
type storm struct {
	kinds  []fault
	share  float64 // of the requests that have one
	left   int
	random *rand.Rand
	begun  bool           // objects are being read
	row    map[string]int // faults in a row, by path and byte
}

// stormOf returns a storm of all faults that pass, which means that another try gets on.
func stormOf(seed uint64, faults int) *storm {
	return &storm{share: 0.85, left: faults, random: rand.New(rand.NewPCG(seed, 6)), row: map[string]int{},
		kinds: []fault{faultReset, faultReset, faultEnd, faultEnd, faultStall, fault500, fault503, fault429, faultShort, faultMore, faultLess, faultRange}}
}

// decide is for a proxy. No byte is refused so often that dtcat would give up.
func (s *storm) decide(r *proxied) {
	if s.begun = s.begun || r.From > 0; s.left == 0 {
		return
	}
	x, kind, at := s.random.Float64(), s.kinds[s.random.IntN(len(s.kinds))], s.random.Float64()
	switch {
	case r.Method == "": // a connection
		if x < 0.04 {
			r.Fault = []fault{faultHangUp, faultGone, faultGarbage}[s.random.IntN(3)]
			if r.Fault == faultGarbage && !s.begun {
				r.Fault = faultGone // at first, garbage is a wrong address
			}
			s.left--
		}
		return
	case x > s.share, !r.gets() && !strings.HasPrefix(string(kind), "5"):
		return
	}
	place := fmt.Sprint(r.Path, " ", r.From)
	if s.random.IntN(8) == 0 {
		at = 0
	}
	if s.row[place]++; s.row[place] > 3 {
		return
	}
	r.Fault, r.At = kind, at
	s.left--
}

// A forwarder is a proxy as people have one to get out of their network: it forwards requests and tunnels connections. It knows
// hosts that no resolver does.
type forwarder struct {
	url   string
	hosts map[string]string // host:port as it is asked for, and where that is

	mu   sync.Mutex
	seen []string // what was asked for
}

// newForwarder returns a forwarder; with a user it wants "user:password".
func newForwarder(t testing.TB, hosts map[string]string, user string) *forwarder {
	t.Helper()
	f := &forwarder{hosts: hosts}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.url = "http://" + l.Addr().String()
	if user != "" {
		f.url = "http://" + user + "@" + l.Addr().String()
	}
	dial := func(address string) (net.Conn, error) {
		to, known := f.hosts[address]
		if !known {
			return nil, fmt.Errorf("%s: no such host", address)
		}
		return net.Dial("tcp", to)
	}
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.seen = append(f.seen, r.Method+" "+r.Host)
		f.mu.Unlock()
		auth := &http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
		if name, password, _ := auth.BasicAuth(); user != "" && name+":"+password != user {
			w.Header().Set("Proxy-Authenticate", "Basic")
			http.Error(w, "who are you?", http.StatusProxyAuthRequired)
			return
		}
		address := r.Host
		if _, _, err := net.SplitHostPort(address); err != nil {
			address += ":80"
		}
		conn, err := dial(address)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer conn.Close()
		if r.Method != http.MethodConnect {
			r.Header.Del("Proxy-Authorization")
			r.Header.Del("Proxy-Connection")
			if r.Write(conn) != nil {
				return
			}
			answer, err := http.ReadResponse(bufio.NewReader(conn), r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			for name, values := range answer.Header {
				w.Header()[name] = values
			}
			w.WriteHeader(answer.StatusCode)
			io.Copy(w, answer.Body)
			return
		}
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
		var both sync.WaitGroup
		for _, pair := range [][2]net.Conn{{conn, client}, {client, conn}} {
			both.Go(func() {
				io.Copy(pair[0], pair[1])
				pair[0].(*net.TCPConn).CloseWrite()
			})
		}
		both.Wait()
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return f
}

// asked returns what was asked for, each once.
func (f *forwarder) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.Clone(f.seen)
	slices.Sort(list)
	return slices.Compact(list)
}
