package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"image/color"
	"image/png"
	"maps"
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"dt/internal/e2e/browser"
)

// A wantPlot is what check/dtpage.py says that a plot must show.
type wantPlot struct {
	Sets []struct {
		Edges, Counts []float64
		Under, Over   float64
	}
	Pairs [][2]float64
	Rows  [][]float64
}

// A wantSpan is what it says of a span.
type wantSpan struct {
	From, To, Windows     int
	Live, Triggers, Total float64
	Counts                []float64
	Ledger                map[string]float64
	Plots                 map[string]wantPlot
}

// wanted computes spans of the lines in a file, each as SPAN:AT.
func wanted(t testing.TB, file string, queries ...string) []wantSpan {
	t.Helper()
	var out []wantSpan
	d := json.NewDecoder(bytes.NewReader(script(t, nil, "check/dtpage.py", append([]string{file}, queries...)...)))
	for range queries {
		var w wantSpan
		if err := d.Decode(&w); err != nil {
			t.Fatal(err)
		}
		out = append(out, w)
	}
	return out
}

// A shownPlot is a plot of the page: its figure's model, and the table behind it as it stands there.
type shownPlot struct {
	ID, Note, Empty string
	Sets            []struct {
		Name, Role            string
		Edges, Counts, Values []float64
		Eligible              []float64 // of efficiencies
		Under, Over           float64
	}
	IDs   []float64 // of what goes with the time
	Table [][]string
}

// shown reads every plot of the tab in view.
func (v *visitor) shown() map[string]shownPlot {
	v.t.Helper()
	var list []shownPlot
	v.Eval(`[...document.querySelectorAll('main figure[data-plot]')].filter(f => f.checkVisibility() && f.model).map(f => {
		const list = l => Array.from(l ?? []).map(Number);
		const details = f.querySelector('details.numbers');
		if (details) details.open = true;
		return {
			ID: f.dataset.plot, Note: f.model.note ?? '', Empty: f.model.empty ?? '',
			Sets: (f.model.sets ?? []).map(s => ({Name: s.name ?? '', Role: s.role ?? '', Edges: list(s.edges), Counts: list(s.counts), Values: list(s.values), Eligible: list(s.eligible), Under: s.under ?? 0, Over: s.over ?? 0})),
			IDs: list(f.model.ids), Table: [...(f.querySelector('details.numbers table')?.rows ?? [])].map(r => [...r.cells].map(c => c.textContent.trim())),
		};
	})`, &list)
	out := map[string]shownPlot{}
	for _, p := range list {
		out[p.ID] = p
	}
	return out
}

// tabs returns the names of the tabs.
func (v *visitor) tabs() []string {
	v.t.Helper()
	var names []string
	v.Eval(`[...document.querySelectorAll('nav [data-tab]')].filter(a => a.checkVisibility()).map(a => a.dataset.tab)`, &names)
	return names
}

// tab goes to a tab by its link.
func (v *visitor) tab(name string) {
	v.t.Helper()
	v.Drawn() // a reader is no faster
	v.Click(fmt.Sprintf(`nav [data-tab="%s"]`, name))
	v.in(name)
}

// in waits until a tab is shown.
func (v *visitor) in(name string) {
	v.t.Helper()
	v.Wait("tab "+name, fmt.Sprintf(`document.querySelector('nav [data-tab="%s"]').matches('[aria-current]:not([aria-current="false"]), [aria-selected="true"]') && document.querySelector('main').dataset.ready === '1'`, name), `document.querySelector('nav').outerHTML`)
}

// number reads a number as the page writes it: grouped by narrow spaces, with a true minus.
func number(text string) (float64, bool) {
	text = strings.NewReplacer("\u202f", "", "\u00a0", "", "\u2009", "", "\u2212", "-", ",", "").Replace(text)
	x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	return x, err == nil
}

// compare returns in what a plot differs from what it must show.
func compare(got shownPlot, want wantPlot) []string {
	var bad []string
	differ := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(got.ID+": "+format, args...)) }
	var sets []int
	for i, s := range got.Sets {
		if s.Role != "reference" && s.Role != "ratio" && len(s.Counts) > 0 {
			sets = append(sets, i)
		}
	}
	column := func(what string, counts []float64) {
		if !hasColumn(got.Table, counts) {
			differ("its table has no column of %s %v:\n%v", what, counts, clip(got.Table))
		}
	}
	if len(sets) != max(len(want.Sets), 1) && want.Rows == nil {
		differ("%d sets, want %d", len(sets), len(want.Sets))
		return bad
	}
	switch {
	case want.Pairs != nil:
		var eligible, found []float64
		for _, p := range want.Pairs {
			eligible, found = append(eligible, p[0]), append(found, p[1])
		}
		if s := got.Sets[sets[0]]; !slices.Equal(s.Counts, found) || !slices.Equal(s.Eligible, eligible) {
			differ("found %v of %v, want %v of %v", s.Counts, s.Eligible, found, eligible)
		}
		column("eligible", eligible)
		column("found", found)
	case want.Rows != nil:
		// The newest windows, or all.
		n := len(got.IDs)
		if all := len(want.Rows); n == 0 || n > all || strings.HasPrefix(got.ID, "trend:") && n != all {
			differ("%d windows, want %d", n, all)
			return bad
		}
		rows := want.Rows[len(want.Rows)-n:]
		pick := func(k int) (list []float64) {
			for _, r := range rows {
				list = append(list, r[k])
			}
			return list
		}
		if ids := pick(0); !slices.Equal(got.IDs, ids) {
			differ("windows %v, want %v", clipped(got.IDs), clipped(ids))
		}
		column("ids", pick(0))
		if len(sets) != len(rows[0])-4 {
			differ("%d sets, want %d", len(sets), len(rows[0])-4)
			return bad
		}
		for i := range sets {
			s, counts := got.Sets[sets[i]], pick(4+i)
			if !slices.Equal(s.Counts, counts) {
				differ("counts %v, want %v", clipped(s.Counts), clipped(counts))
			}
			for k, v := range s.Values {
				if live := rows[k][3]; live > 0 && !near(v, counts[k]/live) {
					differ("rate %v of window %v, want %v", v, rows[k][0], counts[k]/live)
				}
			}
			column("counts", counts)
		}
	default:
		for i, w := range want.Sets {
			s := got.Sets[sets[i]]
			switch kind, _, _ := strings.Cut(got.ID, ":"); kind {
			case "hist_2": // over detector time, and in coarser bins where there are many
				for k, e := range s.Edges {
					s.Edges[k] = math.Round(e / orbitSeconds)
				}
				var ok bool
				if w.Edges, w.Counts, ok = coarser(w.Edges, w.Counts, s.Edges); !ok {
					differ("edges %v are no coarser bins of %v", clipped(s.Edges), clipped(w.Edges))
				}
			case "multiplicity": // as far as there is something
				if n := len(s.Counts); n >= 8 && n < len(w.Counts) && !slices.ContainsFunc(w.Counts[n:], func(x float64) bool { return x != 0 }) {
					w.Counts, w.Edges = w.Counts[:n], w.Edges[:n+1]
				}
			}
			if !slices.Equal(s.Counts, w.Counts) {
				differ("counts %v, want %v", s.Counts, w.Counts)
			}
			if len(w.Edges) > 0 && !slices.Equal(s.Edges, w.Edges) {
				differ("edges %v, want %v", s.Edges, w.Edges)
			}
			if s.Under != w.Under || s.Over != w.Over {
				differ("under and over %v, %v, want %v, %v", s.Under, s.Over, w.Under, w.Over)
			}
			column("counts", w.Counts)
		}
	}
	return bad
}

const orbitSeconds = 89.1e-6

// near returns whether two numbers are the same but for rounding.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }

// coarser adds bins up to others whose edges must be among theirs, and cover them all: Hist_2 along the orbits of a long run has more bins than a plot has
// pixels.
func coarser(edges, counts, to []float64) ([]float64, []float64, bool) {
	if len(edges) < 2 || len(to) < 2 || to[0] > edges[0] || to[len(to)-1] < edges[len(edges)-1] {
		return edges, counts, len(edges) == 0
	}
	out := make([]float64, len(to)-1)
	k := 0
	for i, n := range counts {
		for k < len(out) && edges[i] >= to[k+1] {
			k++
		}
		if k == len(out) || edges[i] < to[k] || edges[i+1] > to[k+1] {
			return edges, counts, false
		}
		out[k] += n
	}
	return to, out, true
}

func clipped(list []float64) []float64 { return list[:min(len(list), 8)] }

func clip(table [][]string) [][]string { return table[:min(len(table), 6)] }

// hasColumn returns whether a table has these numbers one below the other. Rows beside them, of under- and overflow or a sum, may be above and below.
func hasColumn(table [][]string, want []float64) bool {
	if len(table) == 0 {
		return false
	}
	for c := range table[0] {
		var list []float64
		for _, row := range table[1:] {
			if c < len(row) {
				if x, ok := number(row[c]); ok {
					list = append(list, x)
				}
			}
		}
		for i := 0; i+len(want) <= len(list); i++ {
			if slices.Equal(list[i:i+len(want)], want) {
				return true
			}
		}
	}
	return false
}

// settle waits until the plots of the tab in view say what they must, and tells what differs where they never do.
func (v *visitor) settle(want map[string]wantPlot) []string {
	v.t.Helper()
	return v.until(func() []string {
		var bad []string
		shown := v.shown()
		for _, id := range slices.Sorted(maps.Keys(shown)) {
			w, ok := want[id]
			if !ok {
				bad = append(bad, id+": nobody computed this plot")
				continue
			}
			bad = append(bad, compare(shown[id], w)...)
		}
		return bad
	})
}

// until repeats a check until it finds nothing, and returns what it found last.
func (v *visitor) until(check func() []string) []string {
	v.t.Helper()
	for end := time.Now().Add(8 * time.Second); ; time.Sleep(30 * time.Millisecond) {
		bad := check()
		if len(bad) == 0 || time.Now().After(end) {
			return bad
		}
	}
}

// In whole runs, each number of each plot, in the page's tables and in what is drawn, is that of the result lines.
func TestPageNumbers(t *testing.T) {
	t.Parallel()
	runs := map[string]func(t *testing.T) (*site, string){
		"sim": func(t *testing.T) (*site, string) {
			return piped(t, []stage{{"dtcat", "--run", "numbers", "sim:?seed=5&rate=1000&triggers=6&hits=660000&hot=3:20&dead=1:11&late=0.001"}, {"dtfilter"}, {"dtchamber"},
				{"dthist", "--window", "2s", "--hist2", "auto"}})
		},
		"run591": func(t *testing.T) (*site, string) {
			return piped(t, []stage{{"dtcat", "--run", "run591", "--from", "lcp", data(t, "run591_lcp.dat.gz")}, {"dtfilter", "HEAD == 2"}, {"dtchamber", "--map", "lcp"},
				{"dthist", "--window", "2s", "--hist2", "auto"}}, "--map", "lcp")
		},
	}
	for name, start := range runs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, file := start(t)
			v := s.visit(t, "")
			v.phase("ended")
			n := bytes.Count(mustRead(t, file), []byte("\n"))
			v.at(n)
			queries := []string{"window", "600", "run"}
			for i := range queries {
				queries[i] += ":" + strconv.Itoa(n)
			}
			want := wanted(t, file, queries...)
			seen := map[string]bool{}
			for i, span := range []string{"window", "recent", "run"} {
				v.Choose("#span", span)
				for _, tab := range v.tabs() {
					v.tab(tab)
					for _, text := range v.settle(want[i].Plots) {
						t.Errorf("%s, %s: %s", span, tab, text)
					}
					for id := range v.shown() {
						seen[id] = true
					}
				}
			}
			v.tab("ledger")
			for _, text := range v.until(func() []string { return v.ledger(want) }) {
				t.Errorf("ledger: %s", text)
			}
			for id := range want[2].Plots {
				if !seen[id] && !strings.HasPrefix(id, "scintillator:") && !strings.HasPrefix(id, "box:") {
					t.Errorf("no tab shows %s", id)
				}
			}
		})
	}
}

// ledger returns in what the table of the ledger differs from these spans', which are its columns.
func (v *visitor) ledger(want []wantSpan) (bad []string) {
	v.t.Helper()
	names := map[string]string{"Read": "Read", "Hits in a chamber, in time": "Hits", "Hits in a chamber, late": "Late", "Hits in a chamber, orbit closed early": "Early",
		"Scintillator hits": "Scintillator", "Hits unassigned (in no chamber, no scintillator)": "Unassigned", "Pending (change)": "Pending", "dthist: HEAD is not 2": "Not_A_Hit", "Sum": "Read"}
	rows := map[string][]string{}
	for _, row := range v.Table("main table.ledger-table") {
		rows[row[0]] = row[1:]
		if strings.Contains(row[0], ": ") && names[row[0]] == "" {
			names[row[0]] = row[0] // of a stage
		}
	}
	shown := map[string]bool{}
	for name, key := range names {
		shown[key] = true
		for i, w := range want {
			if i >= len(rows[name]) {
				bad = append(bad, fmt.Sprintf("no row %q", name))
				break
			}
			if x, ok := number(rows[name][i]); !ok || x != w.Ledger[key] {
				bad = append(bad, fmt.Sprintf("%s, column %d: %q, want %v", name, i+1, rows[name][i], w.Ledger[key]))
			}
		}
	}
	for key := range want[len(want)-1].Ledger {
		if !shown[key] {
			bad = append(bad, "no row for "+key)
		}
	}
	return bad
}

// The commands that the page gives do what it says of them.
func TestPageCommands(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("jq"); err != nil {
		missing(t, "jq", "apt-get install jq")
	}
	for name, test := range map[string]struct {
		stages  []stage
		chamber int
		channel int
	}{
		"sim": {[]stage{{"dtcat", "--run", "commands", "sim:?seed=23&rate=3000&triggers=20&hits=60000&stale=0"}, {"dtfilter"}, {"dtchamber"}, {"dthist", "--window", "2s", "--hist2", "auto"}}, 2, 81},
		"run591": {[]stage{{"dtcat", "--run", "it's run 591", "--from", "lcp", data(t, "run591_lcp.dat.gz")}, {"dtfilter", "HEAD == 2"}, {"dtchamber", "--map", "lcp"}, {"dthist", "--window", "2s"}},
			1, 3}, // the settings of the lines tell the map
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, file := piped(t, test.stages)
			v := s.visit(t, "")
			v.phase("ended")
			lines := bytes.SplitAfter(bytes.TrimSpace(mustRead(t, file)), []byte("\n"))
			n := len(lines)
			v.at(n)
			do := func(command string) []byte {
				t.Helper()
				cmd := exec.Command("bash", "-o", "pipefail", "-c", command)
				cmd.Env = append(environ(), "PATH="+binaries+":"+os.Getenv("PATH"))
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%s: %v", command, err)
				}
				return out
			}
			// line is a result line without what a second run of the same may have otherwise.
			line := func(text []byte) string {
				t.Helper()
				var o map[string]any
				if err := json.Unmarshal(text, &o); err != nil {
					t.Fatalf("%v: %.300s", err, text)
				}
				for _, key := range []string{"Index", "Source", "Ledger"} {
					delete(o, key)
				}
				b, err := json.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			whole := pipeline(t, bytes.NewReader(mustRead(t, file)), stage{"dthist", "--merge", "--window", "all"}).ok(t)
			for span, want := range map[string]string{"window": line(lines[n-1]), "run": line(whole)} {
				v.tab("source")
				v.Choose("#span", span)
				command := `document.querySelector('main .command pre').textContent`
				v.Wait("the command of "+span, fmt.Sprintf(`/--merge/.test(%s) === %v`, command, span == "run"), command)
				if got := line(do(v.Text(command))); got != want {
					t.Errorf("%s: %s\ngives %.600s,\nwant  %.600s", span, v.Text(command), got, want)
				}
			}
			v.Eval(fmt.Sprintf("location.hash = '#span=run&wire=%d:%d'; null", test.chamber, test.channel), nil)
			command := `document.querySelector('#wire .command pre').textContent`
			v.Wait("the wire's command", fmt.Sprintf(`/TDC_CHANNEL == %d/.test(%s)`, test.channel, command), command)
			hits := bytes.Count(bytes.TrimSpace(do(v.Text(command))), []byte("\n"))
			if !bytes.HasPrefix(do(v.Text(command)), []byte("HEAD,")) {
				hits++ // no header
			}
			w := wanted(t, file, fmt.Sprintf("run:%d", n))[0]
			if want := w.Plots[fmt.Sprintf("occupancy:%d", test.chamber)].Sets[0].Counts[test.channel%64]; float64(hits) != want {
				t.Errorf("the command %s\ngives %d hits, and the wire has %v", v.Text(command), hits, want)
			}
		})
	}
}

// A line is drawn soon after it came, each of them.
func TestPageLive(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "live", "seed=6&rate=3000&triggers=20&hits=120000&stale=0", "2s"))
	s := fed(t)
	v := s.visit(t, "")
	v.phase("waiting")
	var took []time.Duration
	for i, line := range lines {
		at := time.Now()
		s.send(line)
		v.at(i + 1)
		took = append(took, time.Since(at))
	}
	v.phase("live")
	age := v.Text(`document.querySelector('#age').textContent`)
	v.Wait("the age ticks", fmt.Sprintf(`document.querySelector('#age').textContent !== %s`, browser.Quote(age)), `document.querySelector('#age').textContent`)
	slices.Sort(took)
	t.Logf("from a line to its plot: half within %v, 90 %% within %v, all within %v", took[len(took)/2], took[len(took)*9/10], took[len(took)-1])
	if worst := took[len(took)-1]; worst > 5*time.Second {
		t.Errorf("a line took %v", worst)
	}
}

// Texts that would run, or break out of where they stand, in a page that takes them for more than text.
const hostileMark = "window.pwned"

var hostileTexts = []string{
	`<script>window.pwned=1</script>`,
	`=cmd|' /C calc'!A0,"x"` + "\u2028" + `</script><script>window.pwned=6</script>` + strings.Repeat("very long ", 300),
	`<img src=x onerror="window.pwned=2">`,
	`"><svg onload=window.pwned=3>'` + "`${window.pwned=4}`",
	`javascript:window.pwned=5//</title><b>`,
}

// hostile puts a text into every field of a line that holds one, and adds a histogram under it as key.
func hostile(t testing.TB, line []byte, text string) []byte {
	t.Helper()
	q := func(s string) []byte {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(len(text)%2 == 0) // as \u003c and as it is
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		return bytes.TrimSpace(b.Bytes())
	}
	var l struct {
		Window struct{ Run string }
		Source struct{ Node string }
	}
	if err := json.Unmarshal(line, &l); err != nil {
		t.Fatal(err)
	}
	must := func(old, new []byte) {
		if !bytes.Contains(line, old) {
			t.Fatalf("no %s in the line", old)
		}
		line = bytes.ReplaceAll(line, old, new)
	}
	must(slices.Concat([]byte(`"Run": `), q(l.Window.Run)), slices.Concat([]byte(`"Run": `), q(text+" run")))
	must(slices.Concat([]byte(`"Node": `), q(l.Source.Node)), slices.Concat([]byte(`"Node": `), q(text+" node")))
	aside := regexp.MustCompile(`"Set_Aside": \{"dtfilter": \{"[^"]*"`)
	if !aside.Match(line) {
		t.Fatal("nothing is set aside in the line")
	}
	line = aside.ReplaceAll(line, escapeDollar(slices.Concat([]byte(`"Set_Aside": {`), q(text+" stage"), []byte(`: {`), q(text+" reason"))))
	next := regexp.MustCompile(`"Next": \d+`)
	line = next.ReplaceAll(line, slices.Concat([]byte(`$0, "Name": `), escapeDollar(q(text+" name")), []byte(`, "Offset": 1, "Number": 2, "Tag": `), escapeDollar(q(text+" tag"))))
	must([]byte(`, "Trigger": {`), slices.Concat([]byte(`, `), q(text+" key"), []byte(`: {"Bins": [0,1,2], "Counts": [5,0,7]}, "Trigger": {`)))
	return line
}

func escapeDollar(b []byte) []byte { return bytes.ReplaceAll(b, []byte("$"), []byte("$$")) }

// Whatever the input holds is text: nothing of it runs, and nothing of it is an element.
func TestPageHostile(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "hostile", "seed=8&rate=3000&triggers=20&hits=30000&stale=0", "1s"))
	title := hostileTexts[0] + hostileTexts[1]
	s := fed(t, "--title", title)
	v := s.visit(t, "")
	lines = slices.DeleteFunc(lines, func(line []byte) bool { return !bytes.Contains(line, []byte(`"Set_Aside": {"`)) })
	for i, text := range hostileTexts {
		s.send(hostile(t, lines[i], text))
		v.at(i + 1)
	}
	same(t, "the title", v.Text(`document.querySelector('#title').textContent`), title)
	v.Wait("a tab for the histograms of unknown keys", `document.querySelector('nav [data-tab="other"]')`, `document.querySelector('nav').innerText`)
	check := func(where string) {
		t.Helper()
		if v.Is("window.pwned !== undefined") {
			t.Fatalf("%s: a text of the input ran", where)
		}
		if n := v.Text(`String(document.querySelectorAll('script:not([src]), [onerror], [onload], img[src="x"], iframe, object, embed, a[href^="javascript"]').length)`); n != "0" {
			t.Fatalf("%s: a text of the input became %s elements", where, n)
		}
		if v.Is(`document.scrollingElement.scrollWidth > document.scrollingElement.clientWidth`) {
			t.Errorf("%s: a long text makes the page wider than the window", where)
		}
	}
	all := ""
	for _, tab := range v.tabs() {
		v.tab(tab)
		check(tab)
		v.Point("main")
		all += v.Text("document.body.innerText")
	}
	for _, part := range []string{" run", " name", " tag", " node", " stage", " reason", " key"} {
		if !strings.Contains(all, part) {
			t.Errorf("no tab shows the text of %q", part)
		}
	}
	if !strings.Contains(all, hostileMark) {
		t.Error("the texts are not shown")
	}
	v.Phone()
	for _, tab := range v.tabs() {
		v.tab(tab)
		check("phone, " + tab)
	}
}

// The input ends: the page says so, stays, and goes on answering.
func TestPageEnded(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "ended", "seed=9&rate=3000&triggers=20&hits=30000&stale=0", "1s"))
	s := fed(t)
	v := s.visit(t, "")
	s.send(lines[:5]...)
	v.at(5)
	v.phase("live")
	s.end()
	v.phase("ended")
	for _, tab := range v.tabs() {
		v.tab(tab)
	}
	later := s.visit(t, "")
	later.phase("ended")
	later.at(5)
}

// The source falls silent: the page says that its data are old.
func TestPageStale(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "stale", "seed=9&rate=3000&triggers=20&hits=30000&stale=0", "1s"))
	s := fed(t, "--stale-after", "1s")
	v := s.visit(t, "")
	s.send(lines[:5]...)
	v.at(5)
	v.phase("stale")
	s.send(lines[5])
	v.at(6)
	v.phase("live")
}

// The server dies and is started again with its log: the page says so, comes back by itself, and misses nothing.
func TestPageRestart(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "restart", "seed=10&rate=3000&triggers=20&hits=60000&stale=0", "1s"))
	log := t.TempDir() + "/lines.log"
	address := freeAddress(t)
	s := fedAt(t, address, "--log", log)
	v := s.visit(t, "")
	v.allow(`net::ERR_`) // what a browser says of a connection that broke, whatever the page does
	s.send(lines[:6]...)
	v.at(6)
	s.kill()
	v.phase("disconnected")
	again := fedAt(t, address, "--log", log)
	again.has(6)
	v.phase("live")
	again.send(lines[6:9]...)
	v.at(9)
	file := write(t, "lines.jsonl", bytes.Join(lines[:9], nil))
	want := wanted(t, file, "run:9", "run:2")
	v.Choose("#span", "run")
	for _, tab := range v.tabs() {
		v.tab(tab)
		for _, text := range v.settle(want[0].Plots) {
			t.Errorf("%s: %s", tab, text)
		}
	}
	// Without the log another server begins at 1 again, and the page with it.
	again.stop()
	v.phase("disconnected")
	other := fedAt(t, address)
	other.send(lines[:2]...)
	v.at(2)
	v.phase("live")
	v.tab("glance")
	for _, text := range v.settle(want[1].Plots) {
		t.Errorf("another server: %s", text)
	}
}

// An alarm as the server tells it.
type toldAlarm struct {
	Key, Kind, Text           string
	Chamber, Channel          int
	Raised, RaisedAt, Cleared float64
}

// alarms returns the alarms that stand, and those that have been cleared.
func (s *site) alarms() (stand, cleared []toldAlarm) {
	s.t.Helper()
	var list []toldAlarm
	if err := json.Unmarshal(alarmList(s.t, s), &list); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range list {
		if a.Cleared > 0 {
			cleared = append(cleared, a)
		} else {
			stand = append(stand, a)
		}
	}
	return stand, cleared
}

// A wire falls silent and comes back: one alarm is raised, is listed with its times, and clears. What the viewer acknowledged stays so.
func TestPageAlarms(t *testing.T) {
	t.Parallel()
	const settings = "seed=12&rate=20000&triggers=10&stale=0&hits=2400000"
	good := withNewlines(simLines(t, "alarms", settings, "2s"))
	dead := withNewlines(simLines(t, "alarms", settings+"&dead=2:17", "2s"))
	s := fed(t)
	v := s.visit(t, "")
	sent := 0
	// until sends lines until the alarms are so, 20 at most.
	until := func(what string, lines [][]byte, so func(stand, cleared []toldAlarm) bool) {
		t.Helper()
		for range 20 {
			s.send(lines[sent])
			sent++
			v.at(sent)
			if so(s.alarms()) {
				return
			}
		}
		stand, cleared := s.alarms()
		t.Fatalf("%s: not within 20 windows: alarms %+v, cleared %+v", what, stand, cleared)
	}
	for sent < 15 {
		s.send(good[sent])
		sent++
	}
	v.at(sent)
	if stand, cleared := s.alarms(); len(stand)+len(cleared) > 0 {
		t.Errorf("alarms %+v and cleared %+v in a healthy run", stand, cleared)
	}
	count := func(want string) {
		t.Helper()
		v.Wait("alarms: "+want, fmt.Sprintf(`(document.querySelector('#alarms-count').textContent.match(/\d+/) ?? ['0'])[0] === '%s'`, want), `document.querySelector('#alarms-count').textContent`)
	}
	count("0")
	until("raised", dead, func(stand, _ []toldAlarm) bool { return len(stand) > 0 })
	stand, _ := s.alarms()
	if len(stand) != 1 || stand[0].Key != "wire:2:81" && stand[0].Key != "wire:2:17" || stand[0].Kind != "dead wire" || stand[0].Chamber != 2 || stand[0].Channel != 64+17 {
		t.Fatalf("alarms %+v", stand)
	}
	count("1")
	v.tab("alarms")
	text := `document.querySelector('main').innerText`
	v.Wait("the alarm in words", fmt.Sprintf(`%s.toLowerCase().includes(%s)`, text, browser.Quote(strings.ToLower(stand[0].Text))), text)

	box := fmt.Sprintf(`main tr[data-key="%s"] input[type="checkbox"]`, stand[0].Key)
	v.Click(box)
	acked := fmt.Sprintf(`document.querySelector('%s').checked`, box)
	v.Wait("acknowledged", acked, text)
	v.Reload()
	v.ready()
	v.Wait("acknowledged after a reload", acked, text)
	stranger := s.visit(t, "#tab=alarms")
	stranger.Wait("to others it is not acknowledged", fmt.Sprintf(`document.querySelector('%s') && !(%s)`, box, acked), text)

	until("cleared", good, func(stand, _ []toldAlarm) bool { return len(stand) == 0 })
	count("0")
	_, cleared := s.alarms()
	if len(cleared) != 1 || cleared[0].Key != stand[0].Key {
		t.Fatalf("cleared %+v", cleared)
	}
	v.Wait("the cleared alarm is listed", fmt.Sprintf(`!document.querySelector('%s') && document.querySelector('main tr[data-key="%s"]').innerText.toLowerCase().includes(%s)`, box, stand[0].Key, browser.Quote(strings.ToLower(cleared[0].Text))), text)
}

// In run 591 the dead wires are exactly these, and nothing else is alarming about a wire.
func TestPageDeadWires(t *testing.T) {
	t.Parallel()
	s, _ := piped(t, []stage{{"dtcat", "--run", "run591", "--from", "lcp", data(t, "run591_lcp.dat.gz")}, {"dtfilter", "HEAD == 2"}, {"dtchamber", "--map", "lcp"},
		{"dthist", "--window", "2s", "--hist2", "auto"}}, "--map", "lcp")
	v := s.visit(t, "#tab=alarms")
	v.phase("ended")
	stand, _ := s.alarms()
	var got []string
	for _, a := range stand {
		if strings.HasPrefix(a.Key, "wire:") && a.Kind == "dead wire" {
			got = append(got, fmt.Sprintf("%d:%d", a.Chamber, a.Channel))
		}
	}
	slices.Sort(got)
	same(t, "dead wires", strings.Join(got, " "), "1:11 1:13 1:51 1:54")
	for _, a := range stand {
		v.Wait(a.Text, fmt.Sprintf(`document.querySelector('main').innerText.toLowerCase().includes(%s)`, browser.Quote(strings.ToLower(a.Text))), `document.querySelector('main').innerText`)
	}
	// The wire maps say the same, by their models and by their tables.
	v.tab("glance")
	v.Choose("#span", "run")
	for _, text := range v.until(func() (bad []string) {
		for n := 1; n <= 4; n++ {
			var cells []struct {
				Channel int
				Verdict string
			}
			v.Eval(fmt.Sprintf(`document.querySelector('main figure[data-plot="wiremap:%d"]').model.cells.map(c => ({Channel: c.channel, Verdict: c.verdict}))`, n), &cells)
			var dead []int
			for _, c := range cells {
				if c.Verdict == "dead" {
					dead = append(dead, c.Channel)
				}
			}
			want := []int(nil)
			if n == 1 {
				want = []int{11, 13, 51, 54}
			}
			if !slices.Equal(dead, want) {
				bad = append(bad, fmt.Sprintf("chamber %d: dead %v, want %v", n, dead, want))
			}
		}
		return bad
	}) {
		t.Error(text)
	}
}

func alarmList(t testing.TB, s *site) []byte {
	t.Helper()
	body := s.get("api/alarms")
	var o struct{ Alarms json.RawMessage }
	if json.Unmarshal(body, &o) == nil && o.Alarms != nil {
		return o.Alarms
	}
	return body
}

// hash returns the view that the address holds.
func (v *visitor) hash() string {
	v.t.Helper()
	return v.Text("location.hash")
}

// has waits until the address says so.
func (v *visitor) says(part string) {
	v.t.Helper()
	v.Wait("the address says "+part, fmt.Sprintf(`new RegExp('[#&]' + %s + '(&|$)').test(decodeURIComponent(location.hash))`, browser.Quote(regexp.QuoteMeta(part))), "location.hash")
}

// A paused view stays as it is while lines go on coming; it can be scrubbed, by slider and by keys, and one key is back at the newest.
func TestPagePause(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "pause", "seed=14&rate=3000&triggers=20&hits=240000&stale=0", "2s"))
	lines = lines[:36]
	file := write(t, "lines.jsonl", bytes.Join(lines, nil))
	s := fed(t)
	s.send(lines[:30]...)
	s.has(30)
	v := s.visit(t, "")
	v.at(30)
	v.Choose("#span", "window")
	v.tab("chamber-1")
	// A paused view has the windows that there were when it was paused.
	want := wanted(t, file, "window:30", "window:17:30", "window:16:30", "window:6:30", "600:20:30", "window:36")
	expect := func(what string, w wantSpan) {
		t.Helper()
		for _, text := range v.settle(w.Plots) {
			t.Errorf("%s: %s", what, text)
		}
	}
	v.Keys(" ")
	v.phase("paused")
	v.says("at=30")
	s.send(lines[30:]...)
	s.has(36)
	v.Wait("it is told that there is more", `/^6 windows/.test(document.querySelector('#age').textContent)`, `document.querySelector('#age').textContent`)
	expect("paused", want[0])

	v.Set("#cursor", "17")
	v.says("at=17")
	expect("at 17", want[1])
	v.Eval("document.activeElement.blur(); null", nil)
	v.Keys(kb.ArrowLeft)
	v.says("at=16")
	expect("at 16", want[2])
	v.Shifted(kb.ArrowLeft)
	v.says("at=6")
	expect("at 6", want[3])
	v.Keys(kb.ArrowLeft)
	v.says("at=5")
	v.Shifted(kb.ArrowRight)
	v.says("at=15")
	for range 5 {
		v.Keys(kb.ArrowRight)
	}
	v.says("at=20")
	v.Choose("#span", "recent")
	expect("recent at 20", want[4])
	v.Choose("#span", "window")
	v.Keys(kb.Escape)
	v.phase("live")
	v.at(36)
	expect("live again", want[5])
	if strings.Contains(v.hash(), "at=") {
		t.Errorf("the address of a live view is %s", v.hash())
	}
	// The button does the same, and so does l.
	v.Click(`[data-action="pause"]`)
	v.phase("paused")
	v.Click(`[data-action="live"]`)
	v.phase("live")
	v.Eval("document.activeElement.blur(); null", nil) // space on a button is the button's
	v.Keys(" ")
	v.phase("paused")
	v.Keys("l")
	v.phase("live")
}

// Since reset is since the viewer's reset; minutes of the last minutes can be set; left to itself each plot states what it is of.
func TestPageSpans(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "spans", "seed=15&rate=1000&triggers=6&hits=700000&stale=0", "2s"))
	lines = lines[:340]
	file := write(t, "lines.jsonl", bytes.Join(lines, nil))
	s := fed(t)
	s.send(lines[:330]...)
	s.has(330)
	v := s.visit(t, "")
	v.at(330)
	want := wanted(t, file, "331-340:340", "60:340", "window:340", "600:340")
	v.Keys("r")
	s.send(lines[330:]...)
	v.at(340)
	v.Choose("#span", "reset")
	v.tab("chamber-3")
	for _, text := range v.settle(want[0].Plots) {
		t.Errorf("since reset: %s", text)
	}
	// Another reader has another reset, or none.
	if other := s.visit(t, "#tab=chamber-3"); strings.Contains(other.hash(), "reset=") {
		t.Error("a reset is everybody's")
	}

	v.Choose("#span", "auto")
	for _, text := range v.until(func() (bad []string) {
		for id, p := range v.shown() {
			kind, _, _ := strings.Cut(id, ":")
			var of wantSpan
			var triggers string
			switch kind {
			case "occupancy", "hist_1", "multiplicity":
				of = want[2]
			case "hist_3", "hist_4", "box", "drift_layer", "trigger_multiplicity", "efficiency":
				of = want[3]
				triggers = fmt.Sprint(of.Triggers) + " trigger"
			default:
				continue
			}
			bad = append(bad, compare(p, of.Plots[id])...)
			if !strings.Contains(strings.ReplaceAll(p.Note, "\u202f", ""), triggers) || p.Note == "" {
				bad = append(bad, fmt.Sprintf("%s: its note %q does not say %q", id, p.Note, triggers))
			}
		}
		return bad
	}) {
		t.Errorf("auto: %s", text)
	}

	// One minute instead of ten.
	v.Choose("#span", "recent")
	v.Choose("#recent", "60")
	v.says("recent=60")
	for _, text := range v.settle(want[1].Plots) {
		t.Errorf("the last minute: %s", text)
	}
}

// In other scales the values are those of the counts: rates by the live time, shares of the whole.
func TestPageScales(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "scales", "seed=16&rate=3000&triggers=20&hits=120000&stale=0", "2s"))
	n := len(lines)
	for i := range lines {
		lines[i] = unknown(t, lines[i])
	}
	file := write(t, "lines.jsonl", bytes.Join(lines, nil))
	s := fed(t)
	s.send(lines...)
	v := s.visit(t, "#tab=chamber-2&span=run")
	v.at(n)
	want := wanted(t, file, fmt.Sprintf("run:%d", n))[0]
	check := func(scale string, value func(count, sum float64) float64, skip ...string) {
		t.Helper()
		v.says("scale=" + scale)
		for _, text := range v.until(func() (bad []string) {
			for id, p := range v.shown() {
				if kind, _, _ := strings.Cut(id, ":"); slices.Contains(skip, kind) || want.Plots[id].Rows != nil || want.Plots[id].Pairs != nil {
					continue
				}
				for _, set := range p.Sets {
					sum := 0.0
					for _, c := range set.Counts {
						sum += c
					}
					for i, c := range set.Counts {
						if x := value(c, sum); !near(set.Values[i], x) {
							bad = append(bad, fmt.Sprintf("%s: value %v of bin %d, want %v", id, set.Values[i], i, x))
							break
						}
					}
				}
			}
			return bad
		}) {
			t.Errorf("%s: %s", scale, text)
		}
	}
	v.Keys("c")
	check("rate", func(c, _ float64) float64 { return c / want.Live }, "hist_2")
	v.Keys("c")
	check("area", func(c, sum float64) float64 {
		if sum == 0 {
			return 0
		}
		return c / sum
	}, "wiremap")
	v.Keys("y")
	v.says("log=1")
	v.Keys("y")
	v.Keys("c")
	v.Wait("counts again", `!/scale=/.test(location.hash)`, "location.hash")
	for _, tab := range []string{"chamber-2", "other"} {
		v.tab(tab)
		for _, text := range v.settle(want.Plots) {
			t.Errorf("counts: %s", text)
		}
	}
	same(t, "histograms under unknown keys", strings.Join(v.order(), " "), "other:Chamber_2.Hist_9 other:My_Hist")
}

// unknown puts two histograms into a line under keys that nobody knows.
func unknown(t testing.TB, line []byte) []byte {
	t.Helper()
	for old, more := range map[string]string{
		`, "Trigger": {`:    `, "My_Hist": {"Bins": [-1.5,0,10], "Counts": [5,0,7]}, "Trigger": {`,
		`}, "Chamber_3": {`: `, "Hist_9": {"Bins": [0,10], "Counts": [3,4], "Underflow": 1, "Overflow": 2}}, "Chamber_3": {`,
	} {
		if bytes.Count(line, []byte(old)) != 1 {
			t.Fatalf("no %s in the line", old)
		}
		line = bytes.Replace(line, []byte(old), []byte(more), 1)
	}
	return line
}

// A run begins anew: what is of the whole run is of the new one. The stale buffer before a run is called so.
func TestPageRuns(t *testing.T) {
	t.Parallel()
	const settings = "rate=3000&triggers=20&hits=30000"
	lines := withNewlines(slices.Concat(simLines(t, "first", "seed=24&"+settings, "2s")[:5], simLines(t, "second", "seed=25&"+settings, "2s")[:4]))
	file := write(t, "lines.jsonl", bytes.Join(lines, nil))
	want := wanted(t, file, "run:5", "run:9", "600:9")
	s := fed(t)
	v := s.visit(t, "")
	s.send(lines[0]) // the stale buffer; nobody knows yet
	v.at(1)
	s.send([]byte("{\"Chamber_1\": nonsense}\n"))
	s.send(lines[1:5]...)
	v.at(5)
	v.Choose("#span", "run")
	v.tab("chamber-1")
	for _, text := range v.settle(want[0].Plots) {
		t.Errorf("first run: %s", text)
	}
	s.send(lines[5])
	v.at(6)
	v.Wait("the stale buffer is called so", `/stale buffer/i.test(document.querySelector('#notices').innerText)`, `document.querySelector('#notices').innerText`)
	s.send(lines[6:]...)
	v.at(9)
	v.Wait("no stale buffer any more", `!/stale buffer/i.test(document.querySelector('#notices').innerText)`, `document.querySelector('#notices').innerText`)
	same(t, "the run", v.Text(`document.querySelector('#run-name').textContent`), "second")
	for i, span := range []string{"run", "recent"} {
		v.Choose("#span", span)
		for _, text := range v.settle(want[1+i].Plots) {
			t.Errorf("second run, %s: %s", span, text)
		}
	}
	v.tab("source")
	v.Wait("the bad line is counted", `/1 line counted and skipped/.test(document.querySelector('main').innerText)`, `document.querySelector('main').innerText`)
}

// silent returns a line as a merge writes it while lanes 3 and 7 of 8 are silent: without the hits that only the other line has; and the other one as it comes
// again then, and as it stands for both, with the ledger of both.
func silent(t testing.TB, whole, part []byte) (early, again, both []byte) {
	t.Helper()
	lanes, ledger := regexp.MustCompile(`"Lanes": \[\{.*\}\]\}, "Settings"`), regexp.MustCompile(`"Ledger": .*, "Complete"`)
	replace := func(line []byte, from *regexp.Regexp, to string) []byte {
		if len(from.FindAll(line, -1)) != 1 {
			t.Fatalf("%v is not in the line once", from)
		}
		return from.ReplaceAllLiteral(line, []byte(to))
	}
	again = replace(whole, regexp.MustCompile(`"Revision": 0`), `"Revision": 1`)
	both = replace(again, ledger, string(ledger.Find(part)))
	again = replace(again, ledger, `"Ledger": {"Read": 0, "Hits": 0, "Late": 0, "Scintillator": 0, "Unassigned": 0, "Not_A_Hit": 0, "Early": 0, "Pending": 0, "Set_Aside": {}}, "Complete"`)
	again = replace(again, lanes, `"Lanes": []}, "Settings"`)
	early = replace(part, regexp.MustCompile(`"Complete": 1`), `"Complete": 0`)
	early = replace(early, regexp.MustCompile(`"Lane": \[1,1\]`), `"Lane": [1,8]`)
	early = replace(early, regexp.MustCompile(`\]\}, "Settings"`), `], "Missing": [3, 7]}, "Settings"`)
	return early, again, both
}

// Windows without lanes that are silent say so. When they come again, whole, they take their places on pages that are open, with all numbers, also where
// somebody looks back at one.
func TestPageRevised(t *testing.T) {
	t.Parallel()
	const settings = "sim:?seed=26&rate=3000&triggers=20&hits=60000&stale=0"
	whole := withNewlines(simLines(t, "revised", strings.TrimPrefix(settings, "sim:?"), "2s"))[:6]
	part := withNewlines(bytes.SplitAfter(bytes.TrimSpace(pipeline(t, nil, stage{"dtcat", "--run", "revised", settings}, stage{"dtfilter", "HEAD == 2 && TDC_CHANNEL <= 128 && BX_COUNTER < 2673"},
		stage{"dtchamber"}, stage{"dthist", "--window", "2s", "--hist2", "auto"}).ok(t)), []byte("\n")))
	before, after := slices.Clone(whole), slices.Clone(whole)
	var again [][]byte
	for _, i := range []int{2, 5} {
		var revised []byte
		before[i], revised, after[i] = silent(t, whole[i], part[i])
		again = append(again, revised)
	}
	queries := []string{"window:6", "600:6", "run:6", "window:3:6", "600:3:6", "run:3:6"}
	want := wanted(t, write(t, "before.jsonl", bytes.Join(before, nil)), queries...)
	wantAfter := wanted(t, write(t, "after.jsonl", bytes.Join(after, nil)), queries...)

	s := fed(t)
	s.send(before...)
	s.has(6)
	v, back := s.visit(t, ""), s.visit(t, "#tab=chamber-1&at=3&held=6&span=window")
	v.at(6)
	back.at(3)
	const foot, notices, pairs = `document.querySelector('#cursor-text').textContent`, `document.querySelector('#notices').innerText`, `document.querySelector('main dl.pairs').innerText`
	holds := func(v *visitor, where, pattern string) {
		t.Helper()
		v.Wait(pattern, fmt.Sprintf(`/%s/.test(%s)`, pattern, where), where)
	}
	check := func(when string, want []wantSpan) {
		t.Helper()
		for i, span := range []string{"window", "recent", "run"} {
			v.Choose("#span", span)
			for _, tab := range []string{"glance", "chamber-1"} {
				v.tab(tab)
				for _, text := range v.settle(want[i].Plots) {
					t.Errorf("%s, %s, %s: %s", when, span, tab, text)
				}
			}
		}
		v.tab("ledger")
		for _, text := range v.until(func() []string { return v.ledger(want[:3]) }) {
			t.Errorf("%s: ledger: %s", when, text)
		}
		for _, text := range back.settle(want[3].Plots) {
			t.Errorf("%s, looking back: %s", when, text)
		}
	}
	check("before", want)
	holds(v, notices, `^Lanes 3 and 7 of 8 are silent`)
	holds(v, foot, `without lanes 3 and 7`)
	holds(back, notices, `In window 3 lanes 3 and 7 of 8 were silent`)
	holds(back, `document.querySelector('figure[data-plot="hist_1:1"] .plot-foot').textContent`, `without lanes 3 and 7`)
	v.tab("source")
	holds(v, pairs, `no, 2 of 6 windows are not: lanes 3 and 7 of 8 were silent`)
	v.Choose("#span", "window")
	holds(v, pairs, `no: lanes 3 and 7 of 8 were silent`)
	for _, theme := range []string{"dark", "light"} {
		v.Media("prefers-color-scheme", theme)
		v.judge("without lanes, " + theme)
	}
	const lacking = `document.querySelector('figure[data-plot="trend:rates"] .lacking path').getAttribute('d').split('Z').length - 1`
	v.tab("glance")
	holds(v, lacking, `^2$`)

	for _, v := range []*visitor{v, back} {
		v.Eval(`window.loaded = 'once'; null`, nil)
	}
	s.send(again...)
	holds(v, foot, `newest: window 6 .* revision 1$`)
	holds(back, foot, `^window 3 .* revision 1$`)
	holds(v, lacking, `^0$`)
	holds(v, `document.querySelector('#toast')?.textContent`, `2 windows were revised`)
	check("after", wantAfter)
	for _, v := range []*visitor{v, back} {
		v.Wait("no notice", `!document.querySelector('#notices').innerText`, notices)
		same(t, "loaded", v.Text(`window.loaded`), "once")
	}
	v.tab("source")
	v.Choose("#span", "run")
	holds(v, pairs, `yes: every lane has passed its end`)
	holds(v, pairs, `2 windows, written again when silent lanes came back`)
	v.Choose("#span", "window")
	holds(v, pairs, `yes, revision 1`)
	for i, span := range []string{"window", "recent", "run"} {
		back.Choose("#span", span)
		for _, text := range back.settle(wantAfter[3+i].Plots) {
			t.Errorf("looking back, %s: %s", span, text)
		}
	}
}

// A view opened elsewhere by its address is the same view.
func TestPageAddress(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "address", "seed=17&rate=3000&triggers=20&hits=120000&stale=0", "2s"))
	s := fed(t)
	s.send(lines...)
	s.has(18)
	v := s.visit(t, "")
	v.tab("chamber-2")
	v.Choose("#span", "run")
	v.Keys(" ")
	v.phase("paused")
	for v.hash(); !strings.Contains(v.hash(), "at=15&") && !strings.HasSuffix(v.hash(), "at=15"); {
		before := v.hash()
		v.Keys(kb.ArrowLeft)
		v.Wait("the cursor moved", fmt.Sprintf("location.hash !== %s", browser.Quote(before)), "location.hash")
	}
	v.Keys("c")
	v.says("scale=rate")
	v.Keys("y")
	v.says("log=1")
	v.Drag(`main figure[data-plot="hist_4:2"] .plot-area`, 0.3, 0.5, 0.6, 0.5)
	v.Wait("zoomed", `/zoom=/.test(location.hash)`, "location.hash")
	address := v.Text("location.href")
	models := `JSON.stringify([...document.querySelectorAll('main figure[data-plot]')].filter(f => f.checkVisibility() && f.model).map(f => [f.dataset.plot, f.model.note, f.model.sets.map(s => [s.counts, s.values]), f.model.scale ?? '', f.model.y?.log ?? '']))`
	w := s.visit(t, strings.TrimPrefix(address, s.url("")))
	w.in("chamber-2")
	w.phase("paused")
	same(t, "the address", w.Text("location.href"), address)
	same(t, "the span", w.Text(`document.querySelector('#span').value`), "run")
	for _, text := range w.until(func() []string {
		if a, b := v.Text(models), w.Text(models); a != b {
			return []string{"the plots differ: " + a[:min(len(a), 500)] + "\n" + b[:min(len(b), 500)]}
		}
		return nil
	}) {
		t.Error(text)
	}
	ticks := `[...document.querySelector('main figure[data-plot="hist_4:2"] svg').querySelectorAll('text')].map(t => t.textContent).join(' ')`
	v.Wait("the same axis", fmt.Sprintf("%s === %s", ticks, browser.Quote(w.Text(ticks))), ticks)

	// An address that makes no sense is not taken for more than it is.
	for _, hash := range []string{"#tab=nowhere&span=never&at=-3&scale=%00&zoom=a~b~c,~1~2&wire=9:9999&ref=zz&recent=1e99", "#at=999999999", "#tab=chamber-99", "#%E0%A4%A", "#wire=3:5&tab=chamber-1",
		"#at=5&held=2&reset=999999999&span=reset", "#recent=9007199254740991&span=recent", "#zoom=%25zz~0~1"} {
		o := s.visit(t, hash)
		o.allow(`api/sum`) // asked for what the server does not have
		for _, tab := range []string{"chamber-1", "alarms", "glance"} {
			o.tab(tab)
		}
	}
}

// Who has no mouse reaches everything by keys, and sees where he is.
func TestPageKeyboard(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "keys", "seed=18&rate=3000&triggers=20&hits=60000&stale=0", "2s"))
	s := fed(t)
	s.send(lines...)
	s.has(9)
	v := s.visit(t, "")
	tabs := v.tabs()
	for i, tab := range tabs {
		v.Keys(strconv.Itoa(i + 1))
		v.in(tab)
	}
	v.Keys("g")
	v.in("glance")
	v.Keys("?")
	v.Wait("help", `document.querySelector('#help').open && document.querySelector('#help').contains(document.activeElement)`, "")
	v.Keys(kb.Escape)
	v.Wait("no help", `!document.querySelector('#help').open`, "")
	v.Keys("s")
	v.Wait("another span", `document.querySelector('#span').value !== 'auto'`, `document.querySelector('#span').value`)
	v.Keys("t")
	theme := v.Text("getComputedStyle(document.body).backgroundColor")
	v.Keys("t")
	v.Wait("another theme", fmt.Sprintf("getComputedStyle(document.body).backgroundColor !== %s", browser.Quote(theme)), "getComputedStyle(document.body).backgroundColor")

	// By Tab alone: every control and every plot, each with a mark of its own, and out again.
	for _, tab := range []string{"glance", "chamber-1"} {
		v.tab(tab)
		v.Eval("document.activeElement.blur(); scrollTo(0, 0); null", nil)
		var want []string
		v.Eval(`[...new Set([...document.querySelectorAll('button, select, input, a[href], summary, [tabindex="0"]')].filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && e.tabIndex >= 0 && !e.closest('dialog:not([open])')).map((e, i) => e.dataset.tabbed = String(i)))]`, &want)
		reached := map[string]bool{}
		unmarked := map[string]bool{}
		for range len(want) + 3 {
			v.Keys(kb.Tab)
			var at struct {
				N, HTML string
				Marked  bool
			}
			for range 40 { // a busy machine may show it later
				v.Eval(`(e => ({N: e.dataset.tabbed ?? '', HTML: e.outerHTML.slice(0, 150), Marked: (s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0 || s.boxShadow !== 'none')(getComputedStyle(e))}))(document.activeElement)`, &at)
				if at.N == "" || at.Marked {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			reached[at.N] = true
			if at.N != "" && !at.Marked {
				unmarked[at.HTML] = true
			}
		}
		for _, n := range want {
			if !reached[n] {
				t.Errorf("%s: Tab does not reach %s", tab, v.Text(fmt.Sprintf(`document.querySelector('[data-tabbed="%s"]').outerHTML.slice(0, 200)`, n)))
			}
		}
		for html := range unmarked {
			t.Errorf("%s: nothing shows that the focus is on %s", tab, html)
		}
	}

	// A wire by keys: the map, the wire, its panel, and out again to where one was.
	v.tab("glance")
	area := `main figure[data-plot="wiremap:2"] .plot-area`
	v.Eval(fmt.Sprintf("document.querySelector('%s').focus(); null", area), nil)
	v.Keys(kb.ArrowRight)
	v.Keys(kb.ArrowRight)
	v.Keys(kb.ArrowDown)
	v.Wait("the read-out", `/TDC_CHANNEL/.test(document.querySelector('main figure[data-plot="wiremap:2"] .plot-readout').textContent)`, "")
	v.Keys(kb.Enter)
	v.Wait("the wire's panel", `/[#&]wire=2:\d+/.test(location.hash) && /dtfilter/.test(document.body.innerText)`, `location.hash + document.body.innerText.slice(0, 500)`)
	v.Keys(kb.Escape)
	v.Wait("the panel is closed", `!/[#&]wire=/.test(location.hash)`, "location.hash")
}

// On a phone nothing is cut off; on a desk the first screen needs no scrolling; in the dark it is dark.
func TestPageSizes(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "sizes", "seed=19&rate=3000&triggers=20&hits=120000&stale=0&hot=3:20&dead=1:11", "2s"))
	s := fed(t)
	s.send(lines...)
	s.has(18)
	inside := func(v *visitor, selector string) {
		t.Helper()
		v.Wait(selector+" is in the window", fmt.Sprintf(`[...document.querySelectorAll('%s')].length > 0 && [...document.querySelectorAll('%[1]s')].every(e => (r => r.width > 0 && r.top >= 0 && r.left >= 0 && r.bottom <= innerHeight + 0.5 && r.right <= innerWidth + 0.5)(e.getBoundingClientRect()))`, selector),
			fmt.Sprintf(`[...document.querySelectorAll('%s')].map(e => e.getBoundingClientRect().toJSON())`, selector))
	}
	v := s.visit(t, "")
	if over := v.Text(`String(document.scrollingElement.scrollHeight - innerHeight)`); over != "0" {
		t.Errorf("the first screen is %s px too high", over)
	}
	for _, selector := range []string{"#state", "#run-name", "#triggers", "#fpga-0", "#fpga-1", "#alarms-count", "#ledger-line", "main figure[data-plot] .plot-area"} {
		inside(v, selector)
	}
	for _, kind := range []string{"rate", "wiremap", "box"} {
		for n := 1; n <= 4; n++ {
			inside(v, fmt.Sprintf(`main figure[data-plot="%s:%d"]`, kind, n))
		}
	}
	v.tab("chamber-1") // scrolled or not, it is not wider than the window
	for _, width := range []int64{1440, 1024, 768} {
		v.Size(width, 900)
		for _, tab := range v.tabs() {
			v.tab(tab)
			v.Wait(fmt.Sprintf("%s at %d is not wider than the window", tab, width), `document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth`, wide)
		}
	}

	p := s.visit(t, "")
	p.Phone()
	p.Reload()
	p.ready()
	inside(p, "#state")
	for _, tab := range p.tabs() {
		p.tab(tab)
		p.Wait("phone: "+tab+" is not wider than the window", `document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth && innerWidth === 390`, wide)
		inside(p, "#state")
	}

	d := s.visit(t, "")
	light := d.Text("getComputedStyle(document.body).backgroundColor + getComputedStyle(document.documentElement).backgroundColor")
	d.Media("prefers-color-scheme", "dark")
	d.Wait("dark", `(c => c[0] + c[1] + c[2] < 200)([getComputedStyle(document.body), getComputedStyle(document.documentElement)].map(s => s.backgroundColor).find(c => c !== 'rgba(0, 0, 0, 0)').match(/\d+/g).map(Number))`, "getComputedStyle(document.body).backgroundColor")
	d.Click(`[data-action="theme"]`)
	d.Wait("the switch is stronger than the system", fmt.Sprintf(`getComputedStyle(document.body).backgroundColor + getComputedStyle(document.documentElement).backgroundColor === %s || /theme=/.test(location.hash)`, browser.Quote(light)), "location.hash")
}

// wide tells what is wider than the window.
const wide = `[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth, innerWidth, ...[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > document.scrollingElement.clientWidth + 1).slice(0, 8).map(e => e.outerHTML.slice(0, 120))]`

// scipy returns a python3 that has scipy.
func scipy(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if path, err := exec.LookPath(name); err == nil && exec.Command(path, "-c", "import scipy").Run() == nil {
			return path
		}
	}
	missing(t, "scipy", "apt-get install python3-scipy")
	return ""
}

// compared reads the line below each plot that has a reference, and the counts that it compares.
func (v *visitor) compared() map[string]struct {
	Text string
	A, B []float64
} {
	v.t.Helper()
	var list map[string]struct {
		Text string
		A, B []float64
	}
	v.Eval(`Object.fromEntries([...document.querySelectorAll('main figure[data-plot]')].filter(f => f.checkVisibility() && f.model?.sets?.some(s => s.role === 'reference') && f.querySelector('.compared')?.textContent).map(f => [f.dataset.plot, {
		Text: f.querySelector('.compared').textContent, A: Array.from(f.model.sets.find(s => s.role === 'data')?.counts ?? []), B: Array.from(f.model.sets.find(s => s.role === 'reference').counts)}]))`, &list)
	return list
}

// The page's statistics are scipy's, over thousands of random pairs of histograms.
func TestPageStatistics(t *testing.T) {
	t.Parallel()
	python := scipy(t)
	if _, err := exec.LookPath("node"); err != nil {
		missing(t, "node", "apt-get install nodejs")
	}
	out, err := exec.Command(python, "check/dtstatscheck.py").CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscanf(string(out), "dtstatscheck: %d comparisons", &n); err != nil || n < 10_000 {
		t.Errorf("%d comparisons were made (%v)", n, err)
	}
}

// A reference: the present run, a file of the server's, a file that is dropped. The comparison is scipy's.
func TestPageReference(t *testing.T) {
	t.Parallel()
	python := scipy(t)
	lines := withNewlines(simLines(t, "now", "seed=20&rate=3000&triggers=20&hits=120000&stale=0", "2s"))
	before := withNewlines(simLines(t, "before", "seed=21&rate=3000&triggers=30&hits=150000&stale=0&hot=1:9", "2s"))
	n, m := len(lines), len(before)
	file := write(t, "lines.jsonl", bytes.Join(lines, nil))
	refFile := write(t, "before.jsonl", bytes.Join(before, nil))
	want := wanted(t, file, fmt.Sprintf("run:%d", n))[0]
	wantRef := wanted(t, refFile, fmt.Sprintf("run:%d", m))[0]
	wantHalf := wanted(t, file, fmt.Sprintf("run:%d", n/2))[0]
	s := fed(t, "--reference", refFile)
	s.send(lines[:n/2]...)
	v := s.visit(t, "#tab=chamber-1&span=run")
	v.at(n / 2)

	// check compares what is shown with a reference.
	check := func(what string, ref wantSpan) {
		t.Helper()
		for _, text := range v.until(func() (bad []string) {
			plots := v.shown()
			for _, id := range []string{"occupancy:1", "hist_1:1", "hist_3:1", "hist_4:1", "multiplicity:1", "trigger_multiplicity:1"} {
				var counts []float64
				for _, set := range plots[id].Sets {
					if set.Role == "reference" {
						counts = set.Counts
					}
				}
				w := ref.Plots[id].Sets[0].Counts
				if id == "multiplicity:1" {
					w = w[:min(len(counts), len(w))]
				}
				if !slices.Equal(counts, w) {
					bad = append(bad, fmt.Sprintf("%s: the overlay is %v, want %v", id, clipped(counts), clipped(w)))
				}
			}
			return bad
		}) {
			t.Errorf("%s: %s", what, text)
		}
		if !v.Is(`document.querySelector('main figure[data-plot="occupancy:1"]').model.ratio?.values.length === 64`) {
			t.Errorf("%s: the ratio is not shown", what)
		}
		told := v.compared()
		ids := slices.Sorted(maps.Keys(told))
		for _, id := range []string{"occupancy:1", "hist_1:1", "hist_3:1", "hist_4:1", "multiplicity:1", "trigger_multiplicity:1"} {
			if !slices.Contains(ids, id) {
				t.Errorf("%s: %s is not compared", what, id)
			}
		}
		var pairs [][2][]float64
		for _, id := range ids {
			pairs = append(pairs, [2][]float64{told[id].A, told[id].B})
		}
		text, err := json.Marshal(pairs)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(python, "check/dtstats.py")
		cmd.Stdin = bytes.NewReader(text)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var stats []struct {
			Chi2, P, D *float64
			KSP        *float64 `json:"ks_p"`
			NDF        int
		}
		if err := json.Unmarshal(out, &stats); err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			text := strings.ReplaceAll(told[id].Text, "\u202f", "")
			w := stats[i]
			if w.Chi2 == nil {
				if !strings.Contains(text, "too few") {
					t.Errorf("%s, %s: %q, and there is nothing to compare", what, id, text)
				}
				continue
			}
			got := regexp.MustCompile(`χ² ([\d.]+) / (\d+), p (< )?([\d.e−-]+) .*KS ([\d.e−-]+), p (?:≈ )?(< )?([\d.e−-]+).*approx`).FindStringSubmatch(text)
			if got == nil {
				t.Errorf("%s, %s: cannot read %q", what, id, text)
				continue
			}
			// As many digits as are shown.
			shown := func(text, less string, x float64) bool {
				y, _ := number(text)
				if less != "" {
					return x < y
				}
				digits := len(text) - strings.Index(text+".", ".") - 1
				return math.Abs(x-y) <= 0.5001*math.Pow(10, -float64(max(digits, 0)))
			}
			if !shown(got[1], "", *w.Chi2) || got[2] != strconv.Itoa(w.NDF) || !shown(got[4], got[3], *w.P) || !shown(got[5], "", *w.D) || !shown(got[7], got[6], *w.KSP) {
				t.Errorf("%s, %s: %q, and scipy has χ² %v / %d, p %v, D %v, p %v", what, id, text, *w.Chi2, w.NDF, *w.P, *w.D, *w.KSP)
			}
		}
	}

	// The present, by a key and the dialog that it opens.
	v.choose("This run")
	s.send(lines[n/2:]...)
	v.at(n)
	check("the present", wantHalf)
	for _, text := range v.settle(want.Plots) {
		t.Errorf("beside a reference: %s", text)
	}
	ref := regexp.MustCompile(`ref=([0-9a-f]{16})`).FindStringSubmatch(v.hash())
	if ref == nil {
		t.Fatalf("the address does not name the reference: %s", v.hash())
	}
	// Who does not have it is told so. Who has it sees it again.
	other := s.visit(t, v.hash())
	other.Wait("the reference is said to be missing", fmt.Sprintf(`/reference/i.test(document.querySelector('#notices').innerText) && document.querySelector('#notices').innerText.includes(%s)`, browser.Quote(ref[1])), `document.querySelector('#notices').innerText`)
	v.Reload()
	v.ready()
	check("the present, after a reload", wantHalf)

	// A file that is dropped.
	v.Drop("body", "before.jsonl", bytes.Join(before, nil))
	v.Wait("the dropped file", `/before\.jsonl/.test(document.querySelector('dialog#reference').innerText) && !location.hash.includes('`+ref[1]+`')`, `document.querySelector('dialog#reference').innerText`)
	check("a dropped file", wantRef)
	file1 := regexp.MustCompile(`ref=([0-9a-f]{16})`).FindStringSubmatch(v.hash())
	v.Drop("body", "nonsense.txt", []byte("<script>window.pwned=1</script>"))
	v.Wait("nonsense is refused", `/cannot be taken/.test(document.querySelector('dialog#reference').innerText)`, `document.querySelector('dialog#reference').innerText`)
	if v.Is("window.pwned") {
		t.Error("a dropped file ran")
	}
	check("after nonsense", wantRef)
	v.Keys(kb.Escape)

	// The server's, which is the same data and so has the same digest.
	w := s.visit(t, "#tab=chamber-1&span=run")
	v = w
	v.at(n)
	v.choose("server")
	check("the server's", wantRef)
	if got := v.hash(); len(file1) != 2 || !strings.Contains(got, file1[0]) {
		t.Errorf("the same data are %v from a file and %s from the server", file1, got)
	}
}

// choose chooses a reference in its dialog, by a part of the button's text.
func (v *visitor) choose(part string) {
	v.t.Helper()
	before := v.hash()
	v.Keys("f")
	find := fmt.Sprintf(`[...document.querySelectorAll('dialog#reference[open] button')].find(e => e.textContent.includes(%s) && e.checkVisibility())`, browser.Quote(part))
	v.Wait("the choice "+part, find, `document.querySelector('dialog#reference').innerText`)
	v.Eval(find+".click(); null", nil)
	v.Wait("a reference", fmt.Sprintf(`/ref=[0-9a-f]{16}/.test(location.hash) && location.hash !== %s`, browser.Quote(before)), `document.querySelector('dialog#reference').innerText`)
	v.Keys(kb.Escape)
	v.Wait("the dialog is closed", `!document.querySelector('dialog#reference').open`, "")
}

// export opens a menu of exports and saves the item whose action has this ending.
func (v *visitor) export(button, action string) (string, []byte) {
	v.t.Helper()
	return v.Download(func() {
		v.Click(button)
		v.Click(fmt.Sprintf(`[role="menu"] [data-action="%s"]`, action))
	})
}

// What is exported is what is seen.
func TestPageExport(t *testing.T) {
	t.Parallel()
	lines := withNewlines(simLines(t, "export", "seed=22&rate=3000&triggers=20&hits=120000&stale=0", "2s"))
	n := len(lines) - 2
	lines = lines[:n]
	lines[n-1] = hostile(t, lines[n-1], `=1+1,"<b>`)
	s := fed(t)
	s.send(lines...)
	v := s.visit(t, "#tab=chamber-1&span=window")
	v.at(n)
	v.Keys(" ") // so that nothing changes
	v.phase("paused")
	for _, text := range v.settle(wanted(t, write(t, "lines.jsonl", bytes.Join(lines, nil)), fmt.Sprintf("window:%d", n))[0].Plots) {
		t.Error(text)
	}
	plots := v.shown()
	sameTable := func(what string, got, want [][]string) {
		t.Helper()
		if len(got) != len(want) {
			t.Errorf("%s: %d rows in the file, %d in the table", what, len(got), len(want))
			return
		}
		for i := range got {
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("%s: row %d is %q in the file, %q in the table", what, i, got[i], want[i])
				return
			}
		}
	}
	read := func(content []byte) [][]string {
		t.Helper()
		r := csv.NewReader(bytes.NewReader(content))
		r.Comment = '#'
		r.FieldsPerRecord = -1
		rows, err := r.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}

	// One plot.
	menu := `main figure[data-plot="hist_4:1"] .plot-menu`
	name, content := v.export(menu, "plot-csv")
	if !strings.HasSuffix(name, ".csv") {
		t.Errorf("the file is %q", name)
	}
	sameTable("hist_4:1", read(content), plots["hist_4:1"].Table)
	name, content = v.export(menu, "plot-png")
	if !strings.HasSuffix(name, ".png") {
		t.Errorf("the file is %q", name)
	}
	lively(t, "hist_4:1", content)

	// The whole view, by the button and by the key.
	_, content = v.export(`[data-action="export"]`, "export-csv")
	var all [][]string
	for _, id := range v.order() {
		all = append(all, plots[id].Table...)
	}
	sameTable("the view", read(content), all)
	v.Keys("e")
	v.Wait("the menu", `document.querySelector('[role="menu"]')`, "")
	_, content = v.Download(func() { v.Click(`[role="menu"] [data-action="export-png"]`) })
	lively(t, "the view", content)
	name, content = v.export(`[data-action="export"]`, "export-json")
	var object any
	if err := json.Unmarshal(content, &object); err != nil || !strings.HasSuffix(name, ".json") {
		t.Errorf("%s: %v", name, err)
	}
	var view struct {
		Total    float64
		Chambers []struct{ Count float64 }
	}
	if err := json.Unmarshal(content, &view); err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal(lines[n-1], &line); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(content), fmt.Sprintf(`%v`, line["Total Count"])) {
		t.Errorf("the file %s has no total of %v", name, line["Total Count"])
	}

	// What the input said is text in the files, and no formula.
	v.tab("other")
	v.Wait("a plot", `document.querySelector('main figure[data-plot^="other:"]')?.model`, "")
	_, content = v.export(`[data-action="export"]`, "export-csv")
	for _, row := range read(content) {
		for _, cell := range row {
			if strings.HasPrefix(cell, "=") {
				t.Errorf("a cell %q would be a formula", cell)
			}
		}
	}
}

// order returns the plots in view as they stand in the page.
func (v *visitor) order() []string {
	v.t.Helper()
	var ids []string
	v.Eval(`[...document.querySelectorAll('main figure[data-plot]')].filter(f => f.checkVisibility() && f.model).map(f => f.dataset.plot)`, &ids)
	return ids
}

// lively checks that a picture is wide enough, and that something is on it.
func lively(t testing.TB, what string, content []byte) {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	b := picture.Bounds()
	if b.Dx() < 600 {
		t.Errorf("%s: the picture is %d px wide", what, b.Dx())
	}
	colors := map[color.Color]int{}
	most := 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := color.RGBAModel.Convert(picture.At(x, y))
			colors[c]++
			most = max(most, colors[c])
		}
	}
	all := b.Dx() * b.Dy()
	if len(colors) < 20 || all-most < all/200 {
		t.Errorf("%s: %d of %d points have one colour, and there are %d colours: the picture is blank", what, most, all, len(colors))
	}
	if _, _, _, alpha := picture.At(b.Min.X, b.Min.Y).RGBA(); alpha != 0xffff {
		t.Errorf("%s: the picture has no ground", what)
	}
}
