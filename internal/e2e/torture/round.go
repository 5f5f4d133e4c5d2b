// Package torture kills programs that work together through Kafka at every moment that it can think of, and proves that nothing is lost and nothing doubled.
//
//	dtcat FILE --rate … --resume-from <(dtkafka topics source S --run RUN) | dtkafka produce S --resume
//	dtkafka consume S --group g --resume-from P | dtfilter | dtchamber | dthist --partial | dtkafka produce P      nodes
//	dtkafka consume P --group m --resume-from R | dthist --merge | dtkafka produce R
//
// A round makes the topics S, P and R, and starts these pipes, each under a loop that starts it again when one of its programs dies. Then things happen, as a seed says: at random moments, and at
// moments that are known to be hard, which are made certain by standing between two programs of a pipe, or by watching the topics with a client of its own. In the end
// every field of every window in R is compared with what an independent check says, every ledger is added up, and their stretches must join.
package torture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Brokers are brokers that a round may do harm to, one at a time. They are numbered from 1.
type Brokers interface {
	sync.Locker
	N() int
	Kill(i int)
	Start(i int) error      // with what it kept; it returns when the broker takes connections
	Fill(i int) error       // its disk is full, until it is started again; it returns when the broker has ended
	Pause(i int, stop bool) // it hangs, or goes on
}

// A Config says what a round is to be.
type Config struct {
	Bin       string // folder of the programs
	Bootstrap string
	Brokers   Brokers // nil: they are left alone
	Replicas  int     // of the topics; 1 if it is 0, as the brokers have it if it is -1
	PartsS    int     // partitions of S; 8 if it is 0
	PartsP    int     // and of P; 4 if it is 0
	Seed      uint64
	Runs      []*Run        // one behind the other, or at once
	AtOnce    bool          //
	Time      time.Duration // that a run takes when nothing happens
	Nodes     int
	Merges    int             // more than one: the others stand by
	Faults    int             // how many happen, as the seed says
	Plan      []string        // these, in this order, before or between those
	At        []time.Duration // when those of the plan happen, if there are no others; none: when the seed says
	Session   time.Duration   // time-out of the groups' members
	Patience  time.Duration   // of the merge
	Limit     time.Duration   // until all must be there
	Idle      time.Duration   // if not 0: what has not come so long after all was sent will not come
	Grace     time.Duration   // how long what is left of a pipe may go on when one of its programs has died; 0: as the seed says
	Keep      bool            // the topics are not deleted
	Say       func(format string, args ...any)
}

// partsR is how many partitions R has.
const partsR = 1

// A round runs.
type round struct {
	Config
	ctx     context.Context
	c       *cluster
	report  *Report
	began   time.Time
	s, p, r string   // topics
	g, m    string   // groups
	groups  []string // of merges that are there by mistake

	sources []*pipe
	merges  []*pipe

	lock    sync.Mutex
	rng     *rand.Rand
	nodes   []*pipe
	gone    []*pipe
	named   int // nodes so far
	busy    map[*pipe]bool
	next    map[lane]int64 // how far the lane's lines in P go
	lines   []Line         // of R
	recent  []message      // the last of P and R, that were there once
	hooks   []*hook
	hooking sync.Mutex     // one hook is called at a time
	pending sync.WaitGroup // what goes on beside the faults
}

// A hook is called once, for the first message that it wants, by whoever reads it, at once.
type hook struct {
	topic string
	want  func(message) bool
	done  chan message
	over  bool
}

// A Happened is a fault.
type Happened struct {
	At   time.Duration
	What string
}

// A Report is what came of a round.
type Report struct {
	Seed      uint64
	Took      time.Duration
	Sorts     []string
	Faults    []Happened
	Restarts  int
	Recovered map[string][]time.Duration // of what; until the next line
	Oneself   []string                   // programs that ended without being killed
	Verdict   *Verdict
	Lines     []Line   // of R
	Problems  []string // beside the verdict's
	Partial   int      // lines in P
	Again     int      // of these, lines that came twice
	State     string   // of all pipes; only where something is wrong
	Said      string   // all that the programs said
}

// OK reports whether all was as it must be.
func (r *Report) OK() bool { return len(r.Problems) == 0 && r.Verdict != nil && r.Verdict.Exact() }

// Errors are all problems.
func (r *Report) Errors() []string {
	if r.Verdict == nil {
		return r.Problems
	}
	return append(slices.Clone(r.Problems), r.Verdict.Problems...)
}

// String is a line, and one for each thing that happened.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d (%s), %.1f s: %d faults, %d restarts", r.Seed, strings.Join(r.Sorts, " + "), r.Took.Seconds(), len(r.Faults), r.Restarts)
	if v := r.Verdict; v != nil {
		fmt.Fprintf(&b, "; lost %d, doubled %d, twice %d (of partial lines %d of %d), revised %d; %d windows, %d fields equal", v.Lost, v.Doubled, v.Twice, r.Again, r.Partial, v.Revised, v.Windows, v.Equal)
	}
	for _, what := range slices.Sorted(keys(r.Recovered)) {
		fmt.Fprintf(&b, "; %s: goes on after %v", what, r.Recovered[what])
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "\n  %6.2f s  %s", f.At.Seconds(), f.What)
	}
	return b.String()
}

func keys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Go runs a round. Its error is that the round could not be held; what the programs did wrong is in the report.
func Go(ctx context.Context, cfg Config) (*Report, error) {
	id := strconv.Itoa(os.Getpid()) + "-" + strconv.FormatUint(cfg.Seed, 36)
	r := &round{
		Config: cfg, ctx: ctx, c: newCluster(cfg.Bootstrap), rng: rand.New(rand.NewPCG(cfg.Seed, 2)),
		report: &Report{Seed: cfg.Seed, Recovered: map[string][]time.Duration{}},
		s:      "torture-" + id + "-stream", p: "torture-" + id + "-partial", r: "torture-" + id + "-results", g: "torture-" + id + "-nodes", m: "torture-" + id + "-merge",
		busy: map[*pipe]bool{}, next: map[lane]int64{},
	}
	r.PartsS, r.PartsP = cmp.Or(r.PartsS, 8), cmp.Or(r.PartsP, 4)
	if r.Say == nil {
		r.Say = func(string, ...any) {}
	}
	for _, run := range cfg.Runs {
		r.report.Sorts = append(r.report.Sorts, fmt.Sprintf("%s, %d records", run.Sort, run.Records))
	}
	for topic, n := range map[string]int{r.s: r.PartsS, r.p: r.PartsP, r.r: partsR} {
		if err := r.c.create(ctx, topic, n, cmp.Or(cfg.Replicas, 1)); err != nil {
			return nil, err
		}
	}
	err := r.hold()
	if !cfg.Keep {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		err = errors.Join(err, r.c.drop(ctx, []string{r.s, r.p, r.r}, append(r.groups, r.g, r.m)))
	}
	return r.report, err
}

func (r *round) hold() error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	watching := []*sync.WaitGroup{r.c.follow(ctx, r.p, r.PartsP, r.seePartial), r.c.follow(ctx, r.r, partsR, r.seeResult)}
	r.began = time.Now()
	for range max(1, r.Merges) {
		r.addMerge(r.m)
	}
	for range r.Nodes {
		r.addNode(r.Runs[0].Window)
	}
	for i, run := range r.Runs {
		if i == 0 || r.AtOnce {
			r.addSource(run)
		}
	}
	faults, stop := context.WithCancel(ctx)
	var happening sync.WaitGroup
	happening.Go(func() { r.happen(faults) })

	expected := map[string]*Expected{}
	for _, run := range r.Runs {
		expected[run.Name] = run.Expected
	}
	end := time.Now().Add(r.Limit)
	whole, had, since := false, 0, time.Now()
	for ctx.Err() == nil && time.Now().Before(end) && r.failed() == nil {
		time.Sleep(100 * time.Millisecond)
		if n := len(r.sources); n < len(r.Runs) && r.sources[n-1].done() {
			r.addSource(r.Runs[n])
		}
		if whole = r.whole(expected); whole && r.allSent() {
			break
		}
		whole = false
		r.lock.Lock()
		n := len(r.lines)
		r.lock.Unlock()
		if n > had || !r.allSent() {
			had, since = n, time.Now()
		}
		if r.Idle > 0 && time.Since(since) > r.Idle {
			break
		}
	}
	stop()
	happening.Wait()
	r.pending.Wait()
	if whole {
		time.Sleep(300 * time.Millisecond) // for what should not come
	} else {
		r.problem("not all is there after %v", time.Since(r.began).Round(time.Second))
	}
	r.report.Took = time.Since(r.began)
	pipes := r.pipes()
	if !whole {
		for _, p := range pipes {
			r.report.State += p.state(3)
		}
	}
	var stopping sync.WaitGroup
	for _, p := range pipes {
		stopping.Go(p.stop)
	}
	stopping.Wait()
	cancel()
	for _, w := range watching {
		w.Wait()
	}
	return r.judge(expected, pipes)
}

// judge reads what is in the topics now, with nobody left who writes, and says what is wrong.
func (r *round) judge(expected map[string]*Expected, pipes []*pipe) error {
	for _, p := range pipes {
		r.report.Restarts += p.restarts()
		r.report.Said += p.said()
		r.report.Oneself = append(r.report.Oneself, p.oneself()...)
		if err := p.failed(); err != nil {
			r.problem("%v", err)
		}
		for _, text := range p.broken() {
			r.problem("%s", text)
		}
	}
	ctx := context.WithoutCancel(r.ctx)
	results, err := r.c.readAll(ctx, r.r, partsR)
	if err != nil {
		return err
	}
	var lines []Line
	for _, m := range results {
		l, err := ParseLine(m.value)
		if err != nil {
			r.problem("message %d of R: %v", m.offset, err)
			continue
		}
		lines = append(lines, l)
	}
	r.report.Lines, r.report.Verdict = lines, Verify(lines, expected)
	partials, err := r.c.readAll(ctx, r.p, r.PartsP)
	if err != nil {
		return err
	}
	lines = nil
	for _, m := range partials {
		l, err := ParseLine(m.value)
		if err != nil {
			r.problem("message %d of partition %d of P: %v", m.offset, m.partition, err)
			continue
		}
		lines = append(lines, l)
	}
	r.report.Partial = len(lines)
	var problems []string
	r.report.Again, problems = Chains(lines)
	for _, p := range problems {
		r.problem("%s", p)
	}
	if !r.report.OK() && r.report.State == "" {
		for _, p := range pipes {
			r.report.State += p.state(3)
		}
	}
	return nil
}

func (r *round) problem(format string, args ...any) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if len(r.report.Problems) < maxProblems {
		r.report.Problems = append(r.report.Problems, fmt.Sprintf(format, args...))
	}
}

func (r *round) happened(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.lock.Lock()
	r.report.Faults = append(r.report.Faults, Happened{time.Since(r.began), text})
	r.lock.Unlock()
	r.Say("%s", text)
}

// failed is an error of a pipe itself.
func (r *round) failed() error {
	for _, p := range r.pipes() {
		if err := p.failed(); err != nil {
			return err
		}
	}
	return nil
}

func (r *round) allSent() bool {
	for _, s := range r.sources {
		if !s.done() {
			return false
		}
	}
	return len(r.sources) >= len(r.Runs)
}

func (r *round) whole(expected map[string]*Expected) bool {
	r.lock.Lock()
	lines := slices.Clone(r.lines)
	r.lock.Unlock()
	return Gather(lines).whole(expected)
}

// pipes are all that were ever started.
func (r *round) pipes() []*pipe {
	r.lock.Lock()
	defer r.lock.Unlock()
	return slices.Concat(r.sources, r.nodes, r.gone, r.merges)
}

// open starts a pipe.
func (r *round) open(name string, resume command, once bool, commands ...command) *pipe {
	p := &pipe{name: name, bin: r.Bin, env: environ(), commands: commands, resume: resume, once: once, grace: r.grace}
	p.start()
	return p
}

// environ is our environment without the settings of the programs.
func environ() []string {
	env := []string{"GORACE=atexit_sleep_ms=10"} // or each program of a build with -race sleeps a second at its end
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "DT_") {
			env = append(env, v)
		}
	}
	return env
}

// grace is how long the rest of a pipe may go on when one of its programs has died: it is ended at once, or comes to its own end.
func (r *round) grace() time.Duration {
	if r.Grace > 0 {
		return r.Grace
	}
	return []time.Duration{0, 100 * time.Millisecond, time.Second, 5 * time.Second}[r.intN(4)]
}

func (r *round) intN(n int) int {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.rng.IntN(n)
}

func (r *round) consume(topic, group, member, resume string) command {
	return command{"dtkafka", "consume", topic, "--bootstrap", r.Bootstrap, "--group", group, "--member", member, "--session", r.Session.String(), "--resume-from", resume}
}

func (r *round) produce(topic string, flags ...string) command {
	return append(command{"dtkafka", "produce", topic, "--bootstrap", r.Bootstrap}, flags...)
}

// addSource starts a source of a run; a second one is a mistake that does no harm.
func (r *round) addSource(run *Run) *pipe {
	rate := float64(run.Records) / r.Time.Seconds()
	place := command{"/bin/sh", "-c", `"$0" topics source "$1" --run "$3" --bootstrap "$2"`, filepath.Join(r.Bin, "dtkafka"), r.s, r.Bootstrap, run.Name}
	p := r.open("source of "+run.Name, place, true,
		command{"dtcat", run.File, "--run", run.Name, "--rate", strconv.FormatFloat(rate, 'f', 1, 64)}, r.produce(r.s, "--resume"))
	r.lock.Lock()
	r.sources = append(r.sources, p)
	r.lock.Unlock()
	return p
}

func (r *round) addMerge(group string) *pipe {
	r.lock.Lock()
	name := "merge" + strconv.Itoa(len(r.merges)+1)
	r.lock.Unlock()
	p := r.open(name, nil, false, r.consume(r.p, group, name, r.r), command{"dthist", "--merge", "--patience", r.Patience.String()}, r.produce(r.r))
	r.lock.Lock()
	r.merges = append(r.merges, p)
	r.lock.Unlock()
	return p
}

func (r *round) addNode(window string) *pipe {
	r.lock.Lock()
	r.named++
	name := "node" + strconv.Itoa(r.named)
	r.lock.Unlock()
	p := r.open(name, nil, false, r.consume(r.s, r.g, name, r.p), command{"dtfilter"}, command{"dtchamber"},
		command{"dthist", "--partial", "--window", window}, r.produce(r.p))
	r.lock.Lock()
	r.nodes = append(r.nodes, p)
	r.lock.Unlock()
	return p
}

func (r *round) seePartial(m message) {
	r.remember(m)
	r.call(m)
	if l, ok := parsePartial(m.value); ok {
		r.lock.Lock()
		r.next[l.lane] = max(r.next[l.lane], l.next)
		r.lock.Unlock()
	}
}

// remember keeps the last messages of a topic.
func (r *round) remember(m message) {
	const most = 300
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.recent = append(r.recent, m); len(r.recent) > 2*most {
		r.recent = slices.Clone(r.recent[most:])
	}
}

func (r *round) seeResult(m message) {
	r.remember(m)
	r.call(m)
	if l, err := ParseLine(m.value); err == nil {
		r.lock.Lock()
		r.lines = append(r.lines, l)
		r.lock.Unlock()
	}
}

// call hands a message to the hooks that want it.
func (r *round) call(m message) {
	r.lock.Lock()
	hooks := slices.Clone(r.hooks)
	r.lock.Unlock()
	if len(hooks) == 0 {
		return
	}
	r.hooking.Lock()
	defer r.hooking.Unlock()
	for _, h := range hooks {
		if h.topic == m.topic && !h.over && h.want(m) {
			h.over = true
			r.drop(h)
			h.done <- m
		}
	}
}

// hang adds a hook.
func (r *round) hang(topic string, want func(message) bool) *hook {
	h := &hook{topic: topic, want: want, done: make(chan message, 1)}
	r.lock.Lock()
	defer r.lock.Unlock()
	r.hooks = append(r.hooks, h)
	return h
}

func (r *round) drop(h *hook) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.hooks = slices.DeleteFunc(r.hooks, func(o *hook) bool { return o == h })
}
