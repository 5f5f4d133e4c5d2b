package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A crowd is what looks on in a load test.
type crowd struct {
	live, stuck int
	windows     int
	every       time.Duration
}

// A load is what came of it.
type load struct {
	late   []time.Duration // from a line to its event, of all clients and windows, ascending
	missed int             // windows that a client did not get
	memory int64           // highest resident set of the server, bytes
}

func (l *load) percentile(p float64) time.Duration {
	return l.late[min(int(float64(len(l.late))*p), len(l.late)-1)]
}

// resultLines returns so many lines of windows.
func resultLines(t testing.TB, windows int, window string) [][]byte {
	t.Helper()
	d, err := time.ParseDuration(window)
	if err != nil {
		t.Fatal(err)
	}
	hits := int(3100 * d.Seconds() * float64(windows+5))
	out := pipeline(t, nil, stage{"dtcat", fmt.Sprintf("sim:?stale=0&triggers=20&hits=%d", hits)}, stage{"dtfilter"},
		stage{"dthist", "--window", window, "--hist2", "auto"}).ok(t)
	lines := bytes.SplitAfter(out, []byte("\n"))
	if len(lines) < windows {
		t.Fatalf("%d lines, %d wanted", len(lines), windows)
	}
	return lines[:windows]
}

// gauges returns the numbers of /metrics.
func (s *site) gauges() map[string]float64 {
	s.t.Helper()
	a, err := http.Get(s.url("metrics"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	all := map[string]float64{}
	for r := bufio.NewScanner(a.Body); r.Scan(); {
		if name, value, ok := strings.Cut(r.Text(), " "); ok {
			all[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return all
}

// gaugesUntil waits for numbers.
func (s *site) gaugesUntil(what string, holds func(map[string]float64) bool) map[string]float64 {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		g := s.gauges()
		if holds(g) {
			return g
		}
		if time.Now().After(end) {
			s.t.Fatalf("it never comes that %s: %v clients, %v thrown out, %v goroutines", what, g["dt_clients"], g["dt_evictions_total"], g["go_goroutines"])
		}
	}
}

// connect connects to /events.
func (s *site) connect(buffer int) (net.Conn, error) {
	d := net.Dialer{Timeout: 20 * time.Second}
	if buffer > 0 {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer) })
		}
	}
	conn, err := d.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	return conn, err
}

// arrivals reads events to the end of the stream and notes when each window came, whole. done counts those who have the last one.
func arrivals(conn net.Conn, at []time.Time, done *atomic.Int64) error {
	r := bufio.NewReaderSize(conn, 32<<10)
	id, first := -1, true
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			first = false
			continue
		case err != nil:
			return err
		case !first:
			first = true
			continue
		}
		if text, ok := bytes.CutPrefix(line, []byte("id: ")); ok {
			if id, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
				return err
			}
		}
		if len(line) == 1 && id > 0 && id < len(at) && at[id].IsZero() {
			at[id] = time.Now()
			if id == len(at)-1 {
				done.Add(1)
			}
		}
	}
}

// run lets a crowd look on while lines come.
func (c crowd) run(t testing.TB, s *site, lines [][]byte) load {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if need := uint64(c.live + c.stuck + 200); limit.Cur < need {
		missing(t, fmt.Sprintf("%d open files", need), "ulimit -n")
	}
	before := s.gauges()["go_goroutines"]

	var conns []net.Conn
	var readers sync.WaitGroup
	times := make([][]time.Time, c.live)
	var done atomic.Int64
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
		readers.Wait()
	}()
	for i := range c.stuck + c.live {
		buffer := 0
		if i < c.stuck {
			buffer = 4096
		}
		conn, err := s.connect(buffer)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if k := i - c.stuck; k >= 0 {
			times[k] = make([]time.Time, c.windows+1)
			readers.Go(func() { _ = arrivals(conn, times[k], &done) }) // it ends with the connection
		}
	}
	s.gaugesUntil("all look on", func(g map[string]float64) bool { return int(g["dt_clients"]) == c.live+c.stuck })

	given := make([]time.Time, c.windows+1)
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for i := range c.windows {
		<-tick.C
		given[i+1] = time.Now()
		if _, err := s.feed.Write(lines[i]); err != nil {
			t.Fatal(err)
		}
	}
	s.gaugesUntil("those that never read are out", func(g map[string]float64) bool {
		return int(g["dt_clients"]) == c.live && int(g["dt_evictions_total"]) == c.stuck
	})
	for end := time.Now().Add(20 * time.Second); done.Load() < int64(c.live) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	l := load{memory: resident(s.server().Process.Pid)}
	for _, conn := range conns {
		conn.Close()
	}
	readers.Wait()
	s.gaugesUntil("no goroutine is left of those who looked on", func(g map[string]float64) bool {
		return g["dt_clients"] == 0 && g["go_goroutines"] <= before+4 // the connections of the asking for metrics come and go
	})
	for k := range times {
		for i := 1; i <= c.windows; i++ {
			if times[k][i].IsZero() {
				l.missed++
				continue
			}
			l.late = append(l.late, times[k][i].Sub(given[i]))
		}
	}
	slices.Sort(l.late)
	return l
}

// A thousand look on, and fifty more never read: all of the thousand get each window, and nothing is left of them when they go.
func TestLoad(t *testing.T) {
	c := crowd{live: 1000, stuck: 50, windows: 10, every: 500 * time.Millisecond}
	if testing.Short() {
		c.live, c.stuck = 100, 10
	}
	s := fed(t)
	l := c.run(t, s, resultLines(t, c.windows, "2s"))
	if l.missed > 0 {
		t.Errorf("%d windows were missed", l.missed)
	}
	if p := l.percentile(0.99); p > 2*time.Second {
		t.Errorf("99 %% came within %v", p)
	}
	const most = 256 << 20
	if l.memory > most && os.Getenv("DT_RACE") == "" {
		t.Errorf("%d MiB", l.memory>>20)
	}
	t.Logf("half within %v, 99 %% within %v, the last within %v; %d MiB", l.percentile(0.5), l.percentile(0.99), l.percentile(1), l.memory>>20)
}

// BenchmarkServe is the same with a window a second, and times what else is promised of dtserve.
func BenchmarkServe(b *testing.B) {
	c := crowd{live: 1000, stuck: 50, windows: 10, every: time.Second}
	lines := resultLines(b, c.windows, "2s")
	many := filepath.Join(b.TempDir(), "8000.jsonl")
	if err := os.WriteFile(many, bytes.Join(resultLines(b, 8000, "100ms"), nil), 0o666); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s := fed(b)
		l := c.run(b, s, lines)
		if l.missed > 0 {
			b.Errorf("%d windows were missed", l.missed)
		}
		b.ReportMetric(l.percentile(0.5).Seconds()*1000, "p50-ms")
		b.ReportMetric(l.percentile(0.99).Seconds()*1000, "p99-ms")
		b.ReportMetric(l.percentile(1).Seconds()*1000, "max-ms")
		b.ReportMetric(float64(l.memory)/(1<<20), "MiB")

		took, memory := takeAll(b, many)
		b.ReportMetric(took.Seconds(), "s/8000-lines")
		b.ReportMetric(float64(memory)/(1<<20), "MiB/8000-lines")
		b.ReportMetric(firstPage(b).Seconds()*1000, "first-page-ms")
	}
}

// takeAll returns how long dtserve takes for the lines of a file, and its highest resident set in bytes.
func takeAll(t testing.TB, file string) (took time.Duration, memory int64) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := exec.CommandContext(t.Context(), bin("dtserve"), "--listen", "127.0.0.1:0", "--exit")
	cmd.Stdin = in
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			return time.Since(start), memory
		case <-time.After(10 * time.Millisecond):
			memory = max(memory, resident(cmd.Process.Pid))
		}
	}
}

// resident returns the highest resident set of a process so far, in bytes; 0 when it is not known.
func resident(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	var kib int64
	_, _ = fmt.Sscan(after, &kib)
	return kib << 10
}

// firstPage returns the least time from the start to the whole page, of a few.
func firstPage(t testing.TB) time.Duration {
	t.Helper()
	least := time.Hour
	for range 5 {
		address := freeAddress(t)
		in, feed, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bin("dtserve"), "--listen", address)
		cmd.Stdin = in
		start := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in.Close()
		for end := start.Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			a, err := http.Get("http://" + address + "/")
			if err == nil {
				_, err = io.Copy(io.Discard, a.Body)
				a.Body.Close()
			}
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
		least = min(least, time.Since(start))
		feed.Close()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	return least
}
