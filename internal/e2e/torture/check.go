package torture

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os/exec"
	"slices"
	"strings"
)

// A Line is a result line. Its numbers are as they were written.
type Line map[string]any

// ParseLine reads a line.
func ParseLine(text []byte) (Line, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var l Line
	if err := d.Decode(&l); err != nil {
		return nil, fmt.Errorf("no JSON: %w: %.100q", err, text)
	}
	return l, nil
}

// ParseLines reads a file of them.
func ParseLines(text []byte) ([]Line, error) {
	var lines []Line
	for s := range bytes.Lines(text) {
		if !bytes.HasSuffix(s, []byte("\n")) {
			return nil, fmt.Errorf("the last line is torn: %.100q", s)
		}
		l, err := ParseLine(s)
		if err != nil {
			return nil, err
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// at returns what stands under keys, one in the other, or nil.
func (l Line) at(keys ...string) any {
	var v any = map[string]any(l)
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

// Int returns the whole number under keys; 0 if there is none.
func (l Line) Int(keys ...string) int64 { return toInt(l.at(keys...)) }

func toInt(v any) int64 {
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return i
}

// A Name is what a line is about. A line without orbits, which has just a ledger, has no number, which is −1 here.
type Name struct {
	Run           string
	Epoch, Number int64
}

func (n Name) String() string {
	if n.Number < 0 {
		return "the rest of run " + n.Run
	}
	return fmt.Sprintf("run %s, epoch %d, window %d", n.Run, n.Epoch, n.Number)
}

func compareNames(a, b Name) int {
	return cmp.Or(cmp.Compare(a.Run, b.Run), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Number, b.Number))
}

// Name returns what the line is about.
func (l Line) Name() Name {
	run, _ := l.at("Window", "Run").(string)
	if l.at("Window", "Number") == nil {
		for _, s := range l.stretches() {
			run = s.Run
		}
		return Name{run, -1, -1}
	}
	return Name{run, l.Int("Window", "Epoch"), l.Int("Window", "Number")}
}

// Revision says how often the window was written before.
func (l Line) Revision() int64 { return l.Int("Window", "Revision") }

// Complete reports whether the line says so.
func (l Line) Complete() bool { return l.Int("Complete") == 1 }

// Missing returns the lanes that the line says are missing.
func (l Line) Missing() any { return l.at("Source", "Missing") }

func (l Line) stretches() []stretch {
	list, _ := l.at("Source", "Lanes").([]any)
	var out []stretch
	for _, v := range list {
		m, _ := v.(map[string]any)
		s := stretch{First: toInt(m["First"]), Next: toInt(m["Next"])}
		s.Run, _ = m["Run"].(string)
		if lane, _ := m["Lane"].([]any); len(lane) == 2 {
			s.Lane = [2]int{int(toInt(lane[0])), int(toInt(lane[1]))}
		}
		out = append(out, s)
	}
	return out
}

// Expected is what a run must come to.
type Expected struct {
	By    string           // who says so
	Lines map[Name]Line    // its windows; the name's run is the run's
	Total map[string]int64 // the sums of the ledgers
	Read  int64
}

// terms of a ledger, whose sum with what was set aside is Read.
var terms = []string{"Hits", "Late", "Scintillator", "Unassigned", "Not_A_Hit", "Early", "Pending"}

// Windows returns the names of the windows, in order.
func (e *Expected) Windows() []Name {
	return slices.SortedFunc(maps.Keys(e.Lines), compareNames)
}

// Independent has the check in Python compute what a file must come to.
func Independent(python, script, run, file string, args ...string) (*Expected, error) {
	cmd := exec.Command(python, append(append([]string{script}, args...), file)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("%s: %w", script, err)
	}
	e := &Expected{By: "the independent check in Python", Lines: map[Name]Line{}, Total: map[string]int64{}}
	lines, err := ParseLines(out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", script, err)
	}
	for _, l := range lines {
		total, ok := l["Ledger_Total"].(map[string]any)
		if !ok {
			if n := l.Name(); n.Number >= 0 {
				n.Run = run
				e.Lines[n] = l
			}
			continue
		}
		for _, t := range terms {
			e.Total[t] = toInt(total[t])
		}
		e.Total["Set_Aside"] = toInt(total["Set_Aside"]) + toInt(total["Rejected"])
		e.Read = toInt(total["Read"])
	}
	return e, nil
}

// Plain has the programs themselves, in one go and with nobody killed, compute what a file must come to.
func Plain(bin, run, file, window string) (*Expected, error) {
	out, err := piped(bin, command{"dtcat", "--run", run, file}, command{"dtfilter"}, command{"dtchamber"}, command{"dthist", "--window", window})
	if err != nil {
		return nil, err
	}
	lines, err := ParseLines(out)
	if err != nil {
		return nil, err
	}
	e := &Expected{By: "the same programs in one go", Lines: map[Name]Line{}, Total: map[string]int64{}}
	for _, l := range lines {
		sum, read, _ := l.ledger()
		e.Read += read
		for t, n := range sum {
			e.Total[t] += n
		}
		if n := l.Name(); n.Number >= 0 {
			e.Lines[n] = l
		}
	}
	return e, nil
}

// ledger returns the terms of the line's ledger, what was read, and whether they agree.
func (l Line) ledger() (sum map[string]int64, read int64, ok bool) {
	sum = map[string]int64{}
	total := int64(0)
	for _, t := range terms {
		sum[t] = l.Int("Ledger", t)
		total += sum[t]
	}
	stages, _ := l.at("Ledger", "Set_Aside").(map[string]any)
	for _, reasons := range stages {
		m, _ := reasons.(map[string]any)
		for _, n := range m {
			sum["Set_Aside"] += toInt(n)
		}
	}
	total += sum["Set_Aside"]
	read = l.Int("Ledger", "Read")
	return sum, read, total == read
}

// What is not compared: it says when, where and how a line was made, and not what happened in the detector.
var (
	notExpected = []string{"Index", "Source", "Settings", "Ledger", "Lane", "Partial", "Merge", "Resume"}
	notTwice    = []string{"Index", "Source", "Ledger", "Merge", "Resume"}
	notAgain    = []string{"Index", "Source", "Resume"}
)

// A Verdict is what comes of comparing lines with what is expected.
type Verdict struct {
	Lines     int // all that are there
	Windows   int // that are expected
	Equal     int // fields that were compared and are
	Twice     int // lines that came again
	Revised   int // windows that were written more than once, as more became known
	Read      int64
	Counted   int64 // hits, late ones, the scintillator's and others
	SetAside  int64 // by a stage, or no hits
	Lost      int64 // hits that are expected and are not in a window; and windows' records that no ledger has
	Doubled   int64 // the other way round
	Problems  []string
	more      int
	distinct  []Line // without those that came twice
	byName    map[Name]Line
	reckoning map[string]int64
}

// Exact reports whether all is as it must be.
func (v *Verdict) Exact() bool { return len(v.Problems) == 0 }

const maxProblems = 40

func (v *Verdict) problem(format string, args ...any) {
	if len(v.Problems) >= maxProblems {
		v.more++
		v.Problems[maxProblems-1] = fmt.Sprintf("and %d more", v.more+1)
		return
	}
	v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
}

// Gather puts lines together by their names.
func Gather(lines []Line) *Verdict {
	v := &Verdict{Lines: len(lines), byName: map[Name]Line{}, reckoning: map[string]int64{}}
	type key struct {
		name     Name
		revision int64
		rest     string
	}
	seen := map[key]Line{}
	for _, l := range lines {
		k := key{name: l.Name(), revision: l.Revision()}
		if k.name.Number < 0 {
			k.rest = fmt.Sprint(l.stretches())
		}
		if before, ok := seen[k]; ok {
			v.Twice++
			c := comparison{skip: notTwice, exact: true}
			c.objects("", before, l)
			for _, d := range c.few() {
				v.problem("%v came twice, not the same: %s", k.name, d)
			}
			continue
		}
		seen[k] = l
		v.distinct = append(v.distinct, l)
		if best := v.byName[k.name]; best == nil || best.Revision() < l.Revision() {
			v.byName[k.name] = l
		}
		if l.Revision() > 0 {
			v.Revised++
		}
	}
	return v
}

// Verify compares lines with what is expected of each run: every field of every window, every ledger, and whether the ledgers' stretches join.
func Verify(lines []Line, runs map[string]*Expected) *Verdict {
	v := Gather(lines)
	for _, run := range slices.Sorted(maps.Keys(runs)) {
		v.windows(run, runs[run])
		v.ledgers(run, runs[run])
	}
	for _, n := range slices.SortedFunc(maps.Keys(v.byName), compareNames) {
		if runs[n.Run] == nil {
			v.problem("%v: there is no such run", n)
		}
	}
	return v
}

func (v *Verdict) windows(run string, e *Expected) {
	v.Windows += len(e.Lines)
	for _, n := range e.Windows() {
		want, got := e.Lines[n], v.byName[n]
		if got == nil {
			v.Lost += want.Int("Total Count")
			v.problem("%v: missing; %d hits are expected", n, want.Int("Total Count"))
			continue
		}
		if d := got.Int("Total Count") - want.Int("Total Count"); d > 0 {
			v.Doubled += d
		} else {
			v.Lost -= d
		}
		if !got.Complete() {
			v.problem("%v: Complete is 0, missing are %v", n, got.Missing())
		}
		c := comparison{skip: notExpected}
		c.objects("", want, got)
		v.Equal += c.equal
		for _, d := range c.few() {
			v.problem("%v: %s", n, d)
		}
	}
	for _, n := range slices.SortedFunc(maps.Keys(v.byName), compareNames) {
		if l := v.byName[n]; n.Run == run && e.Lines[n] == nil {
			if n.Number < 0 && l.Int("Total Count") == 0 {
				continue
			}
			v.Doubled += l.Int("Total Count")
			v.problem("%v: not expected, it has %d hits", n, l.Int("Total Count"))
		}
	}
}

func (v *Verdict) ledgers(run string, e *Expected) {
	sums, read := map[string]int64{}, int64(0)
	lanes := map[int][]stretch{}
	n := 0
	for _, l := range v.distinct {
		if l.Name().Run != run {
			continue
		}
		sum, r, ok := l.ledger()
		if !ok {
			v.problem("%v: Read is %d, and its terms are %v", l.Name(), r, sum)
		}
		if k := l.Int("Ledger", "Missing"); k > 0 {
			v.problem("%v: %d records are missing, by its ledger", l.Name(), k)
		}
		read += r
		for t, k := range sum {
			sums[t] += k
		}
		for _, s := range l.stretches() {
			if s.Next < s.First || s.Lane[0] < 1 || s.Lane[0] > s.Lane[1] || n > 0 && s.Lane[1] != n {
				v.problem("%v: its ledger is of %v", l.Name(), s)
				continue
			}
			n = s.Lane[1]
			if s.Next > s.First {
				lanes[s.Lane[0]] = append(lanes[s.Lane[0]], s)
			}
		}
	}
	covered := int64(0)
	for k := 1; k <= n; k++ {
		list := lanes[k]
		slices.SortFunc(list, func(a, b stretch) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Next, b.Next)) })
		at := int64(0)
		for _, s := range list {
			if s.First > at {
				v.Lost += s.First - at
				v.problem("run %s, lane %d: no ledger has the records from %d to %d", run, k, at, s.First)
			}
			if s.First < at {
				v.Doubled += min(at, s.Next) - s.First
				v.problem("run %s, lane %d: two ledgers have the records from %d to %d", run, k, s.First, min(at, s.Next))
			}
			at = max(at, s.Next)
		}
		covered += at
	}
	if n > 0 && covered != e.Read {
		v.problem("run %s: the ledgers' stretches end with %d records, the source has %d", run, covered, e.Read)
	}
	if read != e.Read {
		v.problem("run %s: Read is %d in all, the source has %d", run, read, e.Read)
	}
	for _, t := range slices.Sorted(maps.Keys(e.Total)) {
		if sums[t] != e.Total[t] {
			v.problem("run %s: %s is %d in all ledgers, %d are expected", run, t, sums[t], e.Total[t])
		}
	}
	v.Read += read
	for t, k := range sums {
		if t == "Set_Aside" || t == "Not_A_Hit" {
			v.SetAside += k
		} else {
			v.Counted += k
		}
	}
}

// Chains compares the lines of lanes, as they are in P: two of one name must be equal but for when and where they were made, and each lane's stretches must be links of one chain. It returns
// how many came again.
func Chains(lines []Line) (again int, problems []string) {
	type key struct {
		run          string
		lane         int64
		epoch, where int64
		window       bool
	}
	seen, links := map[key]Line{}, map[key]int64{}
	tell := func(format string, args ...any) {
		if len(problems) < maxProblems {
			problems = append(problems, "partial lines: "+fmt.Sprintf(format, args...))
		}
	}
	for _, l := range lines {
		list := l.stretches()
		if len(list) != 1 {
			tell("a line with %d stretches: %.200s", len(list), text(l))
			continue
		}
		s := list[0]
		if s.Next > s.First {
			k := key{run: s.Run, lane: int64(s.Lane[0]), where: s.First}
			if next, ok := links[k]; ok && next != s.Next {
				tell("run %s, lane %d: one link goes from %d to %d, another from there to %d", s.Run, s.Lane[0], s.First, next, s.Next)
			}
			links[k] = s.Next
		}
		k := key{run: s.Run, lane: int64(s.Lane[0]), epoch: -1, where: s.First}
		if l["Progress"] == nil {
			k.window, k.epoch, k.where = true, l.Int("Window", "Epoch"), l.Int("Window", "Number")
		} else if s.Next == s.First {
			continue // our own clock's, or what has no ledger of its own
		}
		before, ok := seen[k]
		if !ok {
			seen[k] = l
			continue
		}
		again++
		c := comparison{skip: notAgain, exact: true}
		c.objects("", before, l)
		for _, d := range c.few() {
			tell("run %s, lane %d, epoch %d, window or record %d, came twice, not the same: %s", s.Run, s.Lane[0], k.epoch, k.where, d)
		}
	}
	return again, problems
}

// whole reports whether all windows of all runs are there, and ledgers of all records.
func (v *Verdict) whole(runs map[string]*Expected) bool {
	for run, e := range runs {
		for n := range e.Lines {
			if l := v.byName[n]; l == nil || !l.Complete() {
				return false
			}
		}
		read := int64(0)
		for _, l := range v.distinct {
			if l.Name().Run == run {
				read += l.Int("Ledger", "Read")
			}
		}
		if read < e.Read {
			return false
		}
	}
	return true
}

// A comparison is of two values.
type comparison struct {
	skip        []string // keys of the line
	exact       bool     // else the second is compared with what an independent check says: numbers that are not whole agree to 1e-9
	equal       int
	differences []string
}

func (c *comparison) differ(path, format string, args ...any) {
	c.differences = append(c.differences, strings.TrimPrefix(path, ".")+": "+fmt.Sprintf(format, args...))
}

// few returns the first differences.
func (c *comparison) few() []string {
	const most = 4
	if n := len(c.differences); n > most {
		return append(slices.Clone(c.differences[:most-1]), fmt.Sprintf("and %d fields more", n-most+1))
	}
	return c.differences
}

func (c *comparison) objects(path string, want, got map[string]any) {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if c.left(path, k, want) {
			continue
		}
		v, ok := got[k]
		if !ok {
			c.differ(path+"."+k, "missing, %.60s is expected", text(want[k]))
			continue
		}
		c.values(path+"."+k, want[k], v)
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok && !c.left(path, k, want) {
			c.differ(path+"."+k, "not expected, it is %.60s", text(got[k]))
		}
	}
}

// left reports whether a key is left out. The independent check knows no names of runs.
func (c *comparison) left(path, key string, want map[string]any) bool {
	switch {
	case path == "":
		return slices.Contains(c.skip, key)
	case c.exact:
		return false
	case path == ".Window":
		_, named := want["Run"]
		return key == "Revision" || key == "Run" && !named
	}
	return key == "Run" && strings.HasPrefix(path, ".Window.Spans[")
}

func (c *comparison) values(path string, want, got any) {
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			c.objects(path, w, g)
			return
		}
	case []any:
		g, ok := got.([]any)
		switch {
		case !ok:
		case len(w) != len(g):
			c.differ(path, "%d elements, %d are expected", len(g), len(w))
			return
		default:
			for i := range w {
				c.values(fmt.Sprintf("%s[%d]", path, i), w[i], g[i])
			}
			return
		}
	case json.Number:
		if g, ok := got.(json.Number); ok && (w == g || !c.exact && near(w, g)) {
			c.equal++
			return
		}
	default:
		if want == got {
			c.equal++
			return
		}
	}
	c.differ(path, "%.60s, %.60s is expected", text(got), text(want))
}

// near reports whether two numbers that are not whole are the same, as far as floats go.
func near(a, b json.Number) bool {
	x, ok := new(big.Rat).SetString(string(a))
	y, fine := new(big.Rat).SetString(string(b))
	if !ok || !fine || x.IsInt() != y.IsInt() {
		return false
	}
	if x.IsInt() {
		return x.Cmp(y) == 0
	}
	d := new(big.Rat).Sub(x, y)
	return d.Abs(d).Cmp(new(big.Rat).Mul(new(big.Rat).Abs(x), big.NewRat(1, 1e9))) <= 0
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
