package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A savedEntry is a line of a folder's manifest.
type savedEntry struct {
	Path, Name, ETag, SHA256 string
	Bytes, Have              int64
}

// savedIn reads the manifest of a folder that dtcat --save has made, if it has one.
func savedIn(t testing.TB, dir string) map[string]savedEntry {
	t.Helper()
	entries := map[string]savedEntry{}
	text, err := os.ReadFile(filepath.Join(dir, "dtcat.manifest"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var e savedEntry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		entries[e.Path] = e
	}
	return entries
}

// holdsSaved checks a folder after a run that may have been killed: its files are whole and right, and so is what the manifest says of parts.
// It returns from which byte on each object is missing; −1: nowhere.
func holdsSaved(t testing.TB, dir string, want map[string][]byte) map[string]int64 {
	t.Helper()
	from := map[string]int64{}
	entries := savedIn(t, dir)
	for path, text := range want {
		e := entries[path]
		got, err := os.ReadFile(filepath.Join(dir, path))
		switch {
		case err == nil:
			from[path] = -1
			if !bytes.Equal(got, text) {
				t.Errorf("%s is another", path)
			}
		case e.Have > 0:
			from[path] = e.Have
			if e.Have == e.Bytes {
				from[path] = -1 // only its name is still to come
			}
			part := filepath.Join(dir, filepath.Dir(path), "."+filepath.Base(path)+".part")
			got := mustRead(t, part)
			sum := sha256.Sum256(got[:min(int(e.Have), len(got))])
			if int64(len(got)) < e.Have || e.SHA256 != hex.EncodeToString(sum[:]) || !bytes.Equal(got[:e.Have], text[:e.Have]) {
				t.Errorf("the manifest says %d bytes of %s, and that is not what is there", e.Have, path)
			}
		}
	}
	return from
}

// onlyFiles checks that a folder has these files and no others, but those that are dtcat's.
func onlyFiles(t testing.TB, dir string, want map[string][]byte) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "dtcat.manifest" || d.Name() == ".dtcat.lock" {
			return err
		}
		name, err := filepath.Rel(dir, path)
		text, known := want[filepath.ToSlash(name)]
		if !known {
			t.Errorf("%s is left", name)
		} else if !bytes.Equal(mustRead(t, path), text) {
			t.Errorf("%s is another", name)
		}
		seen++
		return err
	})
	if err != nil || seen != len(want) {
		t.Errorf("%d files of %d: %v", seen, len(want), err)
	}
}

// filesOf reads a folder.
func filesOf(t testing.TB, folder string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		files[e.Name()] = mustRead(t, filepath.Join(folder, e.Name()))
	}
	return files
}

// sent is how many bytes of objects a proxy has sent.
func (p *proxy) sent() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.all {
		if r.gets() {
			n += r.Sent
		}
	}
	return n
}

// resultOf is the result line of a pipe behind this dtcat.
func resultOf(t testing.TB, cat stage) []string {
	t.Helper()
	return results(t, s3Run(t, nil, cat, stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--window", "all"}).ok(t))
}

// killed runs a dtcat --save until the proxy has sent so many bytes of objects, or it has ended before, and kills it. It returns the exit code.
func killed(t *testing.T, p *proxy, cat stage, moment int64) int {
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer nowhere.Close()
	r := startTo(t, cleanEnv(), nil, nowhere, cat)
	ended := make(chan result, 1)
	go func() { ended <- r.wait() }()
	var last result
	for dead := false; !dead; {
		select {
		case last = <-ended:
			dead = true
		case <-time.After(500 * time.Microsecond):
			if p.sent() >= moment {
				r.Cmds[0].Process.Kill()
				last, dead = <-ended, true
			}
		}
	}
	same(t, "what it says", last.Errs[0], "")
	return last.Codes[0]
}

// killedInside is killed for the moment in which the beginning of an object is synced, and the object is not whole: nobody reads on from a
// byte of the output that is inside of it.
func killedInside(t *testing.T, cat stage, at int64, synced func() bool) int {
	p, out := outPipe(t, cleanEnv(), nil, cat)
	if _, err := io.CopyN(io.Discard, out, at); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); !synced(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Error("nothing is synced")
			break
		}
	}
	p.Cmds[0].Process.Kill()
	r := p.wait()
	same(t, "what it says", r.Errs[0], "")
	return r.Codes[0]
}

// kill -9 at twenty moments, and always the same command again: in the end all is saved, byte for byte; on the way no object that was whole is asked
// for again, and of a part only what is missing behind the last sync.
func TestS3SaveKilled(t *testing.T) {
	s := sharedS3(t)
	const bucket, kills = "saved", 20
	sizes := slices.Repeat([]int{64 << 10}, 30)
	long := []int{9, 25}
	sizes[9], sizes[25] = 21<<20, 21<<20 // more than from sync to sync, and than is read ahead of the output
	folder := s.fixture(t, bucket, func(folder string) {
		pieces(t, folder, "data_%06d.txt", cat(t, "sim:?seed=6&hits=1080000&triggers=100", "--to", "csv"), sizes...)
	})
	want := filesOf(t, folder)
	_, text := inNaturalOrder(t, folder, "data_%06d.txt")
	key := func(i int) string { return fmt.Sprintf("data_%06d.txt", i) }
	seed := s3Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	parts := 0
	for n := 0; n < kills && !t.Failed(); {
		dir := filepath.Join(t.TempDir(), "saved")
		fetched := int64(0)
		for whole := false; !whole && !t.Failed(); {
			from := holdsSaved(t, dir, want)
			p := s.plain(t)
			run := s.catAt(p.url, "--to", "csv", "--save", dir, "s3://"+bucket+"/")
			inside := slices.IndexFunc(long, func(i int) bool { return from[key(i)] == 0 })
			code := 0
			switch {
			case n == kills:
				reads(t, "the last time", start(t, cleanEnv(), nil, run).wait(), text)
			case n%4 == 1 && inside >= 0:
				before := 0
				for i := range long[inside] {
					before += len(want[key(i)])
				}
				code = killedInside(t, run, int64(before+16<<20+256<<10), func() bool { return savedIn(t, dir)[key(long[inside])].Have > 0 })
			case n%4 == 2:
				code = killed(t, p, run, random.Int64N(1<<20))
			default:
				code = killed(t, p, run, random.Int64N(int64(len(text))))
			}
			switch code {
			case 0:
				whole = true
			case 128 + int(syscall.SIGKILL):
				n++
			default:
				t.Errorf("exit %d", code)
			}
			for _, r := range p.requests("") {
				path := strings.TrimPrefix(r.Path, "/"+bucket+"/")
				switch missing := from[path]; {
				case missing < 0:
					t.Errorf("%s is whole, and asked for from byte %d on", path, r.From)
				case r.From < missing:
					t.Errorf("%s is there to byte %d, and asked for from byte %d on", path, missing, r.From)
				case missing > 0 && r.From == missing:
					parts++
				}
			}
			fetched += p.sent()
			p.close()
		}
		onlyFiles(t, dir, want)
		t.Logf("%d kills; %d MB fetched of %d MB; %d parts went on", n, fetched>>20, len(text)>>20, parts)

		// Once more: nothing is fetched.
		p := s.plain(t)
		again := s.catAt(p.url, "--to", "csv", "--save", dir, "s3://"+bucket+"/")
		reads(t, "what is saved", start(t, cleanEnv(), nil, again).wait(), text)
		if n := len(p.requests("")); n > 0 || p.sent() > 0 {
			t.Errorf("%d requests for what is saved", n)
		}
		p.close()
		if n == kills {
			saved := resultOf(t, stage{"dtcat", dir})
			sameLines(t, "the folder", saved, resultOf(t, s.cat("s3://"+bucket+"/")))
			sameLines(t, "the folder and the bucket", saved, resultOf(t, s.cat("--save", dir, "s3://"+bucket+"/")))
		}
	}
	if parts == 0 {
		t.Error("no part went on")
	}
}

// somethingSaved makes a bucket with a few objects, one of them in a folder, and saves it. again saves it once more, by a proxy, and
// returns what was asked for, as "KEY from BYTE".
func somethingSaved(t *testing.T) (s *s3Server, bucket, dir string, want map[string][]byte, again func(extra ...string) (result, []string)) {
	s = sharedS3(t)
	bucket, dir = s.bucket(t), filepath.Join(t.TempDir(), "saved")
	want = map[string][]byte{}
	for i := range 5 {
		name := fmt.Sprintf("data_%d.txt", i)
		want[name] = []byte(rowsFor(1000*i, 1000*i+1, 1000*i+2))
		s.put(t, bucket, "run/"+name, want[name])
	}
	again = func(extra ...string) (result, []string) {
		p := s.proxy(t, nil)
		defer p.close()
		r := s3Run(t, nil, s.catAt(p.url, append(extra, "--to", "csv", "--header", "no", "--save", dir, "s3://"+bucket+"/run/")...))
		asked := []string{}
		for _, q := range p.requests("") {
			asked = append(asked, fmt.Sprintf("%s from %d", filepath.Base(q.Path), q.From))
		}
		slices.Sort(asked)
		return r, asked
	}
	r, asked := again()
	reads(t, "the bucket", r, joined(want))
	if len(asked) != len(want) {
		t.Errorf("%q", asked)
	}
	onlyFiles(t, dir, want)
	r, asked = again()
	reads(t, "the folder", r, joined(want))
	same(t, "what was asked for", fmt.Sprint(asked), "[]")
	return s, bucket, dir, want, again
}

// joined is the run that data_0.txt, data_1.txt, … are.
func joined(files map[string][]byte) (all []byte) {
	for i := 0; files[fmt.Sprintf("data_%d.txt", i)] != nil; i++ {
		all = append(all, files[fmt.Sprintf("data_%d.txt", i)]...)
	}
	return all
}

// What is not as it was saved, or is of another version, is told and fetched again; the rest is not.
func TestS3SaveAgain(t *testing.T) {
	s, bucket, dir, want, again := somethingSaved(t)
	damaged := slices.Clone(want["data_0.txt"])
	damaged[len(damaged)-2] ^= 1
	file := func(i int) string { return filepath.Join(dir, fmt.Sprintf("data_%d.txt", i)) }
	for i, text := range map[int][]byte{0: damaged, 1: want["data_1.txt"][:12]} {
		if err := os.WriteFile(file(i), text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(file(4)); err != nil {
		t.Fatal(err)
	}
	want["data_3.txt"] = []byte(rowsFor(7, 8))
	s.put(t, bucket, "run/data_3.txt", want["data_3.txt"])

	r, asked := again()
	same(t, "the run", string(r.ok(t)), string(joined(want)))
	same(t, "what was asked for", fmt.Sprint(asked), "[data_0.txt from 0 data_1.txt from 0 data_3.txt from 0 data_4.txt from 0]")
	at := "dtcat: s3://" + bucket + "/run/data_"
	for _, part := range []string{at + "0.txt: fetched again", "checksum is wrong", at + "1.txt: fetched again", "12 bytes instead of", at + "3.txt: fetched again", "the object has changed"} {
		if !strings.Contains(r.Errs[0], part) {
			t.Errorf("there is no %q in\n%s", part, r.Errs[0])
		}
	}
	if n := strings.Count(r.Errs[0], "\n"); n != 3 {
		t.Errorf("it says\n%s", r.Errs[0])
	}
	onlyFiles(t, dir, want)
	r, asked = again()
	reads(t, "the folder", r, joined(want))
	same(t, "what was asked for", fmt.Sprint(asked), "[]")
}

// A file that dtcat did not save is left alone; what would be there is read and not saved.
func TestS3SaveInTheWay(t *testing.T) {
	s, bucket, dir, want, again := somethingSaved(t)
	mine := filepath.Join(dir, "data_5.txt")
	if err := os.WriteFile(mine, []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	s.put(t, bucket, "run/data_5.txt", []byte(rowsFor(5)))
	s.put(t, bucket, "run/data_6.txt", []byte(rowsFor(6)))
	r, asked := again()
	same(t, "the run", string(r.Out), string(joined(want))+rowsFor(5)+rowsFor(6))
	codes(t, r, 1)
	if !strings.Contains(r.Errs[0], "/data_5.txt: read and not saved: "+mine+": a file is in the way that dtcat did not save (hint: ") || strings.Count(r.Errs[0], "\n") != 1 {
		t.Errorf("it says %q", r.Errs[0])
	}
	same(t, "what was asked for", fmt.Sprint(asked), "[data_5.txt from 0 data_6.txt from 0]")
	same(t, "the file", string(mustRead(t, mine)), "mine")
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	want["data_5.txt"], want["data_6.txt"] = []byte(rowsFor(5)), []byte(rowsFor(6))
	r, _ = again()
	reads(t, "without it", r, joined(want))
	onlyFiles(t, dir, want)

	// A manifest that is cut: only what it does not know any more is in the way.
	manifest := filepath.Join(dir, "dtcat.manifest")
	text := mustRead(t, manifest)
	if err := os.WriteFile(manifest, text[:len(text)-9], 0o666); err != nil {
		t.Fatal(err)
	}
	r, asked = again()
	codes(t, r, 1)
	same(t, "what was asked for", fmt.Sprint(asked), "[data_5.txt from 0]")
	if lines := strings.SplitAfter(r.Errs[0], "\n"); len(lines) != 3 || !strings.Contains(lines[0], manifest+": line 7 is torn") || !strings.Contains(lines[1], "data_5.txt: a file is in the way") {
		t.Errorf("it says\n%s", r.Errs[0])
	}

	// None.
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	r, _ = again()
	codes(t, r, 1)
	if n := strings.Count(r.Errs[0], "a file is in the way"); n != len(want) {
		t.Errorf("it says\n%s", r.Errs[0])
	}
}

// The same object twice in one run is fetched once.
func TestS3SaveTwice(t *testing.T) {
	s := sharedS3(t)
	bucket, dir := s.bucket(t), t.TempDir()
	s.put(t, bucket, "a.txt", []byte(rowsFor(1, 2)))
	p := s.proxy(t, nil)
	name := "s3://" + bucket + "/a.txt"
	reads(t, "twice", s3Run(t, nil, s.catAt(p.url, "--to", "csv", "--header", "no", "--save", dir, name, name)), []byte(rowsFor(1, 2, 1, 2)))
	if n := len(p.requests("a.txt")); n != 1 {
		t.Errorf("%d requests", n)
	}
	onlyFiles(t, dir, map[string][]byte{"a.txt": []byte(rowsFor(1, 2))})
}

// A dtcat saves in a folder alone.
func TestS3SaveLocked(t *testing.T) {
	s := sharedS3(t)
	bucket, folder := s.bigRun(t)
	dir := filepath.Join(t.TempDir(), "saved")
	cat := s.cat("--to", "csv", "--header", "no", "--save", dir, "s3://"+bucket+"/data_000007.txt")
	first, out := outPipe(t, cleanEnv(), nil, cat)
	text := bufio.NewReader(out)
	head, err := text.ReadBytes('\n') // its words come, so it has the folder
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, s3Run(t, nil, cat), 1, dir+": another dtcat saves there (hint: ")
	rest, err := io.ReadAll(text)
	if err != nil {
		t.Fatal(err)
	}
	r := first.wait()
	r.Out = append(head, rest...)
	want := mustRead(t, filepath.Join(folder, "data_000007.txt"))
	reads(t, "the first", r, want)
	onlyFiles(t, dir, map[string][]byte{"data_000007.txt": want})
}

// What ends before the object does keeps a part, and the next run goes on behind it.
func TestS3SavePart(t *testing.T) {
	s := sharedS3(t)
	bucket, folder := s.bigRun(t)
	const key = "data_000007.txt"
	want := map[string][]byte{key: mustRead(t, filepath.Join(folder, key))}
	for how, end := range map[string]func(t *testing.T, dir string, cat stage){
		"limit": func(t *testing.T, dir string, cat stage) {
			start(t, cleanEnv(), nil, append(cat, "--limit", "300000")).wait().ok(t)
		},
		"interrupt": func(t *testing.T, dir string, cat stage) {
			p, out := outPipe(t, cleanEnv(), nil, cat)
			if _, err := io.CopyN(io.Discard, out, 5<<20); err != nil {
				t.Fatal(err)
			}
			if err := p.Cmds[0].Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, out)
			r := p.wait()
			codes(t, r, 0)
			same(t, "what it says", r.Errs[0], "")
		},
		"closed pipe": func(t *testing.T, dir string, cat stage) {
			p, out := outPipe(t, cleanEnv(), nil, cat)
			if _, err := io.CopyN(io.Discard, out, 20<<20); err != nil { // it dies of SIGPIPE, and keeps what is synced
				t.Fatal(err)
			}
			out.Close()
			r := p.wait()
			codes(t, r, 128+int(syscall.SIGPIPE))
		},
	} {
		t.Run(how, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "saved")
			p := s.proxy(t, nil)
			cat := s.catAt(p.url, "--to", "csv", "--header", "no", "--save", dir, "s3://"+bucket+"/"+key)
			end(t, dir, cat)
			have := holdsSaved(t, dir, want)[key]
			if have <= 0 {
				t.Fatalf("nothing is kept, or all: %d", have)
			}
			before := len(p.log())
			reads(t, "the second run", start(t, cleanEnv(), nil, cat).wait(), want[key])
			for _, r := range p.log()[before:] {
				if r.gets() && r.From < have {
					t.Errorf("%d bytes are there, and it asks for those from %d on", have, r.From)
				}
			}
			onlyFiles(t, dir, want)
			t.Logf("%d bytes were kept", have)
		})
	}
}
