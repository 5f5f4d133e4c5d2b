package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dt/internal/wire"
)

// A tap is a running pipeline whose output is read line by line while it runs.
type tap struct {
	*running
	lines chan string
}

// tapped starts a pipeline. stdin may be nil.
func tapped(t testing.TB, stdin *os.File, stages ...stage) *tap {
	t.Helper()
	return tappedWith(t, nil, stdin, stages...)
}

// tappedWith is tapped with more settings of the environment.
func tappedWith(t testing.TB, env []string, stdin *os.File, stages ...stage) *tap {
	t.Helper()
	p, out := outPipe(t, env, stdin, stages...)
	tap := &tap{p, make(chan string, 1<<16)}
	go tap.read(out)
	return tap
}

func (p *tap) read(r io.ReadCloser) {
	defer r.Close()
	defer close(p.lines)
	b := bufio.NewReaderSize(r, 1<<20)
	for {
		text, err := b.ReadString('\n')
		if text != "" {
			p.lines <- text
		}
		if err != nil {
			return
		}
	}
}

// next waits for a line.
func (p *tap) next(t testing.TB) string {
	t.Helper()
	select {
	case text, ok := <-p.lines:
		if !ok {
			t.Fatalf("the output ended\n%s", strings.Join(p.wait().Errs, ""))
		}
		return text
	case <-time.After(20 * time.Second):
		p.cancel()
		t.Fatalf("no line came within 20 s\n%s", strings.Join(p.wait().Errs, ""))
	}
	return ""
}

// rest waits for the end and returns the lines until then.
func (p *tap) rest() []byte {
	var all []byte
	for text := range p.lines {
		all = append(all, text...)
	}
	return all
}

// signal sends a signal to one stage.
func (p *tap) signal(t testing.TB, stage int, sig os.Signal) {
	t.Helper()
	if err := p.Cmds[stage].Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// drained checks that lines balance, that they cover each record from 0 on, and that only the last is incomplete.
func drained(t testing.TB, out []byte) {
	t.Helper()
	lines := parseLines(t, out)
	if len(lines) < 2 {
		t.Fatalf("%d lines", len(lines))
	}
	read := 0
	for i, l := range lines {
		read += l.Ledger.Read
		if i < len(lines)-2 && l.Complete != 1 {
			t.Errorf("line %d of %d is incomplete", i+1, len(lines))
		}
	}
	if lines[len(lines)-1].Complete != 0 {
		t.Error("the last line is complete, and the source was stopped")
	}
	var last struct {
		Source struct{ Lanes []struct{ Next int } }
	}
	all := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if err := json.Unmarshal(all[len(all)-1], &last); err != nil {
		t.Fatal(err)
	}
	if lanes := last.Source.Lanes; len(lanes) == 0 || lanes[len(lanes)-1].Next != read {
		t.Errorf("the lines have %d words, and the last one goes to %+v", read, lanes)
	}
}

// someLines come before a signal is sent: the stale prefix of the run makes the first, at once.
const someLines = 4

// some waits for someLines.
func (p *tap) some(t testing.TB) []byte {
	t.Helper()
	var all []byte
	for range someLines {
		all = append(all, p.next(t)...)
	}
	return all
}

// live is the pipe that the signals are sent to.
func live() []stage {
	return []stage{{"dtcat", "sim:?rate=20000&triggers=100"}, {"dtfilter"}, {"dtchamber"}, {"dthist", "--window", "100ms"}}
}

// shell starts a script in a shell, in a process group of its own, with the programs in its path. It returns its standard output, and what
// it will have said on standard error. The shell survives ^C, and its children know nothing of that.
func shell(t testing.TB, dir, script string, args ...string) (*exec.Cmd, *bufio.Reader, *bytes.Buffer) {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		missing(t, "bash", "apt-get install bash")
	}
	cmd := exec.Command(bash, append([]string{"-c", "trap : INT; " + script}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(environ(), "PATH="+binaries+":"+os.Getenv("PATH"), "DT_SERVE_LISTEN=127.0.0.1:0") // several run at once
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	says := new(bytes.Buffer)
	cmd.Stderr = says
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	t.Cleanup(func() { timeout.Stop() })
	return cmd, bufio.NewReader(out), says
}

// interrupt sends ^C to a process group.
func interrupt(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// ^C goes to all programs of a pipe at once: the source ends its lane, the others drain, the last window is written.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	codes := filepath.Join(t.TempDir(), "codes")
	cmd, b, says := shell(t, "", `dtcat 'sim:?rate=20000&triggers=100' | dtfilter | dtchamber | dthist --window 100ms; echo ${PIPESTATUS[*]} > "$0"`, codes)
	var first []byte
	for range someLines {
		text, err := b.ReadBytes('\n')
		if err != nil {
			t.Fatal(err, says.String())
		}
		first = append(first, text...)
	}
	interrupt(t, cmd)
	others, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	drained(t, append(first, others...))
	got, err := os.ReadFile(codes)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "exit codes", string(got), "0 0 0 0\n")
	same(t, "messages", says.String(), "")
}

// SIGTERM to one stage: it ends its lanes as stopped and exits 0, what is behind it drains, what is before it finds its pipe closed.
func TestTerminate(t *testing.T) {
	const pipe = 128 + int(syscall.SIGPIPE)
	for victim, cmd := range live() {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			if sig == syscall.SIGINT && victim > 0 {
				continue // ^C alone does not stop a stage
			}
			t.Run(cmd[0]+" "+sig.String(), func(t *testing.T) {
				t.Parallel()
				p := tapped(t, nil, live()...)
				first := p.some(t)
				p.signal(t, victim, sig)
				out := append(first, p.rest()...)
				r := p.wait()
				want := slices.Repeat([]int{0}, len(r.Codes))
				for i := range victim {
					want[i] = pipe
				}
				codes(t, r, want...)
				same(t, "messages", strings.Join(r.Errs, ""), "")
				drained(t, out)
			})
		}
	}
}

// kill -9 of one stage: the next ones say that the stream was cut, exit 1, and the last window comes out.
func TestKill(t *testing.T) {
	const pipe = 128 + int(syscall.SIGPIPE)
	cut := regexp.MustCompile(`^(dt\w+): standard input: run \w+ was cut at record \d+: no end frame \(did the program before this one die\?\)\n$`)
	for victim, cmd := range live() {
		t.Run(cmd[0], func(t *testing.T) {
			t.Parallel()
			p := tapped(t, nil, live()...)
			first := p.some(t)
			p.signal(t, victim, syscall.SIGKILL)
			out := append(first, p.rest()...)
			r := p.wait()
			want := make([]int, len(r.Codes))
			for i := range want {
				switch {
				case i < victim:
					want[i] = pipe
				case i == victim:
					want[i] = 128 + int(syscall.SIGKILL)
				default:
					want[i] = 1
				}
				if i <= victim {
					same(t, "messages", r.Errs[i], "")
				} else if m := cut.FindStringSubmatch(r.Errs[i]); m == nil || m[1] != live()[i][0] {
					t.Errorf("stage %d says %q", i, r.Errs[i])
				}
			}
			codes(t, r, want...)
			if victim < len(live())-1 {
				drained(t, out)
			}
		})
	}
}

// A dtcat that hands on a stream is stopped as every source: the stream's lane gets its end, and nothing is behind it. That there is always more
// to read, as from a file, changes nothing.
func TestInterruptStream(t *testing.T) {
	file := write(t, "long.dts", cat(t, "sim:?hits=2000000"))
	packedFile := map[string]string{}
	for _, how := range []string{"gz", "zst"} {
		packedFile[how] = write(t, "long.dts."+how, packed(t, how, cat(t, "sim:?hits=500000")))
	}
	for name, stages := range map[string][]stage{
		"pipe":          {{"dtcat", "sim:?rate=20000"}, {"dtcat"}},
		"pipe, text":    {{"dtcat", "sim:?rate=20000"}, {"dtcat", "--to", "csv"}},
		"file":          {{"dtcat", file}},
		"file, text":    {{"dtcat", file, "--to", "csv"}},
		"gzip":          {{"dtcat", packedFile["gz"]}},
		"zstd":          {{"dtcat", packedFile["zst"]}},
		"pipe, by gzip": {{"dtcat", "sim:?rate=20000"}, {"/bin/gzip", "-1c"}, {"dtcat"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, out := outPipe(t, nil, nil, stages...)
			head := make([]byte, 4096)
			if _, err := io.ReadFull(out, head); err != nil {
				t.Fatal(err)
			}
			last := len(stages) - 1
			if err := p.Cmds[last].Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond) // a file would be read to its end now, were it not for the full pipe
			rest, err := io.ReadAll(out)
			if err != nil {
				t.Fatal(err)
			}
			all := append(head, rest...)
			r := p.wait()
			if r.Codes[last] != 0 || strings.Join(r.Errs, "") != "" {
				t.Errorf("exit %v, says %q", r.Codes, r.Errs)
			}
			if strings.Contains(name, "text") {
				if len(all) > 20_000_000 {
					t.Errorf("%d bytes came", len(all))
				}
				return
			}
			src := wire.NewReader(bytes.NewReader(all))
			streams, ends := 0, 0
			for {
				f, err := src.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				switch f.Kind {
				case wire.KindStream:
					streams++
				case wire.KindEnd:
					ends++
					if !f.End.Stopped || f.Next == 0 {
						t.Errorf("%d words, %+v", f.Next, f.End)
					}
				}
			}
			if streams != 1 || ends != 1 || src.Cuts() != 0 {
				t.Errorf("%d streams, %d ends, %d cuts", streams, ends, src.Cuts())
			}
		})
	}
}

// When nothing else helps, a second signal kills: here the programs wait for someone who never comes.
func TestSecondSignal(t *testing.T) {
	tests := map[string]struct {
		cmd   stage
		sig   syscall.Signal
		stuck bool // in writing; else in reading
	}{
		"dtcat ^C":      {stage{"dtcat", "sim:?hits=50000000"}, syscall.SIGINT, true},
		"dtcat TERM":    {stage{"dtcat", "sim:?hits=50000000"}, syscall.SIGTERM, true},
		"dtfilter ^C":   {stage{"dtfilter"}, syscall.SIGINT, false},
		"dtchamber ^C":  {stage{"dtchamber"}, syscall.SIGINT, false},
		"dthist ^C":     {stage{"dthist"}, syscall.SIGINT, false},
		"dthist wall":   {stage{"dthist", "--clock", "wall"}, syscall.SIGINT, false},
		"dthist merges": {stage{"dthist", "--merge"}, syscall.SIGINT, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, feed, err := os.Pipe() // nothing comes
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer feed.Close()
			out, to, err := os.Pipe() // nobody reads
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			defer to.Close()
			p := &tap{running: startTo(t, nil, in, to, test.cmd)}
			for try := range 2 {
				// It takes a moment until the program waits, and as long until it is seen that it still does.
				time.Sleep(300 * time.Millisecond)
				if err := p.Cmds[0].Process.Signal(syscall.Signal(0)); err != nil {
					t.Fatalf("it is gone before signal %d: %v", try+1, err)
				}
				p.signal(t, 0, test.sig)
			}
			r := p.wait()
			codes(t, r, 128+int(test.sig))
			same(t, "messages", r.Errs[0], "")
		})
	}
}

// A stage that is asked to stop before anything came stops.
func TestTerminateIdle(t *testing.T) {
	for _, cmd := range []stage{{"dtcat"}, {"dtcat", "--to", "csv"}, {"dtfilter"}, {"dtchamber"}, {"dthist"}, {"dthist", "--clock", "wall"}, {"dthist", "--merge"}} {
		t.Run(strings.Join(cmd, " "), func(t *testing.T) {
			t.Parallel()
			in, feed, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer feed.Close()
			p := tapped(t, in, cmd)
			time.Sleep(200 * time.Millisecond)
			p.signal(t, 0, syscall.SIGTERM)
			p.rest()
			r := p.wait()
			codes(t, r, 0)
			same(t, "messages", r.Errs[0], "")
		})
	}
}

// A reader that has enough ends the pipe, in silence.
func TestClosedOutput(t *testing.T) {
	const endless = "sim:?hits=50000000"
	tests := map[string][]stage{
		"dtcat":     {{"dtcat", endless}},
		"csv":       {{"dtcat", endless, "--to", "csv"}},
		"json":      {{"dtcat", endless, "--to", "json"}},
		"raw":       {{"dtcat", endless, "--to", "raw"}},
		"dtfilter":  {{"dtcat", endless}, {"dtfilter"}},
		"dtchamber": {{"dtcat", endless}, {"dtchamber"}},
		"dthist":    {{"dtcat", endless}, {"dtfilter"}, {"dtchamber"}, {"dthist", "--window", "100ms"}},
		"back":      {{"dtcat", endless}, {"dtfilter"}, {"dtcat", "--to", "csv"}},
	}
	for name, stages := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, to, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p := startTo(t, nil, nil, to, stages...)
			to.Close()
			if _, err := io.CopyN(io.Discard, out, 100_000); err != nil {
				t.Fatal(err)
			}
			out.Close()
			r := p.wait()
			codes(t, r, slices.Repeat([]int{128 + int(syscall.SIGPIPE)}, len(stages))...)
			same(t, "messages", strings.Join(r.Errs, ""), "")
		})
	}
}

// A merge that is asked to stop writes what it has.
func TestTerminateMerge(t *testing.T) {
	t.Parallel()
	lines := pipeline(t, nil, stage{"dtcat", "sim:?hits=30000"}, stage{"dtfilter"}, stage{"dthist", "--partial"}).ok(t)
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	p := tapped(t, in, stage{"dthist", "--merge"})
	all := bytes.SplitAfter(lines, []byte("\n"))
	if len(all) < 3 {
		t.Fatalf("%d lines", len(all))
	}
	// Without the last line, which is the lane's end.
	if _, err := feed.Write(bytes.Join(all[:len(all)-2], nil)); err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	first := p.next(t)
	p.signal(t, 0, syscall.SIGTERM)
	out := append([]byte(first), p.rest()...)
	r := p.wait()
	codes(t, r, 0)
	read, fed := 0, 0
	for _, l := range parseLines(t, out) {
		read += l.Ledger.Read
	}
	for _, l := range parseLines(t, lines) {
		fed += l.Ledger.Read
	}
	if read == 0 || read != fed { // the last line, which ends the lane, has no words
		t.Errorf("the lines written have %d words, those read have %d", read, fed)
	}
}
