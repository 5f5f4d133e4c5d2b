package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Between tries there is a wait that doubles. Tests shorten it.
var firstBackOff, longestBackOff = 100 * time.Millisecond, 10 * time.Second

const tellAfter = 5 * time.Second // of an outage

// tries counts the failed tries of one thing since there was progress.
type tries struct{ most, failed int }

// next returns how long to wait before another try, after one has failed with err. It returns false when there is none: err is final,
// or it is time to give up, unless the caller is patient.
func (t *tries) next(err error, patient bool) (wait time.Duration, again bool) {
	t.failed++
	if isFinal(err) || t.failed >= t.most && !patient {
		return 0, false
	}
	wait = min(firstBackOff<<min(t.failed-1, 20), longestBackOff)
	wait = wait*3/4 + rand.N(wait/2+1) // what failed at one time is not tried again at one time
	var f *failure
	if errors.As(err, &f) {
		wait = max(wait, min(f.after, longestWait))
	}
	return wait, true
}

// over returns the error of the thing called name after the last try, which has failed with err. place is " at byte N", or empty.
func (t *tries) over(name, place string, err error) error {
	var changed *ChangedError
	switch {
	case errors.As(err, &changed): // says the name
		return err
	case !isFinal(err) && t.failed > 1:
		return fmt.Errorf("%s: given up%s after %d tries: %w", name, place, t.failed, err)
	case place != "":
		return fmt.Errorf("%s: given up%s: %w", name, place, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// isFinal reports whether another try is no use.
func isFinal(err error) bool {
	var f *failure
	var changed *ChangedError
	return errors.As(err, &changed) || errors.As(err, &f) && !f.again
}

// An outage is a wait for a try to succeed. It is told if it lasts, and then its end too.
type outage struct {
	s     *Settings
	name  string
	since time.Time
	told  bool
}

// lasts is called when a try has failed, and the wait goes on for at least ahead.
func (o *outage) lasts(what string, why error, ahead time.Duration) {
	if o.told || time.Since(o.since)+ahead < tellAfter {
		return
	}
	o.told = true
	reason, hint, hinted := strings.Cut(why.Error(), " (hint: ")
	if hinted {
		hint = " (hint: " + hint
	}
	o.say("%s: %s: %s; trying again%s", o.name, what, reason, hint)
}

// ends is called when a try has succeeded.
func (o *outage) ends() {
	if o.told {
		o.told = false
		o.say("%s: goes on after %s", o.name, seconds(time.Since(o.since).Round(time.Second)))
	}
}

func (o *outage) say(format string, args ...any) {
	if o.s.Say != nil {
		o.s.Say(format, args...)
	}
}

// seconds is a time for people.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s" }

// pause waits for d, or until ctx ends, or early is closed.
func pause(ctx context.Context, d time.Duration, early <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
	}
}

// retry tries until it succeeds, the error is final, or it is time to give up. Its errors begin with the name.
func (c *Client) retry(ctx context.Context, name string, try func() error) error {
	t := tries{most: c.settings.Tries}
	o := outage{s: &c.settings, name: name, since: time.Now()}
	for {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", name, context.Cause(ctx))
		}
		err := try()
		if err == nil {
			o.ends()
			return nil
		}
		if ctx.Err() != nil {
			continue
		}
		wait, again := t.next(err, false)
		if !again {
			return t.over(name, "", err)
		}
		o.lasts("no answer", err, wait)
		pause(ctx, wait, nil)
	}
}
