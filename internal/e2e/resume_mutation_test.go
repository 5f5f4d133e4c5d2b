package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dt/internal/e2e/torture"
)

// A mutation is a bug that is planted: in a file a text, which must stand there once, is another.
type mutation struct {
	name     string
	program  string
	file     string
	from, to string
	happens  happening
}

// A happening is when what happens.
type happening struct {
	plan []string
	at   []time.Duration
}

const ms = time.Millisecond

var (
	nodesDie   = happening{[]string{"all nodes end", "all nodes killed"}, []time.Duration{800 * ms, 2500 * ms}}
	nodesMove  = happening{[]string{"node added", "newest node removed"}, []time.Duration{800 * ms, 2500 * ms}}
	mergeDies  = happening{[]string{"lines again", "all merges killed", "lines again", "all merges killed"}, []time.Duration{2000 * ms, 2500 * ms, 3500 * ms, 4000 * ms}}
	lineIsTorn = happening{[]string{"half a line"}, []time.Duration{1500 * ms}}
)

// The bugs that taking up work could have. What finds the others must find each of them.
var mutations = []mutation{
	{name: "the floor is a window too low", program: "dthist", file: "dthist/stream.go",
		from: "l.h.Begin(at.FloorEpoch, int64(at.FloorOrbit))", to: "l.h.Begin(at.FloorEpoch, max(0, int64(at.FloorOrbit)-p.set.Length))", happens: nodesDie},
	{name: "the floor is a window too high", program: "dthist", file: "dthist/stream.go",
		from: "l.h.Begin(at.FloorEpoch, int64(at.FloorOrbit))", to: "l.h.Begin(at.FloorEpoch, int64(at.FloorOrbit)+p.set.Length)", happens: nodesDie},
	{name: "windows are written at a stopped end", program: "dthist", file: "dthist/stream.go",
		from: "l.stopped = true // it may be taken up again\n\t\t\treturn nil", to: "return p.close(l)", happens: nodesDie},
	{name: "a revoked lane's state is kept", program: "dthist", file: "dthist/stream.go",
		from: "case f.Lane.Anew:\n\t\t\treturn p.anew(l, f.Lane)", to: "case f.Lane.Anew:", happens: nodesMove},
	{name: "what is below the floor is counted again", program: "dthist", file: "dthist/stream.go",
		from: "again := l.track.Again(f)", to: "again := 0 * l.track.Again(f)", happens: nodesDie},
	{name: "a record that is below the floor is not booked", program: "dthist", file: "dthist/stream.go",
		from: "l.h.Again(f.Epoch, f.Words[:again], chambers[:again])", to: "if again > 0 {\n\t\t\tl.h.Again(f.Epoch, f.Words[1:again], chambers[1:again])\n\t\t}", happens: nodesDie},
	{name: "the merge takes a link twice", program: "dthist", file: "internal/hist/merger.go",
		from: "!window && s.Next <= l.next && l.known:\n\t\treturn false, 0, nil", to: "!window && s.Next <= l.next && l.known:\n\t\treturn true, 0, nil", happens: mergeDies},
	{name: "a message is left out where reading begins", program: "dtkafka", file: "dtkafka/resume.go",
		from: "at.Offset = to.start(first)\n", to: "at.Offset = to.start(first) + 1\n", happens: nodesDie},
	{name: "a line that is torn is written", program: "dtkafka", file: "dtkafka/produce.go",
		from: "case lines.Open() && text[0] == '{' && !json.Valid(text):", to: "case lines.Open() && text[0] == '{' && !json.Valid(text) && text[0] == '[':", happens: lineIsTorn},
}

// mutated builds the programs with a bug in one.
func mutated(t *testing.T, m mutation) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), m.from); n != 1 {
		t.Fatalf("%s: %q stands there %d times", m.file, m.from, n)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: write(t, "mutated.go", []byte(strings.Replace(string(text), m.from, m.to, 1)))}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, p := range []string{"dtcat", "dtfilter", "dtchamber", "dthist", "dtkafka"} {
		if p != m.program {
			if err := os.Symlink(bin(p), filepath.Join(dir, p)); err != nil {
				t.Fatal(err)
			}
		}
	}
	build := exec.Command("go", "build", "-overlay", write(t, "overlay.json", overlay), "-o", dir+string(filepath.Separator), "./"+m.program)
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", m.name, err, out)
	}
	return dir
}

// Each bug that is planted on purpose is found by what finds none in the programs as they are.
func TestResumeMutations(t *testing.T) {
	t.Parallel()
	python(t)
	k := tortured(t)
	const seed = 7
	var all []mutation
	for i, h := range []happening{nodesDie, nodesMove, mergeDies, lineIsTorn} {
		all = append(all, mutation{name: fmt.Sprintf("none %d", i+1), happens: h})
	}
	for i, m := range append(all, mutations...) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			tortureRoom.take(1)
			defer tortureRoom.give(1)
			dir := binaries
			if m.file != "" {
				dir = mutated(t, m)
			}
			run := streamOf(t, torture.Stream{Name: "run", Seed: seed, Records: 50000, Sort: "sim", Window: "1s"})
			r, err := torture.Go(t.Context(), torture.Config{
				Bin: dir, Bootstrap: k.bootstrap(), Seed: seed + uint64(i)<<40, Runs: []*torture.Run{run}, Time: 5500 * ms, Nodes: 2, Session: 2 * second, Patience: time.Minute,
				Limit: 40 * second, Idle: 4 * second,
				Plan: m.happens.plan, At: m.happens.at, Grace: second,
			})
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("%v\n%s", r, strings.Join(r.Errors(), "\n"))
			switch {
			case m.file == "" && !r.OK():
				t.Errorf("%s\n%s", text, r.State)
			case m.file != "" && r.OK():
				t.Errorf("nobody notices: %s", text)
			case m.file != "":
				text = text[:min(len(text), 1500)]
			}
			t.Log(text)
		})
	}
}
