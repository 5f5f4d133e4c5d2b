package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The benchmarks of sources on the network. Each iteration runs every job once, in turn; figures are medians:
//
//	go test ./internal/e2e -run '^$' -bench 'S3(Read|Far|FirstWord)' -benchtime 5x
//	go test ./internal/e2e -run '^$' -bench S3Pace -benchtime 1x

// A benchS3 is a server as scripts/s3 starts it, with a run of 20 million rows in the bucket big.
type benchS3 struct {
	endpoint, ca, credentials string
	key, secret               string
}

// startBenchS3 starts it; on names what it is to be run under.
func startBenchS3(b *testing.B, folder string, tls bool, under ...string) *benchS3 {
	b.Helper()
	needS3(b)
	ports, err := freePorts(1)
	if err != nil {
		b.Fatal(err)
	}
	run := b.TempDir()
	env := append(environ(), "S3_RUN="+run, "S3_PORT="+strconv.Itoa(ports))
	if !tls {
		env = append(env, "S3_TLS=no")
	}
	script := func(under []string, args ...string) {
		command := append(append(under, s3Script()), args...)
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("scripts/s3 %s: %v\n%s", args[0], err, out)
		}
	}
	script(under, "start")
	b.Cleanup(func() { script(nil, "stop") })
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		b.Fatal(err)
	}
	script(nil, append(append([]string{"put"}, files...), "big")...)
	s := &benchS3{ca: filepath.Join(run, "ca.pem"), credentials: filepath.Join(run, "access_key.json")}
	s.endpoint = strings.TrimSpace(string(mustRead(b, filepath.Join(run, "endpoint"))))
	keys := strings.Split(string(mustRead(b, s.credentials)), `"`)
	s.key, s.secret = keys[3], keys[7]
	return s
}

// cat is a dtcat of the bucket.
func (s *benchS3) cat(endpoint string, args ...string) stage {
	c := stage{bin("dtcat"), "s3://big/", "--endpoint", endpoint, "--credentials", s.credentials}
	if strings.HasPrefix(endpoint, "https:") {
		c = append(c, "--ca-cert", s.ca)
	}
	return append(c, args...)
}

// rclone is an rclone cat of the bucket.
func (s *benchS3) rclone(b *testing.B) stage {
	b.Helper()
	config := filepath.Join(b.TempDir(), "rclone.conf")
	text := fmt.Sprintf("[x]\ntype = s3\nprovider = Other\naccess_key_id = %s\nsecret_access_key = %s\nendpoint = %s\n", s.key, s.secret, s.endpoint)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	command := stage{"rclone", "--config", config, "cat", "x:big"}
	if strings.HasPrefix(s.endpoint, "https:") {
		command = append(command, "--ca-cert", s.ca)
	}
	return command
}

// A benchJob is a command, and what it took each time.
type benchJob struct {
	name    string
	command stage
	took    []time.Duration
	memory  int64 // the most, in bytes
}

// run runs the command once, its output thrown away. GNU time tells its memory: what the kernel tells us includes ours, from before exec.
func (j *benchJob) run(b *testing.B) {
	b.Helper()
	cmd := exec.Command("/usr/bin/time", append([]string{"-q", "-f", "%M"}, j.command...)...)
	cmd.Env = append(environ(), cleanEnv()...)
	var says strings.Builder
	cmd.Stderr = &says
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", j.name, err, says.String())
	}
	j.took = append(j.took, time.Since(begin))
	lines := strings.Fields(says.String())
	kilobytes, err := strconv.ParseInt(lines[len(lines)-1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	j.memory = max(j.memory, kilobytes<<10)
}

func (j *benchJob) median() time.Duration {
	slices.Sort(j.took)
	return j.took[len(j.took)/2]
}

// benchRun makes a folder with a run of so many rows in files of 30 MB.
func benchRun(b *testing.B, rows int) (folder string, size int64) {
	b.Helper()
	folder = b.TempDir()
	text := cat(b, fmt.Sprintf("sim:?seed=1&stale=0&corrupt=0&words=%d", rows), "--to", "csv")
	pieces(b, folder, "data_%06d.txt", text, slices.Repeat([]int{30 << 20}, len(text)/(30<<20)+1)...)
	return folder, int64(len(text))
}

// BenchmarkS3Read reads 20 million rows of CSV, from a local folder and from an S3 server on this machine: with and without TLS, beside rclone
// cat, which decodes nothing; and with dtcat on one core and the server on another, so that what the server takes is not taken from dtcat.
func BenchmarkS3Read(b *testing.B) {
	folder, size := benchRun(b, 20_000_000)
	plain, tls := startBenchS3(b, folder, false), startBenchS3(b, folder, true)
	pinned := startBenchS3(b, folder, false, "taskset", "-c", "1")
	jobs := []*benchJob{
		{name: "local", command: stage{bin("dtcat"), folder}},
		{name: "http", command: plain.cat(plain.endpoint)},
		{name: "https", command: tls.cat(tls.endpoint)},
		{name: "core-local", command: stage{"taskset", "-c", "0", bin("dtcat"), folder}},
		{name: "core-http", command: append(stage{"taskset", "-c", "0"}, pinned.cat(pinned.endpoint)...)},
	}
	if _, err := exec.LookPath("rclone"); err == nil {
		jobs = append(jobs, &benchJob{name: "rclone-http", command: plain.rclone(b)}, &benchJob{name: "rclone-https", command: tls.rclone(b)})
	} else {
		b.Log("no rclone to compare with (get it: apt-get install rclone)")
	}
	for _, j := range jobs {
		j.run(b) // files and connections are warm from here on
		j.took = nil
	}
	for b.Loop() {
		for _, j := range jobs {
			j.run(b)
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, j := range jobs {
		b.ReportMetric(float64(size)/j.median().Seconds()/1e6, j.name+"-MB/s")
		if strings.HasPrefix(j.name, "http") {
			b.ReportMetric(float64(j.memory)/(1<<20), j.name+"-MiB")
		}
	}
}

// BenchmarkS3Far reads 120 MB from a server that is 50 ms away and gives 20 MB/s to a connection: over one, and over as many as dtcat takes.
func BenchmarkS3Far(b *testing.B) {
	folder, size := benchRun(b, 5_100_000)
	server := startBenchS3(b, folder, false)
	p := &proxy{where: place{latency: 50 * time.Millisecond, rate: 20e6}}
	p.open(b, server.endpoint, &http.Transport{}, nil)
	jobs := []*benchJob{
		{name: "one", command: server.cat(p.url, "--connections", "1")},
		{name: "16", command: server.cat(p.url)},
	}
	for b.Loop() {
		for _, j := range jobs {
			j.run(b)
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, j := range jobs {
		b.ReportMetric(float64(size)/j.median().Seconds()/1e6, j.name+"-MB/s")
	}
	b.ReportMetric(float64(jobs[1].memory)/(1<<20), "16-MiB")
}

// BenchmarkS3FirstWord measures the time from the first bytes of an answer to the first word behind dtcat, when the rest of the answer does not
// come yet.
func BenchmarkS3FirstWord(b *testing.B) {
	text := strings.Repeat(rowA, 1000)
	sent := make(chan time.Time, 1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if wanted := r.Header.Get("Range"); r.Method == http.MethodHead || wanted == "bytes=0-0" {
			http.ServeContent(w, r, "run.csv", time.Time{}, strings.NewReader(text))
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(text)-1, len(text)))
		w.WriteHeader(http.StatusPartialContent)
		io.WriteString(w, text[:len(rowA)*100])
		sent <- time.Now()
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer web.Close()
	var took []time.Duration
	for b.Loop() {
		cmd := exec.Command(bin("dtcat"), web.URL+"/run.csv", "--to", "raw")
		cmd.Env = cleanEnv()
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.ReadFull(out, make([]byte, 8))
		took = append(took, time.Since(<-sent))
		cmd.Process.Kill()
		cmd.Wait()
		if err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "median-ms")
	b.ReportMetric(took[len(took)-1].Seconds()*1e3, "max-ms")
}

// BenchmarkS3Pace plays a minute at 1 000 words/s from a server, and reports by how much the words of the minute differ from what was asked for,
// and the longest time in which none came.
func BenchmarkS3Pace(b *testing.B) {
	folder, _ := benchRun(b, 200_000)
	server := startBenchS3(b, folder, false)
	const rate, minute = 1000, time.Minute
	worst, pause := 0.0, time.Duration(0)
	for b.Loop() {
		command := server.cat(server.endpoint, "--rate", strconv.Itoa(rate), "--to", "raw")
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Env = cleanEnv()
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			b.Fatal(err)
		}
		var first, last time.Time
		n, buf := 0, make([]byte, 64<<10)
		for first.IsZero() || last.Sub(first) < minute {
			k, err := out.Read(buf)
			if err != nil && !errors.Is(err, io.EOF) || k == 0 {
				b.Fatal(k, err)
			}
			now := time.Now()
			if first.IsZero() {
				first, last = now, now
			}
			pause = max(pause, now.Sub(last))
			n, last = n+k, now
		}
		cmd.Process.Kill()
		cmd.Wait()
		want := rate * last.Sub(first).Seconds()
		worst = max(worst, 100*abs(float64(n)/8-want)/want)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(worst, "%-off")
	b.ReportMetric(pause.Seconds()*1e3, "longest-pause-ms")
}

func abs(x float64) float64 { return max(x, -x) }
