package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

var programs = []string{"dtcat", "dtfilter", "dtchamber", "dthist", "dtserve"}

// terminal returns the two ends of a pseudo-terminal; programs get the second one.
func terminal(t testing.TB) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		missing(t, "/dev/ptmx: "+err.Error(), "mount devpts")
	}
	t.Cleanup(func() { ours.Close() })
	fd := int(ours.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return ours, theirs
}

// Nothing is piped in, or a stream would go to the screen: both are said, with what to do.
func TestTerminal(t *testing.T) {
	_, tty := terminal(t)
	stream := write(t, "s.dts", smallStream(t))
	tests := []struct {
		stdin string // nothing: the terminal
		out   bool   // the terminal
		cmd   stage
		says  string
	}{
		{"", false, stage{"dtcat"}, "dtcat: no source is named, and nothing is piped in (hint: dtcat FILE, or dtcat sim:)\n"},
		{"", false, stage{"dtfilter"}, "dtfilter: nothing is piped in (hint: dtcat FILE | dtfilter)\n"},
		{"", false, stage{"dtchamber"}, "dtchamber: nothing is piped in (hint: dtcat FILE | dtchamber)\n"},
		{"", false, stage{"dthist"}, "dthist: nothing is piped in (hint: dtcat FILE | dtfilter | dthist)\n"},
		{"", false, stage{"dthist", "--merge"}, "dthist: nothing is piped in (hint: dtcat FILE | dtfilter | dthist --partial | dthist --merge)\n"},
		{"", false, stage{"dtserve"}, "dtserve: nothing is piped in (hint: dtcat FILE | dtfilter | dthist | dtserve)\n"},
		{stream, true, stage{"dtcat"}, "dtcat: standard output is a terminal, and a stream is binary (hint: dtcat FILE | dtfilter, or --to csv)\n"},
		{stream, true, stage{"dtcat", "--to", "raw"}, "dtcat: standard output is a terminal, and --to raw is binary (hint: --to csv, or > FILE)\n"},
		{stream, true, stage{"dtfilter"}, "dtfilter: standard output is a terminal, and a stream is binary (hint: dtcat FILE | dtfilter | dtchamber)\n"},
		{stream, true, stage{"dtchamber"}, "dtchamber: standard output is a terminal, and a stream is binary (hint: dtcat FILE | dtchamber | dthist)\n"},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.cmd, " "), func(t *testing.T) {
			in, out := tty, tty
			var err error
			if test.stdin != "" {
				if in, err = os.Open(test.stdin); err != nil {
					t.Fatal(err)
				}
				defer in.Close()
			}
			if !test.out {
				if out, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
					t.Fatal(err)
				}
				defer out.Close()
			}
			r := startTo(t, nil, in, out, test.cmd).wait()
			codes(t, r, 2)
			same(t, "message", r.Errs[0], test.says)
		})
	}
}

// Text goes to a terminal, and the progress line too.
func TestTextOnTerminal(t *testing.T) {
	ours, tty := terminal(t)
	in, err := os.Open(write(t, "a.csv", []byte(rowA)))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	startTo(t, nil, in, tty, stage{"dtcat", "--to", "csv"}).wait().ok(t)
	text, err := bufio.NewReader(ours).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	same(t, "text", text, strings.ReplaceAll(rowA, "\n", "\r\n"))
}

func TestProgress(t *testing.T) {
	file := write(t, "a.csv", []byte(rowA+"foo\n"+rowB))
	r := pipeline(t, nil, stage{"dtcat", "--progress", "yes", file, file}, stage{"dthist"})
	r.ok(t)
	last := r.Errs[0][strings.LastIndex(r.Errs[0], "\r")+1:]
	if !regexp.MustCompile(`^\x1b\[Kdtcat: 100 % of 86 bytes, file 2/2, 6 words, \S+ words/s, \S+ MB/s, 2 rejected\n` + regexp.QuoteMeta(countOf(file, 2)) + `$`).MatchString(last) {
		t.Errorf("%q", last)
	}
	r = pipeline(t, nil, stage{"dtcat", file}, stage{"dthist"})
	if strings.Contains(r.Errs[0], "words/s") {
		t.Errorf("progress without a terminal: %q", r.Errs[0])
	}
}

// While nothing comes the line goes on and its rate falls, and a message takes its place.
func TestProgressOfSlowSource(t *testing.T) {
	for name, test := range map[string]struct{ first, more string }{
		"text":   {rowA + rowA, "foo\n"},
		"stream": {string(smallStream(t)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, feed, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p := start(t, nil, in, stage{"dtcat", "--progress", "yes"}, stage{"dthist"})
			in.Close()
			if _, err := feed.WriteString(test.first); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2500 * time.Millisecond)
			if _, err := feed.WriteString(test.more); err != nil {
				t.Fatal(err)
			}
			feed.Close()
			r := p.wait()
			r.ok(t)
			if !regexp.MustCompile(`\r\x1b\[Kdtcat: \d+ bytes, file 1/1, 2 words, [01] words/s, 0\.0 MB/s\r`).MatchString(r.Errs[0]) {
				t.Errorf("no rate of 0: %q", r.Errs[0])
			}
			if test.more != "" && !strings.Contains(r.Errs[0], "MB/s\r\x1b[Kdtcat: standard input:3: 6 columns wanted, 1 found\n") {
				t.Errorf("the message runs into the line: %q", r.Errs[0])
			}
		})
	}
}

// Each form of each source is recognised by what is in it, and can be turned into each other.
func TestForms(t *testing.T) {
	const source = "sim:?hits=2000&seed=3"
	forms := map[string][]byte{
		"csv with header": cat(t, source, "--to", "csv"),
		"csv":             cat(t, source, "--to", "csv", "--header", "no"),
		"json":            cat(t, source, "--to", "json"),
		"raw":             cat(t, source, "--to", "raw"),
		"stream":          cat(t, source),
	}
	outs := map[string][]string{
		"csv with header": {"--to", "csv", "--header", "yes"},
		"csv":             {"--to", "csv", "--header", "no"},
		"json":            {"--to", "json"},
		"raw":             {"--to", "raw"},
	}
	for form, content := range forms {
		for _, how := range []string{"", "gz", "zst"} {
			t.Run(form+" "+how, func(t *testing.T) {
				t.Parallel()
				b, says := content, form
				if how != "" {
					b = packed(t, how, content)
					says += map[string]string{"gz": " in gzip", "zst": " in zstd"}[how]
				}
				file := write(t, "data", b) // its name says nothing
				same(t, "--list", string(cat(t, file, "--list")), table([]string{"NAME", "BYTES", "FORMAT"}, []string{file, fmt.Sprint(len(b)), says}))
				for to, args := range outs {
					same(t, "to "+to, string(cat(t, append([]string{file}, args...)...)), string(forms[to]))
				}
				r := pipeline(t, bytes.NewReader(b), stage{"dtcat"}, stage{"dtcat", "--to", "raw"})
				same(t, "piped, by a stream", string(r.ok(t)), string(forms["raw"]))
				if form != "stream" && form != "json" && form != "raw" {
					r := pipeline(t, bytes.NewReader(b), stage{"dtcat"}, stage{"dtcat", "--to", "csv"})
					same(t, "as it was", string(r.ok(t)), string(content))
				}
			})
		}
	}
	t.Run("sim", func(t *testing.T) {
		same(t, "--list", string(cat(t, "sim:?hits=5", "--list")), table([]string{"NAME", "BYTES", "FORMAT"}, []string{"sim:?seed=1&hits=5", "-", "simulated"}))
		same(t, "--list --json", string(cat(t, "sim:?hits=5", "--list", "--json")), `{"Name":"sim:?seed=1&hits=5","Format":"simulated"}`+"\n")
		same(t, "--dry-run", string(cat(t, "sim:?hits=5", "--dry-run")), table([]string{"NAME", "BYTES", "FROM"}, []string{"sim:?hits=5", "-", "here"})+"1 source, 0 bytes and what is in 1 whose size is not known\n")
	})
	// From a pipe that has little at a time.
	for form, content := range forms {
		t.Run("slow "+form, func(t *testing.T) {
			t.Parallel()
			r := pipeline(t, slowly(content), stage{"dtcat", "--to", "raw"})
			same(t, "raw", string(r.ok(t)), string(forms["raw"]))
		})
	}
}

// slowly returns a reader that gives a byte at a time at the beginning, and then seven.
func slowly(b []byte) io.Reader { return &slow{b: b} }

type slow struct {
	b []byte
	n int
}

func (s *slow) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := 1
	if s.n++; s.n > 200 {
		n = min(700, len(s.b), len(p))
	}
	copy(p, s.b[:n])
	s.b = s.b[n:]
	return n, nil
}

// A folder is its data files in the order that people count in, and nothing else that is there.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"data_1.txt", "data_9.txt", "data_10.txt", "data_10b.csv", "data_100.txt.gz"} {
		content := fmt.Appendf(nil, "2,0,%d,617000,100,3\n", i)
		if strings.HasSuffix(name, ".gz") {
			content = packed(t, "gz", content)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"README", "notes.md", ".hidden.csv"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(rowA), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "more.txt"), 0o777); err != nil {
		t.Fatal(err)
	}
	want := ""
	for i := range 5 {
		want += fmt.Sprintf("2,0,%d,617000,100,3\n", i)
	}
	same(t, "words", string(cat(t, dir, "--to", "csv")), want)
}

func TestLimits(t *testing.T) {
	text := cat(t, "sim:?hits=3000", "--to", "csv", "--header", "no")
	rows := strings.SplitAfter(string(text), "\n")
	rows = rows[:len(rows)-1]
	file := write(t, "a.csv", text)
	many := strings.Join(rows, "") + strings.Join(rows, "") + strings.Join(rows, "")
	first := func(n int) string { return strings.Join(strings.SplitAfterN(many, "\n", n+1)[:n], "") }
	for _, n := range []int{1, 7, 100, len(rows), len(rows) + 1, 2*len(rows) + 5} {
		limit := fmt.Sprint(n)
		same(t, "--limit "+limit+" --loop", string(cat(t, file, "--limit", limit, "--loop", "--to", "csv")), first(n))
		r := pipeline(t, nil, stage{"dtcat", file, "--limit", limit}, stage{"dtcat", "--to", "csv"})
		same(t, "--limit "+limit, string(r.ok(t)), first(min(n, len(rows))))
	}
	// Records that are no words are records.
	same(t, "with bad ones", string(pipeline(t, strings.NewReader(rowA+"foo\n"+rowB+rowA), stage{"dtcat", "--limit", "3", "--to", "csv"}).ok(t)), rowA+rowB)
	r := pipeline(t, nil, stage{"dtcat", file, "--limit", "100"}, stage{"dthist", "--window", "all"})
	if l := oneLine(t, r.ok(t)); l.Ledger.Read != 100 || l.Complete != 0 {
		t.Errorf("%+v", l)
	}
	// Nothing is there to begin again with.
	r = pipeline(t, nil, stage{"dtcat", "--loop", "--to", "csv", "/nowhere.csv"})
	codes(t, r, 1)
	same(t, "messages", r.Errs[0], "dtcat: /nowhere.csv: no such file or directory\n")
	pipeline(t, nil, stage{"dtcat", "--loop", "--to", "csv", write(t, "empty.csv", nil)}).ok(t)
}

// 2000 words at 1000 a second take two seconds, and they come all along.
func TestRate(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	p := startTo(t, nil, nil, w, stage{"dtcat", "sim:?words=2000", "--rate", "1000", "--to", "csv", "--header", "no"})
	w.Close()
	half := 0
	b := bufio.NewScanner(r)
	n := 0
	for b.Scan() {
		n++
		if time.Since(begin) < time.Second {
			half++
		}
	}
	p.wait().ok(t)
	took := time.Since(begin)
	if n != 2000 || took < 1600*time.Millisecond || took > 2400*time.Millisecond {
		t.Errorf("%d words in %v", n, took)
	}
	if half < 700 || half > 1100 {
		t.Errorf("%d words in the first second", half)
	}
}

// --speed plays by the detector's time, --max-gap makes its holes shorter.
func TestSpeed(t *testing.T) {
	t.Parallel()
	const second = 11_223 // orbits
	text := ""
	orbit := 617_000
	for i := range 40 {
		orbit += second / 10
		if i == 20 {
			orbit += 5 * second
		}
		text += fmt.Sprintf("2,%d,5,%d,100,3\n", i%2, orbit)
	}
	for _, test := range []struct {
		args     []string
		from, to time.Duration
	}{
		{[]string{"--speed", "10"}, 780 * time.Millisecond, 1400 * time.Millisecond},                      // 8.9 s
		{[]string{"--speed", "10", "--max-gap", "300ms"}, 380 * time.Millisecond, 800 * time.Millisecond}, // 4 s, and the gap
	} {
		begin := time.Now()
		out := pipeline(t, strings.NewReader(text), append(stage{"dtcat", "--to", "csv"}, test.args...)).ok(t)
		took := time.Since(begin)
		same(t, "words", string(out), text)
		if took < test.from || took > test.to {
			t.Errorf("%v: took %v", test.args, took)
		}
	}
}

// Odd words are not waited for, and nothing is lost; a gap that all FPGAs have is waited for, or made shorter.
func TestSpeedOfOddWords(t *testing.T) {
	t.Parallel()
	const source = "sim:?hits=300000&corrupt=0.001"
	want := cat(t, source, "--to", "raw")
	for _, speed := range []string{"50", "1000"} {
		begin := time.Now()
		same(t, "words", string(cat(t, source, "--to", "raw", "--speed", speed)), string(want))
		took, should := time.Since(begin), map[string]time.Duration{"50": 2 * time.Second, "1000": 100 * time.Millisecond}[speed]
		if took < should*9/10 || took > should*3/2+time.Second {
			t.Errorf("--speed %s: took %v, should be about %v", speed, took, should)
		}
	}
	text := ""
	for i := range 40 {
		text += fmt.Sprintf("2,%d,5,%d,100,3\n", i%2, 617_000+i/20*1_000_000+i) // a gap of 89 s
	}
	for _, test := range []struct {
		args     []string
		from, to time.Duration
	}{
		{[]string{"--speed", "100"}, 890 * time.Millisecond, 1500 * time.Millisecond},
		{[]string{"--speed", "100", "--max-gap", "20s"}, 200 * time.Millisecond, 700 * time.Millisecond},
	} {
		begin := time.Now()
		out := pipeline(t, strings.NewReader(text), append(stage{"dtcat", "--to", "csv"}, test.args...)).ok(t)
		same(t, "words", string(out), text)
		if took := time.Since(begin); took < test.from || took > test.to {
			t.Errorf("%v: took %v", test.args, took)
		}
	}
}

// A file is followed as it grows, is cut, and is replaced.
func TestFollow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "live.csv")
	put := func(name, content string, flag int) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|flag, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(content); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	line := func(i int) string { return fmt.Sprintf("2,0,%d,617000,100,3\n", i) }
	put(path, csvHeader+line(1), os.O_TRUNC)
	p := tapped(t, nil, stage{"dtcat", "--follow", path}, stage{"dtfilter"}, stage{"dtcat", "--to", "csv", "--header", "no"})
	expect := func(i int) {
		t.Helper()
		same(t, "line", p.next(t), line(i))
	}
	expect(1)
	put(path, line(2)+line(3), os.O_APPEND)
	expect(2)
	expect(3)
	half := line(4)
	put(path, half[:7], os.O_APPEND)
	time.Sleep(250 * time.Millisecond) // the follower sees half a line
	put(path, half[7:], os.O_APPEND)
	expect(4)
	// Replaced, the old one without an end of its last line; the new one has its own header, and grows too.
	put(path, strings.TrimSuffix(line(5), "\n"), os.O_APPEND)
	put(path+".new", csvHeader+line(6), os.O_TRUNC)
	time.Sleep(250 * time.Millisecond)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	expect(5)
	expect(6)
	put(path, line(7), os.O_APPEND)
	expect(7)
	// Cut, and begun again.
	put(path, line(8), os.O_TRUNC)
	expect(8)
	// Gone for a while.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	time.Sleep(250 * time.Millisecond)
	put(path, line(9), os.O_TRUNC)
	expect(9)
	p.signal(t, 0, syscall.SIGTERM)
	same(t, "the rest", string(p.rest()), "")
	r := p.wait()
	codes(t, r, 0, 0, 0)
	replaced := fmt.Sprintf("dtcat: %s: the file was replaced; reading the new one\n", path)
	same(t, "messages", strings.Join(r.Errs, ""), replaced+fmt.Sprintf("dtcat: %s: the file became shorter; reading it from the beginning\n", path)+replaced)
}

// A stream is handed on as it comes too, from wherever it comes.
func TestSlowStream(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, stages := range map[string][]stage{
		"standard input": {{"dtcat"}, {"dtcat"}, {"dtcat", "--to", "csv"}},
		"fifo":           {{"/bin/sh", "-c", `exec "$0" > "$1"`, bin("dtcat"), fifo}, {"dtcat", fifo}, {"dtcat", "--to", "csv"}},
		"fifo to text":   {{"/bin/sh", "-c", `exec "$0" > "$1"`, bin("dtcat"), fifo + "2"}, {"dtcat", fifo + "2", "--to", "csv"}},
	} {
		if name == "fifo to text" {
			if err := unix.Mkfifo(fifo+"2", 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, feed, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p := tapped(t, in, stages...)
			in.Close()
			for _, text := range []string{rowA, rowB, rowA} {
				if _, err := feed.WriteString(text); err != nil {
					t.Fatal(err)
				}
				same(t, "word", p.next(t), text)
			}
			feed.Close()
			p.rest()
			p.wait().ok(t)
		})
	}
	s := smallStream(t)
	for name, stages := range map[string][]stage{
		"gzip":         {{"dtcat"}, {"dtcat", "--to", "csv"}},
		"gzip to text": {{"dtcat", "--to", "csv"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, feed, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p := tapped(t, in, stages...)
			in.Close()
			z := gzip.NewWriter(feed)
			put := func(b []byte) {
				t.Helper()
				if _, err := z.Write(b); err != nil {
					t.Fatal(err)
				}
				if err := z.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			put(s[:len(s)-8]) // all but the last bytes of the end
			same(t, "words", p.next(t)+p.next(t), rowA+rowB)
			put(s[len(s)-8:])
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			feed.Close()
			p.rest()
			p.wait().ok(t)
		})
	}
}

// One word goes through the whole pipe while the source has not said that it ends.
func TestSlowSource(t *testing.T) {
	t.Parallel()
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := tapped(t, in, stage{"dtcat"}, stage{"dtfilter"}, stage{"dtchamber"}, stage{"dtcat", "--to", "csv", "--columns", "+CHAMBER"})
	in.Close()
	for i, text := range []string{rowA, rowB, "2,1,128,617002,5,6\n"} {
		begin := time.Now()
		if _, err := feed.WriteString(text); err != nil {
			t.Fatal(err)
		}
		same(t, "word", p.next(t), strings.TrimSuffix(text, "\n")+[]string{",1\n", ",4\n", ",255\n"}[i])
		if took := time.Since(begin); took > 500*time.Millisecond {
			t.Errorf("word %d took %v", i, took)
		}
	}
	feed.Close()
	p.rest()
	p.wait().ok(t)
}

// Each window's line is there, whole, as soon as the stream has passed it.
func TestWindowsAtOnce(t *testing.T) {
	t.Parallel()
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := tapped(t, in, stage{"dtcat"}, stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--window", "500ms"})
	in.Close()
	const window = 5612 // orbits
	for i := range 5 {
		orbit := (100+i)*window + 100 // the horizon is 16 behind it
		if _, err := fmt.Fprintf(feed, "2,0,5,%d,100,3\n2,1,70,%d,100,3\n", orbit, orbit); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue // its window is still open
		}
		text := p.next(t)
		var l struct {
			Total    int `json:"Total Count"`
			Complete int
			Window   struct{ Number int }
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		if l.Total != 2 || l.Complete != 1 || l.Window.Number != 100+i-1 {
			t.Errorf("%+v", l)
		}
	}
	feed.Close()
	if l := oneLine(t, p.rest()); l.Total != 2 || l.Complete != 1 {
		t.Errorf("%+v", l)
	}
	p.wait().ok(t)
}

// With our own clock, a source that stalls does not hold its hits back.
func TestStalledSource(t *testing.T) {
	for _, args := range [][]string{{"--clock", "wall"}, {"--format", "cosmo"}} {
		t.Run(args[1], func(t *testing.T) {
			t.Parallel()
			in, feed, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p := tapped(t, in, stage{"dtcat"}, stage{"dtfilter"}, append(stage{"dthist", "--window", "400ms"}, args...))
			in.Close()
			begin := time.Now()
			if _, err := feed.WriteString(rowA + rowB + "2,1,128,617000,90,0\n"); err != nil {
				t.Fatal(err)
			}
			hits, lines := 0, 0
			for hits == 0 && lines < 40 {
				lines++
				text := []byte(p.next(t))
				if args[1] == "wall" {
					hits = oneLine(t, text).Total
					continue
				}
				hits = cosmoHits(t, text)
			}
			took := time.Since(begin)
			if hits != 2 || took < 900*time.Millisecond || took > 4*time.Second {
				t.Errorf("%d hits after %v", hits, took)
			}
			feed.Close()
			p.rest()
			p.wait().ok(t)
		})
	}
}

// cosmoHits checks a message of --format cosmo and returns its hits in the chambers.
func cosmoHits(t *testing.T, text []byte) int {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	hits := 0
	for c := range 4 {
		var n int
		if err := json.Unmarshal(m[fmt.Sprintf("ch%d", c)], &n); err != nil {
			t.Fatalf("ch%d: %v in %s", c, err, text)
		}
		hits += n
		for _, name := range []string{"tdc_hist", "orb_hist", "tdc_hist_scint"} {
			var h struct{ Edg, Cnt []int }
			if err := json.Unmarshal(m[fmt.Sprintf("ch%d_%s", c, name)], &h); err != nil || len(h.Edg) != len(h.Cnt) || name == "orb_hist" && len(h.Edg) == 0 {
				t.Fatalf("ch%d_%s: %v in %s", c, name, err, text)
			}
		}
	}
	var drifts []float64
	if err := json.Unmarshal(m["ch0_drifts"], &drifts); err != nil || hits > 0 && fmt.Sprint(drifts) != "[346.4]" {
		t.Fatalf("ch0_drifts: %v, %v in %s", drifts, err, text)
	}
	return hits
}

func TestHitsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hits.csv")
	text := "2,0,5,1000,100,3\n" + // with a scintillator hit in its orbit
		"2,1,128,1000,90,0\n" +
		"2,1,70,2000,7,1\n" + // without
		"2,1,138,2000,8,2\n" + // in no chamber
		"0,1,3,90000,100,3\n" // no hit
	pipeline(t, strings.NewReader(text), stage{"dtcat"}, stage{"dtfilter", "HEAD <= 7"}, stage{"dtchamber"}, stage{"dthist", "--window", "all", "--hits", file}).ok(t)
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "hits", string(got), `EPOCH,ORBIT_CNT,FPGA,TDC_CHANNEL,CHAMBER,LAYER,WIRE,T_NS,DRIFT_NS,LATE
0,1000,1,128,255,,,89102250.000,,0
0,1000,0,5,1,2,2,89102502.500,346.400,0
0,2000,1,70,4,3,2,178200175.833,,0
0,2000,1,138,0,,,178200201.667,,0
`)
}

// The chambers go with their words, wherever a frame of them is divided, and no further than their stream.
func TestColumnsInParts(t *testing.T) {
	text := cat(t, "sim:?hits=4000&stale=0", "--to", "csv", "--header", "no")
	// In this map FPGA 0 is chamber 4, so that the default one is not mistaken for it.
	m := strings.NewReplacer(`"fpga": 0`, `"fpga": 1`, `"fpga": 1`, `"fpga": 0`).Replace(string(pipeline(t, nil, stage{"dtchamber", "--print-map"}).ok(t)))
	stream := write(t, "ch.dts", pipeline(t, bytes.NewReader(text), stage{"dtcat"}, stage{"dtchamber", "--map", write(t, "my.map", []byte(m))}).ok(t))
	columns := []string{"--to", "csv", "--header", "no", "--columns", "+CHAMBER,LAYER,WIRE"}
	want := string(cat(t, append(columns, stream)...))
	file := write(t, "a.csv", text)
	plainly := string(cat(t, append(columns, file)...))
	if want == plainly {
		t.Fatal("the maps do not differ")
	}
	same(t, "--rate", string(cat(t, append(columns, stream, "--rate", "20000")...)), want)
	lines := strings.SplitAfter(want, "\n")
	same(t, "--limit", string(cat(t, append(columns, stream, "--limit", "1000")...)), strings.Join(lines[:1000], ""))
	long := write(t, "long.csv", bytes.Repeat(text, 3))
	same(t, "a file behind it", string(cat(t, append(columns, stream, long)...)), want+strings.Repeat(plainly, 3))
	bare := write(t, "bare.dts", pipeline(t, bytes.NewReader(text), stage{"dtcat"}).ok(t))
	both := write(t, "both.dts", append(mustRead(t, stream), mustRead(t, bare)...))
	same(t, "a stream behind it", string(cat(t, append(columns, both)...)), want+plainly)
}

func mustRead(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// --columns adds what the words say, in the order that is asked for.
func TestColumns(t *testing.T) {
	text := "2,0,5,1000,100,3\n2,1,128,1000,90,0\n2,1,138,2000,8,2\n0,1,3,90000,100,3\n"
	for _, stages := range [][]stage{
		{{"dtcat", "--to", "csv", "--header", "yes", "--columns", "+CHAMBER,LAYER,WIRE,T_NS"}},
		{{"dtcat"}, {"dtchamber"}, {"dtcat", "--to", "csv", "--header", "yes", "--columns", "+CHAMBER,LAYER,WIRE,T_NS"}},
	} {
		same(t, "columns", string(pipeline(t, strings.NewReader(text), stages...).ok(t)), strings.TrimSpace(csvHeader)+`,CHAMBER,LAYER,WIRE,T_NS
2,0,5,1000,100,3,1,2,2,89102502.500
2,1,128,1000,90,0,255,,,89102250.000
2,1,138,2000,8,2,0,,,178200201.667
0,1,3,90000,100,3,0,,,
`)
	}
	same(t, "one", string(pipeline(t, strings.NewReader(rowA), stage{"dtcat", "--to", "csv", "--columns", "WIRE"}).ok(t)), "2,0,5,617000,100,3,2\n")
}

// What is wrong with a command line is said in one line, with exit 2 and before anything is read.
func TestUsageErrors(t *testing.T) {
	tests := []struct {
		cmd  string
		says string
	}{
		{"dtcat --nothing", "unknown flag --nothing (hint: dtcat -h)"},
		{"dtcat --from xml a", `--from must be one of "auto","csv","json","raw","lcp" but got "xml" (hint: dtcat -h)`},
		{"dtcat --limit many a", `--limit: expected a valid 64 bit uint but got "many" (hint: dtcat -h)`},
		{"dtcat --limit=-1 a", `--limit: expected a valid 64 bit uint but got "-1" (hint: dtcat -h)`},
		{"dtcat --max-gap 5 --speed 1 a", `--max-gap: expected duration but got "5": time: missing unit in duration "5" (hint: dtcat -h)`},
		{"dtcat --rate 5 --speed 1 a", "--rate and --speed exclude each other (hint: dtcat -h)"},
		{"dtcat --rate=-5 a", "--rate, --speed and --max-gap can't be negative (hint: dtcat -h)"},
		{"dtcat --rate nan a", "--rate and --speed are finite numbers (hint: dtcat -h)"},
		{"dtcat --speed -1 a", "--speed: a value that begins with - is written --speed=-1"},
		{"dtcat --columns -1 a", "--columns: a value that begins with - is written --columns=-1"},
		{"dthist --hist4 -100:400:0.5", "--hist4: a value that begins with - is written --hist4=-100:400:0.5"},
		{"dthist --hist4 --merge", "--hist4: the value is missing before --merge (hint: dthist -h)"},
		{"dtcat --max-gap 5s a", "--max-gap needs --speed (hint: dtcat -h)"},
		{"dtcat --columns WIRE a", "--columns needs --to csv (hint: dtcat -h)"},
		{"dtcat --to csv --columns WIER a", `--columns: there is no column "WIER"; possible are +CHAMBER,LAYER,WIRE,T_NS (hint: dtcat -h)`},
		{"dtcat --lateness=-1 a", "--lateness -1: 0 to 4294967295 orbits are possible (hint: dtcat -h)"},
		{"dtcat --loop -", "--loop is for files: it excludes --follow, sim: and standard input (hint: dtcat -h)"},
		{"dtcat - -", "standard input can be read only once (hint: dtcat -h)"},
		{"dtcat sim: a", "sim: is a run by itself, with no other source beside it (hint: dtcat -h)"},
		{"dtcat sim:?hit=5", `sim: unknown setting "hit" (hint: hits)`},
		{"dtcat sim:?hits=many", ""},
		{"dtcat sim:?rate=-1", ""},
		{"dtcat sim:?dead=9:1", ""},
		{"dtcat sim:hits=5", ""},
		{"dtfilter a b", "unexpected argument b (hint: dtfilter -h)"},
		{"dtchamber x", "unexpected argument x (hint: dtchamber -h)"},
		{"dthist --window 5", ""},
		{"dthist --window -5s", ""},
		{"dthist --window=0s", ""},
		{"dthist --window 5parsecs", ""},
		{"dthist --clock moon", `--clock must be one of "auto","detector","wall" but got "moon" (hint: dthist -h)`},
		{"dthist --clock wall --window all", "--window all has no clock (hint: dthist -h)"},
		{"dthist --format cosmo --window all", "--format cosmo has messages of at most a million orbits, so --window all can't be (hint: dthist -h)"},
		{"dthist --partial --clock wall", "--partial is for the detector's clock and --window all, and for --format json (hint: dthist -h)"},
		{"dthist --partial --merge", "--partial and --merge exclude each other (hint: dthist -h)"},
		{"dthist --merge --hits f", "--merge knows no single hits, so --format cosmo and --hits can't be (hint: dthist -h)"},
		{"dthist --hist1 5", ""},
		{"dthist --hist1 10:0:1", ""},
		{"dthist --hist4 0:1000:0", ""},
		{"dthist --hist2 a:b:c", ""},
		{"dthist --hist2 auto:0", ""},
		{"dtserve x", "unexpected argument x (hint: dtserve -h)"},
		{"dtserve --listen 0.0.0.0:0", "--listen 0.0.0.0:0: anyone who reaches this machine could look on there (hint: --token-file FILE, or --listen 127.0.0.1:5006 and ssh -L 5006:localhost:5006, or --insecure-open)"},
		{"dtserve --listen a:b:c", "--listen a:b:c: there is no such address (hint: --listen 127.0.0.1:5006)"},
		{"dtserve --cert a", "--cert and --key go together (hint: dtserve -h)"},
		{"dtserve --memory 5", ""},
		{"dtserve --history 0", "--history 0: 1 to 10000000 windows are possible (hint: dtserve -h)"},
		{"dtserve --recent 5", ""},
		{"dtserve --clients 0", ""},
		{"dtserve --map moon", `--map: "moon" is neither a built-in map nor a file (hint: --map minidt, --map lcp, or a file as dtchamber --print-map shows it)`},
	}
	for _, test := range tests {
		t.Run(test.cmd, func(t *testing.T) {
			t.Parallel()
			cmd := strings.Fields(test.cmd)
			r := pipeline(t, strings.NewReader(rowA), cmd)
			codes(t, r, 2)
			same(t, "output", string(r.Out), "")
			if test.says != "" {
				same(t, "message", r.Errs[0], cmd[0]+": "+test.says+"\n")
			} else if bad := plain(cmd[0], r.Errs[0]); bad != "" {
				t.Errorf("%s: %q", bad, r.Errs[0])
			}
			if testing.Verbose() {
				t.Log(r.Errs[0])
			}
		})
	}
}

// plain returns what is wrong with the form of a message: one line, the program's name before it, no capital and no full stop.
func plain(program, text string) string {
	switch rest, ok := strings.CutPrefix(text, program+": "); {
	case !ok:
		return "it does not begin with the program's name"
	case strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n"):
		return "it is not one line"
	case strings.HasSuffix(text, ".\n"):
		return "it ends with a full stop"
	case strings.Contains(rest, "%!"):
		return "a format is wrong"
	}
	return ""
}

// What would go wrong for good is refused.
func TestRefused(t *testing.T) {
	file := write(t, "a.csv", []byte(rowA))
	r := pipeline(t, nil, stage{"dtcat", file, "--rejects", filepath.Dir(file) + "/./a.csv"})
	codes(t, r, 2)
	same(t, "message", r.Errs[0], "dtcat: --rejects "+filepath.Dir(file)+"/./a.csv: that is one of the sources (hint: dtcat -h)\n")
	if b, err := os.ReadFile(file); err != nil || string(b) != rowA {
		t.Fatalf("the source is %q now, %v", b, err)
	}

	stream := write(t, "s.dts", smallStream(t))
	for _, args := range []stage{{"--loop"}, {"--limit", "1"}, {"--rate", "5"}, {"--speed", "5"}} {
		r = pipeline(t, nil, append(stage{"dtcat", stream}, args...))
		codes(t, r, 2)
		same(t, "message", r.Errs[0], "dtcat: "+stream+": --limit, --loop, --rate and --speed are for words, and this is a stream already (hint: dtcat -h)\n")
	}
	r = pipeline(t, nil, stage{"dtcat", "--follow", stream})
	codes(t, r, 2)
	same(t, "message", r.Errs[0], "dtcat: "+stream+": --follow is for words, and this is a stream already (hint: tail -c +1 -f FILE | dtcat)\n")
	r = pipeline(t, nil, stage{"dtcat", file, stream}, stage{"dthist", "--window", "all"})
	codes(t, r, 1, 0)
	same(t, "message", r.Errs[0], "dtcat: "+stream+": a stream, after sources with words; they can't be one run (hint: dtcat it by itself)\n")
	if l := oneLine(t, r.Out); l.Total != 1 || l.Complete != 0 {
		t.Errorf("%+v", l)
	}
	r = pipeline(t, nil, stage{"dtcat", stream, stream}, stage{"dthist", "--window", "all"})
	codes(t, r, 0, 1)
	same(t, "message", r.Errs[1], "dthist: standard input: run demo goes on behind its end (was the same stream read twice?)\n")
}

// A bad expression is shown with a caret under what is wrong.
func TestBadExpression(t *testing.T) {
	for _, test := range []struct{ expr, says string }{
		{"TDC_CHANEL == 5", "TDC_CHANNEL"},
		{"HEAD = 2", "=="},
		{"HEAD ==", ""},
		{"HEAD == 2 &&", ""},
		{"HEAD == two", ""},
	} {
		r := pipeline(t, bytes.NewReader(nil), stage{"dtfilter", test.expr})
		codes(t, r, 2)
		if !strings.HasPrefix(r.Errs[0], "dtfilter: ") || !strings.Contains(r.Errs[0], "^") || !strings.Contains(r.Errs[0], test.says) {
			t.Errorf("%s: %q", test.expr, r.Errs[0])
		}
		if testing.Verbose() {
			t.Log("\n" + r.Errs[0])
		}
	}
	r := pipeline(t, strings.NewReader(rowA), stage{"dtcat"}, stage{"dtfilter", "CHAMBER == 1"}, stage{"dthist"})
	codes(t, r, 0, 1, 1)
	same(t, "message", r.Errs[1], "dtfilter: CHAMBER is known only behind dtchamber (hint: dtcat FILE | dtchamber | dtfilter 'CHAMBER == 1')\n")
}

func TestMapFile(t *testing.T) {
	text := string(pipeline(t, nil, stage{"dtchamber", "--print-map"}).ok(t))
	file := write(t, "my.map", []byte(text))
	same(t, "--print-map", string(pipeline(t, nil, stage{"dtchamber", "--map", file, "--print-map"}).ok(t)), text)
	for _, test := range []struct{ file, says string }{
		{"minidtt", `dtchamber: --map: "minidtt" is neither a built-in map nor a file (hint: --map minidt, --map lcp, or begin with --print-map > FILE)` + "\n"},
		{write(t, "bad.map", []byte("{")), ""},
		{write(t, "empty.map", nil), ""},
		{os.TempDir(), ""},
		{write(t, "big.map", make([]byte, 1<<20)), ""},
	} {
		r := pipeline(t, bytes.NewReader(smallStream(t)), stage{"dtchamber", "--map", test.file})
		codes(t, r, map[bool]int{true: 2, false: 1}[test.file == "minidtt"])
		if bad := plain("dtchamber", r.Errs[0]); bad != "" || test.says != "" && test.says != r.Errs[0] {
			t.Errorf("%s: %s: %q", test.file, bad, r.Errs[0])
		}
		if testing.Verbose() {
			t.Log(r.Errs[0])
		}
	}
}

// -h fits a screen, and has the examples; --version is one line.
func TestHelp(t *testing.T) {
	for _, name := range programs {
		for _, flag := range []string{"-h", "--help"} {
			text := string(pipeline(t, nil, stage{name, flag}).ok(t))
			lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			if len(lines) > 40 {
				t.Errorf("%s %s has %d lines", name, flag, len(lines))
			}
			for _, l := range lines {
				if n := utf8.RuneCountInString(l); n > 100 {
					t.Errorf("%s %s has a line of %d columns: %s", name, flag, n, l)
				}
			}
			if len(examplesOf(t, name)) < 3 {
				t.Errorf("%s has less than 3 examples", name)
			}
		}
		if text := string(pipeline(t, nil, stage{name, "--version"}).ok(t)); !regexp.MustCompile(`^` + name + ` \S+\n$`).MatchString(text) {
			t.Errorf("%s --version: %q", name, text)
		}
	}
	if text := string(pipeline(t, nil, stage{"dtcat", "--sim-settings"}).ok(t)); strings.Count(text, "\n") > 40 || !strings.Contains(text, "seed") {
		t.Errorf("%s", text)
	}
}

// Flags can be set in the environment.
func TestEnvironment(t *testing.T) {
	r := start(t, []string{"DT_CAT_TO=json", "DT_CAT_LIMIT=1"}, strings.NewReader(rowA+rowB), stage{"dtcat"}).wait()
	if out := r.ok(t); bytes.Count(out, []byte("\n")) != 1 || !bytes.HasPrefix(out, []byte("{")) {
		t.Errorf("%s", out)
	}
}

// examplesOf returns the examples in the help of a program.
func examplesOf(t testing.TB, name string) []string {
	t.Helper()
	_, text, ok := strings.Cut(string(pipeline(t, nil, stage{name, "-h"}).ok(t)), "\nExamples:\n")
	if !ok {
		t.Fatalf("%s -h has no examples", name)
	}
	var list []string
	for l := range strings.Lines(text) {
		example, ok := strings.CutPrefix(l, "  ")
		if !ok {
			t.Fatalf("%s -h: %q is no example", name, l)
		}
		list = append(list, strings.TrimSpace(example))
	}
	return list
}

// The examples of each help work as they stand there.
func TestExamples(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o777); err != nil {
		t.Fatal(err)
	}
	text := cat(t, "sim:?hits=8000&stale=0", "--to", "csv")
	v1 := "1,0,72,46758,279,18\n1,1,52,46759,1410,7\n"
	for name, content := range map[string][]byte{
		"run.csv":        text,
		"run/data_0.txt": cat(t, "sim:?hits=30000", "--to", "csv"),
		"run/data_1.txt": cat(t, "sim:?hits=30000&seed=2&stale=0", "--to", "csv", "--header", "no"),
		"run591.dat.gz":  packed(t, "gz", pipeline(t, strings.NewReader(v1), stage{"dtcat", "--from", "lcp", "--to", "raw"}).ok(t)),
		"run591.txt.gz":  packed(t, "gz", []byte(v1)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range programs {
		for i, example := range examplesOf(t, name) {
			t.Run(fmt.Sprintf("%s %d", name, i+1), func(t *testing.T) {
				t.Parallel()
				if strings.Contains(example, "s3://bucket/") {
					example = withServer(t, dir, example)
				}
				runExample(t, dir, example)
			})
		}
	}
}

// withServer lets an example read from the tests' own S3 server, in a bucket called bucket.
func withServer(t *testing.T, dir, example string) string {
	t.Helper()
	s := sharedS3(t)
	s.makeBucket(t, "bucket")
	s.put(t, "bucket", "run7/data_0.txt", cat(t, "sim:?hits=1000", "--to", "csv"))
	for name, from := range map[string]string{"ca.pem": s.ca.file, "key.json": s.owner} {
		if err := os.WriteFile(filepath.Join(dir, name), mustRead(t, from), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Replace(example, "https://host:5210", s.url, 1)
}

// runExample runs one example in a shell. It must end well, write something, and say nothing; an endless one until its first line, and then ^C.
func runExample(t *testing.T, dir, example string) {
	t.Helper()
	pipefail := "set -o pipefail; "
	if strings.HasSuffix(example, "| head") {
		pipefail = "" // head ends the others
	}
	if _, err := exec.LookPath("jq"); err != nil && strings.Contains(example, "jq ") {
		missing(t, "jq", "apt-get install jq")
	}
	endless := strings.Contains(example, "sim: ")
	if strings.Contains(example, "| dtserve") {
		example += " 2>&1" // what it writes is that line
	}
	cmd, b, says := shell(t, dir, pipefail+example)
	first, err := b.ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if endless {
		interrupt(t, cmd)
	}
	if _, err := io.Copy(io.Discard, b); err != nil {
		t.Fatal(err)
	}
	// ^C also ends what else is in the pipe of an endless example, such as jq.
	if err := cmd.Wait(); err != nil && !endless {
		t.Errorf("%s\n%v", example, err)
	}
	if len(first) == 0 && !strings.Contains(example, " > ") {
		t.Errorf("%s\nwrites nothing", example)
	}
	if says.Len() > 0 && !endless {
		t.Errorf("%s\nsays %s", example, says.String())
	}
}

// What the README shows under "Try it" works, from top to bottom.
func TestReadme(t *testing.T) {
	dir := t.TempDir()
	v1 := "1,0,72,46758,279,18\n1,1,52,46759,1410,7\n"
	if err := os.WriteFile(filepath.Join(dir, "run591.dat.gz"), packed(t, "gz", []byte(v1)), 0o666); err != nil {
		t.Fatal(err)
	}
	examples := readmeExamples(t, "Try it")
	for _, example := range examples {
		runExample(t, dir, example)
	}
	if len(examples) < 8 {
		t.Errorf("%d examples; there were 8 at least", len(examples))
	}
}

// readmeExamples returns the commands that a section of the README shows.
func readmeExamples(t *testing.T, section string) (list []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := bytes.Cut(text, []byte("\n## "+section+"\n"))
	text, _, ended := bytes.Cut(text, []byte("\n## "))
	if !found || !ended {
		t.Fatalf("README.md has no section %s", section)
	}
	for line := range strings.Lines(string(text)) {
		if example, ok := strings.CutPrefix(line, "    "); ok {
			list = append(list, strings.TrimSpace(example))
		}
	}
	return list
}

// table is rows in columns that are two spaces apart.
func table(rows ...[]string) string {
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			if i < len(row)-1 {
				width := 0
				for _, r := range rows {
					width = max(width, len(r[i]))
				}
				cell += strings.Repeat(" ", width-len(cell)+2)
			}
			b.WriteString(cell)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
