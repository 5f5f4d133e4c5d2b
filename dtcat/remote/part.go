package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// A part is a piece of an object in a buffer. Its fields are the Fetch's mutex's, except for the bytes: those before have are the
// reader's, and the others belong to the flow that fills it until it is done.
type part struct {
	r    *Reader
	flow *flow
	size int64  // of the buffer that it will have
	buf  []byte // nil before the flow comes to it
	have int    // bytes that came
	read int    // bytes that were read
	done bool   // nothing more comes
	err  error  // why, unless it is whole
	why  error  // the last try failed, since the last byte came
}

// A flow brings the bytes [at, end) of an object, over one connection after another, into one part after another: into those that it
// has from the beginning, or, of an object without ranges, into as many as it takes.
type flow struct {
	r     *Reader
	p     *part   // to be filled
	parts []*part // behind it
	tries tries
	buf   []byte // what is empty of it
	at    int64
	end   int64 // −1: not known

	// Without ranges a connection can begin only at byte 0, and what it brings again must be the same:
	sequential bool
	sum        hash.Hash // of the bytes before at; nil: of those that came before the first connection, which are not known

	// The Fetch's mutex's:
	begun  time.Time
	came   int64                   // bytes over this connection
	giveUp context.CancelCauseFunc // ends this connection
	anew   int                     // so many connections were too slow
	rate   float64                 // bytes a second of the last connection, once
	ended  bool
}

var (
	errEarly = errors.New("the connection ended too early")
	errSlow  = errors.New("the connection is slow")
)

// A flow that goes on after so many tries ends the waits of all others: the server is back.
const longOutage = 5

// run is the flow's goroutine.
func (w *flow) run() {
	f := w.r.f
	w.tries.most = f.settings.Tries
	for {
		err := w.connect()
		switch {
		case err == nil, w.r.ctx.Err() != nil:
			w.finish(err)
			return
		case errors.Is(err, errSlow):
			continue
		}
		awaited, back := w.failed(err)
		wait, again := w.tries.next(err, !awaited)
		if !again {
			place := ""
			if w.at > 0 || !isFinal(err) {
				place = fmt.Sprintf(" at byte %d", w.at)
			}
			w.finish(w.tries.over(w.r.object.Name, place, err))
			return
		}
		f.retries.Add(1)
		pause(w.r.ctx, wait, back)
	}
}

// connect makes one connection and takes what it brings. It returns nil when all has come.
func (w *flow) connect() (err error) {
	f := w.r.f
	stall := f.settings.Stall
	ctx, cancel := context.WithCancelCause(w.r.ctx)
	defer cancel(nil)
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
	}()
	watch := time.AfterFunc(stall, func() { cancel(fmt.Errorf("no data for %s", seconds(stall))) })
	defer watch.Stop()

	object, from, to := w.begin(cancel)
	g, err := object.store.get(ctx, &object, from, to)
	if err != nil {
		return err
	}
	defer g.body.Close()
	watch.Reset(stall)
	if err := w.check(&g, from); err != nil {
		return err
	}
	in := &counted{f: f, body: g.body, watch: watch, stall: stall}
	if err := w.skip(in, w.at-g.from); err != nil {
		return err
	}
	for w.end < 0 || w.at < w.end {
		if len(w.buf) == 0 {
			watch.Stop() // the reader may take its time
			if err := w.turn(); err != nil {
				return err
			}
			watch.Reset(stall)
		}
		room := w.buf
		if left := w.end - w.at; w.end >= 0 && left < int64(len(room)) {
			room = room[:left]
		}
		n, err := in.Read(room)
		if n > 0 {
			if w.sequential {
				w.sum.Write(room[:n])
			}
			w.add(n)
		}
		switch {
		case w.at == w.end, err == io.EOF && w.end < 0: //nolint:errorlint // the end itself
			return nil
		case err != nil:
			return broken(err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
	return nil
}

// counted counts what comes, and puts off the end of a connection that brings nothing.
type counted struct {
	f     *Fetch
	body  io.Reader
	watch *time.Timer
	stall time.Duration
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.body.Read(b)
	if n > 0 {
		c.watch.Reset(c.stall)
		c.f.bytes.Add(int64(n))
	}
	return n, err
}

// broken puts into words how a connection ended before all had come.
func broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errEarly
	}
	return err
}

// begin takes note of a new connection, which cancel ends, and says what is to be asked for.
func (w *flow) begin(cancel context.CancelCauseFunc) (object Object, from, to int64) {
	w.r.f.mu.Lock()
	defer w.r.f.mu.Unlock()
	if w.sequential {
		return w.r.object, 0, -1
	}
	w.begun, w.came, w.giveUp = time.Now(), 0, cancel
	return w.r.object, w.at, w.end
}

// check looks at an answer to a request for what is behind from.
func (w *flow) check(g *got, from int64) error {
	f, o := w.r.f, &w.r.object
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case o.Size >= 0 && g.size >= 0 && g.size != o.Size:
		return &ChangedError{Name: o.Name, Was: fmt.Sprintf("%d bytes", o.Size), Is: fmt.Sprintf("%d bytes", g.size)}
	case o.Tag != "" && g.tag == "":
		return errors.New("the server does not say which version it sends")
	case o.Tag != "" && g.tag != o.Tag:
		return &ChangedError{Name: o.Name, Was: o.Tag, Is: g.tag}
	case g.from < 0 || g.from > from:
		return fmt.Errorf("the server answers with what is behind byte %d instead of %d", g.from, from)
	}
	if o.Size < 0 && g.size >= 0 {
		o.Size, w.end = g.size, g.size
	}
	o.Tag = g.tag
	if w.end >= 0 && w.end < w.at { // more of it was there before
		return &ChangedError{Name: o.Name, Was: fmt.Sprintf("at least %d bytes", w.at), Is: fmt.Sprintf("%d bytes", w.end)}
	}
	return nil
}

// skip drops n bytes, which are there already, and looks whether they are the same.
func (w *flow) skip(in io.Reader, n int64) error {
	var sum hash.Hash
	if w.sequential {
		sum = sha256.New()
	}
	if n > 0 {
		var scratch [32 << 10]byte
		for left := n; left > 0; {
			k, err := in.Read(scratch[:min(left, int64(len(scratch)))])
			left -= int64(k)
			if sum != nil {
				sum.Write(scratch[:k])
			}
			switch {
			case err == nil, left == 0:
			case err == io.EOF && w.end < 0: //nolint:errorlint // the end itself
				return &ChangedError{Name: w.r.object.Name, Was: fmt.Sprintf("at least %d bytes", n), Is: fmt.Sprintf("%d bytes", n-left)}
			default:
				return broken(err)
			}
		}
	}
	if !w.sequential {
		return nil
	}
	if w.sum != nil && !bytes.Equal(w.sum.Sum(nil), sum.Sum(nil)) {
		return &ChangedError{Name: w.r.object.Name, Was: "one version", Is: fmt.Sprintf("another, as its first %d bytes say", n)}
	}
	w.sum = sum
	return nil
}

// add hands n bytes behind those of the part on to the reader.
func (w *flow) add(n int) {
	r, p := w.r, w.p
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	w.at += int64(n)
	w.buf = w.buf[n:]
	p.have += n
	w.came += int64(n)
	p.why = nil
	if w.tries.failed >= longOutage {
		close(r.f.back)
		r.f.back = make(chan struct{})
	}
	w.tries.failed = 0
	r.rouse(p)
}

// fill turns to the next part. f.mu is held.
func (w *flow) fill() {
	w.p, w.parts = w.parts[0], w.parts[1:]
	w.p.buf = w.r.f.buffer(w.p.size)
	w.buf = w.p.buf
}

// turn goes on with the next part, which an object without ranges has to wait for.
func (w *flow) turn() error {
	r := w.r
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	w.p.done = true // not before: if the connection breaks at its last byte, it is this part that the reader waits for
	r.rouse(w.p)
	if w.sequential {
		r.wants = true
		r.f.plan()
		var p *part
		r.f.unlocked(func() {
			select {
			case p = <-r.granted:
			case <-r.ctx.Done():
			}
		})
		if p == nil {
			return context.Cause(r.ctx)
		}
		w.parts = append(w.parts, p)
	}
	for !w.sequential && w.unread() >= unread {
		// It is far enough ahead. Buffers that are soon used again stay in the processor's cache.
		freed := r.f.freed
		r.f.unlocked(func() {
			select {
			case <-freed:
			case <-r.ctx.Done():
			}
		})
		if r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
	}
	w.fill()
	return nil
}

// unread counts the parts that were filled and not yet read.
func (w *flow) unread() (n int) {
	for _, p := range w.r.parts {
		if p.flow == w && p.buf != nil {
			n++
		}
	}
	return n
}

// failed takes note of a try that failed with err, and reports whether the reader waits for the part. While it does not, nothing is given
// up: the server may be back when it comes. back is closed when others find that it is, unless it has asked for time.
func (w *flow) failed(err error) (awaited bool, back <-chan struct{}) {
	r := w.r
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	w.p.why = err
	var f *failure
	if !errors.As(err, &f) || f.after == 0 {
		back = r.f.back
	}
	return r.waiting && len(r.parts) > 0 && r.parts[0] == w.p, back
}

// finish is called when the flow ends, with the reason if not all has come.
func (w *flow) finish(err error) {
	r := w.r
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy--
	w.ended = true
	w.rate = float64(w.came) / max(time.Since(w.begun), time.Microsecond).Seconds()
	w.p.err, w.p.done = err, true
	for _, p := range w.parts {
		p.err, p.done = err, true
	}
	switch {
	case err != nil:
		r.failed = true
	case w.sequential:
		r.object.Size, r.next = w.at, w.at
	}
	if w.sequential {
		for _, p := range r.parts {
			p.done = true // also one that was granted and not taken
		}
	}
	if r.closed {
		r.drop()
	}
	r.rouse(w.p)
	f.plan()
}
