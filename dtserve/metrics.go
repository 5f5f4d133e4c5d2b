package main

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"dt/dtserve/history"
	"dt/internal/hist"
)

// maxReasons bounds the labels that come from the input.
const maxReasons = 64

// A counters is what /metrics says.
type counters struct {
	set     *metrics.Set
	windows *metrics.Counter
	revised *metrics.Counter // windows that came again, with the lanes that were silent before
	bad     *metrics.Counter
	doubled *metrics.Counter // lines that were there already

	mu      sync.Mutex
	reasons map[[2]string]bool
}

func newCounters(s *server) *counters {
	metrics.ExposeMetadata(true)
	set := metrics.NewSet()
	c := &counters{set: set, windows: set.NewCounter("dt_windows_total"), revised: set.NewCounter("dt_revised_windows_total"), bad: set.NewCounter("dt_bad_lines_total"),
		doubled: set.NewCounter("dt_doubled_lines_total"), reasons: map[[2]string]bool{}}
	gauge := func(name string, f func() float64) { set.NewGauge(name, f) }
	gauge("dt_lag_seconds", func() float64 {
		w := s.history.Newest()
		if w == nil {
			return math.NaN() // there is no such age
		}
		return time.Since(time.UnixMicro(w.Arrived)).Seconds()
	})
	gauge("dt_clients", func() float64 { return float64(s.hub.count.Load()) })
	gauge("dt_history_windows", func() float64 { return float64(s.history.Len()) })
	gauge("dt_history_bytes", func() float64 { return float64(s.history.Bytes()) })
	gauge("dt_alarms", func() float64 {
		return float64(len(s.judged().Alarms))
	})
	return c
}

// count counts a line: of a window that takes the place of others what it has more than they, and its own ledger, which is no part of theirs.
func (c *counters) count(w *history.Window, was []*history.Window, l *hist.Ledger, newest bool) {
	switch {
	case len(was) > 0:
		c.revised.Inc()
	case !w.Bookkeeping:
		c.windows.Inc()
	}
	triggers := w.Triggers
	for _, v := range was {
		triggers -= v.Triggers
	}
	c.set.GetOrCreateCounter("dt_triggers_total").AddInt64(max(triggers, 0))
	for i, n := range w.Counts {
		name := fmt.Sprintf(`{chamber="%d"}`, i+1)
		more := n
		for _, v := range was {
			if i < len(v.Counts) {
				more -= v.Counts[i]
			}
		}
		c.set.GetOrCreateCounter("dt_hits_total" + name).AddInt64(max(more, 0))
		if newest && !w.Bookkeeping && !w.Bare {
			rate := 0.0 // of a source that is silent
			if w.Live > 0 {
				rate = float64(n) / w.Live
			}
			c.set.GetOrCreateGauge("dt_rate_hz"+name, nil).Set(rate)
		}
	}
	c.set.GetOrCreateGauge("dt_pending_hits", nil).Add(float64(l.Pending))
	for _, term := range []struct {
		name string
		n    int64
	}{
		{"read", l.Read}, {"hits", l.Hits}, {"late", l.Late}, {"scintillator", l.Scintillator}, {"unassigned", l.Unassigned},
		{"not_a_hit", l.NotAHit}, {"early", l.Early}, {"missing", l.Missing}, {"doubled", l.Doubled},
	} {
		c.set.GetOrCreateCounter(fmt.Sprintf(`dt_ledger_total{term="%s"}`, term.name)).AddInt64(term.n)
	}
	for stage, reasons := range l.SetAside {
		for reason, n := range reasons {
			stage, reason := c.labels(stage, reason)
			c.set.GetOrCreateCounter(fmt.Sprintf(`dt_set_aside_total{stage="%s",reason="%s"}`, stage, reason)).AddInt64(n)
		}
	}
}

// labels returns a stage and a reason as labels. Beyond so many of them, all are others.
func (c *counters) labels(stage, reason string) (string, string) {
	key := [2]string{label(stage), label(reason)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reasons[key] {
		if len(c.reasons) >= maxReasons {
			return "other", "other"
		}
		c.reasons[key] = true
	}
	return key[0], key[1]
}

// label returns a text of the input as the value of a label.
func label(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" _.:=<>|&!()-", r):
			return r
		}
		return '_'
	}, text)
	return text[:min(len(text), 60)]
}

func (s *server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	var b bytes.Buffer
	s.metrics.set.WritePrometheus(&b)
	metrics.WriteCounterUint64(&b, "dt_evictions_total", uint64(s.hub.evictions.Load()))
	metrics.WriteCounterUint64(&b, "dt_refused_clients_total", uint64(s.hub.refusals.Load()))
	metrics.WriteCounterUint64(&b, "dt_events_total", uint64(s.hub.sent.Load()))
	metrics.WriteProcessMetrics(&b)
	fresh(w, r, "text/plain; version=0.0.4; charset=utf-8", b.Bytes())
}

func (s *server) serveHealth(w http.ResponseWriter, r *http.Request) {
	fresh(w, r, "text/plain; charset=utf-8", []byte("ok\n"))
}

// serveReady says whether what is shown is the present.
func (s *server) serveReady(w http.ResponseWriter, r *http.Request) {
	why := s.notReady(time.Now())
	if why == "" {
		fresh(w, r, "text/plain; charset=utf-8", []byte("ready\n"))
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	fail(w, r, http.StatusServiceUnavailable, why)
}

func (s *server) notReady(now time.Time) string {
	n := s.shown.Load()
	age := now.Sub(time.UnixMicro(n.newest)).Round(time.Second)
	switch s.phase(n, now) {
	case waiting:
		return "no line has come yet"
	case ended:
		return "input ended"
	case stale:
		return fmt.Sprintf("stale: the newest line came %v ago", age)
	}
	return ""
}
