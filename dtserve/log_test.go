package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dt/internal/hist"
)

// loggedLine is a line without hits.
func loggedLine(index int64) string {
	c := hist.NewCounts(hist.NewSettings(nil))
	l := hist.Line{Index: index, Counts: c, Complete: true, Window: hist.WindowInfo{Run: "r", Number: index % 1000}}
	return string(l.Append(nil))
}

// said keeps what is told.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// take returns what was told since the last take.
func (s *said) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

// mustSay checks that what was told is lines with these parts.
func (s *said) mustSay(t *testing.T, parts ...string) {
	t.Helper()
	lines := s.take()
	ok := len(lines) == len(parts)
	for i := range parts {
		ok = ok && strings.Contains(lines[i], parts[i])
	}
	if !ok {
		t.Errorf("told %q, want %q", lines, parts)
	}
}

// reopen opens a log, gives what was read, and closes it.
func reopen(t *testing.T, path string, s *said) (texts []string, arrived []int64) {
	t.Helper()
	l, err := OpenLog(path, func(_ *hist.Line, text []byte, at int64) error {
		texts, arrived = append(texts, string(text)), append(arrived, at)
		return nil
	}, s.say)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return texts, arrived
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLogHasItsLinesBack(t *testing.T) {
	path, s := filepath.Join(t.TempDir(), "run.log"), &said{}
	l, err := OpenLog(path, nil, s.say)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMicro()
	progress := (&hist.Line{Progress: true, Lane: [2]int{1, 2}, Window: hist.WindowInfo{Run: "r"}, Counts: &hist.Counts{Set: hist.NewSettings(nil)}}).Append(nil)
	want := []string{loggedLine(1_700_000_000_000_000), loggedLine(1_700_000_001_000_000), string(progress), loggedLine(now + 3600_000_000), loggedLine(1_700_000_002_000_000)}
	for i, text := range want {
		l.Append([]byte(text))
		// What Append has returned from is in the file.
		if got := content(t, path); got != strings.Join(want[:i+1], "\n")+"\n" {
			t.Fatalf("%d lines: %q", i, got)
		}
	}
	if _, err := OpenLog(path, nil, s.say); err == nil || !strings.Contains(err.Error(), "another dtserve") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second one: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	texts, arrived := reopen(t, path, s)
	if !slices.Equal(texts, want) || !slices.Equal(arrived, []int64{1_700_000_000_000_000, 1_700_000_001_000_000, 1_700_000_001_000_000, 1_700_000_001_000_000, 1_700_000_002_000_000}) {
		t.Errorf("%d lines, arrived %v", len(texts), arrived)
	}
	s.mustSay(t)
}

func TestLogRepairsItsEnd(t *testing.T) {
	a, b, c := loggedLine(1e15), loggedLine(1e15+1e6), loggedLine(1e15+2e6)
	path := filepath.Join(t.TempDir(), "run.log")
	for cut := range len(c) {
		if cut%50 != 0 && cut < len(c)-3 {
			continue
		}
		s := &said{}
		os.WriteFile(path, []byte(a+"\n"+b+"\n"+c[:cut]), 0o666)
		if texts, _ := reopen(t, path, s); !slices.Equal(texts, []string{a, b}) || content(t, path) != a+"\n"+b+"\n" {
			t.Fatalf("cut at %d: %d lines, %d bytes", cut, len(texts), len(content(t, path)))
		}
		if cut > 0 {
			s.mustSay(t, "was torn")
		} else {
			s.mustSay(t)
		}
	}
	for _, tt := range []struct {
		name, in, out string
		lines         int
		said          []string
	}{
		{"empty", "", "", 0, nil},
		{"no line feed", a + "\n" + b, a + "\n" + b + "\n", 2, []string{"gets one"}},
		{"only a torn line", a[:100], "", 0, []string{"was torn"}},
		{"one byte", "{", "", 0, []string{"its 1 bytes"}},
		{"zeros at the end", a + "\n" + strings.Repeat("\x00", 4096), a + "\n", 1, []string{"its 4096 bytes"}},
		{"a bad last line", a + "\n{}\n", a + "\n", 1, []string{"was torn"}},
		{"bad lines before", a + "\n{}\n\n" + b[:50] + "\n" + b + "\n", a + "\n{}\n\n" + b[:50] + "\n" + b + "\n", 2, []string{"2 bad lines among 5 are left out, the first is line 2: "}},
		{"bad before, and torn", "x\n" + a + "\n" + b[:9], "x\n" + a + "\n", 1, []string{"1 bad lines", "was torn"}},
		{"CRLF", a + "\r\n" + b + "\r\n", a + "\r\n" + b + "\r\n", 2, nil},
	} {
		s := &said{}
		os.WriteFile(path, []byte(tt.in), 0o666)
		texts, _ := reopen(t, path, s)
		if len(texts) != tt.lines || content(t, path) != tt.out {
			t.Errorf("%s: %d lines, left %q", tt.name, len(texts), content(t, path))
		}
		s.mustSay(t, tt.said...)
	}
	// What is no log is not touched.
	for _, in := range []string{"HEAD,FPGA\n1,2\n", "HEAD,FPGA", "{}\n", "{}\n{\"a", "\x00\x00", `{"a": 1}`} {
		os.WriteFile(path, []byte(in), 0o666)
		if _, err := OpenLog(path, nil, t.Logf); err == nil || !strings.Contains(err.Error(), "no log of result lines") || content(t, path) != in {
			t.Errorf("%q: %v, left %q", in, err, content(t, path))
		}
	}
	// Reading ends where it is told to, and what is there stays.
	os.WriteFile(path, []byte(a+"\n"+b), 0o666)
	told, n := errors.New("enough"), 0
	if _, err := OpenLog(path, func(*hist.Line, []byte, int64) error { n++; return told }, t.Logf); !errors.Is(err, told) || n != 1 || content(t, path) != a+"\n"+b {
		t.Errorf("%v after %d lines", err, n)
	}
	if _, err := OpenLog(t.TempDir(), nil, t.Logf); err == nil {
		t.Error("a folder is a log")
	}
	if _, err := OpenLog("/dev/null", nil, t.Logf); err == nil {
		t.Error("/dev/null is a log")
	}
}

func TestLogOfLongLines(t *testing.T) {
	a := loggedLine(1e15)
	long := a[:len(a)-1] + `, "Junk": "` + strings.Repeat("x", 3<<20) + `"}`
	path, s := filepath.Join(t.TempDir(), "run.log"), &said{}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "%s\n%s\n", a, long)
	// Longer than a line can be; the file has a hole.
	f.Seek(hist.MaxLine+9, 1)
	fmt.Fprintf(f, "\n%s\n%s", long, long[:2<<20])
	f.Close()
	texts, _ := reopen(t, path, s)
	if !slices.Equal(texts, []string{a, long, long}) {
		t.Errorf("%d lines", len(texts))
	}
	s.mustSay(t, "1 bad lines among 5 are left out, the first is line 3: a line of", "was torn")
}

// TestLogOfAKilledServer kills a process that logs, and finds all lines that it said it had taken.
func TestLogOfAKilledServer(t *testing.T) {
	if path := os.Getenv("DT_TEST_LOG"); path != "" {
		l, err := OpenLog(path, nil, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		for i := range int64(1e6) {
			l.Append([]byte(loggedLine(1e15 + i)))
			os.Stdout.WriteString(".")
		}
	}
	path, s := filepath.Join(t.TempDir(), "run.log"), &said{}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLogOfAKilledServer$")
	cmd.Env = append(os.Environ(), "DT_TEST_LOG="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen, buf := 0, make([]byte, 100)
	for seen < 300 {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		seen += n
	}
	cmd.Process.Kill()
	for {
		n, err := out.Read(buf)
		seen += n
		if err != nil {
			break
		}
	}
	cmd.Wait()
	if texts, _ := reopen(t, path, s); len(texts) < seen || len(texts) > seen+1 || texts[seen-1] != loggedLine(1e15+int64(seen-1)) {
		t.Errorf("%d lines, %d were taken", len(texts), seen)
	}
}

func TestLogOnAFullDisk(t *testing.T) {
	// The kernel lets files grow to a limit, writes what fits, and then fails.
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	defer unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)
	full := func(n int) {
		small := limit
		small.Cur = uint64(n)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &small); err != nil {
			t.Fatal(err)
		}
	}
	path, s := filepath.Join(t.TempDir(), "run.log"), &said{}
	l, err := OpenLog(path, nil, s.say)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	put := func(n int) {
		for range n {
			text := loggedLine(1e15 + int64(len(want)))
			want = append(want, text)
			l.Append([]byte(text))
		}
	}
	put(3)
	size := len(content(t, path))
	full(size + 100)
	put(4)
	if got := content(t, path); got != strings.Join(want[:3], "\n")+"\n" {
		t.Errorf("on a full disk: %d bytes, were %d", len(got), size)
	}
	s.mustSay(t, "file too large; the page goes on")
	unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)
	put(1)
	s.mustSay(t, "is written again; nothing is missing")
	full(len(content(t, path)))
	put(1)
	s.mustSay(t, "file too large")
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "1 lines could not be written") {
		t.Error(err)
	}
	unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)
	if texts, _ := reopen(t, path, s); !slices.Equal(texts, want[:8]) {
		t.Errorf("%d lines, want 8", len(texts))
	}
	s.mustSay(t)
}

// A badFile fails as it is told to.
type badFile struct {
	bytes.Buffer
	write, truncate, sync error
	syncs                 int
}

func (f *badFile) Write(p []byte) (int, error) {
	if f.write != nil {
		f.Buffer.Write(p[:len(p)/2])
		return len(p) / 2, f.write
	}
	return f.Buffer.Write(p)
}

func (f *badFile) Truncate(size int64) error {
	if f.truncate == nil {
		f.Buffer.Truncate(int(size))
	}
	return f.truncate
}
func (f *badFile) Sync() error  { f.syncs++; return f.sync }
func (f *badFile) Close() error { return nil }

func TestLogWhereAllFails(t *testing.T) {
	s, f := &said{}, &badFile{}
	l := &Log{path: "run.log", say: s.say, file: f, stop: make(chan struct{}), stopped: make(chan struct{})}
	close(l.stopped)
	l.Append([]byte("one"))
	l.sync()
	l.sync()
	f.write, f.truncate, f.sync = errors.New("disk on fire"), errors.New("no"), errors.New("bad")
	l.Append([]byte("two"))
	l.Append([]byte("three"))
	if f.String() != "one\ntw" || f.syncs != 1 {
		t.Errorf("%q, %d syncs", &f.Buffer, f.syncs)
	}
	s.mustSay(t, "run.log: disk on fire; ")
	f.truncate = nil
	huge := bytes.Repeat([]byte("x"), maxUnsaved)
	l.Append(huge)
	l.Append([]byte("four"))
	if f.String() != "one\n" {
		t.Errorf("%.20q", f.String())
	}
	f.write = nil
	l.Append([]byte("five"))
	if f.String() != "one\ntwo\nthree\nfour\nfive\n" {
		t.Errorf("%.60q", f.String())
	}
	s.mustSay(t, "is written again; 1 lines are missing")
	l.sync()
	l.Append([]byte("six"))
	l.sync()
	s.mustSay(t, "can't be synced: bad")
	// A line that alone is longer than what may wait is tried once and kept.
	f.write = errors.New("full")
	l.Append(huge)
	f.write = nil
	if err := l.Close(); err != nil || f.Len() != len("one\ntwo\nthree\nfour\nfive\nsix\n")+len(huge)+1 {
		t.Errorf("%v, %d bytes", err, f.Len())
	}
}

func BenchmarkLogAppend(b *testing.B) {
	l, err := OpenLog(filepath.Join(b.TempDir(), "run.log"), nil, b.Logf)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	text := bytes.Repeat([]byte("x"), 14000)
	b.SetBytes(14000)
	for b.Loop() {
		l.Append(text)
	}
}
