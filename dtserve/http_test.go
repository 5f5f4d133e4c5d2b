package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"dt/internal/tool"
)

var paths = []string{"/", "/api", "/static/index.html", "/events", "/api/state", "/api/sum", "/api/trend", "/api/windows", "/api/run", "/api/reference", "/api/alarms", "/metrics", "/healthz", "/readyz", "/nothing"}

// Who asks under a name that is not ours, or for a page from elsewhere, gets nothing but a reason.
func TestHostAndOrigin(t *testing.T) {
	b := newBench(t)
	b.give(newSource("r").line(0))
	for _, test := range []struct {
		header string
		ok     bool
	}{
		{"Host: localhost", true}, {"Host: localhost:1234", true}, {"Host: LOCALHOST.:80", true}, {"Host: 127.0.0.1:9", true}, {"Host: [::1]:5006", true}, {"Host: [::1]", true},
		{"Host: evil.example", false}, {"Host: evil.example:5006", false}, {"Host: localhost.evil.example", false}, {"Host: 127.0.0.1.evil.example", false},
		{"Host: 10.0.0.1", false}, {"Host: 0.0.0.0", false}, {"Host: <script>", false},
		{"Origin: http://localhost:8000", true}, {"Origin: https://127.0.0.1", true}, {"Origin: http://[::1]:1", true},
		{"Origin: http://evil.example", false}, {"Origin: null", false}, {"Origin: file://", false}, {"Origin: http://localhost.evil.example:5006", false}, {"Origin: ", false},
		{"Origin: chrome-extension://localhost", false},
	} {
		for _, path := range paths {
			if path == "/events" && test.ok {
				continue // it does not end
			}
			a := b.get(path, test.header)
			if refused := a.StatusCode == http.StatusForbidden; refused == test.ok {
				t.Errorf("%s, %s: %d", test.header, path, a.StatusCode)
			}
			if !test.ok && strings.Contains(body(a), "<script>") {
				t.Errorf("%s comes back", test.header)
			}
		}
	}
}

func TestMethods(t *testing.T) {
	b := newBench(t)
	for _, path := range paths {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"} {
			if a := b.ask(method, path); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d", method, path, a.StatusCode)
			}
		}
		if path != "/events" {
			get, head := b.get(path), b.ask("HEAD", path)
			if get.StatusCode != head.StatusCode || body(head) != "" || get.Header.Get("Content-Type") != head.Header.Get("Content-Type") {
				t.Errorf("HEAD %s: %d, GET %d, %q", path, head.StatusCode, get.StatusCode, body(head))
			}
		}
	}
	if a := b.ask("HEAD", "/events"); a.StatusCode != 200 || a.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD /events: %d", a.StatusCode)
	}
}

// Every answer, also a refusal, has the headers that keep a browser from doing what it should not.
func TestHeaders(t *testing.T) {
	b := newBench(t)
	c := b.listenTo()
	answers := map[string]http.Header{"/events": c.head, "refused": b.get("/", "Host: evil").Header, "POST": b.ask("POST", "/").Header}
	for _, path := range paths {
		if path != "/events" {
			answers[path] = b.get(path).Header
		}
	}
	for path, h := range answers {
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s: %q", path, name, h.Get(name))
			}
		}
		for _, name := range []string{"Access-Control-Allow-Origin", "Server"} {
			if h.Get(name) != "" {
				t.Errorf("%s: %s: %q", path, name, h.Get(name))
			}
		}
	}
}

// A body that is promised and never comes makes nobody wait.
func TestBody(t *testing.T) {
	b := newBench(t)
	for _, path := range paths {
		for _, header := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", path, header)
			conn.SetReadDeadline(time.Now().Add(readTime / 2))
			if a, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || a.StatusCode != http.StatusBadRequest {
				t.Errorf("%s, %s: %v", path, header, err)
			}
			conn.Close()
		}
	}
}

// Who asks for much and never reads it keeps no one else from asking.
func TestStuckReaders(t *testing.T) {
	b, src := newBench(t), newSource("r")
	for i := range int64(200) {
		b.give(src.line(i))
	}
	for range heavyAtOnce {
		for _, path := range []string{"/api/windows", "/api/sum?format=csv"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.(*net.TCPConn).SetReadBuffer(4096)
			for range 200 { // more than the kernel takes
				fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
			}
		}
	}
	time.Sleep(time.Second)
	start := time.Now()
	if a := b.get("/api/sum"); a.StatusCode != 200 || time.Since(start) > heavyWait/2 {
		t.Errorf("%d after %v", a.StatusCode, time.Since(start))
	}
}

func TestLargeHeader(t *testing.T) {
	b := newBench(t)
	if a := b.get("/", "X-Large: "+strings.Repeat("x", 10<<10)); a.StatusCode != 200 {
		t.Error(a.StatusCode)
	}
	r, err := http.NewRequest("GET", b.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Large", strings.Repeat("x", 20<<10))
	// The server may close before all has been sent, and then the answer is lost.
	if a, err := new(http.Transport).RoundTrip(r); err == nil && a.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(a.StatusCode)
	}
}

const secret = "0123456789abcdefXYZ"

func TestToken(t *testing.T) {
	b := newBench(t, "--token-file", write(t, "token", secret+"\n", 0o600))
	for _, path := range paths {
		for _, header := range []string{"X: y", "Authorization: Bearer", "Authorization: Bearer 0123456789abcdefXY", "Authorization: Basic " + secret, "Cookie: " + b.access.cookie + "=" + secret, "Cookie: a=b"} {
			a := b.get(path, header)
			if path == "/healthz" {
				if a.StatusCode != 200 {
					t.Errorf("/healthz: %d", a.StatusCode)
				}
				continue
			}
			if a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" || !strings.Contains(body(a), "token") {
				t.Errorf("%s %s: %d", path, header, a.StatusCode)
			}
		}
		if path != "/events" {
			if a := b.get(path, "Authorization: bearer "+secret); a.StatusCode == http.StatusUnauthorized {
				t.Errorf("%s with the token: %d", path, a.StatusCode)
			}
		}
	}
	if a := b.get("/api/state?token=" + secret); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("the token in the address of another path: %d", a.StatusCode)
	}
	if a := b.get("/?token=wrong"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d", a.StatusCode)
	}
	a := b.get("/?token=" + secret + "&a=1")
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/?a=1" {
		t.Fatalf("%d %s", a.StatusCode, a.Header.Get("Location"))
	}
	cookie := a.Header.Get("Set-Cookie")
	for _, part := range []string{"HttpOnly", "SameSite=Lax", "Path=/"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("%s: no %s", cookie, part)
		}
	}
	if strings.Contains(cookie, secret) || strings.Contains(cookie, "Secure") {
		t.Error(cookie)
	}
	pair, _, _ := strings.Cut(cookie, ";")
	if a := b.get("/api/state", "Cookie: x=y; "+pair); a.StatusCode != 200 {
		t.Errorf("with the cookie: %d", a.StatusCode)
	}
	if strings.Contains(b.said.String(), secret) {
		t.Error("the token is told")
	}
}

func TestTokenFile(t *testing.T) {
	for _, test := range []struct {
		content string
		mode    os.FileMode
		says    string
	}{
		{secret, 0o644, "others may read it (mode 0644) (hint: chmod 600"},
		{secret, 0o640, "others may read it"},
		{"short", 0o600, "a token has at least 16 characters, this has 5"},
		{"", 0o600, "a token has at least 16 characters"},
		{secret + " " + secret, 0o600, "one word"},
		{secret + "ä", 0o600, "one word"},
	} {
		if _, err := readToken(write(t, "token", test.content, test.mode)); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: %v", test.content, err)
		}
	}
	if _, err := readToken(t.TempDir() + "/none"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Nobody else can look on unless that is asked for.
func TestOpenAddresses(t *testing.T) {
	try := func(args ...string) error {
		env := &tool.Env{Name: "dtserve", Args: args, Stderr: io.Discard, Stdout: os.Stdout}
		var cli flags
		if err := env.Parse(&cli, "", "", "listen", defaultListen); err != nil {
			return err
		}
		s, conf, err := newServer(env, &cli)
		if err != nil {
			return err
		}
		ln, err := s.listen(&cli, conf)
		if err == nil {
			ln.Close()
		}
		return err
	}
	token := write(t, "token", secret, 0o600)
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "203.0.113.1:5006"} {
		var usage *tool.UsageError
		if err := try("--listen", address); !errors.As(err, &usage) || !strings.Contains(err.Error(), "--token-file") || !strings.Contains(err.Error(), "--insecure-open") {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, args := range [][]string{{"--listen", "0.0.0.0:0", "--token-file", token}, {"--listen", ":0", "--insecure-open"}, {"--listen", "localhost:0"}, {"--listen", "0"}} {
		if err := try(args...); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	for _, address := range []string{"a:b:c", "127.0.0.1:x", "127.0.0.1:99999"} {
		var usage *tool.UsageError
		if err := try("--listen", address); !errors.As(err, &usage) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if err := try("--listen", "203.0.113.1:5006", "--insecure-open"); err == nil || !strings.Contains(err.Error(), "--listen 203.0.113.1:5006: cannot assign requested address") {
		t.Error(err)
	}
}

// Where everyone can look on, this machine has the names it is known by.
func TestOpenHosts(t *testing.T) {
	b := newBench(t, "--listen", "0.0.0.0:0", "--insecure-open")
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(b.url, "http://"))
	b.url = "http://127.0.0.1:" + port
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for host, ok := range map[string]bool{name: true, strings.ToUpper(name) + ":80": true, "10.1.2.3:5006": true, "[2001:db8::1]": true, "localhost": true, "evil.example": false} {
		if a := b.get("/", "Host: "+host); (a.StatusCode == 200) != ok {
			t.Errorf("%s: %d", host, a.StatusCode)
		}
	}
	if !strings.Contains(b.said.String(), "open http://"+name+":"+port+"\n") {
		t.Error(b.said.String())
	}
}

func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	p, err := parseListen(address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.open(); err == nil || !strings.HasPrefix(err.Error(), address+" is taken (hint: --listen 127.0.0.1:") || !strings.HasSuffix(err.Error(), " is free)") {
		t.Error(err)
	}
	if p, err = parseListen(address + "+"); err != nil {
		t.Fatal(err)
	}
	ln, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if ln.Addr().String() == address {
		t.Error("the same address")
	}
}

// certificate writes a certificate for a name, and its key.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644),
		write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})), 0o600)
}

// TLS, with HTTP/2 as browsers speak it: events come there, too, and the names of the certificate are ours.
func TestTLS(t *testing.T) {
	cert, key := certificate(t, "node.example")
	b := newBench(t, "--cert", cert, "--key", key, "--token-file", write(t, "token", secret, 0o600))
	address, src := strings.TrimPrefix(b.url, "http://"), newSource("r")
	if !strings.Contains(b.said.String(), "open https://"+address+" (the first time with /?token=… behind it)\n") {
		t.Error(b.said.String())
	}
	for _, h2 := range []bool{true, false} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: h2}
		r, err := http.NewRequest("GET", "https://"+address+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "node.example"
		r.Header.Set("Authorization", "Bearer "+secret)
		a, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if a.StatusCode != 200 || (a.ProtoMajor == 2) != h2 {
			t.Errorf("%s %s", a.Proto, a.Status)
		}
		buf := make([]byte, 12)
		if _, err := io.ReadFull(a.Body, buf); err != nil || string(buf) != "retry: 1000\n" {
			t.Errorf("%q %v", buf, err)
		}
		// The time for a write is no time for the stream.
		time.Sleep(writeWithin + 300*time.Millisecond)
		b.give(src.line(int64(b.history.Len())))
		want := fmt.Sprintf("id: %d\n", b.history.Len())
		for lines := bufio.NewReader(a.Body); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", a.Proto, err)
			}
			if line == want {
				break
			}
		}
		a.Body.Close()
		transport.CloseIdleConnections()
	}
	until(t, "they have gone", func() bool { return b.hub.count.Load() == 0 })
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

// What has not changed is not sent again, and what is sent is packed for whoever takes that.
func TestTagsAndGzip(t *testing.T) {
	b, src := newBench(t), newSource("r")
	for i := range int64(5) {
		b.give(src.line(i))
	}
	b.settle()
	for _, path := range []string{"/", "/api", "/static/index.html", "/api/sum", "/api/sum?at=3&span=run", "/api/trend", "/api/run", "/api/alarms", "/api/windows", "/api/windows?from=2&to=3"} {
		plain := b.get(path)
		tag := plain.Header.Get("ETag")
		if plain.StatusCode != 200 || tag == "" {
			t.Errorf("%s: %d, ETag %q", path, plain.StatusCode, tag)
			continue
		}
		for _, have := range []string{tag, strings.TrimPrefix(tag, "W/"), `"x", ` + tag, "*"} {
			if a := b.get(path, "If-None-Match: "+have); a.StatusCode != http.StatusNotModified || body(a) != "" || a.Header.Get("ETag") != tag {
				t.Errorf("%s, %s: %d", path, have, a.StatusCode)
			}
		}
		if a := b.get(path, `If-None-Match: "x"`); a.StatusCode != 200 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
		if len(body(plain)) < gzipFrom {
			continue
		}
		small := b.get(path, "Accept-Encoding: br, gzip;q=0.5")
		if small.Header.Get("Content-Encoding") != "gzip" || small.Header.Get("Vary") != "Accept-Encoding" || len(body(small)) >= len(body(plain)) {
			t.Errorf("%s is not packed", path)
			continue
		}
		if unpacked(t, small) != body(plain) {
			t.Errorf("%s is another when packed", path)
		}
		if a := b.get(path, "Accept-Encoding: gzip;q=0"); a.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s is packed for who does not take that", path)
		}
	}
	b.give(src.line(5))
	for _, path := range []string{"/api/trend", "/api/windows"} {
		if one := b.get(path + "?from=1&to=5"); b.get(path).Header.Get("ETag") == one.Header.Get("ETag") {
			t.Errorf("%s: another answer has the same tag", path)
		}
	}
}

func unpacked(t *testing.T, a *http.Response) string {
	t.Helper()
	z, err := gzip.NewReader(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestStatic(t *testing.T) {
	b := newBench(t)
	for path, kind := range map[string]string{"/": "text/html; charset=utf-8", "/api": "text/html; charset=utf-8", "/static/index.html": "text/html; charset=utf-8"} {
		if a := b.get(path); a.StatusCode != 200 || a.Header.Get("Content-Type") != kind {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.Header.Get("Content-Type"))
		}
	}
	for _, path := range []string{"/static/", "/static/page.go", "/static/../page.go", "/static/%2e%2e/page.go", "/static/plots", "/static//etc/passwd", "/static/none.js", "/index.html", "/api/", "/api/nothing"} {
		if a := b.get(path); a.StatusCode == 200 || strings.Contains(body(a), "package") {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

// Each endpoint says what its documentation says.
func TestEndpoints(t *testing.T) {
	b, src := newBench(t), newSource("run <1>")
	if a := b.get("/api/sum"); a.StatusCode != 404 || body(a) != `{"Error":"no window has come yet"}`+"\n" {
		t.Errorf("%d %s", a.StatusCode, body(a))
	}
	var state map[string]any
	decode := func(a *http.Response, to any) {
		t.Helper()
		if kind := a.Header.Get("Content-Type"); a.StatusCode != 200 || kind != "application/json" {
			t.Errorf("%d %s", a.StatusCode, kind)
		}
		if text := body(a); strings.ContainsAny(text, "<>&") || strings.Contains(text, "null") {
			t.Errorf("it has < or null: %.300s", text)
		}
		if err := json.Unmarshal([]byte(body(a)), to); err != nil {
			t.Fatalf("%v in %s", err, body(a))
		}
	}
	decode(b.get("/api/state"), &state)
	if state["Phase"] != "waiting" || state["Id"] != 0.0 || state["Window"] != nil {
		t.Errorf("%v", state)
	}
	var lines [][]byte
	for i := range int64(400) {
		lines = append(lines, src.line(i))
	}
	b.give(lines...)
	b.settle()
	decode(b.get("/api/state"), &state)
	rows := state["Rows"].([]any)
	columns := state["Columns"].([]any)
	if state["Id"] != 400.0 || len(rows) != stateRows || len(rows[0].([]any)) != len(columns) || state["Rows_From"] != 101.0 {
		t.Errorf("%v, %d rows from %v", state["Id"], len(rows), state["Rows_From"])
	}
	config := state["Config"].(map[string]any)
	m := config["Map"].(map[string]any)
	if x := m["X"].([]any); len(x) != 64 || x[4] != 42.0 || x[2] != 21.0 || m["Chambers"].([]any)[1].(map[string]any)["Label"] != "Chamber 2 (ch1: FPGA 0, 64–127)" {
		t.Errorf("%v", m)
	}

	total := func(view map[string]any) float64 { return view["Total"].(float64) }
	var window, run, both map[string]any
	decode(b.get("/api/sum?at=7&span=window"), &window)
	decode(b.get("/api/sum?from=1&to=400"), &run)
	decode(b.get("/api/sum?at=400&span=run"), &both)
	if total(run) != total(both) || total(run) != total(state["Whole"].(map[string]any)) {
		t.Errorf("%v, %v", total(run), total(both))
	}
	want := 0.0
	for i, text := range lines {
		var line map[string]any
		if err := json.Unmarshal(text, &line); err != nil {
			t.Fatal(err)
		}
		want += line["Total Count"].(float64)
		if i == 6 && line["Total Count"] != total(window) {
			t.Errorf("window 7 has %v, the line %v", total(window), line["Total Count"])
		}
	}
	if total(run) != want {
		t.Errorf("%v, the lines have %v", total(run), want)
	}
	var short map[string]any
	decode(b.get("/api/sum?at=100&span=10"), &short)
	if span := short["Span"].(map[string]any); span["From"] != 91.0 || span["To"] != 100.0 || span["Windows"] != 10.0 || span["Run"] != "run <1>" {
		t.Errorf("%v", span)
	}
	if a := b.get("/api/windows?from=3&to=4"); body(a) != string(lines[2])+"\n"+string(lines[3])+"\n" || a.Header.Get("Content-Type") != lineKind {
		t.Errorf("%.200s", body(a))
	}
	if a := b.get("/api/windows?number=17&epoch=0"); body(a) != string(lines[17])+"\n" {
		t.Errorf("%.200s", body(a))
	}
	var runs struct {
		Runs []struct {
			Name        string
			First, Last int
			Epochs      []struct{ Epoch, First, Last, Stale int }
		}
	}
	decode(b.get("/api/run"), &runs)
	if len(runs.Runs) != 1 || runs.Runs[0].Name != "run <1>" || runs.Runs[0].Last != 400 || len(runs.Runs[0].Epochs) != 1 || runs.Runs[0].Epochs[0].Last != 400 {
		t.Errorf("%+v", runs)
	}
	var alarms map[string]any
	decode(b.get("/api/alarms"), &alarms)
	if _, ok := alarms["Checks"].([]any); !ok {
		t.Errorf("%v", alarms)
	}

	for path, want := range map[string]struct {
		code int
		says string
	}{
		"/api/sum?from=0":                          {404, "windows 1 to 400 are kept"},
		"/api/sum?to=401":                          {404, "windows 1 to 400 are kept"},
		"/api/sum?at=999":                          {404, "windows 1 to 400 are kept"},
		"/api/sum?from=9&to=8":                     {400, "from 9 is above to 8"},
		"/api/sum?from=x":                          {400, `from: \"x\" is not a number`},
		"/api/sum?from=-1":                         {400, "is not a number"},
		"/api/sum?at=9&span=x":                     {400, "neither window"},
		"/api/sum?at=9&span=-5":                    {400, "neither window"},
		"/api/sum?at=9&span=NaN":                   {400, "neither window"},
		"/api/sum?at=9&from=1":                     {400, "exclude"},
		"/api/sum?format=xml":                      {400, "json and csv"},
		"/api/sum?form=csv":                        {400, `no parameter \"form\" here`},
		"/api/sum?%3Cscript%3E=1":                  {400, `no parameter \"\u003cscript\u003e\" here`},
		"/api/trend?to=99999":                      {404, "windows 1 to 400 are kept"},
		"/api/trend?format=xml":                    {400, "json and csv"},
		"/api/state?x=1":                           {400, `no parameter \"x\" here, nor any other`},
		"/api/alarms?x=1":                          {400, "no parameter"},
		"/api/reference?x=1":                       {400, "no parameter"},
		"/api/windows?from=500":                    {404, "kept"},
		"/api/windows?number=5000":                 {404, "no window"},
		"/api/windows?number=99999999999999999999": {400, "not a number"},
		"/api/reference":                           {404, "there is no reference"},
	} {
		a := b.get(path)
		if a.StatusCode != want.code || !strings.Contains(body(a), want.says) || !strings.HasPrefix(body(a), `{"Error":"`) || a.Header.Get("Content-Type") != jsonKind {
			t.Errorf("%s: %d %s", path, a.StatusCode, body(a))
		}
	}
}

// Tables for spreadsheets have the numbers of the views, and no cell that is a formula.
func TestCSV(t *testing.T) {
	b, src := newBench(t), newSource(`=HYPERLINK("http://evil","x")`)
	b.give(src.line(0), src.line(1))
	b.settle()
	a := b.get("/api/sum?format=csv")
	if d := a.Header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment; filename=") || strings.ContainsAny(d, `(<"`) || !strings.HasSuffix(d, "-sum-1-2.csv") {
		t.Errorf("%q", d)
	}
	table, err := csv.NewReader(a.Body).ReadAll()
	if err != nil || strings.Join(table[0], ",") != "histogram,bin_low,bin_high,count" {
		t.Fatal(err, table[0])
	}
	sums, names := map[string]int{}, map[string]int{}
	for _, row := range table[1:] {
		n := 0
		if err := json.Unmarshal([]byte(row[3]), &n); err != nil {
			t.Fatal(err)
		}
		sums[row[0]] += n
		names[row[0]]++
	}
	if sums["Chamber_1.Hist_1"] != sums["Chamber_1.Occupancy"] || sums["Chamber_1.Hist_1"] == 0 || names["Chamber_4.Hist_4"] != 102 || names["Chamber_2.Drift_Layer.3"] != 100 || names["FPGA_1.BX"] != 101 {
		t.Errorf("%v %v", sums, names)
	}
	table, err = csv.NewReader(b.get("/api/trend?format=csv").Body).ReadAll()
	if err != nil || len(table) != 3 || table[0][1] != "Run" || table[1][1] != `'=HYPERLINK("http://evil","x")` || len(table[0]) != len(table[1]) || table[2][0] != "2" {
		t.Fatalf("%v %v", err, table)
	}
	for text, want := range map[string]string{"a": "a", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", `a"b`: `"a""b"`, "a,b": `"a,b"`, "": "", "\tx": "\"'\tx\""} {
		if got := string(appendCell(nil, text)); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestMetrics(t *testing.T) {
	b, src := newBench(t), newSource("r")
	b.give(src.line(0), src.line(1), []byte("{"))
	c := b.listenTo()
	c.next()
	text := body(b.get("/metrics"))
	for _, want := range []string{
		"dt_windows_total 2\n", "dt_bad_lines_total 1\n", "dt_clients 1\n", "dt_history_windows 2\n", "dt_evictions_total 0\n", "dt_alarms 0\n",
		"# TYPE dt_windows_total counter\n", "# TYPE dt_rate_hz gauge\n", `dt_ledger_total{term="missing"} 0`, `dt_hits_total{chamber="1"} `, `dt_rate_hz{chamber="4"} `, `dt_ledger_total{term="read"} `, "dt_lag_seconds 0.", "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	// Labels that come from the input are bounded, and can't break the format.
	m := b.metrics
	m.labels("a\"} 1\nevil{x=\"", "r\\")
	for range 1000 {
		m.labels("stage", string(bytes.Repeat([]byte{'a'}, 1+len(m.reasons))))
	}
	if len(m.reasons) > maxReasons {
		t.Error(len(m.reasons))
	}
	for key := range m.reasons {
		if strings.ContainsAny(key[0]+key[1], "\"\\\n{}") {
			t.Errorf("%q", key)
		}
	}
}
