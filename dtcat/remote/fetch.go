package remote

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"
)

const (
	partSize = 4 << 20 // of a range that is asked for at once
	parts    = 16      // so many in memory; more connections have smaller ones
	smallest = 64 << 10

	firstWindow = 2   // connections at first
	unread      = 2   // parts that a connection may be ahead of the reader, if it brings more of them
	lookAhead   = 100 // objects that are begun at most, since those without bytes need no part

	// The window grows when the reader has waited for a fourth of the time, and as long as this.
	longWait = 20 * time.Millisecond
	period   = time.Second
	enough   = 400e6 // bytes a second; if so many come, and the reader waits, then it is for a processor

	fastPart = 100 * time.Millisecond // in which a fast reader reads a part

	// A connection that the reader waits for is given up after so long, if others were so many times faster, so many times a part.
	slowAfter = time.Second
	slowTimes = 4
	slowMost  = 2
)

// An Item is an object that is to be read.
type Item struct {
	Object Object
	From   int64 // the bytes before are there already
}

// Stats count since the beginning.
type Stats struct {
	Bytes   int64 // that came, with those that came twice
	Retries int64
}

// A Fetch reads objects, one behind the other, and ahead of its reader.
type Fetch struct {
	settings *Settings
	size     int64 // of a part
	most     int   // connections
	room     int   // parts in memory
	ctx      context.Context
	cancel   context.CancelCauseFunc
	flows    sync.WaitGroup
	bytes    atomic.Int64
	retries  atomic.Int64

	mu     sync.Mutex
	items  []Item        // which are not begun
	queue  []*Reader     // which are begun, in order, and the current one before them
	on     bool          // the first of the queue is the current one
	window int           // connections that may be under way
	stride int           // parts that one of them is asked for at once
	busy   int           // connections that are under way
	used   int           // parts that are there, or have a connection that will come to them
	freed  chan struct{} // closed, and made anew, when a buffer is given back
	pool   [][]byte      // buffers that no part has
	back   chan struct{} // closed, and made anew, when the server is back after an outage

	waited time.Duration // that the reader had to, since
	since  time.Time
	before int64         // bytes that had come then
	idle   time.Duration // the same, since the length of connections was looked at
	passed int           // parts that were read since then
	looked time.Time
}

// Fetch begins to read. Close must be called in the end.
func (c *Client) Fetch(ctx context.Context, items ...Item) *Fetch {
	f := newFetch(ctx, &c.settings, partSize)
	f.Add(items...)
	return f
}

// newFetch returns a Fetch whose parts have at most size bytes.
func newFetch(ctx context.Context, s *Settings, size int64) *Fetch {
	f := &Fetch{settings: s, size: size, stride: 1, since: time.Now(), looked: time.Now(), back: make(chan struct{}), freed: make(chan struct{})}
	if s.Connections > parts {
		f.size = max(size*parts/int64(s.Connections), min(size, smallest))
	}
	f.room = int(size * parts / f.size)
	f.most = max(1, min(s.Connections, f.room))
	f.window = min(firstWindow, f.most)
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	return f
}

// Add adds objects behind the others.
func (f *Fetch) Add(items ...Item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items = append(f.items, items...)
	f.plan()
}

// Next returns the reader of the next object, or nil if there is none. It closes the one before.
func (f *Fetch) Next() *Reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.on {
		f.queue[0].close()
		f.queue = f.queue[1:]
	}
	f.on = len(f.queue) > 0 || f.more()
	if !f.on {
		return nil
	}
	f.plan()
	return f.queue[0]
}

// Stats may be called at any time.
func (f *Fetch) Stats() Stats { return Stats{Bytes: f.bytes.Load(), Retries: f.retries.Load()} }

// Close ends all connections. A Read that waits returns.
func (f *Fetch) Close() {
	f.cancel(fs.ErrClosed)
	f.mu.Lock() // whoever holds it may begin a flow, which Wait has to know of
	f.items, f.pool = nil, nil
	f.mu.Unlock()
	f.flows.Wait()
}

// more begins the next object.
func (f *Fetch) more() bool {
	if len(f.items) == 0 {
		return false
	}
	item := f.items[0]
	f.items = f.items[1:]
	o := item.Object
	r := &Reader{f: f, object: o, shown: o, next: item.From, at: item.From, wake: make(chan struct{}, 1)}
	r.ctx, r.cancel = context.WithCancel(f.ctx)
	switch {
	case o.Size >= 0 && o.Size < item.From:
		r.failed = true
		r.err = &ChangedError{Name: o.Name, Was: fmt.Sprintf("at least %d bytes", item.From), Is: fmt.Sprintf("%d bytes", o.Size)}
	case !o.ranges || o.Size < 0:
		r.sequential, r.wants, r.granted = true, true, make(chan *part, 1)
	}
	f.queue = append(f.queue, r)
	return true
}

// plan begins what there is room for. f.mu is held, here and wherever nothing else is said.
func (f *Fetch) plan() {
	room := f.ahead()
	for i := 0; i < lookAhead && f.used < room && f.ctx.Err() == nil; i++ {
		if i == len(f.queue) && !f.more() {
			return
		}
		r := f.queue[i]
		switch {
		case r.closed || r.failed || r.next == r.object.Size:
		case r.sequential:
			if r.wants && (r.flow != nil || f.busy < f.window) {
				r.grant()
			}
			// It is not known how many more parts it wants, and what is behind it must not take them all.
			room = f.ahead() / 2
		default:
			for r.next < r.object.Size {
				if f.busy == f.window {
					return
				}
				f.lengthen()
				n := min(int64(f.stride), (r.object.Size-r.next+f.size-1)/f.size)
				if f.used > 0 && f.used+int(n) > room {
					return
				}
				r.begin(n)
			}
		}
	}
}

// ahead returns how many parts may be there: of one connection to be read, while others are filled.
func (f *Fetch) ahead() int { return min(max(f.window, firstWindow)*f.stride, f.room) }

// lengthen lets a connection bring more at once while the reader is fast and yet hardly has to wait: then a request costs more than it
// gains, and a server sends a whole object at the least cost.
func (f *Fetch) lengthen() {
	now := time.Now()
	if f.passed < f.stride {
		return
	}
	if took := now.Sub(f.looked); f.idle < took/8 && took < time.Duration(f.passed)*fastPart {
		f.stride = min(2*f.stride, f.room/max(f.window, firstWindow))
	}
	f.looked, f.idle, f.passed = now, 0, 0
}

// begin begins a connection for the next n parts of an object.
func (r *Reader) begin(n int64) {
	w := &flow{r: r, at: r.next, end: min(r.next+n*r.f.size, r.object.Size)}
	for ; n > 0; n-- {
		w.parts = append(w.parts, r.part(min(r.f.size, r.object.Size-r.next), w))
		r.next += w.parts[len(w.parts)-1].size
	}
	r.f.start(w)
}

// grant gives the flow of an object without ranges another part to fill, and begins it with the first.
func (r *Reader) grant() {
	r.wants = false
	if r.flow != nil {
		r.granted <- r.part(r.f.size, r.flow)
		return
	}
	r.flow = &flow{r: r, at: r.next, end: r.object.Size, sequential: true}
	r.flow.parts = []*part{r.part(r.f.size, r.flow)}
	r.f.start(r.flow)
}

// start begins a flow.
func (f *Fetch) start(w *flow) {
	w.fill()
	f.busy++
	f.flows.Go(w.run)
}

// part adds a part of at most size bytes, which w will fill.
func (r *Reader) part(size int64, w *flow) *part {
	r.f.used++
	p := &part{r: r, flow: w, size: size}
	r.parts = append(r.parts, p)
	return p
}

// buffer returns a buffer of size bytes.
func (f *Fetch) buffer(size int64) []byte {
	if n := len(f.pool); n > 0 {
		buf := f.pool[n-1]
		f.pool = f.pool[:n-1]
		return buf[:size]
	}
	return make([]byte, f.size)[:size]
}

// free takes the buffer of a part that is done.
func (f *Fetch) free(p *part) {
	f.used--
	if p.buf != nil {
		f.pool = append(f.pool, p.buf[:f.size])
		p.buf = nil
		close(f.freed)
		f.freed = make(chan struct{})
	}
}

// A Reader reads one object.
type Reader struct {
	f      *Fetch
	ctx    context.Context // ends with the connections of this object
	cancel context.CancelFunc
	shown  Object        // what Object returns; it is the reading goroutine's
	wake   chan struct{} // there may be something to read
	tick   *time.Timer

	object     Object
	parts      []*part // which are begun, and not read to their ends
	next       int64   // the byte at which the next part begins
	at         int64   // the byte that Read returns next; it is the reading goroutine's
	waiting    bool    // in Read
	copying    bool    // in Read, from the first part
	closed     bool
	failed     bool  // a part has, and those behind it are of no use
	err        error // that Read has returned
	sequential bool  // no ranges
	flow       *flow // without ranges,
	wants      bool  // which needs a part,
	granted    chan *part
}

// Object returns the object. What was not known of it before is there when it is read to its end.
func (r *Reader) Object() *Object { return &r.shown }

// Close drops what was read ahead of this object. Those behind it stay.
func (r *Reader) Close() error {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.close()
	return nil
}

func (r *Reader) close() {
	if !r.closed {
		r.closed = true
		r.cancel()
		r.drop()
	}
}

// drop frees the parts that are done. Those that a flow still fills come when it ends.
func (r *Reader) drop() {
	if r.copying {
		return // Read calls it
	}
	rest := r.parts
	r.parts = nil
	for _, p := range rest {
		if p.done {
			r.f.free(p)
		} else {
			r.parts = append(r.parts, p)
		}
	}
	r.f.plan()
}

// rouse wakes the reader if it waits for p.
func (r *Reader) rouse(p *part) {
	if r.waiting && (len(r.parts) == 0 || r.parts[0] == p) {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// Read returns what is there of the object, and waits if there is nothing. It returns io.EOF only when the object was whole.
func (r *Reader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	p, err := r.await()
	if err != nil {
		return 0, err
	}
	from := p.buf[p.read:p.have]
	r.copying = true
	f.mu.Unlock()
	n := copy(b, from)
	f.mu.Lock()
	r.copying = false
	p.read += n
	r.at += int64(n)
	switch {
	case r.closed:
		r.drop()
	case p.done && p.read == p.have && p.err == nil:
		r.pop()
	}
	return n, nil
}

// pop frees the first part, which was read.
func (r *Reader) pop() {
	p := r.parts[0]
	r.parts = r.parts[1:]
	r.f.free(p)
	r.f.passed++
	r.f.plan()
}

// await returns the first part when there is something to read in it.
func (r *Reader) await() (*part, error) {
	f := r.f
	out := outage{s: f.settings, name: r.object.Name}
	defer func() { r.waiting = false }()
	for {
		var p *part
		if len(r.parts) > 0 {
			p = r.parts[0]
		}
		switch {
		case f.ctx.Err() != nil:
			return nil, context.Cause(f.ctx)
		case r.closed:
			return nil, fs.ErrClosed
		case r.err != nil:
			return nil, r.err
		case p != nil && p.read < p.have && out.told:
			f.unlocked(out.ends)
		case p != nil && p.read < p.have:
			r.know()
			return p, nil
		case p != nil && p.done && p.err != nil:
			r.err = p.err
		case p != nil && p.done:
			r.pop()
		case p == nil && r.next == r.object.Size:
			r.know()
			r.err = io.EOF
		default:
			now := time.Now()
			if !r.waiting {
				r.waiting, out.since = true, now
			}
			if p != nil && p.why != nil {
				why := p.why
				f.unlocked(func() { out.lasts(fmt.Sprintf("stopped at byte %d", r.at), why, 0) })
			} else if p != nil {
				f.hurry(p, now)
			}
			f.unlocked(r.sleep)
			f.widen(now)
		}
	}
}

// unlocked calls what takes its time.
func (f *Fetch) unlocked(call func()) {
	f.mu.Unlock()
	defer f.mu.Lock()
	call()
}

// know copies what has become known of the object.
func (r *Reader) know() { r.shown.Size, r.shown.Tag = r.object.Size, r.object.Tag }

// sleep waits until the first part has changed, or there may be something to tell or to hurry.
func (r *Reader) sleep() {
	if r.tick == nil {
		r.tick = time.NewTimer(slowAfter)
	} else {
		r.tick.Reset(slowAfter)
	}
	select {
	case <-r.wake:
	case <-r.tick.C:
	case <-r.ctx.Done():
	}
	r.tick.Stop()
}

// widen lets more parts be begun if the reader has to wait for them. It has waited since start.
func (f *Fetch) widen(start time.Time) {
	now := time.Now()
	f.waited += now.Sub(start)
	f.idle += now.Sub(start)
	lasted := now.Sub(f.since)
	came := f.bytes.Load()
	wide := f.waited >= longWait && f.waited >= lasted/4 && f.window < f.most && float64(came-f.before) < enough*lasted.Seconds()
	if wide || lasted > period {
		f.waited, f.since, f.before = 0, now, came
	}
	if wide {
		f.window = min(2*f.window, f.most)
		f.stride = max(1, min(f.stride, f.room/f.window))
		f.plan()
	}
}

// hurry ends the connection of the part that the reader waits for, so that a new one goes on at its byte, if most of the others that were
// begun are done and were much faster.
func (f *Fetch) hurry(p *part, now time.Time) {
	w := p.flow
	age := now.Sub(w.begun)
	if w.giveUp == nil || w.anew == slowMost || age < slowAfter<<w.anew {
		return
	}
	rate := slowTimes * float64(w.came) / age.Seconds()
	others, faster := 0, 0
	last := w
	for _, r := range f.queue {
		for _, q := range r.parts {
			o := q.flow
			if o == last || o == w || q.err != nil || o.sequential {
				continue
			}
			last = o
			switch {
			case o.ended && o.rate <= rate:
				return // as fast as it gets
			case o.ended:
				faster++
			}
			others++
		}
	}
	if 2*faster > others {
		w.anew++
		w.giveUp(errSlow)
	}
}
