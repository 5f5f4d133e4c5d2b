package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"dt/dtcat/remote"
	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// A markingSink writes a mark at each place that there is.
type markingSink struct{ *streamSink }

func (s markingSink) at(name, tag string, offset uint64) {
	s.streamSink.at(name, tag, offset)
	_ = s.src.Mark(time.Unix(1, 0)) // an error stays in the Writer
}

// catInto runs dtcat, and returns its stream and what it says. With marking there is a mark behind each chunk.
func catInto(t *testing.T, marking bool, stdin *os.File, args ...string) (stream []byte, said string, err error) {
	t.Helper()
	var out, says bytes.Buffer
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	c := &cat{env: &tool.Env{Name: "dtcat", Args: args, Stdin: stdin, Stdout: null, Stderr: &says}, w: wire.NewWriter(&out)}
	if err := c.env.Parse(&c.cli, "", "", "lateness", fmt.Sprint(wire.DefaultLateness)); err != nil {
		t.Fatal(err)
	}
	fail := func(err error) ([]byte, string, error) { return out.Bytes(), says.String(), err }
	if err := c.check(); err != nil {
		return fail(err)
	}
	for _, s := range c.cli.Sources {
		if remote.Is(s) && c.net == nil {
			if c.net, err = newNetwork(c.env, &c.cli.Remote); err != nil {
				t.Fatal(err)
			}
		}
	}
	if c.cli.ResumeFrom != "" {
		if err := c.findResumption(); err != nil {
			return fail(err)
		}
		if c.resumed != nil && c.resumed.state.End {
			return fail(c.complete(c.w))
		}
	}
	sources := c.expand()
	if c.resumed != nil {
		if sources, err = c.fromPlace(sources); err != nil {
			return fail(err)
		}
	}
	if c.cli.Save != "" {
		if err := c.net.openFolder(c.env, c.cli.Save, sources); err != nil {
			return fail(err)
		}
	}
	if marking {
		if err := c.openOut(&input{format: formatCSV}); err != nil {
			t.Fatal(err)
		}
		c.out = markingSink{c.out.(*streamSink)}
	}
	return fail(c.consume(sources))
}

// A catRecord is what a stream says of a record.
type catRecord struct {
	word   uint64
	aside  string
	late   bool
	epoch  uint32
	newest uint32
}

// A catStream is a stream taken apart.
type catStream struct {
	lane    wire.Lane
	records []catRecord // from the lane's start on
	marks   []wire.Mark
	ends    int
	end     wire.End
}

func readCat(t *testing.T, stream []byte) *catStream {
	t.Helper()
	s := &catStream{}
	var ledger *wire.Frame
	horizon, open := map[uint32]uint64{}, uint32(0)
	src := wire.NewReader(bytes.NewReader(stream))
	for {
		f, err := src.Next()
		if errors.Is(err, io.EOF) {
			return s
		}
		if err != nil {
			t.Fatal(err)
		}
		switch f.Kind {
		case wire.KindStream:
			continue
		case wire.KindLane:
			s.lane = *f.Lane
			continue // its header says what is known of the place
		case wire.KindLedger:
			l := *f
			l.Ledger.Entries = nil
			for _, e := range f.Ledger.Entries {
				e.Numbers = append([]uint64(nil), e.Numbers...)
				l.Ledger.Entries = append(l.Ledger.Entries, e)
			}
			ledger = &l
			continue
		case wire.KindWords, wire.KindLate:
			if f.First != s.lane.Start+uint64(len(s.records)) {
				t.Fatalf("a frame begins at %d, and %d is next", f.First, s.lane.Start+uint64(len(s.records)))
			}
			k := 0
			for i := range int(f.Next - f.First) {
				if f.Present != nil && f.Present[i/64]>>(i%64)&1 == 0 {
					r := catRecord{}
					for _, e := range ledger.Ledger.Entries {
						if e.Numbers[i/64]>>(i%64)&1 != 0 {
							r.aside += e.Reason
						}
					}
					s.records = append(s.records, r)
					continue
				}
				r := catRecord{word: f.Words[k], late: f.Kind == wire.KindLate, epoch: f.Epoch}
				if r.late {
					r.newest = f.Newest[k]
				} else if hit.IsHit(r.word) && (f.Epoch < open || uint64(hit.Orbit(r.word)) < horizon[f.Epoch]) {
					t.Fatalf("record %d is below the horizon", f.First+uint64(i))
				}
				s.records = append(s.records, r)
				k++
			}
			ledger = nil
		case wire.KindMark:
			m := f.Mark
			m.State = bytes.Clone(m.State)
			s.marks = append(s.marks, m)
		case wire.KindEnd:
			s.ends++
			s.end = f.End
		}
		if f.Open < open || f.Horizon < horizon[f.Epoch] {
			t.Fatalf("the horizon went back behind record %d", f.Next)
		}
		open, horizon[f.Epoch] = f.Open, f.Horizon
	}
}

// logOf writes a log whose last line says where to go on.
func logOf(t *testing.T, m *wire.Mark, epoch uint32, orbit, next uint64, more string) string {
	t.Helper()
	place := ""
	if m != nil {
		place = fmt.Sprintf(`, "Place": {"Name": %q, "Offset": %d, "Number": %d, "Tag": %q, "State": %q}`, m.Name, m.Offset, m.Number, m.Tag, base64.StdEncoding.EncodeToString(m.State))
	}
	line := fmt.Sprintf(`{"Settings": "0123456789abcdef", "Resume": [{"Run": "demo", "Lane": [1,1], "Epoch": %d, "Orbit": %d, "Next": %d%s%s}]}`, epoch, orbit, next, more, place)
	file := filepath.Join(t.TempDir(), "log")
	write(t, file, "{\"Resume\": [{\"Run\": \"old\", \"Lane\": [1,1], \"Epoch\": 0, \"Orbit\": 5, \"Next\": 0}]}\n"+line+"\n{\"Total Count\": 3}\n{\"Resume\": [{\"Run\": \"torn\", \"La")
	return file
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// trapWords is a run with late hits, wrong bits, and two restarts of the orbit counters.
func trapWords(t *testing.T, n int) []uint64 {
	return simWords(t, fmt.Sprintf("?seed=5&late=0.01&corrupt=0.001&skew=5000&restart=9000+30000&words=%d", n))
}

// wordText is words as text, with lines between them that are no words, one of which is very long.
func wordText(words []uint64, line func(b []byte, w uint64) []byte) string {
	var b []byte
	for i, w := range words {
		switch {
		case i%1000 == 77:
			b = append(b, "nonsense\n"...)
		case i%5000 == 99:
			b = append(b, "1,2\n\n"...)
		case i == len(words)/2:
			b = append(b, strings.Repeat("long", chunkSize)+"\n"...)
		}
		b = line(b, w)
	}
	return string(b)
}

func lcpLine(b []byte, w uint64) []byte {
	if !hit.IsHit(w) {
		return b
	}
	return fmt.Appendf(b, "1,%d,%d,%d,%d,%d\n", hit.FPGA(w)&1, hit.Channel(w)%128+1, hit.Orbit(w), hit.BX(w), hit.TDC(w))
}

func rawOf(words []uint64) string {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return string(b)
}

func packed(t *testing.T, text string) (gz, zst string) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	gz = b.String()
	b.Reset()
	e, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	e.Write([]byte(text))
	e.Close()
	return gz, b.String()
}

// objects serves files as a web server does, and counts the bytes that it sends.
func objects(t *testing.T, data map[string]string, version *atomic.Int64) (string, *atomic.Int64) {
	t.Helper()
	sent := new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := data[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf("%q", r.URL.Path+"v"+strconv.FormatInt(version.Load(), 10)))
		counted := &countedWriter{w, sent}
		http.ServeContent(counted, r, "", time.Time{}, strings.NewReader(text))
	}))
	t.Cleanup(server.Close)
	return server.URL, sent
}

type countedWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w *countedWriter) Write(b []byte) (int, error) {
	w.n.Add(int64(len(b)))
	return w.ResponseWriter.Write(b)
}

// A run that is taken up at any place of it is the rest of the run: each record has the number, the epoch, and is late or not, as if it had been read in one go.
func TestResumeIsExact(t *testing.T) {
	dir := t.TempDir()
	words := trapWords(t, 90_000)
	csv, js, raw := wordText(words, hit.AppendCSV), wordText(words[:30_000], hit.AppendJSON), rawOf(words)
	gz, zst := packed(t, csv)
	lcp := wordText(words, lcpLine)
	header := "\xef\xbb\xbf" + hit.Header + "\n"
	for name, text := range map[string]string{
		"plain.csv": csv, "header.csv": header + csv, "noend.csv": strings.TrimSuffix(csv, "\n"), "a.jsonl": js, "a.raw": raw, "cut.raw": raw[:len(raw)-3],
		"lcp.csv": lcp, "a.gz": gz, "a.zst": zst,
	} {
		write(t, filepath.Join(dir, name), text)
	}
	folder := filepath.Join(dir, "folder")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		part := words[i*len(words)/12 : (i+1)*len(words)/12]
		write(t, filepath.Join(folder, fmt.Sprintf("data_%d.txt", i)), hit.Header+"\n"+wordText(part, hit.AppendCSV))
	}
	write(t, filepath.Join(folder, "data_12.txt"), "")
	url, sent := objects(t, map[string]string{"/a.csv": header + csv, "/b.csv": csv, "/a.gz": gz}, new(atomic.Int64))
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, args := range map[string][]string{
		"CSV":             {in("plain.csv")},
		"CSV and header":  {in("header.csv")},
		"CSV without end": {in("noend.csv")},
		"JSON":            {in("a.jsonl")},
		"raw":             {in("a.raw"), "--from", "raw"},
		"raw with a tail": {in("cut.raw"), "--from", "raw"},
		"lcp":             {in("lcp.csv"), "--from", "lcp"},
		"gzip":            {in("a.gz")},
		"zstd":            {in("a.zst")},
		"files":           {in("plain.csv"), in("a.gz"), in("header.csv")},
		"folder":          {folder + "/"},
		"followed":        {folder, in("plain.csv"), "--follow", "--limit", "150000"},
		"simulated":       {"sim:?seed=8&late=0.01&restart=20000&corrupt=0.001&words=100000"},
		"web":             {url + "/a.csv"},
		"objects":         {url + "/a.csv", url + "/b.csv", "--from", "csv"},
		"packed object":   {url + "/a.gz"},
		"saved":           {url + "/a.csv", url + "/b.csv", "--save", t.TempDir()},
		"standard input":  {"-"},
	} {
		t.Run(name, func(t *testing.T) {
			stdin := func() *os.File {
				f, err := os.Open(in("header.csv"))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
				return f
			}
			stream, said, err := catInto(t, true, stdin(), append(args, "--run", "demo")...)
			if err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			whole := readCat(t, stream)
			late, aside, epochs := 0, 0, uint32(0)
			for _, r := range whole.records {
				if r.late {
					late++
				}
				if r.aside != "" {
					aside++
				}
				epochs = max(epochs, r.epoch)
			}
			if len(whole.marks) < 3 || late < 10 || epochs < 1 || aside < 10 && name != "raw" && name != "simulated" && name != "raw with a tail" {
				t.Fatalf("%d marks, %d late records, %d set aside, %d epochs prove little", len(whole.marks), late, aside, epochs)
			}
			r := rand.New(rand.NewPCG(1, 2))
			for _, i := range append(r.Perm(len(whole.marks))[:min(8, len(whole.marks))], len(whole.marks)-1) {
				m := &whole.marks[i]
				next := m.Number + r.Uint64N(uint64(len(whole.records))-m.Number+1)
				log := logOf(t, m, 1, 617_000, next, "")
				before := sent.Load()
				stream, said, err := catInto(t, false, stdin(), append(args, "--resume-from", log)...)
				if err != nil {
					t.Fatalf("from record %d, %s byte %d: %v: %s", m.Number, m.Name, m.Offset, err, said)
				}
				got := readCat(t, stream)
				if l := got.lane; l.Run != "demo" || l.N != 1 || l.FloorEpoch != 1 || l.FloorOrbit != 617_000 || l.FloorNumber != next || l.Start != m.Number || l.Settings != "0123456789abcdef" || l.Anew {
					t.Fatalf("from record %d: lane %+v", m.Number, l)
				}
				if want := whole.records[m.Number:]; len(got.records) != len(want) {
					t.Fatalf("from record %d: %d records, want %d", m.Number, len(got.records), len(want))
				}
				for i, want := range whole.records[m.Number:] {
					if got.records[i] != want {
						t.Fatalf("from record %d: record %d is %+v, want %+v", m.Number, m.Number+uint64(i), got.records[i], want)
					}
				}
				if got.ends != 1 || got.end.Read != whole.end.Read || got.end.Stopped != whole.end.Stopped {
					t.Errorf("from record %d: the end is %+v, want %+v", m.Number, got.end, whole.end)
				}
				last, wantLast := got.marks[len(got.marks)-1], whole.marks[len(whole.marks)-1]
				if last.Number != wantLast.Number || last.Offset != wantLast.Offset || last.Name != wantLast.Name || last.Tag != wantLast.Tag || !bytes.Equal(last.State, wantLast.State) {
					t.Errorf("from record %d: the last mark is at %d (%s, %d), want %d (%s, %d)", m.Number, last.Number, last.Name, last.Offset, wantLast.Number, wantLast.Name, wantLast.Offset)
				}
				if n := sent.Load() - before; name == "web" && n > int64(len(header)+len(csv))-int64(m.Offset)+2*lookSize {
					t.Errorf("from byte %d of %d: %d bytes came over the network", m.Offset, len(csv), n)
				}
			}
			if _, err := os.Stat(in("log")); err == nil {
				t.Error("a log was made")
			}
		})
	}
}

// What --resume-from refuses, and where it begins.
func TestResumeFrom(t *testing.T) {
	dir := t.TempDir()
	words := trapWords(t, 40_000)
	file, other := filepath.Join(dir, "a.csv"), filepath.Join(dir, "b.csv")
	text := wordText(words, hit.AppendCSV)
	write(t, file, text)
	write(t, other, text)
	var version atomic.Int64
	url, _ := objects(t, map[string]string{"/a.csv": text, "/page": "<!doctype html>"}, &version)
	stream, _, err := catInto(t, true, nil, file, "--run", "demo")
	if err != nil {
		t.Fatal(err)
	}
	whole := readCat(t, stream)
	m := whole.marks[1]
	log := func(change func(m *wire.Mark)) string {
		at := m
		if change != nil {
			change(&at)
		}
		return logOf(t, &at, 0, 700, m.Number+10, "")
	}
	plain := log(nil)
	lines := func(text string) string {
		file := filepath.Join(t.TempDir(), "log")
		write(t, file, text)
		return file
	}
	streamFile := filepath.Join(dir, "a.dts")
	write(t, streamFile, string(stream))
	web := log(func(m *wire.Mark) { m.Name, m.Tag = url+"/a.csv", "/a.csvv0" })
	if _, _, err := catInto(t, false, nil, url+"/a.csv", "--resume-from", web); err != nil {
		t.Error(err)
	}
	version.Store(1)
	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"another run":          {[]string{file, "--resume-from", plain, "--run", "other"}, "--run other: " + plain + " is of run demo"},
		"loop":                 {[]string{file, "--resume-from", plain, "--loop"}, "excludes --loop"},
		"csv":                  {[]string{file, "--resume-from", plain, "--to", "csv"}, "excludes --to csv"},
		"no source":            {[]string{other, "--resume-from", plain}, "goes on in " + file + ", which is no source (hint: name the sources of the run as before)"},
		"twice":                {[]string{file, file, "--resume-from", plain}, "which is named twice"},
		"folder":               {[]string{file, "--resume-from", dir}, "a folder"},
		"no JSON":              {[]string{file, "--resume-from", lines("{\"Resume\" 7}\n")}, "invalid character"},
		"a state that is none": {[]string{file, "--resume-from", log(func(m *wire.Mark) { m.State = []byte("x") })}, "state"},
		"lane of a topic":      {[]string{file, "--resume-from", lines(`{"Resume": [{"Run": "demo", "Lane": [2,8], "Epoch": 0, "Orbit": 5, "Next": 0}]}` + "\n")}, "is of lane 2 of 8 of run demo"},
		"topic":                {[]string{file, "--resume-from", lines(`{"Resume": [{"Run": "demo", "Lane": [1,1], "Epoch": 0, "Orbit": 5, "Next": 0, "Place": {"Name": "s", "Partition": 0, "Offset": 0, "Number": 0}}]}` + "\n")}, "goes on in topic s"},
		"odd":                  {[]string{file, "--resume-from", logOf(t, &m, 0, 700, m.Number-1, "")}, "does not fit together"},
		"without a floor":      {[]string{file, "--resume-from", logOf(t, &m, 0, 0, m.Number+1, "")}, "does not fit together"},
		"a changed object":     {[]string{url + "/a.csv", "--resume-from", web}, "has changed since the run was read from it: it is version /a.csvv1, and was /a.csvv0"},
		"no object any more":   {[]string{url + "/page", "--resume-from", log(func(m *wire.Mark) { m.Name = url + "/page" })}, "a web page"},
		"missing sources":      {[]string{filepath.Join(dir, "c.csv"), "--resume-from", log(func(m *wire.Mark) { m.Name = filepath.Join(dir, "c.csv") })}, "no such file"},
		"a shorter file":       {[]string{file, "--resume-from", log(func(m *wire.Mark) { m.Offset = uint64(len(text)) + 1 })}, "has only " + fmt.Sprint(len(text)) + " bytes"},
		"a stream": {[]string{streamFile, "--resume-from", log(func(m *wire.Mark) { m.Name = streamFile; m.Offset = 0 })},
			"--resume-from is for words, and this is a stream already"},
	} {
		stream, said, err := catInto(t, false, nil, c.args...)
		if err == nil || !strings.Contains(fmt.Sprint(err, said), c.want) {
			t.Errorf("%s: %v: %s", what, err, said)
		}
		if len(stream) > 0 {
			t.Errorf("%s: %d bytes are written", what, len(stream))
		}
	}

	// Where nothing says how far it has come, it begins at the beginning, and says so if there are lines.
	for what, log := range map[string]string{"no file": filepath.Join(dir, "none"), "empty": lines(""), "other lines": lines("{}\nx\n"), "torn": lines(`{"Resume": [{"Run": "demo", "Lane": [1,1]}]}`), "device": os.DevNull} {
		stream, said, err := catInto(t, false, nil, file, "--run", "new", "--resume-from", log)
		if got := readCat(t, stream); err != nil || len(got.records) != len(whole.records) || got.lane.Run != "new" || got.lane.FloorNumber != 0 || strings.Contains(said, "from its beginning") != (what == "other lines") {
			t.Errorf("%s: %v: %s: %+v, %d records", what, err, said, got.lane, len(got.records))
		}
	}
	// The same, with a floor, where there is no place.
	for what, m := range map[string]*wire.Mark{"no place": nil, "no name": {}} {
		stream, said, err := catInto(t, false, nil, file, "--resume-from", logOf(t, m, 0, 700, 30, ""))
		if got := readCat(t, stream); err != nil || len(got.records) != len(whole.records) || got.lane.FloorNumber != 30 || got.lane.FloorOrbit != 700 || got.lane.Start != 0 {
			t.Errorf("%s: %v: %s: %+v", what, err, said, got.lane)
		}
	}
	// From a pipe. As of a topic: without a floor.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	text2, err := os.ReadFile(logOf(t, &m, 0, 0, m.Number, ""))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(text2)
	w.Close()
	stream, said, err := catInto(t, false, nil, file, "--resume-from", fmt.Sprintf("/dev/fd/%d", r.Fd()))
	r.Close()
	if got := readCat(t, stream); err != nil || got.lane.Start != m.Number || got.lane.FloorNumber != m.Number || got.lane.Resumed() || uint64(len(got.records)) != uint64(len(whole.records))-m.Number {
		t.Errorf("from a pipe: %v: %s: %+v", err, said, got.lane)
	}
	// A run that is complete.
	stream, said, err = catInto(t, false, nil, "none", "--resume-from", logOf(t, &m, 2, 700, 40_000, `, "End": 1`))
	if got := readCat(t, stream); err != nil || got.ends != 1 || got.end.Stopped || got.end.Read != 40_000 || got.lane.Start != 40_000 || got.lane.FloorNumber != 40_000 || !strings.Contains(said, "complete") {
		t.Errorf("complete: %v: %s: %+v %+v", err, said, got.lane, got.end)
	}
	// --limit counts the run's records, also those that were read before.
	for _, limit := range []uint64{m.Number - 1, m.Number, m.Number + 5} {
		stream, said, err = catInto(t, false, nil, file, "--resume-from", plain, "--limit", fmt.Sprint(limit))
		if got := readCat(t, stream); err != nil || got.end.Read != max(limit, m.Number) || !got.end.Stopped {
			t.Errorf("--limit %d: %v: %s: %+v", limit, err, said, got.end)
		}
	}
	// Lines that are no words are told by where they are.
	if _, said, err = catInto(t, false, nil, file, "--resume-from", plain); err != nil || !strings.Contains(said, "a.csv: line ") || !strings.Contains(said, fmt.Sprintf("behind byte %d: ", m.Offset)) {
		t.Errorf("%v: %s", err, said)
	}
	// The pace is that of what comes: what was read before takes no time, and what comes is no burst.
	at := whole.marks[len(whole.marks)-1]
	for i := len(whole.marks) - 1; at.Number+1000 > uint64(len(whole.records)); i-- {
		at = whole.marks[i]
	}
	left := float64(uint64(len(whole.records)) - at.Number)
	begun := time.Now()
	if _, said, err = catInto(t, false, nil, file, "--resume-from", logOf(t, &at, 0, 700, at.Number, ""), "--rate", fmt.Sprint(left/0.5)); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	if took := time.Since(begun); took < 400*time.Millisecond || took > 2*time.Second {
		t.Errorf("half a second's words take %v", took)
	}
}

// The last line of a large log is found without reading the log.
func TestLastState(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(5 << 40); err != nil { // it takes no room
		t.Skip(err)
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	line := func(run string, more int) string {
		return fmt.Sprintf(`{"Resume": [{"Run": %q, "Lane": [1,1], "Epoch": 0, "Orbit": 5, "Next": 0}], "More": %q}`, run, strings.Repeat("x", more))
	}
	fmt.Fprintf(f, "\n%s\n%s\n{\"Run\": 7}\n%s", line("a", 10), line("b", 3<<20), line("torn", 1<<20))
	r, _, err := lastState(file)
	if err != nil || r == nil || r.state.Run != "b" {
		t.Fatalf("%+v, %v", r, err)
	}
	// Lines of all lengths, with blocks that begin anywhere in them.
	for more := range 40 {
		text := line("a", 1) + "\n" + line("b", 256<<10-100+more*5) + "\n" + line("c", more) + "\n\n" + strings.Repeat(" ", more)
		write(t, file, text)
		if r, _, err := lastState(file); err != nil || r == nil || r.state.Run != "c" {
			t.Fatalf("%d: %+v, %v", more, r, err)
		}
		write(t, file, strings.TrimSuffix(text[:strings.Index(text, line("c", more))], "\n"))
		if r, _, err := lastState(file); err != nil || r == nil || r.state.Run != "a" {
			t.Fatalf("%d: %+v, %v", more, r, err)
		}
	}
}

// Sources that end before what is written are not those of the run, and its end is not theirs.
func TestResumeOfAnotherRun(t *testing.T) {
	dir := t.TempDir()
	file, log := filepath.Join(dir, "run.csv"), filepath.Join(dir, "log")
	for name, text := range map[string]string{
		file: "1,0,1,5,7,3\n1,0,2,5,8,3\n",
		log:  `{"Resume":[{"Run":"r","Lane":[1,1],"Epoch":0,"Orbit":9,"Next":3}]}` + "\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, more := range []string{"", "1,0,3,6,9,3\n"} {
		want := 1 - i
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString(more)
		f.Close()
		var said bytes.Buffer
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		env := &tool.Env{Name: "dtcat", Args: []string{file, "--resume-from", log}, Stdin: os.Stdin, Stdout: null, Stderr: &said}
		if code := env.Run(run); code != want || want == 1 && !strings.Contains(said.String(), "end behind 2") {
			t.Errorf("%q: exit %d: %s", more, code, &said)
		}
		null.Close()
	}
}
