// Package e2e runs the real programs in real pipes.
//
// TestMain builds them once. DT_RACE=1 builds them with the race detector; DT_MUST=1 makes what a machine may lack
// (python3, the real data) mandatory; DT_DATA is the folder of the real data, ../shared/data beside the project by default.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds a pipeline: no test waits longer for its programs.
const patience = 2 * time.Minute

var binaries string // the folder with the programs

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dt-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = dir
	args := []string{"build", "-o", dir}
	if os.Getenv("DT_RACE") != "" {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "./dtcat", "./dtfilter", "./dtchamber", "./dthist", "./dtkafka", "./dtserve")...)
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	defer closeBrowser()
	defer closeKafka()
	defer closeTortured()
	defer closeS3()
	return m.Run()
}

// bin returns the path of a program.
func bin(name string) string { return filepath.Join(binaries, name) }

// missing leaves a test out for want of what a machine may lack, or with DT_MUST fails it.
func missing(t testing.TB, what, how string) {
	t.Helper()
	text := fmt.Sprintf("left out: %s (get it: %s)", what, how)
	if os.Getenv("DT_MUST") != "" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// data returns the path of a file of the real data.
func data(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("DT_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		missing(t, "the real file "+name, "DT_DATA=FOLDER")
	}
	return path
}

// python returns the path of python3.
func python(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		missing(t, "python3", "apt-get install python3")
	}
	return path
}

// script runs a Python script, by its path from this folder, and returns its standard output.
func script(t testing.TB, stdin io.Reader, path string, args ...string) []byte {
	t.Helper()
	r := pipeline(t, stdin, append([]string{python(t), path}, args...))
	if r.Codes[0] != 0 {
		t.Fatalf("%s %s: exit %d\n%s", path, strings.Join(args, " "), r.Codes[0], r.Errs[0])
	}
	return r.Out
}

// A stage is one command of a pipeline: the program's name, or a path with a slash, and its arguments.
type stage = []string

// A result is what a pipeline left behind.
type result struct {
	Out   []byte   // standard output of the last stage
	Codes []int    // exit codes; 128 + n when signal n ended a stage
	Errs  []string // standard errors
}

// A running pipeline.
type running struct {
	Cmds []*exec.Cmd

	t      testing.TB
	errs   []*bytes.Buffer
	out    bytes.Buffer
	copies sync.WaitGroup
	cancel context.CancelFunc
	ctx    context.Context
}

// start starts the stages, one connected to the next by an OS pipe. stdin may be nil (nothing), a file (handed over as it is)
// or any reader (copied into a pipe). More settings of the environment, as in "GOMAXPROCS=1", are for all stages.
func start(t testing.TB, env []string, stdin io.Reader, stages ...stage) *running {
	t.Helper()
	first, _ := stdin.(*os.File)
	var feed *os.File
	if stdin != nil && first == nil {
		var err error
		if first, feed, err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
		defer first.Close()
	}
	last, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := startTo(t, env, first, out, stages...)
	out.Close()
	p.copies.Go(func() {
		defer last.Close()
		io.Copy(&p.out, last)
	})
	if feed != nil {
		p.copies.Go(func() {
			defer feed.Close()
			io.Copy(feed, stdin) // a program that ends before its input is no error here
		})
	}
	return p
}

// startTo is start with files for both ends; stdin may be nil. They stay open.
func startTo(t testing.TB, env []string, stdin, stdout *os.File, stages ...stage) *running {
	t.Helper()
	p := &running{t: t}
	p.ctx, p.cancel = context.WithTimeout(t.Context(), patience)
	in := stdin
	for i, s := range stages {
		name := s[0]
		if !strings.Contains(name, "/") {
			name = bin(name)
		}
		cmd := exec.CommandContext(p.ctx, name, s[1:]...)
		cmd.Env = append(environ(), env...)
		errs := new(bytes.Buffer)
		p.errs = append(p.errs, errs)
		cmd.Stderr = errs
		if in != nil {
			cmd.Stdin = in // not in the other case: a nil *os.File is no nil Reader
		}
		out := stdout
		var next *os.File
		if i < len(stages)-1 {
			var err error
			if next, out, err = os.Pipe(); err != nil {
				t.Fatal(err)
			}
		}
		cmd.Stdout = out
		err := cmd.Start()
		if i > 0 {
			in.Close()
		}
		if next != nil {
			out.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Cmds = append(p.Cmds, cmd)
		in = next
	}
	return p
}

// outPipe is startTo with a pipe for the output, whose other end it returns; the test's end closes it.
func outPipe(t testing.TB, env []string, stdin *os.File, stages ...stage) (*running, *os.File) {
	t.Helper()
	out, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	defer to.Close()
	return startTo(t, env, stdin, to, stages...), out
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

// wait waits for all stages to end.
func (p *running) wait() result {
	p.t.Helper()
	defer p.cancel()
	var r result
	for i, cmd := range p.Cmds {
		err := cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.t.Fatalf("%s: %v", cmd.Path, err)
		}
		code := cmd.ProcessState.ExitCode()
		if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			code = 128 + int(s.Signal())
		}
		r.Codes = append(r.Codes, code)
		r.Errs = append(r.Errs, p.errs[i].String())
	}
	p.copies.Wait()
	if p.ctx.Err() != nil {
		p.t.Fatalf("the pipeline took more than %v\n%s", patience, strings.Join(r.Errs, ""))
	}
	r.Out = p.out.Bytes()
	return r
}

// pipeline runs the stages to their end.
func pipeline(t testing.TB, stdin io.Reader, stages ...stage) result {
	t.Helper()
	return start(t, nil, stdin, stages...).wait()
}

// ok fails the test if a stage failed, and returns the standard output.
func (r result) ok(t testing.TB) []byte {
	t.Helper()
	for i, c := range r.Codes {
		if c != 0 {
			t.Fatalf("stage %d: exit %d\n%s", i+1, c, strings.Join(r.Errs, ""))
		}
	}
	return r.Out
}

// write puts content into a file of the test's own folder and returns its path.
func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}
