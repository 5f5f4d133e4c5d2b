package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// events connects to /events of a site and returns what comes, from the state of the newest window on.
func (s *site) events() *bufio.Reader {
	s.t.Helper()
	conn, err := s.connect(0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	s.comes(r, "event: state\n")
	return r
}

// comes reads lines up to one with a part.
func (s *site) comes(r *bufio.Reader, part string) string {
	s.t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%q never comes: %v", part, err)
		}
		if strings.Contains(line, part) {
			return line
		}
	}
}

// ^C goes to all of a pipe: the last window is shown, who looks on is told, and all is well.
func TestServeInterrupt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	codes, log := filepath.Join(dir, "codes"), filepath.Join(dir, "log")
	cmd, b, _ := shell(t, "", `{ dtcat 'sim:?rate=20000&triggers=100' | dtfilter | dtchamber | dthist --window 100ms | tee -i "$1" | dtserve --log "$2"; echo ${PIPESTATUS[*]} > "$0"; } 2>&1`, codes, filepath.Join(dir, "lines"), log)
	said, err := b.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, address: strings.TrimSpace(strings.TrimPrefix(said, "dtserve: open http://"))}
	r := s.events()
	s.comes(r, `"Phase":"live"`)
	interrupt(t, cmd)
	start := time.Now()
	s.comes(r, "event: bye\n")
	same(t, "bye", s.comes(r, "data: "), `data: {"Why":"the server stops"}`+"\n")
	if _, err := r.ReadString('\n'); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("then comes %q, %v", rest, err)
	}
	if _, err := io.ReadAll(b); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	same(t, "exit codes", string(mustRead(t, codes)), "0 0 0 0 0 0\n")
	same(t, "the log", string(mustRead(t, log)), string(mustRead(t, filepath.Join(dir, "lines"))))
}

// A source that goes on after ^C is not waited for, and SIGTERM waits for nothing.
func TestServeStops(t *testing.T) {
	t.Parallel()
	for signal, most := range map[syscall.Signal]time.Duration{syscall.SIGINT: 8 * time.Second, syscall.SIGTERM: 5 * time.Second} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			s := fed(t)
			r := s.events()
			start := time.Now()
			if err := s.server().Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			s.comes(r, "event: bye\n")
			s.stopped = true
			result := s.wait()
			codes(t, result, 0)
			if took := time.Since(start); took > most {
				t.Errorf("it took %v", took)
			}
			same(t, "messages", result.Errs[0], "dtserve: open http://"+s.address+"\n")
		})
	}
	t.Run("the input has ended", func(t *testing.T) {
		t.Parallel()
		s := fed(t)
		r := s.events()
		s.send(resultLines(t, 1, "2s")...)
		s.end()
		s.comes(r, `"Phase":"ended"`)
		if err := s.server().Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		s.stopped = true
		codes(t, s.wait(), 0)
	})
}

// With --exit the end of the input is the end, and the last state has been sent before.
func TestServeExit(t *testing.T) {
	t.Parallel()
	s := fed(t, "--exit")
	r := s.events()
	lines := resultLines(t, 3, "2s")
	s.send(lines...)
	s.end()
	s.stopped = true
	var last string
	for {
		line, err := r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "event: bye") {
			break
		}
		if strings.HasPrefix(line, "id: ") {
			last = line
		}
	}
	same(t, "the last state", last, "id: 3\n")
	same(t, "bye", s.comes(r, "data: "), `data: {"Why":"the input has ended"}`+"\n")
	codes(t, s.wait(), 0)
}

// A taken port is told with one that is free, which a + takes at once.
func TestServePortTaken(t *testing.T) {
	t.Parallel()
	first := fed(t)
	r := pipeline(t, nil, stage{"dtserve", "--listen", first.address})
	codes(t, r, 1)
	var port int
	if _, err := fmt.Sscanf(r.Errs[0], "dtserve: "+first.address+" is taken (hint: --listen 127.0.0.1:%d is free)\n", &port); err != nil {
		t.Errorf("%q", r.Errs[0])
	}
	line := resultLines(t, 1, "2s")[0]
	r = pipeline(t, bytes.NewReader(line), stage{"dtserve", "--exit", "--listen", first.address + "+"})
	codes(t, r, 0)
	address := strings.TrimSpace(strings.TrimPrefix(r.Errs[0], "dtserve: open http://"))
	if host, _, err := net.SplitHostPort(address); err != nil || host != "127.0.0.1" || address == first.address {
		t.Errorf("%q", r.Errs[0])
	}
}

// What is no result lines ends it at once, with what to do; bad lines among good ones do not.
func TestServeInput(t *testing.T) {
	t.Parallel()
	stream := smallStream(t)
	r := pipeline(t, bytes.NewReader(stream), stage{"dtserve", "--listen", "127.0.0.1:0"})
	codes(t, r, 1)
	_, says, _ := strings.Cut(r.Errs[0], "\n")
	same(t, "message", says, "dtserve: input is a hit stream, not result lines (hint: … | dthist | dtserve)\n")

	lines := resultLines(t, 2, "2s")
	bad := "{\"Index\": 5}\n"
	r = pipeline(t, strings.NewReader(string(lines[0])+bad+"\n"+string(lines[1])), stage{"dtserve", "--listen", "127.0.0.1:0", "--exit"})
	codes(t, r, 0)
	_, says, _ = strings.Cut(r.Errs[0], "\n")
	if !strings.HasPrefix(says, "dtserve: standard input:2: ") || strings.Count(says, "\n") != 1 {
		t.Errorf("%q", says)
	}

	r = pipeline(t, nil, stage{"dtserve", "--listen", "127.0.0.1:0", "--exit"})
	codes(t, r, 1)
	_, says, _ = strings.Cut(r.Errs[0], "\n")
	same(t, "message", says, "dtserve: input is empty, no result lines (hint: did the program before this one fail?)\n")

	// A log that can't be ends it.
	r = pipeline(t, bytes.NewReader(lines[0]), stage{"dtserve", "--listen", "127.0.0.1:0", "--log", os.TempDir()})
	codes(t, r, 1)
	_, says, _ = strings.Cut(r.Errs[0], "\n")
	same(t, "message", says, "dtserve: "+os.TempDir()+": is a directory\n")
}

// The thresholds that are printed are those that are read.
func TestServeThresholds(t *testing.T) {
	t.Parallel()
	text := pipeline(t, nil, stage{"dtserve", "--print-thresholds"}).ok(t)
	file := write(t, "my.thresholds", text)
	same(t, "thresholds", string(pipeline(t, nil, stage{"dtserve", "--thresholds", file, "--print-thresholds"}).ok(t)), string(text))
	r := pipeline(t, nil, stage{"dtserve", "--thresholds", write(t, "bad", []byte(`{"wire": {"hotter": 5}}`))})
	codes(t, r, 1)
	if bad := plain("dtserve", r.Errs[0]); bad != "" || !strings.Contains(r.Errs[0], "hotter") {
		t.Errorf("%s: %q", bad, r.Errs[0])
	}
}
