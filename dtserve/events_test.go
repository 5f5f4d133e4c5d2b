package main

import (
	"encoding/json"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Each client gets who the server is, the present state, and each window once, in order.
func TestEvents(t *testing.T) {
	b, src := newBench(t), newSource("r")
	c := b.listenTo()
	if e := c.next(); e.name != helloEvent || !strings.Contains(e.data, `"Started":`) {
		t.Fatalf("first comes %+v", e)
	}
	if e := c.next(); e.name != stateEvent || e.id != "0" || !strings.Contains(e.data, `"Phase":"waiting"`) {
		t.Fatalf("then comes %+v", e)
	}
	for i := range int64(3) {
		b.give(src.line(i))
		e := c.next()
		if e.name != stateEvent || e.id != strconv.FormatInt(i+1, 10) || !strings.Contains(e.data, `"Phase":"live"`) {
			t.Fatalf("window %d: %+v", i+1, e)
		}
	}
	b.settle()
	later := b.listenTo()
	later.next()
	if e := later.next(); e.id != "3" {
		t.Errorf("one who comes later begins with %+v", e)
	}
	// Who has the newest gets nothing twice, who has less gets the newest.
	back := b.listenTo("Last-Event-ID: 3")
	back.next()
	behind := b.listenTo("Last-Event-ID: 2")
	odd := b.listenTo("Last-Event-ID: <b>")
	b.give(src.line(3))
	if e := back.next(); e.id != "4" {
		t.Errorf("one who has 3 gets %.80s", e.data)
	}
	for _, c := range []*sseClient{behind, odd} {
		c.next()
		if e := c.next(); e.id != "3" && e.id != "4" {
			t.Errorf("one who comes back gets %+v", e)
		}
	}
	b.stop()
	for _, c := range []*sseClient{c, later, back} {
		var last sent
		for e := c.next(); e.name != ""; e = c.next() {
			last = e
		}
		if last.name != byeEvent || last.data != `{"Why":"the server stops"}` {
			t.Errorf("the last event is %+v", last)
		}
	}
}

// Many lines at once are few events; their rows leave none out.
func TestBurst(t *testing.T) {
	b, src := newBench(t), newSource("r")
	var lines [][]byte
	for i := range int64(500) {
		lines = append(lines, src.line(i))
	}
	c := b.listenTo()
	c.next()
	c.next()
	given := make(chan time.Duration, 1)
	go func() {
		start := time.Now()
		b.give(lines...)
		given <- time.Since(start)
	}()
	seen, events := 0, 0
	for seen < len(lines) {
		e := c.next()
		if e.name == "" {
			t.Fatal("the stream ended")
		}
		events++
		var s struct {
			Id, Rows_From int
			Rows          [][]any
		}
		if err := json.Unmarshal([]byte(e.data), &s); err != nil {
			t.Fatal(err)
		}
		if s.Rows_From > seen+1 && s.Rows_From != s.Id-eventRows+1 {
			t.Errorf("windows from %d on, but those up to %d came before", s.Rows_From, seen)
		}
		if n := len(s.Rows); n == 0 || int(s.Rows[n-1][0].(float64)) != s.Id {
			t.Errorf("%d rows", n)
		}
		seen = s.Id
	}
	took := <-given
	if most := int(took/publishEvery) + 5; events > most {
		t.Errorf("%d events in %v", events, took)
	}
}

// One that never reads is thrown out within 2 s of the first event that it has no room for, and nobody waits for it.
func TestStuckClient(t *testing.T) {
	b, src := newBench(t), newSource(strings.Repeat("long name ", 200)) // large events
	dial := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	for range 5 {
		conn, err := dial.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	c := b.listenTo()
	c.next()
	c.next()
	until(t, "all are there", func() bool { return b.hub.count.Load() == 6 })
	// What the five have, and since when.
	var has int64
	var since, gone time.Time
	start := time.Now()
	for i := int64(0); gone.IsZero(); i++ {
		given := time.Now()
		b.give(src.line(i))
		if e := c.next(); e.id != strconv.FormatInt(i+1, 10) {
			t.Fatalf("window %d: %.80s", i+1, e.data)
		}
		if took := time.Since(given); took > time.Second {
			t.Errorf("window %d took %v", i+1, took)
		}
		if b.hub.evictions.Load() == 5 {
			gone = time.Now()
		} else if n := b.hub.sent.Load() - i; n > has { // but those of the one that reads
			has, since = n, time.Now()
		}
		if time.Since(start) > 30*time.Second {
			t.Fatal("they are never thrown out")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if took := gone.Sub(since); took > 2*time.Second {
		t.Errorf("thrown out %v after they had room for an event", took)
	}
	until(t, "only one is left", func() bool { return b.hub.count.Load() == 1 })
}

// A client that has fallen far behind is thrown out before the library would wait for it.
func TestFarBehind(t *testing.T) {
	h := newHub(10)
	h.hello = func() []byte { return nil }
	h.now = func() present { return present{} }
	c := &client{hub: h, cancel: func() {}}
	c.has.Store(1)
	h.clients[c] = struct{}{}
	for range maxBehind + 1 {
		h.publish([]byte("x"))
	}
	if c.over.Load() {
		t.Error("too early")
	}
	h.publish([]byte("x"))
	if !c.over.Load() || h.evictions.Load() != 1 {
		t.Error("it is still there")
	}
	if maxBehind+5 > 64 { // the stream's own buffer and the number that is under way
		t.Error("the library would wait first")
	}
	delete(h.clients, c)
	h.close("", 0)
}

// Beyond the limit a client is told to come again.
func TestClientLimit(t *testing.T) {
	b := newBench(t, "--clients", "2")
	one := b.listenTo()
	b.listenTo().next()
	c := b.listenTo()
	if c.code != 503 || c.head.Get("Retry-After") == "" {
		t.Errorf("%d %v", c.code, c.head)
	}
	one.conn.Close()
	until(t, "there is room again", func() bool { return b.hub.count.Load() == 1 })
	if c := b.listenTo(); c.code != 200 {
		t.Errorf("%d", c.code)
	}
	if b.hub.refusals.Load() != 1 {
		t.Error(b.hub.refusals.Load())
	}
}

// When clients go, and when the server stops, no goroutine is left of them.
func TestNoGoroutineLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	b, src := newBench(t), newSource("r")
	idle := runtime.NumGoroutine()
	var clients []*sseClient
	for range 50 {
		clients = append(clients, b.listenTo())
	}
	b.give(src.line(0))
	for _, c := range clients[:25] {
		c.conn.Close()
	}
	until(t, "half of them have gone", func() bool { return b.hub.count.Load() == 25 && runtime.NumGoroutine() <= idle+25*4 })
	b.stop()
	for _, c := range clients[25:] {
		for e := c.next(); e.name != ""; e = c.next() {
		}
		c.conn.Close()
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A stop takes no longer than a second, even with a client that does not read.
func TestStopWithStuckClient(t *testing.T) {
	b, src := newBench(t), newSource(strings.Repeat("long name ", 200))
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4096)
	fmt.Fprint(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	until(t, "it is there", func() bool { return b.hub.count.Load() == 1 })
	for i := range int64(20) {
		b.give(src.line(i))
		time.Sleep(20 * time.Millisecond)
	}
	start := time.Now()
	b.stop()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("%v", took)
	}
}

// A phase that changes is told, without a new window.
func TestPhases(t *testing.T) {
	b, src := newBench(t, "--stale-after", "300ms"), newSource("r")
	c := b.listenTo()
	c.next()
	want := func(phase string) {
		t.Helper()
		if e := c.nextState(); !strings.Contains(e.data, `"Phase":"`+phase+`"`) {
			t.Fatalf("%s is wanted: %.200s", phase, e.data)
		}
	}
	ready := func(code int, says string) {
		t.Helper()
		if a := b.get("/readyz"); a.StatusCode != code || !strings.Contains(body(a), says) {
			t.Errorf("%d %s", a.StatusCode, body(a))
		}
	}
	want("waiting")
	ready(503, "no line has come yet")
	b.give(src.line(0))
	want("live")
	ready(200, "ready")
	want("stale")
	ready(503, "stale: the newest line came")
	// One who comes back to a state that has changed in the meantime is told, though it is of the same window.
	back := b.listenTo("Last-Event-ID: 1")
	back.next()
	if e := back.next(); e.name != stateEvent || !strings.Contains(e.data, `"Phase":"stale"`) {
		t.Errorf("%+v", e)
	}
	b.give(src.line(1))
	want("live")
	if err := b.piped(src.line(2), ""); err != nil {
		t.Fatal(err)
	}
	for {
		e := c.nextState()
		if strings.Contains(e.data, `"Ended":{"At":`) && strings.Contains(e.data, `"Phase":"ended"`) {
			break
		}
		if e.name == "" {
			t.Fatal("the end is not told")
		}
	}
	ready(503, "input ended")
	if a := b.get("/healthz"); a.StatusCode != 200 {
		t.Error(a.StatusCode)
	}
}
