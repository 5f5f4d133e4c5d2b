package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shortestWait = 100 * time.Millisecond
	longestWait  = 2 * time.Second
	tellAfter    = time.Second      // of an outage; shorter ones, as when a leader changes, are nobody's business
	settleTime   = 10 * time.Second // in which what is just starting, or moving, must have settled
)

// A retrier waits between tries. It is one goroutine's, and safe for several that fail and recover together; whatever fails in a cluster at
// one time is one outage, told once by all of its retriers.
type retrier struct {
	l       *cluster
	what    string
	giveUp  time.Duration // 0: never
	failing atomic.Bool
	worked  atomic.Int64 // when it last did, in unix ns, or else was begun

	mu    sync.Mutex
	tries int
	since time.Time
}

// retrier returns one for a thing that is done again and again; what says which, and may be empty.
func (l *cluster) retrier(what string) *retrier {
	r := &retrier{l: l, what: what, giveUp: l.giveUp}
	r.worked.Store(time.Now().UnixNano())
	return r
}

// failed is called with each error of what is tried. It waits before the next try, until ctx is done: then it returns ctx's error. If trying again is
// no use, or it is time to give up, it returns the final error at once.
func (r *retrier) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		r.leave()
		return ctx.Err()
	}
	e, how := r.l.judge(err)
	if e == nil {
		r.leave()
		return err
	}
	now := time.Now()
	r.mu.Lock()
	if r.tries == 0 {
		r.since = now
		if timedOut(err) { // it has been away for that time already
			r.since = now.Add(-min(requestTimeout, now.Sub(time.Unix(0, r.worked.Load()))))
		}
		r.failing.Store(true)
		r.l.outage.join(r.since)
	}
	wait := min(shortestWait<<min(r.tries, 10), longestWait)
	r.tries++
	since := r.since
	r.mu.Unlock()

	lasted := now.Sub(since)
	switch {
	case how == forever, how == soon && lasted >= settleTime:
		r.leave()
		return e
	case r.giveUp > 0 && lasted >= r.giveUp:
		r.leave()
		return r.gaveUp(e, since, lasted)
	case lasted >= tellAfter || timedOut(err):
		r.l.outage.tell(r, e)
	}
	wait = wait/2 + rand.N(wait)
	if lasted < tellAfter {
		wait = min(wait, tellAfter-lasted) // so that it is told in time
	}
	if r.giveUp > 0 {
		wait = min(wait, since.Add(r.giveUp).Sub(now))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		r.leave()
		return ctx.Err()
	}
}

func (r *retrier) gaveUp(e *explained, since time.Time, lasted time.Duration) error {
	text := r.about(e) + fmt.Sprintf("; gave up after %s, since %s", roughly(lasted), since.Local().Format(time.TimeOnly))
	return &explained{text: text, hint: e.hint, err: e, lasts: forever}
}

// about returns an error's text, with what was tried before it.
func (r *retrier) about(e *explained) string {
	if r.what == "" || strings.HasPrefix(e.text, r.what+": ") {
		return e.text
	}
	return r.what + ": " + e.text
}

// ok is called after each success. It costs next to nothing if there was no failure before.
func (r *retrier) ok() {
	r.worked.Store(time.Now().UnixNano())
	if !r.l.reached.Load() {
		r.l.reached.Store(true)
	}
	if !r.failing.Load() {
		return
	}
	if r.reset() {
		r.l.outage.leave(r.l, true)
	}
}

// leave ends our part in an outage, without a success.
func (r *retrier) leave() {
	if r.reset() {
		r.l.outage.leave(r.l, false)
	}
}

func (r *retrier) reset() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.tries > 0
	r.tries = 0
	r.failing.Store(false)
	return was
}

// An outage is the time in which something in a cluster fails.
type outage struct {
	mu      sync.Mutex
	failing int // retriers
	since   time.Time
	told    bool
	network bool // what was told is that the broker is away
}

func (o *outage) join(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failing == 0 {
		o.since, o.told = now, false
	}
	o.failing++
}

func (o *outage) tell(r *retrier, e *explained) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told || o.failing == 0 {
		return
	}
	o.told, o.network = true, e.network
	text := r.about(e) + "; trying again"
	if r.giveUp > 0 {
		text += ", for " + roughly(r.giveUp) + " at most"
	}
	r.l.env.Say("%v", &explained{text: text, hint: e.hint})
}

func (o *outage) leave(l *cluster, works bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failing--
	if o.failing > 0 || !o.told || !works {
		return
	}
	o.told = false
	took := roughly(time.Since(o.since))
	if o.network {
		l.env.Say("the broker is back after %s", took)
	} else {
		l.env.Say("it works again after %s", took)
	}
}

// roughly prints a time as somebody would say it.
func roughly(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	d = d.Round(time.Second)
	if d >= 2*time.Hour {
		d = d.Round(time.Minute)
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
}
