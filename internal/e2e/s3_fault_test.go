package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// s3Seed is a seed for what happens on the network; DT_S3_SEED says one of before.
func s3Seed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DT_S3_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal("DT_S3_SEED:", err)
		}
	}
	t.Logf("DT_S3_SEED=%d", seed)
	return seed
}

// hurried are flags that make the waits of a test short.
func hurried(args ...string) []string { return append([]string{"--stall", "250ms"}, args...) }

// Whatever the network does: what comes out is byte for byte what comes out without it, and nothing is said but that it stopped for long.
func TestS3Faults(t *testing.T) {
	t.Parallel()
	s := sharedS3(t)
	bucket, folder := s.bigRun(t)
	_, text := inNaturalOrder(t, folder, "data_%06d.txt")
	const faults = 200
	seed := s3Seed(t)
	storm := stormOf(seed, faults+20)
	p := s.proxy(t, storm.decide)
	survives(t, "the run", s3Run(t, nil, s.catAt(p.url, hurried("--to", "csv", "s3://"+bucket+"/")...)), text)
	n := p.faults()
	t.Logf("%v in %d requests", n, len(p.requests("")))
	if n["all"] < faults {
		t.Errorf("only %d faults", n["all"])
	}
	for _, kind := range storm.kinds {
		if n[kind] == 0 {
			t.Errorf("no %q", kind)
		}
	}

	// The result of a whole pipe.
	small, _ := s.smallRun(t)
	pipe := []stage{{"dtfilter"}, {"dtchamber"}, {"dthist", "--window", "5s"}}
	for i := range uint64(seeds(t, 2)) {
		p := s.proxy(t, stormOf(seed+i, 40).decide)
		got := s3Run(t, nil, append([]stage{s.catAt(p.url, hurried("--run", "check", "s3://"+small+"/")...)}, pipe...)...)
		want := s3Run(t, nil, append([]stage{s.cat("--run", "check", "s3://"+small+"/")}, pipe...)...)
		sameLines(t, "seed "+strconv.FormatUint(seed+i, 10), results(t, got.ok(t)), results(t, want.ok(t)))
		onlyOutages(t, strings.Join(got.Errs, ""))
		t.Logf("%v in %d requests", p.faults(), len(p.requests("")))
	}
}

// Each fault by itself: it is survived, and a connection that breaks goes on at its byte.
func TestS3EachFault(t *testing.T) {
	t.Parallel()
	s := sharedS3(t)
	b := s.bucket(t)
	text := cat(t, "sim:?seed=9&hits=250000", "--to", "csv")
	s.put(t, b, "data.csv", text)
	s.allow(t, b, "*", "s3:GetObject")
	for _, kind := range []fault{faultReset, faultEnd, faultStall, fault500, fault503, fault429, faultShort, faultMore, faultLess, faultRange, faultWhole, faultGarbage, faultHangUp, faultGone} {
		t.Run(string(kind), func(t *testing.T) {
			seen := 0
			p := s.proxy(t, func(r *proxied) {
				connection := kind == faultGarbage || kind == faultHangUp || kind == faultGone
				if connection != (r.Method == "") || !connection && !r.gets() {
					return
				}
				if seen++; seen%2 == 0 && seen < 9 {
					r.Fault, r.At = kind, 0.4
				}
			})
			args := hurried("--to", "csv", "s3://"+b+"/data.csv")
			if kind == faultWhole {
				args = append(args, "--credentials", "none") // a signature is of the range, too
			}
			reads(t, "it", s3Run(t, nil, s.catAt(p.url, args...)), text)
			if p.faults()[kind] == 0 {
				t.Error("there was none")
			}
			if kind != faultReset && kind != faultEnd && kind != faultStall {
				return
			}
			// Each byte was sent once, but for what was on its way when the connection was reset, or what another connection overtook.
			sent := int64(0)
			for _, r := range p.requests("data.csv") {
				sent += r.Sent
			}
			if limit := int64(len(text)); kind == faultEnd && sent != limit || sent > 2*limit {
				t.Errorf("%d bytes were sent of %d", sent, limit)
			}
		})
	}
}

// A server that goes away for good: after so many tries there is an error that says where, and the stages behind know that their input was
// cut.
func TestS3GivenUp(t *testing.T) {
	t.Parallel()
	s := sharedS3(t)
	bucket, _ := s.bigRun(t)
	for _, how := range []string{"refused", "stalled", "denied"} {
		t.Run(how, func(t *testing.T) {
			gone, refused := false, make(chan struct{})
			p := s.proxy(t, func(r *proxied) {
				if !gone && r.gets() && strings.HasSuffix(r.Path, "data_000040.txt") && r.From > 0 {
					gone = true
					if how == "refused" {
						close(refused)
					}
				}
				switch {
				case !gone || !r.gets():
				case how == "stalled":
					r.Fault = faultStall
				case how == "denied":
					r.Fault = faultDenied
				}
			})
			go func() {
				select {
				case <-refused:
					p.close()
				case <-p.closed:
				}
			}()
			r := s3Run(t, nil, s.catAt(p.url, "--stall", "500ms", "--tries", "3", "s3://"+bucket+"/"), stage{"dtfilter"}, stage{"dthist", "--window", "all"})
			codes(t, r, 1, 1, 1)
			parts := map[string][]string{
				"refused": {"s3://" + bucket + "/data_0000", ": given up at byte ", " after 3 tries: ", "connection refused"},
				"stalled": {"s3://" + bucket + "/data_0000", ": given up at byte ", " after 3 tries: no data for 0.5 s"},
				"denied":  {"s3://" + bucket + "/data_0000", ": ", "denied", "hint: "},
			}
			out := r.Out
			r.Out = nil
			refuses(t, r, 1, parts[how]...)
			if !strings.Contains(r.Errs[1], "cut") || !strings.Contains(r.Errs[2], "cut") {
				t.Errorf("the stages say\n%s%s", r.Errs[1], r.Errs[2])
			}
			if l := oneLine(t, out); l.Complete != 0 || l.Total == 0 {
				t.Errorf("a line with %d hits, complete %d", l.Total, l.Complete)
			}
			t.Log(strings.Join(r.Errs, ""))
		})
	}
}

// A server that is away for a while is waited for, and both is told.
func TestS3Outage(t *testing.T) {
	t.Parallel()
	s := sharedS3(t)
	b := s.bucket(t)
	text := cat(t, "sim:?seed=9&hits=250000", "--to", "csv")
	s.put(t, b, "data.csv", text)
	var since time.Time
	p := s.proxy(t, func(r *proxied) {
		if !r.gets() || r.From == 0 {
			return
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) < 7*time.Second {
			r.Fault = fault500
		}
	})
	r := s3Run(t, nil, s.catAt(p.url, "--to", "csv", "s3://"+b+"/data.csv"))
	same(t, "it", string(r.ok(t)), string(text))
	lines := strings.Split(strings.TrimSpace(r.Errs[0]), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "dtcat: s3://"+b+"/data.csv: stopped at byte ") || !strings.Contains(lines[0], "500") || !strings.Contains(lines[0], "trying again") ||
		!strings.HasPrefix(lines[1], "dtcat: s3://"+b+"/data.csv: goes on after ") {
		t.Errorf("it says\n%s", r.Errs[0])
	}
}

// An object that changes while it is read is an error which names it, and no byte of the new version comes out.
func TestS3Changed(t *testing.T) {
	t.Parallel()
	s := sharedS3(t)
	const n = 300000
	text := cat(t, "sim:?seed=10&hits="+strconv.Itoa(n), "--to", "csv")
	for _, how := range []string{"overwritten", "versions", "grown", "deleted", "between the listing and the reading"} {
		t.Run(how, func(t *testing.T) {
			b := s.bucket(t)
			if how == "versions" {
				s.versions(t, b)
			}
			first := text[:bytes.IndexByte(text, '\n')+1]
			s.put(t, b, "data_0.csv", first)
			tag := s.put(t, b, "data_1.csv", text)
			other := bytes.Repeat([]byte(rowOf(1)), len(text)/len(rowOf(1)))
			now := ""
			p := s.proxy(t, func(r *proxied) {
				if !r.gets() || now != "" || !strings.HasSuffix(r.Path, "data_1.csv") || r.From == 0 && !strings.HasPrefix(how, "between") {
					return
				}
				switch how {
				case "grown":
					now = s.put(t, b, "data_1.csv", append(bytes.Clone(text), rowOf(1)...))
				case "deleted":
					s.remove(t, b, "data_1.csv")
					now = "no such object"
				default:
					now = s.put(t, b, "data_1.csv", other)
				}
			})
			p.moved(place{rate: 20 << 20}) // so that not all of it is on its way by then
			r := s3Run(t, nil, s.catAt(p.url, "--to", "csv", "s3://"+b+"/"))
			name := "s3://" + b + "/data_1.csv: "
			if r.Codes[0] != 1 || strings.Count(r.Errs[0], "\n") != 1 || !strings.HasPrefix(r.Errs[0], "dtcat: "+name) || !strings.Contains(r.Errs[0], now) ||
				how != "deleted" && (!strings.Contains(r.Errs[0], "changed") || !strings.Contains(r.Errs[0], tag)) {
				t.Errorf("exit %d\n%s", r.Codes[0], r.Errs[0])
			}
			if !bytes.HasPrefix(text, r.Out) || len(r.Out) == len(text) {
				t.Errorf("%d bytes of %d came out, or others", len(r.Out), len(text))
			}
			t.Log(strings.TrimSpace(r.Errs[0]))
		})
	}
}

// A stream that ends early because its object did can be told from one that is whole, also through gzip.
func TestS3CutPacked(t *testing.T) {
	s := sharedS3(t)
	b := s.bucket(t)
	text := packed(t, "gz", cat(t, "sim:?seed=11&hits=100000", "--to", "csv"))
	s.put(t, b, "data.csv.gz", text[:len(text)/2])
	r := s3Run(t, nil, s.cat("s3://"+b+"/data.csv.gz"), stage{"dthist", "--window", "all"})
	if r.Codes[0] != 1 || !strings.Contains(r.Errs[0], "s3://"+b+"/data.csv.gz: the gzip file is cut") {
		t.Errorf("exit %v\n%s", r.Codes, strings.Join(r.Errs, ""))
	}
	if l := oneLine(t, r.Out); l.Complete != 0 {
		t.Error("the line is complete")
	}
}

// The first word comes out when the first bytes are there, and not when a part is.
func TestS3FirstWord(t *testing.T) {
	s := sharedS3(t)
	bucket, _ := s.bigRun(t)
	stalled := make(chan bool, 1)
	p := s.proxy(t, func(r *proxied) {
		if r.gets() {
			r.Fault, r.At = faultStall, 0.05
			select {
			case stalled <- true:
			default:
			}
		}
	})
	q := tappedWith(t, cleanEnv(), nil, s.catAt(p.url, "--to", "csv", "--stall", "1m", "s3://"+bucket+"/data_000007.txt"))
	<-stalled
	if text := q.next(t); !strings.Contains(text, ",") {
		t.Errorf("%q", text)
	}
	q.signal(t, 0, os.Interrupt)
	q.rest()
	codes(t, q.wait(), 0)
}

// Memory stays small when all connections are in use.
func TestS3Memory(t *testing.T) {
	s := sharedS3(t)
	bucket, _ := s.bigRun(t)
	p := s.proxy(t, nil).moved(place{latency: 20 * time.Millisecond, rate: 20 << 20})
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r := startTo(t, cleanEnv(), nil, null, s.catAt(p.url, "--to", "raw", "s3://"+bucket+"/"))
	memory := peak(t, r.Cmds[0])
	r.wait().ok(t)
	m := memory()
	t.Logf("%d MiB", m>>20)
	if m > s3Memory && os.Getenv("DT_RACE") == "" {
		t.Error("that is too much")
	}
}

// s3Memory is what dtcat may take.
const s3Memory = 128 << 20

// The proxy does what its faults are called: what a plain client sees.
func TestS3Proxy(t *testing.T) {
	s := sharedS3(t)
	b := s.bucket(t)
	content := cat(t, "sim:?seed=13&hits=100", "--to", "csv")
	s.put(t, b, "data_1.txt", content)
	curl, err := exec.LookPath("curl")
	if err != nil {
		missing(t, "curl", "apt-get install curl")
	}
	s.allow(t, b, "*", "s3:GetObject")
	for kind, want := range map[fault]string{
		well: "206 20 0", faultReset: "206 8 56", faultEnd: "206 8 18", faultStall: "206 8 28", fault500: "500 119 0", fault503: "503 114 0", fault429: "429 121 0", faultShort: "206 8 0",
		faultMore: "206 20 18", faultLess: "206 8 0", faultRange: "206 20 0", faultDenied: "403 118 0", faultWhole: fmt.Sprintf("200 %d 0", len(content)),
		faultGarbage: "000 0 ", faultHangUp: "000 0 ", faultGone: "000 0 ",
	} {
		p := s.proxy(t, func(r *proxied) {
			if connection := kind == faultGarbage || kind == faultHangUp || kind == faultGone; connection == (r.Method == "") {
				r.Fault, r.At = kind, 0.4
			}
		})
		cmd := exec.Command(curl, "-s", "--http1.1", "--max-time", "1", "--cacert", s.ca.file, "-H", "Range: bytes=10-29", "-o", "/dev/null", "-w", "%{http_code} %{size_download} %{exitcode}", p.url+"/"+b+"/data_1.txt")
		cmd.Env = append(environ(), cleanEnv()...)
		out, _ := cmd.Output()
		if text := string(out); text != want && (!strings.HasPrefix(text, want) || !strings.HasPrefix(want, "000")) {
			t.Errorf("%q: %s, want %s", kind, out, want)
		}
		for _, r := range p.requests("data_1.txt") {
			if r.Fault != kind || r.From != 10 || r.To != 30 || r.Method != http.MethodGet {
				t.Errorf("%q: %+v", kind, r)
			}
		}
	}
}
