package tool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"dt/internal/wire"
)

// all reads lines to their end, as number:text; long lines as number!.
func all(t *testing.T, l *Lines) (out []string, err error) {
	t.Helper()
	for {
		text, number, err := l.Next()
		var long *LongLineError
		switch {
		case errors.As(err, &long):
			if long.Number != number || text != nil {
				t.Errorf("%+v at %d with %q", long, number, text)
			}
			out = append(out, fmt.Sprintf("%d!", number))
		case err != nil:
			return out, err
		default:
			out = append(out, fmt.Sprintf("%d:%s", number, text))
		}
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 10)
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"a\nb\n", []string{"1:a", "2:b"}},
		{"a\r\n\r\n \t\nb", []string{"1:a", "4:b"}},
		{"\n\n", nil},
		{long + "\n" + long + "y\n" + long, []string{"1:" + long, "2!", "3:" + long}},
		{strings.Repeat("z", 1000) + "\n\na\n" + strings.Repeat("z", 1000), []string{"1!", "3:a", "4!"}},
		{strings.Repeat("z", 300_000) + "\n\na\n" + strings.Repeat("z", 300_000) + "\nb\n", []string{"1!", "3:a", "4!", "5:b"}},
		{long + "\r\n" + long + "\r\n", []string{"1!", "2!"}}, // 11 bytes each, with what ends the line
		{" a ", []string{"1: a "}},
		{"\x00\n", []string{"1:\x00"}},
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(tt.text), "one": iotest.OneByteReader(strings.NewReader(tt.text)), "half": iotest.HalfReader(strings.NewReader(tt.text)),
			"data and error": iotest.DataErrReader(strings.NewReader(tt.text))} {
			l := LinesOf(r, 10)
			got, err := all(t, l)
			if !slices.Equal(got, tt.want) || !errors.Is(err, io.EOF) {
				t.Errorf("%.30q, %s: %.80q, %v; want %.80q", tt.text, name, got, err, tt.want)
			}
			if cap(l.buf) > 10+64<<10 {
				t.Errorf("%.30q: holds %d bytes", tt.text, cap(l.buf))
			}
			if _, _, err := l.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("%.30q: then %v", tt.text, err)
			}
		}
	}
}

// A long line takes its memory while it is there.
func TestLinesMemory(t *testing.T) {
	const longest = 3 << 20
	long := strings.Repeat("x", longest)
	l := LinesOf(strings.NewReader(long+"\n"+long+"x\na\n"+strings.Repeat("b\n", 200_000)), longest)
	most := 0
	for n := 1; ; n++ {
		text, _, err := l.Next()
		var tooLong *LongLineError
		if n == 1 && (err != nil || len(text) != longest) || n == 2 && !errors.As(err, &tooLong) {
			t.Fatalf("line %d: %d bytes, %v", n, len(text), err)
		}
		most = max(most, cap(l.buf))
		if errors.Is(err, io.EOF) {
			break
		}
	}
	if most > longest+64<<10 || cap(l.buf) > 1<<20 {
		t.Errorf("held %d bytes, now %d", most, cap(l.buf))
	}
}

func TestLinesErrors(t *testing.T) {
	bad := errors.New("broken")
	l := LinesOf(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(bad)), 10)
	if got, err := all(t, l); !slices.Equal(got, []string{"1:a"}) || !errors.Is(err, bad) {
		t.Errorf("%q, %v", got, err)
	}
	l = LinesOf(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("ab\n"))), 10)
	if got, err := all(t, l); got != nil || !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("%q, %v", got, err)
	}
	l = LinesOf(stuck{}, 10)
	if _, _, err := l.Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("%v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestLinesHead(t *testing.T) {
	text := "one\ntwo\n" + strings.Repeat("three\n", 100)
	for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
		l := LinesOf(r, 10)
		head, err := l.Head(20)
		if err != nil || len(head) < 20 || !strings.HasPrefix(text, string(head)) {
			t.Errorf("%q, %v", head, err)
		}
		if got, err := all(t, l); len(got) != 102 || got[0] != "1:one" || !errors.Is(err, io.EOF) {
			t.Errorf("%q, %v", got, err)
		}
	}
	l := LinesOf(strings.NewReader("x"), 10)
	if head, err := l.Head(20); string(head) != "x" || !errors.Is(err, io.EOF) {
		t.Errorf("%q, %v", head, err)
	}
	if got, _ := all(t, l); !slices.Equal(got, []string{"1:x"}) {
		t.Errorf("%q", got)
	}
}

// OnWait is called before each wait and at no other time; a stop ends the reading, without the line that is not over.
func TestLinesOfInput(t *testing.T) {
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	stop, stopping, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stop.Close()
	l := NewLines(wire.NewInput(in, int(stop.Fd())), 100)
	waits := 0
	steps := []func(){
		func() { feed.Write([]byte("c\nd")) },
		func() { feed.Write([]byte("e\n")) },
		func() { feed.Write([]byte("f")) },
		func() { time.AfterFunc(10*time.Millisecond, func() { stopping.Close() }) },
	}
	l.OnWait = func() (time.Duration, error) {
		waits++
		steps[waits-1]()
		return 0, nil
	}
	feed.Write([]byte("a\nb\n"))
	got, err := all(t, l)
	if !slices.Equal(got, []string{"1:a", "2:b", "3:c", "4:de"}) || !errors.Is(err, wire.ErrStopped) || waits != 4 {
		t.Errorf("%q, %v, waited %d times", got, err, waits)
	}
	bad := errors.New("no")
	other, feed2, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	defer feed2.Close()
	l = NewLines(wire.NewInput(other, -1), 100)
	l.OnWait = func() (time.Duration, error) { return 0, bad }
	if _, _, err := l.Next(); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
}

func BenchmarkLines(b *testing.B) {
	text := bytes.Repeat(append(bytes.Repeat([]byte("x"), 14_000), '\n'), 100)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		l := LinesOf(bytes.NewReader(text), 64<<20)
		for {
			if _, _, err := l.Next(); err != nil {
				break
			}
		}
	}
}

// Only the last line may be without its line feed, and then it is said.
func TestLinesOpen(t *testing.T) {
	for text, want := range map[string]string{"a\nb\n": "a b", "a\nb": "a b…", "a\n\nb\r\n": "a b", "a": "a…", "a\n ": "a"} {
		l := LinesOf(strings.NewReader(text), 100)
		var got []string
		for {
			line, _, err := l.Next()
			if err != nil {
				break
			}
			s := string(line)
			if l.Open() {
				s += "…"
			}
			got = append(got, s)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
