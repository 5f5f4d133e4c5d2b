package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/r3labs/sse/v2"
)

// Times and bounds of /events.
const (
	writeWithin = 1500 * time.Millisecond // a write that takes longer evicts its client
	beatEvery   = 5 * time.Second         // a comment, so that a dead connection is noticed
	maxBehind   = 40                      // events; a client further behind is evicted. The library keeps 64 a client, and waits for one that has more
	kept        = 64                      // events, for the clients that are behind
	sendBuffer  = 64 << 10                // bytes in the kernel a client: one that never reads is noticed after a few events
	stream      = "state"                 // the library's name for our one stream
)

// An event is what all clients get, made once.
type event struct {
	number int64  // 1, 2, …
	text   []byte // as it goes over the wire
}

// A hub sends events to all clients of /events.
//
// The library wakes a goroutine a client for each event. What goes through it is the number of the event only: the client's
// side of it, below, writes the text, which all share, in one piece and within a time.
type hub struct {
	limit int
	hello func() []byte  // what each client gets first
	now   func() present // what a client that comes gets next

	sse *sse.Server

	mu      sync.Mutex
	clients map[*client]struct{}
	closing bool
	gone    sync.Cond // a client has gone

	last atomic.Int64                // number of the newest event
	ring [kept]atomic.Pointer[event] // by number

	count               atomic.Int64 // clients
	evictions, refusals atomic.Int64
	sent                atomic.Int64 // events, to all clients
}

// A present is the state at this moment.
type present struct {
	number int64 // of the event that told it
	id     int64 // of the newest window
	quiet  bool  // whoever has this id knows all of it
	text   []byte
}

func newHub(limit int) *hub {
	h := &hub{limit: limit, sse: sse.New(), clients: map[*client]struct{}{}}
	h.gone.L = &h.mu
	h.sse.AutoReplay = false
	h.sse.BufferSize = 4
	h.sse.CreateStream(stream)
	return h
}

// next returns the number of the event that is published next. What now returns must have it before it is published, so that a client
// that comes in between misses nothing.
func (h *hub) next() int64 { return h.last.Load() + 1 }

// publish sends an event to all clients; one goroutine at a time. It returns false where they did not get it.
func (h *hub) publish(text []byte) bool {
	e := &event{number: h.last.Add(1), text: text}
	h.ring[e.number%kept].Store(e)
	sent := h.sse.TryPublish(stream, &sse.Event{Data: strconv.AppendInt(nil, e.number, 10)})
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		if e.number-c.has.Load() > maxBehind {
			h.evict(c)
		}
	}
	return sent
}

// Names of events.
const (
	helloEvent = "hello"
	stateEvent = "state"
	byeEvent   = "bye"
)

// appendEvent appends an event. data has no line feed in it.
func appendEvent(dst []byte, name string, id int64, data []byte) []byte {
	if name == stateEvent {
		dst = append(dst, "id: "...)
		dst = strconv.AppendInt(dst, id, 10)
		dst = append(dst, '\n')
	}
	dst = append(dst, "event: "...)
	dst = append(dst, name...)
	dst = append(dst, "\ndata: "...)
	dst = append(dst, data...)
	return append(dst, "\n\n"...)
}

// beat sends a comment.
func (h *hub) beat() { h.sse.TryPublish(stream, &sse.Event{Comment: []byte("beat")}) }

// event returns an event by its number, or the newest if it is not kept any more.
func (h *hub) event(number int64) *event {
	if e := h.ring[number%kept].Load(); e.number == number {
		return e
	}
	return h.ring[h.last.Load()%kept].Load()
}

// evict ends a client that does not read.
func (h *hub) evict(c *client) {
	if c.over.CompareAndSwap(false, true) {
		h.evictions.Add(1)
		// What the kernel still holds for it is thrown away.
		if conn, ok := c.conn.(*net.TCPConn); ok {
			conn.SetLinger(0)
		}
	}
	c.cancel()
}

// A client is the ResponseWriter of one client of /events, as the library sees it.
type client struct {
	http.ResponseWriter
	rc      *http.ResponseController
	hub     *hub
	conn    net.Conn // below TLS; nil where it is not known
	cancel  context.CancelFunc
	since   string       // Last-Event-ID
	wrote   []byte       // by the library since the last Flush
	started bool         // the first Flush has been
	has     atomic.Int64 // number of the newest event that it has, or that was when it came
	over    atomic.Bool  // nothing more is written
}

type connKey struct{}

// withConn keeps the connection in the context of its requests.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if l, ok := conn.(*limitedConn); ok {
		conn = l.Conn
	}
	return context.WithValue(ctx, connKey{}, conn)
}

// ServeHTTP keeps a client until it, or the server, ends.
func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c := &client{ResponseWriter: w, rc: http.NewResponseController(w), hub: h, cancel: cancel, since: r.Header.Get("Last-Event-ID")}
	if conn, ok := ctx.Value(connKey{}).(net.Conn); ok && r.ProtoMajor == 1 {
		c.conn = conn
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetWriteBuffer(sendBuffer)
		}
	}
	if text, status := h.enter(c); status != 0 {
		w.Header().Set("Retry-After", "10")
		fail(w, r, status, text)
		return
	}
	defer h.leave(c)
	// A stream has no end in time. One that reads nothing more of it is found by writing.
	c.rc.SetReadDeadline(time.Time{})
	// Of the request the library wants the stream's name, and the id as a number, which is for us to know.
	r = r.Clone(ctx)
	r.URL.RawQuery = "stream=" + stream
	r.Header.Del("Last-Event-ID")
	h.sse.ServeHTTP(c, r)
}

func (h *hub) enter(c *client) (text string, status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closing:
		return "the server stops", http.StatusServiceUnavailable
	case len(h.clients) >= h.limit:
		h.refusals.Add(1)
		return "there are " + strconv.Itoa(h.limit) + " live clients already (--clients)", http.StatusServiceUnavailable
	}
	c.has.Store(h.last.Load())
	h.clients[c] = struct{}{}
	h.count.Add(1)
	return "", 0
}

func (h *hub) leave(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.clients, c)
	h.count.Add(-1)
	h.gone.Broadcast()
}

// close says bye to all clients and returns when all have gone, with all goroutines. They have the time to read it.
func (h *hub) close(why string, within time.Duration) {
	h.mu.Lock()
	h.closing = true
	h.mu.Unlock()
	h.publish(appendEvent(nil, byeEvent, 0, append(appendString([]byte(`{"Why":`), why), '}')))

	end := time.Now().Add(within)
	for time.Now().Before(end) && !h.allHave(h.last.Load()) {
		time.Sleep(2 * time.Millisecond)
	}
	h.mu.Lock()
	for c := range h.clients {
		c.over.Store(true)
		c.rc.SetWriteDeadline(time.Now())
		c.cancel()
	}
	// The library's goroutine of a client waits for its stream to take note of the end; so the stream ends last.
	for len(h.clients) > 0 {
		h.gone.Wait()
	}
	h.mu.Unlock()
	h.sse.Close()
}

func (h *hub) allHave(number int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		if c.has.Load() < number {
			return false
		}
	}
	return true
}

// WriteHeader begins the stream. Without chunks an event is one write to the socket.
func (c *client) WriteHeader(status int) {
	h := c.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Del("Connection")
	if c.conn != nil {
		h.Set("Transfer-Encoding", "identity")
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write takes what the library says; Flush acts on it.
func (c *client) Write(p []byte) (int, error) {
	c.wrote = append(c.wrote, p...)
	return len(p), nil
}

// Flush sends what the library has been told to send.
func (c *client) Flush() {
	wrote := c.wrote
	c.wrote = c.wrote[:0]
	if !c.started {
		// From here on the library has the client, so that no event falls between this state and the next.
		c.started = true
		c.start()
		return
	}
	if bytes.HasPrefix(wrote, []byte(":")) {
		c.send(wrote)
		return
	}
	_, after, _ := bytes.Cut(wrote, []byte("data: "))
	digits, _, _ := bytes.Cut(after, []byte("\n"))
	number, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || number <= c.has.Load() {
		return // older than the state that the client began with
	}
	e := c.hub.event(number)
	if c.send(e.text) {
		c.hub.sent.Add(1)
	}
	c.has.Store(e.number)
}

// start sends who the server is, and the present state unless the client has it.
func (c *client) start() {
	first, p := c.hub.hello(), c.hub.now()
	if since, err := strconv.ParseInt(c.since, 10, 64); err != nil || since != p.id || !p.quiet {
		first = append(first, p.text...)
		c.hub.sent.Add(1)
	}
	c.send(first)
	c.has.Store(p.number)
}

// send writes within a time, and ends the client where that fails.
func (c *client) send(text []byte) bool {
	start := time.Now()
	c.rc.SetWriteDeadline(start.Add(writeWithin))
	if c.over.Load() {
		return false // whoever said so has set a deadline before, or sets it now
	}
	_, err := c.ResponseWriter.Write(text)
	if err == nil {
		err = c.rc.Flush()
	}
	switch {
	case err == nil:
		c.rc.SetWriteDeadline(time.Time{}) // of HTTP/2 it would end the stream, and not only a write
		return true
	case errors.Is(err, os.ErrDeadlineExceeded), time.Since(start) >= writeWithin:
		c.hub.evict(c)
	default:
		c.cancel() // it has gone
	}
	return false
}
