package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"dt/dtserve/history"
	"dt/internal/hist"
	"dt/internal/hit"
)

const (
	jsonKind = "application/json"
	csvKind  = "text/csv; charset=utf-8"
	lineKind = "application/x-ndjson"
)

func (s *server) serveState(w http.ResponseWriter, r *http.Request) {
	if err := only(r); err != nil {
		failed(w, r, err)
		return
	}
	fresh(w, r, jsonKind, s.fullState())
}

// A wrongError is a request that can't be answered.
type wrongError struct {
	status int
	text   string
}

func (e *wrongError) Error() string { return e.text }

func wrong(format string, args ...any) error {
	return &wrongError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func notKept(format string, args ...any) error {
	return &wrongError{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

// failed answers with an error.
func failed(w http.ResponseWriter, r *http.Request, err error) {
	var e *wrongError
	if errors.As(err, &e) {
		fail(w, r, e.status, e.text)
		return
	}
	if errors.Is(err, history.ErrNotKept) {
		fail(w, r, http.StatusNotFound, err.Error())
		return
	}
	fail(w, r, http.StatusInternalServerError, err.Error())
}

// number reads a parameter; it is def where it is left out.
func number(r *http.Request, name string, def int64) (int64, error) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return 0, wrong("%s: %.40q is not a number", name, v)
	}
	return n, nil
}

// only refuses parameters that are not known, so that a mistyped one is no other question.
func only(r *http.Request, names ...string) error {
	for name := range r.URL.Query() {
		switch {
		case slices.Contains(names, name):
		case len(names) == 0:
			return wrong("there is no parameter %.40q here, nor any other", name)
		default:
			return wrong("there is no parameter %.40q here; there is %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

// between reads from and to, ids of windows that are kept; all of them by default.
func (s *server) between(r *http.Request) (from, to int64, err error) {
	oldest, newest := s.kept()
	if newest == 0 {
		return 0, 0, notKept("no window has come yet")
	}
	if from, err = number(r, "from", oldest); err != nil {
		return 0, 0, err
	}
	if to, err = number(r, "to", newest); err != nil {
		return 0, 0, err
	}
	if from < oldest || from > newest || to < oldest || to > newest {
		return 0, 0, notKept("windows %d to %d are kept", oldest, newest)
	}
	if from > to {
		return 0, 0, wrong("from %d is above to %d", from, to)
	}
	return from, to, nil
}

// kept returns the range of ids that are kept; newest is 0 where there are none.
func (s *server) kept() (oldest, newest int64) {
	return s.history.Oldest(), s.history.Last()
}

// span reads which windows to add up.
func (s *server) span(r *http.Request) (from, to int64, err error) {
	q := r.URL.Query()
	if !q.Has("span") && !q.Has("at") {
		return s.between(r)
	}
	if q.Has("from") || q.Has("to") {
		return 0, 0, wrong("from and to exclude at and span")
	}
	oldest, newest := s.kept()
	if newest == 0 {
		return 0, 0, notKept("no window has come yet")
	}
	at, err := number(r, "at", newest)
	if err != nil {
		return 0, 0, err
	}
	if at < oldest || at > newest {
		return 0, 0, notKept("windows %d to %d are kept", oldest, newest)
	}
	switch span := q.Get("span"); span {
	case "window", "":
		return at, at, nil
	case "run":
		from, to = s.history.Run(at)
		return from, min(to, at), nil
	case "recent":
		from, to = s.history.Recent(at, s.recent.Seconds())
		return from, to, nil
	default:
		length, err := strconv.ParseFloat(span, 64)
		if err != nil || !(length > 0 && length <= 1e9) {
			return 0, 0, wrong("span: %.40q is neither window, recent, run nor a number of seconds", span)
		}
		from, to = s.history.Recent(at, length)
		return from, to, nil
	}
}

// saved reads the parameter format, and names the file that the answer is then to be saved as.
func saved(h http.Header, r *http.Request, name string) (format string, err error) {
	switch format = r.URL.Query().Get("format"); format {
	case "":
	case "json", "csv":
		attach(h, "attachment", name+"."+format)
	default:
		err = wrong("format: json and csv are possible")
	}
	return format, err
}

func (s *server) sum(h http.Header, r *http.Request) (kind string, body []byte, err error) {
	from, to, err := s.span(r)
	if err != nil {
		return "", nil, err
	}
	sum, err := s.history.Sum(from, to)
	if err != nil {
		return "", nil, err
	}
	last, name := s.window(sum.To), "run"
	if last != nil && last.Run != "" {
		name = last.Run
	}
	format, err := saved(h, r, fmt.Sprintf("%s-sum-%d-%d", name, from, to))
	switch {
	case err != nil:
		return "", nil, err
	case format == "csv":
		return csvKind, sumCSV(sum), nil
	}
	var t doc
	s.view(&t, "", last, sum, false)
	return jsonKind, append(t.b, '\n'), nil
}

// sumCSV returns all bins as a table.
func sumCSV(sum *history.Sum) []byte {
	b := []byte("histogram,bin_low,bin_high,count\n")
	row := func(name, low, high string, n int64) {
		b = appendCell(b, name)
		b = append(b, ',')
		b = append(b, low...)
		b = append(b, ',')
		b = append(b, high...)
		b = append(b, ',')
		b = strconv.AppendInt(b, n, 10)
		b = append(b, '\n')
	}
	decimal := func(v float64) string { return string(appendFloat(nil, v, 3)) }
	table := func(name string, a axis, h *hist.Hist) {
		row(name, "-inf", decimal(a.lo), h.Underflow)
		for i, n := range h.Counts {
			row(name, decimal(a.lo+float64(i)*a.width), decimal(a.lo+float64(i+1)*a.width), n)
		}
		row(name, decimal(a.lo+float64(a.bins)*a.width), "inf", h.Overflow)
	}
	plain := func(name string, counts []int64) {
		for i, n := range counts {
			row(name, strconv.Itoa(i), strconv.Itoa(i+1), n)
		}
	}
	c := sum.Counts
	a4 := axisOf(&c.Set.Hist4, hit.DriftPerNS)
	for i := range c.Chambers {
		ch, in := &c.Chambers[i], fmt.Sprintf("Chamber_%d.", i+1)
		h1, h3 := c.Hist1(i), c.Hist3(i)
		a2, h2 := c.Hist2(i)
		table(in+"Hist_1", axisOf(&c.Set.Hist1, 1), &h1)
		table(in+"Hist_2", axisOf(&a2, 1), &h2)
		table(in+"Hist_3", axisOf(&c.Set.Hist1, 1), &h3)
		table(in+"Hist_4", a4, &ch.Hist4)
		if c.Bare() {
			continue
		}
		plain(in+"Occupancy", ch.Occupancy[:])
		plain(in+"Scintillator", ch.Scintillator[:])
		plain(in+"Multiplicity", ch.Multiplicity[:])
		for layer, counts := range ch.DriftLayer {
			for k, n := range counts {
				row(in+"Drift_Layer."+strconv.Itoa(layer+1), decimal(a4.lo+float64(k)*a4.width), decimal(a4.lo+float64(k+1)*a4.width), n)
			}
		}
		plain(in+"Trigger_Multiplicity", ch.TriggerMultiplicity[:])
		for layer, pair := range ch.Efficiency {
			row(in+"Efficiency.Eligible", strconv.Itoa(layer+1), strconv.Itoa(layer+2), pair[0])
			row(in+"Efficiency.Found", strconv.Itoa(layer+1), strconv.Itoa(layer+2), pair[1])
		}
	}
	for f := range c.FPGA {
		p := &c.FPGA[f]
		if p.Last < 0 {
			continue
		}
		in := fmt.Sprintf("FPGA_%d.", f)
		table(in+"BX", bxAxis, &hist.Hist{Counts: p.BX[:], Overflow: p.BXOverflow})
		plain(in+"TDC", p.TDC[:])
	}
	for i := range sum.Other {
		o := &sum.Other[i]
		edge := func(k int) string {
			if k < len(o.Bins) {
				return strconv.FormatFloat(o.Bins[k], 'g', -1, 64)
			}
			return "" // where the last bin ends is not said
		}
		for k, n := range o.Counts {
			row(o.Path, edge(k), edge(k+1), n)
		}
	}
	return b
}

// appendCell appends a cell with text, which no program is to take for a formula.
func appendCell(b []byte, text string) []byte {
	if text == "" {
		return b
	}
	if strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		text = "'" + text
	}
	if !strings.ContainsAny(text, ",\"\r\n\t ") {
		return append(b, text...)
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(text, `"`, `""`)...)
	return append(b, '"')
}

func (s *server) trend(h http.Header, r *http.Request) (kind string, body []byte, err error) {
	from, to, err := s.between(r)
	if err != nil {
		return "", nil, err
	}
	format, err := saved(h, r, fmt.Sprintf("trend-%d-%d", from, to))
	switch {
	case err != nil:
		return "", nil, err
	case format == "csv":
		return csvKind, trendCSV(s.windows(from, to), s.chambers()), nil
	}
	var t doc
	t.open('{')
	t.value("Columns", history.Columns(s.chambers()))
	t.raw("Rows", s.rows(s.windows(from, to)))
	t.close('}')
	return jsonKind, append(t.b, '\n'), nil
}

// trendCSV returns trend rows as a table.
func trendCSV(list []*history.Window, chambers int) []byte {
	b := []byte(strings.Join(history.Columns(chambers), ",") + "\n")
	var row []byte
	for _, w := range list {
		// The only text of a row is its second member, the only list its last.
		bare := *w
		bare.Run, bare.Missing = "", nil
		row = history.AppendRow(row[:0], &bare, chambers)
		id, rest, _ := bytes.Cut(row[1:len(row)-len("[]]")], []byte(`,"",`))
		b = append(b, id...)
		b = append(b, ',')
		b = appendCell(b, w.Run)
		b = append(b, ',')
		b = append(b, rest...)
		missing := fmt.Sprint(w.Missing)
		b = appendCell(b, missing[1:len(missing)-1])
		b = append(b, '\n')
	}
	return b
}

// windowsAsked returns the windows that are asked for, and the name of a file of their lines.
func (s *server) windowsAsked(r *http.Request) (list []*history.Window, name string, err error) {
	if err := only(r, "from", "to", "number", "epoch"); err != nil {
		return nil, "", err
	}
	from, to, err := s.between(r)
	if err != nil {
		return nil, "", err
	}
	n, err := number(r, "number", 0)
	if err != nil {
		return nil, "", err
	}
	epoch, err := number(r, "epoch", 0)
	if err != nil {
		return nil, "", err
	}
	q := r.URL.Query()
	list = slices.DeleteFunc(s.history.Windows(from, to), func(w *history.Window) bool {
		return q.Has("number") && w.Number != n || q.Has("epoch") && (int64(w.Epoch) != epoch || w.Bookkeeping)
	})
	if len(list) == 0 {
		return nil, "", notKept("no window that is kept is that one")
	}
	return list, fmt.Sprintf("windows-%d-%d.jsonl", from, to), nil
}

// serveWindows sends lines as they came.
func (s *server) serveWindows(w http.ResponseWriter, r *http.Request) {
	list, name, err := s.windowsAsked(r)
	if err != nil {
		failed(w, r, err)
		return
	}
	// A line of an id changes only with a revision while the server runs.
	ids := fmt.Appendf(nil, "%d", s.started.UnixNano())
	for _, win := range list {
		ids = strconv.AppendInt(append(ids, ','), win.ID, 10)
		ids = strconv.AppendInt(append(ids, '.'), win.Change, 10)
	}
	if unchanged(w, r, tagOf(ids)) {
		return
	}
	h := w.Header()
	h.Set("Content-Type", lineKind)
	attach(h, "inline", name)
	packs := takesGzip(r)
	if packs {
		h.Set("Content-Encoding", "gzip")
	}
	if r.Method == http.MethodHead {
		return
	}
	out := &pieces{w: w, rc: http.NewResponseController(w)}
	if packs {
		out.pack()
	}
	defer out.end()
	for _, win := range list {
		line, err := s.history.Text(win.ID)
		if err != nil {
			continue // let go of in the meantime
		}
		if out.line(line); out.err != nil {
			return
		}
	}
}

func (s *server) runList(http.Header, *http.Request) (kind string, body []byte, err error) {
	var t doc
	t.open('{')
	t.list("Runs")
	for _, run := range s.history.Runs() {
		t.open('{')
		t.string("Name", run.Name)
		t.int("First", run.First)
		t.int("Last", run.Last)
		t.int("Windows", int64(run.Windows))
		t.float("Since", seconds(run.Since), 3)
		t.list("Epochs")
		for _, e := range run.Epochs {
			t.open('{')
			t.int("Epoch", int64(e.Epoch))
			t.int("First", e.First)
			t.int("Last", e.Last)
			t.float("Start", e.Start, 7)
			t.float("End", e.End, 7)
			t.int("Windows", int64(e.Windows))
			t.int("Revised", int64(e.Revised))
			t.int("Hits", e.Hits)
			t.bit("Stale", e.Stale)
			t.close('}')
		}
		t.close(']')
		t.close('}')
	}
	t.close(']')
	t.close('}')
	return jsonKind, append(t.b, '\n'), nil
}

func (s *server) referenceView(http.Header, *http.Request) (kind string, body []byte, err error) {
	if s.ref == nil {
		return "", nil, notKept("there is no reference (--reference FILE)")
	}
	var t doc
	s.view(&t, "", s.ref.window, s.ref.sum, false)
	return jsonKind, append(t.b, '\n'), nil
}

func (s *server) alarms(http.Header, *http.Request) (kind string, body []byte, err error) {
	var t doc
	t.open('{')
	s.report(&t, math.MaxInt)
	t.close('}')
	return jsonKind, append(t.b, '\n'), nil
}
