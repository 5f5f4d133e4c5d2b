package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dt/internal/hist"
	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// messages keeps what a program says.
type messages struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (m *messages) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.b.Write(p)
}

func (m *messages) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.b.String()
}

// A bench is a server in this process, with its publishing and its HTTP.
type bench struct {
	*server
	t    testing.TB
	said *messages
	url  string
	http *http.Server
	stop func() // as at the end of the program
}

// newBench starts a server with flags, as the program does but for reading.
func newBench(t testing.TB, args ...string) *bench {
	t.Helper()
	said := &messages{}
	env := &tool.Env{Name: "dtserve", Args: append([]string{"--listen", "127.0.0.1:0"}, args...), Stderr: said, Stdout: os.Stdout}
	var cli flags
	if err := env.Parse(&cli, "", "", "listen", defaultListen); err != nil {
		t.Fatal(err)
	}
	s, conf, err := newServer(env, &cli)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := s.listen(&cli, conf)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{server: s, t: t, said: said, url: "http://" + ln.Addr().String(), http: newHTTPServer(s.handler(), env.Say)}
	if conf != nil {
		b.http.TLSConfig = conf
		go b.http.ServeTLS(ln, "", "")
	} else {
		go b.http.Serve(ln)
	}
	done := make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() { s.publishing(done) })
	b.stop = sync.OnceFunc(func() {
		close(done)
		publisher.Wait()
		s.publish()
		s.hub.close("the server stops", drainTime/2)
		b.http.Close()
	})
	t.Cleanup(b.stop)
	return b
}

// A source makes lines of windows of a second.
type source struct {
	r      *rand.Rand
	set    *hist.Settings
	run    string
	index  int64
	record uint64
	place  string
}

func newSource(run string) *source {
	set := hist.NewSettings(nil)
	set.SetWindow(hist.Detector, 1e9)
	set.Auto = 11223
	return &source{r: rand.New(rand.NewPCG(1, 1)), set: set, run: run, index: time.Now().UnixMicro() - 1e9, place: "f"}
}

// line returns the line of a window.
func (s *source) line(number int64) []byte {
	var out []hist.Window
	l := hist.NewLane(s.set, s.run)
	l.Emit = func(w hist.Window) error { out = append(out, w); return nil }
	var words []uint64
	for range 200 {
		o := uint32(number*s.set.Length) + s.r.Uint32N(uint32(s.set.Length))
		words = append(words, hit.NewHit(s.r.IntN(2), s.r.IntN(128), o, s.r.IntN(3000), s.r.IntN(30)))
		if s.r.IntN(20) == 0 {
			words = append(words, hit.NewHit(1, 128, o, s.r.IntN(3000), 3))
		}
	}
	codes := make([]uint8, len(words))
	s.set.Map.Assign(codes, words)
	l.Words(0, words, codes)
	if err := l.Finish(); err != nil || len(out) != 1 {
		panic(fmt.Sprint(len(out), err))
	}
	c := out[0].Counts
	s.index += 1_000_000
	next := s.record + uint64(c.Ledger.Read)
	line := &hist.Line{Index: s.index, Window: hist.WindowInfo{Run: s.run, Number: number}, Counts: c, Complete: true, Node: "node",
		Lanes: []hist.LaneSource{{Run: s.run, K: 1, N: 1, First: s.record, Next: next, Place: &hist.Place{Name: s.place, Offset: next, Number: next, Partition: -1}}}}
	s.record = next
	return line.Append(nil)
}

// give takes lines as reading does.
func (b *bench) give(lines ...[]byte) {
	for i, text := range lines {
		b.take(text, int64(i+1), time.Now())
	}
}

// settle waits until all that was given is shown.
func (b *bench) settle() {
	b.t.Helper()
	want := b.history.Newest()
	until(b.t, "the state is shown", func() bool {
		n := b.shown.Load()
		return want == nil || n.id == want.ID && b.hub.last.Load() >= n.number
	})
}

// until waits for something that comes soon.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never comes that %s", what)
		}
	}
}

// get asks for a path, with headers as in "Name: value".
func (b *bench) get(path string, headers ...string) *http.Response {
	b.t.Helper()
	return b.ask(http.MethodGet, path, headers...)
}

func (b *bench) ask(method, path string, headers ...string) *http.Response {
	b.t.Helper()
	r, err := http.NewRequest(method, b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
		} else {
			r.Header.Add(name, value)
		}
	}
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	a, err := transport.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	body, err := io.ReadAll(a.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	a.Body.Close()
	a.Body = io.NopCloser(bytes.NewReader(body))
	return a
}

// body returns the body of an answer.
func body(a *http.Response) string {
	b, _ := io.ReadAll(a.Body) // it is in memory
	a.Body = io.NopCloser(bytes.NewReader(b))
	return string(b)
}

// write puts a text into a file.
func write(t testing.TB, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// piped reads lines as the program does, from a pipe that is fed with content, and returns what it says at the end.
func (b *bench) piped(content []byte, log string) error {
	b.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	go func() {
		w.Write(content)
		w.Close()
	}()
	return b.feed(wire.NewInput(r, -1), log)
}

// An sseClient reads /events.
type sseClient struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	head http.Header
	code int
}

// An sent is an event that came.
type sent struct{ id, name, data string }

// listenTo connects to /events.
func (b *bench) listenTo(headers ...string) *sseClient {
	b.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n%s\r\n", strings.Join(append(headers, ""), "\r\n"))
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(conn)
	a, err := http.ReadResponse(r, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return &sseClient{b.t, conn, bufio.NewReader(a.Body), a.Header, a.StatusCode}
}

// next returns the next event; its name is empty at the end of the stream.
func (c *sseClient) next() (e sent) {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return sent{}
		}
		line = strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.name != "" {
				return e
			}
		}
	}
}

// nextState returns the next state.
func (c *sseClient) nextState() sent {
	c.t.Helper()
	for {
		e := c.next()
		if e.name == stateEvent || e.name == "" {
			return e
		}
	}
}
