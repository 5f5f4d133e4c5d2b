package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dt/internal/e2e/torture"
)

// streamOf makes a stream, and what must come of it by the check in Python.
func streamOf(t testing.TB, s torture.Stream) *torture.Run {
	t.Helper()
	python(t)
	check, err := filepath.Abs("check")
	if err != nil {
		t.Fatal(err)
	}
	run, err := s.Make(binaries, check, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// sound fails the test unless lines are what must come of runs.
func sound(t testing.TB, lines []torture.Line, runs ...*torture.Run) *torture.Verdict {
	t.Helper()
	expected := map[string]*torture.Expected{}
	for _, r := range runs {
		expected[r.Name] = r.Expected
	}
	v := torture.Verify(lines, expected)
	if !v.Exact() {
		t.Errorf("%s", strings.Join(v.Problems, "\n"))
	}
	return v
}

// logged reads the lines of a log.
func logged(t testing.TB, path string) []torture.Line {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := torture.ParseLines(text)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// killSome kills programs of a pipe, or all, after a while, and waits for its end. It reports whether the pipe had come to its own end before.
func killSome(p *running, r *rand.Rand, after time.Duration) bool {
	over := make(chan result, 1)
	go func() { over <- p.wait() }()
	select {
	case res := <-over:
		return !slices.ContainsFunc(res.Codes, func(c int) bool { return c != 0 })
	case <-time.After(after):
	}
	which := r.IntN(len(p.Cmds) + 1)
	for i, cmd := range p.Cmds {
		if i == which || which == len(p.Cmds) {
			cmd.Process.Kill()
		}
	}
	res := <-over
	return !slices.ContainsFunc(res.Codes, func(c int) bool { return c != 0 })
}

// tear cuts some of the last line of a log off, as a power cut does.
func tear(t testing.TB, path string, r *rand.Rand) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || len(text) < 2 {
		return
	}
	last := len(text) - 1 - bytes.LastIndexByte(text[:len(text)-1], '\n')
	if err := os.Truncate(path, int64(len(text)-1-r.IntN(last))); err != nil {
		t.Fatal(err)
	}
}

// Without Kafka: a pipe that is killed over and over, and whose log ends in a torn line, goes on behind its log each time, and comes to what it would have come to.
func TestResumeLog(t *testing.T) {
	t.Parallel()
	seed := tortureSeed(t)
	for i := range uint64(seeds(t, 3)) {
		t.Run(fmt.Sprint(seed+i), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed+i, 3))
			run := streamOf(t, torture.Stream{Name: "run", Seed: seed + i, Records: 40000})
			log := filepath.Join(t.TempDir(), "out.jsonl")
			const kills = 20
			starts, killed := 0, 0
			for over := false; !over && starts < 3*kills; starts++ {
				cat := stage{"dtcat", run.File, "--run", run.Name, "--resume-from", log}
				after := time.Hour
				if killed < kills {
					cat = append(cat, "--rate", "40000")
					after = time.Duration(20+r.IntN(180)) * time.Millisecond
				}
				p := start(t, nil, nil, cat, stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--window", run.Window, "--log", log})
				over = killSome(p, r, after)
				if killed++; !over && r.IntN(2) == 0 {
					tear(t, log, r)
				}
			}
			v := sound(t, logged(t, log), run)
			if v.Twice > 0 {
				t.Errorf("%d lines are in the log twice", v.Twice)
			}
			t.Logf("%s: %d starts", run.Sort, starts)
			// Once more there is nothing to do.
			before := logged(t, log)
			p := pipeline(t, nil, stage{"dtcat", run.File, "--run", run.Name, "--resume-from", log}, stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--window", run.Window, "--log", log})
			p.ok(t)
			if after := logged(t, log); len(after) != len(before) {
				t.Errorf("a pipe that has nothing more to do has written %d lines", len(after)-len(before))
			}
		})
	}
}

// A run in S3 goes on in the middle of an object, at its byte; and not in one that is another by now.
func TestS3Resume(t *testing.T) {
	s := sharedS3(t)
	seed := tortureSeed(t)
	run := streamOf(t, torture.Stream{Name: "run", Seed: seed, Records: 30000})
	bucket, folder, dir := s.bucket(t), t.TempDir(), t.TempDir()
	pieces(t, folder, "data_%06d.txt", mustRead(t, run.File), 200_000, 150_000)
	s.upload(t, bucket, folder)
	log := filepath.Join(dir, "out.jsonl")
	r := rand.New(rand.NewPCG(seed, 4))
	from := func(args ...string) []stage {
		return []stage{s.cat(append(args, "s3://"+bucket+"/", "--run", run.Name, "--resume-from", log)...), {"dtfilter"}, {"dtchamber"}, {"dthist", "--window", run.Window, "--log", log}}
	}
	for range 3 {
		killSome(start(t, cleanEnv(), nil, from("--rate", "9000")...), r, 1300*time.Millisecond+time.Duration(r.IntN(300))*time.Millisecond)
		if r.IntN(2) == 0 {
			tear(t, log, r)
		}
	}
	copied := filepath.Join(dir, "copy.jsonl")
	if err := os.WriteFile(copied, mustRead(t, log), 0o666); err != nil {
		t.Fatal(err)
	}
	res := s3Run(t, nil, from()...)
	res.ok(t)
	if !strings.Contains(res.Errs[0], "s3://"+bucket+"/data_") || strings.Contains(res.Errs[0], "byte 0\n") {
		t.Errorf("it does not say where it goes on: %s", res.Errs[0])
	}
	sound(t, logged(t, log), run)

	name := regexp.MustCompile("s3://" + bucket + "/(data_[0-9]*.txt)").FindStringSubmatch(res.Errs[0])[1]
	s.put(t, bucket, name, append(mustRead(t, filepath.Join(folder, name)), "2,0,5,617000,100,3\n"...))
	log = copied
	before := bytes.Count(mustRead(t, copied), []byte("\n"))
	if res = s3Run(t, nil, from()...); res.Codes[0] != 1 || !strings.Contains(res.Errs[0], name) {
		t.Errorf("of a changed object: exit %d, %s", res.Codes[0], res.Errs[0])
	}
	if after := bytes.Count(mustRead(t, copied), []byte("\n")); after != before {
		t.Errorf("of a changed object %d lines are written", after-before)
	}
}

// The same of a lane's own lines and a merge of them, which has two logs.
func TestResumeLogOfPartialLines(t *testing.T) {
	t.Parallel()
	seed := tortureSeed(t)
	r := rand.New(rand.NewPCG(seed, 4))
	run := streamOf(t, torture.Stream{Name: "run", Seed: seed, Records: 40000})
	log := filepath.Join(t.TempDir(), "partial.jsonl")
	for n, over := 0, false; !over && n < 40; n++ {
		cat := stage{"dtcat", run.File, "--run", run.Name, "--resume-from", log}
		after := time.Hour
		if n < 12 {
			cat = append(cat, "--rate", "40000")
			after = time.Duration(20+r.IntN(200)) * time.Millisecond
		}
		over = killSome(start(t, nil, nil, cat, stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--partial", "--window", run.Window, "--log", log}), r, after)
		if !over && n%2 == 0 {
			tear(t, log, r)
		}
	}
	if _, problems := torture.Chains(logged(t, log)); len(problems) > 0 {
		t.Error(strings.Join(problems, "\n"))
	}
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := torture.ParseLines(pipeline(t, f, stage{"dthist", "--merge"}).ok(t))
	if err != nil {
		t.Fatal(err)
	}
	sound(t, lines, run)
}

// A log belongs to one process.
func TestResumeLogIsOnes(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "out.jsonl")
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	p := startTo(t, nil, in, nil, stage{"dthist", "--log", log})
	in.Close()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(log); err == nil {
			break
		}
	}
	time.Sleep(50 * time.Millisecond)
	other := pipeline(t, nil, stage{"dtcat", simulated(1, 2000)}, stage{"dthist", "--log", log})
	if other.Codes[1] != 1 || !strings.Contains(other.Errs[1], log) {
		t.Errorf("exit %d: %s", other.Codes[1], other.Errs[1])
	}
	feed.Close()
	p.wait()
}

// A scenario is a round with what happens when laid down.
type scenario struct {
	name  string
	plan  []string
	at    []time.Duration
	set   func(*torture.Config)
	runs  int
	check func(t *testing.T, r *torture.Report)
}

const second = time.Second

var scenarios = []scenario{
	{name: "nodes come and go", plan: []string{"node added", "node ends", "node added", "node removed", "node ends"}, at: []time.Duration{second, 2 * second, 4 * second, 5 * second, 6 * second}},
	{name: "a silent node", plan: []string{"node silent"}, at: []time.Duration{2 * second}, set: impatient, check: revised},
	{name: "a merge killed while windows are open", plan: []string{"node silent", "merge killed", "merge killed"}, at: []time.Duration{2 * second, 4500 * time.Millisecond, 6 * second}, set: impatient, check: revised},
	{name: "a second merge of the same group", plan: []string{"merge killed", "merge stopped"}, at: []time.Duration{2 * second, 4 * second}, set: func(c *torture.Config) { c.Merges = 2 }},
	{name: "two merges by mistake", plan: []string{"another merge"}, at: []time.Duration{3 * second}, check: func(t *testing.T, r *torture.Report) {
		if !strings.Contains(r.Said, "another program writes result lines here too") {
			t.Errorf("nobody notices the other merge:\n%s", r.Said)
		}
	}},
	{name: "other settings on one node", plan: []string{"other settings"}, at: []time.Duration{4 * second}, check: func(t *testing.T, r *torture.Report) {
		if !slices.ContainsFunc(r.Oneself, func(s string) bool { return strings.Contains(s, "dthist: exit 1") && strings.Contains(s, "ettings") }) {
			t.Errorf("the node with other settings says nothing:\n%s", strings.Join(r.Oneself, "\n"))
		}
	}},
	{name: "a second run in the same topic", runs: 2, plan: []string{"node killed", "merge killed", "node ends"}, at: []time.Duration{5 * second, 8 * second, 11 * second}},
	{name: "two runs at once", runs: 2, plan: []string{"node killed", "merge killed", "one stopped"}, at: []time.Duration{2 * second, 4 * second, 5 * second}, set: func(c *torture.Config) { c.AtOnce = true }},
	{name: "two sources of one run", plan: []string{"two sources"}, at: []time.Duration{3 * second}},
}

// impatient has the merge lose patience before the group misses a member.
func impatient(c *torture.Config) {
	c.Patience, c.Session, c.Time = 1500*time.Millisecond, 30*second, 9*second
}

// revised fails the test unless windows were written without a silent node's lanes, and said so, and were written again.
func revised(t *testing.T, r *torture.Report) {
	if r.Verdict.Revised == 0 {
		t.Error("no window was written without the silent node")
	}
	first := map[torture.Name]torture.Line{}
	for _, l := range r.Lines {
		n := l.Name()
		if before := first[n]; before != nil && l.Revision() > before.Revision() {
			if missing, _ := before.Missing().([]any); before.Complete() || len(missing) == 0 {
				t.Errorf("%v was written again, and before that it was complete %v, without the lanes %v", n, before.Complete(), missing)
			}
		}
		first[n] = l
	}
}

// What is laid down when and how, with a broker: all of it comes out exact.
func TestResumeScenarios(t *testing.T) {
	t.Parallel()
	python(t)
	k := tortured(t)
	seed := tortureSeed(t)
	t.Run("all", func(t *testing.T) {
		for i, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				tortureRoom.take(1)
				defer tortureRoom.give(1)
				c := torture.Config{
					Bin: binaries, Bootstrap: k.bootstrap(), Seed: seed + uint64(i), Time: 7 * second, Nodes: 2, Plan: s.plan, At: s.at,
					Session: 2 * second, Patience: time.Minute, Limit: 90 * second,
				}
				if s.set != nil {
					s.set(&c)
				}
				for j := range max(1, s.runs) {
					c.Runs = append(c.Runs, streamOf(t, torture.Stream{Name: "run" + string(rune('A'+j)), Window: "2s", Seed: seed + uint64(i) + uint64(j)<<32, Records: 25000}))
				}
				r, err := torture.Go(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				t.Log(r)
				if !r.OK() {
					t.Fatalf("DT_SEED=%d:\n%s\n%s\n%s", seed, strings.Join(r.Errors(), "\n"), strings.Join(r.Oneself, "\n"), r.State)
				}
				if len(r.Faults) < len(s.plan) {
					t.Errorf("%d of %d faults happened", len(r.Faults), len(s.plan))
				}
				if s.check != nil {
					s.check(t, r)
				}
			})
		}
	})
}
